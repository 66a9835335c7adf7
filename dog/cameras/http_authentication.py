"""HTTP authentication at a camera: Digest if possible, otherwise Basic."""

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Iterable
from urllib.request import parse_http_list, parse_keqv_list

from dog.cameras.camera_url import CameraUrl
from dog.errors import CameraOffline

__all__ = ["authorization_header"]

_ALGORITHMS = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
"""Algorithms for Digest, the better one first (RFC 7616)."""


def authorization_header(challenges: Iterable[str], url: CameraUrl, target: str) -> str:
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
            return _digest(name, digests[name], url, target)
    if basic:
        return "Basic " + b64encode(f"{url.user}:{url.password}".encode()).decode()
    raise CameraOffline("The camera's kind of login is not supported. Set it to Digest or Basic.")


def _digest(algorithm: str, challenge: dict[str, str], url: CameraUrl, target: str) -> str:
    def digest(*words: str) -> str:
        return _ALGORITHMS[algorithm](":".join(words).encode(), usedforsecurity=False).hexdigest()

    realm, nonce = challenge["realm"], challenge["nonce"]
    hash_a1, hash_a2 = digest(url.user, realm, url.password), digest("GET", target)
    fields = {"username": url.user, "realm": realm, "nonce": nonce, "uri": target}
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
