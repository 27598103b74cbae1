"""Descriptors of scenes name no digit, their truth is read from the factors, and classes have their pictures."""

import numpy as np
import pytest

from verdict.clip.bank import bank_of, class_table, material, scene_bank
from verdict.clip.pictures import Pictures, of_scenes
from verdict.clip.scenes import DIGITS
from verdict.params import load_params

SIZES = {"train": 180, "val": 20, "calib": 20, "test": 240}


@pytest.fixture(scope="module")
def pictures():
    return of_scenes(SIZES, seed=3)


@pytest.fixture
def settings():
    return load_params("base").concepts


def test_the_bank_names_one_or_two_factors_and_no_digit():
    bank = scene_bank()
    texts = [one.text for one in bank]
    sizes = np.array([6, 2, 5, 3, 4])
    assert len(bank) == sizes.sum() + (sizes.sum() ** 2 - (sizes**2).sum()) // 2 == len(set(texts))
    assert not any(digit in text.split() for text in texts for digit in DIGITS)
    assert {"a red digit", "a small digit on the left", "a striped red digit"} <= set(texts)


def test_truth_is_read_from_the_factors(pictures, settings):
    bank = bank_of(pictures, settings)
    classes = class_table(pictures, settings.model_copy(update={"n_classes": 6}))
    shown = material(pictures, classes, bank, "test")
    place = next(k for k, one in enumerate(bank) if one.text == "a small digit on the left")
    table = pictures.table.iloc[pictures.rows("test")].reset_index(drop=True)
    rows = [
        k
        for k, (c, d) in enumerate(zip(table["colour"], table["digit"], strict=True))
        if f"{c} {d}" in set(classes["name"])
    ]
    wanted = (table["size"].eq("small") & table["position"].eq("left")).to_numpy()[rows]
    assert np.array_equal(shown.truth[:, place], wanted)
    # Of each factor one word is true, of each couple of factors one phrase.
    assert (shown.truth.sum(axis=1) == 5 + 10).all()


def test_classes_are_couples_half_of_them_held_out(pictures, settings):
    classes = class_table(pictures, settings.model_copy(update={"n_classes": 7}))
    assert classes["held_out"].tolist() == [True] * 3 + [False] * 4
    assert classes["name"].is_unique
    shown = material(pictures, classes, scene_bank(), "test", n_images=2)
    assert np.bincount(shown.y_true, minlength=7).max() == 2 and len(shown) == len(shown.images) == len(shown.masks)
    for label, colour in enumerate(classes["colour"]):
        own = np.flatnonzero(shown.y_true == label)
        named = next(k for k, one in enumerate(scene_bank()) if one.text == f"a {colour} digit")
        assert shown.truth[own, named].all()
    with pytest.raises(ValueError, match="n_classes is too large"):
        material(pictures, class_table(pictures, settings.model_copy(update={"n_classes": 60})), scene_bank(), "val")


def test_other_pictures_have_their_own_classes_and_need_a_bank(settings):
    rng = np.random.default_rng(0)
    table = of_scenes(SIZES, seed=3).table[["image_id", "group_id", "split", "y"]]
    plain = Pictures(rng.integers(0, 255, (len(table), 8, 8, 3), dtype=np.uint8), table, DIGITS)
    with pytest.raises(ValueError, match="more than n_textual"):
        bank_of(plain, settings)
    bank = bank_of(plain, settings.model_copy(update={"bank": tuple(f"thing {k}" for k in range(30))}))
    classes = class_table(plain, settings.model_copy(update={"n_classes": 4}))
    assert classes["name"].tolist() == list(DIGITS[:4])
    shown = material(plain, classes, bank, "test")
    assert shown.truth is None and shown.masks is None and shown.is_held_out is None
    assert set(shown.y_true) == {0, 1, 2, 3}
