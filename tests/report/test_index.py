"""A whole report: executions, staleness, index, links."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from nbconvert.exporters import get_exporter

from report_tools import (
    HOSTILE,
    Reader,
    assert_described,
    assert_links,
    assert_offline,
    assert_sound,
    code,
    displayed,
    markdown,
    record,
    sample_claim,
    sample_numbers,
    write_notebook,
    write_stage,
)
from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.base.parameter_files import merge, read_yaml
from verdict.base.params import load_params, validate
from verdict.report import executions as found, watch as watching
from verdict.report.__main__ import main
from verdict.report.executions import Execution, find_executions, merged_numbers
from verdict.report.exporter import Site
from verdict.report.index import _targets, combined_status, index_banners, render_index
from verdict.report.notebook import RenderError
from verdict.report.outputs import MIME
from verdict.report.pipeline import PAGE_W, Node, direct_needs, draw_pipeline, layers, placed
from verdict.report.provenance import duration, parameters, seeds
from verdict.report.site import build_site
from verdict.report.watch import changes
from verdict.workflow.stage_parameters import resolved

CHANGED_PARAMS = found._changed_params
SETUP = code('profile = "demo"', "parameters")


@pytest.fixture(autouse=True)
def _no_params(monkeypatch):
    """The demo profile has no parameter file."""
    monkeypatch.setattr(found, "_changed_params", lambda *_: [])


@pytest.fixture
def project(tmp_path):
    """Two notebooks, one with two trial executions, and one that was not run."""
    notebooks, work = tmp_path / "notebooks", tmp_path / "work" / "demo"
    write_notebook(notebooks / "03_steps.ipynb", [markdown("# Steps\n\nHow much?"), SETUP, markdown("{{ trial.f1 }}")])
    test = [markdown(f"# {HOSTILE.replace('{{ test.nothing }}', '')}\n\nHow good?"), SETUP]
    link = markdown("See [steps](03_steps-text1-s11.ipynb#main) and {{ test.macro_f1 }}.")
    write_notebook(notebooks / "05_test.ipynb", [*test, link])
    write_notebook(notebooks / "07_later.ipynb", [markdown("# Later\n\nWhat then?")])
    (notebooks / "index.md").write_text("# When?\n\nAbout {{ test.macro_f1 }}.\n\nLater {{ later.x }}.\n")
    for seed, value in ((11, 0.5), (23, 0.6)):
        folder = work / "03_steps" / f"text1-s{seed}"
        write_stage(folder, [SETUP], record("03_steps", trial="text1", seed=seed), Numbers({"trial.f1": Number(value)}))
    claims = [sample_claim(), sample_claim(id="no", holds=False, bound=0.9, statement=HOSTILE)]
    write_stage(work / "05_test", [*test], record(), sample_numbers(), claims)
    (work / "05_test" / "attribution.txt").write_text("Data by <b>somebody</b>.")
    return {"work": work, "notebooks": notebooks, "target": tmp_path / "reports"}


def test_a_report_is_whole(project):
    built = build_site("demo", **project)
    names = sorted(path.name for path in built.pages)
    assert names == ["03_steps-text1-s11.html", "03_steps-text1-s23.html", "05_test.html", "index.html", "review.html"]
    assert built.errors == ()
    assert_links(project["target"])
    for path in built.pages:
        page = Reader(path.read_text(encoding="utf-8"))
        assert_offline(page)
        assert_described(page)
        assert_sound(page)
    assert "0.5" in Reader((project["target"] / "03_steps-text1-s11.html").read_text()).words
    assert (project["target"] / "index.html").stat().st_size < 150_000


def test_nbconvert_makes_the_same_page(project, monkeypatch):
    monkeypatch.setattr(paths, "WORK", project["work"].parent)
    monkeypatch.setattr(paths, "NOTEBOOKS", project["notebooks"])
    build_site("demo", **project)
    exporter = get_exporter("verdict.report.exporter.ReportExporter")
    text, resources = exporter().from_filename(str(project["work"] / "05_test" / "executed.ipynb"))
    assert text == (project["target"] / "05_test.html").read_text(encoding="utf-8")
    assert "files/05_test.ipynb" in resources["outputs"] and resources["output_extension"] == ".html"
    with pytest.raises(FileNotFoundError, match="no executed notebook of a report"):
        get_exporter("verdict.report.exporter.ReportExporter")().from_filename(
            str(project["notebooks"] / "05_test.ipynb")
        )


@pytest.fixture
def whole(project):
    """The project with every notebook executed."""
    write_notebook(project["notebooks"] / "07_later.ipynb", [markdown("# Later\n\nWhat then?"), SETUP])
    write_stage(project["work"] / "07_later", [SETUP], record("07_later"), Numbers({"later.x": Number(1.0)}))
    return project


def is_recorded_as_whole(project):
    return (project["work"] / paths.rendered("demo").name).is_file()


def test_a_whole_report_is_recorded_with_its_files(whole):
    built = build_site("demo", **whole)
    assert (built.errors, built.unfinished) == ((), ())
    recorded = json.loads((whole["work"] / paths.rendered("demo").name).read_text(encoding="utf-8"))
    written = {path.relative_to(whole["target"]).as_posix() for path in whole["target"].rglob("*") if path.is_file()}
    assert set(recorded) == written and "files/05_test.ipynb" in recorded


def misspelt(project):
    write_notebook(project["notebooks"] / "07_later.ipynb", [markdown("# Later\n\nWhat? {{ later.y }}"), SETUP])


def misspelt_in_the_index(project):
    (project["notebooks"] / "index.md").write_text("# When?\n\n{{ later.y }}\n")


def never_run(project):
    write_notebook(project["notebooks"] / "08_new.ipynb", [markdown("# New\n\nWhat?"), SETUP])


def failed(project):
    write_notebook(project["work"] / "failed" / "07_later.ipynb", [SETUP])


def stale(project):
    write_notebook(project["notebooks"] / "07_later.ipynb", [markdown("# Later\n\nWhat?"), SETUP, code("x = 1")])


def made_of_what_is_gone(project):
    inputs = {"work/demo/no_such/run.json": "0" * 64}
    write_stage(
        project["work"] / "07_later", [SETUP], record("07_later", inputs=inputs), Numbers({"later.x": Number(1)})
    )


@pytest.mark.parametrize("harm", [misspelt, misspelt_in_the_index, never_run, failed, stale, made_of_what_is_gone])
def test_a_report_with_a_missing_stale_or_refused_page_is_never_whole(whole, harm, monkeypatch, capsys):
    """However often it is rendered, and also where a whole one was there before."""
    build_site("demo", **whole)
    assert is_recorded_as_whole(whole)
    harm(whole)
    monkeypatch.setattr(paths, "WORK", whole["work"].parent)
    monkeypatch.setattr(paths, "NOTEBOOKS", whole["notebooks"])
    monkeypatch.setattr(paths, "REPORTS", whole["target"])
    for _ in range(2):
        assert main(["--profile", "demo"]) != 0
        assert not is_recorded_as_whole(whole)
        told = capsys.readouterr().err
        assert any(word in told for word in ("refused: ", "not up to date: ", "error: "))


def test_one_page_rendered_anew_is_no_whole_report(whole):
    build_site("demo", **whole)
    build_site("demo", only="05_test", **whole)
    assert not is_recorded_as_whole(whole)


def test_the_index_says_what_holds_and_what_is_missing(project):
    build_site("demo", **project)
    page = Reader((project["target"] / "index.html").read_text(encoding="utf-8"))
    assert "About 0.812 [0.797, 0.826] ." in page.words
    assert "This paragraph waits for stages that have not run." in page.words
    assert "2 claims; holds: 1, does not hold: 1." in page.words and "does not hold" in page.words
    assert "75.0 % [74.0, 76.0] not met target 80 %, n = 4,003" in page.words
    assert "0.812 [0.797, 0.826] met, interval spans the target target 0.8" in page.words
    assert "Not everything has run. 07_later" in page.words
    assert "Data by <b>somebody</b>." in page.words
    assert "2 executions" in page.words and "text1, seeds 11 , 23" in page.words
    hrefs = [attributes["href"] for attributes in page.all("a")]
    assert "05_test.html#claim-no" in hrefs


def test_comments_in_the_text_of_the_index_are_left_out(project):
    text = "# When?\n\nAbout <!-- hid --> this.\n\n<!-- hid\n\nhid {{ no.such }}\n\n-->\n\nAnd <!-- hid\nhid --> that."
    (project["notebooks"] / "index.md").write_text(text)
    build_site("demo", **project)
    page = Reader((project["target"] / "index.html").read_text(encoding="utf-8"))
    assert "About this." in page.words and "And that." in page.words and "hid " not in page.words
    assert "waits for stages" not in page.words


def test_the_answer_of_a_page_may_be_a_text_cell(project):
    notebooks, work = project["notebooks"], project["work"]
    text = "It is {{ calibration.t }}{% if calibration.t.value > 1 %}, too sure{% endif %}, see [it](05_test.ipynb)."
    cells = [markdown("# Calibration\n\nBelieved?"), SETUP, markdown(text, "answer")]
    write_notebook(notebooks / "07_calibration.ipynb", cells)
    numbers = Numbers({"calibration.t": Number(2.0, 1.5, 2.5)})
    write_stage(work / "07_calibration", [SETUP], record("07_calibration"), numbers)
    build_site("demo", **project)
    index = (project["target"] / "index.html").read_text(encoding="utf-8")
    assert "[1.5, 2.5]</span>, too sure, see" in index and 'href="05_test.html"' in index


def test_the_same_notebook_on_another_model_is_a_page_of_its_own(project):
    notebooks, work = project["notebooks"], project["work"]
    for stage in ("07_calibration", "07_calibration-clip"):
        said = {"kind": "say", "template": f"About {stage}.", "numbers": {}}
        cells = [markdown("# Calibration\n\nBelieved?"), SETUP, code("say()", "answer")]
        write_notebook(notebooks / "07_calibration.ipynb", cells)
        run = {**record("07_calibration"), "stage": stage}
        write_stage(work / stage, [SETUP, code("say()", outputs=[displayed({MIME: said})])], run)
    build_site("demo", **project)
    page = Reader((project["target"] / "index.html").read_text(encoding="utf-8"))
    assert "About 07_calibration." in page.words and "About 07_calibration-clip." in page.words
    assert "Calibration (CLIP)" in page.words and "None" not in page.words
    assert_links(project["target"])


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
    site, run = Site("demo", params=params), [Execution("05_test", "05_test", "done", numbers=sample_numbers())]
    told = [banner["headline"] for banner in index_banners(site, run, ())]
    assert [text.partition(": ")[2] for text in told] == [f"{names}." for names in warned]
    assert len(_targets(site, run, sample_numbers())) == n_targets


@pytest.mark.parametrize(
    ("bounds", "is_warned"),
    [
        ((1.2, 1.1, 1.4), False),
        ((1096.633158, 1.0, 1096.633158), True),
        ((1.2, 0.9, 1096.633158), True),
        ((0.01, 0.000911882, 0.2), True),
        ((1.5, None, None), False),
    ],
)
def test_a_temperature_at_the_end_of_its_search_is_a_warning_and_no_finding(bounds, is_warned):
    stored = Numbers({"calibration.temperature": Number(*bounds, kind="estimate")})
    name = "07_calibration-clip"
    execution = Execution(name, "07_calibration", "done", run={"stage": name}, numbers=stored)
    told = [banner["headline"] for banner in index_banners(Site("demo"), [execution], ())]
    assert [text.startswith("The temperature (CLIP) lies at the end") for text in told] == [True] * is_warned


def test_a_missing_number_in_a_whole_report_is_an_error(project):
    whole = [Execution("05_test", "05_test", "done", numbers=sample_numbers(), run=record())]
    with pytest.raises(RenderError, match=r"index.md: .*'later.x'"):
        render_index(Site("demo"), whole, project["notebooks"] / "index.md")


def test_changed_code_gets_a_page_that_refuses(project):
    write_notebook(
        project["notebooks"] / "05_test.ipynb", [markdown("# T\n\nA?"), code("profile = 'other'", "parameters")]
    )
    built = build_site("demo", **project)
    assert len(built.errors) == 1 and "05_test.ipynb, cell 2: the code differs" in built.errors[0]
    words = Reader((project["target"] / "05_test.html").read_text(encoding="utf-8")).words
    assert "This page was not rendered" in words and "Stale" in words
    index = Reader((project["target"] / "index.html").read_text(encoding="utf-8")).words
    assert "Pages that were not rendered." in index


def test_a_changed_input_makes_a_page_stale(project, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "in.json").write_text("1")
    run = record(inputs={"in.json": "0" * 64, "gone.json": "1" * 64})
    (project["work"] / "05_test" / "run.json").write_text(json.dumps(run))
    test = next(
        e for e in find_executions("demo", work=project["work"], notebooks=project["notebooks"]) if e.name == "05_test"
    )
    assert test.status == "stale" and test.reasons == ("in.json changed since", "gone.json is gone")


def test_a_failed_trial_takes_the_place_of_its_success(project):
    write_notebook(project["work"] / "failed" / "03_steps-text1-s23.ipynb", [SETUP])
    write_notebook(project["work"] / "scratch" / "05_test" / "executed.ipynb", [SETUP])
    (project["work"] / "scratch" / "05_test" / "run.json").write_text(json.dumps(record()))
    executions = find_executions("demo", work=project["work"], notebooks=project["notebooks"])
    status = {execution.name: execution.status for execution in executions}
    assert status["03_steps-text1-s23"] == "failed" and status["03_steps-text1-s11"] == "done"
    assert len(executions) == 4
    assert combined_status([e for e in executions if e.notebook == "03_steps"]) == "partly"
    write_notebook(project["notebooks"] / "03_steps.ipynb", [markdown("# Steps\n\nHow much?"), SETUP])
    build_site("demo", **project)
    index = Reader((project["target"] / "index.html").read_text(encoding="utf-8"))
    assert "Failed: 1 of 4 executions. 03_steps-text1-s23" in index.words and "partly failed" in index.words


def test_names_that_differ_between_trials_belong_to_their_pages():
    one, two = (Execution(f"a{k}", "a", "done", numbers=Numbers({"t.f1": Number(k)})) for k in (1, 2))
    three = Execution("b", "b", "done", numbers=Numbers({"b.x": Number(5)}))
    assert set(merged_numbers([one, two, three])) == {"b.x"}
    assert merged_numbers([one, two, three], two)["t.f1"].value == 2


def test_numbers_of_another_source_have_its_name_elsewhere():
    own = Execution("07_calibration", "07_calibration", "done", numbers=Numbers({"calibration.t": Number(1.5)}))
    clip = replace(own, name="07_calibration-clip", run={"stage": "07_calibration-clip"})
    clip = replace(clip, numbers=Numbers({"calibration.t": Number(0.9)}))
    merged = merged_numbers([own, clip])
    assert (merged["calibration.t"].value, merged["clip.calibration.t"].value) == (1.5, 0.9)
    assert merged_numbers([own, clip], clip)["calibration.t"].value == 0.9
    assert (own.variant, clip.variant, clip.source) == ("", "CLIP", "clip")


def test_pages_of_an_earlier_build_go_and_other_files_stay(project):
    target = project["target"]
    write_notebook(target / "files" / "old" / "x.ipynb", [])
    (target / "09_old.html").write_text("old")
    (target / "README.md").write_text("mine")
    build_site("demo", **project)
    assert not (target / "09_old.html").exists() and not (target / "files" / "old").exists()
    assert (target / "README.md").read_text() == "mine" and (target / "files" / "05_test.ipynb").is_file()


FORMER = (
    ("14_removed", {}),
    ("03_staged_unfreezing/renamed-s11", {"trial": "renamed", "seed": 11}),
    ("03_staged_unfreezing/text1-s12", {"trial": "text1", "seed": 12}),
    ("01_recorded", {}),
)


@pytest.mark.parametrize(("folder", "run"), FORMER)
def test_what_is_declared_no_more_leaves_no_page(project, folder, run):
    """A notebook, a trial, a seed, and a stage of another source; of a profile whose parameters load."""
    notebook = folder.partition("/")[0]
    here = {"03_staged_unfreezing/text1-s11": {"trial": "text1", "seed": 11}, "05_test": {}, folder: run}
    for name, fields in here.items():
        cells = [markdown("# T\n\nWhat?"), SETUP]
        write_notebook(project["notebooks"] / f"{name.partition('/')[0]}.ipynb", cells)
        write_stage(project["work"] / name, cells, record(name.partition("/")[0], **fields), sample_numbers())
    if notebook == "14_removed":
        (project["notebooks"] / "14_removed.ipynb").unlink()
    (project["notebooks"] / "index.md").write_text("# When?\n")
    page = "-".join(folder.split("/"))
    (project["target"]).mkdir()
    (project["target"] / f"{page}.html").write_text("of an earlier build")
    build_site("smoke", **project)
    assert (project["target"] / "05_test.html").is_file()
    assert (project["target"] / "03_staged_unfreezing-text1-s11.html").is_file()
    assert not (project["target"] / f"{page}.html").exists()
    assert page not in (project["target"] / "index.html").read_text(encoding="utf-8")
    former = find_executions("smoke", work=project["work"], notebooks=project["notebooks"], with_former=True)
    assert page in {execution.name for execution in former}


def test_a_notebook_that_nobody_declared_is_told(project, monkeypatch, capsys):
    write_notebook(project["notebooks"] / "14_it's new.ipynb", [markdown("# T\n\nWhat?"), SETUP])
    monkeypatch.setattr(paths, "WORK", project["work"].parent)
    monkeypatch.setattr(paths, "NOTEBOOKS", project["notebooks"])
    monkeypatch.setattr(paths, "REPORTS", project["target"])
    assert main(["--profile", "demo"]) == 1
    told = capsys.readouterr().err
    assert (
        "not up to date: 14_it's new is missing; no stage of lib/verdict/workflow/declarations.py executes it" in told
    )


@pytest.mark.parametrize(
    ("left", "page", "notebook", "variant"),
    [
        ("14_What's new?-x", "14_What's new?-x", "14_What's new?-x", ""),
        ("14_What's new?", "14_What's new?", "14_What's new?", ""),
        ("03_steps-text1-s11", "03_steps-text1-s11", "03_steps", "text1, seed 11"),
        ("07_calibration-clip", "07_calibration-clip", "07_calibration", "CLIP"),
    ],
)
def test_what_failed_is_known_by_what_it_left(project, left, page, notebook, variant):
    for name in ("14_What's new?", "14_What's new?-x", "07_calibration"):
        write_notebook(project["notebooks"] / f"{name}.ipynb", [markdown("# T\n\nWhat?"), SETUP])
    write_notebook(project["work"] / "failed" / f"{left}.ipynb", [SETUP])
    executions = find_executions("demo", work=project["work"], notebooks=project["notebooks"])
    failed = [execution for execution in executions if execution.status == "failed"]
    assert [(e.name, e.notebook, e.variant) for e in failed] == [(page, notebook, variant)]


def test_one_page_alone(project):
    build_site("demo", **project)
    before = (project["target"] / "03_steps-text1-s11.html").stat().st_mtime_ns
    built = build_site("demo", only="05_test", **project)
    assert [path.name for path in built.pages] == ["05_test.html", "review.html", "index.html"]
    assert (project["target"] / "03_steps-text1-s11.html").stat().st_mtime_ns == before
    with pytest.raises(FileNotFoundError, match="no page is called 'x'"):
        build_site("demo", only="x", **project)


def test_the_command_line_refuses_an_unknown_profile(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "WORK", tmp_path)
    assert main(["--profile", "nothing"]) == 2
    assert "nothing was executed for profile 'nothing'" in capsys.readouterr().err


def node(name, *needs, status="done"):
    return Node(name, status, 1, 61.0, f"{name}.html", needs)


def test_the_picture_follows_the_needs():
    nodes = [node("01_a"), node("02_b", "01_a"), node("03_c", "01_a"), node("04_d", "01_a", "02_b", "03_c")]
    assert [[n.name for n in layer] for layer in layers(nodes)] == [["01_a"], ["02_b", "03_c"], ["04_d"]]
    assert direct_needs(nodes)["04_d"] == ["02_b", "03_c"]
    picture = Reader(draw_pipeline(nodes))
    assert picture.unbalanced == [] and len(picture.all("rect")) == 4 and len(picture.all("path")) == 2 * 4
    assert "d 61 s" in picture.words
    wide = [node("00_p"), *(node(f"0{k}_x", "00_p") for k in range(1, 5)), node("05_q")]
    place, width, _ = placed(wide)
    assert width <= PAGE_W and place["05_q"][1] > place["04_x"][1] > place["00_p"][1]
    assert placed([wide[0], wide[-1]])[0]["05_q"][1] == place["00_p"][1]
    with pytest.raises(ValueError, match="cycle"):
        layers([node("a", "b"), node("b", "a")])


def test_parameters_put_the_changed_ones_first():
    rows = parameters({"params": {"a": {"x": 1}, "b": {"y": [1, 2]}}, "non_default": ["b.y"]})
    assert [(row["name"], row["value"], row["is_changed"]) for row in rows] == [
        ("b.y", "[1, 2]", True),
        ("a.x", "1", False),
    ]


def test_every_seed_is_told_with_its_parameter():
    params = {"training": {"seeds": [11, 23], "warmup_seed": 1}, "trial": {"seed": 11}, "data": {"n": 3}}
    assert seeds({"params": params, "seed": 11}) == "11; 11, 23 (training.seeds); 1 (training.warmup_seed)"
    assert seeds({"params": {"data": {"n": 3}}}) == "none"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "time unknown"),
        (0.25, "250 ms"),
        (7.31, "7.3 s"),
        (61, "61 s"),
        (95, "1 min 35 s"),
        (3 * 3600 + 125, "3 h 02 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_rendering_imports_nothing_heavy():
    import subprocess

    program = (
        "import sys, verdict.report.site, verdict.report.index; "
        "heavy = 'matplotlib torch keras tensorflow sklearn scipy papermill IPython'.split(); "
        "print([name for name in heavy if name in sys.modules])"
    )
    library = str(Path(paths.__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": library}
    )
    assert done.stdout.strip() == "[]"


def test_watching_names_what_was_saved(project):
    steps = iter([lambda: None, lambda: (project["notebooks"] / "index.md").write_text("# New\n")])

    def sleep(_):
        next(steps)()

    assert [path.name for path in next(changes(project["notebooks"], sleep=sleep))] == ["index.md"]


def test_watching_renders_what_was_saved_and_outlives_a_mistake(project, monkeypatch):
    monkeypatch.setattr(paths, "WORK", project["work"].parent)
    monkeypatch.setattr(paths, "REPORTS", project["target"])
    notebook, said = project["notebooks"] / "05_test.ipynb", []

    def saved(_):
        text = notebook.read_text(encoding="utf-8")
        for prose in ("A heron passed.", "{{ test.heron }}"):
            edited = text.replace("See [steps]", f"{prose} See [steps]")
            notebook.write_text(edited, encoding="utf-8")
            yield [notebook]
        yield [project["notebooks"] / "index.md"]

    monkeypatch.setattr(watching, "changes", saved)
    watching.watch("demo", notebooks=project["notebooks"], say=said.append)
    assert "3 page(s)" in said[1] and "2 page(s)" in said[-1]
    assert any("refused: " in line and "'test.heron'" in line for line in said)
    page = (project["target"] / "demo" / "05_test.html").read_text(encoding="utf-8")
    assert "A heron passed." not in page and "This page was not rendered" in page


def test_a_changed_parameter_is_named():
    params = load_params("smoke")
    run = {"stage": "07_calibration", "params": json.loads(json.dumps(resolved(params, "07_calibration")))}
    assert CHANGED_PARAMS(run, "smoke") == []
    run["params"]["statistics"]["ece_bins"] += 1
    assert CHANGED_PARAMS(run, "smoke") == ["parameters changed since: statistics.ece_bins"]
    assert CHANGED_PARAMS(run, "no_such_profile") == ["the profile no_such_profile no longer exists"]


def test_changed_library_code_makes_a_page_stale(monkeypatch):
    monkeypatch.setattr(found, "code_digest", lambda name: f"digest of {name}")
    found.forget()
    assert found._changed_library({"stage": "05_test", "code": "digest of 05_test"}) == []
    assert found._changed_library({"stage": "05_test", "code": "another"}) == [
        "the library code behind it changed since"
    ]
    assert found._changed_library({"stage": "no stage", "code": "another"}) == []
    found.forget()
