"""Bad input is told before anything runs: one sentence, exit status 2, nothing written.

What else readers refuse is tested beside them; here stand cases of every kind, and what they refuse together alone.
"""

import io
import os
import re
import subprocess
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from verdict.base import paths
from verdict.base.params import load_params
from verdict.workflow import pipeline, start
from verdict.workflow.pipeline import check_inputs

SPLITS = ("train", "val", "calib", "test")


def picture(number):
    """A picture that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def archive(member):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        pack.writestr(member, "x")
    return buffer.getvalue()


class Table:
    """A sound table of pictures, to be spoilt: rows below a header, and a folder of as many pictures as are named."""

    def __init__(self, root, header, rows):
        self.root, self.images, self.header, self.rows = root, root / "images", header, rows
        self.images.mkdir()
        for k, name in enumerate(dict.fromkeys(row[0] for row in rows)):
            (self.images / name).write_bytes(picture(k))
        self.named = {"table": str(root / "table.csv"), "images": str(self.images)}

    def write(self):
        lines = [",".join(row) for row in (self.header, *self.rows)]
        (self.root / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Pairs(Table):
    """Of 40 pictures with two sentences each."""

    def __init__(self, root):
        said = (("red", "entailment"), ("blue", "contradiction"))
        rows = [[f"{k:02d}.png", text, label] for k in range(40) for text, label in said]
        super().__init__(root, ["image", "hypothesis", "label"], rows)
        self.profile = {"data": {"source": "csv", "csv": self.named}}

    def split(self, of=lambda k: SPLITS[k % 4]):
        """A split column, by the number of the image."""
        self.header.append("split")
        for row in self.rows:
            row.append(of(int(row[0][:2])))


class Pictures(Table):
    """Of the dual encoder's 32 pictures."""

    def __init__(self, root):
        rows = [[f"{SPLITS[k % 4]}-{k}.png", ("dog", "cat")[k // 4 % 2], SPLITS[k % 4]] for k in range(32)]
        super().__init__(root, ["image", "label", "split"], rows)
        self.profile = {"data": {"source": "clip"}, "clip": {"source": "csv", "folder": self.named}}


class Logits:
    """Sound saved logits, to be spoilt."""

    def __init__(self, root):
        self.root, self.parts = root, {}
        for seed, name in enumerate(("val", "test")):
            rng = np.random.default_rng(seed)
            labels = rng.integers(0, 3, 60)
            self.parts[name] = {"logits": rng.normal(0, 3, (60, 3)) + 3 * np.eye(3)[labels], "labels": labels}
        files = {name: str(root / f"{name}.npz") for name in self.parts}
        names = {"class_names": ["cat", "dog", "emu"]}
        self.profile = {"data": {"source": "recorded", "recorded": files | names}}

    def write(self):
        for name, arrays in self.parts.items():
            np.savez(self.root / f"{name}.npz", **arrays)


SOUND = {"pairs": Pairs, "logits": Logits, "pictures": Pictures}


def put(path, content):
    def change(own):
        target = own.root / path
        target.unlink(missing_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def copied(source, target):
    return lambda own: put(f"images/{target}", (own.images / source).read_bytes())(own)


def profile(*keys, value):
    """A changed value of the profile."""

    def change(own):
        section = own.profile
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value

    return change


def cell(row, place, text):
    return lambda own: own.rows[row].__setitem__(place, text)


def column(place, of):
    """A changed column of every row."""
    return lambda own: [row.__setitem__(place, of(row)) for row in own.rows]


def array(name, of):
    """Changed arrays of both parts."""
    return lambda own: [part.__setitem__(name, of(part[name])) for part in own.parts.values()]


def without(split, other):
    """A split column that calls one split by another's name."""
    return lambda own: own.split(lambda k: SPLITS[k % 4].replace(split, other))


def holed(values):
    return np.where(values == values[7, 1], np.nan, values)


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def gone(name):
    return lambda own: (own.root / name).unlink()


TABLE, IMAGES, CLASSES = ("data", "csv", "table"), ("data", "csv", "images"), ("data", "recorded", "class_names")
# What is spoilt before the files are written, and what is said.


def asked(**model):
    """A profile whose model is asked; its table is not looked at before that is known to be there."""
    wanted = {"hub": "some/llava", "revision": "0" * 40, **model}
    return {"data": {"source": "answers", "answers": {"table": "t.csv", "images": "images", "model": wanted}}}


BEFORE = {
    "pairs": [
        (profile(*TABLE, value="{root}/images"), "there is no file"),
        (profile(*TABLE, value="~nobody-here/a.csv"), "there is no file"),
        (profile(*TABLE, value=""), r"source csv needs csv\.table"),
        (profile(*IMAGES, value="{root}/no"), r"data\.csv\.images: there is no"),
        (without("calib", "train"), "split calib"),
        (without("val", "train"), "split val"),
        (without("test", "dev"), "split test"),
        (column(2, lambda row: "entailment"), "the split train has the label contradiction"),
        (lambda own: own.rows.__delitem__(slice(12, None)), "has 3 image groups, and at least 4"),
        (cell(9, 0, "99.png"), r"line 11: 1 images are not in .*'99\.png'"),
        (cell(4, 0, "https://x.org/a.png"), "line 6: image id .* but an address"),
        (column(2, lambda row: str(int(row[2] == "entailment"))), r"say .* data\.csv\.labels"),
        (profile("data", "csv", "labels", value={"1": "entailment"}), "labels: must name a word"),
        (lambda own: [cell(5, 2, "")(own), own.rows.insert(2, [""])], r"line 8: unknown label ''"),
        (profile("policy", "human", "kind", value="votes"), "write kind: parametric"),
        (profile("model", "vision_preset", value="./no/vit"), r"vision_preset: there is no"),
    ],
    "logits": [
        (profile(*CLASSES, value=[False, True]), r"names\.0: expected text, got false.*\n.*names\.1"),
        (profile(*CLASSES, value=["cat", "dog", 3]), r"names\.2: expected text, got 3; .* it in quotes"),
        (array("logits", softmax), r"val\.npz: expected logits, got probabilities"),
        (array("logits", holed), r"val\.npz.*row 7"),
        (array("labels", lambda y: y + 1), "labels run from 1 to 3, .*: subtract 1"),
        (array("labels", lambda y: y * 0), "every label is 'cat'"),
        (array("labels", lambda y: np.array(["cow"] * 60)), "row 0 .*: label 'cow'"),
        (profile("policy", "human", "kind", value="votes"), "no file holds people's"),
    ],
    "pictures": [
        (profile("clip", "folder", "images", value=""), r"needs folder\.images"),
        (cell(4, 2, ""), r"table\.csv, line 6: the split is empty"),
        (column(2, lambda row: row[2].replace("test", "val")), "the split test has 0 pictures"),
        (cell(4, 1, "Cat"), r"'Cat' \(line 6\) .* would be two classes|and 'Cat' \(line 6\)"),
        (lambda own: own.rows[3].pop(), "line 5: 2 cells where the header has 3"),
        (profile("clip", "preset", value="./no/clip"), r"'\./no/clip' is neither shipped"),
        (
            profile("clip_robustness", "assistant_answers", value="no.csv"),
            r"assistant_answers: there is no file 'no\.c",
        ),
        (
            lambda own: own.profile["clip"].update(preset="who/what", revision="0" * 40),
            "is not stored on this machine, and its hub does not answer",
        ),
    ],
}
# And after they are written.
AFTER = {
    "pairs": [
        (gone("table.csv"), r"data\.csv\.table: there is no file"),
        (put("images/03.png", "<html>gone</html>"), r"03\.png is a web page"),
        (put("table.csv", '[{"image": "a"}]' * 999), "is one JSON array; write one object a line"),
        (put("table.csv", archive("xl/workbook.xml")), r"is an Excel workbook \(\.xlsx\)"),
        (put("table.csv", b"PAR1" + bytes(99)), "is a Parquet file, .*; save it as CSV"),
        (put("table.csv", ""), "table.csv holds nothing"),
    ],
    "logits": [(gone("test.npz"), r"data\.recorded\.test: there is no file")],
    "pictures": [
        (copied("train-0.png", "val-1.png"), "or a copy of it, .* is in the splits"),
        (put("images/train-0.png", picture(0)[:60]), r"1 image cannot be read; .*train-0\.png"),
        (put("images/classes.json", "{"), r"classes\.json is not readable as JSON"),
    ],
}
CASES = [
    pytest.param(kind, change, is_after, message, id=f"{kind}-{message}")
    for is_after, cases in enumerate((BEFORE, AFTER))
    for kind, own in cases.items()
    for change, message in own
]
ELSEWHERE = [
    ({"data": {"source": "a2"}}, r"data\.a2\.table: there is no file 'A2_train_v3\.jsonl'.* set VERDICT_DATA"),
    ({"data": {"source": "nlvr"}}, "the NLVR corpus is not here: set VERDICT_DATA"),
    ({"data": {"source": "clip"}, "clip": {"source": "imagenette"}}, "imagenette is not here"),
    (
        asked(),
        r"data\.answers\.model\.hub: some/llava is not stored on this machine, and its hub .*\(hf download some/llava",
    ),
    (asked(revision=""), r"data\.answers\.model\.hub: 'some/llava' is neither .* with its revision"),
    (asked(hub="{root}"), r"data\.answers\.model\.hub: the folder .* does not hold config\.json and weights"),
    (asked(hub="no folder"), r"'no folder' is neither shipped nor a folder, nor a hub id"),
    ({"data": {"sorce": "csv"}}, r"data\.sorce: unknown key; did you mean 'source'"),
]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty place for data, and a project that holds parameters alone."""
    home = tmp_path / "project"
    (home / "params").mkdir(parents=True)
    (home / "params" / "base.yaml").write_text((paths.PARAMS / "base.yaml").read_text())
    (home / "params" / "execution").symlink_to(paths.PARAMS / "execution")
    for name, folder in (("ROOT", ""), ("PARAMS", "params"), ("WORK", "work"), ("REPORTS", "reports")):
        monkeypatch.setattr(paths, name, home / folder)
    monkeypatch.delenv("VERDICT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def prepared(kind, root, change=lambda own: None, is_after=True):
    """The profile of files that are spoilt before or after they are written."""
    own = SOUND[kind](root)
    for step in (own.write, lambda: change(own)) if is_after else (lambda: change(own), own.write):
        step()
    return own.profile


def write_profile(content, root, folder=None):
    text = yaml.safe_dump({"title": "Mine", **content}).replace("{root}", str(root))
    ((folder or paths.PARAMS) / "mine.yaml").write_text(text)


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def refused(capsys, folder):
    """What is said of the profile `mine`; nothing may have been written."""
    before = tree(folder)
    assert pipeline.main(["--profile", "mine"]) == 2
    assert tree(folder) == before
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("nothing was run: ")
    assert "Traceback" not in said.err and len(said.err) < 2000
    return said.err


@pytest.mark.parametrize(("kind", "change", "is_after", "message"), CASES)
def test_bad_input_is_told_before_anything_runs(kind, change, is_after, message, root, tmp_path, capsys):
    write_profile(prepared(kind, root, change, is_after), root)
    said = refused(capsys, tmp_path)
    assert said.count("\n") == message.count(r"\n") * 2 + 1, "one line, but for a list of faults"
    assert re.search(message, said, re.DOTALL), said


@pytest.mark.parametrize(("content", "message"), ELSEWHERE)
def test_a_source_that_is_not_here_is_told_before_anything_runs(content, message, root, tmp_path, capsys):
    write_profile(content, root)
    assert re.search(message, refused(capsys, tmp_path))


@pytest.mark.parametrize("place", ["absolute", "below $VERDICT_DATA", "below the project", "from ~ on"])
@pytest.mark.parametrize("kind", SOUND)
def test_sound_input_passes_and_its_paths_follow_one_rule_whatever_the_source(kind, place, root, monkeypatch):
    content = yaml.safe_dump(prepared(kind, root))
    if place == "below $VERDICT_DATA":
        monkeypatch.setenv("VERDICT_DATA", str(root))
    elif place == "below the project":
        monkeypatch.setattr(paths, "ROOT", root)
    elif place == "from ~ on":
        monkeypatch.setenv("HOME", str(root))
    prefix = {"absolute": f"{root}/", "from ~ on": "~/"}.get(place, "")
    write_profile(yaml.safe_load(content.replace(f"{root}/", prefix)), root)
    check_inputs(load_params("mine"))


def test_a_refusal_by_a_fresh_process_writes_nothing(root):
    """Not even the folders that tools make for themselves as they are imported."""
    home = paths.ROOT
    for name, place in (("lib", paths.LIBRARY.parent), ("notebooks", paths.NOTEBOOKS)):
        (home / name).symlink_to(place)
    write_profile(prepared("pairs", root, gone("table.csv")), root)
    before = tree(home)
    command = start.command("verdict.workflow.pipeline", "--profile", "mine")
    variables = {**os.environ, paths.ROOT_VARIABLE: str(home), "PYTHONPATH": str(paths.LIBRARY.parent)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "there is no file" in done.stderr
    assert tree(home) == before
