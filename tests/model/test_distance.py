"""Distances from the training pairs in frozen features."""

import numpy as np
import pandas as pd
import pytest

from verdict.model.distance import neighbour_distance, pair_distances
from verdict.model.features import Features


def test_neighbour_distance_by_hand():
    reference = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    features = np.array([[5.0, 0.0], [1.0, 1.0]])
    assert neighbour_distance(features, reference, k=1) == pytest.approx([0, np.sqrt(2 - np.sqrt(2))], abs=1e-7)
    assert neighbour_distance(features, reference, k=3)[0] == pytest.approx(2)


def test_a_row_is_not_compared_with_its_own_group():
    rows, groups = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), np.array(["a", "a", "b", "c"])
    found = neighbour_distance(rows, rows, k=1, groups=(groups, groups))
    assert found == pytest.approx(np.sqrt([2, 2, 2, 2])) and neighbour_distance(rows, rows, k=1).max() < 1e-7
    assert neighbour_distance(rows[:1], rows, k=2, groups=(groups[:1], groups)) == pytest.approx(2)
    with pytest.raises(ValueError, match="fewer than 1 reference rows are of another group for 2 rows"):
        neighbour_distance(rows[:2], rows[:2], k=1, groups=(groups[:2], groups[:2]))


@pytest.mark.parametrize(
    ("features", "reference", "k", "message"),
    [
        (np.zeros((1, 2)), np.ones((3, 2)), 1, "zero"),
        (np.ones((1, 2)), np.ones((3, 2)), 4, r"1\.\.3"),
        (np.ones((1, 2)), np.ones((3, 5)), 1, r"\(n, d\) and reference \(m, d\)"),
    ],
)
def test_refusals(features, reference, k, message):
    with pytest.raises(ValueError, match=message):
        neighbour_distance(features, reference, k=k)


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
