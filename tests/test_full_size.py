"""The published architecture at its full width and depth, from the study's formats to predictions; random weights."""

import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

import tiny_network as tiny
from mini_corpora import image_ids, number_of, photo, write_a2, write_snli_ve
from verdict.base.files.images import ImageStore
from verdict.base.params import load_params
from verdict.data.sources import build_dataset
from verdict.model.backend import keras_hub, set_threads
from verdict.model.features import Features, encode, load_encoders, load_network
from verdict.model.fit import Rows, Shown, fit, load_weights, predict_logits, read_weights, save_weights
from verdict.model.network import FreezePlan, apply_plan, build_suffix, trainable_count
from verdict.model.predict import logits_of, prediction_table

pytestmark = pytest.mark.slow
WORDS = ["a", "dog", "is", "outside", "two", "people", "talk", "nobody", "there", "man", "swims", "of", "v", "w", "."]
DEEP = FreezePlan(1, 3)
PX = 224


def save_presets(vision, text):
    """ViT-B/16 at 224 pixels and DistilBERT base, whose vocabulary is a few words and as many tokens as it has."""
    keras_hub.models.ViTBackbone(
        image_shape=(PX, PX, 3), patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072
    ).save_to_preset(str(vision))
    keras_hub.layers.ViTImageConverter(image_size=(PX, PX), scale=1 / 127.5, offset=-1.0).save_to_preset(str(vision))
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary = [*known, *(f"[unused{k}]" for k in range(len(known), 30_522))]
    tokenizer = keras_hub.models.DistilBertTokenizer(vocabulary=vocabulary, lowercase=True)
    keras_hub.models.DistilBertBackbone(
        vocabulary_size=len(vocabulary), num_layers=6, num_heads=12, hidden_dim=768, intermediate_dim=3072
    ).save_to_preset(str(text))
    keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer).save_to_preset(str(text))


