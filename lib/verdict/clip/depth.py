"""Three dimensions: finding the same point in another view, and corruptions that know how far things are.

Points are (column, row) in pixels, the middle of the first pixel at (0, 0). Depths are (n, height, width), above zero,
in units of the distance to the nearest thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from verdict.clip.corruptions import SEVERITIES
from verdict.clip.pixels import as_bytes, as_unit, bilinear, pixel_grid, side

AIR_LIGHT = 0.85
NEAR, GROUND = 1.0, (1.8, 6.0)
_LEVELS = 7


def homography(
    px: int, *, degrees: float = 0.0, scale: float = 1.0, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Map of the plane that a camera sees after turning, coming nearer, tilting and moving: (3, 3).

    Parameters
    ----------
    px : int
        Side of the square picture; the map keeps its middle where it is, but for the shift.
    degrees : float
        Turn, anticlockwise as seen.
    scale : float, > 0
        Above 1: nearer.
    tilt : float, |tilt| < 1
        Perspective: how much smaller the top edge becomes, how much larger the bottom edge.
    shift : (across, down)
        As shares of the side.
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


def second_view(images: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Images as the second view shows them: uint8 of the same shape; what was outside continues the edge."""
    unit = as_unit(images)
    rows, columns = pixel_grid(*unit.shape[1:3])
    seen_from = project(np.stack([columns, rows], axis=-1), np.linalg.inv(np.asarray(matrix)))
    return as_bytes(bilinear(unit, seen_from[..., 1], seen_from[..., 0]))


def patch_middles(grid: int, px: int) -> np.ndarray:
    """Middles of the patches of a square picture, row by row, (grid * grid, 2)."""
    at = (np.arange(grid) + 0.5) * px / grid - 0.5
    down, across = np.meshgrid(at, at, indexing="ij")
    return np.stack([across.ravel(), down.ravel()], axis=1)


@dataclass(frozen=True)
class Correspondence:
    """How far from the truth points were found, one row a keypoint.

    Attributes
    ----------
    image : int array (n_points,)
        Image of each keypoint.
    distance : float array (n_points,)
        From the middle of the patch that is most alike to the true place, as a share of the side.
    best : float array (n_points,)
        The same for the patch nearest to the truth: patches are coarse, so that it is not zero.
    all_distances : float array (n_points, grid * grid)
        The same for every patch, which says what a patch at random would give.
    """

    image: np.ndarray
    distance: np.ndarray
    best: np.ndarray
    all_distances: np.ndarray

    def within(self, share: float) -> dict[str, np.ndarray]:
        """Whether each keypoint is found within a share of the side: by the model, at best, and by chance (0..1)."""
        return {
            "found": (self.distance <= share).astype(float),
            "best": (self.best <= share).astype(float),
            "chance": (self.all_distances <= share).mean(axis=1),
        }


def correspondences(
    first: ArrayLike, second: ArrayLike, matrix: ArrayLike, px: int, is_keypoint: ArrayLike
) -> Correspondence:
    """Look up each keypoint of the first view among the patches of the second.

    Parameters
    ----------
    first, second : arrays (n, grid * grid, d)
        Unit features of the patches of both views.
    matrix : array (3, 3)
        See `homography`.
    px : int
        Side of the pictures.
    is_keypoint : bool array (n, grid * grid)
        Patches of the first view that are looked up, such as those with ink; of these the ones count whose true place
        lies inside the second view.

    Raises
    ------
    ValueError
        If no keypoint is left, or shapes disagree.
    """
    first, second, is_keypoint = np.asarray(first), np.asarray(second), np.asarray(is_keypoint, dtype=bool)
    grid = round(first.shape[1] ** 0.5)
    if first.shape != second.shape or is_keypoint.shape != first.shape[:2] or grid**2 != first.shape[1]:
        raise ValueError(
            f"expected square grids of equal shape, got {first.shape}, {second.shape}, {is_keypoint.shape}"
        )
    middles = patch_middles(grid, px)
    truth = project(middles, matrix)
    is_inside = ((truth >= -0.5) & (truth <= px - 0.5)).all(axis=1)
    image, patch = np.nonzero(is_keypoint & is_inside)
    if not len(image):
        raise ValueError("no keypoint of the first view lies inside the second one")
    chosen = np.einsum("kd,kpd->kp", first[image, patch], second[image]).argmax(axis=1)
    away = np.linalg.norm(middles[None] - truth[patch][:, None], axis=-1) / px
    return Correspondence(image, away[np.arange(len(image)), chosen], away.min(axis=1), away)


def patches_with_ink(masks: ArrayLike, grid: int, *, least: float = 0.25) -> np.ndarray:
    """Patches of which at least a share is foreground, bool (n, grid * grid), from masks (n, px, px)."""
    masks = np.asarray(masks, dtype=np.float64)
    n, px, _ = masks.shape
    patch = px // grid
    cut = masks[:, : patch * grid, : patch * grid].reshape(n, grid, patch, grid, patch)
    return cut.mean(axis=(2, 4)).reshape(n, -1) >= least


