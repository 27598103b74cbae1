"""Distances to the nearest rows of a reference."""

import numpy as np
import pytest

from verdict.stats.neighbours import neighbour_distance


def test_neighbour_distance_by_hand():
    reference = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    features = np.array([[5.0, 0.0], [1.0, 1.0]])
    found = neighbour_distance(features, reference, (np.arange(2), np.arange(2, 5)))
    assert found == pytest.approx([0, np.sqrt(2 - np.sqrt(2))], abs=1e-7)


def test_a_row_is_not_compared_with_its_own_group():
    rows, groups = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), np.array(["a", "a", "b", "c"])
    assert neighbour_distance(rows, rows, (groups, groups)) == pytest.approx(np.sqrt([2, 2, 2, 2]))
    with pytest.raises(ValueError, match="no reference row is of another group for 2 rows"):
        neighbour_distance(rows[:2], rows[:2], (groups[:2], groups[:2]))


def test_a_row_without_a_direction_is_refused():
    with pytest.raises(ValueError, match="1 rows of features are zero"):
        neighbour_distance(np.zeros((1, 2)), np.ones((3, 2)), (np.zeros(1), np.ones(3)))
