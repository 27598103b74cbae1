import platform
import sys
from types import SimpleNamespace

import pytest

from verdict.base.artifacts import write_text
from verdict.workflow import place


def test_a_job_of_a_cluster_says_its_number_and_its_node(monkeypatch):
    given = {"SLURM_JOB_ID": "41", "SLURMD_NODENAME": "n2", "SLURM_JOB_PARTITION": "main", "SLURM_MEM_PER_NODE": "600"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    found = place.here()
    assert (found["node"], found["job"], found["partition"], found["mem_mb"]) == ("n2", 41, "main", 600)
    assert found["scheduler"] == "slurm" and "cpus" not in found


def test_without_a_scheduler_it_is_this_machine(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURMD_NODENAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_PARTITION", "left over")
    assert place.here()["node"] == platform.node()
    assert place.here()["scheduler"] == "local" and "partition" not in place.here()


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A system without control groups, and what gives it some."""
    monkeypatch.setattr(place, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(place, "OWN_CGROUPS", tmp_path / "cgroup")

    def make(own, files):
        for name, text in {"cgroup": own, **{f"fs/{name}": text for name, text in files.items()}}.items():
            write_text(tmp_path / name, text)

    return make


@pytest.mark.usefixtures("groups")
def test_processors_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(place.os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert place.n_processors() == 2
    monkeypatch.delattr(place.os, "sched_getaffinity")
    monkeypatch.setattr(place.os, "cpu_count", lambda: 5)
    assert place.n_processors() == 5


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a\n", {"a/cpu.max": "20000 100000"}, 1),
        ("0::/../x\n", {"cpu.max": "max 100000"}, 64),
        ("4:cpu,cpuacct:/docker/f\n", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/j\n", {"cpu/j/cpu.cfs_quota_us": "-1\n", "cpu/j/cpu.cfs_period_us": "100000"}, 64),
        ("4:memory:/\n", {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}, 64),
    ],
)
def test_a_containers_share_of_processors_counts(monkeypatch, groups, own, files, expected):
    monkeypatch.setattr(place.os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    groups(own, files)
    assert place.n_processors() == expected


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 64_000),
        ("0::/a/b\n", {"a/memory.max": "2000000000", "a/b/memory.max": "max"}, 2_000),
        ("9:memory:/k8s/x\n", {"memory/memory.limit_in_bytes": "512000000\n"}, 512),
        ("9:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 64_000),
    ],
)
def test_a_containers_share_of_memory_counts(monkeypatch, groups, own, files, expected):
    monkeypatch.setattr(place.os, "sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 64_000_000}.get)
    groups(own, files)
    assert place.memory_mb() == expected


LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-0f2a8c1e-5b9d-5a2c-8f67-3a1d2c4b5e6f)
  MIG 1g.5gb      Device  1: (UUID: MIG-7d1c9b3a-2e4f-5b6a-9c8d-1f2e3d4c5b6a)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5c1111-96c5-4d3e-8a2b-0c1d2e3f4a5b)
"""
FIRST, SECOND = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "GPU-5d5c1111-96c5-4d3e-8a2b-0c1d2e3f4a5b"
PARTS = ("MIG-0f2a8c1e-5b9d-5a2c-8f67-3a1d2c4b5e6f", "MIG-7d1c9b3a-2e4f-5b6a-9c8d-1f2e3d4c5b6a")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with two GPUs, whose tool lists them as NVIDIA's does."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setattr(place, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        *((nothing, ()) for nothing in ("", " ", "-1", "none", "NoDevFiles", "2", "0,0", "0,1,0")),
        *((nothing, ()) for nothing in ("GPU-5d5", "GPU-ffff", "MIG-ffff")),
        *((first, ("0",)) for first in ("0,-1,1", "0,5,1", "00")),
        *((second, ("1",)) for second in ("1,,0", "1x")),
        *((both, ("1", "0")) for both in ("1,0", " 1 , 0 ")),
        *((name, (name,)) for name in (FIRST, PARTS[1], "GPU-5d5c")),
        (None, ("0", "1")),
        (f"{SECOND},{FIRST}", (SECOND, FIRST)),
        (f"{FIRST},GPU-ffff,{SECOND}", (FIRST,)),
    ],
)
def test_gpus_are_those_that_cuda_shows(monkeypatch, named, expected):
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert place.visible_gpus() == expected


def test_identifiers_that_nobody_lists_are_believed_and_windows_gpus_are_listed(monkeypatch, machine):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", FIRST)
    tool = machine / "bin" / "nvidia-smi"
    for name in ("nvidia0", "nvidia1"):
        (machine / name).unlink()
    (machine / "dxg").touch()
    assert place.visible_gpus() == (FIRST,)
    tool.unlink()
    assert place.visible_gpus() == ()
    (machine / "dxg").unlink()
    for named in ("0", "", FIRST):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert place.visible_gpus() == ()
    (machine / "nvidia0").touch()
    assert place.visible_gpus() == (FIRST,)


@pytest.mark.parametrize("is_used", [True, False])
def test_the_gpu_has_computed_only_if_a_framework_has_used_it(monkeypatch, is_used):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: is_used)))
    assert place.has_computed_on_gpu() is is_used
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not place.has_computed_on_gpu()
