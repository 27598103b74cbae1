"""A whole report: executions, staleness, index, links."""

import io
import json
import os
from dataclasses import replace

import pytest
from nbconvert.exporters import get_exporter

from report_tools import (
    HOSTILE,
    assert_links,
    assert_sound,
    code,
    displayed,
    markdown,
    notebook,
    read_page,
    record,
    sample_claim,
    sample_numbers,
    stage,
    write_notebook,
)
from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.base.parameter_files import merge, read_yaml
from verdict.base.params import load_params, validate
from verdict.report import __main__ as rendering, executions as found
from verdict.report.__main__ import main
from verdict.report.executions import Execution, find_executions, merged_numbers
from verdict.report.exporter import Site
from verdict.report.index import index_banners, targets
from verdict.report.outputs import MIME
from verdict.report.pipeline import BOX_H, BOX_W, MARGIN, Node, draw_pipeline, placed
from verdict.report.provenance import duration, hashes, parameters, seeds
from verdict.report.site import PAGES, build_site
from verdict.workflow.stage_parameters import resolved

CHANGED_PARAMS = found._changed_params
SETUP = code('profile = "demo"', "parameters")
TEXT = markdown("# T\n\nWhat?")
LATER = Numbers({"later.x": Number(1.0)})
INDEX = (
    "# When?\n\nAbout <!-- hid --> {{ test.macro_f1 }}.\n\nLater {{ later.x }}.\n\n<!-- hid\n\nhid {{ no.such }} -->\n"
)


@pytest.fixture
def project(demo):
    """Two notebooks, one with two trial executions, and one that was not run."""
    notebook("03_steps", markdown("# Steps\n\nHow much?"), SETUP, markdown("{{ trial.f1 }}"))
    test = [markdown(f"# {HOSTILE.replace('{{ test.nothing }}', '')}\n\nHow good?"), SETUP]
    link = markdown("See [steps](03_steps-text1.ipynb#main) and {{ test.macro_f1 }}.")
    notebook("05_test", *test, link)
    notebook("07_later", markdown("# Later\n\nWhat then?"))
    (paths.NOTEBOOKS / "index.md").write_text(INDEX)
    for trial, value in (("text1", 0.5), ("text2", 0.6)):
        stage(f"03_steps/{trial}", SETUP, numbers=Numbers({"trial.f1": Number(value)}), trial=trial)
    claims = [sample_claim(), sample_claim(id="no", holds=False, bound=0.9, statement=HOSTILE)]
    stage("05_test", *test, numbers=sample_numbers(), claims=claims)
    (paths.work_dir("demo") / "05_test" / "attribution.txt").write_text("Data by <b>somebody</b>.")
    return demo


@pytest.fixture
def whole(project):
    """The project with every notebook executed."""
    notebook("07_later", TEXT, SETUP)
    stage("07_later", SETUP, numbers=LATER)


def test_a_report_is_whole(project):
    built = build_site("demo")
    names = sorted(path.stem for path in built.pages)
    assert names == ["03_steps-text1", "03_steps-text2", "05_test", "checklists", "index", "review"]
    assert built.errors == ()
    assert_links(paths.report_dir("demo"))
    for name in names:
        page = read_page(name)
        assert_sound(page)
    assert "0.5" in read_page("03_steps-text1").words
    assert (paths.report_dir("demo") / "index.html").stat().st_size < 150_000


def test_nbconvert_makes_the_same_page(project):
    build_site("demo")
    exporter = get_exporter("verdict.report.exporter.ReportExporter")()
    for name in ("03_steps/text1", "05_test"):
        text, resources = exporter.from_filename(str(paths.work_dir("demo") / name / "executed.ipynb"))
        page = name.replace("/", "-")
        assert text == (paths.report_dir("demo") / f"{page}.html").read_text(encoding="utf-8")
        assert f"files/{page}.ipynb" in resources["outputs"] and resources["output_extension"] == ".html"
    with pytest.raises(FileNotFoundError, match="no executed notebook of a report"):
        exporter.from_filename(str(paths.NOTEBOOKS / "05_test.ipynb"))


