"""The smoke report from start to end wherever a project may lie: `-m tests.bench.matrix`, with PYTHONPATH=lib.

Paths, how the project came there, and what the machine lacks are combined; each combination makes the report with
`make report`, and its numbers are compared with the first one's. The environment is that of this project: nothing is
installed. Not part of `make test`: each combination takes minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from verdict.base import paths
from verdict.workflow import start

PROFILE = "smoke"
# How long a run took, and what git says of the project, with the claims that stand on it, are no results.
NOT_COMPARED = (
    *("repro.total_min", "repro.n_commits", "repro.n_dirty"),
    *("repro.n_claims_hold", "repro.n_claims_not_applicable"),
)
PATHS = {
    "blank": "a folder of mine",
    "quote": 'it\'s "mine"',
    "dollar": "cost$HOME$(x)",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "long": "x" * 200,
}


def clone(target: Path) -> None:
    """The project as somebody clones it."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(paths.ROOT), str(target)], check=True)


def unpack(target: Path) -> None:
    """The project's committed files without its history, as an archive holds them."""
    archive = subprocess.run(["git", "-C", str(paths.ROOT), "archive", "HEAD"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(target, filter="data")


def unpack_inside_another(target: Path) -> None:
    """The same in a folder of somebody's own repository, which tracks it."""
    unpack(target)
    own = ("-c", "user.name=n", "-c", "user.email=e")
    for command in (("init", "--quiet"), ("add", "--force", "."), (*own, "commit", "--quiet", "--message", "theirs")):
        subprocess.run(["git", "-C", str(target.parent), *command], check=True)


SOURCES: dict[str, Callable[[Path], None]] = {"clone": clone, "archive": unpack, "inside": unpack_inside_another}


def without_git(variables: dict[str, str], folder: Path) -> dict[str, str]:
    """A search path that has all programs but git."""
    folder.mkdir()
    for place in reversed(variables["PATH"].split(os.pathsep)):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            if program.name != "git":
                (folder / program.name).unlink(missing_ok=True)
                (folder / program.name).symlink_to(program)
    return {**variables, "PATH": str(folder)}


def without_home(variables: dict[str, str], folder: Path) -> dict[str, str]:
    """A home that is not there and cannot be made."""
    return {**variables, "HOME": "/dev/null/home"}


def as_it_is(variables: dict[str, str], folder: Path) -> dict[str, str]:
    """Nothing is missing."""
    return variables


MACHINES = {"no git": (without_git, 0o022), "no home": (without_home, 0o022), "umask 077": (as_it_is, 0o077)}


def link_environment(root: Path) -> None:
    """An environment below the project's path that is made of this project's."""
    venv = root / ".venv"
    venv.mkdir()
    for part in Path(sys.prefix).iterdir():
        (venv / part.name).symlink_to(part)
    (venv / ".ready").unlink(missing_ok=True)
    (venv / ".ready").touch()


def combinations() -> list[tuple[str, str, str]]:
    """All, in an order in which the first six have every path, and the first eighteen every path of every source."""
    folders, sources, machines = list(PATHS), list(SOURCES), list(MACHINES)
    return [
        (folder, sources[(k + turn) % 3], machines[(k // 2 + turn + again) % 3])
        for again in range(3)
        for turn in range(3)
        for k, folder in enumerate(folders)
    ]


def numbers(root: Path) -> dict[str, dict]:
    """Every stored number that is a result, by file."""
    work = root / "work" / PROFILE
    stored = {path.relative_to(work).as_posix(): json.loads(path.read_text()) for path in work.rglob("numbers.json")}
    return {file: {key: v for key, v in found.items() if key not in NOT_COMPARED} for file, found in stored.items()}


def report(root: Path, machine: str, scratch: Path, cores: int) -> tuple[str, dict[str, dict]]:
    """Make the report; what is wrong, "" where nothing is, and its numbers."""
    change, mask = MACHINES[machine]
    given = {key: value for key, value in os.environ.items() if not key.startswith(("VERDICT", "PYTHON", "MAKE"))}
    done = subprocess.run(
        ["make", "report", f"PROFILE={PROFILE}", f"CORES={cores}"],
        cwd=root,
        env=change(given, scratch / "bin"),
        capture_output=True,
        text=True,
        umask=mask,
        check=False,
    )
    index = root / "reports" / PROFILE / "index.html"
    if done.returncode or not index.is_file():
        return f"status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}", {}
    if "making the environment" in done.stdout:
        return "the environment was made again", {}
    return "", numbers(root)


def main() -> int:
    """Command line; 1 where a report was not made, or has other numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12, help="combinations, of 54 (default: %(default)s)")
    parser.add_argument("--skip", type=int, default=0, help="combinations to leave out at the beginning")
    parser.add_argument("--cores", type=int, default=1, help="jobs at a time (default: %(default)s)")
    chosen = parser.parse_args()
    first, failed = None, 0
    for number, names in enumerate(combinations()[chosen.skip : chosen.skip + chosen.n], start=chosen.skip + 1):
        begun, (folder, source, machine) = time.monotonic(), names
        with tempfile.TemporaryDirectory(prefix="verdict-matrix-", dir=start.short_folder()) as name:
            root = Path(name).resolve() / "above" / PATHS[folder]
            root.parent.mkdir()
            SOURCES[source](root)
            link_environment(root)
            wrong, found = report(root, machine, Path(name), chosen.cores)
            first = first or found
            if not wrong and found != first:
                differ = sorted(file for file in first.keys() | found.keys() if first.get(file) != found.get(file))
                wrong = f"other numbers in {', '.join(differ)}"
            shutil.rmtree(root, ignore_errors=True)
        failed += bool(wrong)
        told = f"{number:2d} {', '.join(names)}: {wrong or 'as the first'}  {time.monotonic() - begun:.0f} s"
        print(told, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
