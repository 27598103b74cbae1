from __future__ import annotations

import re
from collections import Counter

import numpy as np

from verdict.data.digits import grammar
from verdict.data.digits.grammar import NUMBERS, PLURALS, by_text, evaluate, statements
from verdict.data.digits.independent import read_scene
from verdict.data.digits.scenes import COLOURS, draw_scenes
from verdict.data.digits.truths import FALSE, TRUE, UNDEFINED, Grid


def _kind(words: str) -> tuple[str | None, str | None]:
    """(digit word, colour word) of a noun phrase."""
    digit = colour = None
    for word in words.split():
        if word in COLOURS:
            colour = word
        elif word in PLURALS:
            digit = NUMBERS[PLURALS.index(word)]
        elif word in NUMBERS:
            digit = word
    return digit, colour


def _read(text: str, cells: list[tuple[int, int, str, str]]) -> bool | None:  # noqa: PLR0911, PLR0912
    """Truth by a second reading of the words, one scene at a time; None where a referent lacks."""

    def those(words: str) -> list[tuple[int, int, str, str]]:
        digit, colour = _kind(words)
        return [c for c in cells if digit in (None, c[2]) and colour in (None, c[3])]

    def inside(cell: tuple[int, int, str, str], place: str) -> bool:
        row, column = cell[:2]
        near = {"top": row == 0, "bottom": row == 3, "left": column == 0, "right": column == 3}
        if place.endswith("half"):
            near = {"top": row <= 1, "bottom": row >= 2, "left": column <= 1, "right": column >= 2}
        return all(near[word] for word in place.split()[:-1])

    if m := re.fullmatch(r"the number of (.+) is (\w+)", text):
        return len(those(m[1])) == NUMBERS.index(m[2])
    if m := re.fullmatch(r"there (?:is|are) (exactly|at least|at most|more than|fewer than) (\w+) (.+)", text):
        n, number = len(those(m[3])), NUMBERS.index(m[2])
        signs = {"exactly": n == number, "at least": n >= number, "at most": n <= number}
        return {**signs, "more than": n > number, "fewer than": n < number}[m[1]]
    if m := re.fullmatch(r"there are (more|fewer|as many) (.+) (?:than|as) (.+)", text):
        a, b = len(those(m[2])), len(those(m[3]))
        return None if not a or not b else {"more": a > b, "fewer": a < b, "as many": a == b}[m[1]]
    if m := re.fullmatch(r"there is an? (.+) in the (.+ corner)", text):
        return any(inside(c, m[2]) for c in those(m[1]))
    if m := re.fullmatch(r"the (.+ (?:row|column)) holds an? (.+)", text):
        return any(inside(c, m[1]) for c in those(m[2]))
    if m := re.fullmatch(r"the (.+) is empty", text):
        return not any(inside(c, m[1]) for c in cells)
    if m := re.fullmatch(r"the (.+) is in the (.+ half)", text):
        return None if len(those(m[1])) != 1 else inside(those(m[1])[0], m[2])
    if m := re.fullmatch(r"(?:there (?:is|are) no (.+?)(?: in the image)?|no digit is (.+))", text):
        return not those(m[1] or m[2])
    if m := re.fullmatch(r"(?:there is|the image holds) an? (.+)|at least one (.+) is in the image", text):
        return bool(those(m[1] or m[2]))
    if m := re.fullmatch(r"there are (\w+) (.+)", text):
        n, number = len(those(m[2])), NUMBERS.index(m[1])
        return None if n > number else n == number
    if m := re.fullmatch(r"the (.+) is (left of|right of|above|below) the (.+)", text):
        a, b = those(m[1]), those(m[3])
        if len(a) != 1 or len(b) != 1 or a == b:
            return None
        (r, c), (s, d) = a[0][:2], b[0][:2]
        return {"left of": c < d, "right of": c > d, "above": r < s, "below": r > s}[m[2]]
    if m := re.fullmatch(r"the (.+) and the (.+) are in the same (row|column)", text):
        a, b = those(m[1]), those(m[2])
        if len(a) != 1 or len(b) != 1 or a == b:
            return None
        i = ("row", "column").index(m[3])
        return a[0][i] == b[0][i]
    pattern = (
        r"(the only|the|every|no|all|none of the|both|most) (.+?)(?: in the image)? (?:is|are) (not )?(?:an? )?(.+)"
    )
    m = re.fullmatch(pattern, text)
    base = those(m[2])
    part = [c for c in those(m[4]) if c in base]
    low, high = {"every": (2, 16), "no": (1, 16), "both": (2, 2)}.get(m[1], (2, 16))
    if m[1].startswith("the"):
        low = high = 1
    if not low <= len(base) <= high or (m[1] == "most" and 2 * len(part) == len(base)):
        return None
    if m[1] == "most":
        return 2 * len(part) > len(base)
    return not part if m[1] in ("no", "none of the") or m[3] else len(part) == len(base)


def test_every_sentence_agrees_with_a_second_reading():
    drawn = draw_scenes(41, np.arange(1797), rng=np.random.default_rng(8))
    truth = evaluate(statements(), Grid.of(drawn))
    code = {True: TRUE, False: FALSE, None: UNDEFINED}
    for j, scene in enumerate(drawn):
        cells = [
            (i // 4, i % 4, NUMBERS[scene.digits[i]], COLOURS[scene.colours[i]])
            for i in range(16)
            if scene.digits[i] >= 0
        ]
        for i, sentence in enumerate(statements()):
            assert truth[i, j] == code[_read(sentence.text, cells)], (sentence.text, cells)


def test_sentences_are_unique_short_plain_and_few_words():
    texts = [sentence.text for sentence in statements()]
    assert len(set(texts)) == len(texts) > 2000
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", text) for text in texts)
    assert max(len(text.split()) for text in texts) <= 14
    assert len(grammar.TRAINING_WORDS) < 120
    assert list(grammar.TRAINING_WORDS) == sorted(set(" ".join(texts).split()))
    assert " an one" not in " ".join(texts)


def test_strata_of_a_form_have_equal_weight():
    weights: Counter[tuple[str, str]] = Counter()
    for sentence in statements():
        weights[sentence.form, sentence.stratum] += sentence.weight
    assert np.allclose(list(weights.values()), 1.0)


def test_near_scenes_hold_the_parts_of_a_false_sentence():
    grid = Grid.of([read_scene("r6 b7 .. .. " + ".. " * 12), read_scene("b6 b7 .. .. " + ".. " * 12)])
    sentence = by_text()["there is a red seven"]
    assert sentence.truth(grid).tolist() == [FALSE, FALSE]
    assert sentence.near(grid).tolist() == [TRUE, FALSE]
