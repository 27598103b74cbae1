import platform

from verdict import place


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


def test_processors_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(place.os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert place.n_processors() == 2
    monkeypatch.delattr(place.os, "sched_getaffinity")
    monkeypatch.setattr(place.os, "cpu_count", lambda: 5)
    assert place.n_processors() == 5
