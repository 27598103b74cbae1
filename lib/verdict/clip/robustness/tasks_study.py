"""The page on other tasks: captions to be found, points and changes in depth, questions to an assistant.

Similarities are (n_images, n_texts); `relevant` of the same shape says which texts belong to which images. Equal
similarities are ordered by place in the gallery, as a stable sort orders them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.numbers import EXACT, POINTS
from verdict.clip.pictures import scenes
from verdict.clip.pictures.words import clean, prompt
from verdict.clip.robustness import assistant
from verdict.clip.robustness.changed import homography, project, warped
from verdict.clip.robustness.corruptions import IN_DEPTH, SEVERITIES, as_unit, corrupt, standing_depth
from verdict.clip.robustness.robustness_study import Bench
from verdict.stats.scores import top_class
from verdict.stats.uncertainty import Resampler, bounded, with_bounds

CUTS = (1, 5, 10)
MAPS: Mapping[str, dict[str, float | tuple[float, float]]] = {
    "turned by 15°": {"degrees": 15.0},
    "turned by 90°": {"degrees": 90.0},
    "nearer": {"scale": 1.3},
    "tilted": {"tilt": 0.5},
    "moved": {"shift": (0.125, -0.083)},
}


def equivalent_pairs(relevant: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """As `relevant`, and every text that says the same, word for word: the model cannot tell copies apart."""
    words = np.asarray(captions)
    return relevant @ (words[:, None] == words)


def first_ranks(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank, from 1, of the best relevant gallery item of each query, int (n_queries,).

    Every query has something relevant. For captions as queries pass the transposed arrays.
    """
    order = np.argsort(-similarity, axis=1, kind="stable")
    return 1 + np.take_along_axis(relevant, order, axis=1).argmax(axis=1)


