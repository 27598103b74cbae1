"""Both loops on one subject: ratios with intervals, scores, and how far each is from the machine's limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.bench.limits import Load, Machine, Pass, filling, our_epoch, published_epoch
from tests.bench.loops import Course, mean_interval, ratio_interval, side_by_side
from tests.bench.subjects import CLIPNORM, Subject

from verdict.model.backend import keras
from verdict.model.features import Features
from verdict.model.fit import PREDICT_BATCH, SHARED_HYPOTHESIS, Batches, Rows, epoch_order, trained_part
from verdict.model.network import FreezePlan, apply_plan
from verdict.model.optimise import Optimiser

N_STEPS = 24


def compare(
    subject: Subject,
    plan: FreezePlan,
    machine: Machine,
    folder: Path,
    *,
    epochs: int,
    rounds: int,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run both loops in several rounds, each with a seed of its own, and sum up.

    Returns
    -------
    dict
        `whole`: ratio of the times for the same epochs, our filling of the cache included;
        `trial`: the same for the rounds as seeds of one trial, as a report trains them: on one cache, filled once;
        `later`: ratio of the times of each epoch after the first; both as `ratio`, `low`, `high` (95 %) and the ratio
        of processor times; `macro_f1`; `limits` of a later epoch, of filling the cache and of one of our training
        steps; `stored`, bytes of the cache for each view of an image and each hypothesis.
    """
    courses: list[tuple[Course, Course]] = []
    for number in range(rounds):
        home = folder / f"round-{number}"
        courses.append(side_by_side(subject, plan, home, seed=number, epochs=epochs))
        theirs, ours = courses[-1]
        progress(
            f"{subject.name}, {plan}, round {number + 1}/{rounds}: an epoch takes {theirs.wall_s[-1]:.2f} s published, "
            f"{ours.wall_s[-1]:.2f} s ours; cache {ours.wall_s[0]:.2f} s"
        )
    # Each epoch after our first one, and all of a course: published and our seconds, by the wall and by the processor.
    later = np.concatenate([np.transpose([t.wall_s[2:], o.wall_s[2:], t.cpu_s[2:], o.cpu_s[2:]]) for t, o in courses])
    filling_s = float(np.mean([ours.wall_s[0] for _, ours in courses]))
    stored = Features.open(folder / "round-0" / "features", plan)
    measured_s = [*later.mean(axis=0)[:2], filling_s, step_seconds(subject, plan, stored)]
    whole = np.asarray([[sum(x) for x in (t.wall_s, o.wall_s, t.cpu_s, o.cpu_s)] for t, o in courses])
    caches = np.asarray([[0.0, o.wall_s[0], 0.0, o.cpu_s[0]] for _, o in courses])
    return {
        "subject": subject.name,
        "vision_blocks": plan.vision_blocks,
        "text_blocks": plan.text_blocks,
        "pairs": {"train": len(subject.train), "val": len(subject.val), "images": len(subject.files)},
        "batch": subject.batch,
        "epochs": epochs,
        "rounds": rounds,
        "whole": _ratio(whole),
        "trial": _ratio(whole - caches + caches.mean(axis=0) / rounds),
        "later": _ratio(later),
        "filling_s": filling_s,
        "macro_f1": _scores(courses),
        "limits": _limits(subject, plan, machine, measured_s),
        "stored": {"view": int(stored.image_tokens[0].nbytes), "hypothesis": int(stored.hidden[0].nbytes)},
        "laps": [{"published": theirs.laps(), "ours": ours.laps()} for theirs, ours in courses],
    }


def step_seconds(subject: Subject, plan: FreezePlan, features: Features) -> float:
    """Median wall time of our training steps on stored features: whole batches, forward, backward and update."""
    network, rows = subject.network(0), Rows.of(features, subject.train)
    apply_plan(network, plan)
    suffix = trained_part(network, plan)
    optimiser = Optimiser(suffix, subject.fit, n_steps=N_STEPS, global_clipnorm=CLIPNORM)
    batches = Batches(features, rows, _order(rows.text, plan), subject.batch)
    times = []
    for number in range(N_STEPS):
        inputs, y_true = batches[number % max(1, len(rows) // subject.batch)]
        started = time.perf_counter()
        optimiser.step(inputs, y_true)
        times.append(time.perf_counter() - started)
    return float(np.median(times[N_STEPS // 4 :]))


def _order(text: np.ndarray, plan: FreezePlan) -> np.ndarray:
    """An epoch's order of pairs, as `fit` makes it."""
    return epoch_order(text, np.random.default_rng(0), shared=SHARED_HYPOTHESIS if plan.text_blocks else 1)


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
    """For a later epoch of both loops, filling the cache and a step: the work, the least time, the share reached."""
    network, val = subject.network(0), subject.val
    whole = subject.network(0, keras.layers.MultiHeadAttention)
    image, text = (pd.factorize(subject.train[name])[0] for name in ("image_id", "hypothesis"))
    order = _order(text, plan)
    judged = Pass.of(*(pd.factorize(val[name])[0] for name in ("image_id", "hypothesis")), PREDICT_BATCH)
    published_passes = (Pass.undivided(len(part), subject.batch) for part in (subject.train, val))
    both, n_steps = pd.concat([subject.train, val]), max(1, len(order) // subject.batch)
    whole_batches = order[: n_steps * subject.batch]
    steps = our_epoch(
        network, plan, Pass.of(image[whole_batches], text[whole_batches], subject.batch), Pass(0, 0, 0, 0)
    )
    loads = {
        "published_epoch": published_epoch(whole, plan, *published_passes),
        "our_epoch": our_epoch(network, plan, Pass.of(image[order], text[order], subject.batch), judged),
        "filling": filling(network, plan, n_images=both["image_id"].nunique(), n_texts=both["hypothesis"].nunique()),
        "our_step": Load(steps.flops / n_steps, steps.bytes / n_steps),
    }
    found = {}
    for (name, load), took in zip(loads.items(), map(float, measured_s), strict=True):
        least = load.seconds(machine)
        found[name] = {"gflop": load.flops / 1e9, "mbyte": load.bytes / 1e6, "limit_s": least, "measured_s": took}
        found[name] |= {"share_of_limit": least / took, "share_of_peak": load.flops / took / machine.flops_per_s}
    return found
