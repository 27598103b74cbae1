"""What caching the frozen computation saves: `python -m verdict.bench`.

The published loop decodes every row's JPEG in every epoch and runs the whole network forward. Ours runs frozen
prefixes once, fills the cache, and trains the suffix. Both train the same layers of the same network on the same
pairs for the same epochs, side by side in one process; each round gives a ratio, and the interval is over rounds.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from verdict import artifacts, paths
from verdict.backend import keras, set_threads
from verdict.data.images import ImageStore
from verdict.data.sources import build_dataset
from verdict.features import Encoders, Features, encode, load_encoders, load_network
from verdict.labels import Split
from verdict.model import FreezePlan, Network, apply_plan
from verdict.params import Params, load_params
from verdict.train import Rows, fit, score

PLANS = {"frozen encoders": FreezePlan(0, 0), "two text blocks": FreezePlan(0, 2)}


class PublishedLoop(keras.utils.PyDataset):
    """The published input pipeline: each row's JPEG is decoded, resized and scaled anew in every epoch."""

    def __init__(self, encoders: Encoders, jpegs: dict[str, bytes], pairs: pd.DataFrame, order: np.ndarray, batch: int):
        super().__init__()
        self.encoders, self.jpegs, self.pairs, self.order, self.batch = encoders, jpegs, pairs, order, batch
        self.token_ids, self.padding_mask = encoders.tokens(list(pairs["hypothesis"]))
        self.y_true = (pairs["label"] == "contradiction").to_numpy(np.float32)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        images = [Image.open(io.BytesIO(self.jpegs[image_id])) for image_id in self.pairs["image_id"].to_numpy()[rows]]
        height, width = self.encoders.image_size
        pixels = np.stack([np.asarray(image.convert("RGB").resize((width, height))) for image in images])
        inputs = {"pixels": self.encoders.pixels(pixels), "token_ids": self.token_ids[rows]}
        return {**inputs, "padding_mask": self.padding_mask[rows]}, self.y_true[rows, None]


def published(
    params: Params,
    network: Network,
    plan: FreezePlan,
    jpegs: dict[str, bytes],
    train: pd.DataFrame,
    val: pd.DataFrame,
    epochs: int,
) -> tuple[float, float]:
    """Seconds and validation macro-F1 of the published loop."""
    encoders = load_encoders(params.model)
    apply_plan(network, plan)
    fit_params = params.training.warmup
    network.model.compile(
        optimizer=keras.optimizers.AdamW(
            fit_params.learning_rate, weight_decay=fit_params.weight_decay, global_clipnorm=1.0
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    started = time.perf_counter()
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(train))
        batches = PublishedLoop(encoders, jpegs, train, order, params.training.batch_size)
        network.model.fit(batches, epochs=1, verbose=0)
        shown = PublishedLoop(encoders, jpegs, val, np.arange(len(val)), params.training.batch_size)
        logit = np.concatenate([network.model.predict_on_batch(shown[i][0])[:, 0] for i in range(len(shown))])
        scores = score(logit.astype(np.float64), shown.y_true.astype(np.int64))
    return time.perf_counter() - started, scores["macro_f1"]


def cached(
    params: Params,
    network: Network,
    plan: FreezePlan,
    images: ImageStore,
    train: pd.DataFrame,
    val: pd.DataFrame,
    epochs: int,
) -> tuple[float, float, float]:
    """Seconds in all, of which filling the cache, and validation macro-F1 of our loop."""
    fit_params = params.training.warmup.model_copy(
        update={"epochs": epochs, "patience": epochs, "schedule": "constant"}
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        encode(
            params.model, pd.concat([train, val]), images, [plan], Path(folder), batch=params.execution.feature_batch
        )
        filled = time.perf_counter() - started
        features = Features.open(Path(folder), plan)
        outcome = fit(
            network,
            plan,
            features,
            Rows.of(features, train),
            Rows.of(features, val),
            fit_params,
            seed=0,
            batch_size=params.training.batch_size,
            criterion="nll",
            global_clipnorm=1.0,
            blank=False,
            checkpoint=Path(folder) / "state.npz",
            identity={},
        )
        elapsed = time.perf_counter() - started
    return elapsed, filled, float(outcome.history["val_macro_f1"].iloc[-1])


def compress(images: ImageStore, image_ids: list[str], size: tuple[int, int]) -> dict[str, bytes]:
    """Every image as JPEG, as the published loop finds them on disk."""
    encoded = {}
    for image_id in image_ids:
        buffer = io.BytesIO()
        Image.fromarray(images.load([image_id], size=size)[0]).save(buffer, format="JPEG", quality=90)
        encoded[image_id] = buffer.getvalue()
    return encoded


def ratio_interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Geometric mean of ratios and its 95 % interval by Student's t on their logarithms."""
    logs = np.log(ratios)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else np.nan
    return tuple(float(np.exp(value)) for value in (logs.mean(), logs.mean() - half, logs.mean() + half))


def measure(params: Params, *, n_pairs: int, epochs: int, rounds: int) -> list[dict[str, object]]:
    """Run both loops side by side; one row a freeze plan."""
    wanted = {**params.data.digits.n_pairs, "train": n_pairs}
    data = params.data.model_copy(update={"digits": params.data.digits.model_copy(update={"n_pairs": wanted})})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pairs = build_dataset(data, Path(folder)).pairs
        images = ImageStore.open(Path(folder))
        train, val = (pairs[pairs["split"] == split].reset_index(drop=True) for split in (Split.TRAIN, Split.VAL))
        size = load_encoders(params.model).image_size
        jpegs = compress(images, sorted({*train["image_id"], *val["image_id"]}), size)
        for name, plan in PLANS.items():
            outcomes = []
            for number in range(rounds):
                networks = [load_network(params.model, dropout=0.1, seed=number) for _ in range(2)]
                theirs = published(params, networks[0], plan, jpegs, train, val, epochs)
                ours = cached(params, networks[1], plan, images, train, val, epochs)
                outcomes.append((*theirs, *ours))
                print(
                    f"{name}, round {number + 1}/{rounds}: {theirs[0]:.1f} s against {ours[0]:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
            table = np.asarray(outcomes)
            value, low, high = ratio_interval(table[:, 0] / table[:, 2])
            rows.append(
                {
                    "plan": name,
                    "pairs": len(train),
                    "epochs": epochs,
                    "published_s": table[:, 0].mean(),
                    "ours_s": table[:, 2].mean(),
                    "of_which_cache_s": table[:, 3].mean(),
                    "ratio": value,
                    "ratio_low": low,
                    "ratio_high": high,
                    "published_macro_f1": table[:, 1].mean(),
                    "ours_macro_f1": table[:, 4].mean(),
                }
            )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3000, help="training pairs (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each a ratio (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=paths.REPORTS / "benchmarks" / "cache.json", help="results (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    set_threads(chosen.threads)
    params = load_params("digits")
    rows = measure(params, n_pairs=chosen.pairs, epochs=chosen.epochs, rounds=chosen.rounds)
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    revision, dirty = artifacts.commit()
    record = {
        "command": "make bench",
        "commit": revision,
        "dirty": dirty,
        "cores": os.cpu_count(),
        "threads": chosen.threads,
    }
    artifacts.write_json(chosen.out, {**record, "versions": artifacts.package_versions(), "results": rows})
    print(f"written to {artifacts.relative(chosen.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
