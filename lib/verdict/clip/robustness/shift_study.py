"""The page on robustness, part two: unknown classes, calibration, retrieval, points in space, assistants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.numbers import EXACT
from verdict.clip.pictures import scenes
from verdict.clip.pictures.words import clean, prompt
from verdict.clip.probes import zero_shot
from verdict.clip.robustness import assistant, changed, ood, points, retrieval, transfer
from verdict.clip.robustness.corruptions import as_unit
from verdict.clip.robustness.robustness_study import AS_DRAWN, MIDDLE, Bench, PopulationAnswers
from verdict.decide.temperature import Temperature
from verdict.stats.scores import top_class
from verdict.stats.uncertainty import holm, largest, with_bounds

NEAR, FAR, NOISE = "classes left out", "photographs", "noise"
TEST_SPLIT = "the test split"
MAPS: Mapping[str, dict[str, float | tuple[float, float]]] = {
    "turned by 15°": {"degrees": 15.0},
    "turned by 90°": {"degrees": 90.0},
    "nearer": {"scale": 1.3},
    "tilted": {"tilt": 0.5},
    "moved": {"shift": (0.125, -0.083)},
}


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


def calibration(
    bench: Bench, answers: Mapping[tuple[str, str], PopulationAnswers], corrupted: Mapping[str, PopulationAnswers]
) -> tuple[Temperature, pd.DataFrame]:
    """Fit T on all of the calib split's zero-shot logits, and carry it to the test split and to changed pictures.

    The table is that of `transfer.transfer_table`, first the test split and the pictures as drawn; `p_nll_change` is
    adjusted for the changes. The last row is their largest regret, with bounds that pay for its having been picked.
    Numbers `transfer.*`: T, scores on the test split, how often T serves under a change, and the largest regret.
    """
    study, subject, stage = bench.study, bench.subject, bench.stage
    (embedded, y_calib, units), (kept, y_test, test_units) = study.of("calib"), study.of("test")
    logits, own = (zero_shot.scaled_logits(part, bench.classes, study.logit_scale) for part in (embedded, kept))
    fitted, spread = zero_shot.fit_temperature(logits, y_calib, stage.resampler(units))
    stage.numbers["transfer.temperature"] = spread.number(n=fitted.n, split="calib")
    shown = {AS_DRAWN: bench.reference}
    for (factor, value), one in answers.items():
        if factor in ("turn", "light", "size", "digit and colour", "cover"):
            shown[f"{factor} = {value}"] = one
    shown |= {f"{name.replace('_', ' ')}, severity {MIDDLE}": one for name, one in corrupted.items()}
    conditions = {TEST_SPLIT: (own, y_test, stage.resampler(test_units))}
    conditions |= {name: (one.logits, subject.y_true, bench.resampler) for name, one in shown.items()}
    table, regrets = transfer.transfer_table(fitted, conditions, n_bins=stage.params.statistics.ece_bins)
    table.loc[2:, "p_nll_change"] = holm(table["p_nll_change"][2:])
    test, shifted = table.iloc[0], table.iloc[2:]
    drawn = np.stack([regrets[name] for name in shifted["condition"]], axis=1)
    worst = largest(shifted["regret"], drawn, level=stage.params.statistics.level)
    bounds = with_bounds("regret", replace(worst, low=max(worst.low, 0.0)))
    last = {"condition": f"the largest of {len(shifted)}", **bounds, "n": len(subject)}
    for name in ("accuracy", "ece_before", "ece", "ece_change", "nll_before", "nll", "nll_change"):
        bench.keep(f"transfer.{name}", test, name)
    bench.keep("transfer.worst_regret", pd.Series(last), "regret")
    stage.number("transfer.n", test["n"], unit="count", split="test")
    stage.number("transfer.n_shifts", len(shifted), unit="count")
    is_moved = shifted["p_nll_change"] < 1 - stage.params.statistics.level
    for name, is_so in (("better", shifted["nll_change"] < 0), ("worse", shifted["nll_change"] > 0)):
        stage.number(f"transfer.n_{name}_nll", int((is_moved & is_so).sum()), unit="count")
    return fitted, pd.concat([table, pd.DataFrame([last])], ignore_index=True)


def captioned(bench: Bench) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A gallery of pictures with one caption each: similarities, ways to count what is right, independent units.

    Captions of scenes name the digit and, at random, other factors; those of other sources put the class into a
    template. "own" counts a picture's own caption alone, "equal" its word-for-word copies as well, "true" every caption
    that is true of the picture.
    """
    study, subject, rng = bench.study, bench.subject, bench.stage.rng("shift.captions")
    rows = np.arange(min(bench.stage.params.clip_robustness.n_gallery, len(subject)))
    own, y_true = np.eye(len(rows), dtype=bool), subject.y_true[rows]
    if subject.scenes is not None:
        shown, named = subject.scenes.take(rows), scenes.spoken(len(rows), rng=rng)
        texts = scenes.captions(shown, named, rng=rng, templates=("{}",))
        is_true = scenes.is_true(shown, named)
    else:
        names, templates = [clean(name) for name in study.pictures.class_names], study.pictures.templates
        picks = rng.integers(len(templates), size=len(rows))
        texts = [prompt(templates[pick], names[label]) for pick, label in zip(picks, y_true, strict=True)]
        is_true = y_true[:, None] == y_true[None, :]
    images = np.asarray(study.cache.images(subject.images[rows]))
    similarity = images @ np.asarray(study.cache.texts(texts)).T
    counted = {"own": own, "equal": retrieval.equivalent_pairs(own, texts), "true": is_true}
    return similarity, counted, subject.groups[rows]


