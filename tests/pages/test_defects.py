"""Defects of the published study: each check accepts this code and rejects the defect, which is written out here.

Numbers are those of the ledger of defects.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tiny_network as tiny
from mini_corpora import a2_params, image_ids, write_a2, write_snli_ve
from simulated_stage import SimulatedStage, make_stage, pairs_of, params_with, simulated_table
from tiny_presets import SIZE, save_presets
from verdict.base import paths
from verdict.base.files.images import ImageStore
from verdict.base.labels import EVALUATION_SPLITS, WARMUP_SPLITS, Label, Split
from verdict.base.numbers import Number, Numbers
from verdict.base.params import TrialParams, load_params, trial_difference
from verdict.data.digits import digits
from verdict.data.own import csv_folder
from verdict.data.photos import a2, snli_ve
from verdict.data.splits import published_split
from verdict.data.statements import negation_guard
from verdict.model import augment
from verdict.model.backend import keras
from verdict.model.export import table as exported
from verdict.model.features import Encoders, Features, load_encoders
from verdict.model.fit import Batches, Rows, _best, epoch_order, predict_logits, score
from verdict.model.network import FreezePlan, apply_plan, build_suffix
from verdict.model.predict import RAW, DecisionRule, logits_of
from verdict.model.trials import oversampled, shuffle_images
from verdict.pages import evaluation
from verdict.pages.ablation import changed_parameters, find_ablations
from verdict.pages.error_analysis import THRESHOLDS, sweep, threshold_effect
from verdict.report.notebook import read_notebook
from verdict.stats.metrics import accuracy, macro_f1
from verdict.stats.uncertainty import Resampler

Check = Callable[[Any, Path], None]


@dataclass(frozen=True)
class Case:
    """A numbered check, this code's way of doing it, and the ways that are wrong."""

    number: int
    check: Check
    ours: Any
    defects: dict[str, Any]


CASES: list[Case] = []


def case(number: int, ours: Any, **defects: Any) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CASES.append(Case(number, check, ours, defects))
        return check

    return register


# 1: label names and the negation guard.


@case(1, ours=lambda k: Label(k).text, names_exchanged=lambda k: Label(1 - k).text)
def labels_survive_the_export(name_of, folder):
    """Answers go out as names and come back as the same answers."""
    n = 97
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 2, n)
    logits = np.stack([np.zeros(n), np.where(y_true == Label.CONTRADICTION, 2.0, -2.0)], axis=1)
    pairs = pd.DataFrame({"image_id": [f"i{k % 13}" for k in range(n)], "hypothesis": [f"h {k}" for k in range(n)]})
    found = exported.answers(pairs, logits, DecisionRule())
    found["Label"] = [name_of(int(k)) for k in DecisionRule().decide(logits)]
    exported.write(folder / "p.csv", found, DecisionRule(), {})
    exported.rule_path(folder / "p.csv").unlink()
    truth = pairs.assign(label=[Label(int(k)).name for k in y_true])
    truth.to_csv(folder / "truth.csv", index=False)
    assert exported.score(folder / "p.csv", folder / "truth.csv", load_params("smoke").statistics).accuracy.value == 1


@case(1, ours=lambda k: Label(k).text, names_exchanged=lambda k: Label(1 - k).text)
def negated_sentences_are_contradictions(name_of, folder):
    """The share of the study's own training data, 0.815 of id 1, under the names that the ids get."""
    n = 97
    ids = (np.arange(n) < 0.815 * n).astype(int)
    train = pd.DataFrame({"hypothesis": [f"There is no dog {k}" for k in range(n)], "group_id": np.arange(n)})
    train["label"] = [name_of(int(k)) for k in ids]
    assert negation_guard(train, partial(Resampler, n_resamples=100, level=0.95, seed=1))[0].low > 0.6


# 2: one decision path.


