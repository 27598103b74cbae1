"""Questions whose right answer follows from the label of a pair: paraphrases, negations and consequences.

"There is a red seven" entailed: "the image holds a red seven" is true, "there is no red seven" false; contradicted: the
other way round. "The red digit is left of the blue digit" entailed: "... right of ..." is false; contradicted: they may
stand in one column, so that nothing follows. Meanings are read from the grammar's own truth functions.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from verdict.base.labels import expected_columns
from verdict.data.digits import grammar, independent, truths
from verdict.data.digits.grammar import ANY, HALVES, Statement
from verdict.data.digits.truths import CELL_ROW, Kind

MAX_QUESTIONS = 3
UNKNOWN = math.nan
_FLIP = {"<": ">", ">": "<", "=": "="}
_OTHER_HALF = {HALVES[one]: HALVES[two] for one, two in (("left", "right"), ("top", "bottom"))}
_OTHER_HALF |= {two: one for one, two in _OTHER_HALF.items()}


class Question(NamedTuple):
    """A sentence of the grammar, and its truth where another sentence is true and where it is false (NaN: either)."""

    text: str
    if_true: float
    if_false: float


Meaning = tuple[Any, ...]
Consequence = tuple[Meaning, float, float]


def question_table(hypotheses: Sequence[str]) -> pd.DataFrame:
    """Questions about each distinct hypothesis: hypothesis, question, expected_if_entailment,
    expected_if_contradiction. A sentence that neither the grammar nor the independent templates know has no rows.
    """
    known, rows = {s.text: s for s in independent.paraphrases()} | grammar.by_text(), []
    for text in dict.fromkeys(hypotheses):
        if text in known:
            rows += [(text, *question) for question in questions_about(known[text])]
    return pd.DataFrame(rows, columns=["hypothesis", "question", *expected_columns()])


def questions_about(statement: Statement) -> list[Question]:
    """At most `MAX_QUESTIONS` questions; those whose answer is known either way come first, paraphrases before all."""
    found: dict[str, Question] = {}
    for meaning, if_true, if_false in _consequences(statement):
        for text in _texts().get(meaning, ()):
            if text != statement.text and text not in found:
                found[text] = Question(text, if_true, if_false)
                break
    ranked = sorted(found.values(), key=lambda question: (math.isnan(question.if_false), question.if_true != 1))
    return ranked[:MAX_QUESTIONS]


def _of_count(*, kind: Kind, compare: str, number: int, at_most: int | None = None) -> Iterator[Consequence]:
    """Counts of the same kind: intervals that hold, or exclude, the counts that make the statement true or false."""
    low, high = _interval(compare, number)
    top = math.inf if at_most is None else at_most
    outside = [*([(0, low - 1)] if low > 0 else []), *([(high + 1, top)] if high < top else [])]
    for meaning in (known for known in _texts() if known[:2] == ("count", kind)):
        if_true, if_false = (_known(spans, meaning[2:]) for spans in ([(low, min(high, top))], outside))
        if not (math.isnan(if_true) or if_true == if_false):
            yield meaning, if_true, if_false


def _known(spans: list[tuple[float, float]], target: tuple[float, float]) -> float:
    """1 if every span lies in the target, 0 if none touches it, NaN otherwise."""
    if all(target[0] <= first and last <= target[1] for first, last in spans):
        return 1.0
    return 0.0 if all(last < target[0] or target[1] < first for first, last in spans) else UNKNOWN


def _interval(compare: str, number: int) -> tuple[float, float]:
    low = {"=": number, ">=": number, ">": number + 1}.get(compare, 0)
    high = {"=": number, "<=": number, "<": number - 1}.get(compare, math.inf)
    return low, high


def _of_share(*, base: Kind, part: Kind, rule: str, low: int = 1, high: float = math.inf) -> Iterator[Consequence]:
    """What a share says of the count of the part; of a single digit "all" is the same as "there is one"."""
    some, no = ("count", part, 1, math.inf), ("count", part, 0, 0)
    if rule == "none":
        yield no, 1.0, 0.0
        yield some, 0.0, 1.0
    else:
        is_either_way = rule == "all" and low == high == 1
        yield some, 1.0, 0.0 if is_either_way else UNKNOWN
        yield no, 0.0, 1.0 if is_either_way else UNKNOWN


def _consequences(statement: Statement) -> Iterator[Consequence]:
    """What follows where a statement is true, and where it is false, by its truth function."""
    given, rule = statement.truth.keywords, statement.truth.func
    match rule:
        case truths.count_is:
            yield from _of_count(**given)
        case truths.share_is:
            yield from _of_share(**given)
        case truths.any_in:
            yield ("count", given["kind"], 1, math.inf), 1.0, UNKNOWN
            yield ("none_in", ANY, given["cells"]), 0.0, UNKNOWN
        case truths.none_in:
            yield from ((("any_in", other, given["cells"]), 0.0, UNKNOWN) for other in grammar.COARSE_KINDS)
        case truths.only_one_in:
            yield ("only_one_in", given["kind"], _OTHER_HALF[given["cells"]]), 0.0, 1.0
        case truths.placed | truths.counts_compare:
            first, second, compare, line = given["first"], given["second"], given["compare"], _line(given)
            yield (rule.__name__, second, first, *line, _FLIP[compare]), 1.0, 0.0
            for other in sorted(set(_FLIP) - {compare}):
                yield (rule.__name__, first, second, *line, other), 0.0, UNKNOWN


def _line(given: dict[str, Any]) -> tuple[str, ...]:
    """Along which line two are compared, where they are."""
    if "axis" not in given:
        return ()
    return ("row" if given["axis"] is CELL_ROW else "column",)


def _meaning(statement: Statement) -> Meaning | None:
    """What a sentence says, equal for paraphrases; None for one that is undefined where its paraphrases are not."""
    name, given = statement.truth.func.__name__, statement.truth.keywords
    if name == "share_is" or given.get("at_most") is not None:
        return None
    if name == "count_is":
        return "count", given["kind"], *_interval(given["compare"], given["number"])
    if name == "placed":
        return name, given["first"], given["second"], *_line(given), given["compare"]
    return (name, *given.values())


@cache
def _texts() -> dict[Meaning, list[str]]:
    """Sentences that the model was taught, by what they say."""
    found: dict[Meaning, list[str]] = {}
    for statement in grammar.taught():
        if (meaning := _meaning(statement)) is not None:
            found.setdefault(meaning, []).append(statement.text)
    return found
