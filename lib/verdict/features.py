"""Frozen computation, done once: images and hypotheses through the encoders' frozen prefixes, memory-mapped.

A pair is two row numbers into these arrays, so memory does not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict import paths
from verdict.artifacts import sha256_tree, write_npy, write_npy_rows, write_parquet
from verdict.backend import keras, keras_hub
from verdict.data.images import ImageStore
from verdict.model import FreezePlan, Network, build_network, build_prefix
from verdict.params import ModelParams


def resolve_preset(preset: str) -> str:
    """A preset that the package ships, a folder, or else a published preset's name, as `from_preset` takes it."""
    return str(paths.preset_folder(preset) or preset)


def preset_hash(preset: str) -> str:
    """SHA-256 of a local preset's files; a published preset is named by itself."""
    folder = paths.preset_folder(preset)
    return preset if folder is None else sha256_tree(folder)


@dataclass(frozen=True)
class Encoders:
    """Two backbones with their own preprocessing."""

    vision: keras_hub.models.ViTBackbone
    converter: keras_hub.layers.ImageConverter
    text: keras_hub.models.DistilBertBackbone
    preprocessor: keras_hub.models.DistilBertTextClassifierPreprocessor

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) that the vision backbone takes."""
        height, width, _ = self.vision.image_shape
        return int(height), int(width)

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, 3) at the backbone's size → float32 in the preset's own range."""
        if images.dtype != np.uint8 or images.shape[1:] != (*self.image_size, 3):
            raise ValueError(
                f"expected uint8 images of shape (n, {self.image_size}, 3), got {images.dtype} {images.shape}"
            )
        scale = np.asarray(1.0 if self.converter.scale is None else self.converter.scale, dtype=np.float32)
        offset = np.asarray(0.0 if self.converter.offset is None else self.converter.offset, dtype=np.float32)
        return images.astype(np.float32) * scale + offset

    def tokens(self, hypotheses: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Hypotheses → token ids and padding mask, both int32 (n, sequence_length)."""
        packed = self.preprocessor(hypotheses)
        ids = keras.ops.convert_to_numpy(packed["token_ids"]).astype(np.int32)
        return ids, keras.ops.convert_to_numpy(packed["padding_mask"]).astype(np.int32)


def load_encoders(params: ModelParams) -> Encoders:
    """Load both presets with their preprocessing, by name or folder."""
    vision, text = resolve_preset(params.vision_preset), resolve_preset(params.text_preset)
    return Encoders(
        vision=keras_hub.models.ViTBackbone.from_preset(vision),
        converter=keras_hub.layers.ImageConverter.from_preset(vision),
        text=keras_hub.models.DistilBertBackbone.from_preset(text),
        preprocessor=keras_hub.models.DistilBertTextClassifierPreprocessor.from_preset(
            text, sequence_length=params.sequence_length
        ),
    )


def load_network(params: ModelParams, *, dropout: float, seed: int, encoders: Encoders | None = None) -> Network:
    """The entailment network on the presets' weights, its head initialised by the seed.

    Encoders that are at hand become the network's; otherwise they are loaded.
    """
    encoders = encoders or load_encoders(params)
    keras.utils.set_random_seed(seed)
    return build_network(
        encoders.vision,
        encoders.text,
        sequence_length=params.sequence_length,
        heads=params.heads,
        key_dim=params.key_dim,
        mlp_dim=params.mlp_dim,
        dropout=dropout,
    )


def encode(
    params: ModelParams,
    pairs: pd.DataFrame,
    images: ImageStore,
    plans: Iterable[FreezePlan],
    out: Path,
    *,
    batch: int,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Run every image and every distinct hypothesis through the frozen prefixes of all plans, and store the results.

    Returns
    -------
    dict
        `n_images`, `n_hypotheses`, `n_truncated` (hypotheses longer than the sequence), `max_tokens`.
    """
    encoders = load_encoders(params)
    network = load_network(params, dropout=0.0, seed=0)
    plans = sorted(set(plans), key=lambda plan: (plan.vision_blocks, plan.text_blocks))
    image_ids = pd.unique(pairs["image_id"])
    write_parquet(out / "images.parquet", pd.DataFrame({"image_id": image_ids}))
    for blocks in sorted({plan.vision_blocks for plan in plans}):
        prefix, _ = build_prefix(network, FreezePlan(blocks, 0))

        def encode_images(part: slice, prefix: keras.Model = prefix) -> np.ndarray:
            shown = images.load(list(image_ids[part]), size=encoders.image_size)
            return prefix.predict_on_batch(encoders.pixels(shown))

        rows = _blocks(len(image_ids), batch, encode_images, lambda done: progress(f"images {done}/{len(image_ids)}"))
        write_npy_rows(out / f"image_tokens_{blocks}.npy", len(image_ids), rows)
    hypotheses = pd.unique(pairs["hypothesis"])
    write_parquet(out / "hypotheses.parquet", pd.DataFrame({"hypothesis": hypotheses}))
    token_ids, padding_mask = encoders.tokens(list(hypotheses))
    write_npy(out / "padding_mask.npy", padding_mask)
    for blocks in sorted({plan.text_blocks for plan in plans}):
        _, prefix = build_prefix(network, FreezePlan(0, blocks))

        def encode_words(part: slice, prefix: keras.Model = prefix) -> np.ndarray:
            return prefix.predict_on_batch({"token_ids": token_ids[part], "padding_mask": padding_mask[part]})

        rows = _blocks(
            len(hypotheses), batch, encode_words, lambda done: progress(f"hypotheses {done}/{len(hypotheses)}")
        )
        write_npy_rows(out / f"hidden_{blocks}.npy", len(hypotheses), rows)
    lengths = token_lengths(encoders, list(hypotheses))
    return {
        "n_images": len(image_ids),
        "n_hypotheses": len(hypotheses),
        "n_truncated": int((lengths > params.sequence_length).sum()),
        "max_tokens": int(lengths.max()),
    }


def token_lengths(encoders: Encoders, hypotheses: list[str]) -> np.ndarray:
    """Tokens of each hypothesis before truncation, [CLS] and [SEP] included."""
    tokenised = encoders.preprocessor.tokenizer(hypotheses)
    return np.asarray([len(tokens) + 2 for tokens in tokenised])


def _blocks(
    n: int, batch: int, compute: Callable[[slice], np.ndarray], progress: Callable[[int], None]
) -> Iterator[np.ndarray]:
    for start in range(0, n, batch):
        part = slice(start, min(start + batch, n))
        yield np.asarray(compute(part), dtype=np.float32)
        progress(part.stop)


def _read(path: Path) -> Any:
    """A table, or an array mapped into memory; a damaged file is refused by name."""
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"the feature cache {path} is damaged ({error}); delete its folder and run again") from error


