"""Which half of a pair breaks the model: cells side by side, and contrasts by hand."""

import numpy as np
import pytest

from simulated_stage import KEPT, make_stage
from verdict.pages.independent import NEW, cell_table, read_tables, scores_by_split, skills, store_contrasts

SIZES = {"calib": 59, "test": 701, "independent": 307, "independent_images": 211, "independent_sentences": 223}


def accuracy(table):
    return float(((table["logit_1"] >= 0).astype(int) == table["y_true"]).mean())


def wronged(table, share):
    """The same answers, with another truth for the first rows."""
    n = round(share * len(table))
    return table.assign(y_true=np.where(np.arange(len(table)) < n, 1 - table["y_true"], table["y_true"]))


@pytest.fixture
def stage(tmp_path):
    made = make_stage("09_independent_set", tmp_path, sizes=SIZES)
    for split, share in (("independent_images", 0.6), ("independent", 0.65)):
        made.tables[split, 11] = wronged(made.tables[split, 11], share)
    return made


def test_the_cells_and_what_each_half_does(stage):
    tables = read_tables(stage, KEPT)
    scores = scores_by_split(stage, tables)
    store_contrasts(stage, tables)
    nothing = scores.assign(**dict.fromkeys(("auto_error", "auto_error_low", "auto_error_high")))
    cells = cell_table(tables, {"accuracy": scores, "auto_error": nothing}).set_index("new")
    assert cells["auto_error"].isna().all(), "where nothing goes out alone"
    values = {split: accuracy(tables[split]) for split in NEW}
    assert cells["accuracy"].tolist() == pytest.approx(list(values.values()))
    assert cells.loc["images", "n"] == 211 and cells.loc["sentences", "n"] == 223
    assert (cells["accuracy_low"] < cells["accuracy"]).all() and (cells["accuracy"] < cells["accuracy_high"]).all()
    images, sentences = values["independent_images"], values["independent_sentences"]
    apart, together = (stage.numbers[f"independent.{name}"] for name in ("images_minus_sentences", "interaction"))
    assert apart.value == pytest.approx(images - sentences) and apart.high < 0
    assert together.value == pytest.approx(values["independent"] - images - sentences + values["test"])
    assert together.low < together.value < together.high


def test_half_new_pairs_have_numbers_but_no_skills(stage):
    tables = read_tables(stage, KEPT)
    scores_by_split(stage, tables)
    assert stage.numbers["independent_images.accuracy_change"].high < 0
    assert set(skills(stage, tables)["split"]) == {"test", "independent"}


def test_a_source_without_half_new_pairs_has_no_cells(tmp_path):
    stage = make_stage("09_independent_set", tmp_path, sizes={"calib": 59, "test": 71, "independent": 67})
    tables = read_tables(stage, KEPT)
    store_contrasts(stage, tables)
    assert cell_table(tables, {}).empty and not len(stage.numbers)
