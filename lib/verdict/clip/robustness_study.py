"""The page on robustness, part one: factors, effective robustness, contradicting cues, corruptions.

Functions take the open study and the pictures, and return tables; numbers go into the stage's store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.clip import changed, depth, scenes
from verdict.clip.changed import Subject
from verdict.clip.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from verdict.clip.effective import Effective, effective_robustness
from verdict.clip.pixels import psnr
from verdict.clip.population import Member, described, fit_population, predict_population
from verdict.clip.robustness import corruption_errors, cue_conflict, factor_table, shares
from verdict.clip.study import Study
from verdict.data.scenes import handwriting_pools
from verdict.numbers import Number
from verdict.stage import Stage
from verdict.uncertainty import Interval, group_weights, percentile_interval, with_bounds

ENCODER, PROBE = "encoder, by prompts", "encoder, by a probe"
_EMBEDDING = "embedding"
MIDDLE = 3


@dataclass(frozen=True, eq=False)
class Answers:
    """What the encoder and the population say to one batch of pictures.

    Attributes
    ----------
    logits : float (n, n_classes)
        Of the encoder's zero-shot classification: cosines times the logit scale.
    members : int (n_members, n)
        Answers of the population; the last member is a linear probe of the encoder's embedding.
    """

    logits: np.ndarray
    members: np.ndarray

    @property
    def by_prompts(self) -> np.ndarray:
        """Zero-shot answers, int (n,)."""
        return self.logits.argmax(axis=1)


@dataclass(frozen=True, eq=False)
class Bench:
    """The encoder, its population and the pictures that both are shown.

    Attributes
    ----------
    study : Study
    subject : Subject
    members : list of Member
        The last of them is the encoder's probe.
    classes : float32 (n_classes, d)
        Text vectors.
    reference : Answers
        To the subject's pictures as they are.
    """

    study: Study
    subject: Subject
    members: list[Member]
    classes: np.ndarray
    reference: Answers

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Zero-shot logits of pictures, float (n, n_classes)."""
        return self.study.logit_scale * (np.asarray(self.study.cache.images(images)) @ self.classes.T)

    def answers(self, images: np.ndarray) -> Answers:
        """Everybody's answers to pictures."""
        embedded = np.asarray(self.study.cache.images(images))
        found = described(images) | {_EMBEDDING: embedded}
        return Answers(self.study.logit_scale * (embedded @ self.classes.T), predict_population(self.members, found))

    @property
    def names(self) -> list[str]:
        """Names of the population without the encoder's probe."""
        return [member.name for member in self.members[:-1]]


def open_bench(stage: Stage, study: Study) -> Bench:
    """Draw the pictures, fit the population on the train split, and ask everybody once.

    Notes
    -----
    Scenes are drawn anew from the handwriting of the test split; other sources give pictures of their test split.
    """
    params = stage.params.clip_robustness
    px = study.pictures.images.shape[1]
    if stage.params.clip.source == "digits":
        subject = changed.of_scenes(params.n_images, handwriting_pools()["test"], px=px, rng=stage.rng(111))
    else:
        subject = changed.of_pictures(study.pictures, "test", params.n_images)
    rows = study.rows("train")[: params.n_population]
    found = described(np.asarray(study.pictures.images[rows])) | {_EMBEDDING: np.asarray(study.embeddings[rows])}
    y_train = study.pictures.table["y"].to_numpy()[rows]
    members = fit_population(found, y_train, seed=params.seed)
    bare = Bench(study, subject, members, study.classes(), Answers(np.empty((0, 2)), np.empty((0, 0))))
    return Bench(study, subject, members, bare.classes, bare.answers(subject.images))


def intervene(stage: Stage, bench: Bench) -> dict[tuple[str, str], Answers]:
    """Everybody's answers when one factor is set, by factor and value."""
    found = {}
    for factor, value, images in changed.interventions(bench.subject, rng=stage.rng(112)):
        found[factor, value] = bench.answers(images)
        stage.progress(f"{factor}: {value}")
    return found


