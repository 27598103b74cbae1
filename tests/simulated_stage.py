"""A stage whose predictions are simulated, for tests of what the later pages measure."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd

from verdict.base.labels import class_names
from verdict.base.numbers import Number
from verdict.base.params import load_params
from verdict.data.pairs import make_pair_id
from verdict.decide.calibrated import Calibrated
from verdict.model.selection import Selection
from verdict.stats.uncertainty import Resampler
from verdict.workflow.stage import Stage
from verdict.workflow.stages import DISTANCES

KEPT = Selection("text1", 11, "frozen", "text1")
CALIBRATED = Calibrated({11: 2.0, 23: 2.0}, 11, 0.75, 0.1)


def simulated_table(split, *, n, seed, temperature=1.0, offset=0.0, model_seed=11, n_rows_of_group=3):
    """Binary logits that are calibrated once divided by `temperature`; `offset` makes another seed's model differ."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2.5, n)
    y_true = (rng.uniform(size=n) < 1 / (1 + np.exp(-logit))).astype(int)
    noise = np.random.default_rng(seed + 1000).normal(0, offset, n) if offset else 0.0
    groups = np.array([f"{split}-g{i // n_rows_of_group}" for i in range(n)], dtype=object)
    table = pd.DataFrame({"group_id": groups, "image_id": groups, "split": split, "stage": "s", "trial": "text1"})
    table["pair_id"] = [make_pair_id(group, f"sentence {i}") for i, group in enumerate(groups)]
    return table.assign(seed=model_seed, y_true=y_true, logit_0=0.0, logit_1=temperature * (logit + noise))


def pairs_of(table):
    names = np.array(class_names(), dtype=object)
    pairs = table[["pair_id", "image_id", "group_id", "split"]].assign(label=names[table["y_true"]])
    n = np.arange(len(table))
    return pairs.assign(hypothesis=[f"sentence {i}" for i in n], family=np.where(n % 2 == 0, "colour", "count"))


STATISTICS = SimpleNamespace(n_resamples=200, level=0.95, seed=3, ece_bins=15)


class Measuring:
    """As much of a stage as numbers need that are measured on tables."""

    counts, estimates = Stage.counts, Stage.estimates

    def resampler(self, groups):
        return Resampler(np.asarray(groups), STATISTICS.n_resamples, STATISTICS.level, STATISTICS.seed)

    def number(self, name, value, **fields):
        self.numbers[name] = Number(float(value), **fields)


@dataclass
class SimulatedStage(Stage):
    """Predictions by split come from `tables`; nothing is read from disk."""

    tables: dict = field(default_factory=dict)
    asked: dict = field(default_factory=dict)

    def predictions(self, *splits, trial, seed):
        parts = [self.tables[str(split), seed] for split in splits if (str(split), seed) in self.tables]
        return pd.concat(parts, ignore_index=True) if parts else simulated_table("none", n=1, seed=0).iloc[:0]

    def pairs(self, *splits):
        kept = [
            pairs_of(t) for (split, seed), t in self.tables.items() if seed == 11 and (not splits or split in splits)
        ]
        return pd.concat(kept, ignore_index=True) if kept else pairs_of(simulated_table("none", n=1, seed=0)).iloc[:0]

    def answers(self, kind, *splits):
        found = self.asked.get(kind)
        return None if found is None else found[found["split"].isin(splits)].reset_index(drop=True)

    def record(self, name, trial=None):
        return {"outputs": {"somewhere/weights-s11.npz": "abc"}}


def with_distances(stage, of=lambda drawn, split: drawn):
    """The stage with distances of all its pairs from train, drawn alike for every split and changed by some."""
    rng = np.random.default_rng(2)
    tables = {split: table for (split, seed), table in stage.tables.items() if seed == 11}
    stage.asked[DISTANCES] = pd.concat(
        table[["pair_id", "split"]].assign(distance=of(rng.gamma(9, 1, len(table)), split))
        for split, table in tables.items()
    )
    return stage


def with_people(stage, *, facts=None, **human):
    """The stage with people who are as good on all pairs and judge the whole at a glance, or with others."""
    alike = {"accuracy": 0.95, "accuracy_on_errors": None, "clarify_accuracy": 0.8}
    policy = stage.all_params.policy
    changed = policy.model_copy(update={"human": policy.human.model_copy(update=alike | human), "facts": facts})
    stage._params = stage.all_params.model_copy(update={"policy": changed})
    return stage


def params_with(*trials):
    """Parameters of the smoke profile with these trials alone, in its order."""
    params = load_params("smoke")
    kept = tuple(trial for trial in params.training.trials if trial.name in trials)
    return params.model_copy(update={"training": params.training.model_copy(update={"trials": kept})})


def make_stage(name, folder, *, sizes=None, temperature=2.0, **extra):
    """A stage of the smoke profile with two seeds; `sizes` gives the pairs of each split."""
    sizes = sizes or {"calib": 599, "test": 701}
    tables = {}
    for place, (split, n) in enumerate(sizes.items()):
        for model_seed, offset in ((11, 0.0), (23, 0.6)):
            settings = {"temperature": temperature, "offset": offset, "model_seed": model_seed}
            tables[split, model_seed] = simulated_table(split, n=n, seed=10 + place, **settings, **extra)
    return SimulatedStage(name, "smoke", None, None, folder, load_params("smoke"), tables=tables)
