"""The stages of a report, and what a notebook holds of its own: parameters, upstream results, numbers, claims.

A stage is one execution of one notebook. What a stage depends on is declared here, once; the Snakefile, the driver
and the report all read it.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from verdict import paths
from verdict.artifacts import (
    content_hash,
    read_run,
    relative,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    verify_outputs,
    write_json,
    write_parquet,
)
from verdict.numbers import Claim, Number, Numbers, evaluate_claim
from verdict.params import Params, TrialParams, load_params


@dataclass(frozen=True)
class Spec:
    """What a stage is and what it may read.

    Attributes
    ----------
    name : str
        The notebook's stem, `<stem>-<source>` where it is executed once more on another source's predictions, or the
        name of a stage without a notebook.
    question : str
        What it answers.
    needs : tuple of str
        Stages whose results it reads.
    sections : tuple of str
        Parameter sections that it reads; a stage sees no other.
    """

    name: str
    question: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]


WARMUP_STAGE = "02_warmup"
TRIAL_STAGE = "03_staged_unfreezing"
FEATURES = "features"
SIGNALS = "signals"
# Predictions that the pages on calibration and policy judge: the profile's own ("model"), or CLIP's.
MODEL, CLIP = "model", "clip"
CLIP_MODEL, CLIP_EMBEDDINGS, CLIP_ANSWERS = "clip_model", "clip_embeddings", "clip_answers"
WITHOUT_NOTEBOOK = frozenset({FEATURES, SIGNALS, CLIP_MODEL, CLIP_EMBEDDINGS, CLIP_ANSWERS})
# What runs a stage without a notebook, where it is not `verdict.run` itself: a function of the stage.
RUNNERS = {
    CLIP_MODEL: ("verdict.pretrain.own_clip", "teach"),
    CLIP_EMBEDDINGS: ("verdict.clip.study", "embed"),
    CLIP_ANSWERS: ("verdict.clip.answers", "answer"),
}
PROGRESS = ".progress"
VIEWS, QUESTIONS = "views", "questions"


def notebook_of(name: str) -> str:
    """Stem of the notebook that a stage executes."""
    return name.partition("-")[0]


def source_of(name: str) -> str:
    """Whose predictions a stage judges: `MODEL`, or the source that its name ends with."""
    return name.partition("-")[2] or MODEL


SPECS = (
    Spec("01_data", "What is in the data, and can it leak?", (), ("data", "statistics")),
    Spec(FEATURES, "Frozen prefixes of every image and hypothesis", ("01_data",), ("model", "plans", "views")),
    Spec(
        "02_warmup",
        "What does a proxy task teach the fusion head while both encoders stay frozen?",
        ("01_data", FEATURES),
        ("model", "training", "statistics"),
    ),
    Spec(
        TRIAL_STAGE,
        "How much does each unfreezing step add?",
        ("01_data", FEATURES, "02_warmup"),
        ("model", "training", "trial", "statistics"),
    ),
    Spec(
        "04_model_selection",
        "Which configuration do we keep, and is it really better?",
        ("01_data", "02_warmup", TRIAL_STAGE),
        ("training", "statistics"),
    ),
    Spec(
        "05_test",
        "How good is it on unseen images, and where does it fail?",
        ("01_data", FEATURES, TRIAL_STAGE, "04_model_selection"),
        ("data", "model", "training", "statistics", "report"),
    ),
    Spec(
        "06_interpretation",
        "What does it look at?",
        ("01_data", FEATURES, TRIAL_STAGE, "04_model_selection"),
        ("model", "training", "interpret", "statistics"),
    ),
    Spec(
        SIGNALS,
        "The kept model's answers to changed views and to questions about each pair",
        ("01_data", FEATURES, TRIAL_STAGE, "04_model_selection"),
        ("data", "model"),
    ),
    Spec(
        "07_calibration",
        "Can its probabilities be believed?",
        ("01_data", TRIAL_STAGE, "04_model_selection"),
        ("calibrate", "policy", "statistics"),
    ),
    Spec(
        "08_policy",
        "When may it act alone?",
        ("01_data", TRIAL_STAGE, "04_model_selection", "07_calibration", SIGNALS),
        ("model", "calibrate", "policy", "statistics"),
    ),
    Spec(
        "09_independent_set",
        "Does any of this survive another distribution?",
        ("01_data", TRIAL_STAGE, "04_model_selection", "07_calibration", SIGNALS, "08_policy"),
        ("calibrate", "policy", "statistics"),
    ),
    Spec(
        "13_reproducibility",
        "Could someone else get these numbers? What did the originals get wrong?",
        (
            "01_data",
            FEATURES,
            "02_warmup",
            TRIAL_STAGE,
            "04_model_selection",
            "05_test",
            "06_interpretation",
            "07_calibration",
            "08_policy",
            "09_independent_set",
        ),
        ("data", "model", "training", "defects", "statistics"),
    ),
)
RECORDED = "01_recorded"
RECORDED_RUN = ("recorded", 0)
_ON_LOGITS = ("07_calibration", "08_policy", "09_independent_set")


def _on_logits(spec: Spec) -> Spec:
    """A stage that needs predictions alone, fed from saved logits: without a model."""
    needs = (RECORDED, *(need for need in spec.needs if need in _ON_LOGITS))
    return replace(spec, needs=needs, sections=tuple(name for name in spec.sections if name != "model"))


# Saved logits have no images, features or training: a shorter list of stages, with the same notebooks.
RECORDED_SPECS = (
    Spec(RECORDED, "What was recorded, and can it be used?", (), ("data", "statistics")),
    *(_on_logits(spec) for spec in SPECS if spec.name in _ON_LOGITS),
)
# Pages on a dual encoder: beside the others where `clip.source` is given, alone where `data.source` is clip.
CONCEPTS = "12_clip_concepts"
CLIP_SPECS = (
    Spec(CLIP_MODEL, "A tiny dual encoder, taught on the profile's own pictures", (), ("clip",)),
    Spec(CLIP_EMBEDDINGS, "Pictures of the dual encoder's pages and their embeddings", (CLIP_MODEL,), ("clip",)),
    Spec(
        CLIP_ANSWERS,
        "CLIP's zero-shot answers to pictures, their changed views and questions",
        (CLIP_EMBEDDINGS,),
        ("clip", "clip_policy"),
    ),
    Spec(
        "07_calibration-clip",
        "Can CLIP's probabilities be believed?",
        (CLIP_ANSWERS,),
        ("calibrate", "policy", "statistics"),
    ),
    Spec(
        "08_policy-clip",
        "When may CLIP act alone?",
        (CLIP_ANSWERS, "07_calibration-clip"),
        ("calibrate", "policy", "statistics"),
    ),
    Spec(
        "10_clip_probes",
        "What do CLIP's embeddings and similarities encode?",
        (CLIP_EMBEDDINGS,),
        ("clip", "statistics"),
    ),
    Spec(
        "11_clip_robustness",
        "Which visual factors, shifts and tasks break it?",
        (CLIP_EMBEDDINGS,),
        ("clip", "clip_robustness", "calibrate", "statistics"),
    ),
    Spec(
        CONCEPTS,
        "Which concepts do CLIP's two encoders share?",
        (CLIP_EMBEDDINGS,),
        ("clip", "concepts", "statistics"),
    ),
)
JUDGING = frozenset(notebook_of(spec.name) for spec in CLIP_SPECS if source_of(spec.name) != MODEL)
ALL_NAMES = tuple(dict.fromkeys(spec.name for spec in (*SPECS, *RECORDED_SPECS, *CLIP_SPECS)))


def judged(params: Params, name: str) -> Params:
    """The parameters as a stage sees them: those about another source's classes take the place of the profile's own."""
    return params.about_clip() if source_of(name) == CLIP else params


def specs_for(params: Params) -> tuple[Spec, ...]:
    """The stages of a profile in reading order; its source decides which there are."""
    if params.data.source == "clip":
        return _clip_specs(params)
    if params.data.source != "recorded":
        return (*SPECS[:-1], *_clip_specs(params), SPECS[-1])
    has_independent = bool(params.data.recorded.independent)
    return tuple(spec for spec in RECORDED_SPECS if has_independent or spec.name != "09_independent_set")


def _clip_specs(params: Params) -> tuple[Spec, ...]:
    """Stages of the dual encoder: none without a source; one is taught, and concepts shown, where parameters say so."""
    if params.clip.source is None:
        return ()
    apart = set() if params.clip.preset == "trained" else {CLIP_MODEL}
    if params.clip.source != "digits" and not params.concepts.bank:
        apart.add(CONCEPTS)
    rest = [replace(spec, needs=tuple(need for need in spec.needs if need not in apart)) for spec in CLIP_SPECS]
    return tuple(spec for spec in rest if spec.name not in apart)


def index_text(params: Params) -> str:
    """File of the index's opening text beside the notebooks; saved logits and the dual encoder have their own."""
    own = {"recorded": "index_recorded.md", "clip": "index_clip.md"}
    return own.get(params.data.source, "index.md")


