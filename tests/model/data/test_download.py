"""Downloads from working, faulty and unresponsive mirrors."""

import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.data import download
from model.data.download import DownloadError, Network, Wanted

BODY = np.random.default_rng(5).bytes(300_000)
FILE = Wanted("file.gz", len(BODY), hashlib.sha256(BODY).hexdigest())


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror whose behaviour is the first part of the path."""

    def do_GET(self) -> None:
        behaviour = self.path.split("/")[1]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if behaviour.startswith("to-"):
            return self.redirect(behaviour)
        if behaviour == "missing":
            return self.send_error(404)
        if behaviour == "mute":
            self.server.over.wait(20)  # type: ignore[attr-defined]
            return None
        self.send_response(200)
        if behaviour not in ("long", "short"):
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        return self.send(behaviour)

    def send(self, behaviour: str) -> None:
        root = Path(self.server.root)  # type: ignore[attr-defined]
        if behaviour == "files":
            self.wfile.write((root / self.path.split("/")[2]).read_bytes())
        elif behaviour in ("good", "long", "wrong"):
            self.wfile.write(BODY[::-1] if behaviour == "wrong" else BODY + b"x" * (behaviour == "long"))
        elif behaviour == "html":
            self.wfile.write(b"<html>Please log in</html>".ljust(len(BODY)))
        elif behaviour in ("short", "broken"):
            self.wfile.write(BODY[:-1])
        elif behaviour == "stalls":
            self.wfile.write(BODY[:1000])
            self.server.over.wait(20)  # type: ignore[attr-defined]

    def redirect(self, behaviour: str) -> None:
        here = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        target = {
            "to-good": f"{here}/good/file.gz",
            "to-itself": f"{here}/to-itself/file.gz",
            "to-file": "file:///etc/passwd",
            "to-ftp": "ftp://127.0.0.1/file.gz",
            "to-local": here.replace("127.0.0.1", "localhost") + "/good/file.gz",
            "to-link-local": "http://169.254.169.254/good/file.gz",
            "to-elsewhere": "https://example.org/file.gz",
        }[behaviour]
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    with Server(("127.0.0.1", 0), Mirror) as running:
        running.asked, running.over, running.root = [], threading.Event(), tmp_path  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.over.set()  # type: ignore[attr-defined]
        running.shutdown()


def network(server: Server, *behaviours: str) -> Network:
    mirrors = tuple(f"http://127.0.0.1:{server.server_port}/{behaviour}/" for behaviour in behaviours)
    return Network(mirrors, contact_seconds=1.0, stall_seconds=0.3, loopback_http=True)


def get(folder: Path, net: Network) -> list[str]:
    said: list[str] = []
    download.download([FILE], folder, notify=said.append, network=net)
    return said


@pytest.mark.parametrize("behaviour", ["good", "to-good"])
def test_a_file_is_downloaded_from_a_working_mirror(server: Server, tmp_path: Path, behaviour: str) -> None:
    said = get(tmp_path, network(server, behaviour))

    assert (tmp_path / FILE.name).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == [FILE.name]
    assert "300,000 bytes" in said[0]


BAD = {
    "wrong": "SHA-256",
    "html": "SHA-256",
    "long": "more than 300,000",
    "short": "299,999 of 300,000",
    "broken": "299,999 of 300,000|connection lost",
    "missing": "404",
    "stalls": "connection lost|timed out",
    "mute": "no answer|timed out",
    "to-itself": "redirect|loop",
    "to-file": "file:// is not allowed|not allowed|file://",
    "to-ftp": "ftp://127.0.0.1 is not allowed",
    "to-local": "http://localhost is not allowed",
    "to-link-local": "http://169.254.169.254 is not allowed",
    "to-elsewhere": "https://example.org is not allowed",
}


@pytest.mark.parametrize(("behaviour", "reason"), BAD.items())
def test_a_faulty_mirror_leaves_no_file(server: Server, tmp_path: Path, behaviour: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        get(tmp_path, network(server, behaviour))
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) <= 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("behaviour", BAD)
def test_the_second_mirror_is_tried_after_a_failure(server: Server, tmp_path: Path, behaviour: str) -> None:
    get(tmp_path, network(server, behaviour, "good"))

    assert (tmp_path / FILE.name).read_bytes() == BODY


def test_only_https_is_allowed_by_default(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="only https"):
        get(tmp_path, replace(network(server, "good"), loopback_http=False))
    assert server.asked == []  # type: ignore[attr-defined]
    assert all(mirror.startswith("https://") for mirror in download.PUBLIC.mirrors)


def test_a_hanging_name_lookup_is_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*args: object, **keywords: object) -> object:
        over.wait(20)
        raise OSError("name resolution failed")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    began = time.monotonic()
    with pytest.raises(DownloadError, match="no answer"):
        get(tmp_path, replace(download.PUBLIC, contact_seconds=0.4))
    assert time.monotonic() - began < 2
    over.set()
    assert download.PUBLIC.contact_seconds < 10


def test_several_may_download_at_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: get(tmp_path, network(server, "good")), range(4)))

    assert (tmp_path / FILE.name).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == [FILE.name]
