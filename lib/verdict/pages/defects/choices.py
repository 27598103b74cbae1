"""The ledger of defects, and those of choosing: an order within noise (D05), epochs kept by another measure (D07), two
changes at once (D08).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from verdict.base import paths
from verdict.base.labels import Split
from verdict.base.numbers import Number
from verdict.base.params import TrialParams, trial_difference
from verdict.model.lineage import setting_text
from verdict.pages.evaluation import SeedAnswers, candidates, collect
from verdict.pages.published import read_published
from verdict.stats.uncertainty import Interval, Resampler, columns_of, with_bounds
from verdict.workflow.stage import Stage
from verdict.workflow.stages import TRIAL_STAGE

# One configuration that the study ran twice from the same weights, as stage and as start of its search.
PUBLISHED_TWICE = ("two text blocks", "search: baseline")


def reversals(stage: Stage, split: str = Split.VAL) -> pd.DataFrame:
    """D05: how often one seed of each of two candidates would rank them in another order than their means do, every
    seed of one against every seed of the other; a tie counts half.

    Returns better, worse, lead (difference of means over seeds, with the interval of the page on selection),
    n_seed_pairs, reversed (its interval is for these runs and does not cover further seeds); smallest lead first.
    """
    answers = {trial.name: collect(stage, trial.name, split) for trial in candidates(stage)}
    scores = {name: np.mean(found.scores()) for name, found in answers.items()}
    runs = {name: _runs(stage.resampler(found.groups), found) for name, found in answers.items()}
    leads = pd.read_parquet(stage.upstream("04_model_selection", "differences.parquet")).set_index(["trial", "minus"])
    rows = []
    for better, worse in combinations(sorted(scores, key=lambda name: -scores[name]), 2):
        share, *drawn = np.heaviside(runs[worse][None, :] - runs[better][:, None], 0.5).mean(axis=(0, 1))
        row = {"better": better, "worse": worse, **with_bounds("lead", _lead(leads, better, worse))}
        row["n_seed_pairs"] = len(answers[better].seeds) * len(answers[worse].seeds)
        rows.append({**row, **with_bounds("reversed", stage.resampler(answers[better].groups).around(share, drawn))})
    columns = ["better", "worse", *columns_of("lead"), "n_seed_pairs", *columns_of("reversed")]
    return pd.DataFrame(rows, columns=columns).sort_values("lead", kind="stable", ignore_index=True)


def _lead(leads: pd.DataFrame, better: str, worse: str) -> Interval:
    """The lead of one trial over another from the table of the page on selection, which holds each pair once."""
    if (better, worse) in leads.index:
        return Interval.from_columns(leads.loc[(better, worse)], "macro_f1")
    found = Interval.from_columns(leads.loc[(worse, better)], "macro_f1")
    return Interval(-found.value, -found.high, -found.low)


def chance_reversed(lead: float, sd: float) -> float:
    """D05: chance that single runs of two configurations rank against the lead of their means, by normal noise of
    standard deviation `sd` >= 0 each.
    """
    return float(stats.norm.sf(lead / (np.sqrt(2) * sd))) if sd else 0.5 * float(lead == 0)


def published_race(level: float) -> Interval:
    """D05: `chance_reversed` of the study's two best, by the spread of the one configuration that it ran twice, with
    the bounds of the chi-squared interval of its variance.
    """
    study = read_published("a2").set_index("run")["val_macro_f1"]
    best, second = study[study.index.str.startswith("search: ")].nlargest(2)
    twice = study[list(PUBLISHED_TWICE)]
    degrees, sd = len(twice) - 1, float(twice.std(ddof=1))
    ends = sd * np.sqrt(degrees / stats.chi2.ppf([0.5 + level / 2, 0.5 - level / 2], degrees))
    return Interval(*(chance_reversed(best - second, spread) for spread in (sd, *ends)))


def _runs(resampler: Resampler, answers: SeedAnswers) -> np.ndarray:
    """The score of each seed, observed and on each resample, (n_seeds, 1 + n_resamples)."""
    return np.array([[one(None), *resampler.replicates(one)] for one in answers.statistics()])


def store_reversals(stage: Stage, found: pd.DataFrame) -> None:
    """Numbers of the closest race, if there is one, `defect.ranking.lead` and `.reversed`, of how many it is,
    `.n_races`, and of the study's, `.published`.
    """
    shared: dict = {"split": str(Split.VAL), "seeds": tuple(stage.params.training.seeds)}
    closest = found.iloc[0] if len(found) else pd.Series(np.nan, index=found.columns)
    for name, unit in (("lead", ""), ("reversed", "%")):
        stage.numbers[f"defect.ranking.{name}"] = Interval.from_columns(closest, name).number(unit=unit, **shared)
    stage.number("defect.ranking.n_races", len(found), unit="count", split=str(Split.VAL))
    race = published_race(stage.params.statistics.level)
    stage.numbers["defect.ranking.published"] = race.number(n=len(PUBLISHED_TWICE), unit="%", split=str(Split.VAL))


def histories(stage: Stage) -> pd.DataFrame:
    """Training histories of all candidates: trial, seed, epoch, val_macro_f1, val_nll."""
    files = {trial.name: stage.upstream(TRIAL_STAGE, "history.parquet", trial.name) for trial in candidates(stage)}
    columns = ["epoch", "val_macro_f1", "val_nll", "seed"]
    parts = [pd.read_parquet(file, columns=columns).assign(trial=trial) for trial, file in files.items()]
    return pd.concat(parts, ignore_index=True)


def epochs_kept(history: pd.DataFrame) -> pd.DataFrame:
    """D07: the epoch with the lowest loss and the one with the highest macro-F1 of every run, the earlier of equal
    ones: trial, seed, n_epochs, epoch_by_loss, epoch_by_f1, f1_by_loss, f1_by_f1, cost (the first minus the second).
    """
    rows = []
    for (trial, seed), run in history.groupby(["trial", "seed"], sort=False):
        ordered = run.sort_values("epoch", ignore_index=True)
        ends = ordered.loc[[ordered["val_nll"].idxmin(), ordered["val_macro_f1"].idxmax()]]
        rows.append((trial, seed, len(run), *ends["epoch"], *ends["val_macro_f1"]))
    columns = ["trial", "seed", "n_epochs", "epoch_by_loss", "epoch_by_f1", "f1_by_loss", "f1_by_f1"]
    return pd.DataFrame(rows, columns=columns).assign(cost=lambda kept: kept["f1_by_loss"] - kept["f1_by_f1"])


def ranks_by_criterion(kept: pd.DataFrame, *, level: float) -> pd.DataFrame:
    """D07: what keeping epochs by loss costs each trial in macro-F1, and its ranks of means under both ways.

    `cost` has `interval_over_seeds`: predictions of epochs that were not kept are not stored, to resample images.
    """
    by_trial = kept.groupby("trial", sort=False)
    ranks = by_trial[["f1_by_loss", "f1_by_f1"]].mean().rank(ascending=False, method="min").astype(int)
    costs = [with_bounds("cost", interval_over_seeds(cost, level=level)) for _, cost in by_trial["cost"]]
    found = pd.DataFrame(costs, index=ranks.index).join(ranks.set_axis(["rank_by_loss", "rank_by_f1"], axis=1))
    return found.reset_index().sort_values("rank_by_f1", kind="stable", ignore_index=True)


def store_epochs(stage: Stage, kept: pd.DataFrame, ranked: pd.DataFrame) -> None:
    """Numbers `defect.criterion.n_runs` (with more than one epoch), `.n_other_epoch`, `.cost` (their mean) and
    `.n_ranks_changed`.
    """
    seeds, with_choice = tuple(stage.params.training.seeds), kept[kept["n_epochs"] > 1]
    changed = int((ranked["rank_by_loss"] != ranked["rank_by_f1"]).sum())
    moved = int((with_choice["epoch_by_loss"] != with_choice["epoch_by_f1"]).sum())
    counts = {"n_runs": len(with_choice), "n_other_epoch": moved, "n_ranks_changed": changed}
    stage.counts("defect.criterion", counts, seeds=seeds)
    by_seed = with_choice.groupby("seed")["cost"].mean()
    cost = interval_over_seeds(by_seed, level=stage.params.statistics.level)
    stage.numbers["defect.criterion.cost"] = cost.number(n=len(with_choice), split=str(Split.VAL), seeds=seeds)


def interval_over_seeds(values: ArrayLike, *, level: float) -> Interval:
    """Mean over seeds with Student's t interval; NaN bounds for one seed, and where all are equal."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(float(values.mean()) if len(values) else np.nan)
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def nearest_twins(trials: Sequence[TrialParams], key: str) -> list[tuple[str, str, pd.DataFrame]]:
    """D08: for each trial in which a setting is not empty, the trial without it that differs in fewest settings: trial,
    twin, differences (setting, and its value in each by its name); an ablation is clean where `key` is the only one.
    """
    off, found = [trial for trial in trials if not getattr(trial, key)], []
    for trial in (trial for trial in trials if off and trial not in off):
        twin = min(off, key=lambda other: len(trial_difference(other, trial)))
        changed = trial_difference(twin, trial).items()
        rows = [(name, setting_text(without), setting_text(with_)) for name, (without, with_) in changed]
        found.append((trial.name, twin.name, pd.DataFrame(rows, columns=["setting", twin.name, trial.name])))
    return found


