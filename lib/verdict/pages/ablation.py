"""What one change does: a trial minus its twin, which differs from it in that change alone.

Unfreezing is such a change, and so is longer training. A comparison of trials that differ in more than one thing says
nothing about any of them; what else differs is found from the trials' settings and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import named
from verdict.base.params import TrialParams, trial_difference
from verdict.model.lineage import least_trained, setting_text, training_text
from verdict.model.oversample import bucket_flags
from verdict.model.selection import Selection
from verdict.pages.evaluation import collect, mean_score
from verdict.stats.uncertainty import NOTHING, bounded, columns_of, with_bounds
from verdict.workflow.stage import Stage

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
        "gain_of_longer_training": ("longer training", kept.frozen, start),
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
