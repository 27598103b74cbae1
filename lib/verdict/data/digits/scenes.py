"""Scenes: coloured digits on a 4 x 4 grid of 16-pixel cells, drawn from handwriting pools and rendered to 64 x 64 RGB.

A scene is its structure (which digit of which colour in which cell); pixels follow from the structure, a `Style` and a
random generator. Cells coincide with the 16-pixel patches of a ViT, so that one patch holds at most one digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

GRID = 4
CELL_PX = 16
SCENE_PX = GRID * CELL_PX
N_CELLS = GRID * GRID
SPRITE_PX = 14
EMPTY = -1
COLOURS = ("red", "green", "blue", "yellow", "purple")

POOL_SHARES = {"pretrain": 0.45, "warmup": 0.12, "train": 0.22, "val": 0.06, "calib": 0.06, "test": 0.09}
# The presets have read the pretrain pool of this division, so that no other may be used with them.
POOLS_SEED = 42
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Scene:
    """What a picture holds, cell by cell, row by row from the top left, int (16,) each: digit 0..9, index into
    `COLOURS`, and index of the sprite (a handwriting sample, or a printed glyph); -1 where the cell is empty.
    """

    digits: np.ndarray
    colours: np.ndarray
    samples: np.ndarray


@dataclass(frozen=True, eq=False)
class Style:
    """How scenes turn into pixels: ink of every sample (n_samples, 14, 14) in 0..1, RGB of `COLOURS` (5, 3), ranges of
    background brightness (0..255) and each digit's opacity (0..1), standard deviation of the noise in grey levels.
    """

    sprites: np.ndarray
    palette: np.ndarray
    paper: tuple[float, float]
    ink: tuple[float, float]
    noise: float


@cache
def handwriting() -> Any:
    """The 1,797 samples as scikit-learn gives them: `target` and `images`, (1797, 8, 8) in 0..16; not to be changed."""
    # Imported here: it takes longer than all else that a look at other people's data needs.
    from sklearn.datasets import load_digits

    return load_digits()


@cache
def handwriting_digits() -> np.ndarray:
    """Digit written in each of the 1,797 handwriting samples, int (1797,), read-only; from Optical Recognition of
    Handwritten Digits (Alpaydin and Kaynak, 1998), the part that scikit-learn bundles.
    """
    digits = handwriting().target.astype(np.int64)
    digits.setflags(write=False)
    return digits


@cache
def handwriting_style() -> Style:
    """Handwriting in bright colours on a dark ground."""
    images = handwriting().images.astype(np.float32) / 16.0
    weights = _interpolation(images.shape[1], SPRITE_PX)
    smooth = weights @ images @ weights.T
    palette = np.array([[255, 48, 40], [40, 215, 70], [50, 110, 255], [250, 225, 40], [205, 70, 235]], dtype=np.float32)
    return Style(np.clip(1.35 * smooth, 0.0, 1.0), palette, paper=(8.0, 36.0), ink=(0.85, 1.0), noise=5.0)


def _interpolation(n_from: int, n_to: int) -> np.ndarray:
    """Matrix (n_to, n_from) of bilinear resampling with aligned pixel centres; rows sum to 1."""
    at = np.clip((np.arange(n_to) + 0.5) * n_from / n_to - 0.5, 0, n_from - 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(n_from)[None, :])).astype(np.float32)


def handwriting_pools() -> dict[str, np.ndarray]:
    """Divide the handwriting samples into disjoint pools (see `POOL_SHARES`), digit by digit: sorted indices by
    pool, the same in every data set.
    """
    rng = np.random.default_rng([POOLS_SEED, *b"handwriting pools"])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in POOL_SHARES}
    for digit in range(10):
        order = rng.permutation(np.flatnonzero(handwriting_digits() == digit))
        cuts = np.rint(np.cumsum(list(POOL_SHARES.values()))[:-1] * order.size).astype(int)
        for name, part in zip(POOL_SHARES, np.split(order, cuts), strict=True):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def draw_scenes(
    n: int,
    pool: np.ndarray,
    *,
    rng: np.random.Generator,
    sample_digits: np.ndarray | None = None,
    n_digits: tuple[int, int] = (3, 8),
    n_distinct_digits: tuple[int, int] = (2, 5),
    n_distinct_colours: tuple[int, int] = (2, 4),
) -> list[Scene]:
    """Draw random scenes whose sprites come from one pool.

    Each scene draws how many digits it holds, and small palettes of digits and colours, which make repetitions.
    `sample_digits` are the digits shown by the samples, by default of handwriting; ranges include both ends.
    """
    occupied = _ranks(rng, n, N_CELLS) < rng.integers(n_digits[0], n_digits[1] + 1, size=n)[:, None]
    digits = _draw_values(rng, n, 10, n_distinct_digits)
    colours = _draw_values(rng, n, len(COLOURS), n_distinct_colours)
    sample_digits = handwriting_digits() if sample_digits is None else sample_digits
    samples = np.empty_like(digits)
    for digit in range(10):
        where = digits == digit
        samples[where] = rng.choice(pool[sample_digits[pool] == digit], size=int(where.sum()))
    tables = [np.where(occupied, values, EMPTY) for values in (digits, colours, samples)]
    return [Scene(*rows) for rows in zip(*tables, strict=True)]


def _ranks(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Independent random permutations of 0..m-1, int (n, m)."""
    return rng.random((n, m)).argsort(axis=1)


