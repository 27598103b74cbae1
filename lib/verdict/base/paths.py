"""Named directories. No other module joins paths to the project root."""

import os
from pathlib import Path

ROOT_VARIABLE = "VERDICT_ROOT"
ROOT = Path(os.environ.get(ROOT_VARIABLE, Path(__file__).resolve().parents[3])).resolve()

NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
REPORTS = ROOT / "reports"
WORK = ROOT / "work"
LIBRARY = ROOT / "lib" / "verdict"
PRESETS = LIBRARY / "model" / "presets"
# Files of `params/` that are no profile, and names under which `reports/` and `work/` hold something else.
NO_PROFILES = frozenset({"base", "rubric"})
TAKEN = frozenset({"bench", "bench-scale", "benchmarks", "docs", "downloads", "published", "verified"})


def profiles(folder: Path | None = None) -> list[str]:
    """Names of the profiles that there are in `params/`, or in another folder, sorted."""
    return sorted({path.stem for path in (folder or PARAMS).glob("*.yaml")} - NO_PROFILES - TAKEN)


def work_dir(profile: str) -> Path:
    """Folder of everything that one profile's run writes before it is rendered."""
    return WORK / profile


def stage_dir(profile: str, stage: str, *parts: str) -> Path:
    """Folder of one stage's run (`work/<profile>/<stage>/...`)."""
    return work_dir(profile).joinpath(stage, *parts)


def report_dir(profile: str) -> Path:
    """Folder of one profile's rendered pages."""
    return REPORTS / profile


def published_dir(profile: str) -> Path:
    """Folder of the copy of a profile's report that is kept in git; no run writes there."""
    return REPORTS / "published" / profile


def rendered(profile: str) -> Path:
    """Record of a report that is whole: its files and their hashes. There is none while a page lacks or is refused."""
    return work_dir(profile) / "rendered.json"


def preset_folder(preset: str) -> Path | None:
    """Folder of a preset that the package ships or the user has; None for a published preset's name."""
    shipped = PRESETS / preset
    return shipped if shipped.is_dir() else data_folder(preset)


def data_folders() -> list[Path]:
    """Where a relative path of the user's data is looked up, in this order: `$VERDICT_DATA`, then the project."""
    base = os.environ.get("VERDICT_DATA")
    return [*([Path(base).expanduser().resolve()] if base else []), ROOT]


def data_file(name: str, *, within: str = "") -> Path | None:
    """A file that parameters name: absolute, from `~` on, or below one of `data_folders`, in their folder `within`
    first; None where there is none.
    """
    return next(filter(Path.is_file, _candidates(name, within)), None)


def data_folder(name: str, *, within: str = "") -> Path | None:
    """A folder that parameters name, by the rule of `data_file`."""
    return next(filter(Path.is_dir, _candidates(name, within)), None)


def needed(name: str, parameter: str, *, is_folder: bool = False, within: str = "", hint: str = "") -> Path:
    """The file or folder that a parameter names, by the rule of `data_file`; FileNotFoundError with the parameter,
    the places that were looked at and a hint.
    """
    found = (data_folder if is_folder else data_file)(name, within=within)
    if found is None:
        what = "folder" if is_folder else "file"
        where = " and ".join(map(str, _candidates(name, within))) or "no place, for the parameter is empty"
        raise FileNotFoundError(f"{parameter}: there is no {what} {name!r}; looked at {where}{hint}")
    return found


def local_data(name: str) -> Path | None:
    """The user's own copy of a public data set, `$VERDICT_DATA/<name>`, or None where there is none."""
    return data_folder(name) if os.environ.get("VERDICT_DATA") else None


def _candidates(name: str, within: str = "") -> list[Path]:
    """Where a name may be; nowhere for an empty one, which would be the folder itself."""
    try:
        given = Path(name).expanduser()
    except RuntimeError:  # ~someone, who has no home here
        given = Path(name)
    homes = [folder / part for part in dict.fromkeys((within, "")) for folder in data_folders()]
    return list(dict.fromkeys(home / given for home in homes)) if name.strip() else []


def download_cache() -> Path:
    """Where downloaded public data is kept between profiles."""
    return Path(os.environ.get("VERDICT_CACHE", ROOT / "work" / "downloads")).expanduser()


def transcripts(profile: str) -> Path:
    """Where it is kept what a model of the hub said when a profile's report asked it."""
    return work_dir(profile) / "transcripts"
