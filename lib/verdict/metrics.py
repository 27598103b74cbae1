"""Metrics as pure functions of arrays, with optional row weights; resampling over groups.

Conventions: `probs` (n, n_classes) rows sum to 1; `y_true` (n,) class ids; confidence is the maximum probability, prediction
the arg max; logarithms are natural. A weight is how often a row counts: the cluster bootstrap draws groups, which weighs rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

Weights = np.ndarray | None
ROW_SUM_TOLERANCE = 1e-6


def check_logits(logits: np.ndarray, *, allow_small: bool = False) -> np.ndarray:
    """Refuse what is not logits.

    Parameters
    ----------
    logits : (n, n_classes) array
    allow_small : bool
        Accept rows within [-1, 1]; without it, three or more classes within that range are taken for cosines.

    Returns
    -------
    float64 (n, n_classes)

    Raises
    ------
    ValueError
        For another shape, values that are not finite, probabilities, or cosines; the message says which.
    """
    logits = np.asarray(logits)
    if logits.dtype == object or logits.ndim != 2 or logits.shape[1] < 2 or not len(logits):
        raise ValueError(f"logits must be numbers of shape (n, n_classes >= 2), got {logits.dtype} {logits.shape}")
    logits = logits.astype(np.float64)
    if not np.isfinite(logits).all():
        raise ValueError(f"{int((~np.isfinite(logits)).any(axis=1).sum())} rows of the logits hold NaN or infinity")
    if logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1).max() < ROW_SUM_TOLERANCE:
        raise ValueError("these are probabilities (in [0, 1], rows sum to 1), not logits; pass the scores before the softmax")
    if not allow_small and logits.shape[1] > 2 and np.abs(logits).max() <= 1:
        raise ValueError("all values lie in [-1, 1]: these look like cosines; multiply them by the model's logit scale")
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64, (n, n_classes)."""
    logits = np.asarray(logits, dtype=np.float64)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities in float64, (n, n_classes); exact where probabilities underflow."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _mean(values: np.ndarray, weights: Weights) -> float:
    return float(values.mean() if weights is None else np.average(values, weights=weights))


def accuracy(y_true: np.ndarray, y_pred: np.ndarray, weights: Weights = None) -> float:
    """Share of right answers."""
    return _mean((np.asarray(y_true) == np.asarray(y_pred)).astype(float), weights)


def confusion_counts(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int = 2, weights: Weights = None) -> np.ndarray:
    """Counts (n_classes, n_classes): rows are true classes, columns answers."""
    cells = np.asarray(y_true, dtype=np.int64) * n_classes + np.asarray(y_pred, dtype=np.int64)
    return np.bincount(cells, weights=weights, minlength=n_classes**2).reshape(n_classes, n_classes)


def class_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class from confusion counts; 0/0 counts as 0."""
    right, told, true = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    return {"precision": _ratio(right, told), "recall": _ratio(right, true), "f1": _ratio(2 * right, told + true)}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def macro_f1_of(counts: np.ndarray) -> float:
    """Unweighted mean of the classes' F1, from confusion counts."""
    return float(class_scores(counts)["f1"].mean())


def macro_f1(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int = 2, weights: Weights = None) -> float:
    """Unweighted mean of the classes' F1; a class that never occurs scores 0."""
    return macro_f1_of(confusion_counts(y_true, y_pred, n_classes, weights))


def nll(probs: np.ndarray, y_true: np.ndarray, weights: Weights = None) -> float:
    """Mean negative log-likelihood, in nats; infinite if a true class has probability 0."""
    chosen = np.asarray(probs)[np.arange(len(y_true)), y_true]
    with np.errstate(divide="ignore"):
        return _mean(-np.log(chosen), weights)


def brier(probs: np.ndarray, y_true: np.ndarray, weights: Weights = None) -> float:
    """Brier (1950): mean over rows of the squared distance to the one-hot truth, 0 to 2."""
    probs = np.asarray(probs, dtype=np.float64)
    chosen = probs[np.arange(len(y_true)), y_true]
    return _mean((probs**2).sum(axis=1) - 2 * chosen + 1, weights)


