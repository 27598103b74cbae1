"""What the parameters say that one fact tells, counted again in the grammar."""

import numpy as np
import pytest

from verdict.base.params import load_params
from verdict.data.digits import grammar
from verdict.data.digits.couples import coupled_pairs
from verdict.data.digits.scenes import draw_scenes, handwriting_pools
from verdict.data.digits.truths import FALSE, TRUE, Grid


def test_one_fact_tells_of_a_sentence_what_the_parameters_say():
    """The best weaker, and the best stronger, sentence of the grammar: how often it settles a pair of the other one."""
    rng = np.random.default_rng(0)
    grid, said = Grid.of(draw_scenes(1000, handwriting_pools()["train"], rng=rng)), grammar.taught()
    truth = grammar.evaluate(said, grid)
    pairs = coupled_pairs(said, grid, n_pairs=4000, rng=rng)
    place = {statement.text: row for row, statement in enumerate(said)}
    facts = load_params("digits").policy.facts
    for told, label, is_so, is_not in (
        (facts.refutes, "contradiction", truth == TRUE, truth == FALSE),
        (facts.proves, "entailment", truth == FALSE, truth == TRUE),
    ):
        # Where a sentence has one truth value, the fact always has it too; of the other it sometimes shows it.
        n_exceptions = is_so.astype(np.float32) @ (~is_so).T.astype(np.float32)
        n_shown = is_not.astype(np.float32) @ is_not.T.astype(np.float32)
        share = n_shown / np.maximum(is_not.sum(axis=1), 1)[:, None]
        share[(n_exceptions > 0) | (share > 0.999) | (share < 0.02)] = 0.0
        best = share.argmax(axis=1)
        own = pairs[pairs["label"] == label]
        rows, scenes = own["hypothesis"].map(place).to_numpy(), own["scene"].to_numpy()
        has_one = share[rows, best[rows]] > 0
        assert 0.7 < has_one.mean() < 0.9
        assert is_not[best[rows], scenes][has_one].mean() == pytest.approx(told, abs=0.03)
