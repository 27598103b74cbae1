"""The people of the parameters: simulated, by class, recorded; who answers where nobody was asked."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import pairs_of, simulated_table
from verdict.base.params import load_params
from verdict.decide.people import ParametricHuman
from verdict.decide.takeover import CLASS_QUESTION, SENTENCE_FACTS, SENTENCE_QUESTION, choose_people

POLICY = load_params("smoke").policy
ANIMALS = ("cat", "dog", "emu")


def settings(kind="parametric", confusion=None, on_errors=None, **changes):
    """Somebody who is asked at a glance and right in four of five cases, unless changed."""
    own = {"kind": kind, "confusion": confusion, "accuracy_on_errors": on_errors, "clarify_accuracy": 0.8}
    return POLICY.model_copy(update={"human": POLICY.human.model_copy(update=own), "facts": None, **changes})


def voted(table, *, right=5, wrong=0):
    """Pairs of a table with votes of which so many are right."""
    pairs, is_entailed = pairs_of(table), (table["y_true"] == 0).to_numpy()
    pairs["votes_entailment"] = np.where(is_entailed, right, wrong)
    pairs["votes_contradiction"] = np.where(is_entailed, wrong, right)
    return pairs


def right(person, table):
    """Probability that a person is right about each pair of a table."""
    return person.distribution(table["pair_id"], table["y_true"].to_numpy())[np.arange(len(table)), table["y_true"]]


@pytest.fixture
def table():
    return simulated_table("calib", n=101, seed=0)


def test_a_simulated_person_has_the_accuracy_of_the_parameters(table):
    people = choose_people(settings(), pairs_of(table), table)
    assert isinstance(people.careful, ParametricHuman)
    assert people.careful.matrix[0, 0] == POLICY.human.accuracy
    assert people.likelihood[0].diagonal().tolist() == pytest.approx([0.8] * 2)


def test_a_person_may_err_where_the_model_errs_and_elsewhere_as_in_mean(table):
    is_wrong = (table["logit_1"] > 0) != (table["y_true"] == 1)
    assert 0 < is_wrong.sum() < len(table)
    people = choose_people(settings(on_errors=0.7), pairs_of(table), table)
    found = right(people.careful, table)
    assert found[is_wrong] == pytest.approx(0.7) and found[~is_wrong] == pytest.approx(POLICY.human.accuracy)
    # Whom the model knows nothing of is judged by class as those of calib are, whatever the model says of the pair.
    other = simulated_table("independent", n=31, seed=1)
    by_class = [found[table["y_true"] == k].mean() for k in (0, 1)]
    assert right(people.careful, other) == pytest.approx(np.array(by_class)[other["y_true"]])
    known = choose_people(settings(on_errors=0.7), pairs_of(table), table, answered=pd.concat([table, other]))
    assert set(right(known.careful, other).round(6)) == {0.7, POLICY.human.accuracy}
    # What the model may assume comes from the tuning rows alone.
    assert known.likelihood.tolist() == people.likelihood.tolist()
    assert people.is_simulated and right(people.hasty, table).mean() == pytest.approx(0.8)


def test_a_person_may_err_by_class(table):
    matrix = ((0.9, 0.1), (0.3, 0.7))
    people = choose_people(settings("confusion", confusion=matrix), pairs_of(table), table)
    said = people.careful.distribution(table["pair_id"], table["y_true"].to_numpy())
    assert said.tolist() == [list(matrix[k]) for k in table["y_true"]]
    # The one who is asked at a glance guesses so often that the mean over these pairs falls to the wanted accuracy.
    mean = right(people.careful, table).mean()
    assert right(people.hasty, table).mean() == pytest.approx(min(mean, 0.8))
    assert people.is_simulated and people.n_recorded(table["pair_id"]) == 0


def test_recorded_votes_answer_and_a_pair_without_votes_is_skipped(table):
    y_true = table["y_true"].to_numpy()
    silent = voted(table).iloc[:1].assign(pair_id="other", votes_entailment=0, votes_contradiction=0)
    people = choose_people(settings("votes"), pd.concat([voted(table), silent]), table)
    assert people.n_silent == 0 and people.n_recorded(["other", *table["pair_id"]]) == 101
    assert np.array_equal(people.careful.answers(table["pair_id"], y_true), y_true)
    # Guesses take the accuracy to the wanted one, and make nobody better.
    assert right(people.hasty, table).mean() == pytest.approx(0.8)
    assert people.likelihood[0].diagonal().tolist() == pytest.approx([0.8, 0.8])
    with pytest.raises(KeyError, match="other"):
        people.careful.distribution(["other"], y_true[:1])
    bad = choose_people(settings("votes"), voted(table, right=7, wrong=3), table)
    assert right(bad.hasty, table).tolist() == pytest.approx([0.7] * 101)


def test_a_split_where_nobody_was_asked_gets_people_who_err_by_class_as_usual(table):
    elsewhere = simulated_table("independent", n=31, seed=1)
    pairs = pd.concat([voted(table, right=9, wrong=1), pairs_of(elsewhere)])
    people = choose_people(settings("votes"), pairs, table)
    assert right(people.careful, elsewhere).tolist() == pytest.approx([0.9] * 31)
    assert people.n_silent == 1
    assert right(people.hasty, elsewhere).mean() == pytest.approx(0.8)


def test_votes_that_are_not_there_are_refused(table):
    with pytest.raises(ValueError, match=r"the pairs have no .*votes_entailment.*set it to parametric"):
        choose_people(settings("votes"), pairs_of(table), table)


def test_what_is_asked_depends_on_the_classes(table):
    assert choose_people(settings(), pairs_of(table), table).questions.texts == (SENTENCE_QUESTION,)
    assert choose_people(settings(), pairs_of(table), table, ("cat", "dog")).questions.texts == (CLASS_QUESTION,)
    facts = POLICY.facts.model_copy(update={"refutes": 0.6, "proves": 0.5})
    asked = choose_people(settings(facts=facts), pairs_of(table), table)
    assert asked.questions.texts == SENTENCE_FACTS
    # A judgement that is right in four of five cases shows in six of ten, and in five of ten.
    needed, enough = [[0.2 * 0.6, 1 - 0.2 * 0.6], [0.8 * 0.6, 1 - 0.8 * 0.6]], [[0.6, 0.4], [0.9, 0.1]]
    assert asked.likelihood == pytest.approx(np.array([needed, enough]))
    named = choose_people(settings(facts=facts), pairs_of(table), table, ("cat", "dog"))
    assert named.questions.texts == ("does a thing hold that cat needs?", "does a thing hold that only cat has?")
    three = choose_people(settings(), pairs_of(table), table, ANIMALS)
    assert three.questions.texts == ("is it cat?", "is it dog?", "is it emu?")
    assert three.questions.responses == ("no", "yes")
    own = settings(questions={"does it bark?": ("dog",), "has it feathers?": ("emu",)}, n_questions=2)
    people = choose_people(own, pairs_of(table), table, ANIMALS)
    assert people.n_questions == 2
    # Somebody who is right in four of five cases, and takes a dog for each of the others in one of ten.
    assert people.likelihood[0].tolist() == pytest.approx(np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]))
