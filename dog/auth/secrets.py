"""Secrets that nobody chose: 256 random bits, found again by their SHA-256, which is all that is kept of them.

They are not guessed, so that one round of a fast hash is enough, and looking one up tells nobody how near they were.
"""

import hashlib
import re
import secrets

__all__ = ["TOKEN", "make_secret", "secret_digest"]

TOKEN = "dog_"
"""What tokens begin with, so that whoever finds one in a file or a log knows what it is."""
_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}")


def make_secret(prefix: str = "") -> str:
    """A new one: 43 characters of base64url after the prefix."""
    return prefix + secrets.token_urlsafe(32)


def secret_digest(text: str, prefix: str = "") -> bytes | None:
    """What a secret is found by; None for what is none. However long the text, quickly."""
    if not (text.startswith(prefix) and _RANDOM.fullmatch(text, len(prefix))):
        return None
    return hashlib.sha256(text.encode()).digest()
