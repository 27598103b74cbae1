"""What a text cell of a notebook says of some numbers."""

from verdict import paths
from verdict.numbers import Number, Numbers
from verdict.report.conditions import chosen_text
from verdict.report.notebook import read_notebook


def told(notebook: str, containing: str, numbers: Numbers) -> str:
    """The text of the one cell that holds some words, as its page shows it, on one line."""
    cells = [cell.source for cell in read_notebook(paths.NOTEBOOKS / f"{notebook}.ipynb") if cell.kind == "markdown"]
    (source,) = [source for source in cells if containing in source]
    return " ".join(numbers.format(chosen_text(source, numbers)).split())


def numbers_of(**values: Number | tuple | float) -> Numbers:
    """Numbers by name, `__` for a dot: a value, or (value, low, high)."""
    found = {}
    for name, value in values.items():
        given = value if isinstance(value, Number) else Number(*value) if isinstance(value, tuple) else Number(value)
        found[name.replace("__", ".")] = given
    return Numbers(found)
