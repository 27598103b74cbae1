"""Pictures, classes and descriptors that the page on concepts works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from verdict.clip.pictures import Pictures
from verdict.clip.scenes import FACTORS, caption
from verdict.params import ConceptsParams

DESCRIBED = tuple(name for name in FACTORS if name != "digit")
MAX_NAMED = 2


@dataclass(frozen=True, eq=False)
class Material:
    """n pictures of one split with what is known of them.

    Attributes
    ----------
    images : uint8, (n, height, width, 3)
    y_true : int, (n,)
        Index into the classes.
    groups : (n,)
        The independent unit of each picture.
    masks : bool, (n, height, width), or None
        Where the object is.
    is_held_out : bool, (n,), or None
        Whether the class was kept from the training of the shipped encoder.
    truth : bool, (n, D), or None
        Whether each descriptor is true of each picture.
    """

    images: np.ndarray
    y_true: np.ndarray
    groups: np.ndarray
    masks: np.ndarray | None
    is_held_out: np.ndarray | None
    truth: np.ndarray | None

    def __len__(self) -> int:
        return len(self.y_true)


@dataclass(frozen=True)
class Descriptor:
    """A phrase of the bank, and the words of factors that it names; none where nothing is known of it."""

    text: str
    words: tuple[tuple[str, str], ...] = ()


def scene_bank() -> list[Descriptor]:
    """Every phrase that names one or two factors of a scene but the digit: "a red digit", "a small digit on the left".

    Like the descriptors of the study it names no class.
    """
    bank = []
    for size in range(1, MAX_NAMED + 1):
        for named in combinations(DESCRIBED, size):
            for values in product(*(FACTORS[name] for name in named)):
                words = dict(zip(named, values, strict=True))
                bank.append(Descriptor(caption(words, named), tuple(words.items())))
    return bank


def bank_of(pictures: Pictures, settings: ConceptsParams) -> list[Descriptor]:
    """The descriptors of the parameters, or those of the grammar of scenes.

    Raises
    ------
    ValueError
        If there are neither, or fewer than the study needs.
    """
    bank = [Descriptor(text) for text in settings.bank] or (scene_bank() if _are_scenes(pictures) else [])
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
    if not _are_scenes(pictures):
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
    """The pictures of a split that show one of the classes, at most `n_images` of each, in the order of the split.

    Raises
    ------
    ValueError
        If a class has no picture in the split.
    """
    rows = pictures.rows(split)
    table = pictures.table.iloc[rows].reset_index(drop=True)
    label = _labels(table, classes, pictures)
    place = table.assign(label=label).groupby("label").cumcount().to_numpy()
    chosen = np.flatnonzero((label >= 0) & (place < (len(table) if n_images is None else n_images)))
    if missing := sorted(set(range(len(classes))) - set(label[chosen])):
        raise ValueError(
            f"the split {split} shows no {classes['name'].iloc[missing[0]]!r}; concepts.n_classes is too large"
        )
    own, y_true = table.iloc[chosen], label[chosen]
    return Material(
        np.asarray(pictures.images[rows[chosen]]),
        y_true,
        own["group_id"].to_numpy(),
        None if pictures.masks is None else np.asarray(pictures.masks[rows[chosen]]),
        classes["held_out"].to_numpy(dtype=bool)[y_true] if "held_out" in classes else None,
        truth_table(own, bank) if _are_scenes(pictures) and bank[0].words else None,
    )


def truth_table(table: pd.DataFrame, bank: Sequence[Descriptor]) -> np.ndarray:
    """Whether each descriptor is true of each row: all of its words are those of the scene, bool (n, D)."""
    is_word = {(name, word): (table[name] == word).to_numpy() for name in DESCRIBED for word in FACTORS[name]}
    return np.stack([np.logical_and.reduce([is_word[pair] for pair in one.words]) for one in bank], axis=1)


def _labels(table: pd.DataFrame, classes: pd.DataFrame, pictures: Pictures) -> np.ndarray:
    """Index of each row's class, -1 for another."""
    if "colour" in classes:
        names = (table["colour"] + " " + table["digit"]).to_numpy()
    else:
        names = np.array(pictures.class_names, dtype=object)[table["y"]]
    return pd.Index(classes["name"]).get_indexer(names)


def _are_scenes(pictures: Pictures) -> bool:
    return set(FACTORS) <= set(pictures.table)
