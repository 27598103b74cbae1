"""What the hypotheses are like, before any model: lengths, words of space and of meaning, repeats, and label artefacts.

The spatial groups are the study's; its semantic lists are known only in part, so that counts of the ten semantic
buckets on the same data may differ from the published ones by the words that complete them here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.labels import Label, Split, class_names
from verdict.base.numbers import EXACT, POINTS, Number, Numbers
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, with_bounds


def _words(kind: str) -> dict[str, tuple[str, ...]]:
    rows = pd.read_csv(Path(__file__).with_suffix(".csv"), dtype=str, keep_default_na=False)
    return {row.group: tuple(row.words.split(", ")) for row in rows[rows["kind"] == kind].itertuples()}


SPATIAL_WORDS, SEMANTIC_WORDS = _words("spatial"), _words("semantic")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(sentence: str) -> list[str]:
    """Lower-case words of a sentence; apostrophes and hyphens inside a word belong to it."""
    return _WORD.findall(sentence.casefold().replace("’", "'"))


def length_quantiles(pairs: pd.DataFrame) -> pd.DataFrame:
    """Length of hypotheses in blank-separated words, one row per label and "all": label, n, mean, the quantiles of
    `QUANTILES` as q05 … q95, and max.
    """
    lengths = pairs["hypothesis"].str.split().str.len()
    parts = {"all": lengths} | {name: lengths[pairs["label"] == name] for name in class_names()}
    rows = []
    for name, values in parts.items():
        if not values.empty:
            quantiles = {f"q{round(100 * q):02d}": values.quantile(q) for q in QUANTILES}
            rows.append({"label": name, "n": len(values), "mean": values.mean(), **quantiles, "max": int(values.max())})
    return pd.DataFrame(rows)


def keyword_flags(hypotheses: Sequence[str], groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Which groups of words each hypothesis uses, in any case, whole words only: bool (n, n_groups)."""
    # A word may be an expression itself, such as \d+.
    either = {name: "|".join(sorted(words, key=len, reverse=True)) for name, words in groups.items()}
    patterns = {name: re.compile(rf"(?<![\w'-])(?:{words})(?![\w'-])") for name, words in either.items()}
    texts = [text.casefold().replace("’", "'") for text in hypotheses]
    return pd.DataFrame({name: [p.search(t) is not None for t in texts] for name, p in patterns.items()}, dtype=bool)


