"""TLS of network cameras: wrong certificates, and pinned ones."""

import datetime as dt
import hashlib
import ipaddress
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dog.cameras.camera_url import CameraUrl
from dog.cameras.http import HttpSource
from dog.errors import CameraOffline
from tests.support.sources.odd_http_camera import OddHttpCamera, Request, make_head, stamped_jpeg

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Certificate:
    """A certificate for a camera, from an authority or self-signed."""

    def __init__(
        self,
        folder: Path,
        *,
        authority: "Certificate | None" = None,
        address: str = "127.0.0.1",
        days: tuple[int, int] = (-5, 5),
        key: Key | None = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.serial = x509.random_serial_number()
        now = dt.datetime.now(dt.UTC)
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"camera {self.serial}")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(authority.name if authority else self.name)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        )
        signed = builder.sign((authority or self).key, hashes.SHA256())
        self.der = signed.public_bytes(serialization.Encoding.DER)
        self.file = folder / f"{self.serial}.pem"
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        self.key_file = self.file.with_suffix(".key")
        self.key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    def server(self, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = newest
        context.load_cert_chain(self.file, self.key_file)
        return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """An authority that the client trusts."""
    one = Certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(one.file))
    return one


def open_camera(server: ssl.SSLContext, fingerprint: str | None = None) -> None:
    jpeg = stamped_jpeg()
    with OddHttpCamera(lambda _: make_head("Content-Type: image/jpeg") + jpeg, closes=True, tls=server) as camera:
        source = HttpSource(f"https://127.0.0.1:{camera.port}/", tls_fingerprint=fingerprint)
        try:
            source.open()
            assert source.read(10).image() == jpeg
        finally:
            source.close()


KINDS: dict[str, tuple[str, Callable[[Path, Certificate], Certificate]]] = {
    "self-signed": ("is self-signed", lambda folder, _: Certificate(folder)),
    "another name": (
        "is for another name",
        lambda folder, authority: Certificate(folder, authority=authority, address="192.0.2.9"),
    ),
    "expired": ("has expired", lambda folder, authority: Certificate(folder, authority=authority, days=(-9, -2))),
    "not valid yet": (
        "is not valid yet",
        lambda folder, authority: Certificate(folder, authority=authority, days=(2, 9)),
    ),
    "unknown authority": (
        "is from an unknown authority",
        lambda folder, _: Certificate(folder, authority=Certificate(folder)),
    ),
    "short key": (
        "is weak",
        lambda folder, authority: Certificate(folder, authority=authority, key=rsa.generate_private_key(65537, 1024)),
    ),
}


@pytest.mark.documented(
    "certificate that is self-signed, expired, weak, or for another name",
    "refused with the reason; `tls_fingerprint` accepts it",
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_tells_what_is_wrong_with_a_certificate(kind: str, authority: Certificate, tmp_path: Path) -> None:
    problem, make = KINDS[kind]
    certificate = make(tmp_path, authority)
    with pytest.raises(CameraOffline, match=problem) as caught:
        open_camera(certificate.server())
    assert "`dog check` prints the setting `tls_fingerprint`" in caught.value.message
    assert caught.value.suggested_setting == f'tls_fingerprint = "{certificate.fingerprint}"'
    open_camera(certificate.server(), certificate.fingerprint)


def test_a_good_certificate_is_accepted(authority: Certificate, tmp_path: Path) -> None:
    open_camera(Certificate(tmp_path, authority=authority).server())


def test_old_tls_is_reported_and_can_be_pinned(authority: Certificate, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path, authority=authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = certificate.server(ssl.TLSVersion.TLSv1_1)
    with pytest.raises(CameraOffline, match="TLS is too old or too weak"):
        open_camera(old)
    open_camera(old, certificate.fingerprint)


def test_another_certificate_than_the_pinned_one_gets_no_request(authority: Certificate, tmp_path: Path) -> None:
    certificate, other = (Certificate(tmp_path, authority=authority) for _ in range(2))
    with OddHttpCamera(lambda _: b"", tls=other.server()) as camera:
        source = HttpSource(f"https://me:secret@127.0.0.1:{camera.port}/", tls_fingerprint=certificate.fingerprint)
        with pytest.raises(CameraOffline, match="is not the one of `tls_fingerprint`") as caught:
            source.open()
        source.close()
        assert not camera.requests
    assert caught.value.suggested_setting == f'tls_fingerprint = "{other.fingerprint}"'


def test_a_fingerprint_is_only_for_the_camera_and_not_for_a_host_it_redirects_to(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    with (
        OddHttpCamera(lambda _: b"", tls=certificate.server(), host="127.0.0.4") as other,
        OddHttpCamera(
            lambda _: make_head(f"Location: https://127.0.0.4:{other.port}/", "Content-Length: 0", status="302 Found"),
            tls=certificate.server(),
        ) as camera,
    ):
        source = HttpSource(f"https://127.0.0.1:{camera.port}/", tls_fingerprint=certificate.fingerprint)
        with pytest.raises(CameraOffline, match=r"certificate is not trusted\. Write that URL into `camera`") as caught:
            source.open()
        source.close()
        assert not other.requests
    assert f"https://127.0.0.4:{other.port}/" in caught.value.detail
    assert caught.value.suggested_setting == ""  # it would be that of the first host


def test_a_fingerprint_counts_for_other_paths_of_the_camera(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    jpeg = stamped_jpeg()

    def answer(request: Request) -> bytes:
        if request.target == "/":
            return make_head("Location: /now.jpg", "Content-Length: 0", status="301 Moved")
        return make_head("Content-Type: image/jpeg") + jpeg

    with OddHttpCamera(answer, closes=True, tls=certificate.server()) as camera:
        source = HttpSource(f"https://127.0.0.1:{camera.port}/", tls_fingerprint=certificate.fingerprint)
        source.open()
        assert source.read(10).image() == jpeg
        source.close()


def test_a_pinned_certificate_also_counts_for_rtsps(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    with OddHttpCamera(lambda _: b"", tls=certificate.server()) as camera:
        url = f"rtsps://127.0.0.1:{camera.port}/"
        with pytest.raises(ssl.SSLCertVerificationError):
            CameraUrl(url).connect(5)
        CameraUrl(url, tls_fingerprint=certificate.fingerprint).connect(5).close()