def test_a_whole_report_is_recorded_with_its_files_and_one_page_anew_is_none(whole):
    built, folder = build_site("demo"), paths.report_dir("demo")
    assert (built.errors, built.unfinished) == ((), ())
    recorded = json.loads(paths.rendered("demo").read_text(encoding="utf-8"))
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(recorded) == written and "files/05_test.ipynb" in recorded
    before = (folder / "03_steps-text1.html").stat().st_mtime_ns
    built = build_site("demo", only="05_test")
    assert [path.name for path in built.pages] == ["05_test.html", "review.html", "checklists.html", "index.html"]
    assert (folder / "03_steps-text1.html").stat().st_mtime_ns == before
    assert not paths.rendered("demo").is_file()
    with pytest.raises(FileNotFoundError, match="no page is called 'x'"):
        build_site("demo", only="x")


HARMS = {
    "refused: 07_later.ipynb, cell 1": lambda: notebook("07_later", markdown("# T\n\nWhat? {{ later.y }}"), SETUP),
    "error: index.md: ": lambda: (paths.NOTEBOOKS / "index.md").write_text("# When?\n\n{{ later.y }}\n"),
    "08_it's new is missing; no stage of lib/verdict/workflow/declarations.py executes it": lambda: notebook(
        "08_it's new", TEXT, SETUP
    ),
    "07_later is failed": lambda: write_notebook(paths.work_dir("demo") / "failed" / "07_later.ipynb", [SETUP]),
    "refused: 07_later.ipynb, cell 3: 2 code cells now": lambda: notebook("07_later", TEXT, SETUP, code("x = 1")),
    "gone.json is gone": lambda: stage("07_later", SETUP, numbers=LATER, inputs={"gone.json": "0" * 64}),
    "refused: 07_later.ipynb no longer exists": lambda: os.remove(paths.NOTEBOOKS / "07_later.ipynb"),
}


@pytest.mark.parametrize("told", HARMS)
def test_a_report_with_a_missing_stale_or_refused_page_is_never_whole(whole, told, capsys):
    """However often it is rendered, and also where a whole one was there before."""
    build_site("demo")
    assert paths.rendered("demo").is_file()
    HARMS[told]()
    for _ in range(2):
        assert main(["--profile", "demo"]) != 0
        assert not paths.rendered("demo").is_file()
        assert told in capsys.readouterr().err


def test_the_index_says_what_holds_and_what_is_missing(project):
    build_site("demo")
    page = read_page("index")
    for words in (
        "About 0.812 [0.797, 0.826] .",
        "This paragraph waits for stages that have not run.",
        "1 of 2 claims hold.",
        "75.0 % [74.0, 76.0] not met target 80 %, n = 4,003",
        "0.812 [0.797, 0.826] met, interval spans the target target 0.8",
        "Not everything has run. 07_later",
        "Data by <b>somebody</b>.",
        "2 executions",
        "text1 text2",
    ):
        assert words in page.words
    assert "hid " not in page.words and page.words.count("waits for stages") == 1
    assert page.all("a").count({"href": "05_test.html#claim-no"}) == 1


def test_the_answer_of_a_page_may_be_a_text_cell(project):
    text = "It is {{ calibration.t }}{% if calibration.t.value > 1 %}, too sure{% endif %}, see [it](05_test.ipynb)."
    text += "\n\nOnly the page says more."
    notebook("07_calibration", TEXT, SETUP, markdown(text, "answer"))
    stage("07_calibration", SETUP, numbers=Numbers({"calibration.t": Number(2.0, 1.5, 2.5)}))
    build_site("demo", only="index")
    index = read_page("index")
    assert "[1.5, 2.5] , too sure, see" in index.words and "05_test.html" in {a["href"] for a in index.all("a")}
    assert "says more" not in index.words


