"""The policy of a finished report, as the log of its own decisions holds it, and what new cases are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.artifacts import StaleResultError, content_hash
from verdict.base.labels import Split
from verdict.base.params import AnswersParams, load_params
from verdict.data.own.answers import LEAST_WORTH, LOG_PROBS, LOGITS
from verdict.decide.foreign import one_of_each, stream_signals
from verdict.decide.log.log import Item, read_log
from verdict.decide.signals import distance_confidence
from verdict.model.predict import logits_of
from verdict.model.selection import Selection, load_selection
from verdict.stats.scores import softmax
from verdict.workflow import stages
from verdict.workflow.integrity import damage
from verdict.workflow.stage import Stage, open_stage
from verdict.workflow.stage_parameters import resolved

POLICY, LOG = "08_policy", "audit.jsonl"


@dataclass(frozen=True)
class Stored:
    """The policy of a finished report: `head` is an item of its log, which holds thresholds, temperature and signals.

    `names`: names of the model that the policy was tuned for; `known`: the watched signals of calib, one row a group;
    `distances` (m,), or None: distances of val and calib from train; `how`: names and forms of answers; `worth` (K,),
    or None: logits that stand for bare answers, where the policy was tuned on such answers alone; `form`: in which the
    answers were that it was tuned on.
    """

    head: Item
    names: tuple[str, ...]
    known: Mapping[str, np.ndarray]
    distances: np.ndarray | None
    how: AnswersParams
    worth: np.ndarray | None = None
    form: str = LOGITS


def load_stored(profile: str) -> Stored:
    """The stored policy of a profile's report.

    FileNotFoundError without one; StaleResultError, ValueError where its files or the parameters were changed since.
    """
    params = load_params(profile)
    source = stages.CLIP if params.data.source == stages.CLIP else stages.MODEL
    stage = open_stage(POLICY, profile, source=source)
    home = stages.folder(profile, stage.name)
    refuse_damaged(home, profile)
    head = next(read_log(home / LOG))
    if isinstance(head, str):
        raise ValueError(f"{home / LOG} is of another version ({head}); make the report again")
    if head.params_hash != content_hash(resolved(params, stage.name)):
        raise ValueError(f"the parameters of {profile} were changed since its policy was tuned; make the report again")
    return stored_of(stage, head, load_selection(stage))


def refuse_damaged(home: Path, profile: str) -> None:
    """FileNotFoundError, StaleResultError where a stage's result is missing, changed, or made from what is no more."""
    try:
        cause = damage(home)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; make the report first: make report PROFILE={profile}") from None
    if cause:
        raise StaleResultError(f"{cause}; make the report again: make report PROFILE={profile}")


def stored_of(stage: Stage, head: Item, kept: Selection) -> Stored:
    """The policy that an item was decided by, with what the stage knows of the pairs that it was tuned on."""
    calib = stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    distances = foreign = None
    if head.foreign is not None:
        of_pairs = stage.answers(stages.DISTANCES, Split.VAL, Split.CALIB).set_index("pair_id")["distance"]
        distances, m = of_pairs.to_numpy(), len(of_pairs)
        # A row of calib is one of those that it is compared with, unlike a new one: it is taken out of its count.
        with_itself = distance_confidence(of_pairs.loc[calib["pair_id"]].to_numpy(), distances)
        foreign = (with_itself * (m + 1) - 1) / m
    logits = logits_of(calib)
    rows = one_of_each(calib["group_id"], calib["pair_id"])
    known = {name: column[rows] for name, column in stream_signals(softmax(logits / head.temperature), foreign).items()}
    data = stage.all_params.data
    how = data.answers.model_copy(update={"allow_small": data.answers.allow_small or data.recorded.allow_small})
    names = (*how.models[:1], *filter(None, (how.model.hub,)), kept.trial, head.model_hash)
    # Bare answers have no more distinct rows of logits than there are classes.
    distinct = np.unique(logits, axis=0)
    worth = np.maximum(distinct.max(axis=0), LEAST_WORTH) if len(distinct) <= distinct.shape[1] else None
    return Stored(head, names, known, distances, how, worth, _form_read(stage, how))


def _form_read(stage: Stage, how: AnswersParams) -> str:
    """The form of the answers that calibrated: as the page on them found it, or that of this report's own models."""
    if stage.given != stages.RECORDED:
        return LOGITS
    if how.model.hub:
        return LOG_PROBS
    # The first file is the only one, or that of val, which calibrates.
    return str(pd.read_parquet(stage.upstream(stages.RECORDED, "files.parquet"))["form"].iloc[0])
