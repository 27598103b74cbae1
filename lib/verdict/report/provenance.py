"""Where a page's numbers come from, as a plain structure for the templates."""

import json
import re
from collections.abc import Sequence

from verdict.base.artifacts import content_hash, relative
from verdict.base.params import flatten
from verdict.report.executions import Execution

# Those of the warm-up, and of each seed of a trial.
_WEIGHTS = re.compile(r".*/weights(-s\d+)?\.npz")
_TOLD = frozenset({"executed.ipynb", "numbers.json", "claims.json"})


def duration(seconds: float) -> str:
    """Wall time as a reader says it; a stage that failed has none."""
    if seconds <= 0:
        return "time unknown"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _flat(content: object) -> dict:
    """Dotted keys; what a list's item is called is in its key already."""
    return {key: value for key, value in flatten(content).items() if not key.endswith(f".{value}.name")}


def parameters(run: dict) -> list[dict]:
    """Rows of the parameter table: name, value, whether it differs from the base; the changed ones first."""
    changed = tuple(run.get("non_default", ()))
    rows = [
        {
            "name": name,
            "value": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
            "is_changed": any(name == key or name.startswith(f"{key}.") for key in changed),
        }
        for name, value in _flat(run.get("params", {})).items()
    ]
    return sorted(rows, key=lambda row: not row["is_changed"])


def seeds(run: dict) -> str:
    """Seeds that the execution used, each with the parameter that sets it."""
    found = {name: value for name, value in _flat(run.get("params", {})).items() if name.endswith(("seed", "seeds"))}
    listed = {name: value if isinstance(value, list) else [value] for name, value in found.items()}
    return "; ".join(f"{', '.join(map(str, values))} ({name})" for name, values in listed.items()) or "none"


def changes(run: dict) -> str:
    """What is known of the working tree beside the commit; nothing where it was clean, or there is no commit."""
    if run.get("commit", "unknown") == "unknown" or run.get("dirty") is False:
        return ""
    return "with uncommitted changes" if run.get("dirty") else "whether it was changed is not known"


def behind(execution: Execution, executions: Sequence[Execution]) -> list[Execution]:
    """The execution and all others that it was made from, directly or through others."""
    by_record = {relative(e.folder / "run.json"): e for e in executions if e.folder is not None}
    found, waiting = {execution.name: execution}, [execution]
    while waiting:
        needs = [by_record[name] for name in waiting.pop().run.get("inputs", {}) if name in by_record]
        fresh = {need.name: need for need in needs if need.name not in found}
        found |= fresh
        waiting += fresh.values()
    return list(found.values())


def hashes(execution: Execution, executions: Sequence[Execution]) -> dict[str, str]:
    """One hash each of the data and the trained weights that a page stands on, and of the environment it ran in.

    Two pages with the same three come from the same data, networks and versions; the files behind are listed one by
    one with the pages that wrote them.
    """
    written = [item for e in behind(execution, executions) for item in e.run.get("outputs", {}).items()]
    outputs = {"/" + "/".join(name.split("/")[2:]): sha for name, sha in written}
    found = {
        "data": {name: sha for name, sha in outputs.items() if "/01_" in name and name.rpartition("/")[2] not in _TOLD},
        "weights": {name: sha for name, sha in outputs.items() if _WEIGHTS.fullmatch(name)},
        "environment": dict(execution.run.get("versions", {})),
    }
    return {what: content_hash(content) for what, content in found.items() if content}


def provenance(execution: Execution, executions: Sequence[Execution] = ()) -> dict:
    """Everything that the provenance box of a page shows; `executions` are those of the whole report."""
    run = execution.run
    rebuild = f"make report PROFILE={run.get('profile', '')}".strip()
    return {
        **{key: run.get(key, "") for key in ("profile", "params_hash", "started")},
        **{key: dict(run.get(key, {})) for key in ("versions", "host", "inputs", "outputs")},
        "commit": str(run.get("commit", "unknown")),
        "run": "-".join(filter(None, [str(run.get("commit", ""))[:12], str(run.get("params_hash", ""))[:8]])),
        "changes": changes(run),
        "variant": execution.variant,
        "parameters": parameters(run),
        "seeds": seeds(run),
        "device": run.get("device", "unknown"),
        "elapsed": duration(execution.elapsed_s),
        "hashes": hashes(execution, executions),
        "command": run.get("command") or rebuild,
        "rebuild": rebuild,
    }
