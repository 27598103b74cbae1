"""Dual encoders: the three ways to fill one, the traps of transformers 5, and the published shape from a folder."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from verdict.base import paths
from verdict.base.files import hub
from verdict.clip import SHIPPED, UNTRAINED, WHOLE
from verdict.clip.encoder.encode import DualEncoder, mixed, saved, variants, with_layers

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(256, size=(5, 48, 48, 3), dtype=np.uint8)
DIM = 64
TEXTS = ["a photo of a red seven", "a small digit", "this is a blue zero"]


@pytest.fixture(scope="module")
def shipped():
    return DualEncoder.from_preset(SHIPPED)


def test_embeddings_are_unit_vectors_of_one_space(shipped):
    images, texts = shipped.images(IMAGES), shipped.texts(TEXTS)
    assert images.shape == (5, DIM) and texts.shape == (3, DIM)
    assert images.dtype == texts.dtype == np.float32
    assert np.linalg.norm(images, axis=1) == pytest.approx(1, abs=1e-5)
    assert shipped.patches(IMAGES).shape == (5, shipped.grid**2, DIM)
    assert shipped.logit_scale == pytest.approx(float(shipped.model.logit_scale.detach().exp()))
    assert 1 < shipped.logit_scale <= 100.001


def test_features_are_those_of_the_models_own_pass(shipped):
    """`pooler_output` is the projected feature; the whole model's logits are ours times the scale."""
    inputs = shipped.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        out = shipped.model(**inputs, pixel_values=shipped.pixels(IMAGES))
    ours = shipped.logit_scale * shipped.images(IMAGES) @ shipped.texts(TEXTS).T
    assert np.allclose(out.logits_per_image.numpy(), ours, atol=1e-4)
    plain = CLIPModel.from_pretrained(str(paths.preset_folder(SHIPPED)), attn_implementation="eager").float().eval()
    with torch.inference_mode():
        images = plain.get_image_features(shipped.pixels(IMAGES)).pooler_output
    assert np.allclose(torch.nn.functional.normalize(images, dim=-1), shipped.images(IMAGES), atol=2e-6)


def test_batches_agree_and_tell_how_far_they_are(shipped):
    small, lines = replace(shipped, batch=2), []
    assert np.allclose(small.images(IMAGES), shipped.images(IMAGES), atol=1e-5)
    small.texts(TEXTS, progress=lines.append)
    assert lines == ["encoded 2/3", "encoded 3/3"]


def test_the_fast_way_to_pixels_is_the_processors(shipped):
    """The Pillow processor is used whatever is installed, and pictures of its size take a short cut that equals it."""
    assert type(shipped.processor) is CLIPImageProcessorPil
    slow = shipped.processor(list(IMAGES), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    assert torch.allclose(shipped.pixels(IMAGES), slow, atol=1e-6)
    assert shipped.pixels(IMAGES[:, :31, :40]).shape == (5, 3, 48, 48)


def test_a_folder_without_a_model_or_with_one_that_reads_every_text_alike_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"config\.json|preprocessor|file"):
        DualEncoder.from_preset(str(tmp_path))
    broken = DualEncoder.from_preset(SHIPPED)
    broken.model.config.text_config.eos_token_id = 49407
    saved(broken.model, broken.processor, broken.tokenizer, tmp_path)
    with pytest.raises(ValueError, match="every text gets the same vector"):
        DualEncoder.from_preset(str(tmp_path))


