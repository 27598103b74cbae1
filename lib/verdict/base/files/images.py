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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from verdict.base.artifacts import write_npy, write_parquet
from verdict.base.files.embedded import is_embedded, read_embedded
from verdict.base.files.kinds import kind_of
from verdict.base.params import MAX_SIDE

INDEX = "images.parquet"
INDEX_COLUMNS = ("image_id", "file", "row", "sha256")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 200_000_000
MAX_ID_CHARACTERS = 255
DEPTHS = (8, 10, 12, 14, 16)
_FORBIDDEN_IN_ID = re.compile(r"[\\\x00-\x1f\x7f]")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3]..(.)", re.DOTALL)


def check_image_id(image_id: str) -> str:
    """Return an id that is a plain name, or plain names from folder to folder; ValueError if it is too long, absolute,
    an address, or one of its names is empty, "." or "..", has outer blanks, a backslash or a control character.
    """
    if _ADDRESS.match(image_id):
        raise ValueError(
            f"image id {image_id!r} is not a plain name but an address: fetch the pictures, and name files"
        )
    is_plain = all(name not in ("", ".", "..") and name == name.strip() for name in image_id.split("/"))
    if not is_plain or len(image_id) > MAX_ID_CHARACTERS or _FORBIDDEN_IN_ID.search(image_id):
        raise ValueError(
            f"image id {image_id!r} is not a plain name, nor such names from folder to folder (no '..', no control "
            "characters)"
        )
    return image_id


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any decoded mode to RGB, transparency on white; of grey values of more than eight bits stay the upper
    eight of the smallest depth, of `DEPTHS`, that holds them: cameras write 12 bits into 16.
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


def _decode(content: bytes, path: Path | str) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if (n_pixels := image.width * image.height) > MAX_PIXELS:
            size = f"{image.width} x {image.height}"
            raise _RefusedError(f"{path} has {size} = {n_pixels:,} pixels; at most {MAX_PIXELS:,} are read")
        # Phones store a preview as a second picture in a JPEG (MPO): its first picture is the photograph.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise _RefusedError(f"{path} is animated ({image.n_frames} frames); give one picture per file")
        image.load()
        # Of colours in 16 bits only the upper eight can be had: nothing is left where 14 bits or fewer are used.
        if image.format == "PNG" and content[24:25] == b"\x10" and not image.mode.startswith("I"):
            top = max(int(image.getchannel(band).getextrema()[1]) for band in image.getbands() if band != "A")
            if 0 < top < 64:
                raise _RefusedError(
                    f"{path} holds colours of {8 + top.bit_length()} bits in 16, which would be read as nearly black; "
                    "save it with 8 bits"
                )
        return _to_rgb(ImageOps.exif_transpose(image))


