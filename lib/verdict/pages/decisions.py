"""What the policy decides and costs: thresholds tuned on the calibration split, priced on test against baselines; which
thresholds keep its promise, what that costs, and how many groups it needs; and which decisions are explained by
attributions, for which the framework is imported only where there is a model to explain.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from verdict.base.labels import Split, in_words
from verdict.base.numbers import EXACT, POINTS, SETTING, Number, named
from verdict.base.params import GuaranteeParams
from verdict.decide import deferral, outcomes
from verdict.decide.deferral import Calibrated, Evidence, case_of, costs_of, gather
from verdict.decide.guarantee import BETTING, Known, Promise, groups_needed, keep_promise, resemblance, steps_of
from verdict.decide.people import ConfusionHuman, PairHuman
from verdict.decide.policy import ABOVE_ALL, Costs, Decision, Forced, Policy, cost_surface, realised
from verdict.decide.signals import (
    COMPOSITE,
    ENTROPY,
    MAX_PROBABILITY,
    MAXIMUM,
    POOLED,
    SCORE_WORDS,
    SCORES,
    score_of,
    without_each,
)
from verdict.decide.takeover import People, facts_asked
from verdict.model.predict import logits_of
from verdict.model.selection import Selection
from verdict.pages.calibration import FOR_TEMPERATURE
from verdict.pages.tables import SHARE, merged
from verdict.stats.ranking import Ranked, risk_coverage
from verdict.stats.scores import softmax, top_class
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, Weights, bounded, with_bounds
from verdict.stats.weighted import ratio, weighted_mean
from verdict.workflow.stage import Stage
from verdict.workflow.stages import QUESTIONS, VIEWS

N_CURVE_POINTS = 100


@dataclass(frozen=True)
class PolicyStudy:
    """A tuned policy with the pairs that tune and that judge it; `draws` over the groups of test serve both pages."""

    calib: outcomes.Case
    test: outcomes.Case
    policy: Policy
    costs: Costs
    draws: Resampler

    @cached_property
    def evaluation(self) -> outcomes.Evaluation:
        """What the policy does on test."""
        return outcomes.evaluate_policy(self.test, self.policy, self.draws)

    def tables(self) -> dict[str, pd.DataFrame]:
        """What later pages read: thresholds in one row, those that keep the promise, and the branches on test."""
        allowed = pd.DataFrame({"threshold": [] if self.calib.allowed is None else self.calib.allowed}, dtype=float)
        policy = pd.DataFrame([asdict(self.policy)]).drop(columns="tau_critical")
        return {"policy": policy, "allowed": allowed, "branches": self.evaluation.branches}


def run_study(stage: Stage, calib: Evidence, test: Evidence, people: People, draws: Resampler) -> PolicyStudy:
    """Tune on the first pairs, evaluate on the second, and store the numbers `policy.*` and `policy.test.*`."""
    costs = costs_of(stage.params.policy, stage.classes)
    cases = tuple(case_of(found, people, costs) for found in (calib, test))
    strange = stage.params.policy.foreign
    limits = {} if strange is None else {"tau_pair": strange.pair, "tau_batch": strange.batch}
    policy = replace(cases[0].tune(stage.params.policy.critical_floor), **limits, score_name=calib.by)
    study = PolicyStudy(*cases, policy, costs, draws)
    _store_settings(stage, study, people, calib, test)
    _store_test(stage, study)
    return study


def load_study(stage: Stage, kept: Selection, calib: Evidence, test: Evidence) -> tuple[PolicyStudy, People]:
    """The study of the policy page, as it stored it: nothing is tuned again."""
    policy, costs, people = load_policy(stage, kept)
    cases = [case_of(found, people, costs) for found in (calib, test)]
    if stage.params.policy.guarantee is not None:
        allowed = pd.read_parquet(stage.upstream("08_policy", "allowed.parquet"))["threshold"].to_numpy()
        cases[0] = replace(cases[0], allowed=allowed)
    return PolicyStudy(*cases, policy, costs, stage.resampler(test.groups)), people


def compare(
    stage: Stage, study: PolicyStudy, calib: Evidence, test: Evidence, halves: tuple[Evidence, ...] = ()
) -> pd.DataFrame:
    """`compare_policies` on test; numbers `policy.test.cost_<policy>` and `.gain_over_<policy>`, what that saves, and
    `.n_parts_saving` of `.n_parts` (`.parts_saving`: which): score (where it is more than the largest probability),
    gate, questions and promise that, taken away alone, are shown to save.

    Other scores, those that are made like a policy's own with the gate and others without, are held to the same promise
    where there is one: it is tested anew, on the `halves` (see `halves_of`), by that score.
    """
    rivals = {}
    without = (outcomes.WITHOUT_SCORE,) if calib.own != MAXIMUM else ()
    for name in (*without, outcomes.WITHOUT_GATE, *calib.rivals):
        is_gated = name in (outcomes.WITHOUT_SCORE, COMPOSITE, POOLED)
        score = MAXIMUM if name == outcomes.WITHOUT_SCORE else name
        tuned, judged = (
            replace(case, score=found.scores.get(score, found.score), forced=case.forced if is_gated else None)
            for case, found in ((study.calib, calib), (study.test, test))
        )
        if study.calib.allowed is not None:
            known = ((known_of(half), half.scores.get(score, half.score)) for half in halves)
            parts = (replace(half, score=own, is_free=half.is_free if is_gated else None) for half, own in known)
            tuned = replace(tuned, allowed=keep_promise(*parts, promise_of(stage)).thresholds)
        rivals[name] = (tuned, judged)
    simplest = tuple(
        replace(case, score=found.signals[MAX_PROBABILITY], forced=None, allowed=None)
        for case, found in ((study.calib, calib), (study.test, test))
    )
    among = {"rivals": rivals, "simplest": simplest, "tau_critical": stage.params.policy.critical_floor}
    found = outcomes.compare_policies(study.calib, study.test, **among, draws=study.draws)
    rows, shared = found.set_index("policy"), {"n": len(test), "split": Split.TEST}
    cells = {f"cost_{name}": (policy, "cost") for name, policy in _PRICED.items()}
    cells |= {f"gain_over_{name}": (rival, "difference") for name, rival in _RIVALS.items()}
    for name, (row, column) in cells.items():
        if row in rows.index:
            interval = Interval.from_columns(rows.loc[row], column)
            stage.numbers[f"policy.test.{name}"] = stored_number(interval, study.draws, unit="min", **shared)
    saved = {part: rows.loc[_RIVALS[part], "difference_low"] > 0 for part in _PARTS if _RIVALS[part] in rows.index}
    stage.counts("policy.test", {"n_parts": len(saved), "n_parts_saving": sum(saved.values())})
    saving = ", ".join(part.removeprefix("no_") for part, is_shown in saved.items() if is_shown)
    stage.numbers["policy.test.parts_saving"] = named(saving)
    return found


def shares_of(comparison: pd.DataFrame) -> pd.DataFrame:
    """Shares of auto, clarify and human on test, one row a policy; a random deal has the policy's own shares."""
    table = comparison[comparison["policy"] != "random"].set_index("policy")
    return table[[branch.text for branch in Decision]]


