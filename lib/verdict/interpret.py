"""The kept network seen from inside: the states of the very graph that answers, and its answers to masked images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.attention import (
    Deletion,
    example_pairs,
    first_of,
    mask_orders,
    mask_patches,
    patch_contrast,
    patch_counts,
    split_tokens,
)
from verdict.backend import keras, set_threads
from verdict.data.images import ImageStore
from verdict.evaluation import Selection
from verdict.features import Encoders, Features, load_encoders, load_network
from verdict.labels import Label, Split
from verdict.model import STATES, FreezePlan, Network, build_prefix, build_suffix
from verdict.representation import Labelled
from verdict.stage import Stage
from verdict.stages import FEATURES, TRIAL_STAGE
from verdict.train import PREDICT_BATCH, Batches, Rows, load_weights, read_weights
from verdict.training import shuffle_images

# States by layer, in the order of computation: hypothesis alone, what it attended to, both, and the hidden layer.
LAYERS = ("take_cls_token", "xattn", "xattn_norm", "mlp_1")
N_FILL_IMAGES = 256


@dataclass(frozen=True)
class Opened:
    """The kept network with its stored weights, and what it reads.

    Attributes
    ----------
    encoders : Encoders
        Preprocessing of the presets; the backbones are the network's.
    watcher : keras.Model
        The suffix with every state of the fusion head as output.
    prefix : keras.Model
        Pixels → image tokens at the freeze boundary.
    features : Features
        Stored prefixes of the same freeze plan.
    images : ImageStore
    batch : int
        Images encoded at a time.
    """

    encoders: Encoders
    network: Network
    watcher: keras.Model
    prefix: keras.Model
    features: Features
    images: ImageStore
    batch: int

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return patch_grid(self.network)

    def pixels(self, image_ids: Sequence[str]) -> np.ndarray:
        """Images as the vision encoder's size, uint8 (n, H, W, 3)."""
        return self.images.load(list(image_ids), size=self.encoders.image_size)


