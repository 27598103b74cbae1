"""From calibrated predictions to a policy: signals, people and prices of one split, and the log of its decisions.

What is fixed before test is looked at comes from calibration: a temperature for each seed, a threshold for conformal
sets. Thresholds of the policy are tuned on the whole calibration split, in expectation over the people who may answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from verdict.artifacts import content_hash
from verdict.audit import DecidedBatch, LogSummary, explain_item, find_item, iter_items, run_id, write_log
from verdict.clarify import Clarification, clarify, update, vote_likelihood, vote_responder
from verdict.evaluation import Selection
from verdict.humans import Human, ParametricHuman, VoteHuman
from verdict.labels import class_names
from verdict.params import HumanParams, PolicyParams
from verdict.policy import Costs, Outcomes, Policy, force, price_outcomes
from verdict.policy_evaluation import Case
from verdict.predict import logits_of
from verdict.scores import softmax
from verdict.signals import (
    CONFORMAL_CONFIDENCE,
    ENSEMBLE_STABILITY,
    ENTROPY_CONFIDENCE,
    MAX_PROBABILITY,
    composite,
    conformal_confidence,
    ensemble_stability,
    entropy_confidence,
    max_probability,
)
from verdict.stage import TRIAL_STAGE, resolved

if TYPE_CHECKING:
    from verdict.stage import Stage

QUESTION = "at a glance, is the sentence true of the image?"
VOTE_COLUMNS = ("votes_entailment", "votes_contradiction")
POLICY_STREAM = 21
N_CURVE_POINTS = 100


@dataclass(frozen=True)
class Calibrated:
    """What calibration fixed: one temperature for each seed of the kept trial, and the conformal threshold in use.

    Attributes
    ----------
    temperatures : mapping of seed to float > 0
    seed : int
        The kept seed.
    qhat : float
        A class is in the set if 1 - its probability is at most this.
    alpha : float in (0, 1)
        Level of the sets.
    """

    temperatures: Mapping[int, float]
    seed: int
    qhat: float
    alpha: float

    @property
    def temperature(self) -> float:
        """Of the kept seed."""
        return self.temperatures[self.seed]


def load_calibrated(stage: Stage) -> Calibrated:
    """What the calibration stage fixed, with the level of sets that the policy's parameters ask for."""
    temperatures = pd.read_parquet(stage.upstream("07_calibration", "temperatures.parquet"))
    sets = pd.read_parquet(stage.upstream("07_calibration", "policy_sets.parquet")).iloc[0]
    kept = int(temperatures.loc[temperatures["is_kept"], "seed"].iloc[0])
    by_seed = {int(row.seed): float(row.temperature) for row in temperatures.itertuples()}
    return Calibrated(by_seed, kept, float(sets["qhat"]), float(sets["alpha"]))


@dataclass(frozen=True)
class Evidence:
    """Pairs of one split with what a decision depends on; nothing here knows people or prices.

    Attributes
    ----------
    table : prediction table of the kept model, n rows
    probs : (n, K) float
        Calibrated.
    sets : (n, K) bool
        Conformal sets.
    signals : mapping of name to (n,) float in [0, 1]
    score : (n,) float in [0, 1]
        Their geometric mean.
    forced : (n,) int
        The gate, values of `Forced`.
    """

    table: pd.DataFrame
    probs: np.ndarray
    sets: np.ndarray
    signals: Mapping[str, np.ndarray]
    score: np.ndarray
    forced: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    @property
    def y_true(self) -> np.ndarray:
        """True classes, (n,)."""
        return self.table["y_true"].to_numpy()

    @property
    def answer(self) -> np.ndarray:
        """The model's answers, (n,)."""
        return self.probs.argmax(axis=1)

    @property
    def is_wrong(self) -> np.ndarray:
        """Whether the model errs, (n,) bool."""
        return self.answer != self.y_true

    @property
    def groups(self) -> np.ndarray:
        """Independent unit of each pair, (n,)."""
        return self.table["group_id"].to_numpy()

    @property
    def rivals(self) -> dict[str, np.ndarray]:
        """Scores that do without a composite."""
        return {"maximum probability": self.signals[MAX_PROBABILITY], "entropy": self.signals[ENTROPY_CONFIDENCE]}


