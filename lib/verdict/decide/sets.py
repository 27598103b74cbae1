"""Sets of classes that hold the true one with a stated probability, by split conformal prediction.

The rows that fit a set must not have fitted the temperature. Sets are booleans (n, n_classes). An empty set is kept:
it says that no class is plausible enough, and appears whenever accuracy exceeds the level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.stats.scores import check_labels, check_probs
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, bounded


def conformal_rank(n: int, alpha: float) -> int:
    """Rank k = ceil((n + 1)(1 - alpha)) of the score that bounds a set; k = n + 1 means that no score does.

    Computed with the decimal alpha as it is written: in floating point (9 + 1)(1 - 0.7) exceeds 3 and would give 4.
    """
    return math.ceil((n + 1) * (1 - Fraction(repr(float(alpha)))))


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """The k-th smallest score with k of `conformal_rank`; infinity if there are fewer than k scores."""
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    rank = conformal_rank(len(scores), alpha)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


@dataclass(frozen=True)
class Threshold:
    """The largest score with which a class is in the set.

    `alpha` in (0, 1): allowed share of misses; `qhat` (1,): one for all classes, or (n_classes,): the quantile of each
    class's own rows, which keeps the promise for each class (Vovk 2012, Conditional validity of inductive conformal
    predictors); infinity admits every row; `n`: scores behind each.
    """

    alpha: float
    qhat: np.ndarray
    n: np.ndarray

    @classmethod
    def fit(cls, scores: ArrayLike, alpha: float, *, y_true: ArrayLike | None = None, n_classes: int = 1) -> Threshold:
        """From the true classes' scores of the calibration rows, (n,).

        With `y_true` one quantile a class: a class with too few rows, or none, gets infinity: it is in every set.
        """
        scores = np.asarray(scores, dtype=np.float64)
        classes = None if y_true is None else check_labels(y_true, len(scores), n_classes)
        parts = [scores] if classes is None else [scores[classes == k] for k in range(n_classes)]
        qhat = np.array([conformal_quantile(part, alpha) for part in parts])
        return cls(alpha, qhat, np.array([len(part) for part in parts]))


def lac_scores(probs: ArrayLike) -> np.ndarray:
    """Scores of least ambiguous sets, (n, n_classes): a class is in if its probability is at least 1 - qhat.

    Sadinle, Lei and Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels.
    """
    return 1 - check_probs(probs)


def adaptive_scores(
    probs: ArrayLike, *, penalty: float = 0.0, free_rank: int = 1, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Scores of adaptive sets, (n, n_classes): the most probable classes until enough probability is gathered.

    The score of a class is the probability of all classes ranked before it plus a share u of its own, plus penalty ·
    max(0, rank - free_rank), ranks counted from 1: RAPS, and APS without a penalty. Classes of equal probability keep
    the order of their ids. With a generator u is uniform, which makes the sets smallest and the promise sharp, and lets
    sets be empty; without one u = 1, which keeps the promise from above. All rows must be scored alike.

    Romano, Sesia and Candès (2020), Classification with valid and adaptive coverage; Angelopoulos et al. (2021),
    Uncertainty sets for image classifiers using conformal prediction, for the penalty.
    """
    probs = check_probs(probs)
    order = np.argsort(-probs, axis=1, kind="stable")
    ranked = np.take_along_axis(probs, order, axis=1)
    own_share = np.ones((len(probs), 1)) if rng is None else rng.random((len(probs), 1))
    before = np.cumsum(ranked, axis=1) - ranked
    ranks = np.arange(1, probs.shape[1] + 1)
    ranked_scores = before + own_share * ranked + penalty * np.maximum(0, ranks - free_rank)
    scores = np.empty_like(probs)
    np.put_along_axis(scores, order, ranked_scores, axis=1)
    return scores


def coverage_by(what: str, sets: np.ndarray, y_true: np.ndarray, resampler: Resampler) -> pd.DataFrame:
    """Coverage by true "class", with the mean size of the sets, or by "size" of the set, 0 … n_classes.

    Returns class (id) or size, n, coverage, and by class mean_size, with bounds over the groups of their rows; NaN for
    a class or size that does not occur. Empty sets cover nothing and full sets everything: they have no bounds.
    """
    n_classes = sets.shape[1]
    is_covered, size = sets[np.arange(len(sets)), y_true], sets.sum(axis=1)
    by_class = what == "class"
    rows = []
    for value in range(n_classes if by_class else n_classes + 1):
        members = np.flatnonzero((y_true if by_class else size) == value)
        coverage = mean_size = NOTHING
        if len(members):
            columns = np.column_stack([is_covered, size])[members].astype(np.float64)
            coverage, mean_size = resampler.of(members).means(columns, [(0, 1), (0, n_classes)])
        if not by_class and value in (0, n_classes):
            coverage = Interval(coverage.value)
        estimates = {"coverage": coverage, "mean_size": mean_size} if by_class else {"coverage": coverage}
        rows.append({what: value, "n": len(members), **bounded(estimates)})
    return pd.DataFrame(rows)
