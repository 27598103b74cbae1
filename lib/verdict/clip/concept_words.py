"""What the page on concepts says and shows of what was measured: templates for `say`, pictures, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from verdict.clip.concept_setup import Setup
from verdict.clip.concepts import Seen
from verdict.clip.parts import to_pixels
from verdict.clip.words import by_sign

if TYPE_CHECKING:
    from verdict.stage import Stage

N_WORDS = 3
TINT = 0.55


@dataclass(frozen=True)
class Examples:
    """Pictures with titles, for a gallery."""

    pictures: list[np.ndarray]
    titles: list[str]


def examples(setup: Setup, seen: Seen, *, n: int, colours: Sequence[str]) -> Examples:
    """Evenly chosen shown pictures with their parts tinted, the class given, and the first descriptors."""
    shown, names = setup.shown, setup.classes["name"].tolist()
    rows = np.unique(np.linspace(0, len(shown) - 1, n).round().astype(int))
    tinted = tint_parts(shown.images[rows], seen.parts[rows], colours)
    titles = []
    for row in rows:
        words = "; ".join(setup.texts[place] for place in seen.visual[row][:N_WORDS]) or "no foreground"
        mark = "" if seen.answer[row] == shown.y_true[row] else f" (is {names[shown.y_true[row]]})"
        titles.append(f"{names[seen.answer[row]]}{mark}: {words}")
    return Examples(list(tinted), titles)


def tint_parts(images: np.ndarray, parts: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Pictures with each part in a colour of its own and the background darker, uint8 (n, height, width, 3)."""
    pixels = to_pixels(parts, *images.shape[1:3])
    palette = np.array([(0.0, 0.0, 0.0), *(to_rgb(colours[k % len(colours)]) for k in range(max(parts.max(), 0) + 1))])
    painted = palette[pixels + 1] * 255
    return np.rint(TINT * images + (1 - TINT) * painted).astype(np.uint8)


def curve_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Curves one below the other, with a column `model`."""
    return pd.concat([curve.assign(model=name) for name, curve in curves.items()], ignore_index=True)


def foreground_template(foreground: pd.DataFrame) -> str:
    """What the masks say of the cut; or that there are none."""
    if not len(foreground):
        return "This source knows no masks, so foregrounds cannot be judged here."
    return (
        "The cut agrees with the object on {concepts.iou} of their union, as many random patches on "
        "{concepts.iou_random}, the best choice of patches on {concepts.iou_limit}; with the keys of the last block it "
        "is {concepts.iou_keys}."
    )


def truth_template(stage: Stage, truth: pd.DataFrame) -> str:
    """Whether descriptors are true of their pictures; or that nobody knows."""
    if not len(truth):
        return "Nothing here says which descriptors are true of a picture."
    parts = by_sign(
        stage.numbers["concepts.true_gain"],
        above="pointing at parts finds more that is true",
        below="pointing at parts costs truth",
        neither="no difference is shown",
    )
    red = by_sign(
        stage.numbers["concepts.red_gain"],
        above="the red outline makes the encoder see red",
        below="the red outline makes it name red less often",
        neither="no difference is shown",
    )
    return (
        "{concepts.true_parts} of a picture's descriptors are true of it, where {concepts.true_bank} of the bank are; "
        "as many that are nearest to the whole picture reach {concepts.true_nearest}, a paired difference of "
        f"{{concepts.true_gain}}: {parts}. In pictures without red, the share of descriptors that name red differs by "
        f"{{concepts.red_gain}} with the red outline from without: {red}."
    )


def relation_template(stage: Stage) -> str:
    """How knowledge and accuracy go together, between encoders and within the whole one."""
    text = "Over the {concepts.n_models} encoders, AUC and accuracy correlate at {concepts.relation}. "
    if "concepts.right_gain" not in stage.numbers:
        return text + "The whole encoder answers all pictures alike, so nothing can be compared within it."
    told = by_sign(
        stage.numbers["concepts.right_gain"],
        above="pictures that are answered rightly share more",
        below="pictures that are answered rightly share less",
        neither="no difference is shown",
    )
    return text + (
        "Within the whole encoder, the AUC of pictures that are answered rightly differs from that of the others by "
        f"{{concepts.right_gain}}: {told}."
    )


def prompts_template(stage: Stage) -> str:
    """What descriptors in the prompts do to accuracy, and random ones."""
    told = by_sign(
        stage.numbers["concepts.added_gain"],
        above="they help",
        below="they cost accuracy",
        neither="no difference is shown",
    )
    return (
        f"Descriptors found in pictures change accuracy by {{concepts.added_gain}}: {told}. Random ones change it by "
        "{concepts.random_gain}."
    )
