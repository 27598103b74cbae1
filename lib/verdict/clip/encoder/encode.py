"""A dual encoder from a hub id, a folder or the package, by the same code: images and texts to unit vectors.

Traps of transformers 5 that this module takes care of: features come inside an output object; the image processor is
the Pillow one whether or not torchvision is installed; a text tower whose `eos_token_id` is not its tokenizer's gives
one vector for every text, and is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.activations import QuickGELUActivation
from transformers.utils import logging

from verdict.base import paths
from verdict.base.artifacts import content_hash, sha256_tree
from verdict.base.files.hub import check_preset
from verdict.clip import UNTRAINED, WHOLE

# Bars of a second's work would stand in every page.
logging.disable_progress_bar()

Progress = Callable[[str], None]
MIXED = (0.85, 0.7, 0.55)


@dataclass(frozen=True, eq=False)
class DualEncoder:
    """Two towers into one space.

    `revision` is the commit of a hub id, "" otherwise; `identity` a hash of weights, tokenizer and preprocessing: what
    an embedding depends on besides its input; `batch` inputs are encoded together.
    """

    name: str
    revision: str
    identity: str
    model: CLIPModel
    processor: CLIPImageProcessorPil
    tokenizer: CLIPTokenizer
    batch: int = 128

    @classmethod
    def from_preset(cls, preset: str, revision: str = "", *, batch: int = 128, threads: int = 1) -> DualEncoder:
        """Load a folder, a preset that the package ships, or a hub id with its commit; batch and threads only round.

        Refused are a hub id without a revision or unknown to the hub, one neither stored here nor reachable, a folder
        that holds no CLIP, and a model that reads every text alike.
        """
        torch.set_num_threads(threads)
        folder = paths.preset_folder(preset)
        if folder is not None:
            return cls._load(str(folder), preset, "", batch, sha256_tree(folder))
        check_preset(preset, revision)
        own = (preset, preset, revision, batch, f"{preset}@{revision}")
        try:
            return cls._load(*own)
        except OSError:
            # Not stored on this machine, or in part. What the hub says is final: a wrong name is an error.
            return cls._load(*own, offline=False)

    @classmethod
    def _load(
        cls, source: str, name: str, revision: str, batch: int, weights: str, *, offline: bool = True
    ) -> DualEncoder:
        more: dict[str, Any] = {"local_files_only": offline, **({"revision": revision} if revision else {})}
        # Weights are safetensors, or read by torch as weights alone: neither runs code.
        model = CLIPModel.from_pretrained(source, attn_implementation="sdpa", **more).float().eval()
        for layer in model.vision_model.encoder.layers:
            if isinstance(layer.mlp.activation_fn, QuickGELUActivation):
                layer.mlp.activation_fn = _QuickGelu()
        processor = CLIPImageProcessorPil.from_pretrained(source, **more)
        tokenizer = CLIPTokenizer.from_pretrained(source, **more)
        identity = content_hash([weights, processor.to_dict()])
        loaded = cls(name, revision, identity, model, processor, tokenizer, batch)
        one, other = loaded.texts(["a red one", "two blue dogs"])
        if np.allclose(one, other, atol=1e-6):
            ids = (model.config.text_config.eos_token_id, tokenizer.eos_token_id)
            raise ValueError(f"{name}: every text gets the same vector; eos_token_id of model and tokenizer: {ids}")
        return loaded

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with to be logits: exp of the stored parameter."""
        return float(np.exp(self.model.logit_scale.item()))

    @property
    def image_px(self) -> int:
        """Side of the square that the vision tower sees."""
        return int(self.model.config.vision_config.image_size)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_px // int(self.model.config.vision_config.patch_size)

    def pixels(self, images: np.ndarray) -> torch.Tensor:
        """uint8 (n, h, w, 3) → float32 (n, 3, px, px), exactly as the preset's processor does it.

        Images that already have the size it asks for are not resized, which saves it picture by picture.
        """
        own = self.processor
        if own.do_rescale and own.do_normalize and images.shape[1:3] == (self.image_px, self.image_px):
            return as_pixels(np.asarray(images), own)
        return own(list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]

    def images(self, images: np.ndarray, *, progress: Progress = lambda text: None) -> np.ndarray:
        """Embed images: uint8 (n, h, w, 3) of any size → float32 (n, d), unit length."""

        def encode(part: slice) -> torch.Tensor:
            return _unit(self.model.visual_projection(_class_token(self.model.vision_model, self.pixels(images[part]))))

        return self._batches(len(images), encode, progress)

    def texts(self, texts: Sequence[str], *, progress: Progress = lambda text: None) -> np.ndarray:
        """Embed texts → float32 (n, d), unit length; what is longer than the tower takes is cut."""
        texts, longest = list(texts), int(self.model.config.text_config.max_position_embeddings)
        options = {"padding": True, "truncation": True, "max_length": longest, "return_tensors": "pt"}

        def encode(part: slice) -> torch.Tensor:
            return _unit(self.model.get_text_features(**self.tokenizer(texts[part], **options)).pooler_output)

        return self._batches(len(texts), encode, progress)

    def patches(self, images: np.ndarray, *, progress: Progress = lambda text: None) -> np.ndarray:
        """Last-layer patch tokens in the joint space: float32 (n, grid * grid, d), unit length, row by row.

        CLIP trains the class token alone: the tokens pass its last norm and its projection here all the same.
        """

        def encode(part: slice) -> torch.Tensor:
            tower = self.model.vision_model
            tokens = tower(pixel_values=self.pixels(images[part])).last_hidden_state[:, 1:]
            return _unit(self.model.visual_projection(tower.post_layernorm(tokens)))

        return self._batches(len(images), encode, progress)

    def _batches(self, n: int, encode: Callable[[slice], torch.Tensor], progress: Progress) -> np.ndarray:
        """What `encode` makes of n inputs, batch by batch."""
        found = []
        with torch.inference_mode():
            for start in range(0, n, self.batch):
                found.append(encode(slice(start, start + self.batch)).numpy())
                progress(f"encoded {min(start + self.batch, n)}/{n}")
        return np.concatenate(found)

    def last_keys(self, images: np.ndarray) -> np.ndarray:
        """Keys of the last block for every patch, bias included: float32 (n, n_patches, width).

        They tell objects apart from their surroundings better than the last tokens do.
        """
        caught: list[Any] = []
        block = self.model.vision_model.encoder.layers[-1].self_attn
        handle = block.k_proj.register_forward_hook(lambda module, inputs, output: caught.append(output[:, 1:]))

        def encode(part: slice) -> torch.Tensor:
            self.model.vision_model(pixel_values=self.pixels(images[part]))
            return caught.pop()

        try:
            return self._batches(len(images), encode, lambda text: None)
        finally:
            handle.remove()


