"""Where the kept model errs: by the threshold of its decision, and by the words of the hypothesis."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base.labels import class_names
from verdict.base.numbers import EXACT
from verdict.data.statements import SEMANTIC_WORDS, keyword_flags
from verdict.model.predict import RAW, DecisionRule, logits_of, right_of
from verdict.pages.evaluation import SeedAnswers, mean_score
from verdict.pages.tables import SHARE, about
from verdict.stats.metrics import confusion_counts, macro_f1_of, nll_of_logit_rows
from verdict.stats.uncertainty import NOTHING, columns_of, linked_ratio, with_bounds
from verdict.stats.weighted import mean_gap
from verdict.workflow.stage import Stage

# The study's grid: 0.05 to 0.95 in steps of 0.05, as probabilities of contradiction.
THRESHOLDS = np.arange(1, 20) / 20
# A picture of more classes can be read no more.
DRAWN_CLASSES = 20


def confusion_table(table: pd.DataFrame, decision: ArrayLike, classes: Sequence[str] = class_names()) -> pd.DataFrame:
    """Pairs by true class (rows, in the column `truth`) and answer (one column a class)."""
    counts = confusion_counts(table["y_true"], decision, len(classes)).astype(int)
    return pd.DataFrame(counts, columns=list(classes), index=pd.Index(classes, name="truth"))


def shared_parts(table: pd.DataFrame, *, stage: Stage) -> None:
    """Numbers `<split>.linked.accuracy`, `.nll`, `…_by_chance` of these, where images share parts: `linked_ratio`."""
    shared = pd.read_parquet(stage.upstream("01_data", "shared.parquet"))
    shared = shared[shared["image_id"].isin(table["image_id"])]
    if shared.empty:
        return
    holds = pd.crosstab(shared["image_id"], shared["part"]).reindex(table["image_id"].unique()).dropna() > 0
    losses = {"accuracy": right_of(table), "nll": nll_of_logit_rows(logits_of(table), table["y_true"])}
    described = about(stage, table)
    for name, values in losses.items():
        of_images = pd.Series(values - np.mean(values)).groupby(table["image_id"].to_numpy()).sum()[holds.index]
        found = linked_ratio(of_images.to_numpy(), holds.to_numpy(), stage.rng("linked", described["split"]))
        for key, value in zip((name, f"{name}_by_chance"), found, strict=True):
            stage.number(f"{described['split']}.linked.{key}", value, kind=EXACT, **described)


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
    ValueError if a prediction has no pair.
    """
    sentences = pairs.set_index("pair_id")["hypothesis"].reindex(table["pair_id"])
    if sentences.isna().any():
        raise ValueError(f"{int(sentences.isna().sum())} predictions have no pair, the first: {sentences.index[0]!r}")
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
