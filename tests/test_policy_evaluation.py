"""Evaluation of a policy: the published counts as arithmetic, baselines, the oracle, and the price of a belief."""

import numpy as np
import pytest

from verdict.policy import ABOVE_ALL, Costs, Decision, Forced, Outcomes, Policy, price_outcomes
from verdict.policy_evaluation import (
    Case,
    compare_policies,
    cost_of_perfect_belief,
    evaluate_policy,
    hands_over,
)

AUTO, CLARIFY, HUMAN = Decision


def simulated(seed, n=1009, human_accuracy=0.9):
    rng = np.random.default_rng(seed)
    score = rng.uniform(0, 1, n)
    truth = rng.integers(0, 3, n)
    model = np.where(rng.uniform(size=n) < score, truth, (truth + 1) % 3)
    # People fail where the model is unsure.
    human = np.where(rng.uniform(size=n) < np.where(score < 0.5, human_accuracy, 1.0), truth, (truth + 2) % 3)
    return score, truth, model, human, np.arange(n) // 3


def as_case(seed, costs, *, perfect=False, **kwargs):
    score, truth, model, human, group = simulated(seed, **kwargs)
    people = truth if perfect else human
    return Case(score, price_outcomes(costs, truth, model=model, human=people, n_classes=3), group)


def published():
    """The published run: 10,000 images, 1,383 errors, 2,932 to perfect people who meet 1,165 of them, none alone."""
    n = 10_000
    score = np.where(np.arange(n) < 2932, 0.2, 0.7)
    model_wrong = np.zeros(n)
    model_wrong[:1165] = 1
    model_wrong[2932 : 2932 + 218] = 1
    error = np.column_stack([model_wrong, model_wrong, np.zeros(n)])
    return Case(score, Outcomes(error.copy(), error, has_clarify=True), np.arange(n))


def test_published_degenerate_policy_by_arithmetic():
    found = evaluate_policy(published(), Policy(0.9, 0.6), rng=np.random.default_rng(0), n_resamples=20)
    assert found.is_degenerate
    assert "everybody was intervened on: precision 0.1383 is the base error rate" in found.degenerate
    assert found.precision == pytest.approx(1383 / 10_000)
    assert found.recall == 1.0
    branches = found.branches.set_index("branch")
    assert branches["n"].to_dict() == {"auto": 0, "clarify": 7068, "human": 2932}
    assert branches.loc["human", "model_error"] == pytest.approx(1165 / 2932)
    assert branches.loc["human", "lift"] == pytest.approx((1165 / 2932) / (1383 / 10_000))
    assert branches.loc["clarify", "final_error"] == pytest.approx(218 / 7068)
    assert np.isnan(branches.loc["auto", "model_error"])
    assert found.accuracy.value == pytest.approx(0.9782)
    # Random 29.32 % to a perfect person; clarify changes nothing in the published run.
    assert found.accuracy_random == pytest.approx(1 - 0.1383 * (1 - 0.2932))


def test_policy_that_does_nothing_is_degenerate_and_one_that_chooses_is_not():
    case = published()
    rng = np.random.default_rng(0)
    idle = evaluate_policy(case, Policy(0.0, 0.0), rng=rng, n_resamples=5)
    assert "nobody" in idle.degenerate and idle.recall == 0 and np.isnan(idle.precision)
    choosing = evaluate_policy(case, Policy(0.5, 0.5), rng=rng, n_resamples=5)
    assert not choosing.is_degenerate
    assert (choosing.precision, choosing.recall) == pytest.approx((1165 / 2932, 1165 / 1383))


def test_forced_pairs_are_counted_in_the_human_branch():
    case = published()
    forced = np.where(np.arange(10_000) >= 9_900, Forced.EMPTY_SET, Forced.NONE)
    gated = Case(case.score, case.outcomes, case.group_id, forced)
    found = evaluate_policy(gated, Policy(0.5, 0.5), rng=np.random.default_rng(0), n_resamples=5)
    assert found.branches.set_index("branch")["n_forced"].to_dict() == {"auto": 0, "clarify": 0, "human": 100}
    assert found.branches["n"].tolist() == [7068 - 100, 0, 2932 + 100]


def test_interval_resamples_groups():
    rng = np.random.default_rng(0)
    per_group = rng.integers(0, 2, 199).astype(float)
    cost = np.repeat(per_group, 7)[:, None] * [1.0, 1.0, 1.0]
    case_args = (np.full(len(cost), 0.5), Outcomes(cost, cost, has_clarify=True))
    grouped = Case(*case_args, np.repeat(np.arange(199), 7))
    naive = Case(*case_args, np.arange(len(cost)))
    wide, narrow = (
        evaluate_policy(case, Policy(0.5, 0.5), rng=np.random.default_rng(1)).cost for case in (grouped, naive)
    )
    spread = np.sqrt(per_group.mean() * (1 - per_group.mean()) / 199)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(7), rel=0.15)