class StageParameters(BaseModel):
    """The `parameters` cell of every notebook but the trial's: literals only."""

    model_config = ConfigDict(extra="forbid", strict=True)
    profile: str = "digits"


class JudgingStageParameters(StageParameters):
    """The `parameters` cell of a notebook that can judge the predictions of several sources."""

    source: Literal["model", "clip"] = "model"


class TrialStageParameters(StageParameters):
    """The `parameters` cell of the notebook that runs once per trial and seed."""

    trial: str = "frozen"
    seed: int = 11


def parameter_model(notebook: str) -> type[StageParameters]:
    """The model that a notebook's `parameters` cell must agree with."""
    if notebook == TRIAL_STAGE:
        return TrialStageParameters
    return JudgingStageParameters if notebook in JUDGING else StageParameters


def spec(name: str, params: Params | None = None) -> Spec:
    """The declaration of a stage, in the list of a profile or else in the longest one.

    Raises
    ------
    KeyError
        If there is no such stage.
    """
    known = {spec.name: spec for spec in ((*SPECS, *CLIP_SPECS) if params is None else specs_for(params))}
    if name not in known:
        raise KeyError(f"no stage is called {name!r}; there are {list(known)}")
    return known[name]


def instance(trial: str | None, seed: int | None) -> str:
    """Folder name of one trial's run with one seed, "" for a stage that runs once."""
    return "" if trial is None else f"{trial}-s{seed}"


