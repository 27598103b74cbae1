"""The index: the answer in pictures, what does not hold, the pages, all claims, the glossary; and what ran, as two
pictures: the stages with what they need, and a timeline of the jobs at every place.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from graphlib import TopologicalSorter

from jinja2 import UndefinedError

from verdict.base import paths
from verdict.base.artifacts import read_run
from verdict.base.numbers import Claim, Number, Numbers
from verdict.base.refusals import first_of
from verdict.report.conditions import chosen_text
from verdict.report.evidence import PageExhibits, find_exhibits, interval_rows, shown_again, thumbnail
from verdict.report.executions import Execution, duration, merged_numbers, provenance
from verdict.report.exporter import SMOKE, Link, Site, banner, claim_row, in_unit
from verdict.report.glossary import Explainer, load_glossary
from verdict.report.markdown import Heading, Markdown, MarkdownError, address, numbers_from_json, paragraphs
from verdict.report.notebook import RenderError, matched
from verdict.report.outputs import MIME, environment
from verdict.workflow import stages

# What the shipped presets were taught on, by the start of their names and the source that they fit.
SHIPPED = {"digits": "scenes of handwritten digits", "nlvr": "scenes of coloured shapes"}
TARGET_STAGE = "05_test"
TARGETS = (("test.accuracy", "Accuracy on the test split", 0.80), ("test.macro_f1", "Macro-F1 on the test split", 0.80))
# A paragraph of the text that is replaced by a page's drawing of this file name, or by rows of numbers.
_SHOWN = re.compile(r"<!-- show (?P<file>[\w.-]+) -->|<!-- intervals (?P<names>[\w. ]+) -->")
WAITS = '<p class="not-run">This paragraph waits for stages that have not run.</p>'
# What a drawing raises that cannot be read; its page says so.
DAMAGED = (KeyError, TypeError, IndexError, AttributeError, ValueError, OSError, UndefinedError)


Known = Mapping[str, PageExhibits | None]


def page_evidence(site: Site) -> Known:
    """What stands behind the numbers of each page, by its name; None for one that is refused."""
    pages = {link.name for link in site.links}
    return {e.name: _evidence(e) for e in site.executions if e.name in pages}


def render_index(
    site: Site, evidence: Known, *, refused: Sequence[str] = (), attribution: str = "", explained: Collection[str] = ()
) -> str:
    """HTML of the index; the first level-1 heading of its text is the title, attribution says whose data this is.

    `evidence` is that of `page_evidence`; `explained` are anchors of the terms that other pages lead to; the glossary
    holds these and the index's own.
    RenderError if the text cannot be rendered although every stage has run.
    """
    executions = site.executions
    ran = [execution for execution in executions if execution.status != "missing"]
    latest = max(ran, key=lambda execution: str(execution.run.get("started", "")))
    template, glossary = environment().get_template("index.html"), load_glossary()
    shown: list[str] = []
    explainer = Explainer(glossary)
    parts = _opening(site, evidence, explainer, shown)
    titles = {link.name: link.title for link in site.links}
    claims = [(titles.get(e.name, e.name), list(_claims(site, e, evidence))) for e in ran if e.claims]
    return template.render(
        site=site,
        name="index",
        title=site.title,
        banners=index_banners(site, refused),
        parts=parts,
        targets=targets(site),
        claims=[(title, [row for row in rows if row["mark"] != "fails"]) for title, rows in claims],
        failing=[row for _, rows in claims for row in rows if row["mark"] == "fails"],
        counted=_counted([claim for execution in ran for claim in execution.claims]),
        pipeline=draw_pipeline(nodes_of(executions)),
        jobs=draw_jobs(jobs_of(executions)),
        groups=page_cards(site, evidence, shown),
        duration=duration,
        total=duration(sum(execution.elapsed_s for execution in ran)),
        n_runs=len(ran),
        provenance=provenance(latest, executions),
        commits=sorted({str(e.run["commit"])[:12] for e in ran if e.run.get("commit")}),
        level=site.params.statistics.level if site.params else None,
        glossary=[term for term in glossary if term.name in explainer.told or term.anchor in explained],
        attribution=attribution,
    )


def _opening(site: Site, evidence: Known, explainer: Explainer, shown: list[str]) -> list[dict]:
    """The opening from one heading to the next, each with its text and its drawings as HTML; a paragraph whose number
    does not exist yet is replaced while stages are missing.

    The files that it shows are noted in `shown`; what no page of this report draws is left out.
    """
    text, found = paths.NOTEBOOKS / (stages.index_text(site.params) if site.params else "index.md"), [_part(None)]
    if not text.is_file():
        return found
    numbers, is_whole = merged_numbers(site.executions), all(e.status in ("done", "stale") for e in site.executions)
    page = Markdown(numbers, folder=text.parent, pages=tuple(link.name for link in site.links) or None)
    for paragraph in paragraphs(text.read_text(encoding="utf-8")):
        try:
            source = chosen_text(paragraph, numbers).strip()
            if to_show := _SHOWN.fullmatch(source):
                if file := to_show["file"]:
                    drawing = _again(file, site.links, evidence, f"i{len(shown)}-")
                    shown.append(file)
                else:
                    drawing = interval_rows(to_show["names"].split(), numbers)
                found[-1]["drawings"] += [drawing] if drawing else []
                continue
            n_before, rendered = len(page.headings), page.render(source)
        except MarkdownError as error:
            if is_whole:
                raise RenderError(f"{text.name}: {error}") from error
            n_before, rendered = len(page.headings), WAITS
        found += [_part(heading) for heading in page.headings[n_before:] if heading.level == 2]
        found[-1]["text"] += explainer.explained(rendered)
    return found


def _part(heading: Heading | None) -> dict:
    return {"heading": heading, "text": "", "drawings": []}


def _again(file: str, links: Sequence[Link], evidence: Known, prefix: str) -> str:
    """The first page's drawing of this name; "" where there is none."""
    for link in links:
        page = evidence.get(link.name)
        drawn = page.by_file.get(file) if page else None
        if drawn in (page.drawn if page else ()):
            label = f"{link.title}, {drawn.shown.lower()}"
            with contextlib.suppress(*DAMAGED):
                return shown_again(drawn, f"{link.href}#{drawn.anchor}", label, prefix)
    return ""


