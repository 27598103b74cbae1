"""Metrics as pure functions of arrays.

`y_true` and `y_pred` are class ids (n,), `probs` are probabilities (n, n_classes); logarithms are natural. Confidence
is the largest probability of a row, the prediction its class (the first of several equal ones). Every metric takes
`weights`, how often each row counts: None (once each), (n,), or (n_resamples, n). The result has the shape of the
weights without their last axis, so that one call evaluates all resamples of a bootstrap. A metric without a value
(nothing to average, or a ranking of one class) is NaN.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.stats.scores import check_labels, check_probs, log_softmax, top_class
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, Statistic, absolute_sum, wilson
from verdict.stats.weighted import OfSums, ratio, row_weights, totals, weighted_mean

N_BINS = 15
# The most classes of which every row is a row of a dense table.
_MAX_DENSE = 100


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Share of rows whose prediction is the true class, in [0, 1]."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(f"y_true has shape {y_true.shape}, y_pred {y_pred.shape}")
    return weighted_mean(y_true == y_pred, weights)


def confusion_counts(
    y_true: ArrayLike, y_pred: ArrayLike, n_classes: int = 2, weights: ArrayLike | None = None
) -> np.ndarray:
    """Counts of (true class, predicted class), (..., n_classes, n_classes): rows are true classes, columns answers."""
    n = len(np.asarray(y_true))
    cells = check_labels(y_true, n, n_classes) * n_classes + check_labels(y_pred, n, n_classes)
    counts = totals(weights, cells, n_classes**2)
    return counts.reshape(*counts.shape[:-1], n_classes, n_classes)


def class_scores(counts: ArrayLike) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, each (..., n_classes), from confusion counts; 0/0 is 0."""
    counts = np.asarray(counts, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    n_true, n_predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    f1 = ratio(2 * right, n_true + n_predicted)
    return {"precision": ratio(right, n_predicted), "recall": ratio(right, n_true), "f1": f1}


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int = 2, weights: ArrayLike | None = None) -> np.ndarray:
    """Unweighted mean of the classes' F1, in [0, 1]; a class that never occurs has F1 0."""
    n = len(np.asarray(y_true))
    # Three counts a class: of a thousand classes the confusion counts are a million for each resample.
    y_true, y_pred = check_labels(y_true, n, n_classes), check_labels(y_pred, n, n_classes)
    right = totals(weights, y_true, n_classes, y_true == y_pred)
    true_and_predicted = totals(weights, y_true, n_classes) + totals(weights, y_pred, n_classes)
    return ratio(2 * right, true_and_predicted).mean(axis=-1)


def macro_f1_of(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int = 2) -> Statistic:
    """`macro_f1` as a function of weights; quick to resample where a table of two columns a class is small."""
    if n_classes > _MAX_DENSE:
        return partial(macro_f1, y_true, y_pred, n_classes)
    n = len(np.asarray(y_true))
    is_true, is_said = (check_labels(y, n, n_classes)[:, None] == np.arange(n_classes) for y in (y_true, y_pred))
    columns = np.hstack([2.0 * (is_true & is_said), is_true.astype(float) + is_said])
    return OfSums(columns, lambda sums: ratio(sums[..., :n_classes], sums[..., n_classes:]).mean(axis=-1))


def class_score_of(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int, label: int, score: str) -> Statistic:
    """One of the `class_scores` of one class as a function of weights."""
    return lambda weights: class_scores(confusion_counts(y_true, y_pred, n_classes, weights))[score][..., label]


def accuracy_of(y_true: np.ndarray, y_pred: np.ndarray) -> OfSums:
    """`accuracy` as a function of weights; quick to resample."""
    columns = np.column_stack([y_true == y_pred, np.ones(len(y_true))])
    return OfSums(columns, lambda sums: ratio(sums[..., 0], sums[..., 1], empty=np.nan))


