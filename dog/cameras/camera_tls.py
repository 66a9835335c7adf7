"""TLS to cameras: a trusted certificate, or one pinned by its fingerprint."""

import hashlib
import re
import socket
import ssl

__all__ = ["UnexpectedCertificate", "explain_tls_error", "read_certificate", "start_tls"]

_LEGACY_SERVER_CONNECT = 0x4
"""OpenSSL's option for servers without secure renegotiation (ssl.OP_LEGACY_SERVER_CONNECT from Python 3.12)."""
_WEAK = re.compile("TOO_SMALL|TOO_WEAK|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|HANDSHAKE_FAILURE|LEGACY|NO_SHARED_CIPHER")
"""Reasons of OpenSSL for a handshake that only old TLS or short keys would complete."""
_CERTIFICATE_PROBLEMS = {
    9: "is not valid yet. Check the clocks of the camera and of this machine",
    10: "has expired",
    18: "is self-signed",
    19: "is from a self-signed authority",
    62: "is for another name than the host of its URL",
    64: "is for another name than the address in its URL",
    66: "is weak (its key is too short)",
    67: "is weak (the key of its authority is too short)",
    68: "is weak (its signature is outdated)",
}
"""Faults of a certificate, by OpenSSL's number (X509_V_ERR_*)."""
_PIN = "`dog check` prints the setting `tls_fingerprint`, which accepts just this certificate."


class UnexpectedCertificate(ssl.SSLError):
    """The certificate is not the pinned one."""


def start_tls(sock: socket.socket, host: str, fingerprint: str | None) -> ssl.SSLSocket:
    """Start TLS on a connected socket.

    With a SHA-256 `fingerprint` in hexadecimal, the certificate must have it; its name, age, issuer and strength do not
    matter. Raises ssl.SSLError, and OSError.
    """
    if fingerprint is None:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    wrapped = _unverified_context().wrap_socket(sock, server_hostname=host)
    found = hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest()
    if found != fingerprint:
        wrapped.close()
        raise UnexpectedCertificate(f"the certificate has the fingerprint {found}")
    return wrapped


def read_certificate(host: str, port: int, timeout: float) -> bytes:
    """Return a server's certificate (DER), trusted or not. Raises OSError."""
    with (
        socket.create_connection((host, port), timeout) as sock,
        _unverified_context().wrap_socket(sock, server_hostname=host) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    return context


def explain_tls_error(error: ssl.SSLError) -> str:
    """Return the problem and its remedy."""
    if isinstance(error, UnexpectedCertificate):
        return (
            "The camera's certificate is not the one of `tls_fingerprint`. If you changed the camera or its"
            " certificate, set the fingerprint that `dog check` prints."
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = _CERTIFICATE_PROBLEMS.get(error.verify_code, "is from an unknown authority")
        return f"The camera's certificate {problem}. {_PIN}"
    if _WEAK.search(error.reason or ""):
        return f"The camera's TLS is too old or too weak. Update its firmware. If that is not possible: {_PIN}"
    return "The TLS handshake with the camera failed. Check whether its URL is one without TLS."
