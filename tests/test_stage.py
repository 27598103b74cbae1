"""Stages: the graph, what each may read, and what a change re-runs."""

import copy
import json

import numpy as np
import pandas as pd
import pytest

from verdict import paths
from verdict import stage as stages
from verdict.artifacts import StaleResultError, write_run, write_text
from verdict.numbers import Number
from verdict.params import ParamsError, load_params, read_yaml, validate
from verdict.stage import FEATURES, SPECS, TRIAL_STAGE, WARMUP_STAGE, resolved, spec

SECTIONS = {"data", "model", "training", "statistics", "calibrate", "policy", "report", "interpret", "defects", "clip"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of its own, with the real parameters and an empty package."""
    for name, folder in {"NOTEBOOKS": "notebooks", "WORK": "work", "LIBRARY": "lib/verdict"}.items():
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr(paths, name, tmp_path / folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("VERDICT_STAGE_DIR", raising=False)
    return tmp_path


def open_at(name, root, **instance):
    opened = stages.open_stage(name, "smoke", **instance)
    opened.folder = stages.folder("smoke", name, **instance)
    return opened


def finish(stage, files=()):
    """Save a stage and write its record, as the driver does."""
    stage.save()
    outputs = [stage.path(name) for name in ("numbers.json", *files)]
    write_run(stage.folder, outputs=outputs, inputs=[])


def test_the_graph_has_no_cycle_and_follows_the_reading_order():
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names)
    for position, declared in enumerate(SPECS):
        assert set(declared.needs) <= set(names[:position]), f"{declared.name} needs a stage below it"
    numbered = [name for name in names if name not in stages.WITHOUT_NOTEBOOK]
    assert numbered == sorted(numbered)


def test_every_declared_section_is_one():
    for declared in SPECS:
        assert set(declared.sections) <= SECTIONS | {"plans", "views", "trial"}, declared.name
    assert [declared.name for declared in SPECS if "trial" in declared.sections] == [TRIAL_STAGE]


def test_every_stage_leads_back_to_the_data():
    for declared in SPECS[1:]:
        assert "01_data" in declared.needs, declared.name


def test_saved_logits_need_fewer_stages(base):
    base["data"]["source"] = "recorded"
    base["data"]["recorded"] |= {"val": "v.npz", "test": "t.npz", "class_names": ["a", "b"]}
    params = validate(base, source="test")
    names = [declared.name for declared in stages.specs_for(params)]
    assert names == [stages.RECORDED, "07_calibration", "08_policy"]
    assert stages.runs(params) == [stages.RECORDED_RUN]
    assert stages.index_text(params) == "index_recorded.md"
    known = set()
    for declared in stages.specs_for(params):
        assert set(declared.needs) <= known, "a stage needs only what this source has, above it"
        known.add(declared.name)
    base["data"]["recorded"]["independent"] = "i.npz"
    assert "09_independent_set" in {s.name for s in stages.specs_for(validate(base, source="test"))}
    with pytest.raises(KeyError, match=r"no stage is called '05_test'; there are .*01_recorded"):
        spec("05_test", params)


def test_a_changed_file_of_logits_re_runs_what_reads_it(base, tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    base["data"]["source"] = "recorded"
    base["data"]["recorded"] |= {"val": "v.npz", "test": "t.npz", "class_names": ["a", "b"]}
    params = validate(base, source="test")
    assert resolved(params, stages.RECORDED)["files"] == {"v.npz": "", "t.npz": ""}
    write_text(tmp_path / "v.npz", "1")
    one = resolved(params, stages.RECORDED)
    write_text(tmp_path / "v.npz", "2")
    assert resolved(params, stages.RECORDED) != one
    assert "files" not in resolved(params, "07_calibration")


def test_every_other_source_has_every_stage():
    assert tuple(spec for spec in stages.specs_for(load_params("smoke")) if spec in SPECS) == SPECS
    every = (*SPECS, *stages.RECORDED_SPECS, *stages.CLIP_SPECS)
    assert set(stages.ALL_NAMES) == {declared.name for declared in every}


def test_a_stage_without_a_notebook_names_a_function_that_exists():
    for module, function in stages.RUNNERS.values():
        path = paths.LIBRARY.parent.joinpath(*module.split(".")).with_suffix(".py")
        assert f"\ndef {function}(stage: Stage)" in path.read_text(encoding="utf-8")
    assert set(stages.RUNNERS) <= stages.WITHOUT_NOTEBOOK


def test_an_unknown_stage_is_refused():
    with pytest.raises(KeyError, match="no stage is called '99_none'"):
        spec("99_none")


def test_runs_and_plans_of_a_profile():
    params = load_params("smoke")
    seeds = {"candidate": (11, 23), "control": (11,)}
    assert stages.runs(params) == [(one.name, seed) for one in params.training.trials for seed in seeds[one.role]]
    assert stages.plans(params) == [(0, 0), (0, 1), (1, 1)]
    assert stages.views(params) == [(1, 2)]


def test_folders_of_stages_and_trials():
    assert stages.folder("smoke", "01_data") == paths.WORK / "smoke" / "01_data"
    assert stages.folder("smoke", TRIAL_STAGE, "text1", 0).name == "text1-s0"


def test_a_stage_reads_declared_sections_only(root):
    stage = open_at("07_calibration", root)
    assert stage.params.calibrate.ece_bins == load_params("smoke").calibrate.ece_bins
    with pytest.raises(AttributeError, match="07_calibration does not declare the parameter section 'training'"):
        _ = stage.params.training.epochs
    with pytest.raises(AttributeError, match="section 'execution'"):
        _ = stage.params.execution


def test_a_stage_reads_declared_upstream_stages_only(root):
    finish(open_at(FEATURES, root))
    with pytest.raises(KeyError, match="04_model_selection does not declare that it needs features"):
        open_at("04_model_selection", root).upstream(FEATURES, "numbers.json")


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


def test_a_notebook_run_by_hand_writes_to_a_folder_that_nothing_reads(root, monkeypatch):
    assert stages.open_stage("01_data", "smoke").folder == root / "work" / "smoke" / "scratch" / "01_data"
    trial = stages.open_stage(TRIAL_STAGE, "smoke", trial="text1", seed=3)
    assert trial.folder == root / "work" / "smoke" / "scratch" / TRIAL_STAGE / "text1-s3"
    assert trial.trial.text_blocks == 1
    monkeypatch.setenv("VERDICT_STAGE_DIR", str(root / "elsewhere"))
    assert stages.open_stage("01_data", "smoke").folder == root / "elsewhere"


def test_an_unknown_trial_is_refused_at_once(root):
    with pytest.raises(KeyError, match="did you mean 'text1'"):
        stages.open_stage(TRIAL_STAGE, "smoke", trial="text", seed=3)


def test_generators_follow_the_seed_and_the_key(root):
    stage = open_at("04_model_selection", root)
    assert stage.rng(1).random(5).tolist() == stage.rng(1).random(5).tolist()
    assert stage.rng(1).random() != stage.rng(2).random()


def test_progress_goes_where_the_driver_says(tmp_path, monkeypatch):
    monkeypatch.delenv("VERDICT_PROGRESS", raising=False)
    stages.progress("nobody listens")
    monkeypatch.setenv("VERDICT_PROGRESS", str(tmp_path / "p"))
    stages.progress("one\ntwo")
    stages.progress("three")
    assert (tmp_path / "p").read_text() == "one two\nthree\n"


def test_a_stage_is_finished_once_its_record_is_there(root):
    assert not stages.finished("smoke", "01_data")
    finish(open_at("01_data", root))
    assert stages.finished("smoke", "01_data")
    (stages.folder("smoke", "01_data") / "run.json").write_text("{")
    assert not stages.finished("smoke", "01_data")


# Stages that read the list of trials.
LISTING = {"04_model_selection", "05_test", "06_interpretation", "13_reproducibility"}


@pytest.fixture
def base():
    return read_yaml(paths.PARAMS / "base.yaml")


def everything(content):
    """What each stage, and each trial with each seed, depends on."""
    params = validate(content, source="test")
    asked = {(declared.name,): resolved(params, declared.name) for declared in SPECS if declared.name != TRIAL_STAGE}
    return asked | {run: resolved(params, TRIAL_STAGE, *run) for run in stages.runs(params)}


def affected(base, change):
    before = everything(base)
    change(base)
    after = everything(base)
    return {key[0] if len(key) == 1 else key for key in before.keys() & after.keys() if before[key] != after[key]}


def test_a_change_of_one_trial_re_runs_that_trial_and_what_lists_the_trials(base):
    def change(content):
        content["training"]["trials"][1]["epochs"] += 1

    name, seeds = base["training"]["trials"][1]["name"], base["training"]["seeds"]
    assert affected(base, change) == {*((name, seed) for seed in seeds), *LISTING}


def test_one_more_seed_leaves_the_runs_of_the_others_alone(base):
    assert affected(base, lambda content: content["training"]["seeds"].append(97)) == LISTING


def test_one_more_trial_of_known_depth_leaves_the_others_alone(base):
    def change(content):
        content["training"]["trials"].append({**content["training"]["trials"][1], "name": "extra"})

    assert affected(base, change) == LISTING


def test_a_new_depth_is_encoded(base):
    def change(content):
        content["training"]["trials"].append({**content["training"]["trials"][1], "name": "extra", "vision_blocks": 1})

    assert affected(base, change) == {FEATURES, *LISTING}


def set_trial(content, number, **options):
    content["training"]["trials"][number] |= options


def test_views_are_encoded_once_and_re_run_what_shows_them(base):
    name, seeds = base["training"]["trials"][1]["name"], base["training"]["seeds"]
    own = {FEATURES, *((name, seed) for seed in seeds), *LISTING}
    augmented = {"augment": "photometric", "views": 3}
    assert affected(copy.deepcopy(base), lambda content: set_trial(content, 1, **augmented)) == own
    set_trial(base, 1, **augmented)
    assert stages.views(validate(base, source="test")) == [(0, 3)]
    for change in (
        lambda content: set_trial(content, 1, views=4),
        lambda content: content["training"]["photometric"].update(hue=0.01),
    ):
        assert affected(copy.deepcopy(base), change) == own
    # A trial with fewer views of the same depth needs none that are not there.
    fewer = {**base["training"]["trials"][1], "name": "extra", "views": 2}
    assert affected(base, lambda content: content["training"]["trials"].append(fewer)) == LISTING


def test_ranges_that_nobody_uses_re_run_nothing(base):
    assert affected(base, lambda content: content["training"]["photometric"].update(hue=0.01)) == set()


@pytest.mark.parametrize("option", [{"oversample": {"counting": 1.5}}, {"text": "blank", "role": "control"}])
def test_an_option_re_runs_its_trial_and_what_lists_the_trials(base, option):
    base["training"]["trials"].append({**base["training"]["trials"][1], "name": "extra"})
    n_seeds = base["training"]["n_control_seeds"] if option.get("role") == "control" else None
    runs = {("extra", seed) for seed in base["training"]["seeds"][:n_seeds]}
    found = affected(base, lambda content: set_trial(content, -1, **option))
    assert found == {*runs, *LISTING}


def test_costs_re_run_no_training(base):
    def change(content):
        content["policy"]["costs"]["human"] += 1

    assert affected(base, change) == {"07_calibration", "08_policy", "09_independent_set"}


def test_where_it_runs_re_runs_nothing(base):
    assert affected(base, lambda content: content["execution"].update(threads=7)) == set()


def test_seeds_of_one_trial_differ_in_the_seed_alone(base):
    params = validate(base, source="test")
    one, two = (resolved(params, TRIAL_STAGE, "text2", seed) for seed in (11, 23))
    assert one["trial"].pop("seed") == 11
    assert two["trial"].pop("seed") == 23
    assert one == two


def test_a_rebuilt_preset_re_runs_what_it_fed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    params = load_params("smoke")
    assert resolved(params, FEATURES)["presets"] == {}
    preset = params.model.vision_preset
    write_text(tmp_path / preset / "config.json", "1")
    before = resolved(params, FEATURES), resolved(params, "04_model_selection")
    assert list(before[0]["presets"]) == [preset]
    write_text(tmp_path / preset / "config.json", "2")
    after = resolved(params, FEATURES), resolved(params, "04_model_selection")
    assert before[0] != after[0]
    assert before[1] == after[1]


def package(root, **modules):
    for name, source in modules.items():
        write_text(root / "lib" / "verdict" / f"{name.replace('__', '/')}.py", source)
    for folder in {path.parent for path in (root / "lib").rglob("*.py")}:
        (folder / "__init__.py").touch()


def names(files):
    return [file.relative_to(paths.LIBRARY).as_posix() for file in files]


def test_library_files_are_the_closure_of_imports(root):
    package(
        root,
        a="import numpy\nfrom verdict.b import f",
        b="def f():\n    from verdict.sub import c\n",
        sub__c="import verdict.a",
        sub__d="import verdict.e",
        e="",
        report__page="",
    )
    init = ["__init__.py"]
    assert names(stages.library_files(["from verdict import a"])) == [
        *init,
        "a.py",
        "b.py",
        "sub/__init__.py",
        "sub/c.py",
    ]
    assert names(stages.library_files(["import verdict.sub.d as d, os"])) == [
        *init,
        "e.py",
        "sub/__init__.py",
        "sub/d.py",
    ]
    assert names(stages.library_files(["import verdict.e", "import verdict.report.page"])) == [
        *init,
        "e.py",
        "report/__init__.py",
        "report/page.py",
    ]
    assert stages.library_files(["import verdicts", "x = 1"]) == []
    assert stages.library_files([]) == []


def notebook(root, name, *cells):
    content = {
        "cells": [{"cell_type": kind, "metadata": {}, "source": source.splitlines(True)} for kind, source in cells],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    write_text(root / "notebooks" / f"{name}.ipynb", json.dumps(content))


def test_the_digest_of_code_sees_code_and_not_prose(root):
    package(root, a="X = 1", b="Y = 1", data__c="Z = 1")
    write_text(root / "lib" / "verdict" / "data" / "hand.csv", "1")
    code = [("code", "from verdict import a\na.X"), ("code", "import verdict.data.c\n")]

    def digest(*cells):
        notebook(root, "01_data", *cells)
        return stages.code_digest("01_data")

    original = digest(("markdown", "# Title"), *code)
    assert (
        digest(("markdown", "# Another title, and\nmore text"), code[0], ("markdown", "between"), code[1]) == original
    )
    assert digest(code[0], ("code", "import verdict.data.c\n1")) != original
    assert digest(code[1], code[0]) != original
    digest(*code)
    write_text(root / "lib" / "verdict" / "b.py", "Y = 2")
    assert stages.code_digest("01_data") == original
    for file in ("a.py", "data/c.py", "data/hand.csv", "data/__init__.py"):
        before = stages.code_digest("01_data")
        write_text(root / "lib" / "verdict" / file, "X = 3")
        assert stages.code_digest("01_data") != before, file


def test_a_stage_without_a_notebook_has_a_digest_of_its_code(root):
    package(root, features="X = 1", run="Y = 1")
    before = stages.code_digest(FEATURES)
    write_text(root / "lib" / "verdict" / "features.py", "X = 2")
    assert stages.code_digest(FEATURES) != before


def test_pages_are_made_with_templates_styles_and_scripts():
    assert {path.name for path in stages.page_files()} >= {"page.html", "page.css", "index.html", "page.js"}


def test_provenance_names_stage_run_profile_and_parameters(root):
    line = open_at(TRIAL_STAGE, root, trial="text1", seed=11).provenance()
    assert all(part in line for part in (TRIAL_STAGE, "text1-s11", "smoke", load_params("smoke").hash))


def test_a_page_of_another_source_is_a_stage_of_its_own(base):
    base["clip"]["source"] = "digits"
    params = validate(base, source="test")
    names = [declared.name for declared in stages.specs_for(params)]
    assert {"07_calibration", "07_calibration-clip", "08_policy-clip"} <= set(names)
    assert (stages.notebook_of("07_calibration-clip"), stages.source_of("07_calibration-clip")) == (
        "07_calibration",
        "clip",
    )
    assert (stages.notebook_of("01_data"), stages.source_of("01_data")) == ("01_data", stages.MODEL)
    assert stages.code_digest("07_calibration-clip") == stages.code_digest("07_calibration")
    own = stages.parameter_model("07_calibration")(profile="smoke", source="clip")
    assert own.model_dump() == {"profile": "smoke", "source": "clip"}
    with pytest.raises(ValueError, match="source"):
        stages.parameter_model("07_calibration")(source="nobody")


def test_clip_is_judged_with_its_own_questions_and_simulated_people(base):
    base["clip"]["source"] = "digits"
    base["policy"]["human"]["kind"] = "votes"
    base["policy"]["costs"]["error_of"] = {"entailment": 3.0}
    base["clip_policy"]["questions"] = {"is it even?": ["zero", "two"]}
    params = validate(base, source="test")
    seen = resolved(params, "08_policy-clip")["policy"]
    assert seen["questions"] == {"is it even?": ["zero", "two"]}
    assert (seen["human"]["kind"], seen["costs"]["error_of"]) == ("parametric", {})
    own = resolved(params, "08_policy")["policy"]
    assert (own["questions"], own["human"]["kind"]) == ({}, "votes")
    assert seen["costs"]["human"] == own["costs"]["human"]
    base["clip_policy"]["n_questions"] = 2
    with pytest.raises(ParamsError, match="n_questions is 2"):
        validate(base, source="test")


def test_concepts_need_descriptors(base):
    base["clip"]["source"] = "folder"
    names = [declared.name for declared in stages.specs_for(validate(base, source="test"))]
    assert "12_clip_concepts" not in names and "10_clip_probes" in names
    base["concepts"]["bank"] = ["fur", "wings"]
    assert "12_clip_concepts" in [declared.name for declared in stages.specs_for(validate(base, source="test"))]
