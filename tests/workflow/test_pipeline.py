"""The call of Snakemake, and what is said of a run that failed."""

import contextlib
import shutil

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.workflow import integrity, pipeline, place, run, slurm
from verdict.workflow.result_folder import TWIN


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A machine without a GPU, at a Slurm with accounting, whose runs are kept apart."""
    monkeypatch.setattr(place, "visible_gpus", lambda: ())
    monkeypatch.setattr(slurm, "_ask", lambda *command: "AccountingStorageType = accounting_storage/slurmdbd")
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")


SAFE = {"system": "linux", "where": "local", "gpus": ()}


@pytest.mark.parametrize("change", [{}, {"gpus": ("0",)}, {"where": "slurm"}, {"system": "darwin"}])
def test_stages_are_forked_only_where_that_is_safe(monkeypatch, change):
    at = SAFE | change
    monkeypatch.setattr(pipeline.sys, "platform", at["system"])
    monkeypatch.setattr(place, "visible_gpus", lambda: at["gpus"])
    assert pipeline._may_fork(at["where"]) is (at == SAFE)


def test_one_machine_has_its_memory_for_a_limit():
    call = pipeline.snakemake_command("smoke", 3, ["a/run.json"])
    assert "--executor" not in call and call[-2:] == ["--", "a/run.json"]
    limits = call[call.index("--resources") + 1]
    assert limits.startswith("mem_mb=") and int(limits.removeprefix("mem_mb=")) > 500
    assert call[call.index("--retries") + 1] == "0"
    assert "where=local" in call


def test_a_cluster_is_told_the_jobs_prefix_and_targets_stand_apart():
    call = pipeline.snakemake_command("smoke", 3, ["a/run.json"], where="slurm")
    assert call[call.index("--executor") + 1] == "slurm" and call[-2:] == ["--", "a/run.json"]
    assert call[call.index("--slurm-jobname-prefix") + 1] == pipeline.job_prefix("smoke")
    assert "where=slurm" in call and "--resources" not in call


def test_what_is_damaged_is_told_and_what_is_missing_or_undeclared_is_asked_for(tmp_path, monkeypatch, capsys):
    """Snakemake takes a page for finished whose results are gone, and does not see a notebook that nobody declared."""
    calls = []
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(pipeline.warm, "server", lambda environment, _: contextlib.nullcontext(environment))
    for name, found in {"forget": ["x is made again: cut"], "missing": ["work/smoke/x/run.json"]}.items():
        monkeypatch.setattr(integrity, name, lambda *_, found=found, **__: found)
    for name in ("forget_pages", "sources", "keep_whole"):
        monkeypatch.setattr(integrity, name, lambda *_: [])
    monkeypatch.setattr(pipeline, "keep_times", lambda *_: None)
    monkeypatch.setattr(pipeline, "_follow", lambda command, *_: calls.append(command) or 0)
    monkeypatch.setattr(pipeline, "render", lambda profile: calls.append(profile) or 0)
    write_text(paths.rendered("smoke"), "{}")
    assert pipeline.report("smoke", 1) == 0
    assert calls[0][-3:] == ["--", "work/smoke/rendered.json", "work/smoke/x/run.json"]
    assert "x is made again: cut" in capsys.readouterr().err and paths.rendered("smoke").exists()
    write_text(tmp_path / "notebooks" / "14_it's new.ipynb", "{}")
    monkeypatch.setattr(pipeline, "_follow", lambda command, *_: pipeline.tell("now stages run") or 0)
    pipeline.report("smoke", 1)
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("14_it's new: no stage of lib/verdict/workflow/declarations.py executes it")
    assert told.index("now stages run") > 0 and not paths.rendered("smoke").exists()
    monkeypatch.setattr(integrity, "missing", lambda *_: [])
    pipeline.report("smoke", 1)
    assert calls[-1] == "smoke", "pages alone need no workflow"


def test_a_declared_notebook_that_is_gone_stops_a_report_before_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    assert pipeline.main(["--profile", "smoke"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("nothing was run: lib/verdict/workflow/declarations.py: 01_data is declared, and ")
    assert not paths.WORK.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [('{"cells": [', "is not readable as JSON"), ("{}", "is not a notebook"), ("[]", "is not a notebook")],
)
def test_a_half_written_notebook_stops_a_report_before_it_runs(tmp_path, monkeypatch, capsys, text, told):
    shutil.copytree(paths.NOTEBOOKS, tmp_path / "notebooks")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    broken = tmp_path / "notebooks" / "07_calibration.ipynb"
    write_text(broken, text)
    assert pipeline.main(["--profile", "smoke"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"nothing was run: {broken} {told}") and said.count("\n") == 1
    assert not paths.WORK.exists()


def test_a_folder_that_cannot_be_written_is_told_in_one_line(monkeypatch, capsys):
    paths.WORK.write_text("a file where a folder is wanted")
    monkeypatch.setattr(pipeline, "check_inputs", lambda params: None)
    assert pipeline.main(["--profile", "smoke"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("stopped: ") and str(paths.WORK) in told and told.count("\n") == 1


@pytest.mark.parametrize("name", ["work", "work/smoke"])
def test_a_link_that_leads_nowhere_is_told_with_where_it_leads(tmp_path, monkeypatch, capsys, name):
    link, gone = tmp_path / name, tmp_path / "unmounted" / "disk"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(gone)
    monkeypatch.setattr(pipeline, "check_inputs", lambda params: None)
    assert pipeline.main(["--profile", "smoke"]) == 2
    assert capsys.readouterr().err == f"stopped: {link} is a link to {gone}, a folder that does not exist\n"


@pytest.mark.parametrize("cores", ["0", "-2"])
def test_no_job_at_a_time_is_refused(cores, capsys):
    with pytest.raises(SystemExit):
        pipeline.main(["--profile", "smoke", "--cores", cores])
    assert f"at least one job runs at a time, got CORES={cores}" in capsys.readouterr().err


def test_what_every_profile_overrides_is_no_profile(monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "load_params", None)
    assert pipeline.main(["--profile", "base"]) == 2
    assert "params/base.yaml is no profile; profiles are ['cifar10'" in capsys.readouterr().err


def test_without_slurm_nothing_is_run(monkeypatch, capsys):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    assert pipeline.main(["--profile", "smoke", "--where", "slurm"]) == 2
    assert "nothing was run: sbatch is not on this machine" in capsys.readouterr().err
    assert not paths.WORK.exists()


def test_how_a_stage_ended_is_told_from_what_it_left():
    def told():
        lines = pipeline.unfinished("smoke")
        return next(line for line in lines if line.startswith("05_test: ")), [line for line in lines if line[0] == " "]

    home = paths.work_dir("smoke")
    assert told() == ("05_test: not reached", [])
    write_text(home / "05_test" / TWIN, "{}")
    assert told()[0].startswith("05_test: was killed as it ended; another run takes over what stands in ")
    (home / ".05_test.node.x.running").mkdir()
    assert told()[0].startswith("05_test: was killed while it ran")
    write_text(home / "slurm" / "rule_stage_05_test" / "7.log", "a\n\n" + "x" * 300 + "\n")
    assert told()[0].startswith("05_test: killed or never started, see ")
    assert told()[1] == ["    a", "    " + "x" * 200]
    write_text(home / "failed" / "05_test.ipynb", "{}")
    assert told()[0].startswith("05_test: failed, see ") and told()[1] == []
    write_text(home / "failed" / "05_test.txt", "\n".join([*(f"line {k}" for k in range(30)), "ValueError: row 7"]))
    assert told()[1] == [*(f"    line {k}" for k in range(19, 30)), "    ValueError: row 7"]


@pytest.mark.parametrize(("name", "error"), [("features", MemoryError), ("signals", OSError), ("01_data", ValueError)])
def test_a_stage_that_failed_without_a_notebook_is_not_called_not_reached(monkeypatch, name, error):
    """Neither a stage that has none, nor one that failed before its notebook was begun."""

    def fail(*_):
        raise error("there is no room\nfor it")

    monkeypatch.setattr(run, "run_stage", fail)
    assert run.main([name, "--profile", "smoke"]) == 1
    lines = pipeline.unfinished("smoke")
    place = lines.index(f"{name}: failed")
    assert lines[place + 1 : place + 3] == [f"    {error.__name__}: there is no room", "    for it"]
    assert "05_test: not reached" in lines


def test_the_noise_of_snakemake_is_left_out_and_stages_are_not():
    said = ["01_data  done in 3 s", "03_staged_unfreezing text1  FAILED; the notebook", "Error in rule trial:"]
    said += ["    message: SLURM-job '7' failed, SLURM status is: 'FAILED'. Reason: Unknown."]
    noise = [
        "SLURM run ID: verdict-smoke-7_ab",
        "Job 5 has been submitted with SLURM jobid 41 (log: x).",
        "  ",
        "[PlainKernelApp] ERROR | KeyboardInterrupt caught in kernel.",
        "site 1",
        "seed                           12",
        "rule stage_01_data:",
        "    resources: tmpdir=<TBD>, runtime=20",
        "    shell:",
        "        exec '/a b/bin/python' -m verdict.workflow.warm verdict.workflow.run 01_data --profile smoke",
        "        (command exited with non-zero exit code)",
    ]
    assert [line for line in (*said, *noise) if not pipeline.NOISE.match(line)] == said
