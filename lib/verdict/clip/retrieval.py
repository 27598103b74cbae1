"""Finding the caption of an image, and the image of a caption.

Similarities are (n_images, n_texts); `relevant` of the same shape says which texts belong to which images. Equal
similarities are ordered by place in the gallery, as a stable sort orders them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.uncertainty import group_weights, percentile_interval, with_bounds
from verdict.weighted import weighted_mean

CUTS = (1, 5, 10)


def own_pairs(caption_images: ArrayLike, n_images: int) -> np.ndarray:
    """Which text was written for which image, bool (n_images, n_texts), from the image index of every text."""
    owners = np.asarray(caption_images)
    if owners.size and not (owners.min() >= 0 and owners.max() < n_images):
        raise ValueError(f"captions belong to images 0 … {n_images - 1}, got {owners.min()} … {owners.max()}")
    return np.arange(n_images)[:, None] == owners[None, :]


def equivalent_pairs(relevant: ArrayLike, captions: Sequence[str]) -> np.ndarray:
    """As `relevant`, and every text that says the same, word for word, as a relevant one.

    Parameters
    ----------
    relevant : bool array (n_images, n_texts)
    captions : sequence of n_texts str
        Captions made from templates repeat; the model cannot tell their copies apart.
    """
    relevant = np.asarray(relevant, dtype=bool)
    if len(captions) != relevant.shape[1]:
        raise ValueError(f"expected {relevant.shape[1]} captions, got {len(captions)}")
    _, words = np.unique(np.asarray(captions, dtype=object).astype(str), return_inverse=True)
    same = words[:, None] == words[None, :]
    return (relevant.astype(np.float32) @ same.astype(np.float32)) > 0


def first_ranks(similarity: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """Rank, from 1, of the best relevant gallery item of each query, int (n_queries,).

    Parameters
    ----------
    similarity : array (n_queries, n_gallery)
        For captions as queries pass the transposed arrays.
    relevant : bool array (n_queries, n_gallery)

    Raises
    ------
    ValueError
        If shapes differ, a similarity is NaN, or a query has nothing relevant.
    """
    similarity, relevant = np.asarray(similarity), np.asarray(relevant, dtype=bool)
    if similarity.shape != relevant.shape or similarity.ndim != 2:
        raise ValueError(
            f"similarity has shape {similarity.shape}, relevant {relevant.shape}; both are queries x gallery"
        )
    if np.isnan(similarity).any():
        raise ValueError("similarities must not be NaN")
    if (lonely := np.flatnonzero(~relevant.any(axis=1))).size:
        raise ValueError(f"{lonely.size} queries have nothing relevant in the gallery, the first is query {lonely[0]}")
    best = np.where(relevant, similarity, -np.inf).argmax(axis=1)
    value = similarity[np.arange(len(best)), best][:, None]
    is_before = (similarity == value) & (np.arange(similarity.shape[1]) < best[:, None])
    return 1 + (similarity > value).sum(axis=1) + is_before.sum(axis=1)


def recall_at(ranks: ArrayLike, k: int, weights: ArrayLike | None = None) -> np.ndarray:
    """R@k: share of queries with something relevant among the first k of the gallery."""
    return weighted_mean(np.asarray(ranks) <= k, weights)


def retrieval_table(
    similarity: ArrayLike,
    pairs: Mapping[str, ArrayLike],
    caption_groups: ArrayLike,
    image_groups: ArrayLike,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> pd.DataFrame:
    """Both directions, under every way to count what is right.

    Parameters
    ----------
    similarity : array (n_images, n_texts)
    pairs : mapping from a way to count to a bool array (n_images, n_texts)
        Such as own captions alone, and with equal ones.
    caption_groups, image_groups : arrays (n_texts,) and (n_images,)
        The independent unit of each query. Intervals resample queries; the gallery stays.
    n_resamples : int
    rng : numpy.random.Generator
    level : float in (0, 1)

    Returns
    -------
    DataFrame
        Rows: query, counted, r1, r5, r10, mrr, each with `_low`, `_high`, median_rank, chance_r1, n_queries, n_gallery.
    """
    similarity = np.asarray(similarity)
    queries = (("image", similarity, image_groups), ("text", similarity.T, caption_groups))
    drawn = {query: group_weights(groups, n_resamples, rng) for query, _, groups in queries}
    rows = []
    for counted, relevant in pairs.items():
        for query, found, _ in queries:
            truth = np.asarray(relevant, dtype=bool) if query == "image" else np.asarray(relevant, dtype=bool).T
            row = {"query": query, "counted": counted, **_measured(first_ranks(found, truth), drawn[query], level)}
            rows.append(row | {"chance_r1": float(truth.mean()), "n_queries": len(found), "n_gallery": found.shape[1]})
    return pd.DataFrame(rows)


def recall_curve(
    ranks: ArrayLike,
    groups: ArrayLike,
    *,
    n_points: int,
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> pd.DataFrame:
    """R@k for k = 1 … n_points with intervals over groups: columns k, recall, low, high."""
    is_found = np.asarray(ranks)[:, None] <= np.arange(1, n_points + 1)
    weights = group_weights(groups, n_resamples, rng).astype(np.float64)
    drawn = weights @ is_found / weights.sum(axis=1, keepdims=True)
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    recall = is_found.mean(axis=0)
    return pd.DataFrame({"k": np.arange(1, n_points + 1), "recall": recall, "low": low, "high": high})


def _measured(ranks: np.ndarray, weights: np.ndarray, level: float) -> dict[str, float]:
    measured = {f"r{k}": (ranks <= k).astype(float) for k in CUTS} | {"mrr": 1 / ranks}
    row: dict[str, float] = {}
    for name, values in measured.items():
        one = percentile_interval(float(values.mean()), weighted_mean(values, weights), level=level)
        row |= with_bounds(name, one)
    return row | {"median_rank": float(np.median(ranks))}
