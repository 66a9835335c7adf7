"""`dog cert`, as a process: its files, its output, and its clients."""

import ipaddress
import os
import re
import shlex
import socket
import ssl
import stat
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from dog.cli.cert import _write_files
from dog.cli.exit_status import OutputError
from tests.support.server_process import ROOT, ServerProcess, clean_environment, run_dog

CERTIFICATE, KEY = "dog-certificate.pem", "dog-key.pem"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dog cert`, which must succeed."""
    ended = run_dog("cert", *arguments, cwd=folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended


def read(folder: Path, name: str = CERTIFICATE) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / name).read_bytes())


def read_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_the_certificate_meets_the_requirements_of_browsers_and_apple(tmp_path: Path) -> None:
    make(tmp_path)
    certificate = read(tmp_path)
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    key = load_pem_private_key((tmp_path / KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == public
    certificate.verify_directly_issued_by(certificate)
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lasts.total_seconds() + 1 <= 825 * 24 * 3600
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = read_names(certificate)
    host = socket.gethostname()
    assert {"localhost", host, f"{host.split('.')[0]}.local"} <= set(names.get_values_for_type(x509.DNSName))
    assert {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")} <= set(
        names.get_values_for_type(x509.IPAddress)
    )


def test_the_certificate_has_the_addresses_of_this_machine(tmp_path: Path) -> None:
    make(tmp_path)
    here = {str(address) for address in read_names(read(tmp_path)).get_values_for_type(x509.IPAddress)}
    listed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    assert {address for address in listed if "." in address} <= here


def test_the_certificate_has_each_given_name_once(tmp_path: Path) -> None:
    given = ("dog.lan", "DOG.lan.", "192.0.2.7", "2001:db8::7", "*.dog.lan", "köter.example", "localhost")
    make(tmp_path, *(part for name in given for part in ("--name", name)))
    certificate = read(tmp_path)
    names = read_names(certificate).get_values_for_type(x509.DNSName)
    assert names[:4] == ["dog.lan", "*.dog.lan", "xn--kter-5qa.example", "localhost"]
    assert names.count("dog.lan") == names.count("localhost") == 1
    addresses = read_names(certificate).get_values_for_type(x509.IPAddress)
    assert {ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::7")} <= set(addresses)
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=D.O.G. on dog.lan"


@pytest.mark.parametrize(
    "name", ["", "http://dog.lan", "dog.lan:8080", "a b", "-a", "a..b", "x" * 64, "fe80::1%lo", "a.*", "\n", "a." * 130]
)
def test_an_invalid_name_is_one_line(name: str, tmp_path: Path) -> None:
    ended = run_dog("cert", f"--name={name}", cwd=tmp_path)
    assert ended.returncode == 2
    assert re.fullmatch(r"dog: --name: .* is not a name or an address\. Write one such as dog\.lan .*\n", ended.stderr)
    assert list(tmp_path.iterdir()) == []


def test_cert_prints_settings_for_dog_toml_that_work(tmp_path: Path) -> None:
    names = ("kennel.example", "*.kennel.example", "Köter.lan", "192.0.2.7")
    said = make(tmp_path, *(part for name in names for part in ("--name", name))).stdout
    lines = "\n".join(re.findall(r"^(?:tls_\w+|hosts) = .*$", said, re.MULTILINE))
    assert tomllib.loads(lines) == {
        "tls_certificate": str(tmp_path / CERTIFICATE),
        "tls_key": str(tmp_path / KEY),
        "hosts": ["kennel.example", "xn--kter-5qa.lan"],
    }
    (tmp_path / "dog.toml").write_text(lines)
    fingerprint = read(tmp_path).fingerprint(hashes.SHA256()).hex(":").upper()
    assert fingerprint in said.splitlines()
    server = ServerProcess(cwd=tmp_path).launch()
    try:
        port = server.wait_for(r"D\.O\.G\. is at https://127\.0\.0\.1:(\d+)")[1]
        client = ssl.create_default_context(cafile=str(tmp_path / CERTIFICATE))
        client.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python has it from 3.13 on
        for host in ("127.0.0.1", "localhost"):
            with urllib.request.urlopen(f"https://{host}:{port}/healthz", context=client, timeout=20) as answer:
                assert answer.status == 200
        assert server.stop() == 0
    finally:
        server.kill()


def test_only_the_owner_can_read_the_key_with_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [CERTIFICATE, KEY]


def test_the_key_file_is_created_private(tmp_path: Path) -> None:
    """Check the mode in each call that can create the file."""
    trace = tmp_path / "trace"
    command = [sys.executable, "-c", WATCHED, str(trace)]
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, umask=0)
    opened = [line.split() for line in trace.read_text().splitlines()]
    keys = [(name, int(mode, 8)) for name, mode in opened if KEY in name]
    assert keys
    assert all(mode == 0o600 for _, mode in keys), keys


WATCHED = f"""
import os, sys
from dog.cli import main
trace, opened = open(sys.argv.pop(), "w"), os.open
def watch(path, flags, *more, **options):
    descriptor = opened(path, flags, *more, **options)
    if "{KEY}" in str(path):
        print(os.path.basename(path), oct(os.fstat(descriptor).st_mode & 0o777), file=trace)
    return descriptor
os.open = watch
sys.argv[1:] = ["cert"]
try:
    main(prog_name="dog")
finally:
    trace.close()
"""


@pytest.mark.parametrize("there", [CERTIFICATE, KEY])
def test_cert_replaces_files_only_with_overwrite(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    ended = run_dog("cert", cwd=tmp_path)
    assert ended.returncode == 2
    assert re.fullmatch(
        rf"dog: '{there}' exists already\. Name another file, or add --overwrite to replace it\. .*\n", ended.stderr
    )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]
    make(tmp_path, "--overwrite")
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    first = read(tmp_path)
    make(tmp_path, "--overwrite")
    assert read(tmp_path) != first
    assert sorted(path.name for path in tmp_path.iterdir()) == [CERTIFICATE, KEY]


def test_cert_does_not_replace_a_file_that_appears_during_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("mine")
    with pytest.raises(OutputError, match="can't be written: file exists"):
        _write_files({tmp_path / "key": (b"new", 0o600)}, overwrite=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("key", "mine")]


def test_cert_does_not_follow_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / KEY).symlink_to(tmp_path / "elsewhere")
    assert run_dog("cert", cwd=tmp_path).returncode == 2
    assert not (tmp_path / "elsewhere").exists()


def test_cert_does_not_replace_links_or_devices(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "link").symlink_to("kept")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        ended = run_dog("cert", "--certificate", name, "--overwrite", cwd=tmp_path)
        line = f"dog: '{name}' is a link or a device and is not replaced. Name a file. See dog cert --help.\n"
        assert (ended.stdout, ended.stderr, ended.returncode) == ("", line, 2)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_that_can_not_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    ended = run_dog("cert", "--certificate", "/proc/certificate.pem", cwd=tmp_path)
    assert ended.returncode == 1
    assert re.fullmatch(r"dog: '/proc/certificate\.pem' can't be written: .*\. Name another file\.\n", ended.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--certificate", "one.pem", "--key", "./one.pem"), "can't be in the same file"),
        (("--key", "nowhere/key.pem"), "The folder 'nowhere' does not exist"),
        (("--key", "."), "'.' is a folder"),
        (("--key", "a\nb.pem"), "can't be written into dog.toml"),
    ],
)
def test_unsuitable_file_names_are_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = run_dog("cert", *arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_cert_without_cryptography_names_the_package_and_serve_works_without_it(tmp_path: Path) -> None:
    make(tmp_path)
    hide = "import sys; sys.modules['cryptography'] = None; from dog.cli import main; main(prog_name='dog')"
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    ended = subprocess.run(
        [sys.executable, "-c", hide, "cert"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    installing = f"{shlex.quote(sys.executable)} -m pip install cryptography"
    assert ended.stderr == f"dog: dog cert needs the package cryptography. Install it: {installing}\n"
    flags = ("--tls-certificate", CERTIFICATE, "--tls-key", KEY)
    command = [sys.executable, "-c", hide]
    server = ServerProcess(*flags, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, command=command).launch()
    try:
        server.wait_for(r"D\.O\.G\. is at https://")
        assert server.stop() == 0
    finally:
        server.kill()
