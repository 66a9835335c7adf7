"""Passwords, hashed with Argon2id; and checked beside the event loop, a few at once, so that nobody else notices.

Whether there is such a user, and whether they have a password, makes no difference to the work.
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

__all__ = ["PARAMETERS", "Hasher", "PasswordVerifier"]

PARAMETERS = dataclasses.replace(RFC_9106_LOW_MEMORY, parallelism=1)
"""RFC 9106's second choice, 64 MiB three times over, in the one thread that there is for it."""
PLACES = 9
"""Who is being checked, and eight who wait."""
PLACES_OF_ONE = 3
"""Of one account, and of one network: who knows a password keeps nobody else waiting for long."""
COME_BACK = 3.0
"""Seconds that nine take, where one takes a third of one."""

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Hasher:
    """Every method takes as long as a hash, and 64 MiB of memory."""

    def __init__(self, parameters: Parameters = PARAMETERS) -> None:
        self._argon2 = PasswordHasher.from_parameters(parameters)

    def hash(self, password: bytes) -> str:
        return self._argon2.hash(password)

    def is_right(self, known: str, password: bytes) -> bool:
        """Raises VerificationError where it can't be found out, for want of memory."""
        try:
            return self._argon2.verify(known, password)
        except VerifyMismatchError:
            return False
        except InvalidHashError:
            log.error("A password's hash can't be read; give that user a new password.")
            return False

    def renew(self, known: str, password: bytes) -> str | None:
        """The hash of the same password as it is made today, where that is another way than it was."""
        return self.hash(password) if self._argon2.check_needs_rehash(known) else None


class PasswordVerifier:
    """Where passwords are checked, from `open` to `close`, one after the other, in a thread of its own."""

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
    def place(self, account: str | None, network: str) -> Iterator[None]:
        """A place in the queue, for one `check`. Raises RequestError `overloaded` where there is none for them."""
        holders = {"": PLACES, f"network {network}": PLACES_OF_ONE}
        if account is not None:
            holders[f"account {account}"] = PLACES_OF_ONE
        if any(self._taken[holder] >= most for holder, most in holders.items()):
            raise RequestError(
                "overloaded", "Too many people are logging in. Try again in a moment.", retry_after=COME_BACK
            )
        self._taken.update(holders.keys())
        try:
            yield
        finally:
            self._taken.subtract(holders.keys())
            self._taken += Counter()  # without those who hold none

    async def check(self, known: str | None, password: str) -> tuple[bool, str | None]:
        """Whether the password is the one of the hash, which None never has; and a newer hash, where one is due."""
        try:
            return await self._run(self._check, known, password)
        except VerificationError as error:
            log.error("A password could not be checked: %s.", error)
            raise RequestError(
                "overloaded",
                "The server has too little memory to check a password. Try again later.",
                retry_after=COME_BACK,
            ) from None

    def _check(self, known: str | None, password: str) -> tuple[bool, str | None]:
        encoded = encode_password(password)
        right = self._hasher.is_right(known or self._dummy_hash, encoded or b"")
        if not right or known is None or encoded is None:
            return False, None
        return True, self._hasher.renew(known, encoded)

    async def _run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        call = functools.partial(function, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
