"""Downloads from a server of our own: verified, kept, and never half a file."""

import dataclasses
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from grader.inputs.downloads import CASCADE, INCEPTION, Asset, AssetError, cache_folder, find, obtain

CONTENT = b"the right content" * 1000


@pytest.fixture
def server(tmp_path):
    """Serves a folder on this machine; yields its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
        httpd.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asset(address, content=CONTENT):
    return Asset("thing.bin", f"{address}/thing.bin", hashlib.sha256(content).hexdigest(), "GRADER_THING")


def test_downloaded_once_then_at_hand(server, cache):
    address, folder = server
    (folder / "thing.bin").write_bytes(CONTENT)
    assert find(asset(address)) is None
    path = obtain(asset(address))
    assert path.read_bytes() == CONTENT
    (folder / "thing.bin").unlink()  # the server is no longer needed
    assert obtain(asset(address), offline=True) == path


def test_wrong_bytes_are_not_kept(server, cache):
    address, folder = server
    (folder / "thing.bin").write_bytes(b"something else")
    with pytest.raises(AssetError, match="wrong checksum"):
        obtain(asset(address))
    assert not any(cache.iterdir())


def test_a_download_that_has_been_damaged_is_fetched_again(server, cache):
    address, folder = server
    (folder / "thing.bin").write_bytes(CONTENT)
    path = obtain(asset(address))
    path.write_bytes(CONTENT[:-1])
    assert find(asset(address)) is None
    with pytest.raises(AssetError, match="not at hand"):
        obtain(asset(address), offline=True)
    assert obtain(asset(address)).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_read_is_an_empty_one(cache, monkeypatch):
    cache.write_text("no folder")
    assert find(asset("http://127.0.0.1:9")) is None
    with pytest.raises(AssetError, match="could not be downloaded"):
        obtain(asset("http://127.0.0.1:9"))
    monkeypatch.delenv("GRADER_CACHE")
    monkeypatch.setattr("pooch.os_cache", lambda name: Path("~/.cache", name))  # as for a user without a home
    assert cache_folder().is_absolute()


def test_offline_and_unreachable(server, cache):
    address, _ = server
    with pytest.raises(AssetError, match="not at hand"):
        obtain(asset(address), offline=True)
    with pytest.raises(AssetError, match="could not be downloaded"):
        obtain(asset(address))  # 404
    with pytest.raises(AssetError, match=r"no connection.*GRADER_THING"):
        obtain(asset("http://127.0.0.1:9"))


def test_a_reason_that_is_cut_off_says_so(cache, monkeypatch):
    def signed(self, *_, **__):
        raise OSError(f"404 Client Error: Not Found for url: https://elsewhere/{'x' * 300}")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", signed)
    with pytest.raises(
        AssetError, match=r"downloaded \(404 Client Error: Not Found .*x…\); set GRADER_THING to a copy$"
    ):
        obtain(asset("http://127.0.0.1:9"))


def test_a_proxy_that_is_none_is_no_wrong_checksum(cache, monkeypatch):
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "http:///nowhere")
    with pytest.raises(AssetError, match=r"could not be downloaded \(Please check proxy URL"):
        obtain(asset("http://127.0.0.1:9"))


def test_a_named_file_is_used_or_is_an_error(tmp_path, cache, monkeypatch):
    good, bad = tmp_path / "good.bin", tmp_path / "bad.bin"
    good.write_bytes(CONTENT)
    bad.write_bytes(CONTENT[:-1])
    thing = asset("http://127.0.0.1:9")
    assert find(thing, good) == good
    with pytest.raises(AssetError, match=r"bad\.bin: wrong checksum .*: download it again from"):
        find(thing, bad)
    with pytest.raises(AssetError, match="no such file"):
        find(thing, tmp_path / "none.bin")
    monkeypatch.setenv("GRADER_THING", str(good))
    assert find(thing) == good
    monkeypatch.setenv("GRADER_THING", str(bad))
    with pytest.raises(AssetError, match="wrong checksum"):
        obtain(thing)


def test_the_cascade_we_ask_for_is_the_one_in_use(shared):
    assert find(CASCADE, shared / "lbpcascade_animeface.xml")


def test_addresses_are_those_of_the_publishers():
    assert INCEPTION.sha256.startswith(INCEPTION.file.rpartition("-")[2].removesuffix(".pth"))
    for one in (INCEPTION, CASCADE):
        assert one.url.startswith("https://")
        assert one.url.endswith(one.file)
        assert len(one.sha256) == 64
        assert dataclasses.is_dataclass(one)
