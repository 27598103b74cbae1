"""Public corpora of labelled pictures in two halves: one to learn and choose from, one to be judged on.

CIFAR-10 and CIFAR-100 as the original archive or as two tar files of JPEG folders; Imagenette (Howard 2019,
github.com/fastai/imagenette), ten classes of ImageNet, under its terms of use, as its archive or unpacked. Pictures are
read, never copied into the project; they stay encoded until they are asked for, and no archive is unpacked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from verdict.base import paths
from verdict.base.files.fetch import admitted, download, open_tar
from verdict.base.files.images import decode_image
from verdict.base.files.picture_files import EXTENSIONS, is_leftover
from verdict.clip.pictures import cifar

IMAGENETTE_ARCHIVE, IMAGENETTE_PX, PARTS = "imagenette2-160.tgz", 160, ("train", "val")
# WordNet's numbers name the folders.
IMAGENETTE: Mapping[str, str] = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
OF_CIFAR = "CIFAR-{} (A. Krizhevsky, 2009), no formal licence: read from a local copy or by URL."
OF_IMAGENETTE = "Imagenette (J. Howard, 2019), pictures of ImageNet, for research: read from a local copy or by URL."


@dataclass(frozen=True, eq=False)
class Half:
    """The pictures to learn from, or to be judged on: names, class ids y (n,), rows → uint8 (n_rows, px, px, 3)."""

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


def locate(name: str, *, url: str, sha256: str) -> Path:
    """A folder that holds both parts of a corpus, or its archive: `$VERDICT_DATA/<name>/<file>`, or downloaded once.

    A ConnectionError or ValueError if there is no local copy, and no hash to download with, or the download fails.
    """
    is_cifar, home = name in cifar.KINDS, paths.local_data(name)
    archive = cifar.KINDS[name].archive if is_cifar else IMAGENETTE_ARCHIVE
    if home is not None:
        if (home / archive).is_file():
            return home / archive
        parts = ("train.tar", "test.tar") if is_cifar else PARTS
        for folder in (home, home / Path(archive).stem):
            if all((folder / part).exists() for part in parts):
                return folder
    if not sha256:
        raise ValueError(
            f"{name} is not here: set VERDICT_DATA to a folder that holds {name}/{archive}, or give its sha256 in "
            f"clip.{name}.sha256, and it is downloaded from {url}"
        )
    return download(url, sha256=sha256, path=paths.download_cache() / name / archive)


def read(name: str, source: Path) -> Corpus:
    """The pictures of what `locate` found, those of Imagenette cut to squares, its val being the half to be judged on.

    A source that is damaged, or does not hold what the corpus must hold, is a ValueError that names the file.
    """
    if name not in cifar.KINDS:
        options = {"px": IMAGENETTE_PX, "is_cut": True}
        halves = [_half(_listed(source, part), part, list(IMAGENETTE), **options) for part in PARTS]
        return Corpus(*halves, tuple(IMAGENETTE.values()), OF_IMAGENETTE)
    kind, parts = cifar.KINDS[name], ("train", "test")
    if source.is_dir():
        found = [_listed(source / f"{part}.tar") for part in parts]
        # Ids go by the alphabet, as the originals' do.
        classes = tuple(sorted({place.parent.name for place in found[0].places}))
        halves = [_half(one, part, classes, px=cifar.PX) for part, one in zip(parts, found, strict=True)]
    else:
        classes, content = cifar.read(source, kind)
        halves = [
            Half([f"{part}-{k:05d}" for k in range(len(y))], y, lambda rows, images=images: images[rows])
            for part, (y, images) in zip(parts, content, strict=True)
        ]
    if len(set(classes)) != kind.n_classes or len(classes) != kind.n_classes:
        raise ValueError(
            f"{source}: CIFAR-{kind.n_classes} has {kind.n_classes} classes, got {len(classes)}: {classes[:3]}…"
        )
    return Corpus(*halves, classes, OF_CIFAR.format(kind.n_classes))


class _Listing(NamedTuple):
    """Encoded pictures in folders of classes, sorted; `contents` of rows gives (position among the rows, bytes)."""

    source: Path
    places: list[PurePosixPath]
    contents: Callable[[np.ndarray], Iterator[tuple[int, bytes]]]


def _listed(source: Path, part: str = "") -> _Listing:
    """Pictures of a tar archive or a folder, of the folder `part` alone where one is named.

    A damaged archive is refused, or one with a link, a path out or a member twice; links out of a folder are left out.
    """
    if source.is_dir():
        home = source.resolve()
        files = {
            PurePosixPath(path.relative_to(source).as_posix()): path
            for path in (source / part).glob("*/*")
            if path.is_file() and path.resolve().is_relative_to(home)
        }
        places = sorted(place for place in files if _is_wanted(place, part))
        return _Listing(
            source, places, lambda rows: ((k, files[places[row]].read_bytes()) for k, row in enumerate(rows))
        )
    with open_tar(source) as tar:
        found = {PurePosixPath(name): member for name, member in admitted(tar, source) if member.isfile()}
    places = sorted(place for place in found if _is_wanted(place, part))

    def contents(rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
        members = [found[places[row]] for row in rows]
        with open_tar(source) as tar:
            for k in sorted(range(len(members)), key=lambda k: members[k].offset_data):
                file = tar.extractfile(members[k])
                yield k, b"" if file is None else file.read()

    return _Listing(source, places, contents)


def _is_wanted(place: PurePosixPath, part: str) -> bool:
    folders = place.parts[:-1]
    is_there = len(folders) >= 1 and (not part or folders[-2:-1] == (part,))
    return is_there and place.suffix.lower() in EXTENSIONS and not any(map(is_leftover, place.parts))


def _half(listing: _Listing, part: str, classes: Sequence[str], *, px: int, is_cut: bool = False) -> Half:
    """A half of listed pictures, whose names begin with `part`; `classes` are folders in the order of their ids.

    No picture, and a folder that is no class, are refused; by `load` a picture that is damaged, or has another side
    than `px` where it is not cut to it.
    """
    source, places, contents = listing
    ids, folders = {name: k for k, name in enumerate(classes)}, [place.parent.name for place in places]
    unknown = sorted(set(folders) - set(ids))
    if unknown or not places:
        raise ValueError(f"{source}: folders {unknown[:3]} are no classes, of {len(places)} pictures")

    def load(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), px, px, 3), dtype=np.uint8)
        for k, content in contents(rows):
            name = f"{source}: {places[rows[k]]}"
            decoded = decode_image(content, name)
            image = square(decoded, px) if is_cut else np.asarray(decoded)
            if image.shape != images.shape[1:]:
                raise ValueError(f"{name} has the shape {image.shape}, expected {images.shape[1:]}")
            images[k] = image
        return images

    names = ["-".join((part, place.parent.name, place.stem)) for place in places]
    return Half(names, np.array([ids[folder] for folder in folders]), load)


def square(image: Image.Image, px: int) -> np.ndarray:
    """The middle square of a picture at a side of `px`, as CLIP's own preprocessing cuts it: uint8 (px, px, 3)."""
    scale = px / min(image.size)
    width, height = (max(px, round(side * scale)) for side in image.size)
    left, top = (width - px) // 2, (height - px) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + px, top + px)), dtype=np.uint8)


def at_px(images: np.ndarray, px: int) -> np.ndarray:
    """Square uint8 pictures (n, side, side, 3) at another side."""
    return np.stack([square(Image.fromarray(image), px) for image in images])
