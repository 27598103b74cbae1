"""Clarification: ask a person the questions that help a pair most, and update the model's probabilities.

A question is known by its likelihood P(response | class). Yes/no questions about a class, and "which class is it?" put
to a person, are the same mechanism with different likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import entr

from verdict.decide.people import Human, draw, keyed_uniform
from verdict.stats.scores import top_class

Responder = Callable[[np.ndarray, np.ndarray], np.ndarray]
_CHUNK_CELLS = 4_000_000
# With more questions than this, computing the expected accuracy of each takes minutes.
MOST_COMPARED = 100


@dataclass(frozen=True)
class Clarification:
    """What was asked of each pair, what came back, and what follows.

    `posterior` (n, K): probabilities after all responses; `asked` (n, m): questions in the order in which they were
    asked; `responses` (n, m); `information` (n, m): expected gain of each question when it was chosen, in nats.
    """

    posterior: np.ndarray
    asked: np.ndarray
    responses: np.ndarray
    information: np.ndarray

    @property
    def answer(self) -> np.ndarray:
        """The most probable class after the responses, (n,)."""
        return top_class(self.posterior)


@dataclass(frozen=True)
class Questions:
    """Questions about a pair, and what a person who takes it for a class would respond.

    `texts` (Q,); `meaning` (Q, K, R): P(response | the class that the person takes the pair for); `responses` (R,).
    """

    texts: tuple[str, ...]
    meaning: np.ndarray
    responses: tuple[str, ...]

    @classmethod
    def which(cls, text: str, class_names: Sequence[str]) -> Questions:
        """One question whose responses are the classes."""
        return cls((text,), np.eye(len(class_names))[None], tuple(class_names))

    @classmethod
    def yes_no(cls, yes: Mapping[str, Sequence[str]], class_names: Sequence[str]) -> Questions:
        """Yes/no questions, each with the classes whose answer is yes."""
        says_yes = np.array([[float(name in names) for name in class_names] for names in yes.values()])
        return cls(tuple(yes), np.stack([1 - says_yes, says_yes], axis=2), ("no", "yes"))

    @classmethod
    def facts(cls, texts: tuple[str, str], *, refutes: float, proves: float) -> Questions:
        """A fact that the first of two classes needs, and one that is enough for it.

        `refutes` in [0, 1]: share of the second class of which the first fact does not hold; `proves`: share of the
        first class of which the second does. A person sees the fact as it is in a pair of the class taken for true.
        """
        needed, enough = [[0.0, 1.0], [refutes, 1 - refutes]], [[1 - proves, proves], [1.0, 0.0]]
        return cls(texts, np.array([needed, enough]), ("no", "yes"))

    def likelihood(self, confusion: np.ndarray) -> np.ndarray:
        """P(response | true class), (Q, K, R), of a person who errs by a confusion matrix (K, K)."""
        return np.einsum("kv,qvr->qkr", confusion, self.meaning, optimize=True)

    def chances(self, judgements: np.ndarray) -> np.ndarray:
        """P(response) for each pair and question, (n, Q, R), from P(judgement) of the person, (n, K)."""
        return np.einsum("nv,qvr->nqr", judgements, self.meaning, optimize=True)


def expected_clarification(
    probs: np.ndarray, likelihood: np.ndarray, chances: np.ndarray, *, n_questions: int = 1
) -> np.ndarray:
    """Distribution of the answer after clarification, over all responses that may come.

    `probs` (n, K); `likelihood` (Q, K, R): what the model assumes, as in `clarify`; `chances` (n, Q, R): with which
    probability each response really comes; responses to different questions are independent. Returns (n, K): rows sum
    to 1. Every path of R ** n_questions responses is followed: exact, hence for few questions.
    """
    rows = np.arange(len(probs))
    paths = [(probs, np.ones(len(probs)), np.ones((len(probs), len(likelihood)), dtype=bool))]
    for _ in range(n_questions):
        longer = []
        for belief, weight, is_open in paths:
            question, _ = _best_question(belief, likelihood, is_open)
            left = is_open.copy()
            left[rows, question] = False
            for response in range(likelihood.shape[2]):
                chance = weight * chances[rows, question, response]
                longer.append((update(belief, likelihood[question, :, response]), chance, left))
        paths = longer
    answers = np.zeros_like(probs)
    for belief, weight, _ in paths:
        answers[rows, top_class(belief)] += weight
    return answers


def question_responder(questions: Questions, human: Human, pair_ids: Sequence[str], y_true: np.ndarray) -> Responder:
    """People who judge the pair, one for each question, and respond as somebody who takes it for that class.

    Question j is put to the j-th person. Each judgement has a stream of its own: none is the answer that
    `human.answers` gives when the pair is handed over. A response that the judgement leaves open is drawn.
    """
    pair_ids = np.asarray(pair_ids, dtype=object)

    def respond(rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        responses = np.empty(len(rows), dtype=np.int64)
        for question in np.unique(asked):
            chosen = rows[asked == question]
            judged = human.answers(pair_ids[chosen], y_true[chosen], stream=f"judgement {question}")
            uniform = keyed_uniform(pair_ids[chosen], seed=human.seed, stream=f"response {question}")
            responses[asked == question] = draw(questions.meaning[question, judged], uniform)
        return responses

    return respond


def _best_question(probs: np.ndarray, likelihood: np.ndarray, is_open: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The open question of each pair with the highest expected accuracy, and the information of all questions.

    Ties, such as questions that change no answer, go to the most informative one. With more than `MOST_COMPARED`
    questions information alone decides.
    """
    gain = np.where(is_open, expected_information(probs, likelihood), -1.0)
    # Rounded, so that equal questions are told apart by their order and not by rounding noise.
    ranked = gain.round(12)
    if len(likelihood) <= MOST_COMPARED:
        right = np.where(is_open, expected_accuracy(probs, likelihood), -1.0).round(12)
        ranked = np.where(right == right.max(axis=1, keepdims=True), ranked, -1.0)
    return ranked.argmax(axis=1), gain


