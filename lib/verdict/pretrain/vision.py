"""Teach a tiny vision transformer what each patch of a scene holds, and what the whole scene holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from verdict.backend import keras, keras_hub
from verdict.pretrain.optimiser import one_cycle, step_down, tell, weights

HEADS, BLOCKS, PATCH_PX = 4, 4, 16
REPORT_EVERY = 100

SceneSource = Callable[[int, np.random.Generator], tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class VisionRecipe:
    """How a tiny vision transformer is taught.

    Attributes
    ----------
    image_size : (height, width) in pixels, multiples of 16
    draw : (n, rng) → uint8 images (n, H, W, 3) and integer targets
        `patch.*` (n, n_patches) or (n, n_patches, n_values), read from the patch's token; `scene.*` (n, n_values),
        read from the class token
    held_out : the same from material that `draw` does not use, for the accuracies of the model card
    classes : number of classes of each target
    steps, batch, learning_rate : of AdamW with a one-cycle schedule
    width : of tokens
    start : Start, optional
        A cheaper recipe whose weights this one goes on from.
    task_weights : mapping of str to float
        Of the tasks' losses; 1 where there is none.
    """

    image_size: tuple[int, int]
    draw: SceneSource
    held_out: SceneSource
    classes: dict[str, int]
    steps: int
    batch: int = 64
    learning_rate: float = 1.0e-3
    width: int = 128
    start: Start | None = None
    task_weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A recipe on smaller images, and which of its patches each patch begins as.

    Attributes
    ----------
    patch_of : (n_patches,) int
        -1 for the mean of all.
    """

    recipe: VisionRecipe
    patch_of: np.ndarray


class Readers(torch.nn.ModuleDict):
    """One linear map per pre-training task, from tokens to class scores."""

    def __init__(self, recipe: VisionRecipe, n_values: dict[str, int]):
        super().__init__()
        self.task_weights = recipe.task_weights
        self.shapes = {name: (n_values[name], count) for name, count in recipe.classes.items()}
        for name, (values, count) in self.shapes.items():
            self[name.replace(".", "_")] = torch.nn.Linear(recipe.width, values * count)

    def scores(self, tokens: torch.Tensor, name: str) -> torch.Tensor:
        """Class scores, (n, [n_patches,] n_values, n_classes), of tokens whose first is the class token."""
        read = tokens[:, 1:] if name.startswith("patch.") else tokens[:, 0]
        found = self[name.replace(".", "_")](read)
        return found.reshape(*found.shape[:-1], *self.shapes[name])

    def loss(self, tokens: torch.Tensor, targets: dict[str, np.ndarray]) -> torch.Tensor:
        """Weighted sum over tasks of the mean cross-entropy."""
        return sum(
            self.task_weights.get(name, 1.0)
            * torch.nn.functional.cross_entropy(
                self.scores(tokens, name).reshape(-1, count), torch.from_numpy(targets[name].astype(np.int64)).flatten()
            )
            for name, (_, count) in self.shapes.items()
        )

    def accuracy(self, tokens: torch.Tensor, targets: dict[str, np.ndarray]) -> dict[str, float]:
        """Share of right answers by task."""
        answers = {name: self.scores(tokens, name).argmax(-1).numpy() for name in self.shapes}
        return {name: float((a.reshape(targets[name].shape) == targets[name]).mean()) for name, a in answers.items()}


def _n_values(targets: dict[str, np.ndarray]) -> dict[str, int]:
    """Values that each task asks of one token."""
    plain = {name: name.startswith("patch.") and target.ndim == 2 for name, target in targets.items()}
    return {name: 1 if plain[name] else target.shape[-1] for name, target in targets.items()}


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 images in the range that the preset's converter gives, -1 to 1."""
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)


def new_backbone(recipe: VisionRecipe) -> keras_hub.models.ViTBackbone:
    """An untrained vision transformer of the recipe's size."""
    return keras_hub.models.ViTBackbone(
        image_shape=(*recipe.image_size, 3),
        patch_size=PATCH_PX,
        num_layers=BLOCKS,
        num_heads=HEADS,
        hidden_dim=recipe.width,
        mlp_dim=4 * recipe.width,
    )


def train_vision(
    name: str, recipe: VisionRecipe, *, seed: int
) -> tuple[keras_hub.models.ViTBackbone, dict[str, float]]:
    """Teach a tiny vision transformer; return it with its accuracies on new scenes."""
    backbone, readers = _fit(name, recipe, seed=seed)
    images, targets = recipe.held_out(512, np.random.default_rng([seed, 2]))
    with torch.no_grad():
        tokens = torch.cat([backbone(as_pixels(images[start : start + 64])) for start in range(0, len(images), 64)])
        return backbone, readers.accuracy(tokens, targets)


def _fit(name: str, recipe: VisionRecipe, *, seed: int) -> tuple[keras_hub.models.ViTBackbone, Readers]:
    before = _fit(f"{name} (start)", recipe.start.recipe, seed=seed) if recipe.start else None
    keras.utils.set_random_seed(seed)
    backbone = new_backbone(recipe)
    rng = np.random.default_rng([seed, 1])
    readers = Readers(recipe, _n_values(recipe.draw(2, rng)[1]))
    if before and recipe.start:
        _go_on_from(before, backbone, readers, recipe.start.patch_of)
    parameters = [*weights(backbone), *readers.parameters()]
    optimizer, schedule = one_cycle(parameters, recipe.learning_rate, recipe.steps)
    started = time.perf_counter()
    for step in range(recipe.steps):
        images, targets = recipe.draw(recipe.batch, rng)
        loss = readers.loss(backbone(as_pixels(images)), targets)
        step_down(loss, parameters, optimizer, schedule)
        if (step + 1) % REPORT_EVERY == 0:
            tell(
                f"{name}  step {step + 1}/{recipe.steps}  loss {loss.item():.3f}  {time.perf_counter() - started:.0f} s"
            )
    return backbone, readers


def _go_on_from(
    before: tuple[keras_hub.models.ViTBackbone, Readers],
    backbone: keras_hub.models.ViTBackbone,
    readers: Readers,
    patch_of: np.ndarray,
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
