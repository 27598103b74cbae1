"""A whole report in a real browser: that in git, or the folder VERDICT_TEST_REPORT names; and that faults are found.

`python tests/page_checks.py FOLDER` looks at every page in every view, which takes minutes.
"""

import base64
import os
from pathlib import Path

import pytest

from browser import Browser, axe_source
from page_checks import View, check_content, check_page, check_report, check_table, check_view
from verdict.base import paths
from verdict.report.publish import PUBLISHED

COPY = paths.published_dir("digits")
REPORT = Path(os.environ.get("VERDICT_TEST_REPORT", COPY))
LOOKED_AT = ("index", "review", "07_calibration-clip")
SOUND = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Sound</title>
<link rel="icon" href="data:,">
<style>.skip { position: absolute; left: -999rem; } .skip:focus { left: 0; } %s</style></head><body>
<a class="skip" href="#main">Skip</a><header class="bar"><button>Theme</button></header><nav aria-label="Pages"></nav>
<main id="main"><h1>Sound</h1>%s</main></body></html>"""
FAULTS = {
    "asks for": '<img alt="x" src="other.png">',
    "picture does not load": '<img alt="x" src="data:image/png;base64,AAAA">',
    "error: ": "<script>throw new Error('x')</script>",
    "error: [": "<script>console.error('x')</script>",
    "px wider than its window": '<div style="width: 3000px">x</div>',
    "leaves the window": '<div style="overflow: hidden"><div style="width: 3000px">x</div></div>',
    "opened, is": '<details><summary>x</summary><p style="width: 3000px">x</p></details>',
    "Tab never reaches button": '<button tabindex="-1">x</button>',
    "shows no focus: button": '<button style="outline: none">x</button>',
    "focused out of sight: button": '<button style="opacity: 0">x</button>',
    "link leaves the report": '<a href="https://example.org">x</a>',
    "file that is not there": '<a href="none.html">x</a>',
    "anchor that is not there": '<a href="#none">x</a>',
    "no table of equal rows": f'<a href="data:text/csv;base64,{base64.b64encode(b"a,b").decode()}">x</a>',
    "picture without a description": '<svg width="9" height="9"></svg>',
    "shows an object of the code: Number(value=": "<pre>Number(value=1.0)</pre>",
    "refers to nothing: #none": '<svg aria-label="x"><path clip-path="url(#none)"/></svg>',
    "id used twice: main": '<p id="main">x</p>',
    "lacks one h1": "<h1>x</h1>",
    "lacks a name for each navigation": "<nav></nav>",
    "moves although asked not to": '<p style="transition: color 1s">x</p>',
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def test_the_report_in_git_is_whole_and_usable(browser):
    if REPORT == COPY and not (COPY / PUBLISHED).is_file():
        pytest.skip("there is no published copy")
    assert list(check_report(browser, REPORT, views=())) == []
    found = {
        f"{stem}, {view}": check_view(browser, REPORT / f"{stem}.html", view)
        for stem in LOOKED_AT
        if (REPORT / f"{stem}.html").is_file()
        for view in (View(), View(390, dark=True))
    }
    assert {where: faults for where, faults in found.items() if faults} == {}


def faults_of(browser, folder, body="", style=""):
    page = folder / "page.html"
    page.write_text(SOUND % (style, body), encoding="utf-8")
    return [*check_content(browser, page, {"page.html": {"main"}}), *check_view(browser, page, View())]


def test_a_sound_page_has_no_fault(browser, tmp_path):
    assert faults_of(browser, tmp_path) == []


@pytest.mark.parametrize(("said", "body"), FAULTS.items())
def test_a_planted_fault_is_found(browser, tmp_path, said, body):
    assert any(said in fault for fault in faults_of(browser, tmp_path, body))


def test_a_page_that_is_too_heavy_is_found(browser, tmp_path):
    assert any("weighs 1,0" in fault for fault in faults_of(browser, tmp_path, f"<!--{'x' * 1_000_000}-->"))


def test_dark_colours_are_looked_at_although_the_width_is_known(browser, tmp_path):
    page = tmp_path / "page.html"
    style = "body { background: #fff; } @media (prefers-color-scheme: dark) { p { color: #333; background: #222; } }"
    page.write_text(SOUND % (style, '<p>words</p><button tabindex="-1">y</button>'), encoding="utf-8")
    views = (View(), View(dark=True))
    light, dark = check_page(browser, page, {"page.html": {"main"}}, views=views, axe=axe_source())
    assert light.startswith(", 1280 px, light: Tab never reaches button")
    assert dark.startswith(", 1280 px, dark: axe color-contrast (serious): <p>words</p>")


@pytest.mark.parametrize("text", [b"a,b\n1,2\n3\n", b"\xff\xfe", b""])
def test_a_download_that_is_no_table_is_found(text):
    assert check_table(f"data:text/csv;base64,{base64.b64encode(text).decode()}")
    assert check_table("data:text/csv;base64,???")
    assert check_table(f"data:text/csv;base64,{base64.b64encode(b'a,b').decode()}")
