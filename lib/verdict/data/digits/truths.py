"""Truth of statements about many scenes at once, a `Grid`, as int8 (n_scenes,): `TRUE`, `FALSE`, or `UNDEFINED` where
what the statement takes for granted does not hold ("the seven ..." of a scene without a seven, or with two).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from verdict.data.digits.scenes import GRID, N_CELLS, Scene

TRUE, FALSE, UNDEFINED = 1, 0, -1

CELL_ROW, CELL_COLUMN = np.divmod(np.arange(N_CELLS), GRID)
_COMPARE = {"=": operator.eq, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


class Kind(NamedTuple):
    """A kind of digit: its value, its colour index, both, or (both None) any digit."""

    digit: int | None = None
    colour: int | None = None


class Grid:
    """Structures of many scenes (n_scenes, 16), -1 in empty cells; places and counts of a kind are computed once."""

    def __init__(self, digits: np.ndarray, colours: np.ndarray) -> None:
        self.digits, self.colours = digits, colours
        self._places: dict[Kind, np.ndarray] = {}
        self._counts: dict[Kind, np.ndarray] = {}

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Grid:
        """Stack the structures of scenes."""
        return cls(np.stack([scene.digits for scene in scenes]), np.stack([scene.colours for scene in scenes]))

    def __len__(self) -> int:
        return len(self.digits)

    def places(self, kind: Kind) -> np.ndarray:
        """Where digits of this kind are, bool (n_scenes, 16)."""
        if kind not in self._places:
            here = self.digits >= 0
            if kind.digit is not None:
                here = here & (self.digits == kind.digit)
            if kind.colour is not None:
                here = here & (self.colours == kind.colour)
            self._places[kind] = here
        return self._places[kind]

    def count(self, kind: Kind) -> np.ndarray:
        """How many digits are of this kind, int (n_scenes,)."""
        if kind not in self._counts:
            self._counts[kind] = self.places(kind).sum(axis=1)
        return self._counts[kind]


Truth = Callable[[Grid], np.ndarray]


def _verdict(holds: np.ndarray, defined: np.ndarray | bool = True) -> np.ndarray:
    return np.where(defined, holds, UNDEFINED).astype(np.int8)


def count_is(grid: Grid, *, kind: Kind, compare: str, number: int, at_most: int | None = None) -> np.ndarray:
    """The count of a kind stands in the relation `compare` to a number; undefined where it exceeds `at_most`: "there
    are three fives" is neither clearly true nor false of four.
    """
    count = grid.count(kind)
    return _verdict(_COMPARE[compare](count, number), True if at_most is None else count <= at_most)


def parts_present(grid: Grid, *, kind: Kind) -> np.ndarray:
    """The digit and the colour that a kind names are both in the scene, perhaps apart: a red six and a blue seven."""
    holds = np.ones(len(grid), dtype=bool)
    for part in (Kind(digit=kind.digit), Kind(colour=kind.colour)):
        holds &= grid.count(part) > 0
    return _verdict(holds)


def share_is(grid: Grid, *, base: Kind, part: Kind, rule: str, low: int = 1, high: int = N_CELLS) -> np.ndarray:
    """All, none or most of one kind are also of another; undefined where the scene holds fewer than `low` or more than
    `high` of the base kind, "most" also where it is exactly half.
    """
    n_base, n_part = grid.count(base), (grid.places(base) & grid.places(part)).sum(axis=1)
    defined = (n_base >= low) & (n_base <= high)
    if rule == "most":
        return _verdict(2 * n_part > n_base, defined & (2 * n_part != n_base))
    return _verdict({"all": n_part == n_base, "none": n_part == 0}[rule], defined)


def any_in(grid: Grid, *, kind: Kind, cells: Iterable[int]) -> np.ndarray:
    """At least one digit of the kind lies in these cells."""
    return _verdict(grid.places(kind)[:, list(cells)].any(axis=1))


def none_in(grid: Grid, *, kind: Kind, cells: Iterable[int]) -> np.ndarray:
    """No digit of the kind lies in these cells."""
    return _verdict(~grid.places(kind)[:, list(cells)].any(axis=1))


def only_one_in(grid: Grid, *, kind: Kind, cells: Iterable[int]) -> np.ndarray:
    """The one digit of the kind lies in these cells; undefined unless there is exactly one."""
    return _verdict(grid.places(kind)[:, list(cells)].any(axis=1), grid.count(kind) == 1)


def placed(grid: Grid, *, first: Kind, second: Kind, axis: np.ndarray, compare: str) -> np.ndarray:
    """The one digit of the first kind stands to the one of the second as `compare` says, along an axis, the row or
    column of every cell; undefined unless there is exactly one of each kind and they are two digits.
    """
    places = grid.places(first), grid.places(second)
    defined = (grid.count(first) == 1) & (grid.count(second) == 1) & ~(places[0] & places[1]).any(axis=1)
    at = [axis[here.argmax(axis=1)] for here in places]
    return _verdict(_COMPARE[compare](*at), defined)


def counts_compare(grid: Grid, *, first: Kind, second: Kind, compare: str) -> np.ndarray:
    """Counts of two kinds compare; undefined unless the scene holds both."""
    counts = grid.count(first), grid.count(second)
    return _verdict(_COMPARE[compare](*counts), (counts[0] > 0) & (counts[1] > 0))
