"""AuthService, while connections and processes change the accounts."""

import asyncio
import datetime as dt
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import extract_parameters
from argon2.profiles import CHEAPEST

from dog.auth import Accounts, AuthService, Identity, Role
from dog.auth.password_verifier import ARGON2_PARAMETERS, MAX_CHECKS, MAX_CHECKS_PER_KEY, Hasher
from dog.auth.service import ACCOUNTS_POLL_SECONDS, MAX_PROPAGATION_SECONDS, MAX_TICKETS, MAX_TICKETS_PER_IDENTITY
from dog.errors import RequestError, StartError
from tests.support.hand_clock import MonotonicClock
from tests.support.server_process import ROOT, clean_environment

PASSWORD = "correct horse"
ELSEWHERE = "192.0.2.{}"
STRANGE = ["", "x", "\0", "dog_", "dog_" + "\0" * 43, "ä" * 43, "\ud800" * 43, "a" * 44, "dog_" + "a" * 43 + "\n"]
STRANGE += ["a" * 10_000_000, "dog_" + "ä" * 10_000_000]


class Changes:
    """Wait for `on_change`."""

    def __init__(self, service: AuthService) -> None:
        self._changed = asyncio.Event()
        service.on_change = self._changed.set

    async def wait(self) -> None:
        await asyncio.wait_for(self._changed.wait(), 20)
        self._changed.clear()

    def is_called(self) -> bool:
        return self._changed.is_set()


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock()


@pytest.fixture
async def service(path: Path, clock: MonotonicClock) -> AsyncIterator[AuthService]:
    """A service with two users: Anna with the role view, Ben with manage."""
    with open_accounts(path) as accounts:
        accounts.add_user("Anna", "view", PASSWORD)
        accounts.add_user("Ben", "manage", PASSWORD)
    service = AuthService(login_attempts=3, parameters=CHEAPEST, clock=clock)
    await service.open(path)
    yield service
    await service.close()


def open_accounts(path: Path) -> Accounts:
    return Accounts(path, hasher=Hasher(CHEAPEST))


def later(hours: float = 1) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)


def move_away(path: Path) -> Path:
    return path.rename(path.with_name("backup"))


async def fail(
    service: AuthService, name: str = "anna", password: str = "wrong", address: str = "192.0.2.1"
) -> RequestError:
    with pytest.raises(RequestError) as error:
        await service.log_in(name, password, address)
    return error.value


