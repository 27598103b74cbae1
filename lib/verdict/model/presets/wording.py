"""Sentences about boxes and about digits as different people would write them: synonyms, other constructions, slips.

The text encoders read these and are asked for the plain wording. Nothing is read from the corpus: the plain sentences
about boxes come from the warm-up's grammar, over scenes drawn here. Those about digits come from the digits' grammar;
a rewording that happens to be a sentence of an independent set is not taught.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import yaml

from verdict.data.digits import independent
from verdict.data.digits.grammar import CORNERS, EDGES, NUMBERS, PLURALS, statements
from verdict.data.digits.scenes import COLOURS
from verdict.data.nlvr.boxes import draw_scenes
from verdict.data.nlvr.grammar import NUMBER_WORDS
from verdict.data.nlvr.proxy import list_statements, normalise
from verdict.data.nlvr.scenes import SceneTable

_DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_PLAIN = [*_DATA["plain"], *([rf"\b{n}\b", word] for n, word in enumerate(NUMBER_WORDS))]
_SLIP_SHARE = 0.03
_HUES, _NOUNS = "|".join(COLOURS), "|".join([*NUMBERS, "digit"])
_PLURAL_NOUNS = "|".join([*PLURALS, "digits"])
_ONE = rf"(?:(?:{_HUES}) )?(?:{_NOUNS})"
_STANDS_FOR = {
    "HUE": _HUES,
    "NOUNS": _PLURAL_NOUNS,
    "NOUN": _NOUNS,
    "N": "|".join(NUMBERS),
    "CORNER": "|".join(CORNERS),
    "EDGE": "|".join(EDGES),
    "ONE": _ONE,
    "MANY": rf"(?:(?:{_HUES}) )?(?:{_PLURAL_NOUNS})",
    "A": f"an? {_ONE}",
}
# What has no order is said in the alphabet's.
_EITHER_WAY = re.compile(r"(?:(?<=^the )|(?<=as many ))(.+)( and the | as )(.+?)(?= is in the same|$)")
_MAX_WORDS, _TRIES = 14, 3
_PHRASES = _DATA["digits"]["phrases"]
_PHRASE = re.compile(r"<(\w+)>")
_NUMERALS = [
    (rf"\b{word}\b(?! (?:sees|can|cannot|may|finds|does|looks)\b)", [numeral], 0.15)
    for n, words in enumerate(zip(NUMBERS, PLURALS, strict=True))
    for word, numeral in zip(words, (f"{n}", f"{n}s"), strict=True)
]


def plain_sentences(seed: int, *, n_scenes: int = 400, n_phrasings: int = 24) -> list[str]:
    """Distinct sentences of the warm-up's grammar, normalised; the scenes only settle what can be said at all."""
    rng = np.random.default_rng([seed, 4])
    table = SceneTable.of(draw_scenes(n_scenes, rng))
    return sorted({normalise(s.text) for s in list_statements(table, rng=rng, n_phrasings=n_phrasings)})


def plain(sentence: str, rules: Iterable[Sequence] = _PLAIN) -> str:
    """A sentence of the grammar with one word for each idea."""
    for pattern, word in rules:
        sentence = re.sub(pattern, word, sentence)
    return sentence


def _otherwise(sentence: str, rules: Iterable[Sequence], rng: np.random.Generator) -> str:
    """Apply each rule with its chance, by one of its choices, whose <phrases> are chosen too."""

    def chosen(among: Sequence[str]) -> str:
        return _PHRASE.sub(lambda name: chosen(_PHRASES[name[1]]), among[rng.integers(len(among))])

    for pattern, choices, chance in rules:
        if rng.random() < chance and re.search(pattern, sentence):
            sentence = re.sub(pattern, chosen(choices), sentence)
    return sentence


def reword(sentence: str, rng: np.random.Generator) -> str:
    """A sentence as someone else might write it, sometimes with slips."""
    sentence = _otherwise(sentence, _DATA["rewordings"], rng)
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


