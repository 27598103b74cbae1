"""The study's own set: its published split, calib out of train, the hand-made images, and every refusal."""

import json
from functools import partial

import pandas as pd
import pytest

from mini_corpora import (
    a2_params,
    a2_rows,
    encoded,
    image_ids,
    write_a2,
    write_independent,
    write_lines,
    write_snli_ve,
)
from verdict.base.files.images import ImageStore
from verdict.base.labels import EVALUATION_SPLITS
from verdict.data.photos import a2, snli_ve
from verdict.data.splits import assert_disjoint, published_split

N_IMAGES = 30


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    return tmp_path


def build(root, *, warmup=None, **changes):
    return a2.build(a2_params(**{"calib_fraction": 0.25} | changes), seed=42, out=root / "store", warmup=warmup)


def lines_of(root):
    return [json.loads(line) for line in (root / "a2" / "A2_train_v3.jsonl").read_text().splitlines()]


def test_val_and_test_are_the_published_ones_and_calib_comes_from_train(root):
    ids = write_a2(root, n_images=N_IMAGES)
    pairs = build(root).pairs
    split = pairs.drop_duplicates("image_id").set_index("image_id")["split"]
    published = published_split(pd.Series(ids, index=ids))
    for name in ("val", "test"):
        assert set(split.index[split == name]) == set(published.index[published == name])
    train = set(published.index[published == "train"])
    assert set(split.index[split.isin(["train", "calib"])]) == train
    assert split.value_counts().to_dict() == {"train": 18, "calib": 6, "val": 3, "test": 3}
    assert_disjoint(pairs)
    assert list(pairs.columns) == a2.COLUMNS and len(pairs) == 2 * N_IMAGES
    store = ImageStore.open(root / "store")
    assert store.load(list(store.ids), size=(8, 8)).shape == (N_IMAGES, 8, 8, 3)


def test_ids_with_an_ending_are_the_same_images(root):
    ids = write_a2(root)
    plain = build(root).pairs
    rows = [
        row | {"Image_ID": f"{row['Image_ID']}.{'png' if ids.index(row['Image_ID']) % 5 == 4 else 'jpg'}"}
        for row in lines_of(root)
    ]
    write_lines(root / "a2" / "A2_train_v3.jsonl", rows)
    assert build(root).pairs.equals(plain)
    (root / "a2" / "A2_Images" / f"{ids[0]}.png").write_bytes(encoded(99, kind="PNG"))
    mixed = [rows[0] | {"Image_ID": f"{ids[0]}.png"}, *rows[1:]]
    write_lines(root / "a2" / "A2_train_v3.jsonl", mixed)
    with pytest.raises(ValueError, match=rf"'{ids[0]}\.png' and '{ids[0]}\.jpg' would be one image"):
        build(root)


def test_a_faulty_row_is_named(root):
    write_a2(root)
    rows = lines_of(root)
    rows[3] |= {"Hypothesis": "  "}
    write_lines(root / "a2" / "A2_train_v3.jsonl", rows)
    with pytest.raises(ValueError, match=r"A2_train_v3\.jsonl: 1 fault: line 4: hypothesis is empty"):
        build(root)


def test_repeats_are_refused_or_left_out_and_counted(root):
    rows = a2_rows(image_ids(N_IMAGES))
    other = {"entailment": "contradiction", "contradiction": "entailment"}[rows[7]["Label"]]
    write_a2(root, rows=[*rows, rows[0], rows[7] | {"Label": other}])
    with pytest.raises(
        ValueError, match=r"2 faults: line 61: repeats line 1 .*line 62: repeats line 8 with another label"
    ):
        build(root)
    dataset = build(root, allow_repeats=True)
    assert dataset.facts["rows_left_out_repeated"] == 1 + 2
    assert len(dataset.pairs) == 60 - 1


def test_missing_images_are_refused_or_left_out_without_moving_the_others(root):
    ids = write_a2(root)
    whole = build(root).pairs
    for image_id in ids[:2]:
        (root / "a2" / "A2_Images" / f"{image_id}.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"2 images are not in .*\['{ids[0]}', '{ids[1]}'\]; set data\.a2\.allow_missing"
    ):
        build(root)
    dataset = build(root, allow_missing_images=True)
    assert (dataset.facts["images_missing"], dataset.facts["rows_left_out_without_image"]) == (2, 4)
    assert dataset.pairs.equals(whole[~whole["image_id"].isin(ids[:2])].reset_index(drop=True))
    for path in (root / "a2" / "A2_Images").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="no row has an image"):
        build(root, allow_missing_images=True)


def test_damaged_images_are_refused_by_name_or_left_out(root):
    ids = write_a2(root)
    damaged = [root / "a2" / "A2_Images" / f"{ids[k]}.jpg" for k in (1, 2)]
    damaged[0].write_bytes(damaged[0].read_bytes()[:200])
    damaged[1].write_bytes(b"no image at all")
    with pytest.raises(
        ValueError,
        match=rf"2 images cannot be read, the first: .*{ids[1]}\.jpg cannot be decoded.*set data\.a2\.allow_d",
    ):
        build(root)
    dataset = build(root, allow_damaged_images=True)
    assert dataset.facts["images_damaged"] == 2
    assert not {ids[1], ids[2]} & set(dataset.pairs["image_id"])
    assert not {ids[1], ids[2]} & set(ImageStore.open(root / "store").ids)


