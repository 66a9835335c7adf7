"""The server's certificate, loaded again when its files change."""

import asyncio
import contextlib
import datetime as dt
import logging
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dog.errors import SettingError, short_reason
from dog.files import open_regular
from dog.settings import Settings
from dog.tls.transport import TlsTransport

__all__ = ["Tls", "make_tls"]

CERTIFICATE_POLL_SECONDS = 1.0
"""Time between two checks of the files. They are loaded when two checks find the same change: both are written."""
EXPIRY_WARNING_TIME = dt.timedelta(days=14)
"""Time before the end of a certificate from which on there is a warning."""
MAX_PEM_FILE_BYTES = 1024 * 1024
CERTIFICATE_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
KEY_PEM = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")

File = Literal["tls_certificate", "tls_key"]

log = logging.getLogger(__name__)


def make_tls(settings: Settings) -> "Tls | None":
    """Load the certificate, or raise SettingError. None for plain HTTP."""
    if settings.tls_certificate is not None:
        return Tls(settings)
    if settings.tls_key is not None:
        raise settings.error("tls_key", "the key has no certificate. Name its file with tls_certificate.")
    return None


class Tls:
    """The certificate of new connections. Open ones keep their own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reload_requested = asyncio.Event()
        self._loaded_states = _file_states(settings)
        self._loaded = _load(settings)
        self._has_warned = False
        self._warn_about_validity()

    @property
    def context(self) -> ssl.SSLContext:
        return self._loaded.context

    def wrap(self, protocol: asyncio.Protocol, on_accepted: Callable[[asyncio.Transport], None]) -> "TlsTransport":
        """Return the transport, which calls `on_accepted` before the handshake."""
        return TlsTransport(self.context, protocol, on_accepted)

    def reload(self) -> None:
        """Make `run` load the files now, even if they have not changed."""
        self._reload_requested.set()

    async def run(self) -> None:
        """Load the files again whenever they change, until cancelled."""
        previous = self._loaded_states
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CERTIFICATE_POLL_SECONDS):
                    await self._reload_requested.wait()
            states = await asyncio.to_thread(_file_states, self._settings)
            if self._reload_requested.is_set() or previous == states != self._loaded_states:
                self._reload_requested.clear()
                self._loaded_states = states
                await self._reload_files()
            previous = states
            self._warn_about_validity()

    async def _reload_files(self) -> None:
        try:
            self._loaded = await asyncio.to_thread(_load, self._settings)
        except SettingError as error:
            log.error("%s The previous certificate stays in use.", error)
            return
        self._has_warned = False
        log.info("The certificate was loaded again. It expires on %s.", self._loaded.ends_at.date())

    def _warn_about_validity(self) -> None:
        """Log once for each certificate if it expires soon or is not valid yet."""
        now, loaded = dt.datetime.now(dt.UTC), self._loaded
        if self._has_warned or loaded.begins_at <= now < loaded.ends_at - EXPIRY_WARNING_TIME:
            return
        self._has_warned = True
        if now < loaded.begins_at:
            log.warning("The certificate is not valid before %s. Check the clock.", loaded.begins_at.date())
        else:
            log.warning(
                "The certificate expires on %s. Renew it; the new one is loaded by itself.", loaded.ends_at.date()
            )


@dataclass(frozen=True, slots=True)
class _LoadedCertificate:
    """A certificate that is in use, and its validity."""

    context: ssl.SSLContext
    begins_at: dt.datetime
    ends_at: dt.datetime


class _KeyEncrypted(Exception):
    """The key is encrypted, with a password."""


def _file_states(settings: Settings) -> tuple[tuple[int, ...] | None, ...]:
    """Return a value that changes when a file changes."""
    return tuple(map(_file_state, (settings.tls_certificate, settings.tls_key)))


def _file_state(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _load(settings: Settings) -> _LoadedCertificate:
    """Load the certificate and its key, or raise SettingError."""
    path = settings.tls_certificate
    assert path is not None
    key_file: File = "tls_certificate" if settings.tls_key is None else "tls_key"
    text = _read(settings, "tls_certificate")
    found = CERTIFICATE_PEM.search(text)
    if found is None:
        raise settings.error("tls_certificate", f"{path} contains no certificate in PEM format. Name a file that does.")
    if not KEY_PEM.search(_read(settings, key_file)):
        advice = "Name its file with tls_key." if settings.tls_key is None else "Name a file that does."
        problem = f"{getattr(settings, key_file)} contains no private key in PEM format. {advice}"
        raise settings.error(key_file, problem)
    context = _make_context()
    try:
        context.load_cert_chain(path, settings.tls_key, _refuse_password)
        begins_at, ends_at = _read_period(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))
    except _KeyEncrypted:
        problem = "is encrypted with a password. Decrypt it with openssl pkey."
        raise settings.error(key_file, f"the key in {getattr(settings, key_file)} {problem}") from None
    except ssl.SSLError as error:
        raise _openssl_error(error, settings, key_file) from None
    except OSError as error:  # removed since it was read
        raise settings.error(
            "tls_certificate", f"{path} can't be read: {short_reason(error)}. Check the file."
        ) from error
    except (ValueError, IndexError):
        raise settings.error(
            "tls_certificate", f"{path} contains a damaged certificate. Make or fetch a new one."
        ) from None
    if ends_at <= dt.datetime.now(dt.UTC):
        problem = f"the certificate in {path} expired on {ends_at.date()}. Renew it, or make one with `dog cert`."
        raise settings.error("tls_certificate", problem)
    key_path = settings.tls_key or path
    if key_path.stat().st_mode & stat.S_IROTH:
        log.warning("Everybody on this computer can read the key in %s. Run: chmod 600 %s", key_path, key_path)
    return _LoadedCertificate(context, begins_at, ends_at)


def _read(settings: Settings, name: File) -> bytes:
    """Read a regular file of limited size, or raise SettingError."""
    path: Path = getattr(settings, name)
    try:
        with open_regular(path) as file:
            return file.read(MAX_PEM_FILE_BYTES)
    except OSError as error:
        problem = f"{path} can't be read: {short_reason(error)}."
        raise settings.error(name, f"{problem} Name a file that can be read, or make one with `dog cert`.") from error


def _refuse_password() -> str:
    raise _KeyEncrypted


def _openssl_error(error: ssl.SSLError, settings: Settings, key_file: File) -> SettingError:
    path, reason = settings.tls_certificate, error.reason or ""
    if "MISMATCH" in reason or reason == "NO_CERTIFICATE_ASSIGNED":  # no certificate for this type of key: RSA or EC
        problem = f"does not belong to the certificate in {path}. Name the right one."
        return settings.error(key_file, f"the key in {getattr(settings, key_file)} {problem}")
    why = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    where = f"{path} and {settings.tls_key}" if settings.tls_key else f"{path}"
    return settings.error("tls_certificate", f"OpenSSL can't use {where}{why}. Make or fetch a new certificate.")


def _make_context() -> ssl.SSLContext:
    """Return a context for TLS 1.2 and 1.3 with the default ciphers.

    Session resumption is off, so that no ticket key can leak or outlive its certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read_period(der: bytes) -> tuple[dt.datetime, dt.datetime]:
    """Return begin and end of a valid certificate (RFC 5280, section 4.1)."""
    _, begin, _ = _read_value(der, 0)  # the certificate
    _, at, _ = _read_value(der, begin)  # the signed part
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
    """Return the tag of a DER value, and where its content begins and ends."""
    tag, size = der[at], der[at + 1]
    at += 2
    if size >= 0x80:
        digits = size & 0x7F
        size, at = int.from_bytes(der[at : at + digits], "big"), at + digits
    return tag, at, at + size


def _read_time(tag: int, text: bytes) -> dt.datetime:
    """Parse a UTCTime (years 1950 to 2049) or a GeneralizedTime."""
    digits = text.decode("ascii")
    if tag == 0x17:
        digits = ("19" if digits >= "50" else "20") + digits
    return dt.datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)
