"""Pages: prose from the live notebook, outputs from the executed one, nothing raw, nothing loaded."""

import base64
import json
import re
from urllib.parse import unquote

import pytest

from report_tools import (
    HOSTILE,
    Reader,
    assert_sound,
    bundle_of,
    code,
    displayed,
    markdown,
    page_text,
    record,
    sample_claim,
    sample_numbers,
    write_notebook,
)
from verdict.base import paths
from verdict.base.numbers import POINTS, Number, Numbers, named
from verdict.report.engine import clean
from verdict.report.executions import Execution
from verdict.report.exporter import Link, Site, claim_row
from verdict.report.markdown import Markdown
from verdict.report.notebook import Cell, RenderError, matched
from verdict.report.outputs import MIME, clean_svg
from verdict.report.provenance import changes
from verdict.report.say import show_claims
from verdict.report.site import title_and_question

TITLE = markdown("# How good is it?\n\n**Question.** How good? Then decide.")
SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'width="72pt" height="72pt" viewBox="0 0 72 72" onload="x()"><script>x()</script><style>*{fill:red}</style>'
    '<defs><clipPath id="a"><rect/></clipPath></defs><g clip-path="url(#a)"><use xlink:href="#a"/>'
    '<image xlink:href="http://e.org/x.png"/><path style="fill: url(http://e.org)"/><text>a &lt;b&gt;</text></g>'
    "<foreignObject/></svg>"
)


def figure_output(caption="Line", **fields):
    payload = {"kind": "figure", "caption": caption, "alt": "a line", "csv": "x\n1\n", "file": "05_line.svg", **fields}
    return displayed({MIME: payload, "image/svg+xml": SVG, "text/plain": "x"})


def table_output(cell, **fields):
    payload = {"kind": "table", "caption": cell, "columns": [{"name": cell, "numeric": False}], "rows": [[cell]]}
    return displayed({MIME: {**payload, "csv": "x\n", "file": "", **fields}})


def page_of(tmp_path, live, outputs=(), *, site=None, name="05_test", **fields):
    """Render a page whose one code cell printed `outputs`; fields are of its execution."""
    path = write_notebook(tmp_path / f"{name}.ipynb", [TITLE, *live, code("x = 1")])
    done = write_notebook(tmp_path / "run" / "executed.ipynb", [code("x = 1", outputs=outputs)])
    execution = Execution(**{"name": name, "notebook": name, "status": "done", "run": record(), **fields})
    return page_text(path, done, {}, sample_numbers(), site or Site("demo"), execution=execution)


def test_a_page_of_another_source_leads_to_its_own_pages(tmp_path):
    names = ("05_test", "07_calibration-clip", "08_policy", "08_policy-clip")
    site = Site("demo", links=[Link(name, name, "Why?") for name in names])
    prose = markdown("See [policy](08_policy.ipynb) and [test](05_test.ipynb).")
    for stage, wanted in (("07_calibration", "08_policy"), ("07_calibration-clip", "08_policy-clip")):
        text = page_of(tmp_path, [prose], site=site, name=stage, run=record(stage=stage))
        assert f'href="{wanted}.html"' in text and 'href="05_test.html"' in text


def test_a_page_is_whole_offline_and_described(tmp_path):
    site = Site("demo", links=[Link("04_a", "Before"), Link("05_test", "Here"), Link("06_b", "After")])
    page = Reader(page_of(tmp_path, [markdown("## Part\n\n### Sub\n\n## Part")], [figure_output()], site=site))
    assert_sound(page)
    assert {"part", "part-2", "sub"} <= set(page.ids)
    hrefs = [attributes["href"] for attributes in page.all("a")]
    assert {"04_a.html", "06_b.html", "#main", "#part-2"} <= set(hrefs)
    assert "with uncommitted changes" in page.words and "not the default" in page.words
    assert {"main", "nav", "header"} <= {tag for tag, _ in page.elements}
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize(
    ("commit", "dirty", "told"),
    [
        ("c0ffee", True, "with uncommitted changes"),
        ("c0ffee", None, "whether it was changed is not known"),
        ("c0ffee", False, ""),
        ("unknown", True, ""),
    ],
)
def test_a_page_says_of_its_commit_what_is_known(commit, dirty, told):
    assert changes(record(commit=commit, dirty=dirty)) == told


