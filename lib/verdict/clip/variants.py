"""Weaker relatives of one dual encoder, made without training: fewer layers of vision, or weights mixed with new ones.

They share a text tower or most of their weights, so they are not independent models: a relation over them says how
numbers move when one encoder is damaged.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from verdict.artifacts import content_hash

if TYPE_CHECKING:
    from verdict.clip.encode import DualEncoder

MIXED = (0.85, 0.7, 0.55)
WHOLE = "whole"
UNTRAINED = "untrained"


def variants(encoder: DualEncoder, *, seed: int) -> dict[str, DualEncoder]:
    """The encoder and its relatives by name, the whole one first.

    Parameters
    ----------
    encoder : DualEncoder
    seed : int
        Of the fresh weights.
    """
    n_layers = len(encoder.model.vision_model.encoder.layers)
    depths = sorted({max(1, n_layers * part // 3) for part in (1, 2)} - {n_layers}, reverse=True)
    found = {WHOLE: encoder}
    for depth in depths:
        found[f"{depth} of {n_layers} layers"] = with_layers(encoder, depth)
    for share in (*MIXED, 0.0):
        name = f"{share:.0%} of the weights" if share else UNTRAINED
        found[name] = mixed(encoder, share, seed=seed)
    return found


def with_layers(encoder: DualEncoder, depth: int) -> DualEncoder:
    """The encoder without the last layers of its vision tower; what is left passes the same last norm and projection.

    Raises
    ------
    ValueError
        If the tower has no such depth.
    """
    layers = encoder.model.vision_model.encoder.layers
    if not 1 <= depth <= len(layers):
        raise ValueError(f"the vision tower has {len(layers)} layers, cannot keep {depth}")
    model = copy.deepcopy(encoder.model)
    model.vision_model.encoder.layers = model.vision_model.encoder.layers[:depth]
    return _renamed(encoder, model, f"layers {depth}")


def mixed(encoder: DualEncoder, share: float, *, seed: int) -> DualEncoder:
    """The encoder with each weight moved towards a fresh one: `share` of its own, the rest from a new network.

    The logit scale stays: it is no weight of either tower.
    """
    import torch

    if not 0 <= share <= 1:
        raise ValueError(f"share of the weights must lie in [0, 1], got {share}")
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


def _renamed(encoder: DualEncoder, model: object, change: str) -> DualEncoder:
    identity = content_hash([encoder.identity, change])
    return replace(encoder, name=f"{encoder.name}, {change}", identity=identity, model=model)
