"""Signals of how far an answer can be trusted, and their fusion into one score.

Every signal lies in [0, 1] and grows with trust. `probs` are calibrated probabilities (n, K), `sets` conformal sets as
booleans (n, K).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import entr

from verdict.stats.scores import check_probs, check_unit

FLOOR = 1e-6
MAX_PROBABILITY = "max_probability"
ENTROPY_CONFIDENCE = "entropy_confidence"
ENSEMBLE_STABILITY = "ensemble_stability"
CONFORMAL_CONFIDENCE = "conformal_confidence"
VIEW_STABILITY = "view_stability"
QUESTION_CONSISTENCY = "question_consistency"
_CHUNK_CELLS = 4_000_000


def max_probability(probs: np.ndarray) -> np.ndarray:
    """Probability of the predicted class, in [1/K, 1], (n,)."""
    return check_probs(probs).max(axis=1)


def entropy_confidence(probs: np.ndarray) -> np.ndarray:
    """One minus the entropy as a share of the largest possible, 1 - H(p) / ln K, (n,).

    The cheapest sign that an input is unlike anything the model knows: 0 for a uniform row, 1 for a certain one.
    """
    probs = check_probs(probs)
    return np.clip(1 - entr(probs).sum(axis=1) / np.log(probs.shape[1]), 0.0, 1.0)


def ensemble_stability(view_probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Agreement of augmented views on the predicted class, 1 - 2 std over views, (n,).

    `view_probs` (n_views, n, K): calibrated probabilities of each view of the image; `predicted` (n,): the class that
    the untouched image is given. Returns (n,) in [0, 1]: population standard deviation (ddof 0), which is at most 1/2
    for numbers in [0, 1]; one view gives 1.
    """
    chosen = np.take_along_axis(view_probs, predicted[None, :, None], axis=2)[:, :, 0]
    return np.clip(1 - 2 * chosen.std(axis=0), 0.0, 1.0)


