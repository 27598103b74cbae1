"""Which stages a report has, in reading order: what each may read, how often it runs, and where its results are.

A stage is one notebook, executed once or once a run, or a function without a notebook, as `declarations` says; the
Snakefile, the driver and the report all read it here.
"""

import re
from dataclasses import replace
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import content_hash, read_run, relative
from verdict.base.parameter_files import nearest
from verdict.base.params import Params
from verdict.workflow.declarations import CLIP_SPECS, MONITOR_SPEC, RECORDED_SPEC, SPECS, Spec

WARMUP_STAGE = "02_warmup"
TRIAL_STAGE = "03_staged_unfreezing"
FEATURES = "features"
SIGNALS = "signals"
# Predictions that the pages on calibration and policy judge: the profile's own ("model"), or CLIP's.
MODEL, CLIP = "model", "clip"
CLIP_MODEL, CLIP_EMBEDDINGS, CLIP_ANSWERS = "clip_model", "clip_embeddings", "clip_answers"
# What runs a stage without a notebook: a function of the stage, imported by whoever runs it alone.
RUNNERS = {
    FEATURES: ("verdict.model.features", "encode_pairs"),
    SIGNALS: ("verdict.model.ask", "probe"),
    CLIP_MODEL: ("verdict.clip.encoder.own_model", "teach"),
    CLIP_EMBEDDINGS: ("verdict.clip.encoder.embeddings", "embed"),
    CLIP_ANSWERS: ("verdict.clip.encoder.answers", "answer"),
}
WITHOUT_NOTEBOOK = frozenset(RUNNERS)
# What trains one seed of a trial ahead of it, where `execution.seeds_apart` gives each a job of its own.
SEED_RUNNER = ("verdict.model.trials", "train_ahead")
# Tables of further answers of the kept model.
VIEWS, QUESTIONS, DISTANCES = "views", "questions", "distances"


def notebook_of(name: str) -> str:
    """Stem of the notebook that a stage executes."""
    return name.removesuffix(f"-{CLIP}")


def in_words(name: str) -> str:
    """A stage as readers call it: without number and underscores."""
    notebook, source = notebook_of(name), source_of(name)
    head, _, rest = notebook.partition("_")
    words = (rest if head.isdigit() and rest else notebook).replace("_", " ")
    return words if source == MODEL else f"{words}, {source.upper()}"


def source_of(name: str) -> str:
    """Whose predictions a stage judges: `MODEL`, or the source that its name ends with."""
    return CLIP if name.endswith(f"-{CLIP}") else MODEL