def folder(profile: str, name: str, trial: str | None = None, seed: int | None = None) -> Path:
    """Folder of one execution of a stage."""
    parts = (instance(trial, seed),) if trial else ()
    return paths.stage_dir(profile, name, *parts)


def shard_folder(k: int | str, n: int) -> str:
    """Where shard k of n (counted from 0) of the features is, within the profile's folder."""
    return f"feature_shards/{k}-of-{n}"


def runs(params: Params) -> list[tuple[str, int]]:
    """(trial, seed) of every training run; a control, which nobody ranks, runs with the first `n_control_seeds` only.

    Saved logits, and CLIP's, count as one run.
    """
    if params.data.source in ("recorded", CLIP):
        return [RECORDED_RUN]
    training = params.training
    n_seeds = {"control": training.n_control_seeds, "candidate": len(training.seeds)}
    return [(trial.name, seed) for trial in training.trials for seed in training.seeds[: n_seeds[trial.role]]]


def plans(params: Params) -> list[tuple[int, int]]:
    """Distinct (vision_blocks, text_blocks) that features are needed for, the warm-up's (0, 0) included."""
    return sorted({(0, 0), *((trial.vision_blocks, trial.text_blocks) for trial in params.training.trials)})


def views(params: Params) -> list[tuple[int, int]]:
    """Augmented views of the training images that features are needed for: (vision_blocks, views) of each depth."""
    depths = sorted({trial.vision_blocks for trial in params.training.trials if trial.views})
    trials = params.training.trials
    return [(depth, max(trial.views for trial in trials if trial.vision_blocks == depth)) for depth in depths]


