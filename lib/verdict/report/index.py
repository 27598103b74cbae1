"""The index: the answer, the claims, what ran, the targets, and where to read on."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from verdict.base.numbers import Claim, Numbers
from verdict.report.conditions import chosen_text
from verdict.report.evidence import Evidence, PageEvidence, find_evidence
from verdict.report.executions import Execution, merged_numbers
from verdict.report.exporter import SMOKE, Link, Site, banner, claim_row, executed_cells, in_unit
from verdict.report.markdown import Markdown, MarkdownError, address, numbers_from_json, paragraphs
from verdict.report.notebook import RenderError, read_notebook
from verdict.report.outputs import environment
from verdict.report.pipeline import Node, draw_jobs, draw_pipeline, jobs_of
from verdict.report.provenance import duration, provenance
from verdict.workflow import stages

# What the shipped presets were taught on, by the start of their names and the source that they fit.
SHIPPED = {"digits": "scenes of handwritten digits", "nlvr": "scenes of coloured shapes"}
TARGET_STAGE = "05_test"
TARGETS = (("test.accuracy", "Accuracy on the test split", 0.80), ("test.macro_f1", "Macro-F1 on the test split", 0.80))


def render_index(
    site: Site, executions: Sequence[Execution], text: Path, *, refused: Sequence[str] = (), attribution: str = ""
) -> str:
    """HTML of the index; the first level-1 heading of its text is the title, attribution says whose data this is.

    RenderError if the text cannot be rendered although every stage has run.
    """
    executions = list(executions)
    numbers = merged_numbers(executions)
    evidence = {e.name: page_evidence(e, text.parent) if site.has(e.name) else None for e in executions}
    ran = [execution for execution in executions if execution.status != "missing"]
    latest = max(ran, key=lambda execution: str(execution.run.get("started", "")), default=None)
    template = environment().get_template("index.html")
    return template.render(
        site=site,
        name="index",
        title=site.title,
        banners=index_banners(site, executions, refused),
        lead=_lead(site, text, numbers, is_whole=all(e.status in ("done", "stale") for e in executions)),
        targets=_targets(site, executions, numbers),
        claims=[row for execution in ran for row in _claims(site, execution, executions, evidence[execution.name])],
        counted=_counted([claim for execution in ran for claim in execution.claims]),
        pipeline=draw_pipeline(pipeline_nodes(executions)),
        jobs=draw_jobs(jobs_of(executions)),
        groups=_groups(site, executions, evidence),
        total=duration(sum(execution.elapsed_s for execution in ran)),
        n_runs=len(ran),
        provenance=provenance(latest, executions) if latest else None,
        commits=sorted({str(e.run["commit"])[:12] for e in ran if e.run.get("commit")}),
        attribution=attribution,
    )


def _lead(site: Site, text: Path, numbers: Numbers, *, is_whole: bool) -> str:
    """The opening paragraphs; a paragraph whose number does not exist yet is replaced while stages are missing."""
    if not text.is_file():
        return ""
    page = Markdown(numbers, folder=text.parent, pages=tuple(link.name for link in site.links) or None)
    parts = []
    for paragraph in paragraphs(text.read_text(encoding="utf-8")):
        try:
            parts.append(page.render(chosen_text(paragraph, numbers)))
        except MarkdownError as error:
            if is_whole:
                raise RenderError(f"{text.name}: {error}") from error
            parts.append('<p class="not-run">This paragraph waits for stages that have not run.</p>')
    return "".join(parts)


def _targets(site: Site, executions: list[Execution], numbers: Numbers) -> list[dict[str, Any]]:
    """The targets of the study; own pairs, and sources whose stages do not measure them, have none."""
    is_own = site.params is not None and site.params.data.source == "csv"
    if is_own or all(execution.notebook != TARGET_STAGE for execution in executions):
        return []
    return [_target(name, label, bound, numbers) for name, label, bound in TARGETS]


def _target(name: str, label: str, bound: float, numbers: Numbers) -> dict[str, Any]:
    number = numbers.get(name)
    if number is None:
        return {"label": label, "text": "not measured", "verdict": "open", "needed": f"target {bound:g}"}
    met = number.value >= bound
    is_sure = number.low is not None and not number.low < bound <= number.high
    verdict = ("met" if met else "not met") + ("" if is_sure else ", interval spans the target")
    needed = f"target {in_unit(bound, number.unit)}" + (f", n = {number.n:,}" if number.n else "")
    return {"label": label, "text": number.text, "verdict": verdict, "holds": met, "needed": needed}


def page_evidence(execution: Execution, notebooks: Path) -> PageEvidence | None:
    """What stands behind the numbers of a page; None where the page is refused."""
    live = notebooks / f"{execution.notebook}.ipynb"
    if execution.executed is None or not live.is_file():
        return None
    cells = read_notebook(live)
    try:
        return find_evidence(
            cells, executed_cells(cells, execution.status, read_notebook(execution.executed), live.name)
        )
    except (RenderError, KeyError, TypeError, AttributeError):
        return None


def _claims(
    site: Site, execution: Execution, executions: list[Execution], evidence: PageEvidence | None
) -> Iterator[dict[str, Any]]:
    numbers = merged_numbers(executions, execution) if execution.claims else Numbers()
    page = address(execution.name) if site.has(execution.name) else ""
    for claim in execution.claims:
        row = claim_row(claim, numbers)
        row["statement"] += f" ({execution.variant})" if execution.variant else ""
        yield row | {
            "key": f"{execution.name}#claim-{claim.id}",
            "page": page,
            "short": execution.notebook.partition("_")[0],
            "href": f"{page}#claim-{claim.id}" if evidence else page,
            "evidence": evidence.of(claim) if evidence else Evidence(),
        }


def _answer(evidence: PageEvidence | None, known: Numbers, pages: tuple[str, ...]) -> str:
    """The answer of a page as HTML, without the anchors that belong to the page itself.

    What was said carries its numbers; a text cell takes them from those known. One that names a number which is not
    there yet waits for it.
    """
    parts = []
    for told in evidence.answer if evidence else ():
        numbers = known if isinstance(told, str) else numbers_from_json(told["numbers"])
        page = Markdown(numbers, mentioned=set(numbers), pages=pages or None)
        if not isinstance(told, str):
            parts.append(page.render(told["template"], short=True))
            continue
        with contextlib.suppress(MarkdownError):
            parts.append(page.render(chosen_text(told, numbers)))
    return "".join(parts)


def _counted(claims: Sequence[Claim]) -> str:
    """How many claims hold, do not, and are not applicable, as a sentence; "" where there are none."""
    found = Counter(claim.verdict for claim in claims)
    verdicts = ("holds", "does not hold", "not applicable")
    parts = ", ".join(f"{verdict}: {found[verdict]}" for verdict in verdicts if found[verdict])
    return f"{len(claims)} claim{'' if len(claims) == 1 else 's'}; {parts}." if claims else ""


def pipeline_nodes(executions: Sequence[Execution]) -> list[Node]:
    """One node a declared or executed stage."""
    declared: dict[str, tuple[str, ...]] = {}
    for entry in (*stages.SPECS, *stages.RECORDED_SPECS, *stages.CLIP_SPECS):
        declared[entry.name] = (*declared.get(entry.name, ()), *entry.needs)
    nodes = []
    for name in dict.fromkeys([*declared, *(execution.stage for execution in executions)]):
        own = [execution for execution in executions if execution.stage == name]
        if own:
            ran = [execution for execution in own if execution.status != "missing"]
            href = next((address(execution.name) for execution in ran if execution.executed is not None), "")
            elapsed = sum(execution.elapsed_s for execution in ran)
            nodes.append(Node(name, combined_status(own), len(ran), elapsed, href, declared.get(name, ())))
    return nodes


def combined_status(executions: Sequence[Execution]) -> str:
    """The status of a stage from those of its executions."""
    found = {execution.status for execution in executions}
    if "failed" in found:
        return "failed" if found == {"failed"} else "partly"
    return next((status for status in ("stale", "done") if status in found), "missing")


def index_banners(site: Site, executions: Sequence[Execution], refused: Sequence[str]) -> list[dict[str, str]]:
    """Warnings over the whole report."""
    failed, stale, missing = (
        [execution.name for execution in executions if execution.status == status]
        for status in ("failed", "stale", "missing")
    )
    found = []
    if failed:
        headline = f"Failed: {len(failed)} of {len(executions)} executions."
        found.append(banner("failed", headline, [_few(failed)]))
    if refused:
        found.append(banner("failed", "Pages that were not rendered.", refused))
    if stale:
        reasons = sorted({reason for e in executions for reason in e.reasons if e.status == "stale"})
        headline = f"Stale: {len(stale)} page(s) no longer match the project."
        found.append(banner("stale", headline, [_few(stale), *reasons[:3]]))
    if missing:
        found.append(banner("stale", "Not everything has run.", [", ".join(missing)]))
    found += [*_of_encoders(site), *_of_temperatures(executions)]
    if site.is_copy:
        detail = "Executed notebooks, large tables and most pages of single trials are left out; make report makes all."
        found.append(banner("copy", "This is a small copy.", [detail]))
    return [*found, SMOKE] if site.is_smoke else found


def _of_encoders(site: Site) -> Iterator[dict[str, str]]:
    """A warning for each kind of shipped encoder that is shown what it was not taught on."""
    if site.params is None:
        return
    data, model, clip = site.params.data, site.params.model, site.params.clip
    shown = [(clip.source, clip.preset)] if clip.source else []
    if data.source not in ("recorded", "clip"):
        shown += [(data.source, model.vision_preset), (data.source, model.text_preset)]
    for kind, world in SHIPPED.items():
        foreign = sorted({preset for source, preset in shown if preset.startswith(f"{kind}_") and source != kind})
        if foreign:
            headline = f"Shipped encoders that know nothing but {world}: {', '.join(foreign)}."
            detail = "What they say of other pictures and sentences is no measure of what published encoders would."
            yield banner("stale", headline, [detail])


def _of_temperatures(executions: Sequence[Execution]) -> Iterator[dict[str, str]]:
    """A warning for each calibration whose temperature, or an end of its interval, is an end of what was searched."""
    for execution in executions:
        number = execution.numbers.get("calibration.temperature")
        if number is None:
            continue
        from verdict.decide.temperature import LOG_T_BOUND

        ends = (number.value, number.low, number.high)
        if any(abs(math.log(end)) > LOG_T_BOUND - 1e-6 for end in ends if end is not None and end > 0):
            whose = f" ({execution.variant})" if execution.variant else ""
            headline = f"The temperature{whose} lies at the end of the range that was searched: {number.text}."
            what = "It is no finding, and neither is what rests on it"
            yield banner("stale", headline, [f"{what}: too few rows, or logits that say next to nothing."])


def _few(names: Sequence[str]) -> str:
    """The first six names, and how many more there are."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _groups(
    site: Site, executions: list[Execution], evidence: Mapping[str, PageEvidence | None]
) -> list[dict[str, Any]]:
    """Pages in reading order, the trials of one notebook under one entry."""
    links = {link.name: link for link in site.links}
    groups: dict[str, dict[str, Any]] = {}
    for execution in executions:
        key, link = execution.notebook if execution.is_trial else execution.name, links.get(execution.name)
        if link is None:
            if group := groups.get(execution.notebook):
                group["elapsed_s"] += execution.elapsed_s
                group["n_left_out"] += execution.status == "done"
            continue
        if key not in groups:
            known, pages = merged_numbers(executions, execution), tuple(links)
            answer = "" if execution.is_trial else _answer(evidence[execution.name], known, pages)
            groups[key] = _group(link, execution, evidence[execution.name], answer)
        groups[key]["elapsed_s"] += execution.elapsed_s
        groups[key]["marks"] |= {execution.status} - {"done"}
        if execution.is_trial:
            run = {"trial": execution.run["trial"], "href": link.href, "status": execution.status}
            groups[key]["runs"].append(run)
    return [
        {**group, "elapsed": duration(group["elapsed_s"]), "marks": sorted(group["marks"])} for group in groups.values()
    ]


def _group(link: Link, execution: Execution, evidence: PageEvidence | None, answer: str) -> dict[str, Any]:
    """The entry of a page, still without its executions."""
    counts = {"figure": evidence.n_figures, "table": evidence.n_tables} if evidence else {}
    return {
        "title": link.title.removesuffix(f" ({execution.variant})") if execution.is_trial else link.title,
        "question": link.question,
        "href": link.href,
        "answer": answer,
        "holds": _counted(execution.claims),
        "shows": ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in counts.items() if n),
        "elapsed_s": 0.0,
        "runs": [],
        "n_left_out": 0,
        "marks": set(),
    }
