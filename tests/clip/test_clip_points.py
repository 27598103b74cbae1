"""Views under a known map of the plane, and points found again."""

import numpy as np
import pytest

from verdict.clip.robustness import changed, tasks_study

PX = 24


def test_maps_of_the_plane_by_hand():
    middle = (PX - 1) / 2
    # Anticlockwise as seen: what was on the right comes to the top.
    assert changed.project([PX - 1, middle], changed.homography(PX, degrees=90)) == pytest.approx([middle, 0])
    assert changed.project([0, 0], changed.homography(PX, scale=2)) == pytest.approx([-middle, -middle])
    assert changed.project([3, 4], changed.homography(PX, shift=(0.25, -0.5))) == pytest.approx([3 + 6, 4 - 12])
    top, bottom = (
        np.ptp(changed.project([[0, row], [PX - 1, row]], changed.homography(PX, tilt=0.4))[:, 0])
        for row in (0, PX - 1)
    )
    assert top < PX - 1 < bottom


def test_a_second_view_shows_a_pixel_where_its_point_lands():
    images = np.random.default_rng(0).integers(0, 256, (5, PX, PX, 3), dtype=np.uint8)
    turned = changed.warped(images, changed.homography(PX, degrees=90))
    assert np.array_equal(turned, np.rot90(images, axes=(1, 2)))
    dot = np.zeros((1, PX, PX, 3), dtype=np.uint8)
    dot[0, 7:10, 12:15] = 255
    matrix = changed.homography(PX, degrees=20, scale=1.2, tilt=0.2, shift=(0.05, -0.05))
    seen = changed.warped(dot, matrix)[0, ..., 0].astype(float)
    rows, columns = np.mgrid[:PX, :PX]
    centre = [(seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()]
    assert centre == pytest.approx(changed.project([13, 8], matrix), abs=0.15)


def test_correspondence_by_hand():
    """Four patches on a 2 x 2 grid, turned by a quarter: 0 → 2, 1 → 0, 2 → 3, 3 → 1."""
    features, every = np.eye(4)[None], np.ones((1, 4), dtype=bool)
    matrix = changed.homography(PX, degrees=90)
    found = tasks_study.correspondences(features, features[:, [1, 3, 0, 2]], matrix, PX, every)
    assert found.distance == pytest.approx(0) and found.away.min(axis=1) == pytest.approx(0)
    # Features that stay where they are: each patch is taken for its neighbour, half a side away.
    wrong = tasks_study.correspondences(features, features, matrix, PX, every)
    assert wrong.distance == pytest.approx(0.5) and (wrong.away <= 0.1).mean() == 0.25


def test_points_without_ink_or_outside_the_view_do_not_count():
    features, keypoints = np.ones((2, 9, 3)), np.ones((2, 9), dtype=bool)
    keypoints[0] = False
    shifted = changed.homography(PX, shift=(0.4, 0.0))
    assert tasks_study.correspondences(features, features, shifted, PX, keypoints).image.tolist() == [1] * 6
    mask = np.zeros((1, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[0, 2:, 2:] = True
    assert tasks_study.patches_with_ink(mask, 2).tolist() == [[True, False, False, True]]
