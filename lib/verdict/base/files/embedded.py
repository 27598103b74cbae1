"""Images inside parquet shards: named by shard and row, read as encoded bytes, decoded elsewhere.

A shard is what the `datasets` library writes: a column `image` of structs {bytes, path}, or of plain binary, in row
groups of about a hundred rows. One row group is in memory at a time, so that memory does not grow with the shards.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

IMAGE_COLUMN = "image"


def is_embedded(file: str) -> bool:
    """Whether an entry of an image store names a parquet shard."""
    return file.endswith(".parquet")


def read_embedded(shard: Path, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Encoded images of some rows (counted from 0) of a shard, in ascending order of the row, each row once.

    FileNotFoundError if there is no such shard; ValueError names shard and row if it is damaged or has no such column
    or row, or a wanted row holds no bytes.
    """
    shard, wanted = Path(shard), np.unique(np.asarray(rows, dtype=np.int64))
    if not shard.is_file():
        raise FileNotFoundError(f"image shard {shard} is missing")
    try:
        with pq.ParquetFile(shard) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            kind = found.get(IMAGE_COLUMN, "")
            if not re.match("(large_)?binary|struct<.*bytes: ", kind):
                raise ValueError(f"{shard} has no column 'image' of bytes or of structs with them; found {found}")
            column = f"{IMAGE_COLUMN}.bytes" if kind.startswith("struct") else IMAGE_COLUMN
            if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < file.metadata.num_rows:
                raise ValueError(f"{shard} has {file.metadata.num_rows} rows, row {wanted[-1]} is asked for")
            yield from _read(file, column, wanted, shard)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard} is not a readable parquet file: {error}") from error


def hash_embedded(shard: Path, rows: Sequence[int]) -> dict[int, str]:
    """SHA-256 of the encoded images of some rows of a shard, by row; see `read_embedded`."""
    return {row: hashlib.sha256(content).hexdigest() for row, content in read_embedded(shard, rows)}


def _read(file: pq.ParquetFile, column: str, wanted: np.ndarray, shard: Path) -> Iterator[tuple[int, bytes]]:
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    for group in np.unique(np.searchsorted(ends, wanted, side="right")):
        first = ends[group] - sizes[group]
        images = file.read_row_group(int(group), columns=[column]).flatten().column(0)
        for row in wanted[(wanted >= first) & (wanted < ends[group])]:
            content = images[int(row - first)].as_py()
            if content is None:
                raise ValueError(f"{shard}, row {row}: the image is not embedded, its bytes are empty")
            yield int(row), content
