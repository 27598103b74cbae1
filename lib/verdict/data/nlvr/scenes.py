"""NLVR scenes from their structured representation: items in boxes, counts of them, and towers.

Pixels as the corpus gives them: a scene is 400 x 100, three boxes of 100 x 100 at x = 0, 150 and 300 with grey strips
of 50 between them; x_loc and y_loc are an item's upper left corner in its box, `size` its side; blocks of a tower stand
one pixel apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

COLOURS = {"yellow": "yellow", "black": "black", "#0099ff": "blue"}
COLOUR_NAMES = tuple(COLOURS.values())
SHAPES = ("square", "circle", "triangle")
BOX_PX = 100
N_BOXES = 3
WALLS = ("left", "right", "upper", "lower")


@dataclass(frozen=True)
class Item:
    """One object of a box; positions in pixels of a box of 100 x 100, from its upper left corner."""

    colour: str
    shape: str
    x: int
    y: int
    size: int


Scene = tuple[tuple[Item, ...], ...]


def parse_scene(structure: Sequence[Sequence[Mapping[str, object]]]) -> Scene:
    """Read a `structured_rep`; ValueError without three boxes, or for an item's unknown colour, type or position."""
    if not isinstance(structure, Sequence) or len(structure) != N_BOXES:
        raise ValueError(f"expected {N_BOXES} boxes in structured_rep")
    return tuple(tuple(_parse_item(item) for item in box) for box in structure)


def _parse_item(item: Mapping[str, object]) -> Item:
    try:
        colour, shape = COLOURS[str(item["color"]).lower()], str(item["type"]).lower()
        x, y, size = (int(str(item[name])) for name in ("x_loc", "y_loc", "size"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"item {item!r} is not understood: {error!r}") from error
    if shape not in SHAPES or size < 1 or not (0 <= x <= BOX_PX - size and 0 <= y <= BOX_PX - size):
        raise ValueError(f"item {item!r} has an unknown type or lies outside its box")
    return Item(colour, shape, x, y, size)


def is_tower_scene(scene: Scene) -> bool:
    """Whether every box is one stack of blocks."""
    return all(item.shape == "square" and item.size == 20 and item.x == 40 for box in scene for item in box)


def item_table(scenes: Sequence[Scene]) -> pd.DataFrame:
    """All items of many scenes, one a row: scene and box by number, colour and shape by their place among
    `COLOUR_NAMES` and `SHAPES`, size, x, y, and whether the left, right, upper or lower wall is touched.
    """
    rows = [
        (s, b, COLOUR_NAMES.index(i.colour), SHAPES.index(i.shape), i.size, i.x, i.y)
        for s, scene in enumerate(scenes)
        for b, box in enumerate(scene)
        for i in box
    ]
    items = pd.DataFrame(rows, columns=["scene", "box", "colour", "shape", "size", "x", "y"], dtype=np.int64)
    far_x, far_y = items["x"] + items["size"], items["y"] + items["size"]
    touched = (items["x"] == 0, far_x == BOX_PX, items["y"] == 0, far_y == BOX_PX)
    return items.assign(**dict(zip(WALLS, touched, strict=True)))


def count_items(items: pd.DataFrame, n_scenes: int, n_boxes: int = N_BOXES) -> np.ndarray:
    """Items of an `item_table` by scene, box, colour and shape, int64 (n_scenes, n_boxes, 3, 3)."""
    counts = np.zeros((n_scenes, n_boxes, len(COLOUR_NAMES), len(SHAPES)), dtype=np.int64)
    np.add.at(counts, tuple(items[["scene", "box", "colour", "shape"]].to_numpy().T), 1)
    return counts


@dataclass(frozen=True)
class SceneTable:
    """Counts and stacks of many scenes, from which truths are computed at once.

    Counts (n_scenes, 3, 3, 3) are of items by box, colour and shape, at each place ("": anywhere). Stacks are the
    colours of each box's items from bottom to top; meaningful for towers.
    """

    counts: Mapping[str, np.ndarray]
    stacks: list[list[tuple[str, ...]]]
    is_tower: np.ndarray

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> SceneTable:
        """Count everything that a statement may ask for."""
        items = item_table(scenes)
        beside, level = items["left"] | items["right"], items["upper"] | items["lower"]
        at = {"": beside | True, "edge": beside | level, "free": ~(beside | level), "bottom": items["lower"]}
        at |= {"right": items["right"], "corner": beside & level}
        counts = {place: count_items(items[chosen], len(scenes)) for place, chosen in at.items()}
        stacks = [[tuple(i.colour for i in sorted(box, key=lambda i: -i.y)) for box in scene] for scene in scenes]
        return cls(counts, stacks, np.array([is_tower_scene(scene) for scene in scenes], dtype=bool))

    def per_box(self, colour: str = "", shape: str = "", place: str = "") -> np.ndarray:
        """Items per box, int (n_scenes, 3); an empty word matches all."""
        colours = [COLOUR_NAMES.index(colour)] if colour else slice(None)
        shapes = [SHAPES.index(shape)] if shape else slice(None)
        return self.counts[place][:, :, colours][..., shapes].sum(axis=(2, 3))

    def n_towers(self, holds: Callable[[tuple[str, ...]], bool]) -> np.ndarray:
        """How many boxes of each scene satisfy a predicate of a stack, int (n_scenes,)."""
        return np.array([sum(bool(holds(stack)) for stack in boxes) for boxes in self.stacks])
