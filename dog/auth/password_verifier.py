"""Hash passwords with Argon2id, and verify them in a thread.

Verifying takes as long if the user does not exist or has no password, so that timing does not reveal names.
"""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from dog.auth.name_and_password_rules import encode_password
from dog.errors import RequestError

__all__ = ["ARGON2_PARAMETERS", "Hasher", "PasswordVerifier"]

ARGON2_PARAMETERS = dataclasses.replace(RFC_9106_LOW_MEMORY, parallelism=1)
"""RFC 9106's second recommended option (64 MiB, 3 passes), with one thread."""
MAX_CHECKS = 9
"""Passwords that are verified or queued: one and eight."""
MAX_CHECKS_PER_KEY = 3
"""The most of them for one account or one network, so that none delays the others for long."""
RETRY_AFTER_SECONDS = 3.0
"""Time to verify MAX_CHECKS passwords, at a third of a second each."""

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Hasher:
    """Argon2id. To hash or verify a password takes 64 MiB."""

    def __init__(self, parameters: Parameters = ARGON2_PARAMETERS) -> None:
        self._argon2 = PasswordHasher.from_parameters(parameters)

    def hash(self, password: bytes) -> str:
        return self._argon2.hash(password)

    def matches(self, hashed: str, password: bytes) -> bool:
        """Return True if it matches. VerificationError if it can't be checked."""
        try:
            return self._argon2.verify(hashed, password)
        except VerifyMismatchError:
            return False
        except InvalidHashError:
            log.error("A password's hash can't be read. Set a new password for that user with `dog user password`.")
            return False

    def rehash_if_outdated(self, hashed: str, password: bytes) -> str | None:
        """Return a new hash if this one has old parameters."""
        return self.hash(password) if self._argon2.check_needs_rehash(hashed) else None


class PasswordVerifier:
    """The queue and the thread that verify passwords, one at a time."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._taken = Counter[str]()
        self._dummy_hash = ""

    async def open(self) -> None:
        self._dummy_hash = await self._run(self._hasher.hash, secrets.token_bytes(32))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def reserve(self, account: str | None, network: str) -> Iterator[None]:
        """Reserve a place in the queue, or raise RequestError `overloaded`."""
        limits = {"": MAX_CHECKS, f"network {network}": MAX_CHECKS_PER_KEY}
        if account is not None:
            limits[f"account {account}"] = MAX_CHECKS_PER_KEY
        if any(self._taken[key] >= limit for key, limit in limits.items()):
            raise RequestError(
                "overloaded", "Too many people are logging in. Try again in a moment.", retry_after=RETRY_AFTER_SECONDS
            )
        self._taken.update(limits.keys())
        try:
            yield
        finally:
            self._taken.subtract(limits.keys())
            self._taken += Counter()  # remove zero counts

    async def verify(self, hashed: str | None, password: str) -> tuple[bool, str | None]:
        """Verify a password. Return the result and, if it is due, a new hash."""
        try:
            return await self._run(self._verify, hashed, password)
        except VerificationError as error:
            log.error("A password could not be verified: %s.", error)
            raise RequestError(
                "overloaded",
                "The server has too little memory to check a password. Try again later.",
                retry_after=RETRY_AFTER_SECONDS,
            ) from None

    def _verify(self, hashed: str | None, password: str) -> tuple[bool, str | None]:
        encoded = encode_password(password)
        matches = self._hasher.matches(hashed or self._dummy_hash, encoded or b"")
        if not matches or hashed is None or encoded is None:
            return False, None
        return True, self._hasher.rehash_if_outdated(hashed, encoded)

    async def _run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        call = functools.partial(function, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
