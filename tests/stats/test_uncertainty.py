"""Intervals, comparisons and chance: hand values, promises on simulated data, references."""

import itertools
import math
import tracemalloc
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from verdict.base.numbers import Number
from verdict.stats import metrics, uncertainty
from verdict.stats.metrics import accuracy, accuracy_of, ece, macro_f1, macro_f1_of
from verdict.stats.ranking import Ranked, auroc
from verdict.stats.uncertainty import (
    Interval,
    Resampler,
    absolute_sum,
    clustered_mcnemar,
    expected_best_of,
    holm,
    largest,
    linked_ratio,
    p_value,
    sign_flip_test,
    simultaneous_reach,
    stream,
    wilson,
    with_bounds,
)
from verdict.stats.weighted import OfSums, weighted_mean


def resampler(groups, **changed):
    return Resampler(np.asarray(groups), **{"n_resamples": 300, "level": 0.95, "seed": 7, **changed})


def clustered(rng, n_groups=83, size=5):
    """Right or wrong by row, alike within a group; groups; the expected accuracy is 3 / 4."""
    skill = rng.beta(3, 1, n_groups)
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 2 * size, n_groups))
    return rng.random(len(groups)) < skill[groups], groups


def test_a_resample_draws_as_many_whole_groups():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = resampler(groups, n_resamples=11).weights()
    assert weights.shape == (11, 6)
    assert (weights[:, [0]] == weights[:, [2, 5]]).all()
    assert (weights[:, 1] + weights[:, 0] + weights[:, 3] == 3).all()


def test_replicates_agree_with_a_loop():
    rng = np.random.default_rng(3)
    probs = rng.dirichlet([1, 1, 1], 211)
    y_true, groups = rng.integers(0, 3, 211), rng.integers(0, 47, 211)
    wrong = probs.argmax(axis=1) != y_true
    for statistic in (
        lambda w: ece(probs, y_true, w),
        lambda w: Ranked(probs.max(axis=1), wrong).aurc(w),
        lambda w: auroc(probs.max(axis=1), wrong, w),
    ):
        found = resampler(groups, n_resamples=53)
        slow = [float(statistic(weights)) for weights in found.weights()]
        assert found.replicates(statistic) == pytest.approx(slow, rel=1e-12)


def test_one_group_says_nothing_about_others():
    found = resampler(["a", "a"], n_resamples=7).interval(lambda w: accuracy([1, 1], [1, 0], w))
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert not found.excludes(0)
    assert found.number(n=2).low is None


def test_a_statistic_gives_one_value_a_resample_and_those_that_are_not_finite_are_left_out():
    for statistic in (lambda w: 0.5, lambda w: w[0]):
        with pytest.raises(ValueError, match="one value a resample"):
            resampler(np.arange(5), n_resamples=7).replicates(statistic)
    found = resampler([1, 2], level=0.5).around(2, [1, 2, 3, math.nan, math.inf])
    assert found == Interval(2.0, 1.5, 2.5, n_undefined=2)
    assert found.excludes(1.4)
    assert found.excludes(2.6)
    assert not found.excludes(1.5)
    assert math.isnan(resampler([1, 2]).around(2, []).low)


def test_wilson_solves_its_equation():
    low, high = wilson(17, 53)
    z = stats.norm.ppf(0.975)
    for bound in (low, high):
        assert abs(17 / 53 - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 53))
    # Published: 76 % of 50, and 3,159 right of 3,872.
    assert wilson(38, 50) == pytest.approx((0.626, 0.857), abs=5e-4)
    assert wilson(3159, 3872) == pytest.approx((0.803, 0.828), abs=5e-4)
    assert wilson(0, 7)[0] == 0
    assert wilson(7, 7)[1] == 1
    assert math.isnan(wilson(0, 0)[0])


def rows_of(changes, *, n_same=2):
    """Answers with so many gains minus losses in each group, none of them cancelling, and rows without a change."""
    first = [np.r_[np.zeros(max(c, 0)), np.ones(max(-c, 0)), np.ones(n_same)] for c in changes]
    second = [np.r_[np.ones(max(c, 0)), np.zeros(max(-c, 0)), np.ones(n_same)] for c in changes]
    groups = np.repeat(np.arange(len(changes)), [abs(c) + n_same for c in changes])
    return np.concatenate(first).astype(bool), np.concatenate(second).astype(bool), groups


