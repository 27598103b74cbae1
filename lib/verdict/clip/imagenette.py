"""Imagenette: ten classes of ImageNet that are easy to tell apart, with a shorter side of 160 pixels.

Howard (2019), github.com/fastai/imagenette. The pictures are ImageNet's, under its terms of use: they are read, never
copied into the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from verdict import paths
from verdict.clip.corpora import Corpus, archive_of, as_half, list_folder, list_tar, square

NAME = "imagenette"
ARCHIVE = "imagenette2-160.tgz"
PX = 160
PARTS = ("train", "val")
# WordNet's numbers name the folders.
CLASSES: Mapping[str, str] = MappingProxyType(
    {
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
)
ATTRIBUTION = "Imagenette (J. Howard, 2019), pictures of ImageNet, for research: read from a local copy or by URL."


def locate(*, url: str, sha256: str) -> Path:
    """A folder that holds `train` and `val`, or the archive, local or downloaded.

    Raises
    ------
    ConnectionError, ValueError
        If there is no local copy and the download fails; see `archive_of`.
    """
    home = paths.local_data(NAME)
    unpacked = [home, home / Path(ARCHIVE).stem] if home is not None else []
    whole = [folder for folder in unpacked if all((folder / part).is_dir() for part in PARTS)]
    return whole[0] if whole else archive_of(NAME, ARCHIVE, url=url, sha256=sha256)


def read(source: Path) -> Corpus:
    """The pictures of what `locate` found, cut to squares; the corpus' val is the half to be judged on.

    Raises
    ------
    ValueError
        If the source is damaged, or holds other folders than the ten classes; the message names the file.
    """
    listed = [(list_folder if source.is_dir() else list_tar)(source, part) for part in PARTS]
    halves = [
        as_half(listing, part, list(CLASSES), px=PX, cut=partial(square, px=PX))
        for part, listing in zip(PARTS, listed, strict=True)
    ]
    return Corpus(*halves, tuple(CLASSES.values()), ATTRIBUTION)
