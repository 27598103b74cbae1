"""Text cells say only what holds."""

import pytest

from verdict.base.numbers import Number, Numbers
from verdict.report.conditions import chosen_text
from verdict.report.markdown import MarkdownError

NUMBERS = Numbers(
    {
        "test.gain": Number(0.03, 0.01, 0.05),
        "test.gain.by_hand": Number(-0.2, -0.3, -0.1),
        "test.n_pairs": Number(7, unit="count"),
        "test.none": Number(float("nan"), kind="estimate"),
    }
)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("test.gain.low > 0", True),
        ("test.gain.high < 0", False),
        ("test.gain.by_hand.high < 0 and not test.gain.low < 0", True),
        ("test.n_pairs.value == 7", True),
        # A bound that a count does not have satisfies nothing.
        ("test.n_pairs.low > 0 or test.n_pairs.low <= 0", False),
        ('has("test.gain")', True),
        ('has("test.none")', False),
        ('has("other.gain") and other.gain.low > 0', False),
        ("-0.5 < test.gain.value < 0.5", True),
    ],
)
def test_the_branch_that_holds_is_kept(condition, holds):
    source = f"It is {{% if {condition} %}}so: {{{{ test.gain }}}}{{% else %}}not so{{% endif %}}.\n"
    assert chosen_text(source, NUMBERS) == ("It is so: {{ test.gain }}.\n" if holds else "It is not so.\n")


@pytest.mark.parametrize("source", ["plain {{ test.gain }} {# no comment #}", "$\\frac{1}{2}$", "{ % if x % }", ""])
def test_text_without_conditions_is_left_as_it_is(source):
    assert chosen_text(source, NUMBERS) == source


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% if test.gian.low > 0 %}x{% endif %}", "no number is called 'test.gian'; the nearest is 'test.gain'"),
        ("{% if other.gain.low > 0 %}x{% endif %}", "'other' is undefined"),
        ("{% if test.gain > 0 %}x{% endif %}", "cannot be evaluated"),
        ("{% if test.gain.low > 0 %}x", "cannot be evaluated"),
        ("{% for x in test %}x{% endfor %}", "it holds no for"),
        ("{% if 9 ** 99999999 %}x{% endif %}", "it holds no pow"),
        ("{% if 'a' * 99999999 %}x{% endif %}", "it holds no mul"),
        ("{% include 'x' %}", "it holds no include"),
        ("{% set x = 1 %}", "it holds no assign"),
        ("{% if test.gain.low|abs > 0 %}x{% endif %}", "it holds no filter"),
        ("{% if test['gain'] %}x{% endif %}", "it holds no getitem"),
        ("{% if range(3) %}x{% endif %}", "it holds no call"),
        ("{% if test.__class__.__mro__ %}x{% endif %}", "undefined|no number is called|unsafe"),
    ],
)
def test_what_is_no_comparison_of_stored_numbers_is_refused(source, told):
    with pytest.raises(MarkdownError, match=told):
        chosen_text(source, NUMBERS)
