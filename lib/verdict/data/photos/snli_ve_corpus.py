"""The files of SNLI-VE as they are published: where they lie, and their rows without the images.

Two forms are read. Parquet shards with the images inside, columns image, filename, premise, hypothesis, label (0
entailment, 1 neutral, 2 contradiction); and the JSON lines of the original release (Flickr30K_ID, sentence2,
gold_label) beside a folder `flickr30k-images`. Both are read in parts, and no image is touched.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from verdict.base import paths
from verdict.base.files.embedded import IMAGE_COLUMN
from verdict.base.files.fetch import download
from verdict.base.files.picture_files import EXTENSIONS
from verdict.base.labels import Label
from verdict.base.params import ShardParams

FOLDER = "snli_ve"
IMAGES = "flickr30k-images"
TRAIN, VALIDATION = "train", "validation"
# In the order of the ids of the published shards; a shard that names its own order is read by that.
CLASSES = (Label.ENTAILMENT.text, "neutral", Label.CONTRADICTION.text)
NO_LABEL = "-"
BATCH_ROWS = 8192
Facts = dict[str, int | float | str]
COLUMNS = {
    "file": ("filename", "file_name", "image_id", "flickr30k_id", "flikr30kid", "flickr_id"),
    "hypothesis": ("hypothesis", "sentence2"),
    "label": ("label", "gold_label"),
}
_PART_OF = {"train": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "dev": VALIDATION}


def locate(shards: Sequence[ShardParams]) -> tuple[Path, dict[str, list[Path]]]:
    """The corpus' folder and its files by split: the user's copy, or downloads; an error says what to set."""
    root, found = paths.local_data(FOLDER), {TRAIN: [], VALIDATION: []}
    if root is None:
        if not shards or not all(shard.sha256 for shard in shards):
            way = f"set VERDICT_DATA to a folder that holds it as {FOLDER}/"
            other = "give split, url and sha256 of every shard in data.snli_ve.shards"
            raise ValueError(f"the SNLI-VE corpus is not here: {way}, or {other}")
        root = paths.download_cache() / FOLDER
        for shard in shards:
            path = root / f"{shard.split}-{shard.sha256[:16]}.parquet"
            found[shard.split].append(download(shard.url, sha256=shard.sha256, path=path))
    else:
        # Parquet where there is any, else JSON lines.
        by_form = (sorted(filter(Path.is_file, root.glob(f"**/{name}"))) for name in ("*.parquet", "snli_ve_*.jsonl"))
        files = next(filter(None, by_form), [])
        found = {split: [path for path in files if split_of(path) == split] for split in found}
    for split, files in found.items():
        if not files:
            wanted = f"{split}*.parquet or snli_ve_{'dev' if split == VALIDATION else split}.jsonl"
            raise FileNotFoundError(f"{root} holds no {split} split of SNLI-VE; expected {wanted}")
    return root, found


def split_of(path: Path) -> str:
    """The split that a file's name begins with, or else its folder's name; "" for another."""
    for name in (path.stem.lower().removeprefix("snli_ve_"), path.parent.name.lower()):
        if found := _PART_OF.get(re.split(r"[^a-z]", name, maxsplit=1)[0]):
            return found
    return ""


def read_split(files: Sequence[Path]) -> tuple[pd.DataFrame, Facts]:
    """Rows of a split's files that have a binary label, in the order of files and rows: image_id (the Flickr30k id),
    hypothesis, label, file and row (that hold the image, or the table and -1 where images are files of their own).

    Facts count these rows and those passed over, and say where the meaning of integer labels came from: "shard",
    "documented", or "names" for labels in words. ValueError names file, row and cause.
    """
    parts, labels, orders = [], Counter(), set()
    for path in files:
        for part, order in _parquet_parts(path) if path.suffix == ".parquet" else _json_parts(path):
            labels.update(part["label"])
            parts.append(part[part["label"].isin([label.text for label in Label])])
            orders.add(order)
    rows = pd.concat(parts, ignore_index=True).astype({"file": "category", "row": "int64"})
    facts: Facts = {"rows": len(rows), "rows_neutral": labels["neutral"], "rows_unlabelled": labels[NO_LABEL]}
    return rows, facts | {"label_order": ", ".join(sorted(orders))}


def image_id(name: str) -> str:
    """Flickr30k id of a file name or caption id: "flickr30k-images/36979.jpg#2" → "36979"."""
    path = PurePath(name.strip().split("#", 1)[0])
    return path.stem if path.suffix.lower() in EXTENSIONS else path.name


def find_columns(names: Sequence[str], path: Path) -> dict[str, str]:
    """Which column of a file holds the image's name, the hypothesis and the label; ValueError lists those found."""
    found = {}
    for ours, accepted in COLUMNS.items():
        hits = [name for alias in accepted for name in names if name.strip().casefold() == alias]
        if not hits:
            raise ValueError(f"{path}: no column for {ours!r} (accepted: {list(accepted)}); found {list(names)}")
        found[ours] = hits[0]
    return found


