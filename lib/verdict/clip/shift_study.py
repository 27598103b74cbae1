"""The page on robustness, part two: unknown classes, calibration, retrieval, points in space, assistants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from verdict import paths
from verdict.artifacts import write_text
from verdict.calibrate import Temperature
from verdict.clip import assistant, changed, depth, ood, retrieval, scenes, transfer, zero_shot
from verdict.clip.corruptions import CORRUPTIONS
from verdict.clip.pixels import as_unit
from verdict.clip.robustness_study import AS_DRAWN, MIDDLE, Answers, Bench, cell
from verdict.clip.words import by_sign, clean, prompt
from verdict.numbers import EXACT
from verdict.scores import top_class
from verdict.stage import Stage
from verdict.uncertainty import holm, largest, with_bounds

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
        FAR: changed.photographs(params.n_unknown // 2, px, rng=stage.rng("shift.photographs")),
        NOISE: changed.pure_noise(params.n_unknown // 2, px, rng=stage.rng("shift.noise")),
    }
    cosines = {name: zero_shot.cosines(embedded[at], known) for name, at in rows.items()}
    cosines |= {name: zero_shot.cosines(np.asarray(study.cache.images(images)), known) for name, images in new.items()}
    units = {name: groups[at] for name, at in rows.items()}
    return cosines, units | {name: [f"{name} {k}" for k in range(len(images))] for name, images in new.items()}


def detection(
    stage: Stage, bench: Bench, cosines: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Every score against every kind of unknown pictures: `ood.detection_table` with a column unknown.

    The last row is the largest AUROC on the classes left out, with bounds that pay for its having been picked.
    """
    known, tables = ood.scores(cosines["known"], bench.study.logit_scale), []
    best: dict[str, object] = {"unknown": NEAR, "score": f"the best of {len(known)}"}
    for name in (NEAR, FAR, NOISE):
        unknown = ood.scores(cosines[name], bench.study.logit_scale)
        found, drawn = ood.detection_table(known, unknown, *(stage.resampler(groups[side]) for side in ("known", name)))
        tables.append(found.assign(unknown=name))
        if name == NEAR:
            top = largest(found["auroc"], drawn, level=stage.params.statistics.level)
            best |= with_bounds("auroc", replace(top, high=min(top.high, 1.0)))
            best |= {side: found[side].iloc[0] for side in ("n_known", "n_unknown")}
    table = pd.concat([*tables, pd.DataFrame([best])], ignore_index=True)
    return table[["unknown", *[name for name in table.columns if name != "unknown"]]]


def temperatures(
    stage: Stage, cosines: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]
) -> dict[str, pd.DataFrame]:
    """AUROC of MCM over temperatures of the cosines, by kind of unknown pictures, with bounds."""
    grid = stage.params.clip_robustness.temperatures
    curves = {}
    for name in (NEAR, FAR):
        known, unknown = ({f"{t:g}": ood.mcm(cosines[side], t) for t in grid} for side in ("known", name))
        found, _ = ood.detection_table(known, unknown, *(stage.resampler(groups[side]) for side in ("known", name)))
        bounds = {"low": found["auroc_low"], "high": found["auroc_high"]}
        curves[name] = found.assign(log_temperature=np.log10(grid), **bounds)
    return curves


