"""Disturb small reports and compare what they store: `python -m tests.chaos --n 100 --seed 1`."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from tests.bench.records import FOLDER, provenance, save
from tests.chaos.faults import FAULTS, Skipped, leave_disk
from tests.chaos.subject import SUBJECTS, Subject

from verdict.base import artifacts
from verdict.workflow import place
from verdict.workflow.start import tell

VERDICTS = ("as undisturbed", "silent", "lost", "different", "hung", "left running", "skipped")


def draw(n: int, seed: int, wanted: list[str]) -> list[tuple[str, str, int]]:
    """Kind, subject and seed of every disturbance: each kind as often as any other, in a random order."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(n):
        if number % len(wanted) == 0:
            order = rng.permutation(len(wanted))
        kind = wanted[order[number % len(wanted)]]
        subjects = FAULTS[kind][1]
        weights = np.array([3.0, 1.0][: len(subjects)])
        drawn.append((kind, str(rng.choice(subjects, p=weights / weights.sum())), int(rng.integers(2**31))))
    return drawn


def disturb(kind: str, subject: Subject, seed: int, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Make one fault, let the next run complete, and judge what it stores."""
    started = time.monotonic()
    row: dict[str, Any] = {"kind": kind, "seed": seed, "said": "", "what": ""}
    try:
        told = FAULTS[kind][0](subject, np.random.default_rng(seed))
        row["what"] = told.what
        after = subject.run()
        failed = [outcome for outcome in told.disturbed if outcome.status]
        causes = [re.search(told.cause, outcome.said) for outcome in failed]
        row["said"] = _plain("; ".join(found[0].replace("\n", " ") for found in causes if found), subject)[:200]
        is_hung = after.status is None or any(outcome.status is None for outcome in told.disturbed)
        row["verdict"] = _judge(subject, expected, after.status, is_hung=is_hung, is_silent=None in causes)
        if told.left:
            row |= {"verdict": "left running", "tail": _plain("\n".join(told.left), subject)[-2000:]}
        if row["verdict"] in ("lost", "silent", "hung"):
            said = after.said if row["verdict"] != "silent" else failed[causes.index(None)].said
            row["tail"] = _plain(said, subject)[-2000:]
    except Skipped as error:
        row |= {"verdict": "skipped", "what": str(error)}
    finally:
        leave_disk(subject)
        subject.end_all()
    return row | {"elapsed_s": round(time.monotonic() - started, 1)}


def _plain(said: str, subject: Subject) -> str:
    """What a run said, without the places where this machine keeps the copy and its Python."""
    return said.replace(f"{subject.root}/", "").replace(sys.executable, "python")


def _judge(subject: Subject, expected: Mapping[str, Any], status: int | None, *, is_hung: bool, is_silent: bool) -> str:
    if is_hung:
        return "hung"
    if status != 0 or len(subject.results()) != subject.n_records:
        return "lost"
    if subject.numbers() != expected:
        return "different"
    return "silent" if is_silent else "as undisturbed"


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Counts of verdicts by kind, and of all together."""
    named = [(kind, row["verdict"]) for row in rows for kind in (row["kind"], "all")]
    kinds = [*dict.fromkeys(row["kind"] for row in rows), "all"]
    return {kind: {verdict: named.count((kind, verdict)) for verdict in VERDICTS} for kind in kinds}


def run(chosen: argparse.Namespace, folder: Path, keep: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """All disturbances, in lanes beside each other; `keep` gets the record after each."""
    plan = list(enumerate(draw(chosen.n, chosen.seed, chosen.kinds or list(FAULTS)), start=1))
    rows: list[dict[str, Any]] = []
    lock = threading.Lock()

    def work(lane: int) -> None:
        own = plan[lane :: chosen.lanes]
        needed = {name for _, (_, name, _) in own}
        subjects = {name: SUBJECTS[name](folder / f"lane{lane}", cores=chosen.cores) for name in sorted(needed)}
        expected = {name: subject.make_whole(tell) for name, subject in subjects.items()}
        for number, (kind, name, seed) in own:
            row = {"number": number, "subject": name, **disturb(kind, subjects[name], seed, expected[name])}
            with lock:
                rows.append(row)
                rows.sort(key=itemgetter("number"))
                said = f" ({row['said']})" if row["said"] else ""
                line = f"{number:3d} {kind}, {name}: {row['verdict']}  {row['what']}{said}  {row['elapsed_s']:.0f} s"
                tell("\n".join([line, *filter(None, [row.get("tail")])]))
                keep({"wanted": chosen.n, "seed": chosen.seed, "rows": rows, "summary": summary(rows)})

    with ThreadPoolExecutor(chosen.lanes) as pool:
        list(pool.map(work, range(chosen.lanes)))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Command line; 1 where a disturbance did not end as it should."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="disturbances (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is disturbed and when (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=place.n_processors(), help="jobs at a time (default: %(default)s)")
    parser.add_argument("--lanes", type=int, default=1, help="disturbances at a time (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(FAULTS), metavar="KIND", help=f"only: {', '.join(FAULTS)}")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of results (default: reports/benchmarks)")
    chosen = parser.parse_args(arguments)
    started = time.perf_counter()
    # Behind a shell's `&` an interrupt is ignored, and so it would be by everything that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = " ".join(["python -m tests.chaos", *arguments])

    def keep(record: dict[str, Any]) -> None:
        save("chaos", {"provenance": provenance(command, 1, time.perf_counter() - started), **record}, chosen.out)

    with tempfile.TemporaryDirectory(prefix="verdict-chaos-") as name:
        rows = run(chosen, Path(name).resolve(), keep)
    for kind, counts in summary(rows).items():
        tell(f"{kind:26s} " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n))
    tell(artifacts.relative(chosen.out / "README.md"))
    return 0 if all(row["verdict"] in ("as undisturbed", "skipped") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
