"""Teach a tiny vision transformer what each patch of a scene holds, and what the whole scene holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from verdict.model.backend import keras, keras_hub
from verdict.model.presets.optimiser import descend, weights

HEADS, BLOCKS, PATCH_PX = 4, 4, 16
ViTBackbone = keras_hub.models.ViTBackbone

SceneSource = Callable[[int, np.random.Generator], tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class VisionRecipe:
    """How a tiny vision transformer is taught.

    `draw` gives n images, uint8 (n, H, W, 3), and integer targets of so many `classes`: `patch.*` (n, n_patches) or (n,
    n_patches, n_values), read from the patch's token, `scene.*` (n, n_values), from the class token. `held_out` gives
    the same from other material, for the model card, by what stands behind the tasks' names. Sides of `image_size` are
    multiples of 16 pixels; `start` is a cheaper recipe to go on from; `task_weights` of losses are 1 where there are
    none. With a `pull`, `draw` gives n scenes as 2 n images, all plain and then all varied, and it weighs the mean
    squared distance of a varied scene's tokens, at unit scale, from the plain scene's.
    """

    image_size: tuple[int, int]
    draw: SceneSource
    held_out: Mapping[str, SceneSource]
    classes: dict[str, int]
    steps: int
    batch: int = 64
    learning_rate: float = 1.0e-3
    width: int = 128
    start: Start | None = None
    task_weights: Mapping[str, float] = field(default_factory=dict)
    pull: float = 0.0


@dataclass(frozen=True)
class Start:
    """A recipe on smaller images, and which of its patches each patch begins as.

    Of each patch (n_patches,) int, -1 for the mean of all.
    """

    recipe: VisionRecipe
    patch_of: np.ndarray


class Readers(torch.nn.ModuleDict):
    """One linear map per pre-training task, from tokens to class scores."""

    def __init__(self, recipe: VisionRecipe, targets: dict[str, np.ndarray]):
        super().__init__()
        self.task_weights, self.shapes = recipe.task_weights, {}
        for name, count in recipe.classes.items():
            is_plain = name.startswith("patch.") and targets[name].ndim == 2
            n_values = 1 if is_plain else targets[name].shape[-1]
            self.shapes[name] = (n_values, count)
            self[name.replace(".", "_")] = torch.nn.Linear(recipe.width, n_values * count)

    def scores(self, tokens: torch.Tensor, name: str) -> torch.Tensor:
        """Class scores, (n, [n_patches,] n_values, n_classes), of tokens whose first is the class token."""
        read = tokens[:, 1:] if name.startswith("patch.") else tokens[:, 0]
        found = self[name.replace(".", "_")](read)
        return found.reshape(*found.shape[:-1], *self.shapes[name])

    def loss(self, tokens: torch.Tensor, targets: dict[str, np.ndarray]) -> torch.Tensor:
        """Weighted sum over tasks of the mean cross-entropy."""
        losses = []
        for name, (_, count) in self.shapes.items():
            truth = torch.from_numpy(targets[name].astype(np.int64)).flatten()
            entropy = torch.nn.functional.cross_entropy(self.scores(tokens, name).reshape(-1, count), truth)
            losses.append(self.task_weights.get(name, 1.0) * entropy)
        return sum(losses)

    def accuracy(self, tokens: torch.Tensor, targets: dict[str, np.ndarray]) -> dict[str, float]:
        """Share of right answers by task."""
        answers = {name: self.scores(tokens, name).argmax(-1).numpy() for name in self.shapes}
        return {name: float((a.reshape(targets[name].shape) == targets[name]).mean()) for name, a in answers.items()}


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 images in the range that the preset's converter gives, -1 to 1."""
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)


def train_vision(name: str, recipe: VisionRecipe, *, seed: int) -> tuple[ViTBackbone, dict[str, float]]:
    """Teach a tiny vision transformer; return it with its accuracies on new scenes."""
    backbone, readers = _fit(name, recipe, seed=seed)
    scores = {}
    for suffix, source in recipe.held_out.items():
        images, targets = source(512, np.random.default_rng([seed, 2]))
        with torch.no_grad():
            tokens = torch.cat([backbone(as_pixels(images[start : start + 64])) for start in range(0, len(images), 64)])
            scores |= {f"{task}{suffix}": found for task, found in readers.accuracy(tokens, targets).items()}
    return backbone, scores


def _fit(name: str, recipe: VisionRecipe, *, seed: int) -> tuple[ViTBackbone, Readers]:
    before = _fit(f"{name} (start)", recipe.start.recipe, seed=seed) if recipe.start else None
    keras.utils.set_random_seed(seed)
    sizes = {"num_layers": BLOCKS, "num_heads": HEADS, "hidden_dim": recipe.width, "mlp_dim": 4 * recipe.width}
    backbone = ViTBackbone(image_shape=(*recipe.image_size, 3), patch_size=PATCH_PX, **sizes)
    rng = np.random.default_rng([seed, 1])
    readers = Readers(recipe, recipe.draw(2, rng)[1])
    if before and recipe.start:
        _go_on_from(before, backbone, readers, recipe.start.patch_of)

    def step_loss() -> tuple[torch.Tensor, float]:
        images, targets = recipe.draw(recipe.batch, rng)
        tokens = backbone(as_pixels(images))
        loss = readers.loss(tokens, targets)
        if recipe.pull:
            plain, varied = torch.nn.functional.layer_norm(tokens, tokens.shape[-1:]).chunk(2)
            loss = loss + recipe.pull * torch.nn.functional.mse_loss(varied, plain.detach())
        return loss, loss.item()

    parameters = [*weights(backbone), *readers.parameters()]
    descend(name, parameters, step_loss, steps=recipe.steps, learning_rate=recipe.learning_rate)
    return backbone, readers


def _go_on_from(
    before: tuple[ViTBackbone, Readers], backbone: ViTBackbone, readers: Readers, patch_of: np.ndarray
) -> None:
    """Copy weights of equal place; the table of positions is laid out anew."""
    old, old_readers = before
    for source, target in zip(old.weights, backbone.weights, strict=True):
        value = keras.ops.convert_to_numpy(source)
        if source.shape != target.shape:
            patches = np.concatenate([value[1:], value[1:].mean(axis=0, keepdims=True)])
            value = np.concatenate([value[:1], patches[patch_of]])
        target.assign(value)
    known = old_readers.state_dict()
    fitting = {k: known[k] for k, v in readers.state_dict().items() if k in known and known[k].shape == v.shape}
    readers.load_state_dict({**readers.state_dict(), **fitting})
