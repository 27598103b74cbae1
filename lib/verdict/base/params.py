"""Parameters: strict models, profiles over a complete base, canonical JSON and its hash.

A profile (`params/<name>.yaml`) overrides `params/base.yaml`; the result is validated as a whole before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from verdict.base import paths
from verdict.base.artifacts import content_hash
from verdict.base.labels import Split, class_names
from verdict.base.parameter_files import ParamsError, merge, nearest, read_yaml, unreadable
from verdict.base.search import SPACES, configurations

MAX_LISTED = 20
# Of an image, in pixels.
MAX_SIDE = 4096


def _must(told: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """A check of one value, whose refusal says what it must be, and what was given."""

    def check(given: Any) -> Any:
        if not holds(given):
            raise ValueError(f"must {told}, got {list(given) if isinstance(given, tuple) else given!r}")
        return given

    return AfterValidator(check)


def _all_of(*names: str) -> AfterValidator:
    """A mapping that has each of these keys."""
    return _must(f"hold each of {list(names)}", lambda given: set(names) <= set(given))


SumsToOne = _must("sum to 1", lambda shares: abs(sum(shares.values()) - 1) <= 1e-9)
Ascending = _must("go from the lowest to the highest", lambda bounds: bounds[0] <= bounds[1])
EachNamed = _must(
    f"name a word for each of {list(class_names())}", lambda words: set(words.values()) in (set(), set(class_names()))
)
AsksOnce = _must("hold {hypothesis} once, where the sentence stands", lambda text: text.count("{hypothesis}") == 1)
Confusion = _must(
    "be square, a row for each true class, each row summing to 1",
    lambda rows: all(len(row) == len(rows) and abs(sum(row) - 1) <= 1e-6 for row in rows),
)
Different = _must("all be different", lambda given: len(set(given)) == len(given))
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Accuracy = Annotated[float, Field(ge=0.5, le=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
AtLeastTwo = Annotated[int, Field(ge=2)]
AtLeastTwenty = Annotated[int, Field(ge=20)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")]
Shares = Annotated[tuple[Fraction, ...], Field(min_length=1)]
Floor = Annotated[float, Field(ge=0, lt=1)]
# The signals of `verdict.decide.signals` that can hand a case to a person.
Signal = Literal[
    "max_probability",
    "entropy_confidence",
    "ensemble_stability",
    "mean_probability",
    "view_stability",
    "conformal_confidence",
]
# One floor, or one for each signal; told apart first, so that a fault is told once.
Floors = Annotated[
    Annotated[Floor, Tag("number")] | Annotated[dict[Signal, Floor], Tag("by_signal")],
    Discriminator(lambda given: "by_signal" if isinstance(given, dict) else "number"),
]
Range = Annotated[tuple[NonNegative, NonNegative], Ascending]
Own = Literal["train", "val", "calib", "test"]
Fractions = Annotated[dict[Own, Fraction], SumsToOne]
ClassNames = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=60)], ...],
    Different,
    _must("be two or more", lambda names: len(names) != 1),
]


class Model(BaseModel):
    """Base of all parameter models: nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="after")
    def _fits_together(self) -> Model:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        """What is wrong with several values at once; the first is told."""
        yield from ()


class Archive(Model):
    """Where a public corpus comes from when there is no local copy; without a sha256 nothing is downloaded."""

    url: str
    sha256: Sha256


# The hand-written set is as it was written.
Built = Literal[*(str(split) for split in Split if split != Split.INDEPENDENT_HAND)]


class DigitsParams(Model):
    """The embedded source: scenes of handwritten digits and statements from a grammar."""

    n_pairs: Annotated[dict[Built, Annotated[int, Field(ge=8)]], _all_of(*get_args(Built))]
    pairs_per_scene: Count


