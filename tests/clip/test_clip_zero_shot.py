"""Answers from prompts: cosines, the logit scale, entropy, class reports; by hand where it can be."""

import numpy as np
import pytest

from verdict.clip.probes import zero_shot
from verdict.clip.robustness.shift_study import transfer_table
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Resampler

GROUPS = np.arange(600)


def over(groups, n_resamples=300, level=0.95):
    return Resampler(np.asarray(groups), n_resamples, level, 3)


def units(rng, n, d):
    found = rng.standard_normal((n, d))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_logits_are_cosines_times_the_scale():
    vectors = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    found = zero_shot.scaled_logits(vectors, np.array([[0.0, 1.0]]), 20.0)
    assert found == pytest.approx(np.array([[0.0], [16.0]])) and found.dtype == np.float64


def scaled_world(rng, n, alpha, k=7):
    """Cosines, and classes drawn from softmax(alpha * cosines): alpha is the right scale by construction."""
    cos = zero_shot.cosines(units(rng, n, 5), units(rng, k, 5))
    return cos, np.array([rng.choice(k, p=row) for row in softmax(alpha * cos)])


def test_the_fitted_temperature_of_cosines_is_one_over_the_scale():
    rng = np.random.default_rng(11)
    calib, test, resampler = scaled_world(rng, 1500, 12.0), scaled_world(rng, 1500, 12.0), over(range(1500), 200)
    fitted, spread = zero_shot.fit_temperature(12.0 * calib[0], calib[1], resampler)
    assert fitted.temperature == spread.value and spread.low < 1.0 < spread.high and spread.high - spread.low < 0.4
    options = {"logit_scale": 12.0, "fitted": spread, "n_bins": 15}
    table = zero_shot.scale_effect(12.0 * test[0], test[1], resampler, **options)
    assert table["temperature"].tolist() == [12.0, 1.0, spread.value], "the table shows what the claim is about"
    assert table["temperature_low"].iloc[-1] == spread.low
    ece = table.set_index("logits")["ece"]
    assert ece["cosines"] > 10 * ece["scaled"], "raw cosines are far too flat"
    assert ece["scaled"] < 0.05
    nll = table.set_index("logits")["nll"]
    assert nll["cosines"] > nll["scaled"]
    # A model whose scale is twice too large is found out.
    assert zero_shot.fit_temperature(24.0 * calib[0], calib[1], resampler)[1].low > 1.5


def test_one_quantity_has_one_interval_whatever_the_order_of_its_rows():
    """NLL and ECE at T = 1 of equal logits: as the page on probes has them, and the page on robustness."""
    cos, y = scaled_world(np.random.default_rng(2), 90, 9.0)
    groups = np.arange(90) // 3
    fitted, spread = zero_shot.fit_temperature(9.0 * cos, y, over(groups))
    options = {"logit_scale": 9.0, "fitted": spread, "n_bins": 15}
    row = zero_shot.scale_effect(9.0 * cos, y, over(groups), **options).set_index("logits").loc["scaled"]
    order = np.random.default_rng(5).permutation(90)
    condition = (9.0 * cos[order], y[order], over(groups[order]))
    other = transfer_table(fitted, {"test": condition}, n_bins=15)[0].iloc[0]
    for name in ("nll", "ece"):
        found = [[row[f"{name}{end}"], other[f"{name}_before{end}"]] for end in ("", "_low", "_high")]
        assert [pair[0] for pair in found] == pytest.approx([pair[1] for pair in found])


Y = np.array([0, 0, 0, 0, 1, 1, 2, 2])
TOLD = np.array([0, 1, 1, 2, 1, 1, 0, 2])


def test_a_class_report_by_hand():
    found = zero_shot.class_report(Y, TOLD, ["a", "b", "c", "d"], over(range(8))).set_index("class")
    assert found.loc["a", "precision"] == pytest.approx(1 / 2) and found.loc["a", "recall"] == pytest.approx(1 / 4)
    assert found.loc["b", "precision"] == pytest.approx(2 / 4) and found.loc["b", "recall"] == pytest.approx(1.0)
    assert found.loc["b", "f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert (found["f1_low"] <= found["f1"]).all() and (found["f1"] <= found["f1_high"]).all()
    assert list(found["n_answered"]) == [2, 4, 2, 0] and list(found["n"]) == [4, 2, 2, 0]
    # All of b are found: nothing varies, and three groups still do not say that all others would be.
    assert 0 < found.loc["b", "recall_low"] < 1 == found.loc["b", "recall_high"]
    # A class that is neither there nor answered has no precision and no recall.
    assert found.loc["d", ["precision", "recall"]].isna().all() and found.loc["d", "f1"] == 0


def test_f1_counts_repeated_rows():
    weights = np.random.default_rng(1).integers(0, 3, (4, 8))
    again = [zero_shot.f1(*(np.repeat(one == 1, row) for one in (Y, TOLD))) for row in weights]
    assert zero_shot.f1(Y == 1, TOLD == 1, weights) == pytest.approx(again)
