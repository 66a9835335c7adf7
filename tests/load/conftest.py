"""Fixtures for the tests under load."""

from collections.abc import Callable

import pytest

from tests.snapshots.test_store_disk import small_disk

__all__ = ["Tell", "small_disk", "tell"]

Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Tell:
    """`tell("half is done")`: a line on the terminal, in the long forms."""

    def say(line: str) -> None:
        if request.node.get_closest_marker("load"):
            with capsys.disabled():
                print(f"\n{request.node.name}: {line}", end="", flush=True)

    return say
