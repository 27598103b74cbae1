"""Objects and parts are found where features differ, and masks are compared by hand-made cases."""

import numpy as np
import pytest

from verdict.clip.concepts import parts
from verdict.clip.concepts.parts import GREY_LEVEL, RED, Ellipse, fit_ellipse, part_prompts, prompt_images

GRID = (7, 5)


def scene(rng, *, noise=0.05):
    """Patch features of an object with an upper and a lower part on a plain background, and its mask."""
    mask = np.zeros(GRID, dtype=bool)
    mask[2:5, 1:4] = True
    upper = mask.copy()
    upper[3:] = False
    directions = np.eye(11)[:3]
    which = np.where(mask, np.where(upper, 1, 2), 0)
    # The object's two parts have more in common with each other than with the background.
    directions[2] = 0.9 * directions[1] + 0.44 * directions[2]
    return directions[which].reshape(-1, 11) + rng.normal(0, noise, (mask.size, 11)), mask, upper


@pytest.mark.parametrize("find", [parts.foreground_spectral, parts.foreground_principal])
def test_an_object_is_found(find):
    rng = np.random.default_rng(3)
    scenes = [scene(rng) for _ in range(3)]
    found = find(np.stack([features for features, _, _ in scenes]), GRID)
    assert found.shape == (3, *GRID)
    assert parts.intersection_over_union(found, np.stack([mask for _, mask, _ in scenes])).min() > 0.9


def test_scaling_a_patch_changes_nothing():
    rng = np.random.default_rng(5)
    features = scene(rng)[0][None]
    scaled = features * rng.uniform(0.5, 3, (1, features.shape[1], 1))
    assert np.array_equal(parts.foreground_spectral(features, GRID), parts.foreground_spectral(scaled, GRID))


def test_features_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="patch features"):
        parts.foreground_spectral(np.zeros((2, 36, 3)), GRID)


def test_small_pieces_are_removed_and_a_large_second_one_is_kept():
    mask = np.zeros(GRID, dtype=bool)
    mask[:2, :3], mask[4:7, 3:5], mask[4, 0] = True, True, True
    kept = parts.keep_components(mask)
    assert kept.sum() == 12 and not kept[4, 0]
    mask[6] = False
    assert parts.keep_components(mask).sum() == 6
    assert not parts.keep_components(np.zeros(GRID, dtype=bool)).any()


def test_what_fills_the_border_is_background():
    mask = np.ones((1, *GRID), dtype=bool)
    mask[0, 3, 2] = False
    assert parts.border_share(mask) == 1
    assert np.argwhere(parts.clean_masks(mask)[0]).tolist() == [[3, 2]]


@pytest.mark.parametrize("split", ["clusters", "components"])
def test_parts_are_told_apart(split):
    features, mask, upper = scene(np.random.default_rng(7))
    stacked, masks = np.stack([features, features]), np.stack([mask, mask])
    if split == "clusters":
        found = parts.parts_by_clusters(stacked, masks, 2, seed=1)
    else:
        found = parts.parts_by_components(stacked, masks, 1)
        assert set(np.unique(found)) == {-1, 0}
        found = parts.parts_by_components(stacked, masks, 2)
    assert np.array_equal(found >= 0, masks)
    if split == "clusters":
        assert len({*found[0][upper]}) == len({*found[0][mask & ~upper]}) == 1
        assert found[0][upper][0] != found[0][mask & ~upper][0]


def test_no_foreground_has_no_parts_and_few_patches_few():
    features = np.random.default_rng(0).normal(size=(2, 35, 3))
    assert (parts.parts_by_clusters(features, np.zeros((2, *GRID), dtype=bool), 5, seed=0) == -1).all()
    assert (parts.parts_by_components(features, np.zeros((2, *GRID), dtype=bool), 5) == -1).all()
    one = np.zeros((2, *GRID), dtype=bool)
    one[:, 3, 3] = True
    assert set(np.unique(parts.parts_by_clusters(features, one, 5, seed=0))) <= {-1, 0, 1}


def test_agreement_of_masks():
    first, second = np.zeros((3, 2, 2), dtype=bool), np.zeros((3, 2, 2), dtype=bool)
    first[0, 0], second[0, :, 0] = True, True
    first[1, 0, 0] = True
    assert parts.intersection_over_union(first, second).tolist() == [1 / 3, 0, 1]
    with pytest.raises(ValueError, match="shapes"):
        parts.intersection_over_union(first, second[:2])


def test_patches_become_blocks_of_pixels():
    grown = parts.to_pixels(np.array([[[1, 2], [3, 4]]]), 4, 6)
    assert grown.shape == (1, 4, 6)
    assert grown[0].tolist() == [[1] * 3 + [2] * 3] * 2 + [[3] * 3 + [4] * 3] * 2


def test_shuffling_keeps_the_size():
    masks = np.random.default_rng(1).random((13, *GRID)) < 0.3
    moved = parts.shuffled_masks(masks, np.random.default_rng(2))
    assert np.array_equal(moved.sum(axis=(1, 2)), masks.sum(axis=(1, 2)))
    assert not np.array_equal(moved, masks)


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
    found = np.full((3, 4, 6), -1)
    found[0, 1, 2], found[0, 3, 5], found[2, :2, :2] = 0, 4, 1
    pictures, owner = part_prompts(images, found)
    assert pictures.shape == (3, 3, 16, 24, 3) and pictures.dtype == np.uint8
    assert owner.tolist() == [[0, 0], [0, 4], [2, 1]]
    empty, nobody = part_prompts(images, np.full((3, 4, 6), -1))
    assert empty.shape == (0, 3, 16, 24, 3) and nobody.shape == (0, 2)
