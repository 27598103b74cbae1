"""Signals by hand, their range, and what must never look like confidence."""

import numpy as np
import pytest

from verdict.decide.signals import (
    COMPOSITE,
    MEAN_PROBABILITY,
    attainable_maximum,
    composite,
    conformal_confidence,
    consistency_by_pair,
    distance_confidence,
    ensemble_stability,
    entropy_confidence,
    max_probability,
    score_of,
    without_each,
)
from verdict.stats.ranking import Ranked


def test_probability_signals_by_hand():
    probs = np.array([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.0, 1.0, 0.0]])
    assert max_probability(probs) == pytest.approx([0.7, 1 / 3, 1.0])
    entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert entropy_confidence(probs) == pytest.approx([1 - entropy / np.log(3), 0.0, 1.0], abs=1e-12)


def test_stability_by_hand():
    views = np.array([[[0.9, 0.1], [1.0, 0.0]], [[0.7, 0.3], [0.0, 1.0]]])
    assert ensemble_stability(views, np.array([0, 1])) == pytest.approx([1 - 2 * 0.1, 0.0])
    assert ensemble_stability(views[:1], np.array([1, 0])).tolist() == [1.0, 1.0]


def test_empty_set_is_never_confident():
    confidence = conformal_confidence(np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]], bool))
    assert confidence == pytest.approx([1, 1 / 2, 1 / 3, 0])


def test_composite_is_a_clipped_geometric_mean():
    signals = {"a": np.array([0.5, 0.0, 1.0]), "b": np.array([0.8, 1.0, 1.0])}
    expected = [np.sqrt(0.5 * 0.8), np.sqrt(1e-6 * 1.0), 1.0]
    assert composite(signals) == pytest.approx(expected)
    assert composite(signals, np.array([0.5, 1.0, 0.9])) == pytest.approx(np.array(expected) * [0.5, 1.0, 0.9])
    assert composite(dict(reversed(signals.items()))) == pytest.approx(expected)
    alone = {**signals, MEAN_PROBABILITY: np.array([0.3, 0.9, 0.1])}
    assert composite(alone).tolist() == composite(signals).tolist(), "a score of its own"
    assert score_of(MEAN_PROBABILITY, alone).tolist() == [0.3, 0.9, 0.1]
    assert score_of(COMPOSITE, alone, np.full(3, 0.5)).tolist() == composite(signals, np.full(3, 0.5)).tolist()
    assert MEAN_PROBABILITY not in without_each(alone)


def test_attainable_maximum_bounds_every_score():
    rng = np.random.default_rng(1)
    signals = {name: rng.uniform(0, 0.9, 101) for name in "abc"}
    consistency = rng.uniform(0, 0.7, 101)
    limit = attainable_maximum(COMPOSITE, signals, consistency)
    assert attainable_maximum("a", signals, consistency) == signals["a"].max()
    assert composite(signals, consistency).max() < limit
    product = np.prod([signal.max() for signal in signals.values()])
    assert limit == pytest.approx(product ** (1 / 3) * consistency.max())


def test_without_the_signal_that_ranks_errors_the_composite_ranks_worse():
    rng = np.random.default_rng(3)
    good, noise = rng.uniform(size=1009), rng.uniform(size=1009)
    is_error = rng.uniform(size=1009) > good
    signals = {"good": good, "noise": noise}
    found = {name: Ranked(score, is_error).aurc() for name, score in without_each(signals).items()}
    whole = Ranked(composite(signals), is_error).aurc()
    assert found["good"] > whole + 0.05 and found["noise"] < whole
    assert list(without_each(signals, good)) == ["good", "noise", "question_consistency"]
    assert without_each(signals, good)["question_consistency"].tolist() == composite(signals).tolist()
    assert without_each(signals, good)["noise"].tolist() == composite({"good": good}, good).tolist()


def test_distance_confidence_is_a_conformal_p_value():
    assert distance_confidence(np.array([0.5, 2.0, 9.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(
        [4 / 4, 3 / 4, 1 / 4]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_probability(np.array([[-1.2, 2.0]])), "did you pass logits"),
        (lambda: composite({"a": np.array([1.1])}), r"signal a must lie in \[0, 1\]"),
        (lambda: composite({"a": np.ones(1)}, np.array([np.nan])), r"consistency must lie in \[0, 1\]"),
        (lambda: entropy_confidence(np.array([[-1.2, 2.2]])), "did you pass logits"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_consistency_of_questions_of_its_own_by_hand():
    nan = np.nan
    prob_yes = np.array([0.9, 0.2, 0.7, 0.6])
    expected = np.array([[1.0, 0.0], [0.0, nan], [1.0, nan], [nan, 1.0]])
    place = np.array([0, 0, 2, 1])
    # Pair 0 is class 0: yes at 0.9 and no at 0.8. Nothing follows for pair 1 as class 0, nor for pair 2 as class 1.
    found = consistency_by_pair(prob_yes, expected, place, np.array([0, 0, 1]))
    assert found[0] == pytest.approx((0.9 + 0.8) / 2)
    assert np.isnan(found[1:]).all()
    # As class 1, pair 0 contradicts its first answer, and pair 1 is asked something.
    assert consistency_by_pair(prob_yes, expected, place, np.array([1, 1, 0])) == pytest.approx([0.1, 0.6, 0.7])


def test_without_a_question_nothing_is_known():
    assert np.isnan(consistency_by_pair(np.empty(0), np.empty((0, 2)), np.empty(0, int), np.array([0, 1]))).all()
