"""What a change of the picture costs: factors changed one at a time, corruption errors, shape against texture.

`right` says whether each answer is right, bool or 0/1, one column an image. Images are the same, in the same order,
under every condition, so that every difference is a paired one. Weights as in `verdict.weighted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.uncertainty import Interval, Resampler, Weights, holm, sign_flip_test, with_bounds
from verdict.weighted import ratio, row_weights, weighted_mean


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


def factor_table(right: Mapping[str, ArrayLike], reference: ArrayLike, resampler: Resampler) -> pd.DataFrame:
    """Accuracy when one factor is changed, its paired difference from the reference, and the ratio of errors.

    Parameters
    ----------
    right : mapping from condition to array (n,)
        Right answers on the changed images.
    reference : array (n,)
        Right answers on the same images unchanged.
    resampler : Resampler

    Returns
    -------
    DataFrame
        One row a condition, in the order of the mapping: condition, accuracy, change, error_ratio, each with `_low` and
        `_high`; p_holm, of the exact sign-flip test by groups that nothing changed, adjusted for all conditions; n.
    """
    before, rows = np.asarray(reference, dtype=float), []
    for name, answers in right.items():
        after = np.asarray(answers, dtype=float)
        columns = {
            "accuracy": resampler.mean(after, span=(0, 1)),
            "change": resampler.mean(after - before, span=(-1, 1)),
            "error_ratio": resampler.interval(partial(_error_ratio_of, after, before)),
        }
        row: dict[str, object] = {"condition": name}
        for column, found in columns.items():
            row |= with_bounds(column, found)
        rows.append(row | {"p_holm": sign_flip_test(before, after, resampler.groups), "n": len(after)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_holm"]))


def _error_ratio_of(after: np.ndarray, before: np.ndarray, weights: Weights) -> np.ndarray:
    return error_ratio(weighted_mean(after, weights), weighted_mean(before, weights))


def corruption_errors(
    right: ArrayLike, clean: ArrayLike, right_reference: ArrayLike, clean_reference: ArrayLike, weights: Weights = None
) -> dict[str, np.ndarray]:
    """Errors over all severities against those of a reference model, and the same for the errors that were added.

    Parameters
    ----------
    right, right_reference : arrays (n_severities, n)
        Right answers on corrupted images of the model and of the reference.
    clean, clean_reference : arrays (n,)
        On the same images uncorrupted.
    weights : array, (n,) or (n_resamples, n), optional
        How often each image counts.

    Returns
    -------
    dict of arrays (...)
        error_ratio, added_error_ratio; the second is NaN where the corruption costs the reference nothing.

    References
    ----------
    Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations,
    section 4.3.
    """
    wrong, wrong_reference = 1 - shares(right, weights), 1 - shares(right_reference, weights)
    added, added_reference = (
        total - (1 - shares(before, weights)) for total, before in ((wrong, clean), (wrong_reference, clean_reference))
    )
    return {
        "error_ratio": ratio(wrong.sum(axis=-1), wrong_reference.sum(axis=-1), empty=np.nan),
        "added_error_ratio": ratio(added.sum(axis=-1), added_reference.sum(axis=-1), empty=np.nan),
    }


def cue_conflict(
    answers: ArrayLike, shapes: ArrayLike, textures: ArrayLike, resampler: Resampler
) -> dict[str, Interval]:
    """Which of two contradicting cues decides.

    Parameters
    ----------
    answers, shapes, textures : arrays of int, (n,)
        Answered class, class of the shape, class of the texture; the last two differ on every image.

    Returns
    -------
    dict
        shape_bias: answers that name the shape's class, among those that name either; not defined where none does.
        hit_rate: answers that name either, among all.

    References
    ----------
    Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, section 2.
    """
    shape, texture = _hits(answers, shapes, textures)
    either = shape | texture
    return {
        "shape_bias": resampler.of(either).mean(shape[either], span=(0, 1)),
        "hit_rate": resampler.mean(either, span=(0, 1)),
    }


def _hits(answers: ArrayLike, shapes: ArrayLike, textures: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    answers, shapes, textures = (np.asarray(one) for one in (answers, shapes, textures))
    if (same := np.flatnonzero(shapes == textures)).size:
        raise ValueError(
            f"shape and texture must contradict each other; on {same.size} images they agree, first {same[0]}"
        )
    return answers == shapes, answers == textures