def test_the_same_notebook_on_another_model_is_a_page_of_its_own(project):
    notebook("07_calibration", markdown("# Calibration\n\nBelieved?"), SETUP, code("say()", "answer"))
    for name in ("07_calibration", "07_calibration-clip"):
        said = displayed({MIME: {"kind": "say", "template": f"About {name}.", "numbers": {}}})
        stage(name, SETUP, code("say()", outputs=[said]), stage=name, notebook="07_calibration")
    build_site("demo")
    words = read_page("index").words
    assert "About 07_calibration." in words and "About 07_calibration-clip." in words
    assert "Calibration (CLIP)" in words and "None" not in words
    assert_links(paths.report_dir("demo"))


@pytest.mark.parametrize(
    ("changed", "warned", "n_targets"),
    [
        ({}, [], 2),
        ({"data": {"source": "csv", "csv": {"table": "a.csv", "images": "b"}}}, ["digits_distilbert, digits_vit"], 0),
        ({"data": {"source": "nlvr"}, "model": {"text_preset": "nlvr_distilbert"}}, ["digits_vit"], 2),
        ({"clip": {"source": "folder", "folder": {"images": "b"}}}, ["digits_clip"], 2),
    ],
)
def test_own_data_are_not_judged_by_what_the_study_and_the_shipped_encoders_know(changed, warned, n_targets):
    params = validate(merge(read_yaml(paths.PARAMS / "base.yaml"), changed), source="test")
    run = [Execution("05_test", "05_test", "done", numbers=sample_numbers())]
    site = Site("demo", params=params, executions=run)
    told = [banner["headline"] for banner in index_banners(site)]
    assert [text.partition(": ")[2] for text in told] == [f"{names}." for names in warned]
    assert len(targets(site)) == n_targets


@pytest.mark.parametrize("at_bound", [0, 1, 2])
def test_a_temperature_at_the_end_of_its_search_is_a_warning_and_no_finding(at_bound):
    stored = {"calibration.temperature": Number(1.2, 1.1, 1.4), "calibration.temperature_at_bound": Number(at_bound)}
    name = "07_calibration-clip"
    run = Execution(name, "07_calibration", "done", run={"stage": name}, numbers=Numbers(stored))
    told = [banner["headline"] for banner in index_banners(Site("demo", executions=[run]))]
    words = {1: "has an interval that reaches an end of the range", 2: "lies at the end of the range"}
    assert [words[at_bound] in text for text in told] == [True] * bool(at_bound)


@pytest.mark.parametrize("status", ["failed", "stale", "missing"])
def test_pages_of_a_banner_are_listed_as_anywhere_else(status):
    runs = [Execution(f"0{k}_x", f"0{k}_x", status) for k in range(1, 9)]
    names = [run.name for run in runs]
    listed = ", ".join(names) if status == "missing" else f"{', '.join(names[:6])} and 2 more"
    assert [banner["detail"] for banner in index_banners(Site("demo", executions=runs))] == [listed]


def test_changed_code_gets_a_page_that_refuses(project):
    notebook("05_test", TEXT, code("profile = 'other'", "parameters"))
    built = build_site("demo")
    assert len(built.errors) == 1 and "05_test.ipynb, cell 2: the code differs" in built.errors[0]
    words = read_page("05_test").words
    assert "This page was not rendered" in words and "Stale" in words
    assert "Pages that were not rendered." in read_page("index").words


