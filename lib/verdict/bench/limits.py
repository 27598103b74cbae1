"""The physical limit: what a loop must compute and move, and how fast this machine computes and moves.

Counted are products and sums of matrix products (two a multiply-add); norms, activations, softmax and biases are not.
Bytes are the least that must cross memory: features or pixels once, weights once for each use, moments of the optimiser
read and written. A loop can be no faster than `max(flops / peak, bytes / bandwidth)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verdict.model import FreezePlan, Network

FLOAT_BYTES = 4
# A trained weight is read forward and backward, its gradient written and read, weight and two moments read and written.
PASSES_OF_A_TRAINED_WEIGHT = 10


@dataclass(frozen=True)
class Shape:
    """Sizes of an entailment network.

    Attributes
    ----------
    tokens, words : int
        Image tokens, class token included; words of a hypothesis, [CLS] and [SEP] included.
    patch_values : int
        Numbers in one patch of pixels: height x width x 3.
    d_vision, d_text, mlp_vision, mlp_text : int
    vision_blocks, text_blocks : int
    inner : int
        heads x key_dim of the fusion.
    """

    tokens: int
    words: int
    patch_values: int
    d_vision: int
    d_text: int
    mlp_vision: int
    mlp_text: int
    vision_blocks: int
    text_blocks: int
    heads: int
    inner: int
    mlp: int

    @classmethod
    def of(cls, network: Network) -> Shape:
        """The sizes of a network."""
        vision, text, xattn = network.vision, network.text, network.head["xattn"]
        return cls(
            tokens=network.n_image_tokens,
            words=network.sequence_length,
            patch_values=int(np.prod(vision.patch_size)) * 3,
            d_vision=vision.hidden_dim,
            d_text=text.hidden_dim,
            mlp_vision=vision.mlp_dim,
            mlp_text=text.intermediate_dim,
            vision_blocks=len(network.vision_layers),
            text_blocks=len(network.text_layers),
            heads=xattn.num_heads,
            inner=xattn.num_heads * xattn.key_dim,
            mlp=network.head["mlp_1"].units,
        )


def block_flops(n: int, d: int, mlp: int) -> int:
    """One transformer block on n tokens of width d: four projections, scores and their use, two dense layers."""
    return 2 * n * (4 * d * d + 2 * d * mlp) + 2 * (2 * n * n * d)


def vision_flops(shape: Shape, blocks: int) -> int:
    """One image through the patch embedding and the first blocks."""
    return 2 * (shape.tokens - 1) * shape.patch_values * shape.d_vision + _vision_blocks(shape, blocks)


def text_flops(shape: Shape, blocks: int) -> int:
    """One hypothesis through some blocks; looking words up computes nothing."""
    return blocks * block_flops(shape.words, shape.d_text, shape.mlp_text)


def prefix_flops(shape: Shape, plan: FreezePlan) -> tuple[int, int]:
    """One image and one hypothesis through their frozen prefixes."""
    frozen_vision, frozen_text = shape.vision_blocks - plan.vision_blocks, shape.text_blocks - plan.text_blocks
    return vision_flops(shape, frozen_vision), text_flops(shape, frozen_text)


def head_flops(shape: Shape, *, is_single_query: bool, words_train: bool = False, tokens_train: bool = False) -> dict:
    """The fusion head on one pair: `forward`, and `train` (forward and backward).

    Backward costs once more for each side of a product that needs a gradient: weights always, inputs only where
    something below them trains.
    """
    n, d, inner = shape.tokens, shape.d_vision, shape.inner
    ask, answer = 2 * shape.d_text * inner, 2 * inner * shape.d_text
    dense = 2 * shape.d_text * shape.mlp + 2 * shape.mlp
    forward = ask + answer + dense
    train = ask * (2 + words_train) + 3 * (answer + dense)
    if is_single_query:
        # Keys act on the query, values on the pooled tokens; scores and pooling run over d for each head.
        projections, attention = 2 * (2 * inner * d), 2 * (2 * shape.heads * n * d)
        train += 3 * projections + attention * (2 + tokens_train)
    else:
        projections, attention = 2 * (2 * n * d * inner), 2 * (2 * n * inner)
        train += projections * (2 + tokens_train) + 3 * attention
    return {"forward": forward + projections + attention, "train": train}


def _trained_text(shape: Shape, blocks: int) -> int:
    """Forward and backward of the last text blocks; what projects the first one's input passes no gradient on."""
    return 3 * text_flops(shape, blocks) - (2 * shape.words * 3 * shape.d_text**2 if blocks else 0)


def _vision_blocks(shape: Shape, blocks: int) -> int:
    """Forward of some vision blocks. Each begins with a norm that trains: backward costs twice as much, in full."""
    return blocks * block_flops(shape.tokens, shape.d_vision, shape.mlp_vision)


@dataclass(frozen=True)
class Load:
    """What a loop's epoch must do: flops, and bytes across memory."""

    flops: float
    bytes: float

    def seconds(self, machine: Machine) -> float:
        """The least time that a machine needs for it."""
        return max(self.flops / machine.flops_per_s, self.bytes / machine.bytes_per_s)


