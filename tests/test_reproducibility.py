"""What a report says of its making: answers follow the records, and a fault in a record shows."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from simulated_stage import SimulatedStage
from verdict import reproducibility as repro
from verdict.numbers import Number, Numbers
from verdict.params import load_params
from verdict.stages import TRIAL_STAGE, spec

NAME = "13_reproducibility"
CONTENT = {
    "commit": "a" * 40,
    "dirty": False,
    "device": "cpu",
    "host": {"cores": 2, "machine": "m", "system": "s"},
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "params_hash": "ff00",
    "non_default": ["title", "is_smoke"],
    "elapsed_s": 10.0,
    "started": "2026-11-21T00:00:00Z",
    "command": "make report PROFILE=smoke",
}


@dataclass
class WithRecords(SimulatedStage):
    """A stage whose upstream records are given by stage; changes replace entries of one of them."""

    changes: dict = field(default_factory=dict)

    def record(self, name, trial=None, seed=None):
        outputs = {f"work/smoke/{name}/executed.ipynb": "e" * 64, "work/smoke/01_data/pairs.parquet": "d" * 64}
        return {**CONTENT, "outputs": outputs, **self.changes.get(name, {})}

    def upstream(self, name, file, trial=None, seed=None):
        path = self.folder / f"{name}-{trial}-{seed}-{file}"
        if file == "claims.json":
            path.write_text(json.dumps([{"holds": True}, {"holds": False}] if name == "05_test" else []))
        elif name == TRIAL_STAGE:
            value = {"frozen": 0.6, "text1": 0.7, "hypothesis_only": 0.5}[trial] + (0.02 if seed == 23 else 0.0)
            Numbers({f"{trial}_s{seed}.val.macro_f1": Number(value)}).save(path)
        else:
            counts = {"data.train.n_pairs": 512, "data.val.n_pairs": 256}
            Numbers({key: Number(n, unit="count") for key, n in counts.items()}).save(path)
        return path


def stage_of(folder, changes=None, **data):
    params = load_params("smoke")
    params = params.model_copy(update={"data": params.data.model_copy(update=data)}) if data else params
    few = tuple(trial for trial in params.training.trials if trial.name in ("frozen", "text1", "hypothesis_only"))
    params = params.model_copy(update={"training": params.training.model_copy(update={"trials": few})})
    return WithRecords(NAME, "smoke", None, None, folder, params, changes=changes or {})


def answers(stage):
    return repro.variables(stage, repro.read_records(stage)).set_index("variable")


def test_every_execution_of_every_needed_stage_is_read(tmp_path):
    records = repro.read_records(stage_of(tmp_path))
    assert [record.stage for record in records if record.stage != TRIAL_STAGE] == [
        name for name in spec(NAME).needs if name != TRIAL_STAGE
    ]
    trained = {(record.trial, record.seed) for record in records if record.stage == TRIAL_STAGE}
    assert trained == {("frozen", 11), ("frozen", 23), ("text1", 11), ("text1", 23), ("hypothesis_only", 11)}


def test_wall_time_adds_up(tmp_path):
    stage = stage_of(tmp_path, {"02_warmup": {"elapsed_s": 70.0}})
    table = repro.record_table(repro.read_records(stage))
    found = repro.resources(table).set_index("stage")
    assert found.loc["02_warmup", ["executions", "total_s", "longest_s"]].tolist() == [1, 70, 70]
    assert found.loc[TRIAL_STAGE, ["executions", "total_s", "longest_s"]].tolist() == [5, 50, 10]
    assert found.loc["all", "total_s"] == 70 + 10 * (len(table) - 1)
    assert found["share"].drop("all").sum() == pytest.approx(1)
    repro.store(stage, table)
    assert stage.numbers["repro.total_min"].value == found.loc["all", "total_s"] / 60
    assert stage.numbers["repro.n_executions"].value == len(table) == len(spec(NAME).needs) - 1 + 5
    assert stage.numbers["repro.n_outputs"].value == 2 * len(table)


def test_there_are_sixteen_variables_in_three_factors(tmp_path):
    stage = stage_of(tmp_path)
    found = answers(stage)
    assert found.groupby("factor").size().to_dict() == {"Method": 5, "Data": 4, "Experiment": 7}
    assert found.index.is_unique
    assert stage.numbers["repro.n_variables"].value == 16
    given = found["given"].value_counts()
    assert stage.numbers["repro.n_given"].value == given["yes"]
    assert stage.numbers["repro.n_partly"].value == given["partly"]
    assert found.loc["pseudocode", "given"] == "no"


def test_answers_come_from_the_records(tmp_path):
    found = answers(stage_of(tmp_path))["answer"]
    assert (
        found["training data"].startswith("512 pairs; source digits, comes with the package")
        and "d" * 12 in found["training data"]
    )
    assert found["test data"].startswith("no pairs")
    assert "2 claims" in found["hypothesis"] and "1 of 2 hold" in found["prediction"]
    assert "python 3.11.7" in found["software dependencies"]
    assert (
        "parameter set ff00; values that are not the default: 2" in found["experiment set-up"]
        and "seeds 1, 11, 23" in found["experiment set-up"]
    )
    assert "cores 2" in found["hardware"] and "device cpu" in found["hardware"]
    assert found["method source code"].startswith("commit aaaaaaaaaaaa; 0 of ")


@pytest.mark.parametrize(
    ("variable", "change"),
    [
        ("method source code", {"dirty": True}),
        ("method source code", {"dirty": None}),
        ("method source code", {"commit": "b" * 40}),
        ("software dependencies", {"versions": {"python": "3.12.0"}}),
        ("experiment set-up", {"params_hash": "0000"}),
    ],
)
def test_a_record_that_differs_makes_the_answer_partial(tmp_path, variable, change):
    assert answers(stage_of(tmp_path)).loc[variable, "given"] == "yes"
    assert answers(stage_of(tmp_path, {"05_test": change})).loc[variable, "given"] == "partly"


def test_work_outside_git_is_partial_and_nothing_is_said_of_changes(tmp_path):
    unknown = {name: {"commit": "unknown", "dirty": None} for name in spec(NAME).needs}
    stage = stage_of(tmp_path, unknown)
    found = answers(stage).loc["method source code"]
    assert (found["given"], found["answer"]) == ("partly", "commit unknown")
    repro.store(stage, repro.record_table(repro.read_records(stage)))
    assert np.isnan(stage.numbers["repro.n_dirty"].value) and np.isnan(stage.numbers["repro.n_commits"].value)


def test_ones_own_table_is_data_that_others_lack(tmp_path):
    found = answers(stage_of(tmp_path, source="csv"))
    assert found.loc["training data", "given"] == "partly" and "the user's own" in found.loc["training data", "answer"]
    assert (
        answers(stage_of(tmp_path, source="nlvr"))
        .loc["training data", "answer"]
        .startswith("512 pairs; source nlvr, public")
    )


def test_commits_and_changes_are_counted(tmp_path):
    stage = stage_of(tmp_path, {"05_test": {"commit": "b" * 40}, "02_warmup": {"dirty": True}})
    repro.store(stage, repro.record_table(repro.read_records(stage)))
    unknown = answers(stage_of(tmp_path, {"05_test": {"dirty": None}})).loc["method source code", "answer"]
    assert unknown.endswith("not committed, of 1 it is not known")
    assert stage.numbers["repro.n_commits"].value == 2
    assert stage.numbers["repro.n_dirty"].value == 1
    assert stage.numbers["repro.n_parameter_sets"].value == 1


def test_seeds_are_spread_by_trial(tmp_path):
    found = repro.seed_table(stage_of(tmp_path)).set_index("trial")
    assert found.loc["frozen", "mean"] == pytest.approx(0.61)
    assert found.loc["frozen", "sd"] == pytest.approx(0.02 / np.sqrt(2))
    assert found.loc["text1", ["n_seeds", "lowest", "highest"]].tolist() == pytest.approx([2, 0.7, 0.72])
    assert found.loc["hypothesis_only", "role"] == "control"
