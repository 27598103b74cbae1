"""Parameters: what a profile may hold, what is refused and how, and which changes a hash sees."""

import copy
import itertools

import pytest
import yaml

from verdict.base import paths
from verdict.base.params import (
    ParamsError,
    flatten,
    load_params,
    non_default,
    read_yaml,
    trial_difference,
    validate,
)

# Rules about several values at once speak of the section that holds them.
WHOLE = {"training.seeds": "training", "data.source": "data", "data.recorded.class_names": "data.recorded"}
WHOLE |= {"data.answers.model.prompt": "data.answers.model"}
WHOLE |= {"data.answers.classes": "data.answers", "data.answers.models": "data.answers"}
WHOLE |= {"policy.human.kind": "policy.human", "policy.human.confusion": "policy.human"}
PROFILES = sorted(path.stem for path in paths.PARAMS.glob("*.yaml") if path.stem != "rubric")
SHIPPED = sorted({"base", "digits", "smoke", "nlvr", "paper", "recorded", "example", "cifar10"} & set(PROFILES))
SHIPPED += ["paper_cifar100", "paper_imagenette"]


@pytest.fixture(scope="module")
def base():
    return read_yaml(paths.PARAMS / "base.yaml")


@pytest.fixture(scope="module")
def asking(base):
    """A sound base in which three questions are asked."""
    content = changed(changed(base, "policy.n_questions", 3), "clip_policy.n_questions", 3)
    validate(content, source="test")
    return content


def changed(base, dotted, value):
    """A copy of the base with one value set; a numeric part is an index into a list."""
    content = copy.deepcopy(base)
    *parents, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
    node = content
    for part in parents:
        node = node[part]
    node[last] = value
    return content


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_validates(profile):
    params = load_params(profile)
    assert params.as_dict() == validate(params.as_dict(), source="again").as_dict()


def test_only_the_smoke_profile_of_those_shipped_is_marked_as_one():
    assert {profile for profile in SHIPPED if load_params(profile).is_smoke} == {"smoke"}


def test_a_shipped_profile_holds_no_key_that_repeats_the_base(base):
    defaults = flatten(base)
    for profile in SHIPPED:
        if profile != "base":
            own = flatten(read_yaml(paths.PARAMS / f"{profile}.yaml"))
            repeated = [name for name in own.keys() & defaults.keys() if own[name] == defaults[name]]
            assert not [name for name in repeated if "trials" not in name], profile


