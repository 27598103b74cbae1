"""What every page on the dual encoder opens: pictures, their embeddings, the encoder, and texts encoded once.

The stage without a notebook builds the pictures and encodes them; pages read them, and encode what is new (texts,
changed pictures) through a cache that all stages of a profile share.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import (
    content_hash,
    package_versions,
    read_json,
    sha256_bytes,
    write_json,
    write_npy,
    write_text,
)
from verdict.base.numbers import SETTING, Number
from verdict.base.params import ClipParams
from verdict.clip import SHIPPED, TRAINED
from verdict.clip.pictures.sources import SPLITS, Pictures, build
from verdict.clip.pictures.words import class_vectors
from verdict.workflow.code_digest import library_files
from verdict.workflow.stage import Stage
from verdict.workflow.stages import CLIP_EMBEDDINGS, CLIP_MODEL

if TYPE_CHECKING:
    from verdict.clip.encoder.encode import DualEncoder


def array_hash(array: np.ndarray) -> str:
    """Hash of an array's type, shape and values."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


@functools.cache
def made_with() -> str:
    """Hash of what makes an embedding of an input, besides the encoder: the code that encodes, and the libraries."""
    files = library_files(["import verdict.clip.encoder.encode"])
    return content_hash([package_versions(), [sha256_bytes(file.read_bytes()) for file in files]])


@dataclass(frozen=True)
class EmbeddingCache:
    """Embeddings of one encoder, computed once: keyed by encoder, input, code and versions, memory-mapped read-only;
    `progress` is told how far an encoding has come.
    """

    folder: Path
    encoder: DualEncoder
    progress: Callable[[str], None] = lambda text: None

    def images(self, images: np.ndarray) -> np.ndarray:
        """Embeddings of uint8 images (n, h, w, 3): float32 (n, d), unit length."""
        return self._get("images", array_hash(images), images)

    def patches(self, images: np.ndarray) -> np.ndarray:
        """Patch tokens of uint8 images: float32 (n, grid * grid, d), unit length."""
        return self._get("patches", array_hash(images), images)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts: float32 (n, d), unit length."""
        return self._get("texts", content_hash(list(texts)), list(texts))

    def _get(self, kind: str, data: str, inputs: np.ndarray | list[str]) -> np.ndarray:
        path = self.folder / f"{kind}-{content_hash([self.encoder.identity, kind, data, made_with()])}.npy"
        if not path.is_file():
            write_npy(path, getattr(self.encoder, kind)(inputs, progress=self.progress))
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"the embedding cache {path} is damaged ({error}); delete it and run again") from error
        if len(found) != len(inputs):
            raise ValueError(f"the embedding cache {path} is damaged: {len(found)} rows for {len(inputs)}; delete it")
        return found


@dataclass(frozen=True, eq=False)
class EmbeddedPictures:
    """Pictures with embeddings (n, d) of unit length, all memory-mapped, and the encoder that made them.

    `facts` about it: name, revision, identity, logit_scale, grid, n_params, preset.
    """

    pictures: Pictures
    embeddings: np.ndarray
    facts: dict[str, Any]
    stage: Stage

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with to be logits."""
        return float(self.facts["logit_scale"])

    @property
    def model_line(self) -> str:
        """One line that says which model a page shows."""
        told = encoder_number(self.facts, self.stage.params.clip.source).text
        return f"{self.facts['name']}, {told}, logit scale {self.logit_scale:.3g}"

    @cached_property
    def encoder(self) -> DualEncoder:
        """The encoder, loaded when it is first needed; a ValueError if it is not the one that made the embeddings."""
        loaded = load_encoder(self.stage.params.clip, self.facts["preset"])
        if loaded.identity != self.facts["identity"]:
            raise ValueError(f"{loaded.name} is not the encoder that made the embeddings; run {CLIP_EMBEDDINGS} again")
        return loaded

    @cached_property
    def cache(self) -> EmbeddingCache:
        """Where this encoder's embeddings are kept."""
        return cache_of(self.stage, self.encoder)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split."""
        return self.pictures.rows(split)

    def of(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embeddings (n, d), class ids (n,) and groups (n,) of a split."""
        rows = self.rows(split)
        table = self.pictures.table.iloc[rows]
        return np.asarray(self.embeddings[rows]), table["y"].to_numpy(), table["group_id"].to_numpy()

    def classes(
        self, templates: Sequence[str] | None = None, *, names: Sequence[str] | None = None, is_clean: bool = True
    ) -> np.ndarray:
        """Text vectors of classes, float32 (n_classes, d), unit length; by default of all templates and classes."""
        named = self.pictures.class_names if names is None else names
        return class_vectors(self.cache.texts, named, templates or self.pictures.templates, is_clean=is_clean)


