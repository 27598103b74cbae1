"""Changed pictures: one thing changes, all else stays."""

import numpy as np
import pytest

from verdict.clip.pictures import scenes
from verdict.clip.pictures.sources import Pictures
from verdict.clip.robustness import changed
from verdict.data.digits.scenes import handwriting_digits, handwriting_pools

POOL = handwriting_pools()["test"]


@pytest.fixture(scope="module")
def subject():
    return changed.of_scenes(31, POOL, px=24, rng=np.random.default_rng(0))


def test_scenes_know_their_digit_and_their_writer(subject):
    assert subject.images.shape == (31, 24, 24, 3) and subject.masks.shape == (31, 24, 24) and len(subject) == 31
    assert np.array_equal(subject.y_true, handwriting_digits()[subject.scenes.sample])
    assert len(set(subject.groups)) == len(set(subject.scenes.sample))
    assert np.array_equal(subject.rendered(subject.scenes), subject.images)


def test_setting_a_factor_leaves_pictures_alone_that_had_it(subject):
    found = {(factor, value): images for factor, value, images in _all(subject)}
    assert len(found) == 6 + 2 + 5 + 3 + 4 + len(changed.TURNS) + len(changed.LIGHTS) + 2
    assert {images.shape for images in found.values()} == {subject.images.shape}
    for factor in ("colour", "background", "position"):
        for index, value in enumerate(scenes.FACTORS[factor]):
            is_same = (found[factor, value] == subject.images).all(axis=(1, 2, 3))
            assert np.array_equal(is_same, subject.scenes.factors[factor] == index), (factor, value)


def test_pictures_that_cannot_be_rendered_are_edited(subject):
    import pandas as pd

    table = pd.DataFrame({"y": subject.y_true, "group_id": subject.groups, "split": "test"})
    pictures = Pictures(subject.images, table, scenes.DIGITS)
    plain = changed.of_pictures(pictures, "test", 7)
    assert len(plain) == 7 and plain.scenes is None and not plain.masks.any()
    found = {(factor, value): images for factor, value, images in _all(plain)}
    assert np.array_equal(found["turn", "+90°"], np.rot90(plain.images, axes=(1, 2)))
    assert np.array_equal(found["turn", "mirrored"], plain.images[:, :, ::-1])
    assert found["light", "darker"].mean() < 0.5 * plain.images.mean()
    assert {images.shape for images in found.values()} == {plain.images.shape}


def _all(subject):
    return changed.interventions(subject, rng=np.random.default_rng(3))


@pytest.mark.parametrize("cue", ["texture", "colour"])
def test_cues_agree_with_the_digit_or_always_contradict_it(cue):
    n_values = len(scenes.FACTORS[cue])
    for agree in (True, False):
        drawn, digit, value = changed.cue_scenes(97, POOL, cue, agree=agree, rng=np.random.default_rng(2))
        assert ((digit == value) == agree).all() and digit.max() < n_values and value.max() < n_values
        assert np.array_equal(drawn.factors[cue], value) and np.array_equal(drawn.factors["digit"], digit)
        assert len(set(value)) == len(set(digit)) == n_values


def test_photographs_are_smooth():
    pieces = changed.photographs(11, 24, rng=np.random.default_rng(0))
    assert pieces.shape == (11, 24, 24, 3) and np.abs(np.diff(pieces.astype(float), axis=2)).mean() < 30
