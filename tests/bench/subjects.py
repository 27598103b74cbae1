"""What the two loops are compared on: pairs, JPEG files, encoders and how to train; the same for both."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from verdict.base.artifacts import sha256_file, write_bytes
from verdict.base.files.images import ImageStore, write_folder_store
from verdict.base.labels import Label, Split
from verdict.base.params import FitParams, ModelParams, Params
from verdict.data.digits import digits
from verdict.model.backend import keras, keras_hub
from verdict.model.features import Encoders, Features, load_encoders
from verdict.model.fit import Fit, Rows, Shown, fit
from verdict.model.network import FreezePlan, Network, SingleQueryAttention, build_network

WORDS = "a man woman dog in on near the street water with red blue two stands".split()  # noqa: SIM905
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PUBLISHED = ModelParams(
    vision_preset="vit_base_patch16_224_imagenet21k",
    text_preset="distil_bert_base_en_uncased",
    sequence_length=24,
    heads=12,
    key_dim=64,
    mlp_dim=512,
)
CLIPNORM = 1.0
# Flickr30k: 31,783 photographs, most of them 500 x 375 pixels, 4.4 GB of JPEG.
PHOTO_SIZE = (375, 500)
PHOTO_BYTES = 138_000
PHOTO_QUALITY = 90


@dataclass(frozen=True)
class Subject:
    """One comparison's common ground.

    Attributes
    ----------
    encoders : callable
        Gives both backbones, with the same weights at each call and new layers.
    files : dict of image id to JPEG file
    train, val : DataFrame
        Columns image_id, hypothesis, label.
    fit : FitParams
        `epochs` is not read: each comparison says how many.
    """

    name: str
    model: ModelParams
    encoders: Callable[[], Encoders]
    files: dict[str, Path]
    train: pd.DataFrame
    val: pd.DataFrame
    fit: FitParams
    batch: int

    def network(self, seed: int, attention: type[keras.layers.MultiHeadAttention] = SingleQueryAttention) -> Network:
        """The entailment network on fresh layers; equal seeds give equal weights, whatever computes the attention."""
        encoders = self.encoders()
        keras.utils.set_random_seed(seed)
        return network_on(encoders, self.model, dropout=self.fit.dropout, attention=attention)

    def store(self, folder: Path) -> ImageStore:
        """The JPEG files as an image store."""
        write_folder_store(folder, self.files, {name: sha256_file(path) for name, path in self.files.items()})
        return ImageStore.open(folder)


def network_on(encoders: Encoders, model: ModelParams, **options: Any) -> Network:
    """The entailment network of a model's sizes on some backbones."""
    chosen = model.model_dump(include={"sequence_length", "heads", "key_dim", "mlp_dim"})
    return build_network(encoders.vision, encoders.text, **chosen, **options)


def fitted(
    network: Network, plan: FreezePlan, features: Features, train: Rows, val: Rows, chosen: FitParams, **options: Any
) -> Fit:
    """`fit` as every bench calls it; `options` hold `seed`, `batch`, `folder` and perhaps `progress`."""
    training = SimpleNamespace(batch_size=options.pop("batch"), criterion="nll", global_clipnorm=CLIPNORM)
    state = options.pop("folder") / "state.npz"
    return fit(network, plan, Shown(features, train, val), chosen, training, checkpoint=state, **options)


