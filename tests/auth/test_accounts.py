"""The accounts file: contents, permissions, crashes and damage."""

import datetime as dt
import hashlib
import itertools
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from argon2.profiles import CHEAPEST

from dog.auth import ROLES, Accounts, AccountsError, NoAccounts, accounts_path, allows
from dog.auth.accounts import MAX_SESSIONS_PER_USER
from dog.auth.password_verifier import ARGON2_PARAMETERS, Hasher
from dog.auth.secrets import secret_digest
from dog.errors import StartError
from dog.snapshots import SnapshotStore
from tests.support.files import replace_by_link
from tests.support.server_process import ROOT

PASSWORD = "correct horse"
HOUR = dt.timedelta(hours=1)
ENDLESS = """
import itertools, pathlib, sys
from dog.auth import Accounts
with Accounts(pathlib.Path(sys.argv[1])) as accounts:
    for number in itertools.count(int(sys.argv[2])):
        accounts.add_token(f"t{number}", "view", None)
        print(number, flush=True)
"""
"""A program that adds one token after the other and prints the number of each that is stored."""
SEVERAL = """
import pathlib, sys
from dog.auth import Accounts
with Accounts(pathlib.Path(sys.argv[1])) as accounts:
    for number in range(25):
        accounts.add_token(f"{sys.argv[2]}-{number}", "view", None)
"""
HALF = """
import os, pathlib, signal, stat, sys
os.umask(0)
seen = []
def hook(event, args):
    if event == "sqlite3.connect":
        seen.append(oct(stat.S_IMODE(path.stat().st_mode)))
    if event == "os.chmod":
        seen.append("was otherwise before")
sys.addaudithook(hook)
from dog.auth import Accounts
path = pathlib.Path(sys.argv[1])
accounts = Accounts(path)
accounts.add_token("whole", "view", None)
accounts._database.execute("PRAGMA cache_size = 5")
with accounts._transaction() as database:
    database.execute("UPDATE tokens SET role = 'manage'")
    for number in range(500):
        database.execute("INSERT INTO users VALUES (?, ?, 'manage', NULL, 0)", (f"u{number}", "x" * 100))
    print(*seen, *(f"{file.name}:{oct(stat.S_IMODE(file.stat().st_mode))}" for file in sorted(path.parent.iterdir())))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A program without a umask that prints the files' modes and is killed during a partly written change."""


def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def open_accounts(path: Path, create: bool = True) -> Accounts:
    return Accounts(path, create=create, hasher=Hasher(CHEAPEST))


@pytest.fixture
def accounts(path: Path) -> Iterator[Accounts]:
    """Accounts with one user: Anna with the role view."""
    with open_accounts(path) as accounts:
        accounts.add_user("Anna", "view", PASSWORD)
        yield accounts


def later(hours: float = 1) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + hours * HOUR


# ---- roles, names and passwords


def test_each_role_has_the_rights_of_the_ones_before_it() -> None:
    table = [[allows(role, needed) for needed in (None, *ROLES)] for role in (None, *ROLES)]
    assert table == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


@pytest.mark.parametrize("name", ["a", "0", "anna.b-c_d@e", "Jürgen", "李", "a" * 64])
def test_valid_names_are_accepted(name: str, accounts: Accounts) -> None:
    accounts.add_user(name, "view", PASSWORD)
    assert accounts.find_user(name.upper()).name == name


@pytest.mark.parametrize(
    "name", ["", " ", "-a", ".a", "_a", "@a", "a b", "a/b", "a\nb", "a\0", "a\u202eb", "a" * 65, "ﬀ" * 33, "a\ud800"]
)
def test_invalid_names_are_refused(name: str, accounts: Accounts) -> None:
    with pytest.raises(
        AccountsError, match=r"^'.*' is not a valid name\. Start with a letter or a digit, .*, at most 64 characters\.$"
    ):
        accounts.add_user(name, "view", PASSWORD)
    with pytest.raises(AccountsError, match="is not a valid name"):
        accounts.add_token(name, "view", None)


