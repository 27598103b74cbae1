"""Photometric views of images: brightness, contrast, saturation, hue and noise, each from a random stream of its own.

A stream is a function of (seed, view, image, operation) alone: what an image looks like does not depend on the other
images, on the order or on what ran before, and no two operations share a draw.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from verdict.base.params import PhotometricParams

FACTORS = ("brightness", "contrast", "saturation", "hue")


def rng_of(seed: int, view: int, image_id: str, operation: str) -> np.random.Generator:
    """The generator of one operation on one view of one image."""
    # The image's name stands last, so that no two keys give one text.
    key = hashlib.blake2b(f"{seed}\0{view}\0{operation}\0{image_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def view_of_epoch(image_ids: Sequence[str], n_views: int, *, seed: int, epoch: int) -> np.ndarray:
    """Which of its views each image shows in an epoch: int64 (n_images,) in 1..n_views, equally likely.

    View 0 is the plain image, which evaluation sees.
    """
    drawn = [rng_of(seed, epoch, image_id, "view of epoch").integers(n_views) for image_id in image_ids]
    return np.asarray(drawn, dtype=np.int64) + 1


def jitters(image_ids: Sequence[str], ranges: PhotometricParams, *, view: int) -> dict[str, np.ndarray]:
    """What brightness, contrast, saturation and hue of each image change by: float32 (n_images,) each."""
    bounds = {
        "brightness": (-ranges.brightness, ranges.brightness),
        "contrast": ranges.contrast,
        "saturation": ranges.saturation,
        "hue": (-ranges.hue, ranges.hue),
    }
    return {
        name: np.asarray([rng_of(ranges.seed, view, i, name).uniform(*bounds[name]) for i in image_ids], np.float32)
        for name in FACTORS
    }


def photometric(images: np.ndarray, image_ids: Sequence[str], ranges: PhotometricParams, *, view: int) -> np.ndarray:
    """One augmented view of each image, float32 (n, height, width, 3) in [0, 1]; geometry is left alone.

    Brightness is added, contrast is spread about each channel's mean, then saturation and hue change, noise is added,
    and values are cut to [0, 1] (before saturation and hue as well, which mean nothing outside). Ids are the keys of
    the random streams. Views count from 1: 0 is the plain image, which nothing here makes.
    A ValueError for view 0, and for images that are not float32 in [0, 1], such as bytes, or not one an id.
    """
    if view < 1:
        raise ValueError(f"views are numbered from 1, got {view}; view 0 is the plain image")
    if len(images) != len(image_ids) or images.dtype != np.float32:
        raise ValueError(f"expected float32 images, one an id, got {images.dtype} {images.shape}, {len(image_ids)} ids")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"images must lie in [0, 1], got [{images.min():g}, {images.max():g}]; did you pass bytes?")
    change = {name: values[:, None, None, None] for name, values in jitters(image_ids, ranges, view=view).items()}
    shown = images + change["brightness"]
    mean = shown.mean(axis=(1, 2), keepdims=True)
    shown = np.clip(mean + change["contrast"] * (shown - mean), 0, 1)
    shown = recolour(shown, change["saturation"][..., 0], change["hue"][..., 0])
    for place, image_id in enumerate(image_ids):
        noise = rng_of(ranges.seed, view, image_id, "noise").standard_normal(shown.shape[1:], dtype=np.float32)
        shown[place] += np.float32(ranges.noise_sd) * noise
    return np.clip(shown, 0, 1)


def recolour(images: np.ndarray, saturation: np.ndarray | float, hue: np.ndarray | float) -> np.ndarray:
    """Multiply the saturation of images (..., 3), at most to full, and turn the hue by a share of the circle; the value
    stays.

    Smith (1978), Color gamut transform pairs, SIGGRAPH: the hexcone model (hue, saturation, value).
    """
    red, green, blue = (np.ascontiguousarray(images[..., channel]) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    inverse = 1 / np.where(chroma > 0, chroma, 1)
    sixth = np.where(
        value == red,
        (green - blue) * inverse,
        np.where(value == green, 2 + (blue - red) * inverse, 4 + (red - green) * inverse),
    )
    sixth += 6 * np.asarray(hue, dtype=images.dtype)
    # chroma = value * saturation, and saturation is at most 1.
    chroma = np.minimum(chroma * np.asarray(saturation, dtype=images.dtype), value)
    shown = np.empty_like(images)
    for channel, offset in enumerate((5, 3, 1)):
        place = sixth + offset
        place -= 6 * np.floor(place / 6)
        shown[..., channel] = value - chroma * np.clip(2 - np.abs(place - 2), 0, 1)
    return shown
