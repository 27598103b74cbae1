"""Who answers when the model defers: people of a stated accuracy, of a confusion matrix, or of recorded votes.

A person's answer is drawn from a distribution by a number that depends on the seed, the pair and the stream alone. It
is therefore the same whichever other pairs are handed over, and in whichever order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 8
# Stream of the answer that a person gives who takes a pair over.
OWN = "answer"


def _mix(words: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64: a bijection of 64-bit words in which every input bit moves every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hash_ids(ids: Sequence[str]) -> np.ndarray:
    """64-bit hash of each text, the same on every machine and in every company.

    Returns (n,).
    """
    encoded = [str(text).encode("utf-8") for text in ids]
    width = max((len(text) for text in encoded), default=1)
    words = -(-max(width, 1) // _WORD)
    table = np.array(encoded, dtype=f"S{words * _WORD}").view("<u8").reshape(len(encoded), words)
    state = np.full(len(encoded), _GOLDEN, dtype=np.uint64)
    for column in table.T:
        # Padding words are skipped: otherwise the longest id of a batch would change the hash of all others.
        state = np.where(column == 0, state, _mix((state ^ column) + np.uint64(_GOLDEN)))
    return state


def keyed_uniform(ids: Sequence[str], *, seed: int, stream: str) -> np.ndarray:
    """Uniform number for each id, a pure function of (id, seed, stream).

    `ids` (n,). `stream`: what is drawn. Streams of one seed are unrelated: one for each question that is put to the
    same person. Returns (n,) in [0, 1). Steele, Lea, Flood (2014), Fast Splittable Pseudorandom Number Generators (the
    splitmix64 finaliser).
    """
    key = np.array([seed & _MASK, hash_ids([stream])[0]], dtype=np.uint64)
    first, second = _mix(key + np.array([_GOLDEN, 1], dtype=np.uint64))
    return (_mix(_mix(hash_ids(ids) ^ first) + second) >> np.uint64(11)) * 2.0**-53


def draw(distribution: np.ndarray, uniform: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """One class for each row by inversion of the cumulative distribution.

    `distribution` (n, K): rows sum to 1. `uniform` in [0, 1), (n,). `first` (n,): class that takes the lowest uniform
    numbers, by default class 0. With the true class first, a person who gets better never turns a right answer into a
    wrong one. Returns (n,): a class of probability 0 is never returned.
    """
    n_rows, n_classes = distribution.shape
    start = np.zeros(n_rows, dtype=np.int64) if first is None else np.asarray(first, dtype=np.int64)
    order = (start[:, None] + np.arange(n_classes)) % n_classes
    ordered = np.take_along_axis(distribution, order, axis=1)
    cumulative = np.cumsum(ordered, axis=1)
    position = (uniform[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
    return np.take_along_axis(order, position[:, None], axis=1)[:, 0]


class Human(ABC):
    """A person who is asked for a pair's class.

    `seed`: another seed is another person from the same population.
    """

    _sees_truth = True

    def __init__(self, *, seed: int):
        self.seed = seed

    @abstractmethod
    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray | None = None) -> np.ndarray:
        """Probability of each answer, (n, K), given the pairs and their true classes (n,)."""

    def answers(self, pair_ids: Sequence[str], y_true: np.ndarray | None = None, *, stream: str = OWN) -> np.ndarray:
        """One answer for each pair.

        `pair_ids` (n,); `y_true` (n,): True classes; only recorded votes do without; `stream`: another stream is an
        independent answer to the same pair. Returns (n,).
        """
        distribution = self.distribution(pair_ids, y_true)
        first = np.asarray(y_true) if self._sees_truth else None
        return draw(distribution, keyed_uniform(pair_ids, seed=self.seed, stream=stream), first)


class ParametricHuman(Human):
    """Right with one probability, and otherwise any other class alike.

    `accuracy` in [0, 1]; `n_classes` >= 2.
    """

    def __init__(self, accuracy: float, *, n_classes: int, seed: int):
        super().__init__(seed=seed)
        self.accuracy = float(_check_accuracy(accuracy))
        self.n_classes = n_classes

    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray | None = None) -> np.ndarray:
        """Probability of each answer, (n, K)."""
        truth = _check_truth(pair_ids, y_true, self.n_classes)
        return _one_right(np.full(len(truth), self.accuracy), truth, self.n_classes)


class DifficultyHuman(Human):
    """Right with a probability of each pair's own, for data without votes; see `accuracy_by_difficulty`.

    `pair_ids` (m,): the pairs that the person can be asked about, each once; `accuracy` (m,) in [0, 1]; `n_classes` >=
    2.
    """

    def __init__(self, pair_ids: Sequence[str], accuracy: np.ndarray, *, n_classes: int, seed: int):
        super().__init__(seed=seed)
        self._ids = _unique(pair_ids)
        self.accuracy = _check_accuracy(accuracy)
        self.n_classes = n_classes
        if self.accuracy.shape != (len(self._ids),):
            raise ValueError(f"accuracy must have shape ({len(self._ids)},), one per pair, got {self.accuracy.shape}")

    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray | None = None) -> np.ndarray:
        """Probability of each answer, (n, K)."""
        truth = _check_truth(pair_ids, y_true, self.n_classes)
        return _one_right(self.accuracy[_find(self._ids, pair_ids)], truth, self.n_classes)


class ConfusionHuman(Human):
    """Answers by a confusion matrix.

    `matrix` (K, K): P(answer | true class): a row for each true class, summing to 1.
    """

    def __init__(self, matrix: Any, *, seed: int):
        super().__init__(seed=seed)
        self.matrix = check_confusion(matrix)

    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray | None = None) -> np.ndarray:
        """Probability of each answer, (n, K)."""
        return self.matrix[_check_truth(pair_ids, y_true, len(self.matrix))]


class VoteHuman(Human):
    """One recorded annotator, drawn for each pair from those who judged it.

    Errors thus fall on the pairs that people find hard. The true class is not used.

    `pair_ids` (m,); `counts` (m, K): votes for each class; every pair has at least one; `typical` (K, K): P(answer |
    true class) for pairs that nobody judged; without it they are refused.
    """

    _sees_truth = False

    def __init__(self, pair_ids: Sequence[str], counts: Any, *, seed: int, typical: Any = None):
        super().__init__(seed=seed)
        self.typical = None if typical is None else check_confusion(typical)
        self._ids = _unique(pair_ids)
        counts = np.asarray(counts, dtype=np.float64)
        if counts.ndim != 2 or len(counts) != len(self._ids):
            raise ValueError(f"counts must have shape ({len(self._ids)}, K), got {counts.shape}")
        if not np.all(np.isfinite(counts)) or np.any(counts < 0):
            raise ValueError("votes must be finite and not negative")
        totals = counts.sum(axis=1, keepdims=True)
        if np.any(totals == 0):
            silent = pd.Index(pair_ids)[totals[:, 0] == 0][:3].tolist()
            raise ValueError(f"{int((totals == 0).sum())} pairs have no vote, first {silent}")
        self.shares = counts / totals

    @property
    def pair_ids(self) -> np.ndarray:
        """The pairs that somebody judged, in the order of `shares`."""
        return self._ids.to_numpy()

    def is_judged(self, pair_ids: Sequence[str]) -> np.ndarray:
        """Whether somebody judged each pair, (n,) bool."""
        return self._ids.get_indexer(pd.Index(pair_ids)) >= 0

    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray | None = None) -> np.ndarray:
        """Share of each answer among the annotators, (n, K)."""
        if self.typical is None:
            return self.shares[_find(self._ids, pair_ids)]
        rows, truth = self._ids.get_indexer(pd.Index(pair_ids)), _check_truth(pair_ids, y_true, len(self.typical))
        return np.where((rows < 0)[:, None], self.typical[truth], self.shares[rows])

    def confusion(self, pair_ids: Sequence[str], y_true: np.ndarray) -> np.ndarray:
        """Mean answer of one annotator to each true class, (K, K): what the model may assume about a vote.

        Estimate it on the calibration split. A class without pairs gets a uniform row.
        """
        shares, n_classes = self.distribution(pair_ids, y_true), self.shares.shape[1]
        truth = _check_truth(pair_ids, y_true, n_classes)
        sums = np.zeros((n_classes, n_classes))
        np.add.at(sums, truth, shares)
        sums[sums.sum(axis=1) == 0] = 1.0
        return sums / sums.sum(axis=1, keepdims=True)


def accuracy_by_difficulty(difficulty: np.ndarray, *, easy: float, hard: float) -> np.ndarray:
    """A person's accuracy on each pair, falling linearly with the rank of its difficulty.

    `difficulty` (n,): any score that grows with difficulty; ties share their mean rank; `easy`, `hard` in [0, 1]:
    accuracy on the easiest and on the hardest pair. Returns (n,): its mean is (easy + hard) / 2.
    """
    _check_accuracy([easy, hard])
    ranks = pd.Series(np.asarray(difficulty, dtype=np.float64)).rank(method="average").to_numpy()
    if np.isnan(ranks).any():
        raise ValueError("difficulty must not hold NaN")
    position = (ranks - 1) / (len(ranks) - 1) if len(ranks) > 1 else np.full(len(ranks), 0.5)
    return easy + (hard - easy) * position


def check_confusion(matrix: Any) -> np.ndarray:
    """A confusion matrix as float64 (K, K); refused unless it is square, not negative, and its rows sum to 1."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix must be square (K, K), got shape {matrix.shape}")
    if not np.all(matrix >= 0) or not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-9):
        raise ValueError(
            f"rows of a confusion matrix are P(answer | true class) and must sum to 1, got {matrix.sum(axis=1)}; "
            "did you pass counts?"
        )
    return matrix


