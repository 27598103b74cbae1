"""Sentences with markup, template braces, control and bidirectional characters: kept to the letter, shown as text."""

from functools import partial

import pandas as pd
from corpus import Case
from tables import HEADER, exported, rows

from report_tools import (
    Reader,
    assert_sound,
    bundle_of,
    code,
    displayed,
    markdown,
    page_text,
    record,
    sample_numbers,
    write_notebook,
)
from verdict.report.exporter import Site
from verdict.report.say import show_table

TITLE = markdown("# How good is it?\n\n**Question.** How good?")
SHOWN = {
    "script": "<script>alert(1)</script>",
    "end-of-the-table": "</td></tr></table><script>x</script>",
    "quotes-of-attributes": '" onmouseover="x" \'',
    "braces-of-a-number": "{{ test.accuracy }}",
    "braces-of-a-loop": "{% for x in y %}{% endfor %}",
    "braces-of-format": "{test.accuracy} {0.__class__}",
    "link-to-a-script": "[x](javascript:alert(1))",
    "formula-that-reads-a-file": "$\\input{/etc/passwd}$",
    "word-for-nothing": "nan",
    "number": "007",
    "override-of-direction": "safe \u202egnp.exe\u202c end",
    "emoji-of-several-parts": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4",
    "two-hundred-marks-on-a-letter": "a" + "\u0301" * 200 + " b",
    "not-a-character": "a\uffff\U0010ffffb",
    "two-thousand-characters": "x " * 999 + "yz",
}
QUOTED = str.maketrans({'"': '""'})


def stays_text(folder, text):
    """The sentence as the pair table, the page and the export have it."""
    ((_, kept),) = rows(folder, HEADER + f'a,"{text.translate(QUOTED)}"\n')
    bundle = bundle_of(show_table, pd.DataFrame({"hypothesis": [kept]}), caption="Pairs", file="05_pairs.csv")
    live = write_notebook(folder / "05_test.ipynb", [TITLE, code("x = 1")])
    done = write_notebook(folder / "run" / "executed.ipynb", [code("x = 1", outputs=[displayed(bundle)])])
    page = Reader(page_text(live, done, record(params={}), sample_numbers(), Site("demo")))
    assert_sound(page)
    is_formula, read_again = exported(folder, kept)
    return kept, " ".join(text.split()) in page.words, is_formula, read_again


CASES = [Case(name, partial(stays_text, text=text), gives=(text, True, False, [text])) for name, text in SHOWN.items()]
