"""A whole smoke report in a copy of the project: complete, then unchanged, edited, killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mini_corpora import image_ids, write_a2, write_independent, write_snli_ve
from verdict import paths
from verdict import stage as stages
from verdict.data.images import ImageStore
from verdict.export.table import score
from verdict.numbers import Numbers
from verdict.params import load_params

pytestmark = pytest.mark.slow
PROFILE = "smoke"
LIMIT_S = 600


def copy_project(target: Path) -> Path:
    """The files that git tracks or would track, and nothing that a run has left."""
    listed = subprocess.run(
        ["git", "-C", str(paths.ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source = paths.ROOT / name
        if source.is_file() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def environment(root: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VERDICT", "JUPYTER", "PYTEST"))}
    return {**kept, "VERDICT_ROOT": str(root), "PYTHONPATH": str(root / "lib")}


def command() -> list[str]:
    return [sys.executable, "-m", "verdict.pipeline", "--profile", PROFILE, "--cores", "2"]


def report(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {**environment(root), **variables}
    return subprocess.run(command(), cwd=root, env=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def stored_numbers(root: Path) -> dict[str, dict]:
    """Every stored number of the profile, by file; how long the run took is none of its results."""
    folder = root / "work" / PROFILE
    found = sorted(path for path in folder.rglob("numbers.json") if "scratch" not in path.parts)
    stored = {str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8")) for path in found}
    return {file: {k: v for k, v in numbers.items() if k != "repro.total_min"} for file, numbers in stored.items()}


def records(root: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in (root / "work" / PROFILE).rglob("run.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    root = copy_project(tmp_path_factory.mktemp("finished") / "project")
    done = report(root)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip().endswith(f"reports/{PROFILE}/index.html")
    return root


def test_every_stage_leaves_a_record_and_a_page(finished):
    params = load_params(PROFILE)
    for spec in stages.SPECS:
        for trial, seed in stages.runs(params) if spec.name == stages.TRIAL_STAGE else [(None, None)]:
            folder = "/".join(filter(None, [spec.name, stages.instance(trial, seed)]))
            assert (finished / "work" / PROFILE / folder / "run.json").is_file(), folder
            if spec.name not in stages.WITHOUT_NOTEBOOK:
                page = "-".join(filter(None, [spec.name, stages.instance(trial, seed)]))
                assert (finished / "reports" / PROFILE / f"{page}.html").is_file(), page


def test_every_number_with_an_interval_lies_in_it(finished):
    checked = 0
    for name in stored_numbers(finished):
        for number in Numbers.load(finished / "work" / PROFILE / name).values():
            if number.low is not None:
                assert number.low <= number.high
                checked += 1
    assert checked > 20


def test_exported_predictions_give_the_reports_accuracy(finished, tmp_path):
    """The test split, as if nobody had labelled it: exported, read again, compared with its labels."""
    pairs = pd.read_parquet(finished / "work" / PROFILE / "01_data" / "pairs.parquet")
    pairs = pairs[pairs["split"] == "test"]
    store = ImageStore.open(finished / "work" / PROFILE / "01_data" / "images")
    (tmp_path / "images").mkdir()
    for image_id in pairs["image_id"].unique():
        store.thumbnail(image_id).save(tmp_path / "images" / f"{image_id}.png")
    renamed = pairs.rename(columns={"image_id": "Image_ID", "hypothesis": "Hypothesis", "label": "Label"})
    renamed[["Image_ID", "Hypothesis"]].to_json(tmp_path / "unseen.jsonl", orient="records", lines=True)
    renamed[["Image_ID", "Hypothesis", "Label"]].to_json(tmp_path / "truth.jsonl", orient="records", lines=True)
    out = tmp_path / "predictions.csv"
    options = ["--pairs", tmp_path / "unseen.jsonl", "--images", tmp_path / "images", "--out", out]
    for arguments in (["--profile", PROFILE, *options], ["--check", out, "--labels", tmp_path / "truth.jsonl"]):
        command = [sys.executable, "-m", "verdict.export", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=finished, env=environment(finished), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    found = score(out, tmp_path / "truth.jsonl")
    numbers = Numbers.load(finished / "work" / PROFILE / "05_test" / "numbers.json")
    assert found.accuracy.value == numbers["test.accuracy"].value
    assert found.macro_f1.value == pytest.approx(numbers["test.macro_f1"].value, abs=1e-12)
    assert f"accuracy {found.accuracy.value:.4f}" in done.stdout


def test_a_second_report_executes_nothing(finished):
    before = records(finished)
    done = report(finished)
    assert done.returncode == 0, done.stderr[-2000:]
    assert records(finished) == before


def test_a_prose_edit_renders_and_executes_nothing(finished):
    notebook = finished / "notebooks" / "05_test.ipynb"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"][1:] if cell["cell_type"] == "markdown")
    cell["source"] = [*cell["source"], "\n\nA reviewer's heron passed; accuracy is {{ test.accuracy }}."]
    before = records(finished)
    notebook.write_text(json.dumps(content), encoding="utf-8")
    done = report(finished)
    assert done.returncode == 0, done.stderr[-2000:]
    assert records(finished) == before
    assert "reviewer’s heron" in (page := (finished / "reports" / PROFILE / "05_test.html").read_text()) or (
        "reviewer's heron" in page or "reviewer&#x27;s heron" in page or "reviewer&#39;s heron" in page
    )


def test_a_killed_run_goes_on_to_the_same_numbers(finished, tmp_path):
    root = copy_project(tmp_path / "killed")
    process = subprocess.Popen(
        command(),
        cwd=root,
        env=environment(root),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    checkpoints = root / "work" / PROFILE / "checkpoints"
    deadline = time.monotonic() + LIMIT_S
    while not (checkpoints / "frozen-s11.npz").is_file():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (root / "reports" / PROFILE / "index.html").exists()
    done = report(root)
    assert done.returncode == 0, done.stderr[-4000:]
    assert stored_numbers(root) == stored_numbers(finished)


class _References(HTMLParser):
    """What a page would load, and pictures without a description."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "link", "source", "object", "embed"):
            self.loads += [attributes[key] for key in ("src", "href", "data") if attributes.get(key)]
        if tag == "img" and not attributes.get("alt"):
            self.silent.append(str(attributes)[:100])


