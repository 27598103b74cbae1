"""The grammar of the digits data set: every sentence, and when it is true of a scene.

Nine families of statements (the skills that results are broken down by), each in three or four surface forms. The
grammar is finite and small, so all its sentences are listed once; a sentence is then looked up, not parsed. Sentences
take nothing for granted that a scene could lack: see `truths` on undefined statements. The functions that make drafts
take the wording, so that the independent set says the same in other words.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, permutations, product
from typing import NamedTuple

import numpy as np

from verdict.data.digits import truths
from verdict.data.digits.scenes import COLOURS, N_CELLS
from verdict.data.digits.truths import CELL_COLUMN, CELL_ROW, Grid, Kind, Truth

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLURALS = ("zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines")

ANY = Kind()
DIGIT_KINDS = tuple(Kind(digit=d) for d in range(10))
COLOUR_KINDS = tuple(Kind(colour=c) for c in range(len(COLOURS)))
BOTH_KINDS = tuple(Kind(d, c) for d in range(10) for c in range(len(COLOURS)))
COARSE_KINDS = DIGIT_KINDS + COLOUR_KINDS
KINDS = COARSE_KINDS + BOTH_KINDS


def _cells(rows: Iterable[int] = range(4), columns: Iterable[int] = range(4)) -> tuple[int, ...]:
    rows, columns = set(rows), set(columns)
    return tuple(i for i in range(N_CELLS) if CELL_ROW[i] in rows and CELL_COLUMN[i] in columns)


ROWS, COLUMNS = {"top": 0, "bottom": 3}, {"left": 0, "right": 3}
CORNERS = {f"{row} {column}": _cells([ROWS[row]], [COLUMNS[column]]) for row, column in product(ROWS, COLUMNS)}
HALVES = {
    "left": _cells(columns=(0, 1)),
    "right": _cells(columns=(2, 3)),
    "top": _cells(rows=(0, 1)),
    "bottom": _cells(rows=(2, 3)),
}
EDGES = {f"{name} row": _cells(rows=[row]) for name, row in ROWS.items()}
EDGES |= {f"{name} column": _cells(columns=[column]) for name, column in COLUMNS.items()}


@dataclass(frozen=True, eq=False)
class Statement:
    """A sentence (lower-case words, no punctuation) and its truth, see `truths`.

    `form` is "family/form". `weight` is the chance to be drawn within the form: the strata (sentences about digits,
    about colours, about both) weigh the same. `near` is true of scenes that make the sentence hard, as they hold the
    words' parts whether or not it is true: a seven and a red digit for "there is a red seven". Without half of the
    scenes from these most false sentences would be given away by a digit or a colour that is nowhere in the scene.
    """

    text: str
    family: str
    form: str
    truth: Truth
    weight: float
    stratum: str
    near: Truth | None = None


class Draft(NamedTuple):
    """A sentence on its way to a `Statement`, which explains the attributes."""

    form: str
    text: str
    truth: Truth
    stratum: str
    near: Truth | None = None


def settle(drafts: Mapping[str, Iterable[Draft]]) -> tuple[Statement, ...]:
    """Turn the drafts of each family into statements, with the weights that strata of equal weight imply."""
    found = []
    for family, own in ((family, list(own)) for family, own in drafts.items()):
        sizes = Counter((draft.form, draft.stratum) for draft in own)
        found += [
            Statement(d.text, family, f"{family}/{d.form}", d.truth, 1.0 / sizes[d.form, d.stratum], d.stratum, d.near)
            for d in own
        ]
    return tuple(found)


def _words(kind: Kind, name: str) -> str:
    return name if kind.colour is None else f"{COLOURS[kind.colour]} {name}"


def singular(kind: Kind) -> str:
    """Words for one of a kind, such as "red seven", "seven" or "red digit"."""
    return _words(kind, "digit" if kind.digit is None else NUMBERS[kind.digit])


def plural(kind: Kind) -> str:
    """Words for several of a kind, such as "red sevens", "sevens" or "red digits"."""
    return _words(kind, "digits" if kind.digit is None else PLURALS[kind.digit])


def indefinite(kind: Kind) -> str:
    """Words for one of a kind with "a" or "an"."""
    words = singular(kind)
    # By sound, not by letter: "a one", "an eight".
    return f"{'an' if words == 'eight' else 'a'} {words}"


def counted(number: int, kind: Kind) -> str:
    """A number of a kind, such as "one red digit" or "three sevens"."""
    return f"{NUMBERS[number]} {singular(kind) if number == 1 else plural(kind)}"


def _said(text: str, kind: Kind, number: int = 0, **others: str) -> str:
    """A form with its words: {one}, {many}, {a} of the kind, {is}, {n} and {count} of a number of them."""
    words = {"one": singular(kind), "many": plural(kind), "a": indefinite(kind), "n": NUMBERS[number]}
    return text.format(**words, **others, **{"is": "is" if number == 1 else "are", "count": counted(number, kind)})


def stratum(kind: Kind) -> str:
    """Which of the two properties a kind names."""
    return f"{'digit' if kind.digit is not None else ''}{'colour' if kind.colour is not None else ''}"


def _count(kind: Kind, compare: str, number: int, **bound: int) -> Truth:
    return partial(truths.count_is, kind=kind, compare=compare, number=number, **bound)


def _present(kind: Kind) -> Truth:
    return _count(kind, ">=", 1)


def _parts(kind: Kind) -> Truth:
    return partial(truths.parts_present, kind=kind)


def presence(*forms: tuple[str, str], is_none: bool = False) -> Iterator[Draft]:
    """One of a kind is there, or none is: form, text."""
    for kind, (form, text) in product(KINDS, forms):
        truth = _count(kind, "=", 0) if is_none else _present(kind)
        yield Draft(form, _said(text, kind), truth, stratum(kind), _parts(kind))


def exact_counts(*forms: tuple[str, str, int, bool]) -> Iterator[Draft]:
    """Counts of a kind: form, text, least number, and whether it leaves open what holds of larger counts."""
    for kind, number in [*product(COARSE_KINDS, range(6)), *product([ANY], range(3, 9))]:
        for form, text, least, is_bare in forms:
            if number >= least:
                truth = _count(kind, "=", number, **({"at_most": number} if is_bare else {}))
                yield Draft(form, _said(text, kind, number), truth, stratum(kind), _present(kind))


def bounded_counts(numbers: Iterable[int], *forms: tuple[str, str, str]) -> Iterator[Draft]:
    """Counts of a kind against a number: form, text, comparison."""
    # The whole image holds 3 to 8 digits, so a count of all of them is compared with larger numbers.
    for kind, number in [*product(COARSE_KINDS, numbers), *product([ANY], range(4, 8))]:
        for form, text, compare in forms:
            yield Draft(form, _said(text, kind, number), _count(kind, compare, number), stratum(kind), _present(kind))


def shares(*forms: tuple[str, str, str, str, tuple[int, ...], str]) -> Iterator[Draft]:
    """Digits of one value and their colour: form, text, base (digit or colour), rule, bounds of its count, stratum."""
    for both in BOTH_KINDS:
        digit, colour = Kind(digit=both.digit), Kind(colour=both.colour)
        words = {"hue": COLOURS[both.colour]}
        for form, text, base, rule, bounds, name in forms:
            given = {"base": digit if base == "digit" else colour, "part": both, "rule": rule}
            truth = partial(truths.share_is, **given, **dict(zip(("low", "high"), bounds, strict=False)))
            yield Draft(form, _said(text, digit, **words), truth, name, _parts(both))


def shares_of_all(*forms: tuple[str, str, str, str]) -> Iterator[Draft]:
    """All digits of a scene against one kind: form, text, rule, and what its stratum is besides the kind's."""
    for kind, (form, text, rule, more) in product(COARSE_KINDS, forms):
        words = PLURALS[kind.digit] if kind.colour is None else COLOURS[kind.colour]
        truth = partial(truths.share_is, base=ANY, part=kind, rule=rule, low=3)
        yield Draft(form, text.format(words), truth, stratum(kind) + more)


