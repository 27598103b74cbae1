"""The page on shifts: pictures of classes that no prompt names, and a temperature carried to changed pictures.

Known pictures are the positives: every score is higher the more a picture looks like one of the known classes. Cosines
are as they come from unit embeddings; logits, which alone a temperature divides, are cosines times the logit scale. The
oracle is the temperature that the shifted pictures themselves would have chosen; the regret is what the transferred one
costs against it, in nats of NLL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import entr, logsumexp

from verdict.base.numbers import EXACT, named
from verdict.clip.probes import zero_shot
from verdict.clip.robustness import changed
from verdict.clip.robustness.robustness import intervals, shares
from verdict.clip.robustness.robustness_study import Bench
from verdict.decide.temperature import LOG_T_BOUND, Temperature
from verdict.model.predict import logits_of
from verdict.stats.metrics import brier, ece_change, ece_interval, nll_of_logit_rows, nll_of_logits
from verdict.stats.ranking import auroc
from verdict.stats.scores import softmax, top_class
from verdict.stats.uncertainty import NOTHING, Resampler, Weights, bounded, holm, largest, p_value, with_bounds
from verdict.stats.weighted import ratio, totals, weighted_mean
from verdict.workflow.stage import Stage

NEAR, FAR, NOISE = "classes left out", "photographs", "noise"
TEST_SPLIT = "the test split"
KEPT = 0.95
_REACH, _POINTS = 2.5, 161
Scores = Mapping[str, np.ndarray]


def mcm(cosines: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Maximum concept matching: largest softmax of cosines (n, n_classes) over a temperature, (n,) in (0, 1].

    Ming et al. (2022), Delving into out-of-distribution detection with vision-language representations, eq. 2.
    """
    return softmax(cosines / temperature).max(axis=1)


def scores(cosines: np.ndarray, logit_scale: float) -> dict[str, np.ndarray]:
    """Every score of one batch of images, from cosines (n, n_classes) and the model's logit scale.

    Hendrycks and Gimpel (2017), A baseline for detecting misclassified and out-of-distribution examples, for MSP; Liu
    et al. (2020), Energy-based out-of-distribution detection, eq. 4.
    """
    logits = cosines * logit_scale
    return {
        "MCM": mcm(cosines),
        "largest cosine": cosines.max(axis=1),
        "MSP": softmax(logits).max(axis=1),
        "energy": logsumexp(logits, axis=1),
        "negative entropy": -entr(softmax(logits)).sum(axis=1),
    }


def false_positive_rate(score: np.ndarray, is_known: np.ndarray, weights: Weights = None) -> np.ndarray:
    """Share of unknown images that pass the highest threshold which at least 95 % of the known ones pass.

    A score (n,) equal to the threshold passes. NaN if a side is empty. Weights as in `verdict.stats.weighted`.
    """
    # Rows at or above each distinct score, from the highest on, (..., n_distinct).
    values, cells = np.unique(-score, return_inverse=True)
    known, unknown = (totals(weights, cells, len(values), side).cumsum(axis=-1) for side in (is_known, ~is_known))
    is_enough = known >= KEPT * known[..., -1:] - 1e-9
    place = is_enough.argmax(axis=-1)[..., None]
    passed = np.take_along_axis(unknown, place, axis=-1)[..., 0]
    found = ratio(passed, unknown[..., -1], empty=np.nan)
    return np.where(known[..., -1] > 0, found, np.nan)[()]


def told_apart(score: np.ndarray, is_known: np.ndarray, weights: Weights = None) -> dict[str, np.ndarray]:
    """AUROC, and FPR at 95 % kept."""
    return {"auroc": auroc(score, is_known, weights), "fpr95": false_positive_rate(score, is_known, weights)}


