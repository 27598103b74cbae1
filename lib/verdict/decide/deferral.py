"""From calibrated predictions to a policy: signals, people and prices of one split, and the log of its decisions.

What is fixed before test is looked at comes from calibration: a temperature for each seed, a threshold for conformal
sets. Thresholds of the policy are tuned on the whole calibration split, in expectation over the people who may answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.artifacts import content_hash
from verdict.base.labels import Split, in_words
from verdict.base.params import ForeignParams, PolicyParams
from verdict.base.refusals import listed
from verdict.decide import signals as known_signals
from verdict.decide.calibrated import Calibrated, logits_of_views, pair_consistency, usual_consistency
from verdict.decide.foreign import batch_p_value, one_of_each, watched
from verdict.decide.guarantee import Kept
from verdict.decide.log.explain import explain_item
from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import find_item, run_id, write_log
from verdict.decide.log.replay import replay_log
from verdict.decide.outcomes import Case
from verdict.decide.policy import Costs, Floors, Forced, Outcomes, Policy, decide, force, price_outcomes
from verdict.decide.signals import (
    COMPOSITE,
    SCORE_WORDS,
    composite,
    distance_confidence,
    score_of,
)
from verdict.decide.takeover import People, choose_people
from verdict.model.predict import answers_of, logits_of
from verdict.model.selection import Selection
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Resampler
from verdict.workflow.stage import Stage
from verdict.workflow.stage_parameters import resolved
from verdict.workflow.stages import CLIP, DISTANCES, QUESTIONS, TRIAL_STAGE, VIEWS, weights_file

TUNING = "tuning"
ONE_MODEL = "composite of one answer"


@dataclass(frozen=True)
class Evidence:
    """Pairs of one split with what a decision depends on; nothing here knows people or prices.

    `table` prediction table of the kept model, n rows; `probs` (n, K): calibrated; `sets` (n, K) bool; `signals` (n,)
    in [0, 1]; `forced` (n,): the gate, values of `Forced`; `by`: the score that decides, one of `signals.SCORES`;
    `consistency` (n,) in [0, 1], where there is one: of the model's answers to questions about the pair; `foreign` (n,)
    in [0, 1], or None: p-value of each pair's being no stranger; `batch`: that of all pairs of the split; `promised`:
    which thresholds keep the promise, where these pairs tune a policy.
    """

    table: pd.DataFrame
    probs: np.ndarray
    sets: np.ndarray
    signals: Mapping[str, np.ndarray]
    forced: np.ndarray
    by: str = COMPOSITE
    consistency: np.ndarray | None = None
    foreign: np.ndarray | None = None
    batch: float | None = None
    promised: Kept | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def y_true(self) -> np.ndarray:
        """True classes, (n,)."""
        return self.table["y_true"].to_numpy()

    @property
    def answer(self) -> np.ndarray:
        """The model's answers, (n,)."""
        return answers_of(self.table)

    @property
    def is_wrong(self) -> np.ndarray:
        """Whether the model errs, (n,) bool."""
        return self.answer != self.y_true

    @property
    def groups(self) -> np.ndarray:
        """Independent unit of each pair, (n,)."""
        return self.table["group_id"].to_numpy()

    @property
    def split(self) -> str:
        """What the pairs are used for."""
        return str(self.table["split"].iloc[0]) if len(self) else ""

    @property
    def shown_signals(self) -> dict[str, np.ndarray]:
        """All signals by name, the consistency included."""
        further = {} if self.consistency is None else {known_signals.QUESTION_CONSISTENCY: self.consistency}
        return dict(self.signals) | further

    @property
    def unwatched(self) -> Evidence:
        """The same pairs without the gates for what is foreign."""
        is_foreign = np.isin(self.forced, (Forced.FOREIGN, Forced.FOREIGN_BATCH))
        return replace(self, forced=np.where(is_foreign, Forced.NONE, self.forced))

    def take(self, rows: np.ndarray, *, split: str | None = None) -> Evidence:
        """Some of the pairs by a mask (n,), under another split's name where one is given."""
        table = self.table[rows].reset_index(drop=True)
        names = ("probs", "sets", "forced", "consistency", "foreign")
        taken = {name: found[rows] for name in names if (found := getattr(self, name)) is not None}
        signals = {name: signal[rows] for name, signal in self.signals.items()}
        return replace(self, table=table if split is None else table.assign(split=split), signals=signals, **taken)

    @cached_property
    def score(self) -> np.ndarray:
        """How far each answer is trusted, (n,) in [0, 1]."""
        return score_of(self.by, self.signals, self.consistency)

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """The score that decides, first, and its rivals: the composite, one number, the mean of several models, and the
        composite of one answer of one model, where the composite itself knows more.
        """
        own = {name: signal for name, signal in self.signals.items() if name in known_signals.OF_ONE_ANSWER}
        known = {COMPOSITE: composite(self.signals, self.consistency)}
        if len(own) < len(self.shown_signals):
            known[ONE_MODEL] = composite(own)
        known |= {words: self.signals[name] for name, words in SCORE_WORDS.items() if name in self.signals}
        return {self.own: self.score} | known

    @property
    def own(self) -> str:
        """The name among `scores` of the one that decides."""
        return SCORE_WORDS[self.by]

    @property
    def rivals(self) -> dict[str, np.ndarray]:
        """`scores` without the first."""
        return {name: score for name, score in self.scores.items() if name != self.own}


