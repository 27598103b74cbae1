"""Changed views of an image that must not change the answer, each by a fixed amount.

Sentences about places allow changes of brightness and contrast alone: a mirrored image makes "left of" false. Where the
answer is what is shown, and not where, the middle of the image and its mirror image are views too.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

MAX_LEVEL = 255.0
# Images, so that memory in double precision does not grow with their number.
READ_AT_A_TIME = 64


def brightness(images: np.ndarray, *, factor: float) -> np.ndarray:
    """Every level times a factor; uint8 (n, H, W, 3) in and out, levels above white are white."""
    return _to_levels(images.astype(np.float32) * factor)


def contrast(images: np.ndarray, *, factor: float) -> np.ndarray:
    """Distance of every level from its image's mean, times a factor; uint8 (n, H, W, 3) in and out."""
    levels = images.astype(np.float32)
    mean = levels.mean(axis=(1, 2, 3), keepdims=True)
    return _to_levels(mean + factor * (levels - mean))


def centre(images: np.ndarray, *, share: float) -> np.ndarray:
    """The middle of each image, `share` of its height and width, at the size of the whole; uint8 in and out."""
    # Places of pixels, in pixels of the whole, when its middle is shown at the size of the whole.
    at = [(np.arange(n) + 0.5) * share + n * (1 - share) / 2 - 0.5 for n in images.shape[1:3]]
    return _to_levels(bilinear(images.astype(np.float32), *np.meshgrid(*at, indexing="ij")))


def bilinear(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Images read at other places, by bilinear interpolation; places outside read the nearest edge.

    Images are float (n, height, width, channels); where each pixel of the result is read, in pixels of the input, is a
    map, or one an image, (n, ...).
    """
    import torch  # Here, since who draws no pictures need not load it.

    # Torch counts places from -1 to 1, from one edge of the picture to the other.
    to = [(2 * np.asarray(at, float) + 1) / n - 1 for at, n in zip((columns, rows), images.shape[2:0:-1], strict=True)]
    places = torch.from_numpy(np.stack(np.broadcast_arrays(*to), axis=-1)).expand(len(images), -1, -1, -1)
    read = np.empty((*places.shape[:3], images.shape[3]), images.dtype)
    for start in range(0, len(images), READ_AT_A_TIME):
        part = slice(start, start + READ_AT_A_TIME)
        planes = torch.from_numpy(images[part].astype(np.float64)).movedim(-1, 1)
        found = torch.nn.functional.grid_sample(planes, places[part], padding_mode="border", align_corners=False)
        read[part] = found.movedim(1, -1).numpy()
    return read


def mirror(images: np.ndarray) -> np.ndarray:
    """Left and right exchanged; uint8 (n, H, W, 3) in and out."""
    return np.ascontiguousarray(images[:, :, ::-1])


CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "darker": partial(brightness, factor=0.8),
    "brighter": partial(brightness, factor=1.2),
    "less contrast": partial(contrast, factor=0.75),
    "more contrast": partial(contrast, factor=1.25),
}


# Of pictures of one thing; which of them apply is a parameter, since a mirrored digit is no digit.
PICTURE_CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    **CHANGES,
    "nearer": partial(centre, share=0.85),
    "mirrored": mirror,
}


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0.0, MAX_LEVEL).astype(np.uint8)
