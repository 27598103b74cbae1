"""Decide every logged item again from its own logits, temperature, signals and thresholds, and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from verdict.base.artifacts import sha256_file
from verdict.decide.log.log import Item, Line, read_log
from verdict.decide.policy import Decision, Forced, Policy, decide, force
from verdict.decide.signals import (
    CONFORMAL_CONFIDENCE,
    ENTROPY_CONFIDENCE,
    MAX_PROBABILITY,
    composite,
    entropy_confidence,
    max_probability,
)
from verdict.stats.scores import softmax, top_class

TOLERANCE = 1e-9
_BATCH = 1024
_KEPT = 20


@dataclass(frozen=True)
class Difference:
    """A field whose logged value does not follow from the rest of its item."""

    line: int
    pair_id: str
    field: str
    logged: str
    expected: str

    @property
    def text(self) -> str:
        """The difference in one line."""
        return f"line {self.line}, pair {self.pair_id}: {self.field} is {self.logged}, expected {self.expected}"


@dataclass(frozen=True)
class Replay:
    """Result of a replay: lines read, differences found (the first of them kept), and the hash of the file."""

    n_items: int
    n_differences: int
    first: tuple[Difference, ...]
    sha256: str

    @property
    def is_identical(self) -> bool:
        """Whether every decision and everything that leads to it was found as logged."""
        return self.n_differences == 0

    @property
    def text(self) -> str:
        """The result in words."""
        if self.is_identical:
            return f"identical: {self.n_items} items decided again, no difference (SHA-256 {self.sha256[:16]})"
        listed = [difference.text for difference in self.first]
        more = self.n_differences - len(listed)
        rest = [f"and {more} more"] if more else []
        return "\n".join([f"different: {self.n_differences} differences in {self.n_items} items", *listed, *rest])


def replay_log(path: Path, *, sha256: str = "") -> Replay:
    """Replay a log in bounded memory.

    Probabilities, signals that follow from them, and scores are recomputed and may differ from the logged ones by
    1e-9; sets, gate, decision and answers must be equal, and all items of one run. The file must have the hash that was
    recorded of it, where one is given. ValueError for an empty log.
    """
    n_items, n_differences, first, found = 0, 0, [], sha256_file(path)
    if sha256 not in ("", found):
        n_differences, first = 1, [Difference(0, "?", "SHA-256 of the file", found, sha256)]
    seen: set[str] = set()
    run: set[tuple[str, str, str]] = set()
    lines = read_log(path)
    while batch := list(islice(lines, _BATCH)):
        n_items += len(batch)
        for difference in (*_line_differences(batch, seen, run), *_item_differences(batch)):
            n_differences += 1
            if len(first) < _KEPT:
                first.append(difference)
    if n_items == 0:
        raise ValueError(f"{path} is empty: there is nothing to replay")
    return Replay(n_items, n_differences, tuple(sorted(first, key=lambda one: one.line)), found)


def _line_differences(batch: list[Line], seen: set[str], run: set[tuple[str, str, str]]) -> Iterator[Difference]:
    """What is wrong with the lines themselves: unreadable, repeated, or of another run."""
    for line in batch:
        if line.item is None:
            yield Difference(line.number, "?", "item", "unreadable", line.problem)
            continue
        pair_id = line.item.pair_id
        if pair_id in seen:
            yield Difference(line.number, pair_id, "pair_id", "repeated", "each pair once")
        seen.add(pair_id)
        names = (line.item.model_hash, line.item.params_hash, line.item.run_id)
        run.add(names) if not run else None
        if names not in run:
            yield Difference(line.number, pair_id, "run", str(names), str(next(iter(run))))


def _item_differences(batch: list[Line]) -> Iterator[Difference]:
    """What does not follow from the logged inputs; neighbours of one shape are recomputed together."""
    readable = [line for line in batch if line.item is not None]
    for shape, group in groupby(readable, key=lambda line: _shape(line.item)):
        lines = list(group)
        policy = _policy(shape)
        if policy is None:
            yield from (_incoherent(line) for line in lines)
            continue
        for field, logged, expected in _recomputed([line.item for line in lines], policy):
            yield from _unequal(lines, field, logged, expected)


def _unequal(lines: list[Line], field: str, logged: Any, expected: Any) -> Iterator[Difference]:
    if isinstance(logged, np.ndarray):
        # Not `> TOLERANCE`: a NaN must count as different.
        far = ~(np.abs(logged - expected) <= TOLERANCE).reshape(len(lines), -1).all(axis=1)
        rows = np.flatnonzero(far).tolist()
    else:
        rows = [row for row in range(len(lines)) if logged[row] != expected[row]]
    for row in rows:
        line = lines[row]
        yield Difference(line.number, line.item.pair_id, field, str(logged[row]), str(expected[row]))


def _shape(item: Item) -> tuple[Any, ...]:
    limits = item.thresholds
    policy = (limits.t_auto, limits.t_clarify, limits.tau_critical, limits.tau_pair, limits.tau_batch)
    lengths = (len(item.classes), len(item.logits), len(item.probs))
    known = (item.consistency is None, item.foreign is None, limits.batch)
    return lengths, tuple(item.classes), policy, item.temperature, tuple(item.signals), known


def _policy(shape: tuple[Any, ...]) -> Policy | None:
    """The policy of a group of items; None where their shapes or thresholds contradict each other."""
    if len(set(shape[0])) != 1 or len(set(shape[1])) != len(shape[1]):
        return None
    try:
        return Policy(*shape[2])
    except ValueError:
        return None


def _incoherent(line: Line) -> Difference:
    item = line.item
    logged = f"{len(item.classes)} classes, {len(item.logits)} logits, {len(item.probs)} probs, {item.thresholds!r}"
    return Difference(line.number, item.pair_id, "shape", logged, "one length, distinct classes, t_clarify <= t_auto")


def _recomputed(items: list[Item], policy: Policy) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Field, logged values and recomputed values. Each is derived from logged ones, so that one edit is named once."""
    probs, logits = (np.array([getattr(item, name) for item in items]) for name in ("probs", "logits"))
    signals = {name: np.array([item.signals[name] for item in items]) for name in items[0].signals}
    score = np.array([item.score for item in items])
    sizes = [len(item.conformal_set) for item in items]
    is_empty = np.array(sizes) == 0
    consistency = None
    if items[0].consistency is not None:
        consistency = np.array([item.consistency for item in items])
    foreign = None if items[0].foreign is None else np.array([item.foreign for item in items])
    batch = items[0].thresholds.batch
    forced = force(
        signals,
        is_empty,
        tau_critical=policy.tau_critical,
        foreign=foreign,
        tau_pair=policy.tau_pair,
        is_batch_foreign=None not in (batch, policy.tau_batch) and batch <= policy.tau_batch,
    )
    decision = decide(score, policy, forced=forced)

    yield "probs", probs, softmax(logits / items[0].temperature)
    for name, recompute in _SIGNALS_OF_PROBS.items():
        if name in signals:
            yield f"signals.{name}", signals[name], recompute(_normalised(probs))
    if CONFORMAL_CONFIDENCE in signals:
        expected = np.where(is_empty, 0.0, 1 / np.maximum(sizes, 1))
        yield f"signals.{CONFORMAL_CONFIDENCE}", signals[CONFORMAL_CONFIDENCE], expected
    yield "score", score, composite(signals, consistency)
    yield "set_size", [item.set_size for item in items], sizes
    yield "conformal_set", [item.conformal_set for item in items], [_set(item) for item in items]
    yield "forced_by", [item.forced_by for item in items], [Forced(code).text for code in forced]
    yield "decision", [item.decision for item in items], [Decision(code).text for code in decision]
    yield (
        "model_answer",
        [item.model_answer for item in items],
        [items[0].classes[k] for k in top_class(logits)],
    )
    yield "final_answer", [item.final_answer for item in items], [_final_answer(item) for item in items]
    yield (
        "clarification, human_answer",
        [(item.clarification is not None, item.human_answer is not None) for item in items],
        [(item.decision == Decision.CLARIFY.text, item.decision == Decision.HUMAN.text) for item in items],
    )
    # The truth and the person's answer, where they are logged, are classes.
    named = [{item.true_answer, item.human_answer} <= {None, *item.classes} for item in items]
    yield "true_answer, human_answer", named, [True] * len(items)


