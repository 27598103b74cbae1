"""What differs between two reports: `make diff A=digits B=nlvr`, or `python -m verdict.report.compare digits nlvr`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.numbers import Number
from verdict.base.params import flatten
from verdict.report.executions import Execution, find_executions
from verdict.report.exporter import Site
from verdict.report.outputs import environment

KINDS = ("parameters", "data", "claims", "numbers", "pages", "files")
COMPARED_ELSEWHERE = (".ipynb", "/numbers.json", "/claims.json")


def compare_runs(before: Sequence[Execution], after: Sequence[Execution]) -> dict[str, list[dict]]:
    """What differs between executions with pages of one name, by the `KINDS`.

    Rows hold `name`, `page`, `before`, `after`, "–" where a side lacks it, and `apart`, whether two intervals do not
    overlap; such numbers come first. Data are the files of the first stage; pages are those that one side alone has, of
    which nothing else is listed.
    """
    pages_before, pages_after = ({e.name: e for e in side if e.run} for side in (before, after))
    rows: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for page in sorted(pages_before.keys() ^ pages_after.keys()):
        state = {"before": "–", "after": "executed"} if page in pages_after else {"before": "executed", "after": "–"}
        rows["pages"].append({"name": page, "page": page, **state})
    for page in sorted(pages_before.keys() & pages_after.keys()):
        left, right = _compared(pages_before[page]), _compared(pages_after[page])
        for kind in left:
            rows[kind] += _rows(page, left[kind], right[kind])
    # A parameter that differs in many stages in the same way is one row.
    distinct: dict[tuple[str, str, str], dict] = {}
    for row in rows["parameters"]:
        distinct.setdefault((row["name"], row["before"], row["after"]), row)
    rows["parameters"] = list(distinct.values())
    rows["numbers"].sort(key=lambda row: not row["apart"])
    return rows


def _compared(execution: Execution) -> dict[str, Mapping]:
    """What is compared of an execution, by kind.

    Files are named below the profile's folder, so that two profiles can be compared; files of numbers and claims, which
    have sections of their own, and notebooks are left out.
    """
    outputs = execution.run.get("outputs", {})
    kept = {name: digest[:16] for name, digest in outputs.items() if not name.endswith(COMPARED_ELSEWHERE)}
    files = {"/".join(name.split("/")[2:]) or name: digest for name, digest in kept.items()}
    return {
        "parameters": flatten(execution.run.get("params", {})),
        "data" if execution.name.startswith("01_") else "files": files,
        "numbers": execution.numbers,
        "claims": {claim.statement: claim.verdict for claim in execution.claims},
    }


def _rows(page: str, left: Mapping, right: Mapping) -> list[dict]:
    pairs = {name: (left.get(name), right.get(name)) for name in sorted(left.keys() | right.keys())}
    return [
        {"name": name, "page": page, "before": _text(one), "after": _text(other), "apart": _are_apart(one, other)}
        for name, (one, other) in pairs.items()
        if repr(one) != repr(other)
    ]


def _text(value: object) -> str:
    if value is None:
        return "–"
    return value.text if isinstance(value, Number) else str(value)


def _are_apart(one: object, other: object) -> bool:
    """Whether both are numbers, with intervals that do not overlap."""
    if not all(isinstance(side, Number) and side.low is not None for side in (one, other)):
        return False
    return one.high < other.low or other.high < one.low


def compare_reports(before: str, after: str, *, target: Path | None = None) -> Path:
    """Write the page that compares the runs of two profiles, or folders that hold their stages.

    FileNotFoundError if nothing was executed for one of them.
    """
    sides = []
    for name in (before, after):
        folder = Path(name) if Path(name).is_dir() else None
        sides.append(find_executions(Path(name).name, work=folder, with_former=True))
        if not any(execution.run for execution in sides[-1]):
            raise FileNotFoundError(f"nothing was executed for {name!r}")
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
    except ValueError as error:
        told = "make report finds which, and makes it again"
        print(f"error: a stored result is damaged ({error}); {told}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
