"""Check settings that together could expose the service or a password."""

import contextlib
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from dog.client_addresses import is_loopback
from dog.settings.fields import COMMAND_LINE, ENVIRONMENT, Settings, has_password

__all__ = ["check_exposure", "find_readable_passwords", "find_warnings"]


def check_exposure(settings: Settings) -> None:
    """Raise SettingError if exposed without auth or open, also by a proxy."""
    if settings.auth and settings.open:
        raise settings.error("open", "auth and open can't be used together. Remove one of them.")
    if settings.anonymous != "nothing" and not settings.auth:
        raise settings.error("anonymous", "this setting needs auth. Add --auth, or remove this setting.")
    if settings.auth or settings.open:
        return
    public = settings.base_url
    exposures = {
        "host": None if _is_loopback(settings.host) else settings.host,
        "base_url": public if public and not _is_loopback(urlsplit(public).hostname or "") else None,
        "trusted_proxies": ", ".join(settings.trusted_proxies) or None,
    }
    for name, value in exposures.items():
        if value is not None:
            problem = (
                f"{value} lets other machines reach the service. Add --auth to require logins, or --open for everybody."
            )
            raise settings.error(name, problem)


def find_warnings(settings: Settings) -> list[str]:
    """Return a sentence for each setting that is allowed but may be a mistake."""
    warnings = []
    if settings.anonymous == "manage":
        warnings.append(
            "Everybody who can reach this service may pin, delete and share photos without logging in"
            ' (anonymous = "manage").'
        )
    has_https = settings.tls_certificate or settings.trusted_proxies or (settings.base_url or "").startswith("https:")
    if settings.auth and not has_https and not _is_loopback(settings.host):
        warnings.append(
            "Passwords and photos are sent over the network without encryption. Make a certificate with `dog cert` and"
            " name it with tls_certificate, or put a proxy with HTTPS in front of this service."
        )
    return warnings


def find_readable_passwords(cameras: Iterable[Settings], file: Path | None) -> Iterator[str]:
    """Yield a warning for each world-readable file with a password."""
    found = {one.password_file for one in cameras if one.password_file is not None}
    from_file = (one.camera for one in cameras if one.source_of("camera").place not in (COMMAND_LINE, ENVIRONMENT))
    if file is not None and any(map(has_password, from_file)):
        found.add(file)
    for path in sorted(found):
        with contextlib.suppress(OSError):  # reported by the code that needs it
            if path.stat().st_mode & stat.S_IROTH:
                yield f"Everybody on this computer can read the password in {path}. Run: chmod 600 {path}"


def _is_loopback(host: str) -> bool:
    """Return True if only this machine can reach the host."""
    return is_loopback(host) or host.lower().rstrip(".") == "localhost"
