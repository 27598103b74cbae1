"""From prediction tables to numbers with intervals: one model, one group, a comparison, a choice.

Intervals are percentile intervals over resampled groups of images; over several seeds, groups and seeds are resampled
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.labels import Split, class_names
from verdict.metrics import accuracy, brier, class_scores, confusion_counts, ece, macro_f1, nll, weighted_mean
from verdict.numbers import Number, Numbers
from verdict.params import TrialParams
from verdict.predict import DecisionRule, logits_of
from verdict.stage import Stage
from verdict.stages import RECORDED_RUN, TRIAL_STAGE, runs
from verdict.uncertainty import (
    Interval,
    Statistic,
    Weights,
    bootstrap,
    clustered_mcnemar,
    compare,
    expected_best_of,
    holm,
    mcnemar,
    wilson,
    with_bounds,
)

RAW = DecisionRule()
BLIND = "test.hypothesis_only"
DIFFERENT = "different"
STREAM = {"estimate": 1, "by": 2, "compare": 3}


def estimate(
    table: pd.DataFrame, *, prefix: str, stage: Stage, rule: DecisionRule = RAW, names: tuple[str, ...] | None = None
) -> Numbers:
    """Scores of one prediction table.

    Named `<prefix>.accuracy`, `.macro_f1`, `.nll`, `.brier`, `.ece`, `.n_pairs` and `.n_images`.

    Parameters
    ----------
    table : prediction table of one split
    rule : DecisionRule
        Turns logits into probabilities and answers.
    names : tuple of str, optional
        Only these scores.
    """
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    probs, answer = rule.probabilities(logits), rule.decide(logits)
    scores = {
        "accuracy": lambda w: accuracy(y_true, answer, w),
        "macro_f1": lambda w: macro_f1(y_true, answer, probs.shape[1], w),
        "nll": lambda w: nll(probs, y_true, w),
        "brier": lambda w: brier(probs, y_true, w),
        "ece": lambda w: ece(probs, y_true, w),
    }
    settings = stage.params.statistics
    split, seeds = str(table["split"].iloc[0]), tuple(sorted({int(seed) for seed in table["seed"]}))
    shared = {"n": len(table), "split": split, "seeds": seeds}
    numbers = Numbers({f"{prefix}.n_pairs": Number(len(table), unit="count", split=split)})
    numbers[f"{prefix}.n_images"] = Number(table["image_id"].nunique(), unit="count", split=split)
    for name in names or scores:
        found = bootstrap(
            scores[name],
            table["group_id"].to_numpy(),
            n_resamples=settings.n_resamples,
            rng=stage.rng(STREAM["estimate"]),
            level=settings.level,
        )
        numbers[f"{prefix}.{name}"] = found.number(unit="%" if name == "accuracy" else "", **shared)
    return numbers


def accuracy_by(
    table: pd.DataFrame, pairs: pd.DataFrame, column: str, *, stage: Stage, rule: DecisionRule = RAW
) -> pd.DataFrame:
    """Accuracy by a column of the pair table, with intervals.

    Returns
    -------
    DataFrame
        Columns label, n, value, low, high; sorted by value, descending. Pairs without the column give one row "all".
    """
    labels = pairs.set_index("pair_id")[column] if column in pairs else pd.Series("all", index=pairs["pair_id"])
    of_row = labels.reindex(table["pair_id"]).fillna("other").to_numpy()
    hit = rule.decide(logits_of(table)) == table["y_true"].to_numpy()
    settings, rows = stage.params.statistics, []
    for label in sorted(set(of_row)):
        chosen = of_row == label
        part = hit[chosen].astype(float)
        groups = table["group_id"].to_numpy()[chosen]
        rng = stage.rng(STREAM["by"])
        found = mean_interval(part, groups, n_resamples=settings.n_resamples, rng=rng, level=settings.level)
        rows.append(
            {"label": str(label), "n": int(chosen.sum()), "value": found.value, "low": found.low, "high": found.high}
        )
    return pd.DataFrame(rows).sort_values("value", ascending=False, ignore_index=True)


def mean_interval(
    values: np.ndarray, groups: np.ndarray, *, n_resamples: int, rng: np.random.Generator, level: float = 0.95
) -> Interval:
    """Interval of a share over resampled groups; where all values are equal, Wilson's, which does not vanish.

    Parameters
    ----------
    values : array of 0 and 1, (n,)
    groups : array (n,)
        The independent unit of each row.
    """
    if values.min() == values.max():
        return Interval(float(values.mean()), *wilson(values.sum(), len(values), level=level))
    return bootstrap(partial(weighted_mean, values), groups, n_resamples=n_resamples, rng=rng, level=level)


def per_class(table: pd.DataFrame, decision: np.ndarray) -> pd.DataFrame:
    """Precision, recall, F1 and support of each class."""
    counts = confusion_counts(table["y_true"], decision)
    return pd.DataFrame({"class": class_names(), **class_scores(counts), "support": counts.sum(axis=1)})


def confident_mistakes(table: pd.DataFrame, pairs: pd.DataFrame, *, above: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Wrong answers, most confident first, and how common answers at a probability above a bound are.

    Returns
    -------
    mistakes : DataFrame
        The pairs, with `prob` of the given answer.
    base : DataFrame
        Rows right, wrong, all: n, n_confident, share_confident with its Wilson interval.
    """
    logits = logits_of(table)
    answer, probs = RAW.decide(logits), RAW.probabilities(logits)
    prob = probs[np.arange(len(table)), answer]
    right, confident = answer == table["y_true"].to_numpy(), prob > above
    rows = []
    for name, chosen in (("right", right), ("wrong", ~right), ("all", np.ones(len(table), dtype=bool))):
        n, k = int(chosen.sum()), int((confident & chosen).sum())
        share = Interval(k / max(n, 1), *wilson(k, n))
        rows.append({"answers": name, "n": n, "n_confident": k, **with_bounds("share_confident", share)})
    merged = table[["pair_id"]].assign(prob=prob).merge(pairs, on="pair_id", validate="one_to_one")
    mistakes = merged[~right].sort_values("prob", ascending=False, ignore_index=True)
    return mistakes, pd.DataFrame(rows)


