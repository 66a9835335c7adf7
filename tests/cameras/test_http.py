"""HTTP cameras: streams of JPEGs and single images.

The camera is another process.
"""

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dog.cameras.frame_selection import Frame
from dog.cameras.http import HttpSource, MultipartReader
from dog.errors import CameraOffline
from dog.images import inspect
from tests.support.sources import NetworkLink, SourceProcess, make_http_camera, make_tls, read_comment, read_to_end
from tests.support.sources.http_camera import BOUNDARIES

FRAME_TIMEOUT = 10.0
SECRET = "s%40cr%2Fet%3A1"
PASSWORD = "s@cr/et:1"


@pytest.fixture(scope="module")
def camera() -> Iterator[SourceProcess]:
    with make_http_camera() as one:
        yield one


@pytest.fixture
def watch() -> Iterator[Callable[..., HttpSource]]:
    """Return `watch(camera, path)`, which opens the camera's source."""
    sources: list[HttpSource] = []

    def start(
        camera: SourceProcess | NetworkLink, path: str = "/stream", *, user: str = "", latency: float = 0.0
    ) -> HttpSource:
        source = HttpSource(f"http://{user}127.0.0.1:{camera.port}{path}", latency=latency)
        sources.append(source)
        source.open()
        return source

    yield start
    for source in sources:
        source.close()


Watch = Callable[..., HttpSource]


def read_fresh(source: HttpSource, pressed: float) -> Frame:
    """Return the first frame whose exposure starts after the request."""
    while (frame := source.read(FRAME_TIMEOUT)).exposure_start < pressed:
        pass
    return frame