@dataclass(frozen=True)
class Pass:
    """One pass over pairs: how many there are, in how many batches, and how many images and hypotheses are encoded."""

    pairs: int
    images: int
    texts: int
    batches: int

    @classmethod
    def of(cls, image: np.ndarray, text: np.ndarray, batch: int) -> Pass:
        """The pass over pairs in an order, (n_pairs,) rows of images and texts: each distinct one once a batch."""
        starts = range(0, len(image), batch)
        distinct = [sum(len(np.unique(rows[k : k + batch])) for k in starts) for rows in (image, text)]
        return cls(len(image), *distinct, len(starts))

    @classmethod
    def undivided(cls, n: int, batch: int) -> Pass:
        """A pass that encodes both sides of each pair."""
        return cls(n, n, n, -(-n // batch))


def _trained_part(shape: Shape, plan: FreezePlan, train: Pass, val: Pass, *, is_single_query: bool) -> int:
    """Flops of trained blocks and head: forward and backward on `train`, forward on `val`."""
    words_train, tokens_train = plan.text_blocks > 0, plan.vision_blocks > 0
    head = head_flops(shape, is_single_query=is_single_query, words_train=words_train, tokens_train=tokens_train)
    text, vision = _trained_text(shape, plan.text_blocks), _vision_blocks(shape, plan.vision_blocks)
    trained = train.pairs * head["train"] + train.texts * text + train.images * 3 * vision
    judged = val.texts * text_flops(shape, plan.text_blocks) + val.images * vision
    return trained + val.pairs * head["forward"] + judged


def our_epoch(shape: Shape, plan: FreezePlan, train: Pass, val: Pass) -> Load:
    """An epoch of ours: the suffix on the training pairs, forward and backward, and on the validation pairs."""
    flops = _trained_part(shape, plan, train, val, is_single_query=True)
    words = shape.words if plan.text_blocks else 1
    values = (train.images + val.images) * shape.tokens * shape.d_vision
    values += (train.texts + val.texts) * words * shape.d_text
    values += trained_weights(shape, plan) * (train.batches * PASSES_OF_A_TRAINED_WEIGHT + val.batches)
    return Load(float(flops), float(FLOAT_BYTES * values))


def published_epoch(shape: Shape, plan: FreezePlan, train: Pass, val: Pass) -> Load:
    """An epoch of the published loop: every row through the whole network, backward through what trains."""
    image, words = prefix_flops(shape, plan)
    both = train.pairs + val.pairs
    flops = both * (image + words) + _trained_part(shape, plan, train, val, is_single_query=False)
    trained = trained_weights(shape, plan)
    whole = trained_weights(shape, FreezePlan(shape.vision_blocks, shape.text_blocks))
    values = both * (shape.tokens - 1) * shape.patch_values
    values += trained * train.batches * PASSES_OF_A_TRAINED_WEIGHT + trained * val.batches
    values += (whole - trained) * (train.batches + val.batches)
    return Load(float(flops), float(FLOAT_BYTES * values))


def filling(shape: Shape, plan: FreezePlan, *, n_images: int, n_texts: int) -> Load:
    """Filling the cache once."""
    image, words = prefix_flops(shape, plan)
    kept = n_images * shape.tokens * shape.d_vision + n_texts * shape.d_text * (shape.words if plan.text_blocks else 1)
    pixels = n_images * (shape.tokens - 1) * shape.patch_values
    return Load(float(n_images * image + n_texts * words), float(FLOAT_BYTES * (kept + pixels)))


def _block_weights(d: int, mlp: int) -> int:
    """Weights of a block: projections, dense layers, their biases, two norms."""
    return 4 * (d * d + d) + (d * mlp + mlp) + (mlp * d + d) + 2 * (2 * d)


def trained_weights(shape: Shape, plan: FreezePlan) -> int:
    """Number of weights that train under a plan."""
    inner, d = shape.inner, shape.d_text
    head = (d * inner + inner) + 2 * (shape.d_vision * inner + inner) + (inner * d + d) + 2 * d
    head += (d * shape.mlp + shape.mlp) + (shape.mlp + 1)
    vision = plan.vision_blocks * _block_weights(shape.d_vision, shape.mlp_vision)
    return head + plan.text_blocks * _block_weights(d, shape.mlp_text) + vision


@dataclass(frozen=True)
class Machine:
    """What this machine does at best: flops a second in matrix products, bytes a second across memory."""

    flops_per_s: float
    bytes_per_s: float


def measure_machine(*, device: str = "cpu", dtype: str = "float32", seconds: float = 1.0) -> Machine:
    """Measure the best of many square matrix products and of many copies, with the threads that are set."""
    import torch

    side, copied = (8192, 1 << 30) if device == "cuda" else (1536, 1 << 28)
    kind = getattr(torch, dtype)
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    multiply = _best(lambda: torch.mm(left, right, out=product), sync, seconds)
    copy = _best(lambda: target.copy_(source), sync, seconds)
    return Machine(2 * side**3 / multiply, 2 * copied / copy)


def _best(work: Callable[[], object], sync: Callable[[], None], seconds: float) -> float:
    """Shortest time of one piece of work among as many as fit into a span, at least five."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        work()
        sync()
        times.append(time.perf_counter() - started)
    return min(times)
