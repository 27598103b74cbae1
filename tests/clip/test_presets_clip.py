"""Teaching a tiny CLIP: the loss by hand, the tokenizer, a few steps, and the preset that the package ships."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.params import load_params
from verdict.clip import SHIPPED
from verdict.clip.encoder import own_model
from verdict.clip.encoder.encode import DualEncoder, saved
from verdict.clip.encoder.shipped import CLIP_PX, by_factor, captioned_scenes
from verdict.clip.encoder.teach import (
    ClipRecipe,
    Drawn,
    contrastive_loss,
    new_tokenizer,
    train_clip,
)
from verdict.clip.pictures.sources import Pictures

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)


def squares(n, rng):
    colour = rng.integers(3, size=n)
    images = np.broadcast_to(COLOURS[colour][:, None, None], (n, 8, 8, 3)).copy()
    texts = [f"a {['red', 'green', 'blue'][k]} square" for k in colour]
    return Drawn(images, texts, colour[:, None] == colour, {"colour": colour})


TINY = ClipRecipe(
    squares, lambda: ["a red green blue square"], {"colour": 3}, image_px=8, patch_px=4, width=16, layers=1
)
TINY = replace(TINY, text_width=16, text_layers=1, dim=7, steps=40, batch=13, learning_rate=5e-3)


def test_the_loss_by_hand():
    """Two pictures, two captions, the first true of both: rows and columns share their mass equally."""
    image, text = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    is_true = np.array([[True, False], [True, True]])
    logits = 3.0 * np.eye(2)
    log_rows = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = -(log_rows[0, 0] + (log_rows[1, 0] + log_rows[1, 1]) / 2) / 2
    columns = -((log_rows[0, 0] + log_rows[0, 1]) / 2 + log_rows[1, 1]) / 2
    assert contrastive_loss(image, text, torch.tensor(3.0), is_true).item() == pytest.approx((rows + columns) / 2)


def test_known_words_are_one_token_and_others_are_spelled():
    tokenizer = new_tokenizer(["a red seven"], longest=11)
    ids = tokenizer("a red seven")["input_ids"]
    assert len(ids) == 5 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert len(tokenizer("a xylophone")["input_ids"]) > 5
    assert tokenizer.decode(tokenizer("a zebra")["input_ids"], skip_special_tokens=True).strip() == "a zebra"
    assert tokenizer.unk_token_id not in tokenizer("ünï")["input_ids"][1:-1]


def test_a_few_steps_teach_colours_and_repeat(tmp_path):
    model, processor, tokenizer, losses = train_clip("tiny", TINY, seed=2, progress=lambda text: None)
    *_, again = train_clip("tiny", replace(TINY, steps=3), seed=2)
    assert len(losses) == 40 and losses[0] == again[0]
    assert np.mean(losses[-5:]) < losses[0] - 0.4
    encoder = DualEncoder.from_preset(str(saved(model, processor, tokenizer, tmp_path)))
    images, _, truth, _ = squares(31, np.random.default_rng(1))
    answer = (encoder.images(images) @ encoder.texts([f"a {c} square" for c in ("red", "green", "blue")]).T).argmax(1)
    assert ((answer[:, None] == answer) == truth).mean() > 0.9


def test_captioned_scenes_leave_the_held_out_couples_out():
    images, texts, is_true, _ = captioned_scenes(1500, np.random.default_rng(4))
    assert images.shape == (1500, CLIP_PX, CLIP_PX, 3) and is_true.diagonal().all()
    # (digit + 2 * colour) % 5 == 0, written out for two of the twelve couples.
    assert not any("red five" in text or "green three" in text for text in texts)
    assert any("red three" in text for text in texts)


def test_the_shipped_encoder_is_the_one_its_card_names_and_sees_what_it_says():
    """A third of the card's scenes: within the noise of so many."""
    folder, found = paths.PRESETS / SHIPPED, DualEncoder.from_preset(SHIPPED)
    card = (folder / "README.md").read_text()
    assert sha256_file(folder / "model.safetensors") in card
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    scores = by_factor(found, seed=1, n=500)
    rows = [line.split("|") for line in card.splitlines()]
    told = {row[1].strip(): float(row[2]) for row in rows if len(row) == 4 and row[2].strip().startswith(("0.", "1."))}
    assert scores == pytest.approx(told, abs=0.09)


def labelled(n=60):
    rng = np.random.default_rng(8)
    y = np.arange(n) % 3
    images = np.broadcast_to(COLOURS[y][:, None, None], (n, 40, 40, 3)).copy()
    images[:, :20, :20] = rng.integers(256, size=(n, 1, 1, 3))
    split = np.where(np.arange(n) < 45, "train", "test")
    ids = [f"p{k}" for k in range(n)]
    table = pd.DataFrame({"image_id": ids, "group_id": ids, "split": split, "y": y})
    return Pictures(images, table, ("red_one", "green_one", "blue_one"), ("a photo of a {}", "a {}"))


def test_own_pictures_become_captioned_batches():
    params = load_params("base").clip.training
    recipe = own_model.recipe_of(labelled(), params.model_copy(update={"batch": 16, "epochs": 3}))
    assert recipe.steps == 3 * (45 // 16)
    drawn = recipe.draw(16, np.random.default_rng(1))
    texts = drawn.texts
    assert drawn.images.shape == (16, 32, 32, 3) and drawn.images.dtype == np.uint8
    assert set(texts) <= {f"{start}{c} one" for start in ("a photo of a ", "a ") for c in ("red", "green", "blue")}
    names = np.array([text.split()[-2] for text in texts])
    assert np.array_equal(drawn.is_true, names[:, None] == names)


def test_an_epoch_shows_every_row_at_most_once():
    turns = own_model._turns(11, 4, seed=3)
    first = np.concatenate([next(turns), next(turns)])
    assert len(set(first)) == 8
    assert not np.array_equal(next(turns), first[:4])


def test_moved_pictures_are_shifted_and_mirrored():
    images = np.zeros((50, 9, 9, 3), dtype=np.uint8)
    images[:, 4, 3] = 255
    shown = own_model.moved(images, np.random.default_rng(1), may_flip=False)
    places = np.argwhere(shown[..., 0] == 255)
    assert len(places) == 50 and (np.abs(places[:, 1:] - [4, 3]) <= 3).all() and len(np.unique(places[:, 1:])) > 4
    both = np.argwhere(own_model.moved(images, np.random.default_rng(1), may_flip=True)[..., 0] == 255)[:, 2]
    assert (both > 6).any() and (both < 2).any()