async def dog(path: Path, *arguments: str, stdin: str = "") -> None:
    """Run a command in its own process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dog", *arguments, "--snapshots", str(path.parent.parent)),
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        cwd=path.parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    await process.communicate(stdin.encode())
    assert process.returncode == 0


# ---- identities


async def test_a_session_identifies_the_user_until_logout(service: AuthService) -> None:
    secret, expires_at = await service.log_in("ANNA", PASSWORD, "192.0.2.1")
    identity = service.identify_session(secret)
    assert identity is not None
    assert (identity.role, identity.name, identity.kind) == ("view", "Anna", "session")
    assert dt.timedelta(days=29.9) < expires_at - dt.datetime.now(dt.UTC) <= dt.timedelta(days=30)
    assert secret not in repr(identity)
    changes = Changes(service)
    await service.log_out(secret)
    await changes.wait()
    assert service.identify_session(secret) is None
    assert service.current_role(identity) is None
    await service.log_out(secret)


async def test_each_login_creates_its_own_session(service: AuthService) -> None:
    first, second = [(await service.log_in("anna", PASSWORD, "192.0.2.1"))[0] for _ in range(2)]
    await service.log_out(first)
    assert service.identify_session(first) is None
    assert service.identify_session(second) is not None


async def test_sessions_and_tokens_survive_a_restart(service: AuthService, path: Path) -> None:
    with open_accounts(path) as accounts:
        token = accounts.add_token("cron", "capture", later())
    secret, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
    await service.close()
    again = AuthService(parameters=CHEAPEST)
    await again.open(path)
    try:
        assert again.identify_session(secret) is not None
        identity = again.identify_token(token)
        assert identity is not None
        assert (identity.role, identity.name, identity.kind) == ("capture", "cron", "token")
        assert (again.identify_session(token), again.identify_token(secret)) == (None, None)
    finally:
        await again.close()


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
async def test_an_invalid_secret_identifies_nobody(text: str, service: AuthService) -> None:
    assert service.identify_session(text) is None
    assert service.identify_token(text) is None
    assert service.use_ticket(text) is None
    assert await service.accept_setup_secret(text) is None
    await service.log_out(text)


async def test_current_role_keeps_the_role_of_an_identity_without_account(service: AuthService) -> None:
    roles: list[Role | None] = [None, "view", "manage"]
    for role in roles:
        assert service.current_role(Identity(role=role, name=None, kind="anonymous", key=b"")) == role
        assert service.current_role(Identity(role=role, name=None, kind="local", key=b"")) == role


# ---- changes


async def test_a_running_server_applies_changes_of_commands(service: AuthService, path: Path) -> None:
    secret, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
    identity = service.identify_session(secret)
    assert identity is not None
    changes = Changes(service)
    await dog(path, "user", "role", "anna", "capture")
    await changes.wait()
    assert service.current_role(identity) == "capture"
    await dog(path, "user", "password", "anna", "--password-file", "-", stdin="another one\n")
    await changes.wait()
    assert service.current_role(identity) is None
    assert (await fail(service, password=PASSWORD)).code == "wrong_password"
    secret, _ = await service.log_in("anna", "another one", "192.0.2.1")
    identity = service.identify_session(secret)
    assert identity is not None
    changes = Changes(service)
    await dog(path, "user", "remove", "anna")
    await changes.wait()
    assert service.current_role(identity) is None


async def test_a_running_server_applies_a_tokens_new_role_and_removal(service: AuthService, path: Path) -> None:
    changes = Changes(service)
    with open_accounts(path) as accounts:
        token = accounts.add_token("cron", "view", None)
        await changes.wait()
        identity = service.identify_token(token)
        assert identity is not None
        accounts.set_token_role("cron", "manage")
        await changes.wait()
        assert service.current_role(identity) == "manage"
        accounts.remove_token("cron")
        await changes.wait()
        assert service.current_role(identity) is None
        assert service.identify_token(token) is None
        accounts.add_token("cron", "manage", None)
        await changes.wait()
        assert service.current_role(identity) is None


async def test_sessions_and_tokens_expire_while_the_server_runs(path: Path) -> None:
    service = AuthService(session_days=1 / 86400, parameters=CHEAPEST)
    with open_accounts(path) as accounts:
        accounts.add_user("anna", "view", PASSWORD)
        token = accounts.add_token("cron", "view", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2))
        await service.open(path)
        try:
            secret, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
            identities = [service.identify_session(secret), service.identify_token(token)]
            assert None not in identities
            changes = Changes(service)
            while any(identity and service.current_role(identity) for identity in identities):
                await changes.wait()
            assert (service.identify_session(secret), service.identify_token(token)) == (None, None)
            await service._accounts._run(lambda: None)  # wait for the thread's queue
            assert accounts.sessions() == []
        finally:
            await service.close()


async def test_an_error_in_on_change_does_not_stop_the_polling(service: AuthService, path: Path) -> None:
    failed = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: failed.set())
    service.on_change = lambda: 1 / 0
    with open_accounts(path) as accounts:
        accounts.add_user("carla", "view", None)
        await asyncio.wait_for(failed.wait(), 20)
        changes = Changes(service)
        accounts.remove_user("carla")
        await changes.wait()


async def test_a_deleted_accounts_file_is_logged_once_and_allows_no_new_login(
    service: AuthService, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    secret, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
    backup = move_away(path)
    assert (await fail(service, password=PASSWORD)).code == "storage_error"
    assert (await fail(service, password=PASSWORD)).code == "storage_error"
    assert service.identify_session(secret) is not None
    lost = [message for message in caplog.messages if message.endswith("stay in use until the file can be read.")]
    assert len(lost) == 1
    with open_accounts(backup) as accounts:
        accounts.remove_user("anna")
    changes = Changes(service)
    backup.rename(path)
    await changes.wait()
    assert service.identify_session(secret) is None


def put_garbage(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database " * 1000)


async def test_damaged_accounts_fail_the_start(path: Path) -> None:
    put_garbage(path)
    service = AuthService(parameters=CHEAPEST)
    with pytest.raises(StartError, match=r"are damaged \(file is not a database\), so nobody can log in"):
        await service.open(path)
    await service.close()


# ---- passwords


async def test_neither_the_response_nor_the_work_reveals_if_a_user_exists(
    service: AuthService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_accounts(path) as accounts:
        accounts.add_user("owner", "manage", None)
    checked = []
    really = Hasher.matches

    def note(hasher: Hasher, known: str, password: bytes) -> bool:
        checked.append(extract_parameters(known))
        return really(hasher, known, password)

    monkeypatch.setattr(Hasher, "matches", note)
    told = set()
    tries = [("anna", "wrong"), ("nobody", "wrong"), ("owner", "wrong"), ("owner", ""), ("no name", PASSWORD)]
    tries += [("a" * 10_000_000, "wrong"), ("ben", "x" * 10_000_000), ("ben", "\ud800" * 9), ("\0", "\0")]
    for number, (name, password) in enumerate(tries):
        error = await fail(service, name, password, ELSEWHERE.format(number))
        told.add((error.code, error.message, error.retry_after))
    assert told == {("wrong_password", "The name or the password is wrong. Try again.", None)}
    assert checked == [CHEAPEST] * len(tries)


async def test_passwords_are_compared_after_nfkc(service: AuthService, path: Path) -> None:
    with open_accounts(path) as accounts:
        accounts.set_password("anna", "Fußgänger ①")
    assert await service.log_in("anna", "Fußga\u0308nger 1", "192.0.2.1")
    assert (await fail(service, password="fußgänger 1")).code == "wrong_password"


async def test_a_login_renews_an_outdated_hash_and_ends_no_session(service: AuthService, path: Path) -> None:
    before, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
    await service.close()
    stronger = AuthService()
    await stronger.open(path)
    try:
        assert await stronger.log_in("anna", PASSWORD, "192.0.2.1")
        with open_accounts(path) as accounts:
            renewed = accounts.find_user("anna").password
            assert renewed is not None
            assert extract_parameters(renewed) == ARGON2_PARAMETERS
            assert accounts.find_user("ben").password is not None
            assert extract_parameters(accounts.find_user("ben").password or "") == CHEAPEST
        assert await stronger.log_in("anna", PASSWORD, "192.0.2.1")
        assert stronger.identify_session(before) is not None
        with open_accounts(path) as accounts:
            assert accounts.find_user("anna").password == renewed
    finally:
        await stronger.close()


async def test_a_password_that_changes_during_the_login_is_refused(
    service: AuthService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Hasher.matches

    def change_meanwhile(hasher: Hasher, known: str, password: bytes) -> bool:
        right = really(hasher, known, password)
        assert right
        with open_accounts(path) as accounts:
            accounts.set_password("anna", "another one")
        return right

    monkeypatch.setattr(Hasher, "matches", change_meanwhile)
    assert (await fail(service, password=PASSWORD)).code == "wrong_password"
    with open_accounts(path) as accounts:
        assert accounts.sessions() == []


async def test_an_unreadable_hash_is_a_wrong_password(service: AuthService, path: Path) -> None:
    with open_accounts(path) as accounts:
        accounts._database.execute("UPDATE users SET password = 'plain' WHERE key = 'anna'")
    assert (await fail(service, password="plain")).code == "wrong_password"
    assert (await fail(service, password=PASSWORD)).code == "wrong_password"


# ---- rate limits


async def test_after_too_many_wrong_passwords_the_correct_one_is_delayed_too(
    service: AuthService, clock: MonotonicClock
) -> None:
    for _ in range(3):
        assert (await fail(service)).code == "wrong_password"
    error = await fail(service, password=PASSWORD, address="198.51.100.1")
    assert (error.code, error.message, error.retry_after) == (
        "rate_limited",
        "Too many wrong passwords were sent. Try again in 1 second.",
        1.0,
    )
    assert (await fail(service, name="ben", password=PASSWORD)).code == "rate_limited"
    clock.now += 1
    assert (await fail(service)).code == "wrong_password"
    error = await fail(service, password=PASSWORD)
    assert (error.code, error.retry_after) == ("rate_limited", 2.0)
    clock.now += 2
    await service.log_in("anna", PASSWORD, "192.0.2.1")
    assert (await fail(service, "ben")).code == "wrong_password"
    assert (await fail(service, "ben")).code == "rate_limited"  # by the address, which got back only one attempt
    assert (await fail(service)).code == "rate_limited"  # also for Anna, who has logged in from it
    clock.now += 3600
    for _ in range(3):
        assert (await fail(service)).code == "wrong_password"


async def test_unknown_names_are_delayed_like_known_ones(service: AuthService) -> None:
    codes = [(await fail(service, "nobody", address=ELSEWHERE.format(number))).code for number in range(5)]
    assert codes == ["wrong_password"] * 3 + ["rate_limited"] * 2


async def test_parallel_attempts_do_not_exceed_the_limit_of_sequential_ones(service: AuthService) -> None:
    tries = [fail(service, address=ELSEWHERE.format(number)) for number in range(50)]
    codes = [error.code for error in await asyncio.gather(*tries)]
    assert codes == ["wrong_password"] * 3 + ["rate_limited"] * 47


async def test_logins_beyond_the_queue_are_refused_with_a_retry_after(
    service: AuthService,
) -> None:
    tries = [fail(service, f"user{number}", address=ELSEWHERE.format(number)) for number in range(50)]
    errors = await asyncio.gather(*tries)
    assert [error.code for error in errors] == ["wrong_password"] * MAX_CHECKS + ["overloaded"] * (50 - MAX_CHECKS)
    assert all(error.retry_after for error in errors[MAX_CHECKS:])
    # a refused login verified no password and does not count
    for _ in range(3):
        assert (await fail(service, "user49", address=ELSEWHERE.format(49))).code == "wrong_password"


async def test_one_account_or_network_can_not_fill_the_login_queue(path: Path) -> None:
    with open_accounts(path) as accounts:
        for name in ("anna", "ben"):
            accounts.add_user(name, "view", PASSWORD)
    service = AuthService(login_attempts=100, parameters=CHEAPEST)
    await service.open(path)

    async def try_to(name: str, password: str, address: str) -> str:
        try:
            await service.log_in(name, password, address)
        except RequestError as error:
            return error.code
        return "in"

    try:
        for _ in range(2):  # the queue is free again
            of_anna = [try_to("ANNA", PASSWORD, ELSEWHERE.format(number)) for number in range(5)]
            of_network = [try_to(f"user{number}", "wrong", f"2001:db8::{number}") for number in range(5)]
            codes = await asyncio.gather(*of_anna, *of_network, try_to("ben", PASSWORD, "192.0.2.1"))
            assert codes[:5] == ["in"] * MAX_CHECKS_PER_KEY + ["overloaded"] * 2
            assert codes[5:10] == ["wrong_password"] * MAX_CHECKS_PER_KEY + ["overloaded"] * 2
            assert codes[10] == "in"
    finally:
        await service.close()


async def test_the_event_loop_is_not_blocked_while_passwords_are_verified(path: Path) -> None:
    service = AuthService()
    await service.open(path)
    try:
        logging_in = asyncio.create_task(fail(service))
        turns = 0
        while not logging_in.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 100
    finally:
        await service.close()


# ---- tickets


async def test_a_ticket_is_valid_once_and_returns_the_current_identity(
    service: AuthService, path: Path, clock: MonotonicClock
) -> None:
    secret, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
    identity = service.identify_session(secret)
    assert identity is not None
    tickets = [service.make_ticket(identity)[0] for _ in range(3)]
    assert service.use_ticket(tickets[0]) == identity
    assert service.use_ticket(tickets[0]) is None
    changes = Changes(service)
    with open_accounts(path) as accounts:
        accounts.set_role("anna", "capture")
        await changes.wait()
        used = service.use_ticket(tickets[1])
        assert used is not None
        assert (used.role, used.kind, used.key) == ("capture", "session", identity.key)
        accounts.remove_user("anna")
        await changes.wait()
    assert service.use_ticket(tickets[2]) is None


async def test_a_ticket_expires_after_its_lifetime(service: AuthService, clock: MonotonicClock) -> None:
    identity = Identity(role="view", name=None, kind="anonymous", key=b"")
    ticket, seconds = service.make_ticket(identity)
    late, _ = service.make_ticket(identity)
    clock.now += seconds - 0.001
    assert service.use_ticket(ticket) == identity
    clock.now += 0.001
    assert service.use_ticket(late) is None


async def test_tickets_beyond_the_limit_replace_the_oldest(service: AuthService, clock: MonotonicClock) -> None:
    identities = [Identity(role="view", name=f"user{n}", kind="local", key=b"") for n in range(MAX_TICKETS)]
    tickets = [service.make_ticket(identity)[0] for identity in (*identities, *identities[:2])]
    assert len(service._tickets) == MAX_TICKETS
    assert [service.use_ticket(ticket) for ticket in tickets[1:3]] == [None, identities[2]]
    clock.now += 60
    for identity in identities:
        service.make_ticket(identity)
    clock.now += 60
    service.make_ticket(identities[0])
    service.make_ticket(identities[1])
    assert len(service._tickets) < MAX_TICKETS


async def test_one_identitys_tickets_replace_only_its_own(service: AuthService) -> None:
    ben, anna = (Identity(role="view", name=name, kind="local", key=b"") for name in ("ben", "anna"))
    of_ben = service.make_ticket(ben)[0]
    of_anna = [service.make_ticket(anna)[0] for _ in range(MAX_TICKETS_PER_IDENTITY + 2)]
    assert [service.use_ticket(ticket) for ticket in of_anna[:3]] == [None, None, anna]
    assert service.use_ticket(of_ben) == ben


# ---- the setup link


async def test_the_setup_secret_gives_one_session_with_the_role_manage(path: Path) -> None:
    service = AuthService(parameters=CHEAPEST)
    await service.open(path)
    try:
        assert service.needs_setup
        void = service.make_setup_secret()
        invitation = service.make_setup_secret()
        assert await service.accept_setup_secret(void) is None
        first, second = await asyncio.gather(*(service.accept_setup_secret(invitation) for _ in range(2)))
        assert second is None
        assert first is not None
        identity = service.identify_session(first[0])
        assert identity is not None
        assert (identity.name, identity.role) == ("owner", "manage")
        assert service.needs_setup  # until the owner has a password
        assert (await fail(service, "owner", "")).code == "wrong_password"
        with open_accounts(path) as accounts:
            accounts.remove_user("owner")
        assert await service.accept_setup_secret(invitation) is None
    finally:
        await service.close()


def test_a_commands_change_is_applied_within_a_second() -> None:
    assert ACCOUNTS_POLL_SECONDS < MAX_PROPAGATION_SECONDS < 1


async def test_a_revoked_setup_secret_stays_revoked_after_the_manager_is_removed(path: Path) -> None:
    service = AuthService(parameters=CHEAPEST)
    await service.open(path)
    try:
        invitation = service.make_setup_secret()
        changes = Changes(service)
        with open_accounts(path) as accounts:
            accounts.add_user("ben", "manage", PASSWORD)
            await changes.wait()
            accounts.remove_user("ben")
            await changes.wait()
        assert service.needs_setup
        assert not service.is_setup_secret(invitation)
        assert await service.accept_setup_secret(invitation) is None
    finally:
        await service.close()


async def test_the_setup_secret_is_revoked_once_there_is_another_manager(path: Path) -> None:
    service = AuthService(parameters=CHEAPEST)
    await service.open(path)
    try:
        invitation = service.make_setup_secret()
        with open_accounts(path) as accounts:
            accounts.add_user("ben", "manage", PASSWORD)
        assert await service.accept_setup_secret(invitation) is None
        assert not service.needs_setup
        with open_accounts(path) as accounts:
            assert [user.name for user in accounts.users()] == ["ben"]
    finally:
        await service.close()


async def test_the_setup_secret_stays_valid_if_the_browser_disconnects(path: Path) -> None:
    service = AuthService(parameters=CHEAPEST)
    await service.open(path)
    try:
        invitation = service.make_setup_secret()
        leaving = asyncio.create_task(service.accept_setup_secret(invitation))
        await asyncio.sleep(0)  # until it waits for the thread
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert service.is_setup_secret(invitation)
        assert await service.accept_setup_secret(invitation) is not None
    finally:
        await service.close()


async def test_the_setup_secret_stays_valid_if_the_accounts_can_not_be_written(path: Path) -> None:
    service = AuthService(parameters=CHEAPEST)
    await service.open(path)
    try:
        invitation = service.make_setup_secret()
        backup = move_away(path)
        with pytest.raises(RequestError) as error:
            await service.accept_setup_secret(invitation)
        assert error.value.code == "storage_error"
        backup.rename(path)
        assert await service.accept_setup_secret(invitation) is not None
    finally:
        await service.close()


# ---- a wrong clock


class WallClock:
    """A wall clock that can be wrong and in doubt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = dt.timedelta()
        self.is_in_doubt = False
        for module in "service", "accounts":
            monkeypatch.setattr(f"dog.auth.{module}.now", self.now)

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead

    def deletion_time(self) -> dt.datetime | None:
        return None if self.is_in_doubt else self.now()


