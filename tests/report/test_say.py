"""What notebooks call to speak: what each call displays."""

import base64
import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from report_tools import HOSTILE, Reader, sample_numbers
from verdict.base.numbers import Number, Numbers
from verdict.report import say as speaking
from verdict.report.outputs import MIME


@pytest.fixture
def shown(monkeypatch):
    """Bundles that would be displayed."""
    seen = []
    monkeypatch.setattr(speaking, "_show", seen.append)
    yield seen
    plt.close("all")


def test_a_sentence_carries_its_numbers_and_html_in_it_is_text(shown):
    sentence = "F1 is {test.macro_f1}, **{{ test.accuracy|value }}**. <script>x</script> <b>bold</b>"
    speaking.say(sentence, sample_numbers(), is_alarm=True)
    text, payload = shown[0]["text/html"], shown[0][MIME]
    assert "0.812 [0.797, 0.826]" in text and "75.0 %" in text
    assert {tag for tag, _ in Reader(text).elements} == {"p", "span", "strong"}
    assert set(payload["numbers"]) == {"test.macro_f1", "test.accuracy"} and payload["role"] == "alarm"


def test_an_unknown_number_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"macro_f2.*nearest is 'test.macro_f1'"):
        speaking.say("{test.macro_f2}", sample_numbers())


def test_undefined_numbers_survive_json(shown):
    speaking.say("{a.b}", Numbers({"a.b": Number(float("nan"))}))
    assert "not defined" in shown[0]["text/html"]
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.81234, "0.812"), (12.345, "12.3"), (1234.5, "1,234"), (0.0, "0"), (-0.05, "-0.0500"), (1.23e-7, "1.23e-07")],
)
def test_three_significant_digits(value, text):
    assert speaking.significant(value) == text


def test_a_table_merges_intervals_sorts_and_keeps_full_precision(shown):
    bounds = {"f1_low": [0.4, 0.8, 0.6], "f1_high": [0.6, 1.0, 0.8]}
    table = pd.DataFrame({"kind": ["a", "b", HOSTILE], "f1": [0.5, 0.9, 0.7123456], **bounds})
    speaking.show_table(table, caption="By kind", sort_key="-f1", file="05_kinds.csv")
    payload = shown[0][MIME]
    assert payload["columns"] == [{"name": "kind", "numeric": False}, {"name": "F1", "numeric": True}]
    assert [row[1][0] for row in payload["rows"]] == ["0.90 [0.80, 1.00]", "0.71 [0.60, 0.80]", "0.50 [0.40, 0.60]"]
    assert payload["caption"] == "By kind. Sorted by F1, descending."
    assert pd.read_csv(io.StringIO(payload["csv"]))["f1"].tolist() == [0.9, 0.7123456, 0.5]
    assert not Reader(shown[0]["text/html"]).all("script")


def test_numbers_in_a_table_are_sorted_and_downloaded_with_their_bounds(shown):
    index = pd.Index(["x", "y"], name="of_what")
    rows = [[Number(0.5, 0.4, 0.6), 7], [Number(0.25), None]]
    speaking.show_table(pd.DataFrame(rows, index, ["f1", "n"]), caption="C", sort_key="f1")
    payload = shown[0][MIME]
    assert [column["name"] for column in payload["columns"]] == ["of what", "F1", "n"]
    assert [row[1:] for row in payload["rows"]] == [[["0.25", 0.25], "–"], [["0.50 [0.40, 0.60]", 0.5], ["7.00", 7.0]]]
    assert payload["csv"].splitlines() == ["of_what,f1,f1_low,f1_high,n", "y,0.25,,,", "x,0.5,0.4,0.6,7.0"]


def test_a_column_of_numbers_and_other_values_is_downloaded_whole(shown):
    speaking.show_table(pd.DataFrame({"x": [Number(0.5, 0.4, 0.6), 0.75, "=none", None]}), caption="C")
    assert shown[0][MIME]["csv"].splitlines() == ["x,x_low,x_high", "0.5,0.4,0.6", "0.75,,", "'=none,,", ",,"]


def test_a_split_is_called_in_words_and_downloaded_by_its_name(shown):
    table = pd.DataFrame({"split": ["test", "independent_hand", "independence"]})
    speaking.show_table(table, caption="By split")
    payload = shown[0][MIME]
    assert payload["rows"] == [["test"], ["written by hand"], ["independence"]]
    assert payload["csv"].split() == ["split", *table["split"]]


