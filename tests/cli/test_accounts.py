"""`dog user` and `dog token`, as processes."""

import json
import os
import pty
import re
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from dog.auth import Accounts, accounts_path
from dog.auth.password_verifier import Hasher
from tests.conftest import Serve
from tests.support.module_process import start_dog
from tests.support.server_process import PYTHON_M_DOG, ROOT, clean_environment, run_dog

PASSWORD = "correct horse"
NO_MANAGER = (
    "dog: No user with the role manage can log in any more. The service prints a setup link when it starts next.\n"
)
FIRST_ACCOUNTS = "dog: These are the first accounts in {!r}. Only a service that stores its photos there uses them.\n"
NO_ACCOUNTS = "There are no accounts in '{}'. Add the first user with `dog user add`."
UNKNOWN = "The {0} 'ben' does not exist. `dog {0} list` shows all."


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return "password"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return accounts_path(tmp_path / "snapshots")


@pytest.fixture
def anna(path: Path) -> None:
    """Add the user Anna with the role manage."""
    with Accounts(path) as accounts:
        accounts.add_user("Anna", "manage", PASSWORD)


def dog(tmp_path: Path, *arguments: str) -> tuple[str, str, int]:
    ended = run_dog(*arguments, cwd=tmp_path)
    return ended.stdout, ended.stderr, ended.returncode


def assert_refused(ended: tuple[str, str, int], line: str, status: int = 1) -> None:
    assert ended == ("", f"dog: {line}\n", status)


