"""Defects that take a network: each shows on a constructed case, and does nothing where it is switched off."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest

import tiny_network as tiny
from simulated_stage import SimulatedStage
from tiny_presets import SIZE, WORDS, save_presets
from verdict.base.files.images import ImageStore, write_array_store
from verdict.base.params import load_params
from verdict.data.pairs import make_pair_id
from verdict.model import fit
from verdict.model.features import encode, load_network
from verdict.model.fit import save_weights
from verdict.model.kept import load_model
from verdict.model.network import FreezePlan, apply_plan, build_suffix
from verdict.model.predict import prediction_table
from verdict.model.selection import Selection
from verdict.pages import defects_network
from verdict.pages.defects_training import IMAGE, NOT, PAIR, Shape, draw_judged
from verdict.workflow.stages import weights_file

PLANS = [(0, 0), (1, 1)]
TRAINED = FreezePlan(0, 1)


@dataclass
class StageOnDisk(SimulatedStage):
    """A stage over files in one folder, with pairs of its own."""

    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    def pairs(self, *splits):
        chosen = self.table["split"].isin(list(map(str, splits))) if splits else self.table["split"].notna()
        return self.table[chosen].reset_index(drop=True)

    def upstream(self, name, file, trial=None):
        return self.folder / name / file

    def upstream_folder(self, name, trial=None):
        return self.folder / name


def pairs_and_images(rng):
    """Images of noise in three splits, two sentences each with labels at random: nothing to learn, all to memorise."""
    rows, names = [], []
    for split, n in (("train", 80), ("val", 12), ("test", 32)):
        for k in range(n):
            name = f"{split}-{k}"
            names.append(name)
            words = [" ".join(rng.choice(WORDS, 4)) + f" {WORDS[place]}" for place in range(2)]
            labels = rng.permutation(["entailment", "contradiction"])
            rows += [(name, text, label, split) for text, label in zip(words, labels, strict=True)]
    pairs = pd.DataFrame(rows, columns=["image_id", "hypothesis", "label", "split"]).assign(family="noise")
    ids = [make_pair_id(row.image_id, row.hypothesis) for row in pairs.itertuples()]
    images = rng.integers(0, 256, size=(len(names), *SIZE, 3), dtype=np.uint8)
    return pairs.assign(pair_id=ids, group_id=pairs["image_id"]), names, images


def warmed(params, **changes):
    """Parameters with another warm-up, which short fits follow."""
    warmup = params.training.warmup.model_copy(update={"learning_rate": 0.02, "dropout": 0.0} | changes)
    training = params.training.model_copy(update={"warmup": warmup, "batch_size": 16})
    return params.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    model = save_presets(folder / "vision", folder / "text").model_copy(update={"mlp_dim": 61})
    pairs, names, images = pairs_and_images(np.random.default_rng(1))
    write_array_store(folder / "01_data" / "images", {"all": (names, images)})
    params = warmed(load_params("smoke").model_copy(update={"model": model}), schedule="constant")
    plans = [FreezePlan(), TRAINED]
    encode(model, pairs, ImageStore.open(folder / "01_data" / "images"), plans, folder / "features", batch=32)
    for name, plan, seed in (("02_warmup", FreezePlan(), 3), ("03_staged_unfreezing", TRAINED, 4)):
        network = load_network(model, dropout=0.0, seed=seed)
        apply_plan(network, plan)
        save_weights(network, folder / name / ("weights.npz" if plan == FreezePlan() else weights_file(11)))
    return StageOnDisk("13_defects", "smoke", None, None, folder, params, table=pairs)


@pytest.fixture(scope="module")
def model(stage):
    return load_model(stage, Selection("text1", 11, "frozen", "text1"))


@pytest.fixture(scope="module")
def judged(stage):
    return draw_judged(stage.pairs("train"), stage.pairs("test"), 28, np.random.default_rng(2))


@pytest.fixture(scope="module")
def table(stage, model):
    pairs = stage.pairs("test")
    return prediction_table(pairs, model.logits(pairs), stage="s", trial="text1", seed=11)


@pytest.fixture(autouse=True)
def fresh_numbers(stage):
    stage.numbers = type(stage.numbers)()


# Putting together again.


def test_from_pixels_on_the_logits_are_those_of_the_stored_features(stage, model, table, judged):
    shown = defects_network.again(stage, model, table, judged)
    assert [number.value for number in shown["found"]] == [number.value for number in stage.numbers.values()]
    assert stage.numbers["repro.logit_difference"].value < 1e-5
    assert stage.numbers["repro.n_changed_answers"].value == 0
    assert stage.numbers["repro.n_answers"].value == len(judged) == 56


def test_other_weights_are_seen(stage, model, table, judged):
    turned = -table["logit_1"] - np.copysign(1e-3, table["logit_1"])
    defects_network.again(stage, model, table.assign(logit_1=turned), judged)
    assert stage.numbers["repro.logit_difference"].value > 1e-3
    assert stage.numbers["repro.n_changed_answers"].value == len(judged)


def test_rows_follow_the_pairs(table, judged):
    turned = judged.iloc[::-1]
    assert defects_network.rows_of(table, turned)["pair_id"].tolist() == turned["pair_id"].tolist()


# Pixels.


def test_pixels_from_zero_to_one_miss_half_of_the_range(model, judged):
    found = defects_network.pixel_ranges(model, judged).set_index("pixels")
    assert found.loc["the preset's own", ["lowest", "highest"]].tolist() == pytest.approx([-1, 1], abs=0.02)
    assert found.loc["zero to one", ["lowest", "highest"]].tolist() == pytest.approx([0, 1], abs=0.01)


def test_another_range_changes_answers_and_the_own_range_none(stage, model, table, judged, monkeypatch):
    moved = model.logits(judged, defects_network.features_of(model, judged["image_id"], defects_network.zero_to_one))
    assert np.abs(moved - model.logits(judged)).max() > 1e-3
    effect = defects_network.scale_effect(stage, model, table, judged)
    assert effect.n == len(judged) and effect.difference.low <= effect.difference.value <= effect.difference.high
    monkeypatch.setattr(defects_network, "zero_to_one", model.encoders.pixels)
    off = defects_network.scale_effect(stage, model, table, judged)
    assert off.ours == off.defect == effect.ours
    assert off.difference.value == 0


# Unfreezing.


@pytest.mark.parametrize("plan", [(0, 2), (1, 0), (3, 3)])
def test_the_parent_frees_every_block_and_the_last_norm(plan):
    network, plan = tiny.tiny_network(), FreezePlan(*plan)
    shape = defects_network.shape_of(
        network, load_params("smoke").model.model_copy(update={"heads": 3, "key_dim": 4, "mlp_dim": 17})
    )
    assert shape == Shape(3, 3, 10, 14, 22, 26, heads=3, key_dim=4, mlp_dim=17)
    found = defects_network.unfreezing_table(network, plan).set_index("layer")
    assert found["planned"].sum() == shape.planned(plan.vision_blocks, plan.text_blocks)
    assert found["with_defect"].sum() == shape.freed_by_parent(plan.vision_blocks, plan.text_blocks)
    extra = set(found.index[found["planned"] == 0])
    blocks = {f"vision.transformer_block_{k}" for k in range(1, 4 - plan.vision_blocks)}
    assert extra == (blocks | {"vit_encoder.ln"} if plan.vision_blocks else set())


# Attention.


def inputs_of(network, plan, n=7):
    given = tiny.random_inputs(network, n)
    rng = np.random.default_rng(3)
    words = network.sequence_length if plan.text_blocks else 1
    return {
        "a_image_rows": np.arange(n, dtype=np.int32),
        "a_text_rows": np.arange(n, dtype=np.int32),
        "image_tokens": rng.normal(size=(n, network.n_image_tokens, 10)).astype(np.float32),
        "hidden": rng.normal(size=(n, words, 14)).astype(np.float32),
        "padding_mask": given["padding_mask"],
    }


@pytest.mark.parametrize("plan", PLANS)
def test_the_wrapper_is_blind_and_the_model_is_not(plan):
    network, plan = tiny.scatter(tiny.tiny_network()), FreezePlan(*plan)
    inputs = inputs_of(network, plan)
    wrapper, suffix = defects_network.build_published_wrapper(network, plan), build_suffix(network, plan)
    others = [np.zeros_like(inputs["image_tokens"]), np.roll(inputs["image_tokens"], 1, axis=0)]
    for tokens in others:
        changed = {**inputs, "image_tokens": tokens}
        seen = wrapper.predict_on_batch(inputs), wrapper.predict_on_batch(changed)
        assert np.array_equal(seen[0]["logit"], seen[1]["logit"])
        assert np.abs(seen[0]["attention"] - seen[1]["attention"]).max() > 1e-3
        assert np.abs(suffix.predict_on_batch(inputs) - suffix.predict_on_batch(changed)).max() > 1e-3


def test_the_wrapper_fuses_as_the_model_does_and_drops_it():
    """Its fused class token under the head is the model's answer; what it gives the head is another token."""
    network, plan = tiny.scatter(tiny.tiny_network()), FreezePlan(1, 1)
    inputs = inputs_of(network, plan)
    found = defects_network.build_published_wrapper(network, plan).predict_on_batch(inputs)
    head = network.head
    logit = head["logit"](head["mlp_1"](found["xattn_norm"][:, 0]))
    expected = build_suffix(network, plan).predict_on_batch(inputs)
    np.testing.assert_allclose(np.asarray(logit.detach().cpu()), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found["logit"] - expected).max() > 1e-3
    np.testing.assert_allclose(found["attention"].sum(axis=-1), 1, rtol=1e-5)


