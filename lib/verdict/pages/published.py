"""Values that a study printed, beside the same quantities of its re-run.

A table is `data/published_<name>.csv`, one run of the study a row, with the trial that repeats it where there is one;
`data/published_<name>_classes.csv` holds the kept run's test scores by class under their true names. Published values
have no interval; ours are means over seeds, with intervals over images and training again.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.labels import Split
from verdict.base.params import ReportParams
from verdict.pages.evaluation import collect, mean_score, n_trainable, per_class
from verdict.stats.uncertainty import Interval, with_bounds
from verdict.workflow.stage import Stage

COLUMNS = ["run", "trial", "quantity", "published", "ours", "ours_low", "ours_high", "verdict", "note"]
N_TRAINABLE = "n_trainable"
NOT_REPEATED, INSIDE = "not repeated here", "inside our interval"


_SCORES = {
    "val_macro_f1": (Split.VAL, "macro_f1"),
    "val_accuracy": (Split.VAL, "accuracy"),
    "test_macro_f1": (Split.TEST, "macro_f1"),
    "test_accuracy": (Split.TEST, "accuracy"),
}


def read_published(name: str, kind: str = "") -> pd.DataFrame:
    """A table of published values.

    FileNotFoundError if there is no such table; the message names those that there are.
    """
    folder = paths.LIBRARY / "data"
    path = folder / f"published_{name}{kind}.csv"
    if not path.is_file():
        known = sorted(found.stem.removeprefix("published_") for found in folder.glob("published_*.csv"))
        raise FileNotFoundError(f"no table of published values is called {name + kind!r}; there are {known}")
    return pd.read_csv(path, comment="#").fillna({"trial": "", "note": ""} if not kind else {})


def beside(stage: Stage) -> pd.DataFrame:
    """Published values and ours, one quantity of one run a row; no row where the profile names no table.

    Returns run, trial, quantity, published, ours with interval, verdict (whether the published value lies in our
    interval; for numbers of parameters whether they are equal), note. The scores that are repeated, and those of them
    whose published value lies in our interval, are counted as numbers `published.n_repeated` and `published.n_inside`.
    """
    report: ReportParams = stage.params.report
    if report.published is None:
        return pd.DataFrame(columns=COLUMNS)
    table = read_published(report.published)
    ran = {trial.name for trial in stage.params.training.trials}
    rows = []
    for run in table.to_dict("records"):
        for quantity in (N_TRAINABLE, *_SCORES):
            if not np.isnan(run[quantity]):
                ours = _ours(stage, run["trial"], quantity) if run["trial"] in ran else (np.nan, np.nan, np.nan)
                named = {"run": run["run"], "trial": run["trial"], "quantity": quantity, "published": run[quantity]}
                found = with_bounds("ours", Interval(*ours))
                rows.append(
                    {**named, **found, "verdict": _verdict(quantity, run[quantity], *ours), "note": run["note"]}
                )
    compared = pd.DataFrame(rows, columns=COLUMNS)
    scores = compared[(compared["quantity"] != N_TRAINABLE) & (compared["verdict"] != NOT_REPEATED)]
    stage.number("published.n_repeated", len(scores), unit="count")
    stage.number("published.n_inside", (scores["verdict"] == INSIDE).sum(), n=len(scores), unit="count")
    return compared


def _ours(stage: Stage, trial: str, quantity: str) -> tuple[float, float, float]:
    """Value and interval of one quantity of a trial; a count has no interval."""
    if quantity == N_TRAINABLE:
        return float(n_trainable(stage, trial)), np.nan, np.nan
    split, metric = _SCORES[quantity]
    found = mean_score(stage, collect(stage, trial, split), metric=metric)
    return found.value, found.low, found.high


def _verdict(quantity: str, published: float, value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return NOT_REPEATED
    if quantity == N_TRAINABLE:
        return "equal" if published == value else "another number"
    if np.isnan(low):
        return "no interval"
    return INSIDE if low <= published <= high else f"{'above' if published > high else 'below'} ours"


def classes_beside(stage: Stage, table: pd.DataFrame, decision: np.ndarray) -> pd.DataFrame:
    """Precision, recall and F1 by true class of the study's kept run, with the name it was printed under, and ours.

    `table` prediction table of the test split; `decision` (n,) int: its answers.
    """
    report: ReportParams = stage.params.report
    if report.published is None:
        return pd.DataFrame()
    published = read_published(report.published, "_classes")
    ours = per_class(table, decision).add_prefix("our_").rename(columns={"our_class": "class"})
    return published.merge(ours, on="class", validate="one_to_one")
