"""A whole report: every execution of a profile as a page, and the index over them."""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from verdict.base import paths
from verdict.base.artifacts import content_hash, read_json, sha256_file, write_bytes, write_json, write_text
from verdict.base.numbers import Numbers
from verdict.report.executions import Execution, find_executions, merged_numbers, params_of
from verdict.report.exporter import Link, Page, Site, banners, render_page
from verdict.report.glossary import FILE as GLOSSARY
from verdict.report.markdown import Markdown, MarkdownError, page_of, plain_text
from verdict.report.notebook import QUESTION_MARKS, Cell, RenderError, read_notebook, without_comments
from verdict.report.outputs import environment
from verdict.report.provenance import provenance
from verdict.report.rubric import load_checklists, load_rubric
from verdict.workflow.code_digest import library_files, page_files
from verdict.workflow.stages import MONITOR

ATTRIBUTION = "attribution.txt"
# Which pages a build left, with what each was made from, beside the results.
PAGES = "pages.json"
INDEX = "index"
_EXPLAINED = re.compile(r'href="index\.html#(term-[^"]+)"')
_SENTENCE = re.compile(r".*?(?:[？؟]|[.?!](?=[ *_]|$))")
_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class Built:
    """What a build wrote, what it had to refuse, and executions that are missing, stale or failed."""

    pages: tuple[Path, ...]
    errors: tuple[str, ...]
    unfinished: tuple[str, ...] = ()


def build_site(profile: str, *, only: str | None = None, copy: Path | None = None) -> Built:
    """Render the pages of a profile and its index, of one notebook (and the index), or "index" alone with `only`.

    With `copy` make the small copy that is kept in git in this folder: without executed notebooks and large tables, and
    of trials with the page of the kept one alone. FileNotFoundError if nothing was executed for the profile, or `only`
    names no page.
    """
    from verdict.report.index import page_cards, page_evidence, render_index

    target, record = copy or paths.report_dir(profile), paths.rendered(profile)
    executions = find_executions(profile)
    present = [execution for execution in executions if execution.executed is not None]
    if not present:
        raise FileNotFoundError(f"nothing was executed for profile {profile!r}: run `make report PROFILE={profile}`")
    if copy:
        present = _without_repeats(present)
    chosen = [e for e in present if only is None or only in (e.name, e.notebook)]
    if not chosen and only != INDEX:
        raise FileNotFoundError(f"no page is called {only!r}; pages are {[e.name for e in present]}")
    site = replace(_site(profile, present, executions), is_copy=copy is not None)
    if not copy:
        record.unlink(missing_ok=True)
    kept, before = paths.work_dir(profile) / PAGES, {}
    if not (copy or only):
        # Where it is damaged, all pages are made anew.
        with contextlib.suppress(FileNotFoundError, ValueError):
            before = read_json(kept)
    errors: list[str] = []
    pages, made_with = {}, "" if only else _made_with(site)
    for execution in chosen:
        made_from = content_hash([made_with, _made_from(execution, site)])
        known = before.get(execution.name, {"made_from": "", "files": {}})
        if known["made_from"] != made_from or not _stand(target, known["files"]):
            known = _made(execution, site, errors, target) | {"made_from": made_from}
        pages[execution.name] = known
    texts = [path.read_text(encoding="utf-8") for path in target.glob("*.html") if path.stem != INDEX]
    explained = {anchor for text in texts for anchor in _EXPLAINED.findall(text)}
    evidence = page_evidence(site)
    index = render_index(site, evidence, refused=errors, attribution=_attribution(executions), explained=explained)
    review, lists = _review(site, page_cards(site, evidence), errors), _checklists(site, errors)
    made = {"review": review, "checklists": lists, INDEX: index}
    for name, page in made.items():
        write_text(target / f"{name}.html", page)
    files = {file: digest for known in pages.values() for file, digest in known["files"].items()}
    files |= {f"{name}.html": sha256_file(target / f"{name}.html") for name in made}
    if only is None:
        _remove_others(target, set(files))
    unfinished = tuple("; ".join([f"{e.name} is {e.status}", *e.reasons]) for e in executions if e.status != "done")
    if not (only or copy or errors):
        write_json(kept, pages)
    if not (only or copy or errors or unfinished):
        write_json(record, files)
    return Built(tuple(target / f"{name}.html" for name in (*pages, *made)), tuple(errors), unfinished)


