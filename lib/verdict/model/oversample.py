"""Oversampling of training pairs by the kinds of sentences that they hold."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from verdict.data.statements import SEMANTIC_WORDS, keyword_flags


def bucket_flags(pairs: pd.DataFrame) -> pd.DataFrame:
    """Which pair lies in which bucket, bool (n, n_buckets): a column for each family, then the semantic buckets of
    words. Where a family and a bucket of words have one name, the family counts: it is what the source says.
    """
    words = keyword_flags(pairs["hypothesis"].tolist(), SEMANTIC_WORDS)
    if "family" not in pairs:
        return words
    families = pd.get_dummies(pairs["family"], dtype=bool).reset_index(drop=True)
    return families.join(words[[name for name in words if name not in families]])


def n_extra(weight: float, n: int) -> int:
    """Rows to add so that a bucket of n rows counts `weight` times, as published: rounded down after the product.

    The product is one of binary fractions: 0.2 of 15,630 is 3,125 here, one less than on paper.
    """
    if weight < 1:
        raise ValueError(f"oversampling adds rows: a weight is at least 1, got {weight}")
    return int((weight - 1.0) * n)


def oversample(flags: pd.DataFrame, weights: Mapping[str, float], *, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of the training pairs, in order, then extra rows of some buckets, drawn with replacement.

    A pair may lie in several buckets; these are drawn from in the order of `weights`, which say how often their rows
    are to count (1 or more). ValueError if a bucket has no column, or a weight is below 1.
    """
    if unknown := [name for name in weights if name not in flags.columns]:
        raise ValueError(f"there are no buckets {unknown}; there are {list(flags.columns)}")
    rows = [np.arange(len(flags), dtype=np.int64)]
    for name, weight in weights.items():
        members = np.flatnonzero(flags[name].to_numpy(dtype=bool))
        rows.append(rng.choice(members, size=n_extra(weight, len(members))))
    return np.concatenate(rows)
