"""Fit one configuration with one seed on cached prefixes; every epoch can be resumed to the same numbers."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.artifacts import content_hash, sha256_bytes, write_npz
from verdict.base.labels import Label
from verdict.base.params import FitParams, TrainingParams
from verdict.model.backend import IS_TORCH, keras
from verdict.model.features import AugmentedViews, Features
from verdict.model.network import FreezePlan, Network, apply_plan, build_suffix, trainable_count
from verdict.model.optimise import Optimiser
from verdict.model.predict import two_class
from verdict.stats.metrics import macro_f1, nll
from verdict.stats.scores import softmax, top_class
from verdict.stats.uncertainty import stream

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
        known = {label: int(Label.parse(label)) for label in pd.unique(pairs["label"])}
        return cls(image, text, pairs["label"].map(known).to_numpy(dtype=np.int64))

    def digest(self) -> str:
        """Hash of every row in order."""
        columns = (self.image, self.text, self.y_true)
        return sha256_bytes(b"".join(np.ascontiguousarray(column, dtype=np.int64).tobytes() for column in columns))


@dataclass(frozen=True)
class Batches:
    """Batches of pairs in a given order, each distinct image and hypothesis of a batch present once."""

    features: Features
    rows: Rows
    order: np.ndarray
    batch: int
    blank: bool = False

    def __len__(self) -> int:
        return (len(self.order) + self.batch - 1) // self.batch

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        return (self[index] for index in range(len(self)))

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
    With `shared` 1 it is a plain permutation.
    """
    shuffled = rng.permutation(len(text_rows))
    if shared == 1:
        return shuffled[:n_shown]
    by_text = shuffled[np.argsort(text_rows[shuffled], kind="stable")]
    position = pd.Series(by_text).groupby(text_rows[by_text]).cumcount().to_numpy()
    block = np.cumsum((position % shared) == 0) - 1
    rank = rng.permutation(block[-1] + 1)
    return by_text[np.argsort(rank[block], kind="stable")][:n_shown]


def trained_part(network: Network, plan: FreezePlan) -> Any:
    """The suffix as it is trained and asked: on torch without Keras' calls, else the Keras model."""
    if not IS_TORCH:
        return build_suffix(network, plan)
    from verdict.model.direct import DirectSuffix

    return DirectSuffix(network, plan)


def predict_all(
    model: Any, features: Features, rows: Rows, *, by: np.ndarray | None = None, blank: bool = False
) -> Any:
    """Outputs of a model for pairs, in their order, in inference mode, as arrays.

    Pairs that are equal `by` something, their hypothesis by default, go together, so that a batch encodes it once.
    """
    order = np.argsort(rows.text if by is None else by, kind="stable")
    batches = Batches(features, rows, order, PREDICT_BATCH, blank=blank)
    parts = [model.predict_on_batch(inputs) for inputs, _ in batches]
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays)[np.argsort(order)], *parts)


def predict_logits(suffix: Any, features: Features, rows: Rows, *, blank: bool = False) -> np.ndarray:
    """Logits of CONTRADICTION, float64 (n_pairs,), in inference mode and in the order of `rows`.

    Where a suffix without Keras' calls encodes images too, hypotheses are read first, pairs of one image together.
    """
    by = rows.text
    if getattr(suffix, "vision", None):
        suffix, features, rows = suffix.after_reading(features, rows)
        by = rows.image
    return predict_all(suffix, features, rows, by=by, blank=blank)[:, 0].astype(np.float64)


def read_once(suffix: Any, features: Features, rows: Rows) -> list[tuple[np.ndarray, Any, Features, Rows]]:
    """Parts of the rows, (n_part,), with a suffix and features that have read them, and the rows there: what
    `predict_logits` gives for them stays the same.
    """
    whole, order = np.arange(len(rows)), np.argsort(rows.text, kind="stable")
    if not hasattr(suffix, "after_reading"):
        return [(whole, suffix, features, rows)]
    parts = [whole] if suffix.vision else np.split(order, range(PREDICT_BATCH, len(order), PREDICT_BATCH))
    some = [Rows(rows.image[part], rows.text[part], rows.y_true[part]) for part in parts]
    return [(part, *suffix.after_reading(features, asked)) for part, asked in zip(parts, some, strict=True)]


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