class NlvrParams(Archive):
    """The Cornell NLVR corpus, from a local copy or by URL."""

    files: tuple[Literal["train", "dev", "test"], ...] | None
    fractions: Annotated[dict[Literal["train", "val", "calib"], Fraction], SumsToOne, _all_of("train", "val", "calib")]
    image_px: tuple[Side, Side]
    permutations: Annotated[int, Field(ge=1, le=6)]
    n_warmup: Count
    n_scenes: CountOrNone


class CsvParams(Model):
    """The user's own pairs: a CSV or JSONL table and a folder of images; `labels` says what the table's words for the
    labels mean, where they are others than the names, yes and no, or true and false.
    """

    table: str
    images: str
    labels: Annotated[dict[str, Literal["entailment", "contradiction"]], EachNamed]
    fractions: Fractions | None
    allow_missing_images: bool


class A2Params(Model):
    """The study's own set: JSON lines and a folder of images, inside `$VERDICT_DATA/a2` unless paths are whole;
    `calib_fraction` of the images of the published train split calibrate.
    """

    table: str
    images: str
    independent: str | None
    calib_fraction: Fraction
    warmup: Literal["snli_ve"] | None
    allow_missing_images: bool
    allow_damaged_images: bool
    allow_repeats: bool


class ShardParams(Archive):
    """One parquet shard to download: nothing is downloaded without the hash that it must have."""

    split: Literal["train", "validation"]


class SnliVeParams(Model):
    """The warm-up corpus, from `$VERDICT_DATA/snli_ve` or by URL; `n_val: null` validates on all of its validation."""

    shards: tuple[ShardParams, ...]
    n_train: Annotated[int, Field(ge=2, multiple_of=2)]
    n_val: Annotated[int, Field(ge=2, multiple_of=2)] | None


class RecordedParams(Model):
    """Saved logits of anybody's classifier: files (npz or CSV), "" where there is none.

    `val` calibrates, `test` judges, `independent` is another distribution. `human_counts` holds people's answers to the
    rows of `test`; `group` names the array or column of the independent unit, "" where each row is one.
    """

    val: str
    test: str
    independent: str
    human_counts: str
    class_names: ClassNames
    group: str
    allow_small: bool
    tuning_share: Fraction


class AskedParams(Model):
    """The model that is asked for answers, `batch` pairs together: `hub`, an id with its `revision` (a commit) or a
    folder, "" for none. `{hypothesis}` in the prompt is the sentence.
    """

    hub: str
    revision: Commit
    prompt: Annotated[str, Field(max_length=4000), AsksOnce]
    batch: Count


class AnswersParams(Model):
    """What anybody's model said of pairs: one table, the folder of the images, and an npz of what the model saw of
    each pair; "" where there is none.

    `classes` are named by id, none being entailment and contradiction; `form` is found where it is auto. `columns` maps
    a known name to the table's own. Of several `models` the first is judged. `fractions` divide the groups where there
    is no column split; rows dated `independent_from` or later are another distribution. `worth_share` of calib's groups
    tell how often a bare answer of each class is right. Where a `model` is asked, the table says nothing of one.
    """

    table: str
    images: str
    features: str
    model: AskedParams
    classes: ClassNames
    form: Literal["auto", "logits", "log_probs", "top_k", "probs", "samples", "answer"]
    columns: dict[str, str]
    models: Annotated[tuple[Text, ...], Different]
    fractions: Annotated[dict[Literal["calib", "test"], Fraction], SumsToOne, _all_of("calib", "test")]
    independent_from: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]
    smallest_prob: Annotated[float, Field(ge=1e-300, le=0.01)]
    tuning_share: Fraction
    worth_share: Fraction
    allow_small: bool
    allow_missing_images: bool

    def _faults(self) -> Iterator[str]:
        if self.model.hub:
            apart = {"classes": (), "models": (), "form": "auto", "allow_missing_images": False}
            if own := [name for name, default in apart.items() if getattr(self, name) != default]:
                yield f"the model that is asked (model.hub) says yes or no of every image: leave out {own}"
            if not self.images:
                yield "the model that is asked (model.hub) needs images, the folder of the images"


