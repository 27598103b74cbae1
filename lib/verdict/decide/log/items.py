"""From arrays of decided pairs to the items of a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from verdict.decide.policy import Decision, Forced, Policy
from verdict.decide.questions import Clarification
from verdict.stats.scores import top_class

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class DecidedBatch:
    """Decided pairs as arrays, all with n rows.

    `pair_id`, `image_id`, `group_id`, `split` (n,); `logits`, `probs` (n, K): `probs` is the softmax of logits /
    temperature; `signals` (n,): the critical signals that the gate and the score used; `sets` (n, K); `score` (n,);
    `forced`, `decision` (n,): from `force` and `decide`; `human` (n,): the person's answers; logged only where the
    person decided; `classes` (K,); `consistency` (n,); `foreign` (n,), `batch`: p-values of "no stranger", of
    each pair and of all; `promise`: fields of `Promised`; `qhat`: LAC threshold of the conformal sets; `clarification`:
    logged only where the decision is to clarify; needed if that occurs; `questions`: names of the questions by index;
    `response_names`: names of the responses by index, ("no", "yes") or the classes; `y_true` (n,): in evaluation only;
    `cost` (n,): realised cost of the decision.
    """

    pair_id: Sequence[str]
    image_id: Sequence[str]
    group_id: Sequence[str]
    split: Sequence[str]
    logits: np.ndarray
    probs: np.ndarray
    temperature: float
    signals: Mapping[str, np.ndarray]
    sets: np.ndarray
    score: np.ndarray
    forced: np.ndarray
    decision: np.ndarray
    policy: Policy
    human: np.ndarray
    classes: Sequence[str]
    model_hash: str
    params_hash: str
    run_id: str
    hypothesis: Sequence[str] | None = None
    consistency: np.ndarray | None = None
    foreign: np.ndarray | None = None
    batch: float | None = None
    promise: Mapping[str, Any] | None = None
    qhat: float | None = None
    clarification: Clarification | None = None
    questions: Sequence[str] = field(default=())
    response_names: Sequence[str] = field(default=("no", "yes"))
    y_true: np.ndarray | None = None
    cost: np.ndarray | None = None

    def __post_init__(self) -> None:
        per_row = {"pair_id", "image_id", "group_id", "split", "hypothesis", "consistency", "foreign", "y_true", "cost"}
        per_row |= {"logits", "probs", "sets", "score", "forced", "decision", "human"}
        for name in (entry.name for entry in fields(self) if entry.name in per_row):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.pair_id):
                raise ValueError(f"{name} has {len(column)} rows, pair_id has {len(self.pair_id)}")
        if self.clarification is None and np.any(np.asarray(self.decision) == Decision.CLARIFY):
            raise ValueError("some pairs are decided 'clarify', but no clarification was given")

    def __len__(self) -> int:
        return len(self.pair_id)


def iter_items(batch: DecidedBatch) -> Iterator[dict[str, Any]]:
    """The items of a batch, one by one, in its order.

    A log of millions is written from a chain of batches: only one batch is in memory.
    """
    shared = {
        "classes": list(batch.classes),
        "temperature": float(batch.temperature),
        "thresholds": {
            "t_auto": batch.policy.t_auto,
            "t_clarify": batch.policy.t_clarify,
            "tau_critical": batch.policy.tau_critical,
            "qhat": None if batch.qhat is None else float(batch.qhat),
            "tau_pair": batch.policy.tau_pair,
            "tau_batch": batch.policy.tau_batch,
            "batch": batch.batch,
            "promise": None if batch.promise is None else dict(batch.promise),
        },
        "model_hash": batch.model_hash,
        "params_hash": batch.params_hash,
        "run_id": batch.run_id,
    }
    for start in range(0, len(batch), _CHUNK_ROWS):
        yield from _chunk_items(batch, slice(start, start + _CHUNK_ROWS), shared)


def _chunk_items(batch: DecidedBatch, rows: slice, shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    classes = shared["classes"]
    columns = {name: _listed(getattr(batch, name), rows) for name in _PLAIN}
    signals = {name: _listed(signal, rows) for name, signal in batch.signals.items()}
    codes = {name: np.asarray(getattr(batch, name))[rows].tolist() for name in ("decision", "forced", "human")}
    model = top_class(np.asarray(batch.logits)[rows]).tolist()
    sets = np.asarray(batch.sets)[rows].tolist()
    truth = _listed(batch.y_true, rows)
    for row, code in enumerate(codes["decision"]):
        answer = model[row]
        clarification = human = None
        if code == Decision.CLARIFY:
            clarification, answer = _asked(batch, rows.start + row)
        elif code == Decision.HUMAN:
            answer = codes["human"][row]
            human = classes[answer]
        item = {name: None if column is None else column[row] for name, column in columns.items()}
        item["signals"] = {name: signal[row] for name, signal in signals.items()}
        item["conformal_set"] = [name for name, is_in in zip(classes, sets[row], strict=True) if is_in]
        item["set_size"] = len(item["conformal_set"])
        item["decision"], item["forced_by"] = _DECISIONS[code], _REASONS[codes["forced"][row]]
        item["model_answer"], item["final_answer"] = classes[model[row]], classes[answer]
        item["clarification"], item["human_answer"] = clarification, human
        item["true_answer"] = None if truth is None else classes[truth[row]]
        yield item | shared


_DECISIONS = tuple(decision.text for decision in Decision)
_REASONS = tuple(reason.text for reason in Forced)
_PLAIN = (
    *("pair_id", "image_id", "group_id", "split", "hypothesis"),
    *("logits", "probs", "consistency", "foreign", "score", "cost"),
)


def _listed(column: Any, rows: slice) -> list[Any] | None:
    """Rows of a column as plain Python values."""
    return None if column is None else np.asarray(column[rows]).tolist()


def _asked(batch: DecidedBatch, row: int) -> tuple[dict[str, Any], int]:
    clarification = batch.clarification
    record = {
        "questions": [batch.questions[question] for question in clarification.asked[row]],
        "responses": [batch.response_names[response] for response in clarification.responses[row]],
        "posterior": clarification.posterior[row].tolist(),
    }
    return record, int(top_class(clarification.posterior[row]))
