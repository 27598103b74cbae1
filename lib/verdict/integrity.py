"""Results that were damaged, or made from something else, are found by their hashes before a run and made again.

Snakemake looks at times, and at parameters that it keeps in a folder of its own. A flipped byte, a truncated file, a
clock that was set back, or results that came without that folder are seen by neither; a stage whose record does not
hold, or answers another question than is asked now, is therefore made to look as if it had not run.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from verdict import paths, stages
from verdict.artifacts import SELF, StaleResultError, read_json, recorded_hash, relative, sha256_file, verify_outputs
from verdict.code_digest import code_digest
from verdict.params import Params
from verdict.result_folder import question


def expected(params: Params, profile: str) -> list[Path]:
    """Folders of every stage of a profile, in the order of the stages."""
    return [stages.folder(profile, *execution) for execution in stages.executions(params)]


def missing(params: Params, profile: str) -> list[str]:
    """Records that are not there, as the workflow names them; it makes no missing file that nobody asks it for."""
    gone = [path for folder in expected(params, profile) if not (path := folder / "run.json").is_file()]
    # Not resolved: where `work` is a link to another disk, the workflow still calls it work.
    return [path.relative_to(paths.ROOT).as_posix() for path in gone]


def settle_times(params: Params, profile: str) -> list[str]:
    """Give records of the future the present time: a workflow refuses to make anything from what is not written yet.

    Returns
    -------
    list of str
        A line that says so, where the clock was set back since; what was made from these records is looked at again.
    """
    records = [folder / "run.json" for folder in expected(params, profile)]
    ahead = [path for path in records if path.is_file() and path.stat().st_mtime > time.time()]
    for path in ahead:
        os.utime(path)
    return (
        [f"the clock was set back: {len(ahead)} records are of the future, and count as written now"] if ahead else []
    )


def fault(folder: Path) -> str:
    """What is wrong with a stage's result: a damaged record, a changed output, another input; "" where nothing is."""
    try:
        record = verify_outputs(folder)
    except (StaleResultError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error)
    if SELF not in record:
        return f"{relative(folder / 'run.json')} holds no hash of itself"
    for name, expected in record["inputs"].items():
        # Where an input is not there, its stage runs, and with it all that follows.
        if recorded_hash(name, record) not in (expected, "missing"):
            return f"{relative(folder)} was made from another {name} than there is now"
    return ""


def faults(params: Params, profile: str) -> Iterator[tuple[Path, str]]:
    """Folder and fault of every stage whose result does not hold; files are hashed side by side."""
    folders = [folder for folder in expected(params, profile) if (folder / "run.json").is_file()]
    with ThreadPoolExecutor() as pool:
        yield from ((folder, found) for folder, found in zip(folders, pool.map(fault, folders), strict=True) if found)


def outdated(params: Params, profile: str) -> Iterator[tuple[Path, str]]:
    """Folder of every stage whose record answers another question than is asked now, and what differs."""
    said = {"params": "parameters", "code": "code", "versions": "package versions"}
    code = functools.cache(code_digest)
    for execution in stages.executions(params):
        folder = stages.folder(profile, *execution)
        try:
            record = read_json(folder / "run.json")
        except FileNotFoundError:
            continue
        now = question(execution[0], params, *execution[1:], code=code)
        if changed := [words for key, words in said.items() if record.get(key, now[key]) != now[key]]:
            yield folder, " and ".join(changed)


def forget_pages(profile: str) -> list[str]:
    """Take the record of a rendered report away where a file of it is gone or another; a line that says so."""
    record = paths.rendered(profile)
    try:
        files = {paths.report_dir(profile) / name: digest for name, digest in read_json(record).items()}
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError):
        files = {record: ""}
    changed = [path for path, digest in files.items() if not path.is_file() or sha256_file(path) != digest]
    if not changed:
        return []
    record.unlink()
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return [f"the pages are rendered again: {relative(changed[0])}{more} is gone, or not as it was written"]


def forget_damaged(params: Params, profile: str) -> list[str]:
    """Take away the records of damaged results, so that their stages run again; one line for each, with the cause."""
    return _forget(faults(params, profile))


def forget_outdated(params: Params, profile: str) -> list[str]:
    """The same of whole results that answer another question than is asked now."""
    return _forget((folder, f"other {changed} since") for folder, changed in outdated(params, profile))


def _forget(found: Iterable[tuple[Path, str]]) -> list[str]:
    lines = []
    for folder, cause in list(found):
        (folder / "run.json").unlink()
        lines.append(f"{relative(folder)} is made again: {cause}")
    return lines