def _of_digits(kind: str) -> list[Sequence]:
    """The digits' rules of a kind, with their patterns written out."""
    names = re.compile(rf"\b({'|'.join(_STANDS_FOR)})\b")

    def written(pattern: str) -> str:
        return names.sub(lambda name: f"(?:{_STANDS_FOR[name[0]]})", pattern)

    return [(written(pattern), *rest) for pattern, *rest in _DATA["digits"][kind]]


def plain_of_digits(sentence: str) -> str:
    """A sentence of the digits' grammar with one wording for each idea, and singular nouns only."""
    said = plain(sentence, _DIGIT_PLAIN)
    return _EITHER_WAY.sub(lambda found: found[2].join(sorted((found[1], found[3]))), said)


def reword_of_digits(sentence: str, rng: np.random.Generator) -> str:
    """A sentence of the digits' grammar as someone else might say it; unchanged where that stays too long."""
    for _ in range(_TRIES):
        text = " ".join(_otherwise(sentence, _DIGIT_REWORDINGS, rng).split())
        if len(re.findall(r"\w+|[^\w\s]", text)) <= _MAX_WORDS:
            return text
    return sentence


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def digit_paraphrases(seed: int, *, n: int) -> tuple[list[str], list[str]]:
    """Every sentence of the digits' grammar, its plain wording, and `n` rewordings; each with its plain wording.

    A form that has many sentences is reworded less often for each. A sentence of an independent set, whatever its
    punctuation, gives way to the one that it rewords.
    """
    rng = np.random.default_rng([seed, 6])
    texts = [statement.text for statement in statements()]
    sizes = Counter(statement.form for statement in statements())
    share = np.array([sizes[statement.form] ** -0.5 for statement in statements()])
    chosen = [texts[k] for k in rng.choice(len(texts), n, p=share / share.sum())]
    plainly = {text: plain_of_digits(text) for text in texts}
    meant = [plainly[text] for text in [*texts, *chosen]]
    foreign = {_bare(text) for text in independent.sentences()}
    reworded = [(text, reword_of_digits(text, rng)) for text in chosen]
    shown = [*texts, *(text if _bare(other) in foreign else other for text, other in reworded)]
    said = sorted(set(meant))
    return [*shown, *said], [*meant, *said]


def words_of_digits() -> list[str]:
    """Words of the digits' rewordings."""
    choices = chain(_PHRASES.values(), (choices for _, choices, _ in _DIGIT_REWORDINGS))
    text = re.sub(r"<\w+>|\\\d", " ", " ".join(chain.from_iterable(choices)))
    return sorted(set(re.findall(r"\w+|[^\w\s]", text)))


def vocabulary(seed: int) -> list[str]:
    """Words of the grammar and of its rewordings, common English function words, and letters for all others."""
    few = plain_sentences(seed, n_scenes=40, n_phrasings=2)  # enough for every word; a test compares with more
    words = {word for sentence in few for word in re.findall(r"[a-z]+|\d", sentence)}
    words |= {word for _, choices, _ in _DATA["rewordings"] for c in choices for word in re.findall(r"[a-z]{2,}", c)}
    words |= {part for word in _DATA["words"].split() for part in word.split("'")}
    single = [*string.ascii_lowercase, *string.digits, *".,!?;:'\"-()/&"]
    pieces = [f"##{c}" for c in string.ascii_lowercase + string.digits]
    return [*single, *pieces, *_DATA["pieces"].split(), *sorted(words - set(single))]


_DIGIT_REWORDINGS = [*_of_digits("rewordings"), *_NUMERALS]
# "More than two" is "at least three", and "fewer than three" is "at most two".
_DIGIT_PLAIN = _of_digits("plain") + [
    rule
    for less, more in pairwise(NUMBERS)
    for rule in ((rf"\bmore than {less}\b", f"at least {more}"), (rf"\bfewer than {more}\b", f"at most {less}"))
]
