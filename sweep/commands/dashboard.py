"""Shows a recorded study in optuna-dashboard, on this machine only; nothing that is clicked there can change it.

The dashboard offers to delete and rename studies and to write notes. Here the study database is opened read-only, and
every request that is not a question is refused before the dashboard sees it.
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
    """Show the study in `folder`, also while it is swept, and stay until Ctrl-C.

    Raises:
        UiError: optuna-dashboard is not installed, or the port is taken.
        RecordError: the folder holds no readable study.
    """
    application = guarded(_dashboard(folder), [f"{HOST}:{port}", f"localhost:{port}"])
    refuse_taken(port)
    with make_server(HOST, port, application, _Server, _Quiet) as server, contextlib.suppress(KeyboardInterrupt):
        say(f"{folder.name}: http://{HOST}:{port}/dashboard/studies/1")
        say("Ctrl-C ends it")
        server.serve_forever()


def _dashboard(folder: Path) -> Application:
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError as error:
        raise UiError(
            "optuna-dashboard is an extra, and not installed; make dashboard installs it, and so does\n"
            "pip install --require-hashes -r requirements-dashboard.lock"
        ) from error
    application: Application = wsgi(open_readonly(locate(folder)))
    return application


def guarded(application: Application, hosts: list[str]) -> Application:
    """`application`, answering 403 to any other host and 405 to whatever would change something."""

    def guard(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment.get("HTTP_HOST") not in hosts:
            return _refuse(start, "403 Forbidden", b"this host name is not ours")
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start, "405 Method Not Allowed", b'{"reason": "the study is shown, and cannot be changed"}')
        return application(environment, start)

    return guard


def _refuse(start: Callable[..., Any], status: str, body: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser keeps its connections open for ever


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""
