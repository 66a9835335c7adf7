"""Rate limits of users and client addresses: photos, downloads, requests.

Each client has a token bucket. When it is empty, the request is refused with a Retry-After. This machine has no limits.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from dog.auth import Identity
from dog.client_addresses import client_network, is_loopback
from dog.errors import RequestError
from dog.settings import Settings

__all__ = ["RateLimits", "TokenBucket", "address_key", "client_key"]

MIB = 1024 * 1024
REQUEST_BURST_MINUTES = 0.5
"""The requests of a client that may come at once, as a part of its `requests_per_minute`."""
MAX_CLIENTS = 10_000
"""Buckets that are kept. The least recently used one is dropped first."""


class TokenBucket:
    """A token bucket: `rate` tokens are added per second, up to `burst`."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at: float | None = None

    def take(self, now: float) -> float:
        """Take a token at `now` seconds; return 0, or the seconds to wait."""
        wait = self.seconds_to_wait(now)
        if not wait:
            self._tokens -= 1
        return wait

    def seconds_to_wait(self, now: float) -> float:
        """Return the seconds until there is a token: 0 if there is one. Take none."""
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return (1 - self._tokens) / self._rate if self._tokens < 1 else 0.0

    def spend(self, tokens: float) -> None:
        """Take tokens for a past action. The level may become negative."""
        self._tokens -= tokens


@dataclass(slots=True)
class _ClientLimit:
    """All clients' token buckets for one kind of limit, and its message."""

    rate: float
    burst: float
    message: str
    clock: Callable[[], float]
    buckets: OrderedDict[str, TokenBucket] = field(default_factory=OrderedDict)

    def check(self, client: str | None, request: str | None = None) -> None:
        """Raise RequestError `rate_limited` if the client has reached the limit."""
        if wait := self.seconds_to_wait(client):
            when = f"{max(1, round(wait))} s" if wait < 120 else f"{round(wait / 60)} minutes"
            text = f"{self.message}. Try again in {when}."
            raise RequestError("rate_limited", text, request=request, retry_after=round(wait, 3))

    def take(self, client: str | None, request: str | None = None) -> None:
        """Take one token. Raises RequestError `rate_limited`."""
        self.check(client, request)
        self.spend(client, 1)

    def spend(self, client: str | None, tokens: float) -> None:
        if client is not None:
            bucket = self._bucket(client)
            bucket.seconds_to_wait(self.clock())
            bucket.spend(tokens)

    def is_exhausted(self, client: str | None) -> bool:
        return self.seconds_to_wait(client) > 0

    def seconds_to_wait(self, client: str | None) -> float:
        """Return the seconds until there is a token: 0 if there is one."""
        return self._bucket(client).seconds_to_wait(self.clock()) if client in self.buckets else 0.0

    def _bucket(self, client: str | None) -> TokenBucket:
        assert client is not None
        bucket = self.buckets.get(client)
        if bucket is None:
            bucket = self.buckets[client] = TokenBucket(self.rate, self.burst)
            if len(self.buckets) > MAX_CLIENTS:
                self.buckets.popitem(last=False)
        else:
            self.buckets.move_to_end(client)
        return bucket


class RateLimits:
    """The limits of each `client_key`, and of requests of each `address_key`.

    `clock` returns seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        captures, download = settings.presses_per_minute, settings.download_per_hour * MIB
        requests = settings.requests_per_minute
        photos_message = f"You have reached the limit of {captures} new photo{'' if captures == 1 else 's'} per minute"
        download_message = f"You have reached the limit of {settings.download_per_hour} MiB per hour"
        requests_message = f"Your address has reached the limit of {requests} requests per minute"
        self.captures = _ClientLimit(captures / 60, captures, photos_message, clock)
        self.download = _ClientLimit(download / 3600, download, download_message, clock)
        self.requests = _ClientLimit(requests / 60, requests * REQUEST_BURST_MINUTES, requests_message, clock)


def client_key(identity: Identity, address: str | None) -> str | None:
    """Return a client's key: its user, token or network. None: this machine."""
    if identity.name is not None:
        return f"{identity.kind} {identity.name}"
    return address_key(address)


def address_key(address: str | None) -> str | None:
    """Return the key of a client's network, or None for this machine."""
    return None if not address or is_loopback(address) else client_network(address)