def places(
    kinds: Iterable[Kind], cells_of: Mapping[str, tuple[int, ...]], truth: Callable, form: str, text: str
) -> Iterator[Draft]:
    """Kinds in some cells of the image."""
    for kind, (place, cells) in product(kinds, cells_of.items()):
        near = _present(kind) if truth is truths.any_in else None
        here = partial(truth, kind=kind, cells=cells)
        yield Draft(form, _said(text, kind, place=place), here, stratum(kind), near)


def coarse_couples() -> list[tuple[Kind, Kind]]:
    """Ordered couples of two different digits, or of two different colours."""
    return [*permutations(DIGIT_KINDS, 2), *permutations(COLOUR_KINDS, 2)]


def relations(*forms: tuple[str, str, np.ndarray, str]) -> Iterator[Draft]:
    """Where one stands to another: form, text, row or column of each cell, comparison."""
    for (first, second), (form, text, axis, compare) in product(coarse_couples(), forms):
        truth = partial(truths.placed, first=first, second=second, axis=axis, compare=compare)
        yield Draft(form, text.format(singular(first), singular(second)), truth, stratum(first))


def comparisons(*forms: tuple[str, str, str]) -> Iterator[Draft]:
    """Counts of two kinds: form, text, comparison."""
    for (first, second), (form, text, compare) in product(coarse_couples(), forms):
        truth = partial(truths.counts_compare, first=first, second=second, compare=compare)
        yield Draft(form, text.format(plural(first), plural(second)), truth, stratum(first))


def _colourless() -> Iterator[Draft]:
    for kind in COLOUR_KINDS:
        yield Draft("no_digit_is", f"no digit is {COLOURS[kind.colour]}", _count(kind, "=", 0), "colour")


