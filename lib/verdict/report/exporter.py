"""One page by nbconvert: prose from the live notebook, outputs from the executed one, provenance from the record.

`jupyter nbconvert --to verdict.report.exporter.ReportExporter work/digits/05_test/executed.ipynb` makes the same page
as the report.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode, from_dict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from traitlets import Bool, List, default

from verdict.base.numbers import EXCLUDES, HUNDREDTHS, WITHIN, Claim, Numbers
from verdict.base.params import Params
from verdict.report.conditions import chosen_text
from verdict.report.evidence import PageEvidence, find_evidence
from verdict.report.executions import Execution
from verdict.report.markdown import Markdown, MarkdownError, address, number_anchor
from verdict.report.notebook import Cell, RenderError, as_cells, match_code, read_notebook
from verdict.report.outputs import OutputRenderer, environment
from verdict.report.provenance import provenance

MAX_DATA_URI = 30_000
HIDDEN_TAGS = frozenset({"remove-cell"})
SPEAKING_TAGS = frozenset({"hide-input", "answer"})
_FORMATTER = HtmlFormatter(nowrap=True, classprefix="k-")
_LEXER = PythonLexer()


@dataclass(frozen=True)
class Link:
    """A page as other pages point to it."""

    name: str
    title: str
    question: str = ""

    @property
    def href(self) -> str:
        """File name of the page."""
        return address(self.name)


@dataclass
class Site:
    """What all pages of a report share: links in reading order, all executions, and downloads by path below the report.

    `params` is None where they no longer load; `is_copy` marks the small copy that is kept in git.
    """

    profile: str
    title: str = "Verdict"
    links: list[Link] = field(default_factory=list)
    is_smoke: bool = False
    executions: Sequence[Execution] = ()
    params: Params | None = None
    is_copy: bool = False
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def level(self) -> float | None:
        """Level of the intervals."""
        return self.params.statistics.level if self.params else None

    def has(self, name: str) -> bool:
        """Whether the report has a page of this name."""
        return any(link.name == name for link in self.links)

    def neighbours(self, name: str) -> tuple[Link | None, Link | None]:
        """The pages before and after one."""
        names = [link.name for link in self.links]
        if name not in names:
            return None, None
        place = names.index(name)
        before = self.links[place - 1] if place else None
        return before, self.links[place + 1] if place + 1 < len(names) else None


class Page:
    """One execution on its way to a page: where its prose comes from, and what is known of it while it is rendered."""

    def __init__(self, live: Path, execution: Execution, numbers: Numbers, site: Site):
        self.live, self.execution, self.numbers, self.site = Path(live), execution, numbers, site
        names = [link.name for link in site.links]
        # A page on another source's predictions leads to that source's pages where there are any.
        pages = tuple(name for name in names if f"{name}-{execution.source}" not in names) or None
        self.markdown = Markdown(numbers, folder=self.live.parent, pages=pages)
        self.outputs = OutputRenderer(self.markdown, self._download, has_claims=bool(execution.claims))
        self.cells: tuple[list[Cell], dict[int, Cell]] = [], {}
        self.answer = ""

    def _download(self, name: str, content: bytes) -> str:
        if len(content) <= MAX_DATA_URI:
            return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(content).decode('ascii')}"
        if self.site.is_copy:
            return ""
        place = f"files/{self.execution.name}/{self.markdown.claim_anchor(name)}"
        self.site.files[place] = content
        return quote(place)

    def context(self) -> dict[str, Any]:
        """What the template shows around the cells."""
        execution, site, headings = self.execution, self.site, self.markdown.headings
        notebook = "" if site.is_copy else f"files/{execution.name}.ipynb"
        if notebook and execution.executed:
            site.files[notebook] = Path(execution.executed).read_bytes()
        evidence = find_evidence(*self.cells)
        before, after = site.neighbours(execution.name)
        return {
            "site": site,
            "name": execution.name,
            "title": next((entry.text for entry in headings if entry.level == 1), execution.name),
            "answer": self.answer,
            "headings": [entry for entry in headings if entry.level in (2, 3)],
            "before": before,
            "after": after,
            "claims": [self._claim(claim, evidence) for claim in execution.claims],
            "banners": banners(execution, site, self.outputs.errors, self.markdown.faults),
            "provenance": provenance(execution, site.executions),
            "notebook": quote(notebook),
            "variant": execution.variant,
        }

    def _claim(self, claim: Claim, evidence: PageEvidence) -> dict[str, Any]:
        anchor = number_anchor(claim.number) if claim.number in self.markdown.mentioned else ""
        return claim_row(claim, self.numbers) | {"id": claim.id, "evidence": evidence.of(claim), "anchor": anchor}


class LiveProse(Preprocessor):
    """The live notebook's cells with the outputs of the executed one, if both hold the same code."""

    enabled = Bool(True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Take the cells' place; a failed execution keeps the outputs of those cells whose code is the same."""
        page = self.parent.page
        executed = as_cells(nb.cells, page.execution.executed or page.live)
        live = read_notebook(page.live)
        done = executed_cells(live, page.execution.status, executed, page.live.name)
        page.cells = live, done
        shown = [cell for cell in live if cell.kind in ("code", "markdown") and not HIDDEN_TAGS & set(cell.tags)]
        nb.cells = [_node(cell, done.get(cell.index)) for cell in shown]
        nb.nbformat_minor = 4
        return nb, resources


def _node(cell: Cell, done: Cell | None) -> NotebookNode:
    told = {"tags": list(cell.tags), "place": cell.index + 1, "was_run": done is not None}
    node = {"cell_type": cell.kind, "source": cell.source, "metadata": told}
    if cell.kind == "markdown":
        return from_dict(node | {"attachments": cell.attachments})
    return from_dict(node | {"outputs": list(done.outputs) if done else [], "execution_count": None})


class Rendered(Preprocessor):
    """Text cells and outputs as HTML: numbers and formulas in prose, our structured outputs, links and headings."""

    enabled = Bool(True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """All cells in order; what those tagged `answer` say is kept apart for the top of the page."""
        page = self.parent.page
        for cell in nb.cells:
            try:
                text = self._text(cell, page)
            except (MarkdownError, ValueError) as error:
                raise RenderError(f"{page.live.name}, cell {cell.metadata.place}: {error}") from error
            if "answer" in cell.metadata.tags:
                page.answer += text
                text = ""
            cell.metadata.html = text
            cell.pop("attachments", None)
            if cell.cell_type == "code":
                cell.outputs = []
                cell.metadata.code = highlight(cell.source.strip("\n"), _LEXER, _FORMATTER).rstrip("\n")
                cell.metadata.anchor = page.markdown.claim_anchor(f"cell-{cell.metadata.place}")
        nb.cells = [cell for cell in nb.cells if cell.cell_type == "code" or cell.metadata.html]
        resources["page"] = page.context()
        return nb, resources

    @staticmethod
    def _text(cell: NotebookNode, page: Page) -> str:
        if cell.cell_type == "code":
            return "".join(page.outputs.render(output) for output in cell.outputs)
        source = chosen_text(cell.source, page.numbers)
        found = page.markdown.render(source, attachments=cell.get("attachments"))
        return f'<section class="prose">{found}</section>\n' if found.strip() else ""


class ReportExporter(HTMLExporter):
    """Pages of the report; without a `page`, that of the execution in whose folder the notebook lies."""

    optimistic_validation = Bool(True)
    default_preprocessors = List([LiveProse, Rendered])

    def __init__(self, page: Page | None = None, **settings: Any):
        self.page = page
        super().__init__(**settings)

    @default("template_name")
    def _template_name_default(self) -> str:
        return "base"

    @default("template_file")
    def _template_file_default(self) -> str:
        return "page.html"

    def _create_environment(self) -> jinja2.Environment:
        """The report's templates, which build on nbconvert's."""
        ours, theirs = environment(), super()._create_environment()
        return ours.overlay(loader=jinja2.ChoiceLoader([ours.loader, theirs.loader]))

    def from_filename(
        self, filename: str, resources: dict[str, Any] | None = None, **settings: Any
    ) -> tuple[str, dict[str, Any]]:
        """Convert an executed notebook; its record lies beside it."""
        if self.page is None:
            from verdict.report.site import page_of_file

            self.page = page_of_file(Path(filename))
        return super().from_filename(filename, resources, **settings)

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **settings: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page, and its downloads as `resources["outputs"]`."""
        # HTMLExporter would parse the page once more to describe pictures, which are all described by now.
        text, found = super(HTMLExporter, self).from_notebook_node(nb, resources, **settings)
        found["outputs"] = {**(found.get("outputs") or {}), **self.page.site.files}
        return text, found


@functools.cache
def _exporter() -> ReportExporter:
    return ReportExporter()


def render_page(live: Path, execution: Execution, numbers: Numbers, site: Site) -> str:
    """HTML of one executed notebook, with prose from the live one; downloads are put into the site's files.

    RenderError, which names notebook and cell, if the code was changed after the execution, or prose names an unknown
    number.
    """
    cells = [_node(cell, cell) for cell in read_notebook(execution.executed)]
    exporter = _exporter()
    exporter.page = Page(live, execution, numbers, site)
    nb = from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
    return exporter.from_notebook_node(nb)[0]


def executed_cells(live: list[Cell], status: str, executed: list[Cell], name: str) -> dict[int, Cell]:
    """Executed cell of every live code cell; of a failed execution those whose code is still the same.

    RenderError if another code was executed.
    """
    if status != "failed":
        return match_code(live, executed, name)
    known = {cell.source.strip(): cell for cell in executed if cell.kind == "code"}
    same = {cell.index: known.get(cell.source.strip()) for cell in live if cell.kind == "code"}
    return {index: cell for index, cell in same.items() if cell is not None}


def claim_row(claim: Claim, numbers: Numbers) -> dict[str, Any]:
    """What both the page and the index say of a claim."""
    number = numbers.get(claim.number)
    unit = number.unit if number else ""
    sign = {">=": "≥", "<=": "≤", EXCLUDES: "interval excludes", WITHIN: "interval within"}
    margin = "" if claim.margin is None else f" ± {in_unit(claim.margin, unit)}"
    return {
        "statement": claim.statement,
        "measured": number.text if number else "not measured",
        "needed": f"{sign.get(claim.comparison, claim.comparison)} {in_unit(claim.bound, unit)}{margin}",
        "verdict": claim.verdict,
        "mark": {True: "holds", False: "fails", None: "open"}[claim.holds],
    }


def in_unit(bound: float, unit: str) -> str:
    """A bound in the unit of the number that is compared with it."""
    return f"{100 * bound:g} {unit}" if unit in HUNDREDTHS and bound else f"{bound:g}"


def banner(kind: str, headline: str, details: Iterable[str]) -> dict[str, str]:
    """A warning that must not be overlooked."""
    return {"kind": kind, "headline": headline, "detail": "; ".join(details)}


SMOKE = banner("smoke", "Smoke run: made to test the machinery.", ["Too little data; no number here means anything."])


def banners(
    execution: Execution, site: Site, errors: Sequence[str] = (), faults: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Warnings of a page: of its execution, with errors in its cells, and with faults in its prose."""
    found = []
    if execution.status == "failed" or errors:
        found.append(banner("failed", "This stage failed.", [*execution.reasons, *errors]))
    if execution.status == "stale":
        headline = "Stale: the project changed after this page's numbers were computed."
        found.append(banner("stale", headline, execution.reasons))
    if faults:
        found.append(banner("stale", "The text of this page wants mending.", faults))
    return [*found, SMOKE] if site.is_smoke else found
