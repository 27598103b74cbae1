"""Random search: axes, the order of draws, and trials that a parameter file would accept."""

import copy

import numpy as np
import pytest

from verdict.base import paths
from verdict.base.params import ParamsError, read_yaml, validate
from verdict.base.search import configurations, draw, uniform


def test_a_space_is_drawn_in_its_order():
    space = {"b": uniform(2.0, 3.0), "a": uniform(0.0, 1.0)}
    rng, found = np.random.default_rng(3), draw(space, 3, rng=np.random.default_rng(3))
    for one in found:
        assert list(one.items()) == [("b", pytest.approx(2.0 + rng.random())), ("a", pytest.approx(rng.random()))]


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    state = np.random.get_state()[1].copy()
    for space in ("sound", "published_text", "published_vision"):
        found = configurations(space, 5, seed=42)
        assert configurations(space, 3, seed=42) == found[:3] != configurations(space, 3, seed=43)
    assert np.array_equal(state, np.random.get_state()[1])


def test_the_sound_space_tries_small_learning_rates_more_often_and_its_axes_can_be_replaced():
    """Shares below 5e-5 by arithmetic: (5 - 2) / (10 - 2) uniform, log(5 / 2) / log(10 / 2) log-uniform."""
    for name, share in (("published_text", 3 / 8), ("sound", np.log(5 / 2) / np.log(10 / 2))):
        rates = np.array([one["learning_rate"] for one in configurations(name, 2003, seed=7)])
        assert np.mean(rates < 5e-5) == pytest.approx(share, abs=0.04)
    found = configurations("sound", 200, seed=3, learning_rate=(1e-3, 4e-3), text_blocks=(0, 1))
    rates = np.array([one["learning_rate"] for one in found])
    assert rates.min() >= 1e-3 and rates.max() < 4e-3
    assert {one["text_blocks"] for one in found} == {0, 1}
    plain = configurations("sound", 200, seed=3)
    assert [one["weight_decay"] for one in found] == [one["weight_decay"] for one in plain]


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


@pytest.mark.parametrize(("space", "n", "depth"), [("published_text", 5, 0), ("published_vision", 3, 1)])
def test_a_published_search_becomes_the_published_trials(base, space, n, depth):
    """The draws themselves stand beside the printed ones in test_published."""
    params = loaded(base, search(space, n, vision_blocks=depth, schedule="constant", augment="photometric", views=2))
    listed = [trial["name"] for trial in base["training"]["trials"]]
    trials = params.training.trials[len(listed) :]
    assert [trial.name for trial in params.training.trials] == [*listed, *(f"random_{i:02d}" for i in range(1, n + 1))]
    for trial, expected in zip(trials, configurations(space, n, seed=42), strict=True):
        shared = {"parent": "frozen", "epochs": 2, "patience": 1, "schedule": "constant", "vision_blocks": depth}
        shared |= {"views": 2, "role": "candidate", "augment": "photometric", "image": "shown", "text": "shown"}
        told = trial.model_dump(exclude={"name"})
        assert told == expected | shared | {"oversample": {}}
    assert params.training.search == ()
    assert validate(params.as_dict(), source="again").as_dict() == params.as_dict()


def test_searches_follow_each_other_and_may_be_all_that_a_profile_tries(base):
    params = loaded(base, search(), search(prefix="deep", n=2, parent="random_01", text_blocks=[4], seed=1))
    names = [trial.name for trial in params.training.trials[-5:]]
    assert names == ["random_01", "random_02", "random_03", "deep_01", "deep_02"]
    assert (params.trial("deep_02").parent, params.trial("deep_02").text_blocks) == ("random_01", 4)
    assert loaded(base, search()).hash != loaded(base, search(seed=43)).hash
    controls = [trial for trial in base["training"]["trials"] if trial.get("role") == "control"]
    alone = loaded(base, search(parent="warmup"), trials=controls)
    assert [trial.role for trial in alone.training.trials] == [*["control"] * len(controls), *["candidate"] * 3]


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
