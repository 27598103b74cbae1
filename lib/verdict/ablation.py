"""What one change to a trial does: the trial minus its twin, which differs from it in that change alone.

A comparison of trials that differ in more than one thing says nothing about any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from verdict.evaluation import collect, mean_score
from verdict.labels import Split
from verdict.oversample import bucket_flags
from verdict.params import TrialParams, trial_difference
from verdict.stage import Stage
from verdict.uncertainty import with_bounds

# Changes that are looked for, as the parameters of the twin that lacks them.
FACTORS: dict[str, dict[str, Any]] = {
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

    def number(self, place: int, metric: str) -> str:
        """Name of a stored difference: on all pairs (0), or on the bucket of that place, counted from 1."""
        return ".".join(["ablation", self.trial.name, self.factor, *([f"bucket_{place}"] if place else []), metric])


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
        (one.trial.name, one.twin.name, name, str(in_trial), str(in_twin))
        for one in ablations
        for name, (in_twin, in_trial) in trial_difference(one.twin, one.trial).items()
    ]
    return pd.DataFrame(rows, columns=["trial", "twin", "parameter", "in_trial", "in_twin"])


def ablation_table(stage: Stage, ablations: Sequence[Ablation], split: str = Split.VAL) -> pd.DataFrame:
    """Each trial minus its twin on the same pairs and seeds, on all pairs and on each bucket that it oversamples.

    Differences are stored as numbers too, under `Ablation.number`. Their intervals cover images and, with several
    seeds, training again.

    Returns
    -------
    DataFrame
        trial, minus, on, n, accuracy and macro_f1 (differences, with low and high). A bucket without pairs is left out.
    """
    pairs = stage.pairs(split)
    flags = bucket_flags(pairs).set_index(pairs["pair_id"]) if ablations else pd.DataFrame()
    rows = [row for one in ablations for row in _rows(stage, one, flags, split)]
    ends = ("", "_low", "_high")
    columns = ["trial", "minus", "on", "n", *(f"{metric}{end}" for metric in METRICS for end in ends)]
    return pd.DataFrame(rows, columns=columns)


def _rows(stage: Stage, one: Ablation, flags: pd.DataFrame, split: str) -> list[dict[str, Any]]:
    trial, twin = (collect(stage, side.name, split) for side in (one.trial, one.twin))
    order = stage.predictions(split, trial=one.trial.name, seed=trial.seeds[0])["pair_id"]
    rows = []
    for place, name in enumerate([OVERALL, *(one.trial.oversample if one.factor == "oversampling" else ())]):
        if place and not (name in flags and flags[name].any()):
            continue
        chosen = flags.loc[order, name].to_numpy() if place else np.ones(len(order), dtype=bool)
        row: dict[str, Any] = {"trial": one.trial.name, "minus": one.twin.name, "on": name, "n": int(chosen.sum())}
        for metric in METRICS:
            gap = mean_score(stage, trial.part(chosen), twin.part(chosen), metric=metric)
            stage.numbers[one.number(place, metric)] = gap.number(n=row["n"], split=str(split), seeds=trial.seeds)
            row |= with_bounds(metric, gap)
        rows.append(row)
    return rows


def ablation_answer(ablations: Sequence[Ablation], table: pd.DataFrame) -> str:
    """One sentence an ablation around its stored differences, for `say`."""
    if not ablations:
        return "No trial of this profile differs from another in its oversampling or its augmentation alone."
    sentences = []
    for one in ablations:
        shown = table[(table["trial"] == one.trial.name) & (table["minus"] == one.twin.name)]["on"].tolist()
        places = [OVERALL, *one.trial.oversample] if one.factor == "oversampling" else [OVERALL]
        parts = [f"{{{one.number(k, 'accuracy')}}} on {place}" for k, place in enumerate(places) if place in shown]
        sentences.append(
            f"{one.factor.capitalize()} alone (**{one.trial.name}** minus **{one.twin.name}**) changes accuracy by "
            f"{', '.join(parts)}."
        )
    return " ".join([*sentences, "Where an interval contains zero, no difference is shown."])
