"""Random secrets of 256 bits, stored as SHA-256 digests.

They can't be guessed, so a fast hash is enough. The timing of a lookup by digest does not reveal how close a guess was.
Texts of another length are rejected without hashing.
"""

import hashlib
import re
import secrets

__all__ = ["TOKEN_PREFIX", "make_secret", "secret_digest"]

TOKEN_PREFIX = "dog_"
"""Prefix of tokens, so that one can be recognized in a file or a log."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def make_secret(prefix: str = "") -> str:
    """Return a new secret: the prefix and 43 characters of base64url."""
    return prefix + secrets.token_urlsafe(32)


def secret_digest(text: str, prefix: str = "") -> bytes | None:
    """Return the digest of a secret; None if the text is not a secret."""
    if not (text.startswith(prefix) and _SECRET.fullmatch(text, len(prefix))):
        return None
    return hashlib.sha256(text.encode()).digest()
