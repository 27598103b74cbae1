"""How far a pair lies from the pairs that the model was trained on, in what the frozen encoders see of it.

No class and no weight that was trained here plays a part, so that training cannot pull strangers in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from verdict.base.labels import EVALUATION_SPLITS, Split

if TYPE_CHECKING:
    from verdict.model.features import Features

_CHUNK_CELLS = 4_000_000


def neighbour_distance(
    features: np.ndarray, reference: np.ndarray, *, k: int, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Euclidean distance to the k-th nearest reference row after scaling all rows to length 1, (n,).

    `groups` ((n,), (m,)): a row is not compared with those of its own group, itself included; ValueError where fewer
    than k others are left.

    Sun et al. (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, section 3.
    """
    features, reference = np.asarray(features, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1] or not len(reference):
        raise ValueError(f"expected features (n, d) and reference (m, d), got {features.shape} and {reference.shape}")
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie in 1..{len(reference)}, got {k}")
    features, reference = unit_rows(features), unit_rows(reference)
    step = max(1, _CHUNK_CELLS // len(reference))
    nearest = []
    for start in range(0, max(len(features), 1), step):
        likeness = features[start : start + step] @ reference.T
        if groups is not None:
            likeness[groups[0][start : start + step, None] == groups[1][None]] = -np.inf
        nearest.append(np.partition(likeness, -k, axis=1)[:, -k])
    found = np.concatenate(nearest)
    if np.isneginf(found).any():
        raise ValueError(f"fewer than {k} reference rows are of another group for {int(np.isneginf(found).sum())} rows")
    return np.sqrt(np.maximum(2 - 2 * found, 0.0))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a ValueError counts those that have no direction."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if np.any(lengths == 0):
        raise ValueError(f"{int((lengths == 0).sum())} rows of features are zero and have no direction")
    return features / lengths


def pair_distances(features: Features, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distance of every evaluated pair from the training pairs: pair_id, split, distance (>= 0).

    Image and hypothesis are each as far as the nearest of train is (k = 1), in units of how widely those of train are
    spread; the pair's distance is the root of both squares, so that either makes a pair strange.
    """
    train, own = (pairs[pairs["split"].isin(splits)] for splits in ((Split.TRAIN,), EVALUATION_SPLITS))
    parts = zip((features.image_tokens, features.hidden), features.rows(train), features.rows(own), strict=True)
    squared = np.zeros(len(own))
    for stored, of_train, of_own in parts:
        mask = features.padding_mask if stored is features.hidden else None
        reference = _means(stored, mask, np.unique(of_train))
        rows, place = np.unique(of_own, return_inverse=True)
        spread = unit_rows(reference).var(axis=0).sum()
        found = neighbour_distance(_means(stored, mask, rows), reference, k=1)
        squared += (found**2 / spread if spread > 0 else found**2)[place]
    # Rounded: two that are alike differ by the noise of a square root.
    return own[["pair_id", "split"]].assign(distance=np.sqrt(squared).round(6)).reset_index(drop=True)


def _means(stored: np.ndarray, mask: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Mean over the tokens of each row, (n, d), read a few rows at a time; a token of padding is left out."""
    step = max(1, _CHUNK_CELLS // max(1, stored[0].size))
    found = [np.empty((0, stored.shape[2]))]
    for start in range(0, len(rows), step):
        own = rows[start : start + step]
        block = np.asarray(stored[own], dtype=np.float64)
        if mask is None or stored.shape[1] != mask.shape[1]:
            found.append(block.mean(axis=1))
        else:
            shown = mask[own][:, :, None]
            found.append((block * shown).sum(axis=1) / shown.sum(axis=1))
    return np.concatenate(found)
