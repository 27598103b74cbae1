"""Pairs from another distribution than training: printed digits on light paper, and other ways to say things.

Two parts. `paraphrased` makes couples, as in training, from templates that training does not use. `hand_written` holds
fifty sentences that a person wrote about ten fixed scenes; `independent_hand.csv` also gives, where there is one, an
equivalent in the grammar's own sentences, which the tests evaluate to check the label.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache, partial
from importlib import resources
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from verdict.data import grammar, truths
from verdict.data.couples import coupled_pairs
from verdict.data.grammar import (
    ANY,
    BOTH_KINDS,
    COARSE_KINDS,
    CORNERS,
    EDGES,
    HALVES,
    KINDS,
    NUMBERS,
    Draft,
    Statement,
    coarse_couples,
    counted,
    indefinite,
    parts,
    plural,
    present,
    settle,
    singular,
    stratum,
)
from verdict.data.scenes import COLOURS, EMPTY, N_CELLS, SPRITE_PX, Scene, Style, draw_scenes, render_scenes
from verdict.data.truths import CELL_COLUMN, CELL_ROW, Grid, Kind

FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "STIXGeneralBol.ttf",
)
# Ten scenes written out, four cells to a row: colour initial and digit. Written out rather than drawn from a seed,
# because the hand-written labels must outlive changes of NumPy's random streams.
HAND_SCENES = (
    ".. r7 .. .. | b3 .. .. r7 | .. .. g5 .. | .. .. .. b3",
    "y0 .. .. y0 | .. y0 .. .. | .. .. .. .. | p4 .. .. g4",
    ".. .. .. .. | .. g2 g2 .. | .. g2 r9 .. | .. .. .. ..",
    "p8 .. .. .. | .. .. .. b1 | .. .. .. .. | .. y6 .. ..",
    "r1 r2 .. r3 | .. .. .. .. | b1 .. b2 .. | .. .. .. b3",
    ".. .. b9 .. | .. .. b9 .. | .. .. b9 .. | r9 .. .. ..",
    "g7 .. .. g7 | .. .. .. .. | .. p5 .. .. | g7 .. .. g7",
    ".. y4 .. .. | r0 .. .. y8 | .. .. p8 .. | r4 .. y0 ..",
    ".. .. .. .. | .. .. .. .. | r6 .. .. p2 | .. b6 g6 ..",
    "p3 .. p3 .. | .. y5 .. .. | y5 .. p3 .. | .. .. y5 p1",
)
HAND_FILE = "independent_hand.csv"
# Fewer digits than a scene can hold: counting up to eight takes longer to learn than a laptop's minutes.
N_DIGITS = (2, 6)


def read_scene(text: str) -> Scene:
    """Read a scene written as in `HAND_SCENES`; its samples are printed glyphs, the fonts in turn.

    Parameters
    ----------
    text : str
        Sixteen cells, row by row: ".." for an empty cell, else a colour's initial and a digit. Bars are ignored.

    Raises
    ------
    ValueError
        If there are not sixteen cells or one of them cannot be read.
    """
    cells = text.replace("|", " ").split()
    initials = {name[0]: i for i, name in enumerate(COLOURS)}
    if len(cells) != N_CELLS:
        raise ValueError(f"expected {N_CELLS} cells, got {len(cells)} in {text!r}")
    digits, colours, samples = (np.full(N_CELLS, EMPTY) for _ in range(3))
    for i, cell in enumerate(cells):
        if cell == "..":
            continue
        if len(cell) != 2 or cell[0] not in initials or cell[1] not in "0123456789":
            raise ValueError(f"cannot read the cell {cell!r} in {text!r}")
        digits[i], colours[i] = int(cell[1]), initials[cell[0]]
        samples[i] = 10 * (i % len(FONTS)) + digits[i]
    return Scene(digits, colours, samples)


@cache
def printed_style() -> Style:
    """Printed digits in darker shades of the same colours on light paper.

    Sample 10 f + d is the digit d in font f of `FONTS`, all from the fonts that Matplotlib bundles.
    """
    # Found, not imported: Matplotlib makes folders as it starts, and a report that is refused writes nothing.
    folder = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    glyphs = [_glyph(folder / font, digit) for font, digit in product(FONTS, range(10))]
    palette = [[214, 62, 24], [0, 128, 88], [24, 44, 140], [214, 164, 0], [122, 30, 140]]
    return Style(
        np.stack(glyphs), np.array(palette, dtype=np.float32), paper=(222.0, 248.0), ink=(0.88, 1.0), noise=3.0
    )


def _glyph(font: Path, digit: int) -> np.ndarray:
    """One printed digit, its ink centred, float32 (14, 14), 0..1."""
    face = ImageFont.truetype(str(font), size=16)
    image = Image.new("L", (SPRITE_PX, SPRITE_PX), 0)
    left, top, right, bottom = face.getbbox(str(digit))
    at = ((SPRITE_PX - right - left) / 2, (SPRITE_PX - bottom - top) / 2)
    ImageDraw.Draw(image).text(at, str(digit), fill=255, font=face)
    return np.asarray(image, dtype=np.float32) / 255.0


def _existence() -> Iterator[Draft]:
    for kind in KINDS:
        yield Draft("you_can_see", f"you can see {indefinite(kind)}", present(kind), stratum(kind), parts(kind))
        yield Draft("a_picture_with", f"a picture with {indefinite(kind)}", present(kind), stratum(kind), parts(kind))


def _exact_count() -> Iterator[Draft]:
    for kind, number in [*product(COARSE_KINDS, range(1, 6)), *product([ANY], range(3, 9))]:
        truth = partial(truths.count_is, kind=kind, compare="=", number=number)
        words = counted(number, kind)
        yield Draft("you_can_see_exactly", f"you can see exactly {words}", truth, stratum(kind), present(kind))
        yield Draft("shows_neither", f"the picture shows {words} and no more", truth, stratum(kind), present(kind))


def _compare_count() -> Iterator[Draft]:
    for kind, number in [*product(COARSE_KINDS, range(2, 5)), *product([ANY], range(4, 8))]:
        more = partial(truths.count_is, kind=kind, compare=">=", number=number)
        yield Draft(
            "or_more", f"one finds {NUMBERS[number]} or more {plural(kind)}", more, stratum(kind), present(kind)
        )
        less = partial(truths.count_is, kind=kind, compare="<", number=number)
        yield Draft("less_than", f"you can see less than {counted(number, kind)}", less, stratum(kind), present(kind))


def _colour() -> Iterator[Draft]:
    for both in BOTH_KINDS:
        digit, colour = Kind(digit=both.digit), Kind(colour=both.colour)
        one = partial(truths.share_is, base=digit, part=both, rule="all", low=1, high=1)
        yield Draft(
            "the_colour_of", f"the colour of the {singular(digit)} is {COLOURS[both.colour]}", one, "", parts(both)
        )
        named = partial(truths.share_is, base=colour, part=both, rule="all", low=1, high=1)
        yield Draft("what_is", f"what is {COLOURS[both.colour]} is {indefinite(digit)}", named, "", parts(both))


def _negation() -> Iterator[Draft]:
    for kind in KINDS:
        truth = partial(truths.count_is, kind=kind, compare="=", number=0)
        yield Draft("can_not_see", f"you can not see any {plural(kind)}", truth, stratum(kind), parts(kind))
        yield Draft("without", f"a picture without {indefinite(kind)}", truth, stratum(kind), parts(kind))


def _quantifier() -> Iterator[Draft]:
    for both in BOTH_KINDS:
        digit, hue = Kind(digit=both.digit), COLOURS[both.colour]
        every = partial(truths.share_is, base=digit, part=both, rule="all", low=2)
        yield Draft("each_of_the", f"each of the {plural(digit)} is {hue}", every, "", parts(both))
    for kind in COARSE_KINDS:
        words = grammar.PLURALS[kind.digit] if kind.colour is None else COLOURS[kind.colour]
        most = partial(truths.share_is, base=ANY, part=kind, rule="most", low=3)
        yield Draft("more_than_half", f"more than half of the digits are {words}", most, stratum(kind))


def _position() -> Iterator[Draft]:
    for kind, (words, cells) in product(COARSE_KINDS, CORNERS.items()):
        here = partial(truths.any_in, kind=kind, cells=cells)
        text = f"in the {words} corner one finds {indefinite(kind)}"
        yield Draft("in_the_corner", text, here, stratum(kind), present(kind))
    for kind, (words, cells) in product(KINDS, HALVES.items()):
        here = partial(truths.only_one_in, kind=kind, cells=cells)
        text = f"the {singular(kind)} can be found in the {words} half of the picture"
        yield Draft("can_be_found", text, here, stratum(kind))
    for words, cells in EDGES.items():
        nothing = partial(truths.none_in, kind=ANY, cells=cells)
        yield Draft("nothing_in", f"nothing can be found in the {words}", nothing, "")


def _relation() -> Iterator[Draft]:
    forms = (
        ("to_the_side", "stands to the left of", CELL_COLUMN, "<"),
        ("to_the_side", "stands to the right of", CELL_COLUMN, ">"),
        ("higher_lower", "stands higher than", CELL_ROW, "<"),
        ("higher_lower", "stands lower than", CELL_ROW, ">"),
    )
    for (first, second), (form, words, axis, compare) in product(coarse_couples(), forms):
        truth = partial(truths.placed, first=first, second=second, axis=axis, compare=compare)
        yield Draft(form, f"the {singular(first)} {words} the {singular(second)}", truth, stratum(first))


def _comparison() -> Iterator[Draft]:
    for first, second in coarse_couples():
        names = plural(first), plural(second)
        more = partial(truths.counts_compare, first=first, second=second, compare=">")
        yield Draft("outnumber", f"the {names[0]} outnumber the {names[1]}", more, stratum(first))
        less = partial(truths.counts_compare, first=first, second=second, compare="<")
        yield Draft("has_less", f"the picture has less {names[0]} than {names[1]}", less, stratum(first))


@cache
def paraphrases() -> tuple[Statement, ...]:
    """All sentences of the independent templates, in a fixed order; none of them is a sentence of the grammar."""
    makers = (
        _existence,
        _exact_count,
        _compare_count,
        _colour,
        _negation,
        _quantifier,
        _position,
        _relation,
        _comparison,
    )
    return tuple(s for name, make in zip(grammar.FAMILIES, makers, strict=True) for s in settle(name, make()))


def paraphrased(*, n_pairs: int, n_scenes: int, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Couples of paraphrases and printed scenes.

    Parameters
    ----------
    n_pairs : int
        Even and positive.
    n_scenes : int
        Scenes to choose from; some may remain without a pair.
    rng : np.random.Generator
        The only source of randomness.

    Returns
    -------
    DataFrame, uint8 (n_scenes, 64, 64, 3)
        Pairs as from `couples.coupled_pairs`, and the images that its column scene points at.
    """
    glyphs = np.arange(10 * len(FONTS))
    scenes = draw_scenes(n_scenes, glyphs, rng=rng, sample_digits=glyphs % 10, n_digits=N_DIGITS)
    table = coupled_pairs(list(filter(grammar.is_taught, paraphrases())), Grid.of(scenes), n_pairs=n_pairs, rng=rng)
    return table, render_scenes(scenes, rng=rng, style=printed_style())


