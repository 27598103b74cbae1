"""The driver: devices, executions that succeed, fail, are killed, or run side by side."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import matplotlib
import pytest

from report_runs import HOSTILE
from report_tools import code, markdown, write_notebook
from verdict.base import paths
from verdict.base.artifacts import read_run, verify_outputs, write_text
from verdict.report.plots import use_style
from verdict.workflow import run

PROJECT = paths.ROOT


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """So many GPUs of a machine whose scheduler has chosen none of them, with locks in a folder of the test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "set, so that it is put back afterwards")
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "so too")
    monkeypatch.setattr(run.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(run.place, "DEVICES", tmp_path / "devices")

    def make(n):
        for k in range(n):
            write_text(tmp_path / "devices" / f"nvidia{k}", "")

    return make


def lease(wanted="auto", chosen=None):
    """A device for a new process, whose scheduler may have chosen some."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    os.environ.update({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen})
    return run.device_lease(wanted)


@pytest.mark.parametrize(
    ("wanted", "count", "chosen"),
    [("cpu", 2, None), ("cpu", 0, None), ("auto", 0, None), *(("auto", 2, name) for name in ("-1", "none", "9"))],
)
def test_without_a_gpu_or_a_wish_for_one_it_is_the_cpu(gpus, wanted, count, chosen):
    gpus(count)
    with lease(wanted, chosen) as device:
        assert device == "cpu"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert os.environ["KERAS_TORCH_DEVICE"] == "cpu"


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_demanded_and_absent_is_an_error():
    with pytest.raises(RuntimeError, match="no CUDA device is visible"), lease("cuda"):
        pass


def test_each_gpu_is_lent_once_at_a_time_and_freed_by_a_fault(gpus):
    gpus(2)
    with lease() as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        with pytest.raises(BlockingIOError, match="of the body"), lease() as second:
            assert (first, second) == ("cuda:0", "cuda:1")
            raise BlockingIOError("of the body")
        with lease() as again:
            assert again == "cuda:1"
    with lease() as last:
        assert last == "cuda:0"


def test_a_third_execution_waits_for_a_gpu(gpus, monkeypatch):
    gpus(1)

    def sleep(seconds):
        raise InterruptedError

    monkeypatch.setattr(run.time, "sleep", sleep)
    with lease("cuda"), pytest.raises(InterruptedError), lease("cuda"):
        pass


def test_the_schedulers_choice_stands(gpus):
    """One is taken as it is, also by two at a time; of several, each is lent once."""
    gpus(8)
    with lease(chosen="5") as first, lease(chosen="5") as second:
        assert (first, second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:5", "cuda:5", "5")
    with lease(chosen="6,2") as first, lease(chosen="6,2") as second:
        assert (first, second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:6", "cuda:2", "2")


@pytest.mark.parametrize(
    "arguments",
    [
        ["99_none"],
        ["03_staged_unfreezing"],
        ["01_data", "--trial", "frozen"],
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
    with pytest.raises(KeyError, match="did you mean 'text1'"):
        run.run_stage("03_staged_unfreezing", "smoke", "text")
    assert list(tmp_path.iterdir()) == []


SETUP = "from verdict.workflow.stage import open_stage, progress\nstage = open_stage({name!r}, profile{more})"
GOOD = "progress('half way')\nstage.number('made.value', 6 * 7, kind='exact')\nstage.save()"


def notebook(root, name, *cells, trial=False):
    """A notebook of the miniature project: its parameters, its setup, and some cells."""
    parameters = 'profile = "smoke"' + ('\ntrial = "frozen"' if trial else "")
    setup = SETUP.format(name=name, more=", trial=trial" if trial else "")
    cells = [code(parameters, "parameters"), *map(code, (setup, *cells))]
    cells = [{**cell, "id": f"c{k}"} for k, cell in enumerate(cells)]
    write_notebook(root / "notebooks" / f"{name}.ipynb", cells)


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


def wait_for(condition, process):
    while not condition() and process.poll() is None:
        time.sleep(0.1)


def finish(process):
    out, err = process.communicate(timeout=600)
    assert out == ""
    return process.returncode, err


def test_an_execution_leaves_its_record_and_nothing_of_an_earlier_one(root):
    """Not of one that was killed, nor of one that failed; it tells how far it is."""
    work = root / "work" / "smoke"
    home = work / "01_data"
    for left in ("01_data/left_over.parquet", "01_data/images/left_over.npy", "failed/01_data.ipynb"):
        write_text(work / left, "of an earlier execution")
    notebook(root, "01_data", GOOD, "import time\ntime.sleep(60)")
    process = start(root, "01_data")
    wait_for(lambda: list(work.glob(".01_data.*/numbers.json")), process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert not home.exists()
    notebook(root, "01_data", GOOD)
    code, err = finish(start(root, "01_data"))
    assert code == 0, err
    assert re.search(r"^01_data  half way  \(\d+ s\)$", err, re.MULTILINE), err
    assert re.search(r"^01_data  done in \d+ s$", err, re.MULTILINE), err
    record = read_run(home)
    made = {"claims.json", "executed.ipynb", "numbers.json"}
    assert set(record["outputs"]) == {f"work/smoke/01_data/{name}" for name in made}
    assert (record["profile"], record["stage"], record["trial"], record["is_smoke"]) == ("smoke", "01_data", None, True)
    assert set(record["params"]) == {"data", "statistics"}
    assert "training.batch_size" in record["non_default"]
    assert {path.name for path in home.iterdir()} == made | {"run.json", ".run.json", "inputs.json"}
    assert {path.name for path in work.iterdir()} == {"01_data", "failed"}
    assert list((work / "failed").iterdir()) == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("raise ValueError('row 7 of pairs.csv has no label')", "ValueError"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "DeadKernelError"),
    ],
)
def test_a_failed_notebook_is_kept_where_the_message_says(root, cell, said):
    notebook(root, "01_data", GOOD, cell, "print('not reached')")
    write_text(root / "work" / "smoke" / "01_data" / "run.json", "{}")
    code, err = finish(start(root, "01_data"))
    assert code == 1 and said in err
    kept = root / re.search(r"FAILED; the notebook as far as it ran is (\S+)", err)[1]
    assert kept == root / "work" / "smoke" / "failed" / "01_data.ipynb"
    cells = json.loads(kept.read_text())["cells"]
    assert any("ValueError" in str(cell.get("outputs")) for cell in cells) is (said == "ValueError")
    assert any(cell in "".join(ran["source"]) for ran in cells)
    assert not (root / "work" / "smoke" / "01_data").exists()


STATE = """
import json, locale, os, sys, time
import matplotlib, pandas
from verdict.model.backend import keras
from verdict.report.plots import use_style
use_style()
config = keras.config
state = {
    "keras": [config.backend(), config.floatx(), config.image_data_format(), config.epsilon()],
    "plots": {k: str(v) for k, v in matplotlib.rcParams.items() if k != "backend"},
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
    for name, text in OWN.items():
        write_text(tmp_path / "home" / name, text)
    write_text(root / "matplotlibrc", "lines.linewidth: 9\n")
    variables = {**HOSTILE, "PYTHONWARNINGS": "ignore", "HOME": str(tmp_path / "home")}
    code, err = finish(start(root, "01_data", **variables))
    assert code == 0, err
    found = json.loads((root / "work" / "smoke" / "01_data" / "state.json").read_text())
    assert found["keras"] == ["torch", "float32", "channels_last", 1e-7]
    with matplotlib.rc_context():
        use_style()
        expected = {name: str(value) for name, value in matplotlib.rcParams.items() if name != "backend"}
    assert found["plots"] == expected
    assert (found["pandas"], found["names"]) == (60, [])
    assert found["place"] == [["UTC", "UTC"], "C", "utf-8", 1]
    given = {name: value for name, value in variables.items() if found["variables"].get(name) == value}
    assert given == {"HOME": variables["HOME"]}


MEET = """
import os, time
from pathlib import Path
work = stage.folder.parent
(work / f"here-{os.getpid()}").touch()
deadline = time.monotonic() + 120
while len(list(work.glob("here-*"))) < 3 and time.monotonic() < deadline:
    time.sleep(0.1)
assert len(list(work.glob("here-*"))) == 3
stage.number("made.depth", stage.trial.text_blocks, kind="setting")
progress(f"trial {trial}")
for part in range(20):
    (stage.folder / f"part{part}.txt").write_text(str(os.getpid()))
    time.sleep(0.01)
stage.save()
"""


def test_executions_side_by_side_do_not_meet_and_leave_one_whole_result_of_each(root, monkeypatch):
    """A scheduler may run a job again while it is submitted anew; each waits until the others run."""
    name = "03_staged_unfreezing"
    notebook(root, name, MEET.strip(), trial=True)
    trials = ("text1", "text1", "frozen")
    processes = [start(root, name, "--trial", trial) for trial in trials]
    told = [finish(process) for process in processes]
    assert [code for code, _ in told] == [0, 0, 0], told
    assert all(f"{name} {trial}  trial {trial}" in err for trial, (_, err) in zip(trials, told, strict=True))
    assert sorted("another run of it was done first" in err for _, err in told[:2]) == [False, True]
    assert "another run" not in told[2][1]
    monkeypatch.setattr(paths, "ROOT", root)
    for trial, depth in (("text1", 1), ("frozen", 0)):
        home = root / "work" / "smoke" / name / trial
        assert json.loads((home / "numbers.json").read_text())["made.depth"]["value"] == depth
        record = verify_outputs(home)
        assert (record["trial"], record["params"]["trial"]["name"], len(record["outputs"])) == (trial, trial, 23)
        assert len({path.read_text() for path in home.glob("part*.txt")}) == 1
    assert not [path for path in home.parent.iterdir() if path.name.startswith(".")]
    assert [path.name for path in root.iterdir() if "kernel" in path.name] == []


@pytest.mark.parametrize(("name", "shard"), [("features", "1"), ("features", "-1"), ("01_data", "0")])
def test_a_shard_that_there_is_not_is_refused(name, shard, capsys):
    assert run.main([name, "--profile", "smoke", "--shard", shard]) == 1
    assert f"{name} has no shard {shard}; execution.feature_shards is 1" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "trial"), [("01_data", None), ("03_staged_unfreezing", "image_only")])