def standing_depth(masks: ArrayLike) -> np.ndarray:
    """Depth of a foreground that stands upright before a ground that recedes upwards: float32 like masks (n, h, w)."""
    masks = np.asarray(masks, dtype=bool)
    recede = np.linspace(GROUND[1], GROUND[0], masks.shape[1], dtype=np.float32)
    return np.where(masks, np.float32(NEAR), recede[None, :, None])


def change(images: ArrayLike, depths: ArrayLike, name: str, severity: int) -> np.ndarray:
    """Spoil a batch of images by one of `CHANGES`, which needs to know distances.

    Parameters
    ----------
    images : uint8 array (n, height, width, 3)
    depths : array (n, height, width), > 0
    name : str
        One of `CHANGES`.
    severity : int, 1 to 5

    Returns
    -------
    uint8 array of the same shape

    References
    ----------
    Kar et al. (2022), 3D common corruptions and data augmentation, section 3, for the mechanisms; the code is ours.
    """
    if name not in CHANGES:
        raise ValueError(f"no change with depth is called {name!r}; there are {list(CHANGES)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is 1 to 5, got {severity!r}")
    unit, depths = as_unit(images), np.asarray(depths, dtype=np.float32)
    if depths.shape != unit.shape[:3] or not (depths > 0).all():
        raise ValueError(f"depths must be above zero and of shape {unit.shape[:3]}, got {depths.shape}")
    function, strengths = CHANGES[name]
    return as_bytes(function(unit, depths, strengths[severity - 1]))


def _fog(unit: np.ndarray, depths: np.ndarray, density: float) -> np.ndarray:
    """Light is lost by exp(-density · depth), and the air's own light takes its place."""
    through = np.exp(-density * depths)[..., None]
    return unit * through + AIR_LIGHT * (1 - through)


def _flash(unit: np.ndarray, depths: np.ndarray, darkness: float) -> np.ndarray:
    """A dark room with a light at the camera: what it gives falls with the square of depth."""
    return unit * ((1 - darkness) + darkness * 0.6 / depths**2)[..., None]


def _near_focus(unit: np.ndarray, depths: np.ndarray, reach: float) -> np.ndarray:
    """A lens focused on the nearest thing: blur grows with 1 / focus - 1 / depth."""
    return _thin_lens(unit, depths, reach, float(depths.min()))


def _far_focus(unit: np.ndarray, depths: np.ndarray, reach: float) -> np.ndarray:
    return _thin_lens(unit, depths, reach, float(depths.max()))


def _thin_lens(unit: np.ndarray, depths: np.ndarray, reach: float, focus: float) -> np.ndarray:
    """Every pixel blurred by its own amount, read between pictures of growing blur.

    A pixel takes its neighbours' light whatever their depth, so that edges of near things bleed a little.
    """
    unsharp = np.abs(1 / depths - 1 / focus)
    levels = np.linspace(0, 1, _LEVELS) * reach * side(unit)
    stack = np.stack([ndimage.gaussian_filter(unit, (0, s, s, 0), mode="nearest") for s in levels])
    place = np.clip(unsharp / max(float(unsharp.max()), 1e-9), 0, 1) * (_LEVELS - 1)
    lower = np.minimum(place.astype(np.int64), _LEVELS - 2)
    between = (place - lower)[..., None]
    which = np.ogrid[tuple(slice(length) for length in depths.shape)]
    return stack[(lower, *which)] * (1 - between) + stack[(lower + 1, *which)] * between


def _sideways(unit: np.ndarray, depths: np.ndarray, reach: float) -> np.ndarray:
    """The camera moves sideways during the exposure: near things smear farther."""
    rows, columns = pixel_grid(*unit.shape[1:3])
    steps = np.linspace(-1, 1, 11, dtype=np.float32) * reach * side(unit)
    return sum(bilinear(unit, rows, columns + step / depths) for step in steps) / len(steps)


def _forwards(unit: np.ndarray, depths: np.ndarray, reach: float) -> np.ndarray:
    """The camera moves forwards during the exposure: a point at depth d grows by d / (d - way)."""
    rows, columns = pixel_grid(*unit.shape[1:3])
    middle = (unit.shape[1] - 1) / 2, (unit.shape[2] - 1) / 2
    ways = np.linspace(0, reach, 9, dtype=np.float32)
    views = (
        bilinear(unit, middle[0] + (rows - middle[0]) * left, middle[1] + (columns - middle[1]) * left)
        for left in ((depths - way) / depths for way in ways)
    )
    return sum(views) / len(ways)


Strengths = tuple[float, float, float, float, float]
CHANGES: dict[str, tuple[Callable[[np.ndarray, np.ndarray, float], np.ndarray], Strengths]] = {
    "depth fog": (_fog, (0.06, 0.13, 0.22, 0.35, 0.6)),
    "near focus": (_near_focus, (0.03, 0.05, 0.08, 0.12, 0.18)),
    "far focus": (_far_focus, (0.02, 0.035, 0.05, 0.075, 0.11)),
    "sideways blur": (_sideways, (0.04, 0.07, 0.11, 0.16, 0.22)),
    "forwards blur": (_forwards, (0.12, 0.22, 0.34, 0.48, 0.62)),
    "camera light": (_flash, (0.3, 0.5, 0.7, 0.85, 1.0)),
}
