"""The pair table: ids and every refusal."""

import hashlib

import pandas as pd
import pytest

from verdict.data.pairs import check_pairs, make_pair_id, may_share_images


def table(**changes):
    """Five good pairs of three images; `changes` replaces columns."""
    frame = pd.DataFrame(
        {
            "image_id": ["a", "a", "b", "b", "c"],
            "hypothesis": ["one dog", "no dog", "one dog", "two cats", "a tree"],
            "label": ["entailment", "contradiction", "contradiction", "entailment", "entailment"],
            "split": ["train", "train", "val", "val", "test"],
        }
    )
    frame["group_id"] = frame["image_id"]
    for name, values in changes.items():
        if name != "pair_id":
            frame[name] = values
    pairs = zip(frame["image_id"], frame["hypothesis"], strict=True)
    ids = [make_pair_id(i, h) if isinstance(h, str) and h.isprintable() else "x" for i, h in pairs]
    frame["pair_id"] = changes.get("pair_id", ids)
    return frame


def test_pair_id_is_the_documented_hash():
    assert make_pair_id("a", "one dog") == hashlib.sha256(b"a\x1fone dog").hexdigest()[:16]
    assert make_pair_id("ab", "c") != make_pair_id("a", "bc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hypothesis": ["one dog", "  ", "x", "y", "z"]}, r"row 2: hypothesis is empty"),
        ({"hypothesis": ["one dog", None, "x", "y", "z"]}, r"row 2: hypothesis is (None|nan), expected text"),
        ({"hypothesis": ["one\x00dog", "w", "x", "y", "z"]}, r"row 1: hypothesis holds the control character U\+0000"),
        ({"hypothesis": ["one\ndog", "w", "x", "y", "z"]}, r"control character U\+000A"),
        ({"hypothesis": ["w", "x", "y", "z", "d" * 2001]}, r"row 5: hypothesis has 2,001 characters"),
        ({"image_id": [7, "a", "b", "b", "c"]}, r"row 1: image_id is 7, expected text"),
    ],
)
def test_faulty_rows_are_named(changes, message):
    with pytest.raises(ValueError, match="mine.csv: .*" + message):
        check_pairs(table(**changes), source="mine.csv")


def test_repeats_name_both_rows_and_say_when_the_labels_differ():
    twice = table(hypothesis=["one dog", "one dog", "x", "y", "z"])
    with pytest.raises(ValueError, match="line 7: repeats line 2 with another label"):
        check_pairs(twice, lines=[2, 7, 8, 9, 10])
    same = table(hypothesis=["one dog", "one dog", "x", "y", "z"], label=["entailment"] * 5)
    with pytest.raises(ValueError, match=r"row 2: repeats row 1 \(image 'a'"):
        check_pairs(same)


def test_only_the_first_faults_are_listed_with_the_number_of_all():
    many = pd.concat([table(hypothesis=["  "] * 5)] * 3, ignore_index=True)
    with pytest.raises(ValueError, match=r"15 faults: row 1: .* row 5: .*; and 10 more") as caught:
        check_pairs(many)
    assert "row 6:" not in str(caught.value)


def test_one_group_in_two_splits_is_refused():
    with pytest.raises(ValueError, match=r"group_id 'g' is in the splits \['train', 'val'\]"):
        check_pairs(table(group_id=["g", "g", "g", "g", "c"]))


def test_warm_up_may_share_images_with_training_only():
    assert not check_pairs(table(split=["train", "warmup_train", "val", "val", "test"])).empty
    for other in ("val", "calib", "test", "independent", "independent_hand", "warmup_val"):
        with pytest.raises(ValueError, match="image_id 'a' is in the splits"):
            check_pairs(table(split=["warmup_train", other, "train", "train", "test"]))
    assert may_share_images("warmup_val", "train") and may_share_images("test", "test")
    assert not may_share_images("warmup_train", "warmup_val") and not may_share_images("train", "val")
