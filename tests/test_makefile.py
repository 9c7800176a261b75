"""The Makefile passes its variables to the program without shell expansion."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def make(*words):
    """Run make in the checkout without the variables of an outer make."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "MAKE", "MFLAGS", "STUDY", "TRIALS"))}
    return subprocess.run(["make", *words], cwd=ROOT, env=clean, capture_output=True, text=True, timeout=120)


def test_help_lists_every_target():
    """Each user-facing target has a line."""
    told = make("help").stdout

    for target in ("sweep", "ui", "dashboard", "report", "test", "check", "clean", "help"):
        assert f"  {target} " in told


def test_a_cluster_needs_its_extra_and_is_passed_on():
    """Only if CLUSTER is set."""
    told, without = make("-n", "sweep", "CLUSTER=tcp://127.0.0.1:8786").stdout, make("-n", "sweep").stdout

    assert '${CLUSTER:+--cluster "$CLUSTER"}' in told
    assert make("-n", "-W", "requirements-cluster.lock", "cluster").stdout.count("requirements-cluster.lock") == 1
    assert "requirements-cluster.lock" not in without


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv/.installed").exists(), reason="not set up by make: it would install first")
def test_the_shell_does_not_interpret_a_study_name(tmp_path):
    """The program refuses it with its own message and exit code."""
    done = make("report", "STUDY=a; touch canary; $$(touch canary) `touch canary`", f"HOME_DIR={tmp_path}")

    assert done.returncode == 2
    assert "is recorded in" in done.stderr
    assert str(tmp_path) in done.stderr
    assert not (ROOT / "canary").exists()
