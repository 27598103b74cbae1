"""Scoring what a vision-language assistant answered to multiple-choice questions, elsewhere, in a file.

Nothing is simulated here: without a file there is no result. `verdict.clip.encoder.ask` writes such a file with any
model that transformers calls image-text-to-text; so may anything else.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base.files.tables import find_columns, read_table
from verdict.base.refusals import shown
from verdict.stats.uncertainty import Resampler, with_bounds

COLUMNS = ("question_id", "answer")
UNREADABLE = -1
MAX_FILE_BYTES = 100_000_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A letter alone: in "A dog" the first word is an article, in "A. dog" and "A" it is a choice.
_LEADING = re.compile(r"^[\s\"'(\[]*([A-Z])(?=[.,:;)\]\"']|\s*$)")
_STATED = re.compile(r"\b(?:answer|option|choice)\s*(?:is|:)?\s*[\"'(\[]*([A-Z])(?=[\s.,:;)\]\"']|$)", re.IGNORECASE)


def question(choices: Sequence[str], subject: str = "What does the picture show?") -> str:
    """A multiple-choice question as text, with 2 to 26 lettered choices and the way in which to answer."""
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
    """Answers of a file, a table (`verdict.base.files.tables`) of `question_id` and `answer`, in the questions' order.

    A missing field, an answer that is no text, a question answered twice, not at all, or never asked: a ValueError
    names file and line.
    """
    table = read_table(path, max_bytes=MAX_FILE_BYTES)
    columns = find_columns(table, {name: (name,) for name in COLUMNS}, COLUMNS)
    asked, found = dict.fromkeys(questions["question_id"].astype(str)), {}
    for line, name, answer in zip(table.lines, *(table.column(columns[name]) for name in COLUMNS), strict=True):
        if name not in asked:
            example = next(iter(asked))
            raise ValueError(f"{path}, line {line}: {shown(name)} was never asked; questions are such as {example!r}")
        if name in found:
            raise ValueError(f"{path}, line {line}: {name!r} is answered twice")
        found[name] = answer
    if missing := [name for name in asked if name not in found]:
        told = f"{len(missing)} of {len(asked)} questions have no answer, the first is {missing[0]!r}"
        raise ValueError(f"{path}: {told}")
    return pd.Series([found[name] for name in asked], name="answer")


def score(
    choices: ArrayLike, encoder_choices: ArrayLike, truth: ArrayLike, n_choices: ArrayLike, resampler: Resampler
) -> pd.DataFrame:
    """What an assistant's choices are worth beside the dual encoder's, with intervals over images.

    Choices are indices (n,), the assistant's may be `UNREADABLE`; `n_choices` (n,) counts those of each question. Rows:
    measure, value, value_low, value_high, by_chance (of a choice at random): accuracy (wrong where no choice is named),
    unreadable, encoder accuracy, difference (the assistant's accuracy minus it, paired), agreement, gain (the
    assistant's accuracy where the encoder is wrong, by chance among the others), and loss (its error rate elsewhere).
    """
    choices, encoder, truth, n_choices = (np.asarray(one) for one in (choices, encoder_choices, truth, n_choices))
    right, encoder_right = choices == truth, encoder == truth
    is_wrong, rows = ~encoder_right, []
    for name, values, of, chance in (
        ("accuracy", right, None, 1 / n_choices),
        ("unreadable", choices == UNREADABLE, None, None),
        ("encoder accuracy", encoder_right, None, None),
        ("difference", right.astype(float) - encoder_right, None, None),
        ("agreement", choices == encoder, None, None),
        ("gain", right, is_wrong, 1 / (n_choices[is_wrong] - 1)),
        ("loss", ~right, encoder_right, None),
    ):
        asked = np.ones(len(right), dtype=bool) if of is None else of
        found = resampler.of(asked).mean(values[asked], span=(-1 if name == "difference" else 0, 1))
        by_chance = float("nan") if chance is None or not len(chance) else float(chance.mean())
        rows.append({"measure": name, **with_bounds("value", found), "by_chance": by_chance})
    return pd.DataFrame(rows)
