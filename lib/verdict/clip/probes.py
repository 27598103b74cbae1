"""Supervised probes of embeddings: chosen on validation, judged on test; and what scaling features does to them.

Multiplying all features by a constant changes nothing but the meaning of a linear machine's C: with features f / tau,
min ½|w|² + C Σ hinge has the solution of features f with C / tau².
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Part = tuple[np.ndarray, np.ndarray]
C_GRID = tuple(float(c) for c in np.logspace(-3, 3, 7))
GRIDS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "logistic": C_GRID,
        # On classes that overlap a machine takes ever longer for a large C, and gains nothing.
        "linear SVM": C_GRID[:5],
        "RBF SVM": tuple(float(c) for c in np.logspace(-1, 2, 4)),
        "kNN": (1, 5, 15),
        "MLP": (1e-4, 1e-2),
    }
)


def new_probe(kind: str, strength: float, *, seed: int = 0, is_scaled: bool = True) -> ClassifierMixin:
    """An unfitted probe.

    Parameters
    ----------
    kind : str
        One of `GRIDS`.
    strength : float
        C of the machines and of the logistic regression, the number of neighbours, or the MLP's weight decay.
    seed : int
        Of the MLP.
    is_scaled : bool
        Whether features are standardised on the training rows first.
    """
    made = {
        "logistic": lambda: LogisticRegression(C=strength, max_iter=2000),
        "linear SVM": lambda: SVC(kernel="linear", C=strength),
        "RBF SVM": lambda: SVC(kernel="rbf", C=strength),
        "kNN": lambda: KNeighborsClassifier(n_neighbors=int(strength)),
        "MLP": lambda: MLPClassifier(
            (256, 128), alpha=strength, max_iter=25, learning_rate_init=2e-3, random_state=seed
        ),
    }
    if kind not in made:
        raise ValueError(f"no probe is called {kind!r}; there are {list(made)}")
    return make_pipeline(StandardScaler(), made[kind]()) if is_scaled else made[kind]()


@dataclass(frozen=True, eq=False)
class Chosen:
    """A probe whose strength validation chose.

    Attributes
    ----------
    strength : float
        The first of those with the best accuracy on val.
    path : DataFrame
        strength, train_accuracy, val_accuracy: the whole sweep.
    answer : int (n_test,)
    """

    kind: str
    strength: float
    path: pd.DataFrame
    answer: np.ndarray


def choose(
    kind: str,
    train: Part,
    val: Part,
    test: np.ndarray,
    *,
    grid: Sequence[float] = (),
    is_scaled: bool = True,
    seed: int = 0,
) -> Chosen:
    """Fit a probe at every strength on train, keep the best on val, answer test with it.

    Parameters
    ----------
    train, val : (features (n, d), y (n,))
    test : (n_test, d)
        Seen by the chosen probe alone.
    """
    rows, fitted = [], []
    for strength in grid or GRIDS[kind]:
        probe = new_probe(kind, strength, seed=seed, is_scaled=is_scaled)
        with warnings.catch_warnings():
            # An MLP of a few epochs and a very weak penalty stop before they are done; val judges them as they are.
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(*train)
        fitted.append(probe)
        scores = {"train_accuracy": probe.score(*train), "val_accuracy": probe.score(*val)}
        rows.append({"strength": strength, **scores})
    path = pd.DataFrame(rows)
    best = int(path["val_accuracy"].to_numpy().argmax())
    return Chosen(kind, float(path["strength"][best]), path, fitted[best].predict(test))


def machine(features: np.ndarray, y: np.ndarray, cost: float) -> SVC:
    """A linear machine on features as they are, solved closely."""
    return SVC(kernel="linear", C=cost, tol=1e-6).fit(np.asarray(features, dtype=np.float64), y)


def tau_map(train: Part, test: Part, *, taus: Sequence[float], costs: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of a linear machine on features / tau, over tau and C; and of C / tau² on plain features.

    Returns
    -------
    divided, plain : (n_taus, n_costs)
        Both fitted: they agree where the algebra says so.
    """
    (x, y), (x_test, y_test) = train, test
    divided = [[(machine(x / tau, y, c).predict(x_test / tau) == y_test).mean() for c in costs] for tau in taus]
    known: dict[float, float] = {}
    for tau in taus:
        for c in costs:
            cost = c / tau**2
            if cost not in known:
                known[cost] = float((machine(x, y, cost).predict(x_test) == y_test).mean())
    return np.array(divided), np.array([[known[c / tau**2] for c in costs] for tau in taus])


def agreement(train: Part, test: np.ndarray, *, taus: Sequence[float], cost: float = 1.0) -> pd.DataFrame:
    """Answers of two machines for each tau: of f / tau with C, and of f with C / tau².

    Returns
    -------
    DataFrame
        tau, equal_cost (C / tau²), answer (of the first, int (n_test,)), is_equal (whether both agree, bool (n_test,)).
    """
    x, y = train
    rows = []
    for tau in taus:
        one = machine(x / tau, y, cost).predict(test / tau)
        other = machine(x, y, cost / tau**2).predict(test)
        rows.append({"tau": tau, "equal_cost": cost / tau**2, "answer": one, "is_equal": one == other})
    return pd.DataFrame(rows)


def directions(
    kind: str, n: int, *, words: np.ndarray, classes: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """N directions of the joint space that features may be read along: unit rows (n, d).

    Parameters
    ----------
    kind : str
        "prompts" (the first n of `words`); and its controls: "random" (Gaussian), "words" (random ones of `words`),
        "PCA" (of the training images), "classes" (repeated class vectors), "duplicates" (few prompts, repeated).
    words : (n_words, d)
        Text vectors to take from.
    classes : (n_classes, d)
    train : (n_train, d)
    """
    if kind == "prompts":
        return words[:n]
    if kind == "random":
        found = rng.standard_normal((n, train.shape[1]))
    elif kind == "words":
        found = words[rng.choice(len(words), size=n, replace=n > len(words))]
    elif kind == "PCA":
        _, _, axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
        found = np.resize(axes, (n, train.shape[1]))
    elif kind == "classes":
        found = np.resize(classes, (n, train.shape[1]))
    elif kind == "duplicates":
        found = np.resize(words[: max(2, n // 4)], (n, train.shape[1]))
    else:
        raise ValueError(f"no set of directions is called {kind!r}; there are {list(CONTROLS)}")
    return found / np.linalg.norm(found, axis=1, keepdims=True)


CONTROLS = ("prompts", "random", "words", "PCA", "classes", "duplicates")


def rank(rows: np.ndarray) -> int:
    """Numerical rank: how many dimensions a linear map can keep."""
    return int(np.linalg.matrix_rank(np.asarray(rows, dtype=np.float64), tol=1e-4 * np.sqrt(len(rows))))


def few_shot(
    train: Part, test: Part, *, shots: Sequence[int], n_repeats: int, strength: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Logistic probes on a few pictures of each class, drawn several times.

    No strength is chosen on few pictures: it is given, so that nothing is validated on what would not be there.

    Returns
    -------
    DataFrame
        shots, repeat, right: an array of bool over test.
    """
    x, y = train
    rows = []
    for repeat in range(n_repeats):
        order = rng.permutation(len(y))
        for n in shots:
            picked = np.concatenate([order[y[order] == k][:n] for k in np.unique(y)])
            probe = new_probe("logistic", strength, is_scaled=False).fit(x[picked], y[picked])
            rows.append({"shots": n, "repeat": repeat, "right": probe.predict(test[0]) == test[1]})
    return pd.DataFrame(rows)
