"""Templates and the test card, made once in each process of the tests.

To make them takes most of the time that a service needs for its start and its first photo.
"""

import contextlib
import functools
from collections.abc import Iterator
from types import CodeType
from unittest import mock

import aiohttp_jinja2
from jinja2.bccache import Bucket, BytecodeCache

from dog.cameras import test_card

__all__ = ["made_once"]


class _CompiledTemplates(BytecodeCache):
    """Jinja2's cache of compiled templates, in memory."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


@contextlib.contextmanager
def made_once() -> Iterator[None]:
    """Keep compiled templates and the drawn test card for all services."""
    setup = functools.partial(aiohttp_jinja2.setup, bytecode_cache=_CompiledTemplates())
    draw = functools.cache(test_card._Card)  # a card does not change
    with mock.patch.object(aiohttp_jinja2, "setup", setup), mock.patch.object(test_card, "_Card", draw):
        yield
