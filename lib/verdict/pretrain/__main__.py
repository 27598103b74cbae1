"""Command line: `python -m verdict.pretrain`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from verdict import paths, pretrain
from verdict.backend import set_threads
from verdict.pretrain.optimiser import tell
from verdict.pretrain.recipes import CLIP, TEXT, VISION
from verdict.pretrain.store import make


def main(arguments: list[str] | None = None) -> int:
    """Make the presets that are asked for, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m verdict.pretrain", description=str(pretrain.__doc__).splitlines()[0]
    )
    parser.add_argument(
        "--only", action="append", choices=[*VISION, *TEXT, *CLIP], help="make this preset only (repeatable)"
    )
    parser.add_argument("--out", type=Path, default=paths.PRESETS, help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    set_threads(chosen.threads)
    for name in chosen.only or [*VISION, *TEXT, *CLIP]:
        scores = make(name, chosen.out, seed=chosen.seed)
        tell(f"{name}: " + ", ".join(f"{task} {score:.4f}" for task, score in scores.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
