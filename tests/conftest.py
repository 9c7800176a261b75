"""Fixtures that more than one package needs."""

import gc
import math
import re
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from model.data import datasets
from model.data.datasets import Dataset, Examples
from model.data.preprocessing import Pixels

threadpool_limits(1, "blas")
"""A second thread of BLAS waits in a loop for the next product: it takes more processor time than all of the tests'
networks, and the core of another test process. Not by environment variables, which the tests' processes would inherit.
"""
SLOW_FILE = re.compile(r"^pytestmark = (\[[^\]]*)?pytest\.mark\.slow\b", re.MULTILINE)
OF_MLFLOW = re.compile("tests/sweep/tracking/")
"""Files whose fast tests import MLflow, which takes 2 s, and create its tables, which takes 2 s more."""
WITHOUT_SLOW = ("not slow", "not mnist and not slow", "not slow and not mnist")


def pytest_ignore_collect(collection_path, config):
    """Without slow tests, a file of slow tests only is not imported unless it is named.

    With xdist each process imports every file, and some of these take seconds, for they import MLflow.
    """
    if config.option.markexpr not in WITHOUT_SLOW or collection_path.suffix != ".py":
        return None
    named = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    return True if collection_path not in named and SLOW_FILE.search(collection_path.read_text()) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """By file, but all fast tests with MLflow in one process, so that only one imports it."""
    if config.option.dist != "loadfile" or config.option.markexpr not in WITHOUT_SLOW:
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrLibrary(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "mlflow" if OF_MLFLOW.match(nodeid) else nodeid.partition("::")[0]

    return ByFileOrLibrary(config, log)


def pytest_collection_finish():
    """Exempt what the libraries made from garbage collection, which would visit it again and again."""
    gc.freeze()


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    """The digits, prepared once."""
    return datasets.prepare("digits", tmp_path_factory.mktemp("data"), download=False)


@pytest.fixture(scope="session")
def digits(digits_folder):
    """The digits, split with seed 0."""
    return datasets.load(digits_folder, 0)


@pytest.fixture(scope="session")
def blobs():
    """Three clouds of 2 x 2 pixels that a small network can tell apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    centres = np.array([[40, 200, 40, 200], [200, 40, 200, 40], [120, 120, 20, 20]])
    images = np.clip(centres[labels] + rng.normal(0, 25, (300, 4)), 0, 255).astype(np.uint8)
    parts = [Examples(images, labels, rows) for rows in np.split(np.arange(300), [200, 250])]
    names, pixels = ("0", "1", "2"), Pixels((2, 2), 0, 255)
    return Dataset("blobs", "0" * 64, names, (2, 2), None, (), pixels, *parts[:2], images[250:], labels[250:])


@pytest.fixture(scope="session")
def is_nan():
    """NaN equals nothing, itself included; this says whether a number is one."""
    return math.isnan


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A database with MLflow's tables: 2 s of migrations once, not in every test."""
    from sqlalchemy.exc import SADeprecationWarning

    from sweep.tracking.mlflow.local_store import make_ready

    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    with warnings.catch_warnings(action="ignore", category=SADeprecationWarning):  # MLflow's own
        make_ready(path)
    return path
