"""Ellipses are found again, and prompts change what they should and nothing else."""

import numpy as np
import pytest

from verdict.clip.visual_prompts import GREY_LEVEL, RED, Ellipse, fit_ellipse, part_prompts, prompt_images


def test_a_drawn_ellipse_is_found_again():
    angle = 0.5
    drawn = Ellipse((40.0, 57.0), (23.0, 11.0), (np.sin(angle), np.cos(angle)))
    found = fit_ellipse(drawn.radius(83, 113) <= 1)
    assert found.centre == pytest.approx(drawn.centre, abs=0.2)
    assert found.half_axes == pytest.approx(drawn.half_axes, rel=0.02)
    assert abs(np.dot(found.direction, drawn.direction)) == pytest.approx(1, abs=1e-3)


def test_the_largest_piece_counts_and_nothing_has_no_ellipse():
    mask = np.zeros((11, 13), dtype=bool)
    mask[0, 0], mask[5:8, 7:10] = True, True
    assert fit_ellipse(mask).centre == (6, 8)
    assert fit_ellipse(np.zeros((3, 5), dtype=bool)) is None


def test_one_pixel_and_a_row_of_pixels_have_a_width():
    mask = np.zeros((7, 9), dtype=bool)
    mask[3, 4] = True
    assert min(fit_ellipse(mask).half_axes) > 0.5
    mask[3] = True
    long, short = fit_ellipse(mask).half_axes
    assert long > 4 and short == pytest.approx(2 * np.sqrt(1 / 12))


def test_three_prompts_point_at_the_same_place():
    image = np.random.default_rng(0).integers(0, 256, (29, 31, 3), dtype=np.uint8)
    ellipse = Ellipse((14.0, 15.0), (8.0, 6.0), (0.0, 1.0))
    outline, grey, soft = prompt_images(image, ellipse)
    is_red = (outline == RED).all(axis=2)
    inside = (ellipse.radius(29, 31) <= 1) & ~is_red
    outside = ellipse.radius(29, 31) > 1
    assert 20 < is_red.sum() < 60 and inside.sum() > 50
    for prompt in (outline, grey, soft):
        assert np.array_equal(prompt[inside], image[inside])
        assert (prompt[is_red] == RED).all()
    assert np.array_equal(outline[outside], image[outside])
    assert (grey[outside] == GREY_LEVEL).all()
    assert soft[outside].std() < 0.6 * image[outside].std()
    bare = prompt_images(image, ellipse, outline=False)
    within = ellipse.radius(29, 31) <= 1
    assert len(bare) == 2 and not (bare == np.array(RED)).all(axis=3).any()
    assert all(np.array_equal(prompt[within], image[within]) for prompt in bare)


def test_prompts_of_all_parts_and_of_none():
    images = np.full((3, 16, 24, 3), 90, dtype=np.uint8)
    parts = np.full((3, 4, 6), -1)
    parts[0, 1, 2], parts[0, 3, 5], parts[2, :2, :2] = 0, 4, 1
    pictures, owner = part_prompts(images, parts)
    assert pictures.shape == (3, 3, 16, 24, 3) and pictures.dtype == np.uint8
    assert owner.tolist() == [[0, 0], [0, 4], [2, 1]]
    empty, nobody = part_prompts(images, np.full((3, 4, 6), -1))
    assert empty.shape == (0, 3, 16, 24, 3) and nobody.shape == (0, 2)
