"""The published loop and ours on the same pairs, epoch by epoch, side by side.

Published: every row's JPEG is decoded and resized in every epoch, and the whole network runs forward, with Keras' own
attention over all image tokens in the fusion. Ours: frozen prefixes once, then `verdict.model.fit.fit`, checkpoints
included. An epoch is one pass over the training pairs and one over the validation pairs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats
from tests.bench.subjects import CLIPNORM, Subject, fitted

from verdict.base.files.images import resize
from verdict.base.labels import Label
from verdict.model.backend import keras
from verdict.model.features import Encoders, Features, encode
from verdict.model.fit import Rows, score
from verdict.model.network import FreezePlan, Network, apply_plan

FEATURE_BATCH = 64


@dataclass
class Course:
    """One loop's laps in seconds, by the wall and by the processor, and its scores.

    Attributes
    ----------
    wall_s, cpu_s : list of 1 + n_epochs seconds
        The first lap is what precedes the first epoch: tokens, or filling the cache. What runs between `stop` and
        `start` counts in none.
    macro_f1 : list of n_epochs
        On the validation pairs, at probability 0.5.
    """

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    macro_f1: list[float] = field(default_factory=list)
    _started: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """Begin a lap."""
        self._started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End the lap and keep it."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.wall_s.append(wall - self._started[0])
        self.cpu_s.append(cpu - self._started[1])

    def laps(self) -> dict[str, list[float]]:
        """All that was measured."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "macro_f1": self.macro_f1}


class PublishedBatches(keras.utils.PyDataset):
    """The published input pipeline: each row's file is opened, decoded and resized whenever the row is asked for."""

    def __init__(self, subject: Subject, encoders: Encoders, pairs: pd.DataFrame, order: np.ndarray, tokens: tuple):
        super().__init__()
        self.encoders, self.order, self.batch, self.tokens = encoders, order, subject.batch, tokens
        self.files = [subject.files[image_id] for image_id in pairs["image_id"]]
        self.y_true = np.asarray([Label.parse(label) for label in pairs["label"]], dtype=np.float32)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        pixels = np.stack([self._decoded(self.files[row]) for row in rows])
        token_ids, padding_mask = (part[rows] for part in self.tokens)
        inputs = {"pixels": self.encoders.pixels(pixels), "token_ids": token_ids, "padding_mask": padding_mask}
        return inputs, self.y_true[rows, None]

    def _decoded(self, file: Path) -> np.ndarray:
        with Image.open(file) as image:
            return resize(image.convert("RGB"), self.encoders.image_size)


def published_epochs(
    subject: Subject, network: Network, plan: FreezePlan, encoders: Encoders, course: Course, *, seed: int
) -> Iterator[None]:
    """Train the whole network by Keras' own `fit`: advancing the iterator runs one epoch, without end."""
    course.start()
    apply_plan(network, plan)
    optimizer = keras.optimizers.AdamW(
        subject.fit.learning_rate, weight_decay=subject.fit.weight_decay, global_clipnorm=CLIPNORM
    )
    network.model.compile(optimizer=optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    tokens = {name: encoders.tokens(list(getattr(subject, name)["hypothesis"])) for name in ("train", "val")}
    shown = PublishedBatches(subject, encoders, subject.val, np.arange(len(subject.val)), tokens["val"])
    # Keras builds its loss on the first batch that it sees: here, so that no epoch pays for it.
    network.model.test_on_batch(*PublishedBatches(subject, encoders, subject.val, np.arange(1), tokens["val"])[0])
    course.stop()
    rng = np.random.default_rng(seed)
    while True:
        course.start()
        order = rng.permutation(len(subject.train))
        batches = PublishedBatches(subject, encoders, subject.train, order, tokens["train"])
        network.model.fit(batches, epochs=1, shuffle=False, verbose=0)
        logit = np.concatenate([network.model.predict_on_batch(shown[i][0])[:, 0] for i in range(len(shown))])
        course.stop()
        course.macro_f1.append(score(logit.astype(np.float64), shown.y_true.astype(np.int64))["macro_f1"])
        yield


def side_by_side(subject: Subject, plan: FreezePlan, folder: Path, *, seed: int, epochs: int) -> tuple[Course, Course]:
    """Run both loops in alternation: an epoch of ours, an epoch of the published one, and so on.

    Parameters
    ----------
    folder : Path
        Empty; receives our cache and checkpoints.

    Returns
    -------
    (published, ours)
    """
    whole = subject.network(seed, keras.layers.MultiHeadAttention)
    network, encoders = subject.network(seed), subject.encoders()
    check_same_weights(whole, network)
    theirs, ours = Course(), Course()
    published = published_epochs(subject, whole, plan, encoders, theirs, seed=seed)

    def between(_: str) -> None:
        ours.stop()
        if len(ours.wall_s) > 1:
            next(published)
        ours.start()

    store = subject.store(folder / "store")
    ours.start()
    pairs = pd.concat([subject.train, subject.val])
    encode(subject.model, pairs, store, [plan], folder / "features", batch=FEATURE_BATCH, encoders=encoders)
    features = Features.open(folder / "features", plan)
    rows = [Rows.of(features, part) for part in (subject.train, subject.val)]
    ours.stop()
    ours.start()
    chosen = subject.fit.model_copy(update={"epochs": epochs, "patience": epochs, "schedule": "constant"})
    options = {"seed": seed, "batch": subject.batch, "folder": folder, "progress": between}
    ours.macro_f1 += fitted(network, plan, features, *rows, chosen, **options).history["val_macro_f1"].tolist()
    return theirs, ours


def check_same_weights(one: Network, other: Network) -> None:
    """Refuse to compare loops that do not start from the same network.

    Raises
    ------
    ValueError
        Naming the first weight that differs in name, shape or content.
    """
    for left, right in zip(one.model.weights, other.model.weights, strict=True):
        if "seed_generator" in left.path:
            continue
        same = left.path == right.path and np.array_equal(*map(keras.ops.convert_to_numpy, (left, right)))
        if not same:
            raise ValueError(f"the loops' networks differ at {left.path!r} / {right.path!r}")


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t; NaN for one value."""
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * stats.sem(values)) if n > 1 else math.nan
    return mean, mean - half, mean + half


def ratio_interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Geometric mean of positive ratios and its 95 % interval by Student's t on their logarithms; NaN for one ratio."""
    return tuple(math.exp(value) for value in mean_interval(np.log(ratios)))
