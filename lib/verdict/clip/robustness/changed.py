"""Pictures and what they become when one thing about them is changed.

Scenes are rendered anew with a factor set, all else and the pixel noise as before. Pictures that nobody can render
again are edited: turned, moved, covered, relit. Points are (column, row) in pixels, the middle of the first pixel at
(0, 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from sklearn.datasets import load_sample_images

from verdict.clip.pictures import scenes
from verdict.clip.pictures.sources import Pictures
from verdict.clip.robustness.corruptions import CORRUPTIONS, as_bytes, as_unit, corrupt
from verdict.model.changes import bilinear

TURNS, LIGHTS = (-30.0, 30.0, 90.0, 180.0), (0.4, 0.7, 1.5)
SEEN, HELD_OUT = "seen together", "held out"


@dataclass(frozen=True, eq=False)
class Subject:
    """n labelled pictures that are changed in many ways; `masks` are nowhere true where the source does not know them.

    `scenes` say what the pictures hold, where they can be rendered again with the `seed` of the pixel noise.
    """

    images: np.ndarray
    y_true: np.ndarray
    groups: np.ndarray
    masks: np.ndarray
    scenes: scenes.Scenes | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.y_true)

    def rendered(self, changed: scenes.Scenes) -> np.ndarray:
        """Changed scenes with the same pixel noise: uint8 (n, px, px, 3)."""
        return scenes.render(changed, rng=np.random.default_rng(self.seed), px=self.images.shape[1])[0]


def of_scenes(n: int, pool: np.ndarray, *, px: int, rng: np.random.Generator) -> Subject:
    """Newly drawn scenes whose handwriting comes from a pool; the independent unit is the handwriting."""
    drawn = scenes.draw(n, pool, rng=rng)
    seed = int(rng.integers(2**32))
    images, masks = scenes.render(drawn, rng=np.random.default_rng(seed), px=px)
    return Subject(images, drawn.factors["digit"], drawn.table()["writing"].to_numpy(), masks, drawn, seed)


def of_pictures(pictures: Pictures, split: str, n: int) -> Subject:
    """The first n pictures of a split, for sources whose pictures cannot be rendered again."""
    rows = pictures.rows(split)[:n]
    table = pictures.table.iloc[rows]
    images = np.asarray(pictures.images[rows])
    masks = np.zeros(images.shape[:3], bool) if pictures.masks is None else np.asarray(pictures.masks[rows])
    return Subject(images, table["y"].to_numpy(), table["group_id"].to_numpy(), masks)


def interventions(subject: Subject, *, rng: np.random.Generator) -> Iterator[tuple[str, str, np.ndarray]]:
    """Factor, value and pictures of every change of one factor; the order and number of pictures stay."""
    yield from _edited(subject, rng) if subject.scenes is None else _rendered(subject, rng)


def _rendered(subject: Subject, rng: np.random.Generator) -> Iterator[tuple[str, str, np.ndarray]]:
    drawn = subject.scenes
    for factor, values in scenes.FACTORS.items():
        for value in () if factor == "digit" else values:
            yield factor, value, subject.rendered(drawn.intervene(factor, value))
    for degrees in TURNS:
        yield "turn", f"{degrees:+.0f}°", subject.rendered(drawn.intervene("rotation", degrees))
    for factor in LIGHTS:
        yield "light", f"x {factor:g}", subject.rendered(drawn.intervene("brightness", factor))
    for kind in (SEEN, HELD_OUT):
        colour = scenes.coupled(drawn.factors["digit"], kind == HELD_OUT, rng=rng)
        changed = replace(drawn, factors={**drawn.factors, "colour": colour})
        yield "digit and colour", kind, subject.rendered(changed)


def _edited(subject: Subject, rng: np.random.Generator) -> Iterator[tuple[str, str, np.ndarray]]:
    px, images = subject.images.shape[1], subject.images
    for degrees in (-30.0, 30.0, 90.0):
        yield "turn", f"{degrees:+.0f}°", warped(images, homography(px, degrees=degrees))
    yield "turn", "mirrored", images[:, :, ::-1]
    for scale in (0.6, 1.5):
        yield "size", f"x {scale:g}", warped(images, homography(px, scale=scale))
    for name, shift in (("left", (-0.2, 0.0)), ("right", (0.2, 0.0)), ("top", (0.0, -0.2)), ("bottom", (0.0, 0.2))):
        yield "position", name, warped(images, homography(px, shift=shift))
    for factor, name in (("light", "darker"), ("light", "brighter"), ("colour", "less_colour"), ("cover", "occlusion")):
        yield factor, name.replace("_", " "), corrupt(images, CORRUPTIONS[name], 4, rng)


def homography(
    px: int, *, degrees: float = 0.0, scale: float = 1.0, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Map of the plane that a camera sees after turning, coming nearer, tilting and moving: (3, 3).

    The picture is a square of `px`, and its middle stays but for the shift (across, down), in shares of the side.
    Degrees turn anticlockwise as seen, a scale above 1 is nearer, and tilt, |tilt| < 1, makes the top edge smaller by
    so much and the bottom edge larger.
    """
    middle = (px - 1) / 2
    angle = np.deg2rad(degrees)
    to_middle = np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1.0]])
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    perspective = np.diag([scale, scale, 1.0])
    perspective[2, 1] = -tilt / px
    back = np.array([[1, 0, middle + shift[0] * px], [0, 1, middle + shift[1] * px], [0, 0, 1.0]])
    return back @ perspective @ turn @ to_middle


