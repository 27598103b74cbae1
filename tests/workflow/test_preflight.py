"""Bad input is told before anything runs: one sentence, exit status 2, nothing written."""

import io
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from verdict.base import paths
from verdict.base.params import load_params
from verdict.workflow import pipeline
from verdict.workflow.pipeline import check_inputs

SPLITS = ("train", "val", "calib", "test")
N_IMAGES = 40
NAMES = ("cat", "dog", "emu")


def picture(number, *, deep=False):
    """A picture that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def deep_colours(top):
    """A PNG of 16 bits a channel whose largest value is `top`, which Pillow does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">12H", *np.linspace(0, top, 12).astype(int))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")


def archive(member):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        pack.writestr(member, "x")
    return buffer.getvalue()


class Pairs:
    """A sound table of pairs with its pictures, to be spoilt."""

    def __init__(self, root):
        self.root, self.images = root, root / "images"
        self.images.mkdir()
        for k in range(N_IMAGES):
            (self.images / f"{k:02d}.png").write_bytes(picture(k))
        self.header = ["image", "hypothesis", "label"]
        self.rows = [
            [f"{k:02d}.png", text, label]
            for k in range(N_IMAGES)
            for text, label in (("red", "entailment"), ("blue", "contradiction"))
        ]
        self.profile = {
            "data": {"source": "csv", "csv": {"table": str(root / "pairs.csv"), "images": str(self.images)}}
        }

    def split(self, of=lambda k: SPLITS[k % 4]):
        """A split column, by the number of the image."""
        self.header.append("split")
        for row in self.rows:
            row.append(of(int(row[0][:2])))

    def write(self):
        lines = [",".join(row) for row in (self.header, *self.rows)]
        (self.root / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Logits:
    """Sound saved logits, to be spoilt."""

    def __init__(self, root):
        self.root, self.parts = root, {}
        for seed, name in enumerate(("val", "test")):
            rng = np.random.default_rng(seed)
            labels = rng.integers(0, 3, 60)
            logits = rng.normal(0, 3, (60, 3))
            logits[np.arange(60), labels] += 3
            self.parts[name] = {"logits": logits, "labels": labels, "site": 100 * seed + np.arange(60) // 2}
        files = {name: str(root / f"{name}.npz") for name in self.parts}
        self.profile = {"data": {"source": "recorded", "recorded": {**files, "class_names": list(NAMES)}}}

    def write(self):
        for name, arrays in self.parts.items():
            np.savez(self.root / f"{name}.npz", **arrays)

    @property
    def settings(self):
        return self.profile["data"]["recorded"]


class Folder:
    """A sound table of the dual encoder's pictures, to be spoilt."""

    def __init__(self, root):
        self.root, self.images = root, root / "mine"
        self.rows = []
        for k in range(32):
            name = f"{SPLITS[k % 4]}-{k}.png"
            self.images.mkdir(exist_ok=True)
            (self.images / name).write_bytes(picture(k))
            self.rows.append([name, ("dog", "cat")[k // 4 % 2], SPLITS[k % 4]])
        own = {"images": str(self.images), "table": str(root / "mine.csv")}
        self.profile = {"data": {"source": "clip"}, "clip": {"source": "csv", "folder": own}}

    def write(self):
        lines = [",".join(row) for row in (["image", "label", "split"], *self.rows)]
        (self.root / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


SOUND = {"pairs": Pairs, "logits": Logits, "pictures": Folder}


def put(path, content):
    def change(own):
        target = own.root / path
        target.parent.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def both(*changes):
    def change(own):
        for one in changes:
            one(own)

    return change


def profile(*keys, value):
    """A changed value of the profile."""

    def change(own):
        section = own.profile
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value

    return change


def cells(row, place, text):
    return lambda own: own.rows[row].__setitem__(place, text)


def every(place, of):
    """A changed column of every row."""

    def change(own):
        for row in own.rows:
            row[place] = of(row)

    return change


def array(part, name, of):
    return lambda own: own.parts[part].__setitem__(name, of(own.parts[part][name]))


def logits(of):
    return both(*(array(part, "logits", of) for part in ("val", "test")))


def without(split, other):
    """A split column that calls one split by another's name."""
    return lambda own: own.split(lambda k: SPLITS[k % 4].replace(split, other))


def holed(values):
    return np.where(values == values[7, 1], np.nan, values)


def shortened(own):
    own.parts["val"] = {name: values[:6] for name, values in own.parts["val"].items()}


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def copied(source, target):
    return lambda own: (own.images / target).write_bytes((own.images / source).read_bytes())


def nothing(own):
    """As it is."""


# By name: what is spoilt before and after the files are written, and the sentence.
PAIRS = {
    "table-missing": (nothing, lambda own: (own.root / "pairs.csv").unlink(), r"data\.csv\.table: there is no file"),
    "table-is-a-folder": (profile("data", "csv", "table", value="{root}/images"), nothing, "there is no file"),
    "table-at-nobodys-home": (profile("data", "csv", "table", value="~nobody-here/a.csv"), nothing, "there is no file"),
    "table-not-named": (profile("data", "csv", "table", value=""), nothing, r"source csv needs csv\.table"),
    "folder-missing": (profile("data", "csv", "images", value="{root}/no"), nothing, r"data\.csv\.images: there is no"),
    "split-without-calib": (without("calib", "train"), nothing, "split calib"),
    "split-without-val": (without("val", "train"), nothing, "split val"),
    "split-without-test": (without("test", "dev"), nothing, "split test"),
    "split-unknown": (
        both(Pairs.split, cells(3, 3, "evaluation")),
        nothing,
        r"pairs\.csv: line 5: unknown split 'evalu",
    ),
    "split-blank": (both(Pairs.split, cells(7, 3, "")), nothing, r"pairs\.csv: line 9: unknown split ''"),
    "one-label": (every(2, lambda row: "entailment"), nothing, "the split train has the label contradiction"),
    "one-label-in-test": (
        both(Pairs.split, every(2, lambda row: "contradiction" if row[3] == "test" else row[2])),
        nothing,
        "the split test has the label entailment",
    ),
    "six-images": (lambda own: own.rows.__delitem__(slice(12, None)), nothing, "has 3 image groups, and at least 4"),
    "pictures-cut-short": (
        nothing,
        both(*(put(f"images/0{k}.png", picture(k)[:60]) for k in (2, 5, 7))),
        r"3 images cannot be read; .*02\.png .*05\.png .*07\.png",
    ),
    "picture-of-text": (nothing, put("images/03.png", "<html>gone</html>"), r"03\.png is a web page"),
    "picture-of-12-bits": (nothing, put("images/03.png", deep_colours(4095)), r"03\.png holds colours of 12 bits"),
    "picture-heic": (
        cells(0, 0, "IMG_1.heic"),
        put("images/IMG_1.heic", b"\0\0\0\x18ftypheic"),
        r"line 2: 1 images are not in .*IMG_1\.heic'\] is there, but only JPEG",
    ),
    "picture-missing": (cells(9, 0, "99.png"), nothing, r"line 11: 1 images are not in .*'99\.png'"),
    "picture-by-address": (cells(4, 0, "https://x.org/a.png"), nothing, "line 6: image id .* but an address"),
    "picture-in-two-splits": (
        both(Pairs.split, cells(1, 3, "test")),
        nothing,
        r"image_id '00\.png' is in the splits \['test', 'train'\] \(line 3 and line 2\)",
    ),
    "copy-in-two-splits": (Pairs.split, copied("00.png", "01.png"), r"group_id '00\.png' is in the splits"),
    "group-in-two-splits": (
        both(Pairs.split, lambda own: [own.header.append("group"), [row.append("g") for row in own.rows]]),
        nothing,
        "group_id 'g' is in the splits",
    ),
    "two-labels-of-one-pair": (
        lambda own: own.rows.append(["00.png", "red", "contradiction"]),
        nothing,
        "line 82: repeats line 2 with another label",
    ),
    "labels-0-and-1": (every(2, lambda row: str(int(row[2] == "entailment"))), nothing, r"say .* data\.csv\.labels"),
    "labels-half-named": (
        profile("data", "csv", "labels", value={"1": "entailment"}),
        nothing,
        "labels must name a word",
    ),
    "label-blank": (both(cells(5, 2, ""), lambda own: own.rows.insert(2, [""])), nothing, r"line 8: unknown label ''"),
    "ragged": (lambda own: own.rows[6].append("x"), nothing, "line 8: 4 cells where the header has 3"),
    "json-array": (nothing, put("pairs.csv", '[{"image": "a"}]' * 999), "is one JSON array; write one object a line"),
    "workbook": (nothing, put("pairs.csv", archive("xl/workbook.xml")), r"is an Excel workbook \(\.xlsx\)"),
    "parquet": (nothing, put("pairs.csv", b"PAR1" + bytes(99)), "is a Parquet file, .*; save it as CSV"),
    "empty": (nothing, put("pairs.csv", ""), "pairs.csv holds nothing"),
    "votes-that-nobody-gave": (profile("policy", "human", "kind", value="votes"), nothing, "write kind: parametric"),
    "preset-missing": (profile("model", "vision_preset", value="./no/vit"), nothing, r"vision_preset: there is no"),
}
LOGITS = {
    "file-missing": (nothing, lambda own: (own.root / "test.npz").unlink(), r"data\.recorded\.test: there is no file"),
    "class-names-as-truth-values": (
        profile("data", "recorded", "class_names", value=[False, True]),
        nothing,
        r"class_names\.0: expected text, got the truth value false.*\n.*class_names\.1",
    ),
    "class-names-as-numbers": (
        profile("data", "recorded", "class_names", value=["cat", "dog", 3]),
        nothing,
        r"class_names\.2: expected text, got the number 3; .* write it in quotes",
    ),
    "probabilities": (logits(softmax), nothing, r"val\.npz: expected logits, got probabilities"),
    "sigmoid-scores": (logits(lambda z: 1 / (1 + np.exp(-z))), nothing, "these look like sigmoid scores"),
    "cosines": (logits(lambda z: z / 50), nothing, "these look like cosines"),
    "another-scale": (logits(lambda z: z * 1e5), nothing, "got values up to .*; divide all of them"),
    "not-a-number": (array("test", "logits", holed), nothing, r"test\.npz.*row 7"),
    "labels-from-one": (array("val", "labels", lambda y: y + 1), nothing, "labels run from 1 to 3, .*: subtract 1"),
    "labels-of-one-class": (array("val", "labels", lambda y: y * 0), nothing, "every label is 'cat'"),
    "labels-of-others": (array("val", "labels", lambda y: np.array(["cow"] * 60)), nothing, "row 0 .*: label 'cow'"),
    "one-column": (
        both(logits(lambda z: z[:, :1]), profile("data", "recorded", "class_names", value=["no", "yes"])),
        nothing,
        "one column of logits is a binary model's: save two",
    ),
    "weights-of-torch": (
        profile("data", "recorded", "val", value="{root}/a.pt"),
        put("a.pt", archive("archive/data.pkl")),
        r"a\.pt is weights saved by torch",
    ),
    "six-rows": (shortened, nothing, "has 6 rows"),
    "group-in-both": (
        both(profile("data", "recorded", "group", value="site"), array("test", "site", lambda s: s * 0)),
        nothing,
        "group '0' is in val and in test",
    ),
    "shares-of-people": (
        profile("data", "recorded", "human_counts", value="{root}/people.npy"),
        lambda own: np.save(own.root / "people.npy", softmax(own.parts["test"]["logits"])),
        r"people\.npy: .* got shares that sum to 1",
    ),
    "votes-that-nobody-gave": (profile("policy", "human", "kind", value="votes"), nothing, "no file holds people's"),
}
PICTURES = {
    "folder-not-named": (profile("clip", "folder", "images", value=""), nothing, r"needs folder\.images"),
    "split-blank": (cells(4, 2, ""), nothing, r"mine\.csv, line 6: the split is empty"),
    "split-missing": (every(2, lambda row: row[2].replace("test", "val")), nothing, "the split test has 0 pictures"),
    "one-word-twice": (cells(4, 1, "Cat"), nothing, r"'Cat' \(line 6\) .* would be two classes|and 'Cat' \(line 6\)"),
    "copy-in-two-splits": (nothing, copied("train-0.png", "val-1.png"), "or a copy of it, .* is in the splits"),
    "ragged": (lambda own: own.rows[3].pop(), nothing, "line 5: 2 cells where the header has 3"),
    "cut-short": (nothing, put("mine/train-0.png", picture(0)[:60]), r"1 image cannot be read; .*train-0\.png"),
    "names-broken": (nothing, put("mine/classes.json", "{"), r"classes\.json is not readable as JSON"),
    "hub-out-of-reach": (
        both(profile("clip", "preset", value="who/what"), profile("clip", "revision", value="0" * 40)),
        nothing,
        "is not stored on this machine, and its hub does not answer",
    ),
    "preset-missing": (profile("clip", "preset", value="./no/clip"), nothing, r"'\./no/clip' is neither shipped"),
    "answers-missing": (
        profile("clip_robustness", "assistant_answers", value="no.csv"),
        nothing,
        r"clip_robustness\.assistant_answers: there is no file 'no\.csv'",
    ),
}
CASES = [
    pytest.param(kind, *case, id=f"{kind}-{name}")
    for kind, cases in (("pairs", PAIRS), ("logits", LOGITS), ("pictures", PICTURES))
    for name, case in cases.items()
]
ELSEWHERE = {
    "a2": ({"data": {"source": "a2"}}, r"data\.a2\.table: there is no file 'A2_train_v3\.jsonl'.* set VERDICT_DATA"),
    "nlvr": ({"data": {"source": "nlvr"}}, "the NLVR corpus is not here: set VERDICT_DATA"),
    "imagenette": ({"data": {"source": "clip"}, "clip": {"source": "imagenette"}}, "imagenette is not here"),
    "unknown-key": ({"data": {"sorce": "csv"}}, r"data\.sorce: unknown key; did you mean 'source'"),
}


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


def prepared(kind, root, before=nothing, after=nothing):
    own = SOUND[kind](root)
    before(own)
    own.write()
    after(own)
    return own.profile


def write_profile(content, root):
    text = yaml.safe_dump({"title": "Mine", **content}).replace("{root}", str(root))
    (paths.PARAMS / "mine.yaml").write_text(text)


def tree(folder: Path):
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


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize(("kind", "before", "after", "message"), CASES)
def test_bad_input_is_told_before_anything_runs(kind, before, after, message, root, tmp_path, capsys):
    write_profile(prepared(kind, root, before, after), root)
    said = refused(capsys, tmp_path)
    assert said.count("\n") == message.count(r"\n") * 2 + 1, "one line, but for a list of faults"
    assert re.search(message, said, re.DOTALL), said


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_source_that_is_not_here_is_told_before_anything_runs(name, root, tmp_path, capsys):
    content, message = ELSEWHERE[name]
    write_profile(content, root)
    assert re.search(message, refused(capsys, tmp_path))


@pytest.mark.parametrize("kind", SOUND)
def test_sound_input_passes(kind, root):
    write_profile(prepared(kind, root), root)
    check_inputs(load_params("mine"))


@pytest.mark.parametrize("place", ["absolute", "below $VERDICT_DATA", "below the project", "from ~ on"])
@pytest.mark.parametrize("kind", SOUND)
def test_paths_follow_one_rule_whatever_the_source(kind, place, root, monkeypatch):
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
    write_profile(prepared("pairs", root, *PAIRS["table-missing"][:2]), root)
    before = tree(home)
    command = [sys.executable, "-m", "verdict.workflow.start", "verdict.workflow.pipeline", "--profile", "mine"]
    variables = {**os.environ, paths.ROOT_VARIABLE: str(home), "PYTHONPATH": str(paths.LIBRARY.parent)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "there is no file" in done.stderr
    assert tree(home) == before
