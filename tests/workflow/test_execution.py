"""Where stages run: every profile's files are whole, and faults are refused by name."""

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.params import ParamsError
from verdict.workflow import stages
from verdict.workflow.code_digest import code_cells, library_files
from verdict.workflow.execution import WHERES, load_execution

BASE = """
jobs: 3
retries: 1
latency_s: 7
stages:
  default: {mem_mb: 1100, minutes: 13, gpu: 0, cpus: 2}
  features: {gpu: 1, mem_mb: 1700}
"""


@pytest.fixture
def folder(tmp_path):
    write_text(tmp_path / "local" / "base.yaml", BASE)
    return tmp_path


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("profile", sorted(path.stem for path in paths.PARAMS.glob("*.yaml")))
def test_every_profile_runs_everywhere(where, profile):
    execution = load_execution(where, profile)
    assert (execution.slurm is not None) == (where == "slurm")
    for name in stages.ALL_NAMES:
        ask = execution.ask(name)
        assert ask.mem_mb >= 1000 and ask.minutes >= 30 and ask.cpus >= 1


@pytest.mark.parametrize("where", ["local", "slurm"])
def test_stages_that_compute_with_a_framework_may_have_a_gpu_and_no_others(where):
    execution = load_execution(where, "paper")
    for name in stages.ALL_NAMES:
        notebook = paths.NOTEBOOKS / f"{stages.notebook_of(name)}.ipynb"
        if notebook.is_file():
            code = {file.name for file in library_files(code_cells(notebook))}
            assert execution.ask(name).gpu == int("backend.py" in code), name
        else:
            assert execution.ask(name).gpu == 1, name


def test_what_a_stage_leaves_out_is_as_in_the_default(folder):
    execution = load_execution("local", "any", folder)
    assert execution.ask("features").model_dump() == {"mem_mb": 1700, "minutes": 13, "gpu": 1, "cpus": 2}
    assert execution.ask("01_data").model_dump() == {"mem_mb": 1100, "minutes": 13, "gpu": 0, "cpus": 2}


def test_a_profile_overrides_key_by_key(folder):
    write_text(folder / "local" / "mine.yaml", "stages:\n  default: {mem_mb: 1300}\n  signals: {minutes: 17}\n")
    execution = load_execution("local", "mine", folder)
    assert execution.ask("features").mem_mb == 1700
    assert execution.ask("signals").model_dump() == {"mem_mb": 1300, "minutes": 17, "gpu": 0, "cpus": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {fetures: {gpu: 1}}", "fetures"),
        ("stages: {features: {gpu: 2}}", "stages.features.gpu"),
        ("stages: {features: {memory: 2}}", "stages.features.memory"),
        ("stages: {default: {cpus: null}}", "must say all"),
        ("jobs: 0", "jobs"),
        ("retries: 1.5", "retries"),
        ("slurm: {account: 'a; rm b'}", "slurm.account"),
    ],
)
def test_faults_are_refused_by_name(folder, text, message):
    write_text(folder / "local" / "mine.yaml", text)
    with pytest.raises(ParamsError, match=message):
        load_execution("local", "mine", folder)
