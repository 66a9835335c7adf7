"""Settings from flags, variables and dog.toml."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.errors import SettingError
from dog.settings import (
    ALL_SETTINGS,
    CONFIG,
    RETIRED_SETTINGS,
    SETTINGS,
    Setting,
    Settings,
    Source,
    load,
    settings_table,
    split_camera,
)
from tests.support.server_process import ROOT

DOCS = ROOT / "docs" / "settings.md"
COMMAND_LINE = "command line"

# for every setting: text that is right, and the value it becomes; never the default, nor twice the same
RIGHT: dict[str, list[tuple[str, Any]]] = {
    "host": [("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("camera.example.org", "camera.example.org")],
    "port": [("0", 0), ("80", 80), ("65535", 65535)],
    "base_url": [
        ("https://dog.example.org/cam/", "https://dog.example.org/cam"),
        ("http://10.0.0.7:81", "http://10.0.0.7:81"),
        ("HTTPS://Dog.Example.org:443/~me/A%20b", "https://dog.example.org/~me/A%20b"),
    ],
    "origins": [
        ("https://a.example", ("https://a.example",)),
        ("http://B.example:81/, https://[::1]:443", ("http://b.example:81", "https://[::1]")),
        ("http://localhost:80", ("http://localhost",)),
    ],
    "embed": [
        ("https://home.example:8123", ("https://home.example:8123",)),
        ("http://192.0.2.9:80/, HTTPS://Wall.example", ("http://192.0.2.9", "https://wall.example")),
        ("http://homeassistant.local:8123/", ("http://homeassistant.local:8123",)),
    ],
    "auth": [("true", True), ("false", False), ("1", True)],
    "anonymous": [("view", "view"), ("capture", "capture"), ("manage", "manage")],
    "open": [("true", True), ("false", False), ("0", False)],
    "session_days": [("0.5", 0.5), ("7", 7.0), ("3650", 3650.0)],
    "hosts": [("Dog.lan", ("dog.lan",)), ("a,b.c", ("a", "b.c")), ("x-1.example", ("x-1.example",))],
    "trusted_proxies": [
        ("127.0.0.1", ("127.0.0.1",)),
        ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
        ("fd00::/8", ("fd00::/8",)),
    ],
    "private_addresses": [("true", True), ("false", False), ("1", True)],
    "tls_certificate": [("a.pem", Path("a.pem")), ("/b.pem", Path("/b.pem")), ("c d/e.pem", Path("c d/e.pem"))],
    "tls_key": [("a.key", Path("a.key")), ("/b.key", Path("/b.key")), ("c d/e.key", Path("c d/e.key"))],
    "login_attempts": [("1", 1), ("5", 5), ("10000", 10_000)],
    "presses_per_minute": [("1", 1), ("30", 30), ("100000", 100_000)],
    "requests_per_minute": [("60", 60), ("3000", 3000), ("1000000", 1_000_000)],
    "download_per_hour": [("1", 1), ("500", 500), ("1000000000", 1_000_000_000)],
    "camera": [
        ("script:one.sh", "script:one.sh"),
        ("script:/bin/two", "script:/bin/two"),
        ("script:a:b", "script:a:b"),
        ("v4l2:/dev/v4l/by-id/usb-Acme_Webcam-video-index0", "v4l2:/dev/v4l/by-id/usb-Acme_Webcam-video-index0"),
        ("rtsp://me@192.0.2.7:8554/cam?a=b", "rtsp://me@192.0.2.7:8554/cam?a=b"),
        ("http://[2001:db8::1]/snapshot.jpg", "http://[2001:db8::1]/snapshot.jpg"),
        ("picamera:1", "picamera:1"),
        ("faulty:cut=0.3,seed=7", "faulty:cut=0.3,seed=7"),
    ],
    "dead_time": [("0", 0.0), ("2.5", 2.5), ("3600", 3600.0)],
    "capture_timeout": [("0.001", 0.001), ("60", 60.0), ("600", 600.0)],
    "image_type": [("jpeg", "jpeg"), ("png", "png"), ("webp", "webp")],
    "resolution": [("640x480", "640x480"), ("99999x1", "99999x1"), ("1920x1080", "1920x1080")],
    "frame_rate": [("0.1", 0.1), ("15", 15.0), ("1000", 1000.0)],
    "pixel_format": [("MJPG", "MJPG"), ("YUYV", "YUYV"), ("RGB3", "RGB3")],
    "controls": [
        ("brightness=-3", {"brightness": -3}),
        (
            "auto_exposure=Manual Mode, exposure_time_absolute=200",
            {"auto_exposure": "Manual Mode", "exposure_time_absolute": 200},
        ),
        ("horizontal_flip=true,AnalogueGain=2.5", {"horizontal_flip": True, "AnalogueGain": 2.5}),
    ],
    "latency": [("0.3", 0.3), ("1", 1.0), ("60", 60.0)],
    "discard": [("0", 0), ("1", 1), ("10", 10)],
    "tls_fingerprint": [
        ("ab" * 32, "ab" * 32),
        (":".join(["0F"] * 32), "0f" * 32),
        ("09aF" * 16, "09af" * 16),
    ],
    "preview_rate": [("0.5", 0.5), ("5", 5.0), ("60", 60.0)],
    "warm_up": [("0", 0.0), ("5", 5.0), ("60", 60.0)],
    "black_level": [("0", 0.0), ("0.05", 0.05), ("1", 1.0)],
    "retake": [("0", 0.0), ("5", 5.0), ("60", 60.0)],
    "frozen": [("false", False), ("0", False), ("true", True)],
    "password_file": [("a", Path("a")), ("/b", Path("/b")), ("c d/e", Path("c d/e"))],
    "snapshots": [("a", Path("a")), ("/b", Path("/b")), ("c d/e", Path("c d/e"))],
    "default_picture": [("a.png", Path("a.png")), ("/b.jpg", Path("/b.jpg")), ("c/d.svg", Path("c/d.svg"))],
    "message_rate": [("0.5", 0.5), ("20", 20.0), ("1000", 1000.0)],
    "message_burst": [("1", 1), ("100", 100), ("10000", 10000)],
    "picture_cache": [("0", 0), ("100", 100), ("1000000", 1_000_000)],
    "keep_days": [("0.5", 0.5), ("30", 30.0), ("36500", 36500.0)],
    "keep_photos": [("1", 1), ("5000", 5000), ("100000000", 100_000_000)],
    "keep_size": [("1", 1), ("20000", 20_000), ("1000000000", 1_000_000_000)],
    "keep_free": [("1", 1), ("1024", 1024), ("1000000000", 1_000_000_000)],
    "keep_scaled": [("0", 0), ("64", 64), ("1000000", 1_000_000)],
    "exif": [("true", True), ("false", False), ("0", False)],
    "snapshots_mount": [("true", True), ("false", False), ("1", True)],
    "max_connections": [("1", 1), ("500", 500), ("1000000", 1_000_000)],
    "max_connections_per_address": [("1", 1), ("20", 20), ("1000000", 1_000_000)],
    "max_viewers_per_address": [("1", 1), ("40", 40), ("1000000", 1_000_000)],
    "log_file": [("a.log", Path("a.log")), ("/b.log", Path("/b.log")), ("-", None)],
    "log_level": [("debug", "debug"), ("warning", "warning"), ("error", "error")],
}

WRONG: dict[str, list[str]] = {
    "host": ["", "http://a", "localhost:8080", "[::1]", "a b", "a\nb"],
    "port": ["", "x", "-1", "65536", "80.5", "nan", " 80", "8_0", "0x50"],
    "base_url": [
        "dog",
        "ftp://a",
        "https://",
        "https://a?",
        "https://a?b=c",
        "https://a#b",
        "https://a#",
        "https://me@a",
        "https://me:word@a",
        "https://a:99999",
        "https://a:b",
        "https://a/b c",
        "https://a/../b",
        "https://a//b",
        "https://a/b\\c",
        "https://[::1",
        'https://a/"b',
        "https://ä.example",
        "https://a b",
    ],
    "origins": ["x", "*", "null", "https://a/b", "https://a,,https://b", "https://a,b", "https://me@a"],
    "embed": [
        "home.example",
        "*",
        "https://*.example.org",
        "'self'",
        "https://a/b",
        "https://a;script-src",
        "https://a b",
        "https://[::1]:8123",
        "ftp://a",
    ],
    "camera": [
        *(
            "",
            "Test",
            "webcam",
            "test:",
            "test:1",
            "script",
            "script:",
            ":x",
            "v4l2",
            "v4l2:",
            "rtsp:",
            "rtsp:a",
            "rtsp://",
        ),
        *(
            "http:///a",
            "http://[::1",
            "rtsp://a:b",
            "rtsp://a:99999",
            "picamera:",
            "picamera:one",
            "picamera:-1",
            "faulty:",
        ),
    ],
    "auth": ["", "maybe", "2"],
    "anonymous": ["", "everything", "View"],
    "open": ["", "maybe", "2"],
    "session_days": ["", "0", "3650.1", "nan"],
    "hosts": ["a b", "http://a", "a:80", "a..b", "a/b", "*"],
    "trusted_proxies": ["proxy", "10.0.0.1/8", "1.2.3.4.5", "*"],
    "private_addresses": ["", "yes", "2"],
    "tls_certificate": ["a\x00b", "~nobody-of-this-name/a"],
    "tls_key": ["a\x00b", "~nobody-of-this-name/a"],
    "login_attempts": ["", "0", "10001", "1.5"],
    "presses_per_minute": ["", "0", "100001", "1.5"],
    "requests_per_minute": ["", "59", "1000001", "60.5"],
    "download_per_hour": ["", "0", "1000000001", "1.5"],
    "dead_time": ["", "x", "-0.1", "3600.1", "nan", "inf", "1s", "1,5"],
    "capture_timeout": ["", "0", "-1", "600.1", "nan", "inf"],
    "image_type": ["", "gif", ".jpg", "JPG"],
    "resolution": ["640", "640x", "0x480", "640X480", "640 x 480", "640x480x3", "100000x1"],
    "frame_rate": ["0", "-1", "1000.5", "fast", "nan"],
    "pixel_format": ["mjpg", "MJPEG", "RGB", "YUYV "],
    "controls": ["=5", "a=1,a=2", "brightness", "brightness=1,contrast", "a=b\x00"],
    "latency": ["", "-0.1", "60.5", "nan"],
    "discard": ["", "-1", "11", "1.5"],
    "tls_fingerprint": ["ab", "ab" * 31, "g" * 64, "sha256:" + "ab" * 32],
    "preview_rate": ["", "0", "60.5"],
    "warm_up": ["", "-1", "60.5"],
    "black_level": ["", "-0.1", "1.1"],
    "retake": ["", "-1", "60.5"],
    "frozen": ["", "maybe", "2"],
    "password_file": ["a\x1bb"],
    "snapshots": ["", "a\x00b", "a\nb", "~nobody-of-this-name/a"],
    "default_picture": ["a\x1bb"],
    "message_rate": ["", "0", "-1", "1000.5", "nan"],
    "message_burst": ["", "0", "1.5", "10001"],
    "picture_cache": ["", "-1", "1000001", "1.5", "32MiB"],
    "keep_days": ["0", "-1", "36501", "a week"],
    "keep_photos": ["0", "1.5", "100000001"],
    "keep_size": ["0", "1.5", "20G"],
    "keep_free": ["0", "1.5", "1G"],
    "keep_scaled": ["-1", "1000001", ""],
    "exif": ["", "maybe"],
    "snapshots_mount": ["", "/mnt"],
    "max_connections": ["", "0", "1000001", "1.5", "many"],
    "max_connections_per_address": ["", "0", "1000001", "1.5", "many"],
    "max_viewers_per_address": ["", "0", "1000001", "1.5", "many"],
    "log_file": ["a\rb"],
    "log_level": ["", "INFO", "trace"],
}

settings_and_right = [
    pytest.param(setting, text, value, id=f"{name}={text}")
    for name, setting in SETTINGS.items()
    for text, value in RIGHT[name]
]
settings_and_wrong = [
    pytest.param(setting, text, id=f"{name}={text!r}") for name, setting in SETTINGS.items() for text in WRONG[name]
]


def refuse(flags: dict[str, str | None], environ: dict[str, str], folder: Path) -> SettingError:
    with pytest.raises(SettingError) as caught:
        load(flags, environ, folder)
    assert "\n" not in str(caught.value)
    return caught.value


def write_toml(folder: Path, text: str) -> Path:
    file = folder / "dog.toml"
    file.write_text(text)
    return file


def as_toml(setting: Setting, text: str) -> str:
    """Return the line of dog.toml for the text of a flag."""
    if setting.kind == tuple[str, ...]:
        return f"{setting.name} = [{', '.join(repr(part.strip()) for part in text.split(','))}]"
    if setting.name == "controls":
        pairs = (part.strip().split("=") for part in text.split(","))
        inside = (
            f"{name} = {value if re.fullmatch(r'-?[0-9.]+|true|false', value) else repr(value)}"
            for name, value in pairs
        )
        return f"controls = {{ {', '.join(inside)} }}"
    if setting.kind is bool:
        return f"{setting.name} = {'true' if text in ('true', '1') else 'false'}"
    return f"{setting.name} = {text if setting.kind in (int, float) else repr(text)}"


def test_settings_without_any_source_are_the_defaults(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path)
    assert settings == Settings()
    assert settings == Settings(
        host="127.0.0.1",
        port=8080,
        base_url=None,
        origins=(),
        camera="test",
        dead_time=1.0,
        capture_timeout=15.0,
        image_type="jpg",
        snapshots=Path("snapshots"),
        default_picture=None,
        message_rate=10.0,
        message_burst=60,
        log_file=Path("server.log"),
        log_level="info",
    )


@pytest.mark.parametrize(("setting", "text", "value"), settings_and_right)
def test_a_valid_value_is_loaded_from_the_command_line(setting: Setting, text: str, value: Any, tmp_path: Path) -> None:
    settings = load({setting.name: text}, {}, tmp_path)
    assert getattr(settings, setting.name) == value
    assert settings.sources == {setting.name: Source(setting.flag, COMMAND_LINE)}


@pytest.mark.parametrize(("setting", "text", "value"), settings_and_right)
def test_a_valid_value_is_loaded_from_the_environment(setting: Setting, text: str, value: Any, tmp_path: Path) -> None:
    settings = load({setting.name: None}, {setting.variable: text}, tmp_path)
    assert getattr(settings, setting.name) == value
    assert settings.source_of(setting.name) == Source(setting.variable, "environment")


@pytest.mark.parametrize(("setting", "text", "value"), settings_and_right)
def test_a_valid_value_is_loaded_from_the_file(setting: Setting, text: str, value: Any, tmp_path: Path) -> None:
    file = write_toml(tmp_path, f"# a comment\n{as_toml(setting, text)}\n")
    settings = load({}, {}, tmp_path)
    if isinstance(value, Path):
        value = tmp_path / value
    elif setting.name == "camera" and value.startswith("script:"):
        value = f"script:{tmp_path / split_camera(value)[1]}"
    assert getattr(settings, setting.name) == value
    assert settings.source_of(setting.name) == Source(setting.name, f"{file} line 2")


@pytest.mark.parametrize(("setting", "text"), settings_and_wrong)
def test_a_wrong_value_is_refused_with_its_flag_or_variable_and_advice(
    setting: Setting, text: str, tmp_path: Path
) -> None:
    error = refuse({setting.name: text}, {}, tmp_path)
    assert (error.setting, error.source) == (setting.flag, COMMAND_LINE)
    again = refuse({}, {setting.variable: text}, tmp_path)
    assert (again.setting, again.source) == (setting.variable, "environment")
    assert again.problem == error.problem
    assert re.search(r"\. (Write|Leave|Remove) .*\.$", error.problem)
    assert repr(text)[:80] in error.problem or setting.name in ("origins", "camera")


@pytest.mark.parametrize(
    ("flags", "environ", "line"),
    [
        (
            {"port": "80800"},
            {},
            "--port (command line): '80800' is not valid. Write a whole number from 0 to 65535 (0: any free port).",
        ),
        (
            {"dead_time": "1s"},
            {},
            "--dead-time (command line): '1s' is not valid. Write a number of seconds from 0 to 3600.",
        ),
        (
            {},
            {"DOG_IMAGE_TYPE": "gif"},
            "DOG_IMAGE_TYPE (environment): 'gif' is not valid. Write one of jpg, jpeg, png, webp.",
        ),
        (
            {"camera": "v4l:0"},
            {},
            "--camera (command line): 'v4l:0' is not a kind of camera. Write one of test, script:PATH,"
            " v4l2:DEVICE, rtsp://ADDRESS, rtsps://ADDRESS, http://ADDRESS, https://ADDRESS, picamera:NUMBER,"
            " faulty:FAULTS.",
        ),
        (
            {"host": "localhost:80"},
            {},
            "--host (command line): 'localhost:80' contains a port. Leave it out, and write the port as the"
            " setting port.",
        ),
        (
            {"snapshots": "~nobody-of-this-name/a"},
            {},
            "--snapshots (command line): '~nobody-of-this-name/a' begins with an unknown home folder. "
            "Write the whole path.",
        ),
        ({"config": ""}, {}, "--config (command line): '' is not valid. Write the path of a TOML file."),
    ],
)
def test_an_error_line_names_the_setting_the_source_and_the_advice(
    flags: dict[str, str | None], environ: dict[str, str], line: str, tmp_path: Path
) -> None:
    assert str(refuse(flags, environ, tmp_path)) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            'host = "::"\nport = "80"',
            "port ({file} line 2): '80' is not valid. Write a whole number from 0 to 65535 (0: any free port),"
            " without quotes.",
        ),
        (
            "port = true",
            "port ({file} line 1): true is not valid. Write a whole number from 0 to 65535 (0: any free port).",
        ),
        (
            "port = 80.0",
            "port ({file} line 1): 80.0 is not valid. Write a whole number from 0 to 65535 (0: any free port).",
        ),
        (
            "[port]\na = 1",
            "port ({file} line 1): {{'a': 1}} is not valid. Write a whole number from 0 to 65535 (0: any free port).",
        ),
        ("snapshots = 5", "snapshots ({file} line 1): 5 is not valid. Write the path of a folder."),
        ("dead_time = nan", "dead_time ({file} line 1): nan is not valid. Write a number of seconds from 0 to 3600."),
        (
            "log_file = false",
            'log_file ({file} line 1): false is not valid. Write the path of a file; leave it empty or write "-"'
            " for none.",
        ),
        ("\nprot = 80", "prot ({file} line 2): unknown setting. Did you mean port?"),
        ("dead-time = 1", "dead-time ({file} line 1): unknown setting. Did you mean dead_time?"),
        (
            "zzzzzz = 1",
            "zzzzzz ({file} line 1): unknown setting. The settings are " + ", ".join(SETTINGS) + ".",
        ),
        (
            "port 80",
            "dog.toml (working directory): the file {file} is not valid TOML: "
            "Expected '=' after a key in a key/value pair (at line 1, column 6). Correct it.",
        ),
        (
            'origins = "https://a.example"',
            "origins ({file} line 1): 'https://a.example' is not valid. Write "
            + SETTINGS["origins"].info.expected
            + ".",
        ),
        (
            'origins = ["https://a.example/b"]',
            "origins ({file} line 1): 'https://a.example/b' has a path. Remove everything after the host or the port.",
        ),
    ],
)
def test_a_mistake_in_the_file_is_reported_with_its_line(text: str, line: str, tmp_path: Path) -> None:
    file = write_toml(tmp_path, text)
    assert str(refuse({}, {}, tmp_path)) == line.format(file=file)


def test_a_line_number_is_reported_only_if_it_is_unambiguous(tmp_path: Path) -> None:
    file = write_toml(tmp_path, 'port = -1\nhost = """\nport = 1"""')
    assert refuse({}, {}, tmp_path).source == str(file)


def test_the_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_toml(tmp_path, "\ufeffport = 81")
    assert load({}, {}, tmp_path).port == 81


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_bytes(b"host = '\xff'")
    assert "is not UTF-8 text. Save it as UTF-8." in str(refuse({}, {}, tmp_path))


@pytest.mark.parametrize("depth", [50, 200, 300, 330, 400, 3000])
@pytest.mark.parametrize("key", ["port", "origins", "nothing"])
def test_a_deeply_nested_file_is_refused_in_one_line(depth: int, key: str, tmp_path: Path) -> None:
    write_toml(tmp_path, f"{key} = {'[' * depth}{']' * depth}")
    error = refuse({}, {}, tmp_path)
    if depth == 3000:
        assert "nested too deeply" in error.problem


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_number_with_too_many_digits_is_refused_in_one_line(number: str, tmp_path: Path) -> None:
    write_toml(tmp_path, f"port = {number}")
    refuse({}, {}, tmp_path)


def test_a_pipe_or_a_device_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in "/dev/zero", "pipe":
        assert "it is not a regular file. Name a file that can be read." in str(refuse({"config": name}, {}, tmp_path))
    assert load({"config": "/dev/null"}, {}, tmp_path).port == 8080
    (tmp_path / "round").symlink_to("round")
    assert "too many levels of symbolic links. Name a file" in str(refuse({"config": "round"}, {}, tmp_path))


def test_a_file_of_more_than_1_mib_is_not_read(tmp_path: Path) -> None:
    text = "port = 81\n#"
    file = write_toml(tmp_path, text.ljust(1024 * 1024, "x"))
    assert load({}, {}, tmp_path).port == 81
    file.write_text(text.ljust(1024 * 1024 + 1, "x"))
    assert str(refuse({}, {}, tmp_path)).endswith("is larger than 1 MiB. Name another file.")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "nope.toml"
    assert str(refuse({}, {"DOG_CONFIG": "nope.toml"}, tmp_path)) == (
        f"DOG_CONFIG (environment): the file {path} can't be read: no such file or directory. Name a file that"
        f" can be read."
    )
    # the flag counts more
    assert refuse({"config": str(tmp_path)}, {"DOG_CONFIG": "nope.toml"}, tmp_path).setting == "--config"


def test_a_named_file_is_read_instead_of_the_one_in_the_working_directory(tmp_path: Path) -> None:
    write_toml(tmp_path, "port = 1\ndead_time = 2")
    (tmp_path / "other.toml").write_text("port = 3")
    settings = load({"config": "other.toml"}, {}, tmp_path)
    assert (settings.port, settings.dead_time) == (3, 1.0)


def test_paths_in_the_file_start_at_its_folder_and_home_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    folder = tmp_path / "etc"
    folder.mkdir()
    write_toml(
        folder, 'snapshots = "shots"\ncamera = "script:./camera.sh"\ndefault_picture = "~/dog.png"\nlog_file = "/a.log"'
    )
    settings = load({"config": "etc/dog.toml"}, {}, tmp_path)
    assert settings.snapshots == folder / "shots"
    assert settings.camera == f"script:{folder / 'camera.sh'}"
    assert settings.default_picture == Path("/home/someone/dog.png")
    assert settings.log_file == Path("/a.log")
    # the others start at the working directory
    settings = load({"config": "etc/dog.toml", "snapshots": "here", "camera": "script:~/c"}, {}, tmp_path)
    assert settings.snapshots == Path("here")
    assert settings.camera == "script:/home/someone/c"


@pytest.mark.parametrize("name", ["log_file", "default_picture", "base_url", "origins"])
def test_an_empty_text_is_none_for_optional_settings(name: str, tmp_path: Path) -> None:
    setting = SETTINGS[name]
    write_toml(tmp_path, as_toml(setting, RIGHT[name][0][0]))
    assert getattr(load({}, {}, tmp_path), name)
    assert not getattr(load({}, {setting.variable: ""}, tmp_path), name)
    assert not getattr(load({name: ""}, {}, tmp_path), name)


def test_the_scheme_of_a_camera_s_url_may_be_in_capitals(tmp_path: Path) -> None:
    settings = load({"camera": "RTSP://me@Porch.lan/Cam"}, {}, tmp_path)
    assert (settings.camera, settings.camera_kind) == ("rtsp://me@Porch.lan/Cam", "rtsp")


def test_an_error_of_a_password_says_how_to_write_it(tmp_path: Path) -> None:
    problem = refuse({}, {"DOG_CAMERA": "http://me:a?b@192.0.2.7/"}, tmp_path).problem
    assert problem == (
        "'http:***@192.0.2.7/' is not a valid URL. In a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25, or put"
        " the password into a file and name the file in `password_file`."
    )


def test_a_camera_is_split_into_its_kind_and_its_argument() -> None:
    assert (Settings().camera_kind, Settings().camera_argument) == ("test", "")
    settings = Settings(camera="script:/a/b:c.sh")
    assert (settings.camera_kind, settings.camera_argument) == ("script", "/a/b:c.sh")


def test_a_later_error_names_the_source_of_the_setting(tmp_path: Path) -> None:
    settings = load({"port": "80"}, {"DOG_SNAPSHOTS": "a"}, tmp_path)
    assert str(settings.error("port", "80 is in use")) == "--port (command line): 80 is in use"
    assert str(settings.error("snapshots", "no")) == "DOG_SNAPSHOTS (environment): no"
    assert str(settings.error("dead_time", "no")) == "--dead-time (default): no"


def test_an_unknown_dog_variable_is_a_warning_and_other_variables_are_ignored(tmp_path: Path) -> None:
    settings = load({}, {"DOG_PROT": "1", "DOG_CONFIG": str(write_toml(tmp_path, "")), "PORT": "2"}, tmp_path)
    assert settings.warnings == ("DOG_PROT (environment): unknown setting. Did you mean DOG_PORT?",)
    assert settings.port == 8080


def test_a_wrong_value_is_refused_even_if_another_overrides_it(tmp_path: Path) -> None:
    assert refuse({"port": "80"}, {"DOG_PORT": "x"}, tmp_path).setting == "DOG_PORT"


# ---- settings that have become constants


@pytest.mark.parametrize("name", RETIRED_SETTINGS)
def test_a_retired_setting_is_ignored_with_one_warning_that_names_it(name: str, tmp_path: Path) -> None:
    flag, variable = f"--{name.replace('_', '-')}", f"DOG_{name.upper()}"
    file = write_toml(tmp_path, f'port = 81\n{name} = "anything"\n[cameras.porch]\ncamera = "test"\n{name} = 0.5\n')
    settings = load({name: "0.5"}, {variable: "x"}, tmp_path)
    written = [
        f"{name} ({file} line 2)",
        f"cameras.porch.{name} ({file} line 5)",
        f"{variable} (environment)",
        f"{flag} (command line)",
    ]
    assert settings.warnings == tuple(
        f"{one}: this setting was removed and has no effect. Delete it here." for one in written
    )
    assert settings.port == 81
    assert settings.sources.keys() == {"port"}
    assert settings.by_camera()["porch"].sources.keys() == {"port", "camera"}


@pytest.mark.parametrize("name", RETIRED_SETTINGS)
def test_a_retired_setting_is_in_the_docs_and_no_longer_a_setting(name: str) -> None:
    assert name not in SETTINGS
    assert f"`{name}`" in DOCS.read_text().split("## Settings that are constants now")[1]


# which of the three valid values each source gives to each setting, or None if it gives none
choices = st.dictionaries(
    st.sampled_from(sorted(SETTINGS)),
    st.tuples(*[st.none() | st.integers(0, 2) for _ in range(3)]),
)


@given(choices)
def test_flags_override_variables_override_the_file_overrides_defaults(
    tmp_path_factory: pytest.TempPathFactory, chosen: dict[str, tuple[int | None, int | None, int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("working")
    flags: dict[str, str | None] = {}
    environ: dict[str, str] = {}
    lines = []
    for name, (flag, variable, line) in chosen.items():
        flags[name] = None if flag is None else RIGHT[name][flag][0]
        if variable is not None:
            environ[SETTINGS[name].variable] = RIGHT[name][variable][0]
        if line is not None:
            lines.append(as_toml(SETTINGS[name], RIGHT[name][line][0]))
    write_toml(folder, "\n".join(lines))
    settings = load(flags, environ, folder)
    for name, setting in SETTINGS.items():
        flag, variable, line = chosen.get(name, (None, None, None))
        if flag is not None:
            expected = Settings(**{name: RIGHT[name][flag][1]}), setting.flag
        elif variable is not None:
            expected = Settings(**{name: RIGHT[name][variable][1]}), setting.variable
        elif line is not None:
            write_toml(folder, as_toml(setting, RIGHT[name][line][0]))
            expected = load({}, {}, folder), name
        else:
            expected = Settings(), setting.flag
        assert getattr(settings, name) == getattr(expected[0], name)
        assert settings.source_of(name).written == expected[1]


def test_the_table_in_the_docs_matches_the_code() -> None:
    assert settings_table(ALL_SETTINGS) in DOCS.read_text()


def test_the_table_has_every_setting_once() -> None:
    rows = settings_table(ALL_SETTINGS).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [setting.flag for setting in (*SETTINGS.values(), CONFIG)]
    assert {"sources", "warnings", "cameras", *SETTINGS} == set(Settings.__struct_fields__)
    assert (
        "`--dead-time` | `DOG_DEAD_TIME` | `dead_time` | `1` | Minimum time from the start of one exposure"
        in settings_table(ALL_SETTINGS)
    )


def test_the_example_file_in_the_docs_is_valid(tmp_path: Path) -> None:
    example = DOCS.read_text().split("```toml\n")[1].split("```")[0]
    write_toml(tmp_path, example)
    settings = load({}, {}, tmp_path)
    assert settings.camera == f"script:{tmp_path / 'camera_access.sh'}"
    assert settings.origins == ("https://example.org", "https://www.example.org")
    assert len(settings.sources) == len(example.splitlines())


def test_the_errors_in_the_docs_match_the_code(tmp_path: Path) -> None:
    write_toml(tmp_path, "\nprot = 1")
    errors = [
        refuse({"port": "80800"}, {"DOG_CONFIG": "/dev/null"}, tmp_path),
        refuse({}, {"DOG_IMAGE_TYPE": "gif", "DOG_CONFIG": "/dev/null"}, tmp_path),
        refuse({}, {}, tmp_path),
    ]
    text = DOCS.read_text()
    for error in errors:
        assert f"dog: {error}\n".replace(f"{tmp_path}/", "") in text


# ---- several cameras


def test_each_table_is_a_camera_that_inherits_the_settings_above(tmp_path: Path) -> None:
    write_toml(
        tmp_path,
        """
        dead_time = 2
        capture_timeout = 7

        [cameras.porch]
        camera = "v4l2:/dev/video2"
        resolution = "1280x720"
        dead_time = 5
        controls = { brightness = 10, auto_exposure = "Manual Mode" }

        [cameras.yard-2]
        camera = "script:yard.sh"
        """,
    )
    cameras = load({}, {}, tmp_path).by_camera()
    assert list(cameras) == ["porch", "yard-2"]
    porch, yard = cameras.values()
    assert (porch.camera, porch.resolution, porch.dead_time) == ("v4l2:/dev/video2", "1280x720", 5.0)
    assert (porch.capture_timeout, porch.controls) == (7.0, {"brightness": 10, "auto_exposure": "Manual Mode"})
    assert (yard.camera, yard.resolution, yard.dead_time) == (f"script:{tmp_path / 'yard.sh'}", None, 2.0)
    assert porch.source_of("dead_time") == Source("cameras.porch.dead_time", f"{tmp_path / 'dog.toml'} line 8")
    assert yard.source_of("dead_time").place.endswith("line 2")


def test_the_camera_of_a_flag_is_named_main_and_is_the_first(tmp_path: Path) -> None:
    write_toml(tmp_path, '[cameras.porch]\ncamera = "test"\n')
    assert list(load({}, {}, tmp_path).by_camera()) == ["porch"]
    both = load({"camera": "script:a.sh", "dead_time": "3"}, {}, tmp_path).by_camera()
    assert [(name, one.camera, one.dead_time) for name, one in both.items()] == [
        ("main", "script:a.sh", 3.0),
        ("porch", "test", 3.0),
    ]


def test_settings_without_tables_have_one_camera_named_main(tmp_path: Path) -> None:
    settings = load({"camera": "picamera:1"}, {}, tmp_path)
    assert list(settings.by_camera()) == ["main"]
    assert settings.by_camera()["main"].camera == "picamera:1"
    assert list(Settings().by_camera()) == ["main"]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (
            "[cameras.porch]\ndead_time = 1",
            "cameras.porch ({file} line 1): this table has no setting `camera`. Add a line such as"
            ' camera = "v4l2:/dev/video0".',
        ),
        (
            '[cameras.porch]\ncamera = "test"\nport = 80',
            "cameras.porch.port ({file} line 3): a single camera cannot have this setting. Move the line above"
            " the first"
            " line in brackets.",
        ),
        (
            'dead_time = 1\n[cameras.porch]\ncamera = "test"\ndead_tme = 2',
            "cameras.porch.dead_tme ({file} line 4): unknown setting. Did you mean dead_time?",
        ),
        (
            'dead_time = 1\n[cameras.porch]\ncamera = "test"\ndead_time = "soon"',
            "cameras.porch.dead_time ({file} line 4): 'soon' is not valid. Write a number of seconds from 0 to 3600,"
            " without quotes.",
        ),
        (
            '[cameras.Porch]\ncamera = "test"',
            "cameras.Porch ({file} line 1): 'Porch' is not a valid camera name. Use at most 32 of the characters"
            " a to z,"
            " 0 to 9 and -.",
        ),
        (
            'camera = "test"\n[cameras.main]\ncamera = "test"',
            "cameras.main ({file} line 2): the setting `camera` has a camera of this name already. Choose another name,"
            " or remove that setting.",
        ),
        (
            "cameras = 3",
            "cameras ({file} line 1): `cameras` is not a table. Write the settings of each camera below a line such as"
            " [cameras.porch].",
        ),
        (
            '[cameras]\nporch = "test"',
            "cameras.porch ({file} line 2): it is not a table. Write the settings of this camera below a line"
            " [cameras.porch].",
        ),
        (
            '[cameras.porch]\ncamera = "test"\ncontrols = { brightness = [1] }',
            "cameras.porch.controls ({file} line 3): {{'brightness': [1]}} is not valid. Write NAME=VALUE pairs"
            " such as brightness=128, separated by commas (in dog.toml: a table); leave it empty for none.",
        ),
    ],
)
def test_a_mistake_in_a_cameras_table_is_reported_with_its_line(lines: str, line: str, tmp_path: Path) -> None:
    file = write_toml(tmp_path, lines)
    assert str(refuse({}, {}, tmp_path)) == line.format(file=file)


@pytest.mark.parametrize(
    "camera",
    [
        "rtsp://me:secret@",
        "rtps://me:secret@192.0.2.7/",
        "rtsp://me:se/cret@192.0.2.7:99999/",
        "rtsp:me:secret@192.0.2.7/s",
        "rtsp:/me:secret@192.0.2.7/s",
        "rtps://me:my secret@192.0.2.7/",
        "htp://192.0.2.7/snap?user=me&pwd=secret",
        "http:///snap?pwd=secret",
        "rtsp://me:se\ncret@192.0.2.7/",
        "rtsp://me:my?secret@192.0.2.7/",
        "http://me:my#secret@192.0.2.7/",
        "rtsp:192.0.2.7/user=me_password=secret_channel=1",
        "rstp://192.0.2.7/user=me&passwd=secret",
    ],
)
def test_no_error_shows_the_password_of_a_cameras_url(camera: str, tmp_path: Path) -> None:
    assert "cret" not in str(refuse({"camera": camera}, {}, tmp_path))


@pytest.mark.parametrize(
    "camera",
    [
        "rtsp://me:secret@192.0.2.7/stream",
        "http://me:s%40cret@[2001:db8::7]:81/video",
        "http://192.0.2.7/snap?usr=me&pwd=secret",
        "http://192.0.2.7/snap?size=4;loginpassword=secret",
        "rtsp://192.0.2.7/user=me_password=secret_channel=1_stream=0.sdp",
        "rtsp://192.0.2.7/user=me&password=secret&channel=1",
        "rtsp://192.0.2.7/user%3Dme%26pwd%3Dsecret",
    ],
)
def test_a_password_in_the_cameras_url_is_refused_only_on_the_command_line(camera: str, tmp_path: Path) -> None:
    assert str(refuse({"camera": camera}, {}, tmp_path)) == (
        "--camera (command line): everybody on this computer can read a password on the command line. Remove it"
        " and name"
        " a file that contains it with --password-file, or write the URL into the variable DOG_CAMERA or into dog.toml."
    )
    assert load({}, {"DOG_CAMERA": camera}, tmp_path).camera == camera
    write_toml(tmp_path, f'camera = "{camera}"')
    assert load({}, {}, tmp_path).camera == camera


@pytest.mark.parametrize(
    "camera",
    ["rtsp://me@192.0.2.7/stream", "http://192.0.2.7:81/me@home?user=me&size=4", "http://[2001:db8::7]:81/", "test"],
)
def test_a_camera_url_without_a_password_is_allowed_on_the_command_line(camera: str, tmp_path: Path) -> None:
    assert load({"camera": camera}, {}, tmp_path).camera == camera


@pytest.mark.parametrize("table", ["", "[cameras.yard]\n"])
def test_a_world_readable_password_is_a_warning(table: str, tmp_path: Path) -> None:
    file = write_toml(tmp_path, f'{table}camera = "rtsp://me:secret@192.0.2.7/"')
    file.chmod(0o640)
    assert load({}, {}, tmp_path).warnings == ()
    file.chmod(0o644)
    warning = f"Everybody on this computer can read the password in {file}. Run: chmod 600 {file}"
    assert load({}, {}, tmp_path).warnings == (warning,)
    write_toml(tmp_path, f'{table}camera = "rtsp://me@192.0.2.7/"\npassword_file = "yard"')
    assert load({}, {}, tmp_path).warnings == ()
    (tmp_path / "yard").write_text("secret")
    (tmp_path / "yard").chmod(0o644)
    assert load({}, {}, tmp_path).warnings == (warning.replace("dog.toml", "yard"),)
    (tmp_path / "yard").chmod(0o600)
    assert load({}, {}, tmp_path).warnings == ()


def test_a_password_in_a_variable_gives_no_warning_about_the_file(tmp_path: Path) -> None:
    write_toml(tmp_path, "port = 1").chmod(0o644)
    assert load({}, {"DOG_CAMERA": "rtsp://me:secret@192.0.2.7/"}, tmp_path).warnings == ()


def test_the_cameras_password_file_is_not_recorded_with_photos(tmp_path: Path) -> None:
    settings = load({"camera": "rtsp://me@192.0.2.7/", "password_file": "yard"}, {}, tmp_path)
    assert settings.password_file == Path("yard")
    assert settings.describe_camera() == {"camera": "rtsp://***@192.0.2.7/"}
