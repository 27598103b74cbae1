"""Pictures in somebody's own folder: which files count, which one an id means, and which cannot be read.

One set of rules for pairs and for the dual encoder's pictures. Hidden files and folders, and those that editors,
archives and operating systems leave, are none of the user's.
"""

import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from verdict.base import paths
from verdict.base.files.images import FORMATS, check_image_id, read_image
from verdict.base.refusals import N_LISTED, first_of, listed

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
NOT_READ = (".heic", ".heif", ".tif", ".tiff", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".dcm", ".dng", ".cr2", ".nef")
LEFTOVERS = frozenset({"__MACOSX", "@eaDir", "__pycache__"})
EVERY = 500
# Of the section of a source, such as data.csv.
LEAVE_OUT = "; set {}.allow_missing_images to leave their rows out"
# Before anything runs, decoding every picture of a large set is begun for so many seconds and left to its stage.
LOOK_S = 2.5


def is_leftover(name: str) -> bool:
    """Whether a file or folder is hidden, or left by something else than the user."""
    return name.startswith(".") or name in LEFTOVERS


def files_below(folder: Path, endings: Sequence[str] = EXTENSIONS) -> list[Path]:
    """Files with some endings, in any case, in a folder and its subfolders, sorted; links to folders are followed."""
    found, seen = [], set()
    for top, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        # A link to a folder above would be walked without end.
        folders[:] = [] if real in seen else sorted(name for name in folders if not is_leftover(name))
        if real not in seen:
            kept = (name for name in names if not is_leftover(name) and os.path.splitext(name)[1].lower() in endings)
            found += [path for name in kept if (path := Path(top, name)).is_file()]
        seen.add(real)
    return sorted(found)


def without_link(path: Path, folder: Path) -> Path:
    """The file itself, which must lie below its folder or a folder of data (see `paths.data_folders`); ValueError if
    a link leads elsewhere.
    """
    real = path.resolve()
    if not any(real.is_relative_to(home.resolve()) for home in (folder, *paths.data_folders())):
        raise ValueError(
            f"image {path} is a link that leads out of its folder, to {real}; set VERDICT_DATA to what holds both"
        )
    return real


