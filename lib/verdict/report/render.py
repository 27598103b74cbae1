"""One page: prose from the live notebook, outputs from the executed one, provenance from the record."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from verdict.numbers import EXCLUDES, HUNDREDTHS, WITHIN, Claim, Numbers
from verdict.params import Params
from verdict.report.conditions import chosen_text
from verdict.report.evidence import find_evidence
from verdict.report.executions import Execution
from verdict.report.markdown import Heading, Markdown, MarkdownError, address, number_anchor, plain_text
from verdict.report.notebook import QUESTION_MARKS, Cell, RenderError, match_code, read_notebook, without_comments
from verdict.report.outputs import OutputRenderer
from verdict.report.provenance import provenance

HERE = Path(__file__).resolve().parent
SCRIPTS = ("page.js", "review.js")
MAX_DATA_URI = 30_000
HIDDEN_TAGS = frozenset({"remove-cell"})
START_TAGS = frozenset({"parameters", "setup"})
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
    """What all pages of a report share.

    Parameters
    ----------
    profile, title : str
    links : list of Link
        Pages in reading order.
    is_smoke : bool
        Whether the profile exists for testing only.
    executions : sequence of Execution
        All of the report.
    params : Params, optional
        The profile's; None where they no longer load.
    is_copy : bool
        Whether this is the small copy that is kept in git.
    files : dict
        Downloads collected while rendering: path below the report → content.
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


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of the report; everything that is not marked safe is escaped."""
    loader = jinja2.FileSystemLoader(HERE)
    found = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    found.globals |= {
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    }
    return found


def render_page(
    live_notebook: Path,
    executed: Path,
    run: dict[str, Any],
    numbers: Numbers,
    site: Site,
    *,
    execution: Execution | None = None,
) -> str:
    """HTML of one executed notebook.

    Parameters
    ----------
    live_notebook : Path
        Where prose comes from.
    executed : Path
        Where outputs come from.
    run : dict
        The record of the execution.
    numbers : Numbers
        What prose may refer to.
    site : Site
        Receives downloads in `files`.
    execution : Execution, optional
        Status and claims; by default a finished execution without claims.

    Raises
    ------
    RenderError
        If the code was changed after the execution, or prose names an unknown number; names notebook and cell.
    """
    execution = execution or Execution(Path(live_notebook).stem, Path(live_notebook).stem, "done", run=run)
    live = read_notebook(live_notebook)
    done = executed_cells(live, execution.status, executed, Path(live_notebook).name)
    page = _PageBuilder(Path(live_notebook), execution, numbers, site)
    body = page.body(live, done)
    evidence = find_evidence(live, done)
    notebook = "" if site.is_copy else f"files/{execution.name}.ipynb"
    if notebook:
        site.files[notebook] = Path(executed).read_bytes()
    before, after = site.neighbours(execution.name)
    return (
        environment()
        .get_template("page.html")
        .render(
            site=site,
            name=execution.name,
            title=page.title,
            answer=page.answer,
            body=body,
            headings=page.contents,
            before=before,
            after=after,
            claims=[
                claim_row(claim, numbers)
                | {
                    "id": claim.id,
                    "evidence": evidence.of(claim),
                    "anchor": number_anchor(claim.number) if claim.number in page.markdown.mentioned else "",
                }
                for claim in execution.claims
            ],
            banners=banners(execution, site, page.outputs.errors),
            provenance=provenance(execution, site.executions),
            notebook=quote(notebook),
            variant=execution.variant,
        )
    )


def executed_cells(live: list[Cell], status: str, executed: Path, name: str) -> dict[int, Cell]:
    """Executed cell of every live code cell; of a failed execution those whose code is still the same.

    Raises
    ------
    RenderError
        If another code was executed.
    """
    found = read_notebook(executed)
    return _by_source(live, found) if status == "failed" else match_code(live, found, name)


def _by_source(live: list[Cell], executed: list[Cell]) -> dict[int, Cell]:
    """Outputs of a failed execution: only cells whose code is still the same."""
    known = {cell.source.strip(): cell for cell in executed if cell.kind == "code"}
    return {
        cell.index: known[cell.source.strip()] for cell in live if cell.kind == "code" and cell.source.strip() in known
    }


def claim_row(claim: Claim, numbers: Numbers) -> dict[str, Any]:
    """What both the page and the index say of a claim."""
    number = numbers.get(claim.number)
    return {
        "statement": claim.statement,
        "measured": number.text if number else "not measured",
        "needed": needed(claim, number.unit if number else ""),
        "verdict": claim.verdict,
        "mark": {True: "holds", False: "fails", None: "open"}[claim.holds],
    }


def needed(claim: Claim, unit: str = "") -> str:
    """What a claim's number is compared with, as a reader writes it: in the unit of what was measured."""
    sign = {">=": "≥", "<=": "≤", EXCLUDES: "interval excludes", WITHIN: "interval within"}
    margin = "" if claim.margin is None else f" ± {in_unit(claim.margin, unit)}"
    return f"{sign.get(claim.comparison, claim.comparison)} {in_unit(claim.bound, unit)}{margin}"


def in_unit(bound: float, unit: str) -> str:
    """A bound in the unit of the number that is compared with it."""
    return f"{100 * bound:g} {unit}" if unit in HUNDREDTHS and bound else f"{bound:g}"


