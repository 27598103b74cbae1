"""Training stages: another pair's image, and every kind of trial from features to predictions on tiny presets."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import make_stage
from tiny_presets import SIZE, save_presets
from verdict.base import paths
from verdict.base.artifacts import write_json, write_parquet, write_run
from verdict.base.files.images import ImageStore, write_array_store
from verdict.base.params import FitParams, TrialParams, load_params
from verdict.model import fit, trials
from verdict.model.features import encode, load_encoders, load_network
from verdict.model.fit import load_weights, read_weights
from verdict.model.network import FreezePlan
from verdict.model.trials import (
    as_shown,
    exposure,
    oversampled,
    shown_text,
    shuffle_images,
    train_trial,
    train_warmup,
    view_examples,
)
from verdict.workflow import stages
from verdict.workflow.stage import Stage


def pairs_of(sizes: list[int]) -> pd.DataFrame:
    groups = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    images = [f"{group}-image" for group in groups]
    hypotheses = [f"sentence {k}" for k in range(len(groups))]
    return pd.DataFrame({"group_id": groups, "image_id": images, "hypothesis": hypotheses})


@pytest.mark.parametrize("sizes", [[1, 1, 2], [3, 3, 3], [5, 2, 7, 1, 3], [1] * 13])
def test_no_pair_keeps_an_image_of_its_own_group(sizes):
    pairs = pairs_of(sizes)
    shuffled = shuffle_images(pairs, np.random.default_rng(1))
    assert (shuffled["image_id"] != pairs["image_id"]).all()
    assert sorted(shuffled["image_id"]) == sorted(pairs["image_id"])
    assert shuffled["hypothesis"].equals(pairs["hypothesis"])


def test_a_group_of_more_than_half_cannot_be_shuffled():
    with pytest.raises(ValueError, match="5 of 9 pairs are of one group"):
        shuffle_images(pairs_of([5, 2, 2]), np.random.default_rng(1))


def test_shuffling_depends_on_the_seed_alone():
    pairs = pairs_of([2, 3, 5, 1])
    one, same, other = (shuffle_images(pairs, np.random.default_rng(seed))["image_id"].tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_state_of_other_libraries_is_another_identity(monkeypatch, tmp_path):
    stage = make_stage("02_warmup", tmp_path)
    monkeypatch.setattr(type(stage), "record", lambda *_: {"outputs": {"work/smoke/features/presets.json": "a"}})
    before = trials._identity(stage, None, ())
    assert trials._identity(stage, None, ()) == before
    monkeypatch.setattr(trials, "package_versions", lambda: {"torch": "0"})
    assert trials._identity(stage, None, ()) != before


SPLIT = {"warmup_train": 24, "warmup_val": 12, "train": 48, "val": 24, "calib": 6, "test": 24}
TEXTS = ["there is a red seven", "two blue ones", "a red seven", "there is a blue one"]
FIT = {"learning_rate": 1e-2, "weight_decay": 0.0, "dropout": 0.1, "epochs": 2, "patience": 2, "schedule": "cosine"}
OPTIONS = {
    "text1": {"text_blocks": 1},
    "vision1": {"text_blocks": 1, "vision_blocks": 1},
    "augmented": {"text_blocks": 1, "augment": "photometric", "views": 2},
    "oversampled": {"text_blocks": 1, "oversample": {"count": 2.0}},
    "image_only": {"text": "blank", "role": "control"},
    "deep_image_only": {"text_blocks": 1, "text": "blank", "role": "control"},
}


def profile(presets, **options):
    """The smoke profile on tiny presets with a warm-up and trials of its own."""
    params = load_params("smoke")
    listed = [
        TrialParams(**{"name": name, "parent": "warmup", "vision_blocks": 0, "text_blocks": 0, **FIT, **own})
        for name, own in {**OPTIONS, **options}.items()
    ]
    fields = {"trials": tuple(listed), "warmup": FitParams(**{**FIT, "epochs": 1}), "seeds": (7,), "batch_size": 16}
    trials = params.training.model_copy(update=fields)
    return params.model_copy(update={"training": trials, "model": presets})


def make_pairs(rng):
    """Pairs of six an image; half of the sentences are of the family "count"."""
    rows = []
    for split, n in SPLIT.items():
        for k in range(n):
            image, text = f"{split}-{k // 6}", TEXTS[int(rng.integers(4))]
            label = ("entailment", "contradiction")[int(rng.integers(2))]
            family = "count" if text in TEXTS[1::2] else "colour"
            rows.append((f"{image}-{k}", image, image, text, label, split, family))
    return pd.DataFrame(rows, columns=["pair_id", "image_id", "group_id", "hypothesis", "label", "split", "family"])


def finish(stage):
    stage.save()
    outputs = [path for path in sorted(stage.folder.rglob("*")) if path.is_file() and path.name != "run.json"]
    write_run(stage.folder, outputs=outputs, inputs=[])


def open_at(params, name, trial=None, seed=None):
    return Stage(name, "smoke", trial, seed, stages.folder("smoke", name, trial), params)


def encode_all(params):
    """Run the features stage of a profile, as the driver does."""
    stage = open_at(params, stages.FEATURES)
    plans = [FreezePlan(*plan) for plan in stages.plans(params)]
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    options = {"views": dict(stages.augmented_views(params)), "photometric": params.training.photometric}
    encode(params.model, stage.pairs(), images, plans, stage.folder, batch=8, **options)
    write_json(stage.path("presets.json"), {})
    finish(stage)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Data, features and a warm-up in a project of its own; its parameters, and the pixels by image id."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        patch.setattr(paths, "WORK", root / "work")
        rng = np.random.default_rng(5)
        params = profile(save_presets(root / "vision", root / "text"))
        data = open_at(params, "01_data")
        pairs = make_pairs(rng)
        ids = list(pd.unique(pairs["image_id"]))
        pixels = rng.integers(40, 216, (len(ids), *SIZE, 3)).astype(np.uint8)
        write_array_store(data.path("images"), {"all": (ids, pixels)})
        write_parquet(data.path("pairs.parquet"), pairs)
        finish(data)
        encode_all(params)
        warmup = open_at(params, "02_warmup")
        train_warmup(warmup)
        finish(warmup)
        yield params, dict(zip(ids, pixels, strict=True))


def trained(params, trial):
    """One trial with its only seed, 7, and the epochs that it told."""
    stage = open_at(params, stages.TRIAL_STAGE, trial)
    told = []
    stage.progress = lambda text: told.extend([text] * text.startswith("epoch"))
    return stage, train_trial(stage)[7], told


@pytest.fixture(scope="module")
def outcomes(project):
    return {name: trained(project[0], name) for name in OPTIONS}


def whole_network(params, stage, pixels, pairs):
    """Logits of pairs by the whole network with a trial's stored weights, from pixels and words."""
    encoders = load_encoders(params.model)
    network = load_network(params.model, dropout=0.0, seed=0, encoders=encoders)
    load_weights(network, read_weights(stage.path(stages.weights_file(7))))
    ids, mask = encoders.tokens(list(pairs["hypothesis"]))
    shown = encoders.pixels(np.stack([pixels[image_id] for image_id in pairs["image_id"]]))
    return network.model.predict_on_batch({"pixels": shown, "token_ids": ids, "padding_mask": mask})[:, 0]


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_kind_of_trial_predicts_what_its_whole_network_says(project, outcomes, name):
    """Features, fit and prediction together: the stored weights, on plain pixels, give the prediction table."""
    params, pixels = project
    stage, run, told = outcomes[name]
    pairs = as_shown(stage.pairs("val", "calib", "test"), stage.trial)
    assert run.predictions["pair_id"].tolist() == pairs["pair_id"].tolist()
    expected = whole_network(params, stage, pixels, pairs)
    assert run.predictions["logit_1"].to_numpy() == pytest.approx(expected, abs=1e-4)
    assert np.std(expected) > 1e-3
    assert len(told) == 2
    assert set(run.shuffled["stage"]) == {"shuffled"} and len(run.shuffled) == SPLIT["test"]


