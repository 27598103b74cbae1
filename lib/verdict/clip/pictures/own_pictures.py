"""Somebody's own labelled pictures: a folder for each class, or a table with image and label, read whole or refused."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import read_json, sha256_file
from verdict.base.files.picture_files import EXTENSIONS, NOT_READ, files_below, found_images, is_leftover, without_link
from verdict.base.files.tables import find_columns, read_table
from verdict.base.labels import Split
from verdict.base.params import ClipFolderParams
from verdict.base.refusals import N_LISTED, listed, shown
from verdict.clip.pictures.words import ENSEMBLE
from verdict.data.own.pair_file import ALIASES as PAIR_ALIASES
from verdict.data.pairs import refuse_shared
from verdict.data.splits import merge_groups, split_groups

SPLITS = ("train", "val", "calib", "test")
MIN_PICTURES = 4
ALIASES = {
    **{name: PAIR_ALIASES[name] for name in ("image_id", "split", "group_id")},
    "label": (*PAIR_ALIASES["label"], "class", "class_name", "category"),
}


@dataclass(frozen=True)
class OwnPictures:
    """Pictures that were found, none of them opened.

    `rows`: image_id (path inside the folder), file, label, split, group_id, y (index of the class); `class_names` are
    in the order of these, `templates` sentences about them.
    """

    home: Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]
    templates: tuple[str, ...]


def read(params: ClipFolderParams, *, seed: int, is_table: bool) -> OwnPictures:
    """Find somebody's own pictures, name their classes and divide them.

    `classes.json` (a list of names in their order, or a mapping from folder or label to name) and `templates.json` (a
    list) may lie beside the pictures. Without splits, groups are divided at random, copies together. Two labels that
    are one word, a split for some pictures alone, a picture, a copy of it or a group in two splits, and a split
    without pictures are refused by file and line.
    """
    home = paths.needed(params.images, "clip.folder.images", is_folder=True)
    place = paths.needed(params.table, "clip.folder.table") if is_table else home
    rows, source = (_table_rows(place, home) if is_table else _folder_rows(home)), str(place)
    _refuse_one_word_twice(rows, source)
    labels = sorted(set(rows["label"]))
    if len(labels) < 2:
        raise ValueError(f"{source} needs at least two labels, got {labels}")
    known, names = _classes(home, labels)
    hashes = [sha256_file(path) for path in rows["file"]]
    rows["group_id"] = merge_groups(rows["group_id"], pd.Series(hashes, index=rows.index))
    if rows["split"].eq("").all():
        rows["split"] = split_groups(rows["group_id"], dict(params.fractions), seed)
    else:
        copies = rows.assign(copy=rows.groupby(hashes)["image_id"].transform("first"))
        refuse_shared(copies, "copy", source, rows["place"].tolist(), noun="the picture or a copy of it,")
        refuse_shared(rows, "group_id", source, rows["place"].tolist())
    for split in SPLITS:
        if (n := int((rows["split"] == split).sum())) < MIN_PICTURES:
            raise ValueError(
                f"{source}: the split {split} has {n} pictures, and at least {MIN_PICTURES} are needed in each of "
                f"{', '.join(SPLITS)}; where no splits are given, shares decide"
            )
    rows["y"] = pd.Index(known).get_indexer(rows["label"])
    return OwnPictures(home, rows, names, _templates(home))


def _folder_rows(home: Path) -> pd.DataFrame:
    """Pictures of a folder that holds one folder a class, or one a split with those inside."""
    tops = _folders(home)
    splits = {top: split for top in tops if (split := _as_split(top.name)) and _folders(top)}
    if splits and (others := [top.name for top in tops if top not in splits]):
        raise ValueError(f"{home}: {listed(list(map(str, splits.values())))} are splits, and {listed(others)} are not")
    places = [(inner, split) for top, split in splits.items() for inner in _folders(top)] or [(top, "") for top in tops]
    for folder in {home, *splits}:
        files = (path.name for path in sorted(folder.iterdir()) if path.is_file() and not is_leftover(path.name))
        if astray := [name for name in files if Path(name).suffix.lower() in EXTENSIONS]:
            raise ValueError(f"{folder}: {listed(astray[:N_LISTED])} lie in no folder of a class; move or remove them")
    if others := files_below(home, NOT_READ):
        raise ValueError(
            f"{home}: {len(others)} pictures have a format that is not read, the first: {others[0]}; save them as PNG "
            "or JPEG, or remove them"
        )
    found = []
    for place, split in places:
        files = files_below(place)
        if not files:
            raise ValueError(f"{place} is a folder of a class without a picture; fill or remove it")
        ids = [path.relative_to(home).as_posix() for path in files]
        found += [(i, without_link(p, home), place.name, split, i, i) for i, p in zip(ids, files, strict=True)]
    return pd.DataFrame(found, columns=["image_id", "file", "label", "split", "group_id", "place"])


def _folders(home: Path) -> list[Path]:
    return sorted(path for path in home.iterdir() if path.is_dir() and not is_leftover(path.name))


def _as_split(name: str, place: str = "") -> str:
    """The split that a folder, or a table at a place, calls so; "" for a blank, and for any other folder."""
    try:
        split = str(Split.parse(name))
    except ValueError:
        split = ""
    if split not in SPLITS and name and place:
        raise ValueError(f"{place}: split {shown(name)} is none of {list(SPLITS)}")
    return split if split in SPLITS else ""


def _table_rows(path: Path, home: Path) -> pd.DataFrame:
    table = read_table(path)
    columns = find_columns(table, ALIASES, ("image_id", "label"))
    rows = pd.DataFrame({ours: table.column(theirs) for ours, theirs in columns.items()}, dtype="str")
    rows = rows.assign(line=table.lines, place=[f"line {line}" for line in table.lines], written=rows["image_id"])
    for column in columns:
        if (blank := rows[column].eq("")).any():
            raise ValueError(f"{path}, {rows['place'][blank.argmax()]}: the {column.removesuffix('_id')} is empty")
    if (again := rows["image_id"].duplicated()).any():
        image_id, place = rows.loc[again.argmax(), ["image_id", "place"]]
        first = rows["place"][rows["image_id"].eq(image_id).argmax()]
        raise ValueError(f"{path}, {place}: repeats {first}, the picture {image_id!r}")
    files, _ = found_images(rows, path, home, allow_missing=False, hint="")
    written = rows.get("split", pd.Series("", rows.index))
    splits = [_as_split(text, f"{path}, {place}") for text, place in zip(written, rows["place"], strict=True)]
    groups = rows.get("group_id", rows["image_id"])
    return rows.assign(file=rows["image_id"].map(files), split=splits, group_id=groups)


def _refuse_one_word_twice(rows: pd.DataFrame, source: str) -> None:
    """Labels that differ by case, blanks, underscores or the form of an accent are one word, written twice."""
    seen: dict[str, tuple[str, str]] = {}
    for label, place in zip(rows["label"], rows["place"], strict=True):
        word = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label).casefold()).strip()
        other, first = seen.setdefault(word, (label, place))
        if other != label:
            raise ValueError(f"{source}: {other!r} ({first}) and {label!r} ({place}) would be two classes; write one")


def _classes(home: Path, labels: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Labels in the order of their ids, and the names that stand for them."""
    path = home / "classes.json"
    if not path.is_file():
        return list(labels), tuple(labels)
    content = read_json(path)
    words = list(content.values()) if isinstance(content, Mapping) else content
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"{path} holds a list of names, or a mapping from label to name")
    named = content if isinstance(content, Mapping) else {word: word for word in words}
    if missing := sorted(set(labels) - set(named)):
        raise ValueError(f"{path} lacks {missing[:5]}; it has {sorted(named)[:5]}")
    order = [label for label in named if label in set(labels)]
    if len({named[label] for label in order}) < len(order):
        raise ValueError(f"{path} gives two labels one name: {listed([named[label] for label in order])}")
    return order, tuple(named[label] for label in order)


def _templates(home: Path) -> tuple[str, ...]:
    path = home / "templates.json"
    if not path.is_file():
        return ENSEMBLE
    content = read_json(path)
    if not isinstance(content, list) or not content or not all(isinstance(t, str) and "{}" in t for t in content):
        raise ValueError(f"{path} holds a list of sentences, each with {{}} for the name of the class")
    return tuple(content)
