"""Fixtures: a service with cameras whose live view the test controls."""

import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from tests.support.preview_service import PreviewService, View, run_preview_service


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    """Return `view("main", "porch", dead_time=0.0)`: such a service.

    By default, it has the camera `main`.
    """
    async with contextlib.AsyncExitStack() as stack:

        def start(*names: str, **settings: object) -> Awaitable[PreviewService]:
            return stack.enter_async_context(run_preview_service(tmp_path, *(names or ("main",)), **settings))

        yield start
