"""Reports on other sources: pairs of one's own, the study's formats in miniature, saved logits, answers, a model asked.

The pages that only these show are made; what any source comes to alike, the smoke report shows.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mini_corpora import image_ids, write_a2, write_independent, write_snli_ve
from report_runs import (
    HOSTILE,
    PROFILE,
    copy_project,
    environment,
    made,
    numbers_of,
    pages_of,
    records,
    report,
    told,
)
from report_tools import Reader, assert_links, assert_sound
from tiny_assistant import write_assistant
from verdict.base.files.images import ImageStore
from verdict.data.digits import digits

pytestmark = pytest.mark.slow

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
statistics: {{n_resamples: 100}}
interpret: {{n_pairs: 40, mask_shares: [0.5], n_points: 60}}
policy: {{n_explained: 1, n_attribution_steps: 16}}
defects: {{n_images: 40}}
report: {{published: a2}}
"""


def test_pairs_of_ones_own_become_a_report_beside_what_the_study_printed(tmp_path):
    n_pairs = {"train": 512, "test": 256}
    chosen = digits.build(n_pairs=n_pairs, pairs_per_scene=6, seed=3, out=tmp_path / "store").pairs
    chosen = chosen[chosen["split"].isin(list(n_pairs))]
    store = ImageStore.open(tmp_path / "store")
    folder = tmp_path / "images"
    folder.mkdir()
    for image_id in chosen["image_id"].unique():
        store.thumbnail(image_id).save(folder / f"{image_id}.png")
    renamed = chosen.rename(columns={"image_id": "image"})[["image", "hypothesis", "label"]]
    renamed.to_csv(tmp_path / "pairs.csv", index=False, encoding="utf-16")
    own = OWN_PROFILE.format(table=tmp_path / "pairs.csv", images=folder)
    root = made(copy_project(tmp_path / "own"), own)
    work = root / "work" / PROFILE
    split = pd.read_parquet(work / "01_data" / "pairs.parquet")
    assert len(split) == len(chosen)
    assert split.groupby("image_id")["split"].nunique().max() == 1
    found = numbers_of(root, "05_test")
    assert found["test.n_pairs"].value == (split["split"] == "test").sum()
    pages = pages_of(root)
    assert "0.815" in pages["05_test"] and "printed as" in pages["05_test"].lower()
    people = visible(pages["08_policy"] + pages["08_with_people"])
    assert not re.search(r"votes|annotator|were recorded, one of whom", people)
    assert_links(root / "reports" / PROFILE)


STUDY_PROFILE = """
title: The study in miniature
data:
  source: a2
  a2: {independent: ind}
  snli_ve: {n_train: 120, n_val: 24}
"""


def test_the_studys_own_formats_become_pairs_whose_warmup_shows_nothing_that_is_evaluated(tmp_path):
    """A miniature of A2 and SNLI-VE that share every image; `test_full_size` trains on such pairs."""
    ids = write_a2(tmp_path, n_images=150)
    write_independent(tmp_path)
    write_snli_ve(tmp_path, ids, image_ids(12, start=150))
    root = copy_project(tmp_path / "study")
    (root / "params" / f"{PROFILE}.yaml").write_text(STUDY_PROFILE, encoding="utf-8")
    told(root, "verdict.workflow.run", "01_data", VERDICT_DATA=str(tmp_path))
    pairs = pd.read_parquet(root / "work" / PROFILE / "01_data" / "pairs.parquet")
    assert set(pairs["split"]) == {"warmup_train", "warmup_val", "train", "val", "calib", "test", "independent_hand"}
    numbers = numbers_of(root, "01_data")
    for split in ("val", "calib", "test"):
        n_images = pairs.loc[pairs["split"] == split, "image_id"].nunique()
        assert numbers[f"data.excluded.{split}.n_images"].value == n_images
    assert numbers["data.n_shared_images"].value == 0


