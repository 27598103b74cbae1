"""From prediction tables to numbers with intervals: one model, one group, a comparison, a choice.

Intervals are those of the stage's resampler, over groups of images; over several seeds they cover training again. An
interval without width is none: it says that nothing varied in the resamples, not that nothing could.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.labels import Label, Split, class_names, in_words
from verdict.base.numbers import ESTIMATE, SETTING, Number, Numbers, named
from verdict.base.params import TrialParams
from verdict.model import lineage
from verdict.model.lineage import DEPTH, epochs_text, least_trained, training_text
from verdict.model.predict import RAW, logits_of, right_of
from verdict.model.selection import Selection
from verdict.pages.tables import GAP, SHARE, about, by_part
from verdict.stats import uncertainty
from verdict.stats.metrics import accuracy_of, brier, class_score_of, ece_interval, macro_f1_of, nll
from verdict.stats.uncertainty import Interval, Statistic, bounded, columns_of, holm, with_bounds
from verdict.workflow.stage import Stage
from verdict.workflow.stages import TRIAL_STAGE, runs, seeds

BLIND = "test.hypothesis_only"
DIFFERENT = "different"


def estimate(table: pd.DataFrame, *, prefix: str, stage: Stage, names: Sequence[str] | None = None) -> Numbers:
    """Scores `<prefix>.accuracy`, `.macro_f1`, `.nll`, `.brier`, `.ece`, or `names` of them, with `.n_pairs` and
    `.n_images`, of a prediction table of one split.
    """
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    probs, answer = RAW.probabilities(logits), RAW.decide(logits)
    resampler, shared = stage.resampler(table["group_id"]), about(stage, table)
    scores: dict[str, Callable[[], Interval]] = {
        "accuracy": lambda: resampler.mean(answer == y_true, span=SHARE),
        "macro_f1": lambda: _with_width(resampler.interval(macro_f1_of(y_true, answer, probs.shape[1]))),
        "nll": lambda: _with_width(resampler.interval(partial(nll, probs, y_true))),
        "brier": lambda: _with_width(resampler.interval(partial(brier, probs, y_true))),
        "ece": lambda: ece_interval(probs, y_true, resampler, n_bins=stage.params.statistics.ece_bins),
    }
    counts = {"n_pairs": len(table), "n_images": table["image_id"].nunique()}
    numbers = {name: Number(n, unit="count", split=shared["split"]) for name, n in counts.items()}
    for name in names or scores:
        numbers[name] = scores[name]().number(unit="%" if name == "accuracy" else "", **shared)
    return Numbers({f"{prefix}.{name}": number for name, number in numbers.items()})


def _with_width(found: Interval) -> Interval:
    """The interval, or the value without one where no resample differed from another."""
    return Interval(found.value, np.nan, np.nan, found.n_undefined) if found.low == found.high else found


def accuracy_by(table: pd.DataFrame, pairs: pd.DataFrame, column: str, *, stage: Stage) -> pd.DataFrame:
    """Accuracy by a column of the pair table: label ("all" without the column), n, value, low, high; best first."""
    labels = pairs.set_index("pair_id")[column] if column in pairs else pd.Series("all", index=pairs["pair_id"])
    of_row = labels.reindex(table["pair_id"]).fillna("other").to_numpy()
    hit = right_of(table)
    parts = {str(label): of_row == label for label in sorted(set(of_row))}
    found = by_part(stage.resampler(table["group_id"]), parts, {"value": (hit, SHARE)}, "label")
    found.columns = ["label", "n", "value", "low", "high"]
    return found.sort_values("value", ascending=False, ignore_index=True)


def per_class(table: pd.DataFrame, decision: np.ndarray, *, stage: Stage) -> pd.DataFrame:
    """Precision, recall and F1 of each class, with bounds, and its support."""
    y_true, resampler, rows = table["y_true"].to_numpy(), stage.resampler(table["group_id"]), []
    for label, name in enumerate(stage.classes):
        of = partial(class_score_of, y_true, decision, len(stage.classes), label)
        found = {score: resampler.interval(of(score)) for score in ("precision", "recall", "f1")}
        rows.append({"class": name, **bounded(found), "support": (y_true == label).sum()})
    return pd.DataFrame(rows)


def confident_mistakes(
    table: pd.DataFrame, pairs: pd.DataFrame, *, above: float, stage: Stage
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Wrong answers, most confident first: the pairs, with `answered` (a class id) and its `prob`; and how common
    answers at a probability above a bound are, right, wrong and all: n, n_confident, share_confident with its interval.
    """
    logits = logits_of(table)
    answer, probs = RAW.decide(logits), RAW.probabilities(logits)
    prob = probs[np.arange(len(table)), answer]
    right, confident = answer == table["y_true"].to_numpy(), prob > above
    parts = {"right": right, "wrong": ~right, "all": np.ones(len(table), dtype=bool)}
    base = by_part(stage.resampler(table["group_id"]), parts, {"share_confident": (confident, SHARE)}, "answers")
    base.insert(2, "n_confident", [int((confident & chosen).sum()) for chosen in parts.values()])
    merged = table[["pair_id"]].assign(prob=prob, answered=answer).merge(pairs, on="pair_id", validate="one_to_one")
    mistakes = merged[~right].sort_values("prob", ascending=False, ignore_index=True)
    return mistakes, base


