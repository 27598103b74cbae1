"""What the pages measure of a policy that notices another world: pairs and batches that are called foreign."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from verdict.base.labels import INDEPENDENT_SPLITS, Split
from verdict.base.numbers import EXACT, SETTING, Number
from verdict.decide.deferral import Calibrated, Strangeness, strangeness
from verdict.decide.foreign import batch_p_value, compare_batch
from verdict.pages.tables import SHARE
from verdict.stats.ranking import auroc
from verdict.stats.uncertainty import NOTHING, bounded, with_bounds
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

    No rows where no features are stored. Numbers `foreign.rate_pair`, `.n_halves` (image and hypothesis have a distance
    each, or a case has one), `<split>.foreign_share` and, but for test, `.foreign_auroc`.
    """
    if not any(one.pairs is not None for one in found.values()):
        return pd.DataFrame()
    stage.number("foreign.rate_pair", stage.params.policy.foreign.pair, unit="%", kind=SETTING)
    stage.number("foreign.n_halves", 1 if stage.given else 2, unit="count")
    rows, of_test = [], found.get(Split.TEST)
    for split, one in found.items():
        table, shared, ranked = tables[split], {"split": split, "n": len(tables[split])}, NOTHING
        flagged = stage.resampler(table["group_id"]).mean(one.pairs <= stage.params.policy.foreign.pair, span=SHARE)
        if split != Split.TEST and of_test is not None:
            groups = np.concatenate([tables[Split.TEST]["group_id"], table["group_id"]])
            is_new = np.repeat([False, True], [len(of_test.distance), len(table)])
            statistic = partial(auroc, np.concatenate([of_test.distance, one.distance]), is_new)
            ranked = stage.resampler(groups).interval(statistic)
            if ranked.low == ranked.high:
                # Separated completely: no resample differs, but as many groups say so as the smaller side has.
                own = min(table["group_id"], tables[Split.TEST]["group_id"], key=pd.Series.nunique)
                ranked = stage.resampler(own).mean(np.full(len(own), ranked.value), span=SHARE)
            stage.numbers[f"{split}.foreign_auroc"] = ranked.number(**shared)
        stage.numbers[f"{split}.foreign_share"] = flagged.number(unit="%", **shared)
        rows.append(shared | bounded({"flagged": flagged, "auroc": ranked}))
    return pd.DataFrame(rows)


def batch_table(stage: Stage, found: Mapping[str, Strangeness]) -> pd.DataFrame:
    """Each split as one batch against calib: split, n (rows compared), signal, statistic, p-values, batch_is_foreign.

    Numbers `foreign.rate_batch`, `<split>.batch_p` (over all signals) and `<split>.is_foreign` of every split.
    """
    parts, level = [], stage.params.policy.foreign.batch if found else np.nan
    for split, one in found.items():
        table = compare_batch(one.known, one.watched)
        n_rows = len(next(iter(one.watched.values())))
        table = table.assign(split=split, n=n_rows, batch_is_foreign=bool(one.batch <= level))
        table = table.rename(columns={"adjusted": "p_adjusted"})
        parts.append(table[["split", "n", "signal", "statistic", "p_value", "p_adjusted", "batch_is_foreign"]])
        stage.numbers[f"{split}.batch_p"] = Number(float(one.batch), n=n_rows, split=split, kind=EXACT)
        stage.number(f"{split}.is_foreign", one.batch <= level, n=n_rows, split=split, kind=EXACT)
    if found:
        stage.number("foreign.rate_batch", level, unit="%", kind=SETTING)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def false_alarms(stage: Stage, found: Mapping[str, Strangeness]) -> None:
    """Number `test.batch_alarms`: share of `.batch_alarms_n` halves of test, drawn by seed, that are called foreign;
    exact for these draws: how a new sample fares is what the level says.
    """
    if (own := found.get(Split.TEST)) is not None:
        n_half = max(len(next(iter(own.watched.values()))) // 2, 1)
        alarms = _called(stage, own, n_half, N_HALVES, stage.rng("foreign.halves"))
        stage.number("test.batch_alarms_n", len(alarms), unit="count", split=Split.TEST)
        stage.number("test.batch_alarms", alarms.mean(), n=len(alarms), split=Split.TEST, unit="%", kind=EXACT)


def power_table(stage: Stage, tables: Mapping[str, pd.DataFrame], found: Mapping[str, Strangeness]) -> pd.DataFrame:
    """How often so few foreign rows are noticed: split, rows, groups; noticed (share of batches of whole groups drawn
    by seed), with its interval. A split with fewer rows is left out. Numbers `<split>.noticed_<rows>`.
    """
    rows = []
    for split, one in found.items():
        n_groups = len(next(iter(one.watched.values())))
        for n in BATCH_ROWS if split in INDEPENDENT_SPLITS else ():
            drawn = max(round(n * n_groups / len(tables[split])), 1)
            if drawn <= n_groups:
                hit = _called(stage, one, drawn, N_BATCHES, stage.rng("foreign.batches", split, n))
                share = stage.resampler(np.arange(len(hit))).mean(hit, span=SHARE)
                rows.append({"split": split, "rows": n, "groups": drawn} | with_bounds("noticed", share))
                stage.numbers[f"{split}.noticed_{n}"] = share.number(n=len(hit), split=split, unit="%")
    return pd.DataFrame(rows)


def _called(stage: Stage, one: Strangeness, n: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Whether n rows at a time, drawn so often or as often as can be afforded, are called foreign."""
    level, watched = stage.params.policy.foreign.batch, one.watched.items()
    n_values = sum(len(column) + PER_TEST / 2 for column in (*one.watched.values(), *one.known.values()))
    found, n_rows = [], len(next(iter(one.watched.values())))
    for _ in range(min(n_draws, max(int(MOST_VALUES / n_values), FEWEST))):
        rows = rng.permutation(n_rows)[:n]
        found.append(batch_p_value(one.known, {name: column[rows] for name, column in watched}) <= level)
    return np.array(found)