class DataParams(Model):
    """Which pairs, and how they are divided."""

    source: Literal["digits", "nlvr", "csv", "a2", "recorded", "answers", "clip"]
    seed: Seed
    digits: DigitsParams
    nlvr: NlvrParams
    csv: CsvParams
    a2: A2Params
    snli_ve: SnliVeParams
    recorded: RecordedParams
    answers: AnswersParams

    def _faults(self) -> Iterator[str]:
        needed = {
            "recorded": {"val": "logits to tune on", "test": "logits to judge", "class_names": "the classes in order"},
            "csv": {"table": "a file of pairs", "images": "the folder of their images"},
            "answers": {"table": "a file of pairs and of what a model said of them"},
        }.get(self.source, {})
        given = getattr(self, self.source, None)
        if missing := [f"{self.source}.{name}, {what}" for name, what in needed.items() if not getattr(given, name)]:
            yield f"source {self.source} needs {', and '.join(missing)}"

    @property
    def own_files(self) -> tuple[str, ...]:
        """Files and folders that the user's own data are read from; none where they are a study's."""
        own = self.recorded
        named = {"csv": (self.csv.table, self.csv.images)}
        named["recorded"] = (own.val, own.test, own.independent, own.human_counts)
        said = self.answers
        named["answers"] = (said.table, said.images, said.features, said.model.hub)
        return tuple(filter(None, named.get(self.source, ())))

    @property
    def is_own(self) -> bool:
        """Whether the data are the user's own: no study printed anything of them, nor set them a target."""
        return self.is_given or self.source == "csv"

    @property
    def is_given(self) -> bool:
        """Whether what some model said is read, so that nothing is trained."""
        return self.source in ("recorded", "answers")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids."""
        named = {"recorded": self.recorded.class_names, "answers": self.answers.classes}
        return named.get(self.source, ()) or class_names()


class ModelParams(Model):
    """The cross-attention entailment network; a preset is a name, or a folder in keras-hub preset format."""

    backend: Literal["torch", "tensorflow"] = "torch"
    vision_preset: str
    text_preset: str
    sequence_length: Annotated[int, Field(ge=4, le=512)]
    heads: Count
    key_dim: Count
    mlp_dim: Count
    feature_dtype: Literal["float32", "float16"] = "float32"


class FitParams(Model):
    """How one configuration is fitted."""

    learning_rate: LearningRate
    weight_decay: Share
    dropout: Annotated[float, Field(ge=0, lt=1)]
    epochs: Count
    patience: Count
    schedule: Literal["constant", "cosine"]


class AugmentedViewsParams(Model):
    """Which views of the training images an epoch shows: the plain ones, or one of `views` augmented ones of each."""

    augment: Literal["none", "photometric"] = "none"
    views: Annotated[int, Field(ge=0, le=64)] = 0

    def _faults(self) -> Iterator[str]:
        if (self.augment == "none") != (self.views == 0):
            told = "contradict each other: augmented training takes one view of each image or more, plain training none"
            yield f"augment: {self.augment} and views: {self.views} {told}"


class TrialParams(AugmentedViewsParams, FitParams):
    """One configuration of the search: what it starts from, what it trains, what it is shown, and how.

    Blank images are zero features (the hypothesis-only control), blank texts are empty (the image-only control).
    `oversample` says how often pairs of a bucket count: a value of the pair table's `family`, or one of the ten
    semantic buckets of words where no family has that name.
    """

    name: Name
    parent: Name
    vision_blocks: CountOrNone
    text_blocks: CountOrNone
    image: Literal["shown", "blank"] = "shown"
    text: Literal["shown", "blank"] = "shown"
    oversample: dict[str, Annotated[float, Field(ge=1)]] = {}
    role: Literal["candidate", "control"] = "candidate"

    def _faults(self) -> Iterator[str]:
        yield from super()._faults()
        if self.role == "candidate" and "blank" in (self.image, self.text):
            yield f"trial {self.name!r} does not see the whole pair: give it role: control"


class PhotometricParams(Model):
    """How far a photometric view may lie from its image, whose values lie in [0, 1]; geometry is left alone.

    Brightness is added, either way; contrast and saturation multiply; hue turns by up to a share of the circle;
    Gaussian noise is added. All are drawn uniformly but the noise.
    """

    brightness: Share
    contrast: Range
    saturation: Range
    hue: Annotated[float, Field(ge=0, le=0.5)]
    noise_sd: Share
    seed: Seed


class SearchParams(AugmentedViewsParams):
    """Configurations drawn at random, which become ordinary trials `<prefix>_01` on when parameters are loaded;
    `learning_rate` and `text_blocks` replace these axes of the sound space.
    """

    space: Literal["sound", "published_text", "published_vision"]
    n: Annotated[int, Field(ge=1, le=99)]
    prefix: Name
    parent: Name
    epochs: Count
    patience: Count
    seed: Seed
    vision_blocks: CountOrNone
    schedule: Literal["constant", "cosine"] = "cosine"
    learning_rate: Annotated[tuple[Positive, Positive], Ascending] | None = None
    text_blocks: Annotated[tuple[CountOrNone, ...], Field(min_length=1)] | None = None

    def _faults(self) -> Iterator[str]:
        yield from super()._faults()
        depth = SPACES[self.space][1]
        if depth is not None and self.vision_blocks != depth:
            yield f"the space {self.space} trains {depth} blocks of vision, got {self.vision_blocks}"
        if depth is not None and (self.learning_rate is not None or self.text_blocks is not None):
            yield f"the space {self.space} is the published one: only sound has axes to replace"

    def trials(self) -> list[dict[str, Any]]:
        """The drawn trials, as a parameter file would list them."""
        own = self.model_dump(exclude={"space", "n", "prefix", "seed", "learning_rate", "text_blocks"})
        axes = {"learning_rate": self.learning_rate, "text_blocks": self.text_blocks}
        drawn = enumerate(configurations(self.space, self.n, seed=self.seed, **axes), start=1)
        return [{"name": f"{self.prefix}_{number:02d}", **own, **one} for number, one in drawn]


class TrainingParams(Model):
    """Stages of training and what decides between them; controls, which nobody ranks, run with the first seeds only.

    `margin` is the macro-F1 on val that fewer trained parameters are worth: of the trials that are shown to lie within
    it of the best, the smallest is kept.
    """

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Different]
    n_control_seeds: Count
    margin: Fraction
    batch_size: Count
    criterion: Literal["macro_f1", "nll"]
    global_clipnorm: Positive
    warmup_seed: Seed
    warmup: FitParams
    photometric: PhotometricParams
    trials: tuple[TrialParams, ...]
    search: tuple[SearchParams, ...]

    def _faults(self) -> Iterator[str]:
        above: dict[str, TrialParams] = {}
        for trial in self.trials:
            parent = above.get(trial.parent)
            if trial.name in ("warmup", *above):
                yield f"two trials are called {trial.name!r}"
            elif parent is None and trial.parent != "warmup":
                yield f"trial {trial.name!r} starts from {trial.parent!r}, which is not above it: warmup, {[*above]}"
            elif parent and (trial.vision_blocks < parent.vision_blocks or trial.text_blocks < parent.text_blocks):
                was = f"{trial.parent!r} trained ({parent.vision_blocks} of vision, {parent.text_blocks} of text)"
                yield f"trial {trial.name!r} freezes blocks that its parent {was}: frozen ones are as in the presets"
            elif parent and trial.role == "candidate" and parent.role == "control":
                yield f"candidate {trial.name!r} starts from the control {trial.parent!r}, which has fewer seeds"
            above[trial.name] = trial
        if not self.search and not any(trial.role == "candidate" for trial in self.trials):
            yield "at least one trial must be a candidate"


class StatisticsParams(Model):
    """Resampling behind every interval, and the bins of every expected calibration error."""

    n_resamples: Annotated[int, Field(ge=100, le=100_000)]
    level: Fraction
    seed: Seed
    ece_bins: Annotated[int, Field(ge=2, le=100)]


class CalibrateParams(Model):
    """Calibration and conformal sets."""

    alphas: tuple[Fraction, ...]
    raps_penalty: NonNegative
    raps_free_rank: CountOrNone


class CostParams(Model):
    """What things cost, in minutes of a person's time; `error_of` gives classes a price of their own."""

    human: NonNegative
    clarify: NonNegative
    error: NonNegative
    error_of: dict[str, NonNegative]


