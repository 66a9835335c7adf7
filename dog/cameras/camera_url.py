"""URLs of network cameras, and the message for one that can't be reached.

A URL may contain a user and a password. They never appear in output, logs or messages: `str()` of a CameraUrl omits
them, and `hide_secrets` removes them from texts of other libraries.
"""

import base64
import hashlib
import re
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

from dog.cameras.camera_tls import explain_tls_error, read_certificate, start_tls
from dog.cameras.credentials import read_password
from dog.errors import CameraOffline
from dog.public_addresses import resolve_public
from dog.redaction import ESCAPE_PASSWORD, HIDDEN, SECRET, redact, redact_parameters

__all__ = ["STREAM_ENDED", "CameraUrl", "explain_connection_error", "explain_status"]

DEFAULT_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
"""Default port of each scheme (RTSP: RFC 7826 section 1.1)."""
LOGIN_RETRY_SECONDS = 60.0
"""Pause after a refused password. Cameras lock an account after too many attempts."""
STREAM_ENDED = "The camera ended its stream. Check whether it restarts, or has too many viewers."
MIN_CUT_SECRET = 4
"""Characters of a secret's beginning that are hidden at the end of a text."""
FINGERPRINT_TIMEOUT = 2.0
"""Seconds for reading a certificate that was refused."""
_UNESCAPED_PASSWORD = re.compile(r"[^:/?#]*://(?:[^/?#]*\?|[^#]*#).*@")
"""A ? or # that ends the host, and an @ behind it."""
LISTEN_POLL_INTERVAL = 1.0
"""Seconds between checks whether a camera listens again, and the time limit of one check."""


class CameraUrl:
    """The URL of one camera. `str()` is safe to log.

    `url` is without user and password. `user` and `password` are decoded. `path_and_query` and `authority` are for a
    request's head. `read_password` reads `password_file`, which has the password if the URL names only a user. With
    `tls_fingerprint` (SHA-256 in hexadecimal), the camera's certificate must have it, and nothing else. Raises
    ValueError if it is not a URL; the message quotes nothing of it.
    """

    def __init__(self, url: str, password_file: Path | None = None, tls_fingerprint: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"the camera's URL is invalid. {ESCAPE_PASSWORD}") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"the camera's URL is incomplete. Write a host, and one of {', '.join(DEFAULT_PORTS)}.")
        if re.search(r"[\x00-\x20\x7f]", url):
            raise ValueError("the camera's URL contains a space. Write it as %20.")
        if _UNESCAPED_PASSWORD.match(url):
            raise ValueError(f"the camera's URL has a ? or # in its password. {ESCAPE_PASSWORD}")
        self.scheme = parts.scheme
        self.host = parts.hostname.replace("%25", "%", 1)  # before the zone of an IPv6 address (RFC 6874)
        self.port = port or DEFAULT_PORTS[parts.scheme]
        address = parts.netloc.rpartition("@")[2]
        self.authority = re.sub(r"%.*\]", "]", address)
        self.url = urlunsplit((parts.scheme, address, parts.path, parts.query, ""))
        self.path_and_query = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self.has_user = parts.username is not None
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.tls_fingerprint = tls_fingerprint
        self._password_file = password_file
        self._written = url
        self._shown = redact(url)
        self._checked_at = 0.0
        self._is_listening = False
        self._secrets = _secret_spellings(url, parts.username or "", parts.password or "")
        if password_file is not None and not parts.username:
            raise ValueError("the camera's URL names no user. Write it and an @ before the host.")
        if password_file is not None and parts.password is not None:
            raise ValueError("the camera's URL has a password too. Remove it.")

    @property
    def origin(self) -> tuple[str, str, int]:
        """The scheme, host and port: the only ones that get the password."""
        return self.scheme, self.host, self.port

    def read_password(self) -> None:
        """Read the password from its file, if any. Blocks. Raises CameraOffline."""
        if self._password_file is None:
            return
        try:
            self.password = read_password(self._password_file)
        except ValueError as error:
            message = "The camera's password can't be read from its file. See the server's log."
            raise CameraOffline(message, detail=str(error)) from None
        user = urlsplit(self._written).username or ""
        self._secrets = _secret_spellings(self._written, user, quote(self.password, safe=""))

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"CameraUrl({self._shown!r})"

    def hide_secrets(self, text: object) -> str:
        """Return a text about this URL without its secrets.

        The text may end inside of one, because it was cut.
        """
        message = str(text)
        for secret in self._secrets:
            message = message.replace(secret, HIDDEN)
            for length in range(len(secret) - 1, MIN_CUT_SECRET - 1, -1):
                if message.endswith(secret[:length]):
                    message = message[:-length] + HIDDEN
                    break
        return redact_parameters(message)

    def connect(self, timeout: float, *, only_public: bool = False) -> socket.socket:
        """Open a connection (TLS if needed), `timeout` s per step.

        With `only_public`, an address in a private network is refused. Raises OSError, CameraOffline.
        """
        host = self.host
        if only_public:
            addresses = resolve_public(host)
            if not addresses:
                raise CameraOffline(
                    "The camera redirects from the Internet into a private network. If that is right, set"
                    " `private_addresses = true`."
                )
            host = addresses[0]
        sock = socket.create_connection((host, self.port), timeout)
        if self.scheme not in ("https", "rtsps"):
            return sock
        try:
            return start_tls(sock, self.host, self.tls_fingerprint)
        except BaseException:
            sock.close()
            raise

    def read_fingerprint(self) -> str:
        """Return the SHA-256 fingerprint of the camera's certificate, or ""."""
        try:
            return hashlib.sha256(read_certificate(self.host, self.port, FINGERPRINT_TIMEOUT)).hexdigest()
        except OSError:
            return ""

    def is_listening(self) -> bool:
        """Return True if something listens. Blocks once in LISTEN_POLL_INTERVAL."""
        now = time.monotonic()
        if now >= self._checked_at + LISTEN_POLL_INTERVAL:
            self._checked_at = now
            try:
                socket.create_connection((self.host, self.port), LISTEN_POLL_INTERVAL).close()
                self._is_listening = True
            except (OSError, UnicodeError):  # UnicodeError: an invalid host name
                self._is_listening = False
        return self._is_listening


