"""The training stages, from a stage's parameters to its weights and prediction table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict import paths
from verdict.artifacts import content_hash, sha256_bytes
from verdict.backend import set_threads
from verdict.features import Features, load_network
from verdict.labels import EVALUATION_SPLITS, Split
from verdict.model import FreezePlan, Network, build_suffix
from verdict.params import FitParams
from verdict.predict import prediction_table
from verdict.stage import FEATURES, TRIAL_STAGE, Stage, library_files
from verdict.train import Fit, Rows, fit, load_weights, predict_logits, read_weights, save_weights

SHUFFLED = "shuffled"


@dataclass(frozen=True)
class TrainingRun:
    """What one training run leaves: the fit, its prediction table, the layers that trained."""

    fit: Fit
    predictions: pd.DataFrame
    layers: pd.DataFrame


def warmup_splits(stage: Stage) -> tuple[Split, Split]:
    """What the warm-up trains and validates on: the proxy task, or the target's own where the source has no proxy."""
    has_proxy = len(stage.pairs(Split.WARMUP_TRAIN)) > 0
    return (Split.WARMUP_TRAIN, Split.WARMUP_VAL) if has_proxy else (Split.TRAIN, Split.VAL)


def train_warmup(stage: Stage) -> TrainingRun:
    """Train the fusion head on the proxy task.

    Weights go to `weights.npz`, predictions are of the proxy's validation split.
    """
    params = stage.params.training
    plan, seed = FreezePlan(), params.warmup_seed
    network, features = _open(stage, plan, params.warmup, seed)
    splits = warmup_splits(stage)
    run = _fit(stage, network, plan, features, params.warmup, seed, splits, parent=None)
    pairs = stage.pairs(splits[1])
    table = _predict(network, plan, features, pairs, stage, trial="warmup", seed=seed, blank=False)
    return TrainingRun(run, table, _layers(run))


def train_trial(stage: Stage) -> TrainingRun:
    """Run one trial with one seed from its parent's weights; predictions are of every evaluation split.

    Rows of stage "shuffled" are the control: the test split with each pair shown another pair's image.
    """
    trial, seed = stage.trial, int(stage.seed)
    plan = FreezePlan(trial.vision_blocks, trial.text_blocks)
    network, features = _open(stage, plan, trial, seed)
    source = ("02_warmup", None, None) if trial.parent == "warmup" else (TRIAL_STAGE, trial.parent, seed)
    parent = read_weights(stage.upstream(source[0], "weights.npz", source[1], source[2]))
    load_weights(network, parent)
    blank = trial.image == "blank"
    run = _fit(stage, network, plan, features, trial, seed, (Split.TRAIN, Split.VAL), parent=parent, blank=blank)
    pairs = stage.pairs(*EVALUATION_SPLITS)
    named = {"trial": trial.name, "seed": seed, "blank": blank}
    table = _predict(network, plan, features, pairs, stage, **named)
    shuffled = shuffle_images(stage.pairs(Split.TEST), np.random.default_rng([seed, 1]))
    control = _predict(network, plan, features, shuffled, stage, **named).assign(stage=SHUFFLED)
    stage.save_table("shuffled", control)
    return TrainingRun(run, table, _layers(run))


def shuffle_images(pairs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Give every pair the image of another group's pair; labels and hypotheses stay.

    Raises
    ------
    ValueError
        If one group holds half of the pairs or more, so that no such exchange exists.
    """
    groups = pairs["group_id"].to_numpy()
    order = rng.permutation(len(pairs))
    order = order[np.argsort(groups[order], kind="stable")]
    largest = int(pd.Series(groups).value_counts().max())
    if 2 * largest > len(pairs):
        raise ValueError(f"{largest} of {len(pairs)} pairs are of one group: their images cannot be exchanged")
    partner = np.empty(len(pairs), dtype=np.int64)
    partner[order] = np.roll(order, largest)
    return pairs.assign(image_id=pairs["image_id"].to_numpy()[partner])


def describe(stage: Stage) -> pd.DataFrame:
    """The trial's configuration as a table of names and values."""
    content = stage.trial.model_dump(mode="json")
    return pd.DataFrame({"parameter": list(content), "value": [str(value) for value in content.values()]})


def _open(stage: Stage, plan: FreezePlan, params: FitParams, seed: int) -> tuple[Network, Features]:
    set_threads(stage.threads)
    features = Features.open(stage.upstream_folder(FEATURES), plan)
    return load_network(stage.params.model, dropout=params.dropout, seed=seed), features


def _fit(
    stage: Stage,
    network: Network,
    plan: FreezePlan,
    features: Features,
    params: FitParams,
    seed: int,
    splits: tuple[str, str],
    *,
    parent: dict[str, np.ndarray] | None,
    blank: bool = False,
) -> Fit:
    """Fit on the first split, validate on the second, and store the weights."""
    training = stage.params.training
    train, val = (Rows.of(features, stage.pairs(split)) for split in splits)
    outcome = fit(
        network,
        plan,
        features,
        train,
        val,
        params,
        seed=seed,
        batch_size=training.batch_size,
        criterion=training.criterion,
        global_clipnorm=training.global_clipnorm,
        blank=blank,
        checkpoint=_checkpoint(stage),
        identity=_identity(stage, parent),
        progress=stage.progress,
    )
    save_weights(network, stage.path("weights.npz"), parent=parent)
    return outcome


def _checkpoint(stage: Stage) -> Path:
    """Where a run's state is kept between epochs: outside the stage's folder, so that a failed job does not lose it."""
    name = f"{stage.trial_name}-s{stage.seed}" if stage.trial_name else "warmup"
    return paths.work_dir(stage.profile) / "checkpoints" / f"{name}.npz"


def _identity(stage: Stage, parent: dict[str, np.ndarray] | None) -> dict[str, Any]:
    """Everything that the weights depend on besides seed and fit parameters: pairs, features, start, model, code."""
    weights = {name: sha256_bytes(value.tobytes()) for name, value in (parent or {}).items()}
    code = {file.name: sha256_bytes(file.read_bytes()) for file in library_files(["import verdict.train"])}
    training = {key: getattr(stage.params.training, key) for key in ("batch_size", "criterion", "global_clipnorm")}
    return {
        "upstream": {name: stage.record(name)["outputs"] for name in ("01_data", FEATURES)},
        "parent": content_hash(weights),
        "model": stage.params.model.model_dump(mode="json"),
        "training": training,
        "code": code,
    }


def _predict(
    network: Network,
    plan: FreezePlan,
    features: Features,
    pairs: pd.DataFrame,
    stage: Stage,
    *,
    trial: str,
    seed: int,
    blank: bool,
) -> pd.DataFrame:
    logit = predict_logits(build_suffix(network, plan), features, Rows.of(features, pairs), blank=blank)
    return prediction_table(pairs, logit, stage=stage.name, trial=trial, seed=seed)


def _layers(run: Fit) -> pd.DataFrame:
    return pd.DataFrame({"layer": run.trainable})