def conformal_confidence(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence from the size of the conformal set, and where the set is empty.

    `sets` (n, K). Returns `confidence` (n,) in [0, 1]: 1 / size; 0 for an empty set. An empty set says that no class
    is plausible: it is the opposite of certainty; `is_empty` (n,).
    """
    size = sets.sum(axis=1)
    return np.where(size == 0, 0.0, 1 / np.maximum(size, 1)), size == 0


def consistency_by_pair(
    prob_yes: np.ndarray, expected: np.ndarray, place: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """How well the answers to yes/no questions agree with what each pair's predicted class should answer.

    The mean of a q + (1 - a)(1 - q) over the pair's questions whose expected answer a is known.

    `prob_yes` (m,) in [0, 1]: probability of yes for each question that was asked; `expected` (m, K): what each class
    of the question's pair should answer: 1, 0 or NaN (either); `place` (m,): which pair each question is about;
    `predicted` (n,): the class that each pair is given. Returns (n,) in [0, 1]: NaN for a pair without a question
    whose answer its class determines.
    """
    if place.size and (place.min() < 0 or place.max() >= len(predicted)):
        raise ValueError(f"questions are about pairs 0..{len(predicted) - 1}, got {place.min()} to {place.max()}")
    wanted = expected[np.arange(len(place)), predicted[place]]
    known = ~np.isnan(wanted)
    agreement = np.where(wanted == 1, prob_yes, 1 - prob_yes)
    n_known = np.bincount(place[known], minlength=len(predicted))
    total = np.bincount(place[known], agreement[known], minlength=len(predicted))
    return np.divide(total, n_known, out=np.full(len(predicted), np.nan), where=n_known > 0)


def composite(signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> np.ndarray:
    """Geometric mean of the critical signals, times the question consistency where there is one.

    `signals` (n,) in [0, 1]: critical signals; at least one. Each is clipped to [1e-6, 1], so that none makes the
    logarithm infinite. `consistency` (n,) in [0, 1]. Returns (n,) in [0, 1].
    """
    stacked = np.stack([check_unit(f"signal {name}", signal) for name, signal in signals.items()])
    score = np.exp(np.log(np.clip(stacked, FLOOR, 1.0)).mean(axis=0))
    if consistency is not None:
        score = score * check_unit("consistency", consistency)
    return np.minimum(score, 1.0)


def attainable_maximum(signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> float:
    """Score of a pair that had the best value of every signal at once: no pair of the table exceeds it.

    A threshold for automatic answers above it is out of reach.
    """
    best = {name: np.atleast_1d(np.max(signal)) for name, signal in signals.items()}
    return float(composite(best, None if consistency is None else np.atleast_1d(np.max(consistency)))[0])


def without_each(signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The composite without each signal, by the signal's name, "question_consistency" last where it is given.

    `signals` (n,) in [0, 1]: two or more; `consistency` in [0, 1], (n,).
    """
    scores = {
        name: composite({other: signals[other] for other in signals if other != name}, consistency) for name in signals
    }
    return scores if consistency is None else scores | {QUESTION_CONSISTENCY: composite(signals)}


def mahalanobis_distance(
    features: np.ndarray, reference: np.ndarray, y_reference: np.ndarray | None = None, *, shrinkage: float = 0.01
) -> np.ndarray:
    """Distance to the nearest class mean of the training features under their pooled covariance.

    `features` (n, d); `reference` (m, d): training features; `y_reference` (m,): their classes; without them there is
    one mean; `shrinkage` in [0, 1]: share of the mean variance mixed into the covariance, which keeps it invertible
    when d is not small against m. Returns >= 0, (n,). Lee et al. (2018), A Simple Unified Framework for Detecting
    Out-of-Distribution Samples, eq. 2 (its square root).
    """
    features, reference = _check_features(features, reference)
    classes = np.zeros(len(reference), dtype=np.int64) if y_reference is None else np.asarray(y_reference)
    names, codes = np.unique(classes, return_inverse=True)
    means = np.stack([reference[codes == code].mean(axis=0) for code in range(len(names))])
    centred = reference - means[codes]
    covariance = centred.T @ centred / len(reference)
    identity = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    factor = np.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * identity)
    distances = [np.linalg.norm(np.linalg.solve(factor, (features - mean).T), axis=0) for mean in means]
    return np.min(distances, axis=0)


def neighbour_distance(features: np.ndarray, reference: np.ndarray, *, k: int) -> np.ndarray:
    """Euclidean distance to the k-th nearest training feature after scaling all rows to length 1, (n,).

    Sun et al. (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, section 3.
    """
    features, reference = _check_features(features, reference)
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie in 1..{len(reference)}, got {k}")
    features, reference = _unit_rows(features), _unit_rows(reference)
    step = max(1, _CHUNK_CELLS // len(reference))
    nearest = [
        np.partition(features[start : start + step] @ reference.T, -k, axis=1)[:, -k]
        for start in range(0, max(len(features), 1), step)
    ]
    return np.sqrt(np.maximum(2 - 2 * np.concatenate(nearest), 0.0))


def distance_confidence(distance: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Share of calibration pairs at least as far away, as a signal in (0, 1].

    `distance` (n,); `calibration` (m,): distances of the calibration split, measured in the same way. Returns (n,): (1
    + #{calibration >= distance}) / (m + 1): the conformal p-value of "from the same source".
    """
    ordered = np.sort(np.asarray(calibration, dtype=np.float64))
    farther = len(ordered) - np.searchsorted(ordered, distance, side="left")
    return (1 + farther) / (len(ordered) + 1)


def _check_features(features: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    features, reference = np.asarray(features, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1] or not len(reference):
        raise ValueError(f"expected features (n, d) and reference (m, d), got {features.shape} and {reference.shape}")
    return features, reference


def _unit_rows(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if np.any(lengths == 0):
        raise ValueError(f"{int((lengths == 0).sum())} rows of features are zero and have no direction")
    return features / lengths
