"""Counts of arithmetic and bytes: by hand on a small network, and against torch's own counter."""

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tiny_network as tiny
from verdict.backend import keras
from verdict.bench.limits import (
    PASSES_OF_A_TRAINED_WEIGHT,
    Load,
    Machine,
    Pass,
    Shape,
    block_flops,
    filling,
    head_flops,
    measure_machine,
    our_epoch,
    published_epoch,
    text_flops,
    trained_weights,
    vision_flops,
)
from verdict.model import FreezePlan, apply_plan, build_network, build_prefix, build_suffix, trainable_count

# Sizes of `tiny_network`: 3 blocks an encoder, 2 x 3 patches and the class token, 5 words.
SHAPE = Shape(
    tokens=7,
    words=5,
    patch_values=16 * 16 * 3,
    d_vision=10,
    d_text=14,
    mlp_vision=22,
    mlp_text=26,
    vision_blocks=3,
    text_blocks=3,
    heads=3,
    inner=12,
    mlp=17,
)
PLANS = [FreezePlan(0, 0), FreezePlan(0, 2), FreezePlan(1, 0), FreezePlan(2, 3)]


@pytest.fixture(scope="module")
def network():
    return tiny.tiny_network(dropout=0.2)


def test_sizes_are_read_from_a_network(network):
    assert Shape.of(network) == SHAPE


def test_a_block_by_hand():
    projections, attention, dense = 4 * 7 * 10 * 10, 2 * 7 * 7 * 10, 2 * 7 * 10 * 22
    assert block_flops(7, 10, 22) == 2 * (projections + attention + dense)


def test_encoders_by_hand():
    assert vision_flops(SHAPE, 0) == 2 * 6 * 768 * 10
    assert vision_flops(SHAPE, 2) == 2 * 6 * 768 * 10 + 2 * block_flops(7, 10, 22)
    assert text_flops(SHAPE, 3) == 3 * 2 * (4 * 5 * 14 * 14 + 2 * 5 * 5 * 14 + 2 * 5 * 14 * 26)


def test_the_head_by_hand():
    dense = 14 * 17 + 17
    single = 14 * 12 + (12 * 10 + 3 * 7 * 10) + (3 * 7 * 10 + 12 * 10) + 12 * 14 + dense
    keras_own = 14 * 12 + 2 * 7 * 10 * 12 + 2 * 7 * 12 + 12 * 14 + dense
    assert head_flops(SHAPE, is_single_query=True)["forward"] == 2 * single
    assert head_flops(SHAPE, is_single_query=False)["forward"] == 2 * keras_own
    # Neither words nor tokens train: only the weights' gradients of what meets them.
    trained = 2 * 14 * 12 + 3 * 2 * 12 * 10 + 2 * 2 * 3 * 7 * 10 + 3 * 12 * 14 + 3 * dense
    assert head_flops(SHAPE, is_single_query=True)["train"] == 2 * trained


@pytest.mark.parametrize(("tokens", "giga"), [(197, 17.5), (577, 55.4)])
def test_the_published_vision_transformer_has_its_known_cost(tokens, giga):
    """Multiply-adds of ViT-B/16 at 224 and 384 pixels: Liu et al. (2021), Swin transformer, table 1 (a)."""
    shape = Shape(tokens, 24, 768, 768, 768, 3072, 3072, 12, 6, 12, 768, 512)
    assert vision_flops(shape, 12) / 2 / 1e9 == pytest.approx(giga, rel=0.01)


def counted(call, *, backward=False):
    """Floating-point operations of matrix products, by torch; attention as plain products, which it can count."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        found = call()
        if backward:
            found.sum().backward()
    return counter.get_total_flops()


def suffix_inputs(network, plan, n):
    rng = np.random.default_rng(0)
    words = network.sequence_length if plan.text_blocks else 1
    arrays = {
        "a_image_rows": np.arange(n, dtype=np.int32),
        "a_text_rows": np.arange(n, dtype=np.int32),
        "image_tokens": rng.normal(size=(n, 7, 10)).astype(np.float32),
        "hidden": rng.normal(size=(n, words, 14)).astype(np.float32),
        "padding_mask": np.ones((n, 5), dtype=np.int32),
    }
    return {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()}


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_torch_counts_the_same_for_ours(network, plan):
    """Forward and backward of a suffix on three pairs that share nothing, as training and as validation."""
    apply_plan(network, plan)
    suffix, inputs = build_suffix(network, plan), suffix_inputs(network, plan, 3)
    none, three = Pass(0, 0, 0, 0), Pass.undivided(3, 3)
    assert counted(lambda: suffix(inputs, training=True), backward=True) == our_epoch(SHAPE, plan, three, none).flops
    assert counted(lambda: suffix(inputs, training=False)) == our_epoch(SHAPE, plan, none, three).flops


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_torch_counts_the_same_for_the_published_network(network, plan):
    sizes = {"sequence_length": 5, "heads": 3, "key_dim": 4, "mlp_dim": 17, "dropout": 0.2}
    whole = build_network(network.vision, network.text, **sizes, attention=keras.layers.MultiHeadAttention)
    apply_plan(whole, plan)
    inputs = {name: keras.ops.convert_to_tensor(array) for name, array in tiny.random_inputs(whole, 3).items()}
    expected = published_epoch(SHAPE, plan, Pass.undivided(3, 3), Pass(0, 0, 0, 0)).flops
    assert counted(lambda: whole.model(inputs, training=True), backward=True) == expected


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_torch_counts_the_same_for_prefixes(network, plan):
    vision, text = build_prefix(network, plan)
    inputs = {name: keras.ops.convert_to_tensor(array) for name, array in tiny.random_inputs(network, 3).items()}
    words = {name: inputs[name] for name in ("token_ids", "padding_mask")}
    images_alone = filling(SHAPE, plan, n_images=3, n_texts=0).flops
    assert counted(lambda: vision(inputs["pixels"], training=False)) == images_alone
    assert counted(lambda: text(words, training=False)) == filling(SHAPE, plan, n_images=0, n_texts=3).flops


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_trained_weights_are_those_of_the_network(network, plan):
    apply_plan(network, plan)
    assert trained_weights(SHAPE, plan) == trainable_count(network)


def test_a_pass_counts_each_distinct_side_once_a_batch():
    image, text = np.array([0, 0, 1, 1, 1]), np.array([3, 3, 3, 4, 5])
    assert Pass.of(image, text, 2) == Pass(pairs=5, images=1 + 1 + 1, texts=1 + 2 + 1, batches=3)
    assert Pass.undivided(5, 2) == Pass(5, 5, 5, 3)


def test_bytes_by_hand():
    load = our_epoch(SHAPE, FreezePlan(0, 1), Pass(20, 11, 13, 4), Pass(5, 2, 3, 1))
    features = (11 + 2) * 7 * 10 + (13 + 3) * 5 * 14
    weights = trained_weights(SHAPE, FreezePlan(0, 1)) * (4 * PASSES_OF_A_TRAINED_WEIGHT + 1)
    assert load.bytes == 4 * (features + weights)


def test_the_limit_is_the_slower_of_computing_and_moving():
    machine = Machine(flops_per_s=10.0, bytes_per_s=2.0)
    assert Load(flops=100.0, bytes=8.0).seconds(machine) == 100 / 10
    assert Load(flops=100.0, bytes=30.0).seconds(machine) == 30 / 2


def test_this_machine_is_between_a_watch_and_a_supercomputer():
    machine = measure_machine(seconds=0.0)
    assert 1e8 < machine.flops_per_s < 1e15
    assert 1e8 < machine.bytes_per_s < 1e13
