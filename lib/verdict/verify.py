"""Check an installation: the smoke profile in a fresh clone, its numbers against those committed.

`make verify` runs it. The table is made by `python -m verdict.verify --write`, from a report of the smoke profile.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from verdict import artifacts, paths, place, start
from verdict.numbers import Numbers

PROFILE = "smoke"
TABLE = paths.REPORTS / "verified" / "smoke.csv"
# What an execution took is no result; a cost in minutes is one.
MEASURES_OF_RUNNING = frozenset({"s", "ms", "h", "MB", "MiB", "GB"})
TIMES = frozenset({"repro.total_min"})
# Nothing is trained before these, so that nothing is rounded differently on another processor.
EXACT = ("01_data", "features")
# Elsewhere a value, and a bound of its interval, may lie so far from the table's: absolutely, or relative to it.
# Another processor rounds differently, training carries that on, and a pair at a threshold may be decided differently.
ABSOLUTE, RELATIVE = 0.02, 0.05
SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One stored value that is not as the table says; None where one side lacks it."""

    place: str
    field: str
    expected: float | None
    got: float | None

    def __str__(self) -> str:
        expected, got = ("absent" if v is None else f"{v:.6g}" for v in (self.expected, self.got))
        return f"{self.place} ({self.field}): expected {expected}, got {got}"


def collect(work: Path) -> pd.DataFrame:
    """Every stored number of a profile's work folder that is a result.

    Returns
    -------
    DataFrame
        stage (with trial and seed), number, value, low, high, n; sorted by stage and number.
    """
    rows = []
    for path in sorted(work.rglob("numbers.json")):
        parts = path.parent.relative_to(work).parts
        if parts[0] in ("scratch", "feature_shards") or any(part.startswith(".") for part in parts):
            continue
        for name, number in Numbers.load(path).items():
            if number.unit not in MEASURES_OF_RUNNING and name not in TIMES:
                rows.append(("/".join(parts), name, number.value, number.low, number.high, number.n))
    table = pd.DataFrame(rows, columns=["stage", "number", "value", "low", "high", "n"])
    return table.sort_values(["stage", "number"], ignore_index=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write what `collect` gives, in seven digits."""
    buffer = io.StringIO()
    table.assign(n=table["n"].astype("Int64")).to_csv(buffer, index=False, float_format="%.7g", lineterminator="\n")
    artifacts.write_text(path, buffer.getvalue())


def compare(expected: pd.DataFrame, got: pd.DataFrame) -> list[Difference]:
    """Values beyond tolerance, and numbers that one side lacks, in the order of the table."""
    key = ["stage", "number"]
    both = expected.merge(got, on=key, how="outer", suffixes=("", "_got"), indicator=True)
    found = []
    for row in both.to_dict("records"):
        place = f"{row['stage']} {row['number']}"
        if row["_merge"] != "both":
            is_missing = row["_merge"] == "left_only"
            value = row["value"] if is_missing else row["value_got"]
            found.append(Difference(place, "value", value if is_missing else None, None if is_missing else value))
            continue
        for field in ("value", "low", "high", "n"):
            if not _agrees(row[field], row[f"{field}_got"], is_exact=_is_exact(row["stage"], field)):
                found.append(Difference(place, field, row[field], row[f"{field}_got"]))
    return found


def _is_exact(stage: str, field: str) -> bool:
    return field == "n" or stage.partition("/")[0] in EXACT


def _agrees(expected: float, got: float, *, is_exact: bool) -> bool:
    """Whether two values agree; nothing, and what is not defined, agrees with itself alone."""
    if pd.isna(expected) or pd.isna(got) or math.isinf(expected):
        return bool(pd.isna(expected) and pd.isna(got)) or expected == got
    if is_exact:
        return math.isclose(expected, got, rel_tol=1e-5, abs_tol=1e-7)
    return math.isclose(expected, got, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def clone(target: Path) -> str:
    """Clone the project as it is committed; returns the commit.

    Raises
    ------
    RuntimeError
        If this is no git repository: there is nothing to be compared with.
    """
    revision, is_dirty = artifacts.commit()
    if revision == "unknown":
        raise RuntimeError(f"{paths.ROOT} is not a git repository; make verify checks a commit")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(paths.ROOT), str(target)], check=True)
    say(f"verifying commit {revision[:12]}" + (", without the changes that are not committed" if is_dirty else ""))
    return revision


def environment(root: Path) -> dict[str, str]:
    """A fresh environment for a clone: its own library, and nothing of the project or its devices that is set."""
    theirs = ("VERDICT", "CUDA_VISIBLE")
    return start.environment(root, {key: value for key, value in os.environ.items() if not key.startswith(theirs)})


def run(root: Path, cores: int) -> float:
    """Make the smoke report of a clone on the CPU; returns the seconds that it took.

    Raises
    ------
    RuntimeError
        If the report is not complete.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "verdict.start", "verdict.pipeline", "--profile", PROFILE, "--cores", str(cores)]
    variables = {**environment(root), "CUDA_VISIBLE_DEVICES": ""}
    if subprocess.run(command, cwd=root, env=variables, stdout=subprocess.DEVNULL, check=False).returncode:
        raise RuntimeError("the smoke report did not run to its end; what failed is told above")
    return time.monotonic() - started


def say(text: str) -> None:
    """Print a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def verdict(differences: Sequence[Difference], n: int, elapsed_s: float) -> list[str]:
    """What is found, line by line; the first line is the answer."""
    tolerance = f"tolerance {ABSOLUTE:g} or {RELATIVE:.0%}; exact before training"
    if not differences:
        return [f"verified: {n} numbers are as committed ({tolerance}); the report took {elapsed_s:.0f} s"]
    rest = len(differences) - SHOWN
    more = [f"  and {rest} more"] if rest > 0 else []
    head = f"NOT verified: {len(differences)} values of {n} numbers differ ({tolerance})"
    return [head, *(f"  {difference}" for difference in differences[:SHOWN]), *more]


def verify(cores: int, *, write: bool) -> int:
    """Clone, run and compare, or write the table; the exit status."""
    with tempfile.TemporaryDirectory(prefix="verdict-verify-") as name:
        root = Path(name) / "project"
        clone(root)
        elapsed = run(root, cores)
        got = collect(root / "work" / PROFILE)
    if write:
        write_table(got, TABLE)
        say(f"{len(got)} numbers written to {artifacts.relative(TABLE)}")
        return 0
    expected = pd.read_csv(TABLE)
    differences = compare(expected, got)
    for line in verdict(differences, len(expected), elapsed):
        say(line)
    return 1 if differences else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=place.n_processors(), help="jobs at a time (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table of the committed state instead")
    chosen = parser.parse_args(arguments)
    if not chosen.write and not TABLE.is_file():
        say(f"{artifacts.relative(TABLE)} is missing: make it with python -m verdict.verify --write")
        return 2
    try:
        return verify(chosen.cores, write=chosen.write)
    except RuntimeError as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
