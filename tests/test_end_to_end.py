"""A whole smoke report in a copy of the project: killed and resumed, complete, unchanged, edited, on tensorflow."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.bench import installation
from tests.chaos.faults import LEFT_AFTER_S
from tests.chaos.subject import Subject

from browser import Browser
from report_runs import LIMIT_S, PROFILE, command, copy_project, environment, made, numbers_of, records, report, told
from report_tools import Reader, assert_links, assert_sound, exhibits_of, shows_number
from verdict.base.artifacts import read_run
from verdict.base.files.images import ImageStore
from verdict.base.numbers import ESTIMATE, KINDS, Numbers
from verdict.base.params import load_params
from verdict.model.export.table import score
from verdict.model.lineage import least_trained
from verdict.report.executions import find_executions
from verdict.report.template import new_notebook
from verdict.workflow import stages, start
from verdict.workflow.declarations import CLIP_SPECS

pytestmark = pytest.mark.slow


HAS_PROC = Path("/proc/self/environ").exists()
# The page that counts what the report holds.
LAST = {stages.REPRODUCIBILITY}


def executed_since(before: dict[str, float], after: dict[str, float]) -> set[str]:
    """Stages that had a record before, and have another one now."""
    return {Path(path).parent.name for path in before.keys() & after.keys() if before[path] != after[path]}


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", root, "-c", "user.name=n", "-c", "user.email=e", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def in_git(root: Path) -> Path:
    """A project under version control, as it is unpacked."""
    for arguments in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "as it is unpacked"]):
        git(root, *arguments)
    return root


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, dict[int, str]]:
    """A report that was killed, and nothing of what it had started, once a trial was half trained; and what is left."""
    root = in_git(copy_project(tmp_path_factory.mktemp("finished") / "project"))
    subject, deadline = Subject(PROFILE, root, cores=2), time.monotonic() + LIMIT_S
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begun = subprocess.Popen(command(), cwd=root, env=environment(root), start_new_session=True, **quiet)
    while not (root / "work" / PROFILE / "checkpoints" / "frozen-s11.npz").is_file():
        assert begun.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if not HAS_PROC:
        os.killpg(begun.pid, signal.SIGKILL)
    assert not HAS_PROC or subject.processes(start.KERNEL)
    begun.kill()
    begun.wait()
    left, deadline = {}, time.monotonic() + LEFT_AFTER_S
    while HAS_PROC and (left := subject.commands()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (root / "reports" / PROFILE / "index.html").exists()
    return root, left


@pytest.fixture(scope="module")
def finished(killed) -> Path:
    """The report that was killed and has gone on to its end; every test but the last leaves it whole."""
    root, _ = killed
    done = report(root)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip().endswith(f"reports/{PROFILE}/index.html")
    return root


@pytest.mark.skipif(not HAS_PROC, reason="needs Linux's /proc to look at processes")
def test_what_kills_a_run_ends_its_stages_and_kernels(killed):
    assert killed[1] == {}


def test_a_killed_run_goes_on_to_the_committed_numbers(finished):
    found = installation.collect(finished / "work" / PROFILE)
    assert [str(difference) for difference in installation.compare(pd.read_csv(installation.TABLE), found)] == []


def test_every_stage_leaves_a_record_and_a_page(finished):
    params = load_params(PROFILE)
    for name, trial in stages.executions(params):
        folder = "/".join(filter(None, [name, trial]))
        assert (finished / "work" / PROFILE / folder / "run.json").is_file(), folder
        if name not in stages.WITHOUT_NOTEBOOK:
            assert (finished / "reports" / PROFILE / f"{stages.page(name, trial)}.html").is_file(), folder


def test_a_run_changes_no_file_that_git_tracks_and_leaves_none_that_it_would(finished):
    assert git(finished, "status", "--porcelain") == ""
    for path in (finished / "work" / PROFILE).rglob("run.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert (record["commit"], record["dirty"]) == (git(finished, "rev-parse", "HEAD").strip(), False)


def test_every_number_says_what_it_is_and_lies_in_its_interval(finished):
    stored = [Numbers.load(path) for path in (finished / "work" / PROFILE).rglob("numbers.json")]
    numbers = [number for found in stored for number in found.values()]
    assert {number.kind for number in numbers} <= set(KINDS)
    with_interval = [number for number in numbers if number.low is not None]
    assert {number.kind for number in with_interval} == {ESTIMATE} and len(with_interval) > 20
    assert all(number.low - 1e-12 <= number.value <= number.high + 1e-12 for number in with_interval)


def links_of(path: Path) -> set[str]:
    return {address["href"] for address in Reader(path.read_text(encoding="utf-8")).all("a")}


def test_every_claim_leads_to_an_exhibit_that_shows_its_number(finished):
    """The links of the index are followed: each leads to a row that opens an exhibit which holds value and interval."""
    linked = {path.stem: links_of(path) for path in (finished / "reports" / PROFILE).glob("*.html")}
    n_claims = 0
    for execution in find_executions(PROFILE, work=finished / "work" / PROFILE):
        exhibits = exhibits_of(execution.executed) if execution.executed else {}
        for claim in execution.claims:
            assert claim.exhibit in exhibits, (execution.name, claim.id, claim.exhibit)
            anchor, data = exhibits[claim.exhibit]
            assert f"{execution.name}.html#claim-{claim.id}" in linked["index"], (execution.name, claim.id)
            assert f"#{anchor}" in linked[execution.name], (execution.name, claim.id)
            assert shows_number(data, execution.numbers[claim.number]), (execution.name, claim.id, claim.number)
            n_claims += 1
    assert n_claims > 40


def unseen(root: Path, folder: Path) -> pd.DataFrame:
    """The pairs of the test split, as if nobody had labelled them; their pictures go below a folder."""
    pairs = pd.read_parquet(root / "work" / PROFILE / "01_data" / "pairs.parquet")
    pairs = pairs[pairs["split"] == "test"]
    store = ImageStore.open(root / "work" / PROFILE / "01_data" / "images")
    (folder / "images").mkdir()
    for image_id in pairs["image_id"].unique():
        store.thumbnail(image_id).save(folder / "images" / f"{image_id}.png")
    return pairs


def test_exported_predictions_give_the_reports_accuracy(finished, tmp_path):
    """The test split: exported, read again, compared with its labels."""
    renamed = unseen(finished, tmp_path).rename(
        columns={"image_id": "Image_ID", "hypothesis": "Hypothesis", "label": "Label"}
    )
    renamed[["Image_ID", "Hypothesis"]].to_json(tmp_path / "unseen.jsonl", orient="records", lines=True)
    renamed[["Image_ID", "Hypothesis", "Label"]].to_json(tmp_path / "truth.jsonl", orient="records", lines=True)
    out = tmp_path / "predictions.csv"
    options = ["--pairs", tmp_path / "unseen.jsonl", "--images", tmp_path / "images", "--out", out]
    for arguments in (options, ["--check", out, "--labels", tmp_path / "truth.jsonl"]):
        said = told(finished, "verdict.model.export", *arguments)
    found = score(out, tmp_path / "truth.jsonl", load_params(PROFILE).statistics)
    numbers = Numbers.load(finished / "work" / PROFILE / "05_test" / "numbers.json")
    assert found.accuracy.value == numbers["test.accuracy"].value
    assert found.macro_f1.value == pytest.approx(numbers["test.macro_f1"].value, abs=1e-12)
    assert f"accuracy {found.accuracy.value:.4f}" in said


def items_of(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def test_the_reports_own_models_decide_a_table_of_pairs_as_the_report_did(finished, tmp_path):
    """The test split, as pictures and sentences: signals, scores and decisions are those of page 08; then some more."""
    pairs, out = unseen(finished, tmp_path), tmp_path / "out.jsonl"
    table = pairs.rename(columns={"image_id": "image", "group_id": "group"})[["image", "hypothesis", "group"]]
    for n in (100, len(table)):
        table.iloc[:n].to_csv(tmp_path / "new.csv", index=False)
        place = ["--in", tmp_path / "new.csv", "--images", tmp_path / "images", "--out", out]
        said = told(finished, "verdict.decide.log", "decide", *place)
    assert "passed over 100" in said
    ours = items_of(out)
    theirs = {item["pair_id"]: item for item in items_of(finished / "work" / PROFILE / "08_policy" / "audit.jsonl")}
    assert [item["pair_id"] for item in ours] == pairs["pair_id"].tolist() and len(theirs) == len(ours)
    for item in ours:
        own = theirs[item["pair_id"]]
        for name in ("decision", "forced_by", "conformal_set", "model_answer", "hypothesis", "image_id", "group_id"):
            assert item[name] == own[name], name
        assert item["signals"] == pytest.approx(own["signals"], abs=1e-6)
        assert [item["score"], item["consistency"]] == pytest.approx([own["score"], own["consistency"]], abs=1e-6)
        assert [*item["probs"], item["foreign"]] == pytest.approx([*own["probs"], own["foreign"]], abs=1e-6)
    assert len({item["foreign"] for item in ours}) > 20 and len({item["score"] for item in ours}) > 100
    assert "identical" in told(finished, "verdict.decide.log", "replay", "--log", out)


def test_a_run_of_decisions_that_is_killed_goes_on_to_the_same_bytes(finished, tmp_path):
    """SIGKILL, at sizes of the log that are drawn."""
    items = items_of(finished / "work" / PROFILE / "08_policy" / "audit.jsonl")
    given = [
        {name: item[name] for name in ("hypothesis", "logits", "signals", "consistency", "foreign")} for item in items
    ]
    rows = [given[k % len(given)] | {"pair_id": f"case-{k}", "group": f"group-{k // 3}"} for k in range(8000)]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    place = ["decide", "--in", tmp_path / "new.jsonl", "--out"]
    told(finished, "verdict.decide.log", *place, tmp_path / "whole.jsonl")
    whole, out, n_killed = (tmp_path / "whole.jsonl").read_bytes(), tmp_path / "out.jsonl", 0
    out.touch()
    command = [sys.executable, "-m", "verdict.workflow.start", "verdict.decide.log", *map(str, place), str(out)]
    command += ["--profile", PROFILE]
    for size in sorted(np.random.default_rng(7).integers(len(whole), size=4)):
        begun = subprocess.Popen(command, cwd=finished, env=environment(finished), stdout=subprocess.DEVNULL)
        while begun.poll() is None and out.stat().st_size <= size:
            time.sleep(0.002)
        begun.kill()
        n_killed += begun.wait() == -signal.SIGKILL
    assert n_killed >= 2 and whole.startswith(out.read_bytes())
    assert "passed over" in told(finished, "verdict.decide.log", *place, out)
    assert out.read_bytes() == whole and whole.count(b"\n") == len(rows)


def test_page_05_reads_the_answers_that_it_needs_alone(finished):
    """Every run stores its answers to test; those of trials that were not kept are scored on no page."""
    work = finished / "work" / PROFILE
    kept = pd.read_parquet(work / "04_model_selection" / "selection.parquet").iloc[0]
    params = load_params(PROFILE)
    least = least_trained(params.training.trials).name
    controls = {trial.name for trial in params.training.trials if trial.role == "control"}
    needed = {kept["trial"], kept["frozen"], kept["unfrozen"], least, *controls}
    record = json.loads((work / "05_test" / "run.json").read_text(encoding="utf-8"))
    read = {Path(name).parts[-2].rsplit("-s", 1)[0] for name in record["inputs"] if stages.TRIAL_STAGE in name}
    assert kept["trial"] in read and read <= needed < {trial.name for trial in params.training.trials}


def test_a_second_report_executes_nothing(finished):
    before = records(finished)
    done = report(finished)
    assert done.returncode == 0, done.stderr[-2000:]
    assert records(finished) == before


# Whatever the backend, these are of the same pairs and weights that were trained alike.
COMPARED = ("test.accuracy", "test.macro_f1", "test.nll")


def test_the_smoke_report_goes_on_on_tensorflow_and_scores_as_on_torch(finished, tmp_path):
    """Another backend in the parameters of a report that is whole: what a network takes part in is made again."""
    root = shutil.copytree(finished, tmp_path / "other", symlinks=True)
    before, smoke = records(root), (root / "params" / f"{PROFILE}.yaml").read_text(encoding="utf-8")
    # One seed: each fit is traced anew.
    made(root, smoke.replace("seeds: [11, 23]", "seeds: [11]") + "\nmodel: {backend: tensorflow}\n")
    kept = {Path(path).parent.name for path, time_s in records(root).items() if before[path] == time_s}
    assert kept == {"01_data"} | {spec.name for spec in CLIP_SPECS} - {stages.CLIP_MODEL}
    assert read_run(root / "work" / PROFILE / "02_warmup")["params"]["model"]["backend"] == "tensorflow"
    found, torch = numbers_of(root, "05_test"), numbers_of(finished, "05_test")
    for name in COMPARED:
        # Backends draw their own dropout and first weights, which an interval over images does not cover.
        assert found[name].low <= torch[name].high and torch[name].low <= found[name].high, name
    assert numbers_of(root, "13_reproducibility")["repro.logit_difference"].value < 1e-4


def test_every_page_is_light_and_sound_and_opens_in_a_browser_without_a_network(finished, tmp_path):
    pages = sorted((finished / "reports" / PROFILE).glob("*.html"))
    assert len(pages) > 10
    assert_links(pages[0].parent)
    assert (pages[0].parent / "index.html").stat().st_size <= 400_000
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert_sound(Reader(text))
        assert len(re.sub(r'src="data:image/[^"]*"', "", text).encode()) <= 1_000_000, page.name
    with Browser(tmp_path / "chromium") as browser:
        for page in pages:
            browser.open(page, width=390)
            assert (browser.requests(), browser.problems()) == ([], []), page.name
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.name


def test_a_notebook_comes_and_no_other_runs_and_goes_undeclared(finished):
    """Under a name and a question of any characters; the last test of this report, which is not whole afterwards."""
    name, before = "14_What's new? (50 % & more) größe", records(finished)
    declarations = finished / "lib" / "verdict" / "workflow" / "declarations.py"
    notebook, page = finished / "notebooks" / f"{name}.ipynb", finished / "reports" / PROFILE / f"{name}.html"
    text, question = declarations.read_text(encoding="utf-8"), 'Is "it" < 5 $ & {{ new }} isn\'t `it`?'
    notebook.write_text(new_notebook(name, "What's new?", question), encoding="utf-8")
    line = f'    Spec({name!r}, ("01_data",), ("data",)),\n'
    declarations.write_text(text.replace("\n)\n# Saved logits", f"\n{line})\n# Saved logits", 1), encoding="utf-8")
    done = report(finished)
    assert done.returncode == 0, done.stderr[-3000:]
    after = records(finished)
    assert len(after) == len(before) + 1 and page.is_file() and executed_since(before, after) <= LAST
    assert_links(page.parent)
    assert question in Reader((page.parent / "index.html").read_text(encoding="utf-8")).words
    declarations.write_text(text, encoding="utf-8")
    done, told = report(finished), "no stage of lib/verdict/workflow/declarations.py executes it"
    assert done.returncode != 0 and not page.exists() and f"not up to date: {name} is missing; {told}" in done.stderr


def test_a_wrong_parameter_stops_before_anything_runs(tmp_path):
    root = copy_project(tmp_path / "wrong")
    with (root / "params" / f"{PROFILE}.yaml").open("a", encoding="utf-8") as file:
        file.write("\ncalibrat:\n  ece_bins: 15\n")
    done = report(root)
    assert done.returncode == 2
    assert "calibrat" in done.stderr and "did you mean 'calibrate'" in done.stderr
    assert {path.name for path in (root / "work").glob("*")} <= {".caches"}
