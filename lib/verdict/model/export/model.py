"""The kept model of a profile, from its records, and its logits for images and hypotheses that it has never seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import StaleResultError, relative, sha256_file, sha256_tree, verify_outputs
from verdict.base.files.images import ImageStore
from verdict.base.files.picture_files import find_damaged
from verdict.base.numbers import Numbers
from verdict.base.params import ExecutionParams, ModelParams
from verdict.base.refusals import N_LISTED
from verdict.model.kept import open_model
from verdict.model.network import FreezePlan
from verdict.model.predict import DecisionRule, two_class
from verdict.workflow import stages

Progress = Callable[[str], None]
SELECTION, CALIBRATION = "04_model_selection", "07_calibration"


@dataclass(frozen=True)
class Kept:
    """What model selection kept, with all that its answers depend on.

    `params` are those of the run that trained it, whatever the profile says now; the temperature of the rule is 1 where
    calibration has not run.
    """

    trial: str
    seed: int
    params: ModelParams
    plan: FreezePlan
    weights: Path
    rule: DecisionRule
    is_calibrated: bool


def load_kept(profile: str) -> Kept:
    """Find the kept model of a profile's report, every file compared with its record.

    A StaleResultError where one was changed, a stage stems from another run of its upstream, or a preset is another.
    """
    chosen, selection = _verified(profile, SELECTION)
    row = pd.read_parquet(chosen / "selection.parquet").iloc[0]
    trial, seed = str(row["trial"]), int(row["seed"])
    trained, run = _verified(profile, stages.TRIAL_STAGE, trial)
    _require_descent(selection, trained)
    _require_presets(run["params"]["presets"])
    is_calibrated = stages.finished(profile, CALIBRATION)
    temperature = 1.0
    if is_calibrated:
        fitted, calibration = _verified(profile, CALIBRATION)
        _require_descent(calibration, chosen)
        temperature = Numbers.load(fitted / "numbers.json")["calibration.temperature"].value
    asked, params = run["params"]["trial"], ModelParams.model_validate(run["params"]["model"])
    plan, rule = FreezePlan(asked["vision_blocks"], asked["text_blocks"]), DecisionRule(temperature=temperature)
    return Kept(trial, seed, params, plan, trained / stages.weights_file(seed), rule, is_calibrated)


def _verified(profile: str, name: str, trial: str | None = None) -> tuple[Path, dict[str, Any]]:
    home = stages.folder(profile, name, trial)
    try:
        return home, verify_outputs(home)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; make the report first: make report PROFILE={profile}") from None


def _require_descent(record: Mapping[str, Any], upstream: Path) -> None:
    """Refuse a stage that was made from another run of what it is used with."""
    name = relative(upstream / "run.json")
    if record["inputs"].get(name) != sha256_file(upstream / "run.json"):
        raise StaleResultError(f"{record['stage']} was made before {name}; make the report again")


def _require_presets(trained_with: Mapping[str, str]) -> None:
    for preset, expected in trained_with.items():
        folder = paths.preset_folder(preset)
        if folder is None or sha256_tree(folder) != expected:
            raise StaleResultError(
                f"the preset {preset!r} is not the one that the weights were trained on; make the report again"
            )


def predict(
    kept: Kept, pairs: pd.DataFrame, files: Mapping[str, Path], run: ExecutionParams, *, skip: bool, progress: Progress
) -> tuple[np.ndarray, dict[str, str]]:
    """Logits of pairs by the kept model, in inference mode; memory holds one batch, whatever the number of pairs.

    Pairs of one image are taken together, so that it is decoded and encoded once.

    The pairs have columns image_id and hypothesis; `run` says how many are taken at a time, and how many threads
    decode. The logits are float64 (n, 2) in the order of the pairs, beside the cause by id of each image that cannot be
    read; with `skip` its pairs get NaN.
    """
    model = open_model(kept.params, kept.plan, kept.weights, batch=run.feature_batch)
    store = ImageStore.of_files(files, workers=run.threads)
    order = np.argsort(np.unique(pairs["image_id"].to_numpy(dtype=object), return_inverse=True)[1], kind="stable")
    logit, unreadable, done = np.full(len(pairs), np.nan), {}, 0
    for rows in model.parts(order):
        asked = pairs.iloc[rows].astype({"hypothesis": str})
        shown, images, faults = _load(store, files, list(pd.unique(asked["image_id"])), model.encoders.image_size)
        unreadable |= faults
        # After a fault that stops the export, the remaining images are only read, to count the faults.
        if images and (skip or not unreadable):
            known = asked["image_id"].isin(images).to_numpy()
            features = model.read(np.unique(asked.loc[known, "hypothesis"].to_numpy(dtype=str)).tolist())
            features = model.seen(images, [model.encoders.pixels(shown)], features)
            logit[rows[known]] = model.logits(asked[known], features)
        done += len(rows)
        progress(f"pairs {done:,}/{len(order):,}")
    if unreadable and not skip:
        listed = "; ".join(list(unreadable.values())[:N_LISTED])
        raise ValueError(f"{len(unreadable)} of {len(files)} images cannot be read: {listed}")
    return two_class(logit), unreadable


def _load(
    store: ImageStore, files: Mapping[str, Path], image_ids: list[str], size: tuple[int, int]
) -> tuple[np.ndarray, list[str], dict[str, str]]:
    """Pixels of the images that can be read, their ids, and the cause for each of the others."""
    try:
        return store.load(image_ids, size=size), image_ids, {}
    except (ValueError, OSError):
        faults = find_damaged({image_id: files[image_id] for image_id in image_ids})
        good = [image_id for image_id in image_ids if image_id not in faults]
        return store.load(good, size=size), good, faults
