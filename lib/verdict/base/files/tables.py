"""Tables that people write: CSV or JSON lines in their own encoding, or Parquet, read in full or refused.

One reader for pairs, for tables of pictures and for what a model said. What a spreadsheet adds is passed over and
counted: its mark of the encoding, a line `sep=;`, rows and columns without content, blank cells behind the last column.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from verdict.base.files.kinds import kind_of
from verdict.base.refusals import listed, shown

MAX_FILE_BYTES = 500_000_000
MAX_FIELD_CHARACTERS = 10_000
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
DELIMITERS = ",;\t"
_SEP = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Table:
    """A table as it was read, its columns by name: text, without outer blanks, or numbers of a Parquet file, float64
    (n,); a column with content but no name is `column <n>`. `lines` are those on which rows begin, counted as an editor
    does; the delimiter is "" for JSON lines; facts say how the file was read, as a report states it.
    """

    path: Path
    columns: dict[str, Sequence[str] | np.ndarray]
    lines: Sequence[int]
    delimiter: str
    facts: dict[str, int | str]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    def place(self, row: int) -> str:
        """A row as messages name it; of a Parquet file rows are counted from 1."""
        return f"{'row' if self.path.suffix.lower() == PARQUET else 'line'} {self.lines[row]}"

    def column(self, name: str) -> list[str]:
        """The cells of a column, as text."""
        cells = self.columns[name]
        return list(map(repr, cells.tolist()) if isinstance(cells, np.ndarray) else cells)


def column_key(name: str) -> str:
    """A column's name as it is compared: without case, blanks and hyphens as underscores."""
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def decode_text(content: bytes, source: str) -> tuple[str, str]:
    """Turn bytes into text, with the encoding's name, without guessing beyond what can be checked.

    A byte order mark decides; else strict UTF-8; else Windows-1252, unless the bytes look like UTF-8 that was damaged.
    ValueError names the source and what the file is, or the offset of the first byte that fits no encoding, or a NUL.
    """
    kind, remedy = kind_of(content)
    if kind:
        raise ValueError(f"{source} is {kind}, where a table is read; {remedy}")
    marked = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "")
    encoding = marked or "utf-8"
    try:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            if marked or _UTF8_SEQUENCE.search(content):
                raise
            encoding = "cp1252"
            text = content.decode(encoding)
    except UnicodeDecodeError as error:
        # What is behind the mark of UTF-8 is counted from its own beginning.
        offset = error.start + 3 * (encoding == "utf-8-sig")
        byte = f"0x{content[offset]:02x}" if offset < len(content) else "the end"
        raise ValueError(
            f"{source}: {byte} at byte offset {offset} is not {encoding}; save the table again as UTF-8"
        ) from error
    if (nul := text.find("\0")) >= 0:
        raise ValueError(f"{source}: NUL character at position {nul}; is it a binary file, or UTF-16 without its mark?")
    return text, encoding


def read_table(
    path: Path,
    *,
    max_bytes: int = MAX_FILE_BYTES,
    is_used: Callable[[str], bool] = lambda key: True,
    may_nest: bool = False,
) -> Table:
    """Read a CSV, JSON lines by the suffix .jsonl or .ndjson or by a first character that is a brace, or Parquet.

    A CSV is divided by the one of comma, semicolon and tab that its header holds most of. Its first row names the
    columns. JSON values under keys that are not used may be anything, and are not read; lists and mappings under
    others are refused, or kept as JSON text where they may be there. ValueError names the file, the
    line and the cause for whatever cannot be read in full.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, where a file is read" if path.is_dir() else "is missing"
        raise FileNotFoundError(f"table {path} {what}")
    if (n_bytes := path.stat().st_size) > max_bytes:
        raise ValueError(f"{path} has {n_bytes:,} bytes; at most {max_bytes:,} are read")
    if path.suffix.lower() == PARQUET:
        return _read_parquet(path, may_nest=may_nest)
    text, encoding = decode_text(path.read_bytes(), str(path))
    if "\ufffd" in text:
        line = len(re.findall(r"\r\n|\r|\n", text[: text.index("\ufffd")])) + 1
        raise ValueError(f"{path}, line {line}: a character was already lost (U+FFFD); export the table again")
    start = text.lstrip()[:1]
    if start == "[":
        raise ValueError(f"{path} is one JSON array; write one object a line (JSON lines), or a CSV")
    is_json = path.suffix.lower() in JSON_LINES or start == "{"
    delimiter = "" if is_json else _delimiter(text)
    read = list(_json_records(text, path, is_used, may_nest) if is_json else _csv_records(text, path, delimiter))
    records = [(line, cells) for line, cells in read if any(cells)]
    if not records:
        raise ValueError(f"{path} holds nothing")
    names = records.pop(0)[1]
    columns = _columns_with_content(names, records, path)
    if not records:
        raise ValueError(f"{path}: the table has no rows below its header")
    blank = {
        "blank_rows_passed_over": len(read) - len(records) - 1,
        "blank_columns_passed_over": len(names) - len(columns),
    }
    facts = {"encoding": encoding, **{name: n for name, n in blank.items() if n}}
    lines, cells = zip(*records, strict=True)
    by_place = list(zip(*cells, strict=False))
    return Table(path, {name: by_place[place] for place, name in columns.items()}, lines, delimiter, facts)


def _columns_with_content(names: list[str], records: list[tuple[int, list[str]]], path: Path) -> dict[int, str]:
    """Names by place, of the columns that have one or any content."""
    for line, cells in records:
        # A spreadsheet writes blank cells behind the last column of a row.
        if any(cells[len(names) :]) or len(cells) < len(names):
            hint = "; put texts that hold the delimiter in quotes" if len(cells) > len(names) else ""
            raise ValueError(f"{path}, line {line}: {len(cells)} cells where the header has {len(names)}{hint}")
    if twice := sorted(name for name, n in Counter(filter(None, names)).items() if n > 1):
        raise ValueError(f"{path}: the header names a column twice: {listed(twice)}")
    is_kept = [bool(name) or any(cells[place] for _, cells in records) for place, name in enumerate(names)]
    return {place: names[place] or f"column {place + 1}" for place, kept in enumerate(is_kept) if kept}


def _delimiter(text: str) -> str:
    """The mark that a line `sep=;` names, or that the header holds most of outside of quotes; a comma where none is."""
    if stated := _SEP.match(text):
        return stated[1]
    header = re.sub(r'"[^"]*"', "", re.split(r"\r|\n", text.lstrip("\r\n"), maxsplit=1)[0])
    return max(DELIMITERS, key=header.count)


def _csv_records(text: str, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows, the header first, each with the number of the line on which it begins; blank lines are passed over."""
    n_skipped = stated.end() if (stated := _SEP.match(text)) else 0
    reader = csv.reader(io.StringIO(text[n_skipped:], newline=""), delimiter=delimiter, strict=True)
    first = line = 2 if n_skipped else 1
    try:
        for row in reader:
            _check_fields(row, path, line)
            if row:
                yield line, [cell.strip() for cell in row]
            line = first + reader.line_num
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error}") from error


