"""Statements meet scenes in couples: one sentence with two scenes, one that it is true of and one that it is false of.

The best predictor that reads only the sentence is then right in exactly half of the pairs (`hypothesis_only_hits`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from verdict.base.labels import Label
from verdict.data.digits.grammar import Statement, evaluate
from verdict.data.digits.truths import FALSE, TRUE, Grid

_TRUTH_OF = {Label.ENTAILMENT: TRUE, Label.CONTRADICTION: FALSE}


class _Desk:
    """Hands scenes out so that all of them are used about equally often, with each label."""

    def __init__(self, sentences: Sequence[Statement], grid: Grid, rng: np.random.Generator) -> None:
        self.sentences, self.grid, self.rng = sentences, grid, rng
        self.truth = evaluate(sentences, grid)
        self.loads = {label: np.zeros(len(grid), dtype=int) for label in Label}
        self.rows: list[tuple[int, str, str, str, str]] = []

    def available(self, label: Label) -> np.ndarray:
        """For each sentence the number of scenes that give it this label."""
        return (self.truth == _TRUTH_OF[label]).sum(axis=1)

    def assign(self, i: int, label: Label, n: int) -> None:
        """Pair sentence i with n different scenes that give it the label, the least used first."""
        fits = self.truth[i] == _TRUTH_OF[label]
        chosen = np.empty(0, dtype=int)
        if (near := self.sentences[i].near) is not None:
            n_near = self.rng.binomial(n, 0.5)
            chosen = self._least_used(fits & (near(self.grid) == TRUE), label, n_near)
            fits[chosen] = False
        chosen = np.concatenate([chosen, self._least_used(fits, label, n - chosen.size)])
        self.loads[label][chosen] += 1
        said = self.sentences[i]
        self.rows += [(int(scene), said.text, label.text, said.family, said.form) for scene in chosen]

    def _least_used(self, fits: np.ndarray, label: Label, n: int) -> np.ndarray:
        scenes = np.flatnonzero(fits)
        order = np.argsort(self.loads[label][scenes] + self.rng.random(scenes.size))
        return scenes[order[:n]]

    def assign_all(self, counts: Mapping[Label, np.ndarray], limits: np.ndarray) -> None:
        """Pair every sentence, those that few scenes allow first."""
        for i in np.lexsort((self.rng.random(len(self.sentences)), limits)):
            for label, of_sentence in counts.items():
                self.assign(int(i), label, int(of_sentence[i]))

    def table(self) -> pd.DataFrame:
        """The pairs so far, ordered by scene and sentence."""
        table = pd.DataFrame(self.rows, columns=["scene", "hypothesis", "label", "family", "form"])
        return table.sort_values(["scene", "hypothesis"], ignore_index=True)


def coupled_pairs(
    sentences: Sequence[Statement], grid: Grid, *, n_pairs: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Choose pairs in couples: each sentence with equally many scenes that it is true of and false of.

    Families get equal numbers of couples, and so do the forms of a family (to within one). Sentences are drawn by their
    weights. Rare sentences choose their scenes first; each takes the scenes used least so far with that label, about
    half of them from those that make it hard (`Statement.near`). No scene meets a sentence twice.

    Columns scene (int), hypothesis, label, family, form; sorted by scene and hypothesis. ValueError if n_pairs is odd
    or not positive, or the scenes are too few for some form.
    """
    if n_pairs <= 0 or n_pairs % 2:
        raise ValueError(f"n_pairs must be even and positive, because pairs come in couples, got {n_pairs}")
    desk = _Desk(sentences, grid, rng)
    limits = np.minimum(desk.available(Label.ENTAILMENT), desk.available(Label.CONTRADICTION))
    counts = _draw_all(sentences, _form_quotas(sentences, n_pairs // 2), limits, rng)
    desk.assign_all(dict.fromkeys(Label, counts), limits)
    return desk.table()


def loose_pairs(
    sentences: Sequence[Statement],
    grid: Grid,
    *,
    n_pairs: int,
    entailed_share: Mapping[str, float],
    tilt: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Choose pairs uncoupled, else as `coupled_pairs`, so that words tell a little about labels, as where people write.

    Only sentences of the forms of `entailed_share` are used. A sentence's chance to be drawn for a label grows with the
    power `tilt` of the number of scenes that give it the label.
    """
    sentences = [sentence for sentence in sentences if sentence.form in entailed_share]
    desk = _Desk(sentences, grid, rng)
    quotas = _form_quotas(sentences, n_pairs)
    entailed = {form: round(quota * entailed_share[form]) for form, quota in quotas.items()}
    for label in Label:
        wanted = entailed if label is Label.ENTAILMENT else {form: quotas[form] - entailed[form] for form in quotas}
        limits = desk.available(label)
        counts = _draw_all(sentences, wanted, limits, rng, tilt=limits**tilt)
        desk.assign_all({label: counts}, limits)
    return desk.table()


def _form_quotas(sentences: Sequence[Statement], total: int) -> dict[str, int]:
    """Divide a total equally among families, then among the forms of each."""
    families: dict[str, dict[str, int]] = {}
    for sentence in sentences:
        families.setdefault(sentence.family, {}).setdefault(sentence.form, 0)
    for forms, share in zip(families.values(), _equal_parts(total, len(families)), strict=True):
        forms.update(zip(forms, _equal_parts(share, len(forms)), strict=True))
    return {form: quota for forms in families.values() for form, quota in forms.items()}


def _equal_parts(total: int, n: int) -> list[int]:
    return [total // n + (i < total % n) for i in range(n)]


def _draw_all(
    sentences: Sequence[Statement],
    quotas: Mapping[str, int],
    limits: np.ndarray,
    rng: np.random.Generator,
    tilt: np.ndarray | float = 1.0,
) -> np.ndarray:
    """How often each sentence is used, int (n_sentences,): the quota of every form, within the sentences' limits."""
    weights = np.array([sentence.weight for sentence in sentences]) * tilt
    forms = np.array([sentence.form for sentence in sentences])
    counts = np.zeros(len(sentences), dtype=int)
    for form, quota in quotas.items():
        here = np.flatnonzero(forms == form)
        if limits[here].sum() < quota:
            what = f"{quota} uses of the form {form!r} are wanted but the scenes allow {limits[here].sum()}"
            raise ValueError(f"{what}; use more scenes (fewer pairs per scene) or fewer pairs")
        while (missing := quota - counts[here].sum()) > 0:
            chances = np.where(counts[here] < limits[here], weights[here], 0.0)
            drawn = rng.multinomial(missing, chances / chances.sum())
            counts[here] = np.minimum(counts[here] + drawn, limits[here])
    return counts


def hypothesis_only_hits(train_pairs: pd.DataFrame, test_pairs: pd.DataFrame) -> pd.DataFrame:
    """Which test pairs a classifier that never sees an image answers rightly: by words (logistic regression on counts
    of words and neighbouring word pairs), and by the label that is more frequent in train.

    Where the test pairs come in couples half of them are right whatever was learnt; elsewhere what the first does
    better is what the words give away.
    """
    model = make_pipeline(CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"), LogisticRegression(max_iter=1000))
    model.fit(train_pairs["hypothesis"], train_pairs["label"])
    label = test_pairs["label"].to_numpy()
    larger = train_pairs["label"].mode().iloc[0]
    return pd.DataFrame({"words": model.predict(test_pairs["hypothesis"]) == label, "larger_class": larger == label})
