"""Several estimates on the same rows: all their intervals from one pass, and p-values that can be adjusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from verdict.uncertainty import Interval, Resampler, Weights


def intervals(
    statistics: Callable[[Weights], Mapping[str, ArrayLike]], resampler: Resampler, weights: np.ndarray | None = None
) -> tuple[dict[str, Interval], dict[str, np.ndarray]]:
    """Intervals of several statistics that share their work.

    Parameters
    ----------
    statistics : function of row weights
        Values by name; with weights (n_resamples, n) each is (n_resamples,).
    resampler : Resampler
    weights : array (n_resamples, n), optional
        Instead of the resampler's: of rows that are resampled in several parts.

    Returns
    -------
    intervals, replicates : by name
        NaN replicates, and bounds, with fewer than two groups.
    """
    value, drawn = statistics(None), statistics(resampler.weights() if weights is None else weights)
    if resampler.n_groups < 2:
        drawn = {name: np.full(np.shape(one), np.nan) for name, one in drawn.items()}
    return {name: resampler.around(float(value[name]), drawn[name]) for name in value}, dict(drawn)


def p_value(value: float, replicates: ArrayLike, point: float = 0.0) -> float:
    """Two-sided p-value of "the estimate is `point`", from the spread of its resamples; 1 where they have none.

    A normal law is taken for the estimate: counting resamples beyond the point cannot give a p-value small enough to be
    adjusted for dozens of others.

    References
    ----------
    Efron and Tibshirani (1993), An introduction to the bootstrap, section 12.2.
    """
    drawn = np.asarray(replicates, dtype=np.float64)
    spread = drawn[np.isfinite(drawn)].std() if np.isfinite(drawn).any() else 0.0
    return float(2 * stats.norm.sf(abs(value - point) / spread)) if spread > 0 and np.isfinite(value) else 1.0