def test_a_seed_that_there_is_not_is_refused(name, trial, tmp_path, monkeypatch):
    """The control of the smoke profile runs with the first seed alone."""
    monkeypatch.setattr(paths, "WORK", tmp_path)
    with pytest.raises(ValueError, match="has no seed 23"):
        run.run_stage(name, "smoke", trial, seed=23)
    assert list(tmp_path.iterdir()) == []


def begun(n):
    """The first cells of a page of two sections, as papermill runs them."""
    cells = [markdown("# Page\n\nWhy?")]
    for section in ("Before and after", "Sets"):
        cells += [markdown(f"## {section}\n\n**Method.**"), code("# x"), code("x")]
    return cells[:n]


@pytest.mark.parametrize(
    ("n", "told"),
    [(0, ""), (3, "Before and after (cell 3 of 8)"), (6, "Sets (cell 6 of 8)"), (7, "Sets (cell 7 of 8)")],
)
def test_a_page_that_reports_nothing_is_told_by_its_section(n, told):
    assert run.section(begun(n), 8) == told


def test_progress_is_shown_whether_or_not_a_stage_reports_any(tmp_path, capsys):
    write_notebook(tmp_path / "a.ipynb", begun(7))
    following = (tmp_path, "07_calibration", tmp_path / "a.ipynb", begun(6))
    with run._followed(*following):
        time.sleep(2.2)
    assert "07_calibration  Sets (cell 6 of 8)  (2 s)" in capsys.readouterr().err
    with run._followed(*following):
        (tmp_path / run.PROGRESS).write_text("encoded 1/9\nencoded 2/9\n")
    assert "07_calibration  encoded 2/9" in capsys.readouterr().err