@pytest.fixture(scope="module")
def folder():
    """A folder of this file's own: pytest keeps its temporary ones, and these weights take a gigabyte."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def params(folder):
    set_threads(1)
    vision, text = folder / "vision", folder / "text"
    save_presets(vision, text)
    gc.collect()
    paper = load_params("paper")
    model = paper.model.model_copy(update={"vision_preset": str(vision), "text_preset": str(text)})
    corpus = paper.data.snli_ve.model_copy(update={"n_train": 8, "n_val": 4})
    data = paper.data.model_copy(
        update={"snli_ve": corpus, "a2": paper.data.a2.model_copy(update={"independent": None, "calib_fraction": 0.3})}
    )
    return paper.model_copy(update={"model": model, "data": data})


@pytest.fixture(scope="module")
def built(params, folder):
    """The miniature in the study's formats, through the profile's own source."""
    root = folder / "data"
    ids = write_a2(root, n_images=9)
    write_snli_ve(root, [*ids[:6], *image_ids(2, start=20)], image_ids(2, start=30), n=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERDICT_DATA", str(root))
        dataset = build_dataset(params.data, root / "store")
    return dataset.pairs, ImageStore.open(root / "store")


@pytest.fixture(scope="module")
def encoders(params):
    return load_encoders(params.model)


@pytest.fixture(scope="module")
def cache(params, built, folder):
    counts = encode(params.model, *built, [FreezePlan(), DEEP], folder / "cache", batch=8)
    return folder / "cache", counts


def test_encoders_take_images_and_words_as_the_presets_say(encoders, built):
    assert encoders.image_size == (PX, PX)
    assert encoders.vision.count_params() == 85_798_656
    pixels = encoders.pixels(built[1].load(list(built[1].ids)[:1], size=(PX, PX)))
    expected = np.asarray(photo(number_of(next(iter(built[1].ids)))).resize((PX, PX)), dtype=float) / 127.5 - 1
    assert pixels.shape == (1, PX, PX, 3) and -1 <= pixels.min() < -0.5 < 0.5 < pixels.max() <= 1
    assert np.abs(pixels[0] - expected).mean() < 0.1
    ids, mask = encoders.tokens(["A dog is outside."])
    assert ids.shape == (1, 24) and ids[0, :7].tolist() == [2, 5, 6, 7, 8, 19, 3] and mask.sum() == 7


def test_what_is_cached_has_the_published_shapes(built, cache):
    pairs, _ = built
    stored, counts = cache
    assert counts["n_images"] == pairs["image_id"].nunique()
    shallow, deep = Features.open(stored, FreezePlan()), Features.open(stored, DEEP)
    assert shallow.image_tokens.shape == deep.image_tokens.shape == (counts["n_images"], 197, 768)
    assert (shallow.hidden.shape[1:], deep.hidden.shape[1:]) == ((1, 768), (24, 768))


def rows_of(features, pairs, *splits):
    return Rows.of(features, pairs[pairs["split"].isin(splits)].reset_index(drop=True))


def two_steps(params, built, cache, plan, fit_params, splits, folder, *, parent=None, encoders=None):
    """Two optimiser steps on a network that starts from the presets and, where given, from a parent's weights."""
    pairs, _ = built
    network = load_network(params.model, dropout=fit_params.dropout, seed=11, encoders=encoders)
    if parent is not None:
        load_weights(network, read_weights(parent))
    features = Features.open(cache[0], plan)
    train, val = (rows_of(features, pairs, split) for split in splits)
    one_epoch = fit_params.model_copy(update={"epochs": 1})
    training = params.training.model_copy(update={"batch_size": -(-len(train) // 2)})
    state, shown = folder / "state.npz", Shown(features, train, val)
    outcome = fit(network, plan, shown, one_epoch, training, seed=11, checkpoint=state)
    save_weights(network, folder / "weights.npz", parent=read_weights(parent) if parent else None)
    return network, features, outcome


@pytest.fixture(scope="module")
def warmup(params, built, encoders, cache, folder):
    """The network after its warm-up, which changes no encoder; the folder holds its weights."""
    (folder / "trial" / "warmup").mkdir(parents=True)
    splits, place = ("warmup_train", "warmup_val"), folder / "trial" / "warmup"
    chosen = params.training.warmup
    network, _, outcome = two_steps(params, built, cache, FreezePlan(), chosen, splits, place, encoders=encoders)
    assert outcome.n_trainable == 2_758_145
    return network


def test_the_published_size(warmup):
    assert warmup.model.count_params() == 154_919_681
    assert (warmup.n_image_tokens, len(warmup.vision_layers), len(warmup.text_layers)) == (14 * 14 + 1, 12, 6)


@pytest.mark.parametrize(
    ("plan", "count", "blocks"),
    [
        ((0, 0), 2_758_145, []),
        ((0, 2), 16_933_889, ["text.transformer_layer_4", "text.transformer_layer_5"]),
        ((0, 3), 24_021_761, [f"text.transformer_layer_{i}" for i in (3, 4, 5)]),
        ((1, 2), 24_021_761, ["vision.transformer_block_12", *(f"text.transformer_layer_{i}" for i in (4, 5))]),
        ((1, 3), 31_109_633, ["vision.transformer_block_12", *(f"text.transformer_layer_{i}" for i in (3, 4, 5))]),
    ],
)
def test_each_plan_trains_exactly_its_layers(warmup, plan, count, blocks):
    head = ["head.xattn", "head.xattn_norm", "head.mlp_1", "head.logit"]
    assert apply_plan(warmup, FreezePlan(*plan)) == [*blocks, *head]
    assert trainable_count(warmup) == count
    assert sum(int(np.prod(w.shape)) for w in build_suffix(warmup, FreezePlan(*plan)).trainable_variables) == count


def test_the_head_and_a_block_add_up():
    """The counts by arithmetic: four projections with biases, a norm, two dense layers; a block is two norms more."""
    d, inner, hidden = 768, 12 * 64, 512
    projections = 3 * (d * inner + inner) + inner * d + d
    assert projections + 2 * d + (d * hidden + hidden) + (hidden + 1) == 2_758_145
    block = 4 * (d * d + d) + 2 * (2 * d) + (d * 4 * d + 4 * d) + (4 * d * d + d)
    assert 2 * block == 16_933_889 - 2_758_145
    assert block == 31_109_633 - 24_021_761


def test_the_published_network_splits_exactly(warmup):
    inputs = tiny.random_inputs(warmup, 2)
    rows = np.array([0, 1, 1]), np.array([1, 1, 0])
    two_steps = tiny.in_two_steps(warmup, FreezePlan(1, 2), inputs, *rows)
    assert two_steps == pytest.approx(tiny.whole(warmup, inputs, *rows), abs=1e-5)


@pytest.mark.usefixtures("warmup")
def test_warmup_then_the_deepest_trial_then_predictions(params, built, encoders, cache, folder):
    pairs, store = built
    own = folder / "trial"
    trial = params.trial("vision1_text3")
    assert (trial.vision_blocks, trial.text_blocks) == (DEEP.vision_blocks, DEEP.text_blocks)
    parent = own / "warmup" / "weights.npz"
    network, features, outcome = two_steps(params, built, cache, DEEP, trial, ("train", "val"), own, parent=parent)
    assert outcome.n_trainable == 31_109_633
    assert np.isfinite(outcome.history["train_loss"]).all()
    stored, before = read_weights(own / "weights.npz"), read_weights(parent)
    assert all(not np.array_equal(stored[name], value) for name, value in before.items() if "kernel" in name)
    test = pairs[pairs["split"] == "test"].reset_index(drop=True)
    logit = predict_logits(build_suffix(network, DEEP), features, Rows.of(features, test))
    table = prediction_table(test, logit, stage="03", trial=trial.name, seed=11)
    assert len(table) == len(test) and logits_of(table).shape == (len(test), 2)
    ids, mask = encoders.tokens(test["hypothesis"].tolist()[:1])
    pixels = encoders.pixels(store.load(test["image_id"].tolist()[:1], size=encoders.image_size))
    whole = network.model.predict_on_batch({"pixels": pixels, "token_ids": ids, "padding_mask": mask})
    # Other batches, other roundings of single precision, through twelve and six blocks.
    assert logit[0] == pytest.approx(float(whole[0, 0]), abs=5e-4)
