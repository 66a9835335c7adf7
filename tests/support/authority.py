"""A certificate authority for tests of HTTPS."""

import ssl
from pathlib import Path
from typing import Any

import trustme

from dog.settings import Settings

__all__ = ["Authority"]

NAMES = ("localhost", "127.0.0.1")


class Authority:
    """A certificate authority that `client` trusts."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.certificate = folder / "certificate.pem"
        self.key = folder / "key.pem"
        self.flags = ("--tls-certificate", str(self.certificate), "--tls-key", str(self.key))
        self.client = ssl.create_default_context()
        self._ca.configure_trust(self.client)
        self.root = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.root))

    def make(self, **options: Any) -> trustme.LeafCert:
        return self._ca.issue_cert(*NAMES, **options)

    def issue(self, **options: Any) -> bytes:
        """Write a new certificate and its key. Return the certificate as DER."""
        leaf = self.make(**options)
        self._write(self.key, leaf.private_key_pem.bytes())
        self.key.chmod(0o600)
        self._write(self.certificate, b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    def _write(self, path: Path, data: bytes) -> None:
        temp_path = path.with_suffix(".new")
        temp_path.write_bytes(data)
        temp_path.replace(path)

    def settings(self, **more: Any) -> Settings:
        return Settings(tls_certificate=self.certificate, tls_key=self.key, **more)