# People's answers to test, groups, and rows of another distribution.
RECORDED_PROFILE = """
title: My logits
data:
  source: recorded
  recorded: {recorded}
policy:
  human: {{kind: votes}}
statistics: {{n_resamples: 100}}
"""
CLASSES = ["cat", "dog", "emu", *(f"animal {k}" for k in range(3, 10))]
# What saved logits are not, and what they do not have.
FOREIGN = re.compile(
    r"\b(images?|pictures?|pairs?|famil(?:y|ies)|independent sets|sentences?|hypothes[ie]s|entail\w*|generated|"
    r"hand-written|scenes?|skills?|"
    r"kept (trial|model)|seeds?|trials?|CLIP|published)\b",
    re.IGNORECASE,
)

SPEAKS_OF_ITS_DATA = ("index", "01_recorded", "07_calibration", "08_policy", "08_with_people", "09_independent_set")


def saved_logits(seed: int, *, n: int = 900, gain: float = 2.0) -> dict[str, np.ndarray]:
    """Logits that are twice too sure, their true classes, and sites of three rows."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, len(CLASSES)))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((n, 1)) > probs.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return {"logits": gain * logits, "labels": labels, "site": 10_000 * seed + np.arange(n) // 3}


def write_recorded(folder) -> str:
    """Archives, a table and counts of people's answers, and the profile that names them."""
    parts = {name: saved_logits(seed) for seed, name in enumerate(("val", "test", "independent"))}
    for name in ("val", "independent"):
        np.savez(folder / f"{name}.npz", **parts[name])
    test = parts["test"]
    table = pd.DataFrame(test["logits"], columns=[f"logit_{name}" for name in CLASSES])
    table = table.assign(label=np.array(CLASSES)[test["labels"]], site=test["site"])
    table.to_csv(folder / "test.csv", index=False)
    others = np.random.default_rng(3).integers(0, 3, (900, len(CLASSES)))
    np.savez(folder / "people.npz", counts=np.where(np.arange(len(CLASSES)) == test["labels"][:, None], 9, others))
    files = {"val": "val.npz", "test": "test.csv", "human_counts": "people.npz", "independent": "independent.npz"}
    recorded = {key: str(folder / name) for key, name in files.items()} | {"group": "site", "class_names": CLASSES}
    return RECORDED_PROFILE.format(recorded=json.dumps(recorded))


def visible(page: str) -> str:
    """What a page says of its data: prose, tables, captions, labels and descriptions of figures; no code, no record."""
    apart = r"(?s)<details class=\"code.*?</details>|<section class=\"(provenance|review)\".*?</section>|<nav.*?</nav>"
    seen = Reader(re.sub(apart, " ", page))
    return " ".join([seen.words, *(entry.get("alt", "") for entry in seen.all("img"))])


# Characters that shells, patterns and formats read, an accent in two ways, and more than a socket's path may hold.
ODD = Path("a b'c\"d$HOME{e}%f#\u00e9 cafe\u0301 `x` [y] & \\n;", "z" * 120)