@dataclass(frozen=True)
class SeedAnswers:
    """Answers of one trial with several seeds to the same pairs: answers is (n_seeds, n_pairs)."""

    y_true: np.ndarray
    groups: np.ndarray
    answers: np.ndarray
    seeds: tuple[int, ...]
    n_classes: int = len(Label)

    def statistics(self, metric: str = "macro_f1") -> list[Statistic]:
        """Macro-F1 over all declared classes, or accuracy, of each seed's model as a function of row weights."""
        if metric == "accuracy":
            return [accuracy_of(self.y_true, answer) for answer in self.answers]
        return [macro_f1_of(self.y_true, answer, self.n_classes) for answer in self.answers]

    def scores(self) -> list[float]:
        """Macro-F1 of each seed's model."""
        return [float(statistic(None)) for statistic in self.statistics()]

    def part(self, chosen: np.ndarray) -> SeedAnswers:
        """The same models on some of the pairs, (n_pairs,) bool."""
        return replace(self, y_true=self.y_true[chosen], groups=self.groups[chosen], answers=self.answers[:, chosen])


def collect(stage: Stage, trial: str, split: str) -> SeedAnswers:
    """Answers of all seeds of a candidate to one split."""
    seeds = stage.params.training.seeds
    return answers_of({seed: stage.predictions(split, trial=trial, seed=seed) for seed in seeds})


def answers_of(tables: Mapping[int, pd.DataFrame]) -> SeedAnswers:
    """Answers of prediction tables by seed; a ValueError where they are not to the same pairs in the same order."""
    first, *others = tables.values()
    if any(not np.array_equal(table["pair_id"], first["pair_id"]) for table in others):
        raise ValueError(f"the runs of trial {first['trial'].iloc[0]!r} do not answer the same pairs in the same order")
    logits = [logits_of(table) for table in tables.values()]
    answers, n_classes = np.stack([RAW.decide(one) for one in logits]), logits[0].shape[1]
    return SeedAnswers(first["y_true"].to_numpy(), first["group_id"].to_numpy(), answers, tuple(tables), n_classes)


