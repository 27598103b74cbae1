"""The pipeline as a picture, drawn from what ran."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verdict import stages
from verdict.report.provenance import duration

BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 204, 54, 18, 30, 6
PAGE_W = 896  # of the column that holds the picture


@dataclass(frozen=True)
class Node:
    """One stage in the picture.

    Parameters
    ----------
    name : str
        As in the stages' declaration.
    status : str
        "done", "partly", "stale", "failed" or "missing".
    n_runs : int
        Executions that are there.
    elapsed_s : float
        Seconds of all executions.
    href : str
        The page, "" where there is none.
    needs : tuple of str
        Stages whose results it reads.
    """

    name: str
    status: str
    n_runs: int
    elapsed_s: float
    href: str
    needs: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name for readers: without number and underscores."""
        name, source = stages.notebook_of(self.name), stages.source_of(self.name)
        head, _, rest = name.partition("_")
        words = (rest if head.isdigit() and rest else name).replace("_", " ")
        return words if source == stages.MODEL else f"{words}, {source.upper()}"

    @property
    def detail(self) -> str:
        """Executions and their mean wall time."""
        if not self.n_runs:
            return "not run"
        runs = f"{self.n_runs} × " if self.n_runs > 1 else ""
        return f"{runs}{duration(self.elapsed_s / self.n_runs)}"


def layers(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes by the length of the longest path that leads to them.

    Raises
    ------
    ValueError
        If stages need each other in a circle.
    """
    known = {node.name: node for node in nodes}
    depth: dict[str, int] = {}

    def measure(name: str, trail: tuple[str, ...]) -> int:
        if name in trail:
            raise ValueError(f"stages need each other in a circle: {' → '.join([*trail, name])}")
        if name not in depth:
            below = [measure(need, (*trail, name)) for need in known[name].needs if need in known]
            depth[name] = 1 + max(below, default=-1)
        return depth[name]

    for node in nodes:
        measure(node.name, ())
    return [
        [node for node in nodes if depth[node.name] == level] for level in range(max(depth.values(), default=-1) + 1)
    ]


def direct_needs(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Needs of each stage without those that another of its needs already implies: what is worth an arrow."""
    known = {node.name: node for node in nodes}

    def ancestors(name: str) -> set[str]:
        found: set[str] = set()
        for need in known[name].needs:
            if need in known:
                found |= {need} | ancestors(need)
        return found

    return {
        node.name: [
            need
            for need in node.needs
            if need in known
            and not any(need in ancestors(other) for other in node.needs if other in known and other != need)
        ]
        for node in nodes
    }


def components(nodes: Sequence[Node]) -> list[list[Node]]:
    """Groups of stages that hang together, each in the given order."""
    known = {node.name for node in nodes}
    group = {node.name: node.name for node in nodes}
    for node in nodes:
        for need in node.needs:
            if need in known:
                old, new = group[need], group[node.name]
                group = {name: new if mark == old else mark for name, mark in group.items()}
    return [[node for node in nodes if group[node.name] == mark] for mark in dict.fromkeys(group.values())]


def draw_pipeline(nodes: Sequence[Node]) -> str:
    """An SVG picture from top to bottom: one box a stage with status and wall time, an arrow for each direct need.

    Stages that share nothing stand beside each other where the page has room, else below.
    """
    place, width, height = placed(nodes)
    arrows = "".join(_arrow(place[need], place[name]) for name, needs in direct_needs(nodes).items() for need in needs)
    boxes = "".join(_box(node, *place[node.name]) for node in nodes)
    words = "; ".join(f"{node.label}: {node.status}, {node.detail}" for node in nodes)
    return (
        f'<svg class="pipeline" role="group" aria-label="{html.escape(f"Stages of the pipeline. {words}")}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">{arrows}{boxes}</svg>'
    )


def placed(nodes: Sequence[Node]) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Left upper corner of every stage's box, and width and height of the whole, all in pixels."""
    place: dict[str, tuple[float, float]] = {}
    left, top, widest, bottom = float(MARGIN), float(MARGIN), float(MARGIN), 0.0
    for group in components(nodes):
        levels = layers(group)
        width = max(len(level) for level in levels) * (BOX_W + GAP_X)
        if left > MARGIN and left + width - GAP_X + MARGIN > PAGE_W:
            left, top = float(MARGIN), bottom + GAP_Y
        for depth, level in enumerate(levels):
            start = left + (width - len(level) * (BOX_W + GAP_X)) / 2
            for k, node in enumerate(sorted(level, key=lambda node: _parents_x(node, place))):
                place[node.name] = (start + k * (BOX_W + GAP_X), top + depth * (BOX_H + GAP_Y))
        left += width
        widest = max(widest, left - GAP_X)
        bottom = max(bottom, top + len(levels) * (BOX_H + GAP_Y) - GAP_Y)
    return place, widest + MARGIN, bottom + MARGIN


def _parents_x(node: Node, place: Mapping[str, tuple[float, float]]) -> float:
    """Mean place of what a stage needs: sorting by it keeps arrows from crossing."""
    known = [place[need][0] for need in node.needs if need in place]
    return sum(known) / len(known) if known else 0.0


def _arrow(source: tuple[float, float], target: tuple[float, float]) -> str:
    x0, y0 = source[0] + BOX_W / 2, source[1] + BOX_H
    x1, y1 = target[0] + BOX_W / 2, target[1]
    turn = max(y0, y1 - GAP_Y)  # past other rows it goes straight down, so that it does not hide behind their boxes
    bend = (y1 - turn) / 2
    line = f"M{x0:.0f} {y0:.0f} V{turn:.0f} C{x0:.0f} {turn + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1 - 6:.0f}"
    return f'<path d="{line}"/><path class="head" d="M{x1 - 4:.0f} {y1 - 7:.0f} l4 7 l4 -7 z"/>'


_MARKS: Mapping[str, str] = {"partly": "partly failed", "stale": "stale", "failed": "failed"}


def _box(node: Node, x: float, y: float) -> str:
    mark = _MARKS.get(node.status, "")
    detail = html.escape(f"{node.detail}{f' · {mark}' if mark else ''}")
    body = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{BOX_W}" height="{BOX_H}" rx="7"/>'
        f'<circle class="{node.status}" cx="{x + 16:.1f}" cy="{y + 21:.1f}" r="4.5"/>'
        f'<text x="{x + 28:.1f}" y="{y + 26:.1f}" font-size="14.5" font-weight="600">{html.escape(node.label)}</text>'
        f'<text class="soft" x="{x + 28:.1f}" y="{y + 43:.1f}" font-size="12">{detail}</text>'
    )
    if not node.href:
        return f"<g>{body}</g>"
    return f'<a href="{html.escape(node.href)}">{body}</a>'
