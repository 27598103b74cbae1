"""The driver: devices, executions that succeed, fail, are killed, or run side by side."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from report_runs import HOSTILE
from verdict.base import paths
from verdict.base.artifacts import read_run, verify_outputs, write_text
from verdict.workflow import run

PROJECT = paths.ROOT


@pytest.fixture
def no_choice(monkeypatch, tmp_path):
    """A machine whose scheduler has chosen no device, and whose locks are in a folder of the test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "set, so that it is put back afterwards")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "so too")
    monkeypatch.setattr(run.tempfile, "gettempdir", lambda: str(tmp_path))


def has_gpus(monkeypatch, n):
    monkeypatch.setattr(run.place, "DEVICES", Path(run.tempfile.gettempdir()) / f"{n}-devices")
    run.place.DEVICES.mkdir(exist_ok=True)
    for k in range(n):
        (run.place.DEVICES / f"nvidia{k}").touch()


@pytest.mark.usefixtures("no_choice")
@pytest.mark.parametrize(("wanted", "count"), [("cpu", 2), ("cpu", 0), ("auto", 0)])
def test_without_a_gpu_or_a_wish_for_one_it_is_the_cpu(monkeypatch, wanted, count):
    has_gpus(monkeypatch, count)
    with run.device_lease(wanted) as device:
        assert device == "cpu"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert os.environ["KERAS_TORCH_DEVICE"] == "cpu"


@pytest.mark.usefixtures("no_choice")
def test_a_gpu_that_is_demanded_and_absent_is_an_error(monkeypatch):
    has_gpus(monkeypatch, 0)
    with pytest.raises(RuntimeError, match="no CUDA device is visible"), run.device_lease("cuda"):
        pass


@pytest.mark.usefixtures("no_choice")
def test_each_gpu_is_lent_once_at_a_time(monkeypatch):
    has_gpus(monkeypatch, 2)

    def lease():
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return run.device_lease("auto")

    with lease() as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        with lease() as second:
            assert (first, second) == ("cuda:0", "cuda:1")
        with lease() as again:
            assert again == "cuda:1"
    with lease() as last:
        assert last == "cuda:0"


