"""A table of pairs as people write it: its columns, labels and splits under their own names, or a refusal by line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from verdict.base.files.tables import Table, find_columns, read_table
from verdict.base.labels import Label, Split, class_names
from verdict.base.refusals import first_of, shown

ALIASES = {
    "image_id": ("image", "image_id", "imageid", "image_file", "image_name", "img", "file", "file_name", "filename"),
    "hypothesis": ("hypothesis", "hyp", "sentence", "statement"),
    "label": ("label", "gold_label", "label_name"),
    "split": ("split", "set", "fold"),
    "group_id": ("group", "group_id"),
    "premise": ("premise", "caption"),
    "family": ("family", "skill"),
}
DATE = {"date": ("date", "day", "time", "timestamp")}
PARTS = {"image_id": "image", "hypothesis": "hyp", "label": "label"}
USED = frozenset(name for names in (ALIASES | DATE).values() for name in names)
YES, NO = Label.ENTAILMENT.text, Label.CONTRADICTION.text
# Words that have one meaning here. Of 0 and 1 the published study and most others mean the opposite of each other.
WORDS = ({"yes": YES, "no": NO}, {"true": YES, "false": NO}, {"entailed": YES, "contradicted": NO})


@dataclass(frozen=True)
class PairFile:
    """A table as it was read: text columns under our names (image_id, hypothesis, and those of label, split,
    group_id, premise, family and date that the file has) and `line`, on which each row begins; what these columns are
    called in the file; columns that were not used; and how labels and splits were read where they have other names.
    """

    rows: pd.DataFrame
    called: dict[str, str]
    ignored: tuple[str, ...]
    facts: dict[str, int | str]


def read_pair_file(
    path: Path,
    *,
    labelled: bool = True,
    by_part: bool = False,
    labels: Mapping[str, str] | None = None,
    dated: bool = False,
) -> PairFile:
    """Read a table of pairs; see `read_table` for what is refused. Columns are found by `ALIASES`, in any case.

    Labels are needed where `labelled`; labels and splits are parsed where present. `by_part`: a needed column that no
    accepted name fits may be found by a part of its name (image, hyp, label). `labels` says what the file calls them;
    without it the names themselves are read, yes and no, true and false. `dated`: a column date is read too.
    """
    table = read_table(path, is_used=USED.__contains__)
    needed = ["image_id", "hypothesis"] + (["label"] if labelled else [])
    is_csv = bool(table.delimiter)
    columns = find_columns(
        table, ALIASES | (DATE if dated else {}), needed, parts=PARTS if by_part and is_csv else None
    )
    rows = pd.DataFrame({ours: table.column(name) for ours, name in columns.items()}).astype("str")
    rows["line"] = table.lines
    facts = dict(table.facts)
    if "label" in rows:
        words, said = _label_words(rows["label"], dict(labels or {}), table)
        facts |= said
        rows["label"] = _parsed(rows, "label", lambda text: _meaning_of(text, words), table)
    if "split" in rows:
        written = rows["split"]
        rows["split"] = _parsed(rows, "split", lambda text: Split.parse(text).value, table)
        renamed = {f"{old} = {new}" for old, new in zip(written, rows["split"], strict=True) if old.lower() != new}
        facts |= {"splits_read_as": ", ".join(sorted(renamed))} if renamed else {}
    return PairFile(rows, columns, tuple(name for name in table.names if name not in columns.values()), facts)


def _label_words(cells: pd.Series, stated: dict[str, str], table: Table) -> tuple[dict[str, str], dict[str, str]]:
    """What each word of the label column means, and what is to be said of it."""
    words = set(cells.str.casefold())
    meaning = {word.strip().casefold(): name for word, name in stated.items()}
    meaning = meaning or next((known for known in WORDS if words <= set(known)), {})
    if meaning:
        return meaning, {"labels_read_as": ", ".join(f"{word} = {name}" for word, name in meaning.items())}
    if words <= {"0", "1", "0.0", "1.0"}:
        what = f"the labels are {sorted(words)}, which some read as entailment first and some last"
        example = f'in data.csv.labels, for example {{"1": {YES}, "0": {NO}}}'
        raise ValueError(f"{table.path}: {what}; say which is which {example}")
    return {name: name for name in class_names()}, {}


def _meaning_of(text: str, words: Mapping[str, str]) -> str:
    if text.casefold() in words:
        return words[text.casefold()]
    known = list(class_names())
    raise ValueError(f"unknown label {shown(text)}; expected one of {known}, or words named in data.csv.labels")


def _parsed(rows: pd.DataFrame, column: str, parse: Callable[[str], str], table: Table) -> pd.Series:
    """A column with every cell parsed; the first few faults are listed with their lines."""
    parsed, faults = [], []
    for line, value in zip(rows["line"], rows[column], strict=True):
        try:
            parsed.append(parse(value))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    if faults:
        raise ValueError(f"{table.path}: {first_of(faults)}")
    return pd.Series(parsed, index=rows.index, dtype="str")
