"""Text that survives a spreadsheet: no cell of a CSV that we write is taken for a formula.

A text that would be one gets an apostrophe in front, and so does one that begins with an apostrophe: reading takes one
leading apostrophe away, and every text comes back as it was.
"""

FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r")
GUARD = "'"


def neutralise(text: str) -> str:
    """Text that no spreadsheet takes for a formula; `restore` undoes it."""
    return GUARD + text if text.startswith((GUARD, *FORMULA_STARTS)) else text


def restore(text: str) -> str:
    """What `neutralise` was given."""
    return text.removeprefix(GUARD)
