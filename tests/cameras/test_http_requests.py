"""Logins and redirects of HTTP cameras that are odd, with real sockets."""

import hashlib
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote
from urllib.request import parse_http_list, parse_keqv_list

import pytest

from dog.cameras.http import HttpSource
from dog.errors import CameraOffline
from tests.support.sources.odd_http_camera import OddHttpCamera, Request, make_head, stamped_jpeg

USER, PASSWORD = "gate keeper", 'w"ö: #?'
USER_INFO = f"{quote(USER)}:{quote(PASSWORD, safe='')}@"
BASIC = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
IMAGE_TYPE = "Content-Type: image/jpeg"


def image() -> bytes:
    jpeg = stamped_jpeg()
    return make_head(IMAGE_TYPE, f"Content-Length: {len(jpeg)}") + jpeg


def refuse(*challenges: str, status: str = "401 Unauthorized", body: bytes = b"<html>no</html>") -> bytes:
    headers = [f"WWW-Authenticate: {challenge}" for challenge in challenges]
    return make_head(*headers, "Content-Type: text/html", f"Content-Length: {len(body)}", status=status) + body


class DigestCamera:
    """A camera that asks for Digest, and checks it by RFC 7616.

    `is_expired` is called with each correct answer's nonce count; if it is true, the nonce has expired, and
    `says_stale` tells the client. With `bound`, a nonce is valid only for its connection.
    """

    def __init__(
        self,
        challenge: str = 'Digest realm="gate", nonce="{nonce}", qop="auth"',
        *,
        password: str = PASSWORD,
        is_expired: Callable[[int], bool] = lambda _: False,
        says_stale: bool = True,
        bound: bool = False,
    ) -> None:
        self.wrong = 0
        self._challenge = challenge
        self._password = password
        self._is_expired = is_expired
        self._says_stale = says_stale
        self._bound = bound
        self._nonces: dict[str, int] = {}
        self._used: set[tuple[str, str]] = set()

    def __call__(self, request: Request) -> bytes:
        scheme, _, parameters = request.headers.get("authorization", "").partition(" ")
        if scheme != "Digest":
            return self._refuse(request)
        found = parse_keqv_list(parse_http_list(parameters))
        connection = self._nonces.get(found["nonce"])
        if connection is None or (self._bound and connection != request.connection):
            return self._refuse(request)
        if found["response"] != self._response(found, request.target) or (found["nonce"], found["nc"]) in self._used:
            self.wrong += 1
            return self._refuse(request)
        self._used.add((found["nonce"], found["nc"]))
        if self._is_expired(int(found["nc"], 16)):
            del self._nonces[found["nonce"]]
            return self._refuse(request, ", stale=true" if self._says_stale else "")
        return image()

    def _refuse(self, request: Request, stale: str = "") -> bytes:
        nonce = secrets.token_hex(8)
        self._nonces[nonce] = request.connection
        return refuse(self._challenge.replace("{nonce}", nonce) + stale)

    def _response(self, found: dict[str, str], target: str) -> str:
        algorithm = found.get("algorithm", "MD5").upper()

        def digest(*words: str) -> str:
            data = ":".join(words).encode()
            return (hashlib.sha256 if "SHA-256" in algorithm else hashlib.md5)(data).hexdigest()

        hash_a1 = digest(USER, found["realm"], self._password)
        if algorithm.endswith("-SESS"):
            hash_a1 = digest(hash_a1, found["nonce"], found["cnonce"])
        return digest(
            hash_a1, found["nonce"], found["nc"], found["cnonce"], found["qop"], digest("GET", found["uri"])
        ) * (found["uri"] == target)


@pytest.fixture
def watch() -> Iterator[Callable[[int], HttpSource]]:
    sources: list[HttpSource] = []

    def start(port: int, path: str = "/now.jpg?size=2", user_info: str = USER_INFO, **options: bool) -> HttpSource:
        source = HttpSource(f"http://{user_info}127.0.0.1:{port}{path}", **options)  # type: ignore[arg-type]
        sources.append(source)
        source.open()
        return source

    yield start
    for source in sources:
        source.close()


