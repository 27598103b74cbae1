"""What the page on independent sets measures: scores, calibration and decisions on splits of another distribution.

A source may lack one or both independent splits. Tables then lack their rows, their numbers are NaN (shown as "not
defined"), and a sentence says what is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from verdict.calibration_study import mean_interval
from verdict.data.images import ImageStore
from verdict.deferral import Calibrated, Evidence, case_of, gather, gather_both
from verdict.evaluation import Selection, accuracy_by, estimate
from verdict.labels import Split, class_names
from verdict.metrics import accuracy, macro_f1
from verdict.numbers import Number
from verdict.people import People
from verdict.policy import Costs, Decision, Policy, realised
from verdict.predict import DecisionRule, logits_of
from verdict.scores import softmax
from verdict.stage import Stage
from verdict.uncertainty import Interval, Statistic, percentile_interval, replicates, with_bounds

INDEPENDENT_SPLITS = (Split.INDEPENDENT, Split.INDEPENDENT_HAND)
NAMES = {Split.INDEPENDENT: "the generated independent set", Split.INDEPENDENT_HAND: "the hand-written independent set"}
STREAM = 41


def read_tables(stage: Stage, kept: Selection) -> dict[str, pd.DataFrame]:
    """Prediction tables of test and of the independent splits that there are, test first."""
    found = {
        split: stage.predictions(split, trial=kept.trial, seed=kept.seed) for split in (Split.TEST, *INDEPENDENT_SPLITS)
    }
    return {str(split): table for split, table in found.items() if len(table)}


def absent(tables: Mapping[str, pd.DataFrame]) -> str:
    """A sentence that names the independent sets which this data does not have."""
    missing = [name for split, name in NAMES.items() if str(split) not in tables]
    if not missing:
        return "Both independent sets are there: the generated one and the hand-written one."
    if len(missing) == len(NAMES):
        return "**This data has no independent set:** the question stays open, and the tables hold test alone."
    return f"This data does not have {missing[0]}; its rows are missing below."


def scores_by_split(stage: Stage, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracy and macro-F1 of each split, and their differences to test.

    Returns
    -------
    DataFrame
        split, n_pairs, accuracy, macro_f1, macro_f1_change, with intervals; a change is the split minus test, its
        interval resamples the two splits independently. Numbers `<split>.accuracy`, `.macro_f1`, `.accuracy_change`,
        `.macro_f1_change`, `.n_pairs`, `.n_images` of every independent split, NaN where it is absent.
    """
    rows, scores = [], {"accuracy": accuracy, "macro_f1": _macro_f1}
    for split, table in tables.items():
        found = estimate(table, prefix=split, stage=stage, names=tuple(scores))
        row: dict[str, object] = {"split": split, "n_pairs": len(table)}
        for name in scores:
            number = found[f"{split}.{name}"]
            row |= with_bounds(name, number)
        for name, score in scores.items():
            if split == Split.TEST:
                continue
            change = _unpaired(
                stage, _scored(score, table), table, _scored(score, tables[Split.TEST]), tables[Split.TEST]
            )
            unit = "%" if name == "accuracy" else ""
            found[f"{split}.{name}_change"] = change.number(n=len(table), split=split, unit=unit)
            if name == "macro_f1":
                row |= with_bounds("macro_f1_change", change)
        if split != Split.TEST:
            stage.numbers.merge(found)
        rows.append(row)
    _fill(stage, tables, ("accuracy", "macro_f1", "accuracy_change", "macro_f1_change", "n_pairs", "n_images"))
    return pd.DataFrame(rows)


