"""How fast decisions are logged and replayed, and in how much memory: `python -m tests.bench.audit_log N` prints it.

Items are simulated batch by batch and streamed to disk, as those of a service would be; nothing but their ids is kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tests.bench.processes import peak_bytes

from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import run_id, write_log
from verdict.decide.log.replay import replay_log
from verdict.decide.people import ParametricHuman
from verdict.decide.policy import Policy, decide, force
from verdict.decide.questions import Questions, clarify, question_responder
from verdict.decide.signals import (
    CONFORMAL_CONFIDENCE,
    ENTROPY_CONFIDENCE,
    MAX_PROBABILITY,
    composite,
    conformal_confidence,
    entropy_confidence,
    max_probability,
)
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import stream

BATCH = 4096
CLASSES = ("entailment", "contradiction")
TEMPERATURE, QHAT = 1.3, 0.6


def simulated_items(n_items: int, *, batch: int = BATCH) -> Iterator[dict[str, Any]]:
    """Items of simulated decisions, one batch in memory at a time; every branch occurs."""
    for start in range(0, n_items, batch):
        yield from iter_items(_simulated(start, min(batch, n_items - start)))


def measure(n_items: int, folder: Path) -> dict[str, float]:
    """Write and replay a log in this process.

    Returns
    -------
    dict
        n_items; items a second, decided and written, and read, checked and decided again; peak memory of this process,
        everything imported included, and size of the log in MB; n_differences that the replay found.
    """
    path = folder / "audit.jsonl"
    started = time.perf_counter()
    write_log(path, simulated_items(n_items))
    written = time.perf_counter()
    replay = replay_log(path)
    ended = time.perf_counter()
    return {
        "n_items": n_items,
        "write_items_s": n_items / (written - started),
        "replay_items_s": n_items / (ended - written),
        "peak_mb": peak_bytes() / 1e6,
        "log_mb": path.stat().st_size / 1e6,
        "n_differences": replay.n_differences,
    }


def _simulated(start: int, n: int) -> DecidedBatch:
    rng = stream(7, "audit.bench", start)
    ids = [f"{number:016x}" for number in range(start, start + n)]
    logits = np.column_stack([np.zeros(n), rng.normal(0, 3, n)])
    probs = softmax(logits / TEMPERATURE)
    y_true = (rng.random(n) > probs[:, 0]).astype(np.int64)
    sets = 1 - probs <= QHAT
    signals = {
        MAX_PROBABILITY: max_probability(probs),
        ENTROPY_CONFIDENCE: entropy_confidence(probs),
        CONFORMAL_CONFIDENCE: conformal_confidence(sets),
    }
    score, policy = composite(signals), Policy(t_auto=0.7, t_clarify=0.4, tau_critical=0.01)
    forced = force(signals, sets.sum(axis=1) == 0, tau_critical=policy.tau_critical)
    human, questions = ParametricHuman(0.9, n_classes=2, seed=1), Questions.which("which one?", CLASSES)
    likelihood = questions.likelihood([[0.9, 0.1], [0.1, 0.9]])
    return DecidedBatch(
        pair_id=ids,
        image_id=ids,
        group_id=ids,
        split=["test"] * n,
        hypothesis=["there are two red squares above a blue circle"] * n,
        logits=logits,
        probs=probs,
        temperature=TEMPERATURE,
        signals=signals,
        sets=sets,
        score=score,
        forced=forced,
        decision=decide(score, policy, forced=forced),
        policy=policy,
        human=human.answers(ids, y_true),
        classes=CLASSES,
        model_hash="simulated",
        params_hash="simulated",
        run_id=run_id(bench="simulated"),
        qhat=QHAT,
        clarification=clarify(probs, likelihood, question_responder(questions, human, ids, y_true)),
        questions=questions.texts,
        response_names=questions.responses,
        y_true=y_true,
        cost=np.zeros(n),
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(int(sys.argv[1]), Path(name))))
