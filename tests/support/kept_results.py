"""Keep results that each application of a process would compute again.

These take up to a tenth of a second: to compile the templates, to bundle and compress the static files, to hash a
password, to draw the test card. Tests start thousands of applications.
"""

import dataclasses
import functools
import secrets
import types
from typing import Any

import jinja2
from jinja2.bccache import Bucket

from dog.auth.password_verifier import ARGON2_PARAMETERS, Hasher, PasswordVerifier
from dog.cameras import test_card
from dog.settings import Settings
from dog.web.app import create_app
from dog.web.handlers import static_files

__all__ = ["compute_results", "keep_results"]

DUMMY_HASHES: dict[tuple[object, ...], str] = {}
"""The hash that is verified for users who do not exist, by Argon2's parameters."""


@functools.cache
def keep_results() -> None:
    """Keep the results of the first application."""
    _keep_templates()
    _keep_dummy_hashes()
    for module, name in ((test_card, "_draw_card"), (static_files, "read_assets")):
        setattr(module, name, functools.cache(getattr(module, name)))


def compute_results() -> None:
    """Compute the results now, for processes that are forked from this one."""
    keep_results()
    create_app(Settings())
    test_card.TestCard().read(0)
    DUMMY_HASHES[dataclasses.astuple(ARGON2_PARAMETERS)] = Hasher().hash(secrets.token_bytes(32))


class CompiledTemplates(jinja2.BytecodeCache):
    """The compiled templates of this process, by name and source."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], types.CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


def _keep_templates() -> None:
    templates = CompiledTemplates()
    initialize = jinja2.Environment.__init__

    @functools.wraps(initialize)
    def initialize_with_cache(self: jinja2.Environment, *arguments: Any, **options: Any) -> None:
        initialize(self, *arguments, **{"bytecode_cache": templates, **options})

    jinja2.Environment.__init__ = initialize_with_cache  # type: ignore[method-assign]


def _keep_dummy_hashes() -> None:
    open_verifier = PasswordVerifier.open

    @functools.wraps(open_verifier)
    async def open_with_hash(self: PasswordVerifier) -> None:
        parameters = dataclasses.astuple(self._hasher._argon2._parameters)
        if parameters not in DUMMY_HASHES:
            await open_verifier(self)
            DUMMY_HASHES[parameters] = self._dummy_hash
        self._dummy_hash = DUMMY_HASHES[parameters]

    PasswordVerifier.open = open_with_hash  # type: ignore[method-assign]