def found_captions(
    bench: Bench, similarity: np.ndarray, counted: Mapping[str, np.ndarray], groups: np.ndarray
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """R@k and mean reciprocal rank in both directions, and the curves of image to caption over k."""
    resampler, n_points = bench.stage.resampler(groups), min(50, len(groups))
    table, curves = retrieval.retrieval_table(similarity, counted, resampler, resampler), {}
    for name, pairs in counted.items():
        ranks = retrieval.first_ranks(similarity, pairs)
        curves[name] = retrieval.recall_curve(ranks, resampler, n_points=n_points)
        row = table[(table["query"] == "image") & (table["counted"] == name)].iloc[0]
        for k in retrieval.CUTS:
            bench.keep(f"retrieval.{name}_r{k}", row, f"r{k}", len(groups))
    bench.stage.number("retrieval.n_gallery", len(groups), unit="count", split="test")
    return table, curves


def correspondence(bench: Bench) -> pd.DataFrame:
    """How often a patch is found again in another view, by the encoder's patch tokens and by raw pixels.

    Rows: view, features; found within each share of the side, at best (patches are coarse) and by chance, with bounds;
    n_points. Numbers: found after a small and after a large turn, at the first threshold.
    """
    study, subject, stage = bench.study, bench.subject, bench.stage
    params = stage.params.clip_robustness
    n = min(params.n_views, len(subject))
    images, px, grid = subject.images[:n], subject.images.shape[1], int(study.facts["grid"])
    is_keypoint = points.patches_with_ink(subject.masks[:n], grid)
    is_keypoint = is_keypoint if is_keypoint.any() else np.ones_like(is_keypoint)
    first = {"encoder": np.asarray(study.cache.patches(images)), "pixels": _pixel_patches(images, grid)}
    rows = []
    for view, options in MAPS.items():
        matrix = points.homography(px, **options)
        seen = points.warped(images, matrix)
        second = {"encoder": np.asarray(study.cache.patches(seen)), "pixels": _pixel_patches(seen, grid)}
        for features, seen_first in first.items():
            found = points.correspondences(seen_first, second[features], matrix, px, is_keypoint)
            resampler, row = stage.resampler(subject.groups[found.image]), {"view": view, "features": features}
            for share in params.found_within:
                at = found.within(share)
                for name, end, span in (
                    ("found", "", (0, 1)),
                    ("best", "_at_best", (0, 1)),
                    ("chance", "_by_chance", None),
                ):
                    row |= with_bounds(f"within_{share:g}{end}", resampler.mean(at[name], span=span))
            rows.append(row | {"n_points": len(found.image)})
            name = f"within_{params.found_within[0]:g}"
            if short := {"turned by 15°": "small_turn", "turned by 90°": "large_turn"}.get(view):
                bench.keep(f"points.{short}_{features}", pd.Series(rows[-1]), name, len(found.image))
                bench.keep(f"points.{short}_chance", pd.Series(rows[-1]), f"{name}_by_chance", len(found.image))
    return pd.DataFrame(rows)


def _pixel_patches(images: np.ndarray, grid: int) -> np.ndarray:
    """Patches as their own pixels less their mean, unit length: (n, grid * grid, d)."""
    flat = points.patches_of(as_unit(images), grid)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6)


