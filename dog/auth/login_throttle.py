"""Who may try a password now. Nothing here waits, and the clock is handed in, in seconds that only rise.

An attempt is counted before the password is looked at, so that many at once are as many; a right one takes the
account's back. So many wrong ones cost nothing; from then on each makes the next one wait twice as long, by account and
by address. While one waits, nothing is counted, so that nobody is kept out for longer by trying.
"""

from itertools import islice

from dog.client_addresses import client_network

__all__ = ["Throttle"]

LONGEST_OF_ACCOUNT = 60.0
"""Seconds: the longest that a stranger can keep somebody from their account."""
LONGEST_OF_ADDRESS = 900.0
FORGOTTEN = 3600.0
"""Seconds without a wrong password after which the ones before are forgotten."""
MOST = 10_000
"""How many accounts, and how many addresses, are remembered; who had no wrong password for longest is forgotten first.
To have one forgotten takes so many attempts at others, each of which is as much work as a password is."""


class Throttle:
    """`free` wrong passwords cost nothing. An account is a folded name, None where no user can have the name.

    A network from which somebody has logged in to an account counts by itself there: neither what others try for it
    from elsewhere, nor what they try for others from that network, keeps anybody out at home.
    """

    def __init__(self, free: int, *, most: int = MOST) -> None:
        self._accounts = _Counts(free, LONGEST_OF_ACCOUNT, most)
        self._addresses = _Counts(free, LONGEST_OF_ADDRESS, most)
        self._known_networks: dict[str, None] = {}
        self._most = most

    def wait(self, account: str | None, address: str, now: float) -> float:
        """How many seconds are left until a password for this account may be tried from this address; 0: none."""
        network = client_network(address)
        of_address = self._addresses.wait(network, now)
        if account is None:
            return of_address
        key = self._find_key(account, network)
        of_account = self._accounts.wait(key, now)
        return of_account if key != account else max(of_account, of_address)

    def count(self, account: str | None, address: str, now: float) -> None:
        """A password is about to be tried; it counts as a wrong one until `clear`."""
        network = client_network(address)
        if account is not None:
            self._accounts.count(self._find_key(account, network), now)
        self._addresses.count(network, now)

    def clear(self, account: str, address: str, counted_at: float) -> None:
        """The password was right that was counted then, in `now` of `count`.

        The address gets this attempt back alone, and waits as if it had not been: who has an account may try others',
        too.
        """
        network = client_network(address)
        self._accounts.clear(self._find_key(account, network))
        self._addresses.take_back(network, counted_at)
        home = _name_home(account, network)
        self._known_networks.pop(home, None)
        self._known_networks[home] = None
        if len(self._known_networks) > self._most:
            del self._known_networks[next(iter(self._known_networks))]

    def _find_key(self, account: str, network: str) -> str:
        home = _name_home(account, network)
        return home if home in self._known_networks else account

    def __len__(self) -> int:
        """How many accounts and addresses are remembered."""
        return len(self._accounts.counts) + len(self._addresses.counts)


class _Counts:
    """Of each key how many there were, and when the last and the one before it; who had one last stands last."""

    def __init__(self, free: int, longest: float, most: int) -> None:
        self._free = free
        self._longest = longest
        self._most = most
        self.counts: dict[str, tuple[int, float, float]] = {}

    def wait(self, key: str, now: float) -> float:
        number, last, _ = self._find(key, now)
        if number < self._free:
            return 0.0
        delay = min(self._longest, 2.0 ** min(number - self._free, 30))
        return max(0.0, last + delay - now)

    def count(self, key: str, now: float) -> None:
        number, before, _ = self._find(key, now)
        self.counts.pop(key, None)
        self.counts[key] = number + 1, now, before
        for oldest, (_, last, _) in list(islice(self.counts.items(), 2)):
            if len(self.counts) > self._most or last + FORGOTTEN <= now:
                del self.counts[oldest]

    def clear(self, key: str) -> None:
        self.counts.pop(key, None)

    def take_back(self, key: str, counted_at: float) -> None:
        """The one of then was none."""
        number, last, before = self.counts.get(key, (0, 0.0, 0.0))
        if number > 1:
            self.counts[key] = number - 1, before if last == counted_at else last, before
        else:
            self.clear(key)

    def _find(self, key: str, now: float) -> tuple[int, float, float]:
        found = self.counts.get(key)
        return (0, now, now) if found is None or found[1] + FORGOTTEN <= now else found


def _name_home(account: str, network: str) -> str:
    return f"{account} {network}"  # no name has a space
