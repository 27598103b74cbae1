"""What ran, as two pictures: the stages with what they need, and a timeline of the jobs at every place."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter

from verdict.base.artifacts import read_run
from verdict.report.executions import Execution
from verdict.report.markdown import address
from verdict.report.outputs import environment
from verdict.report.provenance import duration
from verdict.workflow import stages

BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 204, 54, 18, 30, 6


@dataclass(frozen=True)
class Node:
    """One stage in the picture: done, partly, stale, failed or missing; `detail`: how often it ran, mean wall time."""

    name: str
    status: str
    detail: str
    href: str
    needs: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name for readers."""
        return stages.in_words(self.name)


def nodes_of(executions: Sequence[Execution], pages: Collection[str]) -> list[Node]:
    """One node a stage that was executed, or is to be, those declared first; it leads to the first of its `pages`."""
    needs: dict[str, tuple[str, ...]] = {}
    for entry in (*stages.SPECS, *stages.RECORDED_SPECS, *stages.CLIP_SPECS):
        needs[entry.name] = (*needs.get(entry.name, ()), *entry.needs)
    nodes = []
    for name in dict.fromkeys((*needs, *(execution.stage for execution in executions))):
        own = [execution for execution in executions if execution.stage == name]
        ran = [execution for execution in own if execution.status != "missing"]
        found = {execution.status for execution in own}
        status = next((one for one in ("failed", "stale", "done", "missing") if one in found), "")
        href = next((address(execution.name) for execution in ran if execution.name in pages), "")
        mean = duration(sum(execution.elapsed_s for execution in ran) / max(len(ran), 1))
        detail = f"{len(ran)} × {mean}" if len(ran) > 1 else mean if ran else "not run"
        if own:
            is_partly = status == "failed" and len(found) > 1
            nodes.append(Node(name, "partly" if is_partly else status, detail, href, needs.get(name, ())))
    return nodes


def _ordered(nodes: Sequence[Node]) -> tuple[dict[str, list[str]], dict[str, set[str]], dict[str, int]]:
    """What each stage needs of the others, all that these need too, and the length of the longest path to it."""
    names, above, depth = {node.name for node in nodes}, {}, {}
    needs = {node.name: [need for need in node.needs if need in names] for node in nodes}
    for name in TopologicalSorter(needs).static_order():
        above[name] = {one for need in needs[name] for one in (need, *above[need])}
        depth[name] = 1 + max((depth[need] for need in needs[name]), default=-1)
    return needs, above, depth


