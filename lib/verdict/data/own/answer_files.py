"""Files of what a model said: npz, or a table. Nothing that could run code is read, no pickles.

An npz holds `logits`, `log_probs` or `probs`, (n, K) or of two classes (n,), and `labels` (n,), and may hold
`human_counts` (n, K), `features` (n, d) of what the model saw, and others. What a table may hold is in `answers`;
beside it stand `label` and perhaps `human_<class>`, a class being its id or its name.
"""

import difflib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verdict.base.files.kinds import MAX_HEAD, PICKLE, kind_of
from verdict.base.files.tables import Table, column_key, find_columns, read_table
from verdict.base.labels import class_names
from verdict.base.refusals import counted, listed, naming
from verdict.data.own import answers
from verdict.data.own.answers import ANSWER, LOG_PROBS, LOGITS, PROBS, Form, Said
from verdict.stats.scores import check_logits, looks_small

MAX_BYTES = 2_000_000_000
LABELS, HUMAN, FEATURES = "labels", "human_counts", "features"
ARRAYS = {
    **{"logits": LOGITS, "probs": PROBS, "probabilities": PROBS, "softmax": PROBS},
    **dict.fromkeys(("log_probs", "logprobs", "log_softmax"), LOG_PROBS),
}
HUMAN_PREFIXES = ("human", "votes", "human_counts")
ALIASES = {"label": ("label", "labels", "gold_label", "true_label", "label_name", "y_true", "target", "class")}
SAVE = "save them as numpy.savez(path, logits=..., labels=...)"


@dataclass(frozen=True)
class Saved:
    """What a file holds: what the model said, (n, K), in which form and stored as what; other arrays or columns by
    name, labels and people's answers as `labels` and `human_counts`; the table where it is one.
    """

    path: Path
    said: Said
    form: Form
    stored_as: str
    arrays: dict[str, np.ndarray]
    table: Table | None = None

    def place(self, row: int) -> str:
        """A row as messages name it."""
        return counted(row) if self.table is None else self.table.place(row)


@dataclass(frozen=True)
class How:
    """How a file is read: names of the classes, the form ("" for the one that is found) and whether logits may be as
    small as cosines; what is clipped, as in `Form`; whether nobody may have been asked about a row; whether a model
    is yet to be asked, so that the file says nothing of one.
    """

    classes: tuple[str, ...]
    kind: str = ""
    allow_small: bool = False
    smallest: float = 1e-12
    may_lack_people: bool = False
    is_unsaid: bool = False


def read_saved(path: Path, how: How) -> Saved:
    """Read an `.npz`, or a table, as the classes and the parameters say.

    ValueError names the file for a pickle, an array of objects, a damaged or too large file, a bad cell, values that
    are not of their form, and logits that look like something else.
    """
    if path.suffix.lower() == ".npz":
        return _of_arrays(path, read_arrays(path), how)
    _check_bytes(path)
    return of_table(read_table(path, max_bytes=MAX_BYTES, may_nest=True), how)


def of_table(table: Table, how: How) -> Saved:
    """As `read_saved`, of a table that was read."""
    with naming(table.path):
        if how.is_unsaid:
            form = Form(LOG_PROBS, (), how.classes, how.smallest)
            found = Said(np.zeros((len(table.lines), len(how.classes))), {})
        else:
            form = answers.find_form(table.names, how.classes, kind=how.kind, smallest=how.smallest)
            is_text = len(form.columns) != len(how.classes)
            columns = {name: table.column(name) for name in form.names} if is_text else _with_points(table, form.names)
            found = answers.said(form, columns, table.place)
            _refuse_other_scales(form, found.logits, how)
            if ANSWER in form.others and form.kind != ANSWER:
                n = answers.n_contrary(form, found.logits, table.columns, table.place, is_named=bool(how.kind))
                found = replace(found, counts=found.counts | {"n_contrary": n})
        human = answers.class_columns(table.names, HUMAN_PREFIXES, how.classes)
        if "" in human:
            raise ValueError(f"people's answers need a column for each class, found only {max(human)!r}")
    label = find_columns(table, ALIASES, ()).get("label")
    others = [name for name in table.names if name not in {*form.names, *human}]
    arrays = {LABELS if name == label else name: np.array(table.column(name)) for name in others}
    if human:
        arrays[HUMAN] = _numbers(table, human, may_lack=how.may_lack_people)
    return Saved(table.path, found, form, "text", arrays, table)


def _numbers(table: Table, names: Sequence[str], *, may_lack: bool = False) -> np.ndarray:
    """Columns of numbers, (n, len(names))."""
    with naming(table.path):
        cells = _with_points(table, names)

    def place(row: int) -> str:
        return f"{table.path}, {table.place(row)}"

    return np.column_stack([answers.numbers_of(cells[name], name, place, may_lack=may_lack) for name in names])