ODD = "14_What's new? (50 % & more) #1 größe"


def test_pages_of_any_name_are_linked(tmp_path):
    site = Site("demo", links=[Link("05_test", "Here"), Link(ODD, "There")])
    text = markdown("[one](<14_What's new%3F (50 %25 & more) %231 größe.ipynb>)")
    table = table_output("x", csv="x\n" * 40_000, file="05_t.csv")
    page = Reader(page_of(tmp_path, [text], [table], site=site))
    written = [attributes["href"] for attributes in page.all("a") if attributes["href"].startswith("14_")]
    assert [unquote(href) for href in written] == [f"{ODD}.html"] * 2 and not set("?' #") & set("".join(written))
    found = Reader(page_of(tmp_path, [], [table], site=site, name=ODD))
    downloads = {unquote(attributes["href"]) for attributes in found.all("a") if "download" in attributes}
    assert downloads <= set(site.files) and len(downloads) == 2


def test_a_number_is_substituted_with_its_interval_and_source(tmp_path):
    page = Reader(page_of(tmp_path, [markdown("It is {{ test.macro_f1 }}, again {{test.macro_f1|value}}.")]))
    assert "It is 0.812 [0.797, 0.826] , again 0.812 ." in page.words
    spans = [attributes for attributes in page.all("span") if attributes.get("class") == "number"]
    assert spans[0]["title"] == "test split · n = 4,003 · seeds 11, 23 · estimate with interval · test.macro_f1"
    assert spans[0]["id"] == "n-test-macro_f1" and "id" not in spans[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Value {{ test.accuracy of. And", "'Value {{ test.accuracy of. A': a number stands between {{ and }}"),
        ("## A { test.accuracy }}", "'A { test.accuracy }}': a number stands between {{ and }}"),
        ("{{ test.makro_f1 }}", "no number is called 'test.makro_f1'; the nearest is 'test.macro_f1'"),
        ("{{ test.macro_f1|bold }}", "unknown form 'bold'"),
        ("a <!-- hid", "the comment '<!-- hid' is not closed"),
        ("- a\n- <!-- hid", "the comment '<!-- hid' is not closed"),
        ("$\\nosuch{x}$", r"the formula '\\\\nosuch\{x\}' cannot be converted"),
        ("$x = {{ test.no }}$", "no number is called 'test.no'"),
        ("![x](https://e.org/a.png)", "'https://e.org/a.png' is not a local image file"),
        ("![x](notes.txt)", "'notes.txt' is not a local image file"),
        ("![x](attachment:b.png)", r"'attachment:b\.png' is not a local image file"),
        ("![x](../a.png)", "does not exist beside the notebook"),
        ("{% if test.no.low > 0 %}x{% endif %}", "no number is called 'test.no'"),
    ],
)
def test_prose_that_cannot_be_shown_is_refused_by_notebook_and_cell(tmp_path, text, told):
    with pytest.raises(RenderError, match=f"05_test.ipynb, cell 2: .*{told}"):
        page_of(tmp_path, [markdown(text)])


COMMENTS = (
    "a <!-- hid --> b",
    "<!-- hid\n\nhid -->\n\nb",
    "<!-- hid --> b",
    "- a <!-- hid -->\n- <!--\n  hid --> b",
    "> <!-- hid\n>\n> hid -->\n> b",
    "| a <!-- hid --> | b |\n|---|---|\n| 1 | <!-- hid --> |",
    "## b <!-- hid -->",
    "*b <!-- hid * --> c* [d <!-- hid -->](05_test.ipynb)",
    "<!-- hid {{ no.such }} $\\nosuch{ ![](hid.png) -->b",
    "<!--\n# hid\n```\n- hid\n-->\n\nb",
    "a <!-- hid\n\nhid --> b",
    "- b\n- <b title='<!-- hid -->'>a</b>",
)


@pytest.mark.parametrize("text", COMMENTS)
def test_what_authors_write_for_each_other_is_not_published(tmp_path, text):
    page = page_of(tmp_path, [markdown(text)])
    assert "hid" not in page.replace("hidden", "").replace("hide", "") and "<!--" not in page
    assert "b" in Reader(page).words.split()
    assert_sound(Reader(page))


@pytest.mark.parametrize("text", ["`<!-- b -->`", "```\n<!-- b -->\n```", "    <!-- b -->", "\\<!-- b -->", "a --> b"])
def test_a_comment_in_code_is_code(text):
    assert "--&gt;" in Markdown(Numbers()).render(text)


def test_a_title_and_its_question_have_no_comments():
    for text, expected in (
        ("<!-- draft? -->\n# A *title* <!-- hid -->\n\nHow<!-- hid --> good? <!-- Why? -->", ("A title", "How good?")),
        ("# T\n\nIt is e.g. so. **Is it? Then.**", ("T", "Is it?")),
        ("# Is it?\n\nSo.", ("Is it?", "Is it?")),
        ("# T", ("T", "")),
    ):
        assert title_and_question([Cell(0, "markdown", text, (), ())]) == expected


def test_a_prose_edit_shows_and_a_code_edit_is_refused(tmp_path):
    live = write_notebook(tmp_path / "05_test.ipynb", [TITLE, code("x = 1"), markdown("new words")])
    injected = code("profile = 2", "injected-parameters")
    done = write_notebook(tmp_path / "e.ipynb", [markdown("old words"), injected, code("x = 1\n")])
    page = page_text(live, done, record(), Numbers(), Site("demo"))
    assert "new words" in page and "old words" not in page
    write_notebook(live, [TITLE, code("x = 2")])
    with pytest.raises(RenderError, match=r"05_test.ipynb, cell 2: the code differs .*'x = 2', executed 'x = 1'"):
        page_text(live, done, record(), Numbers(), Site("demo"))
    write_notebook(live, [TITLE, code("x = 1"), code("y = 1")])
    with pytest.raises(RenderError, match="cell 3: 2 code cells now, 1 when it was executed"):
        page_text(live, done, record(), Numbers(), Site("demo"))


@pytest.mark.parametrize(
    ("now", "then", "told"),
    [
        ("import a\n\nx = 2\ny = 3", "import a\n\nx = 1\ny = 4", "(now 'x = 2', executed 'x = 1')"),
        ("import a\nx = 1", "import a", "(now 'x = 1', executed '')"),
        ("if a:\n  x = 1", "if a:\n    x = 1", "(now '  x = 1', executed '    x = 1')"),
        ("import a\r\nx = 1", "import a\nx = 1", r"(now 'import a\r', executed 'import a')"),
    ],
)
def test_the_first_line_of_code_that_differs_is_told(tmp_path, now, then, told):
    live, done = (write_notebook(tmp_path / f"{k}.ipynb", [code(source)]) for k, source in enumerate((now, then)))
    with pytest.raises(RenderError, match=re.escape(told)):
        matched(live, done)


def test_hostile_text_is_shown_as_text_everywhere(tmp_path):
    outputs = [
        table_output(HOSTILE),
        figure_output(HOSTILE, alt=HOSTILE, file=HOSTILE),
        {"output_type": "stream", "name": "stdout", "text": [HOSTILE]},
        {"output_type": "error", "ename": HOSTILE, "evalue": HOSTILE, "traceback": [HOSTILE]},
        displayed({"text/plain": HOSTILE}),
        displayed({"text/html": f"<table><td>{HOSTILE}</table><p>after"}),
        displayed({"text/markdown": HOSTILE}),
        displayed({"application/json": {"a": HOSTILE}}),
        displayed({"image/svg+xml": SVG}, {"image/svg+xml": {"alt": HOSTILE}}),
    ]
    fields = {"reasons": (HOSTILE,), "run": record(device=HOSTILE), "claims": (sample_claim(statement=HOSTILE),)}
    prose = markdown("{0}\n\n## {0}".format(HOSTILE.replace("{{ test.nothing }}", "")))
    page = Reader(page_of(tmp_path, [prose], outputs, status="stale", **fields))
    assert_sound(page)
    assert page.words.count('<script>alert("x")</script></details>') >= 8
    assert page.words.count("{{ test.nothing }}") >= 5


def test_what_was_printed_and_raised_is_shown_without_terminal_codes(tmp_path):
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "\x1b[31mred\x1b[0m\n10%\r20%\rdone\n" + "x" * 20_001},
        {"output_type": "stream", "name": "stderr", "text": "epoch 1/9 noise"},
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["\x1b[1mline 3"]},
        displayed({"text/plain": "a\x1b]8;;http://x\x07b\x1b]8;;\x07\x00c"}),
        displayed({"video/mp4": "x"}),
        displayed({"text/plain": "<Figure size 3x3>"}),
    ]
    words = Reader(page_of(tmp_path, [], outputs)).words
    shown = (
        "red done",
        "ValueError: bad",
        "line 3",
        "This stage failed.",
        "abc",
        "10 more characters",
        "type video/mp4",
    )
    assert [text for text in shown if text not in words] == []
    assert not any(text in words for text in ("noise", "20%", "Figure size"))