def _made_with(site: Site) -> str:
    """Hash of what all pages are made with: the renderer, what they share, and files beside the notebooks."""
    code = {str(path): sha256_file(path) for path in (*library_files([f"import {__name__}"]), *page_files())}
    own = {path for path in paths.NOTEBOOKS.glob("*") if path.suffix in (".ipynb", ".md") and path.name != GLOSSARY}
    beside = [path for path in paths.NOTEBOOKS.rglob("*") if path.is_file() and path not in own]
    stamps = {str(path): path.stat().st_mtime_ns for path in beside}
    return content_hash([code, stamps, site.title, site.is_smoke, [asdict(link) for link in site.links]])


def _made_from(execution: Execution, site: Site) -> list[str]:
    """What one page is made from, as text: its notebooks, its record, and the numbers that its prose may name."""
    files = [sha256_file(path) if path.is_file() else "" for path in (execution.live, execution.executed)]
    told = (execution.status, execution.reasons, execution.run, execution.claims)
    return [*files, repr(told), repr(merged_numbers(site.executions, execution))]


def _stand(target: Path, files: Mapping[str, str]) -> bool:
    return all((target / name).is_file() and sha256_file(target / name) == digest for name, digest in files.items())


def _made(execution: Execution, site: Site, errors: list[str], target: Path) -> dict:
    """Write one page and its downloads; their hashes."""
    before = set(site.files)
    write_text(target / f"{execution.name}.html", _page(execution, site, errors))
    downloads = sorted(set(site.files) - before)
    for name in downloads:
        write_bytes(target / name, site.files[name])
    return {"files": {name: sha256_file(target / name) for name in (f"{execution.name}.html", *downloads)}}


def _without_repeats(executions: list[Execution]) -> list[Execution]:
    """Executions in their order, of trials one of each notebook: the kept one, or else the first."""
    chosen = {e.notebook: e.name for e in executions if e.name == _of_kept_trial(e.notebook, executions)}
    return [e for e in executions if not e.is_trial or chosen.setdefault(e.notebook, e.name) == e.name]


def _of_kept_trial(stem: str, executions: Iterable[Execution]) -> str:
    """What the page of a notebook is called that was executed for the kept trial."""
    kept = next((e.numbers["selection.trial"].words for e in executions if "selection.trial" in e.numbers), "")
    return f"{stem}-{kept}"


def _site(profile: str, present: list[Execution], executions: list[Execution]) -> Site:
    links = []
    for execution in present:
        cells = read_notebook(execution.live) if execution.live.is_file() else []
        title, question = title_and_question(cells)
        suffix = f" ({execution.variant})" if execution.variant else ""
        links.append(Link(execution.name, f"{title or execution.notebook}{suffix}", question))
    is_smoke = any(execution.run.get("is_smoke", False) for execution in executions) or profile == "smoke"
    params = params_of(profile)
    return Site(profile, params.title if params else "Verdict", links, is_smoke, executions, params)


def _review(site: Site, cards: list[dict], errors: list[str]) -> str:
    """The page of all notes and the rubric, of which only what this report has pages for is asked.

    Beside each question stand the cards of its pages. A rubric that cannot be read is left out, as one of the errors.
    """
    rubric = _loaded(load_rubric, errors)
    unused = {card["href"]: card for card in cards}
    asked = rubric.criteria if rubric else ()
    beside = {criterion.id: [_card(link, unused) for link in _look(site, criterion.look)] for criterion in asked}
    if rubric:
        asked = tuple(criterion for criterion in asked if beside[criterion.id] or not criterion.look)
        rubric = rubric.model_copy(update={"criteria": asked})
    latest = max((e for e in site.executions if e.run), key=lambda e: str(e.run.get("started", "")))
    run = provenance(latest)["run"]
    template = environment().get_template("review.html")
    return template.render(site=site, name="review", rubric=rubric, cards=beside, run=run)


def _loaded(load: Callable[[], _Loaded], errors: list[str]) -> _Loaded | None:
    """What a file holds; None where it cannot be read, which is one of the errors then."""
    try:
        return load()
    except ValueError as error:
        errors.append(str(error))
    return None