def _secret_spellings(url: str, user: str, password: str) -> list[str]:
    """Return the strings to hide, longest first: secrets in each encoding."""
    found = {url}
    parameters = [part for match in SECRET.finditer(url) for part in (match[0], *_split_underscores(match[0]))]
    for secret in (user, password, *(part.partition("=")[2] for part in parameters)):
        plain = unquote(secret)
        found |= {secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}
        found.add(plain.encode().decode("latin-1"))  # of a page whose encoding is not known
    if password:
        found.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())  # Basic
    return sorted(found - {""}, key=len, reverse=True)


def _split_underscores(text: str) -> list[str]:
    """Split `/user=me_password=secret_channel=1` into its secret parameters."""
    return [part for part in re.split("_(?=[A-Za-z]+=)", text) if SECRET.match("/" + part.lstrip("?&;/,"))]


def explain_connection_error(error: Exception, url: CameraUrl) -> CameraOffline:
    """Explain why a URL can't be reached. The URL is only in the detail."""
    match error:
        case socket.gaierror():
            message = "The camera's host name is unknown in the network. Check its URL."
        case ConnectionRefusedError():
            message = "The camera's URL refused the connection. Check that the camera is on, and the port."
        case ssl.SSLError():
            message = explain_tls_error(error)
        case TimeoutError():
            message = "The camera's URL does not answer. Check that the camera is on, and in the network."
        case ConnectionError() | EOFError():
            message = "The camera ended the connection. Check whether it restarts, or has too many viewers."
        case OSError():
            message = "The camera's URL can't be reached. Check that the camera is on, and in the network."
        case _:
            message = "The camera's response can't be understood. Check the host and the path of its URL."
    failure = CameraOffline(message, detail=f"{url}: {type(error).__name__}: {url.hide_secrets(error)}")
    if "tls_fingerprint" in message and (fingerprint := url.read_fingerprint()):
        failure.suggested_setting = f'tls_fingerprint = "{fingerprint}"'
    return failure


def explain_status(status: int, url: CameraUrl) -> CameraOffline:
    """Explain a status of HTTP or RTSP that is not 200."""
    match status:
        case 401 if not url.has_user:
            message = "The camera asks for a user and a password. Write user@ before its host, and set `password_file`."
        case 401:
            message = "The camera refuses the user or the password. Correct them."
        case 403:
            message = "The camera does not let this user see its images. Change that in the camera."
        case 404 | 410:
            message = "The camera has nothing at this path. Check its URL."
        case 503:
            message = "The camera is busy (status 503). Check whether it has too many viewers."
        case _:
            message = f"The camera answers with status {status} instead of an image. Check its URL."
    failure = CameraOffline(message, detail=f"status {status}")
    if status == 401 and url.has_user:
        failure.next_try = LOGIN_RETRY_SECONDS
    return failure
