"""The call of Snakemake, and what is said of a run that failed."""

import contextlib
import json

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.workflow import integrity, pipeline, place, run, slurm
from verdict.workflow.result_folder import TWIN


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(place, "visible_gpus", lambda: ())
    monkeypatch.setattr(slurm, "_ask", lambda *command: "AccountingStorageType = accounting_storage/slurmdbd")


@pytest.mark.parametrize(
    ("system", "where", "n_gpus", "expected"),
    [
        ("linux", "local", 0, True),
        ("linux", "local", 1, False),
        ("linux", "slurm", 0, False),
        ("darwin", "local", 0, False),
    ],
)
def test_stages_are_forked_only_where_that_is_safe(monkeypatch, system, where, n_gpus, expected):
    monkeypatch.setattr(pipeline.sys, "platform", system)
    monkeypatch.setattr(place, "visible_gpus", lambda: ("0",) * n_gpus)
    assert pipeline._may_fork(where) is expected


@pytest.mark.usefixtures("alone")
def test_one_machine_has_its_memory_for_a_limit():
    call = pipeline.snakemake_command("smoke", 3, ["a/run.json"])
    assert "--executor" not in call and call[-2:] == ["--", "a/run.json"]
    limits = call[call.index("--resources") + 1]
    assert limits.startswith("mem_mb=") and int(limits.removeprefix("mem_mb=")) > 500
    assert call[call.index("--retries") + 1] == "0"
    assert "where=local" in call


@pytest.mark.usefixtures("alone")
def test_a_cluster_is_told_the_account_and_targets_stand_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PARAMS", tmp_path)
    (tmp_path / "execution").symlink_to(paths.ROOT / "params" / "execution")
    call = pipeline.snakemake_command("smoke", 3, ["a/run.json"], where="slurm")
    assert call[call.index("--executor") + 1] == "slurm" and call[-2:] == ["--", "a/run.json"]
    assert call[call.index("--slurm-jobname-prefix") + 1] == pipeline.job_prefix("smoke")
    assert "where=slurm" in call and "--resources" not in call


@pytest.mark.usefixtures("alone")
def test_what_is_damaged_is_told_and_what_is_missing_is_asked_for(tmp_path, monkeypatch, capsys):
    """Snakemake itself takes a page for finished whose results are gone."""
    calls = []
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    monkeypatch.setattr(pipeline.warm, "server", contextlib.nullcontext)
    monkeypatch.setattr(integrity, "forget", lambda *_, outdated: ["work/smoke/x is made again: it was cut"])
    monkeypatch.setattr(integrity, "missing", lambda *_: ["work/smoke/x/run.json"])
    monkeypatch.setattr(integrity, "keep_whole", lambda *_: None)
    monkeypatch.setattr(pipeline, "_follow", lambda command, *_: calls.append(command) or 0)
    assert pipeline.report("smoke", 1) == 0
    assert calls[0][-3:] == ["--", "work/smoke/rendered.json", "work/smoke/x/run.json"]
    assert "work/smoke/x is made again: it was cut" in capsys.readouterr().err


@pytest.mark.usefixtures("alone")
def test_a_notebook_that_nobody_declared_is_told_by_every_report(tmp_path, monkeypatch):
    """The workflow alone does not see it."""
    for name, folder in (("ROOT", ""), ("WORK", "work"), ("NOTEBOOKS", "notebooks")):
        monkeypatch.setattr(paths, name, tmp_path / folder)
    monkeypatch.setattr(pipeline.warm, "server", contextlib.nullcontext)
    for name in ("forget", "missing", "forget_pages", "sources", "keep_whole"):
        monkeypatch.setattr(integrity, name, lambda *_, **__: [])
    monkeypatch.setattr(pipeline, "_follow", lambda *_: 0)
    write_text(paths.rendered("smoke"), "{}")
    pipeline.report("smoke", 1)
    assert paths.rendered("smoke").exists()
    write_text(tmp_path / "notebooks" / "14_it's new.ipynb", "{}")
    pipeline.report("smoke", 1)
    assert not paths.rendered("smoke").exists()