_SIGNALS_OF_PROBS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    MAX_PROBABILITY: max_probability,
    ENTROPY_CONFIDENCE: entropy_confidence,
}


def _normalised(probs: np.ndarray) -> np.ndarray:
    """Rows that sum to 1 even where the log was edited; that edit is reported by the check of `probs`."""
    total = probs.sum(axis=1, keepdims=True)
    return np.where(total > 0, probs / np.where(total > 0, total, 1.0), 1 / probs.shape[1])


def _set(item: Item) -> list[str]:
    """The LAC set {k : 1 - p_k <= qhat}; without a quantile the logged set, in the order of the classes."""
    logged, qhat = set(item.conformal_set), item.thresholds.qhat
    if qhat is None:
        return [name for name in item.classes if name in logged]
    members = []
    for name, prob in zip(item.classes, item.probs, strict=True):
        gap = 1 - prob - qhat
        # On the boundary the last bit decides, and `1 - p <= q` rounds differently from `p >= 1 - q`.
        if gap < -TOLERANCE or (gap <= TOLERANCE and name in logged):
            members.append(name)
    return members


def _final_answer(item: Item) -> str | None:
    if item.decision == Decision.HUMAN.text:
        return item.human_answer
    if item.decision == Decision.CLARIFY.text:
        asked = item.clarification
        is_whole = asked is not None and len(asked.posterior) == len(item.classes)
        return item.classes[top_class(asked.posterior)] if is_whole else None
    return item.model_answer
