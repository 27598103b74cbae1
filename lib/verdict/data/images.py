"""Images by id: a store of arrays or of files, read as RGB at one size.

A store is a folder with `images.parquet` (image_id, file, row, sha256). A row >= 0 points into a uint8 array file of
shape (n_images, height, width, 3), which is memory-mapped, or into a parquet shard that holds encoded images; row = -1
means that the file is itself one image.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from verdict.base.artifacts import sha256_file, write_npy, write_parquet
from verdict.data.embedded import is_embedded, read_embedded
from verdict.data.kinds import kind_of

INDEX = "images.parquet"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 200_000_000
MAX_SIDE = 4096
MAX_ID_CHARACTERS = 255
DEPTHS = (8, 10, 12, 14, 16)
_FORBIDDEN_IN_ID = re.compile(r"[\\\x00-\x1f\x7f]")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3]..(.)", re.DOTALL)


def check_image_id(image_id: str) -> str:
    """Return the id if it is a plain name, or plain names that lead from folder to folder.

    ValueError if it is longer than 255 characters, absolute, an address, or one of its names is empty, "." or "..", has
    outer blanks, or holds a backslash or a control character.
    """
    if _ADDRESS.match(image_id):
        raise ValueError(
            f"image id {image_id!r} is not a plain name but an address: fetch the pictures, and name files"
        )
    names = image_id.split("/")
    is_plain = len(image_id) <= MAX_ID_CHARACTERS and all(_is_plain(name) for name in names)
    if not is_plain or _FORBIDDEN_IN_ID.search(image_id):
        raise ValueError(
            f"image id {image_id!r} is not a plain name, nor such names from folder to folder (no '..', no control "
            "characters)"
        )
    return image_id


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and name == name.strip()


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any decoded mode to RGB; transparency is laid on white.

    Grey values of more than eight bits keep the upper eight of the smallest depth, of `DEPTHS`, that holds the largest
    of them: cameras write 12 bits into 16.
    """
    if image.mode.startswith("I"):
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        depth = next(bits for bits in DEPTHS if deep.max(initial=0) < 2**bits)
        # Eight bits that were widened by repeating them fill all sixteen, however dark the picture is.
        depth = 16 if depth > 8 and not (deep % 257).any() else depth
        return Image.fromarray((deep >> (depth - 8)).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, layer).convert("RGB")
    return image.convert("RGB")


class _RefusedError(ValueError):
    """What this module refuses itself; the message names the file already."""


def _decode(content: bytes, path: Path | str, max_pixels: int) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        n_pixels = image.width * image.height
        if n_pixels > max_pixels:
            size = f"{image.width} x {image.height}"
            raise _RefusedError(f"{path} has {size} = {n_pixels:,} pixels; at most {max_pixels:,} are read")
        # Phones store a preview as a second picture in a JPEG (MPO): its first picture is the photograph.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise _RefusedError(f"{path} is animated ({image.n_frames} frames); give one picture per file")
        image.load()
        _refuse_shallow(image, content, path)
        return _to_rgb(ImageOps.exif_transpose(image))


def _refuse_shallow(image: Image.Image, content: bytes, path: Path | str) -> None:
    """Refuse colours in 16 bits of which 14 or fewer are used: only their upper eight bits can be had."""
    if image.format != "PNG" or content[24:25] != b"\x10" or image.mode.startswith("I"):
        return
    top = max(int(image.getchannel(band).getextrema()[1]) for band in image.getbands() if band != "A")
    if 0 < top < 64:
        bits = 8 + top.bit_length()
        raise _RefusedError(
            f"{path} holds colours of {bits} bits in 16, which would be read as nearly black; save it with 8 bits"
        )


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"image file {path} is missing")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {n_bytes:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    return path.read_bytes()


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS, sha256: str = "") -> Image.Image:
    """Read one image file (JPEG, PNG, WebP, BMP or a GIF of one frame, whatever its suffix says) as RGB, turned as its
    EXIF orientation says.

    Larger images are refused by their header, before any pixel is decoded. ValueError names the file if it is not of
    the `sha256` that is given, truncated, animated, too large or of another format.
    """
    return decode_image(_read_bytes(Path(path)), path, max_pixels=max_pixels, sha256=sha256)


def decode_image(content: bytes, path: Path | str, *, max_pixels: int = MAX_PIXELS, sha256: str = "") -> Image.Image:
    """Decode the content of an image file as `read_image` does; `path` names it in messages."""
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path} was changed after the image store was written; build the data again")
    try:
        return _decode(content, path, max_pixels)
    except _RefusedError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} has too many pixels; at most {max_pixels:,} are read") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"{path} {_what_else(content)}not an image of a known format ({', '.join(FORMATS)})"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error) as error:
        raise ValueError(f"{path} cannot be decoded; is it truncated? ({error})") from error