def test_a_copy_stays_in_the_later_split_only(root):
    """A train image that is, byte for byte, a test image leaves train; the published test split keeps it."""
    write_a2(root)
    split = build(root).pairs.drop_duplicates("image_id").set_index("image_id")["split"]
    folder = root / "a2" / "A2_Images"
    file = {path.stem: path for path in folder.iterdir()}
    kept, copy = split.index[split == "test"][0], split.index[split == "train"][0]
    file[copy].write_bytes(file[kept].read_bytes())
    dataset = build(root)
    assert (dataset.facts["images_with_a_copy"], dataset.facts["rows_left_out_copy_in_later_split"]) == (1, 2)
    assert copy not in set(dataset.pairs["image_id"])
    assert dataset.pairs.loc[dataset.pairs["image_id"] == kept, "split"].tolist() == ["test", "test"]
    assert_disjoint(dataset.pairs)


def test_without_a_folder_the_error_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("VERDICT_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set VERDICT_DATA to a folder that holds the set as a2/"):
        build(tmp_path)
    write_a2(tmp_path)
    whole = {
        name: str(tmp_path / "a2" / file) for name, file in (("table", "A2_train_v3.jsonl"), ("images", "A2_Images"))
    }
    assert len(build(tmp_path, **whole).pairs) == 60


@pytest.mark.parametrize(
    "header", ["image,hypothesis,label", "Image name,Hypothesis text,True label", " IMAGE_FILE ,Hyp,gold_label"]
)
def test_the_hand_made_set(root, header):
    write_a2(root)
    write_independent(root, header=header)
    dataset = build(root, independent="ind")
    hand = dataset.pairs[dataset.pairs["split"] == "independent_hand"]
    assert len(hand) == 50 and hand["image_id"].nunique() == 10
    assert hand["label"].value_counts().to_dict() == {"contradiction": 30, "entailment": 20}
    assert hand["hypothesis"].iloc[0] == "“Sentence” 0 of 1"
    assert {"test1", "test10"} <= set(ImageStore.open(root / "store").ids)
    assert_disjoint(dataset.pairs)


def test_the_hand_made_set_is_read_in_full_or_refused(root):
    write_a2(root)
    folder = write_independent(root)
    text = (folder / "hyp.csv").read_text(encoding="cp1252")
    for written, message in (
        (text.replace("True label", "truth"), r"hyp\.csv: no column for \['label'\]; found"),
        (text.replace("contradiction", "neutral", 1), r"hyp\.csv: line 2: unknown label 'neutral'"),
    ):
        (folder / "hyp.csv").write_text(written)
        with pytest.raises(ValueError, match=message):
            build(root, independent="ind")
    (folder / "hyp.csv").write_text(text)
    (folder / "test3.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"hyp\.csv, line 12: 1 images are not in .*'test3'"):
        build(root, independent="ind")
    with pytest.raises(FileNotFoundError, match=r"there is no folder 'elsewhere'"):
        build(root, independent="elsewhere")


def test_one_name_in_both_sets_is_refused(root):
    rows = a2_rows(image_ids(N_IMAGES))
    rows[0] |= {"Image_ID": "test1"}
    write_a2(root, rows=rows)
    (root / "a2" / "A2_Images" / "test1.jpg").write_bytes(encoded(55))
    write_independent(root)
    with pytest.raises(ValueError, match=r"the independent set and the main set both have images \['test1'\]"):
        build(root, independent="ind")


def with_warmup(root, **changes):
    warmup = partial(snli_ve.draw, n_train=60, n_val=8, seed=42)
    return build(root, independent="ind", warmup=warmup, **changes)


def test_the_warmup_has_seen_no_evaluation_image(root):
    """The corpus holds every image of the set, and a hand-made one under its own id; train's it may show."""
    ids = write_a2(root)
    (write_independent(root) / "test1.JPEG").write_bytes(encoded(9001, quality=70))
    write_snli_ve(root, [*ids, *image_ids(1, start=9001)], image_ids(6, start=N_IMAGES))
    dataset = with_warmup(root)
    overlap = assert_disjoint(dataset.pairs)
    assert overlap.loc[overlap["left"] == "warm-up", ["n_left", "n_right"]].min().min() > 0
    warm = dataset.pairs[dataset.pairs["split"].str.startswith("warmup")]
    evaluated = dataset.pairs[dataset.pairs["split"].isin([str(s) for s in EVALUATION_SPLITS])]
    assert not set(warm["image_id"]) & set(evaluated["image_id"])
    assert set(warm["image_id"]) & set(dataset.pairs.loc[dataset.pairs["split"] == "train", "image_id"])
    counted = dataset.excluded.groupby("evaluation")["n_images"].sum().to_dict()
    assert counted == {"val": 3, "calib": 6, "test": 3, "independent_hand": 1}
    assert "Flickr30k" in dataset.attribution
    assert set(dataset.pairs["image_id"]) <= set(ImageStore.open(root / "store").ids)


def test_a_copy_that_left_train_is_kept_out_of_the_warmup_too(root):
    ids = write_a2(root)
    write_independent(root)
    split = build(root).pairs.drop_duplicates("image_id").set_index("image_id")["split"]
    file = {path.stem: path for path in (root / "a2" / "A2_Images").iterdir()}
    kept, copy = split.index[split == "test"][0], split.index[split == "train"][0]
    file[copy].write_bytes(file[kept].read_bytes())
    write_snli_ve(root, [image_id for image_id in ids if image_id != copy], image_ids(6, start=N_IMAGES))
    dataset = with_warmup(root)
    assert dataset.excluded.groupby("evaluation")["n_images"].sum()["test"] == 3
    target = []
    with pytest.raises(ZeroDivisionError):
        build(root, warmup=lambda found: target.append(found) or 1 / 0)
    assert target[0].evaluation[copy] == "test" and target[0].evaluation[kept] == "test"
