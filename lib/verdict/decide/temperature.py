"""Make probabilities mean what they say: temperature scaling, and references that have more parameters.

All of them are fitted on the calibration split, take logits (n, n_classes) in float64 and give probabilities.
Temperature changes no answer; the others may.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from verdict.stats.metrics import nll_of_logits
from verdict.stats.scores import check_labels, check_logits, softmax, top_class
from verdict.stats.uncertainty import Interval, Resampler

LOG_T_BOUND = 7.0
FEW_ROWS = 100
MAX_SPREAD = 1e4
# Weight of the squared distance of vector scaling from its start; keeps it finite on separable rows.
RIDGE = 1e-6
_GRID = np.linspace(-LOG_T_BOUND, LOG_T_BOUND, 57)
_FINE = 129


@dataclass(frozen=True)
class Temperature:
    """One number that divides all logits: p = softmax(logits / T).

    `temperature` > 0: minimises the mean NLL of the calibration rows; above 1 the model was too sure of itself;
    `nll_before`, `nll_after`: mean NLL of those rows at T = 1 and at T; the second is never the larger one; `n`:
    calibration rows; `converged`: whether the slope of the NLL changes its sign at T; `at_bound`: whether T lies at the
    end of the range that was searched; the best T then lies outside, or there is none; `warning`: what a reader must
    know before using T; empty if nothing.
    """

    temperature: float
    nll_before: float
    nll_after: float
    n: int
    converged: bool
    at_bound: bool
    warning: str = ""

    @classmethod
    def fit(cls, logits: ArrayLike, y_true: ArrayLike, *, allow_small: bool = False) -> Temperature:
        """Fit T by its logarithm, which keeps it positive, within exp(-7) … exp(7).

        The NLL is convex in 1 / T, hence has one valley in log T, found by a grid; a root of the slope is its bottom.

        `logits` (n, n_classes): logits, never probabilities or cosines; `y_true` (n,): class ids; `allow_small`: accept
        values that look like cosines; see `check_logits`. Guo et al. (2017), On calibration of modern neural networks,
        section 4.2.
        """
        logits, y_true = _checked(logits, y_true, allow_small=allow_small)
        best = _optimum(logits, y_true)
        log_t = 0.0 if best is None else best
        at_bound = abs(log_t) == LOG_T_BOUND
        before = float(nll_of_logits(logits, y_true))
        after = float(nll_of_logits(logits / math.exp(log_t), y_true))
        if after > before:
            log_t, after = 0.0, before
        warning = _warning(logits, y_true, log_t, at_bound=at_bound, is_flat=best is None)
        return cls(math.exp(log_t), before, after, len(logits), not (at_bound or best is None), at_bound, warning)

    def transform(self, logits: ArrayLike) -> np.ndarray:
        """Calibrated probabilities (n, n_classes); the ranking of classes in a row stays as it is."""
        return softmax(np.asarray(logits, dtype=np.float64) / self.temperature)

    def interval(self, logits: ArrayLike, y_true: ArrayLike, resampler: Resampler) -> Interval:
        """Percentile interval of T: fitted again on resampled groups of the rows that `fit` saw.

        Resamples in which the best T lies beyond the range that is searched count as its end.
        """
        return resampler.around(self.temperature, temperature_replicates(logits, y_true, resampler))


def nll_curve(logits: ArrayLike, y_true: ArrayLike, log_t: ArrayLike) -> np.ndarray:
    """Mean NLL at each log T, (n_points,): the valley that `Temperature.fit` looks for."""
    logits = np.asarray(logits, dtype=np.float64)
    return np.array([nll_of_logits(logits / math.exp(point), y_true) for point in np.atleast_1d(log_t)])


def temperature_replicates(logits: ArrayLike, y_true: ArrayLike, resampler: Resampler) -> np.ndarray:
    """T fitted on resampled groups, (n_resamples,).

    The slope of a resample's NLL is a weighted sum of the rows' slopes. These are computed once on a grid of log T,
    then on a fine grid over the cells where resamples change sign; between its points the slope is taken for
    straight, which leaves a relative error of T below 1e-4.
    """
    logits = np.asarray(logits, dtype=np.float64)
    y_true = check_labels(y_true, *logits.shape)
    if resampler.n_groups < 2:
        return np.full(resampler.n_resamples, np.nan)
    if not np.ptp(logits, axis=1).any():  # every T is as good: both ends
        return np.resize(np.exp([-LOG_T_BOUND, LOG_T_BOUND]), resampler.n_resamples)
    coarse_slopes = resampler.sums(_row_slopes(logits, y_true, _GRID).T)
    coarse = _sign_change(coarse_slopes, _GRID)
    cell = _GRID[1] - _GRID[0]
    fine = np.linspace(max(coarse.min() - cell, _GRID[0]), min(coarse.max() + cell, _GRID[-1]), _FINE)
    temperatures = np.exp(_sign_change(resampler.sums(_row_slopes(logits, y_true, fine).T), fine))
    # As in `Temperature.fit`: where no T is better than another, it stays 1.
    return np.where(coarse_slopes.any(axis=1), temperatures, 1.0)


@dataclass(frozen=True)
class Calibrator:
    """A fitted calibrator: its number of parameters, and the calibrated probabilities (n, n_classes) of logits."""

    n_parameters: int
    transform: Callable[[ArrayLike], np.ndarray]


def fit_vector_scaling(logits: ArrayLike, y_true: ArrayLike) -> Calibrator:
    """A scale and a shift for each class, p = softmax(scale * logits + shift), by L-BFGS on the NLL from the fitted
    temperature on, which it therefore never does worse than. Guo et al. (2017), section 4.2.
    """
    logits, y_true = _checked(logits, y_true)
    unit = Temperature.fit(logits, y_true, allow_small=True).temperature
    scaled, n_classes = logits / unit, logits.shape[1]
    start = np.concatenate([np.ones(n_classes), np.zeros(n_classes)])
    true = np.arange(len(scaled)), y_true

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        # In place: with a thousand classes most of the time goes into making room for copies.
        error = scaled * parameters[:n_classes] + parameters[n_classes:]
        error -= error.max(axis=1, keepdims=True)
        true_logit = error[true]
        np.exp(error, out=error)
        total = error.sum(axis=1)
        error /= total[:, None] * len(error)
        error[true] -= 1 / len(error)
        gradient = np.concatenate([np.einsum("ij,ij->j", error, scaled), error.sum(axis=0)])
        moved = parameters - start
        value = float((np.log(total) - true_logit).mean() + RIDGE * (moved**2).sum())
        return value, gradient + 2 * RIDGE * moved

    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    best = found.x if found.fun <= loss(start)[0] else start
    scale, shift = best[:n_classes] / unit, best[n_classes:] - best[n_classes:].mean()
    return Calibrator(2 * n_classes, lambda new: softmax(np.asarray(new, dtype=np.float64) * scale + shift))


def fit_platt(logits: ArrayLike, y_true: ArrayLike) -> Calibrator:
    """A sigmoid of each class's log odds, one class against the rest, rows scaled to sum to 1, by maximum likelihood.

    Platt (1999), Probabilistic outputs for support vector machines, section 2.1, with the targets of section 2.2.
    """
    logits, y_true = _checked(logits, y_true)
    odds = _log_odds(logits)
    slope, shift = np.array([_fit_sigmoid(odds[:, k], y_true == k) for k in range(logits.shape[1])]).T

    def transform(new: ArrayLike) -> np.ndarray:
        margin = _log_odds(np.asarray(new, dtype=np.float64)) * slope + shift
        return _normalised(np.exp(-np.logaddexp(0, -margin)))

    return Calibrator(2 * logits.shape[1], transform)


def fit_isotonic(logits: ArrayLike, y_true: ArrayLike) -> Calibrator:
    """A monotone step function of each class's probability, one class against the rest, rows scaled to sum to 1, by
    least squares.

    A row that every class's function sends to 0 becomes uniform. Probabilities of exactly 0 occur, so that the NLL on
    other rows may be infinite.

    Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates.
    """
    # Importing it takes a second, for which whoever renders pages need not wait.
    from sklearn.isotonic import IsotonicRegression

    logits, y_true = _checked(logits, y_true)
    fits = [
        IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(column, y_true == k)
        for k, column in enumerate(softmax(logits).T)
    ]

    def transform(new: ArrayLike) -> np.ndarray:
        columns = zip(fits, softmax(new).T, strict=True)
        return _normalised(np.column_stack([fit.predict(column) for fit, column in columns]))

    return Calibrator(sum(len(fit.X_thresholds_) for fit in fits), transform)


def _checked(logits: ArrayLike, y_true: ArrayLike, *, allow_small: bool = False) -> tuple[np.ndarray, np.ndarray]:
    logits = check_logits(logits, allow_small=allow_small)
    return logits, check_labels(y_true, *logits.shape)


def _row_slopes(logits: np.ndarray, y_true: np.ndarray, log_t: np.ndarray) -> np.ndarray:
    """Derivative of each row's NLL by log T, (n_points, n): (l_true - sum of p l) / T."""
    # Without a common shift per row, huge logits would lose the difference to rounding.
    shifted = logits - logits.max(axis=1, keepdims=True)
    true = shifted[np.arange(len(y_true)), y_true]
    slopes, scaled = np.empty((len(log_t), len(logits))), np.empty(shifted.shape)
    for i, point in enumerate(log_t):
        inverse = math.exp(-point)
        np.multiply(shifted, inverse, out=scaled)
        np.exp(scaled, out=scaled)
        slopes[i] = inverse * (true - np.einsum("ij,ij->i", scaled, shifted) / scaled.sum(axis=1))
    return slopes


