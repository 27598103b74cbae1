"""Varied scenes: what changes, and what does not."""

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv

from verdict.data.digits.scenes import (
    CELL_PX,
    COLOURS,
    EMPTY,
    GRID,
    N_CELLS,
    Scene,
    draw_scenes,
    handwriting_digits,
    handwriting_pools,
    handwriting_style,
)
from verdict.model.presets import varied
from verdict.model.presets.varied import HUE_REACH, STROKES, ink, render_varied, shades

POOL = handwriting_pools()["pretrain"]
N_SCENES = 61


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(N_SCENES, POOL, rng=np.random.default_rng(1))


def cells(images):
    """(n, 16, 16, 16, 3): the cells of images, row by row."""
    parts = images.reshape(len(images), GRID, CELL_PX, GRID, CELL_PX, 3)
    return parts.swapaxes(2, 3).reshape(len(images), N_CELLS, CELL_PX, CELL_PX, 3)


def test_a_seed_gives_one_rendering(scenes):
    first, again, other = (render_varied(scenes, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == (N_SCENES, 64, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_grounds_are_dark_grey_and_light():
    nothing = np.full(N_CELLS, EMPTY)
    images = render_varied([Scene(nothing, nothing, nothing)] * 97, rng=np.random.default_rng(2))
    ground = np.median(images, axis=(1, 2, 3))
    assert all((np.abs(ground - level) < 40).sum() > 10 for level in (30, 127, 225))
    # Nothing is written: a picture is its ground, a slope of light and noise.
    assert images.std(axis=(1, 2)).max() < 40


def test_ink_lies_where_the_scene_has_a_digit_and_has_its_hue(scenes):
    images = cells(render_varied(scenes, rng=np.random.default_rng(5)))
    colours = np.stack([scene.colours for scene in scenes])
    colourful = np.sort(rgb_to_hsv(images / 255)[..., 1].reshape(N_SCENES, N_CELLS, -1), axis=2)[..., -20:].mean(axis=2)
    on_light = np.median(images, axis=(1, 2, 3, 4)) > 120
    written, empty = (colourful[on_light][(colours[on_light] != EMPTY) == here] for here in (True, False))
    assert np.median(written) > 2 * np.median(empty)
    names = rgb_to_hsv(handwriting_style().palette / 255)[:, 0]
    strongest = rgb_to_hsv(images / 255).reshape(N_SCENES, N_CELLS, -1, 3)
    at = strongest[..., 1].argmax(axis=2)[..., None, None]
    hue = np.take_along_axis(strongest, at, axis=2)[..., 0, 0]
    nearest = np.abs((hue[..., None] - names + 0.5) % 1 - 0.5).argmin(axis=-1)
    here = (colours != EMPTY) & on_light[:, None]
    assert np.mean(nearest[here] == colours[here]) > 0.75


def test_no_shade_comes_as_far_as_the_next_name():
    found = rgb_to_hsv(shades(np.linspace(0, 1, 503), np.random.default_rng(6)))
    names = rgb_to_hsv(handwriting_style().palette / 255)[:, 0]
    distance = np.abs((found[..., 0, None] - names + 0.5) % 1 - 0.5)
    assert (distance.argmin(axis=-1) == np.arange(len(COLOURS))).all()
    gap = np.sort(np.abs((names[:, None] - names + 0.5) % 1 - 0.5), axis=1)[:, 1]
    reached = distance[:, np.arange(5), np.arange(5)].max(axis=0)
    assert (reached > 0.9 * HUE_REACH * gap).all()


def test_handwriting_is_read_again_from_its_varied_ink(monkeypatch):
    """Each varied digit resembles the digits of its own value most, whether it was written or drawn."""
    digits = np.repeat(np.arange(10), 61)
    rng = np.random.default_rng(7)
    samples = np.array([rng.choice(POOL[handwriting_digits()[POOL] == digit]) for digit in digits])
    plain = np.pad(handwriting_style().sprites[POOL], ((0, 0), (1, 1), (1, 1)))
    means = np.stack([plain[handwriting_digits()[POOL] == digit].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    means = (means - means.mean(axis=1, keepdims=True)) / means.std(axis=1, keepdims=True)
    for share in (0.0, 1.0):
        monkeypatch.setattr(varied, "DRAWN_SHARE", share)
        found = ink(samples, digits, np.random.default_rng(8))
        assert found.shape == (610, CELL_PX, CELL_PX) and found.min() >= 0 and found.max() <= 1
        # Among the three nearest of ten: a turned digit is not always nearest to its own mean.
        near = (-found.reshape(610, -1) @ means.T).argsort(axis=1)[:, :3] == digits[:, None]
        right = [near[digits == digit].any(axis=1).mean() for digit in range(10)]
        assert np.mean(right) > 0.65 and min(right) > 0.4, (share, right)


def test_every_digit_can_be_drawn_and_strokes_differ_in_width(monkeypatch):
    ways, digit = varied._templates()
    assert len(STROKES) == 10 and set(digit) == set(range(10))
    assert np.array_equal(ways[digit == 9], -ways[digit == 6])
    monkeypatch.setattr(varied, "DRAWN_SHARE", 1.0)
    covered = ink(np.zeros(307, int), np.full(307, 8), np.random.default_rng(9)).mean(axis=(1, 2))
    # Scale and stretch alone give less than two.
    assert np.quantile(covered, 0.9) > 2.4 * np.quantile(covered, 0.1)
