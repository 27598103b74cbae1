"""What the page on independent sets measures: scores, calibration and decisions on splits of another distribution.

A source may lack one or both independent splits. Tables then lack their rows, their numbers are not defined, and a
sentence says what is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.labels import HALF_NEW_SPLITS, INDEPENDENT_SPLITS, Split, class_names, in_words
from verdict.base.numbers import COUNT, ESTIMATE, EXACT, POINTS, Number
from verdict.decide.policy import Costs, Decision, Policy, realised
from verdict.decide.takeover import People
from verdict.model.predict import DecisionRule, logits_of
from verdict.model.selection import Selection
from verdict.pages.decisions import auto_error
from verdict.pages.deferral import Calibrated, Evidence, case_of, gather, gather_both
from verdict.pages.evaluation import accuracy_by
from verdict.pages.tables import GAP, NOTHING, SHARE, bounded, store, store_counts
from verdict.stats.metrics import macro_f1
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Interval, Statistic
from verdict.stats.weighted import weighted_mean
from verdict.workflow.stage import Stage

# Where it cannot help, a policy may cost so much of always asking more.
DEARER = 0.05


def read_tables(stage: Stage, kept: Selection) -> dict[str, pd.DataFrame]:
    """Prediction tables of test, of the independent splits and of those that are half new, as far as there are any."""
    splits = (Split.TEST, *INDEPENDENT_SPLITS, *HALF_NEW_SPLITS)
    found = {split: stage.predictions(split, trial=kept.trial, seed=kept.seed) for split in splits}
    return {str(split): table for split, table in found.items() if len(table)}


def scores_by_split(stage: Stage, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracy and macro-F1 of each split, beside guessing and beside test.

    Returns split, n; with intervals accuracy, guessing (accuracy of always giving the split's most frequent class),
    gain_over_guessing (the first minus the second, paired), macro_f1, accuracy_change and macro_f1_change (the split
    minus test, which are resampled independently). The same stand as numbers `<split>.<name>` of every independent
    split, with `.n_pairs` and `.n_images`; they are not defined where it is absent.
    """
    rows, of_test = [], {}
    for split, table in tables.items():
        draws, (hit, common, macro) = stage.resampler(table["group_id"]), _answers(table)
        means = draws.means(np.column_stack([hit, common, hit - common]), [SHARE, SHARE, GAP])
        found = dict(zip(("accuracy", "guessing", "gain_over_guessing"), means, strict=True))
        found["macro_f1"] = draws.interval(macro)
        drawn = {"accuracy": draws.replicates(partial(weighted_mean, hit)), "macro_f1": draws.replicates(macro)}
        of_test = of_test or {name: (found[name].value, drawn[name]) for name in drawn}
        for name, (value, replicates) in of_test.items():
            change = draws.around(found[name].value - value, drawn[name] - replicates)
            found[f"{name}_change"] = NOTHING if split == Split.TEST else change
        rows.append({"split": split, "n": len(table)} | bounded(found))
        if split != Split.TEST:
            counts = {"n_pairs": len(table)} | ({} if stage.is_recorded else {"n_images": table["image_id"].nunique()})
            store(stage, split, found, _UNITS, n=len(table), split=split)
            store_counts(stage, split, counts, split=split)
    _fill(stage, tables, (*_UNITS, "n_pairs", "n_images"))
    return pd.DataFrame(rows)


_UNITS = {"accuracy": "%", "guessing": "%", "gain_over_guessing": POINTS, "macro_f1": ""}
_UNITS |= {"accuracy_change": POINTS, "macro_f1_change": ""}


def _answers(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, Statistic]:
    """Whether each answer is right, whether the split's most frequent class is, each (n,), and macro-F1."""
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    answer, n_classes = DecisionRule().decide(logits), logits.shape[1]
    common = int(np.bincount(y_true, minlength=n_classes).argmax())
    macro = partial(macro_f1, y_true, answer, n_classes)
    return (answer == y_true).astype(float), (y_true == common).astype(float), macro