def test_a_changed_input_makes_a_page_stale(project, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", project)
    (project / "in.json").write_text("1")
    stage("05_test", SETUP, inputs={"in.json": "0" * 64, "gone.json": "1" * 64})
    test = next(execution for execution in find_executions("demo") if execution.name == "05_test")
    assert test.status == "stale" and test.reasons[:2] == ("in.json changed since", "gone.json is gone")


@pytest.mark.parametrize(
    ("left", "name", "variant"),
    [
        ("14_What's new?-x", "14_What's new?-x", ""),
        ("14_What's new?", "14_What's new?", ""),
        ("03_steps-text2", "03_steps", "text2"),
        ("07_calibration-clip", "07_calibration", "CLIP"),
    ],
)
def test_what_failed_takes_the_place_of_its_success_and_is_known_by_what_it_left(project, left, name, variant):
    for live in ("14_What's new?", "14_What's new?-x", "07_calibration"):
        notebook(live, TEXT, SETUP)
    write_notebook(paths.work_dir("demo") / "failed" / f"{left}.ipynb", [SETUP])
    stage("scratch/05_test", SETUP)
    stage(".05_test.part", SETUP)
    executions = find_executions("demo")
    failed = [execution for execution in executions if execution.status == "failed"]
    assert [(e.name, e.notebook, e.variant) for e in failed] == [(left, name, variant)]
    assert [e.is_trial for e in failed] == [variant == "text2"]
    assert len({execution.name for execution in executions}) == len(executions)
    build_site("demo", only="index")
    words = read_page("index").words
    assert f"Failed: 1 of {len(executions)} executions. {left}" in words
    assert ("partly failed" in words) == (name == "03_steps")


def test_names_that_differ_between_trials_belong_to_their_pages():
    one, two = (Execution(f"a{k}", "a", "done", numbers=Numbers({"t.f1": Number(k)})) for k in (1, 2))
    three = Execution("b", "b", "done", numbers=Numbers({"b.x": Number(5)}))
    whole = {"report.n_claims", "report.n_failing", "report.minutes"}
    assert set(merged_numbers([one, two, three])) == {"b.x"} | whole
    assert merged_numbers([one, two, three], two)["t.f1"].value == 2


def test_numbers_of_another_source_have_its_name_elsewhere():
    own = Execution("07_calibration", "07_calibration", "done", numbers=Numbers({"calibration.t": Number(1.5)}))
    clip = replace(own, run={"stage": "07_calibration-clip"}, numbers=Numbers({"calibration.t": Number(0.9)}))
    merged = merged_numbers([own, clip])
    assert (merged["calibration.t"].value, merged["clip.calibration.t"].value) == (1.5, 0.9)
    assert merged_numbers([own, clip], clip)["calibration.t"].value == 0.9


def test_pages_of_one_source_speak_of_each_others_numbers_and_never_of_another_sources():
    policy = Execution("08_policy", "08_policy", "done", numbers=Numbers({"policy.cost": Number(1.5)}))
    of_clip = replace(policy, run={"stage": "08_policy-clip"}, numbers=Numbers({"policy.cost": Number(0.9)}))
    people = replace(policy, run={"stage": "08_with_people-clip"}, numbers=Numbers({"policy.saved": Number(0.1)}))
    merged = merged_numbers([policy, of_clip, people], people)
    assert (merged["policy.cost"].value, merged["policy.saved"].value) == (0.9, 0.1)
    assert merged_numbers([policy, of_clip, people], policy)["policy.cost"].value == 1.5


def test_pages_of_an_earlier_build_go_and_other_files_stay(project):
    target = paths.report_dir("demo")
    write_notebook(target / "files" / "old" / "x.ipynb", [])
    (target / "09_old.html").write_text("old")
    (target / "README.md").write_text("mine")
    build_site("demo")
    assert not (target / "09_old.html").exists() and not (target / "files" / "old").exists()
    assert (target / "README.md").read_text() == "mine" and (target / "files" / "05_test.ipynb").is_file()


@pytest.mark.parametrize(
    ("place", "run"),
    [
        ("14_removed", {}),
        ("03_staged_unfreezing/renamed", {"trial": "renamed"}),
        ("01_recorded", {}),
    ],
)
def test_what_is_declared_no_more_leaves_no_page(demo, place, run):
    """A notebook, a trial, and a stage of another source; of a profile whose parameters load."""
    here = {"03_staged_unfreezing/text1": {"trial": "text1"}, "05_test": {}, place: run}
    for name, fields in here.items():
        if name != "14_removed":
            notebook(name.partition("/")[0], TEXT, SETUP)
        stage(name, TEXT, SETUP, numbers=sample_numbers(), profile="smoke", **fields)
    page = place.replace("/", "-")
    built = {path.stem for path in build_site("smoke").pages}
    assert {"05_test", "03_staged_unfreezing-text1"} <= built and page not in built
    assert page not in (paths.report_dir("smoke") / "index.html").read_text(encoding="utf-8")
    assert page in {execution.name for execution in find_executions("smoke", with_former=True)}


def test_a_build_makes_only_those_pages_anew_whose_sources_changed(whole):
    build_site("demo")
    folder = paths.report_dir("demo")
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("index.html", "review.html", "checklists.html")
    ]

    def made_anew(change):
        for path in files:
            os.utime(path, (1, 1))
        change()
        assert build_site("demo").errors == ()
        return {path.relative_to(folder).as_posix() for path in files if path.stat().st_mtime > 1}

    assert made_anew(lambda: None) == set()
    later = {"07_later.html", "files/07_later.ipynb"}
    assert made_anew(lambda: notebook("07_later", TEXT, SETUP, markdown("More."))) == later
    assert made_anew(lambda: stage("07_later", SETUP, numbers=LATER | Numbers({"later.y": Number(2.0)}))) >= later
    assert made_anew((folder / "07_later.html").unlink) == later
    assert len(made_anew(lambda: (paths.work_dir("demo") / PAGES).write_text("{"))) == len(files)
    assert len(made_anew(lambda: (paths.NOTEBOOKS / "picture.png").write_bytes(b"x"))) == len(files)


