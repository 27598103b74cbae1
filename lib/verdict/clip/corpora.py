"""Public corpora of labelled pictures in two halves: one to learn and choose from, one to be judged on.

Pictures stay encoded in their archive or folder until they are asked for, and no archive is unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from verdict import paths
from verdict.data.fetch import admitted, download, open_tar
from verdict.data.images import decode_image
from verdict.data.picture_files import EXTENSIONS, is_leftover

Cut = Callable[[Image.Image], np.ndarray]


@dataclass(frozen=True, eq=False)
class Half:
    """The pictures to learn from, or those to be judged on.

    Attributes
    ----------
    names : list of str
    y : int (n,)
    load : rows → uint8 (n_rows, px, px, 3)
    """

    names: list[str]
    y: np.ndarray
    load: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Both halves, the names of the classes in the order of their ids, and where the pictures come from."""

    train: Half
    test: Half
    class_names: tuple[str, ...]
    attribution: str


@dataclass(frozen=True, eq=False)
class Listing:
    """Encoded pictures, sorted by their paths, that lie in folders of classes.

    Attributes
    ----------
    places : list of PurePosixPath
    contents : rows → iterator of (position among the rows, bytes)
        In the order that is quickest to read.
    """

    source: Path
    places: list[PurePosixPath]
    contents: Callable[[np.ndarray], Iterator[tuple[int, bytes]]]

    @property
    def folders(self) -> list[str]:
        """The folder of each picture."""
        return [place.parent.name for place in self.places]


def archive_of(name: str, file: str, *, url: str, sha256: str) -> Path:
    """The archive of a corpus: `$VERDICT_DATA/<name>/<file>`, or downloaded once.

    Raises
    ------
    ConnectionError, ValueError
        If there is no local copy, and no hash to download with, or the download fails; see `download`.
    """
    home = paths.local_data(name)
    if home is not None and (home / file).is_file():
        return home / file
    if not sha256:
        raise ValueError(
            f"{name} is not here: set VERDICT_DATA to a folder that holds {name}/{file}, or give its sha256 in "
            f"clip.{name}.sha256, and it is downloaded from {url}"
        )
    return download(url, sha256=sha256, path=paths.download_cache() / name / file)


def list_tar(archive: Path, part: str = "") -> Listing:
    """Pictures inside a tar archive, of the folder `part` alone where one is named.

    Raises
    ------
    ValueError
        If the archive is damaged, or a member is a link, leads out of the folder or occurs twice.
    """
    with open_tar(archive) as tar:
        found = {PurePosixPath(name): member for name, member in admitted(tar, archive) if member.isfile()}
    places = sorted(place for place in found if _is_wanted(place, part))

    def contents(rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
        members = [found[places[row]] for row in rows]
        with open_tar(archive) as tar:
            for k in sorted(range(len(members)), key=lambda k: members[k].offset_data):
                yield k, _read(tar, members[k])

    return Listing(archive, places, contents)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(member)
    return b"" if source is None else source.read()


def list_folder(home: Path, part: str) -> Listing:
    """Pictures inside the folder `part` of a folder; links that lead elsewhere are left out."""
    files = {
        PurePosixPath(path.relative_to(home).as_posix()): path
        for path in (home / part).glob("*/*")
        if path.is_file() and path.resolve().is_relative_to(home.resolve())
    }
    places = sorted(place for place in files if _is_wanted(place, part))
    return Listing(home, places, lambda rows: ((k, files[places[row]].read_bytes()) for k, row in enumerate(rows)))


def _is_wanted(place: PurePosixPath, part: str) -> bool:
    folders = place.parts[:-1]
    is_there = len(folders) >= 1 and (not part or folders[-2:-1] == (part,))
    return is_there and place.suffix.lower() in EXTENSIONS and not any(map(is_leftover, place.parts))


def as_half(listing: Listing, part: str, classes: Sequence[str], *, px: int, cut: Cut = np.asarray) -> Half:
    """A half of listed pictures.

    Parameters
    ----------
    part : str
        First word of the pictures' names.
    classes : sequence of str
        Names of folders in the order of their ids.
    cut : picture → uint8 (px, px, 3)
        By default pictures must have that size.

    Raises
    ------
    ValueError
        If there is no picture, or a folder is no class; from `load`, if a picture is damaged or has another size.
    """
    ids = {name: k for k, name in enumerate(classes)}
    unknown = sorted(set(listing.folders) - set(ids))
    if unknown or not listing.places:
        raise ValueError(f"{listing.source}: folders {unknown[:3]} are no classes, of {len(listing.places)} pictures")

    def load(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), px, px, 3), dtype=np.uint8)
        for k, content in listing.contents(rows):
            name = f"{listing.source}: {listing.places[rows[k]]}"
            image = cut(decode_image(content, name))
            if image.shape != images.shape[1:]:
                raise ValueError(f"{name} has the shape {image.shape}, expected {images.shape[1:]}")
            images[k] = image
        return images

    names = ["-".join((part, place.parent.name, place.stem)) for place in listing.places]
    return Half(names, np.array([ids[folder] for folder in listing.folders]), load)


def square(image: Image.Image, px: int) -> np.ndarray:
    """The middle square of a picture at a side of `px`, as CLIP's own preprocessing cuts it: uint8 (px, px, 3)."""
    scale = px / min(image.size)
    width, height = (max(px, round(side * scale)) for side in image.size)
    left, top = (width - px) // 2, (height - px) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + px, top + px)), dtype=np.uint8)
