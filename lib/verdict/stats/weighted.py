"""Weighted sums over rows, from which every metric is computed.

Weights say how often each row counts: None (once each), (n,), or (n_resamples, n). Results have the shape of the
weights without their last axis.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse


@dataclass(frozen=True, eq=False)
class OfSums:
    """A statistic of weighted sums of columns (n, c) over rows alone: `of` maps (..., c) to (...).

    Rows of a group are added up once for all resamples; sums of whole numbers are the same in any order.
    """

    columns: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]

    def __call__(self, weights: ArrayLike | None = None) -> np.ndarray:
        """The statistic under row weights, as every metric takes them."""
        return self.of(row_weights(weights, len(self.columns)) @ self.columns)


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None, *, empty: float = np.nan) -> np.ndarray:
    """Mean of one value a row, `empty` of no rows, in the shape of the weights without their last axis."""
    values = np.asarray(values, dtype=np.float64)
    weights = row_weights(weights, len(values))
    # A row that a resample leaves out must not turn an infinite loss into 0 * inf.
    is_finite = np.isfinite(values)
    sums = weights @ np.where(is_finite, values, 0.0)
    if not is_finite.all():
        with np.errstate(invalid="ignore"):
            sums = sums + np.where(weights[..., ~is_finite] > 0, values[~is_finite], 0.0).sum(axis=-1)
    return ratio(sums, weights.sum(axis=-1), empty=empty)


def mean_gap(
    values: ArrayLike, inside: np.ndarray, weights: ArrayLike | None = None, *, empty: float = np.nan
) -> np.ndarray:
    """Mean of values (n,) over the rows inside, (n,) bool, minus that over the others; `empty` is that of no rows."""
    weights = row_weights(weights, len(inside))
    first, second = (weighted_mean(values, weights * side, empty=empty) for side in (inside, ~inside))
    return first - second


def totals(weights: ArrayLike | None, cells: np.ndarray, n_cells: int, values: ArrayLike | None = None) -> np.ndarray:
    """Weighted sums of a value (n,), by default ones, over the rows of each cell (n,) < n_cells: (..., n_cells)."""
    n = len(cells)
    weights = row_weights(weights, n)
    values = np.ones(n) if values is None else np.asarray(values, dtype=np.float64)
    membership = sparse.csr_array((values, (cells, np.arange(n))), shape=(n_cells, n))
    return np.ascontiguousarray((membership @ weights.reshape(-1, n).T).T).reshape(*weights.shape[:-1], n_cells)


def row_weights(weights: ArrayLike | None, n: int) -> np.ndarray:
    """Row weights as float64 (n,) or (n_resamples, n), ones for None; ValueError for another shape, negative or NaN."""
    if weights is None:
        return np.ones(n)
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != n:
        raise ValueError(f"weights must have shape ({n},) or (n_resamples, {n}), got {array.shape}")
    if array.size and not array.min() >= 0:
        raise ValueError("weights must not be negative or NaN")
    return array


def ratio(numerator: ArrayLike, denominator: ArrayLike, *, empty: float = 0.0) -> np.ndarray:
    """Division in which 0/0 is `empty`."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, empty), where=denominator > 0)[()]
