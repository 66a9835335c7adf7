"""HTTPS without a proxy: certificates, connections and the transport."""

import asyncio
import contextlib
import datetime as dt
import gc
import io
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import dog.client
from dog.push.viewer import MAX_BACKLOG_BYTES
from dog.settings import Settings
from dog.tls import Tls, make_tls
from dog.tls.self_signed import make_certificate, parse_name
from dog.tls.transport import TlsTransport
from dog.web.app import create_app
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection import HTTP_SETTINGS, MAX_HEAD_BYTES
from dog.web.connections.connection_limits import CONNECTIONS
from tests.support.authority import Authority
from tests.support.cameras import HandCamera
from tests.support.connection_ends import WAYS_TO_END, _close_with_the_handshake, _shut_down_the_sending_half
from tests.support.guarded_service import HERE, GuardedService, request_and_read_nothing
from tests.support.pushes import read_close_code, read_until
from tests.support.raw_client import REQUEST, REQUEST_END, RawClient, connect_socket
from tests.support.running import until
from tests.support.server_process import PYTHON_M_DOG, ROOT, ServerProcess, clean_environment, run_dog
from tests.support.viewers import make_event
from tests.support.websocket_frames import UPGRADE, build_client_frame

EXPIRY_WARNING_TIME = dt.timedelta(days=13)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Serve(Protocol):
    def __call__(self, *arguments: str) -> ServerProcess: ...


@pytest.fixture
def serve_https(tmp_path: Path, authority: Authority) -> Iterator[Serve]:
    """Start a server with the authority's certificate: `serve_https()`."""
    servers: list[ServerProcess] = []

    def start(*arguments: str) -> ServerProcess:
        server = ServerProcess(*authority.flags, *arguments, cwd=tmp_path, tls=authority.client)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()
    for server in servers:
        assert "Traceback" not in server.stderr, server.stderr


