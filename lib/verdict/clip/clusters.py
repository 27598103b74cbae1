"""How well clusters of embeddings agree with classes, beside what chance gives."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score


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


def scores(
    y_true: np.ndarray,
    cluster: np.ndarray,
    groups: np.ndarray,
    *,
    n_resamples: int,
    n_chance: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Every score, its percentile interval over groups, and its mean where clusters are dealt at random.

    Returns
    -------
    dict
        `<score>`, `<score>_low`, `<score>_high`, `<score>_chance`; groups are resampled, clusters stay as they are.
    """
    names, code = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(code == k) for k in range(len(names))]
    drawn = [
        np.concatenate([members[k] for k in rng.integers(len(names), size=len(names))]) for _ in range(n_resamples)
    ]
    dealt = [rng.permutation(cluster) for _ in range(n_chance)]
    found: dict[str, float] = {}
    for name, score in SCORES.items():
        low, high = np.quantile([score(y_true[rows], cluster[rows]) for rows in drawn], [0.025, 0.975])
        chance = float(np.mean([score(y_true, other) for other in dealt]))
        found |= {
            name: float(score(y_true, cluster)),
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_chance": chance,
        }
    return found
