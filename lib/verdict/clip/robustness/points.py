"""A second view of a picture by a known map of its plane, and finding the same point there.

Points are (column, row) in pixels, the middle of the first pixel at (0, 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from verdict.clip.robustness.corruptions import as_bytes, as_unit
from verdict.model.changes import bilinear


def homography(
    px: int, *, degrees: float = 0.0, scale: float = 1.0, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Map of the plane that a camera sees after turning, coming nearer, tilting and moving: (3, 3).

    The picture is a square of `px`, and its middle stays but for the shift (across, down), in shares of the side.
    Degrees turn anticlockwise as seen, a scale above 1 is nearer, and tilt, |tilt| < 1, makes the top edge smaller by
    so much and the bottom edge larger.
    """
    middle = (px - 1) / 2
    angle = np.deg2rad(degrees)
    to_middle = np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1.0]])
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    perspective = np.diag([scale, scale, 1.0])
    perspective[2, 1] = -tilt / px
    back = np.array([[1, 0, middle + shift[0] * px], [0, 1, middle + shift[1] * px], [0, 0, 1.0]])
    return back @ perspective @ turn @ to_middle


def project(points: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Where points (..., 2) of the first view lie in the second."""
    points = np.asarray(points, dtype=np.float64)
    mapped = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ np.asarray(matrix).T
    return mapped[..., :2] / mapped[..., 2:]


def warped(images: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Images as the second view shows them: uint8 of the same shape; what was outside continues the edge."""
    unit = as_unit(images)
    rows, columns = np.indices(unit.shape[1:3], dtype=np.float32)
    seen_from = project(np.stack([columns, rows], axis=-1), np.linalg.inv(np.asarray(matrix)))
    return as_bytes(bilinear(unit, seen_from[..., 1], seen_from[..., 0]))


def correspondences(
    first: np.ndarray, second: np.ndarray, matrix: np.ndarray, px: int, is_keypoint: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look up each keypoint of the first view among the patches of the second, by features (n, grid * grid, d).

    `is_keypoint` (n, grid * grid) says which patches are looked up, such as those with ink; of these the ones count
    whose true place lies inside the second view. Of each its image (n_points,); how far the patch that is most alike
    lies from the true place, middle to point, as a share of the side (n_points,); and how far every patch does
    (n_points, grid * grid): patches are coarse, so that the nearest is the best there is.
    """
    grid = round(first.shape[1] ** 0.5)
    at = (np.arange(grid) + 0.5) * px / grid - 0.5
    middles = np.stack([np.tile(at, grid), np.repeat(at, grid)], axis=1)
    truth = project(middles, matrix)
    is_inside = ((truth >= -0.5) & (truth <= px - 0.5)).all(axis=1)
    image, patch = np.nonzero(is_keypoint & is_inside)
    chosen = np.einsum("kd,kpd->kp", first[image, patch], second[image]).argmax(axis=1)
    away = np.linalg.norm(middles[None] - truth[patch][:, None], axis=-1) / px
    return image, away[np.arange(len(image)), chosen], away


def patches_of(images: np.ndarray, grid: int) -> np.ndarray:
    """Patches of square images (n, px, px, channels) as they are, row by row: (n, grid * grid, values of a patch)."""
    n, px, _, channels = images.shape
    side = px // grid
    cut = images[:, : side * grid, : side * grid].reshape(n, grid, side, grid, side, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, grid * grid, -1)


def patches_with_ink(masks: np.ndarray, grid: int) -> np.ndarray:
    """Patches of which at least a quarter is foreground, bool (n, grid * grid), from masks (n, px, px)."""
    return patches_of(masks[..., None], grid).mean(axis=2) >= 0.25
