"""The server's side of the accounts: who somebody is, known without waiting, and what they may as the accounts are now.

All accounts are in memory. One thread has the file, and looks twice a second whether somebody else has changed it;
whatever is read there is brought here in the order in which it was read.
"""

import asyncio
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

from dog.auth.accounts import Accounts
from dog.auth.accounts_data import AccountsData, now
from dog.auth.login_throttle import Throttle
from dog.auth.name_and_password_rules import AccessError, fold_name
from dog.auth.passwords import PARAMETERS, Hasher, PasswordVerifier
from dog.auth.roles import Role, allows
from dog.auth.secrets import TOKEN, make_secret, secret_digest
from dog.client_addresses import client_network
from dog.errors import RequestError, StartError

__all__ = ["KNOWN_WITHIN", "AuthService", "Identity"]

LOOK = 0.4
"""Seconds from one look at the file to the next."""
KNOWN_WITHIN = 0.6
"""Seconds from a change by a command until a server knows it: a look, and the reading."""
TICKET_LASTS = 30.0
MOST_TICKETS = 2_000
MOST_TICKETS_OF_ONE = 20
"""The oldest go; nobody has so many requests under way."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody was found to be. `name` is the user's or the token's, `key` the hash that they were found by."""

    role: Role | None
    name: str | None
    kind: Literal["anonymous", "session", "token", "local"]
    key: bytes = field(default=b"", repr=False)


