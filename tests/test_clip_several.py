"""Several estimates at once: one pass gives what many gave, the largest pays for being picked, p-values by hand."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from verdict.clip.several import intervals, p_value
from verdict.uncertainty import Resampler, largest
from verdict.weighted import weighted_mean


def over(groups, n_resamples=300, level=0.95, seed=1):
    return Resampler(np.asarray(groups), n_resamples, level, seed)


def test_one_pass_gives_the_intervals_of_many():
    rng = np.random.default_rng(0)
    values, resampler = rng.normal(size=(2, 53)), over(np.arange(53) // 3, level=0.8)
    found, drawn = intervals(lambda w: {"a": weighted_mean(values[0], w), "b": weighted_mean(values[1], w)}, resampler)
    for k, name in enumerate("ab"):
        one = resampler.mean(values[k])
        assert (found[name].low, found[name].high) == pytest.approx((one.low, one.high), rel=1e-12)
    assert drawn["a"].shape == (300,)
    alone, _ = intervals(lambda w: {"a": weighted_mean(values[0], w)}, over(np.zeros(53)))
    assert np.isnan([alone["a"].low, alone["a"].high]).all(), "one group says nothing about others"


def picked(rng, m, n, truth):
    """Means of m equal quantities, and their replicates on the same resamples."""
    values = rng.normal(truth, 1, size=(m, n))
    resampler = over(range(n), seed=int(rng.integers(1 << 30)))
    drawn = np.stack([resampler.replicates(partial(weighted_mean, one)) for one in values], axis=1)
    return values.mean(axis=1), drawn, resampler


def test_the_interval_of_the_largest_covers_the_largest_truth():
    """Twelve quantities that are zero: the largest estimate's own interval misses zero far too often."""
    rng = np.random.default_rng(4)
    own = priced = 0
    for _ in range(200):
        values, drawn, resampler = picked(rng, 12, 80, 0.0)
        k = values.argmax()
        own += not resampler.around(values[k], drawn[:, k]).excludes(0.0)
        found = largest(values, drawn, level=0.95)
        priced += not found.excludes(0.0)
        assert found.low <= found.value == values.max() <= found.high
    assert own / 200 < 0.85 and priced / 200 > 0.93


def test_of_one_estimate_the_largest_is_itself():
    values, drawn, resampler = picked(np.random.default_rng(2), 1, 400, 0.3)
    found, plain = largest(values, drawn, level=0.95), resampler.around(values[0], drawn[:, 0])
    assert [found.low, found.high] == pytest.approx([plain.low, plain.high], abs=0.03)
    assert np.isnan(largest([1.0, 2.0], np.full((5, 2), np.nan), level=0.95).low)


def test_a_p_value_is_that_of_the_spread():
    drawn = 1.5 + 0.5 * np.array([-1.0, 1.0, np.nan, -1.0, 1.0])
    assert p_value(1.5, drawn) == pytest.approx(2 * stats.norm.sf(3.0))
    assert p_value(1.5, drawn, point=1.5) == 1
    assert p_value(1.5, np.full(4, np.nan)) == p_value(1.5, np.full(4, 1.5)) == 1


def test_p_values_of_nothing_are_even():
    rng = np.random.default_rng(7)
    found = []
    for _ in range(300):
        values, drawn, _ = picked(rng, 1, 60, 0.0)
        found.append(p_value(values[0], drawn[:, 0]))
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.09
