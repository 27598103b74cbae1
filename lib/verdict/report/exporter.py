"""One page by nbconvert: prose from the live notebook, outputs from the executed one, provenance from the record.

`jupyter nbconvert --to verdict.report.exporter.ReportExporter work/digits/05_test/executed.ipynb` makes the same page
as the report.
"""

import base64
import contextlib
import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import jinja2
from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode, from_dict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from traitlets import Bool, List, Unicode

from verdict.base.numbers import EXCLUDES, HUNDREDTHS, WITHIN, Claim, Numbers
from verdict.base.params import Params
from verdict.report.conditions import chosen_text
from verdict.report.evidence import find_exhibits, main_first
from verdict.report.executions import Execution, merged_numbers
from verdict.report.glossary import Explainer, load_glossary
from verdict.report.markdown import Markdown, MarkdownError, address, describe, number_anchor, paragraphs, slugify
from verdict.report.notebook import HIDDEN_TAG, Cell, RenderError, matched
from verdict.report.outputs import OutputRenderer, environment
from verdict.report.provenance import provenance

MAX_DATA_URI = 30_000
MOVED = '<p class="not-run"><a href="#answer">Shown beside the answer.</a></p>'
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


class Page:
    """One execution on its way to a page: where its prose comes from, and what is known of it while it is rendered."""

    def __init__(self, execution: Execution, site: Site):
        self.execution, self.site, self.answer, self.main = execution, site, "", ""
        self.numbers = merged_numbers(site.executions, execution)
        names = [link.name for link in site.links]
        # A page on another source's predictions leads to that source's pages where there are any.
        pages = tuple(name for name in names if f"{name}-{execution.source}" not in names) or None
        self.markdown = Markdown(self.numbers, folder=execution.live.parent, pages=pages)
        self.explainer = Explainer(load_glossary())
        self.outputs = OutputRenderer(self.markdown, self._download)
        of_notebook = {one.name for one in site.executions if one.notebook == execution.notebook}
        self.first = next((link for link in site.links if link.name in of_notebook), None)

    def _download(self, name: str, content: bytes) -> str:
        if len(content) <= MAX_DATA_URI:
            return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(content).decode('ascii')}"
        if self.site.is_copy:
            return ""
        place = f"files/{self.execution.name}/{self.markdown.claim_anchor(name)}"
        self.site.files[place] = content
        return quote(place)

    def cells(self) -> list[NotebookNode]:
        """The live notebook's cells as HTML, with the outputs of the executed one, if both hold the same code.

        What those tagged `answer` say, and those tagged `main` draw, is kept apart for the top of the page.
        """
        live, is_failed = self.execution.live, self.execution.status == "failed"
        cells, done = matched(live, self.execution.executed, is_failed=is_failed)
        seen = [cell for cell in cells if cell.kind in ("code", "markdown") and HIDDEN_TAG not in cell.tags]
        texts, shown = {}, []
        for cell in main_first(seen):
            try:
                texts[cell.index] = self._html(cell, done.get(cell.index))
            except ValueError as error:
                if is_failed and isinstance(error, MarkdownError):
                    texts[cell.index] = ""  # Its numbers were not reached.
                    continue
                raise RenderError(f"{live.name}, cell {cell.index + 1}: {error}") from error
        for cell in seen:
            text = texts[cell.index]
            if "answer" in cell.tags:
                self.answer, text = self.answer + text, ""
            elif "main" in cell.tags and text:
                self.main, text = self.main + text, MOVED
            told = {"tags": list(cell.tags), "html": text, "was_run": cell.index in done}
            node = {"cell_type": cell.kind, "source": cell.source, "metadata": told}
            if cell.kind == "code":
                told["code"] = highlight(cell.source.strip("\n"), _LEXER, _FORMATTER).rstrip("\n")
                told["anchor"] = self.markdown.claim_anchor(f"cell-{cell.index + 1}")
                node |= {"outputs": [], "execution_count": None}
            if cell.kind == "code" or text:
                shown.append(from_dict(node))
        self.evidence = find_exhibits(cells, done)
        return shown

    def _html(self, cell: Cell, done: Cell | None) -> str:
        if cell.kind == "code":
            return "".join(self.outputs.render(output) for output in (done.outputs if done else ()))
        source = self._told_once(cell.source)
        found = self.explainer.explained(self.markdown.render(source, attachments=cell.attachments))
        return f'<section class="prose">{found}</section>\n' if found.strip() else ""

    def _told_once(self, source: str) -> str:
        """A text cell as its conditions choose.

        What a section begins with, and the notebook's first page tells too, with the same numbers, is a link to it.
        """
        text = chosen_text(source, self.numbers)
        heading = text.partition("## ")[2].partition("\n")[0]
        if self.first is None or self.first.name == self.execution.name or not (heading or "**Method.**" in text):
            return text
        own, theirs = [], []
        with contextlib.suppress(MarkdownError, KeyError):
            own, theirs = self._filled(source, self.numbers), self._filled(source, self._of_first)
        place = f"{self.first.href}#{slugify(heading)}" if heading else self.first.href
        link, told = f"As on [{self.first.title}]({place}).", []
        for part, filled in itertools.zip_longest(paragraphs(text), own):
            if not filled or filled not in theirs or filled.startswith("## "):
                told.append(part)
            elif link:
                told.append(f"**Method.** {link}" if filled.startswith("**Method.**") else link)
                link = ""
        return "\n\n".join(told)

    @staticmethod
    def _filled(source: str, numbers: Numbers) -> list[str]:
        """Paragraphs of a text cell with their numbers; KeyError for one that is not stored."""
        return [numbers.format(part).strip() for part in paragraphs(chosen_text(source, numbers))]

    @functools.cached_property
    def _of_first(self) -> Numbers:
        executions = self.site.executions
        return merged_numbers(executions, next(one for one in executions if one.name == self.first.name))

    def context(self) -> dict:
        """What the template shows around the cells, once these are known."""
        execution, site, headings = self.execution, self.site, self.markdown.headings
        notebook = "" if site.is_copy else f"files/{execution.name}.ipynb"
        if notebook:
            site.files[notebook] = execution.executed.read_bytes()
        beside = list(itertools.pairwise([None, *site.links, None]))
        return {
            "site": site,
            "name": execution.name,
            "title": next((entry.text for entry in headings if entry.level == 1), execution.name),
            "answer": self.answer,
            "main": self.main,
            "headings": [entry for entry in headings if entry.level in (2, 3)],
            "before": next((one for one, two in beside if two and two.name == execution.name), None),
            "after": next((two for one, two in beside if one and one.name == execution.name), None),
            "claims": [self._claim(claim) for claim in execution.claims],
            "banners": banners(execution, site, self.outputs.errors, self.markdown.faults),
            "provenance": provenance(execution, site.executions),
            "notebook": quote(notebook),
            "variant": execution.variant,
        }

    def _claim(self, claim: Claim) -> dict:
        anchor = number_anchor(claim.number) if claim.number in self.markdown.mentioned else ""
        return claim_row(claim, self.numbers) | {"evidence": self.evidence.of(claim), "anchor": anchor}