def _check_fields(fields: Sequence[str], path: Path, line: int) -> None:
    longest = max((len(field) for field in fields), default=0)
    if longest > MAX_FIELD_CHARACTERS:
        told = f"a field of {longest:,} characters, at most {MAX_FIELD_CHARACTERS:,} are read"
        raise ValueError(f"{path}, line {line}: {told}; is a quotation mark not closed?")


def _unique_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in items}) != len(items):
        raise ValueError(f"a key occurs twice in {listed([key for key, _ in items])}")
    return dict(items)


def _json_text(value: Any, name: str, *, may_nest: bool) -> str:
    """A value as a CSV would write it; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if may_nest and isinstance(value, list | dict):
        return json.dumps(value)
    if not isinstance(value, str | int | float):
        raise ValueError(f"{shown(name)} is {shown(value)}, expected text or a number")
    return value.strip() if isinstance(value, str) else repr(value)


def _read_parquet(path: Path, *, may_nest: bool) -> Table:
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    names = [name.strip() for name in table.column_names]
    if not table.num_rows or len(set(names)) < len(names):
        raise ValueError(f"{path}: no rows, or two columns of one name: {listed(names)}")
    columns: dict[str, Sequence[str] | np.ndarray] = {}
    for name, column in zip(names, table.columns, strict=True):
        if pyarrow.types.is_floating(column.type) and not column.null_count:
            columns[name] = column.to_numpy().astype(np.float64)
            continue
        try:
            cells = [_json_text(_plain(value), name, may_nest=may_nest) for value in column.to_pylist()]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, column {name!r}: {error}") from None
        longest = max(range(len(cells)), key=lambda row: len(cells[row]))
        _check_fields(cells[longest : longest + 1], path, longest + 1)
        columns[name] = cells
    return Table(path, columns, range(1, table.num_rows + 1), "", {"encoding": "Parquet"})


def _plain(value: Any) -> Any:
    """A Parquet value as JSON has it: dates as text."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def _json_records(
    text: str, path: Path, is_used: Callable[[str], bool], may_nest: bool
) -> Iterator[tuple[int, list[str]]]:
    """The keys of the first object, then the values of each."""
    names: list[str] = []
    for line, content in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content, object_pairs_hook=_unique_keys)
            if not isinstance(record, dict):
                raise ValueError(f"expected an object, got {type(record).__name__}")
            record = {key.strip(): value for key, value in record.items()}
            if not names:
                names = list(record)
                yield line, names
            if set(record) != set(names):
                raise ValueError(f"keys {listed(sorted(record))} where the first line has {listed(sorted(names))}")
            cells = [
                _json_text(record[name], name, may_nest=may_nest) if is_used(column_key(name)) else "" for name in names
            ]
            if any(map(_SURROGATE.search, cells)):
                raise ValueError("half a surrogate pair, which is no character; export the table again")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
        _check_fields(cells, path, line)
        yield line, cells


def find_columns(
    table: Table, aliases: Mapping[str, Sequence[str]], needed: Sequence[str], *, parts: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which column of a file is which of ours, names of the file by ours, by the names accepted for it (see
    `column_key`).

    A needed column that no accepted name fits may be found by a part of its name. ValueError if two columns would be
    one of ours, or a needed one is not there.
    """
    found: dict[str, str] = {}
    for name in table.names:
        ours = next((ours for ours, names in aliases.items() if column_key(name) in names), None)
        if ours in found:
            raise ValueError(f"{table.path}: the columns {[found[ours], name]} would both be {ours}; keep one")
        if ours is not None:
            found[ours] = name
    for ours in needed if parts else ():
        hits = [] if ours in found else [name for name in table.names if parts[ours] in name.casefold()]
        if len(hits) > 1:
            raise ValueError(f"{table.path}: the columns {hits} would all be {ours}; rename all but one")
        for other, name in found.items():
            if hits == [name]:
                raise ValueError(f"{table.path}: the column {name!r} would be both {other} and {ours}; rename it")
        if hits:
            found[ours] = hits[0]
    if missing := [ours for ours in needed if ours not in found]:
        accepted = {ours: list(aliases[ours]) for ours in missing}
        raise ValueError(
            f"{table.path}: no column for {missing}; found {listed(table.names)}, accepted names are {accepted}"
        )
    return found
