"""Delay logins after wrong passwords, by account and client address.

The caller passes the monotonic time. An attempt is counted before the password is verified, so that parallel attempts
count, too. A correct password takes back its own attempt, and nothing else: others could observe a reset. The first
wrong passwords are free; each further one doubles the delay. An attempt during the delay is not counted, so that it
does not extend the delay. No delay depends on whether the account exists.
"""

import math
from dataclasses import dataclass, field
from itertools import islice

from dog.client_addresses import client_network
from dog.errors import RequestError

__all__ = ["LoginThrottle"]

MAX_ACCOUNT_DELAY_SECONDS = 60.0
"""Maximum time that an attacker can lock a user out."""
MAX_ADDRESS_DELAY_SECONDS = 900.0
FORGET_AFTER_SECONDS = 3600.0
"""Earlier wrong passwords are forgotten after this time without one."""
MAX_REMEMBERED_KEYS = 10_000
"""Accounts, and addresses, that are remembered. The least recently tried is forgotten first. To evict it, an
attacker must try as many others, each at the cost of verifying a password."""


class LoginThrottle:
    """The delays of login attempts.

    The first `free` wrong passwords of an account or an address cause none. An account is a folded name; None if no
    user can have the name. In a network that any user has logged in from, each account has a separate count, so that
    attempts from elsewhere do not delay logins from there, and attempts from there delay them for at most a minute.
    """

    def __init__(self, free: int, *, max_keys: int = MAX_REMEMBERED_KEYS) -> None:
        self._accounts = _FailureCounts(free, max_keys)
        self._addresses = _FailureCounts(free, max_keys)
        self._known_networks: dict[str, None] = {}
        self._max_keys = max_keys

    def seconds_left(self, account: str | None, address: str, now: float) -> float:
        """Return the seconds until this address may try this account."""
        network = client_network(address)
        max_delay = MAX_ACCOUNT_DELAY_SECONDS if network in self._known_networks else MAX_ADDRESS_DELAY_SECONDS
        by_address = self._addresses.seconds_left(network, now, max_delay)
        if account is None:
            return by_address
        key = self._account_key(account, network)
        return max(by_address, self._accounts.seconds_left(key, now, MAX_ACCOUNT_DELAY_SECONDS))

    def check(self, account: str | None, address: str, now: float, wrong: str) -> None:
        """Raise RequestError `rate_limited` during a delay.

        `wrong` is the cause, such as "wrong passwords were sent".
        """
        if seconds := math.ceil(self.seconds_left(account, address, now)):
            when = f"{seconds} second{'' if seconds == 1 else 's'}"
            raise RequestError("rate_limited", f"Too many {wrong}. Try again in {when}.", retry_after=float(seconds))

    def count_attempt(self, account: str | None, address: str, now: float) -> None:
        """Count an attempt. It counts as a wrong password until `record_success`."""
        network = client_network(address)
        if account is not None:
            self._accounts.count(self._account_key(account, network), now)
        self._addresses.count(network, now)

    def record_success(self, account: str, address: str, counted_at: float) -> None:
        """Do not count the attempt at that time: it was correct."""
        network = client_network(address)
        self._accounts.undo(self._account_key(account, network), counted_at)
        self._addresses.undo(network, counted_at)
        self._known_networks.pop(network, None)
        self._known_networks[network] = None
        if len(self._known_networks) > self._max_keys:
            del self._known_networks[next(iter(self._known_networks))]

    def _account_key(self, account: str, network: str) -> str:
        return f"{account} {network}" if network in self._known_networks else account  # no name has a space

    def __len__(self) -> int:
        """Return the number of accounts and addresses that are remembered."""
        return len(self._accounts.counts) + len(self._addresses.counts)


@dataclass(slots=True)
class _FailureCounts:
    """For each key, the number of attempts and the times of the last two."""

    free: int
    max_keys: int
    counts: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    def seconds_left(self, key: str, now: float, max_delay: float) -> float:
        number, last, _ = self._find(key, now)
        if number < self.free:
            return 0.0
        delay = min(max_delay, 2.0 ** min(number - self.free, 30))
        return max(0.0, last + delay - now)

    def count(self, key: str, now: float) -> None:
        number, before, _ = self._find(key, now)
        self.counts.pop(key, None)
        self.counts[key] = number + 1, now, before
        for oldest, (_, last, _) in list(islice(self.counts.items(), 2)):
            if len(self.counts) > self.max_keys or last + FORGET_AFTER_SECONDS <= now:
                del self.counts[oldest]

    def undo(self, key: str, counted_at: float) -> None:
        """Do not count the attempt of that time: its password was correct."""
        number, last, before = self.counts.get(key, (0, 0.0, 0.0))
        if number > 1:
            self.counts[key] = number - 1, before if last == counted_at else last, before
        else:
            self.counts.pop(key, None)

    def _find(self, key: str, now: float) -> tuple[int, float, float]:
        found = self.counts.get(key)
        return (0, now, now) if found is None or found[1] + FORGET_AFTER_SECONDS <= now else found
