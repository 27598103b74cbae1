"""What a change of the picture costs: factors changed one at a time, corruption errors, shape against texture.

`right` says whether each answer is right, bool or 0/1, one column an image. Images are the same, in the same order,
under every condition, so that every difference is a paired one. Weights as in `verdict.weighted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.uncertainty import Interval, group_weights, percentile_interval, with_bounds
from verdict.weighted import ratio, row_weights, totals


def shares(right: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Share of right answers under each condition, (..., n_conditions) from `right` (n_conditions, n)."""
    right = np.atleast_2d(np.asarray(right, dtype=np.float64))
    weights = row_weights(weights, right.shape[1])
    return ratio(weights @ right.T, weights.sum(axis=-1)[..., None], empty=np.nan)


def error_ratio(changed: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """(1 - accuracy when changed) / (1 - accuracy of the reference); NaN where the reference makes no error.

    References
    ----------
    Idrissi et al. (2022), ImageNet-X: understanding model mistakes with factor of variation annotations, section 3.
    """
    return ratio(1 - np.asarray(changed), 1 - np.asarray(reference), empty=np.nan)


def factor_table(
    right: Mapping[str, ArrayLike],
    reference: ArrayLike,
    groups: ArrayLike,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> pd.DataFrame:
    """Accuracy when one factor is changed, its paired difference from the reference, and the ratio of errors.

    Parameters
    ----------
    right : mapping from condition to array (n,)
        Right answers on the changed images.
    reference : array (n,)
        Right answers on the same images unchanged.
    groups : array (n,)
        The independent unit of each image.
    n_resamples : int
        Resamples of groups, the same for every condition.
    rng : numpy.random.Generator
        Source of randomness.
    level : float in (0, 1)
        Of the intervals.

    Returns
    -------
    DataFrame
        One row a condition, in the order of the mapping: condition, accuracy, change, error_ratio, each with `_low` and
        `_high`; n.
    """
    table = np.stack([np.asarray(reference), *(np.asarray(one) for one in right.values())]).astype(np.float64)
    value, drawn = shares(table), shares(table, group_weights(groups, n_resamples, rng))
    columns = {
        "accuracy": (value[1:], drawn[:, 1:]),
        "change": (value[1:] - value[0], drawn[:, 1:] - drawn[:, :1]),
        "error_ratio": (error_ratio(value[1:], value[0]), error_ratio(drawn[:, 1:], drawn[:, :1])),
    }
    found = [pd.DataFrame({"condition": list(right)})]
    for name, (values, replicates) in columns.items():
        intervals = _intervals(values, replicates, level)
        found.append(pd.DataFrame([with_bounds(name, one) for one in intervals]))
    return pd.concat(found, axis=1).assign(n=table.shape[1])


def corruption_errors(
    right: ArrayLike, clean: ArrayLike, right_reference: ArrayLike, clean_reference: ArrayLike
) -> tuple[float, float]:
    """Errors over all severities against those of a reference model, and the same for the errors that were added.

    Parameters
    ----------
    right, right_reference : arrays (n_severities, n)
        Right answers on corrupted images of the model and of the reference.
    clean, clean_reference : arrays (n,)
        On the same images uncorrupted.

    Returns
    -------
    (error, relative error) : floats
        The second is NaN where the corruption costs the reference nothing.

    References
    ----------
    Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations,
    section 4.3.
    """
    wrong, wrong_reference = 1 - shares(right), 1 - shares(right_reference)
    added = wrong - (1 - shares(clean)), wrong_reference - (1 - shares(clean_reference))
    of_errors = ratio(wrong.sum(), wrong_reference.sum(), empty=np.nan)
    return float(of_errors), float(ratio(added[0].sum(), added[1].sum(), empty=np.nan))


@dataclass(frozen=True)
class CueConflict:
    """Which of two contradicting cues decides.

    Attributes
    ----------
    shape_bias : Interval
        Answers that name the shape's class, among those that name either class.
    hit_rate : Interval
        Answers that name either class, among all.
    by_class : DataFrame
        Columns label, n_shape, n_texture, value (shape bias of images whose shape is of the class), low, high.
    class_mean : float
        Mean of the classes' shape biases, of those that have one.
    """

    shape_bias: Interval
    hit_rate: Interval
    by_class: pd.DataFrame
    class_mean: float


def shape_bias(
    answers: ArrayLike, shapes: ArrayLike, textures: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Share of answers that follow the shape among those that follow shape or texture; NaN if none does.

    Parameters
    ----------
    answers, shapes, textures : arrays of int, (n,)
        Answered class, class of the shape, class of the texture; the last two differ on every image.

    References
    ----------
    Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, section 2.
    """
    shape, texture = _hits(answers, shapes, textures)
    weights = row_weights(weights, len(shape))
    return ratio(weights @ shape, weights @ (shape | texture), empty=np.nan)


def cue_conflict(
    answers: ArrayLike,
    shapes: ArrayLike,
    textures: ArrayLike,
    groups: ArrayLike,
    *,
    classes: Sequence[str],
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> CueConflict:
    """Shape bias over all images and by class of the shape, with intervals over groups; see `shape_bias`."""
    shape, texture = _hits(answers, shapes, textures)
    weights = group_weights(groups, n_resamples, rng)
    bias = percentile_interval(
        float(shape_bias(answers, shapes, textures)), shape_bias(answers, shapes, textures, weights), level=level
    )
    either = (shape | texture)[None]
    hits = percentile_interval(float(shares(either)[0]), shares(either, weights)[:, 0], level=level)
    cells = np.asarray(shapes)
    n_shape, n_texture = (totals(None, cells, len(classes), hit) for hit in (shape, texture))
    value = ratio(n_shape, n_shape + n_texture, empty=np.nan)
    drawn = [totals(weights, cells, len(classes), hit) for hit in (shape, shape | texture)]
    bounds = _intervals(value, ratio(*drawn, empty=np.nan), level)
    table = pd.DataFrame({"label": list(classes), "n_shape": n_shape.astype(int), "n_texture": n_texture.astype(int)})
    table = table.join(pd.DataFrame([asdict(one) for one in bounds]))
    mean = float(np.nanmean(value)) if np.isfinite(value).any() else float("nan")
    return CueConflict(bias, hits, table, mean)


def _hits(answers: ArrayLike, shapes: ArrayLike, textures: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    answers, shapes, textures = (np.asarray(one) for one in (answers, shapes, textures))
    if (same := np.flatnonzero(shapes == textures)).size:
        raise ValueError(
            f"shape and texture must contradict each other; on {same.size} images they agree, first {same[0]}"
        )
    return answers == shapes, answers == textures


def _intervals(values: np.ndarray, replicates: np.ndarray, level: float) -> list[Interval]:
    """One interval a value; replicates (n_resamples, n_values)."""
    return [percentile_interval(float(v), column, level=level) for v, column in zip(values, replicates.T, strict=True)]
