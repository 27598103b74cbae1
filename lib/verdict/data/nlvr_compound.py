"""Sentences that say how many boxes or towers fulfil a condition, or two at once: the rest of the warm-up's grammar.

A sentence is a count ("exactly two towers"), a link ("which has") and a condition ("a black block at the top"), so
that a model meets every condition with every count. The wording follows what people wrote in the train and dev files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from verdict.data.nlvr_scenes import COLOURS, N_BOXES, SHAPES, SceneTable

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
LINKS = ("with", "having", "which has", "that has")
WALLS = {
    "corner": ("touching a corner", "closely touching a corner of a box"),
    "right": ("touching right wall of a box",),
}

Draft = tuple[str, str, str, np.ndarray]
Condition = tuple[str, str, np.ndarray]
"""Family, wording after "a tower with" or "a box with", and how many of a scene's three fulfil it."""


def _number(n: int, rng: np.random.Generator) -> str:
    return NUMBER_WORDS[n] if rng.random() < 0.5 else str(n)


def _several(n: int, noun: str, rng: np.random.Generator, *, is_bare: bool = False) -> str:
    """A number of things, with a word that makes it exact or without; one is "a" or "one"."""
    word = "" if is_bare else ("", "exactly ", "only ")[rng.integers(3)]
    if n == 1 and not word:
        return f"a {noun}" if rng.random() < 0.7 else f"{_number(1, rng)} {noun}"
    return f"{word}{_number(n, rng)} {noun}{'' if n == 1 else 's'}"


def _subjects(noun: str, plural: str, rng: np.random.Generator) -> Iterator[tuple[str, str, Callable]]:
    """Form, wording and what it asks of the number of boxes or towers."""
    one, two, three = (_number(n, rng) for n in (1, 2, 3))
    link = LINKS[rng.integers(len(LINKS))]
    having = link.replace("has", "have") if rng.random() < 0.6 else link
    yield "some", f"there is a {noun} {link}", lambda n: n >= 1
    yield "some_least", f"there is at least {one} {noun} {link}", lambda n: n >= 1
    yield "one_has", f"one {noun} has", lambda n: n >= 1
    yield "no", f"there is no {noun} {link}", lambda n: n == 0
    yield "one_exactly", f"there is {'exactly' if rng.random() < 0.5 else 'only'} {one} {noun} {link}", lambda n: n == 1
    yield "two_exactly", f"there are exactly {two} {plural} {having}", lambda n: n == 2
    yield "two_only", f"there are only {two} {plural} {having}", lambda n: n == 2
    yield "two_bare", f"there are {two} {plural} {having}", lambda n: n == 2
    yield "two_least", f"there are at least {two} {plural} {having}", lambda n: n >= 2
    every = ("all {0} have", "all three {0} have", "all 3 {0} have", "each {1} has", "every {1} has", "{2} {0} have")
    yield "all", every[rng.integers(len(every))].format(plural, noun, three), lambda n: n == N_BOXES


def _combine(conditions: Iterator[Condition], noun: str, plural: str, rng: np.random.Generator) -> Iterator[Draft]:
    for family, wording, holding in conditions:
        for form, subject, asks in _subjects(noun, plural, rng):
            kind = {"no": "negation", "all": "quantifier"}.get(form, family)
            yield kind, f"{noun}_{form}", f"{subject} {wording}", asks(holding)


def _tower_conditions(table: SceneTable, rng: np.random.Generator) -> Iterator[Condition]:
    heights = {
        n: f"{('', 'exactly ', 'only ')[rng.integers(3)]}{_number(n, rng)} block{'s' * (n > 1)}" for n in range(1, 5)
    }
    for n, blocks in heights.items():
        yield "counting", blocks, table.n_towers(lambda s, n=n: len(s) == n)
    for colour in COLOURS.values():
        block = f"{colour} block"
        for n in (1, 2, 3):
            wording = f"{_number(n, rng)} {block}s stacked together" if n > 1 and rng.random() < 0.2 else ""
            holding = table.n_towers(lambda s, n=n, c=colour: s.count(c) >= 1 if n == 1 else s.count(c) == n)
            yield "counting", wording or _several(n, block, rng, is_bare=n == 1), holding
        for end, place in (("top", -1), ("base", 0)):
            holding = table.n_towers(lambda s, p=place, c=colour: bool(s) and s[p] == c)
            yield "position", f"a {block} {('at', 'as')[rng.integers(2)]} the {end}", holding
            for n, blocks in heights.items():
                holding = table.n_towers(lambda s, p=place, c=colour, n=n: len(s) == n and s[p] == c)
                also = ("with", "and it has", "having", "and")[rng.integers(4)]
                yield "position", f"{blocks} {also} a {block} at the {end}", holding
    for below, above in itertools.product(COLOURS.values(), repeat=2):
        over = ("on", "over", "above", "on top of")[rng.integers(4 if below != above else 2)]
        directly = table.n_towers(lambda s, p=(below, above): p in itertools.pairwise(s))
        yield "position", f"a {above} block {over} a {below} block", directly
        if below < above:
            both = table.n_towers(lambda s, a=above, b=below: a in s and b in s)
            yield "colour", f"a {above} block and a {below} block", both
    colours = (
        ("blocks of only one color", 1),
        ("blocks of two different colors", 2),
        ("blocks of all three colors", 3),
    )
    for wording, n in colours:
        yield "colour", wording, table.n_towers(lambda s, n=n: len(set(s)) == n)


