"""The download against servers that cut, ignore, change and lie."""

import errno
import hashlib
import os
import random
import shutil
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from io import BytesIO

import pytest
from click.testing import CliRunner

from data import DataError
from data.cli import main

module = import_module("data.fetch")  # `fetch` is also the name of the function in it

FILES = {f"{number}.jpg": random.Random(number).randbytes(8000) for number in range(40)}


def pack(files):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("faces/", b"")
        for name, data in files.items():
            archive.writestr(f"faces/{name}", data)
    return buffer.getvalue()


SET = pack(FILES)
DIGEST = hashlib.sha256(
    "".join(f"{hashlib.sha256(FILES[f'{n}.jpg']).hexdigest()}  {n}.jpg\n" for n in range(40)).encode()
).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves `body`; what it does wrong stands in the attributes."""

    body, etag, cut, ranges, status, length, told, seen = SET, '"one"', None, True, None, True, True, ()
    most, shift = None, 0  # bytes of an answer to a range; where that begins after what was asked for
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        self.seen.append((wanted, condition))
        if self.headers.get("Accept-Encoding") != "identity":  # else it may be packed once more, and lengths differ
            return self.answer(406, b"")
        if self.status:
            return self.answer(self.status, b"")
        start = 0
        if wanted and self.ranges and condition in (None, self.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.shift
        if start >= len(self.body):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(self.body)}"} if self.told else {})
        body = self.body[start:][: self.most if start else None]
        headers = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(self.body)}"} if start else {}
        self.answer(206 if start else 200, body, {**headers, "ETag": self.etag})

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {**dict(headers), **({"Content-Length": len(body)} if self.length else {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[: self.cut])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(**wrongs):
    handler = type("Handler", (Server,), {"seen": [], **wrongs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/faces.zip", handler
    finally:
        server.shutdown()
        server.server_close()


def fetch(output, url):
    return module.fetch(output, url, len(FILES), DIGEST, pause=0)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_and_then_nothing_to_do(tmp_path):
    with serving() as (url, server):
        assert fetch(tmp_path / "faces.zip", url) is True
        assert fetch(tmp_path / "faces.zip", url) is False
        assert len(server.seen) == 1
    assert (tmp_path / "faces.zip").read_bytes() == SET
    assert names(tmp_path) == ["faces.zip"]


@pytest.mark.parametrize(("etag", "sent"), [('"one"', '"one"'), ('W/"one"', None)])  # a weak one is for no If-Range
def test_goes_on_after_every_cut(etag, sent, tmp_path):
    with serving(cut=30_000, etag=etag) as (url, server):
        fetch(tmp_path / "faces.zip", url)
    assert (tmp_path / "faces.zip").read_bytes() == SET
    assert len(server.seen) > module.ATTEMPTS
    assert server.seen[0] == (None, None)
    assert all(int(wanted[6:-1]) > 0 and condition == sent for wanted, condition in server.seen[1:])


def test_a_later_run_goes_on(tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(SET[:1000])
    (tmp_path / "faces.zip.part.etag").write_text('"one"')
    with serving() as (url, server):
        fetch(tmp_path / "faces.zip", url)
    assert server.seen == [("bytes=1000-", '"one"')]
    assert (tmp_path / "faces.zip").read_bytes() == SET


def test_two_fetches_never_write_to_one_part(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "faces.zip.part").write_bytes(SET[:1000])
    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with serving() as (url, server), pytest.raises(DataError, match="another fetch is running there"):
            fetch(tmp_path / "faces.zip", url)
        assert server.seen == [] and names(tmp_path) == ["faces.zip.part"]
    finally:
        os.close(lock)
    with serving() as (url, _):
        assert fetch(tmp_path / "faces.zip", url)


def test_a_part_of_the_rest_is_not_the_end(tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(SET[:1000])
    with serving(most=100_000) as (url, server):
        fetch(tmp_path / "faces.zip", url)
    assert [wanted for wanted, _ in server.seen] == ["bytes=1000-", "bytes=101000-", "bytes=201000-", "bytes=301000-"]
    assert (tmp_path / "faces.zip").read_bytes() == SET


def test_starts_over_when_the_server_sends_another_part(tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(SET[:1000])
    with serving(shift=7) as (url, server):
        fetch(tmp_path / "faces.zip", url)
    assert [wanted for wanted, _ in server.seen] == ["bytes=1000-", None]
    assert (tmp_path / "faces.zip").read_bytes() == SET


@pytest.mark.parametrize("told", [True, False])
def test_a_whole_part_is_only_checked(told, tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(SET)
    with serving(told=told) as (url, server):
        fetch(tmp_path / "faces.zip", url)
    assert len(server.seen) == 1 and names(tmp_path) == ["faces.zip"]


@pytest.mark.parametrize("wrongs", [{"ranges": False}, {"etag": '"two"'}])
def test_starts_over_when_the_rest_cannot_be_had(wrongs, tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(b"x" * 1000)
    (tmp_path / "faces.zip.part.etag").write_text('"one"')
    with serving(**wrongs) as (url, _):
        fetch(tmp_path / "faces.zip", url)
    assert (tmp_path / "faces.zip").read_bytes() == SET


@pytest.mark.parametrize(
    ("length", "sends"), [(True, r"16 bytes, fewer than are in .*\.part"), (False, "a file of unknown length")]
)
def test_a_page_in_place_of_the_file_leaves_what_has_come(length, sends, tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(SET[:1000])
    (tmp_path / "faces.zip.part.etag").write_text('"one"')
    with serving(body=b"<p>Please log in", ranges=False, etag='"page"', length=length) as (url, server):
        with pytest.raises(DataError, match=f"the server sends {sends}; name a mirror"):
            fetch(tmp_path / "faces.zip", url)
        assert len(server.seen) == 1
    with serving() as (url, server):
        fetch(tmp_path / "faces.zip", url)
    assert server.seen == [("bytes=1000-", '"one"')]


def test_starts_over_when_the_part_is_too_long(tmp_path):
    (tmp_path / "faces.zip.part").write_bytes(SET + b"more")
    with serving() as (url, _):
        fetch(tmp_path / "faces.zip", url)
    assert (tmp_path / "faces.zip").read_bytes() == SET


def test_gives_up_when_nothing_new_comes(tmp_path):
    with serving(cut=30_000, ranges=False) as (url, server), pytest.raises(DataError, match=r"goes on from .*\.part"):
        fetch(tmp_path / "faces.zip", url)
    assert len(server.seen) == module.ATTEMPTS
    assert (tmp_path / "faces.zip.part").stat().st_size > 0


def test_refused_and_broken_servers(tmp_path):
    with serving(status=404) as (url, server), pytest.raises(DataError, match="answers 404; name a mirror"):
        fetch(tmp_path / "faces.zip", url)
    assert len(server.seen) == 1
    for status in (429, 503):
        again = pytest.raises(DataError, match=rf"answers {status}; run the command again")
        with serving(status=status) as (url, server), again:
            fetch(tmp_path / "faces.zip", url)
        assert len(server.seen) == module.ATTEMPTS


def test_a_proxy_that_is_none_is_no_wrong_address(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http:///nowhere")
    with pytest.raises(DataError, match="the proxy is no address"):
        fetch(tmp_path / "faces.zip", "http://example.invalid/faces.zip")


@pytest.mark.parametrize("url", ["example.invalid/faces.zip", "ftp://example.invalid/faces.zip", "http://"])
def test_a_wrong_address_is_no_lost_connection(url, tmp_path):
    with pytest.raises(DataError, match="is no address of a server; name one as https"):
        fetch(tmp_path / "faces.zip", url)


def test_offline(tmp_path):
    with pytest.raises(DataError, match="no connection"):
        fetch(tmp_path / "faces.zip", "http://127.0.0.1:9/faces.zip")


WRONG = {
    "is damaged": SET[:200] + bytes([SET[200] ^ 255]) + SET[201:],
    "holds 39 faces, not the 40": pack(dict(list(FILES.items())[1:])),
    "holds other pictures": pack({**FILES, "7.jpg": b"another"}),
}


@pytest.mark.parametrize("problem", WRONG)
def test_wrong_bytes_are_kept(problem, tmp_path):
    with serving(body=WRONG[problem]) as (url, _):
        with pytest.raises(DataError, match=rf"{problem}.*kept as .*faces\.zip\.bad"):
            fetch(tmp_path / "faces.zip", url)
        assert names(tmp_path) == ["faces.zip.bad"]
    with serving() as (url, _):
        fetch(tmp_path / "faces.zip", url)
    assert names(tmp_path) == ["faces.zip", "faces.zip.bad"]


def test_what_the_user_had_stays(tmp_path):
    (tmp_path / "faces.zip").write_bytes(b"mine")
    with serving() as (url, server), pytest.raises(DataError, match="is damaged; move it away"):
        fetch(tmp_path / "faces.zip", url)
    assert server.seen == []
    assert (tmp_path / "faces.zip").read_bytes() == b"mine"


def test_disk_full(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with (
        serving() as (url, _),
        pytest.raises(DataError, match=r"is full \(0 MB are needed, 0 MB are free\)") as caught,
    ):
        fetch(tmp_path / "faces.zip", url)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert caught.value.exit_code == 2  # as of any program that cannot write


def test_waits_twice_as_long_before_each_attempt(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    with pytest.raises(DataError, match="no connection"):
        module.fetch(tmp_path / "faces.zip", "http://127.0.0.1:9/faces.zip")
    assert waits == [1, 2, 4, 8, 16]


def test_what_is_there_already_needs_no_room(tmp_path, monkeypatch):
    (tmp_path / "faces.zip.part").write_bytes(SET[:-100])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=200))
    with serving() as (url, _):
        assert fetch(tmp_path / "faces.zip", url)
    (tmp_path / "more.zip.part").write_bytes(SET[:-100])
    with serving(ranges=False) as (url, _):  # what comes takes the place of what is there
        assert fetch(tmp_path / "more.zip", url)


def test_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "identity", lambda archive: (module.COURSE_COUNT, module.COURSE_IDENTITY))
    with serving() as (url, _):
        result = CliRunner().invoke(main, ["fetch", str(tmp_path / "my faces.zip"), "--url", url])
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-1] == f"next: python -m data prepare '{tmp_path / 'my faces.zip'}' faces/"
    with serving(status=403) as (url, _):
        result = CliRunner().invoke(main, ["fetch", str(tmp_path / "new.zip"), "--url", url])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{url}: the server answers 403")
    assert len(result.stderr.splitlines()) == 1
