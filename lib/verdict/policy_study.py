"""What the policy page measures: thresholds tuned on the calibration split, priced on test against baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from verdict.deferral import (
    ENTROPY,
    MAXIMUM,
    ONE_MODEL,
    TUNING,
    Calibrated,
    Evidence,
    case_of,
    clarified,
    costs_of,
    outcomes_of,
    people_of,
    tuning_table,
)
from verdict.evaluation import Selection
from verdict.labels import Split
from verdict.numbers import EXACT, SETTING, Number
from verdict.people import People
from verdict.policy import Costs, Decision, Forced, Policy, cost_surface
from verdict.policy_evaluation import (
    NOT_AUTO,
    BeliefCost,
    Case,
    Evaluation,
    compare_policies,
    cost_of_belief,
    evaluate_policy,
    unless_given,
)
from verdict.ranking import Ranked, risk_coverage
from verdict.signals import (
    ENSEMBLE_STABILITY,
    QUESTION_CONSISTENCY,
    VIEW_STABILITY,
    attainable_maximum,
    correlation_table,
    without_each,
)
from verdict.stage import Stage
from verdict.stages import QUESTIONS, VIEWS
from verdict.uncertainty import Interval, Resampler, with_bounds

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
    draws : Resampler
        Over the groups of test: everything on the page that is estimated there is drawn alike.
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
    draws: Resampler
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

    @property
    def cost_table(self) -> pd.DataFrame:
        """The comparison for display: cost, difference and accuracy with intervals; the shares have a figure."""
        return self.comparison.drop(columns=[branch.text for branch in Decision])


def run_study(stage: Stage, calib: Evidence, test: Evidence, people: People, draws: Resampler) -> PolicyStudy:
    """Tune on the first pairs, evaluate on the second, and store the numbers `policy.*` and `policy.test.*`."""
    tau, costs = stage.params.policy.critical_floor, costs_of(stage.params.policy, stage.classes)
    answered = [(found, clarified(found, people)) for found in (calib, test)]
    cases = tuple(case_of(found, people, costs, after=after) for found, after in answered)
    policy = cases[0].tune(tau)
    rivals = {name: (score, test.rivals[name]) for name, score in calib.rivals.items()}
    perfect = tuple(outcomes_of(found, people, costs, human=found.y_true, after=after) for found, after in answered)
    study = PolicyStudy(
        *cases,
        policy,
        costs,
        draws,
        evaluate_policy(cases[1], policy, draws),
        compare_policies(*cases, rivals=rivals, tau_critical=tau, draws=draws),
        cost_of_belief(*cases, believed=perfect, tau_critical=tau, draws=draws),
    )
    _store_settings(stage, study, people, calib, test)
    _store_test(stage, study)
    return study


def count_sources(stage: Stage, calibrated: Calibrated, tuning: Evidence, test: Evidence) -> None:
    """Count what the signals and the tuning could draw on.

    Numbers `policy.n_models` (of several seeds), `.n_views` (of each input), `.n_questioned` (pairs of test that
    questions were put about), `.n_tuning`, `.test.n_pairs`, and `.n_left_out` (rows of test that tune the policy).
    """
    views, questions = (stage.answers(kind, Split.TEST) for kind in (VIEWS, QUESTIONS))
    counts = {
        "n_models": len(calibrated.temperatures),
        "n_views": 0 if views is None else views["view"].nunique(),
        "n_questioned": 0 if questions is None else questions["pair_id"].nunique(),
        "n_tuning": len(tuning),
        "n_left_out": len(tuning) if tuning.split == TUNING else 0,
        "test.n_pairs": len(test),
    }
    for name, count in counts.items():
        stage.number(f"policy.{name}", count, unit="count")


def _store_settings(stage: Stage, study: PolicyStudy, people: People, calib: Evidence, test: Evidence) -> None:
    for name in ("t_auto", "t_clarify"):
        value = getattr(study.policy, name)
        stage.number(f"policy.{name}", value, n=len(calib), split=calib.split, kind=SETTING)
    for name in ("human", "clarify", "error"):
        price = getattr(stage.params.policy.costs, name)
        stage.number(f"policy.price_{name}", price, unit="min", kind=SETTING)
    ids, rows = test.table["pair_id"], np.arange(len(test))
    shared = {"n": len(test), "split": test.split}
    stage.number("policy.n_people_recorded", people.n_recorded(ids), unit="count", **shared)
    for name, person in (("human", people.careful), ("glance", people.hasty)):
        right = person.distribution(ids, test.y_true)[rows, test.y_true]
        found = study.draws.mean(right, span=None if people.is_simulated else (0, 1)).number(unit="%", **shared)
        is_given = people.is_simulated and found.low is None
        number = Number(found.value, unit="%", kind=SETTING, **shared) if is_given else found
        stage.numbers[f"policy.{name}_accuracy"] = number


def _store_test(stage: Stage, study: PolicyStudy) -> None:
    shared: dict[str, Any] = {"n": len(study.test.score), "split": Split.TEST}
    branches, rows = study.evaluation.branches.set_index("branch"), study.comparison.set_index("policy")
    draws = study.draws
    found: dict[str, Number] = {"auto_error": auto_error(stage, study.test, study.policy)}
    for branch in Decision:
        share = Interval.from_columns(branches.loc[branch.text], "share")
        found[f"{branch.text}_share"] = share.number(unit="%", **shared)
    found["lift"] = _stored(Interval.from_columns(branches.loc[NOT_AUTO], "lift"), draws, **shared)
    for name, policy in _PRICED.items():
        if policy in rows.index:
            found[f"cost{name}"] = _stored(Interval.from_columns(rows.loc[policy], "cost"), draws, unit="min", **shared)
    for name, rival in _RIVALS.items():
        if rival in rows.index:
            gain = Interval.from_columns(rows.loc[rival], "difference")
            found[f"gain_over_{name}"] = _stored(gain, draws, unit="min", **shared)
    for name in ("promised", "delivered", "informed"):
        found[f"cost_{name}"] = _stored(getattr(study.belief, name), draws, unit="min", **shared)
    found["regret"] = _stored(study.belief.regret, draws, unit="min", **shared)
    for name in ("accuracy", "accuracy_model"):
        found[name] = _stored(getattr(study.evaluation, name), draws, unit="%", **shared)
    smaller = min(branches.loc[Decision.AUTO.text, "n"], branches.loc[NOT_AUTO, "n"])
    found["n_smaller_side"] = Number(float(smaller), unit="count", **shared)
    stage.numbers.merge({f"policy.test.{name}": number for name, number in found.items()})


_PRICED = {
    "": "policy",
    "_without_gate": "without gate",
    "_max_probability": MAXIMUM,
    "_entropy": ENTROPY,
    "_one_model": ONE_MODEL,
    "_always_auto": "always auto",
    "_always_human": "always human",
    "_random": "random",
    "_oracle": "oracle",
}
_RIVALS = {
    "auto": "always auto",
    "human": "always human",
    "max_probability": MAXIMUM,
    "entropy": ENTROPY,
    "one_model": ONE_MODEL,
}


def _stored(found: Interval, draws: Resampler, **fields: Any) -> Number:
    """A number to store; exact where no resample could give another value: by identity, or by the parameters."""
    number = found.number(**fields)
    is_exact = number.low is None and np.isfinite(number.value) and draws.n_groups > 1
    return replace(number, kind=EXACT) if is_exact else number


def auto_error(stage: Stage, case: Case, policy: Policy, split: str = Split.TEST) -> Number:
    """Error rate of what goes out alone; not defined if nothing does."""
    alone = case.decide(policy) == Decision.AUTO
    wrong = case.outcomes.error[alone, Decision.AUTO]
    found = stage.resampler(case.group_id[alone]).mean(wrong, span=(0, 1))
    return found.number(n=int(alone.sum()), split=split, unit="%")


def load_policy(stage: Stage, kept: Selection, *splits: str) -> tuple[Policy, Costs, People]:
    """The tuned policy, the prices and the people, who may be asked about some splits."""
    row = pd.read_parquet(stage.upstream("08_policy", "policy.parquet")).iloc[0]
    tau = None if np.isnan(row["tau_critical"]) else float(row["tau_critical"])
    policy = Policy(float(row["t_auto"]), float(row["t_clarify"]), tau)
    people = people_of(stage, tuning_table(stage, kept), *splits)
    return policy, costs_of(stage.params.policy, stage.classes), people


def gate_counts(stage: Stage, splits: Mapping[str, Evidence]) -> pd.DataFrame:
    """What the gate forces on each split: split, gate (the reason), n; share and model_error with intervals."""
    rows = []
    for split, evidence in splits.items():
        draws = stage.resampler(evidence.groups)
        for reason in Forced:
            chosen = evidence.forced == reason
            wrong = stage.resampler(evidence.groups[chosen]).mean(evidence.is_wrong[chosen], span=(0, 1))
            name = (reason.text or "passes the gate").replace("_", " ")
            row: dict[str, object] = {"split": split, "gate": name, "n": int(chosen.sum())}
            row |= with_bounds("share", draws.mean(chosen, span=(0, 1)))
            rows.append(row | with_bounds("model_error", wrong))
    return pd.DataFrame(rows)


def risk_curves(evidence: Evidence, draws: Resampler) -> dict[str, pd.DataFrame]:
    """Risk-coverage of the composite (with a band over groups), of its rivals, and of a random order."""
    scores = {"composite": evidence.score} | evidence.rivals | {"random order": np.zeros(len(evidence))}
    wrong = evidence.is_wrong
    curves = {name: risk_coverage(score, wrong, n_points=N_CURVE_POINTS) for name, score in scores.items()}
    own, ranked = curves["composite"], Ranked(evidence.score, wrong)
    drawn = np.concatenate([ranked.risk_at(own["coverage"].to_numpy(), part) for _, part in draws.parts()])
    band = [draws.around(value, column) for value, column in zip(own["risk"], drawn.T, strict=True)]
    curves["composite"] = own.assign(low=[found.low for found in band], high=[found.high for found in band])
    return curves


def curve_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Curves one below the other, with a column `score`."""
    return pd.concat([curve.assign(score=name) for name, curve in curves.items()], ignore_index=True)


