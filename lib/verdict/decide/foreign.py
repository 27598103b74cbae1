"""Whether what comes in is from elsewhere: a batch against the calibration pairs, without any label.

Each output of the model, and the distance from train where it is known, is compared by the two-sample test of
Kolmogorov and Smirnov; the smallest p-value pays for the number of tests. A pair's own p-value is
`signals.distance_confidence`.

Rabanser, Günnemann and Lipton (2019), Failing loudly, NeurIPS, section 3: tests on the softmax outputs (BBSDs), one for
each, adjusted by Bonferroni.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from verdict.decide.people import hash_ids

DISTANCE = "distance"
# Up to so many rows the p-value is exact; beyond, the asymptotic law is as good and a hundred times faster.
_EXACT_UP_TO = 60


def watched(probs: np.ndarray, distance: np.ndarray | None, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """What is compared of each pair: the probability (n, K) of each class, of two the second, and the distance (n,)."""
    shown = range(1, 2) if probs.shape[1] == 2 else range(probs.shape[1])
    columns = {f"probability of {classes[k]}": probs[:, k] for k in shown}
    return columns if distance is None else columns | {DISTANCE: distance}


def one_of_each(groups: Sequence[str], pair_ids: Sequence[str]) -> np.ndarray:
    """One row of each group, whichever the hash of its id puts first, (n_groups,): rows of a group are no sample."""
    order = np.argsort(hash_ids(list(pair_ids)), kind="stable")
    return np.sort(order[np.unique(np.asarray(groups).astype(str)[order], return_index=True)[1]])


def compare_batch(reference: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Two-sample tests of independent rows: signal, statistic, p_value, adjusted (times the number of tests).

    ValueError if both do not hold the same signals, or one is empty.
    """
    if list(reference) != list(batch) or not all(len(column) for column in (*reference.values(), *batch.values())):
        raise ValueError(f"expected the same signals of rows that there are, got {list(reference)} and {list(batch)}")
    rows = []
    for name, known in reference.items():
        method = "exact" if len(batch[name]) <= _EXACT_UP_TO else "asymp"
        found = stats.ks_2samp(known, batch[name], method=method)
        row = {"signal": name, "statistic": float(found.statistic), "p_value": float(found.pvalue)}
        rows.append(row | {"adjusted": min(1.0, float(found.pvalue) * len(reference))})
    return pd.DataFrame(rows)


def batch_p_value(reference: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> float:
    """P-value of "this batch comes from where the reference does", over all signals."""
    return float(compare_batch(reference, batch)["adjusted"].min())