def targets(site: Site) -> list[dict]:
    """The targets of the study; own pairs, and sources whose stages do not measure them, have none."""
    is_own = site.params is not None and site.params.data.is_own
    if is_own or all(execution.notebook != TARGET_STAGE for execution in site.executions):
        return []
    numbers = merged_numbers(site.executions)
    return [{"label": label, **_target(numbers.get(name), bound)} for name, label, bound in TARGETS]


def _target(number: Number | None, bound: float) -> dict:
    if number is None:
        return {"text": "not measured", "verdict": "open", "needed": f"target {bound:g}"}
    met = number.value >= bound
    is_sure = number.low is not None and not number.low < bound <= number.high
    verdict = ("met" if met else "not met") + ("" if is_sure else ", interval spans the target")
    needed = f"target {in_unit(bound, number.unit)}" + (f", n = {number.n:,}" if number.n else "")
    return {"text": number.text, "verdict": verdict, "holds": met, "needed": needed}


def _evidence(execution: Execution) -> PageExhibits | None:
    """What stands behind the numbers of a page; None where the page is refused."""
    try:
        return find_exhibits(*matched(execution.live, execution.executed, is_failed=execution.status == "failed"))
    except (OSError, RenderError, KeyError, TypeError, AttributeError):
        return None


def _claims(site: Site, execution: Execution, known: Known) -> Iterator[dict]:
    numbers = merged_numbers(site.executions, execution) if execution.claims else Numbers()
    page = address(execution.name) if execution.name in known else ""
    for claim in execution.claims:
        row = claim_row(claim, numbers)
        row["statement"] += f" ({execution.variant})" if execution.variant else ""
        href = f"{page}#claim-{claim.id}" if known.get(execution.name) else page
        yield row | {"key": f"{execution.name}#claim-{claim.id}", "page": page, "href": href}