def test_names_are_compared_without_case_and_after_nfkc(accounts: Accounts) -> None:
    accounts.add_user("Straße", "view", None)
    for name in "STRASSE", "strasse", "ｓｔｒａｓｓｅ":
        with pytest.raises(AccountsError, match=r"(?i)The user 'strasse' exists already"):
            accounts.add_user(name, "view", None)
    accounts.set_role("STRASSE", "manage")
    assert [(user.name, user.role) for user in accounts.users()] == [("Anna", "view"), ("Straße", "manage")]


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("7 chars", r"too short\. Use at least 8 characters"),
        ("a\u0308" * 7, "too short"),
        ("a" * 1025, "too long"),
        ("ä" * 513, "too long"),
        ("\ufdfa" * 100, "too long"),
        ("half \ud800 a character", "not text"),
        ("Benjamin", "is the user's name"),
        ("ｂｅｎｊａｍｉｎ", "is the user's name"),
    ],
)
def test_a_password_that_is_not_allowed_is_refused_in_one_line(password: str, reason: str, accounts: Accounts) -> None:
    accounts.add_user("BenJamin", "view", PASSWORD)
    before = accounts.find_user("benjamin")
    with pytest.raises(AccountsError, match=reason) as error:
        accounts.set_password("benjamin", password)
    assert "\n" not in str(error.value)
    assert password not in str(error.value)
    assert accounts.find_user("benjamin") == before
    accounts.remove_user("benjamin")
    with pytest.raises(AccountsError, match=reason):
        accounts.add_user("benjamin", "view", password)
    assert [user.name for user in accounts.users()] == ["Anna"]


@pytest.mark.parametrize("password", ["8 chars.", "\0" * 8, "ä" * 512, "a" * 1024, " " * 8, "line\nline", "🐶" * 8])
def test_unusual_passwords_are_accepted(password: str, accounts: Accounts) -> None:
    accounts.set_password("anna", password)
    before = accounts.find_user("anna").password
    assert before is not None
    assert Hasher(CHEAPEST).matches(before, unicodedata.normalize("NFKC", password).encode())


def test_passwords_are_hashed_with_the_parameters_of_rfc_9106_in_one_thread(path: Path) -> None:
    with Accounts(path) as accounts:
        accounts.add_user("Anna", "view", PASSWORD)
        hashed = accounts.find_user("anna").password
    assert hashed is not None
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert ARGON2_PARAMETERS.parallelism == 1


def test_no_password_token_or_session_is_in_the_file_or_in_a_repr(accounts: Accounts, path: Path) -> None:
    secrets = [PASSWORD, accounts.add_token("cron", "view", None), accounts.add_session("anna", later())]
    shown = repr((accounts.users(), accounts.tokens(), accounts.sessions()))
    hashes = [accounts.find_user("anna").password or "", repr(accounts.tokens()[0].hash)]
    accounts.close()
    data = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for secret in secrets:
        assert secret.encode() not in data
    for text in (*secrets, *hashes):
        assert text not in shown


def test_removed_data_is_overwritten_in_the_file(accounts: Accounts, path: Path) -> None:
    hashed = accounts.find_user("anna").password
    assert hashed is not None
    assert hashed.encode() in path.read_bytes()
    accounts.remove_user("anna")
    assert hashed.encode() not in path.read_bytes()


# ---- users, tokens, sessions


def test_transaction_an_unknown_user_or_token_is_an_error(accounts: Accounts) -> None:
    acts: list[Callable[[], object]] = [
        lambda: accounts.set_role("ben", "manage"),
        lambda: accounts.set_password("ben", PASSWORD),
        lambda: accounts.remove_user("ben"),
        lambda: accounts.find_user("ben"),
        lambda: accounts.add_session("ben", later()),
        lambda: accounts.remove_sessions("ben"),
    ]
    for act in acts:
        with pytest.raises(AccountsError, match=r"^The user 'ben' does not exist\. `dog user list` shows all\.$"):
            act()
    for act in (lambda: accounts.set_token_role("ben", "view"), lambda: accounts.remove_token("ben")):
        with pytest.raises(AccountsError, match=r"^The token 'ben' does not exist\. `dog token list` shows all\.$"):
            act()
    assert [user.name for user in accounts.users()] == ["Anna"]


