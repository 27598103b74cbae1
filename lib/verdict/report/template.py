"""A new notebook that keeps the rules: `python -m verdict.report.template 14_ablation --question "…?"`."""

import argparse
import json
import re
import sys
import unicodedata
from pathlib import Path
from string import Template

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.report.notebook import QUESTION_MARKS
from verdict.report.strip import strip
from verdict.workflow.stages import CLIP, notebook_of

# What a folder's name cannot hold, and what the workflow takes for a pattern.
_NAME = re.compile(r"\d{2}_(?!\s)[^/{}\x00-\x1f\x7f]{1,60}(?<!\s)")
_MARKUP = re.compile(r"[\\`*_{}\[\]<>$&|~#%]")
_ITEM = re.compile(r"^(\d*)([-+.)])")

# Cells, each after a line with its kind and tags; what is asked for replaces $names.
CELLS = Path(__file__).with_name("new_notebook.txt")
DECLARE = """made {path}
Declare it in SPECS of lib/verdict/workflow/declarations.py, in reading order:
    Spec({name}, ("01_data",), ("data",)),
Then `make check` tells what is wrong with it, and `make report` runs it."""


def new_notebook(name: str, title: str, question: str) -> str:
    """Text of a notebook with one section, which passes the lint; title and question as they are to be read.

    The name, such as "14_ablation", is two digits, an underscore and any words: its place in reading order, its stage
    and page. ValueError if it has another form, or the question no question mark.
    """
    if not _NAME.fullmatch(name) or notebook_of(name) != name:
        raise ValueError(
            f"a notebook's name is two digits, an underscore and up to 60 characters without / {{ }}, and does not end "
            f"with -{CLIP}; got {name!r}"
        )
    title, question = (" ".join(text.split()) for text in (title, question))
    if not question.endswith(QUESTION_MARKS):
        raise ValueError(f"the question ends with a question mark, got {question!r}")
    number, _, words = name.partition("_")
    short = _word(words)
    known = {"name": quoted(name), "number": number, "short": short}
    known |= {"title": _as_written(title), "question": _as_written(question)}
    cells = []
    for place, part in enumerate(CELLS.read_text(encoding="utf-8").split("%% ")[1:], start=1):
        head, _, source = part.partition("\n")
        kind, *tags = head.split()
        cell = {"cell_type": kind, "id": f"{short[:20]}-{place}", "metadata": {"tags": tags}}
        cells.append(cell | {"source": Template(source.rstrip("\n")).substitute(known)})
    return strip(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def quoted(text: str) -> str:
    """Text as a literal of Python."""
    return json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    """What numbers are called: letters and digits, the first one a letter."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    word = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return word if word[:1].isalpha() else f"page_{word}".rstrip("_")


def _as_written(text: str) -> str:
    """Text as Markdown that reads like it."""
    return _ITEM.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", text))


def main(arguments: list[str] | None = None) -> int:
    """Command line; a notebook that exists is not touched."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report.template", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="such as 14_ablation")
    parser.add_argument("--question", default="What is the question?", help="what the page answers")
    parser.add_argument("--folder", type=Path, default=paths.NOTEBOOKS, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if not chosen.name:
        parser.error("name it: make notebook NAME=14_ablation QUESTION='What is missing?'")
    path = chosen.folder / f"{chosen.name}.ipynb"
    title = chosen.name.partition("_")[2].replace("_", " ").capitalize()
    try:
        if path.exists():
            raise ValueError(f"{path} exists already")
        write_text(path, new_notebook(chosen.name, title, chosen.question))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(DECLARE.format(path=path, name=quoted(chosen.name)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
