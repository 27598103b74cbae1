"""Prefixes and suffix as functions of torch tensors: what the Keras graphs of `network` compute, with less around it.

Half of a step on small batches went into Keras' calls of single layers, and a third of encoding. Of the last text block
only the [CLS] token is computed, because the head reads no other; and words that every sentence of a batch pads are
left out of the suffix.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from verdict.model.features import Features
from verdict.model.network import FreezePlan, Network

if TYPE_CHECKING:
    from verdict.model.fit import Rows

Drop = Callable[[Tensor, float], Tensor]
# Values of the pool that masks are cut from.
N_MASKED = 2**22
# Hypotheses that are read at a time.
N_READ = 1024


class DirectSuffix:
    """The trained part of a network on cached prefixes; inputs are those of `build_suffix`, as arrays.

    Weights are the network's own. Logits and gradients without dropout are the Keras model's to 1e-6. Masks of dropout
    are cut at random places from a pool that is drawn once a `seed`, which is once an epoch: to draw each anew took a
    quarter of a step.
    """

    def __init__(self, network: Network, plan: FreezePlan):
        plan.check(network)
        self.head, self.vision_norm = network.head, network.vision.get_layer("vit_encoder").layer_norm
        self.vision = network.vision_layers[len(network.vision_layers) - plan.vision_blocks :]
        self.text = network.text_layers[len(network.text_layers) - plan.text_blocks :]
        self.trainable_variables = network.model.trainable_variables
        self.device = network.head["logit"].kernel.value.device
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Start the streams of dropout masks anew from a seed."""
        self.generator, self.pools = torch.Generator(self.device).manual_seed(seed), {}
        # Places are drawn where they are read: a GPU would have to be waited for.
        self.places = self.generator if self.device.type == "cpu" else torch.Generator().manual_seed(seed)

    def _dropped(self, x: Tensor, rate: float) -> Tensor:
        """Some values zero, each with probability `rate`, the others larger by 1 / (1 - rate)."""
        if not rate:
            return x
        pool, n = self.pools.get(rate), x.numel()
        if pool is None or len(pool) < 2 * n:
            drawn = torch.rand(max(N_MASKED, 4 * n), generator=self.generator, device=self.device)
            pool = self.pools[rate] = drawn.ge_(rate).div_(1 - rate)
        first = int(torch.randint(len(pool) - n, (), generator=self.places))
        return x * pool[first : first + n].view(x.shape)

    def __call__(self, inputs: Mapping[str, np.ndarray], training: bool = False) -> Tensor:
        """Logits of CONTRADICTION, (b, 1)."""
        drop = self._dropped if training else _kept
        given = {name: torch.as_tensor(value).to(self.device) for name, value in inputs.items()}
        tokens, hidden = given["image_tokens"].float(), given["hidden"].float()
        for block in self.vision:
            tokens = _vision_block(block, tokens, drop)
        if self.vision:
            tokens = _norm(self.vision_norm, tokens)
        query = self._read(hidden, inputs["padding_mask"], drop).index_select(0, given["a_text_rows"])
        shown = tokens.index_select(0, given["a_image_rows"])
        return _fused(self.head, query, shown, drop)

    def _read(self, hidden: Tensor, padding_mask: np.ndarray, drop: Drop) -> Tensor:
        """[CLS] of hypotheses after the trained blocks, (n, d)."""
        n_words = int(padding_mask.sum(axis=1).max()) if self.text else 1
        mask = torch.as_tensor(padding_mask[:, None, None, :n_words]).to(self.device).bool()
        hidden = hidden[:, :n_words]
        for block in self.text:
            hidden = _text_block(block, hidden, mask, drop, n_asked=1 if block is self.text[-1] else n_words)
        return hidden[:, 0]

    def after_reading(self, features: Features, rows: Rows) -> tuple[DirectSuffix, Features, Rows]:
        """The rest of the suffix, these rows' hypotheses after the trained text blocks, and the rows in them."""
        texts, places = np.unique(rows.text, return_inverse=True)
        read, rest = [], copy.copy(self)
        with torch.inference_mode():
            for part in np.array_split(texts, -(-len(texts) // N_READ)):
                given = torch.as_tensor(features.hidden[part]).to(self.device).float()
                read.append(self._read(given, features.padding_mask[part], _kept)[:, None].cpu().numpy())
        rest.text = []
        known = {"text_rows": pd.Series(np.arange(len(texts)), index=features.text_rows.index[texts])}
        known |= {"hidden": np.concatenate(read), "padding_mask": features.padding_mask[texts]}
        return rest, replace(features, **known), replace(rows, text=places)

    def predict_on_batch(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits as an array, in inference mode."""
        with torch.inference_mode():
            return self(inputs).cpu().numpy()


def encode_images(
    network: Network, depths: Sequence[int], dtype: str, means: bool, pixels: np.ndarray
) -> list[np.ndarray]:
    """The outputs of `vision_prefix` as arrays of a type: image tokens at each depth and, with `means`, their means."""
    embed, norm = network.vision.get_layer("vit_patching_and_embedding"), network.vision.get_layer("vit_encoder")
    whole = len(network.vision_layers)
    with torch.inference_mode():
        states = [embed(pixels)]
        for block in network.vision_layers[: whole - (0 if means else min(depths))]:
            states.append(_vision_block(block, states[-1], _kept))
        states[whole:] = [_norm(norm.layer_norm, state) for state in states[whole:]]
        every = [torch.stack([state.mean(1) for state in reversed(states)], 1)] if means else []
        return _stored([*(states[whole - depth] for depth in depths), *every], dtype)


def encode_words(
    network: Network, depths: Sequence[int], dtype: str, means: bool, words: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The outputs of `text_prefix` as arrays of a type: hidden states at each depth and, with `means`, their means."""
    embed, whole = network.text.get_layer("token_and_position_embedding"), len(network.text_layers)
    with torch.inference_mode():
        states = [_norm(network.text.get_layer("embeddings_layer_norm"), embed(words["token_ids"]))]
        shown = torch.as_tensor(words["padding_mask"], device=states[0].device)
        for block in network.text_layers[: whole - (0 if means else min(depths))]:
            mask = shown[:, None, None].bool()
            states.append(_text_block(block, states[-1], mask, _kept, n_asked=network.sequence_length))
        sums = [(state * shown[..., None]).sum(1) for state in reversed(states)] if means else []
        every = [torch.stack(sums, 1) / shown.sum(1)[:, None, None]] if means else []
        return _stored([*(states[whole - n] if n else states[whole][:, :1] for n in depths), *every], dtype)


def _stored(states: list[Tensor], dtype: str) -> list[np.ndarray]:
    """Arrays of a type that is taken where the states are, so that less is copied from a GPU."""
    return [state.to(getattr(torch, dtype)).cpu().numpy() for state in states]


def _kept(x: Tensor, rate: float) -> Tensor:
    return x


def _norm(layer: Any, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], layer.gamma.value, layer.beta.value, layer.epsilon)


def _dense(layer: Any, x: Tensor) -> Tensor:
    """A dense layer, or a projection of Keras' attention, where the weights have an axis for the heads."""
    bias = None if layer.bias is None else layer.bias.value.flatten()
    return functional.linear(x, layer.kernel.value.reshape(x.shape[-1], -1).T, bias)


def _attended(layer: Any, query: Tensor, x: Tensor, mask: Tensor | None, drop: Drop) -> Tensor:
    """Keras' multi-head attention from some tokens (n, n_asked, d) to all (n, n_tokens, d)."""
    heads = [
        _dense(projection, of).view(len(x), -1, layer.num_heads, layer.key_dim).transpose(1, 2)
        for projection, of in ((layer.query_dense, query), (layer.key_dense, x), (layer.value_dense, x))
    ]
    if drop is _kept or not layer.dropout:
        pooled = functional.scaled_dot_product_attention(*heads, attn_mask=mask)
    else:
        scores = heads[0] @ heads[1].transpose(2, 3) * layer.key_dim**-0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)
        pooled = drop(weights, layer.dropout) @ heads[2]
    return _dense(layer.output_dense, pooled.transpose(1, 2).flatten(2))


def _text_block(block: Any, x: Tensor, mask: Tensor, drop: Drop, *, n_asked: int) -> Tensor:
    """A block of DistilBERT; the first `n_asked` tokens of its output."""
    asked = x[:, :n_asked]
    seen = _attended(block._self_attention_layer, asked, x, mask, drop)
    asked = _norm(block._self_attention_layer_norm, asked + drop(seen, block._self_attention_dropout.rate))
    inner = functional.gelu(_dense(block._feedforward_intermediate_dense, asked))
    changed = drop(_dense(block._feedforward_output_dense, inner), block._feedforward_dropout.rate)
    return _norm(block._feedforward_layer_norm, asked + changed)


def _vision_block(block: Any, x: Tensor, drop: Drop) -> Tensor:
    """A block of ViT."""
    normed = _norm(block.layer_norm_1, x)
    x = x + drop(_attended(block.mha, normed, normed, None, drop), block.dropout.rate)
    inner = functional.gelu(_dense(block.mlp.dense_1, _norm(block.layer_norm_2, x)))
    inner = _dense(block.mlp.dense_2, drop(inner, block.mlp.dropout.rate))
    return x + drop(inner, block.mlp.dropout.rate)


def _fused(head: dict[str, Any], query: Tensor, shown: Tensor, drop: Drop) -> Tensor:
    """The fusion head, (b, d) and (b, n_tokens, d_v) → (b, 1): `SingleQueryAttention` and what follows it."""
    attention = head["xattn"]
    key, value = attention.key_dense, attention.value_dense
    asked = _dense(attention.query_dense, query).view(len(query), attention.num_heads, -1) * attention.key_dim**-0.5
    towards = torch.bmm(asked.transpose(0, 1), key.kernel.value.permute(1, 2, 0)).transpose(0, 1)
    scores = torch.baddbmm((asked * key.bias.value).sum(-1, keepdim=True), towards, shown.transpose(1, 2))
    kept = drop(scores.softmax(-1), attention.dropout)
    pooled = torch.bmm(kept, shown).transpose(0, 1)
    seen = torch.bmm(pooled, value.kernel.value.transpose(0, 1)).transpose(0, 1)
    seen = seen + value.bias.value * kept.sum(-1, keepdim=True)
    fused = _norm(head["xattn_norm"], query + _dense(attention.output_dense, seen.flatten(1)))
    inner = functional.gelu(_dense(head["mlp_1"], fused))
    return _dense(head["logit"], drop(inner, head["drop_1"].rate))
