"""The kept network seen from inside: the states of the graph that answers, and its answers to masked images."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import make_stage
from tiny_network import scatter, whole
from tiny_presets import SIZE, save_presets
from verdict.base.files.images import ImageStore, write_array_store
from verdict.base.params import load_params
from verdict.data.pairs import make_pair_id
from verdict.model.backend import keras, set_threads
from verdict.model.features import Features, encode, load_encoders, load_network
from verdict.model.fit import save_weights
from verdict.model.kept import KeptModel, load_model
from verdict.model.network import STATES, FreezePlan, apply_plan
from verdict.model.predict import prediction_table
from verdict.pages import interpretation
from verdict.pages.interpretation import ATTENDED, CONTRAST, LEAST, RANDOM
from verdict.workflow.stages import FEATURES, TRIAL_STAGE, weights_file

HYPOTHESES = ["there is a red seven", "two blue ones", "a red seven above", "there is two"]
N_IMAGES, N_PAIRS, GRID = 7, 43, (2, 3)
PLANS = [FreezePlan(0, 0), FreezePlan(0, 1), FreezePlan(1, 2)]


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    set_threads(1)
    keras.utils.set_random_seed(5)
    return save_presets(tmp_path_factory.mktemp("vision"), tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(1)
    image, text = rng.integers(0, N_IMAGES, N_PAIRS), rng.integers(0, len(HYPOTHESES), N_PAIRS)
    table = pd.DataFrame(
        {"image_id": [f"scene{i}" for i in image], "hypothesis": [HYPOTHESES[i] for i in text], "split": "test"}
    )
    labels = np.where(rng.random(N_PAIRS) < 0.5, "entailment", "contradiction")
    table["pair_id"] = [make_pair_id(row.image_id, f"{row.hypothesis} {k}") for k, row in enumerate(table.itertuples())]
    return table.assign(label=labels, group_id=table["image_id"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, *SIZE, 3)).astype(np.uint8)
    folder = tmp_path_factory.mktemp("store")
    write_array_store(folder, {"all": ([f"scene{i}" for i in range(N_IMAGES)], images)})
    return ImageStore.open(folder)


@pytest.fixture(scope="module")
def cache(params, pairs, store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    encode(params, pairs, store, PLANS, folder, batch=4)
    return folder


def opened_with(params, store, cache, plan):
    """A network with random weights wherever the plan lets it train; the rest are the presets'."""
    encoders = load_encoders(params)
    network = load_network(params, dropout=0.3, seed=3, encoders=encoders)
    apply_plan(network, plan)
    rng = np.random.default_rng(4)
    for weight in network.model.trainable_variables:
        weight.assign(rng.normal(0, 0.4, size=weight.shape).astype(np.float32))
    return KeptModel(network, encoders, plan, Features.open(cache, plan), store, batch=5)


@pytest.fixture(scope="module", params=PLANS, ids=str)
def opened(request, params, store, cache):
    return opened_with(params, store, cache, request.param)


@pytest.fixture(scope="module")
def frozen(params, store, cache):
    return opened_with(params, store, cache, PLANS[0])


def by_whole_network(opened, pairs, images):
    ids, mask = opened.encoders.tokens(pairs["hypothesis"].tolist())
    inputs = {"pixels": opened.encoders.pixels(images), "token_ids": ids, "padding_mask": mask}
    rows = np.arange(len(pairs))
    return whole(opened.network, inputs, rows, rows)


def test_the_logit_beside_the_attention_is_the_networks(opened, pairs):
    states = interpretation.observe(opened, pairs)
    expected = by_whole_network(opened, pairs, opened.pictures(pairs["image_id"]))
    assert expected.std() > 0.05
    assert states["logit"] == pytest.approx(expected, abs=1e-5)


def test_states_have_their_shapes_and_attention_sums_to_one(opened, pairs):
    states = interpretation.observe(opened, pairs)
    assert {name: state.shape for name, state in states.items()} == {
        "take_cls_token": (N_PAIRS, 14),
        "attention": (N_PAIRS, 3, 1 + 2 * 3),
        "xattn": (N_PAIRS, 14),
        "xattn_norm": (N_PAIRS, 14),
        "mlp_1": (N_PAIRS, 17),
        "logit": (N_PAIRS,),
    }
    assert tuple(states) == STATES
    assert states["attention"].sum(axis=-1) == pytest.approx(1, abs=1e-5)
    assert states["attention"].min() >= 0
    assert states["attention"].std(axis=-1).max() > 1e-3


