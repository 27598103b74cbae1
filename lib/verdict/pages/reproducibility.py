"""What a report says of its own making: what its records say of reproducibility, what it took, and what holds."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.artifacts import StaleResultError, read_json, recorded_hash
from verdict.base.labels import Split
from verdict.base.numbers import EXACT, EXCLUDES, SETTING, Numbers
from verdict.model.predict import RAW, logits_of
from verdict.pages.recorded import given_to
from verdict.workflow.stage import Stage
from verdict.workflow.stages import TRIAL_STAGE, WITHOUT_NOTEBOOK, instances, runs, spec

YES, PARTLY, NO = "yes", "partly", "no"
UNKNOWN = "unknown"
# What stands in for it where nothing was trained on it here.
STANDS_IN = {Split.VAL: Split.CALIB}
# Whether somebody else can have a source's data.
SOURCES = {
    "digits": (True, "comes with the package"),
    "nlvr": (True, "public"),
    "a2": (False, "the study's own set, of which whoever repeats this needs a copy"),
}
# What a rounding may depend on, and a record should therefore hold.
HARDWARE = ("cores", "machine", "node", "system", "device", "processor", "memory")


@dataclass(frozen=True)
class Record:
    """One execution of a stage: its place, and the record that it left."""

    stage: str
    trial: str
    content: dict[str, Any]

    def has(self, file: str) -> bool:
        """Whether it wrote a file of this name."""
        return any(name.endswith(f"/{file}") for name in self.content["outputs"])


def read_records(stage: Stage) -> list[Record]:
    """Records of every execution of every stage that this one needs; each file that they name is hashed again.

    FileNotFoundError, StaleResultError if one has not run, or what it read or wrote is not what its record says.
    """
    found = []
    for name in spec(stage.name, stage.all_params).needs:
        for trial in instances(stage.all_params, name):
            stage.progress(f"hashing {name} {trial or ''}")
            content = stage.record(name, trial)
            for file, expected in (content["inputs"] | content["outputs"]).items():
                # Read again, whatever its size and times say.
                if (now := recorded_hash(file, {})) != expected:
                    told = f"expected {expected[:12]}, got {now[:12]}"
                    raise StaleResultError(f"{file} is not what was recorded ({told})")
            found.append(Record(name, trial or "", content))
    return found


def record_table(records: list[Record]) -> pd.DataFrame:
    """Records as a table, one row an execution, in reading order; is_dirty is NaN where that is not known."""
    table = pd.DataFrame([one.content | {"stage": one.stage, "trial": one.trial} for one in records])
    dirty = table["dirty"].astype(float).where(table["commit"] != UNKNOWN)
    table = table.assign(is_dirty=dirty, commit=table["commit"].str[:12], n_outputs=table["outputs"].map(len))
    table = table.rename(columns={"params_hash": "parameters"})
    columns = ["stage", "trial", "elapsed_s", "device", "commit", "is_dirty", "parameters", "n_outputs", "started"]
    return table[columns]


def resources(table: pd.DataFrame) -> pd.DataFrame:
    """Wall time by stage: stage, executions, total_s, longest_s, share; the last row is the sum of all."""
    both = pd.concat([table, table.assign(stage="all")])
    by_stage = both.groupby("stage", sort=False)["elapsed_s"]
    found = by_stage.agg(executions="size", total_s="sum", longest_s="max").reset_index()
    return found.assign(share=found["total_s"] / table["elapsed_s"].sum())


def store(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """What the executions have in common: counted, and found.

    Numbers `repro.n_executions` (this page included), and of those before it `.n_outputs`, `.n_commits` and `.n_dirty`
    (both not defined where some are not known), `.n_parameter_sets` and `.total_min`.
    """
    is_known = UNKNOWN not in set(table["commit"])
    counts = {
        "n_executions": ("executions, this page included", len(table) + 1),
        "n_outputs": ("files that the others wrote, hashed again", table["n_outputs"].sum()),
        "n_commits": ("commits that they stem from", table["commit"].nunique() if is_known else np.nan),
        "n_dirty": ("executions with uncommitted changes", table["is_dirty"].sum(skipna=False)),
        "n_parameter_sets": ("sets of parameters", table["parameters"].nunique()),
    }
    found = stage.counts("repro", {name: n for name, (_, n) in counts.items()})
    stage.number("repro.total_min", table["elapsed_s"].sum() / 60, unit="min", kind=SETTING)
    return pd.DataFrame({"counted": [words for words, _ in counts.values()], "found": found})


def claims_of(stage: Stage, records: Iterable[Record]) -> list[dict[str, Any]]:
    """Claims of the pages behind some records, as they were stored."""
    files = (stage.upstream(record.stage, "claims.json", record.trial or None) for record in records)
    return [claim for file in files for claim in read_json(file)]


def store_claims(stage: Stage, records: list[Record]) -> None:
    """Numbers `repro.n_claims`, `.n_claims_hold` and `.n_claims_not_applicable` of all pages, this one included."""
    verdicts = [claim["holds"] for claim in claims_of(stage, records)] + [claim.holds for claim in stage.claims]
    counts = {"n_claims": len(verdicts), "n_claims_hold": verdicts.count(True)}
    stage.counts("repro", counts | {"n_claims_not_applicable": verdicts.count(None)})


# How much of what a variable asks for the records hold, of how much, and what they say.
Answer = tuple[int, int, str]


def variables(stage: Stage, records: list[Record]) -> pd.DataFrame:
    """Variables of reproducibility that records can answer: factor, variable, given, held, asked, answer.

    Of the sixteen of Gundersen and Kjensmo (2018), State of the art: reproducibility in artificial intelligence, AAAI,
    those that ask for words (problem, objective, method, questions, pseudocode) are left to the reader.
    """
    rows = []
    for (factor, name), answer in VARIABLES.items():
        held, asked, words = answer(stage, records)
        given = NO if not held else YES if held == asked else PARTLY
        rows.append((factor, name, given, held, asked, words))
    return pd.DataFrame(rows, columns=["factor", "variable", "given", "held", "asked", "answer"])


def _data(split: str, stage: Stage, records: list[Record]) -> Answer:
    """Held are its pairs, and a source that somebody else can have."""
    first = stage.given or "01_data"
    split = STANDS_IN.get(split, split) if stage.given else split
    numbers, name = stage.upstream_numbers(first), f"data.{split}.n_pairs"
    outputs = next(record for record in records if record.stage == first).content["outputs"]
    table = next(content for file, content in outputs.items() if file.endswith("/pairs.parquet"))
    source = stage.params.data.source
    unknown = "the user's own table and images" if stage.params.data.is_own else "see the first page"
    is_public, whose = SOURCES.get(source, (False, unknown))
    if name not in numbers:
        return 0, 2, f"no pairs; source {source}"
    return 1 + is_public, 2, f"{numbers[name].text} pairs; source {source}, {whose}; pair table {table[:12]}"


def _results(stage: Stage, records: list[Record]) -> Answer:
    answered = [record for record in records if record.stage == (stage.given or TRIAL_STAGE)]
    held = sum(record.has("predictions.parquet") for record in answered)
    who = "tables" if stage.given else "trials"
    return held, len(answered), f"{who} with the logits of every pair that was answered, stored with their hash"


def _hypothesis(stage: Stage, records: list[Record]) -> Answer:
    pages = [record for record in records if record.stage not in (TRIAL_STAGE, *WITHOUT_NOTEBOOK)]
    held = sum(bool(claims_of(stage, [page])) for page in pages)
    return held, len(pages), f"pages that state claims, {len(claims_of(stage, pages))} in all, each about one number"


def _prediction(stage: Stage, records: list[Record]) -> Answer:
    claims = claims_of(stage, records)
    held = sum(claim["comparison"] != EXCLUDES for claim in claims)
    return held, len(claims), "claims that predict a direction or a margin, in code; none was registered beforehand"


def _source(stage: Stage, records: list[Record]) -> Answer:
    commit, n = Counter(record.content["commit"] for record in records).most_common(1)[0]
    states = [record.content["dirty"] for record in records if record.content["commit"] == commit]
    if commit == UNKNOWN:
        return 0, len(records), f"commit {UNKNOWN}"
    told = f"executions of commit {commit[:12]} without changes; {n} are of it, {states.count(True)} with changes"
    unknown = f", of {states.count(None)} it is not known" if None in states else ""
    return states.count(False), len(records), told + unknown


def _hardware(stage: Stage, records: list[Record]) -> Answer:
    hosts = [{**record.content["host"], "device": record.content["device"]} for record in records]
    held = [name for name in HARDWARE if all(str(host.get(name) or UNKNOWN) != UNKNOWN for host in hosts)]
    seen = {name: sorted({str(host[name]) for host in hosts}) for name in held}
    missing = [name for name in HARDWARE if name not in held]
    listed = "; ".join(f"{name} {', '.join(values)}" for name, values in seen.items())
    return len(held), len(HARDWARE), f"{listed}; not recorded: {', '.join(missing) or 'nothing'}"


def _software(stage: Stage, records: list[Record]) -> Answer:
    found = Counter(tuple(sorted(record.content["versions"].items())) for record in records)
    versions, held = found.most_common(1)[0]
    return held, len(records), "executions under " + ", ".join(f"{name} {version}" for name, version in versions)


def _setup(stage: Stage, records: list[Record]) -> Answer:
    parameters, held = Counter(record.content["params_hash"] for record in records).most_common(1)[0]
    chosen = (stage.params.data.seed,)
    if not stage.given:
        chosen = (stage.params.training.warmup_seed, *stage.params.training.seeds)
    seeds = ", ".join(map(str, chosen))
    changed = len(records[0].content["non_default"])
    told = f"executions under parameter set {parameters}; values that are not the default: {changed}; seeds {seeds}"
    return held, len(records), told


def _experiment_code(stage: Stage, records: list[Record]) -> Answer:
    pages = [record for record in records if record.stage not in WITHOUT_NOTEBOOK]
    held = sum(record.has("executed.ipynb") for record in pages)
    return held, len(pages), f"executed notebooks; {records[0].content['command']}"


VARIABLES: dict[tuple[str, str], Callable[[Stage, list[Record]], Answer]] = {
    ("Data", "training data"): partial(_data, Split.TRAIN),
    ("Data", "validation data"): partial(_data, Split.VAL),
    ("Data", "test data"): partial(_data, Split.TEST),
    ("Data", "results"): _results,
    ("Experiment", "hypothesis"): _hypothesis,
    ("Experiment", "prediction"): _prediction,
    ("Experiment", "method source code"): _source,
    ("Experiment", "hardware"): _hardware,
    ("Experiment", "software dependencies"): _software,
    ("Experiment", "experiment set-up"): _setup,
    ("Experiment", "experiment source code"): _experiment_code,
}


def compare_again(stage: Stage, given: np.ndarray, stored: np.ndarray) -> pd.DataFrame:
    """Logits of test that were computed or read again, (n, K), beside those that are stored: compared, found. Numbers
    `repro.logit_difference` (largest, absolute), `.n_answers` and `.n_changed_answers`.
    """
    shared = {"n": len(stored), "split": str(Split.TEST)}
    n_changed = (RAW.decide(given) != RAW.decide(stored)).sum()
    found = [stage.number("repro.n_answers", len(stored), unit="count", split=str(Split.TEST))]
    found.append(stage.number("repro.n_changed_answers", n_changed, unit="count", **shared))
    found.append(stage.number("repro.logit_difference", np.abs(given - stored).max(), kind=EXACT, **shared))
    words = ["pairs answered again", "answers that change", "largest change of a logit"]
    return pd.DataFrame({"compared": words, "found": found})


def read_again(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """`compare_again` of the test pairs of a prediction table with what the files of what was given say now."""
    found = given_to(stage).judged.set_index("pair_id").loc[table["pair_id"]]
    return compare_again(stage, logits_of(found), logits_of(table))


def seed_table(stage: Stage) -> pd.DataFrame:
    """Macro-F1 on val over seeds: trial, role, n_seeds, sd (ddof 1; NaN for one seed), lowest, highest."""
    rows = []
    for trial, seed in runs(stage.all_params):
        numbers = Numbers.load(stage.upstream(TRIAL_STAGE, "numbers.json", trial))
        score = numbers[f"{trial}_s{seed}.val.macro_f1"].value
        rows.append({"trial": trial, "role": stage.all_params.trial(trial).role, "score": score})
    by_trial = pd.DataFrame(rows).groupby(["trial", "role"], sort=False)["score"]
    return by_trial.agg(n_seeds="size", sd="std", lowest="min", highest="max").reset_index()
