"""The page on robustness, part two: unknown classes, calibration, retrieval, points in space, assistants."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
from PIL import Image

from verdict import paths
from verdict.artifacts import write_text
from verdict.calibrate import Temperature
from verdict.clip import assistant, changed, depth, ood, retrieval, scenes, transfer
from verdict.clip.corruptions import CORRUPTIONS
from verdict.clip.pixels import as_unit
from verdict.clip.robustness_study import MIDDLE, Answers, Bench, cell
from verdict.clip.words import clean, prompt
from verdict.stage import Stage
from verdict.uncertainty import group_weights, percentile_interval, with_bounds
from verdict.weighted import weighted_mean

NEAR, FAR, NOISE = "classes left out", "photographs", "noise"
VIEWS: Mapping[str, dict[str, float | tuple[float, float]]] = {
    "turned by 15°": {"degrees": 15.0},
    "turned by 90°": {"degrees": 90.0},
    "nearer": {"scale": 1.3},
    "tilted": {"tilt": 0.5},
    "moved": {"shift": (0.125, -0.083)},
}


def unknowns(stage: Stage, bench: Bench) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cosines with the known classes, and independent units, of known pictures and of three kinds of unknown ones.

    The last classes are taken for unknown: no prompt names them.

    Returns
    -------
    cosines, groups : by "known" and the three kinds
    """
    params, study = stage.params.clip_robustness, bench.study
    embedded, y_true, groups = study.of("test")
    n_known = round(params.known_share * len(bench.classes))
    known = bench.classes[:n_known]
    rows = {"known": np.flatnonzero(y_true < n_known), NEAR: np.flatnonzero(y_true >= n_known)}
    rows = {name: found[: params.n_unknown] for name, found in rows.items()}
    px = bench.subject.images.shape[1]
    new = {
        FAR: changed.photographs(params.n_unknown // 2, px, rng=stage.rng(161)),
        NOISE: changed.pure_noise(params.n_unknown // 2, px, rng=stage.rng(162)),
    }
    cosines = {name: embedded[at] @ known.T for name, at in rows.items()}
    cosines |= {name: np.asarray(study.cache.images(images)) @ known.T for name, images in new.items()}
    units = {name: groups[at] for name, at in rows.items()}
    return cosines, units | {name: np.arange(len(images)) for name, images in new.items()}


def detection(
    stage: Stage, bench: Bench, cosines: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Every score against every kind of unknown pictures: `ood.detection_table` with a column unknown."""
    known = ood.scores(cosines["known"], bench.study.logit_scale)
    tables = []
    for k, name in enumerate((NEAR, FAR, NOISE)):
        unknown = ood.scores(cosines[name], bench.study.logit_scale)
        found = _detected(stage, known, unknown, groups["known"], groups[name], 163 + k)
        tables.append(found.assign(unknown=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["unknown", *[name for name in table.columns if name != "unknown"]]]


def temperatures(
    stage: Stage, bench: Bench, cosines: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]
) -> dict[str, pd.DataFrame]:
    """AUROC of MCM over temperatures of the cosines, by kind of unknown pictures, with bounds."""
    grid = stage.params.clip_robustness.temperatures
    curves = {}
    for k, name in enumerate((NEAR, FAR)):
        known, unknown = ({f"{t:g}": ood.mcm(cosines[side], t) for t in grid} for side in ("known", name))
        found = _detected(stage, known, unknown, groups["known"], groups[name], 163 + k)
        bounds = {"low": found["auroc_low"], "high": found["auroc_high"]}
        curves[name] = found.assign(log_temperature=np.log10(grid), **bounds)
    return curves


def _detected(
    stage: Stage,
    known: Mapping[str, np.ndarray],
    unknown: Mapping[str, np.ndarray],
    known_groups: np.ndarray,
    unknown_groups: np.ndarray,
    key: int,
) -> pd.DataFrame:
    statistics = stage.params.statistics
    return ood.detection_table(
        known,
        unknown,
        known_groups,
        unknown_groups,
        n_resamples=statistics.n_resamples,
        rng=stage.rng(key),
        level=statistics.level,
    )


def store_detection(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: MCM on the classes left out and on photographs, and the best score on the former."""
    by_key = table.set_index(["unknown", "score"])
    for name, kind in (("near", NEAR), ("far", FAR)):
        for metric in ("auroc", "fpr95"):
            stage.numbers[f"ood.{name}_{metric}"] = cell(
                row := by_key.loc[(kind, "MCM")], metric, row["n_known"] + row["n_unknown"]
            )
    near = table[table["unknown"] == NEAR]
    best = near.loc[near["auroc"].idxmax()]
    stage.numbers["ood.best_near_auroc"] = cell(best, "auroc", best["n_known"] + best["n_unknown"])


def calibration(
    stage: Stage,
    bench: Bench,
    answers: Mapping[tuple[str, str], Answers],
    corrupted: Mapping[tuple[str, int], np.ndarray],
) -> tuple[Temperature, pd.DataFrame]:
    """Fit T on the calib split's zero-shot logits, and carry it to the test split and to changed pictures.

    Returns
    -------
    Temperature
    DataFrame
        See `transfer.transfer_table`.
    """
    study, subject, statistics = bench.study, bench.subject, stage.params.statistics
    embedded, y_calib, _ = study.of("calib")
    fitted = Temperature.fit(study.logit_scale * (embedded @ bench.classes.T), y_calib, allow_small=True)
    kept, y_test, units = study.of("test")
    conditions = {"unchanged": transfer.Condition(study.logit_scale * (kept @ bench.classes.T), y_test, units)}
    for (factor, value), one in answers.items():
        if factor in ("turn", "light", "size", "digit and colour", "cover"):
            conditions[f"{factor} = {value}"] = transfer.Condition(one.logits, subject.y_true, subject.groups)
    for name in CORRUPTIONS:
        found = transfer.Condition(corrupted[name, MIDDLE], subject.y_true, subject.groups)
        conditions[f"{name.replace('_', ' ')}, severity {MIDDLE}"] = found
    table = transfer.transfer_table(
        fitted,
        conditions,
        n_bins=stage.params.calibrate.ece_bins,
        n_resamples=statistics.n_resamples,
        rng=stage.rng(170),
        level=statistics.level,
    )
    return fitted, table


def store_calibration(stage: Stage, fitted: Temperature, table: pd.DataFrame) -> None:
    """Numbers of the section: T, ECE and NLL unchanged, and how often the temperature serves under a shift."""
    stage.number("transfer.temperature", fitted.temperature, n=fitted.n, split="calib")
    for name in ("ece_before", "ece", "nll_before", "nll"):
        stage.numbers[f"transfer.{name}"] = cell(table.iloc[0], name, table["n"].iloc[0])
    shifted = table.iloc[1:]
    stage.number("transfer.n_shifts", len(shifted), unit="count")
    stage.number("transfer.n_better_nll", int((shifted["nll"] < shifted["nll_before"]).sum()), unit="count")
    stage.number("transfer.n_better_ece", int((shifted["ece"] < shifted["ece_before"]).sum()), unit="count")
    stage.number("transfer.median_ece", float(shifted["ece"].median()))
    worst = shifted.loc[shifted["regret"].idxmax()]
    stage.numbers["transfer.worst_regret"] = cell(worst, "regret", worst["n"])


def captioned(stage: Stage, bench: Bench) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A gallery of pictures with one caption each: similarities, ways to count what is right, independent units.

    Captions of scenes name the digit and, at random, other factors; those of other sources put the class into a
    template. "own" counts a picture's own caption alone, "equal" its word-for-word copies as well, "true" every caption
    that is true of the picture.
    """
    study, n = bench.study, stage.params.clip_robustness.n_gallery
    subject, rng = bench.subject, stage.rng(180)
    rows = np.arange(min(n, len(subject)))
    own = np.eye(len(rows), dtype=bool)
    if subject.scenes is not None:
        shown = subject.scenes.take(rows)
        named = scenes.spoken(len(rows), rng=rng)
        texts = scenes.captions(shown, named, rng=rng, templates=("{}",))
        more = {"true": scenes.is_true(shown, named)}
    else:
        names = [clean(name) for name in study.pictures.class_names]
        picks = rng.integers(len(study.pictures.templates), size=len(rows))
        pairs = zip(picks, subject.y_true[rows], strict=True)
        texts = [prompt(study.pictures.templates[pick], names[label]) for pick, label in pairs]
        more = {"true": subject.y_true[rows][:, None] == subject.y_true[rows][None, :]}
    images = np.asarray(study.cache.images(subject.images[rows]))
    similarity = images @ np.asarray(study.cache.texts(texts)).T
    counted = {"own": own, "equal": retrieval.equivalent_pairs(own, texts), **more}
    return similarity, counted, subject.groups[rows]


def found_captions(
    stage: Stage, similarity: np.ndarray, counted: Mapping[str, np.ndarray], groups: np.ndarray
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """R@k, mean reciprocal and median rank in both directions, and the curves of image to caption over k."""
    statistics = stage.params.statistics
    options = {"n_resamples": statistics.n_resamples, "level": statistics.level}
    table = retrieval.retrieval_table(similarity, counted, groups, groups, rng=stage.rng(181), **options)
    n_points = min(50, len(groups))
    curves = {
        name: retrieval.recall_curve(
            retrieval.first_ranks(similarity, pairs), groups, n_points=n_points, rng=stage.rng(182), **options
        )
        for name, pairs in counted.items()
    }
    by_key = table.set_index(["query", "counted"])
    for name in counted:
        for k in retrieval.CUTS:
            stage.numbers[f"retrieval.{name}_r{k}"] = cell(by_key.loc[("image", name)], f"r{k}", len(groups))
    stage.number("retrieval.n_gallery", len(groups), unit="count", split="test")
    return table, curves


def correspondence(stage: Stage, bench: Bench) -> pd.DataFrame:
    """How often a patch is found again in another view, by the encoder's patch tokens and by raw pixels.

    Returns
    -------
    DataFrame
        Rows: view, features, found within each share of the side, with bounds; at best (patches are coarse) and by
        chance; n_points.
    """
    study, subject = bench.study, bench.subject
    n = min(stage.params.clip_robustness.n_views, len(subject))
    images, px, grid = subject.images[:n], subject.images.shape[1], int(study.facts["grid"])
    is_keypoint = depth.patches_with_ink(subject.masks[:n], grid)
    is_keypoint = is_keypoint if is_keypoint.any() else np.ones_like(is_keypoint)
    first = {"encoder": np.asarray(study.cache.patches(images)), "pixels": _pixel_patches(images, grid)}
    rows = []
    for k, (name, view) in enumerate(VIEWS.items()):
        matrix = depth.homography(px, **view)
        seen = depth.second_view(images, matrix)
        second = {"encoder": np.asarray(study.cache.patches(seen)), "pixels": _pixel_patches(seen, grid)}
        for features, seen_first in first.items():
            found = depth.correspondences(seen_first, second[features], matrix, px, is_keypoint)
            rows.append({"view": name, "features": features, **_within(stage, subject.groups[found.image], found, k)})
    return pd.DataFrame(rows)


def _within(stage: Stage, groups: np.ndarray, found: depth.Correspondence, key: int) -> dict[str, float]:
    statistics = stage.params.statistics
    weights = group_weights(groups, statistics.n_resamples, stage.rng(190, key))
    row: dict[str, float] = {}
    for share in stage.params.clip_robustness.found_within:
        at, name = found.within(share), f"within_{share:g}"
        drawn = weighted_mean(at["found"], weights)
        one = percentile_interval(float(at["found"].mean()), drawn, level=statistics.level)
        row |= with_bounds(name, one)
        row |= {f"{name}_at_best": float(at["best"].mean()), f"{name}_by_chance": float(at["chance"].mean())}
    return row | {"n_points": len(groups)}


def _pixel_patches(images: np.ndarray, grid: int) -> np.ndarray:
    """Patches as their own pixels less their mean, unit length: (n, grid * grid, d)."""
    unit = as_unit(images)
    n, px = unit.shape[:2]
    patch = px // grid
    cut = unit[:, : patch * grid, : patch * grid].reshape(n, grid, patch, grid, patch, 3)
    flat = cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, grid * grid, -1)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6)


def store_correspondence(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: found after a small and after a large turn, at the first threshold."""
    name = f"within_{stage.params.clip_robustness.found_within[0]:g}"
    by_key = table.set_index(["view", "features"])
    for short, view in (("small_turn", "turned by 15°"), ("large_turn", "turned by 90°")):
        for features in ("encoder", "pixels"):
            row = by_key.loc[(view, features)]
            stage.numbers[f"points.{short}_{features}"] = cell(row, name, row["n_points"])
        stage.number(f"points.{short}_chance", float(row[f"{name}_by_chance"]))


def questions(stage: Stage, bench: Bench) -> pd.DataFrame:
    """Multiple-choice questions on the pictures, the right choice and the encoder's: one row a question.

    The wrong choices are the classes that the encoder finds most alike, so that its errors are among them.
    """
    params, subject = stage.params.clip_robustness, bench.subject
    logits = bench.reference.logits[: params.n_questions]
    names = np.array([clean(name) for name in bench.study.pictures.class_names], dtype=object)
    n_choices = min(params.n_choices, len(names))
    rng, rows = stage.rng(200), []
    for k, (row, truth) in enumerate(zip(logits, subject.y_true, strict=False)):
        others = [c for c in np.argsort(-row, kind="stable") if c != truth][: n_choices - 1]
        classes = rng.permutation([truth, *others])
        best = int(classes[row[classes].argmax()])
        choices = [str(names[c]) for c in classes]
        asked = {"question_id": f"q{k:04d}", "group_id": subject.groups[k], "choices": choices}
        places = {"truth": int(np.flatnonzero(classes == truth)[0]), "encoder": int(np.flatnonzero(classes == best)[0])}
        rows.append(asked | places | {"question": assistant.question(choices)})
    return pd.DataFrame(rows)


def write_questions(stage: Stage, bench: Bench, asked: pd.DataFrame) -> None:
    """Write questions and pictures into the stage's folder, for `python -m verdict.clip.ask` or anybody else."""
    home = stage.path("questions")
    home.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, text, image in zip(asked["question_id"], asked["question"], bench.subject.images, strict=False):
        Image.fromarray(image).save(home / f"{name}.png")
        lines.append(json.dumps({"question_id": name, "image": f"{name}.png", "question": text}))
    write_text(home / "questions.jsonl", "".join(f"{line}\n" for line in lines))


def assistants(stage: Stage, asked: pd.DataFrame) -> pd.DataFrame:
    """The encoder's accuracy on the questions, and the scores of an assistant's answers where a file is given.

    Returns
    -------
    DataFrame
        who, measure, value with bounds, by_chance.
    """
    statistics, given = stage.params.statistics, stage.params.clip_robustness.assistant_answers
    options = {"n_resamples": statistics.n_resamples, "level": statistics.level}
    fixed = (asked["encoder"], asked["truth"], asked["choices"].map(len), asked["group_id"])
    own = assistant.score(asked["encoder"], *fixed, rng=stage.rng(201), **options)
    table = own.table().query("measure == 'accuracy'").assign(who="encoder")
    if given:
        said = assistant.read_answers(paths.needed(given, "clip_robustness.assistant_answers"), asked)
        chosen = [assistant.chosen(text, choices) for text, choices in zip(said, asked["choices"], strict=True)]
        found = assistant.score(chosen, *fixed, rng=stage.rng(202), **options).table()
        table = pd.concat([table, found[found["measure"] != "encoder accuracy"].assign(who="assistant")])
    for _, row in table.iterrows():
        name = f"questions.{row['who']}_{row['measure'].replace(' ', '_')}"
        stage.numbers[name] = cell(row, "value", len(asked))
    stage.number("questions.chance", own.chance)
    stage.number("questions.n", len(asked), unit="count", split="test")
    return table[["who", "measure", "value", "value_low", "value_high", "by_chance"]].reset_index(drop=True)


def assistant_sentence(stage: Stage) -> str:
    """What the section may say: scores where an answer file is given, and otherwise that there is none."""
    own = (
        "On {questions.n} questions the encoder chooses right in {questions.encoder_accuracy}; chance would in "
        "{questions.chance}. "
    )
    if not stage.params.clip_robustness.assistant_answers:
        return own + (
            "No assistant's answers were given, and none are made up: ask one with `python -m verdict.clip.ask`, and "
            "name its file in `clip_robustness.assistant_answers`."
        )
    return own + (
        "The assistant is right in {questions.assistant_accuracy}, agrees with the encoder in "
        "{questions.assistant_agreement}, repairs {questions.assistant_gain} of the encoder's errors and spoils "
        "{questions.assistant_loss} of what it had right."
    )
