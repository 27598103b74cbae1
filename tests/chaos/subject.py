"""A small report in a copy of the project: how it is run, watched, put back, and read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verdict.base import paths
from verdict.base.artifacts import read_json, sha256_file, write_npz, write_text
from verdict.workflow import start

# Under `nohup` a hangup is ignored, and so it would be by everything that is started here.
ON_TERMINAL = ("setsid", "--ctty", "env", "--default-signal=HUP")
# Times are no results.
NOT_COMPARED = ("repro.total_min",)
CLASSES = ("cat", "dog", "emu")
LOGITS = """
title: Disturbed, on saved logits
is_smoke: true
data:
  source: recorded
  recorded: {{val: {data}/val.npz, test: {data}/test.npz, independent: {data}/other.npz, class_names: [{names}]}}
statistics: {{n_resamples: 100}}
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status (None where it was stopped for taking too long), what it said, how long."""

    status: int | None
    said: str
    elapsed_s: float


@dataclass
class Subject:
    """One profile in one copy of the project, `root`; a run that takes longer than `limit_s` counts as hung."""

    profile: str
    root: Path
    cores: int
    limit_s: float = 1800.0
    n_records: int = 0
    n_bytes: int = 0
    elapsed_s: float = 0.0

    @property
    def work(self) -> Path:
        """Everything that a run of the profile writes before pages."""
        return self.root / "work" / self.profile

    @property
    def _kept(self) -> tuple[Path, ...]:
        return (self.root / "work", self.root / ".snakemake", self.root / "reports")

    def make_whole(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Run undisturbed once, keep a copy of the result, and return its numbers.

        Raises
        ------
        RuntimeError
            If the undisturbed run does not end well.
        """
        outcome = self.run()
        if outcome.status != 0:
            raise RuntimeError(f"the undisturbed run of {self.profile} failed:\n{outcome.said[-3000:]}")
        self.elapsed_s, self.n_records = outcome.elapsed_s, len(self.results())
        self.n_bytes = sum(path.stat().st_size for path in self.work.rglob("*") if path.is_file())
        for folder in self._kept:
            shutil.copytree(folder, self.root / "whole" / folder.name, symlinks=True)
        say(f"{self.profile}: {self.n_records} stages, undisturbed in {outcome.elapsed_s:.0f} s")
        return self.numbers()

    def put_back(self) -> None:
        """The state after the undisturbed run, its times included."""
        self.empty()
        for folder in self._kept:
            shutil.copytree(self.root / "whole" / folder.name, folder, symlinks=True)

    def empty(self) -> None:
        """The state before any run."""
        for folder in self._kept:
            shutil.rmtree(folder, ignore_errors=True)

    def results(self, pattern: str = "run.json") -> list[Path]:
        """Files of stages that have run, their records or by another pattern; what runs now is left out."""
        found = []
        # Unlike `rglob`, it goes on where a folder is taken away meanwhile.
        for folder, inner, files in os.walk(self.work):
            inner[:] = [name for name in inner if not name.startswith(".")]
            found += [path for path in map(Path(folder).joinpath, files) if path.match(pattern)]
        return sorted(found)

    def numbers(self) -> dict[str, Any]:
        """Every stored number, claim and prediction, by file."""
        hashed = self.results("claims.json") + self.results("predictions.parquet")
        found: dict[str, Any] = {str(path): sha256_file(path) for path in hashed}
        for path in self.results("numbers.json"):
            found[str(path)] = {k: number for k, number in read_json(path).items() if k not in NOT_COMPARED}
        return found

    def start(self, name: str = "run", *, terminal: int | None = None) -> subprocess.Popen[bytes]:
        """Start a report as `make report` does; what it says goes to a file.

        `terminal` is a descriptor of the terminal that the run belongs to; it has none of its own otherwise.
        """
        given = {key: value for key, value in os.environ.items() if not key.startswith("VERDICT_")}
        command = start.command("verdict.workflow.pipeline", "--profile", self.profile, "--cores", str(self.cores))
        with (self.root / f"{name}.log").open("wb") as said:
            return subprocess.Popen(
                command if terminal is None else [*ON_TERMINAL, *command],
                cwd=self.root,
                env=start.environment(self.root, given),
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=terminal is None,
            )

    def wait(self, process: subprocess.Popen[bytes], started: float, name: str = "run") -> Outcome:
        """Wait for the end of a run; one that takes too long is ended with all that it started."""
        try:
            status: int | None = process.wait(timeout=max(1.0, self.limit_s - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            status = None
            self.end_all()
            process.wait()
        said = (self.root / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return Outcome(status, said, time.monotonic() - started)

    def run(self) -> Outcome:
        """One report from start to end."""
        started = time.monotonic()
        return self.wait(self.start(), started)

    def processes(self, *parts: str) -> list[int]:
        """Processes of this copy, by their environment; where parts are given, one of them is in their command."""
        return sorted(pid for pid, said in self.commands().items() if not parts or any(part in said for part in parts))

    def commands(self) -> dict[int, str]:
        """What each process of this copy was started as."""
        mark = f"{paths.ROOT_VARIABLE}={self.root}\0".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(entry.name)] = command.strip()
            except OSError:
                continue
        return {pid: command for pid, command in found.items() if pid != os.getpid()}

    def end_all(self) -> None:
        """Kill everything that was started in this copy, and what it starts meanwhile."""
        while found := self.processes():
            for pid in found:
                kill(pid)
            time.sleep(0.05)


def kill(pid: int) -> bool:
    """Kill a process as a power cut would; False where it was gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _copy_project(root: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("lib", "notebooks", "params"):
        shutil.copytree(paths.ROOT / name, root / name, ignore=ignored)
    shutil.copy2(paths.ROOT / "Snakefile", root)


def trained(folder: Path, *, cores: int) -> Subject:
    """A report with features, training and every page, on a few dozen pairs."""
    root = folder / "trained"
    _copy_project(root)
    shutil.copy2(Path(__file__).with_name("trained.yaml"), root / "params" / "disturbed.yaml")
    return Subject("disturbed", root, cores)


def on_logits(folder: Path, *, cores: int) -> Subject:
    """A report on saved logits, which has files that can be taken away."""
    root = folder / "on_logits"
    _copy_project(root)
    rng = np.random.default_rng(1)
    for name, shift in (("val", 0.0), ("test", 0.0), ("other", 1.0)):
        y_true = rng.integers(0, len(CLASSES), 300)
        logits = rng.normal(0, 2 + shift, (300, len(CLASSES)))
        logits[np.arange(300), y_true] += 3
        write_npz(root / "data" / f"{name}.npz", logits=logits, labels=y_true)
    text = LOGITS.format(data=root / "data", names=", ".join(CLASSES))
    write_text(root / "params" / "disturbed.yaml", text)
    return Subject("disturbed", root, cores)


SUBJECTS = {"on_logits": on_logits, "trained": trained}
