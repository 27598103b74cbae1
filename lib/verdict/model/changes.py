"""Changed views of an image that must not change the answer, each by a fixed amount.

Sentences about places allow changes of brightness and contrast alone: a mirrored image makes "left of" false. Where the
answer is what is shown, and not where, the middle of the image and its mirror image are views too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

MAX_LEVEL = 255.0


def brightness(images: np.ndarray, *, factor: float) -> np.ndarray:
    """Every level times a factor; uint8 (n, H, W, 3) in and out, levels above white are white."""
    return _to_levels(_checked(images) * factor)


def contrast(images: np.ndarray, *, factor: float) -> np.ndarray:
    """Distance of every level from its image's mean, times a factor; uint8 (n, H, W, 3) in and out."""
    levels = _checked(images)
    mean = levels.mean(axis=(1, 2, 3), keepdims=True)
    return _to_levels(mean + factor * (levels - mean))


def centre(images: np.ndarray, *, share: float) -> np.ndarray:
    """The middle of each image, `share` of its height and width, at the size of the whole; uint8 in and out."""
    images = np.asarray(images)
    _checked(images)
    height, width = images.shape[1:3]
    rows, columns = (_middle(length, share) for length in (height, width))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[None, :, None, None], (columns - left)[None, None, :, None]
    upper = images[:, top][:, :, left] * (1 - across) + images[:, top][:, :, right] * across
    lower = images[:, below][:, :, left] * (1 - across) + images[:, below][:, :, right] * across
    return _to_levels(upper * (1 - down) + lower * down)


def mirror(images: np.ndarray) -> np.ndarray:
    """Left and right exchanged; uint8 (n, H, W, 3) in and out."""
    _checked(images)
    return np.ascontiguousarray(np.asarray(images)[:, :, ::-1])


CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "darker": partial(brightness, factor=0.8),
        "brighter": partial(brightness, factor=1.2),
        "less contrast": partial(contrast, factor=0.75),
        "more contrast": partial(contrast, factor=1.25),
    }
)


# Of pictures of one thing; which of them apply is a parameter, since a mirrored digit is no digit.
PICTURE_CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {**CHANGES, "nearer": partial(centre, share=0.85), "mirrored": mirror}
)


def _middle(length: int, share: float) -> np.ndarray:
    """Places of pixels, in pixels of the whole, when its middle is shown at the size of the whole."""
    if not 0 < share <= 1:
        raise ValueError(f"share of an image must lie in (0, 1], got {share}")
    places = (np.arange(length) + 0.5) * share + length * (1 - share) / 2 - 0.5
    return np.clip(places, 0, length - 1)


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"expected uint8 images of shape (n, H, W, 3), got {images.dtype} of shape {images.shape}")
    return images.astype(np.float32)


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0.0, MAX_LEVEL).astype(np.uint8)
