"""Download pinned files from public mirrors; every file is checked against its known size and SHA-256.

The first byte and the rest of a file have separate timeouts. Name resolution ignores socket timeouts, so the request is
made in a thread that can be abandoned. pooch 1.9 does not do that: its timeout did not end a hanging name lookup.
"""

import contextlib
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.files import part_name, sync_folder

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector, Request

Notify = Callable[[str], None]
"""Takes one line for the user."""
CHUNK_BYTES = 2**16
MAX_REDIRECTS = 3
"""Maximal number of redirects per request."""


class DownloadError(Exception):
    """No mirror delivered the file; the message has each mirror with its reason, on one line."""


class _MirrorError(Exception):
    """A mirror is unreachable, closes the connection, or sends wrong content; the message is one short reason."""


@dataclass(frozen=True)
class Wanted:
    """A file to download: its name on the mirrors, its length in bytes, its SHA-256 (hex)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Network:
    """Mirrors and timeouts.

    Attributes:
        mirrors: Base URLs, tried in this order; redirects may lead to their hosts only.
        contact_seconds: Timeout for the first byte of a file, for all mirrors together.
        stall_seconds: Timeout for each further chunk.
        file_seconds: Timeout for a whole file.
        loopback_http: Whether http://127.0.0.1 is accepted, for tests; otherwise only https is.
    """

    mirrors: tuple[str, ...]
    contact_seconds: float = 8.0
    stall_seconds: float = 10.0
    file_seconds: float = 900.0
    loopback_http: bool = False


PUBLIC = Network(
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/")
)


def download(wanted: Sequence[Wanted], folder: Path, *, notify: Notify, network: Network = PUBLIC) -> None:
    """Download files into `folder`; a file appears there only when it is complete and verified.

    Several processes may do this at once: each writes its own temporary file and renames it.

    Args:
        wanted: The files; an existing one is replaced.
        folder: Created if needed.
        notify: Called with one line before each request to a mirror.
        network: Mirrors and timeouts.

    Raises:
        DownloadError: No mirror delivered one of the files.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opener = _opener(network)
    mirrors = list(network.mirrors)
    for file in wanted:
        worked = _from_any(mirrors, file, folder, opener, notify, network)
        mirrors.sort(key=lambda mirror: mirror != worked)  # an unreachable mirror then costs its timeout only once
    sync_folder(folder)


def _from_any(
    mirrors: Sequence[str],
    file: Wanted,
    folder: Path,
    opener: "OpenerDirector",
    notify: Notify,
    network: Network,
) -> str:
    """Download one file and return the mirror that delivered it."""
    remaining = network.contact_seconds
    reasons = []
    for number, mirror in enumerate(mirrors):
        notify(f"Downloading {file.name} ({file.size:,} bytes) from {_host(mirror)}")
        share, began = remaining / (len(mirrors) - number), time.monotonic()
        try:
            response, first = _reach(opener, mirror + file.name, share, network)
        except _MirrorError as error:
            reasons.append(f"{_host(mirror)}: {error}")
            continue
        finally:
            remaining -= time.monotonic() - began
        try:
            with contextlib.closing(response):
                _store(file, folder / file.name, _pieces(response, first, network))
            return mirror
        except _MirrorError as error:
            reasons.append(f"{_host(mirror)}: {error}")
    raise DownloadError("; ".join(reasons) or "there are no mirrors")


# ------------------------------------------------------------------ connecting to a mirror


def _reach(opener: "OpenerDirector", url: str, seconds: float, network: Network) -> "tuple[HTTPResponse, bytes]":
    """The response and its first bytes, within `seconds` even if the resolver hangs."""
    _check_url(url, network, {_host(url)})
    answers: queue.SimpleQueue[tuple[HTTPResponse, bytes] | Exception] = queue.SimpleQueue()
    abandoned = threading.Event()

    def reach() -> None:
        answers.put(_first_bytes(opener, url, network.stall_seconds))
        if abandoned.is_set():
            _close_any(answers)

    threading.Thread(target=reach, name=f"reach {_host(url)}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        abandoned.set()
        _close_any(answers)  # the answer may have come between the two lines above
        raise _MirrorError(f"no answer within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise _MirrorError(_reason(answer)) from answer
    return answer


def _first_bytes(opener: "OpenerDirector", url: str, seconds: float) -> "tuple[HTTPResponse, bytes] | Exception":
    """The open response with its first bytes, or the error."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    try:
        response: HTTPResponse = opener.open(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        error.close()
        return error
    except Exception as error:  # the waiting thread raises it
        return error
    try:
        return response, response.read1(CHUNK_BYTES)
    except Exception as error:
        response.close()
        return error


def _close_any(answers: "queue.SimpleQueue[tuple[HTTPResponse, bytes] | Exception]") -> None:
    with contextlib.suppress(queue.Empty):
        answer = answers.get_nowait()
        if not isinstance(answer, Exception):
            answer[0].close()


def _reason(error: BaseException) -> str:
    """The reason of an error in one short line."""
    cause = getattr(error, "reason", None)
    text = str(cause if isinstance(cause, BaseException) else error) or type(error).__name__
    return " ".join(text.split())[:120]


def _opener(network: Network) -> "OpenerDirector":
    """An opener that uses the proxy of the environment and follows at most `MAX_REDIRECTS` redirects."""
    import urllib.request

    hosts = {_host(mirror) for mirror in network.mirrors}

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = MAX_REDIRECTS

        def redirect_request(
            self, req: "Request", fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> "Request | None":
            _check_url(newurl, network, hosts)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(Redirects)


def _check_url(url: str, network: Network, hosts: Collection[str]) -> None:
    """Refuse anything but https to a known host: a redirect must not lead to file: or the local network."""
    from urllib.parse import urlsplit

    scheme, host = urlsplit(url).scheme, _host(url)
    loopback = network.loopback_http and scheme == "http" and host == "127.0.0.1"
    if not (scheme == "https" or loopback) or host not in hosts:
        raise _MirrorError(f"{scheme}://{host} is not allowed, only https on {', '.join(sorted(hosts))}")


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or url


# ------------------------------------------------------------------ reading the response


def _pieces(response: "HTTPResponse", first: bytes, network: Network) -> Iterator[bytes]:
    """Yield the body in chunks, within the timeouts for a chunk and for the file."""
    from http.client import HTTPException

    began = time.monotonic()
    piece = first
    while piece:
        yield piece
        if time.monotonic() - began > network.file_seconds:
            raise _MirrorError(f"not complete after {network.file_seconds:.0f} s")
        try:
            piece = response.read1(CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise _MirrorError(f"connection lost ({_reason(error)})") from error


def _store(file: Wanted, target: Path, pieces: Iterator[bytes]) -> None:
    """Write the body to a temporary file; rename it to `target` if length and SHA-256 are correct."""
    part = part_name(target)
    digest, length = hashlib.sha256(), 0
    try:
        with part.open("xb") as out:
            for piece in pieces:
                length += len(piece)
                if length > file.size:
                    raise _MirrorError(f"sent more than {file.size:,} bytes")
                digest.update(piece)
                out.write(piece)
            if length != file.size:
                raise _MirrorError(f"sent {length:,} of {file.size:,} bytes")
            if digest.hexdigest() != file.sha256:
                raise _MirrorError(f"sent other content: expected SHA-256 {file.sha256}, found {digest.hexdigest()}")
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
