"""Markdown of notebook cells to HTML: nbconvert's engine, with numbers by name and TeX as MathML, reduced by nh3.

As JupyterLab does, formulas are taken out before Markdown is read and put back afterwards; and so are numbers, and
comments, which authors write for each other.
"""

import base64
import functools
import html
import mimetypes
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from math_core import LatexError, LatexToMathML

from verdict.base.numbers import Number, Numbers

_DOTTED = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+"
_NUMBER_IN_TEX = re.compile(rf"\{{\{{\s*({_DOTTED}(?:\s*\|\s*\w+)?)\s*\}}\}}")
# What is taken out, and before it what is left as it is: code, and whatever is escaped.
_PARTS = (
    r"^[ \t>]*(?P<fence>`{3,}|~{3,})[^`\n]*\n(?:[\s\S]*?^[ \t>]*(?P=fence)|[\s\S]*\Z)",
    r"(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\s*\n)[\s\S])+?(?<!`)(?P=ticks)(?!`)",
    r"(?P<comment><!--[\s\S]*?(?:-->|\Z))",
    r"\\\\\[(?P<display>[\s\S]+?)\\\\\]",
    r"\$\$(?P<display_dollars>[\s\S]+?)\$\$",
    r"(?P<display_environment>\\begin\{(?P<name>[a-z]+\*?)\}[\s\S]*?\\end\{(?P=name)\})",
    r"\\\\\((?P<inline>(?:(?!\n\s*\n)[\s\S])+?)\\\\\)",
    r"\$(?!\s|\$)(?P<inline_dollars>(?:\\.|[^$\\\n`]|\n(?!\s*\n))+?)(?<!\s)\$(?!\d)",
    r"\{\{\s*(?P<number>[^{}\n]*?)\s*\}\}",
    r"\\(?P<brace>[{}])",
    r"\\[!-/:-@\[-`{-~]",
)
_TAKEN = re.compile("|".join(_PARTS), re.MULTILINE)
_TAKEN_IN_SHORT = re.compile("|".join([*_PARTS, rf"\{{(?P<short>{_DOTTED}(?:\|\w+)?)\}}"]), re.MULTILINE)
# Characters of nobody stand for what was taken out, and mark attributes that are the engine's own.
_OPEN, _CLOSE = "\ue000", "\ue001"
_TOKEN = re.compile(rf"{_OPEN}(\d+){_CLOSE}")
_TAG_OR_TOKEN = re.compile(rf"<[^<>]*>|{_TOKEN.pattern}")
_PARAGRAPH_END = re.compile(r"\n\n(?!\s*- |(?:(?!<!--)[\s\S])*-->)")
_NOTEBOOK_LINK = re.compile(r"^(?P<stem>[^#]*)\.ipynb(?P<anchor>#.*)?$")
_OWN_ANCHOR = re.compile(r"(?:n|claim|cell|figure|table)-|top$")
_TEX = LatexToMathML(fancy_error=False)
# Letters of a number, with its unit, or of a name, above which it may be broken over lines.
LONG = 40
SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
# What neither JupyterLab nor a page shows as it was meant.
_FOOTNOTE = re.compile(r"\[\^[^\]\s]+\]")
_BRACKETS = re.compile(r"(?<!\\)\\(?:\([^\n]*?\\\)|\[[^\n]*?[\\^_=][^\n]*?\\\])")
_TABLE_RULE = re.compile(r":?-+:?[ \t]*\|[ \t]*:?-+")
_MONEY = re.compile(r"\d[\d.,]*\s+(?:\w+\W+)*?[a-z]{2,}", re.IGNORECASE)


class MarkdownError(ValueError):
    """Prose that cannot be rendered; the message says what to change."""


@dataclass(frozen=True)
class Heading:
    """One entry of the table of contents."""

    level: int
    anchor: str
    text: str


