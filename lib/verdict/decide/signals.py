"""Signals of how far an answer can be trusted, and their fusion into one score.

Every signal lies in [0, 1] and grows with trust. `probs` are calibrated (n, K), `sets` conformal, bool (n, K).
"""

from collections.abc import Mapping

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
MEAN_PROBABILITY = "mean_probability"
COMPOSITE = "composite"
# What a policy may go by: the composite, or a signal alone.
SCORES = (COMPOSITE, MAX_PROBABILITY, MEAN_PROBABILITY)
MAXIMUM, ENTROPY, POOLED = "maximum probability", "entropy", "mean probability of all models"
SCORE_WORDS = {COMPOSITE: COMPOSITE, MAX_PROBABILITY: MAXIMUM, ENTROPY_CONFIDENCE: ENTROPY, MEAN_PROBABILITY: POOLED}
# The signals of one answer of one model; the others need more models, or more answers.
OF_ONE_ANSWER = (MAX_PROBABILITY, ENTROPY_CONFIDENCE, CONFORMAL_CONFIDENCE)


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


def conformal_confidence(sets: np.ndarray) -> np.ndarray:
    """Confidence from the size of the conformal set.

    `sets` (n, K). Returns (n,) in [0, 1]: 1 / size; 0 for an empty set. An empty set says that no class is plausible:
    it is the opposite of certainty.
    """
    size = sets.sum(axis=1)
    return np.where(size == 0, 0.0, 1 / np.maximum(size, 1))


def of_one_answer(probs: np.ndarray, sets: np.ndarray) -> dict[str, np.ndarray]:
    """The signals `OF_ONE_ANSWER` of calibrated probabilities (n, K) and their conformal sets (n, K), (n,) each."""
    of_probs = {MAX_PROBABILITY: max_probability(probs), ENTROPY_CONFIDENCE: entropy_confidence(probs)}
    return of_probs | {CONFORMAL_CONFIDENCE: conformal_confidence(sets)}


def consistency_by_pair(
    prob_yes: np.ndarray, expected: np.ndarray, place: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """How well the answers to yes/no questions agree with what each pair's predicted class should answer: the mean of
    a q + (1 - a)(1 - q) over the pair's questions whose expected answer a is known.

    `prob_yes` (m,) in [0, 1]: probability of yes for each question that was asked; `expected` (m, K): what each class
    of the question's pair should answer: 1, 0 or NaN (either); `place` (m,): which pair it is about; `predicted` (n,):
    the class that each pair is given. Returns (n,) in [0, 1], NaN for a pair without such a question.
    """
    wanted = expected[np.arange(len(place)), predicted[place]]
    known = ~np.isnan(wanted)
    agreement = np.where(wanted == 1, prob_yes, 1 - prob_yes)
    n_known = np.bincount(place[known], minlength=len(predicted))
    total = np.bincount(place[known], agreement[known], minlength=len(predicted))
    return np.divide(total, n_known, out=np.full(len(predicted), np.nan), where=n_known > 0)


def composite(signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> np.ndarray:
    """Geometric mean of the signals, times the question consistency where there is one.

    `signals` (n,) in [0, 1]: at least one besides the mean probability of several models, which is a score of its own
    and left out. Each is clipped to [1e-6, 1], so that none makes the logarithm infinite. `consistency` (n,) in [0, 1].
    Returns (n,) in [0, 1].
    """
    merged = {name: signal for name, signal in signals.items() if name != MEAN_PROBABILITY}
    stacked = np.stack([check_unit(f"signal {name}", signal) for name, signal in merged.items()])
    score = np.exp(np.log(np.clip(stacked, FLOOR, 1.0)).mean(axis=0))
    if consistency is not None:
        score = score * check_unit("consistency", consistency)
    return np.minimum(score, 1.0)


def score_of(name: str, signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> np.ndarray:
    """The score called `name`, one of `SCORES`, (n,) in [0, 1]; arguments as in `composite`."""
    return composite(signals, consistency) if name == COMPOSITE else check_unit(f"signal {name}", signals[name])


def attainable_maximum(name: str, signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> float:
    """Score of a pair that had the best value of every signal at once: no pair of the table exceeds it.

    A threshold for automatic answers above it is out of reach.
    """
    best = {known: np.atleast_1d(np.max(signal)) for known, signal in signals.items()}
    return float(score_of(name, best, None if consistency is None else np.atleast_1d(np.max(consistency)))[0])


def without_each(signals: Mapping[str, np.ndarray], consistency: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The composite without each signal, by the signal's name, "question_consistency" last where it is given.

    `signals` (n,) in [0, 1]: two or more that it is made of; `consistency` in [0, 1], (n,).
    """
    scores = {
        name: composite({other: signals[other] for other in signals if other != name}, consistency)
        for name in signals
        if name != MEAN_PROBABILITY
    }
    return scores if consistency is None else scores | {QUESTION_CONSISTENCY: composite(signals)}


def distance_confidence(distance: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Share of calibration pairs at least as far away, as a signal in (0, 1].

    `distance` (n,); `calibration` (m,): distances of the calibration split, measured in the same way. Returns (n,): (1
    + #{calibration >= distance}) / (m + 1): the conformal p-value of "from the same source".
    """
    ordered = np.sort(np.asarray(calibration, dtype=np.float64))
    farther = len(ordered) - np.searchsorted(ordered, distance, side="left")
    return (1 + farther) / (len(ordered) + 1)