def _answer(evidence: PageExhibits | None, known: Numbers, pages: tuple[str, ...]) -> str:
    """The first paragraph of a page's answer as HTML, without the anchors that belong to the page itself.

    What was said carries its numbers; a text cell takes them from those known. One that names a number which is not
    there yet waits for it.
    """
    told = evidence.answer[0] if evidence and evidence.answer else ""
    is_text = isinstance(told, str)
    numbers = known if is_text else numbers_from_json(told["numbers"])
    page = Markdown(numbers, mentioned=set(numbers), pages=pages)
    with contextlib.suppress(MarkdownError):
        source = chosen_text(told, numbers) if is_text else told["template"]
        return page.render(next(iter(paragraphs(source)), ""), short=not is_text)
    return ""


def _counted(claims: Sequence[Claim]) -> str:
    """How many claims hold, as a sentence; "" where there are none."""
    found = Counter(claim.verdict for claim in claims)
    rest = f"; {found['not applicable']} not applicable" if found["not applicable"] else ""
    counted = "claim holds" if len(claims) == 1 else "claims hold"
    return f"{found['holds']} of {len(claims)} {counted}{rest}." if claims else ""


def index_banners(site: Site, refused: Sequence[str] = ()) -> list[dict[str, str]]:
    """Warnings over the whole report."""
    executions, found = site.executions, []
    states = ("failed", "stale", "missing")
    failed, stale, missing = ([one.name for one in executions if one.status == status] for status in states)
    if failed:
        headline = f"Failed: {len(failed)} of {len(executions)} executions."
        found.append(banner("failed", headline, [first_of(failed, 6)]))
    if refused:
        found.append(banner("failed", "Pages that were not rendered.", refused))
    if stale:
        reasons = sorted({reason for e in executions for reason in e.reasons if e.status == "stale"})
        headline = f"Stale: {len(stale)} page(s) no longer match the project."
        found.append(banner("stale", headline, [first_of(stale, 6), *reasons[:3]]))
    if missing:
        found.append(banner("stale", "Not everything has run.", [", ".join(missing)]))
    found += [*_of_encoders(site), *_of_temperatures(executions)]
    if site.is_copy:
        detail = "Executed notebooks, large tables and most single trials are left out; “make report” makes all."
        found.append(banner("copy", "This is a small copy.", [detail]))
    return [*found, SMOKE] if site.is_smoke else found


def _of_encoders(site: Site) -> Iterator[dict[str, str]]:
    """A warning for each kind of shipped encoder that is shown what it was not taught on."""
    if site.params is None:
        return
    data, model, clip = site.params.data, site.params.model, site.params.clip
    shown = [(clip.source, clip.preset)] if clip.source else []
    if not (data.is_given or data.source == "clip"):
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
        if "calibration.temperature_at_bound" in execution.numbers:
            ends, number = (execution.numbers[f"calibration.temperature{end}"] for end in ("_at_bound", ""))
            whose = f" ({execution.variant})" if execution.variant else ""
            headline = f"The temperature{whose} lies at the end of the range that was searched: {number.text}."
            what = "It is no finding, and neither is what rests on it"
            if ends.value:
                yield banner("stale", headline, [f"{what}: too few rows, or logits that say next to nothing."])


def page_cards(site: Site, evidence: Known, chosen: Sequence[str] = ()) -> list[dict]:
    """Pages in reading order, the trials of one notebook under one entry; each with a thumbnail of its main drawing.

    That is the first whose file is among those `chosen` for the opening, else the page's main one.
    """
    links = {link.name: link for link in site.links}
    groups: dict[str, dict] = {}
    for execution in site.executions:
        key, link = execution.notebook if execution.is_trial else execution.name, links.get(execution.name)
        if link is None:
            if group := groups.get(execution.notebook):
                group["elapsed_s"] += execution.elapsed_s
                group["n_left_out"] += execution.status == "done"
            continue
        if key not in groups:
            shown = evidence[execution.name]
            numbers = merged_numbers(site.executions, execution)
            answer = "" if execution.is_trial else _answer(shown, numbers, tuple(links))
            groups[key] = {
                "title": link.title.removesuffix(f" ({execution.variant})") if execution.is_trial else link.title,
                "question": link.question,
                "href": link.href,
                "holds": _counted(execution.claims),
                "thumbnail": "",
                # What it links to on its own page is elsewhere for whoever reads the card.
                "answer": answer.replace('href="#', f'href="{link.href}#'),
                **{"elapsed_s": 0.0, "runs": [], "n_left_out": 0, "marks": set()},
            }
        groups[key]["thumbnail"] = groups[key]["thumbnail"] or _thumbnail(evidence[execution.name], chosen)
        groups[key]["elapsed_s"] += execution.elapsed_s
        groups[key]["marks"] |= {execution.status} - {"done"}
        if execution.is_trial:
            run = {"trial": execution.variant, "href": link.href, "status": execution.status}
            groups[key]["runs"].append(run)
    return list(groups.values())