def project(points: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Where points (..., 2) of the first view lie in the second."""
    points = np.asarray(points, dtype=np.float64)
    mapped = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ np.asarray(matrix).T
    return mapped[..., :2] / mapped[..., 2:]


def warped(images: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Images as the second view shows them: uint8 of the same shape; what was outside continues the edge."""
    unit = as_unit(images)
    rows, columns = np.indices(unit.shape[1:3], dtype=np.float32)
    seen_from = project(np.stack([columns, rows], axis=-1), np.linalg.inv(np.asarray(matrix)))
    return as_bytes(bilinear(unit, seen_from[..., 1], seen_from[..., 0]))


def photographs(n: int, px: int, *, rng: np.random.Generator) -> np.ndarray:
    """Random pieces of the two photographs that scikit-learn bundles (a temple, a flower), uint8 (n, px, px, 3)."""
    photos = load_sample_images().images
    pieces = []
    for k in range(n):
        photo = photos[k % len(photos)]
        size = int(rng.integers(px, min(photo.shape[:2]) + 1))
        top, left = (int(rng.integers(0, length - size + 1)) for length in photo.shape[:2])
        at = np.linspace(0, size - 1, px).round().astype(int)
        pieces.append(photo[top : top + size, left : left + size][np.ix_(at, at)])
    return np.stack(pieces)


def cue_scenes(
    n: int, pool: np.ndarray, cue: str, *, agree: bool, rng: np.random.Generator
) -> tuple[scenes.Scenes, np.ndarray, np.ndarray]:
    """Scenes in which a factor such as texture goes with the digit, or contradicts it; and digit and value, (n,).

    Of the handwriting samples of `pool` those of the first digits are used, as many as the factor has values: both are
    classes 0 … n_values - 1. They agree where the k-th digit comes with the k-th value, else always with another.
    """
    n_values = len(scenes.FACTORS[cue])
    pool = np.asarray(pool)
    drawn = scenes.draw(n, pool[scenes.handwriting_digits()[pool] < n_values], rng=rng)
    digit = drawn.factors["digit"]
    value = digit if agree else (digit + rng.integers(1, n_values, size=n)) % n_values
    return replace(drawn, factors={**drawn.factors, cue: value}), digit, value
