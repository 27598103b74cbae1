"""What a notebook may read of its own stage and of others, and what it records."""

import json

import numpy as np
import pandas as pd
import pytest

from empty_project import make_project
from verdict.base.artifacts import StaleResultError, write_parquet, write_run, write_text
from verdict.base.numbers import Number
from verdict.base.params import load_params
from verdict.workflow import stages
from verdict.workflow.stage import open_stage, progress
from verdict.workflow.stages import FEATURES, TRIAL_STAGE, WARMUP_STAGE


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def open_at(name, root, **instance):
    opened = open_stage(name, "smoke", **instance)
    opened.folder = stages.folder("smoke", name, **instance)
    return opened


def finish(stage, files=()):
    """Save a stage and write its record, as the driver does."""
    stage.save()
    outputs = [stage.path(name) for name in ("numbers.json", *files)]
    write_run(stage.folder, outputs=outputs, inputs=[])


def test_a_stage_reads_declared_sections_only(root):
    stage = open_at("07_calibration", root)
    assert stage.params.calibrate.alphas == load_params("smoke").calibrate.alphas
    with pytest.raises(AttributeError, match="07_calibration does not declare the parameter section 'training'"):
        _ = stage.params.training.epochs
    with pytest.raises(AttributeError, match="section 'execution'"):
        _ = stage.params.execution


def test_a_stage_reads_declared_upstream_stages_only(root):
    finish(open_at(FEATURES, root))
    with pytest.raises(KeyError, match="04_model_selection does not declare that it needs features"):
        open_at("04_model_selection", root).upstream(FEATURES, "numbers.json")


def test_a_trial_reads_its_parents_run_and_no_other_trials(root):
    for trial in ("frozen", "text1"):
        finish(open_at(TRIAL_STAGE, root, trial=trial))
    stage = open_at(TRIAL_STAGE, root, trial="text1")
    assert stage.upstream(TRIAL_STAGE, "numbers.json", stage.trial.parent).is_file()
    with pytest.raises(KeyError, match="does not declare that it needs 03_staged_unfreezing"):
        stage.upstream(TRIAL_STAGE, "numbers.json", "text1")


def test_an_upstream_stage_that_has_not_run_is_named(root):
    with pytest.raises(FileNotFoundError, match=r"work/smoke/01_data/run\.json is missing"):
        open_at(WARMUP_STAGE, root).pairs()


def test_an_upstream_file_is_an_output_that_still_fits_its_record(root):
    data = open_at("01_data", root)
    write_text(data.path("extra.txt"), "x")
    write_text(data.path("unrecorded.txt"), "x")
    finish(data, ["extra.txt"])
    stage = open_at(WARMUP_STAGE, root)
    assert stage.upstream("01_data", "extra.txt").read_text() == "x"
    assert stage.record("01_data")["outputs"].keys() >= {"work/smoke/01_data/extra.txt"}
    with pytest.raises(FileNotFoundError, match=r"unrecorded\.txt is not an output of 01_data"):
        stage.upstream("01_data", "unrecorded.txt")
    write_text(data.path("extra.txt"), "y")
    with pytest.raises(StaleResultError, match=r"extra\.txt does not match"):
        open_at(WARMUP_STAGE, root).upstream("01_data", "extra.txt")


def test_pairs_are_read_by_split_with_a_fresh_index(root):
    data = open_at("01_data", root)
    data.save(pairs=pd.DataFrame({"pair_id": list("abcde"), "split": ["val", "test", "val", "train", "test"]}))
    write_run(data.folder, outputs=[data.path("numbers.json"), data.path("pairs.parquet")], inputs=[])
    stage = open_at(WARMUP_STAGE, root)
    assert stage.pairs("test", "val")["pair_id"].tolist() == ["a", "b", "c", "e"]
    assert stage.pairs("test").index.tolist() == [0, 1]
    assert len(stage.pairs()) == 5


