"""The code behind a stage's result, or a page: which files of the package it uses, and their hash."""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import content_hash, read_json, sha256_bytes
from verdict.workflow.stages import LASTING, RUNNERS, notebook_of

# What arranges a run: whatever it decides stands in the record of a stage, as parameters or inputs.
ARRANGING = (
    *("verdict.base.paths", "verdict.base.params", "verdict.base.parameter_files", "verdict.base.search"),
    *("verdict.workflow.declarations", "verdict.workflow.stage_parameters", "verdict.workflow.code_digest"),
    "verdict.workflow.place",
)
# What draws and prints for a page: no stored number, table or weight comes of it.
SHOWING = ("verdict.report.plots", "verdict.report")


@functools.lru_cache(maxsize=2048)
def _imported(source: str) -> frozenset[str]:
    """Modules of the package that a source imports, the packages that hold them included."""
    names: set[str] = set()
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    of_package = [name.split(".") for name in names if name.split(".")[0] == "verdict"]
    return frozenset(".".join(words[:depth]) for words in of_package for depth in range(1, len(words) + 1))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below one; expressions, in which nothing is imported, are not walked through."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for below in getattr(node, field, ()):
            yield below
            yield from _statements(below)


def library_files(sources: Iterable[str], apart: tuple[str, ...] = ()) -> list[Path]:
    """The package's files that Python sources import, directly or through others, without modules `apart`; sorted."""
    files: set[Path] = set()
    todo = set().union(*map(_imported, sources))
    while todo:
        module = todo.pop()
        if f"{module}.".startswith(tuple(f"{name}." for name in apart)):
            continue
        base = paths.LIBRARY.parent.joinpath(*module.split("."))
        new = {path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()} - files
        files |= new
        todo = todo.union(*(_imported(file.read_text(encoding="utf-8")) for file in new))
    return sorted(files)


def code_cells(notebook: Path) -> list[str]:
    """Sources of a notebook's code cells, in order; ValueError names a file that is no notebook."""
    content = read_json(notebook)
    try:
        return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{notebook} is not a notebook: {error}") from None


def code_digest(name: str) -> str:
    """Hash of the code behind a stage: its notebook's code cells, the package's files they import, tables beside.

    What arranges a run is left out; so is what draws and prints, of stages that take long or that such are made from.
    """
    notebook = paths.NOTEBOOKS / f"{notebook_of(name)}.ipynb"
    sources = [f"import {RUNNERS[name][0]}"] if name in RUNNERS else code_cells(notebook)
    code = library_files(sources, ARRANGING + (SHOWING if name in LASTING else ()))
    tables = sorted(table for folder in {file.parent for file in code} for table in folder.glob("*.csv"))
    hashes = {file.relative_to(paths.LIBRARY).as_posix(): sha256_bytes(file.read_bytes()) for file in (*code, *tables)}
    return content_hash([sources, hashes])


def page_files() -> list[Path]:
    """What a page is made with besides code: templates, style, scripts and the reviewers' rubric, sorted."""
    made = [path for path in (paths.LIBRARY / "report").iterdir() if path.suffix in (".html", ".css", ".js")]
    return sorted([*made, *paths.PARAMS.glob("rubric.yaml")])
