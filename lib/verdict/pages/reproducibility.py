"""What a report says of its own making: what its records say of reproducibility, what it took, and what holds."""

from collections import Counter
from collections.abc import Iterable

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


Record = dict[str, object]


def _wrote(record: Record, file: str) -> bool:
    """Whether an execution wrote a file of this name."""
    return any(name.endswith(f"/{file}") for name in record["outputs"])


def read_records(stage: Stage) -> list[Record]:
    """Records of every execution of every stage that this one needs, with its `stage` and `trial`; each file that they
    name is hashed again.

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
            found.append(content | {"stage": name, "trial": trial or ""})
    return found


def record_table(records: list[Record]) -> pd.DataFrame:
    """Records as a table, one row an execution, in reading order; is_dirty is NaN where that is not known."""
    table = pd.DataFrame(records)
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


def claims_of(stage: Stage, records: Iterable[Record]) -> list[dict]:
    """Claims of the pages behind some records, as they were stored."""
    files = (stage.upstream(record["stage"], "claims.json", record["trial"] or None) for record in records)
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
    for factor, answers in (("Data", _of_data(stage, records)), ("Experiment", _of_experiment(stage, records))):
        for name, (held, asked, words) in answers.items():
            given = NO if not held else YES if held == asked else PARTLY
            rows.append((factor, name, given, held, asked, words))
    return pd.DataFrame(rows, columns=["factor", "variable", "given", "held", "asked", "answer"])


def _of_data(stage: Stage, records: list[Record]) -> dict[str, Answer]:
    splits = {"training data": Split.TRAIN, "validation data": Split.VAL, "test data": Split.TEST}
    answered = [record for record in records if record["stage"] == (stage.given or TRIAL_STAGE)]
    held = sum(_wrote(record, "predictions.parquet") for record in answered)
    who = "tables" if stage.given else "trials"
    told = f"{who} with the logits of every pair that was answered, stored with their hash"
    pairs = {name: _pairs(split, stage, records) for name, split in splits.items()}
    return pairs | {"results": (held, len(answered), told)}


def _pairs(split: str, stage: Stage, records: list[Record]) -> Answer:
    """Held are a split's pairs, and a source that somebody else can have."""
    first = stage.given or "01_data"
    split = STANDS_IN.get(split, split) if stage.given else split
    numbers, name = stage.upstream_numbers(first), f"data.{split}.n_pairs"
    outputs = next(record for record in records if record["stage"] == first)["outputs"]
    table = next(content for file, content in outputs.items() if file.endswith("/pairs.parquet"))
    source, is_own = stage.params.data.source, stage.params.data.is_own
    unknown = (False, "the user's own table and images" if is_own else "see the first page")
    is_public, whose = SOURCES.get(source, unknown)
    if name not in numbers:
        return 0, 2, f"no pairs; source {source}"
    return 1 + is_public, 2, f"{numbers[name].text} pairs; source {source}, {whose}; pair table {table[:12]}"


def _of_experiment(stage: Stage, records: list[Record]) -> dict[str, Answer]:
    pages, n = [record for record in records if record["stage"] not in WITHOUT_NOTEBOOK], len(records)
    stating = [claims_of(stage, [page]) for page in pages if page["stage"] != TRIAL_STAGE]
    stated = f"pages that state claims, {sum(map(len, stating))} in all, each about one number"
    claims = claims_of(stage, records)
    predicted = "claims that predict a direction or a margin, in code; none was registered beforehand"
    versions, n_alike = Counter(tuple(sorted(one["versions"].items())) for one in records).most_common(1)[0]
    parameters, n_equal = Counter(record["params_hash"] for record in records).most_common(1)[0]
    chosen = (stage.params.data.seed,)
    if not stage.given:
        chosen = (stage.params.training.warmup_seed, *stage.params.training.seeds)
    told = f"executions under parameter set {parameters}; values that are not the default: "
    told += f"{len(records[0]['non_default'])}; seeds {', '.join(map(str, chosen))}"
    executed = sum(_wrote(page, "executed.ipynb") for page in pages)
    return {
        "hypothesis": (sum(map(bool, stating)), len(stating), stated),
        "prediction": (sum(claim["comparison"] != EXCLUDES for claim in claims), len(claims), predicted),
        "method source code": _source(records),
        "hardware": _hardware(records),
        "software dependencies": (n_alike, n, f"executions under {', '.join(map(' '.join, versions))}"),
        "experiment set-up": (n_equal, n, told),
        "experiment source code": (executed, len(pages), f"executed notebooks; {records[0]['command']}"),
    }


def _source(records: list[Record]) -> Answer:
    commit, n = Counter(record["commit"] for record in records).most_common(1)[0]
    states = [record["dirty"] for record in records if record["commit"] == commit]
    if commit == UNKNOWN:
        return 0, len(records), f"commit {UNKNOWN}"
    told = f"executions of commit {commit[:12]} without changes; {n} are of it, {states.count(True)} with changes"
    unknown = f", of {states.count(None)} it is not known" if None in states else ""
    return states.count(False), len(records), told + unknown


def _hardware(records: list[Record]) -> Answer:
    hosts = [{**record["host"], "device": record["device"]} for record in records]
    held = [name for name in HARDWARE if all(str(host.get(name) or UNKNOWN) != UNKNOWN for host in hosts)]
    listed = "; ".join(f"{name} {', '.join(sorted({str(host[name]) for host in hosts}))}" for name in held)
    missing = ", ".join(name for name in HARDWARE if name not in held)
    return len(held), len(HARDWARE), f"{listed}; not recorded: {missing or 'nothing'}"


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
