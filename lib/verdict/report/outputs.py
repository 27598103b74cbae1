"""Outputs of executed cells to HTML: our own structured outputs, and whatever else Jupyter displays, made harmless."""

import base64
import functools
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import jinja2
from markupsafe import Markup

from verdict.report.markdown import Markdown, numbers_from_json, slugify

HERE = Path(__file__).resolve().parent
SCRIPTS = ("page.js", "review.js")
MIME = "application/vnd.verdict+json"
IMAGES = ("image/svg+xml", "image/png", "image/jpeg")
SKIP_EMPTY_FIGURE = re.compile(r"^<Figure size [^>]*>$")
MAX_TEXT = 20_000
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SVG = "{http://www.w3.org/2000/svg}"
_SHAPE = re.compile(
    rf"{_SVG}(svg|g|defs|path|use|clipPath|text|tspan|rect|line|circle|ellipse|polygon|polyline|image|title|desc|stop|"
    r"linearGradient|radialGradient|pattern|mask|marker|symbol)"
)
# Drawings are shown to a hundredth of a point.
_COORDINATES = frozenset(("d", "points", "x", "y"))
_FURTHER_DIGITS = re.compile(r"(?<=\.\d\d)\d+(?!\d*e)")
_REFERENCE = re.compile(r"url\(\s*#")
# A table of more rows is folded.
MANY_ROWS = 12
SMALLEST_P = 0.001
_P_VALUE = re.compile(r"p( |$)")
_FOREIGN_URL = re.compile(r"url\(\s*(?!#)", re.IGNORECASE)


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
        "cell_text": cell_text,
        "many_rows": MANY_ROWS,
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    }
    return found


def cell_text(column: Mapping, cell: str | list[object]) -> str:
    """A cell as it is shown; p-values have a smallest one, an interval breaks into no two lines."""
    if isinstance(cell, str):
        return cell
    text, key = cell[0], cell[1]
    is_small = isinstance(key, float) and 0 <= key < SMALLEST_P and "[" not in text
    shown = f"< {SMALLEST_P:g}" if is_small and _P_VALUE.match(column["name"]) else text
    return shown.replace(", ", ",\N{NO-BREAK SPACE}")


def _macros() -> jinja2.environment.TemplateModule:
    return environment().get_template("outputs.html").module


def strip_terminal(text: str) -> str:
    """Text as a terminal leaves it: no escape sequences; a carriage return overwrites its line."""
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return _CONTROL.sub("", "\n".join(lines))


def joined(value: object) -> str:
    """Notebook text, which may be stored as a list of lines."""
    return "".join(value) if isinstance(value, list) else str(value)


@dataclass
class OutputRenderer:
    """Renders outputs of one page in order, numbering its figures and tables.

    `download` gives the address of a file, "" for none. Claims have a section of their own.
    """

    markdown: Markdown
    download: Callable[[str, bytes], str]
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def render(self, output: Mapping) -> str:
        """HTML of one output; ValueError if it is one of our own that the project cannot have written."""
        kind = output.get("output_type")
        if kind == "stream":
            return "" if output.get("name") == "stderr" else text_block(joined(output.get("text", "")))
        if kind == "error":
            headline = strip_terminal(f"{output.get('ename', 'Error')}: {output.get('evalue', '')}")
            self.errors.append(headline)
            return _macros().error(headline, strip_terminal("\n".join(output.get("traceback", []))))
        data, metadata = output.get("data", {}), output.get("metadata", {})
        if MIME not in data:
            return self._displayed(data, metadata)
        try:
            return self._own(data[MIME], data)
        except (KeyError, TypeError, IndexError, AttributeError, jinja2.UndefinedError) as error:
            raise ValueError(f"an output is damaged, or was not written by this project ({error!r})") from None

    def _displayed(self, data: Mapping, metadata: Mapping) -> str:
        for mime in IMAGES:
            if mime in data:
                alt = str(metadata.get(mime, {}).get("alt", "") or "Picture without a description")
                return Markup('<p class="plain">%s</p>\n') % _macros().image(image_uri(mime, data[mime]), alt)
        if "text/html" in data:
            from verdict.report.engine import clean

            # pandas heads its index with an empty header, which screen readers would announce.
            found = clean(joined(data["text/html"])).replace("<th></th>", "<td></td>")
            return _macros().displayed(Markup(found))
        if "text/markdown" in data:
            # In text that strangers may have written, braces are no number's name.
            return self.markdown.render(joined(data["text/markdown"]).replace("{{", "\\{\\{"), escape=True)
        if "application/json" in data:
            return text_block(json.dumps(data["application/json"], indent=1, ensure_ascii=False))
        text = joined(data.get("text/plain", ""))
        if data and "text/plain" not in data:
            text = f"(an output of type {', '.join(sorted(data))}, which pages do not show)"
        return "" if SKIP_EMPTY_FIGURE.match(text) else text_block(text)

    def _own(self, payload: Mapping, data: Mapping) -> str:
        if payload["kind"] == "claims":
            return ""
        if payload["kind"] == "say":
            text = self.markdown.render(payload["template"], numbers=numbers_from_json(payload["numbers"]), short=True)
            return _macros().said(Markup(text), payload.get("role") == "alarm")
        kind = "table" if payload["kind"] == "table" else "figure"
        self.counts[kind] += 1
        label, stem = f"{kind.capitalize()} {self.counts[kind]}", stem_slug(payload)
        drawing = "" if kind == "table" else picture(payload, data, prefix=f"f{self.counts[kind]}-")
        link = self.download(f"{stem}.csv", payload["csv"].encode("utf-8")) if payload.get("csv") else ""
        anchor = self.markdown.claim_anchor(f"{kind}-{stem}")
        return getattr(_macros(), kind)(payload, anchor, label, link, f"{stem}.csv", Markup(drawing))


