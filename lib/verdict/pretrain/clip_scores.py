"""How well a tiny dual encoder names what it sees, on handwriting that neither it nor any split uses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from verdict.clip import scenes
from verdict.clip.encode import DualEncoder
from verdict.data.scenes import handwriting_pools

N_SCENES = 1500
POOL = "warmup"
NO_WORDS: Mapping[str, str] = MappingProxyType(dict.fromkeys(scenes.FACTORS, ""))


def factor_prompts(factor: str) -> list[str]:
    """One sentence for each value of a factor: "a photo of a red digit"."""
    return [
        f"a photo of {scenes.caption({**NO_WORDS, 'digit': 'digit', factor: word}, [factor])}"
        for word in scenes.FACTORS[factor]
    ]


def by_factor(
    model: CLIPModel,
    processor: CLIPImageProcessorPil,
    tokenizer: CLIPTokenizer,
    *,
    px: int,
    seed: int,
    n: int = N_SCENES,
) -> dict[str, float]:
    """Accuracy by factor on n scenes, and of digit and colour on n scenes of held-out couples."""
    drawn = {"px": px, "seed": seed, "n": n}
    with torch.inference_mode():
        encoder = DualEncoder("new", "", "", model.eval(), processor, tokenizer)
        found = {name: _accuracy(encoder, name, held_out=False, **drawn) for name in scenes.FACTORS}
        found["digit, held-out couple"] = _accuracy(encoder, "digit", held_out=True, **drawn)
        found["colour, held-out couple"] = _accuracy(encoder, "colour", held_out=True, **drawn)
    return found


def _accuracy(encoder: DualEncoder, factor: str, *, held_out: bool, px: int, seed: int, n: int) -> float:
    rng = np.random.default_rng([seed, 3, held_out])
    drawn = scenes.draw(n, handwriting_pools()[POOL], rng=rng, held_out=held_out)
    images, _ = scenes.render(drawn, rng=rng, px=px)
    cosines = encoder.images(images) @ encoder.texts(factor_prompts(factor)).T
    return float((cosines.argmax(axis=1) == drawn.factors[factor]).mean())
