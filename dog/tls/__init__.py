"""HTTPS without a proxy: certificates and the encrypted transport."""

from dog.tls.certificate import Tls, make_tls

__all__ = ["Tls", "make_tls"]