def count_sources(stage: Stage, calibrated: Calibrated, tuning: Evidence, test: Evidence) -> None:
    """Numbers `policy.n_models` (of several seeds), `.n_views` (of each input), `.n_questioned` (pairs of test that
    questions were put about), `.n_tuning`, `.test.n_pairs`, and `.n_left_out` (rows of test that tune the policy).
    """
    views, questions = (stage.answers(kind, Split.TEST) for kind in (VIEWS, QUESTIONS))
    counts = {
        "n_models": len(calibrated.temperatures),
        "n_views": 0 if views is None else views["view"].nunique(),
        "n_questioned": 0 if questions is None else questions["pair_id"].nunique(),
        "n_tuning": len(tuning),
        "n_left_out": len(tuning) if tuning.split == deferral.TUNING else 0,
        "test.n_pairs": len(test),
    }
    stage.counts("policy", counts)


def _store_settings(stage: Stage, study: PolicyStudy, people: People, calib: Evidence, test: Evidence) -> None:
    for name in ("t_auto", "t_clarify"):
        value = getattr(study.policy, name)
        stage.number(f"policy.{name}", value, n=len(calib), split=calib.split, kind=SETTING)
    for name in ("human", "clarify", "error"):
        price = getattr(stage.params.policy.costs, name)
        stage.number(f"policy.price_{name}", price, unit="min", kind=SETTING)
    wanted = stage.params.policy.human.clarify_accuracy
    stage.number("policy.glance_wanted", wanted, unit="%", kind=SETTING)
    ids, rows = test.table["pair_id"], np.arange(len(test))
    shared = {"n": len(test), "split": test.split}
    stage.number("policy.n_people_recorded", people.n_recorded(ids), unit="count", **shared)
    counts = {"n_splits_not_asked": people.n_silent, "n_own_prices": len(stage.params.policy.costs.error_of)}
    stage.counts("policy", counts)
    stage.number("policy.is_simulated", people.is_simulated, kind=SETTING)
    stage.number("policy.errs_by_class", isinstance(people.careful, ConfusionHuman), kind=SETTING)
    stage.number("policy.errs_where_hard", isinstance(people.careful, PairHuman), kind=SETTING)
    for name, share in facts_asked(stage.params.policy, stage.classes) or ():
        stage.number(f"policy.fact_{name}", share, unit="%", kind=SETTING)
    for name, person in (("human", people.careful), ("glance", people.hasty)):
        right = person.distribution(ids, test.y_true)[rows, test.y_true]
        found = study.draws.mean(right, span=None if people.is_simulated else SHARE).number(unit="%", **shared)
        is_given = people.is_simulated and found.low is None
        stage.numbers[f"policy.{name}_accuracy"] = replace(found, kind=SETTING) if is_given else found