def test_a_failed_execution_shows_what_still_matches(tmp_path):
    live = write_notebook(tmp_path / "05_test.ipynb", [TITLE, code("x = 1"), code("y = new"), code("z", "remove-cell")])
    stream = {"output_type": "stream", "name": "stdout", "text": "first cell ran"}
    done = write_notebook(tmp_path / "f.ipynb", [code("x = 1", outputs=[stream]), code("y = old")])
    execution = Execution("05_test", "05_test", "failed", ("it stopped",), {"notebook": "05_test"})
    page = Reader(page_text(live, done, {}, Numbers(), Site("demo"), execution=execution))
    assert "first cell ran" in page.words and page.words.count("This cell was not run.") == 1
    assert "it stopped" in page.words


def test_text_of_a_failed_execution_that_it_did_not_come_to_is_left_out(tmp_path):
    prose = [markdown("Got {{ test.gone }}."), markdown("{% if gone.a.value > 0 %}Much{% endif %}."), markdown("Kept.")]
    live = write_notebook(tmp_path / "05_test.ipynb", [TITLE, *prose])
    execution = Execution("05_test", "05_test", "failed", ("it stopped",), {"notebook": "05_test"})
    page = Reader(page_text(live, live, {}, Numbers(), Site("demo"), execution=execution))
    assert "Kept." in page.words and "it stopped" in page.words and not {"Got", "Much"} & set(page.words.split())