@dataclass(frozen=True)
class Answers:
    """Answers of one trial with several seeds to the same pairs: answers is (n_seeds, n_pairs)."""

    y_true: np.ndarray
    groups: np.ndarray
    answers: np.ndarray
    seeds: tuple[int, ...]

    def statistics(self, metric: str = "macro_f1") -> list[Statistic]:
        """Macro-F1, or accuracy, of each seed's model as a function of row weights."""
        score = {"macro_f1": _macro_f1, "accuracy": _accuracy}[metric]
        return [partial(score, self.y_true, answer) for answer in self.answers]

    def part(self, chosen: np.ndarray) -> Answers:
        """The same models on some of the pairs, (n_pairs,) bool."""
        return Answers(self.y_true[chosen], self.groups[chosen], self.answers[:, chosen], self.seeds)


def _macro_f1(y_true: np.ndarray, answer: np.ndarray, weights: Weights) -> ArrayLike:
    return macro_f1(y_true, answer, weights=weights)


def _accuracy(y_true: np.ndarray, answer: np.ndarray, weights: Weights) -> ArrayLike:
    return accuracy(y_true, answer, weights)


def _nothing(weights: Weights) -> ArrayLike:
    return 0.0 if weights is None else np.zeros(len(weights))


def collect(stage: Stage, trial: str, split: str) -> Answers:
    """Answers of all seeds of a trial to one split.

    Raises
    ------
    ValueError
        If the runs do not answer the same pairs in the same order.
    """
    seeds = stage.params.training.seeds
    tables = [stage.predictions(split, trial=trial, seed=seed) for seed in seeds]
    first = tables[0]
    if any(not table["pair_id"].equals(first["pair_id"]) for table in tables):
        raise ValueError(f"the runs of trial {trial!r} do not answer the same pairs in the same order")
    answers = np.stack([RAW.decide(logits_of(table)) for table in tables])
    return Answers(first["y_true"].to_numpy(), first["group_id"].to_numpy(), answers, tuple(seeds))


