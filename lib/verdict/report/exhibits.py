"""Drawings of pages as the index shows them again: whole, as examples with their words, and as thumbnails."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from verdict.base.labels import SPLIT_WORDS
from verdict.base.numbers import HUNDREDTHS, Number, Numbers
from verdict.report.evidence import Exhibit
from verdict.report.outputs import MIME, clean_svg, environment, image_uri, joined, picture

THUMBNAIL_PX = 280
_DECIMALS = re.compile(r"(-?\d+)\.\d+(?![\de])")
_COORDINATES = ("d", "points", "x", "y", "width", "height")
_NOT_SMALL = frozenset(("text", "title", "desc", "clipPath"))


def shown_again(exhibit: Exhibit, href: str, label: str, prefix: str) -> str:
    """A page's figure with its caption and a labelled link to where it stands; ids get a prefix of their own."""
    payload = exhibit.data[MIME]
    template = environment().get_template("exhibits.html").module
    if payload.get("tiles"):
        words = [title.split("\n") for title in payload["titles"]]
        cases = [(tile, lines[0], lines[1:]) for tile, lines in zip(payload["tiles"], words, strict=True)]
        return str(template.examples(cases, payload["caption"], href, label))
    return str(template.again(Markup(picture(payload, exhibit.data, prefix=prefix)), payload, href, label))


def interval_rows(names: Sequence[str], numbers: Numbers) -> str:
    """Numbers between 0 and 1 with their intervals as rows of one scale, a line at one half; "" without any."""
    rows = [
        (SPLIT_WORDS.get(split := name.partition(".")[0], split), numbers[name]) for name in names if name in numbers
    ]
    rows = [(label, _as_share(number)) for label, number in rows if number.unit in ("", *HUNDREDTHS)]
    return str(environment().get_template("exhibits.html").module.intervals(rows)) if rows else ""


def _as_share(number: Number) -> dict[str, Any]:
    low, high = (number.value if end is None else end for end in (number.low, number.high))
    places = {name: f"{100 * min(1.0, max(0.0, at)):.2f}" for name, at in (("at", number.value), ("low", low))}
    return places | {"wide": f"{100 * max(0.0, high - low):.2f}", "text": number.text, "n": number.n}


def thumbnail(exhibit: Exhibit, prefix: str) -> str:
    """A small drawing without words, for a link that says what it is."""
    data = exhibit.data
    if "image/svg+xml" in data:
        return _small_svg(clean_svg(joined(data["image/svg+xml"]), label="", prefix=prefix))
    source = next((mime for mime in ("image/png", "image/jpeg") if mime in data), None)
    return f'<img src="{_small_image(joined(data[source]))}" alt="Thumbnail">' if source else ""


def _small_svg(drawing: str) -> str:
    """Lines of one look are one line, markers of one look stand together; words, legends and clippings go."""
    root = ElementTree.fromstring(drawing)
    box = root.get("viewBox", "0 0 100 60")
    width, height = map(float, box.split()[2:])
    # Of a tall drawing the middle is shown.
    fit = "xMidYMid slice" if height > width else "xMidYMid meet"
    told = {"role": "img", "aria-label": "Thumbnail"}
    small = ElementTree.Element("svg", {"viewBox": box, "preserveAspectRatio": fit, **told})
    shapes, layers = ElementTree.SubElement(small, "defs"), {}

    def walk(element: ElementTree.Element) -> None:
        if element.tag in _NOT_SMALL or "legend" in element.get("id", ""):
            return
        if element.tag == "defs":
            shapes.extend(shape for shape in element.iter("path") if "id" in shape.attrib)
        elif element.tag == "path" and "transform" not in element.attrib:
            look = {"style": element.get("style", "")}
            layer = layers.setdefault(("path", look["style"]), ElementTree.Element("path", look | {"d": ""}))
            layer.set("d", layer.get("d") + element.get("d", ""))
        elif element.tag == "use":
            look = element.attrib.pop("style", "")
            layers.setdefault(("use", look), ElementTree.Element("g", {"style": look})).append(element)
        elif element.tag in ("g", "svg"):
            for child in element:
                walk(child)
        else:
            layers[element] = element

    walk(root)
    small.extend(layers.values())
    for element in small.iter():
        element.attrib.pop("clip-path", None)
        for name in set(_COORDINATES) & set(element.attrib):
            element.set(name, _rounded(element.attrib[name]))
    return ElementTree.tostring(small, encoding="unicode")


def _rounded(value: str) -> str:
    """Whole points; what is scaled stays as it is."""
    return value if "(" in value else re.sub(r"\s+", " ", _DECIMALS.sub(r"\1", value))


def _small_image(content: str) -> str:
    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        whole = image.convert("RGB")
        whole.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        whole.save(target, "WEBP", quality=55, method=6)
    return image_uri("image/webp", base64.b64encode(target.getvalue()).decode("ascii"))
