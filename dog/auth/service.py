"""The accounts in the server: identities, logins and changes.

All accounts are in memory, so that identifying a client never waits. One thread has the file and checks every 0.4 s
if another process has changed it.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from argon2 import Parameters

from dog.auth.accounts import Accounts, AccountsData
from dog.auth.login_throttle import LoginThrottle
from dog.auth.name_and_password_rules import AccountsError, fold_name
from dog.auth.password_verifier import ARGON2_PARAMETERS, Hasher, PasswordVerifier
from dog.auth.roles import Role, allows
from dog.auth.secrets import TOKEN_PREFIX, make_secret, secret_digest
from dog.client_addresses import client_network
from dog.clock import utc_now as now
from dog.errors import RequestError, StartError

__all__ = ["MAX_PROPAGATION_SECONDS", "AuthService", "Identity"]

ACCOUNTS_POLL_SECONDS = 0.4
"""Time from one check of the file to the next."""
MAX_PROPAGATION_SECONDS = 0.6
"""Time from a command's change until the server applies it: one interval, and the reading."""
TICKET_LIFETIME_SECONDS = 30.0
MAX_TICKETS = 2_000
MAX_TICKETS_PER_IDENTITY = 20
"""Beyond these limits, the oldest tickets are dropped."""

log = logging.getLogger(__name__)

WRONG_PASSWORDS = "wrong passwords were sent"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated or anonymous client. `key` is the secret's digest."""

    role: Role | None
    name: str | None
    kind: Literal["anonymous", "session", "token", "local"]
    key: bytes = field(default=b"", repr=False)
    is_foreign: bool = False
    """True if its requests come from a page of another site, which may not manage."""

    def limit_to_capture(self) -> "Identity":
        """Return the identity for a page of another site."""
        role: Role | None = "capture" if self.role == "manage" else self.role
        return dataclasses.replace(self, role=role, is_foreign=True)


