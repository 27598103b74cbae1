"""Defects of choosing: an order within noise (D05), epochs kept by another measure (D07), two changes at once (D08)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from verdict.evaluation import Answers, collect
from verdict.labels import Split
from verdict.numbers import Number
from verdict.params import TrialParams
from verdict.published import read_published
from verdict.stage import Stage
from verdict.stages import TRIAL_STAGE, runs
from verdict.uncertainty import Interval, Weights, bootstrap, with_bounds

STREAM = 92
NAMES_ONLY = ("name", "role")
# One configuration that the study ran twice from the same weights, as stage and as start of its search.
PUBLISHED_TWICE = ("two text blocks", "search: baseline")


def candidates(stage: Stage) -> list[TrialParams]:
    """Trials that could be chosen; controls cannot."""
    return [trial for trial in stage.params.training.trials if trial.role == "candidate"]


def reversals(stage: Stage, split: str = Split.VAL) -> pd.DataFrame:
    """D05: how often one seed of each of two candidates would rank them in another order than their means do.

    Every seed of one is set against every seed of the other; a tie counts half.

    Returns
    -------
    DataFrame
        One row per two candidates, smallest lead first: better, worse, lead (difference of means over seeds),
        n_seed_pairs, reversed with reversed_low and reversed_high (resampling images), and if_normal: the same chance
        for normal noise with the standard deviations over seeds (NaN for one seed). Empty for a single candidate.
    """
    answers = {trial.name: collect(stage, trial.name, split) for trial in candidates(stage)}
    scores = {name: np.array([float(one(None)) for one in found.statistics()]) for name, found in answers.items()}
    settings, rows = stage.params.statistics, []
    for better, worse in combinations(sorted(scores, key=lambda name: -scores[name].mean()), 2):
        share = bootstrap(
            partial(_share_reversed, answers[better], answers[worse]),
            answers[better].groups,
            n_resamples=settings.n_resamples,
            rng=stage.rng(STREAM),
            level=settings.level,
        )
        lead, pairs = scores[better].mean() - scores[worse].mean(), len(scores[better]) * len(scores[worse])
        row = {"better": better, "worse": worse, "lead": lead, "n_seed_pairs": pairs}
        deviations = [scores[name].std(ddof=1) if len(scores[name]) > 1 else np.nan for name in (better, worse)]
        rows.append({**row, **with_bounds("reversed", share), "if_normal": chance_reversed(lead, *deviations)})
    columns = ["better", "worse", "lead", "n_seed_pairs", "reversed", "reversed_low", "reversed_high", "if_normal"]
    return pd.DataFrame(rows, columns=columns).sort_values("lead", kind="stable", ignore_index=True)


def chance_reversed(lead: float, sd_first: float, sd_second: float) -> float:
    """D05: chance that single runs of two configurations rank against the lead of their means, if noise is normal.

    NaN where a standard deviation is; without noise 0, or one half for no lead.
    """
    noise = float(np.hypot(sd_first, sd_second))
    if noise == 0:
        return 0.5 * float(lead == 0)
    return float(stats.norm.sf(lead / noise))


def _share_reversed(better: Answers, worse: Answers, weights: Weights) -> ArrayLike:
    first, second = (np.array([np.asarray(one(weights)) for one in side.statistics()]) for side in (better, worse))
    gap = first[:, None] - second[None, :]
    return ((gap < 0) + 0.5 * (gap == 0)).mean(axis=(0, 1))


def store_reversals(stage: Stage, found: pd.DataFrame) -> None:
    """Numbers of the closest race, `defect.ranking.lead`, `.reversed`, `.if_normal`, and of the study's, `.published`.

    NaN where there is a single candidate.
    """
    shared: dict[str, Any] = {"split": str(Split.VAL), "seeds": tuple(stage.params.training.seeds)}
    closest = found.iloc[0] if len(found) else pd.Series(np.nan, index=found.columns)
    stage.number("defect.ranking.lead", closest["lead"], **shared)
    share = Interval.from_columns(closest, "reversed")
    stage.numbers["defect.ranking.reversed"] = share.number(unit="%", **shared)
    stage.number("defect.ranking.if_normal", closest["if_normal"], unit="%", **shared)
    study = read_published("a2").set_index("run")["val_macro_f1"]
    best, second = study[study.index.str.startswith("search: ")].nlargest(2)
    sd = float(study[list(PUBLISHED_TWICE)].std(ddof=1))
    stage.number("defect.ranking.published", chance_reversed(best - second, sd, sd), unit="%", split=str(Split.VAL))


def race_template(found: pd.DataFrame) -> str:
    """What `reversals` shows, as a template around the numbers of `store_reversals`."""
    ours = (
        "In the closest race the better mean leads by {defect.ranking.lead} macro-F1; {defect.ranking.reversed} of the "
        "pairs of single runs rank the two otherwise."
        if len(found)
        else "This profile has a single candidate, so that there is no order to reverse."
    )
    return (
        f"{ours} The study ranked by one run each (D05): under the spread of the one configuration that it ran twice, "
        "and normal noise, its two best would change places in {defect.ranking.published} of repetitions."
    )


def histories(stage: Stage) -> pd.DataFrame:
    """Training histories of all candidates: trial, seed, epoch, val_macro_f1, val_nll."""
    names, parts = {trial.name for trial in candidates(stage)}, []
    for trial, seed in runs(stage.all_params):
        if trial in names:
            history = pd.read_parquet(stage.upstream(TRIAL_STAGE, "history.parquet", trial, seed))
            parts.append(history[["epoch", "val_macro_f1", "val_nll"]].assign(trial=trial, seed=seed))
    return pd.concat(parts, ignore_index=True)


def epochs_kept(history: pd.DataFrame) -> pd.DataFrame:
    """D07: the epoch with the lowest loss and the one with the highest macro-F1 of every run, and what that costs.

    Returns
    -------
    DataFrame
        trial, seed, epoch_by_loss, epoch_by_f1, f1_by_loss, f1_by_f1, cost (macro-F1 at the lowest loss minus the
        highest; never above zero). Of equal epochs the earlier.
    """
    rows = []
    for (trial, seed), run in history.groupby(["trial", "seed"], sort=False):
        ordered = run.sort_values("epoch", ignore_index=True)
        by_loss, by_f1 = ordered.loc[ordered["val_nll"].idxmin()], ordered.loc[ordered["val_macro_f1"].idxmax()]
        scores = {"f1_by_loss": by_loss["val_macro_f1"], "f1_by_f1": by_f1["val_macro_f1"]}
        epochs = {"epoch_by_loss": int(by_loss["epoch"]), "epoch_by_f1": int(by_f1["epoch"])}
        cost = scores["f1_by_loss"] - scores["f1_by_f1"]
        rows.append({"trial": trial, "seed": seed, **epochs, **scores, "cost": cost})
    return pd.DataFrame(rows)


def ranks_by_criterion(kept: pd.DataFrame) -> pd.DataFrame:
    """D07: mean macro-F1 over seeds of each trial when epochs are kept by loss and by macro-F1, with the ranks.

    `cost` is the mean difference with a t interval over seeds: predictions of epochs that were not kept are not
    stored, so that images cannot be resampled. With one seed the interval is not defined.
    """
    rows = []
    for trial, part in kept.groupby("trial", sort=False):
        cost = interval_over_seeds(part["cost"].to_numpy())
        means = {name: float(part[name].mean()) for name in ("f1_by_loss", "f1_by_f1")}
        rows.append({"trial": trial, **means, **with_bounds("cost", cost)})
    found = pd.DataFrame(rows)
    for name in ("loss", "f1"):
        found[f"rank_by_{name}"] = found[f"f1_by_{name}"].rank(ascending=False, method="min").astype(int)
    return found.sort_values("rank_by_f1", kind="stable", ignore_index=True)


def store_epochs(stage: Stage, kept: pd.DataFrame, ranked: pd.DataFrame) -> None:
    """Numbers `defect.criterion.n_runs`, `.n_other_epoch`, `.cost` and `.n_ranks_changed`."""
    seeds = tuple(stage.params.training.seeds)
    by_seed = kept.groupby("seed")["cost"].mean().to_numpy()
    stage.number("defect.criterion.n_runs", len(kept), unit="count", seeds=seeds)
    moved = int((kept["epoch_by_loss"] != kept["epoch_by_f1"]).sum())
    stage.number("defect.criterion.n_other_epoch", moved, unit="count", seeds=seeds)
    cost = interval_over_seeds(by_seed)
    stage.numbers["defect.criterion.cost"] = cost.number(n=len(kept), split=str(Split.VAL), seeds=seeds)
    changed = int((ranked["rank_by_loss"] != ranked["rank_by_f1"]).sum())
    stage.number("defect.criterion.n_ranks_changed", changed, unit="count", seeds=seeds)


def interval_over_seeds(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean over seeds with Student's t interval; NaN bounds for one seed."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return Interval(float(values.mean()), np.nan, np.nan)
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def changed_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> pd.DataFrame:
    """D08: settings in which two configurations differ: setting, first, second. One that a side lacks is None."""
    names = [name for name in {**first, **second} if name not in NAMES_ONLY]
    differing = [name for name in names if first.get(name) != second.get(name)]
    rows = [(name, str(first.get(name)), str(second.get(name))) for name in differing]
    return pd.DataFrame(rows, columns=["setting", "first", "second"])


def nearest_twins(trials: Sequence[TrialParams], key: str) -> list[tuple[str, str, pd.DataFrame]]:
    """D08: for each trial in which a setting is on, the trial without it that differs in fewest settings.

    Parameters
    ----------
    trials : sequence of TrialParams
    key : str
        A setting whose empty value means off, such as "oversample"; trials that do not know it have it off.

    Returns
    -------
    list of (trial, twin, differences)
        An ablation is clean where `key` is the only difference.
    """
    content = {trial.name: trial.model_dump(mode="json") for trial in trials}
    off = [name for name, values in content.items() if not values.get(key)]
    found = []
    for name in (name for name in content if name not in off):
        if off:
            twin = min(off, key=lambda other: len(changed_keys(content[other], content[name])))
            found.append((name, twin, changed_keys(content[twin], content[name])))
    return found


def store_ablation(stage: Stage, published: pd.DataFrame, twins: Sequence[tuple[str, str, pd.DataFrame]]) -> str:
    """Numbers `defect.ablation.n_published` and `.n_ours` (NaN where nothing is ablated), and a template for `say`."""
    stage.number("defect.ablation.n_published", len(published), unit="count")
    worst = max((len(differences) for _, _, differences in twins), default=None)
    stage.numbers["defect.ablation.n_ours"] = Number(float("nan") if worst is None else worst, unit="count")
    text = "The study's two runs differ in {defect.ablation.n_published} settings, of which oversampling is one. "
    if worst is None:
        return text + "This profile has no trial that oversamples, so that nothing is said about its effect here."
    return text + "A trial of this profile that oversamples differs from its twin in {defect.ablation.n_ours}."
