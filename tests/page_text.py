"""What a text cell of a notebook says of some numbers."""

from collections.abc import Mapping

from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.report.conditions import chosen_text
from verdict.report.notebook import read_notebook


def told(notebook: str, containing: str, numbers: Numbers) -> str:
    """The text of the one cell that holds some words, as its page shows it, on one line."""
    cells = [cell.source for cell in read_notebook(paths.NOTEBOOKS / f"{notebook}.ipynb") if cell.kind == "markdown"]
    (source,) = [source for source in cells if containing in source]
    return " ".join(numbers.format(chosen_text(source, numbers)).split())


def numbers_of(values: Mapping[str, Number | tuple | float]) -> Numbers:
    """Numbers by name: a number, a value, or (value, low, high)."""
    as_given = {name: value if isinstance(value, tuple | Number) else (value,) for name, value in values.items()}
    return Numbers({name: n if isinstance(n, Number) else Number(*n) for name, n in as_given.items()})
