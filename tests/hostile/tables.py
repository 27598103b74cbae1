"""Tables of pairs: encodings, marks, NULs, ragged rows, huge cells, ids that are paths, formulas on the way out."""

import json
import os
from functools import partial

import pandas as pd
from corpus import Case
from PIL import Image

from report_tools import bundle_of
from verdict.data.own.csv_folder import build
from verdict.model.export.table import DecisionRule, answers, read, write
from verdict.report.say import show_table

HEADER = "image,hypothesis\n"
HUGE = "x" * 10_000_000
FORMULAS = {
    "formula": "=1+1",
    "formula-with-minus": "-1+1",
    "formula-with-at": "@SUM(A1:A9)",
    "formula-in-full-width": "\uff1d1+1",
    "formula-behind-an-apostrophe": "'=1+1",
}


def pictures(folder):
    """A folder with the images a.png and b.png."""
    target = folder / "images"
    target.mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (3, 2), colour).save(target / f"{name}.png")
    return target


def rows(folder, content, file="pairs.csv", columns=("image_id", "hypothesis"), labelled=False):
    """Rows of the pair table that a file becomes, its images found beside it."""
    path = folder / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", errors="surrogatepass"))
    images, fractions = pictures(folder), {"train": 0.5, "test": 0.5}
    made = build(table=path, images=images, fractions=fractions, seed=0, out=folder / "store", labelled=labelled)
    assert made.facts["rows_read"] == len(made.pairs)
    return made.pairs[list(columns)].to_numpy().tolist()


def accepted(name, content, gives, **options):
    return Case(name, partial(rows, content=content, **options), gives=gives)


def refused(name, content, message, **options):
    file = options.get("file", "pairs.csv").replace(".", r"\.")
    return Case(name, partial(rows, content=content, **options), refused=rf"(?s){file}.*{message}")


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def special(folder, make):
    """A table that is no plain file of sensible length."""
    make(folder / "pairs.csv")
    return build(table=folder / "pairs.csv", images=pictures(folder), fractions=None, seed=0, out=folder / "store")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(500_000_001)


def exported(folder, text):
    """The cell as the file holds it, whether a spreadsheet would take it for a formula, and the text read back."""
    pairs = pd.DataFrame({"image_id": ["a"], "hypothesis": [text]})
    rule = DecisionRule(threshold=0.5)
    write(folder / "out.csv", answers(pairs, [[0.0, 1.0]], rule), rule, {})
    cell = pd.read_csv(folder / "out.csv", dtype=str, keep_default_na=False)["Hypothesis"][0]
    return cell[0] in "=+-@\uff1d", read(folder / "out.csv")[0]["Hypothesis"].tolist()


def downloaded(folder, text):
    """Whether a cell or a header of a page's CSV would be a formula."""
    table = pd.DataFrame({text: [text]})
    bundle = bundle_of(show_table, table, caption="A table")
    payload = next(value for key, value in bundle.items() if key.startswith("application/vnd.verdict"))
    (folder / "page.csv").write_text(payload["csv"], encoding="utf-8")
    read_again = pd.read_csv(folder / "page.csv", dtype=str, header=None, keep_default_na=False)
    shown = [text for _, text in read_again[0].items()]
    return [cell[0] in "=+-@\uff1d" for cell in shown], payload["rows"] == [[text]]


