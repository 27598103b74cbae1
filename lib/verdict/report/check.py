"""Check a notebook in seconds, without running it: `python -m verdict.report.check 05_test`.

Besides the rules of the lint, it finds prose that a page would refuse or misread: names of numbers that do not exist,
formulas that cannot be converted, pictures without alt text, links that lead nowhere.
"""

import argparse
import ast
import html
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from verdict.base import paths
from verdict.base.files.hub import check_asked
from verdict.base.numbers import Number, Numbers
from verdict.base.params import load_params
from verdict.report.conditions import chosen_text
from verdict.report.executions import Execution, find_executions, merged_numbers
from verdict.report.lint import Finding, lint_notebook, parsed
from verdict.report.markdown import Markdown, MarkdownError, look_up, misread, page_of
from verdict.report.notebook import Cell, RenderError, matched, read_notebook
from verdict.workflow import stages

_LINK = re.compile(r'<a href="([^"]*)"')
# Headings are as they are now, not as they were rendered last.
_ID = re.compile(r'<(?!h[1-6]\b)[a-z][^>]*\bid="([^"]+)"')
_SAID = re.compile(r"\{\{?\s*([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)\s*(?:\|\s*\w+\s*)?\}")
_CONDITION = re.compile(r"\{%[^%]*%\}")
_FROM_RENDERING = ("main", "claims", "provenance", "review")


def check_notebook(path: Path, executions: Sequence[Execution], report: Path) -> list[Finding]:
    """Everything that is wrong with one notebook, or with the text of the index; outputs do not matter.

    Without executions as `find_executions` gives them, and in notebooks that the profile does not have, names of
    numbers are not checked. `report` is the folder of the rendered pages, whose anchors links may name.
    """
    is_text = path.suffix == ".md"
    found = [] if is_text else lint_notebook(path, is_committed=False)
    try:
        cells = _cells(path)
    except (RenderError, ValueError):
        return found
    own = next((execution for execution in executions if execution.notebook == path.stem), None)
    is_as_executed = _is_as_executed(path, own)
    numbers = _known(executions, own, () if is_as_executed else cells) if own or is_text else None
    page = Markdown(numbers or Numbers(), folder=path.parent, collects=True)
    for cell in cells:
        if cell.kind == "markdown":
            try:
                faults = _prose(_readable(cell.source, numbers), cell, page, numbers, path, report)
            except MarkdownError as error:
                # Whatever else is found there may be in a part that is not shown.
                found = [finding for finding in found if finding.cell != cell.index + 1]
                faults = (str(error),)
        else:
            faults = _said(cell, numbers) if numbers is not None and is_as_executed else ()
        found += [Finding(path.name, cell.index + 1, text) for text in faults]
    return sorted(found, key=lambda finding: finding.cell)


def _known(executions: Sequence[Execution], own: Execution | None, cells: Sequence[Cell]) -> Numbers | None:
    """Numbers that prose may name: the report's, and what cells may store that have not run; None without a report."""
    if not any(execution.run for execution in executions):
        return None
    numbers = merged_numbers(executions, own)
    code = "\n".join(cell.source for cell in cells if cell.kind == "code")
    named = re.findall(r"""["']([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)["']""", code)
    return Numbers(dict.fromkeys(named, Number(0.0)) | dict(numbers))


def _is_as_executed(path: Path, own: Execution | None) -> bool:
    """Whether the code is what was executed; changed code may store names that nobody knows yet."""
    try:
        return own is not None and own.executed is not None and bool(matched(path, own.executed))
    except RenderError:
        return False


def _prose(source: str, cell: Cell, page: Markdown, numbers: Numbers | None, path: Path, report: Path) -> Iterator[str]:
    page.faults.clear()
    text = page.render(source, attachments=cell.attachments)
    yield from page.faults
    yield from misread(source, text)
    for target in _LINK.findall(text):
        fault = _link(html.unescape(target), path, report, numbers)
        if fault:
            yield fault