def _store_test(stage: Stage, study: PolicyStudy) -> None:
    shared: dict = {"n": len(study.test.score), "split": Split.TEST}
    branches = study.evaluation.branches.set_index("branch")
    shares = {name: getattr(study.evaluation, name) for name in ("accuracy", "accuracy_model")}
    lift = {"lift": Interval.from_columns(branches.loc[outcomes.NOT_AUTO], "lift")}
    for unit, found in (("min", {"cost": study.evaluation.cost}), ("%", shares), ("", lift)):
        for name, interval in found.items():
            stage.numbers[f"policy.test.{name}"] = stored_number(interval, study.draws, unit=unit, **shared)
    stage.numbers["policy.test.auto_error"] = auto_error(stage, study.test, study.policy)
    for branch in Decision:
        share = Interval.from_columns(branches.loc[branch.text], "share")
        stage.numbers[f"policy.test.{branch.text}_share"] = stored_number(share, study.draws, unit="%", **shared)
    smaller = min(branches.loc[Decision.AUTO.text, "n"], branches.loc[outcomes.NOT_AUTO, "n"])
    stage.number("policy.test.n_smaller_side", smaller, unit="count", **shared)
    shares = [stage.numbers[f"policy.test.{branch.text}_share"] for branch in Decision]
    stage.numbers["policy.test.smallest_share"] = min(shares, key=lambda share: share.value)


_SCORES = {"max_probability": MAXIMUM, "entropy": ENTROPY, "one_model": deferral.ONE_MODEL}
_SCORES |= {"composite": COMPOSITE, "pooled": POOLED}
_RIVALS = {"auto": "always auto", "human": "always human"} | _SCORES
_RIVALS |= {"no_promise": outcomes.WITHOUT_PROMISE, "no_questions": outcomes.WITHOUT_QUESTIONS}
_RIVALS |= {"no_gate": outcomes.WITHOUT_GATE, "no_score": outcomes.WITHOUT_SCORE}
_RIVALS |= {"one_threshold": outcomes.ONE_THRESHOLD}
_PARTS = ["no_score", "no_gate", "no_questions", "no_promise"]
_PRICED = dict(_SCORES)
_PRICED |= {policy.replace(" ", "_"): policy for policy in (outcomes.WITHOUT_GATE, "always auto", "always human")}
_PRICED |= {"without_promise": outcomes.WITHOUT_PROMISE, "random": "random", "oracle": "oracle"}


