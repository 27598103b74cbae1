"""Outputs of executed cells to HTML: our own structured outputs, and whatever else Jupyter displays, made harmless."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from verdict.report.markdown import Markdown, MarkdownError, numbers_from_json, slugify
from verdict.report.sanitize import clean_html, clean_svg

MIME = "application/vnd.verdict+json"
KINDS = ("say", "table", "figure", "gallery")
SKIP_EMPTY_FIGURE = re.compile(r"^<Figure size [^>]*>$")
MAX_TEXT = 20_000
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def strip_terminal(text: str) -> str:
    """Text as a terminal leaves it: no escape sequences; a carriage return overwrites its line."""
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return _CONTROL.sub("", "\n".join(lines))


def joined(value: Any) -> str:
    """Notebook text, which may be stored as a list of lines."""
    return "".join(value) if isinstance(value, list) else str(value)


@dataclass
class OutputRenderer:
    """Renders outputs of one page in order, numbering its figures and tables.

    Parameters
    ----------
    markdown : Markdown
        The page's engine; keeps anchors unique.
    download : callable
        (file name, content) → address of a download, "" where there is to be none.
    has_claims : bool
        Whether the page has a section of claims, which makes a table of them superfluous.
    """

    markdown: Markdown
    download: Callable[[str, bytes], str]
    has_claims: bool = False
    n_figures: int = 0
    n_tables: int = 0
    errors: list[str] = field(default_factory=list)

    def render(self, outputs: list[Mapping[str, Any]]) -> str:
        """HTML of one cell's outputs."""
        return "".join(self._one(output) for output in outputs)

    def _one(self, output: Mapping[str, Any]) -> str:
        kind = output.get("output_type")
        if kind == "stream":
            return "" if output.get("name") == "stderr" else text_block(joined(output.get("text", "")))
        if kind == "error":
            return self._error(output)
        return self._display(output.get("data", {}), output.get("metadata", {}))

    def _error(self, output: Mapping[str, Any]) -> str:
        headline = strip_terminal(f"{output.get('ename', 'Error')}: {output.get('evalue', '')}")
        self.errors.append(headline)
        trace = html.escape(strip_terminal("\n".join(output.get("traceback", []))))
        return (
            f'<div class="error" role="alert"><strong>{html.escape(headline)}</strong>'
            f'<details><summary>Traceback</summary><pre tabindex="0">{trace}</pre></details></div>\n'
        )

    def _display(self, data: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
        if MIME in data:
            return self._checked(data[MIME], data)
        for mime in ("image/svg+xml", "image/png", "image/jpeg"):
            if mime in data:
                alt = str(metadata.get(mime, {}).get("alt", "") or "Picture without a description")
                return f'<p class="plain"><img src="{image_uri(mime, data[mime])}" alt="{html.escape(alt)}"></p>\n'
        if "text/html" in data:
            # pandas heads its index with an empty header, which screen readers would announce.
            cleaned = clean_html(joined(data["text/html"])).replace("<th></th>", "<td></td>")
            return f'<div class="scroll rich" tabindex="0" role="region" aria-label="Output">{cleaned}</div>\n'
        if "text/markdown" in data:
            return self.markdown.render(escape_numbers(joined(data["text/markdown"])))
        if "application/json" in data:
            return text_block(json.dumps(data["application/json"], indent=1, ensure_ascii=False))
        text = joined(data.get("text/plain", ""))
        if data and "text/plain" not in data:
            text = f"(an output of type {', '.join(sorted(data))}, which pages do not show)"
        return "" if SKIP_EMPTY_FIGURE.match(text) else text_block(text)

    def _checked(self, payload: Any, data: Mapping[str, Any]) -> str:
        """One of our own outputs; one that the project cannot have written is refused."""
        try:
            if payload["kind"] not in KINDS:
                raise KeyError(payload["kind"])
            return self._own(payload, data)
        except MarkdownError:
            raise
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"an output is damaged, or was not written by this project ({error!r})") from None

    def _own(self, payload: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        if payload["kind"] == "say":
            text = self.markdown.render(payload["template"], numbers=numbers_from_json(payload["numbers"]), short=True)
            if payload.get("role") == "alarm":
                return f'<div class="say alarm" role="alert">{text}</div>\n'
            return f'<div class="say">{text}</div>\n'
        if payload.get("role") == "claims" and self.has_claims:
            return ""
        if payload["kind"] == "table":
            self.n_tables += 1
            return self._table(payload)
        self.n_figures += 1
        return self._figure(payload, data)

    def _table(self, payload: Mapping[str, Any]) -> str:
        label = f"Table {self.n_tables}"
        anchor = self.markdown.claim_anchor(f"table-{stem_slug(payload)}")
        link = self._csv_link(payload, f"{label}, data as CSV")
        body = table_html(payload, f'<span class="label">{label}.</span> {html.escape(payload["caption"])}')
        return f'<div class="table" id="{anchor}">{body}{link}</div>\n'

    def _figure(self, payload: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        label = f"Figure {self.n_figures}"
        anchor = self.markdown.claim_anchor(f"figure-{stem_slug(payload)}")
        picture = picture_html(payload, data, prefix=f"f{self.n_figures}-")
        link = self._csv_link(payload, f"{label}, data as CSV")
        caption = (
            f'<figcaption><span class="label">{label}.</span> {html.escape(payload["caption"])} {link}</figcaption>'
        )
        kind = html.escape(payload["kind"])
        box = f'<div class="picture" tabindex="0" role="group" aria-label="{label}">{picture}</div>'
        return f'<figure id="{anchor}" class="{kind}">{box}{caption}</figure>\n'

    def _csv_link(self, payload: Mapping[str, Any], label: str) -> str:
        if not payload.get("csv"):
            return ""
        name = f"{stem_slug(payload)}.csv"
        address = self.download(name, payload["csv"].encode("utf-8"))
        if not address:
            return ""
        return (
            f'<a class="download" href="{html.escape(address)}" download="{html.escape(name)}" '
            f'aria-label="{html.escape(label)}">CSV</a>'
        )


def stem_slug(payload: Mapping[str, Any]) -> str:
    """The stable part of an anchor: the file's stem where one was given, else the start of the caption."""
    name = str(payload.get("file") or "").rpartition("/")[2].partition(".")[0]
    return slugify(name or " ".join(str(payload["caption"]).split()[:7]))


def escape_numbers(text: str) -> str:
    """Keep `{{` in displayed text from being read as a number's name."""
    return text.replace("{{", "\\{\\{")


def text_block(text: str) -> str:
    """Preformatted text, cut where it is very long."""
    text = strip_terminal(text).rstrip()
    if not text.strip():
        return ""
    cut = f"\n… {len(text) - MAX_TEXT:,} more characters" if len(text) > MAX_TEXT else ""
    return f'<pre class="text" tabindex="0">{html.escape(text[:MAX_TEXT])}{cut}</pre>\n'


def image_uri(mime: str, content: Any) -> str:
    """A data URI; an SVG shown as an image can run nothing and load nothing."""
    text = joined(content)
    encoded = (
        base64.b64encode(text.encode("utf-8")).decode("ascii") if mime == "image/svg+xml" else text.replace("\n", "")
    )
    return f"data:{mime};base64,{html.escape(encoded)}"


def picture_html(payload: Mapping[str, Any], data: Mapping[str, Any], *, prefix: str) -> str:
    """The drawing of a figure: SVG inline, so that it follows the page's colours, else an embedded image."""
    alt = html.escape(payload["alt"])
    if "image/svg+xml" in data:
        return clean_svg(joined(data["image/svg+xml"]), label=payload["alt"], prefix=prefix)
    mime = "image/png" if "image/png" in data else "image/jpeg"
    width = f' width="{int(payload["width"])}"' if payload.get("width") else ""
    height = f' height="{int(payload["height"])}"' if payload.get("height") else ""
    return f'<img src="{image_uri(mime, data[mime])}" alt="{alt}"{width}{height}>'


def table_html(payload: Mapping[str, Any], caption: str) -> str:
    """A captioned table from a structured output; every cell is escaped. `caption` is HTML."""
    heads = "".join(
        f'<th scope="col"{_numeric(column)}><button type="button">{html.escape(column["name"])}</button></th>'
        for column in payload["columns"]
    )
    rows = "".join(_row(row, payload["columns"]) for row in payload["rows"])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(payload["caption"])}">'
        f'<table class="sortable"><caption><span>{caption}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(row: list[Any], columns: list[Mapping[str, Any]]) -> str:
    cells = []
    for cell, column in zip(row, columns, strict=True):
        text, key = cell if isinstance(cell, list) else (cell, None)
        data = "" if key is None else f' data-key="{html.escape(str(key))}"'
        cells.append(f'<td dir="auto"{_numeric(column)}{data}>{html.escape(str(text))}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _numeric(column: Mapping[str, Any]) -> str:
    return ' class="numeric"' if column.get("numeric") else ""
