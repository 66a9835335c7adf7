"""HTTP authentication: challenges as cameras write them, and the answers.

A server of the test checks each answer by RFC 7616, which says how to do it.
"""

import hashlib
from base64 import b64encode
from urllib.request import parse_http_list, parse_keqv_list

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.cameras.digest import Challenge
from dog.errors import CameraOffline

USER, PASSWORD = 'op"erator', "p\\ä: €,="
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256, "SHA-512-256": lambda data: hashlib.new("sha512_256", data)}


def answer(*headers: str, user: str = USER, password: str = PASSWORD, method: str = "GET", uri: str = "/p?x=1") -> str:
    return Challenge(headers).answer(user=user, password=password, method=method, uri=uri)


def parse_answer(header: str) -> dict[str, str]:
    scheme, _, parameters = header.partition(" ")
    assert scheme == "Digest"
    return parse_keqv_list(parse_http_list(parameters))


def check_answer(header: str, realm: str, nonce: str, method: str = "GET", uri: str = "/p?x=1") -> dict[str, str]:
    """Compare the response with that of RFC 7616 for user and password."""
    found = parse_answer(header)
    assert (found["realm"], found["nonce"], found["uri"]) == (realm, nonce, uri)
    assert found["username"].encode("latin-1").decode() == USER
    algorithm = found.get("algorithm", "MD5").upper()

    def digest(*words: bytes) -> bytes:
        return HASHES[algorithm.removesuffix("-SESS")](b":".join(words)).hexdigest().encode()

    wire = {name: value.encode("latin-1") for name, value in found.items()}
    hash_a1 = digest(USER.encode(), wire["realm"], PASSWORD.encode())
    if algorithm.endswith("-SESS"):
        hash_a1 = digest(hash_a1, wire["nonce"], wire["cnonce"])
    body = [digest(b"")] if found.get("qop") == "auth-int" else []
    hash_a2 = digest(method.encode(), uri.encode(), *body)
    counted = [wire["nc"], wire["cnonce"], wire["qop"]] if "qop" in found else []
    assert wire["response"] == digest(hash_a1, wire["nonce"], *counted, hash_a2)
    return found


def test_the_example_of_rfc_7616_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _bytes: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    offered = [
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm},'
        ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
        for algorithm in ("SHA-256", "MD5")
    ]
    responses = [
        parse_answer(answer(one, user="Mufasa", password="Circle of Life", uri="/dir/index.html"))["response"]
        for one in offered
    ]
    assert responses == [
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        "8ca523f5e9506fed4657c9700eebdbec",
    ]
    assert "algorithm=SHA-256" in answer(*reversed(offered))


@pytest.mark.parametrize(
    "qop", ["", ', qop="auth"', ", qop=auth,auth-int", ', qop="auth-int"', ', qop="AUTH-int,Auth"']
)
@pytest.mark.parametrize("algorithm", ["", "MD5", "MD5-sess", "SHA-256", '"sha-256-SESS"', "SHA-512-256"])
def test_each_algorithm_and_protection_is_answered(algorithm: str, qop: str) -> None:
    given = f', algorithm={algorithm}, opaque="o,p"' if algorithm else ""
    found = check_answer(answer(f'Digest realm="back yard", nonce="n/1="{qop}{given}'), "back yard", "n/1=")
    assert found.get("algorithm", "") == algorithm.strip('"')
    assert found.get("opaque") == ("o,p" if algorithm else None)
    assert found.get("qop") == ("auth-int" if '"auth-int"' in qop else "auth" if qop else None)


@pytest.mark.parametrize(
    "header",
    [
        'Digest realm=back yard, nonce="n1", qop=auth',
        "Digest realm=back yard,nonce=n1,qop=auth",
        'digest  realm = "back yard" , nonce = "n1"',
        'Digest realm="back yard"; nonce="n1"; qop="auth"',
        'Digest realm="back yard", nonce="n1", qop="auth",',
        'Digest,realm="back yard" nonce="n1"',
        'Digest realm="back yard", nonce="n1", qop=auth-int, auth, algorithm=MD5',
        'Digest realm="back yard", nonce="n1", qop="unheard-of"',
        'Digest realm="back yard", nonce="n1", algorithm=""',
    ],
)
def test_sloppy_challenges_are_understood(header: str) -> None:
    check_answer(answer(header), "back yard", "n1")