def test_given_predictions_have_distances_where_they_were_measured(root):
    """CLIP's answers, or saved logits: a file that the record does not name is no answer."""
    given = open_at("clip_answers", root)
    table = pd.DataFrame({"pair_id": list("abc"), "split": ["calib", "test", "calib"], "distance": [0.1, 0.2, 0.3]})
    write_parquet(given.path("distances.parquet"), table)
    finish(given)
    assert open_at("08_policy-clip", root).answers(stages.DISTANCES, "calib") is None
    finish(given, ["distances.parquet"])
    found = open_at("08_policy-clip", root).answers(stages.DISTANCES, "calib")
    assert found["distance"].tolist() == [0.1, 0.3]


def test_a_stage_records_its_numbers_claims_and_inputs(root):
    finish(open_at("01_data", root))
    stage = open_at("04_model_selection", root)
    stage.upstream("01_data", "numbers.json")
    stage.numbers["gain.text"] = Number(0.1, 0.05, 0.15)
    stage.number("data.n_pairs", np.int64(7), unit="count")
    claim = stage.claim("gain", "Unfreezing helps", "gain.text", ">", 0.0)
    stage.save(table=pd.DataFrame({"a": [1]}))
    assert claim.holds
    assert json.loads(stage.path("inputs.json").read_text()) == ["work/smoke/01_data/run.json"]
    assert json.loads(stage.path("claims.json").read_text())[0]["holds"] is True
    assert pd.read_parquet(stage.path("table.parquet")).equals(pd.DataFrame({"a": [1]}))
    finish(stage)
    assert open_at("08_policy", root).upstream_numbers("04_model_selection")["data.n_pairs"].value == 7


def test_a_number_that_does_not_say_what_it_is_is_not_stored(root):
    stage = open_at("04_model_selection", root)
    stage.number("gain.text", 0.1)
    with pytest.raises(ValueError, match=r"with an interval for an estimate: \['gain\.text'\]"):
        stage.save(table=pd.DataFrame({"a": [1]}))
    assert not stage.path("table.parquet").exists()


def test_a_notebook_run_by_hand_writes_to_a_folder_that_nothing_reads(root, monkeypatch):
    assert open_stage("01_data", "smoke").folder == root / "work" / "smoke" / "scratch" / "01_data"
    trial = open_stage(TRIAL_STAGE, "smoke", trial="text1")
    assert trial.folder == root / "work" / "smoke" / "scratch" / TRIAL_STAGE / "text1"
    assert (trial.trial.text_blocks, trial.seeds) == (1, (11, 23))
    monkeypatch.setenv("VERDICT_STAGE_DIR", str(root / "elsewhere"))
    assert open_stage("01_data", "smoke").folder == root / "elsewhere"


def test_an_unknown_trial_is_refused_at_once(root):
    with pytest.raises(KeyError, match="did you mean 'text1'"):
        open_stage(TRIAL_STAGE, "smoke", trial="text")


def test_generators_follow_the_seed_and_the_key(root):
    stage = open_at("04_model_selection", root)
    assert stage.rng(1).random(5).tolist() == stage.rng(1).random(5).tolist()
    assert stage.rng(1).random() != stage.rng(2).random()


def test_progress_goes_where_the_driver_says(tmp_path, monkeypatch):
    monkeypatch.delenv("VERDICT_PROGRESS", raising=False)
    progress("nobody listens")
    monkeypatch.setenv("VERDICT_PROGRESS", str(tmp_path / "p"))
    progress("one\ntwo")
    progress("three")
    assert (tmp_path / "p").read_text() == "one two\nthree\n"


def test_provenance_names_stage_run_profile_and_parameters(root):
    line = open_at(TRIAL_STAGE, root, trial="text1").provenance()
    assert all(part in line for part in (TRIAL_STAGE, "text1", "smoke", load_params("smoke").hash))
    # As its record does, also where other classes are judged than the profile's own.
    assert load_params("smoke").hash in open_stage("08_policy", "smoke", source="clip").provenance()
