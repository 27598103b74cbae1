"""Whether new pairs come from another distribution than the calibration pairs, tested without any label.

Each output of the model, and the distance from train where it is known, is compared by the two-sample test of
Kolmogorov and Smirnov; the smallest p-value pays for the number of tests. A pair's own p-value is
`signals.distance_confidence`.

Rabanser, Günnemann and Lipton (2019), Failing loudly, NeurIPS, section 3: tests on the softmax outputs (BBSDs), one for
each, adjusted by Bonferroni.

Pairs that come one by one are tested as they come, by `StreamTest`, whose p-value holds at every look.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from verdict.decide.guarantee import Gamblers
from verdict.decide.people import hash_ids, keyed_uniform
from verdict.decide.signals import max_probability
from verdict.stats.scores import top_class

DISTANCE = "distance"
# Up to so many rows the p-value is exact; beyond, the asymptotic law is as good and a hundred times faster.
_EXACT_UP_TO = 60


def watched(probs: np.ndarray, distance: np.ndarray | None, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns to compare, (n,) each: the probability of each class, or of the second of two, and the distance."""
    shown = range(1, 2) if probs.shape[1] == 2 else range(probs.shape[1])
    columns = {f"probability of {classes[k]}": probs[:, k] for k in shown}
    return columns if distance is None else columns | {DISTANCE: distance}


def one_of_each(groups: Sequence[str], pair_ids: Sequence[str]) -> np.ndarray:
    """One row of each group, the first by the hash of its id, (n_groups,): rows of one group are not independent."""
    order = np.argsort(hash_ids(list(pair_ids)), kind="stable")
    return np.sort(order[np.unique(np.asarray(groups).astype(str)[order], return_index=True)[1]])


def compare_batch(reference: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Two-sample tests of independent rows: signal, statistic, p_value, adjusted (times the number of tests).

    ValueError if both do not hold the same signals, of the same rows, or one is empty.
    """
    _check(reference, batch)
    rows = []
    for name, known in reference.items():
        test = _test(known, batch[name])
        row = {"signal": name, "statistic": float(test.statistic), "p_value": float(test.pvalue)}
        rows.append(row | {"adjusted": min(1.0, float(test.pvalue) * len(reference))})
    return pd.DataFrame(rows)


def batch_p_value(reference: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> float:
    """P-value of "this batch comes from where the reference does", over all signals."""

    def gap(name: str) -> float:
        # Sorted values are found many times faster among many.
        values = np.concatenate(sides := (np.sort(reference[name]), np.sort(batch[name])))
        shares = [np.searchsorted(side, values, side="right") / len(side) for side in sides]
        return float(np.abs(shares[0] - shares[1]).max())

    _check(reference, batch)
    # All have as many rows: the largest statistic has the smallest p-value, and p-values are what takes long.
    name = max(reference, key=gap)
    return min(1.0, float(_test(reference[name], batch[name]).pvalue) * len(reference))


def _test(known: np.ndarray, batch: np.ndarray) -> Any:
    return stats.ks_2samp(known, batch, method="exact" if len(batch) <= _EXACT_UP_TO else "asymp")


def _check(reference: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
    sizes = [{len(column) for column in side.values()} for side in (reference, batch)]
    if list(reference) != list(batch) or any(len(one) != 1 or 0 in one for one in sizes):
        raise ValueError(f"expected the same signals, of one row or more, got {list(reference)} and {list(batch)}")


# Values in [0, 1] are rounded to this many steps, so that a table of counts holds what was seen.
_N_STEPS = 4096
_MAX_GROUPS = 100_000
# Shares of the stake that are bet on low (or high) p-values, and on those far from one half (or near it).
_BETS = (-1.9, -1.0, -0.4, 0.4, 1.0, 1.9)


def stream_signals(probs: np.ndarray, foreign: np.ndarray | None) -> dict[str, np.ndarray]:
    """Signals to watch in a stream, each (n,) in [0, 1]: the model's certainty, its answer, and the pairs' p-values."""
    # Most answers are nearly certain: t / (1 + t) of t = -log(1 - p) keeps them apart.
    nats = -np.log1p(-np.minimum(max_probability(probs), 1 - 1e-15))
    signals = {"certainty": nats / (1 + nats), "answer": top_class(probs) / probs.shape[1]}
    return signals if foreign is None else signals | {"foreign": foreign}


class StreamTest:
    """Whether rows that come one by one are still exchangeable with those of calib; it holds at every look.

    Each row's conformal p-value among the rows of calib and all before it, ties broken by a number that depends on the
    pair alone, is uniform and independent of the earlier ones as long as they are. Gamblers bet that it is not. The
    first row of each group is compared, of the last 100,000 groups, so that memory does not grow.

    Vovk, Gammerman and Shafer (2022), Algorithmic Learning in a Random World, second edition, chapter 8.
    """

    def __init__(self, known: Mapping[str, np.ndarray]):
        self._signals = list(known)
        self._groups: dict[str, None] = {}
        self._p_value = 1.0
        self._counts = np.stack([np.bincount(_step(column), minlength=_N_STEPS) for column in known.values()])
        self._gamblers = Gamblers(len(known) * 2 * len(_BETS))

    def update(self, new: Mapping[str, np.ndarray], groups: Sequence[str], pair_ids: Sequence[str]) -> np.ndarray:
        """P-values of "nothing has changed up to this row", (n,), never rising, over the rows that came before too."""
        compared = np.flatnonzero([self._is_first(group) for group in groups])
        p_values = pd.Series(np.nan, index=range(len(groups)))
        if len(compared):
            ids = [pair_ids[row] for row in compared]
            centred = []
            for place, name in enumerate(self._signals):
                rank = self._ranks(place, _step(new[name][compared]), ids)
                centred += [rank - 0.5, np.abs(2 * rank - 1) - 0.5]
            factors = 1 + np.stack(centred, axis=1)[:, :, None] * np.array(_BETS)
            p_values[compared] = self._gamblers.play(factors.reshape(len(compared), -1))
        p_values = p_values.ffill().fillna(self._p_value).to_numpy()
        self._p_value = float(p_values[-1]) if len(p_values) else self._p_value
        return p_values

    def _is_first(self, group: str) -> bool:
        is_first = group not in self._groups
        self._groups[group] = None
        if len(self._groups) > _MAX_GROUPS:
            del self._groups[next(iter(self._groups))]
        return is_first

    def _ranks(self, signal: int, steps: np.ndarray, pair_ids: Sequence[str]) -> np.ndarray:
        """Conformal p-value of each row among all before it, (n,); the rows are added to the counts."""
        counts, n = self._counts[signal], len(steps)
        above, alike = counts.sum() - np.cumsum(counts)[steps], counts[steps] + 1
        before = np.tri(n, k=-1, dtype=bool)
        above += ((steps[None, :] > steps[:, None]) & before).sum(axis=1)
        alike += ((steps[None, :] == steps[:, None]) & before).sum(axis=1)
        total = counts.sum() + 1 + np.arange(n)
        np.add.at(counts, steps, 1)
        uniform = keyed_uniform(pair_ids, seed=0, stream=f"stream.{self._signals[signal]}")
        return (above + uniform * alike) / total


def _step(values: np.ndarray) -> np.ndarray:
    return np.minimum((np.asarray(values) * _N_STEPS).astype(np.int64), _N_STEPS - 1)