def rule_name(name: str) -> str:
    """How the workflow calls a stage: letters, digits and underscores, whatever the stage's name holds."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    is_plain = word in (name, f"{notebook_of(name)}_{source_of(name)}")
    return f"stage_{word}" if is_plain else f"stage_{word}_{content_hash(name)[:6]}"


UNDECLARED = "no stage of lib/verdict/workflow/declarations.py executes it"
RECORDED, MONITOR = RECORDED_SPEC.name, MONITOR_SPEC.name
RECORDED_RUN = ("recorded", 0)
TEST, ELSEWHERE = "05_test", "09_independent_set"
CONCEPTS = "12_clip_concepts"
REPRODUCIBILITY = "13_reproducibility"
_ON_LOGITS = (TEST, "07_calibration", "08_policy", "08_with_people", ELSEWHERE, REPRODUCIBILITY)


def _on_logits(spec: Spec) -> Spec:
    """A stage that needs predictions alone, fed from saved logits: without a model."""
    needs = (RECORDED, *(need for need in spec.needs if need in _ON_LOGITS))
    sections = tuple(name for name in spec.sections if name not in ("model", "training"))
    return replace(spec, needs=needs, sections=sections)


# What is given has no features or training: a shorter list of stages, with the same notebooks.
RECORDED_SPECS = (RECORDED_SPEC, *(_on_logits(spec) for spec in SPECS if spec.name in _ON_LOGITS))
JUDGING = frozenset(notebook_of(spec.name) for spec in CLIP_SPECS if source_of(spec.name) != MODEL)
# Stages that take long (training, and whatever has no notebook), and all whose results they are made from.
LASTING = {*WITHOUT_NOTEBOOK, WARMUP_STAGE, TRIAL_STAGE}
for _spec in reversed((*SPECS, *CLIP_SPECS)):
    LASTING |= set(_spec.needs) if _spec.name in LASTING else set()
ALL_NAMES = tuple(dict.fromkeys(spec.name for spec in (*SPECS, *RECORDED_SPECS, *CLIP_SPECS)))


def specs_for(params: Params) -> tuple[Spec, ...]:
    """The stages of a profile in reading order; its source decides which there are. One page speaks of the report: it
    counts what the index counts, and reads every stage before it.
    """
    if params.data.source == "clip":
        return _clip_specs(params)
    if params.data.is_given:
        # What is known of a table of answers, such as rows of another distribution, the table says.
        apart = {TEST} if params.data.source == "recorded" else set()
        apart |= {ELSEWHERE} if apart and not params.data.recorded.independent else set()
        found = [spec for spec in RECORDED_SPECS if spec.name not in apart]
    else:
        last = next((k for k, spec in enumerate(SPECS) if spec.name == REPRODUCIBILITY), len(SPECS))
        found = [*SPECS[:last], *_clip_specs(params), *SPECS[last:]]
    names = [spec.name for spec in found]
    return tuple(
        replace(spec, needs=tuple(names[:place])) if spec.name == REPRODUCIBILITY else spec
        for place, spec in enumerate(found)
    )


def _clip_specs(params: Params) -> tuple[Spec, ...]:
    """Stages of the dual encoder: none without a source; one is taught, and concepts shown, where parameters say so."""
    if params.clip.source is None:
        return ()
    apart = set() if params.clip.preset == "trained" else {CLIP_MODEL}
    if params.clip.source != "digits" and not params.concepts.bank:
        apart.add(CONCEPTS)
    rest = [replace(spec, needs=tuple(need for need in spec.needs if need not in apart)) for spec in CLIP_SPECS]
    return tuple(spec for spec in rest if spec.name not in apart)


def undeclared() -> list[str]:
    """Stems of the numbered notebooks that no declaration names: no report executes them."""
    numbered = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb") if path.stem[:1].isdigit()}
    return sorted(numbered - {notebook_of(name) for name in ALL_NAMES})


def faults(params: Params) -> list[str]:
    """What is wrong with the declarations of a profile's stages, a sentence each; nothing can run before that."""
    sections = [*Params.model_fields, "plans", "views", "trial"]
    found, known = [], []
    for declared in specs_for(params):
        name = declared.name
        notebook = paths.NOTEBOOKS / f"{notebook_of(name)}.ipynb"
        if name in known:
            found.append(f"{name} is declared twice")
        if name not in WITHOUT_NOTEBOOK and not notebook.is_file():
            found.append(f"{name} is declared, and {relative(notebook)} does not exist")
        needs = (declared.needs, known, "stage above it")
        reads = (declared.sections, sections, "section of parameters")
        for words, allowed, what in (needs, reads):
            unknown = [word for word in words if word not in allowed]
            found += [f"{name} names {word!r}, which is no {what}{nearest(word, allowed)}" for word in unknown]
        known.append(name)
    return [f"lib/verdict/workflow/declarations.py: {text}" for text in found]


def index_text(params: Params) -> str:
    """File of the index's opening text beside the notebooks; saved logits and the dual encoder have their own."""
    own = {"recorded": "index_recorded.md", "answers": "index_recorded.md", CLIP: "index_clip.md"}
    return own.get(params.data.source, "index.md")


