"""Scoring what a vision-language assistant answered to multiple-choice questions, elsewhere, in a file.

Nothing is simulated here: without a file there is no result. `verdict.clip.ask` writes such a file with any model that
transformers calls image-text-to-text; so may anything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.data.tables import find_columns, read_table, shown
from verdict.uncertainty import Interval, Resampler, with_bounds

COLUMNS = ("question_id", "answer")
UNREADABLE = -1
MAX_FILE_BYTES = 100_000_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A letter alone: in "A dog" the first word is an article, in "A. dog" and "A" it is a choice.
_LEADING = re.compile(r"^[\s\"'(\[]*([A-Z])(?=[.,:;)\]\"']|\s*$)")
_STATED = re.compile(r"\b(?:answer|option|choice)\s*(?:is|:)?\s*[\"'(\[]*([A-Z])(?=[\s.,:;)\]\"']|$)", re.IGNORECASE)


def question(choices: Sequence[str], subject: str = "What does the picture show?") -> str:
    """A multiple-choice question as text, with lettered choices and the way in which to answer.

    Raises
    ------
    ValueError
        For fewer than two choices or more than there are letters.
    """
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"a question has 2 to {len(LETTERS)} choices, got {len(choices)}")
    lettered = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{subject}\n{lettered}\nAnswer with the letter of the right choice only."


def chosen(answer: str, choices: Sequence[str]) -> int:
    """Index of the choice that an answer names, or `UNREADABLE`.

    An answer names a choice by a letter alone or with a stop at its start, by "the answer is" and a letter, or by the
    words of exactly one choice; in this order.
    """
    for pattern in (_LEADING, _STATED):
        found = pattern.search(answer)
        if found and (place := LETTERS.index(found.group(1).upper())) < len(choices):
            return place
    said = [k for k, choice in enumerate(choices) if re.search(rf"\b{re.escape(choice)}\b", answer, re.IGNORECASE)]
    return said[0] if len(said) == 1 else UNREADABLE


def read_answers(path: Path, questions: pd.DataFrame) -> pd.Series:
    """Read an answer file, a table (see `verdict.data.tables`) of `question_id` and `answer`.

    Parameters
    ----------
    path : Path
        The file.
    questions : DataFrame
        Column `question_id` (text): what was asked.

    Returns
    -------
    Series of str
        One answer a question, in the order of the questions.

    Raises
    ------
    ValueError
        If a field is missing, an answer is no text, a question is answered twice, not at all, or was never asked. The
        message names file and line.
    """
    table = read_table(path, max_bytes=MAX_FILE_BYTES)
    columns = find_columns(table, {name: (name,) for name in COLUMNS}, COLUMNS)
    asked = list(questions["question_id"].astype(str))
    known, found = set(asked), {}
    for line, name, answer in zip(table.lines, *(table.column(columns[name]) for name in COLUMNS), strict=True):
        if name not in known:
            raise ValueError(f"{path}, line {line}: {shown(name)} was never asked; questions are such as {asked[0]!r}")
        if name in found:
            raise ValueError(f"{path}, line {line}: {name!r} is answered twice")
        found[name] = answer
    if missing := [name for name in asked if name not in found]:
        raise ValueError(
            f"{path}: {len(missing)} of {len(asked)} questions have no answer, the first is {missing[0]!r}"
        )
    return pd.Series([found[name] for name in asked], name="answer")


@dataclass(frozen=True)
class Score:
    """What an assistant's answers are worth beside the dual encoder's.

    Attributes
    ----------
    accuracy : Interval
        Right answers; an answer that names no choice is wrong.
    unreadable : Interval
        Share of answers that name no choice.
    encoder_accuracy, difference : Interval
        Accuracy of the dual encoder on the same questions, and the assistant's minus it (paired).
    agreement : Interval
        Share of questions on which both choose the same.
    gain : Interval
        The assistant's accuracy where the encoder is wrong: what it would repair.
    loss : Interval
        The assistant's error rate where the encoder is right: what it would spoil.
    chance : float
        Accuracy of a choice at random.
    chance_of_gain : float
        Accuracy, where the encoder is wrong, of a choice at random among the others.
    n, n_encoder_wrong : int
    """

    accuracy: Interval
    unreadable: Interval
    encoder_accuracy: Interval
    difference: Interval
    agreement: Interval
    gain: Interval
    loss: Interval
    chance: float
    chance_of_gain: float
    n: int
    n_encoder_wrong: int

    def table(self) -> pd.DataFrame:
        """One row an interval: measure, value, value_low, value_high, and what chance would give."""
        by_chance = {"accuracy": self.chance, "gain": self.chance_of_gain}
        rows = [
            {
                "measure": name.replace("_", " "),
                **with_bounds("value", getattr(self, name)),
                "by_chance": by_chance.get(name, np.nan),
            }
            for name in ("accuracy", "unreadable", "encoder_accuracy", "difference", "agreement", "gain", "loss")
        ]
        return pd.DataFrame(rows)


def score(
    choices: ArrayLike, encoder_choices: ArrayLike, truth: ArrayLike, n_choices: ArrayLike, resampler: Resampler
) -> Score:
    """Score an assistant's choices, with intervals over images.

    Parameters
    ----------
    choices, encoder_choices, truth : arrays of int, (n,)
        Index of the choice of the assistant (or `UNREADABLE`), of the dual encoder, and of the right one.
    n_choices : array of int, (n,)
        Choices of each question.
    resampler : Resampler
        Of the questions, by image.
    """
    choices, encoder, truth = (np.asarray(one) for one in (choices, encoder_choices, truth))
    n_choices = np.asarray(n_choices)
    if not choices.shape == encoder.shape == truth.shape == n_choices.shape or choices.ndim != 1 or not len(choices):
        raise ValueError(f"expected one choice a question, got {choices.shape}, {encoder.shape}, {truth.shape}")
    right, encoder_right = choices == truth, encoder == truth

    def mean(values: np.ndarray, chosen: np.ndarray) -> Interval:
        return resampler.of(chosen).mean(values[chosen], span=(0, 1))

    everyone, others = np.ones(len(right), dtype=bool), 1 / (n_choices[~encoder_right] - 1)
    return Score(
        accuracy=mean(right, everyone),
        unreadable=mean(choices == UNREADABLE, everyone),
        encoder_accuracy=mean(encoder_right, everyone),
        difference=resampler.mean(right.astype(float) - encoder_right, span=(-1, 1)),
        agreement=mean(choices == encoder, everyone),
        gain=mean(right, ~encoder_right),
        loss=mean(~right, encoder_right),
        chance=float((1 / n_choices).mean()),
        chance_of_gain=float(others.mean()) if len(others) else float("nan"),
        n=len(right),
        n_encoder_wrong=int((~encoder_right).sum()),
    )
