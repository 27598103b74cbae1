"""The copy of a report that is kept in git, for readers without Python: `python -m verdict.report.publish`.

Rendered anew without what makes up most of a report's size (executed notebooks, large tables, the pages of
trials but the kept one), with pictures as WebP, and handed to `git add`; the commit is left to whoever publishes.
`published.json` beside the pages says what they were made from. With `--zip` the copy is also packed, to hand in.
"""

import argparse
import io
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from verdict.base import paths
from verdict.base.artifacts import git, read_json, sha256_file, write_bytes, write_json, write_text
from verdict.base.params import load_params
from verdict.report.executions import Execution, find_executions
from verdict.report.outputs import as_webp
from verdict.report.provenance import changes
from verdict.report.site import build_site
from verdict.workflow.remaining import TIMES, times_of

PROFILE = "digits"
# Beside the pages: what they were made from.
PUBLISHED = "published.json"
MAX_BYTES = 6_000_000
_PICTURE = re.compile(r'src="data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)"')


class PublishError(ValueError):
    """A report that must not be published as it is."""


def origin(executions: Sequence[Execution]) -> dict:
    """Commits, parameters and time of a report; the commit of its newest page comes first.

    Pages of several commits are published where nothing is stale, since their code then equals the project's by its
    hash. PublishError if anything in it failed, is stale or missing, is a smoke run, or
    stems from several parameter sets.
    """
    unfit = [f"{e.name} is {e.status}" for e in executions if e.status != "done"]
    if unfit:
        raise PublishError(f"only a whole report is published; {'; '.join(unfit[:5])}")
    runs = [execution.run for execution in executions]
    if not runs or any(run.get("is_smoke") for run in runs):
        raise PublishError("only a report with results is published, not an empty or a smoke run")
    hashes = sorted({str(run["params_hash"]) for run in runs})
    if len(hashes) > 1:
        raise PublishError(f"the report stems from {len(hashes)} values of params_hash: {', '.join(hashes)[:200]}")
    runs.sort(key=lambda run: str(run["started"]), reverse=True)
    commits = list(dict.fromkeys(str(run["commit"]) for run in runs))
    states = {run["dirty"] for run in runs}
    is_dirty = next(state for state in (True, None, False) if state in states)
    latest = {key: runs[0][key] for key in ("commit", "params_hash", "started")}
    return latest | {"commits": commits, "dirty": is_dirty}


def publish(profile: str = PROFILE) -> Path:
    """Render the copy, write its `published.json`, and put it in the place of the last one; the folder.

    PublishError if the report is not fit to be published, a page is refused, or the copy is larger than 6 MB.
    """
    target, made_from = paths.published_dir(profile), origin(find_executions(profile))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as name:
        made = Path(name) / target.name
        built = build_site(profile, copy=made)
        if built.errors:
            raise PublishError(f"pages were refused: {'; '.join(built.errors)}")
        for page in made.glob("*.html"):
            write_text(page, lightened(page.read_text(encoding="utf-8")))
        write_json(made / TIMES, times_of(e.run for e in find_executions(profile)))
        files = {path.relative_to(made).as_posix(): path for path in sorted(made.rglob("*")) if path.is_file()}
        total = sum(path.stat().st_size for path in files.values())
        if total > MAX_BYTES:
            largest = sorted(files, key=lambda name: -files[name].stat().st_size)[:5]
            raise PublishError(f"the copy has {total:,} bytes, more than {MAX_BYTES:,}; the largest are {largest}")
        hashes = {name: sha256_file(path) for name, path in files.items()}
        write_json(made / PUBLISHED, {"profile": profile, **made_from, "files": hashes})
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return target


def pack(folder: Path, target: Path) -> Path:
    """A folder's files as one ZIP below a folder of its name; equal files give equal bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            # ZipInfo's own time is fixed: the first that the format knows.
            entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix())
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    write_bytes(target, content.getvalue())
    return target


def lightened(page: str) -> str:
    """A page with its pictures as WebP, where that is smaller."""
    return _PICTURE.sub(_as_webp, page)


def _as_webp(found: re.Match[str]) -> str:
    content = as_webp(found[1], quality=60)
    return f'src="data:image/webp;base64,{content}"' if len(content) < len(found[1]) else found[0]


def read_published(folder: Path) -> dict | None:
    """What a published copy was made from; None where the folder holds none."""
    file = folder / PUBLISHED
    return read_json(file) if file.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.report.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default=PROFILE, help="whose report to publish (default: %(default)s)")
    parser.add_argument("--zip", action="store_true", help="also pack the copy as reports/<profile>.zip")
    chosen = parser.parse_args(arguments)
    try:
        if not paths.work_dir(chosen.profile).is_dir():
            load_params(chosen.profile)  # says which profiles there are
        folder = publish(chosen.profile)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    is_staged = git("add", "--all", "--", str(folder)) is not None
    published = read_published(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    source = " ".join(filter(None, [published["commit"][:12], changes(published)]))
    print(f"{folder}: {len(published['files'])} files, {size / 1e6:.1f} MB, from {source}")
    print("staged; `git commit` publishes it" if is_staged else "not staged: this project is no git repository")
    if chosen.zip:
        packed = pack(folder, paths.REPORTS / f"{chosen.profile}.zip")
        print(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
