"""Factors, corruption errors and cue conflicts: hand-computed cases, and intervals that keep their promise."""

import numpy as np
import pytest
from scipy.special import expit

from verdict.clip.robustness.robustness import (
    corruption_errors,
    cue_conflict,
    effective_robustness,
    factor_table,
    huber_line,
    intervals,
    logit_share,
)
from verdict.stats.uncertainty import Resampler, holm, sign_flip_test
from verdict.stats.weighted import weighted_mean


def over(groups, n_resamples=200, seed=0):
    return Resampler(np.asarray(groups), n_resamples, 0.95, seed)


def test_a_factor_table_by_hand():
    reference, darker = [1, 1, 1, 0, 1], [0, 1, 0, 0, 1]
    table = factor_table({"darker": darker, "same": reference}, reference, over(range(5))).set_index("condition")
    assert table.loc["darker", ["accuracy", "change"]].tolist() == pytest.approx([2 / 5, 2 / 5 - 4 / 5])
    assert table.loc["darker", "error_ratio"] == pytest.approx((3 / 5) / (1 / 5))
    # The same answers on the same images differ by nothing, which five images do not say of others.
    assert table.loc["same", "change_low"] < table.loc["same", "change"] == 0 < table.loc["same", "change_high"]
    assert table.loc["darker", "change_low"] <= -2 / 5 <= table.loc["darker", "change_high"]
    # Two of five lost: 2 / 4 by signs; two conditions were looked at.
    assert table["p_holm"].tolist() == [1.0, 1.0]


def test_a_setting_is_adjusted_for_those_beside_it():
    rng = np.random.default_rng(3)
    reference, groups = rng.random(120) < 0.8, np.arange(120) // 2
    right = {str(k): np.where(rng.random(120) < 0.7, reference, rng.random(120) < 0.8) for k in range(30)}
    raw = [sign_flip_test(reference, one, groups) for one in right.values()]
    found = factor_table(right, reference, over(groups, 20))["p_holm"].tolist()
    assert found == pytest.approx(holm(raw).tolist()) and min(found) > min(raw)


