"""Scenes of one digit: factors, interventions, captions, masks, and the couples that are held out."""

import numpy as np
import pytest

from verdict.clip.pictures import scenes
from verdict.data.digits.scenes import handwriting_digits, handwriting_pools


@pytest.fixture(scope="module")
def drawn():
    return scenes.draw(37, handwriting_pools()["val"], rng=np.random.default_rng(3))


def shown(drawn, px=24):
    return scenes.render(drawn, rng=np.random.default_rng(5), px=px)


def test_pictures_and_masks_have_their_shapes_and_repeat(drawn):
    images, masks = shown(drawn)
    assert images.shape == (37, 24, 24, 3) and images.dtype == np.uint8
    assert masks.shape == (37, 24, 24) and masks.dtype == bool
    assert 0.02 < masks.mean() < 0.4 and masks.any(axis=(1, 2)).all()
    assert np.array_equal(images, shown(drawn)[0])
    assert np.array_equal(drawn.factors["digit"], handwriting_digits()[drawn.sample])
    assert set(drawn.sample) <= set(handwriting_pools()["val"])


def test_an_intervention_changes_its_factor_alone(drawn):
    red = drawn.intervene("colour", "red")
    assert (red.factors["colour"] == 0).all()
    assert all(np.array_equal(red.factors[k], drawn.factors[k]) for k in scenes.FACTORS if k != "colour")
    (before, mask), (after, same) = shown(drawn), shown(red)
    assert np.array_equal(mask, same)
    # Paper and noise are as they were; beyond the mask only the faint rim of the ink changes.
    changed = (before != after).any(axis=3) & ~mask
    assert changed.sum() < 0.25 * (~mask).sum()
    assert np.array_equal(before[:, 0, 0], after[:, 0, 0]) and np.array_equal(before[:, -1, -1], after[:, -1, -1])
    assert not np.array_equal(before, after)
    assert (drawn.factors["colour"] == 0).any(), "the original is untouched"


def test_size_position_and_light_do_what_they_say(drawn):
    small, large = (shown(drawn.intervene("size", size))[1].sum() for size in ("small", "large"))
    assert large > 1.6 * small
    left, right = (shown(drawn.intervene("position", place))[1] for place in ("left", "right"))
    across = np.arange(24)
    assert (left * across).sum() / left.sum() + 4 < (right * across).sum() / right.sum()
    dark, plain = (shown(drawn.intervene("brightness", value))[0].mean() for value in (0.5, 1.0))
    assert dark == pytest.approx(plain / 2, rel=0.03)


def test_held_out_couples_are_twelve_and_spread():
    grid = scenes.is_held_out(np.arange(10)[:, None], np.arange(6))
    assert grid.sum() == 12
    assert (grid.sum(axis=1) >= 1).all() and (grid.sum(axis=0) == 2).all()


@pytest.mark.parametrize("held_out", [True, False])
def test_couples_can_be_asked_for(held_out):
    found = scenes.draw(300, handwriting_pools()["test"], rng=np.random.default_rng(1), held_out=held_out)
    assert (scenes.is_held_out(found.factors["digit"], found.factors["colour"]) == held_out).all()
    assert len(set(found.factors["colour"])) == 6


def test_captions_name_what_is_asked():
    words = dict(zip(scenes.FACTORS, ("seven", "red", "small", "left", "plain", "white"), strict=True))
    assert scenes.caption(words, list(scenes.FACTORS)) == "a small plain red seven on the left on a white background"
    assert scenes.caption(words, ["colour"]) == "a red digit"
    assert scenes.caption(words, []) == "a digit"


def test_a_caption_is_true_of_its_scene_and_of_those_that_agree(drawn):
    named = scenes.spoken(len(drawn), rng=np.random.default_rng(2))
    truth = scenes.is_true(drawn, named)
    assert truth.diagonal().all()
    table = drawn.table()
    names = np.array(list(scenes.FACTORS))
    for i, j in ((0, 1), (2, 3), (5, 30), (11, 7)):
        said = names[named[j]]
        assert truth[i, j] == all(table.at[i, name] == table.at[j, name] for name in said)
    assert scenes.is_true(drawn, np.zeros_like(named)).all()
    texts = scenes.captions(drawn, named, rng=np.random.default_rng(2))
    assert len(texts) == len(drawn)
    assert all((table.at[k, "colour"] in text) == named[k, 1] for k, text in enumerate(texts))
