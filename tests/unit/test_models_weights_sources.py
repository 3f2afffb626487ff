"""Where weights come from: files, https addresses, hub names; caches, hashes, no network."""

from __future__ import annotations

import hashlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from rsmeta.config.load import load_settings
from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError
from rsmeta.geo.bands import generic_band
from rsmeta.models import build_backbone
from rsmeta.models.weights import download, hub, is_local, locate_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SITE = "https://weights.example"
RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}


class Site(BaseHTTPRequestHandler):
    """Serves CONTENT under any name but these, and counts what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/missing.pth":
            self.send_error(404)
        elif self.path == "/moved.pth":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere.pth")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100] if "broken" in self.path else CONTENT)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of torch and of the hub."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def site(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A site at SITE; what it was asked for."""
    handler = type("Here", (Site,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    real = download._open
    here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(download, "_open", lambda address: real(address.replace(SITE, here)))
    yield handler.asked
    server.shutdown()
    thread.join()
    server.server_close()


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# -- files ---------------------------------------------------------------------------------------


def test_a_file_is_taken_where_it_lies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(CONTENT)
    with caplog.at_level(logging.DEBUG):
        found = locate_weights(str(file), sha256=SHA256.upper())
    assert (found.path, found.source, found.sha256) == (file, str(file), SHA256)
    assert f"{file}: SHA-256 {SHA256}" in caplog.text


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"other")
    own = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(CheckpointError, match=rf"a\.pth is not the file.*{own}, wanted {SHA256}"):
        locate_weights(str(file), sha256=SHA256)


def test_what_is_local() -> None:
    assert is_local("a/b.pth")
    assert not is_local("https://a/b.pth")
    assert not is_local("hf:a/b")


# -- addresses -----------------------------------------------------------------------------------


def test_an_address_is_fetched_once(
    site: list[str], caches: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        first = locate_weights(f"{SITE}/record/7/a.pth", sha256=SHA256)
    again = locate_weights(f"{SITE}/record/7/a.pth", sha256=SHA256)
    assert first == again
    assert site == ["/record/7/a.pth"]
    assert first.path.read_bytes() == CONTENT
    assert files_below(caches) == ["torch/checkpoints/weights.example/record/7/a.pth"]
    assert f"downloading {SITE}/record/7/a.pth" in caplog.text
    assert f"SHA-256 {SHA256}" in caplog.text


def test_a_long_download_says_how_far_it_is(
    site: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(download, "_SAY_EVERY_S", -1.0)
    with caplog.at_level(logging.DEBUG):
        locate_weights(f"{SITE}/a.pth")
    assert f"{SITE}/a.pth: 0 of 0 MB" in caplog.text


def test_files_of_one_name_are_kept_apart(site: list[str], caches: Path) -> None:
    places = {
        locate_weights(f"{SITE}/{name}").path for name in ("a/x.pth", "b/x.pth", "b/x.pth?v=2")
    }
    assert len(places) == 3
    assert len(site) == 3


def test_a_wrong_file_does_not_enter_the_cache(site: list[str], caches: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{SITE}/a.pth is not .*{SHA256}, wanted {'0' * 64}"):
        locate_weights(f"{SITE}/a.pth", sha256="0" * 64)
    assert files_below(caches) == []


def test_a_wrong_file_in_the_cache_is_refused(site: list[str]) -> None:
    place = locate_weights(f"{SITE}/a.pth").path
    place.write_bytes(b"changed")
    with pytest.raises(CheckpointError, match=r"a\.pth is not .*remove that file to fetch anew"):
        locate_weights(f"{SITE}/a.pth", sha256=SHA256)


def test_half_a_file_does_not_enter_the_cache(site: list[str], caches: Path) -> None:
    with pytest.raises(CheckpointError, match=r"broke after 100 of 10,240 bytes") as caught:
        locate_weights(f"{SITE}/broken.pth")
    place = caches / "torch/checkpoints/weights.example/broken.pth"
    assert f"put it at {place}, or set model.checkpoint=" in str(caught.value)
    assert files_below(caches) == []


def test_a_missing_file(site: list[str], caches: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"cannot fetch {SITE}/missing.pth \(status 404"):
        locate_weights(f"{SITE}/missing.pth")
    assert files_below(caches) == []


def test_a_way_to_another_scheme_is_not_followed(site: list[str]) -> None:
    with pytest.raises(CheckpointError, match=r"leads on to http://127\.0\.0\.1:1/.* not https"):
        locate_weights(f"{SITE}/moved.pth")


def test_no_network_names_the_file_and_its_place(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(_: str) -> None:
        raise OSError("no\nnetwork")

    monkeypatch.setattr(download, "_open", offline)
    with pytest.raises(CheckpointError) as caught:
        locate_weights(f"{SITE}/record/a.pth")
    place = caches / "torch/checkpoints/weights.example/record/a.pth"
    assert str(caught.value) == (
        f"cannot fetch {SITE}/record/a.pth (no network); download a.pth from there elsewhere and "
        f"put it at {place}, or set model.checkpoint= to it"
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(CONTENT)
    assert locate_weights(f"{SITE}/record/a.pth").path == place


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "s3"])
def test_only_https_is_fetched(scheme: str) -> None:
    with pytest.raises(CheckpointError, match="only https:// addresses are"):
        locate_weights(f"{scheme}://weights.example/a.pth")


@pytest.mark.parametrize(
    "tail",
    ["", "/", "/../a.pth", "/x/../../a.pth", "/x\\..\\a.pth", "/a b.pth", "/a\x00.pth", "/./a.pth"],
)
def test_addresses_that_could_leave_the_cache(tail: str) -> None:
    with pytest.raises(CheckpointError, match="is no plain address"):
        download.cache_place(f"{SITE}{tail}")


def test_percent_signs_are_not_read_as_anything_else(caches: Path) -> None:
    place = download.cache_place(f"{SITE}/%2e%2e/%2e%2e/a.pth")
    assert place == caches / "torch/checkpoints/weights.example/%2e%2e/%2e%2e/a.pth"


def test_addresses_with_a_password_are_refused() -> None:
    with pytest.raises(CheckpointError, match="is no plain address"):
        download.cache_place("https://me:secret@weights.example/a.pth")


# -- hub names -----------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, caches: Path) -> dict[str, bytes]:
    """Files on the hub by ``owner/name/file``; fetched ones enter the cache as the client's do."""
    files: dict[str, bytes] = {}

    def fetch(repo: str, file: str, *, revision: str) -> str:
        if f"{repo}/{file}" not in files:
            raise EntryNotFoundError("404")
        folder = caches / "hub" / f"models--{repo.replace('/', '--')}"
        place = folder / "snapshots" / "c0ffee" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files.pop(f"{repo}/{file}"))
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / revision).write_text("c0ffee")
        return str(place)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    return files


def test_a_hub_name_is_fetched_once(published: dict[str, bytes]) -> None:
    published["me/net/model.safetensors"] = CONTENT
    first = locate_weights("hf:me/net", sha256=SHA256)
    assert not published
    assert locate_weights("hf:me/net") == first
    assert first.sha256 == SHA256
    assert first.source == "hf:me/net"


def test_the_cache_is_the_one_of_the_hubs_client(published: dict[str, bytes], caches: Path) -> None:
    published["me/net/sub/x.bin"] = CONTENT
    path = locate_weights("hf:me/net/sub/x.bin").path
    cached = huggingface_hub.try_to_load_from_cache("me/net", "sub/x.bin", cache_dir=caches / "hub")
    assert cached == str(path)


def test_the_second_usual_file_is_taken_where_the_first_is_not(
    published: dict[str, bytes],
) -> None:
    published["me/net/pytorch_model.bin"] = CONTENT
    assert locate_weights("hf:me/net@v1").path.name == "pytorch_model.bin"


def test_a_repository_without_weights(published: dict[str, bytes]) -> None:
    with pytest.raises(CheckpointError, match=r"has no file model\.safetensors or pytorch_model"):
        locate_weights("hf:me/net")


def test_a_hub_out_of_reach(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("no\nnetwork. More about it.")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(CheckpointError) as caught:
        locate_weights("hf:me/net@v1")
    place = caches / "hub/models--me--net/snapshots/v1/model.safetensors"
    assert str(caught.value) == (
        "cannot fetch hf:me/net@v1 (no network); download "
        f"https://huggingface.co/me/net/resolve/v1/model.safetensors elsewhere and put it at "
        f"{place}, or set model.checkpoint= to it"
    )
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert locate_weights("hf:me/net@v1").path == place
    found = huggingface_hub.try_to_load_from_cache(
        "me/net", "model.safetensors", revision="v1", cache_dir=caches / "hub"
    )
    assert found == str(place)


@pytest.mark.parametrize(
    "name",
    ["hf:", "hf:net", "hf:../net", "hf:me/..", "hf:me/net/../../x", "hf:me/net/.hidden",
     "hf:me/net@../x", "hf:me/net//etc/passwd", "hf:me/net/a\\b"],
)  # fmt: skip
def test_hub_names_that_are_none(name: str) -> None:
    with pytest.raises(CheckpointError, match="is no hub name"):
        hub.parse_hub_name(name)


# -- through the settings ------------------------------------------------------------------------


def test_a_backbone_from_an_address(caches: Path) -> None:
    state = build_backbone(ModelSpec(options=TINY), RGB).vit.state_dict()
    save_file(state, caches / "tiny.safetensors")
    content = (caches / "tiny.safetensors").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    place = download.cache_place(f"{SITE}/tiny.safetensors")
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    spec = ModelSpec(options=TINY, checkpoint=f"{SITE}/tiny.safetensors", checkpoint_sha256=sha256)
    backbone = build_backbone(spec, RGB)
    assert backbone.load_report is not None
    assert backbone.load_report.sha256 == sha256
    assert backbone.load_report.source == f"{SITE}/tiny.safetensors"
    own = backbone.vit.state_dict()
    assert all(torch.equal(own[key], value) for key, value in load_file(place).items())
    with pytest.raises(CheckpointError, match=f"wanted {'a' * 64}"):
        build_backbone(spec.model_copy(update={"checkpoint_sha256": "a" * 64}), RGB)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"checkpoint": "a.pth", "checkpoint_sha256": "short"}, "should match pattern"),
        ({"checkpoint_sha256": "a" * 64}, "checkpoint_sha256 goes with checkpoint="),
    ],
)
def test_hashes_that_cannot_be_meant(model: dict[str, Any], sentence: str) -> None:
    data = {"scenes": ["a.tif"], "labels": "l.tif", "classes": {1: "a", 2: "b"}}
    with pytest.raises(ConfigError, match=sentence):
        load_settings({"data": data, "model": model})
