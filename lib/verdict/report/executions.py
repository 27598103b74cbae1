"""What has been executed for a profile: records, numbers, claims, and whether they still match the project."""

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import read_json, read_run, sha256_file
from verdict.base.labels import in_words
from verdict.base.numbers import EXACT, Claim, Number, Numbers
from verdict.base.params import Params, load_params
from verdict.report.notebook import RenderError, matched
from verdict.workflow import stages
from verdict.workflow.code_digest import code_digest
from verdict.workflow.stage_parameters import differences, resolved

MAX_HASHED_BYTES = 5_000_000


@dataclass(frozen=True)
class Execution:
    """One execution of a notebook, whole or failed, or a notebook that was not executed.

    `name` is the stem of its page, `notebook` that of the live notebook, `status` "done", "stale", "failed" or
    "missing", with reasons where it is stale or failed; `run` is the record, empty where there is none.
    """

    name: str
    notebook: str
    status: str
    reasons: tuple[str, ...] = ()
    run: dict = field(default_factory=dict)
    folder: Path | None = None
    executed: Path | None = None
    numbers: Numbers = field(default_factory=Numbers)
    claims: tuple[Claim, ...] = ()

    @property
    def live(self) -> Path:
        """The notebook as it is now."""
        return paths.NOTEBOOKS / f"{self.notebook}.ipynb"

    @property
    def elapsed_s(self) -> float:
        """Seconds that the execution took; 0 where unknown."""
        return float(self.run.get("elapsed_s") or 0.0)

    @property
    def stage(self) -> str:
        """Name of the stage; that of the notebook where there is no record."""
        return str(self.run.get("stage") or self.notebook)

    @property
    def source(self) -> str:
        """Whose predictions it judges, see `stage.source_of`."""
        return stages.source_of(self.stage)

    @property
    def is_trial(self) -> bool:
        """Whether it is one trial: one of many executions of its notebook."""
        return bool(self.run.get("trial"))

    @property
    def variant(self) -> str:
        """What tells apart executions of one notebook, such as "CLIP" or "text2"."""
        return "CLIP" if self.source == stages.CLIP else in_words(self.run.get("trial") or "")


def find_executions(profile: str, *, work: Path | None = None, with_former: bool = False) -> list[Execution]:
    """Every execution of a profile in reading order; notebooks that were not executed are listed as missing.

    A failed execution is a notebook `failed/<page>.ipynb`; it takes the place of an older success. What a stage, a
    trial or a seed has left that is declared no more is no part of the report, and found with `with_former` alone.
    `work` is the folder of the stages where it is not the profile's.
    """
    work = work or paths.work_dir(profile)
    by_page = {e.name: e for e in (_load(folder, profile) for folder in _folders(work))}
    by_page |= {path.stem: _failed(path, profile) for path in sorted((work / "failed").glob("*.ipynb"))}
    live = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb") if path.stem[:1].isdigit()}
    params = params_of(profile)
    if params:
        live -= set(stages.ALL_NAMES) - {spec.name for spec in stages.specs_for(params)}
        declared = {stages.page(*execution) for execution in stages.executions(params)}
        by_page = {page: e for page, e in by_page.items() if with_former or page in declared}
    known = {stages.notebook_of(name) for name in stages.ALL_NAMES}
    missing = live - {execution.notebook for execution in by_page.values()}
    not_run = (Execution(name, name, "missing", () if name in known else (stages.UNDECLARED,)) for name in missing)
    return sorted([*by_page.values(), *not_run], key=lambda e: (e.notebook, e.stage, str(e.run.get("trial") or "")))


def params_of(profile: str) -> Params | None:
    """The profile's parameters; None where they no longer load."""
    try:
        return _params_now(profile)
    except (FileNotFoundError, ValueError):
        return None


def _folders(work: Path) -> list[Path]:
    folders = {record.parent for pattern in ("*/run.json", "*/*/run.json") for record in work.glob(pattern)}
    # Names with a dot are executions under way.
    apart = re.compile(r"(^|/)(\.|(scratch|failed|feature_shards|seeds_apart)(/|$))")
    return sorted(folder for folder in folders if not apart.search(folder.relative_to(work).as_posix()))


def _load(folder: Path, profile: str) -> Execution:
    run = read_run(folder)
    page = stages.page(str(run["stage"]), run.get("trial"))
    executed = folder / "executed.ipynb" if (folder / "executed.ipynb").is_file() else None
    numbers = Numbers.load(folder / "numbers.json") if (folder / "numbers.json").is_file() else Numbers()
    stored = read_json(folder / "claims.json") if (folder / "claims.json").is_file() else ()
    claims = tuple(Claim(**entry) for entry in stored)
    found = Execution(page, str(run["notebook"]), "done", (), run, folder, executed, numbers, claims)
    reasons = tuple(_staleness(found, profile))
    return replace(found, status="stale", reasons=reasons) if reasons else found


