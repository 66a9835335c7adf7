"""Redaction: remove users, passwords and secrets from URLs and texts."""

import re

__all__ = ["ESCAPE_PASSWORD", "HIDDEN", "SECRET", "redact", "redact_parameters", "redact_text"]

HIDDEN = "***"
ESCAPE_PASSWORD = (
    "In a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25, or put the password into a file and name the file in"
    " `password_file`."
)
"""The remedy for a URL that a password makes invalid."""
SECRET = re.compile(
    r"((?:[?&;/,]|%26)(?:[\w.-]*(?:user|usr|login|account|pas|pwd|psw|token|secret|key|auth|cred|sig|session)[\w.-]*|u|p|pw)"
    r"(?:=|%3D))[^&;#\s]*",
    re.IGNORECASE,
)
"""A parameter whose name is typical of a secret, also in a path (`/user=me_password=...`). The name is the group."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}(?:[^\s<>|]*@)?[^\s'\"<>|]+", re.IGNORECASE)
_QUERY_WITH_AT = re.compile(
    r"(?P<credentials>[^/?#]*@)?"
    r"(?P<rest>(?:[^:/?#@.]+|(?:(?=[^:/?#@]*\.)[^:/?#@]+|\[[^]]*\])(?::\d*)?)/[^?#@]*\?(?:[^?#@]*[&;])?[\w.-]+=[^&;?#]*)"
)
"""A URL, without its scheme, up to the last @, which is in the value of a query's parameter (`mail=me@home`)."""


def redact(url: str) -> str:
    """Remove user, password and secret parameters from any text of a URL.

    Users forget to escape / ? and # in a password, so everything before the last @ is removed, unless that is clearly
    part of a query.
    """
    head, mark, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    if mark and at:
        query = _QUERY_WITH_AT.fullmatch(before)
        if query is None:
            rest = f"{HIDDEN}@{after}"
        elif query["credentials"]:
            rest = f"{HIDDEN}@{query['rest']}@{after}"
    return redact_parameters(f"{head}{mark}{rest}")


def redact_parameters(text: str) -> str:
    """Remove the values of secret parameters from any text."""
    return SECRET.sub(rf"\g<1>{HIDDEN}", text)


def redact_text(text: str) -> str:
    """Redact every URL in a text."""
    return _URL.sub(lambda found: redact(re.sub(":/+", "://", found[0], count=1)), text)
