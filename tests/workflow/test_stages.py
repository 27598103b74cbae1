"""Which stages there are: the graph, the lists of each source, how often a stage runs and where."""

import re

import pytest

from empty_project import make_project
from verdict.base import paths
from verdict.base.artifacts import write_run, write_text
from verdict.base.params import load_params, read_yaml, validate
from verdict.workflow import stages
from verdict.workflow.stages import SPECS, TRIAL_STAGE


@pytest.fixture
def base():
    return read_yaml(paths.PARAMS / "base.yaml")


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def test_stages_follow_the_reading_order_from_the_data():
    numbered = [declared.name for declared in SPECS if declared.name not in stages.WITHOUT_NOTEBOOK]
    assert numbered == sorted(numbered)
    assert [declared.name for declared in SPECS if "01_data" not in declared.needs] == ["01_data"]
    assert [declared.name for declared in SPECS if "trial" in declared.sections] == [TRIAL_STAGE]


def test_saved_logits_need_fewer_stages(base):
    base["data"]["source"] = "recorded"
    base["data"]["recorded"] |= {"val": "v.npz", "test": "t.npz", "class_names": ["a", "b"]}
    params = validate(base, source="test")
    names = [declared.name for declared in stages.specs_for(params)]
    assert names == [stages.RECORDED, "07_calibration", "08_policy", "08_with_people", stages.REPRODUCIBILITY]
    assert stages.spec(stages.REPRODUCIBILITY, params).needs == tuple(names[:-1])
    assert not {"model", "training"} & {section for one in stages.specs_for(params) for section in one.sections}
    assert stages.runs(params) == [stages.RECORDED_RUN]
    assert stages.index_text(params) == "index_recorded.md"
    assert stages.faults(params) == []
    base["data"]["recorded"]["independent"] = "i.npz"
    assert "09_independent_set" in {s.name for s in stages.specs_for(validate(base, source="test"))}
    with pytest.raises(KeyError, match=r"no stage is called '05_test'; there are .*01_recorded"):
        stages.spec("05_test", params)


def test_a_table_of_answers_has_the_test_page_too_and_its_models_are_seeds(base):
    base["data"]["source"] = "answers"
    base["data"]["answers"]["table"] = "a.csv"
    params = validate(base, source="test")
    names = [declared.name for declared in stages.specs_for(params)]
    judging = ["05_test", "07_calibration", "08_policy", "08_with_people", "09_independent_set"]
    assert names == [stages.RECORDED, *judging, stages.REPRODUCIBILITY]
    assert stages.runs(params) == [stages.RECORDED_RUN] and stages.faults(params) == []
    base["data"]["answers"]["models"] = ["a", "b"]
    assert stages.runs(validate(base, source="test")) == [stages.RECORDED_RUN, (stages.RECORDED_RUN[0], 1)]


@pytest.mark.parametrize("source", [None, "digits"])
def test_every_other_source_has_every_stage_and_its_last_page_reads_all_others(base, source):
    """What it counts, executions and claims, is what the index counts."""
    base["clip"]["source"] = source
    found = stages.specs_for(validate(base, source="test"))
    assert tuple(spec for spec in found if spec in SPECS) == SPECS[:-1]
    assert found[-1].name == "13_reproducibility"
    assert found[-1].needs == tuple(spec.name for spec in found[:-1])
    clip = {"07_calibration-clip", "08_policy-clip", "08_with_people-clip"}
    assert clip & {spec.name for spec in found} == (clip if source else set())
    assert set(stages.ALL_NAMES) == {one.name for one in (*SPECS, *stages.RECORDED_SPECS, *stages.CLIP_SPECS)}


def test_a_page_of_another_source_is_a_stage_of_its_own():
    assert stages.notebook_of("07_calibration-clip") == "07_calibration"
    assert stages.source_of("07_calibration-clip") == "clip"


