"""What the pages measure of a policy that notices another world: pairs and batches that are called foreign."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from verdict.base.labels import INDEPENDENT_SPLITS, Split
from verdict.base.numbers import EXACT, SETTING, Number
from verdict.decide.foreign import batch_p_value, compare_batch
from verdict.pages.deferral import Calibrated, Strangeness, strangeness
from verdict.stats.ranking import auroc
from verdict.stats.uncertainty import Interval, with_bounds
from verdict.workflow.stage import Stage

N_HALVES, N_BATCHES = 1000, 200
# Fewer are drawn where so many values, and each test counts for some, would have to be compared otherwise.
MOST_VALUES, PER_TEST, FEWEST = 100_000_000, 4000, 20
BATCH_ROWS = (50, 100, 200)


def study_splits(stage: Stage, tables: Mapping[str, pd.DataFrame], calibrated: Calibrated) -> dict[str, Strangeness]:
    """`Strangeness` of each split of prediction tables; none where the parameters ask for none."""
    if stage.params.policy.foreign is None:
        return {}
    return {split: strangeness(stage, split, table, calibrated) for split, table in tables.items()}


def pair_table(stage: Stage, tables: Mapping[str, pd.DataFrame], found: Mapping[str, Strangeness]) -> pd.DataFrame:
    """Pairs that are called foreign: split, n; flagged (share) and auroc (distance against test's), with intervals.

    No rows where no features are stored. Numbers `foreign.rate_pair`, `foreign.n_halves` (image and hypothesis have a
    distance each, or a case has one), `<split>.foreign_share` and, but for test, `<split>.foreign_auroc`; both splits'
    groups are resampled, which share nothing.
    """
    has_distance = any(one.pairs is not None for one in found.values())
    if has_distance:
        stage.number("foreign.rate_pair", stage.params.policy.foreign.pair, unit="%", kind=SETTING)
        stage.number("foreign.n_halves", 1 if stage.given else 2, unit="count")
    rows, of_test = [], found.get(Split.TEST)
    for split, one in found.items() if has_distance else ():
        table, shared = tables[split], {"n": len(tables[split]), "split": split}
        flagged = stage.resampler(table["group_id"]).mean(one.pairs <= stage.params.policy.foreign.pair, span=(0, 1))
        ranked = Interval(*[math.nan] * 3)
        if split != Split.TEST and of_test is not None:
            groups = np.concatenate([tables[Split.TEST]["group_id"], table["group_id"]])
            is_new = np.repeat([False, True], [len(of_test.distance), len(table)])
            statistic = partial(auroc, np.concatenate([of_test.distance, one.distance]), is_new)
            ranked = stage.resampler(groups).interval(statistic)
            stage.numbers[f"{split}.foreign_auroc"] = ranked.number(**shared)
        stage.numbers[f"{split}.foreign_share"] = flagged.number(unit="%", **shared)
        rows.append({**shared} | with_bounds("flagged", flagged) | with_bounds("auroc", ranked))
    return pd.DataFrame(rows)


def batch_table(stage: Stage, found: Mapping[str, Strangeness]) -> pd.DataFrame:
    """Each split as one batch against calib: split, n (rows compared), signal, statistic, p-values, is_foreign.

    Numbers `foreign.rate_batch`, `<split>.batch_p` (over all signals) and `<split>.is_foreign` of every split.
    """
    parts, level = [], stage.params.policy.foreign.batch if found else math.nan
    for split, one in found.items():
        table = compare_batch(one.known, one.watched)
        n_rows = len(next(iter(one.watched.values())))
        table = table.assign(split=split, n=n_rows, is_foreign=bool(one.batch <= level))
        table = table.rename(columns={"adjusted": "p_adjusted"})
        parts.append(table[["split", "n", "signal", "statistic", "p_value", "p_adjusted", "is_foreign"]])
        stage.numbers[f"{split}.batch_p"] = Number(float(one.batch), n=n_rows, split=split, kind=EXACT)
        stage.number(f"{split}.is_foreign", one.batch <= level, n=n_rows, split=split, kind=EXACT)
    if found:
        stage.number("foreign.rate_batch", level, unit="%", kind=SETTING)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def false_alarms(stage: Stage, found: Mapping[str, Strangeness]) -> None:
    """Number `test.batch_alarms`: share of `.batch_alarms_n` halves of test, drawn by seed, that are called foreign.

    It is exact for these draws, and of one sample: how a new sample fares is what the level says.
    """
    if Split.TEST not in found:
        return
    own, rng, level = found[Split.TEST], stage.rng("foreign.halves"), stage.params.policy.foreign.batch
    n, n_halves = len(next(iter(own.watched.values()))), _affordable(N_HALVES, own)
    alarms = [_p_of(own, rng.permutation(n)[: max(n // 2, 1)]) <= level for _ in range(n_halves)]
    stage.number("test.batch_alarms_n", n_halves, unit="count", split=Split.TEST)
    stage.number("test.batch_alarms", float(np.mean(alarms)), n=n_halves, split=Split.TEST, unit="%", kind=EXACT)


def power_table(stage: Stage, tables: Mapping[str, pd.DataFrame], found: Mapping[str, Strangeness]) -> pd.DataFrame:
    """How often so few foreign rows are noticed: split, rows, groups; noticed (share of batches), with its interval.

    Batches are whole groups drawn by seed; one row of each is compared. A split with fewer rows is left out. Numbers
    `<split>.noticed_<rows>`.
    """
    rows = []
    for split, one in found.items():
        if split not in INDEPENDENT_SPLITS:
            continue
        n_groups = len(next(iter(one.watched.values())))
        for n in BATCH_ROWS:
            drawn = max(round(n * n_groups / len(tables[split])), 1)
            if drawn > n_groups:
                continue
            rng = stage.rng("foreign.batches", split, n)
            level, n_batches = stage.params.policy.foreign.batch, _affordable(N_BATCHES, one)
            hit = [_p_of(one, rng.permutation(n_groups)[:drawn]) <= level for _ in range(n_batches)]
            share = stage.resampler(np.arange(n_batches)).mean(np.array(hit), span=(0, 1))
            rows.append({"split": split, "rows": n, "groups": drawn} | with_bounds("noticed", share))
            stage.numbers[f"{split}.noticed_{n}"] = share.number(n=n_batches, split=split, unit="%")
    return pd.DataFrame(rows)


def _affordable(n_draws: int, one: Strangeness) -> int:
    """How many of the draws are made, at least `FEWEST`."""
    n_values = sum(len(column) + PER_TEST / 2 for column in (*one.watched.values(), *one.known.values()))
    return min(n_draws, max(int(MOST_VALUES / n_values), FEWEST))


def _p_of(one: Strangeness, rows: np.ndarray) -> float:
    return batch_p_value(one.known, {name: column[rows] for name, column in one.watched.items()})