def patch_grid(network: Network) -> tuple[int, int]:
    """(rows, columns) of patches that the vision encoder cuts an image into."""
    (height, width), (rows, columns) = network.vision.input_shape[1:3], network.vision.patch_size
    return int(height // rows), int(width // columns)


def open_kept(stage: Stage, kept: Selection) -> Opened:
    """Rebuild the kept network and load the weights that its run stored."""
    set_threads(stage.threads)
    trial = stage.all_params.trial(kept.trial)
    plan = FreezePlan(trial.vision_blocks, trial.text_blocks)
    encoders = load_encoders(stage.params.model)
    network = load_network(stage.params.model, dropout=0.0, seed=0, encoders=encoders)
    load_weights(network, read_weights(stage.upstream(TRIAL_STAGE, "weights.npz", kept.trial, kept.seed)))
    features = Features.open(stage.upstream_folder(FEATURES), plan)
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    return attach(encoders, network, plan, features, images, batch=stage.all_params.execution.feature_batch)


def attach(
    encoders: Encoders, network: Network, plan: FreezePlan, features: Features, images: ImageStore, *, batch: int
) -> Opened:
    """Make the two halves of a network, the second with all of its states as outputs."""
    watcher = build_suffix(network, plan, watched=STATES)
    prefix, _ = build_prefix(network, plan)
    return Opened(encoders, network, watcher, prefix, features, images, batch)


def observe(opened: Opened, pairs: pd.DataFrame, names: Sequence[str] = STATES) -> dict[str, np.ndarray]:
    """States of the fusion head for pairs, from stored features, in inference mode.

    Parameters
    ----------
    pairs : pair table, n rows
    names : sequence of str
        Of `model.STATES`.

    Returns
    -------
    dict of float32 arrays, in the order of the pairs
        `attention` (n, heads, n_tokens), `logit` (n,) in float64, others (n, width).
    """
    rows = Rows.of(opened.features, pairs)
    batches = Batches(opened.features, rows, np.arange(len(rows)), PREDICT_BATCH, blank=False)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for i in range(len(batches)):
        states = opened.watcher.predict_on_batch(batches[i][0])
        for name in names:
            parts[name].append(states[name])
    return {name: _plain(name, np.concatenate(part)) for name, part in parts.items()}


def _plain(name: str, state: np.ndarray) -> np.ndarray:
    """Drop the axis of the one query."""
    if name == "attention":
        return state[:, :, 0, :]
    flat = state.reshape(len(state), -1)
    return flat[:, 0].astype(np.float64) if name == "logit" else flat


def observe_exchanged(opened: Opened, pairs: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Logits of pairs when each is shown another group's image, (n,)."""
    return observe(opened, shuffle_images(pairs, rng), ("logit",))["logit"]


def answer_pixels(opened: Opened, pairs: pd.DataFrame, images: np.ndarray) -> np.ndarray:
    """Logits of pairs whose images are given as pixels and encoded anew, float64 (n,).

    Parameters
    ----------
    pairs : pair table, n rows
        Hypotheses are taken from stored features; image ids play no part.
    images : (n, H, W, 3) uint8
        One a pair, at the encoder's size.
    """
    texts = opened.features.text_rows.reindex(pairs["hypothesis"]).to_numpy(dtype=np.int64)
    parts = []
    for start in range(0, len(images), opened.batch):
        part = slice(start, start + opened.batch)
        distinct, text_rows = np.unique(texts[part], return_inverse=True)
        shown = images[part]
        inputs = {
            "a_image_rows": np.arange(len(shown), dtype=np.int32),
            "a_text_rows": text_rows.astype(np.int32),
            "image_tokens": opened.prefix.predict_on_batch(opened.encoders.pixels(shown)),
            "hidden": np.asarray(opened.features.hidden[distinct]),
            "padding_mask": opened.features.padding_mask[distinct],
        }
        parts.append(opened.watcher.predict_on_batch(inputs)["logit"][:, 0])
    return np.concatenate(parts).astype(np.float64)


def usual_picture(opened: Opened, image_ids: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """The median of up to `N_FILL_IMAGES` images, pixel by pixel: what is usually at a place, uint8 (H, W, 3)."""
    distinct = np.unique(np.asarray(image_ids, dtype=object))
    chosen = rng.permutation(len(distinct))[:N_FILL_IMAGES]
    return np.median(opened.pixels(distinct[np.sort(chosen)]), axis=0).astype(np.uint8)


def sample_rows(n: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `wanted` of n rows, drawn without replacement, ascending."""
    return np.sort(rng.permutation(n)[:wanted])


def delete_patches(
    stage: Stage, opened: Opened, pairs: pd.DataFrame, weights: np.ndarray, fill: np.ndarray, rng: np.random.Generator
) -> Deletion:
    """Mask patches in several orders, encode each masked image anew, and let the network answer.

    Parameters
    ----------
    pairs : pair table, n rows
    weights : (n, n_patches)
        Attention to patches, averaged over heads.
    fill : (H, W, 3) uint8
        What stands where a patch is masked.
    rng : Generator
        Draws the random order.
    """
    images = opened.pixels(pairs["image_id"])
    counts = patch_counts(stage.params.interpret.mask_shares, weights.shape[1])
    orders = mask_orders(weights, patch_contrast(images, fill, opened.grid), rng)
    masked: dict[str, np.ndarray] = {}
    for name, order in orders.items():
        shown = (mask_patches(images, first_of(order, count), fill, opened.grid) for count in counts)
        masked[name] = np.stack([answer_pixels(opened, pairs, pictures) for pictures in shown])
        stage.progress(f"masked {len(masked)}/{len(orders)} orders")
    whole = answer_pixels(opened, pairs, images)
    return Deletion(counts, weights.shape[1], whole, masked, pairs["group_id"].to_numpy())


def labelled_layers(
    stage: Stage, opened: Opened, test: Mapping[str, np.ndarray]
) -> dict[str, tuple[Labelled, Labelled, Labelled]]:
    """States of each layer for val, calib and test, as `representation.layer_scores` takes them.

    Parameters
    ----------
    test : states of the test split, as `observe` gives them
    """
    tables = [stage.pairs(split) for split in (Split.VAL, Split.CALIB, Split.TEST)]
    states = [observe(opened, pairs, LAYERS) for pairs in tables[:2]] + [test]
    y = [np.array([int(Label.parse(label)) for label in pairs["label"]]) for pairs in tables]
    groups = [pairs["group_id"].to_numpy() for pairs in tables]
    return {name: tuple(Labelled(states[k][name], y[k], groups[k]) for k in range(3)) for name in LAYERS}


def draw_examples(opened: Opened, table: pd.DataFrame, pairs: pd.DataFrame, attention: np.ndarray) -> dict[str, list]:
    """Pictures, patch weights by head and titles of a few pairs chosen by rule (`attention.example_pairs`).

    Parameters
    ----------
    table, pairs : prediction and pair table of one split, row by row the same pairs
    attention : (n, heads, n_tokens)

    Returns
    -------
    dict
        Arguments of `plots.draw_attention`: images, maps (heads, rows, columns), shares (heads,), titles.
    """
    chosen = example_pairs(table)
    share, patches = split_tokens(attention[chosen["row"]], opened.grid[0] * opened.grid[1])
    hypotheses = pairs["hypothesis"].to_numpy()[chosen["row"]]
    labels = [Label(int(y)).text for y in chosen["y_true"]]
    outcomes = ["answered rightly" if right else "answered wrongly" for right in chosen["is_right"]]
    return {
        "images": list(opened.pixels(chosen["image_id"])),
        "maps": list(patches.reshape(*patches.shape[:2], *opened.grid)),
        "shares": list(share),
        "titles": [f"{h} ({label}; {o})" for h, label, o in zip(hypotheses, labels, outcomes, strict=True)],
    }