def test_no_page_asks_the_network_and_every_figure_has_words(finished):
    pages = sorted((finished / "reports" / PROFILE).glob("*.html"))
    assert len(pages) > 10
    for page in pages:
        seen = _References()
        seen.feed(page.read_text(encoding="utf-8"))
        assert not [url for url in seen.loads if url.startswith(("http:", "https:", "//"))], page.name
        assert not seen.silent, page.name


def test_a_wrong_parameter_stops_before_anything_runs(finished, tmp_path):
    root = copy_project(tmp_path / "wrong")
    with (root / "params" / f"{PROFILE}.yaml").open("a", encoding="utf-8") as file:
        file.write("\ncalibrat:\n  ece_bins: 15\n")
    done = report(root)
    assert done.returncode == 2
    assert "calibrat" in done.stderr and "did you mean 'calibrate'" in done.stderr
    assert not (root / "work").exists()


OWN_PROFILE = """
title: My pairs
data:
  source: csv
  csv: {{table: "{table}", images: "{images}"}}
training:
  seeds: [11]
  batch_size: 64
  warmup: {{epochs: 1}}
  trials:
    - {{name: frozen, parent: warmup, vision_blocks: 0, text_blocks: 0, learning_rate: 1.0e-3, weight_decay: 1.0e-2,
       dropout: 0.1, epochs: 1, patience: 1, schedule: constant}}
statistics: {{n_resamples: 200}}
interpret: {{n_pairs: 40, mask_shares: [0.5], n_points: 60}}
policy: {{n_explained: 1, n_attribution_steps: 16}}
"""


def test_pairs_of_ones_own_become_a_report(finished, tmp_path):
    pairs = pd.read_parquet(finished / "work" / PROFILE / "01_data" / "pairs.parquet")
    store = ImageStore.open(finished / "work" / PROFILE / "01_data" / "images")
    chosen = pairs[pairs["split"].isin(["train", "test"])]
    folder = tmp_path / "images"
    folder.mkdir()
    for image_id in chosen["image_id"].unique():
        store.thumbnail(image_id).save(folder / f"{image_id}.png")
    renamed = chosen.rename(columns={"image_id": "image"})[["image", "hypothesis", "label"]]
    renamed.to_csv(tmp_path / "pairs.csv", index=False, encoding="utf-16")
    root = copy_project(tmp_path / "own")
    own = OWN_PROFILE.format(table=tmp_path / "pairs.csv", images=folder)
    (root / "params" / f"{PROFILE}.yaml").write_text(own, encoding="utf-8")
    done = report(root)
    assert done.returncode == 0, done.stderr[-4000:]
    split = pd.read_parquet(root / "work" / PROFILE / "01_data" / "pairs.parquet")
    assert len(split) == len(chosen)
    assert split.groupby("image_id")["split"].nunique().max() == 1
    numbers = Numbers.load(root / "work" / PROFILE / "05_test" / "numbers.json")
    assert numbers["test.n_pairs"].value == (split["split"] == "test").sum()


STUDY_PROFILE = """
title: The study in miniature
data:
  source: a2
  a2: {independent: ind}
  snli_ve: {n_train: 120, n_val: 24}
training:
  seeds: [11, 23]
  batch_size: 32
  warmup: {epochs: 1}
  trials:
    - {name: frozen, parent: warmup, vision_blocks: 0, text_blocks: 0, learning_rate: 1.0e-3, weight_decay: 1.0e-2,
       dropout: 0.1, epochs: 1, patience: 1, schedule: constant}
    - {name: text2, parent: frozen, vision_blocks: 0, text_blocks: 2, learning_rate: 1.0e-3, weight_decay: 1.0e-2,
       dropout: 0.1, epochs: 1, patience: 1, schedule: constant}
statistics: {n_resamples: 200}
interpret: {n_pairs: 40, mask_shares: [0.5], n_points: 60}
policy: {n_explained: 1, n_attribution_steps: 16}
report: {published: a2}
"""


