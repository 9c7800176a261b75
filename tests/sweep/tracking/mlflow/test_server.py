"""The real server of `sweep ui`, asked over raw sockets as a hostile page, a hostile neighbour or a proxy would ask."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweep.commands import ui
from sweep.tracking.mlflow import server

pytestmark = pytest.mark.slow

EVIL, HERE = "attacker.example", "127.0.0.1:{port}"
HOSTS = {
    name: f"Host: {host}\r\n"
    for name, host in {
        "a private network's name": f"10.{EVIL}",
        "another private network's name": f"192.168.1.1.{EVIL}" + ":{port}",
        "ours as a part": f"127.0.0.1.{EVIL}",
        "ours as a part, with the port": f"127.0.0.1.{EVIL}" + ":{port}",
        "localhost as a part": f"localhost.{EVIL}" + ":{port}",
        "ours with its port as a part": f"{HERE}.{EVIL}",
        "any name, our port": EVIL + ":{port}",
        "a user before ours": f"me@{HERE}",
        "a name as the user of ours": f"{EVIL}@{HERE}",
        "ours as a user": f"{HERE}@{EVIL}",
        "ours as a path": f"{EVIL}/{HERE}",
        "ours as a fragment": f"{EVIL}#{HERE}",
        "ours with a path": f"{HERE}/",
        "a whole address": f"http://{HERE}",
        "upper case": "LOCALHOST:{port}",
        "a dot after the name": "localhost.:{port}",
        "a dot after the number": "127.0.0.1.:{port}",
        "IPv6": "[::1]:{port}",
        "IPv4 in IPv6": "[::ffff:127.0.0.1]:{port}",
        "IPv6 with a zone": "[::1%25lo]:{port}",
        "decimal": "2130706433:{port}",
        "hexadecimal": "0x7f.0.0.1:{port}",
        "octal": "0177.0.0.1:{port}",
        "short": "127.1:{port}",
        "a neighbour on loopback": "127.0.0.2:{port}",
        "every address": "0.0.0.0:{port}",
        "no port": "127.0.0.1",
        "another port": "localhost:80",
        "a port that begins with ours": f"{HERE}0",
        "a zero before the port": "127.0.0.1:0{port}",
        "empty": "",
        "a list": f"{HERE}, {EVIL}",
        "a space": f"{EVIL} {HERE}",
        "a tab": f"{HERE}\t{EVIL}",
        "a letter of another alphabet": "l\u043ecalhost:{port}",
        "punycode": "xn--lcalhost-9tg:{port}",
    }.items()
} | {
    "missing": "",
    "twice ours": f"Host: {HERE}\r\nHost: {HERE}\r\n",
    "another, then ours": f"Host: {EVIL}\r\nHost: {HERE}\r\n",
    "another, forwarded as ours": f"Host: {EVIL}\r\nX-Forwarded-Host: {HERE}\r\nForwarded: host={HERE}\r\n",
}
PAGES = {
    "/health": 200,
    "/": 200,
    "/ajax-api/2.0/mlflow/experiments/search?max_results=1": 200,
    "/api/2.0/mlflow/experiments/search?max_results=1": 200,
    "/static-files/index.html": 200,
    "/get-artifact?run_uuid=none&path=weights.npz": 404,  # there is no such run
    "/graphql": 200,
}
"""What the right host is answered."""


@dataclass(frozen=True)
class Page:
    """The server that `sweep ui` started, and the lines that it printed before it was ready."""

    launcher: int
    port: int
    said: list[str]

    def ask(self, target: str, head: str = f"Host: {HERE}\r\n", method: str = "GET", body: str = "") -> tuple[int, str]:
        """Send exactly these bytes; returns the status and the body."""
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if method == "POST" else ""
        text = f"{method} {target} HTTP/1.1\r\n{head.format(port=self.port)}{kind}Connection: close\r\n\r\n{body}"
        with (
            socket.create_connection((ui.HOST, self.port), timeout=20) as connection,
            connection.makefile("rb") as told,
        ):
            connection.sendall(text.encode())
            answer = told.read().decode(errors="replace")
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body

    def post(self, target: str, **values: object) -> tuple[int, str]:
        return self.ask(target, method="POST", body=json.dumps(values))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Afterwards SIGTERM ends it with exit code 0, and leaves neither a process nor a taken port."""
    home, port, said = tmp_path_factory.mktemp("page"), free_port(), []
    argv = [sys.executable, "-P", "-m", "sweep", "ui", "--home", str(home), "--port", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as launcher:
        assert launcher.stdout is not None
        while "Ctrl-C" not in (line := launcher.stdout.readline()):
            assert line, "it ended"
            said.append(line)
        page = Page(launcher.pid, port, said)
        server = server_of(page)
        yield page
        launcher.terminate()
        assert launcher.wait(timeout=15) == 0
    assert not server.exists()
    with socket.socket() as probe:
        assert probe.connect_ex((ui.HOST, port)) != 0


def server_of(page: Page) -> Path:
    """The only child process of `sweep ui`, in /proc."""
    (server,) = Path(f"/proc/{page.launcher}/task/{page.launcher}/children").read_text().split()
    return Path("/proc", server)


def test_the_page_without_a_study_is_printed(page: Page) -> None:
    """After a line that asks for patience."""
    starting, address = page.said

    assert starting.startswith("starting MLflow")
    assert address == f"no sweep has been sent to MLflow yet; the page is http://127.0.0.1:{page.port}\n"


def test_the_address_of_the_database_is_no_argument(page: Page) -> None:
    """Other users of the machine can read arguments, and an address may hold a password."""
    assert "sqlite" not in (server_of(page) / "cmdline").read_text()


def status(page: Page, target: str, head: str) -> int:
    method, body = ("POST", '{"query": "{ __typename }"}') if target == "/graphql" else ("GET", "")
    return page.ask(target, head, method, body)[0]


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_refused_on_every_page(page: Page, host: str) -> None:
    found = {target: status(page, target, HOSTS[host]) for target in PAGES}

    assert set(found.values()) <= {400, 403}, found


def test_forty_different_hosts_are_tried() -> None:
    assert len(HOSTS) == len(set(HOSTS.values())) == 40


@pytest.mark.parametrize("host", [HERE, "localhost:{port}"])
def test_the_two_local_hosts_are_accepted(page: Page, host: str) -> None:
    assert {target: status(page, target, f"Host: {host}\r\n") for target in PAGES} == PAGES


@pytest.mark.parametrize("host", [f"http://{EVIL}", f"http://{EVIL}" + ":{port}", "http://127.0.0.1:{port}", EVIL])
def test_requests_for_other_servers_are_refused(page: Page, host: str) -> None:
    """A target that is a whole address would say another host than the header does."""
    assert [page.ask(host.format(port=page.port) + target)[0] for target in ("/", "/health", "/graphql")] == [400] * 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_requests_from_another_origin_are_refused(page: Page, method: str) -> None:
    target = "/ajax-api/2.0/mlflow/experiments/create"

    status, _ = page.ask(target, f"Host: {HERE}\r\nOrigin: http://{EVIL}\r\n", method, '{"name": "theirs"}')

    assert status in ((403,) if method == "POST" else (403, 405))
    assert "theirs" not in page.ask("/ajax-api/2.0/mlflow/experiments/search?max_results=100")[1]


@pytest.mark.parametrize(
    "target",
    [
        "mlflow/assistant",
        "mlflow/assistant/",
        "mlflow/assistant/config",
        "mlflow/assistant/message",
        "mlflow/Assistant/config",
        "MLFLOW/ASSISTANT/CONFIG",
        "mlflow/%61ssistant/config",
        "mlflow/%2561ssistant/config",
        "mlflow%2Fassistant/config",
        "mlflow%252Fassistant/config",
        "mlflow%5Cassistant/config",
        "mlflow//assistant/config",
        "/mlflow/assistant/config",
        "mlflow/./assistant/config",
        "mlflow/x/../assistant/config",
        "mlflow/x/%2e%2e/assistant/config",
        "mlflow/assistant/../assistant/config",
        "mlflow/assistant;x=y/config",
        "mlflow/assistant%00/config",
        "mlflow/assistant%20/config",
        "mlflow/assistant./config",
        "mlflow/assistant?x",
    ],
)
def test_the_assistant_is_disabled(page: Page, target: str) -> None:
    found = {method: page.ask(f"/ajax-api/3.0/{target}", method=method)[0] for method in ("GET", "POST", "PATCH")}

    assert set(found.values()) <= {404, 405}, found
    assert found["GET"] == 404
    assert page.ask(f"//ajax-api/3.0/{target}")[0] == 404


def test_jobs_and_gateway_are_disabled(page: Page) -> None:
    run, said = page.post("/ajax-api/3.0/jobs/", job_name="invoke_scorer", params={})
    chat, _ = page.post("/gateway/mlflow/v1/chat/completions", model="x", messages=[])
    proxy, _ = page.post("/gateway/proxy/x/y")

    assert run == 500
    assert "job execution feature is not enabled" in said
    assert (chat, proxy) == (501, 501)
    assert page.post("/ajax-api/3.0/jobs/search") == (200, '{"jobs":[]}')


def test_the_server_listens_on_loopback_only(page: Page) -> None:
    """Of all processes of `sweep ui`, by the kernel's table; and it is one process that listens once."""
    server = server_of(page)
    assert (server / "task" / server.name / "children").read_text() == ""
    launcher = Path(f"/proc/{page.launcher}")
    sockets = {link.readlink().name for process in (launcher, server) for link in (process / "fd").glob("*")}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append((table, fields[1]))

    assert listening == [("tcp", f"0100007F:{page.port:04X}")]


@pytest.mark.parametrize(
    "path",
    [
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "..%252f..%252f..%252f..%252fetc%252fpasswd",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "x/../../../../../etc/passwd",
        "..%5c..%5c..%5cetc%5cpasswd",
        "file:///etc/passwd",
        "file:%2f%2f%2fetc%2fpasswd",
        "etc/passwd%00.png",
        "C:/etc/passwd",
        "linked/passwd",
    ],
)
def test_files_outside_a_run_are_not_served(page: Page, path: str) -> None:
    run, root = run_of(page)
    (root / "linked").symlink_to("/etc")

    found = {
        page.ask(f"/get-artifact?run_uuid={run}&path={path}"),
        page.ask(f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}&path={path}"),
        page.ask(f"/ajax-api/2.0/mlflow-artifacts/artifacts/{path}"),
        page.ask(f"/static-files/{path}"),
    }

    assert [body for _, body in found if "root:" in body] == []
    assert {status for status, _ in found} <= {200, 308, 400, 404, 503}


def test_artifacts_are_served_from_beside_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where their addresses are those of another process's mount."""
    from mlflow.store.artifact import artifact_repository_registry as registry

    ours = registry.ArtifactRepositoryRegistry()
    monkeypatch.setattr(registry, "_artifact_repository_registry", ours)
    folder = tmp_path / "mlartifacts/digits/0a/artifacts"
    folder.mkdir(parents=True)
    (folder / "epochs.csv").write_text("1,2")

    server._look_beside(tmp_path / "mlflow.db")

    found = registry.get_artifact_repository("file:///data/runs/mlartifacts/digits/0a/artifacts")
    assert [file.path for file in found.list_artifacts()] == ["epochs.csv"]


def run_of(page: Page) -> tuple[str, Path]:
    """A run with a file among its artifacts."""
    made = json.loads(page.post("/api/2.0/mlflow/experiments/create", name=secrets.token_hex(8))[1])
    answer = page.post("/api/2.0/mlflow/runs/create", experiment_id=made["experiment_id"], start_time=1)[1]
    run = json.loads(answer)["run"]["info"]
    root = Path(run["artifact_uri"].removeprefix("file://"))
    root.mkdir(parents=True)
    (root / "ours.txt").write_text("root: of a run")
    assert page.ask(f"/get-artifact?run_uuid={run['run_id']}&path=ours.txt") == (200, "root: of a run")
    return run["run_id"], root