def spec(name: str, params: Params | None = None) -> Spec:
    """The declaration of a stage, in the list of a profile or else in the longest one; a KeyError for no stage."""
    listed = (*SPECS, *CLIP_SPECS) if params is None else specs_for(params)
    known = {spec.name: spec for spec in (*listed, MONITOR_SPEC)}
    if name not in known:
        raise KeyError(f"no stage is called {name!r}; there are {list(known)}")
    return known[name]


def page(name: str, trial: str | None = None) -> str:
    """Stem of the page of one execution of a stage."""
    return f"{name}-{trial}" if trial else name


def label(name: str, trial: str | None = None) -> str:
    """How one execution of a stage is called in what is told."""
    return f"{name} {trial}" if trial else name


def folder(profile: str, name: str, trial: str | None = None) -> Path:
    """Folder of one execution of a stage."""
    return paths.stage_dir(profile, name, *((trial,) if trial else ()))


def weights_file(seed: int) -> str:
    """Name of the file of one seed's weights in its trial's folder."""
    return f"weights-s{seed}.npz"


def seed_folder(trial: str, seed: int | str) -> str:
    """Where a job that trains one seed of a trial ahead leaves its record, within the profile's folder."""
    return f"seeds_apart/{trial}-s{seed}"


def shard_folder(k: int | str, n: int) -> str:
    """Where shard k of n (counted from 0) of the features is, within the profile's folder."""
    return f"feature_shards/{k}-of-{n}"


def seeds(params: Params, trial: str) -> tuple[int, ...]:
    """Seeds that a trial runs with; a control, which nobody ranks, with the first `n_control_seeds` only."""
    is_control = params.trial(trial).role == "control"
    return tuple(params.training.seeds[: params.training.n_control_seeds if is_control else None])


def runs(params: Params) -> list[tuple[str, int]]:
    """(trial, seed) of every training run; each model that is given, and CLIP, counts as one."""
    if params.data.is_given:
        return [(RECORDED_RUN[0], k) for k in range(max(1, len(params.data.answers.models)))]
    if params.data.source == CLIP:
        return [RECORDED_RUN]
    return [(trial.name, seed) for trial in params.training.trials for seed in seeds(params, trial.name)]


def instances(params: Params, name: str) -> list[str] | list[None]:
    """The trials that a stage is executed for, in order; None alone for a stage that runs once."""
    return [trial.name for trial in params.training.trials] if name == TRIAL_STAGE else [None]


def executions(params: Params) -> list[tuple[str, str | None]]:
    """(stage, trial) of everything that a report executes, in reading order."""
    return [(spec.name, trial) for spec in specs_for(params) for trial in instances(params, spec.name)]


def upstream(params: Params, name: str, trial: str | None = None) -> list[tuple[str, str | None]]:
    """(stage, trial) of each execution whose results one reads; of the trials, a trial reads its parent alone."""
    if trial is None:
        return [(need, one) for need in spec(name, params).needs for one in instances(params, need)]
    parent = params.trial(trial).parent
    own = [("01_data", None), (FEATURES, None), (WARMUP_STAGE, None)]
    return own + ([] if parent == "warmup" else [(name, parent)])


def plans(params: Params) -> list[tuple[int, int]]:
    """Distinct (vision_blocks, text_blocks) that features are needed for, the warm-up's (0, 0) included."""
    return sorted({(0, 0), *((trial.vision_blocks, trial.text_blocks) for trial in params.training.trials)})


def augmented_views(params: Params) -> list[tuple[int, int]]:
    """Augmented views of the training images that features are needed for: (vision_blocks, views) of each depth."""
    depths = sorted({trial.vision_blocks for trial in params.training.trials if trial.views})
    trials = params.training.trials
    return [(depth, max(trial.views for trial in trials if trial.vision_blocks == depth)) for depth in depths]


def finished(profile: str, name: str, trial: str | None = None) -> bool:
    """Whether a stage's record is there."""
    try:
        read_run(folder(profile, name, trial))
    except (FileNotFoundError, ValueError):
        return False
    return True
