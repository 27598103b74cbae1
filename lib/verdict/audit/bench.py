"""How fast decisions are logged and replayed, and in how much memory: `python -m verdict.audit.bench [N]`.

Items are simulated batch by batch and streamed to disk, as those of a service would be; nothing but their ids is kept.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verdict import paths
from verdict.audit.items import DecidedBatch, iter_items
from verdict.audit.log import run_id, write_log
from verdict.audit.replay import replay_log
from verdict.clarify import Questions, clarify, question_responder
from verdict.humans import ParametricHuman
from verdict.policy import Policy, decide, force
from verdict.scores import softmax
from verdict.signals import (
    CONFORMAL_CONFIDENCE,
    ENTROPY_CONFIDENCE,
    MAX_PROBABILITY,
    composite,
    conformal_confidence,
    entropy_confidence,
    max_probability,
)
from verdict.uncertainty import stream

N_ITEMS = 1_000_000
BATCH = 4096
CLASSES = ("entailment", "contradiction")
TEMPERATURE, QHAT = 1.3, 0.6


@dataclass(frozen=True)
class AuditBench:
    """What was measured.

    Attributes
    ----------
    n_items : int
    write_items_s, replay_items_s : float
        Items a second: decided and written; read, checked and decided again.
    peak_mb : float
        Largest resident memory of the process that did both, everything imported included.
    log_mb : float
        Size of the log.
    n_differences : int
        Found by the replay; 0 says that all decisions are identical.
    """

    n_items: int
    write_items_s: float
    replay_items_s: float
    peak_mb: float
    log_mb: float
    n_differences: int


def bench(n_items: int = N_ITEMS) -> AuditBench:
    """Measure in a process of its own, so that its peak memory is that of the audit alone.

    Raises
    ------
    RuntimeError
        If that process fails; the message holds the end of what it said.
    """
    command = [sys.executable, "-m", "verdict.audit.bench", str(n_items)]
    environment = {**os.environ, "PYTHONPATH": str(paths.LIBRARY.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"the audit could not be measured: {done.stderr[-2000:]}")
    return AuditBench(**json.loads(done.stdout))


def simulated_items(n_items: int, *, batch: int = BATCH) -> Iterator[dict[str, Any]]:
    """Items of simulated decisions, one batch in memory at a time; every branch occurs."""
    for start in range(0, n_items, batch):
        yield from iter_items(_simulated(start, min(batch, n_items - start)))


def measure(n_items: int, folder: Path) -> AuditBench:
    """Write and replay a log in this process."""
    path = folder / "audit.jsonl"
    started = time.perf_counter()
    write_log(path, simulated_items(n_items))
    written = time.perf_counter()
    replay = replay_log(path)
    ended = time.perf_counter()
    return AuditBench(
        n_items,
        n_items / (written - started),
        n_items / (ended - written),
        _peak_mb(),
        path.stat().st_size / 1e6,
        replay.n_differences,
    )


def _peak_mb() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands `ru_maxrss` down from the process that started this one, which may be the larger.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _simulated(start: int, n: int) -> DecidedBatch:
    rng = stream(7, "audit.bench", start)
    ids = [f"{number:016x}" for number in range(start, start + n)]
    logits = np.column_stack([np.zeros(n), rng.normal(0, 3, n)])
    probs = softmax(logits / TEMPERATURE)
    y_true = (rng.random(n) > probs[:, 0]).astype(np.int64)
    sets = 1 - probs <= QHAT
    confidence, is_empty = conformal_confidence(sets)
    signals = {
        MAX_PROBABILITY: max_probability(probs),
        ENTROPY_CONFIDENCE: entropy_confidence(probs),
        CONFORMAL_CONFIDENCE: confidence,
    }
    score, policy = composite(signals), Policy(t_auto=0.7, t_clarify=0.4, tau_critical=0.01)
    forced = force(signals, is_empty, tau_critical=policy.tau_critical)
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


def main(arguments: list[str]) -> int:
    """Command line: prints what was measured as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asdict(measure(int(arguments[0]) if arguments else N_ITEMS, Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
