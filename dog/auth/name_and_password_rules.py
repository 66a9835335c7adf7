"""Rules for names and passwords, and how two of them are compared.

Both are normalized with NFKC, so that they are equal from every keyboard (RFC 8265). Names are compared without case.
"""

import re
import unicodedata

from dog.errors import DogError

__all__ = ["AccountsError", "check_name", "check_password", "encode_password", "fold_name"]

MAX_NAME_LENGTH = 64
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_BYTES = 1024
"""Maximum bytes in UTF-8, and characters before normalization. Longer input is not processed."""
_NAME = re.compile(r"[^\W_][\w.@-]*")


class AccountsError(DogError):
    """A change to the accounts is refused. `str()` is one line."""


def fold_name(name: str) -> str | None:
    """Return the name for comparison; None if it is invalid."""
    if len(name) > MAX_NAME_LENGTH:
        return None
    normal = unicodedata.normalize("NFKC", name)
    if len(normal) > MAX_NAME_LENGTH or not _NAME.fullmatch(normal):
        return None
    return unicodedata.normalize("NFKC", normal.casefold())


def check_name(name: str) -> tuple[str, str]:
    """Return the name and the folded name, or raise AccountsError."""
    folded = fold_name(name)
    if folded is None:
        shown = repr(name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "...")
        raise AccountsError(
            f"{shown} is not a valid name. Start with a letter or a digit, and use only letters, digits, '.', '-', '_'"
            f" and '@', at most {MAX_NAME_LENGTH} characters."
        )
    return unicodedata.normalize("NFKC", name), folded


def encode_password(password: str) -> bytes | None:
    """Return the password's bytes for hashing; None if it is not valid."""
    if len(password) > MAX_PASSWORD_BYTES:
        return None
    try:
        encoded = unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain
        return None
    return encoded if len(encoded) <= MAX_PASSWORD_BYTES else None


def check_password(password: str, name: str) -> bytes:
    """Return a new password's bytes for hashing, or raise AccountsError."""
    encoded = encode_password(password)
    if encoded is None:
        raise AccountsError(f"The password is too long or not text. Use at most {MAX_PASSWORD_BYTES} bytes of UTF-8.")
    text = encoded.decode()
    if len(text) < MIN_PASSWORD_LENGTH:
        raise AccountsError(f"The password is too short. Use at least {MIN_PASSWORD_LENGTH} characters.")
    if unicodedata.normalize("NFKC", text.casefold()) == fold_name(name):
        raise AccountsError("The password is the user's name. Use another one.")
    return encoded
