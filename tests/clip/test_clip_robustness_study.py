"""Both parts of the page on robustness, run whole on a stand-in encoder that compares ink with class means."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from verdict.base.numbers import COUNT, ESTIMATE, EXACT
from verdict.base.params import load_params, merge, validate
from verdict.clip.pictures import scenes
from verdict.clip.pictures.sources import of_scenes
from verdict.clip.probes.zero_shot import fit_temperature, scaled_logits
from verdict.clip.robustness import changed, robustness_study, shift_study
from verdict.clip.robustness.corruptions import CORRUPTIONS
from verdict.workflow.stage import Stage


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ink(images):
    """Where pictures are coloured (paper is grey), moved to the middle, in blocks of a twelfth of the side."""
    spread = np.ptp(images.astype(np.int64), axis=-1) > 60
    px = images.shape[1]
    moved = []
    for one in spread:
        places = np.argwhere(one)
        shift = np.round(px / 2 - places.mean(axis=0)).astype(int) if len(places) else (0, 0)
        moved.append(np.roll(one, shift, axis=(0, 1)))
    return np.stack(moved).reshape(len(images), 12, px // 12, 12, px // 12).mean(axis=(2, 4)).reshape(len(images), -1)


class Cache:
    """Ink of pictures, less its mean over the train split; a text is the mean of the digit that it names."""

    def __init__(self, pictures):
        rows = pictures.rows("train")
        found = ink(pictures.images[rows])
        self.middle = found.mean(axis=0)
        y_true = pictures.table["y"].to_numpy()[rows]
        self.means = unit(np.stack([(found - self.middle)[y_true == k].mean(axis=0) for k in range(10)]))

    def images(self, images):
        return unit(ink(images) - self.middle + 1e-6)

    def texts(self, texts):
        named = [next((k for k, word in enumerate(scenes.DIGITS) if word in text.split()), 0) for text in texts]
        return self.means[named]

    def patches(self, images):
        n, px = images.shape[:2]
        cut = images.reshape(n, 4, px // 4, 4, px // 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, 16, -1)
        return cut / (np.linalg.norm(cut.astype(float), axis=-1, keepdims=True) + 1)


@dataclass
class Study:
    pictures: object
    cache: Cache
    embeddings: np.ndarray
    stage: object
    logit_scale: float = 10.0
    model_line: str = "stand-in"

    @property
    def facts(self):
        return {"grid": 4}

    def rows(self, split):
        return self.pictures.rows(split)

    def of(self, split):
        rows = self.rows(split)
        table = self.pictures.table.iloc[rows]
        return self.embeddings[rows], table["y"].to_numpy(), table["group_id"].to_numpy()

    def classes(self):
        return self.cache.means


def stage_with(folder, **clip_robustness):
    changes = {"clip": {"source": "digits"}, "clip_robustness": {"n_conflict": 150, **clip_robustness}}
    params = validate(merge(load_params("smoke").as_dict(), changes), source="test")
    return Stage("11_clip_robustness", "smoke", None, None, folder, params)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    stage = stage_with(tmp_path_factory.mktemp("page"))
    pictures = of_scenes({"train": 300, "val": 20, "calib": 150, "test": 150}, seed=1)
    cache = Cache(pictures)
    study = Study(pictures, cache, cache.images(pictures.images), stage)
    bench = robustness_study.open_bench(study)
    return stage, bench, robustness_study.intervene(bench)


@pytest.fixture(scope="module")
def spoilt(opened):
    _, bench, _ = opened
    return robustness_study.corruptions(bench)


def test_factors_are_paired_with_the_pictures_as_drawn(opened):
    stage, bench, answers = opened
    table = robustness_study.factors(bench, answers)
    right = bench.is_right
    assert stage.numbers["robustness.accuracy"].value == right.mean() > 0.2
    row = table.query("factor == 'turn' and value == '+180°'").iloc[0]
    turned = bench.right(answers["turn", "+180°"].logits)
    assert row["change"] == pytest.approx(turned.mean() - right.mean())
    assert row["change_low"] <= row["change"] <= row["change_high"]
    worst = stage.numbers["robustness.worst_change"]
    own = table.loc[table["change"].idxmin()]
    assert worst.value == pytest.approx(own["change"]) and worst.low < own["change_low"], "picked from many"
    assert (
        stage.numbers["robustness.n_interventions_lost"].value
        == ((table["p_holm"] < 0.05) & (table["change"] < 0)).sum()
    )
    held = bench.right(answers["digit and colour", "held out"].logits)
    assert stage.numbers["robustness.held_out"].value == held.mean()
    assert len(table) - 1 == len(answers) == stage.numbers["robustness.n_interventions"].value
    # The claim's number stands in the table, by value and bounds.
    shown, number = table.iloc[-1], stage.numbers["robustness.accuracy"]
    assert [shown["accuracy"], shown["accuracy_low"], shown["accuracy_high"]] == [number.value, number.low, number.high]


def test_no_bound_of_the_smallest_lies_beyond_what_a_picture_can_have(opened):
    _, bench, _ = opened
    n = len(bench.subject)
    values = [(np.random.default_rng(k).random(n) < 0.02).astype(float) for k in range(12)]
    found = robustness_study.smallest(bench.resampler, values, span=(0, 1))
    assert 0 <= found.low <= found.value == min(one.mean() for one in values) <= found.high


def test_effective_robustness_of_every_shift(opened, spoilt):
    stage, bench, answers = opened
    listed = robustness_study.shifts(answers, spoilt[2])
    families = {f"{one.family} (corruption)" for one in CORRUPTIONS.values()}
    assert families < set(listed) and {"held out", "seen together", "turn", "colour"} < set(listed)
    few = {name: listed[name] for name in ("turn", "noise (corruption)", "held out")}
    table, placed = robustness_study.effective(bench, few)
    assert len(table) == 2 * 3 and (table["rho_low"] <= table["rho_high"]).all()
    assert np.allclose(table["rho"], table["after"] - table["expected"])
    assert len(bench.names) >= 10 and placed["turn", robustness_study.ENCODER].population.shape == (len(bench.names), 2)
    assert len(robustness_study.widest(table, 2)) == 2
    assert stage.numbers["robustness.n_shifts"].value == 3
    one = placed["held out", robustness_study.PROBE]
    probe = table[table["model"] == robustness_study.PROBE].set_index("shift")["p_holm"]
    assert one.p_rho <= probe["held out"] <= min(1, 3 * one.p_rho)


def test_corruptions_are_scored_and_drawn(opened, spoilt):
    stage, bench, _ = opened
    table, right, middle = spoilt
    hardest, own = stage.numbers["robustness.hardest"], table.loc[table["mean"].idxmin()]
    assert hardest.value == pytest.approx(own["mean"]) and hardest.low < own["mean_low"]
    assert (table["error_ratio_low"] <= table["error_ratio"]).all()
    assert len(table) == len(CORRUPTIONS) and (table["psnr_1"] > table["psnr_5"]).all()
    noisy = table.set_index("corruption").loc["gaussian noise"]
    assert noisy["at_5"] == pytest.approx(right["gaussian_noise"][4].mean())
    assert noisy["at_3"] == pytest.approx(bench.right(middle["gaussian_noise"].logits).mean())
    curves = robustness_study.corruption_curves(bench, right)
    assert {len(curve) for curve in curves.values()} == {6}
    images, titles = robustness_study.corruption_gallery(bench)
    assert len(images) == len(titles) == 1 + len(CORRUPTIONS)


def test_a_probe_of_ink_prefers_shape_where_colour_misleads(opened):
    stage, bench, _ = opened
    table = robustness_study.conflicts(bench).set_index(["cue", "model"])
    assert stage.numbers["shape.colour_bias"].value == table.loc[("colour", robustness_study.PROBE), "shape_bias"]
    assert table.loc[("colour", robustness_study.PROBE), "shape_bias"] > 0.6
    assert table.loc[("colour", "ridge on colour counts"), "shape_bias"] < 0.2
    assert table.loc[("colour", "ridge on colour counts"), "agreed_accuracy"] > 0.8


def test_depth_changes_start_at_the_unchanged_pictures(opened):
    _, bench, _ = opened
    curves = robustness_study.depth_curves(bench)
    clean = (bench.is_right).mean()
    assert all(curve["accuracy"].iloc[0] == pytest.approx(clean) for curve in curves.values())
    assert list(robustness_study.curve_table(curves, "change")["change"]) == list(curves)


def test_unknown_pictures_are_scored_without_their_classes(opened):
    stage, bench, _ = opened
    cosines, groups = shift_study.unknowns(bench)
    assert {part.shape[1] for part in cosines.values()} == {7}
    assert all(len(cosines[name]) == len(groups[name]) for name in cosines)
    table = shift_study.detection(bench, cosines, groups)
    assert len(table) == 3 * 5 + 1 and table["auroc"].between(0, 1).all()
    near = table[:5].loc[table["auroc"][:5].idxmax()]
    best = stage.numbers["ood.best_near_auroc"]
    assert best.value == near["auroc"] == table["auroc"].iloc[-1] and best.high > near["auroc_high"]
    curves = shift_study.temperatures(bench, cosines, groups)
    at_one = curves[shift_study.NEAR].query("score == '1'")["auroc"].item()
    assert at_one == pytest.approx(stage.numbers["ood.near_auroc"].value)


def test_one_temperature_is_carried_to_every_shift(opened, spoilt):
    stage, bench, answers = opened
    _, table = shift_study.calibration(bench, answers, spoilt[2])
    assert (table["regret"] >= 0).all()
    assert table["condition"].tolist()[:2] == [shift_study.TEST_SPLIT, robustness_study.AS_DRAWN]
    assert stage.numbers["transfer.n_shifts"].value == len(table) - 3 > len(CORRUPTIONS)
    # The largest regret is not the shift of the largest regret: its bounds hold for all shifts at once.
    own, worst = table.loc[table["regret"][2:-1].idxmax()], stage.numbers["transfer.worst_regret"]
    assert worst.value == own["regret"] == table["regret"].iloc[-1] and worst.high > own["regret_high"]
    assert [worst.low, worst.high] == table[["regret_low", "regret_high"]].iloc[-1].tolist()
    # The same rows give the page on probes and this one the same temperature, with the same interval.
    z, y, groups = bench.study.of("calib")
    logits = scaled_logits(z, bench.classes, bench.study.logit_scale)
    again = fit_temperature(logits, y, stage.resampler(groups))[1]
    stored = stage.numbers["transfer.temperature"]
    assert (stored.value, stored.low, stored.high) == (again.value, again.low, again.high)
    # Cosines times ten are far from calibrated for this stand-in; its own temperature must help where it was fitted.
    assert table["nll"].iloc[0] < table["nll_before"].iloc[0]


def test_counting_equal_and_true_captions_never_finds_less(opened):
    _, bench, _ = opened
    similarity, counted, groups = shift_study.captioned(bench)
    table, curves = shift_study.found_captions(bench, similarity, counted, groups)
    recall = table.set_index(["query", "counted"])["r5"]
    for query in ("image", "text"):
        assert recall[query, "own"] <= recall[query, "equal"] <= recall[query, "true"]
    assert set(curves) == {"own", "equal", "true"} and curves["own"]["recall"].is_monotonic_increasing


def test_points_are_found_by_tokens_and_by_pixels(opened):
    stage, bench, _ = opened
    table = shift_study.correspondence(bench)
    assert stage.numbers["points.small_turn_chance"].kind == ESTIMATE
    assert (
        table["within_0.1_by_chance_low"][0] < table["within_0.1_by_chance"][0] < table["within_0.1_by_chance_high"][0]
    )
    assert (table["within_0.1_at_best_low"] < table["within_0.1_at_best_high"]).all()
    assert len(table) == 2 * len(shift_study.VIEWS)
    assert (table["within_0.2"] <= table["within_0.2_at_best"]).all()
    assert (table["within_0.1"] <= table["within_0.2"]).all()


def with_answers(bench, path):
    """The bench of a stage whose parameters name an answer file."""
    return replace(bench, study=replace(bench.study, stage=stage_with(bench.stage.folder, assistant_answers=path)))


def test_questions_are_written_and_an_answer_file_is_scored(opened):
    stage, bench, _ = opened
    asked = shift_study.questions(bench)
    names = [choices[place] for choices, place in zip(asked["choices"], asked["truth"], strict=True)]
    assert names == [scenes.DIGITS[k] for k in bench.subject.y_true[: len(asked)]]
    shift_study.write_questions(bench, asked)
    rows = [json.loads(line) for line in (stage.folder / "questions" / "questions.jsonl").read_text().splitlines()]
    assert len(rows) == len(asked) == len(list((stage.folder / "questions").glob("*.png")))
    table = shift_study.assistants(bench, asked)
    assert list(table["who"]) == ["encoder"] and "questions.assistant_accuracy" not in stage.numbers

    path = stage.folder / "answers.jsonl"
    said = [
        {"question_id": row["question_id"], "answer": "ABCD"[k]} for row, k in zip(rows, asked["truth"], strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    given = with_answers(bench, str(path))
    scored = shift_study.assistants(given, asked)
    by_measure = scored[scored["who"] == "assistant"].set_index("measure")["value"]
    assert (by_measure["accuracy"], by_measure["gain"], by_measure["loss"]) == (1, 1, 0)
    assert given.stage.numbers["questions.assistant_accuracy"].value == 1
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.csv'"):
        shift_study.assistants(with_answers(bench, "nowhere.csv"), asked)


def test_pictures_that_cannot_be_rendered_go_the_same_way(opened):
    stage, bench, _ = opened
    pictures = replace(bench.study.pictures, masks=None)
    subject = changed.of_pictures(pictures, "test", 30)
    plain = replace(bench, subject=subject, study=replace(bench.study, stage=stage_with(stage.folder)))
    table = robustness_study.factors(plain, robustness_study.intervene(plain))
    assert {"turn", "size", "position", "light", "colour", "cover"} == set(table["factor"][:-1])
    assert (table["n"] == 30).all() and "robustness.held_out" not in plain.stage.numbers
    similarity, counted, groups = shift_study.captioned(plain)
    assert similarity.shape == (24, 24) and len(groups) == 24
    same = subject.y_true[:24, None] == subject.y_true[None, :24]
    assert np.array_equal(counted["true"], same) and (counted["true"] >= counted["equal"]).all()
    points = shift_study.correspondence(plain)
    assert (points["n_points"] >= 20).all()
    assert len(robustness_study.depth_curves(plain)) == 6


def test_every_number_of_the_page_says_what_it_is(opened):
    kinds = {name: number.kind for name, number in opened[0].numbers.items()}
    assert set(kinds.values()) <= {ESTIMATE, COUNT, EXACT} and kinds["transfer.temperature"] == ESTIMATE