def serve_once(*pieces: bytes) -> int:
    """Serve one request with these bytes. Return the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)

    threading.Thread(target=answer, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


# ---- streams


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_frames_arrive_complete_and_in_order_from_sloppy_streams(boundary: str, length: bool, watch: Watch) -> None:
    arguments = ["--boundary", boundary, "--rate", "200"] + ([] if length else ["--no-length"])
    if boundary == "none" and not length:
        pytest.skip("nothing says where such a frame ends")
    with make_http_camera(*arguments) as camera:
        source = watch(camera)
        assert source.streams
        numbers = []
        for _ in range(50):
            image = source.read(FRAME_TIMEOUT).image()
            assert inspect(image).content_type == "image/jpeg"
            numbers.append(read_comment(image)[0])
    assert numbers == list(range(numbers[0], numbers[0] + 50))


def test_a_stream_without_lengths_and_boundaries_is_refused(watch: Watch) -> None:
    with make_http_camera("--boundary", "none", "--no-length") as camera:
        source = watch(camera)
        with pytest.raises(CameraOffline, match="the end of a frame is unknown"):
            source.read(FRAME_TIMEOUT)


@pytest.mark.parametrize("arguments", [(), ("--no-length",)])
def test_a_fresh_frame_was_exposed_after_the_request(arguments: tuple[str, ...], watch: Watch) -> None:
    with make_http_camera("--rate", "10", *arguments) as camera:
        source = watch(camera)
        for _ in range(5):
            pressed = time.monotonic()
            frame = read_fresh(source, pressed)
            made = read_comment(frame.image())[1]
            assert made >= pressed
            assert frame.exposure_start <= made - 0.05  # half an interval: the exposure may last a whole one


def test_frames_that_the_camera_delayed_do_not_count_as_new(watch: Watch) -> None:
    with make_http_camera() as camera:
        source = watch(camera)
        read_fresh(source, time.monotonic())
        camera.send_command("hold")
        time.sleep(0.7)  # frames pile up at the camera
        pressed = time.monotonic()
        camera.send_command("release")
        held = 0
        while (frame := source.read(FRAME_TIMEOUT)).exposure_start < pressed:
            held += read_comment(frame.image())[1] < pressed
        assert held >= 5
        assert read_comment(frame.image())[1] >= pressed


def test_frames_that_the_network_delayed_do_not_count_as_new(watch: Watch) -> None:
    with make_http_camera() as camera, NetworkLink(camera.port) as line:
        source = watch(line)
        read_fresh(source, time.monotonic())
        line.hold()
        time.sleep(0.7)
        pressed = time.monotonic()
        line.release()
        assert read_comment(read_fresh(source, pressed).image())[1] >= pressed


def test_latency_is_subtracted_from_the_exposure_start(watch: Watch, camera: SourceProcess) -> None:
    source = watch(camera, latency=3.0)
    for _ in range(20):
        frame = source.read(FRAME_TIMEOUT)
    assert frame.exposure_start <= read_comment(frame.image())[1] - 3.0


def test_a_frozen_stream_is_given_up_at_the_timeout(watch: Watch) -> None:
    with make_http_camera() as camera:
        source = watch(camera)
        source.read(FRAME_TIMEOUT)
        camera.send_command("freeze")
        with pytest.raises(CameraOffline, match=r"no frame for 0\.3 s"):
            read_to_end(source, 0.3)


def test_a_trickling_frame_is_given_up_at_the_timeout() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
        b"--f\r\nContent-Length: 999\r\n\r\n"
    )
    server = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection = server.accept()[0]
        connection.recv(65536)
        connection.sendall(head)
        try:
            while True:
                connection.sendall(b"x")
                time.sleep(0.01)
        except OSError:
            connection.close()

    threading.Thread(target=trickle, daemon=True).start()
    source = HttpSource(f"http://127.0.0.1:{server.getsockname()[1]}/")
    source.open()
    with pytest.raises(CameraOffline, match=r"no frame for 0\.3 s"):
        source.read(0.3)
    source.close()
    server.close()


def test_a_killed_camera_is_noticed_at_once_and_can_be_opened_again(watch: Watch) -> None:
    with make_http_camera() as camera:
        source = watch(camera)
        source.read(FRAME_TIMEOUT)
        camera.kill()
        with pytest.raises(CameraOffline, match="ended its stream"):
            read_to_end(source, FRAME_TIMEOUT)
        source.close()
        assert not source.is_back()
        with pytest.raises(CameraOffline, match="refused the connection"):
            watch(camera)
        camera.start()
        pressed = time.monotonic()
        assert read_comment(read_fresh(watch(camera), pressed).image())[1] >= pressed


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"GIF89a and so on and so on\r\n\r\n", "a frame has no header"),
        (b"--f\r\nContent-Length: 99999999999\r\n\r\n", "more than 64 MiB"),
        (b"--f\r\n" + b"a: b\r\n" * 200, "a frame has no header"),
        (b"--f\r\nx: " + bytes(9000), "does not end"),
        (b"--f\r\nContent-Length: 100\r\n\r\nhalf", "ended its stream"),
        (b"", "ended its stream"),
    ],
)
def test_a_damaged_stream_raises_camera_offline(body: bytes, reason: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
    source = HttpSource(f"http://127.0.0.1:{serve_once(head, body)}/")
    source.open()
    with pytest.raises(CameraOffline, match=reason):
        source.read(FRAME_TIMEOUT)
    source.close()


class Pieces:
    """A response whose body arrives in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]

    def read(self, _deadline: float) -> bytes:
        if not self.pieces:
            raise CameraOffline("The camera ended its stream.")
        return self.pieces.pop(0)


@given(
    parts=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 600), max_size=8),
    length=st.booleans(),
    delimiter=st.sampled_from([b"--frame", b"--"]),
)
def test_multipart_parts_do_not_depend_on_how_the_stream_is_split(
    parts: list[bytes], cuts: list[int], length: bool, delimiter: bytes
) -> None:
    assume(length or not any(b"\n" + delimiter in b"\n" + part + b"\r\n" for part in parts))
    assume(length or not any(part.endswith(b"\r") for part in parts))
    body = b""
    for part in parts:
        head = b"Content-Length: %d\r\n" % len(part) if length else b""
        body += delimiter + b"\r\nContent-Type: image/jpeg\r\n" + head + b"\r\n" + part + b"\r\n"
    body += delimiter + b"\r\n"
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    reading = MultipartReader(Pieces([body[one:other] for one, other in itertools.pairwise(edges)]))  # type: ignore[arg-type]
    assert [reading.read(0.0) for _ in parts] == parts
    with pytest.raises(CameraOffline):
        reading.read(0.0)


