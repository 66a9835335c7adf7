"""How much one user, or one address, may have in the long run: new photos, and what is sent to them.

What is had is taken from a bucket that fills again with time; who finds theirs empty is told when to come back. This
machine's own address has no limits: whoever sits here can do worse.
"""

from collections import OrderedDict
from collections.abc import Callable

from dog.auth import Identity
from dog.client_addresses import client_network, is_loopback
from dog.errors import RequestError
from dog.settings import Settings

__all__ = ["RateLimits", "TokenBucket", "client_key"]

MIB = 1024 * 1024
MOST = 10_000
"""Users and addresses that are remembered; those who had something last stay."""


class TokenBucket:
    """So many tokens a second, and so many at once."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at: float | None = None

    def take(self, now: float) -> float:
        """Take a token at `now` seconds: 0, or the seconds until there is one again."""
        wait = self.wait(now)
        if not wait:
            self._tokens -= 1
        return wait

    def wait(self, now: float) -> float:
        """Take none: 0 where there is one, or the seconds until there is."""
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return (1 - self._tokens) / self._rate if self._tokens < 1 else 0.0

    def spend(self, tokens: float) -> None:
        """Take as many as something cost that has been done already: there may be less than none afterwards."""
        self._tokens -= tokens


class _Kind:
    """One thing that there is so much of for each client, with the sentence for who has had it all."""

    def __init__(self, rate: float, burst: float, sentence: str, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._sentence = sentence
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, client: str | None, request: str | None = None) -> None:
        """Raise RequestError `rate_limited` for who has had it all."""
        if wait := self._wait(client):
            text = f"{self._sentence}. Try again in {_write(wait)}."
            raise RequestError("rate_limited", text, request=request, retry_after=round(wait, 3))

    def take(self, client: str | None, request: str | None = None) -> None:
        """One, which raises as `check` does."""
        self.check(client, request)
        self.spend(client, 1)

    def spend(self, client: str | None, tokens: float) -> None:
        if client is not None:
            bucket = self._find(client)
            bucket.wait(self._clock())
            bucket.spend(tokens)

    def is_exhausted(self, client: str | None) -> bool:
        return self._wait(client) > 0

    def _wait(self, client: str | None) -> float:
        return self._find(client).wait(self._clock()) if client in self._buckets else 0.0

    def _find(self, client: str | None) -> TokenBucket:
        assert client is not None
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > MOST:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(client)
        return bucket


class RateLimits:
    """What there is for each client; `clock` tells seconds. A client is who `find_client` says."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        presses, download = settings.presses_per_minute, settings.download_per_hour * MIB
        many = f"You have reached the limit of {presses} new photo{'' if presses == 1 else 's'} per minute"
        much = f"You have reached the limit of {settings.download_per_hour} MiB per hour"
        self.presses = _Kind(presses / 60, presses, many, clock)
        self.download = _Kind(download / 3600, download, much, clock)


def client_key(visitor: Identity, address: str | None) -> str | None:
    """Who it is that is counted: a user or a token, else an address; None for this machine's own."""
    if visitor.name is not None:
        return f"{visitor.kind} {visitor.name}"
    return None if not address or is_loopback(address) else client_network(address)


def _write(wait: float) -> str:
    """So many seconds, as a person says it."""
    return f"{max(1, round(wait))} s" if wait < 120 else f"{round(wait / 60)} minutes"
