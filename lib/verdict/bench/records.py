"""Results of the benches as JSON, and one page over all of them."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from verdict import artifacts, paths
from verdict.backend import keras

FOLDER = paths.REPORTS / "benchmarks"
NAMES = ("tiny", "full_size", "memory", "audit", "watch", "scale", "cluster", "gpu", "chaos")


def provenance(command: str, threads: int, elapsed_s: float) -> dict[str, Any]:
    """What was run, when, where and with what."""
    revision, dirty = artifacts.commit()
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": revision,
        "dirty": dirty,
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "threads": threads,
        "elapsed_s": round(elapsed_s, 1),
        "backend": keras.backend.backend(),
        "versions": artifacts.package_versions(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in names if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def save(name: str, record: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write one bench's record, and the page over all that are there."""
    artifacts.write_json(folder / f"{name}.json", record)
    write_page(folder)


def write_page(folder: Path = FOLDER) -> None:
    """Write `README.md` from the records of a folder."""
    records = {
        name: artifacts.read_json(folder / f"{name}.json") for name in NAMES if (folder / f"{name}.json").is_file()
    }
    parts = ["# Benchmarks", "", "Made by `python -m verdict.bench`; not edited by hand. Intervals are 95 %.", ""]
    for name, record in records.items():
        parts += [*_PAGES[name](record), "", _footer(record), ""]
    artifacts.write_text(folder / "README.md", "\n".join(parts))


def _footer(record: dict[str, Any]) -> str:
    made = record["provenance"]
    versions = ", ".join(f"{package} {made['versions'][package]}" for package in ("python", "keras", "torch", "numpy"))
    changed = " (with uncommitted changes)" if made["dirty"] else ""
    return (
        f"`{made['command']}`, {made['date']}, commit {made['commit'][:12]}{changed}, {made['machine']}, "
        f"{made['threads']} thread(s), {made['backend']} backend, {versions}; took {made['elapsed_s']:.0f} s."
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)]


def _plan(row: dict[str, Any]) -> str:
    if not row["vision_blocks"] and not row["text_blocks"]:
        return "encoders frozen"
    counts = ((row["vision_blocks"], "image"), (row["text_blocks"], "text"))
    return " and ".join(f"{n} {kind} block{'s' if n > 1 else ''}" for n, kind in counts if n) + " trained"


def _interval(value: float, low: float, high: float, form: str) -> str:
    return f"{value:{form}}" if low != low else f"{value:{form}} [{low:{form}}, {high:{form}}]"  # noqa: PLR0124


def _ratio(ratio: dict[str, Any] | None) -> str:
    return "not run" if ratio is None else _interval(ratio["ratio"], ratio["low"], ratio["high"], ".1f")


def comparison_page(record: dict[str, Any]) -> list[str]:
    """The two loops of one subject as text and tables."""
    rows, machine = record["results"], record["machine"]
    pairs, first = rows[0]["pairs"], rows[0]
    lines = [
        f"## Published loop against ours: {first['subject']}",
        "",
        f"{pairs['train']} training and {pairs['val']} validation pairs on {pairs['images']} JPEG files, batches of "
        f"{first['batch']}. Ratios are published time over ours.",
        "",
    ]
    speed = [
        [
            _plan(row),
            f"{row['epochs']} x {row['rounds']}",
            _ratio(row["whole"]),
            f"{row['later']['published_s']:.3g} s",
            f"{row['later']['ours_s']:.3g} s",
            _ratio(row["later"]),
            f"{row['later']['ratio_of_processor_time']:.1f}",
            f"{row['filling_s']:.3g} s",
        ]
        for row in rows
    ]
    header = ["what trains", "epochs x rounds", "ratio, all epochs and cache", "published epoch", "our later epoch"]
    lines += _table([*header, "ratio, later epochs", "of processor time", "filling the cache"], speed)
    if any(row["macro_f1"] for row in rows):
        lines += ["", "Macro-F1 on the validation pairs after the last epoch:", ""]
        scores = [[_plan(row), *_scores(row["macro_f1"])] for row in rows if row["macro_f1"]]
        lines += _table(["what trains", "published", "ours", "difference"], scores)
    peak, copied = machine["flops_per_s"] / 1e9, machine["bytes_per_s"] / 1e9
    lines += [
        "",
        f"The physical limit, from the work counted and this machine's measured best ({peak:.0f} GFLOP/s in matrix "
        f"products, {copied:.1f} GB/s across memory):",
        "",
    ]
    limits = [[_plan(row), *_limit(name, at)] for row in rows for name, at in row["limits"].items()]
    return lines + _table(["what trains", "part", "GFLOP", "MB", "least time", "measured", "share reached"], limits)