class AuthService:
    """The accounts of one server, from `open` to `close`.

    `on_change` is called in the event loop when users or tokens are others than before, or sessions have ended, whoever
    did that; `role_now` says then what is left. `anonymous` is what everybody may. `clock` has seconds that only rise.
    `deletion_time` returns the time by which sessions are deleted once they have expired, or None if nothing is to be
    deleted now because the wall clock is in doubt.
    """

    def __init__(
        self,
        *,
        login_attempts: int = 10,
        session_days: float = 30.0,
        anonymous: Role | None = None,
        parameters: Parameters = PARAMETERS,
        clock: Callable[[], float] = time.monotonic,
        deletion_time: Callable[[], dt.datetime | None] = now,
    ) -> None:
        self.on_change: Callable[[], object] = lambda: None
        self._session = dt.timedelta(days=session_days)
        self._anonymous = anonymous
        self._clock = clock
        self._hasher = Hasher(parameters)
        self._desk = PasswordVerifier(self._hasher)
        self._throttle = Throttle(login_attempts)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="accounts")
        self._accounts: Accounts | None = None
        self._version: object = None
        self._deletion_time = deletion_time
        self._known = self._live = AccountsData({}, {}, {})
        self._live_at, self._ends = now(), math.inf
        self._deleted: set[bytes] = set()
        self._tickets: dict[bytes, tuple[Identity, float]] = {}
        self._invitation: bytes | None = None
        self._entering = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._failing = False
        self._closed = False

    async def open(self, path: Path) -> None:
        """Raises StartError, in one line, where the accounts can't be read: nobody is let in without them."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._desk.open()
            await self._run(lambda: self._open(path))
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch(), name="accounts")

    async def close(self) -> None:
        """May be called again."""
        if self._watching is not None:
            watching, self._watching = self._watching, None
            watching.cancel()
            await asyncio.wait([watching])
        self._desk.close()
        if not self._closed:
            self._closed = True
            closed = self._thread.submit(self._close)
            self._thread.shutdown(wait=False)
            await asyncio.wrap_future(closed)

    # ---- who is it? nothing here waits

    def identify_token(self, text: str) -> Identity | None:
        """Whoever shows this token; None where it is none, or has ended. However long the text, quickly."""
        return self._find_token(secret_digest(text, TOKEN) or b"")

    def identify_session(self, text: str) -> Identity | None:
        """Whoever shows this session; None where it is none, or has ended."""
        return self._find_session(secret_digest(text) or b"")

    def role_now(self, visitor: Identity) -> Role | None:
        """What the visitor may, as the accounts are now; who was in none of them may what they could."""
        found = self._find_again(visitor)
        return None if found is None else found.role

    def _find_again(self, visitor: Identity) -> Identity | None:
        if visitor.kind == "session":
            return self._find_session(visitor.key)
        return self._find_token(visitor.key) if visitor.kind == "token" else visitor

    def _find_session(self, key: bytes) -> Identity | None:
        session = self._known.sessions.get(key)
        user = self._known.users.get(session.user) if session is not None and session.expires_at > now() else None
        return None if user is None else Identity(self._raise(user.role), user.name, "session", key)

    def _find_token(self, key: bytes) -> Identity | None:
        token = self._known.tokens.get(key)
        if token is None or token.has_ended(now()):
            return None
        return Identity(self._raise(token.role), token.name, "token", key)

    def _raise(self, role: Role) -> Role:
        """Nobody may less by being known."""
        return self._anonymous if self._anonymous is not None and allows(self._anonymous, role) else role

    # ---- tickets

    def make_ticket(self, visitor: Identity) -> tuple[str, float]:
        """What stands for the visitor once, and for how many seconds; it is known here alone."""
        moment = self._clock()
        for oldest, (_, ends) in tuple(islice(self._tickets.items(), 2)):
            if ends <= moment or len(self._tickets) >= MOST_TICKETS:
                del self._tickets[oldest]
        who = visitor.kind, visitor.name
        own = [key for key, (asker, _) in self._tickets.items() if (asker.kind, asker.name) == who]
        if len(own) >= MOST_TICKETS_OF_ONE:
            del self._tickets[own[0]]
        ticket = make_secret()
        self._tickets[secret_digest(ticket) or b""] = visitor, moment + TICKET_LASTS
        return ticket, TICKET_LASTS

    def use_ticket(self, text: str) -> Identity | None:
        """Whoever asked for it, as they are known now; None where there is none, or no more."""
        visitor, ends = self._tickets.pop(secret_digest(text) or b"", (None, 0.0))
        return None if visitor is None or ends <= self._clock() else self._find_again(visitor)

    # ---- logging in and out

    async def log_in(self, name: str, password: str, address: str) -> tuple[str, dt.datetime]:
        """A new session, and when it ends.

        Raises RequestError: `wrong_password`, also where there is no such user; `rate_limited` after too many of them,
        before the password is looked at; `overloaded` where too many are logging in; `storage_error`.
        """
        key, moment = fold_name(name), self._clock()
        if wait := self._throttle.wait(key, address, moment):
            raise _say_when(wait)
        with self._desk.place(key, client_network(address)):
            self._throttle.count(key, address, moment)
            await self._run(self._look)  # so that who was added just now is known
            user = self._known.users.get(key or "")
            right, renewed = await self._desk.check(user.password if user else None, password)
        session = None
        if right and user is not None:
            ends = now() + self._session
            session = await self._change(lambda accounts: accounts.log_in(user, renewed, ends))
        if session is None or user is None:
            log.info("a wrong password for %s from %s", user.name if user else "a user that there is not", address)
            raise RequestError("wrong_password", "The name or the password is wrong. Try again.")
        self._throttle.clear(user.key, address, moment)
        log.info("%s logged in from %s", user.name, address)
        return session, ends

    async def log_out(self, secret: str) -> None:
        """The session ends; where there is none, nothing happens. Raises RequestError `storage_error`."""
        if secret_digest(secret) in self._known.sessions:  # also one that has expired: by another clock it has not
            await self._change(lambda accounts: accounts.remove_session(secret))

    # ---- the first one

    @property
    def needs_invitation(self) -> bool:
        """Whether nobody who may manage could come in again."""
        return not self._known.has_manager(now())

    def make_invitation(self) -> str:
        """What lets one in, once, who may manage; an earlier one is void. It is known here alone."""
        invitation = make_secret()
        self._invitation = secret_digest(invitation)
        return invitation

    def is_invitation(self, text: str) -> bool:
        """Whether `accept_invitation` takes it, as far as can be known without waiting."""
        return self._invitation is not None and secret_digest(text) == self._invitation

    async def accept_invitation(self, text: str) -> tuple[str, dt.datetime] | None:
        """A session of the user `owner`, and when it ends; None for any other text, and where somebody may manage.

        Raises RequestError `storage_error`; the invitation is still good then, and where the browser has hung up.
        """
        async with self._entering:  # one after the other: it is good for one, who has to be still there
            if not self.is_invitation(text):
                return None
            ends = now() + self._session
            session = await self._change(lambda accounts: accounts.create_owner_session(ends))
            self._invitation = None
            return None if session is None else (session, ends)

    # ---- the file, in its thread

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _open(self, path: Path) -> None:
        self._accounts = Accounts(path, hasher=self._hasher)
        self._read(self._accounts)

    def _close(self) -> None:
        if self._accounts is not None:
            self._accounts.close()
            self._accounts = None

    def _read(self, accounts: Accounts) -> None:
        self._version = accounts.version()  # first: what comes in between is read again
        self._loop.call_soon_threadsafe(self._take, accounts.read())

    def _look(self) -> None:
        """Whether somebody else has changed the file. Where it can't be read, what is known stays known."""
        if self._accounts is None:
            return
        try:
            if self._accounts.version() != self._version:
                self._read(self._accounts)
        except (StartError, AccessError) as error:
            if not self._failing:
                log.error("%s What was known of them before holds until they can be read.", error)
            self._failing = True
        else:
            self._failing = False

    async def _change(self, change: Callable[[Accounts], T]) -> T:
        """It is in the file, and known here, when this returns."""

        def work() -> T:
            if self._accounts is None:
                raise StartError("The accounts are closed: the server is not running.")
            changed = change(self._accounts)
            self._read(self._accounts)
            return changed

        try:
            return await self._run(work)
        except StartError as error:
            log.error("%s", error)
            raise RequestError("storage_error", "The accounts cannot be saved. See the service's log.") from None

    # ---- what is known, in the event loop

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self._run(self._look)
                moment = now()
                if moment < self._live_at or moment.timestamp() >= self._ends:
                    self._find_live()
                await self._remove_ended()
            except RequestError:
                pass  # it is logged; they have ended, whether their rows are there or not
            except Exception:
                log.exception("The accounts could not be looked at; they are looked at again.")

    async def _remove_ended(self) -> None:
        """Delete the sessions that have expired, unless the clock by which they have is in doubt."""
        moment = self._deletion_time()
        if moment is None:
            return
        ended = {key for key, session in self._known.sessions.items() if session.expires_at <= moment}
        if ended - self._deleted:  # what could not be deleted waits for the next one
            self._deleted = ended
            await self._change(lambda accounts: accounts.remove_ended(moment))

    def _take(self, known: AccountsData) -> None:
        """Keep all of it, also what has expired: by another clock it has not."""
        is_same = (self._known.users, self._known.tokens) == (known.users, known.tokens)
        self._known = known
        if not self.needs_invitation:
            self._invitation = None
        self._find_live(is_same=is_same)

    def _find_live(self, *, is_same: bool = True) -> None:
        """Find out what has not expired, and call `on_change` if something has."""
        before, self._live_at = self._live, now()
        self._live = self._known.without_ended(self._live_at)
        self._ends = self._live.find_next_end()
        is_same = is_same and before.tokens == self._live.tokens
        if not (is_same and before.sessions.keys() <= self._live.sessions.keys()):
            self._loop.call_soon(self.on_change)  # on its own: what fails there ends nothing here


def _say_when(wait: float) -> RequestError:
    seconds = math.ceil(wait)
    when = f"{seconds} second{'' if seconds == 1 else 's'}"
    return RequestError(
        "rate_limited", f"Too many wrong passwords were sent. Try again in {when}.", retry_after=float(seconds)
    )
