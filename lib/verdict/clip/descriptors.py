"""From parts of an image to words: which descriptors each part is given, and in which order an image has them.

A bank is a list of short phrases, encoded once; similarities are cosines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHARPNESS = 2.5


@dataclass(frozen=True)
class PartDescriptors:
    """Descriptors of the parts of one image.

    Attributes
    ----------
    of_part : tuple of int arrays
        Ids of each part's descriptors, the best first.
    is_fallback : bool
        Whether the parts had too few descriptors in common, so that the union was used.
    """

    of_part: tuple[np.ndarray, ...]
    is_fallback: bool

    @property
    def ids(self) -> np.ndarray:
        """All distinct ids, sorted."""
        return np.unique(np.concatenate(self.of_part)) if self.of_part else np.empty(0, dtype=int)


def sinkhorn(
    scores: np.ndarray, *, regulariser: float = 1.0, n_iterations: int = 1000, tolerance: float = 1e-9
) -> np.ndarray:
    """Share descriptors out between parts: each part has mass one, each descriptor the same mass.

    Parameters
    ----------
    scores : (n_parts, n_descriptors)
    regulariser : float > 0
        Small ones give each descriptor to one part, large ones to all alike.

    Returns
    -------
    ndarray (n_parts, n_descriptors)
        Rows sum to 1, columns to n_parts / n_descriptors.

    References
    ----------
    Cuturi (2013), Sinkhorn distances, algorithm 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"scores must be a table of parts and descriptors, got shape {scores.shape}")
    kernel = np.exp((scores - scores.max()) / regulariser)
    wanted = scores.shape[0] / scores.shape[1]
    columns = np.ones(scores.shape[1])
    for _ in range(n_iterations):
        rows = 1 / (kernel @ columns)
        columns = wanted / (rows @ kernel)
        if np.abs(rows * (kernel @ columns) - 1).max() < tolerance:
            break
    return rows[:, None] * kernel * columns


def describe_parts(
    cosine: np.ndarray, *, n_candidates: int, per_part: int, regulariser: float = 1.0, by_transport: bool = True
) -> PartDescriptors:
    """The descriptors of each part of one image.

    Candidates are those among the nearest `n_candidates` of every part; where they are fewer than `per_part`, those of
    any part. Optimal transport then gives each part what is nearer to it than to the others.

    Parameters
    ----------
    cosine : (n_parts, n_bank)
    n_candidates : int
        At most the size of the bank.
    per_part : int
    regulariser : float > 0
    by_transport : bool
        Without it each part has its nearest candidates, whatever the other parts have; so has the only part of an
        image, for which transport would find all descriptors equally good.
    """
    cosine = np.asarray(cosine, dtype=np.float64)
    if not len(cosine):
        return PartDescriptors((), False)
    near = np.zeros(cosine.shape, dtype=bool)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : min(n_candidates, cosine.shape[1])]
    np.put_along_axis(near, order, True, axis=1)
    common = np.flatnonzero(near.all(axis=0))
    is_fallback = len(common) < per_part
    kept = np.flatnonzero(near.any(axis=0)) if is_fallback else common
    is_shared_out = by_transport and len(cosine) > 1
    weights = sinkhorn(SHARPNESS * cosine[:, kept], regulariser=regulariser) if is_shared_out else cosine[:, kept]
    best = np.argsort(-weights, axis=1, kind="stable")[:, :per_part]
    return PartDescriptors(tuple(kept[row] for row in best), bool(is_fallback))


def by_importance(ids: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Ids in falling order of their cosine (n_bank,) with the whole image; equal ones by id."""
    ids = np.unique(ids)
    return ids[np.argsort(-np.asarray(cosine)[ids], kind="stable")]


def nearest(cosine: np.ndarray, n: int) -> np.ndarray:
    """Ids of the n nearest descriptors, (..., n), of cosines (..., n_bank), the nearest first."""
    return np.argsort(-np.asarray(cosine), axis=-1, kind="stable")[..., :n]