def test_the_exact_test_counts_exchanges_of_rows_and_of_groups():
    first, second, _ = rows_of([-6, 1])
    # McNemar's: six losses and a gain.
    assert sign_flip_test(first, second) == pytest.approx(2 * (1 + 7) / 2**7)
    assert sign_flip_test(first, first) == 1
    change = np.array([3, -1, 2, 2, 0, 1])
    first, second, groups = rows_of(change)
    sums = [abs(np.dot(signs, change)) for signs in itertools.product([-1, 1], repeat=len(change))]
    expected = np.mean(np.array(sums) >= abs(change.sum()))
    assert sign_flip_test(first, second, groups) == pytest.approx(expected)
    assert sign_flip_test(second, first, groups) == pytest.approx(expected)
    with pytest.raises(ValueError, match="one truth a row for both"):
        sign_flip_test(first, second[1:])


def test_the_clustered_test_by_hand():
    # K = 5, sum 3 - 1 + 2 + 0 + 1 = 5, squares 9 + 1 + 4 + 0 + 1 = 15: 4/5 * 25/15 = 4/3.
    first, second, groups = rows_of([3, -1, 2, 0, 1])
    expected = stats.chi2.sf(4 / 3, 1)
    assert clustered_mcnemar(first, second, groups) == pytest.approx(expected)
    assert clustered_mcnemar(second, first, groups) == pytest.approx(expected)
    order = np.random.default_rng(0).permutation(len(groups))
    names = np.array(list("caebd"))[groups]
    assert clustered_mcnemar(first[order], second[order], names[order]) == pytest.approx(expected)
    assert clustered_mcnemar(first, first, groups) == 1
    assert clustered_mcnemar(first, second, np.zeros(len(groups))) == 1
    with pytest.raises(ValueError, match="one truth a row"):
        clustered_mcnemar(first, second, groups[1:])


def test_gains_and_losses_of_one_group_cancel():
    first = np.array([1, 0, 1, 0, 0, 0], dtype=bool)
    second = np.array([0, 1, 1, 1, 1, 0], dtype=bool)
    # Group a gains one and loses one, b gains one, c gains one: K = 3, 2/3 * 2**2 / (0 + 1 + 1).
    assert clustered_mcnemar(first, second, list("aabbcc")) == pytest.approx(stats.chi2.sf(2 / 3 * 4 / 2, 1))


def test_the_clustered_test_gives_the_published_statistic():
    """Two scans of 21 patients' glands, one loss and seven gains: 4.5 plain and 2.86 clustered in Durkalski et al.

    (2003), Statistics in Medicine 22. Printed are 4.5, 2.86 and the first six patients' differences; these two numbers
    leave sums of squares of 12 and an excess of 6, and the other patients' differences are made to fit.
    """
    changes = [2, 1, 0, 0, 1, 0, 2, 1, -1, *[0] * 12]
    first, second, groups = rows_of(changes)
    gained, lost = (second & ~first).sum(), (first & ~second).sum()
    assert (gained - lost) ** 2 / (gained + lost) == pytest.approx(4.5)
    assert stats.chi2.isf(clustered_mcnemar(first, second, groups), 1) == pytest.approx(2.86, abs=5e-3)


def test_groups_keep_the_false_alarms_of_a_paired_test_down():
    """Size of three tests at 5 per cent: equal models, answers alike within an image, one to nine pairs an image."""
    n_sets, alarms = 1000, {"plain": 0, "clustered": 0, "exact": 0}
    for seed in range(n_sets):
        rng = np.random.default_rng([19, seed])
        groups = np.repeat(np.arange(97), rng.integers(1, 10, 97))
        # Each model is good at an image's scene or not, whatever the sentence; both are equally often.
        share = rng.beta(0.8, 0.4, size=(2, 97))
        first, second = rng.random((2, len(groups))) < share[:, groups]
        alarms["plain"] += clustered_mcnemar(first, second, np.arange(len(groups))) < 0.05
        alarms["clustered"] += clustered_mcnemar(first, second, groups) < 0.05
        alarms["exact"] += seed < 200 and sign_flip_test(first, second, groups) < 0.05
    # The standard error of a share of 5 per cent is 0.7 per cent here.
    assert 0.03 < alarms["clustered"] / n_sets < 0.07
    assert alarms["plain"] / n_sets > 0.2
    assert alarms["exact"] / 200 <= 0.09


