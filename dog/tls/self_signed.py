"""Make a self-signed certificate for a machine at home (`dog cert`).

It meets the requirements of browsers and Apple's systems: subject alternative names, a purpose, SHA-256, at most 825
days (https://support.apple.com/103769; shorter limits are for public authorities). It is not an authority: trusting it
means trusting only this machine.
"""

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CertificateFiles", "make_certificate", "parse_name"]

VALIDITY_DAYS = 825
CLOCK_TOLERANCE = dt.timedelta(hours=1)
"""Allowed delay of a client's clock."""
_DNS_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME = re.compile(rf"(\*\.)?{_DNS_LABEL}(\.{_DNS_LABEL})*")

Name = x509.DNSName | x509.IPAddress


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Both files in PEM, the fingerprint as browsers show it, and the end."""

    certificate: bytes
    key: bytes
    fingerprint: str
    ends_at: dt.datetime


def parse_name(text: str) -> Name:
    """Parse a host name or an IP address, or raise ValueError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        name = text.rstrip(".").lower().encode("idna").decode()  # UnicodeError is a ValueError
        if not _DNS_NAME.fullmatch(name) or len(name) > 253:
            raise ValueError(text) from None
        return x509.DNSName(name)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(text)  # a scoped address is valid only on this machine
    return x509.IPAddress(address)


def make_certificate(title: str, names: Iterable[Name]) -> CertificateFiles:
    """Make a key (EC P-256) and its certificate. `title` is the common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title[:64])])
    begins_at = dt.datetime.now(dt.UTC).replace(microsecond=0) - CLOCK_TOLERANCE
    ends_at = begins_at + dt.timedelta(days=VALIDITY_DAYS, seconds=-1)  # inclusive (RFC 5280, section 4.1.2.5)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(ends_at)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return CertificateFiles(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        ends_at,
    )
