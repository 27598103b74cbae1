"""A stage as its notebook sees it: declared parameters, upstream results, numbers and claims."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base import paths
from verdict.base.artifacts import relative, verify_outputs, write_json, write_parquet
from verdict.base.files.images import ImageStore
from verdict.base.numbers import KINDS, Claim, Number, Numbers, evaluate_claim
from verdict.base.params import Params, TrialParams, load_params
from verdict.stats.uncertainty import Interval, Resampler, stream
from verdict.workflow import place, stages
from verdict.workflow.stage_parameters import judged


class _Sections:
    """The parameter sections that a stage declares; any other is refused, so that nothing can go stale unseen."""

    def __init__(self, params: Params, declared: stages.Spec):
        self._params, self._declared = params, declared

    def __getattr__(self, name: str) -> Any:
        if name not in self._declared.sections:
            raise AttributeError(f"{self._declared.name} does not declare the parameter section {name!r}")
        return getattr(self._params, name)


@dataclass
class Stage:
    """One running stage, as its notebook sees it."""

    name: str
    profile: str
    trial_name: str | None
    seed: int | None
    folder: Path
    _params: Params
    shard: int | None = None
    numbers: Numbers = field(default_factory=Numbers)
    claims: list[Claim] = field(default_factory=list)
    _verified: dict[Path, dict[str, Any]] = field(default_factory=dict)
    _tables: dict[Path, pd.DataFrame] = field(default_factory=dict)

    @property
    def params(self) -> Any:
        """The declared parameter sections, as attributes."""
        return _Sections(self._params, stages.spec(self.name, self._params))

    @property
    def all_params(self) -> Params:
        """The whole set, for functions that list the runs; what a stage does not declare is not for its results."""
        return self._params

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the trial that this execution runs."""
        return stages.seeds(self._params, str(self.trial_name))

    @property
    def trial(self) -> TrialParams:
        """The trial that this execution runs."""
        return self._params.trial(str(self.trial_name))

    def rng(self, name: str | int, *key: int | str) -> np.random.Generator:
        """A random stream by name, such as `rng("robustness.corrupt", k)`; see `uncertainty.stream`."""
        return stream(self._params.statistics.seed, str(name), *key)

    def resampler(self, groups: ArrayLike) -> Resampler:
        """Intervals of statistics over rows of these groups, (n,): the only source of intervals of a stage."""
        settings = self._params.statistics
        return Resampler(np.asarray(groups), settings.n_resamples, settings.level, settings.seed)

    def provenance(self) -> str:
        """One line that says what this is, with the hash of its record, which knows no other source."""
        what = stages.label(self.name, self.trial_name)
        return f"{what} · profile {self.profile} · parameters {load_params(self.profile).hash}"

    def path(self, file: str) -> Path:
        """Where this stage writes a file."""
        return self.folder / file

    def upstream(self, name: str, file: str, trial: str | None = None) -> Path:
        """A file of an upstream stage that this one declares (else a KeyError), verified against the other's record:
        FileNotFoundError or StaleResultError where that has not run, or was changed afterwards.
        """
        if self.source != stages.MODEL and f"{name}-{self.source}" in stages.spec(self.name, self._params).needs:
            name = f"{name}-{self.source}"
        is_parent_trial = name == self.name == stages.TRIAL_STAGE and trial == self.trial.parent
        if name not in stages.spec(self.name, self._params).needs and not is_parent_trial:
            raise KeyError(f"{self.name} does not declare that it needs {name}")
        source = stages.folder(self.profile, name, trial)
        path, outputs = source / file, self._record(source)["outputs"]
        if relative(path) not in outputs:
            raise FileNotFoundError(f"{relative(path)} is not an output of {name}: {sorted(outputs)}")
        return path

    def _record(self, source: Path) -> dict[str, Any]:
        """The record of a folder that this stage reads, its outputs verified."""
        if source not in self._verified:
            self._verified[source] = verify_outputs(source)
        return self._verified[source]

    def record(self, name: str, trial: str | None = None) -> dict[str, Any]:
        """An upstream stage's record, its outputs verified."""
        return self._record(self.upstream_folder(name, trial))

    def upstream_folder(self, name: str, trial: str | None = None) -> Path:
        """Folder of an upstream stage, all of its outputs verified."""
        return self.upstream(name, "numbers.json", trial).parent

    def shards(self, n: int) -> list[Path]:
        """Folders of the n shards of the features in their order, all of their outputs verified; none for n = 1."""
        folders = [paths.stage_dir(self.profile, stages.shard_folder(k, n)) for k in range(n)] if n > 1 else []
        for source in folders:
            self._record(source)
        return folders

    @property
    def source(self) -> str:
        """Whose predictions this stage judges: `MODEL` for the profile's own, `CLIP`."""
        return stages.source_of(self.name)

    @property
    def given(self) -> str:
        """The stage that holds predictions which no trial made: saved logits, or CLIP's; "" where trials made them."""
        if self.source == stages.CLIP:
            return stages.CLIP_ANSWERS
        return stages.RECORDED if self._params.data.is_given else ""

    @property
    def is_recorded(self) -> bool:
        """Whether predictions are given: saved logits or CLIP's, without trials, features or weights of this report."""
        return bool(self.given)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids."""
        if self.given == stages.CLIP_ANSWERS:
            return tuple(pd.read_parquet(self.upstream(stages.CLIP_ANSWERS, "classes.parquet"))["name"])
        return self._params.data.classes

    def pairs(self, *splits: str) -> pd.DataFrame:
        """The pair table, of some splits or of all, with a fresh index."""
        return _of_splits(self._table(self.upstream(self.given or "01_data", "pairs.parquet")), splits)

    def predictions(self, *splits: str, trial: str, seed: int) -> pd.DataFrame:
        """A training run's prediction table, of some splits or of all."""
        made = (self.given, None) if self.given else (stages.TRIAL_STAGE, trial)
        table = self._table(self.upstream(made[0], "predictions.parquet", made[1]))
        return _of_splits(table[table["seed"] == seed], splits)

    def images(self) -> ImageStore | None:
        """The images that the first page stored, None where its source has none."""
        try:
            return ImageStore.open(self.upstream(self.given or "01_data", "images/images.parquet").parent)
        except FileNotFoundError:
            return None

    def answers(self, kind: str, *splits: str) -> pd.DataFrame | None:
        """A table of further answers, None without one: to `VIEWS` of each image, `QUESTIONS` about each pair, or
        `DISTANCES`.

        Columns pair_id, split; logits, and the view, or the question with each class's answer to it; or the distance.
        """
        asked, file = self.given or stages.SIGNALS, f"{kind}.parquet"
        if asked not in stages.spec(self.name, self._params).needs:
            return None
        if self.given and not any(name.endswith(f"/{file}") for name in self.record(asked)["outputs"]):
            return None
        return _of_splits(self._table(self.upstream(asked, file)), splits)

    def _table(self, file: Path) -> pd.DataFrame:
        """A verified upstream table, read once: pages ask for its splits and seeds one by one."""
        if file not in self._tables:
            self._tables[file] = pd.read_parquet(file)
        return self._tables[file]

    def upstream_numbers(self, name: str) -> Numbers:
        """Numbers of an upstream stage that runs once."""
        return Numbers.load(self.upstream(name, "numbers.json"))

    def claim(self, id: str, statement: str, number: str, comparison: str, bound: float, **options: Any) -> Claim:
        """Record a claim about one of this stage's numbers; options are the last fields of `Claim`."""
        claim = Claim(id, statement, number, comparison, bound, **options)
        self.claims.append(evaluate_claim(self.numbers, claim))
        return self.claims[-1]

    def number(self, name: str, value: float, **fields: Any) -> Number:
        """Record a number that has no interval by its kind: a count (by its unit), an exact value or a setting."""
        self.numbers[name] = Number(float(value), **fields)
        return self.numbers[name]

    def counts(self, prefix: str, counts: Mapping[str, float], **fields: Any) -> list[Number]:
        """Record counts as numbers `<prefix>.<name>`."""
        return [self.number(f"{prefix}.{name}", n, unit="count", **fields) for name, n in counts.items()]

    def estimates(
        self, prefix: str, found: Mapping[str, Interval], units: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        """Record intervals as numbers `<prefix>.<name>`; `units` by name, where one has any."""
        for name, interval in found.items():
            self.numbers[f"{prefix}.{name}"] = interval.number(unit=(units or {}).get(name, ""), **fields)

    @property
    def threads(self) -> int:
        """Threads of the numerical backend; where a stage runs never changes what it means."""
        return self._params.execution.threads

    def progress(self, text: str) -> None:
        """Tell the person who waits how far this stage has come."""
        progress(text)

    def save(self, **tables: pd.DataFrame) -> None:
        """Write numbers, claims, the list of inputs, and tables as `<name>.parquet`: a notebook's only write.
        ValueError, and nothing written, for a number that does not say whether it is an estimate, a count, …
        """
        if unsaid := sorted(name for name, number in self.numbers.items() if not number.kind):
            what = f"say what these numbers are ({', '.join(KINDS)})"
            raise ValueError(f"{what}, with an interval for an estimate: {unsaid}")
        for name, table in tables.items():
            write_parquet(self.path(f"{name}.parquet"), table)
        self.numbers.save(self.path("numbers.json"))
        write_json(self.path("claims.json"), [asdict(claim) for claim in self.claims])
        write_json(self.path("inputs.json"), sorted(relative(source / "run.json") for source in self._verified))
        if place.has_computed_on_gpu():
            self.path(place.COMPUTED_ON_GPU).touch()


def _of_splits(table: pd.DataFrame, splits: tuple[str, ...]) -> pd.DataFrame:
    chosen = table[table["split"].isin(splits)] if splits else table
    return chosen.reset_index(drop=True)


def open_stage(
    name: str,
    profile: str,
    *,
    trial: str | None = None,
    seed: int | None = None,
    source: str = stages.MODEL,
    shard: int | None = None,
) -> Stage:
    """Open a stage; `source` says whose predictions it judges, `shard` which part of the features it encodes, `seed` is
    trained ahead of its trial.

    Run by hand and not by the driver it writes to `work/<profile>/scratch/`: trying something out is no result.
    """
    params = load_params(profile)
    if trial is not None:
        params.trial(trial)
    name = name if source == stages.MODEL else f"{name}-{source}"
    params = judged(params, name)
    home = Path(os.environ.get("VERDICT_STAGE_DIR") or stages.folder(profile, f"scratch/{name}", trial))
    return Stage(stages.spec(name, params).name, profile, trial, seed, home, params, shard)


def progress(text: str) -> None:
    """Tell the driver, and through it the person who waits, how far a stage has come."""
    target = os.environ.get("VERDICT_PROGRESS")
    if target:
        # On a full disk the stage goes on to its own writes, which fail with a better message.
        with contextlib.suppress(OSError), Path(target).open("a", encoding="utf-8") as file:
            file.write(text.replace("\n", " ") + "\n")
