"""Batches from elsewhere: hand values, false alarms at the stated rate, and what a batch of clusters would do."""

import numpy as np
import pytest
from scipy import stats

from verdict.decide.foreign import DISTANCE, batch_p_value, compare_batch, one_of_each, watched


def test_what_is_compared_of_two_classes_and_of_more():
    probs = np.array([[0.2, 0.8], [0.6, 0.4]])
    found = watched(probs, np.array([1.0, 2.0]), ("no", "yes"))
    assert list(found) == ["probability of yes", DISTANCE] and found["probability of yes"].tolist() == [0.8, 0.4]
    assert list(watched(np.full((2, 3), 1 / 3), None, "abc")) == [f"probability of {name}" for name in "abc"]


def test_one_row_of_each_group_whatever_their_order():
    groups, ids = np.repeat(["a", "b", "c"], [3, 1, 2]), [f"p{k}" for k in range(6)]
    chosen = one_of_each(groups, ids)
    assert groups[chosen].tolist() == ["a", "b", "c"]
    turned = one_of_each(groups[::-1], ids[::-1])
    assert {ids[k] for k in chosen} == {ids[::-1][k] for k in turned}


def test_the_smallest_p_value_pays_for_the_number_of_tests():
    """Two rows above five: of the 21 places that two of seven may take, both at one end are as far apart: 2 / 21."""
    known, new = {"x": np.arange(5.0), "y": np.arange(5.0)}, {"x": np.array([7.0, 8.0]), "y": np.array([1.5, 2.5])}
    found = compare_batch(known, new)
    assert found["statistic"].tolist() == [1.0, 0.4] and found["p_value"][0] == pytest.approx(2 / 21)
    assert batch_p_value(known, new) == pytest.approx(4 / 21)
    for wrong in ({"x": new["x"]}, {"x": new["x"], "y": np.empty(0)}):
        with pytest.raises(ValueError, match="same signals"):
            compare_batch(known, wrong)


def test_false_alarms_come_at_the_stated_rate_and_clusters_would_raise_more():
    rng = np.random.default_rng(0)

    def world(n_groups):
        shared = np.repeat(rng.normal(size=n_groups), 8)
        return {"x": shared + 0.3 * rng.normal(size=8 * n_groups), "y": shared}, np.repeat(np.arange(n_groups), 8)

    alarms = {"one a group": 0, "all": 0}
    for _ in range(300):
        (known, groups), (new, others) = world(101), world(89)
        alarms["all"] += batch_p_value(known, new) <= 0.05
        rows = [one_of_each(found, [f"{k}" for k in range(len(found))]) for found in (groups, others)]
        thin = [
            {name: column[own] for name, column in one.items()} for one, own in zip((known, new), rows, strict=True)
        ]
        alarms["one a group"] += batch_p_value(*thin) <= 0.05
    assert alarms["one a group"] <= stats.binom.ppf(0.999, 300, 0.05) < alarms["all"]
