"""Files of saved logits as named arrays: npz or a table. Nothing that could run code is read, no pickles.

An npz holds `logits` (n, K) and `labels` (n,), and may hold `human_counts` (n, K), `features` (n, d) of what the model
saw, and others. A table (see `tables`)
has the columns `label`, `logit_<class>` and perhaps `human_<class>`, a class being its id or its name.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verdict.data.kinds import MAX_HEAD, PICKLE, kind_of
from verdict.data.own.tables import Table, column_key, find_columns, listed, read_table, shown

MAX_BYTES = 2_000_000_000
LOGITS, LABELS, HUMAN, FEATURES = "logits", "labels", "human_counts", "features"
LOGIT_PREFIX, HUMAN_PREFIX = "logit_", "human_"
ALIASES = {"label": ("label", "labels", "gold_label", "true_label", "label_name", "y_true", "target", "class")}
SAVE = "save them as numpy.savez(path, logits=..., labels=...)"


@dataclass(frozen=True)
class Saved:
    """What a file holds: arrays by name, and the line of each row in a table; None for arrays."""

    path: Path
    arrays: dict[str, np.ndarray]
    lines: list[int] | None = None

    def place(self, row: int) -> str:
        """A row as messages name it."""
        return f"row {row} (counted from 0)" if self.lines is None else f"line {self.lines[row]}"


def read_saved(path: Path, class_names: Sequence[str]) -> Saved:
    """The arrays of an `.npz`, or the columns of a table put together under the same names in the order of the classes.

    ValueError names the file for a pickle, an array of objects, a damaged or too large file, a bad cell.
    """
    _check_bytes(path)
    return Saved(path, _read_npz(path)) if path.suffix.lower() == ".npz" else _read_table(path, class_names)


def read_numbers(path: Path, class_names: Sequence[str]) -> Saved:
    """The one array of an npz or npy, or a table's columns of numbers, under the name `human_counts`.

    A table's columns are those called by the classes, with or without `human_`, or else all of them in their order.
    ValueError as from `read_saved`, and for an npz that holds several arrays, none of them called so.
    """
    _check_bytes(path, may_be_bare=True)
    if path.suffix.lower() == ".npy":
        return Saved(path, {HUMAN: _loaded(path)})
    if path.suffix.lower() != ".npz":
        table = read_table(path, max_bytes=MAX_BYTES)
        keys = {column_key(name).removeprefix(HUMAN_PREFIX): name for name in table.names}
        wanted = [column_key(name) for name in class_names]
        names = [keys[key] for key in wanted] if set(wanted) <= set(keys) else table.names
        return Saved(path, {HUMAN: _numbers(table, names)}, table.lines)
    arrays = _read_npz(path)
    if HUMAN not in arrays and len(arrays) != 1:
        raise ValueError(f"{path}: expected one array, or one called {HUMAN}, found {listed(sorted(arrays))}")
    return Saved(path, {HUMAN: arrays.get(HUMAN, next(iter(arrays.values())))})


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an npz archive; {SAVE}")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith(".pkl") for member in members):
        raise ValueError(f"{path} holds a pickle, which could run code when it is read; {SAVE}")
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise ValueError(f"{path} unpacks to {size:,} bytes; at most {MAX_BYTES:,} are read")
    return _loaded(path)


def _loaded(path: Path) -> Any:
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return stored
        with stored:
            # A member that is no array is given as its bytes.
            return {name: np.asarray(stored[name]) for name in stored.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        cause = "an array holds Python objects, which are pickles" if "pickle" in str(error) else str(error)
        raise ValueError(f"{path} cannot be read as arrays: {cause}") from None


def _check_bytes(path: Path, *, may_be_bare: bool = False) -> None:
    if (n_bytes := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {n_bytes:,} bytes; at most {MAX_BYTES:,} are read")
    with path.open("rb") as file:
        start = file.read(MAX_HEAD)
    if kind_of(start)[0] == PICKLE:
        raise ValueError(f"{path} is {PICKLE}; {SAVE}")
    if start.startswith(b"\x93NUMPY") and not (may_be_bare and path.suffix.lower() == ".npy"):
        raise ValueError(f"{path} is one bare array, and logits are read with their labels; {SAVE}")


def _read_table(path: Path, class_names: Sequence[str]) -> Saved:
    table = read_table(path, max_bytes=MAX_BYTES)
    keys = {name: column_key(name) for name in table.names}
    arrays: dict[str, np.ndarray] = {}
    for prefix, target in ((LOGIT_PREFIX, LOGITS), (HUMAN_PREFIX, HUMAN)):
        if own := [name for name, key in keys.items() if key.startswith(prefix)]:
            arrays[target] = _numbers(table, _class_columns(table, own, prefix, class_names))
            keys = {name: key for name, key in keys.items() if name not in own}
    if LOGITS not in arrays:
        wanted = listed([f"{LOGIT_PREFIX}{name}" for name in class_names])
        hint = _one_column(class_names) if {"logit", "logits", "score"} & set(keys.values()) else ""
        raise ValueError(f"{path}: there is no column {wanted}; found {listed(table.names)}{hint}")
    label = find_columns(table, ALIASES, ()).get("label")
    others = {LABELS if name == label else name: np.array(table.column(name), dtype=str) for name in keys}
    return Saved(path, others | arrays, table.lines)


def _one_column(class_names: Sequence[str]) -> str:
    """What to do with the one logit that a binary model gives."""
    first, second = [*class_names, "…", "…"][:2]
    return (
        f"; one column of logits is a binary model's: write two, {LOGIT_PREFIX}{first} with 0 and "
        f"{LOGIT_PREFIX}{second} with the logit"
    )


def _class_columns(table: Table, own: list[str], prefix: str, class_names: Sequence[str]) -> list[str]:
    """The columns of a prefix in the order of the classes, whether they are named by id or by name."""
    named = {column_key(name)[len(prefix) :]: name for name in own}
    for wanted in ([column_key(name) for name in class_names], [str(k) for k in range(len(class_names))]):
        if set(wanted) == set(named) and len(set(wanted)) == len(class_names):
            return [named[key] for key in wanted]
    by_name = {name.strip()[len(prefix) :]: name for name in own}
    if set(by_name) == set(class_names):
        return [by_name[name] for name in class_names]
    hint = _one_column(class_names) if prefix == LOGIT_PREFIX and len(own) == 1 else ""
    raise ValueError(
        f"{table.path}: the columns {listed(own)} are not {prefix}<class> for each of {listed(class_names)}{hint}"
    )


def _numbers(table: Table, names: Sequence[str]) -> np.ndarray:
    """Columns as numbers, float64 (n, n_names); a decimal comma is read where a comma divides no cells."""
    columns = {name: table.column(name) for name in names}
    joined = "".join(map("".join, columns.values()))
    if "," in joined and table.delimiter != ",":
        if "." in joined:
            raise ValueError(
                f"{table.path}: some numbers have a decimal comma and some a point; write all of them alike"
            )
        decimal = re.compile(r"^([+-]?[0-9]*),([0-9]+)")
        columns = {name: [decimal.sub(r"\1.\2", cell) for cell in cells] for name, cells in columns.items()}
    numbers = np.empty((len(table.lines), len(names)))
    for k, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            try:
                # Python reads 1_5 as 15, and digits of any script: no table means that.
                numbers[row, k] = float(cell if cell.isascii() and "_" not in cell else "")
            except ValueError:
                what = "is empty" if not cell else f"{shown(cell)} is not a number"
                raise ValueError(f"{table.path}, line {table.lines[row]}, column {name!r}: {what}") from None
    return numbers
