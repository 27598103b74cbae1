"""Distances from the training pairs in frozen features."""

import numpy as np
import pandas as pd
import pytest

from verdict.model.distance import pair_distances
from verdict.model.features import Features


def distances(rows, images, texts):
    names = [[f"{kind}{k}" for k in range(len(one))] for kind, one in (("i", images), ("h", texts))]
    index = (pd.Series(range(len(one)), index=one) for one in names)
    features = Features(*index, np.empty((len(images), 0, 0)), np.empty((len(texts), 0, 0)), np.empty((len(texts), 0)))
    pairs = pd.DataFrame(rows, columns=["image_id", "hypothesis", "split"])
    pairs["pair_id"] = [f"p{k}" for k in range(len(rows))]
    return pair_distances(features, (images, texts), pairs)


def test_the_largest_of_all_depths_and_both_sides_by_hand():
    """At both depths train's images lie on the corners of a square, 1 and 10 from its middle; one hypothesis is known.

    Each corner is then as far as the median, hence 1, and all else in units of it.
    """
    corners = np.array([[1, 0], [0, 1], [-1, 0], [0, -1.0]])
    new = np.array([[[0, 0], [0, 0]], [[3, 0], [0, 0]], [[3, 0], [0, 50]], [[0.3, 0.4], [0, -10]]])
    images = np.concatenate([np.stack([5 + corners, 10 * corners], axis=1), new + np.array([[5], [0]])])
    texts = np.array([[[2.0, 2, 2]], [[2, 2, 2]], [[2, 2, 2 + 7]]])
    rows = [(f"i{k}", "h0", "train") for k in range(4)]
    rows += [("i4", "h1", "val"), ("i5", "h1", "calib"), ("i6", "h1", "test"), ("i7", "h1", "test")]
    rows += [("i4", "h2", "independent"), ("i6", "h2", "independent"), ("i0", "h0", "warmup_train")]
    found = distances(rows, images, texts)
    assert found["pair_id"].tolist() == [f"p{k}" for k in range(4, 10)]
    assert found["split"].tolist() == [row[2] for row in rows[4:10]]
    assert found["distance"].to_numpy() == pytest.approx([0, 3, 5, 1, 7, 7])


def test_it_counts_in_what_train_varies_little():
    """A shift by as much is farther where train hardly varies, at whatever depth, and warm-up pairs are not known."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(211, 3, 5)) * [1, 1, 1, 1, 0.1]
    images[-3:] = 0
    images[-3, 1, 0] = images[-2, 1, 4] = 2
    rows = [(f"i{k}", "h0", "train") for k in range(208)]
    rows += [(f"i{k}", "h0", "test") for k in (208, 209, 210)] + [("i209", "h0", "warmup_train")]
    broad, narrow, middle = distances(rows, images, np.zeros((1, 1, 1)))["distance"]
    assert middle < 0.2 and 0.5 < broad < 1.5 and narrow > 2.5 * broad