def questions(bench: Bench) -> pd.DataFrame:
    """Multiple-choice questions on the pictures, the right choice and the encoder's: one row a question.

    The wrong choices are the classes that the encoder finds most alike, so that its errors are among them.
    """
    params, subject = bench.stage.params.clip_robustness, bench.subject
    logits = bench.reference.logits[: params.n_questions]
    names = np.array([clean(name) for name in bench.study.pictures.class_names], dtype=object)
    n_choices = min(params.n_choices, len(names))
    rng, rows = bench.stage.rng("shift.questions"), []
    for k, (row, truth) in enumerate(zip(logits, subject.y_true, strict=False)):
        others = [c for c in np.argsort(-row, kind="stable") if c != truth][: n_choices - 1]
        classes = rng.permutation([truth, *others])
        best = int(np.sort(classes)[top_class(row[np.sort(classes)])])
        choices = [str(names[c]) for c in classes]
        asked = {"question_id": f"q{k:04d}", "group_id": subject.groups[k], "choices": choices}
        places = {"truth": int(np.flatnonzero(classes == truth)[0]), "encoder": int(np.flatnonzero(classes == best)[0])}
        rows.append(asked | places | {"question": assistant.question(choices)})
    return pd.DataFrame(rows)


def write_questions(bench: Bench, asked: pd.DataFrame) -> None:
    """Write questions and pictures into the stage's folder, for `verdict.clip.encoder.ask` or anybody else."""
    home = bench.stage.path("questions")
    home.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, text, image in zip(asked["question_id"], asked["question"], bench.subject.images, strict=False):
        Image.fromarray(image).save(home / f"{name}.png")
        lines.append(json.dumps({"question_id": name, "image": f"{name}.png", "question": text}))
    write_text(home / "questions.jsonl", "".join(f"{line}\n" for line in lines))


def assistants(bench: Bench, asked: pd.DataFrame) -> pd.DataFrame:
    """The encoder's accuracy on the questions, and the scores of an assistant's answers where a file is given.

    Columns who, measure, value with bounds, by_chance.
    """
    stage = bench.stage
    given, resampler = stage.params.clip_robustness.assistant_answers, stage.resampler(asked["group_id"])
    fixed = (asked["encoder"], asked["truth"], asked["choices"].map(len), resampler)
    table = assistant.score(asked["encoder"], *fixed).query("measure == 'accuracy'").assign(who="encoder")
    chance = table["by_chance"].item()
    if given:
        said = assistant.read_answers(paths.needed(given, "clip_robustness.assistant_answers"), asked)
        chosen = [assistant.chosen(text, choices) for text, choices in zip(said, asked["choices"], strict=True)]
        found = assistant.score(chosen, *fixed)
        table = pd.concat([table, found[found["measure"] != "encoder accuracy"].assign(who="assistant")])
    for _, row in table.iterrows():
        bench.keep(f"questions.{row['who']}_{row['measure'].replace(' ', '_')}", row, "value", len(asked))
    stage.number("questions.chance", chance, kind=EXACT)
    stage.number("questions.n", len(asked), unit="count", split="test")
    return table[["who", "measure", "value", "value_low", "value_high", "by_chance"]].reset_index(drop=True)
