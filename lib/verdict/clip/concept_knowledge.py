"""What pictures share with their classes in words: overlaps with nulls, curves, relation to accuracy, stability."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from verdict.clip import concepts, knowledge
from verdict.clip.concept_setup import Setup, interval_of, mean_of, store
from verdict.clip.concepts import Seen
from verdict.clip.variants import UNTRAINED, WHOLE
from verdict.uncertainty import Interval, with_bounds

PUBLISHED_N, PUBLISHED_M = 15, 100


def arithmetic_table() -> pd.DataFrame:
    """The estimators for 15 descriptors of an image and 100 of a class, by how many they share."""
    rows = [
        {
            "shared": shared,
            "as_published": knowledge.mi_as_published(PUBLISHED_N, PUBLISHED_M, shared),
            "as_printed": knowledge.mi_eq1(PUBLISHED_N, PUBLISHED_M, shared),
            "mutual_information": knowledge.mi_table(shared),
        }
        for shared in (0, 1, 2, 5, 15)
    ]
    return pd.DataFrame(rows)


def knowledge_table(setup: Setup, seen: Mapping[str, Seen]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What the towers of each encoder share.

    Returns
    -------
    table : DataFrame
        One row an encoder: model, accuracy, n_visual, shared, lift, jaccard, ranked, mi_published, mi_table,
        auc_published, auc_relative (with intervals), share_fallback.
    by_image : mapping of model to DataFrame
        See `concepts.score_images`.
    """
    rows, by_image = [], {}
    for name, one in seen.items():
        scores = concepts.score_images(one, setup.shown.y_true, len(setup.bank))
        by_image[name] = scores
        row: dict[str, object] = {"model": name}
        row |= with_bounds("accuracy", mean_of(setup, scores["is_right"].to_numpy()))
        for column in _KNOWLEDGE:
            row |= with_bounds(column, mean_of(setup, scores[column].to_numpy()))
        rows.append(row | {"share_fallback": float(scores["is_fallback"].mean())})
    for column in ("accuracy", "shared", "lift", "auc_published", "auc_relative"):
        first = rows[0]
        found = Interval.from_columns(first, column)
        store(setup, column, found, unit="%" if column == "accuracy" else "")
    return pd.DataFrame(rows), by_image


_KNOWLEDGE = (
    *("n_visual", "shared", "lift", "jaccard", "ranked", "mi_published", "mi_table", "auc_published", "auc_relative"),
)


def null_table(setup: Setup, seen: Mapping[str, Seen]) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Overlap against two nulls: other descriptors for the pictures, and another class for each picture.

    Returns
    -------
    table : DataFrame
        model, shared, expected (N M / |D|), exchanged and another_class (means over draws), p_exchanged,
        p_another_class.
    drawn : mapping
        Mean overlaps of the whole encoder under each null, (n_draws,).
    """
    n_bank, n_draws, rows, drawn = len(setup.bank), setup.stage.params.concepts.n_draws, [], {}
    for name, one in seen.items():
        visual, textual = one.is_visual(n_bank), one.is_textual(n_bank)
        observed = float((visual & textual[one.answer]).sum(axis=1).mean())
        shared = {"n_draws": n_draws}
        exchanged = concepts.permuted_overlaps(visual, textual, one.answer, rng=setup.rng("null"), **shared)
        another = concepts.wrong_class_overlaps(visual, textual, one.answer, rng=setup.rng("wrong"), **shared)
        p_values = [concepts.permutation_p_value(observed, null) for null in (exchanged, another)]
        expected = knowledge.expected_shared(visual.sum(axis=1), one.textual.shape[1], n_bank).mean()
        row = {"model": name, "shared": observed, "expected": float(expected)}
        row |= {"exchanged": float(exchanged.mean()), "another_class": float(another.mean())}
        rows.append(row | {"p_exchanged": p_values[0], "p_another_class": p_values[1]})
        if name == WHOLE:
            drawn = {"other descriptors": exchanged, "another class": another}
            setup.stage.number("concepts.p_exchanged", p_values[0], n=len(setup.shown), split="test")
            setup.stage.number("concepts.p_another_class", p_values[1], n=len(setup.shown), split="test")
            setup.stage.number("concepts.shared_by_chance", float(exchanged.mean()), n=len(setup.shown), split="test")
    return pd.DataFrame(rows), drawn


def deletion_curves(seen: Mapping[str, Seen]) -> dict[str, pd.DataFrame]:
    """The published number while a picture's descriptors are removed, the most important first; mean over pictures.

    Returns
    -------
    mapping of model to DataFrame
        removed, published, shared.
    """
    curves = {}
    for name, one in seen.items():
        pairs = [(visual, one.textual[answer]) for visual, answer in zip(one.visual, one.answer, strict=True)]
        counts = [knowledge.deletion_counts(*pair) for pair in pairs]
        published = [
            knowledge.mi_as_published(max(len(visual), 1), len(textual), count)
            for (visual, textual), count in zip(pairs, counts, strict=True)
        ]
        mean = knowledge.mean_curve(published)
        curves[name] = pd.DataFrame(
            {"removed": np.arange(len(mean)), "published": mean, "shared": knowledge.mean_curve(counts)}
        )
    return curves


def right_and_wrong(setup: Setup, by_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Knowledge of pictures that are answered rightly and wrongly: model, n_wrong, right, wrong, difference.

    One row an encoder. The difference has an interval; the whole encoder's is the number `concepts.right_gain`.
    """
    rows = []
    for name, scores in by_image.items():
        right, values = scores["is_right"].to_numpy(), scores["auc_published"].to_numpy()
        if right.all() or not right.any():
            continue
        found = interval_of(setup, partial(_gap, values, right), "scores")
        means = {"right": values[right].mean(), "wrong": values[~right].mean()}
        rows.append({"model": name, "n_wrong": int((~right).sum()), **means, **with_bounds("difference", found)})
        if name == WHOLE:
            store(setup, "right_gain", found)
    return pd.DataFrame(rows)