def _of_arrays(path: Path, arrays: dict[str, np.ndarray], how: How) -> Saved:
    kinds = {name: kind for name, kind in ARRAYS.items() if name in arrays and how.kind in ("", kind)}
    if not kinds:
        raise ValueError(f"{path}: {missing(how.kind or LOGITS, arrays)}")
    name, kind = next(iter(kinds.items()))
    form = Form(kind, (name,), how.classes, how.smallest, others=tuple(list(kinds)[1:]))
    with naming(path):
        found = answers.made_of(form, _matrix(arrays[name], name, how), counted)
        _refuse_other_scales(form, found.logits, how)
    rest = {other: array for other, array in arrays.items() if other != name}
    return Saved(path, found, form, str(arrays[name].dtype), rest)


def _matrix(values: np.ndarray, name: str, how: How) -> np.ndarray:
    """An array as float64 (n, K): of two classes one column is enough, as in `answers`."""
    n_classes, kind = len(how.classes), ARRAYS[name]
    is_number = values.dtype.kind in "fiu"
    if is_number and n_classes == 2 and values.size and (values.ndim == 1 or values.shape[1:] == (1,)):
        return answers.with_other(kind, values.ravel().astype(np.float64), 1 if how.classes == class_names() else 0)
    if not is_number or values.ndim != 2 or not values.size or values.shape[1] < 2:
        wanted = f"have shape (n, {n_classes})" if is_number else "be numbers"
        raise ValueError(f"{name} must {wanted}, got {values.dtype} of shape {values.shape}")
    if values.shape[1] != n_classes:
        raise ValueError(f"{name} have {values.shape[1]} columns for {n_classes} class names")
    return values.astype(np.float64)


def _refuse_other_scales(form: Form, values: np.ndarray, how: How) -> None:
    """Refuse logits, (n, K), that all together look like something else."""
    if form.kind != LOGITS:
        return
    if answers.look_like_probs(values):
        raise ValueError(f"expected logits, got probabilities: {answers.PROBS_AS_LOGITS}")
    total = values.sum(axis=1)
    if values.min() >= 0 and np.abs(total - 1).max() > 1e-5 and np.ptp(total) <= 0.05 * total.mean():
        what = f"rows that are not negative and all sum to about {total.mean():.4g}"
        raise ValueError(f"expected logits, got {what}: these are shares or rounded probabilities; call them probs")
    logits = check_logits(values, allow_small=how.allow_small)
    if not how.allow_small and logits.any(axis=0).all() and np.abs(logits).max() <= 1:
        raise ValueError(f"expected logits, {looks_small(logits)}; set allow_small if they are logits")


def read_numbers(path: Path, class_names: Sequence[str]) -> tuple[np.ndarray, Table | None]:
    """The one array of an npz or npy, or a table's columns of numbers, (n, K), and the table.

    A table's columns are those called by the classes, with or without `human_`, or else all of them in their order.
    ValueError as from `read_saved`, and for an npz that holds several arrays, none of them called `human_counts`.
    """
    _check_bytes(path, may_be_bare=True)
    if path.suffix.lower() == ".npy":
        return _loaded(path), None
    if path.suffix.lower() != ".npz":
        table = read_table(path, max_bytes=MAX_BYTES)
        keys = {column_key(name).removeprefix("human_"): name for name in table.names}
        wanted = [column_key(name) for name in class_names]
        names = [keys[key] for key in wanted] if set(wanted) <= set(keys) else table.names
        return _numbers(table, names), table
    arrays = read_arrays(path)
    if HUMAN not in arrays and len(arrays) != 1:
        raise ValueError(f"{path}: expected one array, or one called {HUMAN}, found {listed(sorted(arrays))}")
    return arrays.get(HUMAN, next(iter(arrays.values()))), None


def missing(name: str, arrays: dict[str, np.ndarray]) -> str:
    """That there is no array or column of a name, with the nearest that there is."""
    near = difflib.get_close_matches(name, arrays, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}? name it {name!r}" if near else ""
    return f"there is no {name!r} among {listed(sorted(arrays))}{hint}"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz; ValueError names the file for a pickle, and for what is damaged or too large."""
    _check_bytes(path)
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


def _with_points(table: Table, names: Sequence[str]) -> dict[str, Sequence[str] | np.ndarray]:
    """Columns of numbers, with points where a comma that divides no cells stands for one."""
    columns = {name: table.columns[name] for name in names}
    if table.delimiter in (";", "\t") and any("," in cell for cells in columns.values() for cell in cells):
        if any("." in cell for cells in columns.values() for cell in cells):
            raise ValueError("some numbers have a decimal comma and some a point; write all of them alike")
        decimal = re.compile(r"^([+-]?[0-9]*),([0-9]+)")
        columns = {name: [decimal.sub(r"\1.\2", cell) for cell in cells] for name, cells in columns.items()}
    return columns
