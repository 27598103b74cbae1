"""Random search: axes, the order of draws, and trials that a parameter file would accept."""

import numpy as np
import pytest

from verdict.params import load_params
from verdict.search import PUBLISHED_TEXT, SOUND, Choice, LogUniform, Uniform, as_trials, draw, published


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


def test_a_log_uniform_axis_gives_each_factor_the_same_share():
    axis, rng = LogUniform(1e-3, 1e-1), np.random.default_rng(5)
    values = np.array([axis.draw(rng) for _ in range(4001)])
    assert values.min() >= 1e-3 and values.max() < 1e-1
    # Half of the draws lie below the geometric mean; the standard error of that share is 0.008.
    assert np.mean(values < 1e-2) == pytest.approx(0.5, abs=0.03)


def test_the_sound_space_tries_small_learning_rates_more_often():
    """Shares below 5e-5 by arithmetic: (5 - 2) / (10 - 2) uniform, log(5 / 2) / log(10 / 2) log-uniform."""
    rng = np.random.default_rng(7)
    shares = {}
    for name, space in (("published", PUBLISHED_TEXT), ("sound", SOUND)):
        rates = np.array([one["learning_rate"] for one in draw(space, 4001, rng=rng)])
        shares[name] = np.mean(rates < 5e-5)
    assert shares["published"] == pytest.approx(3 / 8, abs=0.03)
    assert shares["sound"] == pytest.approx(np.log(5 / 2) / np.log(10 / 2), abs=0.03)


def test_all_options_of_a_choice_occur():
    rng = np.random.default_rng(0)
    assert {Choice((2, 3, 5)).draw(rng) for _ in range(40)} == {2, 3, 5}


def test_configurations_become_trials():
    trials = as_trials(published(PUBLISHED_TEXT, 2), prefix="random", parent="frozen", epochs=2, patience=2)
    assert [trial.name for trial in trials] == ["random_01", "random_02"]
    assert {(trial.parent, trial.epochs, trial.vision_blocks, trial.role) for trial in trials} == {
        ("frozen", 2, 0, "candidate")
    }
    known = load_params("base").training
    assert known.model_copy(update={"trials": (*known.trials, *trials)}).trials[-1].text_blocks == 2
    depth = as_trials([{**published(PUBLISHED_TEXT, 1)[0], "vision_blocks": 1}], **SHARED)
    assert depth[0].vision_blocks == 1


SHARED = {"prefix": "t", "parent": "warmup", "epochs": 1, "patience": 1}


def test_impossible_searches_are_refused():
    with pytest.raises(ValueError, match="at least one configuration, got n=0"):
        draw(SOUND, 0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="dropout"):
        as_trials([{**published(PUBLISHED_TEXT, 1)[0], "dropout": 1.5}], **SHARED)