Watch = Callable[..., HttpSource]


def take_photos(source: HttpSource, count: int = 3) -> None:
    for _ in range(count):
        pressed = time.monotonic()
        frame = source.read(10)
        assert frame.exposure_start >= pressed
        assert frame.image()


# ---- login


@pytest.mark.documented("login by Digest as in RFC 7616, in any spelling", "accepted")
@pytest.mark.parametrize(
    "camera",
    [
        DigestCamera(),
        DigestCamera('Basic realm="gate", Digest realm="gate", nonce="{nonce}", qop=auth,auth-int, algorithm=MD5-sess'),
        DigestCamera('Digest qop="auth", algorithm="SHA-256", realm="gate, north", nonce="{nonce}", opaque=""'),
        DigestCamera('Digest realm="gate", nonce="{nonce}", qop="auth", algorithm=SHA-256-sess'),
    ],
)
def test_a_correct_password_is_accepted(camera: DigestCamera, watch: Watch) -> None:
    with OddHttpCamera(camera) as server:
        take_photos(watch(server.port), 6)
    assert not camera.wrong


@pytest.mark.documented("nonce that has expired, or that is valid only for its connection", "answered again at once")
@pytest.mark.parametrize(
    "camera",
    [
        DigestCamera(bound=True),
        DigestCamera(is_expired=lambda count: count == 1 and secrets.randbelow(2) == 0),
        DigestCamera(is_expired=lambda count: count > 2),
        DigestCamera(is_expired=lambda count: count > 1, says_stale=False),
    ],
)
def test_an_expired_nonce_or_one_for_a_connection_is_answered_again(camera: DigestCamera, watch: Watch) -> None:
    with OddHttpCamera(camera) as server:
        take_photos(watch(server.port), 6)
    assert not camera.wrong


def test_a_nonce_is_used_again_so_that_each_photo_takes_one_request(watch: Watch) -> None:
    with OddHttpCamera(DigestCamera(), closes=True) as server:
        take_photos(watch(server.port), 5)
        assert len(server.requests) == 7  # the challenge, the opening, the photos


def test_a_camera_that_counts_requests_without_a_password_is_asked_without_it_once(watch: Watch) -> None:
    unauthorized: list[Request] = []

    def answer(request: Request) -> bytes:
        if request.headers.get("authorization") == BASIC:
            return image()
        unauthorized.append(request)
        return refuse('Basic realm="gate"')

    with OddHttpCamera(answer) as server:
        take_photos(watch(server.port), 5)
    assert len(unauthorized) == 1


@pytest.mark.documented(
    "camera that refuses, or sends its login page, without asking for a password", "gets the password (Basic)"
)
@pytest.mark.parametrize(
    "refusal",
    [
        refuse(),
        refuse(status="403 Forbidden"),
        refuse(status="404 Not Found"),
        refuse(status="200 OK"),
        make_head("Location: /login.html", "Content-Length: 0", status="302 Found"),
    ],
)
def test_a_camera_that_does_not_ask_for_the_password_gets_it(refusal: bytes, watch: Watch) -> None:
    def answer(request: Request) -> bytes:
        if request.target == "/login.html":
            return refuse(status="200 OK")
        return image() if request.headers.get("authorization") == BASIC else refusal

    with OddHttpCamera(answer) as server:
        take_photos(watch(server.port))


@pytest.mark.parametrize("challenge", ['Digest realm="gate", nonce="{nonce}", qop="auth"', 'Basic realm="gate"'])
def test_a_wrong_password_is_sent_once(challenge: str, watch: Watch) -> None:
    camera = DigestCamera(challenge, password="another")
    with OddHttpCamera(camera) as server:
        with pytest.raises(CameraOffline, match="refuses the user or the password") as caught:
            watch(server.port)
        assert [bool(request.headers.get("authorization")) for request in server.requests] == [False, True]
    assert caught.value.next_try == 60


def test_a_password_that_was_changed_in_the_camera_is_sent_once_more(watch: Watch) -> None:
    passwords = [BASIC]
    with OddHttpCamera(
        lambda request: image() if request.headers.get("authorization") in passwords else refuse('Basic realm="gate"')
    ) as server:
        source = watch(server.port)
        passwords.clear()
        before = len(server.requests)
        with pytest.raises(CameraOffline, match="refuses the user or the password"):
            source.read(10)
        assert len(server.requests) == before + 1


