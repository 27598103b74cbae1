"""What a change of the picture costs: factors changed one at a time, corruption errors, shape against texture; and how
much better a model stands under a shift than models of its accuracy usually do.

`right` says whether each answer is right, bool or 0/1, one column an image. Images are the same, in the same order,
under every condition, so that every difference is a paired one. Weights as in `verdict.stats.weighted`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit

from verdict.stats.uncertainty import Interval, Resampler, Weights, bounded, holm, p_value, sign_flip_test
from verdict.stats.weighted import ratio, row_weights, weighted_mean

_TUNING = 1.345
_MAD_OF_NORMAL = 0.6744897501960817
_STEPS = 50


def intervals(
    statistics: Callable[[Weights], Mapping[str, ArrayLike]], resampler: Resampler, weights: np.ndarray | None = None
) -> tuple[dict[str, Interval], dict[str, np.ndarray]]:
    """Intervals, and replicates (n_resamples,), by name, of several statistics of row weights that share their work.

    `weights` (n_resamples, n) stand instead of the resampler's: of rows that are resampled in several parts.
    """
    value, drawn = statistics(None), statistics(resampler.weights() if weights is None else weights)
    if resampler.n_groups < 2:
        drawn = {name: np.full(np.shape(one), np.nan) for name, one in drawn.items()}
    return {name: resampler.around(float(value[name]), drawn[name]) for name in value}, dict(drawn)


def shares(right: ArrayLike, weights: Weights = None) -> np.ndarray:
    """Share of right answers, or mean loss, under each condition: (..., n_conditions) from (n_conditions, n)."""
    right = np.atleast_2d(np.asarray(right, dtype=np.float64))
    weights = row_weights(weights, right.shape[1])
    return ratio(weights @ right.T, weights.sum(axis=-1)[..., None], empty=np.nan)


def factor_table(right: Mapping[str, ArrayLike], reference: ArrayLike, resampler: Resampler) -> pd.DataFrame:
    """Accuracy when one factor is changed, its paired difference from the unchanged images, and the ratio of errors.

    One row a condition, in the order of the mapping: condition, accuracy, change, error_ratio (Idrissi et al. 2022,
    ImageNet-X, section 3; NaN where the reference makes no error), each with `_low` and `_high`; p_holm, of the exact
    sign-flip test by groups that nothing changed, adjusted for all conditions; n.
    """
    before, rows = np.asarray(reference, dtype=float), []
    for name, answers in right.items():
        after = np.asarray(answers, dtype=float)

        def error_ratio(weights: Weights, after: np.ndarray = after) -> np.ndarray:
            return ratio(1 - weighted_mean(after, weights), 1 - weighted_mean(before, weights), empty=np.nan)

        found = {
            "accuracy": resampler.mean(after, span=(0, 1)),
            "change": resampler.mean(after - before, span=(-1, 1)),
            "error_ratio": resampler.interval(error_ratio),
        }
        p_holm = sign_flip_test(before, after, resampler.groups)
        rows.append({"condition": name, **bounded(found), "p_holm": p_holm, "n": len(after)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_holm"]))


def corruption_errors(
    right: ArrayLike, clean: ArrayLike, right_reference: ArrayLike, clean_reference: ArrayLike, weights: Weights = None
) -> dict[str, np.ndarray]:
    """Errors over all severities against those of a reference model, and the same for the errors that were added.

    Right answers on corrupted images are (n_severities, n), those on clean ones (n,). The second ratio is NaN where the
    corruption costs the reference nothing. Hendrycks and Dietterich (2019), Benchmarking neural network robustness to
    common corruptions, section 4.3.
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
    answers: np.ndarray, shapes: np.ndarray, textures: np.ndarray, resampler: Resampler
) -> dict[str, Interval]:
    """Which of two contradicting cues decides, from answered class, class of the shape, another of the texture, (n,).

    shape_bias: the shape's class among answers that name either; not defined where none does. hit_rate: answers that
    name either, among all. Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, section 2.
    """
    shape = answers == shapes
    either = shape | (answers == textures)
    return {
        "shape_bias": resampler.of(either).mean(shape[either], span=(0, 1)),
        "hit_rate": resampler.mean(either, span=(0, 1)),
    }


