"""Values that a study printed, beside the same quantities of its re-run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.params import ReportParams
from verdict.pages.evaluation import collect, mean_score, n_trainable, per_class
from verdict.stats.uncertainty import NOTHING, Interval, with_bounds
from verdict.workflow.stage import Stage

COLUMNS = ["run", "trial", "quantity", "published", "ours", "ours_low", "ours_high", "verdict", "note"]
N_TRAINABLE = "n_trainable"
NOT_REPEATED, INSIDE = "not repeated here", "inside our interval"


# Each a score on a split.
_SCORES = ("val_macro_f1", "val_accuracy", "test_macro_f1", "test_accuracy")


def read_published(name: str, kind: str = "") -> pd.DataFrame:
    """Published values, which have no interval: a run of the study a row, with the trial that repeats it where there is
    one; of kind `_classes` the kept run's test scores by class, `_people` what model and people reach together.
    FileNotFoundError names the tables that there are.
    """
    folder = paths.LIBRARY / "data"
    path = folder / f"published_{name}{kind}.csv"
    if not path.is_file():
        known = sorted(found.stem.removeprefix("published_") for found in folder.glob("published_*.csv"))
        raise FileNotFoundError(f"no table of published values is called {name + kind!r}; there are {known}")
    return pd.read_csv(path, comment="#").fillna({"trial": "", "note": ""} if not kind else {})


def beside(stage: Stage) -> pd.DataFrame:
    """Published values and ours (means over seeds), if the profile names a table: run, trial, quantity, published, ours
    with interval, verdict (whether the value lies in our interval; of parameters whether it is equal), note.

    Numbers `published.n_repeated` (scores) and `published.n_inside` (those whose published value lies in our interval).
    """
    report: ReportParams = stage.params.report
    if report.published is None:
        return pd.DataFrame(columns=COLUMNS)
    table = read_published(report.published)
    ran = {trial.name for trial in stage.params.training.trials}
    printed = table.melt(["run", "trial", "note"], [N_TRAINABLE, *_SCORES], "quantity", "published", ignore_index=False)
    printed = printed.dropna(subset="published").sort_index(kind="stable")
    found = [_ours(stage, row.trial, row.quantity) if row.trial in ran else NOTHING for row in printed.itertuples()]
    rows = [with_bounds("ours", one) for one in found]
    compared = printed.reset_index(drop=True).join(pd.DataFrame(rows))
    cells = zip(compared["quantity"], compared["published"], found, strict=True)
    compared = compared.assign(verdict=[_verdict(*cell) for cell in cells])[COLUMNS]
    scores = compared[(compared["quantity"] != N_TRAINABLE) & (compared["verdict"] != NOT_REPEATED)]
    stage.number("published.n_repeated", len(scores), unit="count")
    stage.number("published.n_inside", (scores["verdict"] == INSIDE).sum(), n=len(scores), unit="count")
    return compared


def _ours(stage: Stage, trial: str, quantity: str) -> Interval:
    """One quantity of a trial; a count has no interval."""
    if quantity == N_TRAINABLE:
        return Interval(float(n_trainable(stage, trial)))
    split, metric = quantity.split("_", maxsplit=1)
    return mean_score(stage, collect(stage, trial, split), metric=metric)


def _verdict(quantity: str, published: float, ours: Interval) -> str:
    if np.isnan(ours.value):
        return NOT_REPEATED
    if quantity == N_TRAINABLE:
        return "equal" if published == ours.value else "another number"
    if np.isnan(ours.low):
        return "no interval"
    return INSIDE if ours.low <= published <= ours.high else f"{'above' if ours.high < published else 'below'} ours"


def classes_beside(stage: Stage, table: pd.DataFrame, decision: np.ndarray) -> pd.DataFrame:
    """Precision, recall and F1 by true class of the study's kept run, with the name it was printed under, and ours."""
    report: ReportParams = stage.params.report
    if report.published is None:
        return pd.DataFrame()
    published = read_published(report.published, "_classes")
    ours = per_class(table, decision).add_prefix("our_").rename(columns={"our_class": "class"})
    return published.merge(ours, on="class", validate="one_to_one")