def test_a_realm_may_have_quotes_commas_schemes_and_bytes_that_are_not_ascii() -> None:
    realm = 'a "b", Basic c\\ ' + "Käfer".encode().decode("latin-1")
    escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
    check_answer(answer(f'Digest realm="{escaped}", nonce="n1"'), realm, "n1")


@pytest.mark.parametrize(
    "headers",
    [
        ('Basic realm="yard", Digest realm="yard", nonce="n1", qop="auth"',),
        ('Digest realm="yard", nonce="n1", Basic realm="yard"',),
        ('Basic realm="yard" Digest realm="yard" nonce="n1"',),
        ("Basic realm=yard, Digest realm=yard, nonce=n1",),
        ("Digest realm=yard, nonce=n1, Basic",),
        ('Basic realm="yard"', 'Digest realm="yard", nonce="n1"'),
        ('NTLM, WSSE realm="other", profile=x y, Digest realm="yard", nonce="n1"', "Basic"),
        ('Digest realm="yard", nonce="n2", algorithm=TIGER', 'Digest realm="yard", nonce="n1", algorithm=MD5'),
        ('Digest realm="yard", nonce="n2", algorithm=MD5-sess', 'Digest realm="yard", nonce="n1", algorithm=MD5'),
        ('Digest realm="yard", nonce="n2", Digest realm="yard", nonce="n1", algorithm=SHA-256-sess',),
        ('Digest realm="yard", nonce="n2", algorithm=SHA-512-256', 'Digest realm="yard", nonce="n1", algorithm=MD5'),
    ],
)
def test_the_strongest_challenge_is_answered(headers: tuple[str, ...]) -> None:
    check_answer(answer(*headers), "yard", "n1")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("",),
        ("Basic",),
        ('Basic realm="a"',),
        ("Basic realm=IP Camera",),
        ("Digest realm=broken", "basic"),
        ('realm="a"',),
    ],
)
def test_basic_is_sent_if_nothing_better_is_offered(headers: tuple[str, ...]) -> None:
    assert answer(*headers) == "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize("header", ["Negotiate", 'Digest realm="a", nonce="n1", algorithm=TIGER', "Digest realm=a"])
def test_an_unsupported_login_is_reported(header: str) -> None:
    with pytest.raises(CameraOffline, match="kind of login is not supported"):
        Challenge([header])


def test_further_answers_count_and_keep_the_session() -> None:
    challenge = Challenge(['Digest realm="yard", nonce="n1", qop="auth", algorithm=MD5-sess'])
    answers = [
        challenge.answer(user=USER, password=PASSWORD, method="DESCRIBE", uri="rtsp://yard/1") for _ in range(12)
    ]
    found = [check_answer(one, "yard", "n1", "DESCRIBE", "rtsp://yard/1") for one in answers]
    assert [one["nc"] for one in found] == [f"{number:08x}" for number in range(1, 13)]
    assert len({one["cnonce"] for one in found}) == 1
    assert found[0]["cnonce"] != parse_answer(answer('Digest realm="yard", nonce="n1", qop="auth"'))["cnonce"]


@pytest.mark.parametrize(
    ("stale", "is_stale"), [("", False), (", stale=true", True), (', stale="TRUE"', True), (', stale="false"', False)]
)
def test_a_stale_nonce_is_told_from_a_refusal(stale: str, is_stale: bool) -> None:
    assert Challenge([f'Digest realm="yard", nonce="n1"{stale}']).is_stale is is_stale


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_any_header_is_answered_or_refused(headers: list[str]) -> None:
    try:
        text = answer(*headers)
    except CameraOffline:
        return
    assert text.encode("latin-1")


def test_a_long_header_is_parsed_in_linear_time() -> None:
    for filling in (",", " ", '"', "\\", "a ", "a=", '="', "a,"):
        Challenge([f"Digest {filling * 30_000}x", "Basic"])
