"""What the page on concepts measures: foregrounds, descriptors, overlaps with nulls, curves, stability, prompts.

Intervals resample groups of pictures. An encoder's relatives are looked at with the same pictures and words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from verdict import paths
from verdict.clip import concepts, knowledge, parts
from verdict.clip.bank import Descriptor, Material, bank_of, class_table, material
from verdict.clip.cache import EmbeddingCache
from verdict.clip.concepts import Seen, Words, look
from verdict.clip.descriptors import nearest
from verdict.clip.keys import last_keys
from verdict.clip.variants import UNTRAINED, WHOLE, variants
from verdict.clip.words import class_vectors, prompts
from verdict.uncertainty import Interval, bootstrap, with_bounds
from verdict.weighted import weighted_mean

if TYPE_CHECKING:
    from verdict.clip.study import Study
    from verdict.stage import Stage

STREAM = {"scores": 61, "null": 62, "wrong": 63, "masks": 64, "relation": 65, "added": 66}
PUBLISHED_N, PUBLISHED_M = 15, 100


@dataclass(frozen=True, eq=False)
class CachedReader:
    """An encoder's towers through the cache, and its grid."""

    cache: EmbeddingCache

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.cache.encoder.grid

    def images(self, images: np.ndarray) -> np.ndarray:
        """Unit vectors of pictures, (n, d)."""
        return self.cache.images(images)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of texts, (n, d)."""
        return self.cache.texts(texts)

    def patches(self, images: np.ndarray) -> np.ndarray:
        """Unit vectors of patches, (n, grid * grid, d)."""
        return self.cache.patches(images)


@dataclass(frozen=True, eq=False)
class Setup:
    """Encoders, classes, descriptors and pictures of the page.

    Attributes
    ----------
    readers : mapping of name to CachedReader
        The whole encoder first.
    classes : DataFrame
        name, and what else is known of each class.
    bank : list of Descriptor
    shown : Material
        Test pictures whose knowledge is measured.
    templates : tuple of str
    """

    stage: Stage
    study: Study
    readers: Mapping[str, CachedReader]
    classes: pd.DataFrame
    bank: list[Descriptor]
    shown: Material
    templates: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        """The descriptors as texts."""
        return [one.text for one in self.bank]

    def words(self, reader: CachedReader) -> Words:
        """Classes and descriptors as one encoder reads them."""
        named = prompts(list(self.classes["name"]), self.templates)
        vectors = class_vectors(np.asarray(reader.texts(named)), len(self.templates))
        return Words(vectors, np.asarray(reader.texts(self.texts)))

    def look(
        self, name: str, *, seed: int | None = None, pictures: Material | None = None, outline: bool | None = None
    ) -> Seen:
        """What one encoder finds in the shown pictures, or in others; with another seed, or without red outlines."""
        settings, chosen = self.stage.params.concepts, pictures or self.shown
        if outline is not None:
            settings = settings.model_copy(update={"outline": outline})
        self.stage.progress(f"{name}: parts and descriptors of {len(chosen)} pictures")
        reader = self.readers[name]
        seed = settings.seed if seed is None else seed
        return look(reader, chosen.images, chosen.y_true, self.words(reader), settings, seed=seed)


def open_setup(stage: Stage, study: Study) -> Setup:
    """Everything that the page works with.

    Raises
    ------
    ValueError
        If there are too few descriptors, or a class has no picture.
    """
    settings = stage.params.concepts
    bank, classes = bank_of(study.pictures, settings), class_table(study.pictures, settings)
    relatives = variants(study.encoder, seed=settings.seed)
    folder = paths.embedding_cache()
    readers = {name: CachedReader(EmbeddingCache(folder, one, stage.progress)) for name, one in relatives.items()}
    shown = material(study.pictures, classes, bank, "test", n_images=settings.n_images)
    for name, value in {"n_images": len(shown), "n_classes": len(classes), "n_bank": len(bank)}.items():
        stage.number(f"concepts.{name}", value, unit="count", split="test")
    stage.number("concepts.n_models", len(readers), unit="count")
    stage.number("concepts.known_words", known_words(study.encoder.tokenizer, [one.text for one in bank]), unit="%")
    return Setup(stage, study, readers, classes, bank, shown, tuple(study.pictures.templates))


def known_words(tokenizer: Any, texts: Sequence[str]) -> float:
    """Share of the words of some texts that a tokenizer knows as words; it spells the others.

    An encoder that was taught few words cannot tell apart descriptors that are made of others.
    """
    words = [word for text in texts for word in text.split()]
    return sum(len(tokenizer.tokenize(word)) == 1 for word in words) / len(words)


def mean_of(setup: Setup, values: np.ndarray, groups: np.ndarray | None = None, stream: str = "scores") -> Interval:
    """Mean of one value a picture over resampled groups; pictures without a value (NaN) are left out."""
    groups = setup.shown.groups if groups is None else groups
    values, settings = np.asarray(values, dtype=float), setup.stage.params.statistics
    known = np.isfinite(values)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    return bootstrap(
        partial(weighted_mean, values[known]),
        groups[known],
        n_resamples=settings.n_resamples,
        rng=setup.stage.rng(STREAM[stream]),
        level=settings.level,
    )


def store(setup: Setup, name: str, found: Interval, *, unit: str = "", n: int | None = None) -> None:
    """Store an interval as the number `concepts.<name>`."""
    n = len(setup.shown) if n is None else n
    setup.stage.numbers[f"concepts.{name}"] = found.number(n=n, split="test", unit=unit)


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


def foreground_table(setup: Setup) -> pd.DataFrame:
    """Agreement of foregrounds with the true masks, by method and features; no rows where masks are unknown.

    Returns
    -------
    DataFrame
        label, value, low, high: mean intersection over union of pixels. Numbers `concepts.iou`, `.iou_keys`,
        `.iou_random` and `.iou_limit` (the best choice of whole patches).
    """
    shown = setup.shown
    if shown.masks is None:
        return pd.DataFrame(columns=["label", "value", "low", "high"])
    reader = setup.readers[WHOLE]
    grid, features = (reader.grid, reader.grid), {"last tokens": reader.patches(shown.images)}
    features["keys of the last block"] = last_keys(setup.study.encoder, shown.images)
    found = {}
    for name, values in features.items():
        found[f"spectral cut, {name}"] = _by_class(parts.foreground_spectral, values, shown.y_true, grid)
        found[f"first component, {name}"] = _by_class(parts.foreground_principal, values, shown.y_true, grid)
    used = found["spectral cut, last tokens"]
    found["as many patches at random"] = parts.shuffled_masks(used, setup.stage.rng(STREAM["masks"]))
    found["every patch"] = np.ones_like(used)
    found["the best choice of patches"] = best_patches(shown.masks, grid)
    pixels = {name: parts.to_pixels(masks, *shown.masks.shape[1:]) for name, masks in found.items()}
    overlap = {name: parts.intersection_over_union(masks, shown.masks) for name, masks in pixels.items()}
    rows = {name: mean_of(setup, values) for name, values in overlap.items()}
    for number, name in _IOU_NUMBERS.items():
        store(setup, number, rows[name])
    gain = overlap["spectral cut, last tokens"] - overlap["as many patches at random"]
    store(setup, "iou_gain", mean_of(setup, gain))
    return pd.DataFrame([{"label": name, **asdict(r)} for name, r in rows.items()])


_IOU_NUMBERS = {
    "iou": "spectral cut, last tokens",
    "iou_keys": "spectral cut, keys of the last block",
    "iou_random": "as many patches at random",
    "iou_limit": "the best choice of patches",
}


def _by_class(find, features: np.ndarray, y_true: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    masks = np.zeros((len(y_true), *grid), dtype=bool)
    for label in np.unique(y_true):
        own = np.flatnonzero(y_true == label)
        masks[own] = find(features[own], grid)
    return masks


def best_patches(masks: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The choice of whole patches that agrees best with masks of pixels: what no method on this grid can exceed.

    Patches are taken in the order of their share of the object; the best set is one of these prefixes.
    """
    n, height, width = masks.shape
    owner = parts.to_pixels(np.arange(grid[0] * grid[1]).reshape(1, *grid), height, width)[0].ravel()
    sizes = np.bincount(owner, minlength=grid[0] * grid[1])
    found = np.zeros((n, grid[0] * grid[1]), dtype=bool)
    for row, mask in enumerate(masks.reshape(n, -1)):
        inside = np.bincount(owner[mask], minlength=len(sizes))
        order = np.argsort(-inside / sizes, kind="stable")
        both, area = np.cumsum(inside[order]), np.cumsum(sizes[order])
        found[row, order[: 1 + (both / (area + mask.sum() - both)).argmax()]] = True
    return found.reshape(n, *grid)


