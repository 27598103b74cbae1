"""A whole report: every execution of a profile as a page, and the index over them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verdict import paths, stages
from verdict.artifacts import sha256_file, write_bytes, write_json, write_text
from verdict.params import Params, load_params
from verdict.report.executions import Execution, cells_of, find_executions, merged_numbers
from verdict.report.markdown import page_of
from verdict.report.notebook import RenderError
from verdict.report.provenance import provenance
from verdict.report.render import Link, Site, banners, environment, render_page, title_and_question
from verdict.report.rubric import load_rubric

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
    """Render the pages of a profile and its index.

    Parameters
    ----------
    profile : str
        Whose `work/<profile>/` is read.
    only : str, optional
        Render pages of this notebook alone (and the index), or "index" for no other page.
    work, notebooks, target : Path, optional
        Other folders than the project's.
    is_copy : bool
        Make the small copy that is kept in git: without executed notebooks and large tables, and with the first page
        alone of a notebook that was executed several times.

    Raises
    ------
    FileNotFoundError
        If nothing was executed for the profile, or `only` names no page.
    """
    from verdict.report.index import render_index

    notebooks, target = notebooks or paths.NOTEBOOKS, target or paths.report_dir(profile)
    executions = find_executions(profile, work=work, notebooks=notebooks)
    present = [execution for execution in executions if execution.executed is not None]
    if not present:
        raise FileNotFoundError(f"nothing was executed for profile {profile!r}: run `make report PROFILE={profile}`")
    chosen = [e for e in present if only is None or only in (e.name, e.notebook)]
    if not chosen and only != INDEX:
        raise FileNotFoundError(f"no page is called {only!r}; pages are {[e.name for e in present]}")
    if is_copy:
        chosen = present = _without_repeats(present)
    site = replace(_site(profile, present, executions, notebooks), is_copy=is_copy)
    record = paths.rendered(profile) if work is None else work / paths.rendered(profile).name
    if not is_copy:
        record.unlink(missing_ok=True)
    pages, errors = [], []
    for execution in chosen:
        text, error = _page(execution, executions, site, notebooks)
        errors += [error] if error else []
        write_text(target / f"{execution.name}.html", text)
        pages.append(target / f"{execution.name}.html")
    text = render_index(
        site,
        executions,
        notebooks / (stages.index_text(params) if (params := _params(profile)) else "index.md"),
        refused=errors,
        attribution=_attribution(executions),
    )
    write_text(target / "index.html", text)
    text, error = _review(site)
    errors += [error] if error else []
    write_text(target / "review.html", text)
    for name, content in site.files.items():
        write_bytes(target / name, content)
    if only is None:
        _remove_others(target, {link.name for link in site.links} | {"index", "review"}, set(site.files))
    unfinished = tuple("; ".join([f"{e.name} is {e.status}", *e.reasons]) for e in executions if e.status != "done")
    built = Built((*pages, target / "review.html", target / "index.html"), tuple(errors), unfinished)
    if only is None and not (is_copy or errors or unfinished):
        files = [*(path.name for path in built.pages), *site.files]
        write_json(record, {name: sha256_file(target / name) for name in files})
    return built


def _without_repeats(executions: list[Execution]) -> list[Execution]:
    """Executions in their order, of trials the first of each notebook alone."""
    repeats, seen = [], set()
    for execution in executions:
        if execution.is_trial:
            repeats += [execution.name] if execution.notebook in seen else []
            seen.add(execution.notebook)
    return [execution for execution in executions if execution.name not in repeats]


def _site(profile: str, present: list[Execution], executions: list[Execution], notebooks: Path) -> Site:
    links = []
    for execution in present:
        title, question = title_and_question(cells_of(notebooks / f"{execution.notebook}.ipynb"))
        suffix = f" ({execution.variant})" if execution.variant else ""
        links.append(Link(execution.name, f"{title or execution.notebook}{suffix}", question))
    is_smoke = any(execution.run.get("is_smoke", False) for execution in executions) or profile == "smoke"
    params = _params(profile)
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


def _params(profile: str) -> Params | None:
    """The profile's parameters; None where they no longer load."""
    try:
        return load_params(profile)
    except (FileNotFoundError, ValueError):
        return None


def _page(execution: Execution, executions: list[Execution], site: Site, notebooks: Path) -> tuple[str, str]:
    """The page, or a page that says why it could not be made, with the reason."""
    live = notebooks / f"{execution.notebook}.ipynb"
    numbers = merged_numbers(executions, execution)
    try:
        if not live.is_file():
            raise RenderError(f"{live.name} no longer exists")
        return render_page(live, execution.executed, execution.run, numbers, site, execution=execution), ""
    except RenderError as error:
        return _refusal(execution, site, str(error)), str(error)


def _refusal(execution: Execution, site: Site, reason: str) -> str:
    refused = replace(execution, status="stale", reasons=(reason,))
    title = next((link.title for link in site.links if link.name == execution.name), execution.name)
    return (
        environment()
        .get_template("refused.html")
        .render(site=site, name="refused", title=title, banners=banners(refused, site, []))
    )


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


def summary(built: Built) -> dict[str, Any]:
    """Sizes of what was written, for the command line."""
    return {path.name: path.stat().st_size for path in built.pages}