def resolved(params: Params, name: str, trial: str | None = None, seed: int | None = None) -> dict[str, Any]:
    """The parameters that a stage depends on, as JSON-like values; a change of anything else does not re-run it.

    Presets in a folder stand with the hash of their files, so that a rebuilt one re-runs what it fed. The warm-up and a
    trial do not depend on the list of trials.
    """
    params = judged(params, name)
    content = params.as_dict()
    chosen: dict[str, Any] = {}
    for section in spec(name, params).sections:
        if section == "plans":
            chosen["plans"] = plans(params)
        elif section == "views":
            chosen |= _views(params, content)
        elif section == "trial":
            chosen["trial"] = {**params.trial(str(trial)).model_dump(mode="json"), "seed": seed}
        else:
            chosen[section] = content[section]
    if "clip" in chosen:
        chosen["clip"] = _clip(params, content)
    if name == RECORDED:
        chosen["files"] = _recorded_files(params)
    if "training" in chosen:
        apart = _without_effect(params, name, trial)
        chosen["training"] = {key: value for key, value in chosen["training"].items() if key not in apart}
    if "model" in chosen:
        named = (params.model.vision_preset, params.model.text_preset)
        folders = {preset: paths.preset_folder(preset) for preset in named}
        chosen["presets"] = {preset: sha256_tree(found) for preset, found in folders.items() if found is not None}
    return chosen


def _recorded_files(params: Params) -> dict[str, str]:
    """Hashes of the files of saved logits, so that a changed file re-runs what it feeds; "" where one is missing."""
    own = params.data.recorded
    found = {name: paths.data_file(name) for name in (own.val, own.test, own.independent, own.human_counts) if name}
    return {name: "" if path is None else sha256_file(path) for name, path in found.items()}


def _clip(params: Params, content: dict[str, Any]) -> dict[str, Any]:
    """What the dual encoder's results depend on: a preset in a folder with its hash, without batch and threads."""
    folder = paths.preset_folder(params.clip.preset)
    own = {key: value for key, value in content["clip"].items() if key not in ("batch", "threads")}
    return own | ({"weights": sha256_tree(folder)} if folder is not None else {})


def _views(params: Params, content: dict[str, Any]) -> dict[str, Any]:
    """The views to encode and how they are made; nothing where no trial is augmented."""
    wanted = views(params)
    return {"views": wanted, "photometric": content["training"]["photometric"]} if wanted else {}


def _without_effect(params: Params, name: str, trial: str | None) -> set[str]:
    """Entries of the training section that a stage's result does not depend on."""
    apart = {"trials", "seeds", "n_control_seeds"} if name in (WARMUP_STAGE, TRIAL_STAGE) else set()
    shown = (params.trial(trial),) if trial else () if name == WARMUP_STAGE else params.training.trials
    return apart if any(one.views for one in shown) else apart | {"photometric"}


def _module_file(module: str) -> Path | None:
    base = paths.LIBRARY.parent.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.lru_cache(maxsize=2048)
def _imported(source: str) -> frozenset[str]:
    """Modules of the package that a source imports, the packages that hold them included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    own = [name.split(".") for name in found if name.split(".")[0] == "verdict"]
    return frozenset(".".join(parts[:depth]) for parts in own for depth in range(1, len(parts) + 1))


def library_files(sources: Iterable[str]) -> list[Path]:
    """The package's files that some Python sources import, directly or through each other, sorted."""
    files: set[Path] = set()
    todo = set().union(*map(_imported, sources))
    while todo:
        file = _module_file(todo.pop())
        if file is not None and file not in files:
            files.add(file)
            todo |= _imported(file.read_text(encoding="utf-8"))
    return sorted(files)


def code_cells(notebook: Path) -> list[str]:
    """Sources of a notebook's code cells, in order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def code_digest(name: str) -> str:
    """Hash of the code behind a stage: its notebook's code cells, the package's files they import, tables beside."""
    notebook = paths.NOTEBOOKS / f"{notebook_of(name)}.ipynb"
    own = {SIGNALS: "verdict.probe", **{stage: module for stage, (module, _) in RUNNERS.items()}}
    without = [f"import {own.get(name, 'verdict.features')}, verdict.run"]
    sources = code_cells(notebook) if notebook.is_file() else without
    code = library_files(sources)
    tables = sorted(table for folder in {file.parent for file in code} for table in folder.glob("*.csv"))
    hashes = {file.relative_to(paths.LIBRARY).as_posix(): sha256_bytes(file.read_bytes()) for file in (*code, *tables)}
    return content_hash([sources, hashes])


def page_files() -> list[Path]:
    """What a page is made with besides code: templates, style, scripts and the reviewers' rubric, sorted."""
    made = [path for path in (paths.LIBRARY / "report").iterdir() if path.suffix in (".html", ".css", ".js")]
    return sorted([*made, *paths.PARAMS.glob("rubric.yaml")])


