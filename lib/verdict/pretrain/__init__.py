"""Make the tiny presets that the package ships: `python -m verdict.pretrain [--only NAME] [--out FOLDER]`.

They have the format, the loading code and the role of the published encoders, at a size that a laptop can afford: a vision
transformer that was taught what each patch of a scene holds, and a DistilBERT that was taught masked words. Neither has
seen a pair of image and sentence, nor a handwriting sample that any split uses.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from verdict import paths
from verdict.artifacts import write_text
from verdict.backend import keras, keras_hub, set_threads
from verdict.data import digits
from verdict.data.grammar import statements
from verdict.data.scenes import Style, handwriting_style

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH, HEADS, BLOCKS, PATCH_PX = 128, 4, 4, 16
MAX_TOKENS = 32
POOLS_SEED = 42

SceneSource = Callable[[int, np.random.Generator], tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class VisionRecipe:
    """How a tiny vision transformer is taught.

    Attributes
    ----------
    image_size : (height, width) in pixels, multiples of 16
    draw : (n, rng) → uint8 images (n, H, W, 3) and integer targets: `patch.*` (n, n_patches), `scene.*` (n, n_values)
    held_out : the same from material that `draw` does not use, for the accuracies of the model card
    classes : number of classes of each target
    steps, batch, learning_rate : of AdamW with a one-cycle schedule
    """

    image_size: tuple[int, int]
    draw: SceneSource
    held_out: SceneSource
    classes: dict[str, int]
    steps: int
    batch: int = 64
    learning_rate: float = 1.0e-3


@dataclass(frozen=True)
class TextRecipe:
    """How a tiny DistilBERT is taught: sentences without labels, and the words of its vocabulary."""

    sentences: Callable[[], Sequence[str]]
    vocabulary: Sequence[str]
    steps: int
    batch: int = 128
    learning_rate: float = 1.0e-3


def digit_scenes(
    n: int, rng: np.random.Generator, *, pool: str = "pretrain"
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scenes of handwriting on papers and in shades of every kind, with what every cell and every scene holds.

    The pool "pretrain" is used by no split. Papers from black to light and jittered colours stand for the variety that a
    published encoder has seen; the data set's own style is one among them.
    """
    scenes = digits.draw_scenes(n, digits.handwriting_pools(POOLS_SEED)[pool], rng=rng)
    images = np.concatenate(
        [digits.render_scenes(part, rng=rng, style=_random_style(rng)) for part in _parts(scenes, 8)]
    )
    digit = np.stack([scene.digits for scene in scenes]) + 1
    colour = np.stack([scene.colours for scene in scenes]) + 1
    place = np.broadcast_to(np.arange(digit.shape[1]), digit.shape)
    counts = [(digit == d + 1).sum(axis=1) for d in range(10)]
    counts += [(colour == c + 1).sum(axis=1) for c in range(len(digits.COLOURS))]
    return images, {
        "patch.digit": digit,
        "patch.colour": colour,
        "patch.place": place,
        "scene.counts": np.minimum(np.stack(counts, axis=1), 6),
    }


def _parts(items: list, n: int) -> list[list]:
    """Up to `n` runs of nearly equal length."""
    size = -(-len(items) // n)
    return [items[start : start + size] for start in range(0, len(items), size)]


def _random_style(rng: np.random.Generator) -> Style:
    style = handwriting_style()
    paper = float(rng.choice([20.0, rng.uniform(0, 235)]))
    palette = np.clip(style.palette * rng.uniform(0.6, 1.0) + rng.normal(0, 18, style.palette.shape), 0, 255)
    return replace(
        style, paper=(max(0.0, paper - 14), paper + 14), palette=palette.astype(np.float32), noise=rng.uniform(2, 9)
    )


def _text_of_digits() -> Sequence[str]:
    return [statement.text for statement in statements()]


VISION = {
    "digits_vit": VisionRecipe(
        (64, 64),
        digit_scenes,
        partial(digit_scenes, pool="warmup"),
        {"patch.digit": 11, "patch.colour": 6, "patch.place": 16, "scene.counts": 7},
        steps=2500,
    ),
}
TEXT = {
    "digits_distilbert": TextRecipe(_text_of_digits, digits.VOCABULARY, steps=1500),
}


def weights(model: keras.Model) -> list[torch.nn.Parameter]:
    """The trainable weights of a Keras model as torch sees them (`model.parameters()` is empty until a call in training)."""
    return [variable.value for variable in model.trainable_variables]


def _one_cycle(parameters: list[torch.nn.Parameter], learning_rate: float, steps: int) -> tuple:
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=0.15)
    return optimizer, schedule


