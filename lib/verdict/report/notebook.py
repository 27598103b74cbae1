"""Notebooks as plain JSON: reading them, their code cells, and whether two copies hold the same code."""

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from verdict.base.artifacts import read_json, sha256_file

INJECTED = "injected-parameters"
# A page leaves out cells with this tag.
HIDDEN_TAG = "remove-cell"
# Of the scripts that have one of their own; the first asks only before a blank.
QUESTION_MARKS = ("?", "？", "؟")
_COMMENT = re.compile(r"<!--[\s\S]*?-->")


class RenderError(ValueError):
    """A page that must not be made; the message names the notebook and the cell."""


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook: its place from 0, and "markdown", "code" or "raw"; text cells have no outputs."""

    index: int
    kind: str
    source: str
    tags: tuple[str, ...]
    outputs: tuple[dict, ...]
    attachments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_notebook(path: Path) -> list[Cell]:
    """Cells of a notebook file; RenderError if it is not JSON, none of format 4, or a cell has another form."""
    return list(_read(Path(path), sha256_file(path)))


@functools.lru_cache(maxsize=256)
def _read(path: Path, _digest: str) -> tuple[Cell, ...]:
    """A report reads each notebook several times; one that has changed is read again."""
    try:
        content = read_json(path)
    except ValueError as error:
        raise RenderError(str(error)) from None
    if not isinstance(content, dict) or content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        raise RenderError(f"{path} is not a notebook of format 4")
    found = []
    for index, cell in enumerate(content["cells"]):
        try:
            found.append(_cell(index, cell))
        except (AttributeError, TypeError, ValueError) as error:
            raise RenderError(f"{path}, cell {index + 1} is not a cell of a notebook: {error}") from None
    return tuple(found)


def _cell(index: int, cell: dict) -> Cell:
    outputs, tags = cell.get("outputs", []), cell.get("metadata", {}).get("tags", [])
    is_whole = isinstance(outputs, list) and all(isinstance(output, dict) for output in outputs)
    if not is_whole or not isinstance(tags, list):
        raise TypeError("outputs and tags are lists")
    pasted = {name: dict(media) for name, media in dict(cell.get("attachments", {})).items()}
    kind, source = str(cell.get("cell_type", "raw")), "".join(cell.get("source", ""))
    return Cell(index, kind, source, tuple(map(str, tags)), tuple(outputs), pasted)


def without_comments(text: str) -> str:
    """Prose without the comments that authors write for each other."""
    return _COMMENT.sub("", text)


def code_cells(cells: list[Cell]) -> list[Cell]:
    """Code cells that the author wrote; the cell that papermill injects is left out."""
    return [cell for cell in cells if cell.kind == "code" and INJECTED not in cell.tags]


def matched(live: Path, executed: Path, *, is_failed: bool = False) -> tuple[list[Cell], dict[int, Cell]]:
    """Cells of the live notebook, and the executed cell of each of its code cells by the live one's index.

    Of a failed execution those whose code is still the same. RenderError if the two hold different code; the message
    names the first cell that differs.
    """
    cells = read_notebook(live)
    ours, theirs = code_cells(cells), code_cells(read_notebook(executed))
    if is_failed:
        known = {done.source.strip(): done for done in theirs}
        return cells, {cell.index: known[cell.source.strip()] for cell in ours if cell.source.strip() in known}
    for mine, done in zip(ours, theirs, strict=False):
        if mine.source.strip() != done.source.strip():
            now, then = _first_difference(mine.source, done.source)
            raise RenderError(
                f"{live.name}, cell {mine.index + 1}: the code differs from the code that was executed; "
                f"run the notebook again (now {now!r}, executed {then!r})"
            )
    if len(ours) != len(theirs):
        place = max(ours, theirs, key=len)[min(len(ours), len(theirs))].index + 1
        raise RenderError(
            f"{live.name}, cell {place}: {len(ours)} code cells now, {len(theirs)} when it was executed; "
            f"run the notebook again"
        )
    return cells, {mine.index: done for mine, done in zip(ours, theirs, strict=True)}


def _first_difference(one: str, other: str) -> tuple[str, str]:
    """The first line that differs between two sources, of each; "" of one that has ended by then."""
    lines = itertools.zip_longest(one.strip().split("\n"), other.strip().split("\n"), fillvalue="")
    now, then = next(pair for pair in lines if pair[0] != pair[1])
    return now[:200], then[:200]
