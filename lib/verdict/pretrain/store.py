"""From a recipe to a preset's folder: weights in 16 bits, preprocessing, model card."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from verdict.artifacts import sha256_file, write_text
from verdict.backend import keras, keras_hub
from verdict.clip.encode import saved
from verdict.pretrain.clip import train_clip
from verdict.pretrain.clip_scores import by_factor
from verdict.pretrain.recipes import CLIP, CLIP_PX, TEXT, VISION
from verdict.pretrain.text import train_text
from verdict.pretrain.vision import train_vision

PROVENANCE = {
    "digits": "no handwriting sample of any split",
    "nlvr": (
        "nothing of the NLVR corpus: scenes and sentences were generated, so that a plain sentence may by chance equal "
        "one there"
    ),
}


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
        if name in CLIP:
            parts = train_clip(name, CLIP[name], seed=seed)[:3]
            scores = by_factor(*parts, px=CLIP_PX, seed=seed)
            # Half the size in the repository; loading widens the weights again.
            saved(parts[0].half(), *parts[1:], folder)
            about = clip_about(sha256_file(folder / "model.safetensors"))
        else:
            if name in VISION:
                backbone, scores = train_vision(name, VISION[name], seed=seed)
                size = VISION[name].image_size
                preprocessor = keras_hub.layers.ViTImageConverter(image_size=size, scale=1 / 127.5, offset=-1.0)
            else:
                backbone, preprocessor, scores = train_text(name, TEXT[name], seed=seed)
            backbone.save_to_preset(str(folder))
            preprocessor.save_to_preset(str(folder))
            halve(folder)
            about = keras_about(name, backbone)
        write_text(folder / "README.md", card(name, about, scores, seed, time.perf_counter() - started))
        shutil.rmtree(out / name, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, out / name)
    return scores


def halve(folder: Path) -> None:
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


def keras_about(name: str, backbone: keras.Model) -> tuple[str, str, str]:
    """Of a backbone's card: what it is, was taught and has not seen; the heading of its scores; what else to know."""
    task = (
        "Taught what each 16-pixel patch of a generated scene holds, and what the whole scene holds."
        if name in VISION
        else "Taught masked words of unlabelled sentences, and to tell from [CLS] which words a sentence holds."
    )
    unseen = PROVENANCE[name.partition("_")[0]]
    made = f"{type(backbone).__name__}, {backbone.count_params():,} parameters, keras-hub preset format, "
    seen = f"weights in 16 bits.\n\n{task} It has seen no pair of image and sentence with a label, and {unseen}."
    return made + seen, "pre-training task | accuracy on new data", ""


def clip_about(sha256: str) -> tuple[str, str, str]:
    """The same of a dual encoder's card."""
    about = (
        "CLIPModel in the format of `from_pretrained`, with its own byte-pair tokenizer and its "
        f"preprocessing; weights in 16 bits, sha256 `{sha256}`.\n\n"
        "Taught with the symmetric contrastive loss, every caption that is true of a picture a positive, beside linear "
        "heads that name each factor and are thrown away, on generated pictures of one handwritten digit with captions "
        "of a small grammar. It has seen no handwriting sample of any "
        "split, and no picture or caption of the twelve held-out couples of digit and colour."
    )
    more = " The published CLIP takes its place by one parameter, `clip.preset`."
    return about, "answered from prompts, unseen handwriting | accuracy", more


def card(name: str, about: tuple[str, str, str], scores: dict[str, float], seed: int, elapsed_s: float) -> str:
    """The preset's README: what it is, what it was taught, what it has not seen, how well it learnt."""
    rows = "\n".join(f"| {task} | {score:.4f} |" for task, score in scores.items())
    first, heading, more = about
    return (
        f"# {name}\n\n{first}\n\nMade by `make presets` (seed {seed}, {elapsed_s:.0f} s on one CPU thread).\n\n"
        f"| {heading} |\n|---|---|\n{rows}\n\n"
        f"For tests and demonstrations of this project only: it knows nothing of natural images or of English at "
        f"large.{more}\n"
    )