class HumanParams(Model):
    """Who answers when the model defers: a stated accuracy, a confusion matrix by true class, or recorded votes.

    `accuracy_on_errors` is a parametric person's on pairs that the model gets wrong; without it that is `accuracy` too.
    """

    kind: Literal["parametric", "confusion", "votes"]
    accuracy: Accuracy
    accuracy_on_errors: Accuracy | None
    confusion: Annotated[tuple[tuple[Share, ...], ...], Confusion] | None
    clarify_accuracy: Accuracy
    seed: Seed

    def _faults(self) -> Iterator[str]:
        if (self.kind == "confusion") != bool(self.confusion):
            yield "kind confusion and a confusion matrix belong together: give both or neither"


class GuaranteeParams(Model):
    """What is promised of automatic answers: an error rate, how sure it is, and rates for single answers by class."""

    error: Fraction
    confidence: Fraction
    error_by_class: dict[str, Fraction]


class ForeignParams(Model):
    """How often a pair, and a whole batch, may be taken for foreign though it is not."""

    pair: Fraction
    batch: Fraction


class FactParams(Model):
    """What one fact tells of two classes: the share of false sentences that it refutes, of true ones that it proves."""

    refutes: Share
    proves: Share


class PolicyParams(Model):
    """When the model may act alone; `questions` maps a yes/no question to the classes whose answer is yes. Without
    `facts` somebody who is asked about one of two classes judges the whole.
    """

    costs: CostParams
    human: HumanParams
    guarantee: GuaranteeParams | None
    foreign: ForeignParams | None
    facts: FactParams | None
    questions: dict[str, tuple[str, ...]]
    n_questions: Annotated[int, Field(ge=1, le=4)]
    critical_floor: Floors
    conformal_alpha: Fraction
    calib_share_for_sets: Fraction
    n_explained: Count
    n_attribution_steps: Annotated[int, Field(ge=2, le=1024)]

    def about(self, classes: tuple[str, ...]) -> Iterator[str]:
        """What prices, questions and a confusion matrix say of other classes than these, and too many questions."""
        named: dict[str, Any] = {"costs.error_of": self.costs.error_of}
        named |= {"guarantee.error_by_class": self.guarantee.error_by_class} if self.guarantee else {}
        named |= {f"questions: {question!r}": names for question, names in self.questions.items()}
        for place, names in named.items():
            if unknown := sorted(set(names) - set(classes)):
                yield f"policy.{place} names {unknown}; classes are {list(classes)}"
        if self.human.confusion and len(self.human.confusion) != len(classes):
            yield f"policy.human.confusion has {len(self.human.confusion)} rows for {len(classes)} classes"
        if self.questions and self.n_questions > len(self.questions):
            yield f"policy.n_questions is {self.n_questions}, but there are {len(self.questions)} questions"


