from __future__ import annotations

from pathlib import Path

import pytest
from memory_tracker import MemoryTracker
from recorded import replace_pictures


@pytest.fixture
def tracker() -> MemoryTracker:
    return MemoryTracker()


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pictures(monkeypatch)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: 2 s of migrations once, not in every test."""
    from sweep.tracking.mlflow.local_store import make_ready

    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    make_ready(path)
    return path
