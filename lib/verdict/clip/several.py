"""Several estimates on the same rows: all their intervals from one pass, the largest of them, and p-values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from verdict.uncertainty import Interval, Resampler, Weights


def among(resampler: Resampler, chosen: ArrayLike) -> Resampler:
    """The same for the rows that are chosen, bool (n,): for means over rows that have a value."""
    return replace(resampler, groups=np.asarray(resampler.groups)[np.asarray(chosen, dtype=bool)])


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


def largest(values: ArrayLike, replicates: ArrayLike, *, level: float) -> Interval:
    """The largest of several estimates, with bounds that pay for its having been picked.

    Each estimate gets bounds so wide that all of them hold at once at the level; the largest true value then lies
    between the largest lower bound and the largest upper one. Of the smallest: turn the signs of both.

    Parameters
    ----------
    values : array (m,)
    replicates : array (n_resamples, m)
        On the same resamples.
    level : float in (0, 1)

    Returns
    -------
    Interval
        NaN bounds where no resample is finite.

    References
    ----------
    Montiel Olea and Plagborg-Møller (2019), Simultaneous confidence bands, Journal of Applied Econometrics 34,
    algorithm 1 (sup-t, by resampling).
    """
    values, drawn = np.asarray(values, dtype=np.float64), np.asarray(replicates, dtype=np.float64)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    n_lost = len(np.asarray(replicates)) - len(drawn)
    if not len(drawn):
        return Interval(float(values.max()), float("nan"), float("nan"))
    spread = drawn.std(axis=0)
    away = np.divide(np.abs(drawn - values), spread, out=np.zeros_like(drawn), where=spread > 0)
    reach = np.quantile(away.max(axis=1), level) * spread
    return Interval(float(values.max()), float((values - reach).max()), float((values + reach).max()), n_lost)


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
