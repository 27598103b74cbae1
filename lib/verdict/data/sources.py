"""From parameters to a data set: which source is asked for what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from verdict.data import csv_folder, digits, nlvr
from verdict.data.grammar_questions import question_table
from verdict.data.pairs import Dataset
from verdict.labels import Split
from verdict.numbers import Number, Numbers
from verdict.params import DataParams


def build_dataset(params: DataParams, images: Path, *, progress: Callable[[str], None] = lambda text: None) -> Dataset:
    """Build the pair table and write the image store of the source that the parameters name.

    Parameters
    ----------
    images : Path
        Folder of the image store.

    Raises
    ------
    ValueError, FileNotFoundError
        From the source, naming file, row and cause.
    """
    progress(f"reading {params.source}")
    if params.source == "digits":
        chosen = params.digits
        return digits.build(
            n_pairs=chosen.n_pairs, pairs_per_scene=chosen.pairs_per_scene, seed=params.seed, out=images
        )
    if params.source == "nlvr":
        corpus = params.nlvr
        return nlvr.build(
            fractions=corpus.fractions,
            files=corpus.files,
            image_px=corpus.image_px,
            permutations_per_example=corpus.permutations,
            n_warmup=corpus.n_warmup,
            n_scenes=corpus.n_scenes,
            seed=params.seed,
            out=images,
            url=corpus.url,
            sha256=corpus.sha256,
        )
    own = params.csv
    return csv_folder.build(
        table=Path(own.table),
        images=Path(own.images),
        fractions=own.fractions,
        seed=params.seed,
        out=images,
        allow_missing_images=own.allow_missing_images,
    )


def questions_about(params: DataParams, pairs: pd.DataFrame) -> pd.DataFrame:
    """Questions whose right answer follows from a hypothesis's label, where the source has a grammar to make them from.

    Returns
    -------
    DataFrame
        hypothesis, question, what each class should answer; no rows for other sources.
    """
    return question_table(pd.unique(pairs["hypothesis"]) if params.source == "digits" else [])


def export_predictions(params: DataParams, predictions: pd.DataFrame, folder: Path) -> list[Path]:
    """Write predictions in the source's own format, for its own scripts, where it has one.

    Parameters
    ----------
    predictions : prediction table of the test split, one trial and seed
    folder : Path
        Receives `predictions.csv` where the source is the NLVR corpus.

    Returns
    -------
    list of Path
        What was written; empty for sources without such a format.
    """
    if params.source != "nlvr":
        return []
    path = folder / "predictions.csv"
    nlvr.write_predictions_csv(predictions, path)
    return [path]


def composition(pairs: pd.DataFrame, numbers: Numbers) -> pd.DataFrame:
    """Pairs, images, groups and share of entailment by split, and the same as numbers `data.<split>.…`."""
    rows = []
    for split in (split.value for split in Split):
        part = pairs[pairs["split"] == split]
        if part.empty:
            continue
        share = float((part["label"] == "entailment").mean())
        rows.append(
            {
                "split": split,
                "pairs": len(part),
                "images": part["image_id"].nunique(),
                "groups": part["group_id"].nunique(),
                "hypotheses": part["hypothesis"].nunique(),
                "entailment_share": share,
            }
        )
        numbers[f"data.{split}.n_pairs"] = Number(len(part), unit="count", split=split)
        numbers[f"data.{split}.entailment_share"] = Number(share, n=len(part), unit="%", split=split)
    numbers["data.n_pairs"] = Number(len(pairs), unit="count")
    numbers["data.n_images"] = Number(pairs["image_id"].nunique(), unit="count")
    return pd.DataFrame(rows)


def facts_table(dataset: Dataset) -> pd.DataFrame:
    """What the source says of itself, its licence's attribution included, as names and values."""
    facts = {**dataset.facts, **({"attribution": dataset.attribution} if dataset.attribution else {})}
    return pd.DataFrame({"fact": list(facts), "value": [str(value) for value in facts.values()]})
