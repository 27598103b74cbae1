"""Sentences about boxes as different people would write them: synonyms, other constructions, slips of the keyboard.

The text encoder for the corpus reads these and is asked for the plain wording. Nothing is read from the corpus: the
plain sentences come from the warm-up's grammar, over scenes drawn here.
"""

from __future__ import annotations

import re
import string

import numpy as np

from verdict.data.boxes import draw_scenes
from verdict.data.nlvr_grammar import NUMBER_WORDS
from verdict.data.nlvr_proxy import list_statements, normalise
from verdict.data.nlvr_scenes import SceneTable

# What may stand for what, in this order; a rule applies with the chance given, to each place where it fits.
_REWORDINGS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    (r"\b(an? \w+ block) (?:on|over) (an? \w+ block)\b", (r"\2 under \1", r"\2 below \1", r"\2 beneath \1"), 0.15),
    (
        r"\bblock (?:on|over) a\b",
        ("block on top of a", "block directly above a", "block stacked on a", "block over a"),
        0.4,
    ),
    (
        r"\b(?:a|the) tower with\b",
        ("a tower having", "a tower that has", "a tower which has", "a tower containing"),
        0.35,
    ),
    (
        r"\bthere is a (tower|box) with\b",
        (r"one \1 has", r"a \1 has", r"one of the \1s has", r"there is one \1 with"),
        0.15,
    ),
    (r"\btowers with\b", ("towers having", "towers that have", "towers which has", "towers that has"), 0.4),
    (r"\bbox with\b", ("box having", "box that has", "box which has", "box containing", "grey box with"), 0.35),
    (r"\bboxes with\b", ("boxes having", "boxes that have", "boxes containing"), 0.4),
    (
        r"\beach (box|tower) (?:has|contains)\b",
        (r"every \1 has", r"all \1s have", r"all 3 \1s have", r"all \1s contain"),
        0.5,
    ),
    (r"\bin each box\b", ("in every box", "in all boxes", "in all the boxes"), 0.5),
    (r"\bwithout an?\b", ("with no", "that does not have a", "that doesn't have any"), 0.5),
    (r"\bthere is no\b", ("there is not a", "there isn't a"), 0.2),
    (r"\bthere are no\b", ("none of the items are", "there are not any"), 0.1),
    (r"\b(?:at|as) the (top|base)\b", (r"at the \1", r"on the \1", r"as the \1", r"on \1"), 0.3),
    (r"\bbase\b", ("bottom", "bases"), 0.25),
    (r"\bnot touching\b", ("that are not touching", "that is not touching", "away from", "which does not touch"), 0.3),
    (r"(?<!not )\btouching\b", ("closely touching", "that touches", "which is touching", "touch", "attached to"), 0.35),
    (
        r"\b(?:the|an|any) (?:edge|wall|side)\b",
        ("the edge", "the wall", "the side", "an edge", "a wall", "any side"),
        0.5,
    ),
    (r"\bitem", ("object", "thing", "shape"), 0.3),
    (r"\bobject", ("item", "thing", "shape"), 0.3),
    (r"\bexactly\b", ("only", "precisely", "just", "exacty"), 0.35),
    (r"\bat least\b", ("atleast", "a minimum of", "no less than"), 0.3),
    (r"\bat most\b", ("a maximum of", "no more than"), 0.3),
    (r"\bmore than\b", ("over", "above"), 0.1),
    (r"\bcolor", ("colour",), 0.3),
    (r"\bgrey\b", ("gray",), 0.4),
    (r"\bthere (?:is|are)\b", ("we have", "i see", "there is", "there are", ""), 0.12),
)
_PLAIN = (
    (r"\bobject", "item"),
    (r"\b(?:the|an|any) (?:wall|side|edge)\b", "the edge"),
    (r"\bover\b", "on"),
    (r"\bas the (top|base)\b", r"at the \1"),
    (r"\ban?\b", "a"),
    (r"\bcontains\b", "has"),
    (r"\bone (box|tower) has\b", r"there is a \1 with"),
    (r"\b(?:all (?:three |3 )?|(?:three|3) |every )(box|tower)(?:es|s)? ha(?:ve|s)\b", r"each \1 has"),
    (r"\b(?:having|which ha(?:s|ve)|that ha(?:s|ve)|and it has)\b", "with"),
    (r"\bon top of\b", "on"),
    (r"\bonly (?=\d|one|two|three|four|five|six|seven)", "exactly "),
    (r"\bcolour", "color"),
    *((rf"\b{n}\b", word) for n, word in enumerate(NUMBER_WORDS)),
)
_SLIP_SHARE = 0.03

_FUNCTION_WORDS = """
a about above across adjacent after again against all almost alone along also although always among an and
another any anything anywhere are around as aside at away base bases be because been before behind being
below beneath beside besides between big bigger biggest black block blocks blue both box boxes but by can
cannot circle circles close closely color colored colors colour coloured colours consist consists contain
contained containing contains corner corners cover covered different direct directly do does doesn't each
edge edges eight either else empty equal even every everything exact exactly except few fewer first five
following for found four from full gray grey group had half has have having he height high higher highest
however i if in inside instead into is isn't it item items its just large larger largest last least left
less like line little located lone low lower lowest made many maximum medium middle minimum mix mixed more
most much multiple near nearly neither never next nine no none nor not nothing number numbers object objects
of off on once one ones only opposite or order other others out outside over pair pairs part place placed
position present right row same second see set seven several shape shaped shapes she shown side sides single
six size sizes small smaller smallest so some something square squares stack stacked stacks still such tall
taller tallest ten than that the their them then there these they thing things third this those three
through tiny to together too top tops total touch touched touches touching towards tower towers triangle
triangles two types under underneath until up upon upper upside very wall walls was we were what when where
whether which while who whole with within without yellow you zero
""".split()  # noqa: SIM905  (a list literal would be three hundred lines)
_PIECES = "##s ##es ##ed ##ing ##ly ##er ##est ##th ##en ##on ##le ##ck ##gl ##re".split()  # noqa: SIM905


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
    for pattern, choices, chance in _REWORDINGS:
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
    words |= {word for _, choices, _ in _REWORDINGS for c in choices for word in re.findall(r"[a-z]{2,}", c)}
    words |= {part for word in _FUNCTION_WORDS for part in word.split("'")}
    single = [*string.ascii_lowercase, *string.digits, *".,!?;:'\"-()/&"]
    pieces = [f"##{c}" for c in string.ascii_lowercase + string.digits]
    return [*single, *pieces, *_PIECES, *sorted(words - set(single))]
