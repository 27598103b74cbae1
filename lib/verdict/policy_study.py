"""What the policy page measures: thresholds tuned on the calibration split, priced on test against baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from verdict.calibration_study import mean_interval
from verdict.deferral import Evidence, case_of, costs_of, outcomes_of, people_of, tuning_table
from verdict.evaluation import Selection
from verdict.labels import Split
from verdict.numbers import Number
from verdict.people import People
from verdict.policy import Costs, Decision, Forced, Policy, cost_surface
from verdict.policy_evaluation import (
    BeliefCost,
    Case,
    Evaluation,
    compare_policies,
    cost_of_perfect_belief,
    evaluate_policy,
)
from verdict.ranking import aurc, risk_coverage
from verdict.signals import (
    ENSEMBLE_STABILITY,
    MAX_PROBABILITY,
    QUESTION_CONSISTENCY,
    VIEW_STABILITY,
    ablation_table,
    attainable_maximum,
    correlation_table,
)
from verdict.stage import Stage
from verdict.uncertainty import Interval, bootstrap

POLICY_STREAM = 21
N_CURVE_POINTS = 100


@dataclass(frozen=True)
class PolicyStudy:
    """A tuned policy with what it does on test.

    Attributes
    ----------
    calib, test : Case
        Of the pairs that tune the policy, and of those that judge it.
    policy : Policy
    costs : Costs
    evaluation : Evaluation
        On test.
    comparison : DataFrame
        Costs on test of the policy, baselines and the oracle, see `compare_policies`.
    belief : BeliefCost
    """

    calib: Case
    test: Case
    policy: Policy
    costs: Costs
    evaluation: Evaluation
    comparison: pd.DataFrame
    belief: BeliefCost

    @property
    def shares(self) -> pd.DataFrame:
        """Shares of auto, clarify and human on test, one row a policy; a random deal has the policy's own shares."""
        table = self.comparison[self.comparison["policy"] != "random"].set_index("policy")
        return table[[branch.text for branch in Decision]]

    @property
    def table(self) -> pd.DataFrame:
        """The thresholds as a table of one row."""
        policy = self.policy
        tau = np.nan if policy.tau_critical is None else policy.tau_critical
        return pd.DataFrame({"t_auto": [policy.t_auto], "t_clarify": [policy.t_clarify], "tau_critical": [tau]})


def run_study(stage: Stage, calib: Evidence, test: Evidence, people: People) -> PolicyStudy:
    """Tune on the first pairs, evaluate on the second, and store the numbers `policy.*` and `policy.test.*`."""
    settings, tau = stage.params.statistics, stage.params.policy.critical_floor
    costs = costs_of(stage.params.policy, stage.classes)
    cases = case_of(calib, people, costs), case_of(test, people, costs)
    policy = cases[0].tune(tau)
    shared = {"n_resamples": settings.n_resamples}
    study = PolicyStudy(
        *cases,
        policy,
        costs,
        evaluate_policy(cases[1], policy, rng=stage.rng(POLICY_STREAM, 2), **shared),
        compare_policies(
            *cases,
            rivals={name: (calib.rivals[name], test.rivals[name]) for name in calib.rivals},
            tau_critical=tau,
            rng=stage.rng(POLICY_STREAM, 2),
            **shared,
        ),
        cost_of_perfect_belief(
            *cases,
            perfect=tuple(outcomes_of(found, people, costs, human=found.y_true) for found in (calib, test)),
            tau_critical=tau,
            rng=stage.rng(POLICY_STREAM, 2),
            **shared,
        ),
    )
    _store_thresholds(stage, study, people, calib, test)
    _store_test(stage, study, test)
    return study


def _store_thresholds(stage: Stage, study: PolicyStudy, people: People, calib: Evidence, test: Evidence) -> None:
    for name in ("t_auto", "t_clarify"):
        stage.number(f"policy.{name}", getattr(study.policy, name), n=len(calib), split=calib.split)
    stage.number("policy.n_tuning", len(calib), unit="count", split=calib.split)
    ids, rows = test.table["pair_id"], np.arange(len(test))
    for name, person in (("human", people.careful), ("glance", people.hasty)):
        right = person.distribution(ids, test.y_true)[rows, test.y_true].mean()
        stage.number(f"policy.{name}_accuracy", right, n=len(test), split=Split.TEST, unit="%")


