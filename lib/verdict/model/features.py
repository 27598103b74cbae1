"""Frozen computation, done once: images and hypotheses through the encoders' frozen prefixes, memory-mapped.

A pair is two row numbers into these arrays, so memory does not grow with the number of pairs. Augmented views of the
training images are stored beside the plain images, once, so that an epoch chooses rows and encodes nothing.
"""

from __future__ import annotations

import contextlib
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

from verdict.base import paths
from verdict.base.artifacts import npy_rows, sha256_tree, write_json, write_npy, write_parquet
from verdict.base.files.images import ImageStore
from verdict.base.labels import Split
from verdict.base.params import ModelParams, PhotometricParams
from verdict.model import augment
from verdict.model.backend import IS_TORCH, has_gpu, keras, keras_hub, set_threads
from verdict.model.network import FreezePlan, Network, build_network, text_prefix, vision_prefix
from verdict.workflow import stages
from verdict.workflow.place import n_processors
from verdict.workflow.stage import Stage

# From a batch of pixels or words to an array for each depth.
Prefix = Callable[[Any], list[np.ndarray]]
# Means over tokens at every depth, of images and of hypotheses: distances are measured in them.
MEANS = ("image_means.npy", "text_means.npy")
# The hypothesis of every pair in a trial that hides the text.
EMPTY_TEXT = ""
# Batches that are decoded while a GPU computes; a CPU is busy with its own batch.
DECODED_AHEAD = 2
# Copied at a time when shards are joined.
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
        return self._in_range_of_preset(images, np.uint8, 1)

    def unit_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, H, W, 3) in [0, 1] at the backbone's size → float32 in the preset's own range."""
        return self._in_range_of_preset(images, np.float32, 255)

    def _in_range_of_preset(self, images: np.ndarray, dtype: type, levels: int) -> np.ndarray:
        if images.dtype != dtype or images.shape[1:] != (*self.image_size, 3):
            wanted = f"{np.dtype(dtype)} images of shape (n, {self.image_size}, 3)"
            raise ValueError(f"expected {wanted}, got {images.dtype} {images.shape}")
        values = levels * images.astype(np.float32)
        for change, value in ((np.multiply, self.converter.scale), (np.add, self.converter.offset)):
            if value is not None:
                change(values, np.asarray(value, dtype=np.float32), out=values)
        return values

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


def load_encoders(params: ModelParams, *, precision: str = "float32") -> Encoders:
    """Load both presets with their preprocessing; `precision`: in what they compute on a GPU, see `encode`."""
    dtype = "mixed_bfloat16" if precision == "bfloat16" and has_gpu() else "float32"
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

    Beside them `MEANS`, (n, n_blocks + 1, d): means over tokens at every depth, the last first; and the empty
    hypothesis, for the control that is shown nothing else. `views`: number of augmented views of the training images by
    vision_blocks, view 1 of every image, then view 2, and so on. `precision`, float32 or bfloat16: in what prefixes
    compute on a GPU; weights stay float32, and a CPU computes in float32. `shard`: which part of how many to encode,
    from 0; parts are whole batches, so that parts put together are, bit for bit, what one run stores. `shards`: folders
    of all parts in their order; they are put together, and nothing is encoded.

    Returns `n_images`, `n_hypotheses`, `n_truncated` (hypotheses longer than the sequence), `max_tokens`.
    """
    encoders, plans = encoders or load_encoders(params, precision=precision), list(plans)
    network = load_network(params, dropout=0.0, seed=0, encoders=encoders)
    for plan in plans:
        plan.check(network)
    prefix = partial(frozen_prefix, network, dtype=params.feature_dtype)
    writer = _Writer(out, batch, shard, shards, progress)
    image_ids = list(pd.unique(pairs["image_id"]))
    write_parquet(out / "images.parquet", pd.DataFrame({"image_id": image_ids}))
    depths, plain = sorted({plan.vision_blocks for plan in plans}), partial(_pixels, encoders, images, image_ids)
    files = [*(f"image_tokens_{depth}.npy" for depth in depths), MEANS[0]]
    writer.write("images", files, prefix("vision", depths, means=True), len(image_ids), [plain])
    if views:
        shown = list(pd.unique(pairs.loc[pairs["split"] == Split.TRAIN, "image_id"]))
        write_parquet(out / "views.parquet", pd.DataFrame({"image_id": shown}))
    for depth, n_views in sorted(views.items()):
        passes = [partial(_augmented_pixels, encoders, images, shown, photometric, v + 1) for v in range(n_views)]
        writer.write("views", [f"image_views_{depth}.npy"], prefix("vision", [depth]), len(shown), passes)
    counts = _encode_hypotheses(encoders, pairs, sorted({plan.text_blocks for plan in plans}), prefix, writer)
    return {"n_images": len(image_ids), **counts}