def test_the_command_line_refuses_an_unknown_profile(demo, capsys):
    assert main(["--profile", "nothing"]) == 2
    assert "nothing was executed for profile 'nothing'" in capsys.readouterr().err


def node(name, *needs):
    return Node(name, "done", "1 min 01 s", f"{name}.html", needs)


def test_the_picture_follows_the_needs():
    nodes = [node("01_a"), node("02_b", "01_a"), node("03_c", "01_a"), node("04_d", "01_a", "02_b", "03_c")]
    place = placed(nodes)[0]
    assert place["01_a"][1] < place["02_b"][1] == place["03_c"][1] < place["04_d"][1]
    picture = draw_pipeline(nodes)
    # An arrow for each need that no other need implies.
    assert (picture.count("<rect"), picture.count("<path")) == (4, 2 * 4) and "d: done, 1 min 01 s" in picture
    wide = [node("00_p"), *(node(f"0{k}_x", "00_p") for k in range(1, 5)), node("05_q")]
    place, width, height = placed(wide)
    assert place["05_q"][1] > place["04_x"][1] > place["00_p"][1]
    assert width == pytest.approx(max(x for x, _ in place.values()) + BOX_W + MARGIN)
    assert height == pytest.approx(place["05_q"][1] + BOX_H + MARGIN)


def test_parameters_put_the_changed_ones_first():
    rows = parameters({"params": {"a": {"x": 1}, "b": {"y": [1, 2]}}, "non_default": ["b.y"]})
    told = [(row["name"], row["value"], row["is_changed"]) for row in rows]
    assert told == [("b.y", "[1, 2]", True), ("a.x", "1", False)]


def test_every_seed_is_told_with_its_parameter():
    params = {"training": {"seeds": [11, 23], "warmup_seed": 1}, "trial": {"seeds": [11]}, "data": {"n": 3}}
    assert seeds({"params": params}) == "11, 23 (training.seeds); 1 (training.warmup_seed); 11 (trial.seeds)"
    assert seeds({"params": {"data": {"n": 3}}}) == "none"


@pytest.mark.parametrize("weights", ["02_warmup/weights.npz", "03_staged_unfreezing/text2/weights-s11.npz"])
def test_another_network_gives_a_page_another_hash_of_weights(weights):
    def page(digest, name):
        return Execution("05_test", "05_test", "done", run=record(outputs={f"work/demo/{name}": digest}))

    one, other = (hashes(page(digest, weights), ())["weights"] for digest in ("ab" * 32, "cd" * 32))
    assert one != other
    assert "weights" not in hashes(page("ab" * 32, "05_test/no_weights.npz"), ())


