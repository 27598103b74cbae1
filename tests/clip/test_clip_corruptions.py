"""Corruptions: worse at every severity, and nothing else about an image changes."""

import numpy as np
import pytest

from verdict.clip.robustness.corruptions import (
    CORRUPTIONS,
    IN_DEPTH,
    SEVERITIES,
    as_unit,
    bilinear,
    corrupt,
    corrupt_in_depth,
    disk,
    pixel_grid,
    psnr,
    standing_depth,
)
from verdict.data.digits.scenes import draw_scenes, handwriting_pools, render_scenes


@pytest.fixture(scope="module")
def images():
    """Real handwriting in colour on a lit ground, not square, so that swapped axes show."""
    rng = np.random.default_rng(3)
    scenes = render_scenes(draw_scenes(7, handwriting_pools()["test"], rng=rng), rng=rng)
    ground = np.linspace(20, 130, 47)[None, :, None, None]
    return np.clip(scenes[:, :47, :53] * 0.8 + ground, 0, 255).astype(np.uint8)


def test_there_are_at_least_twelve_of_five_families():
    assert len(CORRUPTIONS) >= 12
    assert {one.family for one in CORRUPTIONS.values()} == {"noise", "blur", "light", "digital", "cover"}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_psnr_falls_with_severity_and_dtype_and_shape_stay(name, images):
    before = images.copy()
    spoilt = [corrupt(images, name, severity, rng=np.random.default_rng(5)) for severity in SEVERITIES]
    assert all(one.dtype == np.uint8 and one.shape == images.shape for one in spoilt)
    quality = np.array([psnr(images, one).mean() for one in spoilt])
    assert (np.diff(quality) < -0.2).all(), quality
    assert quality[0] < 45 and quality[-1] < 26, quality
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_pixels_and_the_global_state_is_untouched(name, images):
    state = np.random.get_state()[1].copy()
    first, again = (corrupt(images[:2], name, 3, rng=np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "motion_blur", "elastic", "fog", "occlusion"])
def test_another_seed_gives_other_pixels(name, images):
    first, other = (corrupt(images[:2], name, 3, rng=np.random.default_rng(seed)) for seed in (8, 9))
    assert not np.array_equal(first, other)


def test_hand_values_of_the_simple_ones():
    image = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    image[0, 0, 0] = (100, 200, 50)
    rng = np.random.default_rng(0)
    assert corrupt(image, "darker", 1, rng=rng)[0, 0, 0].tolist() == [75, 150, 38]
    grey = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
    assert corrupt(image, "less_colour", 5, rng=rng)[0, 0, 0].tolist() == [round(grey)] * 3
    mean = 350 / 12
    assert corrupt(image, "less_contrast", 1, rng=rng)[0, 1, 1].tolist() == [round(0.25 * mean)] * 3


def test_psnr_is_that_of_its_definition():
    clean = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    assert psnr(clean, clean + np.uint8(51))[0] == pytest.approx(-20 * np.log10(0.2))
    assert psnr(clean, clean)[0] == np.inf


def test_reading_at_other_places_is_linear_between_pixels():
    rows, columns = pixel_grid(3, 5)
    ramp = (rows * 10 + columns)[None, :, :, None]
    assert np.allclose(bilinear(ramp, rows, columns), ramp)
    assert bilinear(ramp, rows + 0.5, columns + 0.25)[0, 0, 1, 0] == pytest.approx(5 + 1.25)
    assert bilinear(ramp, rows + 99, columns)[0, 0, 1, 0] == 21


def test_a_disk_sums_to_one_and_has_odd_sides():
    assert disk(2.4).sum() == pytest.approx(1) and disk(2.4).shape == (7, 7)


def test_refusals(images):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no corruption is called 'snow'"):
        corrupt(images, "snow", 1, rng=rng)
    with pytest.raises(ValueError, match="severity is 1 to 5"):
        corrupt(images, "fog", 6, rng=rng)
    with pytest.raises(ValueError, match="uint8"):
        as_unit(images.astype(np.float32))


PX = 24


@pytest.fixture(scope="module")
def coarse():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)


@pytest.mark.parametrize("name", IN_DEPTH)
def test_psnr_falls_with_severity_in_depth_too(name, coarse):
    images, mask = coarse, np.zeros(coarse.shape[:3], dtype=bool)
    mask[:, 6:18, 8:16] = True
    depths = standing_depth(mask)
    spoilt = [corrupt_in_depth(images, depths, name, severity) for severity in (1, 2, 3, 4, 5)]
    assert all(one.dtype == np.uint8 and one.shape == images.shape for one in spoilt)
    assert (np.diff([psnr(images, one).mean() for one in spoilt]) < -0.2).all()


def changed_by(name, near, far, *, severity=3):
    """Mean change of a striped picture whose left half is near and whose right half is far."""
    picture = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    picture[:, :, ::2] = 200
    depths = np.full((1, PX, PX), near, dtype=float)
    depths[..., PX // 2 :] = far
    moved = np.abs(corrupt_in_depth(picture, depths, name, severity).astype(float) - picture).mean(axis=(0, 1, 3))
    return moved[3 : PX // 2 - 3].mean(), moved[PX // 2 + 3 : -3].mean()


@pytest.mark.parametrize(("name", "is_far_worse"), [("near focus", True), ("far focus", False), ("camera light", True)])
def test_distance_decides(name, is_far_worse):
    near, far = changed_by(name, 1.0, 5.0)
    assert (far > near + 1) if is_far_worse else (near > far + 1)


def test_fog_is_that_of_its_formula():
    picture = np.full((1, 1, 2, 3), 51, dtype=np.uint8)
    foggy = corrupt_in_depth(picture, [[[1.0, 4.0]]], "depth fog", 5)[0, 0, :, 0]
    expected = [0.2 * np.exp(-0.6 * d) + 0.85 * (1 - np.exp(-0.6 * d)) for d in (1, 4)]
    assert foggy.tolist() == np.rint(255 * np.array(expected)).tolist()


def test_a_near_edge_smears_farther_when_the_camera_moves_sideways():
    picture = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    picture[:, :, PX // 2 :] = 255
    smeared = [
        (corrupt_in_depth(picture, np.full((1, PX, PX), d), "sideways blur", 4)[0, 5, :, 0] % 255 > 0).sum()
        for d in (1, 4)
    ]
    assert smeared[0] > 2 * smeared[1] > 0


def test_refusals_of_depth(coarse):
    images, depths = coarse, np.ones(coarse.shape[:3])
    with pytest.raises(ValueError, match="no corruption is called 'rain'"):
        corrupt_in_depth(images, depths, "rain", 1)
    with pytest.raises(ValueError, match="severity is 1 to 5"):
        corrupt_in_depth(images, depths, "depth fog", 0)
    with pytest.raises(ValueError, match="above zero"):
        corrupt_in_depth(images, depths * 0, "depth fog", 1)
