"""Remove what runs of a profile made: `python -m verdict.workflow.clean --profile PROFILE`. What `make clean` calls.

Nothing else goes: no file that git tracks, no download, no other profile's results. Needs no package, so that it works
without an environment.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from verdict.base import artifacts, paths


def clean(profile: str) -> list[str]:
    """Remove a profile's work in progress and pages; a line for each folder removed. Of a link only the link itself is
    removed. ValueError, and nothing is, where there is no such profile, nor a run's work under its name, or a report of
    it is being made.
    """
    if profile not in {*paths.profiles(), *(lock.parent.name for lock in paths.WORK.glob("*/.lock"))}:
        raise ValueError(f"no profile is called {profile!r}; profiles are {paths.profiles()}")
    lock, folders = paths.work_dir(profile) / ".lock", (paths.work_dir(profile), paths.report_dir(profile))
    with lock.open("r+") if lock.is_file() else contextlib.nullcontext() as held:
        if held and not artifacts.try_lock(held):
            raise ValueError(f"a report of profile {profile!r} is being made")
        return [_remove(folder) for folder in folders if os.path.lexists(folder)]


def _remove(folder: Path) -> str:
    """Remove a folder, what git tracks in it apart, and say so."""
    name = folder.relative_to(paths.ROOT).as_posix()
    if folder.is_symlink():
        kept = folder.resolve()
        folder.unlink()
        return f"removed the link {name}; what it led to is left: {kept}"
    tracked = {paths.ROOT / one for one in (artifacts.git("ls-files", "-z", "--", name) or "").split("\0") if one}
    n_files = n_bytes = 0
    for path in (*sorted(folder.rglob("*"), reverse=True), folder):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in tracked:
            n_files, n_bytes = n_files + 1, n_bytes + path.lstat().st_size
            path.unlink()
    kept = f"; {len(tracked)} that git tracks are kept" if tracked else ""
    return f"removed {name}: {n_files:,} files, {n_bytes / 1e6:,.1f} MB{kept}"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.workflow.clean", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help="profile in params/")
    chosen = parser.parse_args(arguments)
    try:
        lines = clean(chosen.profile)
    except (ValueError, OSError) as error:
        print(f"{'nothing was removed' if isinstance(error, ValueError) else 'stopped'}: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines) or f"nothing to remove: no run of profile {chosen.profile!r} has left anything")
    return 0


if __name__ == "__main__":
    sys.exit(main())
