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
    assert outcomes.dearest == 4.0 + 0.5


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


def test_a_floor_of_its_own_stops_by_that_signal_and_by_no_other():
    signals, nothing = {"a": np.array([0.9, 0.2, 0.3]), "b": np.array([0.1, 0.9, 0.9])}, np.zeros(3, bool)
    assert force(signals, nothing, tau_critical={"a": 0.2, "c": 0.9}).tolist() == [0, 2, 0]
    assert force(signals, nothing, tau_critical={"a": 0.2, "b": 0.1}).tolist() == [2, 2, 0]
    assert force(signals, nothing, tau_critical={}).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(10))
def test_scan_equals_brute_force_over_all_cuts_and_no_grid_beats_it(seed):
    score, outcomes = random_case(seed, n=23, levels=11 if seed % 2 else None)
    cuts = [*np.unique(score), ABOVE_ALL]
    brute = min(
        mean_cost(score, outcomes, Policy(high, low)) for low, high in itertools.product(cuts, cuts) if low <= high
    )
    best = mean_cost(score, outcomes, tune_policy(score, outcomes))
    assert best == pytest.approx(brute, abs=1e-12)
    assert best <= np.nanmin(cost_surface(score, outcomes, np.linspace(0, 1, 503))) + 1e-9


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
    score, outcomes = random_case(5, levels=37)
    order = np.random.default_rng(0).permutation(len(score))
    policy = tune_policy(score, outcomes)
    assert tune_policy(score[order], outcomes.take(order)) == policy
    mapped = tune_policy(score**3, outcomes)
    assert np.array_equal(decide(score**3, mapped), decide(score, policy))


@pytest.mark.parametrize("low", [0.3, np.nextafter(0.3, 1)])
def test_adjacent_floats_are_separated(low):
    # Halfway rounds down for one of two neighbours: their last bits differ.
    score = np.array([low, np.nextafter(low, 1)])
    cost = np.array([[1.0, 9.0, 0.0], [0.0, 9.0, 1.0]])
    policy = tune_policy(score, Outcomes(cost, np.zeros((2, 3))))
    assert decide(score, policy).tolist() == [HUMAN, AUTO]


@pytest.mark.parametrize(
    ("auto", "clarify", "human", "expected"),
    [
        (0.275, 0.4, 0.343, Policy(0.0, 0.0)),
        (0.275, 0.4, 0.1, Policy(ABOVE_ALL, ABOVE_ALL)),
        (0.275, 0.05, 0.1, Policy(ABOVE_ALL, 0.0)),
        # Ties go to fewer interventions; and clarification before a person.
        (0.1, 0.1, 0.1, Policy(0.0, 0.0)),
        (0.3, 0.1, 0.1, Policy(ABOVE_ALL, 0.0)),
    ],
)
def test_the_cheapest_branch_takes_all_where_scores_tell_nothing(auto, clarify, human, expected):
    cost = np.tile([auto, clarify, human], (101, 1))
    assert tune_policy(np.linspace(0, 1, 101), Outcomes(cost, np.zeros((101, 3)))) == expected


def test_forced_pairs_do_not_move_the_thresholds():
    score, outcomes = random_case(7)
    forced = np.zeros(len(score), int)
    forced[score < 0.2] = Forced.EMPTY_SET
    outcomes.cost[score < 0.2, HUMAN] = 1e6
    free = forced == Forced.NONE
    assert tune_policy(score, outcomes, forced=forced) == tune_policy(score[free], outcomes.take(free))
    assert tune_policy(score, outcomes, forced=np.ones(len(score), int)) == Policy(0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Policy(0.3, 0.6), "t_clarify <= t_auto"),
        (lambda: Policy(float("nan"), 0.1), "t_clarify <= t_auto"),
        (lambda: Policy(0.9, 0.6, tau_critical=2.0), r"tau_critical must lie in \[0, 1\]"),
        (lambda: Policy(0.9, 0.6, tau_critical={"a": 0.1, "b": 2.0}), r"b must lie in \[0, 1\]"),
        (lambda: decide(np.array([1.2]), Policy(0.9, 0.6)), r"score must lie in \[0, 1\]"),
        (lambda: tune_policy(np.array([np.nan]), Outcomes(np.zeros((1, 3)), np.zeros((1, 3)))), "score .* without NaN"),
        (lambda: force({"a": np.array([1.2])}, np.array([True]), tau_critical=0.1), "signal a must lie"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_strangers_and_foreign_batches_go_to_a_person_after_older_reasons():
    signals, is_empty = {"a": np.array([0.9, 0.1, 0.9, 0.9])}, np.array([True, False, False, False])
    foreign = np.array([0.001, 0.001, 0.01, 0.02])
    gate = {"tau_critical": 0.2, "foreign": foreign, "tau_pair": 0.01}
    assert force(signals, is_empty, **gate).tolist() == [1, 2, Forced.FOREIGN, Forced.NONE]
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