@pytest.mark.parametrize("text", ["", "dog_", "a" * 42, "a" * 44, "a" * 43 + "\n", "ä" * 43, "\0" * 43, "\ud800" * 43])
def test_an_invalid_secret_has_no_digest(text: str) -> None:
    assert secret_digest("a" * 43) == hashlib.sha256(b"a" * 43).digest()
    assert secret_digest(text) is secret_digest(f"dog_{text}", "dog_") is secret_digest("a" * 43, "dog_") is None


def test_a_token_is_stored_by_its_digest_under_a_unique_name(accounts: Accounts) -> None:
    ends = later().replace(microsecond=0)
    secret = accounts.add_token("Anna", "capture", ends)
    assert re.fullmatch(r"dog_[\w-]{43}", secret, re.ASCII)
    (token,) = accounts.tokens()
    assert (token.name, token.role, token.expires_at) == ("Anna", "capture", ends)
    assert token.hash == hashlib.sha256(secret.encode()).digest()
    with pytest.raises(AccountsError, match=r"^The token 'ANNA' exists already\. Remove it first, or"):
        accounts.add_token("ANNA", "view", None)
    accounts.set_token_role("anna", "manage")
    assert accounts.tokens()[0].role == "manage"
    accounts.remove_token("ANNA")
    assert accounts.tokens() == []


def test_a_new_password_or_a_removal_ends_all_sessions_and_a_new_role_ends_none(accounts: Accounts) -> None:
    accounts.add_user("ben", "view", PASSWORD)
    for name in ("anna", "ben", "anna"):
        accounts.add_session(name, later())
    accounts.set_role("anna", "manage")
    users = sorted(session.user for session in accounts.sessions())  # two may start in the same millisecond
    assert users == ["anna", "anna", "ben"]
    accounts.set_password("anna", "another one")
    assert [session.user for session in accounts.sessions()] == ["ben"]
    accounts.remove_user("ben")
    assert accounts.sessions() == []
    assert accounts.add_session("anna", later())
    assert accounts.remove_sessions("anna") == 1


def test_a_new_user_does_not_inherit_sessions_of_a_user_removed_by_hand(accounts: Accounts, path: Path) -> None:
    accounts.add_session("anna", later())
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM users")
    assert len(accounts.sessions()) == 1
    accounts.add_user("anna", "manage", PASSWORD)
    assert accounts.sessions() == []


def test_remove_expired_sessions_uses_the_given_time(accounts: Accounts) -> None:
    for hours in -3, -1, 2:
        accounts.add_session("anna", later(hours))
    accounts.remove_expired_sessions(later(-2))
    assert len(accounts.sessions()) == 2
    accounts.remove_expired_sessions(later())
    assert len(accounts.sessions()) == 1