def test_an_identity_changes_with_weights_and_preprocessing(shipped, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(paths.PRESETS / SHIPPED, folder)
    assert DualEncoder.from_preset(str(folder)).identity == shipped.identity
    processor = CLIPImageProcessorPil.from_pretrained(str(folder), image_mean=[0.4, 0.5, 0.5])
    processor.save_pretrained(str(folder))
    assert DualEncoder.from_preset(str(folder)).identity != shipped.identity


def test_a_hub_id_out_of_reach_is_refused_and_nothing_takes_its_place(monkeypatch):
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    with pytest.raises(ConnectionError, match="is not stored on this machine, and its hub does not answer"):
        DualEncoder.from_preset("openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268")
    for preset, message in (("openai/clip-vit-base-patch32", "its revision"), ("./nowhere", "nor a hub id")):
        with pytest.raises(ValueError, match=message):
            DualEncoder.from_preset(preset)


@pytest.mark.slow
def test_the_published_shape_loads_from_a_folder_and_encodes(shipped, tmp_path):
    """ViT-B/32 with random weights but two layers in place of twelve, saved with its processor, end to end."""
    special = {f"{name}_token_id": getattr(shipped.tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    with torch.device("meta"):
        whole = CLIPModel(CLIPConfig())
    assert sum(weight.numel() for weight in whole.parameters()) == 151_277_313
    torch.manual_seed(3)
    text = CLIPTextConfig(**special, num_hidden_layers=2, vocab_size=len(shipped.tokenizer))
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=CLIPVisionConfig(num_hidden_layers=2)))
    saved(model, CLIPImageProcessorPil(), shipped.tokenizer, tmp_path)
    found = DualEncoder.from_preset(str(tmp_path), batch=3)
    pictures = RNG.integers(256, size=(7, 40, 56, 3), dtype=np.uint8)
    images, texts = found.images(pictures), found.texts(TEXTS)
    assert images.shape == (7, 512) and texts.shape == (3, 512)
    assert found.grid == 7 and found.image_px == 224
    assert found.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)
    assert np.linalg.norm(images, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.allclose(found.images(pictures[5:6]), images[5:6], atol=1e-5), "alone as in its batch"


def test_relatives_are_different_encoders_with_keys_of_their_own(shipped):
    found = variants(shipped, seed=3)
    assert next(iter(found)) == WHOLE and UNTRAINED in found and len(found) >= 4
    assert found[WHOLE] is shipped
    assert len({one.identity for one in found.values()}) == len(found)
    vectors = {name: one.images(IMAGES) for name, one in found.items()}
    assert all(np.linalg.norm(v, axis=1) == pytest.approx(np.ones(5), abs=1e-5) for v in vectors.values())
    assert all(np.abs(vectors[name] - vectors[WHOLE]).max() > 1e-3 for name in list(found)[1:])


def test_all_layers_and_all_weights_are_the_encoder_itself(shipped):
    for same in (with_layers(shipped, 3), mixed(shipped, 1.0, seed=5)):
        assert np.array_equal(same.images(IMAGES), shipped.images(IMAGES))
        assert np.array_equal(same.texts(TEXTS), shipped.texts(TEXTS))


def test_making_a_relative_changes_neither_the_encoder_nor_the_random_state(shipped):
    before, state = shipped.images(IMAGES), torch.random.get_rng_state()
    other = mixed(shipped, 0.5, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(shipped.images(IMAGES), before)
    assert other.logit_scale == shipped.logit_scale
    assert np.array_equal(other.images(IMAGES), mixed(shipped, 0.5, seed=5).images(IMAGES))
    assert not np.array_equal(other.images(IMAGES), mixed(shipped, 0.5, seed=6).images(IMAGES))


def test_keys_of_the_last_block_are_those_of_its_attention(shipped):
    keys = shipped.last_keys(IMAGES)
    assert keys.shape == (5, 36, 96)
    tower = shipped.model.vision_model
    with torch.inference_mode():
        hidden = tower(pixel_values=shipped.pixels(IMAGES), output_hidden_states=True).hidden_states[-2]
        block = tower.encoder.layers[-1]
        wanted = block.self_attn.k_proj(block.layer_norm1(hidden))[:, 1:].numpy()
    assert keys == pytest.approx(wanted, abs=1e-5)
    assert not block.self_attn.k_proj._forward_hooks
