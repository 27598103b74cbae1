"""The log of decisions as a file: one JSON object a pair, checked when written and when read.

One SHA-256 of the file, kept in the record of the stage that wrote it, shows that no line was changed or is missing.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from verdict.base.artifacts import content_hash, whole_file
from verdict.base.refusals import shown
from verdict.decide.policy import Policy
from verdict.decide.signals import COMPOSITE

N_ALIKE = 3
Unit = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Promised(_Strict):
    """What was promised of automatic answers, and on how much it rests; where it is not kept nothing goes out alone."""

    error: Unit
    confidence: Unit
    error_by_class: dict[str, Unit]
    method: Text
    n_rows: Annotated[int, Field(ge=1)]
    n_groups: Annotated[int, Field(ge=1)]
    is_kept: bool


class Thresholds(_Strict):
    """The policy that decided, and the conformal quantile behind the set (null where the set has no single one).

    `score_name`: "composite", or the signal that is the score; `batch`: p-value of "this batch is no stranger", null
    where none was asked for; so is `promise`.
    """

    t_auto: float
    t_clarify: float
    tau_critical: float | dict[str, float] | None
    tau_pair: Unit | None = None
    tau_batch: Unit | None = None
    score_name: Text = COMPOSITE
    qhat: float | None
    batch: Unit | None = None
    promise: Promised | None = None

    @property
    def policy(self) -> Policy:
        """The same as a policy; ValueError for thresholds that no policy has."""
        return Policy(self.t_auto, self.t_clarify, self.tau_critical, self.tau_pair, self.tau_batch, self.score_name)

    @property
    def is_batch_foreign(self) -> bool:
        """Whether the batch is taken for foreign."""
        return self.batch is not None and self.tau_batch is not None and self.batch <= self.tau_batch

    @model_validator(mode="after")
    def _decide(self) -> Thresholds:
        _ = self.policy
        return self


class Asked(_Strict):
    """Questions that were put to a person, the responses, and the probabilities that follow."""

    questions: list[Text]
    responses: list[str]
    posterior: list[Unit]


class Item(_Strict):
    """One decision with everything that it depends on. Integers of classes do not appear: `classes` gives the order.

    `final_answer` is null while the person who is asked has not answered; `date` is what the case itself says;
    `image_sha256` begins the hash of the picture that was decided on, where it is known.
    """

    pair_id: Text
    image_id: Text
    group_id: Text
    split: Text
    hypothesis: str | None
    date: str | None = None
    image_sha256: Text | None = None
    classes: Annotated[list[Text], Field(min_length=2)]
    logits: list[float]
    temperature: Annotated[float, Field(gt=0)]
    probs: list[Unit]
    signals: Annotated[dict[str, Unit], Field(min_length=1)]
    consistency: Unit | None
    foreign: Unit | None = None
    conformal_set: list[Text]
    set_size: Annotated[int, Field(ge=0)]
    score: Unit
    thresholds: Thresholds
    decision: Literal["auto", "clarify", "human"]
    forced_by: Literal["empty_set", "critical_signal", "foreign", "foreign_batch"] | None
    model_answer: Text
    clarification: Asked | None
    human_answer: Text | None
    final_answer: Text | None
    true_answer: Text | None
    cost: float | None
    model_hash: Text
    params_hash: Text
    run_id: Text

    @model_validator(mode="after")
    def _whole(self) -> Item:
        by_class = [set(self.classes), self.logits, self.probs]
        if self.clarification is not None:
            by_class.append(self.clarification.posterior)
        if any(len(column) != len(self.classes) for column in by_class):
            raise ValueError("expected distinct classes, and logits, probs and posterior of one length with them")
        if self.thresholds.score_name not in (COMPOSITE, *self.signals):
            raise ValueError(f"the score {shown(self.thresholds.score_name)} is no signal of the item")
        return self

    @property
    def policy(self) -> tuple[object, ...]:
        """What decided it: hashes of model and parameters, the run, and all thresholds."""
        limits = self.thresholds.model_copy(update={"batch": None})
        return self.model_hash, self.params_hash, self.run_id, self.temperature, limits


def run_id(**ingredients: Any) -> str:
    """Name of a run from what went into it; equal ingredients give equal names, and no clock is read."""
    return content_hash(ingredients)


def write_log(path: Path, items: Iterable[Mapping[str, Any]]) -> int:
    """Write a log as the items come, and show it under its name only when it is whole; returns how many there are.

    `items` are fields of `Item`; a generator keeps memory flat, see `iter_items`. ValueError if one breaks the schema,
    or a pair comes twice, OSError of a full disk: an older log of this name is then left as it was.
    """
    seen: set[str] = set()
    with whole_file(path, buffering=1 << 20) as file:
        for number, fields in enumerate(items, start=1):
            try:
                line = Item.model_validate(fields).model_dump_json().encode() + b"\n"
            except ValueError as error:
                raise ValueError(f"item {number} ({fields.get('pair_id', 'no pair_id')}): {reason(error)}") from error
            if fields["pair_id"] in seen:
                raise ValueError(f"item {number}: pair {fields['pair_id']} is already in the log")
            seen.add(fields["pair_id"])
            file.write(line)
    return len(seen)


def reason(error: ValueError) -> str:
    """First complaint of a validation, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    # A line of JSON lines is line 1 of its JSON.
    what = first["msg"].replace(" at line 1 column", " at column")
    given = first["input"].decode(errors="replace") if isinstance(first["input"], bytes) else str(first["input"])
    return f"{place}{': ' if place else ''}{what}, got {given[:80]!r}"


def read_log(path: Path) -> Iterator[Item | str]:
    """Read a log line by line: each item, or why it cannot be read."""
    # Binary lines end at \n only; str.splitlines would cut at U+2028 in a hypothesis.
    with Path(path).open("rb") as file:
        for raw in file:
            try:
                yield Item.model_validate_json(raw)
            except ValueError as error:
                yield reason(error)


def find_item(path: Path, pair_id: str) -> Item:
    """The item of one pair, or where none has this id, the only one with this image or sentence.

    KeyError if the log holds none, or several, with the ids of the first of them; ValueError if its line is damaged.
    """
    ids = [json.dumps(pair_id, ensure_ascii=is_ascii).encode() for is_ascii in (False, True)]
    alike: list[Item] = []
    n_alike = 0
    # A tool that has written the lines anew leaves blanks between key and value.
    wanted = re.compile(rb'\{\s*"pair_id":\s*(' + b"|".join(map(re.escape, ids)) + b")")
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if wanted.match(raw):
                try:
                    return Item.model_validate_json(raw)
                except ValueError as error:
                    raise ValueError(f"line {number} of {path} is damaged: {reason(error)}") from error
            if any(text in raw for text in ids):
                with contextlib.suppress(ValueError):
                    item = Item.model_validate_json(raw)
                    if pair_id in (item.image_id, item.hypothesis):
                        n_alike += 1
                        if n_alike <= N_ALIKE:
                            alike.append(item)
    if n_alike == 1:
        return alike[0]
    first = ", ".join(f"PAIR={item.pair_id} ({shown(item.image_id)}, {shown(item.hypothesis)})" for item in alike)
    hint = f"; {n_alike:,} have it as image or sentence, the first are {first}" if alike else ""
    raise KeyError(f"{path} holds no pair {pair_id!r}{hint}")