class ReportParams(Model):
    """What the report compares itself with; `published` names tables, see `verdict.pages.published`."""

    published: Name | None


class InterpretParams(Model):
    """How the kept model is looked into: test pairs whose patches are masked, and points of the picture of states."""

    n_pairs: Count
    mask_shares: Shares
    n_points: Annotated[int, Field(ge=4)]
    perplexity: Annotated[float, Field(gt=1)]
    seed: Seed


class DefectsParams(Model):
    """On how much the page on defects switches them on: groups of images of train, val and test, each."""

    n_images: AtLeastTwo


class ClipFolderParams(Model):
    """Somebody's own pictures: a folder for each class, or a CSV with image and label, and the folder it speaks of; cut
    to squares of `image_px` a side, or as the encoder sees them.
    """

    images: str
    table: str
    fractions: Annotated[Fractions, _all_of(*get_args(Own))]
    image_px: Annotated[int, Field(ge=8, le=1024)] | None


class ClipTrainingParams(Model):
    """How a dual encoder of its own is taught, where `preset` is `trained`."""

    epochs: Count
    batch: Count
    learning_rate: LearningRate
    seed: Seed


class ClipParams(Model):
    """The dual encoder, and the labelled pictures that it is asked about; without a source there are no such pages.

    `preset` is a name that the package ships, a folder, a hub id with its `revision`, or `trained`: a tiny one of its
    own, taught on the train split. `n` bounds the pictures of each split, `n_probe` those that probes learn from.
    """

    source: Literal["digits", "cifar10", "cifar100", "imagenette", "folder", "csv"] | None
    preset: Text
    revision: Commit
    seed: Seed
    n: Annotated[dict[Own, AtLeastTwenty], _all_of(*get_args(Own))]
    n_probe: AtLeastTwenty
    folder: ClipFolderParams
    cifar10: Archive
    cifar100: Archive
    imagenette: Archive
    training: ClipTrainingParams
    batch: Count
    threads: Count

    def _faults(self) -> Iterator[str]:
        needed = {"images": "the folder of the pictures", "table": "a file with the columns image and label"}
        for name in {"folder": ("images",), "csv": ("images", "table")}.get(self.source, ()):
            if not getattr(self.folder, name):
                yield f"source {self.source} needs folder.{name}, {needed[name]}"

    @property
    def own_files(self) -> tuple[str, ...]:
        """As those of `DataParams`, of pictures."""
        return tuple(filter(None, (self.folder.table, self.folder.images))) if self.is_own else ()

    @property
    def is_own(self) -> bool:
        """Whether the pictures are the user's own."""
        return self.source in ("folder", "csv")


