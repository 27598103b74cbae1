"""CIFAR-10: a local copy of the original archive, a local copy as JPEG folders in two tar files, or by URL.

Krizhevsky (2009), Learning multiple layers of features from tiny images. The pictures have no formal licence: they are
read, never copied into the project.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verdict import paths
from verdict.data.fetch import download
from verdict.data.images import decode_image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar-10-python.tar.gz"
PX = 32
ATTRIBUTION = "CIFAR-10 (A. Krizhevsky, 2009), no formal licence: read from a local copy or by URL."


@dataclass(frozen=True, eq=False)
class Half:
    """The training or the test pictures.

    Attributes
    ----------
    names : list of str
    y : int (n,)
    load : rows → uint8 (n_rows, 32, 32, 3)
    """

    names: list[str]
    y: np.ndarray
    load: Callable[[np.ndarray], np.ndarray]


def locate(url: str, sha256: str) -> Path:
    """A folder with `train.tar` and `test.tar`, or the original archive, local or downloaded.

    Raises
    ------
    ConnectionError, ValueError
        If there is no local copy and the download fails; see `download`.
    """
    home = paths.local_data("cifar10")
    if home is not None and (home / ARCHIVE).is_file():
        return home / ARCHIVE
    if home is not None and all((home / f"{part}.tar").is_file() for part in ("train", "test")):
        return home
    return download(url, sha256=sha256, path=paths.download_cache() / "cifar10" / ARCHIVE)


def read(source: Path, part: str) -> Half:
    """The training or the test pictures, "train" or "test", of what `locate` found."""
    return _jpeg(source / f"{part}.tar", part) if source.is_dir() else _original(source, part)


def _jpeg(archive: Path, part: str) -> Half:
    """Folders of classes inside a tar file; pictures are decoded when they are asked for."""
    with tarfile.open(archive) as tar:
        members = sorted((m for m in tar if m.isfile()), key=lambda member: member.name)
    places = [(member.name, member.offset_data, member.size) for member in members]
    unknown = sorted({name.split("/")[-2] for name, *_ in places} - set(CLASSES))
    if unknown or not places:
        raise ValueError(f"{archive}: folders {unknown[:3]} are no classes of CIFAR-10, of {len(places)} pictures")
    y = np.array([CLASSES.index(name.split("/")[-2]) for name, *_ in places])

    def load(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), PX, PX, 3), dtype=np.uint8)
        with archive.open("rb") as file:
            for k, row in enumerate(rows):
                name, offset, size = places[row]
                file.seek(offset)
                image = np.asarray(decode_image(file.read(size), f"{archive}: {name}"))
                if image.shape != images.shape[1:]:
                    raise ValueError(f"{archive}: {name} has the shape {image.shape}, expected {images.shape[1:]}")
                images[k] = image
        return images

    names = [f"{part}-{'-'.join(Path(name).with_suffix('').parts[-2:])}" for name, *_ in places]
    return Half(names, y, load)


class _ArraysOnly(pickle.Unpickler):
    """Reads the original's batches, and nothing that could run code."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """The class of a name, of a short list.

        Raises
        ------
        pickle.UnpicklingError
            For any other.
        """
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"a batch of CIFAR-10 holds arrays, not {module}.{name}")
        module = module.replace("numpy.core", "numpy._core")
        return super().find_class(module, name)


def _original(archive: Path, part: str) -> Half:
    wanted = [f"data_batch_{k}" for k in range(1, 6)] if part == "train" else ["test_batch"]
    batches = []
    with tarfile.open(archive) as tar:
        for name in wanted:
            source = tar.extractfile(f"cifar-10-batches-py/{name}")
            if source is None:
                raise ValueError(f"{archive} has no {name}")
            batches.append(_ArraysOnly(io.BytesIO(source.read()), encoding="bytes").load())
    y = np.concatenate([np.asarray(batch[b"labels"]) for batch in batches])
    flat = np.concatenate([batch[b"data"] for batch in batches])
    images = np.ascontiguousarray(flat.reshape(-1, 3, PX, PX).transpose(0, 2, 3, 1))
    names = [f"{part}-{k:05d}" for k in range(len(y))]
    return Half(names, y, lambda rows: images[rows])
