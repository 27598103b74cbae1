"""Random search: the study's two spaces with its own draws, and a sounder space.

A space is a mapping of parameter to axis; its order is the order of the draws, which a seed alone does not fix.
Configurations and trials are plain values here; `verdict.base.params` asks for them and validates what they become.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

PUBLISHED_SEED = 42

Random = np.random.Generator | np.random.RandomState
Configuration = dict[str, float | int]


@dataclass(frozen=True)
class Uniform:
    """Equally likely values between two bounds."""

    low: float
    high: float

    def draw(self, rng: Random) -> float:
        """One value in [low, high)."""
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """Values whose logarithm is uniform: each factor of ten is equally likely. Bounds are positive."""

    low: float
    high: float

    def draw(self, rng: Random) -> float:
        """One value in [low, high)."""
        return math.exp(float(rng.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True)
class Choice:
    """One of several whole numbers, equally likely."""

    options: tuple[int, ...]

    def draw(self, rng: Random) -> int:
        """One of the options."""
        return int(rng.choice(self.options))


Space = Mapping[str, Uniform | LogUniform | Choice]

# The study's search over the depth of text, frozen vision.
PUBLISHED_TEXT: Space = MappingProxyType(
    {
        "learning_rate": Uniform(2e-5, 1e-4),
        "weight_decay": Uniform(5e-6, 5e-5),
        "dropout": Uniform(0.05, 0.30),
        "text_blocks": Choice((2, 3)),
    }
)
# The study's search with one block of vision; its depth is fixed and takes no draw.
PUBLISHED_VISION: Space = MappingProxyType(
    {
        "text_blocks": Choice((2, 3)),
        "learning_rate": Uniform(3e-5, 6e-5),
        "weight_decay": Uniform(1e-5, 2.5e-5),
        "dropout": Uniform(0.12, 0.25),
    }
)
# A uniform draw over a factor of five hardly tries the small learning rates; and decay below 1e-3 shrinks weights by
# less than a part in ten thousand over a whole run, so that the study's decay was no axis at all.
SOUND: Space = MappingProxyType(
    {
        "learning_rate": LogUniform(2e-5, 1e-4),
        "weight_decay": LogUniform(1e-3, 1e-1),
        "dropout": Uniform(0.05, 0.30),
        "text_blocks": Choice((2, 3)),
    }
)


def draw(space: Space, n: int, *, rng: Random) -> list[Configuration]:
    """Draw n >= 1 configurations, one after the other, each axis by axis in the order of the space."""
    if n < 1:
        raise ValueError(f"a search draws at least one configuration, got n={n}")
    return [{name: axis.draw(rng) for name, axis in space.items()} for _ in range(n)]


def published(space: Space, n: int) -> list[Configuration]:
    """The study's own draws: NumPy's legacy generator with the study's seed."""
    return draw(space, n, rng=np.random.RandomState(PUBLISHED_SEED))


# Name of a space, its axes, and the blocks of vision that train in it; None leaves their number open.
SPACES: Mapping[str, tuple[Space, int | None]] = MappingProxyType(
    {"sound": (SOUND, None), "published_text": (PUBLISHED_TEXT, 0), "published_vision": (PUBLISHED_VISION, 1)}
)


def configurations(
    name: str,
    n: int,
    *,
    seed: int,
    learning_rate: tuple[float, float] | None = None,
    text_blocks: Sequence[int] | None = None,
) -> list[Configuration]:
    """Draw n configurations of a named space; a published one with the study's seed gives the study's.

    A published space is drawn by NumPy's legacy generator, the sound one by its present one. `learning_rate` (lowest,
    highest) and `text_blocks` replace these axes of the sound space: networks that are not pretrained at large need
    larger rates. ValueError where an axis of a published space is to be replaced.
    """
    space, _ = SPACES[name]
    own: dict[str, Uniform | LogUniform | Choice] = {}
    if learning_rate is not None:
        own["learning_rate"] = LogUniform(*learning_rate)
    if text_blocks is not None:
        own["text_blocks"] = Choice(tuple(text_blocks))
    if name == "sound":
        return draw({**space, **own}, n, rng=np.random.default_rng(seed))
    if own:
        raise ValueError(f"{name} is a published space: {', '.join(own)} cannot be replaced; use the space sound")
    return draw(space, n, rng=np.random.RandomState(seed))


def as_trials(found: Sequence[Configuration], *, prefix: str, **shared: Any) -> list[dict[str, Any]]:
    """Configurations as the trials that a parameter file could list, named `<prefix>_01` on; what they share comes
    first, a configuration's own value wins.
    """
    return [{"name": f"{prefix}_{i:02d}", **shared, **one} for i, one in enumerate(found, start=1)]
