"""Photometric views: each operation by hand, independent streams, ranges, and nothing done to geometry."""

import colorsys

import numpy as np
import pytest

from verdict.base.params import load_params
from verdict.model.augment import FACTORS, jitters, photometric, recolour, rng_of, view_of_epoch

PUBLISHED = load_params("base").training.photometric
STILL = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0.0, "noise_sd": 0.0}
IDS = [f"scene {k}" for k in range(11)]


def ranges(**changes):
    """Ranges that change nothing but what is given."""
    return PUBLISHED.model_copy(update={**STILL, **changes})


@pytest.fixture(scope="module")
def images():
    """Eleven pictures of 7 by 13 pixels whose values stay far from both ends."""
    return np.random.default_rng(0).uniform(0.35, 0.65, (11, 7, 13, 3)).astype(np.float32)


def test_without_ranges_a_view_is_the_image(images):
    assert photometric(images, IDS, ranges(), view=1) == pytest.approx(images, abs=1e-6)


def test_brightness_is_added(images):
    chosen = ranges(brightness=0.12)
    found = photometric(images, IDS, chosen, view=1) - images
    drawn = jitters(IDS, chosen, view=1)["brightness"]
    assert found == pytest.approx(np.broadcast_to(drawn[:, None, None, None], images.shape), abs=1e-6)
    assert drawn.std() > 0.03


def test_contrast_spreads_about_the_mean_of_each_channel(images):
    chosen = ranges(contrast=(0.88, 1.12))
    found = photometric(images, IDS, chosen, view=1)
    drawn = jitters(IDS, chosen, view=1)["contrast"]
    assert found.mean(axis=(1, 2)) == pytest.approx(images.mean(axis=(1, 2)), abs=1e-6)
    assert found.std(axis=(1, 2)) / images.std(axis=(1, 2)) == pytest.approx(np.stack([drawn] * 3, 1), rel=1e-4)


def test_saturation_and_hue_change_what_they_name(images):
    chosen = ranges(saturation=(0.85, 1.15), hue=0.05)
    found, drawn = photometric(images, IDS, chosen, view=1), jitters(IDS, chosen, view=1)
    for k in range(len(IDS)):
        for before, after in zip(images[k].reshape(-1, 3), found[k].reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
            expected = colorsys.hsv_to_rgb(
                (hue + float(drawn["hue"][k])) % 1, saturation * float(drawn["saturation"][k]), value
            )
            assert after == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.07, 0.5])
def test_any_turn_agrees_with_the_reference(turn):
    grey_and_black = np.array([[0.4, 0.4, 0.4], [0.0, 0.0, 0.0]])
    pixels = np.vstack([np.random.default_rng(1).random((503, 3)), grey_and_black])
    for before, after in zip(pixels, recolour(pixels, 1.3, turn), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, min(1, 1.3 * saturation), value), abs=1e-12)


def test_noise_has_its_size_and_is_new_for_every_image_and_view():
    images = np.full((11, 31, 37, 3), 0.5, dtype=np.float32)
    noise = [photometric(images, IDS, ranges(noise_sd=0.02), view=view) - 0.5 for view in (1, 2)]
    assert noise[0].std() == pytest.approx(0.02, rel=0.02)
    assert abs(noise[0].mean()) < 4 * 0.02 / np.sqrt(noise[0].size)
    flat = np.concatenate(noise).reshape(22, -1)
    between = np.corrcoef(flat)[np.triu_indices(22, 1)]
    # Correlations of 3,441 independent values: standard deviation 0.017.
    assert np.abs(between).max() < 0.08


def test_values_are_cut_to_the_unit_interval():
    ends = np.stack([np.zeros((5, 5, 3)), np.ones((5, 5, 3))]).astype(np.float32)
    for view in range(1, 20):
        found = photometric(ends, ["dark", "light"], PUBLISHED, view=view)
        assert found.dtype == np.float32
        assert found.min() >= 0 and found.max() <= 1


def test_jitters_are_uniform_over_their_ranges():
    drawn = jitters([f"i{k}" for k in range(4001)], PUBLISHED, view=1)
    bounds = {"brightness": (-0.12, 0.12), "contrast": (0.88, 1.12), "saturation": (0.85, 1.15), "hue": (-0.05, 0.05)}
    assert drawn.keys() == bounds.keys() == set(FACTORS)
    for name, (low, high) in bounds.items():
        assert low <= drawn[name].min() and drawn[name].max() <= high
        share = (drawn[name].astype(np.float64) - low) / (high - low)
        # Deciles of 4,001 draws: standard deviation of a share of 0.1 is 0.005.
        assert np.histogram(share, bins=10, range=(0, 1))[0] / 4001 == pytest.approx(np.full(10, 0.1), abs=0.025)


def test_a_draw_depends_on_seed_view_image_and_operation_alone():
    one = rng_of(42, 1, "scene", "hue").random(3)
    assert rng_of(42, 1, "scene", "hue").random(3).tolist() == one.tolist()
    for other in (
        (43, 1, "scene", "hue"),
        (42, 2, "scene", "hue"),
        (42, 1, "scene2", "hue"),
        (42, 1, "scene", "noise"),
    ):
        assert rng_of(*other).random(3).tolist() != one.tolist()
    # Names that run together would make these one key.
    assert rng_of(4, 21, "a", "b").random() != rng_of(42, 1, "a", "b").random()


def test_a_view_does_not_depend_on_the_other_images(images):
    whole = photometric(images, IDS, PUBLISHED, view=3)
    state = np.random.get_state()[1].copy()
    order = [7, 2, 9]
    part = photometric(images[order], [IDS[k] for k in order], PUBLISHED, view=3)
    assert part == pytest.approx(whole[order], abs=1e-6)
    assert np.array_equal(state, np.random.get_state()[1])
    assert np.abs(photometric(images, IDS, PUBLISHED, view=4) - whole).max() > 0.02
    seeded = PUBLISHED.model_copy(update={"seed": 43})
    assert np.abs(photometric(images, IDS, seeded, view=3) - whole).max() > 0.02


def test_an_epoch_draws_each_view_equally_often_and_anew():
    ids = [f"i{k}" for k in range(2003)]
    first, again, later, other = (
        view_of_epoch(ids, 5, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert np.array_equal(first, again)
    assert np.bincount(first, minlength=6)[1:] / 2003 == pytest.approx(np.full(5, 0.2), abs=0.04)
    for one in (later, other):
        assert np.mean(first == one) == pytest.approx(1 / 5, abs=0.04)
    assert view_of_epoch(ids[::-1], 5, seed=1, epoch=0).tolist() == first[::-1].tolist()
    assert set(view_of_epoch(ids, 1, seed=1, epoch=0)) == {1}


def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError, match="views are numbered from 1, got 0"):
        photometric(images, IDS, PUBLISHED, view=0)
    with pytest.raises(ValueError, match="one an id, got float32"):
        photometric(images, IDS[:-1], PUBLISHED, view=1)
    with pytest.raises(ValueError, match="expected float32 images"):
        photometric((255 * images).astype(np.uint8), IDS, PUBLISHED, view=1)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\].*did you pass bytes"):
        photometric(255 * images, IDS, PUBLISHED, view=1)
