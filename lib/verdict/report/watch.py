"""Re-render while an author writes: `make watch`, or `python -m verdict.report --profile digits --watch`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from verdict.base import paths
from verdict.report.executions import forget
from verdict.report.site import INDEX, build_site


def snapshot(folder: Path) -> dict[Path, int]:
    """Time of the last change of every file that prose comes from."""
    files = [*folder.glob("*.ipynb"), *folder.glob("*.md")]
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}


def changes(folder: Path, *, pause_s: float = 0.3, sleep: Callable[[float], None] = time.sleep) -> Iterator[list[Path]]:
    """Files that were saved since the last look, one list each time there are any."""
    before = snapshot(folder)
    while True:
        sleep(pause_s)
        now = snapshot(folder)
        changed = sorted(path for path, stamp in now.items() if before.get(path) != stamp)
        before = now
        if changed:
            yield changed


def watch(profile: str, *, notebooks: Path | None = None, say: Callable[[str], None] = print) -> None:
    """Render the pages of every notebook that is saved, until interrupted; a refused page is reported, not fatal."""
    folder = notebooks or paths.NOTEBOOKS
    say(f"watching {folder}; stop with Ctrl-C")
    for changed in changes(folder):
        forget()
        for path in changed:
            started = time.perf_counter()
            try:
                built = build_site(profile, only=INDEX if path.suffix == ".md" else path.stem, notebooks=notebooks)
            except (OSError, ValueError) as error:
                say(f"{path.name}: {error}")
                continue
            say(f"{path.name}: {len(built.pages)} page(s) in {time.perf_counter() - started:.1f} s")
            for error in built.errors:
                say(f"refused: {error}")
