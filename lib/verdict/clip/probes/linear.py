"""Probes of embeddings: supervised ones chosen on val and judged on test, clusters, and what scaling features does.

Multiplying all features by a constant changes nothing but the meaning of a linear machine's C: with features f / tau,
min ½|w|² + C Σ hinge has the solution of features f with C / tau².
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from verdict.stats.uncertainty import Interval, Resampler, with_bounds

Part = tuple[np.ndarray, np.ndarray]
C_GRID = tuple(float(c) for c in np.logspace(-3, 3, 7))
# Of C, the number of neighbours, or the weight decay.
GRIDS: Mapping[str, tuple[float, ...]] = {
    "logistic": C_GRID,
    # On classes that overlap a machine takes ever longer for a large C, and gains nothing.
    "linear SVM": C_GRID[:5],
    "RBF SVM": tuple(float(c) for c in np.logspace(-1, 2, 4)),
    "kNN": (1, 5, 15),
    "MLP": (1e-4, 1e-2),
}
CONTROLS = ("prompts", "random", "words", "PCA", "classes", "duplicates")
MAX_BLOCKS = 60


def new_probe(kind: str, strength: float, *, is_scaled: bool = True) -> ClassifierMixin:
    """An unfitted probe of `GRIDS`; scaled, it standardises features on the training rows first."""
    made = {
        "logistic": lambda: LogisticRegression(C=strength, max_iter=2000),
        "linear SVM": lambda: SVC(kernel="linear", C=strength),
        "RBF SVM": lambda: SVC(kernel="rbf", C=strength),
        "kNN": lambda: KNeighborsClassifier(n_neighbors=int(strength)),
        "MLP": lambda: MLPClassifier((256, 128), alpha=strength, max_iter=25, learning_rate_init=2e-3, random_state=0),
    }
    return make_pipeline(StandardScaler(), made[kind]()) if is_scaled else made[kind]()


@dataclass(frozen=True, eq=False)
class Chosen:
    """A probe whose strength validation chose: the first of those with the best accuracy on val.

    `path` is the whole sweep (strength, train_accuracy, val_accuracy), `answer` (n_test,) that of the chosen probe.
    """

    strength: float
    path: pd.DataFrame
    answer: np.ndarray


def choose(kind: str, train: Part, val: Part, test: np.ndarray, *, grid: Sequence[float] = ()) -> Chosen:
    """Fit a probe at every strength on train (features (n, d), y (n,)), keep the best on val, answer test with it."""
    rows, fitted = [], []
    for strength in grid or GRIDS[kind]:
        probe = new_probe(kind, strength)
        with warnings.catch_warnings():
            # An MLP of a few epochs and a very weak penalty stop before they are done; val judges them as they are.
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(*train)
        fitted.append(probe)
        scores = {"train_accuracy": probe.score(*train), "val_accuracy": probe.score(*val)}
        rows.append({"strength": strength, **scores})
    path = pd.DataFrame(rows)
    best = int(path["val_accuracy"].to_numpy().argmax())
    return Chosen(float(path["strength"][best]), path, fitted[best].predict(test))


def machine(features: np.ndarray, y: np.ndarray, cost: float) -> SVC:
    """A linear machine on features as they are, solved closely."""
    return SVC(kernel="linear", C=cost, tol=1e-6).fit(np.asarray(features, dtype=np.float64), y)


def both_machines(
    train: Part, test: np.ndarray, *, taus: Sequence[float], costs: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a linear machine on features / tau, over tau and C; and of C / tau² on plain features.

    Both (n_taus, n_costs, n_test), both fitted: they agree where the algebra says so.
    """
    x, y = train
    divided = [[machine(x / tau, y, c).predict(test / tau) for c in costs] for tau in taus]
    wanted = [[c / tau**2 for c in costs] for tau in taus]
    known = {cost: machine(x, y, cost).predict(test) for cost in np.unique(wanted)}
    return np.array(divided), np.array([[known[cost] for cost in row] for row in wanted])