def expected_accuracy(probs: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Probability that the most probable class after the response to each question is the true one.

    `probs` (n, K); `likelihood` (Q, K, R). Returns (n, Q) in [1 / K, 1], sum_r max_k p_k P(r | k).
    """
    # For each question, and of that for each response r, the row P(r | k).
    return np.column_stack([sum((probs * given).max(axis=1) for given in question.T) for question in likelihood])


def expected_information(probs: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Expected information about the class from each question.

    `probs` (n, K); `likelihood` (Q, K, R): P(response | class); rows sum to 1. Returns (n, Q) in [0, ln K]: mutual
    information of class and response, H(response) - sum_k p_k H(response | k), in nats. Lindley (1956), On a Measure of
    the Information Provided by an Experiment.
    """
    n_questions, n_classes, n_responses = likelihood.shape
    marginal = probs @ likelihood.transpose(1, 0, 2).reshape(n_classes, -1)
    marginal = marginal.reshape(len(probs), n_questions, n_responses)
    gain = entr(marginal).sum(axis=-1) - probs @ entr(likelihood).sum(axis=-1).T
    return np.maximum(gain, 0.0)


def update(probs: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Probabilities after a response, p'(k) proportional to p(k) P(response | k).

    `probs` (n, K); `likelihood` (n, K): P(the response that was given | class). Returns (n, K): a response that is
    impossible under every class with probability changes nothing.
    """
    joint = probs * likelihood
    total = joint.sum(axis=1, keepdims=True)
    return np.where(total > 0, joint / np.where(total > 0, total, 1.0), probs)


def clarify(probs: np.ndarray, likelihood: np.ndarray, respond: Responder, *, n_questions: int = 1) -> Clarification:
    """Ask each pair's most helpful questions one after the other, each chosen in view of the responses so far.

    `probs` (n, K): calibrated probabilities; `likelihood` (Q, K, R): P(response | class) that the model assumes;
    `respond`: `respond(rows, questions) -> responses`, all (m,): who really responds, see `question_responder`;
    `n_questions` in 1..Q: each question is asked at most once; among equal ones the first.
    """
    posterior = probs.copy()
    asked = np.empty((len(probs), n_questions), dtype=np.int64)
    responses, information = np.empty_like(asked), np.empty(asked.shape)
    # For each pair the probability of every response to every question is held at once.
    step = max(1, _CHUNK_CELLS // (likelihood.shape[0] * likelihood.shape[2]))
    for rows in np.split(np.arange(len(probs)), range(step, len(probs), step)):
        place = np.arange(len(rows))
        is_open = np.ones((len(rows), len(likelihood)), dtype=bool)
        for turn in range(n_questions):
            question, gain = _best_question(posterior[rows], likelihood, is_open)
            response = respond(rows, question)
            posterior[rows] = update(posterior[rows], likelihood[question, :, response])
            is_open[place, question] = False
            asked[rows, turn], responses[rows, turn] = question, response
            information[rows, turn] = gain[place, question]
    return Clarification(posterior, asked, responses, information)
