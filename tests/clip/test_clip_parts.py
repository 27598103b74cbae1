"""Objects and parts are found where features differ, and masks are compared by hand-made cases."""

import numpy as np
import pytest

from verdict.clip.concepts import parts
from verdict.clip.concepts.parts import GREY_LEVEL, RED, ellipse_radius, part_prompts, prompt_images

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
    smaller = mask.copy()
    smaller[6] = False
    kept = parts.keep_components(np.stack([mask, np.zeros_like(mask), smaller]))
    assert kept.sum(axis=(1, 2)).tolist() == [12, 0, 6] and not kept[0, 4, 0]
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


def radius_of(side, centre, half_axes, angle):
    """Of an ellipse whose long axis is turned by an angle."""
    y, x = np.indices(side) - np.reshape(centre, (2, 1, 1))
    along, across = y * np.sin(angle) + x * np.cos(angle), x * np.sin(angle) - y * np.cos(angle)
    return np.hypot(along / half_axes[0], across / half_axes[1])


def test_an_ellipse_is_that_of_the_largest_piece_and_has_a_width():
    drawn = [radius_of((83, 113), (40.0, 57.0), (23.0, 11.0), angle) for angle in (0.5, -1.2)]
    masks = np.stack(drawn) <= 1
    masks[:, 0, 0] = True
    assert ellipse_radius(masks) == pytest.approx(np.stack(drawn), rel=0.03, abs=0.03)
    dots = np.zeros((2, 7, 9), dtype=bool)
    dots[0, 3, 4], dots[1, 3] = True, True
    dot, row = ellipse_radius(dots)
    # A pixel is 1 wide, and a row of 9 is 9 long: the half axes of their moments are those over the root of 3.
    assert dot[3, 5] == pytest.approx(np.sqrt(3)) and row[4, 4] == pytest.approx(np.sqrt(3))
    assert row[3, 8] == pytest.approx(4 * np.sqrt(3) / 9)


def test_three_prompts_point_at_the_same_place():
    images = np.random.default_rng(0).integers(0, 256, (2, 29, 31, 3), dtype=np.uint8)
    masks = np.stack([radius_of((29, 31), (14.0, 15.0), axes, 0.0) <= 1 for axes in ((8.0, 6.0), (11.0, 5.0))])
    soft = np.full_like(images, 99)
    for image, mask, three, bare in zip(
        images,
        masks,
        prompt_images(images, soft, masks, outline=True),
        prompt_images(images, soft, masks, outline=False),
        strict=True,
    ):
        is_red = (three[0] == RED).all(axis=2)
        within = ellipse_radius(mask[None])[0] <= 1
        inside, outside = within & ~is_red, ~within
        assert 20 < is_red.sum() < 60 and inside.sum() > 50
        for prompt in three:
            assert np.array_equal(prompt[inside], image[inside])
            assert (prompt[is_red] == RED).all()
        assert np.array_equal(three[0][outside], image[outside])
        assert (three[1][outside] == GREY_LEVEL).all() and (three[2][outside] == 99).all()
        assert len(bare) == 2 and not (bare == np.array(RED)).all(axis=3).any()
        assert all(np.array_equal(prompt[within], image[within]) for prompt in bare)


def test_prompts_of_all_parts_and_of_none(monkeypatch):
    images = np.random.default_rng(3).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    found = np.full((3, 4, 6), -1)
    nothing, nobody = part_prompts(images, found, outline=True)
    assert nothing.shape == (0, 3, 16, 24, 3) and nobody.shape == (0, 2)
    found[0, 1, 2], found[0, 3, 5], found[2, :2, :2] = 0, 4, 1
    pictures, owner = part_prompts(images, found, outline=True)
    assert pictures.shape == (3, 3, 16, 24, 3) and pictures.dtype == np.uint8
    assert owner.tolist() == [[0, 0], [0, 4], [2, 1]]
    blurred = pictures[2, 2, 8:, 12:]
    assert blurred.std() < 0.6 * images[2, 8:, 12:].std(), "what lies outside a part is blurred"
    monkeypatch.setattr(parts, "CHUNK", 2)
    assert np.array_equal(part_prompts(images, found, outline=True)[0], pictures)
