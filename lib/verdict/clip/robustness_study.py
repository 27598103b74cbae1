"""The page on robustness, part one: factors, effective robustness, contradicting cues, corruptions.

Functions take the open study and the pictures, and return tables; numbers go into the stage's store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pandas as pd

from verdict.clip import changed, depth, scenes
from verdict.clip.changed import Subject
from verdict.clip.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from verdict.clip.effective import Effective, effective_robustness
from verdict.clip.pixels import psnr
from verdict.clip.population import Member, described, fit_population, predict_population
from verdict.clip.robustness import corruption_errors, cue_conflict, factor_table
from verdict.clip.several import intervals
from verdict.clip.study import Study
from verdict.clip.zero_shot import scaled_logits
from verdict.data.scenes import handwriting_pools
from verdict.numbers import Number
from verdict.scores import top_class
from verdict.stage import Stage
from verdict.uncertainty import Interval, Resampler, holm, largest, with_bounds
from verdict.weighted import weighted_mean

ENCODER, PROBE = "encoder, by prompts", "encoder, by a probe"
_EMBEDDING = "embedding"
AS_DRAWN = "as drawn"
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
        return top_class(self.logits)


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

    @cached_property
    def resampler(self) -> Resampler:
        """Intervals over groups of the subject's pictures."""
        return self.study.stage.resampler(self.subject.groups)

    @property
    def is_right(self) -> np.ndarray:
        """Whether the encoder answers each picture rightly as it is, bool (n,)."""
        return self.reference.by_prompts == self.subject.y_true

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Zero-shot logits of pictures, float (n, n_classes)."""
        return scaled_logits(np.asarray(self.study.cache.images(images)), self.classes, self.study.logit_scale)

    def answers(self, images: np.ndarray) -> Answers:
        """Everybody's answers to pictures."""
        embedded = np.asarray(self.study.cache.images(images))
        found = described(images) | {_EMBEDDING: embedded}
        logits = scaled_logits(embedded, self.classes, self.study.logit_scale)
        return Answers(logits, predict_population(self.members, found))

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
        subject = changed.of_scenes(
            params.n_images, handwriting_pools()["test"], px=px, rng=stage.rng("robustness.scenes")
        )
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
    for factor, value, images in changed.interventions(bench.subject, rng=stage.rng("robustness.factors")):
        found[factor, value] = bench.answers(images)
        stage.progress(f"{factor}: {value}")
    return found


def factors(bench: Bench, answers: Mapping[tuple[str, str], Answers]) -> pd.DataFrame:
    """Accuracy, paired change and error ratio of every intervention: `factor_table` with factor and value.

    The last row is the pictures as they were drawn.
    """
    right = {" = ".join(key): one.by_prompts == bench.subject.y_true for key, one in answers.items()}
    table = factor_table(right, bench.is_right, bench.resampler)
    keys = pd.DataFrame(list(answers), columns=["factor", "value"])
    table = pd.concat([keys, table.drop(columns="condition")], axis=1)
    as_drawn = {"factor": AS_DRAWN, **with_bounds("accuracy", bench.resampler.mean(bench.is_right, span=(0, 1)))}
    return pd.concat([table, pd.DataFrame([as_drawn | {"n": len(bench.subject)}])], ignore_index=True)


def store_factors(stage: Stage, bench: Bench, table: pd.DataFrame, answers: Mapping[tuple[str, str], Answers]) -> None:
    """Numbers of the section: accuracy as drawn, the worst value, and the cost of couples that were held out."""
    n = len(bench.subject)
    stage.numbers["robustness.accuracy"] = cell(table.iloc[-1], "accuracy", n)
    changes = [(one.by_prompts == bench.subject.y_true) - bench.is_right.astype(float) for one in answers.values()]
    worst = smallest(bench.resampler, changes, span=(-1, 1))
    stage.numbers["robustness.worst_change"] = worst.number(n=n, split="test")
    for name, kind in (("seen", changed.SEEN), ("held_out", changed.HELD_OUT)):
        for _, row in table[table["value"] == kind].iterrows():
            stage.numbers[f"robustness.{name}"] = cell(row, "accuracy", n)
    lost = int(((table["p_holm"] < 1 - stage.params.statistics.level) & (table["change"] < 0)).sum())
    stage.number("robustness.n_interventions", len(answers), unit="count", split="test")
    stage.number("robustness.n_interventions_lost", lost, unit="count", split="test")
    stage.number("robustness.n_models", len(bench.names), unit="count")
    stage.number("robustness.n_images", n, unit="count", split="test")