def stored_number(found: Interval, draws: Resampler, **fields: object) -> Number:
    """A number to store; exact where no resample could give another value: by identity, or by the parameters."""
    number = found.number(**fields)
    is_exact = number.low is None and np.isfinite(number.value) and draws.n_groups > 1
    return replace(number, kind=EXACT) if is_exact else number


def auto_error(stage: Stage, case: outcomes.Case, policy: Policy, split: str = Split.TEST) -> Number:
    """Error rate of what goes out alone; not defined if nothing does."""
    alone = case.decide(policy) == Decision.AUTO
    found = stage.resampler(case.group_id[alone]).mean(case.outcomes.error[alone, Decision.AUTO], span=SHARE)
    return found.number(n=int(alone.sum()), split=split, unit="%")


def load_policy(stage: Stage, kept: Selection, *splits: str) -> tuple[Policy, Costs, People]:
    """The tuned policy, the prices and the people, who may be asked about some splits."""
    policy = _stored_policy(stage)
    people = deferral.people_of(stage, deferral.tuning_table(stage, kept), *splits)
    return policy, costs_of(stage.params.policy, stage.classes), people


def load_calibrated(stage: Stage) -> Calibrated:
    """What calibration fixed, with the score that the policy goes by."""
    return replace(Calibrated.load(stage), score=_stored_policy(stage).score_name)


def _stored_policy(stage: Stage) -> Policy:
    row = pd.read_parquet(stage.upstream("08_policy", "policy.parquet")).iloc[0]
    stored = {name: None if pd.isna(value) else value for name, value in row.items()}
    return Policy(**stored, tau_critical=stage.params.policy.critical_floor)


def gate_counts(stage: Stage, splits: Mapping[str, Evidence]) -> pd.DataFrame:
    """What the gate forces on each split: split, gate (the reason), n; share and model_error with intervals."""
    rows = []
    for split, evidence in splits.items():
        draws = stage.resampler(evidence.groups)
        for reason in Forced:
            chosen = evidence.forced == reason
            wrong = draws.of(chosen).mean(evidence.is_wrong[chosen], span=SHARE)
            row = {"split": split, "gate": in_words(reason.text or "passes the gate"), "n": int(chosen.sum())}
            rows.append(row | bounded({"share": draws.mean(chosen, span=SHARE), "model_error": wrong}))
    return pd.DataFrame(rows)


def answer_of_mean(stage: Stage, calibrated: Calibrated, kept: Selection, test: Evidence, draws: Resampler) -> None:
    """Number `policy.test.gain_of_mean`: how much more often than the kept model's the answer would be right that all
    models prefer on average, which nothing here gives; not defined for one model.
    """
    seeds = calibrated.temperatures
    tables = {seed: stage.predictions(Split.TEST, trial=kept.trial, seed=seed).set_index("pair_id") for seed in seeds}
    logits = [logits_of(table.loc[test.table["pair_id"]]) / seeds[seed] for seed, table in tables.items()]
    answer = top_class(np.mean([softmax(one) for one in logits], axis=0))
    gain = NOTHING if len(seeds) == 1 else draws.mean((answer == test.y_true) * 1.0 - ~test.is_wrong, span=(-1, 1))
    stage.numbers["policy.test.gain_of_mean"] = gain.number(n=len(test), split=Split.TEST, unit=POINTS)


