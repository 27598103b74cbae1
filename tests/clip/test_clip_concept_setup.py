"""Descriptors of scenes name no digit, their truth is read from the factors, and classes have their pictures."""

from types import SimpleNamespace

import numpy as np
import pytest

from verdict.base.params import load_params
from verdict.clip.concepts.setup import Setup, bank_of, class_table, known_words, material
from verdict.clip.pictures.scenes import DIGITS
from verdict.clip.pictures.sources import Pictures, of_scenes
from verdict.workflow.stage import Stage

SIZES = {"train": 180, "val": 20, "calib": 20, "test": 240}


@pytest.fixture(scope="module")
def pictures():
    return of_scenes(SIZES, seed=3)


@pytest.fixture
def settings():
    return load_params("base").concepts


def test_the_bank_names_one_or_two_factors_and_no_digit(pictures, settings):
    bank = bank_of(pictures, settings)
    texts = [text for text, _ in bank]
    sizes = np.array([6, 2, 5, 3, 4])
    assert len(bank) == sizes.sum() + (sizes.sum() ** 2 - (sizes**2).sum()) // 2 == len(set(texts))
    assert not any(digit in text.split() for text in texts for digit in DIGITS)
    assert {"a red digit", "a small digit on the left", "a striped red digit"} <= set(texts)


def test_truth_is_read_from_the_factors(pictures, settings):
    bank = bank_of(pictures, settings)
    classes = class_table(pictures, settings.model_copy(update={"n_classes": 6}))
    shown = material(pictures, classes, bank, "test")
    table = pictures.table.iloc[pictures.rows("test")]
    own = table[(table["colour"] + " " + table["digit"]).isin(classes["name"])]
    wanted = own["size"].eq("small") & own["position"].eq("left")
    assert np.array_equal(shown.truth[:, place_of("a small digit on the left", bank)], wanted)
    # Of each factor one word is true, of each couple of factors one phrase.
    assert (shown.truth.sum(axis=1) == 5 + 10).all()


def place_of(phrase, bank):
    return [text for text, _ in bank].index(phrase)


def test_classes_are_couples_half_of_them_held_out(pictures, settings):
    classes, bank = class_table(pictures, settings.model_copy(update={"n_classes": 7})), bank_of(pictures, settings)
    assert classes["held_out"].tolist() == [True] * 3 + [False] * 4
    assert classes["name"].is_unique
    shown = material(pictures, classes, bank, "test", n_images=2)
    assert np.bincount(shown.y_true, minlength=7).max() == 2 and len(shown) == len(shown.images) == len(shown.masks)
    for label, colour in enumerate(classes["colour"]):
        own = np.flatnonzero(shown.y_true == label)
        assert shown.truth[own, place_of(f"a {colour} digit", bank)].all()
    with pytest.raises(ValueError, match="n_classes is too large"):
        material(pictures, class_table(pictures, settings.model_copy(update={"n_classes": 60})), bank, "val")


def test_other_pictures_have_their_own_classes_and_need_a_bank(pictures, settings):
    rng = np.random.default_rng(0)
    table = pictures.table[["image_id", "group_id", "split", "y"]]
    plain = Pictures(rng.integers(0, 255, (len(table), 8, 8, 3), dtype=np.uint8), table, DIGITS)
    with pytest.raises(ValueError, match="more than n_textual"):
        bank_of(plain, settings)
    bank = bank_of(plain, settings.model_copy(update={"bank": tuple(f"thing {k}" for k in range(30))}))
    classes = class_table(plain, settings.model_copy(update={"n_classes": 4}))
    assert classes["name"].tolist() == list(DIGITS[:4])
    shown = material(plain, classes, bank, "test")
    assert shown.truth is None and shown.masks is None
    assert set(shown.y_true) == {0, 1, 2, 3}


N, PARAMS = 37, load_params("smoke")


def test_words_that_are_spelt_are_not_known():
    tokenizer = SimpleNamespace(tokenize=lambda word: [word] if word in ("red", "dog") else list(word))
    assert known_words(tokenizer, ["red dog", "blue dog"]) == 3 / 4


def test_pictures_without_a_value_are_left_out(tmp_path):
    shown = SimpleNamespace(groups=np.arange(N) // 2)
    setup = Setup(Stage("12_clip_concepts", "smoke", None, None, tmp_path, PARAMS), None, {}, None, [], shown)
    values = np.random.default_rng(0).normal(size=N)
    values[::3] = np.nan
    known = np.isfinite(values)
    found = setup.mean(values)
    assert found.value == pytest.approx(values[known].mean())
    assert found == setup.mean(values[known], setup.shown.groups[known])
    assert found.low < found.value < found.high
    assert np.isnan(setup.mean(np.full(N, np.nan)).value)
    # The same rows have the same interval on any page: it is the stage's.
    assert found == setup.stage.resampler(setup.shown.groups[known]).mean(values[known])
    flat = setup.mean(np.ones(N), span=(0, 1))
    assert flat.low < flat.value == flat.high == 1, "nineteen groups do not say that all others are alike"