def _scores(scores: dict[str, float]) -> list[str]:
    difference = _interval(scores["difference"], scores["low"], scores["high"], "+.3f")
    return [f"{scores['published']:.3f}", f"{scores['ours']:.3f}", difference]


def _limit(name: str, at: dict[str, float]) -> list[str]:
    work = [f"{at['gflop']:.3g}", f"{at['mbyte']:.3g}", f"{at['limit_s']:.2g} s"]
    return [name.replace("_", " "), *work, f"{at['measured_s']:.2g} s", f"{at['share_of_limit']:.0%}"]


def memory_page(record: dict[str, Any]) -> list[str]:
    """Growth of memory as text and a table."""
    found = record["results"]
    rows = [
        [f"{n:,}", f"{before:.0f} MiB", f"{peak:.0f} MiB"]
        for n, before, peak in zip(found["n_pairs"], found["before_mib"], found["peak_mib"], strict=True)
    ]
    return [
        "## Memory against the number of pairs",
        "",
        "The same images and hypotheses, crossed into more pairs: peak resident memory of encoding, one epoch and "
        "prediction, each in a process of its own.",
        "",
        *_table(["pairs", "before the features", "peak"], rows),
        "",
        f"Ten times more pairs: {found['growth']:+.1%}, {found['bytes_per_pair']:.0f} bytes a pair.",
    ]


def audit_page(record: dict[str, Any]) -> list[str]:
    """Speed and memory of the audit log as text and a table."""
    found = record["results"]
    row = [
        f"{found['n_items']:,}",
        f"{found['write_items_s']:,.0f}",
        f"{found['replay_items_s']:,.0f}",
        f"{found['peak_mb']:.0f} MB",
        f"{found['log_mb']:,.0f} MB",
        f"{found['n_differences']:,}",
    ]
    header = ["items", "decided and written a second", "replayed a second", "peak memory", "log", "replay differs in"]
    return [
        "## The audit log",
        "",
        "Simulated decisions, streamed: decided and written, then read again, checked and decided again.",
        "",
        *_table(header, [row]),
    ]


def watch_page(record: dict[str, Any]) -> list[str]:
    """How soon an edit of prose is a page, as a table."""
    rows = [
        [row["notebook"], str(row["n_pages"]), f"{row['kilobytes']:,} kB"]
        + [f"{row[key]:.2f} s" for key in ("median_s", "max_s")]
        for row in record["results"]
    ]
    header = ["notebook", "pages", "of together", "median", "slowest"]
    about = f"From saving a text cell to its new pages in the report of {record['profile']}, with `make watch`."
    return ["## From prose to page", "", about, "", *_table(header, rows)]


def gpu_page(record: dict[str, Any]) -> list[str]:
    """The full-size network on one GPU as text and tables."""
    found = record["results"]
    prefix = found["prefix"]
    runs = [
        [run["name"], _plan(run), *(f"{run[key]:,.0f}" for key in ("n_train", "epochs", "elapsed_s", "pairs_per_s"))]
        for run in found["runs"]
    ]
    whole = found["schedule"]
    published = whole["published_s"]
    missing = "" if whole["is_whole"] else " (runs are missing: start it again, and it goes on)"
    return [
        f"## The published schedule on {found['device']}",
        "",
        f"{prefix['n_images']:,} synthetic JPEG files of {prefix['mean_bytes'] / 1000:.0f} kB, {prefix['precision']}: "
        f"{prefix['images_per_s']:,.0f} images/s from file to stored features, {prefix['share_of_peak']:.1%} of the "
        f"measured peak ({prefix['peak_tflops']:.0f} TFLOP/s); decoding alone {prefix['decoded_per_s']:,.0f} images/s, "
        f"the network alone {prefix['network_per_s']:,.0f} images/s ({prefix['network_share_of_peak']:.1%} of peak).",
        "",
        *_table(["run", "what trains", "training pairs", "epochs", "seconds", "pairs/s"], runs),
        "",
        f"Whole schedule, {whole['epochs']} epochs in {whole['n_runs']} runs, features included{missing}: "
        f"{whole['elapsed_s']:.0f} s; published: about {published / 3600:.0f} h on a T4, "
        f"{published / whole['elapsed_s']:.0f} times as long.",
    ]