@given(
    st.lists(st.sampled_from([b"--f\r\n", b"\r\n", b"\n", b"a: b\r\n", b"Content-Length: 3\r\n", b"xyz"]), max_size=40)
)
def test_junk_in_a_stream_ends_with_an_error(junk: list[bytes]) -> None:
    with pytest.raises(CameraOffline):
        read_parts(MultipartReader(Pieces(junk)))  # type: ignore[arg-type]


def read_parts(parts: MultipartReader) -> None:
    while True:
        assert parts.read(0.0)


# ---- stills


def test_a_url_of_one_image_is_requested_for_each_frame(watch: Watch, camera: SourceProcess) -> None:
    source = watch(camera, "/still")
    assert not source.streams
    for _ in range(3):
        pressed = time.monotonic()
        frame = source.read(FRAME_TIMEOUT)
        _, made = read_comment(frame.image())
        assert pressed <= frame.exposure_start <= made
        assert inspect(frame.image()).width == 64


def test_a_still_camera_is_requested_after_its_latency(watch: Watch, camera: SourceProcess) -> None:
    source = watch(camera, "/still", latency=0.3)
    pressed = time.monotonic()
    frame = source.read(FRAME_TIMEOUT)
    assert pressed <= frame.exposure_start <= read_comment(frame.image())[1] - 0.3


def test_an_image_that_ends_early_is_refused() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 100\r\n\r\n"
    port = serve_once(ok, b"half")
    source = HttpSource(f"http://127.0.0.1:{port}/")
    with pytest.raises(CameraOffline, match="before the image was complete"):
        source.read(FRAME_TIMEOUT)
    source.close()


def test_a_too_large_image_is_not_read_to_its_end(watch: Watch, camera: SourceProcess) -> None:
    source = watch(camera, "/large")
    with pytest.raises(CameraOffline, match="more than 64 MiB"):
        source.read(60)


def test_trickling_response_headers_are_given_up(camera: SourceProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.cameras.http.HTTP_OPEN_TIMEOUT", 0.3)
    source = HttpSource(f"http://127.0.0.1:{camera.port}/trickle")
    with pytest.raises(CameraOffline, match="does not answer"):
        source.open()
    source.close()


# ---- errors


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing", "nothing at this path"),
        ("/page", "gives a web page"),
        ("/endless/1", "redirects too often"),
    ],
)
def test_a_wrong_url_is_refused_with_the_reason(path: str, reason: str, camera: SourceProcess, watch: Watch) -> None:
    with pytest.raises(CameraOffline, match=reason):
        watch(camera, path)


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "does not let this user"), (503, "busy"), (500, "status 500 instead")]
)
def test_an_error_status_is_explained(status: int, reason: str, watch: Watch) -> None:
    with make_http_camera() as camera:
        source = watch(camera, "/still")
        camera.send_command(f"status {status}")
        with pytest.raises(CameraOffline, match=reason):
            source.read(FRAME_TIMEOUT)


def test_a_server_that_does_not_speak_http_is_refused() -> None:
    source = HttpSource(f"http://127.0.0.1:{serve_once(b'SSH-2.0-OpenSSH_9.2')}/")
    with pytest.raises(CameraOffline, match="can't be understood"):
        source.open()


def test_an_unknown_host_name_is_reported() -> None:
    with pytest.raises(CameraOffline, match="host name is unknown"):
        HttpSource("http://porch.invalid/").open()


def test_a_redirect_is_followed(camera: SourceProcess, watch: Watch) -> None:
    assert read_comment(watch(camera, "/elsewhere").read(FRAME_TIMEOUT).image())


