"""Command line of the audit, and of decisions on new cases."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import read_json
from verdict.base.params import load_params
from verdict.base.refusals import listed
from verdict.decide.log.explain import explain_item
from verdict.decide.log.log import Item, find_item, read_log
from verdict.decide.log.replay import replay_log
from verdict.workflow.start import tell

TABLES = (".csv", ".tsv", ".parquet")


def _recorded(log: Path, own: Path) -> str:
    """The hash of a log, or of the log `own` that it is a copy of, in the record of the stage that wrote it, or ""."""
    written, heads = log, [next(read_log(path), "") for path in (log, own) if path.is_file()]
    runs = [(head.run_id, head.split) for head in heads if isinstance(head, Item)]
    if not log.with_name("run.json").is_file() and len(runs) == 2 and runs[0] == runs[1]:
        written = own
    record = written.with_name("run.json")
    outputs = read_json(record)["outputs"] if record.is_file() else {}
    return next((sha256 for name, sha256 in outputs.items() if name.endswith(f"/{written.name}")), "")


def _decide(profile: str, source: str, images: Path | None, out: Path) -> int:
    from verdict.decide.log.cases import numbered_lines
    from verdict.decide.log.new_pairs import decide_pairs
    from verdict.decide.log.stored import load_stored
    from verdict.decide.log.stream import CHANGED, IGNORED, decide_stream, refuse_out

    progress = _rarely(tell)
    try:
        refuse_out(out)
        if images is not None or source != "-":
            _refuse_missing("IN", Path(source))
        if images is not None:
            _refuse_missing("IMAGES", images, is_folder=True)
        if images is not None or Path(source).suffix.lower() in TABLES:
            counts = decide_pairs(profile, Path(source), images or Path(source).parent, out, progress=progress)
        else:
            name = "standard input" if source == "-" else source
            with contextlib.nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as file:
                counts = decide_stream(load_stored(profile), numbered_lines(file, name), name, out, progress=progress)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        tell(f"decide: {error.args[0] if isinstance(error, KeyError) else error}")
        return 2
    n_changed = counts.pop(CHANGED, 0)
    ignored = [what for what in sorted(counts) if what.startswith(IGNORED)]
    for what in ignored:
        del counts[what]
    counted = ", ".join(f"{what} {n:,}" for what, n in sorted(counts.items()) if n)
    print(f"{out}: {counted or 'no new case'}")
    if ignored:
        tell(f"nothing here reads the columns {listed([what.removeprefix(IGNORED) for what in ignored])}")
    if n_changed:
        tell(
            f"{n_changed:,} passed over, although answer or picture differ from what was decided under the same id: "
            "where a case has changed since, a new OUT decides it anew"
        )
    if counts["forced by foreign_batch"]:
        tell("ALARM: the cases have changed since the policy was tuned; nothing goes out alone in this log any more")
    return 0


def _refuse_missing(variable: str, path: Path, *, is_folder: bool = False) -> None:
    """FileNotFoundError for a path that is not there, ValueError for a folder where a file is read or the reverse."""
    if not path.exists():
        where = f": looked at {path.absolute()}; make counts paths from the project's folder"
        raise FileNotFoundError(f"{variable}={path} does not exist{'' if path.is_absolute() else where}")
    if path.is_dir() != is_folder:
        what = "a file, where a folder of pictures" if is_folder else "a folder, where a file"
        raise ValueError(f"{variable}={path} is {what} is read")


def _no_report(profile: str) -> str:
    """Why there is no log of a profile."""
    try:
        load_params(profile)
    except (OSError, ValueError) as error:
        return str(error)
    return f"the report of {profile} has no log yet; make the report first: make report PROFILE={profile}"


def _rarely(say: Callable[[str], None], pause_s: float = 5.0) -> Callable[[str], None]:
    """A function that says texts, but at most one in `pause_s` seconds; the others are dropped."""
    last = time.monotonic()

    def say_rarely(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= pause_s:
            last = time.monotonic()
            say(text)

    return say_rarely


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns exit status. 0: explained, or the replay is identical; 1: the replay differs; 2: no such log or pair, or the
    pair's line is damaged.
    """
    parser = argparse.ArgumentParser(prog="python -m verdict.decide.log", description="Ask a log of decisions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain = commands.add_parser("explain", help="say in words why a pair was decided as it was")
    explain.add_argument("pair_id", nargs="?", default="")
    replay = commands.add_parser("replay", help="decide every item again from what was logged, and compare")
    new = commands.add_parser("decide", help="decide new cases by the stored policy of a report")
    for command in (explain, replay, new):
        command.add_argument("--profile", default="digits", help="whose report's log to read (default: %(default)s)")
    for command in (explain, replay):
        command.add_argument("--log", type=Path, metavar="PATH", help="another log (JSONL)")
    new.add_argument(
        "--in",
        dest="source",
        metavar="PATH",
        help="new cases with what the model says, JSON lines (- is the input); or a CSV or Parquet of pairs, or with "
        "--images any table of pairs, about which the report's model is asked",
    )
    new.add_argument("--images", type=Path, metavar="FOLDER", help="pictures of the pairs (that of the table)")
    new.add_argument("--out", type=Path, metavar="PATH", help="log that the decisions are appended to")
    options = parser.parse_args(arguments)
    if options.command == "explain" and not options.pair_id:
        parser.error("name a pair: make explain PAIR=id")
    if options.command == "decide":
        if not options.source or options.out is None:
            parser.error("say what to decide, and where to: make decide IN=new.jsonl OUT=decisions.jsonl")
        return _decide(options.profile, options.source, options.images, options.out)
    own = paths.stage_dir(options.profile, "08_policy") / "audit.jsonl"
    log = options.log or own
    try:
        if options.command == "explain":
            print(explain_item(find_item(log, options.pair_id)))
            return 0
        result = replay_log(log, sha256=_recorded(log, own))
    except FileNotFoundError:
        fault = f"{log} does not exist" if options.log else _no_report(options.profile)
    except (OSError, ValueError, KeyError) as error:
        fault = error.args[0] if isinstance(error, KeyError) else error
    else:
        print(result.text)
        return 0 if result.is_identical else 1
    print(f"error: {fault}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
