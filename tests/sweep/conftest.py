"""A small study on the digits, and what is needed to run it without a command line."""

import io
import shutil

import empty_report
import pytest
from rich.console import Console

from studies.study_file import load
from sweep.commands.preparation import describe
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search.search import Search
from sweep.storage import database as storage
from sweep.workers.local import LocalPool

STUDY = """\
question = "Which width and learning rate?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 6
sampler = "tpe"
pruner = "none"

[baseline]
hidden_sizes = [16]
learning_rate = 0.003
epochs = 4

[space]
hidden_sizes = { layers = [1, 2], units = [8, 32], log = true }
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 2
repeats = 2
"""


@pytest.fixture
def study_file(tmp_path):
    """Writes the study, with keys changed by `--set`-like pieces of text."""
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def tiny(study_file):
    """The study as a value; call it with changes."""
    return lambda *changes: load(str(study_file), changes)


@pytest.fixture(scope="session", autouse=True)
def _copied_databases(tmp_path_factory):
    """New databases of this process are copies of an empty one: Optuna takes 0.3 s to create its tables."""
    empty, open_ = tmp_path_factory.mktemp("empty") / "study.db", storage._open
    open_(empty, create=True).engine.dispose()

    def copied(path, *, create=False):
        if create:
            shutil.copyfile(empty, path)
        return open_(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_open", copied)
        yield


@pytest.fixture(scope="module")
def undrawn():
    """Sweeps of this process write empty reports: to draw one takes longer than a small sweep."""
    with pytest.MonkeyPatch.context() as patch:
        empty_report.draw_none(patch)
        yield


@pytest.fixture(scope="module")
def made():
    """What the tests of a file share: `made(key, make)` makes it for the first test that asks."""
    found = {}

    def get(key, make):
        if key not in found:
            found[key] = make()
        return found[key]

    return get


@pytest.fixture
def opened(tmp_path, digits_folder):
    """Opens the database of a study in a home folder below tmp_path."""

    def open_(study, home="runs"):
        folder = tmp_path / home / study.name
        folder.mkdir(parents=True, exist_ok=True)
        return storage.open_study(folder, study, describe(digits_folder, study), {"command": "sweep run"})

    return open_


@pytest.fixture(scope="session")
def shared_pools(tmp_path_factory):
    """Worker processes by their number, which many tests use one after the other: one takes 0.3 s to start."""
    pools = {count: LocalPool(count, tmp_path_factory.mktemp("workers")) for count in (1, 2, 4)}
    yield pools
    for pool in pools.values():
        pool.close()


@pytest.fixture
def searched(digits_folder, shared_pools):
    """Runs the search of a study to its end, or until `stop` says so; returns what was printed."""

    def run(study, database, workers=2, stop=None, pool=None):
        output = io.StringIO()
        progress = Progress(Console(file=output, width=200), list(study.space), study.metric)
        pool = shared_pools[workers] if pool is None else pool  # a cluster without workers has length 0
        try:
            with progress:
                progress.begin("search", study.trials, {}, None)
                coordinator = Coordinator(pool, progress, stop or Stop())
                coordinator.run(Search(study, database.search, database.folder, digits_folder))
        finally:
            if pool.busy or pool not in shared_pools.values():
                pool.close()
        return output.getvalue()

    return run
