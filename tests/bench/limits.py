"""The physical limit: what a loop must compute and move, and how fast this machine computes and moves.

Arithmetic is counted by torch on a pair or two, as products and sums of matrix products (two a multiply-add); norms,
activations, softmax and biases are not. Bytes are the least that must cross memory: features or pixels once, weights
once for each use, moments of the optimiser read and written. A loop can be no faster than
`max(flops / peak, bytes / bandwidth)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from verdict.model.backend import keras
from verdict.model.network import (
    FreezePlan,
    Network,
    apply_plan,
    build_suffix,
    text_prefix,
    trainable_count,
    vision_prefix,
)

FLOAT_BYTES = 4
# A trained weight is read forward and backward, its gradient written and read, weight and two moments read and written.
PASSES_OF_A_TRAINED_WEIGHT = 10


def counted(call: Callable[[], Any], *, backward: bool = False) -> int:
    """Floating-point operations of matrix products; attention runs as plain products, which torch can count."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        found = call()
        if backward:
            found.sum().backward()
    return counter.get_total_flops()


def blank_inputs(network: Network, n: int = 1) -> dict[str, Any]:
    """Inputs of the whole network for n pairs, in which nothing is padded."""
    words = np.ones((n, network.sequence_length), dtype=np.int32)
    pixels = np.zeros((n, *network.vision.image_shape), dtype=np.float32)
    arrays = {"pixels": pixels, "token_ids": words, "padding_mask": words}
    return {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()}


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


def _values(network: Network, plan: FreezePlan) -> tuple[int, int, int]:
    """Numbers that are one image's pixels, its stored features, and those of one hypothesis."""
    words = network.sequence_length if plan.text_blocks else 1
    image = network.n_image_tokens * network.vision.hidden_dim
    return int(np.prod(network.vision.image_shape)), image, words * network.text.hidden_dim


def _suffix_flops(network: Network, plan: FreezePlan, *, training: bool) -> np.ndarray:
    """Of our suffix, for each pair, for each image and for each hypothesis that pairs share: (3,)."""
    suffix, (_, _, text) = build_suffix(network, plan), _values(network, plan)

    def of_two(n_images: int, n_texts: int) -> int:
        arrays = {
            "a_image_rows": np.arange(2, dtype=np.int32) % n_images,
            "a_text_rows": np.arange(2, dtype=np.int32) % n_texts,
            "image_tokens": np.zeros((n_images, network.n_image_tokens, network.vision.hidden_dim), dtype=np.float32),
            "hidden": np.zeros((n_texts, text // network.text.hidden_dim, network.text.hidden_dim), dtype=np.float32),
            "padding_mask": np.ones((n_texts, network.sequence_length), dtype=np.int32),
        }
        inputs = {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()}
        return counted(lambda: suffix(inputs, training=training), backward=training)

    both = of_two(2, 2)
    an_image, a_text = both - of_two(1, 2), both - of_two(2, 1)
    return np.array([both / 2 - an_image - a_text, an_image, a_text])


def our_epoch(network: Network, plan: FreezePlan, train: Pass, val: Pass) -> Load:
    """An epoch of ours: the suffix on the training pairs, forward and backward, and on the validation pairs."""
    apply_plan(network, plan)
    flops = sum(
        _suffix_flops(network, plan, training=part is train) @ (part.pairs, part.images, part.texts)
        for part in (train, val)
    )
    _, image, text = _values(network, plan)
    values = (train.images + val.images) * image + (train.texts + val.texts) * text
    values += trainable_count(network) * (train.batches * PASSES_OF_A_TRAINED_WEIGHT + val.batches)
    return Load(float(flops), float(FLOAT_BYTES * values))


def published_epoch(network: Network, plan: FreezePlan, train: Pass, val: Pass) -> Load:
    """An epoch of the published loop: every row through the whole network, backward through what trains.

    The network has Keras' own attention.
    """
    apply_plan(network, FreezePlan(len(network.vision_layers), len(network.text_layers)))
    whole = trainable_count(network)
    apply_plan(network, plan)
    trained, inputs = trainable_count(network), blank_inputs(network)
    flops = train.pairs * counted(lambda: network.model(inputs, training=True), backward=True)
    flops += val.pairs * counted(lambda: network.model(inputs, training=False))
    values = (train.pairs + val.pairs) * _values(network, plan)[0]
    values += trained * train.batches * PASSES_OF_A_TRAINED_WEIGHT + trained * val.batches
    values += (whole - trained) * (train.batches + val.batches)
    return Load(float(flops), float(FLOAT_BYTES * values))


def filling(network: Network, plan: FreezePlan, *, n_images: int, n_texts: int) -> Load:
    """Filling the cache once."""
    vision, text = vision_prefix(network, [plan.vision_blocks]), text_prefix(network, [plan.text_blocks])
    inputs = blank_inputs(network)
    words = {name: inputs[name] for name in ("token_ids", "padding_mask")}
    flops = n_images * counted(lambda: vision(inputs["pixels"], training=False))
    flops += n_texts * counted(lambda: text(words, training=False))
    pixels, an_image, a_text = _values(network, plan)
    return Load(float(flops), float(FLOAT_BYTES * (n_images * (pixels + an_image) + n_texts * a_text)))


@dataclass(frozen=True)
class Machine:
    """What this machine does at best: flops a second in matrix products, bytes a second across memory."""

    flops_per_s: float
    bytes_per_s: float


def measure_machine(*, device: str = "cpu", dtype: str = "float32", seconds: float = 1.0) -> Machine:
    """Measure the best of many square matrix products and of many copies, with the threads that are set."""
    side, copied = (8192, 1 << 30) if device == "cuda" else (1536, 1 << 28)
    left, right = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
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
