"""An installation is compared with a committed table: what counts as equal, and what is said."""

import subprocess

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from tests.bench import installation

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.numbers import Number, Numbers
from verdict.base.params import load_params
from verdict.workflow import stages


def stored(work, stage, **numbers):
    Numbers({name.replace("__", "."): number for name, number in numbers.items()}).save(work / stage / "numbers.json")


@pytest.fixture
def work(tmp_path):
    stored(tmp_path, "05_test", a__ratio=Number(0.61, 0.5, 0.7, n=256), a__cost=Number(1.5, unit="min"))
    stored(tmp_path, "13_reproducibility", repro__total_min=Number(4.0, unit="min"), repro__it=Number(3.0, unit="s"))
    stored(tmp_path, "03_staged_unfreezing/text1", b__nan=Number(float("nan")), b__big=Number(117.0, unit="count"))
    stored(tmp_path, "01_data", c__n=Number(512.0, unit="count"))
    for left_out in ("scratch/05_test", "feature_shards/0-of-2", ".05_test.x.running"):
        stored(tmp_path, left_out, z__z=Number(1.0))
    return tmp_path


def test_results_are_collected_and_written_and_times_and_work_in_progress_are_not(work, tmp_path):
    found = installation.collect(work)
    trial = "03_staged_unfreezing/text1"
    named = [("01_data", "c.n"), (trial, "b.big"), (trial, "b.nan"), ("05_test", "a.cost"), ("05_test", "a.ratio")]
    assert list(zip(found["stage"], found["number"], strict=True)) == named
    installation.write_table(found, tmp_path / "t.csv")
    assert installation.compare(pd.read_csv(tmp_path / "t.csv"), found) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"value": 0.5, "n": 256, "stage": "01_data"}, 0.0),
        ({"value": 117.0, "unit": "count"}, 0.0),
        ({"value": 26.0, "n": 50, "unit": "count"}, 0.0),
        ({"value": np.nan, "n": 0}, 0.0),
        ({"value": 8 / 24, "low": 0.15, "high": 0.55, "n": 24, "unit": "%"}, 0.25 * 0.4),
        ({"value": 0.5, "low": 0.49, "high": 0.51, "n": 40, "unit": "%"}, 2 / 40),
        ({"value": 1.0, "low": 1.0, "high": 1.0, "n": 24, "unit": "%"}, 2 / 24),
        ({"value": -0.12, "n": 25}, 2 / 25),
        ({"value": 1.4, "low": 1.0, "high": 1.8, "n": 120, "unit": "min"}, 0.25 * 0.8),
        ({"value": 58.0, "low": 1.5, "high": np.inf, "n": 256}, 0.05 * 58),
        ({"value": -800.0}, 0.05 * 800),
        ({"value": 2e-8, "unit": ""}, 1e-6),
    ],
)
def test_a_number_may_move_by_what_it_is(fields, expected):
    row = {"stage": "05_test", "low": None, "high": None, "n": None, "unit": "", **fields}
    assert installation.tolerance(row) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("number", "field", "value", "expected"),
    [
        ("a.ratio", "value", 0.61 + 0.049, 0),
        ("a.ratio", "value", 0.61 - 0.051, 1),
        ("a.ratio", "low", 0.5 - 0.099, 0),
        ("a.ratio", "low", 0.5 - 0.101, 1),
        ("a.ratio", "n", 255, 1),
        ("b.big", "value", 117.0001, 0),
        ("b.big", "value", 118.0, 1),
        ("c.n", "value", 512.02, 1),
        ("a.ratio", "value", np.nan, 1),
        ("b.nan", "value", 0.0, 1),
        ("a.ratio", "high", np.inf, 1),
    ],
)
def test_what_lies_beyond_the_tolerance_is_found(work, number, field, value, expected):
    table = installation.collect(work)
    other = table.astype({field: float})
    other.loc[other["number"] == number, field] = value
    found = installation.compare(table, other)
    assert [one.split(":")[0].split(" ", 1)[1] for one in found] == [f"{number} ({field})"] * expected


def test_one_case_of_few_is_not_a_fault_where_it_was_seen(tmp_path):
    """Retrieval of 24 on another processor, an odd one out of 120 on another, ranks of 120 with two threads."""
    seen = {
        "retrieval.equal_r1": (8 / 24, 7 / 24, 0.166346, 0.545455, 24),
        "agnostic.qualities": (79 / 120, 78 / 120, 0.565555, 0.744345, 120),
        "ranks.prompts": (64 / 120, 65 / 120, 0.439655, 0.625, 120),
    }
    tables = []
    for place, here in enumerate(("one", "other")):
        numbers = {name: Number(row[place], *row[2:4], n=row[4], unit="%") for name, row in seen.items()}
        Numbers(numbers).save(tmp_path / here / "11_clip_robustness" / "numbers.json")
        tables.append(installation.collect(tmp_path / here))
    assert installation.compare(*tables) == []