def directions(
    kind: str, n: int, *, words: np.ndarray, classes: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """N directions of the joint space that features may be read along: unit rows (n, d).

    Of `kind` "prompts" they are the first n of `words`. Controls: "random" (Gaussian), "words" (random ones of
    `words`), "PCA" (of training images), "classes" (repeated class vectors) and "duplicates" (few prompts, repeated).
    """
    shape = (n, train.shape[1])
    made = {
        "prompts": lambda: words[:n],
        "random": lambda: rng.standard_normal(shape),
        "words": lambda: words[rng.choice(len(words), size=n, replace=n > len(words))],
        "PCA": lambda: np.resize(np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2], shape),
        "classes": lambda: np.resize(classes, shape),
        "duplicates": lambda: np.resize(words[: max(2, n // 4)], shape),
    }
    found = made[kind]()
    return found if kind == "prompts" else found / np.linalg.norm(found, axis=1, keepdims=True)


def rank(rows: np.ndarray) -> int:
    """Numerical rank: how many dimensions a linear map can keep."""
    return int(np.linalg.matrix_rank(np.asarray(rows, dtype=np.float64), tol=1e-4 * np.sqrt(len(rows))))


def few_shot(
    train: Part, test: Part, *, shots: Sequence[int], n_repeats: int, strength: float, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Logistic probes on a few pictures of each class, drawn several times: by shots, right (n_repeats, n_test).

    No strength is chosen on few pictures: it is given, so that nothing is validated on what would not be there.
    """
    x, y = train
    right: dict[int, list[np.ndarray]] = {n: [] for n in shots}
    for _ in range(n_repeats):
        order = rng.permutation(len(y))
        for n in shots:
            picked = np.concatenate([order[y[order] == k][:n] for k in np.unique(y)])
            probe = new_probe("logistic", strength, is_scaled=False).fit(x[picked], y[picked])
            right[n].append(probe.predict(test[0]) == test[1])
    return {n: np.array(found, dtype=float) for n, found in right.items()}


def clusters(features: np.ndarray, n_clusters: int, *, seed: int) -> np.ndarray:
    """Clusters of k-means on the rows as they are: int (n,)."""
    return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(np.asarray(features, dtype=np.float64))


def purity(y_true: np.ndarray, cluster: np.ndarray) -> float:
    """Share of rows that belong to the most frequent class of their cluster; it grows with the number of clusters."""
    return float(contingency_matrix(y_true, cluster).max(axis=0).sum() / len(y_true))


CLUSTER_SCORES = {
    "purity": purity,
    "nmi": normalized_mutual_info_score,
    "ari": adjusted_rand_score,
    "ami": adjusted_mutual_info_score,
}


def cluster_scores(
    y_true: np.ndarray, cluster: np.ndarray, resampler: Resampler, *, n_chance: int
) -> dict[str, float | None]:
    """How well clusters agree with classes: every score, `_low`, `_high`, and `_chance`, where clusters are dealt out.

    Repeated rows make clusters look purer than they are, so that resampling would put the score outside its own
    interval: blocks of groups are left out instead, one at a time (jackknife), while clusters stay. A score that no
    block moves has no interval. Efron and Tibshirani (1993), An introduction to the bootstrap, sections 11.1 and 11.5.
    """
    names, code = np.unique(resampler.groups, return_inverse=True)
    n_blocks = min(len(names), MAX_BLOCKS)
    block = (resampler.rng("blocks").permutation(len(names)) % n_blocks)[code]
    rng = resampler.rng("dealt")
    dealt = [rng.permutation(cluster) for _ in range(n_chance)]
    found: dict[str, float | None] = {}
    for name, score in CLUSTER_SCORES.items():
        value = float(score(y_true, cluster))
        without = np.array([score(y_true[block != k], cluster[block != k]) for k in range(n_blocks)])
        half = stats.norm.ppf(0.5 + resampler.level / 2) * np.sqrt((n_blocks - 1) * without.var())
        half = half if half > 0 else float("nan")
        chance = float(np.mean([score(y_true, other) for other in dealt]))
        found |= with_bounds(name, Interval(value, value - half, value + half)) | {f"{name}_chance": chance}
    return found
