"""Fits that differ in whose images a share of their pairs shows, and who has been seen."""

import numpy as np
import pandas as pd
import pytest

from verdict.pages import defects_training as leaks


def pairs_of(split, n_groups, size):
    names = [f"{split}-{k}" for k in range(n_groups) for _ in range(size)]
    ids = [f"{name}/{k}" for k, name in enumerate(names)]
    return pd.DataFrame({"pair_id": ids, "image_id": names, "group_id": names, "split": split, "label": "entailment"})


TRAIN, TEST = pairs_of("train", 41, 5), pairs_of("test", 13, 5)


def fits(share, seed=1, n_groups=11):
    rng = np.random.default_rng(seed)
    return leaks.make_fits(TRAIN, leaks.draw_judged(TRAIN, TEST, n_groups, rng), n_groups, share=share, rng=rng)


def test_without_a_share_the_two_fits_are_one():
    found = fits(0.0)
    pd.testing.assert_frame_equal(found.clean, found.leaked)
    assert leaks.shared_with(found.leaked, found.judged) == {"n_images": 11, "n_images_seen": 0, "n_pairs_seen": 0}


def test_the_fits_differ_in_the_images_of_the_share_alone():
    found = fits(0.4)
    assert len(found.clean) == len(found.leaked) == 11 * 5 + round(0.4 * 11 * 5)
    common = found.clean["pair_id"].isin(found.leaked["pair_id"])
    assert common.sum() == 11 * 5
    assert set(found.clean["split"]) == {"train"}
    assert (found.leaked["split"] == "test").sum() == (~common).sum() == 22
    assert found.clean["pair_id"].is_unique and found.leaked["pair_id"].is_unique
    assert leaks.shared_with(found.clean, found.judged)["n_images_seen"] == 0
    seen = leaks.shared_with(found.leaked, found.judged)
    assert seen["n_pairs_seen"] == 22 and 22 / 5 <= seen["n_images_seen"] <= 11


def test_exposure_tells_pairs_images_and_the_rest_apart():
    found = fits(0.3)
    seen = leaks.exposure(found.leaked, found.judged)
    drawn = found.leaked[found.leaked["split"] == "test"]
    assert (seen == leaks.PAIR).sum() == len(drawn)
    images = found.judged["image_id"].isin(set(drawn["image_id"]))
    assert (seen == leaks.IMAGE).sum() == images.sum() - len(drawn)
    assert (seen == leaks.NOT).sum() == (~images).sum()
    assert set(leaks.exposure(found.clean, found.judged)) == {leaks.NOT}


def test_the_seed_decides():
    assert fits(0.4).leaked.equals(fits(0.4).leaked)
    assert not fits(0.4).leaked.equals(fits(0.4, seed=2).leaked)


def test_few_images_of_train_leave_both_sides_some():
    few, rng = pairs_of("train", 3, 2), np.random.default_rng(1)
    judged = leaks.draw_judged(few, TEST, 100, rng)
    assert judged["group_id"].nunique() == 1
    assert leaks.make_fits(few, judged, 100, share=0.5, rng=rng).clean["group_id"].nunique() == 3
    with pytest.raises(ValueError, match="at least two groups of train, got 1"):
        leaks.draw_judged(pairs_of("train", 1, 2), TEST, 3, rng)


def test_groups_are_drawn_whole_and_in_order():
    found = leaks.draw_groups(TRAIN, 7, np.random.default_rng(3))
    assert found.groupby("group_id").size().tolist() == [5] * 7
    assert found["pair_id"].tolist() == [pair for pair in TRAIN["pair_id"] if pair in set(found["pair_id"])]
    assert len(leaks.draw_groups(TRAIN, 1000, np.random.default_rng(3))) == len(TRAIN)


def test_splits_on_which_something_is_reported():
    splits = ["warmup_train", "warmup_val", "train", "val", "calib", "test", "independent"]
    pairs = pd.concat([pairs_of(split, 1, 1) for split in splits])
    assert leaks.reported(pairs)["split"].tolist() == splits[3:]