def _draw_values(rng: np.random.Generator, n: int, m: int, n_distinct: tuple[int, int]) -> np.ndarray:
    """Values 0..m-1 for every cell, int (n, 16), each row from its own palette of limited size."""
    palettes = _ranks(rng, n, m)
    sizes = rng.integers(n_distinct[0], n_distinct[1] + 1, size=n)
    picks = (rng.random((n, N_CELLS)) * sizes[:, None]).astype(int)
    return np.take_along_axis(palettes, picks, axis=1)


def render_scenes(scenes: Sequence[Scene], *, rng: np.random.Generator, style: Style | None = None) -> np.ndarray:
    """Render scenes to pixels, uint8 (n, 64, 64, 3), by default in handwriting; position within the cell (up to one
    pixel from its middle), opacity, background brightness and pixel noise are drawn from `rng`.
    """
    style = handwriting_style() if style is None else style
    images = np.empty((len(scenes), SCENE_PX, SCENE_PX, 3), dtype=np.uint8)
    for start in range(0, len(scenes), _CHUNK):
        images[start : start + _CHUNK] = _render_chunk(scenes[start : start + _CHUNK], rng, style)
    return images


def _render_chunk(scenes: Sequence[Scene], rng: np.random.Generator, style: Style) -> np.ndarray:
    n = len(scenes)
    samples, colours = np.array([(scene.samples, scene.colours) for scene in scenes]).swapaxes(0, 1).reshape(2, -1)
    shifts = rng.integers(0, CELL_PX - SPRITE_PX + 1, size=(samples.size, 2))
    alpha = np.zeros((samples.size, CELL_PX, CELL_PX), dtype=np.float32)
    for down in range(CELL_PX - SPRITE_PX + 1):
        for across in range(CELL_PX - SPRITE_PX + 1):
            here = np.flatnonzero((samples != EMPTY) & (shifts == (down, across)).all(axis=1))
            alpha[here, down : down + SPRITE_PX, across : across + SPRITE_PX] = style.sprites[samples[here]]
    alpha *= rng.uniform(*style.ink, size=(samples.size, 1, 1)).astype(np.float32)
    # An empty cell's colour index is -1 and picks the last colour, which its zero alpha then hides.
    paper = np.repeat(rng.uniform(*style.paper, size=n).astype(np.float32), N_CELLS)[:, None, None, None]
    # Channels stand before places until the end: loops over three values are slow.
    pixels = alpha[:, None] * (style.palette[colours][..., None, None] - paper)
    pixels += paper
    pixels = pixels.reshape(n, GRID, GRID, 3, CELL_PX, CELL_PX).transpose(0, 3, 1, 4, 2, 5)
    pixels = pixels.reshape(n, 3, SCENE_PX, SCENE_PX)
    pixels += style.noise * rng.standard_normal((n, 1, SCENE_PX, SCENE_PX), dtype=np.float32)
    return np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels).astype(np.uint8).transpose(0, 2, 3, 1)
