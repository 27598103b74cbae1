"""Answers from prompts alone: cosines to logits, what the logit scale does, entropy, confused pairs, class reports.

A cosine is between a unit image vector and a unit class vector. CLIP's logits are the logit scale times cosines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.calibrate import Temperature
from verdict.metrics import accuracy, class_scores, confusion_counts, ece, nll
from verdict.scores import softmax
from verdict.uncertainty import Interval, Weights, bootstrap, with_bounds

Estimate = Callable[[Callable[[Weights], ArrayLike], np.ndarray], Interval]


def estimator(*, n_resamples: int, seed: ArrayLike, level: float = 0.95) -> Estimate:
    """A function of a statistic and groups that gives its interval; every call draws the same groups, so that
    statistics of the same rows can be compared.
    """

    def estimate(statistic: Callable[[Weights], ArrayLike], groups: np.ndarray) -> Interval:
        rng = np.random.default_rng(seed)
        return bootstrap(statistic, groups, n_resamples=n_resamples, rng=rng, level=level)

    return estimate


def cosines(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Cosines (n, n_classes) of unit vectors, float64.

    Raises
    ------
    ValueError
        If vectors are not of unit length, or of different spaces.
    """
    if images.shape[1] != classes.shape[1]:
        raise ValueError(f"images have {images.shape[1]} dimensions, classes {classes.shape[1]}")
    for name, vectors in (("image", images), ("class", classes)):
        lengths = np.linalg.norm(vectors, axis=1)
        if np.abs(lengths - 1).max() > 1e-3:
            raise ValueError(f"{name} vectors must have unit length, got {lengths.min():.3g} to {lengths.max():.3g}")
    return np.asarray(images, dtype=np.float64) @ np.asarray(classes, dtype=np.float64).T


def accuracy_row(label: str, y_true: np.ndarray, answer: np.ndarray, groups: np.ndarray, estimate: Estimate) -> dict:
    """A row of a table or of a forest plot: label, n, value, low, high."""
    found = estimate(lambda weights: accuracy(y_true, answer, weights), groups)
    return {"label": label, "n": len(y_true), "value": found.value, "low": found.low, "high": found.high}


def scale_effect(
    calib: tuple[np.ndarray, np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    logit_scale: float,
    estimate: Estimate,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, Interval]:
    """What probabilities are worth without the logit scale, with it, and at a fitted temperature.

    Parameters
    ----------
    calib, test : (cosines (n, n_classes), y_true (n,), groups (n,))
        T is fitted on the first, the second judges.
    logit_scale : float
        The model's own.

    Returns
    -------
    table : DataFrame
        logits, T (on cosines), nll, ece and their intervals on test.
    fitted : Interval
        T of cosines times the logit scale: 1 if the model's own scale is the right one for this task.
    """
    cos, y_true, groups = calib
    found = Temperature.fit(cos, y_true, allow_small=True)
    spread = found.interval(cos, y_true, groups, n_resamples=n_resamples, rng=rng)
    rows = []
    for name, divisor in (
        ("cosines", 1.0),
        ("scaled", 1 / logit_scale),
        ("fitted on calib", found.temperature),
    ):
        probs = softmax(test[0] / divisor)
        row: dict[str, object] = {"logits": name, "temperature_on_cosines": divisor}
        for score, function in (("nll", nll), ("ece", ece)):
            got = estimate(lambda weights, f=function, p=probs: f(p, test[1], weights), test[2])
            row |= with_bounds(score, got)
        rows.append(row)
    bounds = [logit_scale * bound for bound in (spread.value, spread.low, spread.high)]
    return pd.DataFrame(rows), Interval(*bounds)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy of each row in nats, (n,); at most ln of the number of columns."""
    probs = np.asarray(probs, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(probs > 0, probs * np.log(probs), 0.0).sum(axis=1)


def entropy_deficit(logits: np.ndarray) -> float:
    """How far the mean entropy of softmax(logits) lies below its bound, in nats: 0 says that rows are flat."""
    return float(np.log(logits.shape[1]) - entropy(softmax(logits)).mean())


def confused_pairs(y_true: np.ndarray, answer: np.ndarray, names: Sequence[str], *, n_pairs: int = 10) -> pd.DataFrame:
    """The most frequent mistakes: true class, answer, count, share of the true class's rows."""
    counts = confusion_counts(y_true, answer, len(names)).astype(int)
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[:n_pairs]
    true, told = np.unravel_index(order[off.ravel()[order] > 0], off.shape)
    share = off[true, told] / counts.sum(axis=1)[true]
    columns = {"true": [names[k] for k in true], "answer": [names[k] for k in told]}
    return pd.DataFrame({**columns, "count": off[true, told], "share_of_true": share})


def class_report(
    y_true: np.ndarray, answer: np.ndarray, groups: np.ndarray, names: Sequence[str], estimate: Estimate
) -> pd.DataFrame:
    """Precision, recall and F1 by class, F1 with its interval; and how often the class was answered."""
    n_classes = len(names)
    plain = class_scores(confusion_counts(y_true, answer, n_classes))
    rows = []
    for k, name in enumerate(names):
        found = estimate(
            lambda weights, k=k: class_scores(confusion_counts(y_true, answer, n_classes, weights))["f1"][..., k],
            groups,
        )
        n = {"n": int((y_true == k).sum()), "n_answered": int((answer == k).sum())}
        scores = {key: float(plain[key][k]) for key in ("precision", "recall")}
        rows.append({"class": name, **n, **scores, **with_bounds("f1", found)})
    return pd.DataFrame(rows)
