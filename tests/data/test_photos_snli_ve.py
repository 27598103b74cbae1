"""SNLI-VE as a warm-up: no evaluation image under any name, counted, balanced, and refused where ids or labels lie."""

import hashlib
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mini_corpora import (
    CLASSES,
    encoded,
    image_ids,
    photo,
    ve_rows,
    write_lines,
    write_shard,
    write_snli_ve,
)
from verdict.base.files.images import ImageStore, write_folder_store
from verdict.data.pairs import check_pairs
from verdict.data.photos.snli_ve import Target, balanced, draw, normalised, same_picture

TRAIN, VALIDATION = image_ids(20), image_ids(6, start=20)
OWN_TRAIN, OWN_VAL, OWN_TEST = TRAIN[:3], TRAIN[3:5], [TRAIN[5], VALIDATION[0]]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    write_snli_ve(tmp_path, TRAIN, VALIDATION)
    return tmp_path


def target_of(folder, rows=None, *, files=None):
    """A target that shares ids with the corpus: some train, some val, some test."""
    files = files or {}
    folder.mkdir(exist_ok=True)
    for k, image_id in enumerate([*OWN_TRAIN, *OWN_VAL, *OWN_TEST]):
        if image_id not in files:
            path = folder / f"{image_id}.jpg"
            path.write_bytes(encoded(k if image_id in TRAIN else 20))
            files[image_id] = path
    splits = dict.fromkeys(OWN_TRAIN, "train") | dict.fromkeys(OWN_VAL, "val") | dict.fromkeys(OWN_TEST, "test")
    rows = rows or [(image_id, f"own sentence {image_id}", "entailment") for image_id in splits]
    pairs = pd.DataFrame(rows, columns=["image_id", "hypothesis", "label"])
    pairs["split"] = pairs["image_id"].map(splits)
    evaluation = {image_id: split for image_id, split in splits.items() if split != "train"}
    hashes = {image_id: hashlib.sha256(path.read_bytes()).hexdigest() for image_id, path in files.items()}
    return Target(pairs, evaluation, hashes, files)


def drawn(target, **changes):
    return draw(target, **({"n_train": 40, "n_val": 8, "seed": 42} | changes))


def test_no_evaluation_image_is_left_and_the_counts_say_so(tmp_path, root):
    warmup = drawn(target_of(tmp_path / "own"))
    check_pairs(warmup.pairs)
    assert not set(warmup.pairs["image_id"]) & {*OWN_VAL, *OWN_TEST}
    counted = warmup.excluded.set_index(["warmup", "evaluation"])
    assert counted["n_images"].to_dict() == {
        ("warmup_train", "val"): 2,
        ("warmup_train", "test"): 1,
        ("warmup_val", "val"): 0,
        ("warmup_val", "test"): 1,
    }
    assert (counted["n_rows"] == 4 * counted["n_images"]).all()
    assert counted["n_rows_of_target"].sum() == 0


def test_everything_that_may_be_drawn_can_be(tmp_path, root):
    """17 and 5 images without those of evaluation, two rows of either label on each."""
    warmup = drawn(target_of(tmp_path / "own"), n_train=2 * 2 * 17, n_val=None)
    assert warmup.pairs["split"].value_counts().to_dict() == {"warmup_train": 68, "warmup_val": 20}
    assert set(warmup.pairs["image_id"]) == {*TRAIN, *VALIDATION} - {*OWN_VAL, *OWN_TEST}
    with pytest.raises(ValueError, match="35 rows of entailment are asked for, SNLI-VE has 34 left"):
        drawn(target_of(tmp_path / "own"), n_train=70)


def test_the_draw_is_balanced_and_depends_on_the_seed_alone(tmp_path, root):
    target = target_of(tmp_path / "own")
    first = drawn(target)
    assert first.pairs.groupby("split")["label"].value_counts().unstack().to_numpy().tolist() == [[20, 20], [4, 4]]
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    again = drawn(target)
    assert np.array_equal(state, np.random.get_state()[1])
    assert again.pairs.equals(first.pairs) and again.facts == first.facts
    other = drawn(target, seed=43)
    assert set(other.pairs["pair_id"]) != set(first.pairs["pair_id"])
    shards = sorted((root / "snli_ve" / "data").glob("train-*"))
    swapped = shards[0].read_bytes(), shards[1].read_bytes()
    shards[0].write_bytes(swapped[1])
    shards[1].write_bytes(swapped[0])
    assert set(drawn(target).pairs["pair_id"]) == set(first.pairs["pair_id"])