def test_a_name_may_hold_any_character_and_no_two_stages_are_one_rule():
    odd = ["14_What's new?", "14_a-clipped", "14_-", "14_a-model", "14_x - clip", "14_größe", "14_gro_e"]
    odd += ["14_a b", "14_a-b", "14_a_b", "14_a.b"]
    assert {(stages.notebook_of(name), stages.source_of(name)) for name in odd} == {(name, "model") for name in odd}
    rules = [stages.rule_name(name) for name in (*stages.ALL_NAMES, *odd)]
    assert all(re.fullmatch(r"stage_\w+", rule, re.ASCII) for rule in rules) and len(set(rules)) == len(rules)
    assert stages.rule_name("07_calibration-clip") == "stage_07_calibration_clip"


def test_faults_of_declarations_are_told_in_sentences(root, monkeypatch):
    params = load_params("smoke")
    for name in {stages.notebook_of(name) for name in stages.ALL_NAMES}:
        write_text(root / "notebooks" / f"{name}.ipynb", "{}")
    assert stages.faults(params) == []
    added = stages.Spec("14_x", ("01_data", "05_tset"), ("data", "statistic"))
    again = stages.Spec("01_data", ("unheard_of",), ())
    monkeypatch.setattr(stages, "SPECS", (*SPECS, added, again))
    told = stages.faults(params)
    assert all(fault.startswith("lib/verdict/workflow/declarations.py: ") for fault in told)
    assert [fault.partition(": ")[2] for fault in told] == [
        "14_x is declared, and notebooks/14_x.ipynb does not exist",
        "14_x names '05_tset', which is no stage above it; did you mean '05_test'?",
        "14_x names 'statistic', which is no section of parameters; did you mean 'statistics'?",
        "01_data is declared twice",
        "01_data names 'unheard_of', which is no stage above it",
    ]


def test_the_projects_own_declarations_have_no_fault():
    for profile in paths.profiles():
        assert stages.faults(load_params(profile)) == []
    assert stages.undeclared() == []


def test_notebooks_that_nobody_declared_are_found(root):
    for name in ("01_data", "14_new", "05_test-Copy1", "Untitled", "notes 2"):
        write_text(root / "notebooks" / f"{name}.ipynb", "{}")
    assert stages.undeclared() == ["05_test-Copy1", "14_new"]


def test_concepts_need_descriptors(base):
    base["clip"] |= {"source": "folder", "folder": base["clip"]["folder"] | {"images": "mine"}}
    names = [declared.name for declared in stages.specs_for(validate(base, source="test"))]
    assert "12_clip_concepts" not in names and "10_clip_probes" in names
    base["concepts"]["bank"] = ["fur", "wings"]
    assert "12_clip_concepts" in [declared.name for declared in stages.specs_for(validate(base, source="test"))]


def test_a_stage_without_a_notebook_names_a_function_that_exists():
    for module, function in (*stages.RUNNERS.values(), stages.SEED_RUNNER):
        path = paths.LIBRARY.parent.joinpath(*module.split(".")).with_suffix(".py")
        assert f"\ndef {function}(stage: Stage)" in path.read_text(encoding="utf-8")
    assert set(stages.RUNNERS) <= stages.WITHOUT_NOTEBOOK


def test_runs_and_plans_of_a_profile():
    params = load_params("smoke")
    seeds = {"candidate": (11, 23), "control": (11,)}
    assert stages.runs(params) == [(one.name, seed) for one in params.training.trials for seed in seeds[one.role]]
    assert stages.plans(params) == [(0, 0), (0, 1), (1, 1)]
    assert stages.augmented_views(params) == [(1, 2)]


def test_the_trial_stage_alone_runs_more_than_once():
    params = load_params("smoke")
    assert stages.instances(params, "01_data") == [None]
    assert stages.instances(params, TRIAL_STAGE) == [trial.name for trial in params.training.trials]
    everything = stages.executions(params)
    assert len(set(everything)) == len(everything) == len(stages.specs_for(params)) - 1 + len(params.training.trials)
    assert list(dict.fromkeys(name for name, _ in everything)) == [s.name for s in stages.specs_for(params)]


def test_a_stage_is_finished_once_its_record_is_there(root):
    folder = stages.folder("smoke", "01_data")
    assert not stages.finished("smoke", "01_data")
    write_text(folder / "numbers.json", "{}")
    write_run(folder, outputs=[folder / "numbers.json"], inputs=[])
    assert stages.finished("smoke", "01_data")
    (folder / "run.json").write_text("{")
    assert not stages.finished("smoke", "01_data")
