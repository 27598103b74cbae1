"""Text on its way into a spreadsheet and back."""

import pytest

from verdict.base.spreadsheet import FORMULA_STARTS, neutralise, restore


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "'a", "''", "＝a", "\t=a", "a=b", "a", "", "'=a", "16"])
def test_text_comes_back_and_is_no_formula(text):
    written = neutralise(text)
    assert not written.startswith(FORMULA_STARTS)
    assert restore(written) == text


@pytest.mark.parametrize("text", ["a=b", "a", "", "16", " =a"])
def test_what_is_no_formula_is_left_alone(text):
    assert neutralise(text) == text
