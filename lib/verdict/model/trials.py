"""The training stages, from a stage's parameters to its weights and prediction table."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import content_hash, package_versions, relative, sha256_bytes
from verdict.base.files.images import ImageStore
from verdict.base.labels import EVALUATION_SPLITS, Split
from verdict.base.params import TrialParams
from verdict.model import augment, fit as fitting
from verdict.model.backend import set_threads
from verdict.model.features import EMPTY_TEXT, AugmentedViews, Encoders, Features, load_encoders, load_network
from verdict.model.lineage import setting_text
from verdict.model.network import FreezePlan
from verdict.model.oversample import bucket_flags, oversample
from verdict.model.predict import prediction_table
from verdict.stats.uncertainty import stream
from verdict.workflow.code_digest import library_files
from verdict.workflow.stage import Stage
from verdict.workflow.stages import FEATURES, TRIAL_STAGE, WARMUP_STAGE, weights_file

SHUFFLED = "shuffled"


@dataclass(frozen=True)
class TrainingRun:
    """Result of one training run: the fit, and predictions where it made any; of a trial those of the control too."""

    fit: fitting.Fit
    predictions: pd.DataFrame | None = None
    shuffled: pd.DataFrame | None = None

    @property
    def history(self) -> pd.DataFrame:
        """Scores by epoch, and which epoch is kept."""
        history = self.fit.history.drop(columns="elapsed_s")
        return history.assign(is_kept=history["epoch"] == self.fit.best_epoch)


def warmup_splits(stage: Stage) -> tuple[Split, Split]:
    """What the warm-up trains and validates on: the proxy task, or the target's own where the source has no proxy."""
    has_proxy = len(stage.pairs(Split.WARMUP_TRAIN)) > 0
    return (Split.WARMUP_TRAIN, Split.WARMUP_VAL) if has_proxy else (Split.TRAIN, Split.VAL)


def train_warmup(stage: Stage) -> TrainingRun:
    """Train the fusion head on the proxy task.

    Weights go to `weights.npz`, predictions are of the proxy's validation split.
    """
    training = stage.params.training
    train, val = (stage.pairs(split) for split in warmup_splits(stage))
    depth = {"vision_blocks": 0, "text_blocks": 0}
    trial = TrialParams(name="warmup", parent="warmup", **depth, **training.warmup.model_dump())
    fitted, (answers,) = _train(stage, trial, training.warmup_seed, (train, val, val))
    return TrainingRun(fitted, answers)


def train_trial(stage: Stage) -> dict[int, TrainingRun]:
    """Train one trial with each of its seeds, one after the other, from its parent's weights of the same seed.

    By seed; predictions are of every evaluation split. Weights go to `weights-s<seed>.npz`.
    """
    # To load the presets again for each seed took a second.
    encoders, runs = load_encoders(stage.params.model), {}
    untrained = [(model, copy.deepcopy(model.get_weights())) for model in (encoders.vision, encoders.text)]
    for seed in stage.seeds:
        stage.progress(f"seed {seed}")
        for model, weights in untrained:
            model.set_weights(weights)
        runs[seed] = train_seed(stage, seed, encoders=encoders)
    return runs


def train_ahead(stage: Stage) -> None:
    """Train one seed in a job of its own, where seeds are trained apart; its trial goes on from the state it leaves."""
    train_seed(stage, int(stage.seed), is_asked=False)
    stage.save()


