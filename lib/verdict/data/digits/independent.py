"""Pairs from another distribution than training: printed digits on light paper, and other ways to say things.

Two parts. Printed scenes and `paraphrases`, from templates that training does not use, meet in couples, as in training:
each other, or the familiar kind of the other. `hand_written` holds fifty sentences that a person wrote about ten fixed
scenes; `independent_hand.csv` also gives, where there is one, an equivalent in the grammar's own sentences, which the
tests evaluate to check the label.
"""

import csv
from functools import cache
from importlib.util import find_spec
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from verdict.data.digits import grammar, truths
from verdict.data.digits.grammar import ANY, COARSE_KINDS, CORNERS, EDGES, HALVES, KINDS, Statement
from verdict.data.digits.scenes import COLOURS, EMPTY, N_CELLS, SPRITE_PX, Scene, Style, draw_scenes, render_scenes
from verdict.data.digits.truths import CELL_COLUMN, CELL_ROW

FONTS = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    *("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "STIXGeneralBol.ttf"),
)


def _rows(name: str) -> tuple[dict[str, str], ...]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


# Ten scenes written out, four cells to a row: colour initial and digit. Written out rather than drawn from a seed,
# because the hand-written labels must outlive changes of NumPy's random streams.
HAND_SCENES = tuple(row["scene"] for row in _rows("independent_scenes.csv"))
# image (from 1, of `HAND_SCENES`), hypothesis, label, family, check: a sentence of the grammar, or several joined by
# " & ", that is true of the scene exactly if the hypothesis is, "" if there is none.
HAND_ROWS = _rows("independent_hand.csv")
# Fewer digits than a scene can hold: counting up to eight takes longer to learn than a laptop's minutes.
N_DIGITS = (2, 6)


def read_scene(text: str) -> Scene:
    """Read a scene written as in `HAND_SCENES`; its samples are printed glyphs, the fonts in turn."""
    cells = text.replace("|", " ").split()
    initials = [name[0] for name in COLOURS]
    digits, colours, samples = (np.full(N_CELLS, EMPTY) for _ in range(3))
    for i, cell in enumerate(cells):
        if cell != "..":
            digits[i], colours[i] = int(cell[1]), initials.index(cell[0])
            samples[i] = 10 * (i % len(FONTS)) + digits[i]
    return Scene(digits, colours, samples)


@cache
def printed_style() -> Style:
    """Printed digits in darker shades of the same colours on light paper; sample 10 f + d is the digit d in font f."""
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


@cache
def paraphrases() -> tuple[Statement, ...]:
    """All sentences of the independent templates, in a fixed order; none of them is a sentence of the grammar."""
    places, found = grammar.places, "can be found in the {place}"
    drafts = {
        "existence": grammar.presence(("you_can_see", "you can see {a}"), ("a_picture_with", "a picture with {a}")),
        "exact_count": grammar.exact_counts(
            ("you_can_see_exactly", "you can see exactly {count}", 1, False),
            ("shows_neither", "the picture shows {count} and no more", 1, False),
        ),
        "compare_count": grammar.bounded_counts(
            range(2, 5),
            ("or_more", "one finds {n} or more {many}", ">="),
            ("less_than", "you can see less than {count}", "<"),
        ),
        "colour": grammar.shares(
            ("the_colour_of", "the colour of the {one} is {hue}", "digit", "all", (1, 1), ""),
            ("what_is", "what is {hue} is {a}", "colour", "all", (1, 1), ""),
        ),
        "negation": grammar.presence(
            ("can_not_see", "you can not see any {many}"), ("without", "a picture without {a}"), is_none=True
        ),
        "quantifier": chain(
            grammar.shares(("each_of_the", "each of the {many} is {hue}", "digit", "all", (2,), "")),
            grammar.shares_of_all(("more_than_half", "more than half of the digits are {}", "most", "")),
        ),
        "position": chain(
            places(COARSE_KINDS, CORNERS, truths.any_in, "in_the_corner", "in the {place} corner one finds {a}"),
            places(KINDS, HALVES, truths.only_one_in, "can_be_found", f"the {{one}} {found} half of the picture"),
            places([ANY], EDGES, truths.none_in, "nothing_in", f"nothing {found}"),
        ),
        "relation": grammar.relations(
            ("to_the_side", "the {} stands to the left of the {}", CELL_COLUMN, "<"),
            ("to_the_side", "the {} stands to the right of the {}", CELL_COLUMN, ">"),
            ("higher_lower", "the {} stands higher than the {}", CELL_ROW, "<"),
            ("higher_lower", "the {} stands lower than the {}", CELL_ROW, ">"),
        ),
        "comparison": grammar.comparisons(
            ("outnumber", "the {} outnumber the {}", ">"), ("has_less", "the picture has less {} than {}", "<")
        ),
    }
    return grammar.settle(drafts)


def printed_scenes(n: int, *, rng: np.random.Generator) -> list[Scene]:
    """Scenes of printed glyphs, to be drawn in `printed_style`."""
    glyphs = np.arange(10 * len(FONTS))
    return draw_scenes(n, glyphs, rng=rng, sample_digits=glyphs % 10, n_digits=N_DIGITS)


def hand_written() -> tuple[pd.DataFrame, np.ndarray]:
    """The hand-written pairs and their ten images, the same in every build; columns as from `couples.coupled_pairs`."""
    rows = pd.DataFrame(HAND_ROWS)
    table = rows.assign(scene=rows["image"].astype(int) - 1, form=rows["family"] + "/hand")
    table = table[["scene", "hypothesis", "label", "family", "form"]]
    scenes = [read_scene(text) for text in HAND_SCENES]
    return table, render_scenes(scenes, rng=np.random.default_rng(0), style=printed_style())


def sentences() -> list[str]:
    """Every sentence that the two independent sets may hold."""
    return [*(statement.text for statement in paraphrases()), *(row["hypothesis"] for row in HAND_ROWS)]


INDEPENDENT_WORDS = tuple(grammar.words_of(sentences()))
