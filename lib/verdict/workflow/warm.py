"""Processes that start with the heavy imports done: `python -m verdict.workflow.warm MODULE ARGUMENT...`.

A report runs dozens of short stages, each with a kernel of its own, and each would import the same libraries for some
seconds. A server imports them once and forks; the caller stands in for the fork: it passes on its arguments,
environment, folder and standard streams, ends with its status, and takes it along when it is killed. Without a server,
or once the library's files have changed under it, the module runs in the caller itself, with the same result.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from verdict.base import paths
from verdict.base.artifacts import content_hash
from verdict.workflow import start

FOLDER = start.WARM
# What stages and their kernels import; progress bars first, which look for widgets where they find a kernel.
MODULES = (
    "tqdm.auto",
    "papermill",
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "verdict.pages.evaluation",
    "verdict.data.sources",
    "verdict.report.engine",
    "verdict.report.plots",
)
# What those import besides that train, and those on the dual encoder, in the profiles that have them.
TRAINING_MODULES = ("verdict.model.trials",)
CLIP_MODULES = ("verdict.clip.encoder.encode", "verdict.clip.robustness.population")
# What a kernel would find when it imports these: the inline backend, and a parent that need not be watched, since a
# fork watches its caller itself.
FOUND = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1"}


def address(folder: str) -> str:
    """Where the server of a folder listens that knows the library as it is now: changed files lead to no server."""
    found = ((str(path), path.stat()) for path in sorted(paths.LIBRARY.rglob("*.py")))
    # Short: see `start.SHORT`.
    return str(Path(folder) / content_hash([(name, stat.st_mtime_ns, stat.st_size) for name, stat in found])[:8])


@contextlib.contextmanager
def server(environment: dict[str, str], more: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """The environment in which callers find a server of forks, for as long as this context lasts; it must hold what is
    read when libraries are imported, such as the number of threads. The server imports `MODULES`, and `more`.
    """
    with start.scratch(environment) as folder:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address(str(folder)))
        listening.listen(64)
        command = [sys.executable, "-m", "verdict.workflow.warm", "--serve", str(listening.fileno()), *more]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=(listening.fileno(),), env=environment | FOUND, cwd=paths.ROOT
        )
        listening.close()
        try:
            yield {**environment, FOLDER: str(folder)}
        finally:
            # The end of its input is what a server waits for, also when this process is killed.
            process.stdin.close()  # type: ignore[union-attr]
            # While it still imports libraries, it does not look at its input.
            start.wait_or_kill(process)


def call(module: str, arguments: list[str], folder: str, tie: start.Tie) -> int | None:
    """Exit status of a module that a fork runs, waited for as long as this process may live; None if there is no
    server, or none that knows the library as it is now.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address(folder))
            content = json.dumps([module, arguments, dict(os.environ), os.getcwd()]).encode()
            socket.send_fds(connection, [len(content).to_bytes(8, "big")], (0, 1, 2))
            connection.sendall(content)
        except OSError:
            return None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        while not select.select([connection], [], [], start.LOOK_S)[0]:
            if tie.is_cut():
                return 1
        # A fork that dies ends the connection, and resets it if it had not read all that was sent.
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(64)
        if not answer:
            print(f"{' '.join([module, *arguments])}: was killed while it ran, or before", file=sys.stderr)
        return int(answer or 1)


def serve(listening: socket.socket, modules: Sequence[str]) -> socket.socket | None:
    """Fork for each caller until standard input ends, then None; in each fork the connection with its caller."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # This takes seconds, in which standard input is not looked at; a fork is to find one thread.
    with start.beside(start.Tie(os.getppid()).end_when_cut):
        for name in modules:
            importlib.import_module(name)
        # A stage's record says which files its code imports: what each imports is read once. Callers need it not.
        from verdict.workflow.code_digest import library_files

        library_files(path.read_text(encoding="utf-8") for path in paths.LIBRARY.rglob("*.py"))
        # The schema of notebooks is compiled by the first that is read.
        nbformat = importlib.import_module("nbformat")
        nbformat.validate(nbformat.v4.new_notebook())
    gc.freeze()
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [], start.LOOK_S)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if sys.stdin in ready:
            return None
        if listening in ready:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                return connection
            connection.close()


def _obey(connection: socket.socket) -> None:
    """Pass a caller's signals on to this process, and end it when the caller is gone."""
    while True:
        sent = b""
        with contextlib.suppress(OSError):
            sent = connection.recv(1)
        # Sent to the process, it would be this thread's, and wake no other.
        signal.pthread_kill(threading.main_thread().ident, sent[0] if sent else signal.SIGKILL)


def run(connection: socket.socket) -> NoReturn:
    """Run what a caller asks for in its surroundings, tell it the status, and end this process."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    n_bytes = int.from_bytes(size, "big")
    content = connection.recv(n_bytes, socket.MSG_WAITALL)
    # A caller that is gone before it has said all has nobody to be told.
    if not n_bytes or len(content) < n_bytes:
        os._exit(1)
    module, arguments, environment, folder = json.loads(content)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    start.Tie(os.getppid()).watch()
    threading.Thread(target=_obey, args=(connection,), daemon=True).start()
    start.run_module(module, arguments, lambda status: connection.sendall(str(status).encode()))


def main(arguments: list[str]) -> int:
    """Command line."""
    if arguments[0] == "--serve":
        connection = serve(socket.socket(fileno=int(arguments[1])), (*MODULES, *arguments[2:]))
        if connection is not None:
            run(connection)
        return 0
    # Who starts a kernel says so, by which a parent is known that has ended meanwhile.
    says_so = arguments[0] == start.KERNEL and "JPY_PARENT_PID" in os.environ
    tie = start.Tie(int(os.environ["JPY_PARENT_PID"]) if says_so else os.getppid())
    folder = os.environ.get(FOLDER)
    status = call(arguments[0], arguments[1:], folder, tie) if folder else None
    if status is None:
        tie.watch()
        start.run_module(arguments[0], arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
