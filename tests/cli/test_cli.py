"""The command line as processes: output and exit status."""

import inspect
import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from dog import __version__
from dog.cli import main
from dog.errors import SettingError, StartError
from dog.settings import ALL_SETTINGS, COMMON_SETTINGS, SETTINGS, Setting, Settings, load
from dog.web.server import _listen_error
from tests.conftest import Serve
from tests.support.camera_programs import write_program
from tests.support.server_process import run_dog

WRONG = {
    "host": "a b",
    "port": "65536",
    "base_url": "dog.example.org",
    "origins": "https://a.example/b",
    "embed": "https://[2001:db8::1]",
    "camera": "webcam:0",
    "dead_time": "-1",
    "capture_timeout": "0",
    "image_type": "gif",
    "resolution": "640",
    "frame_rate": "0",
    "pixel_format": "jpeg",
    "controls": "brightness",
    "latency": "-1",
    "preview_rate": "0",
    "warm_up": "61",
    "black_level": "2",
    "retake": "-1",
    "frozen": "maybe",
    "snapshots": "a\nb",
    "default_picture": "a\nb",
    "message_rate": "0",
    "message_burst": "0",
    "picture_cache": "-1",
    "max_connections": "0",
    "max_connections_per_address": "0",
    "max_viewers_per_address": "0",
    "log_file": "a\nb",
    "log_level": "loud",
    "keep_days": "0",
    "keep_photos": "0",
    "keep_size": "1.5",
    "keep_free": "0",
    "keep_scaled": "-5",
    "exif": "perhaps",
    "snapshots_mount": "/mnt",
    "auth": "perhaps",
    "anonymous": "everything",
    "open": "perhaps",
    "session_days": "0",
    "hosts": "http://dog.lan",
    "trusted_proxies": "the-proxy",
    "tls_certificate": "a\x1bb",
    "tls_key": "a\x1bb",
    "login_attempts": "0",
    "presses_per_minute": "0",
    "requests_per_minute": "59",
    "private_addresses": "perhaps",
    "discard": "-1",
    "tls_fingerprint": "AB:CD",
    "download_per_hour": "0",
    "password_file": "a\x1bb",
}


def assert_refused(ended: "subprocess.CompletedProcess[str]", line: str, status: int = 2) -> None:
    assert (ended.stderr, ended.stdout, ended.returncode) == (f"dog: {line}\n", "", status)


# ---- errors at the start


