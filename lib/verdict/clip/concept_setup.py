"""What the page on concepts works with: encoders, classes, descriptors, shown pictures; and means over them.

Intervals resample groups of pictures. An encoder's relatives are looked at with the same pictures and words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from verdict import paths
from verdict.clip.bank import Descriptor, Material, bank_of, class_table, material
from verdict.clip.cache import EmbeddingCache
from verdict.clip.concepts import Seen, Words, look
from verdict.clip.variants import variants
from verdict.clip.words import class_vectors, prompts
from verdict.numbers import EXACT
from verdict.uncertainty import Interval

if TYPE_CHECKING:
    from verdict.clip.study import Study
    from verdict.stage import Stage


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
    folder = paths.embedding_cache(stage.profile)
    readers = {name: CachedReader(EmbeddingCache(folder, one, stage.progress)) for name, one in relatives.items()}
    shown = material(study.pictures, classes, bank, "test", n_images=settings.n_images)
    for name, value in {"n_images": len(shown), "n_classes": len(classes), "n_bank": len(bank)}.items():
        stage.number(f"concepts.{name}", value, unit="count", split="test")
    stage.number("concepts.n_models", len(readers), unit="count")
    words = known_words(study.encoder.tokenizer, [one.text for one in bank])
    stage.number("concepts.known_words", words, unit="%", kind=EXACT)
    return Setup(stage, study, readers, classes, bank, shown, tuple(study.pictures.templates))


def known_words(tokenizer: Any, texts: Sequence[str]) -> float:
    """Share of the words of some texts that a tokenizer knows as words; it spells the others.

    An encoder that was taught few words cannot tell apart descriptors that are made of others.
    """
    words = [word for text in texts for word in text.split()]
    return sum(len(tokenizer.tokenize(word)) == 1 for word in words) / len(words)


def mean_of(
    setup: Setup, values: np.ndarray, groups: np.ndarray | None = None, *, span: tuple[float, float] | None = None
) -> Interval:
    """Mean of one value a picture over resampled groups; pictures without a value (NaN) are left out.

    Parameters
    ----------
    setup : Setup
    values : (n,)
    groups : (n,), optional
        Of other pictures than the shown ones.
    span : (float, float), optional
        Smallest and largest value that a picture can have.
    """
    groups, values = setup.shown.groups if groups is None else groups, np.asarray(values, dtype=float)
    known = np.isfinite(values)
    return setup.stage.resampler(groups[known]).mean(values[known], span=span)


def store(setup: Setup, name: str, found: Interval, *, unit: str = "", n: int | None = None) -> None:
    """Store an interval as the number `concepts.<name>`."""
    n = len(setup.shown) if n is None else n
    setup.stage.numbers[f"concepts.{name}"] = found.number(n=n, split="test", unit=unit)
