"""Metrics as pure functions of arrays.

`y_true` and `y_pred` are class ids (n,), `probs` are probabilities (n, n_classes); logarithms are natural. Confidence
is the largest probability of a row, the prediction its class (the first of several equal ones). Every metric takes
`weights`, how often each row counts: None (once each), (n,), or (n_resamples, n). The result has the shape of the
weights without their last axis, so that one call evaluates all resamples of a bootstrap. A metric without a value
(nothing to average, or a ranking of one class) is NaN.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.ranking import aurc, auroc, risk_at, risk_coverage
from verdict.scores import check_labels, check_logits, check_probs, log_softmax, softmax
from verdict.uncertainty import Interval, bootstrap, group_weights, percentile_interval, wilson
from verdict.weighted import ratio, row_weights, totals, weighted_mean

__all__ = [
    "Interval",
    "accuracy",
    "accuracy_of",
    "aurc",
    "auroc",
    "bin_index",
    "bootstrap",
    "brier",
    "check_logits",
    "check_probs",
    "class_scores",
    "confidence_and_correct",
    "confusion_counts",
    "cumulative_error",
    "ece",
    "ece_classwise",
    "ece_equal_mass",
    "ece_if_calibrated",
    "group_weights",
    "log_softmax",
    "macro_f1",
    "macro_f1_of",
    "mce",
    "nll",
    "nll_of_logits",
    "percentile_interval",
    "reliability_curve",
    "risk_at",
    "risk_coverage",
    "softmax",
    "totals",
    "weighted_mean",
    "wilson",
]

N_BINS = 15


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Share of rows whose prediction is the true class, in [0, 1]."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(f"y_true has shape {y_true.shape}, y_pred {y_pred.shape}")
    return weighted_mean(y_true == y_pred, weights)


def confusion_counts(
    y_true: ArrayLike, y_pred: ArrayLike, n_classes: int = 2, weights: ArrayLike | None = None
) -> np.ndarray:
    """Counts of (true class, predicted class), (..., n_classes, n_classes): rows are true classes, columns answers.

    Raises
    ------
    ValueError
        If lengths differ or an id is out of range.
    """
    n = len(np.asarray(y_true))
    cells = check_labels(y_true, n, n_classes) * n_classes + check_labels(y_pred, n, n_classes)
    counts = totals(weights, cells, n_classes**2)
    return counts.reshape(*counts.shape[:-1], n_classes, n_classes)


def class_scores(counts: ArrayLike) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, each (..., n_classes), from confusion counts; 0/0 is 0."""
    counts = np.asarray(counts, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    n_true, n_told = counts.sum(axis=-1), counts.sum(axis=-2)
    return {
        "precision": ratio(right, n_told),
        "recall": ratio(right, n_true),
        "f1": ratio(2 * right, n_true + n_told),
    }


def accuracy_of(counts: ArrayLike) -> np.ndarray:
    """Accuracy from confusion counts (..., n_classes, n_classes)."""
    counts = np.asarray(counts, dtype=np.float64)
    return ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)), empty=np.nan)


def macro_f1_of(counts: ArrayLike) -> np.ndarray:
    """Unweighted mean of the classes' F1 from confusion counts; a class that never occurs has F1 0."""
    return class_scores(counts)["f1"].mean(axis=-1)


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int = 2, weights: ArrayLike | None = None) -> np.ndarray:
    """Unweighted mean of the classes' F1, in [0, 1]; a class that never occurs has F1 0."""
    return macro_f1_of(confusion_counts(y_true, y_pred, n_classes, weights))


