"""From parameters to a data set, and a source's own format of predictions."""

import pandas as pd

from page_text import told
from verdict.base.numbers import Numbers
from verdict.base.params import load_params
from verdict.data.pairs import EXCLUDED_COLUMNS, Dataset
from verdict.data.sources import exclusions, export_predictions

PREDICTIONS = pd.DataFrame(
    {"image_id": ["test-5-1-0", "test-17-0-3", "test-5-0-1"], "logit_0": 0.0, "logit_1": [0.7, -0.7, 0.0]}
)


def test_only_nlvr_has_a_format_of_its_own(tmp_path):
    assert export_predictions(load_params("base").data, PREDICTIONS, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    params = load_params("base").data.model_copy(update={"source": "nlvr"})
    (path,) = export_predictions(params, PREDICTIONS, tmp_path)
    assert path.read_text() == "test-17-0-3.png,true\ntest-5-0-1.png,true\ntest-5-1-0.png,false\n"


SAID = "nothing had to be left out"


def left_out(*rows):
    return Dataset(pd.DataFrame(), excluded=pd.DataFrame(rows, columns=list(EXCLUDED_COLUMNS)))


def test_what_was_kept_out_of_the_warmup_is_stored_by_split():
    numbers = Numbers()
    dataset = left_out(
        ("warmup_train", "val", 5, 20, 2), ("warmup_train", "test", 3, 12, 1), ("warmup_val", "test", 1, 4, 0)
    )
    table = exclusions(dataset, numbers)
    assert len(table) == 3
    found = {name: number.value for name, number in numbers.items()}
    assert found == {
        "data.excluded.val.n_images": 5,
        "data.excluded.val.n_rows": 20,
        "data.excluded.test.n_images": 4,
        "data.excluded.test.n_rows": 16,
        "data.n_excluded_images": 9,
        "data.n_excluded_rows": 36,
    }
    assert numbers["data.excluded.test.n_rows"].split == "test"
    assert "holds 9 evaluation images of the target, in 36 rows; all were left out" in told("01_data", SAID, numbers)


def test_a_corpus_that_shares_nothing_is_worth_a_warning_and_a_source_of_its_own_is_not():
    numbers = Numbers()
    assert exclusions(left_out(), numbers).empty and not numbers
    assert told("01_data", SAID, numbers).endswith("nothing had to be left out.")
    exclusions(left_out(("warmup_train", "val", 0, 0, 0)), numbers)
    assert told("01_data", SAID, numbers).startswith("**No image of the warm-up corpus is known")
