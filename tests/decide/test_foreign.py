"""Batches from elsewhere: hand values, false alarms at the stated rate, and what a batch of clusters would do."""

import numpy as np
import pytest
from scipy import stats

from verdict.decide.foreign import (
    DISTANCE,
    StreamTest,
    batch_p_value,
    compare_batch,
    one_of_each,
    stream_signals,
    watched,
)
from verdict.decide.people import keyed_uniform
from verdict.stats.scores import softmax


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


def stream_of(rng, n, *, shift=0.0, scale=2.5):
    z = rng.normal(shift, scale, n)
    return stream_signals(softmax(np.column_stack([np.zeros(n), z])), rng.random(n))


def p_values_of(seed, **changes):
    """A stream of 200 cases like calib's, then 300 others."""
    rng = np.random.default_rng(seed)
    test, ids = StreamTest(stream_of(rng, 200)), [f"{seed}-{k}" for k in range(500)]
    parts = [stream_of(rng, 200), stream_of(rng, 300, **changes)]
    return test.update({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, ids, ids)


def test_a_stream_that_changes_is_noticed_and_one_that_does_not_is_left_alone():
    still = np.array([p_values_of(seed)[-1] for seed in range(60)])
    assert (still <= 0.05).sum() <= 3 + 4, "five in a hundred are meant to be at most"
    for changes in ({"scale": 0.8}, {"scale": 9.0}, {"shift": 4.0}):
        found = np.array([p_values_of(seed, **changes) for seed in range(3)])
        assert (found[:, 199] > 0.01).all() and (found[:, -1] <= 0.01).all(), changes
        assert (np.diff(found) <= 0).all()


def test_a_stream_in_parts_is_one_stream_and_a_group_counts_once():
    rng = np.random.default_rng(3)
    known, new, ids = stream_of(rng, 100), stream_of(rng, 90, scale=0.5), [str(k) for k in range(90)]
    whole = StreamTest(known).update(new, ids, ids)
    parts, test = [], StreamTest(known)
    for rows in (slice(0, 1), slice(1, 40), slice(40, 90)):
        parts.append(test.update({name: column[rows] for name, column in new.items()}, ids[rows], ids[rows]))
    assert np.concatenate(parts).tolist() == whole.tolist()
    grouped = StreamTest(known).update(new, [str(k // 3) for k in range(90)], ids)
    first = {name: column[::3] for name, column in new.items()}
    assert grouped[2::3].tolist() == StreamTest(known).update(first, ids[::3], ids[::3]).tolist()
    assert (grouped[0::3] == grouped[2::3]).all()


def test_ranks_by_hand():
    """Nothing lies above the highest, ties are broken by the pair's own number, and what was seen is counted in."""
    test = StreamTest({"one": np.array([0.2, 0.4, 0.4])})
    uniform = keyed_uniform(["a", "b"], seed=0, stream="stream.one")
    found = test._ranks(0, (np.array([0.4, 0.4]) * 4096).astype(int), ["a", "b"])
    assert found.tolist() == pytest.approx([uniform[0] * 3 / 4, uniform[1] * 4 / 5])
