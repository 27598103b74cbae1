"""What notebooks call to speak, alone and through a real execution."""

import base64
import io
import json

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from report_tools import HOSTILE, Reader, assert_offline, code, page_text, record, sample_numbers, write_notebook
from verdict.base.numbers import Number, Numbers
from verdict.report import say as speaking
from verdict.report.exporter import Site
from verdict.report.outputs import MIME


@pytest.fixture
def shown(monkeypatch):
    """Bundles that would be displayed."""
    seen = []
    monkeypatch.setattr(speaking, "_show", lambda bundle, metadata: seen.append((bundle, metadata)))
    return seen


def test_a_sentence_carries_its_numbers():
    bundle, _ = speaking.sentence("F1 is {test.macro_f1}, **{{ test.accuracy|value }}**.", sample_numbers())
    assert "0.812 [0.797, 0.826]" in bundle["text/html"]
    assert "<strong>" in bundle["text/html"] and "75 %" in bundle["text/html"]
    assert set(bundle[MIME]["numbers"]) == {"test.macro_f1", "test.accuracy"}


def test_an_unknown_number_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"macro_f2.*nearest is 'test.macro_f1'"):
        speaking.sentence("{test.macro_f2}", sample_numbers())


def test_html_in_a_sentence_is_text():
    bundle, _ = speaking.sentence("<script>x</script> <b>bold</b> {test.macro_f1}", sample_numbers())
    assert {tag for tag, _ in Reader(bundle["text/html"]).elements} == {"p", "span"}


def test_undefined_numbers_survive_json():
    bundle, _ = speaking.sentence("{a.b}", Numbers({"a.b": Number(float("nan"))}))
    assert "not defined" in bundle["text/html"]
    json.dumps(bundle, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.81234, "0.812"), (12.345, "12.3"), (1234.5, "1,234"), (0.0, "0"), (-0.05, "-0.0500"), (1.23e-7, "1.23e-07")],
)
def test_three_significant_digits(value, text):
    assert speaking.significant(value) == text


def test_a_table_merges_intervals_sorts_and_keeps_full_precision(shown, tmp_path):
    table = pd.DataFrame(
        {
            "kind": ["a", "b", HOSTILE],
            "f1": [0.5, 0.9, 0.7123456],
            "f1_low": [0.4, 0.8, 0.6],
            "f1_high": [0.6, 1.0, 0.8],
        }
    )
    speaking.show_table(table, caption="By kind", sort_key="-f1", file=tmp_path / "tables" / "05_kinds.csv")
    payload = shown[0][0][MIME]
    assert [column["name"] for column in payload["columns"]] == ["kind", "f1"]
    assert [row[1][0] for row in payload["rows"]] == ["0.90 [0.80, 1.00]", "0.71 [0.60, 0.80]", "0.50 [0.40, 0.60]"]
    assert payload["caption"] == "By kind. Sorted by f1, descending."
    assert payload["columns"][1]["numeric"] and not payload["columns"][0]["numeric"]
    stored = pd.read_csv(tmp_path / "tables" / "05_kinds.csv")
    assert stored["f1"].tolist() == [0.9, 0.7123456, 0.5]
    assert not Reader(shown[0][0]["text/html"]).all("script")


def test_a_long_table_is_cut_and_says_so(shown):
    speaking.show_table(pd.DataFrame({"x": range(307)}), caption="Rows")
    payload = shown[0][0][MIME]
    assert len(payload["rows"]) == speaking.MAX_ROWS
    assert "first 300 of 307 rows" in payload["caption"]
    assert payload["csv"].count("\n") == 307 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"caption": " "}, "needs a caption"),
        ({"caption": "c", "sort_key": "y"}, "no column"),
    ],
)
def test_a_careless_table_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        speaking.show_table(pd.DataFrame({"x": [1]}), **options)


