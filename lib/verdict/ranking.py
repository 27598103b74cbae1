"""How well a score ranks rows: positives over negatives, right answers over wrong ones.

Weights as in `verdict.weighted`. Rows of equal score never depend on the order in which they are given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.weighted import ratio, row_weights, totals


def auroc(score: ArrayLike, is_positive: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Chance that a positive row scores above a negative one; equal scores count half; NaN if a side is empty.

    Parameters
    ----------
    score : array of float, (n,)
        Higher means more positive; any monotone scale.
    is_positive : array of bool, (n,)
        Which rows should score high.
    weights : array, (n,) or (n_resamples, n), optional
        How often each row counts.
    """
    score, is_positive = _scored(score, is_positive)
    values, cells = np.unique(score, return_inverse=True)
    positive = totals(weights, cells, len(values), is_positive)
    negative = totals(weights, cells, len(values), ~is_positive)
    below = np.cumsum(negative, axis=-1) - negative / 2
    return ratio((positive * below).sum(axis=-1), positive.sum(axis=-1) * negative.sum(axis=-1), empty=np.nan)


def aurc(confidence: ArrayLike, wrong: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Mean over k = 1 … n of the error rate among the k most confident rows, in [0, 1]; lower is better.

    Rows of equal confidence: the expected value under a random order of them, so that the order of rows plays no
    part. In a tied block of m rows and e errors, after s rows with E errors, the sum over j = 1 … m of (E + j e / m)
    / (s + j) is e + (E - s e / m)(H(s + m) - H(s)), H being the harmonic numbers.

    References
    ----------
    Geifman, Uziel and El-Yaniv (2019), Bias-reduced uncertainty estimation, eq. 3; the tie rule is ours.
    """
    mass, errors = _tied_blocks(confidence, wrong, weights)
    n_before, errors_before = np.cumsum(mass, axis=-1) - mass, np.cumsum(errors, axis=-1) - errors
    totals_to = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(mass.sum(axis=-1).max(initial=0)) + 1))])
    after = (n_before + mass).astype(np.int64)
    harmonic = totals_to[after] - totals_to[n_before.astype(np.int64)]
    area = errors + (errors_before - n_before * ratio(errors, mass)) * harmonic
    return ratio(area.sum(axis=-1), mass.sum(axis=-1), empty=np.nan)


def risk_at(
    coverage: ArrayLike, confidence: ArrayLike, wrong: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Error rate among the most confident share of rows, (..., n_coverages); ties as in `aurc`.

    Parameters
    ----------
    coverage : array in (0, 1], (n_coverages,)
        Shares; between two numbers of rows the count of errors is interpolated.
    confidence : array of float, (n,)
        Any monotone scale.
    wrong : array of bool, (n,)
        Whether the answer is wrong.
    weights : array, (n,) or (n_resamples, n), optional
        How often each row counts.
    """
    coverage = np.asarray(coverage, dtype=np.float64)
    if not ((coverage > 0) & (coverage <= 1)).all():
        raise ValueError(f"coverage must lie in (0, 1], got [{coverage.min()}, {coverage.max()}]")
    mass, errors = _tied_blocks(confidence, wrong, weights)
    blocks = zip(mass.reshape(-1, mass.shape[-1]), errors.reshape(-1, mass.shape[-1]), strict=True)
    found = [_risk_of_blocks(coverage, n_rows, n_errors) for n_rows, n_errors in blocks]
    return np.reshape(found, (*mass.shape[:-1], len(coverage)))


def risk_coverage(confidence: ArrayLike, wrong: ArrayLike, *, n_points: int | None = None) -> pd.DataFrame:
    """Error rate against the share of rows that is answered, the most confident first; ties as in `aurc`.

    Parameters
    ----------
    confidence : array of float, (n,)
        Any monotone scale.
    wrong : array of bool, (n,)
        Whether the answer is wrong.
    n_points : int, optional
        Evenly spaced coverages up to 1; by default k / n for every k.

    Returns
    -------
    DataFrame
        Columns coverage, risk.
    """
    n_points = n_points or len(np.asarray(confidence))
    coverage = np.arange(1, n_points + 1) / n_points
    return pd.DataFrame({"coverage": coverage, "risk": risk_at(coverage, confidence, wrong)})


def _tied_blocks(
    confidence: ArrayLike, wrong: ArrayLike, weights: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and errors at each distinct confidence, from the highest on, each (..., n_distinct)."""
    confidence, wrong = _scored(confidence, wrong)
    values, cells = np.unique(-confidence, return_inverse=True)
    if len(values) == len(cells):
        # Without ties a block is a row, and sorting does what sums would.
        order = np.argsort(cells)
        mass = row_weights(weights, len(cells))[..., order]
        return mass, mass * wrong[order]
    return totals(weights, cells, len(values)), totals(weights, cells, len(values), wrong)


def _risk_of_blocks(coverage: np.ndarray, n_rows: np.ndarray, n_errors: np.ndarray) -> np.ndarray:
    rows, errors = np.cumsum(n_rows), np.cumsum(n_errors)
    wanted = coverage * rows[-1]
    return ratio(np.interp(wanted, np.r_[0, rows], np.r_[0, errors]), wanted, empty=np.nan)


def _scored(score: ArrayLike, is_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    score, is_true = np.asarray(score, dtype=np.float64), np.asarray(is_true)
    if score.ndim != 1 or is_true.shape != score.shape:
        raise ValueError(f"expected one score and one truth a row, got shapes {score.shape} and {is_true.shape}")
    if np.isnan(score).any():
        raise ValueError(
            f"{int(np.isnan(score).sum())} of {len(score)} scores are NaN; they have no place in a ranking"
        )
    if is_true.dtype != bool and not np.isin(is_true, (0, 1)).all():
        raise ValueError(f"expected true or false a row, got {is_true.dtype} with values other than 0 and 1")
    return score, is_true.astype(bool)
