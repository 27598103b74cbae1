"""Which results are valid, by their hashes: found before a run, so that only damaged or outdated stages run again.

Snakemake compares times, and parameters that it keeps in a folder of its own; it sees no flipped byte, truncated file
or clock that was set back. The record of a stage whose result is damaged, or was made with other parameters, code or
packages, is therefore removed, as if the stage had not run.
"""

import functools
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from verdict.base import artifacts, paths
from verdict.base.artifacts import RECORD, read_json, recorded_hash, relative, sha256_file
from verdict.base.params import Params
from verdict.workflow import stages
from verdict.workflow.code_digest import code_digest
from verdict.workflow.result_folder import question
from verdict.workflow.stage_parameters import differences, resolved

# Hash of all that the last whole report was made from, and of its records.
WHOLE = ".whole"
SAID = {"params": "parameters", "code": "code", "versions": "package versions"}


def records(params: Params, profile: str) -> list[Path]:
    """Record of every stage of a profile, in the order of the stages, whether or not it is there."""
    return [stages.folder(profile, *execution) / RECORD for execution in stages.executions(params)]


def missing(params: Params, profile: str) -> list[str]:
    """Records that are not there, as the workflow names them; it makes no missing file that nobody asks it for."""
    # Not resolved: where `work` is a link to another disk, the workflow still calls it work.
    return [path.relative_to(paths.ROOT).as_posix() for path in records(params, profile) if not path.is_file()]


def settle_times(params: Params, profile: str) -> list[str]:
    """Give records of the future the present time, and say so: a workflow makes nothing from what is still to come."""
    ahead = [path for path in records(params, profile) if path.is_file() and path.stat().st_mtime > time.time()]
    for path in ahead:
        os.utime(path)
    said = f"the clock was set back: {len(ahead)} records are of the future, and count as written now"
    return [said] if ahead else []


def damage(folder: Path) -> str:
    """What is wrong with a stage's result: a damaged record, a changed output, another input; "" where nothing is."""
    try:
        record = artifacts.verify_outputs(folder)
    except (artifacts.StaleResultError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error)
    if artifacts.SELF not in record:
        return f"{relative(folder / RECORD)} holds no hash of itself"
    for name, expected in record["inputs"].items():
        # Where an input is not there, its stage runs, and with it all that follows.
        if recorded_hash(name, record) not in (expected, "missing"):
            return f"{relative(folder)} was made from another {name} than there is now"
    return ""


def _damaged(params: Params, profile: str) -> dict[Path, str]:
    """What is wrong with each result that is there, by its record; files are hashed side by side."""
    found = [path for path in records(params, profile) if path.is_file()]
    with ThreadPoolExecutor() as pool:
        return dict(zip(found, pool.map(damage, (path.parent for path in found)), strict=True))


def _outdated(params: Params, profile: str, chosen: Iterable[Path]) -> dict[Path, str]:
    """What has changed since each of these records was written, "" where nothing has."""
    code = functools.cache(code_digest)
    causes = {}
    for (name, trial), record in zip(stages.executions(params), records(params, profile), strict=True):
        if record in chosen:
            was, now = read_json(record), question(name, params, trial, code=code)
            names, files = differences(was.get("params", now["params"]), now["params"])
            changed = [words for key, words in SAID.items() if was.get(key, now[key]) != now[key]]
            if files and not names:
                changed.remove(SAID["params"])
            causes[record] = "; ".join([*files, *([f"other {' and '.join(changed)} since"] if changed else [])])
    return causes


def stand(params: Params, profile: str) -> bool:
    """Whether every stage has a record that is not outdated, damage apart: at most pages are then to be made."""
    try:
        return not missing(params, profile) and not any(_outdated(params, profile, records(params, profile)).values())
    except (OSError, ValueError, AttributeError):
        return False


def forget(params: Params, profile: str, *, outdated: bool = True) -> list[str]:
    """Remove the records of damaged results, and with `outdated` those of outdated ones, so that their stages run
    again; a line for each says why.
    """
    causes = _damaged(params, profile)
    if outdated:
        causes |= _outdated(params, profile, [record for record, cause in causes.items() if not cause])
    for record in filter(causes.get, causes):
        record.unlink()
    return [f"{relative(record.parent)} is made again: {cause}" for record, cause in causes.items() if cause]


def changed_pages(profile: str) -> list[Path]:
    """Files of a rendered report that are gone or not as they were written; the record of them where it is bad."""
    record = paths.rendered(profile)
    try:
        files = {paths.report_dir(profile) / name: digest for name, digest in read_json(record).items()}
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError):
        return [record]
    return [path for path, digest in files.items() if not path.is_file() or sha256_file(path) != digest]


def forget_pages(profile: str) -> list[str]:
    """Remove the record of a rendered report where one of its files is gone or changed; a line that says so."""
    changed = changed_pages(profile)
    if not changed:
        return []
    paths.rendered(profile).unlink()
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return [f"the pages are rendered again: {relative(changed[0])}{more} is gone, or not as it was written"]


def sources(params: Params) -> str:
    """Hash of all that a report is made from: the project's files, parameters and what they name, package versions."""
    made = [path for path in paths.LIBRARY.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    made += [*paths.NOTEBOOKS.glob("*.ipynb"), *paths.NOTEBOOKS.glob("*.md"), *paths.NOTEBOOKS.glob("*.yaml")]
    made += paths.PARAMS.glob("rubric.yaml")
    files = {relative(path): sha256_file(path) for path in (*made, *paths.ROOT.glob("Snakefile"))}
    asked = [resolved(params, *execution) for execution in stages.executions(params)]
    return artifacts.content_hash([files, params.hash, asked, artifacts.package_versions()])


def _whole(params: Params, profile: str, made_from: str) -> str:
    made = [*records(params, profile), paths.rendered(profile)]
    return artifacts.content_hash([made_from, [sha256_file(path) if path.is_file() else "" for path in made]])


def keep_whole(params: Params, profile: str, made_from: str) -> None:
    """Note that a report is whole, and what it was made from: `sources`, as they were before it was begun."""
    artifacts.write_text(paths.work_dir(profile) / WHOLE, _whole(params, profile, made_from))


def is_up_to_date(params: Params, profile: str) -> bool:
    """Whether the whole report is there, undamaged, and made from what there is now; nothing is changed."""
    kept = paths.work_dir(profile) / WHOLE
    if stages.undeclared() or missing(params, profile) or not paths.rendered(profile).is_file():
        return False
    if not kept.is_file() or kept.read_text(encoding="utf-8") != _whole(params, profile, sources(params)):
        return False
    return not any(_damaged(params, profile).values()) and not changed_pages(profile)
