"""Detection of unknown classes: hand-computed cases, ties, and agreement with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from verdict.clip.robustness import shift_study
from verdict.stats.uncertainty import Resampler


def test_scores_by_hand():
    cosines = np.log([[1.0, 3.0], [2.0, 2.0]]) / 10
    found = shift_study.scores(cosines, 10.0)
    assert found["MSP"] == pytest.approx([3 / 4, 1 / 2])
    assert found["energy"] == pytest.approx(np.log([4, 4]))
    assert found["negative entropy"] == pytest.approx([0.25 * np.log(0.25) + 0.75 * np.log(0.75), -np.log(2)])
    assert found["largest cosine"] == pytest.approx(np.log([3, 2]) / 10)
    assert found["MCM"] == pytest.approx([1 / (1 + 3**-0.1), 1 / 2])
    # Two classes: the softmax of (a, b) is the sigmoid of a - b.
    assert shift_study.mcm(np.array([[0.9, 0.1]]), 0.5) == pytest.approx(1 / (1 + np.exp(-0.8 / 0.5)))


def test_false_positives_by_hand():
    # All five known must pass for 95 %: the threshold is 1, which 4.5 and 2 of the four unknown pass.
    score = np.array([5, 4, 3, 2, 1, 4.5, 2, 0.5, 0])
    assert shift_study.false_positive_rate(score, np.arange(9) < 5) == 2 / 4
    # Of forty known 38 are enough: the threshold is 2, which the unknown of the same score passes.
    score = np.array([*range(40), 2, 1])
    assert shift_study.false_positive_rate(score, np.arange(42) < 40) == 1 / 2
    truth = np.zeros(3, dtype=bool)
    assert np.isnan(shift_study.false_positive_rate(np.arange(3), truth))


def test_agreement_with_scikit_learn_and_with_repeated_rows():
    rng = np.random.default_rng(3)
    score, is_known = rng.integers(0, 9, 53), rng.random(53) < 0.6
    found = shift_study.told_apart(score, is_known)
    assert found["auroc"] == pytest.approx(roc_auc_score(is_known, score))
    weights = rng.integers(0, 4, (2, 53))
    weighted = shift_study.told_apart(score, is_known, weights)
    for k, row in enumerate(weights):
        repeated = shift_study.told_apart(np.repeat(score, row), np.repeat(is_known, row))
        assert {name: value[k] for name, value in weighted.items()} == pytest.approx(repeated)


def sides(n_known, n_unknown, n_resamples=300):
    names = {"known": n_known, "unknown": n_unknown}
    return [Resampler(np.array([f"{side} {k}" for k in range(n)]), n_resamples, 0.95, 1) for side, n in names.items()]


def test_a_table_has_intervals_that_hold_the_value():
    rng = np.random.default_rng(1)
    scores = {"a": rng.normal(1, 1, 101)}, {"a": rng.normal(0, 1, 67)}
    found, aurocs = shift_study.detection_table(*scores, sides(101, 67))
    table = found.iloc[0]
    assert aurocs.shape == (300, 1) and np.quantile(aurocs, 0.025) == pytest.approx(table["auroc_low"])
    for metric in ("auroc", "fpr95"):
        assert table[f"{metric}_low"] < table[metric] < table[f"{metric}_high"]
    # Of two normals one standard deviation apart.
    assert table["auroc_low"] < 0.7602 < table["auroc_high"]
    assert (table["n_known"], table["n_unknown"]) == (101, 67)


def test_unknown_pictures_that_all_pass_do_not_say_that_all_others_would():
    score = np.linspace(0, 1, 30)
    row = shift_study.detection_table({"a": score}, {"a": score + 2}, sides(30, 30, 100))[0].iloc[0]
    assert row["fpr95"] == 1 and row["auroc"] == 0
    assert 0.8 < row["fpr95_low"] < row["fpr95_high"] == 1 and row["auroc_low"] == 0 < row["auroc_high"] < 0.2