Codes = dict[object, str]


def _codes(names: Sequence[str] = CLASSES) -> Codes:
    """What labels mean: integers by their order, words by themselves."""
    return dict(enumerate(names)) | {-1: NO_LABEL, NO_LABEL: NO_LABEL} | {name: name for name in CLASSES}


def _labels_of(schema: pa.Schema, column: str, path: Path) -> tuple[Codes, str]:
    """Names that a shard's own description gives to integer labels, or else the documented order; and which."""
    if not pa.types.is_integer(schema.field(column).type):
        return _codes(), "names"
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = tuple(described["info"]["features"][column]["names"])
    except (ValueError, KeyError, TypeError):
        return _codes(), "documented"
    if sorted(names) != sorted(CLASSES):
        raise ValueError(f"{path}: its labels are {list(names)}, expected {list(CLASSES)} in some order")
    return _codes(names), "shard"


def _parquet_parts(path: Path) -> Iterator[tuple[pd.DataFrame, str]]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = find_columns(names, path)
            if IMAGE_COLUMN not in names:
                raise ValueError(f"{path}: no column {IMAGE_COLUMN!r} with the images inside; found {names}")
            codes, order = _labels_of(file.schema_arrow, columns["label"], path)
            first = 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns.values())):
                cells = {ours: batch.column(theirs).to_pylist() for ours, theirs in columns.items()}
                rows = np.arange(first, first + len(batch))
                yield _part(cells, path, rows, codes), order
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}") from error


def _json_parts(path: Path) -> Iterator[tuple[pd.DataFrame, str]]:
    """Rows of a JSON lines file; the images are files of their own, so that no row holds one."""
    with path.open(encoding="utf-8") as file:
        lines = enumerate(file)
        while batch := list(itertools.islice(lines, BATCH_ROWS)):
            records = []
            for row, text in batch:
                try:
                    record = json.loads(text)
                except ValueError as error:
                    raise ValueError(f"{path}, row {row}: {error}") from error
                records.append({ours: record[theirs] for ours, theirs in find_columns(list(record), path).items()})
            cells = {ours: [record[ours] for record in records] for ours in COLUMNS}
            rows = np.arange(batch[0][0], batch[0][0] + len(batch))
            yield _part(cells, path, rows, _codes()).assign(row=-1), "names"


def _part(cells: Mapping[str, list[object]], path: Path, rows: np.ndarray, codes: Codes) -> pd.DataFrame:
    """One part as a frame; the first cell that cannot be read is refused with file and row."""
    for row, name, hypothesis, label in zip(rows, cells["file"], cells["hypothesis"], cells["label"], strict=True):
        for column, value in (("file", name), ("hypothesis", hypothesis)):
            if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
                raise ValueError(f"{path}, row {row}: the {column} is {value!r}, expected text")
        if type(label) not in (int, str) or label not in codes:
            raise ValueError(f"{path}, row {row}: unknown label {label!r}; expected one of {list(codes)}")
    frame = {
        "image_id": [image_id(str(name)) for name in cells["file"]],
        "hypothesis": [" ".join(str(text).split()) for text in cells["hypothesis"]],
        "label": [codes[label] for label in cells["label"]],
    }
    return pd.DataFrame(frame, dtype="str").assign(file=str(path), row=rows)