def test_braces_in_code_and_in_names_of_users_are_free(tmp_path):
    named_so = Numbers({**sample_numbers(), "test.name": named("{{ a }")})
    prose = markdown("`{{ a` is {{ test.name }}, {{{ test.accuracy }}}, \\{\\{ d.\n\n```\nb }}\n```\n\n    {{ c\n\nand")
    live = write_notebook(tmp_path / "05_test.ipynb", [TITLE, prose])
    page = Reader(page_text(live, live, {}, named_so, Site("demo")))
    assert all(text in page.words for text in ("{{ a }", "{ 75.0 %", "b }}", "{{ c", "{{ d"))


def test_smoke_and_stale_pages_say_so(tmp_path):
    site = Site("smoke", is_smoke=True)
    page = Reader(page_of(tmp_path, [], site=site, status="stale", reasons=("data.seed changed",)))
    assert "Smoke run" in page.words and "Stale" in page.words and "data.seed changed" in page.words
    assert "Stale" not in Reader(page_of(tmp_path, [])).words


def test_the_answer_stands_at_the_top(tmp_path):
    page = page_of(tmp_path, [markdown("## Method"), markdown("It is {{ test.accuracy }}.", "answer")])
    assert page.index("How good is it?</h1>") < page.index("75.0 % [74.0, 76.0]") < page.index('id="method"')


