"""Drawings of pages on the index: examples, rows of intervals, thumbnails, and what is left out."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from report_tools import assert_sound, bundle_of, code, displayed, markdown, notebook, read_page, stage
from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.report import say
from verdict.report.evidence import THUMBNAIL_PX, Exhibit, interval_rows, thumbnail
from verdict.report.outputs import clean_svg
from verdict.report.site import build_site

SETUP = code('profile = "demo"', "parameters")
INDEX = """# When?

Sure.

<!-- show 08_examples.png -->

## How good?

So <b>good</b>.

<!-- show 08_gone.svg -->

<!-- intervals test.accuracy no.such -->
"""


def gallery(n):
    words = [f"sentence {k}\nModel: true\nGoes out alone" for k in range(n)]
    images = [np.full((4, 6, 3), 40 * k, np.uint8) for k in range(n)]
    return bundle_of(say.show_gallery, images, titles=words, caption="Cases.", alt="Cases", file="08_examples.png")


def test_of_a_few_images_each_is_kept_apart():
    payload = gallery(3)[say.MIME]
    tiles = [Image.open(io.BytesIO(base64.b64decode(tile))) for tile in payload["tiles"]]
    assert [tile.size for tile in tiles] == [(6, 4)] * 3 and tiles[2].getpixel((0, 0)) == (80, 80, 80)
    assert "tiles" not in gallery(say.FEW + 1)[say.MIME]


def test_the_index_shows_examples_intervals_and_thumbnails_and_leaves_out_what_no_page_draws(demo):
    figure = plt.figure(figsize=(4, 2))
    line = bundle_of(say.show_figure, figure, caption="A line.", alt="The line", is_main=True)
    shown = code("x = 1", outputs=[displayed(gallery(2)), displayed(line)])
    notebook("08_policy", markdown("# Policy\n\nWhen?"), SETUP, code("x = 1"))
    numbers = Numbers({"test.accuracy": Number(0.75, 0.5, 1.0, n=1013, split="test", unit="%")})
    stage("08_policy", SETUP, shown, numbers=numbers)
    (paths.NOTEBOOKS / "index.md").write_text(INDEX, encoding="utf-8")
    assert build_site("demo").errors == ()
    page = read_page("index")
    assert_sound(page)
    assert "“sentence 1”" not in page.words and "sentence 1 Model: true Goes out alone" in page.words
    assert {"href": "08_policy.html#figure-08-examples", "aria-label": "Policy, figure 1: Cases."} in page.all("a")
    assert [image["alt"] for image in page.all("img")] == [
        "Image of the case “sentence 0”",
        "Image of the case “sentence 1”",
        "The line",
    ]
    assert "test n = 1,013 75 % [50, 100]" in page.words and "left:50.00%;width:50.00%" in str(page.all("i"))
    assert {"href": "#how-good"} in page.all("a") and "<!--" not in page.words


@pytest.mark.parametrize("harm", [{"caption": None, "titles": None}, {"tiles": ["a"], "titles": []}, {"alt": {}}])
def test_a_damaged_drawing_is_left_to_its_page(demo, harm):
    bundle = gallery(2)
    bundle[say.MIME] |= harm
    bundle["image/png"] = "no picture"
    notebook("08_policy", markdown("# Policy\n\nWhen?"), SETUP, code("x = 1"))
    stage("08_policy", SETUP, code("x = 1", outputs=[displayed(bundle)]))
    (paths.NOTEBOOKS / "index.md").write_text("# When?\n\n<!-- show 08_examples.png -->\n", encoding="utf-8")
    build_site("demo")
    assert "Policy" in read_page("index").words and "thumbnail" not in str(read_page("index").elements)


def test_a_row_of_intervals_needs_a_share():
    numbers = Numbers({"test.cost": Number(5.0, 4.0, 6.0, unit="min"), "test.f1": Number(0.5)})
    assert "left:50.00%;width:0.00%" in interval_rows(["test.cost", "test.f1"], numbers)
    assert interval_rows(["test.cost", "no.such"], numbers) == interval_rows([], Numbers()) == ""


def test_a_main_drawing_brings_its_thumbnail_along():
    figure, ax = plt.subplots(figsize=(6, 3))
    ax.plot([0, 1])
    assert "small" not in bundle_of(say.show_figure, figure, caption="A line.", alt="A line.")[say.MIME]
    data = bundle_of(say.show_figure, figure, caption="A line.", alt="A line.", is_main=True)
    assert "image/svg+xml" in data
    small = thumbnail(Exhibit(data=data))
    with Image.open(io.BytesIO(base64.b64decode(small.split(",")[1].split('"')[0]))) as image:
        assert 200 < image.width <= THUMBNAIL_PX and image.width > image.height > 80


def test_drawings_are_shown_to_a_hundredth_of_a_point():
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg"><path d="M 1.23456 2.5 L 1.234567e-05 3" style="x: 0.12345"/></svg>'
    )
    found = clean_svg(drawing, label="a", prefix="f1-")
    assert 'd="M 1.23 2.5 L 1.234567e-05 3"' in found and "0.12345" in found


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_is_made_small(kind):
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (900, 1300, 3), dtype=np.uint8)).save(picture, kind)
    content = base64.b64encode(picture.getvalue()).decode("ascii")
    small = thumbnail(Exhibit(data={f"image/{kind}": content}))
    assert small.startswith('<img src="data:image/webp;base64,') and len(small) < 40_000
    assert thumbnail(Exhibit(data={"text/plain": "x"})) == ""