def store_ablation(stage: Stage, published: pd.DataFrame, twins: Sequence[tuple[str, str, pd.DataFrame]]) -> None:
    """Numbers `defect.ablation.n_published` and `.n_ours` (the worst here; not defined where nothing is ablated)."""
    worst = max((len(differences) for _, _, differences in twins), default=np.nan)
    stage.counts("defect.ablation", {"n_published": len(published), "n_ours": worst})


FOLDER = paths.LIBRARY / "pages" / "defects"
SEVERITIES = {
    "A": "invalidates a headline or a deliverable",
    "B": "biases numbers or overturns a stated conclusion",
    "C": "hazard to reproducibility or robustness",
    "D": "wording, small inconsistency",
}


def read_ledger() -> pd.DataFrame:
    """Defects by severity: id, severity, defect, check (tests, separated by "; "), quantity, number; "" for nothing."""
    return pd.read_csv(FOLDER / "ledger.csv", dtype=str, keep_default_na=False)


def ledger_table(numbers: Mapping[str, Number]) -> pd.DataFrame:
    """The ledger with what each defect measures in this report: id, severity, defect, check, quantity, here (a
    `Number`, or None). KeyError if one that the ledger names is not among `numbers`.
    """
    ledger = read_ledger()
    here = [numbers[name] if name else None for name in ledger["number"]]
    here = [number if number is not None and np.isfinite(number.value) else None for number in here]
    return ledger.drop(columns="number").assign(here=pd.Series(here, dtype=object))


def severity_table() -> pd.DataFrame:
    """Defects by severity: severity, meaning, n_defects, n_checked (with a test), n_measured (with a number here)."""
    ledger = read_ledger()
    told = ledger.assign(is_checked=ledger["check"] != "", is_measured=ledger["number"] != "").groupby("severity")
    counts = told.agg(n_defects=("id", "size"), n_checked=("is_checked", "sum"), n_measured=("is_measured", "sum"))
    meanings = pd.DataFrame(list(SEVERITIES.items()), columns=["severity", "meaning"])
    return meanings.join(counts, on="severity")


def published_ablation() -> pd.DataFrame:
    """Settings in which the study's run with oversampling differs from the one that it is compared with."""
    table = pd.read_csv(FOLDER / "oversampling.csv", dtype=str, keep_default_na=False).replace("", "none")
    differing = table[table["first"] != table["second"]].reset_index(drop=True)
    return differing.rename(columns={"first": "kept run", "second": "with oversampling"})
