"""Effective robustness: the line by arithmetic, outliers that do not move it, and both sources of doubt."""

import numpy as np
import pytest
from scipy.special import expit

from verdict.clip.effective import effective_robustness, huber_line, line_of, logit_share
from verdict.uncertainty import Resampler

N = 1000


def over(groups, n_resamples=100, seed=0):
    return Resampler(np.asarray(groups), n_resamples, 0.95, seed)


def answers(share, n=N):
    """Right answers of a model with an accuracy that n images can show exactly."""
    return np.arange(n) < round(share * n)


def test_logits_stay_finite_at_the_ends():
    assert logit_share(0.75, 4) == pytest.approx(np.log(3))
    assert logit_share([0.0, 1.0], 10).tolist() == pytest.approx([np.log(0.05 / 0.95), np.log(0.95 / 0.05)])


def test_a_line_is_found_despite_an_outlier_and_many_at_once():
    x = np.array([-2.0, -1, 0, 1, 2, 3, 4])
    y = 0.5 * x - 1
    y[3] += 9
    intercept, slope, scale = huber_line(np.stack([x, x]), np.stack([y, 2 * x + 3]))
    assert intercept == pytest.approx([-1, 3], abs=1e-6) and slope == pytest.approx([0.5, 2], abs=1e-6)
    assert scale == pytest.approx([0, 0], abs=1e-6)


def test_the_line_solves_hubers_equations():
    rng = np.random.default_rng(2)
    x = rng.normal(size=23)
    y = 1.5 * x + rng.standard_t(2, size=23)
    intercept, slope, scale = huber_line(x, y)
    residual = y - intercept - slope * x
    assert scale == pytest.approx(np.median(np.abs(residual)) / 0.6744897501960817)
    pull = np.clip(residual / scale, -1.345, 1.345)
    assert [pull.sum(), (pull * x).sum()] == pytest.approx([0, 0], abs=1e-6)


def test_equal_accuracies_have_no_line():
    intercept, slope, _ = huber_line([1.0, 1, 1], [1.0, 2, 3])
    assert np.isnan([intercept, slope]).all()


def test_effective_robustness_by_hand():
    """Population exactly on logit(y) = logit(x) - log 4: the odds of being right fall to a quarter."""
    before = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    after = [share / 4 / (share / 4 + 1 - share) for share in before]
    n = 100_000
    found = effective_robustness(
        answers(0.8, n),
        answers(0.6, n),
        np.stack([answers(share, n) for share in before]),
        np.stack([answers(share, n) for share in after]),
        over(np.arange(n) // 500),
    )
    # Odds of 4 become 1, so that a model with 0.8 is expected at 0.5.
    assert found.expected.value == pytest.approx(0.5, abs=1e-4)
    assert found.rho.value == pytest.approx(0.6 - 0.5, abs=1e-4)
    assert found.slope.value == pytest.approx(1, abs=1e-3) and found.intercept.value == pytest.approx(
        -np.log(4), abs=1e-3
    )
    line = line_of(found).set_index("before")["expected"]
    assert np.interp(0.8, line.index, line) == pytest.approx(0.5, abs=1e-3)
    assert found.population.shape == (8, 2) and found.before.value == 0.8


def simulated(rng, n, spread, n_models=12, rho=0.0):
    skill = rng.normal(0, 1, size=n_models + 1)
    shifted = expit(0.9 * skill - 0.5 + spread * rng.normal(size=n_models + 1) * (np.arange(n_models + 1) > 0))
    shifted[0] += rho
    before = rng.random((n_models + 1, n)) < expit(skill)[:, None]
    after = rng.random((n_models + 1, n)) < shifted[:, None]
    return before, after


def test_the_interval_covers_no_advantage_and_finds_a_large_one():
    rng = np.random.default_rng(5)
    covered = found = 0
    sure = shy = 0
    for k in range(30):
        for rho in (0.0, 0.3):
            before, after = simulated(rng, 400, 0.1, rho=rho)
            one = effective_robustness(before[0], after[0], before[1:], after[1:], over(range(400), seed=k))
            covered += rho == 0 and not one.rho.excludes(0)
            found += rho > 0 and one.rho.low > 0
            shy += rho == 0 and one.p_rho > 0.05
            sure += rho > 0 and one.p_rho < 0.05 / 14
    assert covered >= 25 and found >= 27
    assert shy >= 25 and sure >= 25, "a p-value that holds among fourteen shifts"


def test_models_that_scatter_widen_the_interval():
    widths = []
    for spread in (0.0, 0.8):
        before, after = simulated(np.random.default_rng(6), 3000, spread)
        one = effective_robustness(before[0], after[0], before[1:], after[1:], over(range(3000), 200)).rho
        widths.append(one.high - one.low)
    assert widths[1] > 1.5 * widths[0]


def test_refusals():
    few = np.ones((7, 5))
    with pytest.raises(ValueError, match="at least 8 models, got 7"):
        effective_robustness(few[0], few[0], few, few, over(range(5)))
    with pytest.raises(ValueError, match="same models and images"):
        effective_robustness(few[0], few[0], few, few[:6], over(range(5)))
