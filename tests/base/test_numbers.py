"""Numbers: how they are shown, stored and looked up, and when a claim about one holds."""

from dataclasses import replace

import pytest

from verdict.base.labels import in_words
from verdict.base.numbers import ESTIMATE, POINTS, Claim, Number, Numbers, evaluate_claim, named

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        # The width of the interval decides how many decimals are shown.
        (Number(0.81234, 0.79, 0.84), "0.812 [0.790, 0.840]"),
        (Number(0.81234, 0.6, 0.95), "0.81 [0.60, 0.95]"),
        (Number(0.81234, 0.8120, 0.8126), "0.812 [0.812, 0.813]"),
        (Number(123.45, 100.0, 150.0), "123 [100, 150]"),
        (Number(1234.5, 1000.0, 1500.0), "1234 [1000, 1500]"),
        (Number(0.5, 0.5, 0.5), "0.500 [0.500, 0.500]"),
        (Number(0.1, 0.1 - 1e-12, 0.1 + 1e-12), "0.100 [0.100, 0.100]"),
        (Number(0.81234, 0.79, 0.84, unit="%"), "81.2 % [79.0, 84.0]"),
        (Number(2.345, 2.0, 3.0, unit="minutes"), "2.3 minutes [2.0, 3.0]"),
        (Number(0.81234, unit="%"), "81.2 %"),
        (Number(-0.05, -0.07, 0.02, unit=POINTS), "-5.0 percentage points [-7.0, 2.0]"),
        (Number(0.5, unit=POINTS), "50 percentage points"),
        (Number(0.000123456), "0.000123"),
        (Number(12345.6), "12,346"),
        (Number(1234567, unit="count"), "1,234,567"),
        (Number(3.0), "3"),
        (Number(-0.5, -0.7, 0.2), "-0.50 [-0.70, 0.20]"),
        # An end beside zero shows its side.
        (Number(-0.06, -0.106, -0.0019, unit="min"), "-0.060 min [-0.106, -0.002]"),
        (Number(0.09, 0.0044, 0.177, unit=POINTS), "9.0 percentage points [0.4, 17.7]"),
        (Number(0.06, 0.0, 0.106), "0.06 [0.00, 0.11]"),
        (Number(0.06, 1e-12, 0.106), "0.06 [0.00, 0.11]"),
        (Number(NAN), "not defined"),
        (Number(NAN, NAN, NAN), "not defined"),
        (Number(INF), "∞"),
        (Number(0.25, NAN, NAN), "0.25"),
        (Number(0.5, 0.4, 0.6, n_undefined=12), "0.50 [0.40, 0.60] (12 resamples undefined)"),
    ],
)
def test_the_text_of_a_number(number, text):
    assert number.text == text


@pytest.mark.parametrize(
    ("low", "high", "kind", "message"),
    [
        (0.1, None, "", "both bounds"),
        (0.2, 0.1, "", "order"),
        (0.1, 0.2, "guess", "a number is one of"),
    ],
)
def test_a_number_has_two_ordered_bounds_and_a_kind(low, high, kind, message):
    with pytest.raises(ValueError, match=message):
        Number(0.15, low, high, kind=kind)


@pytest.fixture
def numbers():
    entries = {
        "test.macro_f1": Number(0.82, 0.8, 0.84, n=4000, split="test", seeds=(11, 23)),
        "test.n_pairs": Number(4000, unit="count"),
        "gain.text": Number(0.05, -0.01, 0.11),
        "empty.rate": Number(NAN, NAN, NAN, n=0),
    }
    return Numbers(entries)


@pytest.mark.parametrize("name", ["macro_f1", "Test.f1", "test.", "test f1", "1.a"])
def test_a_name_is_dotted_lower_case(name):
    with pytest.raises(ValueError, match="dotted lower-case"):
        Numbers()[name] = Number(1.0)


def test_a_name_is_written_once(numbers):
    numbers["test.n_pairs"] = Number(4000, unit="count")
    with pytest.raises(ValueError, match=r"'test\.n_pairs' is already stored with another value"):
        numbers["test.n_pairs"] = Number(4001, unit="count")
    with pytest.raises(ValueError, match="already stored"):
        numbers.merge({"test.macro_f1": Number(0.82)})
    assert numbers["test.n_pairs"].value == 4000


def test_an_unknown_name_names_the_nearest(numbers):
    with pytest.raises(KeyError, match=r"no number is called 'test\.macro_f'; the nearest is 'test\.macro_f1'"):
        numbers["test.macro_f"]
    with pytest.raises(KeyError, match="none is stored"):
        Numbers()["a.b"]
    with pytest.raises(KeyError, match=r"the nearest is 'gain\.text'"):
        numbers.format("The gain is {gain.test}.")


def test_both_kinds_of_braces_are_filled(numbers):
    template = (
        "{test.macro_f1} = {{ test.macro_f1 }} = {{test.macro_f1|value}} = {test.macro_f1|value} of {test.n_pairs}"
    )
    assert numbers.format(template) == "0.820 [0.800, 0.840] = 0.820 [0.800, 0.840] = 0.820 = 0.820 of 4,000"
    assert numbers.format("{{ empty.rate }}") == "not defined"
    assert numbers.format("no number here, {} or {A}") == "no number here, {} or {A}"


