"""Answers from prompts: cosines, the logit scale, entropy, confused pairs, class reports; by hand where it can be."""

import numpy as np
import pytest

from verdict.clip import zero_shot
from verdict.scores import softmax

GROUPS = np.arange(600)


def estimate(seed=3):
    return zero_shot.estimator(n_resamples=300, seed=seed)


def units(rng, n, d):
    found = rng.standard_normal((n, d))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_cosines_are_those_of_unit_vectors():
    one = np.array([[1.0, 0.0], [0.6, 0.8]])
    assert zero_shot.cosines(one, np.array([[0.0, 1.0]])) == pytest.approx(np.array([[0.0], [0.8]]))
    with pytest.raises(ValueError, match="unit length, got 2 to 2"):
        zero_shot.cosines(2 * one, one)
    with pytest.raises(ValueError, match="2 dimensions, classes 3"):
        zero_shot.cosines(one, np.eye(3))


def scaled_world(rng, n, alpha, k=7):
    """Cosines, and classes drawn from softmax(alpha * cosines): alpha is the right scale by construction."""
    cos = zero_shot.cosines(units(rng, n, 5), units(rng, k, 5))
    y = np.array([rng.choice(k, p=row) for row in softmax(alpha * cos)])
    return cos, y, np.arange(n)


def test_the_fitted_temperature_of_cosines_is_one_over_the_scale():
    rng = np.random.default_rng(11)
    calib, test = scaled_world(rng, 1500, 12.0), scaled_world(rng, 1500, 12.0)
    options = {"estimate": estimate(), "n_resamples": 200, "rng": rng}
    table, fitted = zero_shot.scale_effect(calib, test, logit_scale=12.0, **options)
    assert fitted.low < 1.0 < fitted.high and fitted.high - fitted.low < 0.4
    ece = table.set_index("logits")["ece"]
    assert ece["cosines"] > 10 * ece["scaled"], "raw cosines are far too flat"
    assert ece["scaled"] < 0.05
    nll = table.set_index("logits")["nll"]
    assert nll["cosines"] > nll["scaled"]
    # A model whose scale is twice too large is found out.
    _, twice = zero_shot.scale_effect(calib, test, logit_scale=24.0, **options)
    assert twice.low > 1.5


def test_entropy_is_bounded_and_known_by_hand():
    flat, sure, half = np.full(4, 0.25), np.array([1.0, 0, 0, 0]), np.array([0.5, 0.5, 0, 0])
    assert zero_shot.entropy(np.stack([flat, sure, half])) == pytest.approx([np.log(4), 0, np.log(2)])
    rng = np.random.default_rng(2)
    cos = zero_shot.cosines(units(rng, 50, 8), units(rng, 32, 8))
    deficit = zero_shot.entropy_deficit(cos)
    # For a small spread the deficit is half the variance over the prompts.
    assert deficit == pytest.approx(cos.var(axis=1).mean() / 2, rel=0.1)
    assert zero_shot.entropy_deficit(100 * cos) > 1.0
    assert zero_shot.entropy_deficit(np.zeros((3, 205))) == pytest.approx(0)


Y = np.array([0, 0, 0, 0, 1, 1, 2, 2])
TOLD = np.array([0, 1, 1, 2, 1, 1, 0, 2])


def test_the_most_frequent_mistakes_come_first():
    found = zero_shot.confused_pairs(Y, TOLD, ["a", "b", "c"])
    assert list(found.iloc[0]) == ["a", "b", 2, 0.5]
    assert list(found["count"]) == [2, 1, 1]
    assert len(zero_shot.confused_pairs(Y, Y, ["a", "b", "c"])) == 0


def test_a_class_report_by_hand():
    found = zero_shot.class_report(Y, TOLD, np.arange(8), ["a", "b", "c"], estimate()).set_index("class")
    assert found.loc["a", "precision"] == pytest.approx(1 / 2) and found.loc["a", "recall"] == pytest.approx(1 / 4)
    assert found.loc["b", "precision"] == pytest.approx(2 / 4) and found.loc["b", "recall"] == pytest.approx(1.0)
    assert found.loc["b", "f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert (found["f1_low"] <= found["f1"]).all() and (found["f1"] <= found["f1_high"]).all()
    assert list(found["n_answered"]) == [2, 4, 2]


def test_intervals_resample_groups_and_repeat():
    rng = np.random.default_rng(5)
    right = rng.random(600) < 0.7
    y = np.zeros(600, dtype=int)
    row = zero_shot.accuracy_row("x", y, np.where(right, 0, 1), GROUPS, estimate())
    again = zero_shot.accuracy_row("x", y, np.where(right, 0, 1), GROUPS, estimate())
    assert row == again and row["low"] < row["value"] < row["high"]
    clumped = np.repeat(np.arange(12), 50)
    alike = np.repeat(rng.random(12) < 0.7, 50)
    wide = zero_shot.accuracy_row("x", y, np.where(alike, 0, 1), clumped, estimate())
    assert wide["high"] - wide["low"] > 3 * (row["high"] - row["low"])
