"""Checks of a setting's value beyond its type and limits.

Each check returns the value to use. It raises ValueError without a message if the setting's `expected` is enough help,
otherwise with a message to show.
"""

import ipaddress
import re
from urllib.parse import urlsplit

__all__ = [
    "CAMERA_KINDS",
    "check_base_url",
    "check_camera",
    "check_host",
    "check_hosts",
    "check_networks",
    "check_origins",
    "check_pixel_format",
    "check_resolution",
    "has_password",
    "shorten",
    "split_camera",
]

CAMERA_KINDS = {
    "test": "",
    "script": ":PATH",
    "v4l2": ":DEVICE",
    "rtsp": "://ADDRESS",
    "rtsps": "://ADDRESS",
    "http": "://ADDRESS",
    "https": "://ADDRESS",
    "picamera": ":NUMBER",
    "faulty": ":FAULTS",
}
"""The kinds of camera, and the form of the argument of each."""

_MAX_SHOWN_CHARACTERS = 80
_PASSWORD = re.compile(r"(?:^|[&;])[\w.-]*(?:pass|pwd|psw|secret|token)[\w.-]*=[^&;]", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def shorten(value: object) -> str:
    """Return a value for an error message: short, and on one line."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "..."


def redact_camera(value: object) -> str:
    """Return a camera for an error message, without its password."""
    if not isinstance(value, str):
        return shorten(value)
    return shorten(re.sub(r"\?.*", "?***", re.sub(r":.*@", ":***@", value, flags=re.DOTALL), flags=re.DOTALL))


def split_camera(text: str) -> tuple[str, str]:
    """Split a camera such as `script:./snap.sh` into kind and argument.

    Raise ValueError with a message if the kind is unknown, or the argument is missing, wrong or not allowed.
    """
    kind, colon, argument = text.partition(":")
    needs = CAMERA_KINDS.get(kind)
    if needs is None:
        known = ", ".join(f"{name}{needed}" for name, needed in CAMERA_KINDS.items())
        raise ValueError(f"{redact_camera(text)} is not a kind of camera. Write one of {known}.")
    if needs and not argument:
        raise ValueError(f"{redact_camera(text)} needs something after the colon. Write {kind}{needs}.")
    if colon and not needs:
        raise ValueError(f"{redact_camera(text)} takes nothing after the colon. Write {kind}.")
    if needs == "://ADDRESS" and not _is_url(text):
        raise ValueError(f"{redact_camera(text)} is not a valid URL. Write one such as {kind}://192.0.2.7/stream.")
    if needs == ":NUMBER" and not (argument.isascii() and argument.isdigit()):
        raise ValueError(f"{redact_camera(text)} has no number after the colon. Write {kind}:0 for the first camera.")
    return kind, argument


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def check_camera(value: str) -> str:
    split_camera(value)
    return value


def has_password(camera: str) -> bool:
    """Return True if the camera's URL has a password, even in its query."""
    parts = urlsplit(camera)
    return bool(parts.password) or bool(_PASSWORD.search(parts.query))


def check_resolution(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", value, re.ASCII):
        raise ValueError
    return value


def check_pixel_format(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Z0-9]{4}", value, re.ASCII):
        raise ValueError
    return value


def check_host(value: str) -> str:
    if re.fullmatch(r"[^:]+:\d+", value):
        raise ValueError(f"{shorten(value)} contains a port. Leave it out, and write the port as the setting port.")
    if not re.fullmatch(r"[\w.:%-]+", value):
        raise ValueError
    return value


def check_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", one):
            raise ValueError(
                f"{shorten(one)} is not a host name. Write one such as dog.lan, without a scheme, a port or a path."
            )
    return tuple(one.lower() for one in value)


def check_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise ValueError(
                f"{shorten(one)} is not an address or a network. Write one such as 127.0.0.1 or 10.0.0.0/8."
            ) from None
    return value


def check_base_url(value: str | None) -> str | None:
    if value is None:
        return None
    origin, path = _split_url(value)
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[\w~%+@-][\w.~%+@-]*)*", path, re.ASCII):
        raise ValueError
    return origin + path


def check_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    origins = []
    for one in value:
        try:
            origin, path = _split_url(one)
        except ValueError:
            raise ValueError(f"{shorten(one)} is not an origin. Write one such as https://example.org.") from None
        if path not in ("", "/"):
            raise ValueError(f"{shorten(one)} has a path. Remove everything after the host or the port.")
        origins.append(origin)
    return tuple(origins)


def _split_url(url: str) -> tuple[str, str]:
    """Split an http(s) URL into the origin, as browsers send it, and path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError from None  # its message has no remedy
    if parts.scheme not in _DEFAULT_PORTS or not re.fullmatch(r"[a-z0-9.-]+|[0-9a-f:.]+", host):
        raise ValueError
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError
    written = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        written += f":{port}"
    return f"{parts.scheme}://{written}", parts.path
