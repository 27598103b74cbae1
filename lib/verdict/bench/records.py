"""Results of the benches as JSON, and one page over all of them."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verdict import artifacts, paths
from verdict.backend import keras

FOLDER = paths.REPORTS / "benchmarks"
Found = Mapping[str, Any]


def provenance(command: str, threads: int, elapsed_s: float) -> dict[str, Any]:
    """What was run, when, where and with what."""
    revision, dirty = artifacts.commit()
    info = Path("/proc/cpuinfo")
    said = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in said if line.startswith("model name")]
    processor = named[0] if named else platform.processor() or platform.machine()
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": revision,
        "dirty": dirty,
        "machine": f"{processor}, {os.cpu_count()} cores, {platform.system()}",
        "threads": threads,
        "elapsed_s": round(elapsed_s, 1),
        "backend": keras.backend.backend(),
        "versions": artifacts.package_versions(),
    }


def save(name: str, record: Found, folder: Path = FOLDER) -> None:
    """Write one bench's record, and the page over all that are there."""
    artifacts.write_json(folder / f"{name}.json", record)
    write_page(folder)


def write_page(folder: Path = FOLDER) -> None:
    """Write `README.md` from the records of a folder."""
    blocks = ["# Benchmarks", "Made by `python -m verdict.bench`; not edited by hand. Intervals are 95 %."]
    for name, page in PAGES.items():
        if (folder / f"{name}.json").is_file():
            record = artifacts.read_json(folder / f"{name}.json")
            blocks += [*page(record), _footer(record["provenance"])]
    artifacts.write_text(folder / "README.md", "\n\n".join(blocks) + "\n")


def _footer(made: Found) -> str:
    versions = ", ".join(f"{package} {made['versions'][package]}" for package in ("python", "keras", "torch", "numpy"))
    changed = " (with uncommitted changes)" if made["dirty"] else ""
    return (
        f"`{made['command']}`, {made['date']}, commit {made['commit'][:12]}{changed}, {made['machine']}, "
        f"{made['threads']} thread(s), {made['backend']} backend, {versions}; took {made['elapsed_s']:.0f} s."
    )