def read_evidence(
    tables: Mapping[int, pd.DataFrame],
    calibrated: Calibrated,
    *,
    critical_floor: Floors,
    view_logits: np.ndarray | None = None,
    consistency: np.ndarray | None = None,
    foreign: np.ndarray | None = None,
    batch: float | None = None,
    limits: ForeignParams | None = None,
) -> Evidence:
    """Signals, score and gate of the pairs of one split.

    `tables`: the kept trial's models on the same pairs in the same order (else a ValueError); `critical_floor` in
    [0, 1): a signal that is at most its floor hands the pair to a person; `view_logits` as in `Calibrated.signals`;
    `consistency`, `foreign`, `batch` as in `Evidence`, and `limits`: which of the last two are believed.
    """
    table = tables[calibrated.seed]
    probs, sets, signals = calibrated.signals(tables, view_logits)
    is_batch_foreign = limits is not None and batch is not None and batch <= limits.batch
    strange = {"foreign": foreign, "tau_pair": limits and limits.pair, "is_batch_foreign": is_batch_foreign}
    forced = force(signals, ~sets.any(axis=1), tau_critical=critical_floor, **strange)
    further = {"consistency": consistency, "foreign": foreign, "batch": batch}
    return Evidence(table, probs, sets, signals, forced, calibrated.score, **further)


def gather(stage: Stage, split: str, calibrated: Calibrated, kept: Selection) -> Evidence:
    """Evidence of one split from the runs of the kept trial, and from what else was asked of the kept model."""
    tables = {seed: stage.predictions(split, trial=kept.trial, seed=seed) for seed in calibrated.temperatures}
    limits, own, views = stage.params.policy.foreign, tables[kept.seed], stage.answers(VIEWS, split)
    known = None if limits is None or own.empty else strangeness(stage, split, own, calibrated)
    asked, consistency = stage.answers(QUESTIONS, split), None
    if asked is not None and len(asked):
        usual = usual_consistency(stage, kept.trial, calibrated)
        consistency = pair_consistency(asked, own, calibrated, stage.classes, usual=usual)
    floors = stage.params.policy.critical_floor
    evidence = read_evidence(
        tables,
        calibrated,
        critical_floor=floors,
        view_logits=None if views is None else logits_of_views(views, own),
        consistency=consistency,
        limits=limits,
        foreign=known and known.pairs,
        batch=known and known.batch,
    )
    # CLIP shares the parameters, and has fewer signals.
    absent = floors.keys() - evidence.signals.keys() if isinstance(floors, Mapping) and stage.given != CLIP else ()
    if absent:
        names = f"{listed(sorted(absent))}, which this report does not have; it has {listed(evidence.signals)}"
        raise ValueError(f"policy.critical_floor gives a floor to {names}")
    return evidence


@dataclass(frozen=True)
class Strangeness:
    """How strange the pairs of a split are, without any label.

    `distance` (n,) from train, and `pairs` (n,), its p-values among val and calib (those that test a promise lend it
    their part of one quantile, and no label), None where no features are stored; `watched`, `known`: what is compared
    of this split and of calib, one row of each group; `batch`: p-value of that, None for calib itself.
    """

    distance: np.ndarray | None
    pairs: np.ndarray | None
    watched: Mapping[str, np.ndarray]
    known: Mapping[str, np.ndarray]
    batch: float | None


def strangeness(stage: Stage, split: str, table: pd.DataFrame, calibrated: Calibrated) -> Strangeness:
    """`Strangeness` of the pairs of a table, all of one split."""
    calib = stage.predictions(Split.CALIB, trial=str(table["trial"].iloc[0]), seed=calibrated.seed)
    distance, of_calib = (_distance(stage, place, own) for place, own in ((split, table), (Split.CALIB, calib)))
    pairs = None
    if distance is not None:
        pairs = distance_confidence(distance, stage.answers(DISTANCES, Split.VAL, Split.CALIB)["distance"].to_numpy())
    compared = []
    for own, found in ((table, distance), (calib, of_calib)):
        rows = one_of_each(own["group_id"], own["pair_id"])
        columns = watched(softmax(logits_of(own) / calibrated.temperature), found, stage.classes)
        compared.append({name: column[rows] for name, column in columns.items()})
    p_value = None if split == Split.CALIB else batch_p_value(compared[1], compared[0])
    return Strangeness(distance, pairs, *compared, p_value)


