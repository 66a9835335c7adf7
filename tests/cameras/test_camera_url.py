"""URLs of network cameras: their parts, and redaction of their secrets."""

import socket
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.cameras.camera_url import CameraUrl, explain_connection_error
from dog.redaction import redact, redact_text

PASSWORD = "h@ll:o/w#r?l%d é"
ENCODED = quote(PASSWORD, safe="")


def test_the_user_and_the_password_are_decoded_and_are_not_in_the_url() -> None:
    address = CameraUrl(f"rtsp://ad%20min:{ENCODED}@[::1]:8554/cam?channel=1")
    assert (address.scheme, address.host, address.port) == ("rtsp", "::1", 8554)
    assert (address.user, address.password) == ("ad min", PASSWORD)
    assert address.url == "rtsp://[::1]:8554/cam?channel=1"
    assert address.path_and_query == "/cam?channel=1"


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443), ("rtsp", 554), ("rtsps", 322)])
def test_each_scheme_has_its_default_port(scheme: str, port: int) -> None:
    assert CameraUrl(f"{scheme}://porch").port == port


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://user:se/cret@porch/cam",
        "rtsp://user:secret@porch:port/cam",
        "rtsp://user:secret@[porch/cam",
        "rtsp://user:secret@",
        "ftp://user:secret@porch",
        "user:secret@porch",
        "rtsp://user:secret@porch/a cam",
        "",
    ],
)
def test_an_invalid_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        CameraUrl(url)
    assert "secret" not in str(refused.value)
    assert "cret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:secret@porch:554/cam", "rtsp://***@porch:554/cam"),
        ("rtsp://user@porch/cam", "rtsp://***@porch/cam"),
        ("rtsp://us:se@cr@et@porch/cam", "rtsp://***@porch/cam"),
        ("rtsp://user:se/cr@et@porch/cam", "rtsp://***@porch/cam"),
        ("http://porch/still?user=me&password=secret&size=4", "http://porch/still?user=***&password=***&size=4"),
        ("http://porch/still?u=me;p=secret", "http://porch/still?u=***;p=***"),
        ("http://porch/still?loginuse=me&loginpas=secret", "http://porch/still?loginuse=***&loginpas=***"),
        ("http://porch/?api_token=secret#x", "http://porch/?api_token=***#x"),
        ("http://porch/still?mail=me@home", "http://porch/still?mail=me@home"),
        ("http://porch/still", "http://porch/still"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text(min_size=8), st.text(min_size=8))
def test_no_text_about_a_url_contains_its_password(user: str, password: str) -> None:
    try:
        url = CameraUrl(f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@10.1.2.3/cam?pwd={quote(password)}")
    except UnicodeEncodeError:
        return
    texts = f"{url} {url!r} {url.hide_secrets(f'{url.with_credentials} {user} {password} {quote(password)}')}"
    for secret in (user, password, quote(password), quote(password, safe="")):
        assert secret not in texts.replace("***", "\0")


def test_an_error_of_ffmpeg_is_shown_without_the_password() -> None:
    url = CameraUrl(f"rtsp://admin:{ENCODED}@porch/cam")
    error = OSError(f"[Errno 5] Input/output error: 'rtsp://admin:{ENCODED}@porch/cam' for admin with {PASSWORD}")
    failure = explain_connection_error(error, url)
    assert "porch" not in failure.message
    assert "rtsp://***@porch/cam" in failure.detail
    for secret in ("admin", ENCODED, PASSWORD):
        assert secret not in failure.message + failure.detail


def test_is_listening_checks_at_most_once_per_interval() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/"
        address = CameraUrl(url)
        assert address.is_listening()
        server.settimeout(10)
        server.accept()[0].close()
    assert address.is_listening()  # the result of a moment ago
    assert not CameraUrl(url).is_listening()


def test_urls_inside_a_text_are_redacted_and_nothing_else_is() -> None:
    text = "Connection to rtsp://me:s3cret@h/a and 'http://h/x?user=me&pwd=s3cret&size=2' refused, 3:4 at me@home"
    assert redact_text(text) == (
        "Connection to rtsp://***@h/a and 'http://h/x?user=***&pwd=***&size=2' refused, 3:4 at me@home"
    )
    assert "s3cret" not in redact_text("(rtsp:/me:s3cret@h/a)")
