"""What each tiny preset is taught on: scenes with what they hold, and sentences without labels."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from verdict.data.digits.grammar import TRAINING_WORDS
from verdict.data.digits.scenes import COLOURS, GRID, draw_scenes, handwriting_pools, render_scenes
from verdict.data.digits.truths import CELL_COLUMN, CELL_ROW
from verdict.data.nlvr import boxes
from verdict.model.backend import keras, keras_hub
from verdict.model.presets.store import Made, Maker, halve
from verdict.model.presets.text import TextRecipe, train_text
from verdict.model.presets.varied import render_varied
from verdict.model.presets.vision import PATCH_PX, Start, VisionRecipe, train_vision
from verdict.model.presets.wording import digit_paraphrases, paraphrases, vocabulary, words_of_digits

SENTENCES_SEED = 42
MAX_COUNT = 6
N_DIGITS = (2, 8)
COLOUR_COUPLES = tuple(combinations(range(len(COLOURS)), 2))
BOX_SIZE, BOXES_SIZE = (64, 64), (64, 256)


def digit_scenes(
    n: int, rng: np.random.Generator, *, pool: str = "pretrain", renders: Sequence[Callable] = (render_scenes,)
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scenes of handwriting from a pool that no split uses, with what every cell and every scene holds; all of them in
    one rendering after the other.
    """
    scenes = draw_scenes(n, handwriting_pools()[pool], rng=rng, n_digits=N_DIGITS)
    images = np.concatenate([render(scenes, rng=rng) for render in renders])
    digit = np.stack([scene.digits for scene in scenes]) + 1
    colour = np.stack([scene.colours for scene in scenes]) + 1
    place = np.broadcast_to(np.arange(digit.shape[1]), digit.shape)
    halves = np.broadcast_to(np.stack([CELL_COLUMN, CELL_ROW], axis=1) * 2 // GRID, (*digit.shape, 2))
    counts = [(digit == d + 1).sum(axis=1) for d in range(10)]
    counts += [(colour == c + 1).sum(axis=1) for c in range(len(COLOURS))]
    more = [np.sign(counts[10 + a] - counts[10 + b]) + 1 for a, b in COLOUR_COUPLES]
    targets = {
        "patch.digit": digit,
        "patch.colour": colour,
        "patch.place": place,
        "patch.halves": halves,
        "scene.counts": np.minimum(np.stack(counts, axis=1), MAX_COUNT),
        "scene.more": np.stack(more, axis=1),
        "scene.beside": beside(colour - 1),
    }
    return images, {name: np.concatenate([target] * len(renders)) for name, target in targets.items()}


def beside(colours: np.ndarray) -> np.ndarray:
    """How colours lie to each other: for every couple of colours, along columns and along rows, int (n, 20).

    `colours` int (n, 16): colour of each cell, -1 where it is empty. By their mean place: 1 if the first colour of the
    couple comes first, 2 if neither, 3 if the second; 0 if a colour is not there.
    """
    found = []
    for axis in (CELL_COLUMN, CELL_ROW):
        places = [_mean_place(colours == c, axis) for c in range(len(COLOURS))]
        found += [places[a] - places[b] for a, b in COLOUR_COUPLES]
    gap = np.stack(found, axis=1)
    return np.where(np.isnan(gap), 0, np.sign(np.nan_to_num(gap)) + 2).astype(np.int64)


def _mean_place(here: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Mean place along an axis of the cells that hold a colour, NaN where none does: (n,)."""
    n_cells = here.sum(axis=1)
    return np.divide(here @ axis, n_cells, out=np.full(len(here), np.nan), where=n_cells > 0)


def box_scenes(
    n: int, rng: np.random.Generator, *, n_boxes: int = boxes.N_BOXES, size: tuple[int, int] = BOXES_SIZE
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scenes of boxes in the corpus' visual vocabulary, with what every patch, the box around it and the scene hold."""
    scenes = boxes.draw_scenes(n, rng, n_boxes=n_boxes)
    held = boxes.patch_targets(scenes, size=size, patch_px=PATCH_PX)
    targets = {f"patch.{name}": target for name, target in held.items()}
    return boxes.render_scenes(scenes, size=size), {**targets, "scene.facts": boxes.scene_facts(scenes)}


def box_patches() -> np.ndarray:
    """For every patch of three boxes the patch of one box that looks alike, -1 between the boxes: int (64,)."""
    down, across = (side // PATCH_PX for side in BOXES_SIZE)
    column = np.arange(across) % (boxes.STRIDE_PX * across // boxes.width_px(boxes.N_BOXES))
    per_box = BOX_SIZE[1] // PATCH_PX
    inside = np.broadcast_to(column < per_box, (down, across))
    return np.where(inside, np.arange(down)[:, None] * per_box + column, -1).ravel()


_BOX_CLASSES = {
    "patch.items": 3,
    "patch.sizes": 3,
    "patch.walls": 2,
    "patch.box": boxes.N_LEVELS,
    "scene.facts": boxes.N_LEVELS,
}
# What a box holds as a whole takes longest to learn.
_BOX_WEIGHTS = {"patch.box": 4.0, "scene.facts": 2.0}
_one_box = partial(box_scenes, n_boxes=1, size=BOX_SIZE)
_ONE_BOX = VisionRecipe(
    BOX_SIZE, _one_box, {"": _one_box}, _BOX_CLASSES, steps=2500, learning_rate=2.0e-3, task_weights=_BOX_WEIGHTS
)

VISION = {
    "digits_vit": VisionRecipe(
        (64, 64),
        partial(digit_scenes, renders=(render_scenes, render_varied)),
        {
            "": partial(digit_scenes, pool="warmup"),
            ", varied": partial(digit_scenes, pool="warmup", renders=(render_varied,)),
        },
        {
            "patch.digit": 11,
            "patch.colour": 6,
            "patch.place": GRID * GRID,
            "patch.halves": 2,
            "scene.counts": MAX_COUNT + 1,
            "scene.more": 3,
            "scene.beside": 4,
        },
        steps=3500,
        batch=48,
        task_weights={"patch.digit": 2.0, "scene.beside": 2.0},
        pull=0.5,
    ),
    "nlvr_vit": VisionRecipe(
        BOXES_SIZE,
        box_scenes,
        {"": box_scenes},
        _BOX_CLASSES,
        steps=1200,
        batch=32,
        task_weights=_BOX_WEIGHTS,
        start=Start(_ONE_BOX, box_patches()),
    ),
}
TEXT = {
    "digits_distilbert": TextRecipe(
        partial(digit_paraphrases, SENTENCES_SEED, n=60_000),
        sorted({*TRAINING_WORDS, *words_of_digits()}),
        steps=2700,
        learning_rate=1.5e-3,
        window=2048,
        n_places=12,
        place_weight=5.0,
        pull=0.4,
        unknown=0.05,
    ),
    "nlvr_distilbert": TextRecipe(
        partial(paraphrases, SENTENCES_SEED, n=40_000),
        vocabulary(SENTENCES_SEED),
        steps=5000,
        batch=64,
        n_word_pairs=768,
    ),
}


PROVENANCE = {
    "digits": "no handwriting sample of any split",
    "nlvr": (
        "nothing of the NLVR corpus: scenes and sentences were generated, so that a plain sentence may by chance equal "
        "one there"
    ),
}


VARIED = {
    "digits_vit": (
        "Every scene was shown twice, plain and varied, and the varied one drawn towards the plain one. What varied: "
        "the ground from black to white, hardly coloured and unevenly lit; each colour's hue by up to two fifths of "
        "the way to the next, its brightness and saturation; digits turned, slanted, scaled, stretched, shifted, thin "
        "to thick, soft to sharp, half of them drawn by strokes instead of written; blur and noise. No font was used."
    ),
    "digits_distilbert": (
        "Sentences were shown as the grammar has them and reworded by a small grammar of general English: "
        "synonyms, numerals, other constructions, questions, hedges, word order. [CLS] "
        "was asked for one plain wording of all that means the same, and drawn towards it; one in twenty words that it "
        "lacks was hidden as unknown. No sentence of the independent sets was among them."
    ),
}


def made(name: str, folder: Path, *, seed: int) -> Made:
    """Teach one of these, and store it in keras-hub's format."""
    if name in VISION:
        backbone, scores = train_vision(name, VISION[name], seed=seed)
        size = VISION[name].image_size
        preprocessor = keras_hub.layers.ViTImageConverter(image_size=size, scale=1 / 127.5, offset=-1.0)
    else:
        backbone, preprocessor, scores = train_text(name, TEXT[name], seed=seed)
    backbone.save_to_preset(str(folder))
    preprocessor.save_to_preset(str(folder))
    halve(folder)
    return Made(scores, about(name, backbone), "pre-training task | accuracy on new data")


def about(name: str, backbone: keras.Model) -> str:
    """Of a preset's card: what it is, was taught and has not seen."""
    task = (
        "Taught what each 16-pixel patch of a generated scene holds, and what the whole scene holds."
        if name in VISION
        else "Taught masked words of unlabelled sentences, and to tell from [CLS] which words a sentence holds."
    )
    unseen = PROVENANCE[name.partition("_")[0]]
    n_parameters = f"{backbone.count_params():,} parameters"
    form = f"{type(backbone).__name__}, {n_parameters}, keras-hub preset format, weights in 16 bits."
    taught = f"{task} It has seen no pair of image and sentence with a label, and {unseen}."
    return "\n\n".join(filter(None, [form, taught, VARIED.get(name, "")]))


PRESETS: dict[str, Maker] = dict.fromkeys([*VISION, *TEXT], made)
