"""The grammar of the digits data set: every sentence, and when it is true of a scene.

Nine families of statements (the skills that results are broken down by), each in three or four surface forms.
The grammar is finite and small, so all its sentences are listed once; a sentence is then looked up, not
parsed. Sentences take nothing for granted that a scene could lack: see `truths` on undefined statements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import permutations, product

import numpy as np

from verdict.data import truths
from verdict.data.scenes import COLOURS, N_CELLS
from verdict.data.truths import CELL_COLUMN, CELL_ROW, Grid, Kind, Truth

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLURALS = ("zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines")
FAMILIES = (
    "existence",
    "exact_count",
    "compare_count",
    "colour",
    "negation",
    "quantifier",
    "position",
    "relation",
    "comparison",
)

ANY = Kind()
DIGIT_KINDS = tuple(Kind(digit=d) for d in range(10))
COLOUR_KINDS = tuple(Kind(colour=c) for c in range(len(COLOURS)))
BOTH_KINDS = tuple(Kind(d, c) for d in range(10) for c in range(len(COLOURS)))
COARSE_KINDS = DIGIT_KINDS + COLOUR_KINDS
KINDS = COARSE_KINDS + BOTH_KINDS


def _cells(rows: Iterable[int] = range(4), columns: Iterable[int] = range(4)) -> tuple[int, ...]:
    rows, columns = set(rows), set(columns)
    return tuple(i for i in range(N_CELLS) if CELL_ROW[i] in rows and CELL_COLUMN[i] in columns)


CORNERS = {
    "top left": _cells([0], [0]),
    "top right": _cells([0], [3]),
    "bottom left": _cells([3], [0]),
    "bottom right": _cells([3], [3]),
}
HALVES = {
    "left": _cells(columns=(0, 1)),
    "right": _cells(columns=(2, 3)),
    "top": _cells(rows=(0, 1)),
    "bottom": _cells(rows=(2, 3)),
}
EDGES = {
    "top row": _cells(rows=[0]),
    "bottom row": _cells(rows=[3]),
    "left column": _cells(columns=[0]),
    "right column": _cells(columns=[3]),
}


@dataclass(frozen=True, eq=False)
class Statement:
    """A sentence and its truth.

    Attributes
    ----------
    text : str
        Lower-case words, no punctuation.
    family, form : str
        Skill, and surface form as "family/form".
    truth : callable
        Maps a `Grid` to int8 (n_scenes,), see `truths`.
    weight : float
        Chance to be drawn within its form. Within a form the strata (sentences about digits, about colours,
        about both) have equal weight, so that the many "red seven" sentences do not drown the few "seven" and
        "red digit".
    stratum : str
        See weight.
    near : callable, optional
        True of scenes that make the sentence hard, as they hold the words' parts whether or not the sentence is true:
        a seven and a red digit for "there is a red seven", a seven somewhere for "a seven in the top left corner".
        Half of the scenes are taken from these where possible; else most false sentences would be given away by a
        digit or a colour that is nowhere in the scene.
    """

    text: str
    family: str
    form: str
    truth: Truth
    weight: float
    stratum: str
    near: Truth | None = None


@dataclass(frozen=True, eq=False)
class Draft:
    """A sentence on its way to a `Statement`, which explains the attributes."""

    form: str
    text: str
    truth: Truth
    stratum: str
    near: Truth | None = None


def settle(family: str, drafts: Iterable[Draft]) -> list[Statement]:
    """Turn the drafts of one family into statements, with the weights that strata of equal weight imply."""
    drafts = list(drafts)
    sizes = Counter((draft.form, draft.stratum) for draft in drafts)
    return [
        Statement(d.text, family, f"{family}/{d.form}", d.truth, 1.0 / sizes[d.form, d.stratum], d.stratum, d.near)
        for d in drafts
    ]


def singular(kind: Kind) -> str:
    """Words for one of a kind, such as "red seven", "seven" or "red digit"."""
    words = [] if kind.colour is None else [COLOURS[kind.colour]]
    return " ".join([*words, "digit" if kind.digit is None else NUMBERS[kind.digit]])


def plural(kind: Kind) -> str:
    """Words for several of a kind, such as "red sevens", "sevens" or "red digits"."""
    words = [] if kind.colour is None else [COLOURS[kind.colour]]
    return " ".join([*words, "digits" if kind.digit is None else PLURALS[kind.digit]])


def indefinite(kind: Kind) -> str:
    """Words for one of a kind with "a" or "an"."""
    words = singular(kind)
    # By sound, not by letter: "a one", "an eight".
    return f"{'an' if words == 'eight' else 'a'} {words}"


def counted(number: int, kind: Kind) -> str:
    """A number of a kind, such as "one red digit" or "three sevens"."""
    return f"{NUMBERS[number]} {singular(kind) if number == 1 else plural(kind)}"


def stratum(kind: Kind) -> str:
    """Which of the two properties a kind names."""
    return f"{'digit' if kind.digit is not None else ''}{'colour' if kind.colour is not None else ''}"


def present(kind: Kind) -> Truth:
    """Truth of "there is one of this kind"."""
    return partial(truths.count_is, kind=kind, compare=">=", number=1)


def parts(kind: Kind) -> Truth:
    """Truth of "the digit and the colour of this kind are there", see `truths.parts_present`."""
    return partial(truths.parts_present, kind=kind)


def _existence() -> Iterator[Draft]:
    for kind in KINDS:
        yield Draft("there_is", f"there is {indefinite(kind)}", present(kind), stratum(kind), parts(kind))
        yield Draft("image_holds", f"the image holds {indefinite(kind)}", present(kind), stratum(kind), parts(kind))
        yield Draft(
            "at_least_one", f"at least one {singular(kind)} is in the image", present(kind), stratum(kind), parts(kind)
        )


def _exact_count() -> Iterator[Draft]:
    for kind, number in [*product(COARSE_KINDS, range(6)), *product([ANY], range(3, 9))]:
        truth = partial(truths.count_is, kind=kind, compare="=", number=number)
        verb = "is" if number == 1 else "are"
        yield Draft(
            "number_is", f"the number of {plural(kind)} is {NUMBERS[number]}", truth, stratum(kind), present(kind)
        )
        if number >= 1:
            yield Draft("exactly", f"there {verb} exactly {counted(number, kind)}", truth, stratum(kind), present(kind))
        if number >= 2:
            bare = partial(truths.count_is, kind=kind, compare="=", number=number, at_most=number)
            yield Draft("there_are", f"there are {counted(number, kind)}", bare, stratum(kind), present(kind))


def _compare_count() -> Iterator[Draft]:
    forms = (
        ("at_least", "at least", ">=", range(2, 5)),
        ("at_most", "at most", "<=", range(1, 4)),
        ("more_than", "more than", ">", range(1, 4)),
        ("fewer_than", "fewer than", "<", range(2, 5)),
    )
    for form, words, compare, numbers in forms:
        # The whole image holds 3 to 8 digits, so a count of all of them is compared with larger numbers.
        for kind, number in [*product(COARSE_KINDS, numbers), *product([ANY], range(4, 8))]:
            truth = partial(truths.count_is, kind=kind, compare=compare, number=number)
            verb = "is" if number == 1 else "are"
            yield Draft(form, f"there {verb} {words} {counted(number, kind)}", truth, stratum(kind), present(kind))


def _colour() -> Iterator[Draft]:
    for both in BOTH_KINDS:
        digit, colour = Kind(digit=both.digit), Kind(colour=both.colour)
        name, hue = singular(digit), COLOURS[both.colour]
        one = partial(truths.share_is, base=digit, part=both, rule="all", low=1, high=1)
        yield Draft("the_digit_is", f"the {name} is {hue}", one, "", parts(both))
        yield Draft("the_only_is", f"the only {name} in the image is {hue}", one, "", parts(both))
        every = partial(truths.share_is, base=digit, part=both, rule="all", low=2)
        yield Draft("every_is", f"every {name} is {hue}", every, "", parts(both))
        named = partial(truths.share_is, base=colour, part=both, rule="all", low=1, high=1)
        yield Draft("the_colour_digit_is", f"the {hue} digit is {indefinite(digit)}", named, "", parts(both))


def _negation() -> Iterator[Draft]:
    for kind in KINDS:
        truth = partial(truths.count_is, kind=kind, compare="=", number=0)
        yield Draft("there_is_no", f"there is no {singular(kind)}", truth, stratum(kind), parts(kind))
        yield Draft("there_are_no", f"there are no {plural(kind)} in the image", truth, stratum(kind), parts(kind))
    for both in BOTH_KINDS:
        digit = Kind(digit=both.digit)
        none = partial(truths.share_is, base=digit, part=both, rule="none", low=1)
        yield Draft("no_digit_is", f"no {singular(digit)} is {COLOURS[both.colour]}", none, "digit", parts(both))
        one = partial(truths.share_is, base=digit, part=both, rule="none", low=1, high=1)
        yield Draft(
            "the_digit_is_not", f"the {singular(digit)} is not {COLOURS[both.colour]}", one, "digit", parts(both)
        )
    for kind in COLOUR_KINDS:
        truth = partial(truths.count_is, kind=kind, compare="=", number=0)
        yield Draft("no_digit_is", f"no digit is {COLOURS[kind.colour]}", truth, "colour")


def _quantifier() -> Iterator[Draft]:
    for both in BOTH_KINDS:
        digit, colour = Kind(digit=both.digit), Kind(colour=both.colour)
        names, hue = plural(digit), COLOURS[both.colour]
        every = partial(truths.share_is, base=digit, part=both, rule="all", low=2)
        yield Draft("all_are", f"all {names} are {hue}", every, "digit", parts(both))
        named = partial(truths.share_is, base=colour, part=both, rule="all", low=2)
        yield Draft("all_are", f"all {plural(colour)} are {names}", named, "colour", parts(both))
        none = partial(truths.share_is, base=digit, part=both, rule="none", low=2)
        yield Draft("none_of_the_are", f"none of the {names} are {hue}", none, "digit", parts(both))
        pair = partial(truths.share_is, base=digit, part=both, rule="all", low=2, high=2)
        yield Draft("both_are", f"both {names} are {hue}", pair, "", parts(both))
    for kind in COARSE_KINDS:
        words = PLURALS[kind.digit] if kind.colour is None else COLOURS[kind.colour]
        most = partial(truths.share_is, base=ANY, part=kind, rule="most", low=3)
        yield Draft("most_are", f"most digits are {words}", most, stratum(kind))
        none = partial(truths.share_is, base=ANY, part=kind, rule="none", low=3)
        yield Draft("none_of_the_are", f"none of the digits are {words}", none, stratum(kind) + " any")


def _position() -> Iterator[Draft]:
    for kind, (words, cells) in product(COARSE_KINDS, CORNERS.items()):
        here = partial(truths.any_in, kind=kind, cells=cells)
        yield Draft("corner", f"there is {indefinite(kind)} in the {words} corner", here, stratum(kind), present(kind))
    for kind, (words, cells) in product(KINDS, HALVES.items()):
        here = partial(truths.only_one_in, kind=kind, cells=cells)
        yield Draft("half", f"the {singular(kind)} is in the {words} half", here, stratum(kind))
    for kind, (words, cells) in product(KINDS, EDGES.items()):
        here = partial(truths.any_in, kind=kind, cells=cells)
        yield Draft("edge", f"the {words} holds {indefinite(kind)}", here, stratum(kind), present(kind))
    # A union of views, unlike one of mappings, is a set: its order would change from process to process.
    places = {f"{name} corner": cells for name, cells in CORNERS.items()} | EDGES
    for words, cells in places.items():
        nothing = partial(truths.none_in, kind=ANY, cells=cells)
        yield Draft("empty", f"the {words} is empty", nothing, words.split()[-1])


def coarse_couples() -> list[tuple[Kind, Kind]]:
    """Ordered couples of two different digits, or of two different colours."""
    return [*permutations(DIGIT_KINDS, 2), *permutations(COLOUR_KINDS, 2)]


def _relation() -> Iterator[Draft]:
    forms = (
        ("left_right", "left of", CELL_COLUMN, "<"),
        ("left_right", "right of", CELL_COLUMN, ">"),
        ("above_below", "above", CELL_ROW, "<"),
        ("above_below", "below", CELL_ROW, ">"),
    )
    for first, second in coarse_couples():
        names = singular(first), singular(second)
        for form, words, axis, compare in forms:
            truth = partial(truths.placed, first=first, second=second, axis=axis, compare=compare)
            yield Draft(form, f"the {names[0]} is {words} the {names[1]}", truth, stratum(first))
        for line, axis in (("row", CELL_ROW), ("column", CELL_COLUMN)):
            truth = partial(truths.placed, first=first, second=second, axis=axis, compare="=")
            text = f"the {names[0]} and the {names[1]} are in the same {line}"
            yield Draft("same_line", text, truth, stratum(first))


def _comparison() -> Iterator[Draft]:
    for first, second in coarse_couples():
        names = plural(first), plural(second)
        for form, start, middle, compare in (
            ("more_than", "more", "than", ">"),
            ("fewer_than", "fewer", "than", "<"),
            ("as_many_as", "as many", "as", "="),
        ):
            truth = partial(truths.counts_compare, first=first, second=second, compare=compare)
            yield Draft(form, f"there are {start} {names[0]} {middle} {names[1]}", truth, stratum(first))


@cache
def statements() -> tuple[Statement, ...]:
    """All sentences of the grammar, in a fixed order and without repetition."""
    makers = (
        _existence,
        _exact_count,
        _compare_count,
        _colour,
        _negation,
        _quantifier,
        _position,
        _relation,
        _comparison,
    )
    return tuple(s for name, make in zip(FAMILIES, makers, strict=True) for s in settle(name, make()))


BETWEEN_COLOURS = ("relation", "comparison")


def is_taught(statement: Statement) -> bool:
    """Whether pairs of the coupled splits are made of a sentence.

    Relations and comparisons are taught between colours: between ten digits there are ninety ordered couples, each
    too rare to be learnt from tens of thousands of pairs. Those sentences stay in the grammar; the hand-written set
    has some.
    """
    return statement.family not in BETWEEN_COLOURS or statement.stratum == "colour"


def taught() -> tuple[Statement, ...]:
    """The sentences that the target splits are made of."""
    return tuple(filter(is_taught, statements()))


@cache
def _by_text() -> dict[str, Statement]:
    return {statement.text: statement for statement in statements()}


def statement(text: str) -> Statement:
    """Look a sentence of the grammar up.

    Raises
    ------
    KeyError
        If the grammar does not hold this sentence.
    """
    try:
        return _by_text()[text]
    except KeyError:
        raise KeyError(f"not a sentence of the grammar: {text!r}") from None


def evaluate(sentences: Sequence[Statement], grid: Grid) -> np.ndarray:
    """Truth of every sentence of every scene, int8 (n_sentences, n_scenes): 1 true, 0 false, -1 undefined."""
    return np.stack([sentence.truth(grid) for sentence in sentences])


def words_of(texts: Iterable[str]) -> list[str]:
    """The distinct words of some sentences, sorted."""
    return sorted({word for text in texts for word in text.split()})


TRAINING_WORDS = tuple(words_of(statement.text for statement in statements()))