def train_seed(stage: Stage, seed: int, *, encoders: Encoders | None = None, is_asked: bool = True) -> TrainingRun:
    """Train one trial with one seed, and ask it, or leave its state alone.

    `shuffled` is the control: the test split with each pair shown another pair's image. Augmented views and
    oversampling concern training alone; a blank side is blank in training and in every split.
    """
    trial = stage.trial
    source = (
        (WARMUP_STAGE, "weights.npz") if trial.parent == "warmup" else (TRIAL_STAGE, weights_file(seed), trial.parent)
    )
    pairs = as_shown(stage.pairs(), trial)
    train, val, test, evaluation = (
        pairs[pairs["split"].isin(splits)].reset_index(drop=True)
        for splits in ((Split.TRAIN,), (Split.VAL,), (Split.TEST,), EVALUATION_SPLITS)
    )
    shuffled = shuffle_images(test, stream(seed, "training.shuffled_images"))
    tables = (oversampled(train, trial, seed), val, *((evaluation, shuffled) if is_asked else ()))
    parent = fitting.read_weights(stage.upstream(*source))
    fitted, answers = _train(stage, trial, seed, tables, encoders=encoders, parent=parent, n_shown=len(train))
    return TrainingRun(fitted, answers[0], answers[1].assign(stage=SHUFFLED)) if is_asked else TrainingRun(fitted)


def together(runs: Mapping[int, TrainingRun]) -> dict[str, pd.DataFrame]:
    """Tables of all seeds, each with a column `seed`: predictions, shuffled, history (with `is_kept`)."""
    return {
        "predictions": pd.concat([run.predictions for run in runs.values()], ignore_index=True),
        "shuffled": pd.concat([run.shuffled for run in runs.values()], ignore_index=True),
        "history": pd.concat([run.history.assign(seed=seed) for seed, run in runs.items()], ignore_index=True),
    }


def _train(
    stage: Stage,
    trial: TrialParams,
    seed: int,
    tables: tuple[pd.DataFrame, ...],
    *,
    encoders: Encoders | None = None,
    parent: dict[str, np.ndarray] | None = None,
    n_shown: int | None = None,
) -> tuple[fitting.Fit, list[pd.DataFrame]]:
    """Fit on the first table, validate on the second; where there are others, store the weights and predict these."""
    set_threads(stage.threads)
    folder, training = stage.upstream_folder(FEATURES), stage.params.training
    plan, blank = FreezePlan(trial.vision_blocks, trial.text_blocks), trial.image == "blank"
    features = Features.open(folder, plan)
    views = AugmentedViews.open(folder, plan, trial.views) if trial.views else None
    network = load_network(stage.params.model, dropout=trial.dropout, seed=seed, encoders=encoders)
    if parent is not None:
        fitting.load_weights(network, parent)
    train, val, *asked = (fitting.Rows.of(features, table) for table in tables)
    outcome = fitting.fit(
        network,
        plan,
        fitting.Shown(features, train, val, blank=blank, n_shown=n_shown, views=views),
        trial,
        training,
        seed=seed,
        checkpoint=_checkpoint(stage, seed),
        identity=_identity(stage, parent, (AugmentedViews if trial.views else Features).files(plan)),
        progress=stage.progress,
    )
    if not asked:
        return outcome, []
    fitting.save_weights(network, stage.path(weights_file(seed) if stage.trial_name else "weights.npz"), parent=parent)
    suffix, told = fitting.trained_part(network, plan), {"stage": stage.name, "trial": trial.name, "seed": seed}
    logits = (fitting.predict_logits(suffix, features, rows, blank=blank) for rows in asked)
    return outcome, [prediction_table(table, logit, **told) for table, logit in zip(tables[2:], logits, strict=True)]


def as_shown(pairs: pd.DataFrame, trial: TrialParams) -> pd.DataFrame:
    """Pairs with the hypotheses that a trial's network reads: their own, or the empty text in the place of each."""
    return pairs if trial.text == "shown" else pairs.assign(hypothesis=EMPTY_TEXT)


def shown_text(trial: TrialParams) -> str:
    """What an epoch of a trial shows, as one sentence."""
    image = {"shown": "its plain image", "blank": "no image"}[trial.image]
    if trial.views:
        image = f"one of {trial.views} augmented views of its image"
    text = "" if trial.text == "shown" else " and the empty text for a hypothesis"
    if not trial.oversample:
        return f"An epoch shows every training pair once, with {image}{text}."
    return f"An epoch shows as many pairs as there are, those of some buckets more often, each with {image}{text}."


