"""Ablations: twins, differences by hand on all pairs and on a bucket, and what is said about them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import STATISTICS, Measuring
from verdict.base.numbers import Claim, Numbers, evaluate_claim
from verdict.base.params import TrialParams
from verdict.model.predict import prediction_table
from verdict.model.selection import Selection
from verdict.pages.ablation import OVERALL, ablation_table, changed_parameters, find_ablations, gain_statement, gains

FIT = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1, "epochs": 2, "patience": 1, "schedule": "cosine"}
COUNTED = {"count": 1.5, "colour": 2.0}
MORE_OFTEN = "count 1.5 times as often; colour 2 times as often"


def trial(name, **options):
    return TrialParams(**{"name": name, "parent": "warmup", "vision_blocks": 0, "text_blocks": 1, **FIT, **options})


PLAIN, SAMPLED = trial("plain"), trial("sampled", oversample=COUNTED)
SEEN = trial("seen", augment="photometric", views=3)
BOTH = trial("both", augment="photometric", views=3, oversample=COUNTED)


def names(trials):
    return [(one.factor, one.trial.name, one.twin.name) for one in find_ablations(trials)]


def test_a_twin_lacks_one_factor_and_nothing_else():
    assert names([PLAIN, SAMPLED]) == names([SAMPLED, PLAIN]) == [("oversampling", "sampled", "plain")]
    assert names([PLAIN, SEEN]) == [("augmentation", "seen", "plain")]
    assert names([PLAIN, SAMPLED, SEEN, BOTH]) == [
        ("oversampling", "sampled", "plain"),
        ("augmentation", "seen", "plain"),
        ("oversampling", "both", "seen"),
        ("augmentation", "both", "sampled"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        trial("sampled", oversample=COUNTED, epochs=3),
        trial("sampled", oversample=COUNTED, parent="frozen"),
        trial("sampled", oversample=COUNTED, augment="photometric", views=1),
        trial("plain_again"),
        trial("deeper", text_blocks=2),
    ],
)
def test_a_trial_that_differs_in_anything_else_has_no_twin(other):
    assert names([PLAIN, other]) == []


def test_two_degrees_of_a_factor_are_no_ablation():
    assert names([SAMPLED, trial("more", oversample={"count": 3.0})]) == []
    assert names([SEEN, trial("more", augment="photometric", views=5)]) == []


def test_the_parameters_are_listed_beside_each_other():
    table = changed_parameters(find_ablations([PLAIN, SAMPLED, SEEN]))
    assert table.to_dict("records") == [
        {"trial": "sampled", "twin": "plain", "parameter": "oversample", "in_trial": MORE_OFTEN, "in_twin": "none"},
        {"trial": "seen", "twin": "plain", "parameter": "augment", "in_trial": "photometric", "in_twin": "none"},
        {"trial": "seen", "twin": "plain", "parameter": "views", "in_trial": "3", "in_twin": "0"},
    ]


class SimulatedStage(Measuring):
    """What an ablation asks of a stage: pairs of two families, and answers that are right where they are told to be."""

    def __init__(self, right, trials=()):
        n = len(next(iter(right.values()))[0])
        groups = [f"i{k // 2}" for k in range(n)]
        self.table = pd.DataFrame({"pair_id": [f"p{k}" for k in range(n)], "image_id": groups, "group_id": groups})
        self.table = self.table.assign(split="val", label="contradiction", hypothesis="a dog")
        self.table["family"] = np.where(np.arange(n) % 3 == 0, "count", "other")
        self.right, self.numbers = right, Numbers()
        training = SimpleNamespace(seeds=tuple(range(len(next(iter(right.values()))))), trials=trials)
        self.params = SimpleNamespace(statistics=STATISTICS, training=training)

    def pairs(self, *splits):
        return self.table.iloc[::-1].reset_index(drop=True)

    def predictions(self, *splits, trial, seed):
        logit = np.where(self.right[trial][seed], 1.0, -1.0)
        return prediction_table(self.table, logit, stage="s", trial=trial, seed=seed)


def test_differences_by_hand_on_all_pairs_and_on_each_bucket():
    n = 60
    is_count = np.arange(n) % 3 == 0
    plain = [np.arange(n) % 2 == 0, np.arange(n) % 2 == 0]
    # The first seed gains on every pair of the bucket and loses one elsewhere, the second changes nothing.
    sampled = [(plain[0] | is_count) & (np.arange(n) != 2), plain[1]]
    stage = SimulatedStage({"plain": plain, "sampled": sampled})
    ablations = find_ablations([PLAIN, trial("sampled", oversample=COUNTED)])
    table = ablation_table(stage, ablations)
    assert table[["trial", "minus", "on", "n"]].to_numpy().tolist() == [
        ["sampled", "plain", OVERALL, n],
        ["sampled", "plain", "count", 20],
    ]
    assert table["accuracy"].tolist() == pytest.approx([(10 - 1) / n / 2, 10 / 20 / 2])
    assert (table["accuracy_low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["accuracy_high"]).all()
    number = stage.numbers["ablation.sampled.oversampling.bucket_1.accuracy"]
    assert (number.value, number.n, number.split, number.seeds) == (pytest.approx(0.25), 20, "val", (0, 1))
    assert [stage.numbers[f"ablation.oversampling.{name}"].text for name in ("trial", "twin")] == ["sampled", "plain"]
    assert stage.numbers["ablation.oversampling.accuracy"].value == table["accuracy"].iloc[0]
    # Two seeds that disagree show nothing; the bucket "colour" has no pair and does not count.
    assert [stage.numbers[f"ablation.{name}"].value for name in ("n_differences", "n_shown")] == [2, 0]


def test_augmentation_is_compared_on_all_pairs():
    right = [np.arange(60) % 2 == 0]
    stage = SimulatedStage({"plain": right, "seen": [right[0] | (np.arange(60) < 7)]})
    ablations = find_ablations([PLAIN, SEEN])
    table = ablation_table(stage, ablations)
    assert table["on"].tolist() == [OVERALL]
    assert table["accuracy"].tolist() == pytest.approx([3 / 60])
    assert stage.numbers["ablation.augmentation.accuracy"].low > 0 and stage.numbers["ablation.n_shown"].value == 1


def test_a_profile_without_ablations_has_an_empty_table():
    stage = SimulatedStage({"plain": [np.ones(6, dtype=bool)]})
    table = ablation_table(stage, [])
    assert table.empty and "accuracy_low" in table
    assert changed_parameters([]).empty
    assert stage.numbers["ablation.n_differences"].value == 0


CHAIN = (
    trial("frozen", text_blocks=0),
    trial("frozen_longer", parent="frozen", text_blocks=0, epochs=3),
    trial("deep", parent="frozen", epochs=3),
)


def right_of(share):
    return np.random.default_rng(1).random(600) < share


def told(shares, trials=CHAIN, kept=None):
    """Gains on one seed whose answers are right in nested parts of the pairs."""
    stage = SimulatedStage({name: [right_of(share)] for name, share in shares.items()}, trials)
    return stage, gains(stage, kept or Selection("deep", 0, "frozen_longer", "deep"), "val")


def test_unfreezing_and_longer_training_are_told_apart():
    stage, table = told({"frozen": 0.5, "frozen_longer": 0.7, "deep": 0.8})
    parts = table.set_index("change")["macro_f1"]
    assert parts["unfreezing"] + parts["longer training"] == pytest.approx(parts["both"])
    assert parts["longer training"] > parts["unfreezing"] > 0
    numbers = [stage.numbers[f"val.{name}"] for name in ("gain_over_frozen", "gain_of_longer_training", "gain_in_all")]
    assert [number.value for number in numbers] == parts.tolist()
    assert table.set_index("change")["training"].to_dict() == {
        "unfreezing": "alike: 2 + 3 epochs",
        "longer training": "differs: 2 + 3 epochs against 2",
        "both": "differs: 2 + 3 epochs against 2",
    }


def test_training_that_differs_is_named_in_the_sentence():
    trials = (CHAIN[0], trial("deep", parent="frozen", epochs=5, learning_rate=2e-3))
    kept = Selection("deep", 0, "frozen", "deep")
    stage, table = told({"frozen": 0.5, "deep": 0.8}, trials, kept)
    assert table["change"].tolist() == ["unfreezing"]
    assert gain_statement("val", table).endswith(
        "on val (training differs: 2 + 5 epochs against 2; learning rate 0.001, then 0.002 against 0.001)"
    )
    assert stage.numbers["val.gain_of_longer_training"].low is None


def test_without_a_frozen_trial_no_gain_is_told():
    stage, table = told({"deep": 0.8}, (trial("deep"),), Selection("deep", 0, "", "deep"))
    assert gain_statement("val", table) == "Unfreezing beats frozen encoders in macro-F1 on val"
    assert table.empty
    claim = {"id": "gain", "statement": "it adds", "number": "val.gain_over_frozen", "comparison": ">", "bound": 0.0}
    assert evaluate_claim(stage.numbers, Claim(**claim)).holds is None