def slugify(text: str) -> str:
    """A stable anchor: letters and digits of any script, lower case, joined by hyphens."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"[\W_]+", "-", folded).strip("-")[:80] or "section"


def paragraphs(text: str) -> list[str]:
    """Parts of a text between blank lines; a comment is not divided, and a list belongs to what introduces it."""
    return _PARAGRAPH_END.split(text)


def address(page: str) -> str:
    """Address of a page beside this one, whatever characters its name holds."""
    return f"{quote(page, safe='')}.html"


def page_of(notebook: str, pages: Sequence[str] | None) -> str:
    """The page of a notebook, the first of several; "" where the report has none, its own name where all is allowed."""
    if pages is None or notebook in pages:
        return notebook
    return next((name for name in pages if name.startswith(f"{notebook}-")), "")


def plain_text(fragment: str) -> str:
    """Text of an HTML fragment, entities resolved."""
    return html.unescape(re.sub(r"<[^>]*>", "", fragment)).strip()


def describe(name: str, number: Number) -> str:
    """What stands behind a number, for its tooltip: split, rows, seeds, kind, name."""
    seeds = f"seed{'s' if len(number.seeds) > 1 else ''} {', '.join(map(str, number.seeds))}" if number.seeds else ""
    rows = f"n = {number.n:,}" if number.n is not None else ""
    kind = number.kind if number.low is None else f"{number.kind} with interval"
    return " · ".join(filter(None, [f"{number.split} split" if number.split else "", rows, seeds, kind, name]))


def number_anchor(name: str) -> str:
    """Anchor of the first mention of a number on a page."""
    return f"n-{name.replace('.', '-')}"


@dataclass
class Markdown:
    """Renders the cells of one page; remembers headings, used anchors and the numbers that were mentioned.

    Relative image files are looked for in `folder`, and embedded. A link to a notebook that is not among the `pages`,
    in reading order, is its text alone; one to a notebook that was executed several times leads to its first page. With
    `collects` all faults are put into `faults`; otherwise one that leaves nothing to show is raised.
    """

    numbers: Numbers
    folder: Path | None = None
    pages: tuple[str, ...] | None = None
    collects: bool = False
    headings: list[Heading] = field(default_factory=list)
    mentioned: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    _anchors: dict[str, int] = field(default_factory=dict)
    _taken: list[tuple[str, Callable[[], str]]] = field(default_factory=list)

    def render(
        self,
        text: str,
        *,
        numbers: Numbers | None = None,
        short: bool = False,
        escape: bool = False,
        attachments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> str:
        """HTML of one cell.

        Sentences carry `numbers` of their own; in a `short` one `{name}` is a number too. With either `short` or
        `escape` raw HTML is shown as text. Attachments are pasted pictures: name → MIME type → base64.

        MarkdownError for an unknown number, TeX that cannot be converted, an image that is not a local file, or a
        comment that is not closed. A missing alt text is one of the `faults`.
        """
        from verdict.report.engine import to_html

        known = self.numbers if numbers is None else numbers
        self._taken = []
        text = text.replace(_OPEN, "").replace(_CLOSE, "")
        left = (_TAKEN_IN_SHORT if short else _TAKEN).sub(lambda match: self._take(match, known), text)
        return self.filled(to_html(left, self, escape=escape or short, attachments=attachments or {}))

    def complain(self, message: str, *, is_fatal: bool = True) -> None:
        """Note a fault of the text."""
        if is_fatal and not self.collects:
            raise MarkdownError(message)
        self.faults.append(message)

    def claim_anchor(self, wanted: str) -> str:
        """Reserve an anchor on this page; a repeated one gets a counter."""
        count = self._anchors.get(wanted, 0)
        self._anchors[wanted] = count + 1
        return self.claim_anchor(f"{wanted}-{count + 1}") if count else wanted

    def add_heading(self, label: str, level: int) -> Heading:
        """Put a heading into the table of contents; a page has one title."""
        has_title = any(entry.level == 1 for entry in self.headings)
        found = Heading(2 if level == 1 and has_title else level, self.claim_anchor(slugify(label)), label)
        self.headings.append(found)
        return found

    def target(self, url: str) -> str:
        """Where a link leads: to the page of a notebook, to a heading by its text; "" where the report has no such."""
        if SCHEME.match(url):
            return url
        stem, _, anchor = url.partition("#")
        if to_notebook := _NOTEBOOK_LINK.match(url):
            name = page_of(unquote(to_notebook["stem"]), self.pages)
            if not name:
                return ""
            stem = address(name)
        if anchor and not _OWN_ANCHOR.match(anchor):
            anchor = slugify(unquote(anchor))
        return f"{stem}#{anchor}" if anchor else stem

    def filled(self, text: str) -> str:
        """HTML with what was taken out; inside of a tag as plain text."""

        def put(match: re.Match[str]) -> str:
            if match[1] is None:
                return _TOKEN.sub(lambda token: html.escape(plain_text(self._taken[int(token[1])][1]())), match[0])
            return self._taken[int(match[1])][1]()

        return re.sub(r"<p>\s*</p>\s*", "", _TAG_OR_TOKEN.sub(put, text))

    def restored(self, text: str) -> str:
        """Text as it was written, with what was taken out: code is left as it is."""
        return _TOKEN.sub(lambda token: self._taken[int(token[1])][0], text)

    def _take(self, match: re.Match[str], numbers: Numbers) -> str:
        kind, raw = match.lastgroup, match[0]
        if kind in (None, "fence", "ticks"):
            return raw
        # What turns out to stand in code is never looked at.
        self._taken.append((raw, functools.cache(lambda: self._put_back(kind, match[kind], numbers))))
        return f"{_OPEN}{len(self._taken) - 1}{_CLOSE}"

    def _put_back(self, kind: str, text: str, numbers: Numbers) -> str:
        if kind == "brace":
            return text
        is_number = kind in ("number", "short")
        if kind == "comment":
            if not text.endswith("-->"):
                self.complain(f"the comment {text[:40]!r} is not closed by -->")
            return ""
        try:
            return (
                self._number(text, numbers) if is_number else _maths(text, numbers, is_block=kind.startswith("display"))
            )
        except MarkdownError as error:
            self.complain(str(error))
        return "?" if is_number else ""

    def _number(self, expression: str, numbers: Numbers) -> str:
        name, number, text = look_up(expression, numbers)
        anchor = "" if name in self.mentioned else f' id="{number_anchor(name)}"'
        self.mentioned.add(name)
        kind, behind = " data-long" if len(text) > LONG else "", html.escape(describe(name, number))
        return f'<span class="number"{kind}{anchor} title="{behind}">{html.escape(text)}</span>'


def _maths(tex: str, numbers: Numbers, *, is_block: bool) -> str:
    filled = _NUMBER_IN_TEX.sub(lambda m: look_up(m[1], numbers)[2].replace("%", r"\%"), tex)
    try:
        found = _TEX.convert_with_local_state(filled, displaystyle=is_block)
    except LatexError as error:
        raise MarkdownError(f"the formula {tex.strip()!r} cannot be converted: {error}") from None
    return f'<span class="maths" tabindex="0">{found}</span>' if is_block else found


def misread(text: str, page: str) -> Iterator[str]:
    """What a reader of a text, and of the HTML that it became, would not see as its author meant it."""
    shown = plain_text(re.sub(r"<(code|pre|math)\b[\s\S]*?</\1>", "", page))
    prose = _TAKEN.sub(lambda match: match[0] if match.lastgroup is None else "", text)
    if _TABLE_RULE.search(shown):
        yield "a table is not read as one: each row has as many cells as the head"
    for found in _FOOTNOTE.findall(prose):
        yield f"{found!r} is no footnote, here nor in JupyterLab: say it in the sentence"
    for found in _BRACKETS.findall(prose):
        yield f"{found!r} is no formula, here nor in JupyterLab: write it between $"
    for match in _TAKEN.finditer(text):
        if _MONEY.match(match["inline_dollars"] or ""):
            yield f"{match[0]!r} is read as a formula: write \\$ where money is meant"


def look_up(expression: str, numbers: Numbers) -> tuple[str, Number, str]:
    """Name, number and text of what stands between the braces; MarkdownError holds the nearest name."""
    name = expression.partition("|")[0].strip()
    try:
        return name, numbers[name], numbers.format("{{ " + expression + " }}")
    except KeyError as error:
        raise MarkdownError(str(error.args[0])) from None


def embed_image(url: str, folder: Path | None) -> str:
    """A local image file as a data URI; MarkdownError if the address leaves the folder, or is no image file."""
    kind = mimetypes.guess_type(url)[0] or ""
    if SCHEME.match(url) or folder is None or not kind.startswith("image/"):
        raise MarkdownError(f"the image {url!r} is not a local image file; pages load nothing from elsewhere")
    path = (folder / unquote(url)).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise MarkdownError(f"the image {url!r} does not exist beside the notebook")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def numbers_from_json(entries: Mapping[str, Mapping]) -> Numbers:
    """Numbers that an output carries along; undefined and infinite values are stored as text."""
    return Numbers({name: _number(entry) for name, entry in entries.items()})


def _number(entry: Mapping) -> Number:
    floats = {key: None if entry[key] is None else float(entry[key]) for key in ("value", "low", "high")}
    return Number(**{**entry, **floats, "seeds": tuple(entry["seeds"])})
