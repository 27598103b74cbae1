"""Scenes varied by what photographs vary in: ground, light, strokes, pose, shades, blur and noise.

The vision encoder is taught each scene plain and varied. Handwriting is of the pool that is given; besides it there are
digits drawn by strokes, which no font and no writer has made. Torch only draws: nothing here is learnt.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

from verdict.data.digits.scenes import CELL_PX, EMPTY, GRID, N_CELLS, SCENE_PX, SPRITE_PX, Scene, handwriting_style

# How a digit may be drawn: arcs (centre, radii, first and last degree, clockwise from the right) and polylines, in a
# square of side 2 about its middle, y downwards. One of the ways is chosen for each digit.
_Stroke = tuple[str, tuple[float, ...]]
_ARC, _LINE = "arc", "line"
_BOWL: _Stroke = (_ARC, (0, 0.38, 0.66, 0.6, 0, 360))
_TAIL: _Stroke = (_ARC, (0.5, 0.3, 1.15, 1.25, 185, 275))
_STEM: _Stroke = (_LINE, (0.05, -1, 0.05, 1))
_FLAG: _Stroke = (_LINE, (-0.4, -0.6, 0.05, -1))
_ROOF: _Stroke = (_LINE, (-0.7, -0.95, 0.7, -0.95, -0.15, 1))
STROKES: tuple[tuple[tuple[_Stroke, ...], ...], ...] = (
    (((_ARC, (0, 0, 0.7, 1, 0, 360)),),),
    ((_STEM, _FLAG), (_STEM, _FLAG, (_LINE, (-0.45, 1, 0.55, 1))), (_STEM,)),
    (((_ARC, (0, -0.42, 0.65, 0.56, 190, 395)), (_LINE, (0.55, -0.1, -0.68, 0.98, 0.7, 0.98))),),
    (((_ARC, (-0.05, -0.48, 0.6, 0.5, 215, 450)), (_ARC, (-0.05, 0.47, 0.7, 0.53, 270, 510))),),
    (
        ((_LINE, (0.35, 1, 0.35, -1, -0.75, 0.4, 0.8, 0.4)),),
        ((_LINE, (-0.5, -0.95, -0.6, 0.2, 0.7, 0.2)), (_LINE, (0.4, -0.6, 0.4, 1))),
    ),
    (((_LINE, (0.62, -0.95, -0.42, -0.95, -0.5, -0.1)), (_ARC, (-0.05, 0.37, 0.68, 0.6, 230, 510))),),
    ((_BOWL, _TAIL),),
    ((_ROOF,), (_ROOF, (_LINE, (-0.3, 0.05, 0.5, 0.05)))),
    (((_ARC, (0, -0.48, 0.55, 0.48, 0, 360)), (_ARC, (0, 0.48, 0.68, 0.52, 0, 360))),),
    ((_BOWL, _TAIL),),  # a six, turned
)
_ARC_STEPS = 8
DRAWN_SHARE = 0.5
# How far a hue may go on the way to its neighbour: at a half two names would meet.
HUE_REACH = 0.4


def _segments(strokes: Sequence[_Stroke]) -> np.ndarray:
    """Straight pieces of some strokes, from and to: (n_segments, 2, 2)."""
    pieces = []
    for kind, numbers in strokes:
        if kind == _ARC:
            x, y, across, down, first, last = numbers
            angle = np.deg2rad(np.linspace(first, last, _ARC_STEPS))
            points = np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], axis=1)
        else:
            points = np.reshape(numbers, (-1, 2))
        pieces.append(np.stack([points[:-1], points[1:]], axis=1))
    return np.concatenate(pieces)


def _templates() -> tuple[np.ndarray, np.ndarray]:
    """Every way to draw a digit, padded by its last piece to one length, (n_ways, n_segments, 2, 2); and its digit."""
    ways = [(digit, _segments(way)) for digit, found in enumerate(STROKES) for way in found]
    ways = [(digit, -way if digit == 9 else way) for digit, way in ways]
    longest = max(len(way) for _, way in ways)
    padded = [np.concatenate([way, np.repeat(way[-1:], longest - len(way), axis=0)]) for _, way in ways]
    return np.stack(padded).astype(np.float32), np.array([digit for digit, _ in ways])


def _pose(n: int, rng: np.random.Generator) -> np.ndarray:
    """Matrices (n, 2, 2) from points of one turned by up to 17 degrees, slanted and stretched to the plain digit."""
    turn, slant = rng.uniform(-0.3, 0.3, n), rng.uniform(-0.35, 0.35, n)
    size, stretch = rng.uniform(0.72, 1.1, n), np.exp(rng.uniform(-0.22, 0.22, n))
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.stack([cos, -sin, sin, cos], axis=1).reshape(n, 2, 2)
    slanted = np.stack([1 / (size * stretch), slant, np.zeros(n), stretch / size], axis=1).reshape(n, 2, 2)
    return slanted @ turned


def _drawn(digits: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink, 0..1, of digits drawn by strokes, at points (n, n_points, 2) of the plain square."""
    templates, digit_of = _templates()
    order = np.argsort(rng.random((len(digits), len(digit_of))) + (digit_of != digits[:, None]), axis=1)
    ways = templates[order[:, 0]] + rng.normal(0, 0.05, (len(digits), 1, 2, 2)).astype(np.float32)
    (x, y), (left, top), (across, down) = (
        np.moveaxis(part, -1, 0)
        for part in (points[:, :, None], ways[:, None, :, 0], ways[:, None, :, 1] - ways[:, None, :, 0])
    )
    x, y = x - left, y - top
    share = np.clip((x * across + y * down) / np.maximum(across**2 + down**2, 1e-6), 0, 1)
    distance = np.sqrt(((x - share * across) ** 2 + (y - share * down) ** 2).min(axis=2))
    width, edge = rng.uniform(0.08, 0.3, (len(digits), 1)), rng.uniform(0.1, 0.3, (len(digits), 1))
    return np.clip((width - distance) / edge + 0.5, 0, 1)


