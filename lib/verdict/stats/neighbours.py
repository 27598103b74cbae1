"""Distances to the nearest rows of a reference."""

import numpy as np

_CHUNK_CELLS = 4_000_000


def neighbour_distance(
    features: np.ndarray, reference: np.ndarray, groups: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Euclidean distance to the nearest reference row after scaling all rows, (n, d) and (m, d), to length 1, (n,).

    A row is not compared with those of its own group (groups (n,), (m,)); ValueError where no others are left.
    Sun et al. (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, section 3, with k = 1.
    """
    features, reference = (unit_rows(np.asarray(rows, dtype=np.float64)) for rows in (features, reference))
    step = max(1, _CHUNK_CELLS // len(reference))
    nearest = []
    for start in range(0, max(len(features), 1), step):
        cosines = features[start : start + step] @ reference.T
        cosines[groups[0][start : start + step, None] == groups[1][None]] = -np.inf
        nearest.append(cosines.max(axis=1))
    cosine = np.concatenate(nearest)
    if n_lonely := int(np.isneginf(cosine).sum()):
        raise ValueError(f"no reference row is of another group for {n_lonely} rows")
    return np.sqrt(np.maximum(2 - 2 * cosine, 0.0))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a ValueError counts those that have no direction."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if np.any(lengths == 0):
        raise ValueError(f"{int((lengths == 0).sum())} rows of features are zero and have no direction")
    return features / lengths
