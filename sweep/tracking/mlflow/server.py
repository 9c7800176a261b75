"""MLflow's web application, restricted and with other defaults; `sweep/commands/ui.py` starts it as a process.

MLflow's job runner, gateway and telemetry can be switched off; its assistant, which runs a shell on the host, cannot
(MLflow 3.17, `server/assistant`). Requests for its paths are therefore refused here, before they reach MLflow. The Host
header is checked here too, on every path: exactly one, and one of the allowed hosts. MLflow's own check skips /health
and reads only the last header.

MLflow's page opens on language-model traces, with the assistant over a third of it; its table of runs has no metric,
and the charts of a run begin with single numbers. The page served here has other defaults
(`sweep/tracking/mlflow/page.js`), which the user can change in the browser. It also loads more runs at once, lists the
children of a run from the first, and leaves out tags that are ours alone.
"""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

from sweep.passwords import Clean, without_passwords
from sweep.tracking import views
from sweep.tracking.mlflow.causes import explained
from sweep.tracking.mlflow.local_store import beside, check_database, make_ready, path_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DEFAULTS = {
    "^mlflow.workflowType_v1$": "machine_learning",
    "^mlflow.assistant.fab.autoOpenedOnFirstLoad_v1$": True,
    "^mlflow.telemetry.info.alert.dismissed_v1$": True,  # telemetry is off: `sweep/commands/ui.py`
    "^_mlflow_model_registry_promo_modal_dismissed_v1$": True,
    "^mlflow.settings.telemetry.enabled_v1$": False,
    "-ExperimentView-.*-expandRows$": True,
}
"""Initial values in the browser's local storage for MLflow 3.17's page, by patterns of its keys."""
FACETS = (
    "searchFilter",
    "orderByKey",
    "orderByAsc",
    "startTime",
    "lifecycleFilter",
    "modelVersionFilter",
    "datasetsFilter",
)
"""Keys that the page of MLflow 3.17 adds to the address of a shared view."""
MOST_RUNS = 1000
"""Runs that the page's table and charts load at once, instead of 100: parallel coordinates of 100 show a part."""
INTERNAL = "sweep."
"""How tags begin that only `sweep sync` reads: the page does not list them, but its search finds them."""
STYLE = """<style>
[data-assistant-ui] { display: none !important; }  /* a button for the assistant, which is not offered */
div:has(> [data-testid="note-view-outer-container"]) { max-height: none !important; }  /* unfold the answer */
div[data-testid="truncation-gradient"], button[data-testid="show-comment-toggle"] { display: none !important; }
</style>"""
REFUSED = "/mlflow/assistant"


def application() -> App:
    """The guarded application, set up from the environment that `sweep/commands/ui.py` prepared. A uvicorn factory."""
    _end_with_parent()
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    _write_no_passwords(store)
    try:
        return _application(store, os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"])
    except Exception as error:  # drivers, databases and addresses raise many kinds
        cause = explained(error, store)
        fix = f"\n{cause.fix}" if cause.fix else ""
        sys.exit(f"MLflow cannot open {without_passwords(store)}: {cause}{fix}")


def _application(store: str, artifacts: str) -> App:
    warnings.filterwarnings("ignore", "starlette.middleware.wsgi is deprecated")  # within MLflow
    path = path_of(store)
    use = make_ready(path) if path else None
    check_database(store)
    from mlflow import server  # MLflow reads the environment as it is imported
    from mlflow.server import constants, handlers

    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.REGISTRY_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: artifacts,
    }
    handlers.initialize_backend_stores(store, store, artifacts)
    if path:
        _look_beside(path)
    from mlflow.server.fastapi_app import app

    app.state.use = use  # as long as the server runs
    page = Path(server.app.static_folder, "index.html").read_text()
    return guarded(app, os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"].split(","), with_defaults(page))


def _look_beside(database: Path) -> None:
    """Let MLflow look for artifacts beside its database, also under the path of another process's mount."""
    from mlflow.store.artifact import artifact_repository_registry as registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    class Beside(LocalArtifactRepository):  # type: ignore[misc]  # MLflow is untyped here
        def __init__(self, artifact_uri: str, *args: Any, **named: Any) -> None:
            super().__init__(beside(artifact_uri, database), *args, **named)

    registry._artifact_repository_registry.register("file", Beside)  # MLflow's own way is an entry point of a package


def _write_no_passwords(address: str) -> None:
    """Remove the database's password from the logs of MLflow, SQLAlchemy and uvicorn."""
    sys.stderr = cast(TextIO, Clean(sys.stderr, [address]))
    for handler in logging.getLogger("uvicorn").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)


def with_defaults(page: str) -> bytes:
    """The page with our defaults before its own script, and without disabled features."""
    values = {
        "defaults": [(pattern, json.dumps(value)) for pattern, value in DEFAULTS.items()],
        "view": views.tag(views.TABLE),
        "charts": views.run_charts(),
        "facets": FACETS,
        "best": views.BEST,
        "runs": MOST_RUNS,
        "internal": INTERNAL,
    }
    script = Path(__file__).with_name("page.js").read_text()
    ours = f"{STYLE}<script>const SWEEP = {json.dumps(values)};\n{script}</script>"
    return page.replace("<head>", "<head>" + ours, 1).encode()


def guarded(app: App, hosts: list[str], page: bytes) -> App:
    """`app`, answering `page` on /, 403 to any other host and 404 on the assistant's paths."""
    allowed = [[host.encode()] for host in hosts]

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if [value for name, value in scope["headers"] if name == b"host"] not in allowed:
            return await _answer(send, scope, 403, b"host name not allowed")
        if not scope["path"].startswith("/"):  # an absolute address, as for a proxy; its host may differ
            return await _answer(send, scope, 400, b"not a proxy")
        if REFUSED in scope["path"].lower():
            return await _answer(send, scope, 404, b"disabled")
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            return await _answer(send, scope, 200, page, b"text/html; charset=utf-8")
        return await app(scope, receive, send)

    return guard


async def _answer(send: Send, scope: Scope, status: int, body: bytes, kind: bytes = b"text/plain") -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = {
        b"content-type": kind,
        b"content-length": str(len(body)).encode(),
        b"cache-control": b"no-cache",
        b"x-frame-options": b"SAMEORIGIN",
        b"x-content-type-options": b"nosniff",
    }
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _end_with_parent() -> None:
    """Exit when standard input ends: then the launcher has exited, perhaps killed by SIGKILL."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock Python needs at exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