@cache
def hand_rows() -> tuple[dict[str, str], ...]:
    """Rows of the hand-written file: image, hypothesis, label, family, check.

    `image` counts from 1 and points into `HAND_SCENES`. `check` is a sentence of the grammar, or several joined by
    " & ", that is true of the scene exactly if the hypothesis is; it is empty where the grammar has none.
    """
    text = resources.files("verdict.data").joinpath(HAND_FILE).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def hand_written() -> tuple[pd.DataFrame, np.ndarray]:
    """The hand-written pairs and their ten images, the same in every build.

    Returns
    -------
    DataFrame, uint8 (10, 64, 64, 3)
        Columns as from `couples.coupled_pairs`.
    """
    rows = pd.DataFrame(hand_rows())
    table = pd.DataFrame(
        {
            "scene": rows["image"].astype(int) - 1,
            "hypothesis": rows["hypothesis"],
            "label": rows["label"],
            "family": rows["family"],
            "form": rows["family"] + "/hand",
        }
    )
    scenes = [read_scene(text) for text in HAND_SCENES]
    return table, render_scenes(scenes, rng=np.random.default_rng(0), style=printed_style())


INDEPENDENT_WORDS = tuple(
    grammar.words_of([*(s.text for s in paraphrases()), *(row["hypothesis"] for row in hand_rows())])
)
