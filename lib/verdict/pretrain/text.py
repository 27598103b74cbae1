"""Teach a tiny DistilBERT masked words, and its [CLS] token what was said."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from verdict.backend import keras, keras_hub
from verdict.pretrain.optimiser import one_cycle, step_down, tell, weights

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH, HEADS, BLOCKS, MAX_TOKENS = 128, 4, 4, 32
MASKED_SHARE = 0.15
REPORT_EVERY = 100


@dataclass(frozen=True)
class TextRecipe:
    """How a tiny DistilBERT is taught: sentences without labels, and the words of its vocabulary.

    Attributes
    ----------
    sentences : () → (shown, meant)
        Two sequences of equal length. The encoder reads `shown`, and [CLS] is asked for the words of `meant`: the same
        sentence, or the plain wording that `shown` paraphrases.
    vocabulary : sequence of str
        WordPiece entries after the special tokens.
    n_word_pairs : int
        Of how many neighbouring words of `meant`, the most frequent ones, [CLS] is asked besides; they tell "black on
        yellow" from "yellow on black".
    window : int
        If not 0, a batch is drawn from so many sentences of nearly equal length, so that little of it is padding.
    masked_rows : float in (0, 1]
        Share of a batch in which words are hidden. Below 1, [CLS] is asked only for sentences that it read whole.
    bag_weight : float
        Of what [CLS] is asked, against the masked words.
    """

    sentences: Callable[[], tuple[Sequence[str], Sequence[str]]]
    vocabulary: Sequence[str]
    steps: int
    batch: int = 128
    learning_rate: float = 1.0e-3
    n_word_pairs: int = 0
    window: int = 0
    masked_rows: float = 1.0
    bag_weight: float = 10.0


def new_tokenizer(recipe: TextRecipe) -> keras_hub.models.DistilBertTokenizer:
    """The recipe's WordPiece tokenizer, lower-casing."""
    return keras_hub.models.DistilBertTokenizer(vocabulary=[*SPECIAL_TOKENS, *recipe.vocabulary], lowercase=True)


def word_pairs(ids: torch.Tensor, n: int) -> torch.Tensor:
    """Which of the `n` most frequent neighbouring words each sentence holds.

    Parameters
    ----------
    ids : int64 (n_sentences, n_tokens)
        Token ids; special tokens are no words.
    n : int
        Ties in frequency go to the smaller ids.

    Returns
    -------
    bool (n_sentences, n)
    """
    rows = [[pair for pair in pairwise(row) if min(pair) >= len(SPECIAL_TOKENS)] for row in ids.tolist()]
    counts = Counter(pair for row in rows for pair in set(row))
    column = {pair: k for k, (pair, _) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n])}
    found = torch.zeros(len(rows), n, dtype=torch.bool)
    for r, row in enumerate(rows):
        found[r, [column[pair] for pair in row if pair in column]] = True
    return found