def test_what_a_section_begins_with_is_told_on_the_first_page_of_its_notebook(tmp_path):
    names = ("05_test", "05_test-clip")
    site = Site("demo", links=[Link(name, f"<{name}>") for name in names])
    theirs = Numbers(sample_numbers().data | {"test.macro_f1": Number(0.5)})
    known = {"notebook": "05_test", "status": "done", "run": record(), "numbers": theirs}
    site.executions = [Execution(name=name, **known) for name in names]
    section = "## How it is\n\n**Method.** Twice.\n\n- Listed: {{ test.accuracy }}.\n\nOf {{ test.macro_f1 }}."
    live = [markdown(section), markdown("**Method.** Bare."), markdown("Found: {{ test.accuracy }}.")]
    live.append(markdown("**Method.** It is {% if test.macro_f1.value > 0.6 %}bad{% else %}good{% endif %}."))
    live.append(markdown("**Method.** Of these:\n\n- one;\n\n- {{ test.macro_f1 }}."))
    live.append(markdown("## Limits\n\nAll of them."))
    for name in names:
        write_notebook(tmp_path / name / "05_test.ipynb", [TITLE, *live, code("x = 1")])
    first, second = (Reader(page_of(tmp_path / n, live, site=site, name=n, notebook="05_test")) for n in names)
    assert all(words in first.words for words in ("Method. Twice.", "Method. Bare.", "Listed: 75.0 %", "All of them."))
    assert "As on" not in first.words and second.words.count("As on <05_test>") == 3
    assert not any(words in second.words for words in ("Twice", "Bare", "Listed", "All of"))
    assert all(words in second.words for words in ("Of 0.812", "Found: 75.0 %", "It is bad."))
    # A list without what introduces it says nothing.
    assert "Method. Of these: one; 0.812" in second.words
    assert {a["href"] for a in second.all("a")} >= {"05_test.html#how-it-is", "05_test.html", "05_test.html#limits"}


def test_the_main_figure_stands_beside_the_answer(tmp_path):
    cells = [TITLE, markdown("## Method"), code("y = 1"), code("x = 1", "main"), markdown("So.", "answer")]
    live = write_notebook(tmp_path / "05_test.ipynb", cells)
    ran = [code("y = 1", outputs=[figure_output(file="05_other.svg")]), code("x = 1", outputs=[figure_output()])]
    page = page_text(live, write_notebook(tmp_path / "executed.ipynb", ran), {}, Numbers(), Site("demo"))
    assert page.index("Figure 1.") < page.index("Figure 2.") < page.index('id="figure-05-other"') + 400
    marks = ('class="top two"', "<p>So.</p>", 'id="figure-05-line"', 'id="method"', "Shown beside the answer")
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places) and page.count('id="figure-05-line"') == 1
    assert 'class="top two"' not in page_of(tmp_path, [markdown("So.", "answer")])


def test_maths_becomes_mathml_and_money_does_not(tmp_path):
    text = "Cost \\$5, or $5 and $10. Take $\\hat{p}_i \\le 1$.\n\n$$\n\\frac{n_b}{n} = {{ test.accuracy|value }}\n$$\n"
    page = page_of(tmp_path, [markdown(text)])
    assert page.count("<math") == 2 and 'display="block"' in page
    assert "Cost $5, or $5 and $10." in Reader(page).words


