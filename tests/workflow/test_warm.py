"""Processes that start with the imports done: they run as `python -m` would, and end when their caller ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.workflow import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reports fork on Linux alone")

TOLD = """
import json, os, signal, sys, time
sys.stderr.write("heard\\n")
typed = "" if "wait" in sys.argv else sys.stdin.read()
state = {"arguments": sys.argv[1:], "folder": os.getcwd(), "own": os.environ.get("OWN"), "input": typed}
print(json.dumps({**state, "pid": os.getpid(), "name": __name__, "more": "verdict.more" in sys.modules}), flush=True)
if "wait" in sys.argv:
    with open("started", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
while "burn" in sys.argv and time.process_time() < 0.5:
    pass
if "fail" in sys.argv:
    raise ValueError("as asked")
sys.exit(len(sys.argv) - 1)
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Surroundings without a server, in which a module can be found that says what it was given.

    The project's files are copies, so that they can be changed; what takes long to import is empty there.
    """
    root = tmp_path_factory.mktemp("root")
    for name in ("base", "workflow"):
        shutil.copytree(paths.LIBRARY / name, root / "lib" / "verdict" / name)
    for name in ("verdict.__init__", "verdict.some", "verdict.more", *warm.MODULES):
        if name.startswith("verdict."):
            write_text(root / "lib" / f"{name.replace('.', '/')}.py", "")
    write_text(root / "told.py", TOLD)
    path = os.pathsep.join([str(root / "lib"), str(root)])
    kept = {name: value for name, value in os.environ.items() if name != warm.FOLDER}
    return {**kept, "PYTHONPATH": path, "VERDICT_ROOT": str(root), "OWN": "theirs"}


@pytest.fixture(scope="module")
def served(plain):
    """The same, with a server that imports one module more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LIBRARY", library_of(plain))
        with warm.server(plain, ["verdict.more"]) as environment:
            yield environment


def library_of(environment):
    return Path(environment["VERDICT_ROOT"], "lib", "verdict")


def start(environment, *arguments, folder, **changes):
    command = [sys.executable, "-m", "verdict.workflow.warm", "told", *arguments]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=environment | changes, cwd=folder, text=True, **streams)


def until(holds, within_s=60.0):
    """What a condition gives as soon as it holds; the test fails if it does not in time."""
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def is_running(pid):
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def started(folder):
    """The number of the process that waits."""
    file = folder / "started"
    return int(until(lambda: file.is_file() and file.read_text()))


@pytest.mark.parametrize("kind", ["plain", "served"])
def test_a_module_runs_in_its_callers_surroundings_with_or_without_a_server(request, tmp_path, kind):
    process = start(request.getfixturevalue(kind), "a", "b c", folder=tmp_path, OWN="mine")
    out, err = process.communicate("typed")
    told = json.loads(out)
    assert process.returncode == 2
    assert told["arguments"] == ["a", "b c"]
    assert told["folder"] == str(tmp_path)
    assert (told["own"], told["input"], told["name"]) == ("mine", "typed", "__main__")
    assert "heard" in err
    assert (told["pid"] == process.pid) == (kind == "plain")
    assert told["more"] == (kind == "served")


def test_many_are_served_at_once_and_a_failure_is_told(served, tmp_path):
    processes = [start(served, folder=tmp_path) for _ in range(3)]
    failing = start(served, "fail", folder=tmp_path)
    pids = {json.loads(process.communicate("")[0])["pid"] for process in processes}
    _, err = failing.communicate("")
    assert len(pids) == 3
    assert pids.isdisjoint(process.pid for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert failing.returncode == 1
    assert "ValueError: as asked" in err


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc to look at processes")
def test_a_fork_ends_with_its_caller_and_the_server_lives_on(served, tmp_path):
    process = start(served, "wait", folder=tmp_path)
    pid = started(tmp_path)
    process.kill()
    process.communicate()
    until(lambda: not is_running(pid), 10)
    after = start(served, folder=tmp_path)
    assert json.loads(after.communicate("")[0])["pid"] != after.pid


def test_what_forks_use_counts_as_the_servers(served, tmp_path):
    """A bench adds up the processor seconds of a whole run."""
    command = ["pgrep", "-f", "-P", str(os.getpid()), "--", "--serve"]
    server = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]

    def seconds_of_children():
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    before = seconds_of_children()
    for argument in ("burn", "next"):
        start(served, argument, folder=tmp_path).communicate("")
    assert seconds_of_children() - before >= 0.5


def test_a_callers_signal_reaches_the_fork(served, tmp_path):
    process = start(served, "wait", folder=tmp_path)
    started(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err


@pytest.mark.parametrize("is_read", [True, False], ids=["request read", "request unread"])
def test_a_server_that_is_gone_is_told(plain, tmp_path, monkeypatch, is_read):
    """What it has not read when it dies resets the connection; what it has read ends it."""
    monkeypatch.setattr(paths, "LIBRARY", library_of(plain))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(warm.address(str(tmp_path)))
        listening.listen()
        process = start({**plain, warm.FOLDER: str(tmp_path)}, "x", folder=tmp_path)
        connection, _ = listening.accept()
        if is_read:
            size, streams, _, _ = socket.recv_fds(connection, 8, 3)
            connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
            for stream in streams:
                os.close(stream)
        else:
            time.sleep(1.0)
        connection.close()
        _, err = process.communicate("")
    assert process.returncode == 1
    assert err == "told x: was killed while it ran, or before\n"


def test_where_nobody_listens_the_module_starts_by_itself(plain, tmp_path):
    process = start({**plain, warm.FOLDER: str(tmp_path / "nobody")}, "x", folder=tmp_path)
    out, _ = process.communicate("")
    assert process.returncode == 1
    assert json.loads(out)["pid"] == process.pid


def test_a_library_that_has_changed_is_imported_anew(served, tmp_path):
    """The last test of this server: it serves nobody any more."""
    (library_of(served) / "some.py").write_text("changed = True\n")
    process = start(served, folder=tmp_path)
    out, _ = process.communicate("")
    assert process.returncode == 0
    assert json.loads(out)["pid"] == process.pid


def test_the_server_ends_with_its_context(plain):
    with warm.server(plain) as environment:
        folder = Path(environment[warm.FOLDER])
        assert any(path.is_socket() for path in folder.iterdir())
    assert not folder.exists()


CALLED = """
import os, subprocess, sys
from verdict.workflow import warm
with warm.server(dict(os.environ)) as given:
    subprocess.run([sys.executable, "-m", "verdict.workflow.warm", "told"], env=given)
"""
LASTING = "import os, time\nwith open('started', 'w') as file:\n    file.write(str(os.getpid()))\ntime.sleep(60)\n"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_server_ends_with_its_parent_while_it_imports(plain, tmp_path, end):
    """A module of the test stands for the first library, which takes long; an interrupted parent waits for it."""
    Path(plain["VERDICT_ROOT"], "started").unlink(missing_ok=True)
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").touch()
    (tmp_path / "tqdm" / "auto.py").write_text(LASTING)
    variables = {**plain, "PYTHONPATH": os.pathsep.join([str(tmp_path), plain["PYTHONPATH"]])}
    with subprocess.Popen([sys.executable, "-c", CALLED], env=variables, cwd=tmp_path) as process:
        pid = started(Path(plain["VERDICT_ROOT"]))
        process.send_signal(end)
        try:
            until(lambda: not is_running(pid), 5)
            process.wait(timeout=5)
        finally:
            process.kill()
