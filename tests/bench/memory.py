"""Whether memory is flat in the number of pairs: peak resident memory of training and prediction, each in a process.

A pair is two row numbers into memory-mapped features, so ten times more pairs on the same images and hypotheses should
cost ten times more row numbers and nothing else.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.bench.processes import in_a_process, peak_bytes
from tests.bench.subjects import fitted

from verdict.base.files.images import ImageStore, write_array_store
from verdict.base.labels import Label
from verdict.base.params import load_params
from verdict.data.pairs import make_pair_id
from verdict.model.backend import set_threads
from verdict.model.features import Features, encode, load_encoders, load_network
from verdict.model.fit import Rows, predict_logits
from verdict.model.network import FreezePlan, build_suffix
from verdict.model.predict import prediction_table

N_IMAGES, N_TEXTS = 1000, 200
PLAN = FreezePlan(0, 1)
MEBIBYTE = 1 << 20


def crossed_pairs(n_pairs: int, *, seed: int) -> pd.DataFrame:
    """Distinct pairs of the same images and hypotheses, whatever their number (at most every image with every text)."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(N_IMAGES * N_TEXTS, size=n_pairs, replace=False)
    images = [f"scene-{k:05d}" for k in chosen // N_TEXTS]
    texts = [f"there is a red {k}" for k in chosen % N_TEXTS]
    return pd.DataFrame(
        {
            "pair_id": [make_pair_id(image, text) for image, text in zip(images, texts, strict=True)],
            "image_id": images,
            "group_id": images,
            "hypothesis": texts,
            "label": rng.choice([label.text for label in Label], size=n_pairs),
            "split": "train",
        }
    )


def train_and_predict(n_pairs: int, *, seed: int = 0) -> dict[str, Any]:
    """Encode, train one epoch and predict all pairs; peak bytes before the pairs exist and after everything."""
    params = load_params("digits")
    set_threads(params.execution.threads)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, encoders = Path(name), load_encoders(params.model)
        pixels = rng.integers(0, 256, (N_IMAGES, *encoders.image_size, 3)).astype(np.uint8)
        write_array_store(folder / "images", {"all": ([f"scene-{k:05d}" for k in range(N_IMAGES)], pixels)})
        network = load_network(params.model, dropout=0.1, seed=seed, encoders=encoders)
        pairs, before = crossed_pairs(n_pairs, seed=seed), peak_bytes()
        store, cache = ImageStore.open(folder / "images"), folder / "features"
        encode(params.model, pairs, store, [PLAN], cache, batch=params.execution.feature_batch, encoders=encoders)
        features = Features.open(cache, PLAN)
        rows = Rows.of(features, pairs)
        chosen = params.training.warmup.model_copy(update={"epochs": 1})
        options = {"seed": seed, "batch": params.training.batch_size, "folder": folder}
        fitted(network, PLAN, features, rows, rows, chosen, **options)
        logit = predict_logits(build_suffix(network, PLAN), features, rows)
        table = prediction_table(pairs, logit, stage="memory", trial="memory", seed=seed)
    return {"n_pairs": len(table), "before_bytes": before, "peak_bytes": peak_bytes()}


def growth(few: int, factor: int = 10) -> dict[str, Any]:
    """Peak memory with some pairs and with `factor` times as many, and by how much it grew (0.1 is ten per cent)."""
    small, large = (in_a_process(__name__, n) for n in (few, few * factor))
    more = large["peak_bytes"] - small["peak_bytes"]
    return {
        "n_pairs": [small["n_pairs"], large["n_pairs"]],
        "before_mib": [run["before_bytes"] / MEBIBYTE for run in (small, large)],
        "peak_mib": [run["peak_bytes"] / MEBIBYTE for run in (small, large)],
        "growth": more / small["peak_bytes"],
        "bytes_per_pair": more / (large["n_pairs"] - small["n_pairs"]),
    }


if __name__ == "__main__":
    print(json.dumps(train_and_predict(int(sys.argv[1]))))
