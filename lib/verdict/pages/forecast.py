"""What accuracy will be elsewhere, told without a label, beside what it is.

None can be right for every shift: the same inputs admit other labels. Each assumes something that held on calib.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import POINTS, SETTING
from verdict.model.predict import DecisionRule, logits_of
from verdict.model.selection import Selection
from verdict.pages.deferral import Calibrated
from verdict.pages.tables import bounded, store, store_counts
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Interval, Statistic, Weights
from verdict.stats.weighted import row_weights, weighted_mean
from verdict.workflow.stage import Stage

# So far off, up or down, an estimate is still of use.
MARGIN = 0.05
CONFIDENCE, DIFFERENCE = "mean confidence", "difference of confidences"
THRESHOLD, SEEDS = "confidence above a threshold", "agreement of seeds"
_KEYS = {CONFIDENCE: "confidence", DIFFERENCE: "difference", THRESHOLD: "threshold", SEEDS: "seeds"}
OFF, NEAR, OPEN = "off", "near", "not shown"


def mean_of(values: np.ndarray, rows: slice) -> Statistic:
    """Mean of values (n,) of some rows, as a function of the weights of all rows."""
    return lambda weights: weighted_mean(values, None if weights is None else weights[..., rows])


def thresholded(known: np.ndarray, is_wrong: np.ndarray, new: np.ndarray) -> Statistic:
    """Share of new confidences (m,) from the threshold on below which as many of the known (n,) lie as are wrong.

    A function of the weights of known and new rows, in this order. Garg et al. (2022), Leveraging unlabeled data to
    predict out-of-distribution performance, ICLR, equations 1 and 2.
    """
    by_known, by_new = np.argsort(known, kind="stable"), np.argsort(new, kind="stable")
    thresholds, ordered = np.append(known[by_known], np.inf), new[by_new]

    def share(weights: Weights) -> np.ndarray:
        counts = np.atleast_2d(row_weights(weights, len(known) + len(new)))
        of_known, of_new = counts[:, : len(known)], np.cumsum(counts[:, len(known) :][:, by_new], axis=1)
        below = np.cumsum(of_known[:, by_known], axis=1) <= (of_known @ is_wrong)[:, None]
        first = np.searchsorted(ordered, thresholds[below.sum(axis=1)], side="left")
        under = np.where(first > 0, of_new[np.arange(len(of_new)), first - 1], 0.0)
        found = 1 - under / of_new[:, -1]
        return found[0] if weights is None else found

    return share


def forecasts(
    stage: Stage, tables: Mapping[str, pd.DataFrame], calibrated: Calibrated, kept: Selection
) -> pd.DataFrame:
    """Estimates of accuracy without labels, by split: method, estimate, truth and error (their difference).

    The agreement of seeds estimates the accuracy of a mean seed, and is judged by it; the others that of the kept
    model. `verdict`: whether the error is shown to be beyond `MARGIN` ("off"), within it ("near"), or neither.
    Intervals resample the groups of calib and of the split, estimate and truth together. Numbers of independent splits:
    `<split>.forecast_<key>`, `.forecast_<key>_error`, `.n_forecasts`, `.n_forecasts_off`, `.n_forecasts_near`.

    Guillory et al. (2021), Predicting with confidence on unseen distributions, ICCV, section 3.2 (without regression);
    Jiang et al. (2022), Assessing generalization of SGD via disagreement, ICLR, section 3; `thresholded`.
    """
    stage.number("forecast.margin", MARGIN, unit=POINTS, kind=SETTING)
    known, rows = stage.predictions(Split.CALIB, trial=kept.trial, seed=calibrated.seed), []
    for split, table in tables.items():
        draws = stage.resampler(np.concatenate([known["group_id"], table["group_id"]]))
        asked = {seed: stage.predictions(split, trial=kept.trial, seed=seed) for seed in calibrated.temperatures}
        statistics, found = _statistics(known, table, asked, calibrated.temperature), {}
        for name, (estimate, truth) in statistics.items():
            both = [(float(one(None)), draws.replicates(one)) for one in (estimate, truth)]
            (value, drawn), (true, drawn_true) = both
            row = {"estimate": draws.around(value, drawn), "truth": draws.around(true, drawn_true)}
            found[name] = row["error"] = draws.around(value - true, drawn - drawn_true)
            told = {"split": split, "n": len(table), "method": name, "verdict": judged(found[name])}
            rows.append(told | bounded(row))
            if split != Split.TEST:
                key, shared = f"forecast_{_KEYS[name]}", {"n": len(table), "split": split}
                stored = {key: row["estimate"], f"{key}_error": row["error"]}
                store(stage, split, stored, {key: "%", f"{key}_error": POINTS}, **shared)
        if split != Split.TEST:
            verdicts = [judged(error) for error in found.values()]
            counts = {"": len(found), "_off": verdicts.count(OFF), "_near": verdicts.count(NEAR)}
            store_counts(stage, split, {f"n_forecasts{end}": n for end, n in counts.items()}, split=split)
    return pd.DataFrame(rows)


def _statistics(
    known: pd.DataFrame, new: pd.DataFrame, asked: Mapping[int, pd.DataFrame], temperature: float
) -> dict[str, tuple[Statistic, Statistic]]:
    """Estimate and truth by method, as functions of the weights of known and new rows, in this order."""
    first, rest = slice(0, len(known)), slice(len(known), None)
    (sure, hit), (sure_new, hit_new) = (_confidence(table, temperature) for table in (known, new))
    mean, truth = mean_of(sure_new, rest), mean_of(hit_new, rest)
    gap = mean_of(hit - sure, first)
    found = {
        CONFIDENCE: (mean, truth),
        DIFFERENCE: (lambda weights: mean(weights) + gap(weights), truth),
        THRESHOLD: (thresholded(sure, 1 - hit, sure_new), truth),
    }
    if len(asked) > 1:
        answers = [DecisionRule().decide(logits_of(table)) for table in asked.values()]
        alike = np.mean([one == other for one, other in combinations(answers, 2)], axis=0)
        right = np.mean([one == new["y_true"].to_numpy() for one in answers], axis=0)
        found[SEEDS] = (mean_of(alike, rest), mean_of(right, rest))
    return found


def _confidence(table: pd.DataFrame, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probability of each answer, and whether it is right, (n,) each."""
    logits = logits_of(table)
    hit = DecisionRule().decide(logits) == table["y_true"].to_numpy()
    return softmax(logits / temperature).max(axis=1), hit.astype(float)


def judged(error: Interval, margin: float = MARGIN) -> str:
    """Whether an error is shown to lie outside the margin, inside it, or neither."""
    if error.low > margin or error.high < -margin:
        return OFF
    return NEAR if -margin <= error.low and error.high <= margin else OPEN
