"""Parameters by arithmetic: the study's printed counts, and what freeing the parent adds."""

import pytest

from simulated_stage import make_stage
from verdict.pages.defects_training import PUBLISHED, Shape, size_table, store_sizes

SMALL = Shape(3, 3, 10, 14, 22, 26, heads=3, key_dim=4, mlp_dim=17)


@pytest.mark.parametrize(
    ("plan", "planned", "freed"),
    [
        ((0, 0), 2_758_145, 2_758_145),
        ((0, 2), 16_933_889, 16_933_889),
        ((0, 3), 24_021_761, 24_021_761),
        ((1, 2), 24_021_761, 101_989_889),
        ((1, 3), 31_109_633, 109_077_761),
    ],
)
def test_the_printed_counts(plan, planned, freed):
    assert (PUBLISHED.planned(*plan), PUBLISHED.freed_by_parent(*plan)) == (planned, freed)


def test_freeing_the_parent_adds_the_other_blocks_and_a_norm():
    assert SMALL.freed_by_parent(1, 2) - SMALL.planned(1, 2) == 2 * (SMALL.planned(1, 2) - SMALL.planned(0, 2)) + 2 * 10
    assert SMALL.freed_by_parent(0, 2) == SMALL.planned(0, 2)


def test_plans_that_a_network_is_too_small_for_are_left_out(tmp_path):
    found = size_table([("small", SMALL), ("study", PUBLISHED)], [(1, 2), (4, 1)])
    assert found["network"].tolist() == ["small", "study", "study"]
    assert found["ratio"].iloc[1] == pytest.approx(101_989_889 / 24_021_761)
    stage = make_stage("13_defects", tmp_path)
    store_sizes(stage, SMALL, 0, 2)
    assert stage.numbers["defect.parent.ratio"].value == 1
    assert stage.numbers["defect.parent.published_freed"].value == 101_989_889