class _Sections:
    """The parameter sections that a stage declares; any other is refused, so that nothing can go stale unseen."""

    def __init__(self, params: Params, declared: Spec):
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
    numbers: Numbers = field(default_factory=Numbers)
    claims: list[Claim] = field(default_factory=list)
    _inputs: set[Path] = field(default_factory=set)
    _verified: dict[Path, dict[str, Any]] = field(default_factory=dict)

    @property
    def params(self) -> Any:
        """The declared parameter sections, as attributes."""
        return _Sections(self._params, spec(self.name, self._params))

    @property
    def all_params(self) -> Params:
        """The whole set, for functions that list the runs.

        Sections that a stage does not declare are not for its results.
        """
        return self._params

    @property
    def trial(self) -> TrialParams:
        """The trial that this execution runs."""
        return self._params.trial(str(self.trial_name))

    def rng(self, *key: int) -> np.random.Generator:
        """A generator for resampling, seeded by the parameters and a key."""
        return np.random.default_rng([self._params.statistics.seed, *key])

    def provenance(self) -> str:
        """One line that says what this is."""
        what = f"{self.name} {instance(self.trial_name, self.seed)}".strip()
        return f"{what} · profile {self.profile} · parameters {self._params.hash}"

    def path(self, file: str) -> Path:
        """Where this stage writes a file."""
        return self.folder / file

    def upstream(self, name: str, file: str, trial: str | None = None, seed: int | None = None) -> Path:
        """A file of an upstream stage, verified against that stage's record.

        Raises
        ------
        KeyError
            If this stage does not declare that it needs the other.
        FileNotFoundError, StaleResultError
            If the other has not run, or its files were changed afterwards.
        """
        if self.source != MODEL and f"{name}-{self.source}" in spec(self.name, self._params).needs:
            name = f"{name}-{self.source}"
        is_parent_trial = name == self.name == TRIAL_STAGE and trial == self.trial.parent
        if name not in spec(self.name, self._params).needs and not is_parent_trial:
            raise KeyError(f"{self.name} does not declare that it needs {name}")
        source = folder(self.profile, name, trial, seed)
        if source not in self._verified:
            self._verified[source] = verify_outputs(source)
            self._inputs.add(source / "run.json")
        path = source / file
        if relative(path) not in self._verified[source]["outputs"]:
            raise FileNotFoundError(
                f"{relative(path)} is not an output of {name}: {sorted(self._verified[source]['outputs'])}"
            )
        return path

    def record(self, name: str, trial: str | None = None, seed: int | None = None) -> dict[str, Any]:
        """An upstream stage's record, its outputs verified."""
        self.upstream(name, "numbers.json", trial, seed)
        return self._verified[folder(self.profile, name, trial, seed)]

    def upstream_folder(self, name: str, trial: str | None = None, seed: int | None = None) -> Path:
        """Folder of an upstream stage, all of its outputs verified."""
        self.upstream(name, "numbers.json", trial, seed)
        return folder(self.profile, name, trial, seed)

    def shards(self, n: int) -> list[Path]:
        """Folders of the n shards of the features in their order, all of their outputs verified; none for n = 1."""
        folders = [paths.stage_dir(self.profile, shard_folder(k, n)) for k in range(n)] if n > 1 else []
        for source in folders:
            self._verified[source] = verify_outputs(source)
            self._inputs.add(source / "run.json")
        return folders

    @property
    def source(self) -> str:
        """Whose predictions this stage judges: `MODEL` for the profile's own, `CLIP`."""
        return source_of(self.name)

    @property
    def given(self) -> str:
        """The stage that holds predictions which no trial made: saved logits, or CLIP's; "" where trials made them."""
        if self.source == CLIP:
            return CLIP_ANSWERS
        return RECORDED if self._params.data.source == "recorded" else ""

    @property
    def is_recorded(self) -> bool:
        """Whether predictions are given: saved logits or CLIP's, without trials, features or weights of this report."""
        return bool(self.given)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids."""
        if self.given == CLIP_ANSWERS:
            return tuple(pd.read_parquet(self.upstream(CLIP_ANSWERS, "classes.parquet"))["name"])
        return self._params.data.classes

    def pairs(self, *splits: str) -> pd.DataFrame:
        """The pair table, of some splits or of all, with a fresh index."""
        return _of_splits(pd.read_parquet(self.upstream(self.given or "01_data", "pairs.parquet")), splits)

    def predictions(self, *splits: str, trial: str, seed: int) -> pd.DataFrame:
        """A training run's prediction table, of some splits or of all."""
        source = (self.given, None, None) if self.given else (TRIAL_STAGE, trial, seed)
        return _of_splits(pd.read_parquet(self.upstream(source[0], "predictions.parquet", *source[1:])), splits)

    def answers(self, kind: str, *splits: str) -> pd.DataFrame | None:
        """What else was asked of the kept model: `VIEWS` of each image, `QUESTIONS` about each pair.

        Returns
        -------
        DataFrame or None
            pair_id, split, logits, and the view, or the question with what each class should answer; None where the
            profile's source has nothing to ask.
        """
        asked = CLIP_ANSWERS if self.given == CLIP_ANSWERS else SIGNALS
        if asked not in spec(self.name, self._params).needs:
            return None
        return _of_splits(pd.read_parquet(self.upstream(asked, f"{kind}.parquet")), splits)

    def upstream_numbers(self, name: str) -> Numbers:
        """Numbers of an upstream stage that runs once."""
        return Numbers.load(self.upstream(name, "numbers.json"))

    def claim(self, id: str, statement: str, number: str, comparison: str, bound: float) -> Claim:
        """Record a claim about one of this stage's numbers."""
        claim = evaluate_claim(
            self.numbers, id=id, statement=statement, number=number, comparison=comparison, bound=bound
        )
        self.claims.append(claim)
        return claim

    def number(self, name: str, value: float, **fields: Any) -> Number:
        """Record a number that has no interval (a count, a setting, a time)."""
        self.numbers[name] = Number(float(value), **fields)
        return self.numbers[name]

    @property
    def threads(self) -> int:
        """Threads of the numerical backend; where a stage runs never changes what it means."""
        return self._params.execution.threads

    def progress(self, text: str) -> None:
        """Tell the person who waits how far this stage has come."""
        progress(text)

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one table as `<name>.parquet` in this stage's folder."""
        write_parquet(self.path(f"{name}.parquet"), table)

    def save(self, **tables: pd.DataFrame) -> None:
        """Write numbers, claims, the list of inputs, and tables as `<name>.parquet`: a notebook's only write."""
        for name, table in tables.items():
            self.save_table(name, table)
        self.numbers.save(self.path("numbers.json"))
        write_json(self.path("claims.json"), [asdict(claim) for claim in self.claims])
        write_json(self.path("inputs.json"), sorted(relative(path) for path in self._inputs))