@dataclass(frozen=True)
class Effective:
    """One model's place beside the line of a population under one shift.

    `found`: before, after (its accuracies), expected (by the line, after), rho (after minus that, in [-1, 1]); slope
    and intercept of the line on logit axes, and scale, the median absolute residual of the population there over that
    of a standard normal. `p_rho` is of "rho is zero"; `population` (n_models, 2) its accuracies before and after.
    """

    found: dict[str, Interval]
    p_rho: float
    population: np.ndarray

    def line(self, n_points: int = 99) -> pd.DataFrame:
        """The population's line on accuracy axes: columns before and expected, from 0.01 to 0.99."""
        before = np.linspace(0.01, 0.99, n_points)
        expected = self.found["intercept"].value + self.found["slope"].value * np.log(before / (1 - before))
        return pd.DataFrame({"before": before, "expected": expit(expected)})


def logit_share(share: ArrayLike, n: int) -> np.ndarray:
    """log(a / (1 - a)) of a share of n images, kept within half an image of 0 and 1 so that it is finite."""
    share = np.clip(np.asarray(share, dtype=np.float64), 0.5 / n, 1 - 0.5 / n)
    return np.log(share / (1 - share))


def huber_line(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Straight lines (intercept, slope, scale) by Huber's M-estimator, one for each leading index of x, y (..., n).

    Iterated weighted least squares from the least-squares line; residuals beyond 1.345 scales count less, and the scale
    is estimated anew in each step. NaN where all x are equal. Huber (1981), Robust statistics, sections 7.7-7.8.
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    weight = np.ones(x.shape)
    for _ in range(_STEPS):
        total = weight.sum(axis=-1)
        mean_x, mean_y = (weight * x).sum(axis=-1) / total, (weight * y).sum(axis=-1) / total
        away = x - mean_x[..., None]
        spread = (weight * away**2).sum(axis=-1)
        slope = np.full(spread.shape, np.nan)
        np.divide((weight * away * (y - mean_y[..., None])).sum(axis=-1), spread, out=slope, where=spread > 1e-12)
        intercept = mean_y - slope * mean_x
        distance = np.abs(y - intercept[..., None] - slope[..., None] * x)
        scale = np.median(distance, axis=-1) / _MAD_OF_NORMAL
        limit = np.maximum(_TUNING * scale, 1e-12)[..., None]
        new = limit / np.maximum(distance, limit)
        if np.nanmax(np.abs(new - weight), initial=0.0) < 1e-7:
            break
        weight = new
    return intercept, slope, scale


def effective_robustness(before: np.ndarray, after: np.ndarray, resampler: Resampler) -> Effective:
    """How far one model stands above the line of a population, with intervals over its models and over images.

    Right answers before and under the shift are (1 + n_models, n): of the model, then of the population. Each resample
    draws groups of images, and models of the population, with replacement. Taori et al. (2020), Measuring robustness to
    natural distribution shifts, section 2; Tu et al. (2024), Toward a holistic evaluation of robustness in CLIP models,
    for Huber's line.
    """
    n_models, n = len(before) - 1, before.shape[1]
    drawn_models = resampler.rng("models").integers(1, n_models + 1, size=(resampler.n_resamples, n_models))

    def places(weights: Weights) -> dict[str, np.ndarray]:
        picks = np.arange(1, n_models + 1) if weights is None else drawn_models
        first, second = shares(before, weights), shares(after, weights)
        x, y = (logit_share(np.take_along_axis(one, picks, axis=-1), n) for one in (first, second))
        intercept, slope, scale = huber_line(x, y)
        expected = expit(intercept + slope * logit_share(first[..., 0], n))
        own = {"before": first[..., 0], "after": second[..., 0], "expected": expected}
        line = {"slope": slope, "scale": scale, "intercept": intercept}
        return own | {"rho": second[..., 0] - expected} | line

    found, drawn = intervals(places, resampler)
    population = np.stack([shares(before)[1:], shares(after)[1:]], axis=1)
    return Effective(found, p_value(found["rho"].value, drawn["rho"]), population)