def _box_conditions(table: SceneTable, rng: np.random.Generator) -> Iterator[Condition]:
    total = table.per_box()
    noun = ("item", "object")[rng.integers(2)]
    for n in range(1, 8):
        yield "counting", _several(n, noun, rng, is_bare=n > 1), (total == n).sum(axis=1)
    kinds = [(c, s) for c, s in itertools.product(("", *COLOURS.values()), ("", *SHAPES)) if c or s]
    for colour, shape in kinds:
        name = f"{colour} {shape or noun}".strip()
        inside = table.per_box(colour, shape)
        for n in (1, 2, 3):
            holding = inside >= 1 if n == 1 else inside == n
            yield "counting", _several(n, name, rng, is_bare=n == 1), holding.sum(axis=1)
        touching = ("touching the wall", "touching the side", "touching the edge")[rng.integers(3)]
        at_wall = table.per_box(colour, shape, "edge")
        yield "touching", f"a {name} {touching}", (at_wall >= 1).sum(axis=1)
        other = kinds[rng.integers(len(kinds))]
        second, k = f"{other[0]} {other[1] or noun}".strip(), int(rng.integers(1, 4))
        inside_too = table.per_box(*other)
        if other != (colour, shape):
            both = (inside >= 1) & (inside_too == k if k > 1 else inside_too >= 1)
            yield "counting", f"a {name} and {_several(k, second, rng, is_bare=True)}", both.sum(axis=1)
            n = int(rng.integers(2, 6))
            sized = (total == n) & (inside_too >= 1)
            yield "counting", f"{_number(n, rng)} {noun}s and a {second}", sized.sum(axis=1)
    yield from _colour_conditions(table, rng, noun)


def _colour_conditions(table: SceneTable, rng: np.random.Generator, noun: str) -> Iterator[Condition]:
    total, words = table.per_box(), list(COLOURS.values())
    present = {colour: table.per_box(colour) > 0 for colour in words}
    spelling = ("color", "colour")[rng.integers(2)]
    for first, second in itertools.permutations(words, 2):
        third = next(colour for colour in words if colour not in (first, second))
        only = present[first] & present[second] & ~present[third]
        yield "colour", f"{noun}s of only {first} and {second} {spelling}", only.sum(axis=1)
        n = int(rng.integers(2, 6))
        wording = f"{'only ' if rng.random() < 0.5 else ''}{_number(n, rng)} {noun}s of {first} and {second} {spelling}"
        yield "colour", wording, (only & (total == n)).sum(axis=1)
    kinds = np.stack(list(present.values())).sum(axis=0)
    for n, wording in ((1, "only one"), (2, "two different"), (3, "all three")):
        yield "colour", f"{noun}s of {wording} {spelling}{'s' * (n > 1)}", (kinds == n).sum(axis=1)


def _at_places(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Items in a corner, at the right wall, and bare numbers of items at a wall."""
    for colour, shape in itertools.product(("", *COLOURS.values()), ("", *SHAPES)):
        name = f"{colour} {shape or ('item', 'object')[rng.integers(2)]}".strip()
        for place, phrases in {
            **WALLS,
            "edge": ("touching the edge", "touching the wall"),
            "free": ("not touching any edge",),
            "bottom": ("touching the base", "closely touching the bottom of a box"),
        }.items():
            total, phrase = table.per_box(colour, shape, place).sum(axis=1), phrases[rng.integers(len(phrases))]
            some = f"{name} {phrase}"
            one = f"{_number(1, rng)} {some}"
            yield (
                "touching",
                f"one_{place}",
                f"there is {'exactly' if rng.random() < 0.5 else 'only'} {one}",
                total == 1,
            )
            yield (
                "touching",
                f"some_{place}",
                f"there is {'at least ' + one if rng.random() < 0.5 else 'a ' + some}",
                total >= 1,
            )
            yield "negation", f"none_{place}", f"there is no {some}", total == 0
            for n in (2, 3):
                several = f"{_number(n, rng)} {name}s {phrase}"
                yield "touching", f"bare_{place}", f"there are {several}", total == n
                yield "touching", f"least_{place}", f"there are at least {several}", total >= n


def _tower_ends(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """How many blocks of a colour are the top or the base of a tower."""
    for colour, (end, place), n in itertools.product(COLOURS.values(), (("top", -1), ("base", 0)), (1, 2, 3)):
        word = ("", "exactly ", "only ")[rng.integers(1 if n == 1 else 0, 3)]
        blocks = f"{word}{_number(n, rng)} {colour} block{'s' * (n > 1)}"
        verb = "is" if n == 1 else "are"
        ends = table.n_towers(lambda s, p=place, c=colour: bool(s) and s[p] == c)
        yield "position", f"blocks_{end}", f"there {verb} {blocks} as the {end} of a tower", ends == n
        if n > 1:
            all_ends = f"{_number(n, rng)} {'of the three towers' if n == 2 else 'towers'} have a {colour} {end}"
            yield "position", f"have_{end}", all_ends, ends == n
        k = int(rng.integers(1, 5))
        sized = table.n_towers(lambda s, p=place, c=colour, k=k: len(s) >= k and s[p] == c)
        tower = f"a tower with at least {_number(k, rng)} block{'s' * (k > 1)}"
        yield "position", f"blocks_{end}_of", f"there {verb} {blocks} as the {end} of {tower}", sized == n


def compound_scatter_drafts(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Family, form, sentence and truth of statements about boxes with scattered items."""
    yield from _combine(_box_conditions(table, rng), "box", "boxes", rng)
    yield from _at_places(table, rng)


def compound_tower_drafts(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Family, form, sentence and truth of statements about towers."""
    yield from _combine(_tower_conditions(table, rng), "tower", "towers", rng)
    yield from _tower_ends(table, rng)
