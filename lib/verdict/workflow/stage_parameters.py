"""The parameters of a stage: those of its notebook's `parameters` cell, and those that its result depends on."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from verdict.base import paths
from verdict.base.artifacts import content_hash, sha256_file, sha256_tree
from verdict.base.params import Params, flatten
from verdict.workflow import stages

# Type and default of what some notebooks' `parameters` cells hold besides the profile.
OWN_PARAMETERS: dict[str, dict[str, Any]] = {
    stages.TRIAL_STAGE: {"trial": (str, "frozen")},
    stages.MONITOR: {"log": (str, ""), "labels": (str, "")},
    **{name: {"source": (Literal["model", "clip"], "model")} for name in stages.JUDGING},
}


def parameter_model(notebook: str) -> type[BaseModel]:
    """The model that a notebook's `parameters` cell must agree with: literals only."""
    strict, own = ConfigDict(extra="forbid", strict=True), OWN_PARAMETERS.get(notebook, {})
    return create_model("StageParameters", __config__=strict, profile=(str, "digits"), **own)


def judged(params: Params, name: str) -> Params:
    """The parameters as a stage sees them: those about another source's classes take the place of the profile's own."""
    return params.about_clip() if stages.source_of(name) == stages.CLIP else params


def resolved(params: Params, name: str, trial: str | None = None) -> dict[str, Any]:
    """The parameters that a stage depends on, as JSON-like values; a change of anything else does not re-run it.

    Presets in a folder and the user's own files stand with their hashes, so that a changed one re-runs what it fed.
    """
    params = judged(params, name)
    content = params.as_dict()
    chosen: dict[str, Any] = {}
    for section in stages.spec(name, params).sections:
        if section == "plans":
            chosen["plans"] = stages.plans(params)
        elif section == "views":
            wanted = stages.augmented_views(params)
            chosen |= {"views": wanted, "photometric": content["training"]["photometric"]} if wanted else {}
        elif section == "trial":
            own = params.trial(str(trial)).model_dump(mode="json")
            chosen["trial"] = own | {"seeds": stages.seeds(params, str(trial))}
        else:
            chosen[section] = content[section]
    if "clip" in chosen:
        chosen["clip"] = _clip(params, content)
    if name in (stages.RECORDED, "01_data") and params.data.is_own:
        chosen["files"] = _hashes(params.data.own_files)
    if "training" in chosen:
        apart = _without_effect(params, name, trial)
        chosen["training"] = {key: value for key, value in chosen["training"].items() if key not in apart}
    if "model" in chosen:
        named = (params.model.vision_preset, params.model.text_preset)
        folders = {preset: paths.preset_folder(preset) for preset in named}
        chosen["presets"] = {preset: sha256_tree(found) for preset, found in folders.items() if found is not None}
    return chosen


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What differs between two sets of `resolved` parameters: dotted names, and, as sentences, the user's own files
    that hold something else.
    """
    then, now = flatten(then), flatten(now)
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    files = [name for name in changed if name in then and name in now and name.startswith(("files.", "clip.files."))]
    told = [name.removeprefix("clip.").removeprefix("files.") for name in files]
    said = [f"the {'folder' if paths.data_folder(name) else 'file'} {name} has changed since" for name in told]
    return [name for name in changed if name not in files], said


def _hashes(names: Sequence[str]) -> dict[str, str]:
    """Of the user's own files, by what they hold, and folders, by names, sizes and times of what is in them; "" where
    one is missing.
    """
    found = {}
    for name in names:
        home = paths.data_folder(name)
        if file := paths.data_file(name):
            found[name] = sha256_file(file)
        elif home:
            files = sorted(path for path in home.rglob("*") if path.is_file())
            listed = [(str(p.relative_to(home)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
            found[name] = content_hash(listed)
    return dict.fromkeys(names, "") | found


def _clip(params: Params, content: dict[str, Any]) -> dict[str, Any]:
    """What the dual encoder's results depend on: a preset in a folder with its hash, without batch and threads."""
    folder = paths.preset_folder(params.clip.preset)
    own = {key: value for key, value in content["clip"].items() if key not in ("batch", "threads")}
    if params.clip.is_own:
        own["files"] = _hashes(params.clip.own_files)
    return own | ({"weights": sha256_tree(folder)} if folder is not None else {})


def _without_effect(params: Params, name: str, trial: str | None) -> set[str]:
    """Entries of the training section that a stage's result does not depend on."""
    is_training = name in (stages.WARMUP_STAGE, stages.TRIAL_STAGE)
    apart = {"trials", "seeds", "n_control_seeds", "margin"} if is_training else set()
    shown = (params.trial(trial),) if trial else () if name == stages.WARMUP_STAGE else params.training.trials
    return apart if any(one.views for one in shown) else apart | {"photometric"}
