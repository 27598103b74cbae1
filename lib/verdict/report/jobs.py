"""Where and how long each job ran: a timeline with a lane for each place at work, and a table."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from verdict.artifacts import read_run
from verdict.report.executions import Execution
from verdict.report.provenance import duration

WIDTH, LANE_H, LEFT, TOP = 860, 22, 120, 6
COLUMNS = ("Job", "Node", "Slurm job", "Memory asked", "Device", "Started (UTC)", "Wall time")


@dataclass(frozen=True)
class Job:
    """One job of a report.

    Attributes
    ----------
    name : str
        Stage, with trial and seed.
    node : str
        Name of the machine, "unknown" in records that do not say it.
    number : str
        Of the cluster's scheduler, "" on one machine.
    mem_mb : int
        What was asked for, 0 where nothing was.
    started_s, elapsed_s : float, seconds
        Since 1970 in UTC, and from start to record.
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


def _job(name: str, run: dict) -> Job:
    host = run.get("host", {})
    started = datetime.fromisoformat(str(run["started"])).astimezone(UTC).timestamp()
    return Job(
        name=name,
        node=str(host.get("node", "unknown")),
        number=str(host.get("job", "")),
        mem_mb=int(host.get("mem_mb", 0)),
        device=str(run.get("device", "unknown")),
        started_s=started,
        elapsed_s=float(run.get("elapsed_s") or 0.0),
    )


def jobs_of(executions: Sequence[Execution]) -> list[Job]:
    """Jobs of a profile's executions that ran to their end, shards of the features included, by their start."""
    ran = [execution for execution in executions if execution.run.get("started")]
    found = [_job(_label(execution), execution.run) for execution in ran]
    for shards in {execution.folder.parent / "feature_shards" for execution in ran if execution.notebook == "features"}:
        found += [_job(f"features {folder.name}", read_run(folder)) for folder in sorted(shards.glob("*-of-*"))]
    return sorted(found, key=lambda job: (job.started_s, job.name))


def _label(execution: Execution) -> str:
    return " ".join(filter(None, [execution.notebook, execution.variant]))


def lanes(jobs: Sequence[Job]) -> list[tuple[str, list[Job]]]:
    """Jobs of each node in as few rows as let none lie over another: node and jobs of each row, by node."""
    rows: list[tuple[str, list[Job]]] = []
    for job in sorted(jobs, key=lambda job: (job.node, job.started_s)):
        free = next((row for node, row in rows if node == job.node and row[-1].ended_s <= job.started_s), None)
        if free is None:
            rows.append((job.node, [job]))
        else:
            free.append(job)
    return rows


def summary(jobs: Sequence[Job]) -> str:
    """One sentence: how many jobs, on how many nodes, how much work in how much time."""
    nodes = sorted({job.node for job in jobs})
    work, span = sum(job.elapsed_s for job in jobs), max(j.ended_s for j in jobs) - min(j.started_s for j in jobs)
    named = f"{len(nodes)} nodes ({', '.join(nodes)})" if len(nodes) > 1 else f"one node ({nodes[0]})"
    count = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
    times = f"{duration(work)} of work; from the first start to the last end {duration(span)}"
    return f"{count} on {named}: {times}, pauses between runs included."


def draw_timeline(jobs: Sequence[Job]) -> str:
    """An SVG: a row for each job at work at a time, time from left to right; starts are known to the second."""
    rows, begin = lanes(jobs), min(job.started_s for job in jobs)
    span = max(1.0, max(job.ended_s for job in jobs) - begin)
    scale, height = (WIDTH - LEFT - 10) / span, len(rows) * LANE_H + 2 * TOP + 18
    parts, last = [], ""
    for k, (node, row) in enumerate(rows):
        y = TOP + k * LANE_H
        if node != last:
            parts.append(f'<text x="4" y="{y + 15}" font-size="13">{html.escape(node)}</text>')
        last = node
        for job in row:
            told = html.escape(f"{job.name}: {duration(job.elapsed_s)} on {job.node}")
            x, w = LEFT + (job.started_s - begin) * scale, max(2.0, job.elapsed_s * scale)
            size = f'x="{x:.1f}" y="{y + 2}" width="{w:.1f}" height="{LANE_H - 4}"'
            parts.append(f'<rect {size} rx="3"><title>{told}</title></rect>')
    bottom = TOP + len(rows) * LANE_H + 16
    parts.append(f'<text class="soft" x="{LEFT}" y="{bottom}" font-size="12">0 s</text>')
    parts.append(
        f'<text class="soft" x="{WIDTH - 10}" y="{bottom}" font-size="12" text-anchor="end">{duration(span)}</text>'
    )
    alt = html.escape(f"Timeline of jobs by node. {summary(jobs)}")
    return (
        f'<svg class="pipeline jobs" role="img" aria-label="{alt}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">'
        f"{''.join(parts)}</svg>"
    )


def where_it_ran(executions: Sequence[Execution]) -> str:
    """The section's HTML, "" where nothing ran."""
    jobs = jobs_of(executions)
    if not jobs:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(job))}</tr>" for job in jobs)
    return (
        f'<p>{html.escape(summary(jobs))}</p><div class="scroll" tabindex="0" role="region" aria-label="Timeline">'
        f"{draw_timeline(jobs)}</div><details><summary>Every job</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Jobs"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _cells(job: Job) -> tuple[str, ...]:
    started = datetime.fromtimestamp(job.started_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    memory = f"{job.mem_mb:,} MB" if job.mem_mb else "not recorded" if job.number else "no limit"
    return (job.name, job.node, job.number or "none", memory, job.device, started, duration(job.elapsed_s))
