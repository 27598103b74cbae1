"""Whole reports in copies of the project, as a person would make them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from verdict.base import artifacts, paths
from verdict.base.numbers import Numbers
from verdict.workflow import start

PROFILE = "smoke"
LIMIT_S = 600
# What the shell of a person may hold.
HOSTILE = {
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    "PYTHONSTARTUP": "/tmp/own.py",
    "KERAS_HOME": "/tmp/keras",
    "KERAS_BACKEND": "jax",
    "MPLBACKEND": "tkagg",
    "MPLCONFIGDIR": "/tmp/mpl",
    "MATPLOTLIBRC": "/tmp/rc",
    "JUPYTER_CONFIG_DIR": "/tmp/jupyter",
    "IPYTHONDIR": "/tmp/ipython",
    "JPY_PARENT_PID": "1",
    "SNAKEMAKE_PROFILE": "/tmp/profile",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "NVIDIA_TF32_OVERRIDE": "1",
    "MKL_NUM_THREADS": "3",
    "OPENBLAS_CORETYPE": "Prescott",
    "LC_ALL": "tr_TR.ISO-8859-9",
    "LANG": "de_DE",
    "LC_NUMERIC": "de_DE.UTF-8",
    "TZ": "Asia/Kathmandu",
    "COLUMNS": "20",
    "GIT_DIR": "/tmp/other.git",
    "BASH_ENV": "/tmp/bashenv",
    "XDG_CONFIG_HOME": "/tmp/config",
    "PANDAS_COPY_ON_WRITE": "0",
    "SKLEARN_ASSUME_FINITE": "1",
}


def _without_git() -> list[str]:
    """Names of files of a project that was unpacked, but what runs have left beside them."""
    names = [path.relative_to(paths.ROOT) for path in paths.ROOT.rglob("*") if path.is_file()]
    kept = paths.TAKEN | {"README.md"}
    apart = {"__pycache__", ".ipynb_checkpoints"}
    names = [name for name in names if name.parts[0] not in (".git", ".venv", ".snakemake", ".ruff_cache", "work")]
    names = [name for name in names if name.parts[0] != "reports" or name.parts[1] in kept]
    return [name.as_posix() for name in names if not apart & set(name.parts)]


def copy_project(target: Path) -> Path:
    """The files that git tracks or would track, and nothing that a run has left."""
    listed = artifacts.git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in _without_git() if listed is None else listed.split("\0"):
        source = paths.ROOT / name
        if source.is_file() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def environment(root: Path) -> dict[str, str]:
    """What a run in a copy sees; on the processor, as the committed numbers were made."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("VERDICT")}
    return start.environment(root, own) | {"CUDA_VISIBLE_DEVICES": ""}


def command(*targets: str) -> list[str]:
    called = [sys.executable, "-m", "verdict.workflow.pipeline", "--profile", PROFILE, "--cores", "2"]
    return [*called, *(f"work/{PROFILE}/{target}/run.json" for target in targets)]


def report(root: Path, *targets: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A whole report, or the results of some stages alone."""
    given = {**environment(root), **variables}
    asked = command(*targets)
    return subprocess.run(asked, cwd=root, env=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def told(root: Path, module: str, *arguments: object, **variables: str) -> str:
    """What a command of a report says."""
    command = [sys.executable, "-m", "verdict.workflow.start", module, *map(str, arguments), "--profile", PROFILE]
    given = {**environment(root), **variables}
    done = subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return done.stdout


def made(root: Path, profile: str | None = None, *targets: str, **variables: str) -> Path:
    """A project whose report, of a profile of one's own where it is given, has run without a fault."""
    if profile is not None:
        (root / "params" / f"{PROFILE}.yaml").write_text(profile, encoding="utf-8")
    done = report(root, *targets, **variables)
    assert done.returncode == 0, done.stderr[-4000:]
    return root


def pages_of(root: Path) -> dict[str, str]:
    """Text of each page by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in (root / "reports" / PROFILE).glob("*.html")}


def records(root: Path) -> dict[str, float]:
    """When each stage was recorded."""
    return {str(path): path.stat().st_mtime for path in (root / "work" / PROFILE).rglob("run.json")}


def numbers_of(root: Path, stage: str) -> Numbers:
    return Numbers.load(root / "work" / PROFILE / stage / "numbers.json")