def test_corruption_errors_by_hand():
    clean, clean_reference = [1, 1, 1, 0], [1, 1, 0, 0]
    right, reference = [[1, 1, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]
    found = corruption_errors(right, clean, reference, clean_reference)
    assert found["error_ratio"] == pytest.approx((2 / 4 + 3 / 4) / (3 / 4 + 4 / 4))
    assert found["added_error_ratio"] == pytest.approx((1 / 4 + 2 / 4) / (1 / 4 + 2 / 4))
    weighted = corruption_errors(right, clean, reference, clean_reference, np.array([[1, 1, 1, 1], [0, 2, 1, 1]]))
    assert weighted["error_ratio"] == pytest.approx([5 / 7, (2 / 4 + 4 / 4) / 2])


def test_shape_bias_by_hand():
    # Images 0-2 are answered by shape, 3 by texture, 4 by neither.
    shapes, textures, answers = [0, 1, 2, 0, 1], [1, 2, 0, 2, 0], [0, 1, 2, 2, 2]
    found = cue_conflict(*map(np.array, (answers, shapes, textures)), over(range(5)))
    assert found["shape_bias"].value == 3 / 4 and found["hit_rate"].value == 4 / 5
    assert found["shape_bias"].low < 3 / 4 < found["shape_bias"].high
    # Nobody follows the texture: the interval says how many groups say so.
    sure = cue_conflict(*map(np.array, (shapes, shapes, textures)), over(range(5)))["shape_bias"]
    assert sure.value == sure.high == 1 > sure.low > 0
    nobody = cue_conflict(*map(np.array, ([2, 2], [0, 1], [1, 0])), over(range(2)))["shape_bias"]
    assert np.isnan(nobody.value), "no hit has no bias"


def test_one_pass_gives_the_intervals_of_many():
    rng = np.random.default_rng(0)
    values, resampler = rng.normal(size=(2, 53)), over(np.arange(53) // 3, 300)
    found, drawn = intervals(lambda w: {"a": weighted_mean(values[0], w), "b": weighted_mean(values[1], w)}, resampler)
    for k, name in enumerate("ab"):
        one = resampler.mean(values[k])
        assert (found[name].low, found[name].high) == pytest.approx((one.low, one.high), rel=1e-12)
    assert drawn["a"].shape == (300,)
    alone, _ = intervals(lambda w: {"a": weighted_mean(values[0], w)}, over(np.zeros(53)))
    assert np.isnan([alone["a"].low, alone["a"].high]).all(), "one group says nothing about others"


def test_logits_stay_finite_at_the_ends():
    found = logit_share([0.0, 0.75, 1.0], 10)
    assert found.tolist() == pytest.approx([np.log(0.05 / 0.95), np.log(3), np.log(0.95 / 0.05)])


def test_a_line_is_found_despite_an_outlier_and_many_at_once():
    x = np.array([-2.0, -1, 0, 1, 2, 3, 4])
    y = 0.5 * x - 1
    y[3] += 9
    intercept, slope, scale = huber_line(np.stack([x, x]), np.stack([y, 2 * x + 3]))
    assert intercept == pytest.approx([-1, 3], abs=1e-6) and slope == pytest.approx([0.5, 2], abs=1e-6)
    assert scale == pytest.approx([0, 0], abs=1e-6)
    assert np.isnan(huber_line([1.0, 1, 1], [1.0, 2, 3])[:2]).all(), "equal accuracies have no line"


def test_the_line_solves_hubers_equations():
    rng = np.random.default_rng(2)
    x = rng.normal(size=23)
    y = 1.5 * x + rng.standard_t(2, size=23)
    intercept, slope, scale = huber_line(x, y)
    residual = y - intercept - slope * x
    assert scale == pytest.approx(np.median(np.abs(residual)) / 0.6744897501960817)
    pull = np.clip(residual / scale, -1.345, 1.345)
    assert [pull.sum(), (pull * x).sum()] == pytest.approx([0, 0], abs=1e-6)


def test_effective_robustness_by_hand():
    """Population exactly on logit(y) = logit(x) - log 4: the odds of being right fall to a quarter."""
    before = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    after = [share / 4 / (share / 4 + 1 - share) for share in before]
    n = 100_000
    found = effective_robustness(
        np.stack([np.arange(n) < round(share * n) for share in (0.8, *before)]),
        np.stack([np.arange(n) < round(share * n) for share in (0.6, *after)]),
        over(np.arange(n) // 500, 100),
    )
    # Odds of 4 become 1, so that a model with 0.8 is expected at 0.5.
    assert found.found["expected"].value == pytest.approx(0.5, abs=1e-4)
    assert found.found["rho"].value == pytest.approx(0.6 - 0.5, abs=1e-4)
    assert found.found["slope"].value == pytest.approx(1, abs=1e-3) and found.found["intercept"].value == pytest.approx(
        -np.log(4), abs=1e-3
    )
    line = found.line().set_index("before")["expected"]
    assert np.interp(0.8, line.index, line) == pytest.approx(0.5, abs=1e-3)
    assert found.population.shape == (8, 2) and found.found["before"].value == 0.8


def simulated(rng, n, rho, n_models=12):
    """One model and a population, which scatters about a line on logit axes."""
    skill = rng.normal(0, 1, size=n_models + 1)
    shifted = expit(0.9 * skill - 0.5 + 0.1 * rng.normal(size=n_models + 1) * (np.arange(n_models + 1) > 0))
    shifted[0] += rho
    return [rng.random((n_models + 1, n)) < share[:, None] for share in (expit(skill), shifted)]


def test_the_interval_covers_no_advantage_and_finds_a_large_one():
    rng = np.random.default_rng(5)
    none, large = (
        [effective_robustness(*simulated(rng, 400, rho), over(range(400), 100, seed=k)) for k in range(30)]
        for rho in (0.0, 0.3)
    )
    assert sum(not one.found["rho"].excludes(0) for one in none) >= 25
    assert sum(one.found["rho"].low > 0 for one in large) >= 27
    assert sum(one.p_rho > 0.05 for one in none) >= 25
    assert sum(one.p_rho < 0.05 / 14 for one in large) >= 25, "a p-value that holds among fourteen shifts"
