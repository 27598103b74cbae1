"""The pipeline as a picture, drawn from what ran."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verdict.report.provenance import duration

BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 208, 62, 46, 18, 6


@dataclass(frozen=True)
class Node:
    """One stage in the picture.

    Parameters
    ----------
    name : str
        As in the stages' declaration.
    status : str
        "done", "partly", "stale", "failed" or "missing".
    n_runs, n_planned : int
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
        head, _, rest = self.name.partition("_")
        return (rest if head.isdigit() and rest else self.name).replace("_", " ")

    @property
    def detail(self) -> str:
        """Runs and wall time."""
        if not self.n_runs:
            return "not run"
        runs = f"{self.n_runs} runs, " if self.n_runs > 1 else ""
        return f"{runs}{duration(self.elapsed_s)}"


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


def draw_pipeline(nodes: Sequence[Node], *, columns: int = 4) -> str:
    """An SVG picture: one box a stage with status and wall time, an arrow for each direct need.

    Layers run from left to right and are folded into rows of `columns`, so that the picture stays readable on paper.
    """
    columns_of = layers(nodes)
    place: dict[str, tuple[float, float]] = {}
    top, width = float(MARGIN), 0.0
    for start in range(0, len(columns_of), columns):
        band = columns_of[start : start + columns]
        height = max(len(layer) for layer in band)
        for k, layer in enumerate(band):
            for row, node in enumerate(layer):
                x = MARGIN + k * (BOX_W + GAP_X)
                place[node.name] = (x, top + (row + (height - len(layer)) / 2) * (BOX_H + GAP_Y))
                width = max(width, x + BOX_W + MARGIN)
        top += height * (BOX_H + GAP_Y) + 2 * GAP_Y
    height_px = max(top - 3 * GAP_Y + MARGIN, BOX_H)
    arrows = "".join(_arrow(place[need], place[name]) for name, needs in direct_needs(nodes).items() for need in needs)
    boxes = "".join(_box(node, *place[node.name]) for node in nodes)
    words = "; ".join(f"{node.label}: {node.status}, {node.detail}" for node in nodes)
    return (
        f'<svg class="pipeline" role="group" aria-label="{html.escape(f"Stages of the pipeline. {words}")}" '
        f'viewBox="0 0 {width:.0f} {height_px:.0f}" style="max-width:{width:.0f}px">{arrows}{boxes}</svg>'
    )


def _arrow(source: tuple[float, float], target: tuple[float, float]) -> str:
    x0, y0 = source[0] + BOX_W, source[1] + BOX_H / 2
    x1, y1 = target[0], target[1] + BOX_H / 2
    if x1 >= x0:
        bend = (x0 + x1) / 2 if x1 - x0 < 2 * GAP_X else x1 - GAP_X / 2
        path = f"M{x0:.0f} {y0:.0f} C{bend:.0f} {y0:.0f} {bend:.0f} {y1:.0f} {x1 - 6:.0f} {y1:.0f}"
    else:
        lane = max(source[1], min(target[1] - GAP_Y, target[1])) if source[1] > target[1] else target[1] - 1.5 * GAP_Y
        path = f"M{x0:.0f} {y0:.0f} h12 V{lane:.0f} H{x1 - 20:.0f} V{y1:.0f} H{x1 - 6:.0f}"
    head = f'<path class="head" d="M{x1 - 7:.0f} {y1 - 4:.0f} l7 4 l-7 4 z"/>'
    return f'<path d="{path}"/>{head}'


_MARKS: Mapping[str, str] = {"done": "", "partly": "partly failed", "stale": "stale", "failed": "failed", "missing": ""}


def _box(node: Node, x: float, y: float) -> str:
    mark = _MARKS[node.status]
    detail = html.escape(f"{node.detail}{f' · {mark}' if mark else ''}")
    body = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{BOX_W}" height="{BOX_H}" rx="7"/>'
        f'<circle class="{node.status}" cx="{x + 17:.1f}" cy="{y + 24:.1f}" r="4.5"/>'
        f'<text x="{x + 30:.1f}" y="{y + 29:.1f}" font-size="15" font-weight="600">{html.escape(node.label)}</text>'
        f'<text class="soft" x="{x + 30:.1f}" y="{y + 48:.1f}" font-size="13">{detail}</text>'
    )
    if not node.href:
        return f"<g>{body}</g>"
    title = html.escape(f"{node.label}: {node.status}, {node.detail}")
    return f'<a href="{html.escape(node.href)}" aria-label="{title}">{body}</a>'
