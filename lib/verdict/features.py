"""Frozen computation, done once: images and hypotheses through the encoders' frozen prefixes, memory-mapped.

A pair is two row numbers into these arrays, so memory does not grow with the number of pairs. Augmented views of the
training images are stored beside the plain images, once, so that an epoch chooses rows and encodes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from verdict import augment, paths, stages
from verdict.artifacts import sha256_tree, write_json, write_npy, write_npy_rows, write_parquet
from verdict.backend import has_gpu, keras, keras_hub, set_threads
from verdict.data.images import ImageStore
from verdict.labels import Split
from verdict.model import FreezePlan, Network, build_network, build_prefix
from verdict.params import ModelParams, PhotometricParams
from verdict.place import n_processors
from verdict.stage import Stage

# What a pair of which one side is blank has for a hypothesis.
EMPTY_TEXT = ""
# Batches that are decoded while a GPU computes; a CPU is busy with its own batch.
DECODED_AHEAD = 2
# What is copied at a time when shards are put together.
JOINED_BYTES = 64_000_000


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
        return self._in_range_of_preset(images.astype(np.float32))

    def unit_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, H, W, 3) in [0, 1] at the backbone's size → float32 in the preset's own range."""
        if images.dtype != np.float32 or images.shape[1:] != (*self.image_size, 3):
            raise ValueError(
                f"expected float32 images of shape (n, {self.image_size}, 3), got {images.dtype} {images.shape}"
            )
        return self._in_range_of_preset(255 * images)

    def _in_range_of_preset(self, values: np.ndarray) -> np.ndarray:
        """Values in [0, 255] by the preset's own conversion."""
        scale = np.asarray(1.0 if self.converter.scale is None else self.converter.scale, dtype=np.float32)
        offset = np.asarray(0.0 if self.converter.offset is None else self.converter.offset, dtype=np.float32)
        np.multiply(values, scale, out=values)
        return np.add(values, offset, out=values)

    def pieces(self, hypotheses: list[str]) -> list[list[int]]:
        """Word pieces of each hypothesis, neither truncated nor with [CLS] and [SEP]."""
        # Called as a layer, the tokenizer takes most of its time to look through nested lists for tensors.
        return [list(map(int, found)) for found in self.preprocessor.tokenizer.tokenize(hypotheses)]

    def packed(self, pieces: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Word pieces → token ids and padding mask as the preprocessor gives them, int32 (n, sequence_length)."""
        tokenizer, length = self.preprocessor.tokenizer, self.preprocessor.sequence_length
        ids = np.full((len(pieces), length), tokenizer.pad_token_id, dtype=np.int32)
        for row, found in zip(ids, pieces, strict=True):
            whole = [tokenizer.start_token_id, *found[: length - 2], tokenizer.end_token_id]
            row[: len(whole)] = whole
        return ids, (ids != tokenizer.pad_token_id).astype(np.int32)

    def tokens(self, hypotheses: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Hypotheses → token ids and padding mask, both int32 (n, sequence_length)."""
        return self.packed(self.pieces(hypotheses))


def load_encoders(params: ModelParams, *, dtype: str = "float32") -> Encoders:
    """Load both presets with their preprocessing, by name or folder; `dtype` is a Keras dtype policy."""
    vision, text = resolve_preset(params.vision_preset), resolve_preset(params.text_preset)
    return Encoders(
        vision=keras_hub.models.ViTBackbone.from_preset(vision, dtype=dtype),
        converter=keras_hub.layers.ImageConverter.from_preset(vision),
        text=keras_hub.models.DistilBertBackbone.from_preset(text, dtype=dtype),
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
    views: Mapping[int, int] = MappingProxyType({}),
    photometric: PhotometricParams | None = None,
    precision: str = "float32",
    shard: tuple[int, int] = (0, 1),
    shards: Sequence[Path] = (),
    encoders: Encoders | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Run every image and every distinct hypothesis through the frozen prefixes of all plans, and store the results.

    The empty hypothesis is stored as well, for the control that is shown nothing else.

    Parameters
    ----------
    views : mapping of vision_blocks to number of views
        Depths at which augmented views of the training images are stored, and how many of each image.
    photometric : PhotometricParams, optional
        How views are made; needed where there are any.
    precision : {"float32", "bfloat16"}
        In what the prefixes compute on a GPU; weights stay float32, and a CPU computes in float32.
    shard : (int, int)
        Which part of how many to encode, counted from 0. Parts are whole batches, and each batch is the same however
        many parts there are, so that parts put together are, bit for bit, what one run stores.
    shards : sequence of Path
        Folders of all parts in their order: they are put together, and nothing is encoded.
    encoders : Encoders, optional
        Instead of the parameters' presets.

    Returns
    -------
    dict
        `n_images`, `n_hypotheses`, `n_truncated` (hypotheses longer than the sequence), `max_tokens`.
    """
    policy = "mixed_bfloat16" if precision == "bfloat16" and has_gpu() else "float32"
    encoders, depths = encoders or load_encoders(params, dtype=policy), set(plans)
    network = load_network(params, dropout=0.0, seed=0, encoders=encoders)
    run = _Encoding(network, encoders, out, batch, params.feature_dtype, progress, shard, tuple(shards))
    run.images(images, list(pd.unique(pairs["image_id"])), {plan.vision_blocks for plan in depths})
    if views and photometric is not None:
        run.views(images, list(pd.unique(pairs.loc[pairs["split"] == Split.TRAIN, "image_id"])), views, photometric)
    hypotheses = [str(text) for text in pd.unique(pairs["hypothesis"])]
    pieces = encoders.pieces([*hypotheses, EMPTY_TEXT])
    run.words(dict(zip([*hypotheses, EMPTY_TEXT], pieces, strict=True)), {plan.text_blocks for plan in depths})
    lengths = np.asarray([len(found) + 2 for found in pieces[: len(hypotheses)]])
    return {
        "n_images": pairs["image_id"].nunique(),
        "n_hypotheses": len(hypotheses),
        "n_truncated": int((lengths > params.sequence_length).sum()),
        "max_tokens": int(lengths.max()),
    }


def encode_pairs(stage: Stage) -> None:
    """The stage without a notebook: encode every image and hypothesis of the pair table, or put its shards together."""
    params = stage.all_params
    run = params.execution
    set_threads(run.threads)
    pairs = stage.pairs()
    workers = n_processors() if run.decode_threads == "auto" else run.decode_threads
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent, workers=workers)
    counts = encode(
        params.model,
        pairs,
        images,
        [FreezePlan(*plan) for plan in stages.plans(params)],
        stage.folder,
        batch=run.feature_batch,
        precision=run.precision,
        shard=(0, 1) if stage.shard is None else (stage.shard, run.feature_shards),
        shards=stage.shards(run.feature_shards) if stage.shard is None else (),
        views=dict(stages.views(params)),
        photometric=params.training.photometric,
        progress=stage.progress,
    )
    for key, value in counts.items():
        stage.number(f"features.{key}", value, unit="count")
    hashes = {name: preset_hash(name) for name in (params.model.vision_preset, params.model.text_preset)}
    write_json(stage.path("presets.json"), hashes)
    stage.save()


@dataclass(frozen=True)
class _Encoding:
    """The prefixes that inputs run through, and where the results go."""

    network: Network
    encoders: Encoders
    out: Path
    batch: int
    dtype: str
    progress: Callable[[str], None]
    shard: tuple[int, int] = (0, 1)
    shards: tuple[Path, ...] = ()

    def images(self, store: ImageStore, image_ids: list[str], depths: set[int]) -> None:
        """Plain images: one row each, in the order of `images.parquet`."""
        write_parquet(self.out / "images.parquet", pd.DataFrame({"image_id": image_ids}))
        for blocks in sorted(depths):
            prefix, _ = build_prefix(self.network, FreezePlan(blocks, 0))

            def load(part: slice) -> np.ndarray:
                return self.encoders.pixels(store.load(image_ids[part], size=self.encoders.image_size))

            self._write(f"image_tokens_{blocks}.npy", "images", len(image_ids), prefix, [load])

    def views(
        self, store: ImageStore, image_ids: list[str], views: Mapping[int, int], photometric: PhotometricParams
    ) -> None:
        """Augmented views: view 1 of every image of `views.parquet`, then view 2, and so on."""
        write_parquet(self.out / "views.parquet", pd.DataFrame({"image_id": image_ids}))
        for blocks, n_views in sorted(views.items()):
            prefix, _ = build_prefix(self.network, FreezePlan(blocks, 0))

            def load(part: slice, view: int) -> np.ndarray:
                plain = store.load(image_ids[part], size=self.encoders.image_size).astype(np.float32) / 255
                shown = augment.photometric(plain, image_ids[part], photometric, view=view)
                return self.encoders.unit_pixels(shown)

            passes = [partial(load, view=view) for view in range(1, n_views + 1)]
            self._write(f"image_views_{blocks}.npy", "views", len(image_ids), prefix, passes)

    def words(self, texts: dict[str, list[int]], depths: set[int]) -> None:
        """Hypotheses with their word pieces: one row each, in the order of `hypotheses.parquet`."""
        write_parquet(self.out / "hypotheses.parquet", pd.DataFrame({"hypothesis": list(texts)}))
        token_ids, padding_mask = self.encoders.packed(list(texts.values()))
        write_npy(self.out / "padding_mask.npy", padding_mask)
        for blocks in sorted(depths):
            _, prefix = build_prefix(self.network, FreezePlan(0, blocks))

            def load(part: slice) -> dict[str, np.ndarray]:
                return {"token_ids": token_ids[part], "padding_mask": padding_mask[part]}

            self._write(f"hidden_{blocks}.npy", "hypotheses", len(texts), prefix, [load])

    def _write(self, file: str, kind: str, n: int, prefix: keras.Model, passes: list[Callable[[slice], Any]]) -> None:
        """Write what the prefix gives for n inputs, one pass over them after the other, batch by batch."""
        if self.shards:
            write_npy_rows(self.out / file, len(passes) * n, _joined([folder / file for folder in self.shards]))
            return
        parts = [slice(start, min(start + self.batch, n)) for start in range(0, n, self.batch)]
        jobs = [(load, part) for load in passes for part in parts]
        number, count = self.shard
        own = jobs[len(jobs) * number // count : len(jobs) * (number + 1) // count]
        n_rows = sum(part.stop - part.start for _, part in own)
        done = np.cumsum([part.stop - part.start for _, part in own])
        # The output takes the stored type where it is computed, so that less is copied from a GPU.
        stored = keras.Model(prefix.input, keras.layers.Identity(dtype=self.dtype)(prefix.output))

        def blocks() -> Iterator[np.ndarray]:
            inputs = ahead([partial(load, part) for load, part in own], DECODED_AHEAD * has_gpu())
            for so_far, loaded in zip(done, inputs, strict=True):
                block = stored.predict_on_batch(loaded)
                if self.dtype != "float32" and not np.isfinite(block).all():
                    raise ValueError(f"{file}: values beyond {self.dtype}; set model.feature_dtype to float32")
                yield block
                self.progress(f"{kind} {so_far}/{n_rows}")

        if own:
            write_npy_rows(self.out / file, n_rows, blocks())


def _joined(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """Rows of one array after those of another, a bounded number at a time; a part with no batch has no file."""
    for file in files:
        if file.is_file():
            rows = _read(file)
            step = max(1, JOINED_BYTES // max(1, rows[:1].nbytes))
            yield from (rows[start : start + step] for start in range(0, len(rows), step))


def ahead(jobs: list[Callable[[], Any]], n: int) -> Iterator[Any]:
    """Results of jobs in their order, up to n of the following ones computed in threads meanwhile."""
    if n == 0:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(n) as pool:
        waiting: deque[Future[Any]] = deque()
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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

    @staticmethod
    def files(plan: FreezePlan) -> tuple[str, ...]:
        """Names of the files that `open` reads for a plan."""
        stored = (f"image_tokens_{plan.vision_blocks}.npy", f"hidden_{plan.text_blocks}.npy", "padding_mask.npy")
        return ("images.parquet", "hypotheses.parquet", *stored)

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


@dataclass(frozen=True)
class Views:
    """Stored augmented views of the training images at one depth of vision.

    Attributes
    ----------
    features : Features
        The plan's, with the views in the place of the plain images: `image_tokens` is
        (n_stored_views * n_images, n_tokens, d_vision), memory-mapped; view v of image i is row (v - 1) * n_images + i.
    image_ids : tuple of str, length n_images
        The images that have views.
    place : (n_plain_images,) int64
        Number i of each plain image, -1 for one without views.
    n_views : int
        How many of the stored views are in use, the first ones.
    """

    features: Features
    image_ids: tuple[str, ...]
    place: np.ndarray
    n_views: int

    @classmethod
    def open(cls, folder: Path, plan: FreezePlan, n_views: int) -> Views:
        """Open the views that `encode` stored at a plan's depth.

        Raises
        ------
        FileNotFoundError
            If there are none at this depth.
        ValueError
            If there are fewer than asked for, or the cache is damaged.
        """
        plain = Features.open(folder, plan)
        image_ids = _read(folder / "views.parquet")["image_id"]
        tokens = _read(folder / f"image_views_{plan.vision_blocks}.npy")
        n_stored, rest = divmod(len(tokens), len(image_ids))
        if rest or not plain.image_rows.index.isin(image_ids).sum() == len(image_ids):
            raise ValueError(f"the feature cache in {folder} is damaged: its views and their index disagree")
        if n_stored < n_views:
            raise ValueError(
                f"{n_views} views of each image are asked for, {n_stored} are in the feature cache {folder}"
            )
        place = np.full(len(plain.image_rows), -1, dtype=np.int64)
        place[plain.image_rows[image_ids].to_numpy()] = np.arange(len(image_ids))
        return cls(replace(plain, image_tokens=tokens), tuple(image_ids), place, n_views)

    @staticmethod
    def files(plan: FreezePlan) -> tuple[str, ...]:
        """Names of the files that `open` reads for a plan."""
        return (*Features.files(plan), "views.parquet", f"image_views_{plan.vision_blocks}.npy")

    def rows(self, images: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
        """Rows of the views that plain images (row numbers, int64 (n_pairs,)) show in an epoch.

        All pairs of an image show the same view.

        Raises
        ------
        KeyError
            If an image has no views: only training images have.
        """
        if (self.place[images] < 0).any():
            missing = self.features.image_rows.index[images[self.place[images] < 0][0]]
            raise KeyError(f"image {missing!r} has no augmented views; only training images have")
        view = augment.view_of_epoch(self.image_ids, self.n_views, seed=seed, epoch=epoch)
        place = self.place[images]
        return (view[place] - 1) * len(self.image_ids) + place
