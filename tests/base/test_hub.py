"""Whether a hub's model is here or can be had, from what is stored and who answers."""

import json
import socket
import time

import pytest

from verdict.base.files import hub
from verdict.base.files.hub import check_preset, is_reachable

MODEL, REVISION = "some/llava", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"


def test_whether_the_hub_answers_is_known_within_seconds(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        started = time.perf_counter()
        assert not is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
        assert time.perf_counter() - started < 5
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not is_reachable("http://127.0.0.1:9")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A hub's own cache, in which files of one commit are stored, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    home = tmp_path / "models--some--llava" / "snapshots" / REVISION

    def store(name, text="{}"):
        home.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)

    return store


def test_weights_are_here_when_every_part_of_them_is(stored):
    def refused():
        with pytest.raises(ConnectionError, match=rf"p: {MODEL} is not stored .*hf download {MODEL} --revision 3d74ac"):
            check_preset(MODEL, REVISION, "p", needs_weights=True)

    refused()
    stored("config.json")
    refused()
    parts = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    stored("model.safetensors.index.json", json.dumps({"weight_map": parts}))
    stored("model-1.safetensors")
    refused()
    stored("model-2.safetensors")
    check_preset(MODEL, REVISION, "p", needs_weights=True)
    with pytest.raises(ConnectionError):
        check_preset(MODEL, "0" * 40, "p", needs_weights=True)
    stored("tokenizer_config.json")
    check_preset(MODEL, REVISION)


def test_what_is_not_here_is_asked_for_where_there_is_a_network(stored, monkeypatch):
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    check_preset(MODEL, REVISION, needs_weights=True)
