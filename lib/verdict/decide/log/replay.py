"""Decide every logged item again from its own logits, temperature, signals and thresholds, and compare."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from verdict.base.artifacts import sha256_file
from verdict.data.pairs import make_pair_id
from verdict.decide.log.log import Item, read_log
from verdict.decide.policy import Decision, Forced, decide, force
from verdict.decide.signals import of_one_answer, score_of
from verdict.stats.scores import softmax, top_class

TOLERANCE = 1e-9
_BATCH = 1024
_KEPT = 20
_MADE_ID = re.compile("[0-9a-f]{16}")
_OF_THIS_ID = "the sentence of this id (an id of one's own among made ones cannot be told from an edited sentence)"


@dataclass(frozen=True)
class Difference:
    """A field whose logged value does not follow from the rest of its item."""

    line: int
    pair_id: str
    field: str
    logged: str
    expected: str


@dataclass(frozen=True)
class Replay:
    """Result of a replay: lines read, differences found (the first of them kept), and the hash of the file."""

    n_items: int
    n_differences: int
    first: Sequence[Difference]
    sha256: str

    @property
    def is_identical(self) -> bool:
        """Whether every decision and everything that leads to it was found as logged."""
        return self.n_differences == 0

    @property
    def text(self) -> str:
        """The result in words, a difference a line."""
        if self.is_identical:
            return f"identical: {self.n_items} items decided again, no difference (SHA-256 {self.sha256[:16]})"
        lines = [f"different: {self.n_differences} differences in {self.n_items} items"]
        for found in self.first:
            what = f"{found.field} is {found.logged}, expected {found.expected}"
            lines.append(f"line {found.line}, pair {found.pair_id}: {what}")
        if self.n_differences > len(self.first):
            lines.append(f"and {self.n_differences - len(self.first)} more")
        return "\n".join(lines)


@dataclass
class _Seen:
    """What is known only of a whole log. `lines`: the line of each pair; `costs`: first line, pair and number of the
    items of each cost, by decision, truth and answer; `ids`: how many ids of a sentence are made of it, or are not;
    `others`: the first of those that are not.
    """

    lines: dict[str, int] = field(default_factory=dict)
    policy: tuple[object, ...] | None = None
    costs: dict[Any, dict[float | None, list[Any]]] = field(default_factory=dict)
    ids: Counter[bool] = field(default_factory=Counter)
    others: list[Difference] = field(default_factory=list)


def replay_log(path: Path, *, sha256: str = "") -> Replay:
    """Replay a log in bounded memory.

    Probabilities and scores are recomputed, and signals and sets from the recomputed probabilities; numbers may differ
    from the logged ones by 1e-9; sets, gate, decision and answers must be equal, all items of one policy, costs alike
    where decision, truth and answer are. Where the id of some item follows from its image and sentence, all of 16
    hexadecimal digits of items with a sentence must. The file must have the hash that was recorded of it, where one is
    given. ValueError for an empty log.
    """
    digest = sha256_file(path)
    first = [] if sha256 in ("", digest) else [Difference(0, "?", "SHA-256 of the file", digest, sha256)]
    n_items, n_differences = 0, len(first)
    seen = _Seen()
    lines = enumerate(read_log(path), start=1)
    while batch := list(islice(lines, _BATCH)):
        n_items += len(batch)
        for difference in (*_line_differences(batch, seen), *_item_differences(batch)):
            n_differences += 1
            if len(first) < _KEPT:
                first.append(difference)
    if n_items == 0:
        raise ValueError(f"{path} is empty: there is nothing to replay")
    if seen.ids[True]:
        n_differences += seen.ids[False]
        first += seen.others
    for by_cost in seen.costs.values():
        usual = max(by_cost, key=lambda cost: by_cost[cost][2])
        for cost, (number, pair_id, n) in by_cost.items():
            if cost != usual:
                n_differences += n
                first.append(Difference(number, pair_id, "cost", str(cost), str(usual)))
    return Replay(n_items, n_differences, sorted(first, key=lambda difference: difference.line)[:_KEPT], digest)


def _line_differences(batch: list[tuple[int, Item | str]], seen: _Seen) -> Iterator[Difference]:
    """What is wrong with the lines themselves: unreadable, repeated, or of another policy; `seen` gets the rest."""
    for number, item in batch:
        if isinstance(item, str):
            yield Difference(number, "?", "item", "unreadable", item)
            continue
        if seen.lines.setdefault(item.pair_id, number) != number:
            yield Difference(number, item.pair_id, "pair_id", "repeated", "each pair once")
        seen.policy = seen.policy or item.policy
        if seen.policy != item.policy:
            yield Difference(number, item.pair_id, "policy", "another", "that of the first line")
        if item.hypothesis is not None and _MADE_ID.fullmatch(item.pair_id):
            is_made = make_pair_id(item.image_id, item.hypothesis) == item.pair_id
            seen.ids[is_made] += 1
            if not is_made and len(seen.others) < _KEPT:
                seen.others.append(Difference(number, item.pair_id, "hypothesis", item.hypothesis, _OF_THIS_ID))
        by_cost = seen.costs.setdefault((item.decision, item.true_answer, item.final_answer), {})
        by_cost.setdefault(item.cost, [number, item.pair_id, 0])[2] += 1


def _item_differences(batch: list[tuple[int, Item | str]]) -> Iterator[Difference]:
    """Fields that do not follow from the logged inputs; neighbours with one policy are recomputed together."""
    readable = [(number, item) for number, item in batch if isinstance(item, Item)]
    for _, group in groupby(readable, key=lambda line: _decided_by(line[1])):
        lines = list(group)
        for name, logged, expected in _recomputed([item for _, item in lines]):
            if isinstance(logged, np.ndarray):
                # A NaN is close to nothing.
                is_same = np.isclose(logged, expected, rtol=0, atol=TOLERANCE).reshape(len(lines), -1).all(axis=1)
            else:
                is_same = np.array([value == wanted for value, wanted in zip(logged, expected, strict=True)])
            for row in np.flatnonzero(~is_same):
                number, item = lines[row]
                yield Difference(number, item.pair_id, name, str(logged[row]), str(expected[row]))


def _decided_by(item: Item) -> tuple[Any, ...]:
    limits = item.thresholds
    fixed = (limits.policy, limits.qhat, limits.is_batch_foreign, tuple(item.classes), item.temperature)
    return *fixed, tuple(item.signals), item.consistency is None, item.foreign is None


def _recomputed(items: list[Item]) -> Iterator[tuple[str, Any, Any]]:
    """Field, logged values and recomputed values; what follows from a recomputed value follows from the logged one."""
    head, limits = items[0], items[0].thresholds

    def logged(name: str) -> Any:
        return None if getattr(head, name) is None else np.array([getattr(item, name) for item in items])

    signals = {name: np.array([item.signals[name] for item in items]) for name in head.signals}
    members, score, logits = [item.conformal_set for item in items], logged("score"), logged("logits")
    sets = np.array([[name in own for name in head.classes] for own in members])
    # Damaged logits or temperatures may be too large or small to say anything; the signals are then those of no answer.
    with np.errstate(over="ignore", invalid="ignore"):
        probs = softmax(logits / head.temperature)
    usable = np.where(np.isfinite(probs).all(axis=1, keepdims=True), probs, 1 / probs.shape[1])
    # On the boundary of {k : 1 - p_k <= qhat} the last bit decides; without a quantile the logged set stands.
    gap = 1 - probs - (math.nan if limits.qhat is None else limits.qhat)
    expected_sets = np.where(np.abs(gap) > TOLERANCE, gap < 0, sets)
    is_empty = np.array([not own for own in members])
    gate = {"foreign": logged("foreign"), "tau_pair": limits.tau_pair, "is_batch_foreign": limits.is_batch_foreign}
    forced = force(signals, is_empty, tau_critical=limits.tau_critical, **gate)
    yield "probs", logged("probs"), probs
    of_signals = of_one_answer(usable, sets)
    yield from ((f"signals.{name}", signals[name], of_signals[name]) for name in of_signals if name in signals)
    yield "score", score, score_of(limits.score_name, signals, logged("consistency"))
    equal = {
        "set_size": list(map(len, members)),
        "conformal_set": [
            [name for name, is_in in zip(head.classes, own, strict=True) if is_in] for own in expected_sets
        ],
        "forced_by": [Forced(code).text for code in forced],
        "decision": [Decision(code).text for code in decide(score, limits.policy, forced=forced)],
        "model_answer": [head.classes[k] for k in top_class(logits)],
        "final_answer": [_final_answer(item) for item in items],
    }
    yield from ((name, [getattr(item, name) for item in items], expected) for name, expected in equal.items())
    asked = (Decision.CLARIFY, Decision.HUMAN)
    yield (
        "clarification, human_answer",
        [(item.clarification is not None, item.human_answer is not None) for item in items],
        [tuple(item.decision == one.text and item.final_answer is not None for one in asked) for item in items],
    )
    # The truth and the person's answer, where they are logged, are classes.
    named = [{item.true_answer, item.human_answer} <= {None, *item.classes} for item in items]
    yield "true_answer, human_answer", named, [True] * len(items)


def _final_answer(item: Item) -> str | None:
    if item.decision == Decision.HUMAN.text:
        return item.human_answer
    if item.decision == Decision.CLARIFY.text:
        return item.clarification and item.classes[top_class(item.clarification.posterior)]
    return item.model_answer