def detection_table(known: Scores, unknown: Scores, sides: Sequence[Resampler]) -> tuple[pd.DataFrame, np.ndarray]:
    """How well each score tells known from unknown images, with intervals over images of both sides.

    Each side is resampled by itself, so that their sizes stay; the same resamples serve every score of `known`
    (n_known,) and `unknown` (n_unknown,). One row a score: score, the two of `told_apart`, each with `_low` and
    `_high`; n_known, n_unknown. Beside the table: resamples of auroc (n_resamples, n_scores).
    """
    n_known, n_unknown = (len(side.groups) for side in sides)
    weights = np.hstack([side.weights() for side in sides])
    is_known = np.arange(n_known + n_unknown) < n_known
    smaller = min(sides, key=lambda side: side.n_groups)
    rows, aurocs = [], []
    for name in known:
        score = np.concatenate([known[name], unknown[name]])
        found, drawn = intervals(partial(told_apart, score, is_known), sides[0], weights)
        for metric, one in found.items():
            # Bounds for a metric that no resample moves are those of a share of the groups of one side.
            if one.low == one.high:
                found[metric] = smaller.mean(np.full(len(smaller.groups), one.value), span=(0, 1))
        rows.append({"score": name, **bounded(found)})
        aurocs.append(drawn["auroc"])
    return pd.DataFrame(rows).assign(n_known=n_known, n_unknown=n_unknown), np.stack(aurocs, axis=1)


# Logits (n, n_classes), true classes (n,) and the resampler of the images of one condition.
Condition = tuple[np.ndarray, np.ndarray, Resampler]


def regret(
    logits: np.ndarray, y_true: np.ndarray, temperature: float, weights: Weights = None
) -> tuple[np.ndarray, np.ndarray]:
    """NLL at a temperature minus the lowest NLL that any temperature gives (>= 0, nats), and the one that gives it.

    The latter is the best of a grid around the optimum of all rows, 3 % apart, with `temperature` on it, within the
    range that `Temperature.fit` searches. Weights as in `verdict.stats.weighted`.
    """
    best = np.log(Temperature.fit(logits, y_true, allow_small=True).temperature)
    grid = np.clip(best + np.linspace(-_REACH, _REACH, _POINTS), -LOG_T_BOUND, LOG_T_BOUND)
    grid = np.append(np.exp(grid), temperature)
    curves = shares([nll_of_logit_rows(logits / one, y_true) for one in grid], weights)
    return curves[..., -1] - curves.min(axis=-1), grid[curves.argmin(axis=-1)]


