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


def pair_distances(features: Features, means: tuple[np.ndarray, np.ndarray], pairs: pd.DataFrame) -> pd.DataFrame:
    """Distance of every evaluated pair from the training pairs: pair_id, split, distance (>= 0).

    `means` of images and of hypotheses, (n, n_depths, d). At each depth either has a Mahalanobis distance from the mean
    of train's, in units of the median of train's own; the pair's is the largest, so that one makes a pair strange.

    Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, section 2, with one class
    and the covariance shrunk as by Ledoit and Wolf (2004).
    """
    train, own = (pairs[pairs["split"].isin(splits)] for splits in ((Split.TRAIN,), EVALUATION_SPLITS))
    squared = np.zeros(len(own))
    for stored, of_train, of_own in zip(means, features.rows(train), features.rows(own), strict=True):
        known, (rows, place) = np.unique(of_train), np.unique(of_own, return_inverse=True)
        for depth in range(stored.shape[1]):
            found = _squared(*(np.asarray(stored[at, depth], dtype=np.float64) for at in (rows, known)))
            squared = np.maximum(squared, found[place])
    # Rounded: two that are alike differ by the noise of a square root.
    return own[["pair_id", "split"]].assign(distance=np.sqrt(squared).round(6)).reset_index(drop=True)


def _squared(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Squared distances of rows; plain ones where nothing in the reference varies."""
    # Twice: one row alone has no covariance, and its estimator warns of it.
    known = LedoitWolf().fit(np.repeat(reference, 2, axis=0) if len(reference) == 1 else reference)
    unit = np.median(known.mahalanobis(reference))
    return known.mahalanobis(rows) / unit if unit > 0 else ((rows - known.location_) ** 2).sum(axis=1)