def test_a_declared_notebook_that_is_gone_stops_a_report_before_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    assert pipeline.main(["--profile", "smoke"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("nothing was run: lib/verdict/workflow/declarations.py: 01_data is declared, and ")
    assert not (tmp_path / "work").exists()


def test_without_slurm_nothing_is_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    assert pipeline.main(["--profile", "smoke", "--where", "slurm"]) == 2
    assert "nothing was run: sbatch is not on this machine" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def failed(path, *outputs):
    write_text(path, json.dumps({"cells": [{"outputs": list(outputs)}, {"cell_type": "markdown"}]}))
    return path


def test_the_error_of_a_failed_notebook_is_told(tmp_path):
    traceback = ["\x1b[31mValueError\x1b[0m", *(f"line {k}" for k in range(30)), "ValueError: row 7 has no label"]
    path = failed(tmp_path / "a.ipynb", {"output_type": "error", "traceback": traceback})
    tail = pipeline.tail(pipeline.error_of(path))
    assert tail[-1] == "    ValueError: row 7 has no label"
    assert len(tail) == pipeline.ERROR_TAIL and not any("\x1b" in line for line in tail)


def test_a_notebook_that_was_killed_or_damaged_has_no_error_to_tell(tmp_path):
    assert pipeline.error_of(failed(tmp_path / "a.ipynb", {"output_type": "stream", "text": "x"})) == ""
    write_text(tmp_path / "b.ipynb", "{")
    assert pipeline.error_of(tmp_path / "b.ipynb") == ""


def test_how_a_stage_ended_is_told_from_what_it_left(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")

    def told():
        return next(line for line in pipeline.unfinished("smoke") if line.startswith("05_test: "))

    home = tmp_path / "work" / "smoke" / "05_test"
    assert told() == "05_test: not reached"
    write_text(home / TWIN, "{}")
    assert told().startswith("05_test: was killed as it ended; another run takes over what stands in ")
    (home.parent / ".05_test.node.x.running").mkdir()
    assert told().startswith("05_test: was killed while it ran")
    write_text(tmp_path / "work" / "smoke" / "slurm" / "rule_stage_05_test" / "7.log", "a\n\n" + "x" * 300 + "\n")
    assert told().startswith("05_test: killed or never started, see ")
    assert [line for line in pipeline.unfinished("smoke") if line.startswith(" ")] == ["    a", "    " + "x" * 200]
    failed(tmp_path / "work" / "smoke" / "failed" / "05_test.ipynb", {"output_type": "stream", "text": "x"})
    assert told().startswith("05_test: failed, see ")


@pytest.mark.parametrize(("name", "error"), [("features", MemoryError), ("signals", OSError), ("01_data", ValueError)])
def test_a_stage_that_failed_without_a_notebook_is_not_called_not_reached(tmp_path, monkeypatch, name, error):
    """Neither a stage that has none, nor one that failed before its notebook was begun."""
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")

    def fail(*_):
        raise error("there is no room\nfor it")

    monkeypatch.setattr(run, "run_stage", fail)
    assert run.main([name, "--profile", "smoke"]) == 1
    lines = pipeline.unfinished("smoke")
    place = lines.index(f"{name}: failed")
    assert lines[place + 1 : place + 3] == [f"    {error.__name__}: there is no room", "    for it"]
    assert "05_test: not reached" in lines


def test_the_noise_of_snakemake_is_left_out_and_stages_are_not():
    said = ["01_data  done in 3 s", "03_staged_unfreezing text1-s11  FAILED; the notebook", "Error in rule trial:"]
    said += ["    message: SLURM-job '7' failed, SLURM status is: 'FAILED'. Reason: Unknown."]
    noise = [
        "SLURM run ID: verdict-smoke-7_ab",
        "Job 5 has been submitted with SLURM jobid 41 (log: x).",
        "  ",
        "site 1",
        "rule stage_01_data:",
        "    resources: tmpdir=<TBD>, runtime=20",
        "    shell:",
        "        exec '/a b/bin/python' -m verdict.workflow.warm verdict.workflow.run 01_data --profile smoke",
        "        (command exited with non-zero exit code)",
    ]
    assert [line for line in (*said, *noise) if not pipeline.NOISE.match(line)] == said