def nll(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Mean negative natural logarithm of the true class's probability, in nats; a probability of 0 gives infinity."""
    probs, y_true = _checked(probs, y_true)
    with np.errstate(divide="ignore"):
        return weighted_mean(-np.log(probs[np.arange(len(y_true)), y_true]), weights)


def nll_of_logits(logits: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """`nll` from logits; finite where probabilities would underflow to 0."""
    logits = np.asarray(logits, dtype=np.float64)
    y_true = check_labels(y_true, *logits.shape)
    return weighted_mean(-log_softmax(logits)[np.arange(len(y_true)), y_true], weights)


def brier(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Mean over rows of the squared error summed over classes, in [0, 2].

    References
    ----------
    Brier (1950), Verification of forecasts expressed in terms of probability, eq. 2.
    """
    probs, y_true = _checked(probs, y_true)
    return weighted_mean(((probs - np.eye(probs.shape[1])[y_true]) ** 2).sum(axis=1), weights)


def bin_index(confidence: ArrayLike, n_bins: int = N_BINS) -> np.ndarray:
    """Index of the equal-width bin (lo, hi] of each confidence in [0, 1]; 0 belongs to the first bin, 1 to the last."""
    edges = np.linspace(0, 1, n_bins + 1)
    return np.clip(np.searchsorted(edges, np.asarray(confidence), side="left") - 1, 0, n_bins - 1)


def ece(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None, *, n_bins: int = N_BINS) -> np.ndarray:
    """Expected calibration error: mean distance of confidence and accuracy over equal-width bins (lo, hi], in [0, 1].

    References
    ----------
    Guo et al. (2017), On calibration of modern neural networks, eq. 3.
    """
    confidence, correct = confidence_and_correct(probs, y_true)
    gap = totals(weights, bin_index(confidence, n_bins), n_bins, correct - confidence)
    return ratio(np.abs(gap).sum(axis=-1), row_weights(weights, len(correct)).sum(axis=-1), empty=np.nan)


def mce(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None, *, n_bins: int = N_BINS) -> np.ndarray:
    """Largest distance of confidence and accuracy over the non-empty bins of `ece`; governed by the emptiest bins."""
    confidence, correct = confidence_and_correct(probs, y_true)
    cells = bin_index(confidence, n_bins)
    gap, mass = totals(weights, cells, n_bins, correct - confidence), totals(weights, cells, n_bins)
    return ratio(np.abs(gap), mass).max(axis=-1)


def ece_classwise(
    probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None, *, n_bins: int = N_BINS
) -> np.ndarray:
    """Mean over classes of the binned distance of a class's probability and its frequency.

    References
    ----------
    Kull et al. (2019), Beyond temperature scaling, eq. 3.
    """
    probs, y_true = _checked(probs, y_true)
    sums = [
        np.abs(totals(weights, bin_index(column, n_bins), n_bins, (y_true == k) - column)).sum(axis=-1)
        for k, column in enumerate(probs.T)
    ]
    return ratio(np.mean(sums, axis=0), row_weights(weights, len(y_true)).sum(axis=-1), empty=np.nan)


def ece_equal_mass(
    probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None, *, n_bins: int = N_BINS
) -> np.ndarray:
    """As `ece`, over bins that hold equally many rows; rows of equal confidence share a bin whatever their order."""
    confidence, correct = confidence_and_correct(probs, y_true)
    values, cells = np.unique(confidence, return_inverse=True)
    mass, gap = totals(weights, cells, len(values)), totals(weights, cells, len(values), correct - confidence)
    total = mass.sum(axis=-1)
    middle = np.cumsum(mass, axis=-1) - mass / 2
    bins = np.minimum((ratio(middle, total[..., None]) * n_bins).astype(np.int64), n_bins - 1).reshape(-1, len(values))
    flat = (np.arange(len(bins))[:, None] * n_bins + bins).ravel()
    sums = np.bincount(flat, gap.ravel(), minlength=len(bins) * n_bins).reshape(*total.shape, n_bins)
    return ratio(np.abs(sums).sum(axis=-1), total, empty=np.nan)


def cumulative_error(probs: ArrayLike, y_true: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Calibration without bins: largest distance of accumulated confidence and accumulated accuracy, in [0, 1].

    Rows are accumulated from the least confident on; rows of equal confidence together.

    References
    ----------
    Gupta et al. (2021), Calibration of neural networks using splines, section 3 (the KS error).
    """
    confidence, correct = confidence_and_correct(probs, y_true)
    values, cells = np.unique(confidence, return_inverse=True)
    gap = np.cumsum(totals(weights, cells, len(values), correct - confidence), axis=-1)
    return ratio(np.abs(gap).max(axis=-1), row_weights(weights, len(correct)).sum(axis=-1), empty=np.nan)


def reliability_curve(
    probs: ArrayLike,
    y_true: ArrayLike,
    *,
    n_bins: int = N_BINS,
    level: float = 0.95,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """Bins of a reliability diagram.

    Parameters
    ----------
    probs : array (n, n_classes)
        Probabilities.
    y_true : array of int, (n,)
        Class ids.
    n_bins : int
        Equal-width bins (lo, hi], as in `ece`.
    level : float in (0, 1)
        Of the interval of accuracy.
    groups : array (n,), optional
        With `rng`: intervals by the cluster bootstrap instead of Wilson's, which takes rows for independent.
    n_resamples : int
        Resamples of the bootstrap.
    rng : numpy.random.Generator, optional
        Source of its randomness.

    Returns
    -------
    DataFrame
        One row a bin: low_edge, high_edge, count, confidence, accuracy, low, high; NaN where the bin is empty.
    """
    confidence, correct = confidence_and_correct(probs, y_true)
    cells = bin_index(confidence, n_bins)
    count, right = totals(None, cells, n_bins), totals(None, cells, n_bins, correct)
    bounds = np.array([wilson(k, n, level=level) for k, n in zip(right, count, strict=True)])
    if groups is not None:
        if rng is None:
            raise ValueError("intervals by resampling groups need rng")
        weights = group_weights(groups, n_resamples, rng)
        drawn = ratio(totals(weights, cells, n_bins, correct), totals(weights, cells, n_bins), empty=np.nan)
        # A bin whose answers are all alike has no spread to resample; it keeps Wilson's interval.
        for b in np.flatnonzero((right > 0) & (right < count)):
            bounds[b] = np.nanquantile(drawn[:, b], [0.5 - level / 2, 0.5 + level / 2])
    edges = np.linspace(0, 1, n_bins + 1)
    table = pd.DataFrame({"low_edge": edges[:-1], "high_edge": edges[1:], "count": count.astype(np.int64)})
    mean = ratio(totals(None, cells, n_bins, confidence), count, empty=np.nan)
    shares = {"confidence": mean, "accuracy": ratio(right, count, empty=np.nan)}
    return table.assign(**shares, low=bounds[:, 0], high=bounds[:, 1])


def ece_if_calibrated(probs: ArrayLike, *, n_draws: int, rng: np.random.Generator, n_bins: int = N_BINS) -> np.ndarray:
    """Values of `ece` that a perfectly calibrated model with these confidences would show, (n_draws,).

    The error is never zero on finitely many rows; it says something only beyond these values. Answers are drawn right
    with their confidence, independently: rows of one image that are alike would spread wider.

    References
    ----------
    Bröcker and Smith (2007), Increasing the reliability of reliability diagrams (consistency resampling).
    """
    confidence = np.minimum(check_probs(probs).max(axis=1), 1.0)
    cells = bin_index(confidence, n_bins)
    right = rng.random((n_draws, len(confidence))) < confidence
    gap = totals(right, cells, n_bins) - totals(None, cells, n_bins, confidence)
    return np.abs(gap).sum(axis=-1) / len(confidence)


def confidence_and_correct(probs: ArrayLike, y_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Largest probability of each row, and whether its class is the true one, each (n,)."""
    probs, y_true = _checked(probs, y_true)
    return np.minimum(probs.max(axis=1), 1.0), probs.argmax(axis=1) == y_true


def _checked(probs: ArrayLike, y_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    probs = check_probs(probs)
    return probs, check_labels(y_true, *probs.shape)
