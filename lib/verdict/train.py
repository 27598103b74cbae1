"""Fit one configuration with one seed on cached prefixes; every epoch can be resumed to the same numbers."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from verdict.artifacts import content_hash, sha256_bytes, write_npz
from verdict.backend import keras
from verdict.features import Features, Views
from verdict.labels import Label
from verdict.metrics import macro_f1, nll
from verdict.model import FreezePlan, Network, apply_plan, build_suffix
from verdict.optimise import Optimiser
from verdict.params import FitParams
from verdict.scores import softmax, top_class
from verdict.uncertainty import stream

PREDICT_BATCH = 1024
SHARED_HYPOTHESIS = 16


@dataclass(frozen=True)
class Rows:
    """Pairs as row numbers into stored features, with their labels: (n_pairs,) each."""

    image: np.ndarray
    text: np.ndarray
    y_true: np.ndarray

    def __len__(self) -> int:
        return len(self.y_true)

    @classmethod
    def of(cls, features: Features, pairs: pd.DataFrame) -> Rows:
        """Look pairs up in stored features."""
        image, text = features.rows(pairs)
        y_true = np.asarray([Label.parse(label) for label in pairs["label"]], dtype=np.int64)
        return cls(image, text, y_true)

    def digest(self) -> str:
        """Hash of every row in order."""
        columns = (self.image, self.text, self.y_true)
        return sha256_bytes(b"".join(np.ascontiguousarray(column, dtype=np.int64).tobytes() for column in columns))


class Batches(keras.utils.PyDataset):
    """Batches of pairs in a given order, each distinct image and hypothesis of a batch present once."""

    def __init__(self, features: Features, rows: Rows, order: np.ndarray, batch: int, *, blank: bool):
        super().__init__()
        self.features, self.rows, self.order, self.batch, self.blank = features, rows, order, batch, blank

    def __len__(self) -> int:
        return (len(self.order) + self.batch - 1) // self.batch

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        images, image_rows = np.unique(self.rows.image[chosen], return_inverse=True)
        texts, text_rows = np.unique(self.rows.text[chosen], return_inverse=True)
        tokens = np.asarray(self.features.image_tokens[images])
        inputs = {
            "a_image_rows": image_rows.astype(np.int32),
            "a_text_rows": text_rows.astype(np.int32),
            "image_tokens": np.zeros_like(tokens) if self.blank else tokens,
            "hidden": np.asarray(self.features.hidden[texts]),
            "padding_mask": self.features.padding_mask[texts],
        }
        return inputs, self.rows.y_true[chosen, None].astype(np.float32)


def epoch_order(
    text_rows: np.ndarray, rng: np.random.Generator, *, shared: int, n_shown: int | None = None
) -> np.ndarray:
    """A random order of pairs in which up to `shared` pairs with the same hypothesis stand together.

    Every pair stands in it exactly once, or at most once where fewer are shown; then each is shown equally likely.
    Neighbours that share a hypothesis let a batch encode it once.

    Parameters
    ----------
    text_rows : (n_pairs,) int
    rng : Generator
    shared : int >= 1
        1 is a plain permutation.
    n_shown : int, optional
        How many of the pairs; all by default.
    """
    shuffled = rng.permutation(len(text_rows))
    if shared == 1:
        return shuffled[:n_shown]
    by_text = shuffled[np.argsort(text_rows[shuffled], kind="stable")]
    sorted_text = text_rows[by_text]
    starts = np.flatnonzero(np.r_[True, sorted_text[1:] != sorted_text[:-1]])
    position = np.arange(len(by_text)) - np.repeat(starts, np.diff(np.r_[starts, len(by_text)]))
    block = np.cumsum((position % shared) == 0) - 1
    rank = rng.permutation(block[-1] + 1)
    return by_text[np.argsort(rank[block], kind="stable")][:n_shown]


def predict_logits(suffix: keras.Model, features: Features, rows: Rows, *, blank: bool = False) -> np.ndarray:
    """Logits of CONTRADICTION, float64 (n_pairs,), in inference mode and in the order of `rows`.

    Pairs with one hypothesis go together, so that a batch encodes it once.
    """
    order = np.argsort(rows.text, kind="stable")
    batches = Batches(features, rows, order, PREDICT_BATCH, blank=blank)
    logit = np.empty(len(rows))
    logit[order] = np.concatenate([suffix.predict_on_batch(batches[i][0])[:, 0] for i in range(len(batches))])
    return logit


def two_class(logit: np.ndarray) -> np.ndarray:
    """A binary logit z as the rows (0, z): (n,) → (n, 2)."""
    return np.stack([np.zeros_like(logit), logit], axis=1)


def score(logit: np.ndarray, y_true: np.ndarray) -> dict[str, float]:
    """Macro-F1 of the answers by `scores.top_class`, and mean negative log-likelihood."""
    logits = two_class(logit)
    return {"macro_f1": float(macro_f1(y_true, top_class(logits))), "nll": float(nll(softmax(logits), y_true))}


@dataclass(frozen=True)
class Fit:
    """Outcome of a fit: the history by epoch, the epoch kept, and whether it was resumed or reused."""

    history: pd.DataFrame
    best_epoch: int
    trainable: list[str]
    n_trainable: int


def fit(
    network: Network,
    plan: FreezePlan,
    features: Features,
    train: Rows,
    val: Rows,
    params: FitParams,
    *,
    seed: int,
    batch_size: int,
    criterion: str,
    global_clipnorm: float,
    blank: bool,
    checkpoint: Path,
    identity: dict[str, Any],
    n_shown: int | None = None,
    views: Views | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Fit:
    """Train the plan's layers; keep the epoch that is best on validation by the one stated criterion.

    The network holds the kept weights afterwards. The state after each epoch is written to `checkpoint`; a later call
    with the same `identity` goes on from there, and gives the numbers of an undisturbed run, because the order of
    pairs, the views of images and the dropout masks depend on (seed, epoch) alone.

    Parameters
    ----------
    criterion : {"macro_f1", "nll"}
        What is compared on `val` after each epoch.
    checkpoint : Path
        File of the state, kept out of the workflow's declared outputs.
    identity : dict
        Everything that the result depends on besides what is passed here; a checkpoint of another identity is ignored.
    n_shown : int, optional
        Pairs that an epoch shows, drawn anew each epoch from `train`, which may hold a pair several times; all of them
        by default. It fixes the number of steps.
    views : Views, optional
        If given, an epoch shows one of each training image's augmented views; validation sees plain images.

    Raises
    ------
    ValueError
        If an epoch is to show more rows than there are.
    """
    n_shown = len(train) if n_shown is None else n_shown
    if not 0 < n_shown <= len(train):
        raise ValueError(f"an epoch shows 1 to {len(train)} of the training rows, got n_shown={n_shown}")
    shared = SHARED_HYPOTHESIS if plan.text_blocks else 1
    epochs = _Epochs(features, train, views, n_shown, seed=seed, shared=shared, batch_size=batch_size, blank=blank)
    trainable = apply_plan(network, plan)
    suffix = build_suffix(network, plan)
    optimiser = Optimiser(suffix, params, n_steps=epochs.n_steps * params.epochs, global_clipnorm=global_clipnorm)
    trains = {"vision_blocks": plan.vision_blocks, "text_blocks": plan.text_blocks, "blank": blank}
    shows = {**epochs.shows(), "val": val.digest()}
    identity = {**identity, "seed": seed, "fit": params.model_dump(), "trains": trains, "shows": shows}
    state = _State(suffix, optimiser, checkpoint, content_hash(identity))
    history = state.restore()
    while not _finished(history, params, criterion):
        started, rng = time.perf_counter(), stream(seed, "training.epoch", len(history))
        batches = epochs.batches(len(history), rng)
        _seed_dropout(network, rng)
        loss = optimiser.run(batches[i] for i in range(len(batches)))
        scores = score(predict_logits(suffix, features, val, blank=blank), val.y_true)
        history.append(_entry(len(history) + 1, loss, scores, elapsed_s=time.perf_counter() - started))
        state.save(history, is_best=_best(history, criterion) == len(history) - 1)
        progress(_told(history[-1], params.epochs))
    state.load_best()
    count = sum(int(np.prod(weight.shape)) for weight in suffix.trainable_variables)
    return Fit(pd.DataFrame(history), _best(history, criterion) + 1, trainable, count)


@dataclass(frozen=True)
class _Epochs:
    """What each epoch shows: some of the training pairs or all, in an order of its own, as images or their views."""

    features: Features
    train: Rows
    views: Views | None
    n_shown: int
    _: KW_ONLY
    seed: int
    shared: int
    batch_size: int
    blank: bool

    @property
    def n_steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.n_shown // self.batch_size)

    def shows(self) -> dict[str, Any]:
        """What tells these epochs from others, besides the seed."""
        n_views = self.views.n_views if self.views else 0
        return {"train": self.train.digest(), "n_shown": self.n_shown, "n_views": n_views}

    def batches(self, epoch: int, rng: np.random.Generator) -> Batches:
        """Batches of one epoch, counted from 0, in an order drawn from `rng`."""
        order = epoch_order(self.train.text, rng, shared=self.shared, n_shown=self.n_shown)
        features, rows = self.features, self.train
        if self.views is not None:
            features = self.views.features
            rows = replace(rows, image=self.views.rows(rows.image, seed=self.seed, epoch=epoch))
        return Batches(features, rows, order, self.batch_size, blank=self.blank)


def _entry(epoch: int, loss: float, scores: dict[str, float], *, elapsed_s: float) -> dict[str, float]:
    """One epoch in the history; the first is number 1."""
    on_val = {f"val_{name}": value for name, value in scores.items()}
    return {"epoch": epoch, "train_loss": loss, **on_val, "elapsed_s": elapsed_s}


def _told(entry: dict[str, float], n_epochs: int) -> str:
    """An epoch's line for the person who waits."""
    scores = f"val macro-F1 {entry['val_macro_f1']:.3f}  val NLL {entry['val_nll']:.3f}"
    return f"epoch {entry['epoch']}/{n_epochs}  {scores}"