def store_detection(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: MCM on the classes left out and on photographs, and the best score on the former."""
    by_key = table.set_index(["unknown", "score"])
    for name, kind in (("near", NEAR), ("far", FAR)):
        for metric in ("auroc", "fpr95"):
            stage.numbers[f"ood.{name}_{metric}"] = cell(
                row := by_key.loc[(kind, "MCM")], metric, row["n_known"] + row["n_unknown"]
            )
    best = table.iloc[-1]
    stage.numbers["ood.best_near_auroc"] = cell(best, "auroc", best["n_known"] + best["n_unknown"])


def calibration(
    stage: Stage,
    bench: Bench,
    answers: Mapping[tuple[str, str], Answers],
    corrupted: Mapping[tuple[str, int], np.ndarray],
) -> tuple[Temperature, pd.DataFrame]:
    """Fit T on all of the calib split's zero-shot logits, and carry it to the test split and to changed pictures.

    Returns
    -------
    Temperature
        Its interval is the number `transfer.temperature`.
    DataFrame
        See `transfer.transfer_table`; the first two rows are the test split and the pictures that are changed, as
        drawn. The last one is the largest regret of the others, with bounds that pay for its having been picked.
        `p_nll_change` is adjusted for the changes.
    """
    study, subject = bench.study, bench.subject
    embedded, y_calib, units = study.of("calib")
    logits = zero_shot.scaled_logits(embedded, bench.classes, study.logit_scale)
    fitted, spread = zero_shot.fit_temperature(logits, y_calib, stage.resampler(units))
    stage.numbers["transfer.temperature"] = spread.number(n=fitted.n, split="calib")
    kept, y_test, units = study.of("test")
    own = zero_shot.scaled_logits(kept, bench.classes, study.logit_scale)
    conditions = {TEST_SPLIT: transfer.Condition(own, y_test, stage.resampler(units))}
    shown = {AS_DRAWN: bench.reference.logits}
    for (factor, value), one in answers.items():
        if factor in ("turn", "light", "size", "digit and colour", "cover"):
            shown[f"{factor} = {value}"] = one.logits
    shown |= {f"{name.replace('_', ' ')}, severity {MIDDLE}": corrupted[name, MIDDLE] for name in CORRUPTIONS}
    conditions |= {name: transfer.Condition(found, subject.y_true, bench.resampler) for name, found in shown.items()}
    table, regrets = transfer.transfer_table(fitted, conditions, n_bins=stage.params.statistics.ece_bins)
    table.loc[2:, "p_nll_change"] = holm(table["p_nll_change"][2:])
    drawn = np.stack([regrets[name] for name in table["condition"][2:]], axis=1)
    worst = largest(table["regret"][2:], drawn, level=stage.params.statistics.level)
    bounds = with_bounds("regret", replace(worst, low=max(worst.low, 0.0)))
    last = {"condition": f"the largest of {len(table) - 2}", **bounds, "n": len(subject)}
    return fitted, pd.concat([table, pd.DataFrame([last])], ignore_index=True)


TEST_SPLIT = "the test split"


def store_calibration(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: ECE and NLL on the test split, and how often the temperature serves under a change."""
    test, shifted, worst = table.iloc[0], table.iloc[2:-1], table.iloc[-1]
    for name in ("accuracy", "ece_before", "ece", "ece_change", "nll_before", "nll", "nll_change"):
        stage.numbers[f"transfer.{name}"] = cell(test, name, test["n"])
    stage.number("transfer.n", test["n"], unit="count", split="test")
    stage.number("transfer.n_shifts", len(shifted), unit="count")
    is_moved = shifted["p_nll_change"] < 1 - stage.params.statistics.level
    for name, is_so in (("better", shifted["nll_change"] < 0), ("worse", shifted["nll_change"] > 0)):
        stage.number(f"transfer.n_{name}_nll", int((is_moved & is_so).sum()), unit="count")
    stage.numbers["transfer.worst_regret"] = cell(worst, "regret", worst["n"])


def calibration_sentence(stage: Stage) -> str:
    """What the temperature does on the test split and under changes."""
    of_nll = by_sign(
        stage.numbers["transfer.nll_change"],
        above="NLL is worse with it",
        below="NLL is better with it",
        neither="no difference of NLL is shown",
    )
    of_ece = zero_shot.change_of_ece(stage.numbers["transfer.ece_change"])
    return (
        "T is {transfer.temperature}, fitted on all of calib. On the {transfer.n} pictures of the test split, of which "
        "{transfer.accuracy} are answered right, NLL changes by {transfer.nll_change}, ECE by {transfer.ece_change}, "
        f"from {{transfer.ece_before}} to {{transfer.ece}}: {of_nll}; {of_ece}. Of {{transfer.n_shifts}} ways to "
        "change pictures, NLL is better with it under {transfer.n_better_nll} and worse under "
        "{transfer.n_worse_nll} (adjusted by Holm for all of them). The largest regret is {transfer.worst_regret} "
        "nats, with bounds that hold for all at once. "
    )


def captioned(stage: Stage, bench: Bench) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A gallery of pictures with one caption each: similarities, ways to count what is right, independent units.

    Captions of scenes name the digit and, at random, other factors; those of other sources put the class into a
    template. "own" counts a picture's own caption alone, "equal" its word-for-word copies as well, "true" every caption
    that is true of the picture.
    """
    study, n = bench.study, stage.params.clip_robustness.n_gallery
    subject, rng = bench.subject, stage.rng("shift.captions")
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
    """R@k and mean reciprocal rank in both directions, and the curves of image to caption over k."""
    resampler = stage.resampler(groups)
    table = retrieval.retrieval_table(similarity, counted, resampler, resampler)
    n_points = min(50, len(groups))
    curves = {
        name: retrieval.recall_curve(retrieval.first_ranks(similarity, pairs), resampler, n_points=n_points)
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
        Rows: view, features; found within each share of the side, at best (patches are coarse) and by chance, with
        bounds; n_points.
    """
    study, subject = bench.study, bench.subject
    n = min(stage.params.clip_robustness.n_views, len(subject))
    images, px, grid = subject.images[:n], subject.images.shape[1], int(study.facts["grid"])
    is_keypoint = depth.patches_with_ink(subject.masks[:n], grid)
    is_keypoint = is_keypoint if is_keypoint.any() else np.ones_like(is_keypoint)
    first = {"encoder": np.asarray(study.cache.patches(images)), "pixels": _pixel_patches(images, grid)}
    rows = []
    for name, view in VIEWS.items():
        matrix = depth.homography(px, **view)
        seen = depth.second_view(images, matrix)
        second = {"encoder": np.asarray(study.cache.patches(seen)), "pixels": _pixel_patches(seen, grid)}
        for features, seen_first in first.items():
            found = depth.correspondences(seen_first, second[features], matrix, px, is_keypoint)
            rows.append({"view": name, "features": features, **_within(stage, subject.groups[found.image], found)})
    return pd.DataFrame(rows)


def _within(stage: Stage, groups: np.ndarray, found: depth.Correspondence) -> dict[str, object]:
    resampler, row = stage.resampler(groups), {}
    ends = {"found": ("", (0, 1)), "best": ("_at_best", (0, 1)), "chance": ("_by_chance", None)}
    for share in stage.params.clip_robustness.found_within:
        for name, values in found.within(share).items():
            end, span = ends[name]
            row |= with_bounds(f"within_{share:g}{end}", resampler.mean(values, span=span))
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
        stage.numbers[f"points.{short}_chance"] = cell(row, f"{name}_by_chance", row["n_points"])


def questions(stage: Stage, bench: Bench) -> pd.DataFrame:
    """Multiple-choice questions on the pictures, the right choice and the encoder's: one row a question.

    The wrong choices are the classes that the encoder finds most alike, so that its errors are among them.
    """
    params, subject = stage.params.clip_robustness, bench.subject
    logits = bench.reference.logits[: params.n_questions]
    names = np.array([clean(name) for name in bench.study.pictures.class_names], dtype=object)
    n_choices = min(params.n_choices, len(names))
    rng, rows = stage.rng("shift.questions"), []
    for k, (row, truth) in enumerate(zip(logits, subject.y_true, strict=False)):
        others = [c for c in np.argsort(-row, kind="stable") if c != truth][: n_choices - 1]
        classes = rng.permutation([truth, *others])
        best = int(np.sort(classes)[top_class(row[np.sort(classes)])])
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
    given, resampler = stage.params.clip_robustness.assistant_answers, stage.resampler(asked["group_id"])
    fixed = (asked["encoder"], asked["truth"], asked["choices"].map(len), resampler)
    own = assistant.score(asked["encoder"], *fixed)
    table = own.table().query("measure == 'accuracy'").assign(who="encoder")
    if given:
        said = assistant.read_answers(paths.needed(given, "clip_robustness.assistant_answers"), asked)
        chosen = [assistant.chosen(text, choices) for text, choices in zip(said, asked["choices"], strict=True)]
        found = assistant.score(chosen, *fixed).table()
        table = pd.concat([table, found[found["measure"] != "encoder accuracy"].assign(who="assistant")])
    for _, row in table.iterrows():
        name = f"questions.{row['who']}_{row['measure'].replace(' ', '_')}"
        stage.numbers[name] = cell(row, "value", len(asked))
    stage.number("questions.chance", own.chance, kind=EXACT)
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