def _distance(stage: Stage, split: str, table: pd.DataFrame) -> np.ndarray | None:
    found = stage.answers(DISTANCES, split)
    return None if found is None else found.set_index("pair_id").loc[table["pair_id"], "distance"].to_numpy()


def gather_both(stage: Stage, calibrated: Calibrated, kept: Selection) -> tuple[Evidence, Evidence]:
    """Evidence of the pairs that tune the policy, the calibration split, and of those that judge it; where people's
    answers are recorded for test alone, the first are the marked part of test, called "tuning".
    """
    test = gather(stage, Split.TEST, calibrated, kept)
    is_tuning = _is_tuning(stage, test.table)
    if not is_tuning.any():
        return gather(stage, Split.CALIB, calibrated, kept), test
    return test.take(is_tuning, split=TUNING), test.take(~is_tuning)


def tuning_table(stage: Stage, kept: Selection) -> pd.DataFrame:
    """Prediction table of the pairs that tune the policy, see `gather_both`."""
    test = stage.predictions(Split.TEST, trial=kept.trial, seed=kept.seed)
    is_tuning = _is_tuning(stage, test)
    if not is_tuning.any():
        return stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    return test[is_tuning].assign(split=TUNING).reset_index(drop=True)


def _is_tuning(stage: Stage, table: pd.DataFrame) -> np.ndarray:
    pairs = stage.pairs(Split.TEST)
    if "is_tuning" not in pairs:
        return np.zeros(len(table), dtype=bool)
    return table["pair_id"].isin(pairs.loc[pairs["is_tuning"], "pair_id"]).to_numpy()


def people_of(stage: Stage, tuning: pd.DataFrame, *splits: str, clarify_accuracy: float | None = None) -> People:
    """The people of the parameters, who may be asked about the pairs of some splits and learnt about on `tuning`;
    `clarify_accuracy` takes the place of that of the parameters.
    """
    own = (Split.TEST,) if set(tuning["split"]) == {TUNING} else (Split.CALIB, Split.TEST)
    pairs = stage.pairs(*dict.fromkeys((*own, *splits)))
    kept = {"trial": str(tuning["trial"].iloc[0]), "seed": int(tuning["seed"].iloc[0])}
    settings = stage.params.policy
    if clarify_accuracy is not None:
        human = settings.human.model_copy(update={"clarify_accuracy": clarify_accuracy})
        settings = settings.model_copy(update={"human": human})
    # Where the model errs elsewhere, it may be the model that is strange there, and no person.
    return choose_people(settings, pairs, tuning, stage.classes, stage.predictions(*own, **kept))


def clarified(evidence: Evidence, people: People) -> np.ndarray:
    """Distribution of the answer after the questions, over the responses that may come, (n, K)."""
    return people.clarified(evidence.table["pair_id"], evidence.y_true, evidence.probs)


def outcomes_of(
    evidence: Evidence,
    people: People,
    costs: Costs,
    *,
    human: np.ndarray | None = None,
    after: np.ndarray | None = None,
) -> Outcomes:
    """Expected cost and error of the three branches.

    `after` (n, K): `clarified` of these pairs and people, where it is known: with many classes it takes longest;
    `human` (n,) int or (n, K): other answers, or distributions of them, of the person who takes over.
    """
    takes_over = people.careful.distribution(evidence.table["pair_id"], evidence.y_true) if human is None else human
    return price_outcomes(
        costs,
        evidence.y_true,
        model=evidence.answer,
        human=takes_over,
        clarified=clarified(evidence, people) if after is None else after,
        n_classes=evidence.probs.shape[1],
    )


def case_of(evidence: Evidence, people: People, costs: Costs, *, after: np.ndarray | None = None) -> Case:
    """Everything that tuning and evaluation of a policy need; `after` as in `outcomes_of`."""
    outcomes = outcomes_of(evidence, people, costs, after=after)
    allowed = None if evidence.promised is None else evidence.promised.thresholds
    return Case(evidence.score, outcomes, evidence.groups, evidence.forced, people.is_simulated, allowed)


def costs_of(settings: PolicyParams, classes: Sequence[str]) -> Costs:
    """The prices of the parameters, errors by true class."""
    prices = settings.costs
    return Costs(prices.human, prices.clarify, [prices.error_of.get(name, prices.error) for name in classes])