@dataclass(frozen=True)
class Shown:
    """What a fit is shown: rows of stored features to train on, and to judge epochs on.

    `blank` shows zeros for images. An epoch shows `n_shown` pairs drawn anew from `train`, which may hold a pair
    several times, by default all of them; that fixes the number of steps. Of `views` it shows one of each image;
    validation sees plain images.
    """

    features: Features
    train: Rows
    val: Rows
    blank: bool = False
    n_shown: int | None = None
    views: AugmentedViews | None = None

    @property
    def n(self) -> int:
        """Pairs of an epoch; ValueError for more than there are, or none."""
        n = len(self.train) if self.n_shown is None else self.n_shown
        if not 0 < n <= len(self.train):
            raise ValueError(f"an epoch shows 1 to {len(self.train)} of the training rows, got n_shown={n}")
        return n

    def epoch(self, plan: FreezePlan, batch_size: int, rng: np.random.Generator, *, seed: int, epoch: int) -> Batches:
        """The batches of an epoch, counted from 0."""
        shared = SHARED_HYPOTHESIS if plan.text_blocks else 1
        order, train, views = epoch_order(self.train.text, rng, shared=shared, n_shown=self.n), self.train, self.views
        if views is not None:
            train = replace(train, image=views.rows(train.image, seed=seed, epoch=epoch))
        return Batches(views.features if views else self.features, train, order, batch_size, blank=self.blank)

    def digest(self) -> dict[str, Any]:
        """What tells it from another, features apart."""
        n_views = self.views.n_views if self.views else 0
        return {"train": self.train.digest(), "n_shown": self.n, "n_views": n_views, "val": self.val.digest()}


