"""Names of classes and the sentences around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verdict.numbers import Number

PLAIN = ("a photo of a {}",)
# Of the kind that is usual for small pictures; our own wording.
ENSEMBLE = (
    "a photo of a {}",
    "a picture of a {}",
    "an image of a {}",
    "a drawing of a {}",
    "a blurry photo of a {}",
    "a small photo of a {}",
    "this is a {}",
)


def clean(name: str) -> str:
    """A class name as words: underscores and hyphens become spaces, blanks are single, nothing else changes."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def article(phrase: str) -> str:
    """The article that a phrase takes, by its first letter."""
    return "an" if phrase[:1].lower() in "aeiou" else "a"


def prompt(template: str, name: str) -> str:
    """A template with a name in the place of `{}`; "a {}" and "an {}" take the article that the name needs.

    Raises
    ------
    ValueError
        If the template has no place for the name.
    """
    if "{}" not in template:
        raise ValueError(f"a template needs one {{}} for the name of the class, got {template!r}")
    for stated in ("a {}", "an {}"):
        if template.startswith(stated) or f" {stated}" in template:
            return template.replace(stated, f"{article(name)} {name}")
    return template.replace("{}", name)


def prompts(names: Sequence[str], templates: Sequence[str], *, is_clean: bool = True) -> list[str]:
    """Every name in every template, class by class: length n_names * n_templates."""
    shown = [clean(name) for name in names] if is_clean else list(names)
    return [prompt(template, name) for name in shown for template in templates]


def class_vectors(texts: np.ndarray, n_templates: int) -> np.ndarray:
    """Mean of each class's unit text vectors, brought to unit length: (n_classes, d).

    Parameters
    ----------
    texts : (n_classes * n_templates, d)
        In the order of `prompts`.
    """
    if n_templates < 1 or len(texts) % n_templates:
        raise ValueError(f"{len(texts)} text vectors are not {n_templates} for each class")
    mean = np.asarray(texts).reshape(-1, n_templates, texts.shape[1]).mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def by_sign(difference: Number, *, above: str, below: str, neither: str) -> str:
    """The sentence that a difference bears out: its interval lies above zero, below zero, or neither."""
    if difference.excludes(0.0):
        return above if difference.value > 0 else below
    return neither
