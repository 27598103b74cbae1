"""Predict pairs that nobody has labelled with the kept model of a report, or check such predictions against labels.

python -m verdict.model.export --profile PROFILE --pairs FILE --images FOLDER --out predictions.csv
python -m verdict.model.export --check predictions.csv --labels FILE
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.artifacts import commit, sha256_file
from verdict.base.files.picture_files import found_images
from verdict.base.params import StatisticsParams, load_params
from verdict.base.refusals import N_LISTED
from verdict.data.own.pair_file import read_pair_file
from verdict.data.pairs import check_pairs, with_pair_ids
from verdict.model.export import table
from verdict.workflow import stages
from verdict.workflow.run import device_lease
from verdict.workflow.start import choose_backend, tell

SELECTION = "04_model_selection"


def export(profile: str, pairs: Path, images: Path, out: Path, *, skip: bool = False) -> pd.DataFrame:
    """Predict the pairs of a table with the kept model of a profile, and write the predictions.

    The table is CSV or JSON lines with image and hypothesis; labels, where there are any, are not read. With `skip`,
    rows whose image is missing or cannot be read are left out, and counted, instead of refused. Of a file that cannot
    be used nothing is written.
    """
    params = load_params(profile)
    if params.data.is_given or params.data.source == stages.CLIP:
        raise ValueError(f"{profile} has no model of its own to ask: its report is about what another model said")
    if not stages.finished(profile, SELECTION):
        raise FileNotFoundError(f"no model is kept of profile {profile!r}; make one: make report PROFILE={profile}")
    if out.is_dir():
        raise ValueError(f"--out is a file, and {out} is a folder")
    table.refuse_to_replace(out, pairs)
    asked, files = _read(pairs, images, skip=skip)
    # Imported when the input is known to be sound: the framework takes seconds.
    choose_backend(params.model.backend)
    from verdict.model.backend import set_threads
    from verdict.model.export.model import load_kept, predict

    kept = load_kept(profile)
    set_threads(params.execution.threads)
    started = time.monotonic()
    chosen = asked[asked["image_id"].isin(files)].reset_index(drop=True)
    options = {"progress": lambda text: tell(f"export  {text}  ({time.monotonic() - started:.0f} s)"), "skip": skip}
    logits, unreadable = predict(kept, chosen, files, params.execution, **options)
    known = np.isfinite(logits).all(axis=1)
    if not known.any():
        raise ValueError(f"{pairs}: no row has an image in {images} that can be read")
    predictions = table.answers(chosen[known], logits[known], kept.rule)
    details = {
        "profile": profile,
        "trial": kept.trial,
        "seed": kept.seed,
        "is_calibrated": kept.is_calibrated,
        "weights_sha256": sha256_file(kept.weights),
        "pairs_sha256": sha256_file(pairs),
        "commit": commit()[0],
        "n_rows_left_out": len(asked) - len(predictions),
        "images_left_out": sorted({*asked["image_id"], *unreadable} - set(predictions["Image_ID"])),
    }
    table.write(out, predictions, kept.rule, details)
    return predictions


def _read(pairs: Path, images: Path, *, skip: bool) -> tuple[pd.DataFrame, dict[str, Path]]:
    """The pairs as they stand in their file, and the files of their images."""
    file = read_pair_file(pairs, labelled=False)
    rows = file.rows[["image_id", "hypothesis"]]
    checked = with_pair_ids(rows.assign(group_id=rows["image_id"]))
    check_pairs(checked, source=str(pairs), lines=file.rows["line"], allow_repeats=True)
    named = file.rows.assign(written=file.rows["image_id"])
    files, _ = found_images(named, pairs, images, allow_missing=skip, hint="; SKIP=1 leaves their rows out")
    return rows, files


def _tell(predictions: pd.DataFrame, out: Path) -> None:
    rule = table.read_json(table.rule_path(out))
    counts = ", ".join(f"{name} {n:,} ({n / len(predictions):.1%})" for name, n in rule["n_by_label"].items())
    fitted = f"T = {rule['temperature']:.4g}" if rule["is_calibrated"] else "not calibrated: 07_calibration has not run"
    print(f"{out}: {len(predictions):,} rows; {counts}")
    print(f"model: trial {rule['trial']}, seed {rule['seed']}, probabilities {fitted}")
    print(f"rule: {rule['meaning']}, {rule['threshold']:g}; see {table.rule_path(out)}")
    if rule["n_rows_left_out"]:
        images = rule["images_left_out"]
        print(f"LEFT OUT: {rule['n_rows_left_out']:,} rows of {len(images)} images, the first: {images[:N_LISTED]}")


def _check(predictions: Path, labels: Path, statistics: StatisticsParams) -> None:
    score = table.score(predictions, labels, statistics)
    states = {True: "as it was written", False: "CHANGED since it was written", None: "without its rule's file"}
    print(f"{predictions}: {states[score.is_unchanged]}; {score.n_without_label:,} predicted pairs have no label")
    for name, interval in (("accuracy", score.accuracy), ("macro-F1", score.macro_f1)):
        bounds, kind = f" [{interval.low:.4f}, {interval.high:.4f}]", f"{statistics.level:.0%} interval over images"
        if np.isnan(interval.low):
            bounds, kind = "", "too few images for an interval"
        print(f"{name} {interval.value:.4f}{bounds} on {score.n:,} labelled pairs ({kind})")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = __doc__.splitlines()
    made = argparse.ArgumentParser(
        prog="python -m verdict.model.export",
        description=lines[0],
        epilog="\n".join(lines[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whose = "whose report's kept model predicts, and whose level --check uses (default: %(default)s)"
    made.add_argument("--profile", default="digits", help=whose)
    made.add_argument("--pairs", type=Path, help="CSV or JSON lines with the columns image and hypothesis")
    made.add_argument("--images", type=Path, help="folder of the images")
    made.add_argument("--out", type=Path, help="CSV file to write; its decision rule goes beside it")
    left_out = "leave out, and count, rows whose image is missing or cannot be read; otherwise they stop the export"
    made.add_argument("--skip-unusable-images", action="store_true", help=left_out)
    made.add_argument("--check", type=Path, metavar="PREDICTIONS", help="predictions to compare with --labels")
    made.add_argument("--labels", type=Path, help="CSV or JSON lines with the columns image, hypothesis and label")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Command line; 2 where something could not be used, with the cause, and nothing was written."""
    made = parser()
    chosen = made.parse_args(arguments)
    if (chosen.check is None) != (chosen.labels is None):
        made.error("predictions are checked against labels: make export CHECK=a.csv LABELS=b.jsonl")
    if chosen.check is None and None in (chosen.pairs, chosen.images, chosen.out):
        made.error("say what to predict, and where to: make export PAIRS=new.jsonl IMAGES=folder OUT=a.csv")
    try:
        if chosen.check is not None:
            _check(chosen.check, chosen.labels, load_params(chosen.profile).statistics)
            return 0
        with device_lease(load_params(chosen.profile).execution.device):
            rows = export(chosen.profile, chosen.pairs, chosen.images, chosen.out, skip=chosen.skip_unusable_images)
        _tell(rows, chosen.out)
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        tell(f"export: {text}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
