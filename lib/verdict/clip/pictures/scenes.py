"""Pictures of one handwritten digit whose every factor is under control, with captions and the digit's own mask.

A scene is its factors (digit, colour, size, position, texture, background), its handwriting and a small jitter; pixels
follow from these. Changing one factor leaves all else alone, which an intervention needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from verdict.data.digits.scenes import handwriting, handwriting_digits
from verdict.model.changes import bilinear

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FACTORS: Mapping[str, tuple[str, ...]] = {
    "digit": DIGITS,
    "colour": ("red", "green", "blue", "yellow", "purple", "cyan"),
    "size": ("small", "large"),
    "position": ("centre", "left", "right", "top", "bottom"),
    "texture": ("plain", "striped", "dotted"),
    "background": ("black", "grey", "white", "checkered"),
}
PALETTE = np.array(
    [[225, 40, 35], [35, 170, 60], [45, 90, 235], [235, 205, 20], [165, 60, 200], [30, 190, 205]], dtype=np.float32
)
# Height of the digit and shift of its middle, as shares of the picture.
HEIGHTS = np.array([0.48, 0.68])
SHIFTS = np.array([[0.0, 0.0], [-0.14, 0.0], [0.14, 0.0], [0.0, -0.14], [0.0, 0.14]])
PAPERS = np.array([12.0, 105.0, 240.0, 150.0], dtype=np.float32)
CHECKS, CHECK_DEPTH = 4, 45.0
INK_CUT = 0.35
_CHUNK = 512
_SAMPLE_PX = 8


@dataclass(frozen=True, eq=False)
class Scenes:
    """What n pictures hold.

    `factors` are indices into `FACTORS`, int (n,) by name; `sample`, 0..1796, is the handwriting, which shows the
    digit; `jitter` (n, 4), -1..1, moves the two coordinates of the middle, the height and the paper's brightness;
    `rotation` is the digit's, in degrees, anticlockwise; `brightness` > 0 multiplies all pixels.
    """

    factors: dict[str, np.ndarray]
    sample: np.ndarray
    jitter: np.ndarray
    rotation: np.ndarray
    brightness: np.ndarray

    def __len__(self) -> int:
        return len(self.sample)

    def take(self, rows: np.ndarray) -> Scenes:
        """The scenes of some rows, in their order."""
        parts = {name: values[rows] for name, values in self.factors.items()}
        return Scenes(parts, self.sample[rows], self.jitter[rows], self.rotation[rows], self.brightness[rows])

    def intervene(self, name: str, value: str | float) -> Scenes:
        """The same scenes with one thing set, but for the digit: a factor to a word, `rotation` or `brightness`."""
        if name in ("rotation", "brightness"):
            return replace(self, **{name: np.full(len(self), float(value))})
        index = np.full(len(self), FACTORS[name].index(str(value)))
        return replace(self, factors={**self.factors, name: index})

    def table(self) -> pd.DataFrame:
        """One row a scene: the words of its factors, and `writing`, the handwriting sample as text."""
        words = {name: np.array(FACTORS[name], dtype=object)[index] for name, index in self.factors.items()}
        return pd.DataFrame({**words, "writing": [f"writing-{k:04d}" for k in self.sample]})


def is_held_out(digit: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Whether a couple of digit and colour is kept from the training of the shipped dual encoder: bool.

    Twelve of the sixty couples: every digit lacks one colour or two, every colour two digits.
    """
    return (np.asarray(digit) + 2 * np.asarray(colour)) % 5 == 0


def coupled(digits: np.ndarray, held_out: bool, *, rng: np.random.Generator) -> np.ndarray:
    """A colour for each digit, of those with which it is held out, or of the others: int (n,)."""
    fits = is_held_out(digits[:, None], np.arange(len(FACTORS["colour"]))) == held_out
    return (rng.random(fits.shape) + ~fits).argmin(axis=1)


def draw(n: int, pool: np.ndarray, *, rng: np.random.Generator, held_out: bool | None = None) -> Scenes:
    """Draw scenes with handwriting of `pool`, every factor uniformly and independently of the others.

    `held_out`: only couples of digit and colour that are, or are not; None for all.
    """
    sample = rng.choice(np.asarray(pool), size=n)
    factors = {name: rng.integers(len(values), size=n) for name, values in FACTORS.items()}
    factors["digit"] = handwriting_digits()[sample]
    if held_out is not None:
        factors["colour"] = coupled(factors["digit"], held_out, rng=rng)
    stray = rng.uniform(-1, 1, size=(n, 4))
    return Scenes(factors, sample, stray, rng.uniform(-6, 6, size=n), np.ones(n))


