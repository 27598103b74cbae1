"""The people of the parameters: who takes a pair over, who answers quick questions, what the model assumes of them.

Accuracies, confusion matrices and recorded votes are all known as a distribution of answers to each pair, so that costs
are expected values over the people who may answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.base.labels import class_names, vote_columns
from verdict.base.params import FactParams, PolicyParams
from verdict.decide.people import ConfusionHuman, Human, PairHuman, ParametricHuman, VoteHuman
from verdict.decide.questions import Clarification, Questions, clarify, expected_clarification, question_responder
from verdict.model.predict import answers_of

SENTENCE_QUESTION = "at a glance, is the sentence true of the image?"
CLASS_QUESTION = "at a glance, which of the two is it?"
# One fact that would settle a case: without the first the first class is ruled out, with the second the other one.
SENTENCE_FACTS = ("does a thing hold that the sentence needs?", "does a thing hold that makes the sentence true?")
CLASS_FACTS = ("does a thing hold that {} needs?", "does a thing hold that only {} has?")


@dataclass(frozen=True)
class People:
    """Who is asked when the model does not answer alone.

    `careful`: takes a pair over; `hasty`: answers a clarifying question; `questions`: what may be asked;
    `likelihood` (Q, K, R) float: P(response | class) that the model assumes of the hasty one; `n_questions`: asked of
    each pair that is clarified; `n_silent`: splits in which nobody was asked, although people's answers were recorded
    elsewhere.
    """

    careful: Human
    hasty: Human
    questions: Questions
    likelihood: np.ndarray
    n_questions: int
    n_silent: int = 0

    @property
    def is_simulated(self) -> bool:
        """Whether parameters, and not recorded answers, say how often the person who takes over is right."""
        return not self.careful.is_recorded

    def n_recorded(self, pair_ids: Sequence[str]) -> int:
        """Of how many of these pairs somebody's answer is recorded."""
        return 0 if self.is_simulated else int(np.isin(pair_ids, self.careful.pair_ids).sum())

    def clarified(self, pair_ids: Sequence[str], y_true: np.ndarray, probs: np.ndarray) -> np.ndarray:
        """Distribution of the answer after the questions, over the responses that may come, (n, K)."""
        chances = self.questions.chances(self.hasty.distribution(pair_ids, y_true))
        return expected_clarification(probs, self.likelihood, chances, n_questions=self.n_questions)

    def ask(self, pair_ids: Sequence[str], y_true: np.ndarray, probs: np.ndarray) -> Clarification:
        """Responses drawn for each pair, as the log holds them."""
        respond = question_responder(self.questions, self.hasty, pair_ids, y_true)
        return clarify(probs, self.likelihood, respond, n_questions=self.n_questions)


def choose_people(
    settings: PolicyParams,
    pairs: pd.DataFrame,
    tuning: pd.DataFrame,
    classes: Sequence[str] | None = None,
    answered: pd.DataFrame | None = None,
) -> People:
    """The people of the parameters.

    `settings`: `human.kind` decides who takes over. The hasty one has the accuracy `clarify_accuracy`: of the same
    kind, but guesses so often that the mean over `tuning` falls to it. `pairs` pair table: every pair that may be
    asked about, with votes_<class> where people's answers were recorded. `tuning` prediction table: the rows that tune
    the policy, from which the accuracy of people is estimated. `classes`: by default those of entailment. `answered`
    prediction table of the pairs on which people's accuracy depends on whether the model errs, by default `tuning`; on
    all other pairs it is the mean over `tuning`. ValueError if votes are asked for and the pairs have none.
    """
    classes = class_names() if classes is None else tuple(classes)
    ids, truth = tuning["pair_id"].to_numpy(), tuning["y_true"].to_numpy()
    human = settings.human
    n_silent = 0
    if human.kind == "votes":
        careful, n_silent = _recorded(pairs, ids, truth, classes, human.seed)
    elif human.kind == "confusion":
        careful = ConfusionHuman(np.array(human.confusion), seed=human.seed)
    else:
        careful = ParametricHuman(human.accuracy, n_classes=len(classes), seed=human.seed)
        if human.accuracy_on_errors is not None:
            careful = _erring_where_the_model_errs(careful, human.accuracy_on_errors, tuning, answered)
    accuracy = float(careful.distribution(ids, truth)[np.arange(len(truth)), truth].mean())
    hasty = _guessing(careful, accuracy, human.clarify_accuracy)
    assumed = hasty.confusion(ids, truth) if isinstance(hasty, PairHuman) else hasty.matrix
    questions = _questions(settings, classes)
    n_questions = min(settings.n_questions, len(questions.texts))
    return People(careful, hasty, questions, questions.likelihood(assumed), n_questions, n_silent)