def cache_of(stage: Stage, encoder: DualEncoder) -> EmbeddingCache:
    """The cache of a stage's profile for one encoder."""
    return EmbeddingCache(paths.work_dir(stage.profile) / "embeddings", encoder, stage.progress)


def encoder_number(facts: Mapping[str, Any], source: str | None) -> Number:
    """How many weights the encoder has; its unit says which one it is and what it was taught on.

    So every sentence that holds `clip.encoder` says it, the index included.
    """
    here = " like those shown here" if source == "digits" else ""
    known = {SHIPPED: f"captions of generated pictures of handwritten digits{here}", TRAINED: "the train split itself"}
    own = f"{facts['name']}{' at ' + facts['revision'][:12] if facts['revision'] else ''}; taught elsewhere"
    taught = f"taught on {known[facts['name']]}" if facts["name"] in known else own
    return Number(float(facts["n_params"]), unit=f"weights ({taught})", kind=SETTING)


def load_encoder(params: ClipParams, preset: str) -> DualEncoder:
    """The encoder of a preset, with the batch and threads of the parameters."""
    with warnings.catch_warnings():
        # A kernel has no widgets for progress bars, and none are shown.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from verdict.clip.encoder.encode import DualEncoder

    return DualEncoder.from_preset(preset, params.revision, batch=params.batch, threads=params.threads)


def embed(stage: Stage) -> None:
    """The stage without a notebook: build the pictures, encode them once, say with what."""
    params: ClipParams = stage.params.clip
    is_own = params.preset == TRAINED
    preset = str((stage.upstream_folder(CLIP_MODEL) / "model").relative_to(paths.ROOT)) if is_own else params.preset
    encoder = load_encoder(params, str(paths.ROOT / preset) if is_own else preset)
    pictures = build(params, px=encoder.image_px)
    write_npy(stage.path("images.npy"), pictures.images)
    write_npy(stage.path("embeddings.npy"), np.asarray(cache_of(stage, encoder).images(pictures.images)))
    if pictures.masks is not None:
        write_npy(stage.path("masks.npy"), pictures.masks)
    facts = {name: getattr(encoder, name) for name in ("name", "revision", "identity", "logit_scale", "grid")}
    facts |= {"n_params": encoder.model.num_parameters(), "preset": preset} | ({"name": TRAINED} if is_own else {})
    words = {"class_names": pictures.class_names, "templates": pictures.templates}
    if pictures.attribution:
        write_text(stage.path("attribution.txt"), pictures.attribution)
    stage.numbers["clip.encoder"] = encoder_number(facts, params.source)
    write_json(stage.path("encoder.json"), facts | words)
    for split in SPLITS:
        stage.number(f"clip.n_{split}", len(pictures.rows(split)), unit="count", split=split)
    stage.save(pictures=pictures.table)


def open_embeddings(stage: Stage) -> EmbeddedPictures:
    """Open what `embed` stored, verified against its record; the stage gets the number `clip.encoder`."""
    home = stage.upstream_folder(CLIP_EMBEDDINGS)
    facts = read_json(home / "encoder.json")
    if stage.params.clip.preset == TRAINED:
        facts["preset"] = str(paths.ROOT / facts["preset"])
    stage.numbers["clip.encoder"] = encoder_number(facts, stage.params.clip.source)
    arrays = {name: np.load(home / f"{name}.npy", mmap_mode="r") for name in ("images", "embeddings")}
    masks = np.load(home / "masks.npy", mmap_mode="r") if (home / "masks.npy").is_file() else None
    words = (tuple(facts.pop("class_names")), tuple(facts.pop("templates")))
    table = pd.read_parquet(home / "pictures.parquet")
    pictures = Pictures(arrays["images"], table, *words, masks)
    return EmbeddedPictures(pictures, arrays["embeddings"], facts, stage)
