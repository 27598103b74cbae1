"""Command line of the audit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from verdict.audit.explain import explain_item
from verdict.audit.log import find_item
from verdict.audit.replay import replay_log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m verdict.audit", description="Ask a log of decisions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain = commands.add_parser("explain", help="say in words why a pair was decided as it was")
    explain.add_argument("pair_id")
    replay = commands.add_parser("replay", help="decide every item again from what was logged, and compare")
    for command in (explain, replay):
        command.add_argument("--log", type=Path, required=True, metavar="PATH", help="the log (JSONL)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit status. 0: explained, or the replay is identical; 1: the replay differs; 2: no such log or pair, or the
        pair's line is damaged.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "explain":
            print(explain_item(find_item(options.log, options.pair_id)))
            return 0
        result = replay_log(options.log)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 2
    print(result.text)
    return 0 if result.is_identical else 1


if __name__ == "__main__":
    sys.exit(main())
