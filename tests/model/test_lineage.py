"""Chains of trials: their epochs, in what two differ, and the frozen trial that stands beside each."""

import pytest

from verdict.base.params import TrialParams, load_params
from verdict.model.lineage import (
    DEPTH,
    best_compared,
    depth_text,
    differences_in_training,
    epochs_text,
    frozen_twin,
    least_trained,
    lineage,
    n_epochs,
    training_text,
)

FIT = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1, "epochs": 3, "patience": 3, "schedule": "cosine"}


def trial(name, parent="warmup", text_blocks=0, **options):
    chosen = {**FIT, "name": name, "parent": parent, "vision_blocks": 0, "text_blocks": text_blocks, **options}
    return TrialParams(**chosen)


FROZEN = trial("frozen")
DEEP = trial("deep", "frozen", 2, epochs=4, patience=4, learning_rate=5e-4)
TWIN = trial("twin", "frozen", epochs=4, patience=4, learning_rate=5e-4)
AT_ONCE = trial("at_once", epochs=7, patience=7)
BLIND = trial("blind", text_blocks=2, epochs=7, patience=7, image="blank", role="control")


def test_a_chain_goes_from_the_warm_up_to_the_trial():
    trials = (FROZEN, DEEP)
    assert [one.name for one in lineage(trials, "deep")] == ["frozen", "deep"]
    assert [one.name for one in lineage(trials, "frozen")] == ["frozen"]
    assert (n_epochs(trials, "deep"), epochs_text(trials, "deep")) == (7, "3 + 4")


def test_depth_alone_is_no_difference_in_training():
    trials = (FROZEN, DEEP, TWIN)
    assert differences_in_training(trials, "deep", "twin") == {}
    assert training_text(trials, "deep", "twin") == "alike: 3 + 4 epochs"


def test_differences_are_named_with_both_values():
    trials = (FROZEN, DEEP, AT_ONCE, BLIND)
    found = differences_in_training(trials, "frozen", "deep")
    assert found == {"epochs": ("3", "3 + 4"), "learning_rate": ("0.001", "0.001, 0.0005")}
    said = training_text(trials, "frozen", "deep")
    assert said == "differs: 3 epochs against 3 + 4; learning rate 0.001 against 0.001, then 0.0005"
    # As many epochs in all, in one stage: that is named too. What a control is not shown is a difference.
    assert set(differences_in_training(trials, "at_once", "deep")) == {"learning_rate", "epochs"}
    assert set(differences_in_training(trials, "blind", "at_once")) == {"image"}
    seen = trial("seen", "frozen", augment="photometric", views=2)
    found = differences_in_training((FROZEN, seen, trial("plain", "frozen")), "seen", "plain")
    assert found == {"augment": ("none, photometric", "none")}


def test_what_only_one_chain_does_is_told_as_such():
    drawn = trial("drawn", "frozen", oversample={"relation": 1.5, "compare_count": 1.5, "position": 2.0})
    said = "draws sentences on relation and compare count 1.5 times as often; position 2 times as often"
    assert training_text((FROZEN, drawn, TWIN), "drawn", "twin").endswith(f"; only the first {said}")
    assert training_text((FROZEN, drawn, TWIN), "twin", "drawn").endswith(f"; only the second {said}")
    seen = trial("seen", "frozen", augment="photometric", views=2)
    said = training_text((FROZEN, seen, trial("plain", "frozen")), "seen", "plain")
    assert said == "differs: only the first also sees photometric changes of its images"


def test_a_patience_that_cannot_stop_is_none():
    trials = (trial("a", patience=3), trial("b", patience=9), trial("c", patience=1))
    assert differences_in_training(trials, "a", "b") == {}
    assert differences_in_training(trials, "a", "c") == {"patience": ("none", "1")}


@pytest.mark.parametrize("order", [1, -1])
def test_the_twin_is_trained_alike_or_at_least_as_long(order):
    assert frozen_twin((FROZEN, DEEP, TWIN, AT_ONCE)[::order], "deep") == TWIN
    assert frozen_twin((FROZEN, DEEP, AT_ONCE)[::order], "deep") == AT_ONCE
    assert frozen_twin((FROZEN, DEEP, BLIND), "deep") == FROZEN
    assert least_trained((TWIN, FROZEN, DEEP)) == FROZEN


def test_unfreezing_is_measured_where_nothing_else_differs():
    drawn = trial("drawn", "frozen", 2, epochs=4, patience=4, learning_rate=5e-4, oversample={"relation": 1.5})
    other = trial("other", "frozen", 3, epochs=4, patience=4, learning_rate=5e-4)
    trials = (FROZEN, TWIN, drawn, other, DEEP)
    assert best_compared(trials, ["drawn", "other", "deep"]) == "deep", "it unfreezes as much as the kept one"
    assert best_compared(trials, ["drawn", "other"]) == "other"
    assert best_compared((FROZEN, drawn), ["drawn"]) == "drawn" and best_compared((FROZEN,), []) == ""
    assert depth_text(trials, "deep") == "2 blocks of the text encoder"
    both = trial("both", text_blocks=3, vision_blocks=1)
    assert depth_text((both,), "both") == "1 block of the vision encoder and 3 blocks of the text encoder"


def test_controls_and_deep_trials_are_no_twins():
    trials = (trial("only", text_blocks=1), trial("image_only", text="blank", role="control"))
    assert frozen_twin(trials, "only") is None and least_trained(trials) is None


@pytest.mark.parametrize("profile", ["base", "digits", "smoke", "nlvr", "paper"])
def test_shipped_profiles_compare_what_was_trained_alike(profile):
    """Unfreezing stands beside a frozen trial with all seeds and the same training, controls beside as many epochs."""
    trials = load_params(profile).training.trials
    deep = [one for one in trials if one.role == "candidate" and any(getattr(one, name) for name in DEPTH)]
    alike = [one for one in deep if not differences_in_training(trials, frozen_twin(trials, one.name).name, one.name)]
    assert alike
    controls = {n_epochs(trials, one.name) for one in trials if one.role == "control"}
    assert controls == {max(n_epochs(trials, one.name) for one in alike)}
