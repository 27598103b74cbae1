"""New pairs, a table and its pictures, as cases with the answers of the report's models."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.files.hub import check_asked
from verdict.base.files.images import ImageStore
from verdict.base.files.picture_files import find_damaged, refuse_damaged
from verdict.base.labels import Split
from verdict.base.params import Params, load_params
from verdict.base.refusals import shown
from verdict.data.own import csv_folder
from verdict.decide.calibrated import Calibrated, logits_of_views, pair_consistency, usual_consistency
from verdict.decide.log import stored as of_report
from verdict.decide.log.cases import NO_DATE, ROWS, Lines, is_date
from verdict.decide.log.log import Item
from verdict.decide.log.stored import POLICY
from verdict.decide.log.stream import SPLIT, decide_stream
from verdict.decide.signals import OF_ONE_ANSWER
from verdict.model.predict import logits_of
from verdict.model.selection import load_selection
from verdict.model.transcript import said_of
from verdict.workflow import stages
from verdict.workflow.run import device_lease
from verdict.workflow.stage import open_stage
from verdict.workflow.start import choose_backend

Progress = Callable[[str], None]
Answers = Mapping[Any, pd.DataFrame]
HASH_LENGTH = 16
# Columns of pairs that a case holds, and their names there.
_IN_CASES = {
    **{"pair_id": "pair_id", "image_id": "image", "group_id": "group"},
    **{"hypothesis": "hypothesis", "date": "date", "image_sha256": "image_sha256"},
}


def decide_pairs(profile: str, table: Path, images: Path, out: Path, *, progress: Progress) -> Counter[str]:
    """Decide pairs of a table (see `csv_folder.read`) with pictures in a folder by a profile's policy and its model:
    the kept one, asked about 512 pairs at a time, or the one of the hub, asked about all before the first is decided.

    Counts and errors as `decide_stream`; before the model is loaded, FileNotFoundError, ValueError for a table, column
    or picture that cannot be used, ConnectionError for a model that cannot be had.
    """
    params = load_params(profile)
    is_hub = params.data.source == "answers" and bool(params.data.answers.model.hub)
    if cause := "" if is_hub else _not_asked(params):
        raise ValueError(f"{table}: {profile} has no model of its own to ask; {cause}")
    check_asked(params.data)
    pairs, files = read_pairs(table, images, params.data.csv.labels, progress=progress)
    stored = of_report.load_stored(profile)
    if is_hub:
        with device_lease(params.execution.device):
            cases = _asked_of_hub(params, profile, table, pairs, files, progress=progress)
        return decide_stream(stored, _chunks(cases), str(table), out, progress=progress)
    of_report.refuse_damaged(stages.folder(profile, stages.SIGNALS), profile)
    # What a framework computes on is chosen before one is imported.
    choose_backend(params.model.backend)
    with device_lease(params.execution.device):
        stage, by_line = open_stage(POLICY, profile), pairs.assign(split=SPLIT).set_index("line")
        calibrated, usual = Calibrated.load(stage), math.nan
        if stored.head.consistency is not None:
            usual = usual_consistency(stage, load_selection(stage).trial, calibrated)
        # Loaded when they are first asked.
        models = cache(partial(_examiner, params, profile, calibrated, files))

        def complete(lines: Lines) -> Lines:
            chunk = by_line.loc[[number for number, _ in lines]]
            answers = models().ask(chunk.reset_index(drop=True))
            return answered(calibrated, stored.head, chunk, answers, usual=usual)

        named = _chunks(_as_lines(by_line[["pair_id", "image_sha256"]], {}))
        return decide_stream(stored, named, str(table), out, answered=complete, progress=progress)


def _not_asked(params: Params) -> str:
    """What the user can do where the model cannot be asked about new pairs; "" where it can."""
    if params.data.source == stages.CLIP:
        return (
            "its policy is about CLIP's answers to pictures alone, and CLIP is not asked here about others; give JSON "
            'lines {"pair_id": ..., "logits": [...]} with what CLIP says, in the classes and the scale of its log of '
            f"decisions, {of_report.LOG}"
        )
    if params.data.is_given:
        return "give JSON lines with what its model says, or, of a model of the hub, name it in data.answers.model"
    return ""


def _asked_of_hub(
    params: Params, profile: str, table: Path, pairs: pd.DataFrame, files: Mapping[str, Path], *, progress: Progress
) -> Lines:
    """Pairs as whole cases, with the answers of the model of the hub, which are kept and never asked for again."""
    asked = params.data.answers.model
    images = {name: (file, sha256_file(file)) for name, file in files.items()}
    placed = pairs.assign(place=[f"{table}, line {number}" for number in pairs["line"]])
    folder, threads = paths.transcripts(profile), params.execution.threads
    yes, no = said_of(placed, images, asked, folder=folder, threads=threads, progress=progress).T
    return _as_lines(pairs.set_index("line"), {"model": asked.hub, "logprob_yes": yes, "logprob_no": no})


def _as_lines(pairs: pd.DataFrame, given: Mapping[str, Any]) -> Lines:
    """Pairs by line, with further columns, as `decide_stream` reads cases."""
    columns = [name for name in _IN_CASES if name in pairs]
    cases = pairs[columns].rename(columns=_IN_CASES).assign(**given).to_dict("records")
    lines = [json.dumps(case | {"date": case.get("date") or None}).encode() for case in cases]
    return list(zip(pairs.index, lines, strict=True))


def _chunks(lines: Lines) -> Iterator[Lines]:
    return (lines[start : start + ROWS] for start in range(0, len(lines), ROWS))


def read_pairs(
    table: Path, images: Path, labels: Mapping[str, str], *, progress: Progress
) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Pairs of a table, with line and `image_sha256` of each, and the images' files; every picture has been decoded."""
    unlabelled = {"fractions": None, "seed": 0, "labelled": False}
    dataset, files, hashes = csv_folder.read(table=table, images=images, labels=labels, **unlabelled)
    if ignored := dataset.facts["columns_ignored"]:
        known = "image, hypothesis, and perhaps group and date"
        raise ValueError(f"{table}, columns {ignored}: a new pair has {known}; take them out, or give them such names")
    for line, date in dataset.pairs.reindex(columns=["line", "date"]).itertuples(index=False):
        if isinstance(date, str) and not is_date(date):
            raise ValueError(f"{table}, line {line}, column 'date': {shown(date)} {NO_DATE}")
    first = dataset.pairs.drop_duplicates("image_id").set_index("image_id")["line"]
    damaged = find_damaged(files, progress=progress)
    refuse_damaged(table, {i: f"line {first[i]}, column image: {cause}" for i, cause in damaged.items()})
    short = {image_id: sha256[:HASH_LENGTH] for image_id, sha256 in hashes.items()}
    return dataset.pairs.assign(image_sha256=dataset.pairs["image_id"].map(short)), files


