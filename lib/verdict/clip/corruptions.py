"""Common corruptions of images at five severities, each falling in PSNR as it grows.

Every corruption takes float32 images (n, height, width, 3) in [0, 1], its strength and a generator. Sizes are shares of
the shorter side. With the same generator state the draws of two severities are the same, only their strength differs.
The families follow Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions; the
code and the strengths, chosen for small images, are ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage

from verdict.clip.pixels import as_bytes, as_unit, bilinear, convolve, disk, pixel_grid, side

SEVERITIES = (1, 2, 3, 4, 5)
Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image.

    Attributes
    ----------
    family : str
        noise, blur, light, digital or cover.
    strengths : tuple of 5 float
        Of severities 1 to 5.
    change : function of images, strength and generator
    """

    family: str
    strengths: tuple[float, float, float, float, float]
    change: Change


def corrupt(images: ArrayLike, name: str, severity: int, *, rng: np.random.Generator) -> np.ndarray:
    """Spoil a batch of images.

    Parameters
    ----------
    images : uint8 array (n, height, width, 3)
        Not changed.
    name : str
        One of `CORRUPTIONS`.
    severity : int, 1 to 5
    rng : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    uint8 array of the same shape

    Raises
    ------
    ValueError
        For an unknown name or severity, or something else than a batch of images.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"no corruption is called {name!r}; there are {list(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is 1 to 5, got {severity!r}")
    chosen = CORRUPTIONS[name]
    return as_bytes(chosen.change(as_unit(images), chosen.strengths[severity - 1], rng))


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
    sigma = reach * side(unit)
    return ndimage.gaussian_filter(unit, sigma=(0, sigma, sigma, 0), mode="nearest")


def _defocus_blur(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    return convolve(unit, disk(reach * side(unit)))


def _motion_blur(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """The camera moves along a straight line of its own for each image, the reach long to both sides."""
    rows, columns = pixel_grid(*unit.shape[1:3])
    angle = rng.uniform(0, np.pi, size=(len(unit), 1, 1)).astype(np.float32)
    steps = np.linspace(-1, 1, 11, dtype=np.float32) * reach * side(unit)
    views = (bilinear(unit, rows + np.sin(angle) * step, columns + np.cos(angle) * step) for step in steps)
    return sum(views) / len(steps)


def _zoom_blur(unit: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """The mean of views zoomed in from 1 to 1 + zoom."""
    rows, columns = pixel_grid(*unit.shape[1:3])
    middle = (unit.shape[1] - 1) / 2, (unit.shape[2] - 1) / 2
    scales = 1 / np.linspace(1, 1 + zoom, 9, dtype=np.float32)
    views = (
        bilinear(unit, middle[0] + (rows - middle[0]) * scale, middle[1] + (columns - middle[1]) * scale)
        for scale in scales
    )
    return sum(views) / len(scales)


def _brighter(unit: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    return unit + shift


def _darker(unit: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return unit * (1 - share)


def _less_contrast(unit: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return unit + share * (unit.mean(axis=(1, 2, 3), keepdims=True) - unit)


def _less_colour(unit: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return unit + share * ((unit @ _GREY)[..., None] - unit)


def _pixelate(unit: np.ndarray, block: float, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels by averaging, each shown as a block."""
    small = [max(1, round(length / (block * side(unit)))) for length in unit.shape[1:3]]
    shown = [
        np.asarray(Image.fromarray(one).resize(small[::-1], Image.Resampling.BOX).resize(one.shape[1::-1], _NEAREST))
        for one in as_bytes(unit)
    ]
    return np.stack(shown).astype(np.float32) / 255.0


_NEAREST = Image.Resampling.NEAREST