def test_a_small_figure_is_svg_and_closed(shown):
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    speaking.show_figure(figure, caption="c", alt="a line", data=pd.DataFrame({"x": [1.5]}), file="05_line.svg")
    bundle, metadata = shown[0]
    assert "image/svg+xml" in bundle and "image/png" not in bundle
    assert bundle[MIME]["csv"] == "x\n1.5\n"
    assert metadata["image/svg+xml"]["alt"] == "a line"
    assert not plt.fignum_exists(figure.number)


def test_a_crowded_figure_is_png(shown):
    figure, ax = plt.subplots()
    ax.plot(*np.random.default_rng(3).random((2, 5003)), "o")
    speaking.show_figure(figure, caption="c", alt="a cloud")
    assert "image/png" in shown[0][0] and "image/svg+xml" not in shown[0][0]
    assert 0 < shown[0][0][MIME]["width"] < 1000


def test_only_a_heavy_drawing_loses_colours(shown):
    figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
    for ax in (left, right):
        ax.imshow(np.random.default_rng(5).random((97, 89, 3)), interpolation="bicubic")
    speaking.show_figure(figure, caption="c", alt="noise")
    figure, ax = plt.subplots()
    ax.plot(*np.random.default_rng(3).random((2, 5003)), "o")
    speaking.show_figure(figure, caption="c", alt="a cloud")
    contents = [base64.b64decode(bundle["image/png"]) for bundle, _ in shown]
    assert [Image.open(io.BytesIO(content)).mode for content in contents] == ["P", "RGBA"]
    assert max(map(len, contents)) < speaking.MAX_PNG_BYTES


def test_equal_figures_give_equal_bytes(shown):
    for _ in range(2):
        figure, ax = plt.subplots()
        ax.plot([0, 1, 0.5])
        speaking.show_figure(figure, caption="c", alt="a")
    assert shown[0][0]["image/svg+xml"] == shown[1][0]["image/svg+xml"]


@pytest.mark.parametrize(("caption", "alt"), [("", "a"), ("c", "  ")])
def test_a_figure_without_words_is_refused(caption, alt):
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="a figure needs"):
        speaking.show_figure(figure, caption=caption, alt=alt)
    plt.close(figure)


def test_a_gallery_is_one_picture(shown):
    images = [np.full((7, 5, 3), k, dtype=np.uint8) for k in range(3)]
    speaking.show_gallery(images, titles=["a $5", HOSTILE, "c"], caption="c", alt="three squares")
    assert shown[0][0][MIME]["kind"] == "gallery" and "image/png" in shown[0][0]
    with pytest.raises(ValueError, match="3 images and 2 titles"):
        speaking.show_gallery(images, titles=["a", "b"], caption="c", alt="a")
    plt.close("all")


SOURCE = """
import matplotlib.pyplot as plt
import pandas as pd
from verdict.base.numbers import Number, Numbers
from verdict.report.say import say, show_figure, show_table
numbers = Numbers({"test.f1": Number(0.5, 0.25, 0.75)})
say("F1 is {test.f1}.", numbers)
show_table(pd.DataFrame({"x": [0.125]}), caption="Xs", file="01_xs.csv")
figure, ax = plt.subplots()
ax.plot([1, 2])
show_figure(figure, caption="Line", alt="a rising line", data=pd.DataFrame({"y": [1, 2]}), file="01_line.svg")
"""


@pytest.mark.filterwarnings("ignore")
def test_structure_survives_an_execution(tmp_path):
    from nbclient import NotebookClient

    live = write_notebook(tmp_path / "01_x.ipynb", [code(SOURCE)])
    notebook = nbformat.read(live, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    executed = tmp_path / "executed.ipynb"
    nbformat.write(notebook, executed)
    site = Site("demo")
    page = Reader(page_text(live, executed, record("01_x"), Numbers(), site))
    assert_offline(page)
    assert "0.50 [0.25, 0.75]" in page.words
    assert "Table 1." in page.words and "Figure 1." in page.words
    assert "table-01-xs" in page.ids and "figure-01-line" in page.ids
    assert [attributes["aria-label"] for attributes in page.all("svg")] == ["a rising line"]