def stem_slug(payload: Mapping) -> str:
    """The stable part of an anchor: the file's stem where one was given, else the start of the caption."""
    name = str(payload.get("file") or "").rpartition("/")[2].partition(".")[0]
    return slugify(name or " ".join(str(payload["caption"]).split()[:7]))


def text_block(text: str) -> str:
    """Preformatted text, cut where it is very long."""
    text = strip_terminal(text).rstrip()
    return _macros().text(text[:MAX_TEXT], max(0, len(text) - MAX_TEXT)) if text.strip() else ""


def image_uri(mime: str, content: object) -> str:
    """A data URI; an SVG shown as an image can run nothing and load nothing."""
    text = joined(content)
    if mime == "image/svg+xml":
        text = base64.b64encode(text.encode("utf-8")).decode("ascii")
    return f"data:{mime};base64,{text.replace(chr(10), '')}"


def as_webp(content: str, *, quality: int, side: int | None = None) -> str:
    """A picture in base64 as WebP, no side longer than so many pixels."""
    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        shown = image.convert("RGB") if side else image
        if side:
            shown.thumbnail((side, side))
        shown.save(target, "WEBP", quality=quality, method=6)
    return base64.b64encode(target.getvalue()).decode("ascii")


def picture(payload: Mapping, data: Mapping, *, prefix: str) -> str:
    """The drawing of a figure: SVG inline, so that it follows the page's colours, else an embedded image."""
    if "image/svg+xml" in data:
        return clean_svg(joined(data["image/svg+xml"]), label=payload["alt"], prefix=prefix)
    mime = "image/png" if "image/png" in data else "image/jpeg"
    return _macros().image(image_uri(mime, data[mime]), payload["alt"], payload)


def table_html(payload: Mapping, caption: str) -> str:
    """A captioned table from a structured output; every cell is escaped. `caption` is HTML."""
    return str(_macros().rows(payload, Markup(caption)))


def clean_svg(text: str, *, label: str, prefix: str) -> str:
    """An SVG drawing ready to stand inside a page, with `label` for readers who do not see it.

    `prefix` is put before every id, so that two drawings on a page do not share one. ValueError if the text is not SVG.
    """
    try:
        root = ElementTree.fromstring(text[max(0, text.find("<svg")) :])
    except ElementTree.ParseError as error:
        raise ValueError(f"the drawing is not readable as SVG: {error}") from None
    if root.tag != f"{_SVG}svg":
        raise ValueError(f"the drawing is not SVG but {root.tag!r}")
    for parent in [root, *root.iter()]:
        for child in list(parent):
            if not (isinstance(child.tag, str) and _SHAPE.fullmatch(child.tag)):
                parent.remove(child)
    ids: set[str] = set()
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        kept = (_attribute(name, value, prefix) for name, value in element.attrib.items())
        element.attrib = dict(filter(None, kept))
        # Matplotlib names a picture by its content: of two alike the first keeps the name.
        if element.get("id") in ids:
            del element.attrib["id"]
        ids.add(element.get("id", ""))
    width = root.attrib.pop("width", "")
    root.attrib.pop("height", None)
    root.attrib |= {"role": "img", "aria-label": label}
    if match := re.match(r"^([\d.]+)(pt|px)?$", width):
        root.set("style", f"--natural:{float(match[1]) * (4 / 3 if match[2] == 'pt' else 1):.0f}px")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _attribute(name: str, value: str, prefix: str) -> tuple[str, str] | None:
    """An attribute as HTML wants it, without a namespace; None for one that runs or loads something."""
    local = name.rpartition("}")[2]
    if local.lower().startswith("on") or _FOREIGN_URL.search(value):
        return None
    if local == "href":
        if value.startswith("#"):
            return local, f"#{prefix}{value[1:]}"
        return (local, value) if value.startswith(("data:image/png;", "data:image/jpeg;")) else None
    if local == "id":
        return local, f"{prefix}{value}"
    if name.startswith("{"):
        return ("xml:space", value) if name == "{http://www.w3.org/XML/1998/namespace}space" else None
    is_place = name in _COORDINATES
    return name, _FURTHER_DIGITS.sub("", value) if is_place else _REFERENCE.sub(f"url(#{prefix}", value)
