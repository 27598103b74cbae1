"""Sentences that can be said about NLVR scenes, with their truth in each scene.

No sentence depends on the order of the boxes, as the corpus shows every scene in six orders. The wording follows what
people wrote in the train and dev files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from verdict.data.nlvr_scenes import COLOURS, N_BOXES, SHAPES, SceneTable

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
EDGE_PHRASES = {
    "edge": ("touching the edge", "touching the wall", "touching the side", "touching an edge"),
    "free": ("not touching any edge", "not touching the edge", "not touching the wall"),
    "bottom": ("touching the base", "touching the bottom", "closely touching the bottom of a box"),
}


def _number(n: int, rng: np.random.Generator) -> str:
    return NUMBER_WORDS[n] if rng.random() < 0.5 else str(n)


def _a(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeio" else f"a {phrase}"


def _noun(colour: str, shape: str, general: str) -> str:
    return f"{colour} {shape or general}".strip()


_Compare = Callable[[np.ndarray, int], np.ndarray]
_COMPARISONS: dict[str, tuple[str, _Compare]] = {
    "exactly": ("exactly ", lambda counts, n: counts == n),
    # People who write "there are 2" mean exactly two: so say 66 of 68 labels of the dev file, against 59 for at least.
    "bare": ("", lambda counts, n: counts == n),
    "at_least": ("at least ", lambda counts, n: counts >= n),
    "more_than": ("more than ", lambda counts, n: counts > n),
    "at_most": ("at most ", lambda counts, n: counts <= n),
}

Draft = tuple[str, str, str, np.ndarray]
"""Family, form, sentence, and its truth in every scene."""


def _counted(table: SceneTable, rng: np.random.Generator, colour: str, shape: str, general: str) -> Iterator[Draft]:
    """Existence, negation and counting of one kind of item, anywhere in the scene."""
    name = _noun(colour, shape, general)
    kind = "existence" if colour and shape else "colour" if colour else "shape"
    total = table.per_box(colour, shape).sum(axis=1)
    yield kind, "there_is", f"there is {_a(name)}", total >= 1
    yield kind, "there_is_at_least", f"there is at least {_number(1, rng)} {name}", total >= 1
    yield "negation", "there_is_no", f"there is no {name}", total == 0
    yield "negation", "there_are_no", f"there are no {name}s", total == 0
    for n, (form, (words, compare)) in itertools.product(range(1, 5), _COMPARISONS.items()):
        plural = "" if n == 1 else "s"
        verb = "is" if n == 1 else "are"
        yield "counting", form, f"there {verb} {words}{_number(n, rng)} {name}{plural}", compare(total, n)


def _touching(table: SceneTable, rng: np.random.Generator, colour: str, shape: str) -> Iterator[Draft]:
    """Items at a wall, at the bottom, or at no wall."""
    name = _noun(colour, shape, "item" if rng.random() < 0.5 else "object")
    for place, phrases in EDGE_PHRASES.items():
        total = table.per_box(colour, shape, place).sum(axis=1)
        phrase = str(rng.choice(phrases))
        yield "touching", f"a_{place}", f"there is {_a(name)} {phrase}", total >= 1
        yield "touching", f"least_{place}", f"there is at least {_number(1, rng)} {name} {phrase}", total >= 1
        if place != "free":
            yield "negation", f"no_{place}", f"there is no {name} {phrase}", total == 0
        for n in (1, 2, 3):
            some = f"{name}{'' if n == 1 else 's'} {phrase}"
            verb = "is" if n == 1 else "are"
            yield "touching", f"exactly_{place}", f"there {verb} exactly {_number(n, rng)} {some}", total == n
            if n > 1:
                yield "touching", f"at_least_{place}", f"there are at least {_number(n, rng)} {some}", total >= n


def _boxes(table: SceneTable, rng: np.random.Generator, colour: str, shape: str) -> Iterator[Draft]:
    """What one, each or how many of the boxes hold."""
    general = "item" if rng.random() < 0.5 else "object"
    name = _noun(colour, shape, general)
    inside, items = table.per_box(colour, shape), table.per_box()
    everywhere = (inside >= 1).all(axis=1)
    one = f"at least {_number(1, rng)} {name}"
    yield "quantifier", "each_box", f"each box {'has' if rng.random() < 0.5 else 'contains'} {one}", everywhere
    yield "quantifier", "in_each_box", f"there is {one} in each box", everywhere
    yield "negation", "box_without", f"there is a box without {_a(name)}", (inside == 0).any(axis=1)
    only = ((inside == items) & (items > 0)).sum(axis=1)
    yield "quantifier", "box_only", f"there is a box with only {name}s", only >= 1
    for n in (1, 2, 3):
        holding = (inside >= 1).sum(axis=1)
        boxes = f"{_number(n, rng)} box{'' if n == 1 else 'es'}"
        verb = "is" if n == 1 else "are"
        yield "quantifier", "boxes_with", f"there {verb} exactly {boxes} with {_a(name)}", holding == n
        yield "quantifier", "boxes_only", f"there {verb} {boxes} with only {name}s", only == n
        words = "exactly " if rng.random() < 0.5 else ""
        some = f"{words}{_number(n, rng)} {name}{'' if n == 1 else 's'}"
        yield "quantifier", "box_with", f"there is a box with {some}", (inside == n).any(axis=1)


def _box_couples(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Two kinds of items in one box."""
    colours = list(COLOURS.values())
    for first, second in itertools.permutations(colours, 2):
        third = next(colour for colour in colours if colour not in (first, second))
        here = (table.per_box(first) > 0) & (table.per_box(second) > 0) & (table.per_box(third) == 0)
        only = f"only {first} and {second} items" if rng.random() < 0.5 else f"items of only {first} and {second} color"
        yield "quantifier", "two_colours", f"there is a box with {only}", here.any(axis=1)
        for n in (1, 2):
            boxes = f"is {_number(1, rng)} box" if n == 1 else f"are {_number(2, rng)} boxes"
            text = f"there {boxes} with only {first} and {second} items"
            yield "quantifier", "boxes_two_colours", text, here.sum(axis=1) == n
    kinds = list(itertools.product(colours, SHAPES))
    for first, second in itertools.permutations(kinds, 2):
        a, b = " ".join(first), " ".join(second)
        both = ((table.per_box(*first) > 0) & (table.per_box(*second) > 0)).any(axis=1)
        neither = ((table.per_box(*first) > 0) & (table.per_box(*second) == 0)).any(axis=1)
        yield "existence", "both_in_box", f"there is a box with {_a(a)} and {_a(b)}", both
        yield "negation", "without_in_box", f"there is a box with {_a(a)} and no {b}s", neither


