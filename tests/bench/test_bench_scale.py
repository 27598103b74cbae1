"""Scaling: speed-up, overhead, and the model of cost."""

import subprocess
from types import SimpleNamespace

import pytest
from tests.bench import scale
from tests.bench.records import page, provenance

LAPS = {1: scale.Lap(60.0, 55.0, (10.0,) * 5), 2: scale.Lap(36.0, 55.0, (12.0,) * 5)}


def test_overhead_by_hand():
    assert LAPS[1].overhead_s(1) == pytest.approx((60 - 50) / 5)
    assert LAPS[2].overhead_s(2) == pytest.approx((2 * 36 - 60) / 5)


def test_a_line_goes_through_two_measurements_and_is_never_negative():
    line = scale.Line.through([1000, 3000], [7.0, 11.0])
    assert (line.fixed_s, line.per_thousand_s) == (pytest.approx(5), pytest.approx(2))
    assert line.at(10_000) == pytest.approx(25)
    assert scale.Line.through([1000, 3000], [7.0, 6.0]).per_thousand_s == 0
    assert scale.Line.through([1000, 3000], [1.0, 11.0]).fixed_s == 0


def test_a_search_pays_once_for_data_and_for_each_fit():
    lines = {part: scale.Line(k, 1.0) for k, part in enumerate(scale.PARTS)}
    cost = scale.Cost(lines, 4.0)
    assert cost.search(2000, 5, 7) == pytest.approx(4 + (0 + 2) + (1 + 2) + (2 + 2) + 5 * 7 * (3 + 2))
    assert cost.alone("trial", 2000) == pytest.approx(4 + 3 + 2)
    asked = scale.asked(cost)
    assert asked["search_of_three_seeds_core_h"] - asked["search_core_h"] == pytest.approx(2000 * (3 + 565) / 3600)


def test_what_starting_takes_is_no_part_of_a_job():
    cost = scale.Cost.through([1000, 3000], {"trial": [10.0, 14.0], "features": [3.0, 9.0]}, 4.0)
    assert cost.lines["trial"] == scale.Line(pytest.approx(4.0), pytest.approx(2.0))
    assert cost.alone("trial", 3000) == pytest.approx(14.0)
    assert cost.lines["features"].fixed_s == 0


def test_starting_is_what_one_fit_takes_beyond_each_further_one(monkeypatch):
    bench, taken = scale.Bench.__new__(scale.Bench), {1: 15.0, 3: 25.0}
    asked = []
    monkeypatch.setattr(scale.Bench, "set", lambda *_: SimpleNamespace())
    monkeypatch.setattr(scale, "_trials", lambda *_: ["a", "b", "c"])
    monkeypatch.setattr(scale.Bench, "forget", lambda self, name: asked.append(name))
    monkeypatch.setattr(scale.Bench, "measure", lambda self, targets, workers: scale.Lap(0.0, taken[len(targets)], ()))
    assert scale.start_s(bench, 1024) == pytest.approx(15 - 5)
    assert asked == [scale.stages.TRIAL_STAGE] * 2


def test_the_profile_of_a_search_is_a_valid_one(tmp_path):
    bench = scale.Bench.__new__(scale.Bench)
    bench.root = tmp_path
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "base.yaml").symlink_to(scale.paths.PARAMS / "base.yaml")
    params = bench.set(scale.profile(1024, 6, (11, 23, 37)))
    assert len(params.training.trials) == 6 and params.training.seeds == (11, 23, 37)
    assert params.data.digits.n_pairs["train"] == 1024
    assert bench.record("03_x", "t1") == "work/scale/03_x/t1/run.json"
    assert bench.record("01_data") == "work/scale/01_data/run.json"


def test_waiting_and_running_are_read_from_accounting(monkeypatch):
    told = "41|2026-03-01T10:00:00|2026-03-01T10:00:07|23\n42|2026-03-01T10:00:00|Unknown|0\n"
    done = subprocess.CompletedProcess([], 0, stdout=told)
    monkeypatch.setattr(scale.subprocess, "run", lambda *_, **__: done)
    assert scale.accounting(["41", "42"]) == {"41": (7.0, 23.0)}


