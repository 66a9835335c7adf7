"""Fixtures for the tests of accounts and logins."""

from pathlib import Path

import pytest

from dog.auth import accounts_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of an accounts file that does not exist yet."""
    return accounts_path(tmp_path / "snapshots")
