"""The people of the parameters: simulated, by class, recorded; who answers where nobody was asked."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import pairs_of, simulated_table
from verdict.base.params import load_params
from verdict.decide.people import ParametricHuman
from verdict.decide.takeover import CLASS_QUESTION, SENTENCE_QUESTION, choose_people, diluted

POLICY = load_params("smoke").policy
ANIMALS = ("cat", "dog", "emu")


def settings(kind="parametric", **changes):
    human = POLICY.human.model_copy(update={"kind": kind} | {k: v for k, v in changes.items() if k == "confusion"})
    rest = {name: value for name, value in changes.items() if name != "confusion"}
    return POLICY.model_copy(update={"human": human} | rest)


def voted(table, *, right=5, wrong=0):
    """Pairs of a table with votes of which so many are right."""
    pairs, is_entailed = pairs_of(table), (table["y_true"] == 0).to_numpy()
    pairs["votes_entailment"] = np.where(is_entailed, right, wrong)
    pairs["votes_contradiction"] = np.where(is_entailed, wrong, right)
    return pairs


@pytest.fixture
def table():
    return simulated_table("calib", n=101, seed=0)


def test_votes_with_guesses_have_the_wanted_accuracy():
    shares = np.array([[0.8, 0.2], [1.0, 0.0], [0.6, 0.4]])
    mixed = diluted(shares, 0.8, 0.7)
    assert mixed[:, 0].mean() == pytest.approx(0.7)
    assert mixed.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert np.array_equal(diluted(shares, 0.8, 0.9), shares), "guessing makes nobody better"


def test_a_simulated_person_has_the_accuracy_of_the_parameters(table):
    people = choose_people(settings(), pairs_of(table), table)
    assert isinstance(people.careful, ParametricHuman)
    assert people.careful.accuracy == POLICY.human.accuracy
    assert people.likelihood[0].diagonal().tolist() == [POLICY.human.clarify_accuracy] * 2


def test_a_person_may_err_by_class(table):
    matrix = ((0.9, 0.1), (0.3, 0.7))
    people = choose_people(settings("confusion", confusion=matrix), pairs_of(table), table)
    said = people.careful.distribution(table["pair_id"], table["y_true"].to_numpy())
    assert said.tolist() == [list(matrix[k]) for k in table["y_true"]]
    # The one who is asked at a glance guesses so often that the mean over these pairs falls to the wanted accuracy.
    hasty = people.hasty.distribution(table["pair_id"], table["y_true"].to_numpy())
    right = hasty[np.arange(len(table)), table["y_true"]]
    mean = said[np.arange(len(table)), table["y_true"]].mean()
    assert right.mean() == pytest.approx(min(mean, POLICY.human.clarify_accuracy))


def test_recorded_votes_answer_and_a_pair_without_votes_is_skipped(table):
    pairs = voted(table)
    silent = pairs.iloc[:1].assign(pair_id="other", votes_entailment=0, votes_contradiction=0)
    people = choose_people(settings("votes"), pd.concat([pairs, silent]), table)
    assert np.array_equal(people.careful.answers(table["pair_id"]), table["y_true"])
    said = people.hasty.distribution(table["pair_id"])[np.arange(101), table["y_true"]]
    assert said.mean() == pytest.approx(0.8)
    assert people.likelihood[0].diagonal().tolist() == pytest.approx([0.8, 0.8])
    with pytest.raises(KeyError, match="other"):
        people.careful.distribution(["other"])


def test_a_split_where_nobody_was_asked_gets_people_who_err_by_class_as_usual(table):
    pairs = voted(table, right=9, wrong=1)
    elsewhere = simulated_table("independent", n=31, seed=1)
    people = choose_people(settings("votes"), pd.concat([pairs, pairs_of(elsewhere)]), table)
    said = people.careful.distribution(elsewhere["pair_id"], elsewhere["y_true"].to_numpy())
    assert said[np.arange(31), elsewhere["y_true"]].tolist() == pytest.approx([0.9] * 31)
    assert people.n_silent == 1
    hasty = people.hasty.distribution(elsewhere["pair_id"], elsewhere["y_true"].to_numpy())
    assert hasty[np.arange(31), elsewhere["y_true"]].mean() == pytest.approx(0.8)


def test_votes_that_are_not_there_are_refused(table):
    with pytest.raises(ValueError, match=r"the pairs have no .*votes_entailment.*set it to parametric"):
        choose_people(settings("votes"), pairs_of(table), table)


def test_what_is_asked_depends_on_the_classes(table):
    assert choose_people(settings(), pairs_of(table), table).questions.texts == (SENTENCE_QUESTION,)
    assert choose_people(settings(), pairs_of(table), table, ("cat", "dog")).questions.texts == (CLASS_QUESTION,)
    three = choose_people(settings(), pairs_of(table), table, ANIMALS)
    assert three.questions.texts == ("is it cat?", "is it dog?", "is it emu?")
    assert three.questions.responses == ("no", "yes")
    own = settings(questions={"does it bark?": ("dog",), "has it feathers?": ("emu",)}, n_questions=2)
    people = choose_people(own, pairs_of(table), table, ANIMALS)
    assert people.n_questions == 2
    # Somebody who is right in four of five cases, and takes a dog for each of the others in one of ten.
    assert people.likelihood[0].tolist() == pytest.approx(np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]))


def test_answers_after_questions_are_distributions(table):
    rng = np.random.default_rng(0)
    probs, y_true = rng.dirichlet(np.ones(3), 41), rng.integers(0, 3, 41)
    ids = [f"p{k}" for k in range(41)]
    own = settings(questions={"does it bark?": ("dog",), "has it feathers?": ("emu",)}, n_questions=2)
    people = choose_people(own, pairs_of(table), table, ANIMALS)
    final = people.clarified(ids, y_true, probs)
    assert final.sum(axis=1) == pytest.approx(1)
    # Over many seeds the drawn answers have these frequencies.
    counts = np.zeros_like(final)
    for seed in range(400):
        human = own.human.model_copy(update={"seed": seed})
        drawn = choose_people(own.model_copy(update={"human": human}), pairs_of(table), table, ANIMALS)
        counts[np.arange(41), drawn.ask(ids, y_true, probs).answer] += 1 / 400
    assert np.abs(counts - final).max() < 4.5 * np.sqrt(0.25 / 400)