def transfer_table(
    fitted: Temperature, conditions: Mapping[str, Condition], *, n_bins: int
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """What one temperature, fitted on images of its own and kept as it is, does under every condition.

    One row a condition: accuracy; ece_before, ece, ece_change; nll_before, nll, nll_change; brier_before, brier;
    oracle (temperature, not defined at the end of what is searched); regret; each with `_low`, `_high`; p_nll_change
    (of no change, not adjusted); n. Before is T = 1. Beside the table: resamples of each regret, (n_resamples,).
    """
    rows, regrets = [], {}
    for name, (logits, y_true, resampler) in conditions.items():
        found, drawn = intervals(partial(_measured, logits, y_true, fitted.temperature), resampler)
        # A regret is at least zero, and resampling adds to it: its interval reaches down to the value.
        low = min(found["regret"].low, found["regret"].value)
        found["regret"] = replace(found["regret"], low=low)
        if abs(np.log(found["oracle"].value)) >= LOG_T_BOUND - 1e-9:
            found["oracle"] = NOTHING
        first, probs = {"accuracy": found.pop("accuracy")}, (softmax(logits), softmax(logits / fitted.temperature))
        for metric, shown in zip(("ece_before", "ece"), probs, strict=True):
            first[metric] = ece_interval(shown, y_true, resampler, n_bins=n_bins)
        first["ece_change"] = ece_change(*probs, y_true, resampler, n_bins=n_bins)
        p_change = p_value(found["nll_change"].value, drawn["nll_change"])
        row: dict[str, object] = {"condition": name, **bounded(first | found)}
        rows.append(row | {"p_nll_change": p_change, "n": len(y_true)})
        regrets[name] = drawn["regret"]
    return pd.DataFrame(rows), regrets


def _measured(logits: np.ndarray, y_true: np.ndarray, temperature: float, weights: Weights) -> dict[str, np.ndarray]:
    found = {"accuracy": weighted_mean(top_class(logits) == y_true, weights)}
    for suffix, divisor in (("_before", 1.0), ("", temperature)):
        found[f"nll{suffix}"] = nll_of_logits(logits / divisor, y_true, weights)
        found[f"brier{suffix}"] = brier(softmax(logits / divisor), y_true, weights)
    found["nll_change"] = found["nll"] - found["nll_before"]
    found["regret"], found["oracle"] = regret(logits, y_true, temperature, weights)
    return found


def unknowns(bench: Bench) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cosines with the known classes, and independent units, by "known" and the three kinds of unknown pictures.

    The last classes are taken for unknown: no prompt names them.
    """
    params, study, stage = bench.stage.params.clip_robustness, bench.study, bench.stage
    embedded, y_true, groups = study.of("test")
    n_known = round(params.known_share * len(bench.classes))
    known, n_new = bench.classes[:n_known], params.n_unknown // 2
    rows = {"known": np.flatnonzero(y_true < n_known), NEAR: np.flatnonzero(y_true >= n_known)}
    rows = {name: found[: params.n_unknown] for name, found in rows.items()}
    px = bench.subject.images.shape[1]
    new = {
        FAR: changed.photographs(n_new, px, rng=stage.rng("shift.photographs")),
        NOISE: stage.rng("shift.noise").integers(0, 256, (n_new, px, px, 3), dtype=np.uint8),
    }
    cosines = {name: zero_shot.cosines(embedded[at], known) for name, at in rows.items()}
    cosines |= {name: zero_shot.cosines(np.asarray(study.cache.images(images)), known) for name, images in new.items()}
    units = {name: groups[at] for name, at in rows.items()}
    return cosines, units | {name: [f"{name} {k}" for k in range(n_new)] for name in new}


def detection(bench: Bench, cosines: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Every score against every kind of unknown pictures: `detection_table` with a column unknown.

    Last row: the largest AUROC on classes left out, with bounds that pay for the pick. Numbers: it, MCM on each kind.
    """
    stage, tables = bench.stage, []
    found = {name: scores(cosines[name], bench.study.logit_scale) for name in cosines}
    resamplers = {name: stage.resampler(units) for name, units in groups.items()}
    best: dict[str, object] = {"unknown": NEAR, "score": f"the best of {len(found['known'])}"}
    for name in (NEAR, FAR, NOISE):
        table, drawn = detection_table(found["known"], found[name], [resamplers["known"], resamplers[name]])
        tables.append(table.assign(unknown=name))
        if name == NEAR:
            top = largest(table["auroc"], drawn, level=stage.params.statistics.level)
            best |= with_bounds("auroc", replace(top, high=min(top.high, 1.0)))
            best |= {side: table[side].iloc[0] for side in ("n_known", "n_unknown")}
    table = pd.concat([*tables, pd.DataFrame([best])], ignore_index=True)
    by_mcm = [("near", NEAR, "MCM"), ("far", FAR, "MCM"), ("noise", NOISE, "MCM")]
    for name, kind, score in (*by_mcm, ("best_near", NEAR, best["score"])):
        row = table[(table["unknown"] == kind) & (table["score"] == score)].iloc[0]
        for metric in ("auroc",) if name == "best_near" else ("auroc", "fpr95"):
            bench.keep(f"ood.{name}_{metric}", row, metric, row["n_known"] + row["n_unknown"])
    return table[["unknown", *[name for name in table.columns if name != "unknown"]]]


def temperatures(
    bench: Bench, cosines: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]
) -> dict[str, pd.DataFrame]:
    """AUROC of MCM over temperatures of the cosines, by kind of unknown pictures, with bounds."""
    grid, curves = bench.stage.params.clip_robustness.temperatures, {}
    for name in (NEAR, FAR):
        sides = [{f"{t:g}": mcm(cosines[side], t) for t in grid} for side in ("known", name)]
        found, _ = detection_table(*sides, [bench.stage.resampler(groups[side]) for side in ("known", name)])
        bounds = {"low": found["auroc_low"], "high": found["auroc_high"]}
        curves[name] = found.assign(log_temperature=np.log10(grid), **bounds)
    return curves


