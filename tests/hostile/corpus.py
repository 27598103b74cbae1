"""What a hostile case is, and the guard under which each one runs.

A case makes its input by code, hands it to the project, and states the one answer that is right: a value, or a refusal
by name.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAMS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class")
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.bind")
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")


@dataclass(frozen=True)
class Case:
    """One hostile input and the answer to it.

    Parameters
    ----------
    name : str
        Unique within its area.
    use : callable
        Gets an empty folder, makes the input in it, and asks the project; returns what the project made of it.
    gives : object
        What `use` must return, where the input is accepted.
    refused : str
        Pattern of the message, where it is refused: the file or entry, and the cause.
    """

    name: str
    use: Callable[[Path], Any]
    gives: Any = None
    refused: str = ""

    def __post_init__(self) -> None:
        assert (self.gives is None) == bool(self.refused), f"{self.name}: accepted or refused, one of the two"


class Escape(BaseException):
    """Something was executed, or left the folder of its case; no handler of the project catches it."""


@dataclass
class _Guard:
    """What the audit hook watches while a case runs: nothing where `inside` is None."""

    inside: Path | None = None
    outside: Path | None = None


_GUARD = _Guard()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _GUARD.inside is None:
        return
    if event in _PROGRAMS or event in _NETWORK:
        raise Escape(f"{event} {arguments!r:.200}")
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _check_path(arguments[0], is_write=bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)), event=event)
    elif event in _CHANGES:
        # What a link points to is judged when it is followed.
        for path in arguments[event in ("os.symlink", "os.link") :]:
            if isinstance(path, str | bytes | os.PathLike):
                _check_path(path, is_write=True, event=event)


def _check_path(path: Any, *, is_write: bool, event: str) -> None:
    """Writing is allowed inside the case's folder alone; what lies in the folder beside it must not even be read."""
    real = Path(os.path.realpath(os.fsdecode(path)))
    inside, outside = _GUARD.inside, _GUARD.outside
    is_python = "__pycache__" in real.parts or str(real) == os.devnull
    if real.is_relative_to(outside) or (is_write and not is_python and not real.is_relative_to(inside)):
        raise Escape(f"{event} {real}")


sys.addaudithook(_audit)


@contextmanager
def guarded(inside: Path, outside: Path) -> Iterator[None]:
    """Stop whatever starts a program, reaches for the network, unpickles a class, or touches another folder."""
    _GUARD.inside, _GUARD.outside = inside.resolve(), outside.resolve()
    try:
        yield
    finally:
        _GUARD.inside = _GUARD.outside = None
