"""Sentences about boxes as different people would write them: synonyms, other constructions, slips of the keyboard.

The text encoder for the corpus reads these and is asked for the plain wording. Nothing is read from the corpus: the
plain sentences come from the warm-up's grammar, over scenes drawn here.
"""

from __future__ import annotations

import re
import string
from pathlib import Path

import numpy as np
import yaml

from verdict.data.nlvr.boxes import draw_scenes
from verdict.data.nlvr.grammar import NUMBER_WORDS
from verdict.data.nlvr.proxy import list_statements, normalise
from verdict.data.nlvr.scenes import SceneTable

_DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_PLAIN = [*_DATA["plain"], *([rf"\b{n}\b", word] for n, word in enumerate(NUMBER_WORDS))]
_SLIP_SHARE = 0.03


def plain_sentences(seed: int, *, n_scenes: int = 400, n_phrasings: int = 24) -> list[str]:
    """Distinct sentences of the warm-up's grammar, normalised; the scenes only settle what can be said at all."""
    rng = np.random.default_rng([seed, 4])
    table = SceneTable.of(draw_scenes(n_scenes, rng))
    return sorted({normalise(s.text) for s in list_statements(table, rng=rng, n_phrasings=n_phrasings)})


def plain(sentence: str) -> str:
    """A sentence of the grammar with one word for each idea."""
    for pattern, word in _PLAIN:
        sentence = re.sub(pattern, word, sentence)
    return sentence


def reword(sentence: str, rng: np.random.Generator) -> str:
    """A sentence as someone else might write it, sometimes with slips."""
    for pattern, choices, chance in _DATA["rewordings"]:
        if rng.random() < chance:
            sentence = re.sub(pattern, choices[rng.integers(len(choices))], sentence)
    words = [_slip(word, rng) if len(word) > 2 and rng.random() < _SLIP_SHARE else word for word in sentence.split()]
    text = " ".join(words)
    text = text[1:] if rng.random() < 0.02 else text
    return f"{text}." if rng.random() < 0.5 else text


def _slip(word: str, rng: np.random.Generator) -> str:
    """Leave out, double, swap or mistake one letter."""
    k = int(rng.integers(len(word)))
    kind = rng.integers(4)
    if kind == 0:
        return word[:k] + word[k + 1 :] or word
    if kind == 1:
        return word[:k] + word[k] + word[k:]
    if kind == 2:
        return word[:k] + word[k : k + 2][::-1] + word[k + 2 :]
    return word[:k] + string.ascii_lowercase[rng.integers(26)] + word[k + 1 :]


def paraphrases(seed: int, *, n: int) -> tuple[list[str], list[str]]:
    """`n` sentences as people might write them, each with its plain wording."""
    sentences = plain_sentences(seed)
    rng = np.random.default_rng([seed, 5])
    chosen = [sentences[k] for k in rng.integers(0, len(sentences), n)]
    return [reword(sentence, rng) for sentence in chosen], [plain(sentence) for sentence in chosen]


def vocabulary(seed: int) -> list[str]:
    """Words of the grammar and of its rewordings, common English function words, and letters for all others."""
    few = plain_sentences(seed, n_scenes=40, n_phrasings=2)  # enough for every word; a test compares with more
    words = {word for sentence in few for word in re.findall(r"[a-z]+|\d", sentence)}
    words |= {word for _, choices, _ in _DATA["rewordings"] for c in choices for word in re.findall(r"[a-z]{2,}", c)}
    words |= {part for word in _DATA["words"].split() for part in word.split("'")}
    single = [*string.ascii_lowercase, *string.digits, *".,!?;:'\"-()/&"]
    pieces = [f"##{c}" for c in string.ascii_lowercase + string.digits]
    return [*single, *pieces, *_DATA["pieces"].split(), *sorted(words - set(single))]
