"""What an image and a class name share: two lists of descriptors, and several numbers for how alike they are.

The study that this follows (Sammani and Deligiannis 2024, arXiv:2410.13016) calls one of these numbers mutual
information. It is a monotone function of the size of the overlap, and not mutual information; both are here.
"""

import numpy as np
from numpy.typing import ArrayLike


def mi_as_published(N: int, M: int, I: ArrayLike) -> np.ndarray:  # noqa: N803, E741
    """The published number: ln N + ln M + ln I for N descriptors of the image, M of the class, I in both; 0 for none.

    The sign of the joint entropy is not the one of the formula H(V) + H(Y) - H(V, Y), hence `mi_eq1`. One shared
    descriptor gives ln(N M), none gives 0: the cliff between them is the larger part of every curve.
    """
    shared = np.asarray(I)
    return np.where(shared > 0, np.log(N * M * np.maximum(shared, 1)), 0.0)[()]


def mi_eq1(N: int, M: int, I: ArrayLike) -> np.ndarray:  # noqa: N803, E741
    """The printed formula, H(V) + H(Y) - H(V, Y) with uniform V and Y: ln(N M / I); NaN where nothing is shared.

    It falls when more is shared, because the uniform marginals are not those of the joint table.
    """
    shared = np.asarray(I)
    return np.where(shared > 0, np.log(N * M / np.maximum(shared, 1)), np.nan)[()]


def mi_table(I: ArrayLike) -> np.ndarray:  # noqa: N803, E741
    """Mutual information of the joint table with its own marginals: ln I, since it is a one-to-one map; 0 for none."""
    return np.log(np.maximum(np.asarray(I), 1)).astype(float)[()]


def expected_shared(n_visual: ArrayLike, n_textual: int, n_bank: int) -> np.ndarray:
    """How many two lists drawn at random share on average, N M / |D|."""
    return np.asarray(n_visual) * n_textual / n_bank


def rank_biased_overlap(first: ArrayLike, second: ArrayLike, *, persistence: float = 0.9) -> float:
    """Agreement of two rankings of distinct ids, best first, in which the top weighs most: 1 for equal lists.

    A reader goes on to the next rank with the probability `persistence`. The weights of the ranks that both lists have
    are scaled to sum to 1; an empty list gives NaN.

    Webber, Moffat and Zobel (2010), A similarity measure for indefinite rankings, eq. 4, cut at the shorter list.
    """
    first, second = np.asarray(first), np.asarray(second)
    depth = min(len(first), len(second))
    if not depth:
        return float("nan")
    # An id counts from the rank on that has it in both lists.
    both = np.max(np.nonzero(first[:depth, None] == second[:depth]), axis=0)
    agreement = np.bincount(both, minlength=depth).cumsum() / np.arange(1, depth + 1)
    weights = persistence ** np.arange(depth)
    return float(np.dot(agreement, weights) / weights.sum())


def deletion_counts(visual: ArrayLike, textual: ArrayLike) -> np.ndarray:
    """Shared descriptors left, int (N + 1,) down to 0, as the image's are removed, the most important first."""
    hits = np.isin(np.asarray(visual), textual)
    return hits.sum() - np.concatenate([[0], np.cumsum(hits)])


def published_curve(visual: ArrayLike, textual: ArrayLike) -> np.ndarray:
    """The published number under deletion, (N + 1,), with N and M of the whole lists; its mean is the study's AUC."""
    return mi_as_published(max(np.size(visual), 1), np.size(textual), deletion_counts(visual, textual))


def relative_area(visual: ArrayLike, textual: ArrayLike) -> float:
    """Mean share of the overlap that is left under deletion, in [0, 1]; NaN where nothing is shared.

    Unlike the mean of `published_curve` it does not depend on how much is shared, only on where: shared descriptors
    that are important go first and leave a small area.
    """
    counts = deletion_counts(visual, textual)
    return float((counts / counts[0]).mean()) if counts[0] else float("nan")
