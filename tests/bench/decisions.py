"""How many given answers `make decide` decides a second, and in how much memory: `python -m tests.bench.decisions N`.

Cases are drawn from the log of a report on given answers, which must be there; two of them make a group.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.processes import peak_bytes

from verdict.base import paths
from verdict.base.artifacts import read_run
from verdict.decide.log.__main__ import main
from verdict.stats.uncertainty import stream
from verdict.workflow import stages

PROFILE = "example"


def write_cases(path: Path, log: Path, n_cases: int) -> None:
    """Cases as JSON lines, each with the answer of an item of a log."""
    items = [json.loads(line) for line in log.read_bytes().splitlines()]
    given = [
        {name: item[name] for name in ("hypothesis", "logits", "signals", "consistency", "foreign")} for item in items
    ]
    rows = stream(7, "decisions.bench").integers(len(given), size=n_cases)
    with path.open("w", encoding="utf-8") as file:
        for k, row in enumerate(rows):
            case = {"pair_id": f"case-{k}", "group": f"group-{k // 2}", "date": "2026-03-01", **given[row]}
            file.write(json.dumps(case) + "\n")


def measure(n_cases: int, folder: Path) -> dict[str, float]:
    """Decide cases in this process by the command itself.

    Returns
    -------
    dict
        n_cases; cases a second of processor time, the command's start included; peak memory of this process and size of
        the log in MB.
    """
    home = stages.folder(PROFILE, "08_policy")
    read_run(home)
    started = time.process_time()
    write_cases(folder / "new.jsonl", home / "audit.jsonl", n_cases)
    written = time.process_time() - started
    place = ["--in", str(folder / "new.jsonl"), "--out", str(folder / "out.jsonl")]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = main(["decide", "--profile", PROFILE, *place])
    elapsed_s = time.process_time() - written
    if status:
        raise RuntimeError(f"the command ended with {status}: {said.getvalue()}")
    return {
        "n_cases": n_cases,
        "cases_s": n_cases / elapsed_s,
        "peak_mb": peak_bytes() / 1e6,
        "log_mb": (folder / "out.jsonl").stat().st_size / 1e6,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=paths.WORK) as name:
        print(json.dumps(measure(int(sys.argv[1]), Path(name))))
