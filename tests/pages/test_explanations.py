"""Which decisions are explained, and what is shown of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.decide.test_log import batch_of

from simulated_stage import KEPT, make_stage
from verdict.decide.people import ParametricHuman
from verdict.model.integrated_gradients import Attribution
from verdict.pages.explanations import attribution_table, drawings, examples, explain, sample_decisions


def attribution(pair_id, *, margin=2.0, missing=0.1):
    patches, words = np.array([[0.5, 0.25]]), np.array([0.0, margin - 0.75 - missing, 0.0])
    return Attribution(pair_id, np.zeros((4, 8, 3), np.uint8), patches, ("[CLS]", "red", "[SEP]"), words, margin, 0.0)


def test_some_of_each_branch_are_drawn_by_a_hash_of_their_ids():
    batch = batch_of(211)
    chosen = sample_decisions(batch, per_branch=3, seed=5)
    assert chosen["decision"].tolist() == ["auto"] * 3 + ["clarify"] * 3 + ["human"] * 3
    place = {pair_id: row for row, pair_id in enumerate(batch.pair_id)}
    for row in chosen.itertuples():
        assert row.answer == batch.logits[place[row.pair_id]].argmax()
        assert row.true_name == batch.classes[batch.y_true[place[row.pair_id]]]
    assert sample_decisions(batch, per_branch=3, seed=5).equals(chosen)
    assert sample_decisions(batch, per_branch=3, seed=6)["pair_id"].tolist() != chosen["pair_id"].tolist()


def test_the_choice_tells_nothing_of_what_people_answer():
    batch, human = batch_of(1009), ParametricHuman(0.6, n_classes=2, seed=5)
    chosen = sample_decisions(batch, per_branch=60, seed=5)
    truth = np.array([batch.classes.index(name) for name in chosen["true_name"]])
    right = (human.answers(chosen["pair_id"].tolist(), truth) == truth).mean()
    assert right == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / len(chosen)))


def test_a_branch_with_fewer_pairs_gives_what_it_has():
    batch = batch_of(211, decision=np.zeros(211, dtype=np.int8))
    assert sample_decisions(batch, per_branch=2, seed=5)["decision"].tolist() == ["auto", "auto"]


def test_the_gap_is_what_the_sum_misses():
    found = attribution("p", margin=2.0, missing=0.1)
    assert found.gap == pytest.approx(0.1 / 2.0)
    assert found.share_of_image == pytest.approx(0.75 / (0.75 + 1.15))
    assert attribution("p", margin=0.0, missing=0.0).gap == float("inf")


def test_the_largest_gap_is_a_number_and_the_table_has_a_row_each(tmp_path, monkeypatch):
    stage, batch = make_stage("08_policy", tmp_path), batch_of(211)
    chosen = sample_decisions(batch, per_branch=1, seed=5)
    made = [attribution(pair_id, missing=0.06 * k) for k, pair_id in enumerate(chosen["pair_id"])]
    asked = {}

    def attribute_pairs(*arguments, n_steps):
        asked["n_steps"] = n_steps
        return made

    monkeypatch.setattr("verdict.model.integrated_gradients.attribute_pairs", attribute_pairs)
    found = explain(stage, KEPT, chosen)
    assert found == made
    assert asked["n_steps"] == stage.params.policy.n_attribution_steps
    assert stage.numbers["policy.test.attribution_gap"].value == pytest.approx(0.12 / 2)
    assert (stage.numbers["policy.test.n_explained"].value, stage.numbers["policy.test.n_not_added_up"].value) == (3, 1)
    table = attribution_table(found, chosen)
    assert table["missed_share_of_change"].tolist() == pytest.approx([0, 0.03, 0.06])
    assert table["adds_up"].tolist() == ["not to be read" not in title for title in drawings(found, chosen)["titles"]]
    assert table["decision"].tolist() == ["auto", "clarify", "human"]
    drawn = drawings(found, chosen)
    assert {len(part) for part in drawn.values()} == {3}
    assert drawn["words"][0][1][0] == "red"


def test_saved_logits_are_not_explained(tmp_path):
    stage = make_stage("08_policy", tmp_path)
    recorded = SimpleNamespace(is_recorded=True, number=stage.number)
    assert explain(recorded, KEPT, sample_decisions(batch_of(211), per_branch=1, seed=5)) == []
    assert np.isnan(stage.numbers["policy.test.attribution_gap"].value)


def test_examples_are_one_of_each_branch_and_then_mistakes_that_go_out_alone(tmp_path, monkeypatch):
    stage = make_stage("08_policy", tmp_path)
    store = SimpleNamespace(thumbnail=lambda image_id: image_id)
    monkeypatch.setattr("verdict.base.files.images.ImageStore.open", lambda folder: store)
    monkeypatch.setattr(type(stage), "upstream", lambda *_: tmp_path / "images.parquet")
    found = examples(stage, batch_of(211))
    does = [title.split("\n")[2].partition(" (score 0.")[0] for title in found["titles"]]
    assert does == ["Goes out alone", "A person is asked a short question", "Goes to a person"]
    assert len(found["images"]) == 3
    alone = examples(stage, batch_of(211, decision=np.zeros(211, dtype=np.int8)))["titles"]
    assert len(alone) == 3 and all(title.split("\n")[1].endswith("(wrong)") for title in alone[1:])
    recorded = SimpleNamespace(images=lambda: None)
    assert examples(recorded, batch_of(211)) == {"images": [], "titles": []}
