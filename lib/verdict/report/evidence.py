"""Which drawing and which code stand behind a claim."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Evidence of a page: its exhibits by file name, its answer (what it said, and text cells), and what it shows."""

    by_file: Mapping[str, Evidence]
    answer: tuple[Mapping[str, Any] | str, ...]
    n_figures: int
    n_tables: int
    live: Sequence[Cell]

    def of(self, claim: Claim) -> Evidence:
        """The exhibit that a claim names; where the page does not show it, the cell that states the claim."""
        if claim.exhibit in self.by_file:
            return self.by_file[claim.exhibit]
        quoted = re.compile(rf"""["']{re.escape(claim.id)}["']""")
        stating = (cell.index + 1 for cell in code_cells(list(self.live)) if quoted.search(cell.source))
        return Evidence(next(stating, 0))


def find_evidence(live: Sequence[Cell], done: Mapping[int, Cell]) -> PageEvidence:
    """Exhibits and answer of a page.

    Parameters
    ----------
    live : sequence of Cell
        The notebook as it is now.
    done : mapping of int to Cell
        Executed cell by the index of the live one, as `match_code` gives them.
    """
    label, by_file, answer = _Labels(), {}, []
    for cell in live:
        if cell.kind == "markdown" and "answer" in cell.tags:
            answer.append(cell.source)
        for payload in _payloads(done.get(cell.index)):
            if payload["kind"] == "say":
                answer += [payload] if "answer" in cell.tags else []
            elif payload.get("role") != "claims":
                evidence = label(payload, cell.index + 1)
                by_file.setdefault(str(payload.get("file") or ""), evidence)
    by_file.pop("", None)
    return PageEvidence(by_file, tuple(answer), label.counts["figure"], label.counts["table"], live)


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