def mean_score(stage: Stage, own: SeedAnswers, first: SeedAnswers | None = None, metric: str = "macro_f1") -> Interval:
    """A metric averaged over seeds, or its difference to another trial on the same pairs and seeds.

    The interval covers the choice of images and, with several seeds, training again (see `Resampler.compare`). Of two
    trials that answer every pair alike it holds what is compatible with no group in which they differ.
    """
    resampler = stage.resampler(own.groups)
    if first is not None and np.array_equal(first.answers, own.answers):
        return resampler.mean(np.zeros(len(own.y_true)), span=GAP)
    return _with_width(resampler.compare(first.statistics(metric) if first else (), own.statistics(metric)))


def score_runs(stage: Stage, runs: Mapping[int, Any]) -> pd.DataFrame:
    """Scores on val of a trial's `TrainingRun`s, one row a seed: seed, best_epoch, macro_f1 and nll with intervals.

    Numbers `<trial>_s<seed>.n_trainable`, `.best_epoch`, `.val.…` of `estimate`, and `<trial>.val.macro_f1` over seeds.
    """
    rows, val = [], {}
    for seed, run in runs.items():
        prefix = f"{stage.trial_name}_s{seed}"
        counts = {name: getattr(run.fit, name) for name in ("n_trainable", "best_epoch")}
        stage.counts(prefix, counts, seeds=(seed,))
        val[seed] = run.predictions[run.predictions["split"] == str(Split.VAL)]
        stage.numbers.merge(found := estimate(val[seed], prefix=f"{prefix}.val", stage=stage))
        scores = {name: found[f"{prefix}.val.{name}"] for name in ("macro_f1", "nll")}
        rows.append({"seed": seed, "best_epoch": run.fit.best_epoch} | bounded(scores))
    mean = mean_score(stage, answers_of(val))
    shared = {"n": len(val[seed]), "split": str(Split.VAL), "seeds": tuple(runs)}
    stage.numbers[f"{stage.trial_name}.val.macro_f1"] = mean.number(**shared)
    return pd.DataFrame(rows)


def seed_scores(stage: Stage, split: str = Split.VAL, *, trials: Sequence[str] | None = None) -> pd.DataFrame:
    """Macro-F1 of every run, or of those of some trials, on one split: trial, seed, role, macro_f1 with interval."""
    rows = []
    for trial, seed in runs(stage.all_params):
        if trials is None or trial in trials:
            table = stage.predictions(split, trial=trial, seed=seed)
            found = estimate(table, prefix="run", stage=stage, names=("macro_f1",))["run.macro_f1"]
            role = stage.all_params.trial(trial).role
            rows.append({"trial": trial, "seed": seed, "role": role, **with_bounds("macro_f1", found)})
    return pd.DataFrame(rows)


def over_seeds(stage: Stage, kept: Selection, scores: pd.DataFrame) -> None:
    """Numbers `test.seeds_macro_f1`, the mean over all seeds of the kept trial, `.n_other_seeds`, and of these
    `.n_better_seeds`, above the kept one, by `seed_scores` on test.
    """
    own = scores[scores["trial"] == kept.trial].set_index("seed")["macro_f1"]
    tables = {seed: stage.predictions(Split.TEST, trial=kept.trial, seed=seed) for seed in own.index}
    stage.numbers["test.seeds_macro_f1"] = mean_score(stage, answers_of(tables)).number(
        split=Split.TEST, seeds=tuple(tables)
    )
    counts = {"n_other_seeds": len(own) - 1, "n_better_seeds": (own > own[kept.seed]).sum()}
    stage.counts("test", counts, split=Split.TEST)


def best_and_worst(stage: Stage, families: pd.DataFrame) -> None:
    """Of `accuracy_by` on test, numbers `test.best_family`, `test.worst_family` and their `_accuracy`; none of one."""
    for name, place in (("best_family", 0), ("worst_family", -1)) if len(families) > 1 else ():
        row = families.iloc[place]
        stage.numbers[f"test.{name}"] = named(row["label"])
        stage.numbers[f"test.{name}_accuracy"] = Number(
            row["value"], row["low"], row["high"], n=int(row["n"]), split=Split.TEST, unit="%"
        )