def _thumbnail(shown: PageExhibits | None, chosen: Sequence[str]) -> str:
    """A page's main drawing, small; "" without one, or where its page says that it cannot be read."""
    drawn = shown.drawn if shown else ()
    main = next((e for e in drawn if e.data[MIME].get("file") in chosen), next(iter(drawn), None))
    with contextlib.suppress(*DAMAGED):
        return thumbnail(main) if main else ""
    return ""


BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 204, 54, 18, 30, 6


def nodes_of(executions: Sequence[Execution]) -> list[dict]:
    """One node a stage that was executed, or is to be, those declared first: name, status (done, partly, stale, failed
    or missing), detail (how often it ran, mean wall time), href, needs.
    """
    needs: dict[str, tuple[str, ...]] = {}
    for entry in (*stages.SPECS, *stages.RECORDED_SPECS, *stages.CLIP_SPECS):
        needs[entry.name] = (*needs.get(entry.name, ()), *entry.needs)
    nodes = []
    for name in dict.fromkeys((*needs, *(execution.stage for execution in executions))):
        own = [execution for execution in executions if execution.stage == name]
        ran = [execution for execution in own if execution.status != "missing"]
        found = {execution.status for execution in own}
        status = next((one for one in ("failed", "stale", "done", "missing") if one in found), "")
        href = next((address(execution.name) for execution in ran if execution.executed is not None), "")
        mean = duration(sum(execution.elapsed_s for execution in ran) / max(len(ran), 1))
        detail = f"{len(ran)} × {mean}" if len(ran) > 1 else mean if ran else "not run"
        if own:
            partly = status == "failed" and len(found) > 1
            told = {"status": "partly" if partly else status, "detail": detail, "href": href}
            nodes.append({"name": name, "needs": needs.get(name, ()), **told})
    return nodes


def _ordered(nodes: Sequence[dict]) -> tuple[dict[str, list[str]], dict[str, set[str]], dict[str, int]]:
    """What each stage needs of the others, all that these need too, and the length of the longest path to it."""
    names, above, depth = {node["name"] for node in nodes}, {}, {}
    needs = {node["name"]: [need for need in node["needs"] if need in names] for node in nodes}
    for name in TopologicalSorter(needs).static_order():
        above[name] = {one for need in needs[name] for one in (need, *above[need])}
        depth[name] = 1 + max((depth[need] for need in needs[name]), default=-1)
    return needs, above, depth


