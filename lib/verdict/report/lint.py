"""Rules that every notebook keeps, checked on the text alone: `python -m verdict.report.lint notebooks/*.ipynb`."""

import argparse
import ast
import difflib
import re
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import read_json
from verdict.report import notebook as notebooks
from verdict.report.notebook import QUESTION_MARKS, Cell, RenderError, code_cells, read_notebook, without_comments
from verdict.workflow.kernel import check_kernel

MAX_LINES = 15
MAX_METHOD_WORDS = 90
MAX_NUMBERS = 4
KNOWN_TAGS = frozenset({"parameters", "setup", "hide-input", "check", "save", "answer", "main", notebooks.HIDDEN_TAG})
_NEEDED = {"show_figure": ("alt", "caption"), "show_gallery": ("alt", "caption"), "show_table": ("caption",)}
_NOT_IN_NOTEBOOKS = ("sys.path", "warnings.filterwarnings", "warnings.simplefilter")
_RESULT = re.compile(
    r"(?<![\w.{])[-−]?(?:0?\.\d{2,}|\d{1,3}\.\d+\s?%|\d{1,3}\s?(?:%|per\s?cent\b)|\d+\.\d+\s?(?:points?|pp)\b)",
    re.IGNORECASE,
)
_ABSOLUTE = re.compile(r"^(?:/(?:home|root|tmp|work|mnt|data|Users|content|var|opt)\b|[A-Za-z]:\\|~/)")
_PROSE_NOISE = re.compile(
    r"\{%[^%]*%\}|```[\s\S]*?```|`[^`]*`|\$\$[\s\S]+?\$\$|\$[^$\n]+\$|\{\{[^}]*\}\}|\]\([^)]*\)|https?://\S+"
    r"|<!--[\s\S]*?-->"
)
# A choice that holds no other, and what stands between its branches.
_CHOICE = re.compile(r"\{%-?\s*if\b[^%]*%\}((?:(?!\{%-?\s*(?:if|endif)\b)[\s\S])*)\{%-?\s*endif\s*-?%\}")
_BETWEEN = re.compile(r"\{%-?\s*(?:elif|else)\b[^%]*%\}")
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
        checks = _code(cell) if cell.kind == "code" else ()
        if cell.kind == "markdown":
            checks = [f"the typed number {n!r} looks like a result: write {{{{ name }}}}" for n in _typed(cell.source)]
            checks += [*_methods(cell.source), *_crowded(cell.source, "{{")]
        found += [(cell.index + 1, text) for text in (*_tags(cell), *checks)]
    return [Finding(path.name, place, text) for place, text in found if is_committed or text not in _ON_COMMIT]


def _exhibits(cells: list[Cell]) -> Iterator[str]:
    """Claims that name no exhibit, or one that the notebook does not show."""
    files, named = set(), []
    for cell in code_cells(cells):
        for call in (node for node in ast.walk(parsed(cell)) if isinstance(node, ast.Call)):
            literals = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
            files.add(literals.get("file"))
            # What a variable holds is not known here; pages are tested once they are rendered.
            is_open = any(word.arg in (None, "exhibit") and word.arg not in literals for word in call.keywords)
            if isinstance(call.func, ast.Attribute) and call.func.attr == "claim" and not is_open:
                named.append((ast.unparse(call.args[0]) if call.args else "", literals.get("exhibit")))
    for claim, exhibit in named:
        if exhibit is None:
            yield f"the claim {claim} names no exhibit: the file of the table or figure that shows its number"
        elif exhibit not in files:
            yield f"the claim {claim} names the exhibit {exhibit!r}, which no cell shows"


def parsed(cell: Cell) -> ast.Module:
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
    n_code = sum(cell.kind == "code" and not {"parameters", "setup", "hide-input"} & set(cell.tags) for cell in cells)
    if n_code > 2 * n_text:
        yield f"{n_code} computing cells beside {n_text} cells of text: say what they are for"
    if any(cell.get("execution_count") for cell in read_json(path)["cells"]):
        yield _COUNTS


