"""Logits and probabilities: checks of either, and the conversion of one into the other.

A logit row is (n_classes,); probabilities are its softmax. Cosine similarities are not logits: a model that compares
embeddings multiplies its cosines by a scale before the softmax.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

_SUM_TOLERANCE = 1e-5


def top_class(scores: ArrayLike) -> np.ndarray:
    """The class with the largest logit or probability, ids (..., ); the first of several equal ones, by the one rule
    for ties of validation, pages, log and export.
    """
    return np.asarray(scores).argmax(axis=-1)


def check_logits(logits: ArrayLike, *, allow_small: bool = False) -> np.ndarray:
    """Read logits as float64 (n, n_classes), and refuse (ValueError) what has clearly another scale: without
    `allow_small` three or more classes whose values all lie in [-1, 1] are taken for cosines.
    """
    array = _table(logits, "logits")
    if not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise ValueError(f"logits must be finite; {len(rows)} of {len(array)} rows are not, the first is row {rows[0]}")
    # The row (0, z) with z = 1 throughout is the one table of binary logits that also reads as probabilities.
    is_binary_row = array.shape[1] == 2 and not array[:, 0].any()
    is_within = array.min() >= 0 and array.max() <= 1
    if not is_binary_row and is_within and np.abs(array.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
        raise ValueError(
            "expected logits, got probabilities (all in [0, 1], rows sum to 1); pass logits, not their softmax"
        )
    if not allow_small and array.shape[1] >= 3 and np.abs(array).max() <= 1:
        raise ValueError(f"expected logits, {looks_small(array)}; pass allow_small=True if they are logits")
    return array


def looks_small(array: np.ndarray) -> str:
    """Why values within [-1, 1] are no logits, and what to save instead, as a part of a sentence."""
    span = f"got values in [{array.min():.3g}, {array.max():.3g}]"
    # The cosines of images and texts are seldom below 0, and far from 1.
    if array.min() >= 0 and array.max() > 0.5:
        return f"{span}: these look like sigmoid scores of each class by itself; save what went into the sigmoid"
    return f"{span}: these look like cosines; multiply them by the model's logit scale"


def check_probs(probs: ArrayLike) -> np.ndarray:
    """Read probabilities as float64 (n, n_classes); ValueError outside [0, 1], or where rows do not sum to 1 within
    1e-5, which float32 keeps.
    """
    array = _table(probs, "probs")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1 + _SUM_TOLERANCE):
        raise ValueError(f"probs must lie in [0, 1], got [{array.min():.4g}, {array.max():.4g}]; did you pass logits?")
    excess = np.abs(array.sum(axis=1) - 1)
    if excess.max() > _SUM_TOLERANCE:
        row = int(excess.argmax())
        raise ValueError(
            f"rows of probs must sum to 1, row {row} sums to {array[row].sum():.6g}; did you pass one column?"
        )
    return array


def check_unit(name: str, values: ArrayLike) -> np.ndarray:
    """Read values as float64; ValueError with their name where one lies outside [0, 1]."""
    array = np.asarray(values, dtype=np.float64)
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"{name} must lie in [0, 1] without NaN, got {array.min()} to {array.max()}")
    return array


def check_labels(y_true: ArrayLike, n: int, n_classes: int) -> np.ndarray:
    """Read class ids in 0 … n_classes - 1 as int64 (n,); ValueError for other values, or another length."""
    array = np.asarray(y_true)
    if array.shape != (n,):
        raise ValueError(f"expected {n} labels, one a row, got shape {array.shape}")
    if array.dtype.kind not in "iub":
        raise ValueError(f"labels must be integer class ids, got {array.dtype}")
    array = array.astype(np.int64)
    if n and (array.min() < 0 or array.max() >= n_classes):
        raise ValueError(f"labels must lie in 0 … {n_classes - 1}, got {array.min()} … {array.max()}")
    return array


def log_softmax(logits: ArrayLike) -> np.ndarray:
    """Logarithms of the softmax over the last axis, float64; finite for every finite input."""
    return special.log_softmax(np.asarray(logits, dtype=np.float64), axis=-1)


def softmax(logits: ArrayLike) -> np.ndarray:
    """Softmax over the last axis, float64; rows sum to 1 and no finite input overflows."""
    return special.softmax(np.asarray(logits, dtype=np.float64), axis=-1)


def _table(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ValueError(f"{name} must have shape (n, n_classes) with n >= 1 and n_classes >= 2, got {array.shape}")
    return array.astype(np.float64)
