"""What else the kept model is asked: answers are those of the whole network to the changed pair."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import LedoitWolf

from tiny_presets import SIZE, save_presets
from verdict.base.files.images import ImageStore, write_array_store
from verdict.base.labels import expected_columns
from verdict.base.params import load_params
from verdict.data.pairs import make_pair_id
from verdict.model.ask import (
    PROBED_SPLITS,
    Examiner,
    answer_changed,
    answer_questions,
    questions_about,
)
from verdict.model.changes import CHANGES
from verdict.model.distance import fit_reference, pair_distances
from verdict.model.export.model import Kept
from verdict.model.features import Features, encode, load_encoders, load_network
from verdict.model.fit import save_weights
from verdict.model.kept import KeptModel, open_model
from verdict.model.network import FreezePlan, apply_plan
from verdict.model.predict import RAW, logits_of
from verdict.workflow.stages import DISTANCES, QUESTIONS, VIEWS

PLANS = (FreezePlan(0, 0), FreezePlan(1, 1))
HYPOTHESES = ("there is a red seven", "two blue ones", "red above blue")


def pairs_and_images(folder):
    """Pairs of five images of noise, one to three sentences each."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
    write_array_store(folder / "images", {"own": ([f"i{k}" for k in range(5)], pixels)})
    rows = [(f"i{k}", sentence) for k in range(5) for sentence in HYPOTHESES[: 1 + k % 3]]
    pairs = pd.DataFrame(rows, columns=["image_id", "hypothesis"])
    pairs = pairs.assign(pair_id=[make_pair_id(*row) for row in rows], label="entailment")
    return pairs, ImageStore.open(folder / "images")


@pytest.fixture(scope="module", params=PLANS, ids=str)
def world(request, tmp_path_factory):
    """A model, its features, its images, and pairs of two splits."""
    plan, folder = request.param, tmp_path_factory.mktemp("world")
    params = save_presets(folder / "vision", folder / "text")
    pairs, images = pairs_and_images(folder)
    pairs = pairs.assign(split=np.where(pairs["image_id"] < "i3", "calib", "test"))
    encode(params, pairs, images, [plan], folder / "features", batch=3)
    encoders = load_encoders(params)
    network = load_network(params, dropout=0.0, seed=0, encoders=encoders)
    # Two images at a time: chunks must not mix.
    return KeptModel(network, encoders, plan, Features.open(folder / "features", plan), images, batch=2), pairs


def whole(model, shown, hypotheses):
    ids, mask = model.encoders.tokens(list(hypotheses))
    inputs = {"pixels": model.encoders.pixels(shown), "token_ids": ids, "padding_mask": mask}
    return model.network.model.predict_on_batch(inputs)[:, 0]


def test_views_are_answered_as_the_whole_network_would(world):
    model, pairs = world
    found = answer_changed(model, pairs)
    assert len(found) == len(pairs) * len(CHANGES)
    assert not found.duplicated(["pair_id", "view"]).any()
    for name, change in CHANGES.items():
        part = found[found["view"] == name].set_index("pair_id").loc[pairs["pair_id"]]
        shown = change(model.pictures(pairs["image_id"]))
        np.testing.assert_allclose(logits_of(part)[:, 1], whole(model, shown, pairs["hypothesis"]), atol=1e-4)
        assert part["split"].tolist() == pairs["split"].tolist()
    assert np.ptp(logits_of(found)[:, 1]) > 1e-3, "equal logits would prove nothing"


def test_questions_are_put_to_the_image_of_their_pair(world):
    model, pairs = world
    questions = pd.DataFrame(
        [
            ("there is a red seven", "a red seven is there", 1.0, 0.0),
            ("two blue ones", "is there a seven", 1.0, np.nan),
            ("there is a red seven", "is there a blue seven", np.nan, 0.0),
        ],
        columns=["hypothesis", "question", *expected_columns()],
    )
    found = answer_questions(model, pairs, questions)
    n_with = {name: int((pairs["hypothesis"] == name).sum()) for name in HYPOTHESES}
    assert len(found) == 2 * n_with["there is a red seven"] + n_with["two blue ones"]
    image_of = pairs.set_index("pair_id")["image_id"]
    shown = model.pictures(image_of.loc[found["pair_id"]])
    np.testing.assert_allclose(logits_of(found)[:, 1], whole(model, shown, found["question"]), atol=1e-4)
    assert found.loc[found["question"] == "is there a seven", expected_columns()[1]].isna().all()


