"""What pictures share with their classes in words: overlaps with nulls, curves, relation to accuracy, stability."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from verdict.clip import concepts, knowledge
from verdict.clip.concept_setup import Setup, mean_of, store
from verdict.clip.concepts import Seen
from verdict.clip.variants import UNTRAINED, WHOLE
from verdict.numbers import EXACT, SETTING
from verdict.uncertainty import Interval, with_bounds

if TYPE_CHECKING:
    from verdict.stage import Stage

PUBLISHED_N, PUBLISHED_M = 15, 100


def arithmetic_table(stage: Stage) -> pd.DataFrame:
    """The estimators for 15 descriptors of an image and 100 of a class, by how many they share.

    Numbers `concepts.published_one` and `.published_two`: the published one for one and for two.
    """
    rows = [
        {
            "shared": shared,
            "as_published": knowledge.mi_as_published(PUBLISHED_N, PUBLISHED_M, shared),
            "as_printed": knowledge.mi_eq1(PUBLISHED_N, PUBLISHED_M, shared),
            "mutual_information": knowledge.mi_table(shared),
        }
        for shared in (0, 1, 2, 5, 15)
    ]
    for name, row in zip(("one", "two"), rows[1:3], strict=True):
        stage.number(f"concepts.published_{name}", row["as_published"], kind=EXACT)
    return pd.DataFrame(rows)


def knowledge_table(setup: Setup, seen: Mapping[str, Seen]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What the towers of each encoder share.

    Returns
    -------
    table : DataFrame
        One row an encoder: model, accuracy, n_visual, shared, lift, jaccard, ranked, mi_published, mi_table,
        auc_published, auc_relative, share_fallback, with intervals.
    by_image : mapping of model to DataFrame
        See `concepts.score_images`.
    """
    rows, by_image = [], {}
    for name, one in seen.items():
        scores = concepts.score_images(one, setup.shown.y_true, len(setup.bank))
        by_image[name] = scores
        row: dict[str, object] = {"model": name}
        for column, (values, span) in _KNOWLEDGE.items():
            row |= with_bounds(column, mean_of(setup, scores[values].to_numpy(), span=span))
        rows.append(row)
    for column in ("accuracy", "shared", "lift", "auc_published", "auc_relative"):
        found = Interval.from_columns(rows[0], column)
        store(setup, column, found, unit="%" if column == "accuracy" else "")
    return pd.DataFrame(rows), by_image


_KNOWLEDGE = {
    "accuracy": ("is_right", (0, 1)),
    **{name: (name, None) for name in ("n_visual", "shared", "lift")},
    **{name: (name, (0, 1)) for name in ("jaccard", "ranked")},
    **{name: (name, None) for name in ("mi_published", "mi_table", "auc_published")},
    "auc_relative": ("auc_relative", (0, 1)),
    "share_fallback": ("is_fallback", (0, 1)),
}


def null_table(setup: Setup, seen: Mapping[str, Seen]) -> tuple[pd.DataFrame, np.ndarray]:
    """Overlap against chance, and whether a picture shares more with its own class than with others.

    Returns
    -------
    table : DataFrame
        model, shared, by_chance (N M / |D|), own_class_gain (overlap with the picture's true class minus the mean of
        those with the others), with intervals over pictures; p_exchanged, whose interval is over draws.
    drawn : ndarray (n_draws,)
        Mean overlaps of the whole encoder with exchanged descriptors.
    """
    n_bank, n_draws, rows, drawn = len(setup.bank), setup.stage.params.concepts.n_draws, [], {}
    for name, one in seen.items():
        visual, textual = one.is_visual(n_bank), one.is_textual(n_bank)
        shared = (visual & textual[one.answer]).sum(axis=1)
        rng = setup.stage.rng("concepts.exchanged")
        drawn[name] = concepts.permuted_overlaps(visual, textual, one.answer, n_draws=n_draws, rng=rng)
        found = {
            "shared": mean_of(setup, shared),
            "by_chance": mean_of(setup, knowledge.expected_shared(visual.sum(axis=1), one.textual.shape[1], n_bank)),
            "own_class_gain": mean_of(setup, concepts.own_class_gain(visual, textual, setup.shown.y_true)),
            "p_exchanged": concepts.permutation_p_value(
                float(shared.mean()), drawn[name], level=setup.stage.params.statistics.level
            ),
        }
        row: dict[str, object] = {"model": name}
        for column, interval in found.items():
            row |= with_bounds(column, interval)
            if name == WHOLE and column != "shared":
                store(setup, {"by_chance": "shared_by_chance"}.get(column, column), interval)
        rows.append(row)
    setup.stage.number("concepts.n_draws", n_draws, unit="count", kind=SETTING)
    return pd.DataFrame(rows), drawn[WHOLE]


def deletion_curves(setup: Setup, seen: Mapping[str, Seen]) -> dict[str, pd.DataFrame]:
    """The published number while a picture's descriptors are removed, the most important first; mean over pictures.

    Returns
    -------
    mapping of model to DataFrame
        removed, published, low, high.
    """
    curves = {}
    for name, one in seen.items():
        published = [
            knowledge.mi_as_published(
                max(len(visual), 1), one.textual.shape[1], knowledge.deletion_counts(visual, one.textual[answer])
            )
            for visual, answer in zip(one.visual, one.answer, strict=True)
        ]
        found = [mean_of(setup, column) for column in knowledge.continued_by_zero(published).T]
        columns = [{"published": one.value, "low": one.low, "high": one.high} for one in found]
        curves[name] = pd.DataFrame(columns).assign(removed=np.arange(len(columns)))
    return curves


def right_and_wrong(setup: Setup, by_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Knowledge of pictures that are answered rightly and wrongly: model, n_wrong, right, wrong, difference.

    One row an encoder, with intervals; the whole encoder's difference is the number `concepts.right_gain`.
    """
    rows = []
    for name, scores in by_image.items():
        right, values = scores["is_right"].to_numpy(), scores["auc_published"].to_numpy()
        if right.all() or not right.any():
            continue
        row: dict[str, object] = {"model": name, "n_wrong": int((~right).sum())}
        for column, chosen in (("right", right), ("wrong", ~right)):
            row |= with_bounds(column, mean_of(setup, np.where(chosen, values, np.nan)))
        found = setup.stage.resampler(setup.shown.groups).interval(partial(_gap, values, right))
        rows.append(row | with_bounds("difference", found))
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
            found = setup.stage.resampler(setup.shown.groups).interval(partial(_correlation, values, right))
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
        compared, jaccard (with interval). Numbers `concepts.same_class`, `.other_class`, `.class_gain` (the paired
        difference of these two) and `.same_picture`.
    """
    settings, has = setup.stage.params.concepts, seen.is_visual(len(setup.bank))
    within, between = concepts.likeness(has, setup.shown.y_true)
    again = [setup.look(WHOLE, seed=settings.seed + k) for k in range(1, settings.n_seeds)]
    repeated = np.nanmean([concepts.seed_likeness(seen, other) for other in again], axis=0)
    values = {"same_picture": repeated, "same_class": within, "other_class": between, "class_gain": within - between}
    rows = []
    for name, value in values.items():
        found = mean_of(setup, value, span=(-1, 1) if name == "class_gain" else (0, 1))
        store(setup, name, found)
        rows.append({"compared": _COMPARED[name], **with_bounds("jaccard", found)})
    return pd.DataFrame(rows)


_COMPARED = {
    "same_picture": "the same picture, another seed of k-means",
    "same_class": "another picture of its class",
    "other_class": "a picture of another class",
    "class_gain": "its class minus another class, paired",
}