def mean_score(stage: Stage, second: Answers, first: Answers | None = None, *, metric: str = "macro_f1") -> Interval:
    """A metric averaged over seeds, or its difference to another trial on the same pairs and seeds.

    The interval covers the choice of images and, with several seeds, training again (see `uncertainty.compare`).
    """
    settings = stage.params.statistics
    found = compare(
        first.statistics(metric) if first else [_nothing] * len(second.seeds),
        second.statistics(metric),
        second.groups,
        n_resamples=settings.n_resamples,
        rng=stage.rng(STREAM["compare"]),
        level=settings.level,
    )
    return found.difference_with_seeds or found.difference


def seed_scores(stage: Stage, split: str = Split.VAL) -> pd.DataFrame:
    """Macro-F1 of every run on one split, with intervals over images."""
    rows = []
    for trial, seed in runs(stage.all_params):
        table = stage.predictions(split, trial=trial, seed=seed)
        found = estimate(table, prefix="run", stage=stage, names=("macro_f1",))["run.macro_f1"]
        role = stage.all_params.trial(trial).role
        rows.append({"trial": trial, "seed": seed, "role": role, **with_bounds("macro_f1", found)})
    return pd.DataFrame(rows)


def _candidates(stage: Stage) -> list[str]:
    return [trial.name for trial in stage.params.training.trials if trial.role == "candidate"]


def n_trainable(stage: Stage, trial: str) -> int:
    """Trained parameters of a trial."""
    seed = stage.params.training.seeds[0]
    numbers = Numbers.load(stage.upstream(TRIAL_STAGE, "numbers.json", trial, seed))
    return int(numbers[f"{trial}_s{seed}.n_trainable"].value)


def rank_trials(stage: Stage, split: str = Split.VAL, *, pairwise: pd.DataFrame | None = None) -> pd.DataFrame:
    """Candidates by mean macro-F1 over seeds, with the spread of seeds and the paired difference to the best.

    Parameters
    ----------
    pairwise : DataFrame, optional
        What `differences` gave for the split, so that it is not computed again.

    Returns
    -------
    DataFrame
        trial, n_trainable, mean macro_f1 with interval, seed_sd, difference with interval, is_tied (not shown to differ
        from the best, see `differences`), best first.
    """
    pairwise = differences(stage, split) if pairwise is None else pairwise
    unlike = {frozenset(row) for row in pairwise.loc[pairwise["verdict"] == DIFFERENT, ["trial", "minus"]].to_numpy()}
    answers = {trial: collect(stage, trial, split) for trial in _candidates(stage)}
    means = {trial: mean_score(stage, answer) for trial, answer in answers.items()}
    best = max(means, key=lambda trial: means[trial].value)
    rows = []
    for trial, mean in sorted(means.items(), key=lambda item: -item[1].value):
        by_seed = [float(statistic(None)) for statistic in answers[trial].statistics()]
        gap = mean_score(stage, answers[trial], answers[best])
        rows.append(
            {
                "trial": trial,
                "n_trainable": n_trainable(stage, trial),
                **with_bounds("macro_f1", mean),
                "seed_sd": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else np.nan,
                **with_bounds("difference", gap),
                "is_tied": frozenset((trial, best)) not in unlike,
            }
        )
    return pd.DataFrame(rows)


def differences(stage: Stage, split: str = Split.VAL) -> pd.DataFrame:
    """Every two candidates on the same pairs and seeds: differences with intervals, and tests of equal accuracy.

    Intervals cover images and, with several seeds, training again; the tests take the trained models as they are, all
    seeds together. The plain one counts every answer as independent, which answers about one image are not.

    Returns
    -------
    DataFrame
        One row a pair of trials: trial, minus; macro_f1 and accuracy (differences, with low and high); n01 (answers
        that `minus` got wrong and `trial` right) and n10 (the other way round), p_mcnemar (exact, plain), p_clustered
        (images as the unit), p_holm (p_clustered adjusted for the number of rows), verdict. Two trials are called
        different where the interval of macro-F1 excludes zero and p_holm lies below one minus the level.
    """
    answers = {trial: collect(stage, trial, split) for trial in _candidates(stage)}
    rows = []
    for first, second in combinations(answers, 2):
        row: dict[str, object] = {"trial": second, "minus": first}
        for metric in ("macro_f1", "accuracy"):
            gap = mean_score(stage, answers[second], answers[first], metric=metric)
            row |= with_bounds(metric, gap)
        rows.append(row | discordance(answers[first], answers[second]))
    columns = ["trial", "minus", *(f"{m}{end}" for m in ("macro_f1", "accuracy") for end in ("", "_low", "_high"))]
    table = pd.DataFrame(rows, columns=[*columns, "n01", "n10", "p_mcnemar", "p_clustered"])
    table["p_holm"] = holm(table["p_clustered"].to_numpy(dtype=np.float64))
    is_apart = (table["macro_f1_low"] > 0) | (table["macro_f1_high"] < 0)
    is_shown = is_apart & (table["p_holm"] < 1 - stage.params.statistics.level)
    return table.assign(verdict=np.where(is_shown.to_numpy(dtype=bool), DIFFERENT, "no difference shown"))


