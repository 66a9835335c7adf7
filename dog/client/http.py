"""The server, seen from here: what is asked of it over HTTP, and asked again when a connection dies.

All that is asked here may be said twice: reading changes nothing, and a press has its key. A server that was never
reached is not waited for: a wrong address stays wrong. One that was is, as long as the caller's time lasts.
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
from dog.client.server_url import display_url

__all__ = ["CONNECT_TIMEOUT", "MAX_IMAGE_BYTES", "Answer", "Server", "read_retry_after", "retry_delays"]

INITIAL_MAX_DELAY = 0.5
"""Seconds; the longest first wait before coming back (docs/protocol.md), doubling to LAST_DELAY."""
MAX_DELAY = 20.0
CONNECT_TIMEOUT = 10.0
"""Seconds in which a connection has to be made."""
READ_TIMEOUT = 20.0
"""Seconds without a byte of an answer that was begun, or of one that needs no camera."""
MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Bytes, more than which no server of ours has a picture of."""
MAX_TEXT_BYTES = 8 * 1024 * 1024
"""Bytes of any other answer."""
MAX_FETCH_ATTEMPTS = 3
"""How often a picture is fetched that comes damaged."""
_RESTART_STATUSES = (502, 503, 504)
"""What a proxy says while the server behind it starts again."""


def retry_delays() -> Iterator[float]:
    """Seconds to wait before each next try: full jitter, so that not everybody comes back at once."""
    longest = INITIAL_MAX_DELAY
    while True:
        yield random.uniform(0, longest)
        longest = min(MAX_DELAY, 2 * longest)


def _check_token(token: str) -> str:
    """Raises ValueError for what could not stand in a header, or is none."""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("a token is one word, without spaces, such as `dog token add` prints")
    return token


class _ProblemBody(msgspec.Struct):
    """RFC 9457, with our code."""

    code: str
    detail: str


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server wants to be left alone, where it says so."""
    seconds = headers.get("Retry-After", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


class _RetryLater(Exception):
    """It may be asked again, but not before so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class Server:
    """One server and the connections to it; `reached` is whether it has ever answered. `token` is shown each time.

    `certificate` is a PEM file with the only ones, or authorities, that are trusted. Raises OSError where it is none.
    """

    def __init__(
        self,
        address: URL,
        timeout: float | None,
        token: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
    ) -> None:
        self.address = address
        self.display_url = display_url(address)
        self.reached = False
        self._timeout = timeout
        self._headers = {"Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {_check_token(token)}"
        self._trust = ssl.create_default_context(cafile=certificate) if certificate is not None else True
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use it as `async with Client(url) as dog:`")
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
        max_bytes: int = MAX_TEXT_BYTES,
        is_intact: Callable[[bytes], bool] | None = None,
    ) -> bytes:
        """What is at the path, in at most `max_bytes` bytes. What `is_intact` denies is fetched again.

        Raises Unreachable, Forbidden, Refused or PhotoGone, and PhotoDamaged.
        """
        return (await self._request("GET", path, query=query, max_bytes=max_bytes, is_intact=is_intact)).body

    async def capture(self, body: bytes, key: str) -> Answer:
        """The answer to a press, which comes when its photo is there. Raises CaptureFailed beside what `get` does."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return await self._request("POST", "api/captures", headers=headers, body=body)

    def unreachable(self, error: BaseException) -> Unreachable:
        """What is told of a connection that could not be made, or died."""
        match error:
            case aiohttp.ClientConnectorCertificateError():
                why = "its certificate is not one that is trusted here, or not for this name; --certificate trusts one"
            case aiohttp.ClientConnectorDNSError():
                why = "nobody knows a machine of that name; look at the address"
            case aiohttp.ClientOSError(errno=int(number)) if number > 0 and not isinstance(
                error, aiohttp.ClientSSLError
            ):
                why = f"{os.strerror(number).lower()}; look whether the server runs and at the address"
            case TimeoutError():
                why = f"no answer in {CONNECT_TIMEOUT:g} s; look whether the server runs and at the address"
            case _:
                why = "the connection broke off; look whether it is a D.O.G., and at http or https"
        return Unreachable(f"{self.display_url} can't be reached: {why}.")

    def forbidden(self, why: str) -> Forbidden:
        return Forbidden(f"{self.display_url} lets nobody in like this: {why}")

    def not_a_dog_server(self) -> Unreachable:
        """What is told of a server that speaks HTTP and is not ours."""
        return Unreachable(f"{self.display_url} answers, but not as a D.O.G. does; look at the address and its path.")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = MAX_TEXT_BYTES,
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
                            raise self._damaged(path)
                    except _RetryLater as again:
                        wait = max(wait, again.seconds)
                    except (aiohttp.ClientError, OSError) as error:
                        if not self.reached:
                            raise self.unreachable(error) from error
                    await asyncio.sleep(wait)
        except TimeoutError:
            pass
        raise Unreachable(
            f"{self.display_url} gave no answer in {self._timeout:g} s; look whether it runs, or allow it more time."
        )

    def _damaged(self, path: str) -> PhotoDamaged:
        return PhotoDamaged(
            f"{self.display_url} told of another picture than what it gives as {path}, {MAX_FETCH_ATTEMPTS} times; "
            "look what is between here and there, and say `dog album verify` there."
        )

    async def _request_once(self, method: str, path: str, options: dict[str, Any], max_bytes: int) -> Answer:
        """One try. Raises _Again where the answer is only for now."""
        async with self.session.request(method, self.address / path, **options) as response:
            data = await self._read(response, max_bytes)
        problem = self._find_problem(response, data)
        if problem is None:
            self.reached = True
            return Answer(response.status, data)
        its_word = isinstance(problem, Refused) and method != "GET"  # what a press got is for who pressed to judge
        if self.reached and response.status in _RESTART_STATUSES and not its_word:
            raise _RetryLater(read_retry_after(response.headers) or 0.0)
        raise problem

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        """The answer's body. Raises Unreachable for one that has no end."""
        data = bytearray()
        async for part in response.content.iter_any():
            data += part
            if len(data) > max_bytes:
                raise Unreachable(
                    f"{self.display_url} answers with more than {max_bytes // 1024**2} MiB, as no D.O.G. does; "
                    "look at the address and its path."
                )
        return bytes(data)

    def _find_problem(self, response: aiohttp.ClientResponse, data: bytes) -> ClientError | None:
        """What the answer says went wrong; None where all is well."""
        if response.status < 300:
            encoded = response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
            return self.not_a_dog_server() if encoded else None  # nobody asked for that, and it may be of any size
        location = response.headers.get("Location")
        if response.status < 400 and location:
            return AddressError(f"{self.display_url} sends whoever asks to {location}; write that address.")
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
