"""Batches of images as numbers: reading and writing bytes, resampling, and blur kernels.

Images are uint8 (n, height, width, 3); between the two they are float32 in [0, 1] of the same shape. Sizes are shares
of the shorter side, so that one setting means the same at 32 and at 224 pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage


def as_unit(images: ArrayLike) -> np.ndarray:
    """Read a batch of images as float32 in [0, 1].

    Raises
    ------
    ValueError
        If it is not uint8 (n, height, width, 3).
    """
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise ValueError(f"expected images as uint8 (n, height, width, 3), got {array.dtype} {array.shape}")
    return array.astype(np.float32) / 255.0


def as_bytes(unit: ArrayLike) -> np.ndarray:
    """Values in [0, 1] as uint8, rounded; what lies outside is cut."""
    return np.rint(np.clip(np.asarray(unit), 0.0, 1.0) * 255.0).astype(np.uint8)


def psnr(clean: ArrayLike, changed: ArrayLike) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in decibels, (n,); infinite where nothing changed."""
    error = ((as_unit(clean).astype(np.float64) - as_unit(changed)) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def side(images: np.ndarray) -> int:
    """Shorter side of a batch, in pixels."""
    return min(images.shape[1:3])


def bilinear(unit: np.ndarray, rows: ArrayLike, columns: ArrayLike) -> np.ndarray:
    """Images read at other places, by bilinear interpolation; places outside read the nearest edge.

    Parameters
    ----------
    unit : float array (n, height, width, channels)
        What is read.
    rows, columns : float arrays (height, width) or (n, height, width)
        Where each pixel of the result is read, in pixels of the input.
    """
    n, height, width, channels = unit.shape
    rows = np.clip(rows, 0, height - 1).astype(np.float32)
    columns = np.clip(columns, 0, width - 1).astype(np.float32)
    top, left = np.floor(rows).astype(np.int32), np.floor(columns).astype(np.int32)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    # One index into a list of pixels is several times as fast as three.
    pixels = np.ascontiguousarray(unit).reshape(-1, channels)
    first = (np.arange(n) * (height * width))[:, None, None]

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return pixels.take(first + row * width + column, axis=0, mode="clip")

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    return upper * (1 - down) + lower * down


def pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every pixel, each float32 (height, width)."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return rows.astype(np.float32), columns.astype(np.float32)


def disk(radius: float) -> np.ndarray:
    """Kernel of a lens out of focus: a disk of a radius in pixels with soft edge, sums to 1; odd sides."""
    reach = int(np.ceil(radius))
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    weight = np.clip(radius + 0.5 - np.hypot(down, across), 0, 1)
    return weight / weight.sum()


def convolve(unit: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every channel of every image convolved with one kernel (k, k); edges repeat outwards."""
    return ndimage.convolve(unit, kernel.astype(np.float32)[None, :, :, None], mode="nearest")