def test_a_source_without_a_grammar_has_no_questions(world):
    model, pairs = world
    data = load_params("smoke").data
    assert len(questions_about(data, pairs)) > 0
    none = questions_about(data.model_copy(update={"source": "csv"}), pairs)
    found = answer_questions(model, pairs, none)
    assert len(found) == 0
    assert {"pair_id", "split", "question", *expected_columns(), "logit_0", "logit_1"} == set(found.columns)


def test_views_of_pairs_nobody_encoded_are_refused(world):
    model, pairs = world
    with pytest.raises(KeyError, match="not in the feature cache"):
        model.logits(pairs, replace(model.features, text_rows=model.features.text_rows.iloc[:0]))


def test_val_is_not_probed():
    assert "val" not in {str(split) for split in PROBED_SPLITS}
    assert {"calib", "test", "independent"} <= {str(split) for split in PROBED_SPLITS}


def test_new_pairs_are_asked_as_the_stages_ask_their_own(tmp_path, monkeypatch):
    """Two seeds whose last blocks were trained; distances are in what the presets see, whatever was trained since. What
    train is like is not fitted again.
    """
    model_params, plan = save_presets(tmp_path / "vision", tmp_path / "text"), FreezePlan(1, 1)
    pairs, images = pairs_and_images(tmp_path)
    pairs = pairs.assign(split=np.where(pairs["image_id"] > "i1", "test", "train"))
    encode(model_params, pairs, images, [plan, FreezePlan()], tmp_path / "features", batch=3)
    features, frozen = (Features.open(tmp_path / "features", one) for one in (plan, FreezePlan()))
    weights = {}
    for seed in (23, 11):
        network = load_network(model_params, dropout=0.0, seed=seed)
        apply_plan(network, plan)
        rng = np.random.default_rng(seed)
        for weight in network.model.trainable_variables:
            weight.assign(rng.normal(0, 0.4, size=weight.shape).astype(np.float32))
        weights[seed] = tmp_path / f"{seed}.npz"
        save_weights(network, weights[seed])
    kept = Kept("text1", 11, model_params, plan, weights[11], RAW, is_calibrated=False)
    means = frozen.means(tmp_path / "features")
    reference = fit_reference(frozen, means, pairs[pairs["split"] == "train"])
    new = pairs[pairs["split"] == "test"].reset_index(drop=True)
    expected = pair_distances(frozen, means, pairs)
    monkeypatch.delattr(LedoitWolf, "fit")
    examiner = Examiner(load_params("smoke"), kept, weights, images, reference)
    for _ in range(2):
        found = examiner.ask(new)
        for seed, file in weights.items():
            model = open_model(model_params, plan, file, features=features, images=images)
            assert found[seed]["pair_id"].tolist() == new["pair_id"].tolist()
            np.testing.assert_allclose(logits_of(found[seed])[:, 1], model.logits(new), atol=1e-4)
        assert np.abs(logits_of(found[11]) - logits_of(found[23])).max() > 1e-2
        views, asked = (
            answer_changed(model, new),
            answer_questions(model, new, questions_about(load_params("smoke").data, new)),
        )
        pd.testing.assert_frame_equal(found[VIEWS], views, atol=1e-4)
        pd.testing.assert_frame_equal(found[QUESTIONS], asked, atol=1e-4)
        pd.testing.assert_frame_equal(found[DISTANCES], expected, atol=1e-5)
        assert expected["distance"].nunique() > 2 and len(asked) > 3
