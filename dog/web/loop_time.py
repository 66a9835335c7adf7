"""The event loop's time, shared between client addresses.

All that an address makes the loop do is charged to it: to accept its connections, to read from them, and to handle its
requests and messages. An address that is alone may use nearly all the time. While others are active, it has a share. If
its time is used up, it waits: its connections are not accepted, and not read. So it delays no other client's press.

This machine's own address has no limit. There is no I/O here.
"""

import functools
import time
import types
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

__all__ = ["CONNECTION_MS", "HANDSHAKE_MS", "MESSAGE_MS", "LoopTime", "Stopwatch", "Turn"]

ALONE_MS_PER_SECOND, SHARED_MS_PER_SECOND = 900.0, 300.0
"""Milliseconds of the loop for one address: without other active addresses, and with them."""
BURST_MS = 5.0
"""Milliseconds that an address may use at once. An event of another one waits for as long, at each of its steps."""
MIN_WAIT_SECONDS = 0.001
"""The shortest timer."""
SHARED_SECONDS = 1.0
"""Seconds that an address is active after a request or a message."""
REQUEST_MS = 0.2
"""The work for a request besides the steps that are timed."""
FIRST_REQUEST_MS = 2.0
"""The work that the first request of an address is expected to be."""
MESSAGE_MS = 0.03
"""The work to read from a socket, without that of its protocol."""
CONNECTION_MS = 0.15
"""The work to accept a connection and to close it."""
HANDSHAKE_MS = 1.0
"""The same with TLS."""
RISING_WEIGHT, FALLING_WEIGHT = 0.5, 0.1
"""The weight of the latest request in the mean: an address that turns to expensive ones is noticed soon."""
MAX_ADDRESSES = 10_000
"""Addresses that are remembered. The least recently active one is forgotten first."""

T = TypeVar("T")


class Turn(Protocol):
    """Work that waits until its address has time left."""

    def take_turn(self, charged_ms: float) -> None:
        """Do it, and raise nothing."""


@dataclass(slots=True)
class _Account:
    """The time of one address."""

    filled_at: float
    left_ms: float = BURST_MS
    request_ms: float = FIRST_REQUEST_MS
    """The mean of its requests. It is charged when a request begins, and corrected at its end."""
    waiting: dict[Turn, float] = field(default_factory=dict)
    """The turns in their order, and the milliseconds to charge for each."""
    cancel_timer: Callable[[], None] | None = None
    is_serving: bool = False


class LoopTime:
    """The accounts of all addresses by `address_key`; None is this machine.

    `clock` returns seconds. `call_later` starts a timer, and returns the function to cancel it.
    """

    def __init__(
        self, clock: Callable[[], float], call_later: Callable[[float, Callable[[], None]], Callable[[], None]]
    ) -> None:
        self.is_capturing: Callable[[], bool] = bool
        """Return True while a photo is taken: addresses have a share then, too."""
        self._clock = clock
        self._call_later = call_later
        self._accounts = OrderedDict[str, _Account]()
        self._latest: str | None = None
        """The address that was active last, and when. `_other_at`: when another one was active before it."""
        self._latest_at = self._other_at = float("-inf")

    def note_activity(self, address: str | None) -> None:
        """Record a request or a message: other addresses have a share from now on."""
        if address != self._latest:
            self._latest, self._other_at = address, self._latest_at
        self._latest_at = self._clock()

    def request_turn(self, address: str | None, turn: Turn, ms: float) -> bool:
        """Call `take_turn` now, or later: then return False.

        Its time is charged, and `ms` more.
        """
        if address is None:
            turn.take_turn(0.0)
            return True
        account = self._find(address)
        account.waiting[turn] = ms
        if account.cancel_timer is None and not account.is_serving:
            self._serve(address, account)
        return turn not in account.waiting

    def begin_request(self, address: str | None, turn: Turn) -> None:
        """Request the turn of an HTTP request. `end_request` follows."""
        self.note_activity(address)
        self.request_turn(address, turn, 0.0 if address is None else self._find(address).request_ms)

    def end_request(self, address: str | None, charged_ms: float, seconds: float) -> None:
        """Charge the time of a request, instead of the expected one."""
        if address is None:
            return
        account = self._find(address)
        ms = REQUEST_MS + seconds * 1000
        account.left_ms += charged_ms - ms
        weight = RISING_WEIGHT if ms > account.request_ms else FALLING_WEIGHT
        account.request_ms += weight * (ms - account.request_ms)

    def cancel(self, address: str | None, turn: Turn) -> None:
        if address is not None and address in self._accounts:
            self._accounts[address].waiting.pop(turn, None)

    def close(self) -> None:
        """Cancel all timers."""
        for account in self._accounts.values():
            if account.cancel_timer is not None:
                account.cancel_timer()

    def _seconds_to_wait(self, address: str, account: _Account) -> float:
        """Return the seconds until the address has time left: 0 if it has."""
        now = self._clock()
        other_at = self._other_at if address == self._latest else self._latest_at
        is_shared = now - other_at < SHARED_SECONDS or self.is_capturing()
        rate = SHARED_MS_PER_SECOND if is_shared else ALONE_MS_PER_SECOND
        account.left_ms = min(BURST_MS, account.left_ms + (now - account.filled_at) * rate)
        account.filled_at = now
        return 0.0 if account.left_ms >= 0.0 else max(MIN_WAIT_SECONDS, -account.left_ms / rate)

    def _serve(self, address: str, account: _Account) -> None:
        """Call turns as long as there is time left."""
        account.cancel_timer, account.is_serving = None, True
        try:
            while account.waiting:
                if wait := self._seconds_to_wait(address, account):
                    account.cancel_timer = self._call_later(wait, functools.partial(self._serve, address, account))
                    break
                turn = next(iter(account.waiting))
                ms = account.waiting.pop(turn)
                account.left_ms -= ms
                began = time.perf_counter()
                turn.take_turn(ms)
                account.left_ms -= (time.perf_counter() - began) * 1000
        finally:
            account.is_serving = False

    def _find(self, address: str) -> _Account:
        account = self._accounts.get(address)
        if account is None:
            account = self._accounts[address] = _Account(self._clock())
            if len(self._accounts) > MAX_ADDRESSES:
                self._forget_oldest()
        else:
            self._accounts.move_to_end(address)
        return account

    def _forget_oldest(self) -> None:
        oldest, account = next(iter(self._accounts.items()))
        if account.waiting:
            self._accounts.move_to_end(oldest)
        else:
            del self._accounts[oldest]


class Stopwatch:
    """Add up the `seconds` of the steps of coroutines."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def reset(self) -> float:
        """Return the seconds, and start from zero."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    @types.coroutine
    def time(self, coroutine: Awaitable[T]) -> Generator[Any, Any, T]:
        """Await the coroutine."""
        assert isinstance(coroutine, Coroutine)
        sent: Any = None
        error: BaseException | None = None
        while True:
            began = time.perf_counter()
            try:
                waiting = coroutine.send(sent) if error is None else coroutine.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.seconds += time.perf_counter() - began
            try:
                sent, error = (yield waiting), None
            except BaseException as raised:
                error = raised
