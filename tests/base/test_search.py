"""Random search: axes, the order of draws, and trials that a parameter file would accept."""

import copy

import numpy as np
import pytest

from verdict.base import paths
from verdict.base.params import ParamsError, read_yaml, validate
from verdict.base.search import PUBLISHED_TEXT, PUBLISHED_VISION, SOUND, Uniform, configurations, draw, published


def test_a_space_is_drawn_in_its_order():
    space = {"b": Uniform(2.0, 3.0), "a": Uniform(0.0, 1.0)}
    rng = np.random.default_rng(3)
    expected = [{"b": 2.0 + rng.random(), "a": rng.random()} for _ in range(3)]
    found = draw(space, 3, rng=np.random.default_rng(3))
    assert [list(one) for one in found] == [["b", "a"]] * 3
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)
    turned = draw(dict(reversed(space.items())), 3, rng=np.random.default_rng(3))
    assert turned[0]["b"] != found[0]["b"]


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    state = np.random.get_state()[1].copy()
    assert published(PUBLISHED_TEXT, 3) == published(PUBLISHED_TEXT, 3)
    assert published(PUBLISHED_TEXT, 5)[:3] == published(PUBLISHED_TEXT, 3)
    assert draw(SOUND, 3, rng=np.random.default_rng(1)) != draw(SOUND, 3, rng=np.random.default_rng(2))
    assert np.array_equal(state, np.random.get_state()[1])


def test_the_sound_space_tries_small_learning_rates_more_often():
    """Shares below 5e-5 by arithmetic: (5 - 2) / (10 - 2) uniform, log(5 / 2) / log(10 / 2) log-uniform."""
    rng = np.random.default_rng(7)
    shares = {}
    for name, space in (("published", PUBLISHED_TEXT), ("sound", SOUND)):
        rates = np.array([one["learning_rate"] for one in draw(space, 4001, rng=rng)])
        shares[name] = np.mean(rates < 5e-5)
    assert shares["published"] == pytest.approx(3 / 8, abs=0.03)
    assert shares["sound"] == pytest.approx(np.log(5 / 2) / np.log(10 / 2), abs=0.03)


@pytest.fixture(scope="module")
def base():
    return read_yaml(paths.PARAMS / "base.yaml")


def search(space="sound", n=3, prefix="random", **fields):
    shared = {"parent": "frozen", "epochs": 2, "patience": 1, "seed": 42, "vision_blocks": 0}
    return {"space": space, "n": n, "prefix": prefix, **shared, **fields}


def loaded(base, *searches, **training):
    """The parameters of the base with searches, and other entries of its training section."""
    content = copy.deepcopy(base)
    content["training"] |= {"search": list(searches), **training}
    return validate(content, source="test")


@pytest.mark.parametrize(
    ("space", "published_space", "n", "depth"),
    [("published_text", PUBLISHED_TEXT, 5, 0), ("published_vision", PUBLISHED_VISION, 3, 1)],
)
def test_a_published_search_becomes_the_published_trials(base, space, published_space, n, depth):
    """The draws themselves stand beside the printed ones in test_published."""
    params = loaded(base, search(space, n, vision_blocks=depth, schedule="constant", augment="photometric", views=2))
    listed = [trial["name"] for trial in base["training"]["trials"]]
    names = [trial.name for trial in params.training.trials]
    assert names == [*listed, *(f"random_{i:02d}" for i in range(1, n + 1))]
    for trial, expected in zip(params.training.trials[len(listed) :], published(published_space, n), strict=True):
        assert {name: getattr(trial, name) for name in expected} == expected
        shared = (trial.parent, trial.epochs, trial.patience, trial.schedule, trial.vision_blocks, trial.views)
        assert shared == ("frozen", 2, 1, "constant", depth, 2)
        assert (trial.role, trial.augment, trial.image, trial.text, trial.oversample) == (
            *("candidate", "photometric", "shown", "shown"),
            {},
        )


def test_loading_again_draws_nothing_again(base):
    params = loaded(base, search())
    assert params.training.search == ()
    assert validate(params.as_dict(), source="again").as_dict() == params.as_dict()
    assert loaded(base, search()).hash == params.hash != loaded(base, search(seed=43)).hash


def test_searches_follow_each_other_and_keep_the_tree(base):
    params = loaded(base, search(), search(prefix="deep", n=2, parent="random_01", text_blocks=[4], seed=1))
    assert [trial.name for trial in params.training.trials[-5:]] == [
        *("random_01", "random_02", "random_03"),
        *("deep_01", "deep_02"),
    ]
    assert params.trial("deep_02").parent == "random_01"
    assert params.trial("deep_02").text_blocks == 4


def test_a_search_may_be_all_that_a_profile_tries(base):
    controls = [trial for trial in base["training"]["trials"] if trial.get("role") == "control"]
    params = loaded(base, search(parent="warmup"), trials=controls)
    assert [trial.role for trial in params.training.trials] == [*["control"] * len(controls), *["candidate"] * 3]


def test_axes_of_the_sound_space_can_be_replaced():
    found = configurations("sound", 200, seed=3, learning_rate=(1e-3, 4e-3), text_blocks=(0, 1))
    rates = np.array([one["learning_rate"] for one in found])
    assert rates.min() >= 1e-3 and rates.max() < 4e-3
    assert {one["text_blocks"] for one in found} == {0, 1}
    plain = configurations("sound", 200, seed=3)
    assert [one["weight_decay"] for one in found] == [one["weight_decay"] for one in plain]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parent": "nobody"}, "trial 'random_01' starts from 'nobody', which is not above it"),
        ({"parent": "text2", "text_blocks": [1]}, "trial 'random_01' freezes blocks that its parent 'text2' trained"),
        ({"space": "published_vision"}, "published_vision trains 1 blocks of vision, got 0"),
        ({"space": "published_text", "vision_blocks": 1}, "published_text trains 0 blocks of vision, got 1"),
        ({"space": "published_text", "text_blocks": [2]}, "published_text is the published one: only sound"),
        ({"space": "grid"}, r"training\.search\.0\.space"),
        ({"n": 0}, r"training\.search\.0\.n"),
        ({"learning_rate": [1e-3, 1e-4]}, "from the lowest to the highest"),
        ({"learning_rate": [0.5, 2.0], "seed": 1, "n": 20}, "learning_rate: Input should be less than or equal to 1"),
        ({"text_blocks": []}, "text_blocks: .* at least 1 item"),
        ({"augment": "photometric"}, "augment: photometric and views: 0 contradict each other"),
        ({"epoch": 3}, r"training\.search\.0\.epoch: unknown key; did you mean 'epochs'"),
    ],
)
def test_an_impossible_search_is_refused_before_anything_runs(base, fields, message):
    with pytest.raises(ParamsError, match=message):
        loaded(base, search(**fields))


def test_two_searches_of_one_prefix_are_refused(base):
    with pytest.raises(ParamsError, match="two trials are called 'random_01'"):
        loaded(base, search(), search())


def test_impossible_draws_are_refused():
    with pytest.raises(ValueError, match="at least one configuration, got n=0"):
        draw(SOUND, 0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="learning_rate cannot be replaced"):
        configurations("published_text", 2, seed=42, learning_rate=(1e-4, 1e-3))
