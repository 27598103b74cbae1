"""Labelled pictures for a dual encoder: embedded scenes, a public corpus, or somebody's own folder or table.

Whatever the source, the result is the same: pictures of one size, a table with a row for each, names of the classes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from verdict import paths
from verdict.clip import cifar, imagenette, scenes
from verdict.clip.corpora import SUFFIXES, Corpus, square
from verdict.clip.words import ENSEMBLE
from verdict.data.digits import ATTRIBUTION
from verdict.data.images import read_image
from verdict.data.scenes import handwriting_pools
from verdict.data.splits import split_groups
from verdict.data.tables import decode_text
from verdict.params import ClipFolderParams, ClipParams

SPLITS = ("train", "val", "calib", "test")
SCENE_PX = 48


@dataclass(frozen=True, eq=False)
class Pictures:
    """n labelled pictures.

    Attributes
    ----------
    images : uint8 (n, height, width, 3)
    table : DataFrame
        image_id, group_id (the independent unit), split (train, val, calib, test), y (index of the class); for scenes
        the words of every factor, and `held_out`: whether the couple of digit and colour was kept from the training of
        the shipped encoder.
    class_names : tuple of str
        As the source writes them.
    templates : tuple of str
        Sentences with `{}` for the class, the first of them the plain one.
    masks : bool (n, height, width), optional
        Foreground, where the source knows it.
    attribution : str
        Where the pictures come from.
    """

    images: np.ndarray
    table: pd.DataFrame
    class_names: tuple[str, ...]
    templates: tuple[str, ...] = ENSEMBLE
    masks: np.ndarray | None = None
    attribution: str = ""

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, int (n_split,)."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())


def build(params: ClipParams) -> Pictures:
    """The pictures that parameters ask for; the same parameters give the same pictures."""
    if params.source == "digits":
        return of_scenes(params.n, seed=params.seed)
    if params.source in ("folder", "csv"):
        return of_folder(params.folder, n=params.n, seed=params.seed, is_table=params.source == "csv")
    return of_corpus(_corpus(params), params)


def of_scenes(n: Mapping[str, int], *, seed: int) -> Pictures:
    """Scenes of one digit each; every split has handwriting of its own, unseen by the shipped encoder.

    The independent unit is the handwriting sample: several pictures show the same one.
    """
    pools = handwriting_pools()
    images, masks, tables = [], [], []
    for split in SPLITS:
        rng = np.random.default_rng([seed, *f"clip {split}".encode()])
        drawn = scenes.draw(n[split], pools[split], rng=rng)
        shown, mask = scenes.render(drawn, rng=rng, px=SCENE_PX)
        held = scenes.is_held_out(drawn.factors["digit"], drawn.factors["colour"])
        ids = [f"scene-{split}-{k:05d}" for k in range(n[split])]
        table = drawn.table().assign(image_id=ids, split=split, y=drawn.factors["digit"], held_out=held)
        images.append(shown)
        masks.append(mask)
        tables.append(table.rename(columns={"writing": "group_id"}))
    table = pd.concat(tables, ignore_index=True)
    return Pictures(np.concatenate(images), table, scenes.DIGITS, ENSEMBLE, np.concatenate(masks), ATTRIBUTION)


def _corpus(params: ClipParams) -> Corpus:
    name = str(params.source)
    places = {"cifar10": params.cifar10, "cifar100": params.cifar100, "imagenette": params.imagenette}
    place = places[name].model_dump()
    if name == "imagenette":
        return imagenette.read(imagenette.locate(**place))
    return cifar.read(name, cifar.locate(name, **place))


def of_corpus(corpus: Corpus, params: ClipParams) -> Pictures:
    """Train, val and calib from a corpus' first half, test from its other half, at most `n` of each."""
    rng = np.random.default_rng([params.seed, *str(params.source).encode()])
    wanted = {split: params.n[split] for split in ("val", "calib", "train")}
    parts = _balanced(corpus.train.y, wanted, rng=rng)
    parts["test"] = _balanced(corpus.test.y, {"test": params.n["test"]}, rng=rng)["test"]
    images, tables = [], []
    for split in SPLITS:
        source, rows = (corpus.test if split == "test" else corpus.train), parts[split]
        images.append(source.load(rows))
        ids = [source.names[k] for k in rows]
        tables.append(pd.DataFrame({"image_id": ids, "group_id": ids, "split": split, "y": source.y[rows]}))
    table = pd.concat(tables, ignore_index=True)
    return Pictures(np.concatenate(images), table, corpus.class_names, attribution=corpus.attribution)


