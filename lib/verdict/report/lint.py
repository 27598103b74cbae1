"""Rules that every notebook keeps, checked on the text alone: `python -m verdict.report.lint notebooks/*.ipynb`."""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verdict import paths
from verdict.artifacts import read_json
from verdict.kernel import check_kernel
from verdict.report.notebook import (
    INJECTED,
    QUESTION_MARKS,
    Cell,
    RenderError,
    code_cells,
    read_notebook,
    without_comments,
)

MAX_LINES = 15
KNOWN_TAGS = frozenset({"parameters", "setup", "hide-input", "check", "save", "answer", "remove-cell"})
_SHOWN = frozenset({"show_figure", "show_gallery"})
_RESULT = re.compile(
    r"(?<![\w.{])[-−]?(?:0?\.\d{2,}|\d{1,3}\.\d+\s?%|\d{1,3}\s?(?:%|per\s?cent\b)|\d+\.\d+\s?(?:points?|pp)\b)",
    re.IGNORECASE,
)
_ABSOLUTE = re.compile(r"^(?:/(?:home|root|tmp|work|mnt|data|Users|content|var|opt)\b|[A-Za-z]:\\|~/)")
_PROSE_NOISE = re.compile(
    r"\{%[^%]*%\}|```[\s\S]*?```|`[^`]*`|\$\$[\s\S]+?\$\$|\$[^$\n]+\$|\{\{[^}]*\}\}|\]\([^)]*\)|https?://\S+"
    r"|<!--[\s\S]*?-->"
)
_NO_RESULTS = re.compile(r"\b95\s?(?:%|per\s?cent)|\b80\s?(?:%|per\s?cent)", re.IGNORECASE)

_OUTPUTS = "outputs are stripped before a commit"
_COUNTS = "execution counts are stripped before a commit"
_ON_COMMIT = frozenset({_OUTPUTS, _COUNTS})


@dataclass(frozen=True)
class Finding:
    """One broken rule: where and what."""

    notebook: str
    cell: int
    message: str

    def __str__(self) -> str:
        return f"{self.notebook}, cell {self.cell}: {self.message}"


def lint_notebook(path: Path, *, is_committed: bool = True) -> list[Finding]:
    """Every finding in one notebook; cells are counted from 1, 0 stands for the notebook.

    A notebook that somebody works on (`is_committed` false) may hold outputs and execution counts.
    """
    try:
        cells = read_notebook(path)
        check_kernel(path)
    except (RenderError, ValueError) as error:
        return [Finding(path.name, 0, str(error))]
    found = [(0, text) for text in _whole(path, cells)]
    for cell in cells:
        checks = _markdown(cell) if cell.kind == "markdown" else _code(cell) if cell.kind == "code" else ()
        found += [(cell.index + 1, text) for text in (*_tags(cell), *checks)]
    return [Finding(path.name, place, text) for place, text in found if is_committed or text not in _ON_COMMIT]


def _exhibits(cells: list[Cell]) -> Iterator[str]:
    """Claims that name no exhibit, or one that the notebook does not show."""
    files, named = set(), []
    for cell in code_cells(cells):
        for call in (node for node in ast.walk(_parsed(cell)) if isinstance(node, ast.Call)):
            told = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
            files.add(told.get("file"))
            # What a variable holds is not known here; pages are tested once they are rendered.
            is_open = any(word.arg in (None, "exhibit") and word.arg not in told for word in call.keywords)
            if isinstance(call.func, ast.Attribute) and call.func.attr == "claim" and not is_open:
                named.append((ast.unparse(call.args[0]) if call.args else "", told.get("exhibit")))
    for claim, exhibit in named:
        if exhibit is None:
            yield f"the claim {claim} names no exhibit: the file of the table or figure that shows its number"
        elif exhibit not in files:
            yield f"the claim {claim} names the exhibit {exhibit!r}, which no cell shows"


