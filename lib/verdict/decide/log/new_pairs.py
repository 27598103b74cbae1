"""New pairs that nobody has answered, a table and its pictures, as cases with what the kept models say of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from verdict.base.labels import Split
from verdict.base.params import Params, load_params
from verdict.data.images import ImageStore
from verdict.data.own import csv_folder
from verdict.data.own.picture_files import find_damaged, refuse_damaged
from verdict.decide.calibrated import Calibrated, logits_of_views, pair_consistency, usual_consistency
from verdict.decide.log import stored as of_report
from verdict.decide.log.cases import ROWS, Lines
from verdict.decide.log.stored import POLICY, Stored
from verdict.decide.log.stream import SPLIT, decide_stream
from verdict.decide.signals import OF_ONE_ANSWER
from verdict.model.predict import logits_of
from verdict.workflow import stages
from verdict.workflow.run import device_lease
from verdict.workflow.stage import open_stage
from verdict.workflow.start import choose_backend

Progress = Callable[[str], None]
# Columns of pairs, and what they are called where a case holds them.
_TOLD = {"pair_id": "pair_id", "image_id": "image", "group_id": "group", "hypothesis": "hypothesis", "date": "date"}


def decide_pairs(profile: str, table: Path, images: Path, out: Path, *, progress: Progress) -> Counter[str]:
    """Decide pairs of a table (see `csv_folder.read`) with pictures in a folder by a profile's kept model and policy.

    Counts and errors as `decide_stream`; before the model is loaded, FileNotFoundError, ValueError for a table, column
    or picture that cannot be used. Pairs are asked about 512 at a time.
    """
    params = load_params(profile)
    if params.data.is_given or params.data.source == stages.CLIP:
        raise ValueError(f"{table}: {profile} has no model of its own to ask; give JSON lines with what its model says")
    pairs, files = read_pairs(table, images, params.data.csv.labels, progress=progress)
    stored = of_report.load_stored(profile)
    of_report.refuse_damaged(stages.folder(profile, stages.SIGNALS), profile)
    # What a framework computes on is chosen before one is imported.
    choose_backend(params.model.backend)
    with device_lease(params.execution.device):
        asked = NewPairs(params, profile, stored, pairs, files)
        told = {"answered": asked.answered, "progress": progress}
        return decide_stream(stored, asked.lines(), str(table), out, **told)


def read_pairs(
    table: Path, images: Path, labels: Mapping[str, str], *, progress: Progress
) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Pairs of a table, with the line of each, and the file of each image; every picture has been decoded once."""
    asked = {"table": table, "images": images, "labels": labels}
    dataset, files, _ = csv_folder.read(**asked, fractions=None, seed=0, labelled=False)
    if ignored := dataset.facts["columns_ignored"]:
        known = "image, hypothesis, and perhaps group and date"
        raise ValueError(f"{table}, columns {ignored}: a new pair has {known}; take them out, or give them such names")
    first = dataset.pairs.drop_duplicates("image_id").set_index("image_id")["line"]
    damaged = find_damaged(files, progress=progress)
    refuse_damaged(table, {i: f"line {first[i]}, column image: {cause}" for i, cause in damaged.items()})
    return dataset.pairs, files


class NewPairs:
    """Pairs as lines that name them, and as whole cases once the models of the kept trial have been asked."""

    def __init__(self, params: Params, profile: str, stored: Stored, pairs: pd.DataFrame, files: Mapping[str, Path]):
        self._params, self._profile, self._stored, self._files = params, profile, stored, files
        self._pairs = pairs.assign(split=SPLIT).set_index("line")
        self._stage = open_stage(POLICY, profile)
        self._calibrated = Calibrated.load(self._stage)

    def lines(self) -> Iterator[Lines]:
        """Number and id of each pair, 512 at a time."""
        named = [(n, json.dumps({"pair_id": one}).encode()) for n, one in self._pairs["pair_id"].items()]
        return (named[start : start + ROWS] for start in range(0, len(named), ROWS))

    def answered(self, lines: Lines) -> Lines:
        """The same pairs with what the models say, as `decide_stream` reads it."""
        own, calibrated, head = self._pairs.loc[[n for n, _ in lines]], self._calibrated, self._stored.head
        found = self._examiner.ask(own.reset_index(drop=True))
        table = found[calibrated.seed]
        tables = {seed: found[seed] for seed in calibrated.temperatures}
        _, _, signals = calibrated.signals(tables, logits_of_views(found[stages.VIEWS], table))
        given: dict[str, Any] = {name: signal for name, signal in signals.items() if name not in OF_ONE_ANSWER}
        if head.consistency is not None:
            said = found[stages.QUESTIONS], table, calibrated.temperature, head.classes
            given["consistency"] = pair_consistency(*said, usual=self._usual)
        given["distance"] = found[stages.DISTANCES]["distance"]
        named = own[[name for name in _TOLD if name in own]].rename(columns=_TOLD).reset_index(drop=True)
        rows = named.assign(model=head.model_hash, **given).to_dict("records")
        for row, logits in zip(rows, logits_of(table).tolist(), strict=True):
            row |= {"logits": logits, "date": row.get("date") or None}
        return [(n, json.dumps(row).encode()) for (n, _), row in zip(lines, rows, strict=True)]

    @cached_property
    def _usual(self) -> float:
        return usual_consistency(self._stage, self._kept.trial, self._calibrated)

    @cached_property
    def _kept(self) -> Any:
        from verdict.model.export.model import load_kept

        return load_kept(self._profile)

    @cached_property
    def _examiner(self) -> Any:
        """The models, loaded when they are first asked: a framework takes seconds."""
        from verdict.model.ask import Examiner
        from verdict.model.backend import set_threads
        from verdict.model.distance import fit_reference
        from verdict.model.features import Features
        from verdict.model.network import FreezePlan

        threads = self._params.execution.threads
        set_threads(threads)
        stage, kept = open_stage(stages.SIGNALS, self._profile), self._kept
        folder = stage.upstream_folder(stages.FEATURES)
        frozen = Features.open(folder, FreezePlan())
        seeds = sorted(self._calibrated.temperatures, key=lambda seed: seed == kept.seed)
        return Examiner(
            self._params,
            kept,
            {seed: kept.weights.with_name(stages.weights_file(seed)) for seed in seeds},
            ImageStore.of_files(self._files, workers=threads),
            fit_reference(frozen, frozen.means(folder), stage.pairs(Split.TRAIN)),
        )