def fit(
    network: Network,
    plan: FreezePlan,
    shown: Shown,
    params: FitParams,
    training: TrainingParams,
    *,
    seed: int,
    checkpoint: Path,
    identity: Mapping[str, Any] = MappingProxyType({}),
    progress: Callable[[str], None] = lambda text: None,
) -> Fit:
    """Train the plan's layers; keep the epoch that is best on validation by the one stated criterion.

    Of `training` the size of a batch, the criterion and the bound on gradients count. The network holds the kept
    weights afterwards. The state after each epoch is written to `checkpoint`; a later call with the same `identity`
    (everything that the result depends on besides what is passed here) goes on from there, and gives the numbers of an
    undisturbed run, because the order of pairs, the views of images and the dropout masks depend on (seed, epoch)
    alone; a checkpoint of another one is ignored.
    """
    n_steps = -(-shown.n // training.batch_size) * params.epochs
    trainable = apply_plan(network, plan)
    suffix = trained_part(network, plan)
    optimiser = Optimiser(suffix, params, n_steps=n_steps, global_clipnorm=training.global_clipnorm)
    trains = {"vision_blocks": plan.vision_blocks, "text_blocks": plan.text_blocks, "blank": shown.blank}
    whole = {**identity, "seed": seed, "fit": params.model_dump(), "trains": trains, "shows": shown.digest()}
    state, criterion = _State(suffix, optimiser, checkpoint, content_hash(whole)), training.criterion
    history = state.restore()
    while not _finished(history, params, criterion):
        started, epoch, rng = time.perf_counter(), len(history), stream(seed, "training.epoch", len(history))
        batches = shown.epoch(plan, training.batch_size, rng, seed=seed, epoch=epoch)
        _seed_dropout(network, suffix, rng)
        loss = optimiser.run(batches)
        scores = score(predict_logits(suffix, shown.features, shown.val, blank=shown.blank), shown.val.y_true)
        on_val = {f"val_{name}": value for name, value in scores.items()}
        elapsed_s = time.perf_counter() - started
        history.append({"epoch": epoch + 1, "train_loss": loss, **on_val, "elapsed_s": elapsed_s})
        state.save(history, is_best=_best(history, criterion) == epoch)
        told = f"val macro-F1 {scores['macro_f1']:.3f}  val NLL {scores['nll']:.3f}"
        progress(f"epoch {epoch + 1}/{params.epochs}  {told}")
    _assign(suffix, state.best)
    return Fit(pd.DataFrame(history), _best(history, criterion) + 1, trainable, trainable_count(network))


def _best(history: list[dict[str, float]], criterion: str) -> int:
    """Index of the best epoch; the earlier one wins a tie."""
    values = [entry["val_macro_f1"] if criterion == "macro_f1" else -entry["val_nll"] for entry in history]
    return int(np.argmax(values))


def _finished(history: list[dict[str, float]], params: FitParams, criterion: str) -> bool:
    if not history:
        return False
    return len(history) >= params.epochs or len(history) - 1 - _best(history, criterion) >= params.patience


def _seed_dropout(network: Network, suffix: Any, rng: np.random.Generator) -> None:
    """Set the random state behind all dropout, so that an epoch does not depend on what ran before it."""
    if IS_TORCH:
        suffix.seed(int(rng.integers(0, 2**31)))
        return
    keras.utils.set_random_seed(int(rng.integers(0, 2**31)))
    for variable in network.model.variables:
        if "seed_generator" in variable.path:
            variable.assign(rng.integers(0, 2**31, size=variable.shape, dtype=np.int64))


class _State:
    """The state after an epoch, as one atomic file: weights, optimiser, best weights, history."""

    def __init__(self, suffix: Any, optimiser: Optimiser, path: Path, identity: str):
        self.suffix, self.optimiser, self.path, self.identity = suffix, optimiser, path, identity
        self.best: list[np.ndarray] = []

    def save(self, history: list[dict[str, float]], *, is_best: bool) -> None:
        current = [keras.ops.convert_to_numpy(weight).copy() for weight in self.suffix.trainable_variables]
        self.best = current if is_best else self.best
        groups = {"weight": current, "best": self.best, "optimiser": self.optimiser.state()}
        arrays = {f"{kind}_{i:04d}": array for kind, group in groups.items() for i, array in enumerate(group)}
        header = json.dumps({"identity": self.identity, "history": history})
        write_npz(self.path, header=np.frombuffer(header.encode(), dtype=np.uint8), **arrays)

    def restore(self) -> list[dict[str, float]]:
        """Load the state if it is whole and of this identity; otherwise start afresh."""
        if not self.path.is_file():
            return []
        groups: dict[str, list[np.ndarray]] = {"weight": [], "best": [], "optimiser": []}
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                if header["identity"] != self.identity:
                    return []
                for name in sorted(set(stored.files) - {"header"}):
                    groups[name.rpartition("_")[0]].append(stored[name])
        except (OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, struct.error):
            self.path.unlink(missing_ok=True)
            return []
        _assign(self.suffix, groups["weight"])
        self.optimiser.load(groups["optimiser"])
        self.best = groups["best"]
        return header["history"]


def _assign(suffix: Any, values: list[np.ndarray]) -> None:
    for variable, value in zip(suffix.trainable_variables, values, strict=True):
        variable.assign(value)


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
    """Put stored weights into the network; each must have its place, and the fusion head be covered."""
    places = {weight.path: weight for weight in network.model.variables}
    for name, value in weights.items():
        if name not in places or tuple(places[name].shape) != value.shape:
            raise ValueError(f"stored weight {name!r} of shape {value.shape} has no place in this network")
        places[name].assign(value)
    owned = {weight.path for layer in network.head.values() for weight in layer.weights}
    head = {path for path in owned if "seed_generator" not in path}
    if missing := sorted(head - set(weights)):
        raise ValueError(f"the stored weights lack {missing[0]!r} and {len(missing) - 1} more of the fusion head")
