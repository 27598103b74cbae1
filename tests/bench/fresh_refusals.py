"""Every bad input of `test_preflight.py` as a user meets it.

`PYTHONPATH=lib .venv/bin/python -m tests.bench.fresh_refusals` gives each to a fresh process in a clone, as
`make report` does. It must end with status 2 within five seconds, say one sentence, and write nothing. Not part of
`make test`, which asks the same of one process: each start takes seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.workflow import test_preflight as cases

from verdict.base import paths
from verdict.workflow import start

LIMIT_S = 5.0


def state(root: Path, data: Path) -> tuple[str, dict[Path, int]]:
    """What git sees in the clone, and when each file of the data, of results and of pages was written."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    return status.stdout, {
        path: at for place in ("work", "reports") for path, at in cases.tree(root / place).items()
    } | (cases.tree(data))


def wrong_with(root: Path, data: Path, content: dict, message: str) -> tuple[str, float]:
    """What is wrong with how a profile is refused ("" where nothing is), and the seconds that it took."""
    cases.write_profile(content, data, root / "params")
    given = {name: value for name, value in os.environ.items() if not name.startswith("VERDICT")}
    given |= {"PYTHONPATH": str(root / "lib"), "HF_HUB_OFFLINE": "1"}
    command = start.command("verdict.workflow.pipeline", "--profile", "mine")
    before, started = state(root, data), time.monotonic()
    done = subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)
    elapsed, said = time.monotonic() - started, done.stderr
    is_short = said.count("\n") == message.count(r"\n") * 2 + 1 and "Traceback" not in said
    checks = {
        f"status {done.returncode}": done.returncode == 2,
        f"took {elapsed:.1f} s": elapsed <= LIMIT_S,
        f"said {said[-500:]!r}": said.startswith("nothing was run: ")
        and is_short
        and bool(re.search(message, said, re.S)),
        "something was written": state(root, data) == before,
    }
    return "; ".join(fault for fault, is_well in checks.items() if not is_well), elapsed


def main() -> int:
    """Refuse all; 1 where one is not refused as it should be."""
    wanted = [(case.id, *case.values) for case in cases.CASES]
    failed, times = 0, []
    with tempfile.TemporaryDirectory(prefix="verdict-refusals-") as name:
        root = Path(name).resolve() / "project"
        subprocess.run(["git", "clone", "--quiet", str(paths.ROOT), str(root)], check=True)
        for number, (case, kind, change, is_after, message) in enumerate(wanted, start=1):
            data = Path(name).resolve() / f"data-{number}"
            data.mkdir()
            wrong, elapsed = wrong_with(root, data, cases.prepared(kind, data, change, is_after), message)
            failed += bool(wrong)
            times.append(elapsed)
            print(f"{number:2d} {case}: {wrong or 'refused'}  {elapsed:.1f} s", flush=True)
    print(f"{len(wanted)} cases, {failed} failed; {max(times):.1f} s at most")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