def _parsed(cell: Cell) -> ast.Module:
    """A cell's code; an empty one where it cannot be read, which another rule tells."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


def _whole(path: Path, cells: list[Cell]) -> Iterator[str]:
    first = without_comments(cells[0].source) if cells and cells[0].kind == "markdown" else ""
    if not first.lstrip().startswith("# "):
        yield "the first cell is a text cell with a title (`# …`)"
    elif not any(mark in first for mark in QUESTION_MARKS):
        yield "the first cell asks the notebook's question"
    yield from _exhibits(cells)
    tagged = [cell for cell in cells if "parameters" in cell.tags]
    code = code_cells(cells)
    if len(tagged) != 1:
        yield f"exactly one cell has the tag `parameters`, found {len(tagged)}"
    elif not code or code[0] is not tagged[0]:
        yield "the `parameters` cell is the first code cell"
    n_text = sum(cell.kind == "markdown" or "hide-input" in cell.tags for cell in cells)
    n_computing = sum(
        cell.kind == "code" and not {"parameters", "setup", "hide-input"} & set(cell.tags) for cell in cells
    )
    if n_computing > 2 * n_text:
        yield f"{n_computing} computing cells beside {n_text} cells of text: say what they are for"
    if any(cell.get("execution_count") for cell in read_json(path)["cells"]):
        yield _COUNTS


def _tags(cell: Cell) -> Iterator[str]:
    for tag in cell.tags:
        if tag == INJECTED:
            yield "a cell injected by papermill: this is an executed copy"
        elif tag not in KNOWN_TAGS:
            yield f"unknown tag {tag!r}; tags are {sorted(KNOWN_TAGS)}"


def _markdown(cell: Cell) -> Iterator[str]:
    """Digits that look like results, outside code, formulas, links and placeholders."""
    text = _NO_RESULTS.sub(" ", _PROSE_NOISE.sub(" ", cell.source))
    for match in _RESULT.finditer(text):
        yield f"the typed number {match.group().strip()!r} looks like a result: write {{{{ name }}}}"


def _code(cell: Cell) -> Iterator[str]:
    if cell.outputs:
        yield _OUTPUTS
    n_lines = len(cell.source.strip().splitlines())
    if n_lines > MAX_LINES:
        yield f"{n_lines} lines; a code cell has at most {MAX_LINES}: move work to the library"
    if re.search(r"^\s*[!%]", cell.source, re.MULTILINE):
        yield "no shell commands or magics"
        return
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        yield f"not valid Python: {error.msg} (line {error.lineno})"
        return
    if "parameters" in cell.tags:
        yield from _parameters(tree)
    for node in ast.walk(tree):
        yield from _node(node)


def _parameters(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        is_name = isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        is_name = is_name or (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
        if not is_name or not _is_literal(node.value):
            yield f"the `parameters` cell assigns literals only, found {ast.unparse(node)[:60]!r}"


def _is_literal(node: ast.expr | None) -> bool:
    try:
        ast.literal_eval(node) if node is not None else None
    except ValueError:
        return False
    return node is not None and not isinstance(node, ast.BinOp)


def _node(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield f"{node.name!r} is defined here; it belongs in the library"
    elif isinstance(node, ast.Lambda) and len(ast.unparse(node)) > 60:
        yield "a long lambda; it belongs in the library"
    elif isinstance(node, ast.Try):
        yield "no try in notebooks: errors stop the run"
    elif isinstance(node, ast.For | ast.While) and any(
        isinstance(inner, ast.For | ast.While) for inner in ast.walk(node) if inner is not node
    ):
        yield "nested loops belong in the library"
    elif isinstance(node, ast.Attribute) and ast.unparse(node) in (
        "sys.path",
        "warnings.filterwarnings",
        "warnings.simplefilter",
    ):
        yield f"no {ast.unparse(node)} in notebooks"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _ABSOLUTE.match(node.value):
        yield f"the absolute path {node.value!r} exists on one machine only"
    elif isinstance(node, ast.ImportFrom | ast.Import):
        yield from _import(node)
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Imports of the package are looked up in its files; nothing is imported."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        yield from (f"there is no module {name}" for name in names if not _is_module(name))
        return
    if node.level or not node.module:
        yield "no relative imports in notebooks"
    elif "*" in names:
        yield f"import the names that are used, not * from {node.module}"
    elif not _is_module(node.module):
        yield f"there is no module {node.module}"
    elif node.module.split(".")[0] == "verdict":
        known = _defined(node.module)
        missing = [name for name in names if name not in known and not _is_module(f"{node.module}.{name}")]
        for name in missing:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            yield f"{node.module} has no {name!r}{f'; the nearest is {near[0]!r}' if near else ''}"


def _file(module: str) -> Path | None:
    base = paths.LIBRARY.parent.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _is_module(name: str) -> bool:
    """Whether the package has this module; other packages are not judged."""
    return name.split(".", maxsplit=1)[0] != "verdict" or _file(name) is not None


def _defined(module: str) -> list[str]:
    """Names at the top level of one of the package's files."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names


def _call(node: ast.Call) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for needed in ("alt", "caption"):
        if name in _SHOWN and None not in given and needed not in given:
            yield f"{name} without {needed}="
    if name == "show_table" and None not in given and "caption" not in given:
        yield "show_table without caption="
    alt = given.get("alt")
    if name in _SHOWN and isinstance(alt, ast.Constant) and not str(alt.value).strip():
        yield f"{name} with an empty alt="
    if name == "say" and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        text = re.sub(r"\{[^{}]*\}", " ", node.args[0].value)
        for match in _RESULT.finditer(_NO_RESULTS.sub(" ", _PROSE_NOISE.sub(" ", text))):
            yield f"the typed number {match.group().strip()!r} in say looks like a result: write {{name}}"


def main(arguments: list[str] | None = None) -> int:
    """Print findings; 1 where there are any."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report.lint", description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path, help="notebook files")
    findings = [finding for path in parser.parse_args(arguments).notebooks for finding in lint_notebook(path)]
    for finding in findings:
        print(finding)
    print(f"{len(findings)} finding(s)", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