def test_links_between_notebooks_lead_to_pages():
    text = Markdown(Numbers()).render(
        "[a](07_c.ipynb#figure-x) [b](https://e.org/x.ipynb) [c](javascript:alert(1)) `{{ x.y }}`"
    )
    hrefs = [attributes["href"] for attributes in Reader(text).all("a")]
    assert hrefs == ["07_c.html#figure-x", "https://e.org/x.ipynb"]
    assert " c " in text and "javascript" not in text
    assert "{{ x.y }}" in text


def test_pictures_in_prose_are_embedded_and_one_without_alt_text_has_a_warning(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    cell = markdown("![what](a.png) ![](a.png) <img src='//e.org/b.png'> text ![pasted](attachment:a%20b.png)")
    page = Reader(page_of(tmp_path, [{**cell, "attachments": {"a b.png": {"image/png": "iVBORw0KGgo="}}}]))
    first = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    assert [picture["src"] for picture in page.all("img")] == [first, first, "data:image/png;base64,iVBORw0KGgo="]
    assert "wants mending. the image 'a.png' has no alt text" in page.words and "the picture <img" in page.words
    assert page.words.count("e.org") == 0
    assert_sound(page)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\\begin{align}\na &= b \\\\\n\n&= c\n\\end{align}", '<math display="block">'),
        ("Let \\\\(x_i\\\\) be.", "<msub>"),
        ("Then $$\nx_1\n= 1\n$$ so.", '<math display="block">'),
        ("| a | b |\n|---|---|\n| $|x|$ | {{ test.accuracy|value }} |", "</math></td>"),
        ("- [x] done\n- [ ] open", "<li>☑ done</li>\n<li>☐ open</li>"),
        ("See https://e.org/x.", '<a href="https://e.org/x" rel="noopener noreferrer">https://e.org/x</a>.'),
        ("<details><summary>F1</summary>\n\n**b** {{ test.accuracy|value }}\n\n</details>", "<summary>F1</summary>"),
        ("<b title='{{ test.accuracy }}'>b</b>", '<b title="75.0 % [74.0, 76.0]">b</b>'),
        ("    {{ test.no }} $a$ <!-- c -->", "<code>{{ test.no }} $a$ &lt;!-- c --&gt;</code>"),
        ("~~~\n{{ test.no }} $a$\n~~~", "<code>{{ test.no }} $a$</code>"),
        ("#1 is no heading", "<p>#1 is no heading</p>"),
        ("<script>x</script><h2 id='main' onclick='x'>a</h2>", "<h2>a</h2>"),
        ("<div>\n<b>open\n\n## Part", '<h2 id="part">Part'),
    ],
)
def test_a_page_shows_what_jupyterlab_shows(text, shown):
    found = Markdown(sample_numbers()).render(text)
    assert shown in found and "<script" not in found
    assert_sound(Reader(found.replace('<a class="anchor" href="#part"', "<a")))


def test_large_data_goes_beside_the_page_and_small_data_into_it(tmp_path):
    site = Site("demo")
    big = "x\n" + "1\n" * 20_011
    page = Reader(page_of(tmp_path, [], [table_output("a", csv=big, file="05_a.csv"), table_output("b")], site=site))
    links = [attributes["href"] for attributes in page.all("a") if attributes.get("class") == "download"]
    assert links[0] == "files/05_test/05-a.csv" and site.files[links[0]] == big.encode()
    assert links[1].startswith("data:text/csv")
    assert json.loads(site.files["files/05_test.ipynb"])["nbformat"] == 4


def test_two_alike_pictures_of_a_drawing_do_not_share_an_id():
    picture = '<image id="same" href="data:image/png;base64,AA=="/>'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg">{picture}<g id="other">{picture}</g><use href="#same"/></svg>'
    found = clean_svg(drawing, label="a", prefix="f1-")
    assert found.count('id="f1-same"') == 1 and found.count("data:image/png") == 2
    assert 'id="f1-other"' in found and 'href="#f1-same"' in found


