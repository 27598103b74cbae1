"""Questions whose answer follows from a label: checked on scenes, sentence by sentence."""

import math

import numpy as np
import pytest

from verdict.base.labels import class_names
from verdict.data.digits import grammar, independent
from verdict.data.digits.questions import MAX_QUESTIONS, Question, question_table, questions_about
from verdict.data.digits.scenes import draw_scenes, handwriting_pools
from verdict.data.digits.truths import FALSE, TRUE, UNDEFINED, Grid


@pytest.fixture(scope="module")
def grid():
    pool = handwriting_pools()["train"]
    return Grid.of(draw_scenes(1500, pool, rng=np.random.default_rng(2), n_digits=(2, 6)))


def asked(text):
    return {question.text: question for question in questions_about(grammar.by_text()[text])}


def test_what_follows_is_true_of_every_scene(grid):
    """No scene may give a question another answer than the one that is said to follow; thousands are looked at."""
    sentences = [*grammar.statements(), *independent.paraphrases()]
    n_checked = n_questions = 0
    for sentence in sentences[::3]:
        truth = sentence.truth(grid)
        for question in questions_about(sentence):
            n_questions += 1
            said = grammar.by_text()[question.text].truth(grid)
            for label, expected in ((TRUE, question.if_true), (FALSE, question.if_false)):
                rows = truth == label
                if math.isnan(expected) or not rows.any():
                    continue
                n_checked += int(rows.sum())
                assert (said[rows] == expected).all(), f"{sentence.text!r} -> {question.text!r}"
                assert UNDEFINED not in said[rows]
    assert n_questions > 1500
    assert n_checked > 500_000


def test_open_answers_are_really_open(grid):
    """What is said not to follow does not: both answers occur where the sentence is false."""
    question = asked("all sevens are red")["there is a red seven"]
    assert math.isnan(question.if_false)
    falsehoods = grammar.by_text()["all sevens are red"].truth(grid) == FALSE
    said = grammar.by_text()["there is a red seven"].truth(grid)[falsehoods]
    assert {TRUE, FALSE} <= set(said.tolist())


def test_questions_by_hand():
    red = asked("there is a red seven")
    assert red["the image holds a red seven"] == Question("the image holds a red seven", 1.0, 0.0)
    assert red["there is no red seven"] == Question("there is no red seven", 0.0, 1.0)
    assert asked("the red seven is in the left half") == {
        "the red seven is in the right half": Question("the red seven is in the right half", 0.0, 1.0)
    }
    left = asked("the red digit is left of the blue digit")
    assert left["the blue digit is right of the red digit"][1:] == (1.0, 0.0)
    other = left["the red digit is right of the blue digit"]
    assert other.if_true == 0 and math.isnan(other.if_false)


def test_every_family_has_questions_and_none_repeats_its_sentence():
    for sentence in grammar.taught():
        questions = questions_about(sentence)
        assert 1 <= len(questions) <= MAX_QUESTIONS
        assert sentence.text not in {question.text for question in questions}
        assert all(not math.isnan(question.if_true) for question in questions)
        assert all(question.if_true != question.if_false for question in questions), "it would tell nothing"


def test_the_table_skips_what_nobody_knows():
    table = question_table(["there is a red seven", "somebody wrote this", "there is a red seven"])
    assert set(table["hypothesis"]) == {"there is a red seven"}
    assert not table.duplicated().any()
    assert list(table.columns[-2:]) == [f"expected_if_{name}" for name in class_names()]
    assert len(question_table(["what is this"])) == 0
