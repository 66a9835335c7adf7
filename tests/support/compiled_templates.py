"""Templates that are compiled once in each process of the tests.

Compiling them takes most of the time that a service needs to start.
"""

import contextlib
import functools
from collections.abc import Iterator
from types import CodeType
from unittest import mock

import aiohttp_jinja2
from jinja2.bccache import Bucket, BytecodeCache

__all__ = ["compiled_once"]


class _CompiledTemplates(BytecodeCache):
    """Jinja2's cache of compiled templates, in memory."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Keep compiled templates for all services that start in this context."""
    setup = functools.partial(aiohttp_jinja2.setup, bytecode_cache=_CompiledTemplates())
    with mock.patch.object(aiohttp_jinja2, "setup", setup):
        yield
