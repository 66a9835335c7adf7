"""HTTP cameras: streams of JPEGs and single images.

The camera is another process.
"""

import contextlib
import gzip
import os
import resource
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dog.cameras.factory import make_camera
from dog.cameras.frame_selection import Frame
from dog.cameras.http import HttpSource
from dog.cameras.source import LiveCamera
from dog.errors import CameraOffline, CaptureError
from dog.images import inspect
from dog.settings import Settings
from tests.support.sources import NetworkLink, SourceProcess, make_http_camera, make_tls, read_comment, read_to_end
from tests.support.sources.http_camera import BOUNDARIES
from tests.support.sources.odd_http_camera import OddHttpCamera, Request, make_head, stamped_jpeg

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
    with make_http_camera(*arguments) as camera:
        source = watch(camera)
        assert source.streams
        numbers = []
        for _ in range(50):
            image = source.read(FRAME_TIMEOUT).image()
            assert inspect(image).content_type == "image/jpeg"
            numbers.append(read_comment(image)[0])
    assert numbers == list(range(numbers[0], numbers[0] + 50))


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
        b"--f\r\nContent-Length: 999\r\n\r\n\xff\xd8\xff"
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
    source = HttpSource(f"http://127.0.0.1:{server.getsockname()[1]}/", open_timeout=0.3)
    with pytest.raises(CameraOffline, match="does not answer"):
        source.open()
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
        (b"GIF89a and so on and so on\r\n\r\n", "The image is a GIF"),
        (b"--f\r\nContent-Length: 99999999999\r\n\r\n", "ended its stream"),
        (b"--f\r\n" + b"a: b\r\n" * 4000, "left text, not an image"),
        (b"--f\r\nx: " + bytes(17_000), "not an image"),
        (b"--f\r\nContent-Length: 100\r\n\r\n\xff\xd8\xff\xe0half", "before the image was complete"),
        (b"", "ended its stream"),
    ],
)
def test_a_stream_without_images_is_refused_at_the_opening(body: bytes, reason: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
    source = HttpSource(f"http://127.0.0.1:{serve_once(head, body)}/")
    with pytest.raises(CameraOffline, match=reason):
        source.open()
    source.close()


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
    with OddHttpCamera(lambda _request: ok + b"\xff\xd8\xffhalf", closes=True) as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/")
        source.open()
        with pytest.raises(CameraOffline, match="before the image was complete"):
            source.read(FRAME_TIMEOUT)
        source.close()


def test_a_too_large_image_is_not_read_to_its_end(watch: Watch, camera: SourceProcess) -> None:
    source = watch(camera, "/large")
    with pytest.raises(CameraOffline, match="more than 64 MiB"):
        source.read(60)


def test_trickling_response_headers_are_given_up(camera: SourceProcess) -> None:
    source = HttpSource(f"http://127.0.0.1:{camera.port}/trickle", open_timeout=0.3)
    with pytest.raises(CameraOffline, match="does not answer"):
        source.open()
    source.close()


# ---- odd responses


def multipart(image: bytes) -> bytes:
    return b"--x\r\nContent-Type: image/jpeg\r\n\r\n" + image + b"\r\n--x--\r\n"


SINGLE_IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "declared": lambda image: make_head("Content-Type: image/jpeg", f"Content-Length: {len(image)}") + image,
    "no length": lambda image: make_head("Content-Type: image/jpeg") + image,
    "no type": lambda image: make_head(f"Content-Length: {len(image)}") + image,
    "octets": lambda image: make_head("Content-Type: application/octet-stream") + image,
    "a page by its type": lambda image: make_head("Content-Type: text/html", f"Content-Length: {len(image)}") + image,
    "multipart by its type": lambda image: make_head("Content-Type: multipart/x-mixed-replace; boundary=y") + image,
    "multipart by its type, declared": lambda image: (
        make_head("Content-Type: multipart/x-mixed-replace", f"Content-Length: {len(image)}") + image
    ),
    "multipart": lambda image: make_head("Content-Type: multipart/x-mixed-replace; boundary=x") + multipart(image),
    "multipart by its body": lambda image: make_head("Content-Type: image/jpeg") + multipart(image),
    "length too long": lambda image: make_head("Content-Type: image/jpeg", "Content-Length: 99999") + image,
    "length too short": lambda image: make_head("Content-Type: image/jpeg", "Content-Length: 450") + image,
    "gzip": lambda image: make_head("Content-Type: image/jpeg", "Content-Encoding: gzip") + gzip.compress(image),
    "chunked gzip": lambda image: (
        make_head("Content-Encoding: gzip", "Transfer-Encoding: chunked") + as_chunks(gzip.compress(image))
    ),
    "nameless header line": lambda image: make_head("Content-Type: image/jpeg", "3 May 2015, 11:01") + image,
}


