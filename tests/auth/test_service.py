"""The server's side of the accounts, in this event loop, while other connections and processes change them."""

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

from dog.auth import Accounts, AuthService, Identity, Role, accounts_path
from dog.auth.passwords import ARGON2_PARAMETERS, MAX_CHECKS, MAX_CHECKS_PER_KEY, Hasher
from dog.auth.service import MAX_PROPAGATION_SECONDS, MAX_TICKETS, MAX_TICKETS_PER_IDENTITY, POLL_INTERVAL_SECONDS
from dog.errors import RequestError, StartError
from tests.support.server_process import ROOT, clean_environment

PASSWORD = "correct horse"
ELSEWHERE = "192.0.2.{}"
STRANGE = ["", "x", "\0", "dog_", "dog_" + "\0" * 43, "ä" * 43, "\ud800" * 43, "a" * 44, "dog_" + "a" * 43 + "\n"]
STRANGE += ["a" * 10_000_000, "dog_" + "ä" * 10_000_000]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Changes:
    """Waits for `on_change`."""

    def __init__(self, access: AuthService) -> None:
        self._changed = asyncio.Event()
        access.on_change = self._changed.set

    async def wait(self) -> None:
        await asyncio.wait_for(self._changed.wait(), 20)
        self._changed.clear()

    def is_told(self) -> bool:
        return self._changed.is_set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return accounts_path(tmp_path / "snapshots")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def access(path: Path, clock: Clock) -> AsyncIterator[AuthService]:
    """With two users: Anna, who may look, and Ben, who may manage."""
    with open_accounts(path) as accounts:
        accounts.add_user("Anna", "view", PASSWORD)
        accounts.add_user("Ben", "manage", PASSWORD)
    access = AuthService(login_attempts=3, parameters=CHEAPEST, clock=clock)
    await access.open(path)
    yield access
    await access.close()


def open_accounts(path: Path) -> Accounts:
    return Accounts(path, hasher=Hasher(CHEAPEST))


def later(hours: float = 1) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)


def move_away(path: Path) -> Path:
    return path.rename(path.with_name("backup"))


async def fail(
    access: AuthService, name: str = "anna", password: str = "wrong", address: str = "192.0.2.1"
) -> RequestError:
    with pytest.raises(RequestError) as error:
        await access.log_in(name, password, address)
    return error.value