@dataclass(frozen=True)
class _Writer:
    """Where and in which parts `encode` writes."""

    out: Path
    batch: int
    shard: tuple[int, int]
    shards: Sequence[Path]
    progress: Callable[[str], None]

    def write(self, kind: str, files: list[str], frozen: Prefix, n: int, passes: list[Callable[[slice], Any]]) -> None:
        """Write what a prefix gives for n inputs, a file for each of its outputs; one pass after the other."""
        if self.shards:
            for file in files:
                _write_joined(self.out / file, len(passes) * n, [folder / file for folder in self.shards])
            return
        parts = [slice(start, min(start + self.batch, n)) for start in range(0, n, self.batch)]
        jobs, (place, n_parts) = [partial(load, part) for load in passes for part in parts], self.shard
        own = slice(len(jobs) * place // n_parts, len(jobs) * (place + 1) // n_parts)
        n_own = sum(part.stop - part.start for part in (parts * len(passes))[own])
        targets = [self.out / file for file in files]
        _write_encoded(targets, frozen, jobs[own], n_own, lambda told: self.progress(f"{kind} {told}"))


def _encode_hypotheses(
    encoders: Encoders, pairs: pd.DataFrame, depths: list[int], prefix: Callable[..., Prefix], writer: _Writer
) -> dict[str, int]:
    """Write every distinct hypothesis' hidden states at some depths; the counts of `encode` that are about them."""
    texts = [*map(str, pd.unique(pairs["hypothesis"])), EMPTY_TEXT]
    pieces = encoders.pieces(texts)
    hypotheses = dict(zip(texts, pieces, strict=True))
    token_ids, padding_mask = encoders.packed(list(hypotheses.values()))
    write_parquet(writer.out / "hypotheses.parquet", pd.DataFrame({"hypothesis": list(hypotheses)}))
    write_npy(writer.out / "padding_mask.npy", padding_mask)
    words = [lambda part: {"token_ids": token_ids[part], "padding_mask": padding_mask[part]}]
    files = [*(f"hidden_{depth}.npy" for depth in depths), MEANS[1]]
    writer.write("hypotheses", files, prefix("text", depths, means=True), len(hypotheses), words)
    lengths = np.asarray([len(found) + 2 for found in pieces[:-1]])
    n_truncated = int((lengths > encoders.preprocessor.sequence_length).sum())
    return {"n_hypotheses": len(texts) - 1, "n_truncated": n_truncated, "max_tokens": int(lengths.max())}


def _pixels(encoders: Encoders, images: ImageStore, image_ids: list[str], part: slice) -> np.ndarray:
    return encoders.pixels(images.load(image_ids[part], size=encoders.image_size))


def _augmented_pixels(
    encoders: Encoders, images: ImageStore, image_ids: list[str], ranges: PhotometricParams, view: int, part: slice
) -> np.ndarray:
    unit = images.load(image_ids[part], size=encoders.image_size).astype(np.float32) / 255
    return encoders.unit_pixels(augment.photometric(unit, image_ids[part], ranges, view=view))


def frozen_prefix(
    network: Network, side: str, depths: list[int], *, dtype: str = "float32", means: bool = False
) -> Prefix:
    """The frozen part of one side, "vision" or "text", cut at some depths: from a batch to an array of a type for each.

    With `means` one more, see `network.vision_prefix`.
    """
    # What a GPU computes in fewer bits, Keras' policy says.
    if IS_TORCH and network.vision.compute_dtype == "float32":
        from verdict.model.direct import encode_images, encode_words

        return partial({"vision": encode_images, "text": encode_words}[side], network, depths, dtype, means)
    prefix = {"vision": vision_prefix, "text": text_prefix}[side](network, depths, means=means)
    # The output takes the stored type where it is computed, so that less is copied from a GPU.
    stored = keras.Model(prefix.input, [keras.layers.Identity(dtype=dtype)(output) for output in prefix.outputs])
    return lambda inputs: keras.tree.flatten(stored.predict_on_batch(inputs))


def _write_encoded(
    files: list[Path], frozen: Prefix, jobs: list[Callable[[], Any]], n_rows: int, told: Callable[[str], None]
) -> None:
    """Write what a prefix gives for batches of n_rows inputs, a file for each output; none where no batch is."""
    with contextlib.ExitStack() as stack:
        appends, done = [stack.enter_context(npy_rows(file, n_rows)) for file in files if jobs], 0
        for loaded in ahead(jobs, DECODED_AHEAD * has_gpu()):
            blocks = frozen(loaded)
            for file, append, block in zip(files, appends, blocks, strict=True):
                if not np.isfinite(block).all():
                    raise ValueError(f"{file.name}: values beyond {block.dtype}; set model.feature_dtype to float32")
                append(block)
            done += len(blocks[0])
            told(f"{done}/{n_rows}")


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
        views=dict(stages.augmented_views(params)),
        photometric=params.training.photometric,
        progress=stage.progress,
    )
    stage.counts("features", counts)
    hashes = {name: preset_hash(name) for name in (params.model.vision_preset, params.model.text_preset)}
    write_json(stage.path("presets.json"), hashes)
    stage.save()