def placed(nodes: Sequence[dict]) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Left upper corner of every stage's box, and width and height of the whole, all in pixels.

    Stages that share nothing stand below each other.
    """
    needs, _, depth = _ordered(nodes)
    group = {name: name for name in needs}
    for name, need in ((name, need) for name, own in needs.items() for need in own):
        old, new = group[need], group[name]
        group = {other: new if mark == old else mark for other, mark in group.items()}
    levels: list[list[dict]] = []
    for mark in dict.fromkeys(group.values()):
        own = [node for node in nodes if group[node["name"]] == mark]
        levels += [
            [node for node in own if depth[node["name"]] == k] for k in sorted({depth[node["name"]] for node in own})
        ]
        levels.append([])
    place: dict[str, tuple[float, float]] = {}
    top, step = float(MARGIN), BOX_W + GAP_X
    widest = max(map(len, levels)) * step

    def parents_x(node: dict) -> float:
        """Mean place of what a stage needs: sorting by it keeps arrows from crossing."""
        known = [place[need][0] for need in node["needs"] if need in place]
        return sum(known) / len(known) if known else 0.0

    for level in levels[:-1]:
        start = MARGIN + (widest - len(level) * step) / 2
        for k, node in enumerate(sorted(level, key=parents_x)):
            place[node["name"]] = (start + k * step, top)
        top += BOX_H + GAP_Y if level else GAP_Y
    return place, widest - GAP_X + 2 * MARGIN, top - GAP_Y + MARGIN


def draw_pipeline(nodes: Sequence[dict]) -> str:
    """An SVG picture of the stages from top to bottom, with arrows for needs that no other need implies."""
    place, width, height = placed(nodes)
    known = {"box_w": BOX_W, "box_h": BOX_H, "gap_y": GAP_Y, "place": place, "width": width, "height": height}
    needs, above, _ = _ordered(nodes)
    implied = {name: set().union(*(above[need] for need in own)) for name, own in needs.items()}
    arrows = {name: [need for need in own if need not in implied[name]] for name, own in needs.items()}
    shown = {"nodes": nodes, "arrows": arrows, "in_words": stages.in_words}
    return environment().get_template("pipeline.html").render(**shown, **known)


def job_of(name: str, run: dict) -> dict:
    """One job of a report: a stage, with its trial.

    The node is "unknown" in records that do not say it, the scheduler's number "" on one machine, memory (mem_mb) 0
    where nothing was asked for; times are seconds, since 1970 and from start to record, `started` is for readers, UTC.
    """
    host, started = run.get("host", {}), datetime.fromisoformat(str(run["started"])).astimezone(UTC)
    times = {"started_s": started.timestamp(), "elapsed_s": float(run.get("elapsed_s") or 0.0)}
    place = {"node": str(host.get("node", "unknown")), "number": str(host.get("job", ""))}
    place |= {"mem_mb": int(host.get("mem_mb", 0)), "device": str(run.get("device", "unknown"))}
    ends = {"started": f"{started:%Y-%m-%d %H:%M:%S}", "ended_s": sum(times.values())}
    return {"name": name, **place, **times, **ends}


def jobs_of(executions: Sequence[Execution]) -> list[dict]:
    """Jobs of a profile's executions that ran to their end, shards of the features and seeds trained apart included."""
    ran = [execution for execution in executions if execution.run.get("started")]
    found = [job_of(" ".join(filter(None, [e.notebook, e.variant])), e.run) for e in ran]
    for home in {execution.folder.parent for execution in ran if execution.notebook == "features"}:
        found += [job_of(f"features {one.name}", read_run(one)) for one in sorted(home.glob("feature_shards/*-of-*"))]
        found += [job_of(f"training {one.name}", read_run(one)) for one in sorted(home.glob("seeds_apart/*-s*"))]
    return sorted(found, key=lambda job: (job["started_s"], job["name"]))


def lanes(jobs: Sequence[dict]) -> list[tuple[str, list[dict]]]:
    """Jobs of each node in as few rows as possible without an overlap: node and jobs of each row, by node."""
    rows: list[tuple[str, list[dict]]] = []
    for job in sorted(jobs, key=lambda job: (job["node"], job["started_s"])):
        free = next((row for node, row in rows if node == job["node"] and row[-1]["ended_s"] <= job["started_s"]), None)
        if free is None:
            rows.append((job["node"], [job]))
        else:
            free.append(job)
    return rows


def draw_jobs(jobs: Sequence[dict]) -> str:
    """The section on jobs: how much work on how many nodes in how much time, a timeline, a table; "" without any."""
    if not jobs:
        return ""
    nodes = sorted({job["node"] for job in jobs})
    begin, work = min(job["started_s"] for job in jobs), sum(job["elapsed_s"] for job in jobs)
    span = max(job["ended_s"] for job in jobs) - begin
    n_jobs = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
    n_nodes = f"{len(nodes)} nodes" if len(nodes) > 1 else "one node"
    told = (
        f"{n_jobs} on {n_nodes} ({', '.join(nodes)}): {duration(work)} of work; "
        f"from the first start to the last end {duration(span)}, pauses between runs included."
    )
    known = {"rows": lanes(jobs), "begin": begin, "span": max(1.0, span), "told": told, "duration": duration}
    return environment().get_template("jobs.html").render(jobs=jobs, **known)
