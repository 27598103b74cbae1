"""Everything that the parameters name is opened before anything runs, as the first stages will open it.

Bad input is told in seconds, in one sentence, and nothing has been written by then. What takes longer, decoding every
picture of a large set, is begun for `LOOK_S` seconds and left to the stage that reads them.
"""

from __future__ import annotations

from verdict import paths
from verdict.clip import corpora, own_pictures
from verdict.clip.hub import check_preset
from verdict.data import a2, csv_folder, nlvr_corpus, recorded, snli_ve_corpus
from verdict.data.pair_file import read_pair_file
from verdict.data.picture_files import find_damaged, refuse_damaged
from verdict.data.snli_ve_corpus import Shard
from verdict.data.sources import own_pairs
from verdict.labels import vote_columns
from verdict.params import ClipParams, DataParams, Params

LOOK_S = 2.5
TRAINED = "trained"


def check_inputs(params: Params) -> None:
    """Open what a profile names.

    Raises
    ------
    FileNotFoundError, ValueError, ConnectionError
        For what cannot be used: file, line and cause, or parameter and cause.
    """
    data, is_asking = params.data, params.policy.human.kind == "votes"
    if data.source == "recorded":
        pairs = recorded.build(data.recorded, seed=data.seed).pairs
        if is_asking and not set(vote_columns(data.classes)) <= set(pairs):
            raise ValueError(
                "policy.human.kind is votes, but no file holds people's answers: name one in "
                "data.recorded.human_counts, or write kind: parametric"
            )
    elif data.source != "clip":
        _check_pairs(data)
        if is_asking and data.source != "nlvr":
            raise ValueError(f"policy.human.kind is votes, and {data.source} has none: write kind: parametric")
        for name in ("vision_preset", "text_preset"):
            _check_path(getattr(params.model, name), f"model.{name}")
    if params.clip.source is not None:
        _check_clip(params.clip)
        if answers := params.clip_robustness.assistant_answers:
            paths.needed(answers, "clip_robustness.assistant_answers")


def _check_pairs(params: DataParams) -> None:
    """Open the pairs of a source that has any outside the package; nothing is downloaded."""
    if params.source == "csv":
        asked = own_pairs(params)
        own = csv_folder.read(**asked)
        csv_folder.check_splits(own.pairs, str(asked["table"]))
        refuse_damaged(asked["table"], find_damaged(own.files, limit_s=LOOK_S))
    elif params.source == "nlvr" and not params.nlvr.sha256:
        nlvr_corpus.locate_corpus(url=params.nlvr.url, sha256="")
    elif params.source == "a2":
        table, _, other = a2.locate(params.a2.table, params.a2.images, params.a2.independent)
        read_pair_file(table)
        if other is not None:
            read_pair_file(other / a2.INDEPENDENT_TABLE, by_part=True)
        shards = params.snli_ve.shards
        if params.a2.warmup == "snli_ve" and not (shards and all(shard.sha256 for shard in shards)):
            snli_ve_corpus.locate([Shard(shard.split, shard.url, shard.sha256) for shard in shards])


def _check_clip(params: ClipParams) -> None:
    """Open the dual encoder's own pictures and its model; nothing is downloaded."""
    if params.source in ("folder", "csv"):
        own = own_pictures.read(params.folder, seed=params.seed, is_table=params.source == "csv")
        files = {str(path): path for path in own.rows["file"]}
        refuse_damaged(own.home, find_damaged(files, limit_s=LOOK_S))
    elif params.source in ("cifar10", "cifar100", "imagenette"):
        place = getattr(params, params.source)
        if not place.sha256:
            corpora.locate(params.source, **place.model_dump())
    if params.preset != TRAINED:
        check_preset(params.preset, params.revision)


def _check_path(preset: str, parameter: str) -> None:
    """Refuse a preset that can only be a folder, and is not there."""
    if preset.startswith((".", "~", "/")):
        paths.needed(preset, parameter, is_folder=True)
