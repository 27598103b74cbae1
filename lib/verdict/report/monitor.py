"""The monitor's page, from decisions and labels that came after a report: `make monitor PROFILE=mine IN=log.jsonl`."""

import argparse
import sys
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import write_bytes, write_text
from verdict.base.params import load_params
from verdict.decide.log.log import Item, read_log
from verdict.decide.log.stored import LOG, POLICY
from verdict.pages.monitor import load
from verdict.report.exporter import render_page
from verdict.report.site import build_site, page_of_file
from verdict.workflow.run import run_stage
from verdict.workflow.stages import MONITOR
from verdict.workflow.start import tell


def render_monitor(profile: str, log: Path, labels: Path | None = None) -> Path:
    """Write the page beside those of the report; ValueError, FileNotFoundError before anything runs for bad files, and
    for a log of another profile's report.
    """
    settings = load_params(profile).monitor
    found = load(log, labels, settings.share, settings.seed)
    _refuse_foreign(found.head, log, profile)
    if found.n_unknown:
        tell(f"{labels}: {found.n_unknown:,} of {found.n_labels:,} labels are of pairs that {log} does not hold")
    home = run_stage(MONITOR, profile, log=str(log.resolve()), labels=str(labels.resolve()) if labels else "")
    page, target = page_of_file(home / "executed.ipynb"), paths.report_dir(profile)
    write_text(target / f"{MONITOR}.html", render_page(page.execution, page.site))
    for name, content in page.site.files.items():
        write_bytes(target / name, content)
    if (target / "index.html").is_file():
        build_site(profile, only="index")  # whose glossary holds the terms that this page leads to
    return target / f"{MONITOR}.html"


def _refuse_foreign(head: Item, log: Path, profile: str) -> None:
    """ValueError for a log of another profile's policy; one of a policy that no report has any more is told."""
    owners = [one for one in paths.profiles() if head.policy in _policies(one)]
    if owners and profile not in owners:
        raise ValueError(f"{log} was decided by the policy of {owners[0]}: make monitor PROFILE={owners[0]}")
    if not owners and _policies(profile):
        tell(f"{log} was decided by another policy than the report of {profile} has now; the page is about that one")


def _policies(profile: str) -> list[tuple[str, str, str]]:
    """What decided the logs that a profile's report has written itself."""
    heads = [next(read_log(path), "") for path in paths.work_dir(profile).glob(f"{POLICY}*/{LOG}")]
    return [head.policy for head in heads if isinstance(head, Item)]


def main(arguments: list[str] | None = None) -> int:
    """Command line; 2 where a file could not be used."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report.monitor", description=__doc__)
    parser.add_argument("--profile", default="digits", help="whose parameters hold (default: %(default)s)")
    parser.add_argument("--log", type=Path, help="log of decisions, as make decide writes it")
    parser.add_argument("--labels", type=Path, help="CSV or JSON lines with pair_id and label")
    chosen = parser.parse_args(arguments)
    if chosen.log is None:
        parser.error("name a log of decisions: make monitor IN=decisions.jsonl")
    try:
        print(render_monitor(chosen.profile, chosen.log, chosen.labels))
    except (OSError, ValueError, KeyError) as error:
        print(f"monitor: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
