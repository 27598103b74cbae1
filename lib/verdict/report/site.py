"""A whole report: every execution of a profile as a page, and the index over them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import sha256_file, write_bytes, write_json, write_text
from verdict.base.numbers import Numbers
from verdict.report.executions import Execution, find_executions, merged_numbers, params_of
from verdict.report.exporter import Link, Page, Site, banners, render_page
from verdict.report.markdown import Markdown, MarkdownError, page_of, plain_text
from verdict.report.notebook import QUESTION_MARKS, Cell, RenderError, read_notebook, without_comments
from verdict.report.outputs import environment
from verdict.report.provenance import provenance
from verdict.report.rubric import load_rubric
from verdict.workflow import stages

ATTRIBUTION = "attribution.txt"
INDEX = "index"


@dataclass(frozen=True)
class Built:
    """What a build wrote, what it had to refuse, and executions that are missing, stale or failed."""

    pages: tuple[Path, ...]
    errors: tuple[str, ...]
    unfinished: tuple[str, ...] = ()


def build_site(
    profile: str,
    *,
    only: str | None = None,
    work: Path | None = None,
    notebooks: Path | None = None,
    target: Path | None = None,
    is_copy: bool = False,
) -> Built:
    """Render the pages of a profile and its index, of one notebook (and the index), or "index" alone with `only`.

    With `is_copy` make the small copy that is kept in git: without executed notebooks and large tables, and with the
    first page alone of a notebook that was executed several times. FileNotFoundError if nothing was executed for the
    profile, or `only` names no page.
    """
    from verdict.report.index import render_index

    notebooks, target = notebooks or paths.NOTEBOOKS, target or paths.report_dir(profile)
    executions = find_executions(profile, work=work, notebooks=notebooks)
    present = [execution for execution in executions if execution.executed is not None]
    if not present:
        raise FileNotFoundError(f"nothing was executed for profile {profile!r}: run `make report PROFILE={profile}`")
    if is_copy:
        present = _without_repeats(present)
    chosen = [e for e in present if only is None or only in (e.name, e.notebook)]
    if not chosen and only != INDEX:
        raise FileNotFoundError(f"no page is called {only!r}; pages are {[e.name for e in present]}")
    site = replace(_site(profile, present, executions, notebooks), is_copy=is_copy)
    record = paths.rendered(profile) if work is None else work / paths.rendered(profile).name
    if not is_copy:
        record.unlink(missing_ok=True)
    made = {execution.name: _page(execution, executions, site, notebooks) for execution in chosen}
    text = notebooks / (stages.index_text(site.params) if site.params else "index.md")
    refused = [error for _, error in made.values() if error]
    index = render_index(site, executions, text, refused=refused, attribution=_attribution(executions))
    made |= {"review": _review(site), INDEX: (index, "")}
    for name, (page, _) in made.items():
        write_text(target / f"{name}.html", page)
    for name, content in site.files.items():
        write_bytes(target / name, content)
    if only is None:
        _remove_others(target, set(made), set(site.files))
    unfinished = tuple("; ".join([f"{e.name} is {e.status}", *e.reasons]) for e in executions if e.status != "done")
    errors = tuple(error for _, error in made.values() if error)
    built = Built(tuple(target / f"{name}.html" for name in made), errors, unfinished)
    if only is None and not (is_copy or errors or unfinished):
        files = [*(path.name for path in built.pages), *site.files]
        write_json(record, {name: sha256_file(target / name) for name in files})
    return built


def _without_repeats(executions: list[Execution]) -> list[Execution]:
    """Executions in their order, of trials the first of each notebook alone."""
    first: dict[str, str] = {}
    return [e for e in executions if not e.is_trial or first.setdefault(e.notebook, e.name) == e.name]


def _site(profile: str, present: list[Execution], executions: list[Execution], notebooks: Path) -> Site:
    links = []
    for execution in present:
        live = notebooks / f"{execution.notebook}.ipynb"
        title, question = title_and_question(read_notebook(live) if live.is_file() else [])
        suffix = f" ({execution.variant})" if execution.variant else ""
        links.append(Link(execution.name, f"{title or execution.notebook}{suffix}", question))
    is_smoke = any(execution.run.get("is_smoke", False) for execution in executions) or profile == "smoke"
    params = params_of(profile)
    return Site(profile, params.title if params else "Verdict", links, is_smoke, executions, params)


def _review(site: Site) -> tuple[str, str]:
    """The page of all notes and the rubric, of which only what this report has pages for is asked.

    A rubric that cannot be read is left out, with the reason.
    """
    try:
        rubric, error = load_rubric(), ""
    except ValueError as fault:
        rubric, error = None, str(fault)
    links = {link.name: link for link in (Link("index", "Index"), *site.links)}
    pages = {
        criterion.id: [links[name] for stem in criterion.look if (name := page_of(stem, tuple(links)))]
        for criterion in (rubric.criteria if rubric else ())
    }
    if rubric:
        asked = tuple(criterion for criterion in rubric.criteria if pages[criterion.id] or not criterion.look)
        rubric = rubric.model_copy(update={"criteria": asked})
    latest = max((e for e in site.executions if e.run), key=lambda e: str(e.run.get("started", "")), default=None)
    run = provenance(latest)["run"] if latest else ""
    template = environment().get_template("review.html")
    return template.render(site=site, name="review", rubric=rubric, pages=pages, run=run), error


def _attribution(executions: list[Execution]) -> str:
    """Whose data this is: what a stage left in `attribution.txt`."""
    files = [execution.folder / ATTRIBUTION for execution in executions if execution.folder is not None]
    return "\n".join(file.read_text(encoding="utf-8").strip() for file in files if file.is_file())


def _page(execution: Execution, executions: list[Execution], site: Site, notebooks: Path) -> tuple[str, str]:
    """The page, or a page that says why it could not be made, with the reason."""
    live = notebooks / f"{execution.notebook}.ipynb"
    numbers = merged_numbers(executions, execution)
    try:
        if not live.is_file():
            raise RenderError(f"{live.name} no longer exists")
        return render_page(live, execution, numbers, site), ""
    except RenderError as error:
        return _refusal(execution, site, str(error)), str(error)


def _refusal(execution: Execution, site: Site, reason: str) -> str:
    refused = replace(execution, status="stale", reasons=(reason,))
    title = next((link.title for link in site.links if link.name == execution.name), execution.name)
    template = environment().get_template("refused.html")
    return template.render(site=site, name="refused", title=title, banners=banners(refused, site))


def page_of_file(executed: Path) -> Page:
    """The page of an executed notebook of the project, with all that its report knows.

    FileNotFoundError if no report has it.
    """
    executed = executed.resolve()
    inside = executed.relative_to(paths.WORK.resolve()).parts if executed.is_relative_to(paths.WORK.resolve()) else ()
    executions = find_executions(inside[0]) if inside else []
    own = next((e for e in executions if e.executed and e.executed.resolve() == executed), None)
    if own is None:
        raise FileNotFoundError(
            f"{executed} is no executed notebook of a report, such as work/digits/05_test/executed.ipynb"
        )
    site = _site(inside[0], [e for e in executions if e.executed], executions, paths.NOTEBOOKS)
    return Page(paths.NOTEBOOKS / f"{own.notebook}.ipynb", own, merged_numbers(executions, own), site)


def title_and_question(cells: list[Cell]) -> tuple[str, str]:
    """Title of a notebook and the first sentence of it that asks something, from its first text cell."""
    first = next((cell.source for cell in cells if cell.kind == "markdown"), "")
    lines = [line.strip() for line in without_comments(first).splitlines() if line.strip()]
    title = next((line.lstrip("#").strip() for line in lines if line.startswith("# ")), "")
    body = " ".join(line for line in lines if not line.startswith("#"))
    question = next((part for part in _sentences(body) if part.endswith(QUESTION_MARKS)), "")
    if not question and title.endswith(QUESTION_MARKS):
        question = title
    return _as_read(title), _as_read(question.replace("**", "").strip("*_ "))


def _sentences(text: str) -> list[str]:
    out, start = [], 0
    for place, char in enumerate(text):
        if char in QUESTION_MARKS[1:] or (char in ".?!" and (place + 1 == len(text) or text[place + 1] in " *_")):
            out.append(text[start : place + 1].strip())
            start = place + 1
    return out


def _as_read(text: str) -> str:
    """A line of prose as its page shows it; as it is written where it names a number."""
    try:
        return plain_text(Markdown(Numbers()).render(f"# {text}")) if text else ""
    except MarkdownError:
        return text


def _remove_others(target: Path, pages: set[str], files: set[str]) -> None:
    """Drop pages and downloads of an earlier build; nothing else is touched."""
    for path in target.glob("*.html"):
        if path.stem not in pages:
            path.unlink()
    folder = target / "files"
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and path.relative_to(target).as_posix() not in files:
            path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else []:
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
