"""The commands of docs/cluster.md, run as they stand there."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from dask_processes import QUIET, free_port
from empty_report import PROGRAM

from studies.record import reader as records

ROOT = Path(__file__).parent.parent
PORT = "8786"


def commands(heading):
    """The first block of a section."""
    section = (ROOT / "docs/cluster.md").read_text().partition(f"\n## {heading}\n")[2]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]


def kill_a_worker(port):
    """SIGKILL to the first of the cluster's workers, and to the nanny that would start it again."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"worker" in words and any(word.endswith(port.encode()) for word in words):
                pids.append(int(entry.name))
    nanny = min(pids)
    children = Path(f"/proc/{nanny}/task/{nanny}/children").read_text().split()
    for pid in (nanny, *map(int, children)):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run(tmp_path):
    """Runs a block in a folder that looks like the checkout; returns its exit code and what was printed."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".git"):
            (tmp_path / path.name).symlink_to(path)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "MAKE", "MFLAGS", "STUDY", "TRIALS"))}

    def run_(block, home="home", kill_at=None):
        port, said = str(free_port()), ""  # the page's own may be taken here
        process = subprocess.Popen(
            ["bash", "-e", "-c", "trap 'kill $(jobs -p) 2> /dev/null || :' EXIT\n" + block.replace(PORT, port)],
            cwd=tmp_path,
            env={**clean, **QUIET, "SWEEP_HOME": str(tmp_path / home), "SWEEP_TRACKING": "none"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        over = threading.Timer(300, os.killpg, (process.pid, signal.SIGKILL))
        over.start()
        with process:
            for line in process.stdout:
                said += line
                if kill_at and line.startswith(kill_at):
                    kill_a_worker(port)
        over.cancel()
        return process.returncode, said

    return run_


# `make` would install the project again, from a folder that is gone when the test is over.
made_here = pytest.mark.skipif(
    bool(subprocess.run(["make", "--question", ".venv/.installed"], cwd=ROOT, check=False).returncode),
    reason="not set up by make, or out of date: it would install first",
)


@pytest.mark.slow
@made_here
def test_a_cluster_on_this_machine_gives_the_same_result(run, tmp_path):
    """The commands of the page, with three workers of which one is killed: every number and hash, and the champion.

    With a quarter of the trials and fewer confirmations, which the last of the words decide.
    """
    fewer = "--trials 6 --set confirm.top=1 --set confirm.repeats=2"
    block = commands("On this machine, to try it").replace(" --cluster ", f" {fewer} --cluster ")
    code, said = run(block, kill_at="trial 3:")
    alone = re.search(r"^(.*/sweep run .*) --cluster .*$", block, re.MULTILINE)[1]
    code_alone, said_alone = run(alone.replace(".venv/bin/sweep", shlex.join(PROGRAM)), home="alone")
    there, here = (records.read(tmp_path / home / "digits") for home in ("home", "alone"))

    assert (code, code_alone) == (0, 0), said + said_alone
    assert "6 of 6 trials done" in said
    assert "died" in said or "was lost" in said
    assert [trial.weights_sha256 for trial in there.trials] == [trial.weights_sha256 for trial in here.trials]
    assert [trial.value for trial in there.trials] == [trial.value for trial in here.trials]
    assert there.verdict["champion"] == here.verdict["champion"]
    assert there.verdict["weights_sha256"] == here.verdict["weights_sha256"]
    assert there.verdict["test"]["accuracies"] == here.verdict["test"]["accuracies"]


@pytest.mark.slow
@made_here
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_cluster_with_tls_works_as_described(run):
    """A cluster, a complete sweep on it, and the end of the cluster."""
    code, said = run(commands("Security"))

    assert code == 0, said
    assert "digits: 8 of 8 trials done" in said
    assert said.count("joined; ") >= 1
    assert re.search(r"home/digits/report\.pdf$", said, re.MULTILINE)
