"""HTTP requests to a server, with retries after a lost connection.

Every request may be repeated: reading changes nothing, and a capture request has an idempotency key. Requests to a
server that was never reached are not retried, because its URL may be wrong. Others are, until the caller's timeout.
"""

import asyncio
import os
import random
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from dog.client.errors import (
    AddressError,
    CaptureFailed,
    ClientError,
    Forbidden,
    PhotoDamaged,
    PhotoGone,
    Refused,
    Unreachable,
)
from dog.redaction import redact

__all__ = [
    "CONNECT_TIMEOUT",
    "MAX_IMAGE_BYTES",
    "Answer",
    "Server",
    "display_url",
    "parse_server_url",
    "read_retry_after",
    "retry_delays",
]

_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")


def parse_server_url(text: str) -> URL:
    """Parse a base URL; http is the default. Raise AddressError if invalid."""
    try:
        url = URL(text if "://" in text else f"http://{text}")
        valid = url.scheme in ("http", "https") and url.host and url.port and not (url.query_string or url.fragment)
    except ValueError:
        valid = False
    if not valid or _UNSAFE.search(text):
        shown = redact(text)[:200]
        raise AddressError(f"{shown!r} is not the URL of a server. Write one such as http://camera.local:8080")
    return url.with_path(url.path.rstrip("/"))


def display_url(url: URL) -> str:
    """Return the URL for display, without user, password and trailing slash."""
    return str(url.with_user(None)).rstrip("/")


