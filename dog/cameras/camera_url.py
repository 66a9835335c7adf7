"""Addresses of network cameras, and what is said when one can't be reached.

An address may hold a user and a password. They are taken out of it here, and nothing that is printed, logged or told
holds them: an Address shows itself without, and `hide_secrets` takes them out of what others say of it.
"""

import re
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

from dog.cameras.password_file import read_password
from dog.errors import CameraOffline
from dog.redaction import HIDDEN, SECRET, redact

__all__ = ["CameraUrl", "explain_connection_error"]

DEFAULT_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
"""Where a camera listens when its address does not say (RTSP: RFC 7826 section 1.1)."""
LISTEN_POLL_INTERVAL = 1.0
"""Seconds between two looks whether a camera listens again, and what one look may take."""


class CameraUrl:
    """One camera's address. `str()` is fit for a log.

    `url` is the address without user and password, which are decoded; `path_and_query` is the path with the query.
    `password_file` has the password where the address names a user alone; `read_password` reads it.
    Raises ValueError where it can't be an address; its words hold nothing of it.
    """

    def __init__(self, url: str, password_file: Path | None = None) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("not an address; in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"not an address with a host and one of {', '.join(DEFAULT_PORTS)}")
        if re.search(r"[\x00-\x20\x7f]", url):
            raise ValueError("an address has no spaces; write them as %20")
        self.scheme = parts.scheme
        self.host = parts.hostname
        self.port = port or DEFAULT_PORTS[parts.scheme]
        authority = parts.netloc.rpartition("@")[2]
        self.authority = authority
        self.url = urlunsplit((parts.scheme, authority, parts.path, parts.query, ""))
        self.path_and_query = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self.has_user = parts.username is not None
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self._password_file = password_file
        self._with_credentials = url
        self._shown = redact(url)
        self._checked_at = 0.0
        self._is_listening = False
        self._secrets = _secret_spellings(url, parts.username or "", parts.password or "")
        if password_file is not None and not parts.username:
            raise ValueError("the camera's address names no user; write it and an @ before the host")
        if password_file is not None and parts.password is not None:
            raise ValueError("the camera's address has a password too; take that out of it")

    def read_password(self) -> None:
        """Take the password from its file, if there is one. Blocks. Raises CameraOffline; its detail says why."""
        if self._password_file is None:
            return
        try:
            self.password = read_password(self._password_file)
        except ValueError as error:
            message = "The camera's password can't be read from its file. See the server's log."
            raise CameraOffline(message, detail=str(error)) from None
        parts = urlsplit(self._with_credentials)
        user = parts.username or ""
        password = quote(self.password, safe="")
        self._with_credentials = urlunsplit(parts._replace(netloc=f"{user}:{password}@{self.authority}"))
        self._secrets = _secret_spellings(self._with_credentials, user, password)

    @property
    def with_credentials(self) -> str:
        """With user and password, as it was given: for who connects, never to be shown."""
        return self._with_credentials

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Address({self._shown!r})"

    def hide_secrets(self, text: object) -> str:
        """What somebody says of this address, without its secrets."""
        message = str(text)
        for secret in self._secrets:
            message = message.replace(secret, HIDDEN)
        return SECRET.sub(rf"\g<1>{HIDDEN}", message)

    def connect(self, timeout: float) -> socket.socket:
        """A new connection, with TLS where the scheme says so. Raises OSError; `timeout` is for each of its steps."""
        sock = socket.create_connection((self.host, self.port), timeout)
        if self.scheme not in ("https", "rtsps"):
            return sock
        try:
            return ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def is_listening(self) -> bool:
        """Whether something listens there; looked up once in LOOK seconds. Blocks as long, besides for the name."""
        now = time.monotonic()
        if now >= self._checked_at + LISTEN_POLL_INTERVAL:
            self._checked_at = now
            try:
                socket.create_connection((self.host, self.port), LISTEN_POLL_INTERVAL).close()
                self._is_listening = True
            except (OSError, UnicodeError):  # the latter for a name that can be none
                self._is_listening = False
        return self._is_listening


def _secret_spellings(url: str, user: str, password: str) -> list[str]:
    """All that must not be said, longest first: each secret as it was written, decoded, and encoded anew."""
    found = {url}
    for secret in (user, password, *(match[0].partition("=")[2] for match in SECRET.finditer(url))):
        plain = unquote(secret)
        found |= {secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}
    return sorted(found - {""}, key=len, reverse=True)


def explain_connection_error(error: Exception, url: CameraUrl) -> CameraOffline:
    """What a person can do about an address that could not be reached; the address stands in the detail."""
    match error:
        case socket.gaierror():
            message = "The camera's host name is unknown in the network. Check its address."
        case ConnectionRefusedError():
            message = "The camera's address refused the connection. Check that the camera is on, and the port."
        case ssl.SSLCertVerificationError():
            message = (
                "The camera's certificate is not trusted. Name it in the variable SSL_CERT_FILE, or use an address"
                " without TLS."
            )
        case ssl.SSLError():
            message = "The TLS handshake with the camera failed. Check whether its address is one without TLS."
        case TimeoutError():
            message = "The camera's address does not answer. Check that the camera is on, and in the network."
        case ConnectionError() | EOFError():
            message = "The camera ended the connection. Check whether it restarts, or has too many viewers."
        case OSError():
            message = "The camera's address can't be reached. Check that the camera is on, and in the network."
        case _:
            message = "The camera's answer can't be understood. Check the host and the path of its address."
    return CameraOffline(message, detail=f"{url}: {type(error).__name__}: {url.hide_secrets(error)}")
