"""HTML and SVG from outputs, reduced to an allow-list: what is displayed may hold text that strangers wrote."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

_TAGS = frozenset(
    {
        "a",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "dd",
        "div",
        "dl",
        "dt",
        "em",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
    }
)
_VOID = frozenset({"br", "hr"})
_DROPPED = frozenset(
    {"script", "style", "iframe", "object", "template", "title", "noscript", "textarea", "svg", "math"}
)
_ATTRIBUTES = frozenset({"colspan", "rowspan", "scope", "dir", "lang", "title"})
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_SHAPES = frozenset(
    {
        "svg",
        "g",
        "defs",
        "path",
        "use",
        "clipPath",
        "text",
        "tspan",
        "rect",
        "line",
        "circle",
        "ellipse",
        "polygon",
        "polyline",
        "image",
        "title",
        "desc",
        "linearGradient",
        "radialGradient",
        "stop",
        "pattern",
        "mask",
        "marker",
        "symbol",
    }
)
_REFERENCE = re.compile(r"url\(\s*#")
_FOREIGN_URL = re.compile(r"url\(\s*(?!#)", re.IGNORECASE)


class _Cleaner(HTMLParser):
    """Writes again only what is allowed, closing what was left open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._open: list[str] = []
        self._dropped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped.append(tag)
        if self._dropped or tag not in _TAGS:
            return
        self.parts.append(f"<{tag}{''.join(self._attribute(tag, name, value or '') for name, value in attrs)}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._dropped and tag in _VOID:
            self.parts.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            if tag == self._dropped[-1]:
                self._dropped.pop()
            return
        if tag not in self._open:
            return
        while True:
            closing = self._open.pop()
            self.parts.append(f"</{closing}>")
            if closing == tag:
                return

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self.parts.append(html.escape(data))

    def _attribute(self, tag: str, name: str, value: str) -> str:
        is_link = tag == "a" and name == "href" and re.match(r"^(https?://|#|[\w./-]+(#|$))", value)
        return f' {name}="{html.escape(value)}"' if name in _ATTRIBUTES or is_link else ""

    def finish(self) -> str:
        self.close()
        return "".join(self.parts) + "".join(f"</{tag}>" for tag in reversed(self._open))


def clean_html(fragment: str) -> str:
    """The fragment with allowed tags only; scripts and styles go with their content, other tags leave their text."""
    cleaner = _Cleaner()
    cleaner.feed(fragment)
    return cleaner.finish()


def clean_svg(text: str, *, label: str, prefix: str) -> str:
    """An SVG drawing ready to stand inside a page.

    Parameters
    ----------
    text : str
        The document.
    label : str
        Text for readers who do not see it.
    prefix : str
        Put before every id, so that two drawings on a page do not share one.

    Raises
    ------
    ValueError
        If the text is not SVG.
    """
    body = text[text.find("<svg") :] if "<svg" in text else text
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(f"the drawing is not readable as SVG: {error}") from None
    if root.tag != f"{_SVG}svg":
        raise ValueError(f"the drawing is not SVG but {root.tag!r}")
    _prune(root)
    for element in root.iter():
        _clean_attributes(element, prefix)
    width = root.attrib.pop("width", "")
    root.attrib.pop("height", None)
    root.attrib |= {"role": "img", "aria-label": label}
    if match := re.match(r"^([\d.]+)(pt|px)?$", width):
        root.set("style", f"--natural:{float(match[1]) * (4 / 3 if match[2] == 'pt' else 1):.0f}px")
    return _serialise(root)


def _prune(element: ElementTree.Element) -> None:
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(_SVG) not in _SHAPES:
            element.remove(child)
        else:
            _prune(child)


def _clean_attributes(element: ElementTree.Element, prefix: str) -> None:
    for name, value in list(element.attrib.items()):
        local = name.rpartition("}")[2]
        if local.lower().startswith("on") or _FOREIGN_URL.search(value):
            del element.attrib[name]
        elif local == "href":
            del element.attrib[name]
            if value.startswith("#"):
                element.set("href", f"#{prefix}{value[1:]}")
            elif value.startswith(("data:image/png;", "data:image/jpeg;")):
                element.set("href", value)
        elif local == "id":
            element.set(name, f"{prefix}{value}")
        elif "url(" in value:
            element.set(name, _REFERENCE.sub(f"url(#{prefix}", value))


def _serialise(root: ElementTree.Element) -> str:
    """As HTML wants it: no namespace prefixes, every element closed."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for name in [key for key in element.attrib if key.startswith("{")]:
            value = element.attrib.pop(name)
            if name == "{http://www.w3.org/XML/1998/namespace}space":
                element.set("xml:space", value)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
