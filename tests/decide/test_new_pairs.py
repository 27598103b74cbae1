"""A table of pairs for the report's own models: what is refused before a model is loaded, by file, line and column."""

import json
import math
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from verdict.base.artifacts import sha256_file
from verdict.base.labels import class_names
from verdict.decide.calibrated import Calibrated, usual_consistency
from verdict.decide.log import __main__ as command, new_pairs
from verdict.decide.log.cases import logits_of_cases, read_cases
from verdict.decide.log.new_pairs import read_pairs
from verdict.workflow.stages import DISTANCES, QUESTIONS, VIEWS

ROWS = ["a.png,there is a red seven,g1,2026-03-01", "b,two blue ones,g1,", "a.png,two blue ones,g2,2026-03-02"]


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        Image.fromarray(np.full((5, 7, 3), ord(name), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def table_of(folder, rows, header="image,hypothesis,group,date"):
    path = folder / "new.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def test_pairs_keep_their_line_group_and_date(folder):
    pairs, files = read_pairs(table_of(folder, ["", *ROWS]), folder, {}, progress=print)
    assert pairs["line"].tolist() == [3, 4, 5] and pairs["date"].tolist() == ["2026-03-01", "", "2026-03-02"]
    # One picture of two groups makes one of them.
    assert pairs["group_id"].nunique() == 1 and {path.name for path in files.values()} == {"a.png", "b.png"}


def big(folder):
    Image.new("1", (8000, 7000)).save(folder / "big.png")
    return ["big.png,two blue ones,g1,"]


def torn(folder):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / "torn.png")
    (folder / "torn.png").write_bytes((folder / "torn.png").read_bytes()[:3000])
    return ["torn.png,two blue ones,g1,"]


FAULTS = {
    "too large": (big, r"new.csv: .* line 3, column image: .*big.png has 8000 x 7000 = 56,000,000 pixels"),
    "damaged": (torn, r"new.csv: .* line 3, column image: .*torn.png cannot be decoded; is it truncated"),
    "missing": (lambda folder: ["c,two blue ones,g1,"], r"new.csv, line 3: 1 images are not in .*: \['c'\]$"),
    "outside": (lambda folder: ["../a.png,two,g1,"], r"new.csv, line 3: image id '../a.png' is not a plain name"),
    "no sentence": (lambda folder: ["a.png,,g1,"], r"new.csv: 1 fault: line 3: hypothesis is empty"),
    "twice": (lambda folder: ROWS[:1], r"line 3: repeats line 2"),
    "date": (lambda folder: ["b,two,g1,1 March"], r"new.csv, line 3, column 'date': '1 March' is no date such as 2026"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_used_is_refused_before_the_policy_or_a_model_is_read(folder, fault, monkeypatch, capsys):
    monkeypatch.setattr(new_pairs.of_report, "load_stored", lambda profile: pytest.fail("nothing may be read yet"))
    add, match = FAULTS[fault]
    table = table_of(folder, [ROWS[0], *add(folder)])
    with pytest.raises((ValueError, FileNotFoundError), match=match) as refused:
        read_pairs(table, folder, {}, progress=print)
    options = ["decide", "--profile", "smoke", "--in", str(table), "--out", str(folder / "out.jsonl")]
    assert command.main(options) == 2 and not (folder / "out.jsonl").exists()
    assert capsys.readouterr().err == f"decide: {refused.value}\n"


def test_columns_that_nobody_reads_are_refused_by_name(folder):
    with pytest.raises(ValueError, match=r"new\.csv, columns colour, size: a new pair has image, hypothesis"):
        read_pairs(table_of(folder, ["a.png,two,red,1"], "image,hypothesis,colour,size"), folder, {}, progress=print)
    with pytest.raises(ValueError, match=r"no column for \['hypothesis'\]"):
        read_pairs(table_of(folder, ["a.png,two"], "image,sentense"), folder, {}, progress=print)


@pytest.mark.parametrize("profile", ["example", "recorded"])
def test_a_report_on_somebodys_answers_has_no_model_to_ask(folder, profile, capsys):
    table = str(table_of(folder, ROWS))
    assert command.main(["decide", "--profile", profile, "--in", table, "--out", str(folder / "out.jsonl")]) == 2
    assert f"{table}: {profile} has no model of its own to ask; give JSON lines" in capsys.readouterr().err


def test_clip_is_not_asked_about_new_pictures_and_the_refusal_says_what_to_give(folder, capsys):
    table = str(table_of(folder, ROWS))
    assert command.main(["decide", "--profile", "cifar10", "--in", table, "--out", str(folder / "out.jsonl")]) == 2
    told = capsys.readouterr().err
    assert f"{table}: cifar10 has no model of its own to ask; its policy is about CLIP's answers to pictures" in told
    assert 'give JSON lines {"pair_id": ..., "logits": [...]}' in told


def test_a_model_of_the_hub_that_cannot_be_had_is_refused_before_its_pictures_are_read(folder, monkeypatch, capsys):
    params = new_pairs.load_params("example")
    hub = params.data.answers.model.model_copy(update={"hub": "nobody/model", "revision": "0" * 40})
    answers = params.data.answers.model_copy(update={"model": hub})
    asked = params.model_copy(update={"data": params.data.model_copy(update={"answers": answers})})
    monkeypatch.setattr(new_pairs, "load_params", lambda profile: asked)
    monkeypatch.setattr("verdict.base.files.hub.is_reachable", lambda: False)
    table = str(table_of(folder, ["gone.png,two,g1,"]))
    assert command.main(["decide", "--profile", "example", "--in", table, "--out", str(folder / "out.jsonl")]) == 2
    assert "data.answers.model.hub: nobody/model is not stored on this machine" in capsys.readouterr().err


def test_what_a_model_of_the_hub_says_stands_in_the_line_of_its_pair(folder, monkeypatch):
    """It is asked once, about all pairs, by file and line; a token without probability is clipped as in the report."""
    table, said = table_of(folder, ROWS), np.array([[-0.1, -3.0], [-np.inf, -0.25], [-1.5, -0.5]])
    pairs, files = read_pairs(table, folder, {}, progress=print)
    calls = []
    monkeypatch.setattr(new_pairs, "said_of", lambda *given, **where: calls.append((*given, where)) or said)
    params = new_pairs.load_params("example")
    lines = new_pairs._asked_of_hub(params, "example", table, pairs, files, progress=print)
    ((placed, images, asked, where),) = calls
    assert placed["place"].tolist() == [f"{table}, line {n}" for n in (2, 3, 4)]
    assert images["b"] == (folder / "b.png", sha256_file(folder / "b.png")) and asked is params.data.answers.model
    assert where["folder"].parts[-2:] == ("example", "transcripts")
    assert [number for number, _ in lines] == [2, 3, 4]
    stored = SimpleNamespace(
        head=SimpleNamespace(classes=class_names(), signals={}, consistency=None, foreign=None),
        names=("", "m"),
        how=params.data.answers,
        worth=None,
        form="log_probs",
    )
    rows, fault = read_cases(lines, stored, "new.csv")
    assert fault is None and [row["date"] for row in rows] == ["2026-03-01", None, "2026-03-02"]
    assert [row["pair_id"] for row in rows] == pairs["pair_id"].tolist()
    logits, fault = logits_of_cases(rows, stored)
    assert fault is None and logits.tolist() == [[-0.1, -3.0], [np.log(1e-12), -0.25], [-1.5, -0.5]]


def examined(pairs):
    """The k-th pair has logits, views, a question and a distance that say which it is."""
    ids, z = pairs[["pair_id"]].reset_index(drop=True), np.arange(len(pairs)) + 1.0
    tables = {seed: ids.assign(logit_0=0.0, logit_1=sign * z) for seed, sign in ((11, 1), (23, 0.5))}
    views = pd.concat([tables[11].assign(view=name) for name in "vw"]).iloc[::-1]
    asked = tables[11].assign(expected_if_entailment=0.0, expected_if_contradiction=1.0).iloc[:1]
    return tables | {VIEWS: views, QUESTIONS: asked, DISTANCES: ids.assign(distance=z / 10)}


def test_what_the_models_say_stands_in_the_line_of_its_pair(folder):
    """Worked out by hand at temperature 2: p is the probability of the kept answer, by the kept seed and the other."""
    pairs, _ = read_pairs(table_of(folder, ROWS), folder, {}, progress=print)
    # On calib one pair is known to answer yes to its question with probability 1/8.
    calib = pd.DataFrame({"pair_id": ["c"], "logit_0": 0.0, "logit_1": 1.0})
    asked = calib.assign(logit_1=2 * math.log(7), expected_if_entailment=0.0, expected_if_contradiction=1.0)
    stage = SimpleNamespace(classes=class_names(), predictions=lambda *s, **k: calib, answers=lambda *s: asked)
    head = SimpleNamespace(consistency=0.5, model_hash="m", classes=class_names())
    by_line, calibrated = pairs.set_index("line"), Calibrated({11: 2.0, 23: 2.0}, 11, 0.9, 0.1)
    usual = usual_consistency(stage, "mine", calibrated)
    lines = new_pairs.answered(calibrated, head, by_line, examined(pairs), usual=usual)
    cases = [(number, json.loads(line)) for number, line in lines]
    assert [number for number, _ in cases] == [2, 3, 4]
    for k, (_, case) in enumerate(cases):
        p, other = (1 / (1 + math.exp(-z / 2)) for z in (k + 1, (k + 1) / 2))
        assert case["pair_id"] == pairs["pair_id"][k] and case["image"] == ["a.png", "b", "a.png"][k]
        assert case["image_sha256"] == sha256_file(folder / f"{'aba'[k]}.png")[:16]
        assert (case["date"], case["model"]) == (["2026-03-01", None, "2026-03-02"][k], "m")
        assert case["logits"] == [0, k + 1] and case["distance"] == (k + 1) / 10
        assert case["ensemble_stability"] == pytest.approx(1 - 2 * (p - other) / 2) and case["view_stability"] == 1
        assert case["consistency"] == pytest.approx([1 - p, 0.125, 0.125][k])


def test_pairs_are_asked_about_a_part_at_a_time_and_each_once_and_what_calib_says_is_read_once(folder, monkeypatch):
    head = SimpleNamespace(consistency=0.5, model_hash="m", classes=class_names())
    asked, read, told, named = [], [], [], []

    class Asked:
        def ask(self, pairs):
            asked.append(pairs["pair_id"].tolist())
            return examined(pairs)

    def decide(stored, chunks, name, out, *, answered, progress):
        for lines in chunks:
            named.extend(json.loads(line)["image_sha256"] for _, line in lines)
            told.extend(answered(lines))
        return Counter()

    replaced = {
        **{"ROWS": 2, "decide_stream": decide, "_examiner": lambda *given: Asked(), "open_stage": lambda *names: None},
        **{"choose_backend": lambda name: None, "device_lease": lambda name: nullcontext()},
        **{"load_selection": lambda stage: read.append("kept") or SimpleNamespace(trial="mine")},
        "usual_consistency": lambda *given: read.append("calib") or 0.125,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(new_pairs, name, value)
    monkeypatch.setattr(new_pairs.of_report, "load_stored", lambda profile: SimpleNamespace(head=head))
    monkeypatch.setattr(new_pairs.of_report, "refuse_damaged", lambda *given: None)
    kept = Calibrated({11: 2.0, 23: 2.0}, 11, 0.9, 0.1)
    monkeypatch.setattr(new_pairs.Calibrated, "load", lambda stage: kept)
    table = table_of(folder, [*ROWS, "b,three red ones,g1,", "b,a seven,g1,"])
    pairs, _ = read_pairs(table, folder, {}, progress=print)
    new_pairs.decide_pairs("smoke", table, folder, folder / "out.jsonl", progress=print)
    ids = pairs["pair_id"].tolist()
    assert asked == [ids[:2], ids[2:4], ids[4:]] and read == ["kept", "calib"]
    assert named == [sha256_file(folder / f"{name}.png")[:16] for name in "ababb"]
    assert [(number, json.loads(line)["pair_id"]) for number, line in told] == list(zip(range(2, 7), ids, strict=True))
    assert [json.loads(line)["consistency"] for _, line in told][1::2] == [0.125, 0.125]


MISPLACED = {
    "no file": (["--in", "new/a.jsonl"], "IN=new/a.jsonl does not exist: looked at {here}/new/a.jsonl; make counts "),
    "no table": (["--in", "a.csv"], "IN=a.csv does not exist: looked at {here}/a.csv; make counts paths from the "),
    "no path": (["--in", "{here}/a.jsonl"], "IN={here}/a.jsonl does not exist\n"),
    "folder": (["--in", "."], "IN=. is a folder, where a file is read\n"),
    "no folder": (["--in", "new.csv", "--images", "gone"], "IMAGES=gone does not exist: looked at {here}/gone; make"),
    "no pictures": (["--in", "new.csv", "--images", "new.csv"], "IMAGES=new.csv is a file, where a folder of pictures"),
}


@pytest.mark.parametrize("wrong", MISPLACED)
def test_a_path_that_is_not_there_is_named_with_its_variable(folder, wrong, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    table_of(folder, ROWS)
    options, told = MISPLACED[wrong]
    options = [option.format(here=folder) for option in options]
    assert command.main(["decide", "--profile", "smoke", *options, "--out", "out.jsonl"]) == 2
    assert capsys.readouterr().err.startswith("decide: " + told.format(here=folder))
    assert not (folder / "out.jsonl").exists()


@pytest.mark.parametrize("wrong", [["--in", "new.csv"], ["--out", "out.jsonl"], []])
def test_what_lacks_is_said_in_the_words_of_make(wrong, capsys):
    with pytest.raises(SystemExit):
        command.main(["decide", *wrong])
    assert "make decide IN=new.jsonl OUT=decisions.jsonl" in capsys.readouterr().err