def jpeg(pixels: np.ndarray, quality: int = PHOTO_QUALITY) -> bytes:
    """uint8 (height, width, 3) as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def photograph(rng: np.random.Generator) -> np.ndarray:
    """A synthetic picture with a photograph's spectrum, uint8 (375, 500, 3): its JPEG has about Flickr30k's size."""
    height, width = PHOTO_SIZE
    layers = np.zeros((height, width, 3), dtype=np.float32)
    for cells, weight in ((4, 60.0), (16, 30.0), (64, 15.0)):
        coarse = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            grown = Image.fromarray(coarse[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            layers[..., channel] += weight * np.asarray(grown)
    layers += rng.normal(scale=48.0, size=(height, width, 1)).astype(np.float32)
    return np.clip(layers + 128, 0, 255).astype(np.uint8)


def write_photographs(
    folder: Path, n: int, *, seed: int, n_distinct: int | None = None, threads: int = 1
) -> dict[str, Path]:
    """Synthetic photographs as files, by image id; all but the first `n_distinct` are copies of these."""
    files = {f"photo-{k:05d}": folder / f"photo-{k:05d}.jpg" for k in range(n)}
    first, rest = list(files.values())[:n_distinct], list(files.values())[n_distinct or n :]

    def make(k: int) -> None:
        write_bytes(first[k], jpeg(photograph(np.random.default_rng([seed, k]))))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(make, range(len(first))))
        list(pool.map(shutil.copyfile, itertools.cycle(first), rest))
    return files


def random_pairs(image_ids: list[str], n: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Pairs without meaning: images in turn, a distinct hypothesis of 6 to 12 words each, labels by chance."""
    lengths = rng.integers(6, 13, size=n)
    texts = [" ".join([f"{k}", *rng.choice(WORDS, size=length - 1)]) for k, length in enumerate(lengths)]
    labels = rng.choice([label.text for label in Label], size=n)
    return pd.DataFrame({"image_id": np.resize(image_ids, n), "hypothesis": texts, "label": labels})


def full_size_encoders(*, dtype: str = "float32") -> Encoders:
    """ViT-B/16 and DistilBERT base with random weights, the same at each call; nothing is downloaded."""
    keras.utils.set_random_seed(0)
    size = {"num_heads": 12, "hidden_dim": 768, "dtype": dtype}
    vision = keras_hub.models.ViTBackbone(image_shape=(224, 224, 3), patch_size=16, num_layers=12, mlp_dim=3072, **size)
    text = keras_hub.models.DistilBertBackbone(vocabulary_size=30522, num_layers=6, intermediate_dim=3072, **size)
    return with_preprocessing(vision, text, PUBLISHED.sequence_length)


def with_preprocessing(vision: keras.Model, text: keras.Model, sequence_length: int) -> Encoders:
    """Two backbones with a preprocessing of their sizes and the few words of `random_pairs`."""
    height, width, _ = vision.image_shape
    tokenizer = keras_hub.models.DistilBertTokenizer(vocabulary=[*SPECIAL, *WORDS], lowercase=True)
    return Encoders(
        vision=vision,
        converter=keras_hub.layers.ViTImageConverter(image_size=(height, width), scale=1 / 127.5, offset=-1.0),
        text=text,
        preprocessor=keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=sequence_length),
    )


def tiny_subject(params: Params, folder: Path, *, n_pairs: int, n_val: int) -> Subject:
    """The default profile's encoders on its own scenes, written as JPEG files."""
    built = digits.build(
        n_pairs={Split.TRAIN.value: n_pairs, Split.VAL.value: n_val},
        pairs_per_scene=params.data.digits.pairs_per_scene,
        seed=params.data.seed,
        out=folder / "arrays",
    )
    pairs, scenes = built.pairs[built.pairs["split"].isin([Split.TRAIN, Split.VAL])], ImageStore.open(folder / "arrays")
    files = {image_id: folder / "jpeg" / f"{image_id}.jpg" for image_id in pd.unique(pairs["image_id"])}
    for image_id, path in files.items():
        write_bytes(path, jpeg(np.asarray(scenes.thumbnail(image_id))))
    train, val = (pairs[pairs["split"] == split].reset_index(drop=True) for split in (Split.TRAIN, Split.VAL))
    trained = (params.training.warmup, params.training.batch_size)
    return Subject("tiny", params.model, lambda: load_encoders(params.model), files, train, val, *trained)


def full_size_subject(
    params: Params, folder: Path, *, n_images: int, n_pairs: int, n_val: int, seed: int = 0
) -> Subject:
    """The published network with random weights, on synthetic photographs; its metric means nothing."""
    files = write_photographs(folder / "jpeg", n_images, seed=seed)
    rng = np.random.default_rng(seed)
    train, val = (random_pairs(list(files), n, rng=rng) for n in (n_pairs, n_val))
    chosen = params.training.warmup.model_copy(update={"learning_rate": 5.0e-5})
    return Subject("full size", PUBLISHED, full_size_encoders, files, train, val, chosen, 32)
