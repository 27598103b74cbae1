"""Teach a tiny CLIP on a profile's own labelled pictures: a template with the class's name is a picture's caption.

Its classes are the ones it was taught, so that what it does with them is prompt-based classification, not zero-shot.
"""

from collections.abc import Iterator

import numpy as np
import torch

from verdict.base.artifacts import write_json
from verdict.base.numbers import SETTING
from verdict.base.params import ClipParams, ClipTrainingParams
from verdict.clip.encoder.encode import saved
from verdict.clip.encoder.teach import ClipRecipe, Drawn, train_clip
from verdict.clip.pictures.corpora import at_px
from verdict.clip.pictures.sources import Pictures, build
from verdict.clip.pictures.words import clean, prompt
from verdict.workflow.stage import Stage

PX = 32
MAX_SHIFT = 3


def recipe_of(pictures: Pictures, params: ClipTrainingParams, *, may_flip: bool = True) -> ClipRecipe:
    """A recipe that draws the train split's pictures, shifted and perhaps mirrored, epoch by epoch."""
    rows = pictures.rows("train")
    images, y = at_px(pictures.images[rows], PX), pictures.table["y"].to_numpy()[rows]
    names = [clean(name) for name in pictures.class_names]
    batch = min(params.batch, len(rows))
    turns = _turns(len(rows), batch, seed=params.seed)

    def draw(n: int, rng: np.random.Generator) -> Drawn:
        chosen = next(turns)[:n]
        picks = rng.integers(len(pictures.templates), size=len(chosen))
        texts = [prompt(pictures.templates[k], names[y[row]]) for k, row in zip(picks, chosen, strict=True)]
        is_true = y[chosen][:, None] == y[chosen][None, :]
        return Drawn(moved(images[chosen], rng, may_flip=may_flip), texts, is_true, {})

    corpus = [prompt(template, name) for template in pictures.templates for name in names]
    sizes = {"image_px": PX, "width": 128, "layers": 4, "steps": params.epochs * (len(rows) // batch)}
    return ClipRecipe(draw, lambda: corpus, {}, **sizes, batch=batch, learning_rate=params.learning_rate)


def _turns(n: int, batch: int, *, seed: int) -> Iterator[np.ndarray]:
    """Batches of row numbers, every row at most once an epoch, without end."""
    rng = np.random.default_rng([seed, 2])
    while True:
        order = rng.permutation(n)
        yield from (order[start : start + batch] for start in range(0, n - batch + 1, batch))


def moved(images: np.ndarray, rng: np.random.Generator, *, may_flip: bool) -> np.ndarray:
    """Pictures shifted by up to three pixels, edges repeated, half of them mirrored: uint8 of the same shape."""
    n, side = images.shape[:2]
    padded = np.pad(images, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0)), mode="edge")
    down, across = rng.integers(2 * MAX_SHIFT + 1, size=(2, n))
    at = np.arange(side)
    shown = padded[np.arange(n)[:, None, None], (down[:, None] + at)[:, :, None], (across[:, None] + at)[:, None, :]]
    mirrored = (rng.random(n) < 0.5) & may_flip
    shown[mirrored] = shown[mirrored, :, ::-1]
    return shown


def teach(stage: Stage) -> None:
    """The stage without a notebook: teach, and keep the encoder in the format of `from_pretrained`."""
    params: ClipParams = stage.params.clip
    torch.set_num_threads(params.threads)
    recipe = recipe_of(build(params, px=PX), params.training, may_flip=params.source != "digits")
    model, processor, tokenizer, losses = train_clip("clip", recipe, seed=params.training.seed, progress=stage.progress)
    saved(model, processor, tokenizer, stage.path("model"))
    write_json(stage.path("losses.json"), losses)
    stage.number("clip.n_steps", len(losses), unit="count")
    stage.number("clip.last_loss", float(np.mean(losses[-50:])), kind=SETTING)
    stage.save()
