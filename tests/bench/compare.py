"""Both loops on one subject: ratios with intervals, scores, and how far each is from the machine's limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.bench.limits import Machine, Pass, filling, our_epoch, published_epoch
from tests.bench.loops import Course, mean_interval, ratio_interval, side_by_side
from tests.bench.subjects import Subject

from verdict.model.backend import keras
from verdict.model.fit import PREDICT_BATCH, SHARED_HYPOTHESIS, epoch_order
from verdict.model.network import FreezePlan


def compare(
    subject: Subject,
    plan: FreezePlan,
    machine: Machine,
    folder: Path,
    *,
    epochs: int,
    rounds: int,
    first: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run both loops in several rounds, each with a seed of its own, and sum up.

    Returns
    -------
    dict
        `whole`: ratio of the times for the same epochs, our filling of the cache included (only with first = 1);
        `later`: ratio of the times of each epoch after the first; both as `ratio`, `low`, `high` (95 %) and the ratio
        of processor times; `macro_f1`; `limits` of a later epoch and of filling the cache.
    """
    courses: list[tuple[Course, Course]] = []
    for number in range(rounds):
        home = folder / f"round-{number}"
        courses.append(side_by_side(subject, plan, home, seed=number, epochs=epochs, first=first))
        theirs, ours = courses[-1]
        progress(
            f"{subject.name}, {plan}, round {number + 1}/{rounds}: an epoch takes {theirs.wall_s[-1]:.2f} s published, "
            f"{ours.wall_s[-1]:.2f} s ours; cache {ours.wall_s[0]:.2f} s"
        )
    # Each epoch after our first one, and all of a course: published and our seconds, by the wall and by the processor.
    skipped = max(1, 3 - first)
    later = np.concatenate(
        [np.transpose([t.wall_s[skipped:], o.wall_s[2:], t.cpu_s[skipped:], o.cpu_s[2:]]) for t, o in courses]
    )
    filling_s = float(np.mean([ours.wall_s[0] for _, ours in courses]))
    whole = np.asarray([[sum(x) for x in (t.wall_s, o.wall_s, t.cpu_s, o.cpu_s)] for t, o in courses])
    return {
        "subject": subject.name,
        "vision_blocks": plan.vision_blocks,
        "text_blocks": plan.text_blocks,
        "pairs": {"train": len(subject.train), "val": len(subject.val), "images": len(subject.files)},
        "batch": subject.batch,
        "epochs": epochs,
        "rounds": rounds,
        "whole": _ratio(whole) if first == 1 else None,
        "later": _ratio(later),
        "filling_s": filling_s,
        "macro_f1": _scores(courses) if first == 1 else None,
        "limits": _limits(subject, plan, machine, [*later.mean(axis=0)[:2], filling_s]),
        "laps": [{"published": theirs.laps(), "ours": ours.laps()} for theirs, ours in courses],
    }


def _ratio(times: np.ndarray) -> dict[str, float]:
    published_s, ours_s = times.mean(axis=0)[:2]
    ratio, low, high = ratio_interval(times[:, 0] / times[:, 1])
    found = {"published_s": float(published_s), "ours_s": float(ours_s), "ratio": ratio, "low": low, "high": high}
    return {**found, "n": len(times), "ratio_of_processor_time": ratio_interval(times[:, 2] / times[:, 3])[0]}


def _scores(courses: list[tuple[Course, Course]]) -> dict[str, float]:
    """Macro-F1 after the last epoch, and the paired difference over rounds with its 95 % interval."""
    published, ours = np.transpose([(theirs.macro_f1[-1], ours.macro_f1[-1]) for theirs, ours in courses])
    found = zip(("difference", "low", "high"), mean_interval(ours - published), strict=True)
    return {"published": float(published.mean()), "ours": float(ours.mean()), **dict(found)}


def _limits(subject: Subject, plan: FreezePlan, machine: Machine, measured_s: list[float]) -> dict[str, Any]:
    """For a later epoch of both loops and filling the cache: what must be done, the least time, the share reached."""
    network, val = subject.network(0), subject.val
    whole = subject.network(0, keras.layers.MultiHeadAttention)
    image, text = (pd.factorize(subject.train[name])[0] for name in ("image_id", "hypothesis"))
    shared = SHARED_HYPOTHESIS if plan.text_blocks else 1
    order = epoch_order(text, np.random.default_rng(0), shared=shared)
    judged = Pass.of(*(pd.factorize(val[name])[0] for name in ("image_id", "hypothesis")), PREDICT_BATCH)
    published_passes = (Pass.undivided(len(part), subject.batch) for part in (subject.train, val))
    both = pd.concat([subject.train, val])
    loads = {
        "published_epoch": published_epoch(whole, plan, *published_passes),
        "our_epoch": our_epoch(network, plan, Pass.of(image[order], text[order], subject.batch), judged),
        "filling": filling(network, plan, n_images=both["image_id"].nunique(), n_texts=both["hypothesis"].nunique()),
    }
    found = {}
    for (name, load), took in zip(loads.items(), map(float, measured_s), strict=True):
        least = load.seconds(machine)
        found[name] = {"gflop": load.flops / 1e9, "mbyte": load.bytes / 1e6, "limit_s": least, "measured_s": took}
        found[name] |= {"share_of_limit": least / took, "share_of_peak": load.flops / took / machine.flops_per_s}
    return found
