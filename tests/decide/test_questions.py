"""Clarification: information by hand, posterior by Bayes, and answers that depend on the pair alone."""

import numpy as np
import pytest

from verdict.decide.people import ConfusionHuman, ParametricHuman
from verdict.decide.questions import (
    Questions,
    clarify,
    expected_accuracy,
    expected_clarification,
    expected_information,
    question_responder,
    update,
)

TABLE = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
YES = 1


def asked_about(table):
    """Yes/no questions whose true answers, one column each, are those of a table of classes."""
    yes = table.T.astype(float)
    return Questions(tuple("abcd"[: len(yes)]), np.stack([1 - yes, yes], axis=2), ("no", "yes"))


def noisy(table, flip):
    """P(response | class) if every answer is wrong so often."""
    return (1 - 2 * flip) * asked_about(table).meaning + flip


def certain(table, truth, ids):
    """A person who never errs."""
    return question_responder(asked_about(table), ParametricHuman(1.0, n_classes=len(table), seed=1), ids, truth)


def vote(confusion):
    return np.array(confusion, dtype=float)[None]


def test_information_of_a_noiseless_question_is_the_entropy_of_its_answer():
    probs = np.array([[0.2, 0.3, 0.5]])
    gain = expected_information(probs, noisy(TABLE[:, :2], 0.0))
    halves = -(0.5 * np.log(0.5) * 2)
    unequal = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    assert gain == pytest.approx(np.array([[halves, unequal]]))


def test_update_is_bayes():
    posterior = update(np.array([[0.6, 0.4]]), np.array([[0.1, 0.9]]))
    assert posterior == pytest.approx(np.array([[0.06, 0.36]]) / (0.6 * 0.1 + 0.4 * 0.9))
    assert update(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])).tolist() == [[1.0, 0.0]]


def test_one_vote_in_the_binary_case():
    confusion = np.array([[0.9, 0.1], [0.2, 0.8]])
    probs = np.array([[0.7, 0.3], [0.7, 0.3], [0.95, 0.05]])

    def respond(rows, questions):
        return np.array([0, 1, 1])[rows]

    result = clarify(probs, vote(confusion), respond)
    expected = [0.7 * 0.9 / (0.7 * 0.9 + 0.3 * 0.2), 0.7 * 0.1 / (0.7 * 0.1 + 0.3 * 0.8)]
    assert result.posterior[:2, 0] == pytest.approx(expected)
    assert result.answer.tolist() == [0, 1, 0]


def test_a_question_that_can_change_the_answer_comes_before_one_that_tells_more():
    """Nine in ten for the second class: a fact that the first needs tells more and changes nothing."""
    facts = Questions.facts(("needed", "enough"), refutes=0.9, proves=0.3)
    likelihood, probs = facts.likelihood(0.9 * np.eye(2) + 0.05), np.array([[0.1, 0.9]])
    assert expected_information(probs, likelihood)[0].argmax() == 0
    by_hand = [0.9, 0.9 * (1 - 0.05 * 0.3) + 0.1 * 0.95 * 0.3]
    assert expected_accuracy(probs, likelihood)[0] == pytest.approx(by_hand)
    result = clarify(probs, likelihood, lambda rows, questions: np.ones(len(rows), dtype=int))
    assert result.asked.tolist() == [[1]] and result.information[0, 0] < expected_information(probs, likelihood)[0, 0]


def test_what_a_fact_settles_is_answered_by_the_person_and_the_rest_by_the_model():
    """So asking is a mixture: no cheaper than both others from the price of a person times that share on."""
    facts, rng = Questions.facts(("needed", "enough"), refutes=0.5, proves=0.36), np.random.default_rng(0)
    confusion, truth = np.array([[0.95, 0.05], [0.1, 0.9]]), rng.integers(0, 2, 997)
    prob = rng.choice([-1, 1], 997) * rng.uniform(0.15, 0.3, 997) + 0.5
    probs, judged = np.column_stack([prob, 1 - prob]), confusion[truth]
    after = expected_clarification(probs, facts.likelihood(confusion), facts.chances(judged))
    model = probs.argmax(axis=1)
    settled = np.where(model == 0, 0.5, 0.36)
    rows = np.arange(997)
    expected = settled * judged[rows, truth] + (1 - settled) * (model == truth)
    assert after[rows, truth] == pytest.approx(expected)