def keyword_table(pairs: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """How often groups of words occur, and with which label: by falling count, then "any", group, n, share (of all
    pairs), n_entailment, n_contradiction, share_entailment (of the group), balance (`balance_grade`).
    """
    flags = keyword_flags(pairs["hypothesis"].tolist(), groups)
    order = flags.sum().rename_axis("group").reset_index(name="n").sort_values(["n", "group"], ascending=[False, True])
    flags = flags[order["group"]].assign(any=flags.any(axis=1))
    n, n_entailment = flags.sum(), flags[(pairs["label"] == Label.ENTAILMENT.text).to_numpy()].sum()
    share = n_entailment / n.where(n > 0)
    counts = {"n": n, "share": n / len(pairs), "n_entailment": n_entailment, "n_contradiction": n - n_entailment}
    table = pd.DataFrame(counts | {"share_entailment": share, "balance": share.map(balance_grade)})
    return table.rename_axis("group").reset_index()


def balance_grade(share: float) -> str:
    """How far a share in [0, 1] lies from one half, in the study's words, "" for NaN; edges: the better grade."""
    grades = (("excellent", 0.05), ("good", 0.10), ("moderate", 0.15), ("poor", 0.5))
    return next((grade for grade, limit in grades if round(abs(share - 0.5), 12) <= limit), "")


def negation_guard(pairs: pd.DataFrame, resampler: Callable[[np.ndarray], Resampler]) -> tuple[Interval, int]:
    """Share of contradiction among hypotheses with a negation word, and their number: a check of which label is which.

    People negate more often when they write false sentences, so that the share lies far above one half (0.815 in the
    study's data); one far below it is how swapped labels look. NaN without such a hypothesis. Gururangan et al. (2018),
    Annotation Artifacts in Natural Language Inference Data, section 3.
    """
    negated = keyword_flags(pairs["hypothesis"].tolist(), {"negation": SEMANTIC_WORDS["negation"]})["negation"]
    chosen = pairs[negated.to_numpy()]
    if chosen.empty:
        return NOTHING, 0
    contradicts = (chosen["label"] == Label.CONTRADICTION.text).to_numpy()
    return resampler(chosen["group_id"].to_numpy()).mean(contradicts, span=(0, 1)), len(chosen)


def n_telling(pairs: pd.DataFrame) -> int:
    """Sentences not as often true as false; without any, who answers by the sentence is right in exactly half."""
    is_true = (pairs["label"] == Label.ENTAILMENT.text).groupby(pairs["hypothesis"].to_numpy())
    return int((is_true.mean() != 0.5).sum())


def store_sentence_alone(
    numbers: Numbers, hits: pd.DataFrame, pairs: pd.DataFrame, resampler: Callable[[np.ndarray], Resampler]
) -> pd.DataFrame:
    """How far the words alone go, by `hypothesis_only_hits` of pairs of one split: answers, share_right with its
    interval. Numbers `data.hypothesis_only`, `data.larger_class` and `data.hypothesis_only_gain`, their difference, and
    `data.n_telling` (see `n_telling`).
    """
    of_rows, right = resampler(pairs["group_id"].to_numpy()), hits.astype(np.float64)
    gain, telling = right["words"] - right["larger_class"], n_telling(pairs)
    answers = {
        "hypothesis_only": ("the hypothesis alone", right["words"], (0, 1), "%"),
        "larger_class": ("one class, always", right["larger_class"], (0, 1), "%"),
        "hypothesis_only_gain": ("the first minus the second", gain, (-1, 1), POINTS),
    }
    rows, split = [], str(pairs["split"].iloc[0])
    for name, (words, values, span, unit) in answers.items():
        # Where no sentence tells, and where the words say one class always, it is arithmetic and no estimate.
        is_exact = telling == 0 or not values.any()
        share = Interval(float(values.mean())) if is_exact else of_rows.mean(values, span=span)
        told = share.number(n=len(pairs), split=split, unit=unit)
        numbers[f"data.{name}"] = replace(told, kind=EXACT) if is_exact else told
        rows.append({"answers": words, **with_bounds("share_right", share)})
    numbers["data.n_telling"] = Number(telling, n=len(pairs), split=split, unit="count")
    return pd.DataFrame(rows)


def repeated_hypotheses(pairs: pd.DataFrame) -> pd.DataFrame:
    """Sentences that two splits have in common, without case and outer blanks, which is no leak where their truth
    depends on the image: left, right, n_sentences_left, n_sentences_right, n_shared, share_of_right (of the right
    split's sentences), n_same_single_label (with one and the same label in both).
    """
    keyed = pairs.assign(sentence=pairs["hypothesis"].str.strip().str.casefold())
    # A sentence of two labels counts as having none of its own.
    own = keyed.groupby(["split", "sentence"])["label"].agg(lambda found: found.iloc[0] if found.nunique() == 1 else "")
    rows = []
    for left, right in combinations([str(split) for split in Split if str(split) in own], 2):
        first, second = own[left].align(own[right], join="inner")
        n_left, n_right, n_same = len(own[left]), len(own[right]), int(((first == second) & (first != "")).sum())
        rows.append((left, right, n_left, n_right, len(first), len(first) / n_right, n_same))
    columns = ["left", "right", "n_sentences_left", "n_sentences_right", "n_shared", "share_of_right"]
    return pd.DataFrame(rows, columns=[*columns, "n_same_single_label"])


def label_artefacts(pairs: pd.DataFrame, *, min_count: int = 20, smoothing: float = 1.0) -> pd.DataFrame:
    """Words that go with a label: pointwise mutual information between a word in the hypothesis and the label.

    PMI(w, c) = log2(P(w, c) / (P(w) P(c))), with `smoothing` added to each of the counts; a word counts once per pair,
    and 1 bit is the most that two balanced classes allow. Words rarer than `min_count` are not listed. Columns word, n,
    n_entailment, n_contradiction, share_contradiction, pmi_entailment, pmi_contradiction; by falling largest PMI, then
    word. Gururangan et al. (2018), section 3.
    """
    names = class_names()
    words = pairs["hypothesis"].map(lambda text: sorted(set(words_of(text))))
    long = pd.DataFrame({"word": words, "label": pairs["label"]}).explode("word").dropna()
    counts = long.groupby(["word", "label"]).size().unstack(fill_value=0).reindex(columns=list(names), fill_value=0)
    smooth = counts + smoothing
    of_word, of_label, total = smooth.sum(axis=1), smooth.sum(axis=0), float(smooth.to_numpy().sum())
    with np.errstate(divide="ignore"):
        pmi = np.log2(smooth.div(of_word, axis=0).div(of_label, axis=1) * total)
    table = pd.DataFrame({"n": counts.sum(axis=1)} | {f"n_{c}": counts[c] for c in names})
    table["share_contradiction"] = table["n_contradiction"] / table["n"]
    table = table.assign(**{f"pmi_{c}": pmi[c] for c in names})
    table = table[table["n"] >= min_count].rename_axis("word").reset_index()
    strongest = table[[f"pmi_{c}" for c in names]].max(axis=1)
    return table.iloc[np.lexsort((table["word"], -strongest))].reset_index(drop=True)
