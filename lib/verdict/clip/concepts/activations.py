"""Mutual knowledge of one dual encoder: descriptors that it sees in images, those that it reads in class names.

Follows Sammani and Deligiannis (2024), arXiv:2410.13016, training-free: foreground, parts, visual prompts, descriptors
by intersection and transport, the list of the class, their overlap. Images of one class are looked at together. A bank
is a list of short phrases, encoded once; similarities are cosines.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from verdict.base.params import ConceptsParams
from verdict.clip.concepts import knowledge
from verdict.clip.concepts.parts import foreground_spectral, part_prompts, parts_of, unit_rows
from verdict.clip.encoder.embeddings import EmbeddingCache
from verdict.stats.scores import top_class
from verdict.stats.uncertainty import Interval, wilson
from verdict.stats.weighted import ratio

SHARPNESS, MAX_STEPS, TOLERANCE = 2.5, 1000, 1e-9


class Regions(NamedTuple):
    """Foregrounds and parts of images, as `Seen` has them."""

    masks: np.ndarray
    parts: np.ndarray


class Words(NamedTuple):
    """Unit vectors of the texts of classes (K, d) and of the bank (D, d), as one encoder reads them."""

    classes: np.ndarray
    bank: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What one encoder finds in n images.

    `masks` (bool) and `parts` (int, -1 for none) are (n, rows, columns) of patches. `visual` lists each image's
    descriptors, the most important first; `is_fallback` (n,) says where its parts had too few in common, so that those
    of any were used. `answer` (n,) is the class given, `textual` (K, M) each class's descriptors, nearest first.
    """

    masks: np.ndarray
    parts: np.ndarray
    is_fallback: np.ndarray
    visual: list[np.ndarray]
    answer: np.ndarray
    textual: np.ndarray


def find_parts(
    reader: EmbeddingCache, images: np.ndarray, y_true: np.ndarray, settings: ConceptsParams, *, seed: int
) -> Regions:
    """Foregrounds and parts; `y_true` (n,) only says which images are looked at together, k-means draws by `seed`."""
    patches = reader.patches(images)
    masks = by_class(partial(foreground_spectral, grid=(reader.encoder.grid,) * 2), y_true, patches)
    how = {"n_parts": settings.n_parts, "kind": settings.parts, "seed": seed}
    return Regions(masks, by_class(partial(parts_of, **how), y_true, patches, masks))


def look(reader: EmbeddingCache, images: np.ndarray, regions: Regions, words: Words, settings: ConceptsParams) -> Seen:
    """Find the descriptors of uint8 images (n, height, width, 3), whose parts `find_parts` gives, and of classes."""
    (classes, bank), whole = words, reader.images(images)
    pictures, owner = part_prompts(images, regions.parts, outline=settings.outline)
    cosine = np.empty((0, len(bank)))
    if len(pictures):
        vectors = unit_rows(reader.images(pictures.reshape(-1, *images.shape[1:])))
        # The mean is not brought to length one, as in the study: prompts that disagree count for less.
        cosine = vectors.reshape(*pictures.shape[:2], -1).mean(axis=1) @ bank.T
    chosen = {"n_candidates": settings.n_candidates, "per_part": settings.per_part, "regulariser": settings.regulariser}
    found = [describe_parts(cosine[owner[:, 0] == place], **chosen) for place in range(len(images))]
    near = np.asarray(whole) @ bank.T
    none = np.empty(0, dtype=int)
    visual = [by_importance(np.concatenate([none, *ids]), row) for (ids, _), row in zip(found, near, strict=True)]
    answer = top_class(np.asarray(whole) @ classes.T)
    is_fallback = np.array([one for _, one in found])
    return Seen(*regions, is_fallback, visual, answer, nearest(classes @ bank.T, settings.n_textual))


