"""Changed views of an image that must not change the answer: brightness and contrast, each a fixed amount.

Flips and crops are left out: a mirrored image makes "left of" false.
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


VIEW_OF: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "darker": partial(brightness, factor=0.8),
        "brighter": partial(brightness, factor=1.2),
        "less contrast": partial(contrast, factor=0.75),
        "more contrast": partial(contrast, factor=1.25),
    }
)


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"expected uint8 images of shape (n, H, W, 3), got {images.dtype} of shape {images.shape}")
    return images.astype(np.float32)


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0.0, MAX_LEVEL).astype(np.uint8)