def candidates(stage: Stage) -> list[TrialParams]:
    """Trials that could be chosen; controls cannot."""
    return [trial for trial in stage.params.training.trials if trial.role == "candidate"]


def n_trainable(stage: Stage, trial: str) -> int:
    """Trained parameters of a trial."""
    seed = stage.params.training.seeds[0]
    numbers = Numbers.load(stage.upstream(TRIAL_STAGE, "numbers.json", trial))
    return int(numbers[f"{trial}_s{seed}.n_trainable"].value)


def rank_trials(stage: Stage) -> pd.DataFrame:
    """Candidates by mean macro-F1 on val over seeds, best first: trial, n_trainable, epochs (of each stage of its
    chain), macro_f1, seed_sd, difference to the best, within_margin (its whole interval lies above minus the margin,
    unadjusted for the number of candidates).
    """
    trials, margin = stage.params.training.trials, stage.params.training.margin
    answers = {trial.name: collect(stage, trial.name, Split.VAL) for trial in candidates(stage)}
    means = {trial: mean_score(stage, answer) for trial, answer in answers.items()}
    best = max(means, key=lambda trial: means[trial].value)
    rows = []
    for trial, mean in sorted(means.items(), key=lambda item: -item[1].value):
        gap = mean_score(stage, answers[trial], answers[best]) if trial != best else Interval(0.0)
        row = {"trial": trial, "n_trainable": n_trainable(stage, trial), "epochs": epochs_text(trials, trial)}
        row |= with_bounds("macro_f1", mean) | {"seed_sd": pd.Series(answers[trial].scores()).std()}
        row |= with_bounds("difference", gap)
        rows.append(row | {"within_margin": trial == best or bool(gap.low > -margin)})
    return pd.DataFrame(rows)


def differences(stage: Stage) -> pd.DataFrame:
    """Every two candidates on the same pairs of val and seeds: differences with intervals, tests of equal accuracy.

    Returns trial, minus; macro_f1 and accuracy (differences; intervals as in `mean_score`); n01 (answers that `minus`
    got wrong and `trial` right) and n10 (the other way round), p_clustered (of the trained models as they are, all
    seeds together, images as the unit), p_holm (adjusted for the number of rows), verdict: different where the interval
    of macro-F1 excludes zero and p_holm lies below one minus the level.
    """
    answers = {trial.name: collect(stage, trial.name, Split.VAL) for trial in candidates(stage)}
    rows = []
    for first, second in combinations(answers, 2):
        row: dict[str, object] = {"trial": second, "minus": first}
        for metric in ("macro_f1", "accuracy"):
            gap = mean_score(stage, answers[second], answers[first], metric=metric)
            row |= with_bounds(metric, gap)
        # Answers of all seeds that are right in one trial alone.
        right = [(answers[trial].answers == answers[trial].y_true).ravel() for trial in (first, second)]
        row |= {"n01": int((right[1] & ~right[0]).sum()), "n10": int((right[0] & ~right[1]).sum())}
        groups = np.tile(answers[first].groups, len(answers[first].seeds))
        rows.append(row | {"p_clustered": uncertainty.clustered_mcnemar(*right, groups)})
    scores = columns_of("macro_f1", "accuracy")
    table = pd.DataFrame(rows, columns=["trial", "minus", *scores, "n01", "n10", "p_clustered"])
    table["p_holm"] = holm(table["p_clustered"].to_numpy(dtype=np.float64))
    is_apart = (table["macro_f1_low"] > 0) | (table["macro_f1_high"] < 0)
    is_shown = is_apart & (table["p_holm"] < 1 - stage.params.statistics.level)
    return table.assign(verdict=np.where(is_shown.to_numpy(dtype=bool), DIFFERENT, "no difference shown"))


