"""Parse a server's URL: http://host:8080, host:8080, https://host/prefix."""

import re

from yarl import URL

from dog.client.errors import AddressError
from dog.redaction import redact

__all__ = ["display_url", "parse_server_url"]

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