def read_evidence(tables: Mapping[int, pd.DataFrame], calibrated: Calibrated, *, critical_floor: float) -> Evidence:
    """Signals, score and gate of the pairs of one split.

    Parameters
    ----------
    tables : mapping of seed to prediction table
        The kept trial's models on the same pairs in the same order.
    calibrated : Calibrated
    critical_floor : float in [0, 1)
        A signal at or below it hands the pair to a person.

    Raises
    ------
    ValueError
        If the tables do not hold the same pairs in the same order.

    Notes
    -----
    Stability is the agreement of models trained from several seeds on the kept model's answer (Lakshminarayanan et al.
    2017 train the ensemble in the same way); with one seed there is none and the signal is left out.
    """
    table = tables[calibrated.seed]
    if any(not other["pair_id"].equals(table["pair_id"]) for other in tables.values()):
        raise ValueError("the models of several seeds do not answer the same pairs in the same order")
    by_seed = {seed: softmax(logits_of(other) / calibrated.temperatures[seed]) for seed, other in tables.items()}
    probs = by_seed[calibrated.seed]
    sets = 1 - probs <= calibrated.qhat
    conformal, is_empty = conformal_confidence(sets)
    signals = {MAX_PROBABILITY: max_probability(probs), ENTROPY_CONFIDENCE: entropy_confidence(probs)}
    if len(by_seed) > 1:
        signals[ENSEMBLE_STABILITY] = ensemble_stability(np.stack(list(by_seed.values())), probs.argmax(axis=1))
    signals[CONFORMAL_CONFIDENCE] = conformal
    forced = force(signals, is_empty, tau_critical=critical_floor)
    return Evidence(table, probs, sets, signals, composite(signals), forced)


def gather(stage: Stage, split: str, calibrated: Calibrated, kept: Selection) -> Evidence:
    """Evidence of one split from the runs of the kept trial."""
    tables = {seed: stage.predictions(split, trial=kept.trial, seed=seed) for seed in calibrated.temperatures}
    return read_evidence(tables, calibrated, critical_floor=stage.params.policy.critical_floor)


@dataclass(frozen=True)
class People:
    """Who is asked when the model does not answer alone.

    Attributes
    ----------
    careful : Human
        Takes a pair over.
    hasty : Human
        Answers a clarifying question at a glance.
    likelihood : (1, K, K) float
        P(response | class) that the model assumes of the hasty one.
    kind : str
        In words, for the reader.
    """

    careful: Human
    hasty: Human
    likelihood: np.ndarray
    kind: str

    def clarified(self, evidence: Evidence) -> np.ndarray:
        """Distribution of the answer after the question, over the responses that may come, (n, K)."""
        says = self.hasty.distribution(evidence.table["pair_id"], evidence.y_true)
        final = np.zeros_like(evidence.probs)
        for response in range(says.shape[1]):
            given = self.likelihood[0, :, response]
            answer = update(evidence.probs, np.broadcast_to(given, evidence.probs.shape)).argmax(axis=1)
            final[np.arange(len(final)), answer] += says[:, response]
        return final

    def ask(self, evidence: Evidence) -> Clarification:
        """One response drawn for each pair, as the log holds it."""
        respond = vote_responder(self.hasty, evidence.table["pair_id"], evidence.y_true)
        return clarify(evidence.probs, self.likelihood, respond)

    def outcomes(self, evidence: Evidence, costs: Costs, *, is_perfect: bool = False) -> Outcomes:
        """Expected cost and error of the three branches; `is_perfect` supposes that who takes over never errs."""
        n_classes = evidence.probs.shape[1]
        takes_over = self.careful.distribution(evidence.table["pair_id"], evidence.y_true)
        return price_outcomes(
            costs,
            evidence.y_true,
            model=evidence.answer,
            human=evidence.y_true if is_perfect else takes_over,
            clarified=self.clarified(evidence),
            n_classes=n_classes,
        )

    def case(self, evidence: Evidence, costs: Costs) -> Case:
        """Everything that tuning and evaluation of a policy need."""
        return Case(evidence.score, self.outcomes(evidence, costs), evidence.groups, evidence.forced)