def test_svg_is_cleaned_and_prefixed():
    drawing = clean_svg(SVG, label='a "b"', prefix="f1-")
    gone = ("script", "onload", "http://e.org", "<style", "foreignObject")
    assert [word for word in gone if word in drawing] == []
    assert 'id="f1-a"' in drawing and "url(#f1-a)" in drawing and 'href="#f1-a"' in drawing
    assert 'aria-label="a &quot;b&quot;"' in drawing
    for text, message in (("<svg", "not readable as SVG"), ("<svga/>", "not SVG but 'svga'")):
        with pytest.raises(ValueError, match=message):
            clean_svg(text, label="a", prefix="")


REL = 'rel="noopener noreferrer"'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<b onclick=x>a</b>", "<b>a</b>"),
        ("<div><td>a</div></details>b", "<div>a</div>b"),
        ("<style>p{}</style>x<script>y", "x"),
        ('<a href="javascript:x">a</a><a href="b.html">b</a>', f'<a {REL}>a</a><a href="b.html" {REL}>b</a>'),
        ('<a href="DATA:text/html,x" id="main" class="banner" style="top:0">a</a>', f'<a {REL} style="">a</a>'),
        ("1 < 2 & &lt;b&gt;", "1 &lt; 2 &amp; &lt;b&gt;"),
        ("<img src=http://e.org/x>t", "t"),
    ],
)
def test_html_is_reduced_to_an_allow_list(given, expected):
    assert clean(given) == expected


def test_claims_stand_once_with_a_link_to_where_their_number_is_said(tmp_path):
    outputs = [displayed(bundle_of(show_claims, [sample_claim()], Numbers({"test.macro_f1": Number(0.75)})))]
    prose = markdown("{{ test.macro_f1 }}")
    page = Reader(page_of(tmp_path, [prose], outputs, claims=(sample_claim(),)))
    assert page.words.count("It beats guessing.") == 1
    assert "claim-beats" in page.ids and {"href": "#n-test-macro_f1"} in page.all("a")


@pytest.mark.parametrize(
    ("number", "bound", "comparison", "shown"),
    [
        ("test.accuracy", 0.8, ">", ("75.0 % [74.0, 76.0]", "> 80 %")),
        ("test.accuracy", 0.0, ">=", ("75.0 % [74.0, 76.0]", "≥ 0")),
        ("test.macro_f1", 0.8, "excludes", ("0.812 [0.797, 0.826]", "interval excludes 0.8")),
        ("test.none", 0.8, "<=", ("not measured", "≤ 0.8")),
        ("test.macro_f1", 0.0331911, "<", ("0.812 [0.797, 0.826]", "< 0.0332")),
        ("test.accuracy", 0.0331911, "<", ("75.0 % [74.0, 76.0]", "< 3.32 %")),
        ("test.none", 1234.0, "<", ("not measured", "< 1234")),
        ("test.gain", 0.1, ">", ("25.0 percentage points [24.0, 26.0]", "> 10 percentage points")),
    ],
)
def test_a_claim_is_told_in_one_unit(number, bound, comparison, shown):
    gain = {"test.gain": Number(0.25, 0.24, 0.26, unit=POINTS)}
    row = claim_row(
        sample_claim(number=number, bound=bound, comparison=comparison), Numbers({**sample_numbers(), **gain})
    )
    assert (row["measured"], row["needed"]) == shown


def test_what_is_long_may_be_broken_over_lines_and_a_number_with_its_interval_may_not():
    words = {
        "a.name": named("words " * 9),
        "a.unit": Number(3, unit="words " * 9),
        "a.points": Number(-21.5, -30.5, -11.5, unit=POINTS),
    }
    shown = {name: Markdown(Numbers(words)).render(f"{{{{ {name} }}}}") for name in words}
    assert [name for name, text in shown.items() if "data-long" in text] == ["a.name", "a.unit"]
    css = (paths.LIBRARY / "report" / "page.css").read_text()
    assert "white-space: normal" in css.split(".number[data-long]")[1].split("}")[0]
