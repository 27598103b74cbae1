"""Tables of pairs that people write: CSV or JSON lines in their own encoding, read in full or refused."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from verdict.data.pairs import N_LISTED
from verdict.labels import Label, Split

MAX_FILE_BYTES = 500_000_000
MAX_FIELD_CHARACTERS = 10_000
MAX_NAMED = 30
JSON_LINES = (".jsonl", ".ndjson")
ALIASES = {
    "image_id": ("image", "image_id", "imageid", "image_file", "image_name", "img", "file", "file_name", "filename"),
    "hypothesis": ("hypothesis", "hyp", "sentence", "statement"),
    "label": ("label", "gold_label", "label_name"),
    "split": ("split", "set", "fold"),
    "group_id": ("group", "group_id"),
    "premise": ("premise", "caption"),
    "family": ("family", "skill"),
}
PARTS = {"image_id": "image", "hypothesis": "hyp", "label": "label"}
_COLUMN_OF = {alias: column for column, aliases in ALIASES.items() for alias in aliases}
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class PairFile:
    """A table as it was read.

    Attributes
    ----------
    rows : DataFrame
        Text columns under their own names (image_id, hypothesis, and those of label, split, group_id, premise and
        family that the file has) and `line`, the line on which each row ends in the file.
    encoding : str
        How the bytes were read.
    ignored : tuple of str
        Columns that were not used.
    """

    rows: pd.DataFrame
    encoding: str
    ignored: tuple[str, ...]


def decode_text(content: bytes, source: str) -> tuple[str, str]:
    """Turn bytes into text without guessing beyond what can be checked.

    A byte order mark decides; else strict UTF-8; else Windows-1252, unless the bytes look like UTF-8 that was damaged.

    Returns
    -------
    (text, encoding)

    Raises
    ------
    ValueError
        Naming the source and the offset of the first byte that fits no encoding, or of a NUL byte.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return _strict(content, encoding, source), encoding
    if (nul := content.find(b"\0")) >= 0:
        raise ValueError(f"{source}: NUL byte at offset {nul}; is it a binary file, or UTF-16 without its mark?")
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        if _UTF8_SEQUENCE.search(content):
            raise _undecodable(source, content, error.start, "utf-8") from error
    return _strict(content, "cp1252", source), "cp1252"


def _strict(content: bytes, encoding: str, source: str) -> str:
    try:
        text = content.decode(encoding) if encoding != "utf-8-sig" else content[3:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if encoding == "utf-8-sig" else 0)
        raise _undecodable(source, content, offset, encoding) from error
    if "\0" in text:
        raise ValueError(f"{source}: NUL character at position {text.index(chr(0))}; save the table again as UTF-8")
    return text


def _undecodable(source: str, content: bytes, offset: int, encoding: str) -> ValueError:
    byte = f"0x{content[offset]:02x}" if offset < len(content) else "the end"
    return ValueError(f"{source}: {byte} at byte offset {offset} is not {encoding}; save the table again as UTF-8")


