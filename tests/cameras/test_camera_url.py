"""URLs of network cameras: their parts, and redaction of their secrets."""

import base64
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
        "rtsp://user:se?cret@porch/cam",
        "rtsp://user:1?cret@porch/cam",
        "rtsp://user:#cret@porch/cam",
        "http://user:9#cret@porch/",
        "http://user:s@cret?x@porch/",
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
        ("http://me:secret@porch/still?mail=me@home", "http://***@porch/still?mail=me@home"),
        ("http://192.0.2.7:81/still?a=b&mail=me@home", "http://192.0.2.7:81/still?a=b&mail=me@home"),
        ("http://me:77?secret@porch/", "http://***@porch/"),
        ("http://me:77#secret@porch/", "http://***@porch/"),
        ("http://me:77/x?secret@porch/", "http://***@porch/"),
        ("http://me:77/x?y=secret@porch/", "http://***@porch/"),
        ("RTSP://me:secret@porch/cam", "RTSP://***@porch/cam"),
        ("rtsp://192.0.2.7/user=me_password=sec_ret_channel=2_stream=0.sdp?real_stream", "rtsp://192.0.2.7/user=***"),
        ("rtsp://porch/user=me&password=secret&channel=2", "rtsp://porch/user=***&password=***&channel=2"),
        ("rtsp://porch/live,passwd=secret", "rtsp://porch/live,passwd=***"),
        ("rtsp://porch/user%3Dme%26pwd%3Dsecret", "rtsp://porch/user%3D***"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.documented("password with a ? or # that is not escaped", "refused; the message says how to write it")
@pytest.mark.parametrize(
    "url", ["rtsp://me:12?secret@porch/cam", "rtsp://me:#secret@porch/cam", "http://me:x?y@porch/"]
)
def test_the_error_of_an_unescaped_password_says_how_to_write_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"write @ : / \? # % as %40 %3A %2F %3F %23 %25.*`password_file`"):
        CameraUrl(url)


@pytest.mark.documented("password in the path of a URL", "hidden like any other")
def test_a_password_in_a_path_is_hidden_in_other_texts() -> None:
    written = "rtsp://192.0.2.7:554/user=guard_password=se_cr3t_channel=2_stream=0.sdp?real_stream"
    url = CameraUrl(written)
    text = url.hide_secrets("DESCRIBE /user=guard_password=se_cr3t_channel=2: the password se_cr3t of guard is wrong")
    assert "se_cr3t" not in f"{text} {url} {url!r}"
    assert "guard" not in text
    assert "password of" not in url.hide_secrets(written)


def test_a_secret_that_a_camera_repeats_is_hidden() -> None:
    url = CameraUrl("http://porter:w%C3%A4chter-99@192.0.2.7/still")
    for text in (
        "Authorization: Basic " + base64.b64encode("porter:wächter-99".encode()).decode(),
        "wrong: " + "wächter-99".encode().decode("latin-1"),
        "the password was wächter-",
        "the password was w%C3%A4chter",
    ):
        shown = url.hide_secrets(text)
        assert shown.endswith("***")
        assert "chter" not in shown


@pytest.mark.parametrize("written", ["fe80::7%25eth1", "fe80::7%eth1"])
def test_an_ipv6_address_may_have_a_zone(written: str) -> None:
    url = CameraUrl(f"http://me:secret@[{written}]:81/still")
    assert (url.host, url.port, url.authority) == ("fe80::7%eth1", 81, "[fe80::7]:81")
    assert str(url) == f"http://***@[{written}]:81/still"


def test_the_zone_of_an_ipv6_address_names_the_interface() -> None:
    for index, name in socket.if_nameindex():
        url = CameraUrl(f"http://[fe80::7%25{name}]/")
        *_, (_, _, _, scope) = socket.getaddrinfo(url.host, url.port)[0]  # type: ignore[misc]
        assert scope == index


@pytest.mark.documented("URL with a scheme in capitals, or with the zone of an IPv6 address", "accepted")
def test_the_scheme_may_be_in_capitals() -> None:
    url = CameraUrl("RTSPS://me:se%40cret@Porch/Cam")
    assert (url.scheme, url.port, url.path_and_query) == ("rtsps", 322, "/Cam")
    assert (url.user, url.password) == ("me", "se@cret")


@given(st.text(min_size=8), st.text(min_size=8))
def test_no_text_about_a_url_contains_its_password(user: str, password: str) -> None:
    try:
        written = f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@10.1.2.3/cam?pwd={quote(password)}"
        url = CameraUrl(written)
    except UnicodeEncodeError:
        return
    texts = f"{url} {url!r} {url.hide_secrets(f'{written} {user} {password} {quote(password)}')}"
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
    assert "cret" not in redact_text("rtsp://me:'s3'cret\"cret@h/a, http://me:7#s3cret@h/")
