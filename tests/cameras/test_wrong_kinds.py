"""HTTP cameras that send what can't be kept: a press fails at once."""

import http.server
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from dog.cameras.http import HttpSource
from dog.cameras.source import LiveCamera
from dog.errors import UnsupportedImage
from tests.support.pictures import draw, encode


def make_deep_jpeg() -> bytes:
    """Make a JPEG whose header says 12 bits, as in medical devices."""
    data = bytearray(encode(draw(64, 48)))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def make_lossless_jpeg() -> bytes:
    return encode(draw(64, 48)).replace(b"\xff\xc0\0\x11", b"\xff\xc3\0\x11")


WRONG = {
    "GIF": (encode(draw(64, 48), "GIF"), "The image is a GIF."),
    "HTML": (b"<!DOCTYPE html>\n<html><title>Login</title></html>", "The camera left a web page, not an image."),
    "JSON": (b'{"status": "starting"}', "The camera left text, not an image."),
    "JPEG of 12 bits": (make_deep_jpeg(), "The image is a JPEG of 12 bits per colour."),
    "lossless JPEG": (make_lossless_jpeg(), "The image is a lossless JPEG."),
    "CR3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(900), "The image is a raw image of Canon (CR3)."),
    "TIFF": (encode(draw(64, 48), "TIFF"), "The image is a TIFF or a raw image."),
    "too large": (
        struct.pack(">HHHBHHB3x", 0xFFD8, 0xFFC0, 11, 8, 60_000, 60_000, 1) + b"\xff\xd9",
        "The image has 60000 x 60000 pixels, more than 250 million.",
    ),
}


class Camera(http.server.ThreadingHTTPServer):
    """A camera that sends one body, as a still or as a stream."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.sent = 0
        """Bodies that were sent."""
        self.repaired = b""
        """The body from the fourth one on, if there is one."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer /still and /stream without a type that says what it is."""

    server: Camera

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/still":
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            self.server.sent += 1
            self.wfile.write(self.server.body if self.server.sent < 4 else self.server.repaired or self.server.body)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        while True:
            self.server.sent += 1
            head = f"--b\r\nX-Number: {self.server.sent}\r\nContent-Length: {len(self.server.body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + self.server.body + b"\r\n")
            except OSError:
                return
            time.sleep(0.02)  # the camera's frame rate

    def log_message(self, *_: object) -> None:
        pass


Serve = Callable[[bytes], AbstractContextManager[Camera]]


@pytest.fixture
def serve() -> Serve:
    @contextmanager
    def run(body: bytes) -> Iterator[Camera]:
        with Camera(body) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()

    return run


@pytest.mark.documented(
    "GIF, HTML, 12-bit JPEG or raw image from an `http:` camera",
    "the press fails at once, and the error names what was received",
)
@pytest.mark.parametrize("path", ["/still", "/stream"])
@pytest.mark.parametrize("name", WRONG)
async def test_a_press_fails_at_once_and_says_what_was_received(name: str, path: str, serve: Serve) -> None:
    body, words = WRONG[name]
    with serve(body) as server:
        camera = LiveCamera(lambda: HttpSource(f"http://127.0.0.1:{server.server_port}{path}"), timeout=60.0)
        try:
            await camera.open(lambda error: None)
            with pytest.raises(UnsupportedImage) as failed:
                await camera.capture()
            sent = server.sent
        finally:
            await camera.close()
    assert failed.value.message.startswith(words)
    # One request is to see what the camera sends; frames of a stream arrive all the time.
    assert path == "/stream" or sent == 2


@pytest.mark.parametrize("body", [b"\x00\x01\x02\xffgarbage" * 9, encode(draw(64, 48))[:-100]], ids=["garbage", "cut"])
async def test_a_damaged_image_is_still_tried_again(body: bytes, serve: Serve) -> None:
    with serve(body) as server:
        server.repaired = encode(draw(64, 48))
        camera = LiveCamera(lambda: HttpSource(f"http://127.0.0.1:{server.server_port}/still"), timeout=60.0)
        try:
            await camera.open(lambda error: None)
            captured = await camera.capture()
        finally:
            await camera.close()
    assert captured.data == server.repaired
