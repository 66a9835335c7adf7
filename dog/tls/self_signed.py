"""A certificate that vouches for itself, for the names of a machine at home (`dog cert`).

It meets what browsers and Apple's systems ask of one: the names as alternative ones, a purpose, SHA-256, 825 days at
most (https://support.apple.com/103769; the shorter limits are for certificates of public authorities). It is no
authority: who trusts it trusts this one machine, and who steals its key can be no other.
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

__all__ = ["Made", "make_certificate", "read_name"]

DAYS = 825
CLOCKS = dt.timedelta(hours=1)
"""By how much the clock of a client may be slow."""
LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"(\*\.)?{LABEL}(\.{LABEL})*")

Name = x509.DNSName | x509.IPAddress


@dataclass(frozen=True, slots=True)
class Made:
    """The two files in PEM, the fingerprint as browsers show it, and when the certificate ends."""

    certificate: bytes
    key: bytes
    fingerprint: str
    ends_at: dt.datetime


def read_name(text: str) -> Name:
    """A name or an address as a certificate has it. Raises ValueError for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        name = text.rstrip(".").lower().encode("idna").decode()  # UnicodeError is a ValueError
        if not NAME.fullmatch(name) or len(name) > 253:
            raise ValueError(text) from None
        return x509.DNSName(name)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(text)  # it means something here alone
    return x509.IPAddress(address)


def make_certificate(title: str, names: Iterable[Name]) -> Made:
    """A new key (EC P-256) and its certificate for these names; `title` is what it is called in a list."""
    key = ec.generate_private_key(ec.SECP256R1())
    itself = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title[:64])])
    begins_at = dt.datetime.now(dt.UTC).replace(microsecond=0) - CLOCKS
    ends_at = begins_at + dt.timedelta(days=DAYS, seconds=-1)  # its last second counts, too (RFC 5280, 4.1.2.5)
    signs = x509.KeyUsage(
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
        .subject_name(itself)
        .issuer_name(itself)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(ends_at)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Made(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        ends_at,
    )
