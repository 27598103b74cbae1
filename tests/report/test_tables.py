"""How tables stand on pages: long ones folded, numbers short, rows that can be stacked on a phone."""

import pandas as pd

from report_tools import Reader, bundle_of
from verdict.base.numbers import Number, Numbers
from verdict.report import say
from verdict.report.markdown import Markdown
from verdict.report.outputs import MANY_ROWS, OutputRenderer, cell_text


def rendered(n_rows, **columns):
    table = pd.DataFrame({"a": range(n_rows), **{name: [value] * n_rows for name, value in columns.items()}})
    bundle = bundle_of(say.show_table, table, caption="Cases.", file="05_cases.csv")
    renderer = OutputRenderer(Markdown(Numbers()), lambda name, content: "")
    return Reader(renderer.render({"output_type": "display_data", "data": bundle}))


def test_a_long_table_is_folded_under_its_caption_with_its_row_count():
    short, long = rendered(MANY_ROWS), rendered(MANY_ROWS + 1)
    assert not short.all("details") and len(short.all("caption")) == 1
    assert len(long.all("details")) == 1 and not long.all("caption")
    assert "Table 1. Cases. 13 rows" in long.words
    assert short.all("div")[0]["id"] == long.all("div")[0]["id"] == "table-05-cases"


def test_a_table_of_many_columns_can_be_stacked():
    wide, narrow = rendered(2, b=1, c=2, d="x"), rendered(2, b=1)
    assert wide.all("table")[0]["class"] == "sortable stack" and narrow.all("table")[0]["class"] == "sortable"
    assert [cell.get("data-label") for cell in wide.all("td")[:4]] == [None, "b", "c", "d"]
    assert "stack" not in rendered(MANY_ROWS + 1, b=1, c=2, d=3).all("table")[0]["class"]


def test_a_p_value_has_a_smallest_one():
    cell = ["0.0000123", 1.23e-5]
    assert cell_text({"name": "p holm"}, cell) == cell_text({"name": "p"}, cell) == "< 0.001"
    assert cell_text({"name": "prob"}, cell) == "0.0000123"
    assert cell_text({"name": "p"}, ["0.0010", 0.001]) == "0.0010"
    number = Number(0.0002, 0.0, 0.01)
    assert cell_text({"name": "p exchanged"}, [number.text, number.value]) == "0.000 [0.000,\N{NO-BREAK SPACE}0.010]"
