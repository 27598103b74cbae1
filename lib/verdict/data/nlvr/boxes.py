"""Scenes in the visual vocabulary of the NLVR corpus, drawn and rendered here: what its tiny presets are taught on.

Boxes of 100 x 100 light-grey pixels stand 50 apart on darker grey and hold yellow, black and blue squares, circles and
triangles, or one stack of blocks each. Nothing is read from the corpus, whose scenes can be rendered as well.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from verdict.data.nlvr import scenes as of_corpus
from verdict.data.nlvr.scenes import BOX_PX, COLOUR_NAMES, N_BOXES, SHAPES, WALLS, Item, Scene

STRIDE_PX = 150
PALETTE = {"yellow": (255, 255, 0), "black": (0, 0, 0), "blue": (0, 153, 255)}
BOX_GREY, STRIP_GREY = 211, 128
SIZES = (10, 20, 30)
BLOCK_PX, BLOCK_X, BLOCK_STEP = 20, 40, 21
MAX_ITEMS, MAX_BLOCKS = 8, 4
TOWER_SHARE = 0.4
N_LEVELS = 8
"""Counts are told apart from 0 to 6; the last level is 7 or more."""

_KINDS = [(colour, shape) for colour in COLOUR_NAMES for shape in SHAPES]
_CONTRAST = {
    name: [(channel, np.float32(value - BOX_GREY)) for channel, value in enumerate(rgb)]
    for name, rgb in PALETTE.items()
}
_SUPERSAMPLING = 8


def draw_scenes(n: int, rng: np.random.Generator, *, n_boxes: int = N_BOXES) -> list[Scene]:
    """Random scenes, some of towers and the others of scattered items, which do not overlap and repeat colours and
    shapes more than independent draws would.
    """
    return [
        tuple(_draw_tower(rng) if is_tower else _draw_scatter(rng) for _ in range(n_boxes))
        for is_tower in rng.random(n) < TOWER_SHARE
    ]


def _some(rng: np.random.Generator, words: Sequence[str], shares: Sequence[float]) -> list[str]:
    """A random subset of words; `shares` are the chances of its sizes 1, 2, 3."""
    return list(rng.permutation(words)[: 1 + int(rng.choice(len(shares), p=shares))])


def _draw_tower(rng: np.random.Generator) -> tuple[Item, ...]:
    colours = rng.choice(_some(rng, COLOUR_NAMES, (0.2, 0.4, 0.4)), size=rng.integers(1, MAX_BLOCKS + 1))
    base = BOX_PX - BLOCK_PX
    return tuple(Item(str(c), "square", BLOCK_X, base - BLOCK_STEP * k, BLOCK_PX) for k, c in enumerate(colours))


def _draw_scatter(rng: np.random.Generator) -> tuple[Item, ...]:
    colours = _some(rng, COLOUR_NAMES, (0.2, 0.3, 0.5))
    shapes = _some(rng, SHAPES, (0.15, 0.25, 0.6))
    items: list[Item] = []
    for _ in range(rng.integers(1, MAX_ITEMS + 1)):
        size, colour, shape = int(rng.choice(SIZES)), str(rng.choice(colours)), str(rng.choice(shapes))
        for _ in range(20):
            item = Item(colour, shape, *_draw_place(rng, BOX_PX - size), size)
            if not any(_overlap(item, other) for other in items):
                items.append(item)
                break
    return tuple(items)


def _draw_place(rng: np.random.Generator, limit: int) -> tuple[int, int]:
    """Upper left corner within 0..limit; walls are met more often than by chance, the right and lower ones most."""
    return tuple(  # type: ignore[return-value]
        0 if chance < 0.05 else limit if chance < 0.22 else int(rng.integers(1, limit)) for chance in rng.random(2)
    )


def _overlap(a: Item, b: Item) -> bool:
    return a.x < b.x + b.size and b.x < a.x + a.size and a.y < b.y + b.size and b.y < a.y + a.size


@cache
def _mask(shape: str, size: int) -> np.ndarray:
    """Share of each pixel that a shape covers, float32 (size, size), from an 8 x 8 grid of samples a pixel."""
    at = (np.arange(size * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING
    y, x = at[:, None], at[None, :]
    inside = {
        "square": np.ones((len(at), len(at)), dtype=bool),
        "circle": (x - size / 2) ** 2 + (y - size / 2) ** 2 <= (size / 2) ** 2,
        "triangle": np.abs(x - size / 2) <= y / 2,
    }[shape]
    return inside.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean(axis=(1, 3), dtype=np.float32)


@cache
def _resampling(n_from: int, n_to: int) -> np.ndarray:
    """Matrix (n_to, n_from) of resizing with a triangle filter that widens when it shrinks; rows sum to 1."""
    scale = min(1.0, n_to / n_from)
    centre = (np.arange(n_to) + 0.5) * n_from / n_to
    weights = np.maximum(0.0, 1.0 - scale * np.abs(np.arange(n_from) + 0.5 - centre[:, None]))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def width_px(n_boxes: int) -> int:
    """Width of a row of boxes, at the corpus' size."""
    return n_boxes * STRIDE_PX - (STRIDE_PX - BOX_PX)