def _best(history: list[dict[str, float]], criterion: str) -> int:
    """Index of the best epoch; the earlier one wins a tie."""
    values = [entry["val_macro_f1"] if criterion == "macro_f1" else -entry["val_nll"] for entry in history]
    return int(np.argmax(values))


def _finished(history: list[dict[str, float]], params: FitParams, criterion: str) -> bool:
    if not history:
        return False
    return len(history) >= params.epochs or len(history) - 1 - _best(history, criterion) >= params.patience


def _seed_dropout(network: Network, rng: np.random.Generator) -> None:
    """Set the random state behind every dropout layer, so that an epoch does not depend on what ran before it.

    Keras draws the masks of unseeded layers from torch's global generator and leaves the layers' states aside.
    """
    torch.manual_seed(int(rng.integers(0, 2**31)))
    for variable in network.model.variables:
        if "seed_generator" in variable.path:
            variable.assign(rng.integers(0, 2**31, size=variable.shape, dtype=np.int64))


class _State:
    """The state after an epoch, as one atomic file: weights, optimiser, best weights, history."""

    def __init__(self, suffix: keras.Model, optimiser: Optimiser, path: Path, identity: str):
        self.suffix, self.optimiser, self.path, self.identity = suffix, optimiser, path, identity
        self.best: list[np.ndarray] = []

    def _weights(self) -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(weight).copy() for weight in self.suffix.trainable_variables]

    def save(self, history: list[dict[str, float]], *, is_best: bool) -> None:
        current = self._weights()
        self.best = current if is_best else self.best
        groups = {"weight": current, "best": self.best, "optimiser": self.optimiser.state()}
        arrays = {f"{kind}_{i:04d}": array for kind, group in groups.items() for i, array in enumerate(group)}
        header = json.dumps({"identity": self.identity, "history": history})
        write_npz(self.path, header=np.frombuffer(header.encode(), dtype=np.uint8), **arrays)

    def restore(self) -> list[dict[str, float]]:
        """Load the state if it is whole and of this identity; otherwise start afresh."""
        if not self.path.is_file():
            return []
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                if header["identity"] != self.identity:
                    return []
                groups = {kind: list(_group(stored, kind)) for kind in ("weight", "best", "optimiser")}
        except (OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, struct.error):
            self.path.unlink(missing_ok=True)
            return []
        for variable, value in zip(self.suffix.trainable_variables, groups["weight"], strict=True):
            variable.assign(value)
        self.optimiser.load(groups["optimiser"])
        self.best = groups["best"]
        return header["history"]

    def load_best(self) -> None:
        for variable, value in zip(self.suffix.trainable_variables, self.best, strict=True):
            variable.assign(value)