AB = [["a", "A café."], ["b", "B."]]
TEXT = HEADER + "a,A café.\nb,B.\n"
ACCEPTED = {
    "utf-8-with-a-mark": TEXT.encode("utf-8-sig"),
    "utf-16-little-endian": b"\xff\xfe" + TEXT.encode("utf-16-le"),
    "utf-16-big-endian": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "windows-1252": TEXT.encode("cp1252"),
    "windows-line-ends": TEXT.replace("\n", "\r\n"),
    "old-mac-line-ends": TEXT.replace("\n", "\r"),
    "semicolons": TEXT.replace(",", ";"),
    "blank-lines-between": TEXT.replace("\n", "\n\n"),
    "line-that-names-the-separator": "sep=;\n" + TEXT.replace(",", ";"),
    "cells-without-content-at-the-end": TEXT.replace("\nb", ",\nb"),
    "blanks-around-cells": "image , hypothesis\n a , A café. \nb,B.\n",
}
REFUSED = {
    "utf-16-without-a-mark": (TEXT.encode("utf-16-le"), "NUL character at position"),
    "utf-32": (b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"), "NUL character"),
    "utf-16-cut-in-half": (b"\xff\xfe" + TEXT.encode("utf-16-le")[:-1], "is not utf-16"),
    "damaged-utf-8": (TEXT.encode() + b"a,\xc3(\n", "0xc3 at byte offset"),
    "damaged-utf-8-behind-a-mark": (TEXT.encode("utf-8-sig") + b"a,\xff\n", "0xff at byte offset"),
    "overlong-utf-8": (TEXT.encode() + b"a,\xc0\xaf\n", "0xc0 at byte offset"),
    "lost-character": (HEADER + "a,A caf\ufffd.\n", "line 2: a character was already lost"),
    "nul-in-a-cell": (HEADER + "a,A\0B\n", "NUL character at position"),
    "spreadsheet-file": (b"PK\x03\x04\x14\0\x06\0" + bytes(200), "is a ZIP archive"),
    "compressed-file": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(50), "is compressed by gzip"),
    "parquet-file": (b"PAR1\x15\0\x15" + bytes(50), "is a Parquet file"),
    "web-page": ("<html><body>404, not found</body></html>\n", "is a web page"),
    "nothing": ("", "holds nothing"),
    "header-alone": (HEADER, "the table has no rows"),
    "fewer-cells": (HEADER + "a,A.\nb\n", "line 3: 1 cells where the header has 2"),
    "more-cells": (HEADER + "a,A.,x\n", "line 2: 3 cells where the header has 2"),
    "column-twice": ("image,hypothesis,hypothesis\na,A.,B.\n", "names a column twice"),
    "two-columns-of-images": ("image,file,hypothesis\na,a,A.\n", "would both be image_id"),
    "hundred-thousand-columns": (",".join(f"c{k}" for k in range(100_000)) + "\n", "no rows"),
    "ten-megabyte-cell": (HEADER + f"a,{HUGE}\n", "line 2: field larger than"),
    "quote-that-is-never-closed": (HEADER + f'a,"{HUGE}\n', "field larger than"),
    "cell-of-ten-thousand-and-one": (HEADER + f"a,{'x' * 10_001}\n", "line 2: a field of 10,001 characters"),
    "sentence-of-two-thousand-and-one": (HEADER + f"a,{'x' * 2001}\n", "line 2: hypothesis has 2,001 characters"),
    "quote-inside-a-quote": (HEADER + 'a,"A"B"\n', "line 2"),
    "line-end-in-a-sentence": (HEADER + 'a,"A\nB"\n', "line 2: hypothesis holds the control character U[+]000A"),
    "empty-sentence": (HEADER + "a,\n", "line 2: hypothesis is empty"),
    "sentence-without-anything-visible": (HEADER + "a,\u200b\u200d\u2060\n", "line 2: hypothesis is empty"),
    "pair-with-two-labels": (
        "image,hypothesis,label\na,A.,entailment\na,A.,contradiction\n",
        "line 3: repeats line 2 with another label",
    ),
    "two-names-of-one-image": (HEADER + "a,A.\na.png,B.\n", r"'a' and 'a\.png' are the same file"),
    "image-that-is-not-there": (HEADER + "c,C.\n", "1 images are not in"),
}
IDS = {
    "id-above": "../a",
    "id-by-absolute-path": "/etc/passwd",
    "id-of-a-drive": "C:\\a",
    "id-that-is-an-address": "file:///etc/passwd",
    "id-with-a-control-character": "a\x1b",
    "id-of-three-hundred-characters": "a" * 300,
}
LABELS = {
    "label-of-another-task": ("neutral", "unknown label 'neutral'"),
    "label-with-a-cyrillic-letter": ("\u0435ntailment", "unknown label"),
    "label-of-a-split": ("entailment,eval", "unknown split 'eval'"),
}
GOOD = {"image": "a", "hypothesis": "A café."}
JSON = {
    "json-broken-line": (lines(GOOD) + "{oops\n", "line 2: Expecting property name"),
    "json-list": (lines(GOOD) + "[1]\n", "line 2: expected an object, got list"),
    "json-keys-that-differ": (lines(GOOD, {"image": "b"}), "line 2: keys"),
    "json-fraction": (lines(GOOD | {"image": 1.5}), "the first: \\['1.5'\\]"),
    "json-nothing": (lines(GOOD | {"hypothesis": None}), "line 1: hypothesis is empty"),
    "json-truth": (lines(GOOD | {"image": True}), "the first: \\['true'\\]"),
    "json-mapping": (lines(GOOD | {"image": {"a": 1}}), "line 1: 'image' is"),
    "json-key-twice": ('{"image": "a", "image": "b"}\n', "line 1: a key occurs twice"),
    "json-hundred-thousand-deep": ('{"a":' * 100_000 + "\n", "line 1"),
    "json-half-a-surrogate": (lines(GOOD | {"hypothesis": "a\ud800b"}), "line 1: half a surrogate pair"),
    "json-one-array-over-many-lines": (json.dumps([GOOD], indent=1), "is one JSON array"),
    "csv-by-the-name-of-json": (TEXT, "line 1: Expecting value"),
}
LABELLED = {"columns": ("image_id", "hypothesis", "label"), "labelled": True}
CASES = [
    *(accepted(name, content, AB) for name, content in ACCEPTED.items()),
    *(refused(name, *given) for name, given in REFUSED.items()),
    *(
        Case(name, partial(rows, content=HEADER + f'"{given}",A.\n'), refused="not a plain name")
        for name, given in IDS.items()
    ),
    *(
        refused(name, f"image,hypothesis,label{',split' * (',' in cell)}\na,A.,{cell}\n", f"line 2: {message}")
        for name, (cell, message) in LABELS.items()
    ),
    *(refused(name, *given, file="pairs.jsonl") for name, given in JSON.items()),
    accepted(
        "label-in-capitals",
        "image,hypothesis,label\na,A.,  ENTAILMENT \nb,B.,Contradiction\n",
        [["a", "A.", "entailment"], ["b", "B.", "contradiction"]],
        **LABELLED,
    ),
    accepted(
        "json-with-a-line-separator", lines(GOOD | {"hypothesis": "A\u2028B"}), [["a", "A\u2028B"]], file="p.jsonl"
    ),
    Case("table-that-never-ends", partial(special, make=os.mkfifo), refused=r"pairs\.csv is missing"),
    Case("table-of-half-a-gigabyte", partial(special, make=sparse), refused=r"\.csv has 500,000,001 bytes"),
    *(Case(f"export-{name}", partial(exported, text=text), gives=(False, [text])) for name, text in FORMULAS.items()),
    *(
        Case(f"page-{name}", partial(downloaded, text=text), gives=([False, False], True))
        for name, text in FORMULAS.items()
    ),
]
