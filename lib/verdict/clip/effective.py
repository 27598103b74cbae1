"""Effective robustness: how much better a model stands under a shift than models of its accuracy usually do.

On logit axes, accuracy under a shift is close to a straight line of accuracy before it. The line is fitted robustly to
a population of models; what a model has above it is its effective robustness, in points of accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit

from verdict.clip.robustness import shares
from verdict.clip.several import intervals, p_value
from verdict.uncertainty import Interval, Resampler, Weights

MIN_MODELS = 8
_TUNING = 1.345
_MAD_OF_NORMAL = 0.6744897501960817
_STEPS = 50


@dataclass(frozen=True)
class Effective:
    """One model's place beside the line of a population under one shift.

    Attributes
    ----------
    rho : Interval
        Accuracy under the shift minus the line's expectation at the model's accuracy before it; in [-1, 1].
    expected : Interval
        That expectation.
    p_rho : float
        Two-sided p-value of "rho is zero"; see `several.p_value`.
    slope, intercept : Interval
        Of the line on logit axes.
    scale : Interval
        Median absolute residual of the population on the logit axis, divided by that of a standard normal.
    before, after : Interval
        The model's accuracies.
    population : ndarray (n_models, 2)
        Accuracies of the population before and under the shift.
    """

    rho: Interval
    p_rho: float
    expected: Interval
    slope: Interval
    intercept: Interval
    scale: Interval
    before: Interval
    after: Interval
    population: np.ndarray


def logit_share(share: ArrayLike, n: ArrayLike) -> np.ndarray:
    """log(a / (1 - a)) of a share of n images, kept within half an image of 0 and 1 so that it is finite."""
    n = np.asarray(n, dtype=np.float64)
    share = np.clip(np.asarray(share, dtype=np.float64), 0.5 / n, 1 - 0.5 / n)
    return np.log(share / (1 - share))


def huber_line(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Straight lines by Huber's M-estimator, many at once.

    Parameters
    ----------
    x, y : arrays (..., n_points)
        One line for each leading index.

    Returns
    -------
    intercept, slope, scale : arrays (...)
        NaN where all x are equal. The scale is the median absolute residual over that of a standard normal.

    Notes
    -----
    Iterated weighted least squares from the least-squares line; residuals beyond 1.345 scales count less, and the scale
    is estimated anew in each step.

    References
    ----------
    Huber (1981), Robust statistics, sections 7.7-7.8.
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    weight = np.ones(x.shape)
    for _ in range(_STEPS):
        intercept, slope = _weighted_line(x, y, weight)
        distance = np.abs(y - intercept[..., None] - slope[..., None] * x)
        scale = np.median(distance, axis=-1) / _MAD_OF_NORMAL
        limit = np.maximum(_TUNING * scale, 1e-12)[..., None]
        new = limit / np.maximum(distance, limit)
        if np.nanmax(np.abs(new - weight), initial=0.0) < 1e-7:
            break
        weight = new
    return intercept, slope, scale


def _weighted_line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = weight.sum(axis=-1)
    mean_x, mean_y = (weight * x).sum(axis=-1) / total, (weight * y).sum(axis=-1) / total
    away = x - mean_x[..., None]
    spread = (weight * away**2).sum(axis=-1)
    slope = np.full(spread.shape, np.nan)
    np.divide((weight * away * (y - mean_y[..., None])).sum(axis=-1), spread, out=slope, where=spread > 1e-12)
    return mean_y - slope * mean_x, slope


def effective_robustness(
    before: ArrayLike,
    after: ArrayLike,
    population_before: ArrayLike,
    population_after: ArrayLike,
    resampler: Resampler,
) -> Effective:
    """Effective robustness of one model, with intervals over the models of the population and over images.

    Parameters
    ----------
    before, after : arrays (n,)
        Right answers of the model on the same images before and under the shift.
    population_before, population_after : arrays (n_models, n)
        Those of the population, without the model.
    resampler : Resampler
        Of the images; each resample draws groups, and models of the population, with replacement.

    Raises
    ------
    ValueError
        If shapes disagree or the population has fewer than 8 models.

    References
    ----------
    Taori et al. (2020), Measuring robustness to natural distribution shifts, section 2; Tu et al. (2024), Toward a
    holistic evaluation of robustness in CLIP models, for Huber's line.
    """
    first = np.vstack([np.asarray(before)[None], population_before]).astype(np.float64)
    second = np.vstack([np.asarray(after)[None], population_after]).astype(np.float64)
    n_models = len(first) - 1
    if first.shape != second.shape:
        raise ValueError(
            f"the same models and images are needed before and under the shift, got {first.shape} and {second.shape}"
        )
    if n_models < MIN_MODELS:
        raise ValueError(f"a line needs a population of at least {MIN_MODELS} models, got {n_models}")
    n = first.shape[1]
    drawn_models = resampler.rng("models").integers(1, n_models + 1, size=(resampler.n_resamples, n_models))

    def places(weights: Weights) -> dict[str, np.ndarray]:
        picks = np.arange(1, n_models + 1) if weights is None else drawn_models
        return _place(shares(first, weights), shares(second, weights), picks, n)

    keep, drawn = intervals(places, resampler)
    population = np.stack([shares(first)[1:], shares(second)[1:]], axis=1)
    p_rho = p_value(keep["rho"].value, drawn["rho"])
    return Effective(population=population, p_rho=p_rho, **keep)


def _place(before: np.ndarray, after: np.ndarray, picks: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Quantities of `Effective` from accuracies (..., 1 + n_models), the model first, and the models drawn."""
    x, y = (logit_share(np.take_along_axis(one, picks, axis=-1), n) for one in (before, after))
    intercept, slope, scale = huber_line(x, y)
    expected = expit(intercept + slope * logit_share(before[..., 0], n))
    return {
        "rho": after[..., 0] - expected,
        "expected": expected,
        "slope": slope,
        "intercept": intercept,
        "scale": scale,
        "before": before[..., 0],
        "after": after[..., 0],
    }


def line_of(one: Effective, n_points: int = 99) -> pd.DataFrame:
    """The population's line on accuracy axes: columns before and expected, from 0.01 to 0.99."""
    before = np.linspace(0.01, 0.99, n_points)
    logit = np.log(before / (1 - before))
    return pd.DataFrame({"before": before, "expected": expit(one.intercept.value + one.slope.value * logit)})
