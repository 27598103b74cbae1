"""Does a temperature that was fitted before a shift still serve under it?

Logits, never cosines. The oracle is the temperature that the shifted images themselves would have chosen; the regret is
what the transferred one costs against it, in nats of NLL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from verdict.clip.robustness.robustness import intervals
from verdict.decide.temperature import LOG_T_BOUND, Temperature
from verdict.stats.metrics import brier, ece_change, ece_interval, nll_of_logits
from verdict.stats.scores import softmax, top_class
from verdict.stats.uncertainty import NOTHING, Resampler, Weights, bounded, p_value
from verdict.stats.weighted import weighted_mean

_REACH, _POINTS = 2.5, 161


# Logits (n, n_classes), true classes (n,) and the resampler of the images of one condition.
Condition = tuple[np.ndarray, np.ndarray, Resampler]


def regret(
    logits: np.ndarray, y_true: np.ndarray, temperature: float, weights: Weights = None
) -> tuple[np.ndarray, np.ndarray]:
    """NLL at a temperature minus the lowest NLL that any temperature gives (>= 0, nats), and the one that gives it.

    The latter is the best of a grid around the optimum of all rows, 3 % apart, with `temperature` on it, within the
    range that `Temperature.fit` searches. Weights as in `verdict.stats.weighted`.
    """
    best = np.log(Temperature.fit(logits, y_true, allow_small=True).temperature)
    grid = np.clip(best + np.linspace(-_REACH, _REACH, _POINTS), -LOG_T_BOUND, LOG_T_BOUND)
    grid = np.append(np.exp(grid), temperature)
    curves = np.stack([nll_of_logits(logits / one, y_true, weights) for one in grid], axis=-1)
    return curves[..., -1] - curves.min(axis=-1), grid[curves.argmin(axis=-1)]


def transfer_table(
    fitted: Temperature, conditions: Mapping[str, Condition], *, n_bins: int
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """What one temperature, fitted on images of its own and kept as it is, does under every condition.

    One row a condition: accuracy; ece_before, ece, ece_change; nll_before, nll, nll_change; brier_before, brier;
    oracle (temperature, not defined at the end of what is searched); regret; each with `_low`, `_high`; p_nll_change
    (of no change, not adjusted); n. Before is T = 1. Beside the table: resamples of each regret, (n_resamples,).
    """
    rows, regrets = [], {}
    for name, (logits, y_true, resampler) in conditions.items():
        found, drawn = intervals(partial(_measured, logits, y_true, fitted.temperature), resampler)
        # A regret is at least zero, and resampling adds to it: its interval reaches down to the value.
        low = min(found["regret"].low, found["regret"].value)
        found["regret"] = replace(found["regret"], low=low)
        if abs(np.log(found["oracle"].value)) >= LOG_T_BOUND - 1e-9:
            found["oracle"] = NOTHING
        first, probs = {"accuracy": found.pop("accuracy")}, (softmax(logits), softmax(logits / fitted.temperature))
        for metric, shown in zip(("ece_before", "ece"), probs, strict=True):
            first[metric] = ece_interval(shown, y_true, resampler, n_bins=n_bins)
        first["ece_change"] = ece_change(*probs, y_true, resampler, n_bins=n_bins)
        p_change = p_value(found["nll_change"].value, drawn["nll_change"])
        row: dict[str, object] = {"condition": name, **bounded(first | found)}
        rows.append(row | {"p_nll_change": p_change, "n": len(y_true)})
        regrets[name] = drawn["regret"]
    return pd.DataFrame(rows), regrets


def _measured(logits: np.ndarray, y_true: np.ndarray, temperature: float, weights: Weights) -> dict[str, np.ndarray]:
    found = {"accuracy": weighted_mean(top_class(logits) == y_true, weights)}
    for suffix, divisor in (("_before", 1.0), ("", temperature)):
        found[f"nll{suffix}"] = nll_of_logits(logits / divisor, y_true, weights)
        found[f"brier{suffix}"] = brier(softmax(logits / divisor), y_true, weights)
    found["nll_change"] = found["nll"] - found["nll_before"]
    found["regret"], found["oracle"] = regret(logits, y_true, temperature, weights)
    return found
