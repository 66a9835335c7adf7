"""Fixtures for the tests of attacks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.support.raw_requests import KeptConnection
from tests.support.server_process import ServerProcess

KeepConnection = Callable[[ServerProcess], KeptConnection]


@pytest.fixture
def keep_connection() -> Iterator[KeepConnection]:
    """Return `keep_connection(server)`: a connection for many requests.

    Use it with `fetch` in a test that sends thousands.
    """
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(closing(KeptConnection(server)))
