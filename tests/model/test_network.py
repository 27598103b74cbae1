"""The network: what a plan trains, the shortcut of attention, and the cut into prefix and suffix."""

import itertools

import numpy as np
import pytest
import torch

import tiny_network as tiny
from verdict.model.backend import keras
from verdict.model.network import (
    STATES,
    FreezePlan,
    SingleQueryAttention,
    apply_plan,
    build_network,
    build_suffix,
    trainable_count,
)

PLANS = list(itertools.product(range(tiny.BLOCKS + 1), repeat=2))
SOME_PLANS = [(0, 0), (0, 2), (1, 2), (3, 3)]
IMAGES, TEXTS = np.array([0, 2, 2, 1, 0, 2, 1]), np.array([4, 0, 3, 3, 1, 2, 4])


@pytest.fixture(scope="module")
def network():
    return tiny.scatter(tiny.tiny_network())


@pytest.fixture(scope="module")
def inputs(network):
    return tiny.random_inputs(network, 5)


@pytest.mark.parametrize("plan", SOME_PLANS)
def test_watching_changes_no_answer(network, inputs, plan):
    plan = FreezePlan(*plan)
    vision, text = tiny.build_prefix(network, plan)
    encoded = {
        "a_image_rows": IMAGES.astype(np.int32),
        "a_text_rows": TEXTS.astype(np.int32),
        "image_tokens": vision.predict_on_batch(inputs["pixels"]),
        "hidden": text.predict_on_batch({name: inputs[name] for name in ("token_ids", "padding_mask")}),
        "padding_mask": inputs["padding_mask"],
    }
    states = build_suffix(network, plan, watched=STATES).predict_on_batch(encoded)
    assert set(states) == set(STATES)
    assert (states["logit"] == build_suffix(network, plan).predict_on_batch(encoded)).all()
    assert list(build_suffix(network, plan, watched=("attention",)).predict_on_batch(encoded)) == ["attention"]


@pytest.mark.parametrize("plan", [(0, 0), (2, 1), (3, 3)])
def test_a_plan_does_not_depend_on_what_was_set_before(network, plan):
    expected = apply_plan(network, FreezePlan(*plan)), trainable_count(network)
    for other in PLANS:
        apply_plan(network, FreezePlan(*other))
        assert (apply_plan(network, FreezePlan(*plan)), trainable_count(network)) == expected


def test_a_plan_overrides_a_layer_that_was_frozen_or_freed_as_a_whole(network):
    apply_plan(network, FreezePlan(0, 1))
    count = trainable_count(network)
    for is_trainable in (False, True):
        network.model.trainable = is_trainable
        apply_plan(network, FreezePlan(0, 1))
        assert trainable_count(network) == count


def test_trainable_weights_are_those_of_the_named_layers(network):
    names = apply_plan(network, FreezePlan(1, 2))
    weights = {weight.path for weight in network.model.trainable_variables}
    blocks = {
        "transformer_block_3",
        "transformer_layer_1",
        "transformer_layer_2",
        "xattn",
        "xattn_norm",
        "mlp_1",
        "logit",
    }
    assert {name.split(".")[1] for name in names} == blocks
    assert {path.removeprefix("vit_encoder/").split("/")[0] for path in weights} == blocks


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ((-1, 0), "vision_blocks must lie in 0..3 .* got -1"),
        ((4, 0), "vision_blocks must lie in 0..3 .* got 4"),
        ((0, -1), "text_blocks must lie in 0..3 .* got -1"),
        ((0, 4), "text_blocks must lie in 0..3 .* got 4"),
    ],
)
@pytest.mark.parametrize("use", [apply_plan, build_suffix])
def test_a_plan_out_of_range_is_refused(network, use, plan, message):
    with pytest.raises(ValueError, match=message):
        use(network, FreezePlan(*plan))


def test_a_sequence_longer_than_the_encoder_takes_is_refused(network):
    with pytest.raises(ValueError, match=r"sequence_length must lie in 2\.\.11 .* got 12"):
        build_network(network.vision, network.text, sequence_length=12, heads=3, key_dim=4, mlp_dim=17, dropout=0.0)


def test_weights_have_one_path_each_and_the_same_in_every_build(network):
    paths_of = [weight.path for weight in network.model.variables if "seed_generator" not in weight.path]
    assert len(set(paths_of)) == len(paths_of)
    assert list(tiny.weights_of(tiny.tiny_network(3))) == paths_of
    layers = ("xattn", "xattn_residual", "xattn_norm", "flatten_cls", "mlp_1", "drop_1", "logit")
    assert tuple(network.head) == layers