def oversampled(pairs: pd.DataFrame, trial: TrialParams, seed: int) -> pd.DataFrame:
    """The pairs that a trial's epochs draw from: all of them once, and the extra ones of its buckets."""
    if not trial.oversample:
        return pairs
    rng = stream(seed, "training.oversample")
    return pairs.iloc[oversample(bucket_flags(pairs), trial.oversample, rng=rng)].reset_index(drop=True)


def exposure(pairs: pd.DataFrame, trial: TrialParams, seed: int) -> pd.DataFrame:
    """How often an epoch shows the buckets that a trial oversamples, beside how often they occur.

    One row a bucket: bucket, weight, n_pairs, share (of the training pairs), share_of_epoch (expected; an epoch shows
    as many pairs as there are, drawn from these and the extra ones).
    """
    columns = ["bucket", "weight", "n_pairs", "share", "share_of_epoch"]
    if not trial.oversample:
        return pd.DataFrame(columns=columns)
    before, after = bucket_flags(pairs), bucket_flags(oversampled(pairs, trial, seed))
    rows = [
        (bucket, weight, int(before[bucket].sum()), float(before[bucket].mean()), float(after[bucket].mean()))
        for bucket, weight in trial.oversample.items()
    ]
    return pd.DataFrame(rows, columns=columns)


def view_examples(stage: Stage, n_images: int) -> tuple[list[np.ndarray], list[str]]:
    """The first training images, each plain and in the views that a trial's epochs choose from, with their titles.

    Two empty lists for a trial without augmentation.
    """
    if not stage.trial.views:
        return [], []
    store = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    image_ids = list(pd.unique(stage.pairs(Split.TRAIN)["image_id"])[:n_images])
    images: list[np.ndarray] = []
    for image_id in image_ids:
        plain = np.asarray(store.thumbnail(image_id))
        given = (plain[None].astype(np.float32) / 255, [image_id], stage.params.training.photometric)
        views = (augment.photometric(*given, view=view)[0] for view in range(1, stage.trial.views + 1))
        images += [plain, *(np.round(255 * view).astype(np.uint8) for view in views)]
    return images, ["plain", *(f"view {view}" for view in range(1, stage.trial.views + 1))] * len(image_ids)


def shuffle_images(pairs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Give every pair the image of another group's pair; labels and hypotheses stay."""
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
    """The trial's configuration as a table of names and values, without what is as by default; three digits."""
    content = stage.trial.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    shown = [f"{value:.3g}" if isinstance(value, float) else setting_text(value) for value in content.values()]
    return pd.DataFrame({"parameter": list(content), "value": shown})


def _checkpoint(stage: Stage, seed: int) -> Path:
    """Where a run's state is kept between epochs: outside the stage's folder, so that a failed job does not lose it."""
    name = f"{stage.trial_name}-s{seed}" if stage.trial_name else "warmup"
    return paths.work_dir(stage.profile) / "checkpoints" / f"{name}.npz"


def _identity(stage: Stage, parent: dict[str, np.ndarray] | None, files: tuple[str, ...]) -> dict[str, Any]:
    """Everything that the weights depend on besides what `fit` is passed: features, start, model, code, libraries.

    The pairs are passed to `fit` as rows of features; of these, only the files that the plan reads count, so that one
    more depth or one more augmented trial leaves the other runs' states valid.
    """
    weights = {name: sha256_bytes(value.tobytes()) for name, value in (parent or {}).items()}
    code = {relative(file): sha256_bytes(file.read_bytes()) for file in library_files(["import verdict.model.fit"])}
    training = {key: getattr(stage.params.training, key) for key in ("batch_size", "criterion", "global_clipnorm")}
    encoded = {Path(name).name: digest for name, digest in stage.record(FEATURES)["outputs"].items()}
    return {
        "features": {name: encoded[name] for name in (*files, "presets.json")},
        "parent": content_hash(weights),
        "model": stage.params.model.model_dump(mode="json"),
        "training": training,
        "code": code,
        "versions": package_versions(),
    }
