"""What a notebook is told, and which change of the parameters re-runs which stage."""

import copy
from itertools import pairwise

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.params import ParamsError, load_params, read_yaml, validate
from verdict.workflow import stages
from verdict.workflow.stage_parameters import parameter_model, resolved
from verdict.workflow.stages import FEATURES, SPECS, TRIAL_STAGE

# Stages that read the list of trials.
CANDIDATES = {"frozen", "text2", "frozen_longer"}
LISTING = {"04_model_selection", "05_test", "06_interpretation", "13_defects", "13_reproducibility"}


@pytest.fixture
def base():
    return read_yaml(paths.PARAMS / "base.yaml")


def everything(content):
    """What each stage, and each trial, depends on."""
    params = validate(content, source="test")
    asked = {(declared.name,): resolved(params, declared.name) for declared in SPECS if declared.name != TRIAL_STAGE}
    trials = stages.instances(params, TRIAL_STAGE)
    return asked | {(TRIAL_STAGE, trial): resolved(params, TRIAL_STAGE, trial) for trial in trials}


def affected(base, change):
    before = everything(base)
    change(base)
    after = everything(base)
    return {key[-1] for key in before.keys() & after.keys() if before[key] != after[key]}


def set_trial(content, number, **options):
    content["training"]["trials"][number] |= options


def add_trial(content, **options):
    content["training"]["trials"].append({**content["training"]["trials"][1], "name": "extra", **options})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content["training"]["seeds"].append(97), {*CANDIDATES, *LISTING}),
        (add_trial, LISTING),
        (lambda content: add_trial(content, vision_blocks=1), {FEATURES, *LISTING}),
        (lambda content: content["training"].update(margin=0.02), LISTING),
        (lambda content: content["training"]["photometric"].update(hue=0.01), set()),
        (
            lambda content: content["policy"]["costs"].update(human=3.0),
            {"07_calibration", "08_policy", "08_with_people", "09_independent_set"},
        ),
        (lambda content: content["execution"].update(threads=7), set()),
    ],
    ids=["a seed", "a trial", "a new depth", "the margin", "unused ranges", "costs", "where it runs"],
)
def test_a_change_re_runs_what_depends_on_it_alone(base, change, expected):
    assert affected(base, change) == expected


@pytest.mark.parametrize(
    "option", [{"epochs": 7}, {"oversample": {"counting": 1.5}}, {"text": "blank", "role": "control"}]
)
def test_an_option_re_runs_its_trial_and_what_lists_the_trials(base, option):
    add_trial(base)
    assert affected(base, lambda content: set_trial(content, -1, **option)) == {"extra", *LISTING}


def test_views_are_encoded_once_and_re_run_what_shows_them(base):
    own = {FEATURES, base["training"]["trials"][1]["name"], *LISTING}
    augmented = {"augment": "photometric", "views": 3}
    assert affected(copy.deepcopy(base), lambda content: set_trial(content, 1, **augmented)) == own
    set_trial(base, 1, **augmented)
    assert stages.augmented_views(validate(base, source="test")) == [(0, 3)]
    for change in (
        lambda content: set_trial(content, 1, views=4),
        lambda content: content["training"]["photometric"].update(hue=0.01),
    ):
        assert affected(copy.deepcopy(base), change) == own
    # A trial with fewer views of the same depth needs none that are not there.
    fewer = {**base["training"]["trials"][1], "name": "extra", "views": 2}
    assert affected(base, lambda content: content["training"]["trials"].append(fewer)) == LISTING


def test_a_rebuilt_preset_re_runs_what_it_fed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    params = load_params("smoke")
    assert resolved(params, FEATURES)["presets"] == {}
    asked = []
    for text in "12":
        write_text(tmp_path / params.model.vision_preset / "config.json", text)
        asked.append((resolved(params, FEATURES), resolved(params, "04_model_selection")))
    (fed, apart), (fed_again, apart_again) = asked
    assert list(fed["presets"]) == [params.model.vision_preset]
    assert fed != fed_again and apart == apart_again


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


def test_a_changed_table_of_answers_or_image_re_runs_what_reads_it(base, tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    base["data"]["source"] = "answers"
    base["data"]["answers"] |= {"table": "a.csv", "images": "img"}
    params = validate(base, source="test")
    asked = [resolved(params, stages.RECORDED)["files"]]
    assert asked[0] == {"a.csv": "", "img": ""}
    for file in ("a.csv", "img/1.png", "img/2.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        write_text(tmp_path / file, "1")
        asked.append(resolved(params, stages.RECORDED)["files"])
    assert [name for one, other in pairwise(asked) for name in one if one[name] != other[name]] == [
        "a.csv",
        "img",
        "img",
    ]


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


def test_a_page_that_judges_several_sources_is_told_which():
    own = parameter_model("07_calibration")(profile="smoke", source="clip")
    assert own.model_dump() == {"profile": "smoke", "source": "clip"}
    with pytest.raises(ValueError, match="source"):
        parameter_model("07_calibration")(source="nobody")


@pytest.mark.parametrize("changed", ["pairs.csv", "images/a.png", "images/b/c.png"])
def test_a_changed_table_or_picture_re_runs_what_reads_it(base, tmp_path, changed):
    """Not only a changed path: what stood in the table before would be reported for what stands there now."""
    write_text(tmp_path / "pairs.csv", "image,label\n")
    write_text(tmp_path / "images" / "a.png", "a")
    own = {"table": str(tmp_path / "pairs.csv"), "images": str(tmp_path / "images")}
    for section, key in (("data", "csv"), ("clip", "folder")):
        base[section] |= {"source": "csv", key: base[section][key] | own}
    reads = (stages.CLIP_EMBEDDINGS, stages.CLIP_ANSWERS)

    def asked():
        params = validate(base, source="test")
        return {name: resolved(params, name) for name in ("01_data", FEATURES, *reads)}

    before = asked()
    assert asked() == before
    write_text(tmp_path / changed, "something else")
    assert {name for name, value in asked().items() if value != before[name]} == {"01_data", *reads}
