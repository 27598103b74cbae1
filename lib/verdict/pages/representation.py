"""How far a layer tells classes apart: a linear probe, silhouettes, and a picture that never stands alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base.numbers import POINTS
from verdict.pages.tables import GAP, NOTHING, SHARE, bounded
from verdict.stats.uncertainty import Weights
from verdict.stats.weighted import ratio, row_weights
from verdict.workflow.stage import Stage

# Inverse strengths of the probe's penalty, strongest first.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Labelled:
    """States of one layer for the pairs of one split: x is (n, d), y and groups are (n,)."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray


def probe_answers(train: Labelled, tune: Labelled, test: Labelled) -> np.ndarray:
    """Answers of a linear probe to the rows of `test`, int (n_test,).

    Features are standardised. The penalty (L2) is the one that does best on `tune` after a fit on `train`, the stronger
    of equal ones; the probe is then fitted on both.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train.y)) < 2:
        raise ValueError(f"a probe needs two classes to learn from, got {len(train.y)} rows of one")

    def fitted(strength: float, x: np.ndarray, y: np.ndarray):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        return model.fit(x.astype(np.float64), y)

    score = [fitted(strength, train.x, train.y).score(tune.x, tune.y) for strength in STRENGTHS]
    best = STRENGTHS[int(np.argmax(score))]
    both = fitted(best, np.concatenate([train.x, tune.x]), np.concatenate([train.y, tune.y]))
    return both.predict(test.x)


def silhouette(distance: np.ndarray, y: np.ndarray, groups: np.ndarray, weights: Weights = None) -> ArrayLike:
    """Mean silhouette of classes: 1 far apart, 0 no separation, negative mixed; the shape of weights less their last.

    A row's silhouette is (b - a) / max(a, b) with a its mean distance to rows of its class, and b the least mean
    distance to another class, over rows of other groups only: a resample repeats whole groups, and their own copies
    would look like near neighbours. Where a row finds nobody of its class, it has 0; where it finds nobody of another,
    the result is NaN.

    Distances are (n, n), classes and groups (n,), weights (n,) or (n_resamples, n), see `verdict.stats.weighted`.

    References
    ----------
    Rousseeuw (1987), Silhouettes, eq. 2 and 3, for groups of one row.
    """
    weights = row_weights(weights, len(y))
    apart = (np.asarray(groups)[:, None] != np.asarray(groups)).astype(np.float64)
    own, other = np.zeros(weights.shape), np.full(weights.shape, np.inf)
    for name in np.unique(y):
        inside = y == name
        mass = weights * inside
        mean = ratio(mass @ (distance * apart), mass @ apart, empty=np.nan)
        own = np.where(inside, mean, own)
        other = np.where(inside, other, np.minimum(other, mean))
    other = np.where(np.isinf(other), np.nan, other)
    largest = np.fmax(own, other)
    values = np.divide(other - own, largest, out=np.zeros(weights.shape), where=largest != 0)
    values = np.where(np.isnan(own) & np.isfinite(other), 0.0, values)
    # Rows that do not count may be NaN.
    return (weights * np.where(weights > 0, values, 0.0)).sum(axis=-1) / weights.sum(axis=-1)


def layer_scores(
    stage: Stage,
    layers: Mapping[str, tuple[Labelled, Labelled, Labelled]],
    *,
    sample: np.ndarray,
    first: str,
    last: str,
) -> pd.DataFrame:
    """What a linear probe reads from each layer, and how far apart its classes lie; also stored as numbers.

    Numbers `representation.<layer>.accuracy` and `.silhouette`, and `representation.gain`: accuracy of the probe on the
    layer `last` minus that on the layer `first`, on the same pairs.

    Parameters
    ----------
    layers : mapping of name to (train, tune, test), in the network's order
        Rows of each split are the same pairs in every layer.
    sample : (n_sample,) int
        Rows of test whose silhouette is taken; distances are Euclidean, in the layer's own units, and between groups.

    Returns
    -------
    DataFrame
        layer, width, and with intervals over groups: accuracy of the probe on test, beyond_first (that accuracy minus
        the one of `first`, whose own row has none), silhouette.
    """
    from sklearn.metrics import pairwise_distances

    hits = {name: (probe_answers(*parts) == parts[2].y).astype(np.float64) for name, parts in layers.items()}
    resampler, rows = stage.resampler(layers[first][2].groups), []
    for name, (_, _, test) in layers.items():
        right, beyond = resampler.mean(hits[name], span=SHARE), NOTHING
        if name != first:
            beyond = resampler.mean(hits[name] - hits[first], span=GAP)
        groups, distance = test.groups[sample], pairwise_distances(test.x[sample].astype(np.float64))
        apart = stage.resampler(groups).interval(partial(silhouette, distance, test.y[sample], groups))
        stage.numbers[f"representation.{name}.accuracy"] = right.number(n=len(test.y), split="test", unit="%")
        stage.numbers[f"representation.{name}.silhouette"] = apart.number(n=len(sample), split="test")
        if name == last:
            stage.numbers["representation.gain"] = beyond.number(n=len(test.y), split="test", unit=POINTS)
        found = {"accuracy": right, "beyond_first": beyond, "silhouette": apart}
        rows.append({"layer": name, "width": test.x.shape[1]} | bounded(found))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Embedding:
    """Points (n, 2) without units, the perplexity as used, and the KL divergence that remains, in nats."""

    points: np.ndarray
    perplexity: float
    divergence: float


def embed(x: np.ndarray, *, perplexity: float, seed: int) -> Embedding:
    """t-SNE of states (n, d) on one thread, so that a seed gives one picture.

    The perplexity is at most a third of the other points, so that small samples can be drawn (van der Maaten and Hinton
    2008, Visualizing data using t-SNE).
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(x) < 4:
        raise ValueError(f"a picture of neighbours needs at least four points, got {len(x)}")
    used = min(perplexity, (len(x) - 1) / 3)
    with threadpool_limits(1):
        model = TSNE(n_components=2, perplexity=used, init="pca", max_iter=1000, random_state=seed)
        points = model.fit_transform(x.astype(np.float32))
    return Embedding(points.astype(np.float64), used, float(model.kl_divergence_))
