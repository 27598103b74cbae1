"""The policy: prices by hand, a gate that nothing overrules, and thresholds that no grid beats."""

import itertools

import numpy as np
import pytest

from verdict.decide.policy import (
    ABOVE_ALL,
    Costs,
    Decision,
    Forced,
    Outcomes,
    Policy,
    cost_surface,
    decide,
    force,
    price_outcomes,
    realised,
    tune_policy,
)

AUTO, CLARIFY, HUMAN = Decision


def mean_cost(score, outcomes, policy, *, forced=None):
    return realised(outcomes.cost, decide(score, policy, forced=forced)).mean()


def random_case(seed, n=211, levels=None):
    """Calibrated binary scores, a clarification that helps and a person who errs."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0, 1, n)
    if levels:
        score = np.round(score * levels) / levels
    truth = rng.integers(0, 2, n)
    model = np.where(rng.uniform(size=n) < 0.5 + score / 2, truth, 1 - truth)
    clarified = np.where(rng.uniform(size=n) < 0.8 + score / 5, truth, 1 - truth)
    human = np.where(rng.uniform(size=n) < 0.93, truth, 1 - truth)
    costs = Costs(human=0.11 * rng.uniform(0.5, 3), clarify=0.05 * rng.uniform(0.5, 3), error=(1.0, 1.7))
    return score, price_outcomes(costs, truth, model=model, human=human, clarified=clarified, n_classes=2)


def constant_outcomes(auto, clarify, human, n):
    cost = np.tile([auto, clarify, human], (n, 1)).astype(float)
    return Outcomes(cost, np.zeros((n, 3)))


def _line_of_costs(score, outcomes, grid, forced, *, fixed_is_auto):
    """Cost along one threshold, by counting (not by the prefix sums of the library)."""
    taken = np.where(forced == Forced.NONE, -1, HUMAN)
    fixed = grid[-1] if fixed_is_auto else grid[0]
    costs = np.empty(len(grid))
    for start in range(0, len(grid), 499):
        free = grid[start : start + 499, None]
        low, high = (free, fixed) if fixed_is_auto else (fixed, free)
        branch = np.where(score >= high, AUTO, np.where(score >= low, CLARIFY, HUMAN))
        branch = np.where(taken >= 0, HUMAN, branch)
        costs[start : start + 499] = outcomes.cost[np.arange(len(score)), branch].mean(axis=1)
    return costs


def test_prices_by_hand():
    costs = Costs(human=0.5, clarify=0.2, error=(1.0, 4.0))
    truth = np.array([0, 1, 1])
    outcomes = price_outcomes(
        costs,
        truth,
        model=np.array([1, 0, 1]),
        clarified=np.array([0, 0, 1]),
        human=np.array([[0.9, 0.1], [0.25, 0.75], [0.0, 1.0]]),
        n_classes=2,
    )
    assert outcomes.cost[:, AUTO].tolist() == [1.0, 4.0, 0.0]
    assert outcomes.cost[:, CLARIFY] == pytest.approx([0.2, 0.2 + 4.0, 0.2])
    assert outcomes.cost[:, HUMAN] == pytest.approx([0.5 + 0.1 * 1.0, 0.5 + 0.25 * 4.0, 0.5])
    assert outcomes.error == pytest.approx(np.array([[1, 0, 0.1], [1, 1, 0.25], [0, 0, 0]]))


def test_error_costs_as_number_and_vector():
    assert Costs(1, 1, 3.0).error_matrix(2).tolist() == [[0, 3], [3, 0]]
    assert Costs(1, 1, (1, 4)).error_matrix(2).tolist() == [[0, 1], [4, 0]]


def test_decision_includes_its_lower_bound():
    policy = Policy(t_auto=0.9, t_clarify=0.6)
    below = np.nextafter([0.9, 0.6], 0)
    assert decide(np.array([0.9, below[0], 0.6, below[1], 0.0, 1.0]), policy).tolist() == [0, 1, 1, 2, 2, 0]
    assert decide(np.array([0.0, 1.0]), Policy(ABOVE_ALL, ABOVE_ALL)).tolist() == [2, 2]


def test_gate_overrules_every_score():
    signals = {"a": np.array([0.9, 0.2, 0.9, 0.21]), "b": np.array([0.9, 0.9, 0.1, 0.9])}
    is_empty = np.array([True, False, True, False])
    forced = force(signals, is_empty, tau_critical=0.2)
    assert forced.tolist() == [Forced.EMPTY_SET, Forced.CRITICAL_SIGNAL, Forced.EMPTY_SET, Forced.NONE]
    decision = decide(np.ones(4), Policy(0.0, 0.0), forced=forced)
    assert decision.tolist() == [HUMAN, HUMAN, HUMAN, AUTO]
    assert force(signals, is_empty, tau_critical=None).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("levels", [None, 17])
@pytest.mark.parametrize("seed", range(8))
def test_no_grid_of_ten_thousand_beats_the_scan(seed, levels):
    score, outcomes = random_case(seed, n=1009, levels=levels)
    forced = np.where(np.arange(1009) % 23 == 0, Forced.EMPTY_SET, Forced.NONE)
    best = mean_cost(score, outcomes, tune_policy(score, outcomes, forced=forced), forced=forced)
    # All 2 million ordered pairs of 2,003 thresholds, and 10,000 values of each threshold beside the best other one.
    assert best <= np.nanmin(cost_surface(score, outcomes, np.linspace(0, 1, 2003), forced=forced)) + 1e-9
    policy = tune_policy(score, outcomes, forced=forced)
    for fixed, is_auto in ((policy.t_auto, True), (policy.t_clarify, False)):
        free = np.linspace(0, 1, 10_000)
        grid = np.unique(np.append(free[free <= fixed] if is_auto else free[free >= fixed], fixed))
        cost = _line_of_costs(score, outcomes, grid, forced, fixed_is_auto=is_auto)
        assert best <= cost.min() + 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_scan_equals_brute_force_over_all_cuts(seed):
    score, outcomes = random_case(seed, n=23, levels=11 if seed % 2 else None)
    cuts = [*np.unique(score), ABOVE_ALL]
    brute = min(
        mean_cost(score, outcomes, Policy(high, low)) for low, high in itertools.product(cuts, cuts) if low <= high
    )
    assert mean_cost(score, outcomes, tune_policy(score, outcomes)) == pytest.approx(brute, abs=1e-12)


def test_surface_equals_the_cost_of_each_policy():
    score, outcomes = random_case(3, n=31)
    forced = np.where(np.arange(31) % 5 == 0, Forced.CRITICAL_SIGNAL, Forced.NONE)
    grid = np.array([0.0, 0.2, 0.55, 0.9, ABOVE_ALL])
    surface = cost_surface(score, outcomes, grid, forced=forced)
    for row, column in itertools.product(range(5), range(5)):
        if row > column:
            assert np.isnan(surface[row, column])
        else:
            expected = mean_cost(score, outcomes, Policy(grid[column], grid[row]), forced=forced)
            assert surface[row, column] == pytest.approx(expected, abs=1e-12)


def test_order_of_rows_and_monotone_maps_do_not_matter():
    score, outcomes = random_case(5)
    order = np.random.default_rng(0).permutation(len(score))
    policy = tune_policy(score, outcomes)
    assert tune_policy(score[order], outcomes.take(order)) == policy
    mapped = tune_policy(score**3, outcomes)
    assert np.array_equal(decide(score**3, mapped), decide(score, policy))


def test_equal_scores_are_never_separated():
    score = np.array([0.5] * 7)
    cost = np.column_stack([np.r_[np.zeros(3), np.ones(4)], np.full(7, 9.0), np.full(7, 0.3)])
    policy = tune_policy(score, Outcomes(cost, np.zeros((7, 3))))
    assert len(set(decide(score, policy))) == 1
    assert decide(score, policy)[0] == HUMAN


@pytest.mark.parametrize("low", [0.3, np.nextafter(0.3, 1)])
def test_adjacent_floats_are_separated(low):
    # Halfway rounds down for one of two neighbours: their last bits differ.
    score = np.array([low, np.nextafter(low, 1)])
    cost = np.array([[1.0, 9.0, 0.0], [0.0, 9.0, 1.0]])
    policy = tune_policy(score, Outcomes(cost, np.zeros((2, 3))))
    assert decide(score, policy).tolist() == [HUMAN, AUTO]


def test_people_who_err_more_than_the_model_are_never_asked():
    score = np.linspace(0, 1, 101)
    policy = tune_policy(score, constant_outcomes(auto=0.275, clarify=0.4, human=0.343, n=101))
    assert set(decide(score, policy)) == {AUTO}
    policy = tune_policy(score, constant_outcomes(auto=0.275, clarify=0.4, human=0.1, n=101))
    assert set(decide(score, policy)) == {HUMAN}
    policy = tune_policy(score, constant_outcomes(auto=0.275, clarify=0.05, human=0.1, n=101))
    assert set(decide(score, policy)) == {CLARIFY}


def test_ties_go_to_fewer_interventions():
    score = np.linspace(0, 1, 101)
    policy = tune_policy(score, constant_outcomes(0.1, 0.1, 0.1, n=101))
    assert policy == Policy(0.0, 0.0)
    # Clarify and human cost the same and less than auto: nobody is handed to a person.
    policy = tune_policy(score, constant_outcomes(0.3, 0.1, 0.1, n=101))
    assert policy == Policy(ABOVE_ALL, 0.0)


def test_forced_pairs_do_not_move_the_thresholds():
    score, outcomes = random_case(7)
    forced = np.zeros(len(score), int)
    forced[score < 0.2] = Forced.EMPTY_SET
    outcomes.cost[score < 0.2, HUMAN] = 1e6
    free = forced == Forced.NONE
    assert tune_policy(score, outcomes, forced=forced) == tune_policy(score[free], outcomes.take(free))
    assert tune_policy(score, outcomes, forced=np.ones(len(score), int)) == Policy(0.0, 0.0)


def test_cheaper_people_are_asked_no_less():
    score, outcomes = random_case(11, n=1009)
    shares = []
    for fee in (0.5, 0.2, 0.05, 0.0):
        cost = outcomes.cost.copy()
        cost[:, HUMAN] += fee
        shares.append(np.mean(decide(score, tune_policy(score, Outcomes(cost, outcomes.error))) == HUMAN))
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_calibrated_scores_give_the_threshold_of_theory():
    # Handing over costs c and is perfect; the model errs with probability 1 - s at price 1: hand over below 1 - c.
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 1, 100_003)
    is_wrong = rng.uniform(size=len(score)) > score
    cost = np.column_stack([is_wrong, np.full(len(score), 9.0), np.full(len(score), 0.3)]).astype(float)
    policy = tune_policy(score, Outcomes(cost, np.zeros_like(cost)))
    assert policy.t_auto == pytest.approx(1 - 0.3, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Policy(0.3, 0.6), "t_clarify <= t_auto"),
        (lambda: Policy(float("nan"), 0.1), "t_clarify <= t_auto"),
        (lambda: Policy(0.9, 0.6, tau_critical=2.0), r"tau_critical must lie in \[0, 1\]"),
        (lambda: Costs(1, 1, (1, 2, 3)).error_matrix(2), r"shape|broadcast"),
        (lambda: decide(np.array([1.2]), Policy(0.9, 0.6)), r"score must lie in \[0, 1\]"),
        (lambda: decide(np.array([np.nan]), Policy(0.9, 0.6)), "without NaN"),
        (lambda: decide(np.ones(2), Policy(0.9, 0.6), forced=np.zeros(3)), r"forced must have shape \(2,\)"),
        (lambda: force({}, np.array([3, 1]), tau_critical=None), "is_empty must be boolean"),
        (
            lambda: price_outcomes(
                Costs(1, 1), np.zeros(2), model=np.zeros(3), human=np.zeros(2), clarified=np.zeros(2), n_classes=2
            ),
            "answers of auto must have shape",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_strangers_and_foreign_batches_go_to_a_person_after_older_reasons():
    signals, is_empty = {"a": np.array([0.9, 0.1, 0.9, 0.9])}, np.array([True, False, False, False])
    foreign = np.array([0.001, 0.001, 0.01, 0.02])
    gate = {"tau_critical": 0.2, "foreign": foreign, "tau_pair": 0.01}
    assert force(signals, is_empty, **gate).tolist() == [1, 2, Forced.FOREIGN_PAIR, Forced.NONE]
    assert force(signals, is_empty, **gate, is_batch_foreign=True).tolist() == [1, 2, 3, Forced.FOREIGN_BATCH]
    assert force(signals, is_empty, tau_critical=None, foreign=foreign).tolist() == [1, 0, 0, 0], "no rate, no rule"


@pytest.mark.parametrize("seed", range(10))
def test_a_policy_held_to_some_thresholds_is_the_cheapest_of_these(seed):
    score, outcomes = random_case(seed, n=29, levels=11 if seed % 2 else None)
    allowed = np.random.default_rng(seed).choice(score, 3, replace=False) if seed else np.empty(0)
    policy = tune_policy(score, outcomes, allowed=allowed)
    cuts = [*np.unique(score), ABOVE_ALL]
    highest = [*allowed, ABOVE_ALL]
    brute = min(
        mean_cost(score, outcomes, Policy(max(high, low), min(high, low)))
        for high, low in itertools.product(highest, cuts)
        if low <= high
    )
    assert policy.t_auto in highest and policy.t_clarify <= policy.t_auto
    assert mean_cost(score, outcomes, policy) == pytest.approx(brute, abs=1e-12)