class ClipRobustnessParams(Model):
    """How much the pages on robustness, shifts and tasks look at; pictures of the test split unless said otherwise.

    `n_population` train pictures teach the small models beside the encoder. The first `known_share` of the classes are
    named by prompts where unknown ones are to be told apart; `temperatures` divide the cosines there. A point counts as
    found within `found_within`, shares of the picture's side. `assistant_answers` names an answer file, or "".
    """

    n_images: AtLeastTwenty
    n_population: Annotated[int, Field(ge=40)]
    n_conflict: Annotated[int, Field(ge=40)]
    n_unknown: AtLeastTwenty
    known_share: Fraction
    temperatures: Annotated[tuple[Positive, ...], Field(min_length=2)]
    n_gallery: AtLeastTwenty
    n_views: Annotated[int, Field(ge=10)]
    found_within: Shares
    n_questions: AtLeastTwenty
    n_choices: Annotated[int, Field(ge=2, le=26)]
    assistant_answers: str
    seed: Seed


class ConceptsParams(Model):
    """Which concepts a dual encoder's two towers share: how many images, parts and descriptors are looked at.

    `bank` lists descriptors; empty for the embedded scenes, whose grammar gives them. `n_candidates` descriptors of
    each part are intersected, `per_part` kept, `n_textual` read in each class. `outline` draws a red line round parts.
    """

    bank: tuple[Text, ...]
    n_classes: AtLeastTwo
    n_images: AtLeastTwo
    parts: Literal["clusters", "components"]
    n_parts: Count
    outline: bool
    n_candidates: Count
    per_part: Count
    regulariser: Positive
    n_textual: Count
    n_added: Count
    n_seeds: AtLeastTwo
    n_draws: Annotated[int, Field(ge=10)]
    seed: Seed