def _what_else(content: bytes) -> str:
    """What a file is that is no image of a known format, as the start of a sentence."""
    if not content:
        return "is empty, "
    frame = _JPEG_FRAME.search(content) if content.startswith(b"\xff\xd8") else None
    if frame and frame[1] != b"\x08":
        return f"is a JPEG of {frame[1][0]} bits a channel, "
    kind, remedy = kind_of(content)
    known = kind and not content.startswith((b"\xff\xd8", b"\x89PNG"))
    return f"is {kind} ({remedy}), " if known else "is "


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or not all(isinstance(s, int | np.integer) and 1 <= s <= MAX_SIDE for s in size):
        raise ValueError(f"size must be (height, width), each 1 to {MAX_SIDE}, got {size!r}")
    return int(size[0]), int(size[1])


def resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Resize an RGB image with PIL's bilinear filter to (height, width); uint8 (height, width, 3)."""
    height, width = _check_size(size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


class ImageStore:
    """Images of one folder by id; `workers` threads decode image files, array stores need none."""

    def __init__(self, folder: Path, index: pd.DataFrame, *, max_pixels: int = MAX_PIXELS, workers: int = 1) -> None:
        self.folder = Path(folder).resolve()
        self.max_pixels = max_pixels
        self.workers = workers
        rows = zip(index["image_id"], index["file"], index["row"], index["sha256"], strict=True)
        self._entries = {str(i): (str(f), int(r), str(h)) for i, f, r, h in rows}
        self._arrays: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path, *, max_pixels: int = MAX_PIXELS, workers: int = 1) -> ImageStore:
        """Open the store of a folder; ValueError if its index is unreadable, lacks a column, repeats an id or holds
        one that is not a plain name.
        """
        path = Path(folder) / INDEX
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: no image store was written here")
        try:
            index = pd.read_parquet(path, columns=["image_id", "file", "row", "sha256"])
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not a readable image index: {error}") from error
        _check_ids(index["image_id"].tolist(), str(path))
        return cls(Path(folder), index, max_pixels=max_pixels, workers=workers)

    @property
    def ids(self) -> list[str]:
        """Ids of all images, in the order in which they were written."""
        return list(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._entries

    def load(self, image_ids: Sequence[str], *, size: tuple[int, int]) -> np.ndarray:
        """Read images as RGB at (height, width), ignoring their aspect ratios: uint8 (n, height, width, 3), in the
        order of the ids.

        Repeats are decoded once. KeyError lists ids that are not in the store; FileNotFoundError and ValueError name
        the file.
        """
        size = _check_size(size)
        wanted = list(dict.fromkeys(str(i) for i in image_ids))
        if unknown := [i for i in wanted if i not in self._entries]:
            raise KeyError(f"{len(unknown)} image ids are not in the store {self.folder}, the first: {unknown[:5]}")
        images = np.empty((len(wanted), *size, 3), dtype=np.uint8)
        files = []
        for k, (file, row, _) in enumerate(map(self._entries.__getitem__, wanted)):
            if row < 0:
                files.append(k)
            elif not is_embedded(file):
                images[k] = self._row(file, row, size)
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            for k, array in zip(files, pool.map(lambda k: resize(self._decode(wanted[k]), size), files), strict=True):
                images[k] = array
        for k, image in self._read_embedded(wanted):
            images[k] = resize(image, size)
        position = {image_id: k for k, image_id in enumerate(wanted)}
        order = [position[str(i)] for i in image_ids]
        return images if order == list(range(len(wanted))) else images[order]

    def thumbnail(self, image_id: str, *, max_side: int = 256) -> Image.Image:
        """One image as RGB at its own aspect ratio, no side longer than `max_side` pixels."""
        if image_id not in self._entries:
            raise KeyError(f"image id {image_id!r} is not in the store {self.folder}")
        file, row, _ = self._entries[image_id]
        if row < 0:
            image = self._decode(image_id)
        elif is_embedded(file):
            ((_, image),) = self._read_embedded([image_id])
        else:
            image = Image.fromarray(np.array(self._row(file, row)))
        image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
        return image

    def _decode(self, image_id: str) -> Image.Image:
        file, _, sha256 = self._entries[image_id]
        return read_image(self._path(file), max_pixels=self.max_pixels, sha256=sha256)

    def _read_embedded(self, image_ids: list[str]) -> Iterator[tuple[int, Image.Image]]:
        """Position and image of those ids that point into shards, shard by shard."""
        by_shard: dict[str, dict[int, list[int]]] = {}
        for k, image_id in enumerate(image_ids):
            file, row, _ = self._entries[image_id]
            if row >= 0 and is_embedded(file):
                by_shard.setdefault(file, {}).setdefault(row, []).append(k)
        for file, places in by_shard.items():
            for row, content in read_embedded(self._path(file), list(places)):
                for k in places[row]:
                    named = {"max_pixels": self.max_pixels, "sha256": self._entries[image_ids[k]][2]}
                    yield k, decode_image(content, f"{file}, row {row}", **named)

    def _row(self, file: str, row: int, size: tuple[int, int] | None = None) -> np.ndarray:
        array = self._array(file)
        if row >= len(array):
            raise ValueError(f"{self.folder / file} has {len(array)} images, the index asks for row {row}")
        return array[row] if size in (None, array.shape[1:3]) else resize(Image.fromarray(np.array(array[row])), size)

    def _path(self, file: str, *, is_array: bool = False) -> Path:
        path = (self.folder / file).resolve()
        is_inside = path.is_relative_to(self.folder)
        if not is_inside and (is_array or not Path(file).is_absolute()):
            raise ValueError(f"{file!r} leads out of the image store {self.folder}")
        return path

    def _array(self, file: str) -> np.ndarray:
        if file not in self._arrays:
            path = self._path(file, is_array=True)
            if not path.is_file():
                raise FileNotFoundError(f"image array {path} is missing")
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise ValueError(f"{path} is not a readable array: {error}") from error
            _check_array(array, str(path))
            self._arrays[file] = array
        return self._arrays[file]


def _check_ids(image_ids: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for image_id in image_ids:
        if check_image_id(image_id) in seen:
            raise ValueError(f"{source}: image id {image_id!r} occurs twice")
        seen.add(image_id)


def _check_array(array: np.ndarray, source: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        got = f"{getattr(array, 'dtype', type(array))} {getattr(array, 'shape', '')}"
        raise ValueError(f"{source}: expected uint8 (n, height, width, 3), got {got}")


def write_array_store(folder: Path, arrays: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> None:
    """Write images that are already arrays, uint8 (n_ids, height, width, 3): one `<name>.npy` per entry (ids,
    array), and the index. Names are plain names; ids are unique over all entries.
    """
    folder = Path(folder)
    frames = []
    for name, (ids, array) in arrays.items():
        if "/" in check_image_id(name):
            raise ValueError(f"images {name!r}: the name of a file, without folders, is expected")
        _check_array(array, f"images {name!r}")
        if len(ids) != len(array):
            raise ValueError(f"images {name!r}: {len(ids)} ids for {len(array)} images")
        frames.append(_index(list(ids), [f"{name}.npy"] * len(ids), range(len(ids)), [""] * len(ids)))
    index = pd.concat(frames or [_index()], ignore_index=True)
    _check_ids(index["image_id"].tolist(), str(folder))
    for name, (_, array) in arrays.items():
        write_npy(folder / f"{name}.npy", np.ascontiguousarray(array))
    write_parquet(folder / INDEX, index)


def write_folder_store(
    folder: Path,
    files: Mapping[str, Path],
    *,
    hashes: Mapping[str, str] | None = None,
    embedded: pd.DataFrame | None = None,
) -> None:
    """Write the index of images that stay where they are, with the SHA-256 of each content, so that a later change
    is noticed on reading. Hashes that are not given are read from the files; `embedded` are images inside parquet
    shards: image_id, file (absolute), row, sha256.
    """
    ids, inside = list(files), _index() if embedded is None else embedded
    _check_ids([*ids, *inside["image_id"]], str(folder))
    if missing := [str(p) for p in files.values() if not Path(p).is_file()]:
        raise FileNotFoundError(f"{len(missing)} image files are missing, the first: {missing[:5]}")
    paths = [Path(p).resolve() for p in files.values()]
    contents = [hashes[i] for i in ids] if hashes is not None else [sha256_file(p) for p in paths]
    index = _index(ids, list(map(str, paths)), [-1] * len(ids), contents)
    inside = _index(*(inside[name].tolist() for name in ("image_id", "file", "row", "sha256")))
    write_parquet(Path(folder) / INDEX, pd.concat([index, inside], ignore_index=True))


def _index(
    ids: Sequence[str] = (), files: Sequence[str] = (), rows: Sequence[int] = (), hashes: Sequence[str] = ()
) -> pd.DataFrame:
    index = pd.DataFrame({"image_id": ids, "file": files, "row": rows, "sha256": hashes})
    return index.astype({"image_id": "str", "file": "str", "row": "int64", "sha256": "str"})