def truth_of_descriptors(setup: Setup, seen: Seen) -> pd.DataFrame:
    """How many of a picture's descriptors are true of it, by where they come from; no rows where nothing is known.

    Returns
    -------
    DataFrame
        descriptors, n_each (mean number), is_true (with interval), false_red (share of the descriptors of pictures
        without red that name it). Numbers `concepts.true_parts`, `.true_bare` (parts without a red outline),
        `.true_nearest`, `.true_class`, `.true_bank`, `.true_gain` (parts minus nearest to the whole picture) and
        `.red_gain` (false red with outlines minus without, paired).
    """
    shown = setup.shown
    if shown.truth is None:
        return pd.DataFrame(columns=["descriptors", "n_each", "is_true", "false_red"])
    reader = setup.readers[WHOLE]
    cosine = np.asarray(reader.images(shown.images)) @ setup.words(reader).bank.T
    n_bank, order = len(setup.bank), nearest(cosine, len(setup.bank))
    ranked = [order[row, : len(ids)] for row, ids in enumerate(seen.visual)]
    chosen = {
        "parts": ("of the picture's parts", seen.is_visual(n_bank)),
        "bare": ("of its parts, pointed at without red", setup.look(WHOLE, outline=False).is_visual(n_bank)),
        "nearest": ("as many, nearest to the whole picture", concepts.memberships(ranked, n_bank)),
        "class": ("of the class that it is given", seen.is_textual(n_bank)[seen.answer]),
        "bank": ("all of the bank", np.ones_like(shown.truth)),
    }
    rows, shares, reds = [], {}, {}
    for name, (words, has) in chosen.items():
        sizes = has.sum(axis=1)
        shares[name] = np.divide((has & shown.truth).sum(axis=1), sizes, out=np.full(len(has), np.nan), where=sizes > 0)
        reds[name] = _false_red(setup, has)
        found = mean_of(setup, shares[name])
        store(setup, f"true_{name}", found, unit="%")
        red = with_bounds("false_red", mean_of(setup, reds[name]))
        rows.append({"descriptors": words, "n_each": float(sizes.mean()), **with_bounds("is_true", found), **red})
    store(setup, "true_gain", mean_of(setup, shares["parts"] - shares["nearest"]), unit="%")
    store(setup, "red_gain", mean_of(setup, reds["parts"] - reds["bare"]), unit="%")
    return pd.DataFrame(rows)