def _unique(pair_ids: Sequence[str]) -> pd.Index:
    found = pd.Index(pair_ids)
    if not found.is_unique:
        twice = found[found.duplicated()].unique()[:3].tolist()
        raise ValueError(f"pair ids must be unique, these are repeated: {twice}")
    return found


def _find(known: pd.Index, pair_ids: Sequence[str]) -> np.ndarray:
    """Row of each pair among those known."""
    rows = known.get_indexer(pd.Index(pair_ids))
    if np.any(rows < 0):
        unknown = pd.Index(pair_ids)[rows < 0][:3].tolist()
        raise KeyError(f"nobody can answer for {int((rows < 0).sum())} pairs, first {unknown}")
    return rows


def _check_accuracy(accuracy: Any) -> np.ndarray:
    accuracy = np.asarray(accuracy, dtype=np.float64)
    if not np.all((accuracy >= 0) & (accuracy <= 1)):
        raise ValueError(f"accuracy must lie in [0, 1], got values from {accuracy.min()} to {accuracy.max()}")
    return accuracy


def _check_truth(pair_ids: Sequence[str], y_true: np.ndarray | None, n_classes: int) -> np.ndarray:
    if y_true is None:
        raise ValueError("this person is simulated from the true class: y_true is needed")
    truth = np.asarray(y_true, dtype=np.int64)
    if truth.shape != (len(pair_ids),):
        raise ValueError(f"y_true must have shape ({len(pair_ids)},), got {truth.shape}")
    if truth.size and (truth.min() < 0 or truth.max() >= n_classes):
        raise ValueError(f"y_true must lie in 0..{n_classes - 1}, got {truth.min()} to {truth.max()}")
    return truth


def _one_right(accuracy: np.ndarray, truth: np.ndarray, n_classes: int) -> np.ndarray:
    """Rows with `accuracy` on the true class and the rest shared by the others."""
    distribution = np.repeat((1 - accuracy)[:, None] / (n_classes - 1), n_classes, axis=1)
    distribution[np.arange(len(truth)), truth] = accuracy
    return distribution
