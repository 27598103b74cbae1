"""Where an object is and which parts it has, from patch features alone: spectral cut, principal components, k-means.

Masks are boolean on the grid of patches, (n_images, rows, columns). Nothing is trained and no label is used.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans

AFFINITY_FLOOR = 1e-5
SECOND_MIN_PATCHES = 5


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of length one along the last axis; zero rows stay zero."""
    features = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)


def foreground_spectral(features: np.ndarray, grid: tuple[int, int], *, threshold: float | None = None) -> np.ndarray:
    """Object masks by the second eigenvector of each image's normalised Laplacian.

    Parameters
    ----------
    features : (n, rows * columns, d)
        Patch features, row by row.
    grid : (rows, columns)
    threshold : float, optional
        Cosine from which two patches are alike; by default each image's mean cosine, since encoders differ in it.

    Returns
    -------
    ndarray of bool, (n, rows, columns)
        Cleaned by `keep_components`; the side that holds more of the border is background.

    References
    ----------
    Shi and Malik (2000), Normalized cuts and image segmentation, eq. 11; Wang et al. (2022), arXiv:2202.11539, for
    patch features with a threshold.
    """
    vectors = unit_rows(_check_patches(features, grid))
    cosine = np.einsum("npd,nqd->npq", vectors, vectors)
    cut = cosine.mean(axis=(1, 2), keepdims=True) if threshold is None else threshold
    affinity = np.where(cosine > cut, 1.0, AFFINITY_FLOOR)
    degree = affinity.sum(axis=2)
    scaled = affinity / np.sqrt(degree[:, :, None] * degree[:, None, :])
    _, vectors = np.linalg.eigh(scaled)
    fiedler = vectors[:, :, -2] / np.sqrt(degree)
    above = fiedler > fiedler.mean(axis=1, keepdims=True)
    return clean_masks(above.reshape(len(above), *grid))


def foreground_principal(features: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Object masks by the first principal component over all patches of a class's images; shapes as in the other."""
    vectors = unit_rows(_check_patches(features, grid))
    pooled = vectors.reshape(-1, vectors.shape[2])
    centred = pooled - pooled.mean(axis=0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    above = (centred @ components[0]) > 0
    above = above.reshape(len(vectors), *grid)
    return clean_masks(~above if border_share(above).mean() > border_share(~above).mean() else above)


def clean_masks(masks: np.ndarray) -> np.ndarray:
    """Each mask with background at the border and small pieces removed."""
    flip = border_share(masks) > border_share(~masks)
    return np.stack([keep_components(~mask if turned else mask) for mask, turned in zip(masks, flip, strict=True)])


def border_share(masks: np.ndarray) -> np.ndarray:
    """Share of the border's patches that each mask holds, in [0, 1], (n,)."""
    masks = np.asarray(masks, dtype=bool)
    edge = np.ones(masks.shape[1:], dtype=bool)
    edge[1:-1, 1:-1] = False
    return masks[:, edge].mean(axis=1)


def keep_components(mask: np.ndarray, *, second_min: int = SECOND_MIN_PATCHES) -> np.ndarray:
    """The largest connected piece of a mask (rows, columns), and the second one if it has `second_min` patches."""
    labels, n_pieces = ndimage.label(mask)
    if not n_pieces:
        return np.zeros(mask.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")
    kept = [order[0], *(place for place in order[1:2] if sizes[place] >= second_min)]
    return np.isin(labels, np.array(kept) + 1)


def parts_by_clusters(features: np.ndarray, masks: np.ndarray, n_parts: int, *, seed: int) -> np.ndarray:
    """Parts of the objects: k-means of the unit features of all foreground patches of a class.

    Parameters
    ----------
    features : (n, rows * columns, d)
    masks : bool, (n, rows, columns)
    n_parts : int
    seed : int

    Returns
    -------
    ndarray of int, (n, rows, columns)
        Part of each foreground patch, -1 for background. There are never more parts than distinct patches.
    """
    vectors, chosen = _foreground(features, masks)
    parts = np.full(masks.shape, -1)
    if not len(vectors):
        return parts
    n_parts = min(n_parts, len(np.unique(vectors.round(9), axis=0)))
    fitted = KMeans(n_parts, n_init=3, max_iter=500, random_state=seed).fit(vectors)
    parts[chosen] = fitted.labels_
    return parts


def parts_by_components(features: np.ndarray, masks: np.ndarray, n_parts: int) -> np.ndarray:
    """Parts by principal components: each scaled to [0, 1] over the patches, the largest one names the part."""
    vectors, chosen = _foreground(features, masks)
    parts = np.full(masks.shape, -1)
    if not len(vectors):
        return parts
    centred = vectors - vectors.mean(axis=0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    scores = centred @ components[:n_parts].T
    low, span = scores.min(axis=0), np.ptp(scores, axis=0)
    parts[chosen] = np.divide(scores - low, span, out=np.zeros_like(scores), where=span > 0).argmax(axis=1)
    return parts


def to_pixels(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks of patches (n, rows, columns) as masks of pixels (n, height, width), without smoothing."""
    masks = np.asarray(masks)
    rows = np.arange(height) * masks.shape[1] // height
    columns = np.arange(width) * masks.shape[2] // width
    return masks[:, rows][:, :, columns]


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Agreement of masks (n, height, width) in [0, 1], (n,); two empty ones agree."""
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"masks have shapes {first.shape} and {second.shape}")
    both, either = (first & second).sum(axis=(1, 2)), (first | second).sum(axis=(1, 2))
    return np.divide(both, either, out=np.ones(len(first)), where=either > 0)


def shuffled_masks(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Masks of as many patches at random places: what chance agrees with."""
    flat = np.asarray(masks).reshape(len(masks), -1)
    return rng.permuted(flat, axis=1).reshape(np.shape(masks))


def _foreground(features: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vectors = unit_rows(_check_patches(features, masks.shape[1:]))
    chosen = np.asarray(masks, dtype=bool)
    return vectors.reshape(*chosen.shape, -1)[chosen], chosen


def _check_patches(features: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 3 or features.shape[1] != np.prod(grid):
        raise ValueError(f"expected patch features (n, {np.prod(grid)}, d) of a {grid} grid, got {features.shape}")
    return features
