"""Teach a tiny DistilBERT masked words, and its [CLS] token what was said."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from verdict.model.backend import keras, keras_hub
from verdict.model.presets.optimiser import descend, weights

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH, HEADS, BLOCKS, MAX_TOKENS = 128, 4, 4, 32
MASKED_SHARE = 0.15
# Share of a batch in which words are hidden: [CLS] is asked only for sentences that it read whole. And the weight of
# what it is asked, against the masked words.
MASKED_ROWS, BAG_WEIGHT = 0.25, 40.0
Backbone, Preprocessor = keras_hub.models.DistilBertBackbone, keras_hub.models.DistilBertTextClassifierPreprocessor


@dataclass(frozen=True)
class TextRecipe:
    """How a tiny DistilBERT is taught: sentences without labels, and the words of its vocabulary.

    `sentences` gives two sequences of equal length: the encoder reads `shown`, and [CLS] is asked for the words of
    `meant`, the same sentence or the plain wording that it paraphrases. It is asked besides for the `n_word_pairs` most
    frequent pairs of neighbouring words of `meant`, telling "black on yellow" from "yellow on black", and, weighed by
    `place_weight` against masked words, which word stands at each of `n_places`, padding included. `pull` weighs the
    mean squared distance of [CLS] from that of `meant`, 0 for none; `unknown` is the share of the words that `meant`
    lacks to be read as [UNK]. A batch is drawn from `window` sentences of nearly equal length.
    """

    sentences: Callable[[], tuple[Sequence[str], Sequence[str]]]
    vocabulary: Sequence[str]
    steps: int
    batch: int = 128
    learning_rate: float = 1.0e-3
    n_word_pairs: int = 0
    window: int = 1024
    n_places: int = 0
    place_weight: float = 1.0
    pull: float = 0.0
    unknown: float = 0.0


def new_tokenizer(recipe: TextRecipe) -> keras_hub.models.DistilBertTokenizer:
    """The recipe's WordPiece tokenizer, lower-casing."""
    return keras_hub.models.DistilBertTokenizer(vocabulary=[*SPECIAL_TOKENS, *recipe.vocabulary], lowercase=True)


