"""Where an execution runs: the machine, and what a cluster's scheduler says of its job."""

from __future__ import annotations

import os
import platform
from typing import Any


def n_processors() -> int:
    """Processors that this process may use; all of the machine where the system does not tell (macOS)."""
    own = getattr(os, "sched_getaffinity", None)
    return len(own(0)) if own else os.cpu_count() or 1


def here() -> dict[str, Any]:
    """Node, hardware, and for a job of a cluster its number, partition and memory.

    Returns
    -------
    dict
        `node`, `machine`, `system`, `cores` (of the machine), `scheduler` ("local" or "slurm"); under Slurm also `job`,
        `partition`, `mem_mb` and `cpus` as far as it says them.
    """
    given = {
        "job": os.environ.get("SLURM_JOB_ID"),
        "partition": os.environ.get("SLURM_JOB_PARTITION"),
        "mem_mb": os.environ.get("SLURM_MEM_PER_NODE"),
        "cpus": os.environ.get("SLURM_CPUS_ON_NODE"),
    }
    where = {key: int(value) if value.isdigit() else value for key, value in given.items() if value}
    return {
        "node": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "scheduler": "slurm" if "job" in where else "local",
        **(where if "job" in where else {}),
    }
