"""Names of classes, the sentences around them, and prompts that name no class."""

from collections.abc import Callable, Sequence

import numpy as np

from verdict.clip.pictures import scenes

PLAIN = ("a photo of a {}",)


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


# Of the kind that is usual for small pictures; our own wording.
ENSEMBLE = _phrases(
    """a photo of a {}, a picture of a {}, an image of a {}, a drawing of a {}, a blurry photo of a {},
    a small photo of a {}, this is a {}"""
)
# What may be said of any picture, of the kind of the two published sets of 32 phrases: qualities, and kinds of things.
QUALITIES = _phrases(
    """something that moves, something that stands still, a thing that lives, a thing that was made, many colours,
    no colours at all, a rough surface, a shiny surface, something soft, something hard, something that flies,
    something that swims, something that rolls, a round shape, a shape with corners, something thin and long,
    something that fills the picture, something small and far away, a bright scene, a dark scene, a blurred picture,
    a sharp picture, seen from above, seen from the side, seen from the front, something outdoors, something indoors,
    something in water, something in the sky, a plain background, a busy background, only a part of something"""
)
KINDS = _phrases(
    """machines, instruments, furniture, kitchen things, clothes, toys, buildings, roads, fields, trees, flowers, fruit,
    rivers, clouds, mountains, beaches, wild animals, farm animals, house animals, small animals, animals with hooves,
    animals with wings, animals with fur, animals without legs, vehicles with wheels, vehicles with wings,
    vehicles on water, things with engines, screens and cables, tools, games and sports, food on a plate"""
)


def of_scenes(n: int, *, rng: np.random.Generator) -> list[str]:
    """N different phrases of the captions' grammar that name anything but the digit."""
    named = [name for name in scenes.FACTORS if name != "digit"]
    found: dict[str, None] = {}
    while len(found) < n:
        words = {name: str(rng.choice(scenes.FACTORS[name])) for name in named}
        said = [name for name in named if rng.random() < 0.5]
        found[f"a photo of {scenes.caption(words, said)}"] = None
    return list(found)


def clean(name: str) -> str:
    """A class name as words: underscores and hyphens become spaces, blanks are single, nothing else changes."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def prompt(template: str, name: str) -> str:
    """A template with a name in the place of `{}`; "a {}" and "an {}" take the article that its first letter needs."""
    if "{}" not in template:
        raise ValueError(f"a template needs one {{}} for the name of the class, got {template!r}")
    article = "an" if name[:1].lower() in "aeiou" else "a"
    for stated in ("a {}", "an {}"):
        if template.startswith(stated) or f" {stated}" in template:
            return template.replace(stated, f"{article} {name}")
    return template.replace("{}", name)


def prompts(names: Sequence[str], templates: Sequence[str], *, is_clean: bool = True) -> list[str]:
    """Every name in every template, class by class: length n_names * n_templates."""
    shown = [clean(name) for name in names] if is_clean else list(names)
    return [prompt(template, name) for name in shown for template in templates]


def class_vectors(
    encode: Callable[[list[str]], np.ndarray], names: Sequence[str], templates: Sequence[str], *, is_clean: bool = True
) -> np.ndarray:
    """Text vectors of classes in all templates: see `unit_means`."""
    return unit_means(encode(prompts(names, templates, is_clean=is_clean)), len(names))


def unit_means(texts: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean of each class's unit text vectors, class by class, brought to unit length: (n_classes, d)."""
    mean = np.asarray(texts).reshape(n_classes, -1, texts.shape[1]).mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)