def choose(stage: Stage, ranking: pd.DataFrame) -> Selection:
    """Keep, of the candidates shown to lie within the margin of the best (itself included), the one with fewest trained
    parameters; of its seeds the best on val goes on.

    Its numbers hold how the choice came about: names of trials, in what two compared ones were trained alike, how many
    candidates score higher (`selection.n_ahead`), how many train fewer parameters (`.n_fewer`), and how many of those
    close to the best train as few (`.n_alike`, itself included), and its `.lead` over the next of them.
    """
    close = ranking[ranking["within_margin"]].sort_values("n_trainable", kind="stable")
    trial, best = str(close["trial"].iloc[0]), str(ranking["trial"].iloc[0])
    answers = collect(stage, trial, Split.VAL)
    seed, trials = answers.seeds[int(np.argmax(answers.scores()))], stage.params.training.trials
    deep = {one.name for one in trials if any(getattr(one, name) for name in DEPTH)}
    unfrozen = lineage.best_compared(trials, [name for name in (trial, *ranking["trial"]) if name in deep])
    twin = lineage.frozen_twin(trials, unfrozen) if unfrozen else None
    kept = stage.predictions(Split.VAL, trial=trial, seed=seed)
    numbers = estimate(kept, prefix="selection", stage=stage, names=("macro_f1",))
    frozen, least = twin.name if twin else "", least_trained(trials)
    start = least.name if least else ""
    names = {"trial": trial, "seed": str(seed), "best": best, "unfrozen": unfrozen, "frozen": frozen}
    names["unfrozen_blocks"] = lineage.depth_text(trials, unfrozen) if unfrozen else ""
    names |= {"least_trained": start, "training": training_text(trials, unfrozen, frozen) if frozen else ""}
    names |= {"training_of_frozen": training_text(trials, frozen, start) if frozen else ""}
    numbers.merge({f"selection.{name}": named(words) for name, words in names.items()})
    ahead = ranking["trial"].tolist().index(trial)
    fewer = ranking["n_trainable"] < ranking["n_trainable"].iloc[ahead]
    alike = close.loc[close["n_trainable"] == close["n_trainable"].iloc[0], "trial"].tolist()
    if len(alike) > 1:
        lead = mean_score(stage, answers, collect(stage, alike[1], Split.VAL))
        numbers["selection.lead"] = lead.number(n=len(kept), split=str(Split.VAL))
    for name, count in {"n_ahead": ahead, "n_fewer": fewer.sum(), "n_alike": len(alike)}.items():
        numbers[f"selection.{name}"] = Number(float(count), unit="count", split=str(Split.VAL))
    numbers["selection.margin"] = Number(stage.params.training.margin, kind=SETTING)
    return Selection(trial, seed, frozen, unfrozen, numbers=numbers)


def store_standing(stage: Stage, kept: Selection, pairwise: pd.DataFrame) -> None:
    """Numbers `selection.n_better`, `.n_worse`, `.n_others` (candidates that the kept trial is shown to differ from),
    and `.n_compared`, the rows of `differences`.
    """
    sign = np.where(pairwise["trial"] == kept.trial, 1.0, np.where(pairwise["minus"] == kept.trial, -1.0, 0.0))
    gap = sign * pairwise["macro_f1"].to_numpy(dtype=np.float64) * (pairwise["verdict"] == DIFFERENT)
    counts = {"n_others": (sign != 0).sum(), "n_better": (gap > 0).sum(), "n_worse": (gap < 0).sum()}
    stage.counts("selection", counts | {"n_compared": len(pairwise)}, split=str(Split.VAL))