def read_image(path: Path, *, sha256: str = "") -> Image.Image:
    """Read one image file (JPEG, PNG, WebP, BMP or a GIF of one frame, whatever its suffix says) as RGB, turned as its
    EXIF orientation says.

    Larger images are refused by their header, before any pixel is decoded. ValueError names the file if it is not of
    the `sha256` that is given, truncated, animated, too large or of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"image file {path} is missing")
    if (n_bytes := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {n_bytes:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    return decode_image(path.read_bytes(), path, sha256=sha256)


def decode_image(content: bytes, path: Path | str, *, sha256: str = "") -> Image.Image:
    """Decode the content of an image file as `read_image` does; `path` names it in messages."""
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path} was changed after the image store was written; build the data again")
    try:
        return _decode(content, path)
    except _RefusedError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} has too many pixels; at most {MAX_PIXELS:,} are read") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"{path} {_what_else(content)}not an image of a known format ({', '.join(FORMATS)})"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error) as error:
        raise ValueError(f"{path} cannot be decoded; is it truncated? ({error})") from error


def read_at(file: str, row: int, *, sha256: str = "") -> Image.Image:
    """Read the image file, or the image inside a row of a parquet shard (row >= 0), that an index names."""
    if row < 0:
        return read_image(Path(file), sha256=sha256)
    ((_, content),) = read_embedded(Path(file), [row])
    return decode_image(content, f"{file}, row {row}", sha256=sha256)


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
    if not all(1 <= side <= MAX_SIDE for side in size):
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

    def __init__(self, folder: Path, index: pd.DataFrame, *, workers: int = 1) -> None:
        self.folder = Path(folder).resolve()
        self.workers = workers
        rows = zip(index["image_id"], index["file"], index["row"], index["sha256"], strict=True)
        self._entries = {str(i): (str(f), int(r), str(h)) for i, f, r, h in rows}
        self._arrays: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path, *, workers: int = 1) -> ImageStore:
        """Open the store of a folder; ValueError if its index is unreadable or lacks a column."""
        path = Path(folder) / INDEX
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: no image store was written here")
        try:
            index = pd.read_parquet(path, columns=list(INDEX_COLUMNS))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not a readable image index: {error}") from error
        return cls(Path(folder), index, workers=workers)

    @classmethod
    def of_files(cls, files: Mapping[str, Path], *, workers: int = 1) -> ImageStore:
        """Images that stay where they are, by id, without a store on disk."""
        index = pd.DataFrame({"image_id": list(files), "file": [str(Path(file).resolve()) for file in files.values()]})
        return cls(Path(), index.assign(row=-1, sha256=""), workers=workers)

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
        order of the ids. KeyError lists ids that are not in the store; FileNotFoundError, ValueError name the file.
        """
        size = _check_size(size)
        position = {image_id: k for k, image_id in enumerate(dict.fromkeys(map(str, image_ids)))}
        if unknown := [i for i in position if i not in self._entries]:
            raise KeyError(f"{len(unknown)} image ids are not in the store {self.folder}, the first: {unknown[:5]}")
        images = np.empty((len(position), *size, 3), dtype=np.uint8)
        files: dict[int, str] = {}
        shards: dict[str, dict[int, list[tuple[int, str]]]] = {}
        for image_id, k in position.items():
            file, row, sha256 = self._entries[image_id]
            if row < 0:
                files[k] = image_id
            elif is_embedded(file):
                shards.setdefault(file, {}).setdefault(row, []).append((k, sha256))
            else:
                array = self._row(file, row)
                images[k] = array if array.shape[:2] == size else resize(Image.fromarray(array), size)
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            decoded = pool.map(lambda image_id: resize(self._image(image_id), size), files.values())
            for k, array in zip(files, decoded, strict=True):
                images[k] = array
        for file, places in shards.items():
            for row, content in read_embedded(self._path(file), list(places)):
                for k, sha256 in places[row]:
                    images[k] = resize(decode_image(content, f"{file}, row {row}", sha256=sha256), size)
        order = [position[str(i)] for i in image_ids]
        return images if order == list(range(len(position))) else images[order]

    def thumbnail(self, image_id: str, *, max_side: int = 256) -> Image.Image:
        """One image as RGB at its own aspect ratio, no side longer than `max_side` pixels."""
        if image_id not in self._entries:
            raise KeyError(f"image id {image_id!r} is not in the store {self.folder}")
        image = self._image(image_id)
        image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
        return image

    def _image(self, image_id: str) -> Image.Image:
        file, row, sha256 = self._entries[image_id]
        if row < 0 or is_embedded(file):
            return read_at(str(self._path(file)), row, sha256=sha256)
        return Image.fromarray(self._row(file, row))

    def _row(self, file: str, row: int) -> np.ndarray:
        if file not in self._arrays:
            path = self._path(file, is_array=True)
            if not path.is_file():
                raise FileNotFoundError(f"image array {path} is missing")
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise ValueError(f"{path} is not a readable array: {error}") from error
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
                raise ValueError(f"{path}: expected uint8 (n, height, width, 3), got {array.dtype} {array.shape}")
            self._arrays[file] = array
        if row >= len(array := self._arrays[file]):
            raise ValueError(f"{self.folder / file} has {len(array)} images, the index asks for row {row}")
        return np.array(array[row])

    def _path(self, file: str, *, is_array: bool = False) -> Path:
        path = (self.folder / file).resolve()
        if not path.is_relative_to(self.folder) and (is_array or not Path(file).is_absolute()):
            raise ValueError(f"{file!r} leads out of the image store {self.folder}")
        return path


def write_array_store(folder: Path, arrays: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> None:
    """Write images that are already arrays, uint8 (n_ids, height, width, 3): one `<name>.npy` per entry (ids,
    array), and the index. Ids are unique over all entries.
    """
    rows = [(image_id, f"{name}.npy", row, "") for name, (ids, _) in arrays.items() for row, image_id in enumerate(ids)]
    for name, (_, array) in arrays.items():
        write_npy(Path(folder) / f"{name}.npy", np.ascontiguousarray(array))
    _write_index(folder, pd.DataFrame(rows, columns=list(INDEX_COLUMNS)))


def write_folder_store(
    folder: Path, files: Mapping[str, Path], hashes: Mapping[str, str], elsewhere: pd.DataFrame | None = None
) -> None:
    """Write the index of images that stay where they are, with the SHA-256 of each content; `elsewhere` are more images
    by the columns of the index, files (row -1) or inside parquet shards.
    """
    rows = [(image_id, str(Path(path).resolve()), -1, hashes[image_id]) for image_id, path in files.items()]
    index = pd.DataFrame(rows, columns=list(INDEX_COLUMNS))
    if elsewhere is not None:
        index = pd.concat([index, elsewhere[list(INDEX_COLUMNS)]], ignore_index=True)
    _write_index(folder, index)


def _write_index(folder: Path, index: pd.DataFrame) -> None:
    for image_id in index["image_id"]:
        check_image_id(image_id)
    if (twice := index["image_id"].duplicated()).any():
        raise ValueError(f"{folder}: image id {index['image_id'][twice].iloc[0]!r} occurs twice")
    kinds = {name: "int64" if name == "row" else "str" for name in INDEX_COLUMNS}
    write_parquet(Path(folder) / INDEX, index.astype(kinds))
