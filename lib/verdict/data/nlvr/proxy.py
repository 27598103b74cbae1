"""Statements generated about NLVR scenes, true or false by the scene's structure: the warm-up's sentences.

Statements are coupled: each is as often true as false where it is used, so that alone it says nothing of its label.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from verdict.base.labels import Label
from verdict.data.nlvr.grammar import compound_scatter_drafts, compound_tower_drafts, scatter_drafts, tower_drafts
from verdict.data.nlvr.scenes import SceneTable


@dataclass(frozen=True)
class Statement:
    """A sentence with its truth in every scene of its domain."""

    family: str
    form: str
    text: str
    truth: np.ndarray = field(repr=False)
    domain: np.ndarray = field(repr=False)


def _finish(text: str, rng: np.random.Generator) -> str:
    """Capital letter and full stop as often as people write them."""
    text = text[0].upper() + text[1:] if rng.random() < 0.8 else text
    return text + "." if rng.random() < 0.5 else text


def list_statements(
    table: SceneTable, *, rng: np.random.Generator, n_phrasings: int = 3, avoid: Collection[str] = ()
) -> list[Statement]:
    """All distinct statements about scenes, each drafted `n_phrasings` times for its choices of words (number words
    or digits, nouns, capitals, full stops), but for the normalised sentences (see `normalise`) to avoid.
    """
    found: dict[str, Statement] = {}
    avoided = set(avoid)
    for _ in range(n_phrasings):
        for drafts, domain in (
            (scatter_drafts, ~table.is_tower),
            (compound_scatter_drafts, ~table.is_tower),
            (tower_drafts, table.is_tower),
            (compound_tower_drafts, table.is_tower),
        ):
            for family, form, draft, truth in drafts(table, rng):
                key = normalise(draft)
                if key not in avoided and key not in found:
                    text = _finish(draft, rng)
                    found[key] = Statement(family, form, text, np.asarray(truth, dtype=bool), domain)
    return list(found.values())


def normalise(sentence: str) -> str:
    """A sentence without case, outer punctuation and repeated blanks: what counts as the same sentence."""
    return re.sub(r"\s+", " ", sentence).strip(" .!?,;:").casefold()


def draw_coupled(statements: Sequence[Statement], *, n_rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Choose scenes for statements, as many where one is true as where it is false: family, form, hypothesis, label,
    scene (row of the scene table).

    Families take turns, as do their statements. Odd numbers of rows are rounded down; ValueError for too few scenes.
    """
    queues: dict[str, list[tuple[Statement, list[tuple[int, int]]]]] = {}
    for k in rng.permutation(len(statements)):
        statement = statements[k]
        true = rng.permutation(np.flatnonzero(statement.truth & statement.domain))
        false = rng.permutation(np.flatnonzero(~statement.truth & statement.domain))
        if couples := list(zip(true.tolist(), false.tolist(), strict=False)):
            queues.setdefault(statement.family, []).append((statement, couples))
    rows: list[tuple[str, str, str, str, int]] = []
    while len(rows) + 2 <= n_rows:
        if not queues:
            raise ValueError(f"the scenes offer {len(rows)} coupled statements, {n_rows} were asked for")
        for family in sorted(queues)[: (n_rows - len(rows)) // 2]:
            statement, couples = queues[family].pop(0)
            for scene, label in zip(couples.pop(), Label, strict=True):
                rows.append((family, statement.form, statement.text, label.text, scene))
            if couples:
                queues[family].append((statement, couples))
            elif not queues[family]:
                del queues[family]
    return pd.DataFrame(rows, columns=["family", "form", "hypothesis", "label", "scene"])