def _store_test(stage: Stage, study: PolicyStudy, test: Evidence) -> None:
    shared: dict[str, Any] = {"n": len(test), "split": Split.TEST}
    branches, rows = study.evaluation.branches.set_index("branch"), study.comparison.set_index("policy")
    for branch in Decision:
        stage.number(f"policy.test.{branch.text}_share", branches.loc[branch.text, "share"], unit="%", **shared)
    found: dict[str, Number] = {"auto_error": _auto_error(stage, study, test)}
    for name, policy in _PRICED.items():
        if policy in rows.index:
            row = rows.loc[policy]
            found[f"cost{name}"] = Interval(row["cost"], row["low"], row["high"]).number(unit="min", **shared)
    for name, rival in {
        "auto": "always auto",
        "human": "always human",
        "max_probability": "maximum probability",
    }.items():
        row = rows.loc[rival]
        gain = Interval.from_columns(row, "difference")
        found[f"gain_over_{name}"] = gain.number(unit="min", **shared)
    belief = study.belief
    for name, interval in {
        "promised": belief.promised,
        "delivered": belief.delivered,
        "informed": belief.informed,
    }.items():
        found[f"cost_{name}"] = interval.number(unit="min", **shared)
    found["regret"] = belief.regret.number(unit="min", **shared)
    for name in ("accuracy", "accuracy_model"):
        found[name] = getattr(study.evaluation, name).number(unit="%", **shared)
    for name in ("precision", "recall"):
        found[name] = Number(getattr(study.evaluation, name), unit="%", **shared)
    found["is_degenerate"] = Number(float(study.evaluation.is_degenerate), unit="count", **shared)
    stage.numbers.merge({f"policy.test.{name}": number for name, number in found.items()})


_PRICED = {
    "": "policy",
    "_without_gate": "without gate",
    "_always_auto": "always auto",
    "_always_human": "always human",
    "_random": "random",
    "_oracle": "oracle",
}


def _auto_error(stage: Stage, study: PolicyStudy, test: Evidence) -> Number:
    """Error rate of what goes out alone; NaN if nothing does."""
    alone = study.test.decide(study.policy) == Decision.AUTO
    found = mean_interval(stage, test.is_wrong[alone].astype(float), test.groups[alone], "scores")
    return found.number(n=int(alone.sum()), split=Split.TEST, unit="%")


def load_policy(stage: Stage, kept: Selection, *splits: str) -> tuple[Policy, Costs, People]:
    """The tuned policy, the prices and the people, who may be asked about some splits."""
    row = pd.read_parquet(stage.upstream("08_policy", "policy.parquet")).iloc[0]
    tau = None if np.isnan(row["tau_critical"]) else float(row["tau_critical"])
    policy = Policy(float(row["t_auto"]), float(row["t_clarify"]), tau)
    people = people_of(stage, tuning_table(stage, kept), *splits)
    return policy, costs_of(stage.params.policy, stage.classes), people


def gate_counts(splits: Mapping[str, Evidence]) -> pd.DataFrame:
    """What the gate forces on each split: split, reason, n, share, model_error, n_empty_sets."""
    rows = []
    for split, evidence in splits.items():
        for reason in Forced:
            chosen = evidence.forced == reason
            error = float(evidence.is_wrong[chosen].mean()) if chosen.any() else float("nan")
            name = (reason.text or "passes the gate").replace("_", " ")
            rows.append(
                {"split": split, "gate": name, "n": int(chosen.sum()), "share": chosen.mean(), "model_error": error}
            )
    return pd.DataFrame(rows)


