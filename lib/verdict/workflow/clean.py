"""Remove what runs of a profile made: `python -m verdict.workflow.clean --profile PROFILE`. What `make clean` calls.

Nothing else goes: no file that git tracks, no download, no other profile's results. Needs no package, so that it works
without an environment.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from verdict.base import artifacts, paths


class CleanError(ValueError):
    """Nothing was removed; the message says why."""


def clean(profile: str) -> list[str]:
    """Remove a profile's work in progress and pages; a line for each folder that there was.

    A folder that is a link is removed as a link. A `CleanError` says that there is no such profile, or that a report of
    it is being made.
    """
    if profile not in paths.profiles():
        raise CleanError(f"no profile is called {profile!r}; profiles are {paths.profiles()}")
    with _alone(profile):
        return [_remove(folder) for folder in (paths.work_dir(profile), paths.report_dir(profile)) if _is_there(folder)]


def _is_there(folder: Path) -> bool:
    return folder.is_symlink() or folder.exists()


@contextlib.contextmanager
def _alone(profile: str) -> Iterator[None]:
    """Hold the lock that a report of the profile holds while it is made."""
    lock = paths.work_dir(profile) / ".lock"
    if not lock.is_file():
        yield
        return
    with lock.open("r+") as file:
        if not artifacts.try_lock(file):
            raise CleanError(f"a report of profile {profile!r} is being made")
        yield


def _remove(folder: Path) -> str:
    """Remove a folder, what git tracks in it apart, and say so."""
    name = folder.relative_to(paths.ROOT).as_posix()
    if folder.is_symlink():
        kept = folder.resolve()
        folder.unlink()
        return f"removed the link {name}; what it led to is left: {kept}"
    tracked = {paths.ROOT / one for one in (artifacts.git("ls-files", "-z", "--", name) or "").split("\0") if one}
    n_files = n_bytes = 0
    for at, folders, files in os.walk(folder, topdown=False):
        own = [Path(at, one) for one in files] + [path for one in folders if (path := Path(at, one)).is_symlink()]
        for path in own:
            if path not in tracked:
                n_files, n_bytes = n_files + 1, n_bytes + path.lstat().st_size
                path.unlink()
        if not any(Path(at).iterdir()):
            Path(at).rmdir()
    kept = f"; {len(tracked)} that git tracks are kept" if tracked else ""
    return f"removed {name}: {n_files:,} files, {n_bytes / 1e6:,.1f} MB{kept}"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.workflow.clean", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help="profile in params/")
    chosen = parser.parse_args(arguments)
    try:
        lines = clean(chosen.profile)
    except (CleanError, OSError) as error:
        print(f"{'nothing was removed' if isinstance(error, CleanError) else 'stopped'}: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines) or f"nothing to remove: no run of profile {chosen.profile!r} has left anything")
    return 0


if __name__ == "__main__":
    sys.exit(main())
