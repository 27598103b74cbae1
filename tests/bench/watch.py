"""Seconds from the saving of a notebook's prose to its new page, beside the process that `make watch` starts.

It watches a copy of the notebooks, so that nobody's text is touched; everything else is the profile's own report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from verdict.base import paths

NOTEBOOKS = ("05_test", "07_calibration", "11_clip_robustness")
ROUNDS = 5
OWN = ("notebooks", "reports")
LIMIT_S = 120.0
REST_S = 1.0  # between edits: the index is written after the page


def measure(profile: str, notebooks: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Save every notebook several times and wait for its pages.

    Returns
    -------
    list of dict
        For each notebook `notebook`, `n_pages` and `kilobytes` (of all its pages), `median_s`, `max_s` (until the last
        of them is written).

    Raises
    ------
    FileNotFoundError
        If a notebook has no page in the profile's report.
    """
    with tempfile.TemporaryDirectory() as name, watching(Path(name), profile):
        return [_edited(Path(name), profile, notebook, rounds) for notebook in notebooks]


@contextmanager
def watching(root: Path, profile: str) -> Iterator[None]:
    """The watching process on a project whose notebooks and pages are copies below `root`."""
    for path in paths.ROOT.iterdir():
        if path.name not in OWN:
            (root / path.name).symlink_to(path)
    (root / "notebooks").mkdir()
    for path in (*paths.NOTEBOOKS.glob("*.ipynb"), *paths.NOTEBOOKS.glob("*.md")):
        (root / "notebooks" / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-u", "-m", "verdict.workflow.start", "verdict.report", "--profile", profile, "--watch"]
    environment = {**os.environ, paths.ROOT_VARIABLE: str(root), "PYTHONPATH": str(paths.LIBRARY.parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            _wait_until_it_watches(run)
            yield
        finally:
            run.terminate()


def _wait_until_it_watches(run: subprocess.Popen[str]) -> None:
    said = []
    while line := run.stdout.readline():
        if line.startswith("watching"):
            return
        said.append(line)
    raise FileNotFoundError(f"there is nothing to watch: {''.join(said[-3:]).strip()}")


def _edited(root: Path, profile: str, notebook: str, rounds: int) -> dict[str, Any]:
    """Seconds of the edits of one notebook."""
    found = (root / "reports" / profile).glob(f"{notebook}*.html")
    pages = sorted(page for page in found if page.stem == notebook or page.stem.startswith(f"{notebook}-"))
    if not pages:
        raise FileNotFoundError(f"no page of {notebook} is in the report of {profile}")
    seconds = [
        _seconds(root / "notebooks" / f"{notebook}.ipynb", pages, f"Edit {n} of {notebook}.") for n in range(rounds)
    ]
    size = sum(page.stat().st_size for page in pages) / 1000
    told = {"notebook": notebook, "n_pages": len(pages), "kilobytes": round(size)}
    return told | {"median_s": float(np.median(seconds)), "max_s": max(seconds)}


def _seconds(path: Path, pages: Sequence[Path], mark: str) -> float:
    """From the saving of a sentence until every page has it."""
    time.sleep(REST_S)
    content = json.loads(path.read_text(encoding="utf-8"))
    text = next(cell for cell in content["cells"] if cell["cell_type"] == "markdown")
    text["source"] = ["".join(text["source"]), "\n\n", mark]
    saved = time.perf_counter()
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    while not all(mark in page.read_text(encoding="utf-8") for page in pages):
        if time.perf_counter() - saved > LIMIT_S:
            raise TimeoutError(f"{path.name} was saved, and {pages[0].name} did not follow within {LIMIT_S:.0f} s")
        time.sleep(0.01)
    return time.perf_counter() - saved
