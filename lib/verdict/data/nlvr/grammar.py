"""Sentences that can be said about NLVR scenes, with their truth in each scene.

No sentence depends on the order of the boxes, as the corpus shows every scene in six orders. The wording follows what
people wrote in the train and dev files.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from verdict.data.nlvr.scenes import COLOURS, N_BOXES, SHAPES, SceneTable

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
EDGE_PHRASES = {
    "edge": ("touching the edge", "touching the wall", "touching the side", "touching an edge"),
    "free": ("not touching any edge", "not touching the edge", "not touching the wall"),
    "bottom": ("touching the base", "touching the bottom", "closely touching the bottom of a box"),
}


def _number(n: int, rng: np.random.Generator) -> str:
    return NUMBER_WORDS[n] if rng.random() < 0.5 else str(n)


def _count_of(n: int, noun: str, rng: np.random.Generator, plural: str = "s") -> str:
    return f"{_number(n, rng)} {noun}{'' if n == 1 else plural}"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


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
        yield "counting", form, f"there {_is(n)} {words}{_count_of(n, name, rng)}", compare(total, n)


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
            some = f"there {_is(n)} exactly {_count_of(n, name, rng)} {phrase}"
            yield "touching", f"exactly_{place}", some, total == n
            if n > 1:
                some = f"there are at least {_count_of(n, name, rng)} {phrase}"
                yield "touching", f"at_least_{place}", some, total >= n


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
        boxes = _count_of(n, "box", rng, "es")
        yield "quantifier", "boxes_with", f"there {_is(n)} exactly {boxes} with {_a(name)}", holding == n
        yield "quantifier", "boxes_only", f"there {_is(n)} {boxes} with only {name}s", only == n
        some = f"{'exactly ' if rng.random() < 0.5 else ''}{_count_of(n, name, rng)}"
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
            text = f"there {_is(n)} {_count_of(n, 'box', rng, 'es')} with only {first} and {second} items"
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
        found, some = (items == n).any(axis=1), f"exactly {NUMBER_WORDS[n]} object{'' if n == 1 else 's'}"
        yield "counting", "box_size", f"there is a box with exactly {_count_of(n, 'item', rng)}", found
        yield "counting", "square_size", f"one of the grey square has {some}", found
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
        blocks = _count_of(n, "block", rng)
        for words in ("", "exactly ", "only "):
            yield "counting", "tower_of", f"there is a tower with {words}{blocks}", size >= 1
        yield "negation", "no_tower_of", f"there is no tower with {blocks}", size == 0
        higher = table.n_towers(lambda s, n=n: len(s) >= n) >= 1
        yield "counting", "tower_of_least", f"there is a tower with at least {blocks}", higher
        for k in (1, 2):
            text = f"there {_is(k)} exactly {_count_of(k, 'tower', rng)} with {blocks}"
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
            some = f"{_count_of(k, 'tower', rng)} with {_a(block)} {phrase}"
            for form, words, found in (("exactly", "exactly ", towers == k), ("bare", "", towers == k)):
                yield "position", f"{form}_{end}", f"there {_is(k)} {words}{some}", found
            yield "position", f"at_least_{end}", f"there {_is(k)} at least {some}", towers >= k
        for n in range(1, 5):
            exact = table.n_towers(lambda s, p=place, n=n: len(s) == n and s[p] == colour)
            higher = table.n_towers(lambda s, p=place, n=n: len(s) >= n and s[p] == colour)
            for words, fits in (("exactly ", exact), ("", exact), ("at least ", higher)):
                tower = f"a tower with {words}{_count_of(n, 'block', rng)}"
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
        blocks = f"exactly {_count_of(n, f'{colour} block', rng)}"
        yield "counting", "tower_count", f"there is a tower with {blocks}", found >= 1


# Sentences that say how many boxes or towers fulfil a condition, or two at once: a count ("exactly two towers"), a link
# ("which has") and a condition ("a black block at the top"), so that a model meets every condition with every count.
EXACT = ("", "exactly ", "only ")
LINKS = ("with", "having", "which has", "that has")
WALLS = {
    "corner": ("touching a corner", "closely touching a corner of a box"),
    "right": ("touching right wall of a box",),
}

Condition = tuple[str, str, np.ndarray]
"""Family, wording after "a tower with" or "a box with", and how many of a scene's three fulfil it."""


def _several(n: int, noun: str, rng: np.random.Generator, *, is_bare: bool = False) -> str:
    """A number of things, with a word that makes it exact or without; one is "a" or "one"."""
    word = "" if is_bare else EXACT[rng.integers(3)]
    if n == 1 and not word:
        return f"a {noun}" if rng.random() < 0.7 else f"{_number(1, rng)} {noun}"
    return f"{word}{_count_of(n, noun, rng)}"


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
    heights = {n: f"{EXACT[rng.integers(3)]}{_count_of(n, 'block', rng)}" for n in range(1, 5)}
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
    for n, wording in ((1, "only one color"), (2, "two different colors"), (3, "all three colors")):
        yield "colour", f"blocks of {wording}", table.n_towers(lambda s, n=n: len(set(s)) == n)


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
            text = f"there is {'exactly' if rng.random() < 0.5 else 'only'} {one}"
            yield "touching", f"one_{place}", text, total == 1
            text = f"there is {'at least ' + one if rng.random() < 0.5 else 'a ' + some}"
            yield "touching", f"some_{place}", text, total >= 1
            yield "negation", f"none_{place}", f"there is no {some}", total == 0
            for n in (2, 3):
                several = f"{_number(n, rng)} {name}s {phrase}"
                yield "touching", f"bare_{place}", f"there are {several}", total == n
                yield "touching", f"least_{place}", f"there are at least {several}", total >= n


def _blocks_at_ends(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """How many blocks of a colour are the top or the base of a tower."""
    for colour, (end, place), n in itertools.product(COLOURS.values(), (("top", -1), ("base", 0)), (1, 2, 3)):
        blocks = f"{EXACT[rng.integers(1 if n == 1 else 0, 3)]}{_count_of(n, f'{colour} block', rng)}"
        ends = table.n_towers(lambda s, p=place, c=colour: bool(s) and s[p] == c)
        yield "position", f"blocks_{end}", f"there {_is(n)} {blocks} as the {end} of a tower", ends == n
        if n > 1:
            all_ends = f"{_number(n, rng)} {'of the three towers' if n == 2 else 'towers'} have a {colour} {end}"
            yield "position", f"have_{end}", all_ends, ends == n
        k = int(rng.integers(1, 5))
        sized = table.n_towers(lambda s, p=place, c=colour, k=k: len(s) >= k and s[p] == c)
        tower = f"a tower with at least {_count_of(k, 'block', rng)}"
        yield "position", f"blocks_{end}_of", f"there {_is(n)} {blocks} as the {end} of {tower}", sized == n


def compound_scatter_drafts(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Family, form, sentence and truth of statements about boxes with scattered items."""
    yield from _combine(_box_conditions(table, rng), "box", "boxes", rng)
    yield from _at_places(table, rng)


def compound_tower_drafts(table: SceneTable, rng: np.random.Generator) -> Iterator[Draft]:
    """Family, form, sentence and truth of statements about towers."""
    yield from _combine(_tower_conditions(table, rng), "tower", "towers", rng)
    yield from _blocks_at_ends(table, rng)