def ranking_table(stage: Stage, evidence: Evidence, draws: Resampler) -> pd.DataFrame:
    """How well scores rank the model's errors: the composite, what does with less, and the composite without a signal.

    Returns
    -------
    DataFrame
        score, aurc and difference (to the composite, paired; above zero: it ranks worse) with intervals, but for scores
        that rank all rows like the composite. Also the numbers
        `policy.test.aurc_<score>` and `.aurc_gain_over_<score>` of the composite and its rivals.
    """
    removed = without_each(evidence.signals, evidence.consistency)
    scores = {"composite": evidence.score, **evidence.rivals}
    scores |= {f"composite without {_words(name)}": score for name, score in removed.items()}
    rows, own = [], None
    for name, score in scores.items():
        statistic = Ranked(score, evidence.is_wrong).aurc
        found = float(statistic(None)), draws.replicates(statistic)
        own = own or found
        gap = unless_given(draws.around(found[0] - own[0], found[1] - own[1]))
        row: dict[str, object] = {"score": name} | with_bounds("aurc", draws.around(*found))
        rows.append(row | with_bounds("difference", gap))
    table = pd.DataFrame(rows)
    _store_ranking(stage, table.set_index("score"), evidence, draws)
    return table


def _store_ranking(stage: Stage, rows: pd.DataFrame, evidence: Evidence, draws: Resampler) -> None:
    shared = {"n": len(evidence), "split": evidence.split}
    for name, score in {"composite": "composite", **_RIVALS}.items():
        if score in rows.index:
            found = Interval.from_columns(rows.loc[score], "aurc")
            stage.numbers[f"policy.test.aurc_{name}"] = found.number(**shared)
        if score in evidence.rivals:
            gain = Interval.from_columns(rows.loc[score], "difference")
            stage.numbers[f"policy.test.aurc_gain_over_{name}"] = _stored(gain, draws, **shared)


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