async def dog(path: Path, *arguments: str, stdin: str = "") -> None:
    """A command, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dog", *arguments, "--snapshots", str(path.parent.parent)),
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        cwd=path.parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    await process.communicate(stdin.encode())
    assert process.returncode == 0


# ---- who is it


async def test_a_session_identifies_the_user_until_logout(access: AuthService) -> None:
    secret, expires_at = await access.log_in("ANNA", PASSWORD, "192.0.2.1")
    visitor = access.identify_session(secret)
    assert visitor is not None
    assert (visitor.role, visitor.name, visitor.kind) == ("view", "Anna", "session")
    assert dt.timedelta(days=29.9) < expires_at - dt.datetime.now(dt.UTC) <= dt.timedelta(days=30)
    assert secret not in repr(visitor)
    changes = Changes(access)
    await access.log_out(secret)
    await changes.wait()
    assert access.identify_session(secret) is None
    assert access.current_role(visitor) is None
    await access.log_out(secret)


async def test_each_login_creates_its_own_session(access: AuthService) -> None:
    first, second = [(await access.log_in("anna", PASSWORD, "192.0.2.1"))[0] for _ in range(2)]
    await access.log_out(first)
    assert access.identify_session(first) is None
    assert access.identify_session(second) is not None


async def test_sessions_and_tokens_survive_a_restart(access: AuthService, path: Path) -> None:
    with open_accounts(path) as accounts:
        token = accounts.add_token("cron", "capture", later())
    secret, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
    await access.close()
    again = AuthService(parameters=CHEAPEST)
    await again.open(path)
    try:
        assert again.identify_session(secret) is not None
        visitor = again.identify_token(token)
        assert visitor is not None
        assert (visitor.role, visitor.name, visitor.kind) == ("capture", "cron", "token")
        assert (again.identify_session(token), again.identify_token(secret)) == (None, None)
    finally:
        await again.close()


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
async def test_an_invalid_secret_identifies_nobody(text: str, access: AuthService) -> None:
    assert access.identify_session(text) is None
    assert access.identify_token(text) is None
    assert access.use_ticket(text) is None
    assert await access.accept_setup_secret(text) is None
    await access.log_out(text)


async def test_current_role_keeps_the_role_of_an_identity_without_account(access: AuthService) -> None:
    roles: list[Role | None] = [None, "view", "manage"]
    for role in roles:
        assert access.current_role(Identity(role=role, name=None, kind="anonymous", key=b"")) == role
        assert access.current_role(Identity(role=role, name=None, kind="local", key=b"")) == role


# ---- changes


async def test_a_running_server_applies_changes_of_commands(
    access: AuthService, path: Path
) -> None:
    secret, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
    visitor = access.identify_session(secret)
    assert visitor is not None
    changes = Changes(access)
    await dog(path, "user", "role", "anna", "capture")
    await changes.wait()
    assert access.current_role(visitor) == "capture"
    await dog(path, "user", "password", "anna", "--password-file", "-", stdin="another one\n")
    await changes.wait()
    assert access.current_role(visitor) is None
    assert (await fail(access, password=PASSWORD)).code == "wrong_password"
    secret, _ = await access.log_in("anna", "another one", "192.0.2.1")
    visitor = access.identify_session(secret)
    assert visitor is not None
    changes = Changes(access)
    await dog(path, "user", "remove", "anna")
    await changes.wait()
    assert access.current_role(visitor) is None


async def test_a_running_server_applies_a_tokens_new_role_and_removal(
    access: AuthService, path: Path
) -> None:
    changes = Changes(access)
    with open_accounts(path) as accounts:
        token = accounts.add_token("cron", "view", None)
        await changes.wait()
        visitor = access.identify_token(token)
        assert visitor is not None
        accounts.set_token_role("cron", "manage")
        await changes.wait()
        assert access.current_role(visitor) == "manage"
        accounts.remove_token("cron")
        await changes.wait()
        assert access.current_role(visitor) is None
        assert access.identify_token(token) is None
        accounts.add_token("cron", "manage", None)
        await changes.wait()
        assert access.current_role(visitor) is None


async def test_sessions_and_tokens_expire_while_the_server_runs(path: Path) -> None:
    access = AuthService(session_days=1 / 86400, parameters=CHEAPEST)
    with open_accounts(path) as accounts:
        accounts.add_user("anna", "view", PASSWORD)
        token = accounts.add_token("cron", "view", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2))
        await access.open(path)
        try:
            secret, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
            visitors = [access.identify_session(secret), access.identify_token(token)]
            assert None not in visitors
            changes = Changes(access)
            while any(visitor and access.current_role(visitor) for visitor in visitors):
                await changes.wait()
            assert (access.identify_session(secret), access.identify_token(token)) == (None, None)
            await access._run(lambda: None)  # after what its thread has to do
            assert accounts.sessions() == []
        finally:
            await access.close()


async def test_an_error_in_on_change_does_not_stop_the_polling(access: AuthService, path: Path) -> None:
    failed = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: failed.set())
    access.on_change = lambda: 1 / 0
    with open_accounts(path) as accounts:
        accounts.add_user("carla", "view", None)
        await asyncio.wait_for(failed.wait(), 20)
        changes = Changes(access)
        accounts.remove_user("carla")
        await changes.wait()


async def test_a_deleted_accounts_file_is_logged_once_and_allows_no_new_login(
    access: AuthService, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    secret, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
    backup = move_away(path)
    assert (await fail(access, password=PASSWORD)).code == "storage_error"
    assert (await fail(access, password=PASSWORD)).code == "storage_error"
    assert access.identify_session(secret) is not None
    lost = [message for message in caplog.messages if message.endswith("stay in use until the file can be read.")]
    assert len(lost) == 1
    with open_accounts(backup) as accounts:
        accounts.remove_user("anna")
    changes = Changes(access)
    backup.rename(path)
    await changes.wait()
    assert access.identify_session(secret) is None


def put_garbage(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database " * 1000)


async def test_damaged_accounts_fail_the_start(path: Path) -> None:
    put_garbage(path)
    access = AuthService(parameters=CHEAPEST)
    with pytest.raises(StartError, match=r"are damaged \(file is not a database\), so nobody can log in"):
        await access.open(path)
    await access.close()


# ---- passwords


async def test_neither_the_response_nor_the_work_reveals_if_a_user_exists(
    access: AuthService, path: Path, monkeypatch: pytest.MonkeyPatch
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
        error = await fail(access, name, password, ELSEWHERE.format(number))
        told.add((error.code, error.message, error.retry_after))
    assert told == {("wrong_password", "The name or the password is wrong. Try again.", None)}
    assert checked == [CHEAPEST] * len(tries)


async def test_passwords_are_compared_after_nfkc(access: AuthService, path: Path) -> None:
    with open_accounts(path) as accounts:
        accounts.set_password("anna", "Fußgänger ①")
    assert await access.log_in("anna", "Fußga\u0308nger 1", "192.0.2.1")
    assert (await fail(access, password="fußgänger 1")).code == "wrong_password"


async def test_a_login_renews_an_outdated_hash_and_ends_no_session(
    access: AuthService, path: Path
) -> None:
    before, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
    await access.close()
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
    access: AuthService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Hasher.matches

    def change_meanwhile(hasher: Hasher, known: str, password: bytes) -> bool:
        right = really(hasher, known, password)
        assert right
        with open_accounts(path) as accounts:
            accounts.set_password("anna", "another one")
        return right

    monkeypatch.setattr(Hasher, "matches", change_meanwhile)
    assert (await fail(access, password=PASSWORD)).code == "wrong_password"
    with open_accounts(path) as accounts:
        assert accounts.sessions() == []


async def test_an_unreadable_hash_is_a_wrong_password(access: AuthService, path: Path) -> None:
    with open_accounts(path) as accounts:
        accounts._database.execute("UPDATE users SET password = 'plain' WHERE key = 'anna'")
    assert (await fail(access, password="plain")).code == "wrong_password"
    assert (await fail(access, password=PASSWORD)).code == "wrong_password"


# ---- too many


async def test_after_too_many_wrong_passwords_the_correct_one_is_delayed_too(access: AuthService, clock: Clock) -> None:
    for _ in range(3):
        assert (await fail(access)).code == "wrong_password"
    error = await fail(access, password=PASSWORD, address="198.51.100.1")
    assert (error.code, error.message, error.retry_after) == (
        "rate_limited",
        "Too many wrong passwords were sent. Try again in 1 second.",
        1.0,
    )
    assert (await fail(access, name="ben", password=PASSWORD)).code == "rate_limited"
    clock.now += 1
    assert (await fail(access)).code == "wrong_password"
    error = await fail(access, password=PASSWORD)
    assert (error.code, error.retry_after) == ("rate_limited", 2.0)
    clock.now += 2
    await access.log_in("anna", PASSWORD, "192.0.2.1")
    assert (await fail(access, "ben")).code == "wrong_password"
    assert (await fail(access, "ben")).code == "rate_limited"  # by the address, which has that one attempt back alone
    assert (await fail(access)).code == "wrong_password"  # whose home it is now
    clock.now += 3600
    for _ in range(3):
        assert (await fail(access)).code == "wrong_password"


async def test_unknown_names_are_delayed_like_known_ones(access: AuthService) -> None:
    codes = [(await fail(access, "nobody", address=ELSEWHERE.format(number))).code for number in range(5)]
    assert codes == ["wrong_password"] * 3 + ["rate_limited"] * 2


async def test_parallel_attempts_do_not_exceed_the_limit_of_sequential_ones(access: AuthService) -> None:
    tries = [fail(access, address=ELSEWHERE.format(number)) for number in range(50)]
    codes = [error.code for error in await asyncio.gather(*tries)]
    assert codes == ["wrong_password"] * 3 + ["rate_limited"] * 47


async def test_logins_beyond_the_queue_are_refused_with_a_retry_after(
    access: AuthService,
) -> None:
    tries = [fail(access, f"user{number}", address=ELSEWHERE.format(number)) for number in range(50)]
    errors = await asyncio.gather(*tries)
    assert [error.code for error in errors] == ["wrong_password"] * MAX_CHECKS + ["overloaded"] * (50 - MAX_CHECKS)
    assert all(error.retry_after for error in errors[MAX_CHECKS:])
    # who was turned away had no password looked at, and it counts for nothing
    for _ in range(3):
        assert (await fail(access, "user49", address=ELSEWHERE.format(49))).code == "wrong_password"


async def test_one_account_or_network_can_not_fill_the_login_queue(path: Path) -> None:
    with open_accounts(path) as accounts:
        for name in ("anna", "ben"):
            accounts.add_user(name, "view", PASSWORD)
    access = AuthService(login_attempts=100, parameters=CHEAPEST)
    await access.open(path)

    async def try_to(name: str, password: str, address: str) -> str:
        try:
            await access.log_in(name, password, address)
        except RequestError as error:
            return error.code
        return "in"

    try:
        for _ in range(2):  # the places are free again
            of_anna = [try_to("ANNA", PASSWORD, ELSEWHERE.format(number)) for number in range(5)]
            of_network = [try_to(f"user{number}", "wrong", f"2001:db8::{number}") for number in range(5)]
            codes = await asyncio.gather(*of_anna, *of_network, try_to("ben", PASSWORD, "192.0.2.1"))
            assert codes[:5] == ["in"] * MAX_CHECKS_PER_KEY + ["overloaded"] * 2
            assert codes[5:10] == ["wrong_password"] * MAX_CHECKS_PER_KEY + ["overloaded"] * 2
            assert codes[10] == "in"
    finally:
        await access.close()


async def test_the_event_loop_is_not_blocked_while_passwords_are_verified(path: Path) -> None:
    access = AuthService()
    await access.open(path)
    try:
        logging_in = asyncio.create_task(fail(access))
        turns = 0
        while not logging_in.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 100
    finally:
        await access.close()


# ---- tickets


async def test_a_ticket_is_valid_once_and_returns_the_current_identity(
    access: AuthService, path: Path, clock: Clock
) -> None:
    secret, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
    visitor = access.identify_session(secret)
    assert visitor is not None
    tickets = [access.make_ticket(visitor)[0] for _ in range(3)]
    assert access.use_ticket(tickets[0]) == visitor
    assert access.use_ticket(tickets[0]) is None
    changes = Changes(access)
    with open_accounts(path) as accounts:
        accounts.set_role("anna", "capture")
        await changes.wait()
        used = access.use_ticket(tickets[1])
        assert used is not None
        assert (used.role, used.kind, used.key) == ("capture", "session", visitor.key)
        accounts.remove_user("anna")
        await changes.wait()
    assert access.use_ticket(tickets[2]) is None


async def test_a_ticket_expires_after_its_lifetime(access: AuthService, clock: Clock) -> None:
    visitor = Identity(role="view", name=None, kind="anonymous", key=b"")
    ticket, seconds = access.make_ticket(visitor)
    late, _ = access.make_ticket(visitor)
    clock.now += seconds - 0.001
    assert access.use_ticket(ticket) == visitor
    clock.now += 0.001
    assert access.use_ticket(late) is None


async def test_tickets_beyond_the_limit_replace_the_oldest(access: AuthService, clock: Clock) -> None:
    visitors = [Identity(role="view", name=f"user{n}", kind="local", key=b"") for n in range(MAX_TICKETS)]
    tickets = [access.make_ticket(visitor)[0] for visitor in (*visitors, *visitors[:2])]
    assert len(access._tickets) == MAX_TICKETS
    assert [access.use_ticket(ticket) for ticket in tickets[1:3]] == [None, visitors[2]]
    clock.now += 60
    for visitor in visitors:
        access.make_ticket(visitor)
    clock.now += 60
    access.make_ticket(visitors[0])
    access.make_ticket(visitors[1])
    assert len(access._tickets) < MAX_TICKETS


async def test_one_identitys_tickets_replace_only_its_own(access: AuthService) -> None:
    ben, anna = (Identity(role="view", name=name, kind="local", key=b"") for name in ("ben", "anna"))
    of_ben = access.make_ticket(ben)[0]
    of_anna = [access.make_ticket(anna)[0] for _ in range(MAX_TICKETS_PER_IDENTITY + 2)]
    assert [access.use_ticket(ticket) for ticket in of_anna[:3]] == [None, None, anna]
    assert access.use_ticket(of_ben) == ben


# ---- the first one


async def test_the_setup_secret_gives_one_session_with_the_role_manage(path: Path) -> None:
    access = AuthService(parameters=CHEAPEST)
    await access.open(path)
    try:
        assert access.needs_setup
        void = access.make_setup_secret()
        invitation = access.make_setup_secret()
        assert await access.accept_setup_secret(void) is None
        first, second = await asyncio.gather(*(access.accept_setup_secret(invitation) for _ in range(2)))
        assert second is None
        assert first is not None
        visitor = access.identify_session(first[0])
        assert visitor is not None
        assert (visitor.name, visitor.role) == ("owner", "manage")
        assert access.needs_setup  # for the next start, as long as there is no password
        assert (await fail(access, "owner", "")).code == "wrong_password"
        with open_accounts(path) as accounts:
            accounts.remove_user("owner")
        assert await access.accept_setup_secret(invitation) is None
    finally:
        await access.close()


def test_a_commands_change_is_applied_within_a_second() -> None:
    assert POLL_INTERVAL_SECONDS < MAX_PROPAGATION_SECONDS < 1


async def test_a_revoked_setup_secret_stays_revoked_after_the_manager_is_removed(path: Path) -> None:
    access = AuthService(parameters=CHEAPEST)
    await access.open(path)
    try:
        invitation = access.make_setup_secret()
        changes = Changes(access)
        with open_accounts(path) as accounts:
            accounts.add_user("ben", "manage", PASSWORD)
            await changes.wait()
            accounts.remove_user("ben")
            await changes.wait()
        assert access.needs_setup
        assert not access.is_setup_secret(invitation)
        assert await access.accept_setup_secret(invitation) is None
    finally:
        await access.close()


async def test_the_setup_secret_is_revoked_once_there_is_another_manager(path: Path) -> None:
    access = AuthService(parameters=CHEAPEST)
    await access.open(path)
    try:
        invitation = access.make_setup_secret()
        with open_accounts(path) as accounts:
            accounts.add_user("ben", "manage", PASSWORD)
        assert await access.accept_setup_secret(invitation) is None
        assert not access.needs_setup
        with open_accounts(path) as accounts:
            assert [user.name for user in accounts.users()] == ["ben"]
    finally:
        await access.close()


async def test_the_setup_secret_stays_valid_if_the_browser_disconnects(path: Path) -> None:
    access = AuthService(parameters=CHEAPEST)
    await access.open(path)
    try:
        invitation = access.make_setup_secret()
        leaving = asyncio.create_task(access.accept_setup_secret(invitation))
        await asyncio.sleep(0)  # until it waits for the file
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert access.is_setup_secret(invitation)
        assert await access.accept_setup_secret(invitation) is not None
    finally:
        await access.close()


async def test_the_setup_secret_stays_valid_if_the_accounts_can_not_be_written(path: Path) -> None:
    access = AuthService(parameters=CHEAPEST)
    await access.open(path)
    try:
        invitation = access.make_setup_secret()
        backup = move_away(path)
        with pytest.raises(RequestError) as error:
            await access.accept_setup_secret(invitation)
        assert error.value.code == "storage_error"
        backup.rename(path)
        assert await access.accept_setup_secret(invitation) is not None
    finally:
        await access.close()


# ---- a wrong clock


class WallClock:
    """The wall clock, and whether it is in doubt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = dt.timedelta()
        self.is_in_doubt = False
        for module in "access", "accounts":
            monkeypatch.setattr(f"dog.auth.{module}.now", self.now)

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead

    def deletion_time(self) -> dt.datetime | None:
        return None if self.is_in_doubt else self.now()