def factors(stage: Stage, bench: Bench, answers: Mapping[tuple[str, str], Answers]) -> pd.DataFrame:
    """Accuracy, paired change and error ratio of every intervention: `factor_table` with factor and value."""
    y_true, statistics = bench.subject.y_true, stage.params.statistics
    right = {" = ".join(key): one.by_prompts == y_true for key, one in answers.items()}
    table = factor_table(
        right,
        bench.reference.by_prompts == y_true,
        bench.subject.groups,
        n_resamples=statistics.n_resamples,
        rng=stage.rng(113),
        level=statistics.level,
    )
    keys = pd.DataFrame(list(answers), columns=["factor", "value"])
    return pd.concat([keys, table.drop(columns="condition")], axis=1)


def store_factors(stage: Stage, bench: Bench, table: pd.DataFrame) -> None:
    """Numbers of the section: accuracy as drawn, the worst value, and the cost of couples that were held out."""
    right = (bench.reference.by_prompts == bench.subject.y_true)[None]
    stage.numbers["robustness.accuracy"] = _share(stage, right[0], bench.subject.groups, 114)
    worst = table.loc[table["change"].idxmin()]
    stage.numbers["robustness.worst_change"] = cell(worst, "change", worst["n"])
    stage.numbers["robustness.worst_error_ratio"] = cell(worst, "error_ratio", worst["n"])
    for name, kind in (("seen", changed.SEEN), ("held_out", changed.HELD_OUT)):
        for _, row in table[table["value"] == kind].iterrows():
            stage.numbers[f"robustness.{name}"] = cell(row, "accuracy", row["n"])
    lost = int((table["change_high"] < 0).sum())
    stage.number("robustness.n_interventions", len(table), unit="count", split="test")
    stage.number("robustness.n_interventions_lost", lost, unit="count", split="test")
    stage.number("robustness.n_models", len(bench.names), unit="count")
    stage.number("robustness.n_images", len(bench.subject), unit="count", split="test")


def couple_sentence(table: pd.DataFrame) -> str:
    """What held-out couples cost, for sources that have them; otherwise nothing."""
    if not (table["value"] == changed.HELD_OUT).any():
        return ""
    return (
        " With a colour that the shipped encoder never saw on its digit, {robustness.held_out} are right, with one "
        "that it saw {robustness.seen}."
    )


def shifts(
    bench: Bench, answers: Mapping[tuple[str, str], Answers], corrupted: Mapping[tuple[str, int], Answers]
) -> dict[str, list[Answers]]:
    """Shifts as lists of changed pictures: every factor over its values, every family of corruptions at severity 3."""
    found: dict[str, list[Answers]] = {}
    for (factor, value), one in answers.items():
        name = value if value in (changed.SEEN, changed.HELD_OUT) else factor
        found.setdefault(name, []).append(one)
    for (name, _), one in corrupted.items():
        found.setdefault(f"{CORRUPTIONS[name].family} (corruption)", []).append(one)
    return found


def effective(stage: Stage, bench: Bench, listed: Mapping[str, list[Answers]]) -> dict[tuple[str, str], Effective]:
    """Effective robustness of the encoder, by prompts and by its probe, under every shift."""
    y_true, statistics = bench.subject.y_true, stage.params.statistics
    before = bench.reference.members == y_true
    own = {ENCODER: bench.reference.by_prompts == y_true, PROBE: before[-1]}
    found = {}
    for k, (name, batches) in enumerate(listed.items()):
        after = np.mean([one.members == y_true for one in batches], axis=0)
        shifted = {ENCODER: np.mean([one.by_prompts == y_true for one in batches], axis=0), PROBE: after[-1]}
        for model, right in own.items():
            found[name, model] = effective_robustness(
                right,
                shifted[model],
                before[:-1],
                after[:-1],
                bench.subject.groups,
                n_resamples=statistics.n_resamples,
                rng=stage.rng(115, k),
                level=statistics.level,
            )
        stage.progress(f"effective robustness: {name}")
    return found