@case(
    2,
    ours=lambda logits, threshold: DecisionRule(threshold=threshold).decide(logits),
    probability_threshold_on_logits=lambda logits, threshold: (logits[:, 1] >= threshold).astype(int),
)
def all_paths_decide_alike(decide, folder):
    """Sweep, report, export and the rule itself give the same answers to the same rows at every threshold."""
    stage = make_stage("05_test", folder)
    rows = simulated_table("test", n=499, seed=3)
    logits, y_true = logits_of(rows), rows["y_true"].to_numpy()
    curve = sweep(rows).set_index("threshold")
    pairs = pairs_of(rows)
    for threshold in THRESHOLDS:
        answers, rule = decide(logits, float(threshold)), DecisionRule(threshold=float(threshold))
        assert curve.loc[threshold, "macro_f1"] == macro_f1(y_true, answers)
        names = exported.answers(pairs, logits, rule)["Label"]
        assert [Label.parse(name) for name in names] == answers.tolist()
        assert curve.loc[threshold, "accuracy"] == accuracy(y_true, answers)
        stage.numbers.clear()
        threshold_effect(rows, float(threshold), stage=stage)
        assert stage.numbers["test.n_turned"].value == (answers != RAW.decide(logits)).sum()


# 3: the warm-up sees no image of an evaluation split.

SMALL = {"warmup_train": 42, "warmup_val": 42, "train": 42, "val": 42, "calib": 42, "test": 42, "independent": 42}


def our_data(folder):
    """Pairs, and the pixels behind each image id."""
    pairs = digits.build(n_pairs=SMALL, pairs_per_scene=3, seed=1, out=folder).pairs
    store = ImageStore.open(folder)
    return pairs, {image_id: store.load([image_id], size=(64, 64)).tobytes() for image_id in pairs["image_id"].unique()}


def renamed_test_images_in_the_warmup(folder):
    pairs, pixels = our_data(folder)
    seen = pairs[pairs["split"] == Split.TEST].head(11)
    again = seen.assign(image_id="copy-" + seen["image_id"], split=str(Split.WARMUP_TRAIN))
    copies = {f"copy-{image_id}": pixels[image_id] for image_id in seen["image_id"]}
    return pd.concat([pairs, again]), {**pixels, **copies}


@case(3, ours=our_data, test_images_under_other_names=renamed_test_images_in_the_warmup)
def the_warmup_is_apart(build, folder):
    pairs, pixels = build(folder)
    assert_apart(pairs.assign(image=pairs["image_id"].map(pixels)))


def assert_apart(pairs):
    """No image of the warm-up is one of an evaluation split."""
    names = [[str(split) for split in splits] for splits in (WARMUP_SPLITS, EVALUATION_SPLITS)]
    shown = [set(pairs.loc[pairs["split"].isin(splits), "image"]) for splits in names]
    assert all(shown)
    assert not shown[0] & shown[1]


def mini_study(folder):
    """The study's set and its warm-up corpus, which holds every image of the set."""
    ids = write_a2(folder, n_images=20)
    write_snli_ve(folder, ids, image_ids(4, start=20))
    return {"params": a2_params(calib_fraction=0.2), "seed": 42, "out": folder / "store"}


