"""Zero-shot answers as tables: the scale is applied, questions follow from classes, every pair is asked everything."""

from types import SimpleNamespace

import numpy as np
import pytest

from verdict.base.labels import expected_columns
from verdict.base.params import load_params
from verdict.clip.encoder import answers
from verdict.clip.encoder.embeddings import EmbeddedPictures
from verdict.clip.pictures.sources import of_scenes
from verdict.model.predict import logits_of
from verdict.stats.scores import softmax
from verdict.workflow.stages import QUESTIONS, VIEWS

NAMES = ("cat", "dog", "ship")
QUESTION = {"is it an animal?": ("cat", "dog")}
DIM = 17


def texts(sentences):
    rows = [np.random.default_rng(list(text.encode())).normal(size=DIM) for text in sentences]
    return np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)


def images(pictures):
    rows = pictures.reshape(len(pictures), -1)[:, :: pictures[0].size // DIM][:, :DIM].astype(float) + 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def settings(**changes):
    return load_params("smoke").clip_policy.model_copy(update={"questions": QUESTION, "question_prompts": {}} | changes)


def test_expected_answers_and_questions_that_divide_nothing():
    assert answers.expected_answers(QUESTION, NAMES).tolist() == [[1], [1], [0]]
    assert answers.expected_answers({}, NAMES).shape == (3, 0)
    with pytest.raises(ValueError, match="horse"):
        answers.expected_answers({"?": ("horse",)}, NAMES)
    with pytest.raises(ValueError, match="does not divide"):
        answers.expected_answers({"?": NAMES}, NAMES)


def test_a_question_is_asked_in_other_words_or_in_its_own():
    vectors = texts(["x", "y", "z", "w", "v"])
    derived = answers.question_logits(vectors, texts, NAMES, settings(question_templates=("see a {}",)), 10.0)
    classes = texts([f"see a {name}" for name in NAMES])
    wanted = softmax(10.0 * vectors @ classes.T)
    assert softmax(derived["is it an animal?"])[:, 0] == pytest.approx(wanted[:, :2].sum(axis=1))
    own = settings(question_prompts={"is it an animal?": ("an animal", "a vehicle")})
    asked = answers.question_logits(vectors, texts, NAMES, own, 10.0)["is it an animal?"]
    assert asked == pytest.approx(10.0 * vectors @ texts(["an animal", "a vehicle"]).T)


def studied(pictures):
    made = EmbeddedPictures(pictures, images(pictures.images), {"logit_scale": 12.0}, None)
    made.__dict__["cache"] = SimpleNamespace(images=images, texts=texts)
    return made


@pytest.fixture(scope="module")
def found():
    pictures = of_scenes({"train": 20, "val": 20, "calib": 23, "test": 29}, seed=5)
    even = {"is it even?": pictures.class_names[::2], "is it a zero?": ("zero",)}
    return pictures, answers.tables(studied(pictures), settings(questions=even, views=("darker", "nearer")))


def test_every_pair_is_answered_viewed_and_asked(found):
    pictures, tables = found
    pairs, n = tables["pairs"], 23 + 29
    assert len(pairs) == len(tables["predictions"]) == n and pairs["pair_id"].is_unique
    assert set(pairs["split"]) == {"calib", "test"}
    assert tables[VIEWS].groupby("view").size().to_dict() == {"darker": n, "nearer": n}
    assert tables[QUESTIONS].groupby("question").size().to_dict() == {"is it even?": n, "is it a zero?": n}
    assert tables["classes"]["name"].tolist() == list(pictures.class_names)
    names = np.array(pictures.class_names)
    assert (pairs["label"] == names[tables["predictions"]["y_true"]]).all()
    assert logits_of(tables["predictions"]).shape == (n, 10)


def test_a_picture_is_as_far_as_the_nearest_of_train_with_other_handwriting(found):
    pictures, _ = found
    vectors = images(pictures.images)
    table = answers.distances(pictures, vectors)
    train, calib = pictures.rows("train"), pictures.rows("calib")
    assert table["split"].value_counts().to_dict() == {s: len(pictures.rows(s)) for s in ("val", "calib", "test")}
    apart = np.linalg.norm(vectors[calib][:, None] - vectors[train][None], axis=2)
    groups = pictures.table["group_id"].to_numpy()
    apart[groups[calib][:, None] == groups[train][None]] = np.inf
    own = table.set_index("pair_id").loc[pictures.table["image_id"].iloc[calib], "distance"]
    assert own.to_numpy() == pytest.approx(apart.min(axis=1), abs=1e-5)


def test_views_change_logits_and_expected_answers_are_those_of_the_classes(found):
    pictures, tables = found
    nothing = answers.tables(studied(pictures), settings(questions={}))[QUESTIONS]
    assert len(nothing) == 0 and set(nothing) == set(tables[QUESTIONS])
    plain = logits_of(tables["predictions"])
    darker = logits_of(tables[VIEWS][tables[VIEWS]["view"] == "darker"])
    assert np.abs(darker - plain).max() > 1e-3
    asked = tables[QUESTIONS][tables[QUESTIONS]["question"] == "is it even?"]
    wanted = [1.0 - k % 2 for k in range(10)]
    assert (asked[expected_columns(pictures.class_names)].to_numpy() == wanted).all()
