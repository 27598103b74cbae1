"""A stage's folder, put in place whole: an execution writes to a folder of its own and renames it when it is done.

Two executions of one stage may run at once: a scheduler starts a lost job again while the workflow submits it anew. The
first whole result stands, so that whoever has read it still finds what it read.
"""

import contextlib
import errno
import glob
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from verdict.base import artifacts, paths
from verdict.base.artifacts import RECORD
from verdict.base.params import Params
from verdict.workflow.code_digest import code_digest
from verdict.workflow.stage_parameters import resolved

# The record once more: a workflow takes a job's declared output away before it runs it a second time.
TWIN = ".run.json"
HELD = ".held"
ABANDONED_S = 24 * 3600
# What makes two results answers to one question; inputs are compared besides.
QUESTION = ("stage", "trial", "params", "code", "versions")


def question(
    name: str, params: Params, trial: str | None = None, *, code: Callable[[str], str] = code_digest
) -> dict[str, Any]:
    """What an execution of a stage would be made from now, as its record holds it; `code`: perhaps a cached digest."""
    asked = {"params": resolved(params, name, trial), "code": code(name)}
    asked |= {"stage": name, "trial": trial, "versions": artifacts.package_versions()}
    return json.loads(artifacts.canonical_json(asked))


@contextlib.contextmanager
def private_folder(home: Path) -> Iterator[Path]:
    """A new folder beside a stage's own, for one execution; removed afterwards unless it was published, as are first
    those that dead executions of the same stage have left.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    for folder in home.parent.glob(f".{glob.escape(home.name)}.*.running*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    name = tempfile.mkdtemp(prefix=f".{home.name}.{platform.node()}.", suffix=".running", dir=home.parent)
    folder = Path(name)
    folder.chmod(0o755)
    with (folder / HELD).open("w") as lock:
        artifacts.try_lock(lock)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def failure(profile: str, page: str, ending: str = "ipynb") -> Path:
    """Where a failed stage leaves its notebook as far as it ran, or (`txt`) what stopped it; by the page's stem."""
    return paths.work_dir(profile) / "failed" / f"{page}.{ending}"


def was_killed(home: Path) -> bool:
    """Whether an execution of a stage has left its private folder: it was ended before it could fail."""
    return any(home.parent.glob(f".{glob.escape(home.name)}.*.running"))


def _is_abandoned(folder: Path) -> bool:
    """Whether nobody writes there any more: its lock is free on this machine, or it was left alone for a day."""
    try:
        if time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir())) > ABANDONED_S:
            return True
        if f".{platform.node()}." not in folder.name:
            return False
        with (folder / HELD).open("r+") as lock:
            return artifacts.try_lock(lock)
    except FileNotFoundError:
        return not folder.name.endswith(".running")
    except OSError:
        return False


def stands(home: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a whole result that answers this question, from the inputs as they are now, is in place; its record is
    put back where it was taken away. Without a recorded input nothing says that what it read is as it was.
    """
    record = _whole(home)
    if record is None or not record["inputs"] or not _agree(record, asked):
        return False
    if any(artifacts.recorded_hash(name, record) != expected for name, expected in record["inputs"].items()):
        return False
    return _put_record_back(home)


def publish(folder: Path, home: Path) -> bool:
    """Put an execution's folder, its record included, in the place of whatever the stage has; False where another's
    whole result answers the same question from the same inputs, which is kept.
    """
    artifacts.write_bytes(folder / TWIN, (folder / RECORD).read_bytes())
    (folder / HELD).unlink(missing_ok=True)
    own = artifacts.read_json(folder / TWIN)
    while True:
        try:
            os.rename(folder, home)
        except OSError as error:
            # Something is there: perhaps what another execution has published since.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return True
        other = _whole(home)
        if other is None or other["inputs"] != own["inputs"] or not _agree(other, own):
            retire(home)
        elif _put_record_back(home):
            return False


def retire(home: Path) -> None:
    """Take a stage's folder away, in one step for whoever reads it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    place = tempfile.mkdtemp(prefix=f".{home.name}.{platform.node()}.", suffix=".running-old", dir=home.parent)
    with contextlib.suppress(FileNotFoundError):
        os.rename(home, Path(place) / "old")
    shutil.rmtree(place, ignore_errors=True)


def _whole(home: Path) -> dict[str, Any] | None:
    """The record of what is in place, if everything is there that it lists."""
    try:
        return artifacts.verify_outputs(home, TWIN)
    except (OSError, ValueError, KeyError, TypeError, artifacts.StaleResultError):
        return None


def _agree(record: Mapping[str, Any], question: Mapping[str, Any]) -> bool:
    return all(record.get(name) == question.get(name) for name in QUESTION)


def _put_record_back(home: Path) -> bool:
    """Write the record from its twin where it is gone; False where another execution has taken the folder away."""
    path = home / RECORD
    try:
        content = (home / TWIN).read_bytes()
        if not path.is_file() or path.read_bytes() != content:
            artifacts.write_bytes(path, content)
    except FileNotFoundError:
        return False
    return (home / TWIN).is_file()