def risk_curves(evidence: Evidence, draws: Resampler) -> dict[str, pd.DataFrame]:
    """Risk-coverage of the score that decides (with a band over groups), of its rivals, and of a random order; rivals
    that are alike share a curve.
    """
    scores = evidence.scores | {"random order": np.zeros(len(evidence))}
    wrong = evidence.is_wrong
    curves: dict[str, pd.DataFrame] = {}
    for name, score in scores.items():
        curve = risk_coverage(score, wrong, n_points=N_CURVE_POINTS)
        alike = [other for other in curves if other != evidence.own and np.allclose(curves[other], curve)]
        curves[", ".join([*alike, name])] = curve
        curves = {other: drawn for other, drawn in curves.items() if other not in alike}
    own, ranked = curves[evidence.own], Ranked(evidence.score, wrong)
    drawn = np.concatenate([ranked.risk_at(own["coverage"].to_numpy(), part) for _, part in draws.parts()])
    band = [draws.around(value, column) for value, column in zip(own["risk"], drawn.T, strict=True)]
    curves[evidence.own] = own.assign(low=[found.low for found in band], high=[found.high for found in band])
    return curves


def curve_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Curves one below the other, with a column `score`."""
    return pd.concat([curve.assign(score=name) for name, curve in curves.items()], ignore_index=True)


def ranking_table(stage: Stage, evidence: Evidence, draws: Resampler) -> pd.DataFrame:
    """How well scores rank the model's errors: the one that decides, its rivals, and the composite without a signal.

    Returns score, aurc and difference (to the first, paired; above zero: it ranks worse) with intervals; scores that
    rank alike share a row. Numbers `policy.test.aurc` and, of rivals, `.aurc_<score>` and `.aurc_gain_over_<score>`,
    and of the `n_signals` of the composite how many are shown to help it (`n_helping`) and to harm it (`n_harming`).
    """
    removed = without_each(evidence.signals, evidence.consistency)
    removed = {f"composite without {in_words(name)}": score for name, score in removed.items()}
    found = {name: _ranked(score, evidence, draws) for name, score in (evidence.scores | removed).items()}
    beside = {name: _beside(one, found[evidence.own], draws) for name, one in found.items()}
    shared = {"n": len(evidence), "split": evidence.split}
    stage.numbers["policy.test.aurc"] = beside[evidence.own]["aurc"].number(**shared)
    for short, name in _SCORES.items():
        if name in evidence.rivals:
            stage.numbers[f"policy.test.aurc_{short}"] = beside[name]["aurc"].number(**shared)
            gap = stored_number(beside[name]["difference"], draws, **shared)
            stage.numbers[f"policy.test.aurc_gain_over_{short}"] = gap
    gaps = [_beside(found[name], found[COMPOSITE], draws)["difference"] for name in removed]
    counts = {"n_helping": sum(gap.low > 0 for gap in gaps), "n_harming": sum(gap.high < 0 for gap in gaps)}
    stage.counts("policy.test", {"n_signals": len(removed), **counts})
    return merged(pd.DataFrame([{"score": name} | bounded(one) for name, one in beside.items()]), "score")


_Areas = tuple[float, np.ndarray]


def _ranked(score: np.ndarray, evidence: Evidence, draws: Resampler) -> _Areas:
    """Area under the risk-coverage curve, and its replicates."""
    statistic = Ranked(score, evidence.is_wrong).aurc
    return float(statistic(None)), draws.replicates(statistic)


def _beside(found: _Areas, other: _Areas, draws: Resampler) -> dict[str, Interval]:
    """An area, and its paired difference to another."""
    gap = draws.around(found[0] - other[0], found[1] - other[1])
    return {"aurc": draws.around(*found), "difference": outcomes.unless_given(gap)}


def choose_score(stage: Stage, calibrated: Calibrated, kept: Selection) -> tuple[Calibrated, pd.DataFrame]:
    """Which of `signals.SCORES` decides: the one that ranks errors best on the first part of calib, which no promise is
    tested on; of equal ones the first.

    Returns `calibrated` with it, and score, aurc and difference (to the composite) with intervals. Numbers
    `policy.n_scores`, `.n_scores_alike` (the best), `.score` (its name), `.is_composite`, `.is_max_probability` and
    `.score_gain`, by how much its area is smaller there than the composite's.
    """
    calib = gather(stage, Split.CALIB, calibrated, kept)
    first, _ = halves_of(stage, calib, calibrated, kept)
    draws = stage.resampler(first.groups)
    known = [name for name in SCORES if name == COMPOSITE or name in first.signals]
    found = {name: _ranked(score_of(name, first.signals, first.consistency), first, draws) for name in known}
    beside = {name: _beside(one, found[COMPOSITE], draws) for name, one in found.items()}
    # Where rounding alone parts them, the first.
    smallest = min(one[0] for one in found.values())
    best = [name for name in known if np.isclose(found[name][0], smallest, rtol=0, atol=1e-12)]
    chosen = best[0]
    gain = _beside(found[COMPOSITE], found[chosen], draws)["difference"]
    stage.numbers["policy.score_gain"] = stored_number(gain, draws, n=len(first), split=Split.CALIB)
    table = pd.DataFrame([{"score": SCORE_WORDS[name]} | bounded(one) for name, one in beside.items()])
    stage.counts("policy", {"n_scores": len(known), "n_scores_alike": len(best)})
    for name in (COMPOSITE, MAX_PROBABILITY):
        stage.number(f"policy.is_{name}", chosen == name, kind=EXACT)
    stage.numbers["policy.score"] = named(SCORE_WORDS[chosen])
    return replace(calibrated, score=chosen), table


def surface_of(case: outcomes.Case, policy: Policy, *, n_points: int = 41) -> tuple[pd.DataFrame, tuple[int, int]]:
    """The mean cost of a case on an even grid over the scores that occur: a row for each pair of thresholds that makes
    sense (t_clarify, t_auto, cost), and the cell (row, column) of the grid nearest to the tuned thresholds.
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
        {"signal": in_words(name), **with_bounds("mean", mean), "smallest": values.min(), "largest": values.max()}
        for (name, values), mean in zip(shown.items(), means, strict=True)
    ]
    return pd.DataFrame(rows)