def _step(loss: torch.Tensor, parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, schedule) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()


def _read_out(
    tokens: torch.Tensor, readers: dict[str, torch.nn.Linear], name: str, n_values: int, n_classes: int
) -> torch.Tensor:
    """Class scores from patch tokens (every token but the first) or from the class token."""
    if name.startswith("patch."):
        return readers[name](tokens[:, 1:])
    return readers[name](tokens[:, 0]).reshape(len(tokens), n_values, n_classes)


def train_vision(
    name: str, recipe: VisionRecipe, *, seed: int
) -> tuple[keras_hub.models.ViTBackbone, dict[str, float]]:
    """Teach a tiny vision transformer what each patch and each scene holds; return it with its accuracies on new scenes."""
    keras.utils.set_random_seed(seed)
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(*recipe.image_size, 3),
        patch_size=PATCH_PX,
        num_layers=BLOCKS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        mlp_dim=4 * WIDTH,
    )
    rng = np.random.default_rng([seed, 1])
    _, example = recipe.draw(2, rng)
    values = {key: target.shape[1] for key, target in example.items()}
    readers = torch.nn.ModuleDict(
        {
            key.replace(".", "_"): torch.nn.Linear(WIDTH, count if key.startswith("patch.") else count * values[key])
            for key, count in recipe.classes.items()
        }
    )
    by_name = {key: readers[key.replace(".", "_")] for key in recipe.classes}
    parameters = [*weights(backbone), *readers.parameters()]
    optimizer, schedule = _one_cycle(parameters, recipe.learning_rate, recipe.steps)
    started = time.perf_counter()
    for step in range(recipe.steps):
        images, targets = recipe.draw(recipe.batch, rng)
        tokens = backbone(torch.from_numpy(images.astype(np.float32) / 127.5 - 1))
        loss = sum(
            torch.nn.functional.cross_entropy(
                _read_out(tokens, by_name, key, values[key], count).flatten(0, 1),
                torch.from_numpy(targets[key].astype(np.int64)).flatten(),
            )
            for key, count in recipe.classes.items()
        )
        _step(loss, parameters, optimizer, schedule)
        if (step + 1) % 100 == 0:
            _tell(
                f"{name}  step {step + 1}/{recipe.steps}  loss {loss.item():.3f}  {time.perf_counter() - started:.0f} s"
            )
    images, targets = recipe.held_out(512, np.random.default_rng([seed, 2]))
    with torch.no_grad():
        tokens = backbone(torch.from_numpy(images.astype(np.float32) / 127.5 - 1))
        scores = {
            key: float((_read_out(tokens, by_name, key, values[key], count).argmax(-1).numpy() == targets[key]).mean())
            for key, count in recipe.classes.items()
        }
    return backbone, scores


