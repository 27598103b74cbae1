"""The smoke report on a real Slurm (`make test-slurm`): equal to a local one, also when a node dies."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.bench import installation

from report_runs import PROFILE, copy_project, environment
from verdict.base import paths
from verdict.base.artifacts import verify_outputs, write_text
from verdict.report.executions import find_executions
from verdict.report.pipeline import jobs_of
from verdict.workflow import slurm

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(slurm.why_not()), reason=f"no Slurm: {slurm.why_not()}")]
LIMIT_S = int(os.environ.get("VERDICT_TEST_LIMIT_S", "1800"))
TRIAL = "03_staged_unfreezing"
SETTINGS = """
retries: 1
latency_s: 10
slurm: {first_check_s: 1, report_waiting_s: 5, give_up_minutes: 1}
stages: {default: {mem_mb: 2000, minutes: 30}}
"""


def said(command: str) -> str:
    """What a command prints."""
    return subprocess.run(command.split(), capture_output=True, text=True, check=False).stdout


def nodes_up() -> list[str]:
    """Names of the nodes that can take jobs."""
    return sorted(set(said("sinfo --noheader --Node --states=idle,mixed,allocated --format=%N").split()))


def make(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A report, stopped as a person would stop it where it takes too long."""
    command = ["timeout", "-s", "INT", "-k", "60", str(LIMIT_S), sys.executable, "-m", "verdict.workflow.pipeline"]
    command += ["--profile", PROFILE, *options]
    return subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True, check=False)


def project(folder: Path) -> Path:
    """A copy on a folder that all nodes see, with features in two shards and little patience."""
    root = copy_project(folder / "project")
    with (root / "params" / f"{PROFILE}.yaml").open("a", encoding="utf-8") as file:
        file.write("\nexecution: {feature_shards: 2}\n")
    write_text(root / "params" / "execution" / "slurm" / f"{PROFILE}.yaml", SETTINGS)
    return root


