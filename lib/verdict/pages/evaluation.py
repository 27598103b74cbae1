"""From prediction tables to numbers with intervals: one model, one group, a comparison, a choice; what one change does;
and where the kept model errs, by the threshold of its decision and by the words of the hypothesis.

Intervals are those of the stage's resampler, over groups of images; over several seeds they cover training again. An
interval without width is none: it says that nothing varied in the resamples, not that nothing could.

What one change does is a trial minus its twin, which differs from it in that change alone. Unfreezing is such a change,
and so is longer training. A comparison of trials that differ in more than one thing says nothing about any of them;
what else differs is found from the trials' settings and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base.labels import Label, Split, class_names, in_words
from verdict.base.numbers import ESTIMATE, SETTING, Number, Numbers, named
from verdict.base.params import TrialParams, trial_difference
from verdict.data.statements import SEMANTIC_WORDS, keyword_flags
from verdict.model import lineage
from verdict.model.lineage import DEPTH, epochs_text, least_trained, setting_text, training_text
from verdict.model.oversample import bucket_flags
from verdict.model.predict import RAW, DecisionRule, logits_of, right_of
from verdict.model.selection import Selection
from verdict.pages.tables import GAP, SHARE, about, by_part
from verdict.stats import uncertainty
from verdict.stats.metrics import accuracy_of, brier, class_scores, confusion_counts, ece_interval, macro_f1_of, nll
from verdict.stats.uncertainty import NOTHING, Interval, Statistic, bounded, columns_of, holm, with_bounds
from verdict.stats.weighted import mean_gap
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


def per_class(table: pd.DataFrame, decision: np.ndarray, classes: Sequence[str] = class_names()) -> pd.DataFrame:
    """Precision, recall, F1 and support of each class."""
    counts = confusion_counts(table["y_true"], decision, len(classes))
    return pd.DataFrame({"class": classes, **class_scores(counts), "support": counts.sum(axis=1)})


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


def score_runs(stage: Stage, runs: Mapping) -> pd.DataFrame:
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
    candidates score higher (`selection.n_ahead`), and how many train fewer parameters (`.n_fewer`).
    """
    close = ranking[ranking["within_margin"]].sort_values("n_trainable", kind="stable")
    trial, best = str(close["trial"].iloc[0]), str(ranking["trial"].iloc[0])
    answers = collect(stage, trial, Split.VAL)
    seed, trials = answers.seeds[int(np.argmax(answers.scores()))], stage.params.training.trials
    deep = {one.name for one in trials if any(getattr(one, name) for name in DEPTH)}
    unfrozen = next((name for name in (trial, *ranking["trial"]) if name in deep), "")
    twin = lineage.frozen_twin(trials, unfrozen) if unfrozen else None
    kept = stage.predictions(Split.VAL, trial=trial, seed=seed)
    numbers = estimate(kept, prefix="selection", stage=stage, names=("macro_f1",))
    frozen, least = twin.name if twin else "", least_trained(trials)
    start = least.name if least else ""
    names = {"trial": trial, "seed": str(seed), "best": best, "unfrozen": unfrozen, "frozen": frozen}
    names |= {"least_trained": start, "training": training_text(trials, unfrozen, frozen) if frozen else ""}
    names |= {"training_of_frozen": training_text(trials, frozen, start) if frozen else ""}
    numbers.merge({f"selection.{name}": named(words) for name, words in names.items()})
    ahead = ranking["trial"].tolist().index(trial)
    fewer = ranking["n_trainable"] < ranking["n_trainable"].iloc[ahead]
    for name, count in {"n_ahead": ahead, "n_fewer": fewer.sum()}.items():
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
    train = stage.pairs(Split.TRAIN)["label"]
    frequent = class_names().index(str(train.value_counts().idxmax()))
    table = stage.predictions(Split.TEST, trial=kept.trial, seed=kept.seed)
    majority = table.assign(logit_1=1.0 if frequent else -1.0)
    file = stage.upstream(TRIAL_STAGE, "shuffled.parquet", kept.trial)
    shuffled = pd.read_parquet(file, filters=[("seed", "==", kept.seed)])
    rows = [_reference(stage, "always the more frequent label of train", majority, "test.majority")]
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


# Changes that are looked for, as the parameters of the twin that lacks them.
FACTORS: dict[str, dict] = {
    "oversampling": {"oversample": {}},
    "augmentation": {"augment": "none", "views": 0},
}
METRICS = ("accuracy", "macro_f1")
OVERALL = "all pairs"


@dataclass(frozen=True)
class Ablation:
    """A trial and its twin, which lacks the trial's one change."""

    factor: str
    trial: TrialParams
    twin: TrialParams

    def prefix(self, place: int = 0) -> str:
        """Of stored differences: on all pairs, or on the bucket of that place, counted from 1."""
        return f"ablation.{self.trial.name}.{self.factor}" + (f".bucket_{place}" if place else "")


