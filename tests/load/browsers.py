"""Many simulated browsers behind one address, in one event loop.

It is a program, so that it has its own processor.

    python -m tests.load.browsers URL --count 500 --from 127.0.0.8

Each behaves like Chromium. It loads the page and its files over up to six persistent connections, one of which it opens
ahead, and has one more for the WebSocket. If an idle connection was closed, it repeats the request on another one. A
response that is lost in any other way is a lost file. The program prints a `Report` as JSON.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import gzip
import json
import os
import resource
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from tests.support.websocket_frames import PING, PONG, TEXT, FrameReader, build_client_frame

__all__ = ["Report"]

CONNECTIONS = 6
"""Connections of one browser to one server, without WebSockets."""
MAX_RETRIES = 2
"""For a request whose idle connection was closed."""
HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Sec-Fetch-Site: same-origin",
)


@dataclasses.dataclass
class Report:
    """The results.

    Times are in seconds since the browser started, or since the press.
    """

    lost: list[str] = dataclasses.field(default_factory=list)
    """Files that a browser did not receive, with the reason."""
    retries: int = 0
    connections: int = 0
    """Open connections once every browser has its page."""
    page: list[float] = dataclasses.field(default_factory=list)
    ready: list[list[float]] = dataclasses.field(default_factory=list)
    photo: list[list[float]] = dataclasses.field(default_factory=list)
    """For each press, when each browser received the photo."""


class LostFileError(Exception):
    """A file that was not received. `str()` is the reason."""


class ClosedError(Exception):
    """The server closed the connection before its response."""


class PageFiles(HTMLParser):
    """Find the files that a browser loads with a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        file = values.get("src") if tag in ("img", "script") else None
        if tag == "link" and values.get("rel") in ("stylesheet", "icon"):
            file = values.get("href")
        if file and file not in self.found:
            self.found.append(file)


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def is_open(self) -> bool:
        return not (self.reader.at_eof() or self.reader.exception() or self.writer.is_closing())

    async def get(self, head: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers in lower case, and body.

        Raises ClosedError, or EOFError within a response.
        """
        try:
            self.writer.write(head)
            await self.writer.drain()
            answer = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise ClosedError from None
        except OSError:
            raise ClosedError from None
        lines = answer.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        body = await self.reader.readexactly(int(headers["content-length"])) if "content-length" in headers else b""
        return int(lines[0].split()[1]), headers, body

    async def wait_for_end(self) -> None:
        """Wait until the server closes the connection."""
        with contextlib.suppress(OSError):
            await self.reader.read(1)
        self.close()

    def close(self) -> None:
        self.writer.close()


class Crowd:
    """The state that all browsers share."""

    def __init__(self, url: str, address: str, headers: list[str], tls: ssl.SSLContext | None) -> None:
        self.url = url
        self.report = Report()
        self._address = address
        self._headers = (f"Host: {urlsplit(url).netloc}", f"Origin: {url}", *HEADERS, *headers)
        self._tls = tls

    async def connect(self) -> Connection:
        parts = urlsplit(self.url)
        raw = socket.socket()
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            raw.bind((self._address, 0))
            await asyncio.get_running_loop().sock_connect(raw, (str(parts.hostname), parts.port))
            reader, writer = await asyncio.open_connection(
                sock=raw, ssl=self._tls, server_hostname=parts.hostname if self._tls else None
            )
        except BaseException:
            raw.close()
            raise
        return Connection(reader, writer)

    def build_head(self, path: str, *more: str) -> bytes:
        return "\r\n".join((f"GET {path} HTTP/1.1", *self._headers, *more, "", "")).encode()


class Browser:
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[Connection] = []
        self._socket: Connection | None = None
        self._events = FrameReader()
        self._buffered: list[Any] = []

    @property
    def connections(self) -> int:
        return len(self._idle) + (self._socket is not None)

    async def open_page(self) -> None:
        """Load the page and all its files, and open the WebSocket.

        Add a lost file to the report.
        """
        began = time.monotonic()
        ahead = asyncio.create_task(self._connect_ahead())
        try:
            page = await self.fetch(
                "/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode: navigate"
            )
            files = [urljoin("/", file) for file in PageFiles(page.decode()).found]
            await asyncio.gather(*(self.fetch(file) for file in files))
            await self._watch()
        except LostFileError as error:
            self._crowd.report.lost.append(str(error))
        else:
            self._crowd.report.page.append(time.monotonic() - began)
        finally:
            await ahead

    async def fetch(self, path: str, *more: str) -> bytes:
        """Return the body of a 200. Raises LostFileError."""
        async with self._slots:
            try:
                status, body = await self._request(self._crowd.build_head(path, *more))
            except (ClosedError, EOFError, OSError) as error:
                raise LostFileError(f"{path}: {error!r}") from error
        if status != 200:
            raise LostFileError(f"{path}: {status} {body[:200]!r}")
        return body

    async def _request(self, head: bytes) -> tuple[int, bytes]:
        for retries in range(MAX_RETRIES + 1):
            connection, has_waited = await self._take_connection()
            try:
                status, headers, body = await connection.get(head)
            except ClosedError:
                connection.close()
                if not has_waited or retries == MAX_RETRIES:
                    raise
                self._crowd.report.retries += 1
                continue
            except BaseException:
                connection.close()
                raise
            if headers.get("connection", "").lower() == "close":
                connection.close()
            else:
                self._idle.append(connection)
            return status, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        raise AssertionError

    async def _take_connection(self) -> tuple[Connection, bool]:
        """Return the last used open connection, or a new one.

        The second value is True if it was idle.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection, True
            connection.close()
        return await self._crowd.connect(), False

    async def _connect_ahead(self) -> None:
        """Open one more connection than is needed, as Chromium does."""
        with contextlib.suppress(OSError):
            self._idle.insert(0, await self._crowd.connect())

    async def wait_until_all_is_closed(self) -> None:
        """Wait until the server has closed every idle connection."""
        await asyncio.gather(*(connection.wait_for_end() for connection in self._idle))

    # ---- the push

    async def _watch(self) -> None:
        key = b64encode(os.urandom(16)).decode()
        more = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
        try:
            self._socket = connection = await self._crowd.connect()
            status, _, body = await connection.get(self._crowd.build_head("/ws", *more))
            if status != 101:
                raise LostFileError(f"/ws: {status} {body[:200]!r}")
            await self._read_until("hello")
        except (ClosedError, EOFError, OSError) as error:
            raise LostFileError(f"/ws: {error!r}") from error

    async def press(self) -> None:
        await self._write(build_client_frame(TEXT, b'{"type":"capture","max_age":0}'))

    async def show_new_photo(self, number: int, pressed: asyncio.Future[float]) -> None:
        """Wait for the `ready` of this press, then fetch photo and thumbnail."""
        report = self._crowd.report
        try:
            ready = await self._read_until("ready")
            report.ready[number].append(time.monotonic() - await pressed)
            photo, _ = await asyncio.gather(self.fetch(ready["url"]), self.fetch(ready["thumbnail"]))
            if len(photo) != ready["bytes"]:
                raise LostFileError(f"{ready['url']}: {len(photo)} bytes of {ready['bytes']}")
            report.photo[number].append(time.monotonic() - await pressed)
        except (EOFError, OSError) as error:
            report.lost.append(f"/ws: {error!r}")
        except LostFileError as error:
            report.lost.append(str(error))

    async def _read_until(self, kind: str) -> dict[str, Any]:
        async for message in self._read():
            if message["type"] in ("failed", "error"):
                raise LostFileError(f"/ws: {message}")
            if message["type"] == kind:
                return message
        raise EOFError("the WebSocket has ended")

    async def _read(self) -> AsyncIterator[dict[str, Any]]:
        assert self._socket is not None
        while True:
            while self._buffered:
                frame = self._buffered.pop(0)
                if frame.opcode == PING:
                    await self._write(build_client_frame(PONG, frame.payload))
                elif frame.opcode == TEXT:
                    yield json.loads(frame.payload)
                else:
                    raise EOFError(f"the WebSocket was closed: {frame.payload!r}")
            data = await self._socket.reader.read(65536)
            if not data:
                raise EOFError("the WebSocket was cut off")
            self._buffered += self._events.feed(data)

    async def _write(self, frames: bytes) -> None:
        assert self._socket is not None
        self._socket.writer.write(frames)
        await self._socket.writer.drain()

    def close(self) -> None:
        for connection in (*self._idle, *filter(None, [self._socket])):
            connection.close()


async def visit(crowd: Crowd, count: int, presses: int) -> Report:
    """Open all browsers within a second, and press when all have their page.

    Each further press follows when the server has closed all idle connections.
    """
    loop = asyncio.get_running_loop()
    report = crowd.report
    browsers = [Browser(crowd) for _ in range(count)]
    began = loop.time()

    async def arrive(number: int, browser: Browser) -> None:
        await asyncio.sleep(began + number / count - loop.time())
        await browser.open_page()

    await asyncio.gather(*(arrive(number, browser) for number, browser in enumerate(browsers)))
    report.connections = sum(browser.connections for browser in browsers)
    for number in range(presses if not report.lost else 0):
        report.ready.append([])
        report.photo.append([])
        pressed: asyncio.Future[float] = loop.create_future()
        waiting = [asyncio.create_task(browser.show_new_photo(number, pressed)) for browser in browsers]
        if number:
            await asyncio.gather(*(browser.wait_until_all_is_closed() for browser in browsers))
        pressed.set_result(time.monotonic())
        await browsers[number].press()
        await asyncio.gather(*waiting)
    for browser in browsers:
        browser.close()
    return report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--presses", type=int, default=1)
    parser.add_argument("--from", dest="address", required=True, help="the local address of the browsers")
    parser.add_argument("--header", action="append", default=[], help="a header of every request")
    parser.add_argument("--certificate", help="the file with the certificate authority of the server")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tls = ssl.create_default_context(cafile=chosen.certificate) if chosen.certificate else None
    crowd = Crowd(chosen.url, chosen.address, chosen.header, tls)
    report = asyncio.run(visit(crowd, chosen.count, chosen.presses))
    print(json.dumps(dataclasses.asdict(report)))


if __name__ == "__main__":
    main()
