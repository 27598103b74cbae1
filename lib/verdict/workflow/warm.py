"""Processes that start with the heavy imports done: `python -m verdict.workflow.warm MODULE ARGUMENT...`.

A report runs dozens of short stages, each with a kernel of its own, and each would import the same libraries for some
seconds. A server imports them once and forks; the caller stands in for the fork: it passes on its arguments,
environment, folder and standard streams, ends with its status, and takes it along when it is killed. Without a server,
or once the library's files have changed under it, the module runs in the caller itself, with the same result.
"""

from __future__ import annotations

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
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from verdict.base import paths
from verdict.workflow import start

ADDRESS = start.WARM
# What stages and their kernels import; progress bars first, which look for widgets where they find a kernel.
MODULES = (
    "tqdm.auto",
    "papermill",
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "verdict.pages.evaluation",
    "verdict.model.trials",
    "verdict.report.engine",
)
# What those on the dual encoder import besides, in the profiles that have them.
CLIP_MODULES = ("verdict.clip.encoder.encode", "verdict.clip.robustness.population")
# What a kernel would find when it imports these: the inline backend, and a parent that need not be watched, since a
# fork's caller does that.
FOUND = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1"}
POLL_S = 0.02
GOODBYE_S = 1.0
REFUSED = -1


@dataclass(frozen=True)
class Asked:
    """What a caller asks for: a module with its arguments, in the caller's surroundings."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    streams: tuple[int, ...] = ()


@contextlib.contextmanager
def server(environment: dict[str, str], more: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """The environment in which callers find a server of forks, for as long as this context lasts; it must hold what is
    read when libraries are imported, such as the number of threads. The server imports `MODULES`, and `more`.
    """
    with start.scratch(environment) as folder:
        address = str(folder / "warm")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        listening.listen(64)
        command = [sys.executable, "-m", "verdict.workflow.warm", "--serve", str(listening.fileno()), *more]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=(listening.fileno(),), env=environment | FOUND, cwd=paths.ROOT
        )
        listening.close()
        try:
            yield {**environment, ADDRESS: address}
        finally:
            # The end of its input is what a server waits for, also when this process is killed.
            process.stdin.close()  # type: ignore[union-attr]
            # While it still imports libraries, it does not look at its input.
            start.wait_or_kill(process)


def call(asked: Asked, address: str, tie: start.Tie) -> int | None:
    """Exit status of a module that a fork runs, waited for as long as this process may live; None if there is no
    server, or none that knows the library as it is now.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            content = json.dumps([asked.module, asked.arguments, asked.environment, asked.folder]).encode()
            socket.send_fds(connection, [len(content).to_bytes(8, "big")], asked.streams)
            connection.sendall(content)
        except OSError:
            return None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        while not select.select([connection], [], [], start.LOOK_S)[0]:
            if tie.is_cut():
                return 1
        # A server that dies ends the connection, and resets it if it had not read all that was sent.
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(64)
        if not answer:
            print(f"{' '.join([asked.module, *asked.arguments])}: was killed while it ran, or before", file=sys.stderr)
            return 1
        status = int(answer)
        if status != REFUSED:
            return status
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return None


def serve(listening: socket.socket, modules: Sequence[str]) -> Asked | None:
    """Answer callers until standard input ends, then None; in each fork what it has to run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forks, known = {}, None
    while True:
        ready, _, _ = select.select([listening, sys.stdin, *forks], [], [], POLL_S if forks else None)
        _attend(forks, ready)
        if sys.stdin in ready:
            until = time.monotonic() + GOODBYE_S
            while forks and time.monotonic() < until:
                time.sleep(POLL_S)
                _attend(forks, ())
            return None
        if listening not in ready:
            continue
        connection, _ = listening.accept()
        try:
            asked = _receive(connection)
        except OSError:
            connection.close()
            continue
        if known is None:
            known = library_state()
            # This takes seconds, in which standard input is not looked at; a fork is to find one thread.
            with start.beside(start.Tie(os.getppid()).end_when_cut):
                for name in modules:
                    importlib.import_module(name)
            gc.freeze()
        is_known = library_state() == known
        if is_known and (pid := os.fork()) == 0:
            for other in (listening, connection, *forks):
                other.close()
            return asked
        for stream in asked.streams:
            os.close(stream)
        if is_known:
            forks[connection] = pid
        else:
            _answer(connection, REFUSED)


def _attend(forks: dict[socket.socket, int], ready: Sequence[object]) -> None:
    """Tell callers whose fork has ended its status; pass on their signals, and end the forks of those that are gone."""
    for connection, pid in list(forks.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del forks[connection]
            _answer(connection, os.waitstatus_to_exitcode(status) % 256)
        elif connection in ready:
            sent = b""
            with contextlib.suppress(OSError):
                sent = connection.recv(1)
            os.kill(pid, sent[0] if sent else signal.SIGKILL)


def _answer(connection: socket.socket, status: int) -> None:
    with connection, contextlib.suppress(OSError):
        connection.sendall(str(status).encode())


def _receive(connection: socket.socket) -> Asked:
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    wanted = int.from_bytes(size, "big")
    content = connection.recv(wanted, socket.MSG_WAITALL)
    if len(content) < wanted or not wanted:
        for stream in streams:
            os.close(stream)
        raise OSError("the caller is gone")
    return Asked(*json.loads(content), streams=tuple(streams))


def library_state() -> dict[str, tuple[int, int]]:
    """Time of change (ns) and size of each of the package's modules, by path."""
    found = ((str(path), path.stat()) for path in sorted(paths.LIBRARY.rglob("*.py")))
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in found}


def run(asked: Asked) -> NoReturn:
    """Run a module in the caller's surroundings, and end this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked.environment)
    time.tzset()
    os.chdir(asked.folder)
    for place, stream in enumerate(asked.streams):
        os.dup2(stream, place)
        os.close(stream)
    start.Tie(os.getppid()).watch()
    start.run_module(asked.module, asked.arguments)


def main(arguments: list[str]) -> int:
    """Command line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.splitlines()[0])
        return 0 if arguments else 2
    if arguments[0] == "--serve":
        asked = serve(socket.socket(fileno=int(arguments[1])), (*MODULES, *arguments[2:]))
        if asked is not None:
            run(asked)
        return 0
    # Who starts a kernel says so, by which a parent is known that has ended meanwhile.
    says_so = arguments[0] == start.KERNEL and "JPY_PARENT_PID" in os.environ
    tie = start.Tie(int(os.environ["JPY_PARENT_PID"]) if says_so else os.getppid())
    address = os.environ.get(ADDRESS)
    asked = Asked(arguments[0], arguments[1:], dict(os.environ), os.getcwd(), (0, 1, 2))
    status = call(asked, address, tie) if address else None
    if status is None:
        tie.watch()
        start.run_module(arguments[0], arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
