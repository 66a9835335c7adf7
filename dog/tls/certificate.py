"""The certificate that is served with: read at the start, and again when there is a new one (docs/deploying.md)."""

import asyncio
import contextlib
import datetime as dt
import logging
import os
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dog.errors import SettingError
from dog.settings import Settings
from dog.tls.transport import TlsTransport

__all__ = ["Tls", "make_tls"]

LOOK = 1.0
"""Seconds between two looks at the files. They have changed when two looks find the same: a renewal writes both."""
SOON = dt.timedelta(days=14)
"""How long before its end a certificate is warned of."""
LARGEST_FILE = 1024 * 1024
"""Bytes."""
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
KEY = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")

File = Literal["tls_certificate", "tls_key"]

log = logging.getLogger(__name__)


def make_tls(settings: Settings) -> "Tls | None":
    """None where it is plain HTTP. Raises SettingError, also for a certificate that can't be used."""
    if settings.tls_certificate is not None:
        return Tls(settings)
    if settings.tls_key is not None:
        raise settings.error("tls_key", "there is no certificate to it; name its file with tls_certificate")
    return None


class Tls:
    """The certificate that new connections are shown; those that are there keep theirs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked = asyncio.Event()
        self._marks = _look(settings)
        self._loaded = _load(settings)
        self._warned = False
        self._warn()

    @property
    def context(self) -> ssl.SSLContext:
        return self._loaded.context

    def wrap(self, protocol: asyncio.Protocol, come: Callable[[asyncio.Transport], None]) -> "TlsTransport":
        """What makes an accepted connection one of TLS: `come` is told of it before the handshake."""
        return TlsTransport(self.context, protocol, come)

    def reload(self) -> None:
        """Have `run` read the files, whether they have changed or not."""
        self._asked.set()

    async def run(self) -> None:
        """Read the files again whenever they have changed, for ever."""
        seen = self._marks
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._asked.wait()
            marks = await asyncio.to_thread(_look, self._settings)
            if self._asked.is_set() or seen == marks != self._marks:
                self._asked.clear()
                self._marks = marks
                await self._read_again()
            seen = marks
            self._warn()

    async def _read_again(self) -> None:
        try:
            self._loaded = await asyncio.to_thread(_load, self._settings)
        except SettingError as error:
            log.error("%s; the certificate from before stays in use", error)
            return
        self._warned = False
        log.info("The certificate was read again; it ends on %s", self._loaded.ends_at.date())

    def _warn(self) -> None:
        """Say once of each certificate that it is about to end, or has not begun."""
        now, loaded = dt.datetime.now(dt.UTC), self._loaded
        if self._warned or loaded.begins_at <= now < loaded.ends_at - SOON:
            return
        self._warned = True
        if now < loaded.begins_at:
            log.warning("The certificate is good only from %s on; is the clock right?", loaded.begins_at.date())
        else:
            log.warning("The certificate ends on %s: renew it, and it is read by itself", loaded.ends_at.date())


# ---- the files


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    begins_at: dt.datetime
    ends_at: dt.datetime


class _Encrypted(Exception):
    """OpenSSL wants a password for the key."""


def _look(settings: Settings) -> tuple[tuple[int, ...] | None, ...]:
    """What changes when a file does."""
    return tuple(map(_mark, (settings.tls_certificate, settings.tls_key)))


def _mark(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _load(settings: Settings) -> _Loaded:
    """The certificate and its key, ready to be used. Raises SettingError."""
    path = settings.tls_certificate
    assert path is not None
    key_file: File = "tls_certificate" if settings.tls_key is None else "tls_key"
    text = _read(settings, "tls_certificate")
    found = CERTIFICATE.search(text)
    if found is None:
        raise settings.error("tls_certificate", f"{path} has no certificate in PEM; name a file that has")
    if not KEY.search(_read(settings, key_file)):
        more = "name its file with tls_key" if settings.tls_key is None else "name a file that has"
        raise settings.error(key_file, f"{getattr(settings, key_file)} has no private key in PEM; {more}")
    context = _make_context()
    try:
        context.load_cert_chain(path, settings.tls_key, _refuse_password)
        begins_at, ends_at = _read_period(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))
    except _Encrypted:
        problem = "is encrypted, and nobody is there to say its password; openssl pkey writes one without"
        raise settings.error(key_file, f"the key in {getattr(settings, key_file)} {problem}") from None
    except ssl.SSLError as error:
        raise _explain(error, settings, key_file) from None
    except OSError as error:  # it was there a moment ago
        raise settings.error(
            "tls_certificate", f"{path} can't be read: {(error.strerror or str(error)).lower()}"
        ) from None
    except (ValueError, IndexError):
        raise settings.error("tls_certificate", f"{path} holds a damaged certificate; make or fetch it anew") from None
    if ends_at <= dt.datetime.now(dt.UTC):
        problem = f"the certificate in {path} has ended on {ends_at.date()}; renew it, or make one with `dog cert`"
        raise settings.error("tls_certificate", problem)
    if (settings.tls_key or path).stat().st_mode & stat.S_IROTH:
        log.warning("%s can be read by everybody on this computer; chmod 600 ends that", settings.tls_key or path)
    return _Loaded(context, begins_at, ends_at)


def _read(settings: Settings, name: File) -> bytes:
    """A regular file that is not too large. Raises SettingError for everything else."""
    path: Path = getattr(settings, name)
    try:
        # opening a pipe must not wait for somebody to write to it
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(LARGEST_FILE)
            problem = "it is not a regular file"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    raise settings.error(name, f"{path} can't be read: {problem}; name a file that can, or make one with `dog cert`")


def _refuse_password() -> str:
    raise _Encrypted


def _explain(error: ssl.SSLError, settings: Settings, key_file: File) -> SettingError:
    path, reason = settings.tls_certificate, error.reason or ""
    if "MISMATCH" in reason or reason == "NO_CERTIFICATE_ASSIGNED":  # to a key of this kind: RSA, or EC
        problem = f"the key in {getattr(settings, key_file)} is not that of the certificate in {path}; name its own"
        return settings.error(key_file, problem)
    why = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    where = f"{path} and {settings.tls_key}" if settings.tls_key else f"{path}"
    return settings.error("tls_certificate", f"OpenSSL can't use what {where} holds{why}; make or fetch it anew")


def _make_context() -> ssl.SSLContext:
    """TLS 1.2 or 1.3 with the ciphers that Python and the distribution hold for good.

    Nobody resumes a session: then there is no ticket's key to be kept, to leak or to outlive its certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read_period(der: bytes) -> tuple[dt.datetime, dt.datetime]:
    """Begin and end of a certificate that OpenSSL has taken (RFC 5280, section 4.1)."""
    _, begin, _ = _read_value(der, 0)  # the certificate
    _, at, _ = _read_value(der, begin)  # what is signed of it
    tag, _, end = _read_value(der, at)
    if tag == 0xA0:  # the version; next is the serial number
        _, _, end = _read_value(der, end)
    _, _, algorithm_end = _read_value(der, end)
    _, _, issuer_end = _read_value(der, algorithm_end)
    _, begins, _ = _read_value(der, issuer_end)
    tag, start, end = _read_value(der, begins)
    begins_at = _read_time(tag, der[start:end])
    tag, start, end = _read_value(der, end)
    return begins_at, _read_time(tag, der[start:end])


def _read_value(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the value there, where its content begins, and where it ends."""
    tag, size = der[at], der[at + 1]
    at += 2
    if size >= 0x80:
        digits = size & 0x7F
        size, at = int.from_bytes(der[at : at + digits], "big"), at + digits
    return tag, at, at + size


def _read_time(tag: int, text: bytes) -> dt.datetime:
    """A UTCTime, whose years end with 2049, or a GeneralizedTime."""
    said = text.decode("ascii")
    if tag == 0x17:
        said = ("19" if said >= "50" else "20") + said
    return dt.datetime.strptime(said, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)