def _of_splits(table: pd.DataFrame, splits: tuple[str, ...]) -> pd.DataFrame:
    chosen = table[table["split"].isin(splits)] if splits else table
    return chosen.reset_index(drop=True)


def open_stage(
    name: str, profile: str, *, trial: str | None = None, seed: int | None = None, source: str = MODEL
) -> Stage:
    """Open a stage in its notebook; `source` says whose predictions it judges.

    Run by the driver it writes where the driver says; run by hand it writes to `work/<profile>/scratch/`, so that
    trying something out cannot pass for a result.
    """
    params = load_params(profile)
    if trial is not None:
        params.trial(trial)
    name = name if source == MODEL else f"{name}-{source}"
    params = judged(params, name)
    home = os.environ.get("VERDICT_STAGE_DIR")
    scratch = paths.stage_dir(profile, "scratch", name, *([instance(trial, seed)] if trial else []))
    return Stage(spec(name, params).name, profile, trial, seed, Path(home) if home else scratch, params)


def progress(text: str) -> None:
    """Tell the driver, and through it the person who waits, how far a stage has come."""
    target = os.environ.get("VERDICT_PROGRESS")
    if target:
        # On a full disk the stage goes on to its own writes, whose error says what is needed.
        with contextlib.suppress(OSError), Path(target).open("a", encoding="utf-8") as file:
            file.write(text.replace("\n", " ") + "\n")


def finished(profile: str, name: str, trial: str | None = None, seed: int | None = None) -> bool:
    """Whether a stage's record is there."""
    try:
        read_run(folder(profile, name, trial, seed))
    except (FileNotFoundError, ValueError):
        return False
    return True
