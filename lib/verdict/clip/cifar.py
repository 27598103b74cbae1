"""CIFAR-10 and CIFAR-100: the original archive or two tar files of JPEG folders, as a local copy, or by URL.

Krizhevsky (2009), Learning multiple layers of features from tiny images. The pictures have no formal licence: they are
read, never copied into the project.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from verdict import paths
from verdict.clip.corpora import Corpus, Half, archive_of, as_half, list_tar
from verdict.data.fetch import admitted, open_tar

PX = 32
MAX_BYTES = 1_000_000_000
# What Python 2 wrote; later protocols know more operations than arrays need.
PROTOCOL = 2
_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(MemoryError, RecursionError),
)
ATTRIBUTION = "{} (A. Krizhevsky, 2009), no formal licence: read from a local copy or by URL."


@dataclass(frozen=True)
class Kind:
    """How one of the two is stored: its archive, the files in it, and the keys of what they hold."""

    title: str
    n_classes: int
    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: bytes
    meta: str
    names: bytes


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "cifar10": Kind(
            *("CIFAR-10", 10, "cifar-10-python.tar.gz", "cifar-10-batches-py"),
            *(tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",), b"labels"),
            *("batches.meta", b"label_names"),
        ),
        "cifar100": Kind(
            *("CIFAR-100", 100, "cifar-100-python.tar.gz", "cifar-100-python"),
            *(("train",), ("test",), b"fine_labels"),
            *("meta", b"fine_label_names"),
        ),
    }
)


def locate(name: str, *, url: str, sha256: str) -> Path:
    """A folder with `train.tar` and `test.tar`, or the original archive, local or downloaded.

    Raises
    ------
    ConnectionError, ValueError
        If there is no local copy and the download fails; see `archive_of`.
    """
    home, archive = paths.local_data(name), KINDS[name].archive
    is_jpeg = home is not None and all((home / f"{part}.tar").is_file() for part in ("train", "test"))
    if home is not None and is_jpeg and not (home / archive).is_file():
        return home
    return archive_of(name, archive, url=url, sha256=sha256)


def read(name: str, source: Path) -> Corpus:
    """The pictures of what `locate` found.

    Raises
    ------
    ValueError
        If the source is damaged, or does not hold what the corpus must hold; the message names the file.
    """
    kind = KINDS[name]
    classes, halves = _jpeg(source) if source.is_dir() else _original(source, kind)
    if len(set(classes)) != kind.n_classes or len(classes) != kind.n_classes:
        raise ValueError(f"{source}: {kind.title} has {kind.n_classes} classes, got {len(classes)}: {classes[:3]}…")
    return Corpus(*halves, classes, ATTRIBUTION.format(kind.title))


def _jpeg(home: Path) -> tuple[tuple[str, ...], list[Half]]:
    """Folders of classes inside two tar files; ids go by the alphabet, as the originals' do."""
    listings = {part: list_tar(home / f"{part}.tar") for part in ("train", "test")}
    classes = tuple(sorted(set(listings["train"].folders)))
    return classes, [as_half(listing, part, classes, px=PX) for part, listing in listings.items()]


def _original(archive: Path, kind: Kind) -> tuple[tuple[str, ...], list[Half]]:
    content = _unpickled(archive, kind)
    words = content[kind.meta].get(kind.names)
    if not isinstance(words, list) or not all(isinstance(word, bytes) for word in words):
        raise ValueError(f"{archive}: {kind.meta} lists no names of classes")
    halves = []
    for part, members in (("train", kind.train), ("test", kind.test)):
        batches = [_batch(content[member], kind, f"{archive}: {member}") for member in members]
        y, images = (np.concatenate(column) for column in zip(*batches, strict=True))
        names = [f"{part}-{k:05d}" for k in range(len(y))]
        halves.append(Half(names, y, lambda rows, images=images: images[rows]))
    return tuple(word.decode("utf-8", "replace") for word in words), halves


def _unpickled(archive: Path, kind: Kind) -> dict[str, dict[bytes, Any]]:
    """The members of an archive that count, each a mapping."""
    wanted, found = {*kind.train, *kind.test, kind.meta}, {}
    with open_tar(archive) as tar:
        for path, member in admitted(tar, archive, max_bytes=MAX_BYTES):
            folder, _, name = path.rpartition("/")
            source = tar.extractfile(member) if folder == kind.folder and name in wanted else None
            if source is not None:
                found[name] = _arrays(source.read(), f"{archive}: {name}")
    if missing := sorted(wanted - set(found)):
        raise ValueError(f"{archive} has no {kind.folder}/{missing[0]}")
    return found


def _arrays(content: bytes, name: str) -> dict[bytes, Any]:
    """What a pickled member says: numbers, bytes and lists; a `_Part` for every array."""
    try:
        _check(content)
        found = _PartsOnly(io.BytesIO(content), encoding="bytes").load()
    except _DAMAGE as error:
        raise ValueError(f"{name} is damaged or no batch: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no mapping")
    return found


def _check(content: bytes) -> None:
    """Refuse operations that Python 2 did not know, and notes that would fill the memory."""
    for opcode, value, _ in pickletools.genops(content):
        if opcode.proto > PROTOCOL:
            raise pickle.UnpicklingError(f"a batch of CIFAR is a pickle of protocol {PROTOCOL}")
        if opcode.name.endswith("PUT") and not 0 <= int(value) <= len(content):
            raise pickle.UnpicklingError(f"it notes something at {value}")


def _batch(batch: Mapping[bytes, Any], kind: Kind, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Class ids (n,) and pictures uint8 (n, 32, 32, 3) of one batch."""
    labels = batch.get(kind.labels)
    if not isinstance(labels, list) or not all(type(y) is int and 0 <= y < kind.n_classes for y in labels):
        raise ValueError(f"{name}: {kind.labels.decode()} is no list of ids from 0 to {kind.n_classes - 1}")
    flat = _pixels(found) if isinstance(found := batch.get(b"data"), _Part) else None
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


def _pixels(part: _Part) -> np.ndarray | None:
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

    _KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(
        {
            ("numpy.core.multiarray", "_reconstruct"): _Part,
            ("numpy", "ndarray"): _Part,
            ("numpy", "dtype"): _Part,
            # How Python 3 writes bytes for Python 2.
            ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name, of a short list.

        Raises
        ------
        pickle.UnpicklingError
            For any other.
        """
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"a batch of CIFAR holds arrays, not {module}.{name}")
        return self._KNOWN[module, name]
