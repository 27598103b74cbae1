"""Re-render while an author writes: `make watch`, or `python -m verdict.report --profile digits --watch`."""

from __future__ import annotations

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