def signal_table(evidence: Evidence, draws: Resampler) -> pd.DataFrame:
    """Which signals there are: signal, mean (with its interval), smallest and largest value."""
    shown = evidence.shown_signals
    means = draws.means(np.column_stack(list(shown.values())), [(0, 1)] * len(shown))
    rows = [
        {"signal": _words(name), **with_bounds("mean", mean), "smallest": values.min(), "largest": values.max()}
        for (name, values), mean in zip(shown.items(), means, strict=True)
    ]
    return pd.DataFrame(rows)


def absent_signals(evidence: Evidence) -> str:
    """A sentence that names the signals which this source cannot give."""
    missing = [text for name, text in _OPTIONAL.items() if name not in evidence.shown_signals]
    if len(missing) == len(_OPTIONAL):
        return "These are the signals that one answer of one model gives."
    return f"This data has {_listed(missing)}." if missing else "All signals are there."


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


_OPTIONAL = {
    ENSEMBLE_STABILITY: "no models of several seeds",
    VIEW_STABILITY: "no changed views of its inputs",
    QUESTION_CONSISTENCY: "no questions whose right answer follows from a label",
}


def correlations(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation of every two signals, square, with names in words; NaN where one is constant."""
    table = correlation_table(evidence.shown_signals)
    return table.rename(index=_words, columns=_words)


def _words(name: str) -> str:
    return name.replace("_", " ")


def thresholds_template(study: PolicyStudy, people: People) -> str:
    """What the thresholds mean, as a template for `say`."""
    policy = study.policy
    passed = "A case that passes the gate goes out alone from a score of {policy.t_auto} on"
    alone = "No case goes out alone" if policy.t_auto > 1 else passed
    asked = "none is asked about" if policy.t_clarify >= policy.t_auto else "is asked about from {policy.t_clarify} on"
    if policy.t_auto > 1 and policy.t_clarify < policy.t_auto:
        asked = "cases are asked about from {policy.t_clarify} on"
    rest = f"the others go to {people.kind}"
    if min(policy.t_auto, policy.t_clarify) == 0:
        rest = f"no score is too low: what the gate stops, and nothing else, goes to {people.kind}"
    right = "The person who takes over is right on {policy.human_accuracy} of the test cases, the glance on "
    return f"{alone}; {asked}; {rest}. {right}{{policy.glance_accuracy}}."


def answer_template(stage: Stage, study: PolicyStudy, people: People) -> str:
    """The answer of the page as a template for `say`; a degenerate policy is said so in bold."""
    alone = "On {policy.test.n_pairs} test cases the policy lets {policy.test.auto_share} go out alone"
    if study.shares.loc["policy", Decision.AUTO.text] > 0:
        alone += ", {policy.test.auto_error} of them wrong"
    told = {
        "always acting alone": "auto",
        f"always asking {'a simulated' if people.is_simulated else 'a'} person": "human",
        "thresholds on maximum probability alone": "max_probability",
        "thresholds on entropy alone": "entropy",
        "the same composite of one answer of one model": "one_model",
    }
    gains = {rival: f"policy.test.gain_over_{name}" for rival, name in told.items()}
    whose = (
        "people are simulated, right on {policy.human_accuracy} by the parameters"
        if people.is_simulated
        else "people are those whose answers were recorded, one of whom is right on {policy.human_accuracy}"
    )
    return (
        f"{alone}; it asks about {{policy.test.clarify_share}} and hands over {{policy.test.human_share}}. It costs "
        f"{{policy.test.cost}} a case. {versus(stage, gains)} An oracle that knew the truth would cost "
        "{policy.test.cost_oracle}. The prices are assumed: {policy.price_human} for a person, {policy.price_clarify} "
        f"for quick questions, {{policy.price_error}} for an error{_own_prices(stage)}; {whose}. "
        f"{warning_of(study.evaluation)}"
    )


def _own_prices(stage: Stage) -> str:
    return " (some classes have a price of their own)" if stage.params.policy.costs.error_of else ""


def versus(stage: Stage, gains: Mapping[str, str]) -> str:
    """Sentences on what a policy saves against others, by the intervals of the savings, as a template for `say`.

    Parameters
    ----------
    gains : mapping of what it is compared with to the name of a number
        What the policy saves; above zero it is cheaper. A number that is not stored is left out.
    """
    known = {rival: (name, stage.numbers[name]) for rival, name in gains.items() if name in stage.numbers}
    saved, lost, others = [], [], []
    for rival, (name, number) in known.items():
        text = f"{{{name}}}"
        if not number.excludes(0.0):
            others.append(f"{rival} ({text})")
        elif number.value > 0:
            saved.append(f"{text} against {rival}")
        else:
            lost.append(f"{rival} (saved: {text})")
    parts = [f"It saves {_listed(saved)}."] if saved else []
    parts += [f"**It is dearer than {_listed(lost)}.**"] if lost else []
    parts += [f"No difference is shown against {_listed(others)}."] if others else []
    return " ".join(parts)


def warning_of(evaluation: Evaluation) -> str:
    """A sentence in bold where the policy is degenerate, and one that says it is not otherwise."""
    if evaluation.is_degenerate:
        return f"**DEGENERATE POLICY: {evaluation.degenerate}.**"
    return "The policy is not degenerate: some cases go out alone and some do not."
