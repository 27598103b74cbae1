"""Which stages a report has, in reading order: what each may read, how often it runs, and where its results are.

A stage is one notebook, executed once or once a run, or a function without a notebook. It is declared here, once; the
Snakefile, the driver and the report all read it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from verdict import paths
from verdict.artifacts import read_run
from verdict.params import Params


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
# Tables of what else was asked of the model that is kept.
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
            SIGNALS,
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
        ("clip", "calibrate", "statistics"),
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


def specs_for(params: Params) -> tuple[Spec, ...]:
    """The stages of a profile in reading order; its source decides which there are."""
    if params.data.source == "clip":
        return _clip_specs(params)
    if params.data.source != "recorded":
        # The last page speaks of the report: it counts what the index counts, and reads every other stage.
        others = (*SPECS[:-1], *_clip_specs(params))
        return (*others, replace(SPECS[-1], needs=tuple(spec.name for spec in others)))
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


def instances(params: Params, name: str) -> list[tuple[str, int]] | list[tuple[None, None]]:
    """(trial, seed) of every execution of a stage, in order; (None, None) alone for a stage that runs once."""
    return runs(params) if name == TRIAL_STAGE else [(None, None)]


def executions(params: Params) -> list[tuple[str, str | None, int | None]]:
    """(stage, trial, seed) of everything that a report executes, in reading order."""
    return [(spec.name, *one) for spec in specs_for(params) for one in instances(params, spec.name)]


def plans(params: Params) -> list[tuple[int, int]]:
    """Distinct (vision_blocks, text_blocks) that features are needed for, the warm-up's (0, 0) included."""
    return sorted({(0, 0), *((trial.vision_blocks, trial.text_blocks) for trial in params.training.trials)})


def views(params: Params) -> list[tuple[int, int]]:
    """Augmented views of the training images that features are needed for: (vision_blocks, views) of each depth."""
    depths = sorted({trial.vision_blocks for trial in params.training.trials if trial.views})
    trials = params.training.trials
    return [(depth, max(trial.views for trial in trials if trial.vision_blocks == depth)) for depth in depths]


def finished(profile: str, name: str, trial: str | None = None, seed: int | None = None) -> bool:
    """Whether a stage's record is there."""
    try:
        read_run(folder(profile, name, trial, seed))
    except (FileNotFoundError, ValueError):
        return False
    return True