def test_comparison_holds_baselines_and_an_oracle_below_all():
    costs = Costs(human=0.2, clarify=0.0, error=1.0)
    calib, test = as_case(1, costs), as_case(2, costs)
    noise = np.random.default_rng(5).uniform(size=(2, 1009))
    table = compare_policies(
        calib, test, rivals={"noise": (noise[0], noise[1])}, tau_critical=None, rng=np.random.default_rng(0)
    ).set_index("policy")
    assert list(table.index) == ["policy", "noise", "always auto", "always human", "random", "oracle"]
    assert table["cost"].idxmin() == "oracle"
    model_error = test.outcomes.error[:, AUTO].mean()
    human_error = test.outcomes.error[:, HUMAN].mean()
    assert table.loc["always auto", "cost"] == pytest.approx(model_error)
    assert table.loc["always human", "cost"] == pytest.approx(0.2 + human_error)
    share = table.loc["policy", "human"]
    expected = share * (0.2 + human_error) + (1 - share) * model_error
    assert table.loc["random", "cost"] == pytest.approx(expected)
    assert table.loc["policy", "difference"] == 0
    assert table.loc["random", "difference_low"] > 0
    assert table.loc["noise", "difference_low"] > 0


def test_the_price_of_the_gate_is_shown():
    costs = Costs(human=0.2, clarify=0.0, error=1.0)
    plain = as_case(1, costs)
    forced = np.where(np.arange(1009) % 2 == 0, Forced.CRITICAL_SIGNAL, Forced.NONE)
    case = Case(plain.score, plain.outcomes, plain.group_id, forced)
    table = compare_policies(case, case, rivals={}, tau_critical=0.1, rng=np.random.default_rng(0), n_resamples=50)
    row = table.set_index("policy").loc["without gate"]
    assert row["difference_high"] < 0


def test_belief_in_perfect_people_costs_what_it_costs():
    costs = Costs(human=0.25, clarify=0.0, error=1.0)
    kwargs = {"human_accuracy": 0.3, "n": 4001}
    calib, test = as_case(1, costs, **kwargs), as_case(2, costs, **kwargs)
    perfect = tuple(as_case(seed, costs, perfect=True, **kwargs).outcomes for seed in (1, 2))
    found = cost_of_perfect_belief(calib, test, perfect=perfect, rng=np.random.default_rng(0))
    assert found.promised.value < found.informed.value < found.delivered.value
    assert found.regret.value == pytest.approx(found.delivered.value - found.informed.value)
    assert found.regret.low > 0
    # A perfect person for 0.25 is worth it below 0.75; one who is right 3 times of 10 only below 1 - (0.25 + 0.7).
    assert found.believed.t_clarify == pytest.approx(0.75, abs=0.06)
    assert found.real.t_clarify == pytest.approx(0.05, abs=0.1)


def test_on_its_own_split_knowing_the_people_is_never_dearer():
    costs = Costs(human=0.2, clarify=0.0, error=1.0)
    for seed in range(7):
        case = as_case(seed, costs, human_accuracy=0.6)
        perfect = as_case(seed, costs, perfect=True).outcomes
        found = cost_of_perfect_belief(
            case, case, perfect=(perfect, perfect), rng=np.random.default_rng(0), n_resamples=5
        )
        assert found.regret.value >= -1e-12


def test_handing_over_is_refused_where_people_are_worse():
    # Hard entailment pairs: one person agrees with gold 65.7 % of the time, the model 72.5 %.
    rng = np.random.default_rng(0)
    n, truth = 2003, np.zeros(2003, int)
    model = (rng.uniform(size=n) > 0.725).astype(int)
    human = np.tile([0.657, 1 - 0.657], (n, 1))
    outcomes = price_outcomes(Costs(0.0, 0.0), truth, model=model, human=human, n_classes=2)
    case = Case(np.full(n, 0.5), outcomes, np.arange(n))
    assert not hands_over(case, case.tune())
    assert hands_over(case, Policy(ABOVE_ALL, ABOVE_ALL))


def test_same_seed_same_interval():
    case = published()
    first, second, other = (
        evaluate_policy(case, Policy(0.5, 0.5), rng=np.random.default_rng(s), n_resamples=50).cost for s in (3, 3, 4)
    )
    assert first == second != other


def test_refusals():
    outcomes = Outcomes(np.zeros((2, 3)), np.zeros((2, 3)), has_clarify=True)
    with pytest.raises(ValueError, match="must have one length"):
        Case(np.zeros(3), outcomes, np.zeros(2))
    with pytest.raises(ValueError, match="no pairs"):
        Case(np.zeros(0), outcomes.take(np.zeros(0, int)), np.zeros(0))
