"""Evaluation of a policy: the published counts as arithmetic, baselines, the oracle, and the price of a belief."""

from dataclasses import replace

import numpy as np
import pytest

from verdict.decide.outcomes import (
    ONE_THRESHOLD,
    WITHOUT_QUESTIONS,
    Case,
    compare_policies,
    cost_of_belief,
    evaluate_policy,
)
from verdict.decide.policy import ABOVE_ALL, Costs, Decision, Forced, Outcomes, Policy, price_outcomes
from verdict.stats.uncertainty import Resampler

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
    return Case(score, price_outcomes(costs, truth, model=model, human=people, clarified=model, n_classes=3), group)


def draws_of(case, n_resamples=200):
    return Resampler(case.group_id, n_resamples, 0.95, 7)


def evaluated(case, policy):
    """What a policy does, and its branches by name; intervals play no part."""
    found = evaluate_policy(case, policy, draws_of(case, 5))
    return found, found.branches.set_index("branch")


def compared(calib, test, rivals=None, tau_critical=None):
    among = {"rivals": rivals or {}, "simplest": (calib, test), "tau_critical": tau_critical}
    table = compare_policies(calib, test, **among, draws=draws_of(test))
    return table.set_index("policy")


CHEAP = Costs(human=0.2, clarify=0.0, error=1.0)


def published():
    """The published run: 10,000 images, 1,383 errors, 2,932 to perfect people who meet 1,165 of them, none alone."""
    n = 10_000
    score = np.where(np.arange(n) < 2932, 0.2, 0.7)
    model_wrong = np.zeros(n)
    model_wrong[:1165] = 1
    model_wrong[2932 : 2932 + 218] = 1
    error = np.column_stack([model_wrong, model_wrong, np.zeros(n)])
    return Case(score, Outcomes(error.copy(), error), np.arange(n))


def test_published_degenerate_policy_by_arithmetic():
    found, branches = evaluated(published(), Policy(0.9, 0.6))
    assert found.is_degenerate
    assert np.isnan(branches.loc["not auto", "lift_low"]), "1 by identity"
    assert branches["n"].to_dict() == {"auto": 0, "clarify": 7068, "human": 2932, "not auto": 10_000}
    assert branches.loc["not auto", "model_error"] == pytest.approx(0.1383)
    assert branches.loc["human", "model_error"] == pytest.approx(1165 / 2932)
    assert branches.loc["human", "lift"] == pytest.approx((1165 / 2932) / (1383 / 10_000))
    assert branches.loc["clarify", "final_error"] == pytest.approx(218 / 7068)
    assert np.isnan(branches.loc["auto", "model_error"])
    assert found.accuracy.value == pytest.approx(0.9782)


def test_policy_that_does_nothing_is_degenerate_and_one_that_chooses_is_not():
    idle, branches = evaluated(published(), Policy(0.0, 0.0))
    assert idle.is_degenerate and np.isnan(branches.loc["not auto", "model_error"])
    # Forced pairs are counted in the human branch.
    gated = replace(published(), forced=np.where(np.arange(10_000) >= 9_900, Forced.EMPTY_SET, Forced.NONE))
    choosing, branches = evaluated(gated, Policy(0.5, 0.5))
    assert not choosing.is_degenerate
    assert branches["n_forced"].tolist() == [0, 0, 100, 100]
    assert branches["n"].tolist() == [7068 - 100, 0, 2932 + 100, 2932 + 100]


def test_a_share_that_a_rule_fixes_is_no_estimate():
    _, branches = evaluated(published(), Policy(ABOVE_ALL, 0.6))
    is_bare = branches["share_low"].isna()
    assert branches.index[is_bare].tolist() == ["auto", "not auto"] and branches.loc["not auto", "share"] == 1
    _, branches = evaluated(published(), Policy(ABOVE_ALL, ABOVE_ALL))
    assert branches["share_low"].isna().all() and branches.loc["human", "share"] == 1
    _, branches = evaluated(replace(published(), forced=np.full(10_000, Forced.FOREIGN_BATCH)), Policy(0.5, 0.2))
    assert branches["share_low"].isna().all() and branches.loc["human", "share"] == 1


def test_one_cost_has_one_interval():
    """The policy evaluated, compared with others, and with a belief about people that is true."""
    case = as_case(1, CHEAP)
    alone = evaluate_policy(case, case.tune(), draws_of(case)).cost
    truly = cost_of_belief(case, case, believed=(case.outcomes,) * 2, is_assumed=False, draws=draws_of(case))
    row = compared(case, case).loc["policy"]
    assert (alone.value, alone.low, alone.high) == (row["cost"], row["cost_low"], row["cost_high"])
    assert alone == truly.promised == truly.delivered
    assert np.isnan(truly.regret.low) and truly.regret.value == 0, "the same policy costs the same, by identity"


