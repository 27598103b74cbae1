from __future__ import annotations

import numpy as np

from verdict.data.digits import scenes
from verdict.data.digits.scenes import COLOURS, Scene, draw_scenes, handwriting_digits, handwriting_pools, render_scenes


def _one_digit(cell: int, colour: int, sample: int) -> Scene:
    digits, colours, samples = (np.full(16, -1) for _ in range(3))
    digits[cell], colours[cell], samples[cell] = handwriting_digits()[sample], colour, sample
    return Scene(digits, colours, samples)


def test_pools_divide_all_samples_digit_by_digit():
    pools = handwriting_pools()
    everything = np.concatenate(list(pools.values()))
    assert np.array_equal(np.sort(everything), np.arange(1797))
    for name, share in scenes.POOL_SHARES.items():
        counts = np.bincount(handwriting_digits()[pools[name]], minlength=10)
        assert np.abs(counts - share * np.bincount(handwriting_digits())).max() <= 1.0


def test_scenes_hold_what_was_asked_for():
    pool = handwriting_pools()["val"]
    drawn = draw_scenes(
        997, pool, rng=np.random.default_rng(0), n_digits=(2, 7), n_distinct_digits=(1, 3), n_distinct_colours=(2, 2)
    )
    assert len(drawn) == 997
    sizes = np.array([(scene.digits >= 0).sum() for scene in drawn])
    assert set(sizes) == set(range(2, 8))
    for scene in drawn:
        held = scene.digits >= 0
        assert np.array_equal(held, scene.colours >= 0)
        assert np.array_equal(held, scene.samples >= 0)
        assert np.isin(scene.samples[held], pool).all()
        assert np.array_equal(handwriting_digits()[scene.samples[held]], scene.digits[held])
        assert len(set(scene.digits[held])) <= 3
        assert len(set(scene.colours[held])) <= 2


def test_the_digit_is_painted_in_its_cell_in_its_colour():
    for colour, name in enumerate(COLOURS):
        image = render_scenes([_one_digit(6, colour, sample=11)], rng=np.random.default_rng(0))[0].astype(float)
        assert image.shape == (64, 64, 3)
        cell = image[16:32, 32:48]
        outside = image.copy()
        outside[16:32, 32:48] = 0.0
        assert outside.max() < 70.0 < cell.max()
        brightest = cell.reshape(-1, 3)[cell.reshape(-1, 3).sum(axis=1).argmax()]
        palette = scenes.handwriting_style().palette
        assert np.abs(palette - brightest).sum(axis=1).argmin() == colour, name


def test_rendering_in_chunks_covers_all_scenes_and_repeats():
    drawn = draw_scenes(257, np.arange(1797), rng=np.random.default_rng(2))
    first = render_scenes(drawn, rng=np.random.default_rng(5))
    again = render_scenes(drawn, rng=np.random.default_rng(5))
    other = render_scenes(drawn, rng=np.random.default_rng(6))
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first[256], other[256])
    assert len(render_scenes([], rng=np.random.default_rng(0))) == 0
