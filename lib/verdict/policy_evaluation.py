"""What a policy costs on pairs that it was not tuned on, against baselines and an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from verdict.metrics import Interval, percentile_interval
from verdict.policy import Decision, Forced, Outcomes, Policy, decide, realised, tune_policy
from verdict.uncertainty import with_bounds


@dataclass(frozen=True)
class Case:
    """Pairs of one split with everything that a decision and its price depend on.

    Parameters
    ----------
    score : ndarray in [0, 1], (n,)
    outcomes : Outcomes
    group_id : ndarray, (n,)
        Independent unit, resampled by intervals.
    forced : ndarray of int, (n,), optional
        From `force`; None: no gate.
    """

    score: np.ndarray
    outcomes: Outcomes
    group_id: np.ndarray
    forced: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.score) == len(self.outcomes) == len(self.group_id):
            raise ValueError(
                f"score, outcomes and group_id must have one length, got {len(self.score)}, {len(self.outcomes)} and "
                f"{len(self.group_id)}"
            )
        if len(self.score) == 0:
            raise ValueError("a policy cannot be tuned or evaluated on no pairs")

    def tune(self, tau_critical: float | None = None) -> Policy:
        """The cheapest policy on these pairs, see `tune_policy`."""
        return tune_policy(self.score, self.outcomes, forced=self.forced, tau_critical=tau_critical)

    def decide(self, policy: Policy) -> np.ndarray:
        """Decisions, (n,)."""
        return decide(self.score, policy, forced=self.forced)

    def with_people(self, outcomes: Outcomes) -> Case:
        """The same pairs with other people."""
        return replace(self, outcomes=outcomes)


@dataclass(frozen=True)
class Evaluation:
    """What a policy does on a split.

    Parameters
    ----------
    branches : DataFrame
        One row per branch: branch, n, share, n_forced, model_error (error rate of the model there), final_error (of
        the answers that go out), lift (model_error over that of all pairs: 1 for a random choice of pairs; NaN where
        the model makes no error), cost (mean).
    cost : Interval
        Mean realised cost.
    accuracy_model, accuracy : Interval
        Of the model alone, and of the answers that go out.
    accuracy_random, cost_random : float
        Expected values if as many pairs as here were sent to each branch at random.
    precision, recall : float
        Of "not auto" as a detector of the model's errors; NaN where undefined.
    degenerate : str
        Empty, or why precision and recall say nothing about this policy.
    """

    branches: pd.DataFrame
    cost: Interval
    accuracy_model: Interval
    accuracy: Interval
    accuracy_random: float
    cost_random: float
    precision: float
    recall: float
    degenerate: str

    @property
    def is_degenerate(self) -> bool:
        """Whether nobody or everybody was intervened on."""
        return bool(self.degenerate)


def evaluate_policy(case: Case, policy: Policy, *, rng: np.random.Generator, n_resamples: int = 1000) -> Evaluation:
    """Evaluate a policy on pairs that it was not tuned on.

    Parameters
    ----------
    case : Case
    policy : Policy
    rng : numpy.random.Generator
    n_resamples : int
        Of the groups, for 95 % intervals.

    Returns
    -------
    Evaluation
    """
    decision = case.decide(policy)
    cost, error = case.outcomes.cost, case.outcomes.error
    paid, wrong, model_wrong = realised(cost, decision), realised(error, decision), error[:, Decision.AUTO]
    value, accuracy, accuracy_model = _intervals(
        np.column_stack([paid, 1 - wrong, 1 - model_wrong]), case.group_id, rng=rng, n_resamples=n_resamples
    )
    intervened = decision != Decision.AUTO
    return Evaluation(
        branches=branch_table(case, decision),
        cost=value,
        accuracy_model=accuracy_model,
        accuracy=accuracy,
        accuracy_random=1 - _random_mean(error, decision),
        cost_random=_random_mean(cost, decision),
        precision=float(model_wrong[intervened].mean()) if intervened.any() else float("nan"),
        recall=float(model_wrong[intervened].sum() / model_wrong.sum()) if model_wrong.any() else float("nan"),
        degenerate=_degenerate(intervened, model_wrong),
    )


def branch_table(case: Case, decision: np.ndarray) -> pd.DataFrame:
    """One row per branch; the columns are those of `Evaluation.branches`."""
    cost, error = case.outcomes.cost, case.outcomes.error
    base = error[:, Decision.AUTO].mean()
    forced = np.zeros(len(decision), bool) if case.forced is None else np.asarray(case.forced) != Forced.NONE
    rows = []
    for branch in Decision:
        taken = decision == branch
        model_error = _mean(error[taken, Decision.AUTO])
        rows.append(
            {
                "branch": branch.text,
                "n": int(taken.sum()),
                "share": float(taken.mean()),
                "n_forced": int((taken & forced).sum()),
                "model_error": model_error,
                "final_error": _mean(error[taken, branch]),
                "lift": model_error / base if base > 0 else float("nan"),
                "cost": _mean(cost[taken, branch]),
            }
        )
    return pd.DataFrame(rows)


def compare_policies(
    calib: Case,
    test: Case,
    *,
    rivals: Mapping[str, tuple[np.ndarray, np.ndarray]],
    tau_critical: float | None,
    rng: np.random.Generator,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """Costs on test of the policy, of baselines and of the oracle; everything that is tuned is tuned on calib.

    Parameters
    ----------
    calib, test : Case
    rivals : mapping of name to (score on calib, score on test)
        Other scores, each tuned by the same exact scan without the gate: maximum probability, entropy …
    tau_critical : float, optional
        Of the gate behind `forced`.
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    DataFrame
        Columns policy, cost, low, high (95 % interval), difference, difference_low, difference_high (paired, from the
        policy: positive is dearer), accuracy, auto, clarify, human (shares). Rows: policy, without gate, each rival,
        always auto, always human, random at equal coverage (in expectation), oracle (per pair the cheapest branch,
        knowing all answers), sorted as listed.
    """
    policy = calib.tune(tau_critical)
    decisions = {"policy": test.decide(policy)}
    if calib.forced is not None:
        free_calib, free_test = replace(calib, forced=None), replace(test, forced=None)
        decisions["without gate"] = free_test.decide(free_calib.tune())
    for name, (calib_score, test_score) in rivals.items():
        rival = replace(calib, score=calib_score, forced=None).tune()
        decisions[name] = decide(test_score, rival)
    decisions["always auto"] = np.full(len(test.score), Decision.AUTO)
    decisions["always human"] = np.full(len(test.score), Decision.HUMAN)
    decisions["oracle"] = np.nanargmin(test.outcomes.cost, axis=1)
    paid = {name: realised(test.outcomes.cost, decision) for name, decision in decisions.items()}
    right = {name: 1 - realised(test.outcomes.error, decision) for name, decision in decisions.items()}
    random_share = _shares(decisions["policy"])
    paid["random"] = np.nan_to_num(test.outcomes.cost) @ random_share
    right["random"] = 1 - np.nan_to_num(test.outcomes.error) @ random_share
    shares = {name: _shares(decision) for name, decision in decisions.items()} | {"random": random_share}
    names = [*(name for name in decisions if name != "oracle"), "random", "oracle"]
    columns = [paid[name] for name in names] + [paid[name] - paid["policy"] for name in names]
    intervals = _intervals(np.column_stack(columns), test.group_id, rng=rng, n_resamples=n_resamples)
    return pd.DataFrame(
        [
            _comparison_row(name, intervals[row], intervals[len(names) + row], right[name].mean(), shares[name])
            for row, name in enumerate(names)
        ]
    )


def _comparison_row(
    name: str, cost: Interval, difference: Interval, accuracy: float, shares: np.ndarray
) -> dict[str, str | float]:
    return {
        "policy": name,
        "cost": cost.value,
        "low": cost.low,
        "high": cost.high,
        **with_bounds("difference", difference),
        "accuracy": float(accuracy),
        **{branch.text: float(shares[branch]) for branch in Decision},
    }


@dataclass(frozen=True)
class BeliefCost:
    """What it costs to tune thresholds for perfect people when real ones answer.

    Parameters
    ----------
    believed, real : Policy
        Tuned with perfect and with real people.
    promised : Interval
        Cost of `believed` on test if people were perfect.
    delivered : Interval
        Cost of `believed` on test with real people.
    informed : Interval
        Cost of `real` on test with real people.
    regret : Interval
        delivered - informed, paired.
    """

    believed: Policy
    real: Policy
    promised: Interval
    delivered: Interval
    informed: Interval
    regret: Interval


def cost_of_perfect_belief(
    calib: Case,
    test: Case,
    *,
    perfect: tuple[Outcomes, Outcomes],
    tau_critical: float | None = None,
    rng: np.random.Generator,
    n_resamples: int = 1000,
) -> BeliefCost:
    """Tune for perfect people, let real ones answer, and compare with having known.

    Parameters
    ----------
    calib, test : Case
        With the outcomes of real people.
    perfect : (Outcomes, Outcomes)
        Of the same pairs with people who make no error, on calib and on test.
    tau_critical : float, optional
    rng : numpy.random.Generator
    n_resamples : int
    """
    believed, real = calib.with_people(perfect[0]).tune(tau_critical), calib.tune(tau_critical)
    by_belief, by_knowledge = test.decide(believed), test.decide(real)
    promised = realised(perfect[1].cost, by_belief)
    delivered, informed = (realised(test.outcomes.cost, decision) for decision in (by_belief, by_knowledge))
    columns = np.column_stack([promised, delivered, informed, delivered - informed])
    return BeliefCost(believed, real, *_intervals(columns, test.group_id, rng=rng, n_resamples=n_resamples))


def hands_over(case: Case, policy: Policy) -> bool:
    """Whether a policy asks a person about any pair of its own accord, beyond what the gate forces.

    A policy tuned where people err more than the model, or cost more than errors do, does not.
    """
    decision = case.decide(policy)
    free = np.ones(len(decision), bool) if case.forced is None else np.asarray(case.forced) == Forced.NONE
    return bool((decision[free] != Decision.AUTO).any())


def _intervals(
    columns: np.ndarray, group_id: np.ndarray, *, rng: np.random.Generator, n_resamples: int
) -> list[Interval]:
    """Mean of each column (n, c) with its interval; all columns see the same resamples, so differences are paired.

    Means need only the sums of each group, so that a million rows cost no more memory than their groups.
    """
    _, codes = np.unique(np.asarray(group_id), return_inverse=True)
    sums = np.zeros((codes.max() + 1, columns.shape[1] + 1))
    np.add.at(sums, codes, np.column_stack([columns, np.ones(len(columns))]))
    totals = np.empty((n_resamples, sums.shape[1]))
    for resample in range(n_resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        totals[resample] = np.bincount(drawn, minlength=len(sums)) @ sums
    replicates = totals[:, :-1] / totals[:, -1:]
    return [percentile_interval(mean, column) for mean, column in zip(columns.mean(axis=0), replicates.T, strict=True)]


def _shares(decision: np.ndarray) -> np.ndarray:
    """Share of each branch, (3,)."""
    return np.bincount(decision, minlength=len(Decision)) / len(decision)


def _random_mean(values: np.ndarray, decision: np.ndarray) -> float:
    """Expected mean if the branches were dealt at random in the same shares; an absent branch has share 0."""
    return float(np.nan_to_num(values.mean(axis=0)) @ _shares(decision))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _degenerate(intervened: np.ndarray, model_wrong: np.ndarray) -> str:
    if intervened.all():
        return (
            f"everybody was intervened on: precision {model_wrong.mean():.4f} is the base error rate and recall 1 by "
            "identity; neither measures the policy"
        )
    if not intervened.any():
        return "nobody was intervened on: precision is undefined and recall 0 by identity"
    return ""