class ClipPolicyParams(Model):
    """What is asked of CLIP besides the class, and of people about its pictures: `questions` as in `PolicyParams`;
    `question_prompts` gives one two sentences of its own, for yes and for no, instead of `question_templates`.
    """

    questions: dict[str, tuple[str, ...]]
    question_prompts: dict[str, tuple[str, str]]
    question_templates: Annotated[tuple[str, ...], Field(min_length=1)]
    n_questions: Annotated[int, Field(ge=1, le=4)]
    views: Annotated[
        tuple[Literal["darker", "brighter", "less contrast", "more contrast", "nearer", "mirrored"], ...],
        Field(min_length=1),
    ]

    def _faults(self) -> Iterator[str]:
        if unknown := sorted(set(self.question_prompts) - set(self.questions)):
            yield f"question_prompts of {unknown}, which are no questions: {list(self.questions)}"
        if self.questions and self.n_questions > len(self.questions):
            yield f"n_questions is {self.n_questions}, but there are {len(self.questions)} questions"


class ExecutionParams(Model):
    """Where and with how much a stage runs; never changes a result's meaning."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Count
    feature_batch: Count
    precision: Literal["float32", "bfloat16"]
    decode_threads: Count | Literal["auto"]
    feature_shards: Annotated[int, Field(ge=1, le=1000)]
    seeds_apart: bool


class MonitorParams(Model):
    """Which automatic answers are labelled after a report: `share` of their groups, drawn by name and `seed`."""

    share: Annotated[float, Field(gt=0, le=1)]
    seed: Seed


class Params(Model):
    """All parameters of a profile."""

    title: str
    is_smoke: bool
    data: DataParams
    model: ModelParams
    training: TrainingParams
    statistics: StatisticsParams
    calibrate: CalibrateParams
    policy: PolicyParams
    report: ReportParams
    interpret: InterpretParams
    defects: DefectsParams
    clip: ClipParams
    clip_robustness: ClipRobustnessParams
    concepts: ConceptsParams
    clip_policy: ClipPolicyParams
    monitor: MonitorParams
    execution: ExecutionParams

    def _faults(self) -> Iterator[str]:
        yield from self.policy.about(self.data.classes)

    def trial(self, name: str) -> TrialParams:
        """The trial of a name; KeyError with the nearest name."""
        trials = {trial.name: trial for trial in self.training.trials}
        if name not in trials:
            raise KeyError(f"no trial is called {name!r}{nearest(name, list(trials))}")
        return trials[name]

    def about_clip(self) -> Params:
        """The same parameters for a page that judges CLIP's predictions: its own questions, simulated people."""
        data, own = self.data.model_copy(update={"source": "clip"}), self.policy
        changed: dict[str, Any] = {name: getattr(self.clip_policy, name) for name in ("questions", "n_questions")}
        changed["costs"] = own.costs.model_copy(update={"error_of": {}})
        changed["guarantee"] = own.guarantee and own.guarantee.model_copy(update={"error_by_class": {}})
        changed["human"] = own.human.model_copy(update={"kind": "parametric", "confusion": None})
        return self.model_copy(update={"data": data, "policy": own.model_copy(update=changed)})

    def as_dict(self) -> dict[str, Any]:
        """The parameters as JSON-like values."""
        return json.loads(self.model_dump_json())

    @property
    def hash(self) -> str:
        """Hash of everything but where it runs, and what comes after: equal hashes promise equal numbers."""
        content = self.as_dict()
        del content["execution"], content["monitor"]
        # What was made before there was a choice keeps its name.
        if content["model"]["backend"] == "torch":
            del content["model"]["backend"]
        return content_hash(content)