def train_text(name: str, recipe: TextRecipe, *, seed: int) -> tuple:
    """Teach a tiny DistilBERT; return it with its preprocessor and its accuracies."""
    keras.utils.set_random_seed(seed)
    tokenizer = new_tokenizer(recipe)
    n_words = len(SPECIAL_TOKENS) + len(recipe.vocabulary)
    preprocessor = keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=MAX_TOKENS)
    backbone = keras_hub.models.DistilBertBackbone(
        vocabulary_size=n_words,
        num_layers=BLOCKS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        dropout=0.1,
        max_sequence_length=MAX_TOKENS,
    )
    shown, meant = (_token_ids(preprocessor, sentences) for sentences in recipe.sentences())
    pairs = word_pairs(meant, recipe.n_word_pairs)
    lengths = (shown != 0).sum(dim=1).numpy()
    reader = torch.nn.Linear(WIDTH, n_words)
    bag = torch.nn.Linear(WIDTH, n_words + recipe.n_word_pairs)
    parameters = [*weights(backbone), *reader.parameters(), *bag.parameters()]
    optimizer, schedule = one_cycle(parameters, recipe.learning_rate, recipe.steps)
    rng = np.random.default_rng([seed, 3])
    started = time.perf_counter()
    for step in range(recipe.steps):
        chosen = torch.from_numpy(_draw(lengths, recipe, rng))
        longest = int(lengths[chosen].max()) if recipe.window else shown.shape[1]
        batch, plain = shown[chosen, :longest], meant[chosen]
        n_masked = round(recipe.masked_rows * len(batch))
        hidden, masked = mask_and_encode(backbone, batch, rng, training=True, n_masked=n_masked)
        asked = slice(n_masked if recipe.masked_rows < 1 else 0, None)
        words = torch.zeros(len(batch), n_words).scatter_(1, plain, 1.0)[:, len(SPECIAL_TOKENS) :]
        target = torch.cat([words, pairs[chosen].float()], dim=1)[asked]
        loss = torch.nn.functional.cross_entropy(reader(hidden[masked]), batch[masked])
        guess = bag(hidden[asked, 0])[:, len(SPECIAL_TOKENS) :]
        presence = torch.nn.functional.binary_cross_entropy_with_logits(guess, target)
        step_down(loss + recipe.bag_weight * presence, parameters, optimizer, schedule)
        if (step + 1) % REPORT_EVERY == 0:
            elapsed = time.perf_counter() - started
            tell(
                f"{name}  step {step + 1}/{recipe.steps}  loss {loss.item():.3f}  bag {presence.item():.4f}  "
                f"{elapsed:.0f} s"
            )
    return backbone, preprocessor, _accuracies(backbone, reader, shown, rng)


def _draw(lengths: np.ndarray, recipe: TextRecipe, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch, int64 (batch,)."""
    if not recipe.window:
        return rng.integers(0, len(lengths), recipe.batch)
    start = rng.integers(0, max(1, len(lengths) - recipe.window))
    near = np.argsort(lengths, kind="stable")[start : start + recipe.window]
    return near[rng.integers(0, len(near), recipe.batch)]


def _token_ids(
    preprocessor: keras_hub.models.DistilBertTextClassifierPreprocessor, sentences: Sequence[str]
) -> torch.Tensor:
    """Token ids, int64 (n, longest); a sentence that recurs is tokenised once."""
    distinct, row = np.unique(np.asarray(sentences), return_inverse=True)
    ids = torch.as_tensor(preprocessor(distinct.tolist())["token_ids"]).long()[torch.from_numpy(row)]
    return ids[:, : int((ids != 0).sum(dim=1).max())]


def _accuracies(backbone, reader: torch.nn.Linear, ids: torch.Tensor, rng: np.random.Generator) -> dict[str, float]:
    sample = ids[:: max(1, len(ids) // 1024)]
    with torch.no_grad():
        hidden, masked = mask_and_encode(backbone, sample, rng, training=False)
        right = reader(hidden[masked]).argmax(-1) == sample[masked]
    return {"masked words": float(right.float().mean())}


def mask_and_encode(
    backbone: keras_hub.models.DistilBertBackbone,
    batch: torch.Tensor,
    rng: np.random.Generator,
    *,
    training: bool,
    n_masked: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide 15 % of the words behind [MASK], at least one a sentence, in the first `n_masked` rows or in all; encode.

    Returns
    -------
    hidden : float32 (n, n_tokens, width)
    masked : bool (n, n_tokens)
    """
    chance = torch.from_numpy(rng.random(batch.shape)) + (batch < len(SPECIAL_TOKENS)) * 10.0
    masked = (chance < MASKED_SHARE) | (chance == chance.min(dim=1, keepdim=True).values)
    masked[len(batch) if n_masked is None else n_masked :] = False
    shown = torch.where(masked, torch.full_like(batch, SPECIAL_TOKENS.index("[MASK]")), batch)
    hidden = backbone({"token_ids": shown, "padding_mask": (batch != 0).int()}, training=training)
    return hidden, masked