def _balanced(y: np.ndarray, wanted: Mapping[str, int], *, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Disjoint rows for several splits, drawn at random with classes in turn: int arrays.

    So the first rows of a split are a sample of all of its classes, also where the source goes class by class.
    """
    order = rng.permutation(len(y))
    place = np.empty(len(y), dtype=np.int64)
    for value in np.unique(y):
        place[order[y[order] == value]] = np.arange((y == value).sum())
    by_turn = order[np.argsort(place[order], kind="stable")]
    cuts = np.cumsum(list(wanted.values()))
    return dict(zip(wanted, np.split(by_turn, cuts), strict=False))


def of_folder(params: ClipFolderParams, *, n: Mapping[str, int], seed: int, is_table: bool) -> Pictures:
    """Somebody's own pictures: a folder for each class, or a CSV with the columns image and label.

    `classes.json` (a list of names in their order, or a mapping from folder or label to name) and `templates.json` (a
    list) may lie beside them. A CSV may have the columns split and group; without split, groups are divided at random.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the row and what is wrong with it.
    """
    home = _folder(params.images)
    rows = _table_rows(Path(params.table), home) if is_table else _folder_rows(home)
    labels = sorted({label for _, label, _, _ in rows})
    known, names = _classes(home, labels)
    files = [path for path, *_ in rows]
    groups = [group or path.name for path, _, _, group in rows]
    splits = pd.Series([split for _, _, split, _ in rows], dtype="str")
    if not splits.ne("").all():
        splits = split_groups(pd.Series(groups), dict(params.fractions), seed)
    table = pd.DataFrame(
        {
            "image_id": [path.relative_to(home).as_posix() for path in files],
            "group_id": groups,
            "split": splits.to_numpy(dtype=object),
            "y": [known.index(label) for _, label, _, _ in rows],
        }
    )
    rng, y = np.random.default_rng([seed, *b"folder"]), table["y"].to_numpy()
    own = {split: np.flatnonzero(table["split"] == split) for split in SPLITS}
    keep = np.concatenate([one[_balanced(y[one], {split: n[split]}, rng=rng)[split]] for split, one in own.items()])
    images = np.stack([square(read_image(files[k]), params.image_px) for k in keep])
    return Pictures(
        images, table.iloc[keep].reset_index(drop=True), names, _templates(home), attribution=str(home.name)
    )


def _folder(name: str) -> Path:
    candidates = [base / Path(name).expanduser() for base in paths.data_folders()]
    found = next((path for path in candidates if path.is_dir()), None)
    if not name or found is None:
        raise FileNotFoundError(f"clip.folder.images: there is no folder {name!r}; looked at {candidates}")
    return found.resolve()


def _folder_rows(home: Path) -> list[tuple[Path, str, str, str]]:
    """File, label, split, group of a folder that holds one folder a class, or one a split with those inside."""
    tops = sorted(path for path in home.iterdir() if path.is_dir() and not path.name.startswith("."))
    by_split = bool(tops) and {path.name for path in tops} <= set(SPLITS)
    places = (
        [(inner, top.name) for top in tops for inner in sorted(top.iterdir()) if inner.is_dir()] if by_split else []
    )
    places = places or [(top, "") for top in tops]
    rows = [
        (path, place.name, split, path.relative_to(home).as_posix())
        for place, split in places
        for path in sorted(place.iterdir())
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if len({label for _, label, _, _ in rows}) < 2:
        raise ValueError(f"{home} needs at least two folders with pictures, one a class; found {len(rows)} pictures")
    return rows


def _table_rows(table: Path, home: Path) -> list[tuple[Path, str, str, str]]:
    found = paths.data_file(str(table))
    if found is None:
        raise FileNotFoundError(f"clip.folder.table: there is no file {str(table)!r}")
    text, _ = decode_text(found.read_bytes(), str(found))
    reader = csv.DictReader(io.StringIO(text))
    if missing := {"image", "label"} - set(reader.fieldnames or ()):
        raise ValueError(f"{found} lacks the columns {sorted(missing)}; it has {reader.fieldnames}")
    rows = []
    for line, row in enumerate(reader, start=2):
        path = (home / str(row["image"]).strip()).resolve()
        if not path.is_relative_to(home) or not path.is_file():
            raise FileNotFoundError(f"{found}, line {line}: there is no picture {row['image']!r} in {home}")
        split = str(row.get("split") or "").strip()
        if split not in (*SPLITS, ""):
            raise ValueError(f"{found}, line {line}: split {split!r} is none of {list(SPLITS)}")
        if not str(row["label"] or "").strip():
            raise ValueError(f"{found}, line {line}: no label")
        rows.append((path, str(row["label"]).strip(), split, str(row.get("group") or "").strip()))
    if len({label for _, label, _, _ in rows}) < 2:
        raise ValueError(f"{found} needs at least two labels")
    return rows


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error


def _classes(home: Path, labels: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Labels in the order of their ids, and the names that stand for them."""
    path = home / "classes.json"
    if not path.is_file():
        return list(labels), tuple(labels)
    content = _json(path)
    named = dict(zip(content, content, strict=True)) if isinstance(content, list) else content
    if not isinstance(named, dict) or not all(isinstance(name, str) and name.strip() for name in named.values()):
        raise ValueError(f"{path} holds a list of names, or a mapping from label to name")
    if missing := sorted(set(labels) - set(named)):
        raise ValueError(f"{path} lacks {missing[:5]}; it has {sorted(named)[:5]}")
    order = [label for label in named if label in set(labels)]
    return order, tuple(named[label] for label in order)


def _templates(home: Path) -> tuple[str, ...]:
    path = home / "templates.json"
    if not path.is_file():
        return ENSEMBLE
    content = _json(path)
    if not isinstance(content, list) or not content or not all(isinstance(t, str) and "{}" in t for t in content):
        raise ValueError(f"{path} holds a list of sentences, each with {{}} for the name of the class")
    return tuple(content)
