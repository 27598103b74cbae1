"""How far a pair lies from the pairs that the model was trained on, in what the frozen encoders see of it.

No class and no weight that was trained here plays a part, so that training cannot pull strangers in. Encoders that were
taught varied grounds and wordings leave them out in the end; early blocks still show them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf

from verdict.base.labels import EVALUATION_SPLITS, Split

if TYPE_CHECKING:
    from verdict.model.features import Features

# Means over tokens of images and of hypotheses, (n, n_depths, d) each.
Reference = tuple[np.ndarray, np.ndarray]


def pair_distances(features: Features, means: Reference, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distance of every evaluated pair from the training pairs: pair_id, split, distance (>= 0).

    At each depth of the frozen encoders image and hypothesis each have a Mahalanobis distance from the mean of train's,
    in units of the median of train's own; the pair's is the largest, so that one of them makes a pair strange.

    Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, section 2, with one class
    and the covariance shrunk as by Ledoit and Wolf (2004).
    """
    train, own = (pairs[pairs["split"].isin(splits)] for splits in ((Split.TRAIN,), EVALUATION_SPLITS))
    return distances_from(train_means(features, means, train), features, means, own)


def train_means(features: Features, means: Reference, train: pd.DataFrame) -> Reference:
    """What pairs of train are to `distances_from`: means of each of their images, and of each of their hypotheses."""
    images, texts = (stored[np.unique(rows)] for stored, rows in zip(means, features.rows(train), strict=True))
    return images, texts


def distances_from(reference: Reference, features: Features, means: Reference, pairs: pd.DataFrame) -> pd.DataFrame:
    """`pair_distances` of some pairs from `train_means`."""
    squared = np.zeros(len(pairs))
    for known, stored, of_pairs in zip(reference, means, features.rows(pairs), strict=True):
        rows, place = np.unique(of_pairs, return_inverse=True)
        for depth in range(stored.shape[1]):
            found = _squared(*(np.asarray(part[:, depth], dtype=np.float64) for part in (stored[rows], known)))
            squared = np.maximum(squared, found[place])
    # Rounded: two that are alike differ by the noise of a square root.
    return pairs[["pair_id", "split"]].assign(distance=np.sqrt(squared).round(6)).reset_index(drop=True)


def _squared(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Squared distances of rows; plain ones where nothing in the reference varies."""
    # Twice: one row alone has no covariance, and its estimator warns of it.
    known = LedoitWolf().fit(np.repeat(reference, 2, axis=0) if len(reference) == 1 else reference)
    unit = np.median(known.mahalanobis(reference))
    return known.mahalanobis(rows) / unit if unit > 0 else ((rows - known.location_) ** 2).sum(axis=1)
