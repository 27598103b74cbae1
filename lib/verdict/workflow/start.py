"""How the processes of a run start and end: `python -m verdict.workflow.start MODULE ARGUMENT...`.

They start with variables that are the same everywhere, so that what a machine holds for its user (a configuration, a
locale, a variable of the shell) changes no number and no page. They end when their parent or their run has ended,
however it did: a process that is killed can tell nobody.
"""

import atexit
import contextlib
import hashlib
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from verdict.base import artifacts, paths

# nbformat imports jsonschema, which would make a parser for addresses in any script, for a second in every process.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# Variables of the machine that a run inherits: where things are, which devices it may use, how to reach the network.
# ATEN_CPU_CAPABILITY makes this processor compute like another one, which is how an installation's check is tried.
PROXIES = tuple(f"{kind}_proxy" for kind in ("http", "https", "all", "no"))
KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *(*PROXIES, *map(str.upper, PROXIES)),
)
KEPT_PREFIXES = ("VERDICT_", "SLURM", "SBATCH_", "HF_", "KAGGLE")
FIXED = {
    "PYTHONUTF8": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONNOUSERSITE": "1",
    "LC_ALL": "C",
    "TZ": "UTC",
    "KERAS_BACKEND": "torch",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JUPYTER_NO_CONFIG": "1",
    "JUPYTER_PLATFORM_DIRS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Folders where tools look for configuration and keep what they make.
FOLDERS = (
    *("KERAS_HOME", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"),
    *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
)
RUN = "VERDICT_RUN"
WARM = "VERDICT_WARM"
ALIVE = "alive"
KERNEL = "verdict.workflow.kernel"
LOOK_S = 0.25
PATIENCE_S = 2.0
# Asks a process of a run to stop, as an interrupt does, which a shell lets what it starts in the background ignore.
STOP = signal.SIGUSR1
# A socket's path has at most 103 bytes (macOS); so many are left when the names below the folder are counted.
SHORT = 56


def environment(root: Path = paths.ROOT, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables of the processes of a run: a few of the machine's, which are given, the rest the same everywhere; what
    tools keep goes below `work/` of the root.
    """
    caches = root / "work" / ".caches"
    kept = {name: value for name, value in given.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    for name in (RUN, WARM):
        kept.pop(name, None)
    home = given.get("HOME", "")
    if not (os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK)):
        home = kept["HOME"] = str(caches / "home")
    # Downloaded models are large, and their names and hashes say what they are.
    kept.setdefault("HF_HOME", os.path.join(given.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "huggingface"))
    return {
        **kept,
        **FIXED,
        **{name: str(caches / name.lower()) for name in FOLDERS},
        "PYTHONPATH": str(root / "lib"),
        paths.ROOT_VARIABLE: str(root),
    }


def why_not() -> str:
    """Why nothing can run on this system, or below this path; "" where it can."""
    if sys.platform not in ("linux", "darwin"):
        return f"Verdict runs on Linux, on macOS and, on Windows, inside WSL; this is {sys.platform}"
    if re.search("[:\n\ud800-\udfff]", root := str(paths.ROOT)):
        held = f"the path {root!a} holds a colon, a line break or what is not UTF-8"
        return f"{held}, which no environment of Python stands; move the folder"
    return ""


def settle() -> None:
    """Give this process the variables of a run; what it was told of its own run stays."""
    told = {name: os.environ[name] for name in (RUN, WARM) if name in os.environ}
    wanted = environment() | told
    os.environ.clear()
    os.environ.update(wanted)
    time.tzset()


def open_streams() -> None:
    """Let a standard stream that was closed lead nowhere: the next file that is opened would take its place."""
    for place, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), place)
            os.set_inheritable(place, True)
            setattr(sys, name, os.fdopen(place, "r" if name == "stdin" else "w", closefd=False))


def tell(text: str) -> None:
    """Print a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def command(module: str, *arguments: str) -> list[str]:
    """How a module is started as a process of a run."""
    return [sys.executable, "-m", "verdict.workflow.start", module, *arguments]


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Let a thread work for as long as this context lasts: the event that it is given says when that is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait_or_kill(process: subprocess.Popen[Any]) -> None:
    """Give a process that was told to end a moment to do so, and kill it where that takes longer."""
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def choose_backend(name: str) -> None:
    """Have Keras compute on a backend, here and in processes that start from here; RuntimeError if this process has
    imported it with another one.
    """
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != name:
        raise RuntimeError(f"model.backend is {name}, and Keras runs on {loaded.backend.backend()} here; start afresh")
    os.environ["KERAS_BACKEND"] = name


def short_folder() -> Path:
    """A folder for temporary files with a path so short that sockets can lie in it; an OSError if there is none."""
    for name in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp", "/dev/shm"):
        if name and len(os.fsencode(name)) <= SHORT and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    raise OSError(f"sockets need a folder that can be written, with a path of at most {SHORT} bytes: set TMPDIR to one")


@contextlib.contextmanager
def scratch(variables: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """A new folder for sockets, in that of the run where there is one."""
    run = variables.get(RUN)
    with tempfile.TemporaryDirectory(prefix="s" if run else "verdict-", dir=run or short_folder()) as name:
        yield Path(name)


@contextlib.contextmanager
def run_folder(lock: Path) -> Iterator[dict[str, str]]:
    """The variable by which processes know the run that they belong to, for as long as this context lasts.

    The caller holds the lock, a file, for itself, so that what a killed run of it has left can be taken away.
    """
    key = hashlib.sha256(f"{lock}{lock.stat().st_ino}".encode(errors="surrogateescape")).hexdigest()[:8]
    folder = short_folder() / f"verdict-{os.getuid()}-{key}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        with (folder / ALIVE).open("w") as file:
            artifacts.try_lock(file)
            yield {RUN: str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Tie:
    """The parent of a process (its number) and the run that it belongs to: the process ends when either has ended."""

    def __init__(self, parent: int):
        self.parent, self._file = parent, None
        run = os.environ.get(RUN)
        if run:
            try:
                self._file = (Path(run) / ALIVE).open("rb")
            except FileNotFoundError:
                self.parent = 0

    def is_cut(self) -> bool:
        """Whether one of them has ended."""
        return os.getppid() != self.parent or bool(self._file and artifacts.try_lock(self._file, is_shared=True))

    def watch(self, patience_s: float = 0.0) -> None:
        """Watch for as long as this process lives."""
        threading.Thread(target=self.end_when_cut, args=(threading.Event(), patience_s), daemon=True).start()

    def end_when_cut(self, over: threading.Event, patience_s: float = 0.0) -> None:
        """End this process soon after one of them: at once, or so long after an interrupt that it may answer."""
        while not self.is_cut():
            if over.wait(LOOK_S):
                return
        if patience_s:
            os.kill(os.getpid(), STOP)
            time.sleep(patience_s)
        os.kill(os.getpid(), signal.SIGKILL)


def run_module(module: str, arguments: list[str], told: Callable[[int], object] = lambda status: None) -> NoReturn:
    """Run a module as `python -m` would, and end this process; `told` is called with the status as it ends."""
    sys.argv = [module, *arguments]
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
        print("stopped (KeyboardInterrupt)", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    # As multiprocessing ends its forks: to take the interpreter down would copy every page of what was imported.
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        told(status)
    os._exit(status)


def main(arguments: list[str]) -> NoReturn:
    """Command line."""
    parent = os.getppid()
    signal.signal(STOP, signal.default_int_handler)
    open_streams()
    settle()
    Tie(parent).watch(PATIENCE_S)
    run_module(arguments[0], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
