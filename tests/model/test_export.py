"""Predictions for pairs without labels: the kept model's own logits, a file that comes back, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tiny_network import random_inputs
from tiny_presets import SIZE, save_presets
from verdict.base import paths
from verdict.base.artifacts import SELF, sha256_tree, write_json, write_parquet, write_run
from verdict.base.files.tables import MAX_FILE_BYTES
from verdict.base.numbers import Number, Numbers
from verdict.base.params import StatisticsParams
from verdict.model.backend import set_threads
from verdict.model.export import table
from verdict.model.export.__main__ import export, main
from verdict.model.features import load_encoders, load_network
from verdict.model.fit import save_weights
from verdict.model.network import FreezePlan, apply_plan
from verdict.model.predict import DecisionRule
from verdict.workflow import stages

HYPOTHESES = ["there is a red seven", "two blue ones", "-seven above", "'tis a seven", "=two"]
N_IMAGES, N_PAIRS, TEMPERATURE = 7, 29, 1.7
STATISTICS = StatisticsParams(n_resamples=1000, level=0.95, seed=7, ece_bins=15)


def save_stage(name, content, *, upstream=(), trial=None, **fields):
    """A stage's folder with its record, as the driver leaves it."""
    home = stages.folder("tiny", name, trial)
    home.mkdir(parents=True, exist_ok=True)
    content(home)
    write_run(
        home, outputs=sorted(home.iterdir()), inputs=[path / "run.json" for path in upstream], stage=name, **fields
    )
    return home


def save_selection(trained):
    row = pd.DataFrame({"trial": ["text1"], "seed": [11], "frozen": ["frozen"]})
    chosen = lambda home: write_parquet(home / "selection.parquet", row)  # noqa: E731
    return save_stage("04_model_selection", chosen, upstream=[trained])


def save_calibration(chosen):
    numbers = Numbers({"calibration.temperature": Number(TEMPERATURE)})
    return save_stage("07_calibration", lambda home: numbers.save(home / "numbers.json"), upstream=[chosen])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose report has kept a network with random weights; and that network."""
    root = tmp_path_factory.mktemp("project")
    base = (paths.PARAMS / "base.yaml").read_text(encoding="utf-8")
    patch = pytest.MonkeyPatch()
    for name in ("WORK", "PARAMS"):
        (root / name.lower()).mkdir()
        patch.setattr(paths, name, root / name.lower())
    patch.setattr(paths, "ROOT", root)
    set_threads(1)
    params = save_presets(root / "vision", root / "text")
    (root / "params" / "base.yaml").write_text(base)
    (root / "params" / "tiny.yaml").write_text("execution: {device: cpu, feature_batch: 5}\n")
    network, plan = load_network(params, dropout=0.0, seed=3), FreezePlan(0, 1)
    apply_plan(network, plan)
    rng = np.random.default_rng(5)
    for weight in network.model.trainable_variables:
        weight.assign(rng.normal(0, 0.4, size=weight.shape).astype(np.float32))
    # Both answers occur: half of the logits of random pairs lie on either side of zero.
    bias = network.head["logit"].bias
    bias.assign(bias - np.median(network.model.predict_on_batch(random_inputs(network, 101))))
    trained_with = {
        name: sha256_tree(root / name.rsplit("/", 1)[-1]) for name in (str(root / "vision"), str(root / "text"))
    }
    resolved = {
        "model": params.model_dump(mode="json"),
        "presets": trained_with,
        "trial": {"vision_blocks": 0, "text_blocks": 1, "seeds": [11]},
    }
    trained = save_stage(
        stages.TRIAL_STAGE,
        lambda home: save_weights(network, home / stages.weights_file(11)),
        trial="text1",
        params=resolved,
    )
    save_calibration(save_selection(trained))
    yield root, params, network
    patch.undo()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of lossless images, and pairs in no order with repeats."""
    folder = tmp_path_factory.mktemp("unseen")
    rng = np.random.default_rng(5)
    for k in range(N_IMAGES):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)).save(folder / f"photo{k}.png")
    image, text = rng.integers(0, N_IMAGES, N_PAIRS), rng.integers(0, len(HYPOTHESES), N_PAIRS)
    return folder, pd.DataFrame({"Image_ID": [f"photo{k}" for k in image], "Hypothesis": [HYPOTHESES[k] for k in text]})


@pytest.fixture
def asked(pairs, tmp_path):
    folder, rows = pairs
    rows.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    return tmp_path / "pairs.jsonl", folder, tmp_path / "out" / "predictions.csv"


