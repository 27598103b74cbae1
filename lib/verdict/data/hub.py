"""Whether a hub's model can be had, known within seconds and before anything is loaded."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request

from verdict.base import paths

HUB = "https://huggingface.co"
REACH_S = 2.0


def check_preset(preset: str, revision: str) -> None:
    """Refuse a preset that is neither shipped, nor a folder, nor to be had from the hub.

    What is no hub id, or one without a revision, is a ValueError; what is neither stored nor reachable a
    ConnectionError. No other model takes its place: what was asked for is what a page speaks of.
    """
    if paths.preset_folder(preset) is not None:
        return
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", preset):
        raise ValueError(f"clip.preset: {preset!r} is neither shipped nor a folder, and no hub id has such a name")
    if not revision:
        raise ValueError(
            f"clip.preset: {preset!r} is neither shipped nor a folder; a hub id needs its revision in "
            "clip.revision, the commit that is meant"
        )
    from huggingface_hub import try_to_load_from_cache

    files = ("config.json", "tokenizer_config.json")
    is_stored = all(isinstance(try_to_load_from_cache(preset, name, revision=revision), str) for name in files)
    if not is_stored and not is_reachable():
        raise ConnectionError(
            f"clip.preset: {preset} is not stored on this machine, and its hub does not answer; fetch it once where "
            "there is a network, or name another preset: digits_clip is shipped"
        )


def is_reachable(url: str = "", *, timeout_s: float = REACH_S) -> bool:
    """Whether a hub answers within seconds; False where the environment says that there is no network."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    request = urllib.request.Request(url or os.environ.get("HF_ENDPOINT", HUB), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