@pytest.mark.parametrize("source", ["flag", "variable", "file"])
@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_wrong_setting_fails_the_start_with_one_line_that_names_it_and_its_source(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    setting, text = SETTINGS[name], WRONG[name]
    flags: dict[str, str | None] = {name: text} if source == "flag" else {}
    environ = {setting.variable: text} if source == "variable" else {}
    if source == "file":
        number = setting.kind in (int, float)
        Path("dog.toml").write_text(f"{name} = {text if number else json.dumps(text)}\n")
    with pytest.raises(SettingError) as error:
        load(flags, environ, Path())
    named = {
        "flag": f"{setting.flag} (command line): ",
        "variable": f"{setting.variable} (environment): ",
        "file": f"{name} (dog.toml line 1): ",
    }[source]
    assert str(error.value).startswith(named)
    arguments = [setting.flag, text] if source == "flag" else []
    assert_refused(run_dog("serve", *arguments, cwd=tmp_path, env=environ), str(error.value))
    assert not Path("server.log").exists()


def test_a_missing_or_invalid_settings_file_fails_the_start(tmp_path: Path) -> None:
    assert_refused(
        run_dog("serve", "--config", "nope.toml", cwd=tmp_path),
        "--config (command line): the file nope.toml can't be read: no such file or directory. Name a file that"
        " can be read.",
    )
    (tmp_path / "dog.toml").write_text("port = 1\nprot = 2\n")
    assert_refused(run_dog("serve", cwd=tmp_path), "prot (dog.toml line 2): unknown setting. Did you mean port?")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_in_use_is_named_with_its_source(taken: int, tmp_path: Path) -> None:
    problem = f"{taken} is in use on 127.0.0.1. Stop the program that uses it, or write another one (0: a free one)."
    assert_refused(run_dog("serve", "--port", str(taken), cwd=tmp_path), f"--port (command line): {problem}", 75)
    environment = {"DOG_PORT": str(taken)}
    assert_refused(run_dog("serve", cwd=tmp_path, env=environment), f"DOG_PORT (environment): {problem}", 75)
    (tmp_path / "dog.toml").write_text(f"port = {taken}")
    assert_refused(run_dog("serve", cwd=tmp_path), f"port (dog.toml line 1): {problem}", 75)
    # the log has it too, once for each start
    assert (tmp_path / "server.log").read_text().count(problem) == 3


@pytest.mark.parametrize(
    ("host", "problem", "status"),
    [
        ("192.0.2.1", "'192.0.2.1' is not an address of this machine. Write one that is, such as 127.0.0.1.", 75),
        ("a..b", "'a..b' is unknown. Write an address or a name of this machine.", 2),
    ],
)
def test_a_host_that_is_not_of_this_machine_fails_the_start(
    host: str, problem: str, status: int, tmp_path: Path
) -> None:
    refused = run_dog("serve", "--open", "--host", host, "--port", "0", cwd=tmp_path)
    assert_refused(refused, f"--host (command line): {problem}", status)


def test_errors_of_listening_name_the_setting_and_the_reason() -> None:
    """Test only the messages: the errors need a broken network."""
    settings = Settings(port=80)
    assert str(_listen_error(PermissionError(13, "Permission denied"), settings)) == (
        "--port (default): 80 is not permitted to this user. Write one from 1024 to 65535."
    )
    other = _listen_error(OSError(105, "No buffer space available"), settings)
    assert isinstance(other, StartError)
    assert str(other) == "The port 80 of 127.0.0.1 can't be used: No buffer space available. Write another port."


def test_a_file_instead_of_the_snapshots_folder_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("")
    ended = run_dog("serve", "--port", "0", cwd=tmp_path)
    assert re.fullmatch(r"dog: --snapshots \(default\): [^\n]*snapshots[^\n]*\n", ended.stderr)
    assert ended.returncode == 2


@pytest.mark.parametrize(
    ("mode", "reason", "status"),
    [(None, "does not exist", 75), (0o644, "is not executable. Run chmod \\+x on it", 2)],
)
def test_a_camera_program_that_can_not_be_run_fails_the_start(
    mode: int | None, reason: str, status: int, tmp_path: Path
) -> None:
    if mode is not None:
        write_program(tmp_path / "camera.sh", "#!/bin/sh\n", mode)
    ended = run_dog("serve", "--port", "0", cwd=tmp_path, env={"DOG_CAMERA": "script:./camera.sh"})
    assert re.fullmatch(rf"dog: DOG_CAMERA \(environment\): [^\n]*camera.sh {reason}[^\n]*\n", ended.stderr)
    assert ended.returncode == status


def test_a_log_file_that_can_not_be_opened_fails_the_start(tmp_path: Path) -> None:
    assert_refused(
        run_dog("serve", "--log-file", "logs/server.log", cwd=tmp_path),
        "--log-file (command line): logs/server.log can't be written: no such file or directory. "
        "Name another file, or - for none.",
        75,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["serve", "--prot", "1"], "--prot"),
        (["sevre"], "'sevre'"),
        (["serve", "extra"], "extra"),
        (["serve", "--port"], "'--port'"),
    ],
)
def test_an_unknown_option_or_command_is_one_line(arguments: list[str], named: str, tmp_path: Path) -> None:
    ended = run_dog(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert re.fullmatch(rf"dog: [^\n]*{named}[^\n]* See dog( serve)? --help\.\n", ended.stderr)


# ---- help and version


@pytest.mark.parametrize(("option", "shown"), [("--help", COMMON_SETTINGS), ("--help-all", ALL_SETTINGS)])
def test_help_shows_the_common_settings_and_help_all_shows_all(
    option: str, shown: Sequence[Setting], tmp_path: Path
) -> None:
    ended = run_dog("serve", option, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    text = " ".join(ended.stdout.split())
    for setting in shown:
        info = setting.info
        assert f"{setting.flag} {info.metavar} {info.meaning} Write {info.expected}. [" in text
        assert f"[{setting.variable}; default: {setting.default}]" in text
    options = re.findall(r"^  (?:-h, )?(--[\w-]+)", ended.stdout, re.MULTILINE)
    assert options == [*(setting.flag for setting in shown), "--help-all", "--help"]
    assert re.findall(r"^(\w.*):$", ended.stdout, re.MULTILINE) == [
        *dict.fromkeys(setting.info.group for setting in shown),
        "Help",
    ]


def test_the_common_settings_are_a_dozen() -> None:
    assert len(COMMON_SETTINGS) == 12
    assert set(COMMON_SETTINGS) < set(ALL_SETTINGS)


@pytest.mark.parametrize("group", [[], ["album"], ["user"], ["token"]], ids=" ".join)
def test_the_command_list_shows_whole_descriptions_at_80_columns(group: list[str], tmp_path: Path) -> None:
    commands = main.commands
    for name in group:
        found = commands[name]
        assert isinstance(found, click.Group)
        commands = found.commands
    ended = run_dog(*group, "--help", cwd=tmp_path, env={"COLUMNS": "80"})
    rows = dict(re.findall(r"^  (\w+)  +(.*)$", ended.stdout.split("Commands:\n")[1], re.MULTILINE))
    assert rows.keys() == commands.keys()
    for name, command in commands.items():
        assert rows[name].endswith(".")
        assert not rows[name].endswith("...")
        assert inspect.cleandoc(command.help or "").startswith(rows[name])
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_dog_prints_its_version_and_its_commands(tmp_path: Path) -> None:
    assert run_dog("--version", cwd=tmp_path).stdout == f"dog, version {__version__}\n"
    assert re.search(r"^  serve  +Serve", run_dog("--help", cwd=tmp_path).stdout, re.MULTILINE)


# ---- running


def test_the_start_logs_the_url_once_and_serves_the_page_there(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    line = f"D.O.G. is at http://127.0.0.1:{server.port}  (Ctrl-C ends it)"
    with urllib.request.urlopen(f"{server.url}/healthz", timeout=10) as answer:
        assert answer.status == 200
    assert server.stop() == 0
    assert server.stderr.splitlines().count(line) == 1
    assert server.stderr.count("D.O.G. is at") == 1
    assert (tmp_path / "server.log").read_text().count(line) == 1


def test_settings_of_all_three_sources_reach_the_service(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text('dead_time = 3\nsnapshots = "from-file"\nlog_file = "from-file.log"')
    server = serve("--log-file", "from-flag.log", env={"DOG_DEAD_TIME": "7", "DOG_LOG_FILE": "from-variable.log"})
    with urllib.request.urlopen(f"{server.url}/api/cameras", timeout=10) as answer:
        assert json.load(answer)["cameras"][0]["dead_time"] == 7
    assert server.stop() == 0
    assert (tmp_path / "from-file").is_dir()
    assert (tmp_path / "from-flag.log").is_file()
    assert not (tmp_path / "from-variable.log").exists()


def test_the_start_logs_the_url_at_every_log_level(serve: Serve) -> None:
    server = serve("--log-level", "error", "--log-file", "-")
    assert server.stop() == 0
    assert server.stderr == f"D.O.G. is at {server.url}  (Ctrl-C ends it)\n"


def test_the_setup_link_uses_base_url(serve: Serve) -> None:
    server = serve("--auth", "--host", "0.0.0.0", "--base-url", "https://dog.example.org/cam/")
    server.wait_for("/enter/")
    assert re.findall(r"(\S+)/enter/[\w-]{43}", server.stderr) == ["https://dog.example.org/cam"]


def test_the_start_logs_a_url_that_browsers_can_open(serve: Serve) -> None:
    server = serve("--open", "--host", "0.0.0.0", "--base-url", "https://dog.example.org/cam/")
    assert server.url == f"http://127.0.0.1:{server.port}"
    found = server.wait_for(r"D\.O\.G\. is at (.*)  \(")
    assert found[1].startswith(f"{server.url} and ")
    assert found[1].endswith(" and https://dog.example.org/cam")
    assert "0.0.0.0" not in found[1]


def test_the_start_logs_an_ipv6_url_in_brackets(serve: Serve) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = serve("--host", "::1")
    assert server.url == f"http://[::1]:{server.port}"
    assert server.stop() == 0
    assert serve("--open", "--host", "::").url.startswith("http://[::1]:")


def test_an_unknown_variable_is_a_warning_that_can_not_forge_a_log_line(serve: Serve, tmp_path: Path) -> None:
    server = serve(env={"DOG_A\n2026-11-22T11:14:38.123Z INFO dog.cli forged": "1", "DOG_PROT": "1"})
    assert server.stop() == 0
    for text in (server.stderr, (tmp_path / "server.log").read_text()):
        assert "unknown setting. Did you mean DOG_PORT?" in text
        assert r"DOG_A\n2026-11-22T11:14:38.123Z INFO dog.cli forged (environment): unknown setting" in text
        assert not any(line.startswith("2026-11-22T11:14:38.123Z") for line in text.splitlines())


def test_a_retired_flag_is_accepted_with_a_warning(serve: Serve, tmp_path: Path) -> None:
    warning = "--settle (command line): this setting was removed and has no effect. Delete it here."
    server = serve("--settle", "0.5")
    assert server.stop() == 0
    assert server.stderr.count(warning) == (tmp_path / "server.log").read_text().count(warning) == 1
    checked = run_dog("check", "--settle", "0.5", cwd=tmp_path)
    assert (checked.stderr, checked.returncode) == (f"dog: {warning}\n", 0)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_requests_are_logged_at_debug_only(level: str, serve: Serve, tmp_path: Path) -> None:
    server = serve("--log-level", level)
    urllib.request.urlopen(f"{server.url}/healthz", timeout=10).close()
    assert server.stop() == 0
    assert ('"GET /healthz' in (tmp_path / "server.log").read_text()) is (level == "debug")


def test_a_password_in_a_mistaken_argument_is_not_shown(tmp_path: Path) -> None:
    ended = run_dog("serve", "rtsp://me:s3cret@192.0.2.7/a", cwd=tmp_path)
    assert ended.returncode == 2
    assert "rtsp://***@192.0.2.7/a" in ended.stderr
    assert "s3cret" not in ended.stderr