def discordance(first: Answers, second: Answers) -> dict[str, object]:
    """Answers of all seeds that are right in one trial alone, and p-values of "both are right equally often"."""
    right = [(trial.answers == trial.y_true).ravel() for trial in (first, second)]
    groups = np.tile(first.groups, len(first.seeds))
    return {
        "n01": int((right[1] & ~right[0]).sum()),
        "n10": int((right[0] & ~right[1]).sum()),
        "p_mcnemar": mcnemar(*right),
        "p_clustered": clustered_mcnemar(*right, groups),
    }


@dataclass(frozen=True)
class Selection:
    """The kept configuration and the seed whose weights go on.

    Attributes
    ----------
    trial : str
    seed : int
    cheapest : str
        The candidate with fewest trained parameters.
    unfrozen : str
        What is compared with it: the kept trial, or the best of the others where the cheapest itself is kept.
    numbers : Numbers
    """

    trial: str
    seed: int
    cheapest: str
    unfrozen: str
    numbers: Numbers = field(default_factory=Numbers)

    @property
    def table(self) -> pd.DataFrame:
        """The choice as a table of one row."""
        values = {"trial": self.trial, "seed": self.seed, "cheapest": self.cheapest, "unfrozen": self.unfrozen}
        return pd.DataFrame([values])

    def references(self, stage: Stage) -> pd.DataFrame:
        """Scores on test of the kept model and of what it must beat; also stored as numbers."""
        return _references(self, stage)


def choose(stage: Stage, ranking: pd.DataFrame) -> Selection:
    """Keep, of the candidates tied with the best.

    The one with fewest trained parameters; of its seeds, the best on val.
    """
    tied = ranking[ranking["is_tied"]].sort_values("n_trainable", kind="stable")
    trial = str(tied["trial"].iloc[0])
    cheapest = str(ranking.sort_values("n_trainable", kind="stable")["trial"].iloc[0])
    answers = collect(stage, trial, Split.VAL)
    by_seed = [float(statistic(None)) for statistic in answers.statistics()]
    seed = answers.seeds[int(np.argmax(by_seed))]
    kept = stage.predictions(Split.VAL, trial=trial, seed=seed)
    numbers = estimate(kept, prefix="selection", stage=stage, names=("macro_f1",))
    others = [name for name in ranking["trial"] if name != cheapest]
    unfrozen = others[0] if trial == cheapest and others else trial
    for name, which in (("n_trainable_unfrozen", unfrozen), ("n_trainable_frozen", cheapest)):
        numbers[f"selection.{name}"] = Number(n_trainable(stage, which), unit="count")
    selection = Selection(trial, seed, cheapest, unfrozen, numbers)
    numbers.merge(gain(stage, selection, split=Split.VAL, prefix="selection"))
    return selection


def load_selection(stage: Stage) -> Selection:
    """What model selection kept; saved logits are the one model that there is."""
    if stage.is_recorded:
        return Selection(*RECORDED_RUN, RECORDED_RUN[0], RECORDED_RUN[0])
    row = pd.read_parquet(stage.upstream("04_model_selection", "selection.parquet")).iloc[0]
    return Selection(str(row["trial"]), int(row["seed"]), str(row["cheapest"]), str(row["unfrozen"]))


