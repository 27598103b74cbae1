from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from verdict.data.digits import grammar
from verdict.data.digits.grammar import by_text, statements
from verdict.data.digits.independent import (
    HAND_ROWS,
    HAND_SCENES,
    paraphrases,
    read_scene,
)
from verdict.data.digits.scenes import draw_scenes
from verdict.data.digits.truths import FALSE, TRUE, UNDEFINED, Grid


def test_ten_images_with_five_sentences_each_and_balanced_labels():
    rows = HAND_ROWS
    assert Counter(row["image"] for row in rows) == {str(i): 5 for i in range(1, 11)}
    assert Counter(row["label"] for row in rows) == {"entailment": 25, "contradiction": 25}
    assert {row["family"] for row in rows} == {one.family for one in grammar.statements()}
    assert sum(bool(row["check"]) for row in rows) >= 30, "most labels are checked below"


@pytest.mark.parametrize("row", [row for row in HAND_ROWS if row["check"]], ids=lambda row: row["hypothesis"])
def test_hand_written_labels_agree_with_the_scene(row):
    grid = Grid.of([read_scene(HAND_SCENES[int(row["image"]) - 1])])
    parts = row["check"].removeprefix("! ").split(" & ")
    truths = [int(by_text()[part].truth(grid)[0]) for part in parts]
    assert UNDEFINED not in truths
    holds = all(truth == TRUE for truth in truths) != row["check"].startswith("! ")
    assert holds == (row["label"] == "entailment")


def test_no_sentence_is_known_from_training():
    known = {sentence.text for sentence in statements()}
    new = {sentence.text for sentence in paraphrases()}
    written = {row["hypothesis"] for row in HAND_ROWS}
    assert len(new) == len(paraphrases())
    assert not known & new
    assert not known & written
    assert not new & written
    assert max(len(text.split()) for text in new) <= 14
    assert not {s.form for s in statements()} & {s.form for s in paraphrases()}


@pytest.mark.parametrize(
    ("paraphrase", "meaning"),
    [
        ("you can see a red seven", "there is a red seven"),
        ("a picture with an eight", "there is an eight"),
        ("the picture shows two threes and no more", "there are exactly two threes"),
        ("one finds three or more red digits", "there are at least three red digits"),
        ("you can see less than two twos", "there are fewer than two twos"),
        ("the colour of the seven is green", "the seven is green"),
        ("what is green is a five", "the green digit is a five"),
        ("you can not see any blue digits", "there are no blue digits in the image"),
        ("a picture without a yellow four", "there is no yellow four"),
        ("each of the sevens is red", "all sevens are red"),
        ("more than half of the digits are blue", "most digits are blue"),
        ("in the bottom left corner one finds a six", "there is a six in the bottom left corner"),
        ("the blue three can be found in the top half of the picture", "the blue three is in the top half"),
        ("nothing can be found in the top row", "the top row is empty"),
        ("the one stands to the left of the two", "the one is left of the two"),
        ("the one stands higher than the two", "the one is above the two"),
        ("the red digit stands lower than the blue digit", "the red digit is below the blue digit"),
        ("the fives outnumber the sixes", "there are more fives than sixes"),
        ("the picture has less red digits than blue digits", "there are fewer red digits than blue digits"),
    ],
)
def test_paraphrases_mean_what_the_grammar_says(paraphrase, meaning):
    grid = Grid.of(draw_scenes(503, np.arange(1797), rng=np.random.default_rng(0)))
    said = {sentence.text: sentence for sentence in paraphrases()}
    truth = said[paraphrase].truth(grid)
    assert np.array_equal(truth, by_text()[meaning].truth(grid))
    assert {TRUE, FALSE} <= set(truth.tolist())
    assert said[paraphrase].family == by_text()[meaning].family
