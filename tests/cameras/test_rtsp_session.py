"""RTSP sessions with a camera that answers as it is told."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from dog.cameras.camera_url import CameraUrl
from dog.cameras.rtsp_session import RtspSession
from dog.errors import CameraOffline

TIMEOUT = 20.0
SDP = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
LOGIN = 'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm="yard", nonce="{}"\r\n'
OK = "RTSP/1.0 200 OK\r\n"
PACKETS = [b"\x80\x60first", b"\x80\x60second"]


def interleave(channel: int, data: bytes) -> bytes:
    return b"$" + bytes((channel,)) + len(data).to_bytes(2) + data


class ScriptedCamera:
    """A camera that answers with the given heads, or as usual.

    `requests` has what it was sent.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}
        self.hangs_up: set[str] = set()
        """Methods after whose first answer it closes the connection."""
        self.stream = b"".join(interleave(0, packet) for packet in PACKETS)
        self.requests: list[str] = []
        self.is_answered = threading.Event()
        """Set when a request of its own was answered."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = self._server.accept()[0]
                with contextlib.suppress(OSError), sock, sock.makefile("rb") as file:
                    self._answer(sock, file)

    def _answer(self, sock: socket.socket, file: BinaryIO) -> None:
        while line := file.readline():
            head = [line.decode().strip()]
            while text := file.readline().decode().strip():
                head.append(text)
            self.requests.append("\n".join(head))
            if head[0].startswith("RTSP/"):
                self.is_answered.set()
                continue
            method = head[0].split(" ")[0]
            number = re.search(r"CSeq: (\d+)", self.requests[-1])
            assert number
            answers = self.answers.get(method)
            answer = answers.pop(0) if answers else OK
            body = SDP if method == "DESCRIBE" and answer.startswith(OK) else ""
            usual = "Session: 5\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            text = f"{answer}CSeq: {number[1]}\r\n{usual}Content-Length: {len(body)}\r\n\r\n{body}"
            sock.sendall(text.encode())
            if method in self.hangs_up:
                self.hangs_up.remove(method)
                return
            if method == "PLAY":
                sock.sendall(self.stream)


@pytest.fixture
def camera() -> Iterator[ScriptedCamera]:
    one = ScriptedCamera()
    yield one
    one.close()


@contextlib.contextmanager
def open_session(camera: ScriptedCamera, path: str = "/cam") -> Iterator[RtspSession]:
    session = RtspSession(CameraUrl(f"rtsp://me:secret@127.0.0.1:{camera.port}{path}"))
    try:
        session.open(time.monotonic() + TIMEOUT)
        yield session
    finally:
        session.close()


def read(session: RtspSession) -> bytes:
    return session.read(time.monotonic() + TIMEOUT)


def test_packets_are_read_and_the_password_is_in_no_url(camera: ScriptedCamera) -> None:
    with open_session(camera, "/cam?channel=2") as session:
        assert [read(session), read(session)] == PACKETS
    assert [request.split()[0] for request in camera.requests[:4]] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert f"SETUP rtsp://127.0.0.1:{camera.port}/cam?channel=2/track1 RTSP/1.0" in camera.requests[2]
    assert "secret" not in "".join(camera.requests)


def test_a_connection_that_is_closed_after_a_refusal_is_opened_again(camera: ScriptedCamera) -> None:
    camera.answers["DESCRIBE"] = [LOGIN.format("a"), LOGIN.format("b")]
    camera.hangs_up.add("DESCRIBE")
    with open_session(camera) as session:
        assert read(session) == PACKETS[0]
    assert 'nonce="b"' in next(request for request in camera.requests if request.startswith("PLAY"))


def test_a_nonce_that_expired_is_answered_again_and_a_wrong_password_once(camera: ScriptedCamera) -> None:
    stale = LOGIN.format("c").replace("\r\n", ", stale=true\r\n").replace("ed, stale=true", "ed", 1)
    camera.answers["DESCRIBE"] = [LOGIN.format("a"), stale]
    camera.answers["SETUP"] = [LOGIN.format("d")]
    with open_session(camera) as session:
        assert read(session) == PACKETS[0]
    camera.answers["DESCRIBE"] = [LOGIN.format("a")] * 9
    camera.requests.clear()
    with pytest.raises(CameraOffline, match="refuses the user or the password"), open_session(camera):
        pass
    assert sum(request.startswith("DESCRIBE") for request in camera.requests) == 2


def test_a_redirect_is_followed_on_the_same_host_only(camera: ScriptedCamera) -> None:
    moved = "RTSP/1.0 302 Moved\r\nLocation: rtsp://{}/other\r\n"
    camera.answers["DESCRIBE"] = [moved.format(f"127.0.0.1:{camera.port}")]
    with open_session(camera) as session:
        assert read(session) == PACKETS[0]
    assert "/other/track1 " in camera.requests[3]
    camera.answers["DESCRIBE"] = [moved.format("127.0.0.2:554")]
    with pytest.raises(CameraOffline, match="redirects to another host"), open_session(camera):
        pass


def test_what_is_neither_a_packet_nor_a_message_is_skipped(camera: ScriptedCamera) -> None:
    camera.stream = (
        b"\0\1\2" + interleave(0, PACKETS[0]) + b"\r\n" + interleave(2, b"audio") + interleave(0, PACKETS[1])
    )
    with open_session(camera) as session:
        assert [read(session), read(session)] == PACKETS


def test_empty_lines_before_a_response_are_skipped(camera: ScriptedCamera) -> None:
    camera.answers = {"SETUP": ["\r\n\r\n" + OK], "PLAY": ["\r\n" + OK]}
    with open_session(camera) as session:
        assert [read(session), read(session)] == PACKETS


def test_endless_packets_instead_of_a_response_are_an_error(camera: ScriptedCamera) -> None:
    junk = interleave(0, bytes(60_000)).decode("latin-1")
    camera.answers = {"OPTIONS": [junk * 400 + OK]}
    with pytest.raises(ValueError, match="packets instead of a response"), open_session(camera):
        pass


def test_a_right_answer_that_is_always_stale_is_not_called_wrong(camera: ScriptedCamera) -> None:
    stale = LOGIN.format("n").rstrip() + ", stale=true\r\n"
    camera.answers = {"DESCRIBE": [stale] * 9}
    with pytest.raises(CameraOffline, match="each nonce expires at once"), open_session(camera):
        pass


def test_requests_of_the_camera_are_answered(camera: ScriptedCamera) -> None:
    camera.stream = b"OPTIONS * RTSP/1.0\r\nCSeq: 41\r\n\r\n" + camera.stream
    with open_session(camera) as session:
        assert read(session) == PACKETS[0]
        assert camera.is_answered.wait(TIMEOUT)
    assert any("RTSP/1.0 200 OK\nCSeq: 41" in request for request in camera.requests)


def test_a_goodbye_ends_the_stream(camera: ScriptedCamera) -> None:
    report = b"\x80\xc8\0\1" + bytes(4)
    camera.stream = interleave(0, PACKETS[0]) + interleave(1, report + b"\x81\xcb\0\1" + bytes(4))
    with open_session(camera) as session, pytest.raises(EOFError):
        print([read(session) for _ in range(2)])


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "453 Not Enough Bandwidth"])
def test_a_refused_setup_is_reported_and_not_tried_by_udp(status: str, camera: ScriptedCamera) -> None:
    camera.answers["SETUP"] = [f"RTSP/1.0 {status}\r\n"]
    with pytest.raises(CameraOffline), open_session(camera):
        pass
    assert sum(request.startswith("SETUP") for request in camera.requests) == 1
