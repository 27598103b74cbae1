"""Markdown of notebook cells to HTML: numbers by name, TeX to MathML, headings with anchors.

Raw HTML is escaped; comments, which authors write for each other, are left out.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import mistune
from math_core import LatexError, LatexToMathML

from verdict.numbers import Number, Numbers

_DOTTED = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+"
_NUMBER = r"\{\{\s*(?P<number_name>[^{}\n]*?)\s*\}\}"
_SHORT_NUMBER = rf"\{{(?P<short_name>{_DOTTED}(?:\|\w+)?)\}}"
_NUMBER_IN_TEX = re.compile(rf"\{{\{{\s*({_DOTTED}(?:\s*\|\s*\w+)?)\s*\}}\}}")
_INLINE_MATH = r"\$(?!\s|\$)(?P<inline_tex>(?:\\.|[^$\\])+?)(?<!\s)\$(?!\d)"
_DISPLAY_MATH = r"\$\$(?P<display_tex>[\s\S]+?)\$\$"
_BLOCK_MATH = r"^ {0,3}\$\$[ \t]*\n(?P<block_tex>[\s\S]+?)\n {0,3}\$\$[ \t]*$"
_BLOCK_COMMENT = r"^ {0,3}<!--[\s\S]*?-->[ \t]*\n?"
_COMMENT = r"<!--[\s\S]*?(?P<comment_end>-->|\Z)"
_PARAGRAPH_END = re.compile(r"\n\n(?!(?:(?!<!--)[\s\S])*-->)")
_NOTEBOOK_LINK = re.compile(r"^(?P<stem>[^#]+)\.ipynb(?P<anchor>#.*)?$")
HARMFUL = "#harmful-link"  # what mistune makes of an address that would run something
_SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


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
    """Parts of a text between blank lines; a comment is not divided."""
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
    parts = [f"{number.split} split" if number.split else "", f"n = {number.n:,}" if number.n is not None else ""]
    if number.seeds:
        parts.append(
            f"seeds {', '.join(map(str, number.seeds))}" if len(number.seeds) > 1 else f"seed {number.seeds[0]}"
        )
    parts.append(number.kind if number.low is None else f"{number.kind} with interval")
    return " · ".join(part for part in [*parts, name] if part)


def number_anchor(name: str) -> str:
    """Anchor of the first mention of a number on a page."""
    return f"n-{name.replace('.', '-')}"


@dataclass
class Markdown:
    """Renders the cells of one page; remembers headings, used anchors and the numbers that were mentioned.

    Parameters
    ----------
    numbers : Numbers
        What `{{ name }}` may refer to.
    folder : Path, optional
        Where relative image files are looked for; they are embedded.
    pages : tuple of str, optional
        Pages that the report has, in reading order: a link to another notebook is then its text alone, and one to a
        notebook that was executed several times leads to its first page.
    """

    numbers: Numbers
    folder: Path | None = None
    pages: tuple[str, ...] | None = None
    headings: list[Heading] = field(default_factory=list)
    mentioned: set[str] = field(default_factory=set)
    _anchors: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tex = LatexToMathML(fancy_error=False)

    def render(self, text: str, *, numbers: Numbers | None = None, short: bool = False) -> str:
        """HTML of one cell.

        Parameters
        ----------
        text : str
            Markdown; raw HTML in it is shown as text.
        numbers : Numbers, optional
            Another store than the page's, for sentences that carry their own.
        short : bool
            Whether `{name}` is a number too, as in `say`.

        Raises
        ------
        MarkdownError
            For an unknown number, TeX that cannot be converted, an image that is not a local file with alt text, or a
            comment that is not closed.
        """
        renderer = _Renderer(self, self.numbers if numbers is None else numbers)
        return mistune.create_markdown(renderer=renderer, plugins=["table", "strikethrough", _plugin(short)])(text)

    def claim_anchor(self, wanted: str) -> str:
        """Reserve an anchor on this page; a repeated one gets a counter."""
        count = self._anchors.get(wanted, 0)
        self._anchors[wanted] = count + 1
        return self.claim_anchor(f"{wanted}-{count + 1}") if count else wanted

    def maths(self, tex: str, numbers: Numbers, *, is_block: bool) -> str:
        """MathML of a formula."""
        filled = _NUMBER_IN_TEX.sub(lambda match: _in_tex(look_up(match.group(1), numbers)[2]), tex)
        try:
            return self._tex.convert_with_local_state(filled, displaystyle=is_block)
        except LatexError as error:
            raise MarkdownError(f"the formula {tex.strip()!r} cannot be converted: {error}") from None


def look_up(expression: str, numbers: Numbers) -> tuple[str, Number, str]:
    """Name, number and text of what stands between the braces.

    Raises
    ------
    MarkdownError
        If there is no such number; the message holds the nearest name.
    """
    name = expression.partition("|")[0].strip()
    try:
        return name, numbers[name], numbers.format("{{ " + expression + " }}")
    except KeyError as error:
        raise MarkdownError(str(error.args[0])) from None


def _in_tex(text: str) -> str:
    return text.replace("%", r"\%")


def _plugin(short: bool) -> Any:
    """A mistune plugin for numbers and maths."""

    def register(engine: mistune.Markdown) -> None:
        # Without the rules for raw HTML a "<" is plain text, and numbers beside it are still found.
        block = engine.block
        for name in ("rules", "list_rules", "block_quote_rules"):
            setattr(block, name, [rule for rule in getattr(block, name) if rule not in ("block_html", "raw_html")])
        engine.inline.rules = [rule for rule in engine.inline.rules if rule != "inline_html"]
        block.register("comment", _BLOCK_COMMENT, lambda _block, match, _state: match.end(), before="list")
        for rules in (block.list_rules, block.block_quote_rules):
            block.insert_rule(rules, "comment", before="list")
        block.register("block_maths", _BLOCK_MATH, _parse_block, before="list")
        inline = engine.inline
        inline.register("comment", _COMMENT, _parse_comment, before="link")
        inline.register("display_maths", _DISPLAY_MATH, _parse("display_maths", "display_tex"), before="link")
        inline.register("inline_maths", _INLINE_MATH, _parse("inline_maths", "inline_tex"), before="link")
        inline.register("number", _NUMBER, _parse("number", "number_name"), before="link")
        if short:
            inline.register("short_number", _SHORT_NUMBER, _parse("number", "short_name"), before="link")

    return register


def _parse_block(_block: Any, match: re.Match[str], state: Any) -> int:
    state.append_token({"type": "block_maths", "raw": match.group("block_tex")})
    return match.end() + 1


def _parse_comment(_inline: Any, match: re.Match[str], _state: Any) -> int:
    """Skip a comment; one that its paragraph does not close would be read by everybody, or hide the rest."""
    if not match["comment_end"]:
        raise MarkdownError(f"the comment {match.group()[:40]!r} is not closed by --> in its paragraph")
    return match.end()


def _parse(kind: str, group: str) -> Any:
    def parse(_inline: Any, match: re.Match[str], state: Any) -> int:
        state.append_token({"type": kind, "raw": match.group(group)})
        return match.end()

    return parse


class _Renderer(mistune.HTMLRenderer):
    """HTML of mistune's tokens; raw HTML is escaped."""

    def __init__(self, page: Markdown, numbers: Numbers):
        super().__init__(escape=True)
        self._page = page
        self._numbers = numbers

    def heading(self, text: str, level: int, **_attrs: Any) -> str:
        page = self._page
        has_title = any(entry.level == 1 for entry in page.headings)
        level = 2 if level == 1 and has_title else level
        label = plain_text(text)
        anchor = page.claim_anchor(slugify(label))
        page.headings.append(Heading(level, anchor, label))
        link = f'<a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a>' if level > 1 else ""
        return f'<h{level} id="{html.escape(anchor)}">{text}{link}</h{level}>\n'

    def number(self, expression: str) -> str:
        name, number, text = look_up(expression, self._numbers)
        is_first = name not in self._page.mentioned
        self._page.mentioned.add(name)
        anchor = f' id="{number_anchor(name)}"' if is_first else ""
        return f'<span class="number"{anchor} title="{html.escape(describe(name, number))}">{html.escape(text)}</span>'

    def inline_maths(self, tex: str) -> str:
        return self._page.maths(tex, self._numbers, is_block=False)

    def display_maths(self, tex: str) -> str:
        return f'<span class="maths">{self._page.maths(tex, self._numbers, is_block=True)}</span>'

    def block_maths(self, tex: str) -> str:
        return f'<div class="maths" tabindex="0">{self._page.maths(tex, self._numbers, is_block=True)}</div>\n'

    def table(self, text: str) -> str:
        return f'<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>{text}</table></div>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        return f'<pre class="text" tabindex="0"><code>{html.escape(code.rstrip())}</code></pre>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        to_notebook = None if _SCHEME.match(url) else _NOTEBOOK_LINK.match(url)
        if to_notebook:
            name = page_of(unquote(to_notebook["stem"]), self._page.pages)
            if not name:
                return text
            url = f"{address(name)}{to_notebook['anchor'] or ''}"
        if self.safe_url(url) == HARMFUL:
            return text
        target = html.escape(url)
        extra = f' title="{html.escape(title)}"' if title else ""
        away = ' rel="noopener noreferrer"' if _SCHEME.match(url) else ""
        return f'<a href="{target}"{extra}{away}>{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        alt = plain_text(text)
        if not alt:
            raise MarkdownError(f"the image {url!r} has no alt text: write ![what it shows]({url})")
        source = embed_image(url, self._page.folder)
        return f'<img src="{source}" alt="{html.escape(alt)}">'


def embed_image(url: str, folder: Path | None) -> str:
    """A local image file as a data URI.

    Raises
    ------
    MarkdownError
        If the address leaves the folder, or is no image file.
    """
    kind = mimetypes.guess_type(url)[0] or ""
    if _SCHEME.match(url) or folder is None or not kind.startswith("image/"):
        raise MarkdownError(f"the image {url!r} is not a local image file; pages load nothing from elsewhere")
    path = (folder / url).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise MarkdownError(f"the image {url!r} does not exist beside the notebook")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def numbers_from_json(entries: Mapping[str, Mapping[str, Any]]) -> Numbers:
    """Numbers that an output carries along; undefined and infinite values are stored as text."""
    return Numbers({name: _number(entry) for name, entry in entries.items()})


def _number(entry: Mapping[str, Any]) -> Number:
    floats = {key: None if entry[key] is None else float(entry[key]) for key in ("value", "low", "high")}
    return Number(**{**entry, **floats, "seeds": tuple(entry["seeds"])})