@pytest.mark.parametrize("value", [0.8625, 0.8635, 0.5645])
def test_a_share_and_its_per_cent_are_rounded_alike(value):
    plain, share = (Number(value, value - 0.01, value + 0.01, unit=unit).text for unit in ("", "%"))
    assert f"{100 * float(plain[:5]):.1f} %" == share.partition(" [")[0]


def test_names_are_shown_in_words():
    assert named("text2_oversampled").text == "text2 oversampled"
    shown = {"warmup_val": "warm-up, val", "compare_count": "compare count"}
    shown |= {own: own for own in ("drawn_01", "a_b.png", "test_00012", "a sentence of_two")}
    assert {name: in_words(name) for name in shown} == shown


@pytest.mark.parametrize("template", ["{{ test.macro_f1|short }}", "{test.macro_f1|short}"])
def test_an_unknown_form_is_refused(numbers, template):
    with pytest.raises(KeyError, match="unknown form 'short'"):
        numbers.format(template)


def test_numbers_come_back_from_their_file(numbers, tmp_path):
    numbers.save(tmp_path / "numbers.json")
    loaded = Numbers.load(tmp_path / "numbers.json")
    assert list(loaded) == sorted(numbers)
    for name in numbers:
        assert loaded[name].text == numbers[name].text
    assert loaded["test.macro_f1"] == numbers["test.macro_f1"]
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "numbers.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "comparison", "bound", "holds"),
    [
        # The interval of test.macro_f1 is [0.80, 0.84]: an ordering must hold for all of it.
        ("test.macro_f1", ">", 0.79, True),
        ("test.macro_f1", ">", 0.80, False),
        ("test.macro_f1", ">=", 0.80, True),
        ("test.macro_f1", ">", 0.81, False),
        ("test.macro_f1", "<", 0.85, True),
        ("test.macro_f1", "<", 0.83, False),
        ("test.macro_f1", "<=", 0.84, True),
        ("test.macro_f1", "excludes", 0.5, True),
        ("test.macro_f1", "excludes", 0.9, True),
        ("test.macro_f1", "excludes", 0.84, False),
        ("test.macro_f1", "excludes", 0.81, False),
        ("gain.text", ">", 0.0, False),
        ("gain.text", "excludes", 0.0, False),
        ("test.n_pairs", ">=", 4000, True),
        ("test.n_pairs", "<", 4000, False),
        # Nothing can be said of what is not defined.
        ("empty.rate", ">", 0.0, None),
        ("empty.rate", "<", 0.0, None),
        ("empty.rate", "excludes", 0.0, None),
    ],
)
def test_a_claim_is_judged_by_the_interval(numbers, name, comparison, bound, holds):
    claim = evaluate_claim(numbers, Claim(id="c", statement="s", number=name, comparison=comparison, bound=bound))
    assert claim.holds is holds
    assert (claim.number, claim.comparison, claim.bound) == (name, comparison, bound)
    assert evaluate_claim(numbers, replace(claim, applies=False)).verdict == "not applicable"


@pytest.mark.parametrize(
    ("number", "bound", "margin", "verdict"),
    [
        (Number(0.50, 0.49, 0.51), 0.5, 0.02, "holds"),
        # An interval that contains the bound says nothing where it is wide: a small sample is no evidence.
        (Number(0.50, 0.30, 0.70), 0.5, 0.02, "does not hold"),
        (Number(0.53, 0.521, 0.54), 0.5, 0.02, "does not hold"),
        (Number(0.51, 0.505, 0.515), 0.5, 0.02, "holds"),
        (Number(0.5, kind=ESTIMATE), 0.5, 0.02, "not applicable"),
        (Number(float("nan"), kind=ESTIMATE), 0.5, 0.02, "not applicable"),
    ],
)
def test_equal_within_a_margin_needs_the_whole_interval(number, bound, margin, verdict):
    told = {"id": "c", "statement": "s", "number": "a.b", "comparison": "within", "bound": bound}
    assert evaluate_claim(Numbers({"a.b": number}), Claim(**told, margin=margin)).verdict == verdict


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (Number(0.5, 0.4, 0.6), "estimate"),
        (Number(3.0, unit="count"), "count"),
        (Number(3.0, kind="exact"), "exact"),
        (Number(3.0), ""),
    ],
)
def test_a_number_says_what_it_is(number, kind):
    assert number.kind == kind


@pytest.mark.parametrize(
    ("number", "comparison", "margin", "error", "message"),
    [
        ("test.n_pairs", "excludes", None, ValueError, r"'test\.n_pairs' has no interval to exclude 3"),
        ("test.macro_f1", "within", None, ValueError, "`within` needs a positive one, no other does"),
        ("test.macro_f1", "within", 0.0, ValueError, "`within` needs a positive one, no other does"),
        ("test.macro_f1", ">", 0.1, ValueError, "`within` needs a positive one, no other does"),
        ("test.macro_f1", "==", None, ValueError, "unknown comparison '=='"),
        ("a.b", ">", None, KeyError, "no number is called"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(numbers, number, comparison, margin, error, message):
    told = {"id": "c", "statement": "s", "number": number, "comparison": comparison, "bound": 3, "margin": margin}
    with pytest.raises(error, match=message):
        evaluate_claim(numbers, Claim(**told))
