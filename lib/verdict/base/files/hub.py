"""Whether a hub's model can be had, known within seconds and before anything is loaded."""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import read_json
from verdict.base.params import DataParams

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def check_preset(preset: str, revision: str, parameter: str = "preset", *, needs_weights: bool = False) -> None:
    """Refuse a preset that is neither shipped, nor a folder, nor to be had from the hub.

    What is no hub id, or one without a revision, is a ValueError; what is neither stored nor reachable a
    ConnectionError. Where weights are needed a folder must hold safetensors, which cannot run code (else a ValueError).
    """
    if (folder := paths.preset_folder(preset)) is not None:
        if needs_weights and not ((folder / CONFIG).is_file() and any(folder.glob("*.safetensors"))):
            raise ValueError(f"{parameter}: the folder {folder} does not hold {CONFIG} and weights as safetensors")
        return
    if not (revision and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", preset)):
        meant = "nor a hub id with its revision, the commit that is meant"
        raise ValueError(f"{parameter}: {preset!r} is neither shipped nor a folder, {meant}")
    files = {CONFIG, *(_shards(preset, revision) if needs_weights else ("tokenizer_config.json",))}
    if not all(_stored(preset, revision, name) for name in files) and not is_reachable():
        raise ConnectionError(
            f"{parameter}: {preset} is not stored on this machine, and its hub does not answer; fetch it once where "
            f"there is a network (hf download {preset} --revision {revision}), set HF_HOME to the folder that holds "
            "it, or name a folder with its files"
        )


def check_asked(params: DataParams) -> None:
    """Refuse a model that is to be asked and cannot be had, as `check_preset` does."""
    if params.source == "answers" and params.answers.model.hub:
        asked = params.answers.model
        check_preset(asked.hub, asked.revision, "data.answers.model.hub", needs_weights=True)


def _shards(preset: str, revision: str) -> set[str]:
    index = _stored(preset, revision, f"{WEIGHTS}.index.json")
    return set(read_json(index)["weight_map"].values()) if index else {WEIGHTS}


def _stored(preset: str, revision: str, name: str) -> Path | None:
    """A file of a hub id that is stored on this machine, None where it is not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(preset, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def is_reachable(url: str = "", *, timeout_s: float = 2.0) -> bool:
    """Whether a hub answers within seconds; False where the environment says that there is no network."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    request = urllib.request.Request(url or os.environ.get("HF_ENDPOINT", "https://huggingface.co"), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
