"""Fixtures for the tests under load."""

from collections.abc import Callable

import pytest

Progress = Callable[[str], None]


@pytest.fixture
def progress(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Progress:
    """Print a line on the terminal: `progress("half is done")`.

    Only the long forms do that.
    """

    def print_line(line: str) -> None:
        if request.node.get_closest_marker("load"):
            with capsys.disabled():
                print(f"\n{request.node.name}: {line}", end="", flush=True)

    return print_line