def test_what_parameters_say_of_simulated_people_has_no_interval():
    score, truth = np.linspace(0, 1, 301), np.zeros(301, dtype=int)
    person, wrong = np.tile([0.95, 0.05], (301, 1)), (np.arange(301) % 3 == 0).astype(int)
    outcomes = price_outcomes(Costs(1.0, 0.25, 10.0), truth, model=wrong, human=person, clarified=wrong, n_classes=2)
    assert outcomes.dearest == 11.0
    case = Case(score, outcomes, np.arange(301), is_simulated=True)
    rows = compared(case, case)
    human = rows.loc["always human"]
    assert human["cost"] == pytest.approx(1.5) and np.isnan(human["cost_low"]) and np.isnan(human["accuracy_low"])
    assert rows.loc["always auto", "cost_low"] < rows.loc["always auto", "cost"]
    # Of recorded people who are all alike others are not known to be alike.
    recorded = replace(case, is_simulated=False)
    row = compared(recorded, recorded).loc["always human"]
    assert 0 < row["cost_low"] < row["cost"] < row["cost_high"] < 11


def test_decisions_that_coincide_are_not_shown_to_cost_the_same_elsewhere():
    """No pair of 337 groups is decided otherwise: that bounds the difference, and does not make it zero."""
    case = as_case(1, CHEAP)
    row = compared(case, case, {"alike": (case,) * 2}).loc["alike"]
    assert row["difference"] == 0
    assert row["difference_low"] == pytest.approx(-1.2 * 3.84 / (337 + 3.84), rel=1e-2)
    assert row["difference_high"] == -row["difference_low"]


def test_comparison_holds_baselines_and_an_oracle_below_all():
    calib, test = as_case(1, CHEAP), as_case(2, CHEAP)
    noise = np.random.default_rng(5).uniform(size=(2, 1009))
    table = compared(calib, test, {"noise": (replace(calib, score=noise[0]), replace(test, score=noise[1]))})
    rest = ["noise", ONE_THRESHOLD, "always auto", "always human", "random", "oracle"]
    assert list(table.index) == ["policy", WITHOUT_QUESTIONS, *rest]
    assert table["cost"].idxmin() == "oracle"
    assert table.loc[ONE_THRESHOLD, "clarify"] == 0 < table.loc[ONE_THRESHOLD, "auto"]
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


def test_without_questions_a_person_takes_over_whatever_would_be_asked():
    """Where a question is cheap and as good as a person, everything that it answers costs the difference more."""
    calib, test = (as_case(seed, Costs(human=0.3, clarify=0.1, error=1.0)) for seed in (1, 2))
    both = [replace(case, outcomes=_as_good_a_question(case)) for case in (calib, test)]
    table = compared(*both)
    asked = table.loc["policy", "clarify"]
    assert asked > 0.1 and table.loc["policy", "human"] == 0
    row = table.loc[WITHOUT_QUESTIONS]
    assert row["clarify"] == 0 and row["human"] > 0 and row["difference_low"] > 0
    assert table.loc["policy", "cost"] < row["cost"] <= table.loc["policy", "cost"] + 0.2 * asked + 0.01


def _as_good_a_question(case):
    """Outcomes where a question is answered like a pair that is handed over, at 0.1 instead of 0.3."""
    error = case.outcomes.error[:, [AUTO, HUMAN, HUMAN]]
    return replace(case.outcomes, error=error, cost=error + np.array([0.0, 0.1, 0.3]))


def test_the_price_of_the_gate_is_shown():
    forced = np.where(np.arange(1009) % 2 == 0, Forced.CRITICAL_SIGNAL, Forced.NONE)
    case = replace(as_case(1, CHEAP), forced=forced)
    free = {"without gate": (as_case(1, CHEAP),) * 2}
    assert compared(case, case, free, tau_critical=0.1).loc["without gate", "difference_high"] < 0


def test_belief_in_perfect_people_costs_what_it_costs():
    costs = Costs(human=0.25, clarify=0.0, error=1.0)
    kwargs = {"human_accuracy": 0.3, "n": 4001}
    calib, test = as_case(1, costs, **kwargs), as_case(2, costs, **kwargs)
    perfect = tuple(as_case(seed, costs, perfect=True, **kwargs).outcomes for seed in (1, 2))
    found = cost_of_belief(calib, test, believed=perfect, draws=draws_of(test))
    informed = evaluate_policy(test, calib.tune(), draws_of(test)).cost.value
    assert found.promised.value < informed < found.delivered.value
    assert found.regret.value == pytest.approx(found.delivered.value - informed)
    assert found.regret.low > 0
    # A perfect person for 0.25 is worth it below 0.75; one who is right 3 times of 10 only below 1 - (0.25 + 0.7).
    assert found.believed.t_clarify == pytest.approx(0.75, abs=0.06)
    assert calib.tune().t_clarify == pytest.approx(0.05, abs=0.1)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        published().take(np.zeros(10_000, dtype=bool))