def test_every_fault_is_listed(base):
    content = changed(changed(base, "training.batch_size", 0), "statistics.level", 1.5)
    with pytest.raises(ParamsError, match=r"2 faults") as caught:
        validate(content, source="profile 'x'")
    assert "training.batch_size" in str(caught.value)
    assert "statistics.level" in str(caught.value)
    assert str(caught.value).startswith("profile 'x'")


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("training.batch_size", 0),
        ("training.batch_size", 16.5),
        ("training.batch_size", True),
        ("training.global_clipnorm", 0.0),
        ("training.margin", 0.0),
        ("training.margin", 1.0),
        ("training.warmup.dropout", 1.0),
        ("training.warmup.learning_rate", -1.0e-3),
        ("training.warmup.schedule", "linear"),
        ("training.criterion", "accuracy"),
        ("training.seeds", []),
        ("training.seeds", [3, 3]),
        ("training.seeds", [-1]),
        ("training.photometric.brightness", -0.1),
        ("training.photometric.contrast", [1.12, 0.88]),
        ("training.photometric.saturation", [0.85]),
        ("training.photometric.hue", 0.6),
        ("training.photometric.noise_sd", "a"),
        ("training.trials.1.views", -1),
        ("training.trials.1.augment", "flip"),
        ("training.trials.1.oversample", {"counting": 0.9}),
        ("training.trials.1.oversample", ["counting"]),
        ("training.trials.2.text", "shuffled"),
        ("data.seed", -1),
        ("data.source", "mnist"),
        ("data.digits.n_pairs", {"train": 100}),
        ("data.digits.n_pairs.train", 7),
        ("data.nlvr.fractions", {"train": 0.5, "val": 0.2, "calib": 0.2}),
        ("data.nlvr.sha256", "abc"),
        ("data.nlvr.image_px.1", 4097),
        ("data.a2.calib_fraction", 0.0),
        ("data.a2.warmup", "snli"),
        ("data.snli_ve.n_train", 7),
        ("data.snli_ve.shards", [{"split": "test", "url": "https://a", "sha256": ""}]),
        ("report.published", "A 2"),
        ("data.csv.fractions", {"train": 0.5, "val": 0.1}),
        ("model.sequence_length", 3),
        ("model.vision_preset", 5),
        ("statistics.n_resamples", 99),
        ("statistics.level", 1.0),
        ("calibrate.alphas", [0.1, 0.0]),
        ("policy.human.accuracy", 0.4),
        ("policy.human.accuracy_on_errors", 0.4),
        ("policy.facts", {"refutes": 1.2, "proves": 0.5}),
        ("policy.costs.human", -0.1),
        ("policy.costs.error_of", {"entailed": 1.0}),
        ("policy.questions", {"is it true?": ["entailed"]}),
        ("policy.guarantee.error", 5.0),
        ("policy.guarantee.confidence", 1.0),
        ("policy.guarantee.error_by_class", {"entailed": 0.05}),
        ("policy.foreign.batch", 0.0),
        ("policy.critical_floor", 1.0),
        ("policy.critical_floor", {"view_stability": 1.0}),
        ("policy.critical_floor", {"views": 0.1}),
        ("policy.human.kind", "confusion"),
        ("policy.human.confusion", [[1.0, 0.0], [0.0, 1.0]]),
        ("policy.n_questions", 0),
        ("data.source", "recorded"),
        ("data.recorded.class_names", ["a", "a"]),
        ("data.recorded.class_names", ["a"]),
        ("data.recorded.tuning_share", 1.0),
        ("data.answers.classes", ["a"]),
        ("data.answers.models", ["a", "a"]),
        ("data.answers.form", "log"),
        ("data.answers.fractions", {"calib": 1.0}),
        ("data.answers.independent_from", "1 March"),
        ("data.answers.smallest_prob", 0.0),
        ("data.answers.model.revision", "main"),
        ("data.answers.model.batch", 0),
        ("data.answers.model.prompt", "Is it so?"),
        ("data.answers.model.prompt", "{hypothesis} or {hypothesis}?"),
        ("calibrate.raps_penalty", -1.0),
        ("execution.device", "tpu"),
        ("execution.threads", 0),
        ("is_smoke", "no"),
        ("title", None),
    ],
)
def test_an_impossible_value_is_refused_by_place(base, dotted, value):
    with pytest.raises(ParamsError) as caught:
        validate(changed(base, dotted, value), source="test")
    assert WHOLE.get(dotted, dotted) in str(caught.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"images": ""}, r"\(model\.hub\) needs images"),
        ({"classes": ["a", "b"], "form": "probs"}, r"leave out \['classes', 'form'\]"),
        ({"allow_missing_images": True}, r"leave out \['allow_missing_images'\]"),
    ],
)
def test_a_model_that_is_asked_answers_yes_or_no_about_every_image(base, own, message):
    answers = base["data"]["answers"]
    asked = {"table": "t.csv", "images": "i", "model": answers["model"] | {"hub": "a/b"}}
    sound = changed(base, "data.answers", answers | asked)
    assert validate(sound, source="test").data.own_files == ()
    with pytest.raises(ParamsError, match=message):
        validate(changed(base, "data.answers", answers | asked | own), source="test")


