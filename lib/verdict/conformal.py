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

from verdict.scores import check_labels, check_probs
from verdict.uncertainty import Interval, Resampler, with_bounds


def conformal_rank(n: int, alpha: float) -> int:
    """Rank k = ceil((n + 1)(1 - alpha)) of the score that bounds a set; k = n + 1 means that no score does.

    Computed with the decimal alpha as it is written: in floating point (9 + 1)(1 - 0.7) exceeds 3 and would give 4.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is the allowed share of misses, in (0, 1), got {alpha}; did you pass a percentage?")
    return math.ceil((n + 1) * (1 - Fraction(repr(float(alpha)))))


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """The k-th smallest score with k of `conformal_rank`; infinity if there are fewer than k scores."""
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    rank = conformal_rank(len(scores), alpha)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


@dataclass(frozen=True)
class Lac:
    """Least ambiguous sets: every class whose probability is at least 1 - qhat.

    `alpha` in (0, 1): allowed share of misses. `qhat` (n_classes,): largest score 1 - p that a class may have; infinity
    admits every row. The same for all classes, or, fitted by class, the quantile of each class's own rows, which keeps
    the promise for each class. `n` (n_classes,): scores behind each qhat. Sadinle, Lei and Wasserman (2019), Least
    ambiguous set-valued classifiers with bounded error levels; Vovk (2012), Conditional validity of inductive conformal
    predictors, for classes.
    """

    alpha: float
    qhat: np.ndarray
    n: np.ndarray

    @classmethod
    def fit(cls, probs: ArrayLike, y_true: ArrayLike, *, alpha: float, by_class: bool = False) -> Lac:
        """Find the quantile of 1 - p_true.

        `probs` (n, n_classes): probabilities of the calibration rows. `y_true` (n,): class ids. `alpha` in (0, 1):
        allowed share of misses. `by_class`: one quantile a class. A class with too few rows, or none, gets infinity: it
        is in every set.
        """
        probs = check_probs(probs)
        y_true = check_labels(y_true, *probs.shape)
        scores = 1 - probs[np.arange(len(y_true)), y_true]
        parts = [scores[y_true == k] if by_class else scores for k in range(probs.shape[1])]
        qhat = np.array([conformal_quantile(part, alpha) for part in parts])
        return cls(alpha, qhat, np.array([len(part) for part in parts]))

    def predict(self, probs: ArrayLike) -> np.ndarray:
        """Sets of new rows, booleans (n, n_classes)."""
        return 1 - _same_classes(probs, len(self.qhat)) <= self.qhat


@dataclass(frozen=True)
class Aps:
    """Adaptive sets: the most probable classes until enough probability is gathered; RAPS with a penalty on long sets.

    The score of a class is the probability of all classes ranked before it plus a share u of its own, plus penalty ·
    max(0, rank - free_rank), ranks counted from 1. Classes of equal probability keep the order of their ids. With a
    generator u is uniform, which makes the sets smallest and the promise sharp, and lets sets be empty; without one u =
    1 on calibration rows and new ones, which keeps the promise from above.

    `alpha` in (0, 1): allowed share of misses; `qhat`: largest score in a set; `n`: calibration rows; `is_randomised`:
    whether u is drawn; `penalty`, `free_rank`: of RAPS; a penalty of 0 is APS. Romano, Sesia and Candès (2020),
    Classification with valid and adaptive coverage; Angelopoulos et al. (2021), Uncertainty sets for image classifiers
    using conformal prediction, for the penalty.
    """

    alpha: float
    qhat: float
    n: int
    is_randomised: bool
    penalty: float = 0.0
    free_rank: int = 1

    @classmethod
    def fit(
        cls,
        probs: ArrayLike,
        y_true: ArrayLike,
        *,
        alpha: float,
        penalty: float = 0.0,
        free_rank: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Aps:
        """Find the quantile of the true classes' scores.

        `probs` (n, n_classes): probabilities of the calibration rows; `y_true` (n,): class ids; `alpha` in (0, 1):
        allowed share of misses; `penalty` >= 0: added for every rank beyond `free_rank`; `free_rank` >= 0: ranks
        without penalty; `rng`: randomises the scores.
        """
        if penalty < 0 or free_rank < 0:
            raise ValueError(f"expected penalty >= 0 and free_rank >= 0, got {penalty} and {free_rank}")
        probs = check_probs(probs)
        y_true = check_labels(y_true, *probs.shape)
        scores = _adaptive_scores(probs, penalty, free_rank, rng)[np.arange(len(y_true)), y_true]
        return cls(alpha, conformal_quantile(scores, alpha), len(scores), rng is not None, penalty, free_rank)

    def predict(self, probs: ArrayLike, *, rng: np.random.Generator | None = None) -> np.ndarray:
        """Sets of new rows, booleans (n, n_classes).

        `probs` (n, n_classes): probabilities; `rng`: needed if and only if the fit was randomised.
        """
        if (rng is not None) != self.is_randomised:
            raise ValueError("fit and predict must both be randomised, or neither: scores of two kinds do not compare")
        return self.scores(probs, rng=rng) <= self.qhat

    def scores(self, probs: ArrayLike, *, rng: np.random.Generator | None = None) -> np.ndarray:
        """Score of every class, (n, n_classes); a class is in the set if its score is at most qhat."""
        return _adaptive_scores(check_probs(probs), self.penalty, self.free_rank, rng)


def coverage(sets: ArrayLike, y_true: ArrayLike) -> float:
    """Share of rows whose set holds the true class."""
    sets, y_true = _checked(sets, y_true)
    return float(sets[np.arange(len(sets)), y_true].mean())


def coverage_by_class(sets: ArrayLike, y_true: ArrayLike, resampler: Resampler) -> pd.DataFrame:
    """Coverage of each true class, and its sets' mean size, with intervals over the groups of its rows.

    Returns columns class (id), n, coverage, mean_size, and their bounds; NaN for a class without rows.
    """
    sets, y_true = _checked(sets, y_true)
    is_covered, size, rows = sets[np.arange(len(sets)), y_true], sets.sum(axis=1), []
    for k in range(sets.shape[1]):
        own = np.flatnonzero(y_true == k)
        row = {"class": k, "n": len(own)} | with_bounds("coverage", _mean(is_covered, own, resampler, 1))
        rows.append(row | with_bounds("mean_size", _mean(size, own, resampler, sets.shape[1])))
    return pd.DataFrame(rows)


def coverage_by_size(sets: ArrayLike, y_true: ArrayLike, resampler: Resampler) -> pd.DataFrame:
    """Coverage of the sets of each size, with intervals over the groups of their rows.

    Returns columns size (0 … n_classes), n, coverage and its bounds; NaN for a size that does not occur. A set of no
    class covers nothing and one of all classes everything: these have no bounds.
    """
    sets, y_true = _checked(sets, y_true)
    is_covered, size, rows = sets[np.arange(len(sets)), y_true], sets.sum(axis=1), []
    for value in range(sets.shape[1] + 1):
        own = np.flatnonzero(size == value)
        found = _mean(is_covered, own, resampler, 1)
        if value in (0, sets.shape[1]):
            found = Interval(found.value, math.nan, math.nan)
        rows.append({"size": value, "n": len(own)} | with_bounds("coverage", found))
    return pd.DataFrame(rows)


def _mean(values: np.ndarray, own: np.ndarray, resampler: Resampler, most: int) -> Interval:
    if not len(own):
        return Interval(math.nan, math.nan, math.nan)
    return resampler.of(own).mean(values[own], span=(0, most))


def _adaptive_scores(probs: np.ndarray, penalty: float, free_rank: int, rng: np.random.Generator | None) -> np.ndarray:
    """Score of every class, (n, n_classes)."""
    order = np.argsort(-probs, axis=1, kind="stable")
    ranked = np.take_along_axis(probs, order, axis=1)
    own_share = np.ones((len(probs), 1)) if rng is None else rng.random((len(probs), 1))
    before = np.cumsum(ranked, axis=1) - ranked
    ranks = np.arange(1, probs.shape[1] + 1)
    ranked_scores = before + own_share * ranked + penalty * np.maximum(0, ranks - free_rank)
    scores = np.empty_like(probs)
    np.put_along_axis(scores, order, ranked_scores, axis=1)
    return scores


def _same_classes(probs: ArrayLike, n_classes: int) -> np.ndarray:
    probs = check_probs(probs)
    if probs.shape[1] != n_classes:
        raise ValueError(f"the sets were fitted on {n_classes} classes, got probabilities of {probs.shape[1]}")
    return probs


def _checked(sets: ArrayLike, y_true: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    sets = np.asarray(sets)
    if sets.ndim != 2 or sets.dtype != bool:
        raise ValueError(f"sets must be boolean of shape (n, n_classes), got {sets.dtype} of shape {sets.shape}")
    return sets, check_labels(y_true, *sets.shape)
