"""Corruptions: worse at every severity, and nothing else about an image changes."""

import numpy as np
import pytest

from verdict.clip.robustness.corruptions import (
    CORRUPTIONS,
    IN_DEPTH,
    SEVERITIES,
    corrupt,
    psnr,
    standing_depth,
)
from verdict.data.digits.scenes import draw_scenes, handwriting_pools, render_scenes
from verdict.model.changes import bilinear

PX = 24


@pytest.fixture(scope="module")
def images():
    """Real handwriting in colour on a lit ground, not square, so that swapped axes show."""
    rng = np.random.default_rng(3)
    scenes = render_scenes(draw_scenes(7, handwriting_pools()["test"], rng=rng), rng=rng)
    ground = np.linspace(20, 130, 47)[None, :, None, None]
    return np.clip(scenes[:, :47, :53] * 0.8 + ground, 0, 255).astype(np.uint8)


def seeded(seed):
    return np.random.default_rng(seed)


def depths_of(images):
    mask = np.zeros(images.shape[:3], dtype=bool)
    mask[:, 6:18, 8:16] = True
    return standing_depth(mask)


@pytest.mark.parametrize("name", [*CORRUPTIONS, *IN_DEPTH])
def test_psnr_falls_with_severity_and_nothing_else_changes(name, images):
    one, before, state = (CORRUPTIONS | IN_DEPTH)[name], images.copy(), np.random.get_state()[1].copy()
    spoilt = [
        corrupt(images, one, severity, depths_of(images) if name in IN_DEPTH else seeded(5)) for severity in SEVERITIES
    ]
    assert all(one.dtype == np.uint8 and one.shape == images.shape for one in spoilt)
    quality = np.array([psnr(images, one).mean() for one in spoilt])
    assert (np.diff(quality) < -0.2).all(), quality
    assert np.array_equal(images, before)
    if name in CORRUPTIONS:
        assert quality[0] < 45 and quality[-1] < 26, quality
        assert np.array_equal(corrupt(images, one, 3, seeded(5)), spoilt[2])
        assert np.array_equal(np.random.get_state()[1], state), "draws come from the generator alone"


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "motion_blur", "elastic", "fog", "occlusion"])
def test_another_seed_gives_other_pixels(name, images):
    first, other = (corrupt(images[:2], CORRUPTIONS[name], 3, seeded(seed)) for seed in (8, 9))
    assert not np.array_equal(first, other)


def test_hand_values_of_the_simple_ones():
    image = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    image[0, 0, 0] = (100, 200, 50)
    assert corrupt(image, CORRUPTIONS["darker"], 1, seeded(0))[0, 0, 0].tolist() == [75, 150, 38]
    grey = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
    assert corrupt(image, CORRUPTIONS["less_colour"], 5, seeded(0))[0, 0, 0].tolist() == [round(grey)] * 3
    mean = 350 / 12
    assert corrupt(image, CORRUPTIONS["less_contrast"], 1, seeded(0))[0, 1, 1].tolist() == [round(0.25 * mean)] * 3
    picture = np.full((1, 1, 2, 3), 51, dtype=np.uint8)
    foggy = corrupt(picture, IN_DEPTH["depth fog"], 5, np.array([[[1.0, 4.0]]]))[0, 0, :, 0]
    expected = [0.2 * np.exp(-0.6 * d) + 0.85 * (1 - np.exp(-0.6 * d)) for d in (1, 4)]
    assert foggy.tolist() == np.rint(255 * np.array(expected)).tolist()


def test_psnr_is_that_of_its_definition():
    clean = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    assert psnr(clean, clean + np.uint8(51))[0] == pytest.approx(-20 * np.log10(0.2))
    assert psnr(clean, clean)[0] == np.inf


def test_reading_at_other_places_is_linear_between_pixels(monkeypatch):
    rows, columns = np.indices((3, 5), dtype=np.float32)
    ramp = (rows * 10 + columns)[None, :, :, None]
    assert np.allclose(bilinear(ramp, rows, columns), ramp)
    assert bilinear(ramp, rows + 0.5, columns + 0.25)[0, 0, 1, 0] == pytest.approx(5 + 1.25)
    assert bilinear(ramp, rows + 99, columns)[0, 0, 1, 0] == 21
    many = ramp + 100 * np.arange(9, dtype=np.float32)[:, None, None, None]
    shift = np.linspace(0, 1, len(many), dtype=np.float32)[:, None, None]
    seen = bilinear(many, rows + shift, columns)
    assert seen[:, 0, 0, 0] == pytest.approx(many[:, 0, 0, 0] + 10 * shift[:, 0, 0]), "each image has its own places"
    monkeypatch.setattr("verdict.model.changes.READ_AT_A_TIME", 4)
    assert np.array_equal(bilinear(many, rows + shift, columns), seen), "however many are read at a time"


@pytest.mark.parametrize(("name", "is_far_worse"), [("near focus", True), ("far focus", False), ("camera light", True)])
def test_distance_decides(name, is_far_worse):
    """Mean change of a striped picture whose left half is near and whose right half is far."""
    picture = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    picture[:, :, ::2] = 200
    depths = np.full((1, PX, PX), 1.0)
    depths[..., PX // 2 :] = 5.0
    moved = np.abs(corrupt(picture, IN_DEPTH[name], 3, depths).astype(float) - picture).mean(axis=(0, 1, 3))
    near, far = moved[3 : PX // 2 - 3].mean(), moved[PX // 2 + 3 : -3].mean()
    assert (far > near + 1) if is_far_worse else (near > far + 1)


def test_a_near_edge_smears_farther_when_the_camera_moves_sideways():
    picture = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    picture[:, :, PX // 2 :] = 255
    near, far = (
        (corrupt(picture, IN_DEPTH["sideways blur"], 4, np.full((1, PX, PX), depth))[0, 5, :, 0] % 255 > 0).sum()
        for depth in (1.0, 4.0)
    )
    assert near > 2 * far > 0