def our_warmup(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERDICT_DATA", str(folder))
        warmup = partial(snli_ve.draw, n_train=20, n_val=8, seed=42)
        return a2.build(**mini_study(folder), warmup=warmup).pairs


def warmup_of_the_whole_corpus(folder):
    """The study's: any rows of the corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERDICT_DATA", str(folder))
        pairs = a2.build(**mini_study(folder)).pairs
        nothing = snli_ve.Target(pairs.iloc[:0], {}, {}, {})
        return pd.concat([pairs, snli_ve.draw(nothing, n_train=20, n_val=8, seed=42).pairs])


@case(3, ours=our_warmup, whole_corpus=warmup_of_the_whole_corpus)
def a_warmup_from_another_corpus_is_apart(build, folder):
    pairs = build(folder)
    assert_apart(pairs.assign(image=pairs["image_id"]))


# 4: pixels reach the encoder in the preset's own range.


@case(4, ours=Encoders.pixels, zero_to_one=lambda encoders, images: images.astype(np.float32) / 255)
def pixels_span_the_presets_range(pixels, folder):
    encoders = load_encoders(save_presets(folder / "vision", folder / "text"))
    images = np.zeros((1, *SIZE, 3), dtype=np.uint8)
    images[0, 0] = 255
    found = pixels(encoders, images)
    assert (float(found.min()), float(found.max())) == pytest.approx((-1, 1), abs=1e-6)


# 5: exactly the planned blocks train, whatever was set before.


def _free(blocks):
    for block in blocks:
        for weight in block.variables:
            weight.trainable = True


def whole_parent(network, plan):
    apply_plan(network, plan)
    if plan.vision_blocks:
        _free([network.vision.get_layer("vit_encoder")])


def last_zero_is_all(network, plan):
    apply_plan(network, FreezePlan(plan.vision_blocks, 0))
    _free(network.text_layers[-plan.text_blocks :])


def never_frozen_again(network, plan):
    if not getattr(network.model, "is_prepared", False):
        apply_plan(network, FreezePlan())
        network.model.is_prepared = True
    _free(network.vision_layers[len(network.vision_layers) - plan.vision_blocks :])
    _free(network.text_layers[len(network.text_layers) - plan.text_blocks :])


@case(5, ours=apply_plan, parent=whole_parent, slice_of_zero=last_zero_is_all, not_idempotent=never_frozen_again)
def the_planned_layers_train(unfreeze, folder):
    network = tiny.tiny_network()
    for vision, text in ((0, 3), (0, 2), (0, 0), (1, 2), (0, 1)):
        unfreeze(network, FreezePlan(vision, text))
        paths_of = [weight.path.removeprefix("vit_encoder/") for weight in network.model.trainable_variables]
        trained = {path.split("/")[0] for path in paths_of}
        blocks = {f"transformer_block_{i}" for i in range(tiny.BLOCKS - vision + 1, tiny.BLOCKS + 1)}
        blocks |= {f"transformer_layer_{i}" for i in range(tiny.BLOCKS - text, tiny.BLOCKS)}
        assert trained == blocks | {"xattn", "xattn_norm", "mlp_1", "logit"}


# 6: the epoch is kept by the metric that trials are ranked by.


@case(
    6,
    ours=lambda history: _best(history, load_params("base").training.criterion),
    lowest_loss=lambda history: int(np.argmin([entry["val_nll"] for entry in history])),
)
def the_kept_epoch_is_best_by_the_ranking_metric(keep, folder):
    """Logits of later epochs are better ordered and far too sure: macro-F1 rises while the loss rises too."""
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 2, 997)
    sharpness = ((1, 0.7), (9, 0.9), (15, 0.8))
    epochs = [scale * (signal * (2 * y_true - 1) + rng.normal(size=997)) for scale, signal in sharpness]
    history = [{f"val_{name}": value for name, value in score(logit, y_true).items()} for logit in epochs]
    answers = [DecisionRule().decide(np.stack([np.zeros(997), logit], axis=1)) for logit in epochs]
    ranked = evaluation.SeedAnswers(y_true, np.arange(997), np.stack(answers), (1, 2, 3)).statistics()
    values = [float(statistic(None)) for statistic in ranked]
    assert values[keep(history)] == max(values)


# 7: an ablation of oversampling changes one factor.

TWIN = {"learning_rate": 3.4546e-5, "weight_decay": 1.3253e-5, "dropout": 0.1261, "epochs": 2, "patience": 2}
TWIN |= {"name": "twin", "parent": "frozen", "vision_blocks": 0, "text_blocks": 3, "schedule": "constant"}
TWIN |= {"augment": "photometric", "views": 2}
OVERSAMPLED = {**TWIN, "name": "oversampled", "oversample": {"gender": 1.2, "counting": 1.3}}


def our_ablation():
    return load_params("smoke").training.trials


def as_published():
    """Three epochs for two, another augmentation, no early stop, and the oversampling."""
    changed = {**OVERSAMPLED, "epochs": 3, "patience": 3, "views": 3}
    return [TrialParams(**TWIN), TrialParams(**changed)]


@case(7, ours=our_ablation, confounded=as_published, no_twin=lambda: [TrialParams(**OVERSAMPLED)])
def an_oversampled_trial_differs_from_its_twin_in_one_parameter(trials, folder):
    trials = trials()
    wanted = [trial for trial in trials if trial.oversample]
    assert wanted
    found = {one.trial.name: one for one in find_ablations(trials) if one.factor == "oversampling"}
    for trial in wanted:
        assert trial.name in found
        assert list(trial_difference(found[trial.name].twin, trial)) == ["oversample"]
    shown = changed_parameters(list(found.values()))
    assert shown["parameter"].tolist() == ["oversample"] * len(wanted)


def steps_of_more_rows(pairs, trial):
    return len(Batches(None, None, np.arange(len(oversampled(pairs, trial, 42))), 32, blank=False))


def our_steps(pairs, trial):
    texts = np.arange(len(oversampled(pairs, trial, 42)))
    order = epoch_order(texts, np.random.default_rng(1), shared=1, n_shown=len(pairs))
    return len(Batches(None, None, order, 32, blank=False))


@case(7, ours=our_steps, more_steps=steps_of_more_rows)
def an_oversampled_epoch_has_its_twins_steps(steps, folder):
    """The study compared 1,134 steps an epoch with 980."""
    texts = ["A man walks."] * 15_630 + ["A dog."] * (31_340 - 15_630 - 6_002) + ["There are two dogs."] * 6_002
    pairs, trials = pd.DataFrame({"hypothesis": texts}), [TrialParams(**one) for one in (TWIN, OVERSAMPLED)]
    assert steps_of_more_rows(pairs, trials[1]) == 1_134
    assert [steps(pairs, trial) for trial in trials] == [980, 980]


# 8: attention is drawn by the graph that answers.

DRAWN = ("attention", "logit")


def our_extractor(network, plan):
    return build_suffix(network, plan, watched=DRAWN)


def head_of_raw_text(network, plan):
    """The study's wrapper: it attends, and then hands the text as it was before fusion to the head."""
    suffix, head = build_suffix(network, plan, watched=("attention", "take_cls_token")), network.head
    logit = head["logit"](head["mlp_1"](head["flatten_cls"](suffix.output["take_cls_token"])))
    return keras.Model(suffix.input, {"attention": suffix.output["attention"], "logit": logit})


def another_network(network, plan):
    other = tiny.tiny_network(seed=8)
    tiny.scatter(other, seed=9)
    return build_suffix(other, plan, watched=DRAWN)


@case(8, ours=our_extractor, raw_text_to_the_head=head_of_raw_text, rebuilt_without_weights=another_network)
def attention_is_the_answering_graphs(extractor, folder):
    """The logit beside the attention is the network's own, and moves when the image does."""
    network, plan = tiny.scatter(tiny.tiny_network()), FreezePlan(0, 1)
    drawn, (vision, text) = extractor(network, plan), tiny.build_prefix(network, plan)
    inputs, rows = tiny.random_inputs(network, 5), np.arange(5)
    words = {name: inputs[name] for name in ("token_ids", "padding_mask")}
    encoded = {"hidden": text.predict_on_batch(words), "padding_mask": words["padding_mask"]}
    found = {}
    for kind, images in (("own", rows), ("other", np.roll(rows, 1))):
        places = {"a_image_rows": images.astype(np.int32), "a_text_rows": rows.astype(np.int32)}
        tokens = vision.predict_on_batch(inputs["pixels"])
        found[kind] = drawn.predict_on_batch({**encoded, **places, "image_tokens": tokens})
        assert found[kind]["logit"][:, 0] == pytest.approx(tiny.whole(network, inputs, images, rows), abs=1e-5)
        assert found[kind]["attention"].shape == (5, 3, 1, network.n_image_tokens)
        assert found[kind]["attention"].sum(axis=-1) == pytest.approx(1, abs=1e-5)
    assert np.abs(found["own"]["logit"] - found["other"]["logit"]).min() > 1e-4


# 9: controls without the image and with a wrong one.


def report_without_controls(stage, kept):
    everything = evaluation.references(stage, kept)
    return everything[everything["answers"].str.contains("always|kept model$")]


@case(9, ours=evaluation.references, no_controls=report_without_controls)
def controls_stand_beside_the_model(references, folder):
    stage = make_stage("05_test", folder, sizes={"train": 211, "test": 211})
    test = stage.tables["test", 11]
    test.assign(logit_1=-test["logit_1"]).to_parquet(folder / "shuffled.parquet")
    stage.upstream = lambda *asked: folder / "shuffled.parquet"
    rows = references(stage, evaluation.Selection("text1", 11, "frozen", "text1")).set_index("answers")
    for words in ("without the image", "without the hypothesis", "another pair's", "always "):
        found = rows[rows.index.str.contains(words)]
        assert len(found) == 1
        assert found[["macro_f1_low", "macro_f1_high"]].notna().all(axis=None)


@case(
    9,
    ours=shuffle_images,
    own_image=lambda pairs, rng: pairs,
    row_by_row=lambda pairs, rng: pairs.assign(image_id=rng.permutation(pairs["image_id"].to_numpy())),
)
def a_wrong_image_is_another_groups(shuffle, folder):
    names = np.array([f"i{k // 3}" for k in range(211)], dtype=object)
    pairs = pd.DataFrame({"image_id": names, "group_id": names})
    found = shuffle(pairs, np.random.default_rng(3))
    assert sorted(found["image_id"]) == sorted(names)
    assert (found["image_id"] != names).all()


# 10: the recipe gives the printed sizes, and no image is on two sides.


def fifth_then_fifth(images):
    """The code that the study shows: a fifth, then a fifth of the rest."""
    names = np.array(sorted(images.unique()), dtype=object)
    order = np.random.default_rng(42).permutation(len(names))
    n_test = -(-len(names) // 5)
    n_val = -(-(len(names) - n_test) // 5)
    part = np.repeat(["test", "val", "train"], [n_test, n_val, len(names) - n_test - n_val])
    return images.map(dict(zip(names[order], part, strict=True)))


def rows_not_images(images):
    part = np.repeat(["train", "val", "test"], [31_316, 3_914, 3_916])
    return pd.Series(np.random.default_rng(42).permutation(part), index=images.index)


@case(10, ours=published_split, other_shares=fifth_then_fifth, by_row=rows_not_images)
def the_recipe_gives_the_split(split, folder):
    images = pd.Series([str(k) for k in range(19_573)]).repeat(2).reset_index(drop=True)
    found = split(images)
    assert images.groupby(found).nunique().to_dict() == {"train": 15_658, "val": 1_957, "test": 1_958}
    assert found.groupby(images).nunique().max() == 1


# 11: evaluation answers every row once.


class Echo:
    """A network that answers with the number of the image that it is shown."""

    def predict_on_batch(self, inputs):
        return inputs["image_tokens"][inputs["a_image_rows"]][:, 0]


def our_evaluation(n):
    rows = np.arange(n)
    numbered = rows.astype(np.float32).reshape(n, 1, 1)
    features = Features(pd.Series(rows), pd.Series(rows), numbered, numbered, np.ones((n, 1), dtype=np.int32))
    return predict_logits(Echo(), features, Rows(rows, rows, np.zeros(n, dtype=np.int64)))


@case(
    11,
    ours=our_evaluation,
    repeated_to_whole_batches=lambda n: np.resize(np.arange(n), -(-n // 32) * 32),
    whole_batches_only=lambda n: np.arange(n // 32 * 32),
    window_moved_on=lambda n: np.roll(np.arange(n), -14),
)
def every_row_is_evaluated_once(evaluated, folder):
    for n in (3_922, 3_867, 31):
        assert np.array_equal(evaluated(n), np.arange(n))


# 12: an epoch visits every row once.


def repeat_then_shuffle(n, epoch):
    """Rows in file order, repeated without end, through a buffer that gives out one at random: one epoch's worth."""
    rng, buffer, source = np.random.default_rng(42), [], 0
    visited = []
    while len(visited) < (epoch + 1) * n:
        while len(buffer) < min(n, 127):
            buffer.append(source % n)
            source += 1
        visited.append(buffer.pop(int(rng.integers(len(buffer)))))
    return np.array(visited[epoch * n :])


@case(
    12,
    ours=lambda n, epoch: epoch_order(np.arange(n), np.random.default_rng([42, epoch]), shared=1),
    repeat_before_shuffle=repeat_then_shuffle,
    file_order=lambda n, epoch: np.arange(n),
)
def an_epoch_visits_every_row_once(order, folder):
    n = 997
    epochs = [order(n, epoch) for epoch in range(3)]
    for rows in epochs:
        assert np.array_equal(np.sort(rows), np.arange(n))
        assert abs(np.corrcoef(rows, np.arange(n))[0, 1]) < 0.15
    assert not np.array_equal(epochs[0], epochs[1])


@case(12, ours=lambda texts, rng: epoch_order(texts, rng, shared=4), one_a_text=lambda texts, rng: np.unique(texts))
def neighbours_with_one_sentence_cost_no_row(order, folder):
    texts = np.random.default_rng(4).integers(0, 41, 997)
    rows = order(texts, np.random.default_rng(5))
    assert np.array_equal(np.sort(rows), np.arange(997))


# 13: what one operation does to an image says nothing about what another does.


def our_draws(image_ids):
    """The five draws of each image: four factors, and the first value of the noise."""
    ranges = load_params("base").training.photometric
    drawn = augment.jitters(image_ids, ranges, view=1)
    noise = [augment.rng_of(ranges.seed, 1, image_id, "noise").standard_normal() for image_id in image_ids]
    return np.stack([*(drawn[name] for name in augment.FACTORS), np.array(noise)])


def one_seed_for_all(image_ids):
    """Five operations that share their seed: each starts the image's stream anew."""
    bounds = ((-0.12, 0.12), (0.88, 1.12), (0.85, 1.15), (-0.05, 0.05), (-1.0, 1.0))
    draws = [[np.random.default_rng([42, k]).uniform(*bound) for bound in bounds] for k in range(len(image_ids))]
    return np.array(draws).T


def one_draw_for_two(image_ids):
    drawn = our_draws(image_ids)
    drawn[1] = 1 + drawn[0]
    return drawn


@case(13, ours=our_draws, shared_seed=one_seed_for_all, bright_means_contrasty=one_draw_for_two)
def jitters_are_independent(draws, folder):
    """Correlations below 0.1; of 4,001 images each has a standard deviation of 0.016."""
    correlations = np.corrcoef(draws([f"image {k}" for k in range(4001)]))
    assert correlations.shape == (5, 5)
    assert np.abs(correlations[np.triu_indices(5, 1)]).max() < 0.1


# 14: nothing is called best before several seeds and a paired interval.


@dataclass
class ByTrial(SimulatedStage):
    """Predictions by trial and seed; the later trial has more parameters."""

    def predictions(self, *splits, trial, seed):
        return self.tables[trial, seed]

    def upstream(self, name, file, trial=None):
        n_trainable = Number({"frozen": 100, "text1": 900}[trial], unit="count")
        Numbers({f"{trial}_s11.n_trainable": n_trainable}).save(self.folder / f"{trial}.json")
        return self.folder / f"{trial}.json"


def kept_by_selection(stage):
    return evaluation.choose(stage, evaluation.rank_trials(stage)).trial


def largest_of_one_seed(stage):
    def first_seed(trial):
        rows = stage.predictions(Split.VAL, trial=trial, seed=11)
        return float(macro_f1(rows["y_true"], DecisionRule().decide(logits_of(rows))))

    return max(("frozen", "text1"), key=first_seed)


def cheapest_not_shown_to_differ(stage):
    """A difference that is not shown, taken for none."""
    ranking = evaluation.rank_trials(stage)
    tied = ranking[~(ranking["difference_high"] < 0)]
    return tied.sort_values("n_trainable")["trial"].iloc[0]


@case(
    14,
    ours=kept_by_selection,
    largest_number=largest_of_one_seed,
    always_the_cheapest=lambda stage: "frozen",
    as_good_unless_shown_worse=cheapest_not_shown_to_differ,
)
def a_lead_within_noise_is_a_tie(keep, folder):
    """Nearly equal models: the cheaper is kept, though the other leads with one seed. A better one is kept.

    So is one that leads where seeds lie so far apart that nothing is shown.
    """
    base = simulated_table("val", n=6001, seed=21)
    useless = np.random.default_rng(7).normal(size=len(base))
    same = base["logit_1"]
    for frozen, noise, expected in (
        ((same, same), (0.03, 0.03), "frozen"),
        ((useless, useless), (0.02, 0.02), "text1"),
        ((same, same), (9.0, 0.6), "text1"),
    ):
        rng = np.random.default_rng(8)
        tables = {}
        for trial, seed in (("text1", 11), ("frozen", 11), ("text1", 23), ("frozen", 23)):
            place = int(seed == 23)
            logit, sd = (frozen[place], noise[place]) if trial == "frozen" else (same, 0.02)
            moved = logit + rng.normal(0, sd, len(base))
            tables[trial, seed] = base.assign(trial=trial, seed=seed, logit_1=moved)
        params = params_with("frozen", "text1")
        stage = ByTrial("04_model_selection", "smoke", None, None, folder, params, tables=tables)
        assert largest_of_one_seed(stage) == "text1"
        assert keep(stage) == expected


# 15: a sentence about calibration cites a measurement of it.

ABOUT_CALIBRATION = re.compile("calibrat|too sure|over-?confident")


def templates(path):
    """Text of every sentence that a notebook says, in code or in a text cell that names numbers."""
    for cell in read_notebook(path):
        if cell.kind == "markdown" and "{{" in cell.source and "**Method.**" not in cell.source:
            yield re.sub(r"\{%[^%]*%\}|\]\([^)]*\)", "", re.sub(r"\{\{ (.*?) \}\}", r"{\1}", cell.source))
        for node in ast.walk(ast.parse(cell.source if cell.kind == "code" else "")):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "say" and node.args:
                parts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                yield "".join(str(part) for part in parts)


def our_sentences():
    return [text for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")) for text in templates(path)]


@case(
    15,
    ours=our_sentences,
    share_of_confident_mistakes=lambda: [
        *our_sentences(),
        "{test.share} of mistakes are confident: it is over-confident.",
    ],
    no_number=lambda: [*our_sentences(), "The model needs calibration."],
)
def sentences_about_calibration_cite_it(sentences, folder):
    claims = [text for text in sentences() if ABOUT_CALIBRATION.search(re.sub(r"\{[^}]*\}", "", text))]
    assert claims
    for text in claims:
        assert any(name in text for name in (".temperature}", ".ece}", ".nll}", "_gap}")), text


# 16: tables in any of three encodings are read in full or refused.


def published_loader(table, images):
    """Encodings in turn, Latin-1 before the others; columns by part of their name; rows without an image dropped."""
    content = table.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    header, *rows = [line.split(",") for line in text.splitlines() if line]
    place = {name: k for name in ("image", "hyp", "label") for k, column in enumerate(header) if name in column.lower()}
    found = [{name: row[k] for name, k in place.items()} for row in rows if len(row) == len(header)]
    return [(row.get("image"), row.get("hyp")) for row in found if (images / f"{row.get('image')}.png").is_file()]


def our_loader(table, images):
    pairs = csv_folder.build(table=table, images=images, fractions=None, seed=1, out=table.parent / "store").pairs
    return list(zip(pairs["image_id"], pairs["hypothesis"], strict=True))


def outcome(load, *arguments):
    try:
        return load(*arguments)
    except (ValueError, FileNotFoundError, KeyError) as error:
        return error


@case(16, ours=our_loader, published=published_loader)
def tables_are_read_in_full_or_refused(load, folder):
    (folder / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (5, 7)).save(folder / "images" / f"{name}.png")
    rows = [("a", "the café’s sign"), ("b", "no “dog”")]
    labels = ("entailment", "contradiction")
    lines = ["image,hypothesis,label,split"]
    lines += [f"{image},{text},{label},test" for (image, text), label in zip(rows, labels, strict=True)]
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        (folder / "t.csv").write_text("\n".join(lines), encoding=encoding)
        assert outcome(load, folder / "t.csv", folder / "images") == rows, encoding
    (folder / "t.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in lines), encoding="utf-8")
    refused = outcome(load, folder / "t.csv", folder / "images")
    assert isinstance(refused, ValueError) and "no column for ['label']" in str(refused)
    (folder / "t.csv").write_text("\n".join([*lines, "nowhere,x,entailment,test"]), encoding="utf-8")
    refused = outcome(load, folder / "t.csv", folder / "images")
    assert isinstance(refused, FileNotFoundError) and "nowhere" in str(refused)


@pytest.mark.parametrize("one", [pytest.param(one, id=f"{one.number}-{one.check.__name__}") for one in CASES])
def test_this_code_passes(one, tmp_path):
    one.check(one.ours, tmp_path)


DEFECTS = [
    pytest.param(one.check, defect, id=f"{one.number}-{name}") for one in CASES for name, defect in one.defects.items()
]


@pytest.mark.parametrize(("check", "defect"), DEFECTS)
def test_the_defect_is_seen(check, defect, tmp_path):
    with pytest.raises(AssertionError):
        check(defect, tmp_path)


def test_every_numbered_check_is_here():
    assert {one.number for one in CASES} == set(range(1, 17))
    assert all(one.defects for one in CASES)