def noise_of_best(stage: Stage, scores: pd.DataFrame, kept: Selection) -> pd.DataFrame:
    """How far the best of n candidates would stand above their mean through seed noise alone, beside the observed lead.

    They are those with as many epochs in all as the kept one that unfreeze something, as it does, or nothing.
    """
    trials = {trial.name: trial for trial in candidates(stage)}

    def kind(name: str) -> tuple[int, bool]:
        return lineage.n_epochs(stage.params.training.trials, name), any(getattr(trials[name], part) for part in DEPTH)

    alike = [name for name in trials if kind(name) == kind(kept.trial)]
    by_trial = scores[scores["trial"].isin(alike)].groupby("trial")["macro_f1"]
    means = by_trial.mean()
    pooled = float(np.sqrt(by_trial.var(ddof=1).mean()))
    of_means = pooled / np.sqrt(len(stage.params.training.seeds))
    rows = {
        "candidates": len(means),
        "SD of one run (pooled over seeds)": pooled,
        "SD of a trial's mean": of_means,
        "lead of the best, were they equal": uncertainty.expected_best_of(len(means), sd=of_means),
        "lead of the best observed": float(means.max() - means.mean()),
    }
    return pd.DataFrame({"quantity": list(rows), "value": pd.Series(rows.values(), dtype=object)})


def references(stage: Stage, kept: Selection) -> pd.DataFrame:
    """Scores on test of the kept model and of what it must beat: the majority label, controls, frozen encoders."""
    counts = stage.pairs(Split.TRAIN)["label"].value_counts()
    frequent = class_names().index(str(counts.idxmax()))
    told = f"always {counts.idxmax()}" + (", train's more frequent label" if counts.max() > counts.min() else "")
    table = stage.predictions(Split.TEST, trial=kept.trial, seed=kept.seed)
    majority = table.assign(logit_1=1.0 if frequent else -1.0)
    file = stage.upstream(TRIAL_STAGE, "shuffled.parquet", kept.trial)
    shuffled = pd.read_parquet(file, filters=[("seed", "==", kept.seed)])
    rows = [_reference(stage, told, majority, "test.majority")]
    for trial in stage.params.training.trials:
        if trial.role == "control":
            own = seeds(stage.all_params, trial.name)
            blind = stage.predictions(Split.TEST, trial=trial.name, seed=kept.seed if kept.seed in own else own[0])
            told = f"a network trained {_missing(trial)}"
            rows.append(_reference(stage, told, blind, f"test.{trial.name}", trial.name))
    if BLIND not in stage.numbers:
        stage.numbers[BLIND] = Number(float("nan"), split=Split.TEST, kind=ESTIMATE)
    rows.append(_reference(stage, "the kept model shown another pair's image", shuffled, "test.shuffled", kept.trial))
    least = least_trained(stage.params.training.trials)
    for number, name in (("test.least_trained", least.name if least else ""), ("test.frozen", kept.frozen)):
        if name not in ("", kept.trial) and (number == "test.frozen" or name != kept.frozen):
            frozen = stage.predictions(Split.TEST, trial=name, seed=kept.seed)
            rows.append(_reference(stage, f"{in_words(name)}, nothing unfrozen", frozen, number, name))
    rows.append(_reference(stage, f"{in_words(kept.trial)}, the kept model", table, "test.kept", kept.trial))
    return pd.DataFrame(rows)


def _missing(trial: TrialParams) -> str:
    """What a control is not shown."""
    blank = [name for name, shown in (("image", trial.image), ("hypothesis", trial.text)) if shown == "blank"]
    return f"without the {' and the '.join(blank)}" if blank else "as a control"


def _reference(stage: Stage, name: str, table: pd.DataFrame, number: str, trial: str = "") -> dict[str, object]:
    """A row of references, its accuracy a `Number`; the accuracy is stored under `number`."""
    found = estimate(table, prefix="reference", stage=stage, names=("accuracy", "macro_f1"))
    stage.numbers[number] = found["reference.accuracy"]
    epochs = epochs_text(stage.params.training.trials, trial) if trial else ""
    trained = {"epochs": epochs, "seed": str(table["seed"].iloc[0]) if trial else ""}
    row = {"answers": name, **trained, "accuracy": found["reference.accuracy"]}
    return row | with_bounds("macro_f1", found["reference.macro_f1"])