def test_a_session_beyond_the_limit_removes_the_users_oldest_one(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add_user("ben", "view", PASSWORD)
    accounts.add_session("ben", later())
    start = dt.datetime.now(dt.UTC)
    secrets = []
    for second in range(MAX_SESSIONS_PER_USER + 2):
        monkeypatch.setattr("dog.auth.accounts.now", lambda second=second: start + dt.timedelta(seconds=second))
        secrets.append(accounts.add_session("anna", later()))
    left = {session.hash for session in accounts.sessions() if session.user == "anna"}
    assert left == {secret_digest(secret) for secret in secrets[2:]}
    assert len(accounts.sessions()) == MAX_SESSIONS_PER_USER + 1


def test_has_manager_needs_a_user_with_a_password_or_a_valid_token(accounts: Accounts) -> None:
    def check(expected: bool) -> None:
        assert accounts.has_manager() is expected

    check(False)
    accounts.set_role("anna", "manage")
    check(True)
    accounts.remove_user("anna")
    accounts.add_user("owner", "manage", None)
    check(False)
    accounts.add_session("owner", later())  # can be lost with its cookie
    check(False)
    accounts.add_token("ended", "manage", later(-1))
    accounts.add_token("view", "view", None)
    check(False)
    accounts.add_token("endless", "manage", None)
    check(True)


def test_create_owner_session_takes_no_other_users_password_or_session(accounts: Accounts) -> None:
    accounts.add_user("owner", "view", PASSWORD)
    accounts.add_user("Owner-2", "view", None)
    accounts.add_session("owner-2", later())
    assert accounts.create_owner_session(later())
    roles = {user.name: (user.role, user.password is None) for user in accounts.users()}
    others = {"Anna": ("view", False), "owner": ("view", False), "Owner-2": ("view", True)}
    assert roles == {**others, "owner-3": ("manage", True)}
    assert len(accounts.sessions()) == 2
    accounts.set_password("owner-3", PASSWORD)
    assert accounts.create_owner_session(later()) is None


def test_a_second_owner_session_is_of_the_same_user_and_keeps_the_first(accounts: Accounts) -> None:
    first = accounts.create_owner_session(later())
    second = accounts.create_owner_session(later())
    assert first != second
    assert [user.name for user in accounts.users()] == ["Anna", "owner"]
    assert len(accounts.sessions()) == 2


# ---- the file


async def test_the_private_folder_is_private_whichever_part_creates_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for folder in ("accounts", "old", "older"):
            if folder != "accounts":
                (tmp_path / folder / ".dog").mkdir(parents=True)
        with open_accounts(accounts_path(tmp_path / "accounts")), open_accounts(accounts_path(tmp_path / "old")):
            pass
        older = SnapshotStore(tmp_path / "older")
        await older.open()
        await older.close()
        store = SnapshotStore(tmp_path / "snapshots")
        await store.open()
        await store.close()
    finally:
        os.umask(before)
    for folder in ("accounts", "old", "older", "snapshots"):
        assert stat.S_IMODE((tmp_path / folder / ".dog").stat().st_mode) == 0o700


def test_the_file_and_its_journal_are_private_and_a_killed_change_is_rolled_back(
    path: Path,
) -> None:
    with start(HALF, path) as half:
        said = half.communicate()[0].split()
    assert half.returncode == -signal.SIGKILL
    assert said == ["0o600", "access.sqlite3:0o600", "access.sqlite3-journal:0o600"]
    assert path.read_bytes().count(b"manage") > 100
    with open_accounts(path) as accounts:
        assert accounts.users() == []
        assert [(token.name, token.role) for token in accounts.tokens()] == [("whole", "view")]
    assert [file.name for file in path.parent.iterdir()] == ["access.sqlite3"]


def test_a_file_that_others_can_read_is_made_private(
    accounts: Accounts, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.chmod(0o644)
    with open_accounts(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert caplog.messages == [f"Other users could read {path}. Its permissions are now 0600."]


def test_accounts_are_not_created_without_create(path: Path) -> None:
    with pytest.raises(
        NoAccounts, match=r"There are no accounts in '.*/snapshots'\. Add the first user with `dog user add`\."
    ):
        open_accounts(path, create=False)
    assert not path.parent.parent.exists()


def test_a_finished_change_survives_a_sigkill(path: Path) -> None:
    printed = -1
    for _ in range(8):
        with start(ENDLESS, path, printed + 2) as process:  # one more may be stored than was printed
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            process.kill()
            lines += process.stdout.readlines()
        whole = [int(line) for line in lines if line.endswith("\n")]
        with open_accounts(path) as accounts:
            names = {token.name for token in accounts.tokens()}
        assert {f"t{number}" for number in whole} <= names
        printed = max(whole)
    assert len(names) >= 24


def test_parallel_processes_create_one_file_and_lose_no_change(path: Path) -> None:
    path.parent.mkdir(parents=True)
    processes = [start(SEVERAL, path, letter) for letter in "abcd"]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4
    with open_accounts(path) as accounts:
        expected = sorted(f"{letter}-{number}" for letter in "abcd" for number in range(25))
        assert [token.name for token in accounts.tokens()] == expected


def test_the_version_changes_when_another_connection_changes_or_replaces_the_file(
    accounts: Accounts, path: Path, tmp_path: Path
) -> None:
    shutil.copy(path, tmp_path / "backup")
    version = accounts.version()
    accounts.set_role("anna", "manage")
    assert accounts.version() == version
    with open_accounts(path) as others:
        others.add_user("ben", "view", None)
    changed = accounts.version()
    assert changed != version
    os.replace(tmp_path / "backup", path)
    assert accounts.version() not in (version, changed)
    assert [(user.name, user.role) for user in accounts.users()] == [("Anna", "view")]
    accounts.add_user("carla", "view", None)
    with open_accounts(path) as others:
        assert [user.name for user in others.users()] == ["Anna", "carla"]


def test_a_deleted_file_is_an_error_and_is_not_created_again(accounts: Accounts, path: Path) -> None:
    path.unlink()
    acts: list[Callable[[], object]] = [accounts.version, accounts.read, lambda: accounts.set_role("anna", "manage")]
    for act in acts:
        with pytest.raises(StartError, match="can't be used: no such file or directory"):
            act()
    assert not path.exists()


def test_a_lock_that_is_held_too_long_is_an_error_in_one_line(
    accounts: Accounts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.auth.accounts._BUSY_TIMEOUT_SECONDS", 0.01)
    with open_accounts(path) as impatient, closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StartError,
            match=r"can't be used: database is locked \(by another program.*\)\. Make room, .*, or try again\.$",
        ):
            impatient.set_role("anna", "manage")
        holder.execute("ROLLBACK")
        impatient.set_role("anna", "manage")


def test_a_transaction_locks_the_file_from_its_beginning(
    accounts: Accounts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.auth.accounts._BUSY_TIMEOUT_SECONDS", 0.01)
    with open_accounts(path) as others, accounts._transaction(), pytest.raises(StartError, match="database is locked"):
        others.set_role("anna", "manage")
    assert not accounts.has_manager()


def add_tokens(accounts: Accounts, number: int) -> None:
    for each in range(number):
        accounts.add_token(f"t{each}", "view", None)


def test_a_full_disk_is_an_error_in_one_line_and_changes_nothing(accounts: Accounts) -> None:
    pages = accounts._database.execute("PRAGMA page_count").fetchone()[0]
    accounts._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StartError, match=r"can't be used: database or disk is full\. Make room"):
        add_tokens(accounts, 1000)
    before = accounts.tokens()
    accounts._database.execute("PRAGMA max_page_count = 1000")
    accounts.add_token("more", "view", None)
    assert len(accounts.tokens()) == len(before) + 1


# ---- damage


def put_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def wipe_a_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)
    path.write_bytes(data)


def put_another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE users (key, name, role, password, created_at)")


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")


def put_nonsense(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE users SET created_at = 'yesterday'")


def make_up_a_role(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute("UPDATE users SET role = 'root'")


DAMAGES = [put_garbage, cut_off, wipe_a_page, put_another_database, make_newer, put_nonsense, make_up_a_role]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_accounts_are_refused_with_advice_and_are_not_changed(
    damage: Callable[[Path], None], accounts: Accounts, path: Path
) -> None:
    accounts.close()
    damage(path)
    data = path.read_bytes()
    with pytest.raises(StartError) as error:
        open_accounts(path)
    assert re.fullmatch(
        rf"The accounts in '{re.escape(str(path))}' are damaged \([^\n]+\), so nobody can log in\."
        r" Restore the file from a backup, or remove it and add the users again with `dog user add`\.",
        str(error.value),
    )
    assert path.read_bytes() == data


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("place", [put_folder, replace_by_link])
def test_a_folder_or_a_link_instead_of_the_file_is_refused(
    place: Callable[[Path], None], accounts: Accounts, path: Path
) -> None:
    accounts.close()
    place(path)
    with pytest.raises(StartError, match=r"is not a file\. Remove it\.$"):
        open_accounts(path)


def test_a_link_instead_of_the_private_folder_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.parent.parent.mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match=r"is a symbolic link, not a folder\. Remove it\."):
        open_accounts(path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_flipped_bit_never_makes_a_manager_or_an_error_other_than_damage(accounts: Accounts, path: Path) -> None:
    accounts.add_token("cron", "capture", later())
    accounts.add_session("anna", later())
    accounts.close()
    data = path.read_bytes()
    taken, said = 0, set()
    places = [place for place, byte in enumerate(data) if byte]
    for place, bit in zip(places, itertools.cycle(range(8)), strict=False):
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            again = open_accounts(path)
        except StartError as error:
            said.add(str(error))
            continue
        with again:
            assert not again.has_manager()
        taken += 1
    assert "argon2" not in "".join(said)
    assert {re.sub(r"\(.*", "", line) for line in said} == {f"The accounts in '{path}' are damaged "}
    assert 0 < taken < len(places) * 19 // 20
