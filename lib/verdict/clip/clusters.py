"""How well clusters of embeddings agree with classes, beside what chance gives."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

from verdict.uncertainty import Interval, Resampler, with_bounds

MAX_BLOCKS = 60


def assign(features: np.ndarray, n_clusters: int, *, seed: int, n_init: int = 10) -> np.ndarray:
    """Clusters of k-means on the rows as they are: int (n,)."""
    return KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(np.asarray(features, dtype=np.float64))


def purity(y_true: np.ndarray, cluster: np.ndarray) -> float:
    """Share of rows that belong to the most frequent class of their cluster; it grows with the number of clusters."""
    table = np.zeros((int(cluster.max()) + 1, int(y_true.max()) + 1))
    np.add.at(table, (cluster, y_true), 1)
    return float(table.max(axis=1).sum() / len(y_true))


SCORES = {
    "purity": purity,
    "nmi": normalized_mutual_info_score,
    "ari": adjusted_rand_score,
    "ami": adjusted_mutual_info_score,
}


def scores(y_true: np.ndarray, cluster: np.ndarray, resampler: Resampler, *, n_chance: int) -> dict[str, float]:
    """Every score with its interval, and its mean where clusters are dealt at random.

    Repeated rows make clusters look purer than they are, so that resampling would put the score outside its own
    interval: blocks of groups are left out instead, one at a time (jackknife), while clusters stay as they are. A score
    that no block moves has no interval.

    Returns
    -------
    dict
        `<score>`, `<score>_low`, `<score>_high`, `<score>_chance`.

    References
    ----------
    Efron and Tibshirani (1993), An introduction to the bootstrap, sections 11.1 and 11.5.
    """
    names, code = np.unique(resampler.groups, return_inverse=True)
    n_blocks = min(len(names), MAX_BLOCKS)
    block = (resampler.rng("blocks").permutation(len(names)) % n_blocks)[code]
    rng = resampler.rng("dealt")
    dealt = [rng.permutation(cluster) for _ in range(n_chance)]
    found: dict[str, float] = {}
    for name, score in SCORES.items():
        value = float(score(y_true, cluster))
        without = np.array([score(y_true[block != k], cluster[block != k]) for k in range(n_blocks)])
        half = stats.norm.ppf(0.5 + resampler.level / 2) * np.sqrt((n_blocks - 1) * without.var())
        half = half if half > 0 else float("nan")
        chance = float(np.mean([score(y_true, other) for other in dealt]))
        found |= with_bounds(name, Interval(value, value - half, value + half)) | {f"{name}_chance": chance}
    return found
