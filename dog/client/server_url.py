"""Where a server is, from what a person writes: http://host:8080, host:8080, https://host/prefix."""

import re

from yarl import URL

from dog.client.errors import AddressError
from dog.redaction import redact

__all__ = ["display_url", "parse_server_url"]

_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")


def parse_server_url(text: str) -> URL:
    """The address below which everything is; without a scheme it is http. Raises AddressError."""
    whole = text if "://" in text else f"http://{text}"
    try:
        url = URL(whole)
        sound = url.scheme in ("http", "https") and url.host and url.port and not (url.query_string or url.fragment)
    except ValueError:
        sound = False
    if not sound or _UNSAFE.search(text):
        shown = redact(text)[:200]
        raise AddressError(f"{shown!r} is no address of a server; write one such as http://camera.local:8080")
    return url.with_path(url.path.rstrip("/"))


def display_url(url: URL) -> str:
    """The address for a person: without user, password and the last slash."""
    return str(url.with_user(None)).rstrip("/")