@pytest.mark.usefixtures("no_choice")
def test_a_third_execution_waits_for_a_gpu(monkeypatch):
    has_gpus(monkeypatch, 1)

    class WaitedError(Exception):
        pass

    def sleep(seconds):
        raise WaitedError

    monkeypatch.setattr(run.time, "sleep", sleep)
    with run.device_lease("cuda"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with pytest.raises(WaitedError), run.device_lease("cuda"):
            pass


@pytest.mark.usefixtures("no_choice")
def test_a_fault_inside_a_lease_comes_through_and_frees_the_device(monkeypatch):
    has_gpus(monkeypatch, 1)
    with pytest.raises(BlockingIOError, match="of the body"), run.device_lease("auto"):
        raise BlockingIOError("of the body")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with run.device_lease("auto") as device:
        assert device == "cuda:0"


@pytest.mark.usefixtures("no_choice")
def test_the_schedulers_choice_stands(monkeypatch):
    """One is taken as it is, also by two at a time; of several, each is lent once."""
    has_gpus(monkeypatch, 8)

    def lease(chosen):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        return run.device_lease("auto")

    with lease("5") as first, lease("5") as second:
        assert (first, second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:5", "cuda:5", "5")
    with lease("6,2") as first, lease("6,2") as second:
        assert (first, second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:6", "cuda:2", "2")


@pytest.mark.usefixtures("no_choice")
@pytest.mark.parametrize("chosen", ["-1", "none", "NoDevFiles", "9"])
def test_a_choice_that_is_no_device_is_the_cpu(monkeypatch, chosen):
    has_gpus(monkeypatch, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    with run.device_lease("auto") as device:
        assert (device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["99_none"],
        ["03_staged_unfreezing"],
        ["03_staged_unfreezing", "--trial", "frozen"],
        ["01_data", "--trial", "frozen", "--seed", "3"],
        ["03_staged_unfreezing", "--trial", "frozen", "--seed", "x"],
    ],
)
def test_a_call_that_makes_no_sense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_trial_must_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "WORK", tmp_path)
    with pytest.raises(ValueError, match="needs both"):
        run.run_stage("03_staged_unfreezing", "smoke")
    with pytest.raises(KeyError, match="did you mean 'text1'"):
        run.run_stage("03_staged_unfreezing", "smoke", "text", 3)
    assert list(tmp_path.iterdir()) == []


SETUP = "from verdict.workflow.stage import open_stage, progress\nstage = open_stage({name!r}, profile{more})"
GOOD = "progress('half way')\nstage.number('made.value', 6 * 7, kind='exact')\nstage.save()"


def notebook(root, name, *cells, trial=False):
    """A notebook of the miniature project: its parameters, its setup, and some cells."""
    parameters = 'profile = "smoke"' + ('\ntrial = "frozen"\nseed = 11' if trial else "")
    setup = SETUP.format(name=name, more=", trial=trial, seed=seed" if trial else "")
    sources = [(parameters, ["parameters"]), (setup, []), *((cell, []) for cell in cells)]
    content = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"c{i}",
                "metadata": {"tags": tags},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for i, (source, tags) in enumerate(sources)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    write_text(root / "notebooks" / f"{name}.ipynb", json.dumps(content))


@pytest.fixture
def root(tmp_path):
    """A project in miniature: the real package and parameters, notebooks of the test's own."""
    (tmp_path / "lib").symlink_to(PROJECT / "lib")
    (tmp_path / "params").symlink_to(PROJECT / "params")
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def start(root, *arguments, **variables):
    environment = {**os.environ, **variables, "VERDICT_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(PROJECT / "lib")
    command = [sys.executable, "-W", "ignore", "-m", "verdict.workflow.run", *arguments, "--profile", "smoke"]
    return subprocess.Popen(
        command, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=600)
    assert out == ""
    return process.returncode, err


def test_an_execution_leaves_its_record_and_tells_how_far_it_is(root):
    notebook(root, "01_data", GOOD)
    home = root / "work" / "smoke" / "01_data"
    write_text(home / "left_over.parquet", "of an earlier execution")
    write_text(home / "images" / "left_over.npy", "of an earlier execution")
    write_text(root / "work" / "smoke" / "failed" / "01_data.ipynb", "of an earlier execution")
    code, err = finish(start(root, "01_data"))
    assert code == 0, err
    assert re.search(r"^01_data  half way  \(\d+ s\)$", err, re.MULTILINE), err
    assert re.search(r"^01_data  done in \d+ s$", err, re.MULTILINE), err
    record = read_run(home)
    assert sorted(record["outputs"]) == [
        f"work/smoke/01_data/{name}" for name in ("claims.json", "executed.ipynb", "numbers.json")
    ]
    assert (record["profile"], record["stage"], record["trial"], record["is_smoke"]) == ("smoke", "01_data", None, True)
    assert set(record["params"]) == {"data", "statistics"}
    assert "training.batch_size" in record["non_default"]
    assert {path.name for path in home.iterdir()} == {
        *("run.json", ".run.json", "executed.ipynb", "numbers.json", "claims.json", "inputs.json")
    }
    assert [path.name for path in home.parent.iterdir() if path.name.startswith(".")] == []
    assert list((root / "work" / "smoke" / "failed").iterdir()) == []


def test_a_failed_notebook_is_kept_where_the_message_says(root):
    notebook(root, "01_data", GOOD, "raise ValueError('row 7 of pairs.csv has no label')", "print('not reached')")
    write_text(root / "work" / "smoke" / "01_data" / "run.json", "{}")
    code, err = finish(start(root, "01_data"))
    assert code == 1
    assert "row 7 of pairs.csv has no label" in err
    kept = root / re.search(r"FAILED; the notebook as far as it ran is (\S+)", err)[1]
    assert kept == root / "work" / "smoke" / "failed" / "01_data.ipynb"
    cells = json.loads(kept.read_text())["cells"]
    assert any("ValueError" in str(cell.get("outputs")) for cell in cells)
    home = root / "work" / "smoke" / "01_data"
    assert not (home / "run.json").exists()
    assert not (home / "executed.ipynb").exists()


def test_a_killed_kernel_is_a_failure(root):
    notebook(root, "01_data", GOOD, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    code, err = finish(start(root, "01_data"))
    assert code == 1
    assert "DeadKernelError" in err
    assert (root / "work" / "smoke" / "failed" / "01_data.ipynb").is_file()
    assert not (root / "work" / "smoke" / "01_data" / "run.json").exists()


def test_a_killed_driver_leaves_no_record(root):
    notebook(root, "01_data", GOOD, "import time\ntime.sleep(60)")
    process = start(root, "01_data")
    work = root / "work" / "smoke"
    deadline = time.monotonic() + 60
    while not list(work.glob(".01_data.*/numbers.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(list(work.glob(".01_data.*/numbers.json"))) == 1
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert not (work / "01_data").exists()
    notebook(root, "01_data", GOOD)
    code, err = finish(start(root, "01_data"))
    assert code == 0, err
    assert [path.name for path in work.iterdir() if path.name != "failed"] == ["01_data"]


STATE = """
import json, locale, os, sys, time
import matplotlib, pandas
from verdict.model.backend import keras
from verdict.report.plots import use_style
use_style()
config = keras.config
state = {
    "keras": [config.backend(), config.floatx(), config.image_data_format(), config.epsilon()],
    "plots": [matplotlib.get_backend(), {k: str(v) for k, v in matplotlib.rcParams.items()}],
    "pandas": pandas.get_option("display.max_rows"),
    "place": [time.tzname, locale.setlocale(locale.LC_ALL, ""), locale.getpreferredencoding(), sys.flags.utf8_mode],
    "names": sorted(name for name in globals() if name.startswith("own")),
    "variables": {k: v for k, v in os.environ.items() if not k.startswith(("JPY", "JUPYTER", "IPYTHON", "VERDICT"))},
}
(stage.folder / "state.json").write_text(json.dumps(state))
stage.number("made.value", 1, unit="count")
stage.save()
"""
OWN = {
    ".keras/keras.json": json.dumps({"floatx": "float16", "backend": "jax", "image_data_format": "channels_first"}),
    ".config/matplotlib/matplotlibrc": "font.size: 30\nbackend: pdf\n",
    ".ipython/profile_default/startup/own.py": "own_name = 1\n__import__('pandas').set_option('display.max_rows', 3)\n",
    ".ipython/profile_default/ipython_kernel_config.py": "c.InteractiveShellApp.exec_lines = ['own_line = 1']\n",
    ".local/share/jupyter/kernels/python3/kernel.json": json.dumps({"argv": ["false"], "display_name": "own"}),
    ".jupyter/jupyter_config.py": "raise SystemExit('of the user')\n",
    ".config/pip/x": "",
}


def test_what_a_machine_holds_for_its_user_reaches_no_notebook(root, tmp_path):
    """Files in the home folder, one of the plots' beside the project, and variables of the shell."""
    notebook(root, "01_data", STATE.strip())
    found = []
    for own, variables in (({}, {}), (OWN, {**HOSTILE, "PYTHONWARNINGS": "ignore"})):
        home = tmp_path / f"home{len(own)}"
        home.mkdir()
        for name, text in own.items():
            write_text(home / name, text)
            write_text(root / "matplotlibrc", "lines.linewidth: 9\n")
        code, err = finish(start(root, "01_data", HOME=str(home), **variables))
        assert code == 0, err
        state = (root / "work" / "smoke" / "01_data" / "state.json").read_text()
        found.append(json.loads(state.replace(str(home), "HOME")))
    assert found[0] == found[1]
    assert found[0]["keras"][:3] == ["torch", "float32", "channels_last"]
    assert found[0]["names"] == [] and found[0]["place"][0] == ["UTC", "UTC"]


MEET = """
import time
from pathlib import Path
here = Path(stage.folder).parent / f"here-{seed}"
here.touch()
deadline = time.monotonic() + 60
while len(list(here.parent.glob("here-*"))) < 2 and time.monotonic() < deadline:
    time.sleep(0.1)
assert len(list(here.parent.glob("here-*"))) == 2
stage.number("made.seed", seed, kind="setting")
progress(f"seed {seed}")
stage.save()
"""


def test_two_executions_side_by_side_do_not_meet(root):
    """Each waits until the other runs, so that both kernels live at once."""
    name = "03_staged_unfreezing"
    notebook(root, name, MEET.strip(), trial=True)
    processes = {seed: start(root, name, "--trial", "text1", "--seed", str(seed)) for seed in (11, 23)}
    for seed, process in processes.items():
        code, err = finish(process)
        assert code == 0, err
        assert f"{name} text1-s{seed}  seed {seed}" in err
        home = root / "work" / "smoke" / name / f"text1-s{seed}"
        assert json.loads((home / "numbers.json").read_text())["made.seed"]["value"] == seed
        assert read_run(home)["seed"] == seed
        assert read_run(home)["params"]["trial"]["seed"] == seed
    assert [path.name for path in root.iterdir() if "kernel" in path.name] == []


TWICE = """
import os, time
from pathlib import Path
here = Path(stage.folder).parent
(here / f"here-{os.getpid()}").touch()
deadline = time.monotonic() + 60
while len(list(here.glob("here-*"))) < 2 and time.monotonic() < deadline:
    time.sleep(0.1)
assert len(list(here.glob("here-*"))) == 2
stage.number("made.value", seed, kind="setting")
for part in range(20):
    (Path(stage.folder) / f"part{part}.txt").write_text(str(os.getpid()))
    time.sleep(0.01)
stage.save()
"""


def test_two_executions_of_one_stage_at_once_leave_one_whole_result(root, monkeypatch):
    """A scheduler may run a job again while it is submitted anew; each waits until the other runs."""
    name = "03_staged_unfreezing"
    notebook(root, name, TWICE.strip(), trial=True)
    processes = [start(root, name, "--trial", "text1", "--seed", "11") for _ in range(2)]
    told = [finish(process) for process in processes]
    assert [code for code, _ in told] == [0, 0], told
    assert sorted("another run of it was done first" in err for _, err in told) == [False, True]
    home = root / "work" / "smoke" / name / "text1-s11"
    monkeypatch.setattr(paths, "ROOT", root)
    assert len(verify_outputs(home)["outputs"]) == 23
    assert len({path.read_text() for path in home.glob("part*.txt")}) == 1
    assert not [path for path in home.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("name", "shard"), [("features", "1"), ("features", "-1"), ("01_data", "0")])
def test_a_shard_that_there_is_not_is_refused(name, shard, capsys):
    assert run.main([name, "--profile", "smoke", "--shard", shard]) == 1
    assert f"{name} has no shard {shard}; execution.feature_shards is 1" in capsys.readouterr().err


def executing(path, running):
    """A notebook of two sections as papermill keeps it while it runs."""
    cells = [{"cell_type": "markdown", "source": ["# Page\n", "\n", "Why?"], "metadata": {}}]
    for section in ("Before and after", "Sets"):
        cells.append({"cell_type": "markdown", "source": f"## {section}\n\n**Method.**", "metadata": {}})
        cells += [{"cell_type": "code", "source": "x", "metadata": {"papermill": {"status": "pending"}}} for _ in "ab"]
    for k, cell in enumerate(cells):
        if cell["cell_type"] == "code" and k <= running:
            cell["metadata"]["papermill"]["status"] = "running" if k == running else "completed"
    write_text(path, json.dumps({"cells": cells}))


@pytest.mark.parametrize(
    ("running", "told"),
    [(2, "Before and after (cell 3 of 7)"), (5, "Sets (cell 6 of 7)"), (6, "Sets (cell 7 of 7)"), (9, "")],
)
def test_a_page_that_reports_nothing_is_told_by_its_section(tmp_path, running, told):
    executing(tmp_path / "a.ipynb", running)
    assert run.section(tmp_path / "a.ipynb") == told
    (tmp_path / "a.ipynb").write_text((tmp_path / "a.ipynb").read_text()[:-9])
    assert run.section(tmp_path / "a.ipynb") == run.section(tmp_path / "none.ipynb") == ""


def test_progress_is_shown_whether_or_not_a_stage_reports_any(tmp_path, capsys):
    executing(tmp_path / run.EXECUTING, 5)
    with run._followed(tmp_path, "07_calibration"):
        time.sleep(2.2)
    assert "07_calibration  Sets (cell 6 of 7)  (2 s)" in capsys.readouterr().err
    with run._followed(tmp_path, "07_calibration"):
        (tmp_path / run.PROGRESS).write_text("encoded 1/9\nencoded 2/9\n")
    assert "07_calibration  encoded 2/9" in capsys.readouterr().err