def test_the_polarity_is_that_of_the_labels(tmp_path, root):
    """Rows 0, 3 of an image are entailment in the shards, rows 2, 5 contradiction."""
    pairs = drawn(target_of(tmp_path / "own")).pairs
    number = pairs["hypothesis"].str.split().str[1].astype(int)
    assert pairs.groupby(number % 3)["label"].unique().map(list).to_dict() == {0: ["entailment"], 2: ["contradiction"]}


def test_an_evaluation_image_under_another_name_is_known_by_its_bytes(tmp_path, root):
    """Image 9 of the corpus is, byte for byte, one of the target's test images of another name."""
    path = tmp_path / "own" / "renamed.jpg"
    path.parent.mkdir()
    path.write_bytes(encoded(9, quality=70))
    target = target_of(tmp_path / "own")
    hashes = target.hashes | {"renamed": hashlib.sha256(path.read_bytes()).hexdigest()}
    evaluation = dict(target.evaluation) | {"renamed": "test"}
    warmup = drawn(Target(target.pairs, evaluation, hashes, dict(target.files) | {"renamed": path}), n_val=None)
    assert TRAIN[9] not in set(warmup.pairs["image_id"])
    assert warmup.excluded.set_index(["warmup", "evaluation"])["n_images"]["warmup_train", "test"] == 2


def test_rows_of_the_target_and_repeats_are_removed_and_counted(tmp_path, root):
    train = ve_rows(TRAIN)
    train += [row | {"hypothesis": row["hypothesis"].upper()} for row in train[:1]]
    train += [train[6 * 12] | {"label": 2}]
    shutil.rmtree(root / "snli_ve" / "data")
    write_shard(root / "snli_ve" / "train-0.parquet", train)
    write_shard(root / "snli_ve" / "validation-0.parquet", ve_rows(VALIDATION))
    in_train, in_val = f" V  0 OF {OWN_TRAIN[1]}", f"v 2 of {OWN_VAL[0]}"
    rows = [
        (OWN_TRAIN[1], in_train, "entailment"),
        (OWN_VAL[0], in_val, "contradiction"),
        (OWN_TEST[0], "x", "entailment"),
    ]
    warmup = drawn(target_of(tmp_path / "own", rows), n_train=64)
    sentences = set(zip(warmup.pairs["image_id"], normalised(warmup.pairs["hypothesis"]), strict=True))
    assert (OWN_TRAIN[1], f"v 0 of {OWN_TRAIN[1]}") not in sentences
    assert (TRAIN[12], f"v 0 of {TRAIN[12]}") not in sentences
    counted = {name: warmup.facts[f"warmup_train_{name}"] for name in ("rows", "rows_neutral", "images")}
    assert counted == {"rows": 82, "rows_neutral": 40, "images": 20}
    assert warmup.facts["warmup_train_rows_equal_to_target"] == 1
    assert warmup.facts["warmup_train_rows_repeated"] == 1
    assert warmup.facts["warmup_train_rows_of_two_labels"] == 2
    excluded = warmup.excluded.set_index(["warmup", "evaluation"])
    assert excluded["n_rows_of_target"]["warmup_train", "val"] == 1


def test_labels_that_contradict_the_targets_are_refused(tmp_path, root):
    def rows(labels):
        return [
            (image_id, f"v {j} of {image_id}", labels[j % 3])
            for image_id in [*OWN_TRAIN, *OWN_VAL, OWN_TEST[0]]
            for j in (0, 2, 3, 5)
        ]

    agreeing = drawn(target_of(tmp_path / "own", rows(CLASSES)), n_train=8)
    assert agreeing.facts["warmup_train_rows_equal_to_target"] == 12
    with pytest.raises(ValueError, match="of 24 rows that SNLI-VE shares with the target only 0 have the same label"):
        drawn(target_of(tmp_path / "own", rows(CLASSES[::-1])), n_train=8)


