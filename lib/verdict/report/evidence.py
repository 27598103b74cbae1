"""Where a page says a number, and which drawing and which code stand behind it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verdict.numbers import Claim
from verdict.report.notebook import Cell, code_cells
from verdict.report.outputs import MIME, stem_slug


@dataclass(frozen=True)
class Evidence:
    """What a reader who doubts a number looks at.

    Parameters
    ----------
    cell : int
        The code cell, counted from 1; 0 where none is known.
    shown : str
        "Figure 2", "Table 1", or "" where nothing is drawn.
    anchor : str
        Where on the page that is.
    """

    cell: int = 0
    shown: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class PageEvidence:
    """Evidence of a page: by number that a sentence says, and by code cell that draws; its answer; what it shows."""

    by_number: Mapping[str, Evidence]
    by_cell: Mapping[int, Evidence]
    answer: tuple[Mapping[str, Any], ...]
    n_figures: int
    n_tables: int
    live: Sequence[Cell]

    def of(self, claim: Claim) -> Evidence:
        """Evidence of a claim: its number's; where no sentence says it, the cell that names the number or the claim."""
        if claim.number in self.by_number:
            return self.by_number[claim.number]
        for wanted in (claim.number, claim.id):
            quoted = re.compile(rf"""["']{re.escape(wanted)}["']""")
            for cell in code_cells(list(self.live)):
                if quoted.search(cell.source):
                    return self.by_cell.get(cell.index + 1, Evidence(cell.index + 1))
        return Evidence()


@dataclass
class _Section:
    """Numbers said and pictures shown below one heading."""

    said: dict[str, int] = field(default_factory=dict)
    shown: list[Evidence] = field(default_factory=list)

    def close(self) -> dict[str, Evidence]:
        """The picture of each number: the last one before its sentence, else the first one after."""
        found = {}
        for name, cell in self.said.items():
            before = [evidence for evidence in self.shown if evidence.cell <= cell]
            found[name] = before[-1] if before else self.shown[0] if self.shown else Evidence(cell)
        return found


def find_evidence(live: Sequence[Cell], done: Mapping[int, Cell]) -> PageEvidence:
    """Evidence of every number that a page's code says.

    A sentence of the page's answer, which may stand far from what it sums up, counts only for numbers that no other
    sentence says.

    Parameters
    ----------
    live : sequence of Cell
        The notebook as it is now; headings of level 1 and 2 part its sections.
    done : mapping of int to Cell
        Executed cell by the index of the live one, as `match_code` gives them.
    """
    told: dict[str, Evidence] = {}
    answered: dict[str, Evidence] = {}
    label, by_cell, answer = _Labels(), {}, []
    text, top = _Section(), _Section()
    for cell in live:
        if cell.kind == "markdown" and re.search(r"^##? ", cell.source, re.MULTILINE):
            told, answered = text.close() | told, top.close() | answered
            text, top = _Section(), _Section()
        for payload in _payloads(done.get(cell.index)):
            if payload["kind"] == "say":
                side = top if "answer" in cell.tags else text
                side.said |= {name: cell.index + 1 for name in payload["numbers"] if name not in side.said}
                answer += [payload] if side is top else []
            elif payload.get("role") != "claims":
                evidence = label(payload, cell.index + 1)
                text.shown.append(evidence)
                top.shown.append(evidence)
                by_cell.setdefault(evidence.cell, evidence)
    by_number = {**top.close(), **answered, **text.close(), **told}
    return PageEvidence(by_number, by_cell, tuple(answer), label.counts["figure"], label.counts["table"], live)


def _payloads(executed: Cell | None) -> list[Mapping[str, Any]]:
    outputs = executed.outputs if executed else ()
    return [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]


class _Labels:
    """Numbers figures and tables, and repeats the anchors that the page gives them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, payload: Mapping[str, Any], cell: int) -> Evidence:
        kind = "table" if payload["kind"] == "table" else "figure"
        anchor = f"{kind}-{stem_slug(payload)}"
        self.counts.update((kind, anchor))
        repeat = self.counts[anchor]
        return Evidence(
            cell, f"{kind.capitalize()} {self.counts[kind]}", f"{anchor}-{repeat}" if repeat > 1 else anchor
        )