def get_certificate(server: ServerProcess, client: ssl.SSLContext) -> bytes:
    """Return the certificate of a new connection."""
    with shake_hands(server, client) as connection:
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def shake_hands(server: ServerProcess, client: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection((HERE, server.port), timeout=20)
    return client.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


def watch(server: ServerProcess, client: ssl.SSLContext) -> ClientConnection:
    return connect(f"wss://{HERE}:{server.port}/ws", ssl=client)


def fetch(server: ServerProcess, path: str, client: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(server.url + path, context=client, timeout=20) as answer:
        data: bytes = answer.read()
    return data


# ---- a certificate that can't be used


def write_missing(authority: Authority) -> None:
    authority.certificate.unlink()


def write_no_key(authority: Authority) -> None:
    authority.key.unlink()


def write_folder(authority: Authority) -> None:
    authority.certificate.unlink()
    authority.certificate.mkdir()


def write_pipe(authority: Authority) -> None:
    authority.key.unlink()
    os.mkfifo(authority.key)


def write_no_pem(authority: Authority) -> None:
    authority.certificate.write_bytes(ssl.PEM_cert_to_DER_cert(authority.certificate.read_text()))


def write_certificate_as_key(authority: Authority) -> None:
    authority.key.write_bytes(authority.certificate.read_bytes())


def write_damaged(authority: Authority) -> None:
    text = authority.certificate.read_text()
    authority.certificate.write_text(text[:200] + text[300:])


def write_other_key(authority: Authority) -> None:
    authority.key.write_bytes(authority.make().private_key_pem.bytes())


def write_key_of_another_kind(authority: Authority) -> None:
    authority.key.write_bytes(authority.make(key_type=trustme.KeyType.RSA).private_key_pem.bytes())


def write_encrypted_key(authority: Authority) -> None:
    key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    authority.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def write_expired(authority: Authority) -> None:
    authority.issue(not_after=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1))


WRONG = [
    (write_missing, "tls-certificate", r"can't be read: no such file or directory\. Name a file that can be read"),
    (write_no_key, "tls-key", r"can't be read: no such file or directory\. Name a file that can be read"),
    (write_folder, "tls-certificate", r"can't be read: .*\. Name a file that can be read"),
    (write_pipe, "tls-key", r"can't be read: it is not a regular file\. Name a file that can be read"),
    (write_no_pem, "tls-certificate", r"contains no certificate in PEM format\. Name a file that does\."),
    (write_certificate_as_key, "tls-key", r"contains no private key in PEM format\. Name a file that does\."),
    (write_damaged, "tls-certificate", r"Make or fetch a new certificate\."),
    (write_other_key, "tls-key", r"does not belong to the certificate in .*\. Name the right one\."),
    (write_key_of_another_kind, "tls-key", r"does not belong to the certificate in .*\. Name the right one\."),
    (write_encrypted_key, "tls-key", r"is encrypted with a password\. Decrypt it with openssl pkey\."),
    (write_expired, "tls-certificate", r"expired on \d{4}-\d\d-\d\d\. Renew it"),
]


@pytest.mark.parametrize(("spoil", "flag", "said"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_an_unusable_certificate_fails_the_start_with_one_line(
    spoil: Callable[[Authority], None], flag: str, said: str, authority: Authority, tmp_path: Path
) -> None:
    authority.issue()
    spoil(authority)
    ended = run_dog("serve", "--port", "0", *authority.flags, cwd=tmp_path)
    assert ended.returncode == (75 if "no such file" in said else 2)
    assert re.fullmatch(rf"dog: --{flag} \(command line\): .*{said}.*\n", ended.stderr), ended.stderr


def test_a_missing_key_or_certificate_fails_the_start(authority: Authority, tmp_path: Path) -> None:
    authority.issue()
    without_key = run_dog("serve", "--tls-certificate", str(authority.certificate), cwd=tmp_path)
    assert without_key.returncode == 2
    assert "contains no private key in PEM format. Name its file with tls_key." in without_key.stderr
    alone = run_dog("serve", "--tls-key", str(authority.key), cwd=tmp_path)
    assert alone.returncode == 2
    assert (
        "dog: --tls-key (command line): the key has no certificate. Name its file with tls_certificate." in alone.stderr
    )


def test_the_key_may_be_in_the_certificates_file(authority: Authority) -> None:
    authority.certificate.write_bytes(authority.make().private_key_and_cert_chain_pem.bytes())
    assert make_tls(Settings(tls_certificate=authority.certificate)) is not None
    assert make_tls(Settings()) is None


@pytest.mark.parametrize("year", [2049, 2050], ids=["as UTCTime", "as GeneralizedTime"])
def test_the_validity_of_a_certificate_is_read_in_both_time_formats(authority: Authority, year: int) -> None:
    begins_at = dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    ends_at = dt.datetime(year, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    authority.issue(not_before=begins_at, not_after=ends_at)
    loaded = Tls(authority.settings())._loaded
    assert (loaded.begins_at, loaded.ends_at) == (begins_at, ends_at)


def test_a_certificate_of_dog_cert_can_be_loaded(authority: Authority) -> None:
    made = make_certificate("own", [parse_name("localhost")])
    authority.certificate.write_bytes(made.certificate)
    authority.key.write_bytes(made.key)
    assert Tls(authority.settings())._loaded.ends_at == made.ends_at


# ---- protocols


def test_https_serves_the_page_the_push_and_a_photo(serve_https: Serve, authority: Authority) -> None:
    authority.issue()
    server = serve_https()
    assert b"<html" in fetch(server, "/", authority.client)
    with watch(server, authority.client) as viewer:
        viewer.send('{"type":"capture"}')
        ready = read_until(viewer, "ready")
        assert len(fetch(server, ready["url"], authority.client)) == ready["bytes"]
    assert server.stop() == 0


def test_the_server_accepts_only_tls_1_2_and_1_3_and_no_session_resumption(
    serve_https: Serve, authority: Authority
) -> None:
    authority.issue()
    server = serve_https()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = authority.client
        client.minimum_version = client.maximum_version = version
        client.set_alpn_protocols(["h2", "http/1.1"])
        with shake_hands(server, client) as connection:
            assert connection.version() == version.name.replace("_", ".")
            assert connection.selected_alpn_protocol() == "http/1.1"
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            while connection.recv(4096):
                pass  # until close_notify; without one this raises SSLEOFError
            assert connection.session is None or not connection.session.has_ticket
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        shake_hands(server, old)


def test_plain_http_gets_a_400_in_plain_http(serve_https: Serve, authority: Authority) -> None:
    authority.issue()
    server = serve_https()
    with socket.create_connection((HERE, server.port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = connection.makefile("rb").read()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"https://" in body


def test_shutdown_closes_viewers_with_1012_and_sends_close_notify(serve_https: Serve, authority: Authority) -> None:
    authority.issue()
    server = serve_https()
    with watch(server, authority.client) as viewer, shake_hands(server, authority.client) as script:
        script.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = script.recv(65536)
        while b"event: hello" not in received:
            received += script.recv(65536)
        server.send(signal.SIGTERM)
        assert read_close_code(viewer) == 1012
        while script.recv(65536):
            pass  # an end without close_notify would raise SSLEOFError
        assert server.wait() == 0


def test_frames_of_the_live_view_arrive_whole_over_tls_until_the_shutdown(
    serve_https: Serve, authority: Authority
) -> None:
    authority.issue()
    server = serve_https()
    with connect(f"wss://{HERE}:{server.port}/preview", ssl=authority.client) as live_view:
        for _ in range(5):
            pieces = [live_view.recv(timeout=30)]
            while pieces[-1]:
                pieces.append(live_view.recv(timeout=30))
            Image.open(io.BytesIO(b"".join(map(bytes, pieces)))).load()  # type: ignore[arg-type]
            live_view.send("")
        server.send(signal.SIGTERM)
        assert read_close_code(live_view) == 1012
        assert server.wait() == 0


# ---- clients


@pytest.fixture
def made(authority: Authority, tmp_path: Path) -> Path:
    """A self-signed certificate of `dog cert`."""
    files = ("--certificate", str(authority.certificate), "--key", str(authority.key))
    assert run_dog("cert", *files, cwd=tmp_path).returncode == 0
    return authority.certificate


def test_the_commands_trust_only_the_given_certificate(serve_https: Serve, made: Path, tmp_path: Path) -> None:
    server = serve_https()
    trust = ("--certificate", str(made))
    untrusting = run_dog("snap", server.url, cwd=tmp_path)
    assert untrusting.returncode == 3
    assert "To trust it, use --certificate" in untrusting.stderr
    snapped = run_dog("snap", server.url, "-o", "photo.jpg", *trust, cwd=tmp_path)
    assert (snapped.returncode, snapped.stderr) == (0, "")
    assert (tmp_path / "photo.jpg").stat().st_size > 1000
    listed = run_dog("gallery", server.url, "--json", cwd=tmp_path, env={"SSL_CERT_FILE": str(made)})
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == 1
    command = [*PYTHON_M_DOG, "watch", server.url, "--json", *trust]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment({"PYTHONPATH": str(ROOT)}), stdout=subprocess.PIPE
    ) as watching:
        try:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["type"] == "hello"
        finally:
            watching.terminate()
    wrong = run_dog("watch", server.url, "--certificate", __file__, cwd=tmp_path)
    assert wrong.returncode == 2
    assert re.fullmatch(r"dog: .*--certificate.* contains no certificate in PEM format\. Name one .*\n", wrong.stderr)
    other = make_certificate("another", [parse_name("localhost"), parse_name(HERE)])
    (tmp_path / "other.pem").write_bytes(other.certificate)
    assert run_dog("gallery", server.url, "--certificate", "other.pem", cwd=tmp_path).returncode == 3


async def test_a_client_with_the_certificate_receives_events(serve_https: Serve, made: Path) -> None:
    server = await asyncio.to_thread(serve_https)
    async with dog.client.Client(server.url, certificate=made) as client:
        async for event in client.events():
            if isinstance(event, dog.client.Hello):
                photo = await client.capture(max_age=0)
            elif isinstance(event, dog.client.Ready):
                assert event.snapshot == photo.id
                break
    with pytest.raises(ssl.SSLError):
        dog.client.Client(server.url, certificate=__file__)


# ---- reloading


@pytest.mark.parametrize("by", ["SIGHUP", "the file alone"])
def test_a_new_certificate_is_used_for_new_connections_and_viewers_stay(
    by: str, serve_https: Serve, authority: Authority
) -> None:
    first = authority.issue()
    server = serve_https()
    with watch(server, authority.client) as viewer:
        assert get_certificate(server, authority.client) == first
        second = authority.issue()
        if by == "SIGHUP":
            server.send(signal.SIGHUP)
        server.wait_for(r"The certificate was loaded again\. It expires on \d{4}-\d\d-\d\d\.")
        assert get_certificate(server, authority.client) == second != first
        viewer.send('{"type":"capture"}')
        assert read_until(viewer, "ready")["seq"] == 2
        with watch(server, authority.client) as another:
            assert json.loads(another.recv(timeout=20))["seq"] == 2
    assert server.stop() == 0


def test_sighup_reloads_an_unchanged_certificate(serve_https: Serve, authority: Authority) -> None:
    first = authority.issue()
    server = serve_https()
    server.send(signal.SIGHUP)
    server.wait_for("The certificate was loaded again")
    assert get_certificate(server, authority.client) == first


def test_an_unusable_new_certificate_is_logged_and_the_old_one_stays(serve_https: Serve, authority: Authority) -> None:
    first = authority.issue()
    server = serve_https()
    write_other_key(authority)
    server.wait_for(
        r"ERROR .*--tls-key \(command line\): .* does not belong .* The previous certificate stays in use\."
    )
    assert get_certificate(server, authority.client) == first
    authority.certificate.unlink()
    server.wait_for(r"ERROR .*--tls-certificate \(command line\): .* can't be read: no such file")
    assert get_certificate(server, authority.client) == first
    second = authority.issue()
    server.wait_for("The certificate was loaded again")
    assert get_certificate(server, authority.client) == second
    assert server.stop() == 0


def test_a_certificate_that_expires_soon_is_a_warning_at_the_start_and_at_a_reload(
    serve_https: Serve, authority: Authority
) -> None:
    ends_at = dt.datetime.now(dt.UTC) + EXPIRY_WARNING_TIME
    authority.issue(not_after=ends_at)
    server = serve_https()
    warning = rf"WARNING .*The certificate expires on {ends_at.date()}\. Renew it"
    server.wait_for(warning)
    server.send(signal.SIGHUP)
    server.wait_for(rf"(?s){warning}.*loaded again.*{warning}")
    authority.issue()
    server.wait_for(r"(?s)loaded again.*loaded again")
    assert server.stop() == 0
    assert len(re.findall(warning, server.stderr)) == 2


def test_a_certificate_that_is_not_valid_yet_is_used_with_a_warning(serve_https: Serve, authority: Authority) -> None:
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    authority.issue(not_before=tomorrow)
    server = serve_https()
    server.wait_for(rf"WARNING .*not valid before {tomorrow.date()}\. Check the clock\.")
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        shake_hands(server, authority.client)


def test_a_world_readable_key_is_a_warning(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    authority.issue()
    for mode, warnings in ((0o640, 0), (0o644, 1)):
        authority.key.chmod(mode)
        Tls(authority.settings())
        assert len(caplog.messages) == warnings
    assert caplog.messages == [
        f"Everybody on this computer can read the key in {authority.key}. Run: chmod 600 {authority.key}"
    ]


async def test_an_expiry_that_comes_near_while_the_server_runs_is_one_warning(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dog.tls.certificate.CERTIFICATE_POLL_SECONDS", 0.001)
    authority.issue(not_after=dt.datetime.now(dt.UTC) + dt.timedelta(days=20))
    tls = Tls(authority.settings())
    assert caplog.messages == []
    running = asyncio.create_task(tls.run())
    monkeypatch.setattr("dog.tls.certificate.EXPIRY_WARNING_TIME", dt.timedelta(days=30))
    await until(lambda: bool(caplog.messages))
    authority.issue()
    caplog.set_level("INFO", "dog")
    await until(lambda: "was loaded again" in caplog.messages[-1])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    running.cancel()


def test_a_sighup_during_the_start_does_not_end_the_server(tmp_path: Path) -> None:
    server = ServerProcess("--log-level", "debug", cwd=tmp_path).launch()
    try:
        sent = 0
        while "asyncio" not in server.stderr:  # its first log line, before anything can be reloaded
            if caught(server.pid, signal.SIGHUP):
                server.send(signal.SIGHUP)
                sent += 1
        assert sent, "no SIGHUP was sent"
        server.wait_for(r"D\.O\.G\. is at ", 30)
    finally:
        server.kill()


def caught(pid: int, number: signal.Signals) -> bool:
    """Return True if the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.findall(r"SigCgt:\t(\w+)", status)[0], 16) & 1 << number - 1)


def test_sighup_without_tls_is_logged_and_does_not_end_the_server(tmp_path: Path) -> None:
    server = ServerProcess(cwd=tmp_path).start()
    try:
        server.send(signal.SIGHUP)
        server.wait_for("SIGHUP: there is no certificate to reload")
        assert urllib.request.urlopen(f"{server.url}/healthz", timeout=20).status == 200
        assert server.stop() == 0
    finally:
        server.kill()


# ---- connections


class Secured(GuardedService):
    """The service with its connection guard and TLS."""

    client_context: ssl.SSLContext

    async def knock(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect without a handshake."""
        return await asyncio.open_connection(HERE, self.port)

    async def connect_client(self, address: str = HERE, *, receive_buffer: int = 0) -> RawClient:
        connection = await connect_socket(self.port, address, receive_buffer)
        streams = await asyncio.open_connection(
            sock=connection, ssl=self.client_context, server_hostname="localhost", limit=1024
        )
        client = RawClient(*streams)
        self.clients.append(client)
        return client


class Secure(Protocol):
    def __call__(self, **settings: Any) -> Awaitable[Secured]: ...


@pytest.fixture
async def secure(tmp_path: Path, authority: Authority) -> AsyncIterator[Secure]:
    """Start the service with these settings: `secure(max_connections=3)`."""
    stack = contextlib.AsyncExitStack()
    clients: list[RawClient] = []
    authority.issue()

    async def start(**settings: Any) -> Secured:
        camera = HandCamera()
        chosen = authority.settings(snapshots=tmp_path / "snapshots", **settings)
        app = create_app(chosen, lambda _settings, _folder: camera)
        runner = web.AppRunner(app, shutdown_timeout=0.5, **HTTP_SETTINGS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        connections = app[CONNECTIONS]
        server = await asyncio.get_running_loop().create_server(
            connections.make_protocol_factory(runner.server, make_tls(chosen)), HERE, 0, backlog=connections.backlog
        )
        stack.callback(server.close)
        secured = Secured(app, camera, runner.server, server.sockets[0].getsockname()[1], clients)
        secured.client_context = authority.client
        return secured

    async with stack:
        yield start
        for client in clients:
            client.writer.transport.abort()


async def test_an_unfinished_handshake_takes_a_place_and_times_out(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured = await secure(max_connections_per_address=2)
    monkeypatch.setattr("dog.tls.transport.HANDSHAKE_TIMEOUT_SECONDS", 1000.0)
    _, staying = await secured.knock()
    await until(lambda: secured.connections.count == 1)
    monkeypatch.setattr("dog.tls.transport.HANDSHAKE_TIMEOUT_SECONDS", 0.2)
    reader, writer = await secured.knock()
    writer.write(b"\x16\x03\x01")  # part of a ClientHello
    await until(lambda: secured.connections.count == 2)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    await until(lambda: secured.connections.count == 1)
    staying.close()
    await until(lambda: secured.connections.count == 0)
    writer.close()


async def test_a_connection_beyond_the_limit_gets_503_over_tls(secure: Secure) -> None:
    secured = await secure(max_connections=1)
    busy = await secured.begin_request()
    for _ in range(3):
        client = await secured.connect_client()
        assert await client.request() == 503
        assert await client.reader.read() == b""
        client.close()
    await until(lambda: len(secured.connections._refused) == 0)
    assert secured.count_refused("total") == 3
    assert await busy.request(REQUEST_END) == 200


async def test_an_open_handshake_is_closed_for_a_request(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.tls.transport.HANDSHAKE_TIMEOUT_SECONDS", 1000.0)
    secured = await secure(max_connections=1)
    reader, writer = await secured.knock()
    await until(lambda: secured.connections.count == 1)
    assert await (await secured.connect_client()).request() == 200
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("size", [0, 5_000_000])
async def test_a_client_that_sends_its_whole_request_first_can_read_the_503(secure: Secure, size: int) -> None:
    secured = await secure(max_connections=1)
    await secured.begin_request()
    for _ in range(5):
        client = await secured.connect_client()
        await client.send(b"POST /api/captures HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        assert (await client.read_response())[0] == 503
        assert await client.reader.read() == b""
        client.close()


async def test_handshakes_of_refused_connections_are_limited(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    secured = await secure(max_connections=1)
    monkeypatch.setattr("dog.tls.transport.HANDSHAKE_TIMEOUT_SECONDS", 1000.0)
    secured.connections.max_refusals = 2
    await secured.begin_request()
    silent = [await secured.knock() for _ in range(2)]
    await until(lambda: len(secured.connections._refused) == 2)
    reader, writer = await secured.knock()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""  # closed at once, without a handshake
    writer.close()
    assert len(secured.connections._refused) == 2
    for _, one in silent:
        one.close()
    await until(lambda: len(secured.connections._refused) == 0)
    assert secured.connections.count == 1


# a client of asyncio's can't end its half alone under TLS: that is tested below, with another
ENDS = [way for way in WAYS_TO_END if way not in (_shut_down_the_sending_half, _close_with_the_handshake)]


@pytest.mark.parametrize("leave", ENDS, ids=lambda leave: leave.__name__.strip("_").replace("_", " "))
async def test_a_closed_connection_frees_its_place(
    secure: Secure, leave: Callable[[RawClient, GuardedService], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    secured = await secure(max_connections_per_address=1, message_rate=1000, message_burst=10_000)
    for _ in range(3):
        client = await secured.connect_client()
        await until(lambda: secured.connections.count == 1)
        await leave(client, secured)
        client.close()
        await until(lambda: secured.connections.count == 0)
    assert len(secured.connections._places) == 0
    await secured.connect_and_request()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("before", ["", "handshake"])
async def test_a_clients_close_notify_gets_one_in_return(secure: Secure, authority: Authority, before: str) -> None:
    secured = await secure()

    def connect_and_close() -> None:
        with (
            socket.create_connection((HERE, secured.port), timeout=20) as plain,
            authority.client.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client,
        ):
            if before:
                client.sendall(UPGRADE + build_client_frame(1, b'{"type":"ping"}'))
                received = b""
                while not (
                    b'"pong"' in received and b'"type":"viewers"' in received
                ):  # then the server has sent everything
                    received += client.recv(65536)
            client.unwrap().close()  # raises if the server sends no close_notify

    await asyncio.to_thread(connect_and_close)
    await until(lambda: secured.connections.count == 0)


@pytest.mark.parametrize(
    "started_with",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(REQUEST, id="a request"),
        pytest.param(REQUEST[:-2] + b"Content-Length: 9\r\n\r\n1", id="a part of a body"),
        pytest.param(REQUEST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n", id="a part of the chunks"),
        pytest.param(REQUEST[:-2] + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", id="no chunks"),
        pytest.param(b"GET\r\n\r\n", id="no request"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + bytes(MAX_HEAD_BYTES), id="a head that is too large"),
        pytest.param(UPGRADE, id="a handshake"),
    ],
)
async def test_a_closed_connection_is_released_without_the_garbage_collector(
    secure: Secure, started_with: bytes
) -> None:
    """A TLS connection has 80 KiB, and the garbage collector runs late."""
    secured = await secure()
    gc.collect()
    gc.disable()
    try:
        client = await secured.connect_client()
        if started_with:
            await client.send(started_with)
            assert await client.reader.readline()
        else:
            await until(lambda: secured.connections.count == 1)
        client.close()
        await until(lambda: secured.connections.count == 0)
        await until(lambda: not any(isinstance(found, TlsTransport) for found in gc.get_objects()))
    finally:
        gc.enable()


async def test_a_response_that_is_not_read_is_cut_off(
    secure: Secure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dog.web.connections.connection.STALL_SECONDS", 0.2)
    caplog.set_level("INFO", "dog")
    secured = await secure()
    await request_and_read_nothing(secured, b"/static/icon-512.png")
    await until(lambda: secured.connections.count == 0)
    assert f"{HERE} reads its response too slowly: disconnected" in caplog.messages


async def test_a_viewer_that_does_not_read_is_disconnected_and_another_misses_nothing(
    secure: Secure, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dog")
    secured = await secure()
    hub = secured.app[APP_STATE].hub
    deaf = await secured.connect_client(receive_buffer=1)
    await deaf.send(UPGRADE)
    await until(lambda: hub.count == 1)
    (viewer,) = (viewer for lane in hub._ping_groups for viewer in lane)
    most = published = 0
    async with connect_async(secured) as client:
        while hub.count == 2 or not published:
            hub.publish(make_event(published := published + 1))
            most = max(most, viewer._transport.get_write_buffer_size())
            await asyncio.sleep(0)
        received = 0
        while received < published:
            message = json.loads(await client.recv())
            received = message["seq"] if message["type"] == "capturing" else received
    assert MAX_BACKLOG_BYTES / 2 < most < MAX_BACKLOG_BYTES + 1024
    assert f"viewer {HERE} was dropped: it is slow" in caplog.messages


@contextlib.asynccontextmanager
async def connect_async(secured: Secured) -> AsyncIterator[Any]:
    from websockets.asyncio.client import connect

    async with connect(f"wss://{HERE}:{secured.port}/ws", ssl=secured.client_context) as client:
        assert json.loads(await client.recv())["type"] == "hello"
        yield client


@pytest.mark.parametrize("code", [1012, 4401])
async def test_a_close_frame_arrives_and_the_connection_closes(secure: Secure, code: int) -> None:
    secured = await secure()
    hub = secured.app[APP_STATE].hub
    async with connect_async(secured) as client:
        (viewer,) = (viewer for lane in hub._ping_groups for viewer in lane)
        viewer.close(code, "because")
        with contextlib.suppress(ConnectionClosed):
            async for _message in client:
                pass
        assert (client.close_code, client.close_reason) == (code, "because")
    await until(lambda: hub.count == 0 and secured.connections.count == 0)


# ---- the transport alone


class Echo(asyncio.Protocol):
    """Echo data, and pause reading while the send buffer is not empty."""

    def __init__(self) -> None:
        self.paused = 0
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport.set_write_buffer_limits(0)
        assert self.paused == 0, "pause_writing was called with an empty send buffer"

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.paused += 1
        assert self.transport.get_write_buffer_size() > 0
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        assert self.transport.get_write_buffer_size() == 0
        self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


@contextlib.asynccontextmanager
async def echo(authority: Authority) -> AsyncIterator[tuple[int, list[Echo]]]:
    authority.issue()
    context = Tls(authority.settings()).context
    echoes: list[Echo] = []

    def make() -> TlsTransport:
        echoes.append(Echo())
        return TlsTransport(context, echoes[-1], lambda _transport: None)

    server = await asyncio.get_running_loop().create_server(make, HERE, 0)
    try:
        yield server.sockets[0].getsockname()[1], echoes
    finally:
        server.close()


@pytest.mark.parametrize("seed", range(3))
async def test_every_byte_arrives_in_order_under_backpressure(authority: Authority, seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(3_000_000)
    async with echo(authority) as (port, echoes):
        reader, writer = await asyncio.open_connection(
            HERE, port, ssl=authority.client, server_hostname="localhost", limit=1024
        )

        async def say() -> None:
            at = 0
            while at < len(data):
                size = chance.choice((1, 100, 16_384, 16_385, 300_000))
                writer.write(data[at : at + size])
                await writer.drain()
                at += size

        sending = asyncio.create_task(say())
        assert await reader.readexactly(len(data)) == data
        await sending
        assert echoes[0].paused > 0, "writing was never paused, so the test tests nothing"
        writer.close()
        await until(lambda: echoes[0].lost == [None])


@pytest.mark.parametrize("junk", [b"\x17\x03\x03\x00\x20" + bytes(32), b"GET / HTTP/1.1\r\n\r\n", bytes(1000)])
async def test_invalid_tls_data_closes_the_connection_and_is_not_delivered(authority: Authority, junk: bytes) -> None:
    async with echo(authority) as (port, echoes):

        def send_junk() -> bytes:
            with (
                socket.create_connection((HERE, port), timeout=20) as plain,
                authority.client.wrap_socket(plain, server_hostname="localhost") as client,
            ):
                client.sendall(b"well")
                assert client.recv(4) == b"well"
                os.write(client.fileno(), junk)
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    return client.recv(4096)
                return b""

        assert await asyncio.to_thread(send_junk) == b""
        await until(lambda: len(echoes[0].lost) == 1)
        assert echoes[0].transport.is_closing()