def _failed(path: Path, profile: str) -> Execution:
    page = path.stem
    live = [file.stem for file in paths.NOTEBOOKS.glob("*.ipynb")]
    notebook = max((stem for stem in live if page == stem or page.startswith(f"{stem}-")), key=len, default=page)
    if page in stages.ALL_NAMES:
        stage, trial = page, ""
    else:
        stage, trial = notebook, page.removeprefix(notebook).strip("-")
    run = {"notebook": notebook, "stage": stage, "profile": profile, "trial": trial or None}
    return Execution(page, notebook, "failed", ("it did not run to its end",), run, path.parent, path)


def _staleness(execution: Execution, profile: str) -> list[str]:
    """Reasons why a result no longer matches the project; empty when it does.

    Compares the parameters that the stage depends on, the code of the notebook and of what it imports, and the hashes
    of recorded inputs up to 5 MB.
    """
    run, live = execution.run, execution.live
    reasons = [*_changed_params(run, profile), *_changed_inputs(run)]
    if execution.executed is None:
        return reasons
    if not live.is_file():
        return [*reasons, f"{live.name} no longer exists"]
    try:
        matched(live, execution.executed)
    except RenderError as error:
        return [*reasons, str(error)]
    return [*reasons, *_changed_library(run)]


_params_now = functools.cache(load_params)
_code_now = functools.cache(code_digest)


def forget() -> None:
    """Read parameters and library again the next time; for a process that outlives an edit."""
    _params_now.cache_clear()
    _code_now.cache_clear()


def _changed_params(run: dict, profile: str) -> list[str]:
    try:
        params = _params_now(profile)
        now = resolved(params, run["stage"], run.get("trial"))
    except FileNotFoundError:
        return [f"the profile {profile} no longer exists"]
    except (KeyError, ValueError) as error:
        return [f"its parameters cannot be resolved now: {error}"]
    changed, files = differences(run.get("params", {}), json.loads(json.dumps(now)))
    return [*files, *([f"parameters changed since: {', '.join(changed[:5])}"] if changed else [])]


def _changed_library(run: dict) -> list[str]:
    is_recorded = "code" in run and run["stage"] in stages.ALL_NAMES
    is_changed = is_recorded and run["code"] != _code_now(run["stage"])
    return ["the library code behind it changed since"] if is_changed else []


def _changed_inputs(run: dict) -> list[str]:
    changed = []
    for name, expected in run.get("inputs", {}).items():
        path = paths.ROOT / name
        if not path.is_file():
            changed.append(f"{name} is gone")
        elif path.stat().st_size <= MAX_HASHED_BYTES and sha256_file(path) != expected:
            changed.append(f"{name} changed since")
    return changed


def merged_numbers(executions: Sequence[Execution], own: Execution | None = None) -> Numbers:
    """What a page's prose may refer to: its own numbers, and those that only one value exists for elsewhere.

    A name that several executions store with different values (trials, seeds) belongs to their own pages alone. What
    was measured of another source's predictions is called `<source>.<name>` elsewhere; pages on one source share their
    names. Prose that is no page's own may also speak of the report as a whole.
    """
    kept = _shared(executions)
    if own is None:
        return Numbers(kept | _of_report(executions))
    if own.source != stages.MODEL:
        kept |= _shared([execution for execution in executions if execution.source == own.source], prefix="")
    return Numbers(kept | dict(own.numbers))


def _shared(executions: Sequence[Execution], prefix: str | None = None) -> dict[str, Number]:
    """Numbers that have one value in all executions, by name; those of another source begin with it, or as is said."""
    seen: dict[str, Number] = {}
    clashing: set[str] = set()
    for execution in executions:
        of_source = "" if execution.source == stages.MODEL else f"{execution.source}."
        for own_name, number in execution.numbers.items():
            name = f"{of_source if prefix is None else prefix}{own_name}"
            known = seen.setdefault(name, number)
            if known != number and repr(known) != repr(number):  # undefined values are equal
                clashing.add(name)
    return {name: number for name, number in seen.items() if name not in clashing}


def _of_report(executions: Sequence[Execution]) -> dict[str, Number]:
    """How many claims there are and fail, and the minutes of computing, summed over all executions."""
    verdicts = [claim.holds for execution in executions for claim in execution.claims]
    minutes = sum(execution.elapsed_s for execution in executions) / 60
    counts = {"report.n_claims": len(verdicts), "report.n_failing": verdicts.count(False)}
    found = {name: Number(n, unit="count") for name, n in counts.items()}
    return found | {"report.minutes": Number(minutes, unit="min", kind=EXACT)}
