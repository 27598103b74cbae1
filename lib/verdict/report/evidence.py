"""Which drawing and which code stand behind a claim."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from verdict.base.numbers import Claim
from verdict.report.notebook import HIDDEN_TAG, Cell, code_cells
from verdict.report.outputs import MIME, stem_slug


@dataclass(frozen=True)
class Exhibit:
    """Where a number can be checked: a code cell, counted from 1 (0: unknown), and what it shows.

    "Figure 2" or "Table 1", and its anchor on the page; "" where nothing is drawn. `data` is the output by MIME type.
    """

    cell: int = 0
    shown: str = ""
    anchor: str = ""
    data: Mapping = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class PageExhibits:
    """What a page shows: exhibits by file name, and its answer (what it said, and text cells).

    `drawn` are its figures and galleries, in their order, but the main one first.
    """

    by_file: Mapping[str, Exhibit]
    answer: tuple[Mapping | str, ...]
    drawn: tuple[Exhibit, ...]
    live: Sequence[Cell]

    def of(self, claim: Claim) -> Exhibit:
        """The exhibit that a claim names; where the page does not show it, the cell that states the claim."""
        if claim.exhibit in self.by_file:
            return self.by_file[claim.exhibit]
        quoted = re.compile(rf"""["']{re.escape(claim.id)}["']""")
        stating = (cell.index + 1 for cell in code_cells(list(self.live)) if quoted.search(cell.source))
        return Exhibit(next(stating, 0))


def main_first(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in the order in which a page shows what they draw: the main figure stands beside the answer."""
    return sorted(cells, key=lambda cell: "main" not in cell.tags)


def find_exhibits(live: Sequence[Cell], done: Mapping[int, Cell]) -> PageExhibits:
    """Exhibits and answer of a page; figures and tables get the numbers and anchors that the page gives them.

    `done` holds the executed cell by the index of the live one, as `match_code` gives them.
    """
    counts: Counter[str] = Counter()
    by_file, answer, drawn = {}, [], []
    for cell in main_first(live):
        if HIDDEN_TAG in cell.tags:
            continue
        if cell.kind == "markdown" and "answer" in cell.tags:
            answer.append(cell.source)
        for output in done[cell.index].outputs if cell.index in done else ():
            payload = output.get("data", {}).get(MIME, {"kind": "claims"})
            if payload["kind"] == "claims":
                continue
            if payload["kind"] == "say":
                answer += [payload] if "answer" in cell.tags else []
                continue
            kind = "table" if payload["kind"] == "table" else "figure"
            anchor = f"{kind}-{stem_slug(payload)}"
            counts.update((kind, anchor))
            anchor += f"-{counts[anchor]}" if counts[anchor] > 1 else ""
            exhibit = Exhibit(cell.index + 1, f"{kind.capitalize()} {counts[kind]}", anchor, output["data"])
            if kind == "figure":
                drawn.append(exhibit)
            by_file.setdefault(str(payload.get("file") or ""), exhibit)
    by_file.pop("", None)
    return PageExhibits(by_file, tuple(answer), tuple(drawn), live)