def skills(stage: Stage, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracy by family of statements and split: family, n, value, low, high, split, label, group; by family.

    Data without families has one row a split, "all".
    """
    pairs = stage.pairs(*tables)
    parts = [
        accuracy_by(table, pairs, "family", stage=stage).rename(columns={"label": "family"}).assign(split=split)
        for split, table in tables.items()
    ]
    found = pd.concat(parts, ignore_index=True)
    found["label"], found["group"] = found["family"] + ", " + found["split"], found["split"]
    order = {split: place for place, split in enumerate(tables)}
    found = found.assign(place=found["split"].map(order)).sort_values(["family", "place"], kind="stable")
    return found.drop(columns="place").reset_index(drop=True)


def hand_written(stage: Stage, tables: Mapping[str, pd.DataFrame], temperature: float) -> pd.DataFrame:
    """Every hand-written sentence with the model's answer.

    Returns
    -------
    DataFrame
        image (number from 1), image_id, hypothesis, label, answer, prob (calibrated, of the answer), is_right; no rows
        if there is no hand-written set.
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


def mismatch_template(sentences: pd.DataFrame) -> str:
    """What the hand-written set shows, as a template for `say`; or that there is none."""
    if not len(sentences):
        return "This data has no hand-written set."
    return (
        "{independent_hand.n_wrong} of {independent_hand.n_sentences} hand-written sentences were answered wrongly; "
        "accuracy there is {independent_hand.accuracy}."
    )


def gallery_of(stage: Stage, sentences: pd.DataFrame) -> dict[str, Any]:
    """Images and titles of the hand-written set, in the order of their numbers, for `show_gallery`."""
    store = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    images, titles = [], []
    for (number, image_id), part in sentences.groupby(["image", "image_id"], sort=True):
        images.append(store.thumbnail(image_id))
        titles.append(f"{number}: {int(part['is_right'].sum())} of {len(part)} right")
    return {"images": images, "titles": titles}


def gather_splits(
    stage: Stage, tables: Mapping[str, pd.DataFrame], calibrated: Calibrated, kept: Selection
) -> dict[str, Evidence]:
    """Evidence of each split; of test only the pairs that did not tune the policy."""
    return {
        split: gather_both(stage, calibrated, kept)[1]
        if split == Split.TEST
        else gather(stage, split, calibrated, kept)
        for split in tables
    }


def decisions_by_split(
    stage: Stage, evidence: Mapping[str, Evidence], people: People, costs: Costs, policy: Policy
) -> pd.DataFrame:
    """What the policy does on each split.

    Returns
    -------
    DataFrame
        split, n, auto, clarify, human (shares), auto_error (error rate of what went out alone; NaN if nothing did),
        error (of all final answers, expected over people), cost, always_auto, always_human (means), with intervals.
        Numbers `<split>.auto_share`, `.auto_error`, `.policy_cost`, `.policy_gain` (cost of always asking a person
        minus the policy's, paired).
    """
    rows = []
    for split, found in evidence.items():
        case = case_of(found, people, costs)
        decision, cost = case.decide(policy), case.outcomes.cost
        alone = decision == Decision.AUTO
        paid = realised(cost, decision)
        means = {
            "error": realised(case.outcomes.error, decision),
            "cost": paid,
            "always_auto": cost[:, Decision.AUTO],
            "always_human": cost[:, Decision.HUMAN],
            "gain": cost[:, Decision.HUMAN] - paid,
        }
        estimates = {name: mean_interval(stage, values, found.groups, "scores") for name, values in means.items()}
        shares = {branch.text: float((decision == branch).mean()) for branch in Decision}
        errors = mean_interval(stage, found.is_wrong[alone].astype(float), found.groups[alone], "scores")
        shown = ("error", "cost", "always_auto", "always_human")
        columns = [with_bounds("auto_error", errors), *(with_bounds(name, estimates[name]) for name in shown)]
        rows.append(
            {"split": split, "n": len(found), **shares, **{k: v for column in columns for k, v in column.items()}}
        )
        shared = {"n": len(found), "split": split}
        stage.number(f"{split}.auto_share", shares["auto"], unit="%", **shared)
        stage.numbers[f"{split}.auto_error"] = errors.number(n=int(alone.sum()), split=split, unit="%")
        stage.numbers[f"{split}.policy_cost"] = estimates["cost"].number(unit="min", **shared)
        stage.numbers[f"{split}.policy_gain"] = estimates["gain"].number(unit="min", **shared)
    _fill(stage, evidence, ("auto_share", "auto_error", "policy_cost", "policy_gain"))
    return pd.DataFrame(rows)


def store_transfer(stage: Stage, found: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
    """Numbers of the independent splits from `transfer`: `<split>.nll`, `.excess_nll`, `.ece`, `.ece_at_oracle` …"""
    for row in found.to_dict("records"):
        if row["split"] == Split.TEST:
            continue
        shared = {"n": row["n"], "split": row["split"]}
        for name in ("nll", "oracle_temperature"):
            stage.number(f"{row['split']}.{name}", row[name], **shared)
        for name in ("excess_nll", "ece", "ece_at_oracle"):
            interval = Interval.from_columns(row, name)
            stage.numbers[f"{row['split']}.{name}"] = interval.number(**shared)
    _fill(stage, tables, ("nll", "excess_nll", "ece", "ece_at_oracle", "oracle_temperature", "coverage"))


def answer_template(tables: Mapping[str, pd.DataFrame], decisions: pd.DataFrame) -> str:
    """The answer of the page as a template for `say`, over the sets that there are."""
    alone, parts = decisions.set_index("split")["auto"], []
    for split, name in NAMES.items():
        if str(split) not in tables:
            continue
        wrong = ", {%.auto_error} of them wrong" if alone[str(split)] > 0 else ""
        text = (
            f"On {name} ({{%.n_pairs}} pairs, {{%.n_images}} images) the kept model answers {{%.accuracy}} rightly; "
            "macro-F1 is {%.macro_f1}, a change of {%.macro_f1_change} from test. At the transferred temperature ECE "
            "is {%.ece}, and sets that promise {%.level} cover {%.coverage}. The policy lets {%.auto_share} of the "
            f"pairs go out alone{wrong}, and saves {{%.policy_gain}} a pair against always asking a person "
            "(below zero: it loses)."
        )
        parts.append(text.replace("{%", "{" + str(split)))
    return "\n\n".join(parts) or "This data has no independent set, so nothing is known about another distribution."


def _fill(stage: Stage, present: Mapping[str, object], names: tuple[str, ...]) -> None:
    """Give absent splits numbers that say so, so that prose which names them can be rendered."""
    for split in INDEPENDENT_SPLITS:
        if str(split) not in present:
            for name in names:
                stage.numbers[f"{split}.{name}"] = Number(float("nan"), split=str(split))


def _macro_f1(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return macro_f1(y_true, y_pred, int(max(y_true.max(), y_pred.max())) + 1, weights)


def _scored(score: Any, table: pd.DataFrame) -> Statistic:
    return partial(score, table["y_true"].to_numpy(), DecisionRule().decide(logits_of(table)))


def _unpaired(
    stage: Stage, first: Statistic, first_rows: pd.DataFrame, second: Statistic, second_rows: pd.DataFrame
) -> Interval:
    """First minus second, for two samples that share nothing."""
    settings = stage.params.statistics
    drawn = [
        replicates(statistic, rows["group_id"], n_resamples=settings.n_resamples, rng=stage.rng(STREAM, place))
        for place, (statistic, rows) in enumerate(((first, first_rows), (second, second_rows)))
    ]
    value = float(first(None)) - float(second(None))
    return percentile_interval(value, drawn[0] - drawn[1], level=settings.level)
