"""The count of a report's words counts what a reader meets, and nothing else."""

import pandas as pd

from page_words import Words, count_words, main, summary
from report_tools import bundle_of, code, displayed, markdown, notebook, stage
from verdict.base import paths
from verdict.report import say
from verdict.report.site import build_site

SETUP = code('profile = "demo"', "parameters")


def test_code_provenance_glossary_and_drawings_are_no_words_of_the_page():
    page = (
        "<head><title>no</title></head><body><header>no</header><nav>no</nav><main>"
        "<p>one <b>two</b>, – three<br>four</p>"
        "<details class='code quiet'><pre>no</pre></details><svg><text>no</text></svg><p>five</p>"
        "<table><caption>six</caption><tbody><tr><td>in table</td></tr></tbody></table>"
        "<section class='provenance'><p>no</p></section><dl class='glossary'><dd>no</dd></dl></main></body>"
    )
    words = Words(page)
    assert words.in_text == ["one", "two", "three", "four", "five", "six"] and words.in_tables == ["in", "table"]


def test_the_words_of_a_small_report_are_told(demo, record_property):
    table = bundle_of(say.show_table, pd.DataFrame({"a b": [1, 2]}), caption="Two cases.", file="05_a.csv")
    notebook("05_test", markdown("# Test\n\nHow good is it?"), SETUP, code("x = 1"), markdown("It is so good."))
    stage("05_test", SETUP, code("x = 1", outputs=[displayed(table)]))
    (paths.NOTEBOOKS / "index.md").write_text("# When?\n\nAlways and never.\n", encoding="utf-8")
    build_site("demo")
    counts = count_words(paths.report_dir("demo"))
    assert set(counts) == {"05_test", "index"}
    # Title, question, last cell; "Table 1. Two cases."; in the table its two heads, which are buttons, count nothing.
    assert counts["05_test"] == (1 + 4 + 4 + 4, 2)
    record_property("words", summary(counts))
    print(summary(counts))
    assert summary(counts).endswith("2 pages")
    n_words, folder = sum(map(sum, counts.values())), str(paths.report_dir("demo"))
    assert [main([folder, "--at-most", str(limit)]) for limit in (n_words, n_words - 1)] == [0, 1]


def test_the_published_copy_can_be_read():
    """33,000 words at most for the whole report; eleven pages of trials, 200 words each, are not in the copy."""
    assert main([str(paths.published_dir("digits")), "--at-most", "30800"]) == 0