def test_ids_that_name_other_pictures_are_refused(tmp_path, root):
    folder = tmp_path / "own"
    folder.mkdir()
    path = folder / "other.jpg"
    path.write_bytes(encoded(777))
    kept = drawn(target_of(folder)).facts
    assert (kept["shared_images"], kept["shared_images_compared"], kept["shared_images_same_picture"]) == (6, 6, 6)
    with pytest.raises(ValueError, match=rf"1 of 6 image ids name another picture .*\['{OWN_TRAIN[0]}'\]"):
        drawn(target_of(folder, files={OWN_TRAIN[0]: path}))


def test_a_target_of_other_ids_shares_nothing(tmp_path, root):
    target = Target(pd.DataFrame({name: ["a"] for name in ("image_id", "hypothesis", "label", "split")}), {}, {}, {})
    warmup = drawn(target)
    assert warmup.facts["shared_images"] == 0 and warmup.excluded.empty


def test_images_are_read_from_the_target_where_it_has_them_and_in_passing_else(tmp_path, root):
    target = target_of(tmp_path / "own")
    warmup = drawn(target, n_train=68, n_val=None)
    assert set(warmup.images["image_id"]) == {*TRAIN, *VALIDATION} - set(target.files)
    assert warmup.facts["images_read_from_the_target"] == len(OWN_TRAIN)
    assert (warmup.images["row"] >= 0).all()
    write_folder_store(tmp_path / "s", dict(target.files), target.hashes, warmup.images)
    store = ImageStore.open(tmp_path / "s")
    for image_id in (TRAIN[7], TRAIN[19], VALIDATION[5], OWN_TRAIN[0]):
        number = (TRAIN + VALIDATION).index(image_id)
        assert same_picture(store.thumbnail(image_id), photo(number))
    order = warmup.pairs["image_id"].drop_duplicates()
    inside = order[order.isin(warmup.images["image_id"])]
    assert inside.tolist() == warmup.images["image_id"].tolist()
    for _, rows in warmup.images.groupby("file", sort=False)["row"]:
        assert rows.is_monotonic_increasing


def test_json_lines_with_a_folder_of_photographs(tmp_path, root):
    shutil.rmtree(root / "snli_ve")
    folder = root / "snli_ve" / "flickr30k-images"
    folder.mkdir(parents=True)
    for name, ids in (("train", TRAIN), ("dev", VALIDATION)):
        lines = [
            {"Flickr30K_ID": row["filename"][:-4], "sentence2": row["hypothesis"], "gold_label": CLASSES[row["label"]]}
            for row in ve_rows(ids)
        ]
        write_lines(root / "snli_ve" / f"snli_ve_{name}.jsonl", lines)
        for image_id in ids:
            (folder / f"{image_id}.jpg").write_bytes(encoded((TRAIN + VALIDATION).index(image_id), quality=70))
    warmup = drawn(target_of(tmp_path / "own"), n_train=68, n_val=None)
    assert (warmup.images["row"] == -1).all()
    assert set(warmup.images["image_id"]) == {*TRAIN, *VALIDATION} - {*OWN_TRAIN, *OWN_VAL, *OWN_TEST}
    (folder / f"{TRAIN[4]}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 images of SNLI-VE are not in .*\['{TRAIN[4]}'\]"):
        drawn(target_of(tmp_path / "own"))


def test_a_balanced_draw_is_uniform_and_even():
    rows = pd.DataFrame({"image_id": [str(k) for k in range(40)], "hypothesis": "h", "label": "entailment"})
    rows.loc[rows.index % 2 == 1, "label"] = "contradiction"
    counts = np.zeros(40)
    for seed in range(150):
        found = balanced(rows.sample(frac=1, random_state=seed), 10, np.random.default_rng(seed))
        assert found["label"].value_counts().to_dict() == {"entailment": 5, "contradiction": 5}
        counts[found["image_id"].astype(int)] += 1
    assert abs(counts / 150 - 0.25).max() < 4 * (0.25 * 0.75 / 150) ** 0.5


@pytest.mark.parametrize("quality", [30, 95])
def test_copies_are_one_picture_at_any_size_and_quality(tmp_path, quality):
    for number in range(31):
        photo(number, size=(31, 23)).save(tmp_path / "a.jpg", quality=quality)
        with Image.open(tmp_path / "a.jpg") as copy:
            assert same_picture(copy, photo(number))
            assert not same_picture(copy, photo(number + 1))