def read_changed(stage: Stage) -> dict[str, np.ndarray]:
    """Zero-shot logits (n, n_classes) by condition, as the page on robustness stored them."""
    table = pd.read_parquet(stage.upstream("11_clip_robustness", "changed.parquet"))
    return {name: logits_of(part) for name, part in table.groupby("condition", sort=False)}


def calibration(bench: Bench, shown: Mapping[str, np.ndarray]) -> tuple[Temperature, pd.DataFrame]:
    """Fit T on all of the calib split's zero-shot logits, and carry it to the test split and to changed pictures.

    `shown`: logits of the pictures as drawn, then of each change, as `read_changed` gives them. The table is that of
    `transfer_table`, first the test split and the pictures as drawn; `p_nll_change` is adjusted for the
    changes. The last row is the largest regret of those that have a temperature of their own, with bounds that pay for
    its having been picked. Numbers `transfer.*`: T, scores on the test split, how often T serves under a change, the
    largest regret, and under the same change accuracy and what T changes; under how many changes NLL with T lies above
    that of guessing (`n_above_guessing`, unadjusted), and where it is highest of these.
    """
    study, subject, stage = bench.study, bench.subject, bench.stage
    (embedded, y_calib, units), (kept, y_test, test_units) = study.of("calib"), study.of("test")
    logits, own = (zero_shot.scaled_logits(part, bench.classes, study.logit_scale) for part in (embedded, kept))
    fitted, spread = zero_shot.fit_temperature(logits, y_calib, stage.resampler(units))
    stage.numbers["transfer.temperature"] = spread.number(n=fitted.n, split="calib")
    conditions = {TEST_SPLIT: (own, y_test, stage.resampler(test_units))}
    conditions |= {name: (one, subject.y_true, bench.resampler) for name, one in shown.items()}
    table, regrets = transfer_table(fitted, conditions, n_bins=stage.params.statistics.ece_bins)
    table.loc[2:, "p_nll_change"] = holm(table["p_nll_change"][2:])
    test, shifted = table.iloc[0], table.iloc[2:]
    has_own = shifted["oracle"].notna()
    own = shifted[has_own | ~has_own.any()]
    drawn = np.stack([regrets[name] for name in own["condition"]], axis=1)
    worst = largest(own["regret"], drawn, level=stage.params.statistics.level)
    bounds = with_bounds("regret", replace(worst, low=max(worst.low, 0.0)))
    last = {"condition": f"the largest of {len(own)}", **bounds, "n": len(subject)}
    for name in ("accuracy", "ece_before", "ece", "ece_change", "nll_before", "nll", "nll_change"):
        bench.keep(f"transfer.{name}", test, name, unit="%" if name == "accuracy" else "")
    bench.keep("transfer.worst_regret", pd.Series(last), "regret")
    dearest = own.loc[own["regret"].idxmax()]
    stage.numbers["transfer.worst_shift"] = named(dearest["condition"])
    for name, unit in (("accuracy", "%"), ("nll_change", "")):
        bench.keep(f"transfer.worst_{name}", dearest, name, unit=unit)
    stage.number("transfer.n", test["n"], unit="count", split="test")
    is_moved = shifted["p_nll_change"] < 1 - stage.params.statistics.level
    n_better, n_worse = (int((is_moved & (side * shifted["nll_change"] > 0)).sum()) for side in (-1, 1))
    guessing = stage.number("transfer.guessing", np.log(len(bench.classes)), kind=EXACT).value
    above = shifted[shifted["nll_low"] > guessing]
    counts = {"n_shifts": len(shifted), "n_own": has_own.sum(), "n_above_guessing": len(above)}
    stage.counts("transfer", counts | {"n_better_nll": n_better, "n_worse_nll": n_worse})
    if len(above):
        highest = above.loc[above["nll"].idxmax()]
        stage.numbers["transfer.highest_shift"] = named(highest["condition"])
        for name in ("nll", "nll_before"):
            bench.keep(f"transfer.highest_{name}", highest, name)
    return fitted, pd.concat([table, pd.DataFrame([last])], ignore_index=True)
