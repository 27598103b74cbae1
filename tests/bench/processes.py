"""Measurements in a process of their own, so that its peak memory is that of the measured work alone."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from verdict.base import paths


def peak_bytes() -> int:
    """Peak resident memory of this process.

    Linux's own high-water mark is read where there is one: `getrusage` also counts what the parent held at the fork.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_a_process(module: str, n: int) -> dict[str, Any]:
    """What `python -m MODULE N` prints last, as JSON.

    Raises
    ------
    RuntimeError
        If that process fails; the message holds the end of what it said.
    """
    command = [sys.executable, "-m", module, str(n)]
    search = os.pathsep.join([str(paths.LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