def _jpeg(unit: np.ndarray, loss: float, rng: np.random.Generator) -> np.ndarray:
    """Written as JPEG of quality 100 minus the loss, and read back."""
    return np.stack([_through_jpeg(one, round(100 - loss)) for one in as_bytes(unit)]).astype(np.float32) / 255.0


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _elastic(unit: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field moves every pixel, at most the reach."""
    n, height, width, _ = unit.shape
    smooth = 0.08 * side(unit)
    field = rng.standard_normal((2, n, height, width), dtype=np.float32)
    field = ndimage.gaussian_filter(field, sigma=(0, 0, smooth, smooth), mode="reflect")
    field *= reach * side(unit) / np.abs(field).max(axis=(0, 2, 3), keepdims=True)
    rows, columns = pixel_grid(height, width)
    return bilinear(unit, rows + field[0], columns + field[1])


def _fog(unit: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """Light grey mist of uneven thickness in front of everything; `depth.fog` knows distances."""
    n, height, width, _ = unit.shape
    mist = sum(
        ndimage.gaussian_filter(rng.random((n, height, width), dtype=np.float32), (0, reach, reach)) * reach
        for reach in (share * side(unit) for share in (0.25, 0.12, 0.06))
    )
    low, high = mist.min(axis=(1, 2), keepdims=True), mist.max(axis=(1, 2), keepdims=True)
    thickness = density * (0.7 + 0.3 * (mist - low) / (high - low))
    return unit + thickness[..., None] * (0.85 - unit)


def _occlusion(unit: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A grey square, the share of the shorter side wide, about a place that the severity does not move."""
    rows, columns = pixel_grid(*unit.shape[1:3])
    at = rng.uniform(0.3, 0.7, size=(2, len(unit), 1, 1)) * np.reshape(unit.shape[1:3], (2, 1, 1, 1))
    half = share * side(unit) / 2
    is_covered = (np.abs(rows - at[0]) <= half) & (np.abs(columns - at[1]) <= half)
    return np.where(is_covered[..., None], np.float32(0.5), unit)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption("noise", (0.04, 0.08, 0.12, 0.18, 0.26), _gaussian_noise),
    "shot_noise": Corruption("noise", (0.01, 0.03, 0.07, 0.14, 0.28), _shot_noise),
    "impulse_noise": Corruption("noise", (0.01, 0.03, 0.07, 0.13, 0.22), _impulse_noise),
    "speckle_noise": Corruption("noise", (0.1, 0.2, 0.32, 0.48, 0.7), _speckle_noise),
    "gaussian_blur": Corruption("blur", (0.015, 0.025, 0.04, 0.06, 0.09), _gaussian_blur),
    "defocus_blur": Corruption("blur", (0.025, 0.04, 0.06, 0.09, 0.13), _defocus_blur),
    "motion_blur": Corruption("blur", (0.03, 0.06, 0.09, 0.13, 0.18), _motion_blur),
    "zoom_blur": Corruption("blur", (0.08, 0.16, 0.26, 0.4, 0.6), _zoom_blur),
    "brighter": Corruption("light", (0.1, 0.2, 0.3, 0.42, 0.55), _brighter),
    "darker": Corruption("light", (0.25, 0.4, 0.55, 0.7, 0.85), _darker),
    "less_contrast": Corruption("light", (0.25, 0.4, 0.55, 0.7, 0.85), _less_contrast),
    "less_colour": Corruption("light", (0.25, 0.45, 0.65, 0.85, 1.0), _less_colour),
    "pixelate": Corruption("digital", (0.045, 0.0625, 0.1, 0.14, 0.2), _pixelate),
    "jpeg": Corruption("digital", (40.0, 65.0, 80.0, 90.0, 96.0), _jpeg),
    "elastic": Corruption("digital", (0.02, 0.04, 0.06, 0.09, 0.13), _elastic),
    "fog": Corruption("cover", (0.15, 0.28, 0.42, 0.58, 0.75), _fog),
    "occlusion": Corruption("cover", (0.15, 0.25, 0.35, 0.47, 0.6), _occlusion),
}
