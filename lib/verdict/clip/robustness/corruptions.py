"""Common corruptions of images at five severities, each falling in PSNR as it grows; some know how far things are.

Images are uint8 (n, height, width, 3); between reading and writing they are float32 in [0, 1] of the same shape. Sizes
are shares of the shorter side, so that one setting means the same at 32 and at 224 pixels. With the same generator
state the draws of two severities are the same, only their strength differs. Depths are (n, height, width), above zero,
in units of the distance to the nearest thing.

Families follow Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions, and Kar
et al. (2022), 3D common corruptions and data augmentation, section 3; code and strengths, for small images, are ours.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage

from verdict.model.changes import bilinear

SEVERITIES = (1, 2, 3, 4, 5)
NEAR, GROUND = 1.0, (1.8, 6.0)
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_AIR_LIGHT, _LEVELS = 0.85, 7


def as_unit(images: ArrayLike) -> np.ndarray:
    """A batch of uint8 images (n, height, width, 3) as float32 in [0, 1]."""
    return np.asarray(images).astype(np.float32) / 255.0


def as_bytes(unit: ArrayLike) -> np.ndarray:
    """Values in [0, 1] as uint8, rounded; what lies outside is cut."""
    return np.rint(np.clip(np.asarray(unit), 0.0, 1.0) * 255.0).astype(np.uint8)


def psnr(clean: ArrayLike, changed: ArrayLike) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in decibels, (n,); infinite where nothing changed."""
    error = ((as_unit(clean).astype(np.float64) - as_unit(changed)) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def disk(radius: float) -> np.ndarray:
    """Kernel of a lens out of focus: a disk of a radius in pixels with soft edge, sums to 1; odd sides."""
    reach = int(np.ceil(radius))
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    weight = np.clip(radius + 0.5 - np.hypot(down, across), 0, 1)
    return weight / weight.sum()


def standing_depth(masks: np.ndarray) -> np.ndarray:
    """Depth of a foreground that stands upright before a ground that recedes upwards: float32 like masks (n, h, w)."""
    recede = np.linspace(GROUND[1], GROUND[0], masks.shape[1], dtype=np.float32)
    return np.where(masks, np.float32(NEAR), recede[None, :, None])


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image: its family, its strengths at severities 1 to 5, and the change.

    The change is a function of images, strength, and a generator or depths.
    """

    family: str
    strengths: tuple[float, float, float, float, float]
    change: Callable[[np.ndarray, float, np.random.Generator | np.ndarray], np.ndarray]


def corrupt(images: ArrayLike, one: Corruption, severity: int, given: np.random.Generator | np.ndarray) -> np.ndarray:
    """Spoil a batch of images at a severity of 1 to 5: uint8 of the same shape.

    `given` are a generator for one of `CORRUPTIONS`, float32 depths (n, height, width) for one of `IN_DEPTH`.
    """
    return as_bytes(one.change(as_unit(images), one.strengths[severity - 1], given))


def _side(images: np.ndarray) -> int:
    """Shorter side of a batch, in pixels."""
    return min(images.shape[1:3])


def _zoomed(unit: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Images read about their middle at places `scale` as far from it."""
    rows, columns = np.indices(unit.shape[1:3], dtype=np.float32)
    middle = (unit.shape[1] - 1) / 2, (unit.shape[2] - 1) / 2
    return bilinear(unit, middle[0] + (rows - middle[0]) * scale, middle[1] + (columns - middle[1]) * scale)


def _gaussian_noise(unit: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return unit + sd * rng.standard_normal(unit.shape, dtype=np.float32)


def _shot_noise(unit: np.ndarray, grain: float, rng: np.random.Generator) -> np.ndarray:
    """Photons are counted: the variance of a pixel is its brightness times the grain."""
    return rng.poisson(unit / grain) * np.float32(grain)


def _impulse_noise(unit: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.random(unit.shape, dtype=np.float32)
    salt = rng.random(unit.shape, dtype=np.float32) < 0.5
    return np.where(drawn < share, salt, unit)


def _speckle_noise(unit: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return unit * (1 + sd * rng.standard_normal(unit.shape, dtype=np.float32))


def _gaussian_blur(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    sigma = reach * _side(unit)
    return ndimage.gaussian_filter(unit, sigma=(0, sigma, sigma, 0), mode="nearest")


def _defocus_blur(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    kernel = disk(reach * _side(unit)).astype(np.float32)
    return ndimage.convolve(unit, kernel[None, :, :, None], mode="nearest")


def _motion_blur(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """The camera moves along a straight line of its own for each image, the reach long to both sides."""
    rows, columns = np.indices(unit.shape[1:3], dtype=np.float32)
    angle = rng.uniform(0, np.pi, size=(len(unit), 1, 1)).astype(np.float32)
    steps = np.linspace(-1, 1, 11, dtype=np.float32) * reach * _side(unit)
    return sum(bilinear(unit, rows + np.sin(angle) * s, columns + np.cos(angle) * s) for s in steps) / len(steps)


def _zoom_blur(unit: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """The mean of views zoomed in from 1 to 1 + zoom."""
    scales = 1 / np.linspace(1, 1 + zoom, 9, dtype=np.float32)
    return sum(_zoomed(unit, scale) for scale in scales) / len(scales)


def _pixelate(unit: np.ndarray, block: float, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels by averaging, each shown as a block."""
    height, width = (max(1, round(length / (block * _side(unit)))) for length in unit.shape[1:3])
    small = [Image.fromarray(one).resize((width, height), Image.Resampling.BOX) for one in as_bytes(unit)]
    shown = [np.asarray(one.resize(unit.shape[2:0:-1], Image.Resampling.NEAREST)) for one in small]
    return np.stack(shown).astype(np.float32) / 255.0


def _jpeg(unit: np.ndarray, loss: float, rng: np.random.Generator) -> np.ndarray:
    """Written as JPEG of quality 100 minus the loss, and read back."""
    shown = []
    for one in as_bytes(unit):
        buffer = io.BytesIO()
        Image.fromarray(one).save(buffer, format="JPEG", quality=round(100 - loss))
        shown.append(np.asarray(Image.open(buffer).convert("RGB")))
    return np.stack(shown).astype(np.float32) / 255.0


def _elastic(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field moves every pixel, at most the reach."""
    n, height, width, _ = unit.shape
    smooth = 0.08 * _side(unit)
    field = rng.standard_normal((2, n, height, width), dtype=np.float32)
    field = ndimage.gaussian_filter(field, sigma=(0, 0, smooth, smooth), mode="reflect")
    field *= reach * _side(unit) / np.abs(field).max(axis=(0, 2, 3), keepdims=True)
    rows, columns = np.indices((height, width), dtype=np.float32)
    return bilinear(unit, rows + field[0], columns + field[1])


def _fog(unit: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """Light grey mist of uneven thickness in front of everything; `_depth_fog` knows distances."""
    n, height, width, _ = unit.shape
    mist = sum(
        ndimage.gaussian_filter(rng.random((n, height, width), dtype=np.float32), (0, reach, reach)) * reach
        for reach in (share * _side(unit) for share in (0.25, 0.12, 0.06))
    )
    low, high = mist.min(axis=(1, 2), keepdims=True), mist.max(axis=(1, 2), keepdims=True)
    thickness = density * (0.7 + 0.3 * (mist - low) / (high - low))
    return unit + thickness[..., None] * (0.85 - unit)


def _occlusion(unit: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A grey square, the share of the shorter side wide, about a place that the severity does not move."""
    rows, columns = np.indices(unit.shape[1:3], dtype=np.float32)
    at = rng.uniform(0.3, 0.7, size=(2, len(unit), 1, 1)) * np.reshape(unit.shape[1:3], (2, 1, 1, 1))
    half = share * _side(unit) / 2
    is_covered = (np.abs(rows - at[0]) <= half) & (np.abs(columns - at[1]) <= half)
    return np.where(is_covered[..., None], np.float32(0.5), unit)


def _depth_fog(unit: np.ndarray, density: float, depths: np.ndarray) -> np.ndarray:
    """Light is lost by exp(-density · depth), and the air's own light takes its place."""
    through = np.exp(-density * depths)[..., None]
    return unit * through + _AIR_LIGHT * (1 - through)


def _flash(unit: np.ndarray, darkness: float, depths: np.ndarray) -> np.ndarray:
    """A dark room with a light at the camera: what it gives falls with the square of depth."""
    return unit * ((1 - darkness) + darkness * 0.6 / depths**2)[..., None]


def _thin_lens(
    unit: np.ndarray, reach: float, depths: np.ndarray, *, focus: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Every pixel blurred by its own amount, which grows with 1 / focus - 1 / depth; read between growing blurs.

    `focus` says of all depths which is sharp. A pixel takes its neighbours' light whatever their depth, so that edges
    of near things bleed a little.
    """
    unsharp = np.abs(1 / depths - 1 / float(focus(depths)))
    levels = np.linspace(0, 1, _LEVELS) * reach * _side(unit)
    stack = np.stack([ndimage.gaussian_filter(unit, (0, s, s, 0), mode="nearest") for s in levels])
    place = np.clip(unsharp / max(float(unsharp.max()), 1e-9), 0, 1) * (_LEVELS - 1)
    lower = np.minimum(place.astype(np.int64), _LEVELS - 2)
    between = (place - lower)[..., None]
    which = np.ogrid[tuple(slice(length) for length in depths.shape)]
    return stack[(lower, *which)] * (1 - between) + stack[(lower + 1, *which)] * between


def _sideways(unit: np.ndarray, reach: float, depths: np.ndarray) -> np.ndarray:
    """The camera moves sideways during the exposure: near things smear farther."""
    rows, columns = np.indices(unit.shape[1:3], dtype=np.float32)
    steps = np.linspace(-1, 1, 11, dtype=np.float32) * reach * _side(unit)
    return sum(bilinear(unit, rows, columns + step / depths) for step in steps) / len(steps)


def _forwards(unit: np.ndarray, reach: float, depths: np.ndarray) -> np.ndarray:
    """The camera moves forwards during the exposure: a point at depth d grows by d / (d - way)."""
    ways = np.linspace(0, reach, 9, dtype=np.float32)
    return sum(_zoomed(unit, (depths - way) / depths) for way in ways) / len(ways)


_TO_DARK = (0.25, 0.4, 0.55, 0.7, 0.85)
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption("noise", (0.04, 0.08, 0.12, 0.18, 0.26), _gaussian_noise),
    "shot_noise": Corruption("noise", (0.01, 0.03, 0.07, 0.14, 0.28), _shot_noise),
    "impulse_noise": Corruption("noise", (0.01, 0.03, 0.07, 0.13, 0.22), _impulse_noise),
    "speckle_noise": Corruption("noise", (0.1, 0.2, 0.32, 0.48, 0.7), _speckle_noise),
    "gaussian_blur": Corruption("blur", (0.015, 0.025, 0.04, 0.06, 0.09), _gaussian_blur),
    "defocus_blur": Corruption("blur", (0.025, 0.04, 0.06, 0.09, 0.13), _defocus_blur),
    "motion_blur": Corruption("blur", (0.03, 0.06, 0.09, 0.13, 0.18), _motion_blur),
    "zoom_blur": Corruption("blur", (0.08, 0.16, 0.26, 0.4, 0.6), _zoom_blur),
    "brighter": Corruption("light", (0.1, 0.2, 0.3, 0.42, 0.55), lambda unit, shift, rng: unit + shift),
    "darker": Corruption("light", _TO_DARK, lambda unit, share, rng: unit * (1 - share)),
    "less_contrast": Corruption(
        "light", _TO_DARK, lambda unit, share, rng: unit + share * (unit.mean(axis=(1, 2, 3), keepdims=True) - unit)
    ),
    "less_colour": Corruption(
        *("light", (0.25, 0.45, 0.65, 0.85, 1.0)),
        lambda unit, share, rng: unit + share * ((unit @ _GREY)[..., None] - unit),
    ),
    "pixelate": Corruption("digital", (0.045, 0.0625, 0.1, 0.14, 0.2), _pixelate),
    "jpeg": Corruption("digital", (40.0, 65.0, 80.0, 90.0, 96.0), _jpeg),
    "elastic": Corruption("digital", (0.02, 0.04, 0.06, 0.09, 0.13), _elastic),
    "fog": Corruption("cover", (0.15, 0.28, 0.42, 0.58, 0.75), _fog),
    "occlusion": Corruption("cover", (0.15, 0.25, 0.35, 0.47, 0.6), _occlusion),
}
IN_DEPTH: dict[str, Corruption] = {
    "depth fog": Corruption("depth", (0.06, 0.13, 0.22, 0.35, 0.6), _depth_fog),
    "near focus": Corruption("depth", (0.03, 0.05, 0.08, 0.12, 0.18), partial(_thin_lens, focus=np.min)),
    "far focus": Corruption("depth", (0.02, 0.035, 0.05, 0.075, 0.11), partial(_thin_lens, focus=np.max)),
    "sideways blur": Corruption("depth", (0.04, 0.07, 0.11, 0.16, 0.22), _sideways),
    "forwards blur": Corruption("depth", (0.12, 0.22, 0.34, 0.48, 0.62), _forwards),
    "camera light": Corruption("depth", (0.3, 0.5, 0.7, 0.85, 1.0), _flash),
}