def _equal_width(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Bins (lo, hi] of equal width over (0, 1]; 0 falls into the first."""
    return np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)


def _equal_mass(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Bins of equal numbers of rows; equal confidences share a bin."""
    edges = np.quantile(confidence, np.arange(1, n_bins) / n_bins)
    return np.searchsorted(edges, confidence, side="left")


def _gaps(hit: np.ndarray, confidence: np.ndarray, bins: np.ndarray, n_bins: int, weights: Weights) -> tuple:
    weight = np.ones(len(hit)) if weights is None else np.asarray(weights, dtype=float)
    mass = np.bincount(bins, weights=weight, minlength=n_bins)
    gap = np.bincount(bins, weights=weight * (hit - confidence), minlength=n_bins)
    return mass, gap


def _confidence(probs: np.ndarray, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probs = np.asarray(probs, dtype=np.float64)
    return (probs.argmax(axis=1) == np.asarray(y_true)).astype(float), probs.max(axis=1)


def ece(probs: np.ndarray, y_true: np.ndarray, weights: Weights = None, *, n_bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): equal-width bins (lo, hi], L1, weighted by count."""
    hit, confidence = _confidence(probs, y_true)
    mass, gap = _gaps(hit, confidence, _equal_width(confidence, n_bins), n_bins, weights)
    return float(np.abs(gap).sum() / mass.sum())


def ece_equal_mass(probs: np.ndarray, y_true: np.ndarray, weights: Weights = None, *, n_bins: int = 15) -> float:
    """ECE over bins that hold equal numbers of rows."""
    hit, confidence = _confidence(probs, y_true)
    mass, gap = _gaps(hit, confidence, _equal_mass(confidence, n_bins), n_bins, weights)
    return float(np.abs(gap).sum() / mass.sum())


def ece_classwise(probs: np.ndarray, y_true: np.ndarray, weights: Weights = None, *, n_bins: int = 15) -> float:
    """Mean over classes of the ECE of that class's own probability (Kull et al. 2019)."""
    probs = np.asarray(probs, dtype=np.float64)
    errors = []
    for k in range(probs.shape[1]):
        hit = (np.asarray(y_true) == k).astype(float)
        mass, gap = _gaps(hit, probs[:, k], _equal_width(probs[:, k], n_bins), n_bins, weights)
        errors.append(np.abs(gap).sum() / mass.sum())
    return float(np.mean(errors))


def mce(probs: np.ndarray, y_true: np.ndarray, weights: Weights = None, *, n_bins: int = 15) -> float:
    """Maximum calibration error: the largest gap of a filled bin."""
    hit, confidence = _confidence(probs, y_true)
    mass, gap = _gaps(hit, confidence, _equal_width(confidence, n_bins), n_bins, weights)
    return float((np.abs(gap)[mass > 0] / mass[mass > 0]).max())


def reliability_curve(probs: np.ndarray, y_true: np.ndarray, *, n_bins: int = 15, level: float = 0.95) -> pd.DataFrame:
    """Bins of a reliability diagram.

    Returns
    -------
    DataFrame
        One row a bin: low_edge, high_edge, count, confidence, accuracy, low, high (Wilson interval of accuracy); NaN where empty.
    """
    hit, confidence = _confidence(probs, y_true)
    bins = _equal_width(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    right = np.bincount(bins, weights=hit, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        columns = {"confidence": np.bincount(bins, weights=confidence, minlength=n_bins) / count, "accuracy": right / count}
    bounds = np.array([wilson(k, n, level=level) if n else (np.nan, np.nan) for k, n in zip(right, count, strict=True)])
    edges = np.arange(n_bins + 1) / n_bins
    table = pd.DataFrame({"low_edge": edges[:-1], "high_edge": edges[1:], "count": count, **columns})
    return table.assign(low=bounds[:, 0], high=bounds[:, 1])


def wilson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) score interval of a proportion."""
    from scipy.stats import norm

    z = norm.ppf(0.5 + level / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def auroc(score: np.ndarray, positive: np.ndarray, weights: Weights = None) -> float:
    """Probability that a positive row scores above a negative one, ties counting half; NaN if a side is empty."""
    from sklearn.metrics import roc_auc_score

    positive = np.asarray(positive, dtype=bool)
    present = positive if weights is None else positive[np.asarray(weights) > 0]
    if present.all() or not present.any():
        return float("nan")
    return float(roc_auc_score(positive, score, sample_weight=weights))


def risk_coverage(confidence: np.ndarray, wrong: np.ndarray) -> pd.DataFrame:
    """Error rate among the k most confident rows, k = 1 … n.

    Among rows of equal confidence the expected value under a random order is used, so that the order of rows does not matter.

    Returns
    -------
    DataFrame
        Columns coverage (k / n) and risk, n rows.
    """
    order = np.argsort(-np.asarray(confidence, dtype=float), kind="stable")
    sorted_confidence = np.asarray(confidence, dtype=float)[order]
    starts = np.flatnonzero(np.r_[True, sorted_confidence[1:] != sorted_confidence[:-1]])
    sizes = np.diff(np.r_[starts, len(order)])
    tied_risk = np.add.reduceat(np.asarray(wrong, dtype=float)[order], starts) / sizes
    k = np.arange(1, len(order) + 1)
    return pd.DataFrame({"coverage": k / len(order), "risk": np.cumsum(np.repeat(tied_risk, sizes)) / k})


def aurc(confidence: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the risk-coverage curve: mean over k of the error rate among the k most confident (Geifman et al. 2019)."""
    return float(risk_coverage(confidence, wrong)["risk"].mean())


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its interval."""

    value: float
    low: float
    high: float


def group_weights(groups: np.ndarray, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Row weights of resamples that draw whole groups with replacement, (n_resamples, n_rows) int16."""
    codes, names = pd.factorize(np.asarray(groups))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
    return drawn.astype(np.int16)[:, codes]


def percentile_interval(value: float, replicates: np.ndarray, *, level: float = 0.95) -> Interval:
    """Percentile interval; replicates that are not finite are left out."""
    finite = np.asarray(replicates, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(value), float(low), float(high))


def bootstrap(
    statistic: Callable[[Weights], float],
    groups: np.ndarray,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic over resampled groups (cluster bootstrap).

    Parameters
    ----------
    statistic : function of row weights
        `statistic(None)` is the estimate.
    groups : (n,) array
        The independent unit of each row, usually its image.
    """
    weights = group_weights(groups, n_resamples, rng)
    return percentile_interval(statistic(None), [statistic(row) for row in weights], level=level)