def _gap(values: np.ndarray, right: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weighted mean of values where right minus where not."""
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    sums = [
        (weights * chosen) @ values / np.maximum((weights * chosen).sum(axis=-1), 1e-12) for chosen in (right, ~right)
    ]
    return sums[0] - sums[1]


def relation(setup: Setup, by_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Correlation over encoders of each measure of knowledge with accuracy; pictures are resampled, encoders are not.

    Returns
    -------
    DataFrame
        measure, among (all encoders, or the trained ones), n_models, correlation (Pearson, with interval). Number
        `concepts.relation` for the published AUC among all.
    """
    rows = []
    everyone = list(by_image)
    for among, names in {"all": everyone, "trained": [name for name in everyone if name != UNTRAINED]}.items():
        right = np.stack([by_image[name]["is_right"].to_numpy(dtype=float) for name in names])
        for column in ("auc_published", "shared", "lift"):
            values = np.nan_to_num(np.stack([by_image[name][column].to_numpy(dtype=float) for name in names]))
            found = interval_of(setup, partial(_correlation, values, right), "relation")
            row = {"measure": column, "among": among, "n_models": len(names)}
            rows.append(row | with_bounds("correlation", found))
            if column == "auc_published" and among == "all":
                store(setup, "relation", found)
    return pd.DataFrame(rows)


def _correlation(values: np.ndarray, right: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Correlation over rows of weighted means of values and of right, both (n_models, n)."""
    weights = np.ones((1, values.shape[1])) if weights is None else np.atleast_2d(np.asarray(weights, dtype=float))
    share = weights / weights.sum(axis=1, keepdims=True)
    one, other = share @ values.T, share @ right.T
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found = np.divide((one * other).sum(axis=1), scale, out=np.full(len(one), np.nan), where=scale > 0)
    return found if len(found) > 1 else found[0]


def stability_table(setup: Setup, seen: Seen) -> pd.DataFrame:
    """How alike a picture's descriptors are to those of other pictures, and to those of another seed of k-means.

    Returns
    -------
    DataFrame
        compared, jaccard (with interval). Numbers `concepts.same_class`, `.other_class`, `.class_gain` and
        `.same_picture`.
    """
    settings, has = setup.stage.params.concepts, seen.is_visual(len(setup.bank))
    within, between = concepts.likeness(has, setup.shown.y_true)
    again = [setup.look(WHOLE, seed=settings.seed + k) for k in range(1, settings.n_seeds)]
    repeated = np.nanmean([concepts.seed_likeness(seen, other) for other in again], axis=0)
    values = {"same_picture": repeated, "same_class": within, "other_class": between}
    rows = []
    for name, value in values.items():
        found = mean_of(setup, value)
        store(setup, name, found)
        rows.append({"compared": _COMPARED[name], **with_bounds("jaccard", found)})
    store(setup, "class_gain", mean_of(setup, within - between))
    return pd.DataFrame(rows)


_COMPARED = {
    "same_picture": "the same picture, another seed of k-means",
    "same_class": "another picture of its class",
    "other_class": "a picture of another class",
}