def _false_red(setup: Setup, has: np.ndarray) -> np.ndarray:
    """Share of each picture's descriptors that name red, (n,); NaN for a picture with red in it or no descriptor."""
    is_red = np.array([("colour", "red") in one.words for one in setup.bank])
    shows_red = setup.shown.truth[:, is_red].any(axis=1)
    sizes = np.where(shows_red, 0, has.sum(axis=1))
    return np.divide(has[:, is_red].sum(axis=1), sizes, out=np.full(len(has), np.nan), where=sizes > 0)


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
        exchanged = concepts.permuted_overlaps(visual, textual, one.answer, rng=_rng(setup, "null"), **shared)
        another = concepts.wrong_class_overlaps(visual, textual, one.answer, rng=_rng(setup, "wrong"), **shared)
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


def _rng(setup: Setup, stream: str) -> np.random.Generator:
    return setup.stage.rng(STREAM[stream])


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
        found = _interval(setup, partial(_gap, values, right), "scores")
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
            found = _interval(setup, partial(_correlation, values, right), "relation")
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


def _interval(setup: Setup, statistic, stream: str) -> Interval:
    settings = setup.stage.params.statistics
    shared = {"n_resamples": settings.n_resamples, "level": settings.level}
    return bootstrap(statistic, setup.shown.groups, rng=_rng(setup, stream), **shared)


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


def added_descriptors(setup: Setup) -> pd.DataFrame:
    """Accuracy on all test pictures of the classes when descriptors are added to the prompts.

    Descriptors are found on pictures of train, whose handwriting is not that of test.

    Returns
    -------
    DataFrame
        prompts, accuracy, difference to the plain prompts (paired), with intervals. Numbers `concepts.added_gain`,
        `.random_gain`.
    """
    settings, study, reader = setup.stage.params.concepts, setup.study, setup.readers[WHOLE]
    source = material(study.pictures, setup.classes, setup.bank, "train", n_images=settings.n_images)
    judged = material(study.pictures, setup.classes, setup.bank, "test")
    found = setup.look(WHOLE, pictures=source)
    n_classes, n_bank = len(setup.classes), len(setup.bank)
    frequent = concepts.frequent_descriptors(found.is_visual(n_bank), source.y_true, n_classes, settings.n_added)
    drawn = _rng(setup, "added").integers(n_bank, size=(n_classes, settings.n_added))
    ways = {
        "found in pictures": frequent,
        "nearest to the class's name": found.textual[:, : settings.n_added],
        "drawn at random": drawn,
    }
    vectors = np.asarray(reader.images(judged.images))
    plain = _right(vectors, setup.words(reader).classes, judged.y_true)
    alone = mean_of(setup, plain, judged.groups, "added")
    rows = [{"prompts": "the class's name alone", **with_bounds("accuracy", alone)}]
    for name, chosen in ways.items():
        right = _right(vectors, described_classes(setup, reader, chosen), judged.y_true)
        gain = mean_of(setup, right - plain, judged.groups, "added")
        row = {
            "prompts": f"with descriptors {name}",
            **with_bounds("accuracy", mean_of(setup, right, judged.groups, "added")),
        }
        rows.append(row | with_bounds("difference", gain))
        if name in _GAINS:
            store(setup, _GAINS[name], gain, unit="%", n=len(judged))
    return pd.DataFrame(rows)


_GAINS = {"found in pictures": "added_gain", "drawn at random": "random_gain"}


def described_classes(setup: Setup, reader: CachedReader, chosen: np.ndarray) -> np.ndarray:
    """Class vectors of prompts that end with a descriptor, the mean over templates and descriptors, (K, d).

    Parameters
    ----------
    chosen : int, (K, n)
        Descriptors of each class.
    """
    texts = setup.texts
    named = [
        f"{text}, {texts[place]}"
        for name, ids in zip(setup.classes["name"], chosen, strict=True)
        for text in prompts([name], setup.templates)
        for place in ids
    ]
    return class_vectors(np.asarray(reader.texts(named)), len(setup.templates) * chosen.shape[1])


def _right(vectors: np.ndarray, classes: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    return ((vectors @ classes.T).argmax(axis=1) == y_true).astype(float)