HUMAN = {"kind": "confusion", "accuracy": 0.9, "accuracy_on_errors": None, "clarify_accuracy": 0.8, "seed": 5}
EYE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def trial(name, parent, vision=0, text=0, **fields):
    fit = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1, "epochs": 2, "patience": 1, "schedule": "cosine"}
    return {"name": name, "parent": parent, "vision_blocks": vision, "text_blocks": text, **fit, **fields}


FAULTY_TREES = [
    ([trial("a", "warmup"), trial("a", "warmup")], "two trials are called 'a'"),
    ([trial("a", "b"), trial("b", "warmup")], "starts from 'b', which is not above it"),
    ([trial("a", "warmup", role="control")], "at least one trial must be a candidate"),
    ([trial("a", "warmup", text=2), trial("b", "a", text=1)], "freezes blocks that its parent 'a' trained"),
    ([trial("a", "warmup", vision=1), trial("b", "a", text=1)], "freezes blocks that its parent 'a' trained"),
    ([trial("A", "warmup")], "String should match pattern"),
    ([trial("a", "warmup", role="control"), trial("b", "a")], "candidate 'b' starts from the control 'a'"),
    ([trial("a", "warmup", image="blank")], "'a' does not see the whole pair: give it role: control"),
    ([trial("a", "warmup", views=2)], "augment: none and views: 2 contradict each other"),
    ([trial("a", "warmup", augment="photometric")], "augment: photometric and views: 0 contradict each other"),
]


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("training.warmup.learning_rate", float("nan"), "only plain numbers"),
        ("training.warmup.learning_rate", b"bytes", "only plain numbers"),
        ("training.warmup.learning_rate", "1e-3", r"expected a number, got the text '1e-3'.*write 1\.0e-3"),
        ("title", "a\x07", r"title: the text holds the control character U\+0007"),
        ("policy.human", HUMAN | {"confusion": [[0.9, 0.2], [0.2, 0.8]]}, "each row summing to 1"),
        ("policy.human", HUMAN | {"confusion": [[0.9, 0.1]]}, "square"),
        ("policy.human", HUMAN | {"confusion": EYE}, "has 3 rows for 2 classes"),
        ("policy.questions", {"a?": ["entailment"], "b?": ["entailment"]}, "n_questions is 3, but there are 2"),
        ("clip_policy.questions", {"a?": ["one"]}, "n_questions is 3, but there are 1 questions"),
        ("clip_policy.question_prompts", {"a?": ["b", "c"]}, r"question_prompts of \['a\?'\], which are no questions"),
        ("data.csv.labels", {"1": "entailment"}, "labels: must name a word for each"),
        ("data.source", "csv", r"source csv needs csv\.table"),
        ("clip.source", "folder", r"source folder needs folder\.images"),
        ("statistics", {"n_resamples": 100, "level": 0.9, "seed": 7}, r"statistics\.ece_bins: Field required"),
        ("traning", 3, "traning: unknown key; did you mean 'training'"),
        ("training.batch_sise", 3, "training.batch_sise: unknown key; did you mean 'batch_size'"),
        ("training.trials.1.lerning_rate", 3, "trials.1.lerning_rate: unknown key; did you mean 'learning_rate'"),
        ("policy.costs.humans", 3, "policy.costs.humans: unknown key; did you mean 'human'"),
        ("data.nlvr.sha265", 3, "data.nlvr.sha265: unknown key; did you mean 'sha256'"),
        *(("training.trials", trials, message) for trials, message in FAULTY_TREES),
    ],
)
def test_an_impossible_value_is_refused_by_cause(asking, dotted, value, message):
    with pytest.raises(ParamsError, match=message):
        validate(changed(asking, dotted, value), source="test")


def test_a_table_of_pictures_is_named_beside_their_folder(base):
    content = changed(changed(base, "clip.source", "csv"), "clip.folder.images", "pictures")
    with pytest.raises(ParamsError, match=r"clip: source csv needs folder\.table"):
        validate(content, source="test")


