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
    "picture-with-a-handler": "<img src=x onerror=alert(1)>",
    "end-of-the-table": "</td></tr></table><script>x</script>",
    "end-of-the-page": "</body></html>",
    "comment-left-open": "<!-- gone",
    "character-data": "]]> <![CDATA[x]]>",
    "quotes-of-attributes": '" onmouseover="x" \'',
    "escaped-markup": "&lt;b&gt; &amp;amp; &#60;",
    "braces-of-a-number": "{{ test.accuracy }}",
    "braces-of-arithmetic": "{{ 7*7 }}",
    "braces-of-a-loop": "{% for x in y %}{% endfor %}",
    "braces-of-a-class": "{{ ''.__class__.__mro__ }}",
    "braces-of-format": "{test.accuracy} {0.__class__}",
    "dollars": "$HOME ${HOME} $(touch sprung)",
    "backticks": "`touch sprung`",
    "percent-signs": "%s %n %(x)s %",
    "link-to-a-script": "[x](javascript:alert(1))",
    "picture-from-elsewhere": "![x](http://example.org/x.png)",
    "formula-that-reads-a-file": "$\\input{/etc/passwd}$",
    "heading-and-rule": "# Heading --- | a | b |",
    "word-for-nothing": "nan",
    "word-for-missing": "NA",
    "word-for-null": "NULL",
    "word-for-none": "None",
    "number": "007",
    "right-to-left": "\u0634\u0644\u0648\u0645 42 \u05e9\u05dc\u05d5\u05dd",
    "override-of-direction": "safe \u202egnp.exe\u202c end",
    "isolates": "\u2067a\u2069 \u2066b\u2069 \u061c",
    "emoji-of-several-parts": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4",
    "two-hundred-marks-on-a-letter": "a" + "\u0301" * 200 + " b",
    "look-alike-letters": "\u0430 \u0435 \u043e",
    "composed-and-decomposed": "\u00e9 e\u0301",
    "not-a-character": "a\uffff\U0010ffffb",
    "private-use": "a\ue000b",
    "two-thousand-characters": "x " * 999 + "yz",
}
CONTROL = ("\x00", "\x07", "\x08", "\x09", "\x0b", "\x0d", "\x1b", "\x7f", "\x85", "\x9b")
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


CASES = [
    *(Case(name, partial(stays_text, text=text), gives=(text, True, False, [text])) for name, text in SHOWN.items()),
    *(
        Case(
            f"control-character-{ord(char):02x}",
            partial(rows, content=HEADER + f'a,"x{char}y"\n'),
            refused=rf"pairs\.csv.*(U[+]{ord(char):04X}|NUL byte)",
        )
        for char in CONTROL
    ),
]
