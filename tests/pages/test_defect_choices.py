"""Orders within noise, epochs kept by another measure, and ablations that change several settings."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simulated_stage import SimulatedStage, params_with, simulated_table
from verdict.pages import defects as choices, evaluation
from verdict.pages.defects import published_ablation


@dataclass
class ByTrial(SimulatedStage):
    """Predictions by trial and seed, histories by the same."""

    def predictions(self, *splits, trial, seed):
        return self.tables[trial, seed]

    def upstream(self, name, file, trial=None):
        return self.folder / (f"{trial}.parquet" if trial else file)


def stage_of(folder, tables, trials=("frozen", "text1", "hypothesis_only")):
    return ByTrial("13_defects", "smoke", None, None, folder, params_with(*trials), tables=tables)


def reversals_of(stage):
    """The page on selection stands before: its table of differences holds the leads."""
    evaluation.differences(stage).to_parquet(stage.folder / "differences.parquet")
    return choices.reversals(stage)


def runs_of(noise, gap=0.0):
    """Two candidates with two seeds each; text1's logits carry the signal, frozen's a share of it less."""
    base, rng, tables = simulated_table("val", n=599, seed=4), np.random.default_rng(5), {}
    junk = rng.normal(0, 2.5, len(base))
    for trial, signal in (("text1", 1.0), ("frozen", 1.0 - gap)):
        for seed in (11, 23):
            logit = signal * base["logit_1"] + (1 - signal) * junk + rng.normal(0, noise, len(base))
            tables[trial, seed] = base.assign(logit_1=logit)
    return tables


def test_a_clear_lead_is_never_reversed(tmp_path):
    stage = stage_of(tmp_path, runs_of(0.01, gap=1.0))
    found = reversals_of(stage).iloc[0]
    assert (found["better"], found["worse"], found["n_seed_pairs"]) == ("text1", "frozen", 4)
    assert (found["reversed"], found["reversed_high"]) == (0, 0)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_lead_is_that_of_the_page_on_selection(tmp_path, swapped):
    """One quantity has one interval, whichever way round the other page subtracts."""
    stage = stage_of(tmp_path, runs_of(1.0, gap=0.3))
    pairwise = evaluation.differences(stage).iloc[:1]
    sign = 1 if pairwise["macro_f1"].iloc[0] > 0 else -1
    ends = ["macro_f1_low", "macro_f1_high"][::sign]
    if swapped:
        names, bounds = pairwise[["minus", "trial"]].to_numpy(), -pairwise[["macro_f1", *ends[::sign][::-1]]].to_numpy()
        pairwise = pairwise.assign(trial=names[:, 0], minus=names[:, 1])
        pairwise[["macro_f1", "macro_f1_low", "macro_f1_high"]] = bounds
    pairwise.to_parquet(tmp_path / "differences.parquet")
    found = choices.reversals(stage)
    lead = found.iloc[0]
    assert lead["better"] == "text1" and lead["lead_low"] < lead["lead"] < lead["lead_high"]
    expected = evaluation.differences(stage).iloc[0]
    assert [lead["lead"], lead["lead_low"], lead["lead_high"]] == [
        sign * expected[name] for name in ("macro_f1", *ends)
    ]
    choices.store_reversals(stage, found)
    assert stage.numbers["defect.ranking.lead"].low == lead["lead_low"]
    assert stage.numbers["defect.ranking.n_races"].value == 1


def test_seeds_are_counted_pair_by_pair(tmp_path):
    """text1 answers all and half rightly, frozen three quarters: of four pairs of seeds the two with half reverse."""
    base = simulated_table("val", n=400, seed=4)
    right = np.where(base["y_true"] == 1, 3.0, -3.0)
    part = np.arange(400)
    logit = {share: np.where(part < share * 400, right, -right) for share in (0.5, 0.7, 0.95)}
    shares = {("text1", 11): 0.95, ("text1", 23): 0.5, ("frozen", 11): 0.7, ("frozen", 23): 0.7}
    stage = stage_of(tmp_path, {key: base.assign(logit_1=logit[share]) for key, share in shares.items()})
    found = reversals_of(stage).iloc[0]
    assert (found["better"], found["reversed"]) == ("text1", 0.5)


def test_a_single_candidate_has_no_order(tmp_path):
    stage = stage_of(tmp_path, runs_of(0.5), ["frozen"])
    found = reversals_of(stage)
    choices.store_reversals(stage, found)
    assert found.empty
    for name in ("lead", "reversed"):
        assert stage.numbers[f"defect.ranking.{name}"].text == "not defined"


def test_the_chance_of_a_reversal():
    assert choices.chance_reversed(0.0, 0.01) == 0.5
    assert choices.chance_reversed(0.03, 0.03) == pytest.approx(stats.norm.sf(1 / np.sqrt(2)))
    assert (choices.chance_reversed(0.1, 0.0), choices.chance_reversed(0.0, 0.0)) == (0, 0.5)


def test_the_studys_leaders_are_a_toss_up_of_which_two_runs_say_little():
    """A lead of 0.0014 under a spread of 0.0062, that of its own configuration run twice; two runs leave it wide."""
    found = choices.published_race(0.95)
    spread = np.sqrt(2) * (0.7956 - 0.7868) / np.sqrt(2)
    assert found.value == pytest.approx(stats.norm.sf(0.0014 / spread))
    least = abs(0.7956 - 0.7868) / np.sqrt(stats.chi2.ppf(0.975, 1))
    assert (
        found.low == pytest.approx(stats.norm.sf(0.0014 / least)) and found.low < 0.4 < found.value < found.high < 0.5
    )
    assert choices.published_race(0.5).low > found.low


def history(trial, seed, losses, scores):
    n = len(losses)
    return pd.DataFrame(
        {"trial": trial, "seed": seed, "epoch": np.arange(1, n + 1), "val_nll": losses, "val_macro_f1": scores}
    )


RISING = history("a", 1, [0.5, 0.4, 0.6], [0.70, 0.72, 0.80])
AGREED = history("b", 1, [0.5, 0.4, 0.6], [0.70, 0.76, 0.75])


def test_the_epoch_of_the_lowest_loss_can_cost_macro_f1():
    found = choices.epochs_kept(pd.concat([RISING, AGREED])).set_index("trial")
    assert found.loc["a", ["epoch_by_loss", "epoch_by_f1"]].tolist() == [2, 3]
    assert found.loc["a", "cost"] == pytest.approx(0.72 - 0.80)
    assert found.loc["b", ["epoch_by_loss", "epoch_by_f1", "cost"]].tolist() == [2, 2, 0]


def test_equal_epochs_give_the_earlier():
    found = choices.epochs_kept(history("a", 1, [0.4, 0.4], [0.8, 0.8])).iloc[0]
    assert (found["epoch_by_loss"], found["epoch_by_f1"]) == (1, 1)


def test_ranks_change_with_the_measure(tmp_path):
    kept = choices.epochs_kept(pd.concat([RISING, AGREED]))
    ranked = choices.ranks_by_criterion(kept, level=0.95).set_index("trial")
    assert ranked.loc["a", ["rank_by_loss", "rank_by_f1"]].tolist() == [2, 1]
    stage = stage_of(tmp_path, {})
    choices.store_epochs(stage, kept, ranked)
    assert stage.numbers["defect.criterion.n_other_epoch"].value == 1
    assert stage.numbers["defect.criterion.n_ranks_changed"].value == 2
    assert stage.numbers["defect.criterion.cost"].value == pytest.approx(-0.04)
    assert stage.numbers["defect.criterion.cost"].low is None


def test_measures_that_agree_cost_nothing(tmp_path):
    kept = choices.epochs_kept(pd.concat([AGREED, AGREED.assign(seed=2)]))
    ranked = choices.ranks_by_criterion(kept, level=0.95)
    assert (kept["cost"] == 0).all() and (ranked["rank_by_loss"] == ranked["rank_by_f1"]).all()
    assert ranked["cost"].tolist() == [0] and ranked["cost_low"].isna().all(), (
        "two equal seeds give no interval of none"
    )
    stage = stage_of(tmp_path, {})
    choices.store_epochs(stage, kept, ranked)
    assert stage.numbers["defect.criterion.n_other_epoch"].value == 0


def test_a_run_of_one_epoch_has_nothing_to_choose(tmp_path):
    """It cannot keep another epoch: it does not count among the runs that would not."""
    once = history("c", 1, [0.5], [0.7])
    for runs, n in ((pd.concat([RISING, once]), 1), (once, 0)):
        stage, kept = stage_of(tmp_path, {}), choices.epochs_kept(runs)
        choices.store_epochs(stage, kept, choices.ranks_by_criterion(kept, level=0.95))
        assert stage.numbers["defect.criterion.n_runs"].value == n


def test_histories_are_those_of_the_candidates(tmp_path):
    stage = stage_of(tmp_path, {})
    for trial in ("frozen", "text1"):
        parts = [RISING.drop(columns="trial").assign(other=1, seed=seed) for seed in (11, 23)]
        pd.concat(parts).to_parquet(tmp_path / f"{trial}.parquet")
    found = choices.histories(stage)
    assert found.groupby(["trial", "seed"]).size().to_dict() == {
        (trial, seed): 3 for trial in ("frozen", "text1") for seed in (11, 23)
    }


def test_the_interval_over_seeds_is_students():
    values = [0.1, 0.3, 0.2]
    found = choices.interval_over_seeds(values, level=0.9)
    expected = stats.t.interval(0.9, 2, loc=0.2, scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, *expected))


def test_the_published_ablation_changes_more_than_one_setting():
    found = published_ablation()
    assert {"oversampling", "horizontal flip", "hue", "noise", "epochs", "early stopping"} <= set(found["setting"])
    assert not {"learning rate", "weight decay", "dropout", "text blocks", "batch size"} & set(found["setting"])


@dataclass(frozen=True)
class Trial:
    """As much of a trial as is compared."""

    name: str
    settings: dict

    @property
    def oversample(self):
        return self.settings["oversample"]

    def model_dump(self, mode, exclude):
        return self.settings


PLAIN = Trial("plain", {"rate": 1, "epochs": 2, "oversample": {}})
CLEAN = Trial("more", {"rate": 1, "epochs": 2, "oversample": {"count": 1.3}})
CONFOUNDED = Trial("other", {"rate": 1, "epochs": 3, "oversample": {"count": 1.3}})
FAR = Trial("far", {"rate": 7, "epochs": 9, "oversample": {}})


def test_an_ablation_is_compared_with_its_nearest_twin():
    found = choices.nearest_twins([FAR, PLAIN, CLEAN, CONFOUNDED], "oversample")
    assert [(name, twin, differences["setting"].tolist()) for name, twin, differences in found] == [
        ("more", "plain", ["oversample"]),
        ("other", "plain", ["epochs", "oversample"]),
    ]
    for name, twin, differences in found:
        drawn = differences.set_index("setting").loc["oversample"]
        assert drawn[twin] == "none" and "times as often" in drawn[name]


def test_ablations_are_counted(tmp_path):
    for trials, n_ours in (([PLAIN, FAR], "not defined"), ([PLAIN, CLEAN], "1")):
        stage = stage_of(tmp_path, {})
        choices.store_ablation(stage, published_ablation(), choices.nearest_twins(trials, "oversample"))
        assert stage.numbers["defect.ablation.n_ours"].text == n_ours
