"""Answers from prompts alone: cosines to logits, what the logit scale does, confused pairs, class reports.

A cosine is between a unit image vector and a unit class vector. CLIP's logits are the logit scale times cosines.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from verdict.decide.temperature import Temperature
from verdict.stats.metrics import ece_interval, nll_of_logits
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Interval, Resampler, bounded
from verdict.stats.weighted import ratio, weighted_mean


def cosines(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Cosines (n, n_classes) of unit vectors of one space, float64."""
    return np.asarray(images, dtype=np.float64) @ np.asarray(classes, dtype=np.float64).T


def scaled_logits(images: np.ndarray, classes: np.ndarray, logit_scale: float) -> np.ndarray:
    """CLIP's logits (n, n_classes): cosines of unit image vectors and class vectors, times the scale.

    Every page, and the stage that answers, takes them from here.
    """
    return logit_scale * cosines(images, classes)


def accuracy_row(label: str, y_true: np.ndarray, answer: np.ndarray, resampler: Resampler) -> dict:
    """A row of a table or of a forest plot: label, n, value, low, high."""
    found = resampler.mean(np.asarray(answer) == y_true, span=(0, 1))
    return {"label": label, "n": len(y_true), "value": found.value, "low": found.low, "high": found.high}


def fit_temperature(logits: np.ndarray, y_true: np.ndarray, resampler: Resampler) -> tuple[Temperature, Interval]:
    """T of scaled logits, and its interval: fitted again on the resampled groups of the rows."""
    fitted = Temperature.fit(logits, y_true, allow_small=True)
    return fitted, fitted.interval(logits, y_true, resampler)


def scale_effect(
    logits: np.ndarray, y_true: np.ndarray, resampler: Resampler, *, logit_scale: float, fitted: Interval, n_bins: int
) -> pd.DataFrame:
    """What probabilities are worth without the logit scale, with it, and at a temperature fitted on other pictures.

    Columns logits, temperature (of scaled logits: raw cosines have the scale itself), nll, ece with bounds.
    """
    divisors, rows = {"cosines": Interval(logit_scale), "scaled": Interval(1.0), "fitted on calib": fitted}, []
    for name, divisor in divisors.items():
        shown = logits / divisor.value
        loss = resampler.interval(partial(nll_of_logits, shown, y_true))
        error = ece_interval(softmax(shown), y_true, resampler, n_bins=n_bins)
        rows.append({"logits": name, **bounded({"temperature": divisor, "nll": loss, "ece": error})})
    return pd.DataFrame(rows)


def class_report(y_true: np.ndarray, answer: np.ndarray, names: Sequence[str], resampler: Resampler) -> pd.DataFrame:
    """Precision, recall and F1 by class with intervals; and how often the class was there and was answered.

    Precision and recall are not defined for a class that is never answered, or never there.
    """
    rows = []
    for k, name in enumerate(names):
        is_true, is_told = y_true == k, answer == k
        found = {
            "precision": resampler.of(is_told).mean(is_true[is_told], span=(0, 1)),
            "recall": resampler.of(is_true).mean(is_told[is_true], span=(0, 1)),
            "f1": resampler.interval(partial(f1, is_true, is_told)),
        }
        rows.append({"class": name, "n": int(is_true.sum()), "n_answered": int(is_told.sum()), **bounded(found)})
    return pd.DataFrame(rows)


def f1(is_true: np.ndarray, is_told: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of one class from whether each row is of it, and whether it was answered; 0 where neither ever is."""
    both, either = (weighted_mean(values, weights) for values in (is_true & is_told, is_true * 1.0 + is_told))
    return ratio(2 * both, either)
