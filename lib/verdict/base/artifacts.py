"""Atomic writes, content hashes, and `run.json`: the record that makes a result traceable and a stale one visible."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from verdict.base import paths

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA = 1
RECORD = "run.json"
SELF = "sha256_of_this"
# Packages that move a number, Matplotlib by the fonts of printed digits among them.
RECORDED_PACKAGES = (
    *("torch", "keras", "keras-hub", "tensorflow", "tensorflow-text", "transformers", "tokenizers"),
    *("numpy", "scipy", "pandas", "pillow", "scikit-learn", "matplotlib", "papermill"),
)


class StaleResultError(RuntimeError):
    """A stored result no longer matches what its record says."""


@contextlib.contextmanager
def whole_file(path: Path, *, buffering: int = -1) -> Iterator[BinaryIO]:
    """A temporary file beside `path` to fill, flushed to disk and renamed at the end; on failure nothing is left
    behind, and an OSError of a full disk says the file, the bytes that were written and those that are free.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        # Leaving the block writes what is still buffered, so that a full disk can show itself there as well.
        with told_when_full(path, Path(scratch)), os.fdopen(handle, "wb", buffering=buffering) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def told_when_full(path: Path, written: Path | None = None) -> Iterator[None]:
    """Where a write meets a full disk, say of which file (`path`, if the error names none), and what is free.

    `written` is the file or folder whose bytes count as written, where it is another one than `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or "bytes are free" in str(error):
            raise
        place, path = written or path, Path(error.filename or path)
        n_written = sum(file.stat().st_size for file in (place, *place.rglob("*")) if file.is_file())
        usage = os.statvfs(path.parent)
        counts = f"{n_written:,} bytes were written, {usage.f_bavail * usage.f_frsize:,} bytes are free"
        raise OSError(error.errno, f"no space left while writing {path}: {counts}") from error


def try_lock(file: IO[Any], *, is_shared: bool = False) -> bool:
    """Lock an open file until it is closed; False where another process holds it (alone, of a shared lock)."""
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes so that a reader sees the old file or the whole new one."""
    with whole_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with sorted keys atomically."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array atomically, in a form that can be memory-mapped."""
    import numpy as np

    # Given a real file, numpy writes past Python's buffer and reports a full disk without saying that it is full.
    with whole_file(path) as file:
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