def retrieval_table(
    similarity: np.ndarray, pairs: Mapping[str, np.ndarray], resampler: Resampler, *, n_points: int
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Both directions, under every way to count what is right, such as own captions alone, and with equal ones.

    Image i and text i are one row of the resampler; the gallery stays. Columns query, counted, r1, r5, r10, each with
    `_low`, `_high`, and chance_r1. Beside the table, by what is counted: R@k from image to text for k = 1 … n_points,
    columns k, recall, low, high.
    """
    rows, curves = [], {}
    for counted, truth in pairs.items():
        for query, found, right in (("image", similarity, truth), ("text", similarity.T, truth.T)):
            ranks = first_ranks(found, right)
            row = bounded({f"r{k}": resampler.mean(ranks <= k, span=(0, 1)) for k in CUTS})
            rows.append({"query": query, "counted": counted, **row, "chance_r1": float(truth.mean())})
            if query == "image":
                recalls = [(k, resampler.mean(ranks <= k, span=(0, 1))) for k in range(1, n_points + 1)]
                curve = [(k, one.value, one.low, one.high) for k, one in recalls]
                curves[counted] = pd.DataFrame(curve, columns=["k", "recall", "low", "high"])
    return pd.DataFrame(rows), curves


class Correspondences(NamedTuple):
    """How far from the truth points were found, one row a keypoint of an `image`, as shares of the side.

    `distance` (n_points,) goes from the true place to the middle of the patch that is most alike, `away`
    (n_points, grid * grid) to that of every patch: patches are coarse, so that the nearest is the best there is.
    """

    image: np.ndarray
    distance: np.ndarray
    away: np.ndarray


def correspondences(
    first: np.ndarray, second: np.ndarray, matrix: np.ndarray, px: int, is_keypoint: np.ndarray
) -> Correspondences:
    """Look up each keypoint of the first view among the patches of the second, by features (n, grid * grid, d).

    `is_keypoint` (n, grid * grid) says which patches are looked up, such as those with ink; of these the ones count
    whose true place lies inside the second view.
    """
    grid = round(first.shape[1] ** 0.5)
    at = (np.arange(grid) + 0.5) * px / grid - 0.5
    middles = np.stack([np.tile(at, grid), np.repeat(at, grid)], axis=1)
    truth = project(middles, matrix)
    is_inside = ((truth >= -0.5) & (truth <= px - 0.5)).all(axis=1)
    image, patch = np.nonzero(is_keypoint & is_inside)
    chosen = np.einsum("kd,kpd->kp", first[image, patch], second[image]).argmax(axis=1)
    away = np.linalg.norm(middles[None] - truth[patch][:, None], axis=-1) / px
    return Correspondences(image, away[np.arange(len(image)), chosen], away)


def patches_of(images: np.ndarray, grid: int) -> np.ndarray:
    """Patches of square images (n, px, px, channels) as they are, row by row: (n, grid * grid, values of a patch)."""
    n, px, _, channels = images.shape
    side = px // grid
    cut = images[:, : side * grid, : side * grid].reshape(n, grid, side, grid, side, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, grid * grid, -1)


def patches_with_ink(masks: np.ndarray, grid: int) -> np.ndarray:
    """Patches of which at least a quarter is foreground, bool (n, grid * grid), from masks (n, px, px)."""
    return patches_of(masks[..., None], grid).mean(axis=2) >= 0.25


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
    counted = {"own": own, "equal": equivalent_pairs(own, texts), "true": is_true}
    return similarity, counted, subject.groups[rows]


def found_captions(
    bench: Bench, similarity: np.ndarray, counted: Mapping[str, np.ndarray], groups: np.ndarray
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """R@k in both directions, and the curves of image to caption over k."""
    options = {"resampler": bench.stage.resampler(groups), "n_points": min(50, len(groups))}
    table, curves = retrieval_table(similarity, counted, **options)
    for _, row in table[table["query"] == "image"].iterrows():
        for k in CUTS:
            bench.keep(f"retrieval.{row['counted']}_r{k}", row, f"r{k}", len(groups), "%")
        bench.stage.number(f"retrieval.{row['counted']}_chance", row["chance_r1"], unit="%", kind=EXACT)
    bench.stage.number("retrieval.n_gallery", len(groups), unit="count", split="test")
    return table, curves


def correspondence(bench: Bench) -> pd.DataFrame:
    """How often a patch is found again in another view, by the encoder's patch tokens and by raw pixels.

    Rows: view, features; found within each share of the side, at best (patches are coarse) and by chance, with bounds;
    n_points; `gain` of the encoder over pixels at the first threshold, paired, unadjusted. Numbers: found after a small
    and after a large turn, and in how many views the encoder is shown above pixels, or below.
    """
    study, subject, stage = bench.study, bench.subject, bench.stage
    params = stage.params.clip_robustness
    n = min(params.n_views, len(subject))
    images, px, grid = subject.images[:n], subject.images.shape[1], int(study.facts["grid"])
    is_keypoint = patches_with_ink(subject.masks[:n], grid)
    is_keypoint = is_keypoint if is_keypoint.any() else np.ones_like(is_keypoint)
    first = {"encoder": np.asarray(study.cache.patches(images)), "pixels": _pixel_patches(images, grid)}
    rows, name = [], f"within_{params.found_within[0]:g}"
    for view, options in MAPS.items():
        matrix = homography(px, **options)
        seen = warped(images, matrix)
        second = {"encoder": np.asarray(study.cache.patches(seen)), "pixels": _pixel_patches(seen, grid)}
        hits = {}
        for features, seen_first in first.items():
            found_at = correspondences(seen_first, second[features], matrix, px, is_keypoint)
            resampler, row = stage.resampler(subject.groups[found_at.image]), {"view": view, "features": features}
            for share in params.found_within:
                at = {"": found_at.distance <= share, "_at_best": found_at.away.min(axis=1) <= share}
                found = {end: resampler.mean(is_found, span=None if end else (0, 1)) for end, is_found in at.items()}
                found["_by_chance"] = resampler.mean((found_at.away <= share).mean(axis=1))
                row |= bounded({f"within_{share:g}{end}": one for end, one in found.items()})
            rows.append(row | {"n_points": len(found_at.image)})
            hits[features] = (found_at.distance <= params.found_within[0]).astype(float)
            if short := {"turned by 15°": "small_turn", "turned by 90°": "large_turn"}.get(view):
                bench.keep(f"points.{short}_{features}", pd.Series(rows[-1]), name, len(found_at.image), "%")
                bench.keep(f"points.{short}_chance", pd.Series(rows[-1]), f"{name}_by_chance", len(found_at.image), "%")
        rows[-2] |= with_bounds("gain", resampler.mean(hits["encoder"] - hits["pixels"], span=(-1, 1)))
    table = pd.DataFrame(rows)
    n_above, n_below = (table["gain_low"] > 0).sum(), (table["gain_high"] < 0).sum()
    stage.counts("points", {"n_views": len(MAPS), "n_views_above": n_above, "n_views_below": n_below})
    return table


def _pixel_patches(images: np.ndarray, grid: int) -> np.ndarray:
    """Patches as their own pixels less their mean, unit length: (n, grid * grid, d)."""
    flat = patches_of(as_unit(images), grid)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6)


def depth_curves(bench: Bench) -> dict[str, pd.DataFrame]:
    """Accuracy by severity (0: unchanged) of changes that know depth; `depth.worst_change` is at the highest."""
    images, depths, curves, changes = bench.subject.images, standing_depth(bench.subject.masks), {}, []
    for name, one in IN_DEPTH.items():
        spoilt_ones = [corrupt(images, one, severity, depths) for severity in SEVERITIES]
        right = [bench.right(bench.logits(changed_ones)) for changed_ones in spoilt_ones]
        curves[name] = bench.accuracies(right)
        changes.append(right[-1] - bench.is_right.astype(float))
        bench.stage.progress(f"with depth: {name}")
    worst = bench.resampler.smallest_mean(changes, span=(-1, 1))
    bench.stage.numbers["depth.worst_change"] = worst.number(n=len(images), split="test", unit=POINTS)
    bench.stage.number("depth.n_changes", len(changes), unit="count")
    return curves


def questions(bench: Bench) -> pd.DataFrame:
    """Multiple-choice questions on the pictures, the right choice and the encoder's: one row a question.

    The wrong choices are the classes that the encoder finds most alike, so that its errors are among them.
    """
    params, subject = bench.stage.params.clip_robustness, bench.subject
    logits = bench.as_drawn[: params.n_questions]
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
        bench.keep(f"questions.{row['who']}_{row['measure'].replace(' ', '_')}", row, "value", len(asked), "%")
    stage.number("questions.chance", chance, unit="%", kind=EXACT)
    stage.number("questions.n", len(asked), unit="count", split="test")
    return table[["who", "measure", "value", "value_low", "value_high", "by_chance"]].reset_index(drop=True)