def find_ablations(trials: Sequence[TrialParams]) -> list[Ablation]:
    """Every trial with a twin, in the order of the trials; of several twins the first counts."""
    found = []
    for trial in trials:
        twins = {one.name: {key: had for key, (had, _) in trial_difference(one, trial).items()} for one in trials}
        for factor, lacking in FACTORS.items():
            twin = next((one for one in trials if twins[one.name] == lacking), None)
            found += [Ablation(factor, trial, twin)] if twin else []
    return found


def changed_parameters(ablations: Sequence[Ablation]) -> pd.DataFrame:
    """All that differs between each trial and its twin: trial, twin, parameter, value of each."""
    rows = [
        (one.trial.name, one.twin.name, name, setting_text(in_trial), setting_text(in_twin))
        for one in ablations
        for name, (in_twin, in_trial) in trial_difference(one.twin, one.trial).items()
    ]
    return pd.DataFrame(rows, columns=["trial", "twin", "parameter", "in_trial", "in_twin"])


def ablation_table(stage: Stage, ablations: Sequence[Ablation], split: str = Split.VAL) -> pd.DataFrame:
    """Each trial minus its twin on the same pairs and seeds, on all pairs and on each bucket that it oversamples.

    Returns trial, minus, on, n, accuracy and macro_f1 (differences, with low and high, over images and training again);
    a bucket without pairs is left out. Numbers `<Ablation.prefix>.<metric>`, `ablation.<factor>.accuracy`, `.trial` and
    `.twin` of the first of each factor, `ablation.n_differences` and `.n_shown` (rows whose accuracy differs).
    """
    pairs = stage.pairs(split)
    flags = bucket_flags(pairs).set_index(pairs["pair_id"]) if ablations else pd.DataFrame()
    rows = [row for one in ablations for row in _rows(stage, one, flags, split)]
    table = pd.DataFrame(rows, columns=["trial", "minus", "on", "n", *columns_of(*METRICS)])
    for factor, one in {one.factor: one for one in reversed(ablations)}.items():
        told = {"trial": named(one.trial.name), "twin": named(one.twin.name)}
        told["accuracy"] = stage.numbers[f"{one.prefix()}.accuracy"]
        stage.numbers.merge({f"ablation.{factor}.{name}": number for name, number in told.items()})
    is_shown = (table["accuracy_low"] > 0) | (table["accuracy_high"] < 0)
    stage.counts("ablation", {"n_differences": len(table), "n_shown": is_shown.sum()}, split=str(split))
    return table


def _rows(stage: Stage, one: Ablation, flags: pd.DataFrame, split: str) -> list[dict]:
    trial, twin = (collect(stage, side.name, split) for side in (one.trial, one.twin))
    order = stage.predictions(split, trial=one.trial.name, seed=trial.seeds[0])["pair_id"]
    rows = []
    for place, name in enumerate([OVERALL, *(one.trial.oversample if one.factor == "oversampling" else ())]):
        if place and not (name in flags and flags[name].any()):
            continue
        chosen = flags.loc[order, name].to_numpy() if place else np.ones(len(order), dtype=bool)
        row = {"trial": one.trial.name, "minus": one.twin.name, "on": name, "n": int(chosen.sum())}
        parts = trial.part(chosen), twin.part(chosen)
        gaps = {metric: mean_score(stage, *parts, metric=metric) for metric in METRICS}
        stage.estimates(one.prefix(place), gaps, n=row["n"], split=str(split), seeds=trial.seeds)
        rows.append(row | bounded(gaps))
    return rows


def gains(stage: Stage, kept: Selection, split: str, *, prefix: str | None = None) -> pd.DataFrame:
    """What unfreezing adds to frozen encoders whose training is nearest, and what training them longer adds alone.

    Returns change, trial, minus, training (alike, or in what the two differ), macro_f1 (difference over seeds and the
    same pairs, with interval). Numbers `<prefix>.gain_over_frozen`, `.gain_of_longer_training` and `.gain_in_all`, not
    defined where there is nothing to compare; by default the prefix is the split.
    """
    trials, least = stage.params.training.trials, least_trained(stage.params.training.trials)
    start = least.name if least else ""
    compared = {
        "gain_over_frozen": ("unfreezing", kept.unfrozen, kept.frozen),
        "gain_of_longer_training": ("longer training alone", kept.frozen, start),
        "gain_in_all": ("both", kept.unfrozen, start),
    }
    rows, seeds = [], tuple(stage.params.training.seeds)
    for name, (change, trial, minus) in compared.items():
        found = NOTHING
        if trial and minus and trial != minus and (name == "gain_over_frozen" or kept.frozen != start):
            found = mean_score(stage, collect(stage, trial, split), collect(stage, minus, split))
            row = {"change": change, "trial": trial, "minus": minus, "training": training_text(trials, trial, minus)}
            rows.append({**row, **with_bounds("macro_f1", found)})
        stage.numbers[f"{prefix or split}.{name}"] = found.number(split=str(split), seeds=seeds)
    return pd.DataFrame(rows, columns=["change", "trial", "minus", "training", *columns_of("macro_f1")])