def decide_batch(
    stage: Stage,
    evidence: Evidence,
    people: People,
    policy: Policy,
    *,
    calibrated: Calibrated,
    kept: Selection,
    costs: Costs,
    promised: Kept | None = None,
) -> DecidedBatch:
    """Decide every pair and draw the people's answers, for the log; `promised` is what is told of automatic ones.

    Hashes name the model (its weights, or saved logits) and the parameters that this stage depends on.
    """
    table, model_hash, ids = evidence.table, _model_hash(stage, kept), evidence.table["pair_id"].to_numpy()
    params_hash = content_hash(resolved(stage.all_params, stage.name))
    qhat = calibrated.qhat if np.isfinite(calibrated.qhat) else None
    # What was tuned on data names the run too: a log of other thresholds is another policy's.
    limits = {"policy": asdict(policy), "qhat": qhat, "temperature": calibrated.temperature}
    decision = decide(evidence.score, policy, forced=evidence.forced)
    asked = people.ask(ids, evidence.y_true, evidence.probs)
    answers = people.careful.answers(ids, evidence.y_true)
    drawn = outcomes_of(evidence, people, costs, human=answers, after=asked.answer)
    pairs = stage.pairs().set_index("pair_id")
    return DecidedBatch(
        **{name: table[name].to_numpy() for name in ("pair_id", "image_id", "group_id", "split")},
        **{name: getattr(evidence, name) for name in ("probs", "signals", "sets", "score", "forced", "consistency")},
        **{name: getattr(evidence, name) for name in ("foreign", "batch")},
        promise=None if promised is None else told_promise(promised, stage.classes),
        logits=logits_of(table),
        temperature=calibrated.temperature,
        decision=decision,
        policy=policy,
        human=answers,
        classes=stage.classes,
        model_hash=model_hash,
        params_hash=params_hash,
        run_id=run_id(model=model_hash, params=params_hash, stage=stage.name, **limits),
        hypothesis=pairs["hypothesis"].reindex(ids).to_numpy() if "hypothesis" in pairs else None,
        qhat=qhat,
        clarification=asked,
        questions=people.questions.texts,
        response_names=people.questions.responses,
        y_true=evidence.y_true,
        cost=drawn.cost[np.arange(len(decision)), decision],
    )


def told_promise(promised: Kept, classes: Sequence[str]) -> dict[str, object]:
    """What was promised and on how much it rests, as the log holds it."""
    told = {name: getattr(promised, name) for name in ("method", "n_rows", "n_groups")}
    by_class = {classes[k]: limit for k, limit in (promised.promise.error_by_class or {}).items()}
    return {**asdict(promised.promise), **told, "error_by_class": by_class, "is_kept": len(promised.thresholds) > 0}


def _model_hash(stage: Stage, kept: Selection) -> str:
    if stage.is_recorded:
        outputs, file = stage.record(stage.given)["outputs"], "predictions.parquet"
    else:
        outputs, file = stage.record(TRIAL_STAGE, kept.trial)["outputs"], weights_file(kept.seed)
    return content_hash({name: value for name, value in outputs.items() if name.endswith(file)})


def log_decisions(path: Path, batch: DecidedBatch) -> int:
    """Write the log of a batch; what it says of costs is of the answers that were drawn, not expected ones."""
    return write_log(path, iter_items(batch))


def log_table(stage: Stage, path: Path, batch: DecidedBatch, draws: Resampler) -> pd.DataFrame:
    """What the log of a batch holds, and whether it gives the same decisions again: quantity, value. Numbers
    `policy.test.n_logged`, `.n_replay_differences` and `.cost_logged` (mean of the answers that were drawn, minutes).
    """
    replay, shared = replay_log(path), {"n": len(batch), "split": str(batch.split[0])}
    counts = {"n_logged": replay.n_items, "n_replay_differences": replay.n_differences}
    found = stage.counts("policy.test", counts, **shared)
    found.append(draws.mean(batch.cost).number(unit="min", **shared))
    stage.numbers["policy.test.cost_logged"] = found[-1]
    words = ["decisions in the log", "differences when all are decided again from the log"]
    return pd.DataFrame({"quantity": [*words, "mean cost of the answers that were drawn"], "value": found})


def explained(path: Path, pair_ids: Sequence[str]) -> pd.DataFrame:
    """Some cases in plain words, read back from the log: columns decision, case (its sentence, or else its id), why."""
    rows = []
    for item in (find_item(path, pair_id) for pair_id in pair_ids):
        why = " ".join(explain_item(item).splitlines()[1:-1])
        for name in item.signals:
            why = why.replace(name, in_words(name))
        rows.append({"decision": item.decision, "case": item.hypothesis or item.pair_id, "why": why})
    return pd.DataFrame(rows)