def nll(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Mean negative natural logarithm of the true class's probability, in nats; a probability of 0 gives infinity."""
    return weighted_mean(nll_of_rows(probs, y_true), weights)


def nll_of_rows(probs: ArrayLike, y_true: ArrayLike) -> np.ndarray:
    """The loss of each row, (n,), whose mean is `nll`; compute it once to average it under many weights."""
    probs, y_true = _checked(probs, y_true)
    with np.errstate(divide="ignore"):
        return -np.log(probs[np.arange(len(y_true)), y_true])


def nll_of_logits(logits: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """`nll` from logits; finite where probabilities would underflow to 0."""
    return weighted_mean(nll_of_logit_rows(logits, y_true), weights)


def nll_of_logit_rows(logits: ArrayLike, y_true: ArrayLike) -> np.ndarray:
    """The loss of each row, (n,), whose mean is `nll_of_logits`; compute it once to average it under many weights."""
    y_true = check_labels(y_true, *np.shape(logits))
    return -log_softmax(np.asarray(logits, dtype=np.float64))[np.arange(len(y_true)), y_true]


def brier(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Mean over rows of the squared error summed over classes, in [0, 2]; Brier (1950), eq. 2."""
    return weighted_mean(brier_of_rows(probs, y_true), weights)


def brier_of_rows(probs: ArrayLike, y_true: ArrayLike) -> np.ndarray:
    """The loss of each row, (n,), whose mean is `brier`; compute it once to average it under many weights."""
    probs, y_true = _checked(probs, y_true)
    return ((probs - np.eye(probs.shape[1])[y_true]) ** 2).sum(axis=1)


def bin_index(confidence: ArrayLike, n_bins: int = N_BINS) -> np.ndarray:
    """Index of the equal-width bin (lo, hi] of each confidence in [0, 1]; 0 belongs to the first bin, 1 to the last."""
    edges = np.linspace(0, 1, n_bins + 1)
    return np.clip(np.searchsorted(edges, np.asarray(confidence), side="left") - 1, 0, n_bins - 1)


def ece(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None, *, n_bins: int = N_BINS) -> np.ndarray:
    """Expected calibration error: mean distance of confidence and accuracy over equal-width bins (lo, hi], in [0, 1].

    Guo et al. (2017), On calibration of modern neural networks, eq. 3.
    """
    confidence, correct = confidence_and_correct(probs, y_true)
    gap = totals(weights, bin_index(confidence, n_bins), n_bins, correct - confidence)
    return ratio(np.abs(gap).sum(axis=-1), row_weights(weights, len(correct)).sum(axis=-1), empty=np.nan)


def ece_interval(
    probs: ArrayLike, y_true: ArrayLike, resampler: Resampler, *, n_bins: int = N_BINS, equal_mass: bool = False
) -> Interval:
    """Expected calibration error with an interval for the error of the population, by the same bins.

    The value is the usual one of `ece`; chance makes it larger, so it lies nearer to the upper bound. The promise: at a
    level of 0.95 the interval covers the population's error in 0.93 to 0.97 of samples where that error is 0.02 or more
    and has one direction; where it is zero or has several directions, more often. With fewer than two groups the bounds
    are NaN. Where all answers are right, or all wrong, there are no errors to resample, and the bounds allow for a
    share of other groups as `Resampler.mean` does. Bins of equal mass hold equally many rows, those of equal confidence
    in one.

    See `uncertainty.absolute_sum` for the method. Coverage at a level of 0.95 in 1,000 simulated samples of binary
    probabilities that are too sure of themselves, groups of eight rows, logits and answers of a group correlated 0.5,
    400 resamples, beside percentiles that are moved by the bias that they show (500 samples);
    `tests/stats/test_metrics.py` repeats it with fewer.

    ===============  ====  ====  ====  ====  ====  ====  ====  ====
    true error       0           0.02        0.05        0.10
    groups           200   750   200   750   200   750   200   750
    ===============  ====  ====  ====  ====  ====  ====  ====  ====
    this             .977  .974  .932  .940  .943  .958  .953  .952
    of equal mass    .972  .972  .955  .948  .939  .957  .954  .945
    moved by bias    .030  .038  .818  .908  .928  .932  .938  .948
    ===============  ====  ====  ====  ====  ====  ====  ====  ====

    With the whole error in one bin it was 0.93 to 0.95, with directions that alternate from bin to bin 0.97 to 0.99,
    with correlations of 0.1 and 0.9 and with ten classes 0.92 to 0.98.
    """
    error = absolute_sum(*_gaps(probs, y_true, resampler, n_bins, equal_mass), level=resampler.level)
    _, correct = confidence_and_correct(probs, y_true)
    if correct.all() or not correct.any():
        unseen = wilson(0, resampler.n_groups, level=resampler.level)[1]
        return Interval(error.value, error.low * (1 - unseen), error.high + unseen * (1 - error.high))
    return error


def ece_change(
    before: ArrayLike,
    after: ArrayLike,
    y_true: ArrayLike,
    resampler: Resampler,
    *,
    n_bins: int = N_BINS,
    equal_mass: bool = False,
) -> Interval:
    """`ece_interval` of `after` minus that of `before`, two tables of probabilities of the same rows.

    The two intervals are combined around the two errors without what chance adds to them, with the correlation that the
    resamples show: Zou and Donner (2008), Construction of confidence limits about effect measures:
    a general approach, Statistics in Medicine 27, section 2. Coverage at a level of 0.95 in 200 to 300 simulated
    samples of each of some thirty cases as in `ece_interval`: 0.98 and more where both errors have one direction, 0.87
    to 0.97 where one of them is zero or their directions are opposite. Where one is zero, misses understate the change.
    """
    errors, centres, replicates = [], [], []
    for probs in (after, before):
        gaps = _gaps(probs, y_true, resampler, n_bins, equal_mass)
        errors.append(ece_interval(probs, y_true, resampler, n_bins=n_bins, equal_mass=equal_mass))
        centres.append(absolute_sum(*gaps, level=0.0).low)
        replicates.append(np.abs(gaps[1]).sum(axis=1))
    varies = min(map(np.std, replicates)) > 0
    correlation = float(np.corrcoef(*replicates)[0, 1]) if varies else 0.0

    def reach(side: float, opposite: float) -> float:
        return math.sqrt(max(0.0, side**2 + opposite**2 - 2 * correlation * side * opposite))

    last, first = errors
    last_centre, first_centre = centres
    value, centre = last.value - first.value, last_centre - first_centre
    low = centre - reach(last_centre - last.low, first.high - first_centre)
    high = centre + reach(last.high - last_centre, first_centre - first.low)
    return Interval(value, min(low, value), max(high, value))


def ece_if_calibrated(probs: ArrayLike, y_true: ArrayLike, resampler: Resampler, *, n_bins: int = N_BINS) -> Interval:
    """The `ece` that a calibrated model would show on these rows and groups by chance alone, which is never zero: the
    mean over resamples, and their central range.
    """
    observed, drawn, _ = _gaps(probs, y_true, resampler, n_bins)
    sums = np.abs(drawn - observed).sum(axis=1)
    return resampler.around(float(sums.mean()), sums)


def _gaps(
    probs: ArrayLike, y_true: ArrayLike, resampler: Resampler, n_bins: int = N_BINS, equal_mass: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy minus confidence by bin, as shares of all rows: observed, of each resample; and each bin's share."""
    confidence, correct = confidence_and_correct(probs, y_true)
    cells = bin_index(confidence, n_bins)
    if equal_mass:
        _, places, n_alike = np.unique(confidence, return_inverse=True, return_counts=True)
        middle = (np.cumsum(n_alike) - n_alike / 2) / len(confidence)
        cells = np.minimum((middle * n_bins).astype(np.int64), n_bins - 1)[places]
    observed, drawn = resampler.shares(correct - confidence, cells, n_bins)
    return observed, drawn, np.bincount(cells, minlength=n_bins) / len(cells)


def reliability_curve(probs: ArrayLike, y_true: ArrayLike, resampler: Resampler, *, n_bins: int) -> pd.DataFrame:
    """Bins of a reliability diagram, one row each: low_edge, high_edge, count, confidence, accuracy, low, high (of
    accuracy, over the groups in the bin). NaN where the bin is empty, and bounds also where it has one group.
    """
    confidence, correct = confidence_and_correct(probs, y_true)
    cells = bin_index(confidence, n_bins)
    rows = []
    for cell, (low_edge, high_edge) in enumerate(pairwise(np.linspace(0, 1, n_bins + 1))):
        members = np.flatnonzero(cells == cell)
        right = resampler.of(members).mean(correct[members], span=(0, 1)) if len(members) else NOTHING
        mean = float(confidence[members].mean()) if len(members) else math.nan
        row = {"low_edge": low_edge, "high_edge": high_edge, "count": len(members), "confidence": mean}
        rows.append(row | {"accuracy": right.value, "low": right.low, "high": right.high})
    return pd.DataFrame(rows)


def confidence_and_correct(probs: ArrayLike, y_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Largest probability of each row, and whether its class is the true one, each (n,)."""
    probs, y_true = _checked(probs, y_true)
    return np.minimum(probs.max(axis=1), 1.0), top_class(probs) == y_true


def _checked(probs: ArrayLike, y_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    probs = check_probs(probs)
    return probs, check_labels(y_true, *probs.shape)