def chaos_page(record: dict[str, Any]) -> list[str]:
    """Disturbed reports as text and a table."""
    counts = record["summary"]
    verdicts = list(counts["all"])
    rows = [[kind, *(str(found[verdict]) for verdict in verdicts)] for kind, found in counts.items()]
    return [
        "## Disturbed reports",
        "",
        f"{len(record['rows'])} of {record['wanted']} disturbances from seed {record['seed']}: after each, the next "
        "run either completed with every stored number, claim and prediction as the undisturbed run has them, or it "
        "did not (lost, different, hung); silent: a run failed without naming the cause; left running: something went "
        "on five seconds after the run's first process had ended.",
        "",
        *_table(["disturbance", *verdicts], rows),
    ]


def scale_page(record: dict[str, Any]) -> list[str]:
    """Workers, and the model of cost, as text and tables."""
    workers, sizes = record["workers"], record["sizes"]
    n_jobs = workers["n_trials"] * workers["n_seeds"]
    rows = [
        [str(row["workers"]), f"{row['wall_s']:.0f} s", f"{row['speed_up']:.2f}", f"{row['overhead_s']:.1f} s"]
        for row in workers["local"]
    ]
    lines = [
        "## Scaling",
        "",
        f"{workers['n_trials']} trials of {workers['n_seeds']} seeds ({n_jobs} jobs), {workers['n_pairs']:,} training "
        "pairs, features at hand. Overhead is a worker's time besides the jobs' own work, for each job; workers beyond "
        "the machine's cores share them.",
        "",
        *_table(["workers", "wall", "speed-up", "overhead per job"], rows),
        "",
        _on_slurm(workers),
        "",
        f"A run takes {sizes['start_cpu_s']:.1f} processor seconds to start, which its jobs share. Processor seconds "
        "of parts in runs of their own, and what a model says that is linear in pairs, fitted on the first two sizes:",
        "",
    ]
    header = ["part", *(f"{n:,} pairs, measured (model)" for n in sizes["n_pairs"])]
    parts = [
        [part, *(f"{m:.1f} ({p:.1f})" for m, p in zip(seconds, sizes["predicted_cpu_s"][part], strict=True))]
        for part, seconds in sizes["measured_cpu_s"].items()
    ]
    lines += [*_table(header, parts), "", "Whole searches, from data to the last fit:", ""]
    searches = [[*(f"{s[key]:,}" for key in ("n_pairs", "n_trials", "n_seeds")), *_both(s)] for s in sizes["searches"]]
    header = ["pairs", "trials", "seeds", "measured", "model", "model over measured"]
    asked = sizes["asked"]
    return [
        *lines,
        *_table(header, searches),
        "",
        f"On paper, for {asked['n_pairs']:,} pairs and {asked['n_trials']:,} trials of one epoch with this network: "
        f"{asked['once_core_h']:.1f} core hours once for data, features and warm-up, {asked['one_fit_core_h']:.2f} for "
        f"a fit, {asked['search_core_h']:,.0f} for one seed of every trial and "
        f"{asked['search_of_three_seeds_core_h']:,.0f} for three; as many jobs run at once as there are cores. "
        "This is far outside the sizes that were measured.",
    ]


def _both(search: dict[str, Any]) -> list[str]:
    measured, predicted = search["measured_cpu_s"], search["predicted_cpu_s"]
    return [f"{measured:.0f} s", f"{predicted:.0f} s", f"{predicted / measured:.2f}"]


def _on_slurm(workers: dict[str, Any]) -> str:
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


def cluster_page(record: dict[str, Any]) -> list[str]:
    """What was checked on a real Slurm, as a table."""
    rows = [[row["check"], row["command"], row["figure"]] for row in record["results"]]
    return ["## On a real Slurm", "", record["about"], "", *_table(["check", "command", "figure"], rows)]


_PAGES = {
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
