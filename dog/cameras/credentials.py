"""Credentials of a camera: the password file, and HTTP authentication.

A password in a file is outside of the settings. It is read at each opening, so a changed one counts from the next. HTTP
authentication is Digest if possible, otherwise Basic.
"""

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from urllib.request import parse_http_list, parse_keqv_list

from dog.errors import CameraOffline, short_reason
from dog.files import NotRegularFile, open_regular

__all__ = ["authorization_header", "read_password"]

MAX_PASSWORD_FILE_BYTES = 4096
"""Far more than a password that a person chose."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ALGORITHMS = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
"""Algorithms for Digest, the better one first (RFC 7616)."""


def read_password(path: Path) -> str:
    """Return the file's only line. Raises ValueError, which does not quote it."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_PASSWORD_FILE_BYTES + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except NotRegularFile:
        raise ValueError(f"{path} is not a file. Name one that has the password and nothing else.") from None
    except OSError as error:
        raise ValueError(
            f"{path} can't be read: {short_reason(error)}. Name a file that has the password and nothing else."
        ) from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8. Write the password into it and nothing else.") from None
    if not text:
        raise ValueError(f"{path} is empty. Write the password into it.")
    if len(data) > MAX_PASSWORD_FILE_BYTES or _CONTROL.search(text):
        raise ValueError(f"{path} has more than one line. Write the password into it and nothing else.")
    return text


def authorization_header(challenges: Iterable[str], user: str, password: str, target: str) -> str:
    """Return the header for the best challenge. Raises CameraOffline if none."""
    digests: dict[str, dict[str, str]] = {}
    basic = False
    for challenge in challenges:
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme.lower() == "digest":
            try:
                found = {name.lower(): value for name, value in parse_keqv_list(parse_http_list(rest)).items()}
            except ValueError:
                continue
            digests.setdefault(found.get("algorithm", "MD5").upper(), found)
        basic = basic or scheme.lower() == "basic"
    for name in _ALGORITHMS:
        if name in digests and {"realm", "nonce"} <= digests[name].keys():
            return _digest(name, digests[name], user, password, target)
    if basic:
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    raise CameraOffline("The camera's kind of login is not supported. Set it to Digest or Basic.")


def _digest(algorithm: str, challenge: dict[str, str], user: str, password: str, target: str) -> str:
    def digest(*words: str) -> str:
        return _ALGORITHMS[algorithm](":".join(words).encode(), usedforsecurity=False).hexdigest()

    realm, nonce = challenge["realm"], challenge["nonce"]
    hash_a1, hash_a2 = digest(user, realm, password), digest("GET", target)
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": target}
    unquoted = {"algorithm": algorithm} if "algorithm" in challenge else {}
    if "auth" in [option.strip() for option in challenge.get("qop", "").split(",")]:
        fields["cnonce"] = cnonce = secrets.token_hex(8)
        unquoted |= {"qop": "auth", "nc": "00000001"}
        fields["response"] = digest(hash_a1, nonce, "00000001", cnonce, "auth", hash_a2)
    else:
        fields["response"] = digest(hash_a1, nonce, hash_a2)
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    quoted = (
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in fields.items()
    )
    return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in unquoted.items())])
