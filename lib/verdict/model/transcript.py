"""Answers of a model of the hub to pairs, asked for batch by batch and kept, so that no pair is asked about twice."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict.base import artifacts, paths
from verdict.base.artifacts import content_hash, sha256_tree, write_bytes
from verdict.base.files.images import read_image
from verdict.base.params import AskedParams

SENTENCE = "{hypothesis}"
Key = tuple[str, str]


def said_of(
    pairs: pd.DataFrame,
    images: Mapping[str, tuple[Path, str]],
    asked: AskedParams,
    *,
    folder: Path,
    threads: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> np.ndarray:
    """Log-probabilities of yes and no, float64 (n, 2), for pairs with image_id, hypothesis and place (file and row, for
    messages). `images`: file and SHA-256 of each image id.

    Known answers are in `folder`: a file for each model (id and commit, or content of a folder) and prompt, with a line
    for each image content and sentence. It grows after each batch, so that a run that was killed can go on.
    ValueError for a sentence that holds a mark of the model's own, an answer that is no number, and a damaged file.
    """
    home = paths.preset_folder(asked.hub)
    model = [asked.hub, asked.revision] if home is None else ["", sha256_tree(home)]
    path = folder / f"{content_hash([*model, asked.prompt])}.jsonl"
    keys = [(images[name][1], text) for name, text in zip(pairs["image_id"], pairs["hypothesis"], strict=True)]
    known = _known(path)
    left = pairs.assign(key=keys).drop_duplicates("key")
    left = left[~left["key"].isin(known)]
    if len(left):
        progress(f"loading {asked.hub}")
        # A framework takes seconds to import, and who was asked before needs none.
        from verdict.model.assistant import Assistant

        assistant = Assistant.load(asked.hub, asked.revision, threads=threads)
        _refuse_marks(left, assistant.marks, asked.hub)
        n_known = len(known)
        for start in range(0, len(left), asked.batch):
            batch = left[start : start + asked.batch]
            pictures = [read_image(images[name][0], sha256=images[name][1]) for name in batch["image_id"]]
            texts = [asked.prompt.replace(SENTENCE, text) for text in batch["hypothesis"]]
            log_probs = assistant.log_probs(pictures, texts)
            is_nan = np.isnan(log_probs).any(axis=1)
            if is_nan.any():
                raise ValueError(f"{batch['place'][is_nan].iloc[0]}: {asked.hub} gave no number")
            known |= dict(zip(batch["key"], map(tuple, log_probs.tolist()), strict=True))
            _append(path, [[*key, *known[key]] for key in batch["key"]])
            progress(f"asked {len(known) - n_known:,} of {len(left):,} pairs")
    return np.array([known[key] for key in keys])


def _refuse_marks(pairs: pd.DataFrame, marks: Sequence[str], hub: str) -> None:
    for place, text in zip(pairs["place"], pairs["hypothesis"], strict=True):
        if found := [mark for mark in marks if mark in text]:
            raise ValueError(f"{place}: the sentence holds {found[0]!r}, which is no text to {hub}")


def _append(path: Path, rows: list[list[Any]]) -> None:
    """Add lines in one write, so that a run that is killed leaves whole batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    with artifacts.told_when_full(path), path.open("ab", buffering=0) as file:
        file.write(lines.encode())


def _known(path: Path) -> dict[Key, tuple[float, float]]:
    """Log-probabilities by image's hash and sentence; a last line that was cut off is taken away."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        write_bytes(path, whole)
    found = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            image, sentence, yes, no = json.loads(line)
            found[image, sentence] = (float(yes), float(no))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: {error}; delete the file, and its pairs are asked again"
            ) from None
    return found