@contextlib.contextmanager
def npy_rows(path: Path, n_rows: int) -> Iterator[Callable[[np.ndarray], None]]:
    """What takes an array block by block, so that memory holds one block; atomic like `write_npy`. ValueError if the
    blocks do not sum to `n_rows`, or differ in dtype or trailing shape.
    """
    import numpy as np

    done, kind = 0, None
    with whole_file(path) as file:

        def append(block: np.ndarray) -> None:
            nonlocal done, kind
            block = np.ascontiguousarray(block)
            if kind is None:
                kind = (block.dtype, block.shape[1:])
                header = {"descr": np.lib.format.dtype_to_descr(block.dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(file, {**header, "shape": (n_rows, *block.shape[1:])})
            if (block.dtype, block.shape[1:]) != kind:
                raise ValueError(f"{path}: blocks differ, {kind} and then {(block.dtype, block.shape[1:])}")
            file.write(block.data)
            done += len(block)

        yield append
        if done != n_rows or kind is None:
            raise ValueError(f"{path}: expected {n_rows} rows, got {done}")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays atomically."""
    import numpy as np

    with whole_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically, without its index; equal tables give equal bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, engine="pyarrow", compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_json(path: Path) -> Any:
    """Read JSON; ValueError names a broken file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error


def sha256_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(folder: Path) -> str:
    """One hash of all files below a folder: their relative names and contents."""
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def canonical_json(content: Any) -> str:
    """JSON text that depends on the content alone (sorted keys, no blanks)."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(content: Any) -> str:
    """Short hash of a JSON-like value."""
    return sha256_bytes(canonical_json(content).encode("utf-8"))[:16]


def plain_environment() -> dict[str, str]:
    """The environment without the variables that lead git to another repository than the folder's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def git(*arguments: str) -> str | None:
    """What git says of the project's own repository, which does not hold its folder as a part of something else; None
    where it fails, or there is none.
    """
    command = ["git", "-C", str(paths.ROOT), *arguments]
    own = plain_environment() | {"GIT_CEILING_DIRECTORIES": str(paths.ROOT.parent)}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=own).stdout.strip()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def commit() -> tuple[str, bool | None]:
    """The commit of the project, or "unknown", and whether the working tree differs from it, None where that is not
    known. Measurements and copies under `reports/` do not count: nothing is computed from them.
    """
    revision = git("rev-parse", "--verify", "HEAD")
    if not revision:
        return "unknown", None
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", f":(exclude){paths.REPORTS.name}")
    return revision, None if changed is None else bool(changed)


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def relative(path: Path) -> str:
    """A path as records show it: relative to the project where it lies inside."""
    path = Path(path).resolve()
    return path.relative_to(paths.ROOT).as_posix() if path.is_relative_to(paths.ROOT) else str(path)


def write_run(
    folder: Path, *, outputs: list[Path], inputs: list[Path], home: Path | None = None, **fields: Any
) -> None:
    """Write a stage's `run.json`: what went in, what came out (by SHA-256), and how; last, so that its presence says
    that the stage is whole.

    Inputs that are `run.json` files stand for all that they record. Outputs are recorded as lying in `home`, where the
    folder is going to be put. Fields are further JSON-like entries: params, seed, device, elapsed_s …
    """
    revision, dirty = commit()
    read = {relative(path): path for path in inputs}
    made = {relative((home or folder) / path.relative_to(folder)): path for path in outputs}
    record = {
        "schema": SCHEMA,
        "commit": revision,
        "dirty": dirty,
        "versions": package_versions(),
        "stamps": {name: _stamp(path) for name, path in (read | made).items()},
        "inputs": {name: sha256_file(path) for name, path in read.items()},
        "outputs": {name: sha256_file(path) for name, path in made.items()},
        **fields,
    }
    write_json(folder / RECORD, record | {SELF: _own_hash(record)})


def _stamp(path: Path) -> list[int]:
    """Size, time of writing and time of change (ns) of a file: nobody writes to a file without changing the last."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def recorded_hash(name: str, record: Mapping[str, Any]) -> str:
    """SHA-256 of a file that a record names, or "missing"; one that has not been touched since it was recorded is not
    read again: gigabytes of features would be, in every stage.
    """
    path = paths.ROOT / name
    if not path.is_file():
        return "missing"
    if record.get("stamps", {}).get(name) == _stamp(path):
        return {**record["inputs"], **record["outputs"]}[name]
    return sha256_file(path)


def _own_hash(record: Mapping[str, Any]) -> str:
    """Hash of what a record says, its own hash apart."""
    said = {name: value for name, value in record.items() if name != SELF}
    return sha256_bytes(canonical_json(said).encode("utf-8"))


def read_run(folder: Path, file: str = RECORD) -> dict[str, Any]:
    """Read a stage's record; one without a hash of itself is read as it stands. FileNotFoundError if the stage has not
    been run, ValueError if the record is damaged or of another schema.
    """
    path = folder / file
    if not path.is_file():
        raise FileNotFoundError(f"{relative(path)} is missing: this stage has not been run to its end")
    record = read_json(path)
    if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
        raise ValueError(f"{relative(path)} is not a record of schema {SCHEMA}")
    if record.get(SELF, own := _own_hash(record)) != own:
        raise ValueError(f"{relative(path)} is damaged: it does not say what was written into it")
    return dict(record)


def verify_outputs(folder: Path, file: str = RECORD) -> dict[str, Any]:
    """Read a stage's record and compare every output with the hash that it holds; StaleResultError names one that is
    missing or differs, and the way out.
    """
    record = read_run(folder, file)
    for name, expected in record["outputs"].items():
        if (actual := recorded_hash(name, record)) != expected:
            raise StaleResultError(
                f"{name} does not match {relative(folder / file)} (expected {expected[:12]}, got {actual[:12]}): it "
                "was changed or damaged after it was written"
            )
    return record
