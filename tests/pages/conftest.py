"""Rows of the kept model, as the stage of a test's file predicts them."""

import pytest


@pytest.fixture
def calib(stage):
    return stage.predictions("calib", trial="text1", seed=11)


@pytest.fixture
def test(stage):
    return stage.predictions("test", trial="text1", seed=11)
