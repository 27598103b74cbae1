"""Terms are explained once a page, and only in running text."""

from report_tools import code, markdown, notebook, read_page, stage
from verdict.base import paths
from verdict.report.glossary import Explainer, Term, load_glossary
from verdict.report.site import build_site

TEXT = "# Glossary\n\n**Risk** (risks): what\nmay happen.\n\n**Risk curve**: risk <b> & all.\n\nNo entry.\n"


def test_entries_are_read_in_alphabetical_order(tmp_path):
    (tmp_path / "glossary.md").write_text(TEXT, encoding="utf-8")
    found = load_glossary(tmp_path / "glossary.md")
    assert found == (Term("Risk", "what may happen.", ("risks",)), Term("Risk curve", "risk <b> & all."))
    assert found[1].anchor == "term-risk-curve" and load_glossary(tmp_path / "no.md") == ()


def test_the_first_mention_alone_is_explained_and_the_longest_term_wins():
    explainer = Explainer((Term("Risk", "what <may> happen.", ("risks",)), Term("Risk curve", "c")))
    assert explainer.explained("<h2>Risk</h2><p><code>risk</code> a risk curve; Risks, risk.") == (
        '<h2>Risk</h2><p><code>risk</code> a <a class="term" href="index.html#term-risk-curve" title="Risk curve: c">'
        'risk curve</a>; <a class="term" href="index.html#term-risk" title="Risk: what &lt;may&gt; happen.">Risks</a>, '
        "risk."
    )
    assert explainer.explained("<p>risk</p>") == "<p>risk</p>"
    assert Explainer((Term("Risk", "c"),)).explained("<p>asterisk at-risk") == "<p>asterisk at-risk"
    assert Explainer(()).explained("<p>risk") == "<p>risk"


def test_pages_lead_to_the_glossary_of_the_index(demo):
    setup = code('profile = "demo"', "parameters")
    notebook("05_test", markdown("# Risk?\n\nThe risk is small."), setup)
    stage("05_test", setup)
    (paths.NOTEBOOKS / "glossary.md").write_text(TEXT, encoding="utf-8")
    build_site("demo")
    links = [link["href"] for link in read_page("05_test").all("a") if link.get("class") == "term"]
    assert links == ["index.html#term-risk"] and "term-risk" in read_page("index").ids
    # Of a term that no page uses the index says nothing.
    assert "term-risk-curve" not in read_page("index").ids
    (paths.NOTEBOOKS / "glossary.md").write_text(TEXT.replace("may", "might"), encoding="utf-8")
    build_site("demo")
    assert "what might happen" in str(read_page("05_test").all("a"))
