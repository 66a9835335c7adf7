"""Network cameras for tests: real programs, and the network to them."""

import contextlib
import io
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self, TextIO

import pytest
import trustme
from PIL import Image

from dog.cameras.source import Source
from tests.support.forked_process import ForkedProcess
from tests.support.server_process import ROOT

__all__ = [
    "BLOCK",
    "NetworkLink",
    "SourceProcess",
    "make_http_camera",
    "make_odd_rtsp_cameras",
    "make_rtsp_camera",
    "make_tls",
    "needs_gstreamer",
    "read_comment",
    "read_stamp",
    "read_to_end",
]

BLOCK = 16
ACROSS = 8
BITS = 32

GSTREAMER = "/usr/bin/python3"
RTSP_CAMERA = ROOT / "tests" / "support" / "sources" / "rtsp_camera.py"


def has_gstreamer() -> bool:
    try:
        return subprocess.run([GSTREAMER, RTSP_CAMERA, "check"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


needs_gstreamer = pytest.mark.skipif(not has_gstreamer(), reason="GStreamer's RTSP server is not installed")


StartProgram = Callable[[list[str], int, int, int], "subprocess.Popen[bytes] | ForkedProcess"]
"""Start a camera program with these arguments and standard files."""


class SourceProcess:
    """A camera program. After `kill`, `start` runs it again on the same port."""

    def __init__(self, start_program: StartProgram, *arguments: str) -> None:
        self.arguments = arguments
        self.port = 0
        self.stderr = ""
        self._start_program = start_program
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def start(self) -> Self:
        arguments = [*self.arguments, "--port", str(self.port)]
        (stdin, self._stdin), (self._stdout, stdout), (self._stderr, stderr) = _make_pipe(), _make_pipe(), _make_pipe()
        with stdin, stdout, stderr:
            self._process = self._start_program(arguments, stdin.fileno(), stdout.fileno(), stderr.fileno())
        line = self._stdout.readline()
        assert line.startswith("listening "), f"{arguments}: {line}{self.kill()}"
        self.port = int(line.split()[1])
        return self

    def send_command(self, words: str) -> None:
        """Send a command, and wait until the program has done it."""
        self._stdin.write(words + "\n")
        self._stdin.flush()
        assert self._stdout.readline() == words + "\n"

    def kill(self) -> str:
        """Send SIGKILL, and return the program's standard error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            with self._stdin, self._stdout, self._stderr:
                self.stderr += self._stderr.read()
        return self.stderr

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.kill()


def _make_pipe() -> tuple[TextIO, TextIO]:
    """Return the ends of a pipe: to read, and to write."""
    reading, writing = os.pipe()
    return open(reading), open(writing, "w")


def make_http_camera(*arguments: str) -> SourceProcess:
    module = "tests.support.sources.http_camera"

    def start(arguments: list[str], stdin: int, stdout: int, stderr: int) -> ForkedProcess:
        return ForkedProcess(
            arguments, cwd=ROOT, env=os.environ, stdin=stdin, stdout=stdout, stderr=stderr, module=module
        )

    return SourceProcess(start, *arguments)


def make_odd_rtsp_cameras() -> SourceProcess:
    """Make RTSP cameras that are odd as their URLs say: see odd_rtsp_camera."""

    def start(arguments: list[str], stdin: int, stdout: int, stderr: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.support.sources.odd_rtsp_camera", *arguments]
        return subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr)

    return SourceProcess(start)


def make_rtsp_camera(codec: str, *arguments: str) -> SourceProcess:
    def start(arguments: list[str], stdin: int, stdout: int, stderr: int) -> "subprocess.Popen[bytes]":
        command = [GSTREAMER, str(RTSP_CAMERA), *arguments]
        return subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr)

    return SourceProcess(start, codec, *arguments)


class NetworkLink:
    """A network between a camera and its client.

    It can delay all data, release it, and be cut. It runs in threads. Clients connect to `port` instead of the
    camera's, by TLS if `tls` is set.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._to = port
        self._tls = tls
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """End all connections, at both ends."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._open.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._server.accept()[0]
                try:
                    near = near if self._tls is None else self._tls.wrap_socket(near, server_side=True)
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, can_hold: bool) -> None:
        with contextlib.suppress(OSError), one:
            while chunk := one.recv(1 << 20):
                if can_hold:
                    self._open.wait()
                other.sendall(chunk)
            other.shutdown(socket.SHUT_WR)


def make_tls(folder: Path) -> ssl.SSLContext:
    """Make a server's TLS context for 127.0.0.1.

    Write its authority to ca.pem in that folder.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def read_to_end(source: Source, timeout: float) -> None:
    """Read frames until the source raises."""
    while True:
        source.read(timeout)


def read_comment(picture: bytes) -> tuple[int, float]:
    """Return the number and time.monotonic() of a frame of http_camera."""
    found = re.search(rb"seq=(\d+) t=([\d.]+)", picture[:200])
    assert found, picture[:60]
    return int(found[1]), float(found[2])


def read_stamp(picture: bytes) -> float:
    """Return the time of a frame of rtsp_camera.

    Fails if its top and bottom are of different frames.
    """
    image = Image.open(io.BytesIO(picture)).convert("L")
    upper, lower = (_read_blocks(image, top) for top in (0, image.height - BITS // ACROSS * BLOCK))
    assert upper == lower, "this is not one whole frame"
    return upper / 1000


def _read_blocks(image: Image.Image, top: int) -> int:
    number = 0
    for bit in range(BITS):
        where = (bit % ACROSS * BLOCK + BLOCK // 2, top + bit // ACROSS * BLOCK + BLOCK // 2)
        level = image.getpixel(where)
        assert isinstance(level, int)
        assert not 64 < level < 192, "this frame is smeared"
        number |= (level >= 192) << bit
    return number
