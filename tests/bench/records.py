"""Results of the benches as JSON, and one page over all of them."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from verdict.base import artifacts, paths
from verdict.model.backend import keras

FOLDER = paths.REPORTS / "benchmarks"
NAMES = ("tiny", "full_size", "memory", "audit", "decisions", "watch", "scale", "cluster", "gpu", "chaos")
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
    stored = {name: folder / f"{name}.json" for name in NAMES}
    records = {name: artifacts.read_json(path) if path.is_file() else None for name, path in stored.items()}
    artifacts.write_text(folder / "README.md", page(records))


def page(records: Mapping[str, Found | None]) -> str:
    """The page over some records, by bench; None where there is none."""
    template = Path(__file__).with_name("page.md.jinja").read_text(encoding="utf-8")
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return made.from_string(template).render(dict.fromkeys(NAMES) | records, plan=_plan, interval=_interval)


def _plan(row: Found) -> str:
    counts = ((row["vision_blocks"], "image"), (row["text_blocks"], "text"))
    trained = " and ".join(f"{n} {kind} block{'s' if n > 1 else ''}" for n, kind in counts if n)
    return f"{trained} trained" if trained else "encoders frozen"


def _interval(found: object, name: str, form: str) -> str:
    # A record of an earlier bench may lack it.
    if not isinstance(found, Mapping):
        return "not run"
    value, low, high = (f"{found[key]:{form}}" for key in (name, "low", "high"))
    return value if math.isnan(found["low"]) else f"{value} [{low}, {high}]"
