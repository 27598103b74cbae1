"""Views under a known map of the plane, points found again, and corruptions that grow with distance."""

import numpy as np
import pytest

from verdict.clip import depth
from verdict.clip.pixels import psnr

PX = 24


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def test_maps_of_the_plane_by_hand():
    middle = (PX - 1) / 2
    quarter = depth.homography(PX, degrees=90)
    # Anticlockwise as seen: what was on the right comes to the top.
    assert depth.project([PX - 1, middle], quarter) == pytest.approx([middle, 0])
    assert depth.project([0, 0], depth.homography(PX, scale=2)) == pytest.approx([-middle, -middle])
    assert depth.project([3, 4], depth.homography(PX, shift=(0.25, -0.5))) == pytest.approx([3 + 6, 4 - 12])
    top, bottom = (
        np.ptp(depth.project([[0, row], [PX - 1, row]], depth.homography(PX, tilt=0.4))[:, 0]) for row in (0, PX - 1)
    )
    assert top < PX - 1 < bottom


def test_a_quarter_turn_of_pixels_is_that_of_numpy(images):
    turned = depth.second_view(images, depth.homography(PX, degrees=90))
    assert np.array_equal(turned, np.rot90(images, axes=(1, 2)))
    assert np.array_equal(depth.second_view(images, np.eye(3)), images)


def test_a_pixel_lands_where_its_point_does(images):
    dot = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    dot[0, 7:10, 12:15] = 255
    matrix = depth.homography(PX, degrees=20, scale=1.2, tilt=0.2, shift=(0.05, -0.05))
    seen = depth.second_view(dot, matrix)[0, ..., 0].astype(float)
    rows, columns = np.mgrid[:PX, :PX]
    centre = [(seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()]
    assert centre == pytest.approx(depth.project([13, 8], matrix), abs=0.15)


def test_correspondence_by_hand():
    """Four patches on a 2 x 2 grid, turned by a quarter: 0 → 2, 1 → 0, 2 → 3, 3 → 1."""
    features = np.eye(4)[None]
    matrix = depth.homography(PX, degrees=90)
    turned = features[:, [1, 3, 0, 2]]
    found = depth.correspondences(features, turned, matrix, PX, np.ones((1, 4)))
    assert found.distance == pytest.approx(0) and found.best == pytest.approx(0)
    # Features that stay where they are: each patch is taken for its neighbour, half a side away.
    wrong = depth.correspondences(features, features, matrix, PX, np.ones((1, 4)))
    assert wrong.distance == pytest.approx(0.5)
    at = wrong.within(0.1)
    assert (at["found"].mean(), at["best"].mean(), at["chance"].mean()) == (0, 1, 0.25)


def test_points_that_leave_the_view_do_not_count():
    features = np.ones((2, 9, 3))
    shifted = depth.homography(PX, shift=(0.4, 0.0))
    assert len(depth.correspondences(features, features, shifted, PX, np.ones((2, 9))).image) == 2 * 6
    with pytest.raises(ValueError, match="no keypoint"):
        depth.correspondences(features, features, shifted, PX, np.zeros((2, 9)))
    with pytest.raises(ValueError, match="square grids"):
        depth.correspondences(features[:, :8], features[:, :8], shifted, PX, np.ones((2, 8)))


def test_patches_with_ink_by_hand():
    mask = np.zeros((1, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[0, 2:, 2:] = True
    assert depth.patches_with_ink(mask, 2).tolist() == [[True, False, False, True]]
    assert depth.patches_with_ink(mask, 2, least=0.5).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("name", depth.CHANGES)
def test_psnr_falls_with_severity_and_dtype_and_shape_stay(name, images):
    mask = np.zeros(images.shape[:3], dtype=bool)
    mask[:, 6:18, 8:16] = True
    depths = depth.standing_depth(mask)
    spoilt = [depth.change(images, depths, name, severity) for severity in (1, 2, 3, 4, 5)]
    assert all(one.dtype == np.uint8 and one.shape == images.shape for one in spoilt)
    assert (np.diff([psnr(images, one).mean() for one in spoilt]) < -0.2).all()


def changed_by(name, near, far, *, severity=3):
    """Mean change of a striped picture whose left half is near and whose right half is far."""
    picture = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    picture[:, :, ::2] = 200
    depths = np.full((1, PX, PX), near, dtype=float)
    depths[..., PX // 2 :] = far
    moved = np.abs(depth.change(picture, depths, name, severity).astype(float) - picture).mean(axis=(0, 1, 3))
    return moved[3 : PX // 2 - 3].mean(), moved[PX // 2 + 3 : -3].mean()


@pytest.mark.parametrize(("name", "is_far_worse"), [("near focus", True), ("far focus", False), ("camera light", True)])
def test_distance_decides(name, is_far_worse):
    near, far = changed_by(name, 1.0, 5.0)
    assert (far > near + 1) if is_far_worse else (near > far + 1)


def test_fog_is_that_of_its_formula():
    picture = np.full((1, 1, 2, 3), 51, dtype=np.uint8)
    foggy = depth.change(picture, [[[1.0, 4.0]]], "depth fog", 5)[0, 0, :, 0]
    expected = [0.2 * np.exp(-0.6 * d) + 0.85 * (1 - np.exp(-0.6 * d)) for d in (1, 4)]
    assert foggy.tolist() == np.rint(255 * np.array(expected)).tolist()


def test_a_near_edge_smears_farther_when_the_camera_moves_sideways():
    picture = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    picture[:, :, PX // 2 :] = 255
    smeared = [
        (depth.change(picture, np.full((1, PX, PX), d), "sideways blur", 4)[0, 5, :, 0] % 255 > 0).sum() for d in (1, 4)
    ]
    assert smeared[0] > 2 * smeared[1] > 0


def test_refusals(images):
    depths = np.ones(images.shape[:3])
    with pytest.raises(ValueError, match="no change with depth is called 'rain'"):
        depth.change(images, depths, "rain", 1)
    with pytest.raises(ValueError, match="severity is 1 to 5"):
        depth.change(images, depths, "depth fog", 0)
    with pytest.raises(ValueError, match="above zero"):
        depth.change(images, depths * 0, "depth fog", 1)
