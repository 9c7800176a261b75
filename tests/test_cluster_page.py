"""The commands of docs/cluster.md, run as they stand there."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PORT = "8786"


def commands(heading):
    """The first block of a section."""
    section = (ROOT / "docs/cluster.md").read_text().partition(f"\n## {heading}\n")[2]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def run(tmp_path):
    """Runs a block in a folder that looks like the checkout; returns what was printed."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".git"):
            (tmp_path / path.name).symlink_to(path)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "MAKE", "MFLAGS", "STUDY", "TRIALS"))}

    def run_(block):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])  # the page's own may be taken here
        return subprocess.run(
            ["bash", "-e", "-c", block.replace(PORT, port)],
            cwd=tmp_path,
            env={**clean, "SWEEP_HOME": str(tmp_path / "home"), "SWEEP_TRACKING": "none"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    return run_


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv/.installed").exists(), reason="not set up by make: it would install first")
@pytest.mark.parametrize(
    "heading",
    [
        "On this machine, to try it",
        pytest.param(
            "Security", marks=pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
        ),
    ],
)
def test_the_commands_of_the_page_work(run, heading):
    """A cluster, a sweep on it to its report, and the cluster ended."""
    done = run(commands(heading))

    assert done.returncode == 0, done.stdout
    assert "digits: 8 of 8 trials done" in done.stdout
    assert done.stdout.count("joined; ") >= 1
    assert re.search(r"home/digits/report\.pdf$", done.stdout, re.MULTILINE)