def _optimum(logits: np.ndarray, y_true: np.ndarray) -> float | None:
    """The log T of the lowest NLL, an end of the grid if it falls on beyond; None where T makes no difference."""
    values = nll_curve(logits, y_true, _GRID)
    if np.ptp(values) <= 1e-12 * max(1.0, values.max()):
        return None

    def slope(log_t: float) -> float:
        return float(_row_slopes(logits, y_true, np.array([log_t])).mean())

    best = int(values.argmin())
    low, high = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
    if not slope(low) < 0 < slope(high):
        return float(_GRID[best])
    return float(optimize.brentq(slope, low, high, xtol=1e-12, rtol=1e-14))


def _sign_change(slopes: np.ndarray, log_t: np.ndarray) -> np.ndarray:
    """Where each row of slopes (m, n_points) turns from falling to rising; an end of the grid where it does not."""
    is_rising = slopes >= 0
    right = is_rising.argmax(axis=1)
    right[~is_rising.any(axis=1)] = len(log_t) - 1
    left = np.maximum(right - 1, 0)
    rows = np.arange(len(slopes))
    below, above = slopes[rows, left], slopes[rows, right]
    gap = above - below
    share = np.divide(-below, gap, out=np.ones(len(rows)), where=(gap > 0) & (above >= 0))
    return log_t[left] + share * (log_t[right] - log_t[left])