def test_a_vision_trial_trains_the_last_block_of_vision(outcomes):
    stage, run, _ = outcomes["vision1"]
    _, plain, _ = outcomes["text1"]
    assert [name for name in run.fit.trainable if name.startswith("vision")] == ["vision.transformer_block_2"]
    # One block of width 10 and inner width 22: four projections, two normalisations, two dense layers.
    block = 4 * (10 * 10 + 10) + 2 * 2 * 10 + (10 * 22 + 22) + (22 * 10 + 10)
    assert run.fit.n_trainable - plain.fit.n_trainable == block
    moved = [name for name in read_weights(stage.path(stages.weights_file(7))) if "transformer_block" in name]
    assert moved and all("transformer_block_2/" in name for name in moved)


@pytest.mark.parametrize("name", ["image_only", "deep_image_only"])
def test_the_image_only_control_does_not_read(outcomes, name):
    stage, run, _ = outcomes[name]
    by_image = run.predictions.groupby("image_id")["logit_1"]
    assert by_image.std().max() < 1e-5
    assert by_image.mean().std() > 1e-3
    sentences = stage.pairs("val").groupby("image_id")["hypothesis"].nunique()
    assert sentences.min() > 1


def test_options_change_the_weights_of_a_trial(outcomes):
    kernel = {
        name: read_weights(stage.path(stages.weights_file(7)))["mlp_1/kernel"]
        for name, (stage, _, _) in outcomes.items()
    }
    assert not np.array_equal(kernel["text1"], kernel["augmented"])
    assert not np.array_equal(kernel["text1"], kernel["oversampled"])