def whole(root: Path, folder: Path) -> dict:
    """A stage's record in that copy, its outputs compared with what it says of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        return verify_outputs(folder)


def numbers(root: Path):
    return installation.collect(root / "work" / PROFILE).set_index(["stage", "number"])


@pytest.fixture(scope="module")
def figures():
    """What was found, row by row; kept among the benchmarks where VERDICT_TEST_RECORD is set."""
    from tests.bench import records

    rows, started = [], time.monotonic()
    yield lambda check, figure: rows.append({"check": check, "command": "make test-slurm", "figure": figure})
    if rows and os.environ.get("VERDICT_TEST_RECORD"):
        version = said("sinfo --version").strip()
        made = records.provenance("make test-slurm", 1, time.monotonic() - started)
        about = f"The smoke profile on {version}, nodes {', '.join(nodes_up())}, beside a local run."
        records.save("cluster", {"provenance": made, "about": about, "results": rows})


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    given = os.environ.get("VERDICT_TEST_SHARED")
    return Path(given) if given else tmp_path_factory.mktemp("slurm")


@pytest.fixture(scope="module")
def local(shared):
    root = copy_project(shared / "local" / "project")
    done = make(root, "--cores", "2")
    assert done.returncode == 0, done.stderr[-4000:]
    return numbers(root)


@pytest.fixture(scope="module")
def finished(shared):
    root = project(shared / "slurm")
    done = make(root, "--where", "slurm")
    assert done.returncode == 0, done.stderr[-4000:]
    return root


def differing(found, local) -> list:
    """Names of stored numbers of which value, interval or count are not the very same."""
    assert found.index.equals(local.index) and len(found) > 300
    return [name for name in found.index if str(found.loc[name].tolist()) != str(local.loc[name].tolist())]


def test_every_stored_number_is_that_of_the_local_run(finished, local, figures):
    found = numbers(finished)
    different = differing(found, local)
    figures("stored numbers that differ from the local run", f"{len(different)} of {len(found)}")
    assert different == []


def test_jobs_ran_on_every_node_and_the_page_says_where(finished, figures):
    jobs = jobs_of(find_executions(PROFILE, work=finished / "work" / PROFILE))
    assert all(job.number for job in jobs) and len({job.number for job in jobs}) == len(jobs)
    nodes = nodes_up()
    assert {job.node for job in jobs} <= set(nodes)
    by_node = {node: sum(job.node == node for job in jobs) for node in sorted({job.node for job in jobs})}
    figures("jobs by node", ", ".join(f"{node}: {count}" for node, count in by_node.items()))
    assert len(by_node) >= min(2, len(nodes))
    assert {job.name for job in jobs} >= {"features 0-of-2", "features 1-of-2", "features"}
    page = (finished / "reports" / PROFILE / "index.html").read_text(encoding="utf-8")
    assert all(f"<td>{job.node}</td><td>{job.number}</td>" in page for job in jobs)


def test_a_job_that_fails_by_design_is_reported_and_the_rest_finish(finished, figures):
    """Two new trials: one oversamples a bucket that there is not, the other is sound."""
    file = finished / "params" / f"{PROFILE}.yaml"
    before = file.read_text(encoding="utf-8")
    text = before.replace("\n    - {name: image_only", f"{TRIALS}\n    - {{name: image_only", 1)
    assert text != before
    file.write_text(text, encoding="utf-8")
    done = make(finished, "--where", "slurm")
    file.write_text(before, encoding="utf-8")
    work = finished / "work" / PROFILE
    assert done.returncode != 0
    assert whole(finished, work / TRIAL / "sound")["trial"] == "sound"
    assert not (work / TRIAL / "broken" / "run.json").exists()
    assert f"{TRIAL} broken: failed, see work/{PROFILE}/failed/{TRIAL}-broken.ipynb" in done.stderr
    told = done.stderr.split("is NOT complete")[1]
    assert "no_such_bucket" in told
    line = next(line.strip() for line in told.splitlines() if "no_such_bucket" in line)
    figures("a job fails by design, a sound one beside it", f"reported ('{line[:90]}'), the other finished")
    for name in ("broken", "sound"):
        shutil.rmtree(work / "failed", ignore_errors=True)
        shutil.rmtree(work / TRIAL / name, ignore_errors=True)
    assert make(finished, "--where", "slurm").returncode == 0


TRIALS = "".join(
    f"\n    - {{name: {name}, parent: frozen, vision_blocks: 0, text_blocks: 0, learning_rate: 1.0e-3, "
    f"weight_decay: 1.0e-2, dropout: 0.1, epochs: 1, patience: 1, schedule: cosine, oversample: {{{bucket}: 1.5}}}}"
    for name, bucket in (("broken", "no_such_bucket"), ("sound", "exact_count"))
)


def node_processes() -> dict[str, int]:
    """Process numbers of node daemons that run on this machine under a name of their own."""
    rows = [line.split() for line in said("pgrep -a -x slurmd").splitlines()]
    return {row[row.index("-N") + 1]: int(row[0]) for row in rows if "-N" in row}


def history(jobs: set[str]) -> list[str]:
    """States of jobs as accounting has them, every start of a requeued one."""
    told = said("sacct -X -n -P -D --format=JobIDRaw,State,NodeList,Start,End,Comment%40")
    return [line for line in told.splitlines() if line.split("|")[0] in jobs]


def is_ours() -> bool:
    """Whether every node of the cluster is a daemon on this machine, so that nobody else is disturbed."""
    return not slurm.why_not() and len(node_processes()) >= 2 and set(nodes_up()) <= set(node_processes())


needs_own_nodes = pytest.mark.skipif(not is_ours(), reason="needs two nodes whose daemons run on this machine")


@needs_own_nodes
def test_a_node_that_dies_as_a_job_is_submitted_leaves_one_whole_result(finished, local, figures):
    """Slurm starts the job again by itself while Snakemake submits it anew."""
    work = finished / "work" / PROFILE
    shutil.rmtree(work / TRIAL / "text1")
    for seed in (11, 23):
        (work / "checkpoints" / f"text1-s{seed}.npz").unlink()
    first = highest_job()
    node, process = sorted(node_processes().items())[-1]
    trouble = threading.Thread(target=kill_and_revive, args=(work / "snakemake.log", node, process))
    trouble.start()
    done = make(finished, "--where", "slurm")
    trouble.join()
    submitted = {str(number) for number in range(first + 1, highest_job() + 1)}
    told = history(submitted)
    print("\n".join([*told, done.stderr[-3000:]]))
    states = [line.split("|")[1].split()[0] for line in told]
    assert states.count("COMPLETED") >= 2 and len(states) > 2, told
    for record in sorted(work.rglob("run.json")):
        whole(finished, record.parent)
    # What could not be placed any more was told, not waited for in silence.
    waited = "cannot be placed" in done.stderr
    assert done.returncode == 0 or waited or "NODE_FAIL" in done.stderr, done.stderr[-3000:]
    assert make(finished, "--where", "slurm").returncode == 0
    different = differing(numbers(finished), local)
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    figures(
        f"{node} killed as two jobs were submitted",
        f"starts by accounting: {counts}; {overlaps(told)} pairs of starts overlapped; a waiting job was "
        f"{'reported' if waited else 'never without a place'}; numbers that differ afterwards: {len(different)}",
    )
    assert different == []


def kill_and_revive(log: Path, node: str, process: int) -> None:
    """Kill a node's daemon as jobs are about to be submitted, before Slurm has missed it.

    Slurm then starts the lost job again elsewhere; once the job that was submitted anew waits for the node, the node
    comes back, so that both run at once.
    """
    log.unlink(missing_ok=True)
    wait_for(lambda: log.is_file() and "Select jobs" in log.read_text(encoding="utf-8", errors="replace"), LIMIT_S)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: "ReqNode" in said("squeue --noheader --states=PENDING --format=%r"), 90)
    start_node(node)


def wait_for(condition, seconds: float) -> None:
    """Return when something holds, or when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def overlaps(told: list[str]) -> int:
    """Pairs of starts of one stage that ran at the same time."""
    rows = [line.split("|") for line in told]
    spans = [(row[5], row[3], row[4]) for row in rows if row[3][:1].isdigit() and row[4][:1].isdigit()]
    couples = [(a, b) for k, a in enumerate(spans) for b in spans[k + 1 :] if a[0] == b[0]]
    return sum(a[1] < b[2] and b[1] < a[2] for a, b in couples)


