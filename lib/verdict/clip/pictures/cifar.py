"""The original archives of CIFAR-10 and CIFAR-100, pickles of Python 2, read without running any code that they name.

Krizhevsky (2009), Learning multiple layers of features from tiny images. The pictures have no formal licence: they are
read, never copied into the project.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verdict.base.files.fetch import admitted, open_tar

PX = 32
MAX_BYTES = 1_000_000_000
# What Python 2 wrote; later protocols know more operations than arrays need.
PROTOCOL = 2
_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(MemoryError, RecursionError),
)


@dataclass(frozen=True)
class Kind:
    """How one of the two is stored: folder and files of its archive, and how the keys begin of what they hold."""

    n_classes: int
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    prefix: bytes = b""

    @property
    def archive(self) -> str:
        """Name of the archive."""
        return f"cifar-{self.n_classes}-python.tar.gz"


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
KINDS = {
    "cifar10": Kind(10, "cifar-10-batches-py", _BATCHES, "test_batch", "batches.meta"),
    "cifar100": Kind(100, "cifar-100-python", ("train",), "test", "meta", b"fine_"),
}


def read(archive: Path, kind: Kind) -> tuple[tuple[str, ...], list[tuple[np.ndarray, np.ndarray]]]:
    """Names of the classes; and class ids (n,) with pictures uint8 (n, 32, 32, 3) of train and of test."""
    wanted, found = {*kind.train, kind.test, kind.meta}, {}
    with open_tar(archive) as tar:
        for path, member in admitted(tar, archive, max_bytes=MAX_BYTES):
            folder, _, name = path.rpartition("/")
            source = tar.extractfile(member) if folder == kind.folder and name in wanted else None
            if source is not None:
                found[name] = unpickled(source.read(), f"{archive}: {name}")
    if missing := sorted(wanted - set(found)):
        raise ValueError(f"{archive} has no {kind.folder}/{missing[0]}")
    words = found[kind.meta].get(kind.prefix + b"label_names")
    if not isinstance(words, list) or not all(isinstance(word, bytes) for word in words):
        raise ValueError(f"{archive}: {kind.meta} lists no names of classes")
    halves = []
    for members in (kind.train, (kind.test,)):
        batches = [_batch(found[member], kind, f"{archive}: {member}") for member in members]
        halves.append(tuple(np.concatenate(column) for column in zip(*batches, strict=True)))
    return tuple(word.decode("utf-8", "replace") for word in words), halves


def unpickled(content: bytes, name: str) -> dict[bytes, Any]:
    """What a pickled member says: numbers, bytes and lists; a `_Part` for every array."""
    try:
        for opcode, value, _ in pickletools.genops(content):
            if opcode.proto > PROTOCOL:
                raise pickle.UnpicklingError(f"a batch of CIFAR is a pickle of protocol {PROTOCOL}")
            # A note at a high place would fill the memory.
            if opcode.name.endswith("PUT") and not 0 <= int(value) <= len(content):
                raise pickle.UnpicklingError(f"it notes something at {value}")
        found = _PartsOnly(io.BytesIO(content), encoding="bytes").load()
    except _DAMAGE as error:
        raise ValueError(f"{name} is damaged or no batch: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no mapping")
    return found


def _batch(batch: Mapping[bytes, Any], kind: Kind, name: str) -> tuple[np.ndarray, np.ndarray]:
    key = kind.prefix + b"labels"
    labels = batch.get(key)
    if not isinstance(labels, list) or not all(type(y) is int and 0 <= y < kind.n_classes for y in labels):
        raise ValueError(f"{name}: {key.decode()} is no list of ids from 0 to {kind.n_classes - 1}")
    flat = pixels(found) if isinstance(found := batch.get(b"data"), _Part) else None
    wanted = (len(labels), 3 * PX * PX)
    if flat is None or flat.shape != wanted:
        found_as = "something else" if flat is None else flat.shape
        raise ValueError(f"{name}: data must be uint8 of the shape {wanted}, got {found_as}")
    images = np.ascontiguousarray(flat.reshape(-1, 3, PX, PX).transpose(0, 2, 3, 1))
    return np.array(labels, dtype=np.int64), images


class _Part:
    """Stands for whatever a pickle wants to be built: it keeps what it is given, and builds nothing."""

    def __init__(self, *given: Any) -> None:
        self.given, self.state = given, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def pixels(part: _Part) -> np.ndarray | None:
    """The array of uint8 that a part stands for: NumPy states version, shape, type, order and bytes."""
    if not isinstance(part.state, tuple) or len(part.state) != 5:
        return None
    _, shape, dtype, is_by_column, content = part.state
    is_uint8 = isinstance(dtype, _Part) and dtype.given[:1] in ((b"u1",), ("u1",))
    is_shaped = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
    if not (is_uint8 and is_shaped and isinstance(content, bytes) and math.prod(shape) == len(content)):
        return None
    return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_by_column else "C")


class _PartsOnly(pickle.Unpickler):
    """Reads the original's batches and runs none of the code that a pickle can name, NumPy's included."""

    _KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Part,
        ("numpy", "ndarray"): _Part,
        ("numpy", "dtype"): _Part,
        # How Python 3 writes bytes for Python 2.
        ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name, of a short list; any other is refused."""
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"a batch of CIFAR holds arrays, not {module}.{name}")
        return self._KNOWN[module, name]
