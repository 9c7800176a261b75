"""The champion behind `mlflow models serve`: our own predictions to the last bit, and every bad body refused."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from empty_report import PROGRAM
from threadpoolctl import threadpool_limits

from model import weights

pytestmark = pytest.mark.slow

STUDY = """\
question = "Which learning rate?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 2

[baseline]
hidden_sizes = [32, 16]
learning_rate = 0.003
epochs = 4

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 1
repeats = 2
"""
SHAPE, FEATURES, CLASSES = (8, 8), 64, 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home):
    """Where the model is looked for, and that nothing is unpickled."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("SWEEP_", "MLFLOW_"))}
    return ours | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # MLflow starts `uvicorn` by its name
        "SWEEP_HOME": str(home),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home folder of a study that was swept, confirmed and mirrored."""
    folder = tmp_path_factory.mktemp("serving")
    study, home = folder / "tiny.toml", folder / "home"
    study.write_text(STUDY)
    argv = [*PROGRAM, "run", str(study), "--workers", "1"]
    done = subprocess.run(argv, env=environment(home), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "all trials in MLflow" in done.stdout
    return home


@pytest.fixture(scope="module")
def served(home):
    """The address of MLflow's own server for the champion."""
    port = free_port()
    argv = [sys.executable, "-P", "-m", "mlflow", "models", "serve", "--model-uri", "models:/sweep-tiny@champion"]
    argv += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = home.parent / "serve.log"
    with log.open("wb") as file:
        server = subprocess.Popen(argv, env=environment(home), stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(OSError):
                assert ask(f"http://127.0.0.1:{port}", "/ping")[0] == 200
                break
            time.sleep(0.2)
        else:
            pytest.fail(log.read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def ask(address, path, body=None, kind="application/json"):
    """Status and text of an answer."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, content, {"Content-Type": kind} if kind else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def examples(pixels):
    """Rows of pixels as images, the shape in the model's signature."""
    return pixels.reshape(-1, *SHAPE).tolist()


def own(home, pixels):
    """Our network's probabilities, with as many threads as the server has: bits can depend on their number."""
    with threadpool_limits(os.cpu_count(), "blas"):
        return weights.load(home / "tiny" / "champion.npz").network.predict(pixels)


@pytest.mark.parametrize("wrap", ["inputs", "instances"])
@pytest.mark.parametrize("count", [1, 2, 7, 359])
def test_a_served_prediction_is_bit_identical(served, home, digits, count, wrap):
    """Every probability as float32, after it was written as JSON and read; the class is the most probable one."""
    pixels = np.array(digits.test.inputs[:count])

    status, text = ask(served, "/invocations", {wrap: examples(pixels)})

    assert status == 200, text
    rows = json.loads(text)["predictions"]
    found = np.array([[row[f"probability_{label}"] for label in range(CLASSES)] for row in rows])
    expected = own(home, pixels)
    assert found.astype(np.float32).tobytes() == np.ascontiguousarray(expected).tobytes()
    assert (found == found.astype(np.float32)).all()  # nothing was lost or added on the way
    assert [row["class"] for row in rows] == expected.argmax(axis=1).tolist()
    assert len(rows) == len(pixels) == count


def test_every_number_type_of_pixels_gives_the_same_prediction(served, digits):
    """Whole numbers and floats, also as text, and rows of pixels in place of images."""
    pixels = np.array(digits.test.inputs[:5])

    answers = {
        ask(served, "/invocations", {"inputs": examples(given)})
        for given in (pixels, pixels.astype(float), pixels.astype(str))
    } | {ask(served, "/invocations", {"inputs": pixels.tolist()})}

    assert len(answers) == 1
    assert answers.pop()[0] == 200


ROW = [0] * FEATURES
IMAGE = [[0] * 8] * 8


def changed(value):
    """An image with this value at its first pixel."""
    return [[[value, *IMAGE[0][1:]], *IMAGE[1:]]]


BAD = {
    "too narrow": {"inputs": [[row[1:] for row in IMAGE]]},
    "too wide": {"inputs": [[[*row, 0] for row in IMAGE]]},
    "a table": {"dataframe_split": {"columns": list(range(FEATURES)), "data": [ROW]}},
    "records": {"dataframe_records": [dict(enumerate(ROW))]},
    "rows of two widths": {"inputs": [[IMAGE[0][1:], *IMAGE[1:]]]},
    "one image without its list": {"inputs": IMAGE},
    "NaN": {"inputs": changed(float("nan"))},
    "infinite": {"inputs": changed(float("inf"))},
    "minus infinity": {"inputs": changed(float("-inf"))},
    "beyond float32": {"inputs": changed(1e300)},
    "beyond every integer": {"inputs": changed(10**400)},
    "null": {"inputs": changed(None)},
    "text": {"inputs": changed("seven")},
    "objects": {"inputs": changed({})},
    "by name": {"inputs": {"a": [1], "b": [2]}},
    "no images": {"inputs": []},
    "empty object": {},
    "another key": {"pixels": [IMAGE]},
    "two keys": {"inputs": [IMAGE], "instances": [IMAGE]},
    "a list": [IMAGE],
    "a number": 7,
    "not JSON": b"{inputs:",
    "empty": b"",
    "not UTF-8": b'{"inputs": "\xff"}',
    "deep": b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}",
}


@pytest.mark.parametrize("what", BAD)
def test_an_invalid_body_returns_400(served, what):
    """Never 500, and no traceback."""
    status, text = ask(served, "/invocations", BAD[what])

    assert status == 400, text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-pickle", "application/octet-stream", "application/json; charset=latin-1"]
)
def test_an_unsupported_content_type_returns_415(served, kind):
    """What the body holds is not looked at."""
    assert ask(served, "/invocations", {"inputs": [IMAGE]}, kind)[0] == 415


def test_the_server_survives_invalid_requests(served):
    """Alive, ready, and right."""
    assert ask(served, "/ping")[0] == 200
    assert ask(served, "/invocations", {"inputs": [IMAGE]})[0] == 200


def test_the_stored_model_has_no_pickle(home):
    """No file, no member of an archive; every array is read without it, and the model is code."""
    seen = set()
    for path in (path for path in home.rglob("*") if path.is_file()):
        for name, content in members(path):
            seen.add(name.rpartition(".")[2])
            assert not name.endswith((".pkl", ".pickle", ".joblib", ".cloudpickle")), name
            assert not (content[:1] == b"\x80" and content[1:2] in b"\2\3\4\5" and content[-1:] == b"."), name
            if name.endswith(".npy"):
                np.load(io.BytesIO(content), allow_pickle=False)
    (model,) = home.glob("mlartifacts/**/MLmodel")

    assert {"npy", "db", "py", "pdf", "yaml"} <= seen
    assert "loader_module: mlflow.pyfunc.loaders.code_model" in model.read_text()
    assert "python_model:" not in model.read_text()  # the key of a pickled one


def members(path):
    """The file by name and content, and what is in it where it is an archive."""
    yield path.name, path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist())
