"""Where an object is and which parts it has, from patch features alone, and pictures that point at a part.

Masks are boolean on the grid of patches, (n_images, rows, columns). Nothing is trained and no label is used. An encoder
that sees whole images is shown a part by an ellipse, in three ways.
"""

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans

from verdict.stats.weighted import ratio

AFFINITY_FLOOR = 1e-5
SECOND_MIN_PATCHES = 5
RED = (255, 0, 0)
GREY_LEVEL, BLUR_PX = 128, 2.0
# Places are neighbours within one mask of several, by their sides.
IN_PLANE = np.pad(ndimage.generate_binary_structure(2, 1)[None], ((1, 1), (0, 0), (0, 0)))
# So many parts are drawn at a time, for the memory.
CHUNK = 128


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of length one along the last axis; zero rows stay zero."""
    features = np.asarray(features, dtype=np.float64)
    return ratio(features, np.linalg.norm(features, axis=-1, keepdims=True))


def foreground_spectral(features: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Object masks by the second eigenvector of each image's normalised Laplacian: bool (n, rows, columns).

    Two patches of features (n, rows * columns, d), row by row, are alike from their image's mean cosine on, since
    encoders differ in it. The side that holds more of the border is background; see `clean_masks`.

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
    """Each mask with background at the border, and small pieces removed."""
    flip = border_share(masks) > border_share(~masks)
    return keep_components(masks ^ flip[:, None, None])


def border_share(masks: np.ndarray) -> np.ndarray:
    """Share of the border's patches that each mask holds, in [0, 1], (n,)."""
    edge = np.ones(masks.shape[1:], dtype=bool)
    edge[1:-1, 1:-1] = False
    return masks[:, edge].mean(axis=1)


def keep_components(masks: np.ndarray) -> np.ndarray:
    """The largest connected piece of each mask (n, rows, columns), and the second one if it has five patches."""
    labels, sizes, rank = _pieces(masks)
    return masks & ((rank == 0) | (rank == 1) & (sizes >= SECOND_MIN_PATCHES))[labels]


def _pieces(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Connected pieces of masks (n, height, width): the piece of each place, 0 for none; size and rank of each piece.

    The largest of a mask has the rank 0; equal ones go from the top down.
    """
    labels, n_pieces = ndimage.label(masks, IN_PLANE)
    sizes, (owner, rank) = np.bincount(labels.ravel(), minlength=n_pieces + 1), np.empty((2, n_pieces + 1), dtype=int)
    owner[labels] = np.arange(len(masks))[:, None, None]
    owner[0] = -1
    order = np.lexsort((-sizes, owner))
    rank[order] = np.arange(n_pieces + 1) - np.searchsorted(owner[order], owner[order])
    return labels, sizes, rank


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


def ellipse_radius(masks: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the middle of an ellipse in its half axes, (n, height, width): 1 on the outline.

    The ellipse has the moments of the largest connected piece of a mask of pixels, bool (n, height, width), that is not
    empty. A filled one has the variance a² / 4 along an axis of half length a, so it is found again.
    """
    labels, _, rank = _pieces(masks)
    piece = masks & (rank == 0)[labels]
    size = piece.sum(axis=(1, 2))
    places = np.indices(masks.shape[1:])
    y, x = (at - ((piece * at).sum(axis=(1, 2)) / size)[:, None, None] for at in places)
    # A pixel is a square with a variance of its own: without it one row of pixels would have no width.
    yy, xx, yx = (
        (np.einsum("nhw,nhw,nhw->n", piece, *both) / size + own)[:, None, None]
        for both, own in (((y, y), 1 / 12), ((x, x), 1 / 12), ((y, x), 0))
    )
    return np.sqrt((xx * y**2 - 2 * yx * y * x + yy * x**2) / (yy * xx - yx**2)) / 2


def prompt_images(images: np.ndarray, soft: np.ndarray, masks: np.ndarray, *, outline: bool) -> np.ndarray:
    """Pictures of images (n, height, width, 3) that point at an ellipse about what a mask shows: outlined in red, and
    outlined with the outside grey or `soft`, blurred.

    Without the outline there are two: red paint can make an encoder see red. uint8 (n, 3 or 2, height, width, 3).
    """
    radius = ellipse_radius(masks)
    inside = radius <= 1
    shown = [np.where(inside[..., None], images, outside) for outside in (np.uint8(GREY_LEVEL), soft)]
    if not outline:
        return np.stack(shown, axis=1)
    line = inside & ~ndimage.binary_erosion(inside, IN_PLANE)
    line |= (radius == radius.min(axis=(1, 2), keepdims=True)) & ~line.any(axis=(1, 2), keepdims=True)
    return np.where(line[:, None, ..., None], np.uint8(RED), np.stack([images, *shown], axis=1))


def part_prompts(images: np.ndarray, parts: np.ndarray, *, outline: bool) -> tuple[np.ndarray, np.ndarray]:
    """Prompts of every part of every image, from the part of each patch (n, rows, columns), -1 for none.

    Of each part that is there uint8 (n_found, 3 or 2, height, width, 3), and its image and part (n_found, 2).
    """
    pixels = to_pixels(parts, *images.shape[1:3])
    soft = ndimage.gaussian_filter(images.astype(np.float32), (0, BLUR_PX, BLUR_PX, 0)).round().astype(np.uint8)
    owner = [(k, part) for k, own in enumerate(parts) for part in np.unique(own[own >= 0])]
    owner, pictures = np.reshape(owner, (-1, 2)).astype(int), []
    for place, part in (chunk.T for chunk in np.split(owner, range(CHUNK, len(owner), CHUNK))):
        masks = pixels[place] == part[:, None, None]
        pictures.append(prompt_images(images[place], soft[place], masks, outline=outline))
    return np.concatenate(pictures), owner
