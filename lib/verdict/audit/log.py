"""The log of decisions as a file: one JSON object a pair, checked when written and when read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from verdict.artifacts import content_hash, write_whole

_CHAIN_MARK = b',"chain":"'
_CHAIN_DIGITS = 16
_CHAIN_START = "0" * _CHAIN_DIGITS
_WRITE_BUFFER = 1 << 20
Unit = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Thresholds(_Strict):
    """The policy that decided, and the conformal quantile behind the set (null where the set has no single one)."""

    t_auto: Annotated[float, Field(ge=0)]
    t_clarify: Annotated[float, Field(ge=0)]
    tau_critical: Unit | None
    qhat: float | None


class Asked(_Strict):
    """Questions that were put to a person, the responses, and the probabilities that follow."""

    questions: list[Text]
    responses: list[str]
    posterior: list[Unit]


class Item(_Strict):
    """One decision with everything that it depends on. Integers of classes do not appear: `classes` gives the order."""

    pair_id: Text
    image_id: Text
    group_id: Text
    split: Text
    hypothesis: str | None
    classes: Annotated[list[Text], Field(min_length=2)]
    logits: list[float]
    temperature: Annotated[float, Field(gt=0)]
    probs: list[Unit]
    signals: Annotated[dict[str, Unit], Field(min_length=1)]
    consistency: Unit | None
    conformal_set: list[Text]
    set_size: Annotated[int, Field(ge=0)]
    score: Unit
    thresholds: Thresholds
    decision: Literal["auto", "clarify", "human"]
    forced_by: Literal["empty_set", "critical_signal"] | None
    model_answer: Text
    clarification: Asked | None
    human_answer: Text | None
    final_answer: Text
    true_answer: Text | None
    cost: float | None
    model_hash: Text
    params_hash: Text
    run_id: Text


_VALIDATOR = Item.__pydantic_validator__
_SERIALIZER = Item.__pydantic_serializer__


@dataclass(frozen=True)
class LogSummary:
    """How many items a log holds, and the last value of its chain: kept elsewhere, it shows that no line is missing."""

    n_items: int
    head: str


def run_id(**ingredients: Any) -> str:
    """Name of a run from what went into it; equal ingredients give equal names, and no clock is read."""
    return content_hash(ingredients)


def write_log(path: Path, items: Iterable[Mapping[str, Any]]) -> LogSummary:
    """Write a log as the items come, and show it under its name only when it is whole.

    Parameters
    ----------
    path : Path
    items : iterable of mapping
        Fields of `Item`; a generator keeps memory flat, see `iter_items`.

    Returns
    -------
    LogSummary

    Raises
    ------
    ValueError
        If an item breaks the schema, or a pair comes twice. An older log of this name is then left as it was.
    OSError
        Of a full disk: with the file, the bytes that were written and those that are free.
    """
    return write_whole(path, lambda file: _write_lines(file.write, items), buffering=_WRITE_BUFFER)


def _write_lines(write: Any, items: Iterable[Mapping[str, Any]]) -> LogSummary:
    seen: set[str] = set()
    chain = _CHAIN_START
    for number, fields in enumerate(items, start=1):
        try:
            body = _SERIALIZER.to_json(_VALIDATOR.validate_python(fields))
        except ValueError as error:
            raise ValueError(f"item {number} ({fields.get('pair_id', 'no pair_id')}): {_reason(error)}") from error
        pair_id = fields["pair_id"]
        if pair_id in seen:
            raise ValueError(f"item {number}: pair {pair_id} is already in the log")
        seen.add(pair_id)
        chain = _next_chain(chain, body)
        write(body[:-1] + _CHAIN_MARK + chain.encode() + b'"}\n')
    return LogSummary(len(seen), chain)


def _next_chain(chain: str, body: bytes) -> str:
    return hashlib.sha256(chain.encode() + body).hexdigest()[:_CHAIN_DIGITS]


def _reason(error: ValueError) -> str:
    """First complaint of a validation, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}, got {str(first['input'])[:80]!r}"


@dataclass(frozen=True)
class Line:
    """One line of a log: its number from 1, the item or why it cannot be read, its chain value and whether it holds."""

    number: int
    item: Item | None
    problem: str
    chain: str
    is_chained: bool


def read_log(path: Path) -> Iterator[Line]:
    """Read a log line by line, validating each item and recomputing the chain.

    Raises
    ------
    FileNotFoundError
        If there is no such log.
    """
    chain = _CHAIN_START
    # Binary lines end at \n only; text mode would also be safe, but str.splitlines would cut at U+2028 in a hypothesis.
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            body, mark, tail = raw.rstrip(b"\n").rpartition(_CHAIN_MARK)
            if not mark:
                yield Line(number, None, "the line has no chain value: it was cut or is not of this log", "", False)
                continue
            body += b"}"
            expected = _next_chain(chain, body)
            chain = tail[:_CHAIN_DIGITS].decode("ascii", errors="replace")
            try:
                item, problem = _VALIDATOR.validate_json(body), ""
            except ValueError as error:
                item, problem = None, _reason(error)
            is_chained = expected == chain and tail[_CHAIN_DIGITS:] == b'"}'
            yield Line(number, item, problem, chain, is_chained)


def find_item(path: Path, pair_id: str) -> Item:
    """The item of one pair.

    Raises
    ------
    KeyError
        If the log does not hold it.
    ValueError
        If its line is damaged.
    """
    wanted = json.dumps(pair_id, ensure_ascii=False).encode()
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.startswith(b'{"pair_id":' + wanted):
                continue
            body = raw.rstrip(b"\n").rpartition(_CHAIN_MARK)[0] + b"}"
            try:
                return _VALIDATOR.validate_json(body)
            except ValueError as error:
                raise ValueError(f"line {number} of {path} is damaged: {_reason(error)}") from error
    raise KeyError(f"{path} holds no pair {pair_id!r}")
