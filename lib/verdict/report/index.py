"""The index: the answer, the claims, what ran, the targets, and where to read on."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verdict import stages
from verdict.numbers import Claim, Numbers
from verdict.report.conditions import chosen_text
from verdict.report.evidence import Evidence, PageEvidence, find_evidence
from verdict.report.executions import Execution, merged_numbers
from verdict.report.jobs import where_it_ran
from verdict.report.markdown import Markdown, MarkdownError, address, numbers_from_json, paragraphs
from verdict.report.notebook import RenderError, read_notebook
from verdict.report.pipeline import Node, draw_pipeline
from verdict.report.provenance import duration, provenance
from verdict.report.render import Site, claim_row, environment, executed_cells, in_unit

# What the shipped presets were taught on, by the start of their names and the source that they fit.
SHIPPED = {"digits": "scenes of handwritten digits", "nlvr": "scenes of coloured shapes"}
TARGET_STAGE = "05_test"
TARGETS = (("test.accuracy", "Accuracy on the test split", 0.80), ("test.macro_f1", "Macro-F1 on the test split", 0.80))


def render_index(
    site: Site, executions: Sequence[Execution], text: Path, *, refused: Sequence[str] = (), attribution: str = ""
) -> str:
    """HTML of the index.

    Parameters
    ----------
    site : Site
        Title, profile and pages.
    executions : sequence of Execution
        As `find_executions` gives them, the missing ones included.
    text : Path
        Markdown of the answer, with `{{ name }}`; the first level-1 heading is the title.
    refused : sequence of str
        Pages that could not be rendered, and why.
    attribution : str
        Whose data this is.

    Raises
    ------
    RenderError
        If the text cannot be rendered although every stage has run.
    """
    executions = list(executions)
    numbers = merged_numbers(executions)
    evidence = {e.name: page_evidence(e, text.parent) if site.has(e.name) else None for e in executions}
    nodes = pipeline_nodes(executions)
    ran = [execution for execution in executions if execution.status != "missing"]
    return (
        environment()
        .get_template("index.html")
        .render(
            site=site,
            name="index",
            title=site.title,
            banners=index_banners(site, executions, refused),
            lead=_lead(site, text, numbers, is_whole=all(e.status in ("done", "stale") for e in executions)),
            targets=_targets(site, executions, numbers),
            claims=[row for execution in ran for row in _claims(site, execution, executions, evidence[execution.name])],
            counted=_counted([claim for execution in ran for claim in execution.claims]),
            pipeline=draw_pipeline(nodes),
            jobs=where_it_ran(executions),
            groups=_groups(site, executions, evidence),
            total=duration(sum(execution.elapsed_s for execution in ran)),
            n_runs=len(ran),
            provenance=provenance(_latest(ran), executions) if ran else None,
            commits=sorted({str(e.run["commit"])[:12] for e in ran if e.run.get("commit")}),
            attribution=attribution,
        )
    )


def _latest(executions: list[Execution]) -> Execution:
    return max(executions, key=lambda execution: str(execution.run.get("started", "")))


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
    outcome = "met" if met else "not met"
    n = f", n = {number.n:,}" if number.n else ""
    return {
        "label": label,
        "text": number.text,
        "verdict": outcome if is_sure else f"{outcome}, interval spans the target",
        "holds": met,
        "needed": f"target {in_unit(bound, number.unit)}{n}",
    }


def page_evidence(execution: Execution, notebooks: Path) -> PageEvidence | None:
    """What stands behind the numbers of a page; None where the page is refused."""
    live = notebooks / f"{execution.notebook}.ipynb"
    if execution.executed is None or not live.is_file():
        return None
    cells = read_notebook(live)
    try:
        return find_evidence(cells, executed_cells(cells, execution.status, execution.executed, live.name))
    except RenderError:
        return None


def _claims(
    site: Site, execution: Execution, executions: list[Execution], evidence: PageEvidence | None
) -> list[dict[str, Any]]:
    if not execution.claims:
        return []
    numbers = merged_numbers(executions, execution)
    page = address(execution.name) if site.has(execution.name) else ""
    rows = []
    for claim in execution.claims:
        row = claim_row(claim, numbers) | {"key": f"{execution.name}#claim-{claim.id}", "page": page}
        row |= {"short": execution.notebook.partition("_")[0], "href": f"{page}#claim-{claim.id}" if evidence else page}
        row["evidence"] = evidence.of(claim) if evidence else Evidence()
        row["statement"] += f" ({execution.variant})" if execution.variant else ""
        rows.append(row)
    return rows


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


def _shows(evidence: PageEvidence | None) -> str:
    """How much there is to see on a page."""
    counts = {"figure": evidence.n_figures, "table": evidence.n_tables} if evidence else {}
    return ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in counts.items() if n)


def _counted(claims: Sequence[Claim]) -> str:
    """How many claims hold, do not, and are not applicable, as a sentence; "" where there are none."""
    found = Counter(claim.verdict for claim in claims)
    parts = [
        f"{verdict}: {found[verdict]}" for verdict in ("holds", "does not hold", "not applicable") if found[verdict]
    ]
    return f"{len(claims)} claim{'' if len(claims) == 1 else 's'}; {', '.join(parts)}." if claims else ""


def pipeline_nodes(executions: Sequence[Execution]) -> list[Node]:
    """One node a declared or executed stage."""
    declared: dict[str, tuple[str, ...]] = {}
    for entry in (*stages.SPECS, *stages.RECORDED_SPECS, *stages.CLIP_SPECS):
        declared[entry.name] = (*declared.get(entry.name, ()), *entry.needs)
    names = list(dict.fromkeys([*declared, *(execution.stage for execution in executions)]))
    nodes = []
    for name in names:
        own = [execution for execution in executions if execution.stage == name]
        ran = [execution for execution in own if execution.status != "missing"]
        if not own:
            continue
        page = next((execution.name for execution in ran if execution.executed is not None), "")
        elapsed = sum(execution.elapsed_s for execution in ran)
        href = address(page) if page else ""
        nodes.append(Node(name, combined_status(own), len(ran), elapsed, href, declared.get(name, ())))
    return nodes


def combined_status(executions: Sequence[Execution]) -> str:
    """The status of a stage from those of its executions."""
    found = {execution.status for execution in executions}
    if "failed" in found:
        return "failed" if found == {"failed"} else "partly"
    if "stale" in found:
        return "stale"
    return "done" if "done" in found else "missing"


def index_banners(site: Site, executions: Sequence[Execution], refused: Sequence[str]) -> list[dict[str, str]]:
    """Warnings over the whole report."""
    by_status = {
        status: [execution.name for execution in executions if execution.status == status]
        for status in ("failed", "stale", "missing")
    }
    found = []
    if by_status["failed"]:
        detail = _few(by_status["failed"])
        found.append(
            {
                "kind": "failed",
                "headline": f"Failed: {len(by_status['failed'])} of {len(executions)} executions.",
                "detail": detail,
            }
        )
    if refused:
        found.append({"kind": "failed", "headline": "Pages that were not rendered.", "detail": "; ".join(refused)})
    if by_status["stale"]:
        reasons = sorted(
            {reason for execution in executions for reason in execution.reasons if execution.status == "stale"}
        )
        headline = f"Stale: {len(by_status['stale'])} page(s) no longer match the project."
        found.append(
            {"kind": "stale", "headline": headline, "detail": "; ".join([_few(by_status["stale"]), *reasons[:3]])}
        )
    if by_status["missing"]:
        found.append(
            {"kind": "stale", "headline": "Not everything has run.", "detail": ", ".join(by_status["missing"])}
        )
    found += [*_of_encoders(site), *_of_temperatures(executions)]
    if site.is_copy:
        detail = "Executed notebooks, large tables and most pages of single trials are left out; make report makes all."
        found.append({"kind": "copy", "headline": "This is a small copy.", "detail": detail})
    if site.is_smoke:
        headline = "Smoke run: made to test the machinery."
        found.append(
            {"kind": "smoke", "headline": headline, "detail": "Too little data; no number here means anything."}
        )
    return found


def _of_encoders(site: Site) -> list[dict[str, str]]:
    """A warning for each kind of shipped encoder that is shown what it was not taught on."""
    if site.params is None:
        return []
    data, model, clip = site.params.data, site.params.model, site.params.clip
    shown = [(clip.source, clip.preset)] if clip.source else []
    if data.source not in ("recorded", "clip"):
        shown += [(data.source, model.vision_preset), (data.source, model.text_preset)]
    found = []
    for kind, world in SHIPPED.items():
        foreign = sorted({preset for source, preset in shown if preset.startswith(f"{kind}_") and source != kind})
        headline = f"Shipped encoders that know nothing but {world}: {', '.join(foreign)}."
        detail = "What they say of other pictures and sentences is no measure of what published encoders would."
        found += [{"kind": "stale", "headline": headline, "detail": detail}] if foreign else []
    return found


def _of_temperatures(executions: Sequence[Execution]) -> list[dict[str, str]]:
    """A warning for each calibration whose temperature, or an end of its interval, is an end of what was searched."""
    found = []
    for execution in executions:
        number = execution.numbers.get("calibration.temperature")
        if number is None:
            continue
        from verdict.calibrate import LOG_T_BOUND

        ends = [end for end in (number.value, number.low, number.high) if end is not None and end > 0]
        if any(abs(math.log(end)) > LOG_T_BOUND - 1e-6 for end in ends):
            whose = f" ({execution.variant})" if execution.variant else ""
            headline = f"The temperature{whose} lies at the end of the range that was searched: {number.text}."
            detail = (
                "It is no finding, and neither is what rests on it: too few rows, or logits that say next to nothing."
            )
            found.append({"kind": "stale", "headline": headline, "detail": detail})
    return found


def _few(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _groups(
    site: Site, executions: list[Execution], evidence: Mapping[str, PageEvidence | None]
) -> list[dict[str, Any]]:
    """Pages in reading order, the trials of one notebook under one entry."""
    links = {link.name: link for link in site.links}
    groups: dict[str, dict[str, Any]] = {}
    for execution in executions:
        if execution.name not in links:
            for group in filter(None, [groups.get(execution.notebook)]):
                group["elapsed_s"] += execution.elapsed_s
                group["n_left_out"] += execution.status == "done"
            continue
        link = links[execution.name]
        title = link.title.removesuffix(f" ({execution.variant})") if execution.is_trial else link.title
        known, pages = merged_numbers(executions, execution), tuple(links)
        fresh = {
            "title": title,
            "question": link.question,
            "href": link.href,
            "answer": "" if execution.is_trial else _answer(evidence[execution.name], known, pages),
            "holds": _counted(execution.claims),
            "shows": _shows(evidence[execution.name]),
            "elapsed_s": 0.0,
            "runs": [],
            "n_left_out": 0,
            "marks": set(),
        }
        group = groups.setdefault(execution.notebook if execution.is_trial else execution.name, fresh)
        group["elapsed_s"] += execution.elapsed_s
        group["marks"] |= {execution.status} - {"done"}
        if execution.is_trial:
            run = {"trial": execution.run["trial"], "seed": execution.run["seed"]}
            group["runs"].append(run | {"href": link.href, "status": execution.status})
    return [
        {**group, "elapsed": duration(group["elapsed_s"]), "marks": sorted(group["marks"])} for group in groups.values()
    ]
