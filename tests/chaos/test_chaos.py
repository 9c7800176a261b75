"""The quick version of the chaos suite: 6 workers, 2 coordinators, 5 system calls, every failpoint once."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def chaos():
    """The script beside this file, as a module."""
    spec = importlib.util.spec_from_file_location("chaos", HERE / "chaos.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def undisturbed(chaos, tmp_path_factory):
    """A folder with the home of the undisturbed sweep."""
    place = tmp_path_factory.mktemp("undisturbed")
    chaos.reference(place)
    return place


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to kill at a system call")
@pytest.mark.usefixtures("undisturbed")
def test_killed_processes_lose_duplicate_and_leave_nothing(chaos, tmp_path):
    """The result equals that of an undisturbed sweep in every digit and hash."""
    chains = chaos.run_all(20, tmp_path, quick=True)

    assert [complaint for chain in chains.values() for complaint in chain.complaints] == []
    assert chains["workers"].deaths["worker"] == 6
    assert chains["coordinator"].deaths["coordinator"] >= 1
    assert chains["failpoints"].deaths["failpoint"] == sum(map(len, chaos.failpoints())) == 26
    assert chains["system-calls"].deaths["system call"] >= 1


@pytest.mark.slow
def test_the_checker_detects_faults(chaos, undisturbed, tmp_path, monkeypatch):
    """A lost trial, a changed number and a leftover file."""
    shutil.copytree(undisturbed / "reference", tmp_path / "home")
    chain = chaos.Chain(tmp_path / "home", None)
    assert chaos.invariants(chain) == []
    chain.acknowledged["trial", "0"] = "0.0001"
    (chain.folder / "trials" / "0001" / "checkpoint.npz").touch()
    monkeypatch.setitem(chaos.REFERENCE, "champion", 99)
    (chain.folder / "report.pdf").write_bytes(b"%PDF-")
    found = "\n".join([*chaos.invariants(chain), *chaos.drawn(chain)])

    assert "trial 0 was acknowledged with 0.0001, but the record has complete" in found
    assert "checkpoint.npz was left behind" in found
    assert "the result is not that of an undisturbed sweep" in found
    assert "the PDF is not that of the record" in found
