"""From arrays of decided pairs to the items of a log."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from verdict.decide.policy import Decision, Forced, Policy
from verdict.decide.questions import Clarification
from verdict.stats.scores import top_class

_PER_PAIR = (
    *("pair_id", "image_id", "group_id", "split", "hypothesis", "date", "image_sha256"),
    *("logits", "probs", "consistency", "foreign", "score", "cost"),
)


@dataclass(frozen=True, kw_only=True)
class DecidedBatch:
    """Decided pairs as arrays, all with n rows.

    `pair_id`, `image_id`, `group_id`, `split`, `hypothesis`, `date`, `image_sha256` (n,); `logits`, `probs` (n, K):
    `probs` is the softmax of logits / temperature; `signals` (n,): the critical signals that the gate and the score
    used; `sets` (n, K); `score` (n,); `forced`, `decision` (n,): from `force` and `decide`; `classes` (K,);
    `consistency` (n,); `foreign` (n,), `batch`: p-values of "no stranger", of each pair and of all, or (n,) of all up
    to each; `promise`: fields of `Promised`; `qhat`: LAC threshold of the conformal sets. New cases lack the rest:
    `human` (n,): the person's answers; logged only where the person decided; `clarification`: logged only where the
    decision is to clarify; `questions`: names of the questions by index; `response_names`: names of the responses by
    index, ("no", "yes") or the classes; `y_true` (n,); `cost` (n,): realised cost of the decision.
    """

    pair_id: Sequence[str]
    image_id: Sequence[str]
    group_id: Sequence[str]
    split: Sequence[str]
    hypothesis: Sequence[str] | None
    date: Sequence[str | None] | None = None
    image_sha256: Sequence[str | None] | None = None
    logits: np.ndarray
    probs: np.ndarray
    temperature: float
    signals: Mapping[str, np.ndarray]
    consistency: np.ndarray | None = None
    foreign: np.ndarray | None = None
    batch: float | np.ndarray | None = None
    promise: Mapping[str, Any] | None = None
    sets: np.ndarray
    qhat: float | None
    score: np.ndarray
    forced: np.ndarray
    decision: np.ndarray
    policy: Policy
    human: np.ndarray | None = None
    clarification: Clarification | None = None
    questions: Sequence[str] = ()
    response_names: Sequence[str] = ()
    classes: Sequence[str]
    y_true: np.ndarray | None = None
    cost: np.ndarray | None = None
    model_hash: str
    params_hash: str
    run_id: str

    def __len__(self) -> int:
        return len(self.pair_id)


def iter_items(batch: DecidedBatch) -> Iterator[dict[str, Any]]:
    """The items of a batch, in its order; a chain of batches writes a log of millions with one batch in memory."""
    classes, model = list(batch.classes), top_class(batch.logits)
    shared = {name: getattr(batch, name) for name in ("temperature", "model_hash", "params_hash", "run_id")}
    thresholds = asdict(batch.policy) | {name: getattr(batch, name) for name in ("qhat", "promise")}
    foreign = np.broadcast_to(np.array(batch.batch, dtype=object), len(batch))
    given = {name: getattr(batch, name) for name in _PER_PAIR}
    # Values of numpy as those of Python.
    columns = {name: np.asarray(column, dtype=object).tolist() for name, column in given.items() if column is not None}
    signals = {name: signal.tolist() for name, signal in batch.signals.items()}
    for row in range(len(batch)):
        decision, asked = Decision(batch.decision[row]), None
        answer = model[row] if decision is Decision.AUTO else None
        if decision is Decision.CLARIFY and batch.human is not None:
            said = batch.clarification
            answer = top_class(said.posterior[row])
            asked = {
                "questions": [batch.questions[question] for question in said.asked[row]],
                "responses": [batch.response_names[response] for response in said.responses[row]],
                "posterior": said.posterior[row].tolist(),
            }
        elif decision is Decision.HUMAN and batch.human is not None:
            answer = batch.human[row]
        final = None if answer is None else classes[answer]
        members = [name for name, is_in in zip(classes, batch.sets[row], strict=True) if is_in]
        yield {
            **dict.fromkeys(_PER_PAIR),
            **{name: column[row] for name, column in columns.items()},
            "signals": {name: signal[row] for name, signal in signals.items()},
            "conformal_set": members,
            "set_size": len(members),
            "decision": decision.text,
            "forced_by": Forced(batch.forced[row]).text,
            "model_answer": classes[model[row]],
            "clarification": asked,
            "human_answer": final if decision is Decision.HUMAN else None,
            "final_answer": final,
            "true_answer": None if batch.y_true is None else classes[batch.y_true[row]],
            "thresholds": {**thresholds, "batch": foreign[row]},
            "classes": classes,
            **shared,
        }
