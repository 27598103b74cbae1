"""Which drawing and which code stand behind a claim; drawings as the index shows them again: whole, as examples with
their words, and as thumbnails.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from verdict.base.labels import in_words
from verdict.base.numbers import HUNDREDTHS, Claim, Number, Numbers
from verdict.report.notebook import HIDDEN_TAG, Cell, code_cells
from verdict.report.outputs import MIME, as_webp, environment, image_uri, joined, picture, stem_slug

THUMBNAIL_PX = 280


@dataclass(frozen=True)
class Exhibit:
    """Where a number can be checked: a code cell, counted from 1 (0: unknown), and what it shows.

    "Figure 2" or "Table 1", and its anchor on the page; "" where nothing is drawn. `data` is the output by MIME type.
    """

    cell: int = 0
    shown: str = ""
    anchor: str = ""
    data: Mapping = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class PageExhibits:
    """What a page shows: exhibits by file name, and its answer (what it said, and text cells).

    `drawn` are its figures and galleries, in their order, but the main one first.
    """

    by_file: Mapping[str, Exhibit]
    answer: tuple[Mapping | str, ...]
    drawn: tuple[Exhibit, ...]
    live: Sequence[Cell]

    def of(self, claim: Claim) -> Exhibit:
        """The exhibit that a claim names; where the page does not show it, the cell that states the claim."""
        if claim.exhibit in self.by_file:
            return self.by_file[claim.exhibit]
        quoted = re.compile(rf"""["']{re.escape(claim.id)}["']""")
        stating = (cell.index + 1 for cell in code_cells(list(self.live)) if quoted.search(cell.source))
        return Exhibit(next(stating, 0))


def main_first(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in the order in which a page shows what they draw: the main figure stands beside the answer."""
    return sorted(cells, key=lambda cell: "main" not in cell.tags)


def find_exhibits(live: Sequence[Cell], done: Mapping[int, Cell]) -> PageExhibits:
    """Exhibits and answer of a page; figures and tables get the numbers and anchors that the page gives them.

    `done` holds the executed cell by the index of the live one, as `match_code` gives them.
    """
    counts: Counter[str] = Counter()
    by_file, answer, drawn = {}, [], []
    for cell in main_first(live):
        if HIDDEN_TAG in cell.tags:
            continue
        if cell.kind == "markdown" and "answer" in cell.tags:
            answer.append(cell.source)
        for output in done[cell.index].outputs if cell.index in done else ():
            payload = output.get("data", {}).get(MIME, {"kind": "claims"})
            if payload["kind"] == "claims":
                continue
            if payload["kind"] == "say":
                answer += [payload] if "answer" in cell.tags else []
                continue
            kind = "table" if payload["kind"] == "table" else "figure"
            anchor = f"{kind}-{stem_slug(payload)}"
            counts.update((kind, anchor))
            anchor += f"-{counts[anchor]}" if counts[anchor] > 1 else ""
            exhibit = Exhibit(cell.index + 1, f"{kind.capitalize()} {counts[kind]}", anchor, output["data"])
            if kind == "figure":
                drawn.append(exhibit)
            by_file.setdefault(str(payload.get("file") or ""), exhibit)
    by_file.pop("", None)
    return PageExhibits(by_file, tuple(answer), tuple(drawn), live)


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


def _as_share(number: Number) -> dict:
    low, high = (number.value if end is None else end for end in (number.low, number.high))
    places = {name: f"{100 * min(1.0, max(0.0, at)):.2f}" for name, at in (("at", number.value), ("low", low))}
    return places | {"wide": f"{100 * max(0.0, high - low):.2f}", "text": number.text, "n": number.n}


def thumbnail(exhibit: Exhibit) -> str:
    """A small picture, for a link that says what it is; "" of what has none."""
    payload = exhibit.data.get(MIME, {})
    content = payload.get("small") or exhibit.data.get("image/png") or exhibit.data.get("image/jpeg")
    image = environment().get_template("outputs.html").module.image
    if not content:
        return ""
    small = as_webp(joined(content), quality=55, side=THUMBNAIL_PX)
    return str(image(image_uri("image/webp", small), payload.get("alt", "")))
