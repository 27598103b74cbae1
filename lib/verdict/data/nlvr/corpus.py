"""The files of the Cornell NLVR corpus as they are published: where they lie, and one example per line."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from verdict.base import paths
from verdict.base.files.fetch import download, extract_zip
from verdict.base.labels import Label
from verdict.data.nlvr.proxy import normalise
from verdict.data.nlvr.scenes import parse_scene

FILES = ("train", "dev", "test")
_LABELS = {"true": Label.ENTAILMENT.text, "false": Label.CONTRADICTION.text}
_IDENTIFIER = re.compile(r"\d+-\d+")
_FAMILY_WORDS = {
    "negation": r"no|not|none|without|never|neither|nothing|isn't|aren't|doesn't",
    "touching": r"touch\w*|tocuh\w*|attached",
    "position": r"top|base|bases|bottom|over|above|below|under|beneath|on|between|left|right|stacked|corner|corners",
    "quantifier": r"each|every|all|both|only|same|different|any|any of",
    "counting": r"\d+|one|two|three|four|five|six|seven|exactly|least|atleast|most|more|less|fewer|many|multiple",
    "colour": r"blue|black|yellow|gr[ae]y|colou?rs?|colou?red",
    "shape": r"squares?|circles?|triangles?|shapes?|blocks?",
}
_FAMILIES = {family: re.compile(rf"\b(?:{words})\b") for family, words in _FAMILY_WORDS.items()}


def family_of(sentence: str) -> str:
    """Main skill of a human sentence by keywords, the first that fits of the order in `_FAMILY_WORDS`; or "other"."""
    text = normalise(sentence)
    return next((family for family, words in _FAMILIES.items() if words.search(text)), "other")


def read_examples(path: Path, file: str) -> pd.DataFrame:
    """Read one JSON lines file of the corpus; ValueError names file and line that is no example.

    Columns file, name (what the names of its six images begin with), raw_group (the presentation it was written for),
    directory, hypothesis, label, scene, votes of each answer, and n_votes and is_unanimous, which count nonsense too.
    """
    examples: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            example = _parse_example(json.loads(text), file)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {line}: {error!r} in an example of the corpus") from error
        if (first := seen.setdefault(example["name"], line)) != line:
            raise ValueError(f"{path}, line {line}: identifier {example['name'][len(file) + 1 :]} is on line {first}")
        examples.append(example)
    if not examples:
        raise ValueError(f"{path} holds no examples")
    return pd.DataFrame(examples)


def _parse_example(record: Mapping[str, Any], file: str) -> dict[str, Any]:
    label = _LABELS.get(str(record["label"]).lower())
    identifier, directory = str(record["identifier"]), str(record["directory"])
    if label is None or not _IDENTIFIER.fullmatch(identifier) or not directory.isdigit():
        raise ValueError(f"label {record['label']!r}, identifier {identifier!r} or directory {directory!r} is unknown")
    votes = Counter(str(vote).lower() for vote in record["evals"].values())
    return {
        "file": file,
        "name": f"{file}-{identifier}",
        "raw_group": f"{file}-{identifier.partition('-')[0]}",
        "directory": directory,
        "hypothesis": re.sub(r"\s+", " ", record["sentence"]).strip(),
        "label": label,
        "scene": parse_scene(record["structured_rep"]),
        "votes_entailment": votes["true"],
        "votes_contradiction": votes["false"],
        "n_votes": votes.total(),
        "is_unanimous": len(votes) == 1,
    }


def locate_corpus(*, url: str, sha256: str) -> Path:
    """Folder with dev/dev.json: the user's copy, an earlier download, or a new one; an error says what to set."""
    local = paths.local_data("nlvr")
    if local is None:
        if not sha256:
            way = "set VERDICT_DATA to a folder that holds it as nlvr/"
            raise ValueError(f"the NLVR corpus is not here: {way}, or give its archive's sha256 in data.nlvr.sha256")
        local = paths.download_cache() / f"nlvr-{sha256[:16]}"
        if not local.is_dir():
            archive = download(url, sha256=sha256, path=local.with_suffix(".zip"))
            extract_zip(archive, local)
    for pattern in ("dev/dev.json", "*/dev/dev.json", "*/*/dev/dev.json"):
        if found := sorted(local.glob(pattern)):
            return found[0].parent.parent
    raise FileNotFoundError(f"{local} holds no dev/dev.json: it is not the NLVR corpus")


def load_corpus(root: Path, files: Sequence[str] | None) -> pd.DataFrame:
    """Examples of the files, by default of those that are there; a refusal where they cannot give all splits."""
    given = {name: root / name / f"{name}.json" for name in FILES}
    wanted = [name for name, path in given.items() if (path.is_file() if files is None else name in files)]
    if missing := [name for name in wanted if not given[name].is_file()]:
        raise FileNotFoundError(f"{given[missing[0]]} is missing")
    if not {"dev", "test"} <= set(wanted):
        raise ValueError(f"the files dev and test are both needed, got {wanted}")
    return pd.concat([read_examples(given[name], name) for name in wanted], ignore_index=True)