def as_chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.documented(
    "single image with a wrong type or length, with gzip, or as one part of a stream", "taken if it is whole"
)
@pytest.mark.parametrize("framing", SINGLE_IMAGES)
def test_a_single_image_is_taken_from_odd_responses(framing: str, watch: Watch) -> None:
    check_single_images(SINGLE_IMAGES[framing], watch, closes=True)


@pytest.mark.parametrize(
    "framing",
    [
        "declared",
        "no length",
        "length too long",
        "length too short",
        "chunked gzip",
        "multipart",
        "multipart by its type, declared",
    ],
)
def test_a_single_image_does_not_wait_for_the_end_of_the_connection(
    framing: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.cameras.http.MAX_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("dog.cameras.http.MAX_PROBE_SECONDS", 0.1)
    check_single_images(SINGLE_IMAGES[framing], watch, closes=False)


def check_single_images(make_response: Callable[[bytes], bytes], watch: Watch, *, closes: bool) -> None:
    sent: list[bytes] = []

    def answer(_request: Request) -> bytes:
        sent.append(stamped_jpeg())
        return make_response(sent[-1])

    with OddHttpCamera(answer, closes=closes) as camera:
        source = watch(camera)
        assert not source.streams
        for _ in range(2):
            pressed = time.monotonic()
            frame = source.read(FRAME_TIMEOUT)
            assert frame.image() == sent[-1]
            assert pressed <= frame.exposure_start <= read_comment(frame.image())[1]


STREAMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "octets": ("Content-Type: application/octet-stream", multipart),
    "no type": ("Server: x", multipart),
    "video": ("Content-Type: video/x-motion-jpeg", multipart),
    "an image by its type": ("Content-Type: image/jpeg", multipart),
    "only JPEGs": ("Content-Type: image/jpeg", lambda image: image),
    "no CRLF": ("Content-Type: multipart/x-mixed-replace", lambda image: b"--x\r\n\r\n" + image),
    "an odd line": ("Content-Type: multipart/x-mixed-replace", lambda image: b"--x\r\n7 May, 3:00\r\n\r\n" + image),
    "wrong lengths": (
        "Content-Type: multipart/x-mixed-replace; boundary=x",
        lambda image: b"--x\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(image) + 7, image),
    ),
}


@pytest.mark.documented(
    "MJPEG stream with a wrong type, wrong lengths, odd lines, no delimiters or gzip", "each whole JPEG is a frame"
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", STREAMS)
def test_frames_arrive_from_odd_streams(kind: str, packed: bool, watch: Watch) -> None:
    header, frame = STREAMS[kind]
    sent = [stamped_jpeg() for _ in range(6)]
    body = b"".join(map(frame, sent))
    encoding = "Content-Encoding: gzip" if packed else "X: y"
    with OddHttpCamera(lambda _: make_head(header, encoding) + (gzip.compress(body) if packed else body)) as camera:
        source = watch(camera)
        assert source.streams
        assert [source.read(FRAME_TIMEOUT).image() for _ in sent] == sent


@pytest.mark.documented(
    "page, text or another kind of image at the URL of an HTTP camera", "fails at once, and the message says what it is"
)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html><body>Please log in", "a web page"),
        (b'{"error": "log in first"}', "text, not an image"),
        (b"", "is empty"),
        (b"GIF89a" + bytes(100), "is a GIF"),
    ],
)
@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", "text/html"])
@pytest.mark.parametrize("has_length", [True, False])
async def test_anything_else_is_refused_at_once(body: bytes, reason: str, kind: str, has_length: bool) -> None:
    length = f"Content-Length: {len(body)}" if has_length else "X: y"
    with OddHttpCamera(lambda _: make_head(f"Content-Type: {kind}", length) + body, closes=True) as server:
        camera = LiveCamera(lambda: HttpSource(f"http://127.0.0.1:{server.port}/"), timeout=60)
        with pytest.raises(CaptureError) as failed:
            await open_and_capture(camera)
        await camera.close()
        assert len(server.requests) <= 2
    assert reason in failed.value.message or (not body and kind == "text/html" and "a web page" in failed.value.message)