def smallest(resampler: Resampler, values: Sequence[np.ndarray], *, span: tuple[float, float]) -> Interval:
    """The smallest of several means over the same pictures, with bounds that pay for its having been picked.

    No bound lies beyond what a picture can have.
    """
    drawn = np.stack([resampler.replicates(partial(weighted_mean, one)) for one in values], axis=1)
    found = largest([-one.mean() for one in values], -drawn, level=resampler.level)
    low, high = np.clip([-found.high, -found.low], *span)
    return replace(found, value=-found.value, low=float(low), high=float(high))


def factor_sentence(bench: Bench, table: pd.DataFrame) -> str:
    """Which pictures these are, what settings cost, and held-out couples where the source has them."""
    which = "pictures of test" if bench.subject.scenes is None else "scenes, drawn anew from the handwriting of test,"
    text = (
        f"As drawn, {{robustness.accuracy}} of {{robustness.n_images}} {which} are classified right. Of "
        "{robustness.n_interventions} settings {robustness.n_interventions_lost} cost accuracy (exact sign-flip test "
        "by independent unit, adjusted by Holm for all settings); the worst changes it by {robustness.worst_change}, "
        "with bounds that hold for all settings at once."
    )
    if not (table["value"] == changed.HELD_OUT).any():
        return text
    return text + (
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


def effective(bench: Bench, listed: Mapping[str, list[Answers]]) -> dict[tuple[str, str], Effective]:
    """Effective robustness of the encoder, by prompts and by its probe, under every shift."""
    y_true, stage = bench.subject.y_true, bench.study.stage
    before = bench.reference.members == y_true
    own = {ENCODER: bench.is_right, PROBE: before[-1]}
    found = {}
    for name, batches in listed.items():
        after = np.mean([one.members == y_true for one in batches], axis=0)
        shifted = {ENCODER: np.mean([one.by_prompts == y_true for one in batches], axis=0), PROBE: after[-1]}
        for model, right in own.items():
            found[name, model] = effective_robustness(right, shifted[model], before[:-1], after[:-1], bench.resampler)
        stage.progress(f"effective robustness: {name}")
    return found


def effective_table(found: Mapping[tuple[str, str], Effective]) -> pd.DataFrame:
    """One row a shift and a way to answer: before, after, expected, rho, slope and residual scale, with bounds.

    `p_holm` is that of "rho is zero", adjusted for the shifts of each way to answer.
    """
    rows = []
    for (shift, model), one in found.items():
        row: dict[str, object] = {"shift": shift, "model": model}
        for name in ("before", "after", "expected", "rho"):
            row |= with_bounds(name, getattr(one, name))
        row |= {"p_holm": one.p_rho, **with_bounds("slope", one.slope), **with_bounds("residual_scale", one.scale)}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(p_holm=table.groupby("model")["p_holm"].transform(holm))


def store_effective(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers of the section: how many shifts leave the encoder above or below the line, adjusted for their number."""
    own = table[table["model"] == ENCODER]
    is_apart = own["p_holm"] < 1 - stage.params.statistics.level
    stage.number("robustness.n_shifts", len(own), unit="count")
    stage.number("robustness.n_shifts_above", int((is_apart & (own["rho"] > 0)).sum()), unit="count")
    stage.number("robustness.n_shifts_below", int((is_apart & (own["rho"] < 0)).sum()), unit="count")


def conflicts(stage: Stage, bench: Bench) -> pd.DataFrame:
    """What probes follow when shape and another cue, which always agreed before, contradict each other.

    Every model learns anew from pictures in which the digit and the cue go together, and answers pictures in which they
    do not. Scenes serve every encoder, whatever the report's own pictures are.

    Returns
    -------
    DataFrame
        Rows: cue, model; shape_bias, hit_rate and agreed_accuracy (on unseen pictures in which both agree: whether
        anything was learnt), each with bounds; n.
    """
    rows = []
    for cue in ("texture", "colour"):
        parts = {name: _cue_pictures(stage, bench, cue, name, *how) for name, *how in _parts(stage)}
        train, agreed, opposed = (parts[name] for name in ("train", "agree", "oppose"))
        members = fit_population(train[0], train[1], seed=stage.params.clip_robustness.seed)
        right = predict_population(members, agreed[0]) == agreed[1]
        answers = predict_population(members, opposed[0])
        learning, judging = stage.resampler(agreed[-1]), stage.resampler(opposed[-1])
        for member, learnt, said in zip(members, right, answers, strict=True):
            row: dict[str, object] = {"cue": cue, "model": PROBE if member is members[-1] else member.name}
            found = cue_conflict(said, *opposed[1:3], judging)
            for name, one in {**found, "agreed_accuracy": learning.mean(learnt, span=(0, 1))}.items():
                row |= with_bounds(name, one)
            rows.append(row | {"n": len(said)})
    return pd.DataFrame(rows)


def _parts(stage: Stage) -> tuple[tuple[str, str, int, bool], ...]:
    n = stage.params.clip_robustness.n_conflict
    return (("train", "train", n, True), ("agree", "test", n // 2, True), ("oppose", "test", n, False))


def _cue_pictures(
    stage: Stage, bench: Bench, cue: str, name: str, split: str, n: int, agree: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Descriptions, digit, value and handwriting of pictures in which both agree or not."""
    rng = stage.rng("robustness.cues", cue, name)
    drawn, digit, value = changed.cue_scenes(n, handwriting_pools()[split], cue, agree=agree, rng=rng)
    images, _ = scenes.render(drawn, rng=rng, px=bench.subject.images.shape[1])
    found = described(images) | {_EMBEDDING: np.asarray(bench.study.cache.images(images))}
    return found, digit, value, drawn.table()["writing"].to_numpy()


def spoilt(bench: Bench, name: str, severity: int) -> np.ndarray:
    """The subject's pictures under a corruption; its draws are the same at every severity."""
    return corrupt(bench.subject.images, name, severity, rng=bench.study.stage.rng("robustness.corrupt", name))


def corrupted_logits(bench: Bench) -> tuple[dict[tuple[str, int], np.ndarray], dict[tuple[str, int], float]]:
    """The encoder's zero-shot logits on every corruption and severity, and the mean PSNR of each, in decibels."""
    logits, quality = {}, {}
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            images = spoilt(bench, name, severity)
            logits[name, severity] = bench.logits(images)
            found = psnr(bench.subject.images, images)
            quality[name, severity] = float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else np.inf
        bench.study.stage.progress(f"corruption: {name}")
    return logits, quality


def corrupted_answers(bench: Bench) -> dict[tuple[str, int], Answers]:
    """Everybody's answers to every corruption at severity 3."""
    return {(name, MIDDLE): bench.answers(spoilt(bench, name, MIDDLE)) for name in CORRUPTIONS}


def corruption_table(
    bench: Bench,
    logits: Mapping[tuple[str, int], np.ndarray],
    quality: Mapping[tuple[str, int], float],
    middle: Mapping[tuple[str, int], Answers],
) -> pd.DataFrame:
    """One row a corruption: accuracy at severities 1, 3, 5 and over all; errors against a reference, with bounds; PSNR.

    The reference is the member of the population that is best on unchanged pictures; it is asked at severity 3 only.
    """
    y_true, rows = bench.subject.y_true, []
    before = bench.reference.members[:-1] == y_true
    best = int(before.mean(axis=1).argmax())
    for name, one in CORRUPTIONS.items():
        right = right_by_severity(logits, name, y_true)
        row: dict[str, object] = {"corruption": name.replace("_", " "), "family": one.family}
        for label, values in zip(_AT, (*right[[0, 2, 4]], right.mean(axis=0)), strict=True):
            row |= with_bounds(label, bench.resampler.mean(values, span=(0, 1)))
        reference = middle[name, MIDDLE].members[best] == y_true
        errors = partial(corruption_errors, right[MIDDLE - 1], bench.is_right, reference, before[best])
        for label, found in intervals(errors, bench.resampler)[0].items():
            row |= with_bounds(label, found)
        rows.append(row | {"psnr_1": quality[name, 1], "psnr_5": quality[name, 5], "n": len(y_true)})
    return pd.DataFrame(rows)


_AT = ("at_1", "at_3", "at_5", "mean")


def right_by_severity(logits: Mapping[tuple[str, int], np.ndarray], name: str, y_true: np.ndarray) -> np.ndarray:
    """Whether each picture is answered rightly under a change, float (5, n)."""
    return np.stack([top_class(logits[name, severity]) == y_true for severity in SEVERITIES]).astype(float)


def corruption_curves(bench: Bench, logits: Mapping[tuple[str, int], np.ndarray]) -> dict[str, pd.DataFrame]:
    """Accuracy of every family of corruptions over severities (0: unchanged), with bounds."""
    curves = {}
    for family in dict.fromkeys(one.family for one in CORRUPTIONS.values()):
        names = [name for name, one in CORRUPTIONS.items() if one.family == family]
        right = np.mean([right_by_severity(logits, name, bench.subject.y_true) for name in names], axis=0)
        curves[family] = _curve(bench, right)
    return curves


def depth_logits(bench: Bench) -> dict[tuple[str, int], np.ndarray]:
    """The encoder's zero-shot logits on every change that knows depth, at every severity."""
    depths = depth.standing_depth(bench.subject.masks)
    found = {}
    for name in depth.CHANGES:
        for severity in SEVERITIES:
            found[name, severity] = bench.logits(depth.change(bench.subject.images, depths, name, severity))
        bench.study.stage.progress(f"with depth: {name}")
    return found


def depth_curves(bench: Bench, logits: Mapping[tuple[str, int], np.ndarray]) -> dict[str, pd.DataFrame]:
    """Accuracy of every change that knows depth over severities (0: unchanged), with bounds."""
    y_true = bench.subject.y_true
    return {name: _curve(bench, right_by_severity(logits, name, y_true)) for name in depth.CHANGES}


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


def store_corruptions(stage: Stage, bench: Bench, logits: Mapping[tuple[str, int], np.ndarray]) -> None:
    """Numbers of the section: how many corruptions there are, and the hardest."""
    means = [right_by_severity(logits, name, bench.subject.y_true).mean(axis=0) for name in CORRUPTIONS]
    stage.number("robustness.n_corruptions", len(means), unit="count")
    hardest = smallest(bench.resampler, means, span=(0, 1))
    stage.numbers["robustness.hardest"] = hardest.number(n=len(bench.subject), split="test")


def _curve(bench: Bench, right: np.ndarray) -> pd.DataFrame:
    """Accuracy over severities, 0 being the unchanged pictures: severity, accuracy, low, high."""
    found = [bench.resampler.mean(values, span=(0, 1)) for values in (bench.is_right, *right)]
    rows = [{"severity": k, "accuracy": one.value, "low": one.low, "high": one.high} for k, one in enumerate(found)]
    return pd.DataFrame(rows)


def cell(row: pd.Series, name: str, n: int) -> Number:
    """A cell of a table of test pictures with its bounds `_low` and `_high`, as a number; bounds may be undefined."""
    return Interval.from_columns(row, name).number(n=int(n), split="test")


def for_forest(table: pd.DataFrame, label: str, value: str, group: str | None = None) -> pd.DataFrame:
    """Columns label, value, low, high, and group if one is named, as a forest plot wants them."""
    shown = pd.DataFrame({"label": table[label].to_numpy(), "value": table[value].to_numpy()})
    shown = shown.assign(low=table[f"{value}_low"].to_numpy(), high=table[f"{value}_high"].to_numpy())
    return shown if group is None else shown.assign(group=table[group].to_numpy())


def widest(table: pd.DataFrame, n: int) -> list[str]:
    """The shifts at which the encoder, by prompts, stands farthest from the line, farthest first."""
    own = table[table["model"] == ENCODER]
    return list(own.loc[own["rho"].abs().sort_values(ascending=False, kind="stable").index, "shift"][:n])


def corruption_gallery(bench: Bench) -> tuple[list[np.ndarray], list[str]]:
    """The first picture as it is and under every corruption at severity 3, with titles."""
    shown = [spoilt(bench, name, MIDDLE)[0] for name in CORRUPTIONS]
    return [bench.subject.images[0], *shown], ["unchanged", *(name.replace("_", " ") for name in CORRUPTIONS)]
