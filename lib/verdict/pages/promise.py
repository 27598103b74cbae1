"""What the policy page measures of its promise: which thresholds keep it, what it costs, how many groups it needs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import EXACT, POINTS, SETTING, Number
from verdict.base.params import GuaranteeParams
from verdict.decide.deferral import Calibrated, Evidence, gather
from verdict.decide.guarantee import BETTING, Known, Promise, groups_needed, keep_promise, resemblance, steps_of
from verdict.decide.policy import ABOVE_ALL, Decision, Forced, realised
from verdict.model.selection import Selection
from verdict.pages.calibration import FOR_TEMPERATURE
from verdict.pages.decisions import PolicyStudy
from verdict.pages.tables import SHARE
from verdict.stats.uncertainty import NOTHING, Resampler, Statistic, Weights, bounded
from verdict.stats.weighted import ratio, weighted_mean
from verdict.workflow.stage import Stage

LEVELS = (0.01, 0.02, 0.05, 0.1)
# Plans are made for this share of what could go out alone if the truth about every threshold were known.
OF_ATTAINABLE = 0.9
KEPT, ESTIMATED = "keeps its promise", "by its estimate alone"
LIKENESS = (0.0, 0.5)


def parts_of(stage: Stage, tuning: Evidence, calibrated: Calibrated, kept: Selection) -> tuple[Known, Known]:
    """Calib in two: what fixed score and temperature orders the thresholds, the other part tests the promise."""
    calib = tuning if tuning.split == Split.CALIB else gather(stage, Split.CALIB, calibrated, kept)
    halves = pd.read_parquet(stage.upstream("07_calibration", "halves.parquet")).set_index("pair_id")["half"]
    is_first = (halves.loc[calib.table["pair_id"]] == FOR_TEMPERATURE).to_numpy()
    known = known_of(calib)
    return known.take(is_first), known.take(~is_first)


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
    nothing goes out alone, or nothing is promised); `.given_up`: the share of what the same policy without the promise
    saves against a person for every case that the promise takes away.
    """
    settings, error = stage.params.policy.guarantee, stage.numbers["policy.test.auto_error"]
    is_defined = settings is not None and error.low is not None
    excess = error.low - settings.error if is_defined else math.nan
    number = Number(excess, n=error.n, split=Split.TEST, unit=POINTS, kind=EXACT)
    stage.numbers["policy.test.promise_excess"] = number
    told = {"error rate of what goes out alone": error, "its lower bound minus the promise": number}
    if settings is not None:
        given_up = study.draws.interval(_given_up(study)).number(n=len(study.test.score), split=Split.TEST, unit="%")
        stage.numbers["policy.test.given_up"] = given_up
        told["share of the saving without a promise that it takes away"] = given_up
    return pd.DataFrame({"quantity": list(told), "value": list(told.values())})


def _given_up(study: PolicyStudy) -> Statistic:
    """Share of a saving that the promise takes away; NaN where there is none to take."""
    free = replace(study.calib, allowed=None).tune(study.policy.tau_critical)
    cost = study.test.outcomes.cost
    freely, kept = (realised(cost, study.test.decide(policy)) for policy in (free, study.policy))
    saved = cost[:, Decision.HUMAN] - freely

    def share(weights: Weights = None) -> np.ndarray:
        saving = weighted_mean(saved, weights)
        return ratio(weighted_mean(kept - freely, weights), np.where(saving > 0, saving, 0.0), empty=np.nan)

    return share


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
            found = {"coverage": draws.mean(alone, span=SHARE), "auto_error": wrong}
            rows.append({"error": error, "rule": rule} | bounded(found))
    return pd.DataFrame(rows)


def plan_table(stage: Stage, parts: tuple[Known, Known]) -> pd.DataFrame:
    """How many groups the promise needs, or one of each level where none is made, before any data and after these.

    Returns error (promised), plan; error_rate, coverage, alike (assumed, or estimated: correlation of errors within a
    group); groups (that test it, for four chances in five), more (than there are). Before: half of the pairs go out
    alone, half as often wrong as is promised. After: `OF_ATTAINABLE` of what could go out if the estimates were the
    truth. Numbers `policy.promise.n_needed` and `.n_more` of the promise that is made.
    """
    settings, second = stage.params.policy.guarantee, parts[1]
    confidence = _confidence(stage)
    own, rows = settings.error if settings else None, []
    for error in [own] if own else LEVELS:
        likeness = LIKENESS if second.n_groups < len(second) else LIKENESS[:1]
        plans = {f"before, errors alike by {alike:g}": (error / 2, 0.5, alike) for alike in likeness}
        plans["after"] = _attainable(second, error)
        for name, (rate, share, alike) in plans.items():
            needed = _groups(Promise(error, confidence), second, rate, share, alike)
            row = {"error": error, "plan": name, "error_rate": rate, "coverage": share, "alike": alike}
            rows.append(row | {"groups": needed, "more": max(needed - second.n_groups, 0)})
            if (error, name) == (own, "after"):
                for key, value in (("n_needed", needed), ("n_more", rows[-1]["more"])):
                    known = value if math.isfinite(value) else math.nan
                    stage.number(f"policy.promise.{key}", known, split=Split.CALIB, kind=EXACT)
    return pd.DataFrame(rows)


def _confidence(stage: Stage) -> float:
    settings = stage.params.policy.guarantee
    return stage.params.statistics.level if settings is None else settings.confidence


def _groups(promise: Promise, known: Known, rate: float, share: float, alike: float) -> float:
    if not share > 0:
        return math.inf
    size = len(known) / known.n_groups
    return groups_needed(promise, error_rate=rate, coverage=share, group_size=size, alike=alike)


def _estimates(known: Known) -> list[tuple[float, float, float]]:
    """Threshold, error rate above it and share above it, strictest first."""
    steps = steps_of(known.let_out)
    n_auto, n_wrong = (found.sum(axis=0) for found in known.sums(steps, None))
    return list(zip(steps, n_wrong / n_auto, n_auto / len(known), strict=True))


def _attainable(known: Known, error: float) -> tuple[float, float, float]:
    """Error rate, share and likeness of errors at a part of the largest share that has an error within a limit."""
    found = _estimates(known)
    most = max((share for _, rate, share in found if rate <= error), default=0.0)
    inside = [one for one in found if one[2] <= OF_ATTAINABLE * most]
    if not inside:
        return error, 0.0, 0.0
    threshold, rate, share = inside[-1]
    alone = known.let_out >= threshold
    return rate, share, resemblance(known.is_wrong[alone], np.asarray(known.groups)[alone])