async def open_and_capture(camera: LiveCamera) -> None:
    await camera.open(lambda _error: None)
    await camera.capture()


def test_text_of_a_silent_response_is_reported_soon() -> None:
    with OddHttpCamera(lambda _: make_head("Content-Type: text/plain") + b"Device Busy") as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/", open_timeout=3600)
        with pytest.raises(CameraOffline, match="text, not an image") as caught:
            source.open()
        source.close()
    assert caught.value.detail.endswith("Device Busy")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (b"--x\r\nContent-Type: text/html\r\n\r\n<html>Log in</html>", "gives a web page"),
        (b"Content-Type: text/plain\r\n\r\nNo licence", "text, not an image"),
    ],
)
def test_a_stream_of_anything_else_is_refused_with_what_it_is(part: bytes, reason: str) -> None:
    with OddHttpCamera(lambda _: make_head("Content-Type: multipart/x-mixed-replace") + part) as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/", open_timeout=0.3)
        with pytest.raises(CameraOffline, match=reason):
            source.open()
        source.close()


def test_an_image_and_what_follows_it_are_kept_whole(watch: Watch) -> None:
    whole = stamped_jpeg() + stamped_jpeg() + b"maker's data"
    for head in (make_head("Content-Type: image/jpeg"), make_head(f"Content-Length: {len(whole)}")):
        with OddHttpCamera(lambda _, head=head: head + whole, closes=True) as camera:  # type: ignore[misc]
            source = watch(camera)
            assert not source.streams
            assert source.read(FRAME_TIMEOUT).image() == whole


# ---- images that the camera took earlier


class EarlierImages:
    """A camera that answers with the image of an earlier request."""

    def __init__(self, behind: int, stamp: Callable[[float], str] = lambda _: "X: y") -> None:
        self.images: list[tuple[bytes, float]] = []
        self.behind = behind
        self.stamp = stamp

    def __call__(self, _request: Request) -> bytes:
        self.images.append((stamped_jpeg(), time.time()))
        image, made = self.images[max(0, len(self.images) - 1 - self.behind)]
        return make_head("Content-Type: image/jpeg", f"Content-Length: {len(image)}", self.stamp(made)) + image


def x_timestamp(made: float) -> str:
    return f"X-Timestamp: {made:.6f}"


@pytest.mark.documented(
    "HTTP camera that sends earlier images with their times", "asked again until an image is newer than the press"
)
@pytest.mark.parametrize("behind", [1, 2])
def test_an_image_with_an_earlier_time_does_not_count_as_new(behind: int, watch: Watch) -> None:
    with OddHttpCamera(EarlierImages(behind, x_timestamp)) as camera:
        source = watch(camera)
        source.read(FRAME_TIMEOUT)
        for _ in range(3):
            pressed = time.monotonic()
            reads = 1
            while (frame := source.read(FRAME_TIMEOUT)).exposure_start < pressed:
                reads += 1
            assert read_comment(frame.image())[1] >= pressed
            assert reads == behind + 1


@pytest.mark.parametrize("behind", [1, 2])
def test_a_clock_that_was_never_set_shows_earlier_images_too(behind: int, watch: Watch) -> None:
    with OddHttpCamera(
        EarlierImages(behind, lambda made: x_timestamp(made - time.time() + time.monotonic()))
    ) as camera:
        source = watch(camera)
        for _ in range(2):
            time.sleep(0.5)  # else the images are hardly older than the press
            pressed = time.monotonic()
            while (frame := source.read(FRAME_TIMEOUT)).exposure_start < pressed:
                pass
            assert read_comment(frame.image())[1] >= pressed