def highest_job() -> int:
    told = said("sacct -X -n -P --format=JobIDRaw")
    return max((int(line) for line in told.split() if line.isdigit()), default=0)


def start_node(name: str) -> None:
    """Start a node's daemon again, in a host name of its own, and wait until it takes jobs."""
    subprocess.run(["unshare", "-u", "sh", "-c", f"hostname {name}; exec slurmd -N {name}"], check=True)
    wait_for(lambda: name in nodes_up(), 120)
    assert name in nodes_up()


@needs_own_nodes
def test_a_job_that_nothing_can_take_is_reported_and_given_up(finished, figures):
    """Every node is drained while a job waits."""
    settings = finished / "params" / "execution" / "slurm" / f"{PROFILE}.yaml"
    before = settings.read_text(encoding="utf-8")
    for node in nodes_up():
        said(f"scontrol update NodeName={node} State=DRAIN Reason=test")
    settings.write_text(before.replace("retries: 1", "retries: 0"), encoding="utf-8")
    shutil.rmtree(finished / "work" / PROFILE / "13_reproducibility")
    try:
        done = make(finished, "--where", "slurm")
    finally:
        settings.write_text(before, encoding="utf-8")
        for node in node_processes():
            said(f"scontrol update NodeName={node} State=RESUME")
    assert done.returncode != 0
    assert "13_reproducibility" in done.stderr and "cannot be placed" in done.stderr and "is given up" in done.stderr
    line = next(line.strip() for line in done.stderr.splitlines() if "is given up" in line)
    figures("every node drained", line[:160])
    assert "13_reproducibility: not reached" in done.stderr
