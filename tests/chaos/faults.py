"""The faults: each disturbs one subject at a seeded moment and says what it did and what the run must have said.

A fault returns when the disturbed run has ended and whatever it took away is back; what comes next is the driver's.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.chaos.subject import Outcome, Subject, kill

from verdict.base import paths
from verdict.workflow import stages
from verdict.workflow.result_folder import TWIN
from verdict.workflow.start import KERNEL

DAY_S = 86_400
DEAD = r"[Kk]ernel died|DeadKernel|was killed (while it ran|as it ended)"
FULL = r"no space left while writing \S+: [\d,]+ bytes were written, [\d,]+ bytes are free"


class Skipped(RuntimeError):  # noqa: N818
    """A fault that cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Told:
    """What a fault did.

    Attributes
    ----------
    what : str
    disturbed : tuple of Outcome
        The runs that were disturbed, where there were any that could say something.
    cause : str
        Pattern that a disturbed run which failed must have said; "" where it was killed and can say nothing.
    left : tuple of str
        Processes that went on when the run had ended.
    """

    what: str
    disturbed: tuple[Outcome, ...] = ()
    cause: str = ""
    left: tuple[str, ...] = ()


Fault = Callable[[Subject, np.random.Generator], Told]


def _begin_late(subject: Subject, rng: np.random.Generator) -> str:
    """Put the whole result back and make one stage, and what follows from it, run again."""
    subject.put_back()
    chosen = subject.results()[int(rng.integers(0, subject.n_records))].parent
    shutil.rmtree(chosen)
    return f"again from {chosen.relative_to(subject.work)}"


def _moment(subject: Subject, process: subprocess.Popen[bytes], rng: np.random.Generator) -> str:
    """Wait for a random moment: so many more records, and then a part of a stage's mean time."""
    before = len(subject.results())
    wanted = int(rng.integers(0, max(1, subject.n_records - before + 1)))
    part = rng.uniform(0, 0.8) * subject.elapsed_s / max(1, subject.n_records)
    while process.poll() is None and len(subject.results()) < before + wanted:
        time.sleep(0.05)
    until = time.monotonic() + part
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    return f"after {wanted} records and {part:.1f} s"


def kill_run(subject: Subject, rng: np.random.Generator) -> Told:
    """Kill the whole run, everything that it started included, as a power cut does."""
    what, process = _begin_late(subject, rng), subject.start()
    when = _moment(subject, process, rng)
    subject.end_all()
    process.wait()
    return Told(f"{what}, killed {when}")


# How a run's first process, whose terminal is given, comes to its end while all that it has started is still at work.
ENDS: dict[str, Callable[[int, int], None]] = {
    "asked to end": lambda pid, terminal: os.kill(pid, signal.SIGTERM),
    "killed": lambda pid, terminal: os.kill(pid, signal.SIGKILL),
    "asked to end with its group": lambda pid, terminal: os.killpg(pid, signal.SIGTERM),
    "killed with its group": lambda pid, terminal: os.killpg(pid, signal.SIGKILL),
    "interrupted": lambda pid, terminal: os.kill(pid, signal.SIGINT),
    "left by its terminal": lambda pid, terminal: os.close(terminal),
}
LEFT_AFTER_S = 5.0


def end_parent(subject: Subject, rng: np.random.Generator) -> Told:
    """End the first process of a run in one of the ways in which people do, and see what goes on without it."""
    way = str(rng.choice(list(ENDS)))
    what = _begin_late(subject, rng)
    when, left = ended_by(subject, way, lambda process: _moment(subject, process, rng))
    return Told(f"{what}, {way} {when}", left=left)


def ended_by(subject: Subject, way: str, wait: Callable[[subprocess.Popen[bytes]], str]) -> tuple[str, tuple[str, ...]]:
    """Start a run on a terminal, wait as told, and end it in one of the `ENDS`.

    Returns
    -------
    What `wait` says, and the commands of processes that are there five seconds later.
    """
    outer, inner = os.openpty()
    process = subject.start(terminal=inner)
    os.close(inner)
    when = wait(process)
    if process.poll() is None:
        ENDS[way](process.pid, outer)
    until = time.monotonic() + LEFT_AFTER_S
    while (left := subject.commands()) and time.monotonic() < until:
        process.poll()
        time.sleep(0.05)
    subject.end_all()
    process.wait()
    with contextlib.suppress(OSError):
        os.close(outer)
    return when, tuple(left.values())


