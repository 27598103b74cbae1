"""Relatives of a dual encoder, made from a tiny one with random weights."""

import numpy as np
import pytest
import torch

from verdict.clip.concept_setup import known_words
from verdict.clip.encode import DualEncoder
from verdict.clip.keys import last_keys
from verdict.clip.variants import UNTRAINED, WHOLE, mixed, variants, with_layers
from verdict.pretrain.clip import ClipRecipe, new_model, new_processor, new_tokenizer

WORDS = ["a red one", "two blue dogs", "a photo of a green cat"]


@pytest.fixture(scope="module")
def encoder():
    recipe = ClipRecipe(
        None, None, {}, image_px=24, patch_px=8, width=16, layers=3, text_width=16, text_layers=1, dim=8
    )
    tokenizer = new_tokenizer(WORDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = new_model(recipe, tokenizer).eval()
    model.set_attn_implementation("eager")
    return DualEncoder("tiny", "", "abc", model, new_processor(24), tokenizer)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)


def test_relatives_are_different_encoders_with_keys_of_their_own(encoder, images):
    found = variants(encoder, seed=3)
    assert next(iter(found)) == WHOLE and UNTRAINED in found and len(found) >= 4
    assert found[WHOLE] is encoder
    assert len({one.identity for one in found.values()}) == len(found)
    vectors = {name: one.images(images) for name, one in found.items()}
    assert all(np.linalg.norm(v, axis=1) == pytest.approx(np.ones(5), abs=1e-5) for v in vectors.values())
    assert all(np.abs(vectors[name] - vectors[WHOLE]).max() > 1e-3 for name in list(found)[1:])


def test_all_layers_and_all_weights_are_the_encoder_itself(encoder, images):
    for same in (with_layers(encoder, 3), mixed(encoder, 1.0, seed=5)):
        assert np.array_equal(same.images(images), encoder.images(images))
        assert np.array_equal(same.texts(WORDS), encoder.texts(WORDS))
    with pytest.raises(ValueError, match="3 layers"):
        with_layers(encoder, 4)
    with pytest.raises(ValueError, match="share"):
        mixed(encoder, 1.5, seed=5)


def test_making_a_relative_changes_neither_the_encoder_nor_the_random_state(encoder, images):
    before, state = encoder.images(images), torch.random.get_rng_state()
    other = mixed(encoder, 0.5, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(encoder.images(images), before)
    assert other.logit_scale == encoder.logit_scale
    assert np.array_equal(other.images(images), mixed(encoder, 0.5, seed=5).images(images))
    assert not np.array_equal(other.images(images), mixed(encoder, 0.5, seed=6).images(images))


def test_keys_of_the_last_block_are_those_of_its_attention(encoder, images):
    keys = last_keys(encoder, images)
    assert keys.shape == (5, 9, 16)
    tower = encoder.model.vision_model
    with torch.inference_mode():
        hidden = tower(pixel_values=encoder.pixels(images), output_hidden_states=True).hidden_states[-2]
        block = tower.encoder.layers[-1]
        wanted = block.self_attn.k_proj(block.layer_norm1(hidden))[:, 1:].numpy()
    assert keys == pytest.approx(wanted, abs=1e-5)
    assert not block.self_attn.k_proj._forward_hooks


def test_words_that_the_tokenizer_spells_are_not_known(encoder):
    assert known_words(encoder.tokenizer, ["a red one", "two dogs"]) == 1
    assert known_words(encoder.tokenizer, ["a red zebra", "x-rayed dogs"]) == pytest.approx(3 / 5)
