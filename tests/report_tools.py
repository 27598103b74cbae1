"""Small notebooks, records and a reader of HTML for the report's tests."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from verdict.base import paths
from verdict.base.numbers import Claim, Number, Numbers
from verdict.report import say
from verdict.report.evidence import find_exhibits
from verdict.report.executions import Execution
from verdict.report.exporter import render_page
from verdict.report.notebook import read_notebook
from verdict.report.outputs import MIME

HOSTILE = (
    '<script>alert("x")</script></details>{{ test.nothing }} \'"& שלום \u202eevil 🙂 $a_b$ **b** <img src=x onerror=y>'
)
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}


def markdown(source, *tags):
    return {"cell_type": "markdown", "id": "m", "metadata": {"tags": list(tags)}, "source": source}


def code(source, *tags, outputs=()):
    metadata = {"tags": list(tags)}
    return {
        "cell_type": "code",
        "id": "c",
        "metadata": metadata,
        "source": source,
        "outputs": list(outputs),
        "execution_count": None,
    }


def displayed(bundle, metadata=None):
    return {"output_type": "display_data", "data": bundle, "metadata": metadata or {}}


def write_notebook(path: Path, cells) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}), encoding="utf-8")
    return path


def page_text(live, executed, run, numbers, site, *, execution=None):
    """A page, by default of an execution that finished without claims."""
    execution = execution or Execution(live.stem, live.stem, "done", run=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "NOTEBOOKS", live.parent)
        return render_page(replace(execution, executed=executed, numbers=numbers), site)


def record(notebook="05_test", **fields):
    return {
        "schema": 1,
        "profile": "demo",
        "stage": notebook,
        "notebook": notebook,
        "trial": None,
        "params": {"data": {"seed": 42, "source": HOSTILE}, "training": {"seeds": [11, 23]}},
        "params_hash": "0123456789abcdef",
        "non_default": ["data.seed"],
        "inputs": {},
        "outputs": {"work/demo/x.npz": "ab" * 32},
        "commit": "c0ffee" * 6,
        "dirty": True,
        "device": "cpu",
        "versions": {"python": "3.11"},
        "started": "2026-01-02T03:04:05Z",
        "elapsed_s": 61.0,
        "host": {"machine": "x"},
        **fields,
    }


def sample_numbers():
    return Numbers(
        {
            "test.macro_f1": Number(0.8123, 0.797, 0.826, n=4003, split="test", seeds=(11, 23)),
            "test.accuracy": Number(0.75, 0.74, 0.76, n=4003, split="test", unit="%"),
        }
    )


def write_stage(folder: Path, executed_cells, run, numbers=None, claims=()):
    write_notebook(folder / "executed.ipynb", executed_cells)
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (numbers or Numbers()).save(folder / "numbers.json")
    (folder / "claims.json").write_text(json.dumps([asdict(claim) for claim in claims]), encoding="utf-8")


def notebook(name, *cells):
    """A live notebook of the project."""
    return write_notebook(paths.NOTEBOOKS / f"{name}.ipynb", cells)


def stage(place, *cells, numbers=None, claims=(), profile="demo", **run):
    """An executed stage below a profile's folder; its first part is the notebook's name."""
    done = record(place.partition("/")[0], profile=profile) | run
    write_stage(paths.work_dir(profile) / place, cells, done, numbers, claims)


def read_page(name, profile="demo"):
    """A rendered page."""
    return Reader((paths.report_dir(profile) / f"{name}.html").read_text(encoding="utf-8"))


def bundle_of(show, *arguments, **words):
    """What a call of a notebook displays."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(say, "_show", seen.append)
        show(*arguments, **words)
    return seen[0]


def exhibits_of(executed: Path) -> dict[str, tuple[str, pd.DataFrame]]:
    """Anchor and data of every figure and table of an executed notebook, by file name."""
    cells = read_notebook(executed)
    found = find_exhibits(cells, {cell.index: cell for cell in cells}).by_file
    payloads = [output["data"].get(MIME, {}) for cell in cells for output in cell.outputs if "data" in output]
    data = {payload["file"]: payload["csv"] for payload in payloads if payload.get("file") and payload.get("csv")}
    return {file: (found[file].anchor, pd.read_csv(io.StringIO(data[file]))) for file in found.keys() & data.keys()}


def shows_number(data: pd.DataFrame, number: Number) -> bool:
    """Whether one row of an exhibit's data holds a number's value with its bounds."""
    wanted = [value for value in (number.value, number.low, number.high) if value is not None]
    rows = data.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    has = [np.isclose(rows, value, rtol=1e-6, atol=1e-12, equal_nan=True).any(axis=1) for value in wanted]
    return bool(np.logical_and.reduce(has).any())


def sample_claim(**fields):
    entry = {
        "id": "beats",
        "statement": "It beats guessing.",
        "number": "test.macro_f1",
        "comparison": ">=",
        "bound": 0.5,
    }
    return Claim(**{**entry, "holds": True, **fields})


class Reader(HTMLParser):
    """Elements, ids and text of a page; notes tags that are closed out of order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.unbalanced, self.text, self.styles = [], [], [], []
        self._open = []
        self.feed(text)
        self.close()
        self.unbalanced += self._open
        self.ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self._open and self._open[-1] in ("style", "script"):
            self.styles.append(data)
        else:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def _assert_offline(reader: Reader):
    """Nothing on the page is loaded from elsewhere."""
    for tag, attributes in reader.elements:
        for name, value in attributes.items():
            if name in ("src", "srcset", "poster", "data", "xlink:href", "background") or (
                name == "href" and tag != "a"
            ):
                assert value.startswith(("data:", "#")), (tag, name, value[:80])
            assert not name.lower().startswith("on"), (tag, name)
            assert not re.search(r"url\(\s*['\"]?(?!#)", value or ""), (tag, name, value[:80])
    for text in reader.styles:
        assert "@import" not in text
        assert not re.search(r"url\(\s*['\"]?(?!#|data:)", text)
        assert "http" not in text
    assert not {tag for tag, _ in reader.elements} & {"iframe", "object", "embed", "base", "form"}
    assert len(reader.all("script")) <= 1


def assert_sound(reader: Reader):
    """Nothing is loaded, every picture has a description, tags are balanced, ids unique, and anchors lead somewhere."""
    _assert_offline(reader)
    assert all(attributes.get("alt", "").strip() for attributes in reader.all("img"))
    assert all(attributes.get("aria-label", "").strip() for attributes in reader.all("svg"))
    assert reader.unbalanced == []
    assert len(reader.ids) == len(set(reader.ids))
    for attributes in reader.all("a"):
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in reader.ids


def assert_links(folder: Path):
    """Every link between files of a report resolves, anchors included."""
    readers = {path.name: Reader(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}
    for name, reader in readers.items():
        for attributes in reader.all("a"):
            target, _, anchor = attributes["href"].partition("#")
            if not target or target.startswith(("http:", "https:", "data:")):
                continue
            target = unquote(target)
            assert (folder / target).is_file(), (name, target)
            if anchor:
                assert anchor in readers[target].ids, (name, target, anchor)