def classified(folder, *, seed=0, names=(0, 1), scale=16.0, as_computed=np.asarray, flipped=0):
    """Numbers of a small study: odd and even digits, told apart by a linear model from pixels between 0 and 1."""
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    train, test = order[:900], order[900:1140]
    y = digits % 2
    model = LogisticRegression(C=0.05, max_iter=500).fit(pixels[train] / 16.0, y[train])
    logit = as_computed(pixels[test] / scale) @ as_computed(model.coef_[0]) + model.intercept_[0]
    answer = (logit > 0).astype(int)
    nearest = np.argsort(np.abs(logit))[:flipped]
    answer[nearest] = 1 - answer[nearest]
    answer, n = np.array(names)[answer], len(test)
    numbers = {"test.confidence": Number(float(np.abs(logit).mean()), n=n)}
    shares = {"accuracy": answer == y[test], "odd_share": answer == 1, "recall_odd": answer[y[test] == 1] == 1}
    for name, hits in shares.items():
        half = 1.96 * hits.std() / np.sqrt(len(hits))
        numbers[f"test.{name}"] = Number(hits.mean(), hits.mean() - half, hits.mean() + half, n=len(hits), unit="%")
    Numbers(numbers).save(folder / "05_test" / "numbers.json")
    data = {"data.n": Number(n, unit="count"), "data.odd_share": Number(float(y[test].mean()), n=n, unit="%")}
    Numbers(data).save(folder / "01_data" / "numbers.json")
    return installation.collect(folder)


@pytest.mark.parametrize(
    ("change", "is_sound"),
    [
        ({"as_computed": lambda x: np.asarray(x, dtype=np.float32)}, True),
        ({"as_computed": lambda x: np.asarray(x, dtype=np.float16)}, True),
        ({"flipped": 2}, True),
        ({"seed": 1}, False),
        ({"seed": 2}, False),
        ({"names": (1, 0)}, False),
        ({"scale": 255.0}, False),
        ({"scale": 8.0}, False),
        ({"flipped": 30}, False),
    ],
)
def test_rounding_is_verified_and_a_fault_is_not(tmp_path, change, is_sound):
    expected = classified(tmp_path / "here")
    found = installation.compare(expected, classified(tmp_path / "there", **change))
    assert (found == []) is is_sound, found
    assert installation.verdict(found, len(expected), 1.0)[0].startswith("verified" if is_sound else "NOT verified")


def test_numbers_that_one_side_lacks_are_found(work):
    table = installation.collect(work)
    assert "05_test a.ratio (value): expected 0.61, got absent" in installation.compare(table, table.iloc[:-1])
    assert "05_test a.ratio (value): expected absent, got 0.61" in installation.compare(table.iloc[:-1], table)


def test_the_answer_comes_first():
    assert installation.verdict([], 40, 71.2)[0].startswith("verified: 40 numbers are as committed")
    told = installation.verdict(["a.ratio (value): expected 0.5, got 0.75"] * 23, 40, 71.2)
    assert told[0].startswith("NOT verified: 23 values of 40") and told[-1] == "  and 3 more"
    assert len(told) == 2 + installation.SHOWN


def test_a_clone_holds_what_is_committed_and_nothing_else(tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    write_text(root / "a.txt", "committed")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        names = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *names, *command], cwd=root, check=True)
    write_text(root / "a.txt", "edited")
    write_text(root / "b.txt", "new")
    monkeypatch.setattr(paths, "ROOT", root)
    installation.clone(tmp_path / "clone")
    assert (tmp_path / "clone" / "a.txt").read_text() == "committed" and not (tmp_path / "clone" / "b.txt").exists()
    assert "without the changes that are not committed" in capsys.readouterr().err


def test_what_is_no_repository_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(installation, "TABLE", tmp_path / "t.csv")
    for said in ("t.csv is missing: make it with make verify WRITE=1", "is not a git repository"):
        assert installation.main([]) == 2
        assert said in capsys.readouterr().err
        installation.TABLE.touch()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), subprocess.CalledProcessError(128, ["git", "clone"])])
def test_a_clone_that_cannot_be_made_is_told_in_a_line(error, monkeypatch, capsys):
    def fails(target):
        raise error

    monkeypatch.setattr(installation, "clone", fails)
    assert installation.main([]) == 2
    told = capsys.readouterr().err
    assert told.startswith("nothing was compared: ") and told.count("\n") == 1


def test_a_report_that_fails_is_not_verified(tmp_path):
    with pytest.raises(RuntimeError, match="did not run to its end"):
        installation.run(tmp_path, 1)


def test_the_clone_s_environment_is_fresh(monkeypatch, tmp_path):
    for name in ("VERDICT_DATA", "JUPYTER_PATH", "PYTHONSTARTUP", "KERAS_BACKEND"):
        monkeypatch.setenv(name, "of the shell")
    found = installation.environment(tmp_path)
    assert "of the shell" not in found.values()
    assert found["PYTHONPATH"] == str(tmp_path / "lib")


def test_the_committed_table_is_about_the_stages_that_there_are():
    table = pd.read_csv(installation.TABLE)
    params = load_params(installation.PROFILE)
    trials = {f"{stages.TRIAL_STAGE}/{trial}" for trial in stages.instances(params, stages.TRIAL_STAGE)}
    expected = {spec.name for spec in stages.specs_for(params)} - {stages.TRIAL_STAGE} | trials
    assert set(table["stage"]) <= expected
    assert len(table) > 300 and not table.duplicated(["stage", "number"]).any()
    assert list(table) == list(installation.COLUMNS)
    assert np.allclose(table["tolerance"], [installation.tolerance(row) for row in table.to_dict("records")], rtol=1e-4)
