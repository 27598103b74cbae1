"""Where an object is and which parts it has, from patch features alone, and pictures that point at a part.

Masks are boolean on the grid of patches, (n_images, rows, columns). Nothing is trained and no label is used. An encoder
that sees whole images is shown a part by an ellipse, in three ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans

from verdict.stats.weighted import ratio

AFFINITY_FLOOR = 1e-5
SECOND_MIN_PATCHES = 5
RED = (255, 0, 0)
GREY_LEVEL, BLUR_PX = 128.0, 2.0


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of length one along the last axis; zero rows stay zero."""
    features = np.asarray(features, dtype=np.float64)
    return ratio(features, np.linalg.norm(features, axis=-1, keepdims=True))


def foreground_spectral(features: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Object masks by the second eigenvector of each image's normalised Laplacian: bool (n, rows, columns).

    Two patches of features (n, rows * columns, d), row by row, are alike from their image's mean cosine on, since
    encoders differ in it. The side that holds more of the border is background; see `clean_masks`.

    References
    ----------
    Shi and Malik (2000), Normalized cuts and image segmentation, eq. 11; Wang et al. (2022), arXiv:2202.11539, for
    patch features with a threshold.
    """
    vectors = unit_rows(features)
    cosine = np.einsum("npd,nqd->npq", vectors, vectors)
    affinity = np.where(cosine > cosine.mean(axis=(1, 2), keepdims=True), 1.0, AFFINITY_FLOOR)
    degree = affinity.sum(axis=2)
    scaled = affinity / np.sqrt(degree[:, :, None] * degree[:, None, :])
    _, vectors = np.linalg.eigh(scaled)
    fiedler = vectors[:, :, -2] / np.sqrt(degree)
    above = fiedler > fiedler.mean(axis=1, keepdims=True)
    return clean_masks(above.reshape(len(above), *grid))


def foreground_principal(features: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Object masks by the first principal component over all patches of a class's images; shapes as in the other."""
    vectors = unit_rows(features)
    pooled = vectors.reshape(-1, vectors.shape[2])
    centred = pooled - pooled.mean(axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[2][0]
    above = (centred @ component > 0).reshape(len(vectors), *grid)
    return clean_masks(~above if border_share(above).mean() > border_share(~above).mean() else above)


def clean_masks(masks: np.ndarray) -> np.ndarray:
    """Each mask with background at the border and small pieces removed."""
    flip = border_share(masks) > border_share(~masks)
    return np.stack([keep_components(~mask if turned else mask) for mask, turned in zip(masks, flip, strict=True)])


def border_share(masks: np.ndarray) -> np.ndarray:
    """Share of the border's patches that each mask holds, in [0, 1], (n,)."""
    edge = np.ones(masks.shape[1:], dtype=bool)
    edge[1:-1, 1:-1] = False
    return masks[:, edge].mean(axis=1)


def keep_components(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (rows, columns), and the second one if it has five patches."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    largest = np.argsort(-sizes, kind="stable")[:2]
    kept = [piece + 1 for k, piece in enumerate(largest) if k == 0 or sizes[piece] >= SECOND_MIN_PATCHES]
    return np.isin(labels, kept)


def parts_of(features: np.ndarray, masks: np.ndarray, n_parts: int, *, kind: str, seed: int) -> np.ndarray:
    """Part of each foreground patch of a class's images, -1 for background: int like `masks`.

    By "clusters" of the unit features (k-means, never more parts than distinct patches), or by principal "components":
    each is scaled to [0, 1] over the patches, and the largest one names the part.
    """
    vectors, parts = unit_rows(features).reshape(*masks.shape, -1)[masks], np.full(masks.shape, -1)
    if not len(vectors):
        return parts
    if kind == "clusters":
        n_parts = min(n_parts, len(np.unique(vectors.round(9), axis=0)))
        parts[masks] = KMeans(n_parts, n_init=3, max_iter=500, random_state=seed).fit(vectors).labels_
        return parts
    centred = vectors - vectors.mean(axis=0)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][:n_parts].T
    parts[masks] = ratio(scores - scores.min(axis=0), np.ptp(scores, axis=0)).argmax(axis=1)
    return parts


def to_pixels(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks of patches (n, rows, columns) as masks of pixels (n, height, width), without smoothing."""
    rows = np.arange(height) * masks.shape[1] // height
    columns = np.arange(width) * masks.shape[2] // width
    return masks[:, rows][:, :, columns]


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Agreement of masks (n, height, width) in [0, 1], (n,); two empty ones agree."""
    return ratio((first & second).sum(axis=(1, 2)), (first | second).sum(axis=(1, 2)), empty=1.0)


def shuffled_masks(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Masks of as many patches at random places: what chance agrees with."""
    return rng.permuted(masks.reshape(len(masks), -1), axis=1).reshape(masks.shape)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in pixels: centre (y, x), half axes (long, short), unit direction (y, x) of the long one."""

    centre: tuple[float, float]
    half_axes: tuple[float, float]
    direction: tuple[float, float]

    def radius(self, height: int, width: int) -> np.ndarray:
        """Distance of each pixel from the centre in half axes, (height, width): 1 on the outline."""
        y, x = np.mgrid[:height, :width]
        y, x = y - self.centre[0], x - self.centre[1]
        along = (y * self.direction[0] + x * self.direction[1]) / self.half_axes[0]
        across = (x * self.direction[0] - y * self.direction[1]) / self.half_axes[1]
        return np.hypot(along, across)


def fit_ellipse(mask: np.ndarray) -> Ellipse:
    """The ellipse with the moments of the largest connected piece of a mask of pixels that is not empty.

    A filled ellipse has the variance a² / 4 along an axis of half length a, so it is found again.
    """
    labels, _ = ndimage.label(mask)
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    places = np.argwhere(labels == largest).astype(float)
    centre = places.mean(axis=0)
    # A pixel is a square with a variance of its own: without it one row of pixels would have no width.
    covariance = np.cov(places.T, bias=True) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(covariance)
    short, long = 2 * np.sqrt(values)
    return Ellipse((centre[0], centre[1]), (long, short), (vectors[0, 1], vectors[1, 1]))


def prompt_images(image: np.ndarray, ellipse: Ellipse, *, outline: bool = True) -> np.ndarray:
    """Pictures of an image (height, width, 3) that point at an ellipse: outlined in red, and outlined with the outside
    grey or blurred.

    Without the outline there are two: red paint can make an encoder see red. uint8 (3 or 2, height, width, 3).
    """
    height, width = image.shape[:2]
    radius = ellipse.radius(height, width)
    inside = radius <= 1
    grey = np.where(inside[..., None], image, GREY_LEVEL)
    soft = ndimage.gaussian_filter(image.astype(np.float32), (BLUR_PX, BLUR_PX, 0))
    soft = np.where(inside[..., None], image, np.rint(soft))
    if not outline:
        return np.stack([grey, soft]).astype(np.uint8)
    line = inside & ~ndimage.binary_erosion(inside, border_value=0)
    prompts = np.stack([image.astype(np.float32), grey, soft])
    prompts[:, line if line.any() else radius == radius.min()] = RED
    return prompts.astype(np.uint8)


def part_prompts(images: np.ndarray, parts: np.ndarray, *, outline: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Prompts of every part of every image, from the part of each patch (n, rows, columns), -1 for none.

    Returns
    -------
    pictures : of each part uint8, (3 or 2, height, width, 3)
    owner : int, (n_found, 2)
        Image and part of each; parts that an image lacks are left out.
    """
    pixels = to_pixels(parts, *images.shape[1:3])
    owner = [(place, part) for place, own in enumerate(pixels) for part in np.unique(own[own >= 0])]
    pictures = [
        prompt_images(images[place], fit_ellipse(pixels[place] == part), outline=outline) for place, part in owner
    ]
    return pictures, np.reshape(owner, (-1, 2))