def _tags(cell: Cell) -> Iterator[str]:
    if "answer" in cell.tags and not without_comments(cell.source).strip():
        yield "the answer is empty: say it, or take the tag away"
    for tag in cell.tags:
        if tag == notebooks.INJECTED:
            yield "a cell injected by papermill: this is an executed copy"
        elif tag not in KNOWN_TAGS:
            yield f"unknown tag {tag!r}; tags are {sorted(KNOWN_TAGS)}"


def _typed(text: str) -> list[str]:
    """Digits that look like results, outside code, formulas, links and placeholders."""
    text = _NO_RESULTS.sub(" ", _PROSE_NOISE.sub(" ", text))
    return [match.group().strip() for match in _RESULT.finditer(text)]


def _at_most(text: str, sign: str) -> str:
    """A text with that branch of each choice which holds the sign most often, of equal ones the longest."""
    n_chosen = 1
    while n_chosen:
        text, n_chosen = _CHOICE.subn(
            lambda found: max(_BETWEEN.split(found[1]), key=lambda one: (one.count(sign), len(one))), text
        )
    return text


def _methods(text: str) -> Iterator[str]:
    """Method paragraphs that are too long, each choice at its longest."""
    for paragraph in re.split(r"\n\s*\n", _at_most(text, " ")):
        n_words = len(paragraph.split())
        if paragraph.lstrip().startswith("**Method.**") and n_words > MAX_METHOD_WORDS:
            yield f"a method of {n_words} words: at most {MAX_METHOD_WORDS}"


def _crowded(text: str, sign: str) -> Iterator[str]:
    """Sentences with too many numbers, each choice at its fullest; a number begins with the sign."""
    for sentence in re.split(r"(?<=[.?!])[*_]*\s+", _at_most(text, sign)):
        if (n_numbers := sentence.count(sign)) > MAX_NUMBERS:
            words = " ".join(sentence.split())[:60]
            yield f"{n_numbers} numbers in one sentence, at most {MAX_NUMBERS}: {words!r}"


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
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        is_name = len(targets) == 1 and isinstance(targets[0], ast.Name)
        if not is_name or not _is_literal(getattr(node, "value", None)):
            yield f"the `parameters` cell assigns literals only, found {ast.unparse(node)[:60]!r}"


def _is_literal(node: ast.expr | None) -> bool:
    try:
        return node is not None and not isinstance(node, ast.BinOp) and ast.literal_eval(node) is not NotImplemented
    except (ValueError, TypeError):
        return False


def _node(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield f"{name!r} is defined here; it belongs in the library"
        case ast.Lambda() if len(ast.unparse(node)) > 60:
            yield "a long lambda; it belongs in the library"
        case ast.Try():
            yield "no try in notebooks: errors stop the run"
        case ast.For() | ast.While() if sum(isinstance(part, ast.For | ast.While) for part in ast.walk(node)) > 1:
            yield "nested loops belong in the library"
        case ast.Attribute() if ast.unparse(node) in _NOT_IN_NOTEBOOKS:
            yield f"no {ast.unparse(node)} in notebooks"
        case ast.Constant(value=str(text)) if _ABSOLUTE.match(text):
            yield f"the absolute path {text!r} exists on one machine only"
        case ast.ImportFrom() | ast.Import():
            yield from _import(node)
        case ast.Call():
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
    path = _file(module)
    symbols = symtable.symtable(path.read_text(encoding="utf-8"), str(path), "exec").get_symbols()
    return [symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()]


def _call(node: ast.Call) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for needed in _NEEDED.get(name, ()):
        if None not in given and needed not in given:
            yield f"{name} without {needed}="
        elif needed == "alt" and isinstance(given.get("alt"), ast.Constant) and not str(given["alt"].value).strip():
            yield f"{name} with an empty alt="
    first = node.args[0] if name == "say" and node.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        for typed in _typed(re.sub(r"\{[^{}]*\}", " ", first.value)):
            yield f"the typed number {typed!r} in say looks like a result: write {{name}}"
        yield from _crowded(first.value, "{")


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