def render(scenes: Scenes, *, rng: np.random.Generator, px: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Render scenes to RGB pixels, uint8 (n, px, px, 3), and masks of where there is ink, bool (n, px, px).

    `rng` is for the pixel noise alone: equal generators give equal noise, whatever was intervened on.
    """
    images = np.empty((len(scenes), px, px, 3), dtype=np.uint8)
    masks = np.empty((len(scenes), px, px), dtype=bool)
    for start in range(0, len(scenes), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(scenes)))
        part = scenes.take(rows)
        ink = _ink(part, px)
        masks[rows] = ink > INK_CUT
        pixels = _paper(part, px)[..., None]
        pixels = pixels + ink[..., None] * (_colour(part, px) - pixels)
        pixels = pixels * part.brightness[:, None, None, None].astype(np.float32)
        noise = rng.standard_normal((len(rows), px, px, 1), dtype=np.float32)
        images[rows] = np.clip(np.rint(pixels + 5.0 * noise), 0, 255)
    return images, masks


def _places(px: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the pixels as shares of the picture: across and down, each (px, px)."""
    at = (np.arange(px, dtype=np.float32) + 0.5) / px
    return np.meshgrid(at, at)


def _ink(scenes: Scenes, px: int) -> np.ndarray:
    """How much ink lies on each pixel, float32 (n, px, px) in 0..1: the sample, placed, scaled and turned."""
    across, down = _places(px)
    middle = 0.5 + SHIFTS[scenes.factors["position"]] + 0.02 * scenes.jitter[:, :2]
    height = HEIGHTS[scenes.factors["size"]] * (1 + 0.06 * scenes.jitter[:, 2])
    x = (across[None] - middle[:, 0, None, None]) / height[:, None, None]
    y = (down[None] - middle[:, 1, None, None]) / height[:, None, None]
    angle = np.deg2rad(scenes.rotation)[:, None, None]
    turned = (np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y)
    # Of a sample with an empty edge.
    column, row = (np.clip((part + 0.5) * _SAMPLE_PX + 0.5, 0, _SAMPLE_PX + 0.999) for part in turned)
    padded = np.pad(handwriting().images[scenes.sample] / 16.0, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    return np.clip(1.35 * bilinear(padded[..., None], row, column)[..., 0], 0, 1).astype(np.float32)


def _paper(scenes: Scenes, px: int) -> np.ndarray:
    """Grey level of the paper, float32 (n, px, px)."""
    across, down = _places(px)
    kind = scenes.factors["background"]
    level = PAPERS[kind] + 10 * scenes.jitter[:, 3]
    squares = (np.floor(across * CHECKS) + np.floor(down * CHECKS)) % 2 * 2 - 1
    depth = np.where(kind == FACTORS["background"].index("checkered"), CHECK_DEPTH, 0.0)
    return (level[:, None, None] + depth[:, None, None] * squares).astype(np.float32)


def _colour(scenes: Scenes, px: int) -> np.ndarray:
    """Colour of the ink, float32 (n, px, px, 3): stripes and dots are darker, on a scale of the picture."""
    across, down = _places(px)
    stripes = np.sin(2 * np.pi * 8 * (across + down)) > 0
    dots = np.hypot((across * 8) % 1 - 0.5, (down * 8) % 1 - 0.5) < 0.32
    shade = np.stack([np.ones_like(across), np.where(stripes, 1.0, 0.5), np.where(dots, 0.4, 1.0)])
    shown = PALETTE[scenes.factors["colour"]][:, None, None, :]
    return (shown * shade[scenes.factors["texture"]][..., None]).astype(np.float32)


PLACES = ("in the centre", "on the left", "on the right", "at the top", "at the bottom")
CAPTION_TEMPLATES = ("a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "this is {}", "{}")


def caption(words: Mapping[str, str], named: Sequence[str]) -> str:
    """A phrase that names some factors of a scene, from a row of `Scenes.table`: "a small red seven on the left"."""
    ahead = [words[name] for name in ("size", "texture", "colour") if name in named]
    parts = ["a", *ahead, words["digit"] if "digit" in named else "digit"]
    if "position" in named:
        parts.append(PLACES[FACTORS["position"].index(words["position"])])
    if "background" in named:
        parts.append(f"on a {words['background']} background")
    return " ".join(parts)


def spoken(n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Which factors each of n captions names, at random: bool (n, n_factors), in the order of `FACTORS`."""
    chance = np.array([0.85 if name == "digit" else 0.25 for name in FACTORS])
    return rng.random((n, len(FACTORS))) < chance


def captions(
    scenes: Scenes, named: np.ndarray, *, rng: np.random.Generator, templates: Sequence[str] = CAPTION_TEMPLATES
) -> list[str]:
    """One caption a scene, in a random template, that names the factors of `named` (n, n_factors)."""
    picks = rng.integers(len(templates), size=len(scenes))
    rows = scenes.table().to_dict("records")
    return [
        templates[pick].format(caption(row, [name for name, is_named in zip(FACTORS, flags, strict=True) if is_named]))
        for row, flags, pick in zip(rows, named, picks, strict=True)
    ]


def is_true(scenes: Scenes, named: np.ndarray) -> np.ndarray:
    """Whether the caption of scene j is true of scene i, which agrees in what it names: bool (n, n), [i, j]."""
    agrees = np.ones((len(scenes), len(scenes)), dtype=bool)
    for flags, values in zip(named.T, scenes.factors.values(), strict=True):
        agrees &= (values[:, None] == values[None, :]) | ~flags[None, :]
    return agrees