def _card(link: Link, unused: dict) -> dict:
    """The card of a page, once, since ids of its drawing stand once on a page; then, and without one, its link."""
    return unused.pop(link.href, {"href": link.href, "title": link.title, "thumbnail": "", "holds": "", "answer": ""})


def _checklists(site: Site, errors: list[str]) -> str:
    """The page of checklists; those that cannot be read are left out, and are one of the errors."""
    marks = {"done": "holds", "partly": "open", "not done": "fails", "not applicable": "open"}
    template = environment().get_template("checklists.html")
    shown = {"checklists": _loaded(load_checklists, errors) or (), "marks": marks}
    return template.render(site=site, name="checklists", look=lambda item: _look(site, item.look), **shown)


def _look(site: Site, stems: Iterable[str]) -> list[Link]:
    """The pages of this report among those that somebody is sent to, of trials that of the kept one."""
    links = {link.name: link for link in (Link(INDEX, "Index"), *site.links)}
    named = [(_of_kept_trial(stem, site.executions), page_of(stem, tuple(links))) for stem in stems]
    return [links[kept if kept in links else first] for kept, first in named if first]


def _attribution(executions: list[Execution]) -> str:
    """Whose data this is: what a stage left in `attribution.txt`."""
    files = [execution.folder / ATTRIBUTION for execution in executions if execution.folder is not None]
    return "\n".join(file.read_text(encoding="utf-8").strip() for file in files if file.is_file())


def _page(execution: Execution, site: Site, errors: list[str]) -> str:
    """The page, or one that says why it could not be made, which is one of the errors then."""
    try:
        if not execution.live.is_file():
            raise RenderError(f"{execution.live.name} no longer exists")
        return render_page(execution, site)
    except RenderError as error:
        errors.append(str(error))
    refused = replace(execution, status="stale", reasons=(errors[-1],))
    title = next(link.title for link in site.links if link.name == execution.name)
    template = environment().get_template("refused.html")
    return template.render(site=site, name="refused", title=title, banners=banners(refused, site))


def page_of_file(executed: Path) -> Page:
    """The page of an executed notebook of the project, with all that its report knows.

    FileNotFoundError if no report has it.
    """
    executed = executed.resolve()
    inside = executed.relative_to(paths.WORK.resolve()).parts if executed.is_relative_to(paths.WORK.resolve()) else ()
    executions = find_executions(inside[0], with_former=True) if inside else []
    own = next((e for e in executions if e.executed and e.executed.resolve() == executed), None)
    if own is None:
        told = "is no executed notebook of a report, such as work/digits/05_test/executed.ipynb"
        raise FileNotFoundError(f"{executed} {told}")
    return Page(own, _site(inside[0], [e for e in executions if e.executed], executions))


def title_and_question(cells: list[Cell]) -> tuple[str, str]:
    """Title of a notebook and the first sentence of it that asks something, from its first text cell."""
    first = next((cell.source for cell in cells if cell.kind == "markdown"), "")
    lines = [line.strip() for line in without_comments(first).splitlines() if line.strip()]
    title = next((line.lstrip("#").strip() for line in lines if line.startswith("# ")), "")
    body = " ".join(line for line in lines if not line.startswith("#"))
    asked = (sentence.strip() for sentence in _SENTENCE.findall(body) if sentence.endswith(QUESTION_MARKS))
    question = next(asked, title if title.endswith(QUESTION_MARKS) else "")
    return _as_read(title), _as_read(question.replace("**", "").strip("*_ "))


def _as_read(text: str) -> str:
    """A line of prose as its page shows it; as it is written where it names a number."""
    try:
        return plain_text(Markdown(Numbers()).render(f"# {text}")) if text else ""
    except MarkdownError:
        return text


def _remove_others(target: Path, files: set[str]) -> None:
    """Drop pages and downloads of an earlier build but the monitor's; nothing else is touched."""
    for path in target.glob("*.html"):
        if path.name not in files and path.stem != MONITOR:
            path.unlink()
    # What a folder holds comes before the folder.
    for path in sorted((target / "files").rglob("*"), reverse=True):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in files and not name.startswith((f"files/{MONITOR}/", f"files/{MONITOR}.")):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
