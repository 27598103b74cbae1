"""What differs between two reports: `make diff A=digits B=nlvr`, or `python -m verdict.report.compare digits nlvr`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.numbers import Number
from verdict.base.params import flatten
from verdict.report.executions import Execution, find_executions
from verdict.report.exporter import Site
from verdict.report.outputs import environment

KINDS = ("parameters", "data", "claims", "numbers", "pages", "files")
DATA_STAGES = ("01_",)
TOLD_ELSEWHERE = (".ipynb", "/numbers.json", "/claims.json")


def compare_runs(before: Sequence[Execution], after: Sequence[Execution]) -> dict[str, list[dict[str, Any]]]:
    """What differs between executions with pages of one name, by the `KINDS`.

    Rows hold `name`, `page`, `before`, `after`, "–" where a side lacks it. Data are the files of the first stage; pages
    are those that one side alone has, of which nothing else is listed. Rows of numbers also hold `apart`, whether the
    two intervals do not overlap; those come first.
    """
    one, two = ({e.name: e for e in side if e.run} for side in (before, after))
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for page in sorted(one.keys() | two.keys()):
        if page not in one or page not in two:
            sides = {key: "executed" if page in side else "–" for key, side in (("before", one), ("after", two))}
            found["pages"].append({"name": page, "page": page, **sides})
            continue
        left, right = one[page], two[page]
        found["parameters"] += _rows(page, flatten(left.run.get("params", {})), flatten(right.run.get("params", {})))
        found["data" if page.startswith(DATA_STAGES) else "files"] += _rows(page, _outputs(left), _outputs(right))
        found["numbers"] += [_with_overlap(row, left, right) for row in _rows(page, left.numbers, right.numbers)]
        verdicts = ({claim.statement: claim.verdict for claim in side.claims} for side in (left, right))
        found["claims"] += _rows(page, *verdicts)
    # A parameter that differs in many stages in the same way is one row.
    once: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in found["parameters"]:
        once.setdefault((row["name"], row["before"], row["after"]), row)
    found["parameters"] = list(once.values())
    found["numbers"].sort(key=lambda row: not row["apart"])
    return found


def _rows(page: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = {name: (left.get(name), right.get(name)) for name in sorted(left.keys() | right.keys())}
    return [
        {"name": name, "page": page, "before": _text(one), "after": _text(other)}
        for name, (one, other) in pairs.items()
        if repr(one) != repr(other)
    ]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return value.text if isinstance(value, Number) else str(value)


def _outputs(execution: Execution) -> dict[str, str]:
    """Hashes by file name below the profile's folder, so that two profiles can be compared.

    Notebooks are left out, and so are numbers and claims, which have sections of their own.
    """
    outputs = execution.run.get("outputs", {})
    kept = {name: digest for name, digest in outputs.items() if not name.endswith(TOLD_ELSEWHERE)}
    return {"/".join(name.split("/")[2:]) or name: digest[:16] for name, digest in kept.items()}


def _with_overlap(row: dict[str, Any], left: Execution, right: Execution) -> dict[str, Any]:
    sides = [execution.numbers[row["name"]] for execution in (left, right) if row["name"] in execution.numbers]
    has_intervals = len(sides) == 2 and all(number.low is not None for number in sides)
    is_apart = has_intervals and (sides[0].high < sides[1].low or sides[1].high < sides[0].low)
    return {**row, "apart": bool(is_apart)}


def compare_reports(before: str, after: str, *, target: Path | None = None) -> Path:
    """Write the page that compares the runs of two profiles, or folders that hold their stages.

    FileNotFoundError if nothing was executed for one of them.
    """
    sides = []
    for name in (before, after):
        folder = Path(name) if Path(name).is_dir() else None
        executions = find_executions(Path(name).name, work=folder, with_former=True)
        if not any(execution.run for execution in executions):
            raise FileNotFoundError(f"nothing was executed for {name!r}")
        sides.append(executions)
    names = [Path(name).name for name in (before, after)]
    target = target or paths.REPORTS / f"compare-{names[0]}-{names[1]}.html"
    beside = {name: {page.stem for page in (target.parent / name).glob("*.html")} for name in names}
    template = environment().get_template("compare.html")
    text = template.render(site=Site("", "Verdict"), names=names, found=compare_runs(*sides), beside=beside)
    write_text(target, text)
    return target


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report.compare", description=__doc__)
    parser.add_argument("before", nargs="?", default="", help="profile, or folder of its stages")
    parser.add_argument("after", nargs="?", default="", help="profile, or folder of its stages")
    parser.add_argument("--out", type=Path, help="where to write the page")
    chosen = parser.parse_args(arguments)
    if not (chosen.before and chosen.after):
        parser.error("two runs are compared: make diff A=digits B=mine")
    try:
        print(compare_reports(chosen.before, chosen.after, target=chosen.out))
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
