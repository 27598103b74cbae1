"""Mutual knowledge of one dual encoder: descriptors that it sees in images, those that it reads in class names.

Follows Sammani and Deligiannis (2024), arXiv:2410.13016, training-free: foreground, parts, visual prompts, descriptors
by intersection and transport, the list of the class, their overlap. Images of one class are looked at together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from verdict.clip import knowledge
from verdict.clip.descriptors import PartDescriptors, by_importance, describe_parts, nearest
from verdict.clip.parts import foreground_spectral, parts_by_clusters, parts_by_components, unit_rows
from verdict.clip.visual_prompts import part_prompts
from verdict.params import ConceptsParams
from verdict.scores import top_class
from verdict.uncertainty import Interval, wilson


class Reader(Protocol):
    """What is needed of a dual encoder; embeddings have length one."""

    grid: int

    def images(self, images: np.ndarray) -> np.ndarray: ...  # noqa: D102
    def texts(self, texts: Sequence[str]) -> np.ndarray: ...  # noqa: D102
    def patches(self, images: np.ndarray) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class Words:
    """Texts of a study as unit vectors.

    Attributes
    ----------
    classes : (K, d)
    bank : (D, d)
        Descriptors.
    """

    classes: np.ndarray
    bank: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What one encoder finds in n images.

    Attributes
    ----------
    masks : bool, (n, rows, columns)
        Foreground.
    parts : int, (n, rows, columns)
        Part of each patch, -1 for none.
    found : list of PartDescriptors, length n
    visual : list of int arrays, length n
        Each image's descriptors, the most important first.
    answer : int, (n,)
        Class that the encoder gives to each image.
    textual : int, (K, M)
        Descriptors of each class, the nearest first.
    """

    masks: np.ndarray
    parts: np.ndarray
    found: list[PartDescriptors]
    visual: list[np.ndarray]
    answer: np.ndarray
    textual: np.ndarray

    def is_visual(self, n_bank: int) -> np.ndarray:
        """Whether each image has each descriptor, bool (n, D)."""
        return memberships(self.visual, n_bank)

    def is_textual(self, n_bank: int) -> np.ndarray:
        """Whether each class has each descriptor, bool (K, D)."""
        return memberships(list(self.textual), n_bank)


def look(
    reader: Reader,
    images: np.ndarray,
    y_true: np.ndarray,
    words: Words,
    settings: ConceptsParams,
    *,
    seed: int,
    progress: Callable[[str], None] = lambda text: None,
) -> Seen:
    """Find the descriptors of images and of classes.

    Parameters
    ----------
    reader : Reader
    images : uint8, (n, height, width, 3)
    y_true : int, (n,)
        Which images are looked at together; it plays no other part.
    words : Words
    settings : ConceptsParams
    seed : int
        Of k-means.
    progress : function of a line of text
    """
    whole, patches = reader.images(images), reader.patches(images)
    grid = (reader.grid, reader.grid)
    masks, parts = np.zeros((len(images), *grid), dtype=bool), np.full((len(images), *grid), -1)
    for label in np.unique(y_true):
        own = np.flatnonzero(y_true == label)
        masks[own] = foreground_spectral(patches[own], grid)
        if settings.parts == "clusters":
            parts[own] = parts_by_clusters(patches[own], masks[own], settings.n_parts, seed=seed)
        else:
            parts[own] = parts_by_components(patches[own], masks[own], settings.n_parts)
    progress("visual prompts")
    found = _describe(reader, images, parts, words.bank, settings)
    near = np.asarray(whole) @ words.bank.T
    visual = [by_importance(one.ids, row) for one, row in zip(found, near, strict=True)]
    answer = top_class(np.asarray(whole) @ words.classes.T)
    return Seen(masks, parts, found, visual, answer, nearest(words.classes @ words.bank.T, settings.n_textual))


