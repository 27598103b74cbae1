"""What labels from elsewhere buy: the promise made anew on a few labelled groups, judged by the rest of the set."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT, Number
from verdict.decide.guarantee import POWER, Known, keep_promise
from verdict.decide.outcomes import Case
from verdict.decide.policy import Costs, Decision, Forced, realised
from verdict.decide.takeover import People
from verdict.pages.deferral import Evidence, case_of
from verdict.pages.promise import known_of, promise_of
from verdict.pages.tables import NOTHING, SHARE, bounded, store, store_counts
from verdict.stats.uncertainty import Interval, Resampler, Weights
from verdict.stats.weighted import ratio, weighted_mean
from verdict.workflow.stage import Stage

N_DRAWS = 20
GROUPS = (20, 40, 80, 160, 320, 640, 1280)
# What judges keeps at least this share of the groups.
LEFT = 0.3


def allowed_again(evidence: Evidence) -> Evidence:
    """The same pairs without the gates for what is foreign: labels from there answer what distance only suspects."""
    is_foreign = np.isin(evidence.forced, (Forced.FOREIGN, Forced.FOREIGN_BATCH))
    return replace(evidence, forced=np.where(is_foreign, Forced.NONE, evidence.forced))


def label_curve(stage: Stage, evidence: Evidence | None, people: People, costs: Costs) -> pd.DataFrame:
    """Labelled groups of a foreign set, against what may then go out alone of the rest, and what that costs.

    Groups are drawn `N_DRAWS` times. Of each draw the share that orders thresholds on calib orders them here, the
    others test the promise, and all of them choose the cheapest thresholds that keep it; score and temperature stay.
    Each pair is judged by the draws that did not buy its label; intervals are over groups, the draws as they are.

    Returns groups, labels (mean number of pairs); kept (share of draws in which a threshold keeps the promise), broken
    (share in which what goes out alone of the rest is more often wrong than is promised); coverage, auto_error, cost
    and saved (against always asking), with intervals; pays_after: cases until labels at a person's price have paid,
    infinite where nothing is saved. No rows without such a set or a promise, or for too few groups. Numbers
    `<split>.bought.<column>` of the least number of groups that suffices in `POWER` of the draws, or else of the
    largest, and `.is_enough`.
    """
    settings = stage.params.policy
    if settings.guarantee is None or evidence is None:
        return pd.DataFrame()
    free = allowed_again(evidence)
    names, codes = np.unique(free.groups.astype(str), return_inverse=True)
    sizes = [n for n in GROUPS if n <= (1 - LEFT) * len(names)]
    case, known, rows = case_of(free, people, costs), known_of(free), []
    for n in sizes:
        rng, after = stage.rng("labels.bought", free.split, n), []
        for _ in range(N_DRAWS):
            place = rng.permutation(len(names))[codes]
            orders = place < round((1 - settings.calib_share_for_sets) * n)
            after.append(_after(stage, case, known, orders, ~orders & (place < n)))
        row = {"groups": n, "labels": len(free) - np.mean([sums[0].sum() for _, sums in after])}
        row["kept"] = np.mean([is_kept for is_kept, _ in after])
        errors = [sums[2].sum() / max(sums[1].sum(), 1) for _, sums in after]
        row["broken"] = np.mean(np.array(errors) > settings.guarantee.error)
        row |= bounded(_judged(stage.resampler(free.groups), case, np.sum([sums for _, sums in after], axis=0)))
        labels_cost = row["labels"] * costs.human
        rows.append(row | {"pays_after": labels_cost / row["saved"] if row["saved"] > 0 else math.inf})
    if rows:
        _store(stage, free.split, pd.DataFrame(rows))
    return pd.DataFrame(rows)


def _after(stage: Stage, case: Case, known: Known, orders: np.ndarray, tests: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether a threshold keeps the promise, and of each pair (4, n): judged, alone, alone and wrong, cost; those that
    were bought have zeros.
    """
    bought = orders | tests
    promised = keep_promise(known.take(orders), known.take(tests), promise_of(stage))
    policy = replace(case.take(bought), allowed=promised.thresholds).tune(stage.params.policy.critical_floor)
    decision = case.decide(policy)
    alone = decision == Decision.AUTO
    columns = (np.ones(len(known)), alone, alone & known.is_wrong, realised(case.outcomes.cost, decision))
    return len(promised.thresholds) > 0, np.where(bought, 0.0, np.stack(columns))


def _judged(draws: Resampler, case: Case, sums: np.ndarray) -> dict[str, Interval]:
    """Coverage, auto_error, cost and saved from the sums of all draws, see `_after`."""
    rows = sums[0] > 0
    alone, wrong, cost = sums[1:, rows] / sums[0, rows]
    saved, own = (case.outcomes.cost[rows, Decision.HUMAN] - cost).round(12), draws.of(rows)  # no noise of summing
    dearest = case.outcomes.dearest
    # Where everything is asked it is what the parameters say, and no estimate.
    spans = [SHARE, (0.0, dearest), (-dearest, dearest)] if saved.any() else [SHARE, None, None]
    coverage, mean_cost, gain = own.means(np.column_stack([alone, cost, saved]), spans)

    def rate(weights: Weights) -> np.ndarray:
        return ratio(weighted_mean(wrong, weights), weighted_mean(alone, weights), empty=np.nan)

    error = NOTHING
    if alone.any():
        error = own.interval(rate) if wrong.any() else own.of(alone > 0).mean(wrong[alone > 0], span=SHARE)
    return {"coverage": coverage, "auto_error": error, "cost": mean_cost, "saved": gain}


def _store(stage: Stage, split: str, table: pd.DataFrame) -> None:
    enough = table[table["kept"] >= POWER]
    row = (table.tail(1) if enough.empty else enough.head(1)).iloc[0]
    prefix, units = f"{split}.bought", {"coverage": "%", "auto_error": "%", "cost": "min", "saved": "min"}
    store_counts(stage, prefix, {name: round(row[name]) for name in ("groups", "labels")}, split=split)
    stage.number(f"{prefix}.is_enough", not enough.empty, split=split, kind=EXACT)
    for name in ("kept", "broken"):
        stage.number(f"{prefix}.{name}", row[name], n=N_DRAWS, split=split, unit="%", kind=EXACT)
    store(stage, prefix, {name: Interval.from_columns(row, name) for name in units}, units, split=split)
    after = row["pays_after"] if math.isfinite(row["pays_after"]) else math.nan
    stage.numbers[f"{prefix}.pays_after"] = Number(after, split=split, kind=EXACT)
