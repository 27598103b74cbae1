"""Splits by group: sizes, seeds, disjointness."""

import numpy as np
import pandas as pd
import pytest

from verdict.data.splits import (
    assert_disjoint,
    carve_split,
    merge_groups,
    published_split,
    split_groups,
    split_sizes,
)

FRACTIONS = {"train": 0.6, "val": 0.1, "calib": 0.15, "test": 0.15}


def rows_of(n_groups):
    """Two rows for odd groups, one for even ones."""
    return pd.Series([f"g{k}" for k in range(n_groups) for _ in range(1 + k % 2)])


def test_published_sizes():
    images = pd.Series([str(k) for k in range(19_573)])
    assert published_split(images).value_counts().to_dict() == {"train": 15_658, "val": 1_957, "test": 1_958}


def test_published_split_keeps_groups_whole_and_repeats():
    rows = rows_of(101)
    split = published_split(rows)
    assert split.groupby(rows).nunique().max() == 1
    assert split.equals(published_split(rows))
    assert not split.equals(published_split(rows, seed=43))


def test_a_carved_split_takes_whole_groups_of_one_split_only():
    rows = rows_of(211).sample(frac=1, random_state=3)
    split = published_split(rows)
    carved = carve_split(split, rows, source="train", new="calib", fraction=0.25, seed=5)
    assert carved.index.equals(rows.index)
    for name in ("val", "test"):
        assert (carved == name).equals(split == name)
    assert carved.groupby(rows).nunique().max() == 1
    n_train = rows[split == "train"].nunique()
    assert rows[carved == "calib"].nunique() == pytest.approx(n_train / 4, abs=1)
    assert carved.equals(carve_split(split, rows, source="train", new="calib", fraction=0.25, seed=5))
    assert not carved.equals(carve_split(split, rows, source="train", new="calib", fraction=0.25, seed=6))


def test_sizes_sum_and_follow_the_fractions():
    assert split_sizes(101, FRACTIONS) == {"train": 61, "val": 10, "calib": 15, "test": 15}
    assert split_sizes(20, FRACTIONS) == {"train": 12, "val": 2, "calib": 3, "test": 3}
    assert split_sizes(4, FRACTIONS) == {"train": 1, "val": 1, "calib": 1, "test": 1}
    for n in range(4, 200):
        sizes = split_sizes(n, FRACTIONS)
        assert sum(sizes.values()) == n and min(sizes.values()) >= 1


def test_groups_stay_whole_and_sizes_count_groups():
    rows = rows_of(101)
    split = split_groups(rows, FRACTIONS, seed=5)
    assert split.groupby(rows).nunique().max() == 1
    assert split.groupby(rows).first().value_counts().to_dict() == split_sizes(101, FRACTIONS)


def test_seed_decides_and_the_order_of_rows_does_not():
    rows = rows_of(101)
    state = np.random.get_state()[1].copy()
    split = split_groups(rows, FRACTIONS, seed=5)
    assert split.equals(split_groups(rows, FRACTIONS, seed=5))
    assert not split.equals(split_groups(rows, FRACTIONS, seed=6))
    shuffled = rows.sample(frac=1, random_state=1)
    assert split_groups(shuffled, FRACTIONS, seed=5).sort_index().equals(split)
    assert np.array_equal(state, np.random.get_state()[1])


def test_too_few_groups():
    with pytest.raises(ValueError, match="3 groups cannot fill 4 splits"):
        split_groups(rows_of(3), FRACTIONS, seed=1)


def table(**members):
    """One row per image; keyword = split, value = its images."""
    rows = [(image, image, split) for split, images in members.items() for image in images]
    return pd.DataFrame(rows, columns=["image_id", "group_id", "split"])


def test_disjoint_splits_give_a_table_of_zeros():
    found = assert_disjoint(table(warmup_train="ab", train="abc", val="de", test="fgh"))
    assert (found["n_both"] == 0).all()
    keys = list(zip(found["unit"], found["left"], found["right"], found["n_left"], found["n_right"], strict=True))
    assert ("image", "train", "val", 3, 2) in keys
    assert ("group", "warm-up", "evaluation", 2, 5) in keys
    assert not [k for k in keys if k[1:3] == ("warmup_train", "train")]
    assert len(keys) == 2 * (5 + 1)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"train": "abc", "test": "bcd"}, r"2 images are in train and in test, the first: \['b', 'c'\]"),
        ({"warmup_train": "a", "calib": "ab", "train": "c"}, "1 images are in warm-up and in evaluation"),
    ],
)
def test_shared_images_are_counted(members, message):
    with pytest.raises(ValueError, match=message):
        assert_disjoint(table(**members))


def test_shared_groups_are_seen_where_images_differ():
    pairs = table(train="ab", val="cd")
    pairs["group_id"] = ["g", "h", "g", "i"]
    with pytest.raises(ValueError, match="1 groups are in train and in val"):
        assert_disjoint(pairs)


def test_parts_that_images_share_are_counted_and_not_refused():
    parts = pd.DataFrame({"image_id": list("aabcd"), "part": [1, 2, 2, 2, 3]})
    found = assert_disjoint(table(train="ab", val="c", test="d"), parts)
    of_parts = found[found["unit"] == "part"].iloc[:, 1:].values.tolist()
    assert of_parts[:2] == [["train", "val", 2, 1, 1], ["train", "test", 2, 1, 0]]
    assert found.loc[found["unit"] != "part", "n_both"].sum() == 0


def test_groups_that_share_a_key_are_one_by_the_smallest_name():
    groups = pd.Series(["d", "b", "c", "a", "e", "e"], index=[9, 3, 5, 7, 1, 0])
    sentences = pd.Series(["x", "x", "y", "z", "w", "v"], index=groups.index)
    # A key is compared within its series: this x is no sentence.
    contents = pd.Series(["1", "2", "2", "3", "x", "4"], index=groups.index)
    found = merge_groups(groups, sentences, contents)
    assert found.to_dict() == {9: "b", 3: "b", 5: "b", 7: "a", 1: "e", 0: "e"} and found.name == "group_id"
    assert merge_groups(groups, sentences).tolist() == ["b", "b", "c", "a", "e", "e"]