def test_holm_by_hand():
    # Sorted .01, .02, .03, .4 times 4, 3, 2, 1: .04, .06, .06, .4.
    assert holm([0.03, 0.01, 0.4, 0.02]) == pytest.approx([0.06, 0.04, 0.4, 0.06])
    assert holm([0.3, 0.9, 0.8]) == pytest.approx([0.9, 1, 1])
    assert holm([0.04]) == pytest.approx([0.04])
    assert len(holm([])) == 0


def test_the_best_of_equal_runs_leads_by_chance():
    assert expected_best_of(1, mean=0.3, sd=2) == pytest.approx(0.3)
    assert expected_best_of(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_best_of(3) == pytest.approx(3 / (2 * math.sqrt(math.pi)))
    # Published: six runs N(0.7925, 0.0061), best expected 0.8002, best observed 0.8001.
    assert expected_best_of(6, 0.7925, 0.0061) == pytest.approx(0.8002, abs=5e-5)


def _hits(right):
    return lambda w: accuracy(right, np.ones(len(right)), w)


@pytest.mark.parametrize(("quick", "score"), [(accuracy_of, accuracy), (macro_f1_of, macro_f1)])
def test_sums_of_groups_give_the_replicates_that_rows_give(quick, score):
    rng = np.random.default_rng(3)
    right, groups = clustered(rng)
    y_true = rng.integers(2, size=len(right))
    y_pred = np.where(right, y_true, 1 - y_true)
    statistic = quick(y_true, y_pred)
    by_row = resampler(groups).replicates(lambda weights: score(y_true, y_pred, weights=weights))
    assert np.array_equal(resampler(groups).replicates(statistic), by_row)
    assert np.ptp(by_row) > 0
    assert statistic(None) == score(y_true, y_pred)
    assert np.isnan(resampler(np.zeros(len(groups))).replicates(statistic)).all()


@pytest.mark.parametrize("limit", [6, 7])
def test_macro_f1_of_few_and_of_many_classes_is_the_same(limit, monkeypatch):
    monkeypatch.setattr(metrics, "_MAX_DENSE", limit)
    rng = np.random.default_rng(3)
    right, groups = clustered(rng)
    # Of the seven classes the last never occurs.
    y_true, other = rng.integers(6, size=(2, len(right)))
    y_pred = np.where(right, y_true, other)
    statistic = macro_f1_of(y_true, y_pred, 7)
    assert isinstance(statistic, OfSums) == (limit == 7)
    by_row = resampler(groups).replicates(lambda weights: macro_f1(y_true, y_pred, 7, weights))
    assert np.array_equal(resampler(groups).replicates(statistic), by_row)
    assert np.ptp(by_row) > 0
    assert statistic(None) == macro_f1(y_true, y_pred, 7) < 6 / 7


def test_macro_f1_of_many_classes_holds_no_table_of_rows_and_classes():
    rng = np.random.default_rng(3)
    y_true, y_pred = rng.integers(1000, size=(2, 5000))
    weights = rng.integers(3, size=(10, 5000))
    tracemalloc.start()
    macro_f1(y_true, y_pred, 1000, weights), macro_f1_of(y_true, y_pred, 1000)(weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < y_true.nbytes * 1000 / 10


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(5)
    right, groups = clustered(rng, n_groups=211)
    better = right | (rng.random(len(right)) < 0.1)
    drawn = resampler(groups, n_resamples=400)
    found, alone = drawn.compare([_hits(right)], [_hits(better)]), drawn.interval(_hits(right))
    assert found.value == pytest.approx(better.mean() - right.mean())
    assert found.high - found.low < 0.7 * (alone.high - alone.low)
    assert found.excludes(0.0)
    assert not drawn.compare([_hits(right)], [_hits(right)]).excludes(0.0)
    assert drawn.compare([], [_hits(right)]) == alone


def test_seeds_are_averaged_and_their_spread_widens_the_interval():
    rng = np.random.default_rng(6)
    base = rng.random(2003) < 0.8
    first = [base ^ (rng.random(2003) < share) for share in (0.05, 0.1, 0.15)]
    second = [base ^ (rng.random(2003) < share) for share in (0.1, 0.05, 0.02)]
    drawn = resampler(np.arange(2003), n_resamples=500)
    found = drawn.compare([_hits(r) for r in first], [_hits(r) for r in second])
    gaps = [b.mean() - a.mean() for a, b in zip(first, second, strict=True)]
    assert found.value == pytest.approx(np.mean(gaps))
    alone = drawn.interval(
        lambda w: np.mean([_hits(b)(w) - _hits(a)(w) for a, b in zip(first, second, strict=True)], axis=0)
    )
    assert alone.excludes(0) and not found.excludes(0)
    # The spread of three seeds alone: Student's t with two degrees of freedom.
    reach = stats.t.ppf(0.975, 2) * np.std(gaps, ddof=1) / math.sqrt(3)
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.25)
    with pytest.raises(ValueError, match="as many seeds"):
        drawn.compare([_hits(base)], [])


def test_an_interval_becomes_columns_and_is_read_back():
    found = Interval(0.5, 0.4, 0.7)
    row = {"split": "test", **with_bounds("accuracy", found), **with_bounds("loss", Number(2.0))}
    assert row["accuracy_low"] == 0.4 and row["accuracy_high"] == 0.7
    assert (row["loss"], row["loss_low"], row["loss_high"]) == (2.0, None, None)
    assert Interval.from_columns(row, "accuracy") == found
    assert Interval.from_columns(pd.Series(row), "accuracy") == found
    with pytest.raises(KeyError, match="chance_low"):
        Interval.from_columns({"chance": 0.1}, "chance")


def test_one_quantity_has_one_interval_whatever_the_order_of_its_rows():
    rng, before = np.random.default_rng(3), np.random.get_state()[1].copy()
    groups, hit = np.repeat([f"g{i}" for i in range(53)], 3), rng.integers(0, 2, 159).astype(float)
    order = rng.permutation(len(hit))
    first, second = resampler(groups).mean(hit), resampler(groups[order]).mean(hit[order])
    assert (first.low, first.high) == (second.low, second.high)
    assert first == resampler(groups).interval(lambda w: weighted_mean(hit, w))
    assert first != resampler(groups, seed=8).mean(hit)
    assert first.low < resampler(groups, level=0.5).mean(hit).low
    assert first != resampler(np.char.add("other ", groups)).mean(hit)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(
    ("value", "span", "low", "high"),
    [
        (1.0, (0, 1), 1 - wilson(0, 4)[1], 1.0),
        (0.0, (0, 1), 0.0, wilson(0, 4)[1]),
        (0.0, (-1, 1), -wilson(0, 4)[1], wilson(0, 4)[1]),
        (-1.0, (-1, 1), -1.0, -1 + 2 * wilson(0, 4)[1]),
    ],
)
def test_values_without_spread_are_judged_by_groups_and_their_span(value, span, low, high):
    found = resampler(np.repeat(np.arange(4), 25)).mean(np.full(100, value), span=span)
    assert (found.value, found.low, found.high) == (value, pytest.approx(low), pytest.approx(high))


def test_groups_of_one_mean_have_no_spread_either():
    """One true and one false row in each of 18 groups: resamples of such groups have the same mean."""
    groups, values = np.repeat(np.arange(18), 2), np.tile([0.0, 1.0], 18)
    found, unseen = resampler(groups).mean(values, span=(0, 1)), wilson(0, 18)[1]
    assert (found.value, found.low, found.high) == (
        0.5,
        pytest.approx(0.5 - unseen / 2),
        pytest.approx(0.5 + unseen / 2),
    )
    assert resampler(groups).mean(np.append(values[:-1], 0.0), span=(0, 1)).low > found.low, "with spread as ever"


def test_means_of_several_columns_are_the_intervals_of_each():
    rng = np.random.default_rng(4)
    groups, columns = rng.integers(0, 31, 203), rng.normal(size=(203, 3))
    columns[:, 1], columns[7, 2] = 0.25, np.inf
    found = resampler(groups).means(columns, [None, (0, 1), None])
    alone = resampler(groups).interval(partial(weighted_mean, columns[:, 0]))
    assert (found[0].value, found[0].low, found[0].high) == pytest.approx((alone.value, alone.low, alone.high))
    assert found[1] == resampler(groups).mean(columns[:, 1], span=(0, 1))
    assert found[2].value == np.inf
    assert np.isnan(resampler(groups[:0]).mean(columns[:0, 0]).value)


def test_values_without_spread_and_span_have_no_interval():
    assert np.isnan(resampler(np.arange(20)).mean(np.full(20, -0.3)).low)
    assert np.isnan(resampler(np.zeros(20)).mean(np.ones(20), span=(0, 1)).low)


def test_resamples_without_a_value_are_counted():
    is_there = np.array([1.0] + [0.0] * 9)
    found = resampler(np.arange(10)).interval(
        lambda w: 1.0 if w is None else np.where(np.asarray(w) @ is_there > 0, 1.0, np.nan)
    )
    assert 50 < found.n_undefined < 170  # (1 - 1/10)^10 = 0.35 of 300
    assert found.number().n_undefined == found.n_undefined


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_mean_takes_over_what_is_not_finite_where_its_row_counts(odd):
    weights = np.array([[1, 1, 0], [1, 0, 2]])
    assert weighted_mean([3.0, 5.0, odd], weights) == pytest.approx([4.0, odd], nan_ok=True)
    assert resampler(np.arange(3)).mean([0.0, 1.0, odd]).value == pytest.approx(odd, nan_ok=True)


def test_shares_of_cells_are_those_of_the_resampled_rows():
    rng = np.random.default_rng(5)
    values, cells, of = rng.normal(size=97), rng.integers(0, 3, 97), resampler(rng.integers(0, 13, 97), n_resamples=7)
    observed, drawn = of.shares(values, cells, 4)
    assert observed == pytest.approx(np.bincount(cells, values, 4) / 97)
    for weights, found in zip(of.weights(), drawn, strict=True):
        assert found == pytest.approx(np.bincount(cells, values * weights, 4) / weights.sum())
    assert np.isnan(resampler(np.zeros(97)).shares(values, cells, 4)[1]).all()


def test_a_sum_of_absolute_values_that_chance_explains_may_be_zero():
    even, noise = np.full(8, 1 / 8), 0.01 * np.random.default_rng(6).normal(size=(1000, 8))
    usual = 0.008 * np.array([1, -1, 1, 1, -1, -1, 1, -1])
    chance = absolute_sum(usual, usual + noise, even, level=0.95)
    assert (chance.low, chance.value) == (0, pytest.approx(0.064)) and chance.value <= chance.high < 0.11
    # One cell far from zero: its own error, less what the seven others add by chance.
    far = np.array([0.2, *usual[1:]])
    found = absolute_sum(far, far + noise, even, level=0.95)
    assert 0.15 < found.low < found.value - 0.01
    assert found.value <= found.high < 0.32
    wider = absolute_sum(far, far + noise, even, level=0.99)
    assert wider.low < found.low and wider.high >= found.high
    # Where nearly all resamples lie below the value, its middle is the value, not zero.
    assert absolute_sum(far, far - np.sign(far) * np.abs(noise), even, level=0.0).low == np.abs(far).sum()
    assert absolute_sum(far, far + 0 * noise, even, level=0.95) == Interval(*[np.abs(far).sum()] * 3)


def test_a_sum_that_is_small_by_luck_does_not_rule_out_what_noise_hides():
    """One cell whose estimate happens to be next to nothing, with a standard error of 0.03: no true sum explains it."""
    noise, lucky = 0.03 * np.random.default_rng(4).normal(size=(2000, 1)), np.array([1e-5])
    found = absolute_sum(lucky, lucky + noise, np.ones(1), level=0.95)
    assert found.low <= 1e-5
    assert found.high == pytest.approx(0.03 * stats.norm.ppf(0.75), abs=0.003)  # the median of its absolute value


def test_bounds_that_hold_at_once_pay_for_the_largest_having_been_picked():
    rng, n_sets, truth = np.random.default_rng(8), 400, np.array([0.0, 0.0, -0.2, 0.1])
    covered, above, alone = 0, 0, 0
    for _ in range(n_sets):
        values = truth + 0.1 * rng.normal(size=4)
        drawn = values + 0.1 * rng.normal(size=(300, 4))
        reach = simultaneous_reach(values, drawn, level=0.95)
        covered += (np.abs(values - truth) <= reach).all()
        found = largest(values, drawn, level=0.95)
        assert found.low <= found.value == values.max() <= found.high
        above += found.low > 0.1
        alone += np.quantile(drawn[:, values.argmax()], 0.025) > 0.1
    # The standard error of 0.95 in 400 is 0.011.
    assert covered / n_sets == pytest.approx(0.95, abs=0.035)
    assert above < alone
    assert np.isnan(simultaneous_reach([1.0, 2.0], np.full((5, 2), np.nan), level=0.95)).all()


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(9)
    means, drawn = rng.normal(size=500) / 3, rng.normal(size=(500, 400)) / 3
    found = np.array([p_value(mean, mean + one) for mean, one in zip(means, drawn, strict=True)])
    assert (found < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert p_value(0.5, 0.5 + drawn[0], 0.5) == 1
    assert p_value(1.0, np.ones(7)) == 1
    # Two standard errors: 0.046 by the normal law, more where few groups tell the spread.
    assert p_value(2.0, [1.0, 3.0]) == pytest.approx(2 * stats.norm.sf(2))
    assert p_value(2.0, [1.0, 3.0], n_groups=5) == pytest.approx(2 * stats.t.sf(2, 4))


def test_a_resampler_of_some_rows_knows_their_groups():
    groups = np.array(list("aabbcc"))
    assert resampler(groups).of(groups != "b").n_groups == 2
    assert resampler(groups).of(np.array([0, 2])).mean([1.0, 0.0]) == resampler(["a", "b"]).mean([1.0, 0.0])


def test_streams_of_different_names_keys_and_seeds_differ():
    asked = [(7, "a"), (7, "b"), (8, "a"), (7, "a", 0), (7, "a", 1), (7, "a", 0, 0), (7, "a", "0")]
    drawn = [stream(*one).integers(2**62) for one in asked]
    assert len(set(drawn)) == len(asked)
    assert stream(7, "a", 1).integers(2**62) == drawn[4]


def test_draws_of_all_parts_are_kept_and_never_more_than_so_many_bytes(monkeypatch):
    """A page asks for ten classes again and again: none of their draws is made twice, unless they are too many."""
    monkeypatch.setattr(uncertainty, "_KEPT", {})
    made, draw = [], uncertainty._drawn
    monkeypatch.setattr(uncertainty, "_drawn", lambda *of: made.append(of) or draw(*of))
    whole = Resampler(np.arange(110), 53, 0.95, 3)
    parts = [whole.of(np.arange(110) % 11 == k) for k in range(11)]
    assert [part.weights().sum() for part in parts * 2] == [530] * 22 and len(made) == 11
    monkeypatch.setattr(uncertainty, "_KEPT_BYTES", 3 * 53 * 10 * 2)
    uncertainty._KEPT.clear()
    again = [part.weights().sum() for part in parts]
    assert len(uncertainty._KEPT) == 3 and again == [530] * 11


def test_parts_that_groups_share_widen_a_standard_error_by_what_they_explain():
    """Twelve parts, of which each of 400 groups holds two, explain about half of what groups differ by."""
    rng, n, n_parts = np.random.default_rng(5), 400, 12
    means, errors, is_shown = [], [], []
    for _ in range(100):
        holds = rng.permuted(np.tile(np.arange(n_parts) < 2, (n, 1)), axis=1)
        values = holds @ rng.normal(size=n_parts) + rng.normal(0, 1.4, n)
        ratio, by_chance = linked_ratio(values - values.mean(), holds, rng)
        means.append(values.mean())
        errors.append(ratio * values.std() / math.sqrt(n))
        is_shown.append(ratio > by_chance)
    assert np.mean(np.square(errors)) == pytest.approx(np.var(means), rel=0.3)
    assert np.mean(is_shown) > 0.9


def test_groups_that_share_parts_and_do_not_depend_on_each_other_are_told_so():
    """The square of the ratio is then one on average, and beyond what chance gives in one of twenty cases."""
    rng, n, n_parts = np.random.default_rng(6), 300, 60
    holds = rng.permuted(np.tile(np.arange(n_parts) < 4, (n, 1)), axis=1)
    found = [linked_ratio(values - values.mean(), holds, rng) for values in rng.normal(size=(200, n))]
    ratios, by_chance = np.transpose(found)
    assert np.mean(ratios**2) == pytest.approx(1, abs=0.1)
    assert 0.01 < np.mean(ratios > by_chance) < 0.1
    assert np.isnan(linked_ratio(np.array([1.0, -1.0]), np.ones((2, 1)), rng)).all()
    assert linked_ratio(np.array([1.0, 2.0, -4.0, 1.0]), np.eye(4), rng)[0] == pytest.approx(1 / math.sqrt(1 - 1 / 4))
