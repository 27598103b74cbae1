"""The tables of the page on concepts: what pictures share with their classes in words, what is true, and what helps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from verdict.base.numbers import EXACT, POINTS, SETTING, named
from verdict.clip import UNTRAINED, WHOLE
from verdict.clip.concepts import activations, knowledge, parts
from verdict.clip.concepts.activations import Seen, by_class, memberships, nearest, share_of
from verdict.clip.concepts.setup import Setup, material
from verdict.clip.encoder.embeddings import EmbeddingCache
from verdict.clip.pictures.words import prompts, unit_means
from verdict.stats.scores import top_class
from verdict.stats.uncertainty import Interval, Weights, bounded, with_bounds
from verdict.stats.weighted import mean_gap, ratio, row_weights
from verdict.workflow.stage import Stage

PUBLISHED_N, PUBLISHED_M = 15, 100
N_WORDS, TINT = 3, 0.55


def arithmetic_table(stage: Stage) -> pd.DataFrame:
    """The estimators for 15 descriptors of an image and 100 of a class, by how many they share.

    Numbers `concepts.published_one` and `.published_two`: the published one for one and for two.
    """
    shared = np.array([0, 1, 2, 5, 15])
    published = knowledge.mi_as_published(PUBLISHED_N, PUBLISHED_M, shared)
    for name, value in zip(("one", "two"), published[1:3], strict=True):
        stage.number(f"concepts.published_{name}", value, kind=EXACT)
    printed = knowledge.mi_eq1(PUBLISHED_N, PUBLISHED_M, shared)
    more = {"as_printed": printed, "mutual_information": knowledge.mi_table(shared)}
    return pd.DataFrame({"shared": shared, "as_published": published, **more})


# Foregrounds and descriptors that are found in pictures, against what the source knows of its pictures.


def foreground_table(setup: Setup) -> pd.DataFrame:
    """Agreement of foregrounds with the true masks, by method and features; no rows where masks are unknown.

    Columns label, value, low, high: mean intersection over union of pixels. Numbers `concepts.iou`, `.iou_keys`,
    `.iou_random`, `.iou_limit` (the best choice of whole patches) and `.iou_gain`, the last row; of the other methods
    that look at a picture `.n_methods`, `.n_methods_better` and `_worse` than the cut (paired, each unadjusted), and
    the best, `.best_method` with `.iou_best`.
    """
    shown = setup.shown
    if shown.masks is None:
        return pd.DataFrame(columns=["label", "value", "low", "high"])
    reader = setup.readers[WHOLE]
    grid = (reader.encoder.grid,) * 2
    find = partial(parts.foreground_principal, grid=grid)
    tokens, keys = reader.patches(shown.images), setup.study.encoder.last_keys(shown.images)
    found = {}
    for name, values in (("last tokens", tokens), ("keys of the last block", keys)):
        found[f"spectral cut, {name}"] = parts.foreground_spectral(values, grid)
        found[f"first component, {name}"] = by_class(find, shown.y_true, values)
    cut, *others = found
    of_keys = "spectral cut, keys of the last block"
    chance, gain = "as many patches at random", "the cut minus random patches, paired"
    limit = "the best choice of patches"
    found[chance] = parts.shuffled_masks(found[cut], setup.stage.rng("concepts.masks"))
    found["every patch"] = np.ones_like(found[cut])
    found[limit] = best_patches(shown.masks, grid)
    side = shown.masks.shape[1:]
    overlap = {k: parts.intersection_over_union(parts.to_pixels(m, *side), shown.masks) for k, m in found.items()}
    rows = {name: setup.mean(values, span=(0, 1)) for name, values in overlap.items()}
    rows[gain] = setup.mean(overlap[cut] - overlap[chance], span=(-1, 1))
    names = {"iou": cut, "iou_keys": of_keys, "iou_random": chance, "iou_limit": limit, "iou_gain": gain}
    best = max(others, key=lambda name: rows[name].value)
    for number, name in (names | {"iou_best": best}).items():
        setup.keep(number, rows[name])
    setup.stage.numbers["concepts.best_method"] = named(best)
    apart = [setup.mean(overlap[name] - overlap[cut], span=(-1, 1)) for name in others]
    n_better, n_worse = sum(one.low > 0 for one in apart), sum(one.high < 0 for one in apart)
    counts = {"n_methods": len(others), "n_methods_better": n_better, "n_methods_worse": n_worse}
    setup.stage.counts("concepts", counts, split="test")
    return pd.DataFrame([{"label": name, **asdict(r)} for name, r in rows.items()])


def best_patches(masks: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The choice of whole patches that agrees best with masks of pixels: what no method on this grid can exceed.

    Patches are taken in the order of their share of the object; the best set is one of these prefixes.
    """
    n, height, width = masks.shape
    n_patches = grid[0] * grid[1]
    owner = parts.to_pixels(np.arange(n_patches).reshape(1, *grid), height, width)[0].ravel()
    sizes, found = np.bincount(owner), np.zeros((n, n_patches), dtype=bool)
    for row, mask in enumerate(masks.reshape(n, -1)):
        inside = np.bincount(owner[mask], minlength=n_patches)
        order = np.argsort(-inside / sizes, kind="stable")
        both, area = np.cumsum(inside[order]), np.cumsum(sizes[order])
        found[row, order[: 1 + (both / (area + mask.sum() - both)).argmax()]] = True
    return found.reshape(n, *grid)