def test_a_camera_whose_nonces_expire_at_once_is_not_a_wrong_password(watch: Watch) -> None:
    with OddHttpCamera(DigestCamera(is_expired=lambda _: True)) as server:
        with pytest.raises(CameraOffline, match="accepts no login"):
            watch(server.port)
        assert len(server.requests) <= 10


def test_a_connection_that_the_camera_ends_after_its_challenge_is_opened_again(watch: Watch) -> None:
    with OddHttpCamera(DigestCamera(), closes=True) as server:
        take_photos(watch(server.port))


def test_without_a_user_nothing_is_sent(watch: Watch) -> None:
    with OddHttpCamera(lambda _: refuse()) as server:
        with pytest.raises(CameraOffline, match="asks for a user and a password"):
            watch(server.port, user_info="")
        assert len(server.requests) == 1


# ---- redirects


def redirect(url: str) -> bytes:
    return make_head(f"Location: {url}", "Content-Length: 0", status="302 Found")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3"])
def test_another_host_or_port_gets_no_password(host: str, watch: Watch) -> None:
    with (
        OddHttpCamera(lambda _: refuse('Basic realm="gate"'), host=host) as other,
        OddHttpCamera(
            lambda request: (
                redirect(f"http://{host}:{other.port}/")
                if request.headers.get("authorization")
                else refuse('Basic realm="gate"')
            )
        ) as server,
    ):
        with pytest.raises(CameraOffline, match="redirects to another host or port, which asks for a password"):
            watch(server.port)
        assert [request.headers.get("authorization") for request in other.requests] == [None]


@pytest.mark.documented("redirect to another host or port", "followed without the password")
def test_another_host_is_followed_without_a_password(watch: Watch) -> None:
    with (
        OddHttpCamera(lambda _: image(), host="127.0.0.3") as other,
        OddHttpCamera(lambda _: redirect(f"http://127.0.0.3:{other.port}/")) as server,
    ):
        take_photos(watch(server.port))
        assert not any("authorization" in request.headers for request in other.requests)


def test_another_path_of_the_camera_gets_the_password(watch: Watch) -> None:
    camera = DigestCamera()
    with OddHttpCamera(lambda request: camera(request) if "/2" in request.target else redirect("/2?a=b")) as server:
        take_photos(watch(server.port))


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make 127.0.0.9 an address of the Internet."""
    monkeypatch.setattr("dog.cameras.http_requests.is_public", lambda address: address == "127.0.0.9")
    monkeypatch.setattr("dog.public_addresses.is_public", lambda address: address == "127.0.0.9")
    return "127.0.0.9"


@pytest.mark.documented(
    "redirect from the Internet into a private network", "refused, unless `private_addresses` is true"
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_camera_in_the_internet_can_t_redirect_into_a_private_network(host: str, public: str) -> None:
    with (
        OddHttpCamera(lambda _: image()) as inside,
        OddHttpCamera(lambda _: redirect(f"http://{host}:{inside.port}/"), host=public) as second,
        OddHttpCamera(lambda _: redirect(f"http://{public}:{second.port}/"), host=public) as first,
    ):
        url = f"http://{public}:{first.port}/"
        source = HttpSource(url)
        with pytest.raises(CameraOffline, match=r"into a private network.*`private_addresses = true`"):
            source.open()
        source.close()
        assert not inside.requests
        source = HttpSource(url, private_addresses=True)
        source.open()
        take_photos(source)
        source.close()


def test_redirects_inside_the_internet_and_from_a_private_network_are_followed(public: str, watch: Watch) -> None:
    with (
        OddHttpCamera(lambda _: image(), host=public) as last,
        OddHttpCamera(lambda _: redirect(f"http://{public}:{last.port}/"), host=public) as second,
        OddHttpCamera(lambda _: redirect(f"http://{public}:{second.port}/")) as first,
    ):
        take_photos(watch(first.port))
