"""Check an installation: the smoke profile in a fresh clone, its numbers against those committed.

`make verify` runs it; `make verify WRITE=1` makes the table, from a report of the smoke profile.
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict.base import artifacts, paths
from verdict.base.numbers import Numbers
from verdict.workflow import place, start
from verdict.workflow.start import tell

PROFILE = "smoke"
TABLE = paths.REPORTS / "verified" / "smoke.csv"
# What an execution took is no result; a cost in minutes is one.
MEASURES_OF_RUNNING = frozenset({"s", "ms", "h", "MB", "MiB", "GB"})
TIMES = frozenset({"repro.total_min"})
# Nothing is trained before these, so that nothing is rounded differently on another processor.
EXACT = ("01_data", "features")
# Another processor, or another number of threads, rounds differently; training carries that on, and a row at a
# threshold may be decided differently: so many of n rows may be, and an estimate may move by so much of its interval's
# width. What has no interval may move relative to its value, and what should be nothing is rounding below the last.
CASES, SHARE, RELATIVE, NOTHING = 2, 0.25, 0.05, 1e-6
# An end of an interval of few cases moves further than its middle: by half more was seen between two processors.
ENDS = 2
# The table holds seven digits.
DIGITS = 1e-6
COMPARED = ("value", "low", "high", "n")
COLUMNS = ("stage", "number", *COMPARED, "unit", "kind", "tolerance")
SHOWN = 20


def collect(work: Path) -> pd.DataFrame:
    """Every stored number of a profile's work folder that is a result, sorted by stage (with trial) and name.

    `tolerance` is by how much a value may differ elsewhere; its bounds may by `ENDS` times as much.
    """
    rows = []
    for path in sorted(work.rglob("numbers.json")):
        parts = path.parent.relative_to(work).parts
        if parts[0] in ("scratch", "feature_shards", "seeds_apart") or any(part.startswith(".") for part in parts):
            continue
        for name, number in Numbers.load(path).items():
            if number.unit not in MEASURES_OF_RUNNING and name not in TIMES:
                rows.append({"stage": "/".join(parts), "number": name, **asdict(number)})
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(dict.fromkeys(COMPARED, float))
    table["tolerance"] = [tolerance(row) for row in table.to_dict("records")]
    return table.sort_values(["stage", "number"], ignore_index=True)


def tolerance(row: Mapping[str, Any]) -> float:
    """By how much a number's value may differ on a sound installation, in the number's own scale.

    Counts, and what is measured before training: not at all. Else by the largest that applies: `SHARE` of the
    interval's width, or for what has no interval `RELATIVE` of the value; `CASES` of the n rows behind a proportion, or
    another mean between -1 and 1. Bounds and n are None or NaN where there are none.
    """
    if row["stage"].partition("/")[0] in EXACT or row["unit"] == "count" or not math.isfinite(row["value"]):
        return 0.0
    value, width = abs(row["value"]), row["high"] - row["low"] if pd.notna(row["low"]) else math.nan
    by_cases = CASES / row["n"] if pd.notna(row["n"]) and row["n"] > 0 and value <= 1 else 0.0
    return max(NOTHING, by_cases, SHARE * width if math.isfinite(width) else RELATIVE * value)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write what `collect` gives, in seven digits."""
    buffer = io.StringIO()
    table.assign(n=table["n"].astype("Int64")).to_csv(buffer, index=False, float_format="%.7g", lineterminator="\n")
    artifacts.write_text(path, buffer.getvalue())


def compare(expected: pd.DataFrame, got: pd.DataFrame) -> list[str]:
    """Values beyond the tolerance that the first table states, and numbers that one of both lacks, in its order.

    Nothing, and what is not defined, agrees with itself alone.
    """
    both = expected.merge(got, on=["stage", "number"], how="outer", suffixes=("", "_got"), indicator="in")
    found = []
    for row in both.to_dict("records"):
        place = f"{row['stage']} {row['number']}"
        if row["in"] == "left_only":
            found.append(f"{place} (value): expected {row['value']:.6g}, got absent")
        elif row["in"] == "right_only":
            found.append(f"{place} (value): expected absent, got {row['value_got']:.6g}")
        for field in COMPARED if row["in"] == "both" else ():
            one, other = row[field], row[f"{field}_got"]
            allowed = row["tolerance"] * {"value": 1, "n": 0}.get(field, ENDS)
            if not np.isclose(other, one, rtol=DIGITS, atol=allowed * (1 + DIGITS), equal_nan=True):
                more = f" ± {allowed:.2g}" if allowed else ""
                found.append(f"{place} ({field}): expected {one:.6g}{more}, got {other:.6g}")
    return found


def clone(target: Path) -> None:
    """Clone the project as it is committed; a RuntimeError without a repository of its own."""
    revision, is_dirty = artifacts.commit()
    if revision == "unknown":
        raise RuntimeError(f"{paths.ROOT} is not a git repository of its own; make verify checks a commit")
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(paths.ROOT), str(target)]
    subprocess.run(command, env=artifacts.plain_environment(), check=True)
    tell(f"verifying commit {revision[:12]}" + (", without the changes that are not committed" if is_dirty else ""))


def environment(root: Path) -> dict[str, str]:
    """A fresh environment for a clone: its own library, and nothing of the project or its devices that is set."""
    theirs = ("VERDICT", "CUDA_VISIBLE")
    return start.environment(root, {key: value for key, value in os.environ.items() if not key.startswith(theirs)})


def run(root: Path, cores: int) -> float:
    """Make the smoke report of a clone on the CPU, in so many seconds; a RuntimeError if it is not complete."""
    started = time.monotonic()
    command = start.command("verdict.workflow.pipeline", "--profile", PROFILE, "--cores", str(cores))
    variables = {**environment(root), "CUDA_VISIBLE_DEVICES": ""}
    if subprocess.run(command, cwd=root, env=variables, stdout=subprocess.DEVNULL, check=False).returncode:
        raise RuntimeError("the smoke report did not run to its end; what failed is told above")
    return time.monotonic() - started


def verdict(differences: Sequence[str], n: int, elapsed_s: float) -> list[str]:
    """What is found, line by line; the first line is the answer."""
    told = f"within the tolerances of {artifacts.relative(TABLE)}"
    if not differences:
        return [f"verified: {n} numbers are as committed, {told}; the report took {elapsed_s:.0f} s"]
    rest = len(differences) - SHOWN
    more = [f"  and {rest} more"] if rest > 0 else []
    head = f"NOT verified: {len(differences)} values of {n} numbers are not {told}"
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
        tell(f"{len(got)} numbers written to {artifacts.relative(TABLE)}")
        return 0
    expected = pd.read_csv(TABLE)
    differences = compare(expected, got)
    for line in verdict(differences, len(expected), elapsed):
        tell(line)
    return 1 if differences else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.installation", description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=place.n_processors(), help="jobs at a time (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table of the committed state instead")
    chosen = parser.parse_args(arguments)
    if not chosen.write and not TABLE.is_file():
        tell(f"{artifacts.relative(TABLE)} is missing: make it with make verify WRITE=1")
        return 2
    try:
        return verify(chosen.cores, write=chosen.write)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        tell(f"nothing was compared: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