def attention_pair(dropout=0.0):
    """The shortcut and Keras' own layer with the same random weights, all biases included."""
    heads, key_dim, query, value = 3, 5, (None, 1, 7), (None, 11, 13)
    layers = [kind(heads, key_dim, dropout=dropout) for kind in (SingleQueryAttention, keras.layers.MultiHeadAttention)]
    rng = np.random.default_rng(4)
    for layer in layers:
        layer.build(query, value)
    weights = [rng.normal(size=weight.shape) / 3 for weight in layers[1].trainable_weights]
    for layer in layers:
        for weight, content in zip(layer.trainable_weights, weights, strict=True):
            weight.assign(content)
    return *layers, rng.normal(size=(17, 1, 7)).astype(np.float32), rng.normal(size=(17, 11, 13)).astype(np.float32)


def test_attention_with_one_query_equals_keras_layer():
    ours, theirs, query, value = attention_pair()
    assert [w.path.split("/", 1)[1] for w in ours.weights] == [w.path.split("/", 1)[1] for w in theirs.weights]
    found, scores = ours(query, value, return_attention_scores=True)
    expected, expected_scores = theirs(query, value, return_attention_scores=True)
    assert found.shape == (17, 1, 7)
    assert scores.shape == (17, 3, 1, 11)
    assert found.detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
    assert scores.detach().numpy() == pytest.approx(expected_scores.detach().numpy(), abs=1e-5)
    assert ours(query, value).detach().numpy() == pytest.approx(found.detach().numpy(), abs=0)


def test_its_gradients_equal_those_of_keras_layer():
    ours, theirs, query, value = attention_pair()
    towards = torch.from_numpy(np.random.default_rng(6).normal(size=(17, 1, 7)).astype(np.float32))
    gradients = []
    for layer in (ours, theirs):
        given = [torch.tensor(array, requires_grad=True) for array in (query, value)]
        (layer(*given) * towards).mean().backward()
        found = [weight.value.grad for weight in layer.trainable_weights] + [array.grad for array in given]
        gradients.append([gradient.numpy() for gradient in found])
    assert len(gradients[0]) == 8 + 2
    for one, other in zip(*gradients, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert sum(np.abs(gradient).max() > 1e-3 for gradient in gradients[0]) >= 9


def test_its_dropout_keeps_the_mean():
    """Attention is linear in the weights that dropout thins: the mean over many draws is the output without it."""
    ours, _, query, value = attention_pair(dropout=0.5)
    n = 20_011
    draws = ours(np.repeat(query[:1], n, 0), np.repeat(value[:1], n, 0), training=True).detach().numpy()
    still = ours(query[:1], value[:1], training=False).detach().numpy()
    spread = draws.std(axis=0)
    assert spread.min() > 0
    assert np.abs(draws.mean(axis=0) - still[0]).max() < 5 * spread.max() / np.sqrt(n)


def test_its_symbolic_shapes_are_those_that_it_returns():
    ours = attention_pair()[0]
    query, value = keras.Input((1, 7)), keras.Input((11, 13))
    assert ours(query, value).shape == (None, 1, 7)
    found, scores = ours(query, value, return_attention_scores=True)
    assert (found.shape, scores.shape) == ((None, 1, 7), (None, 3, 1, 11))


@pytest.mark.parametrize("plan", [*SOME_PLANS, (0, 3), (3, 0)])
def test_prefix_then_suffix_is_the_whole_network(network, inputs, plan):
    found = tiny.in_two_steps(network, FreezePlan(*plan), inputs, IMAGES, TEXTS)
    expected = tiny.whole(network, inputs, IMAGES, TEXTS)
    assert expected.std() > 0.05
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_suffix_trains_the_layers_of_the_network(network, inputs):
    before = tiny.whole(network, inputs, IMAGES, TEXTS)
    suffix = build_suffix(network, FreezePlan(1, 1))
    assert {id(weight) for weight in suffix.weights} <= {id(weight) for weight in network.model.weights}
    bias = network.head["logit"].bias
    bias.assign(bias + 0.5)
    assert tiny.whole(network, inputs, IMAGES, TEXTS) == pytest.approx(before + 0.5, abs=1e-5)
    bias.assign(bias - 0.5)


def test_padding_and_other_pairs_change_no_logit(network, inputs):
    expected = tiny.whole(network, inputs, IMAGES, TEXTS)
    hidden = {**inputs, "token_ids": np.where(inputs["padding_mask"] == 1, inputs["token_ids"], 7).astype(np.int32)}
    assert (hidden["token_ids"] != inputs["token_ids"]).any()
    assert tiny.whole(network, hidden, IMAGES, TEXTS) == pytest.approx(expected, abs=1e-5)
    assert tiny.whole(network, inputs, IMAGES[2:4], TEXTS[2:4]) == pytest.approx(expected[2:4], abs=1e-5)


def test_each_encoder_changes_the_logit(network, inputs):
    expected = tiny.whole(network, inputs, IMAGES, TEXTS)
    for name, value in {"pixels": 0.0, "token_ids": 3}.items():
        other = {**inputs, name: np.full_like(inputs[name], value)}
        assert np.abs(tiny.whole(network, other, IMAGES, TEXTS) - expected).max() > 1e-2, name
