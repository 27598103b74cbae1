"""The benches: two loops that start equal and do what they say, ratios by hand, memory, the page of results."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from tests.bench import __main__ as command, audit_log, decisions, gpu, loops, memory, processes, records, subjects
from tests.bench.compare import compare
from tests.bench.limits import Machine

from bench_subject import small_subject
from verdict.base.artifacts import read_json
from verdict.base.params import load_params
from verdict.decide.log.log import read_log, write_log
from verdict.model.backend import keras, set_threads
from verdict.model.network import FreezePlan, SingleQueryAttention

MACHINE = Machine(flops_per_s=1e11, bytes_per_s=1e10)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    set_threads(1)
    return small_subject(tmp_path_factory.mktemp("photographs"))


def weights_of(network):
    return {w.path: np.array(w.value.detach()) for w in network.model.weights if "seed_generator" not in w.path}


def inputs_of(subject, encoders, n):
    order = np.arange(n)
    return loops.PublishedBatches(
        subject, encoders, subject.train, order, encoders.tokens(list(subject.train["hypothesis"]))
    )


@pytest.mark.parametrize(
    ("interval", "values", "expected"),
    [
        # Logarithms of 2 and 8: mean log 4, standard error log 2; 12.7062 is Student's t with one degree of freedom.
        (loops.ratio_interval, [2.0, 8.0], (4, 4 / 2**12.7062, 4 * 2**12.7062)),
        # 1, 2, 3: standard error 1 / sqrt(3); 4.302653 is Student's t with two.
        (loops.mean_interval, [1.0, 2.0, 3.0], (2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3))),
        (loops.ratio_interval, [5.0], (5, math.nan, math.nan)),
        (loops.mean_interval, [5.0], (5, math.nan, math.nan)),
    ],
)
def test_intervals_by_hand(interval, values, expected):
    assert interval(np.array(values)) == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_the_published_network_has_keras_own_attention_and_our_weights(subject):
    theirs, ours = subject.network(3, keras.layers.MultiHeadAttention), subject.network(3)
    assert type(theirs.head["xattn"]) is keras.layers.MultiHeadAttention
    assert type(ours.head["xattn"]) is SingleQueryAttention
    assert theirs.head["xattn"].dropout == ours.head["xattn"].dropout == subject.fit.dropout
    loops.check_same_weights(theirs, ours)
    inputs, _ = inputs_of(subject, subject.encoders(), 5)[0]
    logits = [network.model.predict_on_batch(inputs) for network in (theirs, ours)]
    assert logits[0] == pytest.approx(logits[1], abs=1e-5)


def test_networks_that_differ_are_not_compared(subject):
    one, other = subject.network(3), subject.network(3)
    bias = other.head["mlp_1"].bias
    bias.assign(bias + 1e-3)
    with pytest.raises(ValueError, match="differ at 'mlp_1/bias' / 'mlp_1/bias'"):
        loops.check_same_weights(one, other)


@pytest.mark.parametrize("plan", [FreezePlan(0, 0), FreezePlan(1, 2)], ids=str)
def test_the_published_loop_trains_the_plans_layers_and_no_others(subject, plan):
    network, encoders = subject.network(0, keras.layers.MultiHeadAttention), subject.encoders()
    before = weights_of(network)
    course = loops.Course()
    next(loops.published_epochs(subject, network, plan, encoders, course, seed=0))
    trained = {w.path for w in network.model.trainable_variables}
    changed = {path for path, value in weights_of(network).items() if not np.array_equal(value, before[path])}
    assert changed <= trained
    # A key's bias shifts all scores of a head alike: its gradient is zero but for rounding.
    assert trained - changed <= {path for path in trained if path.endswith("key/bias")}
    assert {w.path for w in network.model.weights if w.value.grad is not None} == trained
    assert 0 <= course.macro_f1[0] <= 1


def test_the_published_loop_decodes_every_row_in_every_epoch_and_ours_every_image_once(subject, tmp_path, monkeypatch):
    opened = {"published": 0, "ours": 0}
    read, decode = Image.open, loops.encode

    def published_open(*args, **kwargs):
        opened["published"] += 1
        return read(*args, **kwargs)

    def our_encode(*args, **kwargs):
        monkeypatch.setattr(loops.Image, "open", read)
        store = args[2]
        counted = store.load
        store.load = lambda ids, **named: (opened.update(ours=opened["ours"] + len(ids)), counted(ids, **named))[1]
        found = decode(*args, **kwargs)
        monkeypatch.setattr(loops.Image, "open", published_open)
        return found

    monkeypatch.setattr(loops, "encode", our_encode)
    theirs, ours = loops.side_by_side(subject, FreezePlan(0, 1), tmp_path, seed=0, epochs=2)
    n_rows = len(subject.train) + len(subject.val)
    # And one row before the first epoch, on which Keras builds its loss.
    assert opened == {"published": 1 + 2 * n_rows, "ours": len(subject.files)}
    for course in (theirs, ours):
        assert len(course.wall_s) == len(course.cpu_s) == 1 + 2
        assert len(course.macro_f1) == 2
        assert min(course.wall_s) > 0


def page_of(folder, name, record):
    records.save(name, {"provenance": records.provenance("python -m tests.bench x", 2, 12.3), **record}, folder)
    return (folder / "README.md").read_text()


def test_a_comparison_sums_up_its_laps(subject, tmp_path):
    found = compare(subject, FreezePlan(0, 1), MACHINE, tmp_path, epochs=2, rounds=2)
    laps = [(lap["published"], lap["ours"]) for lap in found["laps"]]
    totals = [sum(theirs["wall_s"]) / sum(ours["wall_s"]) for theirs, ours in laps]
    assert found["whole"]["ratio"] == pytest.approx(math.sqrt(totals[0] * totals[1]))
    assert found["whole"]["n"] == 2
    later = [t / o for theirs, ours in laps for t, o in zip(theirs["wall_s"][2:], ours["wall_s"][2:], strict=True)]
    assert found["later"]["ratio"] == pytest.approx(math.exp(np.mean(np.log(later))))
    assert found["later"]["n"] == 2 * 1
    last = np.array([ours["macro_f1"][-1] - theirs["macro_f1"][-1] for theirs, ours in laps])
    assert found["macro_f1"]["difference"] == pytest.approx(last.mean())
    for part in found["limits"].values():
        assert part["limit_s"] == max(part["gflop"] * 1e9 / 1e11, part["mbyte"] * 1e6 / 1e10)
        assert part["share_of_limit"] == pytest.approx(part["limit_s"] / part["measured_s"])
    assert found["limits"]["published_epoch"]["gflop"] > found["limits"]["our_epoch"]["gflop"]
    n_steps = len(subject.train) // subject.batch
    assert 0 < n_steps * found["limits"]["our_step"]["gflop"] < found["limits"]["our_epoch"]["gflop"]
    cached = [np.load(tmp_path / "round-1" / "features" / f"{name}.npy") for name in ("image_tokens_0", "hidden_1")]
    assert found["stored"] == {
        "view": cached[0].nbytes / len(cached[0]),
        "hypothesis": cached[1].nbytes / len(cached[1]),
    }
    found["macro_f1"] = {"published": 0.7, "ours": 0.71, "difference": 0.01, "low": -0.02, "high": 0.04}
    found["later"] |= {"published_s": 8.0, "ours_s": 0.5, "ratio": 16.0, "low": 14.0, "high": 18.0}
    text = page_of(tmp_path, "tiny", {"machine": {"flops_per_s": 1e11, "bytes_per_s": 2e10}, "results": [found]})
    assert f"{found['stored']['view']:,} bytes of each view of an image" in text and "| our step | " in text
    assert "| 1 text block trained | 2 x 2 | " in text and " | 8 s | 0.5 s | 16.0 [14.0, 18.0] | " in text
    assert "| 0.700 | 0.710 | +0.010 [-0.020, +0.040] |" in text and "| 1 text block trained | our epoch | " in text
    assert "python -m tests.bench x" in text and ", 2 thread(s), torch backend, python 3." in text
    earlier = {name: value for name, value in found.items() if name != "trial"}
    text = page_of(tmp_path, "tiny", {"machine": {"flops_per_s": 1e11, "bytes_per_s": 2e10}, "results": [earlier]})
    assert " | not run | 8 s | 0.5 s | " in text


def test_photographs_have_the_size_of_flickr30k():
    sizes = [len(subjects.jpeg(subjects.photograph(np.random.default_rng(seed)))) for seed in range(3)]
    assert np.mean(sizes) == pytest.approx(subjects.PHOTO_BYTES, rel=0.1)
    assert subjects.photograph(np.random.default_rng(0)).shape == (*subjects.PHOTO_SIZE, 3)


def test_random_pairs_have_distinct_hypotheses_and_use_every_image():
    pairs = subjects.random_pairs(["a", "b", "c"], 31, rng=np.random.default_rng(0))
    assert pairs["hypothesis"].nunique() == 31
    assert pairs["image_id"].value_counts().tolist() == [11, 10, 10]
    assert set(pairs["label"]) == {"entailment", "contradiction"}


def test_the_tiny_subject_is_the_default_profile_on_jpeg_files(tmp_path):
    params = load_params("digits")
    subject = subjects.tiny_subject(params, tmp_path, n_pairs=48, n_val=12)
    assert (len(subject.train), len(subject.val), subject.batch) == (48, 12, params.training.batch_size)
    with Image.open(subject.files[subject.train["image_id"][0]]) as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))
    assert not set(subject.train["image_id"]) & set(subject.val["image_id"])


def test_crossed_pairs_are_distinct_pairs_of_the_same_sides():
    few, many = (memory.crossed_pairs(n, seed=0) for n in (100, 3000))
    for pairs in (few, many):
        assert not pairs.duplicated(["image_id", "hypothesis"]).any()
    assert many["image_id"].nunique() <= memory.N_IMAGES
    assert many["hypothesis"].nunique() <= memory.N_TEXTS


def test_growth_is_measured_against_the_smaller_run(monkeypatch):
    peaks = {100: 500 * memory.MEBIBYTE, 1000: 550 * memory.MEBIBYTE}
    told = lambda module, n: {"n_pairs": n, "before_bytes": 0, "peak_bytes": peaks[n]}  # noqa: E731
    monkeypatch.setattr(memory, "in_a_process", told)
    found = memory.growth(100)
    assert found["growth"] == pytest.approx(0.1)
    assert found["bytes_per_pair"] == pytest.approx(50 * memory.MEBIBYTE / 900)


def test_the_peak_is_this_processes_own():
    before = processes.peak_bytes()
    block = np.ones(64 * memory.MEBIBYTE, dtype=np.uint8)
    assert max(1e7, before) <= processes.peak_bytes()
    assert block.sum() == len(block)


def test_a_failing_process_is_told(monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"tests\.bench\.memory 7 failed"):
        processes.in_a_process("tests.bench.memory", 7)


MEMORY = {"n_pairs": [10, 100], "before_mib": [1.0, 1.0], "peak_mib": [2.0, 2.1], "growth": 0.05, "bytes_per_pair": 9.0}


@pytest.mark.slow
def test_ten_times_more_pairs_cost_hardly_more_memory():
    """Features of every pair would be 16 kB each, a tenth more."""
    found = memory.growth(800)
    assert found["n_pairs"] == [800, 8000]
    assert found["growth"] < 0.08


def test_the_page_tells_of_memory_and_of_disturbances(tmp_path):
    text = page_of(tmp_path, "memory", {"results": MEMORY})
    assert "Ten times more pairs: +5.0%, 9 bytes a pair." in text
    counts = {kind: {"as undisturbed": 2, "lost": 1} for kind in ("run killed", "all")}
    text = page_of(tmp_path, "chaos", {"rows": [0, 0, 0], "wanted": 9, "seed": 1, "summary": counts})
    assert "3 of 9 disturbances" in text and "| run killed | 2 | 1 |\n" in text
    assert "Ten times more pairs" in text


@pytest.mark.parametrize("name", command.BENCHES)
def test_every_bench_has_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out


def test_a_bench_for_a_gpu_says_so_without_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "has_gpu", lambda: False)
    with pytest.raises(SystemExit) as ended:
        command.main(["gpu", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_record_and_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(command.BENCHES, "memory", (lambda chosen: {"results": MEMORY}, "--pairs", 1, "pairs"))
    assert command.main(["memory", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "memory.json").is_file()
    assert "Memory against the number of pairs" in (tmp_path / "README.md").read_text()


def test_the_audit_is_measured_at_the_size_asked_for(tmp_path):
    assert command.main(["audit", "--items", "2003", "--out", str(tmp_path)]) == 0
    found = read_json(tmp_path / "audit.json")["results"]
    assert found["n_items"] == 2003 and found["n_differences"] == 0
    assert found["write_items_s"] > 0 and found["replay_items_s"] > 0
    # Of the audit alone: this process, which holds a framework, is larger.
    assert 20 < found["peak_mb"] < 500 and 1 < found["log_mb"] < 4
    row = f"| 2,003 | {found['write_items_s']:,.0f} | {found['replay_items_s']:,.0f} | {found['peak_mb']:.0f} MB |"
    assert row in (tmp_path / "README.md").read_text()


def test_simulated_decisions_take_every_branch(tmp_path):
    assert write_log(tmp_path / "log.jsonl", audit_log.simulated_items(1009, batch=256)) == 1009
    assert {item.decision for item in read_log(tmp_path / "log.jsonl")} == {"auto", "clarify", "human"}


def test_without_a_name_those_of_the_cpu_run(monkeypatch):
    called = []
    for name in command.BENCHES:
        bench = (lambda chosen: called.append(chosen.bench) or {}, "--pairs", 1, "pairs")
        monkeypatch.setitem(command.BENCHES, name, bench)
    monkeypatch.setattr(command, "save", lambda *args: None)
    assert command.main([]) == 0
    assert called == ["tiny", "full_size", "memory", "audit"]


def test_the_published_schedule_is_the_studys():
    """Thirty-seven epochs: a warm-up and twelve trials (stages, six of a search, three of vision, oversampling)."""
    assert sum(run.epochs for run in gpu.SCHEDULE) == 5 + 5 + 6 + 6 * 2 + 3 * 2 + 3 == 37
    assert len(gpu.SCHEDULE) == 1 + 12


def test_cases_of_the_decisions_bench_are_answers_of_a_log(tmp_path):
    write_log(tmp_path / "log.jsonl", audit_log.simulated_items(11))
    decisions.write_cases(tmp_path / "new.jsonl", tmp_path / "log.jsonl", 101)
    cases = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    known = {tuple(item.logits) for item in read_log(tmp_path / "log.jsonl")}
    assert len({case["pair_id"] for case in cases}) == 101 and len({case["group"] for case in cases}) == 51
    assert {tuple(case["logits"]) for case in cases} <= known and len(known) > 5
    row = {"n_cases": 101, "cases_s": 12345.6, "peak_mb": 7.0, "log_mb": 3.0}
    record = {"results": [row], "provenance": records.provenance("x", 1, 1.0)}
    assert "| 101 | 12,346 | 7 MB | 3 MB |" in records.page({"decisions": record})