def record(cluster):
    rows = [{"workers": n, "wall_s": lap.wall_s, "speed_up": 1.5, "overhead_s": 2.5} for n, lap in LAPS.items()]
    workers = {"n_pairs": 1024, "n_trials": 6, "n_seeds": 3, "local": rows}
    lines = {part: scale.Line(1.0, 2.0) for part in scale.PARTS}
    sizes = {
        "n_pairs": [1, 2, 3],
        "start_cpu_s": 11.24,
        "measured_cpu_s": {"01_data": [1.0, 2.0, 3.5]},
        "predicted_cpu_s": {"01_data": [1.0, 2.0, 3.0]},
        "searches": [{"n_pairs": 1, "n_trials": 2, "n_seeds": 3, "measured_cpu_s": 50.0, "predicted_cpu_s": 40.0}],
        "asked": scale.asked(scale.Cost(lines, 5.0)),
    }
    return {"workers": workers, "cluster": cluster, "sizes": sizes, "provenance": provenance("x", 1, 0.0)}


def test_the_page_tells_what_was_measured():
    text = page({"scale": record({"rows": [], "why_not": "no sbatch"})})
    assert "| 2 | 36 s | 1.50 | 2.5 s |\n\nSlurm was not measured: no sbatch.\n\n" in text
    assert "| 01_data | 1.0 (1.0) | 2.0 (2.0) | 3.5 (3.0) |\n\n" in text
    assert "A run takes 11.2 processor seconds to start" in text
    assert "| 1 | 2 | 3 | 50 s | 40 s | 0.80 |\n\n" in text
    row = {"n_pairs": 65536, "fit_s": 21.25, "local_s": 400.0, "slurm_s": 200.0, "nodes": 2, "speed_up": 2.0}
    rows = [{**row, "waiting_s": 30.0, "starting_s": 6.25}, {**row, "waiting_s": None, "starting_s": None}]
    text = page({"scale": record({"rows": rows, "why_not": ""})})
    assert "| 65,536 | 21.2 s | 400 s | 200 s | 2 | 2.00 | 30 s | 6.2 s |\n" in text
    assert "| 65,536 | 21.2 s | 400 s | 200 s | 2 | 2.00 | – | – |\n" in text


def test_a_cluster_is_set_against_one_worker_at_each_size(monkeypatch):
    bench, asked = scale.Bench.__new__(scale.Bench), []
    bench.say = lambda text: None
    laps = {"local": scale.Lap(60.0, 0.0, (9.0, 9.0)), "slurm": scale.Lap(40.0, 0.0, (10.0, 12.0))}
    hosts = {"a": {"job": 41, "node": "n1"}, "b": {"job": 42, "node": "n2"}}
    monkeypatch.setattr(scale.slurm, "why_not", lambda: "")
    monkeypatch.setattr(scale, "_ready", lambda bench, n_pairs: asked.append(n_pairs) or list(hosts))
    monkeypatch.setattr(scale.Bench, "forget", lambda self, name: None)
    monkeypatch.setattr(scale.Bench, "measure", lambda self, targets, workers, where: laps[where])
    monkeypatch.setattr(scale.Bench, "field", lambda self, target, name: hosts[target])
    monkeypatch.setattr(scale, "accounting", lambda jobs: {"41": (7.0, 23.0), "42": (9.0, 27.0)})
    first, second = scale.cluster(bench, (10, 20))["rows"]
    assert asked == [10, 20] and (first["n_pairs"], second["n_pairs"]) == (10, 20)
    assert (first["local_s"], first["slurm_s"], first["speed_up"], first["nodes"]) == (60, 40, 1.5, 2)
    assert (first["fit_s"], first["waiting_s"], first["starting_s"]) == (3, 8, 14)


def test_what_was_checked_on_a_cluster_is_a_table():
    rows = [{"check": "equal", "command": "make test-slurm", "figure": "0 of 9 differ"}]
    found = {"results": rows, "about": "Two nodes.", "provenance": provenance("x", 1, 0.0)}
    assert "Two nodes.\n" in page({"cluster": found})
    assert "| equal | make test-slurm | 0 of 9 differ |\n" in page({"cluster": found})
