"""What is told to Slurm and understood of it; nothing here needs one."""

import itertools
import os
import subprocess

import pytest

from verdict.base.artifacts import write_text
from verdict.workflow import slurm
from verdict.workflow.execution import load_execution

LISTED = """41|verdict-smoke-7_ab|rule_trial_wildcards_text1_11|ReqNodeNotAvail, UnavailableNodes:n2
42|verdict-smoke-7_ab|rule_stage_05_test|Priority
43|verdict-smoke-70_ab|rule_stage_05_test|JobHeldUser
44|somebody's|training|JobHeldAdmin
45|verdict-smoke-7_ab|rule_feature_shard_wildcards_3|(Resources)
no line of ours
"""


def answers(monkeypatch, **known):
    """Slurm's commands, each with what it prints; any other is not there."""

    def run(command, **options):
        if command[0] not in known:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, stdout=known[command[0]], stderr="")

    monkeypatch.setattr(slurm.subprocess, "run", run)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name if name in known else None)


STUCK = {"41": ("trial text1 11", "ReqNodeNotAvail, UnavailableNodes:n2")}


def test_jobs_of_this_run_that_nothing_can_take_are_told_from_others():
    assert slurm.unplaceable(LISTED, "verdict-smoke-7") == STUCK
    assert slurm.unplaceable(LISTED, "verdict-smoke-70") == {"43": ("05_test", "JobHeldUser")}


def test_a_job_that_cannot_be_placed_is_reported_and_then_given_up():
    said = []
    watch = slurm.Watch("verdict-smoke-7", report_after_s=30, give_up_after_s=1000, say=said.append)
    assert watch.look(STUCK, now=100) == [] and said == []
    assert watch.look(STUCK, now=131) == []
    assert len(said) == 1 and "trial text1 11 (job 41) cannot be placed, for 31 s now: ReqNodeNotAvail" in said[0]
    watch.look(STUCK, now=140)
    assert len(said) == 1
    watch.look(STUCK, now=131 + slurm.SAY_AGAIN_S)
    assert len(said) == 2
    # A job that can be placed starts its waiting anew.
    looks = [watch.look(stuck, now=now) for stuck, now in (({}, 1000), (STUCK, 1050), (STUCK, 1600))]
    assert looks == [[]] * 3
    assert watch.look(STUCK, now=2050) == ["41"]
    assert "is given up after 1000 s" in said[-1]


@pytest.mark.parametrize(("kind", "command"), [("slurmdbd", "sacct"), ("none", "squeue")])
def test_states_are_asked_where_they_are_known(monkeypatch, tmp_path, kind, command):
    answers(monkeypatch, scontrol=f"AccountingStorageType   = accounting_storage/{kind}\n")
    execution = load_execution("slurm", "smoke")
    told = slurm.options(execution, "verdict-smoke-7", tmp_path)
    pairs = dict(itertools.pairwise(told))
    assert (pairs["--slurm-status-command"], pairs["--retries"]) == (command, str(execution.retries))
    assert "--slurm-no-requeue" in told and "--default-resources" not in told
    own = {"slurm": execution.slurm.model_copy(update={"account": "lab"})}
    told = slurm.options(execution.model_copy(update=own), "verdict-smoke-7", tmp_path)
    assert told[told.index("--default-resources") + 1] == "slurm_account=lab"


def test_why_nothing_can_be_submitted(monkeypatch):
    answers(monkeypatch)
    assert "sbatch is not on this machine" in slurm.why_not()
    answers(monkeypatch, sbatch="", sinfo="")
    assert "no node" in slurm.why_not()
    answers(monkeypatch, sbatch="", sinfo="n1\nn2\nn1\n")
    assert slurm.why_not() == ""


def test_the_newest_log_of_a_stage_is_found(tmp_path):
    for name, moment in (("41.log", 100), ("43.log", 200)):
        path = tmp_path / "rule_trial" / "text1" / name
        write_text(path, "")
        os.utime(path, (moment, moment))
    assert slurm.newest_log(tmp_path, "03_staged_unfreezing", "text1").name == "43.log"
    assert slurm.newest_log(tmp_path, "05_test", None) is None
    for place in ("rule_seed/text1_23/44.log", "rule_seed/text1_2_23/45.log", "rule_feature_shard/1/46.log"):
        write_text(tmp_path / place, "")
    assert slurm.newest_log(tmp_path, "03_staged_unfreezing", "text1").name == "44.log", "a job for one of its seeds"
    assert slurm.newest_log(tmp_path, "features", None).name == "46.log", "a job for one of its shards"


def test_why_slurm_refused_jobs_is_told_once_a_cause(tmp_path):
    log = tmp_path / "snakemake.log"
    assert slurm.refusals(log) == []
    cause = "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds 'it')"
    line = f"    message: SLURM sbatch failed. The error message was '{cause}'.\n    sbatch call:\n"
    write_text(log, f"Select jobs to execute...\n{line}Trying to restart job 0.\n{line}")
    assert slurm.refusals(log) == [f"Slurm refused jobs: {cause}; params/execution/slurm/ says what they ask for"]


def test_accounting_names_states_without_who_caused_them(tmp_path, monkeypatch):
    real = tmp_path / "real" / "sacct"
    write_text(real, "#!/bin/sh\ncase $1 in bad) exit 3;; esac\nprintf '41|CANCELLED by 0\\n42|FAILED %s\\n' \"$2\"\n")
    real.chmod(0o755)
    monkeypatch.setenv("PATH", f"{real.parent}:/usr/bin:/bin")
    found = slurm.plain_states(tmp_path / "own")
    for _ in range(2):
        environment = {**os.environ, **found}
        done = subprocess.run(["sacct", "-X", "a b"], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "41|CANCELLED\n42|FAILED a b\n"
        # A run within a run finds the script, and leaves it as it is.
        monkeypatch.setenv("PATH", found["PATH"])
        found = slurm.plain_states(tmp_path / "own")
    assert subprocess.run(["sacct", "bad"], env=environment, check=False).returncode == 3
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.plain_states(tmp_path / "own") == {}


def test_a_system_without_which_is_given_one(tmp_path, monkeypatch):
    assert slurm.found_commands(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    environment = {**os.environ, **slurm.found_commands(tmp_path)}
    asked = ["/bin/sh", "-c", "which which && ! which sacct"]
    assert subprocess.run(asked, env=environment, check=False).returncode == 0