def test_attention_is_compared_on_the_kept_model(stage, model, table, judged):
    effect = defects_network.attention_effect(stage, model, table, judged)
    assert stage.numbers["defect.attention.logit_change"].value == 0
    assert stage.numbers["defect.attention.model_logit_change"].value > 1e-3
    agreement = stage.numbers["defect.attention.agreement"]
    assert 0 <= agreement.low <= agreement.value <= agreement.high <= 1
    assert (effect.n, effect.split) == (56, "test")


# Short fits.


@pytest.fixture(scope="module")
def leaking(stage, judged):
    """Fits that learn by heart: many epochs, the last one kept."""
    long = replace(
        stage, _params=warmed(stage.all_params, schedule="constant", learning_rate=0.006, epochs=40, patience=40)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_best", lambda history, criterion: len(history) - 1)
        return defects_network.short_fits(long, judged, n_images=10, share=0.5)


def test_without_a_leak_the_fits_agree_to_the_bit(stage, judged):
    found = defects_network.short_fits(stage, judged, n_images=10, share=0.0)
    assert np.array_equal(found.logits["clean"], found.logits["leaked"])
    assert not np.array_equal(found.logits["clean"], found.logits["zero_to_one"])
    assert found.logits["clean"].shape == (len(stage.params.training.seeds), len(judged))
    assert not np.array_equal(*found.logits["clean"])


def test_what_was_seen_is_known_by_heart(stage, leaking, table):
    """Labels are drawn at random: only a pair that was seen with its label can be answered better than by guessing.

    What the clean fit guesses of so few pairs is chance, and so is the difference.
    """
    found = defects_network.leak_effects(stage, leaking, table).set_index("seen_in_training")
    assert {"all", PAIR, IMAGE} <= set(found.index) <= {"all", PAIR, IMAGE, NOT}
    assert found.loc[PAIR, "n"] == 28
    assert found.loc[PAIR, "defect"] > 0.65
    assert found.loc[PAIR, "defect"] > found.loc["all", "defect"] + 0.1
    assert found.loc[PAIR, "difference"] == pytest.approx(found.loc[PAIR, "defect"] - found.loc[PAIR, "ours"])
    for what, name in ((PAIR, "leak_pair"), (IMAGE, "leak_image")):
        assert stage.numbers[f"defect.{name}.difference"].value == found.loc[what, "difference"]
    assert (
        stage.numbers["defect.leak.difference"].value
        == defects_network.fit_effect(stage, leaking, table, "leaked").difference.value
    )


def test_where_nothing_was_seen_its_number_is_not_defined(stage, leaking, table):
    clean = replace(leaking, leaked=leaking.clean, logits=dict.fromkeys(leaking.logits, leaking.logits["clean"]))
    found = defects_network.leak_effects(stage, clean, table)
    assert found["seen_in_training"].tolist() == ["all", NOT]
    assert (found["difference"] == 0).all()
    assert stage.numbers["defect.leak_pair.difference"].text == "not defined"
    claim = stage.claim("a", "A pair seen with its label is answered better", "defect.leak_pair.difference", ">", 0.0)
    assert claim.verdict == "not applicable"


def test_shared_images_are_counted_for_the_warmup_and_both_fits(stage, leaking):
    found = defects_network.leak_counts(stage, leaking)
    assert found["n_images_seen"].tolist()[:2] == [0, 0]
    assert found["n_pairs_seen"].tolist() == [0, 0, 28]
    assert stage.numbers["defect.leak.n_images_ours"].value == 0
    assert stage.numbers["defect.leak.n_pairs"].value == 28
    assert found["n_images"].iloc[0] == stage.pairs("val", "test")["image_id"].nunique()


def test_a_fit_on_rescaled_pixels_is_compared_with_the_clean_one(stage, leaking, table):
    effect = defects_network.fit_effect(stage, leaking, table, "zero_to_one")
    same = replace(leaking, logits=leaking.logits | {"zero_to_one": leaking.logits["clean"]})
    assert effect.ours == defects_network.fit_effect(stage, leaking, table, "leaked").ours
    assert defects_network.fit_effect(stage, same, table, "zero_to_one").difference.value == 0
