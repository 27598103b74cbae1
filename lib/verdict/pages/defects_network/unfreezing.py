"""Unfreezing one block, and then the encoder around it (D06)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.params import ModelParams
from verdict.model.network import FreezePlan, Network, apply_plan
from verdict.pages.defects.sizes import Shape


def with_one_vision_block(network: Network, plan: FreezePlan) -> FreezePlan:
    """What the study meant to train: one block of vision, where the network has any."""
    return replace(plan, vision_blocks=min(1, len(network.vision_layers)))


def free_the_parent(network: Network, plan: FreezePlan) -> None:
    """Follow a plan, then set the encoder around its vision blocks trainable, as the study did. Wrong."""
    apply_plan(network, plan)
    if plan.vision_blocks:
        encoder = network.vision.get_layer("vit_encoder")
        encoder.trainable = True
        # On torch Keras has passed this down to every weight; on tensorflow each keeps its own flag.
        for weight in encoder.weights:
            weight.trainable = True


def trained_layers(network: Network) -> dict[str, int]:
    """Trainable parameters by layer: blocks by encoder and name, layers of the head by name, others by their path."""
    owners = {f"vision.{block.name}": block for block in network.vision_layers}
    owners |= {f"text.{block.name}": block for block in network.text_layers}
    owners |= {f"head.{name}": layer for name, layer in network.head.items()}
    owner_of = {id(weight): name for name, layer in owners.items() for weight in layer.variables}
    found: dict[str, int] = {}
    for weight in network.model.trainable_variables:
        name = owner_of.get(id(weight), weight.path.rsplit("/", 1)[0].replace("/", "."))
        found[name] = found.get(name, 0) + int(np.prod(weight.shape))
    return found


def unfreezing_table(network: Network, plan: FreezePlan) -> pd.DataFrame:
    """Layers that train under a plan and once the parent is set free: layer, planned, with_defect (parameters)."""
    apply_plan(network, plan)
    planned = trained_layers(network)
    free_the_parent(network, plan)
    freed = trained_layers(network)
    names = [*planned, *(name for name in freed if name not in planned)]
    rows = [(name, planned.get(name, 0), freed.get(name, 0)) for name in names]
    return pd.DataFrame(rows, columns=["layer", "planned", "with_defect"])


def shape_of(network: Network, params: ModelParams) -> Shape:
    """The sizes that decide how many parameters a network has."""
    vision, text = network.vision, network.text
    return Shape(
        len(network.vision_layers),
        len(network.text_layers),
        vision.hidden_dim,
        text.hidden_dim,
        vision.mlp_dim,
        text.intermediate_dim,
        heads=params.heads,
        key_dim=params.key_dim,
        mlp_dim=params.mlp_dim,
    )
