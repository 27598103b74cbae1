"""What a report says of its own making: the variables by which reproducibility is judged, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from verdict.artifacts import read_json, relative
from verdict.labels import Split
from verdict.numbers import Number, Numbers
from verdict.stage import Stage
from verdict.stages import FEATURES, TRIAL_STAGE, folder, instances, runs, spec

YES, PARTLY, NO = "yes", "partly", "no"
# Whether somebody else can have a source's data.
SOURCES = {
    "digits": (YES, "comes with the package"),
    "nlvr": (YES, "public"),
    "a2": (PARTLY, "the study's own set, of which whoever repeats this needs a copy"),
    "csv": (PARTLY, "the user's own table and images"),
}


@dataclass(frozen=True)
class Record:
    """One execution of a stage: its place, and the record that it left."""

    stage: str
    trial: str
    seed: int | None
    content: dict[str, Any]


def read_records(stage: Stage) -> list[Record]:
    """Records of every execution of every stage that this one needs; each output is compared with its hash.

    Raises
    ------
    FileNotFoundError, StaleResultError
        If one has not run, or a file was changed after its record was written.
    """
    return [
        Record(name, trial or "", seed, stage.record(name, trial, seed)) for name, trial, seed in _executions(stage)
    ]


def _executions(stage: Stage) -> Iterator[tuple[str, str | None, int | None]]:
    for name in spec(stage.name).needs:
        yield from ((name, *one) for one in instances(stage.all_params, name))


def record_table(records: list[Record]) -> pd.DataFrame:
    """Records as a table, one row an execution, in reading order."""
    rows = []
    for record in records:
        content = record.content
        row = {"stage": record.stage, "trial": record.trial, "seed": record.seed, "elapsed_s": content["elapsed_s"]}
        row |= {"device": content["device"], "commit": content["commit"][:12], "is_dirty": _as_number(content["dirty"])}
        row |= {"parameters": content["params_hash"], "n_outputs": len(content["outputs"])}
        rows.append({**row, "started": content["started"]})
    return pd.DataFrame(rows)


def _as_number(is_so: bool | None) -> float:
    """1 or 0; not a number where it is not known, so that no count of it is known either."""
    return np.nan if is_so is None else float(is_so)


def resources(table: pd.DataFrame) -> pd.DataFrame:
    """Wall time by stage: stage, executions, total_s, longest_s, share; the last row is the sum of all."""
    by_stage = table.groupby("stage", sort=False)["elapsed_s"]
    found = by_stage.agg(executions="size", total_s="sum", longest_s="max").reset_index()
    whole = {"executions": found["executions"].sum(), "total_s": found["total_s"].sum()}
    row = pd.DataFrame([{"stage": "all", **whole, "longest_s": found["longest_s"].max()}])
    found = pd.concat([found, row], ignore_index=True)
    return found.assign(share=found["total_s"] / whole["total_s"])


def store(stage: Stage, table: pd.DataFrame) -> None:
    """Numbers `repro.n_executions`, `.n_outputs`, `.n_commits`, `.n_dirty`, `.n_parameter_sets`, `.total_min`."""
    counts = {
        "n_executions": len(table),
        "n_outputs": table["n_outputs"].sum(),
        "n_commits": np.nan if "unknown" in set(table["commit"]) else table["commit"].nunique(),
        "n_dirty": table["is_dirty"].sum(skipna=False),
        "n_parameter_sets": table["parameters"].nunique(),
    }
    for name, value in counts.items():
        stage.number(f"repro.{name}", value, unit="count")
    stage.numbers["repro.total_min"] = Number(float(table["elapsed_s"].sum()) / 60, unit="min")


def variables(stage: Stage, records: list[Record]) -> pd.DataFrame:
    """The sixteen variables of reproducibility, each answered from the records: factor, variable, given, answer.

    Numbers `repro.n_variables`, `.n_given`, `.n_partly`.

    References
    ----------
    Gundersen and Kjensmo (2018), State of the art: reproducibility in artificial intelligence, AAAI.
    """
    rows = [(factor, name, *answer(stage, records)) for factor, asked in VARIABLES.items() for name, answer in asked]
    found = pd.DataFrame(rows, columns=["factor", "variable", "given", "answer"])
    stage.number("repro.n_variables", len(found), unit="count")
    stage.number("repro.n_given", (found["given"] == YES).sum(), unit="count")
    stage.number("repro.n_partly", (found["given"] == PARTLY).sum(), unit="count")
    return found


Answer = tuple[str, str]
Question = Callable[[Stage, list[Record]], Answer]


def _pages(stage: Stage) -> list[str]:
    return [name for name in (*spec(stage.name).needs, stage.name) if name != FEATURES]


def _questions(stage: Stage, records: list[Record]) -> Answer:
    return YES, f"{len(_pages(stage))} pages, each under one question, such as: {spec('05_test').question}"


def _method(stage: Stage, records: list[Record]) -> Answer:
    return YES, f"an experiment; each section of {len(_pages(stage))} pages opens with how it was done"


def _data(split: str) -> Question:
    def answer(stage: Stage, records: list[Record]) -> Answer:
        source, numbers = stage.params.data.source, stage.upstream_numbers("01_data")
        name = relative(folder(stage.profile, "01_data") / "pairs.parquet")
        content = next(record for record in records if record.stage == "01_data").content["outputs"][name]
        n = numbers[f"data.{split}.n_pairs"].text if f"data.{split}.n_pairs" in numbers else "no"
        given, whose = SOURCES.get(source, (PARTLY, "see the first page"))
        return given, f"{n} pairs; source {source}, {whose}; pair table {content[:12]}"

    return answer


def _results(stage: Stage, records: list[Record]) -> Answer:
    n_runs = sum(record.stage == TRIAL_STAGE for record in records)
    n = sum(len(record.content["outputs"]) for record in records)
    return YES, f"logits of every evaluated pair of {n_runs} runs; {n} stored files, each with its hash"


def _claims(stage: Stage) -> list[dict[str, Any]]:
    names = [name for name in _pages(stage) if name not in (TRIAL_STAGE, stage.name)]
    return [claim for name in names for claim in read_json(stage.upstream(name, "claims.json"))]


def _hypothesis(stage: Stage, records: list[Record]) -> Answer:
    claims = _claims(stage)
    return (YES if claims else NO), f"{len(claims)} claims, each a sentence about one number"


def _prediction(stage: Stage, records: list[Record]) -> Answer:
    claims = _claims(stage)
    held = sum(claim["holds"] for claim in claims)
    told = f"each claim states comparison and bound in code, not registered beforehand; {held} of {len(claims)} hold"
    return (PARTLY if claims else NO), told


def _source(stage: Stage, records: list[Record]) -> Answer:
    commits = sorted({record.content["commit"] for record in records})
    if "unknown" in commits:
        return PARTLY, f"commit {', '.join(commit[:12] for commit in commits)}"
    states = [record.content["dirty"] for record in records]
    whole = len(commits) == 1 and not any(state is not False for state in states)
    unknown = f", of {states.count(None)} it is not known" if None in states else ""
    changed = f"{states.count(True)} of {len(records)} executions with changes that were not committed{unknown}"
    return (YES if whole else PARTLY), f"commit {', '.join(commit[:12] for commit in commits)}; {changed}"


def _hardware(stage: Stage, records: list[Record]) -> Answer:
    kept = ("cores", "machine", "node", "system")
    hosts = {tuple((key, record.content["host"].get(key, "unknown")) for key in kept) for record in records}
    devices = ", ".join(sorted({record.content["device"] for record in records}))
    listed = "; ".join(", ".join(f"{key} {value}" for key, value in host) for host in sorted(hosts, key=str))
    return PARTLY, f"{listed}; device {devices}; the processor's model and the memory are not recorded"


def _software(stage: Stage, records: list[Record]) -> Answer:
    sets = {tuple(sorted(record.content["versions"].items())) for record in records}
    listed = ", ".join(f"{name} {version}" for name, version in sorted(records[0].content["versions"].items()))
    return (YES if len(sets) == 1 else PARTLY), f"exact pins of all packages; recorded: {listed}"


def _setup(stage: Stage, records: list[Record]) -> Answer:
    hashes = sorted({record.content["params_hash"] for record in records})
    changed = len(records[0].content["non_default"])
    training = stage.params.training
    seeds = ", ".join(map(str, (training.warmup_seed, *training.seeds)))
    told = f"parameter set {', '.join(hashes)}; values that are not the default: {changed}; seeds {seeds}"
    return (YES if len(hashes) == 1 else PARTLY), told


def _experiment_code(stage: Stage, records: list[Record]) -> Answer:
    executed = sum(any(name.endswith("executed.ipynb") for name in record.content["outputs"]) for record in records)
    return YES, f"{executed} executed notebooks; {records[0].content['command']}"


VARIABLES: dict[str, tuple[tuple[str, Question], ...]] = {
    "Method": (
        ("problem", lambda stage, records: (YES, "when a vision-language model may decide on its own: the first page")),
        ("objective", lambda stage, records: (YES, "the sentence under each page's question says what it decides")),
        ("research method", _method),
        ("research questions", _questions),
        ("pseudocode", lambda stage, records: (NO, "none; the code itself is given")),
    ),
    "Data": (
        ("training data", _data(Split.TRAIN)),
        ("validation data", _data(Split.VAL)),
        ("test data", _data(Split.TEST)),
        ("results", _results),
    ),
    "Experiment": (
        ("hypothesis", _hypothesis),
        ("prediction", _prediction),
        ("method source code", _source),
        ("hardware", _hardware),
        ("software dependencies", _software),
        ("experiment set-up", _setup),
        ("experiment source code", _experiment_code),
    ),
}


def seed_table(stage: Stage) -> pd.DataFrame:
    """Macro-F1 on val over seeds: trial, role, n_seeds, mean, sd (ddof 1; NaN for one seed), lowest, highest."""
    rows, scores = [], {}
    for trial, seed in runs(stage.all_params):
        numbers = Numbers.load(stage.upstream(TRIAL_STAGE, "numbers.json", trial, seed))
        scores.setdefault(trial, []).append(numbers[f"{trial}_s{seed}.val.macro_f1"].value)
    for trial, values in scores.items():
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
        row = {"trial": trial, "role": stage.all_params.trial(trial).role, "n_seeds": len(values)}
        rows.append({**row, "mean": np.mean(values), "sd": sd, "lowest": min(values), "highest": max(values)})
    return pd.DataFrame(rows)