def n_steps(trial):
    with np.load(paths.work_dir("smoke") / "checkpoints" / f"{trial}-s7.npz") as state:
        return int(state["optimiser_0000"][0])


def test_oversampling_shows_its_bucket_more_often_in_as_many_steps(project, outcomes):
    stage, _, _ = outcomes["oversampled"]
    assert n_steps("oversampled") == n_steps("text1") == 2 * SPLIT["train"] // 16
    pairs = stage.pairs("train")
    n_count = int((pairs["family"] == "count").sum())
    row = exposure(pairs, stage.trial, 7).iloc[0]
    assert (row["bucket"], row["weight"], row["n_pairs"]) == ("count", 2.0, n_count)
    assert row["share"] == pytest.approx(n_count / 48)
    assert row["share_of_epoch"] == pytest.approx(2 * n_count / (48 + n_count))
    drawn = oversampled(pairs, stage.trial, 7)
    assert drawn["pair_id"].tolist()[:48] == pairs["pair_id"].tolist()
    assert drawn["pair_id"].tolist() != oversampled(pairs, stage.trial, 8)["pair_id"].tolist()
    assert exposure(pairs, outcomes["text1"][0].trial, 7).empty


def test_no_two_draws_of_a_run_share_a_stream(project, monkeypatch):
    """The order of each epoch, the oversampled rows and the control's images: six draws, six states of a generator."""
    states = []

    def recorded(function):
        def wrapper(*args, **options):
            rng = next(one for one in (*args, *options.values()) if isinstance(one, np.random.Generator))
            states.append(rng.bit_generator.state["state"]["state"])
            return function(*args, **options)

        return wrapper

    for module, name in ((fit, "epoch_order"), (trials, "oversample"), (trials, "shuffle_images")):
        monkeypatch.setattr(module, name, recorded(getattr(module, name)))
    options = {"text_blocks": 1, "oversample": {"count": 2.0}, "epochs": 4, "patience": 4}
    trained(profile(project[0].model, streams=options), "streams")
    assert len(states) == len(set(states)) == 6