def test_the_studys_own_formats_become_a_report(tmp_path):
    """A miniature of A2 and SNLI-VE that share every image: the warm-up shows none that is evaluated."""
    ids = write_a2(tmp_path, n_images=150)
    write_independent(tmp_path)
    write_snli_ve(tmp_path, ids, image_ids(12, start=150))
    root = copy_project(tmp_path / "study")
    (root / "params" / f"{PROFILE}.yaml").write_text(STUDY_PROFILE, encoding="utf-8")
    done = report(root, VERDICT_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    pairs = pd.read_parquet(root / "work" / PROFILE / "01_data" / "pairs.parquet")
    assert set(pairs["split"]) == {"warmup_train", "warmup_val", "train", "val", "calib", "test", "independent_hand"}
    numbers = Numbers.load(root / "work" / PROFILE / "01_data" / "numbers.json")
    for split in ("val", "calib", "test"):
        n_images = pairs.loc[pairs["split"] == split, "image_id"].nunique()
        assert numbers[f"data.excluded.{split}.n_images"].value == n_images
    assert numbers["data.n_shared_images"].value == 0
    page = (root / "reports" / PROFILE / "05_test.html").read_text(encoding="utf-8")
    assert "0.815" in page
    assert "printed as" in page.lower()


RECORDED_PROFILE = """
title: My logits
data:
  source: recorded
  recorded:
    val: "{folder}/val.npz"
    test: "{folder}/test.csv"
    independent: "{folder}/independent.npz"
    human_counts: "{folder}/people.npz"
    class_names: [cat, dog, emu]
    group: site
policy:
  human: {{kind: votes}}
statistics: {{n_resamples: 200}}
"""


def saved_logits(seed: int, *, n: int = 900, gain: float = 2.0) -> dict[str, np.ndarray]:
    """Logits that are twice too sure, their true classes, and sites of three rows."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 3))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((n, 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
    return {"logits": gain * logits, "labels": labels, "site": 10_000 * seed + np.arange(n) // 3}


def test_saved_logits_become_a_report(tmp_path):
    parts = {name: saved_logits(seed) for seed, name in enumerate(("val", "test", "independent"))}
    for name in ("val", "independent"):
        np.savez(tmp_path / f"{name}.npz", **parts[name])
    test = parts["test"]
    table = pd.DataFrame(test["logits"], columns=["logit_cat", "logit_dog", "logit_emu"])
    table.assign(label=np.array(["cat", "dog", "emu"])[test["labels"]], site=test["site"]).to_csv(
        tmp_path / "test.csv", index=False
    )
    counts = np.where(np.arange(3) == test["labels"][:, None], 9, np.random.default_rng(3).integers(0, 3, (900, 3)))
    np.savez(tmp_path / "people.npz", counts=counts)
    root = copy_project(tmp_path / "recorded")
    (root / "params" / f"{PROFILE}.yaml").write_text(RECORDED_PROFILE.format(folder=tmp_path), encoding="utf-8")
    done = report(root)
    assert done.returncode == 0, done.stderr[-4000:]
    pages = {path.stem for path in (root / "reports" / PROFILE).glob("*.html")}
    assert pages == {"index", "01_recorded", "07_calibration", "08_policy", "09_independent_set"}
    index = (root / "reports" / PROFILE / "index.html").read_text(encoding="utf-8")
    assert "Not everything has run" not in index and "05_test" not in index and "Targets of" not in index
    for path in (root / "reports" / PROFILE).glob("*.html"):
        seen = _References()
        seen.feed(path.read_text(encoding="utf-8"))
        assert not seen.silent, path.name
    numbers = Numbers.load(root / "work" / PROFILE / "07_calibration" / "numbers.json")
    low, high = numbers["calibration.temperature_all"].low, numbers["calibration.temperature_all"].high
    assert low < 2.0 < high
    log = (root / "work" / PROFILE / "08_policy" / "audit.jsonl").read_text(encoding="utf-8")
    items = [json.loads(line) for line in log.rstrip("\n").split("\n")]
    pairs = pd.read_parquet(root / "work" / PROFILE / "01_recorded" / "pairs.parquet")
    judged = pairs[(pairs["split"] == "test") & ~pairs["is_tuning"]]
    assert [item["pair_id"] for item in items] == judged["pair_id"].tolist()
    assert {name for item in items for name in item["classes"]} == {"cat", "dog", "emu"}


def test_missing_logits_stop_before_anything_runs(tmp_path):
    root = copy_project(tmp_path / "missing")
    (root / "params" / f"{PROFILE}.yaml").write_text(RECORDED_PROFILE.format(folder=tmp_path), encoding="utf-8")
    done = report(root)
    assert done.returncode == 2
    assert "nothing was run: data.recorded.val" in done.stderr and "give an .npz with `logits`" in done.stderr
    assert not (root / "work").exists()