class Tickets:
    """Single-use tickets, for connections that can't send a token."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tickets: dict[bytes, tuple[Identity, float]] = {}

    def make(self, identity: Identity) -> tuple[str, float]:
        """Return a ticket and its lifetime in seconds."""
        moment = self._clock()
        for oldest, (_, expires_at) in tuple(islice(self._tickets.items(), 2)):
            if expires_at <= moment or len(self._tickets) >= MAX_TICKETS:
                del self._tickets[oldest]
        owner = identity.kind, identity.name
        own = [key for key, (holder, _) in self._tickets.items() if (holder.kind, holder.name) == owner]
        if len(own) >= MAX_TICKETS_PER_IDENTITY:
            del self._tickets[own[0]]
        ticket = make_secret()
        self._tickets[secret_digest(ticket) or b""] = identity, moment + TICKET_LIFETIME_SECONDS
        return ticket, TICKET_LIFETIME_SECONDS

    def __len__(self) -> int:
        return len(self._tickets)

    def use(self, text: str) -> Identity | None:
        """Use up a ticket. Return its identity, or None if it is not valid."""
        identity, expires_at = self._tickets.pop(secret_digest(text) or b"", (None, 0.0))
        return None if identity is None or expires_at <= self._clock() else identity


class AccountsThread:
    """The accounts file in a thread, which also reads others' changes.

    `on_data` is called in the event loop with the accounts whenever they were read.
    """

    def __init__(self, hasher: Hasher, on_data: Callable[[AccountsData], object]) -> None:
        self._hasher = hasher
        self._on_data = on_data
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="accounts")
        self._accounts: Accounts | None = None
        self._version: object = None
        self._failing = False
        self._closed = False

    async def open(self, path: Path) -> None:
        """Open the accounts, or raise StartError."""
        self._loop = asyncio.get_running_loop()
        await self._run(lambda: self._open(path))

    async def close(self) -> None:
        """Close the file and end the thread. A second call does nothing."""
        if not self._closed:
            self._closed = True
            closed = self._thread.submit(self._close)
            self._thread.shutdown(wait=False)
            await asyncio.wrap_future(closed)

    async def reload_if_changed(self) -> None:
        """Read the file again if another process has changed it."""
        await self._run(self._reload_if_changed)

    async def change(self, change: Callable[[Accounts], T]) -> T:
        """Change the file, then read it. Raise RequestError `storage_error`."""

        def work() -> T:
            if self._accounts is None:
                raise StartError("The accounts are closed. The server is shutting down.")
            changed = change(self._accounts)
            self._read(self._accounts)
            return changed

        try:
            return await self._run(work)
        except StartError as error:
            log.error("%s", error)
            raise RequestError("storage_error", "The accounts cannot be saved. See the service's log.") from None

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    # ---- in the thread

    def _open(self, path: Path) -> None:
        self._accounts = Accounts(path, hasher=self._hasher)
        self._read(self._accounts)

    def _close(self) -> None:
        if self._accounts is not None:
            self._accounts.close()
            self._accounts = None

    def _read(self, accounts: Accounts) -> None:
        self._version = accounts.version()  # before reading: a change in between is read again
        self._loop.call_soon_threadsafe(self._on_data, accounts.read())

    def _reload_if_changed(self) -> None:
        if self._accounts is None:
            return
        try:
            if self._accounts.version() != self._version:
                self._read(self._accounts)
        except (StartError, AccountsError) as error:
            if not self._failing:
                log.error("%s The accounts in memory stay in use until the file can be read.", error)
            self._failing = True
        else:
            self._failing = False


class AuthService:
    """The accounts of one server, from `open` to `close`.

    `on_change` is called in the event loop when users or tokens have changed or sessions have ended; `current_role`
    returns the new roles. `anonymous` is the role without a login, `clock` is monotonic. `deletion_time` returns the
    time by which sessions must have expired to be deleted; None while the wall clock is in doubt.
    """

    def __init__(
        self,
        *,
        login_attempts: int = 10,
        session_days: float = 30.0,
        anonymous: Role | None = None,
        parameters: Parameters = ARGON2_PARAMETERS,
        clock: Callable[[], float] = time.monotonic,
        deletion_time: Callable[[], dt.datetime | None] = now,
    ) -> None:
        self.on_change: Callable[[], object] = lambda: None
        self._session = dt.timedelta(days=session_days)
        self._anonymous = anonymous
        self._clock = clock
        hasher = Hasher(parameters)
        self._verifier = PasswordVerifier(hasher)
        self._throttle = LoginThrottle(login_attempts)
        self._accounts = AccountsThread(hasher, self._apply_data)
        self._deletion_time = deletion_time
        self._data = self._valid = AccountsData({}, {}, {})
        self._valid_at, self._next_expiry = now(), math.inf
        self._deleted: set[bytes] = set()
        self._tickets = Tickets(clock)
        self._setup_digest: bytes | None = None
        self._setup_lock = asyncio.Lock()
        self._poll_task: asyncio.Task[None] | None = None

    async def open(self, path: Path) -> None:
        """Open the accounts and follow changes, or raise StartError."""
        try:
            await self._verifier.open()
            await self._accounts.open(path)
        except BaseException:
            await self.close()
            raise
        self._poll_task = asyncio.create_task(self._poll_accounts(), name="accounts")

    async def close(self) -> None:
        """Stop the thread and close the file. A second call does nothing."""
        if self._poll_task is not None:
            task, self._poll_task = self._poll_task, None
            task.cancel()
            await asyncio.wait([task])
        self._verifier.close()
        await self._accounts.close()

    # ---- identities: nothing here waits

    def identify_token(self, text: str) -> Identity | None:
        """Return the identity of a token; None if it is unknown or expired."""
        return self._find_token(secret_digest(text, TOKEN_PREFIX) or b"")

    def identify_session(self, text: str) -> Identity | None:
        """Return the identity of a session; None if it is unknown or expired."""
        return self._find_session(secret_digest(text) or b"")

    def current_role(self, identity: Identity) -> Role | None:
        """Return the identity's current role; None if it has ended."""
        found = self._refresh_identity(identity)
        if found is not None and identity.is_foreign:
            found = found.limit_to_capture()
        return None if found is None else found.role

    def _refresh_identity(self, identity: Identity) -> Identity | None:
        if identity.kind == "session":
            return self._find_session(identity.key)
        return self._find_token(identity.key) if identity.kind == "token" else identity

    def _find_session(self, key: bytes) -> Identity | None:
        session = self._data.sessions.get(key)
        user = self._data.users.get(session.user) if session is not None and session.expires_at > now() else None
        return None if user is None else Identity(self._at_least_anonymous(user.role), user.name, "session", key)

    def _find_token(self, key: bytes) -> Identity | None:
        token = self._data.tokens.get(key)
        if token is None or token.is_expired(now()):
            return None
        return Identity(self._at_least_anonymous(token.role), token.name, "token", key)

    def _at_least_anonymous(self, role: Role) -> Role:
        """Return the role, or the anonymous role if that has more rights."""
        return self._anonymous if self._anonymous is not None and allows(self._anonymous, role) else role

    # ---- tickets

    def make_ticket(self, identity: Identity) -> tuple[str, float]:
        """Return a single-use ticket and its lifetime in seconds."""
        return self._tickets.make(identity)

    def use_ticket(self, text: str) -> Identity | None:
        """Use up a ticket. Return its identity, or None if it is not valid."""
        identity = self._tickets.use(text)
        return None if identity is None else self._refresh_identity(identity)

    # ---- logging in and out

    def count_wrong_token(self, address: str) -> None:
        """Count a wrong token like a wrong password of this address.

        Raise RequestError `rate_limited` after too many of them. A right token is never delayed: nobody can guess
        256 bits.
        """
        moment = self._clock()
        self._throttle.check(None, address, moment, WRONG_PASSWORDS)
        self._throttle.count_attempt(None, address, moment)

    async def log_in(self, name: str, password: str, address: str) -> tuple[str, dt.datetime]:
        """Return the secret of a new session, and when it expires.

        Raise RequestError: `wrong_password`, also if the user does not exist; `rate_limited` after too many of them,
        without verifying the password; `overloaded` if too many logins are in progress; `storage_error`.
        """
        key, moment = fold_name(name), self._clock()
        self._throttle.check(key, address, moment, WRONG_PASSWORDS)
        with self._verifier.reserve(key, client_network(address)):
            self._throttle.count_attempt(key, address, moment)
            await self._accounts.reload_if_changed()  # a command may just have added the user
            user = self._data.users.get(key or "")
            matches, renewed = await self._verifier.verify(user.password if user else None, password)
        session = None
        if matches and user is not None:
            expires_at = now() + self._session
            session = await self._accounts.change(lambda accounts: accounts.log_in(user, renewed, expires_at))
        if session is None or user is None:
            log.info("Wrong password for %s from %s", user.name if user else "an unknown user", address)
            raise RequestError("wrong_password", "The name or the password is wrong. Try again.")
        self._throttle.record_success(user.key, address, moment)
        log.info("%s logged in from %s", user.name, address)
        return session, expires_at

    async def log_out(self, secret: str) -> None:
        """End the session, if there is one, or raise RequestError."""
        if secret_digest(secret) in self._data.sessions:  # also an expired one: the clock may be wrong
            await self._accounts.change(lambda accounts: accounts.remove_session(secret))

    # ---- the setup link

    @property
    def needs_setup(self) -> bool:
        """Return True if no user can log in with the role manage."""
        return not self._data.has_manager(now())

    def make_setup_secret(self) -> str:
        """Return a new secret for the setup link. It revokes the earlier one."""
        secret = make_secret()
        self._setup_digest = secret_digest(secret)
        return secret

    def is_setup_secret(self, text: str) -> bool:
        """Return True if `accept_setup_secret` would accept the text now."""
        return self._setup_digest is not None and secret_digest(text) == self._setup_digest

    async def accept_setup_secret(self, text: str) -> tuple[str, dt.datetime] | None:
        """Return a session of `owner` and its expiry; None for a wrong secret.

        Raise RequestError `storage_error`. The secret stays valid then, and if the browser has disconnected.
        """
        async with self._setup_lock:  # one at a time: the secret is valid once
            if not self.is_setup_secret(text):
                return None
            expires_at = now() + self._session
            session = await self._accounts.change(lambda accounts: accounts.create_owner_session(expires_at))
            self._setup_digest = None
            return None if session is None else (session, expires_at)

    # ---- the accounts in memory, in the event loop

    async def _poll_accounts(self) -> None:
        while True:
            await asyncio.sleep(ACCOUNTS_POLL_SECONDS)
            try:
                await self._accounts.reload_if_changed()
                moment = now()
                if moment < self._valid_at or moment.timestamp() >= self._next_expiry:
                    self._update_valid()
                await self._remove_expired()
            except RequestError:
                pass  # logged already; the sessions have ended even if their rows remain
            except Exception:
                log.exception("The accounts could not be checked. They will be checked again.")

    async def _remove_expired(self) -> None:
        """Delete expired sessions, unless the wall clock is in doubt."""
        moment = self._deletion_time()
        if moment is None:
            return
        ended = {key for key, session in self._data.sessions.items() if session.expires_at <= moment}
        if ended - self._deleted:  # do not retry failed ones until another session expires
            self._deleted = ended
            await self._accounts.change(lambda accounts: accounts.remove_expired_sessions(moment))

    def _apply_data(self, data: AccountsData) -> None:
        """Apply the new data, with expired entries: the clock may be wrong."""
        is_same = (self._data.users, self._data.tokens) == (data.users, data.tokens)
        self._data = data
        if not self.needs_setup:
            self._setup_digest = None
        self._update_valid(is_same=is_same)

    def _update_valid(self, *, is_same: bool = True) -> None:
        """Update the valid entries, and call `on_change` if they changed."""
        before, self._valid_at = self._valid, now()
        self._valid = self._data.without_expired(self._valid_at)
        self._next_expiry = self._valid.next_expiry()
        is_same = is_same and before.tokens == self._valid.tokens
        if not (is_same and before.sessions.keys() <= self._valid.sessions.keys()):
            asyncio.get_running_loop().call_soon(
                self.on_change
            )  # separately, so that its errors do not end the polling
