"""Finding the caption of an image, and the image of a caption.

Similarities are (n_images, n_texts); `relevant` of the same shape says which texts belong to which images. Equal
similarities are ordered by place in the gallery, as a stable sort orders them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from verdict.stats.uncertainty import Resampler, bounded

CUTS = (1, 5, 10)


def equivalent_pairs(relevant: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """As `relevant`, and every text that says the same, word for word: the model cannot tell copies apart."""
    words = np.asarray(captions)
    return relevant @ (words[:, None] == words)


def first_ranks(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank, from 1, of the best relevant gallery item of each query, int (n_queries,).

    Every query has something relevant. For captions as queries pass the transposed arrays.
    """
    best = np.where(relevant, similarity, -np.inf).argmax(axis=1)
    value = similarity[np.arange(len(best)), best][:, None]
    is_before = (similarity == value) & (np.arange(similarity.shape[1]) < best[:, None])
    return 1 + (similarity > value).sum(axis=1) + is_before.sum(axis=1)


def retrieval_table(
    similarity: np.ndarray, pairs: Mapping[str, np.ndarray], resampler: Resampler, *, n_points: int
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Both directions, under every way to count what is right, such as own captions alone, and with equal ones.

    Image i and text i are one row of the resampler; the gallery stays. Columns query, counted, r1, r5, r10, each with
    `_low`, `_high`, and chance_r1. Beside the table, by what is counted: R@k from image to text for k = 1 … n_points,
    columns k, recall, low, high.
    """
    rows, curves = [], {}
    for counted, truth in pairs.items():
        for query, found, right in (("image", similarity, truth), ("text", similarity.T, truth.T)):
            ranks = first_ranks(found, right)
            row = bounded({f"r{k}": resampler.mean(ranks <= k, span=(0, 1)) for k in CUTS})
            rows.append({"query": query, "counted": counted, **row, "chance_r1": float(truth.mean())})
            if query == "image":
                recalls = [(k, resampler.mean(ranks <= k, span=(0, 1))) for k in range(1, n_points + 1)]
                curve = [(k, one.value, one.low, one.high) for k, one in recalls]
                curves[counted] = pd.DataFrame(curve, columns=["k", "recall", "low", "high"])
    return pd.DataFrame(rows), curves
