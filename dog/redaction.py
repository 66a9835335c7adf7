"""Redaction: remove users, passwords and secrets from URLs and texts."""

import re

__all__ = ["HIDDEN", "SECRET", "redact", "redact_text"]

HIDDEN = "***"
SECRET = re.compile(
    r"([?&;](?:[\w.-]*(?:user|usr|login|account|pass|pwd|psw|token|secret|key|auth|cred|sig|session)[\w.-]*|u|p|pw)=)[^&;#\s]*",
    re.IGNORECASE,
)
"""A query parameter whose name is typical of a secret. The name is the group."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}[^\s'\"<>|]+", re.IGNORECASE)


def redact(url: str) -> str:
    """Remove user, password and secret parameters from any text of a URL."""
    head, mark, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    if mark and at and "?" not in before:  # else the @ is in the query
        rest = f"{HIDDEN}@{after}"
    return SECRET.sub(rf"\g<1>{HIDDEN}", f"{head}{mark}{rest}")


def redact_text(text: str) -> str:
    """Redact every URL in a text."""
    return _URL.sub(lambda found: redact(re.sub(":/+", "://", found[0], count=1)), text)