def gain(stage: Stage, kept: Selection, *, split: str, prefix: str | None = None) -> Numbers:
    """Macro-F1 of the selection's unfrozen trial minus that of the one with fewest trained parameters.

    Averaged over seeds: `<prefix>.gain_over_frozen`.
    """
    found = mean_score(stage, collect(stage, kept.unfrozen, split), collect(stage, kept.cheapest, split))
    seeds = tuple(stage.params.training.seeds)
    return Numbers({f"{prefix or split}.gain_over_frozen": found.number(split=str(split), seeds=seeds)})


def noise_of_best(stage: Stage, scores: pd.DataFrame) -> pd.DataFrame:
    """How far the best of n equal runs stands above their mean through seed noise alone, beside the observed lead.

    The expected maximum of n independent normal draws is mean + c_n · SD; SD is pooled over the candidates' seeds.
    """
    candidates = scores[scores["role"] == "candidate"]
    means = candidates.groupby("trial")["macro_f1"].mean()
    pooled = float(np.sqrt(candidates.groupby("trial")["macro_f1"].var(ddof=1).mean()))
    n_seeds = int(candidates.groupby("trial").size().iloc[0])
    of_means = pooled / np.sqrt(n_seeds)
    expected = expected_best_of(len(means), sd=of_means)
    rows = {
        "candidates compared": len(means),
        "SD of one run (pooled over seeds)": pooled,
        "SD of a trial's mean": of_means,
        "lead of the best expected from noise": expected,
        "lead of the best observed": float(means.max() - means.mean()),
    }
    return pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})


def _references(kept: Selection, stage: Stage) -> pd.DataFrame:
    """Majority label, controls, wrong image, frozen encoders, kept model: accuracy and macro-F1 on test.

    A profile without the control leaves its number undefined, and a claim about it does not hold.
    """
    train = stage.pairs(Split.TRAIN)["label"]
    frequent = class_names().index(str(train.value_counts().idxmax()))
    table = stage.predictions(Split.TEST, trial=kept.trial, seed=kept.seed)
    majority = table.assign(logit_1=1.0 if frequent else -1.0)
    shuffled = pd.read_parquet(stage.upstream(TRIAL_STAGE, "shuffled.parquet", kept.trial, kept.seed))
    rows = [_reference(stage, "always the more frequent label of train", majority, "test.majority")]
    for trial in stage.params.training.trials:
        if trial.role == "control":
            own = [seed for name, seed in runs(stage.all_params) if name == trial.name]
            blind = stage.predictions(Split.TEST, trial=trial.name, seed=kept.seed if kept.seed in own else own[0])
            rows.append(_reference(stage, f"{trial.name}: the network {_missing(trial)}", blind, f"test.{trial.name}"))
    if BLIND not in stage.numbers:
        stage.numbers[BLIND] = Number(float("nan"), float("nan"), float("nan"), split=Split.TEST)
    rows.append(_reference(stage, "the kept model shown another pair's image", shuffled, "test.shuffled"))
    frozen = stage.predictions(Split.TEST, trial=kept.cheapest, seed=kept.seed)
    rows.append(_reference(stage, f"{kept.cheapest}: fewest trained parameters", frozen, "test.cheapest"))
    rows.append(_reference(stage, f"{kept.trial}: the kept model", table, "test.kept"))
    return pd.DataFrame(rows)


def _missing(trial: TrialParams) -> str:
    """What a control is not shown."""
    blank = [name for name, shown in (("image", trial.image), ("hypothesis", trial.text)) if shown == "blank"]
    return f"without the {' and the '.join(blank)}" if blank else "as a control"


def _reference(stage: Stage, name: str, table: pd.DataFrame, number: str) -> dict[str, object]:
    found = estimate(table, prefix="reference", stage=stage, names=("accuracy", "macro_f1"))
    score, right = found["reference.macro_f1"], found["reference.accuracy"]
    if number not in stage.numbers:
        stage.numbers[number] = Number(
            right.value, right.low, right.high, n=right.n, split=right.split, seeds=right.seeds
        )
    return {"answers": name, **with_bounds("accuracy", right), **with_bounds("macro_f1", score)}