def banners(execution: Execution, site: Site, errors: list[str]) -> list[dict[str, str]]:
    """Warnings that must not be overlooked: kind, headline and detail."""
    found = []
    if execution.status == "failed" or errors:
        detail = "; ".join([*execution.reasons, *errors])
        found.append({"kind": "failed", "headline": "This stage failed.", "detail": detail})
    if execution.status == "stale":
        headline = "Stale: the project changed after this page's numbers were computed."
        found.append({"kind": "stale", "headline": headline, "detail": "; ".join(execution.reasons)})
    if site.is_smoke:
        headline = "Smoke run: made to test the machinery."
        found.append(
            {"kind": "smoke", "headline": headline, "detail": "Too little data; no number here means anything."}
        )
    return found


class _PageBuilder:
    """Walks through the cells of one page."""

    def __init__(self, path: Path, execution: Execution, numbers: Numbers, site: Site):
        self.path, self.name, self.site = path, execution.name, site
        names = [link.name for link in site.links]
        # A page on another source's predictions leads to that source's pages where there are any.
        pages = tuple(name for name in names if f"{name}-{execution.source}" not in names) or None
        self.markdown = Markdown(numbers, folder=path.parent, pages=pages)
        self.outputs = OutputRenderer(self.markdown, self._download, has_claims=bool(execution.claims))
        self.answer = ""

    def body(self, live: list[Cell], done: dict[int, Cell]) -> str:
        """All cells; what those tagged `answer` say is kept apart for the top of the page."""
        return "".join(self._cell(cell, done) for cell in live)

    def _cell(self, cell: Cell, done: dict[int, Cell]) -> str:
        if cell.kind == "raw" or HIDDEN_TAGS & set(cell.tags):
            return ""
        try:
            if cell.kind == "code":
                return self._code(cell, done.get(cell.index))
            text = self.markdown.render(chosen_text(cell.source, self.markdown.numbers))
            if not text.strip():
                return ""
            return self._kept(cell, f'<section class="prose">{text}</section>\n')
        except (MarkdownError, ValueError) as error:
            raise RenderError(f"{self.path.name}, cell {cell.index + 1}: {error}") from error

    def _code(self, cell: Cell, executed: Cell | None) -> str:
        outputs = self.outputs.render(list(executed.outputs)) if executed else ""
        missing = "" if executed else '<p class="not-run">This cell was not run.</p>'
        kind = "cell start" if START_TAGS & set(cell.tags) else "cell"
        return f'<section class="{kind}">{self._kept(cell, outputs)}{missing}{self._source(cell)}</section>\n'

    def _kept(self, cell: Cell, fragment: str) -> str:
        """The fragment, or nothing where it belongs to the answer."""
        if "answer" not in cell.tags:
            return fragment
        self.answer += fragment
        return ""

    def _source(self, cell: Cell) -> str:
        source = cell.source.strip()
        if not source:
            return ""
        n_lines = source.count("\n") + 1
        anchor = self.markdown.claim_anchor(f"cell-{cell.index + 1}")
        kind = "code quiet" if SPEAKING_TAGS & set(cell.tags) else "code"
        return (
            f'<details class="{kind}" id="{anchor}"><summary><span class="what">Code</span> '
            f"<code>{html.escape(source.splitlines()[0][:70])}</code>"
            f'<span class="more">{n_lines} line{"" if n_lines == 1 else "s"}</span></summary>'
            f'<pre tabindex="0"><code>{highlighted(cell.source)}</code></pre></details>'
        )

    def _download(self, name: str, content: bytes) -> str:
        if len(content) <= MAX_DATA_URI:
            return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(content).decode('ascii')}"
        if self.site.is_copy:
            return ""
        place = f"files/{self.name}/{self.markdown.claim_anchor(name)}"
        self.site.files[place] = content
        return quote(place)

    @property
    def title(self) -> str:
        """The first heading, or the notebook's name."""
        return next((entry.text for entry in self.markdown.headings if entry.level == 1), self.name)

    @property
    def contents(self) -> list[Heading]:
        """Entries of the table of contents."""
        return [entry for entry in self.markdown.headings if entry.level in (2, 3)]


def highlighted(source: str) -> str:
    """Python with classes for colours."""
    return highlight(source.strip("\n"), _LEXER, _FORMATTER).rstrip("\n")


def title_and_question(cells: list[Cell]) -> tuple[str, str]:
    """Title of a notebook and the first sentence of it that asks something, from its first text cell."""
    first = next((cell.source for cell in cells if cell.kind == "markdown"), "")
    lines = [line.strip() for line in without_comments(first).splitlines() if line.strip()]
    title = next((line.lstrip("#").strip() for line in lines if line.startswith("# ")), "")
    body = " ".join(line for line in lines if not line.startswith("#"))
    question = next((part for part in _sentences(body) if part.endswith(QUESTION_MARKS)), "")
    if not question and title.endswith(QUESTION_MARKS):
        question = title
    return _as_read(title), _as_read(question.replace("**", "").strip("*_ "))


def _sentences(text: str) -> list[str]:
    out, start = [], 0
    for place, char in enumerate(text):
        if char in QUESTION_MARKS[1:] or (char in ".?!" and (place + 1 == len(text) or text[place + 1] in " *_")):
            out.append(text[start : place + 1].strip())
            start = place + 1
    return out


def _as_read(text: str) -> str:
    """A line of prose as its page shows it; as it is written where it names a number."""
    try:
        return plain_text(Markdown(Numbers()).render(f"# {text}")) if text else ""
    except MarkdownError:
        return text
