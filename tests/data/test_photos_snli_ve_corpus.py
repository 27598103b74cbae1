"""The files of SNLI-VE: both published forms, their labels, and refusals by file and row."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mini_corpora import CLASSES, image_ids, ve_rows, write_lines, write_shard
from verdict.base.params import ShardParams
from verdict.data.photos.snli_ve_corpus import find_columns, image_id, locate, read_split, split_of

IDS = image_ids(5)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("VERDICT_DATA", raising=False)
    monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))


def test_the_split_is_in_the_name_of_the_file_or_folder(tmp_path):
    for path, split in {
        "data/train-00014-of-00149.parquet": "train",
        "default/train/0046.parquet": "train",
        "default/validation/0000.parquet": "validation",
        "snli_ve_dev.jsonl": "validation",
        "snli_ve_test.jsonl": "",
        "default/test/0000.parquet": "",
    }.items():
        assert split_of(tmp_path / path) == split, path


def test_without_a_copy_every_shard_needs_its_hash(tmp_path, monkeypatch):
    source = write_shard(tmp_path / "a.parquet", ve_rows(IDS, n=3))
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()

    def shard(split, sha256):
        return ShardParams(split=split, url=source.as_uri(), sha256=sha256)

    for shards in ([], [shard("train", "")], [shard("train", sha256), shard("validation", "")]):
        with pytest.raises(ValueError, match=r"set VERDICT_DATA .* sha256 of every shard in data\.snli_ve\.shards"):
            locate(shards)
    with pytest.raises(FileNotFoundError, match="holds no validation split"):
        locate([shard("train", sha256)])
    with pytest.raises(ValueError, match="does not match the known hash: expected " + "0" * 64):
        locate([shard("train", "0" * 64)])
    root, found = locate([shard("train", sha256), shard("validation", sha256)])
    assert root == tmp_path / "cache" / "snli_ve"
    assert {split: [path.read_bytes() for path in files] for split, files in found.items()} == {
        "train": [source.read_bytes()],
        "validation": [source.read_bytes()],
    }
    (tmp_path / "empty" / "snli_ve").mkdir(parents=True)
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=r"holds no train split .*snli_ve_train\.jsonl"):
        locate([])


def test_rows_of_shards_without_the_neutral_ones(tmp_path):
    files = [write_shard(tmp_path / f"train-{k}.parquet", ve_rows(IDS[2 * k : 2 * k + 2], n=4)) for k in range(2)]
    rows, facts = read_split(files)
    assert facts == {"rows": 12, "rows_neutral": 4, "rows_unlabelled": 0, "label_order": "shard"}
    first = rows.iloc[:3]
    assert first["label"].tolist() == ["entailment", "contradiction", "entailment"]
    assert first["image_id"].tolist() == [IDS[0]] * 3
    assert first["row"].tolist() == [0, 2, 3]
    assert rows["file"].astype("str").unique().tolist() == [str(path) for path in files]


def test_a_shard_that_names_its_order_is_read_by_it(tmp_path):
    """The same integers mean the opposite under the opposite order."""
    other = write_shard(tmp_path / "train-0.parquet", ve_rows(IDS, n=3), names=CLASSES[::-1])
    assert read_split([other])[0]["label"].tolist()[:2] == ["contradiction", "entailment"]
    silent = write_shard(tmp_path / "train-1.parquet", ve_rows(IDS, n=3), names=None)
    rows, facts = read_split([silent])
    assert rows["label"].tolist()[:2] == ["entailment", "contradiction"]
    assert facts["label_order"] == "documented"
    wrong = write_shard(tmp_path / "train-2.parquet", ve_rows(IDS, n=3), names=["yes", "maybe", "no"])
    with pytest.raises(ValueError, match=r"train-2\.parquet: its labels are \['yes', 'maybe', 'no'\]"):
        read_split([wrong])


def test_labels_in_words_and_other_accepted_columns(tmp_path):
    rows = [row | {"label": CLASSES[row["label"]]} for row in ve_rows(IDS, n=3)]
    rows[0]["label"] = "-"
    rows[3]["hypothesis"] = "  A\tdog \n runs. "
    names = {"filename": "Flickr30K_ID", "hypothesis": "sentence2", "label": "gold_label"}
    read, facts = read_split([write_shard(tmp_path / "train-0.parquet", rows, names=None, columns=names)])
    assert "A dog runs." in set(read["hypothesis"])
    assert read["label"].value_counts().to_dict() == {"contradiction": 5, "entailment": 4}
    assert facts == {"rows": 9, "rows_neutral": 5, "rows_unlabelled": 1, "label_order": "names"}


def original(ids):
    """Lines of the original release, with some of the keys that are not used."""
    for row in ve_rows(ids, n=3):
        yield {
            "Flickr30K_ID": row["filename"].removesuffix(".jpg"),
            "sentence1": "a caption",
            "sentence2": row["hypothesis"],
            "gold_label": CLASSES[row["label"]],
            "pairID": "1r1e",
        }


def test_json_lines_of_the_original_release(tmp_path):
    path = write_lines(tmp_path / "snli_ve_train.jsonl", list(original(IDS)))
    rows, facts = read_split([path])
    assert len(rows) == 10 and facts["rows_neutral"] == 5
    assert set(rows["row"]) == {-1}
    assert rows["image_id"].unique().tolist() == IDS


def test_json_lines_are_read_in_parts(tmp_path, monkeypatch):
    path = write_lines(tmp_path / "snli_ve_train.jsonl", list(original(IDS)))
    whole, _ = read_split([path])
    for size in (1, 4):
        monkeypatch.setattr("verdict.data.photos.snli_ve_corpus.BATCH_ROWS", size)
        assert read_split([path])[0].equals(whole)
        lines = path.read_text().splitlines()
        lines[9] = json.dumps(json.loads(lines[9]) | {"gold_label": "yes"})
        broken = tmp_path / "broken.jsonl"
        broken.write_text("\n".join(lines))
        with pytest.raises(ValueError, match=r"broken\.jsonl, row 9: unknown label 'yes'"):
            read_split([broken])


def test_the_image_id_is_the_flickr_id():
    for name in ("36979.jpg", "flickr30k-images/36979.jpg#2", "36979", " 36979.JPG "):
        assert image_id(name) == "36979"
    assert image_id("a.b") == "a.b"


def test_a_missing_column_is_named_with_those_found(tmp_path):
    with pytest.raises(ValueError, match=r"x: no column for 'file' .*'filename'.*; found \['image', 'label'\]"):
        find_columns(["image", "label"], tmp_path.with_name("x"))
    for column in ("filename", "hypothesis", "label", "image"):
        path = write_shard(tmp_path / f"train-{column}.parquet", ve_rows(IDS), columns={column: "other"})
        with pytest.raises(ValueError, match=rf"train-{column}\.parquet: no column .*; found \[.*'other'"):
            read_split([path])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", [0, 3], "row 1: unknown label 3; expected one of"),
        ("label", [None, 0], "row 0: unknown label None"),
        ("label", [0.0, 2.0], r"row 0: unknown label 0\.0"),
        ("hypothesis", ["a", None], "row 1: the hypothesis is None, expected text"),
        ("hypothesis", [" ", "a"], "row 0: the hypothesis is ' ', expected text"),
        ("filename", ["1.jpg", None], "row 1: the file is None, expected text"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(tmp_path, column, values, message):
    table = {"image": [b"", b""], "filename": ["1.jpg", "2.jpg"], "hypothesis": ["a", "b"], "label": [0, 2]}
    pq.write_table(pa.table({**table, column: values}), tmp_path / "train-0.parquet")
    with pytest.raises(ValueError, match=rf"train-0\.parquet, {message}"):
        read_split([tmp_path / "train-0.parquet"])


def test_a_damaged_shard_is_named(tmp_path):
    path = write_shard(tmp_path / "train-0.parquet", ve_rows(IDS))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"train-0\.parquet is not a readable parquet file"):
        read_split([path])
    (tmp_path / "snli_ve_train.jsonl").write_text('{"Flickr30K_ID": "1"\n')
    with pytest.raises(ValueError, match=r"snli_ve_train\.jsonl, row 0: "):
        read_split([tmp_path / "snli_ve_train.jsonl"])
