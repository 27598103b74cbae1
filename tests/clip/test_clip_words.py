"""Names of classes, templates, and the vectors of classes."""

import numpy as np
import pytest

from verdict.clip.pictures import words
from verdict.clip.pictures.words import prompt, prompts, unit_means


@pytest.mark.parametrize(
    ("template", "name", "text"),
    [
        ("a photo of a {}", "apple", "a photo of an apple"),
        ("a photo of a {}", "dog", "a photo of a dog"),
        ("a {}", "Orange cat", "an Orange cat"),
        ("an {} in the dark", "dog", "a dog in the dark"),
        ("pasta {}", "apple", "pasta apple"),
        ("{}", "apple", "apple"),
    ],
)
def test_a_template_takes_the_article_of_its_name(template, name, text):
    assert prompt(template, name) == text


def test_a_template_without_a_place_is_refused():
    with pytest.raises(ValueError, match=r"needs one \{\}"):
        prompt("a photo", "dog")


def test_prompts_are_in_the_order_of_classes():
    assert prompts(["a_b", " T-shirt__top "], ["x {}", "y {}"]) == ["x a b", "y a b", "x T shirt top", "y T shirt top"]
    assert prompts(["a_b"], ["x {}"], is_clean=False) == ["x a_b"]


def test_a_class_is_the_mean_of_its_templates_at_unit_length():
    texts = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 1.0]])
    vectors = unit_means(texts, 2)
    assert vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5, 0], [0, 0, 1]]))


def test_prompts_without_classes_name_none():
    phrases = words.of_scenes(40, rng=np.random.default_rng(2))
    assert len(set(phrases)) == 40 and not any("seven" in phrase or "zero" in phrase for phrase in phrases)
    assert phrases == words.of_scenes(40, rng=np.random.default_rng(2))
    assert len(set(words.QUALITIES)) == len(set(words.KINDS)) == 32
    classes = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
    assert not classes & {word for phrase in (*words.QUALITIES, *words.KINDS) for word in phrase.split()}