def word_pairs(ids: torch.Tensor, n: int) -> torch.Tensor:
    """Which of the `n` most frequent neighbouring words each sentence holds, bool (n_sentences, n).

    `ids` int64 (n_sentences, n_tokens); special tokens are no words. Ties in frequency go to the smaller ids.
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
    preprocessor = Preprocessor(tokenizer, sequence_length=MAX_TOKENS)
    sizes = {"num_layers": BLOCKS, "num_heads": HEADS, "hidden_dim": WIDTH, "intermediate_dim": 4 * WIDTH}
    backbone = Backbone(vocabulary_size=n_words, dropout=0.1, max_sequence_length=MAX_TOKENS, **sizes)
    shown, meant = (_token_ids(preprocessor, sentences) for sentences in recipe.sentences())
    lengths = (shown != 0).sum(dim=1).numpy()
    reader = torch.nn.Linear(WIDTH, n_words)
    asked = _Asked(recipe, meant, n_words)
    parameters = [*weights(backbone), *reader.parameters(), *asked.parameters()]
    rng = np.random.default_rng([seed, 3])

    def step_loss() -> tuple[torch.Tensor, float]:
        chosen = torch.from_numpy(_draw(lengths, recipe, rng))
        batch = shown[chosen, : int(lengths[chosen].max())]
        if recipe.unknown:
            batch = forget(batch, meant[chosen], recipe.unknown, rng)
        n_masked = round(MASKED_ROWS * len(batch))
        hidden, masked = mask_and_encode(backbone, batch, rng, training=True, n_masked=n_masked)
        whole = slice(n_masked, None)
        words = torch.nn.functional.cross_entropy(reader(hidden[masked]), batch[masked])
        losses = [words, *asked.losses(hidden[whole, 0], chosen[whole])]
        if recipe.pull:
            with torch.no_grad():
                plain = encode_whole(backbone, meant[chosen[whole]])
            losses.append(recipe.pull * torch.nn.functional.mse_loss(hidden[whole, 0], plain))
        return sum(losses), words.item()

    descend(name, parameters, step_loss, steps=recipe.steps, learning_rate=recipe.learning_rate)
    sample = torch.arange(0, len(shown), max(1, len(shown) // 1024))
    ids = shown[sample]
    with torch.no_grad():
        hidden, masked = mask_and_encode(backbone, ids, rng, training=False)
        right = reader(hidden[masked]).argmax(-1) == ids[masked]
        whole = encode_whole(backbone, ids)
        return backbone, preprocessor, {"masked words": float(right.float().mean())} | asked.accuracy(whole, sample)


def encode_whole(backbone: Backbone, ids: torch.Tensor) -> torch.Tensor:
    """[CLS] of sentences without hidden words, in inference mode: float32 (n, width)."""
    return backbone({"token_ids": ids, "padding_mask": (ids != 0).int()}, training=False)[:, 0]


class _Asked(torch.nn.Module):
    """What [CLS] is asked of a sentence: which words and neighbours it holds, and which word stands where."""

    def __init__(self, recipe: TextRecipe, meant: torch.Tensor, n_words: int):
        super().__init__()
        self.recipe, self.n_places, self.n_words = recipe, recipe.n_places, n_words
        held = torch.zeros(len(meant), n_words).scatter_(1, meant, 1.0)[:, len(SPECIAL_TOKENS) :]
        self.held = torch.cat([held, word_pairs(meant, recipe.n_word_pairs).float()], dim=1)
        self.ordered = torch.nn.functional.pad(meant, (0, max(0, self.n_places + 1 - meant.shape[1])))[
            :, 1 : self.n_places + 1
        ]
        self.bag = torch.nn.Linear(WIDTH, self.held.shape[1])
        self.places = torch.nn.Linear(WIDTH, self.n_places * n_words) if self.n_places else None

    def at(self, encoded: torch.Tensor) -> torch.Tensor:
        """Scores of every word at every place, (n, n_places, n_words)."""
        return self.places(encoded).reshape(len(encoded), self.n_places, self.n_words)

    def losses(self, encoded: torch.Tensor, chosen: torch.Tensor) -> list[torch.Tensor]:
        """Of the sentences `chosen`, encoded as (n, width)."""
        held = torch.nn.functional.binary_cross_entropy_with_logits(self.bag(encoded), self.held[chosen])
        if self.places is None:
            return [BAG_WEIGHT * held]
        place = torch.nn.functional.cross_entropy(self.at(encoded).flatten(0, 1), self.ordered[chosen].flatten())
        return [BAG_WEIGHT * held, self.recipe.place_weight * place]

    def accuracy(self, encoded: torch.Tensor, chosen: torch.Tensor) -> dict[str, float]:
        """Share of places at which the word is predicted from [CLS], if the recipe trains that."""
        if self.places is None:
            return {}
        right = self.at(encoded).argmax(-1) == self.ordered[chosen]
        return {"words by place, from [CLS]": float(right.float().mean())}


def _draw(lengths: np.ndarray, recipe: TextRecipe, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch, int64 (batch,)."""
    start = rng.integers(0, max(1, len(lengths) - recipe.window))
    near = np.argsort(lengths, kind="stable")[start : start + recipe.window]
    return near[rng.integers(0, len(near), recipe.batch)]


def _token_ids(preprocessor: Preprocessor, sentences: Sequence[str]) -> torch.Tensor:
    """Token ids, int64 (n, longest); a sentence that recurs is tokenised once."""
    distinct, row = np.unique(np.asarray(sentences), return_inverse=True)
    ids = torch.as_tensor(preprocessor(distinct.tolist())["token_ids"]).long()[torch.from_numpy(row)]
    return ids[:, : int((ids != 0).sum(dim=1).max())]


def forget(batch: torch.Tensor, meant: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """Token ids (n, n_tokens) in which that share of the words that `meant` (n, n_meant) lacks is [UNK]."""
    own = (batch >= len(SPECIAL_TOKENS)) & ~(batch[:, :, None] == meant[:, None]).any(dim=2)
    lost = own & (torch.from_numpy(rng.random(batch.shape)) < share)
    return torch.where(lost, SPECIAL_TOKENS.index("[UNK]"), batch)


def mask_and_encode(
    backbone: Backbone, batch: torch.Tensor, rng: np.random.Generator, *, training: bool, n_masked: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide 15 % of the words behind [MASK], at least one a sentence, in the first `n_masked` rows or in all; encode.

    Hidden states are float32 (n, n_tokens, width), what is masked bool (n, n_tokens).
    """
    chance = torch.from_numpy(rng.random(batch.shape)) + (batch < len(SPECIAL_TOKENS)) * 10.0
    masked = (chance < MASKED_SHARE) | (chance == chance.min(dim=1, keepdim=True).values)
    masked[len(batch) if n_masked is None else n_masked :] = False
    shown = torch.where(masked, torch.full_like(batch, SPECIAL_TOKENS.index("[MASK]")), batch)
    hidden = backbone({"token_ids": shown, "padding_mask": (batch != 0).int()}, training=training)
    return hidden, masked