def choose_people(settings: HumanParams, pairs: pd.DataFrame, calib: pd.DataFrame, *, n_classes: int = 2) -> People:
    """The people of the parameters.

    Parameters
    ----------
    settings : HumanParams
        `votes`: one recorded annotator takes over; the hasty one is a recorded annotator who guesses so often that the
        mean accuracy on the calibration split is `clarify_accuracy`.
    pairs : pair table
        Every pair that may be asked about.
    calib : prediction table of the calibration split
        What the model may learn of people.

    Raises
    ------
    ValueError
        If votes are asked for and the pairs have none.
    """
    if settings.kind == "parametric":
        careful = ParametricHuman(settings.accuracy, n_classes=n_classes, seed=settings.seed)
        hasty = ParametricHuman(settings.clarify_accuracy, n_classes=n_classes, seed=settings.seed)
        confusion = hasty.distribution(np.arange(n_classes).astype(str), np.arange(n_classes))
        kind = "a simulated person whose errors fall on all pairs alike"
        return People(careful, hasty, vote_likelihood(confusion), kind)
    if missing := [column for column in VOTE_COLUMNS if column not in pairs]:
        raise ValueError(f"policy.human.kind is votes, but the pairs have no {missing}; set it to parametric")
    counts = pairs[list(VOTE_COLUMNS)].to_numpy(dtype=float)
    voted = counts.sum(axis=1) > 0
    ids = pairs.loc[voted, "pair_id"].to_numpy()
    careful = VoteHuman(ids, counts[voted], seed=settings.seed)
    ask_ids, truth = calib["pair_id"].to_numpy(), calib["y_true"].to_numpy()
    accuracy = float(careful.distribution(ask_ids)[np.arange(len(truth)), truth].mean())
    hasty = VoteHuman(ids, diluted(careful.shares, accuracy, settings.clarify_accuracy), seed=settings.seed)
    return People(
        careful, hasty, vote_likelihood(hasty.confusion(ask_ids, truth)), "one recorded annotator of each pair"
    )


def diluted(shares: np.ndarray, accuracy: float, wanted: float) -> np.ndarray:
    """Votes mixed with guesses, so that a mean accuracy falls to the wanted one; it is never raised.

    Parameters
    ----------
    shares : (n, K)
        Rows sum to 1.
    accuracy : float
        Mean accuracy of `shares`.
    wanted : float
    """
    chance = 1 / shares.shape[1]
    guessing = 0.0 if accuracy <= wanted else (accuracy - wanted) / (accuracy - chance)
    return (1 - guessing) * shares + guessing * chance


def costs_of(settings: PolicyParams) -> Costs:
    """The prices of the parameters, errors by true class."""
    prices = settings.costs
    return Costs(prices.human, prices.clarify, (prices.error_entailment, prices.error_contradiction))


def decide_batch(
    stage: Stage,
    evidence: Evidence,
    people: People,
    policy: Policy,
    *,
    calibrated: Calibrated,
    kept: Selection,
    costs: Costs,
) -> DecidedBatch:
    """Decide every pair and draw the people's answers, for the log.

    The model is named by the hash of its weights, the parameters by the hash of those that this stage depends on.
    """
    table = evidence.table
    ids = table["pair_id"].to_numpy()
    weights = stage.record(TRIAL_STAGE, kept.trial, kept.seed)["outputs"]
    model_hash = content_hash({name: value for name, value in weights.items() if name.endswith("weights.npz")})
    params_hash = content_hash(resolved(stage.all_params, stage.name))
    case = people.case(evidence, costs)
    decision, asked = case.decide(policy), people.ask(evidence)
    answers = people.careful.answers(ids, evidence.y_true)
    drawn = price_outcomes(
        costs,
        evidence.y_true,
        model=evidence.answer,
        human=answers,
        clarified=asked.answer,
        n_classes=evidence.probs.shape[1],
    )
    hypotheses = stage.pairs().set_index("pair_id")["hypothesis"]
    return DecidedBatch(
        **{name: table[name].to_numpy() for name in ("pair_id", "image_id", "group_id", "split")},
        logits=logits_of(table),
        probs=evidence.probs,
        temperature=calibrated.temperature,
        signals=evidence.signals,
        sets=evidence.sets,
        score=evidence.score,
        forced=evidence.forced,
        decision=decision,
        policy=policy,
        human=answers,
        classes=class_names(),
        model_hash=model_hash,
        params_hash=params_hash,
        run_id=run_id(model=model_hash, params=params_hash, stage=stage.name),
        hypothesis=hypotheses.reindex(ids).to_numpy(),
        qhat=calibrated.qhat if np.isfinite(calibrated.qhat) else None,
        clarification=asked,
        questions=(QUESTION,),
        response_names=class_names(),
        y_true=evidence.y_true,
        cost=drawn.cost[np.arange(len(decision)), decision],
    )


def log_decisions(path: Path, batch: DecidedBatch) -> LogSummary:
    """Write the log of a batch; what it says of costs is of the answers that were drawn, not expected ones."""
    return write_log(path, iter_items(batch))


def explained(path: Path, batch: DecidedBatch) -> pd.DataFrame:
    """The first pair of each branch in plain words, read back from the log: columns decision, pair_id, why."""
    rows = []
    for code in np.unique(batch.decision):
        pair_id = str(batch.pair_id[int(np.flatnonzero(batch.decision == code)[0])])
        item = find_item(path, pair_id)
        rows.append(
            {"decision": item.decision, "pair_id": pair_id, "why": " ".join(explain_item(item).splitlines()[1:])}
        )
    return pd.DataFrame(rows)
