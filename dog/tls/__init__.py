"""HTTPS without a proxy: the certificate, and the connections that are encrypted with it."""

from dog.tls.certificate import Tls, make_tls

__all__ = ["Tls", "make_tls"]
