"""How far a pair lies from the pairs that the model was trained on, in what the frozen encoders see of it.

No class and no weight that was trained here plays a part, so that training cannot pull strangers in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from verdict.base.labels import EVALUATION_SPLITS, Split
from verdict.stats.neighbours import neighbour_distance, unit_rows

if TYPE_CHECKING:
    from verdict.model.features import Features

_CHUNK_CELLS = 4_000_000


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