def _empty_places() -> Iterator[Draft]:
    # A union of views, unlike one of mappings, is a set: its order would change from process to process.
    for words, cells in ({f"{name} corner": cells for name, cells in CORNERS.items()} | EDGES).items():
        yield Draft("empty", f"the {words} is empty", partial(truths.none_in, kind=ANY, cells=cells), words.split()[-1])


@cache
def statements() -> tuple[Statement, ...]:
    """All sentences of the grammar, in a fixed order and without repetition."""
    drafts = {
        "existence": presence(
            ("there_is", "there is {a}"),
            ("image_holds", "the image holds {a}"),
            ("at_least_one", "at least one {one} is in the image"),
        ),
        "exact_count": exact_counts(
            ("number_is", "the number of {many} is {n}", 0, False),
            ("exactly", "there {is} exactly {count}", 1, False),
            ("there_are", "there are {count}", 2, True),
        ),
        "compare_count": chain(
            bounded_counts(range(2, 5), ("at_least", "there {is} at least {count}", ">=")),
            bounded_counts(range(1, 4), ("at_most", "there {is} at most {count}", "<=")),
            bounded_counts(range(1, 4), ("more_than", "there {is} more than {count}", ">")),
            bounded_counts(range(2, 5), ("fewer_than", "there {is} fewer than {count}", "<")),
        ),
        "colour": shares(
            ("the_digit_is", "the {one} is {hue}", "digit", "all", (1, 1), ""),
            ("the_only_is", "the only {one} in the image is {hue}", "digit", "all", (1, 1), ""),
            ("every_is", "every {one} is {hue}", "digit", "all", (2,), ""),
            ("the_colour_digit_is", "the {hue} digit is {a}", "colour", "all", (1, 1), ""),
        ),
        "negation": chain(
            presence(
                ("there_is_no", "there is no {one}"), ("there_are_no", "there are no {many} in the image"), is_none=True
            ),
            shares(
                ("no_digit_is", "no {one} is {hue}", "digit", "none", (1,), "digit"),
                ("the_digit_is_not", "the {one} is not {hue}", "digit", "none", (1, 1), "digit"),
            ),
            _colourless(),
        ),
        "quantifier": chain(
            shares(
                ("all_are", "all {many} are {hue}", "digit", "all", (2,), "digit"),
                ("all_are", "all {hue} digits are {many}", "colour", "all", (2,), "colour"),
                ("none_of_the_are", "none of the {many} are {hue}", "digit", "none", (2,), "digit"),
                ("both_are", "both {many} are {hue}", "digit", "all", (2, 2), ""),
            ),
            shares_of_all(
                ("most_are", "most digits are {}", "most", ""),
                ("none_of_the_are", "none of the digits are {}", "none", " any"),
            ),
        ),
        "position": chain(
            places(COARSE_KINDS, CORNERS, truths.any_in, "corner", "there is {a} in the {place} corner"),
            places(KINDS, HALVES, truths.only_one_in, "half", "the {one} is in the {place} half"),
            places(KINDS, EDGES, truths.any_in, "edge", "the {place} holds {a}"),
            _empty_places(),
        ),
        "relation": relations(
            ("left_right", "the {} is left of the {}", CELL_COLUMN, "<"),
            ("left_right", "the {} is right of the {}", CELL_COLUMN, ">"),
            ("above_below", "the {} is above the {}", CELL_ROW, "<"),
            ("above_below", "the {} is below the {}", CELL_ROW, ">"),
            ("same_line", "the {} and the {} are in the same row", CELL_ROW, "="),
            ("same_line", "the {} and the {} are in the same column", CELL_COLUMN, "="),
        ),
        "comparison": comparisons(
            ("more_than", "there are more {} than {}", ">"),
            ("fewer_than", "there are fewer {} than {}", "<"),
            ("as_many_as", "there are as many {} as {}", "="),
        ),
    }
    return settle(drafts)


BETWEEN_COLOURS = ("relation", "comparison")


def is_taught(statement: Statement) -> bool:
    """Whether pairs of the coupled splits are made of a sentence: relations and comparisons are taught between colours,
    since each of the ninety ordered couples of digits is too rare to be learnt from tens of thousands of pairs.
    """
    return statement.family not in BETWEEN_COLOURS or statement.stratum == "colour"


def taught() -> tuple[Statement, ...]:
    """The sentences that the target splits are made of."""
    return tuple(filter(is_taught, statements()))


@cache
def by_text() -> dict[str, Statement]:
    """Every sentence of the grammar by its text."""
    return {statement.text: statement for statement in statements()}


def evaluate(sentences: Sequence[Statement], grid: Grid) -> np.ndarray:
    """Truth of every sentence of every scene, int8 (n_sentences, n_scenes): 1 true, 0 false, -1 undefined."""
    return np.stack([sentence.truth(grid) for sentence in sentences])


def words_of(texts: Iterable[str]) -> list[str]:
    """The distinct words of some sentences, sorted."""
    return sorted({word for text in texts for word in text.split()})


TRAINING_WORDS = tuple(words_of(statement.text for statement in statements()))
