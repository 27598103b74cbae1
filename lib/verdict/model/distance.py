"""How far a pair lies from the pairs that the model was trained on, in what the frozen encoders see of it.

No class and no weight that was trained here plays a part, so that training cannot pull strangers in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from verdict.base.labels import EVALUATION_SPLITS, Split
from verdict.stats.neighbours import neighbour_distance, unit_rows

if TYPE_CHECKING:
    from verdict.model.features import Features

Reference = tuple[np.ndarray, np.ndarray]
_CHUNK_CELLS = 4_000_000


def pair_distances(features: Features, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distance of every evaluated pair from the training pairs: pair_id, split, distance (>= 0).

    Image and hypothesis are each as far as the nearest of train is (k = 1), in units of how widely those of train are
    spread; the pair's distance is the root of both squares, so that either makes a pair strange.
    """
    train, own = (pairs[pairs["split"].isin(splits)] for splits in ((Split.TRAIN,), EVALUATION_SPLITS))
    return distances_from(train_means(features, train), features, own)


def train_means(features: Features, train: pd.DataFrame) -> Reference:
    """What pairs of train are to `distances_from`: a row for each of their images, and for each of their hypotheses."""
    return tuple(_means(*part, np.unique(rows)) for part, rows in _parts(features, train))


def distances_from(reference: Reference, features: Features, pairs: pd.DataFrame) -> pd.DataFrame:
    """`pair_distances` of some pairs from `train_means`."""
    squared = np.zeros(len(pairs))
    for known, (part, of_pairs) in zip(reference, _parts(features, pairs), strict=True):
        rows, place = np.unique(of_pairs, return_inverse=True)
        spread = unit_rows(known).var(axis=0).sum()
        found = neighbour_distance(_means(*part, rows), known, k=1)
        squared += (found**2 / spread if spread > 0 else found**2)[place]
    # Rounded: two that are alike differ by the noise of a square root.
    return pairs[["pair_id", "split"]].assign(distance=np.sqrt(squared).round(6)).reset_index(drop=True)


def _parts(
    features: Features, pairs: pd.DataFrame
) -> Iterator[tuple[tuple[np.ndarray, np.ndarray | None], np.ndarray]]:
    """Stored images, then hypotheses with their mask, and which rows of each belong to pairs."""
    stored = (features.image_tokens, None), (features.hidden, features.padding_mask)
    return zip(stored, features.rows(pairs), strict=True)


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
