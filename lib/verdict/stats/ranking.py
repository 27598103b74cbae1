"""How well a score ranks rows: positives over negatives, right answers over wrong ones.

Weights as in `verdict.stats.weighted`. Rows of equal score never depend on the order in which they are given.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.stats.weighted import ratio, row_weights, totals


def auroc(score: ArrayLike, is_positive: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Chance that a positive row scores above a negative one; equal scores count half; NaN if a side is empty."""
    score, is_positive = _scored(score, is_positive)
    values, cells = np.unique(score, return_inverse=True)
    positive = totals(weights, cells, len(values), is_positive)
    negative = totals(weights, cells, len(values), ~is_positive)
    below = np.cumsum(negative, axis=-1) - negative / 2
    return ratio((positive * below).sum(axis=-1), positive.sum(axis=-1) * negative.sum(axis=-1), empty=np.nan)


def risk_coverage(confidence: ArrayLike, wrong: ArrayLike, *, n_points: int) -> pd.DataFrame:
    """Columns coverage and risk: error rate against the share of rows that is answered, the most confident first; at
    n_points evenly spaced coverages up to 1. Ties as in `Ranked.aurc`.
    """
    coverage = np.arange(1, n_points + 1) / n_points
    return pd.DataFrame({"coverage": coverage, "risk": Ranked(confidence, wrong).risk_at(coverage)})


class Ranked:
    """Rows sorted once, to evaluate `aurc` and risks under many weights."""

    def __init__(self, confidence: ArrayLike, wrong: ArrayLike):
        confidence, wrong = _scored(confidence, wrong)
        # Wrong rows come first among equals, so that every count that is needed is a difference of running ones.
        self._order = np.lexsort((~wrong, -confidence))
        ordered, self._wrong = confidence[self._order], wrong[self._order]
        # Each run of tied rows is [start, end).
        start = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
        self._end = np.append(start[1:], len(ordered))[: len(start)]
        n_wrong = np.append(0, np.cumsum(self._wrong))
        errors = n_wrong[self._end] - n_wrong[start]
        errs = errors > 0
        # Of the runs with errors: where they start, where their errors end, and where they end.
        self._erring = start[errs], start[errs] + errors[errs], self._end[errs]

    def aurc(self, weights: ArrayLike | None = None) -> np.ndarray:
        """Mean over k = 1 … n of the error rate among the k most confident rows, in [0, 1]; lower is better. Rows of
        equal confidence: the expected value under a random order of them.

        An error in place j of n counts in all places from there on: H(n) - H(j - 1), H being the harmonic numbers. The
        e errors of m tied rows behind s others are as likely in each place, which is e H(n) - e / m (G(s + m) - G(s)),
        G(k) being H(0) + … + H(k - 1). Rows that are right and tie with no error add nothing.
        Geifman, Uziel and El-Yaniv (2019), Bias-reduced uncertainty estimation, eq. 3; the tie rule is ours.
        """
        n_rows = _running(self._counts(weights))
        before, with_errors, after = (np.take(n_rows, places, axis=-1) for places in self._erring)
        errors = with_errors - before
        n = n_rows[..., -1]
        harmonic = np.append(0.0, np.cumsum(1 / np.arange(1, n.max(initial=0) + 1)))
        harmonic_sums = np.append(0.0, np.cumsum(harmonic))
        spent = ratio(errors, after - before) * (harmonic_sums[after] - harmonic_sums[before])
        return ratio(errors.sum(axis=-1) * harmonic[n] - spent.sum(axis=-1), n, empty=np.nan)

    def risk_at(self, coverage: np.ndarray, weights: ArrayLike | None = None) -> np.ndarray:
        """Error rates among the most confident shares of rows in (0, 1], (..., n_coverages); ties as in `aurc`. Between
        two numbers of rows the count of errors is interpolated.
        """
        counts = self._counts(weights)
        n_rows = np.take(_running(counts), self._end, axis=-1)
        n_errors = np.take(_running(counts * self._wrong), self._end, axis=-1)
        risks = np.empty((*counts.shape[:-1], len(coverage)))
        for resample in np.ndindex(counts.shape[:-1]):
            n_answered = coverage * n_rows[resample][-1]
            errors = np.interp(n_answered, np.r_[0, n_rows[resample]], np.r_[0, n_errors[resample]])
            risks[resample] = ratio(errors, n_answered, empty=np.nan)
        return risks

    def _counts(self, weights: ArrayLike | None) -> np.ndarray:
        """How often each row counts, from the most confident on, (..., n)."""
        n = len(self._order)
        # Integers, as resamples hold them, are not converted to floats: that takes a quarter of the time.
        counts = np.asarray(weights) if np.asarray(weights).dtype.kind in "iu" else row_weights(weights, n)
        if counts.shape[-1:] != (n,) or (counts.dtype.kind == "f" and np.any(counts % 1)):
            raise ValueError(f"weights must be whole numbers of shape ({n},) or (n_resamples, {n}), got {counts.shape}")
        return np.take(counts, self._order, axis=-1)


def _running(counts: np.ndarray) -> np.ndarray:
    """Sums of the first 0 … n counts, whole numbers (..., n + 1)."""
    sums = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=-1, out=sums[..., 1:], dtype=np.int64)
    return sums


def _scored(score: ArrayLike, is_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    score, is_true = np.asarray(score, dtype=np.float64), np.asarray(is_true)
    if score.ndim != 1 or is_true.shape != score.shape:
        raise ValueError(f"expected one score and one truth a row, got shapes {score.shape} and {is_true.shape}")
    if np.isnan(score).any():
        raise ValueError(f"{np.isnan(score).sum()} of {len(score)} scores are NaN; they have no place in a ranking")
    return score, is_true.astype(bool)
