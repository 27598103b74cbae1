"""What a defect does to a score, and defects between a logit and a score: exchanged names (D01), a threshold on the
wrong scale (D02), rows counted twice.

The last are D12, an evaluation that repeats its rows to fill whole batches, and D13, one whose start moves on with
every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base.labels import Label, Split
from verdict.base.numbers import EXACT
from verdict.data.statements import negation_guard
from verdict.model.predict import DecisionRule, answers_of, logits_of
from verdict.pages.error_analysis import THRESHOLDS
from verdict.pages.tables import GAP
from verdict.stats.metrics import class_scores, confusion_counts, macro_f1
from verdict.stats.uncertainty import Interval, Statistic, Weights, bounded
from verdict.workflow.stage import Stage

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
    return measure(stage, table, *(f1_of(y_true, read_back(answer, names)) for names in (NAMES, EXCHANGED)))


def recall_effect(stage: Stage, table: pd.DataFrame) -> Effect:
    """D01: recall in the row of a class report that is called contradiction, under right and exchanged names."""
    y_true, answer = table["y_true"].to_numpy(), answers_of(table)
    rows = [next(label for label in Label if names[label] == Label.CONTRADICTION.text) for names in (NAMES, EXCHANGED)]
    return measure(stage, table, *(partial(_class_score, y_true, answer, row, "recall") for row in rows))


def _class_score(y_true: np.ndarray, answer: np.ndarray, label: Label, score: str, weights: Weights) -> ArrayLike:
    return class_scores(confusion_counts(y_true, answer, weights=weights))[score][..., int(label)]


def class_report(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """A class report with both names: class, printed_as (in the study's report), precision, recall and f1, support."""
    y_true, answer = table["y_true"].to_numpy(), answers_of(table)
    resampler, rows = stage.resampler(table["group_id"].to_numpy()), []
    for label in Label:
        scores = {name: partial(_class_score, y_true, answer, label, name) for name in ("precision", "recall", "f1")}
        row = {"class": NAMES[label], "printed_as": EXCHANGED[label]}
        row |= bounded({name: resampler.interval(score) for name, score in scores.items()})
        rows.append(row | {"support": int((y_true == label).sum())})
    return pd.DataFrame(rows)


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
    return measure(stage, table, f1_of(y_true, right), f1_of(y_true, wrong))


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
    return measure(stage, table, f1_of(y_true, answer), partial(_padded_f1, y_true, answer, rows))


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

    Numbers `defect.drift.n_epochs` and `.range`, the largest minus the smallest.
    """
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


def f1_of(y_true: np.ndarray, answer: np.ndarray) -> Statistic:
    """Macro-F1 of answers as a function of row weights."""
    return partial(macro_f1, y_true, answer, 2)


def effect_table(effects: Mapping[str, Effect]) -> pd.DataFrame:
    """Effects beside each other: defect (its words), n, and ours, defect's and difference with their intervals."""
    rows = [effect.row(switched_on=words) for words, effect in effects.items()]
    return pd.DataFrame(rows).rename(columns=lambda name: name.replace("defect", "with_defect"))
