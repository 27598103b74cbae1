"""Distances from the training pairs in frozen features."""

import numpy as np
import pandas as pd
import pytest

from verdict.model.distance import pair_distances
from verdict.model.features import Features


def test_a_strange_image_and_a_strange_sentence_each_make_a_pair_strange():
    """Train knows images along two axes and one hypothesis; padding of a hypothesis says nothing."""
    tokens = np.zeros((4, 3, 2), np.float32)
    tokens[0, :, 0] = tokens[1, :, 1] = tokens[2, :, 0] = 1
    tokens[3] = -1
    hidden = np.ones((3, 2, 2), np.float32)
    hidden[1, 1], hidden[2, 0] = -9, [1, -1]
    mask = np.array([[1, 1], [1, 0], [1, 0]], np.int32)
    names = [f"i{k}" for k in range(4)], ["known", "known, padded", "new"]
    features = Features(*(pd.Series(range(len(one)), index=one) for one in names), tokens, hidden, mask)
    rows = [("i0", "known", "train"), ("i1", "known", "train")]
    rows += [("i2", "known, padded", "test"), ("i3", "known", "test"), ("i2", "new", "independent")]
    pairs = pd.DataFrame(rows, columns=["image_id", "hypothesis", "split"]).assign(pair_id=list("abcde"))
    found = pair_distances(features, pairs)
    assert found[["pair_id", "split"]].to_numpy().tolist() == [["c", "test"], ["d", "test"], ["e", "independent"]]
    # Both unit images vary by 1/4 in each direction; the one known hypothesis does not vary at all.
    assert found["distance"].to_numpy() == pytest.approx([0, np.sqrt((2 + np.sqrt(2)) / 0.5), np.sqrt(2)])
