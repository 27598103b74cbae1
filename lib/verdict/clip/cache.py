"""Embeddings, computed once: keyed by encoder, input, code and versions, written atomically, memory-mapped."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from verdict.artifacts import content_hash, package_versions, sha256_bytes, write_npy
from verdict.code_digest import library_files


class Encoder(Protocol):
    """What the cache needs of a dual encoder."""

    identity: str

    def images(self, images: np.ndarray, *, progress: Callable[[str], None]) -> np.ndarray: ...  # noqa: D102
    def texts(self, texts: Sequence[str], *, progress: Callable[[str], None]) -> np.ndarray: ...  # noqa: D102
    def patches(self, images: np.ndarray, *, progress: Callable[[str], None]) -> np.ndarray: ...  # noqa: D102


def array_hash(array: np.ndarray) -> str:
    """Hash of an array's type, shape and values."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


@functools.cache
def made_with() -> str:
    """Hash of what makes an embedding of an input, besides the encoder: the code that encodes, and the libraries."""
    files = library_files(["import verdict.clip.encode, verdict.clip.variants"])
    return content_hash([package_versions(), [sha256_bytes(file.read_bytes()) for file in files]])


@dataclass(frozen=True)
class EmbeddingCache:
    """A folder of embeddings of one encoder, shared by the stages of a profile.

    Attributes
    ----------
    folder : Path
    encoder : Encoder
        Model, revision and preprocessing stand in the key through its `identity`.
    progress : function of a line of text
        Told how far an encoding has come.
    """

    folder: Path
    encoder: Encoder
    progress: Callable[[str], None] = lambda text: None

    def images(self, images: np.ndarray) -> np.ndarray:
        """Embeddings of uint8 images (n, h, w, 3): float32 (n, d), read-only."""
        return self._get("images", array_hash(images), len(images), lambda: self.encoder.images, images)

    def patches(self, images: np.ndarray) -> np.ndarray:
        """Patch tokens of uint8 images: float32 (n, n_patches, d), read-only."""
        return self._get("patches", array_hash(images), len(images), lambda: self.encoder.patches, images)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts: float32 (n, d), read-only."""
        texts = list(texts)
        return self._get("texts", content_hash(texts), len(texts), lambda: self.encoder.texts, texts)

    def _get(self, kind: str, data: str, n: int, method: Callable, inputs: np.ndarray | list[str]) -> np.ndarray:
        path = self.folder / f"{kind}-{content_hash([self.encoder.identity, kind, data, made_with()])}.npy"
        if not path.is_file():
            write_npy(path, method()(inputs, progress=self.progress))
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"the embedding cache {path} is damaged ({error}); delete it and run again") from error
        if len(found) != n:
            raise ValueError(f"the embedding cache {path} is damaged: {len(found)} rows for {n}; delete it")
        return found