def skills(stage: Stage, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracy by family of statements and split: family, n, value, low, high, split, label, group; by family.

    Splits that are half new are left out.
    Data without families has none; their number is `independent.n_families`.
    """
    tables = {split: table for split, table in tables.items() if split not in HALF_NEW_SPLITS}
    pairs = stage.pairs(*tables)
    n_families = pairs["family"].nunique() if "family" in pairs else 0
    stage.number("independent.n_families", n_families, unit="count")
    if not n_families:
        return pd.DataFrame(columns=["family", "n", "value", "low", "high", "split", "label", "group"])
    parts = [accuracy_by(table, pairs, "family", stage=stage).assign(split=split) for split, table in tables.items()]
    found = pd.concat(parts).rename(columns={"label": "family"}).sort_values("family", kind="stable", ignore_index=True)
    return found.assign(label=found["family"].map(in_words) + ", " + found["split"].map(in_words), group=found["split"])


def hand_written(stage: Stage, tables: Mapping[str, pd.DataFrame], temperature: float) -> pd.DataFrame:
    """Every hand-written sentence with the model's answer.

    Returns image (number from 1), image_id, hypothesis, label, answer, prob (calibrated, of the answer), is_right; no
    rows if there is no hand-written set.
    """
    columns = ["image", "image_id", "hypothesis", "label", "answer", "prob", "is_right"]
    if Split.INDEPENDENT_HAND not in tables:
        return pd.DataFrame(columns=columns)
    table = tables[Split.INDEPENDENT_HAND]
    pairs = stage.pairs(Split.INDEPENDENT_HAND).set_index("pair_id")
    logits = logits_of(table)
    answer, probs = DecisionRule(temperature).decide(logits), softmax(logits / temperature)
    names = np.array(class_names(), dtype=object)
    found = table[["image_id"]].reset_index(drop=True)
    found["hypothesis"] = pairs["hypothesis"].reindex(table["pair_id"]).to_numpy()
    found["image"] = pd.factorize(found["image_id"], sort=True)[0] + 1
    found["label"], found["answer"] = names[table["y_true"].to_numpy()], names[answer]
    found["prob"], found["is_right"] = probs[np.arange(len(table)), answer], answer == table["y_true"].to_numpy()
    return found[columns].sort_values("image", kind="stable", ignore_index=True)


def gallery_of(stage: Stage, sentences: pd.DataFrame) -> dict[str, Any]:
    """Images and titles of the hand-written set, in the order of their numbers, for `show_gallery`."""
    images = stage.images()
    by_image = sentences.groupby(["image", "image_id"], sort=True)["is_right"]
    return {
        "images": [images.thumbnail(image_id) for (_, image_id), _ in by_image],
        "titles": [f"{number}: {int(right.sum())} of {len(right)} right" for (number, _), right in by_image],
    }


def gather_splits(
    stage: Stage, tables: Mapping[str, pd.DataFrame], calibrated: Calibrated, kept: Selection
) -> dict[str, Evidence]:
    """Evidence of each split; of test only the pairs that did not tune the policy."""
    elsewhere = {split: gather(stage, split, calibrated, kept) for split in tables if split != Split.TEST}
    return {str(Split.TEST): gather_both(stage, calibrated, kept)[1]} | elsewhere


def decisions_by_split(
    stage: Stage, evidence: Mapping[str, Evidence], people: People, costs: Costs, policy: Policy
) -> pd.DataFrame:
    """What the policy does on each split.

    Returns split, n; auto, clarify, human (shares); auto_error (error rate of what went out alone; NaN if nothing did),
    error (of all final answers, expected over people), cost, always_auto, always_human (means), gain (cost of always
    asking a person minus the policy's, paired) and room (gain and a twentieth of always asking), with intervals.
    Numbers `<split>.auto_share`, `.auto_error`, `.policy_cost`, `.policy_gain`, `.policy_room` of independent splits.
    """
    rows = []
    for split, found in evidence.items():
        case, draws = case_of(found, people, costs), stage.resampler(found.groups)
        decision = case.decide(policy)
        row = {branch.text: draws.mean(decision == branch, span=SHARE) for branch in Decision}
        row["auto_error"] = auto_error(stage, case, policy, split)
        cost, error = case.means(decision, draws)
        row |= {"error": error, "cost": cost}
        for branch in (Decision.AUTO, Decision.HUMAN):
            row[f"always_{branch.text}"] = case.means(np.full(len(found), branch), draws)[0]
        saved = case.outcomes.cost[:, Decision.HUMAN] - realised(case.outcomes.cost, decision)
        # Where everything is asked, the policy is always asking: an identity, and no estimate.
        span = None if (decision == Decision.HUMAN).all() else (-case.outcomes.dearest, case.outcomes.dearest)
        row["gain"] = draws.mean(saved, span=span)
        most = DEARER * row["always_human"].value
        room = Interval(*(most + getattr(row["gain"], end) for end in ("value", "low", "high")))
        rows.append({"split": split, "n": len(found)} | bounded(row | {"room": room}))
        if split != Split.TEST:
            stored = {"policy_cost": row["cost"], "policy_gain": row["gain"], "policy_room": room}
            for name, interval in stored.items():
                number = interval.number(n=len(found), split=split, unit="min")
                stage.numbers[f"{split}.{name}"] = replace(number, kind=EXACT) if number.low is None else number
            store(stage, split, {"auto_share": row["auto"]}, {"auto_share": "%"}, n=len(found), split=split)
            stage.numbers[f"{split}.auto_error"] = row["auto_error"]
    _fill(stage, evidence, ("auto_share", "auto_error", "policy_cost", "policy_gain", "policy_room"))
    return pd.DataFrame(rows)


def store_transfer(stage: Stage, found: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
    """Numbers of the independent splits from `transfer`: `<split>.excess_nll`, `.ece` and `.ece_at_oracle`."""
    names = ("excess_nll", "ece", "ece_at_oracle")
    for row in found[found["split"] != Split.TEST].to_dict("records"):
        stored = {name: Interval.from_columns(row, name) for name in names}
        store(stage, row["split"], stored, n=row["n"], split=row["split"])
    _fill(stage, tables, (*names, "coverage"))


def _fill(stage: Stage, present: Mapping[str, object], names: tuple[str, ...]) -> None:
    """Give absent splits numbers that say so, so that prose which names them can be rendered."""
    for split in (split for split in INDEPENDENT_SPLITS if split not in present):
        for name in names:
            value, kind = (0.0, COUNT) if name.startswith("n_") else (np.nan, ESTIMATE)
            stage.numbers[f"{split}.{name}"] = Number(value, split=str(split), kind=kind)
