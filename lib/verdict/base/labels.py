"""Labels and splits. Integers that stand for a class appear in this module only.

The ids are those of the published study: entailment = 0, contradiction = 1. The network has one output, the logit z of
CONTRADICTION, and a prediction row is (0, z), so that softmax of the row is (P(entailment), P(contradiction)).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum, StrEnum


class Label(IntEnum):
    """What a sentence is to an image."""

    ENTAILMENT = 0
    CONTRADICTION = 1

    @property
    def text(self) -> str:
        """The label as tables and files write it."""
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Label:
        """Read a label as tables and files write it, in any case and without outer blanks; ValueError for another."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(f"unknown label {text!r}; expected one of {list(class_names())}") from None


class Split(StrEnum):
    """What a pair may be used for; each split has one job."""

    WARMUP_TRAIN = "warmup_train"
    WARMUP_VAL = "warmup_val"
    TRAIN = "train"
    VAL = "val"
    CALIB = "calib"
    TEST = "test"
    INDEPENDENT = "independent"
    INDEPENDENT_HAND = "independent_hand"
    INDEPENDENT_IMAGES = "independent_images"
    INDEPENDENT_SENTENCES = "independent_sentences"

    @classmethod
    def parse(cls, text: str) -> Split:
        """Read a split as files name it, in any case: `dev` and `validation` are val; ValueError for another."""
        name = text.strip().casefold()
        try:
            return cls(OTHER_NAMES.get(name, name))
        except ValueError:
            known = "train, val (or validation, dev), calib, test, and of answers independent"
            raise ValueError(f"unknown split {text!r}; expected one of {known}") from None


OTHER_NAMES = {
    **{"training": Split.TRAIN, "validation": Split.VAL, "valid": Split.VAL, "dev": Split.VAL},
    **{"development": Split.VAL, "calibration": Split.CALIB, "testing": Split.TEST},
}
WARMUP_SPLITS = (Split.WARMUP_TRAIN, Split.WARMUP_VAL)
INDEPENDENT_SPLITS = (Split.INDEPENDENT, Split.INDEPENDENT_HAND)
# Half of a pair is as in the independent set, and half as in test.
HALF_NEW_SPLITS = (Split.INDEPENDENT_IMAGES, Split.INDEPENDENT_SENTENCES)
# How pages call a split that a reader has not met.
SPLIT_WORDS = {"independent": "independent set", "independent_hand": "written by hand"}
SPLIT_WORDS |= {"independent_images": "new images alone", "independent_sentences": "new sentences alone"}
SPLIT_WORDS |= {"warmup_train": "warm-up, train", "warmup_val": "warm-up, val"}
_IDENTIFIER = re.compile(r"[a-z]+\d*(_[a-z]+\d*)+")
EVALUATION_SPLITS = (Split.VAL, Split.CALIB, Split.TEST, *INDEPENDENT_SPLITS, *HALF_NEW_SPLITS)


def in_words(text: object) -> str:
    """A split, or another name with underscores, as pages call it; all other text as it is."""
    text = str(text)
    return SPLIT_WORDS.get(text) or (text.replace("_", " ") if _IDENTIFIER.fullmatch(text) else text)


def class_names() -> tuple[str, ...]:
    """Names of the classes in the order of their ids."""
    return tuple(label.text for label in Label)


def prob_columns() -> tuple[str, ...]:
    """Names of probability columns, in the order of the ids."""
    return tuple(f"prob_{name}" for name in class_names())


def expected_columns(names: Sequence[str] | None = None) -> list[str]:
    """Names of the columns that hold what each class should answer to a question; by default those of entailment."""
    return [f"expected_if_{name}" for name in names or class_names()]


def logit_columns(n_classes: int) -> list[str]:
    """Names of the logit columns of a prediction table."""
    return [f"logit_{k}" for k in range(n_classes)]


def vote_columns(names: Sequence[str]) -> list[str]:
    """Names of the columns that count people's answers, in the order of the classes."""
    return [f"votes_{name}" for name in names]