def _table(columns: Mapping[str, str], rows: Sequence[Found]) -> str:
    """A Markdown table: the format of each column's cells by its heading."""
    lines = [columns, ["---"] * len(columns), *([form.format_map(row) for form in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plan(row: Found) -> str:
    counts = ((row["vision_blocks"], "image"), (row["text_blocks"], "text"))
    trained = " and ".join(f"{n} {kind} block{'s' if n > 1 else ''}" for n, kind in counts if n)
    return f"{trained} trained" if trained else "encoders frozen"


def _interval(found: Found | None, name: str, form: str) -> str:
    if found is None:
        return "not run"
    value, low, high = (f"{found[key]:{form}}" for key in (name, "low", "high"))
    return value if math.isnan(found["low"]) else f"{value} [{low}, {high}]"


def comparison_page(record: Found) -> list[str]:
    """The two loops of one subject."""
    first, machine = record["results"][0], record["machine"]
    rows = [row | {"plan": _plan(row)} for row in record["results"]]
    times = [row | {"all": _interval(row["whole"], "ratio", ".1f")} for row in rows]
    times = [row | {"each": _interval(row["later"], "ratio", ".1f")} for row in times]
    blocks = [
        f"## Published loop against ours: {first['subject']}",
        f"{first['pairs']['train']} training and {first['pairs']['val']} validation pairs on "
        f"{first['pairs']['images']} JPEG files, batches of {first['batch']}. Ratios are published time over ours.",
        _table(
            {
                "what trains": "{plan}",
                "epochs x rounds": "{epochs} x {rounds}",
                "ratio, all epochs and cache": "{all}",
                "published epoch": "{later[published_s]:.3g} s",
                "our later epoch": "{later[ours_s]:.3g} s",
                "ratio, later epochs": "{each}",
                "of processor time": "{later[ratio_of_processor_time]:.1f}",
                "filling the cache": "{filling_s:.3g} s",
            },
            times,
        ),
    ]
    scores = [
        {"plan": row["plan"], "difference": _interval(row["macro_f1"], "difference", "+.3f"), "f1": row["macro_f1"]}
        for row in rows
        if row["macro_f1"]
    ]
    if scores:
        columns = {"published": "{f1[published]:.3f}", "ours": "{f1[ours]:.3f}", "difference": "{difference}"}
        blocks.append("Macro-F1 on the validation pairs after the last epoch:")
        blocks.append(_table({"what trains": "{plan}"} | columns, scores))
    limits = {
        "what trains": "{plan}",
        "part": "{part}",
        "GFLOP": "{gflop:.3g}",
        "MB": "{mbyte:.3g}",
        "least time": "{limit_s:.2g} s",
        "measured": "{measured_s:.2g} s",
        "share reached": "{share_of_limit:.0%}",
    }
    parts = [
        {"plan": row["plan"], "part": name.replace("_", " ")} | at for row in rows for name, at in row["limits"].items()
    ]
    return [
        *blocks,
        "The physical limit, from the work counted and this machine's measured best "
        f"({machine['flops_per_s'] / 1e9:.0f} GFLOP/s in matrix products, {machine['bytes_per_s'] / 1e9:.1f} GB/s "
        "across memory):",
        _table(limits, parts),
    ]


def memory_page(record: Found) -> list[str]:
    """Growth of memory."""
    found = record["results"]
    keys = ("n_pairs", "before_mib", "peak_mib")
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*(found[key] for key in keys), strict=True)]
    columns = {"pairs": "{n_pairs:,}", "before the features": "{before_mib:.0f} MiB", "peak": "{peak_mib:.0f} MiB"}
    return [
        "## Memory against the number of pairs",
        "The same images and hypotheses, crossed into more pairs: peak resident memory of encoding, one epoch and "
        "prediction, each in a process of its own.",
        _table(columns, rows),
        f"Ten times more pairs: {found['growth']:+.1%}, {found['bytes_per_pair']:.0f} bytes a pair.",
    ]


def audit_page(record: Found) -> list[str]:
    """Speed and memory of the audit log."""
    columns = {
        "items": "{n_items:,}",
        "decided and written a second": "{write_items_s:,.0f}",
        "replayed a second": "{replay_items_s:,.0f}",
        "peak memory": "{peak_mb:.0f} MB",
        "log": "{log_mb:,.0f} MB",
        "replay differs in": "{n_differences:,}",
    }
    about = "Simulated decisions, streamed: decided and written, then read again, checked and decided again."
    return ["## The audit log", about, _table(columns, [record["results"]])]


def watch_page(record: Found) -> list[str]:
    """How soon an edit of prose is a page."""
    columns = {"notebook": "{notebook}", "pages": "{n_pages}", "of together": "{kilobytes:,} kB"}
    columns |= {"median": "{median_s:.2f} s", "slowest": "{max_s:.2f} s"}
    about = f"From saving a text cell to its new pages in the report of {record['profile']}, with `make watch`."
    return ["## From prose to page", about, _table(columns, record["results"])]


def gpu_page(record: Found) -> list[str]:
    """The full-size network on one GPU."""
    found = record["results"]
    prefix, whole = found["prefix"], found["schedule"]
    missing = "" if whole["is_whole"] else " (runs are missing: start it again, and it goes on)"
    columns = {"run": "{name}", "what trains": "{plan}", "training pairs": "{n_train:,.0f}", "epochs": "{epochs:,.0f}"}
    columns |= {"seconds": "{elapsed_s:,.0f}", "pairs/s": "{pairs_per_s:,.0f}"}
    return [
        f"## The published schedule on {found['device']}",
        f"{prefix['n_images']:,} synthetic JPEG files of {prefix['mean_bytes'] / 1000:.0f} kB, {prefix['precision']}: "
        f"{prefix['images_per_s']:,.0f} images/s from file to stored features, {prefix['share_of_peak']:.1%} of the "
        f"measured peak ({prefix['peak_tflops']:.0f} TFLOP/s); decoding alone {prefix['decoded_per_s']:,.0f} images/s, "
        f"the network alone {prefix['network_per_s']:,.0f} images/s ({prefix['network_share_of_peak']:.1%} of peak).",
        _table(columns, [run | {"plan": _plan(run)} for run in found["runs"]]),
        f"Whole schedule, {whole['epochs']} epochs in {whole['n_runs']} runs, features included{missing}: "
        f"{whole['elapsed_s']:.0f} s; published: about {whole['published_s'] / 3600:.0f} h on a T4, "
        f"{whole['published_s'] / whole['elapsed_s']:.0f} times as long.",
    ]


def chaos_page(record: Found) -> list[str]:
    """Disturbed reports."""
    counts = record["summary"]
    columns = {"disturbance": "{kind}"} | {verdict: f"{{{verdict}}}" for verdict in counts["all"]}
    return [
        "## Disturbed reports",
        f"{len(record['rows'])} of {record['wanted']} disturbances from seed {record['seed']}: after each, the next "
        "run either completed with every stored number, claim and prediction as the undisturbed run has them, or it "
        "did not (lost, different, hung); silent: a run failed without naming the cause; left running: something went "
        "on five seconds after the run's first process had ended.",
        _table(columns, [found | {"kind": kind} for kind, found in counts.items()]),
    ]


def scale_page(record: Found) -> list[str]:
    """Workers, and the model of cost."""
    workers, sizes = record["workers"], record["sizes"]
    asked, n_sizes = sizes["asked"], sizes["n_pairs"]
    local = {"workers": "{workers}", "wall": "{wall_s:.0f} s", "speed-up": "{speed_up:.2f}"}
    by_size = {f"{n:,} pairs, measured (model)": f"{{m[{k}]:.1f}} ({{p[{k}]:.1f}})" for k, n in enumerate(n_sizes)}
    parts = [{"part": part, "m": m, "p": sizes["predicted_cpu_s"][part]} for part, m in sizes["measured_cpu_s"].items()]
    search = {"pairs": "{n_pairs:,}", "trials": "{n_trials:,}", "seeds": "{n_seeds:,}"}
    search |= {"measured": "{measured_cpu_s:.0f} s", "model": "{predicted_cpu_s:.0f} s"}
    searches = [one | {"ratio": one["predicted_cpu_s"] / one["measured_cpu_s"]} for one in sizes["searches"]]
    return [
        "## Scaling",
        f"{workers['n_trials']} trials of {workers['n_seeds']} seeds ({workers['n_trials'] * workers['n_seeds']} "
        f"jobs), {workers['n_pairs']:,} training pairs, features at hand. Overhead is a worker's time besides the "
        "jobs' own work, for each job; workers beyond the machine's cores share them.",
        _table(local | {"overhead per job": "{overhead_s:.1f} s"}, workers["local"]),
        _on_slurm(workers),
        f"A run takes {sizes['start_cpu_s']:.1f} processor seconds to start, which its jobs share. Processor seconds "
        "of parts in runs of their own, and what a model says that is linear in pairs, fitted on the first two sizes:",
        _table({"part": "{part}"} | by_size, parts),
        "Whole searches, from data to the last fit:",
        _table(search | {"model over measured": "{ratio:.2f}"}, searches),
        f"On paper, for {asked['n_pairs']:,} pairs and {asked['n_trials']:,} trials of one epoch with this network: "
        f"{asked['once_core_h']:.1f} core hours once for data, features and warm-up, {asked['one_fit_core_h']:.2f} for "
        f"a fit, {asked['search_core_h']:,.0f} for one seed of every trial and "
        f"{asked['search_of_three_seeds_core_h']:,.0f} for three; as many jobs run at once as there are cores. "
        "This is far outside the sizes that were measured.",
    ]


def _on_slurm(workers: Found) -> str:
    found = workers["slurm"]
    if found is None:
        return f"Slurm was not measured: {workers['why_no_slurm']}."
    by_node = ", ".join(f"{node}: {n}" for node, n in found["jobs_by_node"].items())
    told = (
        f"On Slurm ({by_node} jobs): {found['wall_s']:.0f} s, speed-up {found['speed_up']:.2f} against one local "
        f"worker; {found['wall_per_job_s']:.1f} s of wall time a job."
    )
    if found["starting_s"] is None:
        return told
    return (
        f"{told} Scheduling overhead of a job, median: {found['waiting_s']:.0f} s from submission to start, and "
        f"{found['starting_s']:.1f} s within its allocation besides the stage's own work."
    )


def cluster_page(record: Found) -> list[str]:
    """What was checked on a real Slurm."""
    columns = {"check": "{check}", "command": "{command}", "figure": "{figure}"}
    return ["## On a real Slurm", record["about"], _table(columns, record["results"])]


PAGES = {
    "tiny": comparison_page,
    "full_size": comparison_page,
    "memory": memory_page,
    "audit": audit_page,
    "watch": watch_page,
    "scale": scale_page,
    "cluster": cluster_page,
    "gpu": gpu_page,
    "chaos": chaos_page,
}