@pytest.mark.parametrize("behind", [1, 2])
def test_discard_drops_earlier_images(behind: int) -> None:
    with OddHttpCamera(EarlierImages(behind)) as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/", discard=behind)
        source.open()
        for _ in range(3):
            pressed = time.monotonic()
            frame = source.read(FRAME_TIMEOUT)
            assert pressed <= frame.exposure_start <= read_comment(frame.image())[1]
        source.close()


@pytest.mark.parametrize("seconds", [70, 90_000, -100])
def test_a_time_that_a_wrong_clock_gave_is_ignored(seconds: float, watch: Watch) -> None:
    with OddHttpCamera(EarlierImages(0, lambda made: x_timestamp(made - seconds))) as camera:
        source = watch(camera)
        pressed = time.monotonic()
        assert source.read(FRAME_TIMEOUT).exposure_start >= pressed


# ---- slow and busy cameras


@pytest.mark.documented("camera that needs longer than 10 s to answer", "has until `capture_timeout`")
async def test_a_slow_camera_may_take_as_long_as_for_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.cameras.factory.SOURCE_OPEN_TIMEOUT", 0.2)
    monkeypatch.setattr("dog.cameras.source.SOURCE_OPEN_TIMEOUT", 0.2)

    def answer(_request: Request) -> bytes:
        time.sleep(0.5)
        return make_head("Content-Type: image/jpeg") + stamped_jpeg()

    with OddHttpCamera(answer, closes=True) as server:
        camera = make_camera(Settings(camera=f"http://127.0.0.1:{server.port}/", capture_timeout=20), tmp_path)
        await camera.open(lambda _error: None)
        assert (await camera.capture()).data
        await camera.close()


@pytest.mark.documented("camera that is busy for a moment (status 503)", "asked again")
def test_a_busy_camera_is_asked_again(watch: Watch) -> None:
    image = make_head("Content-Type: image/jpeg") + stamped_jpeg()
    busy = make_head("Content-Length: 0", status="503 Service Unavailable")
    with OddHttpCamera(lambda request: image if request.connection % 2 == 0 else busy, closes=True) as camera:
        source = watch(camera)
        pressed = time.monotonic()
        assert source.read(FRAME_TIMEOUT).exposure_start >= pressed
        assert len(camera.requests) == 4


def test_a_camera_that_is_busy_for_longer_than_the_time_limit_is_reported_at_once() -> None:
    busy = make_head("Content-Length: 0", "Retry-After: 600", status="503 Service Unavailable")
    with OddHttpCamera(lambda _: busy, closes=True) as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/", open_timeout=30)
        with pytest.raises(CameraOffline, match="busy"):
            source.open()
        assert len(camera.requests) == 1


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
        with pytest.raises(CameraOffline, match="certificate is from an unknown authority"):
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


def test_a_little_gzip_that_becomes_very_much_is_unpacked_in_parts() -> None:
    """At once, it takes the memory of 64 MB, and minutes to be parsed."""
    packed = gzip.compress(b"\xff\xd8\xff\xd9" * 2**24, 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with OddHttpCamera(lambda _: make_head("Content-Encoding: gzip") + packed) as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/", open_timeout=1)
        with contextlib.suppress(CameraOffline):
            source.open()
            source.read(1)
        source.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


async def test_a_login_that_the_camera_repeats_is_not_in_the_error() -> None:
    images = iter([stamped_jpeg()])

    def answer(request: Request) -> bytes:
        body = next(images, f"no: porter-7 {request.headers.get('authorization', '')}".encode())
        return make_head(f"Content-Length: {len(body)}") + body

    with OddHttpCamera(answer) as odd:
        url = f"http://porter-7:latch-key-9@127.0.0.1:{odd.port}/"
        camera = LiveCamera(lambda: HttpSource(url), timeout=1)
        await camera.open(lambda _error: None)
        with pytest.raises(CaptureError) as caught:
            await camera.capture()
        await camera.close()
    assert "no: ***" in caught.value.detail
    for secret in ("porter-7", "latch-key-9", b64encode(b"porter-7:latch-key-9").decode()):
        assert secret not in caught.value.message + caught.value.detail
