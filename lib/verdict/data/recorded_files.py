"""Files of saved logits as named arrays: npz or CSV. Nothing that could run code is read: no pickles, no objects.

An npz holds `logits` (n, K) and `labels` (n,), and may hold `human_counts` (n, K) and others. A CSV has the columns
`label`, `logit_<class>` and perhaps `human_<class>`, a class being its id or its name.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from verdict.data.tables import decode_text

MAX_BYTES = 2_000_000_000
LOGITS, LABELS, HUMAN = "logits", "labels", "human_counts"
LOGIT_PREFIX, HUMAN_PREFIX = "logit_", "human_"
LABEL_COLUMN = "label"


def read_arrays(path: Path, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, or the columns of a CSV put together under the same names.

    Parameters
    ----------
    path : Path
    class_names : sequence of str, (K,)
        By which the columns of a CSV are ordered.

    Raises
    ------
    ValueError
        For a pickle, an array of objects, a damaged or too large file, a bad cell; the message names the file.
    """
    return read_npz(path) if path.suffix == ".npz" else _read_csv(path, class_names)


def read_number_table(path: Path) -> np.ndarray:
    """All cells of a CSV below its header as numbers, float64 (n, n_columns)."""
    _, rows = _csv_rows(path)
    return np.array([[_number(cell, path, line) for cell in row] for line, row in enumerate(rows, start=2)])


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of an npz archive; see `read_arrays` for what is refused."""
    _check_bytes(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an npz archive; save it with numpy.savez")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith(".pkl") for member in members):
        raise ValueError(f"{path} holds a pickle, which could run code when it is read; save arrays with numpy.savez")
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise ValueError(f"{path} unpacks to {size:,} bytes; at most {MAX_BYTES:,} are read")
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files:
                arrays[name] = stored[name]
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        cause = "an array holds Python objects, which are pickles" if "pickle" in str(error) else str(error)
        raise ValueError(f"{path} cannot be read as arrays: {cause}") from None
    return arrays


def _check_bytes(path: Path) -> None:
    if (n_bytes := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {n_bytes:,} bytes; at most {MAX_BYTES:,} are read")
    with path.open("rb") as file:
        start = file.read(6)
    if start[:1] == b"\x80":
        raise ValueError(f"{path} is a pickle, which could run code when it is read; save arrays with numpy.savez")
    if start == b"\x93NUMPY":
        raise ValueError(f"{path} is one bare array; save logits and labels together with numpy.savez")


def _csv_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV; every row has as many cells as the header."""
    _check_bytes(path)
    text, _ = decode_text(path.read_bytes(), str(path))
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        lines = list(reader)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    rows = [row for row in lines[1:] if row]
    if not rows:
        raise ValueError(f"{path} has no rows below its header")
    if len(set(header)) != len(header):
        raise ValueError(f"{path}: a column name stands twice in {header}")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line}: {len(row)} cells for {len(header)} columns")
    return header, rows


def _read_csv(path: Path, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    header, rows = _csv_rows(path)
    columns = {name: [row[place].strip() for row in rows] for place, name in enumerate(header)}
    arrays: dict[str, np.ndarray] = {}
    for prefix, target in ((LOGIT_PREFIX, LOGITS), (HUMAN_PREFIX, HUMAN)):
        own = [name for name in header if name.startswith(prefix)]
        if own:
            order = _class_columns(path, own, prefix, class_names)
            arrays[target] = np.column_stack(
                [[_number(cell, path, line) for line, cell in enumerate(columns[name], start=2)] for name in order]
            )
    if LABEL_COLUMN in columns:
        arrays[LABELS] = _parse_labels(path, columns[LABEL_COLUMN], class_names)
    others = [name for name in header if not name.startswith((LOGIT_PREFIX, HUMAN_PREFIX)) and name != LABEL_COLUMN]
    return arrays | {name: np.array(columns[name], dtype=str) for name in others}


def _class_columns(path: Path, own: list[str], prefix: str, class_names: Sequence[str]) -> list[str]:
    """The columns of a prefix in the order of the classes, whether they are named by id or by name."""
    for wanted in ([f"{prefix}{name}" for name in class_names], [f"{prefix}{k}" for k in range(len(class_names))]):
        if set(wanted) == set(own):
            return wanted
    raise ValueError(f"{path}: the columns {own} are not {prefix}<class> for each of {list(class_names)}")


def _parse_labels(path: Path, cells: list[str], class_names: Sequence[str]) -> np.ndarray:
    """Class ids of a column of names or of ids; names decide where every cell is one."""
    ids = {name: k for k, name in enumerate(class_names)}
    if all(cell in ids for cell in cells):
        return np.array([ids[cell] for cell in cells], dtype=np.int64)
    for line, cell in enumerate(cells, start=2):
        if not (cell.isascii() and cell.isdigit()):
            raise ValueError(f"{path}, line {line}: label {cell!r} is no class id and not one of {list(class_names)}")
    return np.array([int(cell) for cell in cells], dtype=np.int64)


def _number(cell: str, path: Path, line: int) -> float:
    try:
        # Python reads 1_5 as 15, and digits of any script: no table means that.
        return float(cell) if cell.isascii() and "_" not in cell else float("")
    except ValueError:
        raise ValueError(f"{path}, line {line}: {cell!r} is not a number") from None