def validate(content: dict[str, Any], *, source: str) -> Params:
    """Turn plain values into parameters; drawn configurations become trials after the listed ones. ParamsError names
    every fault: its place, what was expected, what was found, the nearest valid key.
    """
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ParamsError(
            f"{source}: only plain numbers, text, lists and mappings are accepted: {error}; a date stands in quotes, "
            "and .inf and .nan are no numbers here"
        ) from None
    if fault := next(unreadable(content), ""):
        raise ParamsError(f"{source}: {fault}")
    try:
        params = Params.model_validate_json(text)
    except ValidationError as error:
        n_faults, listed = error.error_count(), [_describe(fault) for fault in error.errors()[:MAX_LISTED]]
        if n_faults == 1:
            raise ParamsError(f"{source}: {listed[0]}") from None
        more = [f"and {n_faults - MAX_LISTED:,} more"] if n_faults > MAX_LISTED else []
        raise ParamsError("\n  ".join([f"{source}: {n_faults} faults", *listed, *more])) from None
    if not params.training.search:
        return params
    content = params.as_dict()
    content["training"]["trials"] += [trial for search in params.training.search for trial in search.trials()]
    content["training"]["search"] = []
    return validate(content, source=source)


def _describe(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown key{nearest(str(fault['loc'][-1]), _valid_keys(fault['loc'][:-1]))}"
    value = fault.get("input")
    if fault["type"] in ("float_type", "int_type") and isinstance(value, str):
        return f"{place}: expected a number, got the text {value!r}; YAML reads 1e-3 as text: write 1.0e-3"
    if fault["type"] == "string_type" and (value is None or isinstance(value, bool | int | float)):
        got = json.dumps(value)
        return f"{place}: expected text, got {got}; YAML reads no, yes, off, on, ~ and digits so: write it in quotes"
    if fault["type"] == "value_error":
        return f"{place}: {fault['ctx']['error']}".removeprefix(": ")
    got = "" if fault["type"] == "missing" else f", got {str(value)[:80]!r}"
    return f"{place}: {fault['msg']}{got}"


def _valid_keys(location: tuple[Any, ...]) -> list[str]:
    """Keys that the model at a place accepts, found by walking the fields; a part that is a number is a list's."""
    model = Params
    for part in location:
        if isinstance(part, str):
            kind = model.model_fields[part].annotation
            model = get_args(kind)[0] if get_args(kind) else kind
    return list(model.model_fields)


def load_params(profile: str, folder: Path | None = None) -> Params:
    """Load and validate a profile, a file of `params/` (or another folder) without its ending, over the base; see
    `read_yaml` and `validate` for what is refused.
    """
    folder = folder or paths.PARAMS
    if not profile.replace("_", "").replace("-", "").isalnum():
        raise ParamsError(f"a profile is a plain name, got {profile!r}")
    if profile.lower() in paths.TAKEN:
        raise ParamsError(f"no profile may be called {profile!r}: reports/ or work/ holds something else there")
    content = merge(read_yaml(folder / "base.yaml"), read_yaml(folder / f"{profile}.yaml"))
    return validate(content, source=f"profile {profile!r}")


def flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; a list of named mappings counts as a mapping by name."""
    if isinstance(content, list) and content and all(isinstance(item, dict) and "name" in item for item in content):
        content = {item["name"]: item for item in content}
    if not isinstance(content, dict):
        return {prefix: content}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def trial_difference(one: TrialParams, other: TrialParams) -> dict[str, tuple[Any, Any]]:
    """Parameters in which two trials differ, name and role apart: the values of the one and of the other."""
    values = [trial.model_dump(mode="json", exclude={"name", "role"}) for trial in (one, other)]
    return {name: (value, values[1][name]) for name, value in values[0].items() if value != values[1][name]}


def non_default(params: Params, folder: Path | None = None) -> list[str]:
    """Dotted names of the values in which a profile differs from the base; trials are compared by name, and one that
    the profile lacks is named whole: `training.trials.text1.epochs`.
    """
    base = flatten(load_params("base", folder).as_dict())
    here = flatten(params.as_dict())
    changed = {name for name, value in here.items() if name not in base or value != base[name]}
    trials = {trial.name for trial in params.training.trials}
    gone = {".".join(name.split(".")[:3]) for name in base if name.startswith("training.trials.")}
    return sorted(changed | {name for name in gone if name.rsplit(".", 1)[1] not in trials})