def risk_curves(stage: Stage, evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Risk-coverage of the composite (with a band), of its rivals, and of a random order."""
    settings = stage.params.statistics
    band = {"groups": evidence.groups, "n_resamples": settings.n_resamples, "level": settings.level}
    wrong = evidence.is_wrong
    curves = {
        "composite": risk_coverage(
            evidence.score, wrong, n_points=N_CURVE_POINTS, rng=stage.rng(POLICY_STREAM, 0), **band
        )
    }
    for name, score in (evidence.rivals | {"random order": np.zeros(len(evidence))}).items():
        curves[name] = risk_coverage(score, wrong, n_points=N_CURVE_POINTS)
    return curves


def curve_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Curves one below the other, with a column `score`."""
    return pd.concat([curve.assign(score=name) for name, curve in curves.items()], ignore_index=True)


def aurc_gain(stage: Stage, evidence: Evidence) -> dict[str, Interval]:
    """AURC of the composite and of maximum probability, and the first minus the second, paired."""
    wrong, settings = evidence.is_wrong, stage.params.statistics
    statistics = {
        "composite": partial(aurc, evidence.score, wrong),
        "max_probability": partial(aurc, evidence.signals[MAX_PROBABILITY], wrong),
    }
    statistics["difference"] = lambda weights: statistics["composite"](weights) - statistics["max_probability"](weights)
    shared = {"n_resamples": settings.n_resamples, "level": settings.level}
    return {
        name: bootstrap(statistic, evidence.groups, rng=stage.rng(POLICY_STREAM, 1), **shared)
        for name, statistic in statistics.items()
    }


@dataclass(frozen=True)
class Surface:
    """Mean cost over pairs of thresholds, for drawing.

    Attributes
    ----------
    grid : (g,) float
        Thresholds.
    cost : (g, g) float
        Row: t_clarify, column: t_auto.
    best : (row, column)
        The cell nearest to the tuned thresholds.
    """

    grid: np.ndarray
    cost: np.ndarray
    best: tuple[int, int]

    def as_table(self) -> pd.DataFrame:
        """One row for each pair of thresholds that makes sense: t_clarify, t_auto, cost."""
        rows, columns = np.nonzero(np.isfinite(self.cost))
        cost = self.cost[rows, columns]
        return pd.DataFrame({"t_clarify": self.grid[rows], "t_auto": self.grid[columns], "cost": cost})

    def draw_arguments(self) -> dict[str, Any]:
        """What `plot_surface` needs besides axes and labels."""
        ticks = [float(value) for value in self.grid]
        return {"grid": self.cost, "x": ticks, "y": ticks, "best": self.best}


def surface_of(case: Case, policy: Policy, *, n_points: int = 41) -> Surface:
    """The cost surface of a case around a tuned policy; thresholds lie on an even grid over the scores that occur."""
    top = min(1.0, float(case.score.max()) * 1.02)
    grid = np.linspace(0.0, top, n_points)
    cost = cost_surface(case.score, case.outcomes, grid, forced=case.forced)
    nearest = [int(np.abs(grid - value).argmin()) for value in (policy.t_clarify, policy.t_auto)]
    return Surface(grid, cost, (nearest[0], max(nearest)))


def attainable(evidence: Evidence) -> float:
    """Score of a pair that had the best value of every signal at once."""
    return attainable_maximum(evidence.signals, evidence.consistency)


def score_table(evidence: Evidence) -> pd.DataFrame:
    """Composite score of each pair, and whether the model is wrong about it."""
    return pd.DataFrame({"score": evidence.score, "is_wrong": evidence.is_wrong})


def signal_table(evidence: Evidence) -> pd.DataFrame:
    """Which signals there are: signal, mean, smallest, largest, and the AURC of each one alone."""
    rows = [
        {
            "signal": _words(name),
            "mean": float(values.mean()),
            "smallest": float(values.min()),
            "largest": float(values.max()),
            "aurc_alone": float(aurc(values, evidence.is_wrong)),
        }
        for name, values in evidence.shown_signals.items()
    ]
    return pd.DataFrame(rows)


def absent_signals(evidence: Evidence) -> str:
    """A sentence that names the signals which this source cannot give."""
    missing = [text for name, text in _OPTIONAL.items() if name not in evidence.shown_signals]
    return f"This data has no {' and no '.join(missing)}." if missing else "All signals are there."


_OPTIONAL = {
    ENSEMBLE_STABILITY: "models of several seeds",
    VIEW_STABILITY: "changed views of its inputs",
    QUESTION_CONSISTENCY: "questions whose right answer follows from a label",
}


def correlations(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation of every two signals, square, with names in words; NaN where one is constant."""
    table = correlation_table(evidence.shown_signals)
    return table.rename(index=_words, columns=_words)


def ablation(evidence: Evidence) -> pd.DataFrame:
    """AURC of the composite without each signal, see `ablation_table`."""
    table = ablation_table(evidence.signals, evidence.is_wrong, evidence.consistency)
    return table.assign(removed=[_words(name) for name in table["removed"]])


def _words(name: str) -> str:
    return name.replace("_", " ")


def cost_table(study: PolicyStudy) -> pd.DataFrame:
    """The comparison of policies for display: cost and difference with intervals, accuracy, shares."""
    return study.comparison.rename(columns={"low": "cost_low", "high": "cost_high"})


def thresholds_template(study: PolicyStudy, people: People) -> str:
    """What the thresholds mean, as a template for `say`."""
    policy = study.policy
    alone = (
        "No pair goes out alone" if policy.t_auto > 1 else "A pair goes out alone from a score of {policy.t_auto} on"
    )
    asked = "none is asked about" if policy.t_clarify >= policy.t_auto else "is asked about from {policy.t_clarify} on"
    if policy.t_auto > 1 and policy.t_clarify < policy.t_auto:
        asked = "pairs are asked about from {policy.t_clarify} on"
    rest = "no score is too low for that" if policy.t_clarify == 0 else f"the others go to {people.kind}"
    right = "The person who takes over is right on {policy.human_accuracy} of the test pairs, the glance on "
    return f"{alone}; {asked}; {rest}. {right}{{policy.glance_accuracy}}."


def answer_template(study: PolicyStudy) -> str:
    """The answer of the page as a template for `say`; a degenerate policy is said so in bold."""
    alone = "On test the policy lets {policy.test.auto_share} of the pairs go out alone"
    if study.shares.loc["policy", Decision.AUTO.text] > 0:
        alone += ", {policy.test.auto_error} of them wrong"
    return (
        f"{alone}; it asks about {{policy.test.clarify_share}} and hands over {{policy.test.human_share}}. It costs "
        "{policy.test.cost} a pair and saves {policy.test.gain_over_auto} against always acting alone, "
        "{policy.test.gain_over_human} against always asking a person, and {policy.test.gain_over_max_probability} "
        "against thresholds on maximum probability alone (below zero: it loses). An oracle that knew the truth would "
        f"cost {{policy.test.cost_oracle}}. {warning_of(study.evaluation)}"
    )


def warning_of(evaluation: Evaluation) -> str:
    """A sentence in bold where the policy is degenerate, and one that says it is not otherwise."""
    if evaluation.is_degenerate:
        return f"**DEGENERATE POLICY: {evaluation.degenerate}.**"
    return "The policy is not degenerate: some pairs go out alone and some do not."