def render_scenes(scenes: Sequence[Scene], *, size: tuple[int, int]) -> np.ndarray:
    """Render scenes, all with the same number of boxes, as the corpus draws them, at (height, width): uint8 (n, height,
    width, 3). Equal, up to rounding, to drawing at 100 x 400 and resizing with Pillow's bilinear filter, where items of
    a box do not overlap.
    """
    column = np.arange(width_px(len(scenes[0])))
    grey = np.where(column % STRIDE_PX < BOX_PX, float(BOX_GREY), float(STRIP_GREY))
    down, across = _resampling(BOX_PX, size[0]), _resampling(len(grey), size[1])
    images = np.empty((len(scenes), 3, *size), dtype=np.float32)
    images[:] = across @ grey
    for image, scene in zip(images, scenes, strict=True):
        for b, box in enumerate(scene):
            for item in box:
                rows, from_y = _window(item.y, item.size, size[0] / BOX_PX, size[0])
                columns, from_x = _window(STRIDE_PX * b + item.x, item.size, size[1] / len(grey), size[1])
                alpha = down[rows, from_y] @ _mask(item.shape, item.size) @ across[columns, from_x].T
                for channel, contrast in _CONTRAST[item.colour]:
                    image[channel, rows, columns] += contrast * alpha
    return np.clip(np.rint(images), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def _window(start: int, length: int, scale: float, limit: int) -> tuple[slice, slice]:
    """Output pixels that a run of input pixels can reach, and that run."""
    reach = slice(max(0, int(start * scale) - 2), min(limit, int((start + length) * scale) + 3))
    return reach, slice(start, start + length)


def patch_targets(scenes: Sequence[Scene], *, size: tuple[int, int], patch_px: int) -> dict[str, np.ndarray]:
    """What each patch, in rows from the upper left, and the box around it hold: int64 (n, n_patches, n_values).

    `items` (9 values, 0 to 2): centres of items by colour and shape, two or more as one level. `sizes` (3, 0 to 2): the
    same by size. `walls` (4, 0 or 1): whether one of them touches the left, right, upper, lower wall. `box` (see
    `box_facts`): 0 between the boxes.
    """
    found, width = of_corpus.item_table(scenes), width_px(len(scenes[0]))
    down, across = size[0] // patch_px, size[1] // patch_px
    centre_x, centre_y = found["x"] + found["size"] / 2, found["y"] + found["size"] / 2
    column = ((found["box"] * STRIDE_PX + centre_x) * across / width).astype(np.int64)
    row = (centre_y * down / BOX_PX).astype(np.int64)
    place = (found["scene"].to_numpy(), (row * across + column).to_numpy())
    shape = (len(scenes), down * across)
    items, sizes, walls = (np.zeros((*shape, k), dtype=np.int64) for k in (len(_KINDS), len(SIZES), len(WALLS)))
    np.add.at(items, (*place, (found["colour"] * len(SHAPES) + found["shape"]).to_numpy()), 1)
    np.add.at(sizes, (*place, np.searchsorted(SIZES, found["size"])), 1)
    np.maximum.at(walls, place, found[list(WALLS)].to_numpy(dtype=np.int64))
    centre = (np.arange(across) + 0.5) * width / across
    facts = box_facts(scenes)
    by_column = facts[:, (centre // STRIDE_PX).astype(np.int64)] * (centre % STRIDE_PX < BOX_PX)[None, :, None]
    around = np.broadcast_to(by_column[:, None], (len(scenes), down, *by_column.shape[1:]))
    kept = {"items": np.minimum(items, 2), "sizes": np.minimum(sizes, 2), "walls": walls}
    return kept | {"box": around.reshape(*shape, -1)}


def box_facts(scenes: Sequence[Scene]) -> np.ndarray:
    """What each box holds, int64 (n, n_boxes, 35), all from 0 to `N_LEVELS` - 1.

    In order: items by colour and shape (9), by colour (3), by shape (3), all (1); items at a wall by colour (3), by
    shape (3); items at the lower wall by colour (3); items at no wall by colour (3); colours present (1), shapes
    present (1); of a tower the colours from base to top (4) and of its top (1), 0 for none.
    """
    items, n_boxes = of_corpus.item_table(scenes), len(scenes[0])
    chosen = (items, items[items[list(WALLS)].any(axis=1)], items[items["lower"]])
    kinds, at_wall, at_bottom = (of_corpus.count_items(some, len(scenes), n_boxes) for some in chosen)
    colour, shape = kinds.sum(axis=3), kinds.sum(axis=2)
    stacks = np.zeros((len(scenes), n_boxes, MAX_BLOCKS + 1), dtype=np.int64)
    for s, scene in enumerate(scenes):
        if of_corpus.is_tower_scene(scene):
            for b, box in enumerate(scene):
                blocks = [COLOUR_NAMES.index(i.colour) + 1 for i in sorted(box, key=lambda i: -i.y)][:MAX_BLOCKS]
                stacks[s, b, : len(blocks)], stacks[s, b, -1] = blocks, blocks[-1] if blocks else 0
    facts = [
        kinds.reshape(*kinds.shape[:2], -1),
        colour,
        shape,
        colour.sum(axis=2, keepdims=True),
        at_wall.sum(axis=3),
        at_wall.sum(axis=2),
        at_bottom.sum(axis=3),
        colour - at_wall.sum(axis=3),
        (colour > 0).sum(axis=2, keepdims=True),
        (shape > 0).sum(axis=2, keepdims=True),
        stacks,
    ]
    return np.minimum(np.concatenate(facts, axis=2), N_LEVELS - 1)


def scene_facts(scenes: Sequence[Scene]) -> np.ndarray:
    """What each whole scene holds, int64 (n, 61), all from 0 to `N_LEVELS` - 1.

    In order: sums over boxes of the first 28 box facts; boxes that hold each
    colour (3) and shape (3), that hold nothing else (3 + 3); the fullest and the emptiest box (2); towers by colour of
    base (3) and top (3), and by height (4); towers in which a block of one colour stands on one of another (9).
    """
    facts = box_facts(scenes)
    colour, shape, total = facts[:, :, 9:12], facts[:, :, 12:15], facts[:, :, 15:16]
    stacks = facts[:, :, -MAX_BLOCKS - 1 : -1]
    top, height = facts[:, :, -1], (stacks > 0).sum(axis=2)
    named = np.arange(1, len(COLOUR_NAMES) + 1)
    pairs = np.where((stacks[..., :-1] > 0) & (stacks[..., 1:] > 0), (stacks[..., :-1] - 1) * 3 + stacks[..., 1:], 0)
    parts = [
        facts[:, :, :28].sum(axis=1),
        *((kind > 0).sum(axis=1) for kind in (colour, shape)),
        *(((kind == total) & (total > 0)).sum(axis=1) for kind in (colour, shape)),
        total.max(axis=1),
        total.min(axis=1),
        (stacks[:, :, :1] == named).sum(axis=1),
        (top[:, :, None] == named).sum(axis=1),
        (height[:, :, None] == np.arange(1, MAX_BLOCKS + 1)).sum(axis=1),
        (pairs[..., None] == np.arange(1, 10)).any(axis=2).sum(axis=1),
    ]
    return np.minimum(np.concatenate(parts, axis=1), N_LEVELS - 1)