def part_embeddings(
    reader: Reader, images: np.ndarray, parts: np.ndarray, *, outline: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Mean embedding of the prompts of each part: (m, d), and image and part of each, (m, 2).

    The mean is not brought to length one, as in the study: prompts that disagree count for less.
    """
    pictures, owner = part_prompts(images, parts, outline=outline)
    if not len(pictures):
        return np.empty((0, 0)), owner
    n, n_prompts = pictures.shape[:2]
    vectors = np.asarray(reader.images(pictures.reshape(n * n_prompts, *pictures.shape[2:])))
    return unit_rows(vectors).reshape(n, n_prompts, -1).mean(axis=1), owner


def _describe(
    reader: Reader, images: np.ndarray, parts: np.ndarray, bank: np.ndarray, settings: ConceptsParams
) -> list[PartDescriptors]:
    vectors, owner = part_embeddings(reader, images, parts, outline=settings.outline)
    cosine = vectors @ bank.T if len(vectors) else np.empty((0, len(bank)))
    chosen = {"n_candidates": settings.n_candidates, "per_part": settings.per_part, "regulariser": settings.regulariser}
    return [describe_parts(cosine[owner[:, 0] == place], **chosen) for place in range(len(images))]


def score_images(seen: Seen, y_true: np.ndarray, n_bank: int) -> pd.DataFrame:
    """How much each image shares with the class that the encoder gives it.

    Returns
    -------
    DataFrame
        One row an image: n_visual, shared, lift, jaccard, ranked (rank-biased overlap), mi_published, mi_table,
        auc_published, auc_relative, is_right, is_fallback. An image without descriptors shares nothing.
    """
    rows = []
    for visual, answer, found in zip(seen.visual, seen.answer, seen.found, strict=True):
        textual = seen.textual[answer]
        n_visual, n_textual, shared = len(visual), len(textual), knowledge.n_shared(visual, textual)
        row = {"n_visual": n_visual, "shared": shared, "is_fallback": found.is_fallback}
        row["lift"] = float(knowledge.lift(shared, n_visual, n_textual, n_bank)) if n_visual else float("nan")
        row |= {"jaccard": knowledge.jaccard(visual, textual), "ranked": knowledge.rank_biased_overlap(visual, textual)}
        row["mi_published"] = float(knowledge.mi_as_published(max(n_visual, 1), n_textual, shared))
        row["mi_table"] = float(knowledge.mi_table(shared))
        row["auc_published"] = knowledge.published_area(visual, textual)
        row["auc_relative"] = knowledge.relative_area(visual, textual)
        rows.append(row)
    return pd.DataFrame(rows).assign(is_right=seen.answer == np.asarray(y_true))


def permuted_overlaps(
    is_visual: np.ndarray, is_textual: np.ndarray, answer: np.ndarray, *, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean overlap when the descriptors of the images are exchanged for others, (n_draws,).

    One exchange serves all images of a draw, so that images stay as alike as they are.

    Parameters
    ----------
    is_visual : bool, (n, D)
    is_textual : bool, (K, D)
    answer : int, (n,)
    """
    together = is_visual.astype(float).T @ is_textual[answer]
    n_bank, places = is_visual.shape[1], np.arange(is_visual.shape[1])
    draws = [together[rng.permutation(n_bank), places].sum() for _ in range(n_draws)]
    return np.array(draws) / len(answer)


def own_class_gain(is_visual: np.ndarray, is_textual: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Overlap of each picture with its true class minus the mean of its overlaps with the other classes, (n,).

    The class that the encoder gives would favour itself: it is the one nearest to the picture, and so are its words.

    Parameters
    ----------
    is_visual : bool, (n, D)
    is_textual : bool, (K, D)
    y_true : int, (n,)
    """
    overlap = is_visual.astype(float) @ is_textual.T.astype(float)
    own = overlap[np.arange(len(y_true)), y_true]
    return own - (overlap.sum(axis=1) - own) / (overlap.shape[1] - 1)


def permutation_p_value(observed: float, null: np.ndarray, *, level: float) -> Interval:
    """P-value by draws, (1 + reached) / (1 + drawn), with Wilson's interval of the share that reaches: draws are
    independent, and more of them would move the value within it.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap methods and their application, eq. 4.11.
    """
    reached = int((np.asarray(null) >= observed).sum())
    return Interval((1 + reached) / (1 + len(null)), *wilson(reached, len(null), level=level))


def likeness(is_visual: np.ndarray, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean Jaccard index of each image's descriptors with those of its class's other images, and of other classes'.

    Parameters
    ----------
    is_visual : bool, (n, D)
    y_true : int, (n,)

    Returns
    -------
    within, between : (n,) float
        NaN for a class of one image.
    """
    has = is_visual.astype(float)
    both, sizes = has @ has.T, has.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - both
    index = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    same = np.asarray(y_true)[:, None] == np.asarray(y_true)[None, :]
    other = ~same
    np.fill_diagonal(same, False)
    return _mean_where(index, same), _mean_where(index, other)


def seed_likeness(first: Seen, second: Seen) -> np.ndarray:
    """Jaccard index of the descriptors that two runs give each image, (n,); NaN where neither gives any."""
    return np.array([knowledge.jaccard(a, b) for a, b in zip(first.visual, second.visual, strict=True)])


def frequent_descriptors(is_visual: np.ndarray, y_true: np.ndarray, n_classes: int, n: int) -> np.ndarray:
    """The n descriptors that most images of each class have and images of other classes have less, (K, n).

    Ranked by the share within the class minus the share among all images; equal ones by id.
    """
    has = is_visual.astype(float)
    overall = has.mean(axis=0)
    share = np.stack([has[y_true == k].mean(axis=0) if (y_true == k).any() else overall for k in range(n_classes)])
    return nearest(share - overall, n)


def memberships(lists: Sequence[np.ndarray], n_bank: int) -> np.ndarray:
    """Lists of ids as a table, bool (n, D)."""
    found = np.zeros((len(lists), n_bank), dtype=bool)
    for row, ids in enumerate(lists):
        found[row, ids] = True
    return found


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    counts = chosen.sum(axis=1)
    return np.divide((values * chosen).sum(axis=1), counts, out=np.full(len(values), np.nan), where=counts > 0)