def test_requests_forbid_cached_responses() -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with server.accept()[0] as connection:
                asked.append(connection.recv(65536))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        with pytest.raises(CameraOffline, match="ended the connection"):
            HttpSource(f"http://127.0.0.1:{server.getsockname()[1]}/a?b=c").open()
        thread.join()
    assert asked[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert b"\r\nCache-Control: no-cache\r\n" in asked[0]


def test_a_certificate_must_be_trusted(camera: SourceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NetworkLink(camera.port, make_tls(tmp_path)) as line:
        source = HttpSource(f"https://127.0.0.1:{line.port}/stream")
        with pytest.raises(CameraOffline, match="certificate is not trusted"):
            source.open()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        source.open()
        assert read_comment(source.read(FRAME_TIMEOUT).image())
        source.close()
        with pytest.raises(CameraOffline, match="TLS handshake with the camera failed"):
            HttpSource(f"https://127.0.0.1:{camera.port}/stream").open()


# ---- the password


@pytest.mark.parametrize("auth", ["basic", "md5", "sha-256"])
def test_user_and_password_are_sent_if_the_camera_requests_them(auth: str, watch: Watch) -> None:
    with make_http_camera("--user", "ad min", "--password", PASSWORD, "--auth", auth) as camera:
        source = watch(camera, "/still", user=f"ad%20min:{SECRET}@")
        assert read_comment(source.read(FRAME_TIMEOUT).image())
        assert watch(camera, user=f"ad%20min:{SECRET}@").read(FRAME_TIMEOUT)


@pytest.mark.parametrize("auth", ["basic", "md5", "sha-256"])
def test_a_wrong_password_is_tried_once_and_reported(auth: str, watch: Watch) -> None:
    with make_http_camera("--user", "admin", "--password", "another", "--auth", auth) as camera:
        with pytest.raises(CameraOffline, match="refuses the user or the password"):
            watch(camera, user=f"admin:{SECRET}@")
        with pytest.raises(CameraOffline, match="asks for a user and a password"):
            watch(camera)
        assert "refused 1" in camera.kill()
    assert "refused 2" not in camera.stderr


def test_the_password_is_not_sent_to_another_host() -> None:
    asked: list[bytes] = []
    server = socket.create_server(("127.0.0.2", 0))

    def send_request() -> None:
        for _ in range(2):
            try:
                connection = server.accept()[0]
            except OSError:  # the test is over
                return
            asked.append(connection.recv(65536))
            connection.sendall(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
            connection.close()

    start_capture = threading.Thread(target=send_request)
    start_capture.start()
    there = f"http://127.0.0.2:{server.getsockname()[1]}/"
    port = serve_once(f"HTTP/1.1 302 Over there\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode())
    source = HttpSource(f"http://admin:{SECRET}@127.0.0.1:{port}/")
    with pytest.raises(CameraOffline, match="redirects to another host"):
        source.open()
    server.shutdown(socket.SHUT_RDWR)
    start_capture.join()
    server.close()
    assert len(asked) == 1
    assert b"Authorization" not in asked[0]


def test_errors_contain_no_password_and_messages_no_url(camera: SourceProcess) -> None:
    place = f"127.0.0.1:{camera.port}"
    closed = socket.create_server(("127.0.0.1", 0))
    refusing = f"127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    leading_nowhere = f"HTTP/1.1 302 There\r\nLocation: http://admin:{SECRET}@[/\r\n\r\n".encode()
    for where in (
        f"{place}/nothing",
        f"{place}/page?password={SECRET}",
        f"{place}/endless/1",
        f"{refusing}/",
        "porch.invalid/",
        f"127.0.0.1:{serve_once(b'nonsense')}/",
        f"127.0.0.1:{serve_once(leading_nowhere)}/",
        f"127.0.0.1:{serve_once(b'')}/",
    ):
        source = HttpSource(f"http://admin:{SECRET}@{where}")
        with pytest.raises(CameraOffline) as caught:
            source.open()
        source.close()
        error = caught.value
        for secret in ("admin", SECRET, PASSWORD, SECRET.lower()):
            assert secret not in f"{error} {error.message} {error.detail} {error!r} {error.args}", where
        assert "127.0.0.1" not in error.message
        assert "***@" in error.detail
        assert error.__cause__ is None
        assert error.__suppress_context__


def test_a_hundred_openings_leak_no_descriptor(camera: SourceProcess) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    def open_and_close(path: str) -> None:
        source = HttpSource(f"http://127.0.0.1:{camera.port}{path}")
        with contextlib.suppress(CameraOffline):
            source.open()
            source.read(FRAME_TIMEOUT)
        source.close()

    open_and_close("/stream")
    before = count()
    for number in range(100):
        open_and_close(("/stream", "/still", "/nothing", "/page")[number % 4])
    assert count() <= before
