"""How processes of a run start and end: the same variables on every machine, and no process without its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from report_runs import HOSTILE, environment
from verdict.base import paths
from verdict.workflow import pipeline, start

PROC = Path("/proc/self/environ")


def test_what_configures_tools_for_a_user_is_not_seen(tmp_path):
    plain = {"PATH": "/bin", "HOME": str(tmp_path), "HF_HOME": "/hub"}
    ours = start.environment(tmp_path / "p", plain)
    assert start.environment(tmp_path / "p", {**plain, **HOSTILE}) == ours
    assert start.environment(tmp_path / "p", ours) == ours
    # A run does not belong to the one that started it.
    assert start.environment(tmp_path / "p", {**ours, start.RUN: "/r", start.WARM: "/w"}) == ours


def test_places_devices_and_the_way_to_the_network_are_kept(tmp_path):
    given = {"PATH": "/bin", "HOME": str(tmp_path), "TMPDIR": "/t", "VERDICT_DATA": "/data"}
    given |= {"CUDA_VISIBLE_DEVICES": "1", "https_proxy": "p", "HTTPS_PROXY": "q", "HF_TOKEN": "t", "SLURM_JOB_ID": "3"}
    found = start.environment(tmp_path / "p", given)
    assert {name: found[name] for name in given} == given
    assert found["HF_HOME"] == f"{tmp_path}/.cache/huggingface"
    assert start.environment(tmp_path, {**given, "XDG_CACHE_HOME": "/big"})["HF_HOME"] == "/big/huggingface"


def test_a_backend_is_chosen_before_keras_is_imported(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(backend=SimpleNamespace(backend=lambda: "torch")))
    with pytest.raises(RuntimeError, match=r"model\.backend is tensorflow, and Keras runs on torch here"):
        start.choose_backend("tensorflow")
    monkeypatch.delitem(sys.modules, "keras")
    start.choose_backend("tensorflow")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize("home", [None, "", "/nonexistent/home", "/proc/self/environ"])
def test_without_a_home_caches_go_below_work(tmp_path, home):
    found = start.environment(tmp_path, {"PATH": "/bin"} | ({} if home is None else {"HOME": home}))
    below = [found["HOME"], found["HF_HOME"], *(found[name] for name in start.FOLDERS)]
    assert all(Path(folder).is_relative_to(tmp_path / "work") for folder in below)


@pytest.mark.parametrize(
    ("name", "system", "said"),
    [
        ("a:b", "linux", "holds a colon, a line break or what is not UTF-8"),
        ("a\nb", "darwin", "a\\nb' holds a colon, a line break or"),
        ("a\udcff", "linux", "a\\udcff' holds a colon, a line break or"),
        ("plain", "win32", "on Windows, inside WSL; this is win32"),
        ("plain", "cygwin", "inside WSL"),
    ],
)
def test_what_cannot_stand_is_refused_in_a_sentence_before_anything_is_made(
    tmp_path, monkeypatch, capsys, name, system, said
):
    monkeypatch.setattr(paths, "ROOT", tmp_path / name)
    monkeypatch.setattr(paths, "WORK", tmp_path / name / "work")
    monkeypatch.setattr(start.sys, "platform", system)
    assert pipeline.main(["--profile", "smoke"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("nothing was run: ") and said in told and len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "it's", 'a"$b', "{a}", "caf\u00e9", "cafe\u0301", "x" * 200])
def test_any_other_path_will_do(tmp_path, monkeypatch, name):
    monkeypatch.setattr(paths, "ROOT", tmp_path / name)
    assert start.why_not() == ""


def test_sockets_go_where_the_path_is_short(tmp_path, monkeypatch):
    long = tmp_path / ("a" * 150)
    long.mkdir()
    monkeypatch.setattr(start.tempfile, "gettempdir", lambda: str(long))
    with start.scratch({}) as folder:
        assert len(os.fsencode(folder)) + len("/kernel.json-1") <= 103
        assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(start.os, "access", lambda *_: False)
    with pytest.raises(OSError, match="set TMPDIR"):
        start.short_folder()


def test_what_a_killed_run_has_left_is_taken_away(tmp_path):
    lock = tmp_path / ".lock"
    lock.touch()
    with start.run_folder(lock) as told:
        folder = Path(told[start.RUN])
        (folder / "left").touch()
        with start.run_folder(lock) as again:
            assert again == told
            assert not (folder / "left").exists()
    assert not folder.exists()


CHAIN = """
import os, subprocess, sys, time
depth = int(sys.argv[1])
print(os.getpid(), flush=True)
if depth:
    subprocess.run([sys.executable, "-m", "verdict.workflow.start", "chain", str(depth - 1)])
time.sleep(60)
"""


def is_running(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not PROC.exists(), reason="needs Linux's /proc to look at processes")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_whatever_ends_a_process_ends_what_it_has_started(tmp_path, end, interrupt):
    signal.signal(signal.SIGINT, interrupt)
    (tmp_path / "chain.py").write_text(CHAIN)
    path = os.pathsep.join([str(tmp_path), str(paths.LIBRARY.parent)])
    # `verdict.workflow.start` sets the search path of a run; the module is found from the folder.
    command, variables = [sys.executable, "chain.py", "3"], {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True)
    pids = [int(process.stdout.readline()) for _ in range(4)]
    assert all(map(is_running, pids))
    process.send_signal(end)
    until = time.monotonic() + 5
    while any(map(is_running, pids[1:])) and time.monotonic() < until:
        time.sleep(0.05)
    left = [pid for pid in pids[1:] if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert left == []


def test_an_interrupt_leaves_one_line(tmp_path):
    code = "from verdict.workflow import start; start.run_module('waiting', [])"
    (tmp_path / "waiting.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(paths.LIBRARY.parent)])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], env=variables, **pipes)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "stopped (KeyboardInterrupt)\n")


@pytest.mark.parametrize(
    ("closed", "n_out", "n_error"), [("<&-", 2, 2), (">&-", 0, 2), ("2>&-", 2, 0), (">&- 2>&-", 0, 0)]
)
def test_what_takes_the_place_of_a_closed_stream_is_not_written_into(tmp_path, closed, n_out, n_error):
    code = "import subprocess, sys; file = open('kept', 'w'); print('out'); print('error', file=sys.stderr); "
    code += "subprocess.run('echo out; echo error >&2', shell=True); assert not sys.stdin or not sys.stdin.read()"
    (tmp_path / "printing.py").write_text(code + "\nopen('done', 'w')\n")
    command = f'"{sys.executable}" -c "from verdict.workflow import start; start.main([\'printing\'])" {closed}'
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(paths.LIBRARY.parent)])}
    run = {"shell": True, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=tmp_path, env=variables, check=False, **run)
    assert (done.returncode, (tmp_path / "kept").read_text(), (tmp_path / "done").exists()) == (0, "", True)
    assert (done.stdout.count("out"), done.stderr.count("error")) == (n_out, n_error)


HEAVY = {"torch", "keras", "tensorflow", "pandas", "sklearn", "scipy", "matplotlib", "papermill", "IPython", "lark"}


def test_what_renders_pages_imports_no_framework_and_no_parser_of_addresses():
    """A changed word is to show soon: each of these takes a second. Every process of a run imports `start` first."""
    code = "import sys, verdict.workflow.start, verdict.report.site, verdict.report.index; "
    code += f"print({HEAVY} & set(sys.modules))"
    told = [sys.executable, "-c", code]
    found = subprocess.run(told, capture_output=True, text=True, env=environment(paths.ROOT), check=False)
    assert found.stdout == "set()\n", found.stderr
