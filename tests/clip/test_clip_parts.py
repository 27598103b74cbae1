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
def test_an_object_is_found_however_long_its_vectors_are(find):
    rng = np.random.default_rng(3)
    scenes = [scene(rng) for _ in range(3)]
    features = np.stack([features for features, _, _ in scenes])
    found = find(features, GRID)
    assert found.shape == (3, *GRID)
    assert parts.intersection_over_union(found, np.stack([mask for _, mask, _ in scenes])).min() > 0.9
    assert np.array_equal(find(features * rng.uniform(0.5, 3, (3, features.shape[1], 1)), GRID), found)


def test_small_pieces_are_removed_and_what_fills_the_border_is_background():
    mask = np.zeros(GRID, dtype=bool)
    mask[:2, :3], mask[4:7, 3:5], mask[4, 0] = True, True, True
    kept = parts.keep_components(mask)
    assert kept.sum() == 12 and not kept[4, 0]
    mask[6] = False
    assert parts.keep_components(mask).sum() == 6
    assert not parts.keep_components(np.zeros(GRID, dtype=bool)).any()
    around = np.ones((1, *GRID), dtype=bool)
    around[0, 3, 2] = False
    assert np.argwhere(parts.clean_masks(around)[0]).tolist() == [[3, 2]]


@pytest.mark.parametrize("kind", ["clusters", "components"])
def test_parts_are_told_apart(kind):
    features, mask, upper = scene(np.random.default_rng(7))
    stacked, masks = np.stack([features, features]), np.stack([mask, mask])
    found = parts.parts_of(stacked, masks, 2, kind=kind, seed=1)
    assert np.array_equal(found >= 0, masks)
    assert set(np.unique(parts.parts_of(stacked, masks, 1, kind=kind, seed=1))) == {-1, 0}
    if kind == "clusters":
        assert len({*found[0][upper]}) == len({*found[0][mask & ~upper]}) == 1
        assert found[0][upper][0] != found[0][mask & ~upper][0]
    assert (parts.parts_of(stacked, masks & False, 5, kind=kind, seed=0) == -1).all(), "no foreground has no parts"
    one = np.zeros_like(masks)
    one[:, 3, 3] = True
    assert set(np.unique(parts.parts_of(stacked, one, 5, kind=kind, seed=0))) <= {-1, 0, 1}, "few patches have few"


def test_masks_agree_grow_and_are_shuffled():
    first, second = np.zeros((3, 2, 2), dtype=bool), np.zeros((3, 2, 2), dtype=bool)
    first[0, 0], second[0, :, 0], first[1, 0, 0] = True, True, True
    assert parts.intersection_over_union(first, second).tolist() == [1 / 3, 0, 1]
    grown = parts.to_pixels(np.array([[[1, 2], [3, 4]]]), 4, 6)
    assert grown[0].tolist() == [[1] * 3 + [2] * 3] * 2 + [[3] * 3 + [4] * 3] * 2
    masks = np.random.default_rng(1).random((13, *GRID)) < 0.3
    moved = parts.shuffled_masks(masks, np.random.default_rng(2))
    assert np.array_equal(moved.sum(axis=(1, 2)), masks.sum(axis=(1, 2))) and not np.array_equal(moved, masks)


def test_an_ellipse_is_that_of_the_largest_piece_and_has_a_width():
    angle = 0.5
    drawn = Ellipse((40.0, 57.0), (23.0, 11.0), (np.sin(angle), np.cos(angle)))
    mask = drawn.radius(83, 113) <= 1
    mask[0, 0] = True
    found = fit_ellipse(mask)
    assert found.centre == pytest.approx(drawn.centre, abs=0.2)
    assert found.half_axes == pytest.approx(drawn.half_axes, rel=0.02)
    assert abs(np.dot(found.direction, drawn.direction)) == pytest.approx(1, abs=1e-3)
    row = np.zeros((7, 9), dtype=bool)
    row[3, 4] = True
    assert min(fit_ellipse(row).half_axes) > 0.5
    row[3] = True
    long, short = fit_ellipse(row).half_axes
    assert long > 4 and short == pytest.approx(2 * np.sqrt(1 / 12))


def test_three_prompts_point_at_the_same_place():
    image = np.random.default_rng(0).integers(0, 256, (29, 31, 3), dtype=np.uint8)
    ellipse = Ellipse((14.0, 15.0), (8.0, 6.0), (0.0, 1.0))
    outline, grey, soft = prompt_images(image, ellipse)
    is_red = (outline == RED).all(axis=2)
    within = ellipse.radius(29, 31) <= 1
    inside, outside = within & ~is_red, ~within
    assert 20 < is_red.sum() < 60 and inside.sum() > 50
    for prompt in (outline, grey, soft):
        assert np.array_equal(prompt[inside], image[inside])
        assert (prompt[is_red] == RED).all()
    assert np.array_equal(outline[outside], image[outside])
    assert (grey[outside] == GREY_LEVEL).all()
    assert soft[outside].std() < 0.6 * image[outside].std()
    bare = prompt_images(image, ellipse, outline=False)
    assert len(bare) == 2 and not (bare == np.array(RED)).all(axis=3).any()
    assert all(np.array_equal(prompt[within], image[within]) for prompt in bare)


def test_prompts_of_all_parts_and_of_none():
    images = np.full((3, 16, 24, 3), 90, dtype=np.uint8)
    found = np.full((3, 4, 6), -1)
    nothing, nobody = part_prompts(images, found, outline=True)
    assert nothing == [] and nobody.shape == (0, 2)
    found[0, 1, 2], found[0, 3, 5], found[2, :2, :2] = 0, 4, 1
    pictures, owner = part_prompts(images, found, outline=True)
    assert [(one.shape, one.dtype) for one in pictures] == [((3, 16, 24, 3), np.uint8)] * 3
    assert owner.tolist() == [[0, 0], [0, 4], [2, 1]]