@dataclass(frozen=True)
class Features:
    """Stored prefixes of one freeze plan.

    Attributes
    ----------
    image_tokens : (n_images, n_tokens, d_vision) float32, memory-mapped
    hidden : (n_hypotheses, n_words or 1, d_text) float32, memory-mapped
    padding_mask : (n_hypotheses, n_words) int32
    """

    image_rows: pd.Series
    text_rows: pd.Series
    image_tokens: np.ndarray
    hidden: np.ndarray
    padding_mask: np.ndarray

    @classmethod
    def open(cls, folder: Path, plan: FreezePlan) -> Features:
        """Open what `encode` stored for a plan.

        Raises
        ------
        FileNotFoundError
            If the plan's depth was not encoded.
        ValueError
            If a file is damaged, or the arrays and their indexes disagree in length (a truncated cache).
        """
        ids = _read(folder / "images.parquet")["image_id"]
        texts = _read(folder / "hypotheses.parquet")["hypothesis"]
        tokens = _read(folder / f"image_tokens_{plan.vision_blocks}.npy")
        hidden = _read(folder / f"hidden_{plan.text_blocks}.npy")
        mask = np.array(_read(folder / "padding_mask.npy"))
        if len(tokens) != len(ids) or not len(hidden) == len(mask) == len(texts):
            raise ValueError(f"the feature cache in {folder} is damaged: its arrays and indexes differ in length")
        rows = {
            "image_rows": pd.Series(np.arange(len(ids)), index=ids),
            "text_rows": pd.Series(np.arange(len(texts)), index=texts),
        }
        return cls(**rows, image_tokens=tokens, hidden=hidden, padding_mask=mask)

    def rows(self, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (int64) of each pair's image and hypothesis.

        Raises
        ------
        KeyError
            If a pair's image or hypothesis was not encoded; the message names the first.
        """
        found = []
        for column, index in (("image_id", self.image_rows), ("hypothesis", self.text_rows)):
            rows = index.reindex(pairs[column])
            if rows.isna().any():
                raise KeyError(f"{column} {rows.index[rows.isna()][0]!r} is not in the feature cache; encode it first")
            found.append(rows.to_numpy(dtype=np.int64))
        return found[0], found[1]
