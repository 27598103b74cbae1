"""A population of small classifiers, cheap to train: what accuracy usually becomes under a shift.

Each member is a way to describe pixels and a way to learn from the description. They are no dual encoders and have seen
fewer images; they say where models of some accuracy end up, not how good the best could be.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from verdict.clip.robustness.corruptions import as_unit

Describe = Callable[[np.ndarray], np.ndarray]
_N_ANGLES, _CELLS = 8, 4


def colour_counts(images: ArrayLike) -> np.ndarray:
    """Share of pixels in each of 4 x 4 x 4 cells of colour, wherever they are, (n, 64)."""
    cells = (np.asarray(images) // 64).astype(np.int64) @ np.array([16, 4, 1])
    return np.stack([np.bincount(one.ravel(), minlength=64) / one.size for one in cells])


def edge_directions(images: ArrayLike) -> np.ndarray:
    """Edges by direction in 4 x 4 cells, each cell scaled to length 1, (n, 128).

    Dalal and Triggs (2005), Histograms of oriented gradients for human detection; without their overlapping blocks.
    """
    grey = as_unit(images).mean(axis=-1)
    down, across = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, across)
    angle = (np.arctan2(down, across) % np.pi / np.pi * _N_ANGLES).astype(np.int64) % _N_ANGLES
    parts = [_blocks(np.where(angle == k, strength, 0)[..., None], _CELLS) for k in range(_N_ANGLES)]
    cells = np.concatenate(parts, axis=-1)
    cells = cells / (np.linalg.norm(cells, axis=-1, keepdims=True) + 1e-3)
    return _flat(cells)


def _blocks(unit: np.ndarray, n_blocks: int) -> np.ndarray:
    """Means over blocks, (n, n_blocks, n_blocks, channels); sides that do not divide are split as evenly as can be."""
    for axis, length in ((1, unit.shape[1]), (2, unit.shape[2])):
        edges = np.arange(n_blocks) * length // n_blocks
        sizes = np.diff(np.append(edges, length)).reshape([-1 if k == axis else 1 for k in range(unit.ndim)])
        unit = np.add.reduceat(unit, edges, axis=axis) / np.maximum(sizes, 1)
    return unit


def _flat(blocks: np.ndarray) -> np.ndarray:
    return blocks.reshape(len(blocks), -1)


# Blocks are of mean colour, 8 x 8, (n, 192), and of mean brightness, 12 x 12, (n, 144).
DESCRIPTIONS: Mapping[str, Describe] = {
    "colour blocks": lambda images: _flat(_blocks(as_unit(images), 8)),
    "grey blocks": lambda images: _flat(_blocks(as_unit(images).mean(axis=-1, keepdims=True), 12)),
    "colour counts": colour_counts,
    "edges": edge_directions,
}


# One fitted classifier: its name, the description that it reads, and the estimator.
Member = tuple[str, str, Any]


def described(images: ArrayLike) -> dict[str, np.ndarray]:
    """Every description of a batch, so that all members share them."""
    return {name: describe(np.asarray(images)) for name, describe in DESCRIPTIONS.items()}


def fit_population(descriptions: Mapping[str, np.ndarray], y_true: np.ndarray, *, seed: int) -> list[Member]:
    """Fit every member, at least ten, on the same images; one that learns from a quarter of them is named so.

    Descriptions beyond those of pixels (see `described`), such as an encoder's embedding, add a linear probe each.
    """
    members = []
    for name, source, estimator, share in _recipes(descriptions, seed):
        n = max(len(np.unique(y_true)) * 2, round(share * len(y_true)))
        members.append((name, source, clone(estimator).fit(descriptions[source][:n], y_true[:n])))
    return members


def predict_population(members: list[Member], descriptions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Answers of every member, int (n_members, n)."""
    return np.stack([estimator.predict(descriptions[source]) for _, source, estimator in members])


def _recipes(descriptions: Mapping[str, np.ndarray], seed: int) -> list[tuple[str, str, Any, float]]:
    """Name, description, estimator and share of the images of every member."""
    linear, neighbours = make_pipeline(StandardScaler(), RidgeClassifier(alpha=30.0)), KNeighborsClassifier(5)
    trees = ExtraTreesClassifier(60, min_samples_leaf=2, random_state=seed)
    few = min(24, min(len(one) for one in descriptions.values()) // 4)
    components = make_pipeline(PCA(few, random_state=seed), LogisticRegression(max_iter=2000))
    recipes = [
        *((f"ridge on {name}", name, linear, 1.0) for name in DESCRIPTIONS),
        ("centroids of edges", "edges", NearestCentroid(), 1.0),
        ("centroids of grey blocks", "grey blocks", NearestCentroid(), 1.0),
        ("neighbours by edges", "edges", neighbours, 1.0),
        ("neighbours by grey blocks", "grey blocks", neighbours, 1.0),
        ("trees on edges", "edges", trees, 1.0),
        ("trees on grey blocks", "grey blocks", trees, 1.0),
        ("Bayes on edges", "edges", GaussianNB(), 1.0),
        ("discriminant of edges", "edges", LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2), 1.0),
        ("components of edges", "edges", components, 1.0),
        ("ridge on edges, a quarter", "edges", linear, 0.25),
        ("neighbours by edges, a quarter", "edges", neighbours, 0.25),
    ]
    probes = [(f"probe of {name}", name, linear, 1.0) for name in descriptions if name not in DESCRIPTIONS]
    return recipes + probes
