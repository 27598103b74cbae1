"""Counts of arithmetic and bytes: by hand on a small network, and against a published one."""

import numpy as np
import pytest
from tests.bench import limits
from tests.bench.limits import Load, Machine, Pass, counted, filling, our_epoch, published_epoch

import tiny_network as tiny
from verdict.model.backend import keras, keras_hub
from verdict.model.network import FreezePlan, apply_plan, build_network, trainable_count

# Of `tiny_network`: 3 blocks an encoder, 2 x 3 patches of 16 x 16 pixels and the class token, 5 words.
TOKENS, WORDS, PIXELS, D_VISION, D_TEXT, MLP_VISION, MLP_TEXT, INNER, HEADS, MLP = 7, 5, 4608, 10, 14, 22, 26, 12, 3, 17
NONE, ONE = Pass(0, 0, 0, 0), Pass.undivided(1, 1)
DENSE = D_TEXT * MLP + MLP


@pytest.fixture(scope="module")
def network():
    return tiny.tiny_network(dropout=0.2)


@pytest.fixture(scope="module")
def whole(network):
    sizes = {"sequence_length": WORDS, "heads": HEADS, "key_dim": INNER // HEADS, "mlp_dim": MLP, "dropout": 0.2}
    return build_network(network.vision, network.text, **sizes, attention=keras.layers.MultiHeadAttention)


def block(n, d, mlp):
    """Projections, scores and their use, dense layers."""
    return 2 * (4 * n * d * d + 2 * n * n * d + 2 * n * d * mlp)


PATCHES = 2 * PIXELS * D_VISION
VISION, TEXT = block(TOKENS, D_VISION, MLP_VISION), block(WORDS, D_TEXT, MLP_TEXT)


@pytest.mark.parametrize(("plan", "blocks"), [(FreezePlan(0, 0), (3, 3)), (FreezePlan(2, 3), (1, 0))], ids=str)
def test_prefixes_by_hand(network, plan, blocks):
    found = filling(network, plan, n_images=11, n_texts=13)
    assert found.flops == 11 * (PATCHES + blocks[0] * VISION) + 13 * blocks[1] * TEXT
    assert found.bytes == 4 * (11 * (PIXELS + TOKENS * D_VISION) + 13 * D_TEXT * (WORDS if plan.text_blocks else 1))


def test_the_head_by_hand(network, whole):
    single = D_TEXT * INNER + 2 * (INNER * D_VISION + HEADS * TOKENS * D_VISION) + INNER * D_TEXT + DENSE
    keras_own = D_TEXT * INNER + 2 * TOKENS * D_VISION * INNER + 2 * TOKENS * INNER + INNER * D_TEXT + DENSE
    assert our_epoch(network, FreezePlan(), NONE, ONE).flops == 2 * single
    assert published_epoch(whole, FreezePlan(), NONE, ONE).flops == PATCHES + 3 * (VISION + TEXT) + 2 * keras_own
    # Neither words nor tokens train: only the weights' gradients of what meets them.
    attention = 3 * 2 * INNER * D_VISION + 2 * 2 * HEADS * TOKENS * D_VISION
    trained = 2 * D_TEXT * INNER + attention + 3 * INNER * D_TEXT + 3 * DENSE
    assert our_epoch(network, FreezePlan(), ONE, NONE).flops == 2 * trained


def test_trained_blocks_run_once_for_each_distinct_side(network):
    """What projects the first trained text block's input passes no gradient on; an image's norm in front does."""
    plan, shared, apart = FreezePlan(1, 2), Pass(7, 3, 5, 1), Pass.undivided(7, 7)
    saved = our_epoch(network, plan, apart, NONE).flops - our_epoch(network, plan, shared, NONE).flops
    assert saved == 4 * 3 * VISION + 2 * (3 * 2 * TEXT - 2 * WORDS * 3 * D_TEXT**2)
    saved = our_epoch(network, plan, NONE, apart).flops - our_epoch(network, plan, NONE, shared).flops
    assert saved == 4 * VISION + 2 * 2 * TEXT


def test_the_published_vision_transformer_has_its_known_cost():
    """Multiply-adds of ViT-B/16 at 224 pixels: Liu et al. (2021), Swin transformer, table 1 (a)."""
    sizes = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
    vision = keras_hub.models.ViTBackbone(image_shape=(224, 224, 3), patch_size=16, **sizes)
    pixels = keras.ops.zeros((1, 224, 224, 3))
    assert counted(lambda: vision(pixels, training=False)) / 2 / 1e9 == pytest.approx(17.5, rel=0.01)


def test_a_pass_counts_each_distinct_side_once_a_batch():
    image, text = np.array([0, 0, 1, 1, 1]), np.array([3, 3, 3, 4, 5])
    assert Pass.of(image, text, 2) == Pass(pairs=5, images=1 + 1 + 1, texts=1 + 2 + 1, batches=3)
    assert Pass.undivided(5, 2) == Pass(5, 5, 5, 3)


def test_bytes_by_hand(network, whole):
    plan, train, val = FreezePlan(0, 1), Pass(20, 11, 13, 4), Pass(5, 2, 3, 1)
    apply_plan(network, plan)
    trained = trainable_count(network)
    moved = trained * (4 * limits.PASSES_OF_A_TRAINED_WEIGHT + 1)
    features = (11 + 2) * TOKENS * D_VISION + (13 + 3) * WORDS * D_TEXT
    assert our_epoch(network, plan, train, val).bytes == 4 * (features + moved)
    apply_plan(network, FreezePlan(3, 3))
    frozen = (trainable_count(network) - trained) * (4 + 1)
    assert published_epoch(whole, plan, train, val).bytes == 4 * ((20 + 5) * PIXELS + moved + frozen)


def test_the_limit_is_the_slower_of_computing_and_moving():
    machine = Machine(flops_per_s=10.0, bytes_per_s=2.0)
    assert Load(flops=100.0, bytes=8.0).seconds(machine) == 100 / 10
    assert Load(flops=100.0, bytes=30.0).seconds(machine) == 30 / 2


def test_this_machine_is_between_a_watch_and_a_supercomputer():
    machine = limits.measure_machine(seconds=0.0)
    assert 1e8 < machine.flops_per_s < 1e15
    assert 1e8 < machine.bytes_per_s < 1e13
