"""Authentication at cameras: Digest (RFC 7616), else Basic (RFC 7617).

It is pure: challenges in, the value of the header Authorization out. Header values have one character for each byte
(Latin-1), as http.client reads them and as they must be sent. User and password are hashed and sent as UTF-8.
"""

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Iterable

from dog.errors import CameraOffline

__all__ = ["NONCES_EXPIRE", "Challenge"]

NONCES_EXPIRE = "The camera accepts no login: each nonce expires at once. Restart it."
"""The message if a right answer is called stale again and again."""
_ALGORITHMS = {"SHA-256": "sha256", "MD5": "md5", "SHA-512-256": "sha512_256"}
"""Algorithms and their names in hashlib, in order of preference. SHA-512-256 is last: no camera is known to have it."""
_PARAMETER = re.compile(
    r"""(?P<name>[^\s,;="]+)
    (?P<value>\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"?|(?P<plain>[^\s,;]*)))?
    (?P<end>[\s,;]*)""",
    re.VERBOSE | re.DOTALL,
)
"""A parameter, or a word alone: a scheme, or a further word of an unquoted value."""


class Challenge:
    """The strongest of the challenges of a response, which answers requests.

    `headers` are the values of its headers WWW-Authenticate. Without a challenge, the answers are Basic. Raises
    CameraOffline if no challenge is supported.
    """

    def __init__(self, headers: Iterable[str]) -> None:
        found = [challenge for header in headers for challenge in _parse_challenges(header)]
        digests: dict[str, dict[str, str]] = {}
        for scheme, parameters in found:
            if scheme == "digest" and "nonce" in parameters:
                digests.setdefault(parameters.get("algorithm", "").upper() or "MD5", parameters)
        names = [name + variant for name in _ALGORITHMS for variant in ("", "-SESS")]
        self._algorithm = next((name for name in names if name in digests), None)
        self._parameters = digests[self._algorithm] if self._algorithm else {}
        if found and not self._algorithm and all(scheme != "basic" for scheme, _ in found):
            raise CameraOffline("The camera's kind of login is not supported. Set it to Digest or Basic.")
        self._client_nonce = secrets.token_hex(16)
        self._answers = 0

    @property
    def is_digest(self) -> bool:
        """True if the answers are Digest, not Basic."""
        return self._algorithm is not None

    @property
    def is_stale(self) -> bool:
        """True if the camera refused only the nonce of the last answer."""
        return self._parameters.get("stale", "").lower() == "true"

    def answer(self, *, user: str, password: str, method: str, uri: str) -> str:
        """Return the header Authorization for the next request without a body."""
        user, password = (text.encode().decode("latin-1") for text in (user, password))
        if self._algorithm is None:
            return "Basic " + b64encode(f"{user}:{password}".encode("latin-1")).decode()
        self._answers += 1
        return "Digest " + ", ".join(self._answer_digest(self._algorithm, user, password, method, uri))

    def _answer_digest(self, algorithm: str, user: str, password: str, method: str, uri: str) -> Iterable[str]:
        """Yield the parameters of an answer (RFC 7616 section 3.4)."""
        hash_name = _ALGORITHMS[algorithm.removesuffix("-SESS")]

        def digest(*words: str) -> str:
            data = ":".join(words).encode("latin-1", "replace")
            return hashlib.new(hash_name, data, usedforsecurity=False).hexdigest()

        given = self._parameters
        realm, nonce, client_nonce = given.get("realm", ""), given["nonce"], self._client_nonce
        is_session = algorithm.endswith("-SESS")
        offered = {option.strip().lower() for option in given.get("qop", "").split(",")}
        qop = next((one for one in ("auth", "auth-int") if one in offered), "")
        count = f"{self._answers:08x}"
        hash_a1 = digest(user, realm, password)
        if is_session:
            hash_a1 = digest(hash_a1, nonce, client_nonce)
        hash_a2 = digest(method, uri, digest("")) if qop == "auth-int" else digest(method, uri)
        counted = (count, client_nonce, qop) if qop else ()
        quoted = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
        quoted["response"] = digest(hash_a1, nonce, *counted, hash_a2)
        if qop or is_session:
            quoted["cnonce"] = client_nonce
        if "opaque" in given:
            quoted["opaque"] = given["opaque"]
        for name, value in quoted.items():
            escaped = value.replace("\\", r"\\").replace('"', r"\"")
            yield f'{name}="{escaped}"'
        if given.get("algorithm"):
            yield f"algorithm={given['algorithm']}"
        if qop:
            yield f"qop={qop}"
            yield f"nc={count}"


def _parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the schemes of a header, in lower case, with their parameters.

    Cameras forget quotes (`realm=IP Camera`, `qop=auth,auth-int`), and separate by semicolons. So a word without a
    value continues an unquoted value, unless it is after a comma and is a scheme's name or has parameters.
    """
    found: list[tuple[str, dict[str, str]]] = []
    unquoted = separator = ""
    for match in _PARAMETER.finditer(header):
        name = match["name"].lower()
        if match["value"]:
            if found:
                plain = match["plain"]
                found[-1][1].setdefault(name, re.sub(r"\\(.)", r"\1", match["quoted"]) if plain is None else plain)
                unquoted = name if plain else ""
        elif unquoted and not (separator and (name in ("basic", "digest") or _has_parameters(match))):
            found[-1][1][unquoted] += (separator or " ") + match["name"]
        else:
            found.append((name, {}))
            unquoted = ""
        separator = match["end"].strip()
    return found


def _has_parameters(word: re.Match[str]) -> bool:
    """Return True if a space and a parameter follow the word."""
    return word["end"].isspace() and bool(re.match(r"[^\s,;=]+\s*=", word.string[word.end() :]))
