"""Users, passwords and other secrets of addresses, taken out of what is shown."""

import re

__all__ = ["HIDDEN", "SECRET", "redact", "redact_text"]

HIDDEN = "***"
SECRET = re.compile(
    r"([?&;](?:[\w.-]*(?:user|usr|login|account|pass|pwd|psw|token|secret|key|auth|cred|sig|session)[\w.-]*|u|p|pw)=)[^&;#\s]*",
    re.IGNORECASE,
)
"""A part of a query that is named like a secret; the name is the group."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}[^\s'\"<>|]+", re.IGNORECASE)


def redact(url: str) -> str:
    """The address without user and password, also where it is no whole address, and without secrets in its query."""
    head, mark, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    if mark and at and "?" not in before:  # else the sign stands in the query
        rest = f"{HIDDEN}@{after}"
    return SECRET.sub(rf"\g<1>{HIDDEN}", f"{head}{mark}{rest}")


def redact_text(text: str) -> str:
    """The text with each address in it redacted."""
    return _ADDRESS.sub(lambda found: redact(re.sub(":/+", "://", found[0], count=1)), text)