def answered(calibrated: Calibrated, head: Item, pairs: pd.DataFrame, answers: Answers, *, usual: float) -> Lines:
    """Pairs by line as whole cases, with what the models of the kept trial say of them (see `Examiner.ask`), and the
    `usual` consistency of those without a question.
    """
    table = answers[calibrated.seed]
    tables = {seed: answers[seed] for seed in calibrated.temperatures}
    _, _, signals = calibrated.signals(tables, logits_of_views(answers[stages.VIEWS], table))
    given: dict[str, Any] = {name: signal for name, signal in signals.items() if name not in OF_ONE_ANSWER}
    if head.consistency is not None:
        given["consistency"] = pair_consistency(answers[stages.QUESTIONS], table, calibrated, head.classes, usual=usual)
    given["distance"] = answers[stages.DISTANCES]["distance"].to_numpy()
    return _as_lines(pairs, {"model": head.model_hash, "logits": logits_of(table).tolist(), **given})


def _examiner(params: Params, profile: str, calibrated: Calibrated, files: Mapping[str, Path]) -> Any:
    """The models; a framework takes seconds to load."""
    from verdict.model.ask import Examiner
    from verdict.model.backend import set_threads
    from verdict.model.distance import fit_reference
    from verdict.model.export.model import load_kept
    from verdict.model.features import Features
    from verdict.model.network import FreezePlan

    threads = params.execution.threads
    set_threads(threads)
    stage, kept = open_stage(stages.SIGNALS, profile), load_kept(profile)
    folder = stage.upstream_folder(stages.FEATURES)
    frozen = Features.open(folder, FreezePlan())
    seeds = sorted(calibrated.temperatures, key=lambda seed: seed == kept.seed)
    return Examiner(
        params,
        kept,
        {seed: kept.weights.with_name(stages.weights_file(seed)) for seed in seeds},
        ImageStore.of_files(files, workers=threads),
        fit_reference(frozen, frozen.means(folder), stage.pairs(Split.TRAIN)),
    )
