"""Retrieval: ranks and recalls by hand, captions that repeat, ties."""

import numpy as np
import pytest

from verdict.clip.robustness.tasks_study import equivalent_pairs, first_ranks, retrieval_table
from verdict.stats.uncertainty import Resampler

# Image 0 owns texts 0 and 1, image 1 owns text 2, image 2 owns text 3.
OWNERS = np.array([0, 0, 1, 2])
OWN = np.arange(3)[:, None] == OWNERS
EQUAL = equivalent_pairs(OWN, ["a red one", "a blue one", "a red one", "a green two"])
SIMILARITY = np.array([[0.2, 0.9, 0.2, 0.1], [0.8, 0.3, 0.8, 0.5], [0.7, 0.6, 0.7, 0.4]])


def test_ranks_with_duplicates_by_hand():
    assert EQUAL.tolist() == [[True, True, True, False], [True, False, True, False], [False, False, False, True]]
    # Image 0 finds its second caption first. Image 1's own caption ties with its copy, which stands before it.
    assert first_ranks(SIMILARITY, OWN).tolist() == [1, 2, 4]
    assert first_ranks(SIMILARITY, EQUAL).tolist() == [1, 1, 4]
    # Text 0 (own image 0) ranks images 1, 2, 0; text 1: 0, 2, 1; text 2 (own image 1): 1 first; text 3: 1, 2, 0.
    assert first_ranks(SIMILARITY.T, OWN.T).tolist() == [3, 1, 1, 2]
    assert first_ranks(SIMILARITY.T, EQUAL.T).tolist() == [1, 1, 1, 2]


def test_a_table_and_a_curve_state_chance():
    # Without the second caption of image 0 every image has one: their ranks are 1, 2, 3, those of texts 3, 1, 2.
    columns = [0, 2, 3]
    counted = {"own": OWN[:, columns], "equal": EQUAL[:, columns]}
    resampler = Resampler(np.arange(3), 200, 0.95, 0)
    table, curves = retrieval_table(SIMILARITY[:, columns], counted, resampler, n_points=4)
    table = table.set_index(["query", "counted"])
    assert table.loc[("image", "own"), "r1"] == pytest.approx(1 / 3)
    assert table.loc[("image", "equal"), "r1"] == pytest.approx(2 / 3)
    assert table.loc[("text", "own"), "r1"] == pytest.approx(1 / 3)
    assert table.loc[("image", "own"), "chance_r1"] == 3 / 9
    assert table.loc[("image", "own"), "r1_low"] <= 1 / 3 <= table.loc[("image", "own"), "r1_high"]
    curve = curves["own"]
    assert curve["k"].tolist() == [1, 2, 3, 4] and curve["recall"].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert ((curve["low"] <= curve["recall"]) & (curve["recall"] <= curve["high"])).all()