def killing(*parts: str) -> Fault:
    """A fault that kills one process of a run, with one of these in its command."""

    def fault(subject: Subject, rng: np.random.Generator) -> Told:
        what, started, process = _begin_late(subject, rng), time.monotonic(), subject.start()
        when, hit = _moment(subject, process, rng), False
        while process.poll() is None and not hit:
            found = subject.processes(*parts)
            hit = bool(found) and kill(int(rng.choice(found)))
            time.sleep(0.05)
        done = "killed" if hit else "nothing left to kill"
        return Told(f"{what}, {done} {when}", (subject.wait(process, started),), DEAD)

    return fault


def fill_disk(subject: Subject, rng: np.random.Generator) -> Told:
    """Run on a disk that is too small, then give it space."""
    room = int(subject.n_bytes * rng.uniform(0.05, 0.9))
    subject.empty()
    place = subject.root / "work"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise Skipped(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    outcome = subject.run()
    subprocess.run(["mount", "-o", f"remount,size={20 * subject.n_bytes}", str(place)], check=True)
    return Told(f"a disk of {room:,} bytes for {subject.n_bytes:,}", (outcome,), FULL)


def leave_disk(subject: Subject) -> None:
    """Take the small disk away again, where there is one."""
    while os.path.ismount(subject.root / "work"):
        subject.end_all()
        subprocess.run(["umount", "-l", str(subject.root / "work")], check=True)


def harm(path: Path, rng: np.random.Generator) -> str:
    """Cut a file short, or flip some of its bits, in place and without a word to anybody."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.3 or not content:
        length = int(rng.integers(0, max(1, len(content))))
        os.truncate(path, length)
        return f"{path.name} cut to {length:,} of {len(content):,} bytes"
    places = rng.integers(0, len(content), int(rng.integers(1, 5)))
    for place in places:
        content[place] ^= 1 << int(rng.integers(0, 8))
    with path.open("r+b") as file:
        file.write(content)
    return f"{path.name}: bits flipped in {len(places)} bytes"


def _harm_one(subject: Subject, rng: np.random.Generator, found: list[Path]) -> Told:
    chosen = found[int(rng.integers(0, len(found)))]
    return Told(f"{chosen.parent.relative_to(subject.work)}: {harm(chosen, rng)}")


def harming(*patterns: str) -> Fault:
    """A fault that damages one of the files of such names."""

    def fault(subject: Subject, rng: np.random.Generator) -> Told:
        subject.put_back()
        return _harm_one(subject, rng, [path for pattern in patterns for path in subject.results(pattern)])

    return fault


def harm_checkpoint(subject: Subject, rng: np.random.Generator) -> Told:
    """Damage a checkpoint whose training is to go on."""
    subject.put_back()
    found = subject.results("checkpoints/*.npz")
    chosen = found[int(rng.integers(0, len(found)))]
    stage = stages.WARMUP_STAGE if chosen.stem == "warmup" else f"{stages.TRIAL_STAGE}/{chosen.stem}"
    shutil.rmtree(subject.work / stage)
    return _harm_one(subject, rng, [chosen])


def two_at_once(subject: Subject, rng: np.random.Generator) -> Told:
    """Start two reports of one profile within a moment of each other."""
    what, started = _begin_late(subject, rng), time.monotonic()
    first = subject.start("run")
    time.sleep(rng.uniform(0, 3))
    second = subject.start("second")
    outcomes = (subject.wait(first, started), subject.wait(second, started, "second"))
    waited = sum("waiting for it to end" in outcome.said for outcome in outcomes)
    return Told(f"{what}, {waited} of 2 waited", outcomes, "no run of two may fail")


def jump_clock(subject: Subject, rng: np.random.Generator) -> Told:
    """Set the clock forth or back in mid-run, as file times see it, and kill the run at another moment."""
    what, process = _begin_late(subject, rng), subject.start()
    when = _moment(subject, process, rng)
    shift_s = float(rng.choice([-1, 1]) * rng.uniform(0.01, 400) * DAY_S)
    for path in sorted(subject.work.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            now = path.stat().st_mtime
            os.utime(path, (now - shift_s, now - shift_s))
    later = _moment(subject, process, rng)
    subject.end_all()
    process.wait()
    return Told(f"{what}, the clock {shift_s / DAY_S:+.1f} days {when}, killed {later}")


def take_data(subject: Subject, rng: np.random.Generator) -> Told:
    """Take a data file away in mid-run, and bring it back when the run has ended."""
    subject.empty()
    chosen = rng.choice(sorted((subject.root / "data").glob("*.npz")))
    started, process = time.monotonic(), subject.start()
    time.sleep(rng.uniform(0, 1.5) * subject.elapsed_s / subject.n_records)
    away = chosen.with_suffix(".away")
    chosen.rename(away)
    outcome = subject.wait(process, started)
    away.rename(chosen)
    return Told(f"{chosen.name} away until the run had ended", (outcome,), re.escape(chosen.name))


class _Stopping(http.server.BaseHTTPRequestHandler):
    """Serves bytes, and the first time stops half way."""

    def do_GET(self) -> None:
        content, self.server.cut, cut = self.server.content, None, self.server.cut
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : cut if cut is not None else len(content)])

    def log_message(self, *_: object) -> None:
        """Nothing."""


def stop_download(subject: Subject, rng: np.random.Generator) -> Told:
    """Let a server stop half way through a file; the next download goes on and has the right content."""
    content = rng.bytes(int(rng.integers(1000, 3_000_000)))
    cut, target = int(rng.integers(0, len(content))), subject.root / f"fetched-{rng.integers(10**9)}"
    code = "import sys; from pathlib import Path; from verdict.base.files.fetch import download; "
    code += "download(sys.argv[1], sha256=sys.argv[2], path=Path(sys.argv[3]))"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stopping) as server:
        server.content, server.cut = content, cut
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, digest = f"http://127.0.0.1:{server.server_port}/x", hashlib.sha256(content).hexdigest()
        command = [sys.executable, "-c", code, address, digest, str(target)]
        more = {"PYTHONPATH": str(paths.LIBRARY.parent), "no_proxy": "127.0.0.1"}
        options = {"env": os.environ | more, "capture_output": True, "text": True, "timeout": subject.limit_s}
        started = time.monotonic()
        first = subprocess.run(command, check=False, **options)
        elapsed_s = time.monotonic() - started
        second = subprocess.run(command, check=False, **options)
        server.shutdown()
    if second.returncode != 0 or target.read_bytes() != content:
        raise RuntimeError(f"the download did not go on: {second.stderr[-500:]}")
    subject.put_back()
    stopped = Outcome(first.returncode, first.stderr, elapsed_s)
    return Told(f"stopped at {cut:,} of {len(content):,} bytes", (stopped,), r"the connection ended after [\d,]+ of")


# Each with the subjects that it can disturb; the quick one is drawn three times as often where both can be.
BOTH, TRAINED, ON_LOGITS = ("on_logits", "trained"), ("trained",), ("on_logits",)
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "run killed": (kill_run, BOTH),
    "parent ended": (end_parent, BOTH),
    "kernel killed": (killing(KERNEL), BOTH),
    # What drives a stage, the server that these are forked from, or one of its forks.
    "worker killed": (killing("verdict.workflow.run", "--serve"), BOTH),
    "disk full": (fill_disk, BOTH),
    "features damaged": (harming("features/*.np*"), TRAINED),
    "checkpoint damaged": (harm_checkpoint, TRAINED),
    "run.json damaged": (harming("run.json", TWIN), BOTH),
    "executed notebook damaged": (harming("executed.ipynb"), BOTH),
    "stored result damaged": (harming("*.parquet", "*.npz", "numbers.json"), BOTH),
    "two reports at once": (two_at_once, BOTH),
    "clock jumped": (jump_clock, BOTH),
    "data file taken away": (take_data, ON_LOGITS),
    "download stopped": (stop_download, ON_LOGITS),
}