def _recorded(
    pairs: pd.DataFrame, ids: np.ndarray, truth: np.ndarray, classes: Sequence[str], seed: int
) -> tuple[VoteHuman, int]:
    """One recorded annotator of each pair, and the number of splits where nobody was asked: one errs by class there."""
    columns = vote_columns(classes)
    if missing := [column for column in columns if column not in pairs]:
        raise ValueError(f"policy.human.kind is votes, but the pairs have no {missing}; set it to parametric")
    judged = pairs[pairs[columns].sum(axis=1) > 0]
    counts = judged[columns].fillna(0.0).to_numpy(dtype=float)
    careful = VoteHuman(judged["pair_id"], counts, seed=seed)
    n_silent = len(set(pairs["split"]) - set(judged["split"]))
    if n_silent:
        careful = VoteHuman(judged["pair_id"], counts, seed=seed, typical=careful.confusion(ids, truth))
    return careful, n_silent


def _erring_where_the_model_errs(
    usual: ParametricHuman, accuracy: float, tuning: pd.DataFrame, answered: pd.DataFrame | None
) -> PairHuman:
    """The person of `usual` on pairs that the model gets right, one of another accuracy where it errs."""
    table = tuning if answered is None else answered
    ids, truth = table["pair_id"], table["y_true"].to_numpy()
    on_errors = ParametricHuman(accuracy, n_classes=len(usual.matrix), seed=usual.seed)
    is_wrong = answers_of(table) != truth
    shares = np.where(is_wrong[:, None], on_errors.matrix[truth], usual.matrix[truth])
    typical = PairHuman(ids, shares, seed=usual.seed).confusion(tuning["pair_id"], tuning["y_true"].to_numpy())
    return PairHuman(ids, shares, seed=usual.seed, typical=typical)


def _guessing(person: Human, accuracy: float, wanted: float) -> Human:
    """The same person, but one who guesses so often that a mean accuracy falls to the wanted one; it is never raised.

    `accuracy`: of the person, in mean.
    """

    def mixed(shares: np.ndarray | None) -> np.ndarray | None:
        if shares is None:
            return None
        chance = 1 / shares.shape[1]
        guessing = 0.0 if accuracy <= wanted else (accuracy - wanted) / (accuracy - chance)
        return (1 - guessing) * shares + guessing * chance

    if isinstance(person, PairHuman):
        return type(person)(person.pair_ids, mixed(person.shares), seed=person.seed, typical=mixed(person.matrix))
    return ConfusionHuman(mixed(person.matrix), seed=person.seed)


def facts_asked(settings: PolicyParams, classes: Sequence[str]) -> FactParams | None:
    """What single facts tell, where a question asks for one: of two classes, about which nothing else may be asked."""
    return None if settings.questions or len(classes) != len(class_names()) else settings.facts


def _questions(settings: PolicyParams, classes: Sequence[str]) -> Questions:
    """The questions of the parameters; without any, of two classes a fact or the class itself, else single classes."""
    if settings.questions:
        return Questions.yes_no(settings.questions, classes)
    if len(classes) == len(class_names()):
        is_entailment = tuple(classes) == class_names()
        if facts := facts_asked(settings, classes):
            texts = SENTENCE_FACTS if is_entailment else tuple(text.format(classes[0]) for text in CLASS_FACTS)
            return Questions.facts(texts, refutes=facts.refutes, proves=facts.proves)
        return Questions.which(SENTENCE_QUESTION if is_entailment else CLASS_QUESTION, classes)
    return Questions.yes_no({f"is it {name}?": (name,) for name in classes}, classes)
