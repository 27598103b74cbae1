"""What the page on saved logits measures: what was read, how good the model is, and how good people are where."""

from __future__ import annotations

import numpy as np
import pandas as pd

from verdict.data.recorded import RecordedSet, build, shared_rows
from verdict.evaluation import estimate, mean_interval
from verdict.labels import Split, vote_columns
from verdict.metrics import confusion_counts
from verdict.predict import logits_of
from verdict.scores import softmax
from verdict.stage import Stage
from verdict.uncertainty import Interval, with_bounds

STREAM = 3
CLEAR = 0.8
SHOWN_COUPLES = 10


def read(stage: Stage) -> RecordedSet:
    """Read the files that the parameters name; numbers `data.n_pairs` and `data.n_shared_rows`."""
    stage.progress("reading saved logits")
    found = build(stage.params.data.recorded, seed=stage.params.data.seed)
    stage.number("data.n_pairs", len(found.pairs), unit="count")
    stage.number("data.n_classes", len(stage.classes), unit="count")
    stage.number("data.n_shared_rows", shared_rows(found.predictions), unit="count")
    return found


def splits_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """Each split: rows, groups, tuning rows, accuracy and NLL with intervals; also numbers `data.<split>.…`."""
    rows = []
    for split, table in found.predictions.groupby("split", sort=False):
        scores = estimate(table, prefix=f"data.{split}", stage=stage, names=("accuracy", "nll"))
        stage.numbers.merge(scores)
        pairs = found.pairs[found.pairs["split"] == split]
        row: dict[str, object] = {"split": split, "n": len(table), "groups": table["group_id"].nunique()}
        row["tune_the_policy"] = int(pairs["is_tuning"].sum())
        for name in ("accuracy", "nll"):
            number = scores[f"data.{split}.{name}"]
            row |= with_bounds(name, number)
        rows.append(row)
    return pd.DataFrame(rows)


def class_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """How often each class occurs in each split: class, and one column of counts a split."""
    counts = found.pairs.groupby(["label", "split"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(list(stage.classes), fill_value=0)
    return counts.rename_axis(index="class", columns=None).reset_index()


def confused_couples(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """The most frequent mistakes on test: true class, answer, n, share of the true class; at most ten."""
    table = found.predictions[found.predictions["split"] == Split.TEST]
    counts = confusion_counts(table["y_true"], logits_of(table).argmax(axis=1), len(stage.classes))
    totals = counts.sum(axis=1)
    rows = [
        {"true_class": stage.classes[k], "answer": stage.classes[told], "n": int(n), "share": float(n / totals[k])}
        for (k, told), n in np.ndenumerate(counts)
        if k != told and n
    ]
    columns = ["true_class", "answer", "n", "share"]
    return pd.DataFrame(rows, columns=columns).sort_values("n", ascending=False, kind="stable").head(SHOWN_COUPLES)


def people_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """How often one person is right, and the model, on all rows with answers and on parts of them.

    Returns
    -------
    DataFrame
        rows, n, person, model, difference (person minus model, paired), with intervals; no rows where nobody's answers
        are known. Numbers `data.people.accuracy`, `.majority`, `.n_votes`, `.unclear` (share of rows on which fewer
        than four fifths of the people are right) and `.on_errors` (where the model is wrong).
    """
    columns = vote_columns(stage.classes)
    if not set(columns) <= set(found.pairs):
        return pd.DataFrame()
    votes = found.pairs[columns].to_numpy(dtype=float)
    known = np.nan_to_num(votes).sum(axis=1) > 0
    table, votes = found.predictions[known].reset_index(drop=True), votes[known]
    y_true, probs = table["y_true"].to_numpy(), softmax(logits_of(table))
    person = votes[np.arange(len(table)), y_true] / votes.sum(axis=1)
    model = (probs.argmax(axis=1) == y_true).astype(float)
    unsure = probs.max(axis=1) <= np.quantile(probs.max(axis=1), 0.1)
    parts = {
        "all": np.ones(len(table), dtype=bool),
        "the model is right": model == 1,
        "the model is wrong": model == 0,
        "its least confident tenth": unsure,
    }
    _store_people(stage, table, votes, person, model)
    return pd.DataFrame(
        [_part(stage, name, table["group_id"], chosen, person, model) for name, chosen in parts.items()]
    )


def _part(
    stage: Stage, name: str, groups: pd.Series, chosen: np.ndarray, person: np.ndarray, model: np.ndarray
) -> dict[str, object]:
    row: dict[str, object] = {"rows": name, "n": int(chosen.sum())}
    for column, values in {"person": person, "model": model, "difference": person - model}.items():
        found = _mean(stage, values[chosen], groups.to_numpy()[chosen])
        row |= with_bounds(column, found)
    return row


def _mean(stage: Stage, values: np.ndarray, groups: np.ndarray) -> Interval:
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    settings = stage.params.statistics
    return mean_interval(values, groups, n_resamples=settings.n_resamples, rng=stage.rng(STREAM), level=settings.level)


def _store_people(stage: Stage, table: pd.DataFrame, votes: np.ndarray, person: np.ndarray, model: np.ndarray) -> None:
    y_true, groups = table["y_true"].to_numpy(), table["group_id"].to_numpy()
    stage.number("data.people.n_votes", votes.sum(), unit="count")
    shares = {
        "accuracy": (person, np.ones(len(table), dtype=bool)),
        "majority": ((votes.argmax(axis=1) == y_true).astype(float), np.ones(len(table), dtype=bool)),
        "unclear": ((person < CLEAR).astype(float), np.ones(len(table), dtype=bool)),
        "on_errors": (person, model == 0),
    }
    for name, (values, chosen) in shares.items():
        found = _mean(stage, values[chosen], groups[chosen])
        stage.numbers[f"data.people.{name}"] = found.number(n=int(chosen.sum()), split=str(Split.TEST), unit="%")


def people_template(people: pd.DataFrame) -> str:
    """What people's answers show, as a template for `say`; or that there are none."""
    if not len(people):
        return "Nobody's answers were recorded with these logits: people on the policy page are simulated."
    return (
        "{data.people.n_votes} answers of people were recorded. One person is right on {data.people.accuracy} of the "
        "rows, the majority on {data.people.majority}; where the model is wrong, one person is right on "
        "{data.people.on_errors}. On {data.people.unclear} of the rows fewer than four in five people are right."
    )


def answer_template(stage: Stage, found: RecordedSet) -> str:
    """The answer of the page as a template for `say`."""
    tuning = int(found.pairs["is_tuning"].sum())
    parts = (
        "{data.n_pairs} rows of saved logits over {data.n_classes} classes were read, and nothing in them was refused. "
        "On test the model is right on {data.test.accuracy}. {data.n_shared_rows} rows of calib occur again elsewhere."
    )
    if tuning:
        stage.number("data.n_tuning", tuning, unit="count", split=str(Split.TEST))
        parts += (
            " People's answers are known for test alone: {data.n_tuning} of its rows, drawn at random, tune the "
            "policy, and the others judge it."
        )
    return parts
