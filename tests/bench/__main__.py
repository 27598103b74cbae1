"""Command line of the benches."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import audit_log, decisions, gpu, memory, scale, watch
from tests.bench.compare import compare
from tests.bench.limits import measure_machine
from tests.bench.processes import in_a_process
from tests.bench.records import FOLDER, provenance, save
from tests.bench.subjects import Subject, full_size_subject, tiny_subject

from verdict.base import artifacts
from verdict.base.params import load_params
from verdict.model.backend import has_gpu, set_threads
from verdict.model.network import FreezePlan
from verdict.workflow.start import tell

FROZEN, TWO_TEXT, THREE_TEXT = FreezePlan(0, 0), FreezePlan(0, 2), FreezePlan(0, 3)
ROUNDS = 5


def _compared(subject: Subject, folder: Path, courses: list[dict[str, Any]]) -> dict[str, Any]:
    machine = measure_machine()
    tell(f"{subject.name}: at best {machine.flops_per_s / 1e9:.0f} GFLOP/s and {machine.bytes_per_s / 1e9:.1f} GB/s")
    results = [
        compare(subject, machine=machine, folder=folder / str(number), progress=tell, **course)
        for number, course in enumerate(courses)
    ]
    return {"machine": asdict(machine), "results": results}


def tiny(chosen: argparse.Namespace) -> dict[str, Any]:
    """The default profile's encoders: the same epochs by both loops, the cache's filling included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = tiny_subject(load_params("digits"), folder, n_pairs=chosen.pairs, n_val=chosen.pairs // 10)
        courses = [{"plan": plan, "epochs": epochs, "rounds": ROUNDS} for plan, epochs in ((FROZEN, 5), (TWO_TEXT, 6))]
        return _compared(subject, folder, courses)


def full_size(chosen: argparse.Namespace) -> dict[str, Any]:
    """ViT-B/16 and DistilBERT base with random weights: two epochs by both loops, the cache's filling included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"n_images": chosen.images, "n_pairs": 2 * chosen.images, "n_val": max(4, chosen.images // 8)}
        subject = full_size_subject(load_params("digits"), folder, **sizes)
        courses = [{"plan": plan, "epochs": 2, "rounds": ROUNDS} for plan in (FROZEN, THREE_TEXT)]
        found = _compared(subject, folder, courses)
        # Its labels are drawn by chance.
        return found | {"results": [row | {"macro_f1": None} for row in found["results"]]}


def grown(chosen: argparse.Namespace) -> dict[str, Any]:
    """Peak memory with some pairs and with ten times as many."""
    tell(f"memory: {chosen.pairs} pairs, then {10 * chosen.pairs}, each in a process of its own")
    return {"results": memory.growth(chosen.pairs)}


def audited(chosen: argparse.Namespace) -> dict[str, Any]:
    """Items a second of the audit log, written and replayed, and its peak memory."""
    tell(f"audit: {chosen.items:,} simulated decisions are written and replayed in a process of its own")
    return {"results": in_a_process(audit_log.__name__, chosen.items)}


def decided(chosen: argparse.Namespace) -> dict[str, Any]:
    """Given answers that `make decide` decides a second, and its peak memory, for some and for ten times as many."""
    tell(f"decisions: {chosen.cases:,} cases, then {10 * chosen.cases:,}, by the policy of {decisions.PROFILE}")
    return {"results": [in_a_process(decisions.__name__, n) for n in (chosen.cases, 10 * chosen.cases)]}


def on_gpu(chosen: argparse.Namespace) -> dict[str, Any]:
    """The whole published schedule at full size."""
    if not has_gpu():
        tell("no CUDA device is visible; nothing was run (this bench is made for a GPU)")
        raise SystemExit(2)
    return {"results": gpu.measure(gpu.default_setting(), limit_s=chosen.limit, progress=tell)}


def scaled(chosen: argparse.Namespace) -> dict[str, Any]:
    """The same trials on 1, 2 and 4 workers and on a cluster's nodes; what work costs by pairs, trials and seeds."""
    return scale.bench(chosen.pairs, tell)


def watched(chosen: argparse.Namespace) -> dict[str, Any]:
    """From the saving of prose to its new page, with the process of `make watch`; needs the profile's report."""
    tell(f"watch: {watch.ROUNDS} edits of {', '.join(watch.NOTEBOOKS)}, in a copy")
    return {"profile": chosen.profile, "results": watch.measure(chosen.profile, watch.NOTEBOOKS, watch.ROUNDS)}


# Each with its own option, the option's default and meaning.
BENCHES = {
    "scale": (scaled, "--pairs", 1024, "training pairs of the trials"),
    "tiny": (tiny, "--pairs", 6000, "training pairs"),
    "full_size": (full_size, "--images", 32, "two pairs each"),
    "memory": (grown, "--pairs", 4000, "training pairs"),
    "audit": (audited, "--items", 1_000_000, "decisions"),
    "decisions": (decided, "--cases", 20_000, "cases"),
    "watch": (watched, "--profile", "digits", "whose report"),
    "gpu": (on_gpu, "--limit", float("inf"), "begin no run after so many seconds; start again"),
}
OF_THE_CPU = ("tiny", "full_size", "memory", "audit")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure speed and memory; without a name, all that one machine can run.",
    )
    benches = parser.add_subparsers(dest="bench", metavar="NAME")
    for name, (work, option, default, meaning) in BENCHES.items():
        bench = benches.add_parser(name, help=work.__doc__, description=work.__doc__)
        bench.add_argument("--out", type=Path, default=FOLDER, help="folder of results (default: reports/benchmarks)")
        bench.add_argument(option, type=type(default), default=default, help=f"{meaning} (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one bench, or all of the CPU."""
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = parse(arguments)
    if chosen.bench is None:
        return max(main([name]) for name in OF_THE_CPU)
    threads = 2 if chosen.bench == "full_size" else 1
    set_threads(threads)
    started = time.perf_counter()
    record = BENCHES[chosen.bench][0](chosen)
    command = " ".join(["python -m tests.bench", *arguments])
    made = provenance(command, threads, time.perf_counter() - started)
    save(chosen.bench, {"provenance": made, **record}, chosen.out)
    tell(f"{chosen.bench}: done in {made['elapsed_s']:.0f} s, {artifacts.relative(chosen.out / 'README.md')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
