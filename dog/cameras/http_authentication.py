"""How a user and a password are shown to a camera that asks over HTTP: Digest where it knows that, else Basic."""

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Iterable
from urllib.request import parse_http_list, parse_keqv_list

from dog.cameras.camera_url import CameraUrl
from dog.errors import CameraOffline

__all__ = ["authorization_header"]

_ALGORITHMS = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
"""For Digest, the better one first (RFC 7616)."""


def authorization_header(challenges: Iterable[str], url: CameraUrl, target: str) -> str:
    """The header that answers the best of these challenges. Raises CameraOffline where none can be answered."""
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
    who, what = digest(url.user, realm, url.password), digest("GET", target)
    said = {"username": url.user, "realm": realm, "nonce": nonce, "uri": target}
    plain = {"algorithm": algorithm} if "algorithm" in challenge else {}
    if "auth" in [option.strip() for option in challenge.get("qop", "").split(",")]:
        said["cnonce"] = own = secrets.token_hex(8)
        plain |= {"qop": "auth", "nc": "00000001"}
        said["response"] = digest(who, nonce, "00000001", own, "auth", what)
    else:
        said["response"] = digest(who, nonce, what)
    if "opaque" in challenge:
        said["opaque"] = challenge["opaque"]
    quoted = (
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in said.items()
    )
    return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in plain.items())])
