"""Distances to the nearest rows of a reference."""

from __future__ import annotations

import numpy as np

_CHUNK_CELLS = 4_000_000


def neighbour_distance(
    features: np.ndarray, reference: np.ndarray, *, k: int, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Euclidean distance to the k-th nearest reference row after scaling all rows to length 1, (n,).

    `groups` ((n,), (m,)): a row is not compared with those of its own; ValueError where fewer than k others are left.
    Sun et al. (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, section 3.
    """
    features, reference = np.asarray(features, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1] or not len(reference):
        raise ValueError(f"expected features (n, d) and reference (m, d), got {features.shape} and {reference.shape}")
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie in 1..{len(reference)}, got {k}")
    features, reference = unit_rows(features), unit_rows(reference)
    step = max(1, _CHUNK_CELLS // len(reference))
    kth_cosine = []
    for start in range(0, max(len(features), 1), step):
        cosines = features[start : start + step] @ reference.T
        if groups is not None:
            cosines[groups[0][start : start + step, None] == groups[1][None]] = -np.inf
        kth_cosine.append(np.partition(cosines, -k, axis=1)[:, -k])
    cosine = np.concatenate(kth_cosine)
    if np.isneginf(cosine).any():
        n_lonely = int(np.isneginf(cosine).sum())
        raise ValueError(f"fewer than {k} reference rows are of another group for {n_lonely} rows")
    return np.sqrt(np.maximum(2 - 2 * cosine, 0.0))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a ValueError counts those that have no direction."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if np.any(lengths == 0):
        raise ValueError(f"{int((lengths == 0).sum())} rows of features are zero and have no direction")
    return features / lengths
