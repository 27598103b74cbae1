"""What the page on concepts works with: encoders, classes, descriptors, shown pictures; and means over them.

Intervals resample groups of pictures. An encoder's relatives are looked at with the same pictures and words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT
from verdict.base.params import ConceptsParams
from verdict.clip.concepts.activations import Regions, Seen, Words, find_parts, look
from verdict.clip.encoder.embeddings import EmbeddedPictures, EmbeddingCache, cache_of
from verdict.clip.pictures.scenes import FACTORS, caption
from verdict.clip.pictures.sources import Pictures
from verdict.clip.pictures.words import class_vectors
from verdict.stats.uncertainty import Interval
from verdict.workflow.stage import Stage

DESCRIBED = tuple(name for name in FACTORS if name != "digit")


@dataclass(frozen=True, eq=False)
class Material:
    """n pictures of one split with what is known of them.

    `y_true` indexes the classes, `groups` name the independent unit; `masks` (n, height, width) say where the object
    is, `truth` (n, D) which descriptors are true, where the source knows.
    """

    images: np.ndarray
    y_true: np.ndarray
    groups: np.ndarray
    masks: np.ndarray | None = None
    truth: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y_true)


# A phrase of the bank, and the word of each factor that it names; none where nothing is known of it.
Descriptor = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Setup:
    """Encoders (the whole one first), classes, descriptors and shown test pictures of the page."""

    stage: Stage
    study: EmbeddedPictures
    readers: Mapping[str, EmbeddingCache]
    classes: pd.DataFrame
    bank: list[Descriptor]
    shown: Material

    @property
    def texts(self) -> list[str]:
        """The descriptors as texts."""
        return [text for text, _ in self.bank]

    def words(self, reader: EmbeddingCache) -> Words:
        """Unit vectors of classes (K, d) and of descriptors (D, d) as one encoder reads them."""
        vectors = class_vectors(reader.texts, list(self.classes["name"]), self.study.pictures.templates)
        return Words(vectors, np.asarray(reader.texts(self.texts)))

    def look(self, name: str, *, again: int = 0, pictures: Material | None = None, bare: Seen | None = None) -> Seen:
        """What one encoder finds in the shown pictures, or in others; with the seed that is `again` further, or with
        the parts of another look, pointed at without outlines.
        """
        settings, chosen, reader = self.stage.params.concepts, pictures or self.shown, self.readers[name]
        self.stage.progress(f"{name}: parts and descriptors of {len(chosen)} pictures")
        if bare:
            found, settings = Regions(bare.masks, bare.parts), settings.model_copy(update={"outline": False})
        else:
            found = find_parts(reader, chosen.images, chosen.y_true, settings, seed=settings.seed + again)
        return look(reader, chosen.images, found, self.words(reader), settings)

    def mean(
        self, values: np.ndarray, groups: np.ndarray | None = None, *, span: tuple[float, float] | None = None
    ) -> Interval:
        """Mean of one value a picture over resampled groups; pictures without a value (NaN) are left out."""
        groups, values = self.shown.groups if groups is None else groups, np.asarray(values, dtype=float)
        known = np.isfinite(values)
        return self.stage.resampler(groups[known]).mean(values[known], span=span)

    def keep(self, name: str, found: Interval, *, unit: str = "", n: int | None = None) -> None:
        """Store an interval of `n` test pictures, by default of the shown ones, as the number `concepts.<name>`."""
        n = len(self.shown) if n is None else n
        self.stage.numbers[f"concepts.{name}"] = found.number(n=n, split="test", unit=unit)


def open_setup(stage: Stage, study: EmbeddedPictures) -> Setup:
    """Everything that the page works with; too few descriptors, and a class without a picture, are refused."""
    from verdict.clip.encoder.encode import variants

    settings = stage.params.concepts
    bank, classes = bank_of(study.pictures, settings), class_table(study.pictures, settings)
    readers = {name: cache_of(stage, one) for name, one in variants(study.encoder, seed=settings.seed).items()}
    shown = material(study.pictures, classes, bank, "test", n_images=settings.n_images)
    counts = {"n_images": len(shown), "n_classes": len(classes), "n_bank": len(bank)}
    stage.counts("concepts", counts, split="test")
    stage.number("concepts.n_models", len(readers), unit="count")
    words = known_words(study.encoder.tokenizer, [text for text, _ in bank])
    stage.number("concepts.known_words", words, unit="%", kind=EXACT)
    return Setup(stage, study, readers, classes, bank, shown)


def known_words(tokenizer: Any, texts: Sequence[str]) -> float:
    """Share of the words of some texts that a tokenizer knows as words; it spells the others.

    An encoder that was taught few words cannot tell apart descriptors that are made of others.
    """
    words = [word for text in texts for word in text.split()]
    return sum(len(tokenizer.tokenize(word)) == 1 for word in words) / len(words)


def bank_of(pictures: Pictures, settings: ConceptsParams) -> list[Descriptor]:
    """The descriptors of the parameters; else every phrase that names one or two factors of a scene but the digit.

    So they name no class, like those of the study: "a red digit", "a small digit on the left".
    """
    bank: list[Descriptor] = [(text, {}) for text in settings.bank]
    if not bank and pictures.is_scenes:
        for named in (*combinations(DESCRIBED, 1), *combinations(DESCRIBED, 2)):
            choices = product(*(FACTORS[name] for name in named))
            described = (dict(zip(named, values, strict=True)) for values in choices)
            bank += [(caption(words, named), words) for words in described]
    if len(bank) < max(settings.n_textual, settings.per_part) + 1:
        raise ValueError(
            f"concepts.bank holds {len(bank)} descriptors; more than n_textual = {settings.n_textual} are needed. "
            "Only the embedded scenes bring their own"
        )
    return bank


def class_table(pictures: Pictures, settings: ConceptsParams) -> pd.DataFrame:
    """The classes of the page: name, and for scenes its colour and digit, and whether it was held out.

    Scenes are classified by couples of colour and digit, so that descriptors can be shared; half of the couples are
    held out, and those with most pictures in train and test are taken. Elsewhere they are the source's classes that
    have pictures in both.
    """
    if not pictures.is_scenes:
        shown = [set(pictures.table["y"][pictures.table["split"] == split]) for split in ("train", "test")]
        names = [name for k, name in enumerate(pictures.class_names) if k in shown[0] & shown[1]]
        return pd.DataFrame({"name": names[: settings.n_classes]})
    couple = ["held_out", "colour", "digit"]
    shown = pictures.table[pictures.table["split"].isin(["train", "test"])]
    counts = shown.groupby([*couple, "split"]).size().unstack(fill_value=0).min(axis=1).rename("n").reset_index()
    counts = counts.sort_values(["n", "colour", "digit"], ascending=[False, True, True], kind="stable")
    n_held = settings.n_classes // 2
    chosen = [counts[counts["held_out"]].head(n_held), counts[~counts["held_out"]].head(settings.n_classes - n_held)]
    table = pd.concat(chosen, ignore_index=True)
    return table.assign(name=table["colour"] + " " + table["digit"])[["name", "colour", "digit", "held_out"]]


def material(
    pictures: Pictures, classes: pd.DataFrame, bank: Sequence[Descriptor], split: str, *, n_images: int | None = None
) -> Material:
    """The pictures of a split that show one of the classes, at most `n_images` of each, in the order of the split."""
    rows = pictures.rows(split)
    table = pictures.table.iloc[rows].reset_index(drop=True)
    if "colour" in classes:
        names = (table["colour"] + " " + table["digit"]).to_numpy()
    else:
        names = np.array(pictures.class_names, dtype=object)[table["y"]]
    label = pd.Index(classes["name"]).get_indexer(names)
    place = table.assign(label=label).groupby("label").cumcount().to_numpy()
    chosen = np.flatnonzero((label >= 0) & (place < (len(table) if n_images is None else n_images)))
    if missing := sorted(set(range(len(classes))) - set(label[chosen])):
        raise ValueError(
            f"the split {split} shows no {classes['name'].iloc[missing[0]]!r}; concepts.n_classes is too large"
        )
    own, truth = table.iloc[chosen], None
    if pictures.is_scenes and bank[0][1]:
        # A descriptor is true of a scene where all of its words are the scene's.
        is_so = {(name, word): own[name].to_numpy() == word for name in DESCRIBED for word in FACTORS[name]}
        truth = np.stack([np.all([is_so[one] for one in words.items()], axis=0) for _, words in bank], axis=1)
    images = np.asarray(pictures.images[rows[chosen]])
    masks = None if pictures.masks is None else np.asarray(pictures.masks[rows[chosen]])
    return Material(images, label[chosen], own["group_id"].to_numpy(), masks, truth)
