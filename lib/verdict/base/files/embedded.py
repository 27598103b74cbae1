"""Images inside parquet shards: named by shard and row, read as encoded bytes, decoded elsewhere.

A shard is what the `datasets` library writes: a column `image` of structs {bytes, path}, or of plain binary, in row
groups of about a hundred rows. One row group is in memory at a time, so that memory does not grow with the shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

IMAGE_COLUMN = "image"
SUFFIX = ".parquet"
BATCH_ROWS = 64


def is_embedded(file: str) -> bool:
    """Whether an entry of an image store names a parquet shard."""
    return file.endswith(SUFFIX)


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
            column = _bytes_column(file.schema_arrow, shard)
            if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < file.metadata.num_rows:
                raise ValueError(f"{shard} has {file.metadata.num_rows} rows, row {wanted[-1]} is asked for")
            yield from _read(file, column, wanted, shard)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard} is not a readable parquet file: {error}") from error


def hash_embedded(shard: Path, rows: Sequence[int]) -> dict[int, str]:
    """SHA-256 of the encoded images of some rows of a shard, by row; see `read_embedded`."""
    return {row: hashlib.sha256(content).hexdigest() for row, content in read_embedded(shard, rows)}


def _bytes_column(schema: pa.Schema, shard: Path) -> str:
    """Name of the column that holds encoded bytes."""
    if IMAGE_COLUMN not in schema.names:
        raise ValueError(f"{shard} has no column {IMAGE_COLUMN!r}; found {schema.names}")
    kind = schema.field(IMAGE_COLUMN).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{IMAGE_COLUMN}.bytes"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return IMAGE_COLUMN
    raise ValueError(f"{shard}: the column {IMAGE_COLUMN!r} is {kind}, expected bytes, or a struct that holds them")


def _read(file: pq.ParquetFile, column: str, wanted: np.ndarray, shard: Path) -> Iterator[tuple[int, bytes]]:
    first = 0
    for group in range(file.metadata.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        here = wanted[(wanted >= first) & (wanted < first + n_rows)]
        start, first = first, first + n_rows
        if not len(here):
            continue
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=[column]):
            images = batch.column(0)
            images = images.field("bytes") if pa.types.is_struct(images.type) else images
            for row in here[(here >= start) & (here < start + len(images))]:
                content = images[int(row) - start].as_py()
                if content is None:
                    raise ValueError(f"{shard}, row {row}: the image is not embedded, its bytes are empty")
                yield int(row), content
            start += len(images)
            if start > here[-1]:
                break
