"""Teach a tiny CLIP on generated scenes, where every caption that is true of an image is a positive."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from verdict.clip.encoder.encode import as_pixels
from verdict.model.presets.optimiser import descend
from verdict.workflow.start import tell

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
MAX_SCALE = 100.0


class Drawn(NamedTuple):
    """A batch of n pictures, uint8 (n, px, px, 3), with n captions.

    `is_true` (n, n) says whether caption j is true of picture i; `factors`, int (n,) by name, what each picture holds,
    for linear heads that help the vision tower to its features.
    """

    images: np.ndarray
    texts: list[str]
    is_true: np.ndarray
    factors: dict[str, np.ndarray]


@dataclass(frozen=True)
class ClipRecipe:
    """How a tiny CLIP is taught: by AdamW with a one-cycle schedule of `steps`.

    `draw` gives a batch from (n, rng), with factors of `n_values` values by name; the tokenizer's merges are learnt
    from `corpus`. `width` and `layers` are the vision tower's, `dim` the joint space's.
    """

    draw: Callable[[int, np.random.Generator], Drawn]
    corpus: Callable[[], Sequence[str]]
    n_values: Mapping[str, int]
    image_px: int = 48
    patch_px: int = 8
    width: int = 96
    layers: int = 3
    text_width: int = 64
    text_layers: int = 2
    dim: int = 64
    steps: int = 1300
    batch: int = 128
    learning_rate: float = 1.5e-3


def new_tokenizer(corpus: Sequence[str], *, n_tokens: int = 1200, longest: int = 32) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format: the corpus' words are single tokens, any other word is spelled."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({word for text in corpus for word in text.lower().split()})
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False, min_frequency=1
    )
    trained.train_from_iterator(words, trainer)
    trained.decoder = decoders.ByteLevel()
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), BOS, EOS]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=longest)


def new_model(recipe: ClipRecipe, tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP of the recipe's size, whose text tower knows its tokenizer's special tokens."""
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}

    def tower(width: int, layers: int) -> dict[str, int]:
        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": recipe.dim}
        return sizes | {"num_hidden_layers": layers, "num_attention_heads": 4}

    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    text = CLIPTextConfig(**sizes, **tower(recipe.text_width, recipe.text_layers), **special)
    sizes = {"image_size": recipe.image_px, "patch_size": recipe.patch_px}
    vision = CLIPVisionConfig(**sizes, **tower(recipe.width, recipe.layers))
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.dim))


def contrastive_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, is_true: np.ndarray) -> torch.Tensor:
    """Symmetric cross-entropy in which every caption that is true of an image is a positive, with equal weight.

    `image` and `text` (n, d) of unit length; `scale` () multiplies cosines; `is_true` bool (n, n): whether caption j is
    true of image i, at least one in every row and column. Yang et al. (2022), Unified Contrastive Learning in
    Image-Text-Label Space, equations 3 to 5.
    """
    same = torch.from_numpy(np.asarray(is_true)).float()
    logits = scale * image @ text.T
    losses = [
        -(torch.log_softmax(part, dim=1) * truth / truth.sum(dim=1, keepdim=True)).sum(dim=1).mean()
        for part, truth in ((logits, same), (logits.T, same.T))
    ]
    return (losses[0] + losses[1]) / 2


def naming_loss(image: torch.Tensor, heads: torch.nn.ModuleDict, factors: Mapping[str, np.ndarray]) -> torch.Tensor:
    """Sum over factors of the cross-entropy of a linear head on image features (n, d); 0 without factors."""
    losses = [
        torch.nn.functional.cross_entropy(heads[name](image), torch.from_numpy(np.asarray(values, dtype=np.int64)))
        for name, values in factors.items()
    ]
    return sum(losses, torch.zeros(()))


def train_clip(
    name: str, recipe: ClipRecipe, *, seed: int, progress: Callable[[str], None] = tell
) -> tuple[CLIPModel, CLIPImageProcessorPil, CLIPTokenizer, list[float]]:
    """Teach a tiny CLIP: contrast of pictures and captions, beside linear heads that are thrown away afterwards.

    Each head names one factor of the scenes from the joint space, so that linear probes of it are helped by them. What
    the heads add to contrast alone was not measured.

    Model, processor and tokenizer are as `from_pretrained` gives them; losses are the contrastive one of each step.
    """
    torch.manual_seed(seed)
    tokenizer, px = new_tokenizer(recipe.corpus()), recipe.image_px
    processor = CLIPImageProcessorPil(size={"shortest_edge": px}, crop_size={"height": px, "width": px})
    model = new_model(recipe, tokenizer).train()
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(recipe.dim, n) for name, n in recipe.n_values.items()})
    rng = np.random.default_rng([seed, 1])
    parameters = [*model.parameters(), *heads.parameters()]

    def step_loss() -> tuple[torch.Tensor, float]:
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(MAX_SCALE)))
        drawn = recipe.draw(recipe.batch, rng)
        image = model.get_image_features(as_pixels(drawn.images, processor)).pooler_output
        tokens = tokenizer(drawn.texts, padding=True, truncation=True, return_tensors="pt")
        text = model.get_text_features(**tokens).pooler_output
        unit = [torch.nn.functional.normalize(part, dim=-1) for part in (image, text)]
        contrast = contrastive_loss(*unit, model.logit_scale.exp(), drawn.is_true)
        return contrast + naming_loss(image, heads, drawn.factors), contrast.item()

    options = {"steps": recipe.steps, "learning_rate": recipe.learning_rate, "every": 50, "progress": progress}
    losses = descend(name, parameters, step_loss, **options)
    with torch.no_grad():
        model.logit_scale.clamp_(max=float(np.log(MAX_SCALE)))
    return model.eval(), processor, tokenizer, losses
