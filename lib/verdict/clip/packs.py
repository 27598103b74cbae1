"""Prompts that name no class: what may be said of any picture. Our own wording, of the kind that studies use."""

from __future__ import annotations

import numpy as np

from verdict.clip import scenes

# Qualities: of the kind of the first published set (32 phrases).
QUALITIES = (
    "something that moves",
    "something that stands still",
    "a thing that lives",
    "a thing that was made",
    "many colours",
    "no colours at all",
    "a rough surface",
    "a shiny surface",
    "something soft",
    "something hard",
    "something that flies",
    "something that swims",
    "something that rolls",
    "a round shape",
    "a shape with corners",
    "something thin and long",
    "something that fills the picture",
    "something small and far away",
    "a bright scene",
    "a dark scene",
    "a blurred picture",
    "a sharp picture",
    "seen from above",
    "seen from the side",
    "seen from the front",
    "something outdoors",
    "something indoors",
    "something in water",
    "something in the sky",
    "a plain background",
    "a busy background",
    "only a part of something",
)
# Kinds of things: of the kind of the second published set.
KINDS = (
    "machines",
    "instruments",
    "furniture",
    "kitchen things",
    "clothes",
    "toys",
    "buildings",
    "roads",
    "fields",
    "trees",
    "flowers",
    "fruit",
    "rivers",
    "clouds",
    "mountains",
    "beaches",
    "wild animals",
    "farm animals",
    "house animals",
    "small animals",
    "animals with hooves",
    "animals with wings",
    "animals with fur",
    "animals without legs",
    "vehicles with wheels",
    "vehicles with wings",
    "vehicles on water",
    "things with engines",
    "screens and cables",
    "tools",
    "games and sports",
    "food on a plate",
)


def of_scenes(n: int, *, rng: np.random.Generator) -> list[str]:
    """N different phrases of the captions' grammar that name anything but the digit."""
    named = [name for name in scenes.FACTORS if name != "digit"]
    found: dict[str, None] = {}
    while len(found) < n:
        words = {name: str(rng.choice(scenes.FACTORS[name])) for name in named} | {"digit": "digit"}
        said = [name for name in named if rng.random() < 0.5]
        found[f"a photo of {scenes.caption(words, said)}"] = None
    return list(found)
