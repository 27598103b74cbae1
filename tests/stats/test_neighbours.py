"""Distances to the nearest rows of a reference."""

import numpy as np
import pytest

from verdict.stats.neighbours import neighbour_distance


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
