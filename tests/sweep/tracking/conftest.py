from __future__ import annotations

import pytest
from memory_tracker import MemoryTracker
from recorded import replace_pictures


@pytest.fixture
def tracker() -> MemoryTracker:
    return MemoryTracker()


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pictures(monkeypatch)