def whole_network(params, network, folder, rows):
    """Logits of CONTRADICTION by the whole network, image by image as PIL reads them."""
    encoders = load_encoders(params)
    shown = np.stack([np.asarray(Image.open(folder / f"{name}.png")) for name in rows["Image_ID"]])
    ids, mask = encoders.tokens(rows["Hypothesis"].tolist())
    return network.model.predict_on_batch({"pixels": encoders.pixels(shown), "token_ids": ids, "padding_mask": mask})[
        :, 0
    ]


def test_the_export_is_the_kept_networks_answer_row_by_row(finished, pairs, asked):
    _, params, network = finished
    folder, rows = pairs
    found = export("tiny", *asked)
    logit = whole_network(params, network, folder, rows)
    expected = 1 / (1 + np.exp(-logit / TEMPERATURE))
    assert expected.std() > 0.01
    assert found["Image_ID"].tolist() == rows["Image_ID"].tolist()
    assert found["Hypothesis"].tolist() == rows["Hypothesis"].tolist()
    assert found["prob_contradiction"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert found["prob_entailment"].to_numpy() == pytest.approx(1 - expected, abs=1e-6)
    assert found["Label"].tolist() == ["contradiction" if prob >= 0.5 else "entailment" for prob in expected]
    assert set(found["Label"]) == {"entailment", "contradiction"}
    pd.testing.assert_frame_equal(table.read(asked[2])[0], found)


def test_the_rule_stands_beside_with_counts(finished, asked):
    found = export("tiny", *asked)
    rule = json.loads((asked[2].parent / "predictions_rule.json").read_text())
    assert (rule["temperature"], rule["threshold"], rule["label"]) == (TEMPERATURE, 0.5, "contradiction")
    assert (rule["scale"], rule["is_calibrated"], rule["trial"], rule["seed"]) == ("probability", True, "text1", 11)
    assert rule["n_rows"] == N_PAIRS == sum(rule["n_by_label"].values())
    assert rule["n_by_label"]["entailment"] == (found["Label"] == "entailment").sum()


def test_batches_and_file_format_change_nothing(finished, pairs, asked, tmp_path):
    export("tiny", *asked)
    first = table.read(asked[2])[0]
    pairs[1].to_csv(tmp_path / "pairs.csv", index=False, encoding="utf-16")
    (finished[0] / "params" / "tiny.yaml").write_text("execution: {device: cpu, feature_batch: 1000}\n")
    export("tiny", tmp_path / "pairs.csv", asked[1], tmp_path / "other.csv")
    (finished[0] / "params" / "tiny.yaml").write_text("execution: {device: cpu, feature_batch: 5}\n")
    other = table.read(tmp_path / "other.csv")[0]
    assert other["prob_entailment"].to_numpy() == pytest.approx(first["prob_entailment"].to_numpy(), abs=1e-6)
    columns = ["Image_ID", "Hypothesis", "Label"]
    pd.testing.assert_frame_equal(first[columns], other[columns])


def test_reading_again_gives_the_metric(finished, asked, tmp_path, capsys):
    found = export("tiny", *asked).drop_duplicates(["Image_ID", "Hypothesis"])
    truth = found[["Image_ID", "Hypothesis", "Label"]].copy()
    n_wrong = 5
    flipped = truth["Label"].map({"entailment": "contradiction", "contradiction": "entailment"})
    truth.loc[truth.index[:n_wrong], "Label"] = flipped
    truth.to_json(tmp_path / "truth.jsonl", orient="records", lines=True)
    score = table.score(asked[2], tmp_path / "truth.jsonl", STATISTICS)
    assert (score.n, score.n_without_label, score.is_unchanged) == (len(truth), 0, True)
    assert score.accuracy.value == pytest.approx(1 - n_wrong / len(truth))
    (finished[0] / "params" / "wide.yaml").write_text("statistics: {level: 0.8}\n")
    assert main(["--profile", "wide", "--check", str(asked[2]), "--labels", str(tmp_path / "truth.jsonl")]) == 0
    told = capsys.readouterr().out
    narrow = table.score(asked[2], tmp_path / "truth.jsonl", STATISTICS.model_copy(update={"level": 0.8})).accuracy
    assert f"[{narrow.low:.4f}, {narrow.high:.4f}]" in told and "(80% interval over images)" in told
    assert score.accuracy.low < narrow.low < narrow.high < score.accuracy.high
    assert f"accuracy {1 - n_wrong / len(truth):.4f}" in told and "as it was written" in told


def test_without_calibration_the_temperature_is_one(finished, asked):
    calibrated = export("tiny", *asked)
    record = stages.folder("tiny", "07_calibration") / "run.json"
    content = record.read_bytes()
    record.unlink()
    raw = export("tiny", *asked)
    record.write_bytes(content)
    odds = [np.log(found["prob_contradiction"] / found["prob_entailment"]) for found in (raw, calibrated)]
    assert odds[0].to_numpy() == pytest.approx(TEMPERATURE * odds[1].to_numpy(), abs=1e-9)
    assert raw["Label"].tolist() == calibrated["Label"].tolist()


def test_a_missing_image_is_refused_or_left_out(finished, pairs, asked, tmp_path, capsys):
    rows = pd.concat([pairs[1], pd.DataFrame({"Image_ID": ["nowhere"], "Hypothesis": ["two blue ones"]})])
    rows.to_json(asked[0], orient="records", lines=True)
    with pytest.raises(FileNotFoundError, match=r"1 images are not in .*'nowhere'"):
        export("tiny", *asked)
    assert not asked[2].exists()
    command = ["--profile", "tiny", "--pairs", str(asked[0]), "--images", str(asked[1]), "--out", str(asked[2])]
    assert main(command) == 2
    assert main([*command, "--skip-unusable-images"]) == 0
    told = capsys.readouterr()
    assert "1 images are not in" in told.err
    assert f"{N_PAIRS} rows" in told.out and "LEFT OUT: 1 rows of 1 images, the first: ['nowhere']" in told.out


def test_images_that_cannot_be_read_are_counted_and_named(finished, pairs, asked, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    for k in range(N_IMAGES):
        (folder / f"photo{k}.png").write_bytes((asked[1] / f"photo{k}.png").read_bytes())
    for name in ("photo0.png", "photo6.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(ValueError, match=r"2 of 7 images cannot be read: .*photo0\.png cannot be decoded.*photo6\.png"):
        export("tiny", asked[0], folder, asked[2])
    assert not asked[2].parent.exists()
    found = export("tiny", asked[0], folder, asked[2], skip=True)
    kept = ~pairs[1]["Image_ID"].isin(["photo0", "photo6"])
    assert found["Image_ID"].tolist() == pairs[1]["Image_ID"][kept].tolist()
    rule = json.loads(table.rule_path(asked[2]).read_text())
    assert rule["images_left_out"] == ["photo0", "photo6"]
    assert rule["n_rows_left_out"] == (~kept).sum()
    for k in range(N_IMAGES):
        (folder / f"photo{k}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"no row has an image in .* that can be read"):
        export("tiny", asked[0], folder, asked[2], skip=True)


def test_faulty_rows_are_named_and_nothing_is_written(finished, asked):
    asked[0].write_text('{"image": "photo0", "hypothesis": "two"}\n{"image": "photo1", "hypothesis": " "}\n')
    with pytest.raises(ValueError, match="line 2: hypothesis is empty"):
        export("tiny", *asked)
    assert not asked[2].exists()


@pytest.mark.parametrize("place", ["pairs", "link", "rule", "other", "other rule"])
def test_only_earlier_predictions_are_replaced(finished, asked, tmp_path, place):
    given, images, _ = asked
    given = given.rename(tmp_path / ("a_rule.json" if place == "rule" else "pairs.csv"))
    out = {"pairs": given, "rule": tmp_path / "a.csv", "other rule": tmp_path / "b.csv"}.get(place, tmp_path / "c.csv")
    if place == "link":
        out.symlink_to(given)
    elif place.startswith("other"):
        (out if place == "other" else table.rule_path(out)).write_text("[1]\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"is no (table|rule) of predictions|is the table of pairs.*name another OUT"):
        export("tiny", given, images, out)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_that_is_not_there_or_stale_is_refused(finished, asked):
    (finished[0] / "params" / "none.yaml").write_text("title: none\n")
    with pytest.raises(FileNotFoundError, match=r"no model is kept .*: make report PROFILE=none"):
        export("none", *asked)
    weights = stages.folder("tiny", stages.TRIAL_STAGE, "text1") / stages.weights_file(11)
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    with pytest.raises(RuntimeError, match=r"weights-s11\.npz does not match"):
        export("tiny", *asked)
    weights.write_bytes(content)
    config = finished[0] / "text" / "config.json"
    before = config.read_bytes()
    config.write_bytes(before + b"\n")
    with pytest.raises(RuntimeError, match="is not the one that the weights were trained on"):
        export("tiny", *asked)
    config.write_bytes(before)
    record = stages.folder("tiny", "04_model_selection") / "run.json"
    kept = record.read_bytes()
    write_json(record, {name: said for name, said in json.loads(kept).items() if name != SELF} | {"inputs": {}})
    with pytest.raises(RuntimeError, match="04_model_selection was made before"):
        export("tiny", *asked)
    record.write_bytes(kept)
    assert len(export("tiny", *asked)) == N_PAIRS


def small(labels=("entailment", "contradiction"), probs=(0.2, 0.7)):
    rows = {"Image_ID": ["=a", "b"], "Hypothesis": ["it, \"so\" 'said'", "-é"], "Label": labels}
    return pd.DataFrame({**rows, "prob_entailment": 1 - np.array(probs), "prob_contradiction": probs})


def test_a_written_file_comes_back_to_the_bit(tmp_path):
    path = tmp_path / "p.csv"
    table.write(path, small(probs=(1 / 3, 1 - 1e-17)), DecisionRule(), {})
    pd.testing.assert_frame_equal(table.read(path)[0], small(probs=(1 / 3, 1 - 1e-17)), check_exact=True)
    assert not [cell for line in path.read_text().splitlines()[1:] for cell in line.split(",")[:1] if cell[0] in "=+-@"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("Label", "Answer"), "expected the columns"),
        (lambda text: text.replace("contradiction,0", "maybe,0"), r"p\.csv, line 3: unknown label 'maybe'"),
        (lambda text: text.replace(",0.7", ",0.9"), "line 3: expected probabilities that sum to 1"),
        (lambda text: text.replace(",0.7", ",nan"), "line 3: expected probabilities that sum to 1"),
        (lambda text: text.replace(",0.7", ""), "line 3: 4 cells where the header has 5"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    path = tmp_path / "p.csv"
    table.write(path, small(), DecisionRule(), {})
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        table.read(path)


def test_a_tie_is_answered_by_the_rule_that_stands_beside_the_file(tmp_path):
    pairs = pd.DataFrame({"image_id": ["a", "b", "c"], "hypothesis": ["x", "y", "z"]})
    told = table.answers(pairs, np.array([[0.0, 0.0], [0.0, 1e-9], [0.0, -1e-9]]), DecisionRule())
    table.write(tmp_path / "p.csv", told, DecisionRule(), {})
    assert told["Label"].tolist() == ["entailment", "contradiction", "entailment"]
    rule = json.loads(table.rule_path(tmp_path / "p.csv").read_text())
    assert rule["meaning"].endswith("where prob_contradiction is above the threshold")
    assert (told["Label"] == "contradiction").tolist() == (told["prob_contradiction"] > rule["threshold"]).tolist()


def write_truth(path, rows):
    path.write_text(
        "".join(json.dumps(dict(zip(("image", "hypothesis", "label"), row, strict=True))) + "\n" for row in rows)
    )
    return path


@pytest.mark.parametrize(("n", "told"), [(1, "accuracy 1.0000 on 1 labelled"), (2, "accuracy 0.5000 [")])
def test_a_score_of_one_image_is_told_without_bounds(tmp_path, capsys, monkeypatch, n, told):
    monkeypatch.setattr(paths, "PARAMS", paths.LIBRARY.parents[1] / "params")
    pairs = [("=a", "it, \"so\" 'said'", "entailment"), ("b", "-é", "entailment")]
    truth = write_truth(tmp_path / "t.jsonl", pairs[:n])
    table.write(tmp_path / "p.csv", small(), DecisionRule(), {})
    assert main(["--check", str(tmp_path / "p.csv"), "--labels", str(truth), "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    assert told in said and "nan" not in said, said


def test_exchanged_labels_and_foreign_pairs_are_refused(tmp_path):
    path = tmp_path / "p.csv"
    truth = write_truth(tmp_path / "t.jsonl", [("=a", "it, \"so\" 'said'", "entailment"), ("b", "-é", "entailment")])
    table.write(path, small(), DecisionRule(), {})
    assert table.score(path, truth, STATISTICS).accuracy.value == 1 / 2
    path.write_text(path.read_text() + "c,x,entailment,0.9,0.1\n")
    found = table.score(path, truth, STATISTICS)
    assert (found.is_unchanged, found.n, found.n_without_label) == (False, 2, 1)
    path.write_text(path.read_text() + "c,x,contradiction,0.1,0.9\n")
    with pytest.raises(ValueError, match=r"the pair \('c', 'x'\) has two answers"):
        table.score(path, truth, STATISTICS)
    table.write(path, small(labels=("contradiction", "entailment")), DecisionRule(), {})
    with pytest.raises(ValueError, match=r"2 labels are not what p_rule\.json makes of their probabilities"):
        table.score(path, truth, STATISTICS)
    table.rule_path(path).unlink()
    assert table.score(path, truth, STATISTICS).is_unchanged is None
    with pytest.raises(ValueError, match=r"1 labelled pairs of .* have no prediction: .* with ending and folder"):
        table.score(path, write_truth(tmp_path / "u.jsonl", [("z", "y", "entailment")]), STATISTICS)


def test_a_label_that_breaks_the_rule_is_named_by_the_line_of_the_file(tmp_path):
    path = tmp_path / "p.csv"
    truth = write_truth(tmp_path / "t.jsonl", [("b", "-é", "entailment")])
    table.write(path, small(labels=("entailment", "entailment")), DecisionRule(), {})
    header, first, second = path.read_text().splitlines()
    path.write_text("\n".join(["sep=,", header, first, "", ",,,,", second]) + "\n")
    with pytest.raises(ValueError, match=r"1 labels are not .*, the first in line 6: were labels"):
        table.score(path, truth, STATISTICS)


def test_what_is_exported_of_the_largest_file_of_pairs_is_read_again(tmp_path, monkeypatch):
    """Of a table scaled down: the shortest rows become the longest, by marks and by both probabilities."""
    pairs = pd.DataFrame({"image_id": ["="] * 50, "hypothesis": ["€"] * 50})
    told = table.answers(pairs, np.tile([0.0, -9.23456789], (50, 1)), DecisionRule())
    table.write(tmp_path / "p.csv", told, DecisionRule(), {})
    asked = len("image,hypothesis\n" + "=,€\n" * 50)
    monkeypatch.setattr(table, "_MAX_BYTES", table._MAX_BYTES // MAX_FILE_BYTES * asked)
    assert len(table.read(tmp_path / "p.csv")[0]) == 50 < asked < (tmp_path / "p.csv").stat().st_size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--check", "p.csv"], "make export CHECK=a.csv LABELS=b.jsonl"),
        (["--labels", "t.csv"], "make export CHECK=a.csv LABELS=b.jsonl"),
        (["--pairs", "p.csv", "--images", "folder"], "make export PAIRS=new.jsonl IMAGES=folder OUT=a.csv"),
    ],
)
def test_an_incomplete_command_is_refused(given, message, capsys):
    with pytest.raises(SystemExit):
        main(given)
    assert message in capsys.readouterr().err


IN_A_PROCESS = """
import contextlib, io, json, sys
from verdict.model.export.__main__ import main
from verdict.workflow import stages
told = []
for is_finished, command in json.loads(sys.argv[1]):
    stages.finished = lambda *_: is_finished
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(command)
    told.append([status, out.getvalue(), err.getvalue()])
print(json.dumps([told, sorted({"keras", "torch", "tensorflow"} & sys.modules.keys())]))
"""


def test_what_needs_no_framework_imports_none(tmp_path):
    """What is missing is told with status 2 and one sentence, and nothing is written; a check compares tables."""
    (tmp_path / "images").mkdir()
    (tmp_path / "p.csv").write_text("image,hypothesis\na,b\n")
    commands, out = [], tmp_path / "out.csv"
    for missing in ("model", "pairs", "images"):
        named = {"pairs": "no" if missing == "pairs" else "p.csv", "images": "no" if missing == "images" else "images"}
        given = [part for name, file in named.items() for part in (f"--{name}", str(tmp_path / file))]
        commands.append((missing != "model", ["--profile", "smoke", "--out", str(out), *given]))
    table.write(tmp_path / "found.csv", small(), DecisionRule(), {})
    truth = write_truth(tmp_path / "t.jsonl", [("b", "-é", "contradiction")])
    commands.append((True, ["--check", str(tmp_path / "found.csv"), "--labels", str(truth)]))
    environment = {**os.environ, "PYTHONPATH": str(paths.LIBRARY.parent)}
    asked = [sys.executable, "-c", IN_A_PROCESS, json.dumps(commands)]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (*refused, checked), frameworks = json.loads(done.stdout)
    assert frameworks == [] and not out.exists()
    wanted = ("no model is kept of profile 'smoke'", "is missing", "is missing")
    for said, (status, _, err) in zip(wanted, refused, strict=True):
        assert status == 2 and said in err and err.count("\n") == 1
    assert checked[0] == 0 and "accuracy 1.0000" in checked[1]


def test_a_report_on_somebodys_answers_has_no_model_to_export(finished, asked):
    root, *_ = finished
    given = "data: {source: recorded, recorded: {val: v.npz, test: t.npz, class_names: [a, b]}}\n"
    (root / "params" / "given.yaml").write_text(given)
    with pytest.raises(ValueError, match="given has no model of its own to ask"):
        export("given", *asked)
    assert not asked[2].exists()