def correlations(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation of every two signals, square, with names in words; NaN where one is constant."""
    return pd.DataFrame(evidence.shown_signals).corr(method="spearman").rename(index=in_words, columns=in_words)


LEVELS = (0.01, 0.02, 0.05, 0.1)
# Plans are made for this share of what could go out alone if the truth about every threshold were known.
OF_ATTAINABLE = 0.9
KEPT, ESTIMATED = "keeps its promise", "by its estimate alone"
LIKENESS = (0.0, 0.5)
AFTER = "after these data"
_PLANNED = {"coverage": "share_alone", "alike": "correlation_in_group"}


def halves_of(stage: Stage, tuning: Evidence, calibrated: Calibrated, kept: Selection) -> tuple[Evidence, Evidence]:
    """Calib in two: what fixed score and temperature orders the thresholds, the other part tests the promise."""
    calib = tuning if tuning.split == Split.CALIB else gather(stage, Split.CALIB, calibrated, kept)
    halves = pd.read_parquet(stage.upstream("07_calibration", "halves.parquet")).set_index("pair_id")["half"]
    is_first = (halves.loc[calib.table["pair_id"]] == FOR_TEMPERATURE).to_numpy()
    return calib.take(is_first), calib.take(~is_first)


def parts_of(stage: Stage, tuning: Evidence, calibrated: Calibrated, kept: Selection) -> tuple[Known, Known]:
    """What of `halves_of` a promise is tested on."""
    first, second = map(known_of, halves_of(stage, tuning, calibrated, kept))
    return first, second


def known_of(evidence: Evidence) -> Known:
    """What a promise is tested on."""
    columns = (evidence.score, evidence.is_wrong, evidence.groups, evidence.forced == Forced.NONE)
    return Known(*columns, evidence.answer)


def promise_of(stage: Stage) -> Promise:
    """The promise of the parameters, which make one."""
    settings: GuaranteeParams = stage.params.policy.guarantee
    by_class = {stage.classes.index(name): limit for name, limit in settings.error_by_class.items()}
    return Promise(settings.error, settings.confidence, by_class)


def bind(stage: Stage, tuning: Evidence, parts: tuple[Known, Known]) -> Evidence:
    """The pairs that tune the policy, held to the thresholds that keep the promise of the parameters.

    Numbers, where a promise is made, `policy.promise.error`, `.confidence`, `.n_limits` (of single answers), `.n_kept`
    (thresholds that keep it), `.n_tested`, `.n_rows`, `.n_groups` (that tested it) and `.is_by_group`.
    """
    settings: GuaranteeParams | None = stage.params.policy.guarantee
    if settings is None:
        return tuning
    found = keep_promise(*parts, promise_of(stage))
    for name in ("error", "confidence"):
        stage.number(f"policy.promise.{name}", getattr(settings, name), unit="%", kind=SETTING)
    counts = {"n_limits": len(settings.error_by_class), "n_kept": len(found.thresholds), "n_tested": len(found.tested)}
    counts |= {"n_rows": found.n_rows, "n_groups": found.n_groups}
    stage.counts("policy.promise", counts, split=Split.CALIB)
    stage.number("policy.promise.is_by_group", found.method == BETTING, kind=EXACT)
    return replace(tuning, promised=found)


def judge_on_test(stage: Stage, study: PolicyStudy) -> pd.DataFrame:
    """The promise beside the automatic error on test, and what it costs: quantity, value.

    Numbers `policy.test.promise_excess`: how far the lower bound of that error is above the promise (not defined where
    nothing goes out alone, or nothing is promised); of a promise `.n_changed_by_promise`: cases that are decided
    otherwise without it, and `.given_up`: the share that it takes away of what the same policy saves without it against
    a person for every case (not defined where all resamples give one value).
    """
    settings, error = stage.params.policy.guarantee, stage.numbers["policy.test.auto_error"]
    is_defined = settings is not None and error.low is not None
    excess = error.low - settings.error if is_defined else np.nan
    number = Number(excess, n=error.n, split=Split.TEST, unit=POINTS, kind=EXACT)
    stage.numbers["policy.test.promise_excess"] = number
    told = {"error rate of what goes out alone": error, "its lower bound minus the promise": number}
    if settings is not None:
        shared = {"n": len(study.test.score), "split": Split.TEST}
        free = replace(study.calib, allowed=None).tune(study.policy.tau_critical)
        n_changed = (study.test.decide(free) != study.test.decide(study.policy)).sum()
        given_up = stored_number(_given_up(study, free), study.draws, unit="%", **shared)
        told["cases that are decided otherwise without it"] = stage.number(
            "policy.test.n_changed_by_promise", n_changed, unit="count", **shared
        )
        told["share of the saving without it that it takes away"] = stage.numbers["policy.test.given_up"] = given_up
    return pd.DataFrame({"quantity": list(told), "value": list(told.values())})


def _given_up(study: PolicyStudy, free: Policy) -> Interval:
    """Share of a saving that the promise takes away; NaN where there is none to take, or too few cases tell."""
    if (free.t_auto, free.t_clarify) == (study.policy.t_auto, study.policy.t_clarify):
        return Interval(0.0)
    cost = study.test.outcomes.cost
    freely, kept = (realised(cost, study.test.decide(policy)) for policy in (free, study.policy))
    saved = cost[:, Decision.HUMAN] - freely

    def share(weights: Weights = None) -> np.ndarray:
        saving = weighted_mean(saved, weights)
        return ratio(weighted_mean(kept - freely, weights), np.where(saving > 0, saving, 0.0), empty=np.nan)

    found = study.draws.interval(share)
    return found if found.low < found.high else NOTHING


def level_table(stage: Stage, parts: tuple[Known, Known], test: Evidence, draws: Resampler) -> pd.DataFrame:
    """What could be promised, by error rate: error, rule; coverage and auto_error on test, with intervals, of the least
    strict threshold that `keep_promise` lets pass, or that only seems to keep it by its estimate.
    """
    confidence = _confidence(stage)
    new, rows = known_of(test), []
    for error in LEVELS:
        found = keep_promise(*parts, Promise(error, confidence))
        seeming = [threshold for threshold, rate, _ in _estimates(parts[1]) if rate <= error]
        for rule, passed in ((KEPT, found.thresholds), (ESTIMATED, seeming)):
            alone = new.let_out >= min(passed, default=ABOVE_ALL)
            wrong = draws.of(alone).mean(new.is_wrong[alone], span=SHARE) if alone.any() else NOTHING
            span = SHARE if len(passed) else None
            found = {"coverage": draws.mean(alone, span=span), "auto_error": wrong}
            rows.append({"error": error, "rule": rule} | bounded(found))
    return pd.DataFrame(rows)


def plan_table(stage: Stage, parts: tuple[Known, Known]) -> pd.DataFrame:
    """How many groups the promise needs, or one of each level where none is made, before any data and after these.

    Returns error (promised), plan; error_rate, share_alone, correlation_in_group (of errors), assumed or estimated;
    groups (that test it, for four chances in five), more (than there are). Before: `plan_before`. After:
    `OF_ATTAINABLE` of what could go out if the estimates were the truth, see `_plan_after`. Numbers
    `policy.promise.n_needed` and `.n_more` of the promise that is made.
    """
    settings, second = stage.params.policy.guarantee, parts[1]
    confidence = _confidence(stage)
    own, rows = settings.error if settings else None, []
    for error in [own] if own else LEVELS:
        likeness = LIKENESS if second.n_groups < len(second) else LIKENESS[:1]
        plans = [("before any data", plan_before(error, alike)) for alike in likeness]
        plans.append((AFTER, _plan_after(second, error)))
        for name, plan in plans:
            sized = {"group_size": len(second) / second.n_groups, **plan}
            needed = groups_needed(Promise(error, confidence), **sized) if plan["coverage"] > 0 else np.inf
            row = {"error": error, "plan": name} | {_PLANNED.get(key, key): value for key, value in plan.items()}
            rows.append(row | {"groups": needed, "more": max(needed - second.n_groups, 0)})
            if (error, name) == (own, AFTER):
                for key, value in (("n_needed", needed), ("n_more", rows[-1]["more"])):
                    known = value if np.isfinite(value) else np.nan
                    stage.number(f"policy.promise.{key}", known, split=Split.CALIB, kind=EXACT)
    return pd.DataFrame(rows)


def plan_before(error: float, alike: float = 0.0) -> dict[str, float]:
    """What a test is planned for before any data: half of the pairs go out alone, half as often wrong as is promised;
    `alike` is the correlation of errors in a group.
    """
    return {"error_rate": error / 2, "coverage": 0.5, "alike": alike}


def _confidence(stage: Stage) -> float:
    settings = stage.params.policy.guarantee
    return stage.params.statistics.level if settings is None else settings.confidence


def _estimates(known: Known) -> list[tuple[float, float, float]]:
    """Threshold, error rate above it and share above it, strictest first."""
    steps = steps_of(known.let_out)
    n_auto, n_wrong = (found.sum(axis=0) for found in known.sums(steps, None))
    return list(zip(steps, n_wrong / n_auto, n_auto / len(known), strict=True))


def _plan_after(known: Known, error: float) -> dict[str, float]:
    """As `plan_before`, estimated at a part of the largest share that has an error below a limit, or at that share
    where scores tie so that no threshold lets out a smaller part.
    """
    suits = [one for one in _estimates(known) if one[1] < error]
    if not suits:
        return {"error_rate": error, "coverage": 0.0, "alike": 0.0}
    parts = [one for one in suits if one[2] <= OF_ATTAINABLE * suits[-1][2]]
    threshold, rate, share = (parts or suits)[-1]
    alone = known.let_out >= threshold
    alike = resemblance(known.is_wrong[alone], np.asarray(known.groups)[alone])
    return {"error_rate": rate, "coverage": share, "alike": alike}