def ink(samples: np.ndarray, digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink, float32 (n, 16, 16), 0..1, of n cells: handwriting samples, or strokes of the same digits.

    Each has a pose and a width of stroke of its own.
    """
    n = len(samples)
    middle = (np.arange(CELL_PX) + 0.5 - CELL_PX / 2) / (SPRITE_PX / 2)
    square = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
    points = square - rng.uniform(-0.15, 0.15, (n, 1, 2))
    points = (points @ _pose(n, rng).swapaxes(1, 2)).astype(np.float32)
    is_drawn = rng.random(n) < DRAWN_SHARE
    found = np.empty((n, CELL_PX * CELL_PX), np.float32)
    found[is_drawn] = _drawn(digits[is_drawn], points[is_drawn], rng)
    sprites = torch.from_numpy(handwriting_style().sprites[samples[~is_drawn]])[:, None]
    written = torch.from_numpy(points[~is_drawn])[:, None]
    read = torch.nn.functional.grid_sample(sprites, written, padding_mode="zeros", align_corners=False)
    found[~is_drawn] = read.flatten(1).numpy()
    # A threshold makes strokes thin or thick, a slope makes their edges soft or sharp.
    level, slope = rng.uniform(0.3, 0.65, (n, 1)), rng.uniform(1.0, 4.0, (n, 1))
    cut = np.clip((found - level) * slope + 0.5, 0, 1)
    return np.where(is_drawn[:, None], found, cut).reshape(n, CELL_PX, CELL_PX).astype(np.float32)


def shades(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """RGB, 0..1, of the five colours in n scenes, (n, 5, 3): each hue some way towards a neighbour, brighter on a dark
    ground (n,), 0..1.
    """
    hue = rgb_to_hsv(handwriting_style().palette / 255)[:, 0]
    order = np.argsort(hue)
    gap = np.empty((len(hue), 2))
    gap[order, 1] = (np.roll(hue[order], -1) - hue[order]) % 1
    gap[order, 0] = np.roll(gap[order, 1], 1)
    way = rng.uniform(-HUE_REACH, HUE_REACH, (len(ground), len(hue)))
    moved = hue + np.where(way < 0, way * gap[:, 0], way * gap[:, 1])
    saturation, value = rng.uniform(0.6, 1, moved.shape), rng.uniform(0.4, 1, moved.shape)
    value = np.minimum(value + 0.3 * (1 - ground[:, None]), 1)
    return hsv_to_rgb(np.stack([moved % 1, saturation, value], axis=-1))


def render_varied(scenes: Sequence[Scene], *, rng: np.random.Generator) -> np.ndarray:
    """Render scenes of handwriting to pixels, uint8 (n, 64, 64, 3), varied; which digit of which colour stays."""
    n = len(scenes)
    samples, colours, digits = (
        np.concatenate([getattr(scene, name) for scene in scenes]) for name in ("samples", "colours", "digits")
    )
    here = np.flatnonzero(samples != EMPTY)
    alpha = np.zeros((n * N_CELLS, CELL_PX, CELL_PX), np.float32)
    alpha[here] = ink(samples[here], digits[here], rng) * rng.uniform(0.75, 1, (len(here), 1, 1))
    alpha = alpha.reshape(n, GRID, GRID, CELL_PX, CELL_PX).transpose(0, 1, 3, 2, 4).reshape(n, SCENE_PX, SCENE_PX, 1)
    brightness = rng.uniform(0, 1, n)
    palette = shades(brightness, rng)[np.arange(n)[:, None], colours.reshape(n, N_CELLS)]
    colour = palette.reshape(n, GRID, GRID, 3).repeat(CELL_PX, axis=1).repeat(CELL_PX, axis=2).astype(np.float32)
    # The ground is of any brightness, hardly coloured, and unevenly lit from one side.
    ground = brightness[:, None, None, None] + rng.uniform(-0.06, 0.06, (n, 1, 1, 3))
    ground, side = ground.astype(np.float32), np.linspace(-1, 1, SCENE_PX, dtype=np.float32)
    lit = rng.uniform(-0.08, 0.08, (n, 2, 1, 1, 1)).astype(np.float32)
    light = 1 + lit[:, 0] * side[:, None, None] + lit[:, 1] * side[:, None]
    images = (np.clip(ground, 0, 1) * (1 - alpha) + colour * alpha) * light
    images = _blurred(images, rng.uniform(0, 0.7, n))
    images += rng.uniform(0, 0.04, (n, 1, 1, 1)).astype(np.float32) * rng.standard_normal(
        (n, SCENE_PX, SCENE_PX, 3), dtype=np.float32
    )
    return np.clip(np.rint(255 * images), 0, 255).astype(np.uint8)


def _blurred(images: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 3), each under a Gaussian of its own width, cut after two pixels."""
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / np.maximum(sigma_px, 0.05)[:, None]) ** 2)
    kernel = torch.from_numpy((kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)).repeat_interleave(3, 0)
    n = len(images)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).reshape(1, 3 * n, *images.shape[1:3])
    planes = torch.nn.functional.pad(planes, (2, 2, 2, 2), mode="replicate")
    planes = torch.nn.functional.conv2d(planes, kernel[:, None, :, None], groups=3 * n)
    planes = torch.nn.functional.conv2d(planes, kernel[:, None, None, :], groups=3 * n)
    return planes.reshape(n, 3, *images.shape[1:3]).permute(0, 2, 3, 1).numpy()