def read_pair_file(path: Path, *, labelled: bool = True, by_part: bool = False) -> PairFile:
    """Read a CSV (comma, semicolon or tab) or, by its suffix .jsonl or .ndjson, a JSON lines table.

    Parameters
    ----------
    path : Path
        The file; its first CSV row names the columns, in any case (see `ALIASES`).
    labelled : bool
        Whether a label column is required. Labels and splits are parsed where present.
    by_part : bool
        Whether a needed column of a CSV that no accepted name fits may be found by a part of its name (image, hyp,
        label).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For whatever cannot be read in full: the message names the file, the line and the cause.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"table {path} is missing")
    if (n_bytes := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {n_bytes:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    text, encoding = decode_text(path.read_bytes(), str(path))
    if "\ufffd" in text:
        line = text.count("\n", 0, text.index("\ufffd")) + 1
        raise ValueError(f"{path}, line {line}: a character was already lost (U+FFFD); export the table again")
    is_json = path.suffix.lower() in JSON_LINES
    records, names = _read_json_lines(text, path) if is_json else _read_csv(text, path)
    columns = _columns(names, path, labelled=labelled, by_part=by_part and not is_json)
    if not records:
        raise ValueError(f"{path}: the table has no rows")
    rows = pd.DataFrame({column: [record[name] for _, record in records] for name, column in columns.items()})
    rows = rows.astype("str")
    rows["line"] = [line for line, _ in records]
    _parse_values(rows, path)
    return PairFile(rows, encoding, tuple(name for name in names if name not in columns))


def _columns(names: list[str], path: Path, *, labelled: bool, by_part: bool) -> dict[str, str]:
    """Which column of the file is which of ours."""
    columns: dict[str, str] = {}
    for name in names:
        column = _COLUMN_OF.get(re.sub(r"[\s-]+", "_", name.strip().casefold()))
        if column is None:
            continue
        if column in columns.values():
            both = [other for other, ours in columns.items() if ours == column] + [name]
            raise ValueError(f"{path}: the columns {both} would both be {column}; keep one")
        columns[name] = column
    needed = ["image_id", "hypothesis"] + (["label"] if labelled else [])
    if by_part:
        columns |= _columns_by_part(names, [column for column in needed if column not in columns.values()], path)
    if missing := [column for column in needed if column not in columns.values()]:
        accepted = {column: list(ALIASES[column]) for column in missing}
        found = names if len(names) <= MAX_NAMED else [*names[:MAX_NAMED], f"… {len(names):,} in all"]
        raise ValueError(f"{path}: no column for {missing}; found {found}, accepted names are {accepted}")
    return columns


def _columns_by_part(names: list[str], wanted: list[str], path: Path) -> dict[str, str]:
    """Columns found by a part of their names; a part that fits two names, or a name that two parts fit, is refused."""
    found: dict[str, str] = {}
    for column in wanted:
        hits = [name for name in names if PARTS[column] in name.casefold()]
        if len(hits) > 1:
            raise ValueError(f"{path}: the columns {hits} would all be {column}; rename all but one")
        if hits and hits[0] in found:
            raise ValueError(f"{path}: the column {hits[0]!r} would be both {found[hits[0]]} and {column}; rename it")
        found |= {hits[0]: column} if hits else {}
    return found


def _parse_values(rows: pd.DataFrame, path: Path) -> None:
    """Strip all texts and read labels and splits, in place; the first few faults are listed with their lines."""
    faults = []
    for column in rows.columns.drop("line"):
        rows[column] = rows[column].str.strip()
    for column, parse in (("label", _parse_label), ("split", _parse_split)):
        if column not in rows.columns:
            continue
        parsed = []
        for line, value in zip(rows["line"], rows[column], strict=True):
            try:
                parsed.append(parse(value))
            except ValueError as error:
                parsed.append("")
                faults.append(f"line {line}: {error}")
        rows[column] = pd.Series(parsed, index=rows.index, dtype="str")
    if faults:
        more = f"; and {len(faults) - N_LISTED} more" if len(faults) > N_LISTED else ""
        raise ValueError(f"{path}: {'; '.join(faults[:N_LISTED])}{more}")


def _parse_label(text: str) -> str:
    return Label.parse(text).text


def _parse_split(text: str) -> str:
    if text.lower() not in list(Split):
        raise ValueError(f"unknown split {text!r}; expected one of {[str(s) for s in Split]}")
    return text.lower()


def _delimiter(header: str) -> str:
    """A comma, unless the header has none and holds the separator that some spreadsheets write."""
    if "," in header:
        return ","
    return next((mark for mark in (";", "\t") if mark in header), ",")


def _read_csv(text: str, path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    delimiter = _delimiter(text.split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    records = []
    for line, row in _csv_rows(reader, path):
        if not names:
            names = [name.strip() for name in row]
            if len(set(names)) != len(names):
                raise ValueError(f"{path}: the header names a column twice: {names}")
            continue
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: {len(row)} fields where the header has {len(names)}")
        records.append((line, dict(zip(names, row, strict=True))))
    return records, names


def _csv_rows(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their last line; blank lines hold nothing and are passed over."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
        _check_fields(row, path, reader.line_num)
        if row:
            yield reader.line_num, row


def _check_fields(fields: list[str], path: Path, line: int) -> None:
    if any(map(_SURROGATE.search, fields)):
        raise ValueError(f"{path}, line {line}: half a surrogate pair, which is no character; export the table again")
    longest = max((len(field) for field in fields), default=0)
    if longest > MAX_FIELD_CHARACTERS:
        raise ValueError(
            f"{path}, line {line}: a field of {longest:,} characters, at most {MAX_FIELD_CHARACTERS:,} are "
            f"read; is a quotation mark not closed?"
        )


def _unique_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in items}) != len(items):
        raise ValueError(f"a key occurs twice in {[key for key, _ in items]}")
    return dict(items)


def _json_record(text: str) -> dict[str, Any]:
    record = json.loads(text, object_pairs_hook=_unique_keys)
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, got {type(record).__name__}")
    return {key.strip(): value for key, value in record.items()}


def _json_text(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {value!r}, expected text")
    return value


def _read_json_lines(text: str, path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    names: list[str] = []
    records = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = _json_record(content)
            names = names or list(record)
            if set(record) != set(names):
                raise ValueError(f"keys {sorted(record)} where the first line has {sorted(names)}")
            used = [name for name in names if re.sub(r"[\s-]+", "_", name.casefold()) in _COLUMN_OF]
            fields = {name: _json_text(record[name], name) for name in used}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
        _check_fields(list(fields.values()), path, line)
        records.append((line, fields))
    return records, names
