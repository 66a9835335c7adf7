"""An RTSP session with a camera (RFC 2326): the handshake and the packets.

ffmpeg's RTSP client knows no SHA-256, and hides the sequence numbers that tell which packets are lost.

The camera sends the packets in the session's own connection, or by UDP if it refuses that. Calls block until a
deadline, a time.monotonic(). They raise OSError, EOFError if the camera has ended the connection, or CameraOffline.
"""

import contextlib
import re
import select
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass

from dog import __version__
from dog.cameras.camera_url import CameraUrl, explain_status
from dog.cameras.digest import NONCES_EXPIRE, Challenge
from dog.cameras.sdp import VideoDescription, find_video
from dog.errors import CameraOffline
from dog.redaction import redact

__all__ = ["RtspSession"]

CONNECT_TIMEOUT = 5.0
RECEIVE_BYTES = 64 * 1024
UDP_BUFFER_BYTES = 4 * 1024 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_LOGINS = 3
"""Answers to one request's challenges: the nonce of an answer may be too old."""
UDP_PORT_TRIES = 50
MAX_EARLY_PACKETS = 5000
DEFAULT_SESSION_SECONDS = 60
"""Lifetime of a session without keepalives (RFC 2326 section 12.37)."""
RTCP_BYE = 203
_NEXT_START = re.compile(rb"\$|[A-Z_]+ \S+ RTSP/|RTSP/")
"""A packet, a request or a response, behind bytes that are none: a wrong length, or empty lines."""
MAX_START_BYTES = 3
"""Bytes that may be the beginning of a packet or a message, so they are kept."""
NOT_TRANSPORT = (401, 403, 404, 453, 454, 503)
"""Statuses that refuse a SETUP for another reason than its transport."""


@dataclass(frozen=True, slots=True)
class Message:
    """A response or a request of the camera, with header names in lower case."""

    first_line: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def status(self) -> int:
        """The status of a response; 0 for a request."""
        words = self.first_line.split()
        return int(words[1]) if words[0].startswith("RTSP/") and len(words) > 1 and words[1].isdigit() else 0

    def header(self, name: str) -> str:
        """Return the first header of this name, or an empty string."""
        return next((value for found, value in self.headers if found == name), "")


