"""A temperature carried to other images: what it costs, by arithmetic and on simulated shifts."""

import numpy as np
import pytest

from verdict.clip.robustness.shift_study import regret, transfer_table
from verdict.decide.temperature import Temperature, nll_curve
from verdict.stats.uncertainty import Resampler


def drawn(rng, n, temperature):
    """Logits that are `temperature` times too large, with answers drawn from the right ones."""
    logits = rng.normal(0, 2, (n, 5))
    noise = rng.gumbel(size=(n, 5))
    return logits * temperature, (logits + noise).argmax(axis=1)


def test_regret_by_hand():
    """Two classes, three rows right of four with the same gap g: the best T makes the odds 3, T = g / log 3."""
    logits = np.tile([0.0, 2.0], (4, 1))
    y_true = np.array([1, 1, 1, 0])
    found, oracle = regret(logits, y_true, 1.0)
    best = 0.75 * np.log(4 / 3) + 0.25 * np.log(4)
    at_one = 0.75 * np.log(1 + np.exp(-2)) + 0.25 * np.log(1 + np.exp(2))
    assert found == pytest.approx(at_one - best, abs=1e-9)
    assert oracle == pytest.approx(2 / np.log(3), rel=1e-4)


def test_regret_is_never_below_zero_and_zero_at_the_optimum():
    rng = np.random.default_rng(0)
    logits, y_true = drawn(rng, 307, 2.0)
    fitted = Temperature.fit(logits, y_true)
    assert regret(logits, y_true, fitted.temperature)[0] == pytest.approx(0, abs=1e-12)
    weights = rng.integers(0, 3, (11, 307))
    values, oracles = regret(logits, y_true, 5.0, weights)
    assert values.shape == oracles.shape == (11,) and (values > 0).all()
    again = np.repeat(np.arange(307), weights[4])
    lowest = nll_curve(logits[again], y_true[again], np.linspace(-2, 3, 2001)).min()
    assert values[4] == pytest.approx(nll_curve(logits[again], y_true[again], np.log(5.0))[0] - lowest, abs=1e-4)


def test_a_table_tells_a_shift_that_keeps_the_temperature_from_one_that_does_not():
    rng = np.random.default_rng(1)
    fitted = Temperature.fit(*drawn(rng, 4000, 2.0))
    resampler = Resampler(np.arange(900), 200, 0.95, 1)
    conditions = {name: (*drawn(rng, 900, scale), resampler) for name, scale in (("same", 2), ("other", 6))}
    table, regrets = transfer_table(fitted, conditions, n_bins=15)
    table = table.set_index("condition")
    assert fitted.temperature == pytest.approx(2, rel=0.1)
    assert table.loc["same", "oracle_low"] < 2 < table.loc["same", "oracle_high"]
    assert table.loc["other", "oracle_low"] < 6 < table.loc["other", "oracle_high"]
    assert table.loc["same", "regret"] < 0.005 and table.loc["other", "regret_low"] > 0.1
    assert table.loc["same", "nll_high"] < table.loc["same", "nll_before_low"]
    assert (table["nll_change_high"] < 0).all() and (table["p_nll_change"] < 1e-4).all()
    assert table["nll_change"].tolist() == pytest.approx((table["nll"] - table["nll_before"]).tolist())
    assert {name: one.shape for name, one in regrets.items()} == {"same": (200,), "other": (200,)}


def test_every_value_lies_in_its_own_interval():
    """ECE and a regret of next to nothing grow in nearly every resample, and must not be left below their bounds."""
    rng = np.random.default_rng(8)
    conditions = {str(k): (*drawn(rng, 60, 1.0), Resampler(np.arange(60), 100, 0.95, k)) for k in range(8)}
    table = transfer_table(Temperature.fit(*drawn(rng, 60, 1.0)), conditions, n_bins=15)[0]
    names = ("accuracy", "ece_before", "ece", "ece_change", "nll_before", "nll", "nll_change", "brier", "regret")
    for name in names:
        assert (table[f"{name}_low"] <= table[name]).all() and (table[name] <= table[f"{name}_high"]).all(), name


def test_logits_that_say_nothing_have_no_best_temperature():
    """A finding at the end of a search is none: any larger T would be as good."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (80, 4))
    against = (logits, logits.argmin(axis=1), Resampler(np.arange(80), 100, 0.95, 1))
    row = transfer_table(Temperature.fit(*drawn(rng, 200, 1.0)), {"against": against}, n_bins=15)[0].iloc[0]
    assert np.isnan([row["oracle"], row["oracle_low"], row["oracle_high"]]).all() and row["regret_low"] > 0.5
    assert regret(logits, logits.argmin(axis=1), 1.0)[1] <= np.exp(7.0) * 1.0001
