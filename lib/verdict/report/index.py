"""The index: the answer in pictures, what does not hold, the pages, all claims, what ran, and the glossary."""

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import UndefinedError

from verdict.base import paths
from verdict.base.numbers import Claim, Number, Numbers
from verdict.report.conditions import chosen_text
from verdict.report.evidence import PageExhibits, find_exhibits, interval_rows, shown_again, thumbnail
from verdict.report.executions import Execution, merged_numbers
from verdict.report.exporter import SMOKE, Link, Site, banner, claim_row, in_unit
from verdict.report.glossary import Explainer, load_glossary
from verdict.report.markdown import Heading, Markdown, MarkdownError, address, numbers_from_json, paragraphs
from verdict.report.notebook import RenderError, matched
from verdict.report.outputs import MIME, environment
from verdict.report.pipeline import draw_jobs, draw_pipeline, jobs_of, nodes_of
from verdict.report.provenance import duration, provenance
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


@dataclass
class Part:
    """A part of the opening, from one heading to the next: its text and its drawings, as HTML."""

    heading: Heading | None = None
    text: str = ""
    drawings: list[str] = field(default_factory=list)


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
    explainer = Explainer(glossary)
    parts = _opening(site, evidence, explainer)
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
        pipeline=draw_pipeline(nodes_of(executions, {link.name for link in site.links})),
        jobs=draw_jobs(jobs_of(executions)),
        groups=page_cards(site, evidence),
        duration=duration,
        total=duration(sum(execution.elapsed_s for execution in ran)),
        n_runs=len(ran),
        provenance=provenance(latest, executions),
        commits=sorted({str(e.run["commit"])[:12] for e in ran if e.run.get("commit")}),
        level=site.params.statistics.level if site.params else None,
        glossary=[term for term in glossary if term.name in explainer.told or term.anchor in explained],
        attribution=attribution,
    )


def _opening(site: Site, evidence: Known, explainer: Explainer) -> list[Part]:
    """The opening, part by part; a paragraph whose number does not exist yet is replaced while stages are missing, and
    what no page of this report draws is left out.
    """
    text, found = paths.NOTEBOOKS / (stages.index_text(site.params) if site.params else "index.md"), [Part()]
    if not text.is_file():
        return found
    numbers, is_whole = merged_numbers(site.executions), all(e.status in ("done", "stale") for e in site.executions)
    page = Markdown(numbers, folder=text.parent, pages=tuple(link.name for link in site.links) or None)
    for place, paragraph in enumerate(paragraphs(text.read_text(encoding="utf-8"))):
        try:
            source = chosen_text(paragraph, numbers).strip()
            if to_show := _SHOWN.fullmatch(source):
                if file := to_show["file"]:
                    drawing = _again(file, site.links, evidence, f"i{place}-")
                else:
                    drawing = interval_rows(to_show["names"].split(), numbers)
                found[-1].drawings += [drawing] if drawing else []
                continue
            n_before, rendered = len(page.headings), page.render(source)
        except MarkdownError as error:
            if is_whole:
                raise RenderError(f"{text.name}: {error}") from error
            n_before, rendered = len(page.headings), WAITS
        found += [Part(heading) for heading in page.headings[n_before:] if heading.level == 2]
        found[-1].text += explainer.explained(rendered)
    return found


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
        detail = "Executed notebooks, large tables and most single trials are left out; “make report” makes all."
        found.append(banner("copy", "This is a small copy.", [detail]))
    return [*found, SMOKE] if site.is_smoke else found


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


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
            where, what = "has an interval that reaches an end", "That end of it is the search's, and no finding"
            if ends.value == 2:
                where, what = "lies at the end", "It is no finding, and neither is what rests on it"
            headline = f"The temperature{whose} {where} of the range that was searched: {number.text}."
            if ends.value:
                yield banner("stale", headline, [f"{what}: too few rows, or logits that say next to nothing."])


def page_cards(site: Site, evidence: Known) -> list[dict]:
    """Pages in reading order, the trials of one notebook under one entry; each with a thumbnail of its main drawing."""
    links = {link.name: link for link in site.links}
    groups: dict[str, dict] = {}
    # What is linked comes first, as the cards that the others are counted on are made of it.
    for execution in sorted(site.executions, key=lambda one: one.name not in links):
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
        groups[key]["thumbnail"] = groups[key]["thumbnail"] or _thumbnail(evidence[execution.name])
        groups[key]["elapsed_s"] += execution.elapsed_s
        groups[key]["marks"] |= {execution.status} - {"done"}
        if execution.is_trial:
            run = {"trial": execution.variant, "href": link.href, "status": execution.status}
            groups[key]["runs"].append(run)
    return list(groups.values())


def _thumbnail(shown: PageExhibits | None) -> str:
    """A page's main drawing, small, or else its first picture; "" without one, or where its page cannot be read."""
    drawn = sorted(shown.drawn if shown else (), key=lambda exhibit: "small" not in exhibit.data[MIME])
    with contextlib.suppress(*DAMAGED):
        return next(filter(None, map(thumbnail, drawn)), "")
    return ""