class RtspSession:
    """A session with a camera: `open` it, then `read` packets until `close`."""

    def __init__(self, url: CameraUrl) -> None:
        self._url = url
        self._target = url.url
        self._socket: socket.socket | None = None
        self._udp: list[socket.socket] = []
        self._received = bytearray()
        self._packets: deque[bytes] = deque()
        self._channel = 0
        self._challenge: Challenge | None = None
        self._sequence = 0
        self._session = ""
        self._keepalive = "OPTIONS"
        self._keepalive_interval = DEFAULT_SESSION_SECONDS / 2
        self._next_keepalive = 0.0
        self._deadline = 0.0

    def open(self, deadline: float) -> VideoDescription:
        """Start the stream of the URL's first video, and return its description."""
        self._deadline = deadline
        self._connect()
        options = self._request("OPTIONS", self._target)
        if "GET_PARAMETER" in options.header("public").upper():
            self._keepalive = "GET_PARAMETER"
        described = self._describe()
        video = find_video(described.body.decode("utf-8", "replace"))
        base = described.header("content-base") or described.header("content-location") or self._target
        self._target = _join(base, video.session_control)
        self._set_up(_join(base, video.control))
        self._check(self._request("PLAY", self._target, "Range: npt=0.000-"))
        self._next_keepalive = time.monotonic() + self._keepalive_interval
        return video

    def read(self, deadline: float) -> bytes:
        """Return the next RTP packet of the video."""
        self._deadline = deadline
        while not self._packets:
            now = time.monotonic()
            if self._next_keepalive <= now:
                self._next_keepalive = now + self._keepalive_interval
                self._send(self._keepalive, self._target)
            response = self._parse()
            if response is None and not self._packets:
                self._receive(min(deadline, self._next_keepalive))
            elif response is not None and response.status == 401 and self._url.has_user:
                self._challenge = Challenge(_challenges(response))  # for the next keepalive
                if self._challenge.is_stale:
                    self._next_keepalive = now
        return self._packets.popleft()

    def close(self) -> None:
        """Tell the camera, if it listens, and close all sockets."""
        if self._session:
            with contextlib.suppress(OSError):
                self._deadline = time.monotonic() + 0.1
                self._send("TEARDOWN", self._target)
        for one in [self._socket, *self._udp]:
            if one is not None:
                one.close()
        self._socket, self._udp, self._session = None, [], ""
        self._packets.clear()

    # ---- the handshake

    def _describe(self) -> Message:
        response = self._request("DESCRIBE", self._target, "Accept: application/sdp")
        location = response.header("location")
        if 300 <= response.status < 400 and location:
            moved = self._url_at(location)
            if moved is None:
                raise CameraOffline(
                    "The camera's URL redirects to another host. Write that one into `camera`.",
                    detail=self._url.hide_secrets(redact(location)),
                )
            self._target = moved
            response = self._request("DESCRIBE", self._target, "Accept: application/sdp")
        self._check(response)
        return response

    def _url_at(self, location: str) -> str | None:
        """Return a URL without credentials, or None if it is of another host."""
        try:
            other = CameraUrl(location)
        except ValueError:
            return None
        return other.url if other.origin == self._url.origin else None

    def _set_up(self, target: str) -> None:
        response = self._request("SETUP", target, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        transport = response.header("transport").lower()
        uses_tcp = response.status < 300 and ("client_port" not in transport or "interleaved" in transport)
        if not uses_tcp and response.status not in NOT_TRANSPORT:
            self._session = ""
            ports = self._bind_udp()
            response = self._request("SETUP", target, f"Transport: RTP/AVP;unicast;client_port={ports[0]}-{ports[1]}")
            self._open_firewall(_parameter(response.header("transport"), "server_port"))
        self._check(response)
        channel = _parameter(response.header("transport"), "interleaved").partition("-")[0]
        self._channel = int(channel) if channel.isdigit() else 0
        lifetime = _parameter(response.header("session"), "timeout")
        if lifetime.isdigit() and int(lifetime) > 0:
            self._keepalive_interval = int(lifetime) / 2

    def _bind_udp(self) -> tuple[int, int]:
        """Bind a pair of ports for RTP and RTCP, an even one and the next one."""
        assert self._socket is not None
        address = self._socket.getsockname()
        for _ in range(UDP_PORT_TRIES):
            rtp, rtcp = (socket.socket(self._socket.family, socket.SOCK_DGRAM) for _ in range(2))
            self._udp = [rtp, rtcp]
            rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
            with contextlib.suppress(OSError):
                rtp.bind((address[0], 0, *address[2:]))
                port = rtp.getsockname()[1]
                if port % 2 == 0:
                    rtcp.bind((address[0], port + 1, *address[2:]))
                    return port, port + 1
            rtp.close()
            rtcp.close()
        raise CameraOffline("The camera sends only by UDP, and no port is free for it. Set the camera to TCP.")

    def _open_firewall(self, ports: str) -> None:
        """Send something to the camera's ports, so that firewalls let it answer."""
        assert self._socket is not None
        peer = self._socket.getpeername()
        for one, port in zip(self._udp, ports.split("-"), strict=False):
            with contextlib.suppress(OSError, OverflowError, ValueError):
                one.sendto(b"\x80\0\0\0\0\0\0\0\0\0\0\0", (peer[0], int(port), *peer[2:]))

    def _check(self, response: Message) -> None:
        if response.status >= 300:
            raise explain_status(response.status, self._url)

    # ---- requests

    def _connect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._received.clear()
        self._socket = self._url.connect(max(0.001, min(CONNECT_TIMEOUT, self._deadline - time.monotonic())))

    def _request(self, method: str, target: str, *headers: str) -> Message:
        """Send a request, and return its response. Logs in if needed."""
        response, has_answered = None, False
        for _ in range(MAX_LOGINS + 1):
            try:
                self._send(method, target, *headers)
                response = self._await_response()
            except (EOFError, ConnectionError):
                if not has_answered:
                    raise
                self._connect()  # some cameras close it after a refusal
                has_answered = False
                continue
            if response.status != 401 or not self._url.has_user:
                break
            challenge = Challenge(_challenges(response))
            if has_answered and not challenge.is_stale:
                break
            self._challenge, has_answered = challenge, True
        assert response is not None
        if response.status == 401 and self._url.has_user and challenge.is_stale:
            raise CameraOffline(NONCES_EXPIRE)
        self._session = response.header("session").partition(";")[0].strip() or self._session
        return response

    def _send(self, method: str, target: str, *headers: str) -> None:
        assert self._socket is not None
        self._sequence += 1
        lines = [
            f"{method} {target} RTSP/1.0",
            f"CSeq: {self._sequence}",
            f"User-Agent: D.O.G./{__version__}",
            *headers,
        ]
        if self._session:
            lines.append(f"Session: {self._session}")
        if self._challenge is not None:
            answer = self._challenge.answer(user=self._url.user, password=self._url.password, method=method, uri=target)
            lines.append(f"Authorization: {answer}")
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))

    def _await_response(self) -> Message:
        while True:
            message = self._parse()
            if message is not None and message.header("cseq") in ("", str(self._sequence)):
                return message
            if sum(map(len, self._packets)) > MAX_MESSAGE_BYTES * 16 or len(self._packets) > MAX_EARLY_PACKETS:
                raise ValueError("the camera sends packets instead of a response")
            if message is None:
                self._receive(self._deadline)

    # ---- what the camera sends

    def _receive(self, until: float) -> None:
        """Receive some bytes. Raises TimeoutError at the deadline."""
        seconds = until - time.monotonic()
        if seconds <= 0:
            if until >= self._deadline:
                raise TimeoutError
            return
        assert self._socket is not None
        has_bytes = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        if self._udp and not has_bytes:
            poll = select.poll()
            for one in (self._socket, *self._udp):
                poll.register(one, select.POLLIN)
            ready = [number for number, _ in poll.poll(seconds * 1000)]
            for number, one in enumerate(self._udp):
                if one.fileno() in ready:
                    data, sender = one.recvfrom(RECEIVE_BYTES)
                    if sender[0] == self._socket.getpeername()[0]:
                        self._queue(number, data)
            if self._socket.fileno() not in ready:
                return
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            return
        if not data:
            raise EOFError("the camera closed the connection")
        self._received += data

    def _parse(self) -> Message | None:
        """Take all whole packets off the received bytes, up to a message."""
        received = self._received
        while len(received) >= 4:
            if received[0] != ord("$") and not received[:1].isalpha():
                start = _NEXT_START.search(received)
                del received[: start.start() if start else len(received) - MAX_START_BYTES]
            elif received[0] == ord("$"):
                end = 4 + int.from_bytes(received[2:4], "big")
                if len(received) < end:
                    return None
                self._queue(received[1] - self._channel, bytes(received[4:end]))
                del received[:end]
            else:
                message = self._parse_message()
                if message is None or message.status:
                    return message
                self._answer(message)
        return None

    def _parse_message(self) -> Message | None:
        received = self._received
        head, separator, rest = bytes(received).partition(b"\r\n\r\n")
        first_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        length = Message(first_line, headers, b"").header("content-length")
        size = int(length) if length.isdigit() else 0
        if max(len(head), size) > MAX_MESSAGE_BYTES:
            raise ValueError("the camera's message is too large")
        if not separator or len(rest) < size:
            return None
        del received[: len(head) + 4 + size]
        return Message(first_line, headers, rest[:size])

    def _answer(self, request: Message) -> None:
        """Answer a request of the camera, which asks whether somebody is there."""
        assert self._socket is not None
        self._socket.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {request.header('cseq')}\r\n\r\n".encode("latin-1"))

    def _queue(self, channel: int, data: bytes) -> None:
        """Queue a packet of RTP (channel 0), or notice that RTCP (1) says goodbye."""
        if channel == 0:
            self._packets.append(data)
        while channel == 1 and len(data) >= 4:
            if data[1] == RTCP_BYE:
                raise EOFError("the camera ended the stream")
            data = data[4 + 4 * int.from_bytes(data[2:4], "big") :]


def _challenges(response: Message) -> list[str]:
    return [value for name, value in response.headers if name == "www-authenticate"]


def _parameter(header: str, name: str) -> str:
    """Return the value of a header's parameter, or an empty string."""
    pairs = (part.partition("=") for part in header.split(";"))
    return next((value.strip() for found, _, value in pairs if found.strip().lower() == name), "")


def _join(base: str, control: str) -> str:
    """Return a control URL: for cameras, a relative one is a suffix."""
    if not control or control.lower().startswith(("rtsp://", "rtsps://")):
        return control or base
    return base.rstrip("/") + "/" + control.lstrip("/")
