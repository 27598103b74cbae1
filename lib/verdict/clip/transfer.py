"""Does a temperature that was fitted before a shift still serve under it?

Logits, never cosines. The oracle is the temperature that the shifted images themselves would have chosen; the regret is
what the transferred one costs against it, in nats of NLL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.calibrate import Temperature
from verdict.metrics import brier, ece
from verdict.scores import log_softmax, softmax
from verdict.uncertainty import group_weights, percentile_interval, with_bounds
from verdict.weighted import weighted_mean

_REACH, _POINTS = 2.5, 161


@dataclass(frozen=True, eq=False)
class Condition:
    """Logits (n, n_classes), true classes (n,) and independent units (n,) of the images of one condition."""

    logits: np.ndarray
    y_true: np.ndarray
    groups: np.ndarray


def regret(
    logits: ArrayLike, y_true: ArrayLike, temperature: float, weights: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """NLL at a temperature minus the lowest NLL that any temperature gives, and the temperature that gives it.

    Parameters
    ----------
    logits : array (n, n_classes)
    y_true : array of int, (n,)
    temperature : float > 0
    weights : array, (n,) or (n_resamples, n), optional
        How often each row counts.

    Returns
    -------
    regret : (...), >= 0, in nats
    oracle : (...), > 0
        The best of a grid around the optimum of all rows, 3 % apart, with `temperature` on it.
    """
    best = Temperature.fit(logits, y_true, allow_small=True).temperature
    grid = np.exp(np.linspace(-_REACH, _REACH, _POINTS))
    grid = np.append(best * grid, temperature)
    rows = np.arange(len(np.asarray(y_true)))
    logits = np.asarray(logits, dtype=np.float64)
    losses = np.stack([-log_softmax(logits / one)[rows, y_true] for one in grid])
    curves = np.stack([weighted_mean(loss, weights) for loss in losses], axis=-1)
    return curves[..., -1] - curves.min(axis=-1), grid[curves.argmin(axis=-1)]


def transfer_table(
    fitted: Temperature,
    conditions: Mapping[str, Condition],
    *,
    n_bins: int,
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> pd.DataFrame:
    """What one temperature does under every condition.

    Parameters
    ----------
    fitted : Temperature
        From images of its own; it stays as it is, so that intervals speak about the conditions' images.
    conditions : mapping from name to Condition
    n_bins : int
        Of the ECE.
    n_resamples : int
    rng : numpy.random.Generator
    level : float in (0, 1)

    Returns
    -------
    DataFrame
        One row a condition: accuracy; ece_before, ece; nll_before, nll; brier_before, brier; oracle (temperature);
        regret; each with `_low`, `_high`; n. Before is T = 1.
    """
    rows = []
    for name, one in conditions.items():
        weights = group_weights(one.groups, n_resamples, rng)
        value = _measured(one, fitted.temperature, None, n_bins)
        drawn = _measured(one, fitted.temperature, weights, n_bins)
        row: dict[str, object] = {"condition": name}
        for metric, number in value.items():
            found = percentile_interval(float(number), drawn[metric], level=level)
            row |= with_bounds(metric, found)
        rows.append(row | {"n": len(one.y_true)})
    return pd.DataFrame(rows)


def _measured(one: Condition, temperature: float, weights: ArrayLike | None, n_bins: int) -> dict[str, np.ndarray]:
    found = {"accuracy": weighted_mean(one.logits.argmax(axis=1) == one.y_true, weights)}
    for suffix, scale in (("_before", 1.0), ("", temperature)):
        probs = softmax(one.logits / scale)
        loss = -log_softmax(one.logits / scale)[np.arange(len(one.y_true)), one.y_true]
        found |= {
            f"ece{suffix}": ece(probs, one.y_true, weights, n_bins=n_bins),
            f"nll{suffix}": weighted_mean(loss, weights),
            f"brier{suffix}": brier(probs, one.y_true, weights),
        }
    found["regret"], found["oracle"] = regret(one.logits, one.y_true, temperature, weights)
    return found