def _warning(logits: np.ndarray, y_true: np.ndarray, log_t: float, *, at_bound: bool, is_flat: bool) -> str:
    """What a reader must know before using T: what is peculiar about these rows, and where T ended."""
    with np.errstate(over="ignore"):
        spread = float(np.ptp(logits, axis=1).max())
    notes = []
    if spread > MAX_SPREAD:
        notes.append(
            f"the logits of a row differ by up to {spread:.3g}, which a softmax cannot tell from certainty: they "
            "are of another scale than logits, and T only undoes it"
        )
    elif is_flat:
        notes.append("every T gives the same NLL (the logits of a row are equal), so T stays 1")
    if len(np.unique(y_true)) == 1:
        notes.append(f"every label of these rows is class {y_true[0]}, and T says nothing about the others")
    if at_bound and log_t < 0:
        cause = "every answer is right" if (top_class(logits) == y_true).all() else "the logits lack their scale"
        notes.append(
            f"T = {math.exp(log_t):.3g} is the lower bound of the search, the sharper the better on these rows: "
            f"{cause}, and T is not to be trusted"
        )
    elif at_bound:
        notes.append(
            f"T = {math.exp(log_t):.4g} is the upper bound of the search: on these rows the logits are no better than "
            "guessing, and calibrated probabilities are uniform"
        )
    if len(logits) < FEW_ROWS:
        notes.append(f"{len(logits)} calibration rows are few; look at the interval of T")
    return "; ".join(notes)


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Logarithm of p / (1 - p) of each class against the rest, (n, n_classes); finite for finite logits.

    The rest of a class is what lies before and what lies behind it: nothing is taken from a sum, so nothing cancels.
    """
    before, behind = np.full(logits.shape, -np.inf), np.full(logits.shape, -np.inf)
    before[:, 1:] = np.logaddexp.accumulate(logits[:, :-1], axis=1)
    behind[:, :-1] = np.logaddexp.accumulate(logits[:, :0:-1], axis=1)[:, ::-1]
    return logits - np.logaddexp(before, behind)


def _fit_sigmoid(score: np.ndarray, is_positive: np.ndarray) -> tuple[float, float]:
    """Slope and shift of Platt's sigmoid."""
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    target = np.where(is_positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    unit = max(float(np.abs(score).max()), 1e-12)
    scaled = score / unit

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin = parameters[0] * scaled + parameters[1]
        error = (np.exp(-np.logaddexp(0, -margin)) - target) / len(margin)
        value = (np.logaddexp(0, margin) - target * margin).mean()
        return float(value), np.array([error @ scaled, error.sum()])

    found = optimize.minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", tol=1e-12)
    return float(found.x[0] / unit), float(found.x[1])


def _normalised(scores: np.ndarray) -> np.ndarray:
    total = scores.sum(axis=1, keepdims=True)
    uniform = np.full(scores.shape, 1 / scores.shape[1])
    return np.divide(scores, total, out=uniform, where=total > 0)
