"""A trained network, put together again from what the report has stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.backend import set_threads
from verdict.data.images import ImageStore
from verdict.defects.effects import Effect, f1_of, measure
from verdict.evaluation import RAW, Selection
from verdict.features import Encoders, Features, load_encoders, load_network
from verdict.labels import Split
from verdict.model import FreezePlan, Network, build_prefix, build_suffix
from verdict.numbers import EXACT
from verdict.predict import logits_of
from verdict.probe import IMAGES_AT_A_TIME
from verdict.stage import Stage
from verdict.stages import FEATURES, TRIAL_STAGE, WARMUP_STAGE
from verdict.train import Rows, load_weights, predict_logits, read_weights, two_class

ToPixels = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Rebuilt:
    """A trained network put together again from stored weights, with the features and images that it reads."""

    network: Network
    plan: FreezePlan
    encoders: Encoders
    features: Features
    images: ImageStore
    batch: int

    def features_of(self, image_ids: np.ndarray, to_pixels: ToPixels) -> Features:
        """The stored features with the image tokens of some images computed again, from pixels made by `to_pixels`."""
        prefix, _ = build_prefix(self.network, self.plan)
        names = pd.unique(np.asarray(image_ids, dtype=object))
        parts = [
            prefix.predict_on_batch(to_pixels(self.images.load(list(part), size=self.encoders.image_size)))
            for part in (names[i : i + self.batch] for i in range(0, len(names), self.batch))
        ]
        rows = pd.Series(np.arange(len(names)), index=names)
        return replace(self.features, image_rows=rows, image_tokens=np.concatenate(parts))

    def logits(self, pairs: pd.DataFrame, features: Features | None = None) -> np.ndarray:
        """Logits of CONTRADICTION of pairs, (n,)."""
        features = features or self.features
        return predict_logits(build_suffix(self.network, self.plan), features, Rows.of(features, pairs))


def rebuild(stage: Stage, kept: Selection) -> Rebuilt:
    """The kept model from its stored weights."""
    trial = stage.all_params.trial(kept.trial)
    weights = stage.upstream(TRIAL_STAGE, "weights.npz", kept.trial, kept.seed)
    return _rebuilt(stage, FreezePlan(trial.vision_blocks, trial.text_blocks), weights)


def rebuild_warmup(stage: Stage) -> Rebuilt:
    """The network after the warm-up: where short fits start."""
    return _rebuilt(stage, FreezePlan(), stage.upstream(WARMUP_STAGE, "weights.npz"))


def _rebuilt(stage: Stage, plan: FreezePlan, weights: Path) -> Rebuilt:
    set_threads(stage.threads)
    encoders = load_encoders(stage.params.model)
    network = load_network(stage.params.model, dropout=stage.params.training.warmup.dropout, seed=0, encoders=encoders)
    load_weights(network, read_weights(weights))
    features = Features.open(stage.upstream_folder(FEATURES), plan)
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    return Rebuilt(network, plan, encoders, features, images, stage.all_params.execution.feature_batch)


def again(stage: Stage, model: Rebuilt, table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Answer pairs from their pixels on, and compare with what is stored: what is compared, and found.

    Numbers `repro.logit_difference` (largest, absolute), `repro.n_answers` and `repro.n_changed_answers`. A few hundred
    images are in memory at a time.
    """
    names, logit = pd.unique(pairs["image_id"]), np.empty(len(pairs))
    for start in range(0, len(names), IMAGES_AT_A_TIME):
        shown = names[start : start + IMAGES_AT_A_TIME]
        rows = np.flatnonzero(pairs["image_id"].isin(set(shown)))
        logit[rows] = model.logits(pairs.iloc[rows], model.features_of(shown, model.encoders.pixels))
        stage.progress(f"answered again {start + len(shown):,}/{len(names):,} images")
    stored = logits_of(rows_of(table, pairs))
    changed = RAW.decide(two_class(logit)) != RAW.decide(stored)
    shared = {"n": len(pairs), "split": str(Split.TEST)}
    largest = np.abs(two_class(logit) - stored).max()
    found = {
        "pairs answered again": stage.number("repro.n_answers", len(pairs), unit="count", split=str(Split.TEST)),
        "answers that change": stage.number("repro.n_changed_answers", changed.sum(), unit="count", **shared),
        "largest change of a logit": stage.number("repro.logit_difference", largest, kind=EXACT, **shared),
    }
    return pd.DataFrame({"compared": list(found), "found": list(found.values())})


def rows_of(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Predictions of some pairs, in their order."""
    return table.set_index("pair_id", drop=False).loc[pairs["pair_id"]].reset_index(drop=True)


def compared(stage: Stage, rows: pd.DataFrame, ours: np.ndarray, defect: np.ndarray) -> Effect:
    """Macro-F1 of two sets of logits of CONTRADICTION, (n,), for the same rows of a prediction table."""
    y_true = rows["y_true"].to_numpy()
    return measure(stage, rows, *(f1_of(y_true, RAW.decide(two_class(logit))) for logit in (ours, defect)))
