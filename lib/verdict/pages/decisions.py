"""What the policy page measures: thresholds tuned on the calibration split, priced on test against baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import EXACT, SETTING, Number
from verdict.decide.outcomes import (
    NOT_AUTO,
    WITHOUT_PROMISE,
    BeliefCost,
    Case,
    Evaluation,
    compare_policies,
    cost_of_belief,
    evaluate_policy,
    unless_given,
)
from verdict.decide.people import ConfusionHuman
from verdict.decide.policy import Costs, Decision, Forced, Policy, cost_surface
from verdict.decide.signals import without_each
from verdict.decide.takeover import People
from verdict.model.selection import Selection
from verdict.pages.deferral import (
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
from verdict.stats.ranking import Ranked, risk_coverage
from verdict.stats.uncertainty import Interval, Resampler, with_bounds
from verdict.workflow.stage import Stage
from verdict.workflow.stages import QUESTIONS, VIEWS

N_CURVE_POINTS = 100


@dataclass(frozen=True)
class PolicyStudy:
    """A tuned policy with what it does on test.

    `calib`, `test`: of the pairs that tune the policy, and of those that judge it; `draws`: over the groups of test:
    everything on the page that is estimated there is drawn alike; `evaluation`: on test; `comparison`: costs on test of
    the policy, baselines and the oracle, see `compare_policies`.
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
        return pd.DataFrame([asdict(self.policy)])

    @property
    def cost_table(self) -> pd.DataFrame:
        """The comparison for display: cost, difference and accuracy with intervals; the shares have a figure."""
        return self.comparison.drop(columns=[branch.text for branch in Decision])


def run_study(stage: Stage, calib: Evidence, test: Evidence, people: People, draws: Resampler) -> PolicyStudy:
    """Tune on the first pairs, evaluate on the second, and store the numbers `policy.*` and `policy.test.*`."""
    tau, costs = stage.params.policy.critical_floor, costs_of(stage.params.policy, stage.classes)
    answered = [(found, clarified(found, people)) for found in (calib, test)]
    cases = tuple(case_of(found, people, costs, after=after) for found, after in answered)
    strange = stage.params.policy.foreign
    limits = {} if strange is None else {"tau_pair": strange.pair, "tau_batch": strange.batch}
    policy = replace(cases[0].tune(tau), **limits)
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
    stage.number("policy.n_splits_not_asked", people.n_silent, unit="count")
    stage.number("policy.n_own_prices", len(stage.params.policy.costs.error_of), unit="count")
    stage.number("policy.is_simulated", people.is_simulated, kind=SETTING)
    stage.number("policy.errs_by_class", isinstance(people.careful, ConfusionHuman), kind=SETTING)
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
    "_without_promise": WITHOUT_PROMISE,
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
    "no_promise": WITHOUT_PROMISE,
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
    policy = Policy(**{name: None if pd.isna(value) else float(value) for name, value in row.items()})
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

    Returns score, aurc and difference (to the composite, paired; above zero: it ranks worse) with intervals, but for
    scores that rank all rows like the composite. Also the numbers `policy.test.aurc_<score>` and
    `.aurc_gain_over_<score>` of the composite and its rivals.
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


def surface_of(case: Case, policy: Policy, *, n_points: int = 41) -> tuple[pd.DataFrame, tuple[int, int]]:
    """The mean cost of a case on an even grid over the scores that occur, for drawing.

    Returns
    -------
    DataFrame
        A row for each pair of thresholds that makes sense: t_clarify, t_auto, cost.
    (row, column)
        The cell of the grid nearest to the tuned thresholds.
    """
    grid = np.linspace(0.0, min(1.0, float(case.score.max()) * 1.02), n_points)
    cost = cost_surface(case.score, case.outcomes, grid, forced=case.forced)
    row, column = (int(np.abs(grid - value).argmin()) for value in (policy.t_clarify, policy.t_auto))
    rows, columns = np.nonzero(np.isfinite(cost))
    table = pd.DataFrame({"t_clarify": grid[rows], "t_auto": grid[columns], "cost": cost[rows, columns]})
    return table, (row, max(row, column))


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


def correlations(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation of every two signals, square, with names in words; NaN where one is constant."""
    table = pd.DataFrame(evidence.shown_signals).corr(method="spearman")
    return table.rename(index=_words, columns=_words)


def _words(name: str) -> str:
    return name.replace("_", " ")