def examples(setup: Setup, seen: Seen, *, n: int, colours: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    """Evenly chosen shown pictures with their parts tinted; titles with the class given and the first descriptors."""
    shown, names = setup.shown, setup.classes["name"].tolist()
    rows = np.unique(np.linspace(0, len(shown) - 1, n).round().astype(int))
    titles = []
    for row in rows:
        words = "; ".join(setup.texts[place] for place in seen.visual[row][:N_WORDS]) or "no foreground"
        mark = "" if seen.answer[row] == shown.y_true[row] else f" (is {names[shown.y_true[row]]})"
        titles.append(f"{names[seen.answer[row]]}{mark}: {words}")
    return list(tint_parts(shown.images[rows], seen.parts[rows], colours)), titles


def tint_parts(images: np.ndarray, found: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Pictures with each part in a colour of its own and the background darker, uint8 (n, height, width, 3)."""
    pixels = parts.to_pixels(found, *images.shape[1:3])
    palette = np.array([(0.0, 0.0, 0.0), *(to_rgb(colours[k % len(colours)]) for k in range(max(found.max(), 0) + 1))])
    return np.rint(TINT * images + (1 - TINT) * palette[pixels + 1] * 255).astype(np.uint8)


def truth_of_descriptors(setup: Setup, seen: Seen) -> pd.DataFrame:
    """How many of a picture's descriptors are true of it, by where they come from; no rows where nothing is known.

    Columns descriptors, n_each (mean number), is_true, false_red (share of the descriptors of pictures without red
    that name it), with intervals. Numbers `concepts.true_parts`, `.true_bare` (parts without a red outline),
    `.true_nearest`, `.true_class`, `.true_bank`, `.true_gain` (parts minus nearest to the whole picture) and
    `.red_gain` (false red with outlines minus without, paired).
    """
    shown, reader = setup.shown, setup.readers[WHOLE]
    if shown.truth is None:
        return pd.DataFrame(columns=["descriptors", "n_each", "is_true", "false_red"])
    cosine = np.asarray(reader.images(shown.images)) @ setup.words(reader).bank.T
    n_bank, order = len(setup.bank), nearest(cosine, len(setup.bank))
    ranked = [order[row, : len(ids)] for row, ids in enumerate(seen.visual)]
    chosen = {
        "parts": ("of the picture's parts", memberships(seen.visual, n_bank)),
        "bare": ("of its parts, pointed at without red", memberships(setup.look(WHOLE, bare=seen).visual, n_bank)),
        "nearest": ("as many, nearest to the whole picture", memberships(ranked, n_bank)),
        "class": ("of the class that it is given", memberships(seen.textual, n_bank)[seen.answer]),
        "bank": ("all of the bank", np.ones_like(shown.truth)),
    }
    is_red = np.array([words.get("colour") == "red" for _, words in setup.bank])
    is_without_red = ~shown.truth[:, is_red].any(axis=1)[:, None]
    rows, shares, reds = [], {}, {}
    for name, (words, has) in chosen.items():
        span = None if name == "bank" else (0, 1)
        shares[name], reds[name] = share_of(has & shown.truth, has), share_of(has & is_red, has & is_without_red)
        found = {"n_each": setup.mean(has.sum(axis=1)), "is_true": setup.mean(shares[name], span=span)}
        setup.keep(f"true_{name}", found["is_true"], unit="%")
        rows.append({"descriptors": words, **bounded(found | {"false_red": setup.mean(reds[name], span=span)})})
    setup.keep("true_gain", setup.mean(shares["parts"] - shares["nearest"], span=(-1, 1)), unit=POINTS)
    setup.keep("red_gain", setup.mean(reds["parts"] - reds["bare"], span=(-1, 1)), unit=POINTS)
    return pd.DataFrame(rows)


# What pictures share with their classes: overlaps with nulls, curves, relation to accuracy, stability.

_KNOWLEDGE = {
    "accuracy": ("is_right", (0, 1)),
    **{name: (name, None) for name in ("n_visual", "shared", "lift")},
    **{name: (name, (0, 1)) for name in ("jaccard", "ranked")},
    **{name: (name, None) for name in ("mi_published", "mi_table", "auc_published")},
    "auc_relative": ("auc_relative", (0, 1)),
    "share_fallback": ("is_fallback", (0, 1)),
}


def knowledge_table(setup: Setup, seen: Mapping[str, Seen]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What the towers of each encoder share, one row an encoder with intervals; and `concepts.score_images` of each.

    Columns model, accuracy, n_visual, shared, lift, jaccard, ranked, mi_published, mi_table, auc_published,
    auc_relative, share_fallback. Numbers `concepts.n_relatives`, and `.n_share_more`: those whose lift is larger than
    the whole encoder's although they are right less often (paired, each unadjusted).
    """
    rows, by_image = [], {}
    for name, one in seen.items():
        scores = by_image[name] = activations.score_images(one, setup.shown.y_true, len(setup.bank))
        found = {to: setup.mean(scores[of].to_numpy(), span=span) for to, (of, span) in _KNOWLEDGE.items()}
        rows.append({"model": name, **bounded(found)})
    for column in ("accuracy", "shared", "lift", "auc_published", "auc_relative"):
        setup.keep(column, Interval.from_columns(rows[0], column), unit="%" if column == "accuracy" else "")
    judged = {name: scores[["lift", "is_right"]].astype(float) for name, scores in by_image.items()}
    apart = [(scores - judged[WHOLE]).apply(setup.mean) for scores in judged.values()]
    n_more = sum(one["lift"].low > 0 and one["is_right"].high < 0 for one in apart)
    setup.stage.counts("concepts", {"n_relatives": len(rows) - 1, "n_share_more": n_more}, split="test")
    return pd.DataFrame(rows), by_image


def null_table(setup: Setup, seen: Mapping[str, Seen]) -> tuple[pd.DataFrame, np.ndarray]:
    """Overlap against chance, and whether a picture shares more with its own class than with others.

    Columns model, shared, by_chance (N M / |D|), own_class_gain (overlap with the picture's true class minus the mean
    of those with the others), with intervals over pictures; p_exchanged, whose interval is over draws. Beside the
    table: mean overlaps of the whole encoder with exchanged descriptors, (n_draws,).
    """
    n_bank, level = len(setup.bank), setup.stage.params.statistics.level
    n_draws, rows, drawn = setup.stage.params.concepts.n_draws, [], {}
    for name, one in seen.items():
        visual, textual = (memberships(ids, n_bank) for ids in (one.visual, one.textual))
        shared, rng = (visual & textual[one.answer]).sum(axis=1), setup.stage.rng("concepts.exchanged")
        drawn[name] = activations.permuted_overlaps(visual, textual, one.answer, n_draws=n_draws, rng=rng)
        by_chance = knowledge.expected_shared(visual.sum(axis=1), one.textual.shape[1], n_bank)
        found = {
            "shared": setup.mean(shared),
            "by_chance": setup.mean(by_chance),
            "own_class_gain": setup.mean(activations.own_class_gain(visual, textual, setup.shown.y_true)),
            "p_exchanged": activations.permutation_p_value(float(shared.mean()), drawn[name], level=level),
        }
        rows.append({"model": name, **bounded(found)})
        if name == WHOLE:
            setup.keep("shared_by_chance", found["by_chance"])
            setup.keep("own_class_gain", found["own_class_gain"])
            setup.keep("p_exchanged", found["p_exchanged"])
    setup.stage.number("concepts.n_draws", n_draws, unit="count", kind=SETTING)
    return pd.DataFrame(rows), drawn[WHOLE]


def deletion_curves(setup: Setup, seen: Mapping[str, Seen]) -> dict[str, pd.DataFrame]:
    """The published number while a picture's descriptors are removed, the most important first; mean over pictures.

    By model: removed, published, low, high.
    """
    curves = {}
    for name, one in seen.items():
        lists = zip(one.visual, one.textual[one.answer], strict=True)
        # Short curves are continued by zero, as in the study.
        published = pd.DataFrame([knowledge.published_curve(*both) for both in lists]).fillna(0.0)
        rows = [{"removed": k} | with_bounds("published", setup.mean(published[k].to_numpy())) for k in published]
        curves[name] = pd.DataFrame(rows)
    return curves


def right_and_wrong(setup: Setup, by_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Knowledge of pictures that are answered rightly and wrongly: model, n_wrong, right, wrong, difference.

    One row an encoder, with intervals; the whole encoder's difference is the number `concepts.right_gain`, and
    `.n_right_more` and `.n_right_less` count the encoders with a difference (each unadjusted).
    """
    rows = []
    for name, scores in by_image.items():
        right, values = scores["is_right"].to_numpy(), scores["auc_published"].to_numpy()
        if right.all() or not right.any():
            continue
        found = {k: setup.mean(np.where(own, values, np.nan)) for k, own in (("right", right), ("wrong", ~right))}
        # A draw without wrong answers counts as if theirs were 0, which widens the interval of few wrong pictures.
        gap = partial(mean_gap, values, right, empty=0.0)
        found["difference"] = setup.stage.resampler(setup.shown.groups).interval(gap)
        rows.append({"model": name, "n_wrong": int((~right).sum()), **bounded(found)})
        if name == WHOLE:
            setup.keep("right_gain", found["difference"])
    n_more, n_less = sum(row["difference_low"] > 0 for row in rows), sum(row["difference_high"] < 0 for row in rows)
    setup.stage.counts("concepts", {"n_right_more": n_more, "n_right_less": n_less}, split="test")
    return pd.DataFrame(rows)


def relation(setup: Setup, by_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Correlation over encoders of each measure of knowledge with accuracy; pictures are resampled, encoders are not.

    Columns measure, among (all encoders, or the trained ones), n_models, correlation (Pearson, with interval). Number
    `concepts.relation` for the published AUC among all.
    """
    rows = []
    everyone = list(by_image)
    for among, names in {"all": everyone, "trained": [name for name in everyone if name != UNTRAINED]}.items():
        right = np.stack([by_image[name]["is_right"].to_numpy(dtype=float) for name in names])
        for column in ("auc_published", "shared", "lift"):
            values = np.nan_to_num(np.stack([by_image[name][column].to_numpy(dtype=float) for name in names]))
            found = setup.stage.resampler(setup.shown.groups).interval(partial(correlation, values, right))
            row = {"measure": column, "among": among, "n_models": len(names)}
            rows.append(row | with_bounds("correlation", found))
            if column == "auc_published" and among == "all":
                setup.keep("relation", found)
    return pd.DataFrame(rows)


def correlation(values: np.ndarray, right: np.ndarray, weights: Weights) -> np.ndarray:
    """Correlation over rows of weighted means of values and of right, both (n_models, n)."""
    weights = row_weights(weights, values.shape[1])
    share = weights / weights.sum(axis=-1, keepdims=True)
    one, other = share @ values.T, share @ right.T
    one, other = one - one.mean(axis=-1, keepdims=True), other - other.mean(axis=-1, keepdims=True)
    scale = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    return ratio((one * other).sum(axis=-1), scale, empty=np.nan)


def stability_table(setup: Setup, seen: Seen) -> pd.DataFrame:
    """How alike a picture's descriptors are to those of other pictures, and to those of another seed of k-means.

    Columns compared, jaccard (with interval). Numbers `concepts.same_class`, `.other_class`, `.class_gain` (the paired
    difference of these two) and `.same_picture`.
    """
    own = memberships(seen.visual, len(setup.bank))
    within, between = activations.likeness(own, setup.shown.y_true)
    looks = (setup.look(WHOLE, again=k).visual for k in range(1, setup.stage.params.concepts.n_seeds))
    again = [memberships(visual, len(setup.bank)) for visual in looks]
    repeated = [share_of(own & other, own | other) for other in again]
    rows = []
    for name, compared, value in (
        ("same_picture", "the same picture, another seed of k-means", np.nanmean(repeated, axis=0)),
        ("same_class", "another picture of its class", within),
        ("other_class", "a picture of another class", between),
        ("class_gain", "its class minus another class, paired", within - between),
    ):
        found = setup.mean(value, span=(-1 if name == "class_gain" else 0, 1))
        setup.keep(name, found)
        rows.append({"compared": compared, **with_bounds("jaccard", found)})
    return pd.DataFrame(rows)


# Whether descriptors that are added to the prompts help to classify.


def added_descriptors(setup: Setup) -> pd.DataFrame:
    """Accuracy on all test pictures of the classes when descriptors are added to the prompts.

    Descriptors are found on pictures of train, whose handwriting is not that of test. Columns prompts, n, accuracy,
    difference to the plain prompts (paired), with intervals. Numbers `concepts.added_gain`, `.random_gain`.
    """
    settings, pictures, reader = setup.stage.params.concepts, setup.study.pictures, setup.readers[WHOLE]
    source = material(pictures, setup.classes, setup.bank, "train", n_images=settings.n_images)
    judged = material(pictures, setup.classes, setup.bank, "test")
    found = setup.look(WHOLE, pictures=source)
    n_classes, n_bank = len(setup.classes), len(setup.bank)
    frequent = activations.frequent_descriptors(
        memberships(found.visual, n_bank), source.y_true, n_classes, settings.n_added
    )
    drawn = setup.stage.rng("concepts.added").integers(n_bank, size=(n_classes, settings.n_added))
    vectors, plain, rows = np.asarray(reader.images(judged.images)), None, []
    for name, number, chosen in (
        ("the class's name alone", "", None),
        ("with descriptors found in pictures", "added_gain", frequent),
        ("with descriptors nearest to the class's name", "", found.textual[:, : settings.n_added]),
        ("with descriptors drawn at random", "random_gain", drawn),
    ):
        classes = setup.words(reader).classes if chosen is None else described_classes(setup, reader, chosen)
        right = (top_class(vectors @ classes.T) == judged.y_true).astype(float)
        accuracy = with_bounds("accuracy", setup.mean(right, judged.groups, span=(0, 1)))
        rows.append({"prompts": name, "n": len(judged), **accuracy})
        plain = right if plain is None else plain
        if chosen is not None:
            gain = setup.mean(right - plain, judged.groups, span=(-1, 1))
            rows[-1] |= with_bounds("difference", gain)
            if number:
                setup.keep(number, gain, unit=POINTS, n=len(judged))
    return pd.DataFrame(rows)


def described_classes(setup: Setup, reader: EmbeddingCache, chosen: np.ndarray) -> np.ndarray:
    """Class vectors of prompts that end with a descriptor, the mean over templates and descriptors, (K, d).

    `chosen` (K, n) are the descriptors of each class.
    """
    templates, texts = setup.study.pictures.templates, setup.texts
    named = [
        f"{text}, {texts[place]}"
        for name, ids in zip(setup.classes["name"], chosen, strict=True)
        for text in prompts([name], templates)
        for place in ids
    ]
    return unit_means(reader.texts(named), len(chosen))
