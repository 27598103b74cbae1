"""Where an execution runs: the machine, its GPUs, the limits of its container, and its job on a cluster."""

import itertools
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A stage leaves this file in its folder when it has computed on a GPU.
COMPUTED_ON_GPU = ".gpu"
DEVICES = Path("/dev")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def n_processors() -> int:
    """Processors that this process may use: bound to it, within its control group's share, or all."""
    own = getattr(os, "sched_getaffinity", None)
    n = len(own(0)) if own else os.cpu_count() or 1
    for group in _control_groups("cpu"):
        said = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(said) == 2 and said[0].isdigit():
            n = min(n, math.ceil(int(said[0]) / int(said[1])))
    return max(1, n)


def memory_mb() -> int:
    """Memory of this machine, or what its control group leaves of it; 0 where it is not known."""
    try:
        n = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
    for group in _control_groups("memory"):
        said = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
        n = min([n, *(int(word) for word in said if word.isdigit())])
    return n // 1_000_000


def _control_groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that hold this process, of both versions; a limit of any of them counts."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = CGROUPS / controller if controllers else CGROUPS
        own = base / path.lstrip("/")
        yield from (own, *(above for above in own.parents if above.is_relative_to(base)))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []


def visible_gpus() -> tuple[str, ...]:
    """GPUs that CUDA shows to this process, as CUDA_VISIBLE_DEVICES names them, found without a framework.

    CUDA takes its list up to the first name that is none of its devices, and shows nothing where one is named twice.
    """
    n = len(list(DEVICES.glob("nvidia[0-9]*")))
    if not n and (DEVICES / "dxg").exists():
        n = len(_identifiers("GPU-") or ())
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or not n:
        return tuple(map(str, range(n)))
    found = tuple(itertools.takewhile(bool, (_device(part.strip(), n) for part in named.split(","))))
    return found if len(set(found)) == len(found) else ()


def _device(name: str, n: int) -> str:
    """A device as CUDA understands a part of its list; "" where it is none."""
    if name.startswith(("GPU-", "MIG-")):
        known = _identifiers(name[:4])
        return name if known is None or sum(one.startswith(name) for one in known) == 1 else ""
    number = re.match(r"\+?(\d+)", name)
    return str(int(number[1])) if number and int(number[1]) < n else ""


def _identifiers(kind: str) -> list[str] | None:
    """Identifiers of the machine's GPUs, or of their partitions; None where `nvidia-smi` cannot list them."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return re.findall(rf"UUID: ({kind}[^)\s]+)", listed)


def has_computed_on_gpu() -> bool:
    """Whether this process has used a GPU, as far as a framework that it has imported says so."""
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and torch.cuda.is_initialized():
        return True
    return tensorflow is not None and bool(tensorflow.config.list_physical_devices("GPU"))


def here() -> dict[str, Any]:
    """Node, hardware (cores of the machine), scheduler, and what Slurm says of its job: number, partition, share."""
    told = {"job": "JOB_ID", "partition": "JOB_PARTITION", "mem_mb": "MEM_PER_NODE", "cpus": "CPUS_ON_NODE"}
    given = {key: os.environ.get(f"SLURM_{name}", "") for key, name in told.items()}
    where = {key: int(value) if value.isdigit() else value for key, value in given.items() if value and given["job"]}
    return {
        "node": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "scheduler": "slurm" if where else "local",
        **where,
    }
