"""The exposure of the service to other machines.

The service and the other machine are two network namespaces, connected by a cable (veth).
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dog.errors import SettingError
from dog.settings import Settings, check_exposure, find_warnings
from dog.web.routes import OPERATIONS
from tests.conftest import Serve
from tests.support.operations import PUBLIC_OPERATIONS, fill_path, operation_name
from tests.support.server_process import ROOT, ServerProcess, run_dog

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SERVICE_ADDRESS, OTHER_ADDRESS = "198.18.77.1", "198.18.77.2"
"""The addresses of the service and of the other machine, in a network reserved for tests (RFC 2544)."""
SERVICE_ADDRESS6, OTHER_ADDRESS6 = "fd00:d09::1", "fd00:d09::2"
CONNECT = """
import json, socket, sys
found = {}
for address, port in json.load(sys.stdin):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
        one.settimeout(10)
        found[f"{address} {port}"] = one.connect_ex((address, port))
print(json.dumps(found))
"""
"""A program for the other machine: try to connect to each port. 0 means success."""
SEND_REQUESTS = """
import http.client, json, sys
address, port, requests = json.load(sys.stdin)
answers = []
for method, path, headers in requests:
    connection = http.client.HTTPConnection(address, port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = "" if answer.status == 200 and path.startswith(("/events", "/preview")) else answer.read().decode("latin-1")
    answers.append([answer.status, body])
    connection.close()
print(json.dumps(answers))
"""


Request = tuple[str, str, dict[str, str]]


def run_ip(*arguments: str) -> None:
    subprocess.run([str(IP), *arguments], check=True, capture_output=True)


class Cable(NamedTuple):
    """Two machines, and the commands that run a program on each."""

    inside: tuple[str, ...]
    beyond: tuple[str, ...]

    def serve(self, folder: Path, *arguments: str) -> ServerProcess:
        command = (*self.inside, sys.executable, "-m", "dog")
        return ServerProcess(*arguments, cwd=folder, command=command, env={"PYTHONPATH": str(ROOT)}).start()

    def run(self, script: str, said: object) -> object:
        command = [*self.beyond, sys.executable, "-c", script]
        ended = subprocess.run(command, input=json.dumps(said), capture_output=True, text=True, timeout=60, check=True)
        return json.loads(ended.stdout)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if IP is None or os.geteuid() != 0:
        pytest.skip("a second network needs root and ip (Debian: iproute2)")
    key = secrets.token_hex(3)
    names, ends = (f"dog-{key}-a", f"dog-{key}-b"), (f"dog{key}a", f"dog{key}b")
    made = []
    try:
        for name in names:
            try:
                run_ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"this machine can't create network namespaces: {error.stderr.decode().strip()}")
            made.append(name)
        run_ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for name, end, address, address6 in zip(
            names, ends, (SERVICE_ADDRESS, OTHER_ADDRESS), (SERVICE_ADDRESS6, OTHER_ADDRESS6), strict=True
        ):
            run_ip("-n", name, "addr", "add", f"{address}/30", "dev", end)
            run_ip("-n", name, "-6", "addr", "add", f"{address6}/64", "dev", end, "nodad")
            run_ip("-n", name, "link", "set", end, "up")
            run_ip("-n", name, "link", "set", "lo", "up")
        inside, beyond = ((str(IP), "netns", "exec", name) for name in names)
        yield Cable(inside, beyond)
    finally:
        for name in made:
            run_ip("netns", "del", name)


def find_ports(server: ServerProcess) -> set[int]:
    """Return all ports with a listener on the service's machine."""
    ports = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{server.pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state in ("0A", "07"):  # TCP_LISTEN, and an unconnected UDP socket
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


def send_all(cable: Cable, place: tuple[str, int], requests: list[Request]) -> list[tuple[int, str]]:
    return [(status, body) for status, body in cable.run(SEND_REQUESTS, (*place, requests))]  # type: ignore[attr-defined]


def test_a_default_start_has_no_port_that_another_machine_can_reach(cable: Cable, tmp_path: Path) -> None:
    server = cable.serve(tmp_path)
    try:
        ports = find_ports(server)
        assert server.port in ports
        places = [(address, port) for address in (SERVICE_ADDRESS, SERVICE_ADDRESS6) for port in sorted(ports)]
        found = cable.run(CONNECT, places)
        assert isinstance(found, dict)
        assert len(found) == len(places)
        assert 0 not in found.values(), found
    finally:
        server.kill()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", SERVICE_ADDRESS])
def test_with_auth_another_machine_reaches_one_port_and_only_the_login(cable: Cable, tmp_path: Path, host: str) -> None:
    server = cable.serve(tmp_path, "--auth", "--host", host, "--dead-time", "0")
    try:
        assert find_ports(server) == {server.port}
        place = (SERVICE_ADDRESS6 if ":" in host else SERVICE_ADDRESS, server.port)
        assert cable.run(CONNECT, [place]) == {f"{place[0]} {place[1]}": 0}
        requests: list[Request] = [(each.method, fill_path(each.path), {}) for each in OPERATIONS]
        asked = send_all(cable, place, [*requests, *(("OPTIONS", path, {}) for _, path, _ in requests)])
        answers = {operation_name(operation): answer for operation, answer in zip(OPERATIONS, asked, strict=False)}
        open_to_all = {name for name, (status, _) in answers.items() if status not in (401, 403)}
        assert open_to_all <= PUBLIC_OPERATIONS
        served = {name for name, (status, _) in answers.items() if status < 300}
        assert served <= {"GET /api/visitor", "GET /healthz", "GET /login", "GET /static/{name}"}
        assert answers["GET /api/visitor"] == (200, "{}")
        page = {"Accept": "text/html"}
        for status, body in send_all(
            cable, place, [("GET", path, page) for path in ("/", "/snapshots", "/latest.jpg")]
        ):
            assert (status, body) == (303, "")
        [(status, body)] = send_all(cable, place, [("GET", "/login", page)])
        assert status == 200
        assert re.findall(r'<(?:form|a)[^>]* (?:action|href)="([^"]*)"', body) == ["./", "./login"]
    finally:
        server.kill()


def test_without_auth_a_server_for_other_machines_does_not_start(cable: Cable, tmp_path: Path) -> None:
    ended = subprocess.run(
        [*cable.inside, sys.executable, "-m", "dog", "serve", "--host", SERVICE_ADDRESS, "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "--auth" in line
    assert "--open" in line


# ---- each setting that exposes the service

EXPOSURES: dict[str, tuple[Settings, str]] = {
    "all of IPv4": (Settings(host="0.0.0.0"), "0.0.0.0"),
    "all of IPv6": (Settings(host="::"), "::"),
    "an address in the network": (Settings(host="192.168.7.8"), "192.168.7.8"),
    "a local address of IPv6": (Settings(host="fe80::1%eth0"), "fe80::1%eth0"),
    "a name": (Settings(host="camera.lan"), "camera.lan"),
    "a name that begins like ours": (Settings(host="localhost.lan"), "localhost.lan"),
    "nothing, which is all of them": (Settings(host=""), ""),
    "a public address": (Settings(base_url="https://dog.example.org/cam"), "https://dog.example.org/cam"),
    "a public address by its number": (Settings(base_url="http://192.0.2.7:8080"), "http://192.0.2.7:8080"),
    "a proxy on this machine": (Settings(trusted_proxies=("127.0.0.1",)), "127.0.0.1"),
    "proxies elsewhere": (Settings(trusted_proxies=("10.0.0.0/8", "::1")), "10.0.0.0/8, ::1"),
}


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_check_exposure_requires_auth_or_open_for_other_machines(exposure: str) -> None:
    settings, named = EXPOSURES[exposure]
    with pytest.raises(SettingError) as caught:
        check_exposure(settings)
    line = str(caught.value)
    assert named in line
    assert "\n" not in line
    assert "--auth" in line
    assert "--open" in line
    changed = settings.__struct_fields__
    for said in ({"auth": True}, {"open": True}, {"auth": True, "anonymous": "view"}):
        check_exposure(Settings(**{name: getattr(settings, name) for name in changed if name in NAMES}, **said))


NAMES = ("host", "base_url", "trusted_proxies")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST", "localhost."])
def test_check_exposure_allows_loopback_without_auth(host: str) -> None:
    check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, base_url=f"http://{f'[{host}]' if ':' in host else host}:8080"))


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        (Settings(auth=True, open=True), "open"),
        (Settings(anonymous="manage"), "anonymous"),
        (Settings(anonymous="view", open=True), "anonymous"),
    ],
)
def test_check_exposure_refuses_contradictory_settings(settings: Settings, flag: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_exposure(settings)
    assert caught.value.setting == f"--{flag}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(), []),
        (Settings(auth=True), []),
        (Settings(host="0.0.0.0", open=True), []),
        (Settings(host="0.0.0.0", auth=True), ["without encryption"]),
        (Settings(host="0.0.0.0", auth=True, base_url="http://dog.example.org"), ["without encryption"]),
        (Settings(host="0.0.0.0", auth=True, base_url="https://dog.example.org"), []),
        (Settings(host="0.0.0.0", auth=True, trusted_proxies=("192.0.2.1",)), []),
        (Settings(host="0.0.0.0", auth=True, tls_certificate=Path("dog.pem")), []),
        (Settings(host="0.0.0.0", auth=True, anonymous="manage"), ["without logging in", "without encryption"]),
        (Settings(auth=True, anonymous="capture"), []),
    ],
)
def test_find_warnings_reports_likely_mistakes(settings: Settings, said: list[str]) -> None:
    warnings = find_warnings(settings)
    assert len(warnings) == len(said)
    assert all(word in warning for word, warning in zip(said, warnings, strict=True))


def test_the_start_logs_warnings_about_settings(serve: Serve) -> None:
    serve("--auth", "--anonymous", "manage").wait_for(r"WARNING .* may pin, delete and share photos without logging in")


@pytest.mark.parametrize(
    "exposure",
    [
        ["--host", "0.0.0.0"],
        ["--host", "::"],
        ["--base-url", "https://dog.example.org"],
        ["--trusted-proxies", "127.0.0.1"],
    ],
)
def test_an_exposed_start_fails_with_one_line_that_names_auth_and_open(tmp_path: Path, exposure: list[str]) -> None:
    ended = run_dog("serve", *exposure, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert exposure[0] in line
    assert re.search(r"--auth\b.*--open\b", line)
    assert not (tmp_path / "snapshots").exists(), "nothing was begun"
