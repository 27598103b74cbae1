"""What a report says of its making: answers follow the records, and a fault in a record shows."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from simulated_stage import SimulatedStage, params_with, simulated_table
from verdict.base.artifacts import StaleResultError, sha256_bytes, sha256_file, write_text
from verdict.base.numbers import Number, Numbers
from verdict.base.params import load_params
from verdict.model.predict import logits_of
from verdict.pages import reproducibility as repro
from verdict.workflow.stages import CLIP_ANSWERS, RECORDED, SIGNALS, TRIAL_STAGE, executions, spec

NAME = "13_reproducibility"
CLAIMS = {
    "05_test": [{"holds": True, "comparison": ">"}, {"holds": False, "comparison": "within"}],
    "10_clip_probes": [{"holds": None, "comparison": "<"}, {"holds": True, "comparison": "excludes"}],
}
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

    def record(self, name, trial=None):
        """Each execution wrote two files, and read the one that the first stage wrote."""
        written = {}
        own = {"01_data": ["pairs.parquet"], RECORDED: ["pairs.parquet", "predictions.parquet"]}
        for file in (*own.get(name, ["predictions.parquet"]), "executed.ipynb"):
            path = self.folder / f"{name}-{trial}" / file
            if not path.is_file():
                write_text(path, f"{name} {trial}")
            written[str(path)] = sha256_file(path)
        read = {str(self.folder / "01_data-None" / "pairs.parquet"): sha256_bytes(b"01_data None")}
        return {**CONTENT, "inputs": read, "outputs": written, **self.changes.get(name, {})}

    def upstream(self, name, file, trial=None):
        path = self.folder / f"{name}-{trial}-{file}"
        if file == "claims.json":
            path.write_text(json.dumps(CLAIMS.get(name, [])))
        elif name == TRIAL_STAGE:
            value = {"frozen": 0.6, "text1": 0.7, "hypothesis_only": 0.5}[trial]
            scores = {11: value, 23: value + 0.02}
            Numbers({f"{trial}_s{seed}.val.macro_f1": Number(score) for seed, score in scores.items()}).save(path)
        else:
            counts = {"data.train.n_pairs": 512, "data.val.n_pairs": 256}
            counts = {"data.calib.n_pairs": 128} if name == RECORDED else counts
            Numbers({key: Number(n, unit="count") for key, n in counts.items()}).save(path)
        return path


def stage_of(folder, changes=None, **data):
    params = params_with("frozen", "text1", "hypothesis_only")
    params = params.model_copy(update={"data": params.data.model_copy(update=data)})
    return WithRecords(NAME, "smoke", None, None, folder, params, changes=changes or {})


def answers(stage):
    return repro.variables(stage, repro.read_records(stage)).set_index("variable")


def test_every_other_execution_of_the_report_is_read(tmp_path):
    """What is counted here is what the index counts: the pages on CLIP, and stages without a page, as well."""
    stage = stage_of(tmp_path)
    records = repro.read_records(stage)
    everything = executions(stage.all_params)
    assert [(record.stage, record.trial or None) for record in records] == everything[:-1]
    assert everything[-1] == (NAME, None)
    assert {"10_clip_probes", "07_calibration-clip", SIGNALS, CLIP_ANSWERS} <= {record.stage for record in records}
    shown = repro.store(stage, repro.record_table(records))
    assert stage.numbers["repro.n_executions"].value == len(everything)
    assert stage.numbers["repro.n_outputs"].value == 2 * len(records)
    assert shown["found"].tolist() == [stage.numbers[name] for name in stage.numbers if name != "repro.total_min"]


@pytest.mark.parametrize("file", ["02_warmup-None/executed.ipynb", "01_data-None/pairs.parquet"])
def test_files_are_hashed_again_whatever_their_sizes_and_times_say(tmp_path, monkeypatch, file):
    """The change keeps size and times, by which an untouched file is told everywhere else; the record is as it was."""
    stage = stage_of(tmp_path)
    recorded = {(r.stage, r.trial or None): r.content for r in repro.read_records(stage)}
    changed = tmp_path / file
    text = changed.read_text()
    changed.write_text(text[::-1])
    stamps = {str(changed): [changed.stat().st_size, changed.stat().st_mtime_ns, changed.stat().st_ctime_ns]}
    monkeypatch.setattr(stage, "record", lambda *one: {**recorded[one], "stamps": stamps}, raising=False)
    with pytest.raises(StaleResultError, match=f"{changed.name} is not what was recorded"):
        repro.read_records(stage)
    changed.write_text(text)
    assert len(repro.read_records(stage)) == len(recorded)
    changed.unlink()
    with pytest.raises(StaleResultError, match="got missing"):
        repro.read_records(stage)


def test_claims_are_counted_on_all_pages_and_on_this_one(tmp_path):
    stage = stage_of(tmp_path)
    stage.number("a.b", 1, unit="count")
    stage.claim("own", "One", "a.b", ">=", 1)
    repro.store_claims(stage, repro.read_records(stage))
    counts = {name: stage.numbers[f"repro.n_claims{name}"].value for name in ("", "_hold", "_not_applicable")}
    assert counts == {"": 5, "_hold": 3, "_not_applicable": 1}


def test_wall_time_adds_up(tmp_path):
    stage = stage_of(tmp_path, {"02_warmup": {"elapsed_s": 70.0}})
    table = repro.record_table(repro.read_records(stage))
    found = repro.resources(table).set_index("stage")
    assert found.loc["02_warmup", ["executions", "total_s", "longest_s"]].tolist() == [1, 70, 70]
    assert found.loc[TRIAL_STAGE, ["executions", "total_s", "longest_s"]].tolist() == [3, 30, 10]
    assert found.loc["all", "total_s"] == 70 + 10 * (len(table) - 1)
    assert found["share"].drop("all").sum() == pytest.approx(1)
    repro.store(stage, table)
    assert stage.numbers["repro.total_min"].value == found.loc["all", "total_s"] / 60
    assert stage.numbers["repro.total_min"].kind == "setting"


def test_no_variable_is_given_by_decree(tmp_path):
    """Each answer follows from counts of the records, and each can be another one."""
    found = answers(stage_of(tmp_path))
    assert found.groupby("factor").size().to_dict() == {"Data": 4, "Experiment": 7}
    assert found.index.is_unique
    expected = np.where(found["held"] == 0, "no", np.where(found["held"] == found["asked"], "yes", "partly"))
    assert found["given"].tolist() == expected.tolist()
    nothing = {name: {"outputs": {}} for name in spec(NAME, load_params("smoke")).needs if name != "01_data"}
    bare = answers(stage_of(tmp_path, nothing, source="csv"))
    assert bare.loc[["results", "training data"], "given"].tolist() == ["no", "partly"]
    assert "the user's own" in bare.loc["training data", "answer"]
    assert bare.loc["experiment source code", "given"] == "partly"
    assert found.loc[["results", "training data", "experiment source code"], "given"].tolist() == ["yes"] * 3
    assert found.loc[["hypothesis", "prediction", "hardware"], "given"].tolist() == ["partly"] * 3


def test_answers_come_from_the_records(tmp_path):
    found = answers(stage_of(tmp_path))["answer"]
    assert found["training data"].startswith("512 pairs; source digits, comes with the package")
    assert found["training data"].endswith(f"pair table {sha256_bytes(b'01_data None')[:12]}")
    assert found["test data"].startswith("no pairs")
    assert "claims, 4 in all" in found["hypothesis"]
    assert "python 3.11.7" in found["software dependencies"]
    assert "parameter set ff00; values that are not the default: 2" in found["experiment set-up"]
    assert "seeds 1, 11, 23" in found["experiment set-up"]
    assert found["hardware"] == "cores 2; machine m; system s; device cpu; not recorded: node, processor, memory"
    assert found["method source code"].startswith("executions of commit aaaaaaaaaaaa without changes; ")


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


def test_of_work_outside_git_nothing_is_said(tmp_path):
    unknown = {name: {"commit": "unknown", "dirty": None} for name in spec(NAME, load_params("smoke")).needs}
    stage = stage_of(tmp_path, unknown)
    found = answers(stage).loc["method source code"]
    assert (found["given"], found["answer"]) == ("no", "commit unknown")
    repro.store(stage, repro.record_table(repro.read_records(stage)))
    for id, number in (("one_commit", "repro.n_commits"), ("committed", "repro.n_dirty")):
        assert stage.claim(id, "All", number, "<=", 1).verdict == "not applicable"


def test_commits_and_changes_are_counted(tmp_path):
    stage = stage_of(tmp_path, {"05_test": {"commit": "b" * 40}, "02_warmup": {"dirty": True}})
    repro.store(stage, repro.record_table(repro.read_records(stage)))
    assert stage.numbers["repro.n_commits"].value == 2
    assert stage.numbers["repro.n_dirty"].value == 1
    told = answers(stage_of(tmp_path, {"05_test": {"dirty": None}})).loc["method source code", "answer"]
    assert told.endswith("0 with changes, of 1 it is not known")
    assert stage.numbers["repro.n_parameter_sets"].value == 1


def test_seeds_are_spread_by_trial(tmp_path):
    found = repro.seed_table(stage_of(tmp_path)).set_index("trial")
    assert found.loc["frozen", "sd"] == pytest.approx(0.02 / np.sqrt(2))
    assert found.loc["text1", ["n_seeds", "lowest", "highest"]].tolist() == pytest.approx([2, 0.7, 0.72])
    assert found.loc["hypothesis_only", "role"] == "control"


def test_of_what_was_given_the_files_are_read_again(tmp_path, monkeypatch):
    stage = stage_of(tmp_path, source="recorded")
    table = simulated_table("test", n=41, seed=11)
    now = table.sample(frac=1, random_state=3).assign(logit_0=lambda part: part["logit_0"] + 0.25)
    turned = now["pair_id"].iloc[7]
    now.loc[now["pair_id"] == turned, ["logit_0", "logit_1"]] = now.loc[
        now["pair_id"] == turned, ["logit_1", "logit_0"]
    ].to_numpy()
    monkeypatch.setattr(repro, "given_to", lambda stage: SimpleNamespace(judged=now))
    found = repro.read_again(stage, table)["found"]
    apart = np.abs(logits_of(now.set_index("pair_id").loc[table["pair_id"]]) - logits_of(table))
    before, after = (logits_of(one.set_index("pair_id").loc[table["pair_id"]]).argmax(axis=1) for one in (table, now))
    assert [one.value for one in found] == [41, (before != after).sum(), apart.max()]
    assert stage.numbers["repro.n_changed_answers"].value >= 1


def test_what_was_given_has_a_table_in_place_of_trials_and_no_training_data(tmp_path):
    stage = stage_of(tmp_path, source="recorded")
    stage.changes = {name: {"inputs": {}} for name in spec(NAME, stage.all_params).needs}
    found = answers(stage)
    assert found.loc["training data", "given"] == "no" and found.loc["results", "given"] == "yes"
    assert found.loc["validation data", "answer"].startswith("128 pairs; source recorded, the user's own")
    assert found.loc["experiment set-up", "answer"].endswith("seeds 2026")
