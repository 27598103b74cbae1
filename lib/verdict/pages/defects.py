"""Defects of the published study between a logit and a score, and of choosing, each switched on for numbers of this
report; and the ledger. Those of training are in `verdict.pages.defects_training`, what needs the network is in
`verdict.pages.defects_network`. A defect is named by its number in `defects_ledger.csv`.

Between a logit and a score: exchanged names (D01), a threshold on the wrong scale (D02), an evaluation that repeats its
rows to fill whole batches (D12), and one whose start moves on with every epoch (D13). Of choosing: an order within
noise (D05), epochs kept by another measure (D07), two changes at once (D08).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from verdict.base import paths
from verdict.base.labels import Label, Split
from verdict.base.numbers import EXACT, Number
from verdict.base.params import TrialParams, trial_difference
from verdict.data.statements import negation_guard
from verdict.model.lineage import setting_text
from verdict.model.predict import DecisionRule, answers_of, logits_of
from verdict.pages.error_analysis import THRESHOLDS
from verdict.pages.evaluation import SeedAnswers, candidates, collect, per_class
from verdict.pages.published import read_published
from verdict.pages.tables import GAP
from verdict.stats.metrics import class_score_of, macro_f1, macro_f1_of
from verdict.stats.uncertainty import Interval, Resampler, Statistic, Weights, bounded, columns_of, with_bounds
from verdict.workflow.stage import Stage
from verdict.workflow.stages import TRIAL_STAGE

NAMES: Mapping[Label, str] = {label: label.text for label in Label}
EXCHANGED: Mapping[Label, str] = {
    Label.ENTAILMENT: Label.CONTRADICTION.text,
    Label.CONTRADICTION: Label.ENTAILMENT.text,
}
# Rows of the study's splits, and its batch.
PUBLISHED_BATCH = 32
PUBLISHED_ROWS: Mapping[str, int] = {"val": 3922, "test": 3867}


def read_back(ids: np.ndarray, names: Mapping[Label, str]) -> np.ndarray:
    """What somebody who knows the labels reads where answers were written with some names, as ids (n,)."""
    return np.array([int(Label.parse(names[Label(int(k))])) for k in ids], dtype=np.int64)


def names_effect(stage: Stage, table: pd.DataFrame) -> Effect:
    """D01: macro-F1 of an exported file whose labels were written with the right names, and with exchanged ones."""
    y_true, answer = table["y_true"].to_numpy(), answers_of(table)
    return measure(stage, table, *(macro_f1_of(y_true, read_back(answer, names)) for names in (NAMES, EXCHANGED)))


def recall_effect(stage: Stage, table: pd.DataFrame) -> Effect:
    """D01: recall in the row of a class report that is called contradiction, under right and exchanged names."""
    y_true, answer = table["y_true"].to_numpy(), answers_of(table)
    rows = [next(label for label in Label if names[label] == Label.CONTRADICTION.text) for names in (NAMES, EXCHANGED)]
    return measure(stage, table, *(class_score_of(y_true, answer, len(Label), row, "recall") for row in rows))


def class_report(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """A class report with both names: class, printed_as (in the study's report), scores with bounds, support."""
    report = per_class(table, answers_of(table), stage=stage)
    report.insert(1, "printed_as", [EXCHANGED[label] for label in Label])
    return report


def store_guards(stage: Stage, train: pd.DataFrame) -> None:
    """D01: what the negation guard sees of train's labels, and of exchanged ones: numbers `defect.guard.ours` and
    `.defect`, shares of contradiction among negated hypotheses.
    """
    exchanged = {NAMES[label]: EXCHANGED[label] for label in Label}
    for name, pairs in (("ours", train), ("defect", train.assign(label=train["label"].map(exchanged)))):
        share, n = negation_guard(pairs, stage.resampler)
        stage.numbers[f"defect.guard.{name}"] = share.number(n=n, split=str(Split.TRAIN), unit="%")


def decide_on_logits(logits: np.ndarray, threshold: float) -> np.ndarray:
    """D02: the threshold of a probability of contradiction, compared with the logit of contradiction. Wrong."""
    chosen = logits[:, Label.CONTRADICTION] - logits[:, Label.ENTAILMENT] >= threshold
    return np.where(chosen, int(Label.CONTRADICTION), int(Label.ENTAILMENT))


def threshold_effect(stage: Stage, table: pd.DataFrame, threshold: float) -> Effect:
    """D02: macro-F1 at a threshold that is compared with probabilities, and with logits."""
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    right, wrong = DecisionRule(threshold=threshold).decide(logits), decide_on_logits(logits, threshold)
    return measure(stage, table, macro_f1_of(y_true, right), macro_f1_of(y_true, wrong))


def n_turned(table: pd.DataFrame, threshold: float) -> int:
    """D02: answers that differ between the two ways to apply one threshold."""
    logits = logits_of(table)
    return int((DecisionRule(threshold=threshold).decide(logits) != decide_on_logits(logits, threshold)).sum())


def threshold_curve(stage: Stage, table: pd.DataFrame, thresholds: ArrayLike = THRESHOLDS) -> pd.DataFrame:
    """D02 at many thresholds: threshold, n_turned, and ours, defect, difference with intervals."""
    rows = []
    for threshold in map(float, np.asarray(thresholds)):
        effect = threshold_effect(stage, table, threshold)
        rows.append(effect.row(threshold=threshold, n_turned=n_turned(table, threshold)))
    return pd.DataFrame(rows)


def padded_rows(n: int, batch: int, epoch: int = 0) -> np.ndarray:
    """D12, D13: rows that a repeating data set evaluates in one epoch (from 0), cut after whole batches; each epoch
    takes up where the last one stopped.
    """
    size = -(-n // batch) * batch
    return (np.arange(size) + epoch * size) % n


def padding_effect(stage: Stage, table: pd.DataFrame, batch: int) -> Effect:
    """D12: macro-F1 over each row once, and over whole batches of a repeating data set."""
    y_true, answer = table["y_true"].to_numpy(), answers_of(table)
    rows = padded_rows(len(table), batch)
    return measure(stage, table, macro_f1_of(y_true, answer), partial(_padded_f1, y_true, answer, rows))


def _padded_f1(y_true: np.ndarray, answer: np.ndarray, rows: np.ndarray, weights: Weights) -> ArrayLike:
    weights = None if weights is None else np.asarray(weights)[..., rows]
    return macro_f1(y_true[rows], answer[rows], weights=weights)


def padding_table(sizes: Mapping[str, int], batch: int) -> pd.DataFrame:
    """D12: rows, rows that are scored, rows that count twice and their share, by name."""
    table = pd.DataFrame({"evaluation": list(sizes), "batch": batch, "n_rows": list(sizes.values())})
    table["n_scored"] = [len(padded_rows(n, batch)) for n in table["n_rows"]]
    table["n_repeated"] = table["n_scored"] - table["n_rows"]
    return table.assign(share_repeated=table["n_repeated"] / table["n_scored"])


def drift(stage: Stage, table: pd.DataFrame, batch: int, epochs: int) -> pd.DataFrame:
    """D13: macro-F1 that one and the same answers would show in successive epochs: epoch, first_row, macro_f1.

    Numbers `defect.drift.n_epochs` and `.range`, the largest minus the smallest. ValueError for fewer than two epochs.
    """
    if epochs < 2:
        raise ValueError(f"a drift is between epochs, got {epochs} of them")
    y_true, answer = table["y_true"].to_numpy(), answers_of(table)
    windows = [padded_rows(len(table), batch, epoch) for epoch in range(epochs)]
    scores = [float(macro_f1(y_true[rows], answer[rows])) for rows in windows]
    split = str(table["split"].iloc[0])
    stage.number("defect.drift.n_epochs", epochs, unit="count", split=split)
    stage.number("defect.drift.range", max(scores) - min(scores), n=len(table), split=split, kind=EXACT)
    first = [int(rows[0]) for rows in windows]
    return pd.DataFrame({"epoch": np.arange(1, epochs + 1), "first_row": first, "macro_f1": scores})


@dataclass(frozen=True)
class Effect:
    """A score as it is, the same score with a defect switched on, and the difference, defect minus ours, paired."""

    ours: Interval
    defect: Interval
    difference: Interval
    n: int
    split: str

    def row(self, **words: object) -> dict[str, object]:
        """One row of a table: the words, n, and the three intervals as columns `x`, `x_low`, `x_high`."""
        return {**words, "n": self.n} | bounded(self._found)

    def store(self, stage: Stage, prefix: str, seeds: tuple[int, ...] = ()) -> None:
        """Store `<prefix>.ours`, `<prefix>.defect` and `<prefix>.difference` among the stage's numbers."""
        stage.estimates(prefix, self._found, n=self.n, split=self.split, seeds=seeds)

    @property
    def _found(self) -> dict[str, Interval]:
        return {"ours": self.ours, "defect": self.defect, "difference": self.difference}


def measure(stage: Stage, table: pd.DataFrame, ours: Statistic, defect: Statistic) -> Effect:
    """Compare two statistics, as in `Resampler.replicates`, of the same rows (group_id, split). Where no resample shows
    a difference, its interval is that of a mean without spread (see `Resampler.mean`).
    """
    resampler = stage.resampler(table["group_id"].to_numpy())
    drawn = [resampler.replicates(statistic) for statistic in (ours, defect)]
    values = [float(statistic(None)) for statistic in (ours, defect)]
    found = [resampler.around(value, part) for value, part in zip(values, drawn, strict=True)]
    paired = resampler.around(values[1] - values[0], drawn[1] - drawn[0])
    if not np.any(drawn[1] - drawn[0]):
        paired = resampler.mean(np.zeros(len(table)), span=GAP)
    return Effect(*found, paired, len(table), str(table["split"].iloc[0]))


def effect_table(effects: Mapping[str, Effect]) -> pd.DataFrame:
    """Effects beside each other: defect (its words), n, and ours, defect's and difference with their intervals."""
    rows = [effect.row(switched_on=words) for words, effect in effects.items()]
    return pd.DataFrame(rows).rename(columns=lambda name: name.replace("defect", "with_defect"))


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
    """Numbers `defect.criterion.n_runs` (of several epochs), `.n_other_epoch`, `.cost` (mean), `.n_ranks_changed`."""
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


FOLDER = paths.LIBRARY / "pages"
SEVERITIES = {
    "A": "invalidates a headline or a deliverable",
    "B": "biases numbers or overturns a stated conclusion",
    "C": "hazard to reproducibility or robustness",
    "D": "wording, small inconsistency",
}


def read_ledger() -> pd.DataFrame:
    """Defects by severity: id, severity, defect, check (tests, separated by "; "), quantity, number; "" for nothing."""
    return pd.read_csv(FOLDER / "defects_ledger.csv", dtype=str, keep_default_na=False)


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
    table = pd.read_csv(FOLDER / "defects_oversampling.csv", dtype=str, keep_default_na=False).replace("", "none")
    differing = table[table["first"] != table["second"]].reset_index(drop=True)
    return differing.rename(columns={"first": "kept run", "second": "with oversampling"})
