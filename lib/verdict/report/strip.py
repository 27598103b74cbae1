"""Notebooks without their outputs: git's clean filter for `notebooks/*.ipynb`, which `make` sets up.

`python -m verdict.report.strip` reads a notebook from standard input and writes it to standard output; with file names
it strips them in place. Imports nothing else, because git starts it for every notebook.
"""

import json
import sys
from pathlib import Path

KEPT_METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
KEPT_METADATA |= {"language_info": {"name": "python"}}


def strip(text: str) -> str:
    """The notebook as it is committed: no outputs, no execution counts, of metadata the tags alone.

    Text that is not a notebook comes back as it is: a filter must not lose what somebody wrote.
    """
    try:
        content = json.loads(text)
    except ValueError:
        return text
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        return text
    stripped = {**content, "cells": [_cell(cell) for cell in content["cells"]], "metadata": KEPT_METADATA}
    return json.dumps(stripped, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _cell(cell: dict) -> dict:
    tags = cell.get("metadata", {}).get("tags", [])
    source = cell.get("source", "")
    lines = source.splitlines(keepends=True) if isinstance(source, str) else source
    kept = {**cell, "metadata": {"tags": tags} if tags else {}, "source": lines}
    return kept | {"outputs": [], "execution_count": None} if cell.get("cell_type") == "code" else kept


def main(arguments: list[str] | None = None) -> int:
    """Command line: files in place, or standard input to standard output."""
    names = sys.argv[1:] if arguments is None else arguments
    for name in names:
        path = Path(name)
        path.write_text(strip(path.read_text(encoding="utf-8")), encoding="utf-8")
    if not names:
        sys.stdout.buffer.write(strip(sys.stdin.buffer.read().decode("utf-8")).encode("utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
