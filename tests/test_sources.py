"""From parameters to a data set, and a source's own format of predictions."""

import pandas as pd

from verdict.data.sources import export_predictions
from verdict.params import load_params

PREDICTIONS = pd.DataFrame({"image_id": ["test-5-1-0", "test-17-0-3"], "logit_0": [0.0, 0.0], "logit_1": [0.7, -0.7]})


def test_nlvr_gets_the_corpus_own_file(tmp_path):
    params = load_params("base").data.model_copy(update={"source": "nlvr"})
    (path,) = export_predictions(params, PREDICTIONS, tmp_path)
    assert path.read_text() == "test-17-0-3.png,true\ntest-5-1-0.png,false\n"


def test_other_sources_have_no_format_of_their_own(tmp_path):
    assert export_predictions(load_params("base").data, PREDICTIONS, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
