"""The training behind a trial: the chain of trials from the warm-up to it, and how two chains differ.

Two trials that differ in training besides in what they unfreeze say nothing about unfreezing alone.
"""

from collections.abc import Mapping, Sequence

from verdict.base.labels import in_words
from verdict.base.params import FitParams, TrialParams

DEPTH = ("vision_blocks", "text_blocks")
_SHOWN = ("image", "text", "augment", "views", "oversample")
# What only one of two chains does, as a sentence goes on.
_DONE = {"augment": "also sees {} changes of its images", "oversample": "draws sentences on {}"}
_TRAINING = ("epochs", *(name for name in FitParams.model_fields if name != "epochs"), *_SHOWN)


def lineage(trials: Sequence[TrialParams], name: str) -> tuple[TrialParams, ...]:
    """A trial behind its parents, the one that starts from the warm-up first."""
    by_name = {trial.name: trial for trial in trials}
    chain = [by_name[name]]
    while chain[0].parent in by_name:
        chain.insert(0, by_name[chain[0].parent])
    return tuple(chain)


def n_epochs(trials: Sequence[TrialParams], name: str) -> int:
    """Epochs of a trial and its parents together, at most: patience may end a stage earlier."""
    return sum(trial.epochs for trial in lineage(trials, name))


def epochs_text(trials: Sequence[TrialParams], name: str) -> str:
    """Epochs of each stage of a chain, such as "3 + 1"."""
    return " + ".join(str(trial.epochs) for trial in lineage(trials, name))


def differences_in_training(trials: Sequence[TrialParams], first: str, second: str) -> dict[str, tuple[str, str]]:
    """Settings in which two chains differ, depth apart: by name, what each of the two has; none for equal training.

    Epochs are compared stage by stage. Of other settings each change along a chain counts, and a patience as long as
    the epochs is none.
    """
    chains = [lineage(trials, name) for name in (first, second)]
    differences = {}
    for setting in _TRAINING:
        first_value, second_value = (_values(chain, setting) for chain in chains)
        if first_value != second_value:
            differences[setting] = (first_value, second_value)
    if "augment" in differences:
        # The number of views differs with it.
        differences.pop("views", None)
    return differences


def _values(chain: Sequence[TrialParams], setting: str) -> str:
    if setting == "epochs":
        return " + ".join(str(trial.epochs) for trial in chain)
    listed = [_shown(trial, setting) for trial in chain]
    return ", ".join(value for k, value in enumerate(listed) if k == 0 or value != listed[k - 1])


def _shown(trial: TrialParams, setting: str) -> str:
    if setting == "patience" and trial.patience >= trial.epochs:
        return "none"
    return setting_text(getattr(trial, setting))


def setting_text(value: object) -> str:
    """A setting's value as pages write it; how often buckets are drawn in words."""
    if isinstance(value, Mapping):
        sharing = {weight: [in_words(one) for one, own in value.items() if own == weight] for weight in value.values()}
        value = "; ".join(f"{' and '.join(names)} {weight:g} times as often" for weight, names in sharing.items())
    return f"{value:g}" if isinstance(value, float) else "none" if value in ("", None) else str(value)


def training_text(trials: Sequence[TrialParams], first: str, second: str) -> str:
    """How far two trials were trained alike, as words that follow "training": "alike: …" or "differs: …"."""
    differences = differences_in_training(trials, first, second)
    if not differences:
        return f"alike: {epochs_text(trials, first)} epochs"
    return f"differs: {'; '.join(_difference_text(in_words(name), *values) for name, values in differences.items())}"


def _difference_text(setting: str, first: str, second: str) -> str:
    """One difference in words; values of a setting that changed along a chain stand in their order."""
    first, second = (", then ".join(value.split(", ")) for value in (first, second))
    if setting in _DONE and "none" in (first, second):
        which, value = ("second", second) if first == "none" else ("first", first)
        return f"only the {which} {_DONE[setting].format(value.removeprefix('none, then '))}"
    return f"{first} epochs against {second}" if setting == "epochs" else f"{setting} {first} against {second}"


def frozen_trials(trials: Sequence[TrialParams]) -> list[TrialParams]:
    """Candidates that unfreeze nothing: the fusion head alone trains, in all of their chain."""
    return [trial for trial in trials if trial.role == "candidate" and not any(getattr(trial, name) for name in DEPTH)]


def frozen_twin(trials: Sequence[TrialParams], name: str) -> TrialParams | None:
    """The frozen candidate whose training is nearest to a trial's: alike, or else with as many epochs in all.

    None where every candidate unfreezes something.
    """

    def distance(trial: TrialParams) -> tuple[bool, int, int]:
        differences = differences_in_training(trials, trial.name, name)
        return bool(differences), abs(n_epochs(trials, trial.name) - n_epochs(trials, name)), len(differences)

    return min(frozen_trials(trials), key=distance, default=None)


def best_compared(trials: Sequence[TrialParams], names: Sequence[str]) -> str:
    """Of trials that unfreeze something, the first with a frozen candidate that is trained alike, of several one that
    unfreezes what the first of all does; the first of all where there is none, "" without any.
    """
    depths = {trial.name: [getattr(trial, part) for part in DEPTH] for trial in trials}

    def lacks(name: str) -> tuple[bool, bool]:
        twin = frozen_twin(trials, name)
        is_alike = twin is not None and not differences_in_training(trials, twin.name, name)
        return not is_alike, depths[name] != depths[names[0]]

    return min(names, key=lacks, default="")


def depth_text(trials: Sequence[TrialParams], name: str) -> str:
    """What a trial trains of the encoders, such as "1 block of the vision encoder and 2 blocks of the text encoder"."""
    trial = lineage(trials, name)[-1]
    depths = {part.partition("_")[0]: getattr(trial, part) for part in DEPTH if getattr(trial, part)}
    told = (f"{n} block{'s' * (n != 1)} of the {part} encoder" for part, n in depths.items())
    return " and ".join(told)


def least_trained(trials: Sequence[TrialParams]) -> TrialParams | None:
    """The frozen candidate with the fewest epochs in all, the first of several; None where there is no frozen one."""
    return min(frozen_trials(trials), key=lambda trial: n_epochs(trials, trial.name), default=None)