INITIAL_MAX_DELAY = 0.5
"""Maximum delay of the first retry, in seconds (docs/protocol.md). It doubles up to MAX_DELAY."""
MAX_DELAY = 20.0
CONNECT_TIMEOUT = 10.0
"""Seconds in which a connection must be established."""
READ_TIMEOUT = 20.0
"""Seconds without a byte of a response. A capture's response may take longer to begin."""
MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Maximum size of an image, as on the server."""
MAX_JSON_BYTES = 8 * 1024 * 1024
"""Maximum size of any other response."""
MAX_FETCH_ATTEMPTS = 3
"""Attempts to fetch an image that arrives damaged."""
_RESTART_STATUSES = (502, 503, 504)
"""Status codes of a proxy whose server is restarting."""


def retry_delays() -> Iterator[float]:
    """Yield the delays before retries, with full jitter to spread clients."""
    limit = INITIAL_MAX_DELAY
    while True:
        yield random.uniform(0, limit)
        limit = min(MAX_DELAY, 2 * limit)


class _ProblemBody(msgspec.Struct):
    """Problem details (RFC 9457), with the code of docs/protocol.md."""

    code: str
    detail: str


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, or None."""
    seconds = headers.get("Retry-After", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


class _RetryLater(Exception):
    """The request may be repeated after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class Server:
    """A server and its HTTP connections. `reached`: it answered at least once.

    `token` is sent with each request. `certificate` is a PEM file: trust only those in it. Raise OSError if it is not
    one.
    """

    def __init__(
        self,
        base_url: URL,
        timeout: float | None,
        token: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
    ) -> None:
        self.base_url = base_url
        self.display_url = display_url(base_url)
        self.reached = False
        self._timeout = timeout
        self._headers = {"Accept-Encoding": "identity"}
        if token is not None:
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                raise ValueError("the token is not one word. Use one that `dog token add` printed")
            self._headers["Authorization"] = f"Bearer {token}"
        self._trust = ssl.create_default_context(cafile=certificate) if certificate is not None else True
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open. Use it as `async with Client(url) as dog:`")
        return self._session

    def open(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._trust),
            timeout=timeout,
            headers=self._headers,
            auto_decompress=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        max_bytes: int = MAX_JSON_BYTES,
        is_intact: Callable[[bytes], bool] | None = None,
    ) -> bytes:
        """Fetch up to `max_bytes` of a path, again if `is_intact` returns False.

        Raise Unreachable, Forbidden, Refused, PhotoGone or PhotoDamaged.
        """
        return (await self._request("GET", path, query=query, max_bytes=max_bytes, is_intact=is_intact)).body

    async def capture(self, body: bytes, key: str) -> Answer:
        """Request a capture and wait for it. Raise CaptureFailed, or as `get`."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return await self._request("POST", "api/captures", headers=headers, body=body)

    def unreachable(self, error: BaseException) -> Unreachable:
        """Return the error for a connection that failed or was lost."""
        match error:
            case aiohttp.ClientConnectorCertificateError():
                why = "its certificate is not trusted, or has another name. To trust it, use --certificate"
            case aiohttp.ClientConnectorDNSError():
                why = "its host name is unknown. Check the URL"
            case aiohttp.ClientOSError(errno=int(number)) if number > 0 and not isinstance(
                error, aiohttp.ClientSSLError
            ):
                why = f"{os.strerror(number).lower()}. Check the URL, and that the server runs"
            case TimeoutError():
                why = f"no response in {CONNECT_TIMEOUT:g} s. Check the URL, and that the server runs"
            case _:
                why = "the connection was lost. Check that it is a D.O.G. server, and http or https in the URL"
        return Unreachable(f"{self.display_url} can't be reached: {why}.")

    def forbidden(self, why: str) -> Forbidden:
        return Forbidden(f"{self.display_url} refused access: {why}")

    def not_a_dog_server(self) -> Unreachable:
        """Return the error for an HTTP server that is not a D.O.G. server."""
        return Unreachable(f"{self.display_url} is not a D.O.G. server. Check the URL and its path.")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = MAX_JSON_BYTES,
        is_intact: Callable[[bytes], bool] | None = None,
    ) -> Answer:
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT if method == "GET" else None
        )
        options = {"params": query, "data": body, "timeout": limits, "allow_redirects": False}
        options["headers"] = {"Accept": "application/json", **(headers or {})}
        damaged = 0
        try:
            async with asyncio.timeout(self._timeout):
                for wait in retry_delays():
                    try:
                        answer = await self._request_once(method, path, options, max_bytes)
                        if is_intact is None or is_intact(answer.body):
                            return answer
                        damaged += 1
                        if damaged == MAX_FETCH_ATTEMPTS:
                            raise PhotoDamaged(
                                f"{path} of {self.display_url} arrived damaged {MAX_FETCH_ATTEMPTS} times. Check the"
                                " proxies in between, and run `dog album verify` on the server."
                            )
                    except _RetryLater as later:
                        wait = max(wait, later.seconds)
                    except (aiohttp.ClientError, OSError) as error:
                        if not self.reached:
                            raise self.unreachable(error) from error
                    await asyncio.sleep(wait)
        except TimeoutError:
            pass
        raise Unreachable(
            f"{self.display_url} did not respond in {self._timeout:g} s. Check that it runs, or raise the timeout."
        )

    async def _request_once(self, method: str, path: str, options: dict[str, Any], max_bytes: int) -> Answer:
        """Send one request. Raise _RetryLater after a proxy's temporary failure."""
        async with self.session.request(method, self.base_url / path, **options) as response:
            data = await self._read(response, max_bytes)
        problem = self._find_problem(response, data)
        if problem is None:
            self.reached = True
            return Answer(response.status, data)
        is_final = isinstance(problem, Refused) and method != "GET"  # the caller decides whether to repeat a capture
        if self.reached and response.status in _RESTART_STATUSES and not is_final:
            raise _RetryLater(read_retry_after(response.headers) or 0.0)
        raise problem

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        """Read a response's body. Raise Unreachable if it is too large."""
        data = bytearray()
        async for part in response.content.iter_any():
            data += part
            if len(data) > max_bytes:
                raise Unreachable(
                    f"{self.display_url} sent more than {max_bytes // 1024**2} MiB, and is not a D.O.G. server; "
                    "check the URL and its path."
                )
        return bytes(data)

    def _find_problem(self, response: aiohttp.ClientResponse, data: bytes) -> ClientError | None:
        """Return the error that a response reports, or None."""
        if response.status < 300:
            encoded = response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
            return self.not_a_dog_server() if encoded else None  # not requested, and its size has no limit
        location = response.headers.get("Location")
        if response.status < 400 and location:
            return AddressError(f"{self.display_url} redirects to {location}. Use that URL.")
        try:
            problem = msgspec.json.decode(data, type=_ProblemBody)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            problem = None
        if response.status in (401, 403):
            return self.forbidden(problem.detail if problem else f"status {response.status}")
        if problem is None:
            return self.not_a_dog_server()
        self.reached = True
        kind = Refused
        if problem.code in ("unknown_snapshot", "gone_snapshot"):
            kind = PhotoGone
        elif response.method == "POST" and response.status >= 500:
            kind = CaptureFailed
        return kind(problem.code, problem.detail, retry_after=read_retry_after(response.headers))
