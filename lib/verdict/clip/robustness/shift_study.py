"""The page on shifts: pictures of classes that no prompt names, and a temperature carried to changed pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.clip.probes import zero_shot
from verdict.clip.robustness import changed, ood, transfer
from verdict.clip.robustness.robustness_study import Bench
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.stats.uncertainty import holm, largest, with_bounds
from verdict.workflow.stage import Stage

NEAR, FAR, NOISE = "classes left out", "photographs", "noise"
TEST_SPLIT = "the test split"


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
    """Every score against every kind of unknown pictures: `ood.detection_table` with a column unknown.

    The last row is the largest AUROC on the classes left out, with bounds that pay for its having been picked. Numbers:
    that one, and MCM on the classes left out and on photographs.
    """
    stage, tables = bench.stage, []
    found = {name: ood.scores(cosines[name], bench.study.logit_scale) for name in cosines}
    resamplers = {name: stage.resampler(units) for name, units in groups.items()}
    best: dict[str, object] = {"unknown": NEAR, "score": f"the best of {len(found['known'])}"}
    for name in (NEAR, FAR, NOISE):
        table, drawn = ood.detection_table(found["known"], found[name], resamplers["known"], resamplers[name])
        tables.append(table.assign(unknown=name))
        if name == NEAR:
            top = largest(table["auroc"], drawn, level=stage.params.statistics.level)
            best |= with_bounds("auroc", replace(top, high=min(top.high, 1.0)))
            best |= {side: table[side].iloc[0] for side in ("n_known", "n_unknown")}
    table = pd.concat([*tables, pd.DataFrame([best])], ignore_index=True)
    for name, kind, score in (("near", NEAR, "MCM"), ("far", FAR, "MCM"), ("best_near", NEAR, best["score"])):
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
        sides = [{f"{t:g}": ood.mcm(cosines[side], t) for t in grid} for side in ("known", name)]
        found, _ = ood.detection_table(*sides, *(bench.stage.resampler(groups[side]) for side in ("known", name)))
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
    `transfer.transfer_table`, first the test split and the pictures as drawn; `p_nll_change` is adjusted for the
    changes. The last row is their largest regret, with bounds that pay for its having been picked.
    Numbers `transfer.*`: T, scores on the test split, how often T serves under a change, and the largest regret.
    """
    study, subject, stage = bench.study, bench.subject, bench.stage
    (embedded, y_calib, units), (kept, y_test, test_units) = study.of("calib"), study.of("test")
    logits, own = (zero_shot.scaled_logits(part, bench.classes, study.logit_scale) for part in (embedded, kept))
    fitted, spread = zero_shot.fit_temperature(logits, y_calib, stage.resampler(units))
    stage.numbers["transfer.temperature"] = spread.number(n=fitted.n, split="calib")
    conditions = {TEST_SPLIT: (own, y_test, stage.resampler(test_units))}
    conditions |= {name: (one, subject.y_true, bench.resampler) for name, one in shown.items()}
    table, regrets = transfer.transfer_table(fitted, conditions, n_bins=stage.params.statistics.ece_bins)
    table.loc[2:, "p_nll_change"] = holm(table["p_nll_change"][2:])
    test, shifted = table.iloc[0], table.iloc[2:]
    drawn = np.stack([regrets[name] for name in shifted["condition"]], axis=1)
    worst = largest(shifted["regret"], drawn, level=stage.params.statistics.level)
    bounds = with_bounds("regret", replace(worst, low=max(worst.low, 0.0)))
    last = {"condition": f"the largest of {len(shifted)}", **bounds, "n": len(subject)}
    for name in ("accuracy", "ece_before", "ece", "ece_change", "nll_before", "nll", "nll_change"):
        bench.keep(f"transfer.{name}", test, name, unit="%" if name == "accuracy" else "")
    bench.keep("transfer.worst_regret", pd.Series(last), "regret")
    stage.number("transfer.n", test["n"], unit="count", split="test")
    is_moved = shifted["p_nll_change"] < 1 - stage.params.statistics.level
    n_better, n_worse = (int((is_moved & (side * shifted["nll_change"] > 0)).sum()) for side in (-1, 1))
    stage.counts("transfer", {"n_shifts": len(shifted), "n_better_nll": n_better, "n_worse_nll": n_worse})
    return fitted, pd.concat([table, pd.DataFrame([last])], ignore_index=True)
