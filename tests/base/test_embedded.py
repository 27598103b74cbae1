"""Images inside parquet shards: by row, in batches, and refused by shard and row."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mini_corpora import encoded, image_ids, photo, ve_rows, write_shard
from verdict.base.artifacts import sha256_file
from verdict.base.files.embedded import hash_embedded, read_embedded
from verdict.base.files.images import ImageStore, write_folder_store
from verdict.data.photos.snli_ve import same_picture

IDS = image_ids(23)


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "train-0.parquet", ve_rows(IDS, n=1), row_group_size=7)


def plain(path, images, **options):
    pq.write_table(pa.table({"image": images}), path, **options)
    return path


def test_rows_come_in_order_once_and_as_they_were_written(shard):
    found = list(read_embedded(shard, [22, 3, 3, 0, 8]))
    assert found == [(row, encoded(row, quality=70)) for row in (0, 3, 8, 22)]
    assert hash_embedded(shard, [8]) == {8: hashlib.sha256(encoded(8, quality=70)).hexdigest()}
    assert list(read_embedded(shard, [])) == []


def test_a_row_group_longer_than_a_batch_is_read_in_parts(tmp_path):
    contents = [str(k).encode() for k in range(211)]
    for size in (300, 100, 64, 1):
        path = plain(tmp_path / f"{size}.parquet", pa.array(contents, pa.large_binary()), row_group_size=size)
        assert [content for _, content in read_embedded(path, range(211))] == contents
        assert list(read_embedded(path, [64, 128, 210])) == [(64, b"64"), (128, b"128"), (210, b"210")]


def test_only_row_groups_that_are_asked_for_are_read(shard, monkeypatch):
    asked = []
    whole = pq.ParquetFile.iter_batches

    def spied(self, *args, row_groups, columns, **options):
        asked.append((row_groups, columns))
        return whole(self, *args, row_groups=row_groups, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spied)
    list(read_embedded(shard, [8, 15]))
    assert asked == [([1], ["image.bytes"]), ([2], ["image.bytes"])]


def test_memory_does_not_grow_with_the_shard(tmp_path):
    size, n_rows, before = 20_000, 1200, pa.total_allocated_bytes()
    contents = (np.random.default_rng(k).bytes(size) for k in range(n_rows))
    path = plain(tmp_path / "a.parquet", pa.array(contents, pa.binary()), row_group_size=30)
    held = [pa.total_allocated_bytes() - before for _ in read_embedded(path, range(n_rows))]
    assert len(held) == n_rows
    assert max(held) < 6 * 30 * size < n_rows * size / 5


def test_faults_name_shard_and_row(tmp_path, shard):
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet is missing"):
        list(read_embedded(tmp_path / "gone.parquet", [0]))
    with pytest.raises(ValueError, match=r"train-0\.parquet has 23 rows, row 23 is asked for"):
        list(read_embedded(shard, [23]))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"train-0\.parquet is not a readable parquet file"):
        list(read_embedded(shard, [0]))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    outside = plain(tmp_path / "o.parquet", pa.array([{"bytes": None, "path": "a.jpg"}], kind))
    with pytest.raises(ValueError, match=r"o\.parquet, row 0: the image is not embedded"):
        list(read_embedded(outside, [0]))
    with pytest.raises(ValueError, match="the column 'image' is int64, expected bytes"):
        list(read_embedded(plain(tmp_path / "i.parquet", pa.array([1])), [0]))
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"has no column 'image'; found \['picture'\]"):
        list(read_embedded(tmp_path / "p.parquet", [0]))


def store_of(folder, shard, rows, files=None):
    found = hash_embedded(shard, rows)
    index = pd.DataFrame({"image_id": [f"e{row}" for row in rows], "file": str(shard), "row": rows})
    hashes = {image_id: sha256_file(path) for image_id, path in (files or {}).items()}
    write_folder_store(folder, files or {}, hashes, index.assign(sha256=[found[row] for row in rows]))
    return ImageStore.open(folder)


def test_a_store_shows_files_and_embedded_images_together(tmp_path, shard):
    photo(900).save(tmp_path / "own.png")
    store = store_of(tmp_path / "s", shard, [5, 17], files={"own": tmp_path / "own.png"})
    assert store.ids == ["own", "e5", "e17"]
    pixels = store.load(["e17", "own", "e5", "e17"], size=(47, 61))
    assert np.array_equal(pixels[0], pixels[3]) and np.array_equal(pixels[1], np.asarray(photo(900)))
    for k, number in ((0, 17), (2, 5)):
        assert np.abs(pixels[k].astype(int) - np.asarray(photo(number)).astype(int)).mean() < 6
    assert same_picture(store.thumbnail("e5"), photo(5)) and not same_picture(store.thumbnail("e5"), photo(17))


def test_two_ids_of_one_embedded_image_show_it_both(tmp_path, shard):
    sha = hash_embedded(shard, [4])[4]
    index = pd.DataFrame({"image_id": ["a", "b"], "file": str(shard), "row": 4, "sha256": sha})
    write_folder_store(tmp_path / "s", {}, {}, index)
    pixels = ImageStore.open(tmp_path / "s").load(["a", "b"], size=(5, 5))
    assert np.array_equal(pixels[0], pixels[1]) and pixels[0].std() > 1


def test_a_changed_shard_is_noticed(tmp_path, shard):
    store = store_of(tmp_path / "s", shard, [5])
    write_shard(shard, ve_rows(IDS[::-1], n=1))
    with pytest.raises(ValueError, match=r"train-0\.parquet, row 5 was changed after the image store was written"):
        store.load(["e5"], size=(5, 5))