def train_text(name: str, recipe: TextRecipe, *, seed: int) -> tuple:
    """Teach a tiny DistilBERT masked words, and [CLS] its whole sentence, word by word; return it with its preprocessor."""
    keras.utils.set_random_seed(seed)
    vocabulary = [*SPECIAL_TOKENS, *recipe.vocabulary]
    tokenizer = keras_hub.models.DistilBertTokenizer(vocabulary=vocabulary, lowercase=True)
    preprocessor = keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=MAX_TOKENS)
    backbone = keras_hub.models.DistilBertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=BLOCKS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        dropout=0.1,
        max_sequence_length=MAX_TOKENS,
    )
    packed = preprocessor(list(recipe.sentences()))
    ids = torch.as_tensor(packed["token_ids"]).long()
    ids = ids[:, : int((ids != 0).sum(dim=1).max())]
    n_words, n_places = len(vocabulary), ids.shape[1]
    reader, teller = torch.nn.Linear(WIDTH, n_words), torch.nn.Linear(WIDTH, n_places * n_words)
    parameters = [*weights(backbone), *reader.parameters(), *teller.parameters()]
    optimizer, schedule = _one_cycle(parameters, recipe.learning_rate, recipe.steps)
    rng = np.random.default_rng([seed, 3])
    started = time.perf_counter()
    for step in range(recipe.steps):
        batch = ids[torch.from_numpy(rng.integers(0, len(ids), recipe.batch))]
        hidden, masked = _mask_and_encode(backbone, batch, rng, training=True)
        told = teller(hidden[:, 0]).reshape(len(batch), n_places, n_words)
        whole = torch.nn.functional.cross_entropy(told.flatten(0, 1), batch.flatten())
        loss = torch.nn.functional.cross_entropy(reader(hidden[masked]), batch[masked])
        _step(loss + 5.0 * whole, parameters, optimizer, schedule)
        if (step + 1) % 100 == 0:
            _tell(
                f"{name}  step {step + 1}/{recipe.steps}  loss {loss.item():.3f} sentence {whole.item():.4f} "
                f"{time.perf_counter() - started:.0f} s"
            )
    with torch.no_grad():
        hidden, masked = _mask_and_encode(backbone, ids[:: max(1, len(ids) // 1024)], rng, training=False)
        sample = ids[:: max(1, len(ids) // 1024)]
        accuracy = float((reader(hidden[masked]).argmax(-1) == sample[masked]).float().mean())
    return backbone, preprocessor, {"masked words": accuracy}


def _mask_and_encode(backbone, batch: torch.Tensor, rng: np.random.Generator, *, training: bool) -> tuple:
    """Hide 15 % of the words (at least one a sentence) behind [MASK], and encode."""
    chance = torch.from_numpy(rng.random(batch.shape)) + (batch < len(SPECIAL_TOKENS)) * 10.0
    masked = (chance < 0.15) | (chance == chance.min(dim=1, keepdim=True).values)
    shown = torch.where(masked, torch.full_like(batch, SPECIAL_TOKENS.index("[MASK]")), batch)
    hidden = backbone({"token_ids": shown, "padding_mask": (batch != 0).int()}, training=training)
    return hidden, masked


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _halve(folder: Path) -> None:
    """Store weights in 16 bits: half the size in the repository; loading widens them again."""
    for path in folder.glob("*.weights.h5"):
        with h5py.File(path, "r") as source, h5py.File(path.with_suffix(".small"), "w", track_order=True) as target:

            def copy(name: str, item: h5py.Group | h5py.Dataset, target: h5py.File = target) -> None:
                if isinstance(item, h5py.Dataset):
                    data = item[()].astype(np.float16) if item.dtype == np.float32 else item[()]
                    target.create_dataset(name, data=data)
                else:
                    target.require_group(name)
                for key, value in item.attrs.items():
                    target[name].attrs[key] = value

            source.visititems(copy)
            for key, value in source.attrs.items():
                target.attrs[key] = value
        path.with_suffix(".small").replace(path)


def make(name: str, out: Path, *, seed: int) -> dict[str, float]:
    """Train one preset and put its folder, with a model card, into `out`.

    Returns
    -------
    dict
        Accuracy of every pre-training task on data drawn afresh.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        if name in VISION:
            backbone, scores = train_vision(name, VISION[name], seed=seed)
            backbone.save_to_preset(str(folder))
            size = VISION[name].image_size
            keras_hub.layers.ViTImageConverter(image_size=size, scale=1 / 127.5, offset=-1.0).save_to_preset(
                str(folder)
            )
        else:
            backbone, preprocessor, scores = train_text(name, TEXT[name], seed=seed)
            backbone.save_to_preset(str(folder))
            preprocessor.save_to_preset(str(folder))
        _halve(folder)
        write_text(folder / "README.md", _card(name, backbone, scores, seed, time.perf_counter() - started))
        shutil.rmtree(out / name, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, out / name)
    return scores


def _card(name: str, backbone, scores: dict[str, float], seed: int, elapsed_s: float) -> str:
    task = (
        "Taught what each 16-pixel patch of a generated scene holds, and what the whole scene holds."
        if name in VISION
        else "Taught masked words of unlabelled sentences, and to tell from [CLS] the whole sentence, word by word."
    )
    rows = "\n".join(f"| {task_name} | {score:.4f} |" for task_name, score in scores.items())
    return (
        f"# {name}\n\n{type(backbone).__name__}, {backbone.count_params():,} parameters, keras-hub preset format, weights in 16 bits.\n\n"
        f"{task} It has seen no pair of image and sentence with a label, and no handwriting sample of any split.\n\n"
        f"Made by `make presets` (seed {seed}, {elapsed_s:.0f} s on one CPU thread).\n\n"
        f"| pre-training task | accuracy on new data |\n|---|---|\n{rows}\n\n"
        "For tests and demonstrations of this project only: it knows nothing of natural images or of English at large.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.pretrain", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=[*VISION, *TEXT], help="make this preset only (repeatable)")
    parser.add_argument("--out", type=Path, default=paths.PRESETS, help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    set_threads(chosen.threads)
    for name in chosen.only or [*VISION, *TEXT]:
        scores = make(name, chosen.out, seed=chosen.seed)
        _tell(f"{name}: " + ", ".join(f"{task} {score:.4f}" for task, score in scores.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