def test_saved_logits_become_a_report_that_speaks_of_them_alone_and_goes_on(tmp_path, monkeypatch):
    """Without a plain path, a home or a short temporary folder, and whatever the user's shell and tools are told.

    The environment's Python lies below the same path; what Snakemake would read of the user asks for no run.
    """
    root = copy_project(tmp_path / ODD)
    (root / ".venv").symlink_to(sys.prefix)
    for folder in ("profiles/default", "own"):
        (root / folder).mkdir(parents=True)
        (root / folder / "config.yaml").write_text("dry-run: true\n")
    of_user = {**HOSTILE, "HOME": "/nonexistent/home", "PYTHONWARNINGS": "ignore"}
    of_user |= dict.fromkeys(("TMPDIR", "SNAKEMAKE_PROFILE"), str(root / "own"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(root / ".venv" / "bin" / "python"))
        made(root, write_recorded(tmp_path), **of_user)
    work, pages = root / "work" / PROFILE, pages_of(root)
    assert set(pages) == {*SPEAKS_OF_ITS_DATA, "review", "checklists", "13_reproducibility"}
    assert "Not everything has run" not in pages["index"] and "05_test" not in pages["index"]
    assert "Targets of" not in pages["index"]
    for name, text in pages.items():
        assert_sound(Reader(text))
        if name in SPEAKS_OF_ITS_DATA:
            assert not (found := FOREIGN.findall(visible(text))), (name, found[:5])
    assert_links(root / "reports" / PROFILE)
    assert "explanations" not in pages["review"] and "calibration and sets fitted" in pages["review"]
    assert "seed 0" not in pages["index"] + pages["07_calibration"]
    temperature = numbers_of(root, "07_calibration")["calibration.temperature_all"]
    assert temperature.low < 2.0 < temperature.high
    log = (work / "08_policy" / "audit.jsonl").read_text(encoding="utf-8")
    items = [json.loads(line) for line in log.rstrip("\n").split("\n")]
    pairs = pd.read_parquet(work / "01_recorded" / "pairs.parquet")
    judged = pairs[(pairs["split"] == "test") & ~pairs["is_tuning"]]
    assert [item["pair_id"] for item in items] == judged["pair_id"].tolist()
    assert {name for item in items for name in item["classes"]} == set(CLASSES)
    assert_goes_on(root, items)


def assert_goes_on(root, items):
    """The report's own test pairs as new cases, and the page on what became of them."""
    log, out = root / "work" / PROFILE / "08_policy" / "audit.jsonl", root / "work" / "decisions.jsonl"
    truth = pd.DataFrame({"pair_id": [one["pair_id"] for one in items], "label": [one["true_answer"] for one in items]})
    truth.to_csv(root / "work" / "labels.csv", index=False)
    told(root, "verdict.decide.log", "decide", "--in", log, "--out", out)
    told(root, "verdict.decide.log", "replay", "--log", out)
    told(root, "verdict.report.monitor", "--log", out, "--labels", root / "work" / "labels.csv")
    decided = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [one["decision"] for one in decided] == [one["decision"] for one in items]
    page = root / "reports" / PROFILE / "monitor.html"
    assert_sound(Reader(page.read_text(encoding="utf-8")))
    assert_links(page.parent)
    is_any_auto = any(one["decision"] == "auto" for one in decided)
    said = "Every drawn answer has its label." if is_any_auto else "No answer is drawn for a label, for none went out"
    assert said in visible(page.read_text(encoding="utf-8"))
    assert report(root).returncode == 0 and page.is_file()
    own = root / "params" / f"{PROFILE}.yaml"
    changed = yaml.safe_load(own.read_text(encoding="utf-8"))
    own.write_text(yaml.safe_dump(changed | {"policy": {**changed.get("policy", {}), "conformal_alpha": 0.23}}))
    with pytest.raises(AssertionError, match=r"parameters of .* were changed since its policy was tuned"):
        told(root, "verdict.decide.log", "decide", "--in", log, "--out", root / "work" / "other.jsonl")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The report of the worked example; every test leaves it whole."""
    root = copy_project(tmp_path_factory.mktemp("example") / "project")
    own = (root / "params" / "example.yaml").read_text(encoding="utf-8") + "statistics: {n_resamples: 100}\n"
    return made(root, own)


def test_the_worked_example_becomes_a_report(example):
    """A table of answers with images and votes; its test page is that of a trained model, without what it has not."""
    pages = pages_of(example)
    judging = {"05_test", "07_calibration", "08_policy", "09_independent_set"}
    assert {"index", "01_recorded", *judging, "13_reproducibility"} <= set(pages)
    again = visible(pages["13_reproducibility"])
    assert "Do the files give the stored numbers?" in again
    assert "stored weights" not in again and "seeds move it" not in again
    assert "log-probabilities of each class" in visible(pages["01_recorded"])
    shown = visible(pages["05_test"])
    assert "most confident mistakes" in shown and "without the image" not in shown and "published study" not in shown
    for page in pages.values():
        assert len(page) < 2_000_000
    assert_links(example / "reports" / PROFILE)
    accuracy = numbers_of(example, "01_recorded")["data.test.accuracy"].value
    assert numbers_of(example, "05_test")["test.accuracy"].value == accuracy


def test_lost_pages_are_rendered_again(example):
    pages, before = example / "reports" / PROFILE, records(example)
    lost = (pages / "08_policy.html", pages / "files" / "05_test.ipynb", pages / "index.html")
    for path in lost:
        path.unlink()
    done = report(example)
    assert done.returncode == 0 and "the pages are rendered again: " in done.stderr
    assert all(path.is_file() for path in lost) and records(example) == before


def test_a_prose_edit_renders_and_executes_nothing_and_a_refused_page_is_never_up_to_date(example):
    notebook, before = example / "notebooks" / "05_test.ipynb", records(example)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"][1:] if cell["cell_type"] == "markdown")
    for added in ("{{ test.no_such }}", "A heron passed; accuracy is {{ test.accuracy }}."):
        edited = {**cell, "source": [*cell["source"], f"\n\n{added}"]}
        cells = [edited if one is cell else one for one in content["cells"]]
        notebook.write_text(json.dumps(content | {"cells": cells}), encoding="utf-8")
        done = report(example)
        if "no_such" in added:
            done = report(example)
            assert done.returncode != 0 and "up to date after" not in done.stderr
            assert "refused: 05_test.ipynb, cell " in done.stderr and "is NOT complete" in done.stderr
    assert done.returncode == 0, done.stderr[-2000:]
    assert records(example) == before
    assert "A heron passed; accuracy is " in pages_of(example)["05_test"]


ASKED_PROFILE = """
title: A model that is asked
data:
  source: answers
  answers:
    table: "{table}"
    images: lib/verdict/data/own/example/images
    model: {{hub: "{hub}", prompt: "{{hypothesis}} Yes or no ?", batch: 1}}
statistics: {{n_resamples: 100}}
policy: {{human: {{kind: votes}}}}
"""


def test_a_model_that_is_asked_decides_as_its_report_and_a_run_that_ended_goes_on(tmp_path):
    """A tiny LLaVA with random weights; the table says nothing of a model."""
    root = copy_project(tmp_path / "asked")
    hub = write_assistant(tmp_path / "llava")
    rows = pd.read_csv(root / "lib/verdict/data/own/example/answers.csv").head(200)
    rows.drop(columns=["logprob_yes", "logprob_no"]).to_csv(tmp_path / "pairs.csv", index=False)
    own = ASKED_PROFILE.format(table=tmp_path / "pairs.csv", hub=hub)
    (root / "params" / f"{PROFILE}.yaml").write_text(own, encoding="utf-8")
    said, stage = root / "work" / PROFILE / "transcripts", "01_recorded"

    def lines():
        return [line for path in said.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]

    asking = [sys.executable, "-m", "verdict.workflow.run", stage, "--profile", PROFILE]
    with subprocess.Popen(asking, cwd=root, env=environment(root), stderr=subprocess.DEVNULL) as first:
        while first.poll() is None and len(lines()) < 20:
            time.sleep(0.05)
        first.terminate()
    before = lines()
    assert 20 <= len(before) < len(rows)
    for name in (stage, "07_calibration", "08_policy"):
        told(root, "verdict.workflow.run", name)
    after = lines()
    assert after[: len(before)] == before
    assert len({tuple(json.loads(line)[:2]) for line in after}) == len(after) == len(rows)
    told(root, "verdict.report", "--page", stage)
    shown = visible(pages_of(root)[stage])
    assert "The model is llava (a folder)" in shown and "Yes or no ?" in shown and str(tmp_path) not in shown
    predictions = pd.read_parquet(root / "work" / PROFILE / stage / "predictions.parquet")
    assert sorted(predictions["logit_0"]) == sorted(json.loads(line)[2] for line in after)
    # What it says of new pairs is asked as well; it has been asked about these, and is not asked again.
    new, out = tmp_path / "new.csv", tmp_path / "decisions.jsonl"
    rows[["image", "hypothesis"]].to_csv(new, index=False)
    place = ["--in", new, "--images", root / "lib/verdict/data/own/example/images", "--out", out]
    told(root, "verdict.decide.log", "decide", *place)
    assert lines() == after
    reported, decided = (
        {one["pair_id"]: one for one in map(json.loads, path.read_bytes().splitlines())}
        for path in (root / "work" / PROFILE / "08_policy" / "audit.jsonl", out)
    )
    assert len(decided) == len(rows) and len(reported) > 0 and set(reported) <= set(decided)
    for pair, item in reported.items():
        for name in ("logits", "model_answer"):
            assert item[name] == decided[pair][name]
        assert item["score"] == pytest.approx(decided[pair]["score"], abs=1e-12)
