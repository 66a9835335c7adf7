"""Fixtures for the tests of the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dog.snapshots import SnapshotStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SnapshotStore]:
    store = SnapshotStore(tmp_path / "snapshots")
    await store.open()
    yield store
    await store.close()
