"""The three pages on robustness, on a few pictures and the shipped encoder."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clip_study import embedded, opened, params
from verdict.base.numbers import COUNT, ESTIMATE, EXACT
from verdict.clip.pictures import scenes
from verdict.clip.probes.zero_shot import fit_temperature, scaled_logits
from verdict.clip.robustness import changed, robustness_study, shift_study, tasks_study
from verdict.clip.robustness.corruptions import CORRUPTIONS, corrupt

PAGE, PROBE = "11_clip_robustness", robustness_study.PROBE


def pages_params(**changes):
    return params({"n": {"train": 120, "val": 20, "calib": 80, "test": 60}}, clip_robustness=changes)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with embedded(tmp_path_factory.mktemp("project"), PAGE, pages_params()) as study:
        yield robustness_study.open_bench(study)


@pytest.fixture(scope="module")
def answers(bench):
    return robustness_study.intervene(bench)


@pytest.fixture(scope="module")
def spoilt(bench):
    return robustness_study.corruptions(bench)


def numbers(bench, *names):
    return [bench.stage.numbers[name].value for name in names]


def test_factors_are_paired_with_the_pictures_as_drawn(bench, answers):
    table, right = robustness_study.factors(bench, answers), bench.is_right
    row = table.query("factor == 'turn' and value == '+180°'").iloc[0]
    turned = bench.right(answers["turn", "+180°"][0])
    assert row["change"] == pytest.approx(turned.mean() - right.mean()) and right.mean() > 0.2
    assert row["change_low"] <= row["change"] <= row["change_high"]
    worst, own = bench.stage.numbers["robustness.worst_change"], table.loc[table["change"].idxmin()]
    assert worst.value == pytest.approx(own["change"]) and worst.low < own["change_low"], "picked from many"
    lost, gained = (((table["p_holm"] < 0.05) & (side * table["change"] > 0)).sum() for side in (-1, 1))
    held = bench.right(answers["digit and colour", "held out"][0]).mean()
    names = ("n_interventions_lost", "n_interventions_gained", "held_out", "n_interventions")
    assert numbers(bench, *(f"robustness.{name}" for name in names)) == [lost, gained, held, len(answers)]
    # The claim's number stands in the table, by value and bounds.
    shown, number = table.iloc[-1], bench.stage.numbers["robustness.accuracy"]
    assert [shown["accuracy"], shown["accuracy_low"], shown["accuracy_high"]] == [number.value, number.low, number.high]


def test_no_bound_of_the_smallest_lies_beyond_what_a_picture_can_have(bench):
    n = len(bench.subject)
    values = [(np.random.default_rng(k).random(n) < 0.02).astype(float) for k in range(12)]
    found = bench.resampler.smallest_mean(values, span=(0, 1))
    assert 0 <= found.low <= found.value == min(one.mean() for one in values) <= found.high


def test_effective_robustness_is_adjusted_for_every_shift(bench, answers, spoilt):
    listed = robustness_study.shifts(answers, spoilt[2])
    families = {f"{one.family} (corruption)" for one in CORRUPTIONS.values()}
    assert families < set(listed) and {"seen together", "turn", "colour"} < set(listed) and "held out" not in listed
    few = {name: listed[name] for name in ("turn", "noise (corruption)", "seen together")}
    table, placed = robustness_study.effective(bench, few)
    assert np.allclose(table["rho"], table["after"] - table["expected"])
    assert placed["turn", robustness_study.ENCODER].population.shape == (len(bench.names), 2)
    own = table[table["model"] == robustness_study.ENCODER].set_index("shift")["rho"].abs()
    assert robustness_study.widest(table, 1) == [own.idxmax()]
    one = placed["seen together", PROBE]
    probe = table[table["model"] == PROBE].set_index("shift")["p_holm"]
    assert one.p_rho <= probe["seen together"] <= min(1, 3 * one.p_rho)


def test_corruptions_are_scored_and_the_hardest_was_picked(bench, spoilt):
    table, right, middle, shown = spoilt
    assert len(shown) == len(CORRUPTIONS) + 1 and np.array_equal(shown["unchanged"], bench.subject.images[0])
    rng = bench.stage.rng("robustness.corrupt", "fog")
    assert np.array_equal(shown["fog"], corrupt(bench.subject.images, CORRUPTIONS["fog"], 3, rng)[0])
    hardest, own = bench.stage.numbers["robustness.hardest"], table.loc[table["mean"].idxmin()]
    assert hardest.value == pytest.approx(own["mean"]) and hardest.low < own["mean_low"]
    assert hardest.unit == "%", "a share, as on all pages"
    noisy = table.set_index("corruption").loc["gaussian noise"]
    assert noisy["at_5"] == pytest.approx(right["gaussian_noise"][4].mean())
    assert noisy["at_3"] == pytest.approx(bench.right(middle["gaussian_noise"].logits).mean())
    for curves in (robustness_study.corruption_curves(bench, right), tasks_study.depth_curves(bench)):
        assert {curve["accuracy"].iloc[0] for curve in curves.values()} == {bench.is_right.mean()}
        assert {len(curve) for curve in curves.values()} == {6}
    lowest = min(curve["accuracy"].iloc[-1] for curve in curves.values())
    assert numbers(bench, "depth.worst_change") == pytest.approx([lowest - bench.is_right.mean()])


def test_models_learn_anew_where_cues_contradict_each_other(bench):
    table = robustness_study.conflicts(bench).set_index(["cue", "model"])
    assert numbers(bench, "shape.colour_bias") == [table.loc[("colour", PROBE), "shape_bias"]]
    assert table.loc[("colour", "ridge on colour counts"), "shape_bias"] < 0.2
    assert table.loc[("colour", "ridge on colour counts"), "agreed_accuracy"] > 0.8


def test_unknown_pictures_are_scored_without_their_classes(bench):
    cosines, groups = shift_study.unknowns(bench)
    assert {part.shape[1] for part in cosines.values()} == {7}
    assert all(len(cosines[name]) == len(groups[name]) for name in cosines)
    table = shift_study.detection(bench, cosines, groups)
    near, best = table[:5].loc[table["auroc"][:5].idxmax()], bench.stage.numbers["ood.best_near_auroc"]
    assert best.value == near["auroc"] == table["auroc"].iloc[-1] and 1 >= best.high >= near["auroc_high"]
    curves = shift_study.temperatures(bench, cosines, groups)
    at_one = curves[shift_study.NEAR].query("score == '1'")["auroc"].item()
    assert [at_one] == pytest.approx(numbers(bench, "ood.near_auroc"))


def test_one_temperature_is_carried_to_every_shift(bench, answers, spoilt, tmp_path, monkeypatch):
    robustness_study.changed_logits(bench, answers, spoilt[2]).to_parquet(tmp_path / "changed.parquet")
    monkeypatch.setattr(type(bench.stage), "upstream", lambda self, name, file: tmp_path / file)
    shown = shift_study.read_changed(bench.stage)
    assert np.array_equal(shown["turn = +180°"], answers["turn", "+180°"][0]) and len(shown) > len(CORRUPTIONS)
    stage, (_, table) = bench.stage, shift_study.calibration(bench, shown)
    assert (table["regret"] >= 0).all()
    assert table["condition"].tolist()[:2] == [shift_study.TEST_SPLIT, robustness_study.AS_DRAWN]
    assert numbers(bench, "transfer.n_shifts") == [len(table) - 3]
    # The largest regret is not the shift of the largest regret: its bounds hold for all shifts at once.
    shifted = table[2:-1]
    own, worst = (
        shifted.loc[shifted["regret"][shifted["oracle"].notna()].idxmax()],
        stage.numbers["transfer.worst_regret"],
    )
    assert worst.value == own["regret"] == table["regret"].iloc[-1] and worst.high > own["regret_high"]
    assert [worst.low, worst.high] == table[["regret_low", "regret_high"]].iloc[-1].tolist()
    assert stage.numbers["transfer.worst_shift"].words == own["condition"]
    assert (
        numbers(bench, "transfer.worst_accuracy", "transfer.worst_nll_change")
        == own[["accuracy", "nll_change"]].tolist()
    )
    # What the model is worth is judged by guessing too, not by the best temperature alone.
    above = shifted[shifted["nll_low"] > np.log(10)]
    assert numbers(bench, "transfer.n_own", "transfer.n_above_guessing") == [shifted["oracle"].count(), len(above)]
    assert above["nll"].max() == stage.numbers["transfer.highest_nll"].value >= stage.numbers["transfer.guessing"].value
    # The same rows give the page on probes and this one the same temperature, with the same interval.
    z, y, groups = bench.study.of("calib")
    logits = scaled_logits(z, bench.classes, bench.study.logit_scale)
    again = fit_temperature(logits, y, stage.resampler(groups))[1]
    stored = stage.numbers["transfer.temperature"]
    assert (stored.value, stored.low, stored.high) == (again.value, again.low, again.high)


def test_counting_equal_and_true_captions_never_finds_less(bench):
    similarity, counted, groups = tasks_study.captioned(bench)
    table, curves = tasks_study.found_captions(bench, similarity, counted, groups)
    recall = table.set_index(["query", "counted"])["r5"]
    for query in ("image", "text"):
        assert recall[query, "own"] <= recall[query, "equal"] <= recall[query, "true"]
    assert curves["own"]["recall"].is_monotonic_increasing


def test_points_are_found_by_tokens_and_by_pixels(bench):
    table = tasks_study.correspondence(bench)
    assert table["within_0.1_by_chance_low"][0] < table["within_0.1_by_chance_high"][0]
    assert len(table) == 2 * len(tasks_study.MAPS)
    assert (table["within_0.2"] <= table["within_0.2_at_best"]).all()
    assert (table["within_0.1"] <= table["within_0.2"]).all()
    gain = table["within_0.1"].groupby(table["view"], sort=False).agg(lambda both: both.iloc[0] - both.iloc[1])
    assert np.allclose(table["gain"].dropna(), gain), "the encoder minus pixels on the same points"
    assert numbers(bench, "points.n_views_above") == [(table["gain_low"] > 0).sum()]


def test_questions_are_written_and_an_answer_file_is_scored(bench):
    stage, asked = bench.stage, tasks_study.questions(bench)
    names = [choices[place] for choices, place in zip(asked["choices"], asked["truth"], strict=True)]
    assert names == [scenes.DIGITS[k] for k in bench.subject.y_true[: len(asked)]]
    tasks_study.write_questions(bench, asked)
    rows = [json.loads(line) for line in (stage.folder / "questions" / "questions.jsonl").read_text().splitlines()]
    assert len(rows) == len(asked) == len(list((stage.folder / "questions").glob("*.png")))
    assert set(tasks_study.assistants(bench, asked)["who"]) == {"encoder"}

    def answered(file):
        other = opened(PAGE, stage.folder, pages_params(assistant_answers=str(file)))
        return tasks_study.assistants(replace(bench, study=replace(bench.study, stage=other)), asked), other

    said = [
        {"question_id": row["question_id"], "answer": "ABCD"[k]} for row, k in zip(rows, asked["truth"], strict=True)
    ]
    path = stage.folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    scored, other = answered(path)
    by_measure = scored[scored["who"] == "assistant"].set_index("measure")["value"]
    assert by_measure["accuracy"] == 1 == other.numbers["questions.assistant_accuracy"].value
    assert by_measure["loss"] == 0
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.csv'"):
        answered("nowhere.csv")


def test_pictures_that_cannot_be_rendered_go_the_same_way(bench):
    stage = opened(PAGE, bench.stage.folder, pages_params())
    study = replace(bench.study, pictures=replace(bench.study.pictures, masks=None), stage=stage)
    plain = robustness_study.Bench(study, changed.of_pictures(study.pictures, "test", 30))
    table = robustness_study.factors(plain, robustness_study.intervene(plain))
    assert {"turn", "size", "position", "light", "colour", "cover"} == set(table["factor"][:-1])
    similarity, counted, _ = tasks_study.captioned(plain)
    y_true = plain.subject.y_true[: len(similarity)]
    assert np.array_equal(counted["true"], y_true[:, None] == y_true) and (counted["true"] >= counted["equal"]).all()
    assert (tasks_study.correspondence(plain)["n_points"] >= 20).all()
    assert len(tasks_study.depth_curves(plain)) == 6


def test_every_number_of_the_page_says_what_it_is(bench):
    settings = ("clip.encoder", "transfer.worst_shift", "transfer.highest_shift")
    kinds = {name: number.kind for name, number in bench.stage.numbers.items() if name not in settings}
    assert set(kinds.values()) <= {ESTIMATE, COUNT, EXACT} and kinds["transfer.temperature"] == ESTIMATE