def test_the_attended_state_is_the_attention_over_the_tokens(opened, pairs):
    """Heads by hand: softmax weights times values of the tokens, through the layer's own projections."""
    states, layer = interpretation.observe(opened, pairs), opened.network.head["xattn"]
    images = opened.pictures(pairs["image_id"])
    tokens = np.asarray(opened.network.vision.predict_on_batch(opened.encoders.pixels(images)))
    values = np.einsum("btd,dhk->bhtk", tokens, layer.value_dense.kernel.numpy())
    values += layer.value_dense.bias.numpy()[None, :, None, :]
    heads = np.einsum("bht,bhtk->bhk", states["attention"], values)
    expected = np.einsum("bhk,hkd->bd", heads, layer.output_dense.kernel.numpy()) + layer.output_dense.bias.numpy()
    assert states["xattn"] == pytest.approx(expected, abs=1e-4)


def test_the_logit_and_the_attention_move_with_the_image(opened, pairs):
    states = interpretation.observe(opened, pairs)
    exchanged = interpretation.observe_exchanged(opened, pairs, np.random.default_rng(1))
    assert (np.abs(exchanged - states["logit"]) > 1e-4).mean() > 0.9
    one = pairs.assign(hypothesis=HYPOTHESES[0])
    by_image = pd.DataFrame(interpretation.observe(opened, one)["attention"][:, 0]).groupby(one["image_id"]).first()
    assert by_image.std(axis=0).max() > 1e-3


def answer_pictures(model, pairs, pictures):
    """Logits of pairs that are shown a picture each."""
    rows = np.arange(len(pairs))
    return next(model.answers(pairs.assign(image_id=rows), rows, [pictures]))


def test_masked_pictures_are_answered_as_the_whole_network_does(opened, pairs):
    images, rng = opened.pictures(pairs["image_id"]), np.random.default_rng(2)
    fill = interpretation.usual_picture(opened, pairs["image_id"], rng)
    masked = interpretation.mask_patches(images, rng.random((N_PAIRS, 6)) < 0.5, fill, GRID)
    found = answer_pictures(opened, pairs, masked)
    assert found == pytest.approx(by_whole_network(opened, pairs, masked), abs=1e-5)


def test_the_grid_is_the_encoders(opened):
    assert opened.grid == GRID


def test_the_usual_picture_is_the_median_of_distinct_images(frozen, pairs):
    repeated = [*pairs["image_id"], *["scene3"] * 50]
    found = interpretation.usual_picture(frozen, repeated, np.random.default_rng(1))
    distinct = frozen.pictures(sorted(set(repeated)))
    assert found.dtype == np.uint8
    assert (found == np.median(distinct, axis=0).astype(np.uint8)).all()


def test_a_sample_is_drawn_without_repeats_in_order():
    found = interpretation.sample_rows(101, 40, np.random.default_rng(1))
    assert len(set(found)) == 40 and (np.diff(found) > 0).all() and found.max() < 101
    assert interpretation.sample_rows(7, 40, np.random.default_rng(1)).tolist() == list(range(7))
    assert found.tolist() != interpretation.sample_rows(101, 40, np.random.default_rng(2)).tolist()


def stage_with(folder, shares):
    """A stage whose masks cover these shares of the patches."""
    stage = make_stage("06_interpretation", folder)
    asked = stage.params.interpret.model_copy(update={"mask_shares": shares})
    return dataclasses.replace(stage, _params=load_params("smoke").model_copy(update={"interpret": asked}))


