"""People who answer when the model defers, known by an accuracy, a confusion matrix, or answers to each pair.

A person's answer is drawn from a distribution by a number that depends on the seed, the pair and the stream alone. It
is therefore the same whichever other pairs are handed over, and in whichever order.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 8
# Stream of the answer of a person who takes a pair over.
OWN = "answer"


def _mix(words: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64: a bijection of 64-bit words in which every input bit moves every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hash_ids(ids: Sequence[str]) -> np.ndarray:
    """64-bit hash of each text, (n,), the same on every machine and whatever the other texts are."""
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


class Human:
    """A person who is asked for a pair's class, and answers by a confusion matrix.

    `matrix` (K, K): P(answer | true class): a row for each true class, summing to 1; `seed`: another seed is another
    person from the same population.
    """

    is_recorded = False
    _sees_truth = True

    def __init__(self, matrix: np.ndarray, *, seed: int):
        self.matrix, self.seed = matrix, seed

    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray) -> np.ndarray:
        """Probability of each answer, (n, K), given the pairs and their true classes (n,)."""
        return self.matrix[y_true]

    def answers(self, pair_ids: Sequence[str], y_true: np.ndarray, *, stream: str = OWN) -> np.ndarray:
        """One answer for each pair.

        `pair_ids` (n,); `y_true` (n,): true classes; `stream`: another stream is an independent answer to the same
        pair. Returns (n,).
        """
        uniform = keyed_uniform(pair_ids, seed=self.seed, stream=stream)
        return draw(self.distribution(pair_ids, y_true), uniform, y_true if self._sees_truth else None)


class ConfusionHuman(Human):
    """Errs by class, as the parameters say."""


class ParametricHuman(Human):
    """Right with one probability, and otherwise any other class alike.

    `accuracy` in [0, 1]; `n_classes` >= 2.
    """

    def __init__(self, accuracy: float, *, n_classes: int, seed: int):
        matrix = np.full((n_classes, n_classes), (1 - accuracy) / (n_classes - 1))
        np.fill_diagonal(matrix, accuracy)
        super().__init__(matrix, seed=seed)


class PairHuman(Human):
    """Answers each pair by a distribution of its own, so that errors fall on the pairs that people find hard.

    `pair_ids` (m,): each once; `counts` (m, K): answers of each class, or their shares; every pair has at least one;
    `typical` (K, K): P(answer | true class) for other pairs; without it they are refused.
    """

    def __init__(self, pair_ids: Sequence[str], counts: np.ndarray, *, seed: int, typical: np.ndarray | None = None):
        super().__init__(typical, seed=seed)
        self.pair_ids = pd.Index(pair_ids)
        self.shares = counts / counts.sum(axis=1, keepdims=True)

    def distribution(self, pair_ids: Sequence[str], y_true: np.ndarray) -> np.ndarray:
        """Share of each answer, (n, K)."""
        rows = self.pair_ids.get_indexer(pd.Index(pair_ids))
        if not (is_silent := rows < 0).any():
            return self.shares[rows]
        if self.matrix is None:
            unknown = pd.Index(pair_ids)[is_silent][:3].tolist()
            raise KeyError(f"nobody can answer for {is_silent.sum()} pairs, first {unknown}")
        return np.where(is_silent[:, None], self.matrix[y_true], self.shares[rows])

    def confusion(self, pair_ids: Sequence[str], y_true: np.ndarray) -> np.ndarray:
        """Mean answer to each true class, (K, K): what the model may assume about an answer.

        Estimate it on the calibration split. A class without pairs gets a uniform row.
        """
        sums = np.zeros((self.shares.shape[1],) * 2)
        np.add.at(sums, y_true, self.distribution(pair_ids, y_true))
        sums[sums.sum(axis=1) == 0] = 1.0
        return sums / sums.sum(axis=1, keepdims=True)


class VoteHuman(PairHuman):
    """One recorded annotator, drawn for each pair from those who judged it: `counts` are their votes."""

    is_recorded = True
    _sees_truth = False
