"""Render a report from what was executed: `python -m verdict.report --profile digits`; with `--watch`, as `make watch`
does, again while an author writes.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path

from verdict.base import paths
from verdict.report.executions import forget
from verdict.report.site import INDEX, build_site

PAUSE_S = 0.3


def _snapshot() -> dict[Path, int]:
    """Time of the last change of every file that prose comes from."""
    files = [*paths.NOTEBOOKS.glob("*.ipynb"), *paths.NOTEBOOKS.glob("*.md")]
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}


def watch(profile: str) -> None:
    """Render the pages of every notebook that is saved, until interrupted; a refused page is reported, not fatal."""
    print(f"watching {paths.NOTEBOOKS}; stop with Ctrl-C")
    before = _snapshot()
    while True:
        time.sleep(PAUSE_S)
        now = _snapshot()
        changed = sorted(path for path, stamp in now.items() if before.get(path) != stamp)
        before = now
        forget()
        for path in changed:
            started = time.perf_counter()
            try:
                built = build_site(profile, only=INDEX if path.suffix == ".md" else path.stem)
            except (OSError, ValueError) as error:
                print(f"{path.name}: {error}")
                continue
            print(f"{path.name}: {len(built.pages)} page(s) in {time.perf_counter() - started:.1f} s")
            for error in built.errors:
                print(f"refused: {error}")


def main(arguments: list[str] | None = None) -> int:
    """Render; 1 where a page had to be refused, or the whole report was asked for and is not whole."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report", description=__doc__)
    parser.add_argument("--profile", required=True, help="whose executed notebooks to render (work/<profile>/)")
    parser.add_argument("--page", help="render the pages of this notebook only (and the index), such as 05_test")
    parser.add_argument("--watch", action="store_true", help="go on, and re-render what is saved in notebooks/")
    chosen = parser.parse_args(arguments)
    if chosen.watch:
        # Whoever reads it through a file or a pipe follows it too.
        sys.stdout.reconfigure(line_buffering=True)
    started = time.perf_counter()
    try:
        built = build_site(chosen.profile, only=chosen.page)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in built.pages:
        print(f"{path.stat().st_size / 1000:8.1f} kB  {path.name}")
    print(f"{len(built.pages)} pages in {time.perf_counter() - started:.1f} s: {built.pages[-1]}")
    for error in built.errors:
        print(f"refused: {error}", file=sys.stderr)
    unfinished = () if chosen.page else built.unfinished
    for line in unfinished:
        print(f"not up to date: {line}", file=sys.stderr)
    if chosen.watch:
        with contextlib.suppress(KeyboardInterrupt):
            watch(chosen.profile)
    return 1 if built.errors or unfinished else 0


if __name__ == "__main__":
    raise SystemExit(main())
