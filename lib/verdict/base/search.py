"""Random search: the study's two spaces with its own draws, and a sounder space.

A space is a mapping of parameter to axis; its order is the order of the draws, which a seed alone does not fix.
Configurations and trials are plain values here; `verdict.base.params` asks for them and validates what they become.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

Random = np.random.Generator | np.random.RandomState
Axis = Callable[[Random], float | int]
Space = dict[str, Axis]


def uniform(low: float, high: float) -> Axis:
    """Equally likely values in [low, high)."""
    return lambda rng: float(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Axis:
    """Values in [low, high), > 0, whose logarithm is uniform: each factor of ten is equally likely."""
    return lambda rng: math.exp(float(rng.uniform(math.log(low), math.log(high))))


def choice(*options: int) -> Axis:
    """One of several whole numbers, equally likely."""
    return lambda rng: int(rng.choice(options))


# The study's search over the depth of text, frozen vision.
PUBLISHED_TEXT: Space = {
    "learning_rate": uniform(2e-5, 1e-4),
    "weight_decay": uniform(5e-6, 5e-5),
    "dropout": uniform(0.05, 0.30),
    "text_blocks": choice(2, 3),
}
# The study's search with one block of vision; its depth is fixed and takes no draw.
PUBLISHED_VISION: Space = {
    "text_blocks": choice(2, 3),
    "learning_rate": uniform(3e-5, 6e-5),
    "weight_decay": uniform(1e-5, 2.5e-5),
    "dropout": uniform(0.12, 0.25),
}
# A uniform draw over a factor of five hardly tries the small learning rates; and decay below 1e-3 shrinks weights by
# less than a part in ten thousand over a whole run, so that the study's decay was no axis at all.
SOUND: Space = {
    "learning_rate": log_uniform(2e-5, 1e-4),
    "weight_decay": log_uniform(1e-3, 1e-1),
    "dropout": uniform(0.05, 0.30),
    "text_blocks": choice(2, 3),
}

# Name of a space, its axes, and the blocks of vision that train in it; None leaves their number open.
SPACES: dict[str, tuple[Space, int | None]] = {
    "sound": (SOUND, None),
    "published_text": (PUBLISHED_TEXT, 0),
    "published_vision": (PUBLISHED_VISION, 1),
}


def draw(space: Space, n: int, *, rng: Random) -> list[dict[str, float | int]]:
    """Draw n configurations, one after the other, each axis by axis in the order of the space."""
    return [{name: axis(rng) for name, axis in space.items()} for _ in range(n)]


def configurations(
    name: str,
    n: int,
    *,
    seed: int,
    learning_rate: tuple[float, float] | None = None,
    text_blocks: Sequence[int] | None = None,
) -> list[dict[str, float | int]]:
    """Draw n configurations of a named space, a published one by NumPy's legacy generator: seed 42 gives the study's.

    `learning_rate` (lowest, highest) and `text_blocks` (any of these) replace these axes where they are given: networks
    that are not pretrained at large need larger rates.
    """
    space, rng = dict(SPACES[name][0]), np.random.RandomState(seed)
    if learning_rate is not None:
        space["learning_rate"] = log_uniform(*learning_rate)
    if text_blocks is not None:
        space["text_blocks"] = choice(*text_blocks)
    return draw(space, n, rng=np.random.default_rng(seed) if name == "sound" else rng)