@pytest.mark.parametrize(("name", "message"), [("../digits", "a plain name"), ("Bench", "no profile may be called")])
def test_a_profile_has_a_plain_name_of_its_own(name, message):
    with pytest.raises(ParamsError, match=message):
        load_params(name)


def test_a_deep_tree_of_trials_is_accepted(base):
    trials = [trial("a", "warmup"), trial("b", "a", 0, 1), trial("c", "b", 2, 1), trial("d", "a", 1, 0)]
    params = validate(changed(base, "training.trials", trials), source="test")
    assert params.trial("c").parent == "b"
    with pytest.raises(KeyError, match="no trial is called 'cc'; did you mean 'c'"):
        params.trial("cc")


def test_the_published_ranges_are_the_default(base):
    """Brightness within 0.12, contrast 0.88 to 1.12, saturation 0.85 to 1.15, hue within 0.05, noise of 0.02."""
    ranges = validate(base, source="test").training.photometric
    assert (ranges.brightness, ranges.contrast, ranges.saturation) == (0.12, (0.88, 1.12), (0.85, 1.15))
    assert (ranges.hue, ranges.noise_sd) == (0.05, 0.02)


def test_trials_are_compared_by_what_they_do(base):
    plain, more = trial("a", "warmup", text=1), trial("b", "warmup", text=1, oversample={"counting": 1.5, "gender": 2})
    seen = trial("c", "warmup", text=1, augment="photometric", views=3, role="control")
    params = validate(changed(base, "training.trials", [plain, more, seen]), source="test")
    one, two, three = params.training.trials
    assert trial_difference(one, one) == {}
    assert trial_difference(one, two) == {"oversample": ({}, {"counting": 1.5, "gender": 2.0})}
    assert trial_difference(two, one) == {"oversample": ({"counting": 1.5, "gender": 2.0}, {})}
    assert trial_difference(one, three) == {"augment": ("none", "photometric"), "views": (0, 3)}


def test_the_hash_sees_every_value_but_where_it_runs(base):
    original = validate(base, source="test").hash
    for dotted, value in {"execution.threads": 7, "execution.device": "cpu", "execution.feature_batch": 3}.items():
        assert validate(changed(base, dotted, value), source="test").hash == original
    changes = {
        "training.warmup.dropout": 0.11,
        "training.trials.2.epochs": 5,
        "training.seeds": [11, 23],
        "training.photometric.hue": 0.04,
        "training.trials.1.oversample": {"counting": 1.5},
        "data.seed": 43,
        "policy.costs.clarify": 0.26,
        "model.heads": 2,
    }
    hashes = [validate(changed(base, dotted, value), source="test").hash for dotted, value in changes.items()]
    assert all(a != b for a, b in itertools.combinations([original, *hashes], 2))


def test_parameters_cannot_be_changed_later():
    params = load_params("smoke")
    with pytest.raises(ValueError, match="frozen"):
        params.training.batch_size = 3


def test_only_values_that_really_differ_are_named(tmp_path):
    text = (paths.PARAMS / "base.yaml").read_text()
    (tmp_path / "base.yaml").write_text(text)
    trials = yaml.safe_load(text)["training"]["trials"]
    spelled_out = {**trials[0], "image": "shown", "role": "candidate"}
    trials = [spelled_out, {**trials[1], "epochs": 1}, *trials[3:], trial("extra", "warmup")]
    own = {"title": "Own", "statistics": {"level": 0.95}, "policy": {"costs": {"human": 2}}}
    own["training"] = {"trials": trials}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    assert non_default(load_params("base")) == []
    named = non_default(load_params("own", tmp_path), tmp_path)
    options = ("image", "text", "augment", "views", "role")
    extra = [f"training.trials.extra.{field}" for field in (*trial("extra", "warmup"), *options)]
    assert named == sorted(
        ["title", "policy.costs.human", "training.trials.text2.epochs", "training.trials.frozen_longer", *extra]
    )
