"""Bring your own pairs: a table of sentences and a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from verdict.artifacts import sha256_file
from verdict.data.images import check_image_id, write_folder_store
from verdict.data.pairs import N_LISTED, Dataset, check_pairs, make_pair_id
from verdict.data.splits import merge_groups, split_groups
from verdict.data.tables import PairFile, read_pair_file

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
ORDER = ("pair_id", "image_id", "group_id", "hypothesis", "label", "split", "family", "premise")


def build(
    *,
    table: Path,
    images: Path,
    fractions: Mapping[str, float] | None,
    seed: int,
    out: Path,
    allow_missing_images: bool = False,
    labelled: bool = True,
) -> Dataset:
    """Read a table of pairs, find its images, split it and write the image store.

    Parameters
    ----------
    table : Path
        CSV or JSON lines; see `verdict.data.tables`.
    images : Path
        Folder of the images. An id is a file name with or without its extension.
    fractions : mapping of split to share, or None
        Shares of the groups where the table has no split column; a split column always decides.
    seed : int
        Of the split.
    out : Path
        Folder of the image store.
    allow_missing_images : bool
        If True, rows whose image is not there are left out and counted in the facts.
    labelled : bool
        If False, the table needs no labels and is not split.

    Raises
    ------
    FileNotFoundError
        If the table, the folder or (unless allowed) an image is missing.
    ValueError
        If the table, an id, or the division into splits cannot be used.
    """
    file = read_pair_file(table, labelled=labelled)
    found, missing = resolve_images(file.rows["image_id"].unique().tolist(), images)
    if missing and not allow_missing_images:
        raise FileNotFoundError(
            f"{table}: {len(missing)} images are not in {images}, the first: {missing[:N_LISTED]}; "
            f"set allow_missing_images to leave their rows out"
        )
    pairs = file.rows[file.rows["image_id"].isin(found)].reset_index(drop=True)
    if pairs.empty:
        raise ValueError(f"{table}: no row has an image in {images}")
    hashes = {image_id: sha256_file(path) for image_id, path in found.items()}
    pairs = _with_groups(pairs, hashes)
    if labelled and "split" not in pairs.columns:
        if not fractions:
            raise ValueError(f"{table}: there is no split column, and no fractions are given to split by")
        pairs["split"] = split_groups(pairs["group_id"], fractions, seed)
    pairs = pairs[[name for name in ORDER if name in pairs.columns]]
    check_pairs(pairs, source=str(table), labelled=labelled, first_row=2)
    write_folder_store(out, found)
    return Dataset(pairs, "", _facts(file, pairs, missing, hashes))


def _with_groups(pairs: pd.DataFrame, hashes: Mapping[str, str]) -> pd.DataFrame:
    """Add ids and groups; copies of one image under two names stay together."""
    groups = pairs["group_id"] if "group_id" in pairs.columns else pairs["image_id"]
    content = pairs["image_id"].map(hashes)
    merged = merge_groups(groups, pairs["image_id"], content)
    ids = [make_pair_id(i, _encodable(h)) for i, h in zip(pairs["image_id"], pairs["hypothesis"], strict=True)]
    return pairs.assign(group_id=merged, pair_id=pd.Series(ids, index=pairs.index, dtype="str"))


def _encodable(text: str) -> str:
    """The text, without what no encoding can write: `check_pairs` then refuses the row by its number."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def resolve_images(image_ids: list[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find the file of each id.

    Parameters
    ----------
    image_ids : list of str
        Names with or without an extension; the case of an extension does not matter.
    folder : Path
        Its own files only, no subfolders.

    Returns
    -------
    (files, missing)
        Files by id in the order given, and the ids without one.

    Raises
    ------
    ValueError
        If an id is no plain name, fits two files, or shares its file with another id; or if a file is a link that
        leads out of the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"image folder {folder} is missing")
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in EXTENSIONS and path.is_file():
            by_name.setdefault(path.stem + path.suffix.lower(), []).append(path)
            by_name.setdefault(path.stem, []).append(path)
    found: dict[str, Path] = {}
    owner: dict[Path, str] = {}
    missing = []
    for image_id in image_ids:
        path = _resolve_one(check_image_id(image_id), folder, by_name)
        if path is None:
            missing.append(image_id)
        elif owner.setdefault(path, image_id) != image_id:
            raise ValueError(f"image ids {owner[path]!r} and {image_id!r} are the same file {path}; write one of them")
        else:
            found[image_id] = path
    return found, missing


def _resolve_one(image_id: str, folder: Path, by_name: Mapping[str, list[Path]]) -> Path | None:
    written = Path(image_id)
    candidates = by_name.get(image_id) or by_name.get(written.stem + written.suffix.lower()) or []
    exact = [path for path in candidates if path.name == image_id]
    candidates = exact or candidates
    if len(candidates) > 1:
        names = [path.name for path in candidates]
        raise ValueError(f"image id {image_id!r} fits {len(names)} files in {folder}: {names}; write the whole name")
    if not candidates:
        return None
    path = candidates[0].resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"image {candidates[0]} is a link that leads out of its folder, to {path}")
    return path


def _facts(
    file: PairFile, pairs: pd.DataFrame, missing: list[str], hashes: Mapping[str, str]
) -> dict[str, int | float | str]:
    facts: dict[str, int | float | str] = {
        "rows_read": len(file.rows),
        "rows_left_out_without_image": len(file.rows) - len(pairs),
        "images_missing": len(missing),
        "images": len(hashes),
        "images_with_a_copy": len(hashes) - len(set(hashes.values())),
        "groups": int(pairs["group_id"].nunique()),
        "encoding": file.encoding,
        "columns_ignored": ", ".join(file.ignored),
        "split_by": "column" if "split" in file.rows.columns else "fractions",
    }
    if "split" in pairs.columns:
        facts |= {f"rows_{split}": int(n) for split, n in pairs["split"].value_counts().sort_index().items()}
    return facts