def test_deletion_masks_in_every_order_and_ends_at_the_same_picture(frozen, pairs, tmp_path):
    stage, pairs = stage_with(tmp_path, (0.2, 0.5, 0.99)), pairs.iloc[:13]
    weights = interpretation.split_tokens(interpretation.observe(frozen, pairs)["attention"].mean(axis=1), 6)[1]
    fill = interpretation.usual_picture(frozen, pairs["image_id"], np.random.default_rng(2))
    found = interpretation.delete_patches(stage, frozen, pairs, weights, fill, np.random.default_rng(3))
    assert found.counts == [1, 3, 6]
    assert set(found.masked) == {ATTENDED, RANDOM, CONTRAST, LEAST}
    assert found.logit == pytest.approx(interpretation.observe(frozen, pairs)["logit"], abs=1e-5)
    for masked in found.masked.values():
        assert masked.shape == (3, 13)
        assert masked[2] == pytest.approx(found.masked[ATTENDED][2], abs=1e-5)
    assert not np.allclose(found.masked[ATTENDED][0], found.masked[LEAST][0], atol=1e-3)
    top = interpretation.mask_patches(
        frozen.pictures(pairs["image_id"]), interpretation.firsts(np.argsort(-weights, axis=1), 1), fill, GRID
    )
    assert found.masked[ATTENDED][0] == pytest.approx(answer_pictures(frozen, pairs, top), abs=1e-5)


def test_examples_carry_what_was_attended(frozen, pairs):
    states = interpretation.observe(frozen, pairs)
    logit = states["logit"] - np.median(states["logit"]) - 1e-3
    table = prediction_table(pairs, logit, stage="s", trial="t", seed=1)
    found = interpretation.draw_examples(frozen, table, pairs, states["attention"])
    rows = interpretation.example_pairs(table)["row"]
    assert {key: len(part) for key, part in found.items()} == dict.fromkeys(("images", "maps", "shares", "titles"), 4)
    for place, row in enumerate(rows):
        pair, title = pairs.iloc[row], found["titles"][place]
        is_right = (logit[row] >= 0) == (pair["label"] == "contradiction")
        assert title == f"{pair['hypothesis']} ({pair['label']}; answered {'rightly' if is_right else 'wrongly'})"
        assert (found["images"][place] == frozen.pictures([pair["image_id"]])[0]).all()
        assert found["shares"][place].tolist() == states["attention"][row, :, 0].tolist()
        assert (found["maps"][place].reshape(3, -1) == states["attention"][row, :, 1:]).all()
        assert found["maps"][place].shape == (3, *GRID)


@dataclasses.dataclass
class Recorded:
    """What `load_model` reads of a stage."""

    folders: dict
    all_params: object
    params: object
    threads: int = 1

    def upstream(self, name, file, trial=None):
        return self.folders[name] / file

    def upstream_folder(self, name):
        return self.folders[name]


def test_the_kept_network_is_the_one_that_was_stored(params, store, cache, pairs, tmp_path):
    plan = PLANS[2]
    trained = opened_with(params, store, cache, plan)
    save_weights(trained.network, tmp_path / weights_file(11))
    (tmp_path / "images").symlink_to(store.folder)
    trial = SimpleNamespace(vision_blocks=plan.vision_blocks, text_blocks=plan.text_blocks)
    everything = SimpleNamespace(trial=lambda name: trial, execution=SimpleNamespace(feature_batch=5))
    folders = {"01_data": tmp_path, TRIAL_STAGE: tmp_path, FEATURES: cache}
    stage = Recorded(folders, everything, SimpleNamespace(model=params))
    found = load_model(stage, SimpleNamespace(trial="text1", seed=11))
    expected = interpretation.observe(trained, pairs)
    for name, state in interpretation.observe(found, pairs).items():
        assert state == pytest.approx(expected[name], abs=1e-6), name
    scatter(found.network)
    assert not np.allclose(interpretation.observe(found, pairs)["logit"], expected["logit"], atol=1e-3)


def test_layers_hold_the_states_of_their_own_pairs(frozen, pairs):
    splits = np.array(["val", "calib", "test"])[np.arange(N_PAIRS) % 3]
    table = pairs.assign(split=splits)
    stage = SimpleNamespace(pairs=lambda split: table[table["split"] == split].reset_index(drop=True))
    test = interpretation.observe(frozen, stage.pairs("test"))
    layers = interpretation.labelled_layers(stage, frozen, test)
    assert list(layers) == list(interpretation.LAYERS)
    everything = interpretation.observe(frozen, table)
    for name, parts in layers.items():
        for split, part in zip(("val", "calib", "test"), parts, strict=True):
            assert part.x == pytest.approx(everything[name][splits == split], abs=1e-5)
            assert part.y.tolist() == (table["label"][splits == split] == "contradiction").astype(int).tolist()
            assert part.groups.tolist() == table["image_id"][splits == split].tolist()