def test_most_helpful_question_comes_first_and_none_twice():
    probs = np.array([[0.5, 0.1, 0.4], [0.05, 0.15, 0.8]])
    truth = np.array([2, 0])
    responder, likelihood = certain(TABLE, truth, ["a", "b"]), noisy(TABLE, 0.05)
    one = clarify(probs, likelihood, responder)
    right = expected_accuracy(probs, likelihood).round(12)
    is_best = right == right.max(axis=1, keepdims=True)
    assert is_best.sum(axis=1).max() > 1, "some are equal"
    assert one.asked[:, 0].tolist() == (is_best * expected_information(probs, likelihood)).argmax(axis=1).tolist()
    three = clarify(probs, likelihood, responder, n_questions=3)
    assert all(sorted(row) == [0, 1, 2] for row in three.asked.tolist())
    # The order of questions does not matter to Bayes: the product of all likelihoods.
    by_hand = probs.copy()
    for turn in range(3):
        by_hand *= likelihood[three.asked[:, turn], :, three.responses[:, turn]]
    assert three.posterior == pytest.approx(by_hand / by_hand.sum(axis=1, keepdims=True))


def test_second_question_depends_on_the_first_response():
    # Class pairs {0, 1} and {2, 3}: question 0 separates the pairs, 1 splits the first and 2 the second.
    table = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    probs = np.full((2, 4), 0.25)
    result = clarify(probs, noisy(table, 0.0), certain(table, np.array([0, 2]), ["a", "b"]), n_questions=2)
    assert result.asked.tolist() == [[0, 1], [0, 2]]
    assert result.answer.tolist() == [0, 2]


def test_open_responses_are_drawn_and_do_not_depend_on_company():
    n = 10_007
    ids = [f"pair-{i}" for i in range(n)]
    human = ParametricHuman(1.0, n_classes=2, seed=3)
    meaning = np.stack([np.array([[0.2, 0.8], [1, 0]]), np.full((2, 2), 0.5)])
    respond = question_responder(Questions(("a", "b"), meaning, ("no", "yes")), human, ids, np.zeros(n, int))
    rows = np.arange(n)
    said = respond(rows, np.zeros(n, int))
    assert np.mean(said == YES) == pytest.approx(0.8, abs=4 * 0.4 / np.sqrt(n))
    assert np.mean(respond(rows, np.ones(n, int)) == YES) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(n))
    some = rows[rows % 7 == 3]
    assert np.array_equal(respond(some, np.zeros(len(some), int)), said[some])


def test_votes_come_from_different_people_and_not_from_the_one_who_decides():
    n = 997
    ids, truth = [f"pair-{i}" for i in range(n)], np.arange(n) % 2
    human = ParametricHuman(0.6, n_classes=2, seed=1)
    twice = Questions(("a", "b"), np.stack([np.eye(2)] * 2), ("x", "y"))
    respond = question_responder(twice, human, ids, truth)
    first, second = respond(np.arange(n), np.zeros(n, int)), respond(np.arange(n), np.ones(n, int))
    decider = human.answers(ids, truth)
    for one, other in ((first, second), (first, decider)):
        assert abs(np.corrcoef(one == truth, other == truth)[0, 1]) < 4 / np.sqrt(n)


ANIMALS = ("cat", "dog", "emu", "fly")


def animal_questions():
    return Questions.yes_no({"does it bark?": ["dog"], "has it wings?": ["emu", "fly"]}, ANIMALS)


def test_questions_mean_what_they_say():
    questions, confusion = animal_questions(), np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    assert questions.responses == ("no", "yes")
    assert questions.meaning[:, :, YES].tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]
    likelihood = questions.likelihood(confusion)
    # An emu is taken for an emu or a fly in 0.7 + 0.1 of the cases.
    assert likelihood[1, 2, YES] == pytest.approx(0.8)
    assert likelihood.sum(axis=2) == pytest.approx(1)
    np.testing.assert_allclose(Questions.which("which?", ANIMALS).likelihood(confusion), confusion[None])


def test_expected_clarification_of_one_vote_by_hand():
    # 0.6 against a vote of accuracy 0.8 is turned by it, 0.9 is not.
    probs = np.array([[0.6, 0.4], [0.9, 0.1]])
    likelihood = vote([[0.8, 0.2], [0.2, 0.8]])
    chances = np.array([[[0.3, 0.7]], [[0.3, 0.7]]])
    final = expected_clarification(probs, likelihood, chances)
    assert final.tolist() == [[0.3, 0.7], [1.0, 0.0]]


def test_expected_clarification_is_the_mean_of_what_is_drawn():
    rng = np.random.default_rng(0)
    n, n_seeds, questions = 23, 200, animal_questions()
    probs, truth, ids = rng.dirichlet(np.ones(4), n), rng.integers(0, 4, n), [f"p{k}" for k in range(n)]
    confusion = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    likelihood = questions.likelihood(confusion)
    final = expected_clarification(probs, likelihood, questions.chances(confusion[truth]), n_questions=2)
    assert final.sum(axis=1) == pytest.approx(1)
    counts = np.zeros_like(final)
    for seed in range(n_seeds):
        respond = question_responder(questions, ConfusionHuman(confusion, seed=seed), ids, truth)
        counts[np.arange(n), clarify(probs, likelihood, respond, n_questions=2).answer] += 1 / n_seeds
    assert np.abs(counts - final).max() < 4.5 * np.sqrt(0.25 / n_seeds)