def _group(stored: Any, kind: str) -> Iterator[np.ndarray]:
    yield from (stored[name] for name in sorted(stored.files) if name.startswith(f"{kind}_"))


def trained_weights(network: Network) -> dict[str, np.ndarray]:
    """The weights that train, by their path in the network."""
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in network.model.trainable_variables}


def save_weights(network: Network, path: Path, *, parent: dict[str, np.ndarray] | None = None) -> None:
    """Store every weight that training has changed so far: the parent's and this run's."""
    write_npz(path, **{**(parent or {}), **trained_weights(network)})


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def load_weights(network: Network, weights: dict[str, np.ndarray]) -> None:
    """Put stored weights into the network.

    Raises
    ------
    ValueError
        If a stored weight has no place of that name and shape, or the fusion head is not covered: nothing is skipped.
    """
    places = {weight.path: weight for weight in network.model.variables}
    for name, value in weights.items():
        if name not in places or tuple(places[name].shape) != value.shape:
            raise ValueError(f"stored weight {name!r} of shape {value.shape} has no place in this network")
        places[name].assign(value)
    head = {
        weight.path
        for layer in network.head.values()
        for weight in layer.weights
        if "seed_generator" not in weight.path
    }
    if missing := sorted(head - set(weights)):
        raise ValueError(f"the stored weights lack {missing[0]!r} and {len(missing) - 1} more of the fusion head")