class LivePage(Preprocessor):
    """The cells of a page in the place of those that were executed."""

    enabled = Bool(True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """The page's cells, and what its template shows around them as `resources["page"]`."""
        page = self.parent.page
        nb.cells, nb.nbformat_minor = page.cells(), 4
        resources["page"] = page.context()
        return nb, resources


class ReportExporter(HTMLExporter):
    """Pages of the report: of `page`, or of the execution in whose folder a notebook lies."""

    optimistic_validation = Bool(True)
    default_preprocessors = List([LivePage])
    template_name = Unicode("base")
    template_file = Unicode("page.html")
    page: Page

    def _create_environment(self) -> jinja2.Environment:
        """The report's templates, which build on nbconvert's."""
        ours, theirs = environment(), super()._create_environment()
        return ours.overlay(loader=jinja2.ChoiceLoader([ours.loader, theirs.loader]))

    def from_filename(self, filename: str, resources: object = None, **settings: object) -> tuple[str, dict]:
        """Convert an executed notebook; its record lies beside it."""
        from verdict.report.site import page_of_file

        self.page = page_of_file(Path(filename))
        return super().from_filename(filename, resources, **settings)

    def from_notebook_node(self, nb: NotebookNode, resources: object = None, **settings: object) -> tuple[str, dict]:
        """The page, and its downloads as `resources["outputs"]`."""
        # HTMLExporter would parse the page once more to describe pictures, which are all described by now.
        text, found = super(HTMLExporter, self).from_notebook_node(nb, resources, **settings)
        found["outputs"] = {**(found.get("outputs") or {}), **self.page.site.files}
        return text, found


@functools.cache
def _exporter() -> ReportExporter:
    return ReportExporter()


def render_page(execution: Execution, site: Site) -> str:
    """HTML of one executed notebook, with prose from the live one; downloads are put into the site's files.

    RenderError, which names notebook and cell, if the code was changed after the execution, or prose names an unknown
    number.
    """
    exporter = _exporter()
    exporter.page = Page(execution, site)
    nb = from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": []})
    return exporter.from_notebook_node(nb)[0]


def claim_row(claim: Claim, numbers: Numbers) -> dict:
    """What both the page and the index say of a claim."""
    number = numbers.get(claim.number)
    unit = number.unit if number else ""
    sign = {">=": "≥", "<=": "≤", EXCLUDES: "interval excludes", WITHIN: "interval within"}
    margin = "" if claim.margin is None else f" ± {in_unit(claim.margin, unit)}"
    return {
        "id": claim.id,
        "statement": claim.statement,
        "measured": number.text if number else "not measured",
        "behind": describe(claim.number, number) if number else "",
        "needed": f"{sign.get(claim.comparison, claim.comparison)} {in_unit(claim.bound, unit)}{margin}",
        "verdict": claim.verdict,
        "mark": {True: "holds", False: "fails", None: "open"}[claim.holds],
    }


def in_unit(bound: float, unit: str) -> str:
    """A bound in the unit of the number that is compared with it."""
    scaled = 100 * bound if unit in HUNDREDTHS else bound
    return f"{scaled:.3g} {unit}" if scaled != bound else f"{bound:.3g}" if abs(bound) < 100 else f"{bound:g}"


def banner(kind: str, headline: str, details: Iterable[str]) -> dict[str, str]:
    """A warning that must not be overlooked."""
    return {"kind": kind, "headline": headline, "detail": "; ".join(details)}


SMOKE = banner("smoke", "Smoke run: made to test the machinery.", ["Too little data; no number here means anything."])


def banners(execution: Execution, site: Site, errors: Sequence[str] = (), faults: Sequence[str] = ()) -> list[dict]:
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
