"""Drawings of pages as the index shows them again: whole, as examples with their words, and as thumbnails."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from verdict.base.labels import in_words
from verdict.base.numbers import HUNDREDTHS, Number, Numbers
from verdict.report.evidence import Exhibit
from verdict.report.outputs import MIME, environment, image_uri, joined, picture

THUMBNAIL_PX = 280


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
    rows = [(in_words(name.partition(".")[0]), numbers[name]) for name in names if name in numbers]
    rows = [(label, _as_share(number)) for label, number in rows if number.unit in ("", *HUNDREDTHS)]
    return str(environment().get_template("exhibits.html").module.intervals(rows)) if rows else ""


def _as_share(number: Number) -> dict[str, Any]:
    low, high = (number.value if end is None else end for end in (number.low, number.high))
    places = {name: f"{100 * min(1.0, max(0.0, at)):.2f}" for name, at in (("at", number.value), ("low", low))}
    return places | {"wide": f"{100 * max(0.0, high - low):.2f}", "text": number.text, "n": number.n}


def thumbnail(exhibit: Exhibit) -> str:
    """A small picture, for a link that says what it is; "" of what has none."""
    payload = exhibit.data.get(MIME, {})
    content = payload.get("small") or exhibit.data.get("image/png") or exhibit.data.get("image/jpeg")
    image = environment().get_template("outputs.html").module.image
    return str(image(_small_image(joined(content)), payload.get("alt", ""))) if content else ""


def _small_image(content: str) -> str:
    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        whole = image.convert("RGB")
        whole.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        whole.save(target, "WEBP", quality=55, method=6)
    return image_uri("image/webp", base64.b64encode(target.getvalue()).decode("ascii"))
