"""The suffix as one function of torch tensors, against the Keras graph of the same weights."""

import numpy as np
import pytest
import torch

import tiny_network as tiny
from verdict.model.direct import DirectSuffix, encode_images, encode_words
from verdict.model.network import FreezePlan, apply_plan, build_suffix, text_prefix, vision_prefix

PLANS = [(0, 0), (0, 1), (0, 3), (1, 0), (2, 2)]
IMAGE_ROWS, TEXT_ROWS = np.array([0, 2, 1, 1, 3], np.int32), np.array([0, 0, 2, 1, 1], np.int32)


@pytest.fixture(scope="module")
def network():
    return tiny.scatter(tiny.tiny_network(dropout=0.3))


def cached(network, plan):
    """Random stored prefixes of four images and three sentences, the longest shorter than the sequence."""
    rng = np.random.default_rng(4)
    words = network.sequence_length if plan.text_blocks else 1
    lengths = np.array([[2], [4], [3]])
    return {
        "a_image_rows": IMAGE_ROWS,
        "a_text_rows": TEXT_ROWS,
        "image_tokens": rng.normal(size=(4, network.n_image_tokens, network.vision.hidden_dim)).astype(np.float32),
        "hidden": rng.normal(size=(3, words, network.text.hidden_dim)).astype(np.float32),
        "padding_mask": (np.arange(network.sequence_length) < lengths).astype(np.int32),
    }


def gradients(model, inputs, weights):
    for weight in weights:
        weight.grad = None
    logit = model(inputs)
    (logit * torch.linspace(1, 2, len(logit))[:, None]).sum().backward()
    return logit.detach().numpy(), [weight.grad.numpy().copy() for weight in weights]


@pytest.mark.parametrize("plan", PLANS)
def test_logits_and_gradients_are_those_of_the_keras_model(network, plan):
    plan = FreezePlan(*plan)
    apply_plan(network, plan)
    inputs, direct = cached(network, plan), DirectSuffix(network, plan)
    weights = [variable.value for variable in direct.trainable_variables]
    expected, slopes = gradients(build_suffix(network, plan), inputs, weights)
    found, own = gradients(direct, inputs, weights)
    assert found == pytest.approx(expected, abs=1e-6 * max(1.0, float(np.abs(expected).max())))
    assert direct.predict_on_batch(inputs) == pytest.approx(found, abs=1e-6 * max(1.0, float(np.abs(expected).max())))
    scale = float(max(np.abs(slope).max() for slope in slopes))
    for one, other in zip(own, slopes, strict=True):
        assert one == pytest.approx(other, abs=1e-6 * scale)


def test_dropout_acts_in_training_alone_and_by_the_seed(network):
    plan = FreezePlan(0, 2)
    inputs, direct = cached(network, plan), DirectSuffix(network, plan)

    def drawn(seed):
        direct.seed(seed)
        return direct(inputs, training=True).detach().numpy()

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))
    assert np.array_equal(direct.predict_on_batch(inputs), direct.predict_on_batch(inputs))


def test_a_mean_over_masks_is_near_the_logit_without(network):
    """Dropped values are made up for: over many masks the hidden layer's dropout changes nothing on average."""
    plan = FreezePlan()
    inputs, direct = cached(network, plan), DirectSuffix(network, plan)
    attention, rate = network.head["xattn"], network.head["xattn"].dropout
    attention._dropout = 0.0
    means = []
    for seed in range(25):
        direct.seed(seed)
        means.append(np.mean([direct(inputs, training=True).detach().numpy()[:, 0] for _ in range(20)], axis=0))
    attention._dropout, many = rate, np.stack(means)
    error = many.std(axis=0, ddof=1) / np.sqrt(len(many))
    assert (np.abs(many.mean(axis=0) - direct.predict_on_batch(inputs)[:, 0]) < 5 * error).all()


@pytest.mark.parametrize("means", [False, True])
@pytest.mark.parametrize("depths", [[0], [1], [0, 2], [1, 3]])
def test_prefixes_are_those_of_the_keras_graphs(network, depths, means):
    rng = np.random.default_rng(5)
    pixels = rng.normal(size=(3, *network.vision.input_shape[1:])).astype(np.float32)
    mask = (np.arange(network.sequence_length) < [[2], [4], [3]]).astype(np.int32)
    words = {"token_ids": rng.integers(5, 9, mask.shape).astype(np.int32), "padding_mask": mask}
    for build, encode, inputs in ((vision_prefix, encode_images, pixels), (text_prefix, encode_words, words)):
        expected = build(network, depths, means=means).predict_on_batch(inputs)
        for one, other in zip(encode(network, depths, "float32", means, inputs), np_list(expected), strict=True):
            assert one.shape == other.shape and one.dtype == np.float32
            assert one == pytest.approx(other, abs=1e-6 * max(1.0, float(np.abs(other).max())))
        assert {found.dtype for found in encode(network, depths, "float16", means, inputs)} == {np.dtype(np.float16)}


def np_list(found):
    return found if isinstance(found, list) else [found]