def by_class(find: Callable[..., np.ndarray], y_true: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
    """What is found in the rows of each class together, in the order of all rows; `find` takes rows of the arrays."""
    rows = [np.flatnonzero(y_true == label) for label in np.unique(y_true)]
    found = np.concatenate([find(*(array[own] for array in arrays)) for own in rows])
    return found[np.argsort(np.concatenate(rows))]


def sinkhorn(scores: np.ndarray, *, regulariser: float) -> np.ndarray:
    """Share descriptors out between parts by scores (n_parts, n_descriptors): rows sum to 1, columns are alike.

    A small regulariser gives each descriptor to one part, a large one to all alike.

    Cuturi (2013), Sinkhorn distances, algorithm 1.
    """
    kernel = np.exp((scores - scores.max()) / regulariser)
    wanted = scores.shape[0] / scores.shape[1]
    columns = np.ones(scores.shape[1])
    for _ in range(MAX_STEPS):
        rows = 1 / (kernel @ columns)
        columns = wanted / (rows @ kernel)
        if np.abs(rows * (kernel @ columns) - 1).max() < TOLERANCE:
            break
    return rows[:, None] * kernel * columns


def describe_parts(
    cosine: np.ndarray, *, n_candidates: int, per_part: int, regulariser: float
) -> tuple[list[np.ndarray], bool]:
    """Descriptors of each part of one image by cosines (n_parts, n_bank), the best first; whether too few were shared.

    Candidates are those among the nearest `n_candidates` of every part; where they are fewer than `per_part`, those of
    any part. Optimal transport then gives each part what is nearer to it than to the others; the only part of an image
    has its nearest candidates, since transport would find all equally good.
    """
    if not len(cosine):
        return [], False
    near = np.zeros(cosine.shape, dtype=bool)
    np.put_along_axis(near, nearest(cosine, n_candidates), True, axis=1)
    common = np.flatnonzero(near.all(axis=0))
    is_fallback = len(common) < per_part
    kept = np.flatnonzero(near.any(axis=0)) if is_fallback else common
    weights = cosine[:, kept]
    if len(cosine) > 1:
        weights = sinkhorn(SHARPNESS * weights, regulariser=regulariser)
    return [kept[row] for row in nearest(weights, per_part)], is_fallback


def by_importance(ids: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Ids in falling order of their cosine (n_bank,) with the whole image; equal ones by id."""
    ids = np.unique(ids)
    return ids[np.argsort(-np.asarray(cosine)[ids], kind="stable")]


def nearest(cosine: np.ndarray, n: int) -> np.ndarray:
    """Ids of the n nearest descriptors, (..., n), of cosines (..., n_bank), the nearest first."""
    return np.argsort(-np.asarray(cosine), axis=-1, kind="stable")[..., :n]


def score_images(seen: Seen, y_true: np.ndarray, n_bank: int) -> pd.DataFrame:
    """How much each image shares with the class that the encoder gives it; without descriptors it shares nothing.

    One row an image: is_right, n_visual, shared, lift, jaccard, ranked (rank-biased overlap), mi_published, mi_table,
    auc_published, auc_relative, is_fallback.
    """
    pairs = list(zip(seen.visual, seen.textual[seen.answer], strict=True))
    visual, textual = memberships(seen.visual, n_bank), memberships(seen.textual, n_bank)[seen.answer]
    found = pd.DataFrame({"is_right": seen.answer == np.asarray(y_true), "n_visual": visual.sum(axis=1)})
    found["shared"] = (visual & textual).sum(axis=1)
    curves = [knowledge.published_curve(*pair) for pair in pairs]
    return found.assign(
        lift=found["shared"] / knowledge.expected_shared(found["n_visual"], seen.textual.shape[1], n_bank),
        jaccard=share_of(visual & textual, visual | textual),
        ranked=[knowledge.rank_biased_overlap(*pair) for pair in pairs],
        mi_published=[curve[0] for curve in curves],
        mi_table=knowledge.mi_table(found["shared"]),
        auc_published=[curve.mean() for curve in curves],
        auc_relative=[knowledge.relative_area(*pair) for pair in pairs],
        is_fallback=seen.is_fallback,
    )


def permuted_overlaps(
    is_visual: np.ndarray, is_textual: np.ndarray, answer: np.ndarray, *, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean overlap when the descriptors of the images (n, D) are exchanged for others, (n_draws,).

    One exchange serves all images of a draw, so that images stay as alike as they are. `is_textual` is (K, D).
    """
    together = is_visual.astype(float).T @ is_textual[answer]
    n_bank, places = is_visual.shape[1], np.arange(is_visual.shape[1])
    draws = [together[rng.permutation(n_bank), places].sum() for _ in range(n_draws)]
    return np.array(draws) / len(answer)


def own_class_gain(is_visual: np.ndarray, is_textual: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Overlap of each picture (n, D) with its true class (K, D) minus the mean of those with the other classes, (n,).

    The class that the encoder gives would favour itself: it is the one nearest to the picture, and so are its words.
    """
    overlap = is_visual.astype(float) @ is_textual.T.astype(float)
    own = overlap[np.arange(len(y_true)), y_true]
    return own - (overlap.sum(axis=1) - own) / (overlap.shape[1] - 1)


def permutation_p_value(observed: float, null: np.ndarray, *, level: float) -> Interval:
    """P-value by draws, (1 + reached) / (1 + drawn), with Wilson's interval of the share that reaches: draws are
    independent, and more of them would move the value within it.

    Davison and Hinkley (1997), Bootstrap methods and their application, eq. 4.11.
    """
    reached = int((np.asarray(null) >= observed).sum())
    return Interval((1 + reached) / (1 + len(null)), *wilson(reached, len(null), level=level))


def likeness(is_visual: np.ndarray, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean Jaccard index of each image's descriptors (n, D) with those of its class's other images, and of others',
    both (n,); NaN for a class of one image.
    """
    has = is_visual.astype(float)
    both, sizes = has @ has.T, has.sum(axis=1)
    index = ratio(both, sizes[:, None] + sizes[None, :] - both)
    other = np.asarray(y_true)[:, None] != np.asarray(y_true)[None, :]
    same = ~other & ~np.eye(len(other), dtype=bool)
    return share_of(index * same, same), share_of(index * other, other)


def share_of(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Sum of each row over how many columns of it are chosen, (n,); NaN where none is."""
    return ratio(values.sum(axis=1), chosen.sum(axis=1), empty=np.nan)


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
