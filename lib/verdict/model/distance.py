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
Means = tuple[np.ndarray, np.ndarray]
# What train is like at each depth, of images and of hypotheses: its law, and the median of its own squared distances.
Reference = tuple[list[tuple[LedoitWolf, float]], ...]


def pair_distances(features: Features, means: Means, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distance of every evaluated pair from the training pairs: pair_id, split, distance (>= 0).

    At each depth of the frozen encoders image and hypothesis each have a Mahalanobis distance from the mean of train's,
    in units of the median of train's own; the pair's is the largest, so that one of them makes a pair strange.

    Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, section 2, with one class
    and the covariance shrunk as by Ledoit and Wolf (2004).
    """
    train, evaluated = (pairs[pairs["split"].isin(splits)] for splits in ((Split.TRAIN,), EVALUATION_SPLITS))
    return distances_from(fit_reference(features, means, train), features, means, evaluated)


def fit_reference(features: Features, means: Means, train: pd.DataFrame) -> Reference:
    """What the images and the hypotheses of train, each once, are to `distances_from`."""
    sides = [stored[np.unique(rows)] for stored, rows in zip(means, features.rows(train), strict=True)]
    return tuple([_fitted(side[:, depth]) for depth in range(side.shape[1])] for side in sides)


def distances_from(reference: Reference, features: Features, means: Means, pairs: pd.DataFrame) -> pd.DataFrame:
    """`pair_distances` of some pairs from what `fit_reference` found."""
    squared = np.zeros(len(pairs))
    for known, stored, of_pairs in zip(reference, means, features.rows(pairs), strict=True):
        rows, place = np.unique(of_pairs, return_inverse=True)
        for depth, (law, unit) in enumerate(known):
            points = np.asarray(stored[rows, depth], dtype=np.float64)
            # Plain distances where nothing in train varies.
            of_rows = law.mahalanobis(points) / unit if unit > 0 else ((points - law.location_) ** 2).sum(axis=1)
            squared = np.maximum(squared, of_rows[place])
    # Rounded: two that are alike differ by the noise of a square root.
    return pairs[["pair_id", "split"]].assign(distance=np.sqrt(squared).round(6)).reset_index(drop=True)


def _fitted(train: np.ndarray) -> tuple[LedoitWolf, float]:
    rows = np.asarray(train, dtype=np.float64)
    # Twice: one row alone has no covariance, and its estimator warns of it.
    law = LedoitWolf().fit(np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows)
    return law, float(np.median(law.mahalanobis(rows)))