def effective_table(found: Mapping[tuple[str, str], Effective]) -> pd.DataFrame:
    """One row a shift and a way to answer: before, after, expected, rho and slope with bounds; scale of residuals."""
    rows = []
    for (shift, model), one in found.items():
        row: dict[str, object] = {"shift": shift, "model": model}
        for name in ("before", "after", "expected", "rho", "slope"):
            interval = getattr(one, name)
            row |= with_bounds(name, interval)
        rows.append(row | {"residual_scale": one.scale})
    return pd.DataFrame(rows)


def store_effective(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: how many shifts leave the encoder above or below the line, and the mean of rho."""
    own = table[table["model"] == ENCODER]
    stage.number("robustness.n_shifts", len(own), unit="count")
    stage.number("robustness.n_shifts_above", int((own["rho_low"] > 0).sum()), unit="count")
    stage.number("robustness.n_shifts_below", int((own["rho_high"] < 0).sum()), unit="count")


def conflicts(stage: Stage, bench: Bench) -> pd.DataFrame:
    """What probes follow when shape and another cue, which always agreed before, contradict each other.

    Every model learns anew from pictures in which the digit and the cue go together, and answers pictures in which they
    do not. Scenes serve every encoder, whatever the report's own pictures are.

    Returns
    -------
    DataFrame
        Rows: cue, model; shape_bias and hit_rate with bounds, class_mean (of the shape bias), agreed_accuracy (on
        unseen pictures in which both agree: whether anything was learnt), n.
    """
    rows = []
    for k, cue in enumerate(("texture", "colour")):
        parts = {
            name: _cue_pictures(stage, bench, cue, split, n, agree, 116 + 10 * k + j)
            for j, (name, split, n, agree) in enumerate(_parts(stage))
        }
        train, agreed, opposed = (parts[name] for name in ("train", "agree", "oppose"))
        members = fit_population(train[0], train[1], seed=stage.params.clip_robustness.seed)
        right = shares(predict_population(members, agreed[0]) == agreed[1])
        answers = predict_population(members, opposed[0])
        for member, learnt, said in zip(members, right, answers, strict=True):
            found = _conflict(stage, cue, said, *opposed[1:], 140 + k)
            name = PROBE if member is members[-1] else member.name
            rows.append({"cue": cue, "model": name, **found, "agreed_accuracy": float(learnt), "n": len(said)})
    return pd.DataFrame(rows)


def _parts(stage: Stage) -> tuple[tuple[str, str, int, bool], ...]:
    n = stage.params.clip_robustness.n_conflict
    return (("train", "train", n, True), ("agree", "test", n // 2, True), ("oppose", "test", n, False))


def _cue_pictures(
    stage: Stage, bench: Bench, cue: str, split: str, n: int, agree: bool, key: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Descriptions, digit, value and handwriting of pictures in which both agree or not."""
    rng = stage.rng(key)
    drawn, digit, value = changed.cue_scenes(n, handwriting_pools()[split], cue, agree=agree, rng=rng)
    images, _ = scenes.render(drawn, rng=rng, px=bench.subject.images.shape[1])
    found = described(images) | {_EMBEDDING: np.asarray(bench.study.cache.images(images))}
    return found, digit, value, drawn.table()["writing"].to_numpy()


def _conflict(
    stage: Stage, cue: str, said: np.ndarray, digit: np.ndarray, value: np.ndarray, groups: np.ndarray, key: int
) -> dict[str, float]:
    statistics = stage.params.statistics
    n_classes = len(scenes.FACTORS[cue])
    one = cue_conflict(
        said,
        digit,
        value,
        groups,
        classes=scenes.DIGITS[:n_classes],
        n_resamples=statistics.n_resamples,
        rng=stage.rng(key),
        level=statistics.level,
    )
    found: dict[str, float] = {}
    for name in ("shape_bias", "hit_rate"):
        interval = getattr(one, name)
        found |= with_bounds(name, interval)
    return found | {"class_mean": one.class_mean}


def corrupted_logits(
    stage: Stage, bench: Bench
) -> tuple[dict[tuple[str, int], np.ndarray], dict[tuple[str, int], float]]:
    """The encoder's zero-shot logits on every corruption and severity, and the mean PSNR of each, in decibels."""
    logits, quality = {}, {}
    for k, name in enumerate(CORRUPTIONS):
        for severity in SEVERITIES:
            images = corrupt(bench.subject.images, name, severity, rng=stage.rng(150, k))
            logits[name, severity] = bench.logits(images)
            found = psnr(bench.subject.images, images)
            quality[name, severity] = float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else np.inf
        stage.progress(f"corruption: {name}")
    return logits, quality


def corrupted_answers(stage: Stage, bench: Bench) -> dict[tuple[str, int], Answers]:
    """Everybody's answers to every corruption at severity 3."""
    return {
        (name, MIDDLE): bench.answers(corrupt(bench.subject.images, name, MIDDLE, rng=stage.rng(150, k)))
        for k, name in enumerate(CORRUPTIONS)
    }


def corruption_table(
    stage: Stage,
    bench: Bench,
    logits: Mapping[tuple[str, int], np.ndarray],
    quality: Mapping[tuple[str, int], float],
    middle: Mapping[tuple[str, int], Answers],
) -> pd.DataFrame:
    """One row a corruption: accuracy at severities 1, 3, 5 and over all, with bounds; PSNR; errors against a reference.

    The reference is the member of the population that is best on unchanged pictures; it is asked at severity 3 only.
    """
    y_true, statistics = bench.subject.y_true, stage.params.statistics
    before = bench.reference.members[:-1] == y_true
    best = int(before.mean(axis=1).argmax())
    clean = bench.reference.by_prompts == y_true
    weights = group_weights(bench.subject.groups, statistics.n_resamples, stage.rng(151))
    rows = []
    for name, one in CORRUPTIONS.items():
        right = np.stack([logits[name, severity].argmax(axis=1) == y_true for severity in SEVERITIES])
        values = np.vstack([right[[0, 2, 4]], right.mean(axis=0)])
        row: dict[str, object] = {"corruption": name.replace("_", " "), "family": one.family}
        for label, value, drawn in zip(_AT, shares(values), shares(values, weights).T, strict=True):
            found = percentile_interval(float(value), drawn, level=statistics.level)
            row |= with_bounds(label, found)
        reference = middle[name, MIDDLE].members[best] == y_true
        error, added = corruption_errors(right[MIDDLE - 1], clean, reference, before[best])
        row |= {"error_ratio": error, "added_error_ratio": added}
        rows.append(row | {"psnr_1": quality[name, 1], "psnr_5": quality[name, 5], "n": len(y_true)})
    return pd.DataFrame(rows)


_AT = ("at_1", "at_3", "at_5", "mean")


def corruption_curves(
    stage: Stage, bench: Bench, logits: Mapping[tuple[str, int], np.ndarray]
) -> dict[str, pd.DataFrame]:
    """Accuracy of every family of corruptions over severities (0: unchanged), with bounds."""
    y_true, statistics = bench.subject.y_true, stage.params.statistics
    weights = group_weights(bench.subject.groups, statistics.n_resamples, stage.rng(151))
    clean = (bench.reference.by_prompts == y_true).astype(float)
    curves = {}
    for family in dict.fromkeys(one.family for one in CORRUPTIONS.values()):
        names = [name for name, one in CORRUPTIONS.items() if one.family == family]
        means = [np.mean([logits[name, s].argmax(axis=1) == y_true for name in names], axis=0) for s in SEVERITIES]
        curves[family] = _curve(np.stack([clean, *means]), weights, statistics.level)
    return curves


def depth_logits(stage: Stage, bench: Bench) -> dict[tuple[str, int], np.ndarray]:
    """The encoder's zero-shot logits on every change that knows depth, at every severity."""
    depths = depth.standing_depth(bench.subject.masks)
    found = {}
    for name in depth.CHANGES:
        for severity in SEVERITIES:
            found[name, severity] = bench.logits(depth.change(bench.subject.images, depths, name, severity))
        stage.progress(f"with depth: {name}")
    return found


def depth_curves(stage: Stage, bench: Bench, logits: Mapping[tuple[str, int], np.ndarray]) -> dict[str, pd.DataFrame]:
    """Accuracy of every change that knows depth over severities (0: unchanged), with bounds."""
    y_true, statistics = bench.subject.y_true, stage.params.statistics
    weights = group_weights(bench.subject.groups, statistics.n_resamples, stage.rng(152))
    clean = bench.reference.by_prompts == y_true
    return {
        name: _curve(
            np.stack([clean, *(logits[name, s].argmax(axis=1) == y_true for s in SEVERITIES)]),
            weights,
            statistics.level,
        )
        for name in depth.CHANGES
    }


def curve_table(curves: Mapping[str, pd.DataFrame], label: str) -> pd.DataFrame:
    """Curves as one table: a row each, a column a severity."""
    rows = []
    for name, curve in curves.items():
        row: dict[str, object] = {label: name}
        for _, point in curve.iterrows():
            at = f"severity_{int(point['severity'])}"
            row |= with_bounds(at, Interval(point["accuracy"], point["low"], point["high"]))
        rows.append(row)
    return pd.DataFrame(rows)


def store_corruptions(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: the hardest corruption, and whether pictures get worse with severity."""
    hardest = table.loc[table["mean"].idxmin()]
    stage.number("robustness.n_corruptions", len(table), unit="count")
    stage.numbers["robustness.hardest"] = cell(hardest, "mean", hardest["n"])
    is_falling = (table["psnr_1"] > table["psnr_5"]).mean()
    stage.number("robustness.share_falling_psnr", float(is_falling), unit="%")


def _curve(values: np.ndarray, weights: np.ndarray, level: float) -> pd.DataFrame:
    low, high = np.quantile(shares(values, weights), [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return pd.DataFrame({"severity": np.arange(len(values)), "accuracy": shares(values), "low": low, "high": high})


def cell(row: pd.Series, name: str, n: int) -> Number:
    """A cell of a table of test pictures with its bounds `_low` and `_high`, as a number; bounds may be undefined."""
    return Interval.from_columns(row, name).number(n=int(n), split="test")


def _share(stage: Stage, right: np.ndarray, groups: np.ndarray, key: int) -> Number:
    statistics = stage.params.statistics
    weights = group_weights(groups, statistics.n_resamples, stage.rng(key))
    found = percentile_interval(float(right.mean()), shares(right[None], weights)[:, 0], level=statistics.level)
    return found.number(n=len(right), split="test")


def for_forest(table: pd.DataFrame, label: str, value: str, group: str | None = None) -> pd.DataFrame:
    """Columns label, value, low, high, and group if one is named, as a forest plot wants them."""
    shown = pd.DataFrame({"label": table[label].to_numpy(), "value": table[value].to_numpy()})
    shown = shown.assign(low=table[f"{value}_low"].to_numpy(), high=table[f"{value}_high"].to_numpy())
    return shown if group is None else shown.assign(group=table[group].to_numpy())


def widest(table: pd.DataFrame, n: int) -> list[str]:
    """The shifts at which the encoder, by prompts, stands farthest from the line, farthest first."""
    own = table[table["model"] == ENCODER]
    return list(own.loc[own["rho"].abs().sort_values(ascending=False, kind="stable").index, "shift"][:n])


def corruption_gallery(stage: Stage, bench: Bench) -> tuple[list[np.ndarray], list[str]]:
    """The first picture as it is and under every corruption at severity 3, with titles."""
    one = bench.subject.images[:1]
    spoilt = [corrupt(one, name, MIDDLE, rng=stage.rng(150, k))[0] for k, name in enumerate(CORRUPTIONS)]
    return [one[0], *spoilt], ["unchanged", *(name.replace("_", " ") for name in CORRUPTIONS)]
