"""Serve a recorded study in optuna-dashboard, on this machine only and read-only.

The dashboard can delete and rename studies and write notes. Here the study database is opened read-only, and every
request other than GET and HEAD is refused before it reaches the dashboard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from studies.record.database import open_readonly
from studies.record.location import locate
from sweep.commands.ui import HOST, UiError, refuse_taken

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve(folder: Path, port: int, say: Callable[[str], None]) -> None:
    """Serve the study in `folder`, also while its sweep runs, until Ctrl-C.

    Raises:
        UiError: optuna-dashboard is not installed, or the port is taken.
        RecordError: the folder holds no readable study.
    """
    application = guarded(_dashboard(folder), [f"{HOST}:{port}", f"localhost:{port}"])
    refuse_taken(port)
    with make_server(HOST, port, application, _Server, _SilentLog) as server, contextlib.suppress(KeyboardInterrupt):
        say(f"{folder.name}: http://{HOST}:{port}/dashboard/studies/1")
        say("Ctrl-C ends it")
        server.serve_forever()


def _dashboard(folder: Path) -> Application:
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError as error:
        raise UiError(
            "optuna-dashboard is an optional dependency and is not installed; install it with make dashboard or with\n"
            "pip install --require-hashes -r requirements-dashboard.lock"
        ) from error
    application: Application = wsgi(open_readonly(locate(folder)))
    return application


def guarded(application: Application, hosts: list[str]) -> Application:
    """`application` behind a filter: 403 for other host names, 405 for methods other than GET and HEAD."""

    def guard(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment.get("HTTP_HOST") not in hosts:
            return _refuse(start, "403 Forbidden", b"host name not allowed")
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start, "405 Method Not Allowed", b'{"reason": "the study is served read-only"}')
        return application(environment, start)

    return guard


def _refuse(start: Callable[..., Any], status: str, body: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # browsers never close idle connections


class _SilentLog(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""
