"""A network with every part of the real one and sizes that differ wherever they may, for tests of training."""

import numpy as np

from verdict.model.backend import keras, keras_hub
from verdict.model.network import FreezePlan, Network, build_network, build_suffix, text_prefix, vision_prefix

IMAGE_SHAPE = (48, 32, 3)
BLOCKS, WORDS, VOCABULARY = 3, 5, 37


def build_prefix(network: Network, plan: FreezePlan) -> tuple[keras.Model, keras.Model]:
    """The frozen part: pixels → image tokens, and words → hidden states, at the plan's boundaries."""
    plan.check(network)
    return vision_prefix(network, [plan.vision_blocks]), text_prefix(network, [plan.text_blocks])


def tiny_network(seed=0, *, dropout=0.0) -> Network:
    """Three blocks an encoder, seven image tokens of width 10, five words of width 14."""
    keras.utils.set_random_seed(seed)
    vision = keras_hub.models.ViTBackbone(
        image_shape=IMAGE_SHAPE, patch_size=16, num_layers=BLOCKS, num_heads=2, hidden_dim=10, mlp_dim=22
    )
    text = keras_hub.models.DistilBertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=BLOCKS,
        num_heads=2,
        hidden_dim=14,
        intermediate_dim=26,
        dropout=dropout,
        max_sequence_length=11,
    )
    return build_network(vision, text, sequence_length=WORDS, heads=3, key_dim=4, mlp_dim=17, dropout=dropout)


def scatter(network: Network, seed=1) -> Network:
    """The network, every weight of it random, biases and scales included, so that none can be forgotten unseen."""
    rng = np.random.default_rng(seed)
    for weight in sorted(network.model.variables, key=lambda weight: weight.path):
        if "seed_generator" not in weight.path:
            weight.assign(rng.normal(0.1, 0.5, size=weight.shape).astype(np.float32))
    return network


def random_inputs(network: Network, n: int, seed=2) -> dict[str, np.ndarray]:
    """Pixels in [-1, 1], words and masks with 2 to all words."""
    rng = np.random.default_rng(seed)
    shape, words = network.vision.input_shape[1:], network.sequence_length
    lengths = rng.integers(2, words + 1, size=n)
    mask = (np.arange(words) < lengths[:, None]).astype(np.int32)
    ids = rng.integers(1, network.text.vocabulary_size, size=(n, words)).astype(np.int32) * mask
    return {"pixels": rng.uniform(-1, 1, (n, *shape)).astype(np.float32), "token_ids": ids, "padding_mask": mask}


def whole(network: Network, inputs: dict[str, np.ndarray], images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Logits of pairs (rows of the inputs) by the whole network, (n_pairs,)."""
    words = {name: inputs[name][texts] for name in ("token_ids", "padding_mask")}
    return network.model.predict_on_batch({"pixels": inputs["pixels"][images], **words})[:, 0]


def in_two_steps(
    network: Network, plan: FreezePlan, inputs: dict[str, np.ndarray], images: np.ndarray, texts: np.ndarray
) -> np.ndarray:
    """Logits of the same pairs by the plan's prefixes, once a row, and its suffix."""
    vision, text = build_prefix(network, plan)
    words = {name: inputs[name] for name in ("token_ids", "padding_mask")}
    encoded = {
        "a_image_rows": images.astype(np.int32),
        "a_text_rows": texts.astype(np.int32),
        "image_tokens": vision.predict_on_batch(inputs["pixels"]),
        "hidden": text.predict_on_batch(words),
        "padding_mask": inputs["padding_mask"],
    }
    return build_suffix(network, plan).predict_on_batch(encoded)[:, 0]


def weights_of(network: Network) -> dict[str, np.ndarray]:
    """Copies of all weights by path, random states left out."""
    kept = [weight for weight in network.model.variables if "seed_generator" not in weight.path]
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in kept}