def _write_joined(path: Path, n_rows: int, files: Sequence[Path]) -> None:
    """Write rows of one array after those of another, a bounded number at a time; a part with no batch has no file."""
    with npy_rows(path, n_rows) as append:
        for rows in map(_read, filter(Path.is_file, files)):
            step = max(1, JOINED_BYTES // max(1, rows[:1].nbytes))
            for start in range(0, len(rows), step):
                append(rows[start : start + step])


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

    The rows of each image id and hypothesis; image tokens (n_images, n_tokens, d_vision) and hidden states
    (n_hypotheses, n_words or 1, d_text), both float32 and memory-mapped; padding masks (n_hypotheses, n_words) int32.
    """

    image_rows: pd.Series
    text_rows: pd.Series
    image_tokens: np.ndarray
    hidden: np.ndarray
    padding_mask: np.ndarray

    @classmethod
    def open(cls, folder: Path, plan: FreezePlan) -> Features:
        """Open what `encode` stored for a plan; a ValueError where a file is damaged or truncated."""
        ids, texts, tokens, hidden, mask = (_read(folder / name) for name in cls.files(plan))
        if len(tokens) != len(ids) or not len(hidden) == len(mask) == len(texts):
            raise ValueError(f"the feature cache in {folder} is damaged: its arrays and indexes differ in length")
        rows = (pd.Series(np.arange(len(names)), index=names.iloc[:, 0]) for names in (ids, texts))
        return cls(*rows, tokens, hidden, np.array(mask))

    def means(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """`MEANS` that `encode` stored beside; a ValueError where a file is damaged or truncated."""
        images, texts = (_read(folder / name) for name in MEANS)
        if len(images) != len(self.image_tokens) or len(texts) != len(self.hidden):
            raise ValueError(f"the feature cache in {folder} is damaged: {' or '.join(MEANS)} has rows too few or many")
        return images, texts

    @staticmethod
    def files(plan: FreezePlan) -> tuple[str, ...]:
        """Names of the files that `open` reads for a plan."""
        stored = (f"image_tokens_{plan.vision_blocks}.npy", f"hidden_{plan.text_blocks}.npy", "padding_mask.npy")
        return ("images.parquet", "hypotheses.parquet", *stored)

    def rows(self, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (int64) of each pair's image and hypothesis; a KeyError names the first that was not encoded."""
        found = []
        for column, index in (("image_id", self.image_rows), ("hypothesis", self.text_rows)):
            rows = index.reindex(pairs[column])
            if rows.isna().any():
                raise KeyError(f"{column} {rows.index[rows.isna()][0]!r} is not in the feature cache; encode it first")
            found.append(rows.to_numpy(dtype=np.int64))
        return found[0], found[1]


@dataclass(frozen=True)
class AugmentedViews:
    """Stored augmented views of the training images at one depth of vision.

    `features` are the plan's, with the views in the place of the plain images: view v of image i of `image_ids` is row
    (v - 1) * n_images + i. `place` is that number i of each plain image, -1 for one without views. The first `n_views`
    of the stored views are in use.
    """

    features: Features
    image_ids: tuple[str, ...]
    place: np.ndarray
    n_views: int

    @classmethod
    def open(cls, folder: Path, plan: FreezePlan, n_views: int) -> AugmentedViews:
        """Open the views that `encode` stored at a plan's depth; a ValueError where there are fewer."""
        plain = Features.open(folder, plan)
        image_ids, tokens = (_read(folder / name) for name in cls.files(plan)[-2:])
        image_ids = image_ids["image_id"]
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

        All pairs of an image show the same view. A KeyError names an image without views; only training images have.
        """
        place = self.place[images]
        if (place < 0).any():
            missing = self.features.image_rows.index[images[place < 0][0]]
            raise KeyError(f"image {missing!r} has no augmented views; only training images have")
        view = augment.view_of_epoch(self.image_ids, self.n_views, seed=seed, epoch=epoch)
        return (view[place] - 1) * len(self.image_ids) + place