DURATIONS = {0: "time unknown", 0.25: "250 ms", 7.31: "7.3 s", 61: "61 s", 95: "1 min 35 s", 10_925: "3 h 02 min"}


def test_durations():
    assert {seconds: duration(seconds) for seconds in DURATIONS} == DURATIONS


def test_watching_renders_what_was_saved_and_outlives_a_mistake(whole, monkeypatch, capsys):
    test = paths.NOTEBOOKS / "05_test.ipynb"
    text = test.read_text(encoding="utf-8")
    saves = iter(
        (
            lambda: test.write_text(text.replace("See [steps]", "A heron passed. See [steps]"), encoding="utf-8"),
            lambda: None,
            lambda: test.write_text(text.replace("See [steps]", "{{ test.heron }} See [steps]"), encoding="utf-8"),
            lambda: (paths.NOTEBOOKS / "index.md").write_text("# New\n"),
            lambda: notebook("09_never", TEXT),
        )
    )

    def sleep(_):
        if (save := next(saves, None)) is None:
            raise KeyboardInterrupt
        save()

    monkeypatch.setattr(rendering.time, "sleep", sleep)
    assert main(["--profile", "demo", "--watch"]) == 0
    said = capsys.readouterr().out.partition("watching ")[2].splitlines()
    assert [line.partition(" in ")[0] for line in said[1:]] == [
        "05_test.ipynb: 4 page(s)",
        "05_test.ipynb: 4 page(s)",
        "refused: 05_test.ipynb, cell 3: no number is called 'test.heron'; the nearest is 'test.macro_f1'",
        "index.md: 3 page(s)",
        "09_never.ipynb: no page is called '09_never'; pages are "
        "['03_steps-text1', '03_steps-text2', '05_test', '07_later']",
    ]
    assert "This page was not rendered" in read_page("05_test").words


def test_what_watching_says_reaches_a_file_at_once(whole, monkeypatch):
    file, seen = io.BytesIO(), []

    def sleep(_):
        seen.append(file.getvalue().decode())
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering.time, "sleep", sleep)
    monkeypatch.setattr(rendering.sys, "stdout", io.TextIOWrapper(file))
    assert main(["--profile", "demo", "--watch"]) == 0
    assert "05_test.html" in seen[0] and seen[0].endswith("stop with Ctrl-C\n")


def test_a_changed_parameter_or_file_is_named(monkeypatch):
    params = load_params("smoke")
    run = {"stage": "07_calibration", "params": json.loads(json.dumps(resolved(params, "07_calibration")))}
    assert CHANGED_PARAMS(run, "smoke") == []
    run["params"]["statistics"]["ece_bins"] += 1
    assert CHANGED_PARAMS(run, "smoke") == ["parameters changed since: statistics.ece_bins"]
    run["params"]["files"] = {"live.csv": "00"}
    assert CHANGED_PARAMS(run, "smoke") == ["parameters changed since: files.live.csv, statistics.ece_bins"]
    with monkeypatch.context() as patch:
        patch.setattr(found, "resolved", lambda *_: run["params"] | {"files": {"live.csv": "11"}})
        assert CHANGED_PARAMS(run, "smoke") == ["the file live.csv has changed since"]
    assert CHANGED_PARAMS(run, "no_such_profile") == ["the profile no_such_profile no longer exists"]
    assert CHANGED_PARAMS({"stage": "no stage"}, "smoke")[0].startswith("its parameters cannot be resolved now: ")


def test_changed_library_code_makes_a_page_stale(monkeypatch):
    monkeypatch.setattr(found, "_code_now", lambda name: f"digest of {name}")
    changed = ["the library code behind it changed since"]
    for name, digest, told in (
        ("05_test", "digest of 05_test", []),
        ("05_test", "another", changed),
        ("no stage", "another", []),
    ):
        assert found._changed_library(record(name, code=digest)) == told