def placed(nodes: Sequence[Node]) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Left upper corner of every stage's box, and width and height of the whole, all in pixels.

    Stages that share nothing stand below each other.
    """
    needs, _, depth = _ordered(nodes)
    group = {name: name for name in needs}
    for name, need in ((name, need) for name, own in needs.items() for need in own):
        old, new = group[need], group[name]
        group = {other: new if mark == old else mark for other, mark in group.items()}
    levels: list[list[Node]] = []
    for mark in dict.fromkeys(group.values()):
        own = [node for node in nodes if group[node.name] == mark]
        levels += [[node for node in own if depth[node.name] == k] for k in sorted({depth[node.name] for node in own})]
        levels.append([])
    place: dict[str, tuple[float, float]] = {}
    top, step = float(MARGIN), BOX_W + GAP_X
    widest = max(map(len, levels)) * step

    def parents_x(node: Node) -> float:
        """Mean place of what a stage needs: sorting by it keeps arrows from crossing."""
        known = [place[need][0] for need in node.needs if need in place]
        return sum(known) / len(known) if known else 0.0

    for level in levels[:-1]:
        start = MARGIN + (widest - len(level) * step) / 2
        for k, node in enumerate(sorted(level, key=parents_x)):
            place[node.name] = (start + k * step, top)
        top += BOX_H + GAP_Y if level else GAP_Y
    return place, widest - GAP_X + 2 * MARGIN, top - GAP_Y + MARGIN


def draw_pipeline(nodes: Sequence[Node]) -> str:
    """An SVG picture of the stages from top to bottom, with arrows for needs that no other need implies."""
    place, width, height = placed(nodes)
    known = {"box_w": BOX_W, "box_h": BOX_H, "gap_y": GAP_Y, "place": place, "width": width, "height": height}
    needs, above, _ = _ordered(nodes)
    implied = {name: set().union(*(above[need] for need in own)) for name, own in needs.items()}
    arrows = {name: [need for need in own if need not in implied[name]] for name, own in needs.items()}
    return environment().get_template("pipeline.html").render(nodes=nodes, arrows=arrows, **known)


@dataclass(frozen=True)
class Job:
    """One job of a report: a stage, with its trial.

    The node is "unknown" in records that do not say it, the scheduler's number "" on one machine, memory 0 where
    nothing was asked for; times are seconds, since 1970 in UTC and from start to record.
    """

    name: str
    node: str
    number: str
    mem_mb: int
    device: str
    started_s: float
    elapsed_s: float

    @property
    def ended_s(self) -> float:
        """When it was done, in seconds since 1970."""
        return self.started_s + self.elapsed_s

    @property
    def started(self) -> str:
        """When it started, to the second, UTC."""
        return f"{datetime.fromtimestamp(self.started_s, UTC):%Y-%m-%d %H:%M:%S}"


def _job(name: str, run: dict) -> Job:
    host = run.get("host", {})
    place = (str(host.get("node", "unknown")), str(host.get("job", "")), int(host.get("mem_mb", 0)))
    started_s = datetime.fromisoformat(str(run["started"])).astimezone(UTC).timestamp()
    return Job(name, *place, str(run.get("device", "unknown")), started_s, float(run.get("elapsed_s") or 0.0))


def jobs_of(executions: Sequence[Execution]) -> list[Job]:
    """Jobs of a profile's executions that ran to their end, shards of the features and seeds trained apart included."""
    ran = [execution for execution in executions if execution.run.get("started")]
    found = [_job(" ".join(filter(None, [e.notebook, e.variant])), e.run) for e in ran]
    for home in {execution.folder.parent for execution in ran if execution.notebook == "features"}:
        found += [_job(f"features {one.name}", read_run(one)) for one in sorted(home.glob("feature_shards/*-of-*"))]
        found += [_job(f"training {one.name}", read_run(one)) for one in sorted(home.glob("seeds_apart/*-s*"))]
    return sorted(found, key=lambda job: (job.started_s, job.name))


def lanes(jobs: Sequence[Job]) -> list[tuple[str, list[Job]]]:
    """Jobs of each node in as few rows as possible without an overlap: node and jobs of each row, by node."""
    rows: list[tuple[str, list[Job]]] = []
    for job in sorted(jobs, key=lambda job: (job.node, job.started_s)):
        free = next((row for node, row in rows if node == job.node and row[-1].ended_s <= job.started_s), None)
        if free is None:
            rows.append((job.node, [job]))
        else:
            free.append(job)
    return rows


def draw_jobs(jobs: Sequence[Job]) -> str:
    """The section on jobs: how much work on how many nodes in how much time, a timeline, a table; "" without any."""
    if not jobs:
        return ""
    nodes = sorted({job.node for job in jobs})
    begin, work = min(job.started_s for job in jobs), sum(job.elapsed_s for job in jobs)
    span = max(job.ended_s for job in jobs) - begin
    n_jobs = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
    n_nodes = f"{len(nodes)} nodes" if len(nodes) > 1 else "one node"
    told = (
        f"{n_jobs} on {n_nodes} ({', '.join(nodes)}): {duration(work)} of work; "
        f"from the first start to the last end {duration(span)}, pauses between runs included."
    )
    known = {"rows": lanes(jobs), "begin": begin, "span": max(1.0, span), "told": told, "duration": duration}
    return environment().get_template("jobs.html").render(jobs=jobs, **known)
