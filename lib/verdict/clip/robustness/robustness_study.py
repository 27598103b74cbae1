"""The page on robustness: factors, effective robustness, contradicting cues, corruptions.

Functions take the bench of the page and return tables; numbers go into the stage's store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT, POINTS
from verdict.clip.encoder.embeddings import EmbeddedPictures
from verdict.clip.pictures import scenes
from verdict.clip.probes.zero_shot import scaled_logits
from verdict.clip.robustness import changed, robustness
from verdict.clip.robustness.changed import Subject
from verdict.clip.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt, psnr
from verdict.clip.robustness.population import Member, described, fit_population, predict_population
from verdict.data.digits.scenes import handwriting_pools
from verdict.stats.scores import top_class
from verdict.stats.uncertainty import Interval, Resampler, bounded, holm, with_bounds
from verdict.workflow.stage import Stage

ENCODER, PROBE = "encoder, by prompts", "encoder, by a probe"
_EMBEDDING = "embedding"
AS_DRAWN = "as drawn"
MIDDLE = 3


class Answers(NamedTuple):
    """What is said to one batch of pictures: the encoder's zero-shot logits (n, n_classes); and answers of the
    population (n_members, n), the last of which is a linear probe of the encoder's embedding.
    """

    logits: np.ndarray
    members: np.ndarray


@dataclass(frozen=True, eq=False)
class Bench:
    """The encoder, its population (the last of its members is the encoder's probe), and what both are shown."""

    study: EmbeddedPictures
    subject: Subject

    @cached_property
    def members(self) -> list[Member]:
        """The population, fitted on the train split where a page first asks for it."""
        study, params = self.study, self.stage.params.clip_robustness
        rows = study.rows("train")[: params.n_population]
        found = described(np.asarray(study.pictures.images[rows])) | {_EMBEDDING: np.asarray(study.embeddings[rows])}
        return fit_population(found, study.pictures.table["y"].to_numpy()[rows], seed=params.seed)

    @property
    def stage(self) -> Stage:
        """Where numbers go."""
        return self.study.stage

    @cached_property
    def resampler(self) -> Resampler:
        """Intervals over groups of the subject's pictures."""
        return self.stage.resampler(self.subject.groups)

    @cached_property
    def classes(self) -> np.ndarray:
        """Text vectors, float32 (n_classes, d)."""
        return self.study.classes()

    @cached_property
    def members_right(self) -> np.ndarray:
        """Whether each member answers each picture rightly as it is, bool (n_members, n)."""
        return self.answers(self.subject.images).members == self.subject.y_true

    @cached_property
    def as_drawn(self) -> np.ndarray:
        """The encoder's zero-shot logits of the pictures as they are, (n, n_classes)."""
        return self.logits(self.subject.images)

    @property
    def is_right(self) -> np.ndarray:
        """Whether the encoder answers each picture rightly as it is, bool (n,)."""
        return self.right(self.as_drawn)

    @property
    def names(self) -> list[str]:
        """Names of the population without the encoder's probe."""
        return [name for name, *_ in self.members[:-1]]

    def right(self, logits: np.ndarray) -> np.ndarray:
        """Whether zero-shot answers to the changed subject are right, bool (n,)."""
        return top_class(logits) == self.subject.y_true

    def described(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What the population reads of pictures, the encoder's embedding included."""
        return described(images) | {_EMBEDDING: np.asarray(self.study.cache.images(images))}

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The encoder's zero-shot logits of pictures, (n, n_classes)."""
        return scaled_logits(np.asarray(self.study.cache.images(images)), self.classes, self.study.logit_scale)

    def answers(self, images: np.ndarray) -> Answers:
        """Everybody's answers to pictures."""
        return Answers(self.logits(images), predict_population(self.members, self.described(images)))

    def accuracies(self, changed_ones: Sequence[np.ndarray]) -> pd.DataFrame:
        """Accuracy of the encoder over severities, 0 being the unchanged pictures, from right answers (n,) to each.

        Columns severity, accuracy, low, high.
        """
        found = [self.resampler.mean(right, span=(0, 1)) for right in (self.is_right, *changed_ones)]
        rows = [(severity, one.value, one.low, one.high) for severity, one in enumerate(found)]
        return pd.DataFrame(rows, columns=["severity", "accuracy", "low", "high"])

    def keep(self, name: str, row: pd.Series, column: str, n: int | None = None, unit: str = "") -> None:
        """Store a cell of a table of test pictures with its bounds; of `n` pictures, those of the row by default."""
        found = Interval.from_columns(row, column)
        self.stage.numbers[name] = found.number(n=int(row["n"] if n is None else n), split="test", unit=unit)


def open_bench(study: EmbeddedPictures) -> Bench:
    """Draw the pictures, the same on every page: scenes anew from test's handwriting, else the source's own of test."""
    stage, params = study.stage, study.stage.params.clip_robustness
    if stage.params.clip.source == "digits":
        rng, px = stage.rng("robustness.scenes"), study.pictures.images.shape[1]
        subject = changed.of_scenes(params.n_images, handwriting_pools()["test"], px=px, rng=rng)
    else:
        subject = changed.of_pictures(study.pictures, "test", params.n_images)
    return Bench(study, subject)


def intervene(bench: Bench) -> dict[tuple[str, str], Answers]:
    """Everybody's answers when one factor is set, by factor and value."""
    found = {}
    for factor, value, images in changed.interventions(bench.subject, rng=bench.stage.rng("robustness.factors")):
        found[factor, value] = bench.answers(images)
        bench.stage.progress(f"{factor}: {value}")
    return found


def factors(bench: Bench, answers: Mapping[tuple[str, str], Answers]) -> pd.DataFrame:
    """Accuracy, paired change and error ratio of every intervention: `factor_table` with factor and value.

    The last row is the pictures as they were drawn. Numbers: accuracy as drawn, the worst value, how many cost
    accuracy or raise it, and the cost of couples that were held out.
    """
    stage, n = bench.stage, len(bench.subject)
    right = {" = ".join(key): bench.right(said.logits) for key, said in answers.items()}
    table = robustness.factor_table(right, bench.is_right, bench.resampler)
    is_moved = table["p_holm"] < 1 - stage.params.statistics.level
    lost, gained = ((is_moved & (side * table["change"] > 0)).sum() for side in (-1, 1))
    keys = pd.DataFrame(list(answers), columns=["factor", "value"])
    as_drawn = with_bounds("accuracy", bench.resampler.mean(bench.is_right, span=(0, 1)))
    last = pd.DataFrame([{"factor": AS_DRAWN, **as_drawn, "n": n}])
    table = pd.concat([pd.concat([keys, table.drop(columns="condition")], axis=1), last], ignore_index=True)
    bench.keep("robustness.accuracy", table.iloc[-1], "accuracy", unit="%")
    worst = bench.resampler.smallest_mean([one - bench.is_right.astype(float) for one in right.values()], span=(-1, 1))
    stage.numbers["robustness.worst_change"] = worst.number(n=n, split="test", unit=POINTS)
    for name, kind in (("seen", changed.SEEN), ("held_out", changed.HELD_OUT)):
        for _, row in table[table["value"] == kind].iterrows():
            bench.keep(f"robustness.{name}", row, "accuracy", unit="%")
    counts = {"n_interventions": len(answers), "n_interventions_lost": lost, "n_interventions_gained": gained}
    stage.counts("robustness", counts | {"n_images": n}, split="test")
    stage.counts("robustness", {"n_models": len(bench.names)})
    stage.number("robustness.chance", 1 / len(bench.classes), unit="%", kind=EXACT)
    return table


def changed_logits(
    bench: Bench, answers: Mapping[tuple[str, str], Answers], corrupted: Mapping[str, Answers]
) -> pd.DataFrame:
    """Zero-shot logits of the pictures as drawn and of the changes under which calibration is judged.

    Columns condition, logit_0 … logit_{K-1}: as many rows as pictures for each condition, in their order.
    """
    shown = {AS_DRAWN: bench.as_drawn}
    for (factor, value), said in answers.items():
        if factor in ("turn", "light", "size", "digit and colour", "cover"):
            shown[f"{factor} = {value}"] = said.logits
    shown |= {f"{name.replace('_', ' ')}, severity {MIDDLE}": said.logits for name, said in corrupted.items()}
    table = pd.DataFrame(np.concatenate(list(shown.values()))).add_prefix("logit_")
    return table.assign(condition=np.repeat(list(shown), len(bench.subject)))


def shifts(answers: Mapping[tuple[str, str], Answers], corrupted: Mapping[str, Answers]) -> dict[str, list[Answers]]:
    """Shifts as lists of changed pictures: every factor over its values, every family of corruptions at severity 3.

    Couples that were held out are none: train has them, so that they are new to the encoder and not to small models.
    """
    found: dict[str, list[Answers]] = {}
    for (factor, value), one in answers.items():
        if value != changed.HELD_OUT:
            found.setdefault(value if value == changed.SEEN else factor, []).append(one)
    for name, one in corrupted.items():
        found.setdefault(f"{CORRUPTIONS[name].family} (corruption)", []).append(one)
    return found


def effective(
    bench: Bench, listed: Mapping[str, list[Answers]]
) -> tuple[pd.DataFrame, dict[tuple[str, str], robustness.Effective]]:
    """Effective robustness of the encoder, by prompts and by its probe, under every shift: a table, and each finding.

    One row a shift and a way to answer: before, after, expected, rho, slope and residual scale, with bounds; `p_holm`
    is that of "rho is zero", adjusted for the shifts of each way to answer. Numbers: how many shifts leave the encoder
    above or below the line.
    """
    y_true, stage, found, rows = bench.subject.y_true, bench.stage, {}, []
    before = bench.members_right
    own = {ENCODER: bench.is_right, PROBE: before[-1]}
    for shift, batches in listed.items():
        after = np.mean([said.members == y_true for said in batches], axis=0)
        shifted = {ENCODER: np.mean([bench.right(said.logits) for said in batches], axis=0), PROBE: after[-1]}
        for model, right in own.items():
            sides = (np.vstack([right, before[:-1]]), np.vstack([shifted[model], after[:-1]]))
            one = found[shift, model] = robustness.effective_robustness(*sides, bench.resampler)
            row = bounded({name: one.found[name] for name in ("before", "after", "expected", "rho")})
            line = bounded({"slope": one.found["slope"], "residual_scale": one.found["scale"]})
            rows.append({"shift": shift, "model": model, **row, "p_holm": one.p_rho, **line})
        stage.progress(f"effective robustness: {shift}")
    table = pd.DataFrame(rows)
    table = table.assign(p_holm=table.groupby("model")["p_holm"].transform(holm))
    prompted = table[table["model"] == ENCODER]
    is_apart = prompted["p_holm"] < 1 - stage.params.statistics.level
    n_above, n_below = ((is_apart & (side * prompted["rho"] > 0)).sum() for side in (1, -1))
    stage.counts("robustness", {"n_shifts": len(prompted), "n_shifts_above": n_above, "n_shifts_below": n_below})
    return table, found


def conflicts(bench: Bench) -> pd.DataFrame:
    """What probes follow when shape and another cue, which always agreed before, contradict each other.

    Every model learns anew from pictures in which the digit and the cue go together, and answers pictures in which
    they do not. Scenes serve every encoder, whatever the report's own pictures are. Rows: cue, model; shape_bias (of
    the probe a number), hit_rate and agreed_accuracy (on unseen pictures in which both agree), each with bounds; n.
    """
    stage, rows = bench.stage, []
    n = stage.params.clip_robustness.n_conflict
    for cue in ("texture", "colour"):
        found, digit, _, _ = _cue_pictures(bench, cue, "train", "train", n, agree=True)
        members = fit_population(found, digit, seed=stage.params.clip_robustness.seed)
        found, digit, _, groups = _cue_pictures(bench, cue, "agree", "test", n // 2, agree=True)
        right, learning = predict_population(members, found) == digit, stage.resampler(groups)
        found, digit, value, groups = _cue_pictures(bench, cue, "oppose", "test", n, agree=False)
        answers, judging = predict_population(members, found), stage.resampler(groups)
        for model, learnt, said in zip([*bench.names, PROBE], right, answers, strict=True):
            one = robustness.cue_conflict(said, digit, value, judging)
            one["agreed_accuracy"] = learning.mean(learnt, span=(0, 1))
            rows.append({"cue": cue, "model": model, **bounded(one), "n": len(said)})
        bench.keep(f"shape.{cue}_bias", pd.Series(rows[-1]), "shape_bias", unit="%")
    return pd.DataFrame(rows)


def _cue_pictures(
    bench: Bench, cue: str, name: str, split: str, n: int, *, agree: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Descriptions, digit, value and handwriting of pictures in which both agree or not."""
    rng = bench.stage.rng("robustness.cues", cue, name)
    drawn, digit, value = changed.cue_scenes(n, handwriting_pools()[split], cue, agree=agree, rng=rng)
    images, _ = scenes.render(drawn, rng=rng, px=bench.subject.images.shape[1])
    return bench.described(images), digit, value, drawn.table()["writing"].to_numpy()


def corruptions(
    bench: Bench,
) -> tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, Answers], dict[str, np.ndarray]]:
    """Every corruption at every severity; numbers: how many corruptions there are, and the hardest.

    Returns a table (accuracy at severities 1, 3, 5 and over all; errors against a reference, with bounds; mean PSNR in
    decibels), and by corruption whether the encoder answers rightly (float, (5, n)), everybody's answers at severity 3,
    and the first picture there, after "unchanged". The reference is the member of the population that is best on
    unchanged pictures; it is asked at severity 3 only. Draws are the same at every severity.
    """
    y_true, stage, rows = bench.subject.y_true, bench.stage, []
    clean, rights, middle = bench.subject.images, {}, {}
    firsts = {"unchanged": clean[0]}
    before = bench.members_right[:-1]
    best = int(before.mean(axis=1).argmax())
    for name, corruption in CORRUPTIONS.items():
        images = {k: corrupt(clean, corruption, k, stage.rng("robustness.corrupt", name)) for k in SEVERITIES}
        firsts[name.replace("_", " ")] = images[MIDDLE][0].copy()
        right = rights[name] = np.stack([bench.right(bench.logits(one)) for one in images.values()]).astype(float)
        middle[name] = bench.answers(images[MIDDLE])
        shown = {"at_1": right[0], "at_3": right[2], "at_5": right[4], "mean": right.mean(axis=0)}
        accuracies = {label: bench.resampler.mean(values, span=(0, 1)) for label, values in shown.items()}
        reference = middle[name].members[best] == y_true
        errors = partial(robustness.corruption_errors, right[MIDDLE - 1], bench.is_right, reference, before[best])
        found = accuracies | robustness.intervals(errors, bench.resampler)[0]
        row = {"corruption": name.replace("_", " "), "family": corruption.family, **bounded(found)}
        for severity in (1, 5):
            decibels = psnr(clean, images[severity])
            decibels = decibels[np.isfinite(decibels)]
            row[f"psnr_{severity}"] = float(decibels.mean()) if len(decibels) else np.inf
        rows.append(row | {"n": len(y_true)})
        stage.progress(f"corruption: {name}")
    stage.number("robustness.n_corruptions", len(rows), unit="count")
    hardest = bench.resampler.smallest_mean([right.mean(axis=0) for right in rights.values()], span=(0, 1))
    stage.numbers["robustness.hardest"] = hardest.number(n=len(y_true), split="test", unit="%")
    return pd.DataFrame(rows), rights, middle, firsts


def corruption_curves(bench: Bench, right: Mapping[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """Accuracy of every family of corruptions over severities (0: unchanged), with bounds."""
    families: dict[str, list[np.ndarray]] = {}
    for name, one in CORRUPTIONS.items():
        families.setdefault(one.family, []).append(right[name])
    return {family: bench.accuracies(np.mean(found, axis=0)) for family, found in families.items()}


def widest(table: pd.DataFrame, n: int) -> list[str]:
    """The shifts at which the encoder, by prompts, stands farthest from the line, farthest first."""
    own = table[table["model"] == ENCODER]
    return list(own.loc[own["rho"].abs().sort_values(ascending=False, kind="stable").index, "shift"][:n])