def _link(target: str, path: Path, report: Path, numbers: Numbers | None) -> str:
    """Why a link of a page leads nowhere, "" where it does not; addresses outside the report are not looked up."""
    stem, _, anchor = map(unquote, target.partition("#"))
    if re.match(r"^(https?|mailto):", stem):
        return ""
    source = path.with_name(f"{stem.removesuffix('.html')}.ipynb") if stem else path
    if stem and (not stem.endswith(".html") or not (source.is_file() or (report / stem).is_file())):
        return f"the link to {target!r} leads nowhere: link to a notebook beside this one, such as (05_test.ipynb)"
    if anchor and anchor != "top" and anchor not in _anchors(source, report, numbers):
        return f"the link to {target!r} leads nowhere: {'that' if stem else 'this'} page has no anchor {anchor!r}"
    return ""


def _anchors(source: Path, report: Path, numbers: Numbers | None) -> set[str]:
    """Anchors of a page: those of its headings now, and of all else as the page was rendered last."""
    found = set(_FROM_RENDERING)
    pages = sorted(path.stem for path in report.glob("*.html"))
    rendered = report / f"{'index' if source.suffix == '.md' else page_of(source.stem, pages)}.html"
    if rendered.is_file():
        found |= set(_ID.findall(rendered.read_text(encoding="utf-8")))
    page = Markdown(numbers or Numbers(), folder=source.parent, collects=True)
    for cell in _cells(source) if source.is_file() else ():
        if cell.kind == "markdown":
            try:
                page.render(_readable(cell.source, numbers))
            except MarkdownError:
                # What is wrong with it is told where it stands; its headings are there.
                page.render(_readable(cell.source, None))
    return found | {heading.anchor for heading in page.headings}


def _readable(source: str, numbers: Numbers | None) -> str:
    """Prose as it can be rendered: without a report, a digit stands for every number and no part is left out."""
    if numbers is not None:
        return chosen_text(source, numbers)
    return _CONDITION.sub("", re.sub(r"\{\{[^{}]*\}\}", "0", source))


def _cells(path: Path) -> list[Cell]:
    """Cells of a notebook; of the text of the index, one."""
    return [Cell(0, "markdown", path.read_text("utf-8"), (), ())] if path.suffix == ".md" else read_notebook(path)


def _said(cell: Cell, numbers: Numbers) -> Iterator[str]:
    """Names in the sentences of a code cell that no number has."""
    for node in ast.walk(parsed(cell)):
        is_say = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say"
        first = node.args[0] if is_say and node.args else None
        template = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
        for name in _SAID.findall(template):
            try:
                look_up(name, numbers)
            except MarkdownError as error:
                yield str(error)


def chosen_notebooks(names: Sequence[str], folder: Path) -> list[Path]:
    """Files of the named notebooks, all where none is named; FileNotFoundError lists those that there are."""
    known = sorted(folder.glob("*.ipynb"))
    if not names:
        return known
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names]
    missing = [name for name in wanted if name not in {path.stem for path in known}]
    if missing:
        raise FileNotFoundError(f"no notebook is called {missing[0]!r}; there are {[path.stem for path in known]}")
    return [folder / f"{name}.ipynb" for name in wanted]


def main(arguments: list[str] | None = None) -> int:
    """Print findings; 1 where there are any."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report.check", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="such as 05_test; all by default")
    parser.add_argument("--profile", default="digits", help="whose numbers prose may name (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        params = load_params(chosen.profile)
        check_asked(params.data)
        wanted = chosen_notebooks(chosen.notebooks, paths.NOTEBOOKS)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    executions = find_executions(chosen.profile)
    if not any(execution.run for execution in executions):
        print(f"nothing was executed for profile {chosen.profile}: names of numbers are not checked", file=sys.stderr)
    report = paths.report_dir(chosen.profile)
    index = paths.NOTEBOOKS / stages.index_text(params)
    wanted += [index] if index.is_file() and not chosen.notebooks else []
    findings: list[Finding | str] = [f for path in wanted for f in check_notebook(path, executions, report)]
    findings += [Finding(path.name, 0, stages.UNDECLARED) for path in wanted if path.stem in stages.undeclared()]
    findings += [] if chosen.notebooks else stages.faults(params)
    for finding in findings:
        print(finding)
    took = f"{len(wanted)} notebook(s) in {time.perf_counter() - started:.1f} s"
    print(f"{len(findings)} finding(s), {took}", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
