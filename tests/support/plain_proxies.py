"""Real proxies in front of a server, without TLS, with default time-outs.

nginx and Apache pass WebSockets on only if their configuration says so. HAProxy always does.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import find_free_ports
from tests.support.server_process import ROOT

__all__ = ["PROXIES", "needs_proxy", "run_proxy"]

BIN = Path(sys.executable).parent
LIBRARIES = sorted((BIN.parent / "proxies/usr/lib").glob("*-linux-gnu"))
_UNPACKED = BIN.parent / "proxies/usr/lib/apache2/modules"
MODULES = _UNPACKED if _UNPACKED.is_dir() else Path("/usr/lib/apache2/modules")
PROXIES = {
    "nginx": "nginx",
    "nginx with Upgrade": "nginx",
    "Apache": "apache2",
    "Apache with upgrade": "apache2",
    "HAProxy": "haproxy",
}
"""The kinds, and the program of each."""
NGINX = """daemon off;
pid {folder}/pid;
error_log stderr notice;
{user}
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{target};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            {more}
        }}
    }}
}}
"""
_DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()
UPGRADE = _DEPLOYING.partition("```nginx\n")[2].partition("```")[0]
"""The lines of the docs that let nginx pass WebSockets on."""
PROXY_PASS = 'ProxyPass "/" "http://127.0.0.1:8080/" upgrade=websocket'
assert f"`{PROXY_PASS}`" in _DEPLOYING
APACHE = """ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/pid
ErrorLog /dev/stderr
LogLevel notice
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
{user}
Timeout 300
ProxyPreserveHost On
{proxy_pass}
"""
HAPROXY = """defaults
    mode http
    timeout connect 5000
    timeout client 50000
    timeout server 50000
frontend visitors
    bind 127.0.0.1:{port}
    option forwardfor
    default_backend dog
backend dog
    server dog 127.0.0.1:{target}
"""


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join((str(BIN), os.environ["PATH"], "/usr/sbin")))


def needs_proxy(kind: str) -> pytest.MarkDecorator:
    program = PROXIES[kind]
    return pytest.mark.skipif(_find(program) is None, reason=f"no {program}; it is in Debian's packages")


@contextmanager
def run_proxy(kind: str, target: int, folder: Path) -> Iterator[str]:
    """Run a proxy in front of this port of this machine; yield its URL."""
    (port,) = find_free_ports(1)
    program = _find(PROXIES[kind])
    assert program is not None
    is_root = os.getuid() == 0
    values = {"folder": folder, "port": port, "target": target, "modules": MODULES}
    file = folder / "proxy.conf"
    match PROXIES[kind]:
        case "nginx":
            values |= {"user": "user root;" if is_root else "", "more": UPGRADE if "Upgrade" in kind else ""}
            file.write_text(NGINX.format(**values))
            command, ready = [program, "-p", str(folder), "-e", "stderr", "-c", str(file)], "start worker process "
        case "apache2":
            proxy_pass = PROXY_PASS.replace(":8080", f":{target}")
            values |= {
                "user": "User www-data\nGroup www-data" if is_root else "",
                "proxy_pass": proxy_pass if "upgrade" in kind else proxy_pass.removesuffix(" upgrade=websocket"),
            }
            file.write_text(APACHE.format(**values))
            command, ready = [program, "-D", "FOREGROUND", "-f", str(file)], "resuming normal operations"
        case _:
            file.write_text(HAPROXY.format(**values))
            command, ready = [program, "-W", "-f", str(file)], "Loading success"
    libraries = os.pathsep.join(str(each) for each in LIBRARIES)
    env = {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else dict(os.environ)
    log = folder / "proxy.log"
    with log.open("wb") as output, subprocess.Popen(command, env=env, stdout=output, stderr=output) as process:
        try:
            _wait_for(log, ready, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(log: Path, ready: str, process: "subprocess.Popen[bytes]") -> None:
    while ready not in log.read_text(errors="replace"):
        if process.poll() is not None:
            raise AssertionError(log.read_text(errors="replace"))
        time.sleep(0.01)
