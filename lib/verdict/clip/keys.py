"""Keys of the last attention block, which tell objects apart from their surroundings better than the last tokens do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from verdict.clip.encode import DualEncoder


def last_keys(encoder: DualEncoder, images: np.ndarray) -> np.ndarray:
    """Keys of the last block of the vision tower for every patch, its bias included: float32 (n, n_patches, width).

    Parameters
    ----------
    encoder : DualEncoder
    images : uint8, (n, height, width, 3)
    """
    import torch

    caught: list[Any] = []
    block = encoder.model.vision_model.encoder.layers[-1].self_attn
    handle = block.k_proj.register_forward_hook(lambda module, inputs, output: caught.append(output[:, 1:].numpy()))
    try:
        with torch.inference_mode():
            for start in range(0, len(images), encoder.batch):
                encoder.model.vision_model(pixel_values=encoder.pixels(images[start : start + encoder.batch]))
    finally:
        handle.remove()
    return np.concatenate(caught)
