"""A study of a few pictures with the shipped encoder, as a page on the dual encoder opens it."""

import contextlib

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_run
from verdict.base.params import merge, read_yaml, validate
from verdict.clip.encoder.embeddings import embed, open_embeddings
from verdict.workflow import stages
from verdict.workflow.stage import Stage

CLIP = {"source": "digits", "n": {"train": 60, "val": 30, "calib": 40, "test": 50}, "n_probe": 50}


def params(clip=None, **sections):
    base = merge(read_yaml(paths.PARAMS / "base.yaml"), read_yaml(paths.PARAMS / "smoke.yaml"))
    base = merge(base, {"statistics": {"n_resamples": 100}, "clip": {**CLIP, **(clip or {})}})
    return validate(merge(base, sections), source="test")


def opened(name, root, own):
    return Stage(name, "smoke", None, None, root / "work" / "smoke" / name, own)


@contextlib.contextmanager
def embedded(root, page, own):
    """The study that a page opens after the stage of embeddings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        patch.setattr(paths, "WORK", root / "work")
        first = opened(stages.CLIP_EMBEDDINGS, root, own)
        embed(first)
        files = [path for path in sorted(first.folder.iterdir()) if path.is_file()]
        write_run(first.folder, outputs=files, inputs=[])
        yield open_embeddings(opened(page, root, own))