def type_in(tmp_path: Path, arguments: Sequence[str], answers: Sequence[bytes]) -> tuple[str, int]:
    """Run the command at a terminal. Return the screen and the status."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.chdir(tmp_path)
        os.execvpe(PYTHON_M_DOG[0], [*PYTHON_M_DOG, *arguments], clean_environment({"PYTHONPATH": str(ROOT)}))
    seen, answered = b"", 0
    with open(terminal, "r+b", buffering=0) as screen:
        while True:
            try:
                seen += screen.read(1000)
            except OSError:  # the other end is closed
                break
            while answered < min(seen.count(b": "), len(answers)):
                screen.write(answers[answered])
                answered += 1
    return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])


# ---- users


def test_user_commands_add_list_change_and_remove_a_user(tmp_path: Path, password_file: str, path: Path) -> None:
    add = ("user", "add", "Anna", "--role", "view", "--password-file", password_file)
    first = FIRST_ACCOUNTS.format(str(tmp_path / "snapshots"))
    assert dog(tmp_path, *add) == ("Anna can log in with the role view.\n", first, 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dog(tmp_path, "user", "role", "ANNA", "manage") == ("ANNA has the role manage.\n", "", 0)
    with Accounts(path) as accounts:
        secret = accounts.add_session("anna", accounts.users()[0].created_at.replace(year=2100))
        assert Hasher().matches(accounts.users()[0].password or "", PASSWORD.encode())
    (tmp_path / password_file).write_bytes("ein anderes Paßwort\r\n".encode())
    output, errors, status = dog(tmp_path, "user", "list", "--json")
    user = json.loads(output)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]{12}Z", user.pop("created_at"))
    assert (user, errors, status) == ({"name": "Anna", "role": "manage", "has_password": True, "sessions": 1}, "", 0)
    output, errors, status = dog(tmp_path, "user", "list")
    assert re.fullmatch(
        r"Name +Role +Password +Created +Logged in *\nAnna +manage +yes +[\d-]{10} [\d:]{8} +once *\n", output
    )
    change = ("user", "password", "anna", "--password-file", password_file)
    assert dog(tmp_path, *change) == ("anna has a new password and is logged out everywhere.\n", "", 0)
    with Accounts(path) as accounts:
        assert accounts.sessions() == []
        assert Hasher().matches(accounts.users()[0].password or "", "ein anderes Paßwort".encode())
        assert secret
    assert dog(tmp_path, "user", "remove", "Anna") == (
        "Anna is removed and logged out everywhere.\n",
        NO_MANAGER,
        0,
    )
    assert dog(tmp_path, "user", "list") == ("There are no users yet.\n", "", 0)


def test_user_logout_removes_all_sessions(tmp_path: Path, path: Path, anna: None) -> None:
    with Accounts(path) as accounts:
        accounts.add_session("anna", accounts.users()[0].created_at.replace(year=2100))
        assert dog(tmp_path, "user", "logout", "anna") == ("anna is logged out everywhere.\n", "", 0)
        assert accounts.sessions() == []


@pytest.mark.parametrize(
    "arguments", [("role", "ben", "view"), ("remove", "ben"), ("logout", "ben"), ("password", "ben")]
)
def test_an_unknown_user_is_one_line(arguments: tuple[str, ...], tmp_path: Path, anna: None) -> None:
    assert_refused(dog(tmp_path, "user", *arguments), UNKNOWN.format("user"))


@pytest.mark.parametrize("arguments", [("user", "role", "ben", "view"), ("token", "remove", "ben")])
def test_commands_without_an_accounts_file_print_a_note_and_create_nothing(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    assert_refused(dog(tmp_path, *arguments), NO_ACCOUNTS.format(tmp_path / "snapshots"))
    errors = NO_ACCOUNTS.format(tmp_path / "snapshots")
    assert dog(tmp_path, arguments[0], "list", "--json") == ("", f"dog: {errors}\n", 0)
    assert not (tmp_path / "snapshots").exists()


def test_user_add_refuses_an_existing_name_before_it_asks_for_a_password(tmp_path: Path, anna: None) -> None:
    assert_refused(
        dog(tmp_path, "user", "add", "ANNA", "--role", "view"),
        "The user 'ANNA' exists already. Change it with `dog user role` or `dog user password`.",
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"short\n", "The password is too short. Use at least 8 characters."),
        (b"", "The password is too short. Use at least 8 characters."),
        (b"a" * 1025, "The password is too long or not text. Use at most 1024 bytes of UTF-8."),
        (b"Benjamin\n", "The password is the user's name. Use another one."),
        (b"\xff" * 10, "--password-file: 'given' is not UTF-8 text. Save it as UTF-8."),
        (b"password\nhint\n", "--password-file: 'given' has more than one line. Write only the password into it."),
    ],
)
def test_a_password_that_is_not_allowed_is_one_line(content: bytes, line: str, tmp_path: Path, path: Path) -> None:
    (tmp_path / "given").write_bytes(content)
    arguments = ("user", "add", "benjamin", "--role", "view", "--password-file", "given")
    assert_refused(dog(tmp_path, *arguments), line)
    with Accounts(path) as accounts:
        assert accounts.users() == []


def test_an_unreadable_or_endless_password_file_is_one_line(tmp_path: Path) -> None:
    arguments = ("user", "add", "ben", "--role", "view", "--password-file")
    line = "--password-file: '{}' can't be read: {}. Name a file that can be read."
    assert_refused(dog(tmp_path, *arguments, "none"), line.format("none", "no such file or directory"), 2)
    assert_refused(dog(tmp_path, *arguments, "."), line.format(".", "is a directory"), 2)
    long = "The password is too long or not text. Use at most 1024 bytes of UTF-8."
    assert_refused(dog(tmp_path, *arguments, "/dev/zero"), long)


def test_user_add_reads_a_password_from_stdin_and_stores_only_its_hash(tmp_path: Path, path: Path) -> None:
    ended = subprocess.run(
        [*PYTHON_M_DOG, "user", "add", "ben", "--role", "capture", "--password-file", "-"],
        cwd=tmp_path,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("ben can log in with the role capture.\n", 0)
    assert ended.stderr == FIRST_ACCOUNTS.format(str(tmp_path / "snapshots"))
    assert PASSWORD.encode() not in path.read_bytes()


def test_a_terminal_asks_twice_for_the_password_without_showing_it(tmp_path: Path, path: Path) -> None:
    arguments = ("user", "add", "ben", "--role", "view")
    seen, status = type_in(tmp_path, arguments, [b"correct horse\n"] * 2)
    first = FIRST_ACCOUNTS.format(str(tmp_path / "snapshots"))[:-1]
    assert (seen.split("\r\n"), status) == (
        ["Password: ", "Repeat the password: ", first, "ben can log in with the role view.", ""],
        0,
    )
    with Accounts(path) as accounts:
        assert Hasher().matches(accounts.find_user("ben").password or "", PASSWORD.encode())


@pytest.mark.parametrize(
    ("answers", "end", "status"),
    [
        ([b"correct horse\n", b"another one\n"], "dog: The passwords differ. Nothing was changed.\r\n", 1),
        ([b"\x04"], "dog: No password was entered. Nothing was changed.\r\n", 1),
        ([b"\x03"], "Password: ", 130),
    ],
)
def test_a_password_that_is_not_repeated_changes_nothing(
    answers: list[bytes], end: str, status: int, tmp_path: Path, path: Path, anna: None
) -> None:
    with Accounts(path) as accounts:
        before = accounts.users()
        seen, ended = type_in(tmp_path, ("user", "password", "anna"), answers)
        assert seen.replace("^C", "").rstrip("\r\n").endswith(end.rstrip("\r\n"))
        assert (ended, "Traceback" in seen, "horse" in seen) == (status, False, False)
        assert accounts.users() == before


def test_user_add_without_a_terminal_needs_a_password_file(tmp_path: Path) -> None:
    assert_refused(
        dog(tmp_path, "user", "add", "ben", "--role", "view"),
        "There is no terminal to ask for the password. Use --password-file. See dog user add --help.",
        2,
    )


def test_removing_the_last_manager_prints_a_warning(tmp_path: Path, path: Path, anna: None) -> None:
    assert dog(tmp_path, "user", "role", "anna", "view") == ("anna has the role view.\n", NO_MANAGER, 0)
    with Accounts(path) as accounts:
        accounts.add_token("cron", "manage", None)
    assert dog(tmp_path, "user", "remove", "anna")[1] == ""
    assert dog(tmp_path, "token", "remove", "cron") == ("cron is removed.\n", NO_MANAGER, 0)


# ---- tokens


def test_token_add_prints_only_the_token_and_only_once(tmp_path: Path, path: Path) -> None:
    output, errors, status = dog(tmp_path, "token", "add", "cron", "--role", "view", "--days", "2.5")
    assert re.fullmatch(r"dog_[\w-]{43}\n", output, re.ASCII)
    assert re.fullmatch(
        r"dog: This is the token cron\. It is shown only this once: store it where only the script can read it,"
        r" and send"
        r" it as 'Authorization: Bearer TOKEN'\. It expires at [\d-]{10} [\d:]{8}\.\n",
        errors.removeprefix(FIRST_ACCOUNTS.format(str(tmp_path / "snapshots"))),
    )
    assert status == 0
    with Accounts(path) as accounts:
        (token,) = accounts.tokens()
        assert token.expires_at is not None
        assert round((token.expires_at - token.created_at).total_seconds() / 86400, 3) == 2.5
    listed = [dog(tmp_path, "token", "list", *more) for more in ([], ["--json"])]
    assert all(output.strip() not in line for line, _, _ in listed)
    assert json.loads(listed[1][0]).keys() == {"name", "role", "created_at", "expires_at"}
    assert re.fullmatch(
        r"Name +Role +Created +Expires *\ncron +view +[\d-]{10} [\d:]{8} +[\d-]{10} [\d:]{8} *\n", listed[0][0]
    )
    assert_refused(
        dog(tmp_path, "token", "add", "CRON", "--role", "view"),
        "The token 'CRON' exists already. Remove it first, or use another name.",
    )
    assert dog(tmp_path, "token", "role", "cron", "capture") == ("cron has the role capture.\n", "", 0)
    assert dog(tmp_path, "token", "remove", "cron") == ("cron is removed.\n", "", 0)
    assert_refused(dog(tmp_path, "token", "remove", "ben"), UNKNOWN.format("token"))


def test_token_add_removes_the_token_if_it_can_not_print_it(tmp_path: Path, path: Path, anna: None) -> None:
    with open("/dev/full", "w") as full:
        adding = start_dog("token", "add", "cron", "--role", "view", cwd=tmp_path, stdout=full)
    assert adding.wait() == 1
    with Accounts(path) as accounts:
        assert accounts.tokens() == []


def test_user_logout_warns_if_the_user_has_no_password(tmp_path: Path, path: Path) -> None:
    with Accounts(path) as accounts:
        accounts.add_user("owner", "manage", None)
    errors = "dog: owner has no password and can't log in again. Set one with `dog user password`.\n"
    assert dog(tmp_path, "user", "logout", "owner") == ("owner is logged out everywhere.\n", errors, 0)


def test_a_missing_option_is_one_line(tmp_path: Path) -> None:
    assert_refused(
        dog(tmp_path, "user", "add", "ada"),
        "Missing option '--role'. Choose from: view, capture, manage. See dog user add --help.",
        2,
    )


def test_token_list_shows_endless_and_expired_tokens(tmp_path: Path, path: Path) -> None:
    with Accounts(path) as accounts:
        accounts.add_token("a", "view", None)
        made = accounts.tokens()[0].created_at
        accounts.add_token("b", "view", made.replace(year=2020))
    lines = dog(tmp_path, "token", "list")[0].splitlines()
    assert lines[1].rstrip().endswith("  never")
    assert re.search(r"  expired 2020-\d\d-\d\d [\d:]{8}$", lines[2].rstrip())


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "36501", "soon"])
def test_token_add_refuses_an_invalid_number_of_days(days: str, tmp_path: Path) -> None:
    assert_refused(
        dog(tmp_path, "token", "add", "cron", "--role", "view", "--days", days),
        f"Invalid value for '--days': {days!r} is not a number of days. Write a number above 0, at most 36500."
        f" See dog token add --help.",
        2,
    )


# ---- the file


def test_the_accounts_are_in_the_folder_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text('snapshots = "from-file"\n')
    add = ("token", "add", "cron", "--role", "view")
    assert dog(tmp_path, *add)[2] == 0
    assert dog(tmp_path, *add, "--snapshots", "from-flag")[2] == 0
    assert run_dog(*add, cwd=tmp_path, env={"DOG_SNAPSHOTS": "from-variable"}).returncode == 0
    for folder in "from-file", "from-flag", "from-variable":
        assert accounts_path(tmp_path / folder).is_file()


@pytest.mark.parametrize("command", [("user", "list"), ("token", "add", "cron", "--role", "view")])
def test_damaged_accounts_are_one_line_and_are_not_changed(
    command: tuple[str, ...], tmp_path: Path, path: Path
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database " * 1000)
    path.chmod(0o600)
    assert_refused(
        dog(tmp_path, *command),
        f"The accounts in '{path}' are damaged (file is not a database), so nobody can log in. Restore the file"
        " from a backup, or remove it and add the users again with `dog user add`.",
        2,
    )
    assert path.read_bytes() == b"no database " * 1000


def test_commands_create_accounts_before_a_start_and_change_them_during_a_run(
    tmp_path: Path, password_file: str, path: Path, serve: Serve
) -> None:
    add = ("user", "add", "{}", "--role", "view", "--password-file", password_file)
    assert dog(tmp_path, *(each.format("anna") for each in add))[2] == 0
    server = serve()
    assert dog(tmp_path, *(each.format("ben") for each in add))[2] == 0
    assert dog(tmp_path, "user", "remove", "anna")[2] == 0
    assert server.stop() == 0
    with Accounts(path) as accounts:
        assert [user.name for user in accounts.users()] == ["ben"]


def test_ctrl_c_at_the_password_prompt_adds_no_user(tmp_path: Path, path: Path) -> None:
    _, status = type_in(tmp_path, ("user", "add", "ben", "--role", "view"), [b"\x03"])
    assert status == 130
    with Accounts(path) as accounts:
        assert accounts.users() == []