def resolve_images(
    image_ids: Iterable[str], folder: Path, *, places: Mapping[str, str] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """Find the file of each id: files by id in the order given, and the ids without one.

    Ids are paths inside the folder, or bare names that fit one file of it and of its subfolders; with or without an
    extension, whose case does not matter. A number also fits a name that is the number with zeros in front, which
    spreadsheets take away. `places` say where each id stands, as messages begin. ValueError if an id is no path inside
    the folder, fits two files, or shares its file with another id; or for a link, see `without_link`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"image folder {folder} is missing")
    found: dict[str, Path] = {}
    owner: dict[Path, str] = {}
    missing = []
    names = _Names(folder)
    for image_id in image_ids:
        try:
            path = names.find(check_image_id(image_id))
            if path is not None and (other := owner.setdefault(path, image_id)) != image_id:
                raise ValueError(f"image ids {other!r} and {image_id!r} are the same file {path}; write one of them")
        except ValueError as error:
            raise ValueError(f"{places[image_id]}: {error}" if places else str(error)) from None
        if path is None:
            missing.append(image_id)
        else:
            found[image_id] = path
    return found, missing


class _Names:
    """The pictures of a folder by all that an id may call them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: dict[str, list[Path]] = {}
        self._bare: dict[str, list[Path]] = {}
        self._number: dict[int, list[Path]] = {}
        for path in files_below(folder):
            inside = PurePosixPath(path.relative_to(folder).as_posix())
            for names, written in ((self._whole, inside), (self._bare, PurePosixPath(inside.name))):
                for name in (_key(written), _key(written.with_suffix(""), is_whole=False)):
                    names.setdefault(name, []).append(path)
            if re.fullmatch("[0-9]+", path.stem):
                self._number.setdefault(int(path.stem), []).append(path)

    def find(self, image_id: str) -> Path | None:
        written = PurePosixPath(image_id)
        keys = (_key(written, is_whole=False), _key(written))
        candidates = next((names[k] for names in (self._whole, self._bare) for k in keys if k in names), [])
        candidates = candidates or self._number.get(_number(image_id), [])
        exact = [path for path in candidates if path.relative_to(self.folder).as_posix() == image_id]
        candidates = exact or candidates
        if len(candidates) > 1:
            names = [path.relative_to(self.folder).as_posix() for path in candidates]
            raise ValueError(
                f"image id {image_id!r} fits {len(names)} files in {self.folder}: {listed(names)}; write the whole name"
            )
        return without_link(candidates[0], self.folder) if candidates else None


def _key(name: PurePosixPath, *, is_whole: bool = True) -> str:
    """A name as it is compared: its extension in lower case, its accents in one Unicode form."""
    text = str(name.with_suffix(name.suffix.lower())) if is_whole and name.suffix else str(name)
    return unicodedata.normalize("NFC", text)


def _number(image_id: str) -> int:
    """The number that an id is, with an extension or as a spreadsheet writes it; -1 for any other id."""
    found = re.fullmatch(rf"([0-9]{{1,300}})(?:\.0|{'|'.join(map(re.escape, EXTENSIONS))})?", image_id.lower())
    return int(found[1]) if found else -1


def found_images(
    rows: pd.DataFrame, table: Path, folder: Path, *, allow_missing: bool, hint: str
) -> tuple[dict[str, Path], list[str]]:
    """Files of the images that a table's rows name, by image id, and the names without one.

    `written` is what the table calls an image, `line` where a row begins. FileNotFoundError for a missing file, unless
    it is allowed, which `hint` says how to do; otherwise as `resolve_images`.
    """
    first = rows.drop_duplicates("image_id")
    names = dict(zip(first["image_id"], first["written"], strict=True))
    places = {name: f"{table}, line {line}" for name, line in zip(first["written"], first["line"], strict=True)}
    found, missing = resolve_images(places, folder, places=places)
    if missing and not allow_missing:
        raise FileNotFoundError(
            f"{places[missing[0]]}: {len(missing)} images are not in {folder}, the first: {missing[:N_LISTED]}"
            f"{why_missing(missing, folder)}{hint}"
        )
    return {image_id: found[name] for image_id, name in names.items() if name in found}, missing


def n_without_zeros(files: Mapping[str, Path]) -> int:
    """How many ids found a file whose name has zeros in front that they lack."""
    numbers = {image_id: path for image_id, path in files.items() if _number(image_id) >= 0}
    return sum(path.stem not in (image_id, image_id.rpartition(".")[0]) for image_id, path in numbers.items())


def why_missing(missing: Sequence[str], folder: Path) -> str:
    """What may be said of ids without a picture: they are there in a format that is not read, or nothing is."""
    written = [PurePosixPath(name) for name in missing]
    stems = {_key(PurePosixPath(name), is_whole=False) for path in written for name in (path.stem, path.name)}
    if same := [
        path.name for path in files_below(folder, NOT_READ) if unicodedata.normalize("NFC", path.stem) in stems
    ]:
        return f"; {listed(same[:3])} is there, but only {', '.join(FORMATS)} are read"
    return "" if files_below(folder) else "; the folder holds no picture"


def find_damaged(
    files: Mapping[str, Path], *, limit_s: float = float("inf"), progress: Callable[[str], None] = lambda text: None
) -> dict[str, str]:
    """Decode every image once, and return what is wrong with those that cannot be decoded, by image id.

    After `limit_s` seconds the others are left to a later look.
    """
    damaged, end = {}, time.monotonic() + limit_s
    for k, (image_id, path) in enumerate(files.items(), start=1):
        if time.monotonic() > end:
            break
        try:
            read_image(path)
        except (ValueError, OSError) as error:
            damaged[image_id] = str(error)
        if k % EVERY == 0:
            progress(f"checked {k}/{len(files)} images")
    return damaged


def refuse_damaged(source: object, damaged: Mapping[str, str]) -> None:
    """Raise if there is any, with all of them up to a bound."""
    if damaged:
        noun = "image" if len(damaged) == 1 else "images"
        listed_causes = first_of(list(damaged.values()), 20)
        raise ValueError(f"{source}: {len(damaged)} {noun} cannot be read; mend or remove them: {listed_causes}")