async def test_a_session_expired_by_a_wrong_clock_is_valid_again_and_deleted_only_by_a_trusted_clock(
    access: AuthService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await access.close()
    wall = WallClock(monkeypatch)
    access = AuthService(parameters=CHEAPEST, deletion_time=wall.deletion_time)
    with open_accounts(path) as accounts:
        token = accounts.add_token("cron", "capture", later(50))
    await access.open(path)
    try:
        changes = Changes(access)
        session, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
        known = access.identify_token(token), access.identify_session(session)
        assert None not in known
        wall.ahead, wall.is_in_doubt = dt.timedelta(days=900), True
        await changes.wait()
        assert (access.identify_token(token), access.identify_session(session)) == (None, None)
        other, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")  # which reads and writes the file
        await asyncio.sleep(2 * POLL_INTERVAL_SECONDS)
        wall.ahead = dt.timedelta()
        assert (access.identify_token(token), access.identify_session(session)) == known
        await asyncio.sleep(2 * POLL_INTERVAL_SECONDS)  # the clock that went back is noticed
        changes = Changes(access)
        wall.ahead = dt.timedelta(days=500)
        await changes.wait()
        await access.log_out(other)
        wall.is_in_doubt = False
        with open_accounts(path) as accounts:
            while accounts.sessions():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
            assert len(accounts.tokens()) == 1
        wall.ahead = dt.timedelta()
        assert access.identify_token(token) == known[0]
    finally:
        await access.close()


async def test_logout_ends_a_session_that_a_wrong_clock_calls_expired(
    access: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = WallClock(monkeypatch)
    monkeypatch.setattr(access, "_deletion_time", lambda: None)
    secret, _ = await access.log_in("anna", PASSWORD, "192.0.2.1")
    wall.ahead = dt.timedelta(days=31)
    await access.log_out(secret)
    wall.ahead = dt.timedelta()
    assert access.identify_session(secret) is None