def test_a_long_table_is_cut_and_says_so(shown):
    speaking.show_table(pd.DataFrame({"x": range(307)}), caption="Rows")
    payload = shown[0][MIME]
    assert len(payload["rows"]) == speaking.MAX_ROWS
    assert "first 300 of 307 rows" in payload["caption"]
    assert payload["csv"].count("\n") == 307 + 1


def test_a_table_may_show_its_first_rows_alone(shown):
    speaking.show_table(pd.DataFrame({"x": [1, 3, 2]}), caption="Rows.", sort_key="-x", first=2)
    payload = shown[0][MIME]
    assert [row[0][1] for row in payload["rows"]] == [3, 2] and payload["csv"].split() == ["x", "3", "2", "1"]
    assert payload["caption"] == "Rows. Sorted by x, descending. The first 2 of 3 rows; the download has all."


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


def drawing(*points, **options):
    figure, ax = plt.subplots()
    ax.plot(*points, **options)
    return figure


def test_a_small_figure_is_svg_of_equal_bytes_and_closed(shown):
    data = pd.DataFrame({"x": [1.5]})
    figures = [drawing([0, 1, 0.5]), drawing([0, 1, 0.5])]
    for figure in figures:
        speaking.show_figure(figure, caption="c", alt="a line", data=data, file="05_line.svg")
    assert "image/png" not in shown[0] and shown[0]["image/svg+xml"] == shown[1]["image/svg+xml"]
    assert (shown[0][MIME]["csv"], shown[0][MIME]["file"]) == ("x\n1.5\n", "05_line.svg")
    assert not any(plt.fignum_exists(figure.number) for figure in figures)


def test_a_crowded_figure_is_png_and_a_heavy_one_jpeg_in_all_its_colours(shown, monkeypatch):
    heat = np.add.outer(np.linspace(0, 1, 311), np.linspace(0, 1, 307) ** 2)
    noise = np.random.default_rng(3).random((2, 5003))
    for limit in (speaking.MAX_PNG_BYTES, 40_000):
        monkeypatch.setattr(speaking, "MAX_PNG_BYTES", limit)
        figure = drawing(*noise, linestyle="none", marker="o")
        figure.gca().imshow(heat, cmap="inferno", extent=(0, 1, 0, 1))
        speaking.show_figure(figure, caption="c", alt="noise")
        assert "image/svg+xml" not in shown[-1] and 0 < shown[-1][MIME]["width"] < 1000
    (png, jpeg) = (base64.b64decode(shown[k][f"image/{kind}"]) for k, kind in enumerate(("png", "jpeg")))
    assert "image/png" not in shown[1]
    exact, near = (np.asarray(Image.open(io.BytesIO(content)), dtype=float) for content in (png, jpeg))
    assert len(np.unique(exact.reshape(-1, 3), axis=0)) > 256
    assert exact.shape == near.shape and np.abs(exact - near).mean() < 5


def test_a_figure_of_any_weight_has_a_png_as_its_thumbnail(shown, monkeypatch):
    """The thumbnail of a page full of pictures was a JPEG as well, and not found."""
    monkeypatch.setattr(speaking, "MAX_PNG_BYTES", 1_000)
    monkeypatch.setattr(speaking, "MAX_SVG_BYTES", 1_000)
    speaking.show_figure(drawing([0, 1, 0.5]), caption="c", alt="a line", is_main=True)
    small = Image.open(io.BytesIO(base64.b64decode(shown[0][MIME]["small"])))
    assert small.format == "PNG" and "image/jpeg" in shown[0]
    assert small.width == pytest.approx(shown[0][MIME]["width"] * speaking.SMALL_DPI / speaking.CSS_DPI, abs=2)


@pytest.mark.parametrize(("caption", "alt"), [("", "a"), ("c", "  ")])
def test_a_figure_without_words_is_refused(shown, caption, alt):
    for show in (speaking.show_figure, lambda figure, **words: speaking.show_gallery([], titles=[], **words)):
        with pytest.raises(ValueError, match="a figure needs"):
            show(plt.figure(), caption=caption, alt=alt)


def test_a_gallery_is_one_picture(shown):
    images = [np.full((7, 5, 3), k, dtype=np.uint8) for k in range(3)]
    speaking.show_gallery(images, titles=["a $5", HOSTILE, "c"], caption="c", alt="three squares")
    assert shown[0][MIME]["kind"] == "gallery" and "image/png" in shown[0]
    with pytest.raises(ValueError, match="3 images and 2 titles"):
        speaking.show_gallery(images, titles=["a", "b"], caption="c", alt="a")
    speaking.show_gallery([], titles=[], caption="Mistakes.", alt="a")
    assert shown[1][MIME]["template"] == "*Mistakes.* There are none."