def test_a_bucket_that_is_not_there_is_named_before_training(project):
    params = profile(project[0].model, typo={"text_blocks": 1, "oversample": {"counts": 2.0}})
    with pytest.raises(ValueError, match=r"no buckets \['counts'\]; there are \['colour', 'count'"):
        trained(params, "typo")


def test_examples_of_views_stand_beside_their_image(outcomes, project):
    stage, _, _ = outcomes["augmented"]
    images, titles = view_examples(stage, 2)
    assert titles == ["plain", "view 1", "view 2"] * 2
    assert np.array_equal(images[0], project[1]["train-0"])
    assert all(image.shape == (*SIZE, 3) and image.dtype == np.uint8 for image in images)
    assert 2 < np.abs(images[1].astype(float) - images[0]).mean() < 60
    assert view_examples(outcomes["text1"][0], 2) == ([], [])


def test_a_drawn_setting_is_shown_with_three_digits():
    trial = load_params("smoke").training.trials[0].model_copy(update={"learning_rate": 0.00101611, "epochs": 12345})
    told = trials.describe(SimpleNamespace(trial=trial)).set_index("parameter")["value"]
    assert (told["learning_rate"], told["epochs"]) == ("0.00102", "12345")


def test_what_an_epoch_shows_is_said(project):
    said = {name: shown_text(project[0].trial(name)) for name in OPTIONS}
    assert said["text1"] == said["vision1"] == "An epoch shows every training pair once, with its plain image."
    assert "one of 2 augmented views" in said["augmented"]
    assert "some buckets more often" in said["oversampled"]
    assert "the empty text for a hypothesis" in said["image_only"]


def test_states_of_other_trials_stay_valid_when_features_grow(project, outcomes):
    """One more depth and more views: features are encoded anew, and finished runs but the changed one are read back."""
    params = profile(
        project[0].model,
        augmented={**OPTIONS["augmented"], "views": 3},
        deeper={"vision_blocks": 2, "text_blocks": 2},
    )
    encode_all(params)
    assert trained(params, "text1")[2] == []
    assert trained(params, "oversampled")[2] == []
    assert len(trained(params, "augmented")[2]) == 2


def test_a_trial_trains_each_of_its_seeds_as_that_seed_alone(project):
    """By seed, whatever others there are: numbers are a function of seed and parameters; a finished seed is read."""
    params = profile(project[0].model, twice={"text_blocks": 1}, image_only=OPTIONS["image_only"])
    both = params.training.model_copy(update={"seeds": (7, 13), "n_control_seeds": 1})
    params = params.model_copy(update={"training": both})
    ahead = open_at(params, stages.TRIAL_STAGE, "twice", 13)
    trials.train_ahead(ahead)
    assert not list(ahead.folder.glob("weights*")), "its state is all that it leaves"
    told = []
    stage = open_at(params, stages.TRIAL_STAGE, "twice")
    stage.progress = told.append
    runs = train_trial(stage)
    assert told == ["seed 7", *(one for one in told if one.startswith("epoch")), "seed 13"]
    tables = trials.together(runs)
    assert list(runs) == [7, 13] == sorted(set(tables["history"]["seed"])) == sorted(set(tables["predictions"]["seed"]))
    assert tables["history"].groupby("seed")["is_kept"].sum().tolist() == [1, 1]
    for seed in (7, 13):
        (paths.work_dir("smoke") / "checkpoints" / f"twice-s{seed}.npz").unlink()
    again = train_trial(stage)
    assert again[13].predictions["logit_1"].tolist() == runs[13].predictions["logit_1"].tolist()
    assert runs[7].predictions["logit_1"].tolist() != runs[13].predictions["logit_1"].tolist()
    assert list(train_trial(open_at(params, stages.TRIAL_STAGE, "image_only"))) == [7]
