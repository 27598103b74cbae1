"""What labels from another distribution buy: how many restore the promise there, and what a case costs then."""

from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT, Number
from verdict.decide.deferral import Evidence, case_of
from verdict.decide.guarantee import POWER, Known, groups_needed, keep_promise
from verdict.decide.outcomes import Case
from verdict.decide.policy import Costs, Decision, Policy, realised
from verdict.decide.takeover import People
from verdict.pages.decisions import known_of, plan_before, promise_of, stored_number
from verdict.pages.tables import SHARE
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, Weights, bounded
from verdict.stats.weighted import ratio, weighted_mean
from verdict.workflow.stage import Stage

N_DRAWS = 20
GROUPS = (20, 40, 80, 160, 320, 640, 1280)
# What judges keeps at least this share of the groups.
LEFT = 0.3


def label_curve(stage: Stage, evidence: Evidence | None, people: People, costs: Costs, policy: Policy) -> pd.DataFrame:
    """Labelled groups of a foreign set, against what may then go out alone of the rest, and what that costs.

    Groups are drawn `N_DRAWS` times. Of each draw the share that orders thresholds on calib orders them here, the
    others test the promise, and all choose the cheapest thresholds that keep it; score and temperature stay. Each pair
    is judged by the draws that did not buy its label; intervals are over groups, the draws as they are.

    Returns groups, testing (of these), labels (mean number of pairs); kept (share of draws in which a threshold keeps
    the promise), broken (share in which the rest that goes out alone breaks it); coverage, auto_error, cost, saved
    (against a person for every case) and saved_by_labels (against the thresholds of calib, stopped for nothing
    foreign), with intervals; pays_after: cases until labels at a person's price have paid against the latter, NaN where
    they are not shown to. No rows without such a set or a promise, or for too few groups. Numbers
    `<split>.bought.<column>` of the least number of groups that suffices in `POWER` of the draws, or else of the
    largest; `.is_enough`; `.needed` to test it, by `plan_before`.
    """
    settings = stage.params.policy
    if settings.guarantee is None or evidence is None:
        return pd.DataFrame()
    free = evidence.unwatched
    names, codes = np.unique(free.groups.astype(str), return_inverse=True)
    sizes = [n for n in GROUPS if n <= (1 - LEFT) * len(names)]
    case, known, rows = case_of(free, people, costs), known_of(free), []
    draws, unbought = stage.resampler(free.groups), realised(case.outcomes.cost, case.decide(policy))
    for n in sizes:
        rng, after = stage.rng("labels.bought", free.split, n), []
        for _ in range(N_DRAWS):
            place = rng.permutation(len(names))[codes]
            n_orders = round((1 - settings.calib_share_for_sets) * n)
            orders = place < n_orders
            after.append(_after(stage, case, known, orders, ~orders & (place < n)))
        row = {"groups": n, "testing": n - n_orders}
        row["labels"] = len(free) - np.mean([sums[0].sum() for _, sums in after])
        row["kept"] = np.mean([is_kept for is_kept, _ in after])
        errors = [sums[2].sum() / max(sums[1].sum(), 1) for _, sums in after]
        row["broken"] = np.mean(np.array(errors) > settings.guarantee.error)
        sums = np.sum([sums for _, sums in after], axis=0)
        row |= bounded(_judged(draws, case, sums, unbought))
        labels_cost = row["labels"] * costs.human
        rows.append(
            row | {"pays_after": labels_cost / row["saved_by_labels"] if row["saved_by_labels_low"] > 0 else np.nan}
        )
    if rows:
        _store(stage, free.split, pd.DataFrame(rows), draws)
        plan = {"group_size": len(free) / len(names), **plan_before(settings.guarantee.error)}
        needed = {"needed": groups_needed(promise_of(stage), **plan)}
        stage.counts(f"{free.split}.bought", needed, split=free.split)
    return pd.DataFrame(rows)


def _after(stage: Stage, case: Case, known: Known, orders: np.ndarray, tests: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether a threshold keeps the promise; of each pair (4, n) judged, alone, alone and wrong, cost: 0 if bought."""
    bought = orders | tests
    promised = keep_promise(known.take(orders), known.take(tests), promise_of(stage))
    policy = replace(case.take(bought), allowed=promised.thresholds).tune(stage.params.policy.critical_floor)
    decision = case.decide(policy)
    alone = decision == Decision.AUTO
    columns = (np.ones(len(known)), alone, alone & known.is_wrong, realised(case.outcomes.cost, decision))
    return len(promised.thresholds) > 0, np.where(bought, 0.0, np.stack(columns))


def _judged(draws: Resampler, case: Case, sums: np.ndarray, unbought: np.ndarray) -> dict[str, Interval]:
    """Coverage, auto_error, cost, saved and saved_by_labels from the sums of all draws, see `_after`; `unbought` (n,):
    costs without labels.
    """
    rows = sums[0] > 0
    alone, wrong, cost = sums[1:, rows] / sums[0, rows]
    saved, by_labels = ((one[rows] - cost).round(12) + 0.0 for one in (case.outcomes.cost[:, Decision.HUMAN], unbought))
    own = draws.of(rows)
    dearest = case.outcomes.dearest
    # Where everything is asked it is what the parameters say, and no estimate.
    spans = [(0.0, dearest), (-dearest, dearest)] if saved.any() else [None, None]
    columns = np.column_stack([alone, cost, saved, by_labels])
    coverage, mean_cost, gain, of_labels = own.means(columns, [SHARE if alone.any() else None, *spans, None])
    if case.is_simulated and not saved.any():
        mean_cost = Interval(mean_cost.value)

    def rate(weights: Weights) -> np.ndarray:
        return ratio(weighted_mean(wrong, weights), weighted_mean(alone, weights), empty=np.nan)

    error = NOTHING
    if alone.any():
        error = own.interval(rate) if wrong.any() else own.of(alone > 0).mean(wrong[alone > 0], span=SHARE)
    return {"coverage": coverage, "auto_error": error, "cost": mean_cost, "saved": gain, "saved_by_labels": of_labels}


def _store(stage: Stage, split: str, table: pd.DataFrame, draws: Resampler) -> None:
    enough = table[table["kept"] >= POWER]
    row = (table.tail(1) if enough.empty else enough.head(1)).iloc[0]
    prefix, units = f"{split}.bought", {"coverage": "%", "auto_error": "%"}
    units |= dict.fromkeys(("cost", "saved", "saved_by_labels"), "min")
    stage.counts(prefix, {name: round(row[name]) for name in ("groups", "testing", "labels")}, split=split)
    stage.number(f"{prefix}.is_enough", not enough.empty, split=split, kind=EXACT)
    for name in ("kept", "broken"):
        stage.number(f"{prefix}.{name}", row[name], n=N_DRAWS, split=split, unit="%", kind=EXACT)
    for name, unit in units.items():
        told = stored_number(Interval.from_columns(row, name), draws, unit=unit, split=split)
        stage.numbers[f"{prefix}.{name}"] = told
    stage.numbers[f"{prefix}.pays_after"] = Number(row["pays_after"], split=split, kind=EXACT)