async def test_a_session_expired_by_a_wrong_clock_is_valid_again_and_not_deleted(
    service: AuthService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.close()
    wall = WallClock(monkeypatch)
    service = AuthService(parameters=CHEAPEST, deletion_time=wall.deletion_time)
    with open_accounts(path) as accounts:
        token = accounts.add_token("cron", "capture", later(50))
    await service.open(path)
    try:
        changes = Changes(service)
        session, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
        known = service.identify_token(token), service.identify_session(session)
        assert None not in known
        wall.ahead, wall.is_in_doubt = dt.timedelta(days=900), True
        await changes.wait()
        assert (service.identify_token(token), service.identify_session(session)) == (None, None)
        other, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")  # reads and writes the file
        await asyncio.sleep(2 * ACCOUNTS_POLL_SECONDS)
        wall.ahead = dt.timedelta()
        assert (service.identify_token(token), service.identify_session(session)) == known
        await asyncio.sleep(2 * ACCOUNTS_POLL_SECONDS)  # until the service notices that the clock went back
        changes = Changes(service)
        wall.ahead = dt.timedelta(days=500)
        await changes.wait()
        await service.log_out(other)
        wall.is_in_doubt = False
        with open_accounts(path) as accounts:
            while accounts.sessions():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
            assert len(accounts.tokens()) == 1
        wall.ahead = dt.timedelta()
        assert service.identify_token(token) == known[0]
    finally:
        await service.close()


async def test_logout_ends_a_session_that_a_wrong_clock_calls_expired(
    service: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = WallClock(monkeypatch)
    monkeypatch.setattr(service, "_deletion_time", lambda: None)
    secret, _ = await service.log_in("anna", PASSWORD, "192.0.2.1")
    wall.ahead = dt.timedelta(days=31)
    await service.log_out(secret)
    wall.ahead = dt.timedelta()
    assert service.identify_session(secret) is None
