"""The list of weights, and fetching them: only when asked, whole or not at all, and only the right ones."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import time
from pathlib import Path

import pytest

from emofuse.extractors.weights import catalogue as known_weights
from emofuse.extractors.weights import download
from emofuse.extractors.weights.catalogue import KNOWN_WEIGHTS, KnownWeights, known, pull, whisper_folder
from emofuse.pipeline.errors import UsageError, WeightsError

CONTENT = b"weights " * 1000


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> KnownWeights:
    """One entry whose web address answers with CONTENT."""
    entry = KnownWeights(
        "toy", "openai-whisper", "words", "web", "https://weights.example/toy.pt", "MIT", {"toy.pt": hashlib.sha256(CONTENT).hexdigest()}
    )
    monkeypatch.setattr(known_weights, "KNOWN_WEIGHTS", (entry,))
    monkeypatch.setattr(download, "reachable", lambda host: host == "weights.example")
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: io.BytesIO(CONTENT))
    return entry


def test_every_entry_says_where_from_and_under_which_licence() -> None:
    assert len({entry.name for entry in KNOWN_WEIGHTS}) == len(KNOWN_WEIGHTS)
    for entry in KNOWN_WEIGHTS:
        assert entry.origin and entry.licence and entry.files and entry.stream in {"words", "text", "face", "voice"}
        assert all(digest is None or re.fullmatch("[0-9a-f]{64}", digest) for digest in entry.files.values()), entry.name


def test_whispers_hashes_are_those_of_the_installed_package() -> None:
    import whisper

    for entry in KNOWN_WEIGHTS:
        if entry.provider == "openai-whisper":
            assert whisper._MODELS[entry.name.removeprefix("openai-whisper-")] == entry.origin


def test_minilm_is_here_and_right() -> None:
    (path,) = pull("minilm", offline=True)
    assert path.stat().st_size == known("minilm").size


def test_an_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"expected one of minilm, .*bert-base-uncased.*got 'gpt'"):
        pull("gpt")


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("name", [entry.name for entry in KNOWN_WEIGHTS if entry.kind in ("hub", "web")])
def test_offline_opens_no_socket(name: str) -> None:
    assert known(name).present() == ()
    with pytest.raises(WeightsError, match="offline was asked for") as caught:
        pull(name, offline=True)
    assert "\n" not in str(caught.value)


def test_without_a_network_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "reachable", lambda *host: False)
    began = time.monotonic()
    for name in ("openai-whisper-tiny", "bert-base-uncased"):
        with pytest.raises(WeightsError, match="cannot be reached"):
            pull(name)
    assert time.monotonic() - began < 1


def test_what_was_fetched_is_whole_and_right_and_is_not_fetched_again(served: KnownWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = pull("toy")
    assert path == whisper_folder() / "toy.pt" and path.read_bytes() == CONTENT
    monkeypatch.setattr(download, "reachable", lambda host: pytest.fail("asked the network again"))
    assert pull("toy") == (path,) and [p.name for p in whisper_folder().iterdir()] == ["toy.pt"]


def test_wrong_bytes_are_refused_and_leave_nothing(served: KnownWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: io.BytesIO(CONTENT[:-1]))
    with pytest.raises(WeightsError, match="expected SHA-256"):
        pull("toy")
    assert list(whisper_folder().iterdir()) == [] and served.present() == ()


def test_damage_on_disk_is_noticed(served: KnownWeights) -> None:
    (path,) = pull("toy")
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match="expected SHA-256"):
        pull("toy")


def test_a_hub_entry_is_found_in_the_hubs_cache(tmp_path: Path) -> None:
    entry = known("pyfeat-multitask")
    folder = tmp_path / "hub" / "models--py-feat--face_multitask_v2"
    (folder / "snapshots" / "1234").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1234")
    assert entry.present() == ()
    (folder / "snapshots" / "1234" / "face_multitask_v28.safetensors").write_bytes(b"x")
    assert [path.name for path in entry.present()] == ["face_multitask_v28.safetensors"]


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> str:
        raise RuntimeError("401 Client Error\nRequest ID: 1")

    monkeypatch.setattr(download, "reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(WeightsError, match=r"failed: 401 Client Error$"):
        pull("bert-base-uncased")