def scatter_drafts(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Family, form, sentence and truth of statements about items that lie anywhere."""
    for colour, shape in itertools.product(("", *COLOURS.values()), ("", *SHAPES)):
        if colour or shape:
            yield from _counted(table, rng, colour, shape, "item" if rng.random() < 0.5 else "object")
        yield from _touching(table, rng, colour, shape)
        yield from _boxes(table, rng, colour, shape)
    yield from _box_couples(table, rng)
    items = table.per_box()
    kinds = np.stack([table.per_box(colour) > 0 for colour in COLOURS.values()]).sum(axis=0)
    shapes = np.stack([table.per_box("", shape) > 0 for shape in SHAPES]).sum(axis=0)
    yield "colour", "one_colour", "there is a box with items of only one color", (kinds == 1).any(axis=1)
    for n in range(1, 8):
        number = _number(n, rng)
        plural = "" if n == 1 else "s"
        yield "counting", "box_size", f"there is a box with exactly {number} item{plural}", (items == n).any(axis=1)
        some = f"exactly {NUMBER_WORDS[n]} object{plural}"
        yield "counting", "square_size", f"one of the grey square has {some}", (items == n).any(axis=1)
    for n in (2, 3):
        text = f"there is a box with items of {_number(n, rng)} different"
        yield "colour", "n_colours", f"{text} colors", (kinds == n).any(axis=1)
        yield "shape", "n_shapes", f"{text} shapes", (shapes == n).any(axis=1)


def tower_drafts(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Family, form, sentence and truth of statements about stacks of blocks."""
    for colour in COLOURS.values():
        yield from _counted(table, rng, colour, "", "block")
        yield from _tower_colour(table, rng, colour)
        yield from _tower_ends(table, rng, colour)
    yield from _tower_order(table)
    yield from _tower_heights(table, rng)


def _tower_order(table: SceneTable) -> Iterator[Draft]:
    """One block directly on another, or somewhere above it."""
    for below, above in itertools.product(COLOURS.values(), repeat=2):
        directly = table.n_towers(lambda s, pair=(below, above): pair in itertools.pairwise(s)) >= 1
        higher = table.n_towers(lambda s, a=above, b=below: b in s and a in s[s.index(b) + 1 :]) >= 1
        for phrase, found in (("on", directly), ("over", directly), ("above", higher)):
            # "a blue block above a blue block" may mean either, so it is not said.
            if phrase != "above" or below != above:
                text = f"{_a(above)} block {phrase} {_a(below)} block"
                yield "position", phrase, f"there is {text}", found
                yield "position", f"tower_{phrase}", f"there is a tower with {text}", found


def _tower_heights(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """How many blocks a tower has."""
    for n in range(1, 5):
        size = table.n_towers(lambda s, n=n: len(s) == n)
        blocks = f"{_number(n, rng)} block{'' if n == 1 else 's'}"
        for words in ("", "exactly ", "only "):
            yield "counting", "tower_of", f"there is a tower with {words}{blocks}", size >= 1
        yield "negation", "no_tower_of", f"there is no tower with {blocks}", size == 0
        higher = table.n_towers(lambda s, n=n: len(s) >= n) >= 1
        yield "counting", "tower_of_least", f"there is a tower with at least {blocks}", higher
        for k in (1, 2):
            towers = f"{_number(k, rng)} tower{'' if k == 1 else 's'}"
            text = f"there {'is' if k == 1 else 'are'} exactly {towers} with {blocks}"
            yield "counting", "towers_of", text, size == k


def _tower_ends(table: SceneTable, rng: np.random.Generator, colour: str) -> Iterator[Draft]:
    """Which colour stands at the top or the base."""
    block = f"{colour} block"
    for end, place in (("top", -1), ("base", 0)):
        phrase = f"at the {end}"
        towers = table.n_towers(lambda s, place=place: bool(s) and s[place] == colour)
        yield "position", f"end_{end}", f"there is a tower with {_a(block)} {phrase}", towers >= 1
        yield "position", f"as_{end}", f"there is {_a(block)} as the {end} of a tower", towers >= 1
        yield "negation", f"no_{end}", f"there is no tower with {_a(block)} {phrase}", towers == 0
        for k in (1, 2, 3):
            some = f"{_number(k, rng)} tower{'' if k == 1 else 's'} with {_a(block)} {phrase}"
            verb = "is" if k == 1 else "are"
            yield "position", f"exactly_{end}", f"there {verb} exactly {some}", towers == k
            yield "position", f"bare_{end}", f"there {verb} {some}", towers == k
            yield "position", f"at_least_{end}", f"there {verb} at least {some}", towers >= k
        for n in (1, 2, 3, 4):
            for words, least in (("exactly ", False), ("", False), ("at least ", True)):
                fits = table.n_towers(
                    lambda s, place=place, n=n, least=least: (
                        (len(s) >= n if least else len(s) == n) and s[place] == colour
                    )
                )
                tower = f"a tower with {words}{_number(n, rng)} block{'' if n == 1 else 's'}"
                yield "position", f"{end}_of", f"there is {_a(block)} as the {end} of {tower}", fits >= 1


def _tower_colour(table: SceneTable, rng: np.random.Generator, colour: str) -> Iterator[Draft]:
    """Towers of one colour, and how often it occurs in them."""
    whole = table.n_towers(lambda s: bool(s) and set(s) == {colour})
    yield "colour", "tower_colour", f"there is {_a(colour)} tower", whole >= 1
    having = table.n_towers(lambda s: colour in s)
    yield "quantifier", "each_tower", f"each tower has at least {_number(1, rng)} {colour} block", having == N_BOXES
    yield "negation", "tower_without", f"there is a tower without {_a(colour)} block", having < N_BOXES
    for n in (1, 2, 3):
        found = table.n_towers(lambda s, n=n: s.count(colour) == n)
        blocks = f"exactly {_number(n, rng)} {colour} block{'' if n == 1 else 's'}"
        yield "counting", "tower_count", f"there is a tower with {blocks}", found >= 1