def gain_statement(split: str, table: pd.DataFrame) -> str:
    """The claim that unfreezing adds something, with how the two that `gains` compares were trained."""
    training = table.loc[table["change"] == "unfreezing", "training"].tolist()
    return f"Unfreezing beats frozen encoders in macro-F1 on {split}{f' (training {training[0]})' if training else ''}"


# The study's grid: 0.05 to 0.95 in steps of 0.05, as probabilities of contradiction.
THRESHOLDS = np.arange(1, 20) / 20
# A picture of more classes can be read no more.
DRAWN_CLASSES = 20


def confusion_table(table: pd.DataFrame, decision: ArrayLike, classes: Sequence[str] = class_names()) -> pd.DataFrame:
    """Pairs by true class (rows, in the column `truth`) and answer (one column a class)."""
    counts = confusion_counts(table["y_true"], decision, len(classes)).astype(int)
    return pd.DataFrame(counts, columns=list(classes), index=pd.Index(classes, name="truth"))


def gallery_of(stage: Stage, mistakes: pd.DataFrame) -> dict:
    """Images and titles of `evaluation.confident_mistakes`, as a gallery shows them; none where no image is stored."""
    images = stage.images()
    shown = mistakes.iloc[:0] if images is None else mistakes[[name in images for name in mistakes["image_id"]]]
    names = ["the other"] * 2 if len(stage.classes) == 2 else stage.classes
    words = shown.get("hypothesis", shown["image_id"])
    told = zip(words, shown["label"], shown["prob"], shown["answered"], strict=True)
    titles = [f"{text}\n({label}; P {prob:.2f} for {names[answered]})" for text, label, prob, answered in told]
    return {"images": [images.thumbnail(image_id) for image_id in shown["image_id"]], "titles": titles}


def sweep(table: pd.DataFrame, thresholds: ArrayLike = THRESHOLDS) -> pd.DataFrame:
    """Scores of a table of val at thresholds in (0, 1) of the probability of contradiction: threshold, macro_f1,
    accuracy; one that is chosen on the rows that it is judged on says nothing about others.
    """
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    rows = []
    for threshold in np.asarray(thresholds, dtype=np.float64):
        answer = DecisionRule(threshold=float(threshold)).decide(logits)
        score = macro_f1_of(y_true, answer, logits.shape[1])(None)
        rows.append({"threshold": float(threshold), "macro_f1": float(score), "accuracy": (y_true == answer).mean()})
    return pd.DataFrame(rows)


def best_threshold(curve: pd.DataFrame) -> float:
    """The threshold with the largest macro-F1; the lowest of several equal ones, as in the study."""
    ordered = curve.sort_values("threshold")
    return float(ordered["threshold"].iloc[int(ordered["macro_f1"].to_numpy().argmax())])


def threshold_effect(table: pd.DataFrame, threshold: float, *, stage: Stage) -> None:
    """What a threshold changes against one half on the same rows, paired: numbers `<split>.threshold_gain`, in
    macro-F1, and `.n_turned`, the answers that change.
    """
    y_true, groups, logits = table["y_true"].to_numpy(), table["group_id"].to_numpy(), logits_of(table)
    shared = about(stage, table)
    half, moved = (
        SeedAnswers(y_true, groups, rule.decide(logits)[None], shared["seeds"], logits.shape[1])
        for rule in (RAW, DecisionRule(threshold=threshold))
    )
    stage.estimates(shared["split"], {"threshold_gain": mean_score(stage, moved, half)}, **shared)
    stage.counts(shared["split"], {"n_turned": (half.answers != moved.answers).sum()}, **shared)


def accuracy_by_words(
    table: pd.DataFrame, pairs: pd.DataFrame, groups: Mapping[str, Sequence[str]] = SEMANTIC_WORDS, *, stage: Stage
) -> pd.DataFrame:
    """Accuracy on the hypotheses that use a group of words, by default the ten semantic buckets, and on all others.

    Returns a row for each group that occurs, worst first: label, n, n_wrong, value (accuracy), low, high, difference
    (inside minus outside, NaN where a group holds all rows), n_undefined (resamples that leave one of the two empty).
    """
    sentences = pairs.set_index("pair_id")["hypothesis"].reindex(table["pair_id"])
    flags = keyword_flags(sentences.tolist(), groups)
    hit = right_of(table).astype(np.float64)
    resampler, rows = stage.resampler(table["group_id"]), []
    for name in flags.columns[flags.any()]:
        inside = flags[name].to_numpy()
        own = resampler.of(inside).mean(hit[inside], span=SHARE)
        gap = NOTHING if inside.all() else resampler.interval(partial(mean_gap, hit, inside))
        row = {"label": name, "n": int(inside.sum()), "n_wrong": int((1 - hit[inside]).sum())}
        row |= {"value": own.value, "low": own.low, "high": own.high}
        rows.append(row | with_bounds("difference", gap) | {"n_undefined": gap.n_undefined})
    columns = ["label", "n", "n_wrong", "value", "low", "high", *columns_of("difference"), "n_undefined"]
    return pd.DataFrame(rows, columns=columns).sort_values("value", kind="stable", ignore_index=True)
