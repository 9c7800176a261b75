"""All paths below `runs/` are defined in one module, which imports only the standard library."""

import ast
import subprocess
import sys
from pathlib import Path

from studies.record.folder import Home, StudyFolder

ROOT = Path(__file__).parent.parent.parent.parent
NAMES = {"weights.npz", "checkpoint.npz", "champion.npz", "report.pdf", "study.db", "04d"}


def test_each_trial_has_its_own_folder():
    folder = StudyFolder(Path("runs/mnist"))

    assert folder.trial("search", 7).weights == Path("runs/mnist/trials/0007/weights.npz")
    assert folder.trial("confirm", 12345).checkpoint == Path("runs/mnist/confirm/12345/checkpoint.npz")
    assert folder.trial("search", 7).damaged_checkpoint == Path("runs/mnist/trials/0007/checkpoint.damaged")
    assert folder.home.study("mnist") == folder


def test_a_home_lists_the_studies_that_have_a_record(tmp_path):
    for name, file in {"b": "study.db", "a": "database.json", "c": "report.pdf", "d": "champion.npz"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()

    assert [folder.name for folder in Home(tmp_path).recorded()] == ["a", "b"]
    assert [folder.name for folder in Home(tmp_path).champions()] == ["d"]


def test_paths_import_only_the_standard_library():
    code = "import sys, studies.record.folder; print(*{'numpy', 'optuna', 'sqlalchemy', 'pandas'} & sys.modules.keys())"

    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == ""


def test_no_other_module_contains_the_file_names():
    found = set()
    for package in ("studies", "reports", "sweep"):
        for path in (ROOT / package).rglob("*.py"):
            words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            if words & NAMES:
                found.add(path.relative_to(ROOT).as_posix())

    assert found == {"studies/record/folder.py"}