class _QuickGelu(torch.nn.Module):
    """x · sigmoid(1.702 x) by one fused call, in place: half of what three take, and they were a third of encoding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.silu(x.mul_(1.702), inplace=True).div_(1.702)


def _class_token(tower: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower's pooled output, (n, width): of the last block only the class token is computed."""
    *layers, last = tower.encoder.layers
    tokens = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in layers:
        tokens = layer(tokens, None)
    normed, own = last.layer_norm1(tokens), last.self_attn
    heads = [
        projection(of).unflatten(-1, (own.num_heads, -1)).transpose(1, 2)
        for projection, of in ((own.q_proj, normed[:, :1]), (own.k_proj, normed), (own.v_proj, normed))
    ]
    seen = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    token = tokens[:, :1] + own.out_proj(seen)
    return tower.post_layernorm(token + last.mlp(last.layer_norm2(token)))[:, 0]


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return functional.normalize(vectors.float(), dim=-1)


def as_pixels(images: np.ndarray, processor: CLIPImageProcessorPil) -> torch.Tensor:
    """uint8 (n, px, px, 3) in the range of the processor, (n, 3, px, px)."""
    # Channels first: NumPy is slow where the last axis has three values.
    scaled = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
    scaled *= np.float32(processor.rescale_factor)
    mean, std = (np.float32(of)[:, None, None] for of in (processor.image_mean, processor.image_std))
    scaled -= mean
    scaled /= std
    return torch.from_numpy(scaled)


def saved(model: CLIPModel, processor: CLIPImageProcessorPil, tokenizer: CLIPTokenizer, folder: Path) -> Path:
    """Write the three parts of a dual encoder so that `from_preset` reads them."""
    for part in (model, processor, tokenizer):
        part.save_pretrained(str(folder))
    return folder


def variants(encoder: DualEncoder, *, seed: int) -> dict[str, DualEncoder]:
    """The encoder and weaker relatives by name, the whole one first, made without training.

    Fewer layers of vision, or weights mixed with new ones, which `seed` draws. They share a text tower or most of their
    weights, so a relation over them says how numbers move when one encoder is damaged.
    """
    n_layers = len(encoder.model.vision_model.encoder.layers)
    depths = sorted({max(1, n_layers * part // 3) for part in (1, 2)} - {n_layers}, reverse=True)
    found = {WHOLE: encoder}
    for depth in depths:
        found[f"{depth} of {n_layers} layers"] = with_layers(encoder, depth)
    for share in MIXED:
        found[f"{share:.0%} of the weights"] = mixed(encoder, share, seed=seed)
    return found | {UNTRAINED: mixed(encoder, 0.0, seed=seed)}


def with_layers(encoder: DualEncoder, depth: int) -> DualEncoder:
    """The encoder with the first `depth` layers of vision."""
    model = copy.deepcopy(encoder.model)
    model.vision_model.encoder.layers = model.vision_model.encoder.layers[:depth]
    return _renamed(encoder, model, f"layers {depth}")


def mixed(encoder: DualEncoder, share: float, *, seed: int) -> DualEncoder:
    """The encoder with each weight moved towards a fresh one: `share` of its own, the rest from a new network; the
    logit scale, no weight of either tower, stays.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(encoder.model)(copy.deepcopy(encoder.model.config)).state_dict()
    own = encoder.model.state_dict()
    state = {
        name: share * weight + (1 - share) * fresh[name] if weight.is_floating_point() else weight
        for name, weight in own.items()
    }
    state["logit_scale"] = own["logit_scale"]
    model = copy.deepcopy(encoder.model)
    model.load_state_dict(state)
    return _renamed(encoder, model, f"mixed {share} {seed}")


def _renamed(encoder: DualEncoder, model: CLIPModel, change: str) -> DualEncoder:
    identity = content_hash([encoder.identity, change])
    return replace(encoder, name=f"{encoder.name}, {change}", identity=identity, model=model)
