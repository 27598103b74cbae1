"""Command line of the benches."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verdict import artifacts
from verdict.audit import bench as audit_bench
from verdict.backend import has_gpu, set_threads
from verdict.bench import gpu, memory, scale, watch
from verdict.bench.compare import compare
from verdict.bench.limits import measure_machine
from verdict.bench.records import FOLDER, provenance, save
from verdict.bench.subjects import Subject, full_size_subject, tiny_subject
from verdict.model import FreezePlan
from verdict.params import load_params

FROZEN, TWO_TEXT, THREE_TEXT = FreezePlan(0, 0), FreezePlan(0, 2), FreezePlan(0, 3)


def say(text: str) -> None:
    """Print a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def _compared(subject: Subject, folder: Path, courses: list[dict[str, Any]]) -> dict[str, Any]:
    machine = measure_machine()
    say(f"{subject.name}: at best {machine.flops_per_s / 1e9:.0f} GFLOP/s and {machine.bytes_per_s / 1e9:.1f} GB/s")
    results = [
        compare(subject, machine=machine, folder=folder / str(number), progress=say, **course)
        for number, course in enumerate(courses)
    ]
    return {"machine": {"flops_per_s": machine.flops_per_s, "bytes_per_s": machine.bytes_per_s}, "results": results}


def tiny(chosen: argparse.Namespace) -> dict[str, Any]:
    """The default profile's encoders: the same epochs by both loops, the cache's filling included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = tiny_subject(load_params("digits"), folder, n_pairs=chosen.pairs, n_val=chosen.pairs // 10)
        plans = ((FROZEN, chosen.epochs or 5), (TWO_TEXT, chosen.epochs or 6))
        courses = [{"plan": plan, "epochs": epochs, "rounds": chosen.rounds} for plan, epochs in plans]
        return _compared(subject, folder, courses)


def full_size(chosen: argparse.Namespace) -> dict[str, Any]:
    """ViT-B/16 and DistilBERT base with random weights: each epoch after our first one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"n_images": chosen.images, "n_pairs": 2 * chosen.images, "n_val": max(4, chosen.images // 8)}
        subject = full_size_subject(load_params("digits"), folder, **sizes)
        course = {"epochs": 1 + chosen.rounds, "rounds": 1, "first": 2}
        return _compared(subject, folder, [{"plan": plan, **course} for plan in (FROZEN, THREE_TEXT)])


def grown(chosen: argparse.Namespace) -> dict[str, Any]:
    """Peak memory with some pairs and with ten times as many."""
    say(f"memory: {chosen.pairs} pairs, then {10 * chosen.pairs}, each in a process of its own")
    return {"results": memory.growth(chosen.pairs)}


def audited(chosen: argparse.Namespace) -> dict[str, Any]:
    """Items a second of the audit log, written and replayed, and its peak memory."""
    say(f"audit: {chosen.items:,} simulated decisions are written and replayed in a process of its own")
    return {"results": asdict(audit_bench.bench(chosen.items))}


def on_gpu(chosen: argparse.Namespace) -> dict[str, Any]:
    """The whole published schedule at full size."""
    if not has_gpu():
        say("no CUDA device is visible; nothing was run (this bench is made for a GPU)")
        raise SystemExit(2)
    return {"results": gpu.measure(gpu.default_setting(), limit_s=chosen.limit, progress=say)}


def scaled(chosen: argparse.Namespace) -> dict[str, Any]:
    """The same trials on 1, 2 and 4 workers and on a cluster's nodes; what work costs by pairs, trials and seeds."""
    return scale.bench(chosen.pairs, chosen.trials, chosen.sizes, say)


def watched(chosen: argparse.Namespace) -> dict[str, Any]:
    """From the saving of prose to its new page, with the process of `make watch`; needs the profile's report."""
    say(f"watch: {chosen.rounds} edits of {', '.join(chosen.notebooks)}, in a copy")
    return {"profile": chosen.profile, "results": watch.measure(chosen.profile, chosen.notebooks, chosen.rounds)}


BENCHES = {
    "scale": scaled,
    "tiny": tiny,
    "full_size": full_size,
    "memory": grown,
    "audit": audited,
    "watch": watched,
    "gpu": on_gpu,
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m verdict.bench",
        description="Measure speed and memory; without a name, all that one machine can run.",
    )
    benches = parser.add_subparsers(dest="bench", metavar="NAME")
    for name, work in BENCHES.items():
        bench = benches.add_parser(name, help=work.__doc__, description=work.__doc__)
        bench.add_argument("--out", type=Path, default=FOLDER, help="folder of results (default: reports/benchmarks)")
        threads = 2 if name == "full_size" else 1
        bench.add_argument("--threads", type=int, default=threads, help="of the backend (default: %(default)s)")
        if name in ("tiny", "memory"):
            n = 6000 if name == "tiny" else 4000
            bench.add_argument("--pairs", type=int, default=n, help="training pairs (default: %(default)s)")
        if name == "full_size":
            bench.add_argument("--images", type=int, default=64, help="two pairs each (default: %(default)s)")
        if name in ("tiny", "full_size"):
            bench.add_argument("--rounds", type=int, default=3, help="ratios behind an interval (default: %(default)s)")
        if name == "tiny":
            bench.add_argument("--epochs", type=int, help="of each plan (default: 5 and 6, as published)")
        if name == "memory":
            bench.add_argument("--one", type=int, metavar="PAIRS", help="run once in this process and print JSON")
        if name == "audit":
            n = audit_bench.N_ITEMS
            bench.add_argument("--items", type=int, default=n, help="decisions (default: %(default)s)")
        if name == "watch":
            bench.add_argument("--profile", default="digits", help="whose report (default: %(default)s)")
            bench.add_argument("--notebooks", nargs="+", default=list(watch.NOTEBOOKS), help="stems (default: three)")
            bench.add_argument("--rounds", type=int, default=5, help="edits of each (default: %(default)s)")
        if name == "scale":
            bench.add_argument("--pairs", type=int, default=1024, help="training pairs (default: %(default)s)")
            bench.add_argument(
                "--trials", type=int, default=scale.N_TRIALS, help="of three seeds (default: %(default)s)"
            )
            bench.add_argument(
                "--sizes", type=int, nargs=3, default=list(scale.SIZES), help="training pairs of the model"
            )
        if name == "gpu":
            bench.add_argument(
                "--limit", type=float, default=float("inf"), help="begin no run after so many seconds; start again"
            )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one bench, or all of the CPU."""
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = parse(arguments)
    if chosen.bench is None:
        return max(main([name]) for name in BENCHES if name not in ("gpu", "scale", "watch"))
    if chosen.bench == "memory" and chosen.one:
        print(json.dumps(memory.train_and_predict(chosen.one)))
        return 0
    set_threads(chosen.threads)
    started = time.perf_counter()
    record = BENCHES[chosen.bench](chosen)
    command = " ".join(["python -m verdict.bench", *arguments])
    made = provenance(command, chosen.threads, time.perf_counter() - started)
    save(chosen.bench, {"provenance": made, **record}, chosen.out)
    say(f"{chosen.bench}: done in {made['elapsed_s']:.0f} s, {artifacts.relative(chosen.out / 'README.md')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
