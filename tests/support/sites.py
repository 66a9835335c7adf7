"""A real nginx or Caddy in front of a server, with deploy/'s files."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
import trustme
from websockets import Origin
from websockets.sync.client import ClientConnection, connect

from tests.support.ports import find_free_ports
from tests.support.server_process import ROOT, ServerProcess

__all__ = ["CADDY", "NGINX", "Site", "needs", "proxy_before", "site"]

PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
NGINX = shutil.which("nginx", path=PATH)
CADDY = shutil.which("caddy", path=PATH)
NAME, OTHER = "dog.example.org", "www.example.org"
HERE = "127.0.0.1"
MAX_HANDSHAKES = 3
MAIN = """daemon off;
pid {folder}/pid;
error_log stderr notice;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    include {folder}/dog.conf;
}}
"""


def needs(kind: str) -> pytest.MarkDecorator:
    program = NGINX if kind == "nginx" else CADDY
    return pytest.mark.skipif(program is None, reason=f"no {kind}; it is in Debian's package {kind}")


class Site(NamedTuple):
    """The public URL of the service: a name, a port and a path prefix."""

    name: str
    port: int
    path: str
    server: ServerProcess
    trusted: ssl.SSLContext
    output: list[str]
    """The lines of the proxy's standard error."""

    @property
    def origin(self) -> str:
        return f"https://{self.name}:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    def open(self, address: str = HERE) -> ssl.SSLSocket:
        """Open a TLS connection from a client address."""
        return self.trusted.wrap_socket(self._connect_tcp(address), server_hostname=self.name)

    def _connect_tcp(self, address: str) -> socket.socket:
        return socket.create_connection((HERE, self.port), timeout=20, source_address=(address, 0))

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        address: str = HERE,
        form: Mapping[str, str] | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request. Return the response and its body."""
        with closing(self.begin(path, method, headers, address, form)) as connection:
            answer = connection.getresponse()
            return answer, answer.read()

    def begin(
        self,
        path: str = "/",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        address: str = HERE,
        form: Mapping[str, str] | None = None,
    ) -> http.client.HTTPConnection:
        """Send a request on a new connection, and return the connection."""
        connection = http.client.HTTPConnection(self.name, self.port, timeout=20)
        connection.sock = self.open(address)
        fields = {"Host": f"{self.name}:{self.port}", **(headers or {})}
        body = None
        if form is not None:
            body, fields["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
        connection.request(method, self.path + path, body, fields)
        return connection

    def watch(
        self, origin: str | None = None, address: str = HERE, headers: Mapping[str, str] | None = None
    ) -> ClientConnection:
        """Connect a viewer from this site's page, or from another origin.

        websockets' synchronous client over TLS sometimes misses a response and times out. Then connect again.
        """
        page_origin = Origin(origin or self.origin)
        url = f"wss://{self.name}:{self.port}{self.path}/ws"
        for _ in range(MAX_HANDSHAKES - 1):
            with suppress(TimeoutError):
                return self._connect(url, address, page_origin, headers)
        return self._connect(url, address, page_origin, headers)

    def _connect(self, url: str, address: str, origin: Origin, headers: Mapping[str, str] | None) -> ClientConnection:
        return connect(
            url, sock=self._connect_tcp(address), ssl=self.trusted, origin=origin, additional_headers=headers
        )


@contextmanager
def site(
    kind: str,
    folder: Path,
    *arguments: str,
    below: bool = False,
    base_url: bool = True,
    way: str = "--open",
    program: str = "",
    changes: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Run the service behind nginx or Caddy, perhaps `below` a path.

    `program` changes something and runs the service, `changes` replaces texts in the proxy's configuration.
    """
    name, path = (OTHER, "/cam") if below else (NAME, "")
    plain, secure = find_free_ports(2)
    public = f"https://{name}:{secure}{path}"
    known = ("--base-url", public) if base_url else ("--hosts", name)
    server = ServerProcess(way, *known, "--log-level", "debug", *arguments, cwd=folder, program=program)
    try:
        server.start()
        authority = trustme.CA()
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        with proxy_before(server.port, kind, folder, plain, secure, authority, changes) as output:
            yield Site(name, secure, path, server, trusted, output)
    finally:
        server.kill()
    assert "Traceback" not in server.stderr, server.stderr


@contextmanager
def proxy_before(
    port: int,
    kind: str,
    folder: Path,
    plain: int,
    secure: int,
    authority: trustme.CA | None = None,
    other_changes: Mapping[str, str] | None = None,
) -> Iterator[list[str]]:
    """Run nginx or Caddy in front of `port`; yield the lines of its output."""
    certificate = (authority or trustme.CA()).issue_cert(NAME, OTHER)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    paths = {"/etc/dog/certificate.pem": f"{folder}/both.pem", "/etc/dog/key.pem": f"{folder}/both.pem"}
    changes = {f"{HERE}:8080": f"{HERE}:{port}", **paths, **(other_changes or {})}
    if kind == "nginx":
        assert NGINX is not None
        changes |= {"listen 80;": f"listen {HERE}:{plain};", "listen 443 ssl;": f"listen {HERE}:{secure} ssl;"}
        changes |= {"listen [::]:80;": "", "listen [::]:443 ssl;": "", "/var/log/nginx": str(folder)}
        changes |= {"/var/cache/nginx-dog": f"{folder}/cache"}
        (folder / "dog.conf").write_text(_change("nginx.conf", changes))
        user = "user root;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
        command = [NGINX, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        ready = "start worker process "
    else:
        assert CADDY is not None
        ours = f"\tadmin off\n\tskip_install_trust\n\tdefault_bind {HERE}\n\thttp_port {plain}\n\thttps_port {secure}\n"
        changes |= {"\tservers {\n": f"{ours}\tservers {{\n", "# tls ": "tls "}
        (folder / "Caddyfile").write_text(_change("Caddyfile", changes))
        command = [CADDY, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
        ready = "serving initial configuration"
    homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
    process = subprocess.Popen(command, env={**os.environ, **homes}, stderr=subprocess.PIPE, text=True, cwd=folder)
    with ExitStack() as stack:
        assert process.stderr is not None
        stack.enter_context(process.stderr)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        output = []
        for line in process.stderr:
            output.append(line)
            if ready in line:
                break
        else:
            raise AssertionError("".join(output))
        reading = threading.Thread(target=output.extend, args=(process.stderr,))  # keeps the pipe from filling
        reading.start()
        stack.callback(reading.join, 20)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        yield output


def _change(name: str, changes: dict[str, str]) -> str:
    text = (ROOT / "deploy" / name).read_text()
    for old, new in changes.items():
        assert old in text, f"deploy/{name} has no {old!r}"
        text = text.replace(old, new)
    return text
