"""What names and passwords may be, and when two of them are the same.

Both are compared as NFKC has them, so that they are the same from every keyboard (RFC 8265 has the reasons); names
without case, too.
"""

import re
import unicodedata

from dog.errors import DogError

__all__ = ["AccessError", "check_name", "check_password", "encode_password", "fold_name"]

LONGEST_NAME = 64
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1024
"""Bytes in UTF-8, and characters before they are normalised: that much is looked at, and no more."""
_NAME = re.compile(r"[^\W_][\w.@-]*")


class AccessError(DogError):
    """What a person wanted of the accounts can't be done. `str()` is one line that says why."""


def fold_name(name: str) -> str | None:
    """The name as names are compared; None for what can't be one."""
    if len(name) > LONGEST_NAME:
        return None
    normal = unicodedata.normalize("NFKC", name)
    if len(normal) > LONGEST_NAME or not _NAME.fullmatch(normal):
        return None
    return unicodedata.normalize("NFKC", normal.casefold())


def check_name(name: str) -> tuple[str, str]:
    """The name as it is kept, and as it is compared. Raises AccessError."""
    folded = fold_name(name)
    if folded is None:
        shown = repr(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "...")
        raise AccessError(
            f"{shown} is no name; write a letter or a digit, then letters, digits, '.', '-', '_' or '@',"
            f" {LONGEST_NAME} at most."
        )
    return unicodedata.normalize("NFKC", name), folded


def encode_password(password: str) -> bytes | None:
    """The password as it is hashed; None for what is too long for one, or no text. However long, quickly."""
    if len(password) > LONGEST_PASSWORD:
        return None
    try:
        encoded = unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:  # half a character, as JSON can have it
        return None
    return encoded if len(encoded) <= LONGEST_PASSWORD else None


def check_password(password: str, name: str) -> bytes:
    """A new password of the user with that name, as it is hashed. Raises AccessError."""
    encoded = encode_password(password)
    if encoded is None:
        raise AccessError(f"The password is too long, or no text; it may have {LONGEST_PASSWORD} bytes in UTF-8.")
    text = encoded.decode()
    if len(text) < SHORTEST_PASSWORD:
        raise AccessError(f"The password is too short; it has {SHORTEST_PASSWORD} characters at least.")
    if unicodedata.normalize("NFKC", text.casefold()) == fold_name(name):
        raise AccessError("The password is the user's name; take another one.")
    return encoded
