"""The tiny dual encoder that the package ships: how it is taught, and how well it names unseen handwriting."""

import sys
from pathlib import Path

import numpy as np

from verdict.base.artifacts import sha256_file
from verdict.clip.encoder.encode import DualEncoder, saved
from verdict.clip.encoder.teach import ClipRecipe, Drawn, train_clip
from verdict.clip.pictures import scenes
from verdict.clip.pictures.words import ENSEMBLE
from verdict.data.digits.scenes import handwriting_pools
from verdict.model.presets.store import Made, main

N_SCENES, CLIP_PX = 1500, 48
POOL = "warmup"


def factor_prompts(factor: str) -> list[str]:
    """One sentence for each value of a factor: "a photo of a red digit"."""
    return [f"a photo of {scenes.caption({factor: word}, [factor])}" for word in scenes.FACTORS[factor]]


def by_factor(encoder: DualEncoder, *, seed: int, n: int = N_SCENES) -> dict[str, float]:
    """Accuracy by factor on n scenes, and of digit and colour on n scenes of held-out couples."""
    found = {}
    for held_out, suffix, factors in ((False, "", scenes.FACTORS), (True, ", held-out couple", ("digit", "colour"))):
        rng = np.random.default_rng([seed, 3, held_out])
        drawn = scenes.draw(n, handwriting_pools()[POOL], rng=rng, held_out=held_out)
        vectors = encoder.images(scenes.render(drawn, rng=rng, px=CLIP_PX)[0])
        for factor in factors:
            answer = (vectors @ encoder.texts(factor_prompts(factor)).T).argmax(axis=1)
            found[f"{factor}{suffix}"] = float((answer == drawn.factors[factor]).mean())
    return found


def captioned_scenes(n: int, rng: np.random.Generator, *, pool: str = "pretrain") -> Drawn:
    """Pictures of one digit with captions, without the held-out couples of digit and colour."""
    drawn = scenes.draw(n, handwriting_pools()[pool], rng=rng, held_out=False)
    named = scenes.spoken(n, rng=rng)
    images, _ = scenes.render(drawn, rng=rng, px=CLIP_PX)
    return Drawn(images, scenes.captions(drawn, named, rng=rng), scenes.is_true(drawn, named), drawn.factors)


def caption_words() -> list[str]:
    """Every word that a caption or a usual template may hold."""
    words = [word for values in scenes.FACTORS.values() for word in values]
    return [*words, *scenes.PLACES, *scenes.CAPTION_TEMPLATES, *ENSEMBLE, "digit on a background"]


N_VALUES = {name: len(values) for name, values in scenes.FACTORS.items()}
RECIPE = ClipRecipe(captioned_scenes, caption_words, N_VALUES, image_px=CLIP_PX)


def made(name: str, folder: Path, *, seed: int) -> Made:
    """Teach it, and store it for `from_pretrained` in half precision; loading widens the weights again."""
    model, processor, tokenizer, _ = train_clip(name, RECIPE, seed=seed)
    scores = by_factor(DualEncoder("new", "", "", model, processor, tokenizer), seed=seed)
    saved(model.half(), processor, tokenizer, folder)
    about = (
        "CLIPModel in the format of `from_pretrained`, with its own byte-pair tokenizer and its "
        f"preprocessing; weights in 16 bits, sha256 `{sha256_file(folder / 'model.safetensors')}`.\n\n"
        "Taught with the symmetric contrastive loss, every caption that is true of a picture a positive, beside linear "
        "heads that name each factor and are thrown away, on generated pictures of one handwritten digit with captions "
        "of a small grammar. It has seen no handwriting sample of any "
        "split, and no picture or caption of the twelve held-out couples of digit and colour."
    )
    more = " The published CLIP takes its place by one parameter, `clip.preset`."
    return Made(scores, about, "answered from prompts, unseen handwriting | accuracy", more)


PRESETS = {"digits_clip": made}


if __name__ == "__main__":
    sys.exit(main(PRESETS))
